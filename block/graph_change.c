/* SPDX-License-Identifier: MIT */
/*
 * Changes of the graph while requests run, and the draining that makes them safe.
 * Locking: main loop only.
 *
 * A drain is state (node->quiesced counts who asked), and graph_sync_drain() makes the roots
 * follow: a root edge is quiesced exactly while some node at or below it is.  So edges may move
 * between begin and end without anybody counting.
 */
#include "block/graph_int.h"

/* ---- draining ---- */

static bool below_is_quiesced(const BlockNode *node)
{
    if (node->quiesced) {
        return true;
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        if (below_is_quiesced(((const BlockChild *)node->children->pdata[i])->node)) {
            return true;
        }
    }
    return false;
}

static GPtrArray *root_edges(void)
{
    GPtrArray *roots = g_ptr_array_new();

    for (unsigned i = 0; graph_nodes && i < graph_nodes->len; i++) {
        BlockNode *node = graph_nodes->pdata[i];

        for (unsigned k = 0; k < node->parents->len; k++) {
            BlockChild *edge = node->parents->pdata[k];

            if (!edge->parent && edge->hooks) {
                g_ptr_array_add(roots, edge);
            }
        }
    }
    return roots;
}

/* Hooks may start or finish requests, but leave the graph alone. */
void graph_sync_drain(void)
{
    g_autoptr(GPtrArray) roots = root_edges();

    for (unsigned i = 0; i < roots->len; i++) {
        BlockChild *edge = roots->pdata[i];
        bool want = below_is_quiesced(edge->node);

        if (want == edge->quiesced) {
            continue;
        }
        edge->quiesced = want;
        if (want && edge->hooks->drained_begin) {
            edge->hooks->drained_begin(edge->opaque);
        } else if (!want && edge->hooks->drained_end) {
            edge->hooks->drained_end(edge->opaque);
        }
    }
}

/* Requests of NODE may be on their way anywhere above it. */
static bool above_is_busy(const BlockNode *node)
{
    if (node->in_flight) {
        return true;
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *edge = node->parents->pdata[i];

        if (edge->parent ? above_is_busy(edge->parent)
                         : edge->hooks && edge->hooks->drained_busy &&
                           edge->hooks->drained_busy(edge->opaque)) {
            return true;
        }
    }
    return false;
}

void node_drained_begin(BlockNode *node)
{
    node_ref(node);
    node->quiesced++;
    graph_sync_drain();
    EVENT_LOOP_WAIT_WHILE(node->loop, above_is_busy(node));
}

void node_drained_end(BlockNode *node)
{
    g_assert(node->quiesced > 0);
    node->quiesced--;
    graph_sync_drain();
    node_unref(node);
}

static bool any_in_flight(void)
{
    for (unsigned i = 0; graph_nodes && i < graph_nodes->len; i++) {
        if (((BlockNode *)graph_nodes->pdata[i])->in_flight) {
            return true;
        }
    }
    return false;
}

void node_drain_all(void)
{
    EVENT_LOOP_WAIT_WHILE(event_loop_current(), any_in_flight());
}

bool node_flush_all(GError **error)
{
    bool ok = true;

    for (unsigned i = 0; graph_nodes && i < graph_nodes->len; i++) {
        BlockNode *node = graph_nodes->pdata[i];
        int ret = node_flush(node);

        if (ret < 0 && ok) {
            ok = error_set_errno(error, -ret, "Could not flush '%s'", node->filename);
        }
    }
    return ok;
}

/* ---- chains ---- */

BlockNode *node_skip_filters(BlockNode *node)
{
    while (node && node->type->is_filter && node->file) {
        node = node->file->node;
    }
    return node;
}

BlockNode *node_chain_next(BlockNode *node)
{
    node = node_skip_filters(node);
    return node && node->backing ? node->backing->node : NULL;
}

bool node_chain_contains(BlockNode *top, BlockNode *node)
{
    for (BlockNode *n = top; n; n = n->type->is_filter && n->file ? n->file->node
                                    : n->backing ? n->backing->node : NULL) {
        if (n == node) {
            return true;
        }
    }
    return false;
}

BlockNode *node_chain_overlay(BlockNode *top, BlockNode *node)
{
    node = node_skip_filters(node);
    for (BlockNode *n = node_skip_filters(top); n; n = node_skip_filters(node_chain_next(n))) {
        if (node_skip_filters(node_chain_next(n)) == node) {
            return n;
        }
    }
    return NULL;
}

/* ---- changing edges ---- */

