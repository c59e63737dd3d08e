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
#include "block/graph.h"

#include <stdlib.h>

#include "base/thread.h"
#include "block/driver.h"
#include "block/memory.h"

#define SECTOR 512u

typedef struct Shadow {
    uint8_t *now, *durable;
    bool *touched;               /* per sector, since the last flush */
    uint64_t length;
} Shadow;

typedef struct Bench {
    MemoryDisk *disk;
    GByteArray *stable;          /* the disk at the last flush that completed */
    BlockNode *node;
    BlockBackend *blk;
    Shadow shadow;
    GRand *rand;
} Bench;

static BlockNode *open_disk(const char *name, int flags, GError **error)
{
    g_autofree char *file = g_strdup_printf("x-memory:%s", name);
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "driver", "qcow2");
    node_opts_set(opts, "discard", "unmap");
    return node_open(file, opts, flags | NODE_OPEN_INLINE_IO, error);
}

static void make_image(const char *name, const char *create)
{
    g_autofree char *file = g_strdup_printf("x-memory:%s", name);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;

    node_opts_add_keyval(opts, create, NULL, NULL);
    image_create(file, "qcow2", opts, &error);
    g_assert_no_error(error);
}

static void bench_open(Bench *b)
{
    g_autoptr(GError) error = NULL;

    b->node = open_disk(b->disk->name, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    b->blk = blk_new(NULL);
    g_assert_true(blk_insert_node(b->blk, b->node, true, &error));
}

static void bench_close(Bench *b)
{
    blk_unref(b->blk);
    node_unref(b->node);
}

static void stable_now(Bench *b)
{
    g_byte_array_set_size(b->stable, 0);
    g_byte_array_append(b->stable, b->disk->data->data, b->disk->data->len);
    memory_disk_clear_log(b->disk);
    memcpy(b->shadow.durable, b->shadow.now, b->shadow.length);
    memset(b->shadow.touched, 0, b->shadow.length / SECTOR);
}

static void bench_init(Bench *b, const char *create, uint64_t length, uint32_t seed)
{
    g_autofree char *opts = g_strdup_printf("%s,size=%" PRIu64, create, length);

    b->disk = memory_disk_new("power");
    b->stable = g_byte_array_new();
    b->rand = g_rand_new_with_seed(seed);
    b->shadow = (Shadow){ g_malloc0(length), g_malloc0(length), g_new0(bool, length / SECTOR),
                          length };
    make_image("power", opts);
    b->disk->logging = true;
    stable_now(b);
    bench_open(b);
}

static void bench_clear(Bench *b)
{
    memory_disk_free(b->disk);
    g_byte_array_unref(b->stable);
    g_rand_free(b->rand);
    g_free(b->shadow.now);
    g_free(b->shadow.durable);
    g_free(b->shadow.touched);
}

/* ---- the cut ---- */

static void assert_contents(Bench *b, BlockNode *node)
{
    uint8_t sector[SECTOR];

    for (uint64_t s = 0; s < b->shadow.length / SECTOR; s++) {
        if (!b->shadow.touched[s]) {
            g_assert_cmpint(node_pread(node, s * SECTOR, sector, SECTOR), ==, 0);
            g_assert_cmpmem(sector, SECTOR, b->shadow.durable + s * SECTOR, SECTOR);
        }
    }
}

/* STABLE plus a random choice of what was logged since, in any order that flushes allow. */
static void power_cut(Bench *b, bool in_snapshot)
{
    MemoryDisk *cut = memory_disk_new("cut");
    g_autoptr(GError) error = NULL;
    unsigned stop = b->disk->log->len ? (unsigned)g_rand_int_range(b->rand, 0,
                                        (gint32)b->disk->log->len + 1) : 0;
    unsigned barrier = 0;
    CheckResult result = { 0 };
    BlockNode *node;

    g_byte_array_append(cut->data, b->stable->data, b->stable->len);
    for (unsigned i = 0; i < stop; i++) {
        const MemoryOp *op = b->disk->log->pdata[i];

        if (op->kind == MEMORY_FLUSH) {
            barrier = i;
        }
    }
    for (unsigned i = 0; i < stop; i++) {
        /* What came before a flush is there; of the rest each may be missing. */
        if (i < barrier || g_rand_boolean(b->rand)) {
            memory_op_apply(b->disk->log->pdata[i], cut->data);
        }
    }
    node = open_disk("cut", NODE_OPEN_CHECK, &error);
    g_assert_no_error(error);
    g_assert_true(node_check(node, 0, &result, &error));
    if (!in_snapshot) {
        g_assert_cmpuint(result.corruptions, ==, 0);
    }
    g_assert_cmpuint(result.check_errors, ==, 0);
    node_unref(node);
    node = open_disk("cut", in_snapshot ? NODE_OPEN_RDWR : 0, &error);   /* repairs when dirty */
    g_assert_no_error(error);
    memset(&result, 0, sizeof(result));
    g_assert_true(node_check(node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions, ==, 0);
    assert_contents(b, node);
    node_unref(node);
    memory_disk_free(cut);
}

/* ---- operations ---- */

static void touch(Bench *b, uint64_t offset, uint64_t bytes)
{
    for (uint64_t s = offset / SECTOR; s * SECTOR < offset + bytes; s++) {
        b->shadow.touched[s] = true;
    }
}

static void random_op(Bench *b)
{
    uint64_t sectors = b->shadow.length / SECTOR, at, n;
    int what = g_rand_int_range(b->rand, 0, 12);
    g_autofree uint8_t *buf = NULL;

    at = (uint64_t)g_rand_int_range(b->rand, 0, (gint32)sectors);
    n = (uint64_t)g_rand_int_range(b->rand, 1, 64);
    n = MIN(n, sectors - at) * SECTOR;
    at *= SECTOR;
    switch (what) {
    case 0:
        g_assert_cmpint(blk_flush(b->blk), ==, 0);
        for (unsigned i = 0; b->disk->logging && i < 6; i++) {
            power_cut(b, false);       /* also between the steps of this flush */
        }
        stable_now(b);
        break;
    case 1:
        touch(b, at, n);
        g_assert_cmpint(blk_discard(b->blk, at, n), ==, 0);
        g_assert_cmpint(blk_pread(b->blk, at, b->shadow.now + at, n), ==, 0);
        break;
    case 2:
    case 3:
        touch(b, at, n);
        memset(b->shadow.now + at, 0, n);
        g_assert_cmpint(blk_write_zeroes(b->blk, at, n, what == 2 ? BLK_REQ_MAY_UNMAP : 0), ==, 0);
        break;
    default:
        buf = g_malloc(n);
        for (uint64_t i = 0; i < n; i += 4) {
            le32_store(buf + i, g_rand_int(b->rand));
        }
        touch(b, at, n);
        memcpy(b->shadow.now + at, buf, n);
        g_assert_cmpint(blk_pwrite(b->blk, at, buf, n, 0), ==, 0);
    }
}

static void snapshot_op(Bench *b, unsigned *count)
{
    g_autoptr(GError) error = NULL;

    /* The active disk does not change, so its flushed content must survive a cut within. */
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    stable_now(b);
    if (*count && g_rand_boolean(b->rand)) {
        g_autofree char *id = g_strdup_printf("s%u", --*count);

        g_assert_true(node_snapshot_delete(b->node, id, &error));
    } else {
        g_autofree char *name = g_strdup_printf("s%u", (*count)++);

        g_assert_true(node_snapshot_create(b->node, name, NULL, &error));
    }
    power_cut(b, true);
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    stable_now(b);
}

static unsigned fuzz_ops(unsigned standard)
{
    const char *text = g_getenv("RHEA_FUZZ_OPS");

    return text ? (unsigned)strtoul(text, NULL, 10) : standard;
}

static void run_power_cuts(const char *create, bool snapshots, uint32_t seed)
{
    const char *text = g_getenv("RHEA_FUZZ_SEED");
    unsigned ops = fuzz_ops(400), snapshot_count = 0;
    Bench b = { 0 };
    uint8_t *all;

    seed = text ? (uint32_t)strtoul(text, NULL, 10) : seed;
    bench_init(&b, create, 512 * KIB, seed);
    for (unsigned i = 0; i < ops; i++) {
        random_op(&b);
        if (i % 7 == 0) {
            power_cut(&b, false);
        }
        if (snapshots && i % 40 == 39) {
            snapshot_op(&b, &snapshot_count);
        }
        if (i % 100 == 99) {
            bench_close(&b);
            stable_now(&b);
            bench_open(&b);
        }
    }
    all = g_malloc(b.shadow.length);
    g_assert_cmpint(blk_pread(b.blk, 0, all, b.shadow.length), ==, 0);
    g_assert_cmpmem(all, b.shadow.length, b.shadow.now, b.shadow.length);
    g_free(all);
    bench_close(&b);
    bench_clear(&b);
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

/* ---- injected errors ---- */

static void test_error_at_every_call(void)
{
    for (int64_t n = 0; n < 120; n++) {
        MemoryDisk *disk = memory_disk_new("power");
        uint8_t buf[3000];
        g_autoptr(GError) error = NULL;
        CheckResult result = { 0 };
        Bench b = { .disk = disk };

        make_image("power", "cluster_size=512,size=512k");
        bench_open(&b);
        memset(buf, 0xa5, sizeof(buf));
        g_assert_cmpint(blk_pwrite(b.blk, 1000, buf, sizeof(buf), 0), ==, 0);
        g_assert_cmpint(blk_flush(b.blk), ==, 0);
        disk->fail_countdown = n;
        disk->fail_errno = n & 1 ? EIO : ENOSPC;
        for (unsigned i = 0; i < 6; i++) {
            int ret = blk_pwrite(b.blk, 40000 + i * 33000, buf, sizeof(buf), 0);

            g_assert_true(ret == 0 || ret == -EIO || ret == -ENOSPC);
            blk_flush(b.blk);
        }
        disk->fail_countdown = -1;
        bench_close(&b);
        b.node = open_disk("power", NODE_OPEN_CHECK, &error);
        g_assert_no_error(error);
        g_assert_true(node_check(b.node, 0, &result, &error));
        g_assert_cmpuint(result.corruptions, ==, 0);
        g_assert_cmpint(node_pread(b.node, 1000, buf, 1), ==, 0);
        g_assert_cmpuint(buf[0], ==, 0xa5);
        node_unref(b.node);
        memory_disk_free(disk);
    }
}

/* ---- hostile images ---- */

static void use_image(const char *name)
{
    g_autoptr(GError) error = NULL;
    BlockNode *node = open_disk(name, NODE_OPEN_NO_BACKING, &error);
    CheckResult result = { 0 };
    uint8_t buf[4096];

    if (!node) {
        g_assert_nonnull(error);
        return;
    }
    for (uint64_t at = 0; at < MIN(node_length(node), 256 * KIB); at += 20000) {
        node_pread(node, at, buf, sizeof(buf));       /* an error or data, no crash */
    }
    if (!node_check(node, 0, &result, &error)) {
        g_assert_nonnull(error);
    }
    node_unref(node);
}

static void test_mutated_images(void)
{
    MemoryDisk *good = memory_disk_new("good"), *bad;
    g_autoptr(GRand) rand = g_rand_new_with_seed(9);
    Bench b = { .disk = good, .rand = rand };
    unsigned rounds = fuzz_ops(3000);
    g_autoptr(GError) error = NULL;

    make_image("good", "cluster_size=512,size=256k");
    bench_open(&b);
    b.shadow = (Shadow){ g_malloc0(256 * KIB), g_malloc0(256 * KIB), g_new0(bool, 512),
                         256 * KIB };
    b.stable = g_byte_array_new();
    for (unsigned i = 0; i < 60; i++) {
        random_op(&b);
    }
    g_assert_true(node_snapshot_create(b.node, "one", NULL, &error));
    bench_close(&b);
    for (unsigned i = 0; i < rounds; i++) {
        bad = memory_disk_new("bad");
        g_byte_array_append(bad->data, good->data->data, good->data->len);
        for (int k = g_rand_int_range(rand, 1, 5); k > 0; k--) {
            /* Mostly the header; else anywhere in the tables. */
            gint32 limit = g_rand_boolean(rand) ? 112 : (gint32)bad->data->len;

            bad->data->data[g_rand_int_range(rand, 0, limit)] = (uint8_t)g_rand_int(rand);
        }
        if (g_rand_int_range(rand, 0, 20) == 0) {
            g_byte_array_set_size(bad->data, (guint)g_rand_int_range(rand, 0,
                                                                     (gint32)bad->data->len));
        }
        use_image("bad");
        memory_disk_free(bad);
    }
    g_free(b.shadow.now);
    g_free(b.shadow.durable);
    g_free(b.shadow.touched);
    g_byte_array_unref(b.stable);
    memory_disk_free(good);
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
