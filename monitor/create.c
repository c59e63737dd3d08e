/* SPDX-License-Identifier: MIT */
/* Devices made on request. */
#include "monitor/create.h"

#include "base/error.h"
#include "base/parse.h"

#include <string.h>

static void offer_device(const ObjectType *type, void *opaque)
{
    if (((const DeviceType *)type)->user_creatable) {
        suggest_offer(opaque, type->name);
    }
}

static const DeviceType *find_driver(const char *driver, GError **error)
{
    const ObjectType *type = type_find(driver);
    Suggest suggest;

    if (type && type_is_a(type, "device") && !type->abstract &&
        ((const DeviceType *)type)->user_creatable) {
        return (const DeviceType *)type;
    }
    if (type && type_is_a(type, "device")) {
        error_set(error, "Parameter 'driver' expects a pluggable device type; '%s' is part of the "
                         "board", driver);
        return NULL;
    }
    suggest_init(&suggest, driver);
    type_foreach("device", false, offer_device, &suggest);
    error_set(error, "'%s' is not a valid device model name%s", driver,
              suggest_text_or(&suggest, "-device help lists them"));
    return NULL;
}

/* The bus that a device goes to; *BUS is NULL for one that needs none. */
static bool choose_bus(Vm *vm, const DeviceType *type, const char *name, Bus **bus,
                       GError **error)
{
    *bus = NULL;
    if (name) {
        *bus = bus_find(vm, name, error);
        if (!*bus) {
            return false;
        }
        if (type->bus && strcmp((*bus)->type->name, type->bus->name) != 0) {
            return error_set(error, "Device '%s' can't go on %s bus '%s'", type->name,
                             (*bus)->type->name, name);
        }
    } else if (type->bus) {
        *bus = bus_find_free(vm, type->bus, error);
        return *bus != NULL;
    }
    return true;
}

const char *create_driver_name(const char *driver)
{
    static const struct { const char *alias, *name; } aliases[] = {
        { "ahci", "ich9-ahci" },
    };

    for (unsigned i = 0; driver && i < G_N_ELEMENTS(aliases); i++) {
        if (!strcmp(driver, aliases[i].alias)) {
            return aliases[i].name;
        }
    }
    return driver;
}

Device *create_device(Vm *vm, const Json *props, CreateOrigin origin, GError **error)
{
    bool hotplug = origin == CREATE_HOTPLUG;
    static const char *const skip[] = { "driver", "id", "bus", NULL };
    const char *driver = create_driver_name(json_lookup_string(props, "driver"));
    const char *id = json_lookup_string(props, "id");
    const DeviceType *type;
    Device *dev;
    Bus *bus;

    if (!driver) {
        error_set(error, "Parameter 'driver' is missing");
        return NULL;
    }
    type = find_driver(driver, error);
    if (!type || (id && !create_check_id(id, error))) {
        return NULL;
    }
    if (id && device_find(vm, id)) {
        error_set(error, "Duplicate device ID '%s'", id);
        return NULL;
    }
    if (hotplug && !type->hotpluggable) {
        error_set(error, "Device '%s' does not support hotplugging", driver);
        return NULL;
    }
    if (!choose_bus(vm, type, json_lookup_string(props, "bus"), &bus, error)) {
        return NULL;
    }
    dev = device_new(vm, driver, error);
    if (!dev) {
        return NULL;
    }
    dev->id = g_strdup(id);
    dev->hotplugged = hotplug;
    dev->opts_json = origin == CREATE_DEFAULT ? NULL : json_to_string(props);
    if (!create_set_props(OBJECT(dev), props, skip, error) || !device_realize(dev, bus, error)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    object_unref(OBJECT(dev));       /* the tree holds it now */
    if (hotplug) {
        device_reset(dev);
    }
    return dev;
}
