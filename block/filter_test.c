/* SPDX-License-Identifier: MIT */
/*
 * Filters under and above images: injected errors, logs of writes, preallocation.
 */
#include "block/filter.h"

#include <glib/gstdio.h>

#include "base/thread.h"
#include "block/driver.h"

static char *folder;

static char *path_of(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* A node by JSON options, in which %s is the folder. */
static BlockNode *open_json(const char *format)
{
    g_auto(GStrv) parts = g_strsplit(format, "%s", -1);
    g_autofree char *text = g_strjoinv(folder, parts);
    g_autofree char *name = g_strconcat("json:", text, NULL);
    g_autoptr(GError) error = NULL;
    BlockNode *node = node_open(name, NULL, NODE_OPEN_RDWR, &error);

    g_assert_no_error(error);
    return node;
}

static void make(const char *name, const char *format, const char *size)
{
    g_autofree char *path = path_of(name);
    g_autoptr(NodeOpts) create = node_opts_new();
    g_autoptr(GError) error = NULL;

    node_opts_set(create, "size", size);
    g_assert_true(image_create(path, format, create, &error));
    g_assert_no_error(error);
}

static BlockBackend *backend(BlockNode *node)
{
    BlockBackend *blk = blk_new(NULL);
    g_autoptr(GError) error = NULL;

    g_assert_true(blk_insert_node(blk, node, true, &error));
    node_unref(node);
    return blk;
}

static void test_errors_by_rule(void)
{
    BlockBackend *blk;
    char buf[512] = { 0 };

    make("rule.img", "raw", "1M");
    blk = backend(open_json(
        "{'driver':'raw','file':{'driver':'blkdebug','image':{'driver':'file',"
        "'filename':'%s/rule.img'},'inject-error':[{'event':'read_aio','sector':4,'errno':28},"
        "{'event':'write_aio','state':2,'once':true}],"
        "'set-state':[{'event':'flush_to_disk','state':1,'new_state':2}]}}"));
    g_assert_cmpint(blk_pread(blk, 0, buf, 512), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4 * 512, buf, 512), ==, -ENOSPC);
    g_assert_cmpint(blk_pwrite(blk, 0, buf, 512, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 0, buf, 512, 0), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 0, buf, 512, 0), ==, 0);     /* once */
    blk_unref(blk);
}

static void test_config_file_and_name(void)
{
    g_autofree char *config = path_of("rules.conf");
    g_autofree char *name = NULL;
    g_autoptr(GError) error = NULL;
    BlockBackend *blk;
    char buf[512];

    make("conf.img", "raw", "1M");
    g_assert_true(g_file_set_contents(config, "# everything\n[inject-error]\nevent = \"none\"\n"
                                      "errno = \"5\"\n", -1, NULL));
    name = g_strdup_printf("blkdebug:%s:%s/conf.img", config, folder);
    blk = backend(node_open(name, NULL, NODE_OPEN_RDWR | NODE_OPEN_PROTOCOL, &error));
    g_assert_no_error(error);
    g_assert_cmpint(blk_pread(blk, 0, buf, 512), ==, -EIO);
    blk_unref(blk);
    g_assert_true(g_file_set_contents(config, "[inject-error]\nevent = \"never\"\n", -1, NULL));
    g_assert_null(node_open(name, NULL, NODE_OPEN_RDWR | NODE_OPEN_PROTOCOL, &error));
    g_assert_nonnull(strstr(error->message, "never"));
}

static void test_alignment_is_bounced(void)
{
    BlockBackend *blk;
    char buf[3];

    make("align.img", "raw", "1M");
    blk = backend(open_json("{'driver':'blkdebug','align':4096,'max-transfer':8192,"
                            "'image':{'driver':'file','filename':'%s/align.img'}}"));
    g_assert_cmpint(blk_pwrite(blk, 4095, "abc", 3, 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 4095, buf, 3), ==, 0);
    g_assert_cmpmem(buf, 3, "abc", 3);
    blk_unref(blk);
}

/*
 * Each event of a format, the next request after it failing: some operation fails, or none does where
 * the event does not happen; either way the image stays whole and what was flushed is there.
 */
