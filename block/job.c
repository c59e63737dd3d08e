/* SPDX-License-Identifier: MIT */
/*
 * Jobs: their states, and the loop they run in.  What they do is in job_*.c.
 * Locking: main loop with iothreads parked, but what a co_run() calls, which is on the job's loop.
 */
#include "block/job.h"

#include "base/parse.h"
#include "block/driver.h"

#define SLICE_US 100000
#define WALK_CHUNK (512 * KIB)

struct JobTxn {
    unsigned refs;
    bool aborting;
    GPtrArray *jobs;                   /* borrowed; a job leaves when it concludes */
};

static GPtrArray *all_jobs;

/* ---- states and verbs ---- */

enum { V_CANCEL, V_PAUSE, V_RESUME, V_SET_SPEED, V_COMPLETE, V_FINALIZE, V_DISMISS };

static const char *const verb_names[] = {
    "cancel", "pause", "resume", "set-speed", "complete", "finalize", "dismiss",
};

#define S(x) BIT(QAPI_JOB_STATUS_##x)
#define ALIVE (S(CREATED) | S(RUNNING) | S(PAUSED) | S(READY) | S(STANDBY))

static const uint32_t verb_states[] = {
    [V_CANCEL] = ALIVE | S(WAITING) | S(PENDING),
    [V_PAUSE] = ALIVE, [V_RESUME] = ALIVE, [V_SET_SPEED] = ALIVE,
    [V_COMPLETE] = S(READY), [V_FINALIZE] = S(PENDING), [V_DISMISS] = S(CONCLUDED),
};

static bool verb_ok(const Job *job, unsigned verb, GError **error)
{
    return (verb_states[verb] & BIT(job->status)) ||
           error_set(error, "Job '%s' in state '%s' cannot accept command verb '%s'", job->id,
                     qapi_words_QapiJobStatus[job->status], verb_names[verb]);
}

static void set_status(Job *job, QapiJobStatus status)
{
    if (job->status != status) {
        job->status = status;
        qapi_event_job_status_change(job->id, status);
    }
}

/* ---- life ---- */

static const char *default_id(const BlockNode *node)
{
    for (BlockBackend *blk = blk_next(NULL); node && blk; blk = blk_next(blk)) {
        if (blk_node(blk) && *blk_name(blk) &&
            node_skip_filters(blk_node(blk)) == node_skip_filters((BlockNode *)node)) {
            return blk_name(blk);
        }
    }
    return "";
}

static Job *find(const char *id)
{
    for (unsigned i = 0; all_jobs && i < all_jobs->len; i++) {
        Job *job = all_jobs->pdata[i];

        if (g_str_equal(job->id, id)) {
            return job;
        }
    }
    return NULL;
}

void *job_new(const JobType *type, const JobCommon *common, GError **error)
{
    const char *id = common->id ? common->id : default_id(common->node);
    Job *job;

    if (!id || !parse_is_id(id)) {
        error_set(error, "Invalid job ID '%s'", id);
        return NULL;
    }
    if (find(id)) {
        error_set(error, "Job ID '%s' already in use", id);
        return NULL;
    }
    job = g_malloc0(type->size);
    job->type = type;
    job->refs = 1;
    job->loop = event_loop_main();
    job->id = g_strdup(id);
    job->speed = common->speed;
    job->manual_finalize = common->manual_finalize;
    job->manual_dismiss = common->manual_dismiss;
    job->uses = g_array_new(false, false, sizeof(JobUse));
    job->txn = common->txn ? common->txn : job_txn_new();
    job->txn->refs += common->txn != NULL;
    g_ptr_array_add(job->txn->jobs, job);
    if (!all_jobs) {
        all_jobs = g_ptr_array_new();
    }
    g_ptr_array_add(all_jobs, job);
    set_status(job, QAPI_JOB_STATUS_CREATED);
    return job;
}

static void job_ref(Job *job)
{
    job->refs++;
}

static void job_unref(Job *job)
{
    if (--job->refs == 0) {
        g_clear_error(&job->error);
        g_array_unref(job->uses);
        g_free(job->id);
        g_free(job);
    }
}

JobTxn *job_txn_new(void)
{
    JobTxn *txn = g_new0(JobTxn, 1);

    txn->refs = 1;
    txn->jobs = g_ptr_array_new();
    return txn;
}

void job_txn_unref(JobTxn *txn)
{
    if (txn && --txn->refs == 0) {
        g_ptr_array_unref(txn->jobs);
        g_free(txn);
    }
}

static void leave_txn(Job *job)
{
    g_ptr_array_remove(job->txn->jobs, job);
    job_txn_unref(g_steal_pointer(&job->txn));
}

