/* SPDX-License-Identifier: MIT */
/*
 * rhea-io: the commands that read, write and discard, and those that go on meanwhile.
 * Missing: -b, the state of a machine in a snapshot.
 * Single threaded.
 */
#include "tools/rhea-io/io.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/parse.h"

/* Of one request; what a 32-bit length holds, in sectors. */
#define LENGTH_MAX 2147483136ull
#define MISALIGN 16

typedef struct Args {
    bool quiet, machine, zero, unmap, fua, verbose, compressed, no_fallback, invalid;
    int pattern;                   /* -1: none given */
    const char *source;            /* a file with the pattern */
    bool has_check_start, has_check_length;
    uint64_t check_start, check_length;   /* of -P: which part is compared */
    uint64_t offset, length;
} Args;

/* ---- arguments ---- */

static bool is_vector(const IoCommand *c)
{
    return c->max == IO_ANY_COUNT;
}

static bool is_read(const IoCommand *c)
{
    return g_str_has_prefix(c->name, "read") || g_str_equal(c->name, "aio_read");
}

static bool one_option(const IoCommand *c, Args *a, int letter)
{
    GError *error = NULL;
    uint64_t pattern;

    switch (letter) {
    case 'q':
        a->quiet = true;
        return true;
    case 'C':
        a->machine = true;
        return true;
    case 'z':
        a->zero = true;
        return true;
    case 'u':
        a->unmap = true;
        return true;
    case 'n':
        a->no_fallback = true;
        return true;
    case 'f':
        a->fua = true;
        return true;
    case 'v':
        a->verbose = true;
        return true;
    case 'c':
        a->compressed = true;
        return true;
    case 'i':
        a->invalid = true;
        return true;
    case 'p':                          /* from the days before aio */
        return true;
    case 'P':
        if (!parse_uint("-P", optarg, 0, 255, &pattern, &error)) {
            g_clear_error(&error);
            printf("%s is not a valid pattern byte\n", optarg);
            return false;
        }
        a->pattern = (int)pattern;
        return true;
    case 'l':
        a->has_check_length = true;
        return io_parse_size("-l", optarg, &a->check_length);
    case 's':
        if (!is_read(c)) {
            a->source = optarg;
            return true;
        }
        a->has_check_start = true;
        return io_parse_size("-s", optarg, &a->check_start);
    default:
        io_print_usage(c);
        return false;
    }
}

/* Combinations that make no sense. */
static bool check_options(const IoCommand *c, Args *a)
{
    if ((a->has_check_start || a->has_check_length) && a->pattern < 0) {
        io_print_usage(c);
        return false;
    }
    if (a->zero + (a->pattern >= 0) + (a->source != NULL) > 1 && g_str_equal(c->name, "write")) {
        printf("Only one of -z, -P, and -s can be specified at the same time\n");
        return false;
    }
    if (a->unmap && !a->zero) {
        printf("-u requires -z to be specified\n");
        return false;
    }
    if (a->no_fallback && !a->zero) {
        printf("-n requires -z to be specified\n");
        return false;
    }
    return true;
}

static bool parse_range(const IoCommand *c, const char *letters, int argc, char **argv, Args *a)
{
    int letter;

    *a = (Args){ .pattern = -1 };
    optind = 0;                        /* getopt() begins again */
    while ((letter = getopt(argc, argv, letters)) != -1) {
        if (!one_option(c, a, letter)) {
            return false;
        }
    }
    if (argc - optind < 2 || (argc - optind > 2 && !is_vector(c))) {
        io_print_usage(c);
        return false;
    }
    if (!check_options(c, a) || !io_parse_size("offset", argv[optind], &a->offset)) {
        return false;
    }
    /* The pieces of a vector lie one behind the other, also in memory. */
    for (int i = optind + 1; i < argc; i++) {
        uint64_t piece;

        if (!io_parse_size("length", argv[i], &piece)) {
            return false;
        }
        a->length = MIN(piece, UINT64_MAX / 2) + MIN(a->length, UINT64_MAX / 2);
    }
    if (a->length > LENGTH_MAX && !a->no_fallback) {
        printf("length cannot exceed %llu%s, given %s\n", LENGTH_MAX,
               g_str_equal(c->name, "write") ? " without -n" : "", argv[optind + 1]);
        return false;
    }
    if (a->pattern >= 0 && is_read(c)) {
        a->check_length = a->has_check_length ? a->check_length
                                              : a->length - MIN(a->check_start, a->length);
        if (a->check_start > a->length || a->check_length > a->length - a->check_start) {
            printf("pattern verification range exceeds end of read data\n");
            return false;
        }
    }
    return true;
}

