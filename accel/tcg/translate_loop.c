/* SPDX-License-Identifier: MIT */
/*
 * Loops of one block: checks made before the loop instead of in it.  docs/devel/translator.md; ENGINE 4.4.
 *
 * At the block's entry each hoisted group is checked for the first iteration; what its stride leaves of the page
 * says how many iterations need no check.  The least of these numbers becomes a limit for the
 * counter, a register that changes by a constant: where it is met, the entry's checks are made again.  When
 * one fails, an iteration runs in MODE_EACH_CHECKED, which leads back here.
 * A slot holds the host address less the registers that move in the loop.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

/* Iterations at most between two checks, for groups that stay where they are. */
#define ITERATIONS_MAX 4096

static HostMem slot_of(const Translation *t, const TcgGroup *group)
{
    return TX(group[group - t->groups]);
}

/* OPCODE of the form reg, r/m with a guest register. */
static void with_register(Emitter *e, unsigned opcode, unsigned host, unsigned guest)
{
    if (tcg_host_reg[guest] == H_NONE) {
        emit_rm(e, 0, true, opcode, host, tcg_gpr_slot(guest));
    } else {
        emit_rr(e, 0, true, opcode, host, tcg_host_reg[guest]);
    }
}

/* R14 = offset in the page: R13 = how many more iterations stay in it, if that is less. */
static void limit_iterations(Emitter *e, const TcgGroup *group)
{
    unsigned step = ABS(group->stride), shift = step > 1 ? 32 - __builtin_clz(step - 1) : 0;

    if (group->stride == 0) {
        return;
    }
    if (group->stride > 0) {
        emit_rr(e, 0, true, 0xf7, 3, H_R14);                    /* neg */
        emit_alu_imm(e, true, 0, H_R14, 4096 - group->span);
    }
    emit_rr(e, 0, true, 0xc1, 5, H_R14);                        /* shr */
    emit8(e, shift);
    emit_rr(e, 0, true, 0x3b, H_R14, H_R13);
    emit_rr(e, 0, true, 0x0f42, H_R13, H_R14);                  /* cmovb */
}

static void check_group(Translation *t, const TcgGroup *group, const uint8_t *failed)
{
    Emitter *e = &t->hot;
    const Insn place = { .base = group->base, .index = group->index, .scale = group->scale,
                         .seg = group->seg, .addr_size = 8 };

    tcg_emit_linear(t, &place, group->low);
    tcg_emit_tlb(t, group->span, group->write, failed);
    emit_rm(e, 0, true, 0x8d, H_R15, HOST_AT(H_R14, H_R15));
    limit_iterations(e, group);
    if (group->base_moves) {
        with_register(e, 0x2b, H_R15, group->base);             /* sub */
    }
    if (group->index_moves) {
        with_register(e, 0x8b, H_R14, group->index);
        emit_rr(e, 0, true, 0xc1, 4, H_R14);                    /* shl */
        emit8(e, group->scale);
        emit_rr(e, 0, true, 0x2b, H_R15, H_R14);
    }
    emit_store(e, slot_of(t, group), H_R15);
}

void tcg_emit_loop_entry(Translation *t)
{
    Emitter *e = &t->hot;
    TcgLink *other = tcg_add_link(t, (TcgLink){ .target = t->pc, .group.misses = GROUP_MISSES },
                                  t->tr->stubs.group);
    const uint8_t *failed = emit_here(&t->cold);

    other->field = emit_jmp_aligned(&t->cold, other->unlinked);
    t->loop_entry = emit_here(e);
    emit_mov_imm(e, H_R13, ITERATIONS_MAX);
    for (unsigned g = 0; g < t->group_count; g++) {
        if (t->groups[g].hoisted) {
            check_group(t, &t->groups[g], failed);
        }
    }
    if (t->counter != R_ZERO) {
        emit_rr(e, 0, true, 0x69, H_R13, H_R13);                /* imul: the last one that is checked */
        emit32(e, t->step);
        with_register(e, 0x03, H_R13, t->counter);              /* add */
        emit_alu_imm(e, true, 0, H_R13, t->step);
        emit_store(e, TX(loop_limit), H_R13);
    }
}

const uint8_t *tcg_emit_loop_end(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    TcgLink *link = tcg_add_link(t, (TcgLink){ .target = t->pc, .loop = true }, t->tr->stubs.link);
    const uint8_t *op;
    uint8_t *over;

    over = emit_short(e, 0x70 | (insn_cond(insn) ^ 1));
    op = emit_here(e);          /* from here on the flags have gone */
    if (t->counter == R_ZERO) {
        link->field = emit_jmp_aligned(e, link->unlinked);
    } else {
        unsigned reg = tcg_host_reg[t->counter];

        if (reg == H_NONE) {
            reg = H_R14;
            emit_load(e, reg, tcg_gpr_slot(t->counter));
        }
        emit_rm(e, 0, true, 0x3b, reg, TX(loop_limit));
        link->field = emit_jcc_aligned(e, COND_NE, link->unlinked);
        emit_jmp(e, t->loop_entry);
    }
    emit_land(e, over);
    return op;
}

HostMem tcg_hoisted_operand(Translation *t, const TcgGroup *group, unsigned base, unsigned index,
                            int32_t offset)
{
    Emitter *e = &t->hot;
    HostMem mem = HOST_DISP(H_R15, offset);

    if (group->base_moves && group->index_moves) {
        unsigned b = tcg_source(t, base, H_R14), i = tcg_source(t, index, H_R15);

        emit_rm(e, 0, true, 0x8d, H_R14, (HostMem){ b, i, group->scale, false, offset });
        mem = HOST_AT(H_R14, H_R15);
    } else if (group->base_moves) {
        mem.index = tcg_source(t, base, H_R14);
    } else if (group->index_moves) {
        mem.index = tcg_source(t, index, H_R14);
        mem.scale = group->scale;
    }
    tcg_load_slot(t, group);
    return mem;
}
