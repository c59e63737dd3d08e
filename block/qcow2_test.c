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

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void test_power_cut_lazy(void)
{
    run_power_cuts("cluster_size=512,lazy_refcounts=on", false, 8);
    run_power_cuts("cluster_size=4k,lazy_refcounts=on", true, 9);
}

static void test_power_cut_snapshots(void)
{
    run_power_cuts("cluster_size=1024", true, 6);
}

/* Counts of an image with lazy refcounts come late: fewer writes, and a mark until they are there. */
static unsigned writes_of(const char *create, bool *dirty)
{
    unsigned writes = 0;
    uint8_t buf[512] = { 1 };
    PowerBench b;

    power_bench_init(&b, "qcow2", create, 512 * KIB, 1);
    for (unsigned i = 0; i < 50; i++) {
        g_assert_cmpint(blk_pwrite(b.blk, i * 4096, buf, sizeof(buf), 0), ==, 0);
        g_assert_cmpint(blk_flush(b.blk), ==, 0);
    }
    for (unsigned i = 0; i < b.disk->log->len; i++) {
        writes += ((const MemoryOp *)b.disk->log->pdata[i])->kind == MEMORY_WRITE;
    }
    *dirty = b.disk->data->data[79] & INCOMPAT_DIRTY;
    power_bench_close(&b);
    g_assert_cmpint(b.disk->data->data[79] & INCOMPAT_DIRTY, ==, 0);
    power_bench_clear(&b);
    return writes;
}

/* Bytes that a compressed write of a cluster takes on the disk. */
static uint64_t packed_bytes(PowerBench *b, const uint8_t *cluster)
{
    unsigned before = b->disk->log->len;
    g_autofree uint8_t *back = g_malloc(64 * KIB);
    uint64_t most = 0;

    g_assert_cmpint(blk_pwrite(b->blk, 0, cluster, 64 * KIB, BLK_REQ_COMPRESSED), ==, 0);
    for (unsigned i = before; i < b->disk->log->len; i++) {
        const MemoryOp *op = b->disk->log->pdata[i];

        most = op->kind == MEMORY_WRITE ? MAX(most, op->bytes) : most;
    }
    g_assert_cmpint(blk_pread(b->blk, 0, back, 64 * KIB), ==, 0);
    g_assert_cmpmem(back, 64 * KIB, cluster, 64 * KIB);
    return most;
}

/* Clusters that deflate cannot make smaller are not tried; all others are, however random they look. */
static void test_packed_data_is_not_packed_again(void)
{
    g_autofree uint8_t *cluster = g_malloc(64 * KIB);
    PowerBench b;

    power_bench_init(&b, "qcow2", "cluster_size=64k", 512 * KIB, 1);
    for (unsigned i = 0; i < 64 * KIB; i++) {
        cluster[i] = (uint8_t)g_rand_int(b.rand);
    }
    g_assert_cmpuint(packed_bytes(&b, cluster), ==, 64 * KIB);
    for (unsigned i = 0; i < 64 * KIB; i++) {          /* a byte of 64 values */
        cluster[i] &= 63;
    }
    g_assert_cmpuint(packed_bytes(&b, cluster), <, 52 * KIB);
    for (unsigned i = 0; i < 64 * KIB; i++) {          /* any byte, each 3000 bytes the same */
        cluster[i] = i < 3000 ? (uint8_t)g_rand_int(b.rand) : cluster[i - 3000];
    }
    g_assert_cmpuint(packed_bytes(&b, cluster), <, 8 * KIB);
    for (unsigned i = 0; i < 64 * KIB; i++) {          /* a part of one in eight, the rest random */
        cluster[i] = i % 512 < 64 && i >= 512 ? cluster[i - 512] : (uint8_t)g_rand_int(b.rand);
    }
    g_assert_cmpuint(packed_bytes(&b, cluster), <, 60 * KIB);
    power_bench_clear(&b);
}

static void test_lazy_counts_are_late(void)
{
    bool exact_dirty, lazy_dirty;
    unsigned exact = writes_of("cluster_size=4k", &exact_dirty);
    unsigned lazy = writes_of("cluster_size=4k,lazy_refcounts=on", &lazy_dirty);

    g_test_message("%u writes, %u with lazy refcounts", exact, lazy);
    g_assert_cmpuint(lazy + 40, <, exact);
    g_assert_false(exact_dirty);
    g_assert_true(lazy_dirty);
}

