/* SPDX-License-Identifier: MIT */
/*
 * Worker threads; see the header.
 *
 * Waking the loop for the end of each request of a lane can take longer than the request did, so the
 * lane's thread leaves ends untold while the next request runs.  That one may take long: a thread of its own, the
 * teller, looks at the lanes from time to time.
 *
 * Invariants:
 *  W1  a request is left untold only while there is a teller, and its lane is watched by it.
 *  W2  a lane is watched only while it is busy: when its last request is told of, it may go.
 *
 * Locking: pool->lock guards the queue, the lanes, the counts and each request's state.
 */
#include "base/worker_pool.h"
#include "base/coroutine.h"
#include "base/thread.h"

#include <errno.h>

#define IDLE_NS (10 * INT64_C(1000000000))
/* Requests of a lane that began less than this ago are told of together with the next one... */
#define TOGETHER_US 30
/* ...unless that is still at work the next time that the teller looks. */
#define TELLER_NS (2 * INT64_C(1000000))
#define TELLER_QUIET_ROUNDS 100

typedef enum WorkState { WORK_WAITING, WORK_STARTED, WORK_CANCELLED } WorkState;

struct WorkRequest {
    WorkerPool *pool;
    WorkFn *work;
    WorkDoneFn *done;
    void *opaque;
    EventLoop *loop; /* reference */
    int result;
    WorkState state;
    WorkLane *lane;  /* or NULL */
    WorkRequest *next;
};

struct WorkerPool {
    char *name;
    Mutex lock;
    Cond has_work, all_gone, closes;
    WorkRequest *head, **tail;
    unsigned threads, idle, max_threads;
    bool closing, has_teller;
    WorkLane *watched;
};

static void request_finish(void *opaque)
{
    WorkRequest *req = opaque;

    if (req->done) {
        req->done(req->opaque, req->result);
    }
    event_loop_unref(req->loop);
    g_free(req);
}

static WorkRequest *pool_take_locked(WorkerPool *pool)
{
    WorkRequest *req = pool->head;

    if (req) {
        pool->head = req->next;
        if (!pool->head) {
            pool->tail = &pool->head;
        }
    }
    return req;
}

/* What comes next in the lane of a request that is done; NULL: nothing, and the lane is free. */
static WorkRequest *lane_take_locked(WorkLane *lane)
{
    WorkRequest *req = lane ? lane->head : NULL;

    if (req) {
        lane->head = req->next;
    } else if (lane) {
        lane->busy = false;
    }
    return req;
}

/* Whether the request waits in its lane for the thread that is at work there. */
static bool lane_add_locked(WorkRequest *req)
{
    WorkLane *lane = req->lane;

    if (!lane || !lane->busy) {
        if (lane) {
            lane->busy = true;
        }
        return false;
    }
    if (!lane->head) {
        lane->tail = &lane->head;
    }
    *lane->tail = req;
    lane->tail = &req->next;
    return true;
}

/* ---- telling of the ends of requests of lanes ---- */

static void untold_post(WorkRequest *head)
{
    while (head) {
        WorkRequest *req = head;

        head = req->next;
        event_loop_post(req->loop, request_finish, req);
    }
}

static void untold_add_locked(WorkLane *lane, WorkRequest *req, int64_t start_us)
{
    if (!lane->untold) {
        lane->untold_tail = &lane->untold;
        lane->untold_since_us = start_us;
    }
    *lane->untold_tail = req;
    req->next = NULL;
    lane->untold_tail = &req->next;
}

static void *teller_body(void *opaque)
{
    WorkerPool *pool = opaque;
    unsigned quiet = 0;

    mutex_lock(&pool->lock);
    while (pool->watched || (quiet < TELLER_QUIET_ROUNDS && !pool->closing)) {
        WorkRequest *untold = NULL;

        for (WorkLane *lane = pool->watched; lane; lane = lane->next_watched) {
            if (lane->untold) {
                *lane->untold_tail = untold;
                untold = g_steal_pointer(&lane->untold);
            }
        }
        quiet = pool->watched ? 0 : quiet + 1;
        mutex_unlock(&pool->lock);
        untold_post(untold);
        mutex_lock(&pool->lock);
        cond_wait_ns(&pool->closes, &pool->lock, TELLER_NS);
    }
    pool->has_teller = false;
    cond_signal(&pool->all_gone);
    mutex_unlock(&pool->lock);
    return NULL;
}

static void unwatch_locked(WorkerPool *pool, WorkLane *lane)
{
    WorkLane **p = &pool->watched;

    if (lane->watched) {
        while (*p != lane) {
            p = &(*p)->next_watched;
        }
        *p = lane->next_watched;
        lane->watched = false;
    }
}

/* Whether what the lane has not told of yet may wait for the request that comes next. */
static bool may_wait_locked(WorkerPool *pool, WorkLane *lane)
{
    if (g_get_monotonic_time() - lane->untold_since_us >= TOGETHER_US) {
        return false;
    }
    if (!lane->watched) {
        lane->watched = true;
        lane->next_watched = pool->watched;
        pool->watched = lane;
    }
    if (!pool->has_teller) {
        pool->has_teller = true;
        thread_start_detached(pool->name, teller_body, pool);
    }
    return true;
}

