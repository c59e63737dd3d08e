/* SPDX-License-Identifier: MIT */
/*
 * Mirror: copies a node in use to another one, and when told to, lets the users of the first go on
 * with the second.  The commit of an active image is a mirror to one of its backing files.
 *
 * READY means that the target differs only by what the guest writes at the moment.  job-complete
 * drains the source, copies the rest and replaces it; a cancel without force does the same but
 * for the replacing, so that the target is a copy of that moment.
 * Locking: main loop.
 */
#include "block/filter_job.h"
#include "block/job_types.h"

typedef struct Mirror {
    Job job;
    Copier copier;
    BlockNode *source, *target, *filter, *replaces;
    QapiMirrorSyncMode sync;
    MirrorBacking backing;
    bool is_commit, should_complete, soft_cancel, auto_complete, target_was_read_only, drained;
    char *backing_file;
} Mirror;

/* ---- running ---- */

static int co_mirror_start(Mirror *m)
{
    uint64_t length = m->source->length;

    if (m->is_commit) {
        return co_copier_mark_allocated(&m->copier, &m->job, m->target);
    }
    switch (m->sync) {
    case QAPI_MIRROR_SYNC_MODE_FULL:
        dirty_bitmap_set(m->copier.todo, 0, length);
        return 0;
    case QAPI_MIRROR_SYNC_MODE_TOP:
        return co_copier_mark_allocated(&m->copier, &m->job, node_chain_next(m->source));
    default:
        return 0;
    }
}

static void update_total(Mirror *m)
{
    uint64_t left = m->copier.todo->dirty * m->copier.todo->granularity + m->copier.busy_bytes;

    job_progress_total(&m->job, m->job.done + left);
}

static void begin_drain(void *opaque)
{
    Mirror *m = opaque;

    GRAPH_HOLD();
    m->job.draining = true;
    node_drained_begin(m->filter);
    m->drained = true;
    job_kick(&m->job);
}

/* Nobody writes to the source any more: what is left is copied, and stays the same. */
static int co_mirror_finish(Mirror *m)
{
    int ret;

    event_loop_post(event_loop_main(), begin_drain, m);
    while (!m->drained) {
        m->job.waiting = true;         /* still busy: no pause point */
        co_yield();
    }
    update_total(m);
    ret = co_copier_pass(&m->copier, &m->job, false);
    if (ret == 0) {
        ret = co_node_flush(m->target);
    }
    return ret;
}

static int co_mirror_run(Job *job, GError **error)
{
    Mirror *m = (Mirror *)job;
    bool ready = false;
    int ret = co_mirror_start(m);

    while (ret == 0) {
        update_total(m);
        ret = co_copier_pass(&m->copier, job, true);
        if (ret == 0 && !ready) {
            ret = co_node_flush(m->target);
        }
        if (ret < 0 || job_is_cancelled(job)) {
            break;
        }
        if (!ready) {
            ready = true;
            job->total = job->done;
            co_job_ready(job);
            m->should_complete |= m->auto_complete;
        }
        co_job_pause_point(job);
        if (m->should_complete || m->soft_cancel) {
            ret = co_mirror_finish(m);
            break;
        }
        if (!m->copier.todo->dirty) {
            co_job_wait(job, -1);
        }
    }
    return job_is_cancelled(job) && ret == 0 ? -ECANCELED : ret;
}

static bool mirror_complete(Job *job, GError **error)
{
    Mirror *m = (Mirror *)job;

    if (m->replaces && !job_check_free(m->replaces, error)) {
        return false;
    }
    m->should_complete = m->copier.stop_soon = true;
    job_kick(job);
    return true;
}

static bool mirror_cancel(Job *job, bool force)
{
    Mirror *m = (Mirror *)job;
    bool ready = job->status == QAPI_JOB_STATUS_READY || job->status == QAPI_JOB_STATUS_STANDBY;

    if (force || !ready) {
        return true;
    }
    m->soft_cancel = m->copier.stop_soon = true;
    return false;
}

/* ---- the end ---- */

static bool give_backing(Mirror *m, GError **error)
{
    BlockNode *target = node_skip_filters(m->target), *backing = NULL;

    if (m->is_commit || m->backing == MIRROR_LEAVE_BACKING || !target->type->has_backing) {
        return true;
    }
    if (m->backing == MIRROR_SOURCE_BACKING) {
        backing = m->sync == QAPI_MIRROR_SYNC_MODE_NONE ? m->source
                  : m->sync == QAPI_MIRROR_SYNC_MODE_TOP ? node_chain_next(m->source) : NULL;
        return node_set_backing(target, backing, error);
    }
    return target->backing || !target->backing_file || node_open_backing(target, error);
}

