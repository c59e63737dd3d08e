/* SPDX-License-Identifier: MIT */
/* rhea-img check and map.  Single threaded. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

static void print_line(const char *line, void *opaque)
{
    fprintf(stderr, "%s\n", line);
}

static void set_nonzero(Json *dict, const char *key, uint64_t value)
{
    if (value) {
        json_set(dict, key, json_new_uint(value));
    }
}

static void check_json(const CheckResult *r, const Image *image)
{
    Json *d = json_new_dict();

    set_nonzero(d, "image-end-offset", r->image_end_offset);
    if (r->has_clusters) {
        set_nonzero(d, "total-clusters", r->total_clusters);
    }
    json_set(d, "check-errors", json_new_uint(r->check_errors));
    set_nonzero(d, "corruptions", r->corruptions);
    set_nonzero(d, "leaks", r->leaks);
    set_nonzero(d, "corruptions-fixed", r->corruptions_fixed);
    set_nonzero(d, "leaks-fixed", r->leaks_fixed);
    set_nonzero(d, "allocated-clusters", r->allocated_clusters);
    set_nonzero(d, "fragmented-clusters", r->fragmented_clusters);
    set_nonzero(d, "compressed-clusters", r->compressed_clusters);
    json_set(d, "filename", json_new_string(node_filename(image->node)));
    json_set(d, "format", json_new_string(node_format(image->node)));
    print_json(d);
}

static void check_human(const CheckResult *r)
{
    if (!r->corruptions && !r->leaks && !r->check_errors) {
        printf("No errors were found on the image.\n");
    } else {
        if (r->corruptions) {
            printf("\n%" PRIu64 " errors were found on the image.\nData may be corrupted, or "
                   "further writes to the image may corrupt it.\n", r->corruptions);
        }
        if (r->leaks) {
            printf("\n%" PRIu64 " leaked clusters were found on the image.\nThis means waste of "
                   "disk space, but no harm to data.\n", r->leaks);
        }
        if (r->check_errors) {
            printf("\n%" PRIu64 " internal errors have occurred during the check.\n",
                   r->check_errors);
        }
    }
    if (r->total_clusters && r->allocated_clusters) {
        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% "
               "compressed clusters\n", r->allocated_clusters, r->total_clusters,
               (double)r->allocated_clusters * 100 / (double)r->total_clusters,
               (double)r->fragmented_clusters * 100 / (double)r->allocated_clusters,
               (double)r->compressed_clusters * 100 / (double)r->allocated_clusters);
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
    }
}

typedef struct CheckArgs {
    OpenArgs image;
    bool json, quiet;
    int fix;
} CheckArgs;

static bool take_repair(void *args, const char *value)
{
    CheckArgs *a = args;

    a->fix = g_str_equal(value, "leaks") ? CHECK_FIX_LEAKS
             : g_str_equal(value, "all") ? CHECK_FIX_LEAKS | CHECK_FIX_ERRORS : 0;
    if (!a->fix) {
        usage_error("--repair/-r must be used with 'leaks' or 'all'");
    }
    return a->fix != 0;
}

static const ImgOption check_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(CheckArgs, image),
    OPTION_QUIET(CheckArgs, quiet),
    OPTION_FORMAT(CheckArgs, image),
    OPTION_OUTPUT(CheckArgs, json),
    { 'r', "repair", "leaks|all", IMG_CALL, 0, "repair what is found", take_repair },
    OPTION_CACHE('T', CheckArgs, image, src_cache),
    OPTION_SHARE(CheckArgs, image),
    OPTION_END,
};

/* Once, and after a repair once more. */
static bool run_check(const CheckArgs *a, BlockNode *node, CheckResult *result)
{
    CheckResult again = { .print = result->print };
    GError *error = NULL;

    if (!node_check(node, a->fix, result, &error)) {
        error_report_free(error);
        return false;
    }
    if (!result->corruptions_fixed && !result->leaks_fixed) {
        return true;
    }
    if (!a->quiet && !a->json) {
        printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
               " leaked clusters\n    %" PRIu64 " corruptions\n\nDouble checking the fixed "
               "image now...\n", result->leaks_fixed, result->corruptions_fixed);
    }
    if (!node_check(node, 0, &again, &error)) {
        error_report_free(error);
        return false;
    }
    again.leaks_fixed = result->leaks_fixed;
    again.corruptions_fixed = result->corruptions_fixed;
    *result = again;
    return true;
}

