/* SPDX-License-Identifier: MIT */
/*
 * Reopening: nodes in use get other options, or become writable or read-only.
 * Locking: main loop only.
 */
#include "block/graph_int.h"

/* ---- read-only and back ---- */

typedef struct Reopen {
    BlockNode *node;
    bool read_only, ok;
    GError **error;
} Reopen;

static void co_reopen(void *opaque)
{
    Reopen *r = opaque;

    r->ok = r->node->type->reopen(r->node, r->read_only, r->error);
}

static bool reopen_type(BlockNode *node, bool read_only, GError **error)
{
    Reopen r = { node, read_only, true, error };

    if (node->type->reopen) {
        graph_run(node, co_reopen, &r);
    }
    return r.ok;
}

static bool may_follow(const BlockNode *child)
{
    return (child->flags & NODE_OPEN_AUTO_RO) || !child->monitor_owned;
}

/* The files below, before NODE becomes writable or after it ceased to be. */
static bool children_follow(BlockNode *node, bool read_only, GError **error)
{
    for (unsigned i = 0; i < node->children->len; i++) {
        BlockChild *edge = node->children->pdata[i];
        BlockNode *child = edge->node;

        if (edge == node->backing || child->read_only == read_only) {
            continue;
        }
        if (!may_follow(child)) {
            if (read_only) {
                continue;
            }
            return error_set(error, "Block node '%s' below '%s' is read-only", child->name,
                             node->name);
        }
        /* Others may still write there. */
        if (!node_set_read_only(child, read_only, read_only ? NULL : error) && !read_only) {
            return false;
        }
    }
    return true;
}

static bool become_writable(BlockNode *node, GError **error)
{
    if (!children_follow(node, false, error)) {
        return false;
    }
    node->read_only = false;
    if (graph_refresh_one(node, error) && reopen_type(node, false, error)) {
        node->flags |= NODE_OPEN_RDWR;
        return true;
    }
    node->read_only = true;
    graph_refresh_one(node, NULL);
    children_follow(node, true, NULL);
    return false;
}

static bool become_read_only(BlockNode *node, GError **error)
{
    int ret = 0;

    if (node->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED | BLK_PERM_RESIZE)) {
        return error_set(error, "Cannot make block node '%s' read-only: it is being written to",
                         node->name);
    }
    if (node->dirty_since_flush && !node->no_flush) {
        ret = node_flush(node);
    }
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not flush '%s'", node->name);
    }
    if (!reopen_type(node, true, error)) {
        return false;
    }
    node->read_only = true;
    node->flags &= ~NODE_OPEN_RDWR;
    graph_refresh_one(node, NULL);          /* needs less than before */
    return children_follow(node, true, error);
}

bool node_set_read_only(BlockNode *node, bool read_only, GError **error)
{
    bool ok;

    if (node->read_only == read_only) {
        return true;
    }
    node_drained_begin(node);
    ok = read_only ? become_read_only(node, error) : become_writable(node, error);
    node_drained_end(node);
    return ok;
}

/* ---- other options ---- */

/* Options of all nodes that can change; a type may have more, all others must be what they were. */
static const char *const changeable[] = {
    "read-only", "auto-read-only", "discard", "detect-zeroes", "cache.no-flush", "force-share",
    "backing", "file",
};

static bool is_changeable(const NodeType *type, const char *key)
{
    for (unsigned i = 0; i < ARRAY_LEN(changeable); i++) {
        if (g_str_equal(changeable[i], key)) {
            return true;
        }
    }
    return type->changeable && g_strv_contains(type->changeable, key);
}

typedef struct ChangeOptions {
    BlockNode *node;
    NodeOpts *opts;
    bool ok;
    GError **error;
} ChangeOptions;

static void co_change_options(void *opaque)
{
    ChangeOptions *c = opaque;

    c->ok = c->node->type->change_options(c->node, c->opts, c->error);
}

static bool change_options(BlockNode *node, const NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) copy = node_opts_copy(opts);
    ChangeOptions c = { node, copy, true, error };

    if (node->type->change_options) {
        graph_run(node, co_change_options, &c);
    }
    return c.ok;
}

/* Children that are no nodes of their own, given by options, stay as they are too. */
static bool same_options(const BlockNode *node, const NodeOpts *a, const NodeOpts *b,
                         GError **error)
{
    g_autoptr(NodeOpts) left = node_opts_copy(a);
    const char *key;

    while ((key = node_opts_any_key(left)) != NULL) {
        g_autofree char *name = g_strdup(key);
        g_autofree char *value = node_opts_take(left, name);

        if (!is_changeable(node->type, name) && g_strcmp0(value, node_opts_get(b, name)) != 0 &&
            !g_str_equal(name, "node-name") && !g_str_equal(name, "driver")) {
            return error_set(error, "Cannot change the option '%s' of node '%s'", name,
                             node->name);
        }
    }
    return true;
}

typedef struct NodeReopen {
    BlockNode *node;
    NodeOpts *opts;
    BlockNode *backing, *file;         /* wanted; borrowed */
    bool set_backing, set_file, read_only, no_flush, discard;
    DetectZeroes detect;
    BlockNode *old_backing, *old_file; /* references */
    bool old_read_only;
    bool did_backing, did_file, did_read_only, did_options;
} NodeReopen;

