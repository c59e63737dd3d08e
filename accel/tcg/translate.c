/* SPDX-License-Identifier: MIT */
/*
 * Translation of one block.  docs/devel/translator.md; ENGINE sections 3 and 4.
 *
 * Each guest instruction becomes, in this order: [flags saved] [address and TLB check] [flags
 * restored] the operation [stack pointer].  Nothing the guest sees changes before the operation,
 * so any earlier host address rolls back to the instruction's start (fault.c).
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include <string.h>
#include <time.h>

#include "target-x86/interp.h"
#include "target-x86/sem.h"

/* Conditional jumps in a block. */
#define SIDE_EXITS 4
/* Instructions that may be part of a short loop. */
#define SHORT_LOOP 8

bool tcg_mode_is_translatable(uint32_t mode)
{
    return !(mode & (MODE_TF | MODE_DEBUG | MODE_ALIGN));
}

/* ---- what an instruction needs ---------------------------------------------------------------- */

static bool memory_is_native(const Translation *t, const Insn *insn)
{
    return tcg_is_flat(t, insn) || tcg_memory_size(insn);
}

static bool stack_is_native(const Translation *t, const Insn *insn)
{
    return !t->wide || insn->op_size == 8;
}

/* A conditional jump leaves in the middle. */
bool tcg_is_side_exit(const Translation *t, const Insn *insn)
{
    return insn->sem == sem_jcc && stack_is_native(t, insn);
}

bool tcg_ends_block(const Translation *t, const Insn *insn)
{
    return insn->fault != FAULT_NONE ||
           ((insn->def->attrs & A_END) && !tcg_system_goes_on(t, insn) && !tcg_is_side_exit(t, insn));
}

static TcgKind kind_of_stack(const Translation *t, const Insn *insn)
{
    if (!stack_is_native(t, insn)) {
        return KIND_HELPER;
    }
    if (insn->sem == sem_push &&
        (is_gpr(insn, 1) || is_imm(insn, 1) || (is_mem(insn, 1) && memory_is_native(t, insn)) ||
         (insn->op[1].kind == OPK_SEG && !t->wide))) {
        return KIND_PUSH;
    }
    /* POP SP: the rest of ESP is that behind the POP. */
    if (insn->sem == sem_pop && is_gpr(insn, 0) && !(insn->op[0].reg == R_RSP && insn->op_size == 2)) {
        return KIND_POP;
    }
    return insn->sem == sem_leave ? KIND_LEAVE : KIND_HELPER;
}

static bool target_is_valid(const Translation *t, uint64_t target)
{
    return t->wide ? (uint64_t)(((int64_t)target >> 47) + 1) <= 1 : tcg_is_within(t->limit, target, 1);
}

/* The base of CS stays. */
uint64_t tcg_pc_at(const Translation *t, unsigned offset)
{
    return t->wide ? t->pc + offset : t->pc_base | (uint32_t)(t->pc + offset);
}

uint64_t tcg_next_pc(const Translation *t, unsigned n)
{
    return tcg_pc_at(t, t->offset[n + 1]);
}

uint64_t tcg_jump_target(const Translation *t, const Insn *insn, uint64_t next)
{
    uint64_t target = next + insn->imm;

    return t->wide ? target : t->pc_base | (insn->op_size == 2 ? (uint16_t)target : (uint32_t)target);
}

uint64_t tcg_branch_target(const Translation *t, unsigned n)
{
    return tcg_jump_target(t, &t->insns[n], tcg_next_pc(t, n));
}

