/* SPDX-License-Identifier: MIT */
/*
 * preallocate: a file that a format lets grow is allocated in large steps ahead of its end, and
 * cut to what is used when the node closes.
 * Locking: the node's event loop.
 */
#include "block/filter.h"
#include "block/types.h"

typedef struct Preallocate {
    uint64_t align, size, high;
    bool busy;                 /* one at a time; a loser just writes */
} Preallocate;

static void co_ahead(BlockNode *node, uint64_t end)
{
    Preallocate *s = node->state;
    BlockNode *file = node->file->node;
    uint64_t want;

    s->high = MAX(s->high, end);       /* also of writes that are still on their way */
    want = align_up(MAX(s->high, node->length) + s->size, s->align);
    if (s->busy || end <= file->length || !node->grows || want > INT64_MAX / 2) {
        return;
    }
    s->busy = true;
    /* Advice: where the file system cannot, the file just grows as it is written. */
    co_node_truncate(file, want, false, "falloc", NULL);
    s->busy = false;
}

static int pre_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    co_ahead(node, offset + span.len);
    return filter_co_pwritev(node, offset, span, flags);
}

static int pre_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    co_ahead(node, offset + bytes);
    return filter_co_write_zeroes(node, offset, bytes, flags);
}

static bool pre_co_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                            GError **error)
{
    return co_node_truncate(node->file->node, length, exact, prealloc, error);
}

static bool pre_change_options(BlockNode *node, NodeOpts *opts, GError **error)
{
    Preallocate *s = node->state;
    uint64_t align = MIB, size = 128 * MIB;

    if (!node_opts_take_size(opts, "prealloc-align", &align, error) ||
        !node_opts_take_size(opts, "prealloc-size", &size, error)) {
        return false;
    }
    if (!align || align % 512 || align > TIB || size > TIB) {
        return error_set(error, "prealloc-align must be a multiple of 512, and both at most "
                         "1T");
    }
    s->align = align;
    s->size = size;
    return true;
}

static bool pre_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    filter_init(node);
    return pre_change_options(node, opts, error);
}

static const char *const pre_changeable[] = { "prealloc-align", "prealloc-size", NULL };

static void pre_close(BlockNode *node)
{
    if (!node->read_only && node->file->node->length > node->length) {
        co_node_truncate(node->file->node, node->length, true, NULL, NULL);
    }
}

const NodeType node_type_preallocate = {
    .name = "preallocate", .is_filter = true, .own_length = true,
    .changeable = pre_changeable, .change_options = pre_change_options,
    .state_size = sizeof(Preallocate), .open = pre_open, .close = pre_close,
    .co_preadv = filter_co_preadv, .co_pwritev = pre_co_pwritev,
    .co_write_zeroes = pre_co_write_zeroes, .co_discard = filter_co_discard,
    .co_truncate = pre_co_truncate, .co_write_compressed = filter_co_write_compressed,
};
