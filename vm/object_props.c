/* SPDX-License-Identifier: MIT */
/*
 * Properties by name: static rows, run-time ones (aliases, computed), and the listing.
 * Locking: main loop with the machine lock.
 */
#include "vm/object.h"
#include "base/error.h"
#include "base/json.h"
#include "base/parse.h"
#include "vm/device.h"
#include "vm/object_int.h"

typedef enum DynamicKind { DYNAMIC_ALIAS, DYNAMIC_COMPUTED } DynamicKind;

typedef struct DynamicProp {
    DynamicKind kind;
    char *name;
    const char *type;         /* interned */
    Object *target;           /* alias: not referenced, it is a child of the same object */
    char *target_name;
    Json *(*get)(Object *obj, void *opaque);
    bool (*set)(Object *obj, Json *v, void *opaque, GError **error);
    void *opaque;
} DynamicProp;

static void dynamic_free(void *p)
{
    DynamicProp *prop = p;

    g_free(prop->name);
    g_free(prop->target_name);
    g_free(prop);
}

static DynamicProp *dynamic_find(Object *obj, const char *name)
{
    return obj->dynamic ? g_hash_table_lookup(obj->dynamic, name) : NULL;
}

static DynamicProp *dynamic_add(Object *obj, const char *name, DynamicKind kind,
                                const char *type)
{
    DynamicProp *prop = g_new0(DynamicProp, 1);

    if (!obj->dynamic) {
        obj->dynamic = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, dynamic_free);
    }
    prop->kind = kind;
    prop->name = g_strdup(name);
    prop->type = g_intern_string(type);
    g_hash_table_replace(obj->dynamic, prop->name, prop);
    return prop;
}

/* "uint32"; links name their target: "link<bus>". */
static const char *row_type_name(const PropDef *prop)
{
    g_autofree char *text = NULL;

    if (prop->type != &prop_link) {
        return prop->type->name;
    }
    text = g_strdup_printf("link<%s>", (const char *)prop->arg);
    return g_intern_string(text);
}

static const char *named_type(Object *obj, const char *name)
{
    DynamicProp *dyn = dynamic_find(obj, name);
    const PropDef *row = type_find_prop(obj->type, name);

    return dyn ? dyn->type : row ? row_type_name(row) : "str";
}

void object_add_alias(Object *obj, const char *name, Object *target, const char *target_name)
{
    DynamicProp *prop = dynamic_add(obj, name, DYNAMIC_ALIAS, named_type(target, target_name));

    prop->target = target;
    prop->target_name = g_strdup(target_name);
}

void object_add_computed(Object *obj, const char *name, const char *type,
                         Json *(*get)(Object *obj, void *opaque),
                         bool (*set)(Object *obj, Json *v, void *opaque, GError **error),
                         void *opaque)
{
    DynamicProp *prop = dynamic_add(obj, name, DYNAMIC_COMPUTED, type);

    prop->get = get;
    prop->set = set;
    prop->opaque = opaque;
}

Object *object_link_target(Object *obj, const char *name)
{
    const PropDef *row = dynamic_find(obj, name) ? NULL : type_find_prop(obj->type, name);

    return row && row->type == &prop_link && prop_has_field(row)
               ? *(Object **)prop_field(obj, row) : NULL;
}

/* ---- errors ---- */

static void offer_info(const PropInfo *info, void *opaque)
{
    suggest_offer(opaque, info->name);
}

static bool not_found(Object *obj, const char *name, GError **error)
{
    Suggest s;

    suggest_init(&s, name);
    object_foreach_prop(obj, offer_info, &s);
    return error_set(error, "Property '%s.%s' not found%s", obj->type->name, name,
                     suggest_text(&s));
}

static bool read_only(Object *obj, const char *name, GError **error)
{
    return error_set(error, "Property '%s.%s' is read-only", obj->type->name, name);
}

