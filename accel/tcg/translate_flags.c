/* SPDX-License-Identifier: MIT */
/*
 * Which flags are live where, and moving them out of the way.  docs/devel/translator.md; ENGINE 3.3.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include <string.h>

#include "target-x86/sem.h"

/* Instructions of a successor that are searched for what becomes of the flags. */
#define LOOK_AHEAD 16

static unsigned flags_read(const Insn *insn)
{
    if (!insn->def || (insn->sem == sem_sysret && insn->op_size == 8)) {
        return 0;               /* in long mode it takes all of them from R11 */
    }
    return insn->def->effects & FX_ARITH;
}

/* Written whatever the operands; a shift by a constant other than 0 always writes. */
static unsigned flags_killed(const Insn *insn)
{
    unsigned killed, width_mask = insn->op_size == 8 ? 63 : 31;

    if (!insn->def || insn->fault != FAULT_NONE) {
        return 0;
    }
    killed = insn->def->effects >> 8;
    if ((insn->sem == sem_shl || insn->sem == sem_shr || insn->sem == sem_sar) &&
        is_imm(insn, 2) && (insn->imm & width_mask)) {
        killed |= insn->def->effects >> 16;
    }
    return killed & FX_ARITH;
}

/* As a compiler means it: not those only kept, as by PUSHF, SYSCALL (in R11), or a shift by 0. */
static unsigned flags_meant(const Insn *insn)
{
    return insn->sem == sem_pushf || insn->sem == sem_syscall ? 0 : flags_read(insn);
}

static unsigned flags_replaced(const Insn *insn)
{
    return flags_killed(insn) | (insn->def ? insn->def->effects >> 16 & FX_ARITH : 0);
}

/* Ends a block, but the next instruction comes next, with the same flags. */
static bool goes_straight_on(const Insn *insn)
{
    SemFn *s = insn->sem;

    if (insn->fault != FAULT_NONE) {
        return false;
    }
    return s == sem_swapgs || s == sem_sti || s == sem_stac || s == sem_clac;
}

/* Of code that follows: flags it may read before it writes them, and those it certainly reads. */
typedef struct FlagsAhead {
    unsigned live, certain;
} FlagsAhead;

static const FlagsAhead unknown = { FX_ARITH, 0 };

static FlagsAhead either(FlagsAhead a, FlagsAhead b)
{
    return (FlagsAhead){ a.live | b.live, a.certain | b.certain };
}

/* From the start of the block's page: code at PC, if it lies there. */
static int64_t offset_in_page(const Translation *t, uint64_t pc)
{
    return (int64_t)(tcg_linear(t, pc) - t->va) + (t->gpa & 4095);
}

/* To another function, or back.  JMP through one pointer is the linker's, to a shared library, or a tail call; a switch has a table. */
static bool crosses_functions(const Insn *insn)
{
    return (insn->def->attrs & (A_RET | A_CALL)) ||
           (insn->sem == sem_jmp_ind && insn_has_mem(insn) && is_constant_offset(insn));
}

/*
 * What code at PC does with flags: as its block says, or looked up in the instructions there as far
 * as they lie in the same page.  Functions neither take nor return flags unless `exact_flags`.
 */
static FlagsAhead flags_at(const Translation *t, uint64_t pc)
{
    unsigned live = FX_ARITH, unwritten = FX_ARITH;
    FlagsAhead read = { 0, 0 };
    int64_t page_off = offset_in_page(t, pc);
    const uint8_t *page = t->bytes - (t->gpa & 4095);
    const TcgBlock *block;

    if (page_off < 0 || page_off >= 4096 || t->gpa2) {
        return unknown;
    }
    block = tcg_block_lookup(t->tr, (t->gpa & ~4095ull) + page_off, pc, t->mode, t->limit);
    if (block) {
        return (FlagsAhead){ block->flags_in, block->flags_read };
    }
    for (unsigned i = 0; i < LOOK_AHEAD && page_off < 4096; i++) {
        Insn insn;

        if (insn_decode(&insn, page + page_off, 4096 - page_off, t->mode, t->cpu) != DECODE_OK ||
            insn.fault != FAULT_NONE) {
            break;
        }
        read.live |= flags_read(&insn) & live;
        read.certain |= flags_meant(&insn) & unwritten;
        if ((insn.def->attrs & A_END) && !goes_straight_on(&insn)) {
            if (insn.sem == sem_jmp) {
                pc = tcg_jump_target(t, &insn, pc + insn.len);
                page_off = offset_in_page(t, pc);
                if (page_off < 0) {
                    break;
                }
                continue;
            }
            if (crosses_functions(&insn) && !t->exact) {
                return read;
            }
            live &= ~flags_killed(&insn);
            break;
        }
        live &= ~flags_killed(&insn);
        unwritten &= ~flags_replaced(&insn);
        if (!live) {
            break;
        }
        page_off += insn.len;
        pc += insn.len;
    }
    read.live |= live;
    return read;
}

