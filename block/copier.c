/* SPDX-License-Identifier: MIT */
/*
 * Copying by bitmap; see the header.
 * Locking: main loop.
 */
#include "block/copier.h"

#include "block/driver.h"

bool copier_init(Copier *c, BlockNode *source, BlockNode *target, uint32_t granularity,
                 GError **error)
{
    c->source = source;
    c->target = target;
    c->chunk = MAX(MIB, granularity);
    c->max_ops = 16;
    c->todo = dirty_bitmap_new(source->length, granularity);
    return c->todo || error_set(error, "Not enough memory for the bitmap of a job on '%s'",
                                source->name);
}

void copier_clear(Copier *c)
{
    g_clear_pointer(&c->todo, dirty_bitmap_free);
}

/* ---- operations ---- */

static CopyOp *overlapping(const Copier *c, uint64_t start, uint64_t end)
{
    for (CopyOp *op = c->ops; op; op = op->next) {
        if (op->start < end && start < op->end) {
            return op;
        }
    }
    return NULL;
}

static void op_link(Copier *c, CopyOp *op, uint64_t start, uint64_t end)
{
    op->start = start;
    op->end = end;
    op->next = c->ops;
    co_queue_init(&op->waiters);
    c->ops = op;
}

void copier_op_begin(Copier *c, CopyOp *op, uint64_t start, uint64_t end)
{
    CopyOp *other;

    while ((other = overlapping(c, start, end)) != NULL) {
        co_queue_wait(&other->waiters, NULL);
    }
    op_link(c, op, start, end);
}

void copier_op_end(Copier *c, CopyOp *op)
{
    CopyOp **p = &c->ops;

    while (*p != op) {
        p = &(*p)->next;
    }
    *p = op->next;
    co_queue_wake_all(&op->waiters);
}

/* ---- copying a range ---- */

static bool target_is_zero(const Copier *c, uint64_t offset, uint64_t bytes)
{
    BlockStatus st;
    int depth;

    /* Only what the target decides itself counts: a backing file may come under it yet. */
    return co_node_status_above(c->target, NULL, offset, bytes, &st, &depth) == 0 &&
           (st.flags & BLK_STATUS_ZERO) && st.bytes == bytes && depth == 0 &&
           !node_skip_filters(c->target)->backing_file;
}

static int co_copy_piece(Copier *c, uint64_t offset, uint64_t bytes, bool zero, void *buf,
                         bool *read_failed)
{
    IO_BUF(span, buf, bytes);
    int ret;

    if (zero) {
        return target_is_zero(c, offset, bytes)
                   ? 0 : co_node_write_zeroes(c->target, offset, bytes,
                                              c->unmap ? BLK_REQ_MAY_UNMAP : 0);
    }
    ret = co_node_preadv(c->source, offset, span);
    *read_failed = ret < 0;
    if (ret < 0) {
        return ret;
    }
    ret = co_node_pwritev(c->target, offset, span, c->compress ? BLK_REQ_COMPRESSED : 0);
    if (ret == -ENOTSUP && c->compress) {
        ret = co_node_pwritev(c->target, offset, span, 0);
    }
    return ret;
}

/* Compressed clusters are written whole: pieces are granules then. */
static int co_copy_range(Copier *c, uint64_t offset, uint64_t bytes, bool *read_failed)
{
    uint64_t end = offset + bytes;
    void *buf = NULL;
    int ret = 0;

    *read_failed = false;
    if (posix_memalign(&buf, 4096, MIN(bytes, c->chunk)) != 0) {
        return -ENOMEM;
    }
    while (offset < end && ret == 0) {
        uint64_t n = MIN(end - offset, c->compress ? c->todo->granularity : c->chunk);
        BlockStatus st = { .bytes = n };
        int depth;

        ret = co_node_status_above(c->source, NULL, offset, n, &st, &depth);
        if (ret < 0) {
            *read_failed = true;
            break;
        }
        if (!c->compress || ((st.flags & BLK_STATUS_ZERO) && st.bytes == n)) {
            n = MAX(MIN(n, st.bytes), 1);
        } else {
            st.flags = BLK_STATUS_DATA;
        }
        ret = co_copy_piece(c, offset, n, st.flags & BLK_STATUS_ZERO, buf, read_failed);
        offset += n;
    }
    free(buf);
    return ret;
}

int co_copier_copy(Copier *c, uint64_t offset, uint64_t bytes)
{
    bool read_failed;

    return co_copy_range(c, offset, bytes, &read_failed);
}

int co_copier_mark_allocated(Copier *c, Job *job, BlockNode *base)
{
    uint64_t length = c->source->length;

    for (uint64_t at = 0; at < length;) {
        BlockStatus st;
        int depth, ret = co_node_status_above(c->source, base, at, length - at, &st, &depth);

        if (ret < 0) {
            return ret;
        }
        if (st.flags & BLK_STATUS_ALLOCATED) {
            dirty_bitmap_set(c->todo, at, st.bytes);
        }
        at += MAX(st.bytes, 1);
        co_job_pause_point(job);
        if (job_is_cancelled(job)) {
            return -ECANCELED;
        }
    }
    return 0;
}

