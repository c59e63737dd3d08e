/* SPDX-License-Identifier: MIT */
/* Devices and objects made on request. */
#include "monitor/create.h"

#include "base/error.h"
#include "base/parse.h"

#include <string.h>

typedef struct Setting {
    Object *obj;
    const char *const *skip;     /* keys that are not properties */
    GError **error;
} Setting;

static bool set_one(const char *key, Json *value, void *opaque)
{
    Setting *s = opaque;

    if (g_strv_contains(s->skip, key)) {
        return true;
    }
    if (json_is(value, JSON_STRING)) {
        return object_set_text(s->obj, key, json_get_string(value), s->error);
    }
    return object_set_json(s->obj, key, value, s->error);
}

static bool id_is_well_formed(const char *id, GError **error)
{
    return parse_is_id(id) ||
           error_set(error, "Parameter 'id' expects an identifier, not '%s': letters, digits, "
                     "'-', '.', '_', starting with a letter", id);
}

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
    Setting setting = { NULL, skip, error };

    if (!driver) {
        error_set(error, "Parameter 'driver' is missing");
        return NULL;
    }
    type = find_driver(driver, error);
    if (!type || (id && !id_is_well_formed(id, error))) {
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
    setting.obj = OBJECT(dev);
    if (!json_dict_foreach(props, set_one, &setting) || !device_realize(dev, bus, error)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    object_unref(OBJECT(dev));       /* the tree holds it now */
    if (hotplug) {
        device_reset(dev);
    }
    return dev;
}

static void offer_object(const ObjectType *type, void *opaque)
{
    if (type->complete) {
        suggest_offer(opaque, type->name);
    }
}

/* The hook of the row or of the nearest ancestor that has one. */
static bool complete(Object *obj, GError **error)
{
    for (const ObjectType *t = obj->type; t; t = type_parent(t)) {
        if (t->complete) {
            return t->complete(obj, error);
        }
    }
    return true;
}

static bool is_creatable(const ObjectType *type)
{
    for (const ObjectType *t = type; t; t = type_parent(t)) {
        if (t->complete) {
            return !type->abstract;
        }
    }
    return false;
}

Object *create_object(Vm *vm, const Json *props, GError **error)
{
    static const char *const skip[] = { "qom-type", "id", NULL };
    const char *name = json_lookup_string(props, "qom-type");
    const char *id = json_lookup_string(props, "id");
    const ObjectType *type = name ? type_find(name) : NULL;
    Setting setting = { NULL, skip, error };
    Object *obj;

    if (!name || !id) {
        error_set(error, "Parameter '%s' is missing", name ? "id" : "qom-type");
        return NULL;
    }
    if (!type || !is_creatable(type)) {
        Suggest suggest;

        suggest_init(&suggest, name);
        type_foreach(NULL, false, offer_object, &suggest);
        error_set(error, "Parameter 'qom-type' does not accept value '%s'%s", name,
                  suggest_text(&suggest));
        return NULL;
    }
    if (!id_is_well_formed(id, error)) {
        return NULL;
    }
    if (object_child(vm->objects, id)) {
        error_set(error, "attempt to add duplicate property '%s' to object (type 'container')", id);
        return NULL;
    }
    obj = object_new(name, error);
    if (!obj) {
        return NULL;
    }
    setting.obj = obj;
    if (!json_dict_foreach(props, set_one, &setting)) {
        object_unref(obj);
        return NULL;
    }
    object_add_child(vm->objects, id, obj);
    object_unref(obj);
    if (!complete(obj, error)) {
        object_unparent(obj);
        return NULL;
    }
    return obj;
}

bool delete_object(Vm *vm, const char *id, GError **error)
{
    Object *obj = object_child(vm->objects, id);

    if (!obj) {
        return error_set(error, "object '%s' not found", id);
    }
    for (const ObjectType *t = obj->type; t; t = type_parent(t)) {
        if (t->can_be_deleted && !t->can_be_deleted(obj)) {
            return error_set(error, "object '%s' is in use, can not be deleted", id);
        }
    }
    object_unparent(obj);
    return true;
}
