/* SPDX-License-Identifier: MIT */
/*
 * A virtual CPU as the machine sees it: a device with a thread, an accelerator and requests.
 * The architecture's state is behind it: target-x86/x86_cpu.h.
 *
 * Threads: one host thread per vCPU (AccelOps.run on it).  Everything that wants something of a
 * vCPU sets a request and kicks it, or queues work with cpu_run_on().  Registers are touched by
 * the vCPU's own thread, or by others only while it is stopped or inside cpu_run_on().
 */
#ifndef VM_CPU_H
#define VM_CPU_H

#include "vm/vm.h"

struct AccelOps;

typedef struct CpuClass {
    DeviceType dev;           /* first */
    /* Architecture hooks. */
    void (*reset)(Cpu *cpu);
    bool (*has_work)(Cpu *cpu);           /* halted, but something is pending */
    uint64_t (*pc)(Cpu *cpu);
    /* Text for `info registers` and -d cpu. */
    void (*dump)(Cpu *cpu, GString *out);
    /* Guest virtual to physical without side effects; false: not mapped. */
    bool (*translate)(Cpu *cpu, uint64_t va, gpa_t *pa);
    /* Text for `info tlb` and `info mem` (RANGES): what the page tables map. */
    void (*list_pages)(Cpu *cpu, bool ranges, GString *out);
    /* The instruction at VA out of BYTES; its length, at least 1. */
    unsigned (*disassemble)(Cpu *cpu, uint64_t va, const uint8_t *bytes, unsigned len,
                            GString *out);
    const char *arch_name;                /* "x86_64" */
} CpuClass;

struct Cpu {
    Device dev;
    unsigned index;
    int thread_id;            /* host tid once the thread runs */
    void *accel_data;         /* the accelerator's */
    /* Any thread sets these with atomics, then cpu_kick(). */
    int exit_request;         /* leave the guest as soon as possible */
    int stop_request;
    bool stopped;             /* machine lock; true at a safe point, no guest code runs */
    bool created;
    int halted;               /* waits for has_work(); atomics */
    bool singlestep;
    GQueue work;              /* of cpu_run_on(); machine lock */
    Mutex wake_lock;          /* rank LOCK_RANK_CPU; protects woken */
    Cond wake_cond;
    bool woken;
    bool unplug;              /* the thread is to end */
    pthread_t thread;
};

static inline const CpuClass *cpu_class(const Cpu *cpu)
{
    return (const CpuClass *)(const void *)cpu->dev.obj.type;
}

/* For the architecture's init and finalize hooks. */
void cpu_init(Cpu *cpu);
void cpu_clear(Cpu *cpu);
/* Adds it to vm->cpus and starts the thread; returns once it waits for the VM to run.  Machine
 * lock held; false when the accelerator refuses. */
bool cpu_start(Cpu *cpu, GError **error);
/* Ends the thread and takes the vCPU out of vm->cpus.  Machine lock held; drops it meanwhile. */
void cpu_stop(Cpu *cpu);
/* Makes a running vCPU leave guest code soon; wakes a halted one.  Any thread; not for signal
 * handlers. */
void cpu_kick(Cpu *cpu);
/* The same for what has_work() tells, such as an interrupt: where the accelerator can do it, the vCPU goes on without
 * a visit to the safe point.  The same callers; not for the vCPU itself. */
void cpu_wake(Cpu *cpu);
/* Runs FN on the vCPU's thread at a safe point and waits for it (from the vCPU itself: at once).
 * Called with the machine lock held; drops it while waiting. */
void cpu_run_on(Cpu *cpu, void (*fn)(Cpu *cpu, void *opaque), void *opaque);
/* As above without waiting. */
void cpu_run_on_async(Cpu *cpu, void (*fn)(Cpu *cpu, void *opaque), void *opaque);
/* On the vCPU's own thread, without the machine lock: waits for a kick, at most NS nanoseconds.  What
 * the kick was for must be looked at afterwards. */
void cpu_doze(Cpu *cpu, int64_t ns);
/* All vCPUs to a safe point / let them go on. */
void cpus_pause(Vm *vm);
void cpus_resume(Vm *vm);
/* The calling thread's vCPU, or NULL. */
Cpu *cpu_current(void);

#endif
