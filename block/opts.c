/* SPDX-License-Identifier: MIT */
/*
 * Options of block nodes: a flat dictionary of text, from dotted keys or from JSON.
 * No locking: an option set belongs to one caller.
 */
#include "block/graph.h"

#include "base/error.h"
#include "base/parse.h"

struct NodeOpts {
    GHashTable *table;
};

NodeOpts *node_opts_new(void)
{
    NodeOpts *opts = g_new0(NodeOpts, 1);

    opts->table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return opts;
}

void node_opts_free(NodeOpts *opts)
{
    if (opts) {
        g_hash_table_unref(opts->table);
        g_free(opts);
    }
}

NodeOpts *node_opts_copy(const NodeOpts *opts)
{
    NodeOpts *copy = node_opts_new();
    GHashTableIter iter;
    gpointer key, value;

    if (opts) {
        g_hash_table_iter_init(&iter, opts->table);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
            node_opts_set(copy, key, value);
        }
    }
    return copy;
}

void node_opts_set(NodeOpts *opts, const char *key, const char *value)
{
    g_hash_table_replace(opts->table, g_strdup(key), g_strdup(value));
}

void node_opts_default(NodeOpts *opts, const char *key, const char *value)
{
    if (!g_hash_table_contains(opts->table, key)) {
        node_opts_set(opts, key, value);
    }
}

const char *node_opts_get(const NodeOpts *opts, const char *key)
{
    return opts ? g_hash_table_lookup(opts->table, key) : NULL;
}

char *node_opts_take(NodeOpts *opts, const char *key)
{
    gpointer old_key = NULL, value = NULL;

    g_hash_table_steal_extended(opts->table, key, &old_key, &value);
    g_free(old_key);
    return value;
}

bool node_opts_take_bool(NodeOpts *opts, const char *key, bool *value, GError **error)
{
    g_autofree char *text = node_opts_take(opts, key);

    return !text || parse_bool(key, text, value, error);
}

bool node_opts_take_uint(NodeOpts *opts, const char *key, uint64_t *value, GError **error)
{
    g_autofree char *text = node_opts_take(opts, key);

    return !text || parse_uint(key, text, 0, UINT64_MAX, value, error);
}

bool node_opts_take_size(NodeOpts *opts, const char *key, uint64_t *value, GError **error)
{
    g_autofree char *text = node_opts_take(opts, key);

    return !text || parse_size(key, text, 1, value, error);
}

bool node_opts_rename(NodeOpts *opts, const char *from, const char *to, GError **error)
{
    g_autofree char *value = node_opts_take(opts, from);

    if (value && node_opts_get(opts, to)) {
        return error_set(error, "'%s' and its alias '%s' can't be used at the same time", to,
                         from);
    }
    if (value) {
        node_opts_set(opts, to, value);
    }
    return true;
}

NodeOpts *node_opts_take_prefix(NodeOpts *opts, const char *prefix)
{
    NodeOpts *sub = node_opts_new();
    size_t len = strlen(prefix);
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, opts->table);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (strncmp(key, prefix, len) == 0 && ((char *)key)[len] == '.') {
            node_opts_set(sub, (char *)key + len + 1, value);
            g_hash_table_iter_remove(&iter);
        }
    }
    return sub;
}

bool node_opts_empty(const NodeOpts *opts)
{
    return g_hash_table_size(opts->table) == 0;
}

const char *node_opts_any_key(const NodeOpts *opts)
{
    GHashTableIter iter;
    gpointer key = NULL;

    g_hash_table_iter_init(&iter, opts->table);
    return g_hash_table_iter_next(&iter, &key, NULL) ? key : NULL;
}

typedef struct AddJson {
    NodeOpts *opts;
    const char *prefix;
    GError **error;
} AddJson;

static bool add_json(NodeOpts *opts, const char *key, const Json *value, GError **error);

static bool add_member(const char *key, Json *value, void *opaque)
{
    AddJson *a = opaque;
    g_autofree char *sub = a->prefix[0] ? g_strconcat(a->prefix, ".", key, NULL)
                                        : g_strdup(key);

    return add_json(a->opts, sub, value, a->error);
}

static bool add_json(NodeOpts *opts, const char *key, const Json *value, GError **error)
{
    AddJson members = { opts, key, error };

    switch (json_kind(value)) {
    case JSON_DICT:
        return json_dict_foreach(value, add_member, &members);
    case JSON_LIST:
        for (size_t i = 0; i < json_list_len(value); i++) {
            g_autofree char *sub = g_strdup_printf("%s.%zu", key, i);
            if (!add_json(opts, sub, json_list_at(value, i), error)) {
                return false;
            }
        }
        return true;
    case JSON_STRING:
        node_opts_set(opts, key, json_get_string(value));
        return true;
    case JSON_BOOL: {
        bool on = false;

        json_get_bool(value, &on);
        node_opts_set(opts, key, on ? "on" : "off");
        return true;
    }
    case JSON_NULL:
        node_opts_set(opts, key, "");
        return true;
    case JSON_INT: {
        g_autofree char *text = json_to_string(value);

        node_opts_set(opts, key, text);
        return true;
    }
    default:
        return error_set(error, "Parameter '%s' cannot be a fractional number", key);
    }
}

bool node_opts_add_json(NodeOpts *opts, const Json *dict, GError **error)
{
    if (!json_is(dict, JSON_DICT)) {
        return error_set(error, "Block device options must be a JSON object");
    }
    return add_json(opts, "", dict, error);
}

bool node_opts_add_keyval(NodeOpts *opts, const char *text, const char *implied, GError **error)
{
    const char *p = text;
    bool first = true;

    while (*p) {
        g_autoptr(GString) item = g_string_new(NULL);
        char *eq;

        while (*p && (*p != ',' || p[1] == ',')) {
            p += *p == ',';
            g_string_append_c(item, *p++);
        }
        p += *p == ',';
        eq = strchr(item->str, '=');
        if (eq) {
            *eq = '\0';
            node_opts_set(opts, item->str, eq + 1);
        } else if (first && implied) {
            node_opts_set(opts, implied, item->str);
        } else if (g_str_has_prefix(item->str, "no") && item->len > 2) {
            node_opts_set(opts, item->str + 2, "off");
        } else if (item->len) {
            node_opts_set(opts, item->str, "on");
        } else {
            return error_set(error, "Expected 'key=value' in '%s'", text);
        }
        first = false;
    }
    return true;
}
