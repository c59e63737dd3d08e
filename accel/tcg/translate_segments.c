/* SPDX-License-Identifier: MIT */
/*
 * Segments with a base and a limit, outside 64-bit code: data, stack, targets of jumps.
 * docs/devel/translator.md; ENGINE section 8.
 *
 * X86Cpu.seg_end has for each segment how far it may be read and written: one comparison. What that refuses (the limit,
 * rights, a null selector, but also all of an expand-down segment) is left to the semantic function of the instruction.
 * The limit of CS is part of what a block is found by.
 * Spec: [SDM3A 5.3 to 5.5].
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

void tcg_emit_target_check(Translation *t, unsigned width)
{
    Emitter *e = &t->hot;

    if (t->wide) {
        return;
    }
    if (t->limit < size_mask(width)) {
        emit_alu_imm(e, false, 7, H_R13, t->limit);
        emit_jcc(e, COND_A, tcg_cold_helper(t));
    }
    if (t->pc_base) {
        emit_mov_imm(e, H_R14, t->pc_base);
        emit_rm(e, 0, true, 0x8d, H_R13, HOST_AT(H_R13, H_R14));
    }
}

void tcg_emit_selector(Emitter *e, unsigned host, unsigned seg)
{
    emit_rm(e, 0, false, 0x0fb7, host, SEG_FIELD(seg, sel));
}
