/* SPDX-License-Identifier: MIT */
/*
 * Memory operands: addresses, TLB checks, groups that share one.  docs/devel/translator.md; ENGINE 4.
 * Locking: Translator.lock while emitting.
 */
#include "accel/tcg/translate_int.h"

#include "target-x86/sem.h"

bool tcg_writes_memory(const Insn *insn)
{
    if (insn->op[0].kind == OPK_MEM && insn->def->opnd[0] != OPND_NIL) {
        return true;
    }
    return insn->op[1].kind == OPK_MEM && (insn->def->attrs & A_XCHG);
}

unsigned tcg_memory_size(const Insn *insn)
{
    for (unsigned n = 0; n < 4; n++) {
        if (insn->op[n].kind == OPK_MEM) {
            return insn->op[n].size;
        }
    }
    return 0;
}

/* A guest register as a source: its host register, or loaded into SCRATCH. */
unsigned tcg_source(Translation *t, unsigned reg, unsigned scratch)
{
    if (tcg_host_reg[reg] != H_NONE) {
        return tcg_host_reg[reg];
    }
    emit_load(&t->hot, scratch, tcg_gpr_slot(reg));
    if (scratch == H_R15) {
        t->in_r15 = NULL;
    }
    return scratch;
}

static uint64_t constant_offset(const Translation *t, const Insn *insn, int64_t disp)
{
    uint64_t at = disp + (insn->base == R_RIP ? tcg_next_pc(t, t->n) : 0);

    return insn->addr_size == 8 ? at : insn->addr_size == 4 ? (uint32_t)at : (uint16_t)at;
}

