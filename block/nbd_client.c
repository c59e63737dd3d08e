/* SPDX-License-Identifier: MIT */
/*
 * The node type nbd: a disk on an NBD server.
 *
 *     nbd://host/export    nbd+unix:///export?socket=/run/x    nbd:host:port:exportname=x
 *     driver=nbd,server.type=unix,server.path=/run/x,export=e,tls-creds=tls0,reconnect-delay=10
 *
 * Up to REQUESTS_MAX requests are under way.  There is no receiving coroutine: of those that wait
 * for a reply one reads, for all, until its own has come, and then hands over.  So nothing of an
 * idle node runs anywhere, and it can move between loops.
 *
 * When the connection breaks, requests wait for another one for reconnect-delay seconds and are
 * then sent again; later ones fail, after an attempt of their own.  An attempt takes as long as the
 * host's connect() does.
 *
 * Invariants:
 *  C1  n->link is a link that works, as far as we know, or NULL.
 *  C2  slots[i] is an exchange that was sent over n->link and awaits its reply, or NULL.
 *  C3  at most one coroutine has `reading`; a sleeping one is woken exactly once: when its
 *      reply is complete, when the link breaks, or to become the reader.
 *  C4  while the reader is in the middle of a reply, the exchange stays: a dropped link completes
 *      it only when the reader has let go of its buffer (`receiving`).
 *  C5  what the server says is checked against the request before a byte of it is stored.
 *
 * Locking: the node's event loop.
 */
#include "block/nbd_client.h"

#include "block/nbd_link.h"
#include "block/nbd_uri.h"
#include "block/types.h"

#include "base/log.h"
#include "base/parse.h"

#define REQUESTS_MAX 16u
#define BACKOFF_MS 100
#define BACKOFF_MAX_MS 1000
#define STATUS_BYTES_MAX (1u << 20)
#define CHUNKS_MAX 65536u             /* of one reply: 512 bytes each, at least */

typedef struct Exchange {
    Coroutine *co;
    bool asleep, complete, done;      /* complete: the reply has all come */
    NbdRequest r;
    IoSpan span;                      /* reads */
    uint64_t received;
    unsigned chunks;
    int ret;
    bool has_status;
    uint32_t status_len, status_flags;
} Exchange;

typedef struct NbdNode {
    NbdTarget target;
    NbdLink *link;
    uint64_t reconnect_s, serial;
    int64_t lost_us, tried_us;        /* when the link broke; when the last attempt failed */
    bool complained;
    CoMutex connecting, sending;
    Exchange *slots[REQUESTS_MAX];
    CoQueue room;
    bool reading;
    Exchange *receiving;              /* whose reply the reader is in the middle of */
    NbdInfo info;                     /* of the first connection; later ones must offer as much */
} NbdNode;

static gint given_up;                 /* for the process: see nbd_client_give_up() */

void nbd_client_give_up(void)
{
    g_atomic_int_set(&given_up, 1);
}

/* ---- the link ---- */

static void wake(Exchange *x)
{
    if (x->asleep) {
        x->asleep = false;
        coroutine_wake(x->co);
    }
}

static void finish(NbdNode *n, unsigned slot, int ret)
{
    Exchange *x = n->slots[slot];

    n->slots[slot] = NULL;
    x->ret = ret;
    x->done = true;
    wake(x);
}

/* All that was sent over it has to be sent again. */
static void drop_link(NbdNode *n, NbdLink *link)
{
    if (link->broken) {
        return;
    }
    link->broken = true;
    co_stream_shutdown(link->stream);
    n->link = NULL;
    n->lost_us = g_get_monotonic_time();
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        Exchange *x = n->slots[i];

        if (x && x != n->receiving) {
            finish(n, i, -ENOTCONN);
        }
    }
    nbd_link_unref(link);
    co_queue_wake_all(&n->room);
}

static bool still_fits(const NbdNode *n, const NbdInfo *info, GError **error)
{
    const uint16_t must = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
                          NBD_FLAG_SEND_WRITE_ZEROES;

    if (info->size != n->info.size) {
        return error_set(error, "The export changed its size from %" PRIu64 " to %" PRIu64,
                         n->info.size, info->size);
    }
    if ((n->info.flags & must & ~info->flags) || info->min_block > MAX(n->info.min_block, 1) ||
        (!(n->info.flags & NBD_FLAG_READ_ONLY) && (info->flags & NBD_FLAG_READ_ONLY))) {
        return error_set(error, "The export offers less than before");
    }
    return true;
}

