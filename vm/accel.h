/* SPDX-License-Identifier: MIT */
/*
 * Accelerators: what executes guest code.  A row per kind ("tcg", "kvm", "qtest"), found by
 * name from -accel.  Properties of the row's object are the accelerator's options
 * (thread=, tb-size=, kernel-irqchip=, x-opt-NAME=).
 */
#ifndef VM_ACCEL_H
#define VM_ACCEL_H

#include "vm/cpu.h"

/* Interrupt messages that the kernel sends whenever an eventfd is signalled, by any thread and without the
 * machine lock, under which these are called. */
typedef struct AccelIrqfds {
    int (*add)(Vm *vm, uint64_t address, uint32_t data, int fd, GError **error);   /* id, or -1 */
    void (*update)(Vm *vm, int id, uint64_t address, uint32_t data);
    void (*remove)(Vm *vm, int id, int fd);
} AccelIrqfds;

typedef struct AccelType {
    OBJECT_TYPE_FIELDS        /* name is "<accel>-accel" */
    const char *accel;        /* "tcg" */
    /* Whether it can work on this host; the error says why not and what to do. */
    bool (*probe)(GError **error);
    /* Before the board is built. */
    bool (*init_vm)(Accel *accel, Vm *vm, GError **error);
    /* On the vCPU's thread, before it runs; the vCPU's registers are at reset. */
    bool (*cpu_init)(Cpu *cpu, GError **error);
    /* Runs guest code until exit_request is set (and clears it), the vCPU halts (sets
     * cpu->halted), or something stops the VM.  On the vCPU's thread, without the machine lock. */
    void (*cpu_run)(Cpu *cpu);
    /* Makes cpu_run return soon; any thread. */
    void (*cpu_kick)(Cpu *cpu);
    /* Makes a vCPU that runs guest code look at has_work() again, without a return from cpu_run; any
     * thread.  NULL or false: it takes a kick. */
    bool (*cpu_wake)(Cpu *cpu);
    void (*cpu_destroy)(Cpu *cpu);
    /* Copy between the architecture's state struct and where the accelerator keeps it (KVM); NULL
     * where the struct is the truth.  On the vCPU's thread; put before any vCPU goes on after all of
     * them were stopped. */
    void (*cpu_get_state)(Cpu *cpu);
    void (*cpu_put_state)(Cpu *cpu);
    /* The CPU feature words (the architecture's, in its order) it can offer to guests; NULL: what
     * the software engines can.  And what its warnings call it. */
    void (*features)(Accel *accel, uint32_t *words);
    const char *cpu_model_name;
    /* Interrupt controllers in the kernel (KVM): boards ask before they make their own. */
    bool (*has_kernel_irqchip)(Accel *accel);
    /* Writes that an eventfd waits for (memory_region_add_eventfd()) need no exit from the guest: whoever
     * could as well take them where they are made, asks. */
    bool kernel_eventfds;
    /* NULL, or returns NULL: there are none. */
    const AccelIrqfds *(*irqfds)(Accel *accel);
    bool (*insert_breakpoint)(Cpu *cpu, uint64_t addr, uint64_t len, int type);
    bool (*remove_breakpoint)(Cpu *cpu, uint64_t addr, uint64_t len, int type);
    /* `info jit` and query-stats text. */
    void (*info)(Accel *accel, GString *out);
} AccelType;

struct Accel {
    Object obj;
    Vm *vm;
};

#define ACCEL_TYPE(id, ...)                                                                \
    static const AccelType id##_accel_type = { __VA_ARGS__ };                              \
    TYPE_ROW(id##_accel, &id##_accel_type, "accel")

static inline const AccelType *accel_type(const Accel *accel)
{
    return (const AccelType *)(const void *)accel->obj.type;
}

const AccelType *accel_find(const char *name, GError **error);

#endif
