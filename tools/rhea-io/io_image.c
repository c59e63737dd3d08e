/* SPDX-License-Identifier: MIT */
/*
 * rhea-io: opening and closing, and the commands about the image as a whole.
 * Missing: break, resume, wait_break and remove_break (blkdebug cannot suspend requests).
 * Single threaded.
 */
#include "tools/rhea-io/io.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/parse.h"
#include "block/drive.h"

/* ---- opening ---- */

bool io_set_cache(IoOpen *how, const char *mode)
{
    GError *error = NULL;

    if (!cache_mode_parse(mode, &how->direct, &how->no_flush, &how->write_through, &error)) {
        g_clear_error(&error);
        error_report("Invalid cache option: %s", mode);
        return false;
    }
    return true;
}

bool io_set_aio(IoOpen *how, const char *mode)
{
    if (!g_str_equal(mode, "threads") && !g_str_equal(mode, "native") &&
        !g_str_equal(mode, "io_uring")) {
        error_report("Invalid aio option: %s", mode);
        return false;
    }
    how->aio = mode;
    return true;
}

/* With the overlay and the filter that HOW asks for on top. */
static BlockNode *open_node(const char *filename, const IoOpen *how, GError **error)
{
    g_autoptr(NodeOpts) opts = how->opts ? node_opts_copy(how->opts) : node_opts_new();
    int flags = how->read_only || how->snapshot ? 0 : NODE_OPEN_RDWR;
    BlockNode *node, *top;

    node_opts_default(opts, "discard", how->discard ? how->discard : "unmap");
    node_opts_default(opts, "cache.direct", how->direct ? "on" : "off");
    node_opts_default(opts, "cache.no-flush", how->no_flush ? "on" : "off");
    if (how->aio) {
        node_opts_set(opts, "file.aio", how->aio);
    }
    if (how->share) {
        node_opts_set(opts, "force-share", "on");
    }
    node = node_open(filename, opts, flags | (how->aio ? 0 : NODE_OPEN_INLINE_IO), error);
    if (node && how->snapshot) {
        top = drive_overlay(node, error);
        node_unref(node);
        node = top;
    }
    if (node && how->copy_on_read) {
        g_autoptr(NodeOpts) filter = node_opts_new();

        node_opts_set(filter, "driver", "copy-on-read");
        top = how->read_only ? NULL : node_insert_filter(node, filter, error);
        if (how->read_only) {
            error_set(error, "Can't use copy-on-read on read-only device");
        }
        node_unref(node);
        node = top;
    }
    return node;
}

bool io_open_image(Io *io, const char *filename, const IoOpen *how)
{
    GError *error = NULL;

    io->node = open_node(filename, how, &error);
    io->blk = blk_new(NULL);
    if (!io->node || !blk_insert_node(io->blk, io->node, !how->read_only, &error)) {
        error_report("can't open%s%s: %s", filename ? " device " : "", filename ? filename : "",
                     error->message);
        g_error_free(error);
        node_unref(g_steal_pointer(&io->node));
        blk_unref(g_steal_pointer(&io->blk));
        return false;
    }
    blk_set_write_cache(io->blk, !how->write_through);
    return true;
}

void io_close_image(Io *io)
{
    int ret;

    if (io->node) {                    /* what breakpoints hold would never end */
        node_debug(io->node, NODE_DEBUG_RESUME, NULL, NULL);
    }
    io_drain(io);
    if (!io->node) {
        return;
    }
    ret = node_is_read_only(io->node) ? 0 : node_flush(io->node);
    if (ret < 0) {
        io->failed = !io_fail("flush", ret);
    }
    blk_unref(g_steal_pointer(&io->blk));
    node_unref(g_steal_pointer(&io->node));
}

static bool cmd_open(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    IoOpen how = { .opts = opts };
    GError *error = NULL;
    int letter;

    optind = 0;
    while ((letter = getopt(argc, argv, "rsCnkUi:t:d:o:")) != -1) {
        switch (letter) {
        case 'r':
            how.read_only = true;
            break;
        case 's':
            how.snapshot = true;
            break;
        case 'C':
            how.copy_on_read = true;
            break;
        case 'U':
            how.share = true;
            break;
        case 'd':
            how.discard = optarg;
            break;
        case 'n':
        case 't':
            if (!io_set_cache(&how, letter == 'n' ? "none" : optarg)) {
                return false;
            }
            break;
        case 'k':
        case 'i':
            if (!io_set_aio(&how, letter == 'k' ? "native" : optarg)) {
                return false;
            }
            break;
        case 'o':
            if (!node_opts_add_keyval(opts, optarg, NULL, &error)) {
                return io_complain(error);
            }
            break;
        default:
            io_print_usage(c);
            return false;
        }
    }
    if (io->node) {
        error_report("file open already, try 'help close'");
        return false;
    }
    if (argc - optind > 1 || (argc == optind && node_opts_empty(opts))) {
        io_print_usage(c);
        return false;
    }
    return io_open_image(io, argv[optind], &how);
}

