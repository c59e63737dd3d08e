/* SPDX-License-Identifier: MIT */
/*
 * block-commit of images that nobody writes to: copies them into the base, then lets the image
 * above them use the base.  (The commit of the active image is a mirror: job_mirror.c.)
 *
 * While it runs, the base holds a mixture; nobody sees that, since whatever was copied into it is
 * read from the images above.  The filter commit_top says so to the permission system.
 * Locking: main loop.
 */
#include "block/filter.h"
#include "block/filter_job.h"
#include "block/job_types.h"

typedef struct Commit {
    Job job;
    BlockNode *active, *overlay, *top, *base, *filter;
    char *backing_file;
    QapiBlockdevOnError on_error;
    bool base_was_read_only;
} Commit;

/* ---- the filter ---- */

static bool commit_top_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    filter_init(node);
    return true;
}

static void commit_top_perm(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                            uint32_t shared, uint32_t *child_perm, uint32_t *child_shared)
{
    *child_perm = 0;
    *child_shared = BLK_PERM_ALL;
}

const NodeType node_type_commit_top = {
    .name = "commit_top", .is_filter = true, .internal = true, .state_size = 1,
    .open = commit_top_open, .child_perm = commit_top_perm, .co_preadv = filter_co_preadv,
};

/* ---- the job ---- */

static int co_commit_copy(Commit *c, uint64_t at, uint64_t bytes, bool zero, bool *is_read)
{
    void *buf = NULL;
    int ret;

    *is_read = false;
    if (zero) {
        return co_node_write_zeroes(c->base, at, bytes, 0);
    }
    if (posix_memalign(&buf, 4096, bytes) != 0) {
        return -ENOMEM;
    }
    ret = co_node_pread(c->top, at, buf, bytes);
    *is_read = ret < 0;
    if (ret == 0) {
        ret = co_node_pwrite(c->base, at, buf, bytes, 0);
    }
    free(buf);
    return ret;
}

static int co_commit_step(Job *job, uint64_t at, uint64_t *bytes, bool *worked, bool *was_read)
{
    Commit *c = (Commit *)job;
    BlockStatus st;
    int depth, ret = co_node_status_above(c->top, c->base, at, *bytes, &st, &depth);

    if (ret < 0) {
        return ret;
    }
    *bytes = st.bytes;
    *worked = st.flags & BLK_STATUS_ALLOCATED;
    return *worked ? co_commit_copy(c, at, st.bytes, st.flags & BLK_STATUS_ZERO, was_read) : 0;
}

static int co_commit_run(Job *job, GError **error)
{
    Commit *c = (Commit *)job;
    uint64_t length = c->top->length;
    int ret;

    if (c->base->length < length &&
        !co_node_truncate(c->base, length, false, NULL, error)) {
        return -EIO;
    }
    ret = co_job_walk(job, length, c->on_error, co_commit_step);
    return ret < 0 ? ret : co_node_flush(c->base);
}

static bool commit_prepare(Job *job, GError **error)
{
    Commit *c = (Commit *)job;
    const char *name = c->backing_file ? c->backing_file : node_filename(c->base);
    bool read_only = c->overlay->read_only, ok;

    if (read_only && !node_set_read_only(c->overlay, false, error)) {
        return false;
    }
    /* Reads must not come between the base being final and its being used. */
    node_drained_begin(c->active);
    ok = node_change_backing_file(c->overlay, name, node_format(c->base), error);
    if (ok) {
        job_release_node(job, c->base);
        ok = node_replace(c->filter, c->base, error);
    }
    node_drained_end(c->active);
    if (read_only) {
        node_set_read_only(c->overlay, true, NULL);
    }
    return ok;
}

static void commit_clean(Job *job)
{
    Commit *c = (Commit *)job;
    BlockNode *filter = g_steal_pointer(&c->filter);

    if (filter) {
        job_release_node(job, c->base);
        job_release_node(job, c->top);
        if (filter->parents->len) {
            node_remove_filter(filter, NULL);
        }
        node_drop_children(filter);
        node_unref(filter);
    }
    while (job->uses->len) {
        job_release_node(job, g_array_index(job->uses, JobUse, 0).node);
    }
    if (c->base && c->base_was_read_only) {
        node_set_read_only(c->base, true, NULL);
    }
    g_clear_pointer(&c->base, node_unref);
    g_clear_pointer(&c->top, node_unref);
    g_clear_pointer(&c->overlay, node_unref);
    g_clear_pointer(&c->active, node_unref);
    g_clear_pointer(&c->backing_file, g_free);
}

static const JobType commit_type = {
    .kind = QAPI_JOB_TYPE_COMMIT, .size = sizeof(Commit), .is_block_job = true,
    .co_run = co_commit_run, .prepare = commit_prepare, .clean = commit_clean,
};

static bool commit_setup(Commit *c, const char *filter_name, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    Job *job = &c->job;

    node_opts_set(opts, "driver", "commit_top");
    if (filter_name) {
        node_opts_set(opts, "node-name", filter_name);
    }
    if (c->base->read_only) {
        if (!node_set_read_only(c->base, false, error)) {
            return false;
        }
        c->base_was_read_only = true;
    }
    node_opts_set(opts, "read-only", "on");
    c->filter = node_insert_filter(c->top, opts, error);
    if (!c->filter ||
        !job_use_node(job, c->overlay, "overlay of the top node", 0, BLK_PERM_ALL, JOB_CLAIM,
                      error)) {
        return false;
    }
    for (BlockNode *n = c->top; n && n != c->base; n = node_skip_filters(node_chain_next(n))) {
        if (!job_use_node(job, n, "intermediate node",
                          n == c->top ? BLK_PERM_CONSISTENT_READ : 0, BLK_PERM_ALL, JOB_CLAIM,
                          error)) {
            return false;
        }
    }
    return job_use_node(job, c->base, "base",
                        BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE | BLK_PERM_RESIZE,
                        BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED, JOB_CLAIM, error);
}

bool job_commit_start(const JobCommon *common, BlockNode *active, BlockNode *top, BlockNode *base,
                      const char *backing_file, QapiBlockdevOnError on_error,
                      const char *filter_name, GError **error)
{
    Commit *c;
    BlockNode *overlay;

    top = node_skip_filters(top);
    base = node_skip_filters(base);
    overlay = node_chain_overlay(active, top);
    if (!overlay) {
        return error_set(error, "'%s' is not a backing image of '%s'", top->name, active->name);
    }
    for (BlockNode *n = overlay; n; n = n == base ? NULL : node_skip_filters(node_chain_next(n))) {
        if (!job_check_free(n, error)) {
            return false;
        }
    }
    c = job_new(&commit_type, common, error);
    if (!c) {
        return false;
    }
    c->active = node_ref(active);
    c->overlay = node_ref(overlay);
    c->top = node_ref(top);
    c->base = node_ref(base);
    c->backing_file = g_strdup(backing_file);
    c->on_error = on_error;
    if (!commit_setup(c, filter_name, error)) {
        job_discard(&c->job);
        return false;
    }
    job_start(&c->job);
    return true;
}
