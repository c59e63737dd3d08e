/* SPDX-License-Identifier: MIT */
/* QMP: objects. */
#include "base/error.h"
#include "monitor/create.h"
#include "qapi/qapi_commands.h"
#include "vm/device.h"
#include "vm/vm.h"

#include <string.h>

static Object *find_object(QmpCall *call, const char *path, GError **error)
{
    g_autoptr(GError) why = NULL;
    Object *obj = object_resolve(call->vm->root, path, &why);

    if (!obj) {
        error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    }
    return obj;
}

static void add_info(GPtrArray *list, const char *name, const char *type, const char *help)
{
    QapiObjectPropertyInfo *row = g_new0(QapiObjectPropertyInfo, 1);

    row->name = g_strdup(name);
    row->type = g_strdup(type);
    row->description = g_strdup(help);
    g_ptr_array_add(list, row);
}

static void list_prop(const PropInfo *info, void *opaque)
{
    add_info(opaque, info->name, info->type, info->help);
}

bool qmp_qom_list(QmpCall *call, const QmpQomListArgs *args, GPtrArray **ret, GError **error)
{
    Object *obj = find_object(call, args->path, error);

    if (!obj) {
        return false;
    }
    *ret = qapi_list_new(&qapi_type_QapiObjectPropertyInfo);
    add_info(*ret, "type", "string", NULL);
    object_foreach_prop(obj, list_prop, *ret);
    return true;
}

bool qmp_qom_get(QmpCall *call, const QmpQomGetArgs *args, Json **ret, GError **error)
{
    Object *obj = find_object(call, args->path, error);
    g_autoptr(GError) why = NULL;

    if (!obj) {
        return false;
    }
    if (strcmp(args->property, "type") == 0) {
        *ret = json_new_string(obj->type->name);
        return true;
    }
    *ret = object_get_json(obj, args->property, &why);
    if (why) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    return true;
}

bool qmp_qom_set(QmpCall *call, const QmpQomSetArgs *args, GError **error)
{
    Object *obj = find_object(call, args->path, error);

    return obj && object_set_json(obj, args->property, args->value, error);
}

typedef struct Listing {
    GPtrArray *list;
    bool creatable;              /* those only */
} Listing;

static void list_type(const ObjectType *type, void *opaque)
{
    Listing *listing = opaque;
    const ObjectType *parent = type_parent(type);
    QapiObjectTypeInfo *row;

    if (listing->creatable && !type_is_creatable(type)) {
        return;
    }
    row = g_new0(QapiObjectTypeInfo, 1);
    row->name = g_strdup(type->name);
    row->has_abstract = row->abstract = type->abstract;
    row->parent = parent ? g_strdup(parent->name) : NULL;
    g_ptr_array_add(listing->list, row);
}

bool qmp_qom_list_types(QmpCall *call, const QmpQomListTypesArgs *args, GPtrArray **ret,
                        GError **error)
{
    Listing listing = { qapi_list_new(&qapi_type_QapiObjectTypeInfo) };

    /* QEMU's interface: here it is a hook. */
    listing.creatable = g_strcmp0(args->implements, "user-creatable") == 0;
    if (!args->implements || listing.creatable || type_find(args->implements)) {
        type_foreach(listing.creatable ? NULL : args->implements,
                     args->has_abstract && args->abstract, list_type, &listing);
    }
    *ret = listing.list;
    return true;
}

static Json *default_value(const PropDef *p)
{
    const char *t = p->type->name;

    if (p->get || !p->type->set_default) {
        return NULL;
    }
    if (p->type == &prop_bool || p->type == &prop_bit32 || p->type == &prop_bit64) {
        return json_new_bool(p->def);
    }
    if (p->type == &prop_u8 || p->type == &prop_u16 || p->type == &prop_u32 ||
        p->type == &prop_u64 || p->type == &prop_size) {
        return json_new_uint(p->def);
    }
    if (p->type == &prop_i32 || p->type == &prop_i64) {
        return json_new_int((int64_t)p->def);
    }
    if (p->type == &prop_on_off_auto) {
        static const char *const words[] = { "auto", "on", "off" };

        return json_new_string(words[p->def < 3 ? p->def : 0]);
    }
    if (p->type == &prop_enum && p->arg) {
        return json_new_string(((const char *const *)p->arg)[p->def]);
    }
    return strcmp(t, "str") == 0 && p->def_str ? json_new_string(p->def_str) : NULL;
}

static void list_rows(const PropDef *p, bool all, GPtrArray *list, GHashTable *seen)
{
    for (; p && p->name; p++) {
        QapiObjectPropertyInfo *row;

        if ((!all && p->flags & PROP_HIDDEN) || !g_hash_table_add(seen, (void *)p->name)) {
            continue;
        }
        row = g_new0(QapiObjectPropertyInfo, 1);
        row->name = g_strdup(p->name);
        row->type = g_strdup(p->type->name);
        row->description = g_strdup(p->help);
        row->default_value = default_value(p);
        g_ptr_array_add(list, row);
    }
}

/* The rows of TYPE, its ancestors, its bus, and the model that it lends the rows of; an own row hides
 * an inherited one. */
GPtrArray *qmp_list_type_props(const ObjectType *type, bool all)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *list = qapi_list_new(&qapi_type_QapiObjectPropertyInfo);

    for (const ObjectType *t = type; t; t = type_parent(t)) {
        list_rows(t->props, all, list, seen);
    }
    if (type_is_a(type, "device") && ((const DeviceType *)type)->bus) {
        list_rows(((const DeviceType *)type)->bus->device_props, all, list, seen);
    }
    if (type_is_a(type, "device") && ((const DeviceType *)type)->model) {
        const char *model = ((const DeviceType *)type)->model;

        for (const ObjectType *t = type_find(model); t; t = type_parent(t)) {
            list_rows(t->props, all, list, seen);
        }
    }
    return list;
}

bool qmp_qom_list_properties(QmpCall *call, const QmpQomListPropertiesArgs *args, GPtrArray **ret,
                             GError **error)
{
    const ObjectType *type = type_find(args->typename);

    if (!type) {
        return error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Class '%s' not found",
                              args->typename);
    }
    *ret = qmp_list_type_props(type, true);
    return true;
}

bool qmp_object_add(QmpCall *call, const Json *args, GError **error)
{
    return create_object(call->vm, args, error) != NULL;
}

bool qmp_object_del(QmpCall *call, const QmpObjectDelArgs *args, GError **error)
{
    return delete_object(call->vm, args->id, error);
}