static void forget_child(BlockNode *node, const BlockChild *edge)
{
    if (node->backing == edge) {
        node->backing = NULL;
    }
    if (node->file == edge) {
        node->file = NULL;
    }
    if (node->data_file == edge) {
        node->data_file = NULL;
    }
}

bool node_set_backing(BlockNode *node, BlockNode *backing, GError **error)
{
    BlockChild *old = node->backing, *edge = NULL;
    BlockNode *both[2] = { node, backing };
    bool ok;

    if (old && old->node == backing) {
        return true;
    }
    if (backing && graph_reaches(backing, node)) {
        return error_set(error, "Making '%s' a backing file of '%s' would create a cycle",
                         backing->name, node->name);
    }
    node_drained_begin(node);
    if (old) {
        g_ptr_array_remove(node->children, old);
        g_ptr_array_remove(old->node->parents, old);
    }
    if (backing) {
        edge = graph_edge_new(backing, node, "backing");
        g_ptr_array_add(node->children, edge);
    }
    ok = graph_refresh(both, backing ? 2 : 1, error);
    if (!ok) {
        if (edge) {
            g_ptr_array_remove(node->children, edge);
            graph_edge_free(edge);
        }
        if (old) {
            g_ptr_array_add(node->children, old);
            g_ptr_array_add(old->node->parents, old);
        }
    } else {
        node->backing = edge;
        if (old) {
            g_ptr_array_add(old->node->parents, old);
            graph_edge_free(old);
        }
    }
    graph_sync_drain();
    node_drained_end(node);
    return ok;
}

/* Does EDGE, from above to the node that is replaced, follow to TO? */
static bool edge_follows(const BlockChild *edge, const BlockNode *to)
{
    if (edge->parent) {
        return !graph_reaches(to, edge->parent);
    }
    return !edge->hooks || !edge->hooks->stays;
}

bool node_replace(BlockNode *from, BlockNode *to, GError **error)
{
    BlockNode *both[2] = { from, to };
    g_autoptr(GPtrArray) moved = g_ptr_array_new();
    bool ok;

    if (from == to) {
        return true;
    }
    node_ref(from);
    node_ref(to);
    node_drained_begin(from);
    node_drained_begin(to);
    for (unsigned i = 0; i < from->parents->len; i++) {
        if (edge_follows(from->parents->pdata[i], to)) {
            g_ptr_array_add(moved, from->parents->pdata[i]);
        }
    }
    for (unsigned i = 0; i < moved->len; i++) {
        graph_edge_move(moved->pdata[i], to);
    }
    ok = graph_refresh(both, 2, error);
    if (!ok) {
        for (unsigned i = 0; i < moved->len; i++) {
            graph_edge_move(moved->pdata[i], from);
        }
        graph_refresh(both, 2, NULL);
    } else if (from->length != to->length) {
        for (unsigned i = 0; i < moved->len; i++) {
            BlockChild *edge = moved->pdata[i];

            if (edge->hooks && edge->hooks->resized) {
                edge->hooks->resized(edge->opaque);
            }
        }
    }
    graph_sync_drain();
    node_drained_end(to);
    node_drained_end(from);
    node_unref(to);
    node_unref(from);
    return ok;
}

BlockNode *node_insert_filter(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) copy = node_opts_copy(opts);
    BlockNode *filter;
    bool ok;

    node_opts_set(copy, "file", node->name);
    node_opts_default(copy, "read-only", node->read_only ? "on" : "off");
    node_opts_default(copy, "cache.direct", node->direct ? "on" : "off");
    node_opts_default(copy, "cache.no-flush", node->no_flush ? "on" : "off");
    node_opts_default(copy, "discard", "unmap");
    node_drained_begin(node);
    filter = node_open(NULL, copy, NODE_OPEN_RDWR, error);
    ok = filter && node_replace(node, filter, error);
    node_drained_end(node);
    if (!ok) {
        node_unref(filter);
        return NULL;
    }
    return filter;
}

bool node_remove_filter(BlockNode *filter, GError **error)
{
    BlockNode *below = filter->file->node;
    bool ok;

    node_ref(below);
    ok = node_replace(filter, below, error);
    node_unref(below);
    return ok;
}

void node_drop_children(BlockNode *node)
{
    while (node->children->len) {
        BlockChild *edge = node->children->pdata[node->children->len - 1];

        forget_child(node, edge);
        node_detach_child(node, edge);
    }
}

/* ---- reopening ---- */

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
        coroutine_run_sync(node->loop, co_reopen, &r);
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