static int write_flags(const Args *a)
{
    return (a->fua ? BLK_REQ_FUA : 0) | (a->unmap ? BLK_REQ_MAY_UNMAP : 0) |
           (a->no_fallback ? BLK_REQ_NO_FALLBACK : 0) |
           (a->compressed && !a->zero ? BLK_REQ_COMPRESSED : 0);
}

/* ---- buffers ---- */

typedef struct Buffer {
    uint8_t *memory, *data;
} Buffer;

static bool buffer_init(Buffer *b, const Io *io, uint64_t length)
{
    b->memory = g_try_malloc(length + MISALIGN + 1);
    b->data = b->memory ? b->memory + (io->misalign ? MISALIGN : 0) : NULL;
    return b->memory || io_fail("allocating a buffer", -ENOMEM);
}

static bool buffer_fill(Buffer *b, const Args *a)
{
    g_autofree char *pattern = NULL;
    GError *error = NULL;
    size_t period = 0;

    if (!a->source) {
        memset(b->data, a->pattern >= 0 ? a->pattern : 0xcd, a->length);
        return true;
    }
    if (!g_file_get_contents(a->source, &pattern, &period, &error)) {
        return io_complain(error);
    }
    if (!period) {
        printf("%s: file is empty\n", a->source);
        return false;
    }
    for (uint64_t at = 0; at < a->length; at += period) {
        memcpy(b->data + at, pattern, MIN(period, a->length - at));
    }
    return true;
}

static void buffer_dump(const Buffer *b, const Args *a)
{
    for (uint64_t i = 0; i < a->length; i += 16) {
        uint64_t end = MIN(i + 16, a->length);

        printf("%08" PRIx64 ":  ", a->offset + i);
        for (uint64_t k = i; k < end; k++) {
            printf("%02x ", b->data[k]);
        }
        printf(" ");
        for (uint64_t k = i; k < end; k++) {
            printf("%c", g_ascii_isprint(b->data[k]) ? b->data[k] : '.');
        }
        printf("\n");
    }
}

static bool buffer_verify(const Buffer *b, const Args *a)
{
    for (uint64_t i = 0; a->pattern >= 0 && i < a->check_length; i++) {
        if (b->data[a->check_start + i] != a->pattern) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                   a->offset + a->check_start, a->check_length);
            return false;
        }
    }
    return true;
}

/* ---- results ---- */

static char *time_text(int64_t us, bool machine)
{
    unsigned hundredths = (unsigned)(us / 10000 % 100), sec = (unsigned)(us / 1000000 % 60);
    unsigned minutes = (unsigned)(us / 60000000 % 60), hours = (unsigned)(us / 3600000000);

    return hours || minutes || machine
               ? g_strdup_printf("%u:%02u:%02u.%02u", hours, minutes, sec, hundredths)
               : g_strdup_printf("%02u.%02u sec", sec, hundredths);
}

static void report(const char *verb, const Args *a, int64_t begin_us)
{
    int64_t us = MAX(g_get_monotonic_time() - begin_us, 1);
    double sec = (double)us / 1e6;
    g_autofree char *total = io_size_text((double)a->length);
    g_autofree char *rate = io_size_text((double)a->length / sec);
    g_autofree char *spent = time_text(us, a->machine);

    if (a->quiet) {
        return;
    }
    if (a->machine) {
        printf("%" PRIu64 ",1,%s,%.3f,%.3f\n", a->length, spent, (double)a->length / sec, 1 / sec);
        return;
    }
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n%s, 1 ops; %s (%s/sec and "
           "%.4f ops/sec)\n", verb, a->length, a->length, a->offset, total, spent, rate, 1 / sec);
}

