/* SPDX-License-Identifier: MIT */
/*
 * The tables as JSON, in the shape of QEMU's -dump-vmstate.
 * Locking: main loop.
 */
#include "base/json.h"
#include "vm/device.h"

static Json *dump_desc(const VmStateDesc *desc);

static Json *dump_field(const VmField *f)
{
    Json *field = json_new_dict();

    json_set(field, "field", json_new_string(f->wire ? f->wire : f->name));
    json_set(field, "version_id", json_new_uint(f->version));
    json_set(field, "field_exists", json_new_bool(f->exists != NULL));
    /* QEMU's timers are behind a pointer; ours are embedded.  The wire has 8 bytes either way. */
    json_set(field, "size", json_new_uint(f->kind == VM_TIMER ? sizeof(void *) : f->size));
    if (f->desc) {
        json_set(field, "Description", dump_desc(f->desc));
    }
    return field;
}

static Json *dump_desc(const VmStateDesc *desc)
{
    Json *out = json_new_dict();

    json_set(out, "name", json_new_string(desc->name));
    json_set(out, "version_id", json_new_uint(desc->version));
    json_set(out, "minimum_version_id", json_new_uint(desc->minimum));
    if (desc->fields && desc->fields[0].kind != VM_END) {
        Json *fields = json_new_list();

        for (const VmField *f = desc->fields; f->kind != VM_END; f++) {
            json_append(fields, dump_field(f));
        }
        json_set(out, "Fields", fields);
    }
    if (desc->subsections && desc->subsections[0]) {
        Json *subs = json_new_list();

        for (const VmStateDesc *const *sub = desc->subsections; *sub; sub++) {
            json_append(subs, dump_desc(*sub));
        }
        json_set(out, "Subsections", subs);
    }
    return out;
}

static void dump_type(const ObjectType *type, void *opaque)
{
    const VmStateDesc *desc = device_type_vmstate((const DeviceType *)(const void *)type);
    Json *entry;

    if (!desc) {
        return;
    }
    entry = json_new_dict();
    json_set(entry, "Name", json_new_string(type->name));
    json_set(entry, "version_id", json_new_uint(desc->version));
    json_set(entry, "minimum_version_id", json_new_uint(desc->minimum));
    json_set(entry, "Description", dump_desc(desc));
    json_set(opaque, type->name, entry);
}

Json *vmstate_dump_types(const char *machine_name)
{
    Json *out = json_new_dict();
    Json *machine = json_new_dict();

    json_set(machine, "Name", json_new_string(machine_name));
    json_set(out, "vmschkmachine", machine);
    type_foreach("device", false, dump_type, out);
    return out;
}
