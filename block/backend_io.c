/* SPDX-License-Identifier: MIT */
/*
 * Requests of block backends: coroutines underneath, callbacks and sync forms on top.
 * Locking: the backend's event loop.
 */
#include "block/backend_int.h"
#include "block/trace.h"

typedef enum ReqKind { REQ_READ, REQ_WRITE, REQ_FLUSH, REQ_DISCARD, REQ_ZERO, REQ_STATUS,
               REQ_SCSI } ReqKind;

struct BlkRequest {
    BlockBackend *blk;
    ReqKind kind;
    uint64_t offset, bytes;
    IoSpan span;
    int flags, ret;
    bool started, cancelled, finished;
    unsigned refs, counted;           /* counted: in blk->in_flight, once more */
    BlockStatus *status;
    int *depth;
    struct sg_io_hdr *scsi;
    BlkDone *done;
    void *opaque;
};

static const char *const kind_names[] = {
    [REQ_READ] = "read", [REQ_WRITE] = "write", [REQ_FLUSH] = "flush", [REQ_DISCARD] = "discard",
    [REQ_ZERO] = "zero", [REQ_STATUS] = "status", [REQ_SCSI] = "scsi",
};
static const BlkAcctType acct_of[] = { BLK_ACCT_READ, BLK_ACCT_WRITE, BLK_ACCT_FLUSH,
                                       BLK_ACCT_UNMAP, BLK_ACCT_WRITE, BLK_ACCT_READ,
                                       BLK_ACCT_READ };

static int check(BlockBackend *blk, const BlkRequest *r)
{
    uint64_t length;

    if (!blk->root) {
        return -ENOMEDIUM;
    }
    if (r->kind == REQ_SCSI) {
        return 0;                     /* the device checks it */
    }
    length = blk->root->node->length;
    if (r->kind != REQ_FLUSH && (r->offset > length || r->bytes > length - r->offset)) {
        return -EIO;
    }
    if (r->kind != REQ_READ && r->kind != REQ_FLUSH && r->kind != REQ_STATUS && !blk->writable) {
        return -EPERM;
    }
    return 0;
}

static int co_request(BlkRequest *r)
{
    BlockBackend *blk = r->blk;
    BlkAcctType type = acct_of[r->kind];
    int64_t begin = g_get_monotonic_time();
    BlockNode *node;
    int ret, flags = r->flags | (blk->write_cache ? 0 : BLK_REQ_FUA);

    while (blk->quiesced) {
        blk->in_flight -= r->counted;     /* who drains does not wait for what is held back */
        graph_wait_kick();
        co_queue_wait(&blk->held, NULL);
        blk->in_flight += r->counted;
    }
    blk->in_flight++;
    if (blk->throttle && r->kind != REQ_FLUSH && !blk->quiesced) {
        co_throttle(blk->throttle, r->kind != REQ_READ, r->kind == REQ_DISCARD ? 0 : r->bytes);
    }
    ret = r->cancelled ? -ECANCELED : check(blk, r);
    if (ret == 0) {
        node = node_ref(blk->root->node);
        switch (r->kind) {
        case REQ_READ:
            ret = co_node_preadv(node, r->offset, r->span);
            break;
        case REQ_WRITE:
            ret = co_node_pwritev(node, r->offset, r->span, flags);
            break;
        case REQ_FLUSH:
            ret = co_node_flush(node);
            break;
        case REQ_DISCARD:
            ret = co_node_discard(node, r->offset, r->bytes);
            break;
        case REQ_ZERO:
            ret = co_node_write_zeroes(node, r->offset, r->bytes, flags);
            break;
        case REQ_STATUS:
            ret = co_node_status_above(node, NULL, r->offset, r->bytes, r->status, r->depth);
            break;
        case REQ_SCSI:
            ret = co_node_scsi(node, r->scsi);
            break;
        }
        node_unref(node);
    }
    blk->in_flight--;
    graph_wait_kick();
    trace_blk_request(kind_names[r->kind], blk_label(blk), r->offset, r->bytes, ret);
    if (r->kind == REQ_STATUS || r->kind == REQ_SCSI) {
        return ret;                   /* no I/O of blocks: not counted */
    }
    blk_acct_done(&blk->stats, type, r->bytes, begin * 1000, g_get_monotonic_time() * 1000,
                  ret >= 0);
    return ret;
}

/* ---- draining ---- */

