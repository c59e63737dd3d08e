/* SPDX-License-Identifier: MIT */
/*
 * rhea-img convert: one or several images into one, with a change of format.
 *
 * Coroutines take one chunk after the other.  Host I/O of the tool is synchronous, so they only
 * overlap where there is something to gain: while worker threads compress.
 */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

enum { OPT_IMAGE_OPTS = 256, OPT_TARGET_ZERO, OPT_SALVAGE, OPT_TARGET_OPTS };

#define CHUNK (2u << 20)

typedef struct Source {
    Image image;
    uint64_t start;
} Source;

typedef struct Convert {
    Source *sources;
    unsigned count;
    BlockNode *target, *base;      /* base: of the source, with -B: not copied */
    uint64_t length, next, done, sparse;
    bool compressed, target_zero, has_base, salvage, quiet;
    CoMutex taking;                /* of the next run: asking for its status may wait */
    unsigned running;
    int ret;
    Progress progress;
} Convert;

static Source *source_at(Convert *m, uint64_t at)
{
    unsigned i = m->count - 1;

    while (i > 0 && m->sources[i].start > at) {
        i--;
    }
    return &m->sources[i];
}

static int fail(Convert *m, const char *what, uint64_t at, int ret)
{
    if (m->ret == 0) {
        error_report("error while %s at byte %" PRIu64 ": %s", what, at, strerror(-ret));
        m->ret = ret;
    }
    return ret;
}

static int write_zero_run(Convert *m, uint64_t at, uint64_t n)
{
    if (m->has_base) {
        return co_node_write_zeroes(m->target, at, n, BLK_REQ_MAY_UNMAP);
    }
    if (m->target_zero && m->sparse) {
        return 0;
    }
    return co_node_write_zeroes(m->target, at, n, m->sparse ? BLK_REQ_MAY_UNMAP : 0);
}

/* Data with runs of zeroes of at least m->sparse left out; runs end on multiples of it. */
static int write_data(Convert *m, uint64_t at, const uint8_t *buf, uint64_t n)
{
    uint64_t unit = m->sparse, i = 0;
    int ret = 0;

    if (!unit) {
        return co_node_pwrite(m->target, at, buf, n, 0);
    }
    while (i < n && ret == 0) {
        uint64_t k = i;
        bool zero = buffer_is_zero(buf + i, MIN(unit, n - i));

        do {
            k += MIN(unit - (at + k) % unit, n - k);
        } while (k < n && buffer_is_zero(buf + k, MIN(unit, n - k)) == zero);
        ret = zero ? write_zero_run(m, at + i, k - i)
                   : co_node_pwrite(m->target, at + i, buf + i, k - i, 0);
        i = k;
    }
    return ret;
}

static int read_source(Convert *m, uint64_t at, uint8_t *buf, uint64_t n)
{
    while (n) {
        Source *s = source_at(m, at);
        uint64_t in = at - s->start, piece = MIN(n, s->image.node->length - in);
        int ret = co_node_pread(s->image.node, in, buf, piece);

        if (ret < 0 && m->salvage) {
            for (uint64_t i = 0; i < piece; i += 512) {
                uint64_t sector = MIN(512, piece - i);

                if (co_node_pread(s->image.node, in + i, buf + i, sector) < 0) {
                    memset(buf + i, 0, sector);
                    if (!m->quiet) {
                        warn_report("error while reading offset %" PRIu64 ": %s", at + i,
                                    strerror(-ret));
                    }
                }
            }
            ret = 0;
        }
        if (ret < 0) {
            return ret;
        }
        at += piece;
        buf += piece;
        n -= piece;
    }
    return 0;
}

