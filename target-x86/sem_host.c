/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions that are executed by the host's own instruction (hostop.h): all MMX, SSE,
 * AVX, FMA, AES and SHA rows except moves (sem_sse.c) and those with several or conditional
 * memory accesses (sem_avx.c).
 *
 * A table row says everything: its operand letters give the ModRM slots and sizes, its match
 * column prefix and opcode extension.  Spec: SDM2, exception classes SDM2 2.4.
 * Order of faults: decode-time ones, #MF, segment and alignment #GP, #PF, then #XM.
 * Locking: none; plans are created once and published atomically.
 */
#include "target-x86/fpu.h"
#include "target-x86/hostop.h"
#include "target-x86/sem.h"

#include <cpuid.h>

enum { NO_OPERAND = 0xff };

/* How the instructions of one row, form (register, memory), VEX.L and W are executed. */
typedef struct HostPlan {
    HostOp op;
    HostOpFn *fn;             /* NULL: by immediate */
    uint8_t reg, rm, vvvv, fourth;  /* index of the operand in Insn.op, or NO_OPERAND */
    uint8_t load, store;      /* bytes of the memory operand */
    uint8_t align;            /* its alignment less 1 */
    bool mxcsr, flags, mmx, implicit, xmm0, supported;
} HostPlan;

enum { PLAN_FORMS = 16, PLAN_ROWS = 2048 };
static HostPlan *plans[PLAN_ROWS * PLAN_FORMS];

/* ---- what the host has ------------------------------------------------------------------ */

static uint32_t host_words[FEAT_WORDS];

/* What the engines need of AVX-512: F, DQ, CD, BW, VL. */
#define AVX512_BASE (BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31))

static uint64_t host_xcr0(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo | (uint64_t)hi << 32;
}

static void host_features_read(uint32_t *w)
{
    uint32_t a, b, c, d;

    __cpuid(1, a, b, c, d);
    w[FEAT_1_EDX] = d;
    w[FEAT_1_ECX] = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        w[FEAT_7_0_EBX] = b;
        w[FEAT_7_0_ECX] = c;
        w[FEAT_7_0_EDX] = d;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
            w[FEAT_7_1_EAX] = a;
        }
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
        w[FEAT_8000_0001_EDX] = d;
        w[FEAT_8000_0001_ECX] = c;
    }
    if (__get_cpuid(0x80000007, &a, &b, &c, &d)) {
        w[FEAT_8000_0007_EDX] = d;
    }
    if (!(w[FEAT_1_ECX] & BIT(27)) || (host_xcr0() & 6) != 6) {      /* no OSXSAVE or no AVX */
        w[FEAT_1_ECX] &= ~(BIT(12) | BIT(28) | BIT(29));
        w[FEAT_7_0_EBX] &= ~BIT(5);
        w[FEAT_7_0_ECX] &= ~(BIT(9) | BIT(10));
    }
    if (!(w[FEAT_1_ECX] & BIT(27)) || (host_xcr0() & 0xe6) != 0xe6 || (~w[FEAT_7_0_EBX] & AVX512_BASE)) {
        w[FEAT_7_0_EBX] &= ~X86_AVX512_EBX;
        w[FEAT_7_0_ECX] &= ~X86_AVX512_ECX;
        w[FEAT_7_0_EDX] &= ~X86_AVX512_EDX;
        w[FEAT_7_1_EAX] &= ~X86_AVX512_7_1_EAX;
    }
}

const uint32_t *simd_host_features(void)
{
    static gsize once;

    if (g_once_init_enter(&once)) {
        host_features_read(host_words);
        g_once_init_leave(&once, 1);
    }
    return host_words;
}

bool simd_host_has(unsigned feature)
{
    const uint32_t *w = simd_host_features();
#define HAS(f) (w[(f) / 32] >> ((f) % 32) & 1)

    switch (feature) {
    case X86_FEAT_BASE: return true;
    case X86_FEAT_AVX_AVX2: return HAS(X86_FEAT_AVX) && HAS(X86_FEAT_AVX2);
    case X86_FEAT_AVX_AES: return HAS(X86_FEAT_AVX) && HAS(X86_FEAT_AES);
    case X86_FEAT_AVX_PCLMUL: return HAS(X86_FEAT_AVX) && HAS(X86_FEAT_PCLMULQDQ);
    case X86_FEAT_AVX_GFNI: return HAS(X86_FEAT_AVX) && HAS(X86_FEAT_GFNI);
    default: return feature < FEAT_WORDS * 32 && HAS(feature);
    }
#undef HAS
}

/* ---- from a row to a plan ----------------------------------------------------------------- */

