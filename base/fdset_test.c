/* SPDX-License-Identifier: MIT */
/* Descriptor sets. */
#include "base/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static void count(int64_t id, int fd, const char *note, void *opaque)
{
    g_string_append_printf(opaque, "%d:%s ", (int)id, note ? note : "-");
}

static void test_open_by_access_mode(void)
{
    g_autofree char *path = NULL;
    int rw = g_file_open_tmp("rhea-fdset-XXXXXX", &path, NULL);
    int ro = open(path, O_RDONLY);
    int fd;

    g_assert_cmpint(fdset_add(7, ro, "reading"), ==, 7);
    fd = host_open("/dev/fdset/7", O_RDWR, 0);
    g_assert_cmpint(fd, ==, -1);
    g_assert_cmpint(errno, ==, EACCES);
    g_assert_cmpint(fdset_add(7, rw, NULL), ==, 7);
    fd = host_open("/dev/fdset/7", O_RDWR | O_TRUNC, 0);
    g_assert_cmpint(fd, >, rw);
    g_assert_cmpint(write(fd, "x", 1), ==, 1);
    close(fd);
    g_assert_cmpint(host_open("/dev/fdset/8", O_RDONLY, 0), ==, -1);
    g_assert_cmpint(errno, ==, ENOENT);
    g_assert_true(fdset_remove(7, -1));
    g_assert_false(fdset_remove(7, -1));
    g_assert_cmpint(fcntl(ro, F_GETFD), ==, -1);
    g_unlink(path);
}

static void test_numbers_and_order(void)
{
    g_autoptr(GString) seen = g_string_new(NULL);

    g_assert_cmpint(fdset_add(-1, dup(0), "a"), ==, 0);
    g_assert_cmpint(fdset_add(3, dup(0), "d"), ==, 3);
    g_assert_cmpint(fdset_add(-1, dup(0), "b"), ==, 1);
    g_assert_cmpint(fdset_add(0, dup(0), NULL), ==, 0);
    fdset_foreach(count, seen);
    g_assert_cmpstr(seen->str, ==, "0:a 0:- 1:b 3:d ");
    for (int i = 0; i < 4; i++) {
        fdset_remove(i, -1);
    }
}

static void test_other_paths_are_files(void)
{
    int fd = host_open("/dev/null", O_RDWR, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
    close(fd);
    g_assert_cmpint(host_open("/dev/fdset/x", O_RDONLY, 0), ==, -1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdset/access-mode", test_open_by_access_mode);
    g_test_add_func("/fdset/numbers", test_numbers_and_order);
    g_test_add_func("/fdset/files", test_other_paths_are_files);
    return g_test_run();
}
