/* SPDX-License-Identifier: MIT */
/*
 * Far transfers: JMP, CALL and RET between segments, call gates, IRET, SYSENTER, SYSCALL and
 * their returns.  Spec: [SDM3A 5.8], [SDM2 CALL, RET, IRET, SYSCALL, SYSENTER].
 * Every function reads and checks everything first and writes registers last.  The new RIP goes
 * to next_rip, which the caller commits.
 * Missing: shadow stacks (CET).
 * Locking: the vCPU's thread.
 */
#include "target-x86/segment.h"

#include "target-x86/sem.h"

static uint64_t truncate_ip(uint64_t ip, unsigned size)
{
    return size == 8 ? ip : size == 4 ? (uint32_t)ip : (uint16_t)ip;
}

/* Ap in the instruction, or Mp in memory. */
static void far_pointer(X86Cpu *cpu, const Insn *insn, uint16_t *sel, uint64_t *off)
{
    uint64_t at, mask;

    if (!insn_has_mem(insn)) {
        *sel = insn->imm2;
        *off = truncate_ip(insn->imm, insn->op_size);
        return;
    }
    at = insn_offset(cpu, insn);
    mask = insn->addr_size == 8 ? ~0ull : insn->addr_size == 4 ? 0xffffffff : 0xffff;
    switch (insn->op_size) {
    case 2: *off = x86_load16(cpu, insn->seg, at); break;
    case 4: *off = x86_load32(cpu, insn->seg, at); break;
    default: *off = x86_load64(cpu, insn->seg, at); break;
    }
    *sel = x86_load16(cpu, insn->seg, (at + insn->op_size) & mask);
}

static void commit_cs(X86Cpu *cpu, X86Seg cs, unsigned cpl, uint64_t rip)
{
    cs.sel = (cs.sel & ~3) | cpl;
    cpu->segs[SEG_CS] = cs;
    cpu->cpl = cpl;
    cpu->next_rip = rip;
    x86_update_mode(cpu);
}

static void jump_real(X86Cpu *cpu, uint16_t sel, uint64_t off)
{
    x86_load_segment_real(cpu, SEG_CS, sel);
    cpu->next_rip = off;
    x86_update_mode(cpu);
}

/* L and D both set is reserved in long mode. */
static void check_long_code(X86Cpu *cpu, uint16_t sel, uint32_t hi, unsigned vector)
{
    if ((cpu->efer & EFER_LMA) && (hi & DESC_L) && (hi & DESC_DB)) {
        cpu_raise(cpu, vector, sel_code(sel, 0));
    }
}

/* A code segment reached directly: same privilege, [SDM3A 5.8.1]. */
static X86Seg check_direct_code(X86Cpu *cpu, uint16_t sel, X86Desc *d)
{
    check_long_code(cpu, sel, d->hi, VEC_GP);
    if (desc_is_conforming(d->hi) ? desc_dpl(d->hi) > cpu->cpl
                                  : (sel & 3) > cpu->cpl || desc_dpl(d->hi) != cpu->cpl) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
    x86_desc_set_bits(cpu, d, DESC_A);
    return desc_segment(sel, d);
}

static void check_gate(X86Cpu *cpu, uint16_t sel, const X86Desc *d)
{
    if (desc_dpl(d->hi) < MAX(cpu->cpl, sel & 3u)) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
}

typedef struct CallGate {
    uint16_t sel;
    uint64_t off;
    unsigned size;              /* of what is pushed: 2, 4, 8 */
    unsigned params;
    X86Desc code;               /* the target's descriptor, checked for type and L */
} CallGate;

static CallGate read_call_gate(X86Cpu *cpu, uint16_t sel, const X86Desc *d)
{
    CallGate g = { .sel = d->lo >> 16, .off = (d->lo & 0xffff) | (d->hi & 0xffff0000) };

    check_gate(cpu, sel, d);
    if (cpu->efer & EFER_LMA) {
        g.off |= (uint64_t)x86_desc_base_high(cpu, sel, d, VEC_GP) << 32;
        g.size = 8;
    } else if (desc_type(d->hi) == 4) {
        g.off &= 0xffff;
        g.size = 2;
        g.params = d->hi & 31;
    } else {
        g.size = 4;
        g.params = d->hi & 31;
    }
    x86_desc_fetch(cpu, g.sel, &g.code, VEC_GP, 0);
    if (!desc_is_code(g.code.hi) || desc_dpl(g.code.hi) > cpu->cpl) {
        cpu_raise(cpu, VEC_GP, sel_code(g.sel, 0));
    }
    if ((cpu->efer & EFER_LMA) && (g.code.hi & (DESC_L | DESC_DB)) != DESC_L) {
        cpu_raise(cpu, VEC_GP, sel_code(g.sel, 0));
    }
    if (!(g.code.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(g.sel, 0));
    }
    return g;
}

