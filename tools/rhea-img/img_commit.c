/* SPDX-License-Identifier: MIT */
/* rhea-img commit and rebase: copying between the layers of a chain.  Single threaded. */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <string.h>

#define COPY_CHUNK (2u << 20)

typedef struct Copy {
    BlockNode *from, *to, *old_base;   /* commit: from -> to;  rebase: keep what would change */
    BlockNode *new_base;
    Progress progress;
    RateLimit rate;
} Copy;

/* All that FROM, and what is above TO, has of its own goes into TO. */
static int co_commit_run(void *opaque)
{
    Copy *m = opaque;
    g_autofree uint8_t *buf = io_buffer_new(COPY_CHUNK);
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
        co_rate_wait(&m->rate, n);
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

typedef struct CommitArgs {
    OpenArgs image;
    Copy copy;
    const char *base;
    bool quiet, drop;
} CommitArgs;

static const ImgOption commit_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(CommitArgs, image),
    OPTION_QUIET(CommitArgs, quiet),
    OPTION_FORMAT(CommitArgs, image),
    OPTION_CACHE('t', CommitArgs, image, cache),
    { 'b', NULL, "base", IMG_TEXT, offsetof(CommitArgs, base),
      "commit into this image of the chain (the backing file)" },
    { 'r', NULL, "rate_limit", IMG_SIZE, offsetof(CommitArgs, copy.rate.per_second),
      "bytes per second at most" },
    { 'd', NULL, NULL, IMG_FLAG, offsetof(CommitArgs, drop), "do not empty the image afterwards" },
    OPTION_PROGRESS(CommitArgs, copy.progress.on),
    OPTION_END,
};

/*
 * Takes FOUND out of the chain of TOP and opens it once more, writable: its lock makes way.
 * Without its base below, what TOP lacks reads as "no layer has it".
 */
static bool open_base(const CommitArgs *a, BlockNode *top, BlockNode *found, Image *bottom)
{
    OpenArgs args = { .writable = true, .resize = true, .cache = a->image.cache };
    g_autofree char *name = g_strdup(found->filename);
    g_autofree char *format = g_strdup(found->type->name);
    BlockNode *above = top;
    GError *error = NULL;

    while (node_backing(above) != found) {
        above = node_backing(above);
    }
    if (!node_set_backing(above, NULL, &error)) {
        error_report_free(error);
        return false;
    }
    args.format = format;
    return image_open(bottom, name, &args);
}

static int commit_into(CommitArgs *a, BlockNode *top, BlockNode *base)
{
    GError *error = NULL;
    int status;

    a->copy.from = top;
    a->copy.to = base;
    if (base->length < top->length && !node_truncate(base, top->length, "off", &error)) {
        error_report_free(error);
        return 1;
    }
    status = run_job(co_commit_run, &a->copy);
    if (status == 0) {
        progress_end(&a->copy.progress);
    }
    return status;
}

static int img_commit(const ImgCommand *command, int argc, char **argv)
{
    CommitArgs a = { .image = { .writable = true, .resize = true } };
    int status = img_parse(command, &a, &argc, &argv);
    GError *error = NULL;
    Image top, bottom;
    BlockNode *found;

    if (status >= 0) {
        return status;
    }
    a.copy.progress.on = a.copy.progress.on && !a.quiet;
    if (!image_open(&top, argv[0], &a.image)) {
        return 1;
    }
    if (!find_base(top.node, a.base, &found)) {
        if (a.base) {
            error_report("Did not find '%s' in the backing chain of '%s'", a.base, argv[0]);
        } else {
            error_report("Image does not have a backing file");
        }
        image_close(&top);
        return 1;
    }
    if (!open_base(&a, top.node, found, &bottom)) {
        image_close(&top);
        return 1;
    }
    status = commit_into(&a, top.node, bottom.node);
    status = image_finish(&bottom, status);
    /* With -b, the layers between would show through an emptied image. */
    if (status == 0 && !a.drop && !a.base && top.node->type->make_empty &&
        !node_make_empty(top.node, &error)) {
        error_report("Could not empty %s: %s", argv[0], error->message);
        g_error_free(error);
        status = 1;
    }
    status = image_finish(&top, status);
    if (status == 0 && !a.quiet) {
        printf("Image committed.\n");
    }
    return status;
}

