/* SPDX-License-Identifier: MIT */
/* rhea-img create, resize and amend.  Single threaded. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

static bool wants_help(const NodeOpts *opts)
{
    return opts && (node_opts_get(opts, "help") || node_opts_get(opts, "?"));
}

int show_create_help(const char *format, const NodeOpts *opts)
{
    const char *text = wants_help(opts) ? format_create_help(format) : NULL;

    if (!wants_help(opts)) {
        return -1;
    }
    if (!text) {
        error_report("Unknown file format '%s'", format);
        return 1;
    }
    printf("Supported %s options:\n%s", format, text);
    return 0;
}

/* ---- create ---- */

typedef struct CreateArgs {
    NodeOpts *opts;
    const char *format, *backing, *backing_format;
    bool quiet, unsafe;
} CreateArgs;

static const ImgOption create_options[] = {
    OPTION_OBJECT,
    OPTION_QUIET(CreateArgs, quiet),
    { 'f', NULL, "fmt", IMG_TEXT, offsetof(CreateArgs, format), "format of the image (raw)" },
    { 'b', NULL, "backing_file", IMG_TEXT, offsetof(CreateArgs, backing),
      "what the image shows where it was not written to" },
    { 'F', NULL, "backing_fmt", IMG_TEXT, offsetof(CreateArgs, backing_format), "its format" },
    { 'u', NULL, NULL, IMG_FLAG, offsetof(CreateArgs, unsafe), "do not look at the backing file" },
    { 'o', NULL, "options", IMG_OPTS, offsetof(CreateArgs, opts),
      "options of the format, a=b,c=d; -o help lists them" },
    OPTION_END,
};

/* What "Formatting ..." tells, in QEMU's order; IMPLIED is told when nothing was given. */
/* clang-format off */
static const struct { const char *format, *name, *implied; } shown[] = {
    { "qcow2", "encrypt.format", NULL },         { "qcow2", "encrypt.key-secret", NULL },
    { "qcow2", "encrypt.cipher-alg", NULL },     { "qcow2", "encrypt.cipher-mode", NULL },
    { "qcow2", "encrypt.ivgen-alg", NULL },      { "qcow2", "encrypt.ivgen-hash-alg", NULL },
    { "qcow2", "encrypt.hash-alg", NULL },       { "qcow2", "encrypt.iter-time", NULL },
    { "qcow2", "cluster_size", "65536" },        { "qcow2", "extended_l2", "off" },
    { "qcow2", "preallocation", NULL },          { "qcow2", "compression_type", "zlib" },
    { NULL,    "size", NULL },                   { "qcow2", "compat", NULL },
    { "qcow2", "backing_file", NULL },           { "qcow2", "backing_fmt", NULL },
    { "qcow2", "data_file", NULL },              { "qcow2", "data_file_raw", NULL },
    { "qcow2", "lazy_refcounts", "off" },
    { "qcow2", "refcount_bits", "16" },          { "raw",   "preallocation", NULL },
    { "vdi",   "static", "off" },                { "vhdx",  "log_size", "1048576" },
    { "vhdx",  "block_size", "0" },              { "vhdx",  "subformat", NULL },
    { "vhdx",  "block_state_zero", NULL },       { "vpc",   "subformat", NULL },
    { "vpc",   "force_size", NULL },             { "vmdk",  "adapter_type", NULL },
    { "vmdk",  "backing_file", NULL },           { "vmdk",  "backing_fmt", NULL },
    { "vmdk",  "compat6", "off" },               { "vmdk",  "hwversion", "undefined" },
    { "vmdk",  "toolsversion", NULL },           { "vmdk",  "subformat", NULL },
    { "vmdk",  "zeroed_grain", NULL },           { "luks",  "key-secret", NULL },
    { "luks",  "cipher-alg", NULL },             { "luks",  "cipher-mode", NULL },
    { "luks",  "ivgen-alg", NULL },              { "luks",  "ivgen-hash-alg", NULL },
    { "luks",  "hash-alg", NULL },               { "luks",  "iter-time", NULL },
};
/* clang-format on */

static void print_formatting(const char *filename, const char *format, const NodeOpts *opts)
{
    printf("Formatting '%s', fmt=%s", filename, format);
    for (unsigned i = 0; i < ARRAY_LEN(shown); i++) {
        const char *value = node_opts_get(opts, shown[i].name);
        uint64_t number;

        if (shown[i].format && !g_str_equal(shown[i].format, format)) {
            continue;
        }
        value = value ? value : shown[i].implied;
        if (value && (g_str_equal(shown[i].name, "size") ||
                      g_str_has_suffix(shown[i].name, "_size")) &&
            parse_size("size", value, 1, &number, NULL)) {
            printf(" %s=%" PRIu64, shown[i].name, number);
        } else if (value) {
            printf(" %s=%s", shown[i].name, value);
        }
    }
    printf("\n");
}

