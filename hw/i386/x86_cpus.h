/* SPDX-License-Identifier: MIT */
/*
 * The CPUs of a PC with their local APICs: what the boards share.
 * Thread rule: machine lock; the hooks into the CPUs run on vCPU threads.
 */
#ifndef HW_I386_X86_CPUS_H
#define HW_I386_X86_CPUS_H

#include "hw/intc/apic.h"
#include "vm/machine.h"

typedef struct X86Cpus {
    Vm *vm;
    ApicBus apics;
    uint32_t *apic_ids;       /* by CPU index, max_cpus of them */
    IrqPin ferr;              /* IRQ 13 */
    /* The time stamp of all CPUs, to which each adds its own tsc_offset: it stands still while the
     * virtual clock does, or guests would find one of the two wrong after `stop` and `cont`.
     * Written while no CPU runs.  KVM keeps its own, which never stops. */
    bool tsc_runs;
    uint64_t tsc_base;        /* runs: RDTSC + base; else the value */
    uint64_t rate_tsc;        /* one reading of both at creation: what gives the rate */
    int64_t rate_ns;
} X86Cpus;

/* Makes machine->smp.cpus CPUs of machine->cpu_type. */
bool x86_cpus_create(X86Cpus *cpus, Machine *machine, IrqPin ferr, GError **error);

/* Ends for lines of the board. */
IrqPin x86_cpus_a20_pin(X86Cpus *cpus);       /* high: A20 passes */
IrqPin x86_cpus_smi_pin(X86Cpus *cpus);       /* rising edge: SMI to the first CPU */

#endif
