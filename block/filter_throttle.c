/* SPDX-License-Identifier: MIT */
/*
 * throttle: requests obey the limits of a throttle group (-object throttle-group).
 * Locking: main loop.
 */
#include "block/filter.h"
#include "block/throttle.h"
#include "block/types.h"

static ThrottleGroup *group_of(BlockNode *node)
{
    return *(ThrottleGroup **)node->state;
}

/* A reference. */
static ThrottleGroup *take_group(NodeOpts *opts, GError **error)
{
    g_autofree char *name = node_opts_take(opts, "throttle-group");
    ThrottleGroup *group = name ? throttle_group_find(name) : NULL;

    if (!name) {
        error_set(error, "Please specify a throttle group");
        return NULL;
    }
    if (!group) {
        error_set(error, "Throttle group '%s' does not exist; make it with -object "
                  "throttle-group,id=%s", name, name);
        return NULL;
    }
    return throttle_group_ref(group);
}

static bool throttle_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    ThrottleGroup *group = take_group(opts, error);

    filter_init(node);
    *(ThrottleGroup **)node->state = group;
    return group != NULL;
}

static bool throttle_change_options(BlockNode *node, NodeOpts *opts, GError **error)
{
    ThrottleGroup *group = take_group(opts, error), *old = group_of(node);

    if (group) {
        *(ThrottleGroup **)node->state = group;
        throttle_group_unref(old);
    }
    return group != NULL;
}

static void throttle_close(BlockNode *node)
{
    throttle_group_unref(group_of(node));
}

static int throttle_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    co_throttle(group_of(node), false, span.len);
    return filter_co_preadv(node, offset, span);
}

static int throttle_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    co_throttle(group_of(node), true, span.len);
    return filter_co_pwritev(node, offset, span, flags);
}

static int throttle_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    co_throttle(group_of(node), true, bytes);
    return filter_co_write_zeroes(node, offset, bytes, flags);
}

static int throttle_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    co_throttle(group_of(node), true, bytes);
    return filter_co_discard(node, offset, bytes);
}

static int throttle_co_write_compressed(BlockNode *node, uint64_t offset, IoSpan span)
{
    co_throttle(group_of(node), true, span.len);
    return filter_co_write_compressed(node, offset, span);
}

static const char *const throttle_telling[] = { "throttle-group", NULL };

const NodeType node_type_throttle = {
    .telling_options = throttle_telling,
    .changeable = throttle_telling, .change_options = throttle_change_options,
    .name = "throttle", .is_filter = true, .state_size = sizeof(ThrottleGroup *),
    .open = throttle_open, .close = throttle_close, .co_preadv = throttle_co_preadv,
    .co_pwritev = throttle_co_pwritev, .co_write_zeroes = throttle_co_write_zeroes,
    .co_discard = throttle_co_discard, .co_write_compressed = throttle_co_write_compressed,
};
