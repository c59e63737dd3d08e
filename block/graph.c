/* SPDX-License-Identifier: MIT */
/*
 * The graph of block nodes: opening, edges and their permissions, closing.
 * Locking: main loop only.
 *
 * Invariants:
 *  G1  node->perm is the union of its parents' perm, node->shared the intersection of their
 *      shared sets; each parent's perm is within every other parent's shared set.
 *  G2  a node in the list has a unique name, and at least one reference.
 *  G3  an edge owns one reference to its child.
 */
#include "block/graph.h"

#include "block/graph_int.h"

#include "block/bitmap.h"
#include "block/job.h"

GPtrArray *graph_nodes;             /* the process has one graph; QMP names are global to it */
static unsigned anonymous_nodes;

/* ---- names ---- */

BlockNode *node_by_name(const char *name)
{
    for (unsigned i = 0; graph_nodes && i < graph_nodes->len; i++) {
        BlockNode *node = graph_nodes->pdata[i];

        if (g_strcmp0(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

BlockNode *node_next(BlockNode *node)
{
    unsigned i = 0;

    if (!graph_nodes) {
        return NULL;
    }
    if (node && g_ptr_array_find(graph_nodes, node, &i)) {
        i++;
    }
    return i < graph_nodes->len ? graph_nodes->pdata[i] : NULL;
}

const char *node_name(const BlockNode *node)
{
    return node->name;
}

const char *node_format(const BlockNode *node)
{
    return node->type->name;
}

const char *node_filename(const BlockNode *node)
{
    return node->json_filename ? node->json_filename : node->filename;
}

bool node_is_read_only(const BlockNode *node)
{
    return node->read_only;
}

BlockNode *node_file(const BlockNode *node)
{
    return node->file ? node->file->node : NULL;
}

BlockNode *node_backing(const BlockNode *node)
{
    return node->backing ? node->backing->node : NULL;
}

const char *node_backing_filename(const BlockNode *node)
{
    return node->backing_file;
}

const char *node_backing_format(const BlockNode *node)
{
    return node->backing_format;
}

static bool name_is_valid(const char *name)
{
    if (!g_ascii_isalpha(name[0]) || strlen(name) > 31) {
        return false;
    }
    for (const char *p = name; *p; p++) {
        if (!g_ascii_isalnum(*p) && !strchr("-._", *p)) {
            return false;
        }
    }
    return true;
}

bool graph_take_name(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autofree char *name = node_opts_take(opts, "node-name");

    if (name && !name_is_valid(name)) {
        return error_set(error, "Invalid node-name: '%s' (a letter, then letters, digits, '-', "
                         "'.' and '_'; 31 characters at most)", name);
    }
    if (name && node_by_name(name)) {
        return error_set(error, "Duplicate nodes with node-name='%s'", name);
    }
    node->name = name ? g_steal_pointer(&name)
                      : g_strdup_printf("#block%03u", anonymous_nodes++);
    return true;
}

/* ---- edges ---- */

BlockChild *graph_edge_new(BlockNode *node, BlockNode *parent, const char *name)
{
    BlockChild *edge = g_new0(BlockChild, 1);

    edge->node = node_ref(node);
    edge->parent = parent;
    edge->name = g_strdup(name);
    edge->shared = edge->next_shared = BLK_PERM_ALL;
    g_ptr_array_add(node->parents, edge);
    return edge;
}

void graph_edge_free(BlockChild *edge)
{
    BlockNode *node = edge->node;

    g_ptr_array_remove(node->parents, edge);
    if (node->refs > 1) {
        graph_refresh_one(node, NULL);
    }
    node_unref(node);
    g_free(edge->name);
    g_free(edge);
}

void graph_edge_move(BlockChild *edge, BlockNode *node)
{
    BlockNode *old = edge->node;

    node_ref(node);
    g_ptr_array_remove(old->parents, edge);
    g_ptr_array_add(node->parents, edge);
    edge->node = node;
    if (edge->parent && edge->parent->type->child_moved) {
        edge->parent->type->child_moved(edge->parent, edge);
    }
    node_unref(old);
}

bool graph_reaches(const BlockNode *from, const BlockNode *to)
{
    if (from == to) {
        return true;
    }
    for (unsigned i = 0; i < from->children->len; i++) {
        if (graph_reaches(((const BlockChild *)from->children->pdata[i])->node, to)) {
            return true;
        }
    }
    return false;
}

BlockChild *node_attach_child(BlockNode *node, BlockNode *child, const char *name,
                              GError **error)
{
    BlockChild *edge;
    BlockNode *both[2] = { node, child };

    GRAPH_HOLD();
    if (graph_reaches(child, node)) {
        error_set(error, "Making '%s' a child of '%s' would create a cycle", child->name,
                  node->name);
        return NULL;
    }
    if (!graph_join(node, child, error)) {
        return NULL;
    }
    edge = graph_edge_new(child, node, name);
    g_ptr_array_add(node->children, edge);
    if (!graph_refresh(both, 2, error)) {
        g_ptr_array_remove(node->children, edge);
        graph_edge_free(edge);
        return NULL;
    }
    graph_sync_drain();
    return edge;
}

void node_detach_child(BlockNode *node, BlockChild *child)
{
    if (child) {
        BlockNode *below = node_ref(child->node);

        g_ptr_array_remove(node->children, child);
        graph_edge_free(child);
        graph_settle(below);
        node_unref(below);
    }
}

/* ---- life ---- */

BlockNode *graph_node_alloc(const NodeType *type)
{
    BlockNode *node = g_new0(BlockNode, 1);

    node->type = type;
    node->refs = 1;
    node->loop = event_loop_current();
    node->limits.align = node->limits.mem_align = 1;
    node->shared = BLK_PERM_ALL;
    node->children = g_ptr_array_new();
    node->parents = g_ptr_array_new();
    node->bitmaps = g_ptr_array_new();
    if (!graph_nodes) {
        graph_nodes = g_ptr_array_new();
    }
    g_ptr_array_add(graph_nodes, node);
    return node;
}

BlockNode *node_ref(BlockNode *node)
{
    node->refs++;
    return node;
}

static void node_close(BlockNode *node)
{
    if (node->type->close && node->state) {
        node->type->close(node);
    }
    node->backing = node->data_file = node->file = NULL;
    while (node->children->len) {
        node_detach_child(node, node->children->pdata[node->children->len - 1]);
    }
    dirty_bitmaps_free(node);
}

static void co_node_free(void *opaque)
{
    BlockNode *node = opaque;

    if (node->dirty_since_flush && !node->no_flush) {
        co_node_flush(node);
    }
    node_close(node);
}

void node_unref(BlockNode *node)
{
    if (!node || --node->refs) {
        return;
    }
    node->refs = 1;                 /* hooks below may take and drop references */
    graph_run(node, co_node_free, node);
    graph_node_set_loop(node, NULL);
    g_ptr_array_remove(graph_nodes, node);
    g_ptr_array_unref(node->children);
    g_ptr_array_unref(node->parents);
    g_ptr_array_unref(node->bitmaps);
    g_free(node->state);
    g_free(node->name);
    g_free(node->filename);
    g_free(node->json_filename);
    g_free(node->backing_file);
    g_free(node->backing_format);
    node_opts_free(node->options);
    g_free(node);
}

/* ---- monitor ---- */

bool node_add(NodeOpts *opts, GError **error)
{
    BlockNode *node;
    const NodeType *type;

    if (!node_opts_get(opts, "node-name")) {
        return error_set(error, "'node-name' must be specified for the root node");
    }
    if (!node_opts_get(opts, "driver")) {
        return error_set(error, "Parameter 'driver' is missing");
    }
    type = node_type_find(node_opts_get(opts, "driver"));
    if (type && type->internal) {
        return error_set(error, "Driver '%s' is for internal use only", type->name);
    }
    node = node_open(NULL, opts, NODE_OPEN_RDWR, error);
    if (!node) {
        return false;
    }
    node->monitor_owned = true;
    return true;
}

bool node_del(const char *name, GError **error)
{
    BlockNode *node = node_by_name(name);

    if (!node) {
        return error_set(error, "Failed to find node with node-name='%s'", name);
    }
    if (!node->monitor_owned) {
        return error_set(error, "Node %s is not owned by the monitor", name);
    }
    if (!job_check_free(node, error)) {
        return false;
    }
    if (!node_check_no_parent(node, error)) {
        return false;
    }
    if (node->refs > 1) {
        return error_set(error, "Block device %s is in use", name);
    }
    node_unref(node);
    return true;
}

