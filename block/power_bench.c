/* SPDX-License-Identifier: MIT */
/*
 * Images in memory against a shadow, and power cuts.  See block/power_bench.h.
 * RHEA_FUZZ_OPS and RHEA_FUZZ_SEED make a run longer or repeat it.
 * Locking: main loop.
 */
#include "block/power_bench.h"

#include <stdlib.h>

#define SECTOR 512u
#define CHUNK (64 * KIB)

BlockNode *power_open(const char *format, const char *disk, int flags, GError **error)
{
    g_autofree char *file = g_strdup_printf("x-memory:%s", disk);
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "driver", format);
    node_opts_set(opts, "discard", "unmap");
    return node_open(file, opts, flags | NODE_OPEN_INLINE_IO, error);
}

void power_make_image(const char *format, const char *disk, const char *create)
{
    g_autofree char *file = g_strdup_printf("x-memory:%s", disk);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;

    node_opts_add_keyval(opts, create, NULL, NULL);
    image_create(file, format, opts, &error);
    g_assert_no_error(error);
}

void power_bench_open(PowerBench *b)
{
    g_autoptr(GError) error = NULL;

    b->node = power_open(b->format, b->disk->name, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    b->blk = blk_new(NULL);
    g_assert_true(blk_insert_node(b->blk, b->node, true, &error));
}

void power_bench_close(PowerBench *b)
{
    blk_unref(b->blk);
    node_unref(b->node);
}

void power_bench_reopen(PowerBench *b)
{
    power_bench_close(b);
    power_stable_now(b);
    power_bench_open(b);
}

void power_stable_now(PowerBench *b)
{
    g_byte_array_set_size(b->stable, 0);
    g_byte_array_append(b->stable, b->disk->data->data, b->disk->data->len);
    memory_disk_clear_log(b->disk);
    memcpy(b->durable, b->now, b->length);
    memset(b->touched, 0, b->length / SECTOR);
}

void power_bench_init(PowerBench *b, const char *format, const char *create, uint64_t length,
                      uint32_t seed)
{
    g_autofree char *opts = g_strdup_printf("%s%ssize=%" PRIu64, create, *create ? "," : "",
                                            length);

    memset(b, 0, sizeof(*b));
    b->format = format;
    b->disk = memory_disk_new("power");
    b->stable = g_byte_array_new();
    b->rand = g_rand_new_with_seed(seed);
    b->now = g_malloc0(length);
    b->durable = g_malloc0(length);
    b->touched = g_new0(bool, length / SECTOR);
    b->length = length;
    b->cut_flags = strstr(create, "lazy_refcounts=on") ? CUT_DIRTY : 0;
    power_make_image(format, "power", opts);
    b->disk->logging = true;
    power_stable_now(b);
    power_bench_open(b);
    b->no_check = !node_can_check(b->node);
}

void power_bench_clear(PowerBench *b)
{
    memory_disk_free(b->disk);
    g_byte_array_unref(b->stable);
    g_rand_free(b->rand);
    g_free(b->now);
    g_free(b->durable);
    g_free(b->touched);
}

/* ---- the cut ---- */

static void assert_durable(PowerBench *b, BlockNode *node)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);

    for (uint64_t at = 0; at < b->length; at += CHUNK) {
        uint64_t n = MIN(CHUNK, b->length - at);

        g_assert_cmpint(node_pread(node, at, buf, n), ==, 0);
        if (memcmp(buf, b->durable + at, n) == 0) {
            continue;
        }
        for (uint64_t s = 0; s < n; s += SECTOR) {
            if (!b->touched[(at + s) / SECTOR]) {
                g_assert_cmpmem(buf + s, SECTOR, b->durable + at + s, SECTOR);
            }
        }
    }
}

