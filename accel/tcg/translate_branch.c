/* SPDX-License-Identifier: MIT */
/*
 * Control flow: exits of a block, calls and returns, indirect jumps, loops by count.  docs/devel/translator.md;
 * ENGINE section 3.4.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

TcgLink *tcg_add_link(Translation *t, TcgLink link, const uint8_t *unlinked)
{
    TcgLink *added = &t->block->links[t->block->link_count++];

    *added = link;
    added->from = t->block;
    added->unlinked = emit_here(&t->cold);
    emit_mov_imm(&t->cold, unlinked == t->tr->stubs.group ? H_R13 : H_R14, tcg_name(t->tr, added));
    emit_jmp(&t->cold, unlinked);
    return added;
}

static TcgLink *new_link(Translation *t, uint64_t target)
{
    uint64_t attrs = t->n < t->block->count ? t->insns[t->n].def->attrs : 0;

    return tcg_add_link(t, (TcgLink){
        .target = target, .flags = t->live[t->block->count], .function = (attrs & A_CALL) && !t->exact,
        .crosses = (tcg_linear(t, target) ^ t->va) >> 12 || t->block->gpa2,
    }, t->tr->stubs.link);
}

const uint8_t *tcg_cold_group(Translation *t, unsigned g)
{
    const TcgGroup *group = &t->groups[g];
    const uint8_t *at;
    TcgLink *link = tcg_add_link(t, (TcgLink){
        .target = tcg_pc_at(t, t->offset[t->n]), .flags = t->live[t->n],
        .group = { t->n, group->access, g, 0, group->write, t->tr->opt.refill && t->missing != t->n,
                   group->span, group->lead, group->offset },
    }, t->tr->stubs.group);

    t->missing = t->n;
    at = emit_here(&t->cold);
    if (!tcg_flags_out_of_line(t) && t->live[t->n]) {
        tcg_load_flags(&t->cold);
    }
    link->field = emit_jmp_aligned(&t->cold, link->unlinked);
    return at;
}

void tcg_emit_exit(Translation *t, uint64_t target)
{
    TcgLink *link = new_link(t, target);

    link->field = emit_jmp_aligned(&t->hot, link->unlinked);
}

/* A new one for each target: a CPU may be in the middle of the old one. */
const uint8_t *tcg_emit_page_check(Translator *tr, TcgLink *link, TcgBlock *block,
                                   const uint8_t *entry)
{
    Emitter e = { .p = tr->cold, .end = tr->cold_end, .rx = tr->rx - tr->rw };
    const uint8_t *start = emit_here(&e);
    unsigned class = (block->mode & MODE_CPL) == 3;
    bool flags = block->flags_in && !link->function;

    if (block->gpa >> 40) {
        return NULL;
    }
    if (flags) {
        tcg_save_flags(&e);
    }
    emit_mov_imm(&e, H_R14, (block->va << 16 >> 28) << 28 | block->gpa >> 12);
    emit_rm(&e, 0, true, 0x3b, H_R14,
            HOST_GS(offsetof(X86Cpu, tx.itlb[0]) + class * sizeof(((X86Cpu *)0)->tx.itlb[0]) +
                    8 * x86_itlb_index(block->va)));
    if (flags) {
        uint8_t *same = emit_short(&e, 0x70 | COND_E);

        tcg_load_flags(&e);
        emit_jmp(&e, link->unlinked);
        emit_land(&e, same);
        tcg_load_flags(&e);
    } else {
        emit_jcc(&e, COND_NE, link->unlinked);
    }
    emit_jmp(&e, entry);
    if (e.full) {
        return NULL;
    }
    tr->cold = e.p;
    return start;
}

/*
 * Where a CALL comes back: R13 holds the PC that RET has popped; if they are exact, flags are in cpu->cc.
 * The host's stack is one for all privileges, which SYSRET and IRET change: what a kernel has left there must not let
 * CPL 3 go on with the kernel's code, nor a program with its own of when IOPL let it have CLI.  The other way round
 * costs but time: code of CPL 3 may do less.
 */
