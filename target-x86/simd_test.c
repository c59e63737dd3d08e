/* SPDX-License-Identifier: MIT */
/*
 * Every vector and x87 row: random encodings and operands, executed by the semantic function and
 * natively with the very bytes (own register numbers, own memory operand), full state compared.
 * Then expectations for exceptions, alignment, page crossings and saved images.
 * The seed is fixed unless RHEA_TEST_SEED is set.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "target-x86/bus.h"
#include "target-x86/fpu.h"
#include "target-x86/hostop.h"
#include "target-x86/sem.h"

/* ---- the native side ------------------------------------------------------------------------ */

struct Native {
    uint8_t fx[512] __attribute__((aligned(64)));       /* x87, MXCSR */
    uint8_t ymm[16][32] __attribute__((aligned(64)));
    uint64_t gpr[16], flags;
};
extern struct Native native_in, native_out;
extern void *native_code;
void native_run(void);
struct Native native_in, native_out;
void *native_code;

/* clang-format off */
#define EACH16(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define LOAD_YMM(n) "vmovdqu native_in+512+32*" #n "(%rip), %ymm" #n "\n"
#define SAVE_YMM(n) "vmovdqu %ymm" #n ", native_out+512+32*" #n "(%rip)\n"
#define LOAD_GPR(r, n) "mov native_in+1024+8*" #n "(%rip), %" #r "\n"
#define SAVE_GPR(r, n) "mov %" #r ", native_out+1024+8*" #n "(%rip)\n"
#define EACH_GPR(f) f(rax, 0) f(rcx, 1) f(rdx, 2) f(rbx, 3) f(rbp, 5) f(rsi, 6) f(rdi, 7) f(r8, 8) \
    f(r9, 9) f(r10, 10) f(r11, 11) f(r12, 12) f(r13, 13) f(r14, 14) f(r15, 15)
__asm__(".text\n.globl native_run\n.type native_run,@function\nnative_run:\n"
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rax\n"
        "fxrstor64 native_in(%rip)\n" EACH16(LOAD_YMM) EACH_GPR(LOAD_GPR)
        "pushq native_in+1152(%rip)\npopfq\n"
        "call *native_code(%rip)\n"
        EACH_GPR(SAVE_GPR) "pushfq\npopq native_out+1152(%rip)\n" EACH16(SAVE_YMM)
        "fxsave64 native_out(%rip)\nfninit\nvzeroupper\npushq $0x1f80\nldmxcsr (%rsp)\n"
        "pop %rax\npop %rax\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\ncld\nret\n");
/* clang-format on */

static uint8_t *code_page;
static sigjmp_buf native_trap;
static uint32_t trap_mxcsr;

static void on_native_sigfpe(int sig, siginfo_t *info, void *opaque)
{
    ucontext_t *uc = opaque;

    trap_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
    siglongjmp(native_trap, 1);
}

/* Whether it ended by SIGFPE. */
static bool native_run_traps(void)
{
    uint32_t clean = HOST_MXCSR;

    if (sigsetjmp(native_trap, 1) == 0) {
        native_run();
        return false;
    }
    __asm__ volatile("fninit; vzeroupper; ldmxcsr %0" : : "m"(clean));
    return true;
}

/* ---- the guest side -------------------------------------------------------------------------- */

enum { RAM_BYTES = 4 << 20, MAPPED = 2 << 20, DATA = 0x100000, WINDOW = 4096 };
static uint8_t *ram;
static X86Cpu *cpu;

static void bench_map(void *opaque, uint64_t page, X86Phys *out)
{
    *out = (X86Phys){ page < RAM_BYTES ? ram + page : NULL, true, false };
}
static uint64_t bench_read(void *opaque, uint64_t gpa, unsigned size) { return ~0ull; }
static void bench_write(void *opaque, uint64_t gpa, uint64_t value, unsigned size) { }
static const X86Bus bench_bus = { .map = bench_map, .mmio_read = bench_read,
                                  .mmio_write = bench_write };

/* 64-bit code at CPL 0, the first 2 MiB mapped 1:1, the next not present. */
static void bench_reset(void)
{
    X86Seg flat = { 8, DESC_P | DESC_S | DESC_W | DESC_A | DESC_DB | DESC_G, 0xffffffff, 0 };

    le64_store(ram + 0x1000, 0x2003);
    le64_store(ram + 0x2000, 0x3003);
    le64_store(ram + 0x3000, 0x83);
    x86_cpu_reset(cpu, false);
    cpu->bus = &bench_bus;
    memset(cpu->features, 0xff, sizeof(cpu->features));
    cpu->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_MP | CR0_WP;
    cpu->cr3 = 0x1000;
    cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cpu->efer = EFER_LME | EFER_LMA;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        cpu->segs[i] = flat;
    }
    cpu->segs[SEG_CS].flags = DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_L | DESC_G;
    x86_update_mode(cpu);
    x86_tlb_flush(cpu, true);
    x87_init(cpu);
    g_assert_true(cpu->mode & MODE_AVX);
}