Job *job_find(const char *id, GError **error)
{
    Job *job = find(id);

    if (!job) {
        error_set(error, "Job not found");
    }
    return job;
}

Job *job_next(Job *job)
{
    unsigned i = 0;

    if (!all_jobs) {
        return NULL;
    }
    if (job && g_ptr_array_find(all_jobs, job, &i)) {
        i++;
    }
    return i < all_jobs->len ? all_jobs->pdata[i] : NULL;
}

/* ---- nodes ---- */

static void node_drain_begins(void *opaque)
{
    Job *job = opaque;

    job->pauses++;
    job_kick(job);
}

static void node_drain_ends(void *opaque)
{
    Job *job = opaque;

    if (--job->pauses == 0) {
        job_kick(job);
    }
}

static bool node_drain_waits(void *opaque)
{
    Job *job = opaque;

    return (job->busy && !job->draining) || job->ops;
}

/* Drained, the coroutine sits in a pause point (J3), or has not begun, or has ended. */
static bool node_may_move(void *opaque, EventLoop *loop)
{
    Job *job = opaque;

    return !job->busy && !job->draining;
}

static void node_moved(void *opaque, EventLoop *loop)
{
    Job *job = opaque;

    job->loop = loop;
    if (job->co) {
        coroutine_set_home(job->co, loop);
    }
}

static const ChildHooks use_hooks = {
    .may_move = node_may_move,
    .moved = node_moved,
    .drained_begin = node_drain_begins,
    .drained_end = node_drain_ends,
    .drained_busy = node_drain_waits,
    .stays = true,
};

bool job_check_free(const BlockNode *node, GError **error)
{
    for (Job *job = job_next(NULL); job; job = job_next(job)) {
        for (unsigned i = 0; i < job->uses->len; i++) {
            const JobUse *use = &g_array_index(job->uses, JobUse, i);

            if (use->node == node && use->claimed) {
                return error_set(error, "Node '%s' is busy: block device is in use by block job: "
                                 "%s", node->name, qapi_words_QapiJobType[job->type->kind]);
            }
        }
    }
    return true;
}

BlockChild *job_use_node(Job *job, BlockNode *node, const char *role, uint32_t perm,
                         uint32_t shared, int flags, GError **error)
{
    JobUse use = { .node = node, .claimed = flags & JOB_CLAIM };

    GRAPH_HOLD();
    if (use.claimed && !job_check_free(node, error)) {
        return NULL;
    }
    /* The first node says where; filters and targets were opened on the main loop. */
    if (!job->uses->len && !job->started) {
        job->loop = node->loop;
    }
    if (!graph_move(node, job->loop, NULL, error)) {
        return NULL;
    }
    use.edge = node_attach_root(node, role, perm, shared, &use_hooks, job, error);
    if (use.edge) {
        g_array_append_val(job->uses, use);
    }
    return use.edge;
}

void job_release_node(Job *job, BlockNode *node)
{
    GRAPH_HOLD();
    for (unsigned i = job->uses->len; i-- > 0;) {
        JobUse use = g_array_index(job->uses, JobUse, i);

        if (use.node == node) {
            g_array_remove_index(job->uses, i);
            node_detach_root(use.edge);
        }
    }
}

static void release_nodes(Job *job)
{
    while (job->uses->len) {
        job_release_node(job, g_array_index(job->uses, JobUse, job->uses->len - 1).node);
    }
}

/* ---- the end ---- */

static void gone(Job *job)
{
    set_status(job, QAPI_JOB_STATUS_NULL);
    g_ptr_array_remove(all_jobs, job);
    job_unref(job);
}

static void report_end(Job *job)
{
    const char *why = job->error ? job->error->message : job->ret < 0 ? g_strerror(-job->ret)
                                                                      : NULL;

    if (!job->type->is_block_job || !job->started) {
        return;
    }
    if (job->ret < 0 && job->cancelled) {
        qapi_event_block_job_cancelled(job->type->kind, job->id, (int64_t)job->total,
                                       (int64_t)job->done, (int64_t)job->speed);
    } else {
        qapi_event_block_job_completed(job->type->kind, job->id, (int64_t)job->total,
                                       (int64_t)job->done, (int64_t)job->speed, why);
    }
}

static void conclude(Job *job)
{
    if (job->ret < 0) {
        set_status(job, QAPI_JOB_STATUS_ABORTING);
    }
    if (job->ret == 0 && job->type->commit) {
        job->type->commit(job);
    } else if (job->ret < 0 && job->type->abort) {
        job->type->abort(job);
    }
    if (job->type->clean) {
        job->type->clean(job);
    }
    release_nodes(job);
    leave_txn(job);
    report_end(job);
    set_status(job, QAPI_JOB_STATUS_CONCLUDED);
    if (!job->manual_dismiss || !job->started) {
        gone(job);
    }
}