static bool co_try_connect(NbdNode *n)
{
    GError *error = NULL;
    NbdLink *link = n->target.address->kind == SOCKET_FD
                        ? NULL : co_nbd_link_open(&n->target, &error);

    if (link && !still_fits(n, &link->info, &error)) {
        nbd_link_unref(g_steal_pointer(&link));
        warn_report("NBD: %s", error->message);
    }
    g_clear_error(&error);
    n->link = link;
    n->tried_us = g_get_monotonic_time();
    return link != NULL;
}

/* 0 when n->link is there, or -errno.  Everyone waits behind the one that tries. */
static int co_connect(NbdNode *n)
{
    int64_t backoff = BACKOFF_MS, deadline = n->lost_us + (int64_t)n->reconnect_s * G_USEC_PER_SEC;

    if (n->link) {
        return 0;
    }
    co_mutex_lock(&n->connecting);
    while (!n->link) {
        int64_t now = g_get_monotonic_time();
        bool late = now >= deadline || g_atomic_int_get(&given_up);

        if (late && n->tried_us > n->lost_us && now - n->tried_us < G_USEC_PER_SEC) {
            break;                     /* somebody has just tried */
        }
        if (co_try_connect(n) || late) {
            break;
        }
        co_sleep_ms(MIN(backoff, MAX((deadline - now) / 1000, 1)));
        backoff = MIN(backoff * 2, BACKOFF_MAX_MS);
    }
    co_mutex_unlock(&n->connecting);
    return n->link ? 0 : -EIO;
}

/* ---- replies ---- */

static int co_read_span(NbdLink *link, IoSpan span)
{
    int ret = 0;

    while (span.len && ret == 0) {
        size_t piece = MIN(span.iov->iov_len - span.skip, span.len);

        if (piece) {
            ret = co_stream_read(link->stream, (char *)span.iov->iov_base + span.skip, piece);
            span.len -= piece;
        }
        span.iov++;
        span.skip = 0;
    }
    return ret;
}

/* Takes [OFFSET, OFFSET + LEN) of the read into account; false when it is none of it. */
static bool claim(Exchange *x, uint64_t offset, uint64_t len)
{
    if (x->r.type != NBD_CMD_READ || !len || offset < x->r.offset ||
        offset - x->r.offset > x->r.len || len > x->r.len - (offset - x->r.offset) ||
        len > x->r.len - x->received) {
        return false;
    }
    if (!x->received && len < x->r.len) {
        io_span_zero(x->span);         /* overlapping chunks must not leave old memory visible */
    }
    x->received += len;
    return true;
}

static int co_data_chunk(NbdLink *link, Exchange *x, uint32_t len)
{
    uint8_t head[8];
    uint64_t offset;
    int ret;

    if (len <= sizeof(head)) {
        return -EPROTO;
    }
    ret = co_stream_read(link->stream, head, sizeof(head));
    if (ret < 0) {
        return ret;
    }
    offset = be64_load(head);
    len -= (uint32_t)sizeof(head);
    return claim(x, offset, len)
               ? co_read_span(link, io_span_sub(x->span, offset - x->r.offset, len)) : -EPROTO;
}

static int co_hole_chunk(NbdLink *link, Exchange *x, uint32_t len)
{
    uint8_t hole[12];
    uint64_t offset;
    int ret;

    if (len != sizeof(hole)) {
        return -EPROTO;
    }
    ret = co_stream_read(link->stream, hole, sizeof(hole));
    if (ret < 0) {
        return ret;
    }
    offset = be64_load(hole);
    len = be32_load(hole + 8);
    if (!claim(x, offset, len)) {
        return -EPROTO;
    }
    io_span_zero(io_span_sub(x->span, offset - x->r.offset, len));
    return 0;
}

static int co_status_chunk(NbdLink *link, Exchange *x, uint32_t len)
{
    uint8_t head[4], extent[8];
    bool same = true;
    int ret;

    if (x->r.type != NBD_CMD_BLOCK_STATUS || x->has_status || len < 12 || (len - 4) % 8 ||
        len > STATUS_BYTES_MAX) {
        return -EPROTO;
    }
    ret = co_stream_read(link->stream, head, sizeof(head));
    if (ret == 0 && be32_load(head) != link->context_id) {
        return -EPROTO;
    }
    /* Extents that are alike are one. */
    for (len -= 4; len && ret == 0; len -= 8) {
        ret = co_stream_read(link->stream, extent, sizeof(extent));
        if (ret < 0) {
            break;
        }
        if (!be32_load(extent)) {
            return -EPROTO;
        }
        if (!x->has_status) {
            x->has_status = true;
            x->status_flags = be32_load(extent + 4);
        }
        same = same && x->status_flags == be32_load(extent + 4);
        if (same) {
            x->status_len = (uint32_t)MIN((uint64_t)x->status_len + be32_load(extent), x->r.len);
        }
    }
    return ret;
}

