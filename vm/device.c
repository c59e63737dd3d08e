/* SPDX-License-Identifier: MIT */
/*
 * Devices: life cycle, place in the tree, inputs.
 * Locking: machine lock.
 */
#include "vm/device.h"
#include "base/error.h"
#include "base/json.h"
#include "vm/object_int.h"
#include "vm/vm.h"
#include "vm/vm_int.h"

/* ---- what every device has ---- */

static Json *get_realized(Object *obj, const PropDef *prop)
{
    return json_new_bool(DEVICE(obj)->realized);
}

static Json *get_hotpluggable(Object *obj, const PropDef *prop)
{
    return json_new_bool(device_type(DEVICE(obj))->hotpluggable);
}

static Json *get_hotplugged(Object *obj, const PropDef *prop)
{
    return json_new_bool(DEVICE(obj)->hotplugged);
}

static Json *get_parent_bus(Object *obj, const PropDef *prop)
{
    Bus *bus = DEVICE(obj)->bus;
    g_autofree char *path = bus ? object_path(&bus->obj) : NULL;

    return json_new_string(path);
}

static void device_finalize(Object *obj)
{
    Device *dev = DEVICE(obj);

    g_assert(!dev->realized);
    g_clear_pointer(&dev->buses, g_ptr_array_unref);
    g_clear_pointer(&dev->reg_windows, g_ptr_array_unref);
    g_free(dev->id);
    g_free(dev->opts_json);
}

static const PropDef device_props[] = {
    PROP_COMPUTED("realized", &prop_bool, get_realized, NULL, .flags = PROP_HIDDEN),
    PROP_COMPUTED("hotpluggable", &prop_bool, get_hotpluggable, NULL, .flags = PROP_HIDDEN),
    PROP_COMPUTED("hotplugged", &prop_bool, get_hotplugged, NULL, .flags = PROP_HIDDEN),
    PROP_COMPUTED("parent_bus", &prop_link, get_parent_bus, NULL, .flags = PROP_HIDDEN,
                  .arg = "bus"),
    PROP_END
};
static const DeviceType device_base_type = {
    .name = "device", .size = sizeof(Device), .abstract = true, .props = device_props,
    .finalize = device_finalize,
};
TYPE_ROW(device_base, &device_base_type, "object");

/* ---- hooks along the chain of types ---- */

/* The next ancestor that is a device row, or NULL. */
static const DeviceType *parent_row(const DeviceType *type)
{
    const ObjectType *parent;

    if (type == &device_base_type) {
        return NULL;
    }
    parent = type_parent((const ObjectType *)(const void *)type);
    return (const DeviceType *)(const void *)parent;
}

const BusType *device_type_bus(const DeviceType *type)
{
    while (type && !type->bus) {
        type = parent_row(type);
    }
    return type ? type->bus : NULL;
}

const VmStateDesc *device_type_vmstate(const DeviceType *type)
{
    while (type && !type->vmstate) {
        type = parent_row(type);
    }
    return type ? type->vmstate : NULL;
}

unsigned device_hook_chain(const Device *dev, size_t hook, const DeviceType *chain[])
{
    unsigned n = 0;

    for (const DeviceType *t = device_type(dev); t; t = parent_row(t)) {
        void *fn;

        memcpy(&fn, (const char *)t + hook, sizeof(fn));
        /* An abstract ancestor adds its part; a concrete one is replaced by its descendant's. */
        if (fn && (n == 0 || t->abstract)) {
            g_assert(n < DEVICE_CHAIN_MAX);
            chain[n++] = t;
        }
    }
    return n;
}

static void unrealize_rows(Device *dev, const DeviceType *above)
{
    const DeviceType *chain[DEVICE_CHAIN_MAX];
    unsigned n = device_hook_chain(dev, offsetof(DeviceType, unrealize), chain);
    bool active = above == NULL;

    for (unsigned i = 0; i < n; i++) {
        active |= chain[i] == above;
        if (active) {
            chain[i]->unrealize(dev);
        }
    }
}