const ImgCommand img_commit_command = {
    "commit", commit_options, "filename", 1, 1, "Expecting one image file name", img_commit,
};

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
    g_autofree uint8_t *old = io_buffer_new(COPY_CHUNK);
    g_autofree uint8_t *fresh = io_buffer_new(COPY_CHUNK);
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

typedef struct RebaseArgs {
    OpenArgs image, base_image;
    Copy copy;
    const char *base, *base_format;
    bool unsafe, quiet;
} RebaseArgs;

static const ImgOption rebase_options[] = {
    OPTION_OBJECT,
    OPTION_IMAGE_OPTS(RebaseArgs, image),
    OPTION_SHARE(RebaseArgs, base_image),
    OPTION_QUIET(RebaseArgs, quiet),
    OPTION_FORMAT(RebaseArgs, image),
    OPTION_CACHE('t', RebaseArgs, image, cache),
    OPTION_CACHE('T', RebaseArgs, base_image, src_cache),
    OPTION_PROGRESS(RebaseArgs, copy.progress.on),
    { 'u', NULL, NULL, IMG_FLAG, offsetof(RebaseArgs, unsafe),
      "only change the name: the content of both is the same" },
    { 'b', NULL, "backing_file", IMG_TEXT, offsetof(RebaseArgs, base),
      "the new backing file; \"\" for none", .required = true },
    { 'F', NULL, "backing_fmt", IMG_TEXT, offsetof(RebaseArgs, base_format), "its format" },
    OPTION_END,
};

static int rebase_opened(RebaseArgs *a, BlockNode *node, BlockNode *base)
{
    GError *error = NULL;

    if (!a->unsafe) {
        a->copy.to = node;
        a->copy.old_base = node_backing(node);
        a->copy.new_base = base;
        if (run_job(co_rebase_run, &a->copy) != 0) {
            return 1;
        }
        progress_end(&a->copy.progress);
    }
    if (node_flush(node) < 0) {
        return 1;
    }
    if (!node_change_backing_file(node, a->base, a->base_format, &error)) {
        error_report("Could not change the backing file to '%s': %s", a->base ? a->base : "",
                     error->message);
        g_error_free(error);
        return 1;
    }
    return 0;
}

static int img_rebase(const ImgCommand *command, int argc, char **argv)
{
    RebaseArgs a = { .image = { .writable = true, .resize = true } };
    int status = img_parse(command, &a, &argc, &argv);
    Image image, fresh = { 0 };
    bool ok = true;

    if (status >= 0) {
        return status;
    }
    a.copy.progress.on = a.copy.progress.on && !a.quiet;
    if (!a.unsafe && !a.base) {
        return usage_error("Must specify backing file (-b) or use simple rebase mode (-u)");
    }
    if (a.base_format && !format_exists(a.base_format)) {
        error_report("Invalid format name: '%s'", a.base_format);
        return 1;
    }
    if (a.base && *a.base && !a.base_format) {
        error_report("Could not change the backing file to '%s': backing format must be specified "
                     "(-F)", a.base);
        return 1;
    }
    a.image.no_backing = a.unsafe;
    if (!image_open(&image, argv[0], &a.image)) {
        return 1;
    }
    if (!a.unsafe && *a.base) {
        g_autofree char *full = path_combine(image.node->filename, a.base);

        a.base_image.format = a.base_format;
        ok = image_open(&fresh, full, &a.base_image);
    }
    status = ok ? rebase_opened(&a, image.node, fresh.node) : 1;
    image_close(&fresh);
    return image_finish(&image, status);
}

const ImgCommand img_rebase_command = {
    "rebase", rebase_options, "filename", 1, 1, "Expecting one image file name", img_rebase,
};