static int take_run_locked(Convert *m, uint64_t *at, uint64_t *n, uint32_t *flags)
{
    Source *s = source_at(m, m->next);
    uint64_t in = m->next - s->start;
    BlockStatus status;
    int depth, ret;

    *at = m->next;
    *n = 0;
    if (m->next >= m->length) {
        return 0;
    }
    ret = co_node_status_above(s->image.node, m->base, in, s->image.node->length - in, &status,
                               &depth);
    if (ret < 0 && m->salvage) {
        status = (BlockStatus){ BLK_STATUS_DATA, MIN(512, s->image.node->length - in), 0, NULL };
        ret = 0;
    }
    if (ret < 0) {
        return ret;
    }
    *flags = status.flags & (BLK_STATUS_ALLOCATED | BLK_STATUS_ZERO | BLK_STATUS_DATA);
    *n = status.bytes;
    if (m->sparse == 0 && !m->has_base) {
        *flags = BLK_STATUS_DATA | BLK_STATUS_ALLOCATED;   /* -S 0: everything is written out */
    }
    if (!(*flags & BLK_STATUS_ZERO)) {
        *n = MIN(*n, CHUNK);
    }
    m->next += *n;
    return 0;
}

/* What comes next from the sources, at most CHUNK of data; nothing at the end. */
static int take_run(Convert *m, uint64_t *at, uint64_t *n, uint32_t *flags)
{
    int ret;

    co_mutex_lock(&m->taking);
    ret = take_run_locked(m, at, n, flags);
    co_mutex_unlock(&m->taking);
    return ret;
}

static void co_convert_worker(void *opaque)
{
    Convert *m = opaque;
    g_autofree uint8_t *buf = g_malloc(CHUNK);

    while (m->next < m->length && m->ret == 0) {
        uint64_t at, n;
        uint32_t flags;
        int ret = take_run(m, &at, &n, &flags);

        if (ret < 0) {
            fail(m, "reading block status", at, ret);
            break;
        }
        if (!n) {
            break;
        }
        if (m->has_base && !(flags & BLK_STATUS_ALLOCATED)) {
            ret = 0;                   /* the target's backing file has it */
        } else if ((flags & BLK_STATUS_ZERO) || (!(flags & BLK_STATUS_DATA) &&
                                                 !(flags & BLK_STATUS_ALLOCATED) &&
                                                 !m->has_base)) {
            ret = write_zero_run(m, at, n);
        } else {
            ret = read_source(m, at, buf, n);
            if (ret < 0) {
                fail(m, "reading", at, ret);
                break;
            }
            ret = write_data(m, at, buf, n);
        }
        if (ret < 0) {
            fail(m, "writing", at, ret);
            break;
        }
        m->done += n;
        progress_show(&m->progress, 100.0 * (double)m->done / (double)m->length);
    }
    m->running--;
}

/* Compressed targets want whole clusters. */
static void co_compress_worker(void *opaque)
{
    Convert *m = opaque;
    uint64_t cluster = node_cluster_size(m->target);
    g_autofree uint8_t *buf = g_malloc(cluster);

    while (m->next < m->length && m->ret == 0) {
        uint64_t at = m->next, n = MIN(cluster, m->length - at);
        Source *s = source_at(m, at);
        BlockStatus status = { 0 };
        int depth, ret;
        IO_BUF(span, buf, n);

        m->next += n;
        ret = co_node_status_above(s->image.node, m->base, at - s->start, n, &status, &depth);
        if (ret == 0 && status.bytes >= n && m->has_base &&
            !(status.flags & BLK_STATUS_ALLOCATED)) {
            m->done += n;
            continue;
        }
        if (ret == 0 && status.bytes >= n && (status.flags & BLK_STATUS_ZERO)) {
            ret = write_zero_run(m, at, n);
        } else {
            ret = read_source(m, at, buf, n);
            if (ret < 0) {
                fail(m, "reading", at, ret);
                break;
            }
            ret = m->sparse && buffer_is_zero(buf, n)
                      ? write_zero_run(m, at, n)
                      : co_node_pwritev(m->target, at, span, BLK_REQ_COMPRESSED);
        }
        if (ret < 0) {
            fail(m, "writing", at, ret);
            break;
        }
        m->done += n;
        progress_show(&m->progress, 100.0 * (double)m->done / (double)m->length);
    }
    m->running--;
}

