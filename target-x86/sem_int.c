/* SPDX-License-Identifier: MIT */
/*
 * Integer instructions: arithmetic, logic, shifts, bits, moves, stack frames.
 * Spec: SDM2.  Flags come from the host's own instruction (alu.h), the undefined ones included.
 * Locking: none; LOCKed instructions use the host's LOCK on guest memory.
 */
#include "target-x86/sem.h"

/* ---- two operands: dst = a op b -------------------------------------------------------------- */

/* clang-format off */
#define SIZED(fn, insn, n)                                                                  \
    switch ((insn)->op[n].size) {                                                           \
    case 1: fn##8(cpu, insn); break;                                                        \
    case 2: fn##16(cpu, insn); break;                                                       \
    case 4: fn##32(cpu, insn); break;                                                       \
    default: fn##64(cpu, insn); break;                                                      \
    }
#define SIZED_W(fn, insn, n)                                                                \
    switch ((insn)->op[n].size) {                                                           \
    case 2: fn##16(cpu, insn); break;                                                       \
    case 4: fn##32(cpu, insn); break;                                                       \
    default: fn##64(cpu, insn); break;                                                      \
    }

#define BINARY(name, bits, T, suffix)                                                       \
    static void bin_##name##bits(X86Cpu *cpu, const Insn *insn)                             \
    {                                                                                       \
        T b = insn_read(cpu, insn, 2);                                                      \
        uint32_t cc = cpu->cc;                                                              \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            if (insn_is_locked(insn)) {                                                     \
                alu_lock_##name##bits((T *)p, b, &cc);                                           \
            } else {                                                                        \
                *p = alu_##name##bits(*p, b, &cc);                                          \
            }                                                                               \
            x86_rmw_end(cpu);                                                               \
        } else {                                                                            \
            T a = insn_read(cpu, insn, 1);                                                  \
            insn_write(cpu, insn, 0, alu_##name##bits(a, b, &cc));                          \
        }                                                                                   \
        cpu->cc = cc;                                                                       \
    }
#define COMPARE(name, bits, T, suffix)                                                      \
    static void bin_##name##bits(X86Cpu *cpu, const Insn *insn)                             \
    {                                                                                       \
        T a = insn_read(cpu, insn, 1), b = insn_read(cpu, insn, 2);                         \
        cpu->cc = alu_##name##bits(a, b);                                                   \
    }
#define UNARY(name, bits, T, suffix)                                                        \
    static void bin_##name##bits(X86Cpu *cpu, const Insn *insn)                             \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            if (insn_is_locked(insn)) {                                                     \
                alu_lock_##name##bits((T *)p, &cc);                                              \
            } else {                                                                        \
                *p = alu_##name##bits(*p, &cc);                                             \
            }                                                                               \
            x86_rmw_end(cpu);                                                               \
        } else {                                                                            \
            insn_write(cpu, insn, 0, alu_##name##bits(insn_read(cpu, insn, 1), &cc));       \
        }                                                                                   \
        cpu->cc = cc;                                                                       \
    }
#define SHIFT(name, bits, T, suffix)                                                        \
    static void bin_##name##bits(X86Cpu *cpu, const Insn *insn)                             \
    {                                                                                       \
        uint8_t count = insn_read(cpu, insn, 2);                                            \
        uint32_t cc = cpu->cc;                                                              \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            *p = alu_##name##bits(*p, count, &cc);                                          \
            x86_rmw_end(cpu);                                                               \
        } else {                                                                            \
            insn_write(cpu, insn, 0, alu_##name##bits(insn_read(cpu, insn, 1), count, &cc)); \
        }                                                                                   \
        cpu->cc = cc;                                                                       \
    }
#define DOUBLE(name, bits, T, suffix)                                                       \
    static void bin_##name##bits(X86Cpu *cpu, const Insn *insn)                             \
    {                                                                                       \
        T b = insn_read(cpu, insn, 2);                                                      \
        uint8_t count = insn_read(cpu, insn, 3);                                            \
        uint32_t cc = cpu->cc;                                                              \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            *p = alu_##name##bits(*p, b, count, &cc);                                       \
            x86_rmw_end(cpu);                                                               \
        } else {                                                                            \
            insn_write(cpu, insn, 0, alu_##name##bits(insn_read(cpu, insn, 1), b, count, &cc)); \
        }                                                                                   \
        cpu->cc = cc;                                                                       \
    }