/* JMP or CALL to a TSS or a task gate; false: D is something else. */
static bool far_task(X86Cpu *cpu, uint16_t sel, X86Desc *d, X86TaskSource source)
{
    unsigned type = desc_type(d->hi);

    if (cpu->efer & EFER_LMA) {
        return false;
    }
    if (type == 5) {
        check_gate(cpu, sel, d);
        sel = d->lo >> 16;
        if (sel & 4) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
        x86_desc_fetch(cpu, sel, d, VEC_GP, 0);
        type = desc_type(d->hi);
        if ((d->hi & DESC_S) || (type != 1 && type != 9)) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
    } else if (type == 1 || type == 9) {
        if ((sel & 4) || desc_dpl(d->hi) < MAX(cpu->cpl, sel & 3u)) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
    } else {
        return false;
    }
    if (!(d->hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
    x86_task_switch(cpu, sel, d, source, cpu->next_rip, false, 0, 0);
    return true;
}

void sem_jmpf(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel;
    uint64_t off;
    unsigned type;
    X86Desc d;
    X86Seg cs;

    far_pointer(cpu, insn, &sel, &off);
    if (!x86_is_protected(cpu)) {
        if (off > cpu->segs[SEG_CS].limit) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        jump_real(cpu, sel, off);
        return;
    }
    x86_desc_fetch(cpu, sel, &d, VEC_GP, 0);
    if (d.hi & DESC_S) {
        if (!(d.hi & DESC_CODE)) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
        cs = check_direct_code(cpu, sel, &d);
        x86_check_rip(cpu, &cs, off, 0);
        commit_cs(cpu, cs, cpu->cpl, off);
        return;
    }
    if (far_task(cpu, sel, &d, TASK_JMP)) {
        return;
    }
    type = desc_type(d.hi);
    if (type == 12 || (type == 4 && !(cpu->efer & EFER_LMA))) {
        CallGate g = read_call_gate(cpu, sel, &d);

        if (!desc_is_conforming(g.code.hi) && desc_dpl(g.code.hi) != cpu->cpl) {
            cpu_raise(cpu, VEC_GP, sel_code(g.sel, 0));
        }
        x86_desc_set_bits(cpu, &g.code, DESC_A);
        cs = desc_segment(g.sel, &g.code);
        x86_check_rip(cpu, &cs, g.off, 0);
        commit_cs(cpu, cs, cpu->cpl, g.off);
        return;
    }
    cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
}

/* Through a gate to an inner level: the stack comes from the TSS, parameters are copied. */
static void call_inner(X86Cpu *cpu, const CallGate *g, X86Seg cs)
{
    unsigned dpl = desc_dpl(g->code.hi);
    uint64_t sp, params[32];
    uint16_t ss_sel;
    X86Stack old, new;
    X86Seg ss;

    x86_tss_stack(cpu, dpl, 0, &ss_sel, &sp);
    if (cpu->efer & EFER_LMA) {
        ss = (X86Seg){ .sel = ss_sel, .flags = dpl << DESC_DPL_SHIFT };
    } else {
        ss = x86_check_stack_segment(cpu, ss_sel, dpl, VEC_TS, 0);
    }
    old = x86_stack_current(cpu);
    for (unsigned i = 0; i < g->params; i++) {
        params[i] = x86_stack_pop(cpu, &old, g->size);
    }
    new = x86_stack(cpu, &ss, sp, dpl, cpu->efer & EFER_LMA);
    new.code = ss_sel & 0xfffc;
    x86_stack_push(cpu, &new, cpu->segs[SEG_SS].sel, g->size);
    x86_stack_push(cpu, &new, cpu->gpr[R_RSP], g->size);
    for (unsigned i = g->params; i-- > 0;) {
        x86_stack_push(cpu, &new, params[i], g->size);
    }
    x86_stack_push(cpu, &new, cpu->segs[SEG_CS].sel, g->size);
    x86_stack_push(cpu, &new, cpu->next_rip, g->size);
    cpu->segs[SEG_SS] = ss;
    cpu->gpr[R_RSP] = x86_stack_rsp(&new, cpu->gpr[R_RSP]);
    commit_cs(cpu, cs, dpl, g->off);
}

static void call_same(X86Cpu *cpu, X86Seg cs, uint64_t off, unsigned size)
{
    X86Stack s = x86_stack_current(cpu);

    /* From compatibility mode through a 64-bit gate the stack is used as 64-bit code would. */
    if (size == 8 && !s.is64) {
        s = x86_stack(cpu, &cpu->segs[SEG_SS], (uint32_t)cpu->gpr[R_RSP], cpu->cpl, true);
    }
    x86_stack_push(cpu, &s, cpu->segs[SEG_CS].sel, size);
    x86_stack_push(cpu, &s, cpu->next_rip, size);
    cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    commit_cs(cpu, cs, cpu->cpl, off);
}

void sem_callf(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel;
    uint64_t off;
    unsigned type;
    X86Desc d;
    X86Seg cs;

    far_pointer(cpu, insn, &sel, &off);
    if (!x86_is_protected(cpu)) {
        X86Stack s = x86_stack_current(cpu);

        if (off > cpu->segs[SEG_CS].limit) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        x86_stack_push(cpu, &s, cpu->segs[SEG_CS].sel, insn->op_size);
        x86_stack_push(cpu, &s, cpu->next_rip, insn->op_size);
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
        jump_real(cpu, sel, off);
        return;
    }
    x86_desc_fetch(cpu, sel, &d, VEC_GP, 0);
    if (d.hi & DESC_S) {
        if (!(d.hi & DESC_CODE)) {
            cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
        }
        cs = check_direct_code(cpu, sel, &d);
        x86_check_rip(cpu, &cs, off, 0);
        /* The width of the push is the operand size, even into 64-bit code. */
        X86Stack s = x86_stack_current(cpu);

        x86_stack_push(cpu, &s, cpu->segs[SEG_CS].sel, insn->op_size);
        x86_stack_push(cpu, &s, cpu->next_rip, insn->op_size);
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
        commit_cs(cpu, cs, cpu->cpl, off);
        return;
    }
    if (far_task(cpu, sel, &d, TASK_CALL)) {
        return;
    }
    type = desc_type(d.hi);
    if (type == 12 || (type == 4 && !(cpu->efer & EFER_LMA))) {
        CallGate g = read_call_gate(cpu, sel, &d);

        x86_desc_set_bits(cpu, &g.code, DESC_A);
        cs = desc_segment(g.sel, &g.code);
        x86_check_rip(cpu, &cs, g.off, 0);
        if (!desc_is_conforming(g.code.hi) && desc_dpl(g.code.hi) < cpu->cpl) {
            call_inner(cpu, &g, cs);
        } else {
            call_same(cpu, cs, g.off, g.size);
        }
        return;
    }
    cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
}

/* ---- returns --------------------------------------------------------------------------------------- */

/* The code segment that RETF or IRET goes back to, [SDM2 RET]. */
static X86Seg check_return_code(X86Cpu *cpu, uint16_t sel)
{
    unsigned rpl = sel & 3;
    X86Desc d;

    x86_desc_fetch(cpu, sel, &d, VEC_GP, 0);
    if (!desc_is_code(d.hi) || rpl < cpu->cpl ||
        (desc_is_conforming(d.hi) ? desc_dpl(d.hi) > rpl : desc_dpl(d.hi) != rpl)) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, 0));
    }
    check_long_code(cpu, sel, d.hi, VEC_GP);
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
    x86_desc_set_bits(cpu, &d, DESC_A);
    return desc_segment(sel, &d);
}

