/* SPDX-License-Identifier: MIT */
/*
 * Each table row that user code may execute, with random operands, run by the interpreter and
 * by this machine's CPU: registers, flags (undefined ones masked by the row), memory, x87 and
 * vector state, and the exception raised must be equal.
 *
 * Jumps, calls and returns go to a place that leaves a mark.  32-bit code runs in the compatibility mode of a
 * 64-bit process, where Linux allows that.
 * Then at CPL 0 under KVM, where there is one; what it does not run is counted, and faults are compared as such.
 * The same again at CPL 3 with alignment checks on (CR0.AM, which Linux sets, and EFLAGS.AC).
 *
 * RHEA_INSN_ROUNDS=n sets the number of tries per row, RHEA_INSN_SEED the seed, RHEA_INSN_ROW
 * a mnemonic to run alone.  Rows whose feature this machine lacks are counted as skipped.
 */
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>

#include "target-x86/fpu.h"
#include "target-x86/hostop.h"
#include "tests/insn/kvm_run.h"
#include "tests/insn/maker.h"

#define HOST_STATE (BENCH_BASE + 0x300000)

/* Linux' selectors of programs. */
enum { USER32_CS = 0x23, USER_DS = 0x2b, USER64_CS = 0x33 };
/* From BENCH_CODE: the way back to C, a far pointer, 32-bit code; from the instruction: where jumps go. */
enum { AT_BACK = 0x100, AT_FAR = 0x180, AT_32 = 0x200, LANDING = 0x60 };

void host_run(void);
void host_return(void);

typedef struct Fixture {
    X86Cpu *cpu;
    GRand *rand;
    InsnState *host;
    uint8_t *data, data_before[BENCH_DATA_SIZE], data_guest[BENCH_DATA_SIZE];
    unsigned bits;              /* of the code */
    bool align;                 /* alignment checks on */
    bool edge;                  /* operands in memory reach beyond its end */
    unsigned pages;             /* page faults */
    KvmRun *kvm;                /* instead of the process itself */
    uint64_t at;                /* of the instruction */
    unsigned given_up;          /* by KVM */
    uint8_t bytes[31];
    unsigned rows, jumps;
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

static bool host_has(const Fixture *f, unsigned feature)
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
    case X86_FEAT_AVX_AVX2: return host_has(f, X86_FEAT_AVX2);
    case X86_FEAT_AVX_AES: return host_has(f, X86_FEAT_AES) && host_has(f, X86_FEAT_VAES);
    case X86_FEAT_AVX_PCLMUL: return host_has(f, X86_FEAT_PCLMULQDQ) && host_has(f, X86_FEAT_VPCLMULQDQ);
    case X86_FEAT_AVX_GFNI: return host_has(f, X86_FEAT_GFNI);
    }
    if (f->kvm) {
        return kvm_run_cpuid(f->kvm, words[feature / 32].leaf, words[feature / 32].sub, words[feature / 32].reg) >>
               (feature % 32) & 1;
    }
    __get_cpuid_count(words[feature / 32].leaf, words[feature / 32].sub, &r[0], &r[1], &r[2], &r[3]);
    return r[words[feature / 32].reg] >> (feature % 32) & 1;
}

/* ---- comparison ------------------------------------------------------------------------------------------ */