/* base + index << scale + disp into DST, truncated to the address size; no segment base, no flags. */
static void emit_offset(Translation *t, const Insn *insn, int64_t disp, unsigned dst)
{
    bool wide = insn->addr_size == 8;
    HostMem mem = { H_NONE, H_NONE, 0, false, disp };

    if (is_constant_offset(insn)) {
        emit_mov_imm(&t->hot, dst, constant_offset(t, insn, disp));
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
    if (insn->addr_size == 2) {
        emit_rr(&t->hot, 0, false, 0x0fb7, dst, dst);
    }
}

void tcg_emit_offset(Translation *t, const Insn *insn, unsigned dst)
{
    emit_offset(t, insn, insn->disp, dst);
}

static bool has_segment_base(const Translation *t, const Insn *insn)
{
    return t->wide && (insn->seg == SEG_FS || insn->seg == SEG_GS);
}

void tcg_emit_linear(Translation *t, const Insn *insn, int64_t disp)
{
    emit_offset(t, insn, disp, H_R14);
    if (has_segment_base(t, insn)) {
        emit_rm(&t->hot, 0, true, 0x03, H_R14,
                HOST_GS(offsetof(X86Cpu, segs) + insn->seg * sizeof(X86Seg) +
                        offsetof(X86Seg, base)));
    }
}

/* tcg_emit_linear(); the register that has the address, which is R14 or one that R14 is a copy of. */
static unsigned emit_address(Translation *t, const Insn *insn, int64_t disp)
{
    unsigned base = insn->base < R_ZERO ? tcg_host_reg[insn->base] : H_NONE;

    if (insn->addr_size != 8 || insn->index != R_ZERO || disp || has_segment_base(t, insn) || base == H_NONE) {
        tcg_emit_linear(t, insn, disp);
        return H_R14;
    }
    emit_mov(&t->hot, H_R14, base);
    return base;
}

/* ---- checks -------------------------------------------------------------------------------------- */

/* The group of an access, or NULL. */
static const TcgGroup *group_of(const Translation *t, TcgAccess access)
{
    unsigned group = t->member[t->n][access].group;

    return group ? &t->groups[group - 1] : NULL;
}

static bool is_first(const Translation *t, const TcgGroup *group, TcgAccess access)
{
    return group->insn == t->n && group->access == access;
}

static bool is_checked(const Translation *t, TcgAccess access)
{
    const TcgGroup *group = group_of(t, access);

    return !group || (!group->hoisted && is_first(t, group, access));
}

static bool has_checks(const Translation *t)
{
    switch (t->kind[t->n]) {
    case KIND_MEMORY:
        return is_checked(t, ACCESS_DATA);
    case KIND_PUSH:
        return is_checked(t, ACCESS_STACK) ||
               (is_mem(&t->insns[t->n], 1) && is_checked(t, ACCESS_DATA));
    default:
        return is_checked(t, ACCESS_STACK);
    }
}

void tcg_begin_checks(Translation *t)
{
    if (has_checks(t)) {
        tcg_hold_flags(t);
    }
}

void tcg_end_checks(Translation *t)
{
    tcg_release_flags(t);
}

static HostMem slot_of(const Translation *t, const TcgGroup *group)
{
    return TX(group[group - t->groups]);
}

void tcg_load_slot(Translation *t, const TcgGroup *group)
{
    if (t->in_r15 != group) {
        emit_load(&t->hot, H_R15, slot_of(t, group));
        t->in_r15 = group;
    }
}

/* Out of line: the page of this access is to be found; R14 = address ^ tag, R15 = the entry of its second place. */
static const uint8_t *cold_miss(Translation *t, bool write)
{
    const uint8_t *at = emit_here(&t->cold);
    bool flags;

    /* Two pages of one set would take each other's place for ever.  Of a masked operand C knows what is accessed at all. */
    if (!t->tr->opt.refill || t->missing == t->n || tcg_is_masked(&t->insns[t->n])) {
        return tcg_cold_helper(t);
    }
    t->missing = t->n;
    flags = tcg_flags_out_of_line(t);
    emit_mov_imm(&t->cold, H_R13, tcg_name(t->tr, t->block) | t->n);
    emit_jmp(&t->cold, flags ? t->tr->stubs.miss_flags[write] : t->tr->stubs.miss[write]);
    return at;
}

static size_t tlb_offset(const Translation *t)
{
    return offsetof(X86Cpu, tlb) + t->cpu->mmu_idx * sizeof(t->cpu->tlb[0]);
}

static size_t tag_offset(bool write)
{
    return write ? offsetof(X86TlbEntry, tag_w) : offsetof(X86TlbEntry, tag_r);
}

/* Out of line: the page's second place. */
static const uint8_t *cold_second(Translation *t, unsigned size, bool write, const uint8_t *failed, uint8_t **found)
{
    size_t tlb = tlb_offset(t), tag = tag_offset(write);
    const uint8_t *at = emit_here(&t->cold);

    emit_rm(&t->cold, 0, true, 0x33, H_R14, HOST_GS_INDEX(H_R15, tlb + tag));
    emit_alu_imm(&t->cold, false, 6, H_R15, X86_TLB_SIZE / 2 * sizeof(X86TlbEntry));
    emit_rm(&t->cold, 0, true, 0x33, H_R14, HOST_GS_INDEX(H_R15, tlb + tag));
    emit_alu_imm(&t->cold, true, 7, H_R14, 4096 - size);
    emit_jcc(&t->cold, COND_A, failed);
    *found = emit_jmp(&t->cold, failed);
    return at;
}

/*
 * AT: R14, or the guest's register of which it is a copy.  That one need not wait for the copy, nor for its comparison:
 * R15 becomes what is to be added to AT, which is no longer the linear address if it is R14.
 */
static void emit_first(Translation *t, Emitter *e, unsigned at, unsigned size, bool write, const uint8_t *second,
                       uint8_t *found)
{
    size_t tlb = tlb_offset(t);

    emit8(e, 0xc4);                                     /* rorx r15, at, 7 */
    emit8(e, at & 8 ? 0x43 : 0x63);
    emit8(e, 0xfb);
    emit8(e, 0xf0);
    emit8(e, 0xf8 | (at & 7));
    emit8(e, 12 - 5);
    emit_alu_imm(e, false, 4, H_R15, (X86_TLB_SIZE - 1) << 5);
    emit_rm(e, 0, true, 0x33, H_R14, HOST_GS_INDEX(H_R15, tlb + tag_offset(write)));
    emit_alu_imm(e, true, 7, H_R14, 4096 - size);
    emit_jcc(e, COND_A, second);
    if (!t->cold.full) {
        emit_patch(found, t->cold.rx, emit_here(e));
    }
    emit_load(e, H_R15, HOST_GS_INDEX(H_R15, tlb + (at == H_R14 ? offsetof(X86TlbEntry, host)
                                                                : offsetof(X86TlbEntry, delta))));
}

static void emit_tlb(Translation *t, unsigned at, unsigned size, bool write, const uint8_t *failed)
{
    uint8_t *found;
    const uint8_t *second = cold_second(t, size, write, failed, &found);

    emit_first(t, &t->hot, at, size, write, second, found);
    t->in_r15 = NULL;
}

void tcg_emit_tlb(Translation *t, unsigned size, bool write, const uint8_t *failed)
{
    emit_tlb(t, H_R14, size, write, failed);
}

/* ---- ranges: target-x86/ranges.h ------------------------------------------------------------------- */

#define RANGE(t, n, field) \
    HOST_GS(offsetof(X86Cpu, tx.ranges) + ((t)->cpu->mmu_idx * X86_RANGES + (n)) * sizeof(X86Range) + \
            offsetof(X86Range, field))

/* Out of line: C looks for a range. */
static const uint8_t *cold_range(Translation *t, unsigned slot)
{
    const uint8_t *at = emit_here(&t->cold);
    bool flags = tcg_flags_out_of_line(t);

    emit_mov_imm(&t->cold, H_R13, tcg_name(t->tr, t->block) | t->n);
    emit_mov_imm(&t->cold, H_R15, slot);
    emit_jmp(&t->cold, flags ? t->tr->stubs.range_flags : t->tr->stubs.range);
    return at;
}

/* As tcg_emit_tlb() for reads that may lie in a range: the address is not delayed by what is compared with it. */
static void emit_range(Translation *t, unsigned at, unsigned size, const uint8_t *failed)
{
    unsigned slot = t->range[t->n] - 1;
    Emitter *e = &t->hot, *cold = &t->cold;
    const uint8_t *look, *second, *elsewhere;
    uint8_t *found, *back;

    look = cold_range(t, slot);
    second = cold_second(t, size, false, failed, &found);
    elsewhere = emit_here(cold);
    emit_rm(cold, 0, false, 0x83, 5, RANGE(t, slot, patience));
    emit8(cold, 1);
    emit_jcc(cold, COND_S, look);
    emit_first(t, cold, at, size, false, second, found);
    back = emit_jmp(cold, failed);

    emit_mov(e, H_R15, at);
    emit_rm(e, 0, true, 0x2b, H_R15, RANGE(t, slot, start));    /* sub */
    emit_rm(e, 0, true, 0x3b, H_R15, RANGE(t, slot, len));      /* cmp */
    emit_jcc(e, COND_AE, elsewhere);
    emit_load(e, H_R15, RANGE(t, slot, delta));
    if (!cold->full) {
        emit_patch(back, cold->rx, emit_here(e));
    }
    t->in_r15 = NULL;
}

static void emit_check(Translation *t, TcgAccess access, unsigned at, unsigned size, bool write,
                       const uint8_t *failed)
{
    if (!write && access == ACCESS_DATA && t->range[t->n]) {
        emit_range(t, at, size, failed);
    } else {
        emit_tlb(t, at, size, write, failed);
    }
}

void tcg_check_here(Translation *t, unsigned size, bool write)
{
    tcg_emit_tlb(t, size, write, cold_miss(t, write));
}

static const uint8_t *cold_check(Translation *t, const TcgGroup *group, bool write)
{
    return group ? tcg_cold_group(t, group - t->groups) : cold_miss(t, write);
}

/* The same for the operand of an instruction that is re-emitted: it may lie in two pages. */
static const uint8_t *cold_operand(Translation *t, unsigned size, bool write, bool *behind_check)
{
    const uint8_t *at = emit_here(&t->cold);

    *behind_check = tcg_emit_crossing(t, size, write);
    cold_miss(t, write);
    return at;
}

/* R15 = what the slot is to have; the operand of the group's first access. */
static HostMem fill_slot(Translation *t, const TcgGroup *group)
{
    emit_store(&t->hot, slot_of(t, group), H_R15);
    t->in_r15 = group;
    return HOST_DISP(H_R15, group->offset + group->lead);
}

/* R14, and AT, which may be another register: linear address, less what the group's first access says. */
static HostMem check(Translation *t, TcgAccess access, unsigned at, unsigned size, bool write)
{
    const TcgGroup *group = group_of(t, access);

    if (!group && access == ACCESS_DATA && t->kind[t->n] == KIND_MEMORY) {
        bool behind_check;

        emit_check(t, access, at, size, write, cold_operand(t, size, write, &behind_check));
        if (behind_check) {
            tcg_end_crossing(t);
        }
        return HOST_AT(at, H_R15);
    }
    if (!group) {
        emit_check(t, access, at, size, write, cold_miss(t, write));
        return HOST_AT(at, H_R15);
    }
    emit_check(t, access, at, group->span, group->write, cold_check(t, group, write));
    emit_rm(&t->hot, 0, true, 0x8d, H_R15, HOST_AT(at, H_R15));
    return fill_slot(t, group);
}

/* The same for an address that is known: so are the TLB's set and the offset in the page. */
static HostMem check_constant(Translation *t, TcgAccess access, uint64_t at, unsigned size, bool write)
{
    const TcgGroup *group = group_of(t, access);
    uint64_t page = at & ~4095ull;
    unsigned offset = at & 4095, set = (at >> 12 & (X86_TLB_SIZE - 1)) * sizeof(X86TlbEntry), second;
    const uint8_t *failed, *missed;
    uint8_t *found;
    HostMem tag, host;

    size = group ? group->span : size;
    write = group ? group->write : write;
    if (offset + size > 4096) {
        emit_mov_imm(&t->hot, H_R14, at);
        return check(t, access, H_R14, size, write);
    }
    tag = HOST_GS(tlb_offset(t) + set + tag_offset(write));
    host = HOST_GS(tlb_offset(t) + set + offsetof(X86TlbEntry, host));
    second = set ^ X86_TLB_SIZE / 2 * sizeof(X86TlbEntry);
    if (group) {
        t->groups[group - t->groups].offset = offset;
    }
    missed = cold_check(t, group, write);
    failed = emit_here(&t->cold);               /* what C finds there: see tcg_emit_tlb() */
    emit_mov_imm(&t->cold, H_R15, second);
    emit_mov_imm(&t->cold, H_R14, at);
    emit_rm(&t->cold, 0, true, 0x33, H_R14, HOST_GS_INDEX(H_R15, tlb_offset(t) + tag_offset(write)));
    emit_alu_imm(&t->cold, true, 7, H_R14, 4096 - size);
    emit_jcc(&t->cold, COND_A, missed);
    emit_load(&t->cold, H_R15, HOST_GS_INDEX(H_R15, tlb_offset(t) + offsetof(X86TlbEntry, host)));
    found = emit_jmp(&t->cold, missed);
    if ((int64_t)page == (int32_t)page) {
        emit_rm(&t->hot, 0, true, 0x81, 7, tag);        /* cmp */
        emit32(&t->hot, page);
    } else {
        emit_mov_imm(&t->hot, H_R14, page);
        emit_rm(&t->hot, 0, true, 0x3b, H_R14, tag);
    }
    emit_jcc(&t->hot, COND_NE, failed);
    emit_load(&t->hot, H_R15, host);
    if (!t->cold.full) {
        emit_patch(found, t->cold.rx, emit_here(&t->hot));
    }
    t->in_r15 = NULL;
    return group ? fill_slot(t, group) : HOST_DISP(H_R15, offset);
}

/* Has another access been checked for this one, too?  BASE, INDEX: its registers. */
static bool shares_check(Translation *t, TcgAccess access, unsigned base, unsigned index, HostMem *mem)
{
    const TcgGroup *group = group_of(t, access);

    if (group && group->hoisted) {
        *mem = tcg_hoisted_operand(t, group, base, index, t->member[t->n][access].offset);
        return true;
    }
    if (!group || is_first(t, group, access)) {
        return false;
    }
    tcg_load_slot(t, group);
    *mem = HOST_DISP(H_R15, group->offset + t->member[t->n][access].offset);
    return true;
}

static int lead_of(const Translation *t, TcgAccess access)
{
    const TcgGroup *group = group_of(t, access);

    return group ? group->lead : 0;
}

static HostMem stack_at(Translation *t, unsigned reg, int disp, unsigned size, bool write)
{
    HostMem mem;

    if (!tcg_stack_is_flat(t)) {
        return tcg_segmented_stack(t, reg, disp, size, write);
    }
    if (!shares_check(t, ACCESS_STACK, reg, R_ZERO, &mem)) {
        const Insn place = { .base = reg, .index = R_ZERO, .addr_size = t->wide ? 8 : 4, .seg = SEG_FLAT };

        mem = check(t, ACCESS_STACK, emit_address(t, &place, disp - lead_of(t, ACCESS_STACK)), size, write);
    }
    return mem;
}

HostMem tcg_stack_operand(Translation *t, int disp, unsigned size, bool write)
{
    return stack_at(t, R_RSP, disp, size, write);
}

HostMem tcg_frame_operand(Translation *t, unsigned size)
{
    return stack_at(t, R_RBP, 0, size, false);
}

HostMem tcg_memory_operand(Translation *t, const Insn *insn, unsigned size, bool write)
{
    HostMem mem;

    if (!tcg_is_flat(t, insn)) {
        return tcg_segmented_operand(t, insn, size, write);
    }
    if (shares_check(t, ACCESS_DATA, insn->base, insn->index, &mem)) {
        return mem;
    }
    if (is_constant_offset(insn) && !has_segment_base(t, insn)) {
        return check_constant(t, ACCESS_DATA, constant_offset(t, insn, insn->disp - lead_of(t, ACCESS_DATA)),
                              size, write);
    }
    return check(t, ACCESS_DATA, emit_address(t, insn, insn->disp - lead_of(t, ACCESS_DATA)), size, write);
}

void tcg_set_stack(Translation *t, unsigned from, int bytes)
{
    if (t->mode & MODE_SS32) {
        emit_rm(&t->hot, 0, t->wide, 0x8d, H_R12, HOST_DISP(from, bytes));
        return;
    }
    emit_rm(&t->hot, 0, false, 0x8d, H_R14, HOST_DISP(from, bytes));
    emit_rr(&t->hot, 0x66, false, 0x8b, H_R12, H_R14);
}

void tcg_move_stack(Translation *t, int bytes)
{
    tcg_set_stack(t, H_R12, bytes);
}
