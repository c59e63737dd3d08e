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

#include "block/throttle.h"

/* ---- draining ---- */

static unsigned all_quiesced;          /* who drains the whole graph */
static unsigned drains;                /* of whatever, that are on; requests look at it, too */

static void count_drain(bool begins)
{
    __atomic_add_fetch(&drains, begins ? 1u : -1u, __ATOMIC_SEQ_CST);
}

bool graph_is_draining(void)
{
    return __atomic_load_n(&drains, __ATOMIC_SEQ_CST) > 0;
}

static bool below_is_quiesced(const BlockNode *node)
{
    if (node->quiesced || all_quiesced) {
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

/*
 * While we wait, the event loop runs; a job that has ended must not change the graph from there,
 * under the feet of whoever drains.
 */
static unsigned waits;
static GArray *deferred;

typedef struct Deferred {
    LoopFn *fn;
    void *opaque;
} Deferred;

void graph_post(LoopFn *fn, void *opaque)
{
    Deferred d = { fn, opaque };

    if (!waits) {
        event_loop_post(event_loop_main(), fn, opaque);
        return;
    }
    if (!deferred) {
        deferred = g_array_new(false, false, sizeof(Deferred));
    }
    g_array_append_val(deferred, d);
}

bool graph_is_waiting(void)
{
    return waits > 0;
}

static void wait_ends(void)
{
    if (--waits || !deferred) {
        return;
    }
    for (unsigned i = 0; i < deferred->len; i++) {
        Deferred d = g_array_index(deferred, Deferred, i);

        event_loop_post(event_loop_main(), d.fn, d.opaque);
    }
    g_array_set_size(deferred, 0);
}

void node_drained_begin(BlockNode *node)
{
    GRAPH_HOLD();
    node_ref(node);
    node->quiesced++;
    count_drain(true);
    throttle_groups_kick();
    graph_sync_drain();
    waits++;
    GRAPH_WAIT_WHILE(above_is_busy(node));
    wait_ends();
}

void node_drained_end(BlockNode *node)
{
    GRAPH_HOLD();
    g_assert(node->quiesced > 0);
    node->quiesced--;
    count_drain(false);
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
    GRAPH_WAIT_WHILE(any_in_flight());
}

static bool anything_busy(void)
{
    for (unsigned i = 0; graph_nodes && i < graph_nodes->len; i++) {
        if (above_is_busy(graph_nodes->pdata[i])) {
            return true;
        }
    }
    return false;
}

void node_drain_all_begin(void)
{
    GRAPH_HOLD();
    all_quiesced++;
    count_drain(true);
    throttle_groups_kick();
    graph_sync_drain();
    waits++;
    GRAPH_WAIT_WHILE(anything_busy());
    wait_ends();
}

void node_drain_all_end(void)
{
    GRAPH_HOLD();
    g_assert(all_quiesced > 0);
    all_quiesced--;
    count_drain(false);
    graph_sync_drain();
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

bool node_check_no_parent(const BlockNode *node, GError **error)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *edge = node->parents->pdata[i];

        if (edge->parent) {
            return error_set(error, "Node '%s' is busy: node is used as %s of '%s'", node->name,
                             g_str_equal(edge->name, "backing") ? "backing hd" : edge->name,
                             edge->parent->name);
        }
    }
    return true;
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
    BlockChild *old, *edge = NULL;
    BlockNode *below, *both[2] = { node, backing };
    bool ok;

    if (node->backing && node->backing->node == backing) {
        return true;
    }
    if (backing && graph_reaches(backing, node)) {
        return error_set(error, "Making '%s' a backing file of '%s' would create a cycle",
                         backing->name, node->name);
    }
    GRAPH_HOLD();
    if (backing && !graph_join(node, backing, error)) {
        return false;
    }
    node_drained_begin(node);
    old = node->backing;
    below = old ? node_ref(old->node) : NULL;
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
        graph_note_filename(node);
        if (old) {
            g_ptr_array_add(old->node->parents, old);
            graph_edge_free(old);
        }
    }
    graph_sync_drain();
    node_drained_end(node);
    if (below) {
        graph_settle(below);
        node_unref(below);
    }
    return ok;
}

bool node_change_child(BlockChild *edge, BlockNode *to, GError **error)
{
    BlockNode *from = edge->node, *parent = edge->parent;
    BlockNode *all[3] = { parent, from, to };
    bool ok;

    if (graph_reaches(to, parent)) {
        return error_set(error, "Making '%s' a child of '%s' would create a cycle", to->name,
                         parent->name);
    }
    GRAPH_HOLD();
    if (!graph_join(parent, to, error)) {
        return false;
    }
    node_ref(from);
    node_drained_begin(parent);
    graph_edge_move(edge, to);
    ok = graph_refresh(all, 3, error);
    if (!ok) {
        graph_edge_move(edge, from);
        graph_refresh(all, 3, NULL);
    }
    graph_sync_drain();
    node_drained_end(parent);
    node_unref(from);
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
    GRAPH_HOLD();
    if (!graph_join(from, to, error)) {
        return false;
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
    graph_settle(from);
    node_unref(to);
    node_unref(from);
    return ok;
}

BlockNode *node_insert_filter(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) copy = node_opts_copy(opts);
    BlockNode *filter;
    bool ok;

    GRAPH_HOLD();
    node_opts_set(copy, "file", node->name);
    node_opts_default(copy, "read-only", node->read_only ? "on" : "off");
    node_opts_default(copy, "cache.direct", node->direct ? "on" : "off");
    node_opts_default(copy, "cache.no-flush", node->no_flush ? "on" : "off");
    node_opts_default(copy, "discard", "unmap");
    node_drained_begin(node);
    filter = node_open(NULL, copy, NODE_OPEN_RDWR, error);
    if (filter) {
        filter->implicit = !node_opts_get(opts, "node-name");
    }
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