static int co_error_chunk(NbdLink *link, Exchange *x, uint16_t type, uint32_t len)
{
    g_autofree uint8_t *data = NULL;
    uint32_t error;
    int ret;

    if (len > NBD_NAME_MAX + 64) {
        return -EPROTO;
    }
    data = g_malloc(len + 1);
    ret = co_stream_read(link->stream, data, len);
    if (ret < 0) {
        return ret;
    }
    if (type != NBD_CHUNK_ERROR && type != NBD_CHUNK_ERROR_OFFSET) {
        error = NBD_EIO;               /* an error of a kind to come */
    } else if (!nbd_error_parse(type, data, len, &error)) {
        return -EPROTO;
    }
    x->ret = x->ret ? x->ret : -nbd_error_to_errno(error);
    return 0;
}

static int co_chunk(NbdLink *link, Exchange *x, const NbdReply *reply)
{
    int ret;

    if (++x->chunks > CHUNKS_MAX) {
        return -EPROTO;
    }
    switch (reply->type) {
    case NBD_CHUNK_NONE:
        ret = reply->len == 0 && (reply->flags & NBD_CHUNK_FLAG_DONE) ? 0 : -EPROTO;
        break;
    case NBD_CHUNK_DATA:
        ret = co_data_chunk(link, x, reply->len);
        break;
    case NBD_CHUNK_HOLE:
        ret = co_hole_chunk(link, x, reply->len);
        break;
    case NBD_CHUNK_STATUS:
        ret = co_status_chunk(link, x, reply->len);
        break;
    default:
        ret = reply->type & NBD_CHUNK_IS_ERROR
                  ? co_error_chunk(link, x, reply->type, reply->len) : -EPROTO;
    }
    if (ret == 0 && (reply->flags & NBD_CHUNK_FLAG_DONE)) {
        if (x->ret == 0 && ((x->r.type == NBD_CMD_READ && x->received != x->r.len) ||
                            (x->r.type == NBD_CMD_BLOCK_STATUS && !x->has_status))) {
            return -EPROTO;
        }
        x->complete = true;
    }
    return ret;
}

static int co_simple(NbdLink *link, Exchange *x, const NbdReply *reply)
{
    int ret = 0;

    if (link->structured &&
        (x->r.type == NBD_CMD_BLOCK_STATUS || (x->r.type == NBD_CMD_READ && !reply->error))) {
        return -EPROTO;
    }
    if (reply->error) {
        x->ret = -nbd_error_to_errno(reply->error);
    } else if (x->r.type == NBD_CMD_READ) {
        ret = co_read_span(link, x->span);
    }
    x->complete = ret == 0;
    return ret;
}

/* Reads one reply, or one chunk, whose ever it is. */
static int co_read_reply(NbdNode *n, NbdLink *link)
{
    uint8_t head[NBD_CHUNK_BYTES];
    unsigned bytes, slot;
    NbdReply reply;
    Exchange *x;
    int ret = co_stream_read(link->stream, head, NBD_SIMPLE_BYTES);

    if (ret < 0) {
        return ret;
    }
    bytes = nbd_reply_bytes(head);
    if (!bytes || (bytes == NBD_CHUNK_BYTES && !link->structured)) {
        return -EPROTO;
    }
    ret = co_stream_read(link->stream, head + NBD_SIMPLE_BYTES, bytes - NBD_SIMPLE_BYTES);
    if (ret < 0) {
        return ret;
    }
    nbd_reply_parse(head, &reply);
    slot = reply.cookie % REQUESTS_MAX;
    x = n->slots[slot];
    if (!x || x->r.cookie != reply.cookie) {
        return -EPROTO;
    }
    n->receiving = x;
    ret = reply.structured ? co_chunk(link, x, &reply) : co_simple(link, x, &reply);
    n->receiving = NULL;
    if (ret == 0 && x->complete) {
        finish(n, slot, x->ret);
    } else if (link->broken) {         /* dropped by a sender meanwhile */
        finish(n, slot, -ENOTCONN);
    }
    return ret;
}

/* ---- requests ---- */

