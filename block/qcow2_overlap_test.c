/* SPDX-License-Identifier: MIT */
/*
 * overlap-check= of qcow2: with an entry that leads a write over each kind of table, what each mode
 * and each switch prevents.
 */
#include "base/bits.h"
#include "base/thread.h"
#include "block/backend.h"
#include "block/bitmap.h"
#include "block/io.h"
#include "block/memory.h"
#include "block/qcow2.h"

#define CLUSTER 4096u
#define TAIL 3584u              /* of a cluster, where no table of this image has an entry */

typedef enum Kind {
    ACTIVE_L1, ACTIVE_L2, REFCOUNT_TABLE, REFCOUNT_BLOCK, SNAPSHOT_TABLE, INACTIVE_L1, INACTIVE_L2,
    BITMAP_DIRECTORY, KINDS
} Kind;

static const struct { const char *name, *first_mode; } kinds[KINDS] = {
    [ACTIVE_L1] = { "active-l1", "constant" }, [ACTIVE_L2] = { "active-l2", "cached" },
    [REFCOUNT_TABLE] = { "refcount-table", "constant" },
    [REFCOUNT_BLOCK] = { "refcount-block", "cached" },
    [SNAPSHOT_TABLE] = { "snapshot-table", "constant" }, [INACTIVE_L1] = { "inactive-l1", "cached" },
    [INACTIVE_L2] = { "inactive-l2", "all" }, [BITMAP_DIRECTORY] = { "bitmap-directory", "constant" },
};
static const char *const modes[] = { "none", "constant", "cached", "all" };

static BlockNode *open_image(const char *overlap, GError **error)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,node-name=image,file=disk%s%s",
                                            overlap ? "," : "", overlap ?: "");
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(NodeOpts) file = node_opts_new();
    BlockNode *disk, *node;

    node_opts_set(file, "node-name", "disk");
    disk = node_open("x-memory:disk", file, NODE_OPEN_RDWR | NODE_OPEN_PROTOCOL, NULL);
    g_assert_true(node_opts_add_keyval(opts, text, NULL, NULL));
    node = node_open(NULL, opts, NODE_OPEN_RDWR, error);
    node_unref(disk);
    return node;
}

/* With a bitmap and perhaps a snapshot that has tables of its own. */
static GByteArray *make_image(bool snapshot)
{
    MemoryDisk *disk = memory_disk_new("disk");
    g_autoptr(NodeOpts) create = node_opts_new();
    GByteArray *image = g_byte_array_new();
    uint8_t buf[2 * CLUSTER] = { 1 };
    DirtyBitmap *bitmap;
    BlockNode *node;

    node_opts_set(create, "size", "64k");
    node_opts_set(create, "cluster_size", "4k");
    g_assert_true(image_create("x-memory:disk", "qcow2", create, NULL));
    node = open_image(NULL, NULL);
    g_assert_cmpint(node_pwrite(node, 0, buf, CLUSTER), ==, 0);
    g_assert_true(!snapshot || node_snapshot_create(node, "snap", NULL, NULL));
    g_assert_cmpint(node_pwrite(node, 0, buf, sizeof(buf)), ==, 0);
    bitmap = dirty_bitmap_add(node, "b", CLUSTER, NULL);
    g_assert_true(dirty_bitmap_make_persistent(node, bitmap, NULL));
    node_unref(node);
    g_byte_array_append(image, disk->data->data, disk->data->len);
    memory_disk_free(disk);
    return image;
}

static uint64_t extension_at(const uint8_t *p, uint32_t magic)
{
    uint64_t at = be32_load(p + 100);

    while (be32_load(p + at) && be32_load(p + at) != magic) {
        at += 8 + align_up(be32_load(p + at + 4), 8);
    }
    return at + 8;
}

static void find_tables(const uint8_t *p, uint64_t place[KINDS])
{
    place[ACTIVE_L1] = be64_load(p + 40);
    place[ACTIVE_L2] = be64_load(p + place[ACTIVE_L1]) & ENTRY_OFFSET_MASK;
    place[REFCOUNT_TABLE] = be64_load(p + 48);
    place[REFCOUNT_BLOCK] = be64_load(p + place[REFCOUNT_TABLE]);
    place[BITMAP_DIRECTORY] = be64_load(p + extension_at(p, 0x23852875) + 16);
    place[SNAPSHOT_TABLE] = be64_load(p + 64);
    if (!place[SNAPSHOT_TABLE]) {
        place[INACTIVE_L1] = place[INACTIVE_L2] = 0;
        return;
    }
    place[INACTIVE_L1] = be64_load(p + place[SNAPSHOT_TABLE]);
    place[INACTIVE_L2] = be64_load(p + place[INACTIVE_L1]) & ENTRY_OFFSET_MASK;
    for (unsigned i = 0; i < KINDS; i++) {
        g_assert_cmpuint(place[i], >=, CLUSTER);
        for (unsigned k = 0; k < i; k++) {
            g_assert_cmpuint(place[i], !=, place[k]);
        }
    }
}

