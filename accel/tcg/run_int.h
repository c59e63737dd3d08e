/* SPDX-License-Identifier: MIT */
/* What the files that run translated code share.  The vCPU's thread. */
#ifndef ACCEL_TCG_RUN_INT_H
#define ACCEL_TCG_RUN_INT_H

#include "accel/tcg/translator.h"

/* ---- fpu_state.c ---- */

/* The x87 state into cpu->x87, and the host's back to what C expects. */
void tcg_x87_save(X86Cpu *cpu);
/* C has changed them, or may have. */
void tcg_forget_upper(X86Cpu *cpu);
/* What a block with NEEDS must find in host registers. */
void tcg_prepare_state(X86Cpu *cpu, unsigned needs);
/* The semantic function looks at the x87's registers. */
bool tcg_touches_x87(const Insn *insn);
bool tcg_touches_upper(const Insn *insn);

/* ---- run.c ---- */

/* The block at rip, in the flavour of MODE bits, translated if need be; NULL: the interpreter's turn.  May raise. */
TcgBlock *tcg_find(X86Cpu *cpu, uint32_t flavour);
/* The code for cpu->rip, or NULL when there is something else to do first. */
const void *tcg_code_at_rip(X86Cpu *cpu, TcgBlock **found);
/* The same, unless there is a reason to leave. */
const void *tcg_go_on(X86Cpu *cpu);

/* ---- helpers.c ---- */

/* icount: what has been paid for at the entry of a block and is not run. */
void tcg_give_back(X86Cpu *cpu);

#endif