/* Here, where programs without devices find it too. */
char *device_describe(const Device *dev)
{
    g_autofree char *path = NULL;

    if (dev->id) {
        return g_strdup(dev->id);
    }
    if (dev->bus && dev->bus->type->dev_path) {
        path = dev->bus->type->dev_path((Device *)dev);
    }
    if (!path) {
        path = object_path(&dev->obj);
    }
    return g_strdup_printf("%s at %s", dev->obj.type->name, path);
}

static bool row_may_set(Object *obj, const PropDef *prop, GError **error)
{
    if ((prop->flags & PROP_READ_ONLY) || (prop->get && !prop->set)) {
        return read_only(obj, prop->name, error);
    }
    if (!(prop->flags & PROP_LIVE) && object_is_a(obj, "device") && DEVICE(obj)->realized) {
        g_autofree char *where = device_describe(DEVICE(obj));

        return error_set(error, "Attempt to set property '%s' on device '%s' after it was "
                         "realized: set it when the device is created", prop->name, where);
    }
    /* Made by -object: what it is was settled when it was complete. */
    if (!(prop->flags & PROP_LIVE) && obj->parent && obj->parent->parent &&
        !strcmp(obj->parent->name, "objects") && type_is_creatable(obj->type)) {
        return error_set(error, "Property '%s' of object '%s' cannot be set any more: set it when "
                         "the object is created", prop->name, obj->name);
    }
    return true;
}

/* ---- setting ---- */

/* A value for a property of the named type out of command-line text. */
static Json *json_from_text(const char *type, const char *name, const char *text, GError **error)
{
    if (!strcmp(type, "bool")) {
        bool on;

        return parse_bool(name, text, &on, error) ? json_new_bool(on) : NULL;
    }
    if (!strcmp(type, "size")) {
        uint64_t bytes;

        return parse_size(name, text, 1, &bytes, error) ? json_new_uint(bytes) : NULL;
    }
    if (g_str_has_prefix(type, "uint")) {
        uint64_t n;

        return parse_uint(name, text, 0, UINT64_MAX, &n, error) ? json_new_uint(n) : NULL;
    }
    if (g_str_has_prefix(type, "int")) {
        int64_t n;

        return parse_int(name, text, INT64_MIN, INT64_MAX, &n, error) ? json_new_int(n) : NULL;
    }
    return json_new_string(text);
}

bool object_set_json(Object *obj, const char *name, Json *v, GError **error)
{
    DynamicProp *dyn = dynamic_find(obj, name);
    const PropDef *row;

    if (dyn) {
        switch (dyn->kind) {
        case DYNAMIC_ALIAS:
            return object_set_json(dyn->target, dyn->target_name, v, error);
        case DYNAMIC_COMPUTED:
            return dyn->set ? dyn->set(obj, v, dyn->opaque, error) : read_only(obj, name, error);
        }
    }
    row = type_find_prop(obj->type, name);
    if (!row) {
        return object_child(obj, name) ? read_only(obj, name, error) : not_found(obj, name, error);
    }
    if (!row_may_set(obj, row, error)) {
        return false;
    }
    return row->set ? row->set(obj, row, v, error) : row->type->from_json(obj, row, v, error);
}

bool object_set_text(Object *obj, const char *name, const char *text, GError **error)
{
    DynamicProp *dyn = dynamic_find(obj, name);
    const PropDef *row = dyn ? NULL : type_find_prop(obj->type, name);
    g_autofree char *label = NULL;
    g_autoptr(Json) v = NULL;

    if (dyn && dyn->kind == DYNAMIC_ALIAS) {
        return object_set_text(dyn->target, dyn->target_name, text, error);
    }
    if (row && prop_has_field(row)) {
        return row_may_set(obj, row, error) && row->type->parse(obj, row, text, error);
    }
    if (!dyn && !row) {
        return object_child(obj, name) ? read_only(obj, name, error) : not_found(obj, name, error);
    }
    label = g_strdup_printf("Property '%s.%s'", obj->type->name, name);
    v = json_from_text(named_type(obj, name), label, text, error);
    return v && object_set_json(obj, name, v, error);
}

