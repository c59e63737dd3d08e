/* SPDX-License-Identifier: MIT */
/*
 * Specialised handlers of the interpreter for the common instructions in flat 64- and 32-bit
 * code, by operand size and form (r: register, m: memory, i: immediate).  See interp_int.h.
 * Everything else, and every TLB miss, goes through the semantic functions.
 */
#include "target-x86/alu.h"
#include "target-x86/interp_int.h"
#include "target-x86/sem.h"

#define NEXT interp_next(cpu, insn)
#define SLOW interp_run_sem(cpu, insn)

/* Linear address of the memory operand; the picker made sure that no check is due. */
static inline uint64_t fast_va(const X86Cpu *cpu, const Insn *insn)
{
    uint64_t base = *(const uint64_t *)((const char *)cpu + insn->seg_off);

    return (cpu->gpr[insn->base] + (cpu->gpr[insn->index] << insn->scale) + insn->disp + base) &
           cpu->lin_mask;
}

static inline void *fast_read(X86Cpu *cpu, const Insn *insn, unsigned size)
{
    return x86_tlb_read(cpu, fast_va(cpu, insn), size, cpu->mmu_idx);
}

static inline void *fast_write(X86Cpu *cpu, const Insn *insn, unsigned size)
{
    return x86_tlb_write(cpu, fast_va(cpu, insn), size, cpu->mmu_idx);
}

/* clang-format off */
#define GET8(n) ((uint8_t)cpu->gpr[insn->op[n].reg])
#define GET16(n) ((uint16_t)cpu->gpr[insn->op[n].reg])
#define GET32(n) ((uint32_t)cpu->gpr[insn->op[n].reg])
#define GET64(n) (cpu->gpr[insn->op[n].reg])
#define SET8(n, v) (*(uint8_t *)&cpu->gpr[insn->op[n].reg] = (v))
#define SET16(n, v) (*(uint16_t *)&cpu->gpr[insn->op[n].reg] = (v))
#define SET32(n, v) (cpu->gpr[insn->op[n].reg] = (uint32_t)(v))
#define SET64(n, v) (cpu->gpr[insn->op[n].reg] = (v))

#define HANDLER(name) static void name(X86Cpu *cpu, const Insn *insn)

