/* SPDX-License-Identifier: MIT */
/*
 * What debuggers and monitors want of a CPU: its registers (dump.c), page tables, instructions.
 * Nothing here changes the guest or reads devices: tables outside RAM count as empty.
 * Locking: the CPU is at a safe point.
 */
#ifndef TARGET_X86_INSPECT_H
#define TARGET_X86_INSPECT_H

#include "target-x86/cpu.h"

/* `info registers`: vectors as wide as XCR0 has them on. */
void x86_dump(const X86Cpu *cpu, GString *out);

/* `info tlb`: a line a page, "va: pa XGPDACTUW"; RANGES, `info mem`: a line a stretch of equal
 * rights, "first-end length urw".  A guest can make tables without end: the list is cut off. */
void x86_list_pages(X86Cpu *cpu, bool ranges, GString *out);

/* Appends the instruction at VA, in the CPU's present mode, of which BYTES holds LEN; how many it
 * has.  What is no instruction is shown as a byte. */
unsigned x86_disassemble(X86Cpu *cpu, uint64_t va, const uint8_t *bytes, unsigned len,
                         GString *out);

#endif