/* ---- tables that cannot be right ---- */

typedef enum Damage {
    L1_UNALIGNED, L2_UNALIGNED, DATA_OVER_L1, HEADER_UNCOUNTED, L2_UNCOUNTED,
} Damage;

/* What a read of the first cluster and a write to the second, a new one, must say. */
static void meet_damage(Damage damage, bool first_fails, bool second_fails)
{
    uint8_t buf[4096] = { 1 }, *p, *counts;
    g_autoptr(GError) error = NULL;
    CheckResult result = { 0 };
    uint64_t l1, l2;
    BlockNode *node;
    PowerBench b;

    power_bench_init(&b, "qcow2", "cluster_size=4k", 64 * KIB, 1);
    g_assert_cmpint(blk_pwrite(b.blk, 0, buf, sizeof(buf), 0), ==, 0);
    power_bench_close(&b);
    p = b.disk->data->data;
    l1 = be64_load(p + 40);
    l2 = be64_load(p + l1) & ENTRY_OFFSET_MASK;
    counts = p + be64_load(p + be64_load(p + 48));
    switch (damage) {
    case L1_UNALIGNED:
        be64_store(p + l1, (l2 + 512) | ENTRY_COPIED);
        break;
    case L2_UNALIGNED:
        be64_store(p + l2, be64_load(p + l2) + 512);
        break;
    case DATA_OVER_L1:
        be64_store(p + l2, l1 | ENTRY_COPIED);
        break;
    case HEADER_UNCOUNTED:
        memset(counts, 0, 2);
        break;
    case L2_UNCOUNTED:
        memset(counts + l2 / 4096 * 2, 0, 2);
        break;
    }
    power_bench_open(&b);
    if (damage == DATA_OVER_L1) {
        g_assert_cmpint(blk_pwrite(b.blk, 0, buf, 512, 0), ==, -EIO);
    } else {
        g_assert_cmpint(blk_pread(b.blk, 0, buf, 512), ==, first_fails ? -EIO : 0);
    }
    g_assert_cmpint(blk_pwrite(b.blk, 8192, buf, 4096, 0), ==, second_fails ? -EIO : 0);
    power_bench_close(&b);
    g_assert_true(b.disk->data->data[79] & INCOMPAT_CORRUPT);

    node = power_open("qcow2", "power", NODE_OPEN_RDWR, &error);
    g_assert_null(node);
    g_assert_cmpstr(error->message, ==, "Image is corrupt; cannot be opened read/write");
    node = power_open("qcow2", "power", 0, NULL);
    g_assert_nonnull(node);
    g_assert_cmpint(node_pread(node, 32 * KIB, buf, 512), ==, damage == L1_UNALIGNED ? -EIO : 0);
    node_unref(node);
    if (damage == HEADER_UNCOUNTED || damage == L2_UNCOUNTED) {
        node = power_open("qcow2", "power", NODE_OPEN_RDWR | NODE_OPEN_CHECK, NULL);
        g_assert_true(node_check(node, CHECK_FIX_ERRORS | CHECK_FIX_LEAKS, &result, NULL));
        g_assert_cmpuint(result.corruptions, ==, 0);
        node_unref(node);
        g_assert_false(b.disk->data->data[79] & INCOMPAT_CORRUPT);
    }
    power_bench_clear(&b);
}

static void test_damage_is_marked(void)
{
    meet_damage(L1_UNALIGNED, true, true);
    meet_damage(L2_UNALIGNED, true, true);
    meet_damage(DATA_OVER_L1, true, true);
    meet_damage(HEADER_UNCOUNTED, false, true);
    meet_damage(L2_UNCOUNTED, false, true);
}

/* ---- everything at once ---- */

/*
 * Writes, zeroes, discards, snapshots, resizes and bitmaps in any order, with power cuts.
 *
 * RHEA_FUZZ_OPS=1000000 is the long run; RHEA_FUZZ_QEMU_IMG=qemu-img lets that program check every
 * RHEA_FUZZ_EVERY-th (500th) image that a cut left behind.
 */
#define MAX_SAVED 6u

typedef struct Saved {
    char *name;
    uint8_t *data;
    uint64_t length;
} Saved;

typedef struct Mix {
    PowerBench bench;
    Saved saved[MAX_SAVED];
    unsigned count, number, bitmaps;
} Mix;