void blk_quiesce_begin(BlockBackend *blk)
{
    if (blk->quiesced++ == 0 && blk->ops && blk->ops->drained_begin) {
        blk->ops->drained_begin(blk->device);
    }
}

void blk_quiesce_end(BlockBackend *blk)
{
    g_assert(blk->quiesced > 0);
    if (--blk->quiesced == 0) {
        co_queue_wake_all(&blk->held);
        if (blk->ops && blk->ops->drained_end) {
            blk->ops->drained_end(blk->device);
        }
    }
}

void blk_drained_begin(BlockBackend *blk)
{
    GRAPH_HOLD();
    blk_quiesce_begin(blk);
    GRAPH_WAIT_WHILE(blk->in_flight > 0);
}

void blk_drained_end(BlockBackend *blk)
{
    GRAPH_HOLD();
    blk_quiesce_end(blk);
}

void blk_drain(BlockBackend *blk)
{
    GRAPH_WAIT_WHILE(blk->in_flight > 0);
}

/* ---- callbacks ---- */

static void request_unref(BlkRequest *r)
{
    if (--r->refs == 0) {
        blk_unref(r->blk);
        g_free(r);
    }
}

static void request_report(void *opaque)
{
    BlkRequest *r = opaque;

    r->finished = true;
    r->blk->in_flight--;
    r->done(r->opaque, r->ret);
    graph_wait_kick();
    request_unref(r);
}

static void co_request_entry(void *opaque)
{
    BlkRequest *r = opaque;

    r->ret = co_request(r);
    if (r->started || r->blk->early_done) {
        request_report(r);
    } else {
        /* Done before the call that started it has returned: the callback has to wait. */
        event_loop_post(r->blk->loop, request_report, r);
    }
}

static void start_posted(void *opaque)
{
    BlkRequest *r = opaque;

    coroutine_start(co_request_entry, r);
    r->started = true;
    request_unref(r);
}

static BlkRequest *start(BlockBackend *blk, BlkRequest request, BlkDone *done, void *opaque,
                         bool is_here)
{
    BlkRequest *r = g_memdup2(&request, sizeof(request));

    r->blk = blk_ref(blk);
    r->done = done;
    r->opaque = opaque;
    r->refs = 2;
    r->counted = 1;
    blk->in_flight++;                 /* until DONE has run, so that a drain waits for it */
    if (is_here) {
        coroutine_start(co_request_entry, r);
        r->started = true;
        if (r->finished) {
            request_unref(r);
            return NULL;
        }
        r->refs--;
    } else {
        event_loop_post(blk->loop, start_posted, r);
    }
    return r;
}

static BlkRequest *aio(BlockBackend *blk, BlkRequest request, BlkDone *done, void *opaque)
{
    if (blk->loop != event_loop_current()) {
        GRAPH_HOLD();                  /* the main loop starts it: when a drain ends, or a retry */
        return start(blk, request, done, opaque, false);
    }
    return start(blk, request, done, opaque, true);
}

static BlkRequest make(ReqKind kind, uint64_t offset, uint64_t bytes, int flags)
{
    return (BlkRequest){ .kind = kind, .offset = offset, .bytes = bytes, .flags = flags };
}

static BlkRequest make_iov(ReqKind kind, uint64_t offset, const struct iovec *iov, int niov,
                           int flags)
{
    IoSpan span = io_span_of(iov, niov);
    BlkRequest r = make(kind, offset, span.len, flags);

    r.span = span;
    return r;
}

BlkRequest *blk_aio_preadv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov,
                           BlkDone *done, void *opaque)
{
    return aio(blk, make_iov(REQ_READ, offset, iov, niov, 0), done, opaque);
}

BlkRequest *blk_aio_pwritev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov,
                            int flags, BlkDone *done, void *opaque)
{
    return aio(blk, make_iov(REQ_WRITE, offset, iov, niov, flags), done, opaque);
}

BlkRequest *blk_aio_flush(BlockBackend *blk, BlkDone *done, void *opaque)
{
    return aio(blk, make(REQ_FLUSH, 0, 0, 0), done, opaque);
}

BlkRequest *blk_aio_discard(BlockBackend *blk, uint64_t offset, uint64_t bytes, BlkDone *done,
                            void *opaque)
{
    return aio(blk, make(REQ_DISCARD, offset, bytes, 0), done, opaque);
}

BlkRequest *blk_aio_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t bytes, int flags,
                                 BlkDone *done, void *opaque)
{
    return aio(blk, make(REQ_ZERO, offset, bytes, flags), done, opaque);
}

