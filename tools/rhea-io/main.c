/* SPDX-License-Identifier: MIT */
/*
 * rhea-io: reads and writes parts of an image by commands, as qemu-io does; for tests.
 *
 *     rhea-io -f qcow2 -c "write -P 0xa5 1M 64k" -c "read -P 0xa5 1M 64k" disk.qcow2
 *
 * Without -c, commands come from standard input.  The exit status is 1 when one failed.
 * This file: options and lines.  Single threaded.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "base/thread.h"
#include "base/trace.h"
#include "tools/objects.h"
#include "tools/rhea-io/io.h"

/* ---- shared by the commands ---- */

char *io_size_text(double value)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    unsigned i = 0;
    char text[64];
    char *dot;

    while (value >= 1024 && i + 1 < ARRAY_LEN(units)) {
        value /= 1024;
        i++;
    }
    snprintf(text, sizeof(text), "%.3f", value);
    dot = strstr(text, ".000");
    if (dot) {
        *dot = '\0';
    }
    return g_strdup_printf("%s %s", text, units[i]);
}

bool io_fail(const char *what, int ret)
{
    printf("%s failed: %s\n", what, strerror(-ret));
    return false;
}

bool io_complain(GError *take)
{
    printf("%s\n", take->message);
    g_error_free(take);
    return false;
}

bool io_parse_size(const char *what, const char *text, uint64_t *value)
{
    GError *error = NULL;

    return parse_size(what, text, 1, value, &error) || io_complain(error);
}

/* ---- commands ---- */

static const IoCommand *const tables[] = { io_image_commands, io_rw_commands };

static const IoCommand *find_command(const char *name)
{
    for (unsigned t = 0; t < ARRAY_LEN(tables); t++) {
        for (const IoCommand *c = tables[t]; c->name; c++) {
            if (g_str_equal(c->name, name) || g_strcmp0(c->alias, name) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

void io_print_usage(const IoCommand *c)
{
    printf("%s%s%s -- %s\n", c->name, *c->args ? " " : "", c->args, c->help);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const IoCommand *const *)a)->name, (*(const IoCommand *const *)b)->name);
}

static void help_all(void)
{
    const IoCommand *all[64];
    unsigned n = 0;

    for (unsigned t = 0; t < ARRAY_LEN(tables); t++) {
        for (const IoCommand *c = tables[t]; c->name && n < ARRAY_LEN(all); c++) {
            all[n++] = c;
        }
    }
    qsort(all, n, sizeof(all[0]), by_name);
    for (unsigned i = 0; i < n; i++) {
        io_print_usage(all[i]);
    }
    printf("help [command] -- help for one or all commands\n\n"
           "'help command' tells what its options mean.\n");
}

static bool help(int argc, char **argv)
{
    const IoCommand *c = argc > 1 ? find_command(argv[1]) : NULL;

    if (argc == 1) {
        help_all();
        return true;
    }
    if (!c) {
        printf("command %s not found\n", argv[1]);
        return false;
    }
    io_print_usage(c);
    for (unsigned i = 0; c->options && c->options[i]; i++) {
        printf("%s\n", c->options[i]);
    }
    return true;
}

static bool right_count(const IoCommand *c, int n)
{
    if (n >= c->min && (c->max == IO_ANY_COUNT || n <= c->max)) {
        return true;
    }
    if (c->max == IO_ANY_COUNT) {
        fprintf(stderr, "bad argument count %d to %s, expected at least %d arguments\n", n, c->name, c->min);
    } else if (c->min == c->max) {
        fprintf(stderr, "bad argument count %d to %s, expected %d arguments\n", n, c->name, c->min);
    } else {
        fprintf(stderr, "bad argument count %d to %s, expected between %d and %d arguments\n", n, c->name,
                c->min, c->max);
    }
    return false;
}

static bool run_words(Io *io, int argc, char **argv)
{
    const IoCommand *c = find_command(argv[0]);

    if (g_str_equal(argv[0], "help") || g_str_equal(argv[0], "?")) {
        return help(argc, argv);
    }
    if (!c) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return false;
    }
    if (!right_count(c, argc - 1)) {
        return false;
    }
    if ((c->flags & IO_NEEDS_IMAGE) && !io->node) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return false;
    }
    return c->run(io, c, argc, argv);
}

/* Words are what stands between blanks: there is no quoting. */
static void run_line(Io *io, const char *line)
{
    g_auto(GStrv) pieces = g_strsplit_set(line, " \t\r\n", -1);
    g_autoptr(GPtrArray) words = g_ptr_array_new();

    for (char **p = pieces; *p; p++) {
        if (**p) {
            g_ptr_array_add(words, *p);
        }
    }
    if (words->len) {
        g_ptr_array_add(words, NULL);
        io->failed |= !run_words(io, (int)words->len - 1, (char **)words->pdata);
    }
}

/* ---- the program ---- */

enum { OPT_IMAGE_OPTS = 256, OPT_OBJECT };