static void let_qemu_check(PowerBench *b, MemoryDisk *disk)
{
    const char *tool = g_getenv("RHEA_FUZZ_QEMU_IMG"), *text = g_getenv("RHEA_FUZZ_EVERY");
    g_autofree char *path = NULL;
    int fd, status = 0;

    if (!tool || b->cuts % (text ? strtoul(text, NULL, 10) : 500)) {
        return;
    }
    fd = g_file_open_tmp("rhea-cut-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(path, (char *)disk->data->data, disk->data->len, NULL));
    {
        const char *argv[] = { tool, "check", "-q", "-f", "qcow2", path, NULL };

        g_assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_SEARCH_PATH, NULL,
                                   NULL, NULL, NULL, &status, NULL));
    }
    /* 0 clean, 3 leaks; a snapshot operation that was cut announces its errors. */
    g_assert_true(WIFEXITED(status));
    if (!(le64_load(disk->data->data + 72) & GUINT64_TO_BE(INCOMPAT_DIRTY))) {
        g_assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
    }
    unlink(path);
}

static void flush_and_settle(PowerBench *b)
{
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    power_stable_now(b);
}

static void mix_save(Mix *m)
{
    PowerBench *b = &m->bench;
    Saved *s = &m->saved[m->count];
    g_autoptr(GError) error = NULL;

    flush_and_settle(b);
    s->name = g_strdup_printf("s%u", m->number++);
    s->data = g_memdup2(b->now, b->length);
    s->length = b->length;
    g_assert_true(node_snapshot_create(b->node, s->name, NULL, &error));
    m->count++;
    power_cut(b, CUT_DIRTY);
    flush_and_settle(b);
}

static void saved_clear(Saved *s)
{
    g_free(s->name);
    g_free(s->data);
}

static void mix_drop(Mix *m)
{
    PowerBench *b = &m->bench;
    unsigned i = (unsigned)g_rand_int_range(b->rand, 0, (gint32)m->count);
    g_autoptr(GError) error = NULL;

    flush_and_settle(b);
    g_assert_true(node_snapshot_delete(b->node, m->saved[i].name, &error));
    power_cut(b, CUT_DIRTY);
    saved_clear(&m->saved[i]);
    m->saved[i] = m->saved[--m->count];
    flush_and_settle(b);
}

/* Back to a snapshot of the same size; while it happens nothing is known of the content. */
static void mix_restore(Mix *m)
{
    PowerBench *b = &m->bench;
    const Saved *s = &m->saved[g_rand_int_range(b->rand, 0, (gint32)m->count)];
    g_autoptr(GError) error = NULL;

    if (s->length != b->length || b->node->bitmaps->len) {
        return;
    }
    flush_and_settle(b);
    power_touch_all(b);
    g_assert_true(node_snapshot_apply(b->node, s->name, &error));
    power_cut(b, CUT_DIRTY);
    memcpy(b->now, s->data, b->length);
    flush_and_settle(b);
    power_assert_now(b);
}

static void mix_bitmap(Mix *m)
{
    PowerBench *b = &m->bench;
    g_autoptr(GError) error = NULL;
    DirtyBitmap *bitmap = dirty_bitmap_find(b->node, "mix");

    if (bitmap) {
        dirty_bitmap_remove(b->node, bitmap);
    } else {
        bitmap = dirty_bitmap_add(b->node, "mix", 4096, &error);
        g_assert_true(bitmap && dirty_bitmap_make_persistent(b->node, bitmap, &error));
    }
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    power_stable_now(b);
    power_bench_close(b);
    for (unsigned i = 0; i < 4; i++) {
        power_cut(b, 0);               /* within the storing of it */
    }
    power_stable_now(b);
    power_bench_open(b);
    m->bitmaps++;
}

static void mix_step(Mix *m)
{
    PowerBench *b = &m->bench;

    switch (g_rand_int_range(b->rand, 0, 160)) {
    case 0:
    case 1:
        if (m->count < MAX_SAVED) {
            mix_save(m);
        }
        break;
    case 2:
        if (m->count) {
            mix_drop(m);
        }
        break;
    case 3:
        if (m->count) {
            mix_restore(m);
        }
        break;
    case 4:
        power_resize(b, (uint64_t)g_rand_int_range(b->rand, 200, 800) * 512);
        break;
    case 5:
        mix_bitmap(m);
        break;
    default:
        power_random_op(b);
    }
}