/* Decodes and runs one instruction; the vector it raised, or -1. */
static int guest_run(const uint8_t *bytes, unsigned len, Insn *insn)
{
    sigjmp_buf unwind;

    if (insn_decode(insn, bytes, len, cpu->mode, cpu) != DECODE_OK) {
        return VEC_UD;
    }
    g_assert_cmpuint(insn->len, ==, len);
    cpu->rip = 0x5000;
    cpu->next_rip = 0x5000 + len;
    cpu->unwind = &unwind;
    if (sigsetjmp(unwind, 0)) {
        return cpu->event.vector;
    }
    if (insn->fault != FAULT_NONE) {
        return insn->fault;
    }
    insn->sem(cpu, insn);
    return -1;
}

/* ---- random state -------------------------------------------------------------------------------- */

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void random_bytes(uint8_t *p, unsigned len)
{
    static const uint32_t f32[] = { 0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
        0x7fc00000, 0x7f800001, 1, 0x807fffff, 0x00800000, 0x7f7fffff, 0x40490fdb, 0x4f000000 };
    static const uint64_t f64[] = { 0, 1ull << 63, 0x3ff0000000000000, 0xbff0000000000000,
        0x7ff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 1, 0x800fffffffffffff,
        0x0010000000000000, 0x7fefffffffffffff, 0x400921fb54442d18, 0x41e0000000000000 };
    unsigned kind = rnd() % 4;

    for (unsigned i = 0; i + 8 <= len; i += 8) {
        uint64_t v = rnd();

        if (kind == 1) {
            v = f32[v % ARRAY_LEN(f32)] | (uint64_t)f32[v / 64 % ARRAY_LEN(f32)] << 32;
        } else if (kind == 2) {
            v = f64[v % ARRAY_LEN(f64)];
        } else if (kind == 3) {
            v = (v & 0x807fffff807fffff) | 0x3f0000003f000000 | (rnd() & 0x0180000001800000);
        }
        le64_store(p + i, v);
    }
}

static void random_x87(uint8_t *fx, bool unmasked)
{
    static const uint16_t exps[] = { 0, 0x3fff, 0x7fff, 0x8000, 0xbfff, 0xffff, 1, 0x4000, 0x3ffe,
                                     0x401e, 0x403e, 0x7ffe, 0x3f80, 0x3c00, 0x4005 };
    unsigned kind = rnd() % 3;

    memset(fx, 0, 160);
    le16_store(fx, (rnd() & 0xf00) | (unmasked ? rnd() & 0x3f : 0x3f) | 0x40);
    /* TOP, condition codes, and flags whose mask is set: nothing is pending. */
    le16_store(fx + 2, (rnd() & 0x7f00) | (rnd() & 0x3f & le16_load(fx)));
    fx[4] = kind == 0 ? rnd() : kind == 1 ? 0xff : 0x7f << (rnd() & 1);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t m = rnd() % 4 == 0 ? 0 : rnd() | (rnd() % 8 ? 1ull << 63 : 0);

        le64_store(fx + 32 + 16 * i, rnd() % 5 == 0 ? 1ull << 63 : m);
        le16_store(fx + 40 + 16 * i, exps[rnd() % ARRAY_LEN(exps)]);
    }
    le32_store(fx + 24, 0x1f80);
}

/* ---- encodings ------------------------------------------------------------------------------------- */

