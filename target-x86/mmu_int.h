/* SPDX-License-Identifier: MIT */
/* What mmu.c and tlb_contexts.c share.  Locking: the vCPU's thread. */
#ifndef TARGET_X86_MMU_INT_H
#define TARGET_X86_MMU_INT_H

#include "target-x86/mmu.h"

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

#endif