static void run_mix(const char *create, unsigned ops, uint32_t seed)
{
    Mix m = { 0 };

    power_bench_init(&m.bench, "qcow2", create, 256 * KIB, power_seed(seed));
    m.bench.on_cut = let_qemu_check;
    for (unsigned i = 0; i < ops; i++) {
        mix_step(&m);
        if (i % 9 == 0) {
            power_cut(&m.bench, 0);
        }
        if (i % 200 == 199) {
            power_assert_now(&m.bench);
            power_bench_reopen(&m.bench);
        }
    }
    power_assert_now(&m.bench);
    g_test_message("%s: %u operations, %" PRIu64 " power cuts", create, ops, m.bench.cuts);
    power_bench_close(&m.bench);
    for (unsigned i = 0; i < m.count; i++) {
        saved_clear(&m.saved[i]);
    }
    power_bench_clear(&m.bench);
}

static void test_mix(void)
{
    static const char *const creates[] = {
        "cluster_size=512", "cluster_size=1024,refcount_bits=64", "cluster_size=4096",
        "cluster_size=16k,extended_l2=on", "cluster_size=512,lazy_refcounts=on",
    };
    unsigned ops = power_ops(2000) / ARRAY_LEN(creates);

    for (unsigned i = 0; i < ARRAY_LEN(creates); i++) {
        run_mix(creates[i], ops, 100 + i);
    }
}

/* ---- bitmaps ---- */

static void add_bitmap(PowerBench *b, const char *name, uint32_t granularity, bool enabled)
{
    g_autoptr(GError) error = NULL;
    DirtyBitmap *bitmap = dirty_bitmap_add(b->node, name, granularity, &error);

    g_assert_no_error(error);
    g_assert_true(dirty_bitmap_make_persistent(b->node, bitmap, &error));
    bitmap->enabled = enabled;
}

/* The sectors of the shadow that differ from BEFORE must be dirty in a bitmap that is trusted. */
static void assert_covers(PowerBench *b, BlockNode *node, const uint8_t *before)
{
    const DirtyBitmap *bitmap = dirty_bitmap_find(node, "live");

    g_assert_nonnull(bitmap);
    for (uint64_t at = 0; !bitmap->inconsistent && at < b->length; at += 512) {
        g_assert_true(memcmp(b->durable + at, before + at, 512) == 0 ||
                      dirty_bitmap_get(bitmap, at));
    }
}

static void test_bitmaps_survive(void)
{
    g_autofree uint8_t *before = NULL;
    unsigned trusted = 0;
    PowerBench b;

    power_bench_init(&b, "qcow2", "cluster_size=512", 256 * KIB, power_seed(31));
    before = g_memdup2(b.now, b.length);
    add_bitmap(&b, "live", 512, true);
    add_bitmap(&b, "still", 4096, false);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 5; i++) {
            power_random_op(&b);
        }
        g_assert_cmpint(blk_flush(b.blk), ==, 0);
        power_stable_now(&b);
        power_bench_close(&b);
        /* A cut within the closing: either the new bitmap, whole, or none to be trusted. */
        for (unsigned i = 0; round && i < 8; i++) {
            power_cut(&b, 0);
        }
        power_stable_now(&b);
        power_bench_open(&b);
        trusted += !dirty_bitmap_find(b.node, "live")->inconsistent;
        assert_covers(&b, b.node, before);
        g_assert_cmpuint(dirty_bitmap_find(b.node, "still")->dirty, ==, 0);
        g_assert_false(dirty_bitmap_find(b.node, "still")->enabled);
    }
    g_assert_cmpuint(trusted, ==, 20);
    power_bench_close(&b);
    power_bench_clear(&b);
}

static const uint8_t *bitmap_before;
static unsigned bitmap_trusted, bitmap_stale;

static void check_cut_bitmap(PowerBench *b, BlockNode *node)
{
    if (dirty_bitmap_find(node, "live")->inconsistent) {
        bitmap_stale++;
    } else {
        bitmap_trusted++;
        assert_covers(b, node, bitmap_before);
    }
}