static TcgKind kind_of_control(const Translation *t, const Insn *insn, unsigned n)
{
    SemFn *s = insn->sem;

    if (!stack_is_native(t, insn)) {
        return KIND_HELPER;
    }
    if (s == sem_jmp || s == sem_jcc || s == sem_call || s == sem_loop || s == sem_jcxz) {
        if (!target_is_valid(t, tcg_branch_target(t, n))) {
            return KIND_HELPER;
        }
        if (s == sem_loop || s == sem_jcxz) {
            return insn->opcode < 0xe2 ? KIND_HELPER : KIND_LOOP;
        }
        return s == sem_jmp ? KIND_JMP : s == sem_jcc ? KIND_JCC : KIND_CALL;
    }
    if (s == sem_ret) {
        return KIND_RET;
    }
    if ((s == sem_jmp_ind || s == sem_call_ind) &&
        (is_gpr(insn, 1) || memory_is_native(t, insn))) {
        return s == sem_jmp_ind ? KIND_JMP_IND : KIND_CALL_IND;
    }
    return KIND_HELPER;
}

static TcgKind kind_of(const Translation *t, const Insn *insn, unsigned n)
{
    uint64_t a = insn->def ? insn->def->attrs : 0;

    if (insn->fault != FAULT_NONE) {
        return KIND_HELPER;
    }
    if (tcg_system_is_native(t, insn)) {
        return KIND_SYSTEM;
    }
    if (a & (A_SYS | A_IO)) {
        return KIND_HELPER;
    }
    if (a & A_CTRL) {
        return kind_of_control(t, insn, n);
    }
    if (a & A_STACK) {
        return kind_of_stack(t, insn);
    }
    if (insn->sem == sem_lea) {
        return KIND_LEA;
    }
    if (insn->sem == sem_nop || (a & A_NOMEM)) {
        return insn->sem == sem_nop ? KIND_NOTHING : KIND_HELPER;
    }
    if (tcg_string_is_native(t, insn)) {
        return KIND_STRING;
    }
    /* In 32-bit code they leave YMM8 and up alone. */
    if (!tcg_can_reemit(insn) ||
        (!t->wide && (insn->sem == sem_vzeroupper || insn->sem == sem_vzeroall))) {
        return KIND_HELPER;
    }
    if (!insn_has_mem(insn)) {
        return KIND_COPY;
    }
    return memory_is_native(t, insn) ? KIND_MEMORY : KIND_HELPER;
}

static unsigned needs_of(const Insn *insn)
{
    uint64_t a = insn->def ? insn->def->attrs : 0;
    bool is_avx512 = insn->vex == 4, top = false;
    unsigned needs = 0;

    if (insn->fault != FAULT_NONE) {
        return 0;
    }
    for (unsigned n = 0; n < 4; n++) {
        needs |= insn->op[n].kind == OPK_VEC ? LIVE_SIMD : insn->op[n].kind == OPK_MMX ? LIVE_X87 : 0;
        is_avx512 |= insn->op[n].kind == OPK_K;
        top |= insn->op[n].kind == OPK_VEC && insn->op[n].reg >= ZMM_TOP;
    }
    return needs | (a & (A_SSE | A_AVX) ? LIVE_SIMD : 0) | (is_avx512 ? LIVE_SIMD | LIVE_EVEX : 0) | (top ? LIVE_TOP : 0) |
           (a & (A_X87 | A_MMX | A_WAIT) ? LIVE_X87 : 0);
}

/* ---- instructions -------------------------------------------------------------------------------------- */

static uint32_t site_of(const Translation *t)
{
    return tcg_name(t->tr, t->block) | t->n;
}

const uint8_t *tcg_cold_helper(Translation *t)
{
    const uint8_t *at = emit_here(&t->cold);
    bool flags = tcg_flags_out_of_line(t);

    emit_mov_imm(&t->cold, H_R14, site_of(t));
    emit_jmp(&t->cold, flags ? t->tr->stubs.insn_flags : t->tr->stubs.insn);
    return at;
}

static const uint8_t *emit_memory(Translation *t, const Insn *insn)
{
    const uint8_t *op;
    HostMem mem;

    tcg_begin_checks(t);
    mem = tcg_memory_operand(t, insn, tcg_memory_size(insn), tcg_writes_memory(insn));
    tcg_end_checks(t);
    op = tcg_reemit(&t->hot, insn, &mem);
    tcg_end_crossing(t);
    return op;
}

