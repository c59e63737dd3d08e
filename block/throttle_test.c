/* SPDX-License-Identifier: MIT */
/* The leaky buckets, on a clock of our own. */
#include "block/throttle.h"

#include "base/thread.h"

#define S 1000000000ll

static Throttle with(ThrottleKind kind, uint64_t avg, uint64_t max, uint64_t length)
{
    Throttle t;

    throttle_init(&t);
    t.bucket[kind] = (ThrottleBucket){ .avg = avg, .max = max, .length = length };
    return t;
}

/* How many requests go through from FROM to TO when there is always one more. */
static unsigned count(Throttle *t, bool is_write, uint64_t bytes, int64_t from, int64_t to)
{
    unsigned n = 0;

    while (from < to) {
        int64_t wait = throttle_wait_ns(t, is_write, from);

        if (wait) {
            from += wait;
            continue;
        }
        throttle_account(t, is_write, bytes);
        n++;
    }
    return n;
}

/* Waits are rounded up to whole nanoseconds. */
static void near(unsigned have, unsigned want)
{
    g_assert_cmpuint(have, >=, want - 1);
    g_assert_cmpuint(have, <=, want + 1);
}

static void test_rate(void)
{
    Throttle t = with(THROTTLE_IOPS_TOTAL, 100, 0, 1);

    /* A tenth of a second's worth at once, then the rate. */
    g_assert_cmpint(count(&t, false, 512, S, S + 1), ==, 11);
    near(count(&t, true, 512, S + 1, 11 * S), 1000);
}

static void test_direction(void)
{
    Throttle t = with(THROTTLE_BPS_WRITE, 1000, 0, 1);

    g_assert_cmpint(count(&t, true, 1000, S, S + 1), ==, 1);
    g_assert_cmpint(throttle_wait_ns(&t, true, S + 1), >, 0);
    g_assert_cmpint(throttle_wait_ns(&t, false, S + 1), ==, 0);
}

static void test_burst(void)
{
    Throttle t = with(THROTTLE_IOPS_READ, 10, 100, 1), u = with(THROTTLE_IOPS_READ, 10, 100, 5);

    g_assert_cmpint(count(&t, false, 1, S, S + 1), ==, 101);      /* all of it at once */
    g_assert_cmpint(count(&u, false, 1, S, S + 1), ==, 11);       /* at the rate max... */
    near(count(&u, false, 1, S + 1, 3 * S), 200);
    g_assert_cmpint(count(&u, false, 1, 3 * S, 30 * S), <, 700);  /* ...for five seconds */
}

static void test_big_requests_count_as_several(void)
{
    Throttle t = with(THROTTLE_IOPS_TOTAL, 10, 0, 1);

    t.op_size = 4096;
    near(count(&t, false, 8192, S, 11 * S), 51);
}

static void test_refusals(void)
{
    static const struct { const char *opts, *text; } bad[] = {
        { "bps-total=1,bps-read=1", "same time" },
        { "iops-total-max=5", "require corresponding" },
        { "iops-total=5,iops-total-max=4", "lower" },
        { "iops-total=5,iops-total-max-length=2", "without burst rate" },
        { "iops-total=5,iops-total-max-length=0", "cannot be 0" },
        { "bps-total=1000000000000001", "within" },
        { "iops-size=512", "requires an iops" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(NodeOpts) opts = node_opts_new();
        g_autoptr(GError) error = NULL;
        Throttle t;

        throttle_init(&t);
        g_assert_true(node_opts_add_keyval(opts, bad[i].opts, NULL, &error));
        g_assert_true(throttle_parse(&t, opts, "", &error));
        g_assert_false(throttle_check(&t, &error));
        g_assert_nonnull(strstr(error->message, bad[i].text));
    }
}

static void many(void *opaque, int ret)
{
    --*(unsigned *)opaque;
}

/* Thousands of seconds of waiting end with the drain. */
static void test_drain_does_not_wait(void)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    Throttle limits = with(THROTTLE_IOPS_TOTAL, 1, 0, 1);
    BlockBackend *blk = blk_new("t0");
    unsigned pending = 0;
    char buf[512];
    struct iovec iov = { buf, sizeof(buf) };
    BlockNode *node;

    node_opts_set(opts, "driver", "null-co");
    node = node_open(NULL, opts, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    g_assert_true(blk_insert_node(blk, node, true, &error));
    g_assert_true(blk_set_limits(blk, NULL, &limits, &error));
    for (unsigned i = 0; i < 3000; i++) {
        pending++;
        blk_aio_preadv(blk, 0, &iov, 1, many, &pending);
    }
    g_assert_cmpuint(pending, >, 2900);
    node_drained_begin(node);
    g_assert_cmpuint(pending, ==, 0);
    node_drained_end(node);
    blk_unref(blk);
    node_unref(node);
    g_assert_null(throttle_group_find("t0"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    g_test_add_func("/block/throttle/rate", test_rate);
    g_test_add_func("/block/throttle/direction", test_direction);
    g_test_add_func("/block/throttle/burst", test_burst);
    g_test_add_func("/block/throttle/op-size", test_big_requests_count_as_several);
    g_test_add_func("/block/throttle/refusals", test_refusals);
    g_test_add_func("/block/throttle/drain", test_drain_does_not_wait);
    return g_test_run();
}
