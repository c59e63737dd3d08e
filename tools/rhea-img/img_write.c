/* SPDX-License-Identifier: MIT */
/*
 * rhea-img commands that change images: create, resize, commit, rebase, amend.
 * convert is in img_convert.c, dd and bench are in img_dd.c.
 */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

enum { OPT_IMAGE_OPTS = 256, OPT_PREALLOC, OPT_SHRINK, OPT_FORCE, OPT_OUTPUT };

#define COPY_CHUNK (2u << 20)

/* ---- create ---- */

static bool wants_help(const NodeOpts *opts)
{
    return node_opts_get(opts, "help") || node_opts_get(opts, "?");
}

int img_create(int argc, char **argv)
{
    static const struct option options[] = { { "help", 0, NULL, 'h' }, { 0 } };
    g_autoptr(NodeOpts) opts = node_opts_new();
    const char *format = "raw", *backing = NULL, *backing_format = NULL, *filename;
    bool quiet = false, unsafe = false;
    GError *error = NULL;
    uint64_t size;
    int c;

    while ((c = getopt_long(argc, argv, ":F:b:f:ho:qu", options, NULL)) != -1) {
        switch (c) {
        case 'F':
            backing_format = optarg;
            break;
        case 'b':
            backing = optarg;
            break;
        case 'f':
            format = optarg;
            break;
        case 'o':
            if (!add_create_opts(opts, optarg)) {
                return 1;
            }
            break;
        case 'q':
            quiet = true;
            break;
        case 'u':
            unsafe = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    if (wants_help(opts)) {
        const char *text = format_create_help(format);

        if (!text) {
            error_report("Unknown file format '%s'", format);
            return 1;
        }
        printf("Supported options:\n%s", text);
        return 0;
    }
    if (optind >= argc) {
        return usage_error("Expecting image file name");
    }
    filename = argv[optind++];
    if (optind < argc) {
        if (!size_arg("size", argv[optind], &size)) {
            return 1;
        }
        node_opts_set(opts, "size", argv[optind++]);
    }
    if (optind != argc) {
        return usage_error("Unexpected argument: %s", argv[optind]);
    }
    if (backing) {
        node_opts_set(opts, "backing_file", backing);
    }
    if (backing_format) {
        node_opts_set(opts, "backing_fmt", backing_format);
    }
    backing = node_opts_get(opts, "backing_file");
    backing_format = node_opts_get(opts, "backing_fmt");
    if (backing && !backing_format) {
        error_report("%s: Backing file specified without backing format", filename);
        return 1;
    }
    if (backing_format && !format_exists(backing_format)) {
        error_report("%s: Unknown backing file format '%s'", filename, backing_format);
        return 1;
    }
    if (backing && !unsafe) {
        g_autofree char *full = path_combine(filename, backing);
        OpenArgs args = { .format = backing_format, .force_share = true };
        Image image;

        if (g_str_equal(full, filename)) {
            error_report("%s: Error: Trying to create an image with the same filename as the "
                         "backing file", filename);
            return 1;
        }
        if (!image_open(&image, full, &args)) {
            fprintf(stderr, "Could not open backing image.\n");
            return 1;
        }
        if (!node_opts_get(opts, "size")) {
            g_autofree char *text = g_strdup_printf("%" PRIu64, node_length(image.node));

            node_opts_set(opts, "size", text);
        }
        image_close(&image);
    }
    if (!node_opts_get(opts, "size")) {
        error_report("%s: Image creation needs a size parameter", filename);
        return 1;
    }
    if (!quiet) {
        /* clang-format off */
        static const struct { const char *name, *qcow2_default; } shown[] = {
            { "cluster_size", "65536" }, { "extended_l2", "off" }, { "preallocation", NULL },
            { "compression_type", "zlib" }, { "size", NULL }, { "backing_file", NULL },
            { "backing_fmt", NULL }, { "data_file", NULL }, { "data_file_raw", NULL },
            { "lazy_refcounts", "off" }, { "refcount_bits", "16" },
        };
        /* clang-format on */

        printf("Formatting '%s', fmt=%s", filename, format);
        for (unsigned i = 0; i < ARRAY_LEN(shown); i++) {
            const char *value = node_opts_get(opts, shown[i].name);
            uint64_t number;

            if (!value && g_str_equal(format, "qcow2")) {
                value = shown[i].qcow2_default;
            }
            if (value && (g_str_equal(shown[i].name, "size") ||
                          g_str_equal(shown[i].name, "cluster_size")) &&
                parse_size("size", value, 1, &number, NULL)) {
                printf(" %s=%" PRIu64, shown[i].name, number);
            } else if (value) {
                printf(" %s=%s", shown[i].name, value);
            }
        }
        printf("\n");
    }
    if (!image_create(filename, format, opts, &error)) {
        error_report("%s: %s", filename, error->message);
        g_error_free(error);
        return 1;
    }
    return 0;
}

/* ---- resize ---- */

int img_resize(int argc, char **argv)
{
    static const struct option options[] = {
        { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { "preallocation", 1, NULL, OPT_PREALLOC },
        { "shrink", 0, NULL, OPT_SHRINK }, { 0 },
    };
    OpenArgs args = { .writable = true, .resize = true };
    const char *prealloc = "off", *text;
    char sign = 0;
    bool quiet = false, may_shrink = false;
    uint64_t size, old;
    GError *error = NULL;
    Image image;
    int c;

    /* "-1G" is an argument, not an option. */
    if (argc < 3) {
        return usage_error("Not enough arguments");
    }
    text = argv[--argc];
    while ((c = getopt_long(argc, argv, ":f:hq", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            args.format = optarg;
            break;
        case 'q':
            quiet = true;
            break;
        case OPT_IMAGE_OPTS:
            args.image_opts = true;
            break;
        case OPT_PREALLOC:
            prealloc = optarg;
            break;
        case OPT_SHRINK:
            may_shrink = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    if (optind != argc - 1) {
        return usage_error("Expecting image file name and size");
    }
    if (*text == '+' || *text == '-') {
        sign = *text++;
    }
    if (!size_arg("size", text, &size) || !image_open(&image, argv[optind], &args)) {
        return 1;
    }
    old = node_length(image.node);
    if (sign == '+') {
        size = size > INT64_MAX - old ? INT64_MAX : old + size;
    } else if (sign == '-') {
        size = size > old ? 0 : old - size;
    }
    size = align_up(MIN(size, INT64_MAX - 512), 512);
    if (size == 0 && sign == '-') {
        error_report("New image size must be positive");
        image_close(&image);
        return 1;
    }
    if (size < old && !may_shrink) {
        error_report("Use the --shrink option to perform a shrink operation.");
        warn_report("Shrinking an image will delete all data beyond the shrunken image's end. "
                    "Before performing such an operation, make sure there is no important data "
                    "there.");
        image_close(&image);
        return 1;
    }
    if (!node_truncate(image.node, size, prealloc, &error)) {
        error_report_free(error);
        image_close(&image);
        return 1;
    }
    if (!image_close(&image)) {
        return 1;
    }
    if (!quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

/* ---- copying between layers ---- */

typedef struct Copy {
    BlockNode *from, *to, *old_base;   /* commit: from -> to;  rebase: keep what would change */
    BlockNode *new_base;
    Progress progress;
} Copy;

int io_failed(const char *what, uint64_t at, int ret)
{
    error_report("error while %s at offset %" PRIu64 ": %s", what, at, strerror(-ret));
    return 1;
}

/* All that FROM, and what is above TO, has of its own goes into TO. */
static int co_commit_run(void *opaque)
{
    Copy *m = opaque;
    g_autofree uint8_t *buf = g_malloc(COPY_CHUNK);
    uint64_t at = 0, end = m->from->length;

    while (at < end) {
        BlockStatus s;
        int depth, ret = co_node_status_above(m->from, m->to, at, end - at, &s, &depth);
        uint64_t n;

        if (ret < 0) {
            return io_failed("reading the map", at, ret);
        }
        n = s.bytes;
        if ((s.flags & BLK_STATUS_ALLOCATED) && (s.flags & BLK_STATUS_ZERO)) {
            ret = co_node_write_zeroes(m->to, at, n, BLK_REQ_MAY_UNMAP);
        } else if (s.flags & BLK_STATUS_ALLOCATED) {
            n = MIN(n, COPY_CHUNK);
            ret = co_node_pread(m->from, at, buf, n);
            if (ret == 0) {
                ret = co_node_pwrite(m->to, at, buf, n, 0);
            }
        }
        if (ret < 0) {
            return io_failed("committing", at, ret);
        }
        at += n;
        progress_show(&m->progress, 100.0 * (double)at / (double)end);
    }
    return co_node_flush(m->to) < 0 ? 1 : 0;
}

static bool find_base(BlockNode *top, const char *base, BlockNode **out)
{
    if (!base) {
        *out = node_backing(top);
        return *out != NULL;
    }
    for (BlockNode *n = node_backing(top); n; n = node_backing(n)) {
        if (g_str_equal(n->filename, base) ||
            (n->parents->len && g_str_equal(base, ((BlockChild *)n->parents->pdata[0])
                                                      ->parent->backing_file))) {
            *out = n;
            return true;
        }
    }
    return false;
}

int img_commit(int argc, char **argv)
{
    static const struct option options[] = { { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { 0 } };
    OpenArgs args = { .writable = true, .resize = true }, base_args = { .writable = true,
                      .resize = true, .no_backing = false };
    Copy m = { 0 };
    bool quiet = false, drop = false;
    const char *base = NULL, *cache = NULL;
    g_autofree char *base_name = NULL;
    g_autofree char *base_format = NULL;
    GError *error = NULL;
    Image top, bottom;
    BlockNode *found;
    int c, status;

    while ((c = getopt_long(argc, argv, ":f:ht:b:dpqr:", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            args.format = optarg;
            break;
        case 't':
            cache = optarg;
            break;
        case 'b':
            base = optarg;
            drop = true;               /* the layers between would show through */
            break;
        case 'd':
            drop = true;
            break;
        case 'p':
            m.progress.on = true;
            break;
        case 'q':
            quiet = true;
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
    args.cache = base_args.cache = cache;
    if (!image_open(&top, argv[optind], &args)) {
        return 1;
    }
    if (!find_base(top.node, base, &found)) {
        if (base) {
            error_report("Did not find '%s' in the backing chain of '%s'", base, argv[optind]);
        } else {
            error_report("Image does not have a backing file");
        }
        image_close(&top);
        return 1;
    }
    /* The base once more, writable: the chain's own node and its lock make way for it. */
    base_name = g_strdup(found->filename);
    base_format = g_strdup(found->type->name);
    if (found == node_backing(top.node)) {
        if (!node_set_backing(top.node, NULL, &error)) {
            error_report_free(error);
            image_close(&top);
            return 1;
        }
    } else {
        BlockNode *above = node_backing(top.node);

        while (node_backing(above) != found) {
            above = node_backing(above);
        }
        if (!node_set_backing(above, NULL, &error)) {
            error_report_free(error);
            image_close(&top);
            return 1;
        }
    }
    base_args.format = base_format;
    if (!image_open(&bottom, base_name, &base_args)) {
        image_close(&top);
        return 1;
    }
    m.from = top.node;
    m.to = bottom.node;
    status = 0;
    if (m.to->length < m.from->length &&
        !node_truncate(m.to, m.from->length, "off", &error)) {
        error_report_free(error);
        status = 1;
    }
    if (status == 0) {
        /* Without its base below, what TOP lacks reads as "no layer has it". */
        status = run_job(co_commit_run, &m);
    }
    if (status == 0) {
        progress_end(&m.progress);
    }
    if (!image_close(&bottom)) {
        status = 1;
    }
    if (status == 0 && !drop && top.node->type->make_empty && !node_make_empty(top.node, &error)) {
        error_report("Could not empty %s: %s", argv[optind], error->message);
        g_error_free(error);
        status = 1;
    }
    if (!image_close(&top)) {
        status = 1;
    }
    if (status == 0 && !quiet) {
        printf("Image committed.\n");
    }
    return status;
}

/* ---- rebase ---- */

static int read_base(BlockNode *base, uint64_t at, uint64_t n, uint8_t *buf)
{
    if (!base) {
        memset(buf, 0, n);
        return 0;
    }
    return co_node_pread(base, at, buf, n);
}

static int co_rebase_run(void *opaque)
{
    Copy *m = opaque;
    g_autofree uint8_t *old = g_malloc(COPY_CHUNK);
    g_autofree uint8_t *fresh = g_malloc(COPY_CHUNK);
    uint64_t at = 0, end = m->to->length;

    while (at < end) {
        BlockStatus s;
        int ret = co_node_status(m->to, at, MIN(end - at, COPY_CHUNK), &s);
        uint64_t n = s.bytes;

        if (ret < 0) {
            return io_failed("reading image metadata", at, ret);
        }
        if (!(s.flags & BLK_STATUS_ALLOCATED)) {
            ret = read_base(m->old_base, at, n, old);
            ret = ret < 0 ? ret : read_base(m->new_base, at, n, fresh);
            /* Write each run of differing 512-byte blocks. */
            for (uint64_t i = 0; i < n && ret == 0;) {
                uint64_t k = i;

                while (k < n && memcmp(old + k, fresh + k, MIN(512, n - k)) != 0) {
                    k += 512;
                }
                k = MIN(k, n);
                if (k > i) {
                    ret = buffer_is_zero(old + i, k - i)
                              ? co_node_write_zeroes(m->to, at + i, k - i, 0)
                              : co_node_pwrite(m->to, at + i, old + i, k - i, 0);
                }
                i = k > i ? k : i + 512;
            }
            if (ret < 0) {
                return io_failed("rebasing", at, ret);
            }
        }
        at += n;
        progress_show(&m->progress, 100.0 * (double)at / (double)end);
    }
    return 0;
}

int img_rebase(int argc, char **argv)
{
    static const struct option options[] = { { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { 0 } };
    OpenArgs args = { .writable = true, .resize = true }, base_args = { 0 };
    const char *base = NULL, *base_format = NULL;
    g_autofree char *full = NULL;
    GError *error = NULL;
    bool unsafe = false;
    Image image, fresh = { 0 };
    Copy m = { 0 };
    int c, status = 0;

    while ((c = getopt_long(argc, argv, ":hf:F:b:upt:T:qU", options, NULL)) != -1) {
        switch (c) {
        case 'f':
            args.format = optarg;
            break;
        case 'F':
            base_format = optarg;
            break;
        case 'b':
            base = optarg;
            break;
        case 'u':
            unsafe = true;
            break;
        case 'p':
            m.progress.on = true;
            break;
        case 't':
            args.cache = optarg;
            break;
        case 'T':
            base_args.cache = optarg;
            break;
        case 'q':
            break;                     /* nothing but progress and errors is printed */
        case 'U':
            base_args.force_share = true;
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
    if (!unsafe && !base) {
        return usage_error("Must specify backing file (-b) or use simple rebase mode (-u)");
    }
    if (base_format && !format_exists(base_format)) {
        error_report("Invalid format name: '%s'", base_format);
        return 1;
    }
    args.no_backing = unsafe;
    if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    if (!unsafe && base && *base) {
        full = path_combine(image.node->filename, base);
        base_args.format = base_format;
        if (!image_open(&fresh, full, &base_args)) {
            image_close(&image);
            return 1;
        }
    }
    if (!unsafe) {
        m.to = image.node;
        m.old_base = node_backing(image.node);
        m.new_base = fresh.node;
        status = run_job(co_rebase_run, &m);
        if (status == 0) {
            progress_end(&m.progress);
        }
    }
    if (status == 0 && node_flush(image.node) < 0) {
        status = 1;
    }
    if (status == 0 && !node_change_backing_file(image.node, base, base_format, &error)) {
        error_report("Could not change the backing file to '%s': %s", base ? base : "",
                     error->message);
        g_error_free(error);
        status = 1;
    }
    image_close(&fresh);
    return image_close(&image) ? status : 1;
}

/* ---- amend ---- */

int img_amend(int argc, char **argv)
{
    static const struct option options[] = {
        { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { "force", 0, NULL, OPT_FORCE }, { 0 },
    };
    g_autoptr(NodeOpts) opts = node_opts_new();
    OpenArgs args = { .writable = true, .resize = true };
    GError *error = NULL;
    bool given = false;
    Image image;
    int c, status = 0;

    while ((c = getopt_long(argc, argv, ":ho:f:t:pq", options, NULL)) != -1) {
        switch (c) {
        case 'o':
            given = true;
            if (!add_create_opts(opts, optarg)) {
                return 1;
            }
            break;
        case 'f':
            args.format = optarg;
            break;
        case 't':
            args.cache = optarg;
            break;
        case 'p':
        case 'q':
        case OPT_FORCE:
            break;                     /* amending is one header write: nothing to show or force */
        case OPT_IMAGE_OPTS:
            args.image_opts = true;
            break;
        default:
            return bad_option(c, argv);
        }
    }
    if (!given) {
        return usage_error("Must specify options (-o)");
    }
    if (optind != argc - 1) {
        return usage_error("Expecting one image file name");
    }
    if (!image_open(&image, argv[optind], &args)) {
        return 1;
    }
    if (!node_amend(image.node, opts, &error)) {
        error_report_free(error);
        status = 1;
    }
    return image_close(&image) ? status : 1;
}