/* ---- a guest's write to the source of a backup ---- */

int co_copier_before_write(Copier *c, uint64_t offset, uint64_t bytes)
{
    uint64_t g = c->todo->granularity;
    uint64_t end = MIN(align_up(offset + bytes, g), c->todo->length), start, n;
    bool read_failed;
    CopyOp op, *other;
    int ret = 0;

    offset = align_down(offset, g);
    while (ret == 0) {
        other = overlapping(c, offset, end);
        if (other) {
            co_queue_wait(&other->waiters, NULL);
            continue;
        }
        if (!dirty_bitmap_next(c->todo, offset, &start, &n) || start >= end) {
            break;
        }
        n = MIN(MIN(n, end - start), c->chunk);
        op_link(c, &op, start, start + n);
        dirty_bitmap_reset(c->todo, start, n);
        ret = co_copy_range(c, start, n, &read_failed);
        if (ret < 0) {
            dirty_bitmap_set(c->todo, start, n);
        }
        copier_op_end(c, &op);
    }
    return ret;
}

/* ---- the job's own pass ---- */

typedef struct PassOp {
    Copier *c;
    Job *job;
    CopyOp op;
} PassOp;

static void pass_failed(PassOp *p, int ret, bool read_failed)
{
    Copier *c = p->c;
    QapiBlockErrorAction action = job_on_error(p->job, read_failed ? c->on_source_error
                                                                   : c->on_target_error,
                                               read_failed, -ret);

    if (action == QAPI_BLOCK_ERROR_ACTION_IGNORE) {
        return;
    }
    dirty_bitmap_set(c->todo, p->op.start, p->op.end - p->op.start);
    if (action == QAPI_BLOCK_ERROR_ACTION_REPORT && c->ret == 0) {
        c->ret = ret;
    }
}

static void co_pass_op(void *opaque)
{
    PassOp *p = opaque;
    Copier *c = p->c;
    Job *job = p->job;
    uint64_t bytes = p->op.end - p->op.start;
    bool read_failed;
    int ret = co_copy_range(c, p->op.start, bytes, &read_failed);

    if (ret < 0) {
        pass_failed(p, ret, read_failed);
    } else {
        job_progress_add(job, bytes);
    }
    copier_op_end(c, &p->op);
    c->in_flight--;
    c->busy_bytes -= bytes;
    g_free(p);
    job_op_end(job);
}

static void start_pass_op(Copier *c, Job *job, uint64_t start, uint64_t n)
{
    PassOp *p = g_new0(PassOp, 1);

    p->c = c;
    p->job = job;
    op_link(c, &p->op, start, start + n);
    dirty_bitmap_reset(c->todo, start, n);
    c->cursor = start + n;
    c->in_flight++;
    c->busy_bytes += n;
    job_op_begin(job);
    coroutine_start(co_pass_op, p);
}

/* The first dirty run in [AT, END) that nobody works on; its length, or 0. */
static uint64_t free_run(const Copier *c, uint64_t at, uint64_t end, uint64_t *start)
{
    uint64_t n;

    while (dirty_bitmap_next(c->todo, at, start, &n) && *start < end) {
        CopyOp *other;

        n = MIN(n, c->chunk);
        other = overlapping(c, *start, *start + n);
        if (!other) {
            return n;
        }
        if (other->start > *start) {
            n = other->start - *start;
            other = overlapping(c, *start, *start + n);
        }
        if (!other) {
            return n;
        }
        at = align_up(other->end, c->todo->granularity);
    }
    return 0;
}

/* Goes round and round, so that a busy spot does not starve the rest. */
static uint64_t start_op(Copier *c, Job *job)
{
    uint64_t start, n = free_run(c, c->cursor, UINT64_MAX, &start);

    if (!n) {
        n = free_run(c, 0, c->cursor, &start);
    }
    if (n) {
        start_pass_op(c, job, start, n);
    }
    return n;
}

/* Without pause points: only for operations of the pass to end. */
static void co_wait_ops(Copier *c, Job *job, unsigned below)
{
    while (c->in_flight >= below && c->in_flight) {
        job->waiting = true;
        co_yield();
    }
}

int co_copier_pass(Copier *c, Job *job, bool pause)
{
    while (c->ret == 0 && !job_is_cancelled(job)) {
        uint64_t n;

        if (pause) {
            co_job_pause_point(job);
        }
        co_wait_ops(c, job, c->max_ops);
        if (pause && job->pauses) {
            continue;
        }
        if (pause && c->stop_soon && c->todo->dirty * c->todo->granularity <= COPIER_REST) {
            break;
        }
        n = c->ret == 0 ? start_op(c, job) : 0;
        if (n && pause) {
            co_job_limit(job, n);
        } else if (!n) {
            if (!c->in_flight && !c->ops && !c->todo->dirty) {
                break;
            }
            if (c->in_flight) {
                co_wait_ops(c, job, 1);
            } else if (c->ops) {
                co_queue_wait(&c->ops->waiters, NULL);     /* a write of the guest */
            }
        }
    }
    co_wait_ops(c, job, 1);
    return job_is_cancelled(job) ? -ECANCELED : c->ret;
}
