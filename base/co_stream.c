/* SPDX-License-Identifier: MIT */
/*
 * Streams for coroutines; see the header.
 */
#include "base/co_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"

#define BUFFER_BYTES 16384
#define SKIP_TURN (1u << 20)

struct CoStream {
    int fd;
    TlsSession *tls;
    size_t start, end;             /* of what is in BUFFER */
    uint8_t buffer[BUFFER_BYTES];
};

CoStream *co_stream_new(int fd)
{
    CoStream *s = g_malloc(sizeof(*s));

    s->fd = fd;
    s->tls = NULL;
    s->start = s->end = 0;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return s;
}

void co_stream_free(CoStream *s)
{
    if (s) {
        tls_session_free(s->tls);
        close(s->fd);
        g_free(s);
    }
}

/* ---- reading ---- */

/* As recv(), but waits: bytes, 0 at the end, or -errno. */
static ssize_t co_receive(CoStream *s, void *buf, size_t len)
{
    for (;;) {
        ssize_t n = s->tls ? tls_read(s->tls, buf, len) : recv(s->fd, buf, len, 0);

        if (n >= 0) {
            return n;
        }
        if (errno == EAGAIN) {
            co_wait_readable(s->fd);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
}

int co_stream_read(CoStream *s, void *buf, size_t len)
{
    char *to = buf;
    bool begun = false;

    while (len) {
        size_t have = s->end - s->start;
        bool direct = !have && len >= BUFFER_BYTES;
        ssize_t n = 0;

        if (have) {
            n = (ssize_t)MIN(have, len);
            memcpy(to, s->buffer + s->start, (size_t)n);
            s->start += (size_t)n;
        } else {
            n = direct ? co_receive(s, to, len) : co_receive(s, s->buffer, BUFFER_BYTES);
            if (n <= 0) {
                return n ? (int)n : begun ? -ECONNRESET : -ENODATA;
            }
            if (!direct) {
                s->start = 0;
                s->end = (size_t)n;
                continue;
            }
        }
        begun = true;
        to += n;
        len -= (size_t)n;
    }
    return 0;
}

int co_stream_skip(CoStream *s, uint64_t len)
{
    char waste[4096];
    int ret = 0;

    while (len && ret == 0) {
        size_t piece = MIN(len, sizeof(waste));

        ret = co_stream_read(s, waste, piece);
        len -= piece;
        if (len % SKIP_TURN < sizeof(waste)) {
            co_pause();                /* a fast peer must not starve the loop */
        }
    }
    return ret;
}

size_t co_stream_buffered(const CoStream *s)
{
    return s->end - s->start;
}

/* ---- writing ---- */

static ssize_t send_some(CoStream *s, struct iovec *iov, int niov)
{
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)niov };

    if (s->tls) {
        return tls_write(s->tls, iov->iov_base, iov->iov_len);
    }
    return sendmsg(s->fd, &msg, MSG_NOSIGNAL);
}

int co_stream_write(CoStream *s, struct iovec *iov, int niov)
{
    for (;;) {
        ssize_t n;

        while (niov && !iov->iov_len) {
            iov++;
            niov--;
        }
        if (!niov) {
            return 0;
        }
        n = send_some(s, iov, niov);
        if (n < 0 && errno == EAGAIN) {
            co_wait_writable(s->fd);
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        while (n) {
            size_t piece = MIN((size_t)n, iov->iov_len);

            iov->iov_base = (char *)iov->iov_base + piece;
            iov->iov_len -= piece;
            n -= (ssize_t)piece;
            if (!iov->iov_len && n) {
                iov++;
                niov--;
            }
        }
    }
}

int co_stream_write_buf(CoStream *s, const void *buf, size_t len)
{
    struct iovec iov = { (void *)(uintptr_t)buf, len };

    return co_stream_write(s, &iov, 1);
}

void co_stream_write_now(CoStream *s, const void *buf, size_t len)
{
    struct iovec iov = { (void *)(uintptr_t)buf, len };

    if (send_some(s, &iov, 1) < 0) {
        co_stream_shutdown(s);
    }
}

/* ---- TLS, end ---- */

bool co_stream_start_tls(CoStream *s, TlsCreds *creds, const char *hostname, GError **error)
{
    g_autoptr(TlsSession) tls = NULL;

    if (co_stream_buffered(s)) {
        return error_set(error, "The peer sent data ahead of the TLS handshake");
    }
    tls = tls_session_new(creds, hostname, s->fd, error);
    if (!tls) {
        return false;
    }
    for (;;) {
        switch (tls_handshake(tls, error)) {
        case TLS_DONE:
            s->tls = g_steal_pointer(&tls);
            return true;
        case TLS_WANT_READ:
            co_wait_readable(s->fd);
            break;
        case TLS_WANT_WRITE:
            co_wait_writable(s->fd);
            break;
        case TLS_FAILED:
            return false;
        }
    }
}

bool co_stream_has_tls(const CoStream *s)
{
    return s->tls != NULL;
}

char *co_stream_peer_name(CoStream *s, GError **error)
{
    return tls_peer_name(s->tls, error);
}

void co_stream_shutdown(CoStream *s)
{
    shutdown(s->fd, SHUT_RDWR);
}
