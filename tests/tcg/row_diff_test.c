/* SPDX-License-Identifier: MIT */
/*
 * Each table row, run by the interpreter and by the translator, in 64-bit and flat 32-bit code, at CPL 3
 * and CPL 0: with random registers and flags, operands of every addressing form, in plain RAM, across
 * pages, in pages that are missing, read-only, the kernel's or not RAM; with x87 and SIMD exceptions
 * masked and not.  Instructions before it set flags, instructions behind it read them or let
 * them die.  Each case runs twice by the translator: with nothing translated and nothing in the TLB, then
 * with all of it there.  Compared: all the guest can see, the exception included.
 *
 * Flags that nobody can read any more may be wrong in the frame of a page fault (translator.md): they
 * are not compared there.
 *
 * RHEA_INSN_ROUNDS=n sets the number of tries per row and mode, RHEA_INSN_SEED the seed,
 * RHEA_INSN_ROW a mnemonic to run alone.
 */
#include <stdlib.h>

#include "target-x86/sem.h"
#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

typedef struct Fixture {
    Engines e;
    GRand *rand;
    unsigned bits, cpl;
    InsnState state;
    uint8_t code[128];
    unsigned len;
    uint64_t at, row_rip;       /* of the first instruction, of the row's */
    bool flags_read;            /* something behind the row's instruction reads flags or leaves them */
    unsigned tried, failed, row_failed, faulted;
} Fixture;

static void put(Fixture *f, const void *bytes, unsigned len)
{
    memcpy(f->code + f->len, bytes, len);
    f->len += len;
}

static void put8(Fixture *f, unsigned byte) { f->code[f->len++] = byte; }

static void put32(Fixture *f, uint32_t value) { put(f, &value, 4); }

/* ---- what stands around the instruction ------------------------------------------------------------ */

static void put_producer(Fixture *f)
{
    static const struct { uint8_t len, bytes[3]; } producers[] = {
        { 2, { 0x39, 0xc8 } },          /* cmp eax, ecx */
        { 2, { 0x85, 0xda } },          /* test edx, ebx */
        { 2, { 0x38, 0xdc } },          /* cmp ah, bl */
        { 1, { 0xf9 } }, { 1, { 0xf8 } }, { 1, { 0xf5 } },      /* stc, clc, cmc */
        { 1, { 0x9e } },                /* sahf */
        { 1, { 0x90 } },
        { 2, { 0x39, 0xc8 } },
        { 3, { 0x4d, 0x39, 0xfa } },    /* cmp r10, r15 */
    };
    unsigned n = pick(f->rand, ARRAY_LEN(producers) - (f->bits == 32));

    put(f, producers[n].bytes, producers[n].len);
}

/* A condition that reads none of the flags in `undefined`; -1 if none was found. */
static int pick_condition(Fixture *f, uint64_t undefined)
{
    static const uint64_t read[8] = {
        FLAG_OF, FLAG_CF, FLAG_ZF, FLAG_CF | FLAG_ZF, FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF,
        FLAG_SF | FLAG_OF | FLAG_ZF,
    };

    for (unsigned i = 0; i < 20; i++) {
        unsigned cond = pick(f->rand, 16);

        if (!(read[cond >> 1] & undefined)) {
            return cond;
        }
    }
    return -1;
}

static void put_absolute(Fixture *f, uint32_t addr)
{
    if (f->bits == 64) {
        put8(f, f->code[--f->len] | 4);
        put8(f, 0x25);
    } else {
        put8(f, f->code[--f->len] | 5);
    }
    put32(f, addr);
}

