/* SPDX-License-Identifier: MIT */
/*
 * Each table row that user code may execute, with random operands, run by the interpreter and
 * by this machine's CPU: registers, flags (undefined ones masked by the row), memory, x87 and
 * vector state, and the exception raised must be equal.
 *
 * RHEA_INSN_ROUNDS=n sets the number of tries per row, RHEA_INSN_SEED the seed, RHEA_INSN_ROW
 * a mnemonic to run alone.  Rows whose feature this machine lacks are counted as skipped.
 */
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>

#include "target-x86/hostop.h"
#include "tests/insn/bench.h"

#define HOST_STATE (BENCH_BASE + 0x300000)

typedef struct HostState {
    uint64_t gpr[16];
    uint64_t flags, target, stack;
    uint64_t pad[45];
    uint8_t fx[512] __attribute__((aligned(16)));
    uint8_t ymm[16][32];
} HostState;
G_STATIC_ASSERT(offsetof(HostState, fx) == 512 && offsetof(HostState, ymm) == 1024);

void host_run(void);
void host_return(void);

typedef struct Fixture {
    X86Cpu *cpu;
    GRand *rand;
    HostState *host, before;
    uint8_t *data, data_before[BENCH_DATA_SIZE], data_guest[BENCH_DATA_SIZE];
    unsigned tried, failed, skipped_rows;
} Fixture;

/* ---- the host's side ----------------------------------------------------------------------- */

static sigjmp_buf host_fault;
static volatile int host_vector;
static volatile bool on_host;
static struct sigaction previous[NSIG];      /* hostop.c's, for the interpreter's side */

static void on_signal(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;

    if (!on_host) {
        previous[sig].sa_sigaction(sig, info, context);
        return;
    }
    host_vector = uc->uc_mcontext.gregs[REG_TRAPNO];
    siglongjmp(host_fault, 1);
}

static void catch_signals(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
    stack_t stack = { .ss_sp = g_malloc(65536), .ss_size = 65536 };
    struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        sigaction(signals[i], &sa, &previous[signals[i]]);
    }
}

/* -1, or the vector of the exception. */
static int run_on_host(void)
{
    host_vector = -1;
    on_host = true;
    if (!sigsetjmp(host_fault, 0)) {
        host_run();
    }
    __asm__ volatile("cld\n\tfninit");
    on_host = false;
    return host_vector;
}

static bool host_has(unsigned feature)
{
    static const struct { uint32_t leaf, sub; uint8_t reg; } words[FEAT_WORDS] = {
        [FEAT_1_EDX] = { 1, 0, 3 }, [FEAT_1_ECX] = { 1, 0, 2 }, [FEAT_7_0_EBX] = { 7, 0, 1 },
        [FEAT_7_0_ECX] = { 7, 0, 2 }, [FEAT_7_0_EDX] = { 7, 0, 3 }, [FEAT_7_1_EAX] = { 7, 1, 0 },
        [FEAT_8000_0001_EDX] = { 0x80000001, 0, 3 }, [FEAT_8000_0001_ECX] = { 0x80000001, 0, 2 },
        [FEAT_8000_0007_EDX] = { 0x80000007, 0, 3 }, [FEAT_8000_0008_EBX] = { 0x80000008, 0, 1 },
        [FEAT_D_1_EAX] = { 0xd, 1, 0 }, [FEAT_6_EAX] = { 6, 0, 0 },
    };
    uint32_t r[4] = { 0 };

    switch (feature) {
    case X86_FEAT_BASE: return true;
    case X86_FEAT_NEVER: return false;
    case X86_FEAT_AVX_AVX2: return host_has(X86_FEAT_AVX2);
    case X86_FEAT_AVX_AES: return host_has(X86_FEAT_AES) && host_has(X86_FEAT_VAES);
    case X86_FEAT_AVX_PCLMUL: return host_has(X86_FEAT_PCLMULQDQ) && host_has(X86_FEAT_VPCLMULQDQ);
    case X86_FEAT_AVX_GFNI: return host_has(X86_FEAT_GFNI);
    }
    __get_cpuid_count(words[feature / 32].leaf, words[feature / 32].sub, &r[0], &r[1], &r[2], &r[3]);
    return r[words[feature / 32].reg] >> (feature % 32) & 1;
}