static void assert_clean(PowerBench *b, BlockNode *node)
{
    CheckResult result = { 0 };
    g_autoptr(GError) error = NULL;

    if (b->no_check) {
        return;
    }
    g_assert_true(node_check(node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions, ==, 0);
    g_assert_cmpuint(result.check_errors, ==, 0);
}

/* Some of the sectors that a write covers. */
static void apply_torn(PowerBench *b, const MemoryOp *op, GByteArray *data)
{
    for (uint64_t at = op->offset; at < op->offset + op->bytes;) {
        uint64_t end = MIN(align_down(at, SECTOR) + SECTOR, op->offset + op->bytes);
        MemoryOp part = *op;

        if (g_rand_boolean(b->rand)) {
            part.offset = at;
            part.bytes = end - at;
            part.data = op->data + (at - op->offset);
            memory_op_apply(&part, data);
        }
        at = end;
    }
}

void power_cut(PowerBench *b, int flags)
{
    MemoryDisk *cut = memory_disk_new("cut");
    g_autoptr(GError) error = NULL;
    unsigned stop = b->disk->log->len ? (unsigned)g_rand_int_range(b->rand, 0,
                                        (gint32)b->disk->log->len + 1) : 0;
    unsigned barrier = 0;
    BlockNode *node;

    flags |= b->cut_flags;
    b->cuts++;
    g_byte_array_append(cut->data, b->stable->data, b->stable->len);
    for (unsigned i = 0; i < stop; i++) {
        const MemoryOp *op = b->disk->log->pdata[i];

        if (op->kind == MEMORY_FLUSH) {
            barrier = i;
        }
    }
    for (unsigned i = 0; i < stop; i++) {
        const MemoryOp *op = b->disk->log->pdata[i];

        /* What came before a flush is there; of the rest each may be missing, or torn. */
        if (i < barrier || g_rand_boolean(b->rand)) {
            memory_op_apply(op, cut->data);
        } else if (op->kind == MEMORY_WRITE && g_rand_int_range(b->rand, 0, 4) == 0) {
            apply_torn(b, op, cut->data);
        }
    }
    if (b->on_cut) {
        b->on_cut(b, cut);
    }
    if (!(flags & CUT_DIRTY)) {
        node = power_open(b->format, "cut", NODE_OPEN_RDWR | NODE_OPEN_CHECK, &error);
        g_assert_no_error(error);
        assert_clean(b, node);
        node_unref(node);
    }
    node = power_open(b->format, "cut", flags & CUT_DIRTY ? NODE_OPEN_RDWR : 0, &error);
    g_assert_no_error(error);
    assert_clean(b, node);
    assert_durable(b, node);
    if (b->on_reopen) {
        b->on_reopen(b, node);
    }
    node_unref(node);
    memory_disk_free(cut);
}

/* ---- operations ---- */

void power_flush(PowerBench *b)
{
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    for (unsigned i = 0; b->disk->logging && i < 6; i++) {
        power_cut(b, 0);               /* also between the steps of this flush */
    }
    power_stable_now(b);
}

static void touch(PowerBench *b, uint64_t offset, uint64_t bytes)
{
    for (uint64_t s = offset / SECTOR; s * SECTOR < offset + bytes; s++) {
        b->touched[s] = true;
    }
}

void power_touch_all(PowerBench *b)
{
    touch(b, 0, b->length);
}

static void set_length(PowerBench *b, uint64_t length)
{
    uint64_t old = b->length;

    b->now = g_realloc(b->now, length);
    b->durable = g_realloc(b->durable, length);
    b->touched = g_renew(bool, b->touched, length / SECTOR);
    if (length > old) {
        memset(b->now + old, 0, length - old);
        memset(b->durable + old, 0, length - old);
        memset(b->touched + old / SECTOR, 0, (length - old) / SECTOR);
    }
    b->length = length;
}

void power_resize(PowerBench *b, uint64_t length)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    power_stable_now(b);
    /* What is cut off may be gone at once; what is added is there in the end. */
    if (length < b->length) {
        set_length(b, length);
    }
    g_assert_true(node_truncate(b->node, length, "off", &error));
    for (unsigned i = 0; i < 4; i++) {
        power_cut(b, 0);
    }
    g_assert_cmpint(blk_flush(b->blk), ==, 0);
    set_length(b, length);
    power_stable_now(b);
}

void power_random_op(PowerBench *b)
{
    uint64_t sectors = b->length / SECTOR, at, n;
    int what = g_rand_int_range(b->rand, 0, 12);
    g_autofree uint8_t *buf = NULL;

    at = (uint64_t)g_rand_int_range(b->rand, 0, (gint32)sectors);
    n = (uint64_t)g_rand_int_range(b->rand, 1, 64);
    n = MIN(n, sectors - at) * SECTOR;
    at *= SECTOR;
    switch (what) {
    case 0:
        power_flush(b);
        break;
    case 1:
        touch(b, at, n);
        g_assert_cmpint(blk_discard(b->blk, at, n), ==, 0);
        g_assert_cmpint(blk_pread(b->blk, at, b->now + at, n), ==, 0);
        break;
    case 2:
    case 3:
        touch(b, at, n);
        memset(b->now + at, 0, n);
        g_assert_cmpint(blk_write_zeroes(b->blk, at, n, what == 2 ? BLK_REQ_MAY_UNMAP : 0), ==, 0);
        break;
    default:
        buf = g_malloc(n);
        for (uint64_t i = 0; i < n; i += 4) {
            le32_store(buf + i, g_rand_int(b->rand));
        }
        touch(b, at, n);
        memcpy(b->now + at, buf, n);
        g_assert_cmpint(blk_pwrite(b->blk, at, buf, n, 0), ==, 0);
    }
}

void power_assert_now(PowerBench *b)
{
    g_autofree uint8_t *all = g_malloc(b->length);

    g_assert_cmpint(blk_pread(b->blk, 0, all, b->length), ==, 0);
    g_assert_cmpmem(all, b->length, b->now, b->length);
}