static void test_every_event_of_qcow2(void)
{
    static const char *const never[] = {   /* not in this life of an image */
        "reftable_grow", "refblock_alloc", "refblock_alloc_write", "refblock_alloc_hookup",
        "refblock_alloc_write_blocks", "refblock_alloc_write_table", "refblock_alloc_switch_table",
        "reftable_update", "empty_image_prepare", "cor_write", "pwritev_rmw_head",
        "pwritev_rmw_after_head", "pwritev_rmw_tail", "pwritev_rmw_after_tail", NULL,
    };
    g_autofree char *cluster = g_malloc(4096), *got = g_malloc(4096);

    for (int e = 0; e < QAPI_BLKDEBUG_EVENT_NONE; e++) {
        const char *event = qapi_words_QapiBlkdebugEvent[e];
        g_autofree char *text = g_strdup_printf(
            "{'driver':'qcow2','discard':'unmap','file':{'driver':'blkdebug','image':{'driver':"
            "'file','filename':'%%s/event.qcow2'},'inject-error':[{'event':'%s','once':true}]}}",
            event);
        g_autofree char *path = path_of("event.qcow2"), *base = path_of("event-base.qcow2");
        g_autoptr(NodeOpts) create = node_opts_new();
        CheckResult result = { 0 };
        BlockBackend *blk;
        unsigned failed = 0;

        make("event-base.qcow2", "qcow2", "1M");
        node_opts_set(create, "size", "1M");
        node_opts_set(create, "cluster_size", "4096");
        node_opts_set(create, "backing_file", base);
        node_opts_set(create, "backing_fmt", "qcow2");
        g_assert_true(image_create(path, "qcow2", create, NULL));
        memset(cluster, 0x5a, 4096);
        blk = backend(open_json("{'driver':'qcow2','file':{'driver':'file','filename':"
                                "'%s/event.qcow2'}}"));
        g_assert_cmpint(blk_pwrite(blk, 0, cluster, 4096, 0), ==, 0);
        g_assert_cmpint(blk_pwrite(blk, 8192, cluster, 4096, BLK_REQ_COMPRESSED), ==, 0);
        g_assert_true(node_snapshot_create(blk_node(blk), "s", NULL, NULL));
        blk_unref(blk);

        if (g_str_equal(event, "reftable_load")) {
            continue;                  /* the opening itself fails */
        }
        blk = backend(open_json(text));
        failed += blk_pread(blk, 0, got, 4096) < 0;
        failed += blk_pread(blk, 8192, got, 4096) < 0;
        failed += blk_pread(blk, 65536, got, 4096) < 0;
        failed += blk_pwrite(blk, 100, cluster, 100, 0) < 0;         /* copies what the snapshot has */
        failed += blk_pwrite(blk, 16384, cluster, 4096, BLK_REQ_COMPRESSED) < 0;
        failed += blk_discard(blk, 4096, 4096) < 0;
        failed += blk_discard(blk, 8192, 4096) < 0;
        failed += blk_flush(blk) < 0;
        failed += !blk_truncate(blk, 64 << 20, NULL, NULL);
        failed += blk_flush(blk) < 0;
        if (!g_strv_contains(never, event)) {
            g_assert_cmpuint(failed, >, 0);
        }
        g_assert_cmpint(blk_flush(blk), ==, 0);
        blk_unref(blk);

        blk = backend(open_json("{'driver':'qcow2','file':{'driver':'file','filename':"
                                "'%s/event.qcow2'}}"));
        g_assert_true(node_check(blk_node(blk), 0, &result, NULL));
        g_assert_cmpuint(result.corruptions, ==, 0);
        g_assert_cmpint(blk_pread(blk, 0, got, 4096), ==, 0);
        g_assert_cmpmem(got, 4096, cluster, 4096);
        blk_unref(blk);
    }
}

