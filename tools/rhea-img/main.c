/* SPDX-License-Identifier: MIT */
/*
 * rhea-img: the disk image tool; options, JSON keys, output and exit codes of qemu-img 7.2.
 * This file: commands, opening, options shared by all.  Single threaded but for workers.
 */
#include "tools/rhea-img/img.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"
#include "base/trace.h"
#include "block/drive.h"

static const ImgCommand *const commands[] = {
    &img_amend_command,   &img_bench_command,   &img_bitmap_command,  &img_check_command,
    &img_commit_command,  &img_compare_command, &img_convert_command, &img_create_command,
    &img_dd_command,      &img_info_command,    &img_map_command,     &img_measure_command,
    &img_snapshot_command, &img_rebase_command, &img_resize_command,
};

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
           "    '-V', '--version'    output version information and exit\n"
           "    '-T', '--trace'      [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
           "                         specify tracing options\n\n"
           "Command syntax:\n", report_program(), RHEA_VERSION, report_program());
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        g_autofree char *usage = img_usage(commands[i]);

        printf("  %s\n", usage);
    }
    printf("\n'%s COMMAND --help' tells what the options of a command mean.\n",
           report_program());
    printf("\nSupported formats:");
    for (char **n = names; *n; n++) {
        printf(" %s", *n);
    }
    printf("\n");
    return 0;
}

/* ---- images ---- */

/* An image that has just been created with a key is opened with it. */
static void pass_keys(NodeOpts *opts, const OpenArgs *args)
{
    static const char *const keys[] = { "key-secret", "encrypt.key-secret", "encrypt.format" };

    for (unsigned i = 0; args->key_opts && i < ARRAY_LEN(keys); i++) {
        const char *value = node_opts_get(args->key_opts, keys[i]);

        if (value) {
            node_opts_set(opts, keys[i], value);
        }
    }
}

bool image_open(Image *image, const char *filename, const OpenArgs *args)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    bool direct = false, no_flush = false, through = false;
    int flags = args->async ? NODE_OPEN_SHORT_INLINE : NODE_OPEN_INLINE_IO;
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
    if (args->aio) {
        node_opts_set(opts, "file.aio", args->aio);
    }
    pass_keys(opts, args);
    flags |= (args->writable ? NODE_OPEN_RDWR : 0) | (args->check ? NODE_OPEN_CHECK : 0) |
             (args->no_backing ? NODE_OPEN_NO_BACKING : 0) |
             (args->no_key ? NODE_OPEN_NO_IO : 0);
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

bool image_is_one_file(const Image *image)
{
    const GPtrArray *children = image->node->children;
    unsigned files = 0;

    for (unsigned i = 0; i < children->len; i++) {
        const BlockChild *child = children->pdata[i];

        files += !g_str_equal(child->name, "backing");
    }
    return files == 1;
}

int image_finish(Image *image, int status)
{
    int ret = 0;

    if (image->node) {
        ret = image->node->read_only ? 0 : node_flush(image->node);
        if (ret < 0 && status == 0) {
            error_report("Could not write to '%s': %s", node_filename(image->node),
                         strerror(-ret));
        }
        node_detach_root(g_steal_pointer(&image->root));
        node_unref(g_steal_pointer(&image->node));
    }
    return ret < 0 ? 1 : status;
}

bool image_close(Image *image)
{
    return image_finish(image, 0) == 0;
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

int io_failed(const char *what, uint64_t at, int ret)
{
    error_report("error while %s at offset %" PRIu64 ": %s", what, at, strerror(-ret));
    return 1;
}

const char *snapshot_arg(const char *text)
{
    const char *eq = strchr(text, '=');

    return g_str_has_prefix(text, "snapshot.") && eq ? eq + 1 : text;
}

void co_rate_wait(RateLimit *rate, uint64_t bytes)
{
    int64_t now = g_get_monotonic_time(), due_us;

    if (!rate->per_second) {
        return;
    }
    rate->begin_us = rate->begin_us ? rate->begin_us : now;
    rate->bytes += bytes;
    due_us = rate->begin_us + (int64_t)muldiv64(rate->bytes, 1000000, rate->per_second);
    if (due_us > now) {
        co_sleep_ms((due_us - now + 999) / 1000);
    }
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

/* What may come before the command; how many words, or -1 after an error. */
static int take_trace(int argc, char **argv)
{
    const char *value = NULL;
    GError *error = NULL;
    int used = 0;

    if (g_str_has_prefix(argv[1], "--trace=")) {
        value = argv[1] + strlen("--trace=");
        used = 1;
    } else if (g_str_equal(argv[1], "-T") || g_str_equal(argv[1], "--trace")) {
        value = argc > 2 ? argv[2] : NULL;
        used = 2;
    }
    if (used && (!value || !trace_configure(value, &error))) {
        if (error) {
            error_report_free(error);
        } else {
            usage_error("missing argument for option '%s'", argv[1]);
        }
        return -1;
    }
    return used;
}

int main(int argc, char **argv)
{
    int used = 1;

    thread_set_main();
    report_set_program(argv[0]);
    while (argc > 1 && used > 0) {
        used = take_trace(argc, argv);
        if (used < 0) {
            return 1;
        }
        argc -= used;
        argv += used;
    }
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
        if (g_str_equal(commands[i]->name, argv[1])) {
            int status = commands[i]->run(commands[i], argc - 1, argv + 1);

            return fflush(stdout) == 0 ? status : 1;
        }
    }
    return usage_error("Command not found: %s", argv[1]);
}
