/* SPDX-License-Identifier: MIT */
/*
 * block-stream: copies what a chain of backing files holds into the image on top of them, and
 * then takes them out of the chain.
 *
 * A copy-on-read filter above the image keeps what the guest reads meanwhile, and makes writes
 * and copies of one range exclude each other.
 * Locking: main loop.
 */
#include "block/driver.h"
#include "block/job_types.h"

typedef struct Stream {
    Job job;
    BlockNode *top, *base, *filter;
    char *backing_file;
    QapiBlockdevOnError on_error;
    bool was_read_only;
} Stream;

static int co_stream_step(Job *job, uint64_t at, uint64_t *bytes, bool *worked, bool *was_read)
{
    Stream *s = (Stream *)job;
    BlockStatus st;
    int depth, ret;

    if (!node_chain_next(s->top)) {
        return 0;                      /* nothing to copy from */
    }
    ret = co_node_status_above(s->top, s->base, at, *bytes, &st, &depth);
    if (ret < 0) {
        return ret;
    }
    *bytes = st.bytes;
    *worked = depth > 0 && (st.flags & BLK_STATUS_ALLOCATED);
    return *worked ? co_node_copy_up(s->top, s->base, at, st.bytes) : 0;
}

static int co_stream_run(Job *job, GError **error)
{
    Stream *s = (Stream *)job;

    return co_job_walk(job, s->top->length, s->on_error, co_stream_step);
}

static bool stream_prepare(Job *job, GError **error)
{
    Stream *s = (Stream *)job;
    const char *name = NULL, *format = NULL;
    int ret;

    if (!node_chain_next(s->top)) {
        return true;
    }
    if (s->base) {
        name = s->backing_file ? s->backing_file : node_filename(node_skip_filters(s->base));
        format = node_format(node_skip_filters(s->base));
    }
    /* The data first: the header may then stop to mention where it came from. */
    ret = node_flush(s->top);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not flush '%s'", s->top->name);
    }
    return node_set_backing(s->top, s->base, error) &&
           node_change_backing_file(s->top, name, format, error);
}

static void stream_clean(Job *job)
{
    Stream *s = (Stream *)job;

    if (s->filter) {
        node_remove_filter(s->filter, NULL);
        node_drop_children(s->filter);
        node_unref(g_steal_pointer(&s->filter));
    }
    if (s->top) {
        job_release_node(job, s->top);
        if (s->was_read_only) {
            node_set_read_only(s->top, true, NULL);
        }
        node_unref(g_steal_pointer(&s->top));
    }
    g_clear_pointer(&s->backing_file, g_free);
}

static const JobType stream_type = {
    .kind = QAPI_JOB_TYPE_STREAM, .size = sizeof(Stream), .is_block_job = true,
    .co_run = co_stream_run, .prepare = stream_prepare, .clean = stream_clean,
};

static bool stream_setup(Stream *s, const char *filter_name, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    BlockNode *last = s->top;

    if (!job_check_free(s->top, error)) {
        return false;
    }
    if (s->top->read_only) {
        if (!node_set_read_only(s->top, false, error)) {
            return false;
        }
        s->was_read_only = true;
    }
    node_opts_set(opts, "driver", "copy-on-read");
    if (filter_name) {
        node_opts_set(opts, "node-name", filter_name);
    }
    for (BlockNode *n = node_skip_filters(node_chain_next(s->top)); n && n != s->base;
         n = node_skip_filters(node_chain_next(n))) {
        last = n;
    }
    if (s->base && last->backing) {
        node_opts_set(opts, "bottom", last->name);
    }
    s->filter = node_insert_filter(s->top, opts, error);
    if (!s->filter ||
        !job_use_node(&s->job, s->top, "top", BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED,
                      BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED | BLK_PERM_WRITE,
                      JOB_CLAIM, error)) {
        return false;
    }
    for (BlockNode *n = node_chain_next(s->top); n && node_skip_filters(n) != s->base;
         n = node_chain_next(n)) {
        if (!job_use_node(&s->job, n, "intermediate node", 0,
                          BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED, JOB_CLAIM,
                          error)) {
            return false;
        }
    }
    /* It may not go away, nor change under what is copied from above it. */
    return !s->base || job_use_node(&s->job, s->base, "base", 0,
                                    BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED, 0,
                                    error);
}

bool job_stream_start(const JobCommon *common, BlockNode *top, BlockNode *base,
                      const char *backing_file, QapiBlockdevOnError on_error,
                      const char *filter_name, GError **error)
{
    Stream *s;

    if (!node_skip_filters(top)->type->change_backing) {
        return error_set(error, "Block format '%s' used by node '%s' does not support backing "
                         "files", top->type->name, top->name);
    }
    top = node_skip_filters(top);
    if (!job_check_free(top, error)) {
        return false;
    }
    s = job_new(&stream_type, common, error);
    if (!s) {
        return false;
    }
    s->top = node_ref(top);
    s->base = node_skip_filters(base);
    s->backing_file = g_strdup(backing_file);
    s->on_error = on_error;
    if (!stream_setup(s, filter_name, error)) {
        job_discard(&s->job);
        return false;
    }
    job_start(&s->job);
    return true;
}
