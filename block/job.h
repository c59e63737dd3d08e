/* SPDX-License-Identifier: MIT */
/*
 * Background jobs: what outlives the command that starts it.
 *
 *            +------------+ pause   +--------+          +-------+ pause  +---------+
 *  CREATED ->|  RUNNING   |<------->| PAUSED |    +---->| READY |<------>| STANDBY |
 *            +------------+         +--------+    |     +-------+        +---------+
 *               |      |  +----------- mirror ----+         | complete
 *        failed |      | co_run() returned 0                |
 *               v      v                                    |
 *          ABORTING  WAITING (for the others of its transaction)
 *               |      v
 *               |    PENDING (for job-finalize, unless auto-finalize)
 *               |      v prepare(), then commit() or abort()
 *               +-> CONCLUDED (for job-dismiss, unless auto-dismiss) -> NULL, gone
 *
 * A type is a row with co_run(), which runs in a coroutine of the main loop and calls
 * job_pause_point() between requests, and main-loop hooks that run when it has returned:
 *
 *     static int co_copy_run(Job *job, GError **error)
 *     {
 *         while (more) {
 *             co_job_pause_point(job);
 *             if (job_is_cancelled(job)) {
 *                 return -ECANCELED;
 *             }
 *             ... one chunk ...
 *             job_progress_add(job, n);
 *             co_job_limit(job, n);
 *         }
 *         return 0;
 *     }
 *     Job *job = job_new(&copy_type, &common, error);
 *     job_use_node(job, node, "source", perm, shared, error)...
 *     job_start(job);
 *
 * Invariants:
 *  J1  prepare() of all jobs of a transaction succeeded before commit() of any is called.
 *  J2  clean() runs exactly once, after commit() or abort(); it drops nodes and filters.
 *  J3  while a node that the job uses is drained, the job is paused: co_run() sits in a pause
 *      point, and job->ops is 0.
 *  J4  a node that a job claims is not claimed by another (job_use_node() with JOB_CLAIM).
 *
 * Thread rule: main loop; co_run() runs on the loop of the job's nodes, which the job follows when
 * they move.  So co_run() changes no graph; what must be done to that, it posts to the main loop.
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "base/coroutine.h"
#include "block/graph.h"
#include "qapi/qapi_types.h"

typedef struct Job Job;
typedef struct JobTxn JobTxn;

typedef struct JobType {
    QapiJobType kind;
    size_t size;                       /* of the struct that begins with a Job */
    bool is_block_job;                 /* in query-block-jobs */
    /* 0 or -errno; ERROR says more than the number, and may be left alone. */
    int (*co_run)(Job *job, GError **error);
    bool (*prepare)(Job *job, GError **error);
    void (*commit)(Job *job);
    void (*abort)(Job *job);
    void (*clean)(Job *job);
    /* job-complete of a job that is READY. */
    bool (*complete)(Job *job, GError **error);
    /* Whether a cancel without force must stop it: false means that it ends well (mirror). */
    bool (*cancel)(Job *job, bool force);
} JobType;

/* What all commands that start one have in common. */
typedef struct JobCommon {
    const char *id;                    /* NULL: the name of BACKEND */
    BlockNode *node;                   /* for the default id, and messages */
    uint64_t speed;                    /* bytes a second; 0: as fast as it goes */
    bool manual_finalize, manual_dismiss;
    JobTxn *txn;                       /* NULL: one of its own */
} JobCommon;

enum { JOB_CLAIM = 1, JOB_USE_MAX = 1024 };

typedef struct JobUse {
    BlockChild *edge;
    BlockNode *node;
    bool claimed;
} JobUse;

struct Job {
    const JobType *type;
    unsigned refs;
    char *id;
    QapiJobStatus status;
    EventLoop *loop;
    Coroutine *co;
    bool started, busy, waiting;       /* waiting: in a sleep that job_kick() ends */
    bool user_paused, cancelled, force_cancel, returned, draining;
    bool manual_finalize, manual_dismiss, completing;
    unsigned pauses;                   /* by the user and by drains */
    unsigned ops;                      /* requests under way in coroutines of their own */
    int ret;
    GError *error;
    uint64_t speed, slice_bytes, done, total;
    int64_t slice_end_us;
    QapiBlockDeviceIoStatus iostatus;
    JobTxn *txn;
    GArray *uses;                      /* of JobUse */
};

/* ---- for types ---- */

void *job_new(const JobType *type, const JobCommon *common, GError **error);
/* The edge leads to this very node for as long as the job lives. */
BlockChild *job_use_node(Job *job, BlockNode *node, const char *role, uint32_t perm,
                         uint32_t shared, int flags, GError **error);
void job_release_node(Job *job, BlockNode *node);
void job_start(Job *job);
/* A job that was made but shall not run: aborted and forgotten. */
void job_discard(Job *job);

void co_job_pause_point(Job *job);
/* Sleeps until job_kick(), or for NS when it is not negative. */
void co_job_wait(Job *job, int64_t ns);
/* Counts BYTES against the speed limit, and sleeps when they are too many. */
void co_job_limit(Job *job, uint64_t bytes);
void job_kick(Job *job);
bool job_is_cancelled(const Job *job);
void co_job_ready(Job *job);
void job_progress_add(Job *job, uint64_t bytes);
void job_progress_total(Job *job, uint64_t total);
/*
 * The loop of a job that walks from 0 to LENGTH, a chunk at a time: STEP does up to *BYTES at AT,
 * says how far it got and whether that was work (which the speed limit counts), and on failure
 * whether it was reading that failed.
 */
typedef int JobStep(Job *job, uint64_t at, uint64_t *bytes, bool *worked, bool *was_read);
int co_job_walk(Job *job, uint64_t length, QapiBlockdevOnError policy, JobStep *step);
/* For requests under way beside co_run(). */
void job_op_begin(Job *job);
void job_op_end(Job *job);
/* ERR is a positive errno.  STOP pauses the job: try again after the next pause point. */
QapiBlockErrorAction job_on_error(Job *job, QapiBlockdevOnError policy, bool is_read, int err);

/* ---- transactions ---- */

JobTxn *job_txn_new(void);
void job_txn_unref(JobTxn *txn);

/* ---- for commands ---- */

Job *job_find(const char *id, GError **error);         /* NULL with DeviceNotFound's text */
Job *job_next(Job *job);
bool job_pause(Job *job, GError **error);
bool job_resume(Job *job, GError **error);
bool job_cancel(Job *job, bool force, GError **error);
bool job_complete(Job *job, GError **error);
bool job_finalize(Job *job, GError **error);
bool job_dismiss(Job *job, GError **error);
bool job_set_speed(Job *job, int64_t speed, GError **error);
/* Cancels all and waits: at the end of the process. */
void job_cancel_all(void);
/* Fails when a job claims NODE: "Node 'x' is busy: ...". */
bool job_check_free(const BlockNode *node, GError **error);

#endif