/* ---- making an instruction --------------------------------------------------------------------- */

typedef struct Maker {
    GRand *rand;
    const InsnDef *def;
    uint8_t bytes[32];
    unsigned len;
} Maker;

static unsigned pick(GRand *rand, unsigned n)
{
    return g_rand_int_range(rand, 0, n);
}

static void put(Maker *m, unsigned byte)
{
    m->bytes[m->len++] = byte;
}

static unsigned mandatory_prefix(Maker *m)
{
    uint32_t allowed = m->def->match & M_PREFIXES;
    unsigned p;

    if (!allowed) {
        return 0;
    }
    do {
        p = pick(m->rand, 4);
    } while (!(allowed & (1u << p)));
    return p;                   /* 0 none, 1 66, 2 F3, 3 F2 */
}

static void put_modrm(Maker *m)
{
    uint32_t match = m->def->match;
    unsigned reg = match & M_HAS_REG ? match >> 24 & 7 : pick(m->rand, 8);
    bool mem = match & M_MEM ? true : match & M_RR ? false : pick(m->rand, 2);
    unsigned rm = pick(m->rand, 8), mod = pick(m->rand, 3);

    if (!mem) {
        put(m, 0xc0 | reg << 3 | (match & M_HAS_RM ? match >> 27 & 7 : rm));
        return;
    }
    if (rm == 5 && mod == 0) {
        mod = 1;
    }
    put(m, mod << 6 | reg << 3 | rm);
    if (rm == 4) {
        unsigned base = pick(m->rand, 8);

        if (base == 5) {
            base = 3;
        }
        put(m, pick(m->rand, 4) << 6 | pick(m->rand, 8) << 3 | base);
    }
    if (mod == 1) {
        put(m, pick(m->rand, 256));
    } else if (mod == 2) {
        put(m, pick(m->rand, 256));
        put(m, 0);
        put(m, 0);
        put(m, 0);
    }
}

static bool uses_modrm(const InsnDef *def)
{
    for (unsigned n = 0; n < 4; n++) {
        switch (def->opnd[n] >> 8) {
        case OT_E: case OT_G: case OT_M: case OT_R: case OT_S: case OT_P: case OT_Q: case OT_N:
        case OT_V: case OT_W: case OT_U: case OT_RM: case OT_STI: case OT_VSIB:
            return true;
        }
    }
    return def->match & (M_MEM | M_RR | M_HAS_REG | M_HAS_RM);
}

static void put_legacy_head(Maker *m)
{
    static const uint8_t prefix_byte[4] = { 0, 0x66, 0xf3, 0xf2 };
    const InsnDef *def = m->def;
    unsigned p = mandatory_prefix(m), rex = 0;

    if (!(def->match & M_PREFIXES) && pick(m->rand, 4) == 0) {
        put(m, 0x66);
    }
    if ((def->attrs & (A_REP | A_REPCC)) && pick(m->rand, 2)) {
        put(m, def->attrs & A_REP || pick(m->rand, 2) ? 0xf3 : 0xf2);
    }
    if (p) {
        put(m, prefix_byte[p]);
    }
    if ((def->attrs & A_LOCK) && (def->opnd[0] >> 8) != OT_NIL && pick(m->rand, 4) == 0) {
        put(m, 0xf0);
    }
    if (pick(m->rand, 2)) {
        rex = 0x40 | pick(m->rand, 16);
    }
    if (def->match & M_W1) {
        rex |= 0x48;
    } else if (def->match & M_W0) {
        rex &= ~8u;
    }
    if (rex & 0x40) {
        put(m, rex);
    }
    if (def->map != MAP_1BYTE) {
        put(m, 0x0f);
    }
    if (def->map == MAP_0F38 || def->map == MAP_0F3A) {
        put(m, def->map == MAP_0F38 ? 0x38 : 0x3a);
    }
}