/* An image whose second cluster lies over a table of KIND. */
static MemoryDisk *load_damaged(const GByteArray *image, Kind kind)
{
    MemoryDisk *disk = memory_disk_new("disk");
    uint64_t place[KINDS];

    g_byte_array_append(disk->data, image->data, image->len);
    find_tables(image->data, place);
    be64_store(disk->data->data + place[ACTIVE_L2] + 8, place[kind] | ENTRY_COPIED);
    return disk;
}

static int write_over(BlockNode *node)
{
    uint8_t buf[512] = { 0 };

    return node_pwrite(node, CLUSTER + TAIL, buf, sizeof(buf));
}

static int try_options(const GByteArray *image, Kind kind, const char *overlap)
{
    MemoryDisk *disk = load_damaged(image, kind);
    BlockNode *node = open_image(overlap, NULL);
    int ret = write_over(node);

    node_unref(node);
    /* Refused means: marked as corrupt. */
    g_assert_cmpint((disk->data->data[79] & INCOMPAT_CORRUPT) != 0, ==, ret < 0);
    memory_disk_free(disk);
    return ret;
}

/* Without snapshots, and after writes that were all right, a write takes a shorter way. */
static void test_prevented_on_the_short_way(void)
{
    g_autoptr(GByteArray) image = make_image(false);
    static const Kind there[] = { ACTIVE_L1, ACTIVE_L2, REFCOUNT_TABLE, REFCOUNT_BLOCK, BITMAP_DIRECTORY };
    uint8_t buf[512] = { 0 };

    for (unsigned i = 0; i < ARRAY_LEN(there); i++) {
        MemoryDisk *disk = load_damaged(image, there[i]);
        BlockNode *node = open_image(NULL, NULL);

        for (unsigned k = 0; k < 3; k++) {
            g_assert_cmpint(node_pwrite(node, k * 512, buf, sizeof(buf)), ==, 0);
        }
        g_assert_cmpint(write_over(node), ==, -EIO);
        node_unref(node);
        g_assert_true(disk->data->data[79] & INCOMPAT_CORRUPT);
        memory_disk_free(disk);
    }
}

static void test_modes_prevent_what_they_say(void)
{
    g_autoptr(GByteArray) image = make_image(true);

    for (unsigned kind = 0; kind < KINDS; kind++) {
        bool prevented = false;

        g_assert_cmpint(try_options(image, kind, NULL), ==, kind == INACTIVE_L2 ? 0 : -EIO);
        for (unsigned m = 0; m < ARRAY_LEN(modes); m++) {
            g_autofree char *plain = g_strdup_printf("overlap-check=%s", modes[m]);
            g_autofree char *template = g_strdup_printf("overlap-check.template=%s", modes[m]);

            prevented = prevented || g_str_equal(modes[m], kinds[kind].first_mode);
            g_assert_cmpint(try_options(image, kind, plain), ==, prevented ? -EIO : 0);
            g_assert_cmpint(try_options(image, kind, template), ==, prevented ? -EIO : 0);
        }
    }
}

static void test_each_switch_counts(void)
{
    g_autoptr(GByteArray) image = make_image(true);

    for (unsigned kind = 0; kind < KINDS; kind++) {
        g_autofree char *on = g_strdup_printf("overlap-check=none,overlap-check.%s=on",
                                              kinds[kind].name);
        g_autofree char *off = g_strdup_printf("overlap-check.template=all,overlap-check.%s=off",
                                               kinds[kind].name);

        g_assert_cmpint(try_options(image, kind, on), ==, -EIO);
        g_assert_cmpint(try_options(image, kind, off), ==, 0);
    }
}

static bool reopen(const char *overlap)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,node-name=image,file=disk%s", overlap);
    g_autoptr(NodeOpts) opts = node_opts_new();

    g_assert_true(node_opts_add_keyval(opts, text, NULL, NULL));
    return node_reopen(&opts, 1, NULL);
}

