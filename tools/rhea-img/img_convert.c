/* SPDX-License-Identifier: MIT */
/*
 * rhea-img convert: one or several images into one, with a change of format.
 *
 * Coroutines take one chunk after the other.  They write in the order of the chunks unless -W is
 * given; then host I/O goes to worker threads, so that requests really overlap.  qcow2's compressed
 * clusters are packed in parallel in any case, since their order means nothing.
 */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "block/bitmap.h"

#define CHUNK (512u << 10)
#define SPARSE_MAX (2u << 20)

typedef struct Source {
    Image image;
    uint64_t start;
} Source;

typedef struct Convert {
    Source *sources;
    unsigned count;
    BlockNode *target, *base;      /* base: of the source, with -B: not copied */
    uint64_t length, next, done, sparse, turn;
    uint64_t run_end;              /* what is known from next on: the flags of all up to there */
    uint32_t run_flags;
    bool compressed, target_zero, has_base, salvage, quiet, out_of_order, offload, async;
    bool claimed;                      /* the target was not there before, and is one file */
    CoMutex taking;                /* of the next run: asking for its status may wait */
    unsigned running;
    int ret;
    Progress progress;
    RateLimit rate;
    CoQueue turns;
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

/* Asks for what is at m->next. */
static int find_run_locked(Convert *m)
{
    Source *s = source_at(m, m->next);
    uint64_t in = m->next - s->start;
    BlockStatus status;
    int depth, ret;

    ret = co_node_status_above(s->image.node, m->base, in, s->image.node->length - in, &status,
                               &depth);
    if (ret < 0 && m->salvage) {
        status = (BlockStatus){ BLK_STATUS_DATA, MIN(512, s->image.node->length - in), 0, NULL };
        ret = 0;
    }
    if (ret < 0) {
        return ret;
    }
    m->run_flags = status.flags & (BLK_STATUS_ALLOCATED | BLK_STATUS_ZERO | BLK_STATUS_DATA);
    m->run_end = m->next + status.bytes;
    if (m->sparse == 0 && !m->has_base) {
        m->run_flags = BLK_STATUS_DATA | BLK_STATUS_ALLOCATED;   /* -S 0: everything is written out */
    }
    return 0;
}

static int take_run_locked(Convert *m, uint64_t *at, uint64_t *n, uint32_t *flags)
{
    int ret = 0;

    *at = m->next;
    *n = 0;
    if (m->next >= m->length) {
        return 0;
    }
    if (m->next >= m->run_end) {
        ret = find_run_locked(m);
    }
    if (ret < 0) {
        return ret;
    }
    *flags = m->run_flags;
    *n = m->run_end - m->next;
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

/* Unless -W allows otherwise, writes begin in the order of their offsets. */
static void wait_for_turn(Convert *m, uint64_t at)
{
    while (!m->out_of_order && m->ret == 0 && m->turn < at) {
        co_queue_wait(&m->turns, NULL);
    }
}

/* The next run may begin. */
static void pass_turn(Convert *m, uint64_t end)
{
    if (m->turn < end) {
        m->turn = end;
        co_queue_wake_all(&m->turns);
    }
}

/* By the kernel, where both sides are plain files (-C); -ENOTSUP: by hand, then. */
static int offload(Convert *m, uint64_t at, uint64_t n)
{
    Source *s = source_at(m, at);
    uint64_t in = at - s->start;

    if (!m->offload || s->image.node->length - in < n) {
        return -ENOTSUP;
    }
    return co_node_copy_range(s->image.node, in, m->target, at, n);
}

static int copy_data(Convert *m, uint64_t at, uint8_t *buf, uint64_t n)
{
    int ret = offload(m, at, n);

    if (ret != -ENOTSUP) {
        return ret;
    }
    ret = read_source(m, at, buf, n);
    if (ret < 0) {
        return fail(m, "reading", at, ret);
    }
    wait_for_turn(m, at);
    if (m->ret < 0) {
        return m->ret;
    }
    /* Those that this wakes run after we have found our place in the target, and wait ourselves. */
    pass_turn(m, at + n);
    return write_data(m, at, buf, n);
}

/* Counts a run of N bytes as done; false when it, or another one, failed. */
static bool finish_run(Convert *m, uint64_t at, uint64_t n, int ret)
{
    if (ret < 0) {
        fail(m, "writing", at, ret);
        co_queue_wake_all(&m->turns);
        return false;
    }
    wait_for_turn(m, at);
    pass_turn(m, at + n);
    m->done += n;
    co_rate_wait(&m->rate, n);
    progress_show(&m->progress, 100.0 * (double)m->done / (double)m->length);
    return m->ret == 0;
}

static void co_convert_worker(void *opaque)
{
    Convert *m = opaque;
    g_autofree uint8_t *buf = io_buffer_new(CHUNK);

    while (m->next < m->length && m->ret == 0) {
        uint64_t at, n;
        uint32_t flags;
        int ret = take_run(m, &at, &n, &flags);

        if (ret < 0) {
            fail(m, "reading block status", at, ret);
            co_queue_wake_all(&m->turns);
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
            ret = copy_data(m, at, buf, n);
        }
        if (!finish_run(m, at, n, ret)) {
            break;
        }
    }
    m->running--;
}

/* One cluster of a compressed target, from AT. */
static int compress_cluster(Convert *m, uint64_t at, uint8_t *buf, uint64_t n)
{
    Source *s = source_at(m, at);
    BlockStatus status = { 0 };
    IO_BUF(span, buf, n);
    int depth, ret = co_node_status_above(s->image.node, m->base, at - s->start, n, &status,
                                          &depth);
    bool known = ret == 0 && status.bytes >= n;

    if (known && m->has_base && !(status.flags & BLK_STATUS_ALLOCATED)) {
        return 0;
    }
    if (known && (status.flags & BLK_STATUS_ZERO)) {
        return write_zero_run(m, at, n);
    }
    ret = read_source(m, at, buf, n);
    if (ret < 0) {
        return fail(m, "reading", at, ret);
    }
    wait_for_turn(m, at);
    return m->sparse && buffer_is_zero(buf, n)
               ? write_zero_run(m, at, n)
               : co_node_pwritev(m->target, at, span, BLK_REQ_COMPRESSED);
}

static void co_compress_worker(void *opaque)
{
    Convert *m = opaque;
    uint64_t cluster = node_cluster_size(m->target);
    g_autofree uint8_t *buf = io_buffer_new(cluster);

    while (m->next < m->length && m->ret == 0) {
        uint64_t at = m->next, n = MIN(cluster, m->length - at);

        m->next += n;
        if (!finish_run(m, at, n, compress_cluster(m, at, buf, n))) {
            break;
        }
    }
    m->running--;
}

/* ---- arguments ---- */

typedef struct ConvertArgs {
    OpenArgs in, out;
    Convert run;
    NodeOpts *create;
    const char *format, *backing, *backing_format, *snapshot, *target;
    bool keep_target, target_opts, bitmaps, skip_broken, no_create_size;
    uint64_t workers, sparse;
} ConvertArgs;

static bool take_snapshot(void *args, const char *value)
{
    ((ConvertArgs *)args)->snapshot = snapshot_arg(value);
    return true;
}

static bool take_sparse(void *args, const char *value)
{
    ConvertArgs *a = args;

    if (!size_arg("-S", value, &a->sparse)) {
        return false;
    }
    if (a->sparse % 512 || a->sparse > SPARSE_MAX) {
        error_report("Invalid buffer size for sparse output specified. Valid sizes are multiples "
                     "of 512 up to %u. Select 0 to disable sparse detection (fully allocates "
                     "output).", SPARSE_MAX);
        return false;
    }
    return true;
}

static const ImgOption convert_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(ConvertArgs, in),
    { 0, "target-image-opts", NULL, IMG_FLAG, offsetof(ConvertArgs, target_opts),
      "the output's name is a list of options" },
    { 0, "target-is-zero", NULL, IMG_FLAG, offsetof(ConvertArgs, run.target_zero),
      "the output reads as zeroes (with -n)" },
    { 0, "bitmaps", NULL, IMG_FLAG, offsetof(ConvertArgs, bitmaps),
      "copy the persistent bitmaps too" },
    { 0, "skip-broken-bitmaps", NULL, IMG_FLAG, offsetof(ConvertArgs, skip_broken),
      "but not those that are inconsistent" },
    OPTION_SHARE(ConvertArgs, in),
    { 'C', NULL, NULL, IMG_FLAG, offsetof(ConvertArgs, run.offload),
      "let the kernel copy between plain files" },
    { 'c', NULL, NULL, IMG_FLAG, offsetof(ConvertArgs, run.compressed), "compress" },
    OPTION_PROGRESS(ConvertArgs, run.progress.on),
    OPTION_QUIET(ConvertArgs, run.quiet),
    { 'n', NULL, NULL, IMG_FLAG, offsetof(ConvertArgs, keep_target),
      "the output exists; do not create it" },
    OPTION_FORMAT(ConvertArgs, in),
    OPTION_CACHE('t', ConvertArgs, out, cache),
    OPTION_CACHE('T', ConvertArgs, in, src_cache),
    { 'O', NULL, "output_fmt", IMG_TEXT, offsetof(ConvertArgs, format),
      "format of the output (raw)" },
    { 'B', NULL, "backing_file", IMG_TEXT, offsetof(ConvertArgs, backing),
      "backing file of the output" },
    { 'F', NULL, "backing_fmt", IMG_TEXT, offsetof(ConvertArgs, backing_format), "its format" },
    { 'o', NULL, "options", IMG_OPTS, offsetof(ConvertArgs, create), "options of create" },
    { 'l', NULL, "snapshot_param", IMG_CALL, 0, "take the content of a snapshot",
      take_snapshot },
    { 'S', NULL, "sparse_size", IMG_CALL, 0, "bytes of zeroes that become a hole; 0: none",
      take_sparse },
    { 'r', NULL, "rate_limit", IMG_SIZE, offsetof(ConvertArgs, run.rate.per_second),
      "bytes per second at most" },
    { 'm', NULL, "num_coroutines", IMG_SIZE, offsetof(ConvertArgs, workers), "1 to 16 (8)" },
    { 'W', NULL, NULL, IMG_FLAG, offsetof(ConvertArgs, run.out_of_order),
      "write out of order" },
    { 0, "salvage", NULL, IMG_FLAG, offsetof(ConvertArgs, run.salvage),
      "go on where reading fails, with zeroes" },
    OPTION_END,
};

#define NO_COMPRESSION "Compression not supported for this file format"

/* Combinations that make no sense; the messages are qemu-img's. */
static bool args_ok(const ConvertArgs *a, int operands)
{
    const Convert *m = &a->run;
    const struct { bool bad; const char *why; } rules[] = {
        { a->workers < 1 || a->workers > 16, "Invalid number of coroutines. Allowed number of "
          "coroutines is between 1 and 16" },
        { a->skip_broken && !a->bitmaps, "Use of --skip-broken-bitmaps requires --bitmaps" },
        { m->offload && m->compressed, "Cannot enable copy offloading when -c is used" },
        { m->offload && a->sparse != UINT64_MAX, "Cannot enable copy offloading when -S is used" },
        { m->compressed && a->sparse == 0, "Cannot compress when -S 0 is used" },
        { a->target_opts && !a->keep_target, "--target-image-opts requires use of -n flag" },
        { m->target_zero && !a->keep_target, "--target-is-zero requires use of -n flag" },
        { a->keep_target && a->create, "-o has no effect when skipping image creation" },
        { a->backing && operands > 2, "Having a backing file for the target makes no sense when "
          "concatenating multiple input images" },
        { a->backing && !a->backing_format && !node_opts_get(a->create, "backing_fmt"),
          "Use of backing file requires explicit backing format (-F)" },
        { a->bitmaps && operands > 2, "Copying bitmaps only possible with single source" },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rules); i++) {
        if (rules[i].bad) {
            error_report("%s", rules[i].why);
            return false;
        }
    }
    if (!a->target_opts && !format_exists(a->format)) {
        error_report("Unknown file format '%s'", a->format);
        return false;
    }
    /* Before there is a target. */
    if (m->compressed && !a->target_opts && !node_type_find(a->format)->co_write_compressed) {
        error_report(NO_COMPRESSION);
        return false;
    }
    return true;
}

