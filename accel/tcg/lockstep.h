/* SPDX-License-Identifier: MIT */
/*
 * Lockstep: hashes of a machine's state at exact instruction counts, one line each in a file, so that two
 * runs with -icount can be compared: translator and interpreter, or one of them with and without a switch.
 * scripts/lockstep.py makes both runs and finds the first instruction after which they differ.
 *
 *     -icount shift=2,sleep=off -accel tcg,x-hash-file=F,x-hash-every=N[,x-hash-from=N][,x-hash-to=N][,x-hash-detail=on]
 *
 * A line: the count, registers of each CPU, memory.  With detail, registers and the next instruction in words,
 * and what has changed in memory since the line before.  Behind the last line that is not above x-hash-to
 * stands "end", and the process exits.
 * All of a CPU that the guest can see is hashed, but for what QEMU's TCG does not keep either: FIP, FDP, FOP.
 * Two engines agree on flags only where all are kept: x-opt-dead-flags=off.
 *
 * Thread rule: the vCPU's thread whose turn it is (turns.h).
 */
#ifndef ACCEL_TCG_LOCKSTEP_H
#define ACCEL_TCG_LOCKSTEP_H

#include "vm/cpu.h"

typedef struct Lockstep Lockstep;

typedef struct LockstepOptions {
    char *file;                 /* NULL: none of this */
    uint64_t every, from, to;
    bool detail;
} LockstepOptions;

/* Stays until the process ends. */
Lockstep *lockstep_new(Vm *vm, const LockstepOptions *options, GError **error);
/* The next count to stop at. */
uint64_t lockstep_next(const Lockstep *s);
/* All instructions up to DONE have been executed, none behind it. */
void lockstep_at(Lockstep *s, uint64_t done, GPtrArray *cpus);

#endif