#define SEM_SIZED(name, n) void sem_##name(X86Cpu *cpu, const Insn *insn) { SIZED(bin_##name, insn, n) }
#define SEM_SIZED_W(name, n) void sem_##name(X86Cpu *cpu, const Insn *insn) { SIZED_W(bin_##name, insn, n) }

ALU_WIDTHS(BINARY, add) SEM_SIZED(add, 0)
ALU_WIDTHS(BINARY, or) SEM_SIZED(or, 0)
ALU_WIDTHS(BINARY, adc) SEM_SIZED(adc, 0)
ALU_WIDTHS(BINARY, sbb) SEM_SIZED(sbb, 0)
ALU_WIDTHS(BINARY, and) SEM_SIZED(and, 0)
ALU_WIDTHS(BINARY, sub) SEM_SIZED(sub, 0)
ALU_WIDTHS(BINARY, xor) SEM_SIZED(xor, 0)
ALU_WIDTHS(COMPARE, cmp) SEM_SIZED(cmp, 1)
ALU_WIDTHS(COMPARE, test) SEM_SIZED(test, 1)
ALU_WIDTHS(UNARY, inc) SEM_SIZED(inc, 0)
ALU_WIDTHS(UNARY, dec) SEM_SIZED(dec, 0)
ALU_WIDTHS(UNARY, neg) SEM_SIZED(neg, 0)
ALU_WIDTHS(UNARY, not) SEM_SIZED(not, 0)
ALU_WIDTHS(SHIFT, rol) SEM_SIZED(rol, 0)
ALU_WIDTHS(SHIFT, ror) SEM_SIZED(ror, 0)
ALU_WIDTHS(SHIFT, rcl) SEM_SIZED(rcl, 0)
ALU_WIDTHS(SHIFT, rcr) SEM_SIZED(rcr, 0)
ALU_WIDTHS(SHIFT, shl) SEM_SIZED(shl, 0)
ALU_WIDTHS(SHIFT, shr) SEM_SIZED(shr, 0)
ALU_WIDTHS(SHIFT, sar) SEM_SIZED(sar, 0)
ALU_WIDTHS_W(DOUBLE, shld) SEM_SIZED_W(shld, 0)
ALU_WIDTHS_W(DOUBLE, shrd) SEM_SIZED_W(shrd, 0)

/* BSF and BSR leave the destination alone when the source is 0, as every CPU does. */
#define SCAN(name, bits, T, suffix)                                                         \
    static void bin_##name##bits(X86Cpu *cpu, const Insn *insn)                             \
    {                                                                                       \
        T b = insn_read(cpu, insn, 1), a = insn_read(cpu, insn, 2);                         \
        uint32_t cc = cpu->cc;                                                              \
        a = alu_##name##bits(a, b, &cc);                                                    \
        if (b) {                                                                            \
            insn_write(cpu, insn, 0, a);                                                    \
        }                                                                                   \
        cpu->cc = cc;                                                                       \
    }
ALU_WIDTHS_W(SCAN, bsf) SEM_SIZED_W(bsf, 0)
ALU_WIDTHS_W(SCAN, bsr) SEM_SIZED_W(bsr, 0)

