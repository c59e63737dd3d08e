/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: bytes as a user program (CPL 3).  Byte 0: bit 0 32-bit code; with bit 1 instead real, virtual-8086,
 * 16 or 32-bit code (bits 2, 3) in segments that are not flat; bit 4 no AVX-512; bytes 1 to 7 the seed of
 * registers, segments and data; the rest is code, with HLT around it.  The translator runs it twice; what the
 * guest can see must be as after the interpreter, and nothing around RAM or in the parts of the CPU that
 * are not the guest's may change.  Programs that do not end are kicked, and not compared.
 *
 * Not compared either: what follows from flags the manual leaves undefined, and what translated code is
 * known to do otherwise (docs/devel/limits.md).
 * With clang: -fsanitize=fuzzer and without -DFUZZ_MAIN.  With FUZZ_MAIN it runs over the files that
 * are its arguments, or with "--seed N COUNT" over random ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "target-x86/cpu_models.h"
#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

#define HEAD 8
#define CODE_MAX 256
#define GUARD 0x10000u
#define STEPS 1500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Fuzz {
    Engines e;
    uint8_t *before, *behind;   /* of RAM */
    uint8_t own[offsetof(X86Cpu, unwind) - offsetof(X86Cpu, features)];
    bool ready, has_avx512;
} Fuzz;

static Fuzz fuzz;
static unsigned ended, compared;

static uint8_t *guard_at(uint64_t at)
{
    void *p = mmap((void *)(uintptr_t)at, GUARD, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    g_assert_true(p == (void *)(uintptr_t)at);
    memset(p, 0xa5, GUARD);
    return p;
}

/* What the program may touch is what is compared. */
static void close_the_rest(void)
{
    uint64_t *directory = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x2000);
    uint64_t *low = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x9000);
    uint64_t *data = (uint64_t *)(uintptr_t)(directory[BENCH_DATA >> 21] & ~4095ull);

    for (unsigned i = 0; i < 512; i++) {
        uint64_t va = BENCH_BASE + i * 4096ull;

        low[i] = va | (va - ENGINES_CODE < ENGINES_CODE_SIZE ? 7 : 3);
        if (i * 4096 >= ENGINES_AREA) {
            data[i] = 0;
        }
    }
    directory[BENCH_BASE >> 21] = (BENCH_TABLES + 0x9000) | 7;
    directory[ENGINES_ALIAS >> 21] = 0;
}

static void get_ready(Fuzz *f)
{
    uint32_t leaf[4];

    if (!engines_init(&f->e)) {
        g_error("This host lets nobody translate");
    }
    close_the_rest();
    f->has_avx512 = f->e.avx512;
    f->e.tr->exact_flags = true;
    f->e.anywhere = true;
    f->before = guard_at(BENCH_BASE - GUARD);
    f->behind = guard_at(BENCH_BASE + BENCH_SIZE);
    x86_cpuid(f->e.cpu, 0, 0, leaf);            /* makes its tables when it is first run */
    memcpy(f->own, f->e.cpu->features, sizeof(f->own));
    f->ready = true;
}

static bool is_untouched(const uint8_t *guard)
{
    return guard[0] == 0xa5 && !memcmp(guard, guard + 1, GUARD - 1);
}

static void check_surroundings(const Fuzz *f)
{
    g_assert_true(is_untouched(f->before));
    g_assert_true(is_untouched(f->behind));
    g_assert_true(!memcmp(f->own, f->e.cpu->features, sizeof(f->own)));
    g_assert_true(f->e.cpu->bus_opaque == &f->e && f->e.cpu->engine && !f->e.cpu->gpr[R_ZERO]);
}

static bool is_segmented(uint64_t head) { return head & 2; }

static void random_state(Fuzz *f, uint64_t head)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed_array((const guint32[]){ head >> 8, head >> 40 }, 2);
    unsigned kind = head >> 2 & 3;
    uint64_t flags = 0;
    InsnState state;

    f->e.avx512 = f->has_avx512 && !(head & 16);
    if (is_segmented(head)) {
        flags = engines_segmented(&f->e, kind, kind == ENGINES_REAL ? 0 : 3, rand);
    } else {
        engines_mode(&f->e, head & 1 ? 32 : 64, 3);
    }
    f->e.closed = is_segmented(head);

    insn_state_random(&state, rand);
    insn_state_random_x87(&state, rand);
    for (unsigned i = 0; i < 16; i++) {
        if (pick(rand, 2) || i == R_RSP) {
            state.gpr[i] = is_segmented(head) ? pick(rand, 0x3000) + pick(rand, 2) * 0xd000 : data_address(rand);
        }
    }
    data_random(rand);
    insn_state_load(&state, f->e.cpu);
    engines_random_avx512(&f->e, rand);
    f->e.cpu->eflags |= flags;
    x86_update_mode(f->e.cpu);
}

