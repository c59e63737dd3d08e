/* SPDX-License-Identifier: MIT */
/* Back ends without ceremony: null, file, pipe, ringbuf. */
#include "base/error.h"
#include "base/fdset.h"
#include "chardev/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* -------- null -------- */

static bool null_open(Chardev *chr, KeyVal *opts, GError **error)
{
    chr->open = true;
    return true;
}

static unsigned null_write(Chardev *chr, const CharFrontend *fe, const uint8_t *data, unsigned len)
{
    return len;
}

const ChardevKind chardev_null = {
    .name = "null",
    .help = "swallows output, has no input",
    .size = sizeof(Chardev),
    .open = null_open,
    .write = null_write,
};

/* -------- file -------- */

static bool file_open(Chardev *chr, KeyVal *opts, GError **error)
{
    const char *path = keyval_get(opts, "path");
    const char *input = keyval_get(opts, "input-path");
    int in = -1, out;
    bool append;

    if (!path) {
        return error_set(error, "chardev '%s': file needs path=PATH", chr->id);
    }
    if (!keyval_get_bool(opts, "append", false, &append, error)) {
        return false;
    }
    out = host_open(path, O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC), 0666);
    if (out < 0) {
        return error_set_errno(error, errno, "Cannot open '%s' for chardev '%s'", path, chr->id);
    }
    if (input) {
        in = host_open(input, O_RDONLY, 0);
        if (in < 0) {
            error_set_errno(error, errno, "Cannot open '%s' for chardev '%s'", input, chr->id);
            close(out);
            return false;
        }
    }
    chardev_set_stream(chr, in, out, true);
    chr->filename = g_strdup("file");
    chr->open = true;
    return true;
}

const ChardevKind chardev_file = {
    .name = "file",
    .help = "path=PATH[,append=on|off][,input-path=PATH]",
    .keys = "path append input-path",
    .size = sizeof(Chardev),
    .open = file_open,
};

/* -------- pipe: PATH.in and PATH.out, or PATH for both ways -------- */

static bool pipe_open(Chardev *chr, KeyVal *opts, GError **error)
{
    const char *path = keyval_get(opts, "path");
    g_autofree char *in_path = NULL, *out_path = NULL;
    int in, out;

    if (!path) {
        return error_set(error, "chardev '%s': pipe needs path=PATH", chr->id);
    }
    in_path = g_strdup_printf("%s.in", path);
    out_path = g_strdup_printf("%s.out", path);
    /* Read and write, so that neither open() nor the loop depends on somebody at the other end. */
    in = open(in_path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    out = open(out_path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (in < 0 || out < 0) {
        if (in >= 0) {
            close(in);
        }
        if (out >= 0) {
            close(out);
        }
        in = out = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (in < 0) {
            return error_set_errno(error, errno,
                                   "Cannot open '%s' or '%s.in' and '%s.out' for chardev '%s' "
                                   "(make them with mkfifo)", path, path, path, chr->id);
        }
    }
    chardev_set_stream(chr, in, out, true);
    chr->filename = g_strdup("pipe");
    chr->open = true;
    return true;
}

const ChardevKind chardev_pipe = {
    .name = "pipe",
    .help = "path=PATH (PATH.in and PATH.out are FIFOs)",
    .keys = "path",
    .size = sizeof(Chardev),
    .open = pipe_open,
};

/* -------- ringbuf: keeps the last bytes for QMP ringbuf-read -------- */

#define RINGBUF_MAX (64u << 20)

typedef struct RingChardev {
    Chardev chr;
    uint8_t *ring;
    uint64_t size; /* a power of two */
    uint64_t prod, cons; /* free running; under chr.lock */
} RingChardev;

static bool ring_open(Chardev *chr, KeyVal *opts, GError **error)
{
    RingChardev *r = (RingChardev *)chr;

    if (!keyval_get_size(opts, "size", 65536, &r->size, error)) {
        return false;
    }
    if (!is_pow2(r->size) || r->size > RINGBUF_MAX) {
        return error_set(error, "chardev '%s': ringbuf size %" G_GUINT64_FORMAT
                         " must be a power of two up to 64M", chr->id, r->size);
    }
    r->ring = g_malloc(r->size);
    chr->open = true;
    return true;
}

static void ring_close(Chardev *chr)
{
    g_free(((RingChardev *)chr)->ring);
}

static unsigned ring_write(Chardev *chr, const CharFrontend *fe, const uint8_t *data, unsigned len)
{
    RingChardev *r = (RingChardev *)chr;
    MUTEX_SCOPE(&chr->lock);

    for (unsigned i = 0; i < len; i++) {
        r->ring[r->prod++ & (r->size - 1)] = data[i];
    }
    if (r->prod - r->cons > r->size) {
        r->cons = r->prod - r->size; /* the oldest are lost */
    }
    return len;
}

const ChardevKind chardev_ringbuf = {
    .name = "ringbuf",
    .alias = "memory",
    .help = "[size=SIZE] (a power of two; read by QMP ringbuf-read)",
    .keys = "size",
    .size = sizeof(RingChardev),
    .open = ring_open,
    .close = ring_close,
    .write = ring_write,
};

static RingChardev *as_ring(Chardev *chr, GError **error)
{
    if (chr->kind != &chardev_ringbuf) {
        error_set(error, "Chardev '%s' is not a ringbuf", chr->id);
        return NULL;
    }
    return (RingChardev *)chr;
}

GByteArray *chardev_ringbuf_read(Chardev *chr, size_t max, GError **error)
{
    RingChardev *r = as_ring(chr, error);
    GByteArray *out = NULL;

    if (r) {
        MUTEX_SCOPE(&chr->lock);
        out = g_byte_array_new();
        while (out->len < max && r->cons != r->prod) {
            g_byte_array_append(out, &r->ring[r->cons++ & (r->size - 1)], 1);
        }
    }
    return out;
}

bool chardev_ringbuf_write(Chardev *chr, const void *data, size_t len, GError **error)
{
    if (!as_ring(chr, error)) {
        return false;
    }
    ring_write(chr, NULL, data, len);
    return true;
}