static void emit_return_site(Translation *t, uint64_t pc)
{
    const uint8_t *elsewhere = t->exact ? t->tr->stubs.indirect_flags : t->tr->stubs.indirect;
    Emitter *e = &t->hot;
    TcgLink *link;

    if ((int64_t)pc == (int32_t)pc) {
        emit_alu_imm(e, true, 7, H_R13, pc);
    } else {
        emit_mov_imm(e, H_R14, pc);
        emit_rr(e, 0, true, 0x3b, H_R13, H_R14);
    }
    emit_jcc(e, COND_NE, elsewhere);
    if ((t->mode & (MODE_CPL | MODE_IOPL)) != 3) {
        emit_rm(e, 0, false, 0x81, 7, CPU(mode));       /* cmp */
        emit32(e, t->mode);
        emit_jcc(e, COND_NE, elsewhere);
    }
    if (!t->exact) {
        tcg_emit_exit(t, pc);
        return;
    }
    link = new_link(t, pc);
    link->back = true;
    link->flags = tcg_flags_wanted(t, pc) ? FX_ARITH : 0;
    if (link->flags) {
        tcg_load_flags(e);
    }
    link->field = emit_jmp_aligned(e, link->unlinked);
}

/* Store the return address; the TLB check has been made. */
static void emit_store_return(Translation *t, unsigned width, HostMem mem, uint64_t rip)
{
    Emitter *e = &t->hot;

    if (width < 8 || (int64_t)rip == (int32_t)rip) {
        store_constant(e, width, mem, rip);
        return;
    }
    emit_rm(e, 0, false, 0xc7, 0, mem);
    emit32(e, rip);
    mem.disp += 4;
    emit_rm(e, 0, false, 0xc7, 0, mem);
    emit32(e, rip >> 32);
}

void tcg_emit_call_exit(Translation *t, uint64_t target)
{
    TcgLink *link;

    if (!t->tr->opt.return_stack) {
        tcg_emit_exit(t, target);
        return;
    }
    link = new_link(t, target);
    link->field = emit_call_aligned(&t->hot, link->unlinked);
    emit_return_site(t, tcg_next_pc(t, t->n));
}

static const uint8_t *emit_call_insn(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    unsigned width = insn->op_size;
    const uint8_t *op;
    HostMem mem;

    tcg_begin_checks(t);
    mem = tcg_stack_operand(t, -(int)width, width, true);
    tcg_end_checks(t);
    op = emit_here(e);
    emit_store_return(t, width, mem, tcg_next_pc(t, t->n));
    tcg_move_stack(t, -(int)width);
    tcg_emit_call_exit(t, tcg_branch_target(t, t->n));
    return op;
}

static const uint8_t *emit_ret(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    unsigned width = insn->op_size;
    const uint8_t *op;
    HostMem mem;

    tcg_begin_flags(t);
    mem = tcg_stack_operand(t, 0, width, false);
    load_r13(e, width, mem);
    tcg_emit_target_check(t, width);
    op = emit_here(e);
    tcg_move_stack(t, width + (is_imm(insn, 1) ? insn->imm : 0));
    if (t->live[t->n] && !t->exact) {
        emit_jmp(e, t->tr->stubs.again);
    } else if (!t->tr->opt.return_stack) {
        emit_jmp(e, t->exact ? t->tr->stubs.indirect_flags : t->tr->stubs.indirect);
    } else {
        emit8(e, 0xc3);
    }
    return op;
}

/* The target into R13. */
static void emit_indirect_target(Translation *t, const Insn *insn)
{
    unsigned width = insn->op_size;

    if (is_mem(insn, 1)) {
        load_r13(&t->hot, width, tcg_memory_operand(t, insn, width, false));
    } else if (tcg_host_reg[insn->op[1].reg] == H_NONE) {
        emit_rm(&t->hot, 0, t->wide, 0x8b, H_R13, tcg_gpr_slot(insn->op[1].reg));
    } else {
        emit_rr(&t->hot, 0, t->wide, width == 2 ? 0x0fb7 : 0x8b, H_R13, tcg_host_reg[insn->op[1].reg]);
    }
    tcg_emit_target_check(t, width);
}

static const uint8_t *emit_jmp_indirect(Translation *t, const Insn *insn)
{
    const uint8_t *op, *miss;
    HostMem code;

    if (t->live[t->n] && tcg_flags_can_be_repeated(t)) {
        tcg_hold_flags(t);
        emit_indirect_target(t, insn);
        op = emit_here(&t->hot);
        miss = emit_here(&t->cold);
        tcg_flags_out_of_line(t);
        emit_jmp(&t->cold, t->tr->stubs.again_flags);
        code = tcg_emit_jump_probe(&t->hot, miss);
        tcg_release_flags(t);
        emit_rm(&t->hot, 0, false, 0xff, 4, code);
        return op;
    }
    tcg_begin_flags(t);
    emit_indirect_target(t, insn);
    op = emit_here(&t->hot);
    if (t->live[t->n]) {
        code = tcg_emit_jump_probe(&t->hot, t->tr->stubs.again);
        tcg_load_flags(&t->hot);
        emit_rm(&t->hot, 0, false, 0xff, 4, code);
    } else {
        tcg_emit_jump_table(&t->hot, t->tr->stubs.lookup, false);
    }
    return op;
}

