/* SPDX-License-Identifier: MIT */
/* rhea-img bitmap: persistent dirty bitmaps of an image.  Single threaded. */
#include "tools/rhea-img/img.h"

#include <string.h>

#include "block/bitmap.h"

typedef enum Action { ACT_ADD, ACT_REMOVE, ACT_CLEAR, ACT_ENABLE, ACT_DISABLE, ACT_MERGE } Action;

static const char *const action_names[] = {
    "add", "remove", "clear", "enable", "disable", "merge",
};

typedef struct Step {
    Action action;
    const char *source;        /* merge */
} Step;

typedef struct BitmapArgs {
    OpenArgs image, source_image;
    const char *source_file;
    uint64_t granularity;
    GArray *steps;
    bool add, merge;
} BitmapArgs;

static bool add_step(void *args, Action action, const char *source)
{
    BitmapArgs *a = args;
    Step step = { action, source };

    if (!a->steps) {
        a->steps = g_array_new(false, false, sizeof(Step));
    }
    a->add = a->add || action == ACT_ADD;
    a->merge = a->merge || action == ACT_MERGE;
    g_array_append_val(a->steps, step);
    return true;
}

/* clang-format off */
static bool step_add(void *a, const char *v)     { return add_step(a, ACT_ADD, NULL); }
static bool step_remove(void *a, const char *v)  { return add_step(a, ACT_REMOVE, NULL); }
static bool step_clear(void *a, const char *v)   { return add_step(a, ACT_CLEAR, NULL); }
static bool step_enable(void *a, const char *v)  { return add_step(a, ACT_ENABLE, NULL); }
static bool step_disable(void *a, const char *v) { return add_step(a, ACT_DISABLE, NULL); }
static bool step_merge(void *a, const char *v)   { return add_step(a, ACT_MERGE, v); }
/* clang-format on */

static const ImgOption bitmap_options[] = {
    { 0, "merge", "SOURCE", IMG_CALL, 0, "add what another bitmap has", step_merge },
    { 0, "add", NULL, IMG_CALL, 0, "make the bitmap", step_add },
    { 0, "remove", NULL, IMG_CALL, 0, "remove it", step_remove },
    { 0, "clear", NULL, IMG_CALL, 0, "forget what it recorded", step_clear },
    { 0, "enable", NULL, IMG_CALL, 0, "record writes from now on", step_enable },
    { 0, "disable", NULL, IMG_CALL, 0, "record no more", step_disable },
    { 'b', NULL, "source_file", IMG_TEXT, offsetof(BitmapArgs, source_file),
      "where --merge finds its source" },
    { 'F', NULL, "source_fmt", IMG_TEXT, offsetof(BitmapArgs, source_image.format),
      "its format" },
    { 'g', NULL, "granularity", IMG_SIZE, offsetof(BitmapArgs, granularity), "of --add" },
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(BitmapArgs, image),
    OPTION_FORMAT(BitmapArgs, image),
    OPTION_END,
};

static DirtyBitmap *find(BlockNode *node, const char *name, GError **error)
{
    DirtyBitmap *b = dirty_bitmap_find(node, name);

    if (!b) {
        error_set(error, "Dirty bitmap '%s' not found", name);
    }
    return b;
}

static bool merge(BlockNode *node, DirtyBitmap *to, BlockNode *source_node, const char *source,
                  GError **error)
{
    DirtyBitmap *from = find(source_node ? source_node : node, source, error);

    return from && bitmap_check_usable(to, error) && bitmap_check_usable(from, error) &&
           dirty_bitmap_merge(to, from, error);
}

static bool add(const BitmapArgs *a, BlockNode *node, const char *name, GError **error)
{
    DirtyBitmap *b;

    if (a->granularity && (!is_pow2(a->granularity) || a->granularity < 512 ||
                           a->granularity > 2 * GIB)) {
        return error_set(error, "Granularity must be power of 2 and at least 512");
    }
    b = dirty_bitmap_add(node, name, (uint32_t)a->granularity, error);
    if (b && !dirty_bitmap_make_persistent(node, b, error)) {
        dirty_bitmap_remove(node, b);
        b = NULL;
    }
    return b != NULL;
}

static bool run_step(const BitmapArgs *a, const Step *step, BlockNode *node, BlockNode *source,
                     const char *name, GError **error)
{
    DirtyBitmap *b;

    if (step->action == ACT_ADD) {
        return add(a, node, name, error);
    }
    b = find(node, name, error);
    if (!b || (step->action != ACT_REMOVE && !bitmap_check_usable(b, error))) {
        return false;
    }
    switch (step->action) {
    case ACT_REMOVE:
        dirty_bitmap_remove(node, b);
        return true;
    case ACT_CLEAR:
        dirty_bitmap_clear(b);
        return true;
    case ACT_MERGE:
        return merge(node, b, source, step->source, error);
    default:
        b->enabled = step->action == ACT_ENABLE;
        return true;
    }
}

static int run_steps(const BitmapArgs *a, BlockNode *node, BlockNode *source, const char *name)
{
    for (unsigned i = 0; i < a->steps->len; i++) {
        const Step *step = &g_array_index(a->steps, Step, i);
        GError *error = NULL;

        if (!run_step(a, step, node, source, name, &error)) {
            error_report("Operation %s on bitmap %s failed: %s", action_names[step->action], name,
                         error->message);
            g_error_free(error);
            return 1;
        }
    }
    return 0;
}

/* They are stored when the last writer goes; why that failed is told when the image is closed. */
static int store(Image *image)
{
    return node_root_set_perm(image->root, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, NULL) &&
                   node_set_read_only(image->node, true, NULL) ? 0 : 1;
}

static int img_bitmap(const ImgCommand *command, int argc, char **argv)
{
    BitmapArgs a = { .image = { .writable = true, .resize = true, .no_backing = true },
                     .source_image = { .no_backing = true } };
    int status = img_parse(command, &a, &argc, &argv);
    Image image, source = { 0 };

    if (status >= 0) {
        return status;
    }
    if (!a.steps) {
        return usage_error("Need at least one of --add, --remove, --clear, --enable, --disable, or "
                           "--merge");
    }
    if (a.granularity && !a.add) {
        error_report("granularity only supported with --add");
        return 1;
    }
    if ((a.source_file || a.source_image.format) && !a.merge) {
        error_report("Merge bitmap source file only supported with --merge");
        return 1;
    }
    if (a.source_image.format && !a.source_file) {
        error_report("-F only supported with -b");
        return 1;
    }
    if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    if (a.source_file && !image_open(&source, a.source_file, &a.source_image)) {
        image_close(&image);
        return 1;
    }
    status = run_steps(&a, image.node, source.node, argv[1]);
    if (status == 0) {
        status = store(&image);
    }
    image_close(&source);
    g_array_unref(a.steps);
    return image_finish(&image, status);
}

const ImgCommand img_bitmap_command = {
    "bitmap", bitmap_options, "filename bitmap", 2, 2, "Expecting filename and bitmap name",
    img_bitmap,
};