static const uint8_t *emit_lea(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    unsigned dst = tcg_host_reg[insn->op[0].reg];
    bool slot = dst == H_NONE;
    const uint8_t *op;

    if (insn->op_size == 2) {
        tcg_emit_offset(t, insn, H_R14);
        op = emit_here(e);
        if (slot) {
            emit_rm(e, 0x66, false, 0x89, H_R14, tcg_gpr_slot(insn->op[0].reg));
        } else {
            emit_rr(e, 0x66, false, 0x89, H_R14, dst);
        }
        return op;
    }
    tcg_emit_offset(t, insn, slot || insn->addr_size != insn->op_size ? H_R14 : dst);
    if (!slot && insn->addr_size == insn->op_size) {
        return NULL;            /* one instruction, or loads of scratch registers before it */
    }
    op = emit_here(e);
    if (insn->op_size == 4) {
        emit_rr(e, 0, false, 0x8b, slot ? H_R14 : dst, H_R14);
    } else if (!slot) {
        emit_mov(e, dst, H_R14);
    }
    if (slot) {
        emit_store(e, tcg_gpr_slot(insn->op[0].reg), H_R14);
    }
    return op;
}

static const uint8_t *emit_push(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    unsigned width = insn->op_size, reg = H_R13;
    const uint8_t *op;
    HostMem mem;

    if (is_mem(insn, 1)) {
        tcg_begin_flags(t);     /* not in R13, which is needed */
        mem = tcg_memory_operand(t, insn, width, false);
        load_r13(e, width, mem);
        mem = tcg_stack_operand(t, -(int)width, width, true);
    } else {
        tcg_begin_checks(t);
        mem = tcg_stack_operand(t, -(int)width, width, true);
        tcg_end_checks(t);
    }
    if (is_gpr(insn, 1)) {
        reg = tcg_source(t, insn->op[1].reg, H_R13);
    } else if (insn->op[1].kind == OPK_SEG) {
        tcg_emit_selector(e, H_R13, insn->op[1].reg);
    }
    op = emit_here(e);
    if (is_imm(insn, 1)) {
        store_constant(e, width, mem, insn->imm);
    } else {
        emit_rm(e, prefix_66(width), t->wide, 0x89, reg, mem);
    }
    if (is_mem(insn, 1)) {
        tcg_end_flags(t);
    }
    tcg_move_stack(t, -(int)width);
    return op;
}

static const uint8_t *emit_pop(Translation *t, const Insn *insn)
{
    Emitter *e = &t->hot;
    unsigned width = insn->op_size, dst = insn->op[0].reg;
    const uint8_t *op;
    HostMem mem;

    tcg_begin_checks(t);
    mem = tcg_stack_operand(t, 0, width, false);
    tcg_end_checks(t);
    if (tcg_host_reg[dst] == H_NONE) {
        emit_rm(e, 0, t->wide, 0x8b, H_R13, mem);
        op = emit_here(e);
        emit_store(e, tcg_gpr_slot(dst), H_R13);
    } else {
        op = emit_here(e);
        emit_rm(e, prefix_66(width), t->wide, 0x8b, tcg_host_reg[dst], mem);
    }
    if (dst != R_RSP) {
        tcg_move_stack(t, width);
    }
    return op;
}

static const uint8_t *emit_leave(Translation *t, const Insn *insn)
{
    unsigned width = insn->op_size;
    Emitter *e = &t->hot;
    const uint8_t *op;
    HostMem mem;

    tcg_begin_checks(t);
    mem = tcg_frame_operand(t, width);
    tcg_end_checks(t);
    load_r13(e, width, mem);
    op = emit_here(e);
    tcg_set_stack(t, H_RBP, width);
    emit_rr(e, prefix_66(width), t->wide, 0x8b, H_RBP, H_R13);
    return op;
}