/* rsp, and rbx and rdi which hold addresses, are not used as operands. */
static unsigned random_reg(void)
{
    static const uint8_t regs[] = { 0, 1, 2, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

    return regs[rnd() % ARRAY_LEN(regs)];
}

static bool row_has_type(const InsnDef *def, unsigned type)
{
    for (unsigned n = 0; n < 4; n++) {
        if (def->opnd[n] >> 8 == type) {
            return true;
        }
    }
    return false;
}

/* Bytes of one random encoding of the row; 0: this form does not exist. */
static unsigned encode_row(const InsnDef *def, bool mem, uint8_t *out)
{
    static const uint8_t prefixes[] = { [M_NP] = 0, [M_66] = 0x66, [M_F3] = 0xf3, [M_F2] = 0xf2 };
    static const uint8_t maps[] = { [MAP_0F] = 1, [MAP_0F38] = 2, [MAP_0F3A] = 3, [MAP_VEX0F] = 1,
                                    [MAP_VEX0F38] = 2, [MAP_VEX0F3A] = 3 };
    bool vex = def->map >= MAP_VEX0F, vsib = def->attrs & A_VSIB, x87 = def->map == MAP_1BYTE;
    unsigned reg = vsib ? 1 : def->match & M_HAS_REG ? def->match >> 24 & 7 : random_reg();
    unsigned rm = def->match & M_HAS_RM ? def->match >> 27 & 7 : random_reg(), n = 0;
    unsigned vvvv = vsib ? 3 : def->match & M_V1111 ? 0 : random_reg();
    unsigned w = def->match & M_W1 ? 1 : def->match & M_W0 ? 0 : rnd() & 1;
    unsigned l = def->match & M_L1 ? 1 : def->match & M_L0 ? 0 : rnd() & 1;
    uint8_t prefix = prefixes[def->match & M_PREFIXES];

    if ((mem && (def->match & M_RR)) || (!mem && (def->match & M_MEM))) {
        return 0;
    }
    if (row_has_type(def, OT_Q) || row_has_type(def, OT_N)) {
        rm &= 7;
    }
    if (x87) {
        rm &= 7;
        reg &= 7;
    }
    if (vex) {
        bool has_vvvv = row_has_type(def, OT_H) || row_has_type(def, OT_B);
        unsigned pp = prefix == 0x66 ? 1 : prefix == 0xf3 ? 2 : prefix == 0xf2 ? 3 : 0;

        out[n++] = 0xc4;
        out[n++] = (reg & 8 ? 0 : 0x80) | 0x40 | (!mem && (rm & 8) ? 0 : 0x20) | maps[def->map];
        out[n++] = w << 7 | (has_vvvv ? ~vvvv & 15 : 15) << 3 | l << 2 | pp;
    } else if (!x87) {
        uint8_t rex = (reg & 8 ? 4 : 0) | (!mem && (rm & 8) ? 1 : 0) | w << 3;

        if (prefix) {
            out[n++] = prefix;
        }
        if (rex) {
            out[n++] = 0x40 | rex;
        }
        out[n++] = 0x0f;
        if (maps[def->map] > 1) {
            out[n++] = maps[def->map] == 2 ? 0x38 : 0x3a;
        }
    }
    out[n++] = def->op;
    if (!def->opnd[0] && !def->opnd[1] && !(def->match & (M_HAS_REG | M_HAS_RM | M_MODRM))) {
        return mem ? 0 : n;                                 /* EMMS, VZEROALL */
    }
    if (!mem) {
        out[n++] = 0xc0 | (reg & 7) << 3 | (rm & 7);
    } else if (vsib) {
        out[n++] = (reg & 7) << 3 | 4;
        out[n++] = (rnd() & 3) << 6 | 2 << 3 | 3;           /* [rbx + xmm2 * scale] */
    } else {
        out[n++] = 0x40 | (reg & 7) << 3 | 3;               /* [rbx + disp8] */
        out[n++] = (rnd() & 3) * 32;
    }
    if (row_has_type(def, OT_I) || row_has_type(def, OT_SI) || row_has_type(def, OT_L)) {
        out[n++] = rnd() % 4 ? rnd() % 16 : rnd();
        if (row_has_type(def, OT_L)) {
            out[n - 1] = random_reg() << 4;
        }
    }
    return n;
}

/* ---- comparison -------------------------------------------------------------------------------------- */

static uint8_t *native_window;

static void prepare(const InsnDef *def)
{
    bool x87 = def->attrs & (A_X87 | A_MMX);
    unsigned misalign = (def->attrs & (A_SSE | A_MMX)) || def->map == MAP_1BYTE ||
                        (def->attrs & A_ALIGN) ? 0 : rnd() % 8;

    memset(&native_in, 0, sizeof(native_in));
    random_x87(native_in.fx, x87 && def->map == MAP_1BYTE && rnd() % 4 == 0);
    le32_store(native_in.fx + 24, 0x1f80 | (rnd() & 0x603f) | (rnd() % 4 ? 0 : rnd() & 0x8040));
    if (rnd() % 2) {
        random_bytes(native_in.ymm[0], sizeof(native_in.ymm));
    } else {
        for (unsigned i = 0; i < 16; i++) {
            random_bytes(native_in.ymm[i], 32);
        }
    }
    if (def->attrs & A_VSIB) {
        for (unsigned i = 0; i < 8; i++) {
            le32_store(native_in.ymm[2] + 4 * i, def->op & 1 ? (i & 1 ? 0 : rnd() % 64) : rnd() % 64);
        }
    }
    random_bytes(native_window, WINDOW);
    memcpy(ram + DATA, native_window, WINDOW);
    for (unsigned i = 0; i < 16; i++) {
        native_in.gpr[i] = rnd() % 2 ? rnd() : (uint64_t)((int64_t)(rnd() % 64) - 32);
    }
    native_in.gpr[4] = 0;
    native_in.flags = (rnd() & FLAGS_ARITH) | 0x202;
    bench_reset();
    memcpy(cpu->gpr, native_in.gpr, sizeof(native_in.gpr));
    for (unsigned i = 0; i < 16; i++) {
        memcpy(&cpu->zmm[i], native_in.ymm[i], 32);
    }
    memcpy(&cpu->x87, native_in.fx, sizeof(cpu->x87));
    cpu->cc = x86_flags_to_cc(native_in.flags);
    native_in.gpr[3] = (uint64_t)(uintptr_t)native_window + misalign;
    native_in.gpr[7] = (uint64_t)(uintptr_t)native_window + 512;
    cpu->gpr[3] = DATA + misalign;
    cpu->gpr[7] = DATA + 512;
}

static void describe(const Insn *insn, const uint8_t *bytes, const char *what, uint64_t got,
                     uint64_t want)
{
    g_autoptr(GString) hex = g_string_new(NULL);

    for (unsigned i = 0; i < insn->len; i++) {
        g_string_append_printf(hex, "%02x ", bytes[i]);
    }
    g_test_message("%s: %s: %s is 0x%" PRIx64 ", the host has 0x%" PRIx64, hex->str,
                   insn->def->name, what, got, want);
}

#define SAME(what, got, want)                                                              \
    do {                                                                                    \
        uint64_t got_ = (got), want_ = (want);                                              \
        if (got_ != want_) {                                                                \
            describe(insn, bytes, what, got_, want_);                                       \
            return false;                                                                   \
        }                                                                                   \
    } while (0)

static bool compare(const Insn *insn, const uint8_t *bytes)
{
    const X87State *want = (const X87State *)native_out.fx;
    uint64_t flags = FLAGS_ARITH;

    for (unsigned i = 0; i < 16; i++) {
        for (unsigned j = 0; j < 4; j++) {
            char name[24];

            g_snprintf(name, sizeof(name), "ymm%u[%u]", i, j);
            SAME(name, cpu->zmm[i].u64[j], le64_load(native_out.ymm[i] + 8 * j));
        }
        if (i != 3 && i != 4 && i != 7) {
            SAME("gpr", cpu->gpr[i], native_out.gpr[i]);
        }
    }
    SAME("MXCSR", cpu->x87.mxcsr, want->mxcsr);
    SAME("FCW", cpu->x87.fcw, want->fcw);
    SAME("FSW", cpu->x87.fsw, want->fsw);
    SAME("FTW", cpu->x87.ftw, want->ftw);
    for (unsigned i = 0; i < 8; i++) {
        SAME("ST exponent", cpu->x87.st[i].exponent, want->st[i].exponent);
        SAME("ST mantissa", cpu->x87.st[i].mantissa, want->st[i].mantissa);
    }
    SAME("flags", x86_cc_to_flags(cpu->cc) & flags, native_out.flags & flags);
    for (unsigned i = 0; i < WINDOW; i += 8) {
        SAME("memory", le64_load(ram + DATA + i), le64_load(native_window + i));
    }
    return true;
}

static bool run_one(const InsnDef *def, bool mem, bool *ran)
{
    uint8_t bytes[16];
    unsigned len;
    Insn decoded;
    const Insn *insn = &decoded;

    prepare(def);
    len = encode_row(def, mem, bytes);
    if (!len || insn_decode(&decoded, bytes, len, cpu->mode, cpu) != DECODE_OK ||
        decoded.def->sem != def->sem || decoded.fault != FAULT_NONE) {
        return true;                                        /* another row's encoding */
    }
    SAME("exception", guest_run(bytes, len, &decoded), -1);
    memcpy(code_page, bytes, len);
    code_page[len] = 0xc3;
    native_code = code_page;
    native_run();
    *ran = true;
    return compare(insn, bytes);
}

static bool is_control(const InsnDef *def)
{
    static const char *const names[] = { "fldenv", "fnstenv", "frstor", "fnsave", "ldmxcsr",
                                         "vldmxcsr", "fxsave", "fxrstor" };

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(def->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void test_rows_match_the_host(void)
{
    unsigned failed = 0, tested = 0;

    for (unsigned r = 0; r < insn_row_count; r++) {
        const InsnDef *def = &insn_rows[r];
        bool ran = false, good = true;
        unsigned rounds = g_test_quick() ? 60 : 2000;

        if (!(def->attrs & (A_SSE | A_AVX | A_MMX | A_X87)) || is_control(def) ||
            (def->attrs & A_VEX_BMI) || !simd_host_has(def->feature)) {
            continue;
        }
        for (unsigned i = 0; i < rounds && good; i++) {
            good = run_one(def, i & 1, &ran);
        }
        if (!ran) {
            g_test_message("no encoding of %s (row %u, opcode 0x%02x) was run", def->name, r, def->op);
        }
        failed += !good || !ran;
        tested++;
    }
    g_test_message("%u rows compared", tested);
    g_assert_cmpuint(tested, >, 700);
    g_assert_cmpuint(failed, ==, 0);
}

/* ---- expectations ------------------------------------------------------------------------------ */

#define RUN(...) \
    guest_run((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), \
              &(Insn){ .len = 0 })

/* The native SIGFPE and #XM must agree about when, and about MXCSR. */
static void test_unmasked_simd_exceptions(void)
{
    static const uint8_t ops[][4] = {
        { 0x0f, 0x58, 0xc1 }, { 0x0f, 0x5e, 0xc1 }, { 0x0f, 0x51, 0xc1 }, { 0x0f, 0x59, 0xc1 },
        { 0x66, 0x0f, 0x5e, 0xc1 }, { 0x66, 0x0f, 0x5a, 0xc1 }, { 0xf3, 0x0f, 0x5d, 0xc1 },
        { 0x66, 0x0f, 0x2f, 0xc1 }, { 0xf2, 0x0f, 0x5a, 0xc1 }, { 0x66, 0x0f, 0x5b, 0xc1 },
    };
    unsigned raised = 0;

    for (unsigned i = 0; i < 4000; i++) {
        const uint8_t *op = ops[rnd() % ARRAY_LEN(ops)];
        unsigned len = op[0] == 0x0f ? 3 : 4;
        uint32_t mxcsr = (rnd() & 0xffbf) | (rnd() & 1 ? 0 : 0x1f80);
        bool trapped;
        Insn insn;

        prepare(&insn_rows[0]);
        mxcsr &= ~0x3f;
        le32_store(native_in.fx + 24, mxcsr);
        cpu->x87.mxcsr = mxcsr;
        memcpy(code_page, op, len);
        code_page[len] = 0xc3;
        native_code = code_page;
        trapped = native_run_traps();
        g_assert_cmpint(guest_run(op, len, &insn), ==, trapped ? VEC_XM : -1);
        raised += trapped;
        if (trapped) {
            g_assert_cmphex(cpu->x87.mxcsr, ==, trap_mxcsr);
            g_assert_cmpmem(&cpu->zmm[0], 32, native_in.ymm[0], 32);
        } else {
            g_assert_cmphex(cpu->x87.mxcsr, ==, le32_load(native_out.fx + 24));
            g_assert_cmpmem(&cpu->zmm[0], 32, native_out.ymm[0], 32);
        }
    }
    g_assert_cmpuint(raised, >, 100);
    /* Without OSXMMEXCPT it is #UD. */
    bench_reset();
    cpu->cr4 &= ~CR4_OSXMMEXCPT;
    cpu->x87.mxcsr = 0x1d80;
    cpu->zmm[0].f32[0] = 1;
    g_assert_cmpint(RUN(0xf3, 0x0f, 0x5e, 0xc1), ==, VEC_UD);
    g_assert_cmphex(cpu->x87.mxcsr, ==, 0x1d84);
}

static void test_host_state_is_left_clean(void)
{
    uint32_t mxcsr;
    uint16_t fcw, fsw;

    bench_reset();
    cpu->x87.mxcsr = 0x7f80;
    cpu->x87.fcw = 0xc7f;
    g_assert_cmpint(RUN(0x0f, 0x58, 0xc1), ==, -1);           /* addps */
    g_assert_cmpint(RUN(0xd9, 0xe8), ==, -1);                 /* fld1 */
    g_assert_cmpint(RUN(0xd9, 0xf2), ==, -1);                 /* fptan: by image */
    g_assert_cmpint(RUN(0x0f, 0xfc, 0xc1), ==, -1);           /* paddb mm */
    __asm__("stmxcsr %0; fnstcw %1; fnstsw %2" : "=m"(mxcsr), "=m"(fcw), "=m"(fsw));
    g_assert_cmphex(mxcsr & ~0x3f, ==, HOST_MXCSR);
    g_assert_cmphex(fcw, ==, HOST_FCW);
    g_assert_cmphex(fsw & 0x3800, ==, 0);
}

static void test_alignment(void)
{
    bench_reset();
    cpu->gpr[R_RBX] = DATA + 8;
    g_assert_cmpint(RUN(0x0f, 0x28, 0x03), ==, VEC_GP);       /* movaps */
    g_assert_cmpint(RUN(0x0f, 0x29, 0x03), ==, VEC_GP);
    g_assert_cmpint(RUN(0x0f, 0x10, 0x03), ==, -1);           /* movups */
    g_assert_cmpint(RUN(0x0f, 0x58, 0x03), ==, VEC_GP);       /* addps xmm0, m128 */
    g_assert_cmpint(RUN(0xf3, 0x0f, 0x58, 0x03), ==, -1);     /* addss */
    g_assert_cmpint(RUN(0xc5, 0xf8, 0x58, 0x03), ==, -1);     /* vaddps */
    g_assert_cmpint(RUN(0xc5, 0xf8, 0x28, 0x03), ==, VEC_GP); /* vmovaps */
    g_assert_cmpint(RUN(0x66, 0x0f, 0x3a, 0x63, 0x03, 0), ==, -1);      /* pcmpistri */
    g_assert_cmpint(RUN(0x66, 0x0f, 0xef, 0x03), ==, VEC_GP); /* pxor */
    cpu->gpr[R_RBX] = DATA + 16;
    g_assert_cmpint(RUN(0xc5, 0xfc, 0x28, 0x03), ==, VEC_GP); /* vmovaps ymm */
    g_assert_cmpint(RUN(0x0f, 0xae, 0x03), ==, -1);           /* fxsave */
    g_assert_cmpint(RUN(0x0f, 0xae, 0x23), ==, VEC_GP);       /* xsave wants 64 */
    cpu->gpr[R_RBX] = DATA + 8;
    g_assert_cmpint(RUN(0x0f, 0xae, 0x03), ==, VEC_GP);
}

static void test_page_crossing(void)
{
    X86Vec value;

    bench_reset();
    for (unsigned i = 0; i < 32; i++) {
        ram[DATA + 4080 + i] = i + 1;
    }
    cpu->gpr[R_RBX] = DATA + 4085;
    g_assert_cmpint(RUN(0xc5, 0xfd, 0xfc, 0x03), ==, -1);     /* vpaddb ymm0, ymm0, [rbx] */
    g_assert_cmphex(cpu->zmm[0].u8[0], ==, 6);
    g_assert_cmphex(cpu->zmm[0].u8[26], ==, 32);
    /* The second page is missing: nothing changes, in registers or memory. */
    memset(ram + MAPPED - 16, 0x5a, 16);
    value = cpu->zmm[0];
    cpu->gpr[R_RBX] = MAPPED - 5;
    g_assert_cmpint(RUN(0xc5, 0xfd, 0xfc, 0x03), ==, VEC_PF);
    g_assert_cmphex(cpu->event.payload, ==, MAPPED);
    g_assert_cmpint(RUN(0x0f, 0x11, 0x03), ==, VEC_PF);       /* movups [rbx], xmm0 */
    g_assert_cmpint(RUN(0xdb, 0x3b), ==, VEC_PF);             /* fstp m80 */
    g_assert_cmpint(RUN(0xdd, 0x33), ==, VEC_PF);             /* fnsave */
    g_assert_cmpmem(&cpu->zmm[0], 64, &value, 64);
    g_assert_cmphex(ram[MAPPED - 5], ==, 0x5a);
    g_assert_cmphex(cpu->x87.fsw, ==, 0);
    /* Masked-off elements are not touched. */
    memset(&cpu->zmm[1], 0, 64);
    cpu->zmm[1].u32[0] = 0x80000000;
    cpu->gpr[R_RBX] = MAPPED - 4;
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x71, 0x2c, 0x03), ==, -1);         /* vmaskmovps */
    g_assert_cmphex(cpu->zmm[0].u64[0], ==, 0x5a5a5a5a);
    cpu->zmm[1].u32[1] = 0x80000000;
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x71, 0x2c, 0x03), ==, VEC_PF);
}

