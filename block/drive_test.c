/* SPDX-License-Identifier: MIT */
/*
 * -drive and -blockdev: places, names, snapshot=on, errors that say what is wrong.
 */
#include "block/drive.h"

#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

static char *folder;
static const DriveDefaults ide = { .type = DRIVE_IDE, .index = -1 };

static char *make_file(const char *name, size_t size)
{
    char *path = g_build_filename(folder, name, NULL);
    g_autofree char *data = g_malloc0(size);

    g_assert_true(g_file_set_contents(path, data, (gssize)size, NULL));
    return path;
}

static void add(const char *format, const char *path)
{
    g_autofree char *text = g_strdup_printf(format, path);
    g_autoptr(GError) error = NULL;

    drive_add_text(text, NULL, &ide, &error);
    g_assert_no_error(error);
}

static void refused(const char *text, const char *why)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(drive_add_text(text, NULL, &ide, &error));
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(error->message, why));
}

static void test_places_and_names(void)
{
    g_autofree char *path = make_file("a.img", 65536);

    add("file=%s,format=raw,read-only=on", path);
    add("file=%s,format=raw,media=cdrom", path);
    add("file=%s,format=raw,if=none,id=spare,readonly=on", path);
    add("file=%s,format=raw,if=floppy,readonly=on", path);
    add("file=%s,format=raw,index=3,read-only=on", path);
    g_assert_cmpstr(drive_get(DRIVE_IDE, 0, 0)->id, ==, "ide0-hd0");
    g_assert_cmpstr(drive_get(DRIVE_IDE, 0, 1)->id, ==, "ide0-cd1");
    g_assert_cmpstr(drive_get(DRIVE_IDE, 1, 1)->id, ==, "ide1-hd1");
    g_assert_cmpstr(drive_get(DRIVE_FLOPPY, 0, 0)->id, ==, "floppy0");
    g_assert_true(blk_is_read_only(blk_by_name("ide0-cd1")));
    g_assert_nonnull(blk_by_name("spare"));
    refused("if=ide,index=3", "exists");
    refused("if=ide,unit=2", "too big");
    drive_free_all();
    g_assert_null(blk_by_name("spare"));
}

static void test_snapshot_keeps_the_image(void)
{
    g_autofree char *path = make_file("keep.img", 1 << 20);
    g_autofree char *after = NULL;
    gsize len;
    char in[6];

    add("file=%s,format=raw,snapshot=on,id=s", path);
    g_assert_cmpint(blk_pwrite(blk_by_name("s"), 1000, "hello", 6, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk_by_name("s"), 1000, in, 6), ==, 0);
    g_assert_cmpstr(in, ==, "hello");
    drive_free_all();
    g_assert_true(g_file_get_contents(path, &after, &len, NULL));
    g_assert_cmpuint(len, ==, 1 << 20);
    g_assert_cmpint(after[1000], ==, 0);
}

static void test_probed_raw_cannot_be_disguised(void)
{
    g_autofree char *path = make_file("guess.img", 65536);
    uint8_t sector[512] = "QFI\xfb\0\0\0\3";
    BlockBackend *blk;

    add("file=%s,id=g", path);
    blk = blk_by_name("g");
    g_assert_cmpint(blk_pwrite(blk, 0, sector, 512, 0), ==, -EPERM);
    g_assert_cmpint(blk_pwrite(blk, 0, "boot", 4, 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 512, sector, 512, 0), ==, 0);
    drive_free_all();
}

static void test_errors(void)
{
    refused("file=/nonexistent/x.img", "/nonexistent/x.img");
    refused("file=x,if=scisi", "scisi");
    refused("file=x,cache=fast", "fast");
    refused("file=x,media=tape", "tape");
    refused("file=x,werror=maybe", "maybe");
    refused("file=x,index=1,bus=0", "index");
}

static void test_blockdev(void)
{
    g_autofree char *path = make_file("b.img", 4096);
    g_autofree char *json = g_strdup_printf(
        "{\"driver\":\"raw\",\"node-name\":\"disk\",\"file\":{\"driver\":\"file\","
        "\"filename\":\"%s\"}}", path);
    BlkAttachConf conf = { .device_name = "hd" };
    g_autoptr(GError) error = NULL;
    BlockBackend *blk;

    g_assert_true(blockdev_add_text(json, &error));
    blk = blk_attach("disk", &conf, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(blk_is_writable(blk));
    g_assert_false(node_del("disk", &error));
    g_clear_error(&error);
    blk_detach(blk);
    g_assert_true(node_del("disk", &error));
    g_assert_false(blockdev_add_text("driver=file,filename=x", &error));
    g_assert_nonnull(strstr(error->message, "node-name"));
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_FATAL_MASK);
    thread_set_main();
    folder = g_dir_make_tmp("rhea-drive-XXXXXX", NULL);
    g_test_add_func("/block/drive/places", test_places_and_names);
    g_test_add_func("/block/drive/snapshot", test_snapshot_keeps_the_image);
    g_test_add_func("/block/drive/probed-raw", test_probed_raw_cannot_be_disguised);
    g_test_add_func("/block/drive/errors", test_errors);
    g_test_add_func("/block/drive/blockdev", test_blockdev);
    ret = g_test_run();
    g_autofree char *command = g_strdup_printf("rm -r '%s'", folder);
    return system(command) == 0 ? ret : 1;
}
