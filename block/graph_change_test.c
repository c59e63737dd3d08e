/* SPDX-License-Identifier: MIT */
/*
 * Changes of the graph with requests in flight: what is refused, what is undone, what is held.
 */
#include "block/graph.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "base/thread.h"
#include "block/driver.h"

enum { LENGTH = 1 << 20, SLOT = 16384, DEPTH = LENGTH / SLOT };

static char *folder;

static char *make_qcow2(const char *name, const char *backing)
{
    char *path = g_build_filename(folder, name, NULL);
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autoptr(GError) error = NULL;

    node_opts_set(create, "size", "1M");
    node_opts_set(create, "cluster_size", "4096");
    if (backing) {
        node_opts_set(create, "backing_file", backing);
        node_opts_set(create, "backing_fmt", "qcow2");
    }
    g_assert_true(image_create(path, "qcow2", create, &error));
    g_assert_no_error(error);
    return path;
}

static BlockNode *open_qcow2(const char *path, const char *name, int flags)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    node_opts_set(opts, "driver", "qcow2");
    node_opts_set(opts, "node-name", name);
    node = node_open(path, opts, flags, &error);
    g_assert_no_error(error);
    return node;
}

static BlockNode *insert_cor(BlockNode *node, const char *name, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "driver", "copy-on-read");
    node_opts_set(opts, "node-name", name);
    return node_insert_filter(node, opts, error);
}

typedef struct Load {
    BlockBackend *blk;
    uint8_t buf[DEPTH][SLOT];
    struct iovec iov[DEPTH];
    unsigned pending, failed;
} Load;

static void load_done(void *opaque, int ret)
{
    Load *load = opaque;

    load->pending--;
    load->failed += ret < 0;
}

static void load_start(Load *load, uint8_t value)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        memset(load->buf[i], value + i, SLOT);
        load->iov[i] = (struct iovec){ load->buf[i], SLOT };
        load->pending++;
        blk_aio_pwritev(load->blk, (uint64_t)i * SLOT, &load->iov[i], 1, 0, load_done, load);
    }
}

static void load_wait(Load *load)
{
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), load->pending > 0);
    g_assert_cmpuint(load->failed, ==, 0);
}

static void load_verify(Load *load, uint8_t value)
{
    uint8_t buf[SLOT];

    for (unsigned i = 0; i < DEPTH; i++) {
        g_assert_cmpint(blk_pread(load->blk, (uint64_t)i * SLOT, buf, SLOT), ==, 0);
        g_assert_cmpuint(buf[0], ==, (uint8_t)(value + i));
        g_assert_cmpuint(buf[SLOT - 1], ==, (uint8_t)(value + i));
    }
}