BlkRequest *blk_aio_scsi(BlockBackend *blk, struct sg_io_hdr *io, BlkDone *done, void *opaque)
{
    BlkRequest r = make(REQ_SCSI, 0, 0, 0);

    r.scsi = io;
    return aio(blk, r, done, opaque);
}

void blk_aio_cancel(BlkRequest *req)
{
    req->cancelled = true;
}

void blk_aio_cancel_sync(BlkRequest *req)
{
    GRAPH_HOLD();
    req->cancelled = true;
    req->refs++;
    GRAPH_WAIT_WHILE(!req->finished);
    request_unref(req);
}

/* ---- coroutine and sync forms ---- */

static int co_run(BlockBackend *blk, BlkRequest r)
{
    r.blk = blk;
    return co_request(&r);
}

int co_blk_preadv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov)
{
    return co_run(blk, make_iov(REQ_READ, offset, iov, niov, 0));
}

int co_blk_pwritev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov,
                   int flags)
{
    return co_run(blk, make_iov(REQ_WRITE, offset, iov, niov, flags));
}

int co_blk_pread(BlockBackend *blk, uint64_t offset, void *buf, uint64_t bytes)
{
    struct iovec iov = { buf, bytes };

    return co_blk_preadv(blk, offset, &iov, 1);
}

int co_blk_pwrite(BlockBackend *blk, uint64_t offset, const void *buf, uint64_t bytes, int flags)
{
    struct iovec iov = { (void *)(uintptr_t)buf, bytes };

    return co_blk_pwritev(blk, offset, &iov, 1, flags);
}

int co_blk_flush(BlockBackend *blk)
{
    return co_run(blk, make(REQ_FLUSH, 0, 0, 0));
}

int co_blk_discard(BlockBackend *blk, uint64_t offset, uint64_t bytes)
{
    return co_run(blk, make(REQ_DISCARD, offset, bytes, 0));
}

int co_blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t bytes, int flags)
{
    return co_run(blk, make(REQ_ZERO, offset, bytes, flags));
}

int co_blk_status(BlockBackend *blk, uint64_t offset, uint64_t bytes, BlockStatus *status,
                  int *depth)
{
    BlkRequest r = make(REQ_STATUS, offset, bytes, 0);

    r.status = status;
    r.depth = depth;
    return co_run(blk, r);
}

static void co_sync_entry(void *opaque)
{
    BlkRequest *r = opaque;

    r->ret = co_request(r);
}

static int sync_run(BlockBackend *blk, BlkRequest r)
{
    r.blk = blk;
    graph_run_on(blk->loop, co_sync_entry, &r);
    return r.ret;
}

int blk_pread(BlockBackend *blk, uint64_t offset, void *buf, uint64_t bytes)
{
    struct iovec iov = { buf, bytes };

    return sync_run(blk, make_iov(REQ_READ, offset, &iov, 1, 0));
}

int blk_pwrite(BlockBackend *blk, uint64_t offset, const void *buf, uint64_t bytes, int flags)
{
    struct iovec iov = { (void *)(uintptr_t)buf, bytes };

    return sync_run(blk, make_iov(REQ_WRITE, offset, &iov, 1, flags));
}

int blk_flush(BlockBackend *blk)
{
    return sync_run(blk, make(REQ_FLUSH, 0, 0, 0));
}

int blk_scsi(BlockBackend *blk, struct sg_io_hdr *io)
{
    BlkRequest r = make(REQ_SCSI, 0, 0, 0);

    r.scsi = io;
    return sync_run(blk, r);
}

int blk_discard(BlockBackend *blk, uint64_t offset, uint64_t bytes)
{
    return sync_run(blk, make(REQ_DISCARD, offset, bytes, 0));
}

int blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t bytes, int flags)
{
    return sync_run(blk, make(REQ_ZERO, offset, bytes, flags));
}

bool blk_truncate(BlockBackend *blk, uint64_t length, const char *prealloc, GError **error)
{
    GRAPH_HOLD();
    if (!blk->root) {
        return error_set(error, "Device '%s' has no medium", blk->name);
    }
    if (!node_root_set_perm(blk->root, blk->root->perm | BLK_PERM_RESIZE, blk->root->shared,
                            error)) {
        return false;
    }
    return node_truncate(blk->root->node, length, prealloc, error);
}
