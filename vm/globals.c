/* SPDX-License-Identifier: MIT */
/*
 * -global and the compatibility tables of versioned machines.
 * Locking: main loop.
 */
#include "base/error.h"
#include "base/log.h"
#include "vm/object.h"

typedef struct GlobalRow {
    char *driver, *property, *value;
    bool optional, used;
} GlobalRow;

static GPtrArray *globals;

static void global_free(void *p)
{
    GlobalRow *row = p;

    g_free(row->driver);
    g_free(row->property);
    g_free(row->value);
    g_free(row);
}

void globals_add(const char *driver, const char *property, const char *value, bool optional)
{
    GlobalRow *row = g_new0(GlobalRow, 1);

    if (!globals) {
        globals = g_ptr_array_new_with_free_func(global_free);
    }
    row->driver = g_strdup(driver);
    row->property = g_strdup(property);
    row->value = g_strdup(value);
    row->optional = optional;
    g_ptr_array_add(globals, row);
}

bool globals_apply(Object *obj, GError **error)
{
    for (unsigned i = 0; globals && i < globals->len; i++) {
        GlobalRow *row = g_ptr_array_index(globals, i);

        if (!object_is_a(obj, row->driver)) {
            continue;
        }
        row->used = true;
        if (row->optional && !type_find_prop(obj->type, row->property)) {
            continue;
        }
        if (!object_set_text(obj, row->property, row->value, error)) {
            g_prefix_error(error, "Cannot apply global %s.%s=%s: ", row->driver, row->property,
                           row->value);
            return false;
        }
    }
    return true;
}

void globals_warn_unused(void)
{
    for (unsigned i = 0; globals && i < globals->len; i++) {
        GlobalRow *row = g_ptr_array_index(globals, i);

        if (row->used || row->optional) {
            continue;
        }
        if (!type_find(row->driver)) {
            warn_report("global %s.%s has invalid class name", row->driver, row->property);
        } else {
            warn_report("global %s.%s=%s not used", row->driver, row->property, row->value);
        }
    }
}

void globals_clear(void)
{
    g_clear_pointer(&globals, g_ptr_array_unref);
}
