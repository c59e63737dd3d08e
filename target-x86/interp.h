/* SPDX-License-Identifier: MIT */
/*
 * The interpreter: decodes into blocks that it caches by physical address and mode, and runs them.
 * Complete for every instruction in the tables; it is the oracle for the translator and the fall-back for KVM.
 *
 * Thread rule: the vCPU's own thread.  Another thread stops it by x86_cpu_request(cpu, X86_REQ_EXIT); it is
 * seen at the next block boundary, at the latest after INTERP_BLOCK_MAX instructions or one chunk of `rep`.
 */
#ifndef TARGET_X86_INTERP_H
#define TARGET_X86_INTERP_H

#include "target-x86/cpu.h"

#define INTERP_BLOCK_MAX 64

/* One per CPU; the block cache is private.  cpu->code, if set, must outlive it. */
void interp_init(X86Cpu *cpu);
void interp_clear(X86Cpu *cpu);
/* Forget all decoded blocks (CPUID changed, memory map changed). */
void interp_flush(X86Cpu *cpu);

/* -d in_asm: a block that an engine has decoded at RIP. */
void interp_log_code(X86Cpu *cpu, uint64_t rip, const uint8_t *bytes, unsigned len);

/* Instructions done, those of the block being run included; the vCPU's thread, from a device it accesses, too. */
uint64_t interp_insn_count(const X86Cpu *cpu);

/* Run until there is a reason to return.  Interrupts and exceptions are delivered inside. */
X86Exit interp_run(X86Cpu *cpu);
/* Exactly one instruction, or the delivery of its exception; no external interrupts are taken. */
X86Exit interp_step(X86Cpu *cpu);

/*
 * Parts of interp_run(), for an engine that runs some code itself.  cpu->unwind is set; each may raise.
 */
/* One block at rip, or one instruction with all that TF, RF, breakpoints and shadows ask for. */
void interp_run_next(X86Cpu *cpu);
void interp_run_careful(X86Cpu *cpu);
/* When requests, `stop`, `halted` or `wait_sipi` are set.  False: return *exit to the caller. */
bool interp_attend(X86Cpu *cpu, X86Exit *exit);
/* After UNWIND_EVENT; then delivery of cpu->event: false on a triple fault. */
void interp_unwound(X86Cpu *cpu);
bool interp_deliver(X86Cpu *cpu) G_GNUC_WARN_UNUSED_RESULT;

#endif