static void test_gather_fault_is_restartable(void)
{
    bench_reset();
    memset(&cpu->zmm[1], 0x11, 64);
    memset(&cpu->zmm[3], 0xff, 64);
    cpu->zmm[2].u32[0] = 0;
    cpu->zmm[2].u32[1] = 1;
    cpu->zmm[2].u32[2] = 0x10000;
    cpu->zmm[2].u32[3] = 2;
    cpu->gpr[R_RBX] = MAPPED - 16;
    le32_store(ram + MAPPED - 16, 0xaaaa);
    le32_store(ram + MAPPED - 12, 0xbbbb);
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x93), ==, VEC_PF);
    g_assert_cmphex(cpu->zmm[1].u32[0], ==, 0xaaaa);
    g_assert_cmphex(cpu->zmm[1].u32[1], ==, 0xbbbb);
    g_assert_cmphex(cpu->zmm[1].u32[2], ==, 0x11111111);
    g_assert_cmphex(cpu->zmm[3].u32[1], ==, 0);
    g_assert_cmphex(cpu->zmm[3].u32[2], ==, 0xffffffff);
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x8b), ==, VEC_UD);       /* index = dst */
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x71, 0x90, 0x0c, 0x93), ==, VEC_UD);       /* mask = dst */
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x69, 0x90, 0x0c, 0x93), ==, VEC_UD);       /* mask = index */
    g_assert_cmpint(RUN(0xc4, 0xe2, 0x71, 0x90, 0x0c, 0x8b), ==, VEC_UD);       /* all three */
    g_assert_cmpint(RUN(0xc4, 0x22, 0x61, 0x91, 0x0c, 0x8b), ==, VEC_UD);       /* xmm9 twice */
    g_assert_cmpint(RUN(0xc4, 0xe2, 0xf5, 0x92, 0x0c, 0x93), ==, VEC_UD);       /* vgatherdpd */
}