static HostOperand host_operand(const InsnOpnd *op)
{
    switch (op->kind) {
    case OPK_VEC: return HOST_VEC;
    case OPK_MMX: return HOST_MMX;
    case OPK_GPR: return HOST_GPR;
    case OPK_MEM: return HOST_MEM;
    case OPK_K: return HOST_K;
    default: return HOST_NONE;
    }
}

static void plan_operand(HostPlan *p, const Insn *insn, unsigned n)
{
    const InsnOpnd *op = &insn->op[n];
    HostOperand kind = host_operand(op);
    uint8_t slot = HOST_DST_NONE;

    switch (insn->def->opnd[n] >> 8) {
    case OT_V: case OT_P: case OT_G: case OT_KG:
        p->op.reg = kind;
        p->reg = n;
        p->op.reg_is_source |= n > 0;
        slot = HOST_DST_REG;
        break;
    case OT_W: case OT_U: case OT_Q: case OT_N: case OT_E: case OT_R: case OT_M: case OT_RM:
    case OT_KE: case OT_KU:
        p->op.rm = kind;
        p->rm = n;
        slot = kind == HOST_MEM ? HOST_DST_NONE : HOST_DST_RM;
        if (kind == HOST_MEM) {
            *(n == 0 ? &p->store : &p->load) = op->size;
        }
        break;
    case OT_H: case OT_B: case OT_KH:
        p->op.vvvv = kind;
        p->vvvv = n;
        slot = HOST_DST_VVVV;
        break;
    case OT_L:
        p->op.is4 = true;
        p->fourth = n;
        break;
    case OT_XMM0:
        p->xmm0 = true;
        break;
    }
    if (n == 0) {
        p->op.dst = slot;
    }
    /* W selects the width of a general register; elsewhere it is part of a VEX opcode. */
    if (kind == HOST_GPR || (kind == HOST_MEM && (insn->def->opnd[n] & 0xff) == SZ_y)) {
        p->op.w = op->size == 8;
    }
}

static HostPlan *plan_new(const Insn *insn)
{
    static const uint8_t maps[] = { [MAP_0F] = 1, [MAP_0F38] = 2, [MAP_0F3A] = 3,
                                    [MAP_VEX0F] = 1, [MAP_VEX0F38] = 2, [MAP_VEX0F3A] = 3 };
    static const uint8_t prefixes[] = { 0, 0x66, 0xf3, 0xf2 };
    const InsnDef *def = insn->def;
    HostPlan *p = g_new0(HostPlan, 1);
    HostOp *op = &p->op;
    bool pcmpestr;

    p->reg = p->rm = p->vvvv = p->fourth = NO_OPERAND;
    op->map = maps[def->map];
    op->prefix = def->match & M_PREFIXES ? prefixes[insn->mp] : 0;
    op->opcode = insn->opcode;
    op->vex = insn->vex != 0;
    op->l = insn->vl;
    pcmpestr = op->map == 3 && (op->opcode == 0x60 || op->opcode == 0x61);
    /* REX.W of PCMPESTRx makes the lengths 64 bits wide; VEX.W counts in 64-bit mode only. */
    op->w = pcmpestr ? insn->op_size == 8 : op->vex && (insn->rex & REX_W);
    if (def->match & M_HAS_REG) {
        op->reg = HOST_DIGIT;
        op->digit = def->match >> 24 & 7;
    }
    for (unsigned n = 0; n < ARRAY_LEN(insn->op); n++) {
        plan_operand(p, insn, n);
    }
    op->has_imm = insn->imm_size && !op->is4;
    if ((def->attrs & A_ALIGN) || ((def->attrs & A_LEGALIGN) && !op->vex)) {
        unsigned size = MAX(p->load, p->store);

        p->align = size >= 16 ? size - 1 : 0;
    }
    p->mxcsr = host_op_uses_mxcsr(op);
    p->flags = host_op_sets_flags(op);
    p->implicit = op->map == 3 && op->opcode >= 0x60 && op->opcode <= 0x63;
    /* CVTPI2PS and CVTPI2PD of a memory operand leave the x87 state alone. */
    p->mmx = op->reg == HOST_MMX || op->rm == HOST_MMX;
    p->supported = simd_host_has(def->feature);
    if (p->supported && !op->has_imm) {
        p->fn = host_op_get(op);
    }
    return p;
}

static const HostPlan *plan_get(const Insn *insn)
{
    unsigned index = (insn->def - insn_rows) * PLAN_FORMS + insn_has_mem(insn) * 8 +
                     insn->vl * 4 + (insn->rex & REX_W ? 2 : 0) + (insn->op_size == 8);
    HostPlan *p = __atomic_load_n(&plans[index], __ATOMIC_ACQUIRE);

    if (G_UNLIKELY(!p)) {
        HostPlan *none = NULL;

        p = plan_new(insn);
        if (!__atomic_compare_exchange_n(&plans[index], &none, p, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE)) {
            g_free(p);
            p = none;
        }
    }
    return p;
}

