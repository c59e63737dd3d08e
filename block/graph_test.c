/* SPDX-License-Identifier: MIT */
/*
 * The graph and backends over real files: open, probe, permissions, requests, errors.
 */
#include "block/graph.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "base/thread.h"
#include "block/driver.h"

static char *folder;

static char *make_file(const char *name, size_t size)
{
    char *path = g_build_filename(folder, name, NULL);
    g_autofree char *data = g_malloc0(size);

    g_assert_true(g_file_set_contents(path, data, (gssize)size, NULL));
    return path;
}

static BlockNode *open_raw(const char *path, int flags, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "driver", "raw");
    return node_open(path, opts, flags, error);
}

typedef struct Wait {
    bool done;
    int ret;
} Wait;

static void wait_done(void *opaque, int ret)
{
    *(Wait *)opaque = (Wait){ true, ret };
}

static void test_aio_write_then_read(void)
{
    g_autofree char *path = make_file("aio.img", 1 << 20);
    g_autoptr(GError) error = NULL;
    BlockNode *node = open_raw(path, NODE_OPEN_RDWR, &error);
    BlockBackend *blk = blk_new("aio0");
    char out[1000], in[1000];
    struct iovec iov[2] = { { out, 300 }, { out + 300, 700 } };
    Wait w = { false, 1 };

    g_assert_no_error(error);
    g_assert_true(blk_insert_node(blk, node, true, &error));
    memset(out, 0x5a, sizeof(out));
    blk_aio_pwritev(blk, 777, iov, 2, 0, wait_done, &w);
    g_assert_false(w.done);
    while (!w.done) {
        event_loop_iterate(event_loop_main(), true);
    }
    g_assert_cmpint(w.ret, ==, 0);
    g_assert_cmpint(blk_pread(blk, 777, in, sizeof(in)), ==, 0);
    g_assert_cmpmem(in, sizeof(in), out, sizeof(out));
    g_assert_cmpint(blk_pread(blk, (1 << 20) - 10, in, 11), ==, -EIO);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpuint(blk_stats(blk)->bytes[BLK_ACCT_WRITE], ==, 1000);
    blk_unref(blk);
    node_unref(node);
}

static void test_two_writers_conflict(void)
{
    g_autofree char *path = make_file("lock.img", 65536);
    g_autoptr(GError) error = NULL;
    BlockNode *a = open_raw(path, NODE_OPEN_RDWR, &error);
    BlockNode *b = open_raw(path, NODE_OPEN_RDWR, &error);
    BlockBackend *blk_a = blk_new("a"), *blk_b = blk_new("b");

    g_assert_no_error(error);
    g_assert_true(blk_insert_node(blk_a, a, true, &error));
    g_assert_false(blk_insert_node(blk_b, b, true, &error));
    g_assert_nonnull(strstr(error->message, "lock"));
    blk_unref(blk_a);
    g_clear_error(&error);
    g_assert_true(blk_insert_node(blk_b, b, true, &error));
    blk_unref(blk_b);
    node_unref(a);
    node_unref(b);
}

static void test_errors_name_the_file(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *path = make_file("opt.img", 512);

    g_assert_null(node_open("/nonexistent/disk.img", NULL, 0, &error));
    g_assert_nonnull(strstr(error->message, "/nonexistent/disk.img"));
    g_clear_error(&error);
    g_assert_null(node_open(folder, NULL, 0, &error));
    g_assert_nonnull(strstr(error->message, folder));
    g_clear_error(&error);
    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "colour", "red");
    g_assert_null(node_open(path, opts, 0, &error));
    g_assert_nonnull(strstr(error->message, "colour"));
}

static void test_empty_drive_has_no_medium(void)
{
    BlockBackend *blk = blk_new("cd0");
    char buf[512];

    g_assert_false(blk_has_medium(blk));
    g_assert_cmpint(blk_pread(blk, 0, buf, 512), ==, -ENOMEDIUM);
    blk_unref(blk);
}

static void test_medium_change(void)
{
    g_autofree char *path = make_file("cd.iso", 4096);
    g_autoptr(GError) error = NULL;
    BlkAttachConf conf = { .device_name = "cd", .removable = true, .read_only = true };
    BlockBackend *blk = blk_attach(NULL, &conf, NULL, NULL, &error);

    g_assert_no_error(error);
    g_assert_true(blk_change_medium(blk, path, "raw", false, NULL, &error));
    g_assert_cmpuint(blk_length(blk), ==, 4096);
    g_assert_true(blk_is_read_only(blk));
    g_assert_true(blk_eject(blk, false, &error));
    g_assert_false(blk_has_medium(blk));
    blk_detach(blk);
}