#define MULTIPLY(name, bits, T, suffix)                                                     \
    static void bin_imul2##bits(X86Cpu *cpu, const Insn *insn)                              \
    {                                                                                       \
        T a = insn_read(cpu, insn, 1), b = insn_read(cpu, insn, 2);                         \
        uint32_t cc = cpu->cc;                                                              \
        insn_write(cpu, insn, 0, alu_imul##bits(a, b, &cc));                                \
        cpu->cc = cc;                                                                       \
    }
ALU_WIDTHS_W(MULTIPLY, imul2) SEM_SIZED_W(imul2, 0)
/* clang-format on */

/* ---- multiply and divide ------------------------------------------------------------------------ */

/* CF = OF = "the upper half matters"; the others are undefined and stay. */
static void product_flags(X86Cpu *cpu, bool overflow)
{
    cc_set(cpu, CC_C | CC_O, overflow ? CC_C | CC_O : 0);
}

static void set_ax_dx(X86Cpu *cpu, unsigned size, uint64_t low, uint64_t high)
{
    if (size == 1) {
        x86_set_gpr(cpu, R_RAX, (uint8_t)low | high << 8, 2);
        return;
    }
    x86_set_gpr(cpu, R_RAX, low, size);
    x86_set_gpr(cpu, R_RDX, high, size);
}

void sem_mul(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[1].size;
    unsigned __int128 product = (unsigned __int128)insn_read(cpu, insn, 1) *
                                (cpu->gpr[R_RAX] & size_mask(size));
    uint64_t high = product >> (8 * size);

    set_ax_dx(cpu, size, product, high);
    product_flags(cpu, high & size_mask(size));
}

void sem_imul(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[1].size;
    __int128 product = (__int128)sign_extended(insn_read(cpu, insn, 1), size) *
                       sign_extended(cpu->gpr[R_RAX], size);

    set_ax_dx(cpu, size, product, product >> (8 * size));
    product_flags(cpu, product != sign_extended(product, size));
}

static unsigned __int128 dividend(const X86Cpu *cpu, unsigned size)
{
    if (size == 1) {
        return (uint16_t)cpu->gpr[R_RAX];
    }
    return (unsigned __int128)(cpu->gpr[R_RDX] & size_mask(size)) << (8 * size) |
           (cpu->gpr[R_RAX] & size_mask(size));
}

/* The flags are undefined: they become what the host's division makes of them, as in translated code.  It does not fault. */
#define DIVISION(insn, by)                                                                  \
    __asm__(CC_LOAD "movq %2, %%rax\n\t" insn " " by "\n\t" CC_SAVE                          \
            : "+&a"(cc), "+&d"(high) : "r"(low), "r"(divisor) : "cc")

static void division_flags(X86Cpu *cpu, bool is_signed, unsigned size, uint64_t divisor)
{
    uint64_t low = cpu->gpr[R_RAX], high = cpu->gpr[R_RDX];
    uint32_t cc = cpu->cc;

    switch (is_signed << 4 | size) {
    case 0x01: DIVISION("divb", "%b3"); break;
    case 0x02: DIVISION("divw", "%w3"); break;
    case 0x04: DIVISION("divl", "%k3"); break;
    case 0x08: DIVISION("divq", "%q3"); break;
    case 0x11: DIVISION("idivb", "%b3"); break;
    case 0x12: DIVISION("idivw", "%w3"); break;
    case 0x14: DIVISION("idivl", "%k3"); break;
    default: DIVISION("idivq", "%q3"); break;
    }
    cpu->cc = (uint16_t)cc;
}

void sem_div(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[1].size;
    uint64_t by = insn_read(cpu, insn, 1);
    unsigned __int128 n = dividend(cpu, size);

    if (by == 0 || n / by > size_mask(size)) {
        cpu_raise(cpu, VEC_DE, 0);
    }
    division_flags(cpu, false, size, by);
    set_ax_dx(cpu, size, n / by, n % by);
}

void sem_idiv(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op[1].size, bits = 16 * size;
    int64_t by = sign_extended(insn_read(cpu, insn, 1), size);
    __int128 n = (__int128)(dividend(cpu, size) << (128 - bits)) >> (128 - bits), q;

    /* -2^127 / -1 would trap in the host; its quotient does not fit anyway. */
    if (by == 0 || (by == -1 && n == (__int128)((unsigned __int128)1 << 127))) {
        cpu_raise(cpu, VEC_DE, 0);
    }
    q = n / by;
    if (q != sign_extended(q, size)) {
        cpu_raise(cpu, VEC_DE, 0);
    }
    division_flags(cpu, true, size, by);
    set_ax_dx(cpu, size, q, n % by);
}

/* ---- decimal ---------------------------------------------------------------------------------------- */

static uint32_t cc_of_result8(uint8_t value)
{
    return alu_test8(value, value) & (CC_S | CC_Z | CC_P | CC_ONE);
}

static void decimal_adjust(X86Cpu *cpu, int sign)
{
    uint8_t old = cpu->gpr[R_RAX], al = old;
    bool cf = cpu->cc & CC_C, af = cpu->cc & CC_A, carry = false;

    if ((al & 15) > 9 || af) {
        carry = cf || (sign > 0 ? al > 0xf9 : al < 6);
        al += sign * 6;
        af = true;
    }
    if (old > 0x99 || cf) {
        al += sign * 0x60;
        carry = true;
    }
    x86_set_gpr(cpu, R_RAX, al, 1);
    cpu->cc = cc_of_result8(al) | (af ? CC_A : 0) | (carry ? CC_C : 0);
}

void sem_daa(X86Cpu *cpu, const Insn *insn) { decimal_adjust(cpu, 1); }
void sem_das(X86Cpu *cpu, const Insn *insn) { decimal_adjust(cpu, -1); }

static void ascii_adjust(X86Cpu *cpu, int sign)
{
    uint16_t ax = cpu->gpr[R_RAX];
    bool adjust = (ax & 15) > 9 || (cpu->cc & CC_A);

    if (adjust) {
        ax += sign * 0x106;
    }
    ax &= 0xff0f;
    x86_set_gpr(cpu, R_RAX, ax, 2);
    cpu->cc = cc_of_result8(ax) | (adjust ? CC_A | CC_C : 0);
}

void sem_aaa(X86Cpu *cpu, const Insn *insn) { ascii_adjust(cpu, 1); }
void sem_aas(X86Cpu *cpu, const Insn *insn) { ascii_adjust(cpu, -1); }

void sem_aam(X86Cpu *cpu, const Insn *insn)
{
    uint8_t al = cpu->gpr[R_RAX], base = insn->imm;

    if (base == 0) {
        cpu_raise(cpu, VEC_DE, 0);
    }
    x86_set_gpr(cpu, R_RAX, (al / base) << 8 | al % base, 2);
    cpu->cc = cc_of_result8(al % base);
}

void sem_aad(X86Cpu *cpu, const Insn *insn)
{
    uint16_t ax = cpu->gpr[R_RAX];
    uint8_t al = ax + (ax >> 8) * (uint8_t)insn->imm;

    x86_set_gpr(cpu, R_RAX, al, 2);
    cpu->cc = cc_of_result8(al);
}

void sem_salc(X86Cpu *cpu, const Insn *insn)
{
    x86_set_gpr(cpu, R_RAX, cpu->cc & CC_C ? 0xff : 0, 1);
}

/* ---- bit tests ------------------------------------------------------------------------------------------ */

typedef enum BitOp { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT } BitOp;

static uint64_t bit_apply(BitOp op, uint64_t value, uint64_t bit)
{
    switch (op) {
    case BIT_SET: return value | bit;
    case BIT_RESET: return value & ~bit;
    case BIT_COMPLEMENT: return value ^ bit;
    default: return value;
    }
}

/* Atomic read-modify-write for LOCK; returns the old value. */
#define BIT_LOCKED(T)                                                                       \
    static T bit_locked_##T(T *p, BitOp op, T bit)                                          \
    {                                                                                       \
        switch (op) {                                                                       \
        case BIT_SET: return __atomic_fetch_or(p, bit, __ATOMIC_SEQ_CST);                   \
        case BIT_RESET: return __atomic_fetch_and(p, (T)~bit, __ATOMIC_SEQ_CST);            \
        default: return __atomic_fetch_xor(p, bit, __ATOMIC_SEQ_CST);                       \
        }                                                                                   \
    }
BIT_LOCKED(uint16_t)
BIT_LOCKED(uint32_t)
BIT_LOCKED(uint64_t)

static uint64_t bit_memory(X86Cpu *cpu, const Insn *insn, uint64_t va, BitOp op, uint64_t bit)
{
    unsigned size = insn->op[1].size;
    uint64_t old;
    void *p;

    if (op == BIT_TEST) {
        return size == 2 ? x86_ld16(cpu, va) : size == 4 ? x86_ld32(cpu, va) : x86_ld64(cpu, va);
    }
    p = x86_rmw(cpu, va, size);
    if (insn_is_locked(insn)) {
        old = size == 2 ? bit_locked_uint16_t(p, op, bit)
            : size == 4 ? bit_locked_uint32_t(p, op, bit) : bit_locked_uint64_t(p, op, bit);
    } else {
        old = le_load(p, size);
        le_store(p, bit_apply(op, old, bit), size);
    }
    x86_rmw_end(cpu);
    return old;
}

static void bit_test(X86Cpu *cpu, const Insn *insn, BitOp op)
{
    unsigned size = insn->op[1].size, bits = 8 * size;
    uint64_t index = insn_read(cpu, insn, 2), old;
    uint64_t bit = 1ull << (index & (bits - 1));

    if (insn->op[1].kind == OPK_MEM) {
        /* A register index reaches beyond the operand, in units of its size, signed. */
        int64_t far = insn->op[2].kind == OPK_GPR ? sign_extended(index, size) >> 4 >> (size == 2 ? 0 : size == 4 ? 1 : 2) : 0;
        uint64_t off = insn_offset(cpu, insn) + far * size;

        off &= size_mask(insn->addr_size);
        old = bit_memory(cpu, insn,
                         x86_linear(cpu, insn->seg, off, size,
                                    op == BIT_TEST ? X86_READ : X86_WRITE), op, bit);
    } else {
        old = insn_read(cpu, insn, 1);
        if (op != BIT_TEST) {
            insn_write(cpu, insn, 0, bit_apply(op, old, bit));
        }
    }
    cc_set(cpu, CC_C, old & bit ? CC_C : 0);
}

void sem_bt(X86Cpu *cpu, const Insn *insn) { bit_test(cpu, insn, BIT_TEST); }
void sem_bts(X86Cpu *cpu, const Insn *insn) { bit_test(cpu, insn, BIT_SET); }
void sem_btr(X86Cpu *cpu, const Insn *insn) { bit_test(cpu, insn, BIT_RESET); }
void sem_btc(X86Cpu *cpu, const Insn *insn) { bit_test(cpu, insn, BIT_COMPLEMENT); }

static void count_flags(X86Cpu *cpu, bool carry, bool zero)
{
    cc_set(cpu, CC_C | CC_Z, (carry ? CC_C : 0) | (zero ? CC_Z : 0));
}

void sem_tzcnt(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1);
    unsigned n = v ? __builtin_ctzll(v) : 8 * insn->op[1].size;

    insn_write(cpu, insn, 0, n);
    count_flags(cpu, v == 0, n == 0);
}

