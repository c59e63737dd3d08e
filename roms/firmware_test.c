/* SPDX-License-Identifier: MIT */
/* Where firmware is looked for. */
#include "roms/firmware.h"

#include <glib/gstdio.h>

static void test_folders_of_the_user_come_first(void)
{
    g_autofree char *dir = g_dir_make_tmp("rhea-roms-XXXXXX", NULL);
    g_autofree char *mine = g_build_filename(dir, "bios-256k.bin", NULL);
    g_autofree char *found = NULL, *other = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(mine, "x", 1, NULL));
    firmware_add_dir(dir);
    found = firmware_find("bios-256k.bin", NULL);
    g_assert_cmpstr(found, ==, mine);
    other = firmware_find("rhea-no-such-rom", &error);
    g_assert_null(other);
    g_assert_nonnull(strstr(error->message, "'rhea-no-such-rom'"));
    g_unlink(mine);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/firmware/own-folders", test_folders_of_the_user_come_first);
    return g_test_run();
}