static bool mirror_prepare(Job *job, GError **error)
{
    Mirror *m = (Mirror *)job;
    BlockNode *from = m->replaces ? m->replaces : m->filter;

    if (m->soft_cancel && !m->should_complete) {
        return true;
    }
    /* Our own terms for the target give way to those of its new users. */
    job_release_node(job, m->target);
    if (from->perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE) ? m->target->read_only : false) {
        return error_set(error, "Mirror target '%s' is read-only", m->target->name);
    }
    if (m->is_commit && m->backing_file) {
        /* Who still uses the images in between gets to know where their base is. */
        BlockNode *above = node_chain_overlay(m->source, m->target);

        if (above && above != m->source && !above->read_only &&
            !node_change_backing_file(above, m->backing_file, node_format(m->target), error)) {
            return false;
        }
    }
    return node_replace(from, m->target, error);
}

static void mirror_clean(Job *job)
{
    Mirror *m = (Mirror *)job;
    BlockNode *filter = g_steal_pointer(&m->filter);

    if (filter) {
        MirrorTop *top = filter->state;

        top->copier = NULL;
        if (filter->parents->len) {
            job_release_node(job, m->target);
            job_release_node(job, m->source);
            top->is_commit = false;
            node_remove_filter(filter, NULL);
        }
        if (m->drained) {
            node_drained_end(filter);
        }
        node_drop_children(filter);
        node_unref(filter);
    }
    copier_clear(&m->copier);
    while (job->uses->len) {
        job_release_node(job, g_array_index(job->uses, JobUse, 0).node);
    }
    if (m->target && m->target_was_read_only &&
        !(m->target->perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE))) {
        node_set_read_only(m->target, true, NULL);
    }
    g_clear_pointer(&m->target, node_unref);
    g_clear_pointer(&m->source, node_unref);
    g_clear_pointer(&m->replaces, node_unref);
    g_clear_pointer(&m->backing_file, g_free);
}

#define MIRROR_HOOKS                                                                     \
    .size = sizeof(Mirror), .is_block_job = true, .co_run = co_mirror_run,               \
    .prepare = mirror_prepare, .clean = mirror_clean, .complete = mirror_complete,       \
    .cancel = mirror_cancel

static const JobType mirror_type = { .kind = QAPI_JOB_TYPE_MIRROR, MIRROR_HOOKS };
static const JobType active_commit_type = { .kind = QAPI_JOB_TYPE_COMMIT, MIRROR_HOOKS };

/* ---- starting ---- */

static bool insert_filter(Mirror *m, const MirrorArgs *args, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    MirrorTop *top;

    node_opts_set(opts, "driver", "mirror_top");
    if (args->filter_name) {
        node_opts_set(opts, "node-name", args->filter_name);
    }
    /* Held until the copier is in place, so that no write is missed. */
    node_drained_begin(m->source);
    m->filter = node_insert_filter(m->source, opts, error);
    if (m->filter) {
        top = m->filter->state;
        top->copier = &m->copier;
        top->job = &m->job;
        top->write_blocking = args->copy_mode == QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING;
        top->is_commit = m->is_commit;
        top->whole_granules = !m->is_commit && m->sync != QAPI_MIRROR_SYNC_MODE_FULL &&
                              !node_skip_filters(m->target)->backing;
        node_refresh_perms(m->filter, NULL);     /* asks for less than before */
    }
    node_drained_end(m->source);
    return m->filter != NULL;
}

static bool use_nodes(Mirror *m, GError **error)
{
    uint32_t read = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    Job *job = &m->job;

    if (!job_use_node(job, m->source, "source", BLK_PERM_CONSISTENT_READ,
                      m->is_commit ? BLK_PERM_ALL : read | BLK_PERM_WRITE, JOB_CLAIM, error)) {
        return false;
    }
    for (BlockNode *n = m->is_commit ? node_skip_filters(node_chain_next(m->source)) : NULL;
         n && n != m->target; n = node_skip_filters(node_chain_next(n))) {
        if (!job_use_node(job, n, "intermediate node", 0, BLK_PERM_ALL, JOB_CLAIM, error)) {
            return false;
        }
    }
    return job_use_node(job, m->target, "target",
                        BLK_PERM_WRITE | (m->is_commit ? BLK_PERM_CONSISTENT_READ |
                                                         BLK_PERM_RESIZE : 0),
                        read, JOB_CLAIM, error);
}