/* The stack segment for the level of `cs`: null is fine for 64-bit code above ring 3. */
static X86Seg check_return_stack(X86Cpu *cpu, uint16_t sel, const X86Seg *cs)
{
    unsigned rpl = cs->sel & 3;

    if (sel_is_null(sel)) {
        if (x86_seg_is_64(cpu, cs) && rpl != 3 && (sel & 3) == rpl) {
            return (X86Seg){ .sel = sel, .flags = rpl << DESC_DPL_SHIFT };
        }
        cpu_raise(cpu, VEC_GP, 0);
    }
    return x86_check_stack_segment(cpu, sel, rpl, VEC_GP, 0);
}

static uint64_t return_rsp(X86Cpu *cpu, const X86Seg *cs, const X86Seg *ss, uint64_t sp)
{
    if (x86_seg_is_64(cpu, cs)) {
        return sp;
    }
    return ss->flags & DESC_DB ? (uint32_t)sp : (cpu->gpr[R_RSP] & ~0xffffull) | (sp & 0xffff);
}

void sem_retf(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op_size, drop = insn->opcode == 0xca ? (uint16_t)insn->imm : 0;
    X86Stack s = x86_stack_current(cpu);
    uint64_t rip = truncate_ip(x86_stack_pop(cpu, &s, size), size), sp;
    uint16_t sel = (uint16_t)x86_stack_pop(cpu, &s, size), ss_sel;
    X86Seg cs, ss;

    if (!x86_is_protected(cpu)) {
        if (rip > cpu->segs[SEG_CS].limit) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        s.sp = (s.sp + drop) & s.mask;
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
        jump_real(cpu, sel, rip);
        return;
    }
    cs = check_return_code(cpu, sel);
    x86_check_rip(cpu, &cs, rip, 0);
    s.sp = (s.sp + drop) & s.mask;
    if ((sel & 3) == cpu->cpl) {
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
        commit_cs(cpu, cs, cpu->cpl, rip);
        return;
    }
    sp = x86_stack_pop(cpu, &s, size);
    ss_sel = (uint16_t)x86_stack_pop(cpu, &s, size);
    ss = check_return_stack(cpu, ss_sel, &cs);
    cpu->gpr[R_RSP] = return_rsp(cpu, &cs, &ss, sp + drop);
    cpu->segs[SEG_SS] = ss;
    commit_cs(cpu, cs, sel & 3, rip);
    x86_drop_inner_segments(cpu, cpu->cpl);
    x86_update_mode(cpu);
}