static void test_qcow2_survives_a_failed_write(void)
{
    BlockBackend *blk;
    CheckResult result = { 0 };
    g_autofree char *buf = g_malloc0(65536);

    make("fail.qcow2", "qcow2", "16M");
    blk = backend(open_json(
        "{'driver':'qcow2','file':{'driver':'blkdebug','image':{'driver':'file',"
        "'filename':'%s/fail.qcow2'},'set-state':[{'event':'flush_to_disk','state':1,"
        "'new_state':2}],'inject-error':[{'event':'pwritev','state':2,'once':true}]}}"));
    g_assert_cmpint(blk_pwrite(blk, 0, buf, 65536, 0), ==, 0);   /* the file grows below a filter */
    /* Its own flush between counts and tables brings state 2, where the next write fails. */
    g_assert_cmpint(blk_flush(blk), ==, -EIO);
    g_assert_cmpint(blk_pwrite(blk, 1 << 20, buf, 65536, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    g_assert_true(node_check(blk_node(blk), 0, &result, NULL));
    g_assert_cmpuint(result.corruptions, ==, 0);
    blk_unref(blk);
}

typedef struct Held {
    BlockBackend *blk;
    uint64_t offset;
    int ret;                   /* 1: under way */
} Held;

static void co_held_write(void *opaque)
{
    Held *h = opaque;
    uint8_t buf[512] = { 7 };

    h->ret = co_blk_pwrite(h->blk, h->offset, buf, sizeof(buf), 0);
}

static void spin(const Held *h)
{
    while (h->ret == 1) {
        event_loop_iterate(event_loop_main(), true);
    }
}

/* One request waits where it is told to, others pass, and it goes on when it may. */
static void test_breakpoints(void)
{
    Held a = { .offset = 0, .ret = 1 }, b = { .offset = 65536, .ret = 1 };
    uint8_t byte = 9;
    BlockNode *node;

    make("hold.img", "raw", "1M");
    a.blk = b.blk = backend(open_json("{'driver':'raw','file':{'driver':'blkdebug','image':"
                                      "{'driver':'file','filename':'%s/hold.img'}}}"));
    node = blk_node(a.blk);
    g_assert_cmpint(node_debug(node, NODE_DEBUG_BREAK, "nope", "t"), ==, -ENOENT);
    g_assert_cmpint(node_debug(node, NODE_DEBUG_RESUME, NULL, "t"), ==, -ENOENT);
    g_assert_cmpint(node_debug(node, NODE_DEBUG_REMOVE_BREAK, NULL, "t"), ==, -ENOENT);
    g_assert_cmpint(node_debug(node, NODE_DEBUG_BREAK, "write_aio", "t"), ==, 0);
    coroutine_start(co_held_write, &a);
    while (node_debug(node, NODE_DEBUG_IS_SUSPENDED, NULL, "t") == 0) {
        event_loop_iterate(event_loop_main(), true);
    }
    coroutine_start(co_held_write, &b);
    spin(&b);
    g_assert_cmpint(b.ret, ==, 0);
    g_assert_cmpint(a.ret, ==, 1);
    g_assert_cmpint(blk_pread(a.blk, 0, &byte, 1), ==, 0);
    g_assert_cmpuint(byte, ==, 0);
    g_assert_cmpint(node_debug(node, NODE_DEBUG_RESUME, NULL, "t"), ==, 0);
    spin(&a);
    g_assert_cmpint(a.ret, ==, 0);
    g_assert_cmpint(blk_pread(a.blk, 0, &byte, 1), ==, 0);
    g_assert_cmpuint(byte, ==, 7);

    /* Taken back before anybody came, and while somebody is held. */
    g_assert_cmpint(node_debug(node, NODE_DEBUG_BREAK, "write_aio", "u"), ==, 0);
    g_assert_cmpint(node_debug(node, NODE_DEBUG_REMOVE_BREAK, NULL, "u"), ==, 0);
    g_assert_cmpint(blk_pwrite(a.blk, 0, &byte, 1, 0), ==, 0);
    blk_unref(a.blk);
}

static void test_errors_within_a_merging_write(void)
{
    static const char *const events[] = { "pwritev_rmw_head", "pwritev_rmw_tail" };

    make("rmw.img", "raw", "64K");
    for (unsigned i = 0; i < ARRAY_LEN(events); i++) {
        g_autofree char *text = g_strdup_printf(
            "{'driver':'raw','file':{'driver':'blkdebug','align':4096,'image':{'driver':'file',"
            "'filename':'%%s/rmw.img'},'inject-error':[{'event':'%s','once':true,'errno':28}]}}",
            events[i]);
        BlockBackend *blk = backend(open_json(text));
        uint8_t buf[8192] = { 0 };

        g_assert_cmpint(blk_pwrite(blk, 4096, buf, 4096, 0), ==, 0);
        g_assert_cmpint(blk_pwrite(blk, i ? 4096 : 5000, buf, i ? 5000 : 3192, 0), ==, -ENOSPC);
        g_assert_cmpint(blk_pwrite(blk, i ? 4096 : 5000, buf, i ? 5000 : 3192, 0), ==, 0);
        blk_unref(blk);
    }
}

static void test_permissions_on_demand(void)
{
    g_autoptr(GError) error = NULL;
    BlockNode *image, *debug, *other;

    make("perm.img", "raw", "64K");
    image = open_json("{'driver':'raw','node-name':'perm-image','file':{'driver':'file',"
                      "'filename':'%s/perm.img'}}");
    debug = open_json("{'driver':'blkdebug','image':'perm-image','take-child-perms':['write'],"
                      "'unshare-child-perms':['write']}");
    other = open_json("{'driver':'raw','file':'perm-image'}");
    BlockBackend *blk = blk_new(NULL);

    g_assert_false(blk_insert_node(blk, other, true, &error));
    g_assert_nonnull(error);
    node_unref(debug);
    g_assert_true(blk_insert_node(blk, other, true, NULL));
    blk_unref(blk);
    node_unref(other);
    node_unref(image);
}

/* ---- copy-before-write and snapshot-access ---- */

typedef struct Snap {
    BlockNode *source, *target;
    BlockBackend *guest, *reader;
} Snap;

/* The source is all 1; MORE are options of the filter. */
static void snap_init(Snap *s, const char *more)
{
    g_autofree char *text = g_strdup_printf("{'driver':'copy-before-write','node-name':'cbw','file':"
                                            "'snap-src','target':'snap-tgt'%s}", more);
    g_autofree uint8_t *ones = g_malloc(1 << 20);
    BlockBackend *blk;

    make("snap-src.img", "raw", "1M");
    make("snap-tgt.img", "raw", "1M");
    memset(ones, 1, 1 << 20);
    s->source = open_json("{'driver':'raw','node-name':'snap-src','file':{'driver':'file',"
                          "'filename':'%s/snap-src.img'}}");
    s->target = open_json("{'driver':'raw','node-name':'snap-tgt','file':{'driver':'blkdebug','image':"
                          "{'driver':'file','filename':'%s/snap-tgt.img'}}}");
    blk = blk_new(NULL);
    g_assert_true(blk_insert_node(blk, s->source, true, NULL));
    g_assert_cmpint(blk_pwrite(blk, 0, ones, 1 << 20, 0), ==, 0);
    blk_unref(blk);
    s->guest = backend(open_json(text));
    s->reader = backend(open_json("{'driver':'snapshot-access','discard':'unmap',"
                                  "'file':'cbw'}"));
}

static void snap_clear(Snap *s)
{
    blk_unref(s->reader);
    blk_unref(s->guest);
    node_unref(s->target);
    node_unref(s->source);
}

static int byte_at(BlockBackend *blk, uint64_t offset)
{
    uint8_t byte;
    int ret = blk_pread(blk, offset, &byte, 1);

    return ret < 0 ? ret : byte;
}

static void test_snapshot_is_read(void)
{
    uint8_t buf[512] = { 7 };
    Snap s;

    snap_init(&s, "");
    g_assert_cmpint(blk_pwrite(s.guest, 65536, buf, 512, 0), ==, 0);
    g_assert_cmpint(byte_at(s.guest, 65536), ==, 7);
    for (uint64_t at = 0; at < 1 << 20; at += 32768) {
        g_assert_cmpint(byte_at(s.reader, at), ==, 1);
    }
    g_assert_cmpint(blk_pwrite(s.reader, 0, buf, 512, 0), ==, -ENOTSUP);
    /* Given up: no longer readable, and no longer copied. */
    g_assert_cmpint(blk_discard(s.reader, 131072, 65536), ==, 0);
    g_assert_cmpint(byte_at(s.reader, 131072), ==, -EACCES);
    g_assert_cmpint(blk_pwrite(s.guest, 131072, buf, 512, 0), ==, 0);
    g_assert_cmpint(node_pread(s.target, 131072, buf, 1), ==, 0);
    g_assert_cmpint(buf[0], ==, 0);
    g_assert_cmpint(byte_at(s.reader, 131071), ==, 1);
    snap_clear(&s);
}

/* A target that does not answer: who suffers from it after a second is an option. */
static void run_slow_target(bool break_snapshot)
{
    uint8_t buf[512] = { 7 };
    Snap s;

    snap_init(&s, break_snapshot ? ",'cbw-timeout':1,'on-cbw-error':'break-snapshot'"
                                 : ",'cbw-timeout':1");
    g_assert_cmpint(node_debug(s.target, NODE_DEBUG_BREAK, "pwritev", "t"), ==, 0);
    g_assert_cmpint(blk_pwrite(s.guest, 0, buf, 512, 0), ==, break_snapshot ? 0 : -ETIMEDOUT);
    g_assert_cmpint(node_debug(s.target, NODE_DEBUG_IS_SUSPENDED, NULL, "t"), ==, 1);
    g_assert_cmpint(node_debug(s.target, NODE_DEBUG_RESUME, NULL, "t"), ==, 0);
    g_assert_cmpint(byte_at(s.reader, 0), ==, break_snapshot ? -ETIMEDOUT : 1);
    g_assert_cmpint(byte_at(s.guest, 0), ==, break_snapshot ? 7 : 1);
    g_assert_cmpint(blk_pwrite(s.guest, 0, buf, 512, 0), ==, 0);
    g_assert_cmpint(byte_at(s.guest, 0), ==, 7);
    g_assert_cmpint(byte_at(s.reader, 0), ==, break_snapshot ? -ETIMEDOUT : 1);
    snap_clear(&s);
}

static void test_slow_target(void)
{
    run_slow_target(false);
    run_slow_target(true);
}

/* What the log says, written to an empty disk, is the disk. */
static void replay(const char *log_name, const char *disk_name)
{
    g_autofree char *log_path = path_of(log_name), *disk_path = path_of(disk_name);
    g_autofree char *log = NULL, *disk = NULL, *made = NULL;
    gsize log_len, disk_len;
    uint64_t at = 512;

    g_assert_true(g_file_get_contents(log_path, &log, &log_len, NULL));
    g_assert_true(g_file_get_contents(disk_path, &disk, &disk_len, NULL));
    made = g_malloc0(disk_len);
    g_assert_cmpuint(le64_load(log), ==, 0x6a736677736872);
    g_assert_cmpuint(le64_load(log + 16), ==, 4);
    for (uint64_t i = 0; i < le64_load(log + 16); i++) {
        uint64_t sector = le64_load(log + at), bytes = le64_load(log + at + 24);

        g_assert_cmpuint(at + 512 + bytes, <=, log_len);
        g_assert_cmpuint(le64_load(log + at + 8) * 512, ==, bytes);
        memcpy(made + sector * 512, log + at + 512, bytes);
        at += 512 + bytes;
    }
    g_assert_cmpmem(made, disk_len, disk, disk_len);
}

static void test_log_replays(void)
{
    BlockBackend *blk;
    char buf[1024];

    make("disk.img", "raw", "64K");
    make("log.img", "raw", "0");
    blk = backend(open_json("{'driver':'blklogwrites','file':{'driver':'file','filename':"
                            "'%s/disk.img'},'log':{'driver':'file','filename':'%s/log.img'}}"));
    memset(buf, 0x11, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, 4096, buf, 1024, 0), ==, 0);
    memset(buf, 0x22, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, 4700, buf, 100, 0), ==, 0);  /* part of a sector */
    g_assert_cmpint(blk_write_zeroes(blk, 4096, 512, 0), ==, 0);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    blk_unref(blk);
    replay("log.img", "disk.img");
}

