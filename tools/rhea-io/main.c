/* SPDX-License-Identifier: MIT */
/*
 * rhea-io: reads and writes parts of an image by commands, as qemu-io does; for tests.
 *
 *     rhea-io -f qcow2 -c "write -P 0xa5 1M 64k" -c "read -P 0xa5 1M 64k" disk.qcow2
 *
 * Without -c, commands come from standard input.  The exit status is 1 when one failed.
 * Single threaded.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/thread.h"
#include "block/drive.h"
#include "block/driver.h"
#include "tools/objects.h"

#define LENGTH_MAX (1ull << 30)

typedef struct Io {
    BlockNode *node;
    BlockBackend *blk;
    bool failed, quit;
    unsigned pending;              /* aio_ commands under way */
} Io;

typedef struct Args {
    bool quiet, zero, unmap, fua, verbose, compressed;
    int pattern;                   /* -1: none given */
    uint64_t offset, length;
} Args;

static char *size_text(double value)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    unsigned i = 0;
    char text[64];
    char *dot;

    while (value >= 1024 && i + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        i++;
    }
    snprintf(text, sizeof(text), "%.3f", value);
    dot = strstr(text, ".000");
    if (dot) {
        *dot = '\0';
    }
    return g_strdup_printf("%s %s", text, units[i]);
}

static void report(const char *verb, const Args *a, int64_t begin_us)
{
    double sec = (double)MAX(g_get_monotonic_time() - begin_us, 1) / 1e6;
    g_autofree char *total = size_text((double)a->length);
    g_autofree char *rate = size_text((double)a->length / sec);

    if (!a->quiet) {
        printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n%s, 1 ops; %.4f sec "
               "(%s/sec and %.4f ops/sec)\n", verb, a->length, a->length, a->offset, total, sec,
               rate, 1 / sec);
    }
}

static bool fail(Io *io, const char *what, int ret)
{
    printf("%s failed: %s\n", what, strerror(-ret));
    io->failed = true;
    return false;
}

static bool complain(Io *io, GError *error)
{
    printf("%s\n", error->message);
    g_error_free(error);
    io->failed = true;
    return false;
}

static bool is_vector(const char *command)
{
    return g_str_has_suffix(command, "v") || g_str_has_prefix(command, "aio_");
}

/* [-flags] offset length, or several lengths */
static bool parse_range(Io *io, int argc, char **argv, Args *a)
{
    GError *error = NULL;
    uint64_t pattern;
    int i = 1;

    *a = (Args){ .pattern = -1 };
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        for (const char *p = argv[i] + 1; *p; p++) {
            switch (*p) {
            case 'q':
                a->quiet = true;
                break;
            case 'z':
                a->zero = true;
                break;
            case 'u':
                a->unmap = true;
                break;
            case 'f':
                a->fua = true;
                break;
            case 'v':
                a->verbose = true;
                break;
            case 'c':
                a->compressed = true;
                break;
            case 'P':
                if (p[1] || i + 1 >= argc ||
                    !parse_uint("-P", argv[i + 1], 0, 255, &pattern, &error)) {
                    return error ? complain(io, error) : fail(io, "-P needs a number; parsing",
                                                              -EINVAL);
                }
                a->pattern = (int)pattern;
                i++;
                p = "-";
                break;
            default:
                printf("%s: invalid option -- '%c'\n", argv[0], *p);
                io->failed = true;
                return false;
            }
        }
    }
    if (argc - i < 2 || (argc - i > 2 && !is_vector(argv[0]))) {
        printf("%s: expects offset and length\n", argv[0]);
        io->failed = true;
        return false;
    }
    if (!parse_size("offset", argv[i], 1, &a->offset, &error)) {
        return complain(io, error);
    }
    /* The pieces of a vector lie one behind the other, also in memory. */
    for (int k = i + 1; k < argc; k++) {
        uint64_t piece;

        if (!parse_size("length", argv[k], 1, &piece, &error)) {
            return complain(io, error);
        }
        a->length = MIN(piece, UINT64_MAX / 2) + MIN(a->length, UINT64_MAX / 2);
    }
    if (a->length > LENGTH_MAX && !a->zero && !g_str_equal(argv[0], "discard")) {
        printf("length cannot exceed %llu, given %s\n", LENGTH_MAX, argv[i + 1]);
        io->failed = true;
        return false;
    }
    return true;
}

static void dump(const uint8_t *buf, uint64_t offset, uint64_t length)
{
    for (uint64_t i = 0; i < length; i += 16) {
        printf("%08" PRIx64 ":  ", offset + i);
        for (uint64_t k = i; k < MIN(i + 16, length); k++) {
            printf("%02x ", buf[k]);
        }
        printf("\n");
    }
}