/* dst = a op b */
#define FAST_BINARY(name, bits, T, suffix)                                                  \
    HANDLER(name##_rr##bits)                                                                \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_##name##bits(GET##bits(0), GET##bits(2), &cc));                    \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_ri##bits)                                                                \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_##name##bits(GET##bits(0), insn->imm, &cc));                       \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_rm##bits)                                                                \
    {                                                                                       \
        const T##_un *p = fast_read(cpu, insn, sizeof(T));                                  \
        uint32_t cc = cpu->cc;                                                              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        SET##bits(0, alu_##name##bits(GET##bits(0), *p, &cc));                              \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_mr##bits)                                                                \
    {                                                                                       \
        T##_un *p = fast_write(cpu, insn, sizeof(T));                                       \
        uint32_t cc = cpu->cc;                                                              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = alu_##name##bits(*p, GET##bits(2), &cc);                                       \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_mi##bits)                                                                \
    {                                                                                       \
        T##_un *p = fast_write(cpu, insn, sizeof(T));                                       \
        uint32_t cc = cpu->cc;                                                              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = alu_##name##bits(*p, insn->imm, &cc);                                          \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }
#define FAST_COMPARE(name, bits, T, suffix)                                                 \
    HANDLER(name##_rr##bits) { cpu->cc = alu_##name##bits(GET##bits(1), GET##bits(2)); NEXT; } \
    HANDLER(name##_ri##bits) { cpu->cc = alu_##name##bits(GET##bits(1), insn->imm); NEXT; } \
    HANDLER(name##_rm##bits)                                                                \
    {                                                                                       \
        const T##_un *p = fast_read(cpu, insn, sizeof(T));                                  \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        cpu->cc = alu_##name##bits(GET##bits(1), *p);                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_mr##bits)                                                                \
    {                                                                                       \
        const T##_un *p = fast_read(cpu, insn, sizeof(T));                                  \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        cpu->cc = alu_##name##bits(*p, GET##bits(2));                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_mi##bits)                                                                \
    {                                                                                       \
        const T##_un *p = fast_read(cpu, insn, sizeof(T));                                  \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        cpu->cc = alu_##name##bits(*p, insn->imm);                                          \
        NEXT;                                                                               \
    }
#define FAST_UNARY(name, bits, T, suffix)                                                   \
    HANDLER(name##_r##bits)                                                                 \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_##name##bits(GET##bits(0), &cc));                                  \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_m##bits)                                                                 \
    {                                                                                       \
        T##_un *p = fast_write(cpu, insn, sizeof(T));                                       \
        uint32_t cc = cpu->cc;                                                              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = alu_##name##bits(*p, &cc);                                                     \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }
#define FAST_SHIFT(name, bits, T, suffix)                                                   \
    HANDLER(name##_ri##bits)                                                                \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_##name##bits(GET##bits(0), insn->imm, &cc));                       \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(name##_rr##bits)                                                                \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_##name##bits(GET##bits(0), cpu->gpr[R_RCX], &cc));                 \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }
/* By an immediate that is not 0 modulo the width. */
#define FAST_SHIFT_SOME(name, bits, T, suffix)                                              \
    HANDLER(name##_some##bits)                                                              \
    {                                                                                       \
        uint32_t cc;                                                                        \
        SET##bits(0, alu_some_##name##bits(GET##bits(0), insn->imm, &cc));                  \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }
#define FAST_MOVE(name, bits, T, suffix)                                                    \
    HANDLER(mov_rr##bits) { SET##bits(0, GET##bits(1)); NEXT; }                             \
    HANDLER(mov_ri##bits) { SET##bits(0, (T)insn->imm); NEXT; }                             \
    HANDLER(mov_rm##bits)                                                                   \
    {                                                                                       \
        const T##_un *p = fast_read(cpu, insn, sizeof(T));                                  \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        SET##bits(0, *p);                                                                   \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(mov_mr##bits)                                                                   \
    {                                                                                       \
        T##_un *p = fast_write(cpu, insn, sizeof(T));                                       \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = GET##bits(1);                                                                  \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(mov_mi##bits)                                                                   \
    {                                                                                       \
        T##_un *p = fast_write(cpu, insn, sizeof(T));                                       \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = insn->imm;                                                                     \
        NEXT;                                                                               \
    }
#define FAST_IMUL(name, bits, T, suffix)                                                    \
    HANDLER(imul2_rr##bits)                                                                 \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_imul##bits(GET##bits(1), GET##bits(2), &cc));                      \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(imul2_ri##bits)                                                                 \
    {                                                                                       \
        uint32_t cc = cpu->cc;                                                              \
        SET##bits(0, alu_imul##bits(GET##bits(1), insn->imm, &cc));                         \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(imul2_rm##bits)                                                                 \
    {                                                                                       \
        const T##_un *p = fast_read(cpu, insn, sizeof(T));                                  \
        uint32_t cc = cpu->cc;                                                              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        SET##bits(0, alu_imul##bits(GET##bits(1), *p, &cc));                                \
        cpu->cc = cc;                                                                       \
        NEXT;                                                                               \
    }

ALU_WIDTHS(FAST_BINARY, add) ALU_WIDTHS(FAST_BINARY, or) ALU_WIDTHS(FAST_BINARY, adc)
ALU_WIDTHS(FAST_BINARY, sbb) ALU_WIDTHS(FAST_BINARY, and) ALU_WIDTHS(FAST_BINARY, sub)
ALU_WIDTHS(FAST_BINARY, xor)
ALU_WIDTHS(FAST_COMPARE, cmp) ALU_WIDTHS(FAST_COMPARE, test)
ALU_WIDTHS(FAST_UNARY, inc) ALU_WIDTHS(FAST_UNARY, dec) ALU_WIDTHS(FAST_UNARY, neg)
ALU_WIDTHS(FAST_UNARY, not)
ALU_WIDTHS(FAST_SHIFT, rol) ALU_WIDTHS(FAST_SHIFT, ror) ALU_WIDTHS(FAST_SHIFT, shl)
ALU_WIDTHS(FAST_SHIFT, shr) ALU_WIDTHS(FAST_SHIFT, sar)
ALU_WIDTHS(FAST_SHIFT_SOME, shl) ALU_WIDTHS(FAST_SHIFT_SOME, shr)
ALU_WIDTHS(FAST_SHIFT_SOME, sar)
ALU_WIDTHS(FAST_MOVE, mov)
ALU_WIDTHS_W(FAST_IMUL, imul2)

/* Widening moves: the destination is 32 or 64 bits. */
#define FAST_EXTEND(name, bits, S, D)                                                       \
    HANDLER(name##_rr) { SET##bits(0, (D)(S)cpu->gpr[insn->op[1].reg]); NEXT; }             \
    HANDLER(name##_rm)                                                                      \
    {                                                                                       \
        const S##_un *p = fast_read(cpu, insn, sizeof(S));                                  \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        SET##bits(0, (D)*p);                                                                \
        NEXT;                                                                               \
    }
FAST_EXTEND(movzx1, 64, uint8_t, uint64_t)
FAST_EXTEND(movzx2, 64, uint16_t, uint64_t)
FAST_EXTEND(movsx14, 32, int8_t, int32_t)
FAST_EXTEND(movsx24, 32, int16_t, int32_t)
FAST_EXTEND(movsx44, 32, int32_t, int32_t)
FAST_EXTEND(movsx18, 64, int8_t, int64_t)
FAST_EXTEND(movsx28, 64, int16_t, int64_t)
FAST_EXTEND(movsx48, 64, int32_t, int64_t)
/* clang-format on */

HANDLER(lea_64)
{
    SET64(0, cpu->gpr[insn->base] + (cpu->gpr[insn->index] << insn->scale) + insn->disp);
    NEXT;
}

HANDLER(lea_32)
{
    SET32(0, cpu->gpr[insn->base] + (cpu->gpr[insn->index] << insn->scale) + insn->disp);
    NEXT;
}

HANDLER(nop_any)
{
    NEXT;
}

HANDLER(cdqe_any)
{
    cpu->gpr[R_RAX] = (int64_t)(int32_t)cpu->gpr[R_RAX];
    NEXT;
}

/* ---- stack ---------------------------------------------------------------------------------- */

/* clang-format off */
#define FAST_STACK(bits, T)                                                                 \
    HANDLER(push_r##bits)                                                                   \
    {                                                                                       \
        uint64_t sp = (cpu->gpr[R_RSP] - sizeof(T)) & cpu->lin_mask;                        \
        T##_un *p = (T##_un *)x86_tlb_write(cpu, sp, sizeof(T), cpu->mmu_idx);              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = GET##bits(1);                                                                  \
        cpu->gpr[R_RSP] = sp;                                                               \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(push_i##bits)                                                                   \
    {                                                                                       \
        uint64_t sp = (cpu->gpr[R_RSP] - sizeof(T)) & cpu->lin_mask;                        \
        T##_un *p = (T##_un *)x86_tlb_write(cpu, sp, sizeof(T), cpu->mmu_idx);              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = insn->imm;                                                                     \
        cpu->gpr[R_RSP] = sp;                                                               \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(pop_r##bits)                                                                    \
    {                                                                                       \
        uint64_t sp = cpu->gpr[R_RSP] & cpu->lin_mask;                                      \
        const T##_un *p = (T##_un *)x86_tlb_read(cpu, sp, sizeof(T), cpu->mmu_idx);         \
        T v;                                                                                \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        v = *p;                                                                             \
        cpu->gpr[R_RSP] = (sp + sizeof(T)) & cpu->lin_mask;                                 \
        cpu->gpr[insn->op[0].reg] = v;                                                      \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(call_rel##bits)                                                                 \
    {                                                                                       \
        uint64_t sp = (cpu->gpr[R_RSP] - sizeof(T)) & cpu->lin_mask;                        \
        T##_un *p = (T##_un *)x86_tlb_write(cpu, sp, sizeof(T), cpu->mmu_idx);              \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        *p = cpu->block_rip + insn->off + insn->len;                                        \
        cpu->gpr[R_RSP] = sp;                                                               \
        cpu->rip = insn->disp;                                                              \
    }                                                                                       \
    HANDLER(ret_near##bits)                                                                 \
    {                                                                                       \
        uint64_t sp = cpu->gpr[R_RSP] & cpu->lin_mask, to;                                  \
        const T##_un *p = (T##_un *)x86_tlb_read(cpu, sp, sizeof(T), cpu->mmu_idx);         \
        if (G_UNLIKELY(!p)) { SLOW; return; }                                               \
        to = *p;                                                                            \
        if (G_UNLIKELY((uint64_t)(((int64_t)to >> 47) + 1) > 1)) { SLOW; return; }          \
        cpu->gpr[R_RSP] = (sp + sizeof(T)) & cpu->lin_mask;                                 \
        cpu->rip = to;                                                                      \
    }
FAST_STACK(64, uint64_t)
FAST_STACK(32, uint32_t)
/* clang-format on */

/* ---- branches: the picker's caller has put the target into disp --------------------------------- */

HANDLER(jmp_rel)
{
    cpu->rip = insn->disp;
}

HANDLER(jmp_reg64)
{
    uint64_t to = GET64(1);

    if (G_UNLIKELY((uint64_t)(((int64_t)to >> 47) + 1) > 1)) {
        SLOW;
        return;
    }
    cpu->rip = to;
}

/* clang-format off */
#define CONDITIONAL(n)                                                                      \
    HANDLER(jcc_##n)                                                                        \
    {                                                                                       \
        cpu->rip = x86_cond(cpu->cc, n) ? (uint64_t)insn->disp                              \
                                        : cpu->block_rip + insn->off + insn->len;           \
    }                                                                                       \
    HANDLER(setcc_##n) { SET8(0, x86_cond(cpu->cc, n)); NEXT; }                             \
    HANDLER(cmov32_##n)                                                                     \
    {                                                                                       \
        uint32_t a = GET32(0), b = GET32(1);                                                \
        SET32(0, x86_cond(cpu->cc, n) ? b : a);                                             \
        NEXT;                                                                               \
    }                                                                                       \
    HANDLER(cmov64_##n)                                                                     \
    {                                                                                       \
        uint64_t a = GET64(0), b = GET64(1);                                                \
        SET64(0, x86_cond(cpu->cc, n) ? b : a);                                             \
        NEXT;                                                                               \
    }
CONDITIONAL(0) CONDITIONAL(1) CONDITIONAL(2) CONDITIONAL(3) CONDITIONAL(4) CONDITIONAL(5)
CONDITIONAL(6) CONDITIONAL(7) CONDITIONAL(8) CONDITIONAL(9) CONDITIONAL(10) CONDITIONAL(11)
CONDITIONAL(12) CONDITIONAL(13) CONDITIONAL(14) CONDITIONAL(15)

#define BY_CONDITION(name)                                                                  \
    { name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7,       \
      name##_8, name##_9, name##_10, name##_11, name##_12, name##_13, name##_14, name##_15 }
static RunFn *const jcc_table[16] = BY_CONDITION(jcc);
static RunFn *const setcc_table[16] = BY_CONDITION(setcc);
static RunFn *const cmov32_table[16] = BY_CONDITION(cmov32);
static RunFn *const cmov64_table[16] = BY_CONDITION(cmov64);

/* ---- choice -------------------------------------------------------------------------------------- */

enum { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, FORM_R, FORM_M, FORM_COUNT };

typedef struct FastRow {
    SemFn *sem;
    RunFn *run[FORM_COUNT][4];  /* by log2 of the size */
} FastRow;

#define S4(p) { p##8, p##16, p##32, p##64 }
#define S3(p) { NULL, p##16, p##32, p##64 }
#define BINARY_ROW(name)                                                                    \
    { sem_##name, { [FORM_RR] = S4(name##_rr), [FORM_RI] = S4(name##_ri),                   \
                    [FORM_RM] = S4(name##_rm), [FORM_MR] = S4(name##_mr),                   \
                    [FORM_MI] = S4(name##_mi) } }
#define UNARY_ROW(name) { sem_##name, { [FORM_R] = S4(name##_r), [FORM_M] = S4(name##_m) } }
#define SHIFT_ROW(name) { sem_##name, { [FORM_RR] = S4(name##_rr), [FORM_RI] = S4(name##_ri) } }
static const FastRow fast_rows[] = {
    BINARY_ROW(mov), BINARY_ROW(add), BINARY_ROW(or), BINARY_ROW(adc), BINARY_ROW(sbb),
    BINARY_ROW(and), BINARY_ROW(sub), BINARY_ROW(xor), BINARY_ROW(cmp), BINARY_ROW(test),
    UNARY_ROW(inc), UNARY_ROW(dec), UNARY_ROW(neg), UNARY_ROW(not),
    SHIFT_ROW(rol), SHIFT_ROW(ror), SHIFT_ROW(shl), SHIFT_ROW(shr), SHIFT_ROW(sar),
    { sem_imul2, { [FORM_RR] = S3(imul2_rr), [FORM_RI] = S3(imul2_ri), [FORM_RM] = S3(imul2_rm) } },
};
/* clang-format on */

static bool memory_is_simple(const Insn *insn, uint32_t mode)
{
    if (mode & MODE_ALIGN) {
        return false;
    }
    return mode & MODE_CS64 ? insn->addr_size == 8
                            : insn->addr_size == 4 && insn->seg == SEG_FLAT;
}

static bool stack_is_simple(const Insn *insn, uint32_t mode)
{
    if (mode & MODE_ALIGN) {
        return false;
    }
    return mode & MODE_CS64 ? insn->op_size == 8
                            : (mode & MODE_FLAT_SS) && (mode & MODE_SS32) && insn->op_size == 4;
}

static bool is_gpr(const Insn *insn, unsigned n) { return insn->op[n].kind == OPK_GPR; }
static bool is_mem(const Insn *insn, unsigned n) { return insn->op[n].kind == OPK_MEM; }
static bool is_imm(const Insn *insn, unsigned n) { return insn->op[n].kind == OPK_IMM; }

/* Form of "dst = dst op src" or "src1 op src2"; FORM_COUNT: none of them. */
static unsigned form_of(const Insn *insn, unsigned left, unsigned right)
{
    if (insn->op[right].kind == OPK_NONE) {
        return is_gpr(insn, left) ? FORM_R : is_mem(insn, left) ? FORM_M : FORM_COUNT;
    }
    if (is_gpr(insn, left)) {
        return is_gpr(insn, right) ? FORM_RR : is_imm(insn, right) ? FORM_RI
             : is_mem(insn, right) ? FORM_RM : FORM_COUNT;
    }
    if (is_mem(insn, left)) {
        return is_gpr(insn, right) ? FORM_MR : is_imm(insn, right) ? FORM_MI : FORM_COUNT;
    }
    return FORM_COUNT;
}

static RunFn *pick_shift(const Insn *insn)
{
    static RunFn *const some[3][4] = { S4(shl_some), S4(shr_some), S4(sar_some) };
    unsigned which = insn->sem == sem_shl ? 0 : insn->sem == sem_shr ? 1 : 2;
    unsigned size = insn->op[0].size;

    if ((insn->sem != sem_shl && insn->sem != sem_shr && insn->sem != sem_sar) ||
        !is_gpr(insn, 0) || !is_imm(insn, 2) || !(insn->imm & (size == 8 ? 63 : 31))) {
        return NULL;
    }
    return some[which][__builtin_ctz(size)];
}

static RunFn *pick_from_rows(const Insn *insn)
{
    for (unsigned i = 0; i < ARRAY_LEN(fast_rows); i++) {
        unsigned left, right, form, size;

        if (fast_rows[i].sem != insn->sem) {
            continue;
        }
        left = insn->op[0].kind == OPK_NONE || insn->sem == sem_imul2 ? 1 : 0;
        right = insn->sem == sem_mov ? 1 : 2;
        if (insn->sem == sem_mov) {
            left = 0;
        }
        form = form_of(insn, left, right);
        size = insn->op[left].size;
        if (form == FORM_COUNT || (form == FORM_RR && insn->op[right].size > size)) {
            return NULL;
        }
        return fast_rows[i].run[form][__builtin_ctz(size)];
    }
    return NULL;
}

static RunFn *pick_extend(const Insn *insn)
{
    unsigned from = insn->op[1].size, to = insn->op[0].size;
    bool mem = is_mem(insn, 1);

    if (to < 4 || (!mem && !is_gpr(insn, 1))) {
        return NULL;
    }
    if (insn->sem == sem_movzx) {
        return from == 1 ? (mem ? movzx1_rm : movzx1_rr) : (mem ? movzx2_rm : movzx2_rr);
    }
    if (to == 4) {
        return from == 1 ? (mem ? movsx14_rm : movsx14_rr)
             : from == 2 ? (mem ? movsx24_rm : movsx24_rr) : (mem ? movsx44_rm : movsx44_rr);
    }
    return from == 1 ? (mem ? movsx18_rm : movsx18_rr)
         : from == 2 ? (mem ? movsx28_rm : movsx28_rr) : (mem ? movsx48_rm : movsx48_rr);
}

static RunFn *pick_stack(const Insn *insn, uint32_t mode)
{
    bool wide = mode & MODE_CS64;

    if (!stack_is_simple(insn, mode)) {
        return NULL;
    }
    if (insn->sem == sem_push && is_gpr(insn, 1)) {
        return wide ? push_r64 : push_r32;
    }
    if (insn->sem == sem_push && is_imm(insn, 1)) {
        return wide ? push_i64 : push_i32;
    }
    if (insn->sem == sem_pop && is_gpr(insn, 0)) {
        return wide ? pop_r64 : pop_r32;
    }
    if (insn->sem == sem_call && (mode & MODE_FLAT_CS)) {
        return wide ? call_rel64 : call_rel32;
    }
    if (insn->sem == sem_ret && (mode & MODE_FLAT_CS) && insn->op[1].kind == OPK_NONE) {
        return wide ? ret_near64 : ret_near32;
    }
    return NULL;
}

static RunFn *pick_register_forms(const Insn *insn, uint32_t mode)
{
    unsigned cond = insn_cond(insn);

    if (insn->sem == sem_lea) {
        return insn->addr_size == 8 && insn->op_size == 8 ? lea_64
             : insn->addr_size >= 4 && insn->op_size == 4 ? lea_32 : NULL;
    }
    if (insn->sem == sem_cmovcc && is_gpr(insn, 1)) {
        return insn->op_size == 8 ? cmov64_table[cond]
             : insn->op_size == 4 ? cmov32_table[cond] : NULL;
    }
    if (insn->sem == sem_setcc && is_gpr(insn, 0)) {
        return setcc_table[cond];
    }
    if (insn->sem == sem_nop) {
        return nop_any;
    }
    if (insn->sem == sem_cbw && insn->op_size == 8) {
        return cdqe_any;
    }
    if (insn->sem == sem_jcc || insn->sem == sem_jmp) {
        if (!(mode & MODE_FLAT_CS) || insn->op_size == 2) {
            return NULL;
        }
        return insn->sem == sem_jcc ? jcc_table[cond] : jmp_rel;
    }
    if (insn->sem == sem_jmp_ind && is_gpr(insn, 1) && insn->op_size == 8) {
        return jmp_reg64;
    }
    return NULL;
}

RunFn *interp_pick_fast(const Insn *insn, uint32_t mode)
{
    RunFn *run;

    if (insn_is_locked(insn)) {
        return NULL;
    }
    run = pick_register_forms(insn, mode);
    if (run) {
        return run;
    }
    run = pick_stack(insn, mode);
    if (run) {
        return run;
    }
    if (insn_has_mem(insn) && !memory_is_simple(insn, mode)) {
        return NULL;
    }
    if (insn->sem == sem_movzx || insn->sem == sem_movsx) {
        return pick_extend(insn);
    }
    run = pick_shift(insn);
    return run ? run : pick_from_rows(insn);
}