static GPtrArray *txn_members(JobTxn *txn)
{
    GPtrArray *list = g_ptr_array_new();

    for (unsigned i = 0; i < txn->jobs->len; i++) {
        job_ref(txn->jobs->pdata[i]);
        g_ptr_array_add(list, txn->jobs->pdata[i]);
    }
    return list;
}

static void members_free(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        job_unref(list->pdata[i]);
    }
    g_ptr_array_unref(list);
}

static void fail(Job *job, int ret)
{
    if (job->ret == 0) {
        job->ret = ret;
    }
}

/* One of the transaction failed: the others are cancelled, and all end when all have stopped. */
static void txn_abort(JobTxn *txn)
{
    GPtrArray *list = txn_members(txn);
    bool stopped = true;

    txn->refs++;
    txn->aborting = true;
    for (unsigned i = 0; i < list->len; i++) {
        Job *job = list->pdata[i];

        if (job->returned || !job->started) {
            continue;
        }
        stopped = false;
        if (!job->cancelled) {
            job->cancelled = job->force_cancel = true;
            job->user_paused = false;
            job_kick(job);
        }
    }
    for (unsigned i = 0; stopped && i < list->len; i++) {
        Job *job = list->pdata[i];

        if (job->ret == 0) {
            job->cancelled = true;
            fail(job, -ECANCELED);
        }
        conclude(job);
    }
    job_txn_unref(txn);
    members_free(list);
}

static bool prepare(Job *job)
{
    GError *why = NULL;

    if (!job->type->prepare || job->type->prepare(job, &why)) {
        return true;
    }
    fail(job, -EIO);
    if (!job->error) {
        job->error = why;
    } else {
        g_clear_error(&why);
    }
    return false;
}

static void txn_finalize(JobTxn *txn)
{
    GPtrArray *list = txn_members(txn);
    bool ok = true;

    txn->refs++;
    for (unsigned i = 0; ok && i < list->len; i++) {
        ok = prepare(list->pdata[i]);
    }
    if (!ok) {
        txn_abort(txn);
    }
    for (unsigned i = 0; ok && i < list->len; i++) {
        conclude(list->pdata[i]);
    }
    job_txn_unref(txn);
    members_free(list);
}

static void txn_try_finalize(JobTxn *txn)
{
    for (unsigned i = 0; i < txn->jobs->len; i++) {
        const Job *job = txn->jobs->pdata[i];

        if (job->status != QAPI_JOB_STATUS_PENDING || job->completing) {
            return;
        }
    }
    txn_finalize(txn);
}

/* All have returned 0. */
static void txn_pending(JobTxn *txn)
{
    GPtrArray *list = txn_members(txn);

    for (unsigned i = 0; i < list->len; i++) {
        Job *job = list->pdata[i];

        set_status(job, QAPI_JOB_STATUS_PENDING);
        job->completing = job->manual_finalize;
        if (job->manual_finalize && job->type->is_block_job) {
            qapi_event_block_job_pending(job->type->kind, job->id);
        }
    }
    txn_try_finalize(txn);
    members_free(list);
}

static void job_returned(void *opaque)
{
    Job *job = opaque;
    JobTxn *txn = job->txn;

    GRAPH_HOLD();
    if (graph_is_waiting()) {
        graph_post(job_returned, job);
        return;
    }
    job->returned = true;
    if (job->ret == 0 && job->force_cancel) {
        job->ret = -ECANCELED;
    }
    if (job->ret < 0 && !job->error && !job->cancelled) {
        error_set(&job->error, "%s", g_strerror(-job->ret));
    }
    if (job->ret < 0 || txn->aborting) {
        txn_abort(txn);
        job_unref(job);
        return;
    }
    set_status(job, QAPI_JOB_STATUS_WAITING);
    for (unsigned i = 0; i < txn->jobs->len; i++) {
        if (!((Job *)txn->jobs->pdata[i])->returned) {
            job_unref(job);
            return;
        }
    }
    txn_pending(txn);
    job_unref(job);
}

static void co_job_entry(void *opaque)
{
    Job *job = opaque;

    job->co = coroutine_self();
    co_job_pause_point(job);
    job->ret = job->type->co_run(job, &job->error);
    job->co = NULL;
    job->busy = false;
    graph_wait_kick();
    event_loop_post(event_loop_main(), job_returned, job);
}

