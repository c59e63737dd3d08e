/* SPDX-License-Identifier: MIT */
/* QMP: devices. */
#include "base/error.h"
#include "monitor/create.h"
#include "qapi/qapi_commands.h"
#include "vm/device.h"
#include "vm/machine.h"

bool qmp_device_list_properties(QmpCall *call, const QmpDeviceListPropertiesArgs *args,
                                GPtrArray **ret, GError **error)
{
    const ObjectType *type = type_find(args->typename);

    if (!type) {
        return error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found",
                              args->typename);
    }
    if (!type_is_a(type, "device") || type->abstract) {
        return error_set(error, "Parameter 'typename' expects a non-abstract device type");
    }
    *ret = qmp_list_type_props(type, true);
    return true;
}

bool qmp_device_add(QmpCall *call, const Json *args, GError **error)
{
    return create_device(call->vm, args, CREATE_HOTPLUG, error) != NULL;
}

bool qmp_device_del(QmpCall *call, const QmpDeviceDelArgs *args, GError **error)
{
    Device *dev = device_find(call->vm, args->id);

    if (!dev && args->id[0] == '/') {
        Object *obj = object_resolve(call->vm->root, args->id, NULL);

        dev = obj && object_is_a(obj, "device") ? DEVICE(obj) : NULL;
    }
    if (!dev) {
        return error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", args->id);
    }
    if (dev->unplugging) {
        return error_set(error, "Device %s is already in the process of unplug", args->id);
    }
    if (!device_type(dev)->hotpluggable || !dev->bus || !dev->bus->type->unplug_request) {
        return error_set(error, "Device '%s' does not support hotplugging", dev->obj.type->name);
    }
    return dev->bus->type->unplug_request(dev->bus, dev, error);
}