void sem_lzcnt(X86Cpu *cpu, const Insn *insn)
{
    unsigned bits = 8 * insn->op[1].size;
    uint64_t v = insn_read(cpu, insn, 1);
    unsigned n = v ? __builtin_clzll(v) - (64 - bits) : bits;

    insn_write(cpu, insn, 0, n);
    count_flags(cpu, v == 0, n == 0);
}

void sem_popcnt(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1);

    insn_write(cpu, insn, 0, __builtin_popcountll(v));
    cpu->cc = CC_ONE | (v == 0 ? CC_Z : 0);
}

void sem_bswap(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1);

    /* A 16-bit operand size is undefined; CPUs clear the word. */
    if (insn->op_size == 2) {
        x86_set_gpr(cpu, insn->op[0].reg, 0, 2);
        return;
    }
    insn_write(cpu, insn, 0, insn->op_size == 8 ? __builtin_bswap64(v) : __builtin_bswap32(v));
}

/* ---- exchange ------------------------------------------------------------------------------------------------ */

/* clang-format off */
#define EXCHANGE(name, bits, T, suffix)                                                     \
    static void bin_xchg##bits(X86Cpu *cpu, const Insn *insn)                               \
    {                                                                                       \
        T b = insn_read(cpu, insn, 1), a;                                                   \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            a = __atomic_exchange_n((T *)p, b, __ATOMIC_SEQ_CST);                                \
            x86_rmw_end(cpu);                                                               \
        } else {                                                                            \
            a = insn_read(cpu, insn, 0);                                                    \
            insn_write(cpu, insn, 0, b);                                                    \
        }                                                                                   \
        insn_write(cpu, insn, 1, a);                                                        \
    }                                                                                       \
    static void bin_xadd##bits(X86Cpu *cpu, const Insn *insn)                               \
    {                                                                                       \
        T b = insn_read(cpu, insn, 1), a;                                                   \
        uint32_t cc;                                                                        \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            if (insn_is_locked(insn)) {                                                     \
                a = __atomic_fetch_add((T *)p, b, __ATOMIC_SEQ_CST);                             \
                alu_add##bits(a, b, &cc);                                                   \
            } else {                                                                        \
                a = *p;                                                                     \
                *p = alu_add##bits(a, b, &cc);                                              \
            }                                                                               \
            x86_rmw_end(cpu);                                                               \
            insn_write(cpu, insn, 1, a);                                                    \
        } else {                                                                            \
            T sum;                                                                          \
            a = insn_read(cpu, insn, 0);                                                    \
            sum = alu_add##bits(a, b, &cc);                                                 \
            insn_write(cpu, insn, 1, a);                                                    \
            insn_write(cpu, insn, 0, sum);                                                  \
        }                                                                                   \
        cpu->cc = cc;                                                                       \
    }                                                                                       \
    static void bin_cmpxchg##bits(X86Cpu *cpu, const Insn *insn)                            \
    {                                                                                       \
        T b = insn_read(cpu, insn, 2), expect = cpu->gpr[R_RAX], old = expect;              \
        if (insn->op[0].kind == OPK_MEM) {                                                  \
            T##_un *p = insn_rmw(cpu, insn, sizeof(T));                                     \
            __atomic_compare_exchange_n((T *)p, &old, b, false, __ATOMIC_SEQ_CST,                \
                                        __ATOMIC_SEQ_CST);                                  \
            x86_rmw_end(cpu);                                                               \
        } else {                                                                            \
            old = insn_read(cpu, insn, 0);                                                  \
            if (old == expect) {                                                            \
                insn_write(cpu, insn, 0, b);                                                \
            }                                                                               \
        }                                                                                   \
        if (old != expect) {                                                                \
            x86_set_gpr(cpu, R_RAX, old, sizeof(T));                                        \
        }                                                                                   \
        cpu->cc = alu_cmp##bits(expect, old);                                               \
    }