static void put_vex_head(Maker *m)
{
    uint32_t match = m->def->match;
    unsigned w = match & M_W1 ? 1 : match & M_W0 ? 0 : pick(m->rand, 2);
    unsigned l = (match & (M_L0 | M_L1)) == M_L1 ? 1 : match & M_L0 ? 0 : pick(m->rand, 2);
    unsigned v = match & M_V1111 ? 15 : pick(m->rand, 16);

    put(m, 0xc4);
    put(m, pick(m->rand, 8) << 5 | (m->def->map - MAP_VEX0F + 1));
    put(m, w << 7 | v << 3 | l << 2 | mandatory_prefix(m));
}

/* Immediates are whatever follows: the decoder says how much of it counts. */
static void make(Maker *m, const InsnDef *def, GRand *rand)
{
    *m = (Maker){ .rand = rand, .def = def };
    if (def->map >= MAP_VEX0F) {
        put_vex_head(m);
    } else {
        put_legacy_head(m);
    }
    put(m, def->op);
    if (uses_modrm(def)) {
        put_modrm(m);
    }
    for (unsigned i = 0; i < 10; i++) {
        put(m, pick(rand, 256));
    }
}

/* ---- operands --------------------------------------------------------------------------------------- */

static uint64_t interesting(GRand *rand)
{
    static const uint64_t values[] = {
        0, 1, 2, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
        0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0x3ff0000000000000,
        0x7ff0000000000000, 0x3f8000007f800000,
    };
    uint64_t r = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);

    switch (pick(rand, 4)) {
    case 0: return values[pick(rand, ARRAY_LEN(values))];
    case 1: return values[pick(rand, ARRAY_LEN(values))] + pick(rand, 5) - 2;
    case 2: return r >> pick(rand, 64);
    default: return r;
    }
}

static uint64_t data_address(GRand *rand)
{
    uint64_t align = pick(rand, 3) ? 64 : 1;

    return BENCH_DATA + BENCH_DATA_SIZE / 2 + (pick(rand, 0x600) & ~(align - 1));
}

/* Registers that make memory operands land in the data area; false: impossible. */
static bool aim(Fixture *f, const Insn *insn)
{
    uint64_t *gpr = f->host->gpr;

    gpr[R_RSP] = data_address(f->rand) & ~7ull;
    if (insn->def->attrs & (A_IMPLICIT | A_REP | A_REPCC | A_MULTI | A_STACK)) {
        gpr[R_RBP] = data_address(f->rand);
        gpr[R_RSI] = data_address(f->rand);
        gpr[R_RDI] = data_address(f->rand);
        if (insn->def->attrs & (A_REP | A_REPCC)) {
            gpr[R_RCX] = pick(f->rand, 40);
        }
        if (insn->opcode == 0xd7 && insn->map == MAP_1BYTE) {
            gpr[R_RBX] = data_address(f->rand);
        }
    }
    if (!insn_has_mem(insn)) {
        return true;
    }
    if (insn->index != R_ZERO && insn->index != insn->base) {
        gpr[insn->index] = pick(f->rand, 256);
    }
    if (insn->base < R_ZERO) {
        gpr[insn->base] = data_address(f->rand);
        if (insn->disp_size == 1) {
            gpr[insn->base] -= pick(f->rand, 2) ? insn->disp : 0;
        }
    }
    /* BT with a register index reaches far. */
    if (insn->map == MAP_0F && (insn->opcode & 0xe7) == 0xa3) {
        if (insn->op[2].reg == insn->base || insn->op[2].reg == insn->index) {
            return false;
        }
        gpr[insn->op[2].reg] = (int)pick(f->rand, 4096) - 2048;
    }
    return true;
}