static void test_bitmaps_after_power_cuts(void)
{
    PowerBench b;

    power_bench_init(&b, "qcow2", "cluster_size=512", 128 * KIB, power_seed(32));
    add_bitmap(&b, "live", 512, true);
    bitmap_before = g_memdup2(b.now, b.length);
    power_bench_reopen(&b);
    b.on_reopen = check_cut_bitmap;
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned i = 0; i < 10; i++) {
            power_random_op(&b);
            power_cut(&b, 0);
        }
        g_assert_cmpint(blk_flush(b.blk), ==, 0);
        power_stable_now(&b);
        power_bench_close(&b);
        for (unsigned i = 0; i < 10; i++) {
            power_cut(&b, 0);
        }
        power_stable_now(&b);
        power_bench_open(&b);
    }
    g_assert_cmpuint(bitmap_stale, >, 0);
    g_assert_cmpuint(bitmap_trusted, >, 0);
    power_bench_close(&b);
    power_bench_clear(&b);
    g_free((void *)(uintptr_t)bitmap_before);
}

static void test_damaged_bitmap_directory(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    const uint8_t *name;
    MemoryDisk *bad;
    uint64_t dir;
    PowerBench b;

    power_bench_init(&b, "qcow2", "cluster_size=512", 128 * KIB, 33);
    add_bitmap(&b, "live", 512, true);
    add_bitmap(&b, "other", 1024, true);
    power_bench_close(&b);
    name = memmem(b.disk->data->data, b.disk->data->len, "live", 4);
    g_assert_nonnull(name);
    dir = (uint64_t)(name - b.disk->data->data);
    for (unsigned i = 0; i < power_ops(400); i++) {
        g_autoptr(GError) error = NULL;
        BlockNode *node;

        bad = memory_disk_new("bad");
        bad->max_length = 16 * MIB;
        g_byte_array_append(bad->data, b.disk->data->data, b.disk->data->len);
        for (unsigned k = 0; k < 3; k++) {
            bad->data->data[dir - 24 + (uint64_t)g_rand_int_range(rand, 0, 64)] =
                (uint8_t)g_rand_int(rand);
        }
        node = power_open("qcow2", "bad", NODE_OPEN_RDWR, &error);
        g_assert_true(!node == !!error);
        node_unref(node);
        memory_disk_free(bad);
    }
    power_bench_clear(&b);
}

static void test_error_at_every_call(void)
{
    power_error_at_every_call("qcow2", "cluster_size=512", 120, 33000 / 512 * 512);
}

/* ---- errors at any call of any operation ---- */

typedef struct Faulty {
    PowerBench bench;
    bool *unsure;                      /* per sector: a request for it failed */
    unsigned snapshots, failures;
} Faulty;

/* One operation that may fail; what was acknowledged is in the shadow, what failed is unsure. */
static void faulty_op(Faulty *f)
{
    PowerBench *b = &f->bench;
    uint64_t sectors = b->length / 512, at, n;
    g_autofree uint8_t *buf = NULL;
    g_autoptr(GError) error = NULL;
    int what = g_rand_int_range(b->rand, 0, 16), ret = 0;

    at = (uint64_t)g_rand_int_range(b->rand, 0, (gint32)sectors);
    n = (uint64_t)g_rand_int_range(b->rand, 1, 48);
    n = MIN(n, sectors - at) * 512;
    at *= 512;
    buf = g_malloc0(n);
    switch (what) {
    case 0:
    case 1:
        ret = blk_flush(b->blk);
        if (ret == 0) {
            power_stable_now(b);
        }
        f->failures += ret < 0;
        return;
    case 2: {
        g_autofree char *name = g_strdup_printf("s%u", f->snapshots);

        /* In between nothing of the disk may change, whether it works or not. */
        f->snapshots += node_snapshot_create(b->node, name, NULL, &error);
        f->failures += error != NULL;
        return;
    }
    case 3:
        if (f->snapshots) {
            g_autofree char *name = g_strdup_printf("s%u", f->snapshots - 1);

            if (!node_snapshot_delete(b->node, name, &error)) {
                f->failures++;
            }
            f->snapshots--;            /* perhaps; a name that is taken is an error too */
        }
        return;
    case 4:
    case 5:
        ret = blk_write_zeroes(b->blk, at, n, what == 4 ? BLK_REQ_MAY_UNMAP : 0);
        break;
    default:
        for (uint64_t i = 0; i < n; i += 4) {
            le32_store(buf + i, g_rand_int(b->rand));
        }
        ret = blk_pwrite(b->blk, at, buf, n, 0);
    }
    f->failures += ret < 0;
    for (uint64_t s = at / 512; s < (at + n) / 512; s++) {
        b->touched[s] = true;
        f->unsure[s] = ret < 0;
    }
    if (ret == 0) {
        memcpy(b->now + at, buf, n);
    }
}

