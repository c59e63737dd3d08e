/* SPDX-License-Identifier: MIT */
/*
 * Objects: life, tree and paths.  Types are in type.c, properties in object_props.c.
 * Locking: main loop with the machine lock; reference counts are atomic.
 */
#include "vm/object.h"
#include "base/error.h"
#include "base/rcu.h"
#include "vm/device.h"
#include "vm/object_int.h"
#include "vm/vm.h"

/* The property "type" that clients see is the monitor's. */
OBJECT_TYPE(object, .name = "object", .size = sizeof(Object), .abstract = true);

/* ---- life ---- */

/*
 * CPU state holds vector registers: a cache line satisfies them all.  In front of the object is
 * an RcuHead: a reader of the memory map may still look at a region inside a device that has just
 * been unplugged.
 */
#define OBJECT_ALIGN 64
G_STATIC_ASSERT(sizeof(RcuHead) <= OBJECT_ALIGN);

static void object_free_rcu(RcuHead *head)
{
    g_aligned_free(head);
}

static void init_hooks(Object *obj, const ObjectType *type)
{
    const ObjectType *parent = type_parent(type);

    if (parent) {
        init_hooks(obj, parent);
    }
    if (type->init) {
        type->init(obj);
    }
}

static void each_field_prop(Object *obj, void (*fn)(Object *obj, const PropDef *prop))
{
    unsigned count;
    const PropDef *const *tables = type_prop_tables(obj->type, &count);

    for (unsigned i = 0; i < count; i++) {
        for (const PropDef *prop = tables[i]; prop->name; prop++) {
            if (prop_has_field(prop)) {
                fn(obj, prop);
            }
        }
    }
}

static void set_default(Object *obj, const PropDef *prop)
{
    if (prop->type->set_default) {
        prop->type->set_default(obj, prop);
    }
}

static void release_value(Object *obj, const PropDef *prop)
{
    if (prop->type->release) {
        prop->type->release(obj, prop);
    }
}

void object_setup(Object *obj, const ObjectType *type)
{
    obj->type = type;
    obj->refs = 1;
    each_field_prop(obj, set_default);
    init_hooks(obj, type);
}

Object *object_alloc(const ObjectType *type)
{
    size_t size = OBJECT_ALIGN + align_up(type_instance_size(type), OBJECT_ALIGN);
    char *block = g_aligned_alloc0(1, size, OBJECT_ALIGN);

    g_assert(!type->abstract);
    return (Object *)(void *)(block + OBJECT_ALIGN);
}

Object *object_new_known(const ObjectType *type)
{
    Object *obj = object_alloc(type);

    object_setup(obj, type);
    return obj;
}

static void offer_type(const ObjectType *type, void *opaque)
{
    suggest_offer(opaque, type->name);
}

Object *object_new(const char *type_name, GError **error)
{
    const ObjectType *type = type_find(type_name);

    if (!type) {
        Suggest s;

        suggest_init(&s, type_name);
        type_foreach(NULL, false, offer_type, &s);
        error_set(error, "There is no object type '%s'%s", type_name, suggest_text(&s));
        return NULL;
    }
    if (type->abstract) {
        error_set(error, "Object type '%s' is abstract: only its descendants can be created",
                  type_name);
        return NULL;
    }
    return object_new_known(type);
}

void object_init_embedded(Object *obj, const ObjectType *type)
{
    object_setup(obj, type);
    obj->embedded = true;
}

static void drop_children(Object *obj)
{
    while (obj->children && g_hash_table_size(obj->children) > 0) {
        GHashTableIter iter;
        void *child;

        g_hash_table_iter_init(&iter, obj->children);
        g_hash_table_iter_next(&iter, NULL, &child);
        object_unparent(child);
    }
}

static void object_dismantle(Object *obj)
{
    drop_children(obj);
    for (const ObjectType *type = obj->type; type; type = type_parent(type)) {
        if (type->finalize) {
            type->finalize(obj);
        }
    }
    drop_children(obj);
    each_field_prop(obj, release_value);
    g_clear_pointer(&obj->children, g_hash_table_unref);
    g_clear_pointer(&obj->dynamic, g_hash_table_unref);
    g_clear_pointer(&obj->name, g_free);
}

void object_clear_embedded(Object *obj)
{
    object_unparent(obj);
    object_dismantle(obj);
    obj->type = NULL;
}

Object *object_ref(Object *obj)
{
    g_atomic_int_inc(&obj->refs);
    return obj;
}

void object_unref(Object *obj)
{
    if (!obj || !g_atomic_int_dec_and_test(&obj->refs)) {
        return;
    }
    g_assert(!obj->parent && !obj->embedded);
    object_dismantle(obj);
    rcu_call((RcuHead *)(void *)((char *)obj - OBJECT_ALIGN), object_free_rcu);
}