ALU_WIDTHS(EXCHANGE, x)
SEM_SIZED(xchg, 0)
SEM_SIZED(xadd, 0)
SEM_SIZED(cmpxchg, 0)
/* clang-format on */

void sem_cmpxchg8b(X86Cpu *cpu, const Insn *insn)
{
    uint64_t expect = cpu->gpr[R_RDX] << 32 | (uint32_t)cpu->gpr[R_RAX], old = expect;
    uint64_t new = cpu->gpr[R_RCX] << 32 | (uint32_t)cpu->gpr[R_RBX];
    uint64_t *p = insn_rmw(cpu, insn, 8);

    __atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    x86_rmw_end(cpu);
    if (old != expect) {
        cpu->gpr[R_RAX] = (uint32_t)old;
        cpu->gpr[R_RDX] = old >> 32;
    }
    cc_set(cpu, CC_Z, old == expect ? CC_Z : 0);
}

void sem_cmpxchg16b(X86Cpu *cpu, const Insn *insn)
{
    uint64_t va = insn_linear_unaligned(cpu, insn, 16, X86_WRITE);
    uint64_t low = cpu->gpr[R_RAX], high = cpu->gpr[R_RDX];
    unsigned __int128 *p;
    bool equal;

    if (va & 15) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    p = x86_rmw(cpu, va, 16);
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(equal), "+m"(*p), "+a"(low), "+d"(high)
                     : "b"(cpu->gpr[R_RBX]), "c"(cpu->gpr[R_RCX]) : "memory");
    x86_rmw_end(cpu);
    if (!equal) {
        cpu->gpr[R_RAX] = low;
        cpu->gpr[R_RDX] = high;
    }
    cc_set(cpu, CC_Z, equal ? CC_Z : 0);
}

