/* SPDX-License-Identifier: MIT */
/* The machine lock; a VM, its run state and requests about it, and who is told of them. */
#include "vm/vm.h"

#include "base/event_loop.h"
#include "vm/cpu.h"
#include "vm/trace.h"
#include "vm/vm_int.h"

/* ---- the machine lock ---- */

/* Held for less than a microsecond most of the time: whoever finds it taken spins a little before it sleeps. */
static Mutex the_lock = { .lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP, .name = "machine",
                          .rank = LOCK_RANK_MACHINE };

Mutex *machine_mutex(void)
{
    return &the_lock;
}

void machine_lock(void)
{
    mutex_lock(&the_lock);
}

bool machine_try_lock(void)
{
    return mutex_try_lock(&the_lock);
}

void machine_unlock(void)
{
    mutex_unlock(&the_lock);
}

bool machine_lock_held(void)
{
    return mutex_held(&the_lock);
}

static void before_sleep(void *opaque)
{
    machine_unlock();
}

static void after_sleep(void *opaque)
{
    machine_lock();
}

void machine_lock_enter_main_loop(void)
{
    static const LoopHooks hooks = { .before_sleep = before_sleep, .after_sleep = after_sleep };

    machine_lock();
    event_loop_add_hooks(event_loop_main(), &hooks);
}

/* ---- the VM ---- */

Vm *vm_new(void)
{
    Vm *vm = g_new0(Vm, 1);

    vm->root = object_new_container(NULL, NULL);
    vm->objects = object_new_container(vm->root, "objects");
    vm->chardevs = object_new_container(vm->root, "chardevs");
    vm->backend = object_new_container(vm->root, "backend");
    vm->clock = clock_new(CLOCK_KIND_VIRTUAL);
    vm->host_clock = clock_new(CLOCK_KIND_HOST);
    vm->realtime_clock = clock_new(CLOCK_KIND_REALTIME);
    vm->cpus = g_ptr_array_new();
    vm->sections = g_ptr_array_new();
    vm->reset_hooks = g_ptr_array_new_with_free_func(g_free);
    vm->state_hooks = g_ptr_array_new_with_free_func(g_free);
    vm->powerdown_hooks = g_ptr_array_new_with_free_func(g_free);
    vm->state = RUN_STATE_PRELAUNCH;
    memory_region_init(&vm->system_memory, NULL, "system", UINT64_MAX);
    memory_region_init(&vm->system_io, NULL, "io", 64 * KIB);
    address_space_init(&vm->memory, &vm->system_memory, "memory");
    address_space_init(&vm->io, &vm->system_io, "I/O");
    vm->io.is_io = true;
    bus_init(&vm->system_bus, &bus_system, NULL, vm, "main-system-bus");
    vm->system_bus.dma_as = &vm->memory;
    return vm;
}

static void unplug_one(Device *dev, void *opaque)
{
    if (dev->realized) {
        device_unplug(dev);
    }
}

void vm_free(Vm *vm)
{
    vm->host = NULL;                  /* it does not want to know how the VM ends */
    device_foreach(vm, unplug_one, NULL);
    bus_clear(&vm->system_bus);
    object_unref(vm->root);
    address_space_destroy(&vm->memory);
    address_space_destroy(&vm->io);
    memory_region_clear(&vm->system_memory);
    memory_region_clear(&vm->system_io);
    clock_free(vm->clock);
    clock_free(vm->host_clock);
    clock_free(vm->realtime_clock);
    g_ptr_array_free(vm->cpus, true);
    g_ptr_array_free(vm->sections, true);
    g_ptr_array_free(vm->reset_hooks, true);
    g_ptr_array_free(vm->state_hooks, true);
    g_ptr_array_free(vm->powerdown_hooks, true);
    g_free(vm);
}

/* ---- what the guest wishes ---- */

#define HOST_REQUEST(vm, hook, ...)                                                        \
    do {                                                                                   \
        if ((vm)->host && (vm)->host->hook) {                                              \
            (vm)->host->hook(__VA_ARGS__);                                                 \
        }                                                                                  \
    } while (0)

void vm_request_reset(Vm *vm, ShutdownCause cause)
{
    HOST_REQUEST(vm, request_reset, vm, cause);
}

void vm_request_shutdown(Vm *vm, ShutdownCause cause)
{
    HOST_REQUEST(vm, request_shutdown, vm, cause);
}

void vm_request_suspend(Vm *vm)
{
    HOST_REQUEST(vm, request_suspend, vm);
}

void vm_request_wakeup(Vm *vm, const char *reason)
{
    HOST_REQUEST(vm, request_wakeup, vm, reason);
}

void vm_request_stop(Vm *vm, RunState state)
{
    HOST_REQUEST(vm, request_stop, vm, state);
}

