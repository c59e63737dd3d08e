/* SPDX-License-Identifier: MIT */
/*
 * Vector moves and bitwise logic: the commonest SIMD instructions of compiled code, in plain C.
 * A legacy form leaves the rest of the destination register alone, a VEX form clears it.
 * Spec: SDM2.  Locking: none.
 */
#include "target-x86/fpu.h"
#include "target-x86/sem.h"

static X86Vec *vec(X86Cpu *cpu, const Insn *insn, unsigned n)
{
    return &cpu->zmm[insn->op[n].reg];
}

/* VEX forms: bytes SIZE.. of the destination become 0. */
static void clear_above(const Insn *insn, X86Vec *dst, unsigned size)
{
    if (insn->vex) {
        memset(&dst->u8[size], 0, sizeof(*dst) - size);
    }
}

static uint64_t operand_address(X86Cpu *cpu, const Insn *insn, unsigned size, X86Access access)
{
    uint64_t attrs = insn->def->attrs, va;

    if (!(attrs & A_ALIGN) && (!(attrs & A_LEGALIGN) || insn->vex)) {
        return insn_linear(cpu, insn, size, access);
    }
    va = insn_linear_unaligned(cpu, insn, size, access);
    if (G_UNLIKELY(va & (size - 1))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    return va;
}

/* A whole source operand of 16 or 32 bytes into *value. */
static void read_vector(X86Cpu *cpu, const Insn *insn, unsigned n, X86Vec *value)
{
    if (insn->op[n].kind == OPK_MEM) {
        uint64_t va = operand_address(cpu, insn, insn->op[n].size, X86_READ);

        if (insn->op[n].size == 32) {
            x86_ld256(cpu, va, value);
        } else {
            x86_ld128(cpu, va, value);
        }
    } else {
        memcpy(value, vec(cpu, insn, n), 32);
    }
}

/* MOVAPS, MOVUPS, MOVDQA, MOVDQU, LDDQU, MOVNTxx and kin. */
void sem_movv(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[0].size;
    X86Vec value;

    if (insn->op[0].kind == OPK_MMX || insn->op[1].kind == OPK_MMX) {
        sem_host(cpu, insn);
        return;
    }
    if (insn->op[0].kind == OPK_MEM) {
        uint64_t va = operand_address(cpu, insn, size, X86_WRITE);

        if (size == 32) {
            x86_st256(cpu, va, vec(cpu, insn, 1));
        } else {
            x86_st128(cpu, va, vec(cpu, insn, 1));
        }
        return;
    }
    read_vector(cpu, insn, 1, &value);
    memcpy(vec(cpu, insn, 0), &value, size);
    clear_above(insn, vec(cpu, insn, 0), size);
}

/* clang-format off */
#define LOGIC(name, expr)                                                                   \
    static void logic_##name(X86Cpu *cpu, const Insn *insn)                                 \
    {                                                                                       \
        unsigned size = insn->op[0].size;                                                   \
        X86Vec *dst = vec(cpu, insn, 0), b;                                                 \
        const X86Vec *a = vec(cpu, insn, 1);                                                \
        if (insn->op[0].kind == OPK_MMX) {                                                  \
            sem_host(cpu, insn);                                                            \
            return;                                                                         \
        }                                                                                   \
        read_vector(cpu, insn, 2, &b);                                                      \
        for (unsigned i = 0; i < size / 8; i++) {                                           \
            uint64_t x = a->u64[i], y = b.u64[i];                                           \
            dst->u64[i] = (expr);                                                           \
        }                                                                                   \
        clear_above(insn, dst, size);                                                       \
    }
#define NAME(name, of)                                                                      \
    void sem_##name(X86Cpu *cpu, const Insn *insn) __attribute__((alias("logic_" #of)));
LOGIC(and, x & y)   NAME(pand, and)   NAME(andps, and)   NAME(andpd, and)
LOGIC(andn, ~x & y) NAME(pandn, andn) NAME(andnps, andn) NAME(andnpd, andn)
LOGIC(or, x | y)    NAME(por, or)     NAME(orps, or)     NAME(orpd, or)
LOGIC(xor, x ^ y)   NAME(pxor, xor)   NAME(xorps, xor)   NAME(xorpd, xor)
/* clang-format on */

/* ---- scalar moves ------------------------------------------------------------------------- */

/* The low SIZE bytes become VALUE; ZERO: the rest of the XMM register becomes 0. */
static void write_scalar(const Insn *insn, X86Vec *dst, uint64_t value, unsigned size, bool zero)
{
    if (zero) {
        dst->u64[0] = dst->u64[1] = 0;
    }
    memcpy(dst, &value, size);
    clear_above(insn, dst, 16);
}

void sem_movss_load(X86Cpu *cpu, const Insn *insn)
{
    uint32_t value = insn_ld32(cpu, insn);

    write_scalar(insn, vec(cpu, insn, 0), value, 4, true);
}

void sem_movsd_x_load(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = insn_ld64(cpu, insn);

    write_scalar(insn, vec(cpu, insn, 0), value, 8, true);
}

void sem_movss_store(X86Cpu *cpu, const Insn *insn)
{
    insn_st32(cpu, insn, vec(cpu, insn, 1)->u32[0]);
}

void sem_movsd_x_store(X86Cpu *cpu, const Insn *insn)
{
    insn_st64(cpu, insn, vec(cpu, insn, 1)->u64[0]);
}

/* dst = operand 1 with its low element from operand 2. */
static void merge_low(X86Cpu *cpu, const Insn *insn, unsigned size)
{
    X86Vec *dst = vec(cpu, insn, 0);
    uint64_t low = vec(cpu, insn, 2)->u64[0];

    memmove(dst, vec(cpu, insn, 1), 16);
    write_scalar(insn, dst, low, size, false);
}

void sem_movss_reg(X86Cpu *cpu, const Insn *insn)
{
    merge_low(cpu, insn, 4);
}

void sem_movsd_x_reg(X86Cpu *cpu, const Insn *insn)
{
    merge_low(cpu, insn, 8);
}

void sem_movlps_load(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = insn_ld64(cpu, insn);
    X86Vec *dst = vec(cpu, insn, 0);

    dst->u64[1] = vec(cpu, insn, 1)->u64[1];
    dst->u64[0] = value;
    clear_above(insn, dst, 16);
}

void sem_movhps_load(X86Cpu *cpu, const Insn *insn)
{
    uint64_t value = insn_ld64(cpu, insn);
    X86Vec *dst = vec(cpu, insn, 0);

    dst->u64[0] = vec(cpu, insn, 1)->u64[0];
    dst->u64[1] = value;
    clear_above(insn, dst, 16);
}

void sem_movlps_store(X86Cpu *cpu, const Insn *insn)
{
    insn_st64(cpu, insn, vec(cpu, insn, 1)->u64[0]);
}

void sem_movhps_store(X86Cpu *cpu, const Insn *insn)
{
    insn_st64(cpu, insn, vec(cpu, insn, 1)->u64[1]);
}

/* MOVD, MOVQ between a vector register and a general register or memory, both ways. */
void sem_movd(X86Cpu *cpu, const Insn *insn)
{
    if (insn->op[0].kind == OPK_MMX || insn->op[1].kind == OPK_MMX) {
        sem_host(cpu, insn);
    } else if (insn->op[0].kind == OPK_VEC) {
        uint64_t value = insn_read(cpu, insn, 1);

        write_scalar(insn, vec(cpu, insn, 0), value, 8, true);
    } else {
        insn_write(cpu, insn, 0, vec(cpu, insn, 1)->u64[0]);
    }
}

/* MOVQ xmm, xmm/m64. */
void sem_movq(X86Cpu *cpu, const Insn *insn)
{
    if (insn->op[0].kind == OPK_MMX || insn->op[1].kind == OPK_MMX) {
        sem_host(cpu, insn);
    } else {
        uint64_t value = insn->op[1].kind == OPK_MEM ? insn_ld64(cpu, insn)
                                                     : vec(cpu, insn, 1)->u64[0];

        write_scalar(insn, vec(cpu, insn, 0), value, 8, true);
    }
}

/* MOVQ xmm/m64, xmm. */
void sem_movq_store(X86Cpu *cpu, const Insn *insn)
{
    if (insn->op[0].kind == OPK_MEM) {
        insn_st64(cpu, insn, vec(cpu, insn, 1)->u64[0]);
    } else {
        write_scalar(insn, vec(cpu, insn, 0), vec(cpu, insn, 1)->u64[0], 8, true);
    }
}

/* ---- control ------------------------------------------------------------------------------- */

void sem_ldmxcsr(X86Cpu *cpu, const Insn *insn)
{
    uint32_t value = insn_ld32(cpu, insn);

    if (value & ~MXCSR_MASK) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->x87.mxcsr = value;
}

void sem_stmxcsr(X86Cpu *cpu, const Insn *insn)
{
    insn_st32(cpu, insn, cpu->x87.mxcsr);
}

void sem_emms(X86Cpu *cpu, const Insn *insn)
{
    x87_check_pending(cpu);
    x87_enter_mmx(&cpu->x87);
    cpu->x87.ftw = 0;
}