static void set_cr0(uint64_t set, uint64_t clear)
{
    cpu->cr0 = (cpu->cr0 | set) & ~clear;
    x86_update_mode(cpu);
}

static void test_enabling_bits(void)
{
    bench_reset();
    set_cr0(CR0_TS, 0);
    g_assert_cmpint(RUN(0x0f, 0x58, 0xc1), ==, VEC_NM);
    g_assert_cmpint(RUN(0xc5, 0xf8, 0x58, 0xc1), ==, VEC_NM);
    g_assert_cmpint(RUN(0xd9, 0xe8), ==, VEC_NM);
    g_assert_cmpint(RUN(0x9b), ==, VEC_NM);
    g_assert_cmpint(RUN(0x0f, 0xfc, 0xc1), ==, VEC_NM);
    g_assert_cmpint(RUN(0x0f, 0xae, 0x23), ==, VEC_NM);
    set_cr0(CR0_EM, 0);
    g_assert_cmpint(RUN(0x0f, 0x58, 0xc1), ==, VEC_UD);
    g_assert_cmpint(RUN(0x0f, 0xfc, 0xc1), ==, VEC_UD);
    g_assert_cmpint(RUN(0xd9, 0xe8), ==, VEC_NM);
    set_cr0(0, CR0_TS | CR0_EM);
    cpu->cr4 &= ~CR4_OSFXSR;
    x86_update_mode(cpu);
    g_assert_cmpint(RUN(0x0f, 0x58, 0xc1), ==, VEC_UD);
    cpu->xcr0 = XCR0_X87;
    x86_update_mode(cpu);
    g_assert_cmpint(RUN(0xc5, 0xf8, 0x58, 0xc1), ==, VEC_UD);
}