/* ---- getting ---- */

static Json *path_to_json(Object *target)
{
    g_autofree char *path = target ? object_path(target) : NULL;

    return json_new_string(path);
}

Json *object_get_json(Object *obj, const char *name, GError **error)
{
    DynamicProp *dyn = dynamic_find(obj, name);
    const PropDef *row;
    Object *child;

    if (dyn) {
        switch (dyn->kind) {
        case DYNAMIC_ALIAS:
            return object_get_json(dyn->target, dyn->target_name, error);
        case DYNAMIC_COMPUTED:
            if (dyn->get) {
                return dyn->get(obj, dyn->opaque);
            }
        }
        error_set(error, "Property '%s.%s' cannot be read", obj->type->name, name);
        return NULL;
    }
    row = type_find_prop(obj->type, name);
    if (row && row->get) {
        return row->get(obj, row);
    }
    if (row && (row->set || !row->type->to_json)) {
        error_set(error, "Property '%s.%s' cannot be read", obj->type->name, name);
        return NULL;
    }
    if (row) {
        return row->type->to_json(obj, row);
    }
    child = object_child(obj, name);
    if (child) {
        return path_to_json(child);
    }
    not_found(obj, name, error);
    return NULL;
}

/* ---- shorthands whose failure is our bug ---- */

static void set_known(Object *obj, const char *name, Json *take)
{
    g_autoptr(Json) v = take;
    g_autoptr(GError) error = NULL;

    if (!object_set_json(obj, name, v, &error)) {
        g_error("%s", error->message);
    }
}

void object_set_bool(Object *obj, const char *name, bool v)
{
    set_known(obj, name, json_new_bool(v));
}

void object_set_str(Object *obj, const char *name, const char *v)
{
    set_known(obj, name, json_new_string(v));
}

bool object_get_bool(Object *obj, const char *name)
{
    g_autoptr(Json) v = object_get_json(obj, name, NULL);
    bool b = false;
    bool ok = json_get_bool(v, &b);

    g_assert(ok);
    return b;
}

uint64_t object_get_uint(Object *obj, const char *name)
{
    g_autoptr(Json) v = object_get_json(obj, name, NULL);
    int64_t i = 0;
    uint64_t u = 0;
    bool ok = json_get_uint(v, &u) || json_get_int(v, &i);

    g_assert(ok);
    return u ? u : (uint64_t)i;
}

/* ---- listing ---- */

typedef struct Listing {
    void (*fn)(const PropInfo *info, void *opaque);
    void *opaque;
} Listing;

static void list_child(Object *child, void *opaque)
{
    Listing *l = opaque;
    g_autofree char *type = g_strdup_printf("child<%s>", child->type->name);
    PropInfo info = { .name = child->name, .type = g_intern_string(type) };

    l->fn(&info, l->opaque);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

void object_foreach_prop(Object *obj, void (*fn)(const PropInfo *info, void *opaque),
                         void *opaque)
{
    Listing listing = { fn, opaque };
    unsigned count;
    const PropDef *const *tables = type_prop_tables(obj->type, &count);

    for (unsigned i = 0; i < count; i++) {
        for (const PropDef *row = tables[i]; row->name; row++) {
            PropInfo info = { row->name, row_type_name(row), row->help, row };

            /* A row that a descendant redefines is listed once, as the descendant has it. */
            if (type_find_prop(obj->type, row->name) == row) {
                fn(&info, opaque);
            }
        }
    }
    if (obj->dynamic) {
        g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(obj->dynamic), name_compare);

        for (GList *l = names; l; l = l->next) {
            DynamicProp *dyn = dynamic_find(obj, l->data);
            PropInfo info = { .name = dyn->name, .type = dyn->type };

            fn(&info, opaque);
        }
    }
    object_foreach_child(obj, list_child, &listing);
}
