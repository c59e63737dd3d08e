/* SPDX-License-Identifier: MIT */
/* QMP: what is done with jobs once they run. */
#include "block/job.h"
#include "qapi/qapi_commands.h"

static Job *find_block_job(const char *id, GError **error)
{
    Job *job = job_find(id, NULL);

    if (!job || !job->type->is_block_job) {
        error_set_code(error, VM_ERROR_DEVICE_NOT_ACTIVE, "Block job '%s' not found", id);
        return NULL;
    }
    return job;
}

/* qmp_NAME(): DO with the job that FIND finds by the argument ID. */
#define VERB(name, Name, find, id, do)                                                   \
    bool qmp_##name(QmpCall *call, const Qmp##Name##Args *args, GError **error)          \
    {                                                                                    \
        Job *job = find(args->id, error);                                                \
                                                                                         \
        return job && do;                                                                \
    }

/* clang-format off */
VERB(job_pause,    JobPause,    job_find, id, job_pause(job, error))
VERB(job_resume,   JobResume,   job_find, id, job_resume(job, error))
VERB(job_cancel,   JobCancel,   job_find, id, job_cancel(job, true, error))
VERB(job_complete, JobComplete, job_find, id, job_complete(job, error))
VERB(job_dismiss,  JobDismiss,  job_find, id, job_dismiss(job, error))
VERB(job_finalize, JobFinalize, job_find, id, job_finalize(job, error))

/* The older commands, for jobs on block devices. */
VERB(block_job_set_speed, BlockJobSetSpeed, find_block_job, device,
     job_set_speed(job, args->speed, error))
VERB(block_job_pause,     BlockJobPause,    find_block_job, device, job_pause(job, error))
VERB(block_job_resume,    BlockJobResume,   find_block_job, device, job_resume(job, error))
VERB(block_job_complete,  BlockJobComplete, find_block_job, device, job_complete(job, error))
VERB(block_job_dismiss,   BlockJobDismiss,  find_block_job, id,     job_dismiss(job, error))
VERB(block_job_finalize,  BlockJobFinalize, find_block_job, id,     job_finalize(job, error))
/* clang-format on */

bool qmp_block_job_cancel(QmpCall *call, const QmpBlockJobCancelArgs *args, GError **error)
{
    GRAPH_HOLD();
    Job *job = find_block_job(args->device, error);
    bool force = args->has_force && args->force;

    if (job && job->user_paused && !force) {
        return error_set(error, "The block job for device '%s' is currently paused",
                         args->device);
    }
    return job && job_cancel(job, force, error);
}

bool qmp_query_jobs(QmpCall *call, GPtrArray **ret, GError **error)
{
    GRAPH_HOLD();
    *ret = qapi_list_new(&qapi_type_QapiJobInfo);
    for (Job *job = job_next(NULL); job; job = job_next(job)) {
        QapiJobInfo *info = g_new0(QapiJobInfo, 1);

        info->id = g_strdup(job->id);
        info->type = job->type->kind;
        info->status = job->status;
        info->current_progress = (int64_t)job->done;
        info->total_progress = (int64_t)job->total;
        info->error = job->error ? g_strdup(job->error->message) : NULL;
        g_ptr_array_add(*ret, info);
    }
    return true;
}

bool qmp_query_block_jobs(QmpCall *call, GPtrArray **ret, GError **error)
{
    GRAPH_HOLD();
    *ret = qapi_list_new(&qapi_type_QapiBlockJobInfo);
    for (Job *job = job_next(NULL); job; job = job_next(job)) {
        QapiBlockJobInfo *info;

        if (!job->type->is_block_job) {
            continue;
        }
        info = g_new0(QapiBlockJobInfo, 1);
        info->type = g_strdup(qapi_words_QapiJobType[job->type->kind]);
        info->device = g_strdup(job->id);
        info->len = (int64_t)job->total;
        info->offset = (int64_t)job->done;
        info->busy = job->busy;
        info->paused = job->user_paused;
        info->speed = (int64_t)job->speed;
        info->io_status = job->iostatus;
        info->ready = job->status == QAPI_JOB_STATUS_READY ||
                      job->status == QAPI_JOB_STATUS_STANDBY;
        info->status = job->status;
        info->auto_finalize = !job->manual_finalize;
        info->auto_dismiss = !job->manual_dismiss;
        info->error = job->error ? g_strdup(job->error->message) : NULL;
        g_ptr_array_add(*ret, info);
    }
    return true;
}
