/* SPDX-License-Identifier: MIT */
/* Errors: classes, texts, suggestions. */
#include "base/error.h"

#include <errno.h>
#include <gio/gio.h>

static void test_set_returns_false_and_fills(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(error_set(&error, "Disk '%s' is %d", "d0", 7));
    g_assert_error(error, RHEA_ERROR, VM_ERROR_GENERIC);
    g_assert_cmpstr(error->message, ==, "Disk 'd0' is 7");
    g_assert_false(error_set(NULL, "nobody listens"));
}

static void test_errno_text_is_appended(void)
{
    g_autoptr(GError) error = NULL;

    error_set_errno(&error, ENOENT, "Cannot open '%s'", "x");
    g_assert_cmpstr(error->message, ==, "Cannot open 'x': No such file or directory");
}

static void test_codes_map_to_classes(void)
{
    g_autoptr(GError) a = NULL, b = NULL;

    error_set_code(&a, VM_ERROR_DEVICE_NOT_FOUND, "Device 'x' not found");
    g_assert_cmpstr(error_class_name(a), ==, "DeviceNotFound");
    b = g_error_new(G_IO_ERROR, G_IO_ERROR_FAILED, "alien");
    g_assert_cmpstr(error_class_name(b), ==, "GenericError");
}

static void test_distance(void)
{
    g_assert_cmpuint(edit_distance("abc", "abc", 3), ==, 0);
    g_assert_cmpuint(edit_distance("abc", "acb", 3), ==, 1);
    g_assert_cmpuint(edit_distance("e1000", "E1000e", 3), ==, 1);
    g_assert_cmpuint(edit_distance("", "abc", 3), ==, 3);
    g_assert_cmpuint(edit_distance("abcdef", "uvwxyz", 3), ==, 4);
}

static void test_suggestion_is_close_or_none(void)
{
    static const char *const names[] = { "virtio-net-pci", "isa-serial", "e1000", NULL };
    Suggest s;

    g_assert_cmpstr(suggest_closest("isa-serail", names), ==, "isa-serial");
    g_assert_cmpstr(suggest_closest("e100", names), ==, "e1000");
    g_assert_null(suggest_closest("floppy", names));
    suggest_init(&s, "e1001");
    g_assert_cmpstr(suggest_text(&s), ==, "");
    suggest_offer(&s, "e1000");
    g_assert_cmpstr(suggest_text(&s), ==, "; did you mean 'e1000'?");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/set", test_set_returns_false_and_fills);
    g_test_add_func("/error/errno", test_errno_text_is_appended);
    g_test_add_func("/error/classes", test_codes_map_to_classes);
    g_test_add_func("/error/distance", test_distance);
    g_test_add_func("/error/suggest", test_suggestion_is_close_or_none);
    return g_test_run();
}