static unsigned ferr_count;

static void bench_ferr(void *opaque, X86Cpu *c)
{
    ferr_count++;
}

static void test_pending_x87_exception(void)
{
    X86Bus bus = bench_bus;

    bench_reset();
    cpu->x87.fcw = 0x37b;                                     /* ZM clear */
    g_assert_cmpint(RUN(0xd9, 0xe8), ==, -1);                 /* fld1 */
    g_assert_cmpint(RUN(0xd9, 0xee), ==, -1);                 /* fldz */
    g_assert_cmpint(RUN(0xde, 0xf9), ==, -1);                 /* fdivp: 1 / 0 */
    g_assert_cmphex(cpu->x87.fsw & (FSW_ES | FSW_ZE | FSW_B), ==, FSW_ES | FSW_ZE | FSW_B);
    g_assert_cmphex(cpu->x87.fsw & FSW_TOP, ==, 6 << 11);     /* nothing was popped */
    g_assert_cmphex(cpu->x87.fop, ==, 0x6f9);
    g_assert_cmphex(cpu->x87.fip, ==, 0x5000);
    g_assert_cmpint(RUN(0xdf, 0xe0), ==, -1);                 /* fnstsw does not wait */
    g_assert_cmphex(cpu->gpr[R_RAX] & 0xffff, ==, cpu->x87.fsw);
    g_assert_cmpint(RUN(0x9b), ==, VEC_MF);
    g_assert_cmpint(RUN(0xd9, 0xe8), ==, VEC_MF);
    g_assert_cmpint(RUN(0x0f, 0xfc, 0xc1), ==, VEC_MF);       /* paddb mm0, mm1 */
    bus.ferr = bench_ferr;
    cpu->bus = &bus;
    set_cr0(0, CR0_NE);
    g_assert_cmpint(RUN(0xd9, 0xe8), ==, -1);                 /* IRQ 13 instead, and it goes on */
    g_assert_cmpuint(ferr_count, ==, 1);
    g_assert_cmphex(cpu->x87.fsw & FSW_ES, ==, FSW_ES);
    g_assert_cmpint(RUN(0xdb, 0xe2), ==, -1);                 /* fnclex */
    g_assert_cmpint(RUN(0x9b), ==, -1);
    g_assert_cmpuint(ferr_count, ==, 1);
}

