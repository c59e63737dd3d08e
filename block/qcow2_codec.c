/* SPDX-License-Identifier: MIT */
/*
 * qcow2: compressed clusters (zlib, zstd).
 * Locking: q->lock for the tables; packing and unpacking run on worker threads without it.
 */
#include "block/qcow2.h"

#include <zlib.h>
#include <zstd.h>

#include "base/worker_pool.h"

typedef struct Codec {
    uint8_t kind;
    const void *in;
    void *out;
    size_t in_len, out_len;    /* out_len: room, then (compress) what was used */
} Codec;

static int decompress_work(void *opaque)
{
    Codec *c = opaque;

    if (c->kind == 1) {
        ZSTD_DCtx *d = ZSTD_createDCtx();
        ZSTD_inBuffer in = { c->in, c->in_len, 0 };
        ZSTD_outBuffer out = { c->out, c->out_len, 0 };
        int ret = 0;

        /* The frame may be followed by padding: stop when the cluster is full. */
        while (d && out.pos < out.size && ret == 0) {
            size_t before = out.pos + in.pos, left = ZSTD_decompressStream(d, &out, &in);

            if (ZSTD_isError(left) || (out.pos < out.size && out.pos + in.pos == before)) {
                ret = -EIO;
            }
        }
        ZSTD_freeDCtx(d);
        return d ? ret : -ENOMEM;
    }
    z_stream z = { .next_in = (Bytef *)(uintptr_t)c->in, .avail_in = (uInt)c->in_len,
                   .next_out = c->out, .avail_out = (uInt)c->out_len };
    int ret;

    if (inflateInit2(&z, -12) != Z_OK) {
        return -EIO;
    }
    ret = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
}

/*
 * Whether deflate would hardly make it smaller: random, encrypted or already packed bytes, on which it
 * takes longest.  Two things could: bytes that are not equally frequent (the collision entropy, which
 * is no larger than Shannon's, says at most 1.25 % up to 7.9 bits), and strings that come again in the
 * window of 4 KiB.
 */
static bool looks_packed(const uint8_t *in, size_t len)
{
    enum { HASH_BITS = 12, WINDOW = 4096 };
    uint32_t count[4][256] = { { 0 } }, last[1 << HASH_BITS] = { 0 };
    uint64_t squares = 0;
    size_t again = 0, i;

    for (i = 0; i + 4 <= len; i += 4) {
        for (unsigned k = 0; k < 4; k++) {
            count[k][in[i + k]]++;
        }
    }
    for (unsigned k = 0; k < 256; k++) {
        uint64_t n = (uint64_t)count[0][k] + count[1][k] + count[2][k] + count[3][k];

        squares += n * n;
    }
    if (squares * 239 > (uint64_t)len * len) {       /* 2 to the 7.9 */
        return false;
    }
    for (i = 0; i + 4 <= len && again <= len / 256; i++) {
        uint32_t word, before;
        unsigned h;

        memcpy(&word, in + i, 4);
        h = word * UINT32_C(2654435761) >> (32 - HASH_BITS);
        before = last[h];
        last[h] = (uint32_t)i + 1;
        again += before && i + 1 - before <= WINDOW && memcmp(in + before - 1, in + i, 4) == 0;
    }
    return again <= len / 256;
}

/* 0, or -ENOSPC when it does not get smaller. */
static int compress_work(void *opaque)
{
    Codec *c = opaque;
    z_stream z = { .next_in = (Bytef *)(uintptr_t)c->in, .avail_in = (uInt)c->in_len,
                   .next_out = c->out, .avail_out = (uInt)c->out_len };
    int ret;

    if (c->kind == 1) {
        size_t n = ZSTD_compress(c->out, c->out_len, c->in, c->in_len, ZSTD_CLEVEL_DEFAULT);

        c->out_len = n;
        return ZSTD_isError(n) ? -ENOSPC : 0;
    }
    if (looks_packed(c->in, c->in_len)) {
        return -ENOSPC;
    }
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return -EIO;
    }
    ret = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    c->out_len -= z.avail_out;
    return ret == Z_STREAM_END ? 0 : ret == Z_OK ? -ENOSPC : -EIO;
}

