/* SPDX-License-Identifier: MIT */
/*
 * Devices and objects made on request: -device and device_add, -object and object-add.
 *
 * The request is a dict of properties.  Values that are strings are read as on the command line,
 * whatever the property's type; others must have the property's JSON type.
 * Thread rule: main loop, machine lock.
 */
#ifndef MONITOR_CREATE_H
#define MONITOR_CREATE_H

#include "base/json.h"
#include "vm/vm.h"

typedef enum CreateOrigin {
    CREATE_DEFAULT,          /* part of the machine unless refused: lands in /machine/unattached */
    CREATE_COLD,             /* -device */
    CREATE_HOTPLUG,          /* device_add */
} CreateOrigin;

/* QEMU's second names of device types ("ahci"); DRIVER itself where it is none of them. */
const char *create_driver_name(const char *driver);

/* "driver", "id" and "bus" are taken out of PROPS, the rest are properties.  Realized and
 * plugged; the reference belongs to the tree. */
Device *create_device(Vm *vm, const Json *props, CreateOrigin origin, GError **error);
/* "qom-type" and "id" likewise; a child of /objects. */
Object *create_object(Vm *vm, const Json *props, GError **error);
bool delete_object(Vm *vm, const char *id, GError **error);

/* For both: all members of PROPS but those in SKIP; and what an id may look like. */
bool create_set_props(Object *obj, const Json *props, const char *const *skip, GError **error);
bool create_check_id(const char *id, GError **error);
/* Of QapiObjectPropertyInfo; ALL: hidden ones too. */
GPtrArray *qmp_list_type_props(const ObjectType *type, bool all);

#endif
