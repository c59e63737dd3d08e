/* SPDX-License-Identifier: MIT */
/*
 * Jobs and snapshots under a writing guest, with power cuts.
 *
 * A chain of qcow2 images in memory; at each step the guest writes a few ranges, zeroes or
 * flushes, and now and then a snapshot is taken or a job (stream, commit, active commit, mirror)
 * begins, ends or is cancelled.  After each step the power is cut at a random moment of it: every
 * disk is what it was at its last flush before, and any choice of its later writes.  The chain that
 * the headers then describe must open and check clean, and each sector must read as at the guest's
 * last flush or as something written since.
 *
 * RHEA_FUZZ_OPS=20000 RHEA_FUZZ_SEED=7 for a long run.
 */
#include <glib/gstdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "block/copier.h"
#include "block/driver.h"
#include "block/job_types.h"
#include "block/memory.h"
#include "block/power_bench.h"
#include "qapi/qapi_commands.h"

enum { LENGTH = 256 * 1024, SECTOR = 512, SECTORS = LENGTH / SECTOR, WRITES = 4 };

typedef struct Disk {
    MemoryDisk *disk;
    GByteArray *stable;        /* at the last flush before the log begins */
} Disk;

typedef struct Fuzz {
    GPtrArray *disks;          /* of Disk */
    BlockBackend *blk;
    GRand *rand;
    unsigned names, pending;
    uint8_t now[SECTORS], durable[SECTORS];
    uint32_t since[SECTORS][8];        /* values written since the last flush, as a set */
    uint8_t buf[WRITES][LENGTH];
    struct iovec iov[WRITES];
    uint64_t cuts;
    char *judge;               /* qemu-img, or NULL */
} Fuzz;

static unsigned pick(Fuzz *f, unsigned n)
{
    return (unsigned)g_rand_int_range(f->rand, 0, (gint32)n);
}

/* ---- disks ---- */

static void disk_free(gpointer p)
{
    Disk *d = p;

    memory_disk_free(d->disk);
    g_byte_array_unref(d->stable);
    g_free(d);
}

static MemoryDisk *disk_new(Fuzz *f)
{
    g_autofree char *name = g_strdup_printf("d%u", f->names++);
    Disk *d = g_new0(Disk, 1);

    d->disk = memory_disk_new(name);
    d->disk->logging = true;
    d->stable = g_byte_array_new();
    g_ptr_array_add(f->disks, d);
    return d->disk;
}

static bool in_use(const MemoryDisk *disk)
{
    g_autofree char *filename = g_strdup_printf("x-memory:%s", disk->name);

    for (BlockNode *n = node_next(NULL); n; n = node_next(n)) {
        if (g_str_equal(node_filename(n), filename)) {
            return true;
        }
    }
    return false;
}

/* What was written before a disk's last flush is settled. */
static void settle(Fuzz *f)
{
    for (unsigned i = f->disks->len; i-- > 0;) {
        Disk *d = f->disks->pdata[i];
        GPtrArray *log = d->disk->log;
        unsigned keep = 0;

        if (!job_next(NULL) && !in_use(d->disk)) {
            g_ptr_array_remove_index(f->disks, i);
            continue;
        }
        for (unsigned k = 0; k < log->len; k++) {
            if (((MemoryOp *)log->pdata[k])->kind == MEMORY_FLUSH) {
                keep = k + 1;
            }
        }
        for (unsigned k = 0; k < keep; k++) {
            memory_op_apply(log->pdata[k], d->stable);
        }
        if (keep) {
            g_ptr_array_remove_range(log, 0, keep);
        }
    }
}

static BlockNode *make_image(Fuzz *f, BlockNode *backing)
{
    MemoryDisk *disk = disk_new(f);
    g_autofree char *filename = g_strdup_printf("x-memory:%s", disk->name);
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    node_opts_set(create, "size", "256K");
    node_opts_set(create, "cluster_size", pick(f, 2) ? "4096" : "1024");
    if (backing) {
        node_opts_set(create, "backing_file", node_filename(backing));
        node_opts_set(create, "backing_fmt", "qcow2");
    }
    g_assert_true(image_create(filename, "qcow2", create, &error));
    g_assert_no_error(error);
    node_opts_set(opts, "driver", "qcow2");
    node_opts_set(opts, "node-name", disk->name);
    node_opts_set(opts, "discard", "unmap");
    node = node_open(filename, opts, NODE_OPEN_RDWR | NODE_OPEN_NO_BACKING, &error);
    g_assert_no_error(error);
    disk->lazy = true;
    return node;
}

