/* SPDX-License-Identifier: MIT */
/*
 * Who may take nodes to an iothread and who may not, and limits that are shared over several loops.
 * What runs there is in job_test.c.
 */
#include "block/graph.h"

#include "base/thread.h"
#include "block/driver.h"
#include "block/export.h"
#include "block/nbd_server.h"
#include "block/throttle.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static BlockNode *open_null(const char *name)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "node-name", name);
    node_opts_set(opts, "file.driver", "null-co");
    node_opts_set(opts, "file.size", "1M");
    node = node_open(NULL, opts, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    return node;
}

static BlockBackend *attach(const char *node, EventLoop *loop, GError **error)
{
    BlkAttachConf conf = { .device_name = node, .share_rw = true, .loop = loop };

    return blk_attach(node, &conf, NULL, (void *)(uintptr_t)node, error);
}

static bool is_at(const BlockNode *node, EventLoop *loop)
{
    return node->loop == loop && node_file(node)->loop == loop;
}

static void test_devices_of_one_node_share_a_loop(void)
{
    g_autoptr(IoThread) a = iothread_new("a"), b = iothread_new("b");
    g_autoptr(GError) error = NULL;
    BlockNode *node = open_null("disk");
    BlockBackend *first = attach("disk", iothread_loop(a), &error), *second;

    g_assert_no_error(error);
    g_assert_true(is_at(node, iothread_loop(a)));
    g_assert_cmpint(event_loop_users(iothread_loop(a)), ==, 2);
    g_assert_null(attach("disk", iothread_loop(b), &error));
    g_assert_nonnull(strstr(error->message, "'disk'"));
    g_clear_error(&error);
    g_assert_null(attach("disk", NULL, NULL));
    second = attach("disk", iothread_loop(a), &error);
    g_assert_no_error(error);
    g_assert_false(blk_set_loop(second, event_loop_main(), NULL));
    blk_detach(first);
    g_assert_true(is_at(node, iothread_loop(a)));      /* the other one keeps it */
    blk_detach(second);
    g_assert_true(is_at(node, event_loop_main()));
    g_assert_cmpint(event_loop_users(iothread_loop(a)), ==, 0);
    node_unref(node);
}

static void test_an_overlay_follows(void)
{
    g_autoptr(IoThread) t = iothread_new("io0");
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node = open_null("disk"), *filter, *other = open_null("other");
    BlockBackend *blk = attach("disk", iothread_loop(t), &error);

    g_assert_no_error(error);
    node_opts_set(opts, "driver", "copy-on-read");
    node_opts_set(opts, "node-name", "cor");
    filter = node_insert_filter(node, opts, &error);
    g_assert_no_error(error);
    g_assert_true(filter->loop == iothread_loop(t) && blk_node(blk) == filter);
    g_assert_true(node_remove_filter(filter, &error));
    node_unref(filter);
    /* Replaced as a whole: the new one comes, the old one goes home. */
    g_assert_true(node_replace(node, other, &error));
    g_assert_true(is_at(other, iothread_loop(t)) && is_at(node, event_loop_main()));
    blk_detach(blk);
    g_assert_true(is_at(other, event_loop_main()));
    node_unref(node);
    node_unref(other);
}

static EventLoop *find_thread(const char *id, void *opaque)
{
    return g_str_equal(id, "io0") ? iothread_loop(opaque) : NULL;
}

static bool add_export(const char *iothread, const char *fixed, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "type", "nbd");
    node_opts_set(opts, "id", "e");
    node_opts_set(opts, "node-name", "disk");
    node_opts_set(opts, "writable", "on");
    if (iothread) {
        node_opts_set(opts, "iothread", iothread);
    }
    node_opts_set(opts, "fixed-iothread", fixed);
    return block_export_add(opts, error);
}