static const uint8_t *emit_call_indirect(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    unsigned width = insn->op_size;
    uint64_t next = tcg_next_pc(t, t->n);
    const uint8_t *op, *miss;
    uint8_t *back;
    HostMem mem, code;

    tcg_begin_flags(t);
    emit_indirect_target(t, insn);
    mem = tcg_stack_operand(t, -(int)width, width, true);
    op = emit_here(e);
    emit_store_return(t, width, mem, next);
    tcg_move_stack(t, -(int)width);
    if (!t->tr->opt.return_stack) {
        emit_jmp(e, t->exact ? t->tr->stubs.indirect_flags : t->tr->stubs.indirect);
        return op;
    }
    miss = emit_here(&t->cold);
    emit_call(&t->cold, t->tr->stubs.lookup);
    back = emit_jmp(&t->cold, miss);
    code = tcg_emit_jump_probe(e, miss);
    if (t->exact) {
        tcg_load_flags(e);
    }
    emit_rm(e, 0, false, 0xff, 2, code);
    if (!t->cold.full) {
        emit_patch(back, e->rx, emit_here(e));
    }
    emit_return_site(t, next);
    return op;
}

/* The same with CX: its new value is kept in R14 while RCX is that alone. */
static const uint8_t *emit_loop_cx(Translation *t, const Insn *insn)
{
    uint64_t target = tcg_branch_target(t, t->n), next = tcg_next_pc(t, t->n);
    bool jcxz = insn->sem == sem_jcxz;
    Emitter *e = &t->hot;
    const uint8_t *op;
    uint8_t *zero;

    emit_mov(e, H_R14, H_RCX);
    if (!jcxz) {
        emit_rm(e, 0, false, 0x8d, H_R13, HOST_DISP(H_RCX, -1));
        emit_rr(e, 0x66, false, 0x8b, H_R14, H_R13);
    }
    op = emit_here(e);
    emit_rr(e, 0, false, 0x0fb7, H_RCX, H_R14);
    zero = emit_short(e, 0xe3);                 /* jrcxz */
    emit_mov(e, H_RCX, H_R14);
    tcg_emit_exit(t, jcxz ? next : target);
    emit_land(e, zero);
    emit_mov(e, H_RCX, H_R14);
    tcg_emit_exit(t, jcxz ? target : next);
    return op;
}

static const uint8_t *emit_loop(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    const uint8_t *op = emit_here(e);
    bool jcxz = insn->sem == sem_jcxz;
    uint8_t *zero;

    if (insn->addr_size == 2) {
        return emit_loop_cx(t, insn);
    }
    if (!jcxz) {
        emit_rm(e, 0, insn->addr_size == 8, 0x8d, H_RCX, HOST_DISP(H_RCX, -1));
    }
    if (insn->addr_size == 4) {
        emit8(e, 0x67);
    }
    zero = emit_short(e, 0xe3);                 /* jrcxz, jecxz */
    tcg_emit_exit(t, jcxz ? tcg_next_pc(t, t->n) : tcg_branch_target(t, t->n));
    emit_land(e, zero);
    tcg_emit_exit(t, jcxz ? tcg_branch_target(t, t->n) : tcg_next_pc(t, t->n));
    return op;
}

static const uint8_t *emit_jcc_insn(Translation *t, const Insn *insn)
{
    TcgLink *link;
    const uint8_t *op;

    if (t->loop && tcg_branch_target(t, t->n) == t->pc) {
        return tcg_emit_loop_end(t, insn);
    }
    link = new_link(t, tcg_branch_target(t, t->n));
    op = emit_here(&t->hot);
    link->flags = t->live[t->n];
    link->field = emit_jcc_aligned(&t->hot, insn_cond(insn), link->unlinked);
    return op;
}

const uint8_t *tcg_emit_branch(Translation *t, const Insn *insn, TcgKind kind)
{
    switch (kind) {
    case KIND_JMP:
        tcg_emit_exit(t, tcg_branch_target(t, t->n));
        return NULL;
    case KIND_JCC: return emit_jcc_insn(t, insn);
    case KIND_CALL: return emit_call_insn(t, insn);
    case KIND_RET: return emit_ret(t, insn);
    case KIND_JMP_IND: return emit_jmp_indirect(t, insn);
    case KIND_CALL_IND: return emit_call_indirect(t, insn);
    default: return emit_loop(t, insn);
    }
}