static const uint8_t *emit_by_helper(Translation *t)
{
    const uint8_t *op = emit_here(&t->hot);

    emit_mov_imm(&t->hot, H_R14, site_of(t));
    emit_jmp(&t->hot, t->live[t->n] ? t->tr->stubs.insn_flags : t->tr->stubs.insn);
    return op;
}

static const uint8_t *emit_insn(Translation *t, const Insn *insn, TcgKind kind)
{
    switch (kind) {
    case KIND_COPY: return tcg_reemit(&t->hot, insn, NULL);
    case KIND_MEMORY: return emit_memory(t, insn);
    case KIND_STRING:           /* a bit test cannot keep flags; they hardly ever live across one */
        return t->live[t->n] && !(insn->def->attrs & A_MULTI) ? emit_by_helper(t) : tcg_emit_string(t, insn);
    case KIND_NOTHING: return NULL;
    case KIND_LEA: return emit_lea(t, insn);
    case KIND_PUSH: return emit_push(t, insn);
    case KIND_POP: return emit_pop(t, insn);
    case KIND_LEAVE: return emit_leave(t, insn);
    case KIND_JMP: case KIND_JCC: case KIND_CALL: case KIND_RET: case KIND_JMP_IND: case KIND_CALL_IND: case KIND_LOOP:
        return tcg_emit_branch(t, insn, kind);
    case KIND_SYSTEM: return tcg_emit_system(t, insn);
    default: return emit_by_helper(t);
    }
}

/* ---- blocks --------------------------------------------------------------------------------------------------- */

/*
 * STI holds interrupts back for one more instruction, behind which the block looks for them.  That one
 * must be in the block, and not end it but by a JMP; otherwise STI runs in C and is the last.
 */
static unsigned settle_sti(Translation *t, unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        const Insn *next = &t->insns[n + 1];

        if (t->insns[n].fault == FAULT_NONE && t->insns[n].sem == sem_sti &&
            tcg_system_is_native(t, &t->insns[n]) &&
            (n + 1 == count || next->sem == sem_jcc || (tcg_ends_block(t, next) && (next->fault != FAULT_NONE || next->sem != sem_jmp)))) {
            t->plain_sti = n;
            return n + 1;
        }
    }
    return count;
}

/* Copy what an instruction at OFF may take, of AVAIL bytes of the page, some cache lines at a time. */
static void copy_code(Translation *t, unsigned off, unsigned avail)
{
    if (t->copied < MIN(off + INSN_MAX_LEN, avail)) {
        unsigned size = MIN(avail - t->copied, 128);

        memcpy(t->copy + t->copied, t->bytes + t->copied, size);
        t->copied += size;
    }
}

/*
 * Is number N the jump back of a loop, behind which the block need not go on?  In a short one that was
 * entered in its middle it does: the loop's other part follows, and then its jump to the block itself.
 */
static bool ends_loop(const Translation *t, unsigned n)
{
    return (int64_t)t->insns[n].imm < 0 && (n >= SHORT_LOOP || tcg_branch_target(t, n) == t->pc);
}

/* Decode up to TCG_BLOCK_MAX instructions of the page.  0: not even one. */
static unsigned decode_block(Translation *t, unsigned avail)
{
    unsigned n = 0, off = 0, exits = 0, most = t->tr->opt.one_insn ? 1 : TCG_BLOCK_MAX;

    while (n < most && off < avail) {
        Insn *insn = &t->insns[n];
        DecodeResult result;

        copy_code(t, off, avail);
        result = insn_decode(insn, t->copy + off, t->copied - off, t->mode, t->cpu);
        if (result == DECODE_TRUNCATED) {
            break;
        }
        if (!(t->mode & MODE_FLAT_CS) && !tcg_is_within(t->limit, t->pc + off, insn->len)) {
            if (n) {
                break;
            }
            insn->fault = VEC_GP;
        } else if (result != DECODE_OK) {
            insn->fault = result == DECODE_TOO_LONG ? VEC_GP : VEC_UD;
        }
        t->offset[n++] = off;
        off += insn->len;
        t->offset[n] = off;
        if (tcg_ends_block(t, insn)) {
            break;
        }
        if (tcg_is_side_exit(t, insn) && (!t->tr->opt.trace || ends_loop(t, n - 1) || ++exits == SIDE_EXITS)) {
            break;
        }
    }
    return settle_sti(t, n);
}

