/* SPDX-License-Identifier: MIT */
/*
 * The NBD server's transmission phase: requests of one client, several at a time.
 *
 * The serving coroutine reads requests, and the payload of writes; each request then runs in a
 * coroutine of its own and replies when it is done, in whatever order.  Requests that are wrong get
 * an error; the connection ends only where the stream makes no sense any more.
 *
 * Invariants:
 *  T1  in_flight <= REQUESTS_MAX and bytes_in_flight <= BYTES_MAX, whatever the client asks.
 *  T2  Whole replies and whole chunks are sent under send_lock, so they never mix.
 *  T3  Exactly one reply, or one chunk with DONE, answers a request, unless the stream broke.
 *
 * Locking: the loop of the export's node.
 */
#include "block/nbd_server_int.h"

#include <stdlib.h>

#include "base/bits.h"
#include "block/driver.h"

#define REQUESTS_MAX 16u
#define BYTES_MAX (64u << 20)
/* A structured read is cut into such pieces: less memory, and the first is on its way sooner. */
#define READ_PIECE (2u << 20)
#define SHORT_READ (32u << 10)
#define CACHE_PIECE (1u << 20)
#define EXTENTS_MAX 2048u
/* Steps of looking for the end of an extent, so that one request cannot hold the loop for long. */
#define STATUS_STEPS 8192u
/* Requests, or such steps, until the loop may do other work: a client whose every request can be
 * answered at once must not starve it. */
#define TURN 16u
#define STATUS_TURN 256u

/* Kept for the next requests: fresh pages for each cost more than what is done with them. */
#define SPARE_BYTES_MAX (8u << 20)

typedef struct Job {
    NbdClient *c;
    NbdRequest r;
    NbdBuffer mem;
    void *buf;                         /* mem.data; the first BUF_LEN of it are in use */
    size_t buf_len;
} Job;

/* ---- buffers ---- */

static bool buffer_get(NbdClient *c, size_t len, NbdBuffer *mem)
{
    for (unsigned i = c->spares; i-- > 0;) {
        if (c->spare[i].room >= len && c->spare[i].room / 4 <= len) {
            *mem = c->spare[i];
            c->spare[i] = c->spare[--c->spares];
            c->spare_bytes -= mem->room;
            return true;
        }
    }
    mem->room = align_up(len, 4096);
    return posix_memalign(&mem->data, 4096, mem->room) == 0;
}

static void buffer_put(NbdClient *c, NbdBuffer mem)
{
    if (mem.data && c->spares < NBD_SPARES && c->spare_bytes + mem.room <= SPARE_BYTES_MAX) {
        c->spare[c->spares++] = mem;
        c->spare_bytes += mem.room;
    } else {
        free(mem.data);
    }
}

static void buffers_free(NbdClient *c)
{
    while (c->spares) {
        free(c->spare[--c->spares].data);
    }
    c->spare_bytes = 0;
}

static BlockBackend *job_blk(const Job *j)
{
    return j->c->exp->base.blk;
}

/* ---- replies ---- */

static void co_send(Job *j, struct iovec *iov, int niov)
{
    NbdClient *c = j->c;
    int ret;

    co_mutex_lock(&c->send_lock);
    ret = co_stream_write(c->stream, iov, niov);
    co_mutex_unlock(&c->send_lock);
    if (ret < 0) {
        co_stream_shutdown(c->stream);     /* ends the serving coroutine too */
    }
}

static void co_send_simple(Job *j, uint32_t error, const void *data, size_t len)
{
    uint8_t head[NBD_SIMPLE_BYTES];
    struct iovec iov[2] = { { head, sizeof(head) }, { (void *)(uintptr_t)data, len } };

    nbd_simple_put(head, error, j->r.cookie);
    co_send(j, iov, 2);
}

/* A chunk; EXTRA is the fixed part of its payload. */
static void co_send_chunk(Job *j, bool done, uint16_t type, const void *extra, size_t extra_len,
                          const void *data, size_t len)
{
    uint8_t head[NBD_CHUNK_BYTES];
    struct iovec iov[3] = { { head, sizeof(head) }, { (void *)(uintptr_t)extra, extra_len },
                            { (void *)(uintptr_t)data, len } };

    nbd_chunk_put(head, done ? NBD_CHUNK_FLAG_DONE : 0, type, j->r.cookie,
                  (uint32_t)(extra_len + len));
    co_send(j, iov, 3);
}

