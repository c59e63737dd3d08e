/* SPDX-License-Identifier: MIT */
/* Trace points: generation, patterns, output. */
#include "base/trace_test_rows.h"
#include "base/log.h"

#include <glib/gstdio.h>
#include <unistd.h>

static char *traced(void (*fn)(void))
{
    g_autofree char *path = NULL;
    char *text = NULL;
    int fd = g_file_open_tmp("rhea-trace-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(log_set_file(path, NULL));
    fn();
    g_assert_true(log_set_file(NULL, NULL));
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_unlink(path);
    return text;
}

static void all_events(void)
{
    trace_toy_read(0x10, 4);
    trace_toy_reset();
    trace_other_name("x");
}

static void test_pattern_selects(void)
{
    g_autofree char *off = NULL, *toys = NULL, *one = NULL;

    off = traced(all_events);
    g_assert_cmpstr(off, ==, "");
    g_assert_cmpuint(trace_set_pattern("toy_*", true), ==, 2);
    g_assert_true(log_enabled(LOG_TRACE));
    toys = traced(all_events);
    g_assert_cmpstr(toys, ==, "toy_read offset 0x10 size 4\ntoy_reset all\n");
    g_assert_cmpuint(trace_set_pattern("-toy_reset", true), ==, 1);
    one = traced(all_events);
    g_assert_cmpstr(one, ==, "toy_read offset 0x10 size 4\n");
    trace_set_pattern("*", false);
    g_assert_false(log_enabled(LOG_TRACE));
}

static void test_unknown_event_suggests(void)
{
    if (g_test_subprocess()) {
        g_assert_true(trace_configure("toy_raed", NULL));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*warning: trace event 'toy_raed' does not exist; "
                              "did you mean 'toy_read'?*");
}

static void test_bad_option_is_an_error(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(trace_configure("enable=toy_*,flie=x", &error));
    g_assert_nonnull(strstr(error->message, "did you mean 'file'?"));
    g_assert_false(trace_event_enabled(TOY_READ));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trace/pattern", test_pattern_selects);
    g_test_add_func("/trace/unknown", test_unknown_event_suggests);
    g_test_add_func("/trace/option", test_bad_option_is_an_error);
    return g_test_run();
}