static BlockNode *active(Fuzz *f)
{
    return node_skip_filters(blk_node(f->blk));
}

/* ---- cuts ---- */

static MemoryDisk *cut_disk(Fuzz *f, Disk *d, uint64_t when)
{
    g_autofree char *name = g_strdup_printf("cut-%s", d->disk->name);
    MemoryDisk *cut = memory_disk_new(name);
    unsigned last = 0, mode = pick(f, 3);

    g_byte_array_append(cut->data, d->stable->data, d->stable->len);
    for (unsigned i = 0; i < d->disk->log->len; i++) {
        const MemoryOp *op = d->disk->log->pdata[i];

        if (op->seq <= when && op->kind == MEMORY_FLUSH) {
            last = i + 1;
        }
    }
    for (unsigned i = 0; i < d->disk->log->len; i++) {
        const MemoryOp *op = d->disk->log->pdata[i];

        if (op->seq <= when && (i < last || mode == 0 || (mode == 1 && pick(f, 2)))) {
            memory_op_apply(op, cut->data);
        }
    }
    return cut;
}

/* The image and what its header says is below, bottom first. */
static BlockNode *open_cut(const char *disk_name)
{
    g_autofree char *filename = g_strdup_printf("x-memory:cut-%s", disk_name);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(BlockNode) below = NULL;
    g_autoptr(GError) error = NULL;
    BlockNode *node;
    const char *backing;

    node_opts_set(opts, "driver", "qcow2");
    node = node_open(filename, opts, NODE_OPEN_RDWR | NODE_OPEN_NO_BACKING, &error);
    g_assert_no_error(error);
    backing = node_backing_filename(node);
    if (backing) {
        CheckResult result = { 0 };

        below = open_cut(strchr(backing, ':') + 1);
        g_assert_true(node_set_backing(node, below, &error));
        g_assert_true(node_check(node, 0, &result, &error));
        g_assert_cmpuint(result.corruptions, ==, 0);
    }
    return node;
}

static bool value_is_allowed(const Fuzz *f, unsigned sector, const uint8_t *data)
{
    for (unsigned i = 1; i < SECTOR; i++) {
        if (data[i] != data[0]) {
            return false;              /* memory writes sectors whole */
        }
    }
    return data[0] == f->durable[sector] ||
           (f->since[sector][data[0] / 32] & BIT(data[0] % 32));
}

/* A second opinion, where there is one: no corruption, though perhaps leaks. */
static void judge(const char *program, const MemoryDisk *disk)
{
    g_autofree char *path = NULL, *json = NULL;
    int fd = g_file_open_tmp("rhea-cut-XXXXXX", &path, NULL), status = 0;
    char *argv[] = { (char *)(uintptr_t)program, (char *)"check", (char *)"-q", NULL, NULL };
    bool ran;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(path, (const char *)disk->data->data, disk->data->len,
                                      NULL));
    json = g_strdup_printf("json:{\"driver\":\"qcow2\",\"backing\":null,"
                           "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", path);
    argv[3] = json;
    ran = g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL,
                       &status, NULL);
    g_unlink(path);
    g_assert_true(ran);
    g_assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3));
}

static void cut(Fuzz *f, const char *name, uint64_t when)
{
    g_autoptr(GPtrArray) disks = g_ptr_array_new_with_free_func((GDestroyNotify)memory_disk_free);
    g_autofree uint8_t *all = g_malloc(LENGTH);
    BlockNode *node;

    for (unsigned i = 0; i < f->disks->len; i++) {
        g_ptr_array_add(disks, cut_disk(f, f->disks->pdata[i], when));
    }
    if (f->judge && f->cuts % 40 == 0) {
        g_autofree char *top = g_strdup_printf("cut-%s", name);

        judge(f->judge, memory_disk_find(top));
    }
    node = open_cut(name);
    g_assert_cmpint(node_pread(node, 0, all, LENGTH), ==, 0);
    for (unsigned i = 0; i < SECTORS; i++) {
        if (!value_is_allowed(f, i, all + i * SECTOR)) {
            g_error("cut %" PRIu64 " of %s: sector %u has %u, durable %u", f->cuts, name, i,
                    all[i * SECTOR], f->durable[i]);
        }
    }
    node_unref(node);
    f->cuts++;
}

