/* SPDX-License-Identifier: MIT */
/*
 * qcow2 against a shadow: random operations on an image in memory, power cuts with any subset of
 * the writes since the last flush, errors injected at every call, and hostile images.
 *
 * After each cut the image must check without corruption (leaks are allowed), except within a
 * snapshot operation, where the dirty bit announces the repair that must then succeed; and every
 * sector that was not written since the last completed flush must read as it did then.
 *
 * RHEA_FUZZ_OPS and RHEA_FUZZ_SEED make the run longer or repeat it.
 */
#include "block/qcow2.h"

#include "base/thread.h"
#include "block/power_bench.h"

static void snapshot_op(PowerBench *b, unsigned *count)
{
    g_autoptr(GError) error = NULL;

    /* The active disk does not change, so its flushed content must survive a cut within. */
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    power_stable_now(b);
    if (*count && g_rand_boolean(b->rand)) {
        g_autofree char *id = g_strdup_printf("s%u", --*count);

        g_assert_true(node_snapshot_delete(b->node, id, &error));
    } else {
        g_autofree char *name = g_strdup_printf("s%u", (*count)++);

        g_assert_true(node_snapshot_create(b->node, name, NULL, &error));
    }
    power_cut(b, CUT_DIRTY);
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    power_stable_now(b);
}

static void run_power_cuts(const char *create, bool snapshots, uint32_t seed)
{
    unsigned ops = power_ops(400), snapshot_count = 0;
    PowerBench b;

    power_bench_init(&b, "qcow2", create, 512 * KIB, power_seed(seed));
    for (unsigned i = 0; i < ops; i++) {
        power_random_op(&b);
        if (i % 7 == 0) {
            power_cut(&b, 0);
        }
        if (snapshots && i % 40 == 39) {
            snapshot_op(&b, &snapshot_count);
        }
        if (i % 100 == 99) {
            power_bench_reopen(&b);
        }
    }
    power_assert_now(&b);
    power_bench_close(&b);
    power_bench_clear(&b);
}

static void test_power_cut_small_clusters(void)
{
    run_power_cuts("cluster_size=512", false, 1);
}

static void test_power_cut_wide_counts(void)
{
    run_power_cuts("cluster_size=512,refcount_bits=64", false, 2);
}

static void test_power_cut_4k(void)
{
    run_power_cuts("cluster_size=4096,refcount_bits=1", false, 3);
}

static void test_power_cut_v2(void)
{
    run_power_cuts("cluster_size=4096,compat=0.10", false, 4);
}

static void test_power_cut_subclusters(void)
{
    run_power_cuts("cluster_size=16k,extended_l2=on", false, 5);
}

static void test_power_cut_snapshots(void)
{
    run_power_cuts("cluster_size=1024", true, 6);
}

static void test_error_at_every_call(void)
{
    power_error_at_every_call("qcow2", "cluster_size=512", 120, 33000 / 512 * 512);
}

static void test_mutated_images(void)
{
    static const uint64_t areas[] = { 0, 0, 512, 1024, 4096 };

    power_mutate("qcow2", "cluster_size=512", 1500, areas, ARRAY_LEN(areas), 9);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    g_test_add_func("/block/qcow2/power-cut/512", test_power_cut_small_clusters);
    g_test_add_func("/block/qcow2/power-cut/512-64", test_power_cut_wide_counts);
    g_test_add_func("/block/qcow2/power-cut/4k-1", test_power_cut_4k);
    g_test_add_func("/block/qcow2/power-cut/v2", test_power_cut_v2);
    g_test_add_func("/block/qcow2/power-cut/subclusters", test_power_cut_subclusters);
    g_test_add_func("/block/qcow2/power-cut/snapshots", test_power_cut_snapshots);
    g_test_add_func("/block/qcow2/error-at-every-call", test_error_at_every_call);
    g_test_add_func("/block/qcow2/mutated", test_mutated_images);
    return g_test_run();
}