static bool cmd_close(Io *io, const IoCommand *c, int argc, char **argv)
{
    io_close_image(io);
    return !io->failed;
}

/* OPTS: the changes; what is not named stays as it was. */
static bool reopen_with(Io *io, const NodeOpts *changes, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_copy(io->node->options);
    g_autoptr(NodeOpts) left = node_opts_copy(changes);
    NodeOpts *list[] = { opts };
    const char *key;

    while ((key = node_opts_any_key(left)) != NULL) {
        g_autofree char *name = g_strdup(key);
        g_autofree char *value = node_opts_take(left, name);

        node_opts_set(opts, name, value);
    }
    node_opts_set(opts, "node-name", node_name(io->node));
    node_opts_set(opts, "driver", node_format(io->node));
    node_opts_default(opts, "read-only", node_is_read_only(io->node) ? "on" : "off");
    if (node_backing(io->node) && !node_opts_get(opts, "backing.driver")) {
        node_opts_default(opts, "backing", node_name(node_backing(io->node)));
    }
    return node_reopen(list, 1, error);
}

static bool reopen_image(Io *io, NodeOpts *changes, bool writable, GError **error)
{
    bool was = blk_is_writable(io->blk);
    bool ok;

    /* The backend's wish to write stands in the way of read-only=on. */
    blk_remove_node(io->blk);
    ok = reopen_with(io, changes, error);
    if (!blk_insert_node(io->blk, io->node, ok ? writable : was, ok ? error : NULL)) {
        io->quit = true;               /* an image that nobody uses would be of no use */
        return false;
    }
    return ok;
}

static bool cmd_reopen(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autoptr(NodeOpts) changes = node_opts_new();
    bool writable = blk_is_writable(io->blk), access_given = false, cache_given = false;
    IoOpen how = { .write_through = !blk_write_cache(io->blk) };
    GError *error = NULL;
    int letter;

    optind = 0;
    while ((letter = getopt(argc, argv, "c:o:rw")) != -1) {
        switch (letter) {
        case 'r':
        case 'w':
            if (access_given) {
                error_report("Only one -r/-w option may be given");
                return false;
            }
            access_given = true;
            writable = letter == 'w';
            node_opts_set(changes, "read-only", writable ? "off" : "on");
            break;
        case 'c':
            if (!io_set_cache(&how, optarg)) {
                return false;
            }
            cache_given = true;
            node_opts_set(changes, "cache.direct", how.direct ? "on" : "off");
            node_opts_set(changes, "cache.no-flush", how.no_flush ? "on" : "off");
            break;
        case 'o':
            if (!node_opts_add_keyval(changes, optarg, NULL, &error)) {
                return io_complain(error);
            }
            break;
        default:
            io_print_usage(c);
            return false;
        }
    }
    if (optind != argc) {
        io_print_usage(c);
        return false;
    }
    io_drain(io);
    if (!reopen_image(io, changes, writable, &error)) {
        error_report_free(error);
        return false;
    }
    if (cache_given) {
        blk_set_write_cache(io->blk, !how.write_through);
    }
    return true;
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
    return c.ret == 0 || io_fail("block status", c.ret);
}

static bool cmd_alloc(Io *io, const IoCommand *cmd, int argc, char **argv)
{
    uint64_t length = blk_length(io->blk), offset, bytes = 512, sum = 0;
    g_autofree char *text = NULL;

    if (!io_parse_size("offset", argv[1], &offset) ||
        (argc == 3 && !io_parse_size("length", argv[2], &bytes))) {
        return false;
    }
    bytes = offset < length ? MIN(bytes, length - offset) : 0;
    for (uint64_t at = offset, n; at < offset + bytes; at += n) {
        bool allocated;

        if (!is_allocated(io, at, offset + bytes - at, &allocated, &n)) {
            return false;
        }
        sum += allocated ? n : 0;
    }
    text = io_size_text((double)offset);
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, bytes, text);
    return true;
}