/* Its length becomes the image's where none was given. */
static bool look_at_backing(const CreateArgs *a, const char *filename, const char *backing,
                            const char *format)
{
    g_autofree char *full = path_combine(filename, backing);
    OpenArgs args = { .format = format, .force_share = true, .no_key = true };
    Image image;

    if (g_str_equal(full, filename)) {
        error_report("%s: Error: Trying to create an image with the same filename as the "
                     "backing file", filename);
        return false;
    }
    if (!image_open(&image, full, &args)) {
        fprintf(stderr, "Could not open backing image.\n");
        return false;
    }
    if (!node_opts_get(a->opts, "size")) {
        g_autofree char *text = g_strdup_printf("%" PRIu64, node_length(image.node));

        node_opts_set(a->opts, "size", text);
    }
    image_close(&image);
    return true;
}

static bool take_backing(const CreateArgs *a, const char *filename)
{
    const char *backing, *format;

    if (a->backing) {
        node_opts_set(a->opts, "backing_file", a->backing);
    }
    if (a->backing_format) {
        node_opts_set(a->opts, "backing_fmt", a->backing_format);
    }
    backing = node_opts_get(a->opts, "backing_file");
    format = node_opts_get(a->opts, "backing_fmt");
    if (backing && !format) {
        error_report("%s: Backing file specified without backing format", filename);
        return false;
    }
    if (format && !format_exists(format)) {
        error_report("%s: Unknown backing file format '%s'", filename, format);
        return false;
    }
    return !backing || a->unsafe || look_at_backing(a, filename, backing, format);
}

static int create_with(const CreateArgs *a, int argc, char **argv)
{
    GError *error = NULL;
    uint64_t size;

    if (argc < 1) {
        return usage_error("Expecting image file name");
    }
    if (!format_exists(a->format)) {
        error_report("%s: Unknown file format '%s'", argv[0], a->format);
        return 1;
    }
    if (argc == 2) {
        if (!size_arg("size", argv[1], &size)) {
            return 1;
        }
        if (node_opts_get(a->opts, "size")) {
            error_report("%s: The image size must be specified only once", argv[0]);
            return 1;
        }
        node_opts_set(a->opts, "size", argv[1]);
    }
    if (!take_backing(a, argv[0])) {
        return 1;
    }
    if (!node_opts_get(a->opts, "size")) {
        error_report("%s: Image creation needs a size parameter", argv[0]);
        return 1;
    }
    if (!a->quiet) {
        print_formatting(argv[0], a->format, a->opts);
    }
    if (!image_create(argv[0], a->format, a->opts, &error)) {
        error_report("%s: %s", argv[0], error->message);
        g_error_free(error);
        return 1;
    }
    return 0;
}

static int img_create(const ImgCommand *command, int argc, char **argv)
{
    CreateArgs a = { .format = "raw" };
    int status = img_parse(command, &a, &argc, &argv);

    if (status >= 0) {
        return status;
    }
    a.opts = a.opts ? a.opts : node_opts_new();
    status = show_create_help(a.format, a.opts);
    if (status < 0) {
        status = create_with(&a, argc, argv);
    }
    node_opts_free(a.opts);
    return status;
}

const ImgCommand img_create_command = {
    "create", create_options, "filename [size]", 0, 2, "Unexpected argument", img_create,
};

/* ---- resize ---- */

typedef struct ResizeArgs {
    OpenArgs image;
    const char *prealloc;
    bool quiet, shrink;
} ResizeArgs;

static const ImgOption resize_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(ResizeArgs, image),
    OPTION_FORMAT(ResizeArgs, image),
    { 0, "preallocation", "prealloc", IMG_TEXT, offsetof(ResizeArgs, prealloc),
      "how to grow: off, metadata, falloc, full" },
    OPTION_QUIET(ResizeArgs, quiet),
    { 0, "shrink", NULL, IMG_FLAG, offsetof(ResizeArgs, shrink), "it may become smaller" },
    OPTION_END,
};