static void cmd_read(Io *io, int argc, char **argv)
{
    Args a;
    g_autofree uint8_t *buf = NULL;
    int64_t begin = g_get_monotonic_time();
    int ret;

    if (!parse_range(io, argc, argv, &a)) {
        return;
    }
    buf = g_malloc(a.length + 1);
    ret = blk_pread(io->blk, a.offset, buf, a.length);
    if (ret < 0) {
        fail(io, "read", ret);
        return;
    }
    for (uint64_t i = 0; a.pattern >= 0 && i < a.length; i++) {
        if (buf[i] != a.pattern) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                   a.offset, a.length);
            io->failed = true;
            break;
        }
    }
    if (a.verbose) {
        dump(buf, a.offset, a.length);
    }
    report("read", &a, begin);
}

static void cmd_write(Io *io, int argc, char **argv)
{
    Args a;
    g_autofree uint8_t *buf = NULL;
    int64_t begin = g_get_monotonic_time();
    int ret, flags;

    if (!parse_range(io, argc, argv, &a)) {
        return;
    }
    flags = (a.fua ? BLK_REQ_FUA : 0) | (a.unmap ? BLK_REQ_MAY_UNMAP : 0) |
            (a.compressed ? BLK_REQ_COMPRESSED : 0);
    if (a.zero) {
        ret = blk_write_zeroes(io->blk, a.offset, a.length, flags);
    } else {
        buf = g_malloc(a.length + 1);
        memset(buf, a.pattern >= 0 ? a.pattern : 0xcd, a.length);
        ret = blk_pwrite(io->blk, a.offset, buf, a.length, flags);
    }
    if (ret < 0) {
        fail(io, "write", ret);
        return;
    }
    report("wrote", &a, begin);
}

static void cmd_discard(Io *io, int argc, char **argv)
{
    Args a;
    int64_t begin = g_get_monotonic_time();
    int ret;

    if (!parse_range(io, argc, argv, &a)) {
        return;
    }
    ret = blk_discard(io->blk, a.offset, a.length);
    if (ret < 0) {
        fail(io, "discard", ret);
        return;
    }
    report("discard", &a, begin);
}

/* ---- requests that are waited for later ---- */

typedef struct Aio {
    Io *io;
    Args a;
    bool is_write;
    struct iovec iov;
    int64_t begin;
} Aio;

static void aio_done(void *opaque, int ret)
{
    Aio *r = opaque;
    const uint8_t *buf = r->iov.iov_base;

    r->io->pending--;
    if (ret < 0) {
        fail(r->io, r->is_write ? "aio_write" : "aio_read", ret);
    } else {
        for (size_t i = 0; !r->is_write && r->a.pattern >= 0 && i < r->a.length; i++) {
            if (buf[i] != r->a.pattern) {
                printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                       r->a.offset, r->a.length);
                r->io->failed = true;
                break;
            }
        }
        report(r->is_write ? "wrote" : "read", &r->a, r->begin);
    }
    g_free(r->iov.iov_base);
    g_free(r);
}

static void cmd_aio(Io *io, int argc, char **argv)
{
    Aio *r = g_new0(Aio, 1);

    if (!parse_range(io, argc, argv, &r->a)) {
        g_free(r);
        return;
    }
    r->io = io;
    r->is_write = g_str_equal(argv[0], "aio_write");
    r->begin = g_get_monotonic_time();
    io->pending++;
    if (r->is_write && r->a.zero) {
        blk_aio_write_zeroes(io->blk, r->a.offset, r->a.length,
                             r->a.unmap ? BLK_REQ_MAY_UNMAP : 0, aio_done, r);
        return;
    }
    r->iov = (struct iovec){ g_malloc(r->a.length + 1), r->a.length };
    if (r->is_write) {
        memset(r->iov.iov_base, r->a.pattern >= 0 ? r->a.pattern : 0xcd, r->a.length);
        blk_aio_pwritev(io->blk, r->a.offset, &r->iov, 1, r->a.fua ? BLK_REQ_FUA : 0, aio_done,
                        r);
    } else {
        blk_aio_preadv(io->blk, r->a.offset, &r->iov, 1, aio_done, r);
    }
}

static void cmd_aio_flush(Io *io, int argc, char **argv)
{
    while (io->pending) {
        event_loop_iterate(event_loop_main(), true);
    }
}

/* ---- what is allocated ---- */

typedef struct StatusCall {
    Io *io;
    uint64_t offset, bytes;
    BlockStatus status;
    int ret;
    bool done;
} StatusCall;

static void co_status(void *opaque)
{
    StatusCall *c = opaque;

    c->ret = co_node_status(c->io->node, c->offset, c->bytes, &c->status);
    c->done = true;
}

