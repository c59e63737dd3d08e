/* SPDX-License-Identifier: MIT */
/*
 * Upwards: REP MOVS and REP STOS in flat segments, a page at a time (stubs_string.c); strings without REP; bit tests in
 * memory with the number in a register.  Everything else of their kind runs in C.
 * Spec: SDM2 MOVS, STOS, REP, BT.
 * Locking: translate_int.h.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

static bool is_bit_test(const Insn *insn)
{
    SemFn *s = insn->sem;

    return s == sem_bt || s == sem_bts || s == sem_btr || s == sem_btc;
}

/* One element: [reg] of a segment to another, or to or from RAX. */
static bool is_single(const Translation *t, const Insn *insn)
{
    SemFn *s = insn->sem;

    return !t->wide && !(insn->prefixes & (INSN_F2 | INSN_F3)) &&
           (s == sem_movs || s == sem_lods || s == sem_stos || s == sem_scas || s == sem_cmps);
}

/* [RSI], if it is read, and [RDI]. */
static bool sides_are_flat(const Translation *t, const Insn *insn)
{
    if (t->wide) {
        return insn->seg != SEG_FS && insn->seg != SEG_GS;
    }
    return (t->mode & MODE_FLAT_ES) && (insn->sem == sem_stos || insn->seg == SEG_FLAT);
}

bool tcg_string_is_native(const Translation *t, const Insn *insn)
{
    unsigned width = t->wide ? 8 : 4;

    if (t->tr->opt.string && is_single(t, insn)) {
        return true;
    }
    if (!t->tr->opt.string || insn->addr_size != width) {
        return false;
    }
    if (is_bit_test(insn)) {
        return is_mem(insn, 1) && is_gpr(insn, 2) && insn->op[1].size >= 4 &&
               (t->wide || insn->seg == SEG_FLAT);
    }
    return (insn->sem == sem_movs || insn->sem == sem_stos) && (insn->prefixes & (INSN_F2 | INSN_F3)) &&
           sides_are_flat(t, insn);
}

/* ---- bit tests ---------------------------------------------------------------------------------- */

static const uint8_t *emit_bit_test(Translation *t, const Insn *insn)
{
    unsigned opcode = insn->sem == sem_bt ? 0x0fa3 : insn->sem == sem_bts ? 0x0fab
                                                   : insn->sem == sem_btr ? 0x0fb3 : 0x0fbb;
    bool wide = insn->op[1].size == 8;
    Emitter *e = &t->hot;
    const uint8_t *op;

    tcg_emit_linear(t, insn, insn->disp);
    emit_rr(e, 0, true, wide ? 0x8b : 0x63, H_R15, tcg_source(t, insn->op[2].reg, H_R15));
    emit_rr(e, 0, true, 0xc1, 7, H_R15);                        /* sar: which word */
    emit8(e, wide ? 6 : 5);
    emit_rm(e, 0, t->wide, 0x8d, H_R14, (HostMem){ H_R14, H_R15, wide ? 3 : 2, false, 0 });
    tcg_check_here(t, wide ? 8 : 4, insn->sem != sem_bt);
    emit_rr(e, 0, false, 0x8b, H_R13, tcg_source(t, insn->op[2].reg, H_R13));
    emit_alu_imm(e, false, 4, H_R13, wide ? 63 : 31);
    op = emit_here(e);
    if (insn->prefixes & INSN_LOCK) {
        emit8(e, 0xf0);
    }
    emit_rm(e, 0, wide, opcode, H_R13, HOST_AT(H_R14, H_R15));
    return op;
}

/* ---- strings -------------------------------------------------------------------------------------- */

/* R15 = host address of what REG points to, R14 = bytes from there to the end of its page. */
static void emit_side(Translation *t, unsigned reg, bool write)
{
    Emitter *e = &t->hot;

    emit_rr(e, 0, t->wide, 0x8b, H_R14, reg);
    tcg_check_here(t, 1, write);
    emit_rr(e, 0, true, 0x03, H_R15, H_R14);                    /* add */
    emit_rr(e, 0, false, 0xf7, 3, H_R14);                       /* neg */
    emit_alu_imm(e, false, 0, H_R14, 4096);
}

/* R14 = the lesser of it and REG. */
static void emit_least(Emitter *e, bool wide, unsigned reg)
{
    emit_rr(e, 0, wide, 0x3b, H_R14, reg);                      /* cmp; cmova */
    emit_rr(e, 0, wide, 0x0f47, H_R14, reg);
}

static void emit_shift(Emitter *e, unsigned op, unsigned reg, unsigned count)
{
    if (count) {
        emit_rr(e, 0, false, 0xc1, op, reg);
        emit8(e, count);
    }
}

enum { SHL = 4, SHR = 5 };

/* Over so many bytes; ECX in 32-bit code.  Flags are kept. */
static void emit_jrcxz(Translation *t, unsigned bytes)
{
    if (!t->wide) {
        emit8(&t->hot, 0x67);
    }
    emit8(&t->hot, 0xe3);
    emit8(&t->hot, bytes);
}