static bool realize_rows(Device *dev, GError **error)
{
    const DeviceType *chain[DEVICE_CHAIN_MAX];
    unsigned n = device_hook_chain(dev, offsetof(DeviceType, realize), chain);

    for (unsigned i = n; i-- > 0;) {
        if (!chain[i]->realize(dev, error)) {
            /* A row whose realize fails has cleaned up after itself. */
            for (unsigned k = i + 1; k < n; k++) {
                if (chain[k]->unrealize) {
                    chain[k]->unrealize(dev);
                }
            }
            return false;
        }
    }
    return true;
}

/* ---- life ---- */

/* Benches have no machine: a plain object stands where it would be. */
static Object *child_or_new(Object *parent, const char *name)
{
    Object *obj = object_child(parent, name);

    return obj ? obj : object_new_container(parent, name);
}

Object *vm_container(Vm *vm, const char *name)
{
    return child_or_new(child_or_new(vm->root, "machine"), name);
}

static void offer_device(const ObjectType *type, void *opaque)
{
    if (((const DeviceType *)(const void *)type)->user_creatable) {
        suggest_offer(opaque, type->name);
    }
}

Device *device_new(Vm *vm, const char *type_name, GError **error)
{
    const ObjectType *type = type_find(type_name);
    Device *dev;

    if (!type || type->abstract || !type_is_a(type, "device")) {
        Suggest s;

        suggest_init(&s, type_name);
        type_foreach("device", false, offer_device, &s);
        error_set(error, "'%s' is not a valid device model name%s", type_name, suggest_text(&s));
        return NULL;
    }
    dev = DEVICE(object_alloc(type));
    dev->vm = vm;
    dev->instance_id = -1;
    dev->buses = g_ptr_array_new();
    object_setup(&dev->obj, type);
    if (!globals_apply(&dev->obj, error)) {
        object_unref(&dev->obj);
        return NULL;
    }
    return dev;
}

static bool device_place(Device *dev, GError **error)
{
    if (dev->obj.parent) {
        return true;
    }
    if (dev->id) {
        Object *peripheral = vm_container(dev->vm, "peripheral");

        if (object_child(peripheral, dev->id)) {
            return error_set(error, "Duplicate device ID '%s'", dev->id);
        }
        object_add_child(peripheral, dev->id, &dev->obj);
    } else {
        object_add_child(vm_container(dev->vm, dev->opts_json ? "peripheral-anon" : "unattached"),
                         "device[*]", &dev->obj);
    }
    return true;
}

static bool device_attach(Device *dev, Bus *bus, GError **error)
{
    const BusType *wanted = device_type_bus(device_type(dev));

    if (wanted && !bus) {
        return error_set(error, "Device '%s' needs a '%s' bus", dev->obj.type->name,
                         wanted->name);
    }
    if (bus && (!wanted || strcmp(wanted->name, bus->type->name) != 0)) {
        return error_set(error, "Device '%s' can't go on %s bus '%s'", dev->obj.type->name,
                         bus->type->name, bus->obj.name ? bus->obj.name : bus->type->name);
    }
    if (!bus) {
        return true;
    }
    if (bus->type->max_devices && bus->devices->len >= bus->type->max_devices) {
        return error_set(error, "Bus '%s' is full: it takes at most %u devices",
                         bus->obj.name ? bus->obj.name : bus->type->name,
                         bus->type->max_devices);
    }
    dev->bus = bus;
    if (!dev->dma_as) {
        dev->dma_as = bus->dma_as;
    }
    if (bus->type->attach && !bus->type->attach(bus, dev, error)) {
        dev->bus = NULL;
        return false;
    }
    object_ref(&dev->obj);
    g_ptr_array_add(bus->devices, dev);
    return true;
}

static void device_detach(Device *dev)
{
    Bus *bus = dev->bus;

    if (!bus) {
        return;
    }
    if (bus->type->detach) {
        bus->type->detach(bus, dev);
    }
    dev->bus = NULL;
    if (g_ptr_array_remove(bus->devices, dev)) {
        object_unref(&dev->obj);
    }
}

static void device_register_state(Device *dev)
{
    const VmStateDesc *desc = device_type_vmstate(device_type(dev));
    g_autofree char *path = NULL;

    if (!desc) {
        return;
    }
    if (dev->bus && dev->bus->type->dev_path) {
        path = dev->bus->type->dev_path(dev);
    }
    vmstate_register(dev->vm, path, dev->instance_id, desc, dev);
}

