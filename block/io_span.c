/* SPDX-License-Identifier: MIT */
/*
 * Windows of I/O vectors, and the buffers behind them.  No state.
 */
#include "block/io.h"

#include <stdlib.h>

#include "base/bits.h"

int io_span_to_iov(IoSpan span, struct iovec *iov, int max, size_t *bytes)
{
    int n = 0;

    *bytes = 0;
    while (span.len && n < max) {
        size_t piece = span.iov->iov_len - span.skip;

        piece = piece < span.len ? piece : span.len;
        if (piece) {
            iov[n].iov_base = (char *)span.iov->iov_base + span.skip;
            iov[n++].iov_len = piece;
            *bytes += piece;
            span.len -= piece;
        }
        span.iov++;
        span.skip = 0;
    }
    return n;
}

/* BODY for each contiguous piece. */
#define SPAN_EACH(span, ptr, piece, body)                                                \
    while ((span).len) {                                                                 \
        size_t piece = MIN((span).iov->iov_len - (span).skip, (span).len);               \
        char *ptr = (char *)(span).iov->iov_base + (span).skip;                          \
        body;                                                                            \
        (span).len -= piece;                                                             \
        (span).iov++;                                                                    \
        (span).skip = 0;                                                                 \
    }

void io_span_to_buf(IoSpan span, void *buf)
{
    SPAN_EACH(span, ptr, piece, { memcpy(buf, ptr, piece); buf = (char *)buf + piece; });
}

void io_span_from_buf(IoSpan span, const void *buf)
{
    SPAN_EACH(span, ptr, piece, { memcpy(ptr, buf, piece); buf = (const char *)buf + piece; });
}

void io_span_zero(IoSpan span)
{
    SPAN_EACH(span, ptr, piece, memset(ptr, 0, piece));
}

bool buffer_is_zero(const void *buf, size_t len)
{
    const unsigned char *p = buf;
    size_t head = MIN(len, 16);

    for (size_t i = 0; i < head; i++) {
        if (p[i]) {
            return false;
        }
    }
    /* All equal to the one 16 bytes before: libc compares with the widest vectors there are. */
    return len <= 16 || memcmp(p, p + 16, len - 16) == 0;
}

bool io_span_is_zero(IoSpan span)
{
    SPAN_EACH(span, ptr, piece, if (!buffer_is_zero(ptr, piece)) { return false; });
    return true;
}

bool io_span_is_aligned(IoSpan span, size_t align)
{
    SPAN_EACH(span, ptr, piece, if (((uintptr_t)ptr | piece) & (align - 1)) { return false; });
    return true;
}

void *io_span_flat(IoSpan span)
{
    if (span.len && span.iov->iov_len - span.skip >= span.len) {
        return (char *)span.iov->iov_base + span.skip;
    }
    return NULL;
}

void *io_buffer_new(size_t bytes)
{
    void *p = aligned_alloc(4096, align_up(MAX(bytes, 1), 4096));

    if (!p) {
        g_error("Out of memory: no %zu bytes for data", bytes);
    }
    return p;
}
