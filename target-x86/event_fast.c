/* SPDX-License-Identifier: MIT */
/*
 * Interrupts, exceptions and IRET as 64-bit kernels have them, in one go: gates to 64-bit code of CPL 0, flat
 * descriptors that have been used before, frames in one page, all of it in the TLB.  Whatever is different is left,
 * with nothing changed, to interrupt.c and sem_far.c, which do the same for every case.
 * Spec: [SDM3A 6.14], [SDM2 IRET].
 * Locking: the vCPU's thread.
 */
#include "target-x86/segment.h"

enum {
    CODE64 = DESC_P | DESC_S | DESC_CODE | DESC_L | DESC_A,
    CODE64_MASK = CODE64 | DESC_C | DESC_DB | DESC_DPL,
    STACK = DESC_P | DESC_S | DESC_W | DESC_A,
    STACK_MASK = STACK | DESC_CODE | DESC_DPL,
};

static bool load_sys64(X86Cpu *cpu, uint64_t va, uint64_t *value)
{
    const uint8_t *host = x86_tlb_read(cpu, va, 8, X86_MMU_KERNEL);

    if (G_LIKELY(host)) {
        memcpy(value, host, 8);
    }
    return host;
}

/* The segment of SEL, if its flags under MASK are those WANTED. */
static bool find_segment(X86Cpu *cpu, uint16_t sel, uint32_t mask, uint32_t wanted, X86Seg *seg)
{
    uint64_t raw;
    X86Desc d;

    if ((sel & 4) || sel_is_null(sel) || (sel | 7u) > cpu->gdt.limit ||
        !load_sys64(cpu, cpu->gdt.base + (sel & ~7u), &raw) || (raw >> 32 & mask) != wanted) {
        return false;
    }
    d.lo = (uint32_t)raw;
    d.hi = raw >> 32;
    *seg = desc_segment(sel, &d);
    return true;
}

/* Where the frame goes, before it is aligned. */
static bool find_stack(X86Cpu *cpu, unsigned ist, uint64_t *sp)
{
    uint32_t at = ist ? 0x1c + 8 * ist : 4;

    if (!ist && !cpu->cpl) {
        *sp = cpu->gpr[R_RSP];
        return true;
    }
    return (cpu->tr.flags & DESC_P) && at + 7 <= cpu->tr.limit && load_sys64(cpu, cpu->tr.base + at, sp);
}

bool x86_deliver_fast(X86Cpu *cpu, const X86Event *e, uint64_t flags, uint64_t return_rip)
{
    uint32_t at = e->vector * 16;
    uint64_t low, high, sp, rip, frame[6];
    unsigned words = e->has_code ? 6 : 5;
    uint8_t *host;
    X86Seg cs;

    if (cpu->plain_events || !(cpu->mode & MODE_LMA) || at + 15 > cpu->idt.limit || !load_sys64(cpu, cpu->idt.base + at, &low) ||
        !load_sys64(cpu, cpu->idt.base + at + 8, &high)) {
        return false;
    }
    /* Present, an interrupt or trap gate; INT n has its own privilege. */
    if ((low >> 32 & (DESC_P | DESC_S | 14 << DESC_TYPE_SHIFT)) != (DESC_P | 14 << DESC_TYPE_SHIFT) ||
        (e->soft && desc_dpl(low >> 32) < cpu->cpl)) {
        return false;
    }
    rip = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
    if (!find_segment(cpu, low >> 16 & 0xffff, CODE64_MASK, CODE64, &cs) ||
        !find_stack(cpu, low >> 32 & 7, &sp) || !x86_is_canonical(cpu, sp) || !x86_is_canonical(cpu, rip)) {
        return false;
    }
    sp = (sp & ~15ull) - 8 * words;
    host = x86_tlb_write(cpu, sp, 8 * words, X86_MMU_KERNEL);
    if (!host) {
        return false;
    }
    frame[0] = e->code;
    frame[1] = return_rip;
    frame[2] = cpu->segs[SEG_CS].sel;
    frame[3] = flags;
    frame[4] = cpu->gpr[R_RSP];
    frame[5] = cpu->segs[SEG_SS].sel;
    for (unsigned i = words; i-- > 0;) {
        __atomic_store_n((uint64_t *)(void *)host + i, frame[6 - words + i], __ATOMIC_RELAXED);
    }
    if (cpu->cpl) {
        cpu->segs[SEG_SS] = (X86Seg){ 0 };
    }
    cs.sel &= ~3;
    cpu->segs[SEG_CS] = cs;
    cpu->cpl = 0;
    cpu->gpr[R_RSP] = sp;
    cpu->eflags &= ~(uint32_t)(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM | (low >> 40 & 1 ? 0 : FLAG_IF));
    cpu->rip = rip;
    return true;
}

bool x86_iret_fast(X86Cpu *cpu)
{
    const uint64_t known = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID | FLAG_VIF |
                           FLAG_VIP | FLAG_IF | FLAG_IOPL;
    const uint8_t *host;
    uint64_t frame[5];
    X86Seg cs, ss;
    unsigned rpl;

    if (cpu->plain_events || (cpu->mode & (MODE_CS64 | MODE_CPL)) != MODE_CS64 || (cpu->eflags & FLAG_NT)) {
        return false;
    }
    host = x86_tlb_read(cpu, cpu->gpr[R_RSP], sizeof(frame), cpu->mmu_idx);
    if (!host) {
        return false;
    }
    memcpy(frame, host, sizeof(frame));
    rpl = frame[1] & 3;
    if (!find_segment(cpu, (uint16_t)frame[1], CODE64_MASK, CODE64 | rpl << DESC_DPL_SHIFT, &cs) ||
        !x86_is_canonical(cpu, frame[0])) {
        return false;
    }
    if (!rpl && sel_is_null((uint16_t)frame[4])) {
        if (frame[4] & 3) {
            return false;
        }
        ss = (X86Seg){ 0 };
    } else if ((frame[4] & 3) != rpl ||
               !find_segment(cpu, (uint16_t)frame[4], STACK_MASK, STACK | rpl << DESC_DPL_SHIFT, &ss)) {
        return false;
    }
    cpu->segs[SEG_SS] = ss;
    cpu->segs[SEG_CS] = cs;
    cpu->gpr[R_RSP] = frame[3];
    x86_change_flags(cpu, frame[2], known);
    if (rpl) {
        x86_drop_inner_segments(cpu, rpl);
    }
    cpu->cpl = rpl;
    cpu->nmi_blocked = false;
    cpu->next_rip = frame[0];
    x86_update_mode(cpu);
    return true;
}
