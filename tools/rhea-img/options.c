/* SPDX-License-Identifier: MIT */
/*
 * Command options from tables: parsing, usage and help.  See tools/rhea-img/options.h.
 * Single threaded.
 */
#include "tools/rhea-img/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/objects.h"
#include "tools/rhea-img/img.h"

enum { LONG_BASE = 256, LONG_HELP = 255, MAX_OPTIONS = 32 };

static bool is_end(const ImgOption *o)
{
    return !o->letter && !o->name;
}

char *img_usage(const ImgCommand *command)
{
    GString *s = g_string_new(command->name);

    for (const ImgOption *o = command->options; !is_end(o); o++) {
        g_string_append(s, o->required ? " " : " [");
        if (o->letter) {
            g_string_append_printf(s, "-%c%s%s", o->letter, o->arg ? " " : "",
                                   o->arg ? o->arg : "");
        } else {
            g_string_append_printf(s, "--%s%s%s", o->name, o->arg ? "=" : "",
                                   o->arg ? o->arg : "");
        }
        g_string_append(s, o->required ? "" : "]");
    }
    g_string_append_printf(s, " %s", command->operands);
    return g_string_free(s, FALSE);
}

static int command_help(const ImgCommand *command)
{
    g_autofree char *usage = img_usage(command);

    printf("usage: %s %s\n\n", report_program(), usage);
    for (const ImgOption *o = command->options; !is_end(o); o++) {
        g_autofree char *letter = o->letter ? g_strdup_printf("-%c", o->letter) : g_strdup("");
        g_autofree char *name = o->name ? g_strdup_printf("--%s", o->name) : g_strdup("");
        g_autofree char *both = g_strdup_printf("%s%s%s%s%s", letter, *letter && *name ? ", " : "",
                                                name, o->arg ? " " : "", o->arg ? o->arg : "");

        printf("  %-26s %s\n", both, o->help ? o->help : "");
    }
    return 0;
}

static bool store(const ImgOption *o, void *args, const char *value)
{
    void *at = (char *)args + o->at;
    GError *error = NULL;

    switch (o->kind) {
    case IMG_FLAG:
        *(bool *)at = true;
        return true;
    case IMG_CLEAR:
        *(bool *)at = false;
        return true;
    case IMG_TEXT:
        *(const char **)at = value;
        return true;
    case IMG_SIZE:
        return size_arg(o->arg, value, at);
    case IMG_OPTS:
        if (!*(NodeOpts **)at) {
            *(NodeOpts **)at = node_opts_new();
        }
        return add_create_opts(*(NodeOpts **)at, value);
    case IMG_OUTPUT:
        *(bool *)at = g_str_equal(value, "json");
        if (!*(bool *)at && !g_str_equal(value, "human")) {
            error_report("--output must be used with human or json as argument.");
            return false;
        }
        return true;
    case IMG_OBJECT:
        if (!tool_object_add(value, &error)) {
            error_report_free(error);
            return false;
        }
        return true;
    case IMG_CALL:
        return o->call(args, value);
    }
    return false;
}

static void getopt_tables(const ImgCommand *command, GString *letters, struct option *list)
{
    unsigned n = 0, i = 0;

    g_string_append(letters, ":h");
    for (const ImgOption *o = command->options; !is_end(o); o++, i++) {
        g_assert(i < MAX_OPTIONS);
        if (o->letter) {
            g_string_append_printf(letters, "%c%s", o->letter, o->arg ? ":" : "");
        }
        if (o->name) {
            list[n++] = (struct option){ o->name, o->arg ? required_argument : no_argument, NULL,
                                         (int)(LONG_BASE + i) };
        }
    }
    list[n++] = (struct option){ "help", no_argument, NULL, LONG_HELP };
    list[n] = (struct option){ 0 };
}

static const ImgOption *option_of(const ImgCommand *command, int c)
{
    if (c >= LONG_BASE) {
        return &command->options[c - LONG_BASE];
    }
    for (const ImgOption *o = command->options; !is_end(o); o++) {
        if (o->letter == c) {
            return o;
        }
    }
    return NULL;
}

int img_parse(const ImgCommand *command, void *args, int *argc, char ***argv)
{
    struct option list[MAX_OPTIONS + 2];
    g_autoptr(GString) letters = g_string_new(NULL);
    int c, count = *argc, hidden = command->last_is_size && *argc >= 3;

    getopt_tables(command, letters, list);
    while ((c = getopt_long(count - hidden, *argv, letters->str, list, NULL)) != -1) {
        const ImgOption *o;

        if (c == 'h' || c == LONG_HELP) {
            return command_help(command);
        }
        o = option_of(command, c);
        if (!o) {
            return c == ':' ? usage_error("missing argument for option '%s'", (*argv)[optind - 1])
                            : usage_error("unrecognized option '%s'", (*argv)[optind - 1]);
        }
        if (!store(o, args, optarg)) {
            return 1;
        }
    }
    *argv += optind;
    *argc = count - optind;
    if ((unsigned)*argc < command->min || (unsigned)*argc > command->max) {
        return usage_error("%s", command->expect);
    }
    return -1;
}
