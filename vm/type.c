/* SPDX-License-Identifier: MIT */
/*
 * The table of types: rows found in the linker section rhea_types, resolved by name when first
 * asked for.
 * Locking: the table's own mutex, since accelerators' threads look types up too; rows and
 * resolved entries are immutable and never freed.
 */
#include "vm/object.h"
#include "base/thread.h"
#include "vm/device.h"
#include "vm/object_int.h"

extern const TypeRow __start_rhea_types[] __attribute__((weak));
extern const TypeRow __stop_rhea_types[] __attribute__((weak));

typedef struct TypeEntry TypeEntry;
struct TypeEntry {
    const ObjectType *row;
    const char *default_parent;
    TypeEntry *parent;
    bool resolved;
    size_t size;
    GPtrArray *tables;        /* const PropDef *, ancestors first */
};

static Mutex types_mutex = { .lock = PTHREAD_MUTEX_INITIALIZER, .name = "types",
                             .rank = LOCK_RANK_LEAF };
static GHashTable *types;     /* name -> TypeEntry */

static void types_insert(const TypeRow *collected)
{
    TypeEntry *entry = g_new0(TypeEntry, 1);
    const ObjectType *row = collected->type;

    g_assert(row->name);
    if (g_hash_table_contains(types, row->name)) {
        g_error("type '%s' is defined twice", row->name);
    }
    entry->row = row;
    entry->default_parent = collected->default_parent;
    g_hash_table_insert(types, (char *)row->name, entry);
}

static GHashTable *types_table_locked(void)
{
    if (!types) {
        types = g_hash_table_new(g_str_hash, g_str_equal);
        for (const TypeRow *row = __start_rhea_types; row < __stop_rhea_types; row++) {
            types_insert(row);
        }
    }
    return types;
}

/* A device row that names only its bus descends from the bus's own device type. */
static const char *entry_parent_name(const TypeEntry *entry)
{
    const ObjectType *row = entry->row;
    const DeviceType *dev = (const DeviceType *)(const void *)row;
    const char *parent = row->parent ? row->parent : entry->default_parent;

    if (!strcmp(parent, "device") && dev->bus && dev->bus->device_type &&
        strcmp(dev->bus->device_type, row->name) != 0 &&
        g_hash_table_contains(types, dev->bus->device_type)) {
        return dev->bus->device_type;
    }
    return parent;
}

static bool entry_is_a(const TypeEntry *entry, const char *ancestor)
{
    for (; entry; entry = entry->parent) {
        if (!strcmp(entry->row->name, ancestor)) {
            return true;
        }
    }
    return false;
}

static void add_table(GPtrArray *tables, const PropDef *table)
{
    if (table && !g_ptr_array_find(tables, table, NULL)) {
        g_ptr_array_add(tables, (void *)table);
    }
}

static void entry_resolve(TypeEntry *entry)
{
    const ObjectType *row = entry->row;

    if (entry->resolved) {
        return;
    }
    entry->resolved = true;
    entry->tables = g_ptr_array_new();
    entry->size = row->size;
    if (strcmp(row->name, "object") != 0) {
        const char *parent = entry_parent_name(entry);

        entry->parent = g_hash_table_lookup(types, parent);
        if (!entry->parent) {
            g_error("type '%s' has the unknown parent '%s'", row->name, parent);
        }
        entry_resolve(entry->parent);
        for (unsigned i = 0; i < entry->parent->tables->len; i++) {
            add_table(entry->tables, g_ptr_array_index(entry->parent->tables, i));
        }
        if (!entry->size) {
            entry->size = entry->parent->size;
        }
        g_assert(entry->size >= entry->parent->size);
    }
    if (entry_is_a(entry, "device")) {
        const BusType *bus = ((const DeviceType *)(const void *)row)->bus;

        add_table(entry->tables, bus ? bus->device_props : NULL);
    }
    add_table(entry->tables, row->props);
}

static TypeEntry *entry_find(const char *name)
{
    TypeEntry *entry;

    mutex_lock(&types_mutex);
    entry = g_hash_table_lookup(types_table_locked(), name);
    if (entry) {
        entry_resolve(entry);
    }
    mutex_unlock(&types_mutex);
    return entry;
}

void type_register(const TypeRow *row)
{
    mutex_lock(&types_mutex);
    types_table_locked();
    types_insert(row);
    mutex_unlock(&types_mutex);
}

const ObjectType *type_find(const char *name)
{
    TypeEntry *entry = entry_find(name);

    return entry ? entry->row : NULL;
}

const ObjectType *type_parent(const ObjectType *type)
{
    TypeEntry *entry = entry_find(type->name);

    return entry && entry->parent ? entry->parent->row : NULL;
}

bool type_is_creatable(const ObjectType *type)
{
    for (const ObjectType *t = type; t; t = type_parent(t)) {
        if (t->complete) {
            return !type->abstract;
        }
    }
    return false;
}

bool type_is_a(const ObjectType *type, const char *ancestor)
{
    TypeEntry *entry = entry_find(type->name);

    return entry && entry_is_a(entry, ancestor);
}

const PropDef *const *type_prop_tables(const ObjectType *type, unsigned *count)
{
    TypeEntry *entry = entry_find(type->name);

    g_assert(entry);
    *count = entry->tables->len;
    return (const PropDef *const *)entry->tables->pdata;
}

size_t type_instance_size(const ObjectType *type)
{
    TypeEntry *entry = entry_find(type->name);

    g_assert(entry);
    return entry->size;
}

static int row_compare(const void *a, const void *b)
{
    const ObjectType *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

void type_foreach(const char *ancestor, bool with_abstract,
                  void (*fn)(const ObjectType *type, void *opaque), void *opaque)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new();
    GHashTableIter iter;
    void *value;

    mutex_lock(&types_mutex);
    g_hash_table_iter_init(&iter, types_table_locked());
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        TypeEntry *entry = value;

        entry_resolve(entry);
        if ((with_abstract || !entry->row->abstract) &&
            (!ancestor || entry_is_a(entry, ancestor))) {
            g_ptr_array_add(rows, (void *)entry->row);
        }
    }
    mutex_unlock(&types_mutex);
    g_ptr_array_sort(rows, row_compare);
    for (unsigned i = 0; i < rows->len; i++) {
        fn(g_ptr_array_index(rows, i), opaque);
    }
}

/* The youngest table wins: a child may redefine its parent's row. */
const PropDef *type_find_prop(const ObjectType *type, const char *name)
{
    unsigned count;
    const PropDef *const *tables = type_prop_tables(type, &count);

    while (count-- > 0) {
        for (const PropDef *prop = tables[count]; prop->name; prop++) {
            if (!strcmp(prop->name, name)) {
                return prop;
            }
        }
    }
    return NULL;
}