static void test_exports_on_an_iothread(void)
{
    g_autoptr(IoThread) t = iothread_new("io0");
    g_autoptr(GError) error = NULL;
    NbdServerConf conf = { .max_clients = 4 };
    BlockNode *node = open_null("disk");
    BlockBackend *device;
    int ends[2];

    block_export_set_iothread_finder(find_thread, t);
    g_assert_true(nbd_server_start(&conf, NULL, &error));
    g_assert_false(add_export("nope", "off", &error));
    g_assert_nonnull(strstr(error->message, "nope"));
    g_clear_error(&error);
    g_assert_true(add_export("io0", "on", &error));
    g_assert_true(is_at(node, iothread_loop(t)));
    g_assert_true(block_export_del("e", false, &error));
    g_assert_true(is_at(node, event_loop_main()));

    /* A device of the main loop: a wish stays one, what is fixed fails. */
    device = attach("disk", NULL, &error);
    g_assert_no_error(error);
    g_assert_false(add_export("io0", "on", NULL));
    g_assert_true(add_export("io0", "off", &error));
    g_assert_true(is_at(node, event_loop_main()));
    blk_detach(device);

    /* An idle export goes where a device takes it, one with a client stays. */
    device = attach("disk", iothread_loop(t), &error);
    g_assert_no_error(error);
    blk_detach(device);
    g_assert_true(is_at(node, event_loop_main()));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    nbd_server_add_client(ends[1]);
    {
        /* Flags, then NBD_OPT_EXPORT_NAME of "disk". */
        static const char hello[] = "\0\0\0\3" "IHAVEOPT" "\0\0\0\1" "\0\0\0\4" "disk";

        g_assert_cmpint(write(ends[0], hello, sizeof(hello) - 1), ==, sizeof(hello) - 1);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), block_export_find("e")->refs < 2);
    g_assert_null(attach("disk", iothread_loop(t), &error));
    g_assert_nonnull(error);
    close(ends[0]);
    nbd_server_stop();
    block_export_set_iothread_finder(NULL, NULL);
    node_unref(node);
}

/* ---- a group with members on two loops ---- */

typedef struct Member {
    BlockBackend *blk;
    uint8_t buf[4096];
    struct iovec iov;
    unsigned left;
} Member;

static void member_next(void *opaque, int ret)
{
    Member *m = opaque;

    g_assert_cmpint(ret, ==, 0);
    if (m->left && --m->left) {
        blk_aio_pwritev(m->blk, 0, &m->iov, 1, 0, member_next, m);
    }
    graph_wait_kick();
}

static void member_start(void *opaque)
{
    Member *m = opaque;

    m->iov = (struct iovec){ m->buf, sizeof(m->buf) };
    m->left = 200;
    blk_aio_pwritev(m->blk, 0, &m->iov, 1, 0, member_next, m);
}

static void test_a_group_over_two_loops(void)
{
    g_autoptr(IoThread) t = iothread_new("io0");
    g_autofree Member *m = g_new0(Member, 2);
    g_autoptr(GError) error = NULL;
    BlockNode *here = open_null("here"), *there = open_null("there");
    Throttle limits;

    GRAPH_HOLD();
    throttle_init(&limits);
    limits.bucket[THROTTLE_IOPS_TOTAL].avg = 2000;
    m[0].blk = attach("here", NULL, &error);
    m[1].blk = attach("there", iothread_loop(t), &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_true(blk_set_limits(m[i].blk, "both", &limits, &error));
        event_loop_call_wait(blk_loop(m[i].blk), member_start, &m[i]);
    }
    /* Drains, and new limits, in the middle: nobody is forgotten in the line. */
    for (unsigned i = 0; i < 20; i++) {
        node_drained_begin(there);
        limits.bucket[THROTTLE_IOPS_TOTAL].avg = 2000 + i;
        throttle_group_set(throttle_group_find("both"), &limits);
        node_drained_end(there);
        GRAPH_WAIT_WHILE(m[0].left > 190 - i * 9 || m[1].left > 190 - i * 9);
    }
    GRAPH_WAIT_WHILE(m[0].left > 0 || m[1].left > 0);
    for (unsigned i = 0; i < 2; i++) {
        blk_drain(m[i].blk);
        g_assert_cmpuint(blk_stats(m[i].blk)->ops[BLK_ACCT_WRITE], ==, 200);
        blk_detach(m[i].blk);
    }
    g_assert_null(throttle_group_find("both"));
    node_unref(here);
    node_unref(there);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    g_test_add_func("/block/iothread/devices", test_devices_of_one_node_share_a_loop);
    g_test_add_func("/block/iothread/overlay", test_an_overlay_follows);
    g_test_add_func("/block/iothread/export", test_exports_on_an_iothread);
    g_test_add_func("/block/iothread/throttle", test_a_group_over_two_loops);
    return g_test_run();
}