/* Something that reads the flags the row defines, kills them, or keeps them. */
static void put_consumer(Fixture *f, const Insn *insn, uint64_t undefined)
{
    bool stack_lost = insn->op[0].reg == R_RSP || insn->op[1].reg == R_RSP;
    int cond = pick_condition(f, undefined);

    switch (pick(f->rand, 10)) {
    case 0:
        put(f, "\x39\xf7", 2);                          /* cmp edi, esi */
        f->flags_read = false;
        break;
    case 1:                                             /* pushf; and [rsp], defined */
        if (undefined && stack_lost) {
            break;
        }
        put8(f, 0x9c);
        put(f, "\x48", f->bits == 64);
        put(f, "\x81\x24\x24", 3);
        put32(f, ~undefined & 0x7fffffff);
        break;
    case 2:
        if (cond >= 0) {                                /* setcc [absolute] */
            put8(f, 0x0f);
            put8(f, 0x90 | cond);
            put8(f, 0);
            put_absolute(f, BENCH_DATA + 0x3f00);
        }
        break;
    case 3:
        if (cond >= 0) {                                /* setcc r8b or al */
            put(f, "\x41", f->bits == 64);
            put8(f, 0x0f);
            put8(f, 0x90 | cond);
            put8(f, 0xc0);
        }
        break;
    case 4:
        if (cond >= 0) {                                /* jcc to the next */
            put8(f, 0x70 | cond);
            put8(f, 0);
        }
        break;
    case 5:
        if (cond >= 0) {                                /* cmovcc ebx, ecx */
            put8(f, 0x0f);
            put8(f, 0x40 | cond);
            put8(f, 0xd9);
        }
        break;
    case 6:
        put(f, "\x8b\x00", 2);                          /* mov eax, [absolute] */
        put_absolute(f, BENCH_DATA + 0x3e00);
        break;
    case 7:
        put(f, "\xeb\x00", 2);                          /* jmp to the next */
        break;
    case 8:
        put(f, undefined & FLAG_CF ? "\x90\x90" : "\x11\xd0", 2);       /* adc eax, edx */
        f->flags_read = false;
        break;
    default:
        break;
    }
}

/* ---- where the operand lies ---------------------------------------------------------------------------- */

static uint64_t pick_target(Fixture *f)
{
    uint64_t aligned = data_address(f->rand);

    switch (pick(f->rand, 14)) {
    case 0: return BENCH_DATA + 0x3000 - pick(f->rand, 40);             /* may cross a page */
    case 1: return ENGINES_NONE - pick(f->rand, 40);
    case 2: return ENGINES_NONE + pick(f->rand, 64);
    case 3: return ENGINES_READONLY - pick(f->rand, 40) + (pick(f->rand, 2) ? 0x100 : 0);
    case 4: return ENGINES_KERNEL - pick(f->rand, 40) + (pick(f->rand, 2) ? 0x100 : 0);
    case 5: return pick(f->rand, 2) ? ENGINES_MMIO + pick(f->rand, 256) : aligned;
    case 6: return f->bits == 64 && pick(f->rand, 2) ? 0x7fffffffffffull - pick(f->rand, 32) : aligned;
    default: return aligned;
    }
}

/* The instruction's bytes lie at `bytes`, `rip` follows them. */
static void place_operand(Fixture *f, const Insn *insn, uint8_t *bytes, uint64_t rip)
{
    uint64_t target = pick_target(f), *gpr = f->state.gpr, sum = insn->disp;
    uint32_t disp32;

    if (insn->seg == SEG_FS || insn->seg == SEG_GS) {
        target -= f->e.cpu->segs[insn->seg].base;
    }
    if (insn->def->opnd[0] >> 8 == OT_O || insn->def->opnd[1] >> 8 == OT_O) {
        memcpy(bytes + insn->len - insn->addr_size, &target, insn->addr_size);
        return;
    }
    if (insn->index != R_ZERO) {
        sum += gpr[insn->index] << insn->scale;
    }
    if (insn->base < R_ZERO && insn->base != insn->index) {
        gpr[insn->base] = target - sum;
        if (insn->addr_size == 4 && f->bits == 64 && pick(f->rand, 2)) {
            gpr[insn->base] ^= (uint64_t)g_rand_int(f->rand) << 32;
        }
    } else if (insn->disp_size == 4 && insn->base >= R_ZERO) {
        disp32 = target - (sum - insn->disp) - (insn->base == R_RIP ? rip : 0);
        memcpy(bytes + insn->len - insn->imm_size - 4, &disp32, 4);
    }
}