/* Of the image itself, not of what is below it. */
static bool is_allocated(Io *io, uint64_t offset, uint64_t bytes, bool *allocated, uint64_t *run)
{
    StatusCall c = { io, offset, bytes };

    coroutine_enter(coroutine_new(co_status, &c));
    while (!c.done) {
        event_loop_iterate(event_loop_main(), true);
    }
    *allocated = c.status.flags & BLK_STATUS_ALLOCATED;
    *run = MIN(c.status.bytes, bytes);
    return c.ret == 0 || fail(io, "block status", c.ret);
}

static void cmd_alloc(Io *io, int argc, char **argv)
{
    GError *error = NULL;
    uint64_t offset, bytes = 512, sum = 0;
    g_autofree char *text = NULL;

    if (argc < 2 || argc > 3) {
        printf("alloc: expects an offset, and a number of bytes\n");
        io->failed = true;
        return;
    }
    if (!parse_size("offset", argv[1], 1, &offset, &error) ||
        (argc == 3 && !parse_size("length", argv[2], 1, &bytes, &error))) {
        complain(io, error);
        return;
    }
    if (offset > blk_length(io->blk) || bytes > blk_length(io->blk) - offset) {
        fail(io, "alloc", -EIO);
        return;
    }
    for (uint64_t at = offset, n; at < offset + bytes; at += n) {
        bool allocated;

        if (!is_allocated(io, at, offset + bytes - at, &allocated, &n)) {
            return;
        }
        sum += allocated ? n : 0;
    }
    text = size_text((double)offset);
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, bytes, text);
}

static void cmd_map(Io *io, int argc, char **argv)
{
    uint64_t end = blk_length(io->blk), n;

    for (uint64_t at = 0; at < end; at += n) {
        g_autofree char *length = NULL;
        g_autofree char *start = NULL;
        bool allocated, next;
        uint64_t more;

        if (!is_allocated(io, at, end - at, &allocated, &n)) {
            return;
        }
        while (at + n < end) {
            if (!is_allocated(io, at + n, end - at - n, &next, &more)) {
                return;
            }
            if (next != allocated) {
                break;
            }
            n += more;
        }
        length = size_text((double)n);
        start = size_text((double)at);
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", length, n,
               allocated ? "   " : "not", start, at);
    }
}

static void cmd_flush(Io *io, int argc, char **argv)
{
    int ret = blk_flush(io->blk);

    if (ret < 0) {
        fail(io, "flush", ret);
    }
}

static void cmd_length(Io *io, int argc, char **argv)
{
    g_autofree char *text = size_text((double)blk_length(io->blk));

    printf("%s\n", text);
}

static void cmd_truncate(Io *io, int argc, char **argv)
{
    GError *error = NULL;
    uint64_t length;

    if (argc != 2) {
        printf("truncate: expects a length\n");
        io->failed = true;
    } else if (!parse_size("length", argv[1], 1, &length, &error) ||
               !blk_truncate(io->blk, length, "off", &error)) {
        complain(io, error);
    }
}

static void cmd_quit(Io *io, int argc, char **argv)
{
    io->quit = true;
}

static void cmd_help(Io *io, int argc, char **argv);

/* clang-format off */
static const struct {
    const char *name, *alias;
    void (*run)(Io *io, int argc, char **argv);
    const char *help;
} commands[] = {
    { "aio_flush", NULL, cmd_aio_flush, "-- waits for the aio_ requests" },
    { "aio_read", NULL, cmd_aio,     "[-q] [-P pattern] off len [len..] -- reads, and goes on" },
    { "aio_write", NULL, cmd_aio,    "[-fquz] [-P pattern] off len [len..] -- writes, and goes on" },
    { "alloc",    NULL, cmd_alloc,   "off [len] -- how much is allocated there" },
    { "discard",  "d", cmd_discard,  "[-q] off len -- discards a number of bytes" },
    { "flush",    "f", cmd_flush,    "-- flush all in-core file state to disk" },
    { "help",     "?", cmd_help,     "-- help for the commands" },
    { "length",   "l", cmd_length,   "-- gets the length of the current file" },
    { "map",      NULL, cmd_map,     "-- what is allocated" },
    { "quit",     "q", cmd_quit,     "-- exit the program" },
    { "read",     "r", cmd_read,     "[-qv] [-P pattern] off len -- reads a number of bytes" },
    { "readv",    "rv", cmd_read,    "[-qv] [-P pattern] off len [len..] -- reads several pieces" },
    { "truncate", "t", cmd_truncate, "len -- truncates the current file" },
    { "write",    "w", cmd_write,    "[-cfquz] [-P pattern] off len -- writes a number of bytes" },
    { "writev",   "wv", cmd_write,   "[-fq] [-P pattern] off len [len..] -- writes several pieces" },
};
/* clang-format on */

