/* SPDX-License-Identifier: MIT */
/*
 * Permissions of the graph: what each edge uses and what it leaves to others.
 * Locking: main loop only.
 *
 * A change is a transaction.  Wishes go to the next_ fields, parents before children, where
 * every contradiction shows; then the node types with locks of their own are asked; only when all
 * agree do the next_ fields become the current ones.  Between transactions the two are equal.
 */
#include "block/graph_int.h"

char *blk_perm_text(uint32_t perm)
{
    static const char *const names[] = { "consistent read", "write", "write unchanged",
                                         "resize" };
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (perm & BIT(i)) {
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", names[i]);
        }
    }
    return g_string_free(text, FALSE);
}

static const char *edge_user(const BlockChild *edge)
{
    return edge->parent ? edge->parent->name : edge->name;
}

/* What NODE, asked for PERM/SHARED itself, needs of the child at EDGE. */
static void child_needs(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                        uint32_t shared, uint32_t *cperm, uint32_t *cshared)
{
    if (node->type->child_perm) {
        node->type->child_perm(node, edge, perm, shared, cperm, cshared);
    } else if (g_str_equal(edge->name, "backing")) {
        *cperm = perm & BLK_PERM_CONSISTENT_READ;
        /* Who lets others write to the overlay cannot mind changes below it either. */
        *cshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED |
                   (shared & BLK_PERM_WRITE ? BLK_PERM_WRITE | BLK_PERM_RESIZE : 0);
    } else if (node->type->is_filter || g_str_equal(node->type->name, "raw")) {
        *cperm = perm;
        *cshared = shared;
    } else {
        *cperm = BLK_PERM_CONSISTENT_READ |
                 (node->read_only ? 0 : BLK_PERM_WRITE | BLK_PERM_RESIZE);
        *cshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    }
    if (node->force_share) {
        *cshared = BLK_PERM_ALL;
    }
}

/* Parents come before their children. */
static void list_below(BlockNode *node, GPtrArray *list)
{
    if (g_ptr_array_find(list, node, NULL)) {
        return;
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        list_below(((BlockChild *)node->children->pdata[i])->node, list);
    }
    g_ptr_array_add(list, node);
}

static bool edge_is_new(const BlockChild *edge)
{
    return edge->next_perm != edge->perm || edge->next_shared != edge->shared;
}

/* A uses what B does not share; the message names the one that was there before. */
static bool tell_clash(const BlockNode *node, const BlockChild *a, const BlockChild *b,
                       GError **error)
{
    const BlockChild *old = edge_is_new(b) ? a : b;
    g_autofree char *what = blk_perm_text(a->next_perm & ~b->next_shared);

    return error_set(error, "Conflicts with use by %s as '%s', which %s '%s' on %s",
                     edge_user(old), old->name, old == a ? "uses" : "does not allow", what,
                     node->name);
}

static bool check_clash(const BlockNode *node, GError **error)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *a = node->parents->pdata[i];

        for (unsigned k = 0; k < node->parents->len; k++) {
            const BlockChild *b = node->parents->pdata[k];

            if (a != b && (a->next_perm & ~b->next_shared)) {
                return tell_clash(node, a, b, error);
            }
        }
    }
    return true;
}

static bool plan(BlockNode *node, GError **error)
{
    node->next_perm = 0;
    node->next_shared = BLK_PERM_ALL;
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *edge = node->parents->pdata[i];

        node->next_perm |= edge->next_perm;
        node->next_shared &= edge->next_shared;
    }
    if (!check_clash(node, error)) {
        return false;
    }
    if (node->next_perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED | BLK_PERM_RESIZE) &&
        node->read_only) {
        return error_set(error, "Block node is read-only");
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        BlockChild *edge = node->children->pdata[i];

        child_needs(node, edge, node->next_perm, node->next_shared, &edge->next_perm,
                    &edge->next_shared);
    }
    return true;
}

/* Locks of other processes; those that were taken are given back on failure. */
static bool ask_types(GPtrArray *list, GError **error)
{
    for (unsigned i = 0; i < list->len; i++) {
        BlockNode *node = list->pdata[i];

        if (node->type->set_perm &&
            !node->type->set_perm(node, node->next_perm, node->next_shared, error)) {
            while (i-- > 0) {
                node = list->pdata[i];
                if (node->type->set_perm) {
                    node->type->set_perm(node, node->perm, node->shared, NULL);
                }
            }
            return false;
        }
    }
    return true;
}

static void settle(BlockNode *node, bool commit)
{
    if (commit) {
        node->perm = node->next_perm;
        node->shared = node->next_shared;
        node->grows = (node->perm & BLK_PERM_RESIZE) &&
                      (node->type->is_filter || (node->type->grows_with_file && !node->fixed_length)
                           ? node->file && node->file->node->grows
                           : node->type->is_protocol && node->type->co_truncate);
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        BlockChild *edge = node->parents->pdata[i];

        if (commit) {
            edge->perm = edge->next_perm;
            edge->shared = edge->next_shared;
        } else {
            edge->next_perm = edge->perm;
            edge->next_shared = edge->shared;
        }
    }
}

bool graph_refresh(BlockNode *const *nodes, unsigned count, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    bool ok = true;

    for (unsigned i = 0; i < count; i++) {
        list_below(nodes[i], list);
    }
    for (unsigned i = list->len; ok && i-- > 0;) {
        ok = plan(list->pdata[i], error);
    }
    ok = ok && ask_types(list, error);
    for (unsigned i = 0; i < list->len; i++) {
        settle(list->pdata[i], ok);
    }
    return ok;
}

bool graph_refresh_one(BlockNode *node, GError **error)
{
    return graph_refresh(&node, 1, error);
}

bool node_refresh_perms(BlockNode *node, GError **error)
{
    return graph_refresh_one(node, error);
}

static bool edge_set_perm(BlockChild *edge, uint32_t perm, uint32_t shared, GError **error)
{
    edge->next_perm = perm;
    edge->next_shared = shared;
    return graph_refresh_one(edge->node, error);
}

BlockChild *node_attach_root(BlockNode *node, const char *name, uint32_t perm, uint32_t shared,
                             const ChildHooks *hooks, void *opaque, GError **error)
{
    BlockChild *edge;

    GRAPH_HOLD();
    edge = graph_edge_new(node, NULL, name);
    edge->hooks = hooks;
    edge->opaque = opaque;
    if (!edge_set_perm(edge, perm, shared, error)) {
        graph_edge_free(edge);
        return NULL;
    }
    graph_sync_drain();
    return edge;
}

bool node_root_set_perm(BlockChild *child, uint32_t perm, uint32_t shared, GError **error)
{
    return edge_set_perm(child, perm, shared, error);
}

void node_detach_root(BlockChild *child)
{
    if (child) {
        BlockNode *node = node_ref(child->node);

        GRAPH_HOLD();
        if (child->quiesced && child->hooks && child->hooks->drained_end) {
            child->hooks->drained_end(child->opaque);
        }
        graph_edge_free(child);
        graph_settle(node);
        node_unref(node);
    }
}