static void test_preallocation_is_cut_off(void)
{
    g_autofree char *path = path_of("pre.qcow2");
    g_autofree char *buf = g_malloc0(65536);
    BlockBackend *blk;
    GStatBuf st;

    make("pre.qcow2", "qcow2", "16M");
    blk = backend(open_json("{'driver':'qcow2','file':{'driver':'preallocate','prealloc-size':"
                            "8388608,'file':{'driver':'file','filename':'%s/pre.qcow2'}}}"));
    memset(buf, 1, 65536);
    g_assert_cmpint(blk_pwrite(blk, 0, buf, 65536, 0), ==, 0);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, >=, 8 << 20);
    blk_unref(blk);
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_size, <, 1 << 20);
    blk = backend(open_json("{'driver':'qcow2','file':{'driver':'file','filename':"
                            "'%s/pre.qcow2'}}"));
    g_assert_cmpint(blk_pread(blk, 0, buf, 65536), ==, 0);
    g_assert_cmpint(buf[65535], ==, 1);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    folder = g_dir_make_tmp("rhea-filter-XXXXXX", NULL);
    g_test_add_func("/block/filter/blkdebug", test_errors_by_rule);
    g_test_add_func("/block/filter/blkdebug-config", test_config_file_and_name);
    g_test_add_func("/block/filter/blkdebug-align", test_alignment_is_bounced);
    g_test_add_func("/block/filter/blkdebug-qcow2", test_qcow2_survives_a_failed_write);
    g_test_add_func("/block/filter/events", test_every_event_of_qcow2);
    g_test_add_func("/block/filter/breakpoints", test_breakpoints);
    g_test_add_func("/block/filter/merging-write", test_errors_within_a_merging_write);
    g_test_add_func("/block/filter/permissions", test_permissions_on_demand);
    g_test_add_func("/block/filter/snapshot-access", test_snapshot_is_read);
    g_test_add_func("/block/filter/cbw-timeout", test_slow_target);
    g_test_add_func("/block/filter/blklogwrites", test_log_replays);
    g_test_add_func("/block/filter/preallocate", test_preallocation_is_cut_off);
    ret = g_test_run();
    g_autofree char *command = g_strdup_printf("rm -r '%s'", folder);
    return system(command) == 0 ? ret : 1;
}