bool object_is_a(const Object *obj, const char *type)
{
    return type_is_a(obj->type, type);
}

/* ---- tree ---- */

void object_add_child(Object *parent, const char *name, Object *child)
{
    g_assert(!child->parent && !strchr(name, '/'));
    if (!parent->children) {
        parent->children = g_hash_table_new(g_str_hash, g_str_equal);
    }
    if (g_str_has_suffix(name, "[*]")) {
        unsigned n = 0;

        do {
            g_free(child->name);
            child->name = g_strdup_printf("%.*s[%u]", (int)strlen(name) - 3, name, n++);
        } while (g_hash_table_contains(parent->children, child->name));
    } else {
        g_free(child->name);
        child->name = g_strdup(name);
        g_assert(!g_hash_table_contains(parent->children, name));
    }
    child->parent = parent;
    g_hash_table_insert(parent->children, child->name, object_ref(child));
}

void object_unparent(Object *obj)
{
    Object *parent = obj->parent;

    if (!parent) {
        return;
    }
    g_hash_table_remove(parent->children, obj->name);
    obj->parent = NULL;
    object_unref(obj);
}

void object_move(Object *obj, Object *parent, const char *name)
{
    object_ref(obj);
    object_unparent(obj);
    object_add_child(parent, name, obj);
    object_unref(obj);
}

Object *object_child(Object *parent, const char *name)
{
    return parent->children ? g_hash_table_lookup(parent->children, name) : NULL;
}

static int object_name_compare(const void *a, const void *b)
{
    const Object *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* Sorted, so that walks are reproducible; FN may remove the child it is given. */
void object_foreach_child(Object *obj, void (*fn)(Object *child, void *opaque), void *opaque)
{
    g_autoptr(GPtrArray) list = NULL;
    GHashTableIter iter;
    void *child;

    if (!obj->children) {
        return;
    }
    list = g_ptr_array_new_with_free_func((GDestroyNotify)object_unref);
    g_hash_table_iter_init(&iter, obj->children);
    while (g_hash_table_iter_next(&iter, NULL, &child)) {
        g_ptr_array_add(list, object_ref(child));
    }
    g_ptr_array_sort(list, object_name_compare);
    for (unsigned i = 0; i < list->len; i++) {
        fn(g_ptr_array_index(list, i), opaque);
    }
}

char *object_path(const Object *obj)
{
    GString *path = g_string_new(NULL);

    for (; obj && obj->parent; obj = obj->parent) {
        g_string_prepend(path, obj->name);
        g_string_prepend_c(path, '/');
    }
    if (!path->len) {
        g_string_append_c(path, '/');
    }
    return g_string_free(path, FALSE);
}

OBJECT_TYPE(container, .name = "container", .size = sizeof(Object));

Object *object_new_container(Object *parent, const char *name)
{
    Object *obj = object_new_known(&container_type);

    if (parent) {
        object_add_child(parent, name, obj);
        object_unref(obj);
    }
    return obj;
}

Object *object_root(Object *obj)
{
    Object *top = obj;

    while (top->parent) {
        top = top->parent;
    }
    if (object_is_a(top, "device") && DEVICE(top)->vm) {
        return DEVICE(top)->vm->root;
    }
    return top;
}

/* One step of a path: a child, or where a link points. */
static Object *path_step(Object *obj, const char *name)
{
    Object *child = object_child(obj, name);

    return child ? child : object_link_target(obj, name);
}

static Object *walk(Object *from, char **parts)
{
    for (; from && *parts; parts++) {
        if (**parts) {
            from = path_step(from, *parts);
        }
    }
    return from;
}

typedef struct PartialSearch {
    char **parts;
    Object *found;
    unsigned count;
} PartialSearch;

static void search_below(Object *obj, void *opaque)
{
    PartialSearch *s = opaque;
    Object *found = walk(obj, s->parts);

    if (found && found != s->found) {
        s->found = found;
        s->count++;
    }
    object_foreach_child(obj, search_below, s);
}

Object *object_resolve(Object *root, const char *path, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    PartialSearch s = { .parts = parts };

    if (path[0] == '/') {
        s.found = walk(root, parts);
        s.count = s.found != NULL;
    } else if (path[0]) {
        search_below(root, &s);
    }
    if (s.count == 1) {
        return s.found;
    }
    if (s.count > 1) {
        error_set(error, "Path '%s' is ambiguous: give more of it, or an absolute path", path);
    } else {
        error_set_code(error, VM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", path);
    }
    return NULL;
}
