/* SPDX-License-Identifier: MIT */
/* rhea-img dd and bench: plain reads and writes of an image.  Single threaded but for workers. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

#define COPY_CHUNK (2u << 20)

/* ---- dd ---- */

typedef struct DdArgs {
    OpenArgs in_args, out_args;
    const char *format, *in_name, *out_name;
    BlockNode *in, *out;
    uint64_t skip, length, bs, count;
} DdArgs;

static const ImgOption dd_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(DdArgs, in_args),
    OPTION_SHARE(DdArgs, in_args),
    OPTION_FORMAT(DdArgs, in_args),
    { 'O', NULL, "output_fmt", IMG_TEXT, offsetof(DdArgs, format), "format of the output (raw)" },
    OPTION_END,
};

static int co_dd_run(void *opaque)
{
    DdArgs *m = opaque;
    uint64_t chunk = MIN(MAX(m->bs, 65536), COPY_CHUNK);
    g_autofree uint8_t *buf = io_buffer_new(chunk);

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

/* if=, of=, bs=, count=, skip= */
static bool dd_operand(DdArgs *m, char *arg)
{
    const struct { const char *name; const char **text; uint64_t *size; } known[] = {
        { "if", &m->in_name, NULL },     { "of", &m->out_name, NULL },
        { "bs", NULL, &m->bs },          { "count", NULL, &m->count },
        { "skip", NULL, &m->skip },
    };
    char *eq = strchr(arg, '=');

    for (unsigned i = 0; eq && i < ARRAY_LEN(known); i++) {
        if (strlen(known[i].name) != (size_t)(eq - arg) ||
            strncmp(known[i].name, arg, (size_t)(eq - arg)) != 0) {
            continue;
        }
        if (known[i].text) {
            *known[i].text = eq + 1;
            return true;
        }
        return size_arg(known[i].name, eq + 1, known[i].size);
    }
    usage_error("unrecognized operand %s", arg);
    return false;
}

/* From blocks to bytes, within the input. */
static void dd_range(DdArgs *m, uint64_t total)
{
    uint64_t skip = m->skip;

    if (skip > total / m->bs) {
        error_report("%s: cannot skip to specified offset", m->in_name);
        skip = total / m->bs + 1;
    }
    m->skip = MIN(skip * m->bs, total);
    m->length = total - m->skip;
    if (m->count < m->length / m->bs) {
        m->length = m->count * m->bs;
    }
}

static int dd_copy(DdArgs *m)
{
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autofree char *size = NULL;
    GError *error = NULL;
    Image out;
    bool claimed;
    int status;

    dd_range(m, node_length(m->in));
    size = g_strdup_printf("%" PRIu64, m->length);
    node_opts_set(create, "size", size);
    m->out_args.format = m->format;
    claimed = image_claim(m->out_name);
    if (!image_create(m->out_name, m->format, create, &error)) {
        error_report("%s: error while creating output image: %s", m->out_name, error->message);
        g_error_free(error);
        status = 1;
    } else if (!image_open(&out, m->out_name, &m->out_args)) {
        status = 1;
    } else {
        m->out = out.node;
        claimed = claimed && image_is_one_file(&out);
        status = run_job(co_dd_run, m);
        status = image_finish(&out, status);
    }
    if (status && claimed) {
        image_unclaim(m->out_name);
    }
    return status;
}

static int img_dd(const ImgCommand *command, int argc, char **argv)
{
    DdArgs m = { .out_args = { .writable = true, .resize = true, .no_backing = true },
                 .format = "raw", .bs = 512, .count = UINT64_MAX };
    int status = img_parse(command, &m, &argc, &argv);
    Image in;

    if (status >= 0) {
        return status;
    }
    for (int i = 0; i < argc; i++) {
        if (!dd_operand(&m, argv[i])) {
            return 1;
        }
    }
    if (!m.in_name || !m.out_name) {
        return usage_error("Must specify both input and output file names");
    }
    if (m.bs == 0 || m.bs > INT32_MAX) {
        error_report("invalid number: 'bs=%" PRIu64 "'", m.bs);
        return 1;
    }
    if (!image_open(&in, m.in_name, &m.in_args)) {
        return 1;
    }
    m.in = in.node;
    status = dd_copy(&m);
    image_close(&in);
    return status;
}

const ImgCommand img_dd_command = {
    "dd", dd_options, "[bs=block_size] [count=blocks] [skip=blocks] if=input of=output", 0, 16,
    "Too many operands", img_dd,
};

/* ---- bench ---- */

typedef struct BenchArgs {
    OpenArgs image;
    BlockNode *node;
    uint64_t count, size, step, offset, flush_every, depth, pattern, left, at, done;
    const char *aio;
    bool write, native, no_drain, quiet, draining;
    int ret;
    unsigned running, in_flight;
    CoQueue drained, open;         /* waiting to flush; waiting for the flush */
} BenchArgs;

static const ImgOption bench_options[] = {
    { 'c', NULL, "count", IMG_SIZE, offsetof(BenchArgs, count), "number of requests (75000)" },
    { 'd', NULL, "depth", IMG_SIZE, offsetof(BenchArgs, depth), "requests in parallel (64)" },
    OPTION_FORMAT(BenchArgs, image),
    { 0, "flush-interval", "flush_interval", IMG_SIZE, offsetof(BenchArgs, flush_every),
      "flush after so many writes" },
    { 'i', NULL, "aio", IMG_TEXT, offsetof(BenchArgs, aio), "threads, native or io_uring" },
    { 'n', "native", NULL, IMG_FLAG, offsetof(BenchArgs, native), "the same as -i native" },
    { 0, "no-drain", NULL, IMG_FLAG, offsetof(BenchArgs, no_drain),
      "flush beside the other requests" },
    { 'o', NULL, "offset", IMG_SIZE, offsetof(BenchArgs, offset), "where to begin" },
    { 0, "pattern", "pattern", IMG_SIZE, offsetof(BenchArgs, pattern), "byte that is written" },
    OPTION_QUIET(BenchArgs, quiet),
    { 's', NULL, "buffer_size", IMG_SIZE, offsetof(BenchArgs, size), "of a request (4096)" },
    { 'S', NULL, "step_size", IMG_SIZE, offsetof(BenchArgs, step), "from one to the next" },
    OPTION_CACHE('t', BenchArgs, image, cache),
    { 'w', NULL, NULL, IMG_FLAG, offsetof(BenchArgs, write), "write, do not read" },
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(BenchArgs, image),
    OPTION_SHARE(BenchArgs, image),
    OPTION_END,
};

/* Unless told otherwise, what was sent before a flush has completed when it begins. */
static int co_bench_flush(BenchArgs *m)
{
    int ret;

    if (m->no_drain) {
        return co_node_flush(m->node);
    }
    m->draining = true;
    while (m->in_flight) {
        co_queue_wait(&m->drained, NULL);
    }
    ret = co_node_flush(m->node);
    m->draining = false;
    co_queue_wake_all(&m->open);
    return ret;
}

static int co_bench_request(BenchArgs *m, uint8_t *buf)
{
    uint64_t at = m->at;
    int ret;

    m->left--;
    m->at += m->step;
    if (m->at + m->size > m->node->length) {
        m->at = m->offset;
    }
    m->in_flight++;
    ret = m->write ? co_node_pwrite(m->node, at, buf, m->size, 0)
                   : co_node_pread(m->node, at, buf, m->size);
    if (--m->in_flight == 0) {
        co_queue_wake_all(&m->drained);
    }
    if (ret == 0 && m->flush_every && ++m->done % m->flush_every == 0) {
        ret = co_bench_flush(m);
    }
    return ret;
}

static void co_bench_worker(void *opaque)
{
    BenchArgs *m = opaque;
    g_autofree uint8_t *buf = io_buffer_new(m->size);

    memset(buf, (int)m->pattern, m->size);
    while (m->left && m->ret == 0) {
        int ret;

        if (m->draining) {
            co_queue_wait(&m->open, NULL);
            continue;
        }
        ret = co_bench_request(m, buf);
        m->ret = ret < 0 ? ret : m->ret;
    }
    m->running--;
}

static int check_bench(BenchArgs *m)
{
    static const char *const kinds[] = { "threads", "native", "io_uring" };
    bool known = !m->aio;

    m->aio = m->native ? "native" : m->aio;
    for (unsigned i = 0; m->aio && i < ARRAY_LEN(kinds); i++) {
        known = known || g_str_equal(kinds[i], m->aio);
    }
    if (!known) {
        error_report("Invalid aio option: %s", m->aio);
        return 1;
    }
    if (m->depth == 0 || m->depth > 4096 || m->size == 0 || m->size > GIB ||
        m->pattern > 255) {
        error_report("Queue depth must be 1 to 4096, buffer size 1 to 1G, "
                     "pattern 0 to 255");
        return 1;
    }
    if (m->flush_every && !m->write) {
        error_report("--flush-interval is only available in write tests");
        return 1;
    }
    if (m->flush_every && m->flush_every < m->depth) {
        error_report("Flush interval can't be smaller than depth");
        return 1;
    }
    m->step = m->step ? m->step : m->size;
    return -1;
}

static void bench_run(BenchArgs *m)
{
    int64_t begin = g_get_monotonic_time();

    if (!m->quiet) {
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
               " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n", m->count,
               m->write ? "write" : "read", m->size, m->depth, m->offset, m->step);
    }
    if (!m->quiet && m->flush_every) {
        printf("Sending flush every %" PRIu64 " %srequests\n", m->flush_every,
               m->no_drain ? "" : "completed ");
    }
    for (uint64_t i = 0; i < m->depth; i++) {
        m->running++;
        coroutine_start(co_bench_worker, m);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), m->running > 0);
    if (!m->quiet) {
        printf("Run completed in %3.3f seconds.\n",
               (double)(g_get_monotonic_time() - begin) / 1e6);
    }
    if (m->ret < 0) {
        error_report("Failed request: %s", strerror(-m->ret));
    }
}

static int img_bench(const ImgCommand *command, int argc, char **argv)
{
    BenchArgs m = { .count = 75000, .size = 4096, .depth = 64, .image = { .async = true } };
    int status = img_parse(command, &m, &argc, &argv);
    Image image;

    status = status < 0 ? check_bench(&m) : status;
    if (status >= 0) {
        return status;
    }
    m.image.aio = m.aio;
    m.image.writable = m.write;
    if (!image_open(&image, argv[0], &m.image)) {
        return 1;
    }
    m.node = image.node;
    m.left = m.count;
    m.at = m.offset;
    co_queue_init(&m.drained);
    co_queue_init(&m.open);
    if (m.offset + m.size > node_length(image.node)) {
        error_report("The image is smaller than offset plus buffer size");
        m.ret = -EINVAL;
    } else {
        bench_run(&m);
    }
    return image_finish(&image, m.ret == 0 ? 0 : 1);
}

const ImgCommand img_bench_command = {
    "bench", bench_options, "filename", 1, 1, "Expecting one image file name", img_bench,
};
