/* SPDX-License-Identifier: MIT */
/*
 * Buses: making, naming and finding them.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "vm/device.h"
#include "vm/object_int.h"
#include "vm/vm_int.h"

OBJECT_TYPE(bus, .name = "bus", .size = sizeof(Bus), .abstract = true);

const BusType bus_system = { .name = "System" };

/* Each kind of bus is a type of its own in the tree; made when the first such bus is. */
static const ObjectType *bus_object_type(const BusType *type)
{
    const ObjectType *found = type_find(type->name);
    ObjectType *row;
    TypeRow *collected;

    if (found) {
        g_assert(type_is_a(found, "bus"));
        return found;
    }
    row = g_new0(ObjectType, 1);
    row->name = type->name;
    row->size = sizeof(Bus);
    collected = g_new(TypeRow, 1);
    *collected = (TypeRow){ row, "bus" };
    type_register(collected);
    g_free(collected);
    return row;
}

typedef struct BusWalk {
    void (*fn)(Bus *bus, void *opaque);
    void *opaque;
} BusWalk;

static void walk_device_buses(Device *dev, void *opaque)
{
    BusWalk *walk = opaque;

    for (unsigned i = 0; i < dev->buses->len; i++) {
        walk->fn(g_ptr_array_index(dev->buses, i), walk->opaque);
    }
}

static void bus_foreach(Vm *vm, void (*fn)(Bus *bus, void *opaque), void *opaque)
{
    BusWalk walk = { fn, opaque };

    if (vm->system_bus.type) {
        fn(&vm->system_bus, opaque);
    }
    device_foreach(vm, walk_device_buses, &walk);
}

typedef struct BusSearch {
    const char *name;
    const BusType *type;
    Bus *found;
    bool any;                 /* one of the type exists, full or not */
    GString *names;
} BusSearch;

static void match_name(Bus *bus, void *opaque)
{
    BusSearch *s = opaque;

    if (!s->found && bus->obj.name && !g_ascii_strcasecmp(bus->obj.name, s->name)) {
        s->found = bus;
    }
    g_string_append_printf(s->names, "%s'%s'", s->names->len ? ", " : "", bus->obj.name);
}

static Bus *bus_named(Vm *vm, const char *name, char **names)
{
    BusSearch s = { .name = name, .names = g_string_new(NULL) };

    bus_foreach(vm, match_name, &s);
    if (names) {
        *names = g_string_free(s.names, FALSE);
    } else {
        g_string_free(s.names, TRUE);
    }
    return s.found;
}

/* QEMU's rule: "<owner's id>.<n>", or for owners without one "<bus type in lower case>.<n>". */
static char *bus_make_name(const Bus *bus)
{
    g_autofree char *lower = g_ascii_strdown(bus->type->name, -1);
    char *name = NULL;

    if (bus->owner && bus->owner->id) {
        return g_strdup_printf("%s.%u", bus->owner->id, bus->owner->buses->len);
    }
    for (unsigned n = 0; !name || bus_named(bus->vm, name, NULL); n++) {
        g_free(name);
        name = g_strdup_printf("%s.%u", lower, n);
    }
    return name;
}

void bus_init(Bus *bus, const BusType *type, Device *owner, Vm *vm, const char *name)
{
    g_autofree char *made = NULL;

    memset(bus, 0, sizeof(*bus));
    object_init_embedded(&bus->obj, bus_object_type(type));
    bus->type = type;
    bus->owner = owner;
    bus->vm = vm;
    bus->devices = g_ptr_array_new();
    made = name ? g_strdup(name) : bus_make_name(bus);
    if (owner) {
        bus->dma_as = owner->dma_as;
        object_add_child(&owner->obj, made, &bus->obj);
        g_ptr_array_add(owner->buses, bus);
    } else {
        bus->obj.name = g_steal_pointer(&made);
    }
}

void bus_clear(Bus *bus)
{
    if (!bus->type) {
        return;
    }
    while (bus->devices->len > 0) {
        device_unplug(g_ptr_array_index(bus->devices, bus->devices->len - 1));
    }
    g_ptr_array_unref(bus->devices);
    if (bus->owner) {
        g_ptr_array_remove(bus->owner->buses, bus);
    }
    object_clear_embedded(&bus->obj);
    bus->type = NULL;
}

Bus *bus_find(Vm *vm, const char *name, GError **error)
{
    g_autofree char *names = NULL;
    Bus *bus;

    if (name[0] == '/') {
        Object *obj = object_resolve(vm->root, name, NULL);

        if (obj && object_is_a(obj, "bus")) {
            return (Bus *)(void *)obj;
        }
    }
    bus = bus_named(vm, name, &names);
    if (!bus) {
        error_set(error, "Bus '%s' not found; there are %s", name, names);
    }
    return bus;
}

static void match_free(Bus *bus, void *opaque)
{
    BusSearch *s = opaque;

    if (!s->found && !strcmp(bus->type->name, s->type->name) &&
        (!bus->type->max_devices || bus->devices->len < bus->type->max_devices)) {
        s->found = bus;
    }
    s->any |= !strcmp(bus->type->name, s->type->name);
}

Bus *bus_find_free(Vm *vm, const BusType *type, GError **error)
{
    BusSearch s = { .type = type };

    bus_foreach(vm, match_free, &s);
    if (!s.found && s.any) {
        error_set(error, "All '%s' buses are full", type->name);
    } else if (!s.found) {
        error_set(error, "No '%s' bus found: this machine has none", type->name);
    }
    return s.found;
}