/* ---- moves -------------------------------------------------------------------------------------------------------- */

void sem_mov(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, insn_read(cpu, insn, 1));
}

void sem_movzx(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, insn_read(cpu, insn, 1));
}

void sem_movsx(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, sign_extended(insn_read(cpu, insn, 1), insn->op[1].size));
}

void sem_lea(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, insn_offset(cpu, insn));
}

void sem_movbe(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = __builtin_bswap64(insn_read(cpu, insn, 1)) >> (64 - 8 * insn->op_size);

    insn_write(cpu, insn, 0, v);
}

void sem_cmovcc(X86Cpu *cpu, const Insn *insn)
{
    uint64_t v = insn_read(cpu, insn, 1);       /* read, and written back, in any case */

    insn_write(cpu, insn, 0,
               x86_cond(cpu->cc, insn_cond(insn)) ? v : insn_read(cpu, insn, 0));
}

void sem_setcc(X86Cpu *cpu, const Insn *insn)
{
    insn_write(cpu, insn, 0, x86_cond(cpu->cc, insn_cond(insn)));
}

void sem_cbw(X86Cpu *cpu, const Insn *insn)
{
    x86_set_gpr(cpu, R_RAX, sign_extended(cpu->gpr[R_RAX], insn->op_size / 2), insn->op_size);
}

