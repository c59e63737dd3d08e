/* SPDX-License-Identifier: MIT */
/*
 * x-blockdev-amend: changes an image that is in use, as a job since deriving keys takes its time:
 * the key slots of luks, alone or within qcow2.  The graph is drained meanwhile.
 * Locking: main loop.
 */
#include "block/driver.h"
#include "block/job_types.h"

typedef struct Amend {
    Job job;
    BlockNode *node;
    NodeOpts *opts;
    Coroutine *co;
    GError *failure;
} Amend;

/* Not in the job's coroutine: it waits for others. */
static void amend_now(void *opaque)
{
    Amend *a = opaque;
    GRAPH_HOLD();

    if (graph_is_waiting()) {
        graph_post(amend_now, a);
        return;
    }
    if (node_is_read_only(a->node)) {
        error_set(&a->failure, "Block node '%s' is read-only", a->node->name);
    } else {
        node_amend(a->node, a->opts, &a->failure);
    }
    coroutine_wake(a->co);
}

static int co_amend_run(Job *job, GError **error)
{
    Amend *a = (Amend *)job;

    job_progress_total(job, 1);
    a->co = coroutine_self();
    graph_post(amend_now, a);
    co_yield();
    if (a->failure) {
        g_propagate_error(error, g_steal_pointer(&a->failure));
        return -EIO;
    }
    job_progress_add(job, 1);
    return 0;
}

static void amend_clean(Job *job)
{
    Amend *a = (Amend *)job;

    g_clear_pointer(&a->opts, node_opts_free);
    g_clear_pointer(&a->node, node_unref);
}

static const JobType amend_type = {
    .kind = QAPI_JOB_TYPE_AMEND, .size = sizeof(Amend), .co_run = co_amend_run,
    .clean = amend_clean,
};

bool job_amend_start(const JobCommon *common, BlockNode *node, const char *driver, NodeOpts *opts,
                     bool force, GError **error)
{
    JobCommon c = *common;
    Amend *job;

    if (!g_str_equal(node->type->name, driver)) {
        return error_set(error, "x-blockdev-amend doesn't support changing the block driver");
    }
    if (!node->type->amend) {
        return error_set(error, "Driver does not support x-blockdev-amend");
    }
    c.manual_dismiss = true;
    job = job_new(&amend_type, &c, error);
    if (!job) {
        return false;
    }
    job->node = node_ref(node);
    job->opts = node_opts_copy(opts);
    g_free(node_opts_take(job->opts, "encrypt.format"));    /* checked: there is but one */
    if (force) {
        node_opts_set(job->opts, "force", "on");
    }
    job_start(&job->job);
    return true;
}