/* ---- commands ---- */

static bool cmd_read(Io *io, const IoCommand *c, int argc, char **argv)
{
    Args a;
    Buffer b;
    int64_t begin = g_get_monotonic_time();
    bool ok;
    int ret;

    if (!parse_range(c, is_vector(c) ? "CP:qv" : "Cl:pP:qs:v", argc, argv, &a) ||
        !buffer_init(&b, io, a.length)) {
        return false;
    }
    ret = blk_pread(io->blk, a.offset, b.data, a.length);
    ok = ret < 0 ? io_fail("read", ret) : buffer_verify(&b, &a);
    if (ret >= 0) {
        if (a.verbose) {
            buffer_dump(&b, &a);
        }
        report("read", &a, begin);
    }
    g_free(b.memory);
    return ok;
}

static bool cmd_write(Io *io, const IoCommand *c, int argc, char **argv)
{
    Args a;
    Buffer b = { NULL, NULL };
    int64_t begin = g_get_monotonic_time();
    bool ok;
    int ret = 0;

    if (!parse_range(c, is_vector(c) ? "CfP:q" : "cCfnpP:qs:uz", argc, argv, &a)) {
        return false;
    }
    ok = a.zero || (buffer_init(&b, io, a.length) && buffer_fill(&b, &a));
    if (ok) {
        ret = a.zero ? blk_write_zeroes(io->blk, a.offset, a.length, write_flags(&a))
                     : blk_pwrite(io->blk, a.offset, b.data, a.length, write_flags(&a));
        ok = ret >= 0 || io_fail("write", ret);
    }
    if (ok) {
        report("wrote", &a, begin);
    }
    g_free(b.memory);
    return ok;
}

static bool cmd_discard(Io *io, const IoCommand *c, int argc, char **argv)
{
    Args a;
    int64_t begin = g_get_monotonic_time();
    int ret;

    if (!parse_range(c, "Cq", argc, argv, &a)) {
        return false;
    }
    ret = blk_discard(io->blk, a.offset, a.length);
    if (ret < 0) {
        return io_fail("discard", ret);
    }
    report("discard", &a, begin);
    return true;
}

/* ---- requests that are waited for later ---- */

typedef struct Aio {
    Io *io;
    Args a;
    bool is_write;
    Buffer buffer;
    struct iovec iov;
    int64_t begin;
} Aio;

/* The command has succeeded long ago: the exit status knows nothing of what happens here. */
static void aio_done(void *opaque, int ret)
{
    Aio *r = opaque;

    r->io->pending--;
    if (ret < 0) {
        io_fail(r->is_write ? "aio_write" : "aio_read", ret);
    } else {
        if (!r->is_write) {
            buffer_verify(&r->buffer, &r->a);
        }
        if (r->a.verbose) {
            buffer_dump(&r->buffer, &r->a);
        }
        report(r->is_write ? "wrote" : "read", &r->a, r->begin);
    }
    g_free(r->buffer.memory);
    g_free(r);
}

static bool cmd_aio(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autofree Aio *r = g_new0(Aio, 1);
    bool write = g_str_equal(c->name, "aio_write");

    if (!parse_range(c, write ? "CfiP:quz" : "CiP:qv", argc, argv, &r->a)) {
        return false;
    }
    if (r->a.invalid) {
        printf("injecting invalid %s request\n", write ? "write" : "read");
        blk_acct_invalid(io->blk, write ? BLK_ACCT_WRITE : BLK_ACCT_READ);
        return true;
    }
    r->io = io;
    r->is_write = write;
    r->begin = g_get_monotonic_time();
    if (!r->a.zero) {
        if (!buffer_init(&r->buffer, io, r->a.length)) {
            return false;
        }
        r->iov = (struct iovec){ r->buffer.data, r->a.length };
        if (write && !buffer_fill(&r->buffer, &r->a)) {
            g_free(r->buffer.memory);
            return false;
        }
    }
    io->pending++;
    if (r->a.zero) {
        blk_aio_write_zeroes(io->blk, r->a.offset, r->a.length, write_flags(&r->a), aio_done, r);
    } else if (write) {
        blk_aio_pwritev(io->blk, r->a.offset, &r->iov, 1, write_flags(&r->a), aio_done, r);
    } else {
        blk_aio_preadv(io->blk, r->a.offset, &r->iov, 1, aio_done, r);
    }
    r = NULL;                          /* aio_done() frees it */
    return true;
}