/* -icount: this many instructions less to go; too few left are the interpreter's. */
static void emit_budget(Translation *t)
{
    TcgBlock *block = t->block;
    Emitter *e = &t->hot;

    if (block->flags_in) {
        tcg_save_flags(e);
    }
    emit_rm(e, 0, true, 0x83, 5, TX(budget));                   /* sub */
    emit8(e, block->count);
    emit_jcc(e, COND_S, emit_here(&t->cold));
    emit_rm(&t->cold, 0, true, 0x83, 0, TX(budget));            /* add */
    emit8(&t->cold, block->count);
    emit_mov_imm(&t->cold, H_R13, block->pc);
    emit_jmp(&t->cold, t->tr->stubs.again);
    if (block->flags_in) {
        tcg_load_flags(e);
    }
}

/* The entry: a no-op to be stopped at, checks of what the block needs. */
static void emit_entry(Translation *t)
{
    TcgBlock *block = t->block;
    Emitter *e = &t->hot;

    emit_nops(e, -(uintptr_t)e->p & 15);
    block->code = emit_here(e);
    emit_nops(e, 5);
    block->code_direct = emit_here(e);
    block->lost = emit_here(&t->cold);
    emit_mov_imm(&t->cold, H_R13, block->pc);
    emit_jmp(&t->cold, t->tr->stubs.again_flags);
    if (t->tr->opt.icount) {
        emit_budget(t);
    }
    if (block->needs || block->gpa2) {
        uint8_t *back = NULL;

        if (block->flags_in) {
            tcg_save_flags(e);
        }
        if (block->gpa2) {
            uint64_t page = tcg_next_page(t);
            unsigned class = (t->mode & MODE_CPL) == 3;

            emit_mov_imm(e, H_R14, (page << 16 >> 28) << 28 | block->gpa2 >> 12);
            emit_rm(e, 0, true, 0x3b, H_R14,
                    HOST_GS(offsetof(X86Cpu, tx.itlb[0]) + class * sizeof(t->cpu->tx.itlb[0]) +
                            8 * x86_itlb_index(page)));
            emit_jcc(e, COND_NE, emit_here(&t->cold));
            if (t->tr->opt.icount) {
                emit_rm(&t->cold, 0, true, 0x83, 0, TX(budget));
                emit8(&t->cold, block->count);
            }
            emit_mov_imm(&t->cold, H_R13, block->pc);
            emit_jmp(&t->cold, t->tr->stubs.again);
        }
        if (block->needs & LIVE_SIMD) {
            unsigned most = block->needs & LIVE_TOP ? LIVE_TOP : block->needs & LIVE_EVEX ? LIVE_EVEX : LIVE_SIMD;

            emit_rm(e, 0, false, 0xf6, 0, TX(live));
            emit8(e, most);
            emit_jcc(e, COND_E, emit_here(&t->cold));
            emit_call(&t->cold, most == LIVE_TOP ? t->tr->stubs.need_top
                                : most == LIVE_EVEX ? t->tr->stubs.need_evex : t->tr->stubs.need_simd);
            back = emit_jmp(&t->cold, t->tr->rx);
            if (!t->cold.full) {
                emit_patch(back, e->rx, emit_here(e));
            }
        }
        if (block->needs & LIVE_X87) {
            emit_rm(e, 0, false, 0xf6, 0, TX(live));
            emit8(e, LIVE_X87);
            emit_jcc(e, COND_E, emit_here(&t->cold));
            emit_mov_imm(&t->cold, H_R14, tcg_name(t->tr, block));
            emit_jmp(&t->cold, t->tr->stubs.need_x87);
        }
        if (block->flags_in) {
            tcg_load_flags(e);
        }
    }
    block->code_live = block->gpa2 || t->tr->opt.icount ? block->code_direct : emit_here(e);
}