/* ---- bitmaps ---- */

/* Before the data is copied: can they all be? */
static bool check_bitmaps(const ConvertArgs *a, const BlockNode *source)
{
    if (!source->type->bitmap_can_store) {
        error_report("Source lacks bitmap support");
        return false;
    }
    for (unsigned i = 0; i < source->bitmaps->len; i++) {
        const DirtyBitmap *b = source->bitmaps->pdata[i];

        if (b->persistent && b->inconsistent && !a->skip_broken) {
            error_report("Cannot copy inconsistent bitmap '%s'", b->name);
            fprintf(stderr, "Try --skip-broken-bitmaps, or use 'rhea-img bitmap --remove'\n");
            return false;
        }
    }
    return true;
}

static bool copy_bitmaps(const ConvertArgs *a, BlockNode *source, BlockNode *target)
{
    for (unsigned i = 0; i < source->bitmaps->len; i++) {
        const DirtyBitmap *b = source->bitmaps->pdata[i];
        GError *error = NULL;
        DirtyBitmap *copy;

        if (!b->persistent) {
            continue;
        }
        if (b->inconsistent) {
            warn_report("Skipping inconsistent bitmap '%s'", b->name);
            continue;
        }
        copy = dirty_bitmap_add(target, b->name, b->granularity, &error);
        if (!copy || !dirty_bitmap_make_persistent(target, copy, &error) ||
            !dirty_bitmap_merge(copy, b, &error)) {
            error_report("Failed to create bitmap %s: %s", b->name, error->message);
            g_error_free(error);
            return false;
        }
        copy->enabled = b->enabled;
    }
    return true;
}

