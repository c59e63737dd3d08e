/* SPDX-License-Identifier: MIT */
/*
 * Hardware task switches through 16-bit and 32-bit TSSs.  Spec: [SDM3A 7.2, 7.3].
 * Every byte of both TSSs that is touched is probed before the first is written, so a fault up to
 * then belongs to the old task; after the commit faults are the new task's, as the SDM has it.
 * Each call is one switch: a chain of them is a chain of instructions, which can be interrupted.
 * Locking: the vCPU's thread.
 */
#include "target-x86/segment.h"

/* Offsets in the two formats; 0: not there. */
typedef struct TssLayout {
    unsigned size, width, limit;        /* bytes saved, of a register, least limit */
    unsigned cr3, ip, flags, regs, segs, seg_step, ldt, seg_count, trap;
} TssLayout;

static const TssLayout layout16 = {
    .size = 44, .width = 2, .limit = 43, .ip = 14, .flags = 16, .regs = 18, .segs = 34,
    .seg_step = 2, .ldt = 42, .seg_count = 4,
};
static const TssLayout layout32 = {
    .size = 104, .width = 4, .limit = 103, .cr3 = 28, .ip = 32, .flags = 36, .regs = 40,
    .segs = 72, .seg_step = 4, .ldt = 96, .seg_count = 6, .trap = 100,
};

static uint32_t tss_load(X86Cpu *cpu, uint64_t base, unsigned at, unsigned width)
{
    return width == 4 ? x86_sys_ld32(cpu, (uint32_t)(base + at))
                      : x86_sys_ld16(cpu, (uint32_t)(base + at));
}

static void tss_store(X86Cpu *cpu, uint64_t base, unsigned at, unsigned width, uint32_t value)
{
    if (width == 4) {
        x86_sys_st32(cpu, (uint32_t)(base + at), value);
    } else {
        x86_sys_st16(cpu, (uint32_t)(base + at), (uint16_t)value);
    }
}

/* Faults now if [base, base + len) cannot be accessed: at most two pages. */
static void probe(X86Cpu *cpu, uint64_t base, unsigned len, X86Access access)
{
    uint64_t first = (uint32_t)base, last = (uint32_t)(base + len - 1);

    x86_mmu_fill(cpu, first, access, X86_MMU_KERNEL);
    if ((first ^ last) >> 12) {
        x86_mmu_fill(cpu, last, access, X86_MMU_KERNEL);
    }
}

static void set_busy(X86Cpu *cpu, uint64_t at, bool busy)
{
    uint32_t hi = x86_sys_ld32(cpu, (uint32_t)(at + 4));

    x86_sys_st32(cpu, (uint32_t)(at + 4), busy ? hi | 0x200 : hi & ~0x200u);
}

static void save_old(X86Cpu *cpu, const TssLayout *t, uint64_t base, uint64_t rip, uint32_t flags)
{
    tss_store(cpu, base, t->ip, t->width, (uint32_t)rip);
    tss_store(cpu, base, t->flags, t->width, flags);
    for (unsigned i = 0; i < 8; i++) {
        tss_store(cpu, base, t->regs + i * t->width, t->width, (uint32_t)cpu->gpr[i]);
    }
    for (unsigned i = 0; i < t->seg_count; i++) {
        tss_store(cpu, base, t->segs + i * t->seg_step, 2, cpu->segs[i].sel);
    }
}

/* LDT of the new task; it is a #TS of that task when wrong. */
static void load_ldt(X86Cpu *cpu, uint16_t sel, unsigned ext)
{
    X86Desc d;

    cpu->ldt = (X86Seg){ .sel = sel };
    if (sel_is_null(sel)) {
        return;
    }
    if (sel & 4) {
        cpu_raise(cpu, VEC_TS, sel_code(sel, ext));
    }
    x86_desc_fetch(cpu, sel, &d, VEC_TS, ext);
    if ((d.hi & DESC_S) || desc_type(d.hi) != 2 || !(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_TS, sel_code(sel, ext));
    }
    cpu->ldt = desc_segment(sel, &d);
}

static X86Seg check_task_code(X86Cpu *cpu, uint16_t sel, unsigned ext)
{
    unsigned rpl = sel & 3;
    X86Desc d;

    x86_desc_fetch(cpu, sel, &d, VEC_TS, ext);
    if (!desc_is_code(d.hi) ||
        (desc_is_conforming(d.hi) ? desc_dpl(d.hi) > rpl : desc_dpl(d.hi) != rpl)) {
        cpu_raise(cpu, VEC_TS, sel_code(sel, ext));
    }
    if (!(d.hi & DESC_P)) {
        cpu_raise(cpu, VEC_NP, sel_code(sel, ext));
    }
    x86_desc_set_bits(cpu, &d, DESC_A);
    return desc_segment(sel, &d);
}

static void load_segments(X86Cpu *cpu, const uint16_t sel[SEG_COUNT], uint16_t ldt, unsigned ext)
{
    static const uint8_t data[] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    unsigned cpl = sel[SEG_CS] & 3;

    /* Selectors first: a fault finds them, with unusable caches. */
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        cpu->segs[i] = (X86Seg){ .sel = sel[i] };
    }
    load_ldt(cpu, ldt, ext);
    if (cpu->eflags & FLAG_VM) {
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            x86_load_segment_real(cpu, i, sel[i]);
        }
        return;
    }
    cpu->cpl = cpl;
    cpu->segs[SEG_SS] = x86_check_stack_segment(cpu, sel[SEG_SS], cpl, VEC_TS, ext);
    x86_update_mode(cpu);
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        cpu->segs[data[i]] = x86_check_data_segment(cpu, data[i], sel[data[i]], cpl, VEC_TS, ext);
    }
    cpu->segs[SEG_CS] = check_task_code(cpu, sel[SEG_CS], ext);
}

