/* SPDX-License-Identifier: MIT */
/*
 * Translations of address spaces other than the current one: [SDM3A 4.10] PCIDs.
 *
 * The TLB arrays of X86Cpu, which translated code reads, belong to the current PCID.  A MOV to CR3 that
 * changes the PCID puts what is not global aside (up to so many pages; the rest is forgotten, as
 * hardware may), and brings back what was put aside for the new one unless it is to be flushed.  Jumps and links
 * between pages of user code go with them: x86 code.h, X86Translated.
 *
 *   x86_contexts_enable(cpu, true);             once; without it each CR3 load drops what is not global
 *   x86_contexts_switch(cpu, 1, 2, keep);       MOV to CR3 with PCID 1 before and 2 now
 *
 * Whatever invalidates translations of all PCIDs goes through x86_tlb_flush(cpu, true), which forgets them here.
 * Poisoned tags: an entry that is brought back looks at the code map again.
 * Locking: the vCPU's thread.
 */
#ifndef TARGET_X86_TLB_CONTEXTS_H
#define TARGET_X86_TLB_CONTEXTS_H

#include "target-x86/cpu.h"

void x86_contexts_enable(X86Cpu *cpu, bool enable);
/* Also drops what is current but not global; KEEP: bit 63 of the operand of MOV to CR3. */
void x86_contexts_switch(X86Cpu *cpu, unsigned from, unsigned to, bool keep);
/* What has been put aside for one PCID, or for all. */
void x86_contexts_forget(X86Cpu *cpu, unsigned pcid);
void x86_contexts_forget_all(X86Cpu *cpu);

#endif
