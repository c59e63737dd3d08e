/* SPDX-License-Identifier: MIT */
/* The log's items, and messages to the user. */
#include "base/log.h"

#include <string.h>

static void test_items_add_up(void)
{
    log_set_mask(0);
    g_assert_true(log_add_items("int", NULL));
    g_assert_true(log_add_items("guest_errors,unimp", NULL));
    g_assert_cmpuint(log_items, ==, LOG_INT | LOG_GUEST_ERRORS | LOG_UNIMP);
    g_assert_true(log_enabled(LOG_UNIMP));
    g_assert_false(log_enabled(LOG_CPU));
    g_assert_true(log_set_items("none", NULL));
    g_assert_cmpuint(log_items, ==, 0);
}

static void test_unknown_item_suggests_and_changes_nothing(void)
{
    g_autoptr(GError) error = NULL;

    log_set_mask(LOG_INT);
    g_assert_false(log_add_items("cpu,gest_errors", &error));
    g_assert_nonnull(strstr(error->message, "did you mean 'guest_errors'?"));
    g_assert_cmpuint(log_items, ==, LOG_INT);
    log_set_mask(0);
}

static void test_file_name_pattern_is_checked(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(log_set_file("x%s", &error));
    g_clear_error(&error);
    g_assert_false(log_set_file("%d%d", &error));
    g_clear_error(&error);
    g_assert_false(log_set_file("/nonexistent/x", &error));
    g_assert_nonnull(strstr(error->message, "/nonexistent/x"));
}

static void test_filter_ranges(void)
{
    static const char *const wrong[] = { "", "0x1000", "0x1000+", "4096+0", "9..8", "1-2", "x+1", "1..2,3" };

    g_assert_true(log_filter_wants(5));
    g_assert_true(log_set_filter("0x8000..0x8fff,0xffffffc000080000+0x200,0xffffffc000060000-0x1000", NULL));
    g_assert_true(log_filter_wants(0x8000) && log_filter_wants(0x8fff));
    g_assert_false(log_filter_wants(0x7fff) || log_filter_wants(0x9000));
    g_assert_true(log_filter_wants(0xffffffc000080000) && log_filter_wants(0xffffffc0000801ff));
    g_assert_false(log_filter_wants(0xffffffc000080200));
    g_assert_true(log_filter_wants(0xffffffc00005f000) && log_filter_wants(0xffffffc00005ffff));
    g_assert_false(log_filter_wants(0xffffffc000060000) || log_filter_wants(0xffffffc00005efff));
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(log_set_filter(wrong[i], &error));
        g_assert_nonnull(strstr(error->message, "log filter"));
    }
    g_assert_true(log_filter_wants(0x8000) && !log_filter_wants(0x9000));
    g_assert_true(log_set_filter("0+0xffffffffffffffff", NULL));
}

static void collect(void *opaque, const char *line)
{
    g_string_append(opaque, line);
}

static void test_sink_takes_reports_of_this_thread(void)
{
    g_autoptr(GString) got = g_string_new(NULL);
    ReportSink sink = { collect, got, NULL };

    report_sink_push(&sink);
    error_report("no %s", "disk");
    warn_report("slow");
    report_sink_pop(&sink);
    g_assert_cmpstr(got->str, ==, "no disk\nwarning: slow\n");
}

static void test_reports_begin_with_the_program(void)
{
    if (g_test_subprocess()) {
        report_set_program("/usr/bin/qemu-system-x86_64");
        error_report("no disk");
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_stderr("qemu-system-x86_64: no disk\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/log/items", test_items_add_up);
    g_test_add_func("/log/unknown", test_unknown_item_suggests_and_changes_nothing);
    g_test_add_func("/log/file", test_file_name_pattern_is_checked);
    g_test_add_func("/log/filter", test_filter_ranges);
    g_test_add_func("/log/sink", test_sink_takes_reports_of_this_thread);
    g_test_add_func("/log/program", test_reports_begin_with_the_program);
    return g_test_run();
}