static uint8_t record_flags(const Translation *t, unsigned n)
{
    return (t->live[n] ? TI_FLAGS_IN : 0) | (t->in_r15 ? (t->in_r15 - t->groups + 1) << TI_GROUP_SHIFT : 0);
}

/* What does not say so itself: its translation may use R15, or another register's value is loaded into it (a third one of BMI). */
static bool loses_r15(const Translation *t, unsigned n)
{
    const Insn *insn = &t->insns[n];

    switch (t->kind[n]) {
    case KIND_HELPER: case KIND_SYSTEM: case KIND_STRING:
        return true;
    case KIND_COPY:
        return insn->vex && is_gpr(insn, 0);
    default:
        return false;
    }
}

static void emit_block(Translation *t, unsigned count)
{
    TcgBlock *block = t->block;

    t->in_r15 = NULL;
    emit_entry(t);
    if (t->loop) {
        tcg_emit_loop_entry(t);
    }
    for (unsigned n = 0; n < count; n++) {
        const Insn *insn = &t->insns[n];
        TcgInsn *record = &block->insns[n];
        const uint8_t *start = emit_here(&t->hot), *op;
        bool after_sti;

        t->n = n;
        record->host = start - block->code;
        record->guest = t->offset[n];
        record->flags = record_flags(t, n);
        after_sti = n && t->insns[n - 1].sem == sem_sti && n - 1 != t->plain_sti;
        if (after_sti) {
            record->flags |= TI_SHADOW;
            if (insn->sem == sem_jmp) {
                tcg_emit_shadow_end(t, tcg_branch_target(t, n), t->live[n]);
            }
        }
        op = emit_insn(t, insn, t->kind[n]);
        record->op = op ? MIN(op - start, 255) : 0;
        if (after_sti && insn->sem != sem_jmp) {
            tcg_emit_shadow_end(t, tcg_next_pc(t, n), t->live[n + 1]);
        }
        if (after_sti || loses_r15(t, n)) {
            t->in_r15 = NULL;
        }
    }
    t->n = count;
    block->insns[count] = (TcgInsn){ .host = emit_here(&t->hot) - block->code,
                                     .guest = t->offset[count],
                                     .flags = record_flags(t, count) };
    if (!tcg_ends_block(t, &t->insns[count - 1])) {
        tcg_emit_exit(t, tcg_next_pc(t, count - 1));
    }
    block->code_len = emit_here(&t->hot) - block->code;
}