bool device_realize(Device *dev, Bus *bus, GError **error)
{
    bool placed_here = !dev->obj.parent;

    g_assert(!dev->realized);
    if (!device_place(dev, error)) {
        return false;
    }
    if (!device_attach(dev, bus, error)) {
        goto unplace;
    }
    if (!realize_rows(dev, error)) {
        goto detach;
    }
    device_register_state(dev);
    dev->realized = true;
    if (dev->hotplugged) {
        device_reset(dev);
    }
    if (bus && bus->type->plugged) {
        bus->type->plugged(bus, dev);
    }
    return true;

detach:
    device_detach(dev);
unplace:
    if (placed_here) {
        object_unparent(&dev->obj);
    }
    return false;
}

void device_unplug(Device *dev)
{
    g_autofree char *path = dev->realized ? object_path(&dev->obj) : NULL;

    object_ref(&dev->obj);
    for (unsigned i = 0; i < dev->buses->len; i++) {
        Bus *bus = g_ptr_array_index(dev->buses, i);

        while (bus->devices->len > 0) {
            device_unplug(g_ptr_array_index(bus->devices, bus->devices->len - 1));
        }
    }
    if (dev->realized) {
        const VmStateDesc *desc = device_type_vmstate(device_type(dev));

        if (desc) {
            vmstate_unregister(dev->vm, desc, dev);
        }
        dev->realized = false;
        unrealize_rows(dev, NULL);
    }
    device_detach(dev);
    object_unparent(&dev->obj);
    if (path) {
        vm_device_deleted(dev->vm, dev->id, path);
    }
    object_unref(&dev->obj);
}

Device *device_create(Vm *vm, const char *type, Bus *bus, GError **error, ...)
{
    Device *dev = device_new(vm, type, error);
    const char *name;
    bool ok = dev != NULL;
    va_list args;

    va_start(args, error);
    while (ok && (name = va_arg(args, const char *)) != NULL) {
        ok = object_set_text(&dev->obj, name, va_arg(args, const char *), error);
    }
    va_end(args);
    ok = ok && device_realize(dev, bus, error);
    object_unref(OBJECT(dev));
    return ok ? dev : NULL;
}

Device *device_find(Vm *vm, const char *id)
{
    Object *obj = object_child(vm_container(vm, "peripheral"), id);

    return obj && object_is_a(obj, "device") ? DEVICE(obj) : NULL;
}

typedef struct DeviceWalk {
    void (*fn)(Device *dev, void *opaque);
    void *opaque;
} DeviceWalk;

static void walk_devices(Object *obj, void *opaque)
{
    DeviceWalk *walk = opaque;

    if (object_is_a(obj, "device")) {
        walk->fn(DEVICE(obj), walk->opaque);
    }
    object_foreach_child(obj, walk_devices, walk);
}

void device_foreach(Vm *vm, void (*fn)(Device *dev, void *opaque), void *opaque)
{
    DeviceWalk walk = { fn, opaque };

    walk_devices(vm->root, &walk);
}

/* ---- inputs, outputs, messages ---- */

static void device_input_handler(void *opaque, unsigned n, bool level)
{
    Device *dev = opaque;

    if (dev->intercept) {
        dev->intercept(dev->intercept_opaque, n, level);
    }
    device_type(dev)->set_input(dev, n, level);
    device_sync(dev);
}

IrqPin device_input(Device *dev, unsigned n)
{
    g_assert(n < device_type(dev)->inputs && device_type(dev)->set_input);
    return (IrqPin){ device_input_handler, dev, n };
}

IrqLine *device_output(Device *dev, unsigned n)
{
    const IrqOutputTable *table = &device_type(dev)->outputs;

    for (unsigned i = 0; i < table->count; i++) {
        const IrqOutputDef *row = &table->rows[i];

        if (n < row->count) {
            return (IrqLine *)(void *)((char *)dev + row->offset) + n;
        }
        n -= row->count;
    }
    return NULL;
}

void device_sync(Device *dev)
{
    if (device_type(dev)->sync) {
        device_type(dev)->sync(dev);
    }
}

void device_info(Device *dev, GString *out)
{
    const DeviceType *type = device_type(dev);

    while (type && !type->info) {
        type = parent_row(type);
    }
    if (type) {
        type->info(dev, out);
    }
}
