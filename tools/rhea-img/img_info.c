/* SPDX-License-Identifier: MIT */
/*
 * rhea-img commands that look: info, check, map, compare, measure, and snapshot.
 */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { OPT_OUTPUT = 256, OPT_CHAIN, OPT_OBJECT, OPT_IMAGE_OPTS, OPT_START, OPT_MAX, OPT_SIZE };

#define COMMON_LONG                                                                      \
    { "output", 1, NULL, OPT_OUTPUT }, { "image-opts", 0, NULL, OPT_IMAGE_OPTS },        \
    { "force-share", 0, NULL, 'U' }, { "format", 1, NULL, 'f' }

/* ---- info ---- */

static void print_snapshots(BlockNode *node)
{
    g_autoptr(GPtrArray) list = node->type->snapshot_list ? node_snapshot_list(node, NULL) : NULL;

    if (!list || !list->len) {
        return;
    }
    printf("Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
           "VM CLOCK", "ICOUNT");
    for (unsigned i = 0; i < list->len; i++) {
        const SnapshotInfo *s = list->pdata[i];
        g_autofree char *size = human_size(s->vm_state_size);
        g_autofree char *icount = s->has_icount ? g_strdup_printf("%" PRIu64, s->icount)
                                                : g_strdup("");
        time_t when = (time_t)s->date_sec;
        uint64_t sec = s->vm_clock_ns / 1000000000;
        struct tm tm;
        char date[64];

        localtime_r(&when, &tm);
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
        printf("%-9s %-16s %8s%20s   %02d:%02d:%02d.%03d%11s\n", s->id, s->name, size, date,
               (int)(sec / 3600), (int)(sec / 60 % 60), (int)(sec % 60),
               (int)(s->vm_clock_ns / 1000000 % 1000), icount);
    }
}

static bool print_specific(const char *key, Json *value, void *opaque)
{
    g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');
    bool on = false;

    if (json_get_bool(value, &on)) {
        printf("    %s: %s\n", name, on ? "true" : "false");
    } else if (json_get_string(value)) {
        printf("    %s: %s\n", name, json_get_string(value));
    } else {
        g_autofree char *text = json_to_string(value);

        printf("    %s: %s\n", name, text);
    }
    return true;
}

static void print_info(BlockNode *node, Json *info)
{
    uint64_t length = align_up(node_length(node), 512);
    g_autofree char *size = human_size(length);
    Json *specific = json_lookup(info, "format-specific");
    uint64_t actual = 0;
    bool dirty = false;

    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\n",
           node_filename(node), node_format(node), size, length);
    if (json_get_uint(json_lookup(info, "actual-size"), &actual)) {
        g_autofree char *text = human_size(actual);

        printf("disk size: %s\n", text);
    }
    if (json_get_bool(json_lookup(info, "dirty-flag"), &dirty) && dirty) {
        printf("cleanly shut down: no\n");
    }
    if (node_cluster_size(node)) {
        printf("cluster_size: %u\n", node_cluster_size(node));
    }
    if (node_backing_filename(node)) {
        const char *full = json_lookup_string(info, "full-backing-filename");

        printf("backing file: %s", node_backing_filename(node));
        if (full && !g_str_equal(full, node_backing_filename(node))) {
            printf(" (actual path: %s)", full);
        }
        printf("\n");
        if (node_backing_format(node)) {
            printf("backing file format: %s\n", node_backing_format(node));
        }
    }
    print_snapshots(node);
    if (specific) {
        printf("Format specific information:\n");
        json_dict_foreach(json_lookup(specific, "data"), print_specific, NULL);
    }
}