typedef struct ConvertArgs {
    OpenArgs in, out;
    const char *format, *backing, *backing_format, *snapshot, *target;
    bool keep_target, target_opts;
    uint64_t workers;
} ConvertArgs;

static bool open_sources(Convert *m, const ConvertArgs *a, char **names, unsigned count)
{
    GError *error = NULL;

    m->sources = g_new0(Source, count);
    for (unsigned i = 0; i < count; i++) {
        Source *s = &m->sources[i];

        if (!image_open(&s->image, names[i], &a->in)) {
            return false;
        }
        m->count = i + 1;
        if (a->snapshot && !node_snapshot_load_tmp(s->image.node, a->snapshot, &error)) {
            error_report("Failed to load snapshot: %s", error->message);
            g_error_free(error);
            return false;
        }
        s->start = m->length;
        m->length += node_length(s->image.node);
    }
    return true;
}

static bool make_target(Convert *m, const ConvertArgs *a, NodeOpts *create)
{
    g_autofree char *size = g_strdup_printf("%" PRIu64, align_up(m->length, 512));
    GError *error = NULL;

    if (a->keep_target) {
        return true;
    }
    node_opts_set(create, "size", size);
    if (a->backing) {
        node_opts_set(create, "backing_file", a->backing);
    }
    if (a->backing_format) {
        node_opts_set(create, "backing_fmt", a->backing_format);
    }
    if (!image_create(a->target, a->format, create, &error)) {
        error_report("%s: error while converting %s: %s", a->target, a->format, error->message);
        g_error_free(error);
        return false;
    }
    return true;
}

static bool check_target(Convert *m, const ConvertArgs *a)
{
    if (node_length(m->target) < m->length) {
        error_report("output file is smaller than input file");
        return false;
    }
    if (m->target->type->wants_compressed && m->target->type->wants_compressed(m->target)) {
        m->compressed = true;
    }
    if (m->compressed && (!m->target->type->co_write_compressed || !node_cluster_size(m->target))) {
        error_report("Compression not supported for this file format");
        return false;
    }
    if (!a->keep_target) {
        m->target_zero = m->target->type->zero_init && m->target->file->node->type->zero_init;
    }
    return true;
}

static int convert(Convert *m, const ConvertArgs *a, NodeOpts *create)
{
    OpenArgs out = a->out;
    Image target;
    int ok;

    if (!make_target(m, a, create)) {
        return 1;
    }
    out.format = a->target_opts ? NULL : a->format;
    out.image_opts = a->target_opts;
    out.writable = true;
    out.resize = true;
    if (!image_open(&target, a->target, &out)) {
        return 1;
    }
    m->target = target.node;
    co_mutex_init(&m->taking);
    ok = check_target(m, a);
    if (ok) {
        for (uint64_t i = 0; i < a->workers; i++) {
            m->running++;
            coroutine_start(m->compressed ? co_compress_worker : co_convert_worker, m);
        }
        EVENT_LOOP_WAIT_WHILE(event_loop_main(), m->running > 0);
        ok = m->ret == 0;
    }
    if (ok) {
        progress_end(&m->progress);
    }
    return image_close(&target) && ok ? 0 : 1;
}

