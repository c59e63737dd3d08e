/* SPDX-License-Identifier: MIT */
/*
 * blockdev-reopen of options that belong to a driver: the data stays, the option counts, and a
 * change that cannot be made leaves every node as it was.
 */
#include <fcntl.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "base/thread.h"
#include "block/backend.h"
#include "block/driver.h"
#include "block/memory.h"
#include "block/throttle.h"

static NodeOpts *opts_of(const char *text)
{
    NodeOpts *opts = node_opts_new();

    node_opts_add_keyval(opts, text, NULL, NULL);
    return opts;
}

static BlockNode *open_opts(const char *text)
{
    g_autoptr(NodeOpts) opts = opts_of(text);
    GError *error = NULL;
    BlockNode *node = node_open(NULL, opts, NODE_OPEN_RDWR, &error);

    g_assert_no_error(error);
    return node;
}

static BlockNode *open_disk(void)
{
    g_autoptr(NodeOpts) opts = opts_of("node-name=disk");
    GError *error = NULL;
    BlockNode *node = node_open("x-memory:disk", opts, NODE_OPEN_RDWR | NODE_OPEN_PROTOCOL, &error);

    g_assert_no_error(error);
    return node;
}

static bool reopen(const char *a, const char *b)
{
    g_autoptr(NodeOpts) x = opts_of(a);
    g_autoptr(NodeOpts) y = b ? opts_of(b) : NULL;
    NodeOpts *const both[] = { x, y };

    return node_reopen(both, b ? 2 : 1, NULL);
}

static int byte_at(BlockNode *node, uint64_t at)
{
    uint8_t byte;
    int ret = node_pread(node, at, &byte, 1);

    return ret < 0 ? ret : byte;
}

#define RAW "driver=raw,node-name=raw,file=disk"
#define THROTTLE "driver=throttle,node-name=slow,file=raw,throttle-group="

static void test_windows_and_groups(void)
{
    MemoryDisk *disk = memory_disk_new("disk");
    BlockNode *file, *raw, *slow;
    ThrottleGroup *groups[2];
    Throttle limits;

    g_byte_array_set_size(disk->data, 4096);
    for (unsigned i = 0; i < 4096; i++) {
        disk->data->data[i] = (uint8_t)(i / 512);
    }
    throttle_init(&limits);
    groups[0] = throttle_group_new("g0", &limits);
    groups[1] = throttle_group_new("g1", &limits);
    file = open_disk();
    raw = open_opts(RAW);
    slow = open_opts(THROTTLE "g0");
    g_assert_cmpint(byte_at(slow, 0), ==, 0);

    g_assert_true(reopen(RAW ",offset=1024,size=1024", NULL));
    g_assert_cmpuint(node_length(slow), ==, 1024);
    g_assert_cmpint(byte_at(slow, 0), ==, 2);
    g_assert_true(reopen(THROTTLE "g1", NULL));
    g_assert_false(throttle_group_is_used(groups[0]));
    g_assert_true(throttle_group_is_used(groups[1]));

    /* The second cannot be done, so the first is not either. */
    g_assert_false(reopen(THROTTLE "g0", RAW ",offset=8192"));
    g_assert_false(throttle_group_is_used(groups[0]));
    g_assert_false(reopen(RAW ",offset=512", THROTTLE "nope"));
    g_assert_cmpuint(node_length(raw), ==, 1024);
    g_assert_cmpint(byte_at(raw, 0), ==, 2);
    g_assert_true(reopen(RAW, NULL));
    g_assert_cmpuint(node_length(slow), ==, 4096);
    node_unref(slow);
    node_unref(raw);
    node_unref(file);
    throttle_group_unref(groups[0]);
    throttle_group_unref(groups[1]);
    memory_disk_free(disk);
}

#define QCOW2 "driver=qcow2,node-name=image,file=disk"

static void test_qcow2_caches_and_counts(void)
{
    static const char *const changes[] = {
        QCOW2 ",lazy-refcounts=on", QCOW2 ",l2-cache-size=64k", QCOW2 ",l2-cache-entry-size=512",
        QCOW2 ",cache-size=1M,cache-clean-interval=5", QCOW2 ",pass-discard-other=on", QCOW2,
        QCOW2 ",lazy-refcounts=on,l2-cache-entry-size=1k", QCOW2 ",lazy-refcounts=off",
    };
    MemoryDisk *disk = memory_disk_new("disk");
    g_autoptr(NodeOpts) create = opts_of("size=1M,cluster_size=4k");
    CheckResult result = { 0 };
    BlockNode *file, *image;
    BlockBackend *blk;
    uint8_t buf[4096];

    g_assert_true(image_create("x-memory:disk", "qcow2", create, NULL));
    file = open_disk();
    image = open_opts(QCOW2);
    blk = blk_new(NULL);
    g_assert_true(blk_insert_node(blk, image, true, NULL));
    for (unsigned i = 0; i < ARRAY_LEN(changes); i++) {
        memset(buf, (int)i + 1, sizeof(buf));
        g_assert_cmpint(blk_pwrite(blk, i * 64 * KIB + 100, buf, sizeof(buf), 0), ==, 0);
        g_assert_true(reopen(changes[i], NULL));
        g_assert_false(reopen(QCOW2 ",l2-cache-entry-size=100", NULL));
        for (unsigned k = 0; k <= i; k++) {
            g_assert_cmpint(byte_at(image, k * 64 * KIB + 100), ==, (int)k + 1);
        }
        g_assert_true(node_check(image, 0, &result, NULL));
        g_assert_cmpuint(result.corruptions + result.leaks, ==, 0);
    }
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(disk->data->data[79], ==, 0);      /* no dirty bit: counts are exact again */
    blk_unref(blk);
    node_unref(image);
    node_unref(file);
    memory_disk_free(disk);
}

static void test_direct_io(void)
{
    g_autofree char *path = g_strdup("rhea-reopen-XXXXXX");     /* here: tmpfs has no O_DIRECT */
    g_autofree char *base = NULL, *direct = NULL, *native = NULL;
    int fd = g_mkstemp(path);
    BlockNode *node;

    g_assert_cmpint(ftruncate(fd, 65536), ==, 0);
    base = g_strdup_printf("driver=file,node-name=host,filename=%s", path);
    direct = g_strconcat(base, ",cache.direct=on", NULL);
    native = g_strconcat(base, ",aio=native", NULL);
    node = open_opts(base);
    g_assert_cmpuint(node->limits.align, ==, 1);
    if (reopen(direct, NULL)) {
        g_assert_cmpuint(node->limits.align, >=, 512);
        g_assert_cmpint(byte_at(node, 1000), ==, 0);
        g_assert_cmpint(pwrite(fd, "x", 1, 1000), ==, 1);
        g_assert_cmpint(byte_at(node, 1000), ==, 'x');
        g_assert_false(reopen(native, NULL));
        g_assert_true(reopen(base, NULL));
        g_assert_cmpuint(node->limits.align, ==, 1);
        g_assert_cmpint(byte_at(node, 1000), ==, 'x');
    } else {
        g_test_message("this file system has no O_DIRECT");
    }
    node_unref(node);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    g_test_add_func("/block/reopen/windows-and-groups", test_windows_and_groups);
    g_test_add_func("/block/reopen/qcow2", test_qcow2_caches_and_counts);
    g_test_add_func("/block/reopen/direct", test_direct_io);
    return g_test_run();
}
