/* SPDX-License-Identifier: MIT */
/*
 * The x86 CPU as a device of the board: a Cpu (thread, requests) with an X86Cpu (registers) in it.
 * Concrete types are "<model>-x86_64-cpu", one for each row of cpu_models.h; the board sets the
 * properties, gives it its surroundings (X86VmBus) and realizes it.
 *
 * Thread rule: machine lock, except where vm/cpu.h says otherwise.
 */
#ifndef TARGET_X86_X86_CPU_H
#define TARGET_X86_X86_CPU_H

#include "target-x86/cpu.h"
#include "target-x86/vm_bus.h"
#include "vm/cpu.h"

#define X86_CPU_TYPE_SUFFIX "-x86_64-cpu"

typedef struct X86CpuDevice {
    Cpu cpu;                  /* first */
    X86Cpu *x86;
    X86VmBus bus;
    struct WireCpu *wire;     /* x86_vmstate.c */
    char *model;              /* of the type name */
    uint32_t apic_id;         /* UINT32_MAX: not set */
    int32_t socket_id, die_id, core_id, thread_id, node_id;
    bool shutdown;            /* after a triple fault: nothing but reset wakes it */
} X86CpuDevice;

static inline X86CpuDevice *x86_cpu_device(Cpu *cpu)
{
    return (X86CpuDevice *)(void *)cpu;
}

/* x86_cpu_props.c: the property table of all CPU types; the features asked for, all told. */
const PropDef *x86_cpu_props(void);
void x86_cpu_wanted(X86CpuDevice *dev, uint32_t words[FEAT_WORDS]);
/* The features that the VM's accelerator can do, of those asked for; once, before realize. */
bool x86_cpu_finish(X86CpuDevice *dev, GError **error);
/* "qemu64" of "qemu64-x86_64-cpu"; the caller frees. */
char *x86_cpu_type_model(const ObjectType *type);

/* Adds the types of all models; before the first look-up of one.  More calls do nothing. */
void x86_cpu_register_types(void);
/*
 * "MODEL,+feat,-feat,prop=value" as -cpu takes it: makes CPU INDEX, not realized.  The caller owns
 * the reference.
 */
X86CpuDevice *x86_cpu_create(Vm *vm, const char *text, unsigned index, uint32_t apic_id,
                             GError **error);

#endif