/* Reopened, the image is clean and what was acknowledged is there. */
static void faulty_verify(Faulty *f)
{
    PowerBench *b = &f->bench;
    bool broken = ((const Qcow2 *)b->node->state)->broken;
    g_autofree uint8_t *all = g_malloc(b->length);
    g_autoptr(GError) error = NULL;
    CheckResult result = { 0 };

    b->disk->fail_countdown = -1;
    power_bench_close(b);
    b->cuts++;
    let_qemu_check(b, b->disk);
    power_bench_open(b);
    g_assert_true(node_check(b->node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions, ==, 0);
    g_assert_cmpuint(result.check_errors, ==, 0);
    g_assert_cmpint(blk_pread(b->blk, 0, all, b->length), ==, 0);
    for (uint64_t s = 0; s < b->length / 512; s++) {
        /* Who got an error from a flush knows that what came since the last one may be lost. */
        if (!f->unsure[s] && !(broken && b->touched[s])) {
            g_assert_cmpmem(all + s * 512, 512, b->now + s * 512, 512);
        }
        f->unsure[s] = false;
    }
    memcpy(b->now, all, b->length);
    power_stable_now(b);
}

static void run_faulty(const char *create, unsigned ops, uint32_t seed)
{
    static const int errors[] = { EIO, ENOSPC };
    Faulty f = { 0 };
    PowerBench *b = &f.bench;

    power_bench_init(b, "qcow2", create, 192 * KIB, power_seed(seed));
    b->disk->logging = false;
    f.unsure = g_new0(bool, b->length / 512);
    for (unsigned i = 0; i < ops; i += 6) {
        b->disk->fail_short = g_rand_boolean(b->rand);
        b->disk->fail_errno = errors[g_rand_int_range(b->rand, 0, 2)];
        for (unsigned k = 0; k < 6; k++) {
            if (b->disk->fail_countdown < 0) {
                b->disk->fail_countdown = g_rand_int_range(b->rand, 0, 25);
            }
            faulty_op(&f);
        }
        faulty_verify(&f);
    }
    g_test_message("%s: %u operations, %u of them failed", create, ops, f.failures);
    g_assert_cmpuint(f.failures, >, 0);
    power_bench_close(b);
    g_free(f.unsure);
    power_bench_clear(b);
}

static void test_errors_anywhere(void)
{
    static const char *const creates[] = {
        "cluster_size=512", "cluster_size=1024,refcount_bits=64", "cluster_size=4096,compat=0.10",
        "cluster_size=16k,extended_l2=on", "cluster_size=1024,lazy_refcounts=on",
    };
    unsigned ops = power_ops(3000) / ARRAY_LEN(creates);

    for (unsigned i = 0; i < ARRAY_LEN(creates); i++) {
        run_faulty(creates[i], ops, 200 + i);
    }
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
    g_test_add_func("/block/qcow2/power-cut/lazy", test_power_cut_lazy);
    g_test_add_func("/block/qcow2/power-cut/snapshots", test_power_cut_snapshots);
    g_test_add_func("/block/qcow2/lazy-refcounts", test_lazy_counts_are_late);
    g_test_add_func("/block/qcow2/compressed", test_packed_data_is_not_packed_again);
    g_test_add_func("/block/qcow2/damage", test_damage_is_marked);
    g_test_add_func("/block/qcow2/mix", test_mix);
    g_test_add_func("/block/qcow2/bitmaps/survive", test_bitmaps_survive);
    g_test_add_func("/block/qcow2/bitmaps/power-cut", test_bitmaps_after_power_cuts);
    g_test_add_func("/block/qcow2/bitmaps/damaged", test_damaged_bitmap_directory);
    g_test_add_func("/block/qcow2/error-at-every-call", test_error_at_every_call);
    g_test_add_func("/block/qcow2/errors-anywhere", test_errors_anywhere);
    g_test_add_func("/block/qcow2/mutated", test_mutated_images);
    return g_test_run();
}
