/* SPDX-License-Identifier: MIT */
/*
 * Worker threads; see the header.
 *
 * Locking: pool->lock guards the queue, the lanes, the counts and each request's state.
 */
#include "base/worker_pool.h"
#include "base/coroutine.h"
#include "base/thread.h"

#include <errno.h>

#define IDLE_NS (10 * INT64_C(1000000000))
/* Requests of a lane that began less than this ago are told of together with the next one, since waking
 * the loop for each can take longer than they did; a next one that takes long keeps them waiting. */
#define TOGETHER_US 30

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
    Cond has_work, all_gone;
    WorkRequest *head, **tail;
    unsigned threads, idle, max_threads;
    bool closing;
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

/* Requests that one thread of a lane has done and not told of yet. */
typedef struct Finished {
    WorkRequest *head, **tail;
    int64_t since_us;
} Finished;

static void finished_post(Finished *f)
{
    while (f->head) {
        WorkRequest *req = f->head;

        f->head = req->next;
        event_loop_post(req->loop, request_finish, req);
    }
}

static void finished_add(Finished *f, WorkRequest *req, int64_t start_us)
{
    if (!f->head) {
        f->tail = &f->head;
        f->since_us = start_us;
    }
    *f->tail = req;
    req->next = NULL;
    f->tail = &req->next;
}

/* Does the lane's request, and gives the next one.  The ends of several may be told together. */
static WorkRequest *lane_step(WorkRequest *req, Finished *finished)
{
    WorkerPool *pool = req->pool;
    int64_t start_us = g_get_monotonic_time();
    WorkRequest *next;

    req->result = req->work(req->opaque);
    finished_add(finished, req, start_us);
    /* The next one is taken before an end is told: with the last one's the lane itself may go. */
    mutex_lock(&pool->lock);
    next = lane_take_locked(req->lane);
    mutex_unlock(&pool->lock);
    if (!next || g_get_monotonic_time() - finished->since_us >= TOGETHER_US) {
        finished_post(finished);
    }
    return next;
}

static void *worker_body(void *opaque)
{
    WorkerPool *pool = opaque;
    Finished finished = { NULL };
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
            in_lane = lane_step(req, &finished);
        } else {
            if (!cancelled) {
                req->result = req->work(req->opaque);
            }
            event_loop_post(req->loop, request_finish, req);
        }
        mutex_lock(&pool->lock);
    }
    if (--pool->threads == 0) {
        cond_signal(&pool->all_gone);
    }
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
    while (pool->threads) {
        cond_wait(&pool->all_gone, &pool->lock);
    }
    mutex_unlock(&pool->lock);
    cond_clear(&pool->has_work);
    cond_clear(&pool->all_gone);
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
