/* SPDX-License-Identifier: MIT */
/* HMP: the device tree and the object tree. */
#include "monitor/hmp.h"

#include "base/error.h"
#include "vm/machine.h"

#include <string.h>

static void print_bus(Monitor *mon, Bus *bus, unsigned indent);

typedef struct Printing {
    Monitor *mon;
    Object *obj;
    unsigned indent;
} Printing;

static void print_prop(const PropInfo *info, void *opaque)
{
    Printing *p = opaque;
    g_autoptr(Json) value = NULL;
    g_autofree char *text = NULL;

    if (!info->def || info->def->flags & PROP_HIDDEN) {
        return;
    }
    if (info->def->type->print && !info->def->get) {
        text = info->def->type->print(p->obj, info->def);
    } else {
        value = object_get_json(p->obj, info->name, NULL);
        text = json_to_string(value);
    }
    monitor_printf(p->mon, "%*s%s = %s\n", (int)p->indent, "", info->name, text);
}

static void print_device(Monitor *mon, Device *dev, unsigned indent)
{
    Printing p = { mon, OBJECT(dev), indent + 2 };

    monitor_printf(mon, "%*sdev: %s, id \"%s\"\n", (int)indent, "", dev->obj.type->name,
                   dev->id ? dev->id : "");
    object_foreach_prop(OBJECT(dev), print_prop, &p);
    for (unsigned i = 0; dev->buses && i < dev->buses->len; i++) {
        print_bus(mon, dev->buses->pdata[i], indent + 2);
    }
}

static void print_bus(Monitor *mon, Bus *bus, unsigned indent)
{
    if (indent > 64) {
        return;
    }
    monitor_printf(mon, "%*sbus: %s\n%*s  type %s\n", (int)indent, "", bus->obj.name,
                   (int)indent, "", bus->type->name);
    for (unsigned i = 0; bus->devices && i < bus->devices->len; i++) {
        print_device(mon, bus->devices->pdata[i], indent + 2);
    }
}

void hmp_info_qtree(Monitor *mon, const Json *args)
{
    print_bus(mon, &monitor_vm(mon)->system_bus, 0);
}

static void print_object(Object *obj, void *opaque)
{
    Printing *up = opaque;
    Printing inner = { up->mon, NULL, up->indent + 2 };

    monitor_printf(up->mon, "%*s/%s (%s)\n", (int)up->indent, "", obj->name ? obj->name : "",
                   obj->type->name);
    object_foreach_child(obj, print_object, &inner);
}

void hmp_info_qom_tree(Monitor *mon, const Json *args)
{
    const char *path = json_lookup_string(args, "path");
    g_autoptr(GError) error = NULL;
    Object *obj = object_resolve(monitor_vm(mon)->root, path ? path : "/machine", &error);
    Printing p = { mon, NULL, 0 };

    if (!obj) {
        monitor_printf(mon, "Error: %s\n", error->message);
        return;
    }
    print_object(obj, &p);
}