static bool cmd_map(Io *io, const IoCommand *cmd, int argc, char **argv)
{
    uint64_t end = blk_length(io->blk), n;

    for (uint64_t at = 0; at < end; at += n) {
        g_autofree char *length = NULL;
        g_autofree char *start = NULL;
        bool allocated, next;
        uint64_t more;

        if (!is_allocated(io, at, end - at, &allocated, &n)) {
            return false;
        }
        while (at + n < end) {
            if (!is_allocated(io, at + n, end - at - n, &next, &more)) {
                return false;
            }
            if (next != allocated) {
                break;
            }
            n += more;
        }
        length = io_size_text((double)n);
        start = io_size_text((double)at);
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", length, n,
               allocated ? "   " : "not", start, at);
    }
    return true;
}

/* ---- others ---- */

static bool print_member(const char *key, Json *value, void *opaque)
{
    g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');
    const char *string = json_get_string(value);
    g_autofree char *text = string ? NULL : json_to_string(value);

    printf("    %s: %s\n", name, string ? string : text);
    return true;
}

static bool cmd_info(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autoptr(Json) info = node_image_info(io->node, NULL);
    Json *specific = json_lookup(info, "format-specific");

    printf("format name: %s\n", node_format(io->node));
    if (node_cluster_size(io->node)) {
        g_autofree char *text = io_size_text(node_cluster_size(io->node));

        printf("cluster size: %s\n", text);
    }
    if (specific) {
        printf("Format specific information:\n");
        json_dict_foreach(json_lookup(specific, "data"), print_member, NULL);
    }
    return true;
}

static bool cmd_flush(Io *io, const IoCommand *c, int argc, char **argv)
{
    int ret = blk_flush(io->blk);

    return ret >= 0 || io_fail("flush", ret);
}

static bool cmd_length(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autofree char *text = io_size_text((double)blk_length(io->blk));

    printf("%s\n", text);
    return true;
}

static bool is_preallocation(const char *mode)
{
    return g_str_equal(mode, "off") || g_str_equal(mode, "metadata") ||
           g_str_equal(mode, "falloc") || g_str_equal(mode, "full");
}

static bool cmd_truncate(Io *io, const IoCommand *c, int argc, char **argv)
{
    const char *prealloc = "off";
    GError *error = NULL;
    uint64_t length;
    int letter;

    optind = 0;
    while ((letter = getopt(argc, argv, "m:")) != -1) {
        if (letter != 'm') {
            io_print_usage(c);
            return false;
        }
        prealloc = optarg;
    }
    if (!is_preallocation(prealloc)) {
        error_report("Invalid preallocation mode '%s'; there are off, metadata, falloc and full",
                     prealloc);
        return false;
    }
    if (optind != argc - 1) {
        io_print_usage(c);
        return false;
    }
    if (!io_parse_size("length", argv[optind], &length)) {
        return false;
    }
    return blk_truncate(io->blk, length, prealloc, &error) || io_complain(error);
}

static void woken(void *opaque)
{
    *(bool *)opaque = true;
}

static bool cmd_sleep(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autoptr(LoopDelay) delay = NULL;
    GError *error = NULL;
    uint64_t ms;
    bool done = false;

    if (!parse_uint("milliseconds", argv[1], 0, INT32_MAX, &ms, &error)) {
        return io_complain(error);
    }
    delay = loop_delay_new(event_loop_main(), (int64_t)ms, woken, &done);
    while (!done) {                    /* what is under way goes on */
        event_loop_iterate(event_loop_main(), true);
    }
    return true;
}

/* The same words as qemu-io's, which scripts look for. */
static bool debug_done(const char *failure, int ret)
{
    if (ret < 0) {
        printf("%s: %s\n", failure, strerror(-ret));
    }
    return ret == 0;
}

static bool cmd_break(Io *io, const IoCommand *c, int argc, char **argv)
{
    return debug_done("Could not set breakpoint",
                      node_debug(io->node, NODE_DEBUG_BREAK, argv[1], argv[2]));
}

static bool cmd_remove_break(Io *io, const IoCommand *c, int argc, char **argv)
{
    g_autofree char *what = g_strdup_printf("Could not remove breakpoint %s", argv[1]);

    return debug_done(what, node_debug(io->node, NODE_DEBUG_REMOVE_BREAK, NULL, argv[1]));
}

static bool cmd_resume(Io *io, const IoCommand *c, int argc, char **argv)
{
    int ret = node_debug(io->node, NODE_DEBUG_RESUME, NULL, argv[1]);

    if (ret == 0) {
        printf("blkdebug: Resuming request '%s'\n", argv[1]);
    }
    return debug_done("Could not resume request", ret);
}