void io_drain(Io *io)
{
    while (io->pending) {
        event_loop_iterate(event_loop_main(), true);
    }
}

static bool cmd_aio_flush(Io *io, const IoCommand *c, int argc, char **argv)
{
    io_drain(io);
    return true;
}

/* ---- the table ---- */

/* clang-format off */
#define HELP_STATS  " -C, statistics as bytes,requests,time,bytes/s,requests/s", \
                    " -q, no statistics"
#define HELP_CHECK  " -P, what each byte should be; others are a failure"
#define HELP_DUMP   " -v, show the bytes"
#define HELP_INVAL  " -i, make no request, but count an invalid one"

static const char *const help_read[] = {
    HELP_STATS, HELP_CHECK, " -s, with -P: where the comparison begins, counted from off",
    " -l, with -P: how many bytes are compared", HELP_DUMP, " -p, does nothing", NULL,
};
static const char *const help_readv[] = { HELP_STATS, HELP_CHECK, HELP_DUMP, NULL };
static const char *const help_aio_read[] = {
    HELP_STATS, HELP_CHECK, HELP_DUMP, HELP_INVAL,
    "A failure is told of when the request is done: see aio_flush.", NULL,
};
#define HELP_FILL   " -P, what each byte becomes (0xcd)"
#define HELP_FUA    " -f, done only when it is on stable storage"
#define HELP_ZERO   " -z, write zeroes, by a request for that", " -u, with -z: it may become a hole"
static const char *const help_write[] = {
    HELP_STATS, HELP_FILL, " -s, a file whose content is repeated", HELP_FUA, HELP_ZERO,
    " -n, with -z: fail where it would not be fast", " -c, write it compressed", " -p, does nothing",
    NULL,
};
static const char *const help_writev[] = { HELP_STATS, HELP_FILL, HELP_FUA, NULL };
static const char *const help_aio_write[] = {
    HELP_STATS, HELP_FILL, HELP_FUA, HELP_ZERO, HELP_INVAL,
    "A failure is told of when the request is done: see aio_flush.", NULL,
};
static const char *const help_discard[] = { HELP_STATS, NULL };

const IoCommand io_rw_commands[] = {
    { "aio_flush", NULL, 0, 0, IO_NEEDS_IMAGE, "", "waits for the aio_ requests", NULL,
      cmd_aio_flush },
    { "aio_read", NULL, 2, IO_ANY_COUNT, IO_NEEDS_IMAGE, "[-Ciqv] [-P pattern] off len [len..]",
      "reads, and goes on", help_aio_read, cmd_aio },
    { "aio_write", NULL, 2, IO_ANY_COUNT, IO_NEEDS_IMAGE, "[-Cfiquz] [-P pattern] off len [len..]",
      "writes, and goes on", help_aio_write, cmd_aio },
    { "discard", "d", 2, 4, IO_NEEDS_IMAGE, "[-Cq] off len", "discards a number of bytes",
      help_discard, cmd_discard },
    { "read", "r", 2, 12, IO_NEEDS_IMAGE, "[-Cpqv] [-P pattern [-s off] [-l len]] off len",
      "reads a number of bytes", help_read, cmd_read },
    { "readv", "rv", 2, IO_ANY_COUNT, IO_NEEDS_IMAGE, "[-Cqv] [-P pattern] off len [len..]",
      "reads several pieces", help_readv, cmd_read },
    { "write", "w", 2, 14, IO_NEEDS_IMAGE, "[-cCfnpquz] [-P pattern | -s source_file] off len",
      "writes a number of bytes", help_write, cmd_write },
    { "writev", "wv", 2, IO_ANY_COUNT, IO_NEEDS_IMAGE, "[-Cfq] [-P pattern] off len [len..]",
      "writes several pieces", help_writev, cmd_write },
    { NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL },
};
/* clang-format on */
