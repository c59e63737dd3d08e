/* SPDX-License-Identifier: MIT */
/*
 * rhea-img compare and measure.
 *
 * Coroutines compare one piece after the other, while worker threads read for them.  What is found first in
 * the images is told, not what was found first: nobody begins behind it, and who is in front of it finishes.
 */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* Long enough that to wake a thread for one is little of it. */
#define PIECE (1u << 20)
#define WORKERS 3

/* Bytes of which each side has all or nothing. */
typedef struct Run {
    uint64_t at, bytes;
    uint32_t flags[2];
} Run;

typedef struct CompareArgs {
    OpenArgs first, second;
    BlockNode *nodes[2];
    bool strict, quiet;
    Progress progress;
    CoMutex taking;                /* of the next run: asking for its status may wait */
    uint64_t next, length;
    Run run;                       /* that NEXT is in, or behind */
    unsigned running;
    uint64_t found_at;             /* UINT64_MAX: nothing so far */
    int status;
    char *text;
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

/* The comparison ends at AT with STATUS, unless it ends before. */
static void found(CompareArgs *m, uint64_t at, int status, char *text_take)
{
    if (at < m->found_at) {
        m->found_at = at;
        m->status = status;
        g_free(m->text);
        m->text = text_take;
    } else {
        g_free(text_take);
    }
}

/* Asks for what is at m->next. */
static bool co_find_run(CompareArgs *m)
{
    Run *r = &m->run;

    *r = (Run){ m->next, m->length - m->next, { BLK_STATUS_ZERO, BLK_STATUS_ZERO } };
    for (unsigned i = 0; i < 2; i++) {
        uint64_t length = m->nodes[i]->length;
        BlockStatus status;
        int depth, ret;

        if (r->at >= length) {
            continue;
        }
        ret = co_node_status_above(m->nodes[i], NULL, r->at, length - r->at, &status, &depth);
        if (ret < 0) {
            found(m, r->at, 3, g_strdup_printf("Sector allocation test failed: %s", strerror(-ret)));
            return false;
        }
        r->flags[i] = status.flags;
        r->bytes = MIN(r->bytes, status.bytes);
    }
    if (m->strict && r->at < MIN(m->nodes[0]->length, m->nodes[1]->length) &&
        ((r->flags[0] ^ r->flags[1]) & ~BLK_STATUS_RECURSE)) {
        found(m, r->at, 1, g_strdup_printf("Strict mode: Offset %" PRIu64 " block status mismatch!", r->at));
        return false;
    }
    return true;
}

/* What is to be compared next; false at the end. */
static bool co_take(CompareArgs *m, Run *piece)
{
    bool taken = false;

    co_mutex_lock(&m->taking);
    while (!taken && m->next < MIN(m->length, m->found_at)) {
        if (m->next >= m->run.at + m->run.bytes && !co_find_run(m)) {
            break;
        }
        *piece = m->run;
        piece->at = m->next;
        piece->bytes = m->run.at + m->run.bytes - m->next;
        taken = !(m->run.flags[0] & m->run.flags[1] & BLK_STATUS_ZERO);
        if (taken) {
            piece->bytes = MIN(piece->bytes, PIECE);
        }
        m->next += piece->bytes;
    }
    co_mutex_unlock(&m->taking);
    return taken;
}

/* The first sector in which they differ; NULL stands for zeroes.  LEN: none. */
static size_t first_difference(const uint8_t *x, const uint8_t *y, size_t len)
{
    const uint8_t *data = x ? x : y;
    bool both = x && y;
    size_t i = 0;

    if (both ? memcmp(x, y, len) == 0 : buffer_is_zero(data, len)) {
        return len;
    }
    while (both ? memcmp(x + i, y + i, MIN(512, len - i)) == 0
                : buffer_is_zero(data + i, MIN(512, len - i))) {
        i += 512;
    }
    return i;
}

static bool co_compare(CompareArgs *m, const Run *piece, uint8_t *const *buffers)
{
    const uint8_t *sides[2] = { NULL };
    size_t i;

    for (unsigned k = 0; k < 2; k++) {
        int ret = 0;

        if (!(piece->flags[k] & BLK_STATUS_ZERO)) {
            ret = co_node_pread(m->nodes[k], piece->at, buffers[k], piece->bytes);
            sides[k] = buffers[k];
        }
        if (ret < 0) {
            found(m, piece->at, 4, g_strdup_printf("Error while reading offset %" PRIu64 " of %s: %s", piece->at,
                                                   node_filename(m->nodes[k]), strerror(-ret)));
            return false;
        }
    }
    i = first_difference(sides[0], sides[1], piece->bytes);
    if (i < piece->bytes) {
        found(m, piece->at + i, 1, g_strdup_printf("Content mismatch at offset %" PRIu64 "!", piece->at + i));
        return false;
    }
    progress_show(&m->progress, 100.0 * (double)MIN(m->next, m->length) / (double)m->length);
    return true;
}

static void co_compare_worker(void *opaque)
{
    CompareArgs *m = opaque;
    g_autofree uint8_t *x = io_buffer_new(PIECE);
    g_autofree uint8_t *y = io_buffer_new(PIECE);
    uint8_t *const buffers[2] = { x, y };
    Run piece;

    while (co_take(m, &piece) && co_compare(m, &piece, buffers)) {
    }
    m->running--;
}

/* A mismatch is a result, the rest are errors. */
static int tell_found(CompareArgs *m)
{
    uint64_t a = m->nodes[0]->length, b = m->nodes[1]->length;

    if (a != b && m->found_at >= MIN(a, b) && !m->quiet) {
        printf("Warning: Image size mismatch!\n");
    }
    if (m->status > 1) {
        error_report("%s", m->text);
    } else if (m->status && !m->quiet) {
        printf("%s\n", m->text);
    }
    g_free(m->text);
    return m->status;
}

static int compare_open(CompareArgs *m)
{
    uint64_t a = m->nodes[0]->length, b = m->nodes[1]->length;

    if (a != b && m->strict) {
        if (!m->quiet) {
            printf("Strict mode: Image size mismatch!\n");
        }
        return 1;
    }
    m->length = MAX(a, b);
    m->found_at = UINT64_MAX;
    co_mutex_init(&m->taking);
    for (unsigned i = 0; i < WORKERS; i++) {
        m->running++;
        coroutine_start(co_compare_worker, m);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), m->running > 0);
    return tell_found(m);
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
    m.first.async = m.second.async = sysconf(_SC_NPROCESSORS_ONLN) > 1;
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
    m.nodes[0] = x.node;
    m.nodes[1] = y.node;
    status = compare_open(&m);
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