void vm_device_deleted(Vm *vm, const char *id, const char *path)
{
    HOST_REQUEST(vm, device_deleted, vm, id, path);
}

void vm_request_exit(Vm *vm, int status)
{
    HOST_REQUEST(vm, request_exit, vm, status);
}

void vm_guest_panicked(Vm *vm)
{
    HOST_REQUEST(vm, guest_panicked, vm);
}

/* ---- hooks ---- */

typedef struct Hook {
    void (*fn)(void *opaque);
    void *opaque;
} Hook;

typedef struct StateHook {
    VmStateHook *fn;
    void *opaque;
} StateHook;

static void add_hook(GPtrArray *hooks, void (*fn)(void *opaque), void *opaque)
{
    Hook *h = g_new(Hook, 1);

    *h = (Hook){ fn, opaque };
    g_ptr_array_add(hooks, h);
}

void vm_add_powerdown_hook(Vm *vm, void (*fn)(void *opaque), void *opaque)
{
    add_hook(vm->powerdown_hooks, fn, opaque);
}

void vm_powerdown(Vm *vm)
{
    for (unsigned i = 0; i < vm->powerdown_hooks->len; i++) {
        Hook *h = g_ptr_array_index(vm->powerdown_hooks, i);

        h->fn(h->opaque);
    }
}

void vm_add_reset_hook(Vm *vm, void (*fn)(void *opaque), void *opaque)
{
    add_hook(vm->reset_hooks, fn, opaque);
}

void vm_run_reset_hooks(Vm *vm)
{
    for (unsigned i = 0; i < vm->reset_hooks->len; i++) {
        Hook *h = g_ptr_array_index(vm->reset_hooks, i);

        h->fn(h->opaque);
    }
}

void vm_add_state_hook(Vm *vm, VmStateHook *fn, void *opaque)
{
    StateHook *h = g_new(StateHook, 1);

    *h = (StateHook){ fn, opaque };
    g_ptr_array_add(vm->state_hooks, h);
}

void vm_del_state_hook(Vm *vm, VmStateHook *fn, void *opaque)
{
    for (unsigned i = 0; i < vm->state_hooks->len; i++) {
        StateHook *h = g_ptr_array_index(vm->state_hooks, i);

        if (h->fn == fn && h->opaque == opaque) {
            g_ptr_array_remove_index(vm->state_hooks, i);
            return;
        }
    }
}

static void tell_state(Vm *vm, bool running, RunState state)
{
    /* Backwards when stopping, so that what started last stops first. */
    for (unsigned i = 0; i < vm->state_hooks->len; i++) {
        unsigned n = running ? i : vm->state_hooks->len - 1 - i;
        StateHook *h = g_ptr_array_index(vm->state_hooks, n);

        h->fn(h->opaque, running, state);
    }
}

/* ---- run state ---- */

const char *run_state_name(RunState state)
{
    static const char *const names[] = {
        [RUN_STATE_PRELAUNCH] = "prelaunch",
        [RUN_STATE_RUNNING] = "running",
        [RUN_STATE_PAUSED] = "paused",
        [RUN_STATE_SHUTDOWN] = "shutdown",
        [RUN_STATE_GUEST_PANICKED] = "guest-panicked",
        [RUN_STATE_INTERNAL_ERROR] = "internal-error",
        [RUN_STATE_IO_ERROR] = "io-error",
        [RUN_STATE_DEBUG] = "debug",
        [RUN_STATE_SUSPENDED] = "suspended",
        [RUN_STATE_WATCHDOG] = "watchdog",
        [RUN_STATE_SAVE_VM] = "save-vm",
        [RUN_STATE_RESTORE_VM] = "restore-vm",
        [RUN_STATE_INMIGRATE] = "inmigrate",
        [RUN_STATE_POSTMIGRATE] = "postmigrate",
        [RUN_STATE_FINISH_MIGRATE] = "finish-migrate",
    };

    return names[state];
}

bool vm_is_running(const Vm *vm)
{
    return vm->state == RUN_STATE_RUNNING;
}

void vm_start(Vm *vm)
{
    if (vm_is_running(vm)) {
        return;
    }
    trace_vm_state(run_state_name(vm->state), run_state_name(RUN_STATE_RUNNING));
    vm->state = RUN_STATE_RUNNING;
    clock_start(vm->clock);
    tell_state(vm, true, RUN_STATE_RUNNING);
    cpus_resume(vm);
}

void vm_stop(Vm *vm, RunState state)
{
    bool was_running = vm_is_running(vm);

    if (was_running) {
        cpus_pause(vm);
        clock_stop(vm->clock);
    }
    trace_vm_state(run_state_name(vm->state), run_state_name(state));
    vm->state = state;
    if (was_running) {
        tell_state(vm, false, state);
    }
}
