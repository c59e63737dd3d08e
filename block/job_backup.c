/* SPDX-License-Identifier: MIT */
/*
 * Backup: the disk as it was when the job was made, copied to a target while the guest goes on.
 *
 * The filter copy-before-write above the source saves what the guest overwrites; the job copies
 * the rest through the same engine.  With sync=none there is no rest.
 *
 * A bitmap is emptied when the job is made, so that it collects what comes later, and what it
 * held is kept here: at the end that is dropped, merged back, or replaced by what was not copied,
 * as bitmap-mode says.
 * Locking: main loop.
 */
#include "block/filter_job.h"
#include "block/job_types.h"

typedef struct Backup {
    Job job;
    BlockNode *source, *target, *filter;
    QapiMirrorSyncMode sync;
    DirtyBitmap *bitmap, *saved;
    QapiBitmapSyncMode bitmap_mode;
    bool drop_saved;
} Backup;

static Copier *copier_of(Backup *b)
{
    return &((CopyBeforeWrite *)b->filter->state)->copier;
}

/* ---- running ---- */

/* sync=top: what the backing file decides is not copied. */
static int co_skip_unallocated(Backup *b)
{
    BlockNode *base = node_chain_next(b->source);
    uint64_t length = b->source->length;

    for (uint64_t at = 0; base && at < length;) {
        BlockStatus st;
        int depth, ret;

        co_job_pause_point(&b->job);
        if (job_is_cancelled(&b->job)) {
            return -ECANCELED;
        }
        ret = co_node_status_above(b->source, base, at, length - at, &st, &depth);
        if (ret < 0) {
            return ret;
        }
        if (!(st.flags & BLK_STATUS_ALLOCATED)) {
            dirty_bitmap_reset(copier_of(b)->todo, at, st.bytes);
        }
        at += MAX(st.bytes, 1);
    }
    return 0;
}

static int co_backup_run(Job *job, GError **error)
{
    Backup *b = (Backup *)job;
    Copier *c = copier_of(b);
    int ret = 0;

    if (b->sync == QAPI_MIRROR_SYNC_MODE_NONE) {
        job_progress_total(job, b->source->length);
        while (!job_is_cancelled(job) && c->ret == 0) {
            co_job_wait(job, -1);
        }
        return c->ret < 0 ? c->ret : -ECANCELED;
    }
    if (b->sync == QAPI_MIRROR_SYNC_MODE_TOP) {
        ret = co_skip_unallocated(b);
    }
    job_progress_total(job, MIN(c->todo->dirty * c->todo->granularity, b->source->length));
    if (ret == 0) {
        ret = co_copier_pass(c, job, true);
    }
    if (ret == 0) {
        ret = co_node_flush(b->target);
    }
    if (ret == 0) {
        job->done = job->total;        /* what the guest's writes copied counts too */
    }
    return ret;
}

/* ---- the end ---- */

static void settle_bitmap(Backup *b, bool ok)
{
    const DirtyBitmap *back = b->saved;

    if (!b->bitmap) {
        return;
    }
    if (b->bitmap_mode == QAPI_BITMAP_SYNC_MODE_ALWAYS) {
        back = b->filter ? copier_of(b)->todo : NULL;     /* what was not copied */
    } else if (ok && b->bitmap_mode == QAPI_BITMAP_SYNC_MODE_ON_SUCCESS) {
        back = NULL;
    }
    if (back) {
        dirty_bitmap_merge(b->bitmap, back, NULL);
    }
    b->bitmap->busy = false;
    b->bitmap = NULL;
}

static void backup_commit(Job *job)
{
    settle_bitmap((Backup *)job, true);
}

static void backup_abort(Job *job)
{
    Backup *b = (Backup *)job;

    if (!job->started && b->bitmap) {
        b->bitmap_mode = QAPI_BITMAP_SYNC_MODE_NEVER;     /* as if nothing had been */
    }
    settle_bitmap(b, false);
}

static void backup_clean(Job *job)
{
    Backup *b = (Backup *)job;
    BlockNode *filter = g_steal_pointer(&b->filter);

    if (filter) {
        node_remove_filter(filter, NULL);
        while (job->uses->len) {
            job_release_node(job, g_array_index(job->uses, JobUse, 0).node);
        }
        node_unref(filter);
    }
    g_clear_pointer(&b->saved, dirty_bitmap_free);
    g_clear_pointer(&b->source, node_unref);
    g_clear_pointer(&b->target, node_unref);
}

static const JobType backup_type = {
    .kind = QAPI_JOB_TYPE_BACKUP, .size = sizeof(Backup), .is_block_job = true,
    .co_run = co_backup_run, .commit = backup_commit, .abort = backup_abort,
    .clean = backup_clean,
};

/* ---- making ---- */

