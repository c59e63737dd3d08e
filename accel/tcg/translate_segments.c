/* SPDX-License-Identifier: MIT */
/*
 * Segments with a base and a limit, outside 64-bit code: data, stack, targets of jumps; their loading in real mode.
 * docs/devel/translator.md; ENGINE section 8.
 *
 * X86Cpu.seg_end has for each segment how far it may be read and written: one comparison. What that refuses (the limit,
 * rights, a null selector, but also all of an expand-down segment) is left to the semantic function of the instruction.
 * The limit of CS is part of what a block is found by.  Where segment registers are as real and virtual-8086 mode load
 * them (MODE_PLAIN_SEGS), loading one changes its selector and base.
 * Spec: [SDM3A 5.3 to 5.5, 21.1].
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

#define SEG_FIELD(seg, field) HOST_GS(offsetof(X86Cpu, segs) + (seg) * sizeof(X86Seg) + offsetof(X86Seg, field))

bool tcg_is_flat(const Translation *t, const Insn *insn)
{
    return t->wide || insn->seg == SEG_FLAT;
}

bool tcg_stack_is_flat(const Translation *t)
{
    return (t->mode & (MODE_SS32 | MODE_FLAT_SS)) == (MODE_SS32 | MODE_FLAT_SS);
}

/* R14 = offset: the linear address, of SIZE bytes that the segment lets through. */
static void emit_segment(Translation *t, unsigned seg, unsigned size, bool write)
{
    Emitter *e = &t->hot;

    emit_rm(e, 0, true, 0x8d, H_R15, HOST_DISP(H_R14, size));
    emit_rm(e, 0, true, 0x3b, H_R15,
            HOST_GS(offsetof(X86Cpu, seg_end) + seg * sizeof(t->cpu->seg_end[0]) + write * sizeof(uint64_t)));
    emit_jcc(e, COND_A, tcg_cold_helper(t));
    emit_rm(e, 0, false, 0x03, H_R14, SEG_FIELD(seg, base));
}

HostMem tcg_segmented_operand(Translation *t, const Insn *insn, unsigned size, bool write)
{
    tcg_emit_offset(t, insn, H_R14);
    emit_segment(t, insn->seg, size, write);
    tcg_check_here(t, size, write);
    return HOST_AT(H_R14, H_R15);
}

HostMem tcg_segmented_stack(Translation *t, unsigned reg, int disp, unsigned size, bool write)
{
    Emitter *e = &t->hot;

    emit_rm(e, 0, false, 0x8d, H_R14, HOST_DISP(tcg_host_reg[reg], disp));
    if (!(t->mode & MODE_SS32)) {
        emit_rr(e, 0, false, 0x0fb7, H_R14, H_R14);
    }
    if (!(t->mode & MODE_FLAT_SS)) {
        emit_segment(t, SEG_SS, size, write);
    }
    tcg_check_here(t, size, write);
    return HOST_AT(H_R14, H_R15);
}

static void emit_limit_check(Translation *t, unsigned width)
{
    if (t->limit < size_mask(width)) {
        emit_alu_imm(&t->hot, false, 7, H_R13, t->limit);
        emit_jcc(&t->hot, COND_A, tcg_cold_helper(t));
    }
}

void tcg_emit_target_check(Translation *t, unsigned width)
{
    Emitter *e = &t->hot;

    if (t->wide) {
        return;
    }
    emit_limit_check(t, width);
    if (t->pc_base) {
        emit_mov_imm(e, H_R14, t->pc_base);
        emit_rm(e, 0, true, 0x8d, H_R13, HOST_AT(H_R13, H_R14));
    }
}

void tcg_emit_selector(Emitter *e, unsigned host, unsigned seg)
{
    emit_rm(e, 0, false, 0x0fb7, host, SEG_FIELD(seg, sel));
}

/* ---- real mode: the selector is the base ------------------------------------------------------- */

/* R14 = an offset of 16 bits, where SIZE bytes are more than one access that must not wrap around. */
static void emit_wrap_check(Translation *t, unsigned size)
{
    emit_alu_imm(&t->hot, false, 7, H_R14, 0x10000 - size);
    emit_jcc(&t->hot, COND_A, tcg_cold_helper(t));
}

/* SIZE bytes at [RSP + disp] that are several pushes or pops. */
static HostMem emit_frame(Translation *t, int disp, unsigned size, bool write)
{
    Emitter *e = &t->hot;

    emit_rm(e, 0, false, 0x8d, H_R14, HOST_DISP(tcg_host_reg[R_RSP], disp));
    if (!(t->mode & MODE_SS32)) {
        emit_rr(e, 0, false, 0x0fb7, H_R14, H_R14);
        emit_wrap_check(t, size);
    }
    emit_segment(t, SEG_SS, size, write);
    tcg_check_here(t, size, write);
    return HOST_AT(H_R14, H_R15);
}

/* SEG becomes the selector in R13, zero-extended; R13 is lost, flags are kept. */
static void emit_load_real(Emitter *e, unsigned seg)
{
    emit_rm(e, 0x66, false, 0x89, H_R13, SEG_FIELD(seg, sel));
    emit_rm(e, 0, true, 0x8d, H_R13, (HostMem){ H_NONE, H_R13, 3, false, 0 });
    emit_rm(e, 0, true, 0x8d, H_R13, HOST_AT(H_R13, H_R13));
    emit_store(e, SEG_FIELD(seg, base), H_R13);
}

