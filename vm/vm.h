/* SPDX-License-Identifier: MIT */
/*
 * One virtual machine: what devices, cpus and accelerators find each other by.
 *
 * There is no global current machine: a Device has dev->vm, a Cpu has cpu->vm.
 * Thread rule: fields are set up before the vCPUs start, then constant, except where noted.
 *
 * The machine lock protects every device and the run state.  Lock order: machine lock, then
 * anything inside a subsystem.  A vCPU thread holds it only while it handles an exit.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "base/thread.h"
#include "vm/clock.h"
#include "vm/device.h"
#include "vm/memory.h"
#include "vm/object.h"

typedef struct Cpu Cpu;
typedef struct Accel Accel;
typedef struct Machine Machine;

typedef enum RunState {
    RUN_STATE_PRELAUNCH, RUN_STATE_RUNNING, RUN_STATE_PAUSED, RUN_STATE_SHUTDOWN,
    RUN_STATE_GUEST_PANICKED, RUN_STATE_INTERNAL_ERROR, RUN_STATE_IO_ERROR, RUN_STATE_DEBUG,
    RUN_STATE_SUSPENDED, RUN_STATE_WATCHDOG, RUN_STATE_SAVE_VM, RUN_STATE_RESTORE_VM,
    RUN_STATE_INMIGRATE, RUN_STATE_POSTMIGRATE, RUN_STATE_FINISH_MIGRATE,
} RunState;

/* QAPI ShutdownCause, same order. */
typedef enum ShutdownCause {
    SHUTDOWN_CAUSE_NONE, SHUTDOWN_CAUSE_HOST_ERROR, SHUTDOWN_CAUSE_HOST_QMP_QUIT,
    SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET, SHUTDOWN_CAUSE_HOST_SIGNAL, SHUTDOWN_CAUSE_HOST_UI,
    SHUTDOWN_CAUSE_GUEST_SHUTDOWN, SHUTDOWN_CAUSE_GUEST_RESET, SHUTDOWN_CAUSE_GUEST_PANIC,
    SHUTDOWN_CAUSE_SUBSYSTEM_RESET, SHUTDOWN_CAUSE_SNAPSHOT_LOAD,
} ShutdownCause;

struct Vm {
    Object *root;             /* "/" */
    Object *objects;          /* "/objects": -object */
    Object *chardevs;         /* "/chardevs" */
    Object *backend;          /* "/backend": consoles and the like */
    Machine *machine;         /* "/machine" */
    Accel *accel;
    Clock *clock;             /* virtual */
    Clock *host_clock;
    Clock *realtime_clock;
    AddressSpace memory;      /* what CPUs see, before paging */
    AddressSpace io;          /* ports, 64 KiB */
    AddressSpace *smm_memory; /* what CPUs in SMM see; NULL: the same as memory */
    MemoryRegion system_memory, system_io;   /* their roots */
    Bus system_bus;
    GPtrArray *cpus;          /* Cpu*, by index */
    GPtrArray *sections;      /* vmstate registrations */
    GPtrArray *reset_hooks, *state_hooks, *powerdown_hooks;
    RunState state;           /* machine lock */
    /* What the system (or a test) does about the guest's wishes; set once. */
    const struct VmHost *host;
    void *host_opaque;
};

/* Requests that leave the VM: they only note the wish and wake the main loop, so a device may
 * call them anywhere. */
typedef struct VmHost {
    void (*request_reset)(Vm *vm, ShutdownCause cause);
    void (*request_shutdown)(Vm *vm, ShutdownCause cause);
    void (*request_suspend)(Vm *vm);
    void (*request_wakeup)(Vm *vm, const char *reason);
    void (*guest_panicked)(Vm *vm);
    void (*guest_crashloaded)(Vm *vm);
    void (*watchdog_expired)(Vm *vm);
    /* isa-debug-exit: the process ends with this status. */
    void (*request_exit)(Vm *vm, int status);
    /* Stops the guest with this state (I/O error, internal error, debug). */
    void (*request_stop)(Vm *vm, RunState state);
    /* A device of a VM that stays is gone; ID may be NULL. */
    void (*device_deleted)(Vm *vm, const char *id, const char *path);
} VmHost;

Vm *vm_new(void);
void vm_free(Vm *vm);

void vm_request_reset(Vm *vm, ShutdownCause cause);
void vm_request_shutdown(Vm *vm, ShutdownCause cause);
void vm_request_suspend(Vm *vm);
void vm_request_wakeup(Vm *vm, const char *reason);
void vm_request_stop(Vm *vm, RunState state);
void vm_request_exit(Vm *vm, int status);
void vm_device_deleted(Vm *vm, const char *id, const char *path);
void vm_guest_panicked(Vm *vm);
/* system_powerdown: devices that can tell the guest (ACPI power button) listen. */
void vm_add_powerdown_hook(Vm *vm, void (*fn)(void *opaque), void *opaque);
void vm_powerdown(Vm *vm);

/* The run state changes on the main loop; hooks run with the machine lock held. */
void vm_start(Vm *vm);                     /* clock on, vCPUs resume */
void vm_stop(Vm *vm, RunState state);      /* vCPUs stopped when it returns */
bool vm_is_running(const Vm *vm);
typedef void VmStateHook(void *opaque, bool running, RunState state);
void vm_add_state_hook(Vm *vm, VmStateHook *fn, void *opaque);
void vm_del_state_hook(Vm *vm, VmStateHook *fn, void *opaque);
const char *run_state_name(RunState state);

/* Full system reset, three phases over the whole device tree, then the cpus. */
void vm_reset(Vm *vm);
/* For things that are not devices (loaders restoring ROM images); run in the hold phase. */
void vm_add_reset_hook(Vm *vm, void (*fn)(void *opaque), void *opaque);

void machine_lock(void);
/* For a thread that has something better to do than to wait. */
bool machine_try_lock(void);
void machine_unlock(void);
bool machine_lock_held(void);
/* Once, at start-up: the main thread takes the lock, and its event loop drops it while it
 * sleeps. */
void machine_lock_enter_main_loop(void);
/* Leaves LOCKED whether the caller held it already: for code reached from both sides. */
static inline bool machine_lock_if_needed(void)
{
    if (machine_lock_held()) {
        return false;
    }
    machine_lock();
    return true;
}

#endif