int img_info(int argc, char **argv)
{
    static const struct option options[] = {
        COMMON_LONG, { "backing-chain", 0, NULL, OPT_CHAIN }, { 0 },
    };
    OpenArgs args = { .no_backing = true };
    bool json = false, chain = false;
    g_autofree char *filename = NULL;
    g_autofree char *format = NULL;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Json *list = json_new_list();
    int c, index = 0;

    while ((c = getopt_long(argc, argv, ":hf:U", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            format = g_strdup(optarg);
            break;
        case 'U':
            args.force_share = true;
            break;
        case OPT_OUTPUT:
            if (!parse_output(optarg, &json)) {
                return 1;
            }
            break;
        case OPT_CHAIN:
            chain = true;
            break;
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
    filename = g_strdup(argv[optind]);
    while (filename) {
        Image image;
        Json *info;

        if (!g_hash_table_add(seen, g_strdup(filename))) {
            error_report("Backing file '%s' creates an infinite loop.", filename);
            return 1;
        }
        args.format = format;
        if (!image_open(&image, filename, &args)) {
            return 1;
        }
        info = node_image_info(image.node, NULL);
        g_free(g_steal_pointer(&filename));
        g_free(g_steal_pointer(&format));
        if (chain && node_backing_filename(image.node)) {
            filename = node_backing_full(image.node, NULL);
            format = g_strdup(node_backing_format(image.node));
        }
        if (!json) {
            printf("%s", index++ ? "\n" : "");
            print_info(image.node, info);
        }
        json_append(list, info);
        args.image_opts = false;
        image_close(&image);
    }
    if (json) {
        print_json(chain ? json_ref(list) : json_ref(json_list_at(list, 0)));
    }
    json_unref(list);
    return 0;
}

/* ---- check ---- */

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

int img_check(int argc, char **argv)
{
    static const struct option options[] = {
        COMMON_LONG, { "repair", 1, NULL, 'r' }, { 0 },
    };
    OpenArgs args = { .no_backing = true, .check = true };
    CheckResult result = { 0 };
    bool json = false, quiet = false;
    GError *error = NULL;
    Image image;
    int c, fix = 0, status;

    while ((c = getopt_long(argc, argv, ":hf:r:T:qU", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            args.format = optarg;
            break;
        case 'r':
            if (g_str_equal(optarg, "leaks")) {
                fix = CHECK_FIX_LEAKS;
            } else if (g_str_equal(optarg, "all")) {
                fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
            } else {
                return usage_error("--repair/-r must be used with 'leaks' or 'all'");
            }
            break;
        case 'T':
            args.cache = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        case 'U':
            args.force_share = true;
            break;
        case OPT_OUTPUT:
            if (!parse_output(optarg, &json)) {
                return 1;
            }
            break;
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
    args.writable = args.resize = fix != 0;
    if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    if (!node_can_check(image.node)) {
        error_report("This image format does not support checks");
        image_close(&image);
        return 63;
    }
    if (!json && !quiet) {
        result.print = print_line;
    }
    if (!node_check(image.node, fix, &result, &error)) {
        error_report_free(error);
        image_close(&image);
        return 1;
    }
    if (result.corruptions_fixed || result.leaks_fixed) {
        CheckResult again = { .print = result.print };

        if (!quiet && !json) {
            printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
                   " leaked clusters\n    %" PRIu64 " corruptions\n\nDouble checking the fixed "
                   "image now...\n", result.leaks_fixed, result.corruptions_fixed);
        }
        if (!node_check(image.node, 0, &again, &error)) {
            error_report_free(error);
            image_close(&image);
            return 1;
        }
        again.leaks_fixed = result.leaks_fixed;
        again.corruptions_fixed = result.corruptions_fixed;
        result = again;
    }
    if (json) {
        check_json(&result, &image);
    } else if (!quiet) {
        check_human(&result);
    }
    status = result.corruptions || result.check_errors ? (result.check_errors &&
             !result.corruptions ? 1 : 2) : result.leaks ? 3 : 0;
    return image_close(&image) ? status : 1;
}

/* ---- map ---- */

typedef struct MapArgs {
    BlockNode *node;
    uint64_t start, end;
    bool json;
} MapArgs;

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

int img_map(int argc, char **argv)
{
    static const struct option options[] = {
        COMMON_LONG, { "start-offset", 1, NULL, OPT_START }, { "max-length", 1, NULL, OPT_MAX },
        { 0 },
    };
    OpenArgs args = { 0 };
    MapArgs m = { 0 };
    uint64_t max = UINT64_MAX;
    Image image;
    int c, status;

    while ((c = getopt_long(argc, argv, ":hf:s:l:U", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            args.format = optarg;
            break;
        case 'U':
            args.force_share = true;
            break;
        case OPT_OUTPUT:
            if (!parse_output(optarg, &m.json)) {
                return 1;
            }
            break;
        case 's':
        case OPT_START:
            if (!size_arg("start-offset", optarg, &m.start)) {
                return 1;
            }
            break;
        case 'l':
        case OPT_MAX:
            if (!size_arg("max-length", optarg, &max)) {
                return 1;
            }
            break;
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
    if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    m.node = image.node;
    m.end = node_length(image.node);
    m.end = m.start < m.end ? m.start + MIN(max, m.end - m.start) : m.start;
    status = run_job(co_map_run, &m);
    image_close(&image);
    return status;
}

/* ---- compare ---- */

typedef struct CompareArgs {
    BlockNode *a, *b;
    bool strict, quiet;
    Progress progress;
} CompareArgs;

static int differs(const CompareArgs *m, uint64_t at)
{
    if (!m->quiet) {
        printf("Content mismatch at offset %" PRIu64 "!\n", at);
    }
    return 1;
}

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

static int co_compare_run(void *opaque)
{
    CompareArgs *m = opaque;
    enum { CHUNK = 2 << 20 };
    g_autofree uint8_t *x = g_malloc(CHUNK);
    g_autofree uint8_t *y = g_malloc(CHUNK);
    uint64_t end = MAX(m->a->length, m->b->length), at = 0;

    while (at < end) {
        BlockStatus s = { .flags = BLK_STATUS_ZERO, .bytes = end - at }, t = s;
        int d, ret = 0, status;
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
            n = MIN(n, CHUNK);
            status = read_side(m->a, at, n, &s, x);
            status = status ? status : read_side(m->b, at, n, &t, y);
            if (status) {
                return status;
            }
            if (memcmp(x, y, n) != 0) {
                uint64_t i = 0;

                while (memcmp(x + i, y + i, MIN(512, n - i)) == 0) {
                    i += 512;
                }
                return differs(m, at + i);
            }
        }
        at += n;
        progress_show(&m->progress, 100.0 * (double)at / (double)end);
    }
    return 0;
}

int img_compare(int argc, char **argv)
{
    static const struct option options[] = { COMMON_LONG, { 0 } };
    OpenArgs a = { 0 }, b = { 0 };
    CompareArgs m = { 0 };
    Image x, y;
    int c, status;

    while ((c = getopt_long(argc, argv, ":hf:F:T:pqsU", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            a.format = optarg;
            break;
        case 'F':
            b.format = optarg;
            break;
        case 'T':
            a.cache = b.cache = optarg;
            break;
        case 'p':
            m.progress.on = true;
            break;
        case 'q':
            m.quiet = true;
            break;
        case 's':
            m.strict = true;
            break;
        case 'U':
            a.force_share = b.force_share = true;
            break;
        case OPT_IMAGE_OPTS:
            a.image_opts = b.image_opts = true;
            break;
        default:
            bad_option(c, argv);
            return 2;
        }
    }
    if (optind != argc - 2) {
        usage_error("Expecting two image file names");
        return 2;
    }
    m.progress.on = m.progress.on && !m.quiet;
    if (!image_open(&x, argv[optind], &a)) {
        return 2;
    }
    if (!image_open(&y, argv[optind + 1], &b)) {
        image_close(&x);
        return 2;
    }
    m.a = x.node;
    m.b = y.node;
    if (m.a->length != m.b->length && m.strict) {
        if (!m.quiet) {
            printf("Strict mode: Image size mismatch!\n");
        }
        status = 1;
    } else {
        if (m.a->length != m.b->length && !m.quiet) {
            printf("Warning: Image size mismatch!\n");
        }
        status = run_job(co_compare_run, &m);
        if (status == 0 && !m.quiet) {
            progress_end(&m.progress);
            printf("Images are identical.\n");
        }
    }
    image_close(&x);
    image_close(&y);
    return status;
}

/* ---- measure ---- */

int img_measure(int argc, char **argv)
{
    static const struct option options[] = { COMMON_LONG, { "size", 1, NULL, OPT_SIZE }, { 0 } };
    g_autoptr(NodeOpts) opts = node_opts_new();
    OpenArgs args = { 0 };
    const char *format = "raw", *size = NULL, *snapshot = NULL;
    uint64_t required, full, bitmaps;
    bool json = false;
    GError *error = NULL;
    Image image = { 0 };
    int c;

    while ((c = getopt_long(argc, argv, ":hf:l:o:O:U", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            args.format = optarg;
            break;
        case 'l':
            snapshot = g_str_has_prefix(optarg, "snapshot.") ? strchr(optarg, '=') + 1 : optarg;
            break;
        case 'o':
            if (!add_create_opts(opts, optarg)) {
                return 1;
            }
            break;
        case 'O':
            format = optarg;
            break;
        case 'U':
            args.force_share = true;
            break;
        case OPT_SIZE:
            size = optarg;
            break;
        case OPT_OUTPUT:
            if (!parse_output(optarg, &json)) {
                return 1;
            }
            break;
        case OPT_IMAGE_OPTS:
            args.image_opts = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    if (argc - optind > 1) {
        return usage_error("At most one filename argument is allowed.");
    }
    if (!!size == (argc - optind == 1)) {
        return usage_error(size ? "--size N cannot be used together with a filename."
                                : "Either --size N or one filename must be specified.");
    }
    if (size) {
        node_opts_set(opts, "size", size);
    } else if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    if (snapshot && !node_snapshot_load_tmp(image.node, snapshot, &error)) {
        error_report_free(error);
        return 1;
    }
    if (!format_measure(format, opts, image.node, &required, &full, &bitmaps, &error)) {
        error_report_free(error);
        image_close(&image);
        return 1;
    }
    if (json) {
        Json *d = json_new_dict();

        if (bitmaps != UINT64_MAX) {
            json_set(d, "bitmaps", json_new_uint(bitmaps));
        }
        json_set(d, "required", json_new_uint(required));
        json_set(d, "fully-allocated", json_new_uint(full));
        print_json(d);
    } else {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
        if (bitmaps != UINT64_MAX && image.node) {
            printf("bitmaps size: %" PRIu64 "\n", bitmaps);
        }
    }
    image_close(&image);
    return 0;
}

/* ---- snapshot ---- */

int img_snapshot(int argc, char **argv)
{
    static const struct option options[] = { COMMON_LONG, { 0 } };
    OpenArgs args = { .no_backing = true };
    SnapshotInfo vm = { 0 };
    const char *name = NULL;
    GError *error = NULL;
    Image image;
    struct timespec now;
    int c, action = 0;
    bool ok = true;

    while ((c = getopt_long(argc, argv, ":hla:c:d:qU", options, NULL)) != -1) {
        switch (c) {
        case 'l':
        case 'a':
        case 'c':
        case 'd':
            if (action) {
                return usage_error("Cannot mix '-l', '-a', '-c', '-d'");
            }
            action = c;
            name = optarg;
            break;
        case 'q':
            break;                     /* these commands print nothing but errors anyway */
        case 'U':
            args.force_share = true;
            break;
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
    args.writable = args.resize = action && action != 'l';
    if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    switch (action) {
    case 'c':
        clock_gettime(CLOCK_REALTIME, &now);
        vm.date_sec = (uint64_t)now.tv_sec;
        vm.date_nsec = (uint32_t)now.tv_nsec;
        ok = node_snapshot_create(image.node, name, &vm, &error);
        break;
    case 'a':
        ok = node_snapshot_apply(image.node, name, &error);
        break;
    case 'd':
        ok = node_snapshot_delete(image.node, name, &error);
        break;
    default:
        print_snapshots(image.node);
    }
    if (!ok) {
        error_report("Could not %s snapshot '%s': %s", action == 'c' ? "create"
                     : action == 'a' ? "apply" : "delete", name, error->message);
        g_error_free(error);
    }
    return image_close(&image) && ok ? 0 : 1;
}