static bool cmd_wait_break(Io *io, const IoCommand *c, int argc, char **argv)
{
    int ret;

    while ((ret = node_debug(io->node, NODE_DEBUG_IS_SUSPENDED, NULL, argv[1])) == 0) {
        if (!io->pending) {
            return debug_done("No request is under way", -ENOENT);
        }
        event_loop_iterate(event_loop_main(), true);
    }
    if (ret > 0) {
        printf("blkdebug: Suspended request '%s'\n", argv[1]);
    }
    return debug_done("Could not wait", MIN(ret, 0));
}

static bool cmd_sigraise(Io *io, const IoCommand *c, int argc, char **argv)
{
    GError *error = NULL;
    uint64_t number;

    if (!parse_uint("signal", argv[1], 1, 64, &number, &error)) {
        return io_complain(error);
    }
    fflush(stdout);                    /* the process may end here */
    raise((int)number);
    return true;
}

static bool cmd_abort(Io *io, const IoCommand *c, int argc, char **argv)
{
    fflush(stdout);
    abort();
}

static bool cmd_quit(Io *io, const IoCommand *c, int argc, char **argv)
{
    io->quit = true;
    return true;
}

/* clang-format off */
static const char *const help_open[] = {
    " -r, read-only",
    " -s, keep the image as it is: writes go to a temporary overlay",
    " -C, keep in the image what is read from its backing file",
    " -n, bypass the host's cache: the same as -t none",
    " -U, open what others write to",
    " -k, the same as -i native",
    " -i, threads, native or io_uring",
    " -t, none, writeback, writethrough, directsync or unsafe",
    " -d, ignore or unmap",
    " -o, options of the node: driver=qcow2,file.filename=...", NULL,
};
static const char *const help_reopen[] = {
    " -r, read-only", " -w, writable", " -c, another cache mode",
    " -o, other options of the node", NULL,
};
static const char *const help_truncate[] = { " -m, off, metadata, falloc or full", NULL };

const IoCommand io_image_commands[] = {
    { "abort", NULL, 0, 0, 0, "", "ends the program as a crash would", NULL, cmd_abort },
    { "alloc", NULL, 1, 2, IO_NEEDS_IMAGE, "off [len]", "tells how much is allocated there", NULL,
      cmd_alloc },
    { "break", NULL, 2, 2, IO_NEEDS_IMAGE, "event tag",
      "holds the next request that comes to a moment (blkdebug's events)", NULL, cmd_break },
    { "close", "c", 0, 0, IO_NEEDS_IMAGE, "", "closes the image", NULL, cmd_close },
    { "flush", "f", 0, 0, IO_NEEDS_IMAGE, "", "writes out what caches hold", NULL, cmd_flush },
    { "info", "i", 0, 0, IO_NEEDS_IMAGE, "", "tells about the image", NULL, cmd_info },
    { "length", "l", 0, 0, IO_NEEDS_IMAGE, "", "tells how long the image is", NULL, cmd_length },
    { "map", NULL, 0, 0, IO_NEEDS_IMAGE, "", "tells what is allocated", NULL, cmd_map },
    { "open", "o", 0, IO_ANY_COUNT, 0,
      "[-rsCnkU] [-i aio] [-t cache] [-d discard] [-o options] [path]", "opens an image", help_open,
      cmd_open },
    { "quit", "q", 0, IO_ANY_COUNT, 0, "", "ends the program", NULL, cmd_quit },
    { "remove_break", NULL, 1, 1, IO_NEEDS_IMAGE, "tag", "takes back a break", NULL,
      cmd_remove_break },
    { "reopen", NULL, 0, IO_ANY_COUNT, IO_NEEDS_IMAGE, "[-r | -w] [-c cache] [-o options]",
      "changes how the image is open", help_reopen, cmd_reopen },
    { "resume", NULL, 1, 1, IO_NEEDS_IMAGE, "tag", "lets a held request go on", NULL, cmd_resume },
    { "sigraise", NULL, 1, 1, 0, "signal", "sends itself a signal, by number", NULL, cmd_sigraise },
    { "sleep", NULL, 1, 1, 0, "ms", "waits; what is under way goes on", NULL, cmd_sleep },
    { "truncate", "t", 1, 3, IO_NEEDS_IMAGE, "[-m prealloc_mode] len", "makes the image that long",
      help_truncate, cmd_truncate },
    { "wait_break", NULL, 1, 1, IO_NEEDS_IMAGE, "tag", "waits until a request is held", NULL,
      cmd_wait_break },
    { NULL, NULL, 0, 0, 0, NULL, NULL, NULL, NULL },
};
/* clang-format on */