/* ---- the interpreter's run, and what of it is certain ------------------------------------------------- */

typedef enum Outcome { ENDLESS, UNCERTAIN, CERTAIN } Outcome;

static bool differs_by_design(const InsnDef *def)
{
    static const char *const names[] = {
        /* x87 instruction pointers; random; MXCSR_MASK; time */
        "fnstenv", "fnsave", "fldenv", "frstor", "fxsave", "xsave", "rdrand", "rdseed", "ldmxcsr",
        "vldmxcsr", "rdpmc", "fxrstor", "xrstor",
    };

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (g_str_has_prefix(def->name, names[i])) {
            return true;
        }
    }
    return false;
}

/* The flags that are undefined after INSN; *certain: it does not read any of them. */
static unsigned follow_flags(const Insn *insn, unsigned undefined, bool *certain)
{
    uint32_t effects = insn->def->effects;

    if ((effects & undefined & FX_ARITH) || (insn->def->attrs & A_FLAGS_IN_SYS)) {
        *certain = *certain && !undefined;
    }
    return (undefined & ~(effects >> 8)) | (effects >> 24 & FX_ARITH);
}

/* The code at RIP if that is RAM. */
static const uint8_t *code_at_rip(const Fuzz *f)
{
    const X86Cpu *cpu = f->e.cpu;
    uint64_t at = cpu->mode & MODE_CS64 ? cpu->rip : (uint32_t)(cpu->segs[SEG_CS].base + cpu->rip);

    if (f->e.closed ? at - ENGINES_CODE >= ENGINES_CODE_SIZE - 16 : at - BENCH_BASE >= BENCH_SIZE - 16) {
        return NULL;
    }
    return (const uint8_t *)(uintptr_t)at;
}

static Outcome interpret(Fuzz *f, uint64_t *mask)
{
    static const uint32_t bits[6] = { FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF };
    X86Cpu *cpu = f->e.cpu;
    unsigned undefined = 0;
    bool certain = true;

    *mask = ~0ull;
    for (unsigned i = 0; i < STEPS; i++) {
        const uint8_t *code = code_at_rip(f);
        bool in_ram = code, is_end = in_ram && *code == 0xf4;
        bool jump;
        X86Exit exit;
        Insn insn;

        if (!in_ram ||
            insn_decode(&insn, code, INSN_MAX_LEN, cpu->mode, cpu) != DECODE_OK ||
            insn.fault != FAULT_NONE) {
            /* It faults, or it is nothing we follow: flags may be dead there. */
            *mask &= ~FLAGS_ARITH;
            certain = certain && in_ram;
            return engines_interpret(&f->e, STEPS) ? certain ? CERTAIN : UNCERTAIN : ENDLESS;
        }
        jump = (insn.def->attrs & A_CTRL) && !(insn.def->attrs & A_SYS);
        certain = certain && !differs_by_design(insn.def);
        exit = interp_step(cpu);
        if (exit != X86_EXIT_STEP) {
            if (!is_end) {
                *mask &= ~FLAGS_ARITH;
            }
            certain = certain && !jump && !(insn.def->attrs & A_MMX);
            for (unsigned n = 0; n < 6; n++) {
                *mask &= undefined >> n & 1 ? ~(uint64_t)bits[n] : ~0ull;
            }
            return certain ? CERTAIN : UNCERTAIN;
        }
        undefined = follow_flags(&insn, undefined, &certain);
    }
    return ENDLESS;
}

/* ---- the translator's ------------------------------------------------------------------------------------ */

typedef struct Kicker {
    X86Cpu *cpu;
    _Atomic bool stop;
} Kicker;

static gpointer kick_until_stopped(gpointer opaque)
{
    Kicker *kicker = opaque;

    while (!atomic_load(&kicker->stop)) {
        x86_cpu_request(kicker->cpu, X86_REQ_EXIT);
        tcg_kick(kicker->cpu);
        g_thread_yield();
    }
    return NULL;
}