/* ---- execution ------------------------------------------------------------------------------ */

static void *location(X86Cpu *cpu, const Insn *insn, unsigned n)
{
    const InsnOpnd *op;

    if (n == NO_OPERAND) {
        return NULL;
    }
    op = &insn->op[n];
    switch (op->kind) {
    case OPK_VEC: return &cpu->zmm[op->reg];
    case OPK_MMX: return &cpu->x87.st[(op->reg - x87_top(&cpu->x87)) & 7];
    case OPK_GPR: return &cpu->gpr[op->reg];
    case OPK_K: return &cpu->k[op->reg];
    default: return NULL;
    }
}

/* Checks address and alignment; the result is linear. */
static uint64_t memory_operand(X86Cpu *cpu, const Insn *insn, const HostPlan *p, unsigned size,
                               X86Access access)
{
    uint64_t va;

    if (!p->align) {
        return insn_linear(cpu, insn, size, access);
    }
    va = insn_linear_unaligned(cpu, insn, size, access);
    if (G_UNLIKELY(va & p->align)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return va;
}

void fpu_unblock_sigfpe(void)
{
    static __thread bool done;

    if (!done) {
        host_op_thread_init();
        done = true;
    }
}

void fpu_raise_simd(X86Cpu *cpu, uint32_t mxcsr)
{
    cpu->x87.mxcsr = mxcsr;
    cpu_raise(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD, 0);
}

static void finish_vector(X86Cpu *cpu, const Insn *insn, const HostPlan *p, const HostEnv *env)
{
    const InsnOpnd *dst = &insn->op[0];

    if (p->mxcsr) {
        cpu->x87.mxcsr = env->mxcsr;
    }
    if (p->flags) {
        cpu->cc = x86_flags_to_cc(env->rflags);
    }
    if (p->implicit) {
        if (p->op.opcode & 1) {
            cpu->gpr[R_RCX] = env->rcx;
        }
        dst = NULL;
    }
    if (p->mmx) {
        if (dst && dst->kind == OPK_MMX) {
            cpu->x87.st[(dst->reg - x87_top(&cpu->x87)) & 7].exponent = 0xffff;
        }
        x87_enter_mmx(&cpu->x87);
    }
    if (p->op.vex && (cpu->mode & MODE_AVX512)) {
        unsigned reg = dst ? dst->reg : 0;

        if (!dst ? !(p->op.opcode & 1) : dst->kind == OPK_VEC) {
            memset(&cpu->zmm[reg].u64[4], 0, 32);
        }
    }
}

void sem_host(X86Cpu *cpu, const Insn *insn)
{
    const HostPlan *p = plan_get(insn);
    uint8_t buffer[HOST_BUFFER_BYTES] __attribute__((aligned(64)));
    HostEnv env;
    HostOpFn *fn = p->fn;
    void *rm;
    uint64_t va = 0;

    if (G_UNLIKELY(!p->supported)) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    if (p->mmx) {
        x87_check_pending(cpu);
    }
    if (!fn) {
        HostOp op = p->op;

        op.imm = insn->imm;
        fn = host_op_get(&op);
    }
    if (p->load) {
        va = memory_operand(cpu, insn, p, p->load, X86_READ);
        rm = x86_tlb_read(cpu, va, p->load, cpu->mmu_idx);
        if (G_UNLIKELY(!rm)) {
            x86_ld_slow(cpu, va, buffer, p->load, cpu->mmu_idx);
            rm = buffer;
        }
    } else if (p->store) {
        va = memory_operand(cpu, insn, p, p->store, X86_WRITE);
        rm = buffer;
    } else {
        rm = location(cpu, insn, p->rm);
    }
    if (p->mxcsr) {
        env.mxcsr = cpu->x87.mxcsr;
        env.host_mxcsr = HOST_MXCSR;
        if (G_UNLIKELY((env.mxcsr & MXCSR_MASKS) != MXCSR_MASKS)) {
            fpu_unblock_sigfpe();
        }
    }
    if (p->implicit) {
        env.rax = cpu->gpr[R_RAX];
        env.rdx = cpu->gpr[R_RDX];
    }
    if (G_UNLIKELY(fn(location(cpu, insn, p->reg), rm, location(cpu, insn, p->vvvv),
                      p->fourth != NO_OPERAND ? location(cpu, insn, p->fourth) : &cpu->zmm[0],
                      &env))) {
        fpu_raise_simd(cpu, env.mxcsr);
    }
    if (p->store) {
        fpu_store(cpu, va, buffer, p->store);
    }
    finish_vector(cpu, insn, p, &env);
}

/* The rows' names for it. */
#define HOST(name)                                                                          \
    void sem_##name(X86Cpu *cpu, const Insn *insn) __attribute__((alias("sem_host")));
#include "target-x86/insn/host_sems.def"