/* "+1G", "-512k" or a size, as of OLD. */
static bool new_size(const char *text, uint64_t old, uint64_t *size)
{
    char sign = *text == '+' || *text == '-' ? *text++ : 0;

    if (!size_arg("size", text, size)) {
        return false;
    }
    if (sign == '+') {
        *size = *size > INT64_MAX - old ? INT64_MAX : old + *size;
    } else if (sign == '-') {
        *size = *size > old ? 0 : old - *size;
    }
    *size = align_up(MIN(*size, INT64_MAX - 512), 512);
    if (*size == 0 && sign == '-') {
        error_report("New image size must be positive");
        return false;
    }
    return true;
}

static bool resize(const ResizeArgs *a, BlockNode *node, const char *text)
{
    uint64_t size, old = node_length(node);
    GError *error = NULL;

    if (!new_size(text, old, &size)) {
        return false;
    }
    if (size < old && !a->shrink) {
        error_report("Use the --shrink option to perform a shrink operation.");
        warn_report("Shrinking an image will delete all data beyond the shrunken image's end. "
                    "Before performing such an operation, make sure there is no important data "
                    "there.");
        return false;
    }
    if (!node_truncate(node, size, a->prealloc, &error)) {
        error_report_free(error);
        return false;
    }
    return true;
}

static int img_resize(const ImgCommand *command, int argc, char **argv)
{
    ResizeArgs a = { .image = { .writable = true, .resize = true }, .prealloc = "off" };
    int status = img_parse(command, &a, &argc, &argv);
    Image image;
    bool ok;

    if (status >= 0) {
        return status;
    }
    if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    ok = resize(&a, image.node, argv[1]);
    if (image_finish(&image, ok ? 0 : 1) != 0) {
        return 1;
    }
    if (!a.quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

const ImgCommand img_resize_command = {
    "resize", resize_options, "filename [+ | -]size", 2, 2, "Expecting image file name and size",
    img_resize, true,
};

/* ---- amend ---- */

typedef struct AmendArgs {
    OpenArgs image;
    NodeOpts *opts;
    Progress progress;
    bool quiet, force;
} AmendArgs;

static const ImgOption amend_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(AmendArgs, image),
    OPTION_PROGRESS(AmendArgs, progress.on),
    OPTION_QUIET(AmendArgs, quiet),
    OPTION_FORMAT(AmendArgs, image),
    OPTION_CACHE('t', AmendArgs, image, cache),
    { 0, "force", NULL, IMG_FLAG, offsetof(AmendArgs, force),
      "allow what may lose the data, such as erasing the last key" },
    { 'o', NULL, "options", IMG_OPTS, offsetof(AmendArgs, opts), "what to change",
      .required = true },
    OPTION_END,
};

/* Of the format that was named, else of the image. */
static int amend_help(OpenArgs *args, const char *filename)
{
    const char *format = args->format;
    const NodeType *type;
    Image image;

    if (!format && filename) {
        args->writable = args->resize = false;
        if (!image_open(&image, filename, args)) {
            return 1;
        }
        format = image.node->type->name;      /* of the static table */
        image_finish(&image, 0);
    }
    type = format ? node_type_find(format) : NULL;
    if (!type || !type->amend_help) {
        error_report("Format driver '%s' does not support option amendment",
                     format ? format : "raw");
        return 1;
    }
    printf("Amend options for '%s':\n%s", format, type->amend_help);
    return 0;
}

static int img_amend(const ImgCommand *command, int argc, char **argv)
{
    AmendArgs a = { .image = { .writable = true, .resize = true, .no_key = true } };
    int status = img_parse(command, &a, &argc, &argv);
    GError *error = NULL;
    Image image;
    bool ok;

    if (status >= 0) {
        return status;
    }
    if (!a.opts) {
        return usage_error("Must specify options (-o)");
    }
    if (wants_help(a.opts)) {
        return amend_help(&a.image, argc == 1 ? argv[0] : NULL);
    }
    if (argc != 1) {
        return usage_error("%s", command->expect);
    }
    a.progress.on = a.progress.on && !a.quiet;
    if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    if (a.force) {
        node_opts_set(a.opts, "force", "on");
    }
    progress_show(&a.progress, 0);
    ok = node_amend(image.node, a.opts, &error);
    if (!ok) {
        error_report_free(error);
    } else {
        progress_end(&a.progress);
    }
    node_opts_free(a.opts);
    return image_finish(&image, ok ? 0 : 1);
}

const ImgCommand img_amend_command = {
    "amend", amend_options, "filename", 0, 1, "Expecting one image file name", img_amend,
};