static void start_posted(void *opaque)
{
    coroutine_start(co_job_entry, opaque);
}

void job_start(Job *job)
{
    job_ref(job);                      /* until job_returned() */
    job->started = job->busy = true;
    set_status(job, QAPI_JOB_STATUS_RUNNING);
    if (job->loop == event_loop_current()) {
        coroutine_start(co_job_entry, job);
    } else {
        event_loop_post(job->loop, start_posted, job);
    }
}

void job_discard(Job *job)
{
    job->ret = -ECANCELED;
    job->cancelled = true;
    conclude(job);
}

/* ---- running ---- */

bool job_is_cancelled(const Job *job)
{
    return job->force_cancel;
}

static void waited(void *opaque)
{
    job_kick(opaque);
}

void job_kick(Job *job)
{
    if (job->waiting) {
        job->waiting = false;
        job->busy = true;
        coroutine_wake(job->co);
    }
}

static void co_wait_raw(Job *job, int64_t ns)
{
    g_autoptr(LoopDelay) delay = NULL;

    if (ns >= 0) {
        delay = loop_delay_new(job->loop, (ns + 999999) / 1000000, waited, job);
    }
    job->waiting = true;
    job->busy = false;
    graph_wait_kick();
    co_yield();
}

void co_job_pause_point(Job *job)
{
    QapiJobStatus before = job->status;

    if (!job->pauses || job->force_cancel) {
        return;
    }
    set_status(job, before == QAPI_JOB_STATUS_READY ? QAPI_JOB_STATUS_STANDBY
                                                    : QAPI_JOB_STATUS_PAUSED);
    while (job->pauses && !job->force_cancel) {
        co_wait_raw(job, -1);
    }
    set_status(job, before);
}

void co_job_wait(Job *job, int64_t ns)
{
    if (!job->pauses && !job->force_cancel) {
        co_wait_raw(job, ns);
    }
    co_job_pause_point(job);
}

void co_job_limit(Job *job, uint64_t bytes)
{
    int64_t now = g_get_monotonic_time();
    uint64_t quota = MAX(job->speed / (1000000 / SLICE_US), 1);

    if (!job->speed) {
        job->slice_bytes = 0;
        return;
    }
    if (now >= job->slice_end_us) {
        job->slice_end_us = now + SLICE_US;
        job->slice_bytes = 0;
    }
    job->slice_bytes += bytes;
    /* What went over the quota is paid for with whole slices. */
    while (job->speed && job->slice_bytes >= quota && !job->force_cancel) {
        int64_t until = job->slice_end_us + (int64_t)(job->slice_bytes / quota - 1) * SLICE_US;

        now = g_get_monotonic_time();
        if (now >= until) {
            break;
        }
        co_job_wait(job, (until - now) * 1000);
        quota = MAX(job->speed / (1000000 / SLICE_US), 1);
    }
}

void co_job_ready(Job *job)
{
    set_status(job, QAPI_JOB_STATUS_READY);
    if (job->type->is_block_job) {
        qapi_event_block_job_ready(job->type->kind, job->id, (int64_t)job->total,
                                   (int64_t)job->done, (int64_t)job->speed);
    }
}

void job_progress_add(Job *job, uint64_t bytes)
{
    job->done += bytes;
    job->total = MAX(job->total, job->done);
}

void job_progress_total(Job *job, uint64_t total)
{
    job->total = total;
}

int co_job_walk(Job *job, uint64_t length, QapiBlockdevOnError policy, JobStep *step)
{
    uint64_t at = 0;

    job_progress_total(job, length);
    while (at < length) {
        uint64_t bytes = MIN(WALK_CHUNK, length - at);
        bool worked = false, was_read = true;
        int ret;

        co_job_pause_point(job);
        if (job_is_cancelled(job)) {
            return -ECANCELED;
        }
        ret = step(job, at, &bytes, &worked, &was_read);
        if (ret < 0) {
            QapiBlockErrorAction action = job_on_error(job, policy, was_read, -ret);

            if (action == QAPI_BLOCK_ERROR_ACTION_REPORT) {
                return ret;
            }
            if (action == QAPI_BLOCK_ERROR_ACTION_STOP) {
                continue;
            }
        }
        bytes = MAX(bytes, 1);
        at += bytes;
        job_progress_add(job, bytes);
        if (worked) {
            co_job_limit(job, bytes);
        }
    }
    return 0;
}

void job_op_begin(Job *job)
{
    job_ref(job);
    job->ops++;
}

void job_op_end(Job *job)
{
    job->ops--;
    job_kick(job);
    job_unref(job);
    graph_wait_kick();
}