static void test_json_filename_and_window(void)
{
    g_autofree char *path = make_file("json.img", 8192);
    g_autofree char *json = g_strdup_printf(
        "json:{\"driver\":\"raw\",\"offset\":512,\"size\":1024,"
        "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", path);
    g_autoptr(GError) error = NULL;
    BlockNode *node = node_open(json, NULL, NODE_OPEN_RDWR, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(node_length(node), ==, 1024);
    node_unref(node);
}

/* A plain name would lead an overlay made on this node to other data. */
static void test_name_tells_of_the_window(void)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(NodeOpts) again = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *window, *copy;

    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "offset", "4096");
    node_opts_set(opts, "size", "8192");
    node_opts_set(opts, "file.driver", "null-co");
    window = node_open(NULL, opts, NODE_OPEN_INLINE_IO, &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(node_filename(window), "json:"));
    copy = node_open(node_filename(window), again, NODE_OPEN_INLINE_IO, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(node_length(copy), ==, 8192);
    g_assert_cmpstr(node_filename(copy), !=, NULL);
    node_unref(copy);
    node_unref(window);
}

static void test_write_threshold_is_used_up(void)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    uint8_t buf[1024] = { 0 };
    BlockBackend *blk = blk_new(NULL);
    BlockNode *node;

    node_opts_set(opts, "driver", "null-co");
    node = node_open(NULL, opts, NODE_OPEN_RDWR | NODE_OPEN_INLINE_IO, &error);
    g_assert_no_error(error);
    g_assert_true(blk_insert_node(blk, node, true, &error));
    node->write_threshold = 4096;
    g_assert_cmpint(blk_pwrite(blk, 3072, buf, sizeof(buf), 0), ==, 0);
    g_assert_cmpuint(node->write_threshold, ==, 4096);
    g_assert_cmpint(blk_pwrite(blk, 3584, buf, sizeof(buf), 0), ==, 0);
    g_assert_cmpuint(node->write_threshold, ==, 0);
    while (event_loop_iterate(event_loop_main(), false)) {
    }
    blk_unref(blk);
    node_unref(node);
}

static void test_direct_io_read_modify_write(void)
{
    g_autofree char *path = make_file("direct.img", 65536);
    g_autoptr(GError) error = NULL;
    g_autoptr(NodeOpts) opts = node_opts_new();
    BlockNode *node;
    BlockBackend *blk;
    char in[3];

    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "cache.direct", "on");
    node = node_open(path, opts, NODE_OPEN_RDWR, &error);
    if (!node) {
        g_test_skip("the filesystem here has no O_DIRECT");
        return;
    }
    blk = blk_new("direct");
    g_assert_true(blk_insert_node(blk, node, true, &error));
    g_assert_cmpint(blk_pwrite(blk, 4095, "ab", 2, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4094, in, 3), ==, 0);
    g_assert_cmpmem(in, 3, "\0ab", 3);
    blk_unref(blk);
    node_unref(node);
}

static void test_cache_mode_reaches_the_file(void)
{
    g_autofree char *path = make_file("cache.img", 65536);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "cache.no-flush", "on");
    node_opts_set(opts, "cache.direct", "on");
    node = node_open(path, opts, NODE_OPEN_RDWR, &error);
    if (!node) {
        g_test_skip("the filesystem here has no O_DIRECT");
        return;
    }
    g_assert_true(node_file(node)->direct);
    g_assert_true(node_file(node)->no_flush);
    node_unref(node);
}

