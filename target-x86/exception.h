/* SPDX-License-Identifier: MIT */
/*
 * Raising guest exceptions.  cpu_raise() fills cpu->event and unwinds by siglongjmp to
 * *cpu->unwind; the run loop there delivers it through x86_deliver_event() (interrupt.c).
 *
 * Rules for code that can raise (every semantic function, every memory access):
 *  - Hold no lock, no g_autoptr, no half-made state: nothing is cleaned up.
 *  - cpu->rip still names the faulting instruction, since it only moves when the instruction is
 *    done; registers, flags and segments are therefore written LAST, after the last access that
 *    may fault.  Memory: a write that can fault after an earlier one succeeded is checked first
 *    (x86_probe_write()).  Then the instruction is restartable by construction.
 *  - `rep` strings commit RSI, RDI and RCX after each chunk: the architecture says so.
 */
#ifndef TARGET_X86_EXCEPTION_H
#define TARGET_X86_EXCEPTION_H

#include "target-x86/cpu.h"

/* With an error code where the vector has one (SDM3A table 6-1); `code` is ignored elsewhere. */
G_NORETURN void cpu_raise(X86Cpu *cpu, unsigned vector, uint32_t code);
/* #PF: CR2 is written at delivery. */
G_NORETURN void cpu_raise_page_fault(X86Cpu *cpu, uint64_t va, uint32_t code);
/* #DB with the given bits for DR6, as a trap of the instruction that just ended or as a fault. */
G_NORETURN void cpu_raise_debug(X86Cpu *cpu, uint64_t dr6);
/* INT n, INT3, INTO: a trap, pushes cpu->next_rip. */
G_NORETURN void cpu_raise_soft(X86Cpu *cpu, unsigned vector);

/* What siglongjmp delivers to *cpu->unwind. */
enum { UNWIND_EVENT = 1 };

/*
 * interrupt.c.  Deliver cpu->event through IVT or IDT, contributory double faults included.
 * May raise a further event by cpu_raise() (the caller's loop comes back with it); returns false
 * on a triple fault, with the CPU in shutdown state.
 */
bool x86_deliver_event(X86Cpu *cpu) G_GNUC_WARN_UNUSED_RESULT;
/*
 * interrupt.c.  Called between instructions when cpu->requests has deliverable bits: SMI, INIT,
 * SIPI, NMI, INTR in the architecture's order, honouring IF, shadows and `halted`.  Returns false when
 * a triple fault resulted.
 */
bool x86_service_requests(X86Cpu *cpu) G_GNUC_WARN_UNUSED_RESULT;
/* The part of it for INIT and SIPI alone, which raises nothing. */
void x86_service_startup(X86Cpu *cpu);
/* The chain of exceptions behind the latest delivery, one readable block, with the descriptor or
 * page walk that failed in words: for the log when a triple fault stops or resets the guest. */
void x86_describe_faults(X86Cpu *cpu, GString *out);
/* INT n of virtual-8086 mode under CR4.VME that the TSS leaves to the 8086 program: done, true. */
bool x86_redirect_int(X86Cpu *cpu, unsigned vector);
/* Whether x86_service_requests() would do something now. */
bool x86_has_work(const X86Cpu *cpu);

#endif
