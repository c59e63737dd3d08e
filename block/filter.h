/* SPDX-License-Identifier: MIT */
/*
 * What filters have in common: a filter has one child, "file", is as long as it, and hands
 * requests down.  A row sets is_filter, and names the functions below as hooks where it has
 * nothing of its own to do.
 *
 * The core itself sees through filters for status, chains and resizing.
 * Thread rule: the node's event loop.
 */
#ifndef BLOCK_FILTER_H
#define BLOCK_FILTER_H

#include "block/driver.h"

int filter_co_preadv(BlockNode *node, uint64_t offset, IoSpan span);
int filter_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags);
int filter_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags);
int filter_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes);
int filter_co_write_compressed(BlockNode *node, uint64_t offset, IoSpan span);

/* Length and limits of the child; the first thing that open does. */
void filter_init(BlockNode *node);

#endif
