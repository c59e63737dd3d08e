/* SPDX-License-Identifier: MIT */
/*
 * Reset in three phases over a set of devices: everybody enters, then everybody holds, then
 * everybody leaves; so no device sees another half reset.
 * Locking: machine lock, vCPUs at a safe point.
 */
#include "vm/cpu.h"
#include "vm/accel.h"
#include "vm/trace.h"
#include "vm/vm_int.h"

typedef struct ResetSet {
    GPtrArray *devices;
    GPtrArray *buses;         /* inner ones after outer ones */
    GHashTable *seen;
} ResetSet;

static void collect(Object *obj, void *opaque)
{
    ResetSet *set = opaque;

    if (!g_hash_table_add(set->seen, obj)) {
        return;
    }
    if (object_is_a(obj, "device")) {
        Device *dev = DEVICE(obj);

        if (dev->realized) {
            g_ptr_array_add(set->devices, object_ref(obj));
        }
        for (unsigned i = 0; i < dev->buses->len; i++) {
            Bus *bus = g_ptr_array_index(dev->buses, i);

            g_ptr_array_add(set->buses, bus);
            for (unsigned k = 0; k < bus->devices->len; k++) {
                collect(OBJECT(g_ptr_array_index(bus->devices, k)), set);
            }
        }
    }
    object_foreach_child(obj, collect, set);
}

static void run_phase(const ResetSet *set, size_t hook)
{
    for (unsigned i = 0; i < set->devices->len; i++) {
        Device *dev = g_ptr_array_index(set->devices, i);
        const DeviceType *chain[DEVICE_CHAIN_MAX];
        unsigned n = device_hook_chain(dev, hook, chain);

        while (n-- > 0) {
            void (*fn)(Device *dev);

            memcpy(&fn, (const char *)chain[n] + hook, sizeof(fn));
            fn(dev);
        }
    }
}

static void reset_tree(Object *top, Vm *whole)
{
    ResetSet set = { g_ptr_array_new_with_free_func((GDestroyNotify)object_unref),
                     g_ptr_array_new(), g_hash_table_new(NULL, NULL) };

    collect(top, &set);
    for (unsigned i = 0; i < set.devices->len; i++) {
        Device *dev = g_ptr_array_index(set.devices, i);

        trace_device_reset(dev->obj.type->name);
        device_regs_reset(dev);
    }
    run_phase(&set, offsetof(DeviceType, reset_enter));
    run_phase(&set, offsetof(DeviceType, reset_hold));
    for (unsigned i = set.buses->len; i-- > 0;) {
        Bus *bus = g_ptr_array_index(set.buses, i);

        if (bus->type->reset) {
            bus->type->reset(bus);
        }
    }
    if (whole) {
        vm_run_reset_hooks(whole);
    }
    run_phase(&set, offsetof(DeviceType, reset_exit));
    for (unsigned i = 0; i < set.devices->len; i++) {
        device_sync(g_ptr_array_index(set.devices, i));
    }
    g_ptr_array_unref(set.devices);
    g_ptr_array_unref(set.buses);
    g_hash_table_unref(set.seen);
}

void device_reset(Device *dev)
{
    reset_tree(&dev->obj, NULL);
}

void vm_reset(Vm *vm)
{
    bool running = vm_is_running(vm);

    if (running) {
        cpus_pause(vm);
    }
    reset_tree(vm->root, vm);
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(vm->cpus, i);

        if (cpu_class(cpu)->reset) {
            cpu_class(cpu)->reset(cpu);
        }
        if (vm->accel && accel_type(vm->accel)->cpu_put_state) {
            accel_type(vm->accel)->cpu_put_state(cpu);
        }
    }
    if (running) {
        cpus_resume(vm);
    }
}