static bool mirror_setup(Mirror *m, const MirrorArgs *args, uint32_t granularity,
                         GError **error)
{
    if (!copier_init(&m->copier, m->source, m->target, granularity, error)) {
        return false;
    }
    if (args->buf_size) {
        m->copier.chunk = align_up(MIN(MAX(args->buf_size / m->copier.max_ops, granularity),
                                       m->copier.chunk), granularity);
    }
    m->copier.unmap = args->unmap;
    m->copier.on_source_error = args->on_source_error;
    m->copier.on_target_error = args->on_target_error;
    if (m->target->read_only && m->is_commit) {
        if (!node_set_read_only(m->target, false, error)) {
            return false;
        }
        m->target_was_read_only = true;
    }
    /* What the copy is based on belongs under it from the start: a write of part of a cluster has
     * to fill the rest of it. */
    if (!give_backing(m, error)) {
        return false;
    }
    return insert_filter(m, args, error) && use_nodes(m, error) &&
           (m->target->length >= m->source->length || !m->is_commit ||
            node_truncate(m->target, m->source->length, NULL, error));
}

static bool check_args(const MirrorArgs *a, BlockNode **replaces, GError **error)
{
    BlockNode *source = a->source;

    if (source == a->target) {
        return error_set(error, "Can't mirror node into itself");
    }
    if (a->sync == QAPI_MIRROR_SYNC_MODE_INCREMENTAL ||
        a->sync == QAPI_MIRROR_SYNC_MODE_BITMAP) {
        return error_set(error, "Sync mode '%s' not supported",
                         qapi_words_QapiMirrorSyncMode[a->sync]);
    }
    if (a->granularity && (a->granularity < 512 || a->granularity > 64 * MIB)) {
        return error_set(error, "Parameter 'granularity' expects a value in range "
                         "[512B, 64MB]");
    }
    if (a->granularity && !is_pow2(a->granularity)) {
        return error_set(error, "Parameter 'granularity' expects a power of 2");
    }
    if (!a->commit_base && source->length != a->target->length) {
        return error_set(error, "Source and target image have different sizes");
    }
    if (a->replaces) {
        *replaces = node_by_name(a->replaces);
        if (!*replaces) {
            return error_set(error, "Failed to find node with node-name='%s'", a->replaces);
        }
        if ((*replaces)->length != source->length) {
            return error_set(error, "cannot replace image with a mirror image of different "
                             "size");
        }
    }
    return job_check_free(node_skip_filters(source), error) && job_check_free(a->target, error);
}

bool job_mirror_start(const JobCommon *common, const MirrorArgs *args, GError **error)
{
    uint32_t granularity = args->granularity;
    BlockNode *replaces = NULL;
    Mirror *m;

    if (!check_args(args, &replaces, error)) {
        return false;
    }
    if (!granularity) {
        granularity = (uint32_t)MIN(MAX(node_cluster_size(node_skip_filters(args->target)),
                                        64 * KIB), 64 * MIB);
    }
    if (args->sync != QAPI_MIRROR_SYNC_MODE_FULL && !args->commit_base) {
        /* Part of a cluster would hide the rest of it. */
        granularity = MAX(granularity, node_cluster_size(node_skip_filters(args->target)));
    }
    m = job_new(args->commit_base ? &active_commit_type : &mirror_type, common, error);
    if (!m) {
        return false;
    }
    m->source = node_ref(args->source);
    m->target = node_ref(args->target);
    m->replaces = replaces ? node_ref(replaces) : NULL;
    m->is_commit = args->commit_base != NULL;
    m->sync = m->is_commit || node_chain_next(args->source) ? args->sync
              : args->sync == QAPI_MIRROR_SYNC_MODE_TOP ? QAPI_MIRROR_SYNC_MODE_FULL
                                                        : args->sync;
    m->backing = args->backing;
    m->auto_complete = args->auto_complete;
    m->backing_file = g_strdup(args->backing_file);
    if (!mirror_setup(m, args, granularity, error)) {
        job_discard(&m->job);
        return false;
    }
    job_start(&m->job);
    return true;
}
