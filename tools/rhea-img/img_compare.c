/* SPDX-License-Identifier: MIT */
/* rhea-img compare and measure.  Single threaded. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

typedef struct CompareArgs {
    OpenArgs first, second;
    BlockNode *a, *b;
    bool strict, quiet;
    Progress progress;
} CompareArgs;

static const ImgOption compare_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(CompareArgs, first),
    { 'f', "format", "fmt", IMG_TEXT, offsetof(CompareArgs, first.format),
      "format of the first image" },
    { 'F', NULL, "fmt", IMG_TEXT, offsetof(CompareArgs, second.format),
      "format of the second image" },
    OPTION_CACHE('T', CompareArgs, first, src_cache),
    OPTION_PROGRESS(CompareArgs, progress.on),
    OPTION_QUIET(CompareArgs, quiet),
    { 's', NULL, NULL, IMG_FLAG, offsetof(CompareArgs, strict),
      "fail when sizes or allocation differ" },
    OPTION_SHARE(CompareArgs, first),
    OPTION_END,
};

static int differs(const CompareArgs *m, uint64_t at)
{
    if (!m->quiet) {
        printf("Content mismatch at offset %" PRIu64 "!\n", at);
    }
    return 1;
}

/* Both buffers stay in the second level of a processor's caches. */
#define CHUNK (128u << 10)

static int read_side(BlockNode *node, uint64_t at, uint64_t n, const BlockStatus *s, uint8_t *buf)
{
    int ret = 0;

    if (s->flags & BLK_STATUS_ZERO) {
        memset(buf, 0, n);
    } else {
        ret = co_node_pread(node, at, buf, n);
        if (ret < 0) {
            error_report("Error while reading offset %" PRIu64 " of %s: %s", at,
                         node_filename(node), strerror(-ret));
        }
    }
    return ret < 0 ? 4 : 0;
}

/* N bytes from AT, of which each side has all or nothing. */
static int compare_run(CompareArgs *m, uint64_t at, uint64_t n, const BlockStatus *s,
                       const BlockStatus *t, uint8_t *x, uint8_t *y)
{
    for (uint64_t done = 0, piece; done < n; done += piece) {
        int status;

        piece = MIN(n - done, CHUNK);
        status = read_side(m->a, at + done, piece, s, x);
        status = status ? status : read_side(m->b, at + done, piece, t, y);
        if (status) {
            return status;
        }
        if (memcmp(x, y, piece) != 0) {
            uint64_t i = 0;

            while (memcmp(x + i, y + i, MIN(512, piece - i)) == 0) {
                i += 512;
            }
            return differs(m, at + done + i);
        }
        progress_show(&m->progress, 100.0 * (double)(at + done) /
                                        (double)MAX(m->a->length, m->b->length));
    }
    return 0;
}

static int co_compare_run(void *opaque)
{
    CompareArgs *m = opaque;
    g_autofree uint8_t *x = g_malloc(CHUNK);
    g_autofree uint8_t *y = g_malloc(CHUNK);
    uint64_t end = MAX(m->a->length, m->b->length), at = 0;

    while (at < end) {
        BlockStatus s = { .flags = BLK_STATUS_ZERO, .bytes = end - at }, t = s;
        int d, ret = 0, status = 0;
        uint64_t n;

        if (at < m->a->length) {
            ret = co_node_status_above(m->a, NULL, at, m->a->length - at, &s, &d);
        }
        if (ret == 0 && at < m->b->length) {
            ret = co_node_status_above(m->b, NULL, at, m->b->length - at, &t, &d);
        }
        if (ret < 0) {
            error_report("Sector allocation test failed: %s", strerror(-ret));
            return 3;
        }
        n = MIN(s.bytes, t.bytes);
        if (m->strict && at < MIN(m->a->length, m->b->length) &&
            (s.flags & BLK_STATUS_ALLOCATED) != (t.flags & BLK_STATUS_ALLOCATED)) {
            if (!m->quiet) {
                printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n", at);
            }
            return 1;
        }
        if (!(s.flags & t.flags & BLK_STATUS_ZERO)) {
            status = compare_run(m, at, n, &s, &t, x, y);
        }
        if (status) {
            return status;
        }
        at += n;
    }
    return 0;
}