int img_convert(int argc, char **argv)
{
    static const struct option options[] = {
        { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { "force-share", 0, NULL, 'U' },
        { "target-is-zero", 0, NULL, OPT_TARGET_ZERO }, { "salvage", 0, NULL, OPT_SALVAGE },
        { "target-image-opts", 0, NULL, OPT_TARGET_OPTS }, { 0 },
    };
    g_autoptr(NodeOpts) create = node_opts_new();
    ConvertArgs a = { .format = "raw", .workers = 8, .out = { .cache = "unsafe" } };
    Convert m = { .sparse = 4096 };
    int c, status = 1;

    while ((c = getopt_long(argc, argv, ":hf:O:B:cCF:o:l:S:pt:T:qnm:WU", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            a.in.format = optarg;
            break;
        case 'O':
            a.format = optarg;
            break;
        case 'B':
            a.backing = optarg;
            break;
        case 'F':
            a.backing_format = optarg;
            break;
        case 'c':
            m.compressed = true;
            break;
        case 'C':
            return usage_error("-C (copy offloading) is not available");
        case 'o':
            if (!add_create_opts(create, optarg)) {
                return 1;
            }
            break;
        case 'l':
            a.snapshot = g_str_has_prefix(optarg, "snapshot.") && strchr(optarg, '=')
                             ? strchr(optarg, '=') + 1 : optarg;
            break;
        case 'S':
            if (!size_arg("-S", optarg, &m.sparse)) {
                return 1;
            }
            if (m.sparse % 512 || m.sparse > CHUNK) {
                error_report("Invalid buffer size for sparse output specified. Valid sizes are "
                             "multiples of 512 up to %u. Select 0 to disable sparse detection "
                             "(fully allocates output).", CHUNK);
                return 1;
            }
            break;
        case 'p':
            m.progress.on = true;
            break;
        case 't':
            a.out.cache = optarg;
            break;
        case 'T':
            a.in.cache = optarg;
            break;
        case 'q':
            m.quiet = true;
            break;
        case 'n':
            a.keep_target = true;
            break;
        case 'm':
            if (!size_arg("-m", optarg, &a.workers)) {
                return 1;
            }
            if (a.workers < 1 || a.workers > 16) {
                error_report("Invalid number of coroutines. Allowed number of coroutines is "
                             "between 1 and 16");
                return 1;
            }
            break;
        case 'W':
            break;                     /* order is never promised, so it need not be waived */
        case 'U':
            a.in.force_share = true;
            break;
        case OPT_IMAGE_OPTS:
            a.in.image_opts = true;
            break;
        case OPT_TARGET_ZERO:
            m.target_zero = true;
            break;
        case OPT_TARGET_OPTS:
            a.target_opts = a.keep_target = true;
            break;
        case OPT_SALVAGE:
            m.salvage = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    m.progress.on = m.progress.on && !m.quiet;
    if (argc - optind < 2) {
        return usage_error("Must specify image file name");
    }
    if (m.target_zero && !a.keep_target) {
        return usage_error("--target-is-zero requires use of -n flag");
    }
    if (!a.target_opts && !format_exists(a.format)) {
        error_report("Unknown file format '%s'", a.format);
        return 1;
    }
    if (a.backing && argc - optind > 2) {
        error_report("Having a backing file for the target makes no sense when concatenating "
                     "multiple input images");
        return 1;
    }
    a.target = argv[argc - 1];
    m.has_base = a.backing || node_opts_get(create, "backing_file");
    if (open_sources(&m, &a, argv + optind, (unsigned)(argc - 1 - optind))) {
        if (m.has_base && a.backing) {
            /* Where the source already has that very backing file, only the difference goes. */
            BlockNode *under = node_backing(m.sources[0].image.node);

            for (BlockNode *n = under; n; n = node_backing(n)) {
                g_autofree char *full = path_combine(a.target, a.backing);

                if (g_str_equal(n->filename, full)) {
                    m.base = n;
                }
            }
            m.has_base = m.base != NULL;
        }
        if (a.backing && !m.base) {
            /* Its content is unknown to us: everything is written, zeroes too. */
            m.has_base = false;
            m.target_zero = false;
        }
        status = m.compressed && m.sparse == 0 ? 1 : convert(&m, &a, create);
        if (m.compressed && m.sparse == 0) {
            error_report("Cannot compress when -S 0 is used");
        }
    }
    for (unsigned i = 0; i < m.count; i++) {
        image_close(&m.sources[i].image);
    }
    g_free(m.sources);
    return status;
}