QapiBlockErrorAction job_on_error(Job *job, QapiBlockdevOnError policy, bool is_read, int err)
{
    QapiBlockErrorAction action = QAPI_BLOCK_ERROR_ACTION_REPORT;

    if (policy == QAPI_BLOCKDEV_ON_ERROR_IGNORE) {
        action = QAPI_BLOCK_ERROR_ACTION_IGNORE;
    } else if (policy == QAPI_BLOCKDEV_ON_ERROR_STOP ||
               ((policy == QAPI_BLOCKDEV_ON_ERROR_ENOSPC ||
                 policy == QAPI_BLOCKDEV_ON_ERROR_AUTO) && err == ENOSPC)) {
        action = QAPI_BLOCK_ERROR_ACTION_STOP;
    }
    qapi_event_block_job_error(job->id, is_read ? QAPI_IO_OPERATION_TYPE_READ
                                                : QAPI_IO_OPERATION_TYPE_WRITE, action);
    if (action == QAPI_BLOCK_ERROR_ACTION_STOP) {
        if (!job->user_paused) {
            job->user_paused = true;
            job->pauses++;
        }
        job->iostatus = err == ENOSPC ? QAPI_BLOCK_DEVICE_IO_STATUS_NOSPACE
                                      : QAPI_BLOCK_DEVICE_IO_STATUS_FAILED;
    }
    return action;
}

/* ---- commands ---- */

bool job_pause(Job *job, GError **error)
{
    if (!verb_ok(job, V_PAUSE, error)) {
        return false;
    }
    if (job->user_paused) {
        return error_set(error, "Job is already paused");
    }
    job->user_paused = true;
    job->pauses++;
    job_kick(job);
    return true;
}

static void unpause(Job *job)
{
    if (job->user_paused) {
        job->user_paused = false;
        job->iostatus = QAPI_BLOCK_DEVICE_IO_STATUS_OK;
        job->pauses--;
        job_kick(job);
    }
}

bool job_resume(Job *job, GError **error)
{
    if (!job->user_paused) {
        return error_set(error, "Can't resume a job that was not paused");
    }
    if (!verb_ok(job, V_RESUME, error)) {
        return false;
    }
    unpause(job);
    return true;
}

bool job_cancel(Job *job, bool force, GError **error)
{
    if (!verb_ok(job, V_CANCEL, error)) {
        return false;
    }
    if (!job->started) {
        job->cancelled = job->force_cancel = true;
        fail(job, -ECANCELED);
        txn_abort(job->txn);
        return true;
    }
    force = job->type->cancel ? job->type->cancel(job, force) : true;
    job->cancelled = true;
    job->force_cancel |= force;
    if (job->returned) {               /* waiting or pending: too late to end well */
        job->force_cancel = true;
        fail(job, -ECANCELED);
        txn_abort(job->txn);
        return true;
    }
    if (force || !(job->status == QAPI_JOB_STATUS_STANDBY)) {
        unpause(job);
    }
    job_kick(job);
    return true;
}

bool job_complete(Job *job, GError **error)
{
    if (!verb_ok(job, V_COMPLETE, error)) {
        return false;
    }
    if (job->cancelled || !job->type->complete) {
        return error_set(error, "The active block job '%s' cannot be completed", job->id);
    }
    return job->type->complete(job, error);
}

bool job_finalize(Job *job, GError **error)
{
    if (!verb_ok(job, V_FINALIZE, error)) {
        return false;
    }
    for (unsigned i = 0; i < job->txn->jobs->len; i++) {
        ((Job *)job->txn->jobs->pdata[i])->completing = false;
    }
    txn_try_finalize(job->txn);
    return true;
}

bool job_dismiss(Job *job, GError **error)
{
    if (!verb_ok(job, V_DISMISS, error)) {
        return false;
    }
    gone(job);
    return true;
}

bool job_set_speed(Job *job, int64_t speed, GError **error)
{
    if (!verb_ok(job, V_SET_SPEED, error)) {
        return false;
    }
    if (speed < 0) {
        return error_set(error, "Parameter 'speed' expects a non-negative value");
    }
    job->speed = (uint64_t)speed;
    job->slice_bytes = 0;
    job_kick(job);
    return true;
}

void job_cancel_all(void)
{
    Job *job;

    GRAPH_HOLD();
    for (job = job_next(NULL); job; job = job_next(NULL)) {
        if (job->status == QAPI_JOB_STATUS_CONCLUDED) {
            gone(job);
        } else if (job->force_cancel || !job_cancel(job, true, NULL)) {
            graph_wait_turn();
        }
    }
}