/* Many requests in flight on the host: they may not mix up each other's clusters. */
static void parallel_qcow2(const char *aio)
{
    enum { LENGTH = 4 << 20, ROUNDS = 60, DEPTH = 32, MAX_BYTES = 40000 };
    g_autofree char *path = g_build_filename(folder, "par.qcow2", NULL);
    g_autofree uint8_t *shadow = g_malloc0(LENGTH);
    g_autofree uint8_t *all = g_malloc(LENGTH);
    g_autofree uint8_t *buf = g_malloc((size_t)DEPTH * MAX_BYTES);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    CheckResult result = { 0 };
    BlockNode *node;
    BlockBackend *blk = blk_new("par");

    node_opts_set(create, "size", "4M");
    node_opts_set(create, "cluster_size", "4096");
    g_assert_true(image_create(path, "qcow2", create, &error));
    node_opts_set(opts, "file.aio", aio);
    node = node_open(path, opts, NODE_OPEN_RDWR, &error);
    if (!node && strstr(error->message, "io_uring is not available")) {
        g_test_skip("no io_uring here");
        blk_unref(blk);
        return;
    }
    g_assert_no_error(error);
    g_assert_true(blk_insert_node(blk, node, true, &error));
    for (unsigned round = 0; round < ROUNDS; round++) {
        Wait w[DEPTH] = { { false, 0 } };
        struct iovec iov[DEPTH];

        for (unsigned i = 0; i < DEPTH; i++) {
            /* Neighbours share clusters, but no byte. */
            uint64_t slot = LENGTH / DEPTH, at = i * slot;
            gint32 skip = g_rand_int_range(rand, 0, (gint32)slot - MAX_BYTES);
            gint32 bytes = g_rand_int_range(rand, 1, MAX_BYTES);

            if (i & 1) {
                skip = 0;                       /* right behind the one before */
            } else {
                skip = (gint32)slot - bytes;
            }
            at += (uint64_t)skip + 1000;         /* so that pairs meet within a cluster */
            memset(buf + (size_t)i * MAX_BYTES, g_rand_int_range(rand, 1, 255), (size_t)bytes);
            memcpy(shadow + at, buf + (size_t)i * MAX_BYTES, (size_t)bytes);
            iov[i] = (struct iovec){ buf + (size_t)i * MAX_BYTES, (size_t)bytes };
            blk_aio_pwritev(blk, at, &iov[i], 1, 0, wait_done, &w[i]);
        }
        if (round % 8 == 0) {
            g_assert_cmpint(blk_flush(blk), ==, 0);
        }
        for (unsigned i = 0; i < DEPTH; i++) {
            while (!w[i].done) {
                event_loop_iterate(event_loop_main(), true);
            }
            g_assert_cmpint(w[i].ret, ==, 0);
        }
        if (round % 16 == 15) {
            uint64_t at = (uint64_t)g_rand_int_range(rand, 0, LENGTH - 100000);

            g_assert_cmpint(blk_write_zeroes(blk, at, 100000, BLK_REQ_MAY_UNMAP), ==, 0);
            memset(shadow + at, 0, 100000);
        }
    }
    g_assert_cmpint(blk_pread(blk, 0, all, LENGTH), ==, 0);
    g_assert_cmpmem(all, LENGTH, shadow, LENGTH);
    g_assert_true(node_check(node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions, ==, 0);
    blk_unref(blk);
    node_unref(node);
}

static void test_parallel_threads(void)
{
    parallel_qcow2("threads");
}

static void test_parallel_io_uring(void)
{
    parallel_qcow2("io_uring");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    folder = g_dir_make_tmp("rhea-block-XXXXXX", NULL);
    g_test_add_func("/block/graph/aio", test_aio_write_then_read);
    g_test_add_func("/block/graph/two-writers", test_two_writers_conflict);
    g_test_add_func("/block/graph/errors", test_errors_name_the_file);
    g_test_add_func("/block/graph/no-medium", test_empty_drive_has_no_medium);
    g_test_add_func("/block/graph/medium-change", test_medium_change);
    g_test_add_func("/block/graph/json-window", test_json_filename_and_window);
    g_test_add_func("/block/graph/window-name", test_name_tells_of_the_window);
    g_test_add_func("/block/graph/write-threshold", test_write_threshold_is_used_up);
    g_test_add_func("/block/graph/direct", test_direct_io_read_modify_write);
    g_test_add_func("/block/graph/cache-mode", test_cache_mode_reaches_the_file);
    g_test_add_func("/block/graph/parallel-threads", test_parallel_threads);
    g_test_add_func("/block/graph/parallel-io-uring", test_parallel_io_uring);
    ret = g_test_run();
    g_autofree char *command = g_strdup_printf("rm -r '%s'", folder);
    return system(command) == 0 ? ret : 1;
}