static int find_slot(const NbdNode *n)
{
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        if (!n->slots[i]) {
            return (int)i;
        }
    }
    return -1;
}

static void pass_reading_on(NbdNode *n)
{
    n->reading = false;
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        if (n->slots[i] && n->slots[i]->asleep) {
            wake(n->slots[i]);
            return;
        }
    }
}

static void co_await(NbdNode *n, NbdLink *link, Exchange *x)
{
    while (!x->done) {
        int ret = 0;

        if (n->reading) {
            x->asleep = true;
            co_yield();
            continue;
        }
        n->reading = true;
        while (!x->done && ret == 0) {
            ret = co_read_reply(n, link);
        }
        if (ret < 0) {
            if (ret == -EPROTO && !n->complained) {
                n->complained = true;
                warn_report("NBD server of '%s' breaks the protocol; the connection is dropped",
                            n->target.export_name ? n->target.export_name : "");
            }
            drop_link(n, link);
        }
        pass_reading_on(n);
    }
}

static int co_send(NbdNode *n, NbdLink *link, Exchange *x, IoSpan payload)
{
    uint8_t head[NBD_REQUEST_BYTES];
    struct iovec iov[64] = { { head, sizeof(head) } };
    int ret = 0, niov = 1;

    nbd_request_put(head, &x->r);
    co_mutex_lock(&n->sending);
    do {
        size_t bytes = 0;
        int more = io_span_to_iov(payload, iov + niov, (int)ARRAY_LEN(iov) - niov, &bytes);

        ret = link->broken ? -ENOTCONN : co_stream_write(link->stream, iov, niov + more);
        payload = io_span_sub(payload, bytes, payload.len - bytes);
        niov = 0;
    } while (payload.len && ret == 0);
    co_mutex_unlock(&n->sending);
    return ret;
}

/* One attempt: -ENOTCONN when the link broke on the way. */
static int co_exchange(NbdNode *n, Exchange *x, IoSpan payload)
{
    int slot;
    NbdLink *link;

    while ((slot = find_slot(n)) < 0) {
        co_queue_wait(&n->room, NULL);
    }
    if (!n->link) {
        return -ENOTCONN;
    }
    link = nbd_link_ref(n->link);
    x->co = coroutine_self();
    x->r.cookie = ++n->serial * REQUESTS_MAX + (unsigned)slot;
    n->slots[slot] = x;
    if (co_send(n, link, x, payload) < 0) {
        drop_link(n, link);
    }
    co_await(n, link, x);
    nbd_link_unref(link);
    co_queue_wake_one(&n->room);
    return x->ret;
}

static int co_request(BlockNode *node, Exchange *x, IoSpan payload)
{
    NbdNode *n = node->state;
    Exchange fresh = *x;

    for (;;) {
        int ret = co_connect(n);

        if (ret < 0) {
            return ret;
        }
        *x = fresh;
        ret = co_exchange(n, x, payload);
        if (ret != -ENOTCONN) {
            return ret;
        }
        if (!n->reconnect_s) {
            return -EIO;
        }
    }
}

static int co_plain(BlockNode *node, uint16_t type, uint16_t flags, uint64_t offset, uint64_t len)
{
    Exchange x = { .r = { flags, type, 0, offset, (uint32_t)len } };

    return co_request(node, &x, (IoSpan){ 0 });
}

static int nbd_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    Exchange x = { .r = { 0, NBD_CMD_READ, 0, offset, (uint32_t)span.len }, .span = span };

    return co_request(node, &x, (IoSpan){ 0 });
}

static int nbd_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    const NbdNode *n = node->state;
    Exchange x = { .r = { 0, NBD_CMD_WRITE, 0, offset, (uint32_t)span.len } };

    if ((flags & BLK_REQ_FUA) && (n->info.flags & NBD_FLAG_SEND_FUA)) {
        x.r.flags |= NBD_CMD_FLAG_FUA;
    }
    return co_request(node, &x, span);
}

/* The longest a request without payload may be. */
static uint64_t range_max(const BlockNode *node)
{
    return align_down(UINT32_MAX, MAX(node->limits.align, 512));
}