static void test_x87_images_match_the_host(void)
{
    for (unsigned i = 0; i < 200; i++) {
        static const uint8_t ops[][4] = { { 0xdd, 0x33 }, { 0xd9, 0x33 }, { 0x66, 0xdd, 0x33 },
                                          { 0x66, 0xd9, 0x33 } };
        const uint8_t *op = ops[i % 4];
        unsigned len = op[0] == 0x66 ? 3 : 2, step = op[0] == 0x66 ? 2 : 4;
        Insn insn;

        prepare(&insn_rows[0]);
        memcpy(code_page, op, len);
        code_page[len] = 0xc3;
        native_code = code_page;
        native_run();
        g_assert_cmpint(guest_run(op, len, &insn), ==, -1);
        g_assert_cmphex(cpu->x87.fcw, ==, le16_load(native_out.fx));
        g_assert_cmphex(cpu->x87.fsw, ==, le16_load(native_out.fx + 2));
        g_assert_cmphex(cpu->x87.ftw, ==, native_out.fx[4]);
        /* FCW, FSW, tags; then the registers behind the pointers. */
        {
            const uint8_t *got = ram + cpu->gpr[R_RBX];
            const uint8_t *want = (const uint8_t *)(uintptr_t)native_in.gpr[3];

            g_assert_cmpmem(got, 3 * step, want, 3 * step);
            g_assert_cmpmem(got + 7 * step, 80, want + 7 * step, 80);
        }
        for (unsigned n = 0; n < 8; n++) {
            g_assert_cmpmem(&cpu->x87.st[n], 10, native_out.fx + 32 + 16 * n, 10);
        }
        /* And back. */
        g_assert_cmpint(op[len - 2] == 0xdd ? RUN(0xdd, 0x23) : RUN(0xd9, 0x23), ==, -1);
        g_assert_cmpint(cpu->x87.fcw & 0x1f00, ==, le16_load(native_in.fx) & 0x1f00);
    }
}

static void test_xsave_round_trip(void)
{
    X86Vec before[16];
    uint8_t *image = ram + DATA;

    prepare(&insn_rows[0]);
    memset(image, 0, WINDOW);
    memcpy(before, cpu->zmm, sizeof(before));
    cpu->gpr[R_RBX] = DATA;
    cpu->gpr[R_RAX] = ~0ull;
    cpu->gpr[R_RDX] = ~0ull;
    cpu->x87.mxcsr = 0x3f80;
    g_assert_cmpint(RUN(0x0f, 0xae, 0x23), ==, -1);           /* xsave */
    g_assert_cmphex(le64_load(image + 512) & 7, ==, 7);
    g_assert_cmphex(le64_load(image + 520), ==, 0);
    g_assert_cmphex(le32_load(image + 24), ==, 0x3f80);
    g_assert_cmphex(le32_load(image + 28), ==, MXCSR_MASK);
    g_assert_cmpmem(image + 160 + 16 * 5, 16, &before[5], 16);
    g_assert_cmpmem(image + 576 + 16 * 5, 16, &before[5].u8[16], 16);
    memset(cpu->zmm, 0x77, sizeof(before));
    cpu->x87.mxcsr = 0x1f80;
    g_assert_cmpint(RUN(0x0f, 0xae, 0x2b), ==, -1);           /* xrstor */
    for (unsigned i = 0; i < 16; i++) {
        g_assert_cmpmem(&cpu->zmm[i], 32, &before[i], 32);
    }
    g_assert_cmphex(cpu->x87.mxcsr, ==, 0x3f80);
    /* Compacted, AVX only: it follows the header at once; restoring brings SSE to its initial state. */
    memset(image, 0xcc, WINDOW);
    cpu->gpr[R_RAX] = 4;
    g_assert_cmpint(RUN(0x0f, 0xc7, 0x23), ==, -1);           /* xsavec */
    g_assert_cmphex(le64_load(image + 512), ==, 4);
    g_assert_cmphex(le64_load(image + 520), ==, 1ull << 63 | 4);
    g_assert_cmphex(image[160], ==, 0xcc);
    g_assert_cmpmem(image + 576, 16, &before[0].u8[16], 16);
    cpu->gpr[R_RAX] = 6;
    g_assert_cmpint(RUN(0x0f, 0xae, 0x2b), ==, -1);
    g_assert_cmphex(cpu->zmm[5].u64[0], ==, 0);
    g_assert_cmpmem(&cpu->zmm[5].u8[16], 16, &before[5].u8[16], 16);
    g_assert_cmphex(cpu->x87.mxcsr, ==, 0x1f80);
    /* Refused headers. */
    le64_store(image + 512, 8);
    g_assert_cmpint(RUN(0x0f, 0xae, 0x2b), ==, VEC_GP);
    le64_store(image + 512, 4);
    image[520 + 9] = 1;
    g_assert_cmpint(RUN(0x0f, 0xae, 0x2b), ==, VEC_GP);
    /* xsaveopt with everything in its initial state writes the header and MXCSR only. */
    memset(image, 0xcc, WINDOW);
    le64_store(image + 512, 0);
    memset(cpu->zmm, 0, sizeof(before));
    x87_init(cpu);
    memset(cpu->x87.st, 0, sizeof(cpu->x87.st));
    cpu->gpr[R_RAX] = 7;
    g_assert_cmpint(RUN(0x0f, 0xae, 0x33), ==, -1);
    g_assert_cmphex(le64_load(image + 512), ==, 0);
    g_assert_cmphex(image[0], ==, 0xcc);
    g_assert_cmphex(image[576], ==, 0xcc);
    g_assert_cmpuint(xsave_size(7, false), ==, 832);
    g_assert_cmpuint(xsave_size(0x207, false), ==, 2696);
    g_assert_cmpuint(xsave_size(0x207, true), ==, 840);
}

