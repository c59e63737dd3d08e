/* SPDX-License-Identifier: MIT */
/*
 * io_uring for host files [io_uring(7)]: one ring for each event loop that uses it.
 *
 * Requests of one turn of the loop go to the kernel together.  What a ring cannot do, or a host
 * that has none (an old kernel, a container's filter), is left to the worker threads.
 *
 *     Uring *ring = uring_of_loop(node->loop, error);         // NULL: not here
 *     int ret = co_uring_rw(ring, false, fd, span, offset);   // 0 or -errno
 *
 * Thread rule: co_ functions in a coroutine of the ring's loop; rings live as long as the process.
 */
#ifndef BLOCK_IO_URING_H
#define BLOCK_IO_URING_H

#include "block/io.h"

typedef struct Uring Uring;

Uring *uring_of_loop(EventLoop *loop, GError **error);
/* The whole span, also where the kernel does it in parts; reading behind the end gives zeroes. */
int co_uring_rw(Uring *ring, bool is_write, int fd, IoSpan span, uint64_t offset);
int co_uring_sync(Uring *ring, int fd);

#endif