static bool take_child(NodeReopen *r, const char *key, BlockNode **child, bool *set,
                       GError **error)
{
    const char *name = node_opts_get(r->opts, key);

    *set = name != NULL;
    *child = name && *name ? node_by_name(name) : NULL;
    if (name && *name && !*child) {
        return error_set(error, "Cannot find device='' nor node-name='%s'", name);
    }
    return true;
}

static bool reopen_parse(NodeReopen *r, GError **error)
{
    BlockNode *node = r->node;
    g_autoptr(NodeOpts) copy = node_opts_copy(r->opts);
    g_autofree char *discard = node_opts_take(copy, "discard");
    g_autofree char *detect = node_opts_take(copy, "detect-zeroes");

    if (g_strcmp0(node_opts_get(r->opts, "driver"), node->type->name) != 0) {
        return error_set(error, "Cannot change the option 'driver' of node '%s'", node->name);
    }
    if (!same_options(node, r->opts, node->options, error) ||
        !same_options(node, node->options, r->opts, error) ||
        !node_opts_take_bool(copy, "read-only", &r->read_only, error) ||
        !node_opts_take_bool(copy, "cache.no-flush", &r->no_flush, error)) {
        return false;
    }
    r->discard = discard ? !g_str_equal(discard, "ignore") : node->type->is_protocol;
    r->detect = !detect || g_str_equal(detect, "off") ? DETECT_OFF
                : g_str_equal(detect, "on") ? DETECT_ON : DETECT_UNMAP;
    if (r->detect == DETECT_UNMAP && !r->discard) {
        return error_set(error, "setting detect-zeroes to unmap is not allowed without setting "
                         "discard operation to unmap");
    }
    if (!take_child(r, "backing", &r->backing, &r->set_backing, error) ||
        !take_child(r, "file", &r->file, &r->set_file, error)) {
        return false;
    }
    if (node->type->has_backing && node->backing && !r->set_backing &&
        !node_opts_get(r->opts, "backing.driver")) {
        return error_set(error, "backing is missing for '%s'", node->name);
    }
    return true;
}

static bool reopen_apply(NodeReopen *r, GError **error)
{
    BlockNode *node = r->node;

    r->old_backing = node->backing ? node_ref(node->backing->node) : NULL;
    r->old_file = node->file ? node_ref(node->file->node) : NULL;
    r->old_read_only = node->read_only;
    if (r->set_file && r->file != r->old_file) {
        if (!r->file || !node->file || r->file->length < r->old_file->length) {
            return error_set(error, "Cannot change 'file' of node '%s' to something shorter",
                             node->name);
        }
        if (!node_change_child(node->file, r->file, error)) {
            return false;
        }
        r->did_file = true;
    }
    if (r->read_only != node->read_only) {
        if (!node_set_read_only(node, r->read_only, error)) {
            return false;
        }
        r->did_read_only = true;
    }
    if (r->set_backing && r->backing != r->old_backing) {
        if (!node->type->has_backing) {
            return error_set(error, "Driver '%s' of node '%s' does not support backing files",
                             node->type->name, node->name);
        }
        if (!node_set_backing(node, r->backing, error)) {
            return false;
        }
        r->did_backing = true;
    }
    r->did_options = change_options(node, r->opts, error);
    return r->did_options;
}

static void reopen_undo(NodeReopen *r)
{
    if (r->did_options) {
        change_options(r->node, r->node->options, NULL);
    }
    if (r->did_backing) {
        node_set_backing(r->node, r->old_backing, NULL);
    }
    if (r->did_read_only) {
        node_set_read_only(r->node, r->old_read_only, NULL);
    }
    if (r->did_file) {
        node_change_child(r->node->file, r->old_file, NULL);
    }
}

static void reopen_finish(NodeReopen *r)
{
    BlockNode *node = r->node;

    node->no_flush = r->no_flush;
    node->discard_unmap = r->discard;
    node->detect_zeroes = r->detect;
    node_opts_free(node->options);
    node->options = node_opts_copy(r->opts);
}

bool node_reopen(NodeOpts *const *opts, unsigned count, GError **error)
{
    g_autofree NodeReopen *all = g_new0(NodeReopen, count);
    bool ok = true;
    unsigned n = 0;

    for (unsigned i = 0; i < count && ok; i++) {
        all[i].node = node_by_name(node_opts_get(opts[i], "node-name"));
        all[i].opts = opts[i];
        ok = reopen_parse(&all[i], error);
    }
    if (!ok) {
        return false;
    }
    node_drain_all_begin();
    while (ok && n < count) {
        ok = reopen_apply(&all[n++], error);
    }
    while (!ok && n > 0) {
        reopen_undo(&all[--n]);
    }
    for (unsigned i = 0; i < count; i++) {
        if (ok) {
            reopen_finish(&all[i]);
        }
        node_unref(all[i].old_backing);
        node_unref(all[i].old_file);
    }
    node_drain_all_end();
    return ok;
}