static int compare_open(CompareArgs *m, const Image *x, const Image *y)
{
    m->a = x->node;
    m->b = y->node;
    if (m->a->length != m->b->length && m->strict) {
        if (!m->quiet) {
            printf("Strict mode: Image size mismatch!\n");
        }
        return 1;
    }
    if (m->a->length != m->b->length && !m->quiet) {
        printf("Warning: Image size mismatch!\n");
    }
    return run_job(co_compare_run, m);
}

static int img_compare(const ImgCommand *command, int argc, char **argv)
{
    CompareArgs m = { 0 };
    int status = img_parse(command, &m, &argc, &argv);
    Image x, y;

    if (status >= 0) {
        return status;
    }
    m.progress.on = m.progress.on && !m.quiet;
    m.second.image_opts = m.first.image_opts;
    m.second.cache = m.first.cache;
    m.second.force_share = m.first.force_share;
    if (!image_open(&x, argv[0], &m.first)) {
        return 2;
    }
    if (!image_open(&y, argv[1], &m.second)) {
        image_close(&x);
        return 2;
    }
    status = compare_open(&m, &x, &y);
    if (status == 0 && !m.quiet) {
        progress_end(&m.progress);
        printf("Images are identical.\n");
    }
    image_close(&x);
    image_close(&y);
    return status;
}

const ImgCommand img_compare_command = {
    "compare", compare_options, "filename1 filename2", 2, 2, "Expecting two image file names",
    img_compare,
};

/* ---- measure ---- */

typedef struct MeasureArgs {
    OpenArgs image;
    const char *format, *size, *snapshot;
    NodeOpts *opts;
    bool json;
} MeasureArgs;

static bool take_snapshot(void *args, const char *value)
{
    ((MeasureArgs *)args)->snapshot = snapshot_arg(value);
    return true;
}

static const ImgOption measure_options[] = {
    OPTION_OUTPUT(MeasureArgs, json),
    { 'O', NULL, "output_fmt", IMG_TEXT, offsetof(MeasureArgs, format),
      "format of the image to be made" },
    { 'o', NULL, "options", IMG_OPTS, offsetof(MeasureArgs, opts), "as create would have them" },
    { 0, "size", "N", IMG_TEXT, offsetof(MeasureArgs, size), "of an image yet to be filled" },
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(MeasureArgs, image),
    OPTION_FORMAT(MeasureArgs, image),
    { 'l', NULL, "snapshot_param", IMG_CALL, 0, "take the content of a snapshot",
      take_snapshot },
    OPTION_SHARE(MeasureArgs, image),
    OPTION_END,
};

static void print_measure(const MeasureArgs *a, bool with_image, uint64_t required, uint64_t full,
                          uint64_t bitmaps)
{
    bool has_bitmaps = bitmaps != UINT64_MAX;

    if (a->json) {
        Json *d = json_new_dict();

        if (has_bitmaps) {
            json_set(d, "bitmaps", json_new_uint(bitmaps));
        }
        json_set(d, "required", json_new_uint(required));
        json_set(d, "fully-allocated", json_new_uint(full));
        print_json(d);
        return;
    }
    printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
    if (has_bitmaps && with_image) {
        printf("bitmaps size: %" PRIu64 "\n", bitmaps);
    }
}

static int img_measure(const ImgCommand *command, int argc, char **argv)
{
    MeasureArgs a = { .format = "raw" };
    int status = img_parse(command, &a, &argc, &argv);
    uint64_t required, full, bitmaps;
    GError *error = NULL;
    Image image = { 0 };

    if (status >= 0) {
        return status;
    }
    if (!!a.size == (argc == 1)) {
        return usage_error(a.size ? "--size N cannot be used together with a filename."
                                  : "Either --size N or one filename must be specified.");
    }
    a.opts = a.opts ? a.opts : node_opts_new();
    if (a.size) {
        node_opts_set(a.opts, "size", a.size);
    } else if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    status = 0;
    if ((a.snapshot && !node_snapshot_load_tmp(image.node, a.snapshot, &error)) ||
        !format_measure(a.format, a.opts, image.node, &required, &full, &bitmaps, &error)) {
        error_report_free(error);
        status = 1;
    } else {
        print_measure(&a, image.node != NULL, required, full, bitmaps);
    }
    image_close(&image);
    node_opts_free(a.opts);
    return status;
}

const ImgCommand img_measure_command = {
    "measure", measure_options, "[filename]", 0, 1, "At most one filename argument is allowed.",
    img_measure,
};
