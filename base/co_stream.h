/* SPDX-License-Identifier: MIT */
/*
 * A connected stream socket as coroutines see it: straight reads and writes, perhaps through TLS.
 *
 *     CoStream *s = co_stream_new(fd);                   // owns the descriptor
 *     if (co_stream_read(s, header, 28) == 0) { ... }    // all of it, or an error
 *     co_stream_write(s, iov, 2);
 *
 * Results are 0 or -errno; the end of the stream is -ENODATA before the first byte of a read and
 * -ECONNRESET later.  Reads are buffered, so that small ones cost no call each.
 *
 * Threads: one coroutine may read while another writes, both of one loop; the next ones may be
 * of another loop.  co_stream_shutdown() may be called from any thread while the stream exists.
 */
#ifndef BASE_CO_STREAM_H
#define BASE_CO_STREAM_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/tls.h"

typedef struct CoStream CoStream;

CoStream *co_stream_new(int fd);
void co_stream_free(CoStream *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CoStream, co_stream_free)

int co_stream_read(CoStream *s, void *buf, size_t len);
/* Reads LEN bytes and forgets them. */
int co_stream_skip(CoStream *s, uint64_t len);
/* Changes the vector. */
int co_stream_write(CoStream *s, struct iovec *iov, int niov);
int co_stream_write_buf(CoStream *s, const void *buf, size_t len);
/* What can be sent without waiting, for good-byes. */
void co_stream_write_now(CoStream *s, const void *buf, size_t len);
/* Bytes that were received but not read yet. */
size_t co_stream_buffered(const CoStream *s);
/* Handshake; nothing may be buffered: what came before it is not to be trusted after it. */
bool co_stream_start_tls(CoStream *s, TlsCreds *creds, const char *hostname, GError **error);
bool co_stream_has_tls(const CoStream *s);
/* tls_peer_name() of a stream that has TLS. */
char *co_stream_peer_name(CoStream *s, GError **error);
/* Both directions end now: whoever waits gets an error. */
void co_stream_shutdown(CoStream *s);

#endif