/* ---- the guest ---- */

static void done(void *opaque, int ret)
{
    Fuzz *f = opaque;

    g_assert_cmpint(ret, ==, 0);
    f->pending--;
}

static void guest_writes(Fuzz *f)
{
    unsigned n = 1 + pick(f, WRITES), slot = SECTORS / WRITES;

    for (unsigned i = 0; i < n; i++) {
        unsigned first = i * slot + pick(f, slot - 1);
        unsigned count = 1 + pick(f, MIN(40, (i + 1) * slot - first));
        uint8_t value = pick(f, 4) ? (uint8_t)(1 + pick(f, 255)) : 0;

        for (unsigned k = first; k < first + count; k++) {
            f->now[k] = value;
            f->since[k][value / 32] |= BIT(value % 32);
        }
        f->pending++;
        if (value == 0 && pick(f, 2)) {
            blk_aio_write_zeroes(f->blk, (uint64_t)first * SECTOR, (uint64_t)count * SECTOR,
                                 pick(f, 2) ? BLK_REQ_MAY_UNMAP : 0, done, f);
            continue;
        }
        memset(f->buf[i], value, count * SECTOR);
        f->iov[i] = (struct iovec){ f->buf[i], count * SECTOR };
        blk_aio_pwritev(f->blk, (uint64_t)first * SECTOR, &f->iov[i], 1, 0, done, f);
    }
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), f->pending > 0);
}

static void forget(Fuzz *f)
{
    memcpy(f->durable, f->now, sizeof(f->now));
    memset(f->since, 0, sizeof(f->since));
}

/* ---- jobs and snapshots ---- */

static void snapshot(Fuzz *f)
{
    g_autoptr(GError) error = NULL;
    BlockNode *base = active(f), *overlay = make_image(f, base);
    QapiBlockdevSnapshot args = { (char *)(uintptr_t)node_name(base),
                                  (char *)(uintptr_t)node_name(overlay) };

    qmp_blockdev_snapshot(NULL, &args, &error);
    g_assert_no_error(error);
    node_unref(overlay);
}

static GPtrArray *chain_of(Fuzz *f)
{
    GPtrArray *chain = g_ptr_array_new();

    for (BlockNode *n = active(f); n; n = node_skip_filters(node_chain_next(n))) {
        g_ptr_array_add(chain, n);
    }
    return chain;
}

static void start_mirror(Fuzz *f, const JobCommon *common, BlockNode *commit_base)
{
    bool top = !commit_base && node_chain_next(active(f)) && pick(f, 2);
    BlockNode *below = top ? node_skip_filters(node_chain_next(active(f))) : NULL;
    MirrorArgs args = {
        .source = active(f), .commit_base = commit_base, .unmap = pick(f, 2),
        .sync = top || commit_base ? QAPI_MIRROR_SYNC_MODE_TOP : QAPI_MIRROR_SYNC_MODE_FULL,
        .backing = MIRROR_SOURCE_BACKING,
        .copy_mode = pick(f, 2) ? QAPI_MIRROR_COPY_MODE_BACKGROUND
                                : QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING,
        .granularity = 4096, .buf_size = 65536,
    };
    g_autoptr(BlockNode) fresh = commit_base ? NULL : make_image(f, below);
    g_autoptr(GError) error = NULL;

    args.target = commit_base ? commit_base : fresh;
    job_mirror_start(common, &args, &error);
    g_assert_no_error(error);
}

