/* SPDX-License-Identifier: MIT */
/*
 * The sections of a VM: who has state, under which name, and all of it as one stream.
 *
 * Each section: 0x04, number (be32), name with a length byte, instance (be32), version (be32), the
 * state, 0x7e, number again.  The stream ends with 0x00.
 * Locking: machine lock, VM stopped.
 */
#include "base/error.h"
#include "vm/trace.h"
#include "vm/vm.h"
#include "vm/vmstate_int.h"

typedef struct Section {
    char *name;               /* "<path>/<desc name>" */
    int instance;
    const VmStateDesc *desc;
    void *obj;
} Section;

static void section_free(Section *s)
{
    g_free(s->name);
    g_free(s);
}

static Section *section_find(Vm *vm, const char *name, int instance)
{
    for (unsigned i = 0; i < vm->sections->len; i++) {
        Section *s = g_ptr_array_index(vm->sections, i);

        if (s->instance == instance && !strcmp(s->name, name)) {
            return s;
        }
    }
    return NULL;
}

/* Sections of higher priority come first; among equals, those registered first. */
void vmstate_register(Vm *vm, const char *path, int instance, const VmStateDesc *desc,
                      void *obj)
{
    Section *s = g_new0(Section, 1);
    unsigned at = 0;

    s->name = path ? g_strdup_printf("%s/%s", path, desc->name) : g_strdup(desc->name);
    s->desc = desc;
    s->obj = obj;
    g_assert(strlen(s->name) <= 255);
    if (instance < 0) {
        instance = 0;
        while (section_find(vm, s->name, instance)) {
            instance++;
        }
    }
    g_assert(!section_find(vm, s->name, instance));
    s->instance = instance;
    while (at < vm->sections->len &&
           ((Section *)g_ptr_array_index(vm->sections, at))->desc->priority >= desc->priority) {
        at++;
    }
    g_ptr_array_insert(vm->sections, (int)at, s);
}

void vmstate_unregister(Vm *vm, const VmStateDesc *desc, void *obj)
{
    for (unsigned i = 0; i < vm->sections->len; i++) {
        Section *s = g_ptr_array_index(vm->sections, i);

        if (s->desc == desc && s->obj == obj) {
            g_ptr_array_remove_index(vm->sections, i);
            section_free(s);
            return;
        }
    }
}

bool vm_save_devices(Vm *vm, VmWriter *w, GError **error)
{
    for (unsigned i = 0; i < vm->sections->len; i++) {
        Section *s = g_ptr_array_index(vm->sections, i);

        if (s->desc->needed && !s->desc->needed(s->obj)) {
            continue;
        }
        vm_put_u8(w, VM_STREAM_FULL);
        vm_put_be32(w, i);
        vm_put_u8(w, (uint8_t)strlen(s->name));
        vm_put_bytes(w, s->name, strlen(s->name));
        vm_put_be32(w, (uint32_t)s->instance);
        vm_put_be32(w, s->desc->version);
        if (!vmstate_save(w, s->desc, s->obj, error)) {
            g_prefix_error(error, "Cannot save section '%s' %d: ", s->name, s->instance);
            return false;
        }
        vm_put_u8(w, VM_STREAM_FOOTER);
        vm_put_be32(w, i);
    }
    vm_put_u8(w, VM_STREAM_EOF);
    return true;
}

static bool load_section(Vm *vm, VmReader *r, GError **error)
{
    uint32_t id = vm_get_be32(r);
    char name[256] = { 0 };
    g_autofree char *printable = NULL;
    uint32_t instance, version;
    Section *s;

    vm_get_bytes(r, name, vm_get_u8(r));
    instance = vm_get_be32(r);
    version = vm_get_be32(r);
    if (vm_reader_failed(r)) {
        return error_set(error, "The state ends inside the head of a section");
    }
    printable = g_strescape(name, NULL);
    s = instance <= INT32_MAX ? section_find(vm, name, (int)instance) : NULL;
    if (!s) {
        return error_set(error, "Unknown section '%s' %u: this machine is not configured as the "
                         "saved one was", printable, instance);
    }
    trace_vmstate_load_section(name, (int)instance, version);
    if (!vmstate_load(r, s->desc, s->obj, version, error)) {
        g_prefix_error(error, "Cannot load section '%s' %u: ", printable, instance);
        return false;
    }
    if (vm_get_u8(r) != VM_STREAM_FOOTER || vm_get_be32(r) != id || vm_reader_failed(r)) {
        return error_set(error, "Section '%s' %u does not end where it should", printable,
                         instance);
    }
    return true;
}

static bool load_all(Vm *vm, VmReader *r, GError **error)
{
    for (;;) {
        uint8_t type = vm_get_u8(r);

        if (vm_reader_failed(r)) {
            return error_set(error, "The state ends without an end mark");
        }
        if (type == VM_STREAM_EOF) {
            return true;
        }
        if (type != VM_STREAM_FULL) {
            return error_set(error, "The state has a section of unknown kind 0x%02x", type);
        }
        if (!load_section(vm, r, error)) {
            return false;
        }
    }
}

static void mute_device(Device *dev, void *opaque)
{
    dev->sync_muted++;
}

static void unmute_device(Device *dev, void *opaque)
{
    dev->sync_muted--;
}

static void sync_device(Device *dev, void *opaque)
{
    if (dev->realized) {
        device_sync(dev);
    }
}

/* Lines take their levels silently: the latches behind them were loaded too. */
bool vm_load_devices(Vm *vm, VmReader *r, GError **error)
{
    bool ok;

    irq_mute();
    device_foreach(vm, mute_device, NULL);
    ok = load_all(vm, r, error);
    if (ok) {
        device_foreach(vm, sync_device, NULL);
    }
    device_foreach(vm, unmute_device, NULL);
    irq_unmute();
    return ok;
}