/* ---- one try ------------------------------------------------------------------------------------------------ */

static void random_exceptions(Fixture *f)
{
    X87State *x = (X87State *)(void *)f->state.fx;

    if (pick(f->rand, 4) == 0) {
        x->mxcsr &= ~(g_rand_int(f->rand) & 0x1f80);
    }
    if (pick(f->rand, 4) == 0) {
        x->fcw &= ~(g_rand_int(f->rand) & 0x3f);
    }
    if (pick(f->rand, 12) == 0) {
        x->fsw |= 1u << pick(f->rand, 6);
        x->fsw |= x->fsw & ~x->fcw & 0x3f ? 0x8080 : 0;
    }
}

/* The host's MXCSR_MASK may have MM, the guest's has not; half of the values are to be valid ones. */
static void aim_mxcsr(Fixture *f)
{
    uint32_t *data = (uint32_t *)(uintptr_t)BENCH_DATA;
    uint32_t mask = pick(f->rand, 2) ? 0xfdfdfdfd : 0xffff & 0xfdfdfdfd;

    for (unsigned i = 0; i < BENCH_DATA_SIZE / 4; i++) {
        data[i] &= mask;
    }
}

/* Most jumps are to arrive where there is code, wherever they take their target from. */
static void aim_jump(Fixture *f, const Insn *insn)
{
    uint64_t target = BENCH_CODE + 0x800 + pick(f->rand, 64);
    unsigned width = f->bits / 8;

    if (!pick(f->rand, 4)) {
        return;
    }
    if (insn->sem == sem_sysret || insn->sem == sem_sysexit) {
        f->state.gpr[R_RCX] = f->state.gpr[R_RDX] = target;
        f->state.gpr[R_R11] = pick(f->rand, 2) ? FLAG_IF | 2 : f->state.gpr[R_R11] & ~(uint64_t)FLAG_TF;
    } else if (insn->op[1].kind == OPK_GPR && insn->op[1].reg != R_RSP) {
        f->state.gpr[insn->op[1].reg] = target;
    } else {
        for (unsigned i = 0; i < BENCH_DATA_SIZE; i += width) {
            memcpy((uint8_t *)(uintptr_t)BENCH_DATA + i, &target, width);
        }
    }
}

static void set_up_cpu(Fixture *f)
{
    X86Cpu *cpu = f->e.cpu;
    uint32_t cr0;

    engines_mode(&f->e, f->bits, f->cpl);
    for (unsigned seg = SEG_FS; seg <= SEG_GS; seg++) {
        cpu->segs[seg].base = pick(f->rand, 2) ? 0 : (uint64_t)pick(f->rand, 0x10000) << 8;
        if (f->bits == 64 && pick(f->rand, 2)) {
            cpu->segs[seg].base -= 0x100000000;
        }
    }
    cr0 = pick(f->rand, 24) ? 0 : pick(f->rand, 2) ? CR0_TS : CR0_EM;
    cpu->cr0 |= cr0;
    x86_update_mode(cpu);
}

/* Decodes to the row, in the mode of the CPU? */
static bool encode(Fixture *f, const InsnDef *def, InsnMaker *m, Insn *insn)
{
    insn_make(m, def, f->rand, MAKE_FAR | (f->bits == 32 ? MAKE_32 : 0));
    return insn_decode(insn, m->bytes, sizeof(m->bytes), f->e.cpu->mode, NULL) == DECODE_OK &&
           insn->def == def && def->sem;
}