unsigned power_ops(unsigned standard)
{
    const char *text = g_getenv("RHEA_FUZZ_OPS");

    return text ? (unsigned)strtoul(text, NULL, 10) : standard;
}

uint32_t power_seed(uint32_t standard)
{
    const char *text = g_getenv("RHEA_FUZZ_SEED");

    return text ? (uint32_t)strtoul(text, NULL, 10) : standard;
}

/* ---- injected errors ---- */

void power_error_at_every_call(const char *format, const char *create, unsigned calls,
                               uint64_t stride)
{
    g_autofree char *opts = g_strdup_printf("%s%ssize=%" PRIu64, create, *create ? "," : "",
                                            8 * stride);

    for (unsigned n = 0; n < calls; n++) {
        PowerBench b = { .format = format, .disk = memory_disk_new("power") };
        uint8_t buf[3000];
        g_autoptr(GError) error = NULL;

        power_make_image(format, "power", opts);
        power_bench_open(&b);
        b.no_check = !node_can_check(b.node);
        memset(buf, 0xa5, sizeof(buf));
        g_assert_cmpint(blk_pwrite(b.blk, 1000, buf, sizeof(buf), 0), ==, 0);
        g_assert_cmpint(blk_flush(b.blk), ==, 0);
        b.disk->fail_countdown = n;
        b.disk->fail_errno = n & 1 ? EIO : ENOSPC;
        for (unsigned i = 1; i < 7; i++) {
            int ret = blk_pwrite(b.blk, i * stride + 200, buf, sizeof(buf), 0);

            g_assert_true(ret == 0 || ret == -EIO || ret == -ENOSPC);
            blk_flush(b.blk);
        }
        b.disk->fail_countdown = -1;
        power_bench_close(&b);
        b.node = power_open(format, "power", NODE_OPEN_CHECK, &error);
        g_assert_no_error(error);
        assert_clean(&b, b.node);
        g_assert_cmpint(node_pread(b.node, 1000, buf, 1), ==, 0);
        g_assert_cmpuint(buf[0], ==, 0xa5);
        node_unref(b.node);
        memory_disk_free(b.disk);
    }
}

/* ---- hostile images ---- */

/* An error or data, and no crash, is all that can be asked. */
static void use_image(const char *format, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *buf = g_malloc0(4096);
    BlockNode *node = power_open(format, name, NODE_OPEN_NO_BACKING, &error);
    CheckResult result = { 0 };

    if (node) {
        uint64_t length = node_length(node);

        for (uint64_t i = 0; i < 16; i++) {
            node_pread(node, length / 16 * i, buf, 4096);
        }
        if (!node_check(node, 0, &result, &error)) {
            g_assert_nonnull(error);
        }
        node_unref(node);
    } else {
        g_assert_nonnull(error);
    }
    g_clear_error(&error);
    node = power_open(format, name, NODE_OPEN_NO_BACKING | NODE_OPEN_RDWR, &error);
    if (node) {
        BlockBackend *blk = blk_new(NULL);

        if (blk_insert_node(blk, node, true, NULL)) {
            for (uint64_t i = 0; i < 4; i++) {
                uint64_t at = align_down(node_length(node) / 4 * i, 512);

                if (at + 4096 <= node_length(node)) {
                    blk_pwrite(blk, at, buf, 4096, 0);
                }
            }
            blk_flush(blk);
        }
        blk_unref(blk);
        node_unref(node);
    }
}

void power_mutate(const char *format, const char *create, unsigned count, const uint64_t *areas,
                  unsigned area_count, uint32_t seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    PowerBench b;

    power_bench_init(&b, format, create, 4 * MIB, seed);
    b.disk->logging = false;
    for (unsigned i = 0; i < 30; i++) {
        power_random_op(&b);
    }
    power_bench_close(&b);
    for (unsigned i = 0; i < power_ops(count); i++) {
        MemoryDisk *bad = memory_disk_new("bad");
        gint32 len = (gint32)b.disk->data->len;

        bad->max_length = 64 * MIB;
        g_byte_array_append(bad->data, b.disk->data->data, b.disk->data->len);
        for (int k = g_rand_int_range(rand, 1, 5); k > 0; k--) {
            gint32 area = (gint32)areas[g_rand_int_range(rand, 0, (gint32)area_count)];
            gint32 at = area + g_rand_int_range(rand, 0, 512);

            if (g_rand_int_range(rand, 0, 8) == 0) {
                at = g_rand_int_range(rand, 0, len);
            }
            bad->data->data[MIN(at, len - 1)] = (uint8_t)g_rand_int(rand);
        }
        if (g_rand_int_range(rand, 0, 20) == 0) {
            g_byte_array_set_size(bad->data, (guint)g_rand_int_range(rand, 0, len));
        }
        use_image(format, "bad");
        memory_disk_free(bad);
    }
    power_bench_clear(&b);
}