void sem_cwd(X86Cpu *cpu, const Insn *insn)
{
    x86_set_gpr(cpu, R_RDX, sign_extended(cpu->gpr[R_RAX], insn->op_size) >> 63, insn->op_size);
}

void sem_lahf(X86Cpu *cpu, const Insn *insn)
{
    cpu->gpr[R_RAX] = (cpu->gpr[R_RAX] & ~0xff00ull) | (cpu->cc & 0xd500) | 0x200;
}

void sem_sahf(X86Cpu *cpu, const Insn *insn)
{
    cpu->cc = (cpu->cc & CC_O) | (cpu->gpr[R_RAX] & 0xd500) | CC_ONE;
}

void sem_xlat(X86Cpu *cpu, const Insn *insn)
{
    uint64_t off = (cpu->gpr[R_RBX] + (uint8_t)cpu->gpr[R_RAX]) & size_mask(insn->addr_size);

    x86_set_gpr(cpu, R_RAX, x86_load8(cpu, insn->seg, off), 1);
}

void sem_cmc(X86Cpu *cpu, const Insn *insn) { cpu->cc ^= CC_C; }
void sem_clc(X86Cpu *cpu, const Insn *insn) { cpu->cc &= ~CC_C; }
void sem_stc(X86Cpu *cpu, const Insn *insn) { cpu->cc |= CC_C; }
void sem_cld(X86Cpu *cpu, const Insn *insn) { cpu->eflags &= ~FLAG_DF; }
void sem_std(X86Cpu *cpu, const Insn *insn) { cpu->eflags |= FLAG_DF; }
void sem_nop(X86Cpu *cpu, const Insn *insn) { }
void sem_pause(X86Cpu *cpu, const Insn *insn)
{
    if (G_UNLIKELY(cpu->pause_exits)) {
        cpu->paused = true;
        cpu->stop = 1;
        x86_cpu_request(cpu, X86_REQ_EXIT);
    }
}
void sem_fence(X86Cpu *cpu, const Insn *insn) { atomic_thread_fence(memory_order_seq_cst); }
void sem_ud(X86Cpu *cpu, const Insn *insn) { cpu_raise(cpu, VEC_UD, 0); }

void sem_clflush(X86Cpu *cpu, const Insn *insn)
{
    x86_probe_read(cpu, insn_linear(cpu, insn, 1, X86_READ), 1);
}

void sem_bound(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op_size;
    uint64_t off = insn_offset(cpu, insn), next = (off + size) & size_mask(insn->addr_size);
    int64_t index = sign_extended(insn_read(cpu, insn, 1), size), low, high;

    if (size == 2) {
        low = (int16_t)x86_load16(cpu, insn->seg, off);
        high = (int16_t)x86_load16(cpu, insn->seg, next);
    } else {
        low = (int32_t)x86_load32(cpu, insn->seg, off);
        high = (int32_t)x86_load32(cpu, insn->seg, next);
    }
    if (index < low || index > high) {
        cpu_raise(cpu, VEC_BR, 0);
    }
}

void sem_arpl(X86Cpu *cpu, const Insn *insn)
{
    uint16_t rpl = insn_read(cpu, insn, 2) & 3, dst;
    bool adjust;

    if (insn->op[0].kind == OPK_MEM) {
        uint16_t *p = insn_rmw(cpu, insn, 2);

        dst = *p;
        adjust = (dst & 3) < rpl;
        if (adjust) {
            *p = (dst & ~3) | rpl;
        }
        x86_rmw_end(cpu);
    } else {
        dst = insn_read(cpu, insn, 1);
        adjust = (dst & 3) < rpl;
        if (adjust) {
            insn_write(cpu, insn, 0, (dst & ~3) | rpl);
        }
    }
    cc_set(cpu, CC_Z, adjust ? CC_Z : 0);
}