static bool check_bitmap(BackupArgs *a, GError **error)
{
    bool needs = a->sync == QAPI_MIRROR_SYNC_MODE_INCREMENTAL ||
                 a->sync == QAPI_MIRROR_SYNC_MODE_BITMAP;

    if (needs && !a->bitmap) {
        return error_set(error, "must provide a valid bitmap name for '%s' sync mode",
                         qapi_words_QapiMirrorSyncMode[a->sync]);
    }
    if (!a->bitmap) {
        return true;
    }
    if (a->sync == QAPI_MIRROR_SYNC_MODE_NONE) {
        return error_set(error, "sync mode 'none' does not produce meaningful bitmap outputs");
    }
    if (!needs && a->bitmap_mode == QAPI_BITMAP_SYNC_MODE_NEVER) {
        return error_set(error, "Bitmap sync mode 'never' has no meaningful effect when combined "
                         "with sync mode '%s'", qapi_words_QapiMirrorSyncMode[a->sync]);
    }
    return bitmap_check_usable(a->bitmap, error);
}

static bool backup_check(BackupArgs *a, GError **error)
{
    if (a->source == a->target) {
        return error_set(error, "Source and target cannot be the same");
    }
    if (!job_check_free(node_skip_filters(a->source), error) ||
        !job_check_free(a->source, error) || !job_check_free(a->target, error)) {
        return false;
    }
    if (a->compress && !node_skip_filters(a->target)->type->co_write_compressed) {
        return error_set(error, "Compression is not supported for this drive %s",
                         a->target->name);
    }
    if (!check_bitmap(a, error)) {
        return false;
    }
    return a->source->length == a->target->length ||
           error_set(error, "Source and target image have different sizes");
}

static bool insert_filter(Backup *b, const BackupArgs *a, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    Copier *c;

    node_opts_set(opts, "driver", "copy-before-write");
    node_opts_set(opts, "target", b->target->name);
    if (a->filter_name) {
        node_opts_set(opts, "node-name", a->filter_name);
    }
    b->filter = node_insert_filter(b->source, opts, error);
    if (b->filter) {
        ((CopyBeforeWrite *)b->filter->state)->job_owns = true;
    } else {
        return false;
    }
    c = copier_of(b);
    c->compress = a->compress;
    c->on_source_error = a->on_source_error;
    c->on_target_error = a->on_target_error;
    if (a->max_workers) {
        c->max_ops = (unsigned)MIN(a->max_workers, 64);
    }
    if (a->max_chunk) {
        c->chunk = align_up(MIN(a->max_chunk, 64 * MIB), c->todo->granularity);
    }
    return true;
}

static bool take_bitmap(Backup *b, const BackupArgs *a, GError **error)
{
    bool limits = a->sync == QAPI_MIRROR_SYNC_MODE_INCREMENTAL ||
                  a->sync == QAPI_MIRROR_SYNC_MODE_BITMAP;
    Copier *c = copier_of(b);
    uint64_t at = 0, start, n;

    if (!a->bitmap) {
        return true;
    }
    b->saved = dirty_bitmap_new(a->bitmap->length, a->bitmap->granularity);
    if (!b->saved) {
        return error_set(error, "Not enough memory to keep bitmap '%s'", a->bitmap->name);
    }
    dirty_bitmap_merge(b->saved, a->bitmap, NULL);
    if (limits) {
        dirty_bitmap_clear(c->todo);
    }
    while (limits && dirty_bitmap_next(b->saved, at, &start, &n)) {
        dirty_bitmap_set(c->todo, start, n);
        at = start + n;
    }
    dirty_bitmap_clear(a->bitmap);
    b->bitmap = a->bitmap;
    b->bitmap->busy = true;
    b->bitmap_mode = a->sync == QAPI_MIRROR_SYNC_MODE_INCREMENTAL
                         ? QAPI_BITMAP_SYNC_MODE_ON_SUCCESS : a->bitmap_mode;
    return true;
}

static bool backup_setup(Backup *b, const BackupArgs *a, GError **error)
{
    bool ok;

    node_drained_begin(b->source);     /* one moment for the filter and the bitmap */
    ok = insert_filter(b, a, error) && take_bitmap(b, a, error);
    node_drained_end(b->source);
    /* The filter writes to the target; our edges say that they are in use. */
    return ok && job_use_node(&b->job, b->source, "source", BLK_PERM_CONSISTENT_READ,
                              BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED |
                              BLK_PERM_WRITE, JOB_CLAIM, error) &&
           job_use_node(&b->job, b->target, "target", 0, BLK_PERM_ALL, JOB_CLAIM, error);
}

Job *job_backup_new(const JobCommon *common, const BackupArgs *args, GError **error)
{
    BackupArgs a = *args;
    Backup *b;

    if (!backup_check(&a, error)) {
        return NULL;
    }
    b = job_new(&backup_type, common, error);
    if (!b) {
        return NULL;
    }
    b->source = node_ref(a.source);
    b->target = node_ref(a.target);
    b->sync = a.sync;
    if (!backup_setup(b, &a, error)) {
        job_discard(&b->job);
        return NULL;
    }
    return &b->job;
}