static void randomize(Fixture *f)
{
    for (unsigned i = 0; i < 16; i++) {
        f->host->gpr[i] = interesting(f->rand);
    }
    for (unsigned i = 0; i < BENCH_DATA_SIZE / 8; i++) {
        ((uint64_t *)f->data)[i] = pick(f->rand, 2) ? interesting(f->rand)
                                 : (uint64_t)g_rand_int(f->rand) << 32 | g_rand_int(f->rand);
    }
    for (unsigned i = 0; i < 64; i++) {
        ((uint64_t *)f->host->ymm)[i] = interesting(f->rand);
    }
    f->host->flags = (g_rand_int(f->rand) & FLAGS_ARITH) | FLAG_IF | FLAG_ONE |
                     (pick(f->rand, 8) ? 0 : FLAG_DF);
}

/* A valid x87 state with random tags and a few kinds of numbers. */
static void randomize_x87(Fixture *f)
{
    X87State *x = (X87State *)f->host->fx;

    memset(f->host->fx, 0, sizeof(f->host->fx));
    x->fcw = 0x037f | pick(f->rand, 4) << 10;
    x->fsw = pick(f->rand, 8) << 11 | (g_rand_int(f->rand) & 0x4700);
    x->ftw = pick(f->rand, 4) ? 0xff : g_rand_int(f->rand);
    x->mxcsr = 0x1f80 | pick(f->rand, 4) << 13 | (pick(f->rand, 4) ? 0 : 0x8000);
    x->mxcsr_mask = 0xffff;
    for (unsigned i = 0; i < 8; i++) {
        static const uint16_t exponents[] = { 0x3fff, 0x4000, 0x3ffe, 0x4010, 0, 0x7fff, 0x403d, 0x3fc0 };

        x->st[i].exponent = exponents[pick(f->rand, 8)] | pick(f->rand, 2) << 15;
        x->st[i].mantissa = interesting(f->rand) | ((x->st[i].exponent & 0x7fff) ? 1ull << 63 : 0);
    }
}

static void load_guest(Fixture *f)
{
    X86Cpu *cpu = f->cpu;

    memcpy(cpu->gpr, f->host->gpr, sizeof(f->host->gpr));
    x86_set_rflags(cpu, f->host->flags);
    memcpy(&cpu->x87, f->host->fx, sizeof(cpu->x87));
    memset(cpu->zmm, 0, sizeof(cpu->zmm));
    for (unsigned i = 0; i < 16; i++) {
        memcpy(&cpu->zmm[i], f->host->ymm[i], 32);
    }
    cpu->rip = BENCH_CODE;
    cpu->halted = false;
    x86_update_mode(cpu);
}

/* ---- comparison ------------------------------------------------------------------------------------------ */

static uint64_t undefined_flags(const InsnDef *def)
{
    static const uint32_t bits[6] = { FLAG_CF, FLAG_PF, FLAG_AF, FLAG_ZF, FLAG_SF, FLAG_OF };
    uint64_t mask = 0;

    for (unsigned i = 0; i < 6; i++) {
        mask |= def->effects >> 24 & (1u << i) ? bits[i] : 0;
    }
    return mask;
}

static bool same_vectors(Fixture *f, GString *why)
{
    for (unsigned i = 0; i < 16; i++) {
        if (memcmp(&f->cpu->zmm[i], f->host->ymm[i], 32)) {
            g_string_append_printf(why, " ymm%u %016lx%016lx%016lx%016lx host %016lx%016lx%016lx%016lx", i,
                                   f->cpu->zmm[i].u64[3], f->cpu->zmm[i].u64[2], f->cpu->zmm[i].u64[1],
                                   f->cpu->zmm[i].u64[0], ((uint64_t *)f->host->ymm[i])[3],
                                   ((uint64_t *)f->host->ymm[i])[2], ((uint64_t *)f->host->ymm[i])[1],
                                   ((uint64_t *)f->host->ymm[i])[0]);
        }
    }
    return why->len == 0;
}