/* ---- stack ------------------------------------------------------------------------------------------------------------ */

void sem_push(X86Cpu *cpu, const Insn *insn)
{
    x86_push(cpu, insn_read(cpu, insn, 1), insn->op_size);
}

void sem_pop(X86Cpu *cpu, const Insn *insn)
{
    uint64_t sp = cpu->gpr[R_RSP], value = x86_pop_at(cpu, &sp, insn->op_size);

    if (insn->op[0].kind == OPK_MEM) {
        /* An address based on RSP uses its value after the pop. */
        uint64_t off = insn_offset(cpu, insn) + (insn->base == R_RSP ? insn->op_size : 0);
        uint64_t va;

        off &= size_mask(insn->addr_size);
        va = x86_linear(cpu, insn->seg, off, insn->op_size, X86_WRITE);
        switch (insn->op_size) {
        case 2: x86_st16(cpu, va, value); break;
        case 4: x86_st32(cpu, va, value); break;
        default: x86_st64(cpu, va, value); break;
        }
        x86_set_sp(cpu, sp);
        return;
    }
    x86_set_sp(cpu, sp);
    x86_set_gpr(cpu, insn->op[0].reg, value, insn->op_size);
}

void sem_pusha(X86Cpu *cpu, const Insn *insn)
{
    uint64_t sp = cpu->gpr[R_RSP], probe = sp;
    unsigned size = insn->op_size;

    /* Every slot is checked by storing what is there already only after all are writable. */
    for (unsigned i = 0; i < 8; i++) {
        probe = (probe & ~x86_sp_mask(cpu)) | ((probe - size) & x86_sp_mask(cpu));
        x86_probe_write(cpu, x86_linear(cpu, SEG_SS, probe & x86_sp_mask(cpu), size, X86_WRITE),
                        size);
    }
    for (unsigned i = 0; i < 8; i++) {
        x86_push_at(cpu, &sp, cpu->gpr[i], size);
    }
    x86_set_sp(cpu, sp);
}

void sem_popa(X86Cpu *cpu, const Insn *insn)
{
    uint64_t sp = cpu->gpr[R_RSP], values[8];
    unsigned size = insn->op_size;

    for (int i = 7; i >= 0; i--) {
        values[i] = x86_pop_at(cpu, &sp, size);
    }
    for (unsigned i = 0; i < 8; i++) {
        if (i != R_RSP) {
            x86_set_gpr(cpu, i, values[i], size);
        }
    }
    x86_set_sp(cpu, sp);
}

void sem_enter(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op_size, level = insn->imm2 & 31;
    uint64_t sp = cpu->gpr[R_RSP], bp = cpu->gpr[R_RBP], mask = x86_sp_mask(cpu), frame;

    x86_push_at(cpu, &sp, bp, size);
    frame = sp;
    for (unsigned i = 1; i < level; i++) {
        uint64_t value;

        bp = (bp & ~mask) | ((bp - size) & mask);
        value = size == 2 ? x86_load16(cpu, SEG_SS, bp & mask)
              : size == 4 ? x86_load32(cpu, SEG_SS, bp & mask)
                          : x86_load64(cpu, SEG_SS, bp & mask);
        x86_push_at(cpu, &sp, value, size);
    }
    if (level) {
        x86_push_at(cpu, &sp, frame, size);
    }
    sp = (sp & ~mask) | ((sp - insn->imm) & mask);
    /* SDM2 ENTER: the new top must be writable before anything is committed. */
    x86_probe_write(cpu, x86_linear(cpu, SEG_SS, sp & mask, size, X86_WRITE), size);
    x86_set_gpr(cpu, R_RBP, frame, mask == 0xffff ? 2 : size);
    x86_set_sp(cpu, sp);
}

void sem_leave(X86Cpu *cpu, const Insn *insn)
{
    uint64_t mask = x86_sp_mask(cpu);
    uint64_t sp = (cpu->gpr[R_RSP] & ~mask) | (cpu->gpr[R_RBP] & mask);
    uint64_t bp = x86_pop_at(cpu, &sp, insn->op_size);

    x86_set_sp(cpu, sp);
    x86_set_gpr(cpu, R_RBP, bp, insn->op_size);
}