static void co_send_error_chunk(Job *j, uint32_t error)
{
    uint8_t payload[6];

    be32_store(payload, error);
    be16_store(payload + 4, 0);
    co_send_chunk(j, true, NBD_CHUNK_ERROR, payload, sizeof(payload), NULL, 0);
}

static bool answers_in_chunks(const Job *j)
{
    return j->c->structured &&
           (j->r.type == NBD_CMD_READ || j->r.type == NBD_CMD_BLOCK_STATUS);
}

/* RET: 0 or -errno. */
static void co_send_result(Job *j, int ret)
{
    uint32_t error = ret < 0 ? nbd_error_from_errno(-ret) : 0;

    if (!answers_in_chunks(j)) {
        co_send_simple(j, error, NULL, 0);
    } else if (error) {
        co_send_error_chunk(j, error);
    } else {
        co_send_chunk(j, true, NBD_CHUNK_NONE, NULL, 0, NULL, 0);
    }
}

/* ---- reading ---- */

static void co_read_simple(Job *j)
{
    int ret = co_blk_pread(job_blk(j), j->r.offset, j->buf, j->r.len);

    if (ret < 0) {
        co_send_result(j, ret);
    } else {
        co_send_simple(j, 0, j->buf, j->r.len);
    }
}

static void co_send_data(Job *j, uint64_t offset, size_t len, bool done)
{
    uint8_t at[8];

    be64_store(at, offset);
    co_send_chunk(j, done, NBD_CHUNK_DATA, at, sizeof(at), j->buf, len);
}

static void co_send_hole(Job *j, uint64_t offset, uint64_t len, bool done)
{
    uint8_t hole[12];

    be64_store(hole, offset);
    be32_store(hole + 8, (uint32_t)len);
    co_send_chunk(j, done, NBD_CHUNK_HOLE, hole, sizeof(hole), NULL, 0);
}

/* A short read is faster than to ask for holes first; zeroes are told as such all the same. */
static int co_read_short(Job *j)
{
    int ret = co_blk_pread(job_blk(j), j->r.offset, j->buf, j->r.len);

    if (ret == 0 && !(j->r.flags & NBD_CMD_FLAG_DF) && buffer_is_zero(j->buf, j->r.len)) {
        co_send_hole(j, j->r.offset, j->r.len, true);
    } else if (ret == 0) {
        co_send_data(j, j->r.offset, j->r.len, true);
    }
    return ret;
}

static int co_read_chunks(Job *j)
{
    bool whole = j->r.flags & NBD_CMD_FLAG_DF;
    uint64_t at = j->r.offset, end = at + j->r.len;
    int ret = 0;

    while (at < end && ret == 0) {
        uint64_t len = end - at;
        BlockStatus status = { 0 };
        int depth;

        if (!whole) {
            ret = co_blk_status(job_blk(j), at, len, &status, &depth);
            len = ret == 0 && status.bytes ? MIN(len, status.bytes) : len;
        }
        if (ret == 0 && (status.flags & BLK_STATUS_ZERO)) {
            co_send_hole(j, at, len, at + len == end);
        } else if (ret == 0) {
            len = MIN(len, j->buf_len);
            ret = co_blk_pread(job_blk(j), at, j->buf, len);
            if (ret == 0) {
                co_send_data(j, at, len, at + len == end);
            }
        }
        at += len;
    }
    return ret;
}

static void co_do_read(Job *j)
{
    int ret;

    if (!j->c->structured) {
        co_read_simple(j);
    } else if (!j->r.len) {
        co_send_result(j, 0);
    } else {
        ret = j->r.len <= SHORT_READ ? co_read_short(j) : co_read_chunks(j);
        if (ret < 0) {
            co_send_error_chunk(j, nbd_error_from_errno(-ret));
        }
    }
}

/* ---- block status ---- */