static unsigned loaded_segment(const Insn *insn)
{
    if (insn->sem != sem_lxs) {
        return insn->op[0].reg;
    }
    return insn->map == MAP_1BYTE ? (insn->opcode == 0xc4 ? SEG_ES : SEG_DS)
           : insn->opcode == 0xb2 ? SEG_SS : insn->opcode == 0xb4 ? SEG_FS : SEG_GS;
}

/* SS holds interrupts back, and may change the width of the stack pointer. */
bool tcg_segment_load_is_native(const Translation *t, const Insn *insn)
{
    unsigned seg = loaded_segment(insn);

    return seg != SEG_SS && seg != SEG_CS && seg < SEG_COUNT;
}

/* Memory at the instruction's operand, SIZE bytes. */
static HostMem emit_pointer(Translation *t, const Insn *insn, unsigned size)
{
    tcg_emit_offset(t, insn, H_R14);
    if (insn->addr_size == 2) {
        emit_wrap_check(t, size);
    }
    emit_segment(t, insn->seg, size, false);
    tcg_check_here(t, size, false);
    return HOST_AT(H_R14, H_R15);
}

static HostMem displaced(HostMem mem, int bytes)
{
    mem.disp += bytes;
    return mem;
}

const uint8_t *tcg_emit_segment_load(Translation *t, const Insn *insn)
{
    unsigned seg = loaded_segment(insn), width = insn->op_size;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem;

    if (insn->sem == sem_mov_seg && is_gpr(insn, 1)) {
        emit_rr(e, 0, false, 0x0fb7, H_R13, tcg_host_reg[insn->op[1].reg]);
        op = emit_here(e);
        emit_load_real(e, seg);
        return op;
    }
    tcg_begin_checks(t);
    mem = insn->sem == sem_pop_seg ? tcg_stack_operand(t, 0, width, false)
          : insn->sem == sem_lxs ? emit_pointer(t, insn, width + 2) : tcg_segmented_operand(t, insn, 2, false);
    tcg_end_checks(t);
    emit_rm(e, 0, false, 0x0fb7, H_R13, insn->sem == sem_lxs ? displaced(mem, width) : mem);
    op = emit_here(e);
    emit_load_real(e, seg);
    if (insn->sem == sem_lxs) {
        emit_rm(e, width == 2 ? 0x66 : 0, false, 0x8b, tcg_host_reg[insn->op[0].reg], mem);
    } else if (insn->sem == sem_pop_seg) {
        tcg_move_stack(t, width);
    }
    return op;
}

/* ---- far transfers of real mode ------------------------------------------------------------------ */

bool tcg_far_is_native(const Translation *t, const Insn *insn)
{
    if (!t->exact) {
        return false;           /* 32-bit code without protection */
    }
    return insn->sem == sem_retf || (!insn_has_mem(insn) && tcg_is_within(t->limit, insn->imm & size_mask(insn->op_size), 1));
}

static const uint8_t *emit_far_return(Translation *t, const Insn *insn)
{
    unsigned width = insn->op_size;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem;

    tcg_begin_flags(t);
    mem = emit_frame(t, 0, 2 * width, false);
    emit_rm(e, 0, false, width == 2 ? 0x0fb7 : 0x8b, H_R13, mem);
    emit_limit_check(t, width);
    emit_rm(e, 0, false, 0x0fb7, H_R14, displaced(mem, width));
    op = emit_here(e);
    emit_rm(e, 0x66, false, 0x89, H_R14, SEG_FIELD(SEG_CS, sel));
    emit_rr(e, 0, true, 0xc1, 4, H_R14);                        /* shl */
    emit8(e, 4);
    emit_store(e, SEG_FIELD(SEG_CS, base), H_R14);
    emit_rr(e, 0, true, 0xc1, 4, H_R14);
    emit8(e, 32);
    emit_rr(e, 0, true, 0x0b, H_R13, H_R14);                    /* or: a PC */
    tcg_move_stack(t, 2 * width + (is_imm(insn, 1) ? insn->imm : 0));
    if (t->tr->opt.return_stack) {
        emit8(e, 0xc3);
    } else {
        emit_jmp(e, t->tr->stubs.indirect_flags);
    }
    return op;
}

const uint8_t *tcg_emit_far(Translation *t, const Insn *insn)
{
    uint64_t target = (uint64_t)insn->imm2 << 36 | (insn->imm & size_mask(insn->op_size));
    unsigned width = insn->op_size;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem;

    if (insn->sem == sem_retf) {
        return emit_far_return(t, insn);
    }
    if (insn->sem == sem_callf) {
        tcg_begin_checks(t);
        mem = emit_frame(t, -2 * (int)width, 2 * width, true);
        tcg_end_checks(t);
        tcg_emit_selector(e, H_R13, SEG_CS);
    }
    op = emit_here(e);
    if (insn->sem == sem_callf) {
        emit_rm(e, width == 2 ? 0x66 : 0, false, 0x89, H_R13, displaced(mem, width));
        emit_mov_imm(e, H_R13, (uint32_t)tcg_next_pc(t, t->n));
        emit_rm(e, width == 2 ? 0x66 : 0, false, 0x89, H_R13, mem);
        tcg_move_stack(t, -2 * (int)width);
    }
    emit_rm(e, 0x66, false, 0xc7, 0, SEG_FIELD(SEG_CS, sel));
    emit16(e, insn->imm2);
    emit_rm(e, 0, true, 0xc7, 0, SEG_FIELD(SEG_CS, base));
    emit32(e, (uint32_t)insn->imm2 << 4);
    if (insn->sem == sem_callf) {
        tcg_emit_call_exit(t, target);
    } else {
        tcg_emit_exit(t, target);
    }
    return op;
}
