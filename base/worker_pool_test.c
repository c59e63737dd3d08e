/* SPDX-License-Identifier: MIT */
/* The worker pool. */
#include "base/worker_pool.h"
#include "base/coroutine.h"
#include "base/thread.h"

#include <errno.h>

typedef struct Job {
    int tid, result;
    int done_tid;
    unsigned *left;
    GMutex *gate;
} Job;

static int job_work(void *opaque)
{
    Job *job = opaque;

    if (job->gate) {
        g_mutex_lock(job->gate);
        g_mutex_unlock(job->gate);
    }
    job->tid = thread_self_tid();
    return 42;
}

static void job_done(void *opaque, int result)
{
    Job *job = opaque;

    job->result = result;
    job->done_tid = thread_self_tid();
    --*job->left;
}

static void test_work_elsewhere_done_here(void)
{
    g_autoptr(WorkerPool) pool = worker_pool_new("test", 3);
    unsigned left = 50;
    Job jobs[50] = { { 0 } };

    for (unsigned i = 0; i < 50; i++) {
        jobs[i].left = &left;
        worker_submit(pool, job_work, job_done, &jobs[i]);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), left);
    for (unsigned i = 0; i < 50; i++) {
        g_assert_cmpint(jobs[i].result, ==, 42);
        g_assert_cmpint(jobs[i].done_tid, ==, thread_self_tid());
        g_assert_cmpint(jobs[i].tid, !=, thread_self_tid());
    }
}

static void test_cancel_before_start(void)
{
    g_autoptr(WorkerPool) pool = worker_pool_new("test", 1);
    unsigned left = 2;
    GMutex gate;
    Job first = { .left = &left, .gate = &gate }, second = { .left = &left };
    WorkRequest *req;

    g_mutex_init(&gate);
    g_mutex_lock(&gate);
    worker_submit(pool, job_work, job_done, &first);
    req = worker_submit(pool, job_work, job_done, &second);
    g_assert_true(worker_cancel(req));
    g_mutex_unlock(&gate);
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), left);
    g_assert_cmpint(first.result, ==, 42);
    g_assert_cmpint(second.result, ==, -ECANCELED);
    g_assert_cmpint(second.tid, ==, 0);
    g_mutex_clear(&gate);
}

typedef struct LaneJob {
    WorkerPool *pool;
    WorkLane *lane;
    unsigned *inside, *order, *left, place;
} LaneJob;

static int lane_work(void *opaque)
{
    LaneJob *job = opaque;

    g_assert_cmpuint((*job->inside)++, ==, 0);
    job->place = (*job->order)++;
    g_assert_cmpuint(--*job->inside, ==, 0);
    return 0;
}

static void co_lane_job(void *opaque)
{
    LaneJob *job = opaque;

    g_assert_cmpint(co_worker_run_in_lane(job->pool, job->lane, lane_work, job), ==, 0);
    --*job->left;
}

/* Nothing but the lane orders the accesses to the counts: the thread sanitizer sees that, too. */
static void test_lane_is_one_at_a_time(void)
{
    g_autoptr(WorkerPool) pool = worker_pool_new("test", 4);

    for (unsigned round = 0; round < 50; round++) {
        WorkLane *lane = g_new0(WorkLane, 1);
        unsigned inside = 0, order = 0, left = 20;
        LaneJob jobs[20];

        for (unsigned i = 0; i < 20; i++) {
            jobs[i] = (LaneJob){ pool, lane, &inside, &order, &left, 0 };
            coroutine_start(co_lane_job, &jobs[i]);
        }
        EVENT_LOOP_WAIT_WHILE(event_loop_main(), left);
        for (unsigned i = 0; i < 20; i++) {
            g_assert_cmpuint(jobs[i].place, ==, i);
        }
        g_free(lane);
    }
}

typedef struct GatedJob {
    WorkerPool *pool;
    WorkLane *lane;
    Mutex *lock;
    Cond *opened;
    bool *open;
    bool waits;
    unsigned *left;
} GatedJob;

static int gated_work(void *opaque)
{
    GatedJob *job = opaque;

    mutex_lock(job->lock);
    while (job->waits && !*job->open) {
        cond_wait(job->opened, job->lock);
    }
    mutex_unlock(job->lock);
    return 0;
}

/* Who did not wait opens the gate once it was told. */
static void co_gated_job(void *opaque)
{
    GatedJob *job = opaque;

    co_worker_run_in_lane(job->pool, job->lane, gated_work, job);
    if (!job->waits) {
        mutex_lock(job->lock);
        *job->open = true;
        cond_signal(job->opened);
        mutex_unlock(job->lock);
    }
    --*job->left;
}

/* The end of a short request is told although the next one is at work for as long as it takes. */
static void test_lane_tells_beside_a_long_one(void)
{
    g_autoptr(WorkerPool) pool = worker_pool_new("test", 1);
    Mutex lock;
    Cond opened;

    mutex_init(&lock, "gate", LOCK_RANK_LEAF);
    cond_init(&opened);
    for (unsigned round = 0; round < 20; round++) {
        WorkLane *lane = g_new0(WorkLane, 1);
        unsigned left = 4;
        bool open = false;
        GatedJob jobs[4];

        for (unsigned i = 0; i < 4; i++) {
            jobs[i] = (GatedJob){ pool, lane, &lock, &opened, &open, i == 2, &left };
            coroutine_start(co_gated_job, &jobs[i]);
        }
        EVENT_LOOP_WAIT_WHILE(event_loop_main(), left);
        g_free(lane);
    }
    cond_clear(&opened);
    mutex_clear(&lock);
}

static void co_job(void *opaque)
{
    Job *job = opaque;

    job->result = co_worker_run(worker_pool_shared(), job_work, job);
    job->done_tid = thread_self_tid();
}

static void test_coroutine_waits(void)
{
    Job job = { 0 };

    coroutine_run_sync(event_loop_main(), co_job, &job);
    g_assert_cmpint(job.result, ==, 42);
    g_assert_cmpint(job.done_tid, ==, thread_self_tid());
    g_assert_cmpint(job.tid, !=, job.done_tid);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/workers/done-here", test_work_elsewhere_done_here);
    g_test_add_func("/workers/cancel", test_cancel_before_start);
    g_test_add_func("/workers/coroutine", test_coroutine_waits);
    g_test_add_func("/workers/lane", test_lane_is_one_at_a_time);
    g_test_add_func("/workers/lane-long", test_lane_tells_beside_a_long_one);
    return g_test_run();
}