/* An image in one page goes straight to RAM, one across two pages through a copy: the same bytes are touched. */
static void test_xsave_across_pages(void)
{
    static const uint8_t modrm[][2] = { { 0xae, 0x23 }, { 0xae, 0x33 }, { 0xc7, 0x23 } };     /* xsave, xsaveopt, xsavec */
    enum { BYTES = 832, INSIDE = DATA, ACROSS = DATA + 0x1000 - 0x240 };
    X86Vec before[16];

    g_assert_cmpuint((INSIDE & 0xfff) + BYTES, <=, 0x1000);
    for (unsigned mask = 0; mask < 8; mask++) {
        for (unsigned kind = 0; kind < ARRAY_LEN(modrm); kind++) {
            prepare(&insn_rows[0]);
            memset(ram + DATA, 0xcc, 0x2000);
            memset(ram + INSIDE + 512, 0, 64);
            memset(ram + ACROSS + 512, 0, 64);
            memcpy(before, cpu->zmm, sizeof(before));
            cpu->gpr[R_RAX] = mask;
            cpu->gpr[R_RDX] = 0;
            cpu->gpr[R_RBX] = INSIDE;
            x86_st8(cpu, INSIDE + 1, 0xcc);     /* the page is in the TLB */
            g_assert_cmpint(RUN(0x0f, modrm[kind][0], modrm[kind][1]), ==, -1);
            cpu->gpr[R_RBX] = ACROSS;
            g_assert_cmpint(RUN(0x0f, modrm[kind][0], modrm[kind][1]), ==, -1);
            g_assert_cmpmem(ram + INSIDE, BYTES, ram + ACROSS, BYTES);
            for (unsigned again = 0; again < 2; again++) {
                memset(cpu->zmm, 0x77, sizeof(before));
                cpu->gpr[R_RBX] = again ? INSIDE : ACROSS;
                g_assert_cmpint(RUN(0x0f, 0xae, 0x2b), ==, -1);                 /* xrstor */
                for (unsigned i = 0; i < 16; i++) {
                    g_assert_cmphex(cpu->zmm[i].u64[1], ==, mask & 2 ? before[i].u64[1] : 0x7777777777777777);
                    g_assert_cmphex(cpu->zmm[i].u64[3], ==, mask & 4 ? before[i].u64[3] : 0x7777777777777777);
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    struct sigaction sa = { .sa_sigaction = on_native_sigfpe, .sa_flags = SA_SIGINFO | SA_NODEFER };
    const char *env = getenv("RHEA_TEST_SEED");

    g_test_init(&argc, &argv, NULL);
    seed = env ? strtoull(env, NULL, 0) | 1 : seed;
    sigaction(SIGFPE, &sa, NULL);
    g_assert_true(host_op_init(NULL));
    code_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                     0);
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    native_window = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(code_page != MAP_FAILED && ram != MAP_FAILED && native_window != MAP_FAILED);
    if (!simd_host_has(X86_FEAT_AVX)) {
        g_test_message("the host has no AVX: nothing to compare with");
        return 77;
    }
    cpu = x86_cpu_new();
    g_test_add_func("/simd/rows-match-the-host", test_rows_match_the_host);
    g_test_add_func("/simd/unmasked-exceptions", test_unmasked_simd_exceptions);
    g_test_add_func("/simd/host-state-is-left-clean", test_host_state_is_left_clean);
    g_test_add_func("/simd/alignment", test_alignment);
    g_test_add_func("/simd/page-crossing", test_page_crossing);
    g_test_add_func("/simd/gather-fault-is-restartable", test_gather_fault_is_restartable);
    g_test_add_func("/simd/enabling-bits", test_enabling_bits);
    g_test_add_func("/x87/pending-exception", test_pending_x87_exception);
    g_test_add_func("/x87/images-match-the-host", test_x87_images_match_the_host);
    g_test_add_func("/xsave/round-trip", test_xsave_round_trip);
    g_test_add_func("/xsave/across-pages", test_xsave_across_pages);
    return g_test_run();
}