typedef struct Extents {
    uint8_t (*wire)[8];               /* be32 length, be32 flags */
    unsigned count, max;
    uint64_t len;                     /* of the last one */
    uint32_t flags;
} Extents;

/* False when there is no room for another. */
static bool extents_add(Extents *x, uint64_t len, uint32_t flags)
{
    if (!x->count || flags != x->flags) {
        if (x->count == x->max) {
            return false;
        }
        x->count++;
        x->len = 0;
        x->flags = flags;
    }
    x->len += len;
    be32_store(x->wire[x->count - 1], (uint32_t)x->len);
    be32_store(x->wire[x->count - 1] + 4, flags);
    return true;
}

static int co_state_at(Job *j, unsigned id, uint64_t at, uint64_t *len, uint32_t *flags)
{
    BlockStatus s;
    int depth, ret;

    if (id >= META_BITMAP) {
        const DirtyBitmap *bitmap = j->c->exp->bitmaps[id - META_BITMAP];
        uint64_t start, bytes;

        *flags = 0;
        if (dirty_bitmap_next(bitmap, at, &start, &bytes) && start < at + *len) {
            *flags = start == at ? NBD_STATE_DIRTY : 0;
            *len = MIN(*len, start == at ? bytes : start - at);
        }
        return 0;
    }
    ret = co_blk_status(job_blk(j), at, *len, &s, &depth);
    if (ret < 0) {
        return ret;
    }
    *len = s.bytes ? MIN(*len, s.bytes) : *len;
    if (id == META_DEPTH) {
        *flags = s.flags & BLK_STATUS_ALLOCATED ? (uint32_t)depth + 1 : 0;
    } else {
        *flags = (s.flags & BLK_STATUS_DATA ? 0 : NBD_STATE_HOLE) |
                 (s.flags & BLK_STATUS_ZERO ? NBD_STATE_ZERO : 0);
    }
    return 0;
}

static int co_gather(Job *j, unsigned id, Extents *x)
{
    uint64_t at = j->r.offset, end = at + j->r.len;

    x->count = 0;
    for (unsigned step = 0; at < end && step < STATUS_STEPS; step++) {
        uint64_t len = end - at;
        uint32_t flags;
        int ret = co_state_at(j, id, at, &len, &flags);

        if (ret < 0) {
            return ret;
        }
        if (!extents_add(x, len, flags)) {
            break;
        }
        at += len;
        if (step % STATUS_TURN == STATUS_TURN - 1) {
            co_pause();
        }
    }
    return 0;
}

static void co_do_block_status(Job *j)
{
    NbdClient *c = j->c;
    unsigned left = c->meta_count, ids = META_BITMAP + c->exp->bitmap_count;
    Extents x = { .max = j->r.flags & NBD_CMD_FLAG_REQ_ONE ? 1 : EXTENTS_MAX };

    x.wire = g_malloc(x.max * sizeof(*x.wire));
    for (unsigned id = 0; id < ids && left; id++) {
        uint8_t context[4];
        int ret;

        if (!c->meta[id]) {
            continue;
        }
        ret = co_gather(j, id, &x);
        if (ret < 0) {
            co_send_error_chunk(j, nbd_error_from_errno(-ret));
            break;
        }
        be32_store(context, id);
        co_send_chunk(j, --left == 0, NBD_CHUNK_STATUS, context, sizeof(context), x.wire,
                      x.count * sizeof(*x.wire));
    }
    g_free(x.wire);
}

/* ---- the others ---- */

static int co_flush_after(Job *j, int ret)
{
    return ret == 0 && (j->r.flags & NBD_CMD_FLAG_FUA) ? co_blk_flush(job_blk(j)) : ret;
}

static int co_do_cache(Job *j)
{
    int ret = 0;

    for (uint64_t done = 0; done < j->r.len && ret == 0; done += j->buf_len) {
        ret = co_blk_pread(job_blk(j), j->r.offset + done, j->buf,
                           MIN(j->buf_len, j->r.len - done));
        co_pause();
    }
    return ret;
}