/* ---- running ---- */

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
    m->claimed = image_claim(a->target);
    if (!image_create(a->target, a->format, create, &error)) {
        error_report("%s: error while converting %s: %s", a->target, a->format, error->message);
        g_error_free(error);
        return false;
    }
    return true;
}

static bool check_target(Convert *m, const ConvertArgs *a)
{
    const NodeType *type = m->target->type;
    bool mixed = true;                 /* an image may have both kinds of clusters, or must be compressed */

    if (node_length(m->target) < m->length) {
        error_report("output file is smaller than input file");
        return false;
    }
    if (type->wants_compressed && type->wants_compressed(m->target)) {
        m->compressed = true;
    } else if (m->compressed) {
        mixed = !type->wants_compressed;
        m->out_of_order = true;    /* each cluster finds its place when it is packed */
    }
    if (m->compressed && (!mixed || !type->co_write_compressed || !node_cluster_size(m->target))) {
        error_report(NO_COMPRESSION);
        return false;
    }
    if (m->compressed && m->target->encrypted) {
        error_report("Compression and encryption not supported at the same time");
        return false;
    }
    if (a->bitmaps && !type->bitmap_can_store) {
        error_report("Format driver '%s' does not support bitmaps", type->name);
        return false;
    }
    if (!a->keep_target) {
        m->target_zero = type->zero_init && m->target->file->node->type->zero_init;
    }
    return true;
}

