/* SPDX-License-Identifier: MIT */
/*
 * Memory operands: addresses, TLB checks, groups that share one.  docs/devel/translator.md; ENGINE 4.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

/* A guest register as a source: its host register, or loaded into SCRATCH. */
unsigned tcg_source(Translation *t, unsigned reg, unsigned scratch)
{
    if (tcg_host_reg[reg] != H_NONE) {
        return tcg_host_reg[reg];
    }
    emit_load(&t->hot, scratch, tcg_gpr_slot(reg));
    return scratch;
}

/* base + index << scale + disp into DST, truncated to the address size; no segment base, no flags. */
void tcg_emit_offset(Translation *t, const Insn *insn, unsigned dst)
{
    bool wide = insn->addr_size == 8;
    HostMem mem = { H_NONE, H_NONE, 0, false, insn->disp };

    if (insn->base == R_RIP || (insn->base == R_ZERO && insn->index == R_ZERO)) {
        uint64_t at = insn->disp + (insn->base == R_RIP ? tcg_next_rip(t, t->n) : 0);

        emit_mov_imm(&t->hot, dst, wide ? at : (uint32_t)at);
        return;
    }
    if (insn->base != R_ZERO) {
        mem.base = tcg_source(t, insn->base, H_R14);
    }
    if (insn->index != R_ZERO) {
        mem.index = tcg_source(t, insn->index, H_R15);
        mem.scale = insn->scale;
    }
    emit_rm(&t->hot, 0, wide, 0x8d, dst, mem);
}

/* The linear address of the memory operand into R14. */
static void emit_address(Translation *t, const Insn *insn)
{
    tcg_emit_offset(t, insn, H_R14);
    if (t->wide && (insn->seg == SEG_FS || insn->seg == SEG_GS)) {
        emit_rm(&t->hot, 0, true, 0x03, H_R14,
                HOST_GS(offsetof(X86Cpu, segs) + insn->seg * sizeof(X86Seg) +
                        offsetof(X86Seg, base)));
    }
}

/* Out of line: the page of this access is to be found; R14 = address ^ tag, R15 = the entry. */
static const uint8_t *cold_miss(Translation *t, bool write)
{
    const uint8_t *at = emit_here(&t->cold);

    /* Two pages of one set would take each other's place for ever. */
    if (!t->tr->opt.refill || t->missing == t->n) {
        return tcg_cold_helper(t);
    }
    t->missing = t->n;
    emit_mov_imm(&t->cold, H_R13, tcg_name(t->tr, t->block) | t->n);
    emit_jmp(&t->cold, t->tr->stubs.miss[write]);
    return at;
}

/* R14 = linear address: afterwards [r14 + r15] is the datum, or the instruction runs in C. */
static HostMem emit_tlb(Translation *t, unsigned size, bool write)
{
    Emitter *e = &t->hot;
    size_t tlb = offsetof(X86Cpu, tlb) + t->cpu->mmu_idx * sizeof(t->cpu->tlb[0]);
    size_t tag = write ? offsetof(X86TlbEntry, tag_w) : offsetof(X86TlbEntry, tag_r);

    emit_bytes(e, "\xc4\x43\xfb\xf0\xfe", 5);           /* rorx r15, r14, 7 */
    emit8(e, 12 - 5);
    emit_alu_imm(e, false, 4, H_R15, (X86_TLB_SIZE - 1) << 5);
    emit_rm(e, 0, true, 0x33, H_R14, HOST_GS_INDEX(H_R15, tlb + tag));
    emit_alu_imm(e, true, 7, H_R14, 4096 - size);
    emit_jcc(e, COND_A, cold_miss(t, write));
    emit_load(e, H_R15, HOST_GS_INDEX(H_R15, tlb + offsetof(X86TlbEntry, host)));
    return HOST_AT(H_R14, H_R15);
}

HostMem tcg_stack_operand(Translation *t, int disp, unsigned size, bool write)
{
    emit_rm(&t->hot, 0, t->wide, 0x8d, H_R14, HOST_DISP(H_R12, disp));
    return emit_tlb(t, size, write);
}

HostMem tcg_memory_operand(Translation *t, const Insn *insn, unsigned size, bool write)
{
    emit_address(t, insn);
    return emit_tlb(t, size, write);
}

HostMem tcg_frame_operand(Translation *t, unsigned size)
{
    emit_rr(&t->hot, 0, t->wide, 0x8b, H_R14, H_RBP);
    return emit_tlb(t, size, false);
}

void tcg_move_stack(Translation *t, int bytes)
{
    emit_rm(&t->hot, 0, t->wide, 0x8d, H_R12, HOST_DISP(H_R12, bytes));
}