static void test_filter_comes_and_goes_under_load(void)
{
    g_autofree char *path = make_qcow2("load.qcow2", NULL);
    BlockNode *node = open_qcow2(path, "load", NODE_OPEN_RDWR);
    g_autofree Load *load = g_new0(Load, 1);
    g_autoptr(GError) error = NULL;
    CheckResult result = { 0 };

    load->blk = blk_new("load0");
    g_assert_true(blk_insert_node(load->blk, node, true, &error));
    for (unsigned round = 0; round < 8; round++) {
        BlockNode *filter;

        load_start(load, (uint8_t)(round * 2));
        filter = insert_cor(node, "cor", &error);
        g_assert_no_error(error);
        g_assert_true(blk_node(load->blk) == filter);
        load_wait(load);
        load_start(load, (uint8_t)(round * 2 + 1));
        g_assert_true(node_remove_filter(filter, &error));
        node_unref(filter);
        g_assert_null(node_by_name("cor"));
        g_assert_true(blk_node(load->blk) == node);
        load_wait(load);
        load_verify(load, (uint8_t)(round * 2 + 1));
    }
    g_assert_true(node_check(node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions, ==, 0);
    blk_unref(load->blk);
    node_unref(node);
}

static void test_filter_under_a_format(void)
{
    g_autofree char *path = make_qcow2("below.qcow2", NULL);
    BlockNode *node = open_qcow2(path, "below", NODE_OPEN_RDWR), *filter;
    g_autofree Load *load = g_new0(Load, 1);
    g_autoptr(GError) error = NULL;

    load->blk = blk_new("below0");
    g_assert_true(blk_insert_node(load->blk, node, true, &error));
    load_start(load, 1);
    filter = insert_cor(node_file(node), "mid", &error);
    g_assert_no_error(error);
    g_assert_true(node_file(node) == filter);
    load_wait(load);
    load_start(load, 7);
    g_assert_true(node_remove_filter(filter, &error));
    node_unref(filter);
    load_wait(load);
    load_verify(load, 7);
    blk_unref(load->blk);
    node_unref(node);
}

static void test_refused_replacement_changes_nothing(void)
{
    g_autofree char *path_a = make_qcow2("a.qcow2", NULL);
    g_autofree char *path_b = make_qcow2("b.qcow2", NULL);
    BlockNode *a = open_qcow2(path_a, "ra", NODE_OPEN_RDWR);
    BlockNode *b = open_qcow2(path_b, "rb", 0);
    BlockBackend *blk = blk_new("refused");
    g_autoptr(GError) error = NULL;

    g_assert_true(blk_insert_node(blk, a, true, &error));
    g_assert_false(node_replace(a, b, &error));          /* a writer cannot move to it */
    g_assert_nonnull(strstr(error->message, "read-only"));
    g_assert_true(blk_node(blk) == a);
    g_assert_cmpuint(a->perm & BLK_PERM_WRITE, !=, 0);
    g_assert_cmpuint(b->perm, ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, "x", 1, 0), ==, 0);
    blk_unref(blk);
    node_unref(a);
    node_unref(b);
}

static void test_conflict_names_the_user(void)
{
    g_autofree char *path = make_qcow2("c.qcow2", NULL);
    BlockNode *node = open_qcow2(path, "cn", NODE_OPEN_RDWR);
    BlockBackend *one = blk_new("one"), *two = blk_new("two");
    g_autoptr(GError) error = NULL;

    g_assert_true(blk_insert_node(one, node, true, &error));
    g_assert_false(blk_insert_node(two, node, true, &error));
    g_assert_nonnull(strstr(error->message, "'one'"));
    g_assert_nonnull(strstr(error->message, "write"));
    blk_unref(one);
    blk_unref(two);
    node_unref(node);
}

static void test_backing_change_under_load(void)
{
    g_autofree char *base = make_qcow2("base.qcow2", NULL);
    g_autofree char *path = make_qcow2("top.qcow2", base);
    BlockNode *top = open_qcow2(path, "bt", NODE_OPEN_RDWR);
    g_autofree Load *load = g_new0(Load, 1);
    g_autoptr(BlockNode) old = node_ref(node_backing(top));
    g_autoptr(GError) error = NULL;

    load->blk = blk_new("backing0");
    g_assert_true(blk_insert_node(load->blk, top, true, &error));
    load_start(load, 3);
    g_assert_true(node_set_backing(top, NULL, &error));
    g_assert_null(node_backing(top));
    g_assert_cmpuint(old->perm, ==, 0);
    load_wait(load);
    load_start(load, 9);
    g_assert_true(node_set_backing(top, old, &error));
    load_wait(load);
    load_verify(load, 9);
    g_assert_false(node_set_backing(old, top, &error));  /* a loop */
    g_assert_nonnull(strstr(error->message, "cycle"));
    blk_unref(load->blk);
    node_unref(top);
}

static void test_drain_holds_new_requests(void)
{
    g_autofree char *path = make_qcow2("d.qcow2", NULL);
    BlockNode *node = open_qcow2(path, "dn", NODE_OPEN_RDWR);
    g_autofree Load *load = g_new0(Load, 1);
    g_autoptr(GError) error = NULL;

    load->blk = blk_new("drain0");
    g_assert_true(blk_insert_node(load->blk, node, true, &error));
    load_start(load, 1);
    node_drained_begin(node_file(node));                 /* the file below: roots above obey */
    g_assert_cmpuint(load->pending, ==, 0);
    load_start(load, 2);
    node_drained_begin(node);                            /* does not wait for what is held */
    for (unsigned i = 0; i < 20; i++) {
        event_loop_iterate(event_loop_main(), false);
    }
    g_assert_cmpuint(load->pending, ==, DEPTH);
    node_drained_end(node_file(node));
    g_assert_cmpuint(load->pending, ==, DEPTH);          /* one drain is still on */
    node_drained_end(node);
    load_wait(load);
    load_verify(load, 2);
    blk_unref(load->blk);
    node_unref(node);
}