/* Which flags an IRET may change at this privilege. */
static uint64_t iret_mask(const X86Cpu *cpu, unsigned size)
{
    unsigned iopl = cpu->eflags >> FLAG_IOPL_SHIFT & 3;
    uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

    if (size != 2) {
        mask |= FLAG_RF | FLAG_AC | FLAG_ID;
        mask |= cpu->cpl == 0 ? FLAG_VIF | FLAG_VIP : 0;
    }
    mask |= cpu->cpl <= iopl ? FLAG_IF : 0;
    mask |= cpu->cpl == 0 ? FLAG_IOPL : 0;
    return mask;
}

static void iret_real(X86Cpu *cpu, unsigned size)
{
    X86Stack s = x86_stack_current(cpu);
    uint64_t rip = truncate_ip(x86_stack_pop(cpu, &s, size), size);
    uint16_t sel = (uint16_t)x86_stack_pop(cpu, &s, size);
    uint64_t flags = x86_stack_pop(cpu, &s, size);
    uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_IF | FLAG_IOPL;

    if (size == 4) {
        mask |= FLAG_RF | FLAG_AC | FLAG_ID;
    }
    if (rip > cpu->segs[SEG_CS].limit) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    x86_change_flags(cpu, flags, mask);
    jump_real(cpu, sel, rip);
}