static void test_reopen_changes_it(void)
{
    g_autoptr(GByteArray) image = make_image(true);
    MemoryDisk *disk = load_damaged(image, INACTIVE_L2);
    BlockNode *node = open_image(NULL, NULL);

    g_assert_cmpint(write_over(node), ==, 0);
    g_assert_true(reopen(",overlap-check=all,overlap-check.inactive-l2=off"));
    g_assert_cmpint(write_over(node), ==, 0);
    g_assert_false(reopen(",overlap-check=some"));
    g_assert_true(reopen(",overlap-check=none,overlap-check.inactive-l2=on"));
    g_assert_cmpint(write_over(node), ==, -EIO);
    node_unref(node);
    memory_disk_free(disk);
}

/* Snapshots that come and go: what was a table of one is no table any more, and the other way round. */
static void test_snapshots_change_what_is_a_table(void)
{
    g_autoptr(GByteArray) image = make_image(true);
    MemoryDisk *disk = memory_disk_new("disk");
    uint8_t buf[CLUSTER] = { 7 };
    CheckResult result = { 0 };
    BlockNode *node;

    g_byte_array_append(disk->data, image->data, image->len);
    node = open_image("overlap-check=all", NULL);
    for (unsigned round = 0; round < 6; round++) {
        g_autofree char *name = g_strdup_printf("s%u", round);

        for (unsigned i = 0; i < 16; i++) {
            g_assert_cmpint(node_pwrite(node, i * CLUSTER, buf, CLUSTER), ==, 0);
        }
        g_assert_true(node_snapshot_create(node, name, NULL, NULL));
        g_assert_cmpint(node_pwrite(node, 3 * CLUSTER, buf, CLUSTER), ==, 0);
        g_assert_true(node_snapshot_delete(node, round % 2 ? name : "s0", NULL) || round > 0);
    }
    g_assert_true(node_check(node, 0, &result, NULL));
    g_assert_cmpuint(result.corruptions + result.leaks, ==, 0);
    node_unref(node);
    memory_disk_free(disk);
}

/* An L1 entry that leads to the refcount table: what is written through it stays in memory. */
static void test_table_over_table(void)
{
    g_autoptr(GByteArray) image = make_image(true);
    MemoryDisk *disk = memory_disk_new("disk");
    uint64_t place[KINDS];
    uint8_t buf[CLUSTER] = { 0 };
    BlockNode *node;

    g_byte_array_append(disk->data, image->data, image->len);
    find_tables(image->data, place);
    be64_store(disk->data->data + place[ACTIVE_L1], place[REFCOUNT_TABLE] | ENTRY_COPIED);
    node = open_image(NULL, NULL);
    g_assert_cmpint(node_pwrite(node, 9 * CLUSTER, buf, CLUSTER), ==, 0);
    g_assert_cmpint(node_flush(node), ==, -EIO);
    node_unref(node);
    g_assert_cmpmem(disk->data->data + place[REFCOUNT_TABLE], CLUSTER,
                    image->data + place[REFCOUNT_TABLE], CLUSTER);
    memory_disk_free(disk);
}

static void test_bad_values(void)
{
    static const struct { const char *options, *message; } bad[] = {
        { "overlap-check=bogus", "Unsupported value 'bogus' for qcow2 option 'overlap-check'. Allowed "
          "are any of the following: none, constant, cached, all" },
        { "overlap-check=none,overlap-check.template=all", "Conflicting values for qcow2 options "
          "'overlap-check' ('none') and 'overlap-check.template' ('all')" },
        { "overlap-check.main-header=maybe", NULL }, { "overlap-check.bogus=on", NULL },
    };
    g_autoptr(GByteArray) image = make_image(true);
    MemoryDisk *disk = memory_disk_new("disk");

    g_byte_array_append(disk->data, image->data, image->len);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(open_image(bad[i].options, &error));
        g_assert_nonnull(error);
        if (bad[i].message) {
            g_assert_cmpstr(error->message, ==, bad[i].message);
        }
    }
    memory_disk_free(disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    g_test_add_func("/block/qcow2-overlap/modes", test_modes_prevent_what_they_say);
    g_test_add_func("/block/qcow2-overlap/short-way", test_prevented_on_the_short_way);
    g_test_add_func("/block/qcow2-overlap/switches", test_each_switch_counts);
    g_test_add_func("/block/qcow2-overlap/reopen", test_reopen_changes_it);
    g_test_add_func("/block/qcow2-overlap/snapshots", test_snapshots_change_what_is_a_table);
    g_test_add_func("/block/qcow2-overlap/tables", test_table_over_table);
    g_test_add_func("/block/qcow2-overlap/bad", test_bad_values);
    return g_test_run();
}