static int nbd_co_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags)
{
    const NbdNode *n = node->state;
    uint16_t cmd = flags & BLK_REQ_MAY_UNMAP ? 0 : NBD_CMD_FLAG_NO_HOLE;
    int ret = 0;

    if (!(n->info.flags & NBD_FLAG_SEND_WRITE_ZEROES)) {
        return -ENOTSUP;
    }
    if (flags & BLK_REQ_NO_FALLBACK) {
        if (!(n->info.flags & NBD_FLAG_SEND_FAST_ZERO)) {
            return -ENOTSUP;
        }
        cmd |= NBD_CMD_FLAG_FAST_ZERO;
    }
    while (bytes && ret == 0) {
        uint64_t piece = MIN(bytes, range_max(node));

        ret = co_plain(node, NBD_CMD_WRITE_ZEROES, cmd, offset, piece);
        offset += piece;
        bytes -= piece;
    }
    return ret;
}

static int nbd_co_discard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    const NbdNode *n = node->state;
    int ret = n->info.flags & NBD_FLAG_SEND_TRIM ? 0 : -ENOTSUP;

    while (bytes && ret == 0) {
        uint64_t piece = MIN(bytes, range_max(node));

        ret = co_plain(node, NBD_CMD_TRIM, 0, offset, piece);
        offset += piece;
        bytes -= piece;
    }
    return ret;
}

static int nbd_co_flush(BlockNode *node)
{
    const NbdNode *n = node->state;

    return n->info.flags & NBD_FLAG_SEND_FLUSH ? co_plain(node, NBD_CMD_FLUSH, 0, 0, 0) : 0;
}

static int nbd_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    NbdNode *n = node->state;
    Exchange x = { .r = { NBD_CMD_FLAG_REQ_ONE, NBD_CMD_BLOCK_STATUS, 0, offset,
                          (uint32_t)MIN(bytes, range_max(node)) } };
    int ret = co_connect(n);

    status->file = node;
    status->map = offset;
    status->bytes = bytes;
    status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID | BLK_STATUS_ALLOCATED;
    if (ret < 0 || !n->link->has_context) {
        return ret;
    }
    ret = co_request(node, &x, (IoSpan){ 0 });
    if (ret < 0) {
        return ret;
    }
    /* What is told of part of a block is of no use: then the block is data. */
    status->bytes = align_down(x.status_len, node->limits.align);
    if (!status->bytes) {
        status->bytes = MIN(bytes, node->limits.align);
        return 0;
    }
    if (x.status_flags & NBD_STATE_HOLE) {
        status->flags &= ~(uint32_t)BLK_STATUS_DATA;
    }
    if (x.status_flags & NBD_STATE_ZERO) {
        status->flags |= BLK_STATUS_ZERO;
    }
    return 0;
}

/* ---- opening ---- */

/* server.*, or the older host=, port= and path=. */
static SocketAddress *take_server(NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) sub = node_opts_take_prefix(opts, "server");
    g_autofree char *host = node_opts_take(opts, "host"), *port = node_opts_take(opts, "port");
    g_autofree char *path = node_opts_take(opts, "path");

    if (!node_opts_empty(sub)) {
        if (host || port || path) {
            error_set(error, "'server' and 'host/port/path' cannot be used at the same time");
            return NULL;
        }
        return socket_address_take(sub, error);
    }
    if ((host || port) && path) {
        error_set(error, "host/port and path cannot be used at the same time");
        return NULL;
    }
    if (!host && !path) {
        error_set(error, "NBD server address missing: use server.type=unix,server.path=PATH or "
                  "server.type=inet,server.host=HOST,server.port=PORT");
        return NULL;
    }
    return path ? socket_address_unix(path) : socket_address_inet(host, port ? port : NBD_PORT);
}

static bool take_tls(NbdTarget *t, NodeOpts *opts, GError **error)
{
    g_autofree char *id = node_opts_take(opts, "tls-creds");
    TlsCreds *creds;

    t->hostname = node_opts_take(opts, "tls-hostname");
    if (!id) {
        return !t->hostname || error_set(error, "tls-hostname not supported without tls-creds");
    }
    creds = tls_creds_find(id, TLS_CLIENT, error);
    t->creds = creds ? tls_creds_ref(creds) : NULL;
    return creds != NULL;
}

static bool take_options(NbdNode *n, NodeOpts *opts, uint64_t *open_timeout, GError **error)
{
    NbdTarget *t = &n->target;

    t->address = take_server(opts, error);
    if (!t->address) {
        return false;
    }
    g_free(node_opts_take(opts, "filename"));
    t->export_name = node_opts_take(opts, "export");
    t->context = node_opts_take(opts, "x-dirty-bitmap");
    if (t->export_name && strlen(t->export_name) > NBD_NAME_MAX) {
        return error_set(error, "export name too long to send to server");
    }
    if (t->context && strlen(t->context) > NBD_NAME_MAX) {
        return error_set(error, "x-dirty-bitmap query too long to send to server");
    }
    return take_tls(t, opts, error) &&
           node_opts_take_uint(opts, "reconnect-delay", &n->reconnect_s, error) &&
           node_opts_take_uint(opts, "open-timeout", open_timeout, error);
}

