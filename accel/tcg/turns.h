/* SPDX-License-Identifier: MIT */
/*
 * Taking turns (-accel tcg,thread=single) and time by instructions (-icount).
 *
 * Each vCPU keeps its host thread, but only the one whose turn it is runs guest code; the others wait.
 * Without -icount a turn ends after a few milliseconds when somebody waits; with it after TURN_INSNS
 * instructions, and the next one is chosen by the state of the vCPUs alone, never by which thread
 * comes first: two runs of a guest that hears nothing from outside are the same.  HLT and PAUSE end a turn.
 *
 * Virtual time with -icount is (instructions of all vCPUs) << shift, plus what was skipped while all of them
 * were halted.  A turn stops exactly at the next deadline of the virtual clock; the main loop fires the timers
 * meanwhile (they are its own), then the turn goes on.
 *
 *     if (turns_take(t, cpu)) {
 *         exit = tcg_run(x86);
 *         turns_pass(t, cpu, exit);
 *     }
 *
 * Thread rule: `lock` guards owner, taken; it is a leaf but for the request and kick of a vCPU.  The rest belongs to
 * the owner, or is atomic.  Not modelled: time that goes on while the guest is idle (it comes at the end of the wait).
 */
#ifndef ACCEL_TCG_TURNS_H
#define ACCEL_TCG_TURNS_H

#include "accel/tcg/lockstep.h"
#include "target-x86/cpu.h"
#include "vm/cpu.h"

#define ICOUNT_SHIFT_MAX 10
#define ICOUNT_AUTO (-1)

typedef struct Turns Turns;

/* shift: ICOUNT_AUTO, 0 to ICOUNT_SHIFT_MAX; or ICOUNT_OFF.  With sleep, halted vCPUs wait for the host's clock. */
#define ICOUNT_OFF (-2)
Turns *turns_new(Vm *vm, int shift, bool sleep);
/* With -icount, before the first turn; stays the caller's. */
void turns_set_lockstep(Turns *t, Lockstep *lockstep);

/* The vCPU's thread, machine lock held. */
void turns_add(Turns *t, Cpu *cpu);
void turns_remove(Turns *t, Cpu *cpu);

/* Waits for the turn of `cpu` and gets it ready; false: it has been kicked. */
bool turns_take(Turns *t, Cpu *cpu);
/* After tcg_run(); what it says about `halted` has been stored. */
void turns_pass(Turns *t, Cpu *cpu, X86Exit exit);
/* Any thread: `cpu` has been asked for something. */
void turns_wake(Turns *t);

/* For `info jit`. */
void turns_info(Turns *t, GString *out);

#endif