static void start_job(Fuzz *f)
{
    JobCommon common = { .id = "job" };
    g_autoptr(GPtrArray) chain = chain_of(f);
    g_autoptr(GError) error = NULL;
    BlockNode **n = (BlockNode **)chain->pdata;
    unsigned len = chain->len, low;

    switch (pick(f, 4)) {
    case 0:
        low = 1 + pick(f, len);
        if (len > 1) {
            job_stream_start(&common, n[0], low < len ? n[low] : NULL, NULL,
                             QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL, &error);
        }
        break;
    case 1:
        if (len > 2) {
            low = 2 + pick(f, len - 2);
            job_commit_start(&common, n[0], n[1 + pick(f, low - 1)], n[low], NULL,
                             QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL, &error);
        }
        break;
    case 2:
        if (len > 1) {
            start_mirror(f, &common, n[1 + pick(f, len - 1)]);
        }
        break;
    default:
        start_mirror(f, &common, NULL);
    }
    g_assert_no_error(error);
}

static void poke_job(Fuzz *f, Job *job)
{
    if (job->status == QAPI_JOB_STATUS_READY && pick(f, 3) == 0) {
        job_complete(job, NULL);
    } else if (pick(f, 25) == 0) {
        job_cancel(job, pick(f, 2), NULL);
    } else if (pick(f, 20) == 0) {
        job->user_paused ? job_resume(job, NULL) : job_pause(job, NULL);
    }
}

/* ---- a step ---- */

static void step(Fuzz *f)
{
    g_autofree char *before = g_strdup(strchr(node_filename(active(f)), ':') + 1);
    uint64_t start = memory_seq(), end;
    bool flush = pick(f, 6) == 0;
    const char *after;

    if (flush) {
        g_assert_cmpint(blk_flush(f->blk), ==, 0);
    } else {
        if (!job_next(NULL) && pick(f, 4) == 0) {
            start_job(f);
        } else if (!job_next(NULL) && pick(f, 10) == 0) {
            snapshot(f);
        } else if (job_next(NULL)) {
            poke_job(f, job_next(NULL));
        }
        guest_writes(f);
    }
    for (unsigned spin = pick(f, 1 + pick(f, 60)); spin; spin--) {
        event_loop_iterate(event_loop_main(), false);
    }
    end = memory_seq();
    after = strchr(node_filename(active(f)), ':') + 1;
    if (g_str_equal(before, after)) {
        cut(f, after, start + (uint64_t)g_rand_double_range(f->rand, 0,
                                                            (double)(end - start) + 0.5));
    }
    if (flush) {
        forget(f);
    }
    cut(f, after, end);
    settle(f);
}

static void expect_now(Fuzz *f)
{
    g_autofree uint8_t *all = g_malloc(LENGTH);

    g_assert_cmpint(blk_pread(f->blk, 0, all, LENGTH), ==, 0);
    for (unsigned i = 0; i < LENGTH; i++) {
        g_assert_cmpuint(all[i], ==, f->now[i / SECTOR]);
    }
}

static void run(uint32_t seed)
{
    Fuzz *f = g_new0(Fuzz, 1);
    unsigned steps = power_ops(250);
    BlockNode *node;

    f->rand = g_rand_new_with_seed(power_seed(seed));
    f->judge = g_find_program_in_path("qemu-img");
    f->disks = g_ptr_array_new_with_free_func(disk_free);
    node = make_image(f, NULL);
    f->blk = blk_new("disk");
    g_assert_true(blk_insert_node(f->blk, node, true, NULL));
    g_assert_cmpint(blk_flush(f->blk), ==, 0);
    node_unref(node);
    for (unsigned i = 0; i < steps; i++) {
        step(f);
        if (i % 8 == 0) {
            expect_now(f);
        }
    }
    job_cancel_all();
    expect_now(f);
    g_test_message("%" PRIu64 " cuts, %u images", f->cuts, f->names);
    blk_unref(f->blk);
    g_assert_null(node_next(NULL));
    g_ptr_array_unref(f->disks);
    g_rand_free(f->rand);
    g_free(f->judge);
    g_free(f);
}

static void test_seed_1(void)
{
    run(1);
}

static void test_seed_2(void)
{
    run(2);
}

static void test_seed_3(void)
{
    run(3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    g_test_add_func("/block/job-power/1", test_seed_1);
    g_test_add_func("/block/job-power/2", test_seed_2);
    g_test_add_func("/block/job-power/3", test_seed_3);
    return g_test_run();
}
