/* SPDX-License-Identifier: MIT */
/*
 * rhea-img: the disk image tool; options, JSON keys, output and exit codes of qemu-img 7.2.
 * This file: commands, opening, options shared by all.  Single threaded but for workers.
 */
#include "tools/rhea-img/img.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"
#include "block/drive.h"

/* clang-format off */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
} commands[] = {
    { "amend",    img_amend,    "[--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename" },
    { "bench",    img_bench,    "[-c count] [-d depth] [-f fmt] [--flush-interval=n] [-n] [-o offset] [--pattern=n] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename" },
    { "check",    img_check,    "[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename" },
    { "commit",   img_commit,   "[--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-d] [-p] filename" },
    { "compare",  img_compare,  "[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2" },
    { "convert",  img_convert,  "[--image-opts] [--target-is-zero] [-U] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] [-l snapshot_param] [-S sparse_size] [-m num_coroutines] [-W] [--salvage] filename [filename2 [...]] output_filename" },
    { "create",   img_create,   "[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]" },
    { "dd",       img_dd,       "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output" },
    { "info",     img_info,     "[--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename" },
    { "map",      img_map,      "[--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename" },
    { "measure",  img_measure,  "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--image-opts] [-f fmt] [-l snapshot_param] filename]" },
    { "rebase",   img_rebase,   "[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename" },
    { "resize",   img_resize,   "[--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size" },
    { "snapshot", img_snapshot, "[--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename" },
};
/* clang-format on */

int usage_error(const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, format);
    text = g_strdup_vprintf(format, ap);
    va_end(ap);
    error_report("%s", text);
    fprintf(stderr, "Try '%s --help' for more information\n", report_program());
    return 1;
}

int bad_option(int c, char **argv)
{
    if (c == ':') {
        return usage_error("missing argument for option '%s'", argv[optind - 1]);
    }
    return usage_error("unrecognized option '%s'", argv[optind - 1]);
}

bool size_arg(const char *what, const char *text, uint64_t *value)
{
    GError *error = NULL;

    if (!parse_size(what, text, 1, value, &error)) {
        error_report_free(error);
        return false;
    }
    return true;
}

static int help(void)
{
    g_auto(GStrv) names = format_names(false);

    printf("%s version 7.2.0 (rhea %s)\n"
           "usage: %s [standard options] command [command options]\n"
           "QEMU-compatible disk image utility\n\n"
           "    '-h', '--help'       display this help and exit\n"
           "    '-V', '--version'    output version information and exit\n\n"
           "Command syntax:\n", report_program(), RHEA_VERSION, report_program());
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        printf("  %s %s\n", commands[i].name, commands[i].usage);
    }
    printf("\nSupported formats:");
    for (char **n = names; *n; n++) {
        printf(" %s", *n);
    }
    printf("\n");
    return 0;
}

/* ---- images ---- */

bool image_open(Image *image, const char *filename, const OpenArgs *args)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    bool direct = false, no_flush = false, through = false;
    int flags = NODE_OPEN_INLINE_IO;
    uint32_t perm = BLK_PERM_CONSISTENT_READ, shared = BLK_PERM_ALL;
    GError *error = NULL;

    memset(image, 0, sizeof(*image));
    if (args->image_opts) {
        if (args->format) {
            error_report("--image-opts and --format are mutually exclusive");
            return false;
        }
        if (!node_opts_add_keyval(opts, filename, NULL, &error)) {
            error_report_free(error);
            return false;
        }
    }
    if (args->format) {
        node_opts_set(opts, "driver", args->format);
    }
    if (args->cache) {
        if (!cache_mode_parse(args->cache, &direct, &no_flush, &through, &error)) {
            g_clear_error(&error);
            error_report("Invalid cache option: %s", args->cache);
            return false;
        }
        node_opts_default(opts, "cache.direct", direct ? "on" : "off");
        node_opts_default(opts, "cache.no-flush", no_flush ? "on" : "off");
    }
    if (args->force_share) {
        node_opts_set(opts, "force-share", "on");
    }
    flags |= (args->writable ? NODE_OPEN_RDWR : 0) | (args->check ? NODE_OPEN_CHECK : 0) |
             (args->no_backing ? NODE_OPEN_NO_BACKING : 0);
    image->node = node_open(args->image_opts ? NULL : filename, opts, flags, &error);
    if (image->node) {
        perm |= (args->writable ? BLK_PERM_WRITE : 0) | (args->resize ? BLK_PERM_RESIZE : 0);
        if (!args->force_share) {
            shared &= ~(uint32_t)(BLK_PERM_WRITE | BLK_PERM_RESIZE);
        }
        image->root = node_attach_root(image->node, "image", perm, shared, NULL, NULL, &error);
    }
    if (!image->root) {
        error_report("Could not open '%s': %s", filename, error->message);
        g_error_free(error);
        node_unref(g_steal_pointer(&image->node));
        return false;
    }
    return true;
}

bool image_close(Image *image)
{
    int ret = 0;

    if (image->node) {
        ret = image->node->read_only ? 0 : node_flush(image->node);
        if (ret < 0) {
            error_report("Could not write to '%s': %s", node_filename(image->node),
                         strerror(-ret));
        }
        node_detach_root(g_steal_pointer(&image->root));
        node_unref(g_steal_pointer(&image->node));
    }
    return ret == 0;
}

static void job_entry(void *opaque)
{
    Job *job = opaque;

    job->ret = job->run(job->opaque);
}

int run_job(int (*run)(void *opaque), void *opaque)
{
    Job job = { run, opaque, 0 };

    coroutine_run_sync(event_loop_main(), job_entry, &job);
    return job.ret;
}

/* ---- output ---- */

void progress_show(Progress *p, double percent)
{
    if (p->on && (percent - p->last >= 0.01 || percent >= 100)) {
        printf("    (%3.2f/100%%)\r", percent);
        fflush(stdout);
        p->last = percent;
    }
}

void progress_end(Progress *p)
{
    if (p->on) {
        progress_show(p, 100);
        printf("\n");
    }
}

bool parse_output(const char *text, bool *json)
{
    *json = g_str_equal(text, "json");
    if (!*json && !g_str_equal(text, "human")) {
        error_report("--output must be used with human or json as argument.");
        return false;
    }
    return true;
}

void print_json(Json *take)
{
    g_autofree char *text = json_to_pretty(take);

    printf("%s\n", text);
    json_unref(take);
}

char *human_size(uint64_t bytes)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    unsigned i = 0;
    double value = (double)bytes;

    while (value >= 1000.0 && i + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        i++;
    }
    return g_strdup_printf("%0.3g %sB", value, units[i]);
}

bool add_create_opts(NodeOpts *opts, const char *text)
{
    GError *error = NULL;

    if (!node_opts_add_keyval(opts, text, NULL, &error)) {
        error_report_free(error);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    thread_set_main();
    report_set_program(argv[0]);
    if (argc < 2) {
        return usage_error("Not enough arguments");
    }
    if (g_str_equal(argv[1], "-h") || g_str_equal(argv[1], "--help")) {
        return help();
    }
    if (g_str_equal(argv[1], "-V") || g_str_equal(argv[1], "--version")) {
        printf("%s version 7.2.0 (rhea %s)\n", report_program(), RHEA_VERSION);
        return 0;
    }
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        if (g_str_equal(commands[i].name, argv[1])) {
            int status = commands[i].run(argc - 1, argv + 1);

            return fflush(stdout) == 0 ? status : 1;
        }
    }
    return usage_error("Command not found: %s", argv[1]);
}