/* [SDM3B 20.2.3]; with VME a 16-bit IRET below IOPL 3 works on VIF. */
static void iret_vm86(X86Cpu *cpu, unsigned size)
{
    bool iopl3 = (cpu->eflags & FLAG_IOPL) == FLAG_IOPL;
    X86Stack s;
    uint64_t rip, flags, mask;
    uint16_t sel;

    if (!iopl3 && !(size == 2 && (cpu->cr4 & CR4_VME))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    s = x86_stack_current(cpu);
    rip = truncate_ip(x86_stack_pop(cpu, &s, size), size);
    sel = (uint16_t)x86_stack_pop(cpu, &s, size);
    flags = x86_stack_pop(cpu, &s, size);
    mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
    if (iopl3) {
        mask |= FLAG_IF | (size == 4 ? FLAG_RF | FLAG_AC | FLAG_ID : 0);
    } else {
        if ((flags & FLAG_TF) || ((flags & FLAG_IF) && (cpu->eflags & FLAG_VIP))) {
            cpu_raise(cpu, VEC_GP, 0);
        }
        mask |= FLAG_VIF;
        flags = (flags & ~(uint64_t)FLAG_VIF) | (flags & FLAG_IF ? FLAG_VIF : 0);
    }
    if (rip > 0xffff) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    x86_load_segment_real(cpu, SEG_CS, sel);
    x86_change_flags(cpu, flags, mask);
    cpu->next_rip = rip;
    x86_update_mode(cpu);
}

/* From ring 0 into virtual-8086 mode: nine doublewords. */
static void iret_to_vm86(X86Cpu *cpu, X86Stack *s, uint64_t rip, uint16_t cs, uint64_t flags)
{
    static const uint8_t order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    uint64_t sp = x86_stack_pop(cpu, s, 4);
    uint16_t ss = (uint16_t)x86_stack_pop(cpu, s, 4), sel[4];

    for (unsigned i = 0; i < 4; i++) {
        sel[i] = (uint16_t)x86_stack_pop(cpu, s, 4);
    }
    if (rip > 0xffff) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    x86_set_rflags(cpu, flags);
    x86_load_segment_real(cpu, SEG_CS, cs);
    x86_load_segment_real(cpu, SEG_SS, ss);
    for (unsigned i = 0; i < 4; i++) {
        x86_load_segment_real(cpu, order[i], sel[i]);
    }
    cpu->gpr[R_RSP] = (uint32_t)sp;
    cpu->next_rip = (uint16_t)rip;
    x86_update_mode(cpu);
}

static void iret_task(X86Cpu *cpu)
{
    uint16_t sel;
    X86Desc d;

    if (cpu->efer & EFER_LMA) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    sel = x86_sys_ld16(cpu, (uint32_t)cpu->tr.base);        /* back link */
    if (sel & 4) {
        cpu_raise(cpu, VEC_TS, sel_code(sel, 0));
    }
    x86_desc_fetch(cpu, sel, &d, VEC_TS, 0);
    if ((d.hi & DESC_S) || (desc_type(d.hi) != 3 && desc_type(d.hi) != 11)) {
        cpu_raise(cpu, VEC_TS, sel_code(sel, 0));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, 0));
    }
    x86_task_switch(cpu, sel, &d, TASK_IRET, cpu->next_rip, false, 0, 0);
}

void sem_iret(X86Cpu *cpu, const Insn *insn)
{
    unsigned size = insn->op_size;
    X86Stack s;
    uint64_t rip, flags, sp, mask;
    uint16_t sel, ss_sel;
    unsigned rpl;
    X86Seg cs, ss;

    if (size == 8 && x86_iret_fast(cpu)) {
        return;
    }
    if (!x86_is_protected(cpu)) {
        if (cpu->mode & MODE_VM86) {
            iret_vm86(cpu, size);
        } else {
            iret_real(cpu, size);
        }
        cpu->nmi_blocked = false;
        return;
    }
    if (cpu->eflags & FLAG_NT) {
        iret_task(cpu);
        cpu->nmi_blocked = false;
        return;
    }
    s = x86_stack_current(cpu);
    rip = truncate_ip(x86_stack_pop(cpu, &s, size), size);
    sel = (uint16_t)x86_stack_pop(cpu, &s, size);
    flags = x86_stack_pop(cpu, &s, size);
    if ((flags & FLAG_VM) && size == 4 && cpu->cpl == 0 && !(cpu->efer & EFER_LMA)) {
        iret_to_vm86(cpu, &s, rip, sel, flags);
        cpu->nmi_blocked = false;
        return;
    }
    mask = iret_mask(cpu, size);
    cs = check_return_code(cpu, sel);
    rpl = sel & 3;
    if (rpl != cpu->cpl || (cpu->mode & MODE_CS64)) {
        sp = x86_stack_pop(cpu, &s, size);
        ss_sel = (uint16_t)x86_stack_pop(cpu, &s, size);
        ss = check_return_stack(cpu, ss_sel, &cs);
        x86_check_rip(cpu, &cs, rip, 0);
        cpu->gpr[R_RSP] = size == 2 && !x86_seg_is_64(cpu, &cs)
                              ? (cpu->gpr[R_RSP] & ~0xffffull) | (uint16_t)sp
                              : return_rsp(cpu, &cs, &ss, sp);
        cpu->segs[SEG_SS] = ss;
        x86_change_flags(cpu, flags, mask);
        if (rpl != cpu->cpl) {
            x86_drop_inner_segments(cpu, rpl);
        }
    } else {
        x86_check_rip(cpu, &cs, rip, 0);
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
        x86_change_flags(cpu, flags, mask);
    }
    cpu->nmi_blocked = false;
    commit_cs(cpu, cs, rpl, rip);
}

/* ---- fast system calls ------------------------------------------------------------------------------ */

