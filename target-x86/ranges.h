/* SPDX-License-Identifier: MIT */
/*
 * Ranges: runs of large pages (2 MiB, 4 MiB, 1 GiB) that lie one behind the other in linear addresses and in host
 * memory, as in a kernel's map of all memory.  A read that falls into one needs no TLB: one comparison with what
 * does not depend on the address.  Reads only: a store must find out about pages with code.
 * A range is a translation like those of the TLB: whatever drops one of its pages drops it.
 * Locking: the vCPU's thread.
 */
#ifndef TARGET_X86_RANGES_H
#define TARGET_X86_RANGES_H

#include "target-x86/cpu.h"

/* The range VA is in becomes number N of context IDX; false: there is none, the slot stays as it is. */
bool x86_range_fill(X86Cpu *cpu, X86MmuIdx idx, unsigned n, uint64_t va);

/* From tlb.c: with a flush, with INVLPG of VA, with a change of data breakpoints. */
void x86_ranges_forget(X86Cpu *cpu, bool globals_too);
void x86_ranges_forget_page(X86Cpu *cpu, uint64_t va);

#endif