/* Under `lock`: from decoded instructions to a block, or NULL when there is no room. */
static TcgBlock *build(Translation *t, unsigned count)
{
    Translator *tr = t->tr;
    TcgBlock *block;

    t->group_count = 0;
    memset(t->member, 0, count * sizeof(t->member[0]));
    memset(t->range, 0, count);
    memset(t->kept, 0, count);
    for (unsigned n = 0; n < count; n++) {
        t->kind[n] = kind_of(t, &t->insns[n], n);
    }
    tcg_find_live_flags(t, count);
    t->loop = false;
    if (tr->opt.group && !t->each_checked) {
        tcg_find_groups(t, count);
    }
    block = tcg_block_alloc(tr, count, t->offset[count], 3 + SIDE_EXITS + t->group_count);
    if (!block) {
        tr->flush_wanted = true;
        return NULL;
    }
    t->block = block;
    t->hot = (Emitter){ .p = tr->hot, .end = tr->hot_end, .rx = tr->rx - tr->rw };
    t->cold = (Emitter){ .p = tr->cold, .end = tr->cold_end, .rx = tr->rx - tr->rw };
    block->pc = t->pc;
    block->va = t->va;
    block->limit = t->limit;
    block->gpa = t->gpa;
    block->gpa2 = t->gpa2;
    block->flags_in = t->live[0];
    block->flags_read = t->flags_read;
    block->mode = t->mode | (t->each_checked ? MODE_EACH_CHECKED : 0);
    block->count = count;
    block->bytes = t->offset[count];
    memcpy((uint8_t *)block->guest, t->copy, block->bytes);
    for (unsigned n = 0; n < count; n++) {
        block->needs |= needs_of(&t->insns[n]);
    }
    emit_block(t, count);
    if (t->hot.full || t->cold.full) {
        tr->flush_wanted = true;
        return NULL;
    }
    tcg_block_keep(tr, block);
    tr->counters.blocks++;
    tr->counters.guest_insns += count;
    tr->counters.guest_bytes += block->bytes;
    tr->counters.host_bytes += t->hot.p - tr->hot;
    tr->counters.cold_bytes += t->cold.p - tr->cold;
    tr->hot = t->hot.p;
    tr->cold = t->cold.p;
    return block;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

TcgBlock *tcg_translate(Translator *tr, X86Cpu *cpu, bool each_checked, uint64_t va, uint64_t gpa,
                        const uint8_t *host)
{
    Translation t;
    unsigned in_page = MIN(4096 - (gpa & 4095), TCG_BLOCK_MAX * INSN_MAX_LEN), count;
    uint64_t gpa2 = 0, started = now_ns();
    TcgBlock *block;

    memset(&t, 0, offsetof(Translation, insns));
    t.tr = tr;
    t.cpu = cpu;
    t.mode = cpu->mode;
    t.pc = tcg_pc(cpu);
    t.va = va;
    t.gpa = gpa;
    t.wide = cpu->mode & MODE_CS64;
    t.limit = tcg_limit(cpu, cpu->mode);
    t.pc_base = t.wide ? 0 : t.pc >> 32 << 32;
    t.exact = tcg_is_exact(tr, cpu->mode);
    t.each_checked = each_checked;
    t.bytes = host;
    t.plain_sti = t.missing = TCG_BLOCK_MAX;
    count = decode_block(&t, in_page);
    if (count == 0) {           /* reaches into the next page */
        const uint8_t *second;

        gpa2 = x86_fetch_page(cpu, tcg_next_page(&t), &second);
        if (!second || gpa2 >> 40) {
            return NULL;
        }
        memcpy(t.copy + in_page, second, INSN_MAX_LEN);
        t.copied = in_page + INSN_MAX_LEN;
        count = decode_block(&t, t.copied);
        if (count == 0) {
            return NULL;
        }
        count = 1;
        t.offset[1] = t.insns[0].len;
    }
    g_mutex_lock(&tr->lock);
    t.gpa2 = gpa2;
    block = tr->flush_wanted ? NULL : build(&t, count);
    if (block) {
        tcg_block_insert(tr, block);
        tcg_log_block(&t);
    }
    tr->counters.translate_ns += now_ns() - started;
    g_mutex_unlock(&tr->lock);
    if (!block) {
        return NULL;
    }
    /* Now stores to these bytes are noticed; those before are noticed by comparing. */
    in_page = MIN(block->bytes, in_page);
    code_map_add(tr->code_map, gpa, in_page);
    if (block->bytes > in_page) {
        code_map_add(tr->code_map, gpa2, block->bytes - in_page);
    }
    if (memcmp(t.copy, host, in_page)) {
        tcg_block_kill(tr, block);
    }
    tcg_block_publish(tr, block);
    return block;
}