static bool run_workers(Convert *m, const ConvertArgs *a)
{
    co_queue_init(&m->turns);
    co_mutex_init(&m->taking);
    for (uint64_t i = 0; i < a->workers; i++) {
        m->running++;
        coroutine_start(m->compressed ? co_compress_worker : co_convert_worker, m);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), m->running > 0);
    if (m->ret == 0) {
        progress_end(&m->progress);
    }
    return m->ret == 0;
}

/* The target, once it is made: open, filled and closed. */
static int fill_target(Convert *m, ConvertArgs *a, NodeOpts *keys)
{
    OpenArgs out = a->out;
    Image target;
    bool ok;

    out.format = a->target_opts ? NULL : a->format;
    out.image_opts = a->target_opts;
    out.writable = out.resize = true;
    out.async = m->async;
    out.key_opts = a->keep_target ? NULL : keys;
    if (!image_open(&target, a->target, &out)) {
        return 1;
    }
    m->target = target.node;
    m->claimed = m->claimed && image_is_one_file(&target);
    ok = check_target(m, a) && run_workers(m, a) &&
         (!a->bitmaps || copy_bitmaps(a, m->sources[0].image.node, m->target));
    return image_finish(&target, ok ? 0 : 1);
}

/* A new file that has not become the image goes; one that was there before, or is one of several, stays as it is. */
static int convert(ConvertArgs *a)
{
    Convert *m = &a->run;
    g_autoptr(NodeOpts) keys = node_opts_copy(a->create);
    int status;

    if (a->bitmaps && !check_bitmaps(a, m->sources[0].image.node)) {
        return 1;
    }
    status = make_target(m, a, a->create) ? fill_target(m, a, keys) : 1;
    if (status && m->claimed) {
        image_unclaim(a->target);
    }
    return status;
}

