/* SPDX-License-Identifier: MIT */
/*
 * Each table row that user code may execute, with random operands, run by the interpreter and
 * by this machine's CPU: registers, flags (undefined ones masked by the row), memory, x87 and
 * vector state, and the exception raised must be equal.
 *
 * The same again at CPL 3 with alignment checks on (CR0.AM, which Linux sets, and EFLAGS.AC).
 *
 * RHEA_INSN_ROUNDS=n sets the number of tries per row, RHEA_INSN_SEED the seed, RHEA_INSN_ROW
 * a mnemonic to run alone.  Rows whose feature this machine lacks are counted as skipped.
 */
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>

#include "target-x86/hostop.h"
#include "tests/insn/maker.h"

#define HOST_STATE (BENCH_BASE + 0x300000)

void host_run(void);
void host_return(void);

typedef struct Fixture {
    X86Cpu *cpu;
    GRand *rand;
    InsnState *host;
    uint8_t *data, data_before[BENCH_DATA_SIZE], data_guest[BENCH_DATA_SIZE];
    bool align;                 /* alignment checks on */
    unsigned tried, failed, skipped_rows, checked;
} Fixture;

/* ---- the host's side ----------------------------------------------------------------------- */

static sigjmp_buf host_fault;
static volatile int host_vector;
static volatile bool on_host;
static struct sigaction previous[NSIG];      /* hostop.c's, for the interpreter's side */

static void on_signal(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;

    __asm__ volatile("pushq $2\n\tpopfq" : : : "cc");    /* no alignment checks in here */
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

/* ---- comparison ------------------------------------------------------------------------------------------ */

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
    uint32_t far = 256 - (len + 5);

    memcpy(code, bytes, len);
    /* The address is read with alignment checks on: jmp +256; there: jmp *2(%rip) */
    code[len] = 0xe9;
    memcpy(code + len + 1, &far, 4);
    memcpy(code + 256, "\xff\x25\x02\x00\x00\x00", 6);
    memcpy(code + 264, &back, 8);
}

static void try_row(Fixture *f, const InsnDef *def)
{
    g_autoptr(GString) why = g_string_new(NULL);
    InsnMaker m;
    Insn insn;
    int guest, host;

    insn_make(&m, def, f->rand, 0);
    if (insn_decode(&insn, m.bytes, sizeof(m.bytes), f->cpu->mode, NULL) != DECODE_OK ||
        insn.def != def || insn.fault != FAULT_NONE || !def->sem) {
        return;
    }
    if (insn_has_mem(&insn) && (insn.base >= R_ZERO || insn.index == insn.base)) {
        return;
    }
    insn_state_random(f->host, f->rand);
    data_random(f->rand);
    insn_state_random_x87(f->host, f->rand);
    if (!insn_aim(f->host, &insn, f->rand)) {
        return;
    }
    f->host->flags |= f->align ? FLAG_AC : 0;
    memcpy(f->data_before, f->data, BENCH_DATA_SIZE);
    plant(m.bytes, insn.len);
    interp_flush(f->cpu);
    insn_state_load(f->host, f->cpu);
    guest = run_in_guest(f->cpu);
    memcpy(f->data_guest, f->data, BENCH_DATA_SIZE);
    memcpy(f->data, f->data_before, BENCH_DATA_SIZE);
    f->host->target = BENCH_CODE;
    host = run_on_host();
    f->tried++;
    f->checked += host == VEC_AC;
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

/* How much MASKMOVDQU, FXSAVE and kin and MOVSXD r16 access depends on the processor. */
static bool alignment_is_defined(const InsnDef *def)
{
    static const char *const varies[] = { "maskmov", "vmaskmovdqu", "fxsave", "fxrstor", "xsave", "xrstor",
                                         "movsxd" };

    for (unsigned i = 0; i < ARRAY_LEN(varies); i++) {
        if (g_str_has_prefix(def->name, varies[i])) {
            return false;
        }
    }
    return true;
}

static void run_rows(bool align)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    const char *only = g_getenv("RHEA_INSN_ROW");
    unsigned n = rounds ? atoi(rounds) : 20;
    Fixture f = { .cpu = bench_cpu_new(), .align = align };
    g_autoptr(GError) error = NULL;

    if (!host_op_init(&error)) {
        g_error("%s", error->message);
    }
    if (align) {
        x86_write_cr0(f.cpu, f.cpu->cr0 | CR0_AM);
    }
    f.rand = g_rand_new_with_seed(seed ? atoi(seed) : 1);
    f.host = (InsnState *)(uintptr_t)HOST_STATE;
    f.data = (uint8_t *)(uintptr_t)BENCH_DATA;
    catch_signals();
    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];

        if (!row_is_testable(def) || (only && !g_str_equal(only, def->name)) ||
            (align && !alignment_is_defined(def))) {
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
    g_test_message("%u tries, %u differences, %u rows skipped for lack of the feature, %u #AC",
                   f.tried, f.failed, f.skipped_rows, f.checked);
    g_assert_cmpuint(f.tried, >, 0);
    g_assert_cmpuint(f.failed, ==, 0);
    g_assert_true(!align || only || f.checked);
    g_rand_free(f.rand);
    bench_cpu_free(f.cpu);
}

static void test_rows_against_host(void)
{
    if (__builtin_cpu_supports("avx")) {
        run_rows(false);
    } else {
        g_test_skip("this host has no AVX");
    }
}

static void test_alignment_against_host(void)
{
    if (__builtin_cpu_supports("avx") && __builtin_cpu_is("amd")) {
        run_rows(true);
    } else {
        g_test_skip("alignment checks of vectors are compared with AMD processors only");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/insn/host", test_rows_against_host);
    g_test_add_func("/insn/host/alignment", test_alignment_against_host);
    return g_test_run();
}