/*
 * Does a function hand flags to its caller?  A compiler leaves no comparison unused: one that nobody
 * has read when the block ends in RET or an indirect jump is a result.
 */
static bool hands_out_flags(const Translation *t, unsigned n)
{
    while (n-- > 0) {
        const Insn *insn = &t->insns[n];
        SemFn *s = insn->sem;

        if (insn->fault != FAULT_NONE || flags_meant(insn)) {
            return false;
        }
        if (flags_replaced(insn)) {
            return s == sem_cmp || s == sem_test || s == sem_stc || s == sem_clc || s == sem_cmc ||
                   s == sem_bt || s == sem_sahf;
        }
    }
    return false;
}

static FlagsAhead flags_after_end(const Translation *t, TcgKind kind, unsigned n)
{
    bool exact = t->exact;
    FlagsAhead none = { 0, 0 }, all = { FX_ARITH, FX_ARITH };

    switch (kind) {
    case KIND_JMP: return flags_at(t, tcg_branch_target(t, n));
    case KIND_JCC: case KIND_LOOP:
        return either(flags_at(t, tcg_branch_target(t, n)), flags_at(t, tcg_next_pc(t, n)));
    case KIND_RET: case KIND_JMP_IND:
        if (!exact && !crosses_functions(&t->insns[n])) {
            return unknown;     /* a switch: gcc reads flags from before it in the cases */
        }
        return exact || hands_out_flags(t, n) ? all : none;
    case KIND_CALL:
        return exact ? flags_at(t, tcg_branch_target(t, n)) : none;
    case KIND_CALL_IND:
        return exact ? all : none;
    /* Not less than flags_at() says of this block to those before it: they would be made again and again. */
    default:
        return tcg_ends_block(t, &t->insns[n]) && !goes_straight_on(&t->insns[n])
                   ? unknown : flags_at(t, tcg_next_pc(t, n));
    }
}

bool tcg_flags_wanted(const Translation *t, uint64_t pc)
{
    return !t->tr->opt.dead_flags || flags_at(t, pc).live;
}

/* x-opt-dead-flags=off: no flag ever dies, as the frames of exceptions would show. */
static void keep_all_flags(Translation *t, unsigned count)
{
    memset(t->live, FX_ARITH, count + 1);
    t->flags_read = FX_ARITH;
}

void tcg_find_live_flags(Translation *t, unsigned count)
{
    FlagsAhead ahead;

    if (!t->tr->opt.dead_flags) {
        keep_all_flags(t, count);
        return;
    }
    ahead = flags_after_end(t, t->kind[count - 1], count - 1);
    t->live[count] = ahead.live;
    for (unsigned n = count; n-- > 0;) {
        const Insn *insn = &t->insns[n];

        if (n + 1 < count && insn->fault == FAULT_NONE && tcg_is_side_exit(t, insn)) {
            ahead = either(ahead, flags_at(t, tcg_branch_target(t, n)));
        }
        ahead.live = (ahead.live & ~flags_killed(insn)) | flags_read(insn);
        ahead.certain = (ahead.certain & ~flags_replaced(insn)) | flags_meant(insn);
        t->live[n] = ahead.live;
    }
    t->flags_read = ahead.certain;
}

void tcg_save_flags(Emitter *e)
{
    emit_mov(e, H_R13, H_RAX);
    emit_bytes(e, "\x9f\x0f\x90\xc0", 4);               /* lahf; seto al */
    emit_rm(e, 0x66, false, 0x89, H_RAX, CPU(cc));
    emit_mov(e, H_RAX, H_R13);
}

void tcg_load_flags(Emitter *e)
{
    emit_mov(e, H_R13, H_RAX);
    emit_rm(e, 0, false, 0x0fb7, H_RAX, CPU(cc));
    emit_bytes(e, "\x04\x7f\x9e", 3);                   /* add al, 127; sahf */
    emit_mov(e, H_RAX, H_R13);
}

void tcg_begin_flags(Translation *t)
{
    if (t->live[t->n]) {
        tcg_save_flags(&t->hot);
        t->kept[t->n] = KEPT_IN_CPU;
        t->block->insns[t->n].flags |= TI_SAVES_FLAGS;
    }
}

void tcg_end_flags(Translation *t)
{
    if (t->live[t->n]) {
        tcg_load_flags(&t->hot);
    }
}

static void emit_hold(Emitter *e, unsigned live)
{
    if (!(live & ~FX_CF)) {
        emit_bytes(e, "\x41\x0f\x92\xc5", 4);           /* setc r13b */
        return;
    }
    if (!(live & ~FX_ZF)) {
        emit_bytes(e, "\x41\x0f\x95\xc5", 4);           /* setnz r13b */
        return;
    }
    emit_mov(e, H_R13, H_RAX);
    emit8(e, 0x9f);                                     /* lahf */
    if (live & FX_OF) {
        emit_bytes(e, "\x0f\x90\xc0", 3);              /* seto al */
    }
    emit_bytes(e, "\x4c\x87\xe8", 3);                  /* xchg rax, r13 */
}