/* With -B: where the source already has that very backing file, only the difference goes. */
static void find_base(Convert *m, const ConvertArgs *a)
{
    const char *backing = a->backing ? a->backing : node_opts_get(a->create, "backing_file");
    g_autofree char *full = backing ? path_combine(a->target, backing) : NULL;

    if (!full) {
        return;
    }
    for (BlockNode *n = node_backing(m->sources[0].image.node); n; n = node_backing(n)) {
        if (g_str_equal(n->filename, full)) {
            m->base = n;
        }
    }
    m->has_base = m->base != NULL;
    /* Else its content is unknown to us: everything is written, zeroes too. */
    m->target_zero = false;
}

static int img_convert(const ImgCommand *command, int argc, char **argv)
{
    ConvertArgs a = { .format = "raw", .workers = 8, .out = { .cache = "unsafe" },
                      .sparse = UINT64_MAX };
    Convert *m = &a.run;
    int status = img_parse(command, &a, &argc, &argv);

    if (status >= 0) {
        return status;
    }
    if (!a.keep_target && (status = show_create_help(a.format, a.create)) >= 0) {
        node_opts_free(a.create);
        return status;
    }
    if (argc < 2) {
        return usage_error("%s", command->expect);
    }
    if (!args_ok(&a, argc)) {
        return 1;
    }
    m->sparse = a.sparse == UINT64_MAX ? 4096 : a.sparse;
    m->progress.on = m->progress.on && !m->quiet;
    a.create = a.create ? a.create : node_opts_new();
    m->async = m->out_of_order || sysconf(_SC_NPROCESSORS_ONLN) > 1;
    a.in.async = m->async;
    a.target = argv[argc - 1];
    status = 1;
    if (open_sources(m, &a, argv, (unsigned)(argc - 1))) {
        find_base(m, &a);
        status = convert(&a);
    }
    for (unsigned i = 0; i < m->count; i++) {
        image_close(&m->sources[i].image);
    }
    g_free(m->sources);
    node_opts_free(a.create);
    return status;
}

const ImgCommand img_convert_command = {
    "convert", convert_options, "filename [filename2 [...]] output_filename", 0, 1000,
    "Must specify image file name", img_convert,
};