/* A few times, to where a kick stops it. */
static void translate_kicked(Fuzz *f)
{
    Kicker kicker = { .cpu = f->e.cpu };
    GThread *thread = g_thread_new("kicker", kick_until_stopped, &kicker);

    for (unsigned i = 0; i < 20 && tcg_run(f->e.cpu) == X86_EXIT_KICK; i++) {
    }
    atomic_store(&kicker.stop, true);
    g_thread_join(thread);
    x86_cpu_request_clear(f->e.cpu, X86_REQ_EXIT);
}

static void compare(Fuzz *f, uint64_t mask, const uint8_t *data, size_t size)
{
    g_autoptr(GString) why = g_string_new(NULL);

    engines_save(&f->e, f->e.translated);
    engines_compare(f->e.interpreted, f->e.translated, mask, 0x4700, why);
    if (why->len) {
        for (size_t i = 0; i < size; i++) {
            fprintf(stderr, "%02x ", data[i]);
        }
        g_error("after %u comparisons translated code differs:%s", compared, why->str);
    }
    compared++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz *f = &fuzz;
    uint64_t head, mask;
    Outcome outcome;

    if (size <= HEAD || size > HEAD + CODE_MAX) {
        return 0;
    }
    if (!f->ready) {
        get_ready(f);
    }
    memcpy(&head, data, HEAD);
    random_state(f, head);
    engines_code(&f->e, BENCH_CODE, data + HEAD, size - HEAD);
    f->e.cpu->rip = BENCH_CODE - f->e.cpu->segs[SEG_CS].base;
    engines_save(&f->e, f->e.start);
    engines_load(&f->e, f->e.start, true);
    outcome = interpret(f, &mask);
    engines_save(&f->e, f->e.interpreted);
    ended += outcome != ENDLESS;
    for (unsigned i = 0; i < 2; i++) {
        engines_load(&f->e, f->e.start, i == 0);
        if (outcome == CERTAIN) {
            engines_translate(&f->e);
            compare(f, mask, data, size);
        } else {
            translate_kicked(f);
        }
        check_surroundings(f);
    }
    return 0;
}

#ifdef FUZZ_MAIN
/* Random bytes, or instructions of the tables' rows. */
static unsigned random_code(GRand *rand, uint8_t *to, uint64_t head)
{
    unsigned len = 0;
    bool narrow = (head & 1) || is_segmented(head);
    uint32_t mode = is_segmented(head) && (head >> 2 & 3) != ENGINES_32 ? MODE_PE :
                    narrow ? MODE_PE | MODE_CS32 | MODE_SS32 : MODE_PE | MODE_LMA | MODE_CS64;

    while (len < CODE_MAX - 40) {
        if (pick(rand, 12) == 0) {
            to[len++] = g_rand_int(rand);
        } else {
            const InsnDef *def = &insn_rows[pick(rand, insn_row_count)];
            InsnMaker m;
            Insn insn;

            insn_make(&m, def, rand, narrow ? is_segmented(head) ? MAKE_32 | MAKE_FAR : MAKE_32 : 0);
            if (def->sem && !(def->attrs & (A_CPL0 | A_SYS)) &&
                insn_decode(&insn, m.bytes, sizeof(m.bytes), mode, NULL) == DECODE_OK) {
                memcpy(to + len, m.bytes, insn.len);
                len += insn.len;
            }
        }
        if (pick(rand, 30) == 0) {
            break;
        }
    }
    return len;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    if (!translator_probe(&error)) {
        printf("%s\n", error->message);
        return 77;
    }
    if (argc == 4 && g_str_equal(argv[1], "--seed")) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(atoi(argv[2]));

        for (int i = 0; i < atoi(argv[3]); i++) {
            uint8_t input[HEAD + CODE_MAX];
            unsigned len;

            for (unsigned k = 0; k < HEAD; k++) {
                input[k] = g_rand_int(rand);
            }
            len = random_code(rand, input + HEAD, input[0]);
            LLVMFuzzerTestOneInput(input, HEAD + MAX(len, 1));
        }
        printf("seed %s: %u of %s programs ended, %u comparisons\n", argv[2], ended, argv[3], compared);
        return compared ? 0 : 1;
    }
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        gsize size;

        if (!g_file_get_contents(argv[i], &data, &size, &error)) {
            g_error("%s", error->message);
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    }
    return 0;
}
#endif