static void cmd_help(Io *io, int argc, char **argv)
{
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        printf("%s %s\n", commands[i].name, commands[i].help);
    }
}

static void run_command(Io *io, const char *line)
{
    g_auto(GStrv) argv = NULL;
    int argc;

    if (!g_shell_parse_argv(line, &argc, &argv, NULL)) {
        return;                        /* an empty line */
    }
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        if (g_str_equal(argv[0], commands[i].name) || g_strcmp0(argv[0], commands[i].alias) == 0) {
            commands[i].run(io, argc, argv);
            return;
        }
    }
    printf("command \"%s\" not found\n", argv[0]);
    io->failed = true;
}

static bool open_image(Io *io, const char *filename, NodeOpts *opts, int flags, bool share)
{
    GError *error = NULL;
    bool writable = flags & NODE_OPEN_RDWR;

    if (share) {
        node_opts_set(opts, "force-share", "on");
    }
    io->node = node_open(filename, opts, flags | NODE_OPEN_INLINE_IO, &error);
    io->blk = blk_new(NULL);
    if (!io->node || !blk_insert_node(io->blk, io->node, writable, &error)) {
        error_report("can't open%s%s: %s", filename ? " device " : "", filename ? filename : "",
                     error->message);
        g_error_free(error);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "cmd", 1, NULL, 'c' }, { "format", 1, NULL, 'f' }, { "read-only", 0, NULL, 'r' },
        { "cache", 1, NULL, 't' }, { "force-share", 0, NULL, 'U' }, { "nocache", 0, NULL, 'n' },
        { "image-opts", 0, NULL, 256 }, { "discard", 1, NULL, 'd' }, { "help", 0, NULL, 'h' },
        { "version", 0, NULL, 'V' }, { "object", 1, NULL, 257 }, { 0 },
    };
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    g_autoptr(NodeOpts) opts = node_opts_new();
    bool direct = false, no_flush = false, through = false, share = false, image_opts = false;
    int flags = NODE_OPEN_RDWR, c;
    GError *error = NULL;
    Io io = { 0 };

    thread_set_main();
    report_set_program(argv[0]);
    node_opts_set(opts, "discard", "unmap");
    while ((c = getopt_long(argc, argv, "hVc:d:f:rnt:U", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            g_ptr_array_add(lines, optarg);
            break;
        case 'd':
            node_opts_set(opts, "discard", optarg);
            break;
        case 'f':
            node_opts_set(opts, "driver", optarg);
            break;
        case 'r':
            flags = 0;
            break;
        case 'n':
            direct = true;
            break;
        case 't':
            if (!cache_mode_parse(optarg, &direct, &no_flush, &through, &error)) {
                error_report_free(error);
                return 1;
            }
            break;
        case 'U':
            share = true;
            break;
        case 256:
            image_opts = true;
            break;
        case 257:
            if (!tool_object_add(optarg, &error)) {
                error_report_free(error);
                return 1;
            }
            break;
        case 'h':
            printf("Usage: %s [-hV] [-rnU] [-f fmt] [-t cache] [-d discard] [-c cmd]... "
                   "[--object def]... [--image-opts] file\n", report_program());
            return 0;
        case 'V':
            printf("%s version 7.2.0 (rhea %s)\n", report_program(), RHEA_VERSION);
            return 0;
        default:
            return 1;
        }
    }
    if (optind != argc - 1) {
        error_report("Expecting one image file name");
        return 1;
    }
    node_opts_set(opts, "cache.direct", direct ? "on" : "off");
    node_opts_set(opts, "cache.no-flush", no_flush ? "on" : "off");
    if (image_opts && !node_opts_add_keyval(opts, argv[optind], NULL, &error)) {
        error_report_free(error);
        return 1;
    }
    if (!open_image(&io, image_opts ? NULL : argv[optind], opts, flags, share)) {
        return 1;
    }
    blk_set_write_cache(io.blk, !through);
    for (unsigned i = 0; i < lines->len && !io.quit; i++) {
        run_command(&io, lines->pdata[i]);
    }
    while (!lines->len && !io.quit) {
        char line[4096];

        printf("%s> ", report_program());
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin)) {
            break;
        }
        run_command(&io, line);
    }
    cmd_aio_flush(&io, 0, NULL);
    if (flags && node_flush(io.node) < 0) {
        io.failed = true;
    }
    blk_unref(io.blk);
    node_unref(io.node);
    return fflush(stdout) == 0 && !io.failed ? 0 : 1;
}