static const struct option long_options[] = {
    { "cmd", 1, NULL, 'c' }, { "format", 1, NULL, 'f' }, { "read-only", 0, NULL, 'r' },
    { "snapshot", 0, NULL, 's' }, { "nocache", 0, NULL, 'n' }, { "copy-on-read", 0, NULL, 'C' },
    { "misalign", 0, NULL, 'm' }, { "native-aio", 0, NULL, 'k' }, { "aio", 1, NULL, 'i' },
    { "cache", 1, NULL, 't' }, { "discard", 1, NULL, 'd' }, { "trace", 1, NULL, 'T' },
    { "force-share", 0, NULL, 'U' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' },
    { "image-opts", 0, NULL, OPT_IMAGE_OPTS }, { "object", 1, NULL, OPT_OBJECT }, { 0 },
};

typedef struct Args {
    IoOpen open;
    const char *format;
    GPtrArray *lines;              /* of -c */
    bool image_opts, misalign;
} Args;

static void usage(void)
{
    printf("Usage: %s [OPTIONS]... [-c STRING]... [file]\n"
           "Reads and writes parts of a disk image.\n\n"
           "  --object OBJECTDEF   define an object such as a secret\n"
           "  --image-opts         treat file as option string\n"
           "  -c, --cmd STRING     run this command; may be repeated\n"
           "  -f, --format FMT     format of the image\n"
           "  -r, --read-only      open it read-only\n"
           "  -s, --snapshot       keep it as it is: writes go to a temporary overlay\n"
           "  -n, --nocache        bypass the host's cache: the same as -t none\n"
           "  -C, --copy-on-read   keep in the image what is read from its backing file\n"
           "  -m, --misalign       use buffers that O_DIRECT does not like\n"
           "  -k, --native-aio     the same as -i native\n"
           "  -i, --aio=MODE       threads, native or io_uring\n"
           "  -t, --cache=MODE     none, writeback (default), writethrough, directsync or unsafe\n"
           "  -d, --discard=MODE   ignore or unmap (default)\n"
           "  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
           "                       specify tracing options\n"
           "  -U, --force-share    open what others write to\n"
           "  -h, --help           display this help and exit\n"
           "  -V, --version        output version information and exit\n\n"
           "See '%s -c help' for the commands.\n", report_program(), report_program());
}

static bool set_flag(Args *a, int c)
{
    switch (c) {
    case 'r':
        a->open.read_only = true;
        return true;
    case 's':
        a->open.snapshot = true;
        return true;
    case 'C':
        a->open.copy_on_read = true;
        return true;
    case 'm':
        a->misalign = true;
        return true;
    case 'U':
        a->open.share = true;
        return true;
    case OPT_IMAGE_OPTS:
        a->image_opts = true;
        return true;
    default:
        return false;
    }
}

static bool set_option(Args *a, int c)
{
    GError *error = NULL;
    bool ok = true;

    switch (c) {
    case 'c':
        g_ptr_array_add(a->lines, optarg);
        break;
    case 'd':
        a->open.discard = optarg;
        break;
    case 'f':
        a->format = optarg;
        break;
    case 'n':
        return io_set_cache(&a->open, "none");
    case 't':
        return io_set_cache(&a->open, optarg);
    case 'k':
        return io_set_aio(&a->open, "native");
    case 'i':
        return io_set_aio(&a->open, optarg);
    case 'T':
        ok = trace_configure(optarg, &error);
        break;
    case OPT_OBJECT:
        ok = tool_object_add(optarg, &error);
        break;
    default:
        return set_flag(a, c);
    }
    if (!ok) {
        error_report_free(error);
    }
    return ok;
}

static bool open_operand(Io *io, Args *a, const char *file)
{
    GError *error = NULL;

    a->open.opts = node_opts_new();
    if (a->image_opts) {
        if (a->format) {
            error_report("--image-opts and -f are mutually exclusive");
            return false;
        }
        if (!node_opts_add_keyval(a->open.opts, file, NULL, &error)) {
            error_report_free(error);
            return false;
        }
    }
    if (a->format) {
        node_opts_set(a->open.opts, "driver", a->format);
    }
    return io_open_image(io, a->image_opts ? NULL : file, &a->open);
}

static void read_lines(Io *io)
{
    char line[4096];

    while (!io->quit) {
        printf("%s> ", report_program());
        fflush(stdout);
        if (!fgets(line, sizeof(line), stdin)) {
            break;
        }
        run_line(io, line);
    }
}

int main(int argc, char **argv)
{
    Args a = { .lines = g_ptr_array_new() };
    Io io = { 0 };
    bool ok = true;
    int c;

    thread_set_main();
    report_set_program(argv[0]);
    while ((c = getopt_long(argc, argv, "hVc:d:f:rsnCmki:t:T:U", long_options, NULL)) != -1) {
        if (c == 'h') {
            usage();
            return 0;
        }
        if (c == 'V') {
            printf("%s version 7.2.0 (rhea %s)\n", report_program(), RHEA_VERSION);
            return 0;
        }
        if (!set_option(&a, c)) {
            if (c == '?') {
                fprintf(stderr, "Try '%s --help' for more information.\n", report_program());
            }
            return 1;
        }
    }
    if (argc - optind > 1) {
        error_report("Expecting one image file name");
        return 1;
    }
    io.misalign = a.misalign;
    if (optind < argc) {
        ok = open_operand(&io, &a, argv[optind]);
    }
    for (unsigned i = 0; ok && i < a.lines->len && !io.quit; i++) {
        run_line(&io, a.lines->pdata[i]);
    }
    if (ok && !a.lines->len) {
        read_lines(&io);
    }
    io_close_image(&io);
    if (a.open.opts) {
        node_opts_free(a.open.opts);
    }
    g_ptr_array_unref(a.lines);
    return fflush(stdout) == 0 && ok && !io.failed ? 0 : 1;
}