static void report(Fixture *f, const Insn *insn, const char *when, const GString *why)
{
    g_autoptr(GString) hex = g_string_new(NULL);

    for (unsigned i = 0; i < f->len; i++) {
        g_string_append_printf(hex, f->at + i == f->row_rip ? "| %02x " : "%02x ", f->code[i]);
    }
    f->failed++;
    if (f->row_failed++ < 2) {
        g_test_message("%s %u-bit CPL %u at %lx [ %s] %s:%s", insn->def->name, f->bits, f->cpl, f->at,
                       hex->str, when, why->str);
    }
}

/* Flags dead before the row's instruction may be anything when it faults. */
static uint64_t flags_to_compare(const Fixture *f, const Insn *insn, bool flags_behind)
{
    static const uint32_t bits[6] = { FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF };
    uint64_t mask = ~undefined_flags(insn->def), rip = 0;
    uint32_t effects = insn->def->effects, killed = (effects >> 8 | effects >> 16) & ~effects;
    int vector = engines_vector(f->e.interpreted, &rip);

    if (vector < 0) {
        return mask;
    }
    if (rip != f->row_rip) {
        return *(const uint8_t *)(uintptr_t)rip == 0xf4 ? mask : mask & ~FLAGS_ARITH;
    }
    if (!flags_behind) {
        killed = FX_ARITH & ~effects;
    }
    if (insn->sem == sem_sysret && insn->op_size == 8) {
        killed = FX_ARITH;                  /* it takes them from R11 */
    }
    for (unsigned i = 0; i < 6; i++) {
        mask &= killed >> i & 1 ? ~(uint64_t)bits[i] : ~0ull;
    }
    return mask;
}

/* RET and indirect jumps to a non-canonical address fault at the target (docs/devel/limits.md), not before;
 * a fault of an MMX instruction on the host may have made the x87 stack MMX registers. */
static bool known_difference(const Fixture *f, const Insn *insn)
{
    uint64_t rip = 0;
    int vector = engines_vector(f->e.interpreted, &rip);

    return rip == f->row_rip &&
           ((vector == VEC_GP && f->bits == 64 && (insn->def->attrs & A_CTRL) &&
             !(insn->def->attrs & A_SYS)) ||
            (vector == VEC_XM && (insn->def->attrs & A_MMX)));
}

static void compare(Fixture *f, const Insn *insn, const char *when)
{
    g_autoptr(GString) why = g_string_new(NULL);
    const X87State *x = (const void *)f->e.interpreted->rest;

    engines_save(&f->e, f->e.translated);
    engines_compare(f->e.interpreted, f->e.translated, flags_to_compare(f, insn, f->flags_read),
                    undefined_fsw(insn->def, x), why);
    if (why->len) {
        report(f, insn, when, why);
    }
}

static void try_row(Fixture *f, const InsnDef *def)
{
    uint64_t rip = 0;
    unsigned row;
    InsnMaker m;
    Insn insn;

    set_up_cpu(f);
    if (!encode(f, def, &m, &insn)) {
        return;
    }
    insn_state_random(&f->state, f->rand);
    insn_state_random_x87(&f->state, f->rand);
    random_exceptions(f);
    if (!insn_aim(&f->state, &insn, f->rand)) {
        return;
    }
    f->at = BENCH_CODE + (pick(f->rand, 3) ? pick(f->rand, 64) : 0x1000 - pick(f->rand, 24));
    f->len = 0;
    f->flags_read = true;
    put_producer(f);
    row = f->len;
    f->row_rip = f->at + row;
    put(f, m.bytes, insn.len);
    if ((def->attrs & A_BRANCH) && insn.imm_size == 4 && pick(f->rand, 4)) {
        memcpy(f->code + f->len - 4, (const uint32_t[]){ 0x700 + pick(f->rand, 64) }, 4);
    }
    if (insn_has_mem(&insn)) {
        place_operand(f, &insn, f->code + row, f->row_rip + insn.len);
    }
    put_consumer(f, &insn, undefined_flags(def));
    data_random(f->rand);
    if (g_str_has_suffix(def->name, "ldmxcsr")) {
        aim_mxcsr(f);
    } else if ((def->attrs & A_CTRL) && !(def->attrs & A_BRANCH)) {
        aim_jump(f, &insn);
    }
    engines_code(&f->e, f->at, f->code, f->len);
    insn_state_load(&f->state, f->e.cpu);
    f->e.cpu->rip = f->at;
    engines_save(&f->e, f->e.start);

    engines_load(&f->e, f->e.start, true);
    if (!engines_interpret(&f->e, 300)) {
        return;
    }
    engines_save(&f->e, f->e.interpreted);
    if (known_difference(f, &insn)) {
        return;
    }
    f->tried++;
    f->faulted += engines_vector(f->e.interpreted, &rip) >= 0 && rip == f->row_rip;
    engines_load(&f->e, f->e.start, true);
    engines_translate(&f->e);
    compare(f, &insn, "at first");
    engines_load(&f->e, f->e.start, false);
    engines_translate(&f->e);
    compare(f, &insn, "again");
}

