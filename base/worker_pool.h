/* SPDX-License-Identifier: MIT */
/*
 * Worker threads for calls that block (host file I/O, compression, name resolution).
 *
 *     worker_submit(pool, read_chunk, read_done, req);
 *
 * work(opaque) runs in some worker; done(opaque, its result) then runs in the event loop of the
 * thread that submitted, so the request needs no lock.  Requests start in the order of their
 * submission.  Threads are started on demand and end after some idle seconds.
 *
 * A lane (WorkLane, all zeroes at first) holds requests that would only wait for each other, such as
 * writes to one file: one runs at a time, and one thread takes them all while there are any.
 * They cannot be cancelled.  The done() of short ones may come together, two milliseconds late at most.
 *
 * worker_cancel() drops a request that has not started; its done() runs with -ECANCELED.
 *
 * Threads: submit and cancel from any thread that runs an event loop (or the main thread).
 */
#ifndef BASE_WORKER_POOL_H
#define BASE_WORKER_POOL_H

#include "base/event_loop.h"

typedef struct WorkerPool WorkerPool;
typedef struct WorkRequest WorkRequest;
typedef struct WorkLane WorkLane;
struct WorkLane {
    WorkRequest *head, **tail;       /* wait for their turn */
    WorkRequest *untold, **untold_tail;
    int64_t untold_since_us;
    WorkLane *next_watched;
    bool busy, watched;
};
typedef int WorkFn(void *opaque);
typedef void WorkDoneFn(void *opaque, int result);

WorkerPool *worker_pool_new(const char *name, unsigned max_threads);
/* Waits for all requests to be worked on; their done() calls still arrive. */
void worker_pool_free(WorkerPool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WorkerPool, worker_pool_free)
/* The process's pool for host I/O, made at first use, 64 threads at most. */
WorkerPool *worker_pool_shared(void);

/* The request is valid until done() returns; DONE may be NULL. */
WorkRequest *worker_submit(WorkerPool *pool, WorkFn *work, WorkDoneFn *done, void *opaque);
/* False if it has started already. */
bool worker_cancel(WorkRequest *request);

/* In a coroutine: runs work(opaque) in a worker and gives its result. */
int co_worker_run(WorkerPool *pool, WorkFn *work, void *opaque);
/* The same behind what is in the lane, which belongs to this pool and outlives its requests. */
int co_worker_run_in_lane(WorkerPool *pool, WorkLane *lane, WorkFn *work, void *opaque);

#endif
