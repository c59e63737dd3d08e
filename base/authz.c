/* SPDX-License-Identifier: MIT */
/* Rules of authorization by id, which come and go while services run. */
#include "base/authz.h"

#include "base/error.h"

typedef struct Authz {
    AuthzFn *allows;
    void *opaque;
} Authz;

static GHashTable *all;            /* by id */

bool authz_add(const char *id, AuthzFn *allows, void *opaque, GError **error)
{
    Authz a = { allows, opaque };

    if (!all) {
        all = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    }
    if (g_hash_table_contains(all, id)) {
        return error_set(error, "There are authorization rules with id '%s' already", id);
    }
    g_hash_table_insert(all, g_strdup(id), g_memdup2(&a, sizeof(a)));
    return true;
}

void authz_remove(const char *id)
{
    if (all) {
        g_hash_table_remove(all, id);
    }
}

bool authz_allows(const char *id, const char *who, GError **error)
{
    const Authz *a = all ? g_hash_table_lookup(all, id) : NULL;

    if (!a) {
        return error_set(error, "No authorization rules with id '%s'; make them with -object "
                         "authz-list,id=%s,...", id, id);
    }
    return a->allows(a->opaque, who) || error_set(error, "'%s' does not allow '%s'", id, who);
}
