/* SPDX-License-Identifier: MIT */
/*
 * copy-on-read: what is read from a backing file is kept in the overlay.
 *
 * "bottom" names the lowest image whose content is copied.  A copy that fails (a full disk) does
 * not fail the read: the data is where it was.
 *
 * Writes to the overlay must exclude the copying.  The overlay is looked up at each request, since
 * images and filters may come and go below; a change happens drained, so no request is on its way
 * through here when it does.
 * Locking: the node's event loop.
 */
#include "block/filter.h"
#include "block/types.h"

typedef struct Cor {
    BlockNode *target;         /* serialised by us; a reference */
    BlockNode *bottom;         /* a reference, or NULL */
} Cor;

static BlockNode *follow_target(BlockNode *node)
{
    Cor *cor = node->state;
    BlockNode *now = node_skip_filters(node->file->node);

    if (cor->target != now) {
        if (cor->target) {
            node_serialise(cor->target, false);
            node_unref(cor->target);
        }
        cor->target = node_ref(now);
        node_serialise(now, true);
    }
    return now;
}

static bool cor_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    Cor *cor = node->state;
    g_autofree char *bottom = node_opts_take(opts, "bottom");

    filter_init(node);
    if (bottom) {
        BlockNode *found = node_by_name(bottom);

        if (!found) {
            return error_set(error, "Bottom node '%s' not found", bottom);
        }
        if (found->type->is_filter) {
            return error_set(error, "Bottom node '%s' is a filter", bottom);
        }
        if (!found->backing) {
            return error_set(error, "Bottom node '%s' is the last of its backing chain; leave "
                             "'bottom' out", bottom);
        }
        if (!node_chain_contains(node->file->node, found)) {
            return error_set(error, "Bottom node '%s' is not in the backing chain of '%s'",
                             bottom, node->file->node->name);
        }
        cor->bottom = node_ref(found);
    }
    node_drained_begin(node->file->node);
    follow_target(node);
    node_drained_end(node->file->node);
    return true;
}

static void cor_close(BlockNode *node)
{
    Cor *cor = node->state;

    node_serialise(cor->target, false);
    node_unref(cor->target);
    node_unref(cor->bottom);
}

static int cor_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Cor *cor = node->state;
    BlockNode *target = follow_target(node);

    if (!target->read_only && target->backing) {
        co_node_copy_up(target, cor->bottom ? node_chain_next(cor->bottom) : NULL, offset,
                        span.len);
    }
    return co_node_preadv(node->file->node, offset, span);
}

static int cor_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    follow_target(node);
    return filter_co_pwritev(node, offset, span, flags);
}

static int cor_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    follow_target(node);
    return filter_co_write_zeroes(node, offset, bytes, flags);
}

static int cor_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    follow_target(node);
    return filter_co_discard(node, offset, bytes);
}

static void cor_child_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                           uint32_t shared, uint32_t *child_perm, uint32_t *child_shared)
{
    *child_perm = perm | (node->read_only ? 0 : BLK_PERM_CONSISTENT_READ |
                                                BLK_PERM_WRITE_UNCHANGED);
    *child_shared = shared;
}

const NodeType node_type_copy_on_read = {
    .name = "copy-on-read", .is_filter = true, .state_size = sizeof(Cor),
    .open = cor_open, .close = cor_close, .child_perm = cor_child_perm,
    .co_preadv = cor_co_preadv, .co_pwritev = cor_co_pwritev,
    .co_write_zeroes = cor_co_write_zeroes, .co_discard = cor_co_discard,
    .co_write_compressed = filter_co_write_compressed,
};