/* Tries again for TIMEOUT_S, for a server that is still to start. */
static NbdLink *co_first_link(const NbdTarget *t, uint64_t timeout_s, GError **error)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)timeout_s * G_USEC_PER_SEC;
    int64_t backoff = BACKOFF_MS;

    for (;;) {
        GError *local = NULL;
        NbdLink *link = co_nbd_link_open(t, &local);

        if (link || g_get_monotonic_time() >= deadline || t->address->kind == SOCKET_FD) {
            if (local) {
                g_propagate_error(error, local);
            }
            return link;
        }
        g_clear_error(&local);
        co_sleep_ms(backoff);
        backoff = MIN(backoff * 2, BACKOFF_MAX_MS);
    }
}

static bool adopt(BlockNode *node, NbdLink *link, GError **error)
{
    NbdNode *n = node->state;
    const NbdInfo *info = &link->info;
    uint32_t max = info->max_block ? MIN(info->max_block, NBD_PAYLOAD_MAX) : NBD_PAYLOAD_MAX;

    if (n->target.context && !link->has_context) {
        return error_set(error, "requested x-dirty-bitmap %s not found", n->target.context);
    }
    if ((info->flags & NBD_FLAG_READ_ONLY) && !node->read_only) {
        if (!(node->flags & NODE_OPEN_AUTO_RO)) {
            return error_set(error, "request on denied write access: the export is read-only; "
                             "use read-only=on");
        }
        node->read_only = true;
    }
    n->info = (NbdInfo){ .size = info->size, .flags = info->flags, .min_block = info->min_block };
    /* Servers that do not tell were often strict about sectors. */
    node->limits.align = info->min_block ? info->min_block : info->size % 512 ? 1 : 512;
    if (info->size % node->limits.align) {
        return error_set(error, "The export's size %" PRIu64 " is not a multiple of its block "
                         "size %u", info->size, node->limits.align);
    }
    node->limits.max_transfer = (uint32_t)align_down(max, node->limits.align);
    node->length = info->size;
    node->fua = info->flags & NBD_FLAG_SEND_FUA;
    n->link = link;
    return true;
}

static void nbd_free(NbdNode *n)
{
    nbd_target_clear(&n->target);
}

static bool nbd_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    NbdNode *n = node->state;
    uint64_t open_timeout = 0;
    NbdLink *link;

    co_mutex_init(&n->connecting);
    co_mutex_init(&n->sending);
    co_queue_init(&n->room);
    if (!take_options(n, opts, &open_timeout, error)) {
        nbd_free(n);
        return false;
    }
    open_timeout = MIN(open_timeout, INT32_MAX);
    n->reconnect_s = MIN(n->reconnect_s, INT32_MAX);
    link = co_first_link(&n->target, open_timeout, error);
    if (!link || !adopt(node, link, error)) {
        nbd_link_unref(link);
        nbd_free(n);
        return false;
    }
    g_free(node->filename);
    node->filename = nbd_uri_text(n->target.address, n->target.export_name);
    return true;
}

static void nbd_close(BlockNode *node)
{
    NbdNode *n = node->state;

    if (n->link) {
        uint8_t bye[NBD_REQUEST_BYTES];

        nbd_request_put(bye, &(NbdRequest){ .type = NBD_CMD_DISC });
        co_stream_write_now(n->link->stream, bye, sizeof(bye));
        nbd_link_unref(g_steal_pointer(&n->link));
    }
    nbd_free(n);
}

const NodeType node_type_nbd = {
    .name = "nbd",
    .prefixes = "nbd,nbd+unix,nbd+vsock",
    .state_size = sizeof(NbdNode),
    .is_protocol = true,
    .open = nbd_open,
    .close = nbd_close,
    .parse_filename = nbd_parse_filename,
    .create = create_in_place,
    .create_help = "  size=<size>            - Virtual disk size\n",
    .co_preadv = nbd_co_preadv,
    .co_pwritev = nbd_co_pwritev,
    .co_write_zeroes = nbd_co_write_zeroes,
    .co_discard = nbd_co_discard,
    .co_flush = nbd_co_flush,
    .co_status = nbd_co_status,
};