/* FSW bits the SDM leaves undefined: C1 of comparisons and moves, C0-C3 of a partial remainder
 * that is not a number. */
static uint16_t undefined_fsw(const InsnDef *def, const X87State *h)
{
    if (g_str_has_prefix(def->name, "fcmov") || g_str_has_prefix(def->name, "fcomi") ||
        g_str_has_prefix(def->name, "fucomi")) {
        return 0x200;
    }
    if (g_str_has_prefix(def->name, "fprem") && (h->st[0].exponent & 0x7fff) == 0x7fff) {
        return 0x4700;
    }
    return 0;
}

static void compare_x87(Fixture *f, const Insn *insn, GString *why)
{
    const X87State *h = (const X87State *)f->host->fx, *g = &f->cpu->x87;

    if (h->fcw != g->fcw || ((h->fsw ^ g->fsw) & ~undefined_fsw(insn->def, h)) || h->ftw != g->ftw || h->mxcsr != g->mxcsr) {
        g_string_append_printf(why, " fcw %x/%x fsw %x/%x ftw %x/%x mxcsr %x/%x", g->fcw, h->fcw, g->fsw,
                               h->fsw, g->ftw, h->ftw, g->mxcsr, h->mxcsr);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (g->st[i].mantissa != h->st[i].mantissa || g->st[i].exponent != h->st[i].exponent) {
            g_string_append_printf(why, " st%u %04x:%016lx host %04x:%016lx", i, g->st[i].exponent,
                                   g->st[i].mantissa, h->st[i].exponent, h->st[i].mantissa);
        }
    }
}

static void compare_all(Fixture *f, const Insn *insn, GString *why)
{
    uint64_t mask = (FLAGS_ARITH | FLAG_DF) & ~undefined_flags(insn->def);
    uint64_t flags = x86_rflags(f->cpu);

    for (unsigned i = 0; i < 16; i++) {
        if (f->cpu->gpr[i] != f->host->gpr[i]) {
            g_string_append_printf(why, " r%u %lx host %lx", i, f->cpu->gpr[i], f->host->gpr[i]);
        }
    }
    if ((flags ^ f->host->flags) & mask) {
        g_string_append_printf(why, " flags %lx host %lx mask %lx", flags, f->host->flags, mask);
    }
    for (unsigned i = 0; i < BENCH_DATA_SIZE; i++) {
        if (f->data[i] != f->data_guest[i]) {
            g_string_append_printf(why, " memory +0x%x %02x host %02x", i, f->data_guest[i], f->data[i]);
            break;
        }
    }
    same_vectors(f, why);
    compare_x87(f, insn, why);
}

static void report(Fixture *f, const Insn *insn, const uint8_t *bytes, const GString *why)
{
    g_autoptr(GString) hex = g_string_new(NULL);

    for (unsigned i = 0; i < insn->len; i++) {
        g_string_append_printf(hex, "%02x ", bytes[i]);
    }
    if (f->failed++ < 400) {
        g_test_message("%s [ %s]:%s", insn->def->name, hex->str, why->str);
    }
}

/* ---- one try ------------------------------------------------------------------------------------------------ */

/* Guest until the instruction is left or faults: `rep` may take several steps. */
static int run_in_guest(X86Cpu *cpu)
{
    for (unsigned i = 0; i < 1000; i++) {
        int vector = bench_step(cpu);

        if (vector >= 0 || cpu->rip != BENCH_CODE) {
            return vector;
        }
    }
    return -2;
}

static void plant(const uint8_t *bytes, unsigned len)
{
    uint8_t *code = (uint8_t *)(uintptr_t)BENCH_CODE;
    uint64_t back = (uint64_t)(uintptr_t)host_return;

    memcpy(code, bytes, len);
    memcpy(code + len, "\xff\x25\x00\x00\x00\x00", 6);      /* jmp *0(%rip) */
    memcpy(code + len + 6, &back, 8);
}

