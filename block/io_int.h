/* SPDX-License-Identifier: MIT */
/*
 * What the files of io.h share: a request that is under way keeps the node from being drained.
 * Thread rule: the node's event loop.
 */
#ifndef BLOCK_IO_INT_H
#define BLOCK_IO_INT_H

#include "block/driver.h"
#include "block/io.h"

static inline void io_request_begin(BlockNode *node)
{
    node->in_flight++;
}

static inline void io_request_end(BlockNode *node)
{
    node->in_flight--;
    graph_wait_kick();
}

#endif
