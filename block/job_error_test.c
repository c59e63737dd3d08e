/* SPDX-License-Identifier: MIT */
/*
 * Jobs whose n-th request to some disk fails, for each n: the job ends with an error or well, the
 * guest reads what it wrote, and no image is corrupt.
 */
#include "base/thread.h"
#include "block/driver.h"
#include "block/job_types.h"
#include "block/memory.h"
#include "block/power_bench.h"

enum { LENGTH = 128 * 1024, SECTOR = 512, DISKS = 4 };   /* base, mid, top, target */

typedef struct Bench {
    MemoryDisk *disk[DISKS];
    BlockNode *top, *target;
    BlockBackend *blk;
    uint8_t shadow[LENGTH];
} Bench;

static void fill(Bench *b, unsigned disk, unsigned period, uint8_t value)
{
    g_autofree char *name = g_strdup_printf("e%u", disk);
    g_autoptr(GError) error = NULL;
    BlockNode *node = power_open("qcow2", name, NODE_OPEN_RDWR, &error);
    BlockBackend *blk = blk_new(NULL);
    uint8_t cluster[4096];

    g_assert_no_error(error);
    memset(cluster, value, sizeof(cluster));
    g_assert_true(blk_insert_node(blk, node, true, NULL));
    for (unsigned at = 0; at < LENGTH; at += 4096 * period) {
        g_assert_cmpint(blk_pwrite(blk, at, cluster, sizeof(cluster), 0), ==, 0);
        memcpy(b->shadow + at, cluster, sizeof(cluster));
    }
    blk_unref(blk);
    node_unref(node);
}

static Bench *bench_new(void)
{
    Bench *b = g_new0(Bench, 1);
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < DISKS; i++) {
        g_autofree char *name = g_strdup_printf("e%u", i);
        g_autofree char *create = i == 0 || i == 3
            ? g_strdup("size=128K,cluster_size=4096")
            : g_strdup_printf("size=128K,cluster_size=4096,backing_fmt=qcow2,"
                              "backing_file=x-memory:e%u", i - 1);

        b->disk[i] = memory_disk_new(name);
        power_make_image("qcow2", name, create);
        if (i < 3) {
            fill(b, i, i + 2, (uint8_t)(i + 1));
        }
    }
    b->top = power_open("qcow2", "e2", NODE_OPEN_RDWR, &error);
    b->target = power_open("qcow2", "e3", NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    b->blk = blk_new("disk");
    g_assert_true(blk_insert_node(b->blk, b->top, true, NULL));
    return b;
}

static void start_stream(Bench *b, const JobCommon *common)
{
    job_stream_start(common, b->top, NULL, NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL, NULL);
}

static void start_commit(Bench *b, const JobCommon *common)
{
    BlockNode *mid = node_backing(b->top);

    job_commit_start(common, b->top, mid, node_backing(mid), NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT,
                     NULL, NULL);
}

static void mirror(Bench *b, const JobCommon *common, BlockNode *target, BlockNode *base)
{
    MirrorArgs args = { .source = b->top, .target = target, .commit_base = base,
                        .sync = base ? QAPI_MIRROR_SYNC_MODE_TOP : QAPI_MIRROR_SYNC_MODE_FULL,
                        .copy_mode = QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING,
                        .auto_complete = true, .granularity = 4096, .buf_size = 65536 };

    job_mirror_start(common, &args, NULL);
}

static void start_mirror(Bench *b, const JobCommon *common)
{
    mirror(b, common, b->target, NULL);
}

static void start_active_commit(Bench *b, const JobCommon *common)
{
    BlockNode *base = node_backing(node_backing(b->top));

    mirror(b, common, base, base);
}

static void start_backup(Bench *b, const JobCommon *common)
{
    BackupArgs args = { .source = b->top, .target = b->target,
                        .sync = QAPI_MIRROR_SYNC_MODE_FULL };
    Job *job = job_backup_new(common, &args, NULL);

    if (job) {
        job_start(job);
    }
}

static void check_clean(BlockNode *node)
{
    CheckResult result = { 0 };

    node_flush(node);
    g_assert_true(node_check(node, 0, &result, NULL));
    g_assert_cmpuint(result.corruptions, ==, 0);
}

/* Whether the job ended well. */
static bool run(void (*start)(Bench *b, const JobCommon *common), unsigned disk, unsigned n)
{
    JobCommon common = { .id = "job", .manual_dismiss = true };
    Bench *b = bench_new();
    uint8_t all[LENGTH];
    bool well = false;
    Job *job;

    b->disk[disk]->fail_countdown = n;
    b->disk[disk]->fail_errno = EIO;
    start(b, &common);
    job = job_next(NULL);
    if (job) {
        EVENT_LOOP_WAIT_WHILE(event_loop_main(), job->status != QAPI_JOB_STATUS_CONCLUDED);
        well = job->ret == 0;
        g_assert_true(job_dismiss(job, NULL));
    }
    b->disk[disk]->fail_countdown = -1;
    g_assert_cmpint(blk_pread(b->blk, 0, all, LENGTH), ==, 0);
    g_assert_true(memcmp(all, b->shadow, LENGTH) == 0);
    g_assert_cmpint(blk_pwrite(b->blk, 4096, "x", 1, 0), ==, 0);
    check_clean(node_skip_filters(blk_node(b->blk)));
    check_clean(b->target);
    if (well && start == start_backup) {
        g_assert_cmpint(node_pread(b->target, 0, all, LENGTH), ==, 0);
        g_assert_true(memcmp(all, b->shadow, LENGTH) == 0);
    }
    blk_unref(b->blk);
    node_unref(b->top);
    node_unref(b->target);
    g_assert_null(node_next(NULL));
    for (unsigned i = 0; i < DISKS; i++) {
        memory_disk_free(b->disk[i]);
    }
    g_free(b);
    return well;
}

static void each_call(gconstpointer data)
{
    void (*start)(Bench *b, const JobCommon *common) = NULL;
    unsigned failures = 0;

    memcpy(&start, data, sizeof(start));
    for (unsigned disk = 0; disk < DISKS; disk++) {
        unsigned in_a_row = 0, n;

        /* Until the job makes no more calls than that. */
        for (n = 0; n < 400 && in_a_row < 3; n++) {
            in_a_row = run(start, disk, n) ? in_a_row + 1 : 0;
            failures += !in_a_row;
        }
        g_assert_cmpuint(n, <, 400);
    }
    g_assert_cmpuint(failures, >, 20);
}

int main(int argc, char **argv)
{
    static void (*const starts[])(Bench *b, const JobCommon *common) = {
        start_stream, start_commit, start_mirror, start_active_commit, start_backup,
    };
    static const char *const names[] = { "stream", "commit", "mirror", "active-commit",
                                         "backup" };

    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    for (unsigned i = 0; i < G_N_ELEMENTS(starts); i++) {
        g_autofree char *path = g_strconcat("/block/job-error/", names[i], NULL);

        g_test_add_data_func(path, &starts[i], each_call);
    }
    return g_test_run();
}
