/* SPDX-License-Identifier: MIT */
/* bootindex= to fw_cfg's "bootorder": devices and added paths, sorted. */
#include "hw/i386/boot_order.h"

#include <stdio.h>

#include "base/error.h"
#include "base/json.h"
#include "hw/ide/ide.h"
#include "vm/machine.h"

typedef struct Entry {
    int64_t index;
    char *path;
    char *who;                /* for messages */
} Entry;

typedef struct Collect {
    GArray *entries;
    GError **error;
    bool failed;
} Collect;

static void free_entry(gpointer p)
{
    g_free(((Entry *)p)->path);
    g_free(((Entry *)p)->who);
}

/* "/pci@i0cf8/ide@1,1/drive@0/disk@0": from the device outwards, each bus names its devices. */
static char *boot_order_path(Device *dev)
{
    g_autoptr(GString) path = g_string_new(NULL);
    const BusType *inner = dev->bus ? dev->bus->type : NULL;

    for (Device *d = dev; d && d->bus; d = d->bus->owner) {
        g_autofree char *part = d->bus->type->fw_path ? d->bus->type->fw_path(d) : NULL;

        if (part) {
            g_string_prepend(path, part);
            g_string_prepend_c(path, '/');
        } else if (g_str_equal(d->obj.type->name, "i440FX-pcihost")) {
            g_string_prepend(path, "/pci@i0cf8");
        }
    }
    /* A disk is the only unit behind an IDE drive address or a floppy's. */
    if (inner && (inner == &bus_ide || inner == &bus_sata || g_str_equal(inner->name, "virtio-bus"))) {
        g_string_append(path, "/disk@0");
    } else if (g_str_equal(dev->obj.type->name, "nvme")) {
        g_string_append(path, "/namespace@1,0");   /* its drive= */
    }
    return g_string_free(g_steal_pointer(&path), FALSE);
}

static void collect(Object *obj, void *opaque)
{
    Collect *c = opaque;

    if (object_is_a(obj, "device") && type_find_prop(obj->type, "bootindex")) {
        Device *dev = DEVICE(obj);
        g_autoptr(Json) v = object_get_json(obj, "bootindex", NULL);
        Entry e = { 0 };

        if (json_get_int(v, &e.index) && e.index >= 0) {
            e.path = boot_order_path(dev);
            e.who = device_describe(dev);
            g_array_append_val(c->entries, e);
        }
    }
    object_foreach_child(obj, collect, c);
}

static int by_index(const void *a, const void *b)
{
    int64_t x = ((const Entry *)a)->index, y = ((const Entry *)b)->index;

    return x < y ? -1 : x > y;
}

/* Loader ROMs of the one machine being built. */
static GArray *extra_paths;

void boot_order_add_path(Vm *vm, int bootindex, const char *path)
{
    Entry e = { bootindex, g_strdup(path), g_strdup(path) };

    if (!extra_paths) {
        extra_paths = g_array_new(false, false, sizeof(Entry));
    }
    g_array_append_val(extra_paths, e);
}

char *boot_order_list(Vm *vm, bool strict, size_t *len, GError **error)
{
    g_autoptr(GArray) entries = g_array_new(false, false, sizeof(Entry));
    Collect c = { .entries = entries };
    GString *list;

    g_array_set_clear_func(entries, free_entry);
    for (unsigned i = 0; extra_paths && i < extra_paths->len; i++) {
        const Entry *e = &g_array_index(extra_paths, Entry, i);
        Entry copy = { e->index, g_strdup(e->path), g_strdup(e->who) };

        g_array_append_val(entries, copy);
    }
    object_foreach_child(OBJECT(vm->machine), collect, &c);
    g_array_sort(entries, by_index);
    *len = 0;
    list = g_string_new(NULL);
    for (unsigned i = 0; i < entries->len; i++) {
        const Entry *e = &g_array_index(entries, Entry, i);

        if (i && e[-1].index == e->index) {
            error_set(error, "bootindex %d is given to both %s and %s: each value may be used once",
                      (int)e->index, e[-1].who, e->who);
            g_string_free(list, TRUE);
            return NULL;
        }
        g_string_append_printf(list, "%s%s", i ? "\n" : "", e->path);
    }
    if (strict) {
        g_string_append_printf(list, "%sHALT", list->len ? "\n" : "");
    }
    if (!list->len) {
        g_string_free(list, TRUE);
        return NULL;
    }
    *len = list->len + 1;
    return g_string_free(list, FALSE);
}