/* What a TSS holds of a task that does not run. */
typedef struct Task {
    uint32_t ip, flags, regs[8];
    uint16_t segs[SEG_COUNT], ldt;
    uint64_t cr3;
    bool trap;                  /* the T bit */
} Task;

static Task load_task(X86Cpu *cpu, const TssLayout *t, uint64_t base)
{
    Task task = { 0 };

    task.ip = tss_load(cpu, base, t->ip, t->width);
    task.flags = tss_load(cpu, base, t->flags, t->width);
    for (unsigned i = 0; i < 8; i++) {
        task.regs[i] = tss_load(cpu, base, t->regs + i * t->width, t->width);
        if (t->width == 2) {
            task.regs[i] |= 0xffff0000;
        }
    }
    for (unsigned i = 0; i < t->seg_count; i++) {
        task.segs[i] = (uint16_t)tss_load(cpu, base, t->segs + i * t->seg_step, 2);
    }
    task.ldt = (uint16_t)tss_load(cpu, base, t->ldt, 2);
    task.cr3 = t->cr3 ? tss_load(cpu, base, t->cr3, 4) : cpu->cr3;
    task.trap = t->trap && (tss_load(cpu, base, t->trap, 2) & 1);
    return task;
}

/* Everything from here on happens in the new task, faults too. */
static void enter_task(X86Cpu *cpu, const Task *task, const TssLayout *t, unsigned ext)
{
    cpu->cr0 |= CR0_TS;
    if (t->cr3 && (cpu->cr0 & CR0_PG)) {
        cpu->cr3 = task->cr3;
        x86_tlb_flush(cpu, false);
    }
    x86_set_rflags(cpu, task->flags);
    for (unsigned i = 0; i < 8; i++) {
        cpu->gpr[i] = task->regs[i];
    }
    cpu->rip = cpu->next_rip = task->ip;
    cpu->dr[7] &= ~0x155ull;            /* local breakpoints */
    x86_tlb_update_watch(cpu);
    if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && t->cr3 && !x86_load_pdptes(cpu, task->cr3)) {
        cpu_raise(cpu, VEC_TS, sel_code(cpu->tr.sel, ext));
    }
    load_segments(cpu, task->segs, task->ldt, ext);
    x86_update_mode(cpu);
    x86_check_rip(cpu, &cpu->segs[SEG_CS], task->ip, ext);
}

void x86_task_switch(X86Cpu *cpu, uint16_t sel, X86Desc *d, X86TaskSource source, uint64_t rip,
                     bool has_code, uint32_t code, unsigned ext)
{
    const TssLayout *old = desc_type(cpu->tr.flags) & 8 ? &layout32 : &layout16;
    const TssLayout *new = desc_type(d->hi) & 8 ? &layout32 : &layout16;
    uint64_t old_base = cpu->tr.base, base = desc_base(d), old_desc;
    bool nested = source == TASK_CALL || source == TASK_EVENT;
    uint32_t flags = (uint32_t)x86_rflags(cpu);
    uint16_t old_sel = cpu->tr.sel;
    Task task;

    /* Busy and limit, [SDM3A 7.3] steps 3 to 6. */
    if (source != TASK_IRET && (desc_type(d->hi) & 2)) {
        cpu_raise(cpu, VEC_GP, sel_code(sel, ext));
    }
    if (desc_limit(d) < new->limit) {
        cpu_raise(cpu, VEC_TS, sel_code(sel, ext));
    }
    if (!(cpu->tr.flags & DESC_P) || cpu->tr.limit < old->limit) {
        cpu_raise(cpu, VEC_TS, sel_code(old_sel, ext));
    }
    old_desc = cpu->gdt.base + (old_sel & 0xfff8);
    probe(cpu, old_base, old->size, X86_WRITE);
    probe(cpu, base, new->size, nested ? X86_WRITE : X86_READ);
    probe(cpu, old_desc, 8, X86_WRITE);
    probe(cpu, d->at, 8, X86_WRITE);

    task = load_task(cpu, new, base);
    if (source == TASK_JMP || source == TASK_IRET) {
        set_busy(cpu, old_desc, false);
    }
    if (source == TASK_IRET) {
        flags &= ~FLAG_NT;
    }
    save_old(cpu, old, old_base, rip, flags);
    if (nested) {
        tss_store(cpu, base, 0, 2, old_sel);
        task.flags |= FLAG_NT;
    }
    if (source != TASK_IRET) {
        set_busy(cpu, d->at, true);
        d->hi |= 0x200;
    }
    cpu->tr = desc_segment(sel, d);
    cpu->tr.flags |= 0x200;
    enter_task(cpu, &task, new, ext);
    if (has_code) {
        X86Stack s = x86_stack_current(cpu);

        x86_stack_push(cpu, &s, code, new->width);
        cpu->gpr[R_RSP] = x86_stack_rsp(&s, cpu->gpr[R_RSP]);
    }
    if (task.trap) {
        /* Before the first instruction of the new task. */
        cpu->delivering = false;
        cpu_raise_debug(cpu, BIT(15));
    }
}
