/* SPDX-License-Identifier: MIT */
/*
 * Jobs on disks that a guest writes to meanwhile: what is read afterwards, which images hold it,
 * and which states a job goes through.  Everything once on the main loop, and once with the
 * disk, its guest and the jobs on an iothread while the main loop gives commands.
 */
#include "block/job.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "base/thread.h"
#include "block/driver.h"
#include "block/job_types.h"

enum { LENGTH = 4 << 20, SLOT = 16384, SLOTS = LENGTH / SLOT };

static char *folder;
static GString *events;
static IoThread *iothread;                     /* NULL: all on the main loop */

static void append_event(void *opaque)
{
    g_autofree char *word = opaque;

    g_string_append_printf(events, "%s ", word);
}

/* As the monitor does: what comes from elsewhere is posted to the main loop. */
static void on_event(void *opaque, const char *name, Json *data)
{
    const char *status = json_get_string(json_lookup(data, "status"));
    char *word = g_strdup(status ? status : name);

    if (event_loop_current() == event_loop_main()) {
        append_event(word);
    } else {
        event_loop_post(event_loop_main(), append_event, word);
    }
    json_unref(data);
}

/* ---- a chain of three images, a guest, its shadow ---- */

typedef struct Bench {
    BlockNode *top, *target;
    BlockBackend *blk;
    uint8_t *shadow;
    GRand *rand;
    uint8_t buf[8][SLOT];
    struct iovec iov[8];
    bool busy[8];
    unsigned pending;
    bool running;
    int64_t slots[8];
} Bench;