static bool same_vectors(Fixture *f, GString *why)
{
    for (unsigned i = 0; i < (f->host->wide ? 32 : 16); i++) {
        for (unsigned n = 0; n < (f->host->wide ? 8 : 4); n++) {
            uint64_t guest = f->cpu->zmm[i].u64[n], host = f->host->zmm[i].u64[n];

            if (guest != host) {
                g_string_append_printf(why, " zmm%u[%u] %016lx host %016lx", i, n, guest, host);
            }
        }
    }
    for (unsigned i = 0; i < 8 && f->host->wide; i++) {
        if (f->cpu->k[i] != f->host->k[i]) {
            g_string_append_printf(why, " k%u %016lx host %016lx", i, f->cpu->k[i], f->host->k[i]);
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
static int run_in_guest(Fixture *f)
{
    for (unsigned i = 0; i < 1000; i++) {
        int vector = bench_step(f->cpu);

        if (vector >= 0 || f->cpu->rip != f->at) {
            return vector;
        }
    }
    return -2;
}

/* Far pointers, and the way back: jmp *2(%rip). */
static void plant_surroundings(Fixture *f)
{
    uint8_t *code = (uint8_t *)(uintptr_t)BENCH_CODE;
    uint64_t back = (uint64_t)(uintptr_t)host_return;
    struct { uint32_t offset; uint16_t sel; } __attribute__((packed)) far = { BENCH_CODE + AT_32, USER32_CS };
    uint32_t where = BENCH_CODE + AT_FAR;

    memcpy(code + AT_BACK, "\xff\x25\x02\x00\x00\x00", 6);
    memcpy(code + AT_BACK + 8, &back, 8);
    if (f->bits == 32) {                    /* 64-bit: jmp far [AT_FAR] */
        memcpy(code, "\xff\x2c\x25", 3);
        memcpy(code + 3, &where, 4);
        memcpy(code + AT_FAR, &far, 6);
    }
}

/* Leave for AT_BACK; no memory is read, since alignment checks may be on. */
static uint8_t *plant_exit(Fixture *f, uint8_t *code)
{
    uint32_t to = BENCH_CODE + AT_BACK;

    if (f->kvm) {
        *code++ = 0xf4;
        return code;
    }

    if (f->bits == 32) {
        uint16_t sel = USER64_CS;

        *code++ = 0xea;
        memcpy(code, &to, 4);
        memcpy(code + 4, &sel, 2);
        return code + 6;
    }
    to -= (uintptr_t)code + 5;
    *code++ = 0xe9;
    memcpy(code, &to, 4);
    return code + 4;
}

static void plant(Fixture *f, const uint8_t *bytes, unsigned len)
{
    uint8_t *code = (uint8_t *)(uintptr_t)f->at, *landing = code + LANDING;
    uint32_t mark = BENCH_DATA;

    if (!f->kvm) {
        plant_surroundings(f);
    }
    memcpy(code, bytes, len);
    plant_exit(f, code + len);
    /* Where jumps go to: movb $0x5a, BENCH_DATA */
    memcpy(landing, "\xc6\x04\x25", 3);
    memcpy(landing + 3, &mark, 4);
    landing[7] = 0x5a;
    plant_exit(f, landing + 8);
}

/* Jumps, calls and returns go to LANDING if they go anywhere; false: this one cannot. */
static bool aim_jump(Fixture *f, const Insn *insn, uint8_t *bytes)
{
    uint64_t target = f->at + LANDING, *gpr = f->host->gpr;
    unsigned width = f->bits / 8;

    if (insn->prefixes & INSN_66) {         /* 16-bit targets in 32-bit code, a matter of the vendor in 64-bit code */
        return false;
    }
    if (insn->op[1].kind == OPK_REL) {
        memcpy(bytes + insn->len - insn->imm_size, (const uint32_t[]){ LANDING - insn->len }, insn->imm_size);
    } else if (insn->def->attrs & A_RET) {
        memcpy((void *)(uintptr_t)gpr[R_RSP], &target, width);
    } else if (insn_has_mem(insn)) {
        uint64_t ea = gpr[insn->base] + (insn->index < R_ZERO ? gpr[insn->index] << insn->scale : 0) + insn->disp;

        ea = insn->addr_size == 4 ? (uint32_t)ea : ea;
        if (ea - BENCH_DATA < 8 || ea - BENCH_DATA > BENCH_DATA_SIZE - 8) {
            return false;
        }
        memcpy((void *)(uintptr_t)ea, &target, width);
    } else if (insn->op[1].kind == OPK_GPR && insn->op[1].reg != R_RSP) {
        gpr[insn->op[1].reg] = target;
    } else {
        return false;
    }
    return true;
}

/* An instruction of the row in f->bytes, with registers that suit it. */
static bool prepare(Fixture *f, const InsnDef *def, Insn *insn)
{
    uint32_t sizes = def->match & (M_A16 | M_A32 | M_A64);
    InsnMaker m;

    insn_make(&m, def, f->rand, f->bits == 32 ? MAKE_32 : 0);
    if (sizes && !(sizes & (f->bits == 32 ? M_A32 : M_A64))) {
        memmove(m.bytes + 1, m.bytes, sizeof(m.bytes) - 1);
        m.bytes[0] = 0x67;
    }
    memcpy(f->bytes, m.bytes, sizeof(f->bytes));
    if (insn_decode(insn, f->bytes, sizeof(f->bytes), f->cpu->mode, NULL) != DECODE_OK ||
        insn->def != def || insn->fault != FAULT_NONE || !def->sem) {
        return false;
    }
    /* W1 outside 64-bit code: ignored by Intel's processors, #UD on AMD's. */
    if (f->bits == 32 && (insn->rex & REX_W) && (g_str_equal(def->name, "vpextrd") || g_str_equal(def->name, "vpinsrd"))) {
        return false;
    }
    /* Whether masked vectors are checked for alignment is a matter of the processor and of the mask. */
    if (f->align && (insn->evex & EVEX_AAA) && !(def->attrs & A_NF)) {
        return false;
    }
    if (insn_has_mem(insn) && (insn->base >= R_ZERO || insn->index == insn->base)) {
        return false;
    }
    insn_state_random(f->host, f->rand);
    data_random(f->rand);
    insn_state_random_x87(f->host, f->rand);
    if (!insn_aim(f->host, insn, f->rand)) {
        return false;
    }
    for (unsigned i = 0; i < 16 && f->bits == 32; i++) {
        f->host->gpr[i] &= i < 8 ? 0xffffffff : ~0ull;      /* what becomes of the rest is not defined */
    }
    return !(def->attrs & A_CTRL) || (def->attrs & A_SYS) || aim_jump(f, insn, f->bytes);
}

/* The operand, or one element of it that some mask may leave out, lies across the end of memory. */
static bool aim_at_edge(Fixture *f, const Insn *insn)
{
    uint64_t *gpr = f->host->gpr, end = BENCH_BASE + BENCH_SIZE, ea;

    if (!insn_has_mem(insn) || insn->base >= R_ZERO) {
        return false;
    }
    ea = gpr[insn->base] + (insn->index < R_ZERO ? gpr[insn->index] << insn->scale : 0) + insn->disp;
    gpr[insn->base] += end - pick(f->rand, insn->def->attrs & A_VSIB ? 1200 : 72) - ea;
    for (unsigned i = 0; i < 8; i++) {
        f->host->k[i] &= pick(f->rand, 3) ? (2ull << pick(f->rand, 64)) - 1 : g_rand_int(f->rand);
        f->host->k[i] &= pick(f->rand, 4) ? ~0ull : 0;
    }
    return true;
}

static void try_row(Fixture *f, const InsnDef *def)
{
    g_autoptr(GString) why = g_string_new(NULL);
    Insn insn;
    int guest, host;

    if (!prepare(f, def, &insn) || (f->edge && !aim_at_edge(f, &insn))) {
        return;
    }
    f->host->flags |= f->align ? FLAG_AC : 0;
    if (f->edge) {
        memcpy(f->data, (void *)(uintptr_t)BENCH_DATA, BENCH_DATA_SIZE);
    }
    memcpy(f->data_before, f->data, BENCH_DATA_SIZE);
    plant(f, f->bytes, insn.len);
    interp_flush(f->cpu);
    insn_state_load(f->host, f->cpu);
    f->cpu->rip = f->at;
    guest = run_in_guest(f);
    if (guest == -1 && f->cpu->rip == f->at + LANDING) {
        f->data[0] = 0x5a;
        f->jumps++;
    } else if (guest == -1 && f->cpu->rip != f->at + insn.len) {
        g_string_append_printf(why, " to %lx", f->cpu->rip);
    }
    memcpy(f->data_guest, f->data, BENCH_DATA_SIZE);
    memcpy(f->data, f->data_before, BENCH_DATA_SIZE);
    f->host->target = BENCH_CODE;
    host = f->kvm ? kvm_run(f->kvm, f->cpu, f->host, f->at) : run_on_host();
    if (host == KVM_RUN_CANNOT) {
        f->given_up++;
        return;
    }
    f->tried++;
    guest = f->kvm && guest >= 0 ? KVM_RUN_FAULT : guest;
    f->checked += host == VEC_AC;
    f->pages += host == VEC_PF;
    if (guest != host) {
        g_string_printf(why, " exception %d host %d", guest, host);
    } else if (host == -1) {
        compare_all(f, &insn, why);
    }
    if (why->len) {
        report(f, &insn, f->bytes, why);
    }
}

/* By a semantic function of the system's kind, but nothing of the system in them. */
static bool is_plain_all_the_same(const InsnDef *def)
{
    static const char *const names[] = { "daa", "das", "aaa", "aas", "aam", "aad", "salc", "pusha", "popa", "bound", "into" };

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (g_str_equal(def->name, names[i])) {
            return true;
        }
    }
    return false;
}

static bool row_is_testable(const InsnDef *def, unsigned bits)
{
    if (def->modes == (bits == 32 ? MODES_ONLY64 : MODES_NO64) || (def->attrs & (A_CPL0 | A_UD)) ||
        ((def->attrs & A_SYS) && !is_plain_all_the_same(def))) {
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

/* How much MASKMOVDQU, FXSAVE and kin, compressing stores and MOVSXD r16 access depends on the processor. */
static bool alignment_is_defined(const InsnDef *def)
{
    static const char *const varies[] = { "maskmov", "vmaskmovdqu", "fxsave", "fxrstor", "xsave", "xrstor",
                                         "movsxd", "vcompress", "vpcompress" };

    for (unsigned i = 0; i < ARRAY_LEN(varies); i++) {
        if (g_str_has_prefix(def->name, varies[i])) {
            return false;
        }
    }
    return true;
}

/* Does this machine run 32-bit code in a 64-bit process? */
static bool host_runs_32(Fixture *f)
{
    insn_state_random(f->host, f->rand);
    insn_state_random_x87(f->host, f->rand);
    insn_aim(f->host, &(Insn){ .def = &insn_rows[0] }, f->rand);
    plant(f, (const uint8_t *)"\x90", 1);
    f->host->target = BENCH_CODE;
    /* Not null, as they are in 64-bit code, where nobody looks at them. */
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(USER_DS));
    return run_on_host() == -1;
}

/* Where no processor helps, Linux' KVM runs some of the guest by an emulator of its own.  There, flags of AAM and AAD are not
 * those of the result's eight bits, CMPXCHG that fails and BSF and BSR of 0 clear the upper half of their destination, which
 * processors keep (see /insn/host), and FXRSTOR does not mind where its image lies. */
static bool kvm_is_wrong(const InsnDef *def)
{
    static const char *const names[] = { "aam", "aad", "bsf", "bsr", "cmpxchg", "fxrstor", NULL };

    return g_strv_contains(names, def->name);
}

static void run_rows(unsigned bits, bool align, KvmRun *kvm, bool edge)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    const char *only = g_getenv("RHEA_INSN_ROW");
    unsigned n = rounds ? atoi(rounds) : 20;
    Fixture f = { .cpu = bench_cpu_new(), .bits = bits, .align = align, .kvm = kvm, .edge = edge,
                  .at = BENCH_CODE + (bits == 32 ? AT_32 : 0) };
    g_autoptr(GString) never = g_string_new(NULL);
    g_autoptr(GError) error = NULL;

    if (!host_op_init(&error)) {
        g_error("%s", error->message);
    }
    f.rand = g_rand_new_with_seed(seed ? atoi(seed) : 1);
    f.host = (InsnState *)(uintptr_t)HOST_STATE;
    f.data = (uint8_t *)(uintptr_t)(edge ? BENCH_BASE + BENCH_SIZE - BENCH_DATA_SIZE : BENCH_DATA);
    if (edge) {
        bench_end_memory();
    }
    catch_signals();
    bench_set_mode(f.cpu, bits, kvm ? 0 : 3);
    if (simd_host_has(X86_FEAT_AVX512F) && !kvm) {
        f.cpu->xcr0 |= XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
        x86_update_mode(f.cpu);
        f.host->wide = 1;
    }
    if (align) {
        x86_write_cr0(f.cpu, f.cpu->cr0 | CR0_AM);
    }
    if (bits == 32 && !kvm && !host_runs_32(&f)) {
        g_test_skip("this host runs no 32-bit code");
        goto out;
    }
    for (unsigned i = 0; i < insn_row_count; i++) {
        const InsnDef *def = &insn_rows[i];
        unsigned before = f.tried, left = f.given_up;

        if (!row_is_testable(def, bits) || (edge && !(def->attrs & A_EVEX)) || (only && !g_str_equal(only, def->name)) ||
            (align && !alignment_is_defined(def)) || (kvm && kvm_is_wrong(def))) {
            continue;
        }
        if (!host_has(&f, def->feature)) {
            f.skipped_rows++;
            continue;
        }
        for (unsigned k = 0; k < 10 * n && f.tried - before < n && f.given_up - left < 5; k++) {
            try_row(&f, def);
        }
        f.rows += f.tried != before;
        if (f.tried == before) {
            g_string_append_printf(never, " %s", def->name);
        }
    }
    g_test_message("%u tries of %u rows, %u differences, %u rows skipped for lack of the feature, %u jumps, %u #AC, "
                   "%u #PF, %u left by KVM; never made:%s",
                   f.tried, f.rows, f.failed, f.skipped_rows, f.jumps, f.checked, f.pages, f.given_up, never->str);
    g_assert_cmpuint(f.tried, >, 0);
    g_assert_cmpuint(f.failed, ==, 0);
    g_assert_true(!align || only || f.checked);
    g_assert_true(only || f.jumps || edge);
    g_assert_true(only || f.pages || !edge);
out:
    g_rand_free(f.rand);
    bench_cpu_free(f.cpu);
}

static void test_rows_against_host(void)
{
    if (__builtin_cpu_supports("avx")) {
        run_rows(64, false, NULL, false);
    } else {
        g_test_skip("this host has no AVX");
    }
}

static void test_32_bit_rows_against_host(void)
{
    if (__builtin_cpu_supports("avx")) {
        run_rows(32, false, NULL, false);
    } else {
        g_test_skip("this host has no AVX");
    }
}

static void test_against_kvm(gconstpointer bits)
{
    const char *why;
    KvmRun kvm;

    /* The memory has to be there when KVM is told of it: run_rows() maps the same again. */
    if (!kvm_run_open(&kvm, &why)) {
        g_test_skip(why);
    } else {
        run_rows(GPOINTER_TO_UINT(bits), false, &kvm, false);
    }
    kvm_run_close(&kvm);
}

/* Elements that the mask leaves out cannot fault; of some rows they can. */
static void test_masked_faults_against_host(void)
{
    if (simd_host_has(X86_FEAT_AVX512F)) {
        run_rows(64, false, NULL, true);
    } else {
        g_test_skip("this host has no AVX-512");
    }
}

static void test_alignment_against_host(void)
{
    if (__builtin_cpu_supports("avx") && __builtin_cpu_is("amd")) {
        run_rows(64, true, NULL, false);
    } else {
        g_test_skip("alignment checks of vectors are compared with AMD processors only");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/insn/host", test_rows_against_host);
    g_test_add_func("/insn/host/32", test_32_bit_rows_against_host);
    g_test_add_data_func("/insn/kvm/64", GUINT_TO_POINTER(64), test_against_kvm);
    g_test_add_data_func("/insn/kvm/32", GUINT_TO_POINTER(32), test_against_kvm);
    g_test_add_func("/insn/host/alignment", test_alignment_against_host);
    g_test_add_func("/insn/host/masked-faults", test_masked_faults_against_host);
    return g_test_run();
}