/* Not those whose results differ from run to run. */
static bool row_is_testable(const InsnDef *def)
{
    return !g_str_equal(def->name, "rdrand") && !g_str_equal(def->name, "rdseed");
}

/* Can code of this width hold the row at all? */
static bool row_is_valid(const InsnDef *def, unsigned bits)
{
    if (def->modes == (bits == 64 ? MODES_NO64 : MODES_ONLY64)) {
        return false;
    }
    if (bits == 64) {
        return (def->match & (M_A16 | M_A32 | M_A64)) != M_A16;
    }
    return (def->match & (M_O16 | M_O32 | M_O64)) != M_O64 && (def->match & (M_A16 | M_A32 | M_A64)) != M_A64 &&
           !(def->map < MAP_VEX0F && (def->match & M_W1));
}

static void test_mode(gconstpointer mode)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    const char *only = g_getenv("RHEA_INSN_ROW");
    unsigned n = rounds ? atoi(rounds) : 8, which = GPOINTER_TO_UINT(mode), s = seed ? atoi(seed) : 1;
    Fixture f = { .bits = which >> 4, .cpl = which & 3 };
    g_autoptr(GString) never = g_string_new(NULL);
    unsigned covered = 0;

    if (!engines_init(&f.e)) {
        return;
    }
    f.e.tr->exact_flags = true;     /* block_test.c has the other way */
    f.rand = g_rand_new_with_seed(s);
    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];
        unsigned before = f.tried;

        f.row_failed = 0;
        for (unsigned k = 0; row_is_testable(def) && (!only || g_str_equal(only, def->name)) && k < 40 * n &&
             f.tried - before < n; k++) {
            try_row(&f, def);
        }
        if (f.tried != before) {
            covered++;
        } else if (row_is_valid(def, f.bits)) {
            g_string_append_printf(never, " %s", def->name);
        }
    }
    g_test_message("%u of %u rows covered; of those that this mode has, not:%s", covered, insn_row_count,
                   never->str);
    g_test_message("seed %u: %u tries, %u faulted, %u differences, %lu flushes", s, f.tried, f.faulted,
                   f.failed, f.e.tr->counters.flushes);
    g_assert_cmpuint(f.tried, >, 0);
    /* Every row of the mode but those that give random numbers. */
    if (!only && n >= 8) {
        g_assert_cmpstr(never->str, ==, " rdrand rdseed");
    }
    g_assert_cmpuint(f.failed, ==, 0);
    g_rand_free(f.rand);
    engines_clear(&f.e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/tcg/rows/64/user", GUINT_TO_POINTER(64 << 4 | 3), test_mode);
    g_test_add_data_func("/tcg/rows/64/kernel", GUINT_TO_POINTER(64 << 4 | 0), test_mode);
    g_test_add_data_func("/tcg/rows/32/user", GUINT_TO_POINTER(32 << 4 | 3), test_mode);
    g_test_add_data_func("/tcg/rows/32/kernel", GUINT_TO_POINTER(32 << 4 | 0), test_mode);
    return g_test_run();
}