static void test_backing_file_becomes_writable(void)
{
    g_autofree char *base = make_qcow2("rw-base.qcow2", NULL);
    g_autofree char *path = make_qcow2("rw-top.qcow2", base);
    BlockNode *top = open_qcow2(path, "rwt", NODE_OPEN_RDWR), *below = node_backing(top);
    BlockBackend *reader = blk_new("rwr"), *writer = blk_new("rww");
    g_autoptr(GError) error = NULL;

    g_assert_true(node_is_read_only(below));
    g_assert_true(node_set_read_only(below, false, &error));
    g_assert_false(node_is_read_only(node_file(below)));
    g_assert_true(blk_insert_node(reader, top, true, &error));
    /* What an overlay in use reads may not change. */
    g_assert_false(blk_insert_node(writer, below, true, &error));
    g_clear_error(&error);
    blk_remove_node(reader);
    g_assert_true(blk_insert_node(writer, below, true, &error));
    g_assert_cmpint(blk_pwrite(writer, 0, "x", 1, 0), ==, 0);
    g_assert_false(node_set_read_only(below, true, &error));
    blk_remove_node(writer);
    g_clear_error(&error);
    g_assert_true(node_set_read_only(below, true, &error));
    g_assert_true(node_is_read_only(node_file(below)));
    blk_unref(reader);
    blk_unref(writer);
    node_unref(top);
}

static void test_copy_on_read_fills_the_overlay(void)
{
    g_autofree char *base = make_qcow2("cor-base.qcow2", NULL);
    g_autofree char *path = make_qcow2("cor-top.qcow2", base);
    BlockNode *low = open_qcow2(base, "cb", NODE_OPEN_RDWR), *top, *filter;
    BlockBackend *blk = blk_new("cor0");
    g_autoptr(GError) error = NULL;
    char buf[6000];

    memset(buf, 0x77, sizeof(buf));
    g_assert_true(blk_insert_node(blk, low, true, &error));
    g_assert_cmpint(blk_pwrite(blk, 5000, buf, sizeof(buf), 0), ==, 0);
    blk_remove_node(blk);
    node_unref(low);
    top = open_qcow2(path, "ct", NODE_OPEN_RDWR);
    g_assert_true(blk_insert_node(blk, top, true, &error));
    filter = insert_cor(top, "cf", &error);
    g_assert_no_error(error);
    g_assert_cmpint(blk_pread(blk, 5000, buf, 10), ==, 0);
    g_assert_cmpint(buf[9], ==, 0x77);
    g_assert_true(node_remove_filter(filter, &error));
    node_unref(filter);
    g_assert_true(node_set_backing(top, NULL, &error));
    memset(buf, 0, sizeof(buf));
    g_assert_cmpint(blk_pread(blk, 5000, buf, sizeof(buf)), ==, 0);
    g_assert_cmpint(buf[0], ==, 0x77);                   /* its cluster was copied */
    g_assert_cmpint(buf[8192 - 5000], ==, 0);            /* the next one was not */
    blk_unref(blk);
    node_unref(top);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    folder = g_dir_make_tmp("rhea-change-XXXXXX", NULL);
    g_test_add_func("/block/change/filter", test_filter_comes_and_goes_under_load);
    g_test_add_func("/block/change/filter-below", test_filter_under_a_format);
    g_test_add_func("/block/change/refused", test_refused_replacement_changes_nothing);
    g_test_add_func("/block/change/conflict", test_conflict_names_the_user);
    g_test_add_func("/block/change/backing", test_backing_change_under_load);
    g_test_add_func("/block/change/drain", test_drain_holds_new_requests);
    g_test_add_func("/block/change/read-only", test_backing_file_becomes_writable);
    g_test_add_func("/block/change/copy-on-read", test_copy_on_read_fills_the_overlay);
    ret = g_test_run();
    g_autofree char *command = g_strdup_printf("rm -r '%s'", folder);
    return system(command) == 0 ? ret : 1;
}