static void emit_release(Emitter *e, unsigned live)
{
    if (!(live & ~FX_CF)) {
        emit_bytes(e, "\x41\x80\xc5\xff", 4);           /* add r13b, -1 */
        return;
    }
    if (!(live & ~FX_ZF)) {
        emit_bytes(e, "\x45\x84\xed", 3);              /* test r13b, r13b */
        return;
    }
    emit_bytes(e, "\x4c\x87\xe8", 3);                  /* xchg rax, r13 */
    if (live & FX_OF) {
        emit_bytes(e, "\x04\x7f", 2);                   /* add al, 127 */
    }
    emit8(e, 0x9e);                                     /* sahf */
    emit_mov(e, H_RAX, H_R13);
}

/* ---- flags made again --------------------------------------------------------------------------- */

/* Registers as bits; ~0: not known. */
static unsigned registers_written(TcgKind kind, const Insn *insn)
{
    unsigned written = 0;

    switch (kind) {
    case KIND_PUSH: return 1u << R_RSP;
    case KIND_NOTHING: case KIND_JCC: return 0;
    case KIND_POP: written = 1u << R_RSP; break;
    case KIND_COPY: case KIND_MEMORY: case KIND_LEA: break;
    default: return ~0u;
    }
    for (unsigned n = 0; n < 2; n++) {
        if ((is_gpr(insn, n) || insn->op[n].kind == OPK_GPR8H) && tcg_is_written(insn, n)) {
            written |= 1u << insn->op[n].reg;
        }
    }
    return insn->def->attrs & A_IMPLICIT ? ~0u : written;
}

static bool is_logic(const Insn *insn)
{
    SemFn *s = insn->sem;

    return (s == sem_and || s == sem_or || s == sem_xor) && is_gpr(insn, 0);
}

/* What the flags of INSN, which computes in registers, can be computed from again; 0: they cannot. */
static unsigned registers_to_repeat(const Insn *insn)
{
    SemFn *s = insn->sem;
    unsigned read = 0;

    if (is_logic(insn)) {
        return tcg_host_reg[insn->op[0].reg] == H_NONE ? 0 : 1u << insn->op[0].reg;
    }
    if (s != sem_cmp && s != sem_test && s != sem_bt) {
        return 0;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (is_gpr(insn, n) && tcg_host_reg[insn->op[n].reg] != H_NONE) {
            read |= 1u << insn->op[n].reg;
        } else if (insn->op[n].kind != OPK_NONE && !is_imm(insn, n)) {
            return 0;
        }
    }
    return read;
}

/* The instruction to repeat, so that the live flags are what they are now; `count`: none. */
static unsigned find_setter(const Translation *t)
{
    unsigned live = t->live[t->n], written = 0;

    for (unsigned n = t->n; n-- > 0;) {
        const Insn *insn = &t->insns[n];

        if (insn->fault != FAULT_NONE) {
            break;
        }
        if (flags_replaced(insn) & live) {
            unsigned read = registers_to_repeat(insn);

            return read && !(live & ~flags_killed(insn)) && !(read & written) ? n : t->block->count;
        }
        written |= registers_written(t->kind[n], insn);
    }
    return t->block->count;
}

static void emit_setter(Emitter *e, const Insn *insn)
{
    unsigned reg, size = insn->op[0].size;

    if (!is_logic(insn)) {
        tcg_reemit(e, insn, NULL);
        return;
    }
    reg = tcg_host_reg[insn->op[0].reg];
    if (size == 2) {
        emit8(e, 0x66);
    }
    emit8(e, 0x40 | (size == 8 ? 8 : 0) | (reg & 8 ? 5 : 0));
    emit8(e, 0x84 | (size > 1));                        /* test reg, reg */
    emit8(e, 0xc0 | (reg & 7) << 3 | (reg & 7));
}

/* ---- flags held --------------------------------------------------------------------------------- */

static void release(Translation *t, Emitter *e)
{
    if (t->setter < t->block->count) {
        emit_setter(e, &t->insns[t->setter]);
    } else {
        emit_release(e, t->held);
    }
}

bool tcg_flags_can_be_repeated(const Translation *t)
{
    return find_setter(t) < t->block->count;
}

void tcg_hold_flags(Translation *t)
{
    t->held = t->live[t->n];
    if (t->held) {
        t->setter = find_setter(t);
        t->kept[t->n] = t->setter < t->block->count ? KEPT_BY_REPEATING : KEPT_IN_R13;
        if (t->setter == t->block->count) {
            emit_hold(&t->hot, t->held);
        }
        t->block->insns[t->n].flags |= TI_SAVES_FLAGS;
    }
}

void tcg_release_flags(Translation *t)
{
    if (t->held) {
        release(t, &t->hot);
        t->held = 0;
    }
}

bool tcg_flags_out_of_line(Translation *t)
{
    if (t->held) {
        release(t, &t->cold);
    }
    return t->held;
}