int co_qcow2_read_compressed(BlockNode *node, uint64_t entry, uint64_t in_cluster, IoSpan span)
{
    Qcow2 *q = node->state;
    uint64_t offset, bytes, changes = q->l2_changes;
    g_autofree uint8_t *in = NULL;
    g_autofree uint8_t *made = NULL;
    uint8_t *out = in_cluster == 0 && span.len == q->cluster_size ? io_span_flat(span) : NULL;
    Codec codec;
    int ret;

    if (q->decompressed && q->decompressed_for == entry) {
        io_span_from_buf(span, q->decompressed + in_cluster);
        return 0;
    }
    compressed_extent(q, entry, &offset, &bytes);
    in = io_buffer_new(bytes);
    if (!out) {
        out = made = io_buffer_new(q->cluster_size);
    }
    node_event(q->file, QAPI_BLKDEBUG_EVENT_READ_COMPRESSED);
    ret = co_node_pread(q->file, offset, in, bytes);
    if (ret == 0) {
        codec = (Codec){ q->compression, in, out, bytes, q->cluster_size };
        ret = node->flags & NODE_OPEN_INLINE_IO
                  ? decompress_work(&codec)
                  : co_worker_run(worker_pool_shared(), decompress_work, &codec);
    }
    if (ret == 0 && made) {
        io_span_from_buf(span, made + in_cluster);
    }
    /* Kept for who reads on in it, unless its place may hold another cluster by now. */
    if (ret == 0 && made && q->l2_changes == changes) {
        g_free(q->decompressed);
        q->decompressed = g_steal_pointer(&made);
        q->decompressed_for = entry;
    }
    return ret;
}

int co_qcow2_write_compressed(BlockNode *node, uint64_t offset, IoSpan span)
{
    Qcow2 *q = node->state;
    g_autofree uint8_t *in = io_buffer_new(q->cluster_size);
    g_autofree uint8_t *out = io_buffer_new(q->cluster_size);
    Codec codec = { q->compression, in, out, q->cluster_size, q->cluster_size - 1 };
    Qcow2Request req;
    Slice *slice;
    unsigned index, left;
    uint64_t host = 0, old, sectors, x = 62 - (q->cluster_bits - 8);
    int ret;

    if (q->has_data_file || q->crypt.method || (offset & (q->cluster_size - 1)) ||
        span.len > q->cluster_size ||
        (span.len < q->cluster_size && align_up(offset + span.len, 512) != node->length)) {
        return q->has_data_file || q->crypt.method ? -ENOTSUP : -EINVAL;
    }
    io_span_to_buf(span, in);
    memset(in + span.len, 0, q->cluster_size - span.len);
    ret = co_worker_run(worker_pool_shared(), compress_work, &codec);
    if (ret == -ENOSPC) {
        return co_qcow2_pwritev(node, offset, span, 0);
    }
    co_mutex_lock(&q->lock);
    co_qcow2_wait_conflicts(q, offset, offset + q->cluster_size, true);
    qcow2_request_begin(q, &req, offset, offset + q->cluster_size, true);
    if (ret == 0) {
        ret = co_alloc_bytes(q, (uint32_t)codec.out_len, &host);
    }
    if (ret == 0 && host + codec.out_len >= BIT64(x)) {
        ret = -EFBIG;
    }
    co_mutex_unlock(&q->lock);
    if (ret == 0) {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_WRITE_COMPRESSED);
        ret = co_node_pwrite(q->file, host, out, codec.out_len, 0);
    }
    co_mutex_lock(&q->lock);
    if (ret == 0) {
        node_event(q->file, QAPI_BLKDEBUG_EVENT_L2_UPDATE_COMPRESSED);
        ret = co_l2_get(q, offset, true, &slice, &index, &left);
    }
    if (ret == 0) {
        old = l2_entry(q, slice, index);
        free_entry_later(q, old, FREE_OTHER);
        sectors = ((host + codec.out_len - 1) >> 9) - (host >> 9);
        l2_store(q, slice, index, host | sectors << x | ENTRY_COMPRESSED, 0);
    }
    qcow2_request_end(q, &req);
    co_mutex_unlock(&q->lock);
    return ret;
}
