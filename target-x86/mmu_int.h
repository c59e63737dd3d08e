/* SPDX-License-Identifier: MIT */
/*
 * What page walks (mmu.c), the TLB (tlb.c, tlb_contexts.c), linear ranges (ranges.c) and control registers
 * (control_regs.c) know of each other.  Locking: the vCPU's thread.
 */
#ifndef TARGET_X86_MMU_INT_H
#define TARGET_X86_MMU_INT_H

#include "target-x86/mmu.h"

/* Bits that a physical address may have. */
static inline uint64_t x86_phys_limit_mask(const X86Cpu *cpu)
{
    unsigned bits = cpu->phys_bits ? cpu->phys_bits : 40;

    return BIT64(MIN(bits, 52)) - 1;
}

/* PAGE becomes the entry of its set; its tags are opened as far as its rights and the code map allow. */
const X86TlbPhys *x86_tlb_open(X86Cpu *cpu, X86MmuIdx idx, const X86TlbPhys *page);

typedef struct X86TlbPage {
    X86TlbPhys page;
    X86MmuIdx idx;
} X86TlbPage;

/* The same for COUNT pages, at less than half the price. */
void x86_tlb_open_many(X86Cpu *cpu, const X86TlbPage *pages, unsigned count);
/* The set holds no page any more. */
void x86_tlb_drop(X86Cpu *cpu, unsigned idx, unsigned set);

/* Jumps of translated code to where code lies, for CPL 0-2 (CLASS 0) or CPL 3 (1), are looked up anew. */
void x86_code_jumps_forget(X86Cpu *cpu, unsigned class);

/* A large page, or a supervisor's 4 KiB pages of one whole table that map memory as a large page would. */
typedef struct X86LinearPiece {
    uint64_t va, size;
    uint8_t *host;              /* all of it is RAM, one behind the other */
    bool global;
} X86LinearPiece;

/* The one that VA is in, if it may be read in context IDX.  Marks nothing: false, too, where an A bit is clear. */
bool x86_mmu_linear_piece(X86Cpu *cpu, uint64_t va, X86MmuIdx idx, X86LinearPiece *out);

#endif