static char *image_path(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void make_image(const char *name, const char *backing)
{
    g_autofree char *path = image_path(name);
    g_autofree char *below = backing ? image_path(backing) : NULL;
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autoptr(GError) error = NULL;

    g_unlink(path);
    node_opts_set(create, "size", "4M");
    node_opts_set(create, "cluster_size", "4096");
    if (backing) {
        node_opts_set(create, "backing_file", below);
        node_opts_set(create, "backing_fmt", "qcow2");
    }
    g_assert_true(image_create(path, "qcow2", create, &error));
    g_assert_no_error(error);
}

static BlockNode *open_image(const char *name, const char *node_name)
{
    g_autofree char *path = image_path(name);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    BlockNode *node;

    node_opts_set(opts, "driver", "qcow2");
    node_opts_set(opts, "discard", "unmap");
    if (node_name) {
        node_opts_set(opts, "node-name", node_name);
    }
    node = node_open(path, opts, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    return node;
}

/* Every PERIOD-th cluster gets VALUE. */
static void fill(const char *name, uint8_t *shadow, unsigned period, uint8_t value)
{
    BlockNode *node = open_image(name, NULL);
    BlockBackend *blk = blk_new(NULL);
    uint8_t cluster[4096];

    memset(cluster, value, sizeof(cluster));
    g_assert_true(blk_insert_node(blk, node, true, NULL));
    for (uint64_t at = 0; at < LENGTH; at += 4096 * (uint64_t)period) {
        g_assert_cmpint(blk_pwrite(blk, at, cluster, sizeof(cluster), 0), ==, 0);
        memcpy(shadow + at, cluster, sizeof(cluster));
    }
    blk_unref(blk);
    node_unref(node);
}

static Bench *bench_new(void)
{
    Bench *b = g_new0(Bench, 1);
    g_autoptr(GError) error = NULL;

    b->shadow = g_malloc0(LENGTH);
    b->rand = g_rand_new_with_seed(11);
    make_image("base", NULL);
    fill("base", b->shadow, 2, 1);
    make_image("mid", "base");
    fill("mid", b->shadow, 3, 2);
    make_image("top", "mid");
    fill("top", b->shadow, 5, 3);
    b->top = open_image("top", "top");
    if (iothread) {
        BlkAttachConf conf = { .device_name = "disk0", .loop = iothread_loop(iothread) };

        b->blk = blk_attach("top", &conf, NULL, b, &error);
    } else {
        b->blk = blk_new("disk0");
        blk_insert_node(b->blk, b->top, true, &error);
    }
    g_assert_no_error(error);
    g_string_truncate(events, 0);
    return b;
}

static BlockNode *bench_target(Bench *b)
{
    make_image("target", NULL);
    b->target = open_image("target", "target");
    return b->target;
}

static void guest_next(Bench *b, unsigned i);

typedef struct Write {
    Bench *b;
    unsigned i;
} Write;

static void write_done(void *opaque, int ret)
{
    Write *w = opaque;
    Bench *b = w->b;
    unsigned i = w->i;

    g_free(w);
    g_assert_cmpint(ret, ==, 0);
    b->pending--;
    b->slots[i] = -1;
    if (b->running) {
        guest_next(b, i);
    }
}

static void guest_next(Bench *b, unsigned i)
{
    gint32 skip = g_rand_int_range(b->rand, 0, SLOT - 512), kind = g_rand_int_range(b->rand, 0, 8);
    gint32 bytes = g_rand_int_range(b->rand, 1, SLOT - skip);
    Write *w = g_new(Write, 1);
    int64_t slot;
    uint64_t at;
    bool taken;

    do {
        slot = g_rand_int_range(b->rand, 0, SLOTS);
        taken = false;
        for (unsigned k = 0; k < 8; k++) {
            taken |= k != i && b->slots[k] == slot;
        }
    } while (taken);
    *w = (Write){ b, i };
    b->slots[i] = slot;
    at = (uint64_t)slot * SLOT + (uint64_t)skip;
    b->pending++;
    if (kind == 0) {
        memset(b->shadow + at, 0, (size_t)bytes);
        blk_aio_write_zeroes(b->blk, at, (uint64_t)bytes, BLK_REQ_MAY_UNMAP, write_done, w);
        return;
    }
    memset(b->buf[i], g_rand_int_range(b->rand, 4, 256), (size_t)bytes);
    memcpy(b->shadow + at, b->buf[i], (size_t)bytes);
    b->iov[i] = (struct iovec){ b->buf[i], (size_t)bytes };
    blk_aio_pwritev(b->blk, at, &b->iov[i], 1, 0, write_done, w);
}

static void guest_begin(void *opaque)
{
    Bench *b = opaque;

    b->running = true;
    for (unsigned i = 0; i < 8; i++) {
        b->slots[i] = -1;
    }
    for (unsigned i = 0; i < 8; i++) {
        guest_next(b, i);
    }
}

static void guest_start(Bench *b)
{
    event_loop_call_wait(blk_loop(b->blk), guest_begin, b);
}

static void guest_stop(Bench *b)
{
    b->running = false;
    GRAPH_WAIT_WHILE(b->pending > 0);
}

static void expect(BlockNode *node, const uint8_t *shadow)
{
    g_autofree uint8_t *all = g_malloc(LENGTH);

    g_assert_cmpint(node_pread(node, 0, all, LENGTH), ==, 0);
    for (unsigned i = 0; i < LENGTH; i += 512) {
        if (memcmp(all + i, shadow + i, 512) != 0) {
            g_error("%s differs at 0x%x: %u, not %u", node->name, i, all[i], shadow[i]);
        }
    }
}

static void expect_clean(BlockNode *node)
{
    CheckResult result = { 0 };
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_true(node_check(node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions, ==, 0);
}

static void bench_free(Bench *b)
{
    if (iothread) {
        blk_detach(b->blk);
        g_assert_cmpint(event_loop_users(iothread_loop(iothread)), ==, 0);
    } else {
        blk_unref(b->blk);
    }
    node_unref(b->top);
    node_unref(b->target);
    g_assert_null(job_next(NULL));
    g_assert_null(node_next(NULL));             /* nothing leaks */
    g_rand_free(b->rand);
    g_free(b->shadow);
    g_free(b);
}

static Job *the_job(void)
{
    Job *job = job_next(NULL);

    g_assert_nonnull(job);
    return job;
}

static void wait_for(QapiJobStatus status)
{
    GRAPH_WAIT_WHILE(the_job()->status != status);
}

static void wait_gone(void)
{
    GRAPH_WAIT_WHILE(job_next(NULL) != NULL);
}

static void tick(void *opaque)
{
    *(bool *)opaque = true;
    graph_wait_kick();
}

/* The guest's loop, and ours, go round N times. */
static void spin(unsigned n)
{
    while (n--) {
        bool ticked = !iothread;

        if (iothread) {
            event_loop_post(iothread_loop(iothread), tick, &ticked);
        }
        GRAPH_WAIT_WHILE(!ticked);
        event_loop_iterate(event_loop_main(), !iothread);
    }
}

static const JobCommon common = { .id = "job0" };

/* ---- tests ---- */

#define WELL "created running waiting pending BLOCK_JOB_COMPLETED concluded null "

static void test_stream_all(void)
{
    Bench *b = bench_new();
    g_autoptr(GError) error = NULL;

    guest_start(b);
    job_stream_start(&common, b->top, NULL, NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL, &error);
    g_assert_no_error(error);
    wait_gone();
    guest_stop(b);
    g_assert_cmpstr(events->str, ==, WELL);
    g_assert_null(node_backing(b->top));
    g_assert_null(node_backing_filename(b->top));
    g_assert_true(blk_node(b->blk) == b->top);
    expect(b->top, b->shadow);
    expect_clean(b->top);
    bench_free(b);
}

static void test_stream_to_base(void)
{
    Bench *b = bench_new();
    BlockNode *base = node_backing(node_backing(b->top));
    g_autofree char *path = image_path("base");
    g_autoptr(GError) error = NULL;

    guest_start(b);
    job_stream_start(&common, b->top, base, NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT, "cor", &error);
    g_assert_no_error(error);
    wait_gone();
    guest_stop(b);
    g_assert_true(node_backing(b->top) == base);
    g_assert_cmpstr(node_backing_filename(b->top), ==, path);
    expect(b->top, b->shadow);
    expect_clean(b->top);
    bench_free(b);
}

static void test_commit_below(void)
{
    Bench *b = bench_new();
    BlockNode *mid = node_backing(b->top), *base = node_backing(mid);
    g_autoptr(GError) error = NULL;

    guest_start(b);
    job_commit_start(&common, b->top, mid, base, NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL,
                     &error);
    g_assert_no_error(error);
    wait_gone();
    guest_stop(b);
    g_assert_cmpstr(events->str, ==, WELL);
    g_assert_true(node_backing(b->top) == base);
    g_assert_true(node_is_read_only(base));
    expect(b->top, b->shadow);
    expect_clean(b->top);
    expect_clean(base);
    bench_free(b);
}

static void test_commit_active(void)
{
    Bench *b = bench_new();
    BlockNode *base = node_ref(node_backing(node_backing(b->top)));
    MirrorArgs args = { .source = b->top, .target = base, .commit_base = base,
                        .sync = QAPI_MIRROR_SYNC_MODE_TOP };
    g_autoptr(GError) error = NULL;

    guest_start(b);
    job_mirror_start(&common, &args, &error);
    g_assert_no_error(error);
    spin(40);
    guest_stop(b);                              /* a guest that never rests is never copied */
    wait_for(QAPI_JOB_STATUS_READY);
    guest_start(b);
    spin(20);
    job_complete(the_job(), &error);
    g_assert_no_error(error);
    wait_gone();
    g_assert_true(blk_node(b->blk) == base);
    guest_stop(b);
    expect(base, b->shadow);
    expect_clean(base);
    node_unref(base);
    bench_free(b);
}

static void mirror(QapiMirrorCopyMode mode, bool pivot)
{
    Bench *b = bench_new();
    MirrorArgs args = { .source = b->top, .target = bench_target(b), .copy_mode = mode,
                        .sync = QAPI_MIRROR_SYNC_MODE_FULL, .unmap = true };
    g_autoptr(GError) error = NULL;

    guest_start(b);
    job_mirror_start(&common, &args, &error);
    g_assert_no_error(error);
    spin(40);
    guest_stop(b);                              /* a guest that never rests is never copied */
    wait_for(QAPI_JOB_STATUS_READY);
    guest_start(b);
    spin(20);
    if (pivot) {
        job_complete(the_job(), &error);
        g_assert_no_error(error);
        wait_gone();
        g_assert_true(blk_node(b->blk) == b->target);
        guest_stop(b);
    } else {
        guest_stop(b);
        job_cancel(the_job(), false, &error);
        g_assert_no_error(error);
        wait_gone();
        g_assert_true(blk_node(b->blk) == b->top);
        expect(b->top, b->shadow);
    }
    expect(b->target, b->shadow);
    expect_clean(b->target);
    bench_free(b);
}

static void test_mirror_pivot(void)
{
    mirror(QAPI_MIRROR_COPY_MODE_BACKGROUND, true);
}

static void test_mirror_write_blocking(void)
{
    mirror(QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING, true);
}

static void test_mirror_copy_of_a_moment(void)
{
    mirror(QAPI_MIRROR_COPY_MODE_BACKGROUND, false);
    g_assert_cmpstr(events->str, ==, "created running ready BLOCK_JOB_READY waiting pending "
                    "BLOCK_JOB_COMPLETED concluded null ");
}

static void test_backup_is_of_its_moment(void)
{
    Bench *b = bench_new();
    g_autofree uint8_t *then = NULL;
    BackupArgs args = { .source = b->top, .target = bench_target(b),
                        .sync = QAPI_MIRROR_SYNC_MODE_FULL };
    g_autoptr(GError) error = NULL;
    Job *job;

    guest_start(b);
    guest_stop(b);
    then = g_memdup2(b->shadow, LENGTH);
    job = job_backup_new(&common, &args, &error);
    g_assert_no_error(error);
    guest_start(b);                             /* writes before it runs count already */
    job_start(job);
    wait_gone();
    guest_stop(b);
    g_assert_cmpstr(events->str, ==, WELL);
    expect(b->target, then);
    expect(b->top, b->shadow);
    expect_clean(b->target);
    bench_free(b);
}

static void test_incremental_backups(void)
{
    Bench *b = bench_new();
    BackupArgs args = { .source = b->top, .target = bench_target(b),
                        .sync = QAPI_MIRROR_SYNC_MODE_FULL };
    DirtyBitmap *bitmap = dirty_bitmap_add(b->top, "b0", 0, NULL);
    g_autofree uint8_t *then = NULL;
    g_autoptr(GError) error = NULL;

    job_start(job_backup_new(&common, &args, &error));
    wait_gone();
    args.sync = QAPI_MIRROR_SYNC_MODE_INCREMENTAL;
    args.bitmap = bitmap;
    for (unsigned round = 0; round < 3; round++) {
        guest_start(b);
        spin(50);
        guest_stop(b);
        g_free(then);
        then = g_memdup2(b->shadow, LENGTH);
        if (round == 1) {                       /* a cancelled one loses nothing */
            Job *job = job_backup_new(&common, &args, &error);

            guest_start(b);
            guest_stop(b);
            job_discard(job);
            g_free(then);
            then = g_memdup2(b->shadow, LENGTH);
        }
        job_start(job_backup_new(&common, &args, &error));
        g_assert_no_error(error);
        guest_start(b);
        wait_gone();
        guest_stop(b);
        expect(b->target, then);
    }
    bench_free(b);
}

static void test_cancel_leaves_the_disk(void)
{
    Bench *b = bench_new();
    JobCommon slow = { .id = "job0", .speed = 65536 };
    g_autoptr(GError) error = NULL;

    job_stream_start(&slow, b->top, NULL, NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(job_complete(the_job(), &error));
    g_clear_error(&error);
    guest_start(b);
    g_assert_true(job_pause(the_job(), &error));
    wait_for(QAPI_JOB_STATUS_PAUSED);
    g_assert_false(job_check_free(b->top, &error));
    g_clear_error(&error);
    g_assert_true(job_cancel(the_job(), true, &error));
    wait_gone();
    guest_stop(b);
    g_assert_cmpstr(events->str, ==, "created running paused running aborting "
                    "BLOCK_JOB_CANCELLED concluded null ");
    g_assert_nonnull(node_backing(b->top));
    expect(b->top, b->shadow);
    bench_free(b);
}

static void test_transaction_fails_as_one(void)
{
    Bench *b = bench_new();
    JobTxn *txn = job_txn_new();
    JobCommon one = { .id = "one", .txn = txn, .manual_dismiss = true };
    JobCommon two = { .id = "two", .txn = txn, .manual_dismiss = true };
    BlockNode *other;
    BackupArgs args = { .source = b->top, .target = bench_target(b),
                        .sync = QAPI_MIRROR_SYNC_MODE_FULL };
    BackupArgs args2;
    g_autoptr(GError) error = NULL;
    Job *a, *c;

    make_image("other", NULL);
    other = open_image("other", "other");
    make_image("target2", NULL);
    args2 = (BackupArgs){ .source = other, .target = open_image("target2", "target2"),
                          .sync = QAPI_MIRROR_SYNC_MODE_NONE };
    a = job_backup_new(&one, &args, &error);
    c = job_backup_new(&two, &args2, &error);
    g_assert_no_error(error);
    job_txn_unref(txn);
    job_start(a);
    job_start(c);
    GRAPH_WAIT_WHILE(a->status != QAPI_JOB_STATUS_WAITING);
    g_assert_true(job_cancel(c, true, &error));
    GRAPH_WAIT_WHILE(a->status != QAPI_JOB_STATUS_CONCLUDED ||
                          c->status != QAPI_JOB_STATUS_CONCLUDED);
    g_assert_cmpint(a->ret, ==, -ECANCELED);
    g_assert_true(job_dismiss(a, &error) && job_dismiss(c, &error));
    node_unref(args2.target);
    node_unref(other);
    bench_free(b);
}

static void test_shutdown_cancels(void)
{
    Bench *b = bench_new();
    JobCommon slow = { .id = "job0", .speed = 1, .manual_dismiss = true };
    g_autoptr(GError) error = NULL;

    job_stream_start(&slow, b->top, NULL, NULL, QAPI_BLOCKDEV_ON_ERROR_REPORT, NULL, &error);
    job_cancel_all();
    g_assert_null(job_next(NULL));
    bench_free(b);
}

typedef struct Case {
    const char *name;
    void (*fn)(void);
} Case;

static const Case cases[] = {
    { "stream", test_stream_all },
    { "stream-base", test_stream_to_base },
    { "commit", test_commit_below },
    { "commit-active", test_commit_active },
    { "mirror-pivot", test_mirror_pivot },
    { "mirror-blocking", test_mirror_write_blocking },
    { "mirror-moment", test_mirror_copy_of_a_moment },
    { "backup", test_backup_is_of_its_moment },
    { "incremental", test_incremental_backups },
    { "cancel", test_cancel_leaves_the_disk },
    { "transaction", test_transaction_fails_as_one },
    { "shutdown", test_shutdown_cancels },
};

static void run_case(const void *data)
{
    const Case *c = data;

    GRAPH_HOLD();
    c->fn();
}

static void run_case_on_iothread(const void *data)
{
    iothread = iothread_new("io0");
    run_case(data);
    g_clear_pointer(&iothread, iothread_free);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    folder = g_dir_make_tmp("rhea-job-XXXXXX", NULL);
    events = g_string_new(NULL);
    qapi_set_event_sink(on_event, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        g_autofree char *here = g_strdup_printf("/block/job/%s", cases[i].name);
        g_autofree char *there = g_strdup_printf("/block/job/iothread/%s", cases[i].name);

        g_test_add_data_func(here, &cases[i], run_case);
        g_test_add_data_func(there, &cases[i], run_case_on_iothread);
    }
    ret = g_test_run();
    g_autofree char *command = g_strdup_printf("rm -r '%s'", folder);
    return system(command) == 0 ? ret : 1;
}