/* Does the lane's request, and gives the next one. */
static WorkRequest *lane_step(WorkRequest *req)
{
    WorkerPool *pool = req->pool;
    WorkLane *lane = req->lane;
    int64_t start_us = g_get_monotonic_time();
    WorkRequest *next, *untold = NULL;

    req->result = req->work(req->opaque);
    mutex_lock(&pool->lock);
    untold_add_locked(lane, req, start_us);
    /* The next one is taken before an end is told: with the last one's the lane itself may go. */
    next = lane_take_locked(lane);
    if (!next) {
        unwatch_locked(pool, lane);
    }
    if (!next || !may_wait_locked(pool, lane)) {
        untold = g_steal_pointer(&lane->untold);
    }
    mutex_unlock(&pool->lock);
    untold_post(untold);
    return next;
}

/* ---- threads ---- */

static void *worker_body(void *opaque)
{
    WorkerPool *pool = opaque;
    WorkRequest *in_lane = NULL;
    bool timed_out = false, cancelled;

    mutex_lock(&pool->lock);
    for (;;) {
        WorkRequest *req = in_lane ? in_lane : pool_take_locked(pool);

        in_lane = NULL;
        if (!req) {
            if (pool->closing || timed_out) {
                break;
            }
            pool->idle++;
            timed_out = !cond_wait_ns(&pool->has_work, &pool->lock, IDLE_NS);
            pool->idle--;
            continue;
        }
        timed_out = false;
        cancelled = req->state == WORK_CANCELLED;
        req->state = cancelled ? WORK_CANCELLED : WORK_STARTED;
        mutex_unlock(&pool->lock);
        if (req->lane) {
            in_lane = lane_step(req);
        } else {
            if (!cancelled) {
                req->result = req->work(req->opaque);
            }
            event_loop_post(req->loop, request_finish, req);
        }
        mutex_lock(&pool->lock);
    }
    pool->threads--;
    cond_signal(&pool->all_gone);
    mutex_unlock(&pool->lock);
    return NULL;
}

WorkerPool *worker_pool_new(const char *name, unsigned max_threads)
{
    WorkerPool *pool = g_new0(WorkerPool, 1);

    pool->name = g_strdup(name);
    pool->max_threads = max_threads;
    pool->tail = &pool->head;
    mutex_init(&pool->lock, "worker pool", LOCK_RANK_POOL);
    cond_init(&pool->has_work);
    cond_init(&pool->all_gone);
    cond_init(&pool->closes);
    return pool;
}

void worker_pool_free(WorkerPool *pool)
{
    if (!pool) {
        return;
    }
    mutex_lock(&pool->lock);
    pool->closing = true;
    cond_broadcast(&pool->has_work);
    cond_signal(&pool->closes);
    while (pool->threads || pool->has_teller) {
        cond_wait(&pool->all_gone, &pool->lock);
    }
    mutex_unlock(&pool->lock);
    cond_clear(&pool->has_work);
    cond_clear(&pool->all_gone);
    cond_clear(&pool->closes);
    mutex_clear(&pool->lock);
    g_free(pool->name);
    g_free(pool);
}

WorkerPool *worker_pool_shared(void)
{
    static WorkerPool *shared;
    static gsize once;

    if (g_once_init_enter(&once)) {
        shared = worker_pool_new("worker", 64);
        g_once_init_leave(&once, 1);
    }
    return shared;
}

static WorkRequest *submit(WorkerPool *pool, WorkLane *lane, WorkFn *work, WorkDoneFn *done, void *opaque)
{
    WorkRequest *req = g_new0(WorkRequest, 1);
    bool start, wake;

    req->pool = pool;
    req->work = work;
    req->done = done;
    req->opaque = opaque;
    req->lane = lane;
    req->result = -ECANCELED;
    req->loop = event_loop_ref(event_loop_current());
    mutex_lock(&pool->lock);
    g_assert(!pool->closing);
    if (lane_add_locked(req)) {
        mutex_unlock(&pool->lock);
        return req;
    }
    *pool->tail = req;
    pool->tail = &req->next;
    start = pool->idle == 0 && pool->threads < pool->max_threads;
    wake = pool->idle > 0;
    pool->threads += start;
    mutex_unlock(&pool->lock);
    if (wake) {
        cond_signal(&pool->has_work);  /* without the lock, which the worker wants at once */
    }
    if (start) {
        thread_start_detached(pool->name, worker_body, pool);
    }
    return req;
}

WorkRequest *worker_submit(WorkerPool *pool, WorkFn *work, WorkDoneFn *done, void *opaque)
{
    return submit(pool, NULL, work, done, opaque);
}

bool worker_cancel(WorkRequest *req)
{
    bool cancelled;

    mutex_lock(&req->pool->lock);
    cancelled = req->state == WORK_WAITING;
    if (cancelled) {
        req->state = WORK_CANCELLED;
    }
    mutex_unlock(&req->pool->lock);
    return cancelled;
}

typedef struct CoWorkCall {
    WorkFn *work;
    void *opaque;
    Coroutine *co;
    int result;
} CoWorkCall;

static int co_work_body(void *opaque)
{
    CoWorkCall *call = opaque;

    return call->work(call->opaque);
}

static void co_work_done(void *opaque, int result)
{
    CoWorkCall *call = opaque;

    call->result = result;
    coroutine_enter(call->co);
}

int co_worker_run_in_lane(WorkerPool *pool, WorkLane *lane, WorkFn *work, void *opaque)
{
    CoWorkCall call = { work, opaque, coroutine_self(), -ECANCELED };

    submit(pool, lane, co_work_body, co_work_done, &call);
    co_yield();
    return call.result;
}

int co_worker_run(WorkerPool *pool, WorkFn *work, void *opaque)
{
    return co_worker_run_in_lane(pool, NULL, work, opaque);
}