/* As much as lies in one page on either side at a time; RCX, RSI and RDI say what is left, as after so many iterations. */
static const uint8_t *emit_string(Translation *t, const Insn *insn)
{
    const uint8_t *otherwise = tcg_cold_helper(t), *start = emit_here(&t->hot), *op;
    unsigned shift = __builtin_ctz(insn->op[0].size);
    bool movs = insn->sem == sem_movs;
    Emitter *e = &t->hot;
    uint8_t *done;

    emit_jrcxz(t, 2);
    emit_bytes(e, "\xeb\x05", 2);                               /* jmp +5 */
    done = emit_jmp(e, t->tr->rx);
    tcg_begin_flags(t);
    emit_rm(e, 0, false, 0xf7, 0, CPU(eflags));
    emit32(e, FLAG_DF);
    emit_jcc(e, COND_NE, otherwise);
    if (movs) {
        emit_side(t, H_RSI, false);
        emit_store(e, TX(scratch), H_R15);
        emit_mov(e, H_R13, H_R14);
    }
    emit_side(t, H_RDI, true);
    if (movs) {
        emit_least(e, false, H_R13);
    }
    emit_shift(e, SHR, H_R14, shift);
    if (shift) {
        emit_jcc(e, COND_E, otherwise);         /* an element in two pages */
    }
    emit_least(e, t->wide, H_RCX);
    emit_shift(e, SHL, H_R14, shift);
    if (movs) {
        emit_load(e, H_R13, TX(scratch));
        emit_rr(e, 0, true, 0x2b, H_R15, H_R13);                /* sub */
        emit_rr(e, 0, true, 0x3b, H_R15, H_R14);
        emit_jcc(e, COND_B, otherwise);         /* what is stored is loaded later */
        emit_rr(e, 0, true, 0x03, H_R15, H_R13);
    }
    op = emit_here(e);
    if (movs) {
        emit_rr(e, 0, t->wide, 0x03, H_RSI, H_R14);
    }
    emit_rr(e, 0, t->wide, 0x03, H_RDI, H_R14);
    emit_shift(e, SHR, H_R14, shift);
    emit_rr(e, 0, t->wide, 0x2b, H_RCX, H_R14);
    emit_shift(e, SHL, H_R14, shift);
    emit_call(e, movs ? t->tr->stubs.copy : t->tr->stubs.fill[shift]);
    emit_rm(e, 0, false, 0x80, 7, TX(kicked));                  /* cmp */
    emit8(e, 0);
    emit_jcc(e, COND_NE, otherwise);
    tcg_end_flags(t);
    emit_jrcxz(t, 5);
    emit_jmp(e, start);
    if (!e->full) {
        emit_patch(done, e->rx, emit_here(e));
    }
    return op;
}

/* ---- one element ------------------------------------------------------------------------------------ */

static HostMem emit_element(Translation *t, const Insn *insn, unsigned reg, unsigned size, bool write)
{
    bool flat = (t->mode & MODE_FLAT_ES) && insn->addr_size == 4;
    unsigned seg = reg == R_RSI ? insn->seg : flat ? SEG_FLAT : SEG_ES;
    const Insn place = { .base = reg, .index = R_ZERO, .seg = seg, .addr_size = insn->addr_size };

    if (seg != SEG_FLAT) {
        return tcg_segmented_operand(t, &place, size, write);
    }
    tcg_emit_linear(t, &place, 0);
    tcg_check_here(t, size, write);
    return HOST_AT(H_R14, H_R15);
}

/* OPCODE of the form reg, r/m (or the other way round) for bytes; the next one is that for more. */
static void emit_sized(Emitter *e, unsigned opcode, unsigned size, unsigned reg, HostMem mem)
{
    emit_rm(e, size == 2 ? 0x66 : 0, false, opcode | (size > 1), reg, mem);
}

static void advance(Emitter *e, const Insn *insn, unsigned reg, unsigned size)
{
    if (insn->addr_size == 4) {
        emit_rm(e, 0, false, 0x8d, reg, HOST_DISP(reg, size));
        return;
    }
    emit_rm(e, 0, false, 0x8d, H_R14, HOST_DISP(reg, size));
    emit_rr(e, 0x66, false, 0x8b, reg, H_R14);
}

static const uint8_t *emit_single(Translation *t, const Insn *insn)
{
    SemFn *s = insn->sem;
    bool from = s == sem_movs || s == sem_cmps || s == sem_lods, to = s != sem_lods;
    bool compares = s == sem_cmps || s == sem_scas;
    unsigned size = insn->op[s == sem_cmps || s == sem_scas ? 1 : 0].size, reg = from && to ? H_R13 : H_RAX;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem = { 0 };

    tcg_begin_flags(t);
    emit_rm(e, 0, false, 0xf7, 0, CPU(eflags));
    emit32(e, FLAG_DF);
    emit_jcc(e, COND_NE, tcg_cold_helper(t));
    if (from) {
        mem = emit_element(t, insn, R_RSI, size, false);
    }
    if (from && to) {
        emit_sized(e, 0x8a, size, H_R13, mem);
    }
    if (to) {
        mem = emit_element(t, insn, R_RDI, size, !compares);
    }
    op = emit_here(e);
    emit_sized(e, compares ? 0x3a : to ? 0x88 : 0x8a, size, reg, mem);
    if (from) {
        advance(e, insn, H_RSI, size);
    }
    if (to) {
        advance(e, insn, H_RDI, size);
    }
    if (!compares) {
        tcg_end_flags(t);
    }
    return op;
}

const uint8_t *tcg_emit_string(Translation *t, const Insn *insn)
{
    if (is_single(t, insn)) {
        return emit_single(t, insn);
    }
    return is_bit_test(insn) ? emit_bit_test(t, insn) : emit_string(t, insn);
}