static X86Seg flat_code(uint16_t sel, unsigned dpl, bool is64)
{
    return (X86Seg){ .sel = sel, .limit = 0xffffffff,
                     .flags = DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_G |
                              dpl << DESC_DPL_SHIFT | (is64 ? DESC_L : DESC_DB) };
}

static X86Seg flat_stack(uint16_t sel, unsigned dpl)
{
    return (X86Seg){ .sel = sel, .limit = 0xffffffff,
                     .flags = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G | DESC_DB |
                              dpl << DESC_DPL_SHIFT };
}

static void fast_transfer(X86Cpu *cpu, X86Seg cs, X86Seg ss, unsigned cpl, uint64_t rip)
{
    cpu->segs[SEG_CS] = cs;
    cpu->segs[SEG_SS] = ss;
    cpu->cpl = cpl;
    cpu->next_rip = rip;
    x86_update_mode(cpu);
}

void sem_sysenter(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel = cpu->msrs.sysenter_cs & 0xfffc;
    bool lma = cpu->efer & EFER_LMA;

    if (!sel) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    x86_change_flags(cpu, 0, FLAG_VM | FLAG_IF | FLAG_RF);
    cpu->gpr[R_RSP] = lma ? cpu->msrs.sysenter_esp : (uint32_t)cpu->msrs.sysenter_esp;
    fast_transfer(cpu, flat_code(sel, 0, lma), flat_stack(sel + 8, 0), 0,
                  lma ? cpu->msrs.sysenter_eip : (uint32_t)cpu->msrs.sysenter_eip);
}

void sem_sysexit(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel = cpu->msrs.sysenter_cs & 0xfffc;
    bool to64 = insn->op_size == 8;
    uint64_t rip = cpu->gpr[R_RDX], rsp = cpu->gpr[R_RCX];

    if (!sel) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (to64) {
        if (!x86_is_canonical(cpu, rip) || !x86_is_canonical(cpu, rsp)) {
            cpu_raise(cpu, VEC_GP, 0);
        }
    } else {
        rip = (uint32_t)rip;
        rsp = (uint32_t)rsp;
    }
    cpu->gpr[R_RSP] = rsp;
    fast_transfer(cpu, flat_code((sel + (to64 ? 32 : 16)) | 3, 3, to64),
                  flat_stack((sel + (to64 ? 40 : 24)) | 3, 3), 3, rip);
}

void sem_syscall(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel = cpu->msrs.star >> 32 & 0xfffc;

    if (!(cpu->efer & EFER_SCE)) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    if (cpu->efer & EFER_LMA) {
        bool from64 = cpu->mode & MODE_CS64;

        cpu->gpr[R_RCX] = cpu->next_rip;
        cpu->gpr[R_R11] = x86_rflags(cpu) & ~(uint64_t)FLAG_RF;
        x86_change_flags(cpu, 0, (uint32_t)cpu->msrs.fmask | FLAG_RF);
        fast_transfer(cpu, flat_code(sel, 0, true), flat_stack(sel + 8, 0), 0,
                      from64 ? cpu->msrs.lstar : cpu->msrs.cstar);
    } else {
        cpu->gpr[R_RCX] = (uint32_t)cpu->next_rip;
        x86_change_flags(cpu, 0, FLAG_VM | FLAG_IF | FLAG_RF);
        fast_transfer(cpu, flat_code(sel, 0, false), flat_stack(sel + 8, 0), 0,
                      (uint32_t)cpu->msrs.star);
    }
}

void sem_sysret(X86Cpu *cpu, const Insn *insn)
{
    uint16_t sel = cpu->msrs.star >> 48;
    bool to64 = insn->op_size == 8;
    uint64_t rip = cpu->gpr[R_RCX];

    if (!(cpu->efer & EFER_SCE)) {
        cpu_raise(cpu, VEC_UD, 0);
    }
    if (to64 && !x86_is_canonical(cpu, rip)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (cpu->efer & EFER_LMA) {
        x86_set_rflags(cpu, (cpu->gpr[R_R11] & 0x3c7fd7) & ~(uint64_t)(FLAG_RF | FLAG_VM));
    } else {
        x86_change_flags(cpu, FLAG_IF, FLAG_IF);
    }
    fast_transfer(cpu, flat_code((to64 ? sel + 16 : sel) | 3, 3, to64), flat_stack((sel + 8) | 3, 3),
                  3, to64 ? rip : (uint32_t)rip);
}