static int img_check(const ImgCommand *command, int argc, char **argv)
{
    CheckArgs a = { .image = { .no_backing = true, .check = true } };
    int status = img_parse(command, &a, &argc, &argv);
    CheckResult result = { 0 };
    Image image;

    if (status >= 0) {
        return status;
    }
    a.image.writable = a.image.resize = a.fix != 0;
    if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    if (!node_can_check(image.node)) {
        error_report("This image format does not support checks");
        image_close(&image);
        return 63;
    }
    if (!a.json && !a.quiet) {
        result.print = print_line;
    }
    if (!run_check(&a, image.node, &result)) {
        image_close(&image);
        return 1;
    }
    if (a.json) {
        check_json(&result, &image);
    } else if (!a.quiet) {
        check_human(&result);
    }
    status = result.corruptions || result.check_errors ? (result.check_errors &&
             !result.corruptions ? 1 : 2) : result.leaks ? 3 : 0;
    return image_finish(&image, status);
}

const ImgCommand img_check_command = {
    "check", check_options, "filename", 1, 1, "Expecting one image file name", img_check,
};

/* ---- map ---- */

typedef struct MapArgs {
    OpenArgs image;
    BlockNode *node;
    uint64_t start, max, end;
    bool json;
} MapArgs;

static const ImgOption map_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(MapArgs, image),
    OPTION_FORMAT(MapArgs, image),
    { 's', "start-offset", "offset", IMG_SIZE, offsetof(MapArgs, start), "where to begin" },
    { 'l', "max-length", "len", IMG_SIZE, offsetof(MapArgs, max), "how much to look at" },
    OPTION_OUTPUT(MapArgs, json),
    OPTION_SHARE(MapArgs, image),
    OPTION_END,
};

typedef struct Extent {
    uint64_t start, length, map;
    uint32_t flags;
    int depth;
    BlockNode *file;
} Extent;

static int map_emit(const MapArgs *m, const Extent *e, const Extent *next)
{
    if (!m->json) {
        if ((e->flags & BLK_STATUS_DATA) && !(e->flags & BLK_STATUS_OFFSET_VALID)) {
            error_report("File contains external, encrypted or compressed clusters.");
            return 1;
        }
        if ((e->flags & (BLK_STATUS_DATA | BLK_STATUS_ZERO)) == BLK_STATUS_DATA) {
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length, e->map,
                   e->file ? e->file->filename : "");
        }
        return 0;
    }
    printf("{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %d, \"present\": %s, "
           "\"zero\": %s, \"data\": %s", e->start, e->length, e->depth,
           e->flags & BLK_STATUS_ALLOCATED ? "true" : "false",
           e->flags & BLK_STATUS_ZERO ? "true" : "false",
           e->flags & BLK_STATUS_DATA ? "true" : "false");
    if (e->flags & BLK_STATUS_OFFSET_VALID) {
        printf(", \"offset\": %" PRIu64, e->map);
    }
    printf("}%s", next ? ",\n" : "");
    return 0;
}

static int co_map_run(void *opaque)
{
    MapArgs *m = opaque;
    Extent last = { 0 };
    uint64_t at = m->start;

    printf("%s", m->json ? "[" : "");
    if (!m->json) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    while (at < m->end) {
        BlockStatus s;
        Extent e;
        int depth, ret = co_node_status_above(m->node, NULL, at, m->end - at, &s, &depth);

        if (ret < 0) {
            error_report("Failed to read image metadata: %s", strerror(-ret));
            return 1;
        }
        e = (Extent){ at, s.bytes, s.map, s.flags & 0xf, depth, s.file };
        at += s.bytes;
        if (last.length && last.flags == e.flags && last.depth == e.depth &&
            last.file == e.file && (!(e.flags & BLK_STATUS_OFFSET_VALID) ||
                                    last.map + last.length == e.map)) {
            last.length += e.length;
            continue;
        }
        if (last.length && map_emit(m, &last, &e)) {
            return 1;
        }
        last = e;
    }
    if (last.length && map_emit(m, &last, NULL)) {
        return 1;
    }
    printf("%s", m->json ? "]\n" : "");
    return 0;
}

static int img_map(const ImgCommand *command, int argc, char **argv)
{
    MapArgs m = { .max = UINT64_MAX };
    int status = img_parse(command, &m, &argc, &argv);
    Image image;

    if (status >= 0) {
        return status;
    }
    if (!image_open(&image, argv[0], &m.image)) {
        return 1;
    }
    m.node = image.node;
    m.end = node_length(image.node);
    m.end = m.start < m.end ? m.start + MIN(m.max, m.end - m.start) : m.start;
    status = run_job(co_map_run, &m);
    image_close(&image);
    return status;
}

const ImgCommand img_map_command = {
    "map", map_options, "filename", 1, 1, "Expecting one image file name", img_map,
};
