/* SPDX-License-Identifier: MIT */
/*
 * X86VmBus: a CPU's surroundings in a real VM: guest memory and ports by vm/memory.h, and the
 * interrupt controller's calls, which the board fills in (X86Bus rows other than memory).
 * One per CPU; its X86Bus is cpu->x86->bus, and it is cpu->x86->bus_opaque.
 * Thread rule: the vCPU's thread, except x86_vm_bus_init/clear (machine lock).
 */
#ifndef TARGET_X86_VM_BUS_H
#define TARGET_X86_VM_BUS_H

#include "target-x86/bus.h"
#include "vm/vm.h"

typedef struct X86VmBus {
    X86Bus ops;               /* the board adds intr_ack, cr8_*, apic_msr_* before realize */
    Vm *vm;
    X86Cpu *x86;
    void *board;              /* of the board's hooks: the local APIC */
    void *board_data;         /* and what it shares among CPUs */
    MemoryListener memory_listener, smm_listener;
    struct X86VmBus *next;    /* of all CPUs */
} X86VmBus;

void x86_vm_bus_init(X86VmBus *bus, Vm *vm, X86Cpu *x86);
void x86_vm_bus_clear(X86VmBus *bus);

/* The VM's map of decoded code, made at first use; DMA and other CPUs' stores report to it. */
X86CodeMap *x86_vm_code_map(Vm *vm);

#endif
