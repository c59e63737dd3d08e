/* SPDX-License-Identifier: MIT */
/* What mmu.c and tlb_contexts.c share.  Locking: the vCPU's thread. */
#ifndef TARGET_X86_MMU_INT_H
#define TARGET_X86_MMU_INT_H

#include "target-x86/mmu.h"

/* PAGE becomes the entry of its set; its tags are opened as far as its rights and the code map allow. */
const X86TlbPhys *x86_tlb_open(X86Cpu *cpu, X86MmuIdx idx, const X86TlbPhys *page);

#endif
