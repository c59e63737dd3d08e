/* SPDX-License-Identifier: MIT */
/* rhea-img dd and bench: plain reads and writes of an image.  Single threaded but for workers. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

enum { OPT_IMAGE_OPTS = 256, OPT_FLUSH, OPT_PATTERN, OPT_NODRAIN };

#define COPY_CHUNK (2u << 20)

/* ---- dd ---- */

typedef struct DdArgs {
    BlockNode *in, *out;
    uint64_t skip, length, bs;
} DdArgs;

static int co_dd_run(void *opaque)
{
    DdArgs *m = opaque;
    uint64_t chunk = MIN(MAX(m->bs, 65536), COPY_CHUNK);
    g_autofree uint8_t *buf = g_malloc(chunk);

    for (uint64_t at = 0; at < m->length;) {
        uint64_t n = MIN(chunk, m->length - at);
        int ret = co_node_pread(m->in, m->skip + at, buf, n);

        if (ret < 0) {
            return io_failed("reading from input image file", m->skip + at, ret);
        }
        ret = co_node_pwrite(m->out, at, buf, n, 0);
        if (ret < 0) {
            return io_failed("writing to output image file", at, ret);
        }
        at += n;
    }
    return 0;
}

int img_dd(int argc, char **argv)
{
    static const struct option options[] = { { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { 0 } };
    OpenArgs in_args = { 0 }, out_args = { .writable = true, .resize = true, .no_backing = true };
    const char *in = NULL, *out = NULL, *format = "raw";
    uint64_t bs = 512, count = UINT64_MAX, skip = 0, length;
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autofree char *size = NULL;
    GError *error = NULL;
    Image a, b;
    DdArgs m;
    int c, status;

    while ((c = getopt_long(argc, argv, ":hf:O:U", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            in_args.format = optarg;
            break;
        case 'O':
            format = optarg;
            break;
        case 'U':
            in_args.force_share = true;
            break;
        case OPT_IMAGE_OPTS:
            in_args.image_opts = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    for (; optind < argc; optind++) {
        char *arg = argv[optind], *eq = strchr(arg, '=');

        if (!eq) {
            return usage_error("unrecognized operand %s", arg);
        }
        *eq++ = '\0';
        if (g_str_equal(arg, "if")) {
            in = eq;
        } else if (g_str_equal(arg, "of")) {
            out = eq;
        } else if (!g_str_equal(arg, "bs") && !g_str_equal(arg, "count") &&
                   !g_str_equal(arg, "skip")) {
            return usage_error("unrecognized operand %s", arg);
        } else if (!size_arg(arg, eq, g_str_equal(arg, "bs") ? &bs
                                      : g_str_equal(arg, "count") ? &count : &skip)) {
            return 1;
        }
    }
    if (!in || !out) {
        return usage_error("Must specify both input and output file names");
    }
    if (bs == 0 || bs > INT32_MAX) {
        error_report("invalid number: 'bs=%" PRIu64 "'", bs);
        return 1;
    }
    if (!image_open(&a, in, &in_args)) {
        return 1;
    }
    length = node_length(a.node);
    if (skip > length / bs) {
        error_report("%s: cannot skip to specified offset", in);
        skip = length / bs + 1;
    }
    m = (DdArgs){ .in = a.node, .skip = MIN(skip * bs, length), .bs = bs };
    m.length = length - m.skip;
    if (count < m.length / bs) {
        m.length = count * bs;
    }
    size = g_strdup_printf("%" PRIu64, m.length);
    node_opts_set(create, "size", size);
    out_args.format = format;
    if (!image_create(out, format, create, &error)) {
        error_report("%s: error while creating output image: %s", out, error->message);
        g_error_free(error);
        image_close(&a);
        return 1;
    }
    if (!image_open(&b, out, &out_args)) {
        image_close(&a);
        return 1;
    }
    m.out = b.node;
    status = run_job(co_dd_run, &m);
    image_close(&a);
    return image_close(&b) ? status : 1;
}

/* ---- bench ---- */

typedef struct BenchArgs {
    BlockNode *node;
    uint64_t count, size, step, offset, flush_every, left, at, done;
    bool write;
    int pattern, ret;
    unsigned running;
} BenchArgs;

static void co_bench_worker(void *opaque)
{
    BenchArgs *m = opaque;
    g_autofree uint8_t *buf = g_malloc(m->size);

    memset(buf, m->pattern, m->size);
    while (m->left && m->ret == 0) {
        uint64_t at = m->at;
        int ret;

        m->left--;
        m->at += m->step;
        if (m->at + m->size > m->node->length) {
            m->at = m->offset;
        }
        ret = m->write ? co_node_pwrite(m->node, at, buf, m->size, 0)
                       : co_node_pread(m->node, at, buf, m->size);
        if (ret == 0 && m->flush_every && ++m->done % m->flush_every == 0) {
            ret = co_node_flush(m->node);
        }
        m->ret = ret < 0 ? ret : m->ret;
    }
    m->running--;
}

int img_bench(int argc, char **argv)
{
    static const struct option options[] = {
        { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { "flush-interval", 1, NULL, OPT_FLUSH },
        { "pattern", 1, NULL, OPT_PATTERN }, { "no-drain", 0, NULL, OPT_NODRAIN }, { 0 },
    };
    OpenArgs args = { 0 };
    BenchArgs m = { .count = 75000, .size = 4096 };
    uint64_t depth = 64, number;
    bool quiet = false;
    int64_t begin;
    Image image;
    int c;

    while ((c = getopt_long(argc, argv, ":hc:d:f:no:qs:S:t:wU", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            if (!size_arg("request count", optarg, &m.count)) {
                return 1;
            }
            break;
        case 'd':
            if (!size_arg("queue depth", optarg, &depth)) {
                return 1;
            }
            break;
        case 'f':
            args.format = optarg;
            break;
        case 'n':
            error_report("Native AIO is not available; run without -n");
            return 1;
        case 'o':
            if (!size_arg("offset", optarg, &m.offset)) {
                return 1;
            }
            break;
        case 'q':
            quiet = true;
            break;
        case 's':
            if (!size_arg("buffer size", optarg, &m.size)) {
                return 1;
            }
            break;
        case 'S':
            if (!size_arg("step size", optarg, &m.step)) {
                return 1;
            }
            break;
        case 't':
            args.cache = optarg;
            break;
        case 'w':
            m.write = true;
            break;
        case 'U':
            args.force_share = true;
            break;
        case OPT_FLUSH:
            if (!size_arg("flush interval", optarg, &m.flush_every)) {
                return 1;
            }
            break;
        case OPT_PATTERN:
            if (!size_arg("pattern", optarg, &number) || number > 255) {
                return 1;
            }
            m.pattern = (int)number;
            break;
        case OPT_NODRAIN:
            break;                     /* each flush already runs beside the other requests */
        case OPT_IMAGE_OPTS:
            args.image_opts = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    if (optind != argc - 1) {
        return usage_error("Expecting one image file name");
    }
    if (depth == 0 || depth > 4096 || m.size == 0 || m.size > GIB || m.count == 0) {
        error_report("Queue depth must be 1 to 4096, buffer size 1 to 1G, count at least 1");
        return 1;
    }
    if (m.flush_every && !m.write) {
        error_report("--flush-interval is only available in write tests");
        return 1;
    }
    m.step = m.step ? m.step : m.size;
    args.writable = m.write;
    if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    m.node = image.node;
    m.left = m.count;
    m.at = m.offset;
    if (m.offset + m.size > node_length(image.node)) {
        error_report("The image is smaller than offset plus buffer size");
        image_close(&image);
        return 1;
    }
    if (!quiet) {
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
               " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n", m.count,
               m.write ? "write" : "read", m.size, depth, m.offset, m.step);
    }
    begin = g_get_monotonic_time();
    for (uint64_t i = 0; i < depth; i++) {
        m.running++;
        coroutine_start(co_bench_worker, &m);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), m.running > 0);
    if (!quiet) {
        printf("Run completed in %3.3f seconds.\n",
               (double)(g_get_monotonic_time() - begin) / 1e6);
    }
    if (m.ret < 0) {
        error_report("Failed request: %s", strerror(-m.ret));
    }
    return image_close(&image) && m.ret == 0 ? 0 : 1;
}