static void try_row(Fixture *f, const InsnDef *def)
{
    g_autoptr(GString) why = g_string_new(NULL);
    Maker m;
    Insn insn;
    int guest, host;

    make(&m, def, f->rand);
    if (insn_decode(&insn, m.bytes, sizeof(m.bytes), f->cpu->mode, NULL) != DECODE_OK ||
        insn.def != def || insn.fault != FAULT_NONE || !def->sem) {
        return;
    }
    if (insn_has_mem(&insn) && (insn.base >= R_ZERO || insn.index == insn.base)) {
        return;
    }
    randomize(f);
    randomize_x87(f);
    if (!aim(f, &insn)) {
        return;
    }
    memcpy(f->data_before, f->data, BENCH_DATA_SIZE);
    plant(m.bytes, insn.len);
    interp_flush(f->cpu);
    load_guest(f);
    guest = run_in_guest(f->cpu);
    memcpy(f->data_guest, f->data, BENCH_DATA_SIZE);
    memcpy(f->data, f->data_before, BENCH_DATA_SIZE);
    f->host->target = BENCH_CODE;
    host = run_on_host();
    f->tried++;
    if (guest != host) {
        g_string_printf(why, " exception %d host %d", guest, host);
    } else if (host == -1) {
        compare_all(f, &insn, why);
    }
    if (why->len) {
        report(f, &insn, m.bytes, why);
    }
}

static bool row_is_testable(const InsnDef *def)
{
    if (def->modes == MODES_NO64 || (def->attrs & (A_SYS | A_CTRL | A_CPL0 | A_UD | A_VSIB))) {
        return false;
    }
    /* Absolute addresses and host identity: cannot land in the data area, or differ by design. */
    for (unsigned n = 0; n < 4; n++) {
        if ((def->opnd[n] >> 8) == OT_O || (def->opnd[n] >> 8) == OT_SEG || (def->opnd[n] >> 8) == OT_S) {
            return false;
        }
    }
    /* MXCSR_MASK, which FXSAVE stores and LDMXCSR checks, is the guest model's. */
    return !g_str_equal(def->name, "enter") && !g_str_equal(def->name, "fxsave") &&
           !g_str_has_suffix(def->name, "ldmxcsr");
}

static void test_rows_against_host(void)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    const char *only = g_getenv("RHEA_INSN_ROW");
    unsigned n = rounds ? atoi(rounds) : 20;
    Fixture f = { .cpu = bench_cpu_new() };
    g_autoptr(GError) error = NULL;

    if (!__builtin_cpu_supports("avx")) {
        g_test_skip("this host has no AVX");
        bench_cpu_free(f.cpu);
        return;
    }
    if (!host_op_init(&error)) {
        g_error("%s", error->message);
    }
    f.rand = g_rand_new_with_seed(seed ? atoi(seed) : 1);
    f.host = (HostState *)(uintptr_t)HOST_STATE;
    f.data = (uint8_t *)(uintptr_t)BENCH_DATA;
    catch_signals();
    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];

        if (!row_is_testable(def) || (only && !g_str_equal(only, def->name))) {
            continue;
        }
        if (!host_has(def->feature)) {
            f.skipped_rows++;
            continue;
        }
        for (unsigned k = 0; k < n; k++) {
            try_row(&f, def);
        }
    }
    g_test_message("%u tries, %u differences, %u rows skipped for lack of the feature", f.tried,
                   f.failed, f.skipped_rows);
    g_assert_cmpuint(f.tried, >, 0);
    g_assert_cmpuint(f.failed, ==, 0);
    g_rand_free(f.rand);
    bench_cpu_free(f.cpu);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/insn/host", test_rows_against_host);
    return g_test_run();
}