static int co_do_other(Job *j)
{
    const NbdRequest *r = &j->r;
    int flags = r->flags & NBD_CMD_FLAG_FUA ? BLK_REQ_FUA : 0;

    switch (r->type) {
    case NBD_CMD_WRITE:
        return co_blk_pwrite(job_blk(j), r->offset, j->buf, r->len, flags);
    case NBD_CMD_FLUSH:
        return co_blk_flush(job_blk(j));
    case NBD_CMD_TRIM:
        return co_flush_after(j, co_blk_discard(job_blk(j), r->offset, r->len));
    case NBD_CMD_WRITE_ZEROES:
        flags |= r->flags & NBD_CMD_FLAG_NO_HOLE ? 0 : BLK_REQ_MAY_UNMAP;
        flags |= r->flags & NBD_CMD_FLAG_FAST_ZERO ? BLK_REQ_NO_FALLBACK : 0;
        return co_blk_write_zeroes(job_blk(j), r->offset, r->len, flags);
    case NBD_CMD_CACHE:
        return co_do_cache(j);
    default:
        return -EINVAL;
    }
}

static void co_job(void *opaque)
{
    Job *j = opaque;
    NbdClient *c = j->c;

    if (j->r.type == NBD_CMD_READ) {
        co_do_read(j);
    } else if (j->r.type == NBD_CMD_BLOCK_STATUS) {
        co_do_block_status(j);
    } else {
        co_send_result(j, co_do_other(j));
    }
    c->in_flight--;
    c->bytes_in_flight -= j->buf_len;
    buffer_put(c, j->mem);
    g_free(j);
    co_queue_wake_all(&c->room);
}

/* ---- the loop ---- */

static size_t buffer_bytes(const NbdClient *c, const NbdRequest *r)
{
    switch (r->type) {
    case NBD_CMD_READ:
        return c->structured && !(r->flags & NBD_CMD_FLAG_DF) ? MIN(r->len, READ_PIECE) : r->len;
    case NBD_CMD_WRITE:
        return r->len;
    case NBD_CMD_CACHE:
        return MIN(r->len, CACHE_PIECE);
    default:
        return 0;
    }
}

/* Answers a request that never becomes a job. */
static void co_reject(NbdClient *c, const NbdRequest *r, uint32_t error)
{
    Job j = { .c = c, .r = *r };

    if (answers_in_chunks(&j)) {
        co_send_error_chunk(&j, error);
    } else {
        co_send_simple(&j, error, NULL, 0);
    }
}

/* False when the stream is of no more use. */
static bool co_take_request(NbdClient *c)
{
    uint8_t head[NBD_REQUEST_BYTES];
    NbdRequest r;
    uint32_t error;
    size_t len;
    Job *j;

    if (co_stream_read(c->stream, head, sizeof(head)) < 0 || !nbd_request_parse(head, &r) ||
        r.type == NBD_CMD_DISC) {
        return false;
    }
    error = nbd_request_check(&r, &c->info, c->structured, c->meta_count > 0);
    len = error ? 0 : buffer_bytes(c, &r);
    while (c->in_flight >= REQUESTS_MAX || c->bytes_in_flight + len > BYTES_MAX) {
        co_queue_wait(&c->room, NULL);
    }
    j = g_new0(Job, 1);
    if (!error && len && !buffer_get(c, len, &j->mem)) {
        error = NBD_ENOMEM;
    }
    if (error) {
        g_free(j);
        if (r.type == NBD_CMD_WRITE && co_stream_skip(c->stream, r.len) < 0) {
            return false;
        }
        co_reject(c, &r, error);
        return true;
    }
    j->c = c;
    j->r = r;
    j->buf = j->mem.data;
    j->buf_len = len;
    if (r.type == NBD_CMD_WRITE && co_stream_read(c->stream, j->buf, len) < 0) {
        buffer_put(c, j->mem);
        g_free(j);
        return false;
    }
    c->in_flight++;
    c->bytes_in_flight += len;
    coroutine_start(co_job, j);
    return true;
}

void co_nbd_transmit(NbdClient *c)
{
    unsigned count = 0;

    while (co_take_request(c)) {
        if (++count % TURN == 0) {
            co_pause();
        }
    }
    while (c->in_flight) {
        co_queue_wait(&c->room, NULL);
    }
    buffers_free(c);
}
