/* SPDX-License-Identifier: MIT */
/*
 * Inside the interpreter: blocks, and the contract of RunFn handlers.
 *
 * A handler runs its instruction and calls the next one's handler in tail position; the last
 * one of a block stores cpu->rip and returns to the loop.  Handlers do not store cpu->rip: it is
 * block_rip + insn->off.  One that meets anything unusual (TLB miss, odd segment) has changed
 * nothing and hands the whole instruction to interp_run_sem().
 */
#ifndef TARGET_X86_INTERP_INT_H
#define TARGET_X86_INTERP_INT_H

#include "target-x86/interp.h"
#include "target-x86/mem.h"

/* Generic handlers: set rip and next_rip, call insn->sem. */
void interp_run_sem(X86Cpu *cpu, const Insn *insn);
/* The specialised handler for a decoded instruction, or NULL. */
RunFn *interp_pick_fast(const Insn *insn, uint32_t mode);

static inline void interp_next(X86Cpu *cpu, const Insn *insn)
{
    insn[1].run(cpu, insn + 1);
}

/* interp_log.c: -d exec and cpu before a block runs. */
void interp_log_run(X86Cpu *cpu);

#endif
