/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: an image of the format FUZZ_FORMAT: opened, mapped, read, checked, written, zeroed,
 * discarded, resized, its snapshots used, repaired.  The bytes are the image; or, behind "PT", they
 * choose how an image is made here, and are patches of it: three bytes of offset, among the sectors
 * that hold more than the guest's data, one of length, data.  Behind "PF" they are changes of
 * fields of such an image (image_fields.h).  Checksums of a patched image are made to fit where bit
 * 7 of the choice is set, so that what is behind them is reached; with bit 6 keys are changed too.
 *
 * With -Dfuzz=true libFuzzer drives it; without, it runs over the files that are its arguments.
 */
#include "base/secret_store.h"
#include "base/thread.h"
#include "block/backend.h"
#include "block/bitmap.h"
#include "block/io.h"
#include "block/memory.h"
#include "block/vhdx.h"
#include "tests/fuzz/image_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_LENGTH (4u << 20)
#define LOOK (1u << 20)
#define DATA 0x5a
#define CRYPT(x) x "key-secret=pass," x "iter-time=1," x "cipher-alg=aes-128"

/* How patched images are made; what a format does not know is left out. */
static const struct { const char *format, *options; } makes[] = {
    { "luks", CRYPT("") ",size=64K" },
    { "qcow2", "cluster_size=512,size=128K" },
    { "qcow2", "cluster_size=4K,size=128K,encrypt.format=luks," CRYPT("encrypt.") },
    { "qcow2", "cluster_size=16K,extended_l2=on,size=256K" },
    { "qcow2", "cluster_size=1K,compat=0.10,size=128K" },
    { "qcow2", "cluster_size=512,refcount_bits=1,size=64K" },
    { "qcow2", "cluster_size=4K,lazy_refcounts=on,compression_type=zstd,size=256K" },
    { "vdi", "size=4M" },
    { "vdi", "static=on,size=2M" },
    { "vhdx", "size=4M,block_size=1M,log_size=1M" },
    { "vmdk", "size=1M" },
    { "vmdk", "subformat=streamOptimized,size=1M" },
    { "vpc", "size=1M" },
    { "vpc", "subformat=fixed,size=256K" },
};

static bool encrypted;         /* the image has a key */
static bool with_keys;         /* change keys too, which takes its time */

static BlockNode *open_image(const char *format, int flags)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    GError *error = NULL;
    BlockNode *node;

    node_opts_set(opts, "driver", format);
    node_opts_set(opts, "discard", "unmap");
    if (g_str_equal(format, "luks")) {
        node_opts_set(opts, "key-secret", "pass");
    } else if (g_str_equal(format, "qcow2") && encrypted) {
        node_opts_set(opts, "encrypt.key-secret", "pass");
    }
    node = node_open("x-memory:fuzz", opts, flags | NODE_OPEN_INLINE_IO | NODE_OPEN_NO_BACKING,
                     &error);
    g_clear_error(&error);
    return node;
}

/* ---- patched images ---- */

/* An image with data, a snapshot and a bitmap where the format has those. */
static GByteArray *make_image(unsigned which)
{
    MemoryDisk *disk = memory_disk_new("fuzz");
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GBytes) key = g_bytes_new_static("open sesame", 11);
    g_autofree uint8_t *buf = g_malloc(5000);
    g_autoptr(GError) error = NULL;
    DirtyBitmap *bitmap;
    GByteArray *made;
    BlockNode *node;

    secret_store_put("pass", key);
    node_opts_add_keyval(opts, makes[which].options, NULL, NULL);
    g_assert_true(image_create("x-memory:fuzz", makes[which].format, opts, &error));
    node = open_image(makes[which].format, NODE_OPEN_RDWR);
    g_assert_nonnull(node);
    memset(buf, DATA, 5000);
    node_pwrite(node, 1000, buf, 5000);
    node_snapshot_create(node, "first", NULL, NULL);
    node_pwrite(node, 3000, buf, 4000);
    bitmap = dirty_bitmap_add(node, "b", 4096, NULL);
    if (bitmap && !dirty_bitmap_make_persistent(node, bitmap, NULL)) {
        dirty_bitmap_remove(node, bitmap);
    }
    node_unref(node);
    made = g_byte_array_new();
    g_byte_array_append(made, disk->data->data, disk->data->len);
    memory_disk_free(disk);
    return made;
}

/* Where patches go: the sectors that are neither zeroes nor data. */
static GArray *list_sectors(const GByteArray *image)
{
    GArray *list = g_array_new(false, false, sizeof(uint32_t));

    for (uint32_t at = 0; at + 512 <= image->len; at += 512) {
        const uint8_t *p = image->data + at;

        if ((p[0] || memcmp(p, p + 1, 511) != 0) && !(p[0] == DATA && p[511] == DATA)) {
            g_array_append_val(list, at);
        }
    }
    return list;
}

static void fit_checksums(uint8_t *p, size_t len)
{
    static const struct { size_t at, len, field; } areas[] = {
        { 64 << 10, VHDX_HEADER_LEN, 4 }, { 128 << 10, VHDX_HEADER_LEN, 4 },
        { 192 << 10, 64 << 10, 4 }, { 256 << 10, 64 << 10, 4 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(areas) && g_str_equal(FUZZ_FORMAT, "vhdx"); i++) {
        if (areas[i].at + areas[i].len <= len) {
            uint8_t *area = p + areas[i].at;

            le32_store(area + 4, vhdx_crc32c(area, areas[i].len, areas[i].field));
        }
    }
}

/* Of a qcow2 image that was made here: a sector that begins with LUKS's name. */
static uint64_t luks_header_at(const GByteArray *image)
{
    for (uint64_t at = 0; at + 592 <= image->len; at += 512) {
        if (memcmp(image->data + at, "LUKS\xba\xbe", 6) == 0) {
            return at;
        }
    }
    return image->len;
}

/* Few rounds, so that many images are tried. */
static void clamp_rounds(GByteArray *image, uint64_t header)
{
    static const uint16_t at[] = { 164, 212, 260, 308, 356, 404, 452, 500, 548 };

    for (unsigned i = 0; i < ARRAY_LEN(at) && header + 592 <= image->len; i++) {
        uint8_t *p = image->data + header + at[i];

        be32_store(p, be32_load(p) % 64);
    }
}

static void patch_sectors(GByteArray *image, const GArray *sectors, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at + 4 < size;) {
        uint32_t offset = le32_load(data + at) & 0xffffff;
        size_t n = MIN((size_t)data[at + 3] + 1, size - at - 4);

        offset = g_array_index(sectors, uint32_t, (offset >> 9) % sectors->len) + (offset & 511);
        for (size_t i = 0; i < n; i++) {
            image->data[(offset + i) % image->len] = data[at + 4 + i];
        }
        at += 4 + n;
    }
}

/* Bytes 0 and 1 of DATA: what they are, and how the image is made. */
static void patch_image(GByteArray *image, const uint8_t *data, size_t size)
{
    static GByteArray *made[ARRAY_LEN(makes)];
    static GArray *fields[ARRAY_LEN(makes)];
    static GArray *sectors[ARRAY_LEN(makes)];
    unsigned which[ARRAY_LEN(makes)], count = 0, use;

    for (unsigned i = 0; i < ARRAY_LEN(makes); i++) {
        if (g_str_equal(makes[i].format, FUZZ_FORMAT)) {
            which[count++] = i;
        }
    }
    if (!count) {
        return;
    }
    use = which[(data[1] & 0x3f) % count];
    encrypted = strstr(makes[use].options, "encrypt.") != NULL;
    if (!made[use]) {
        made[use] = make_image(use);
        sectors[use] = list_sectors(made[use]);
        fields[use] = image_fields(makes[use].format, made[use]);
    }
    g_byte_array_append(image, made[use]->data, made[use]->len);
    if (data[0] == 'F') {
        image_fields_edit(image, fields[use], data + 2, size - 2);
    } else {
        patch_sectors(image, sectors[use], data + 2, size - 2);
    }
    if (g_str_equal(FUZZ_FORMAT, "luks")) {
        clamp_rounds(image, 0);
    } else if (encrypted) {
        clamp_rounds(image, luks_header_at(made[use]));
    }
    with_keys = data[1] & 0x40;
    if (data[1] & 0x80) {
        fit_checksums(image->data, image->len);
    }
}

/* ---- using it ---- */

static void co_map(void *opaque)
{
    BlockNode *node = opaque;
    uint64_t at = 0, end = node_length(node);

    for (unsigned n = 0; at < end && n < 64; n++) {
        BlockStatus status = { 0 };

        if (co_node_status(node, at, end - at, &status) < 0 || !status.bytes) {
            break;
        }
        at += status.bytes;
    }
}

static void read_all(void)
{
    BlockNode *node = open_image(FUZZ_FORMAT, NODE_OPEN_CHECK);
    CheckResult result = { 0 };
    GError *error = NULL;
    uint8_t buf[3000];
    uint64_t end;

    if (!node) {
        return;
    }
    node_check(node, 0, &result, &error);
    g_clear_error(&error);
    end = MIN(node_length(node), LOOK);
    for (uint64_t at = 0; at < end; at += 60000) {
        node_pread(node, at, buf, sizeof(buf));
    }
    graph_run(node, co_map, node);
    if (node_snapshot_load_tmp(node, "1", &error)) {
        node_pread(node, 0, buf, sizeof(buf));
    }
    g_clear_error(&error);
    node_unref(node);
}

/* A key more, and one less. */
static void change_keys(BlockNode *node)
{
    static const char *const texts[] = {
        "state=active,new-secret=pass,iter-time=1", "state=inactive,keyslot=0",
        "state=inactive,old-secret=pass",
    };
    bool inner = g_str_equal(FUZZ_FORMAT, "qcow2");

    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        g_autoptr(NodeOpts) opts = node_opts_new();
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) words = g_strsplit(texts[i], ",", -1);

        for (unsigned k = 0; words[k]; k++) {
            g_auto(GStrv) pair = g_strsplit(words[k], "=", 2);
            g_autofree char *key = g_strconcat(inner ? "encrypt." : "", pair[0], NULL);

            node_opts_set(opts, key, pair[1]);
        }
        node_amend(node, opts, &error);
    }
}

static void change_all(void)
{
    BlockNode *node = open_image(FUZZ_FORMAT, NODE_OPEN_RDWR);
    BlockBackend *blk = blk_new(NULL);
    uint8_t buf[3000] = { 1 };
    GError *error = NULL;
    uint64_t end;

    if (!node || !blk_insert_node(blk, node, true, NULL)) {
        node_unref(node);
        blk_unref(blk);
        return;
    }
    end = MIN(node_length(node), LOOK);
    for (uint64_t at = 100; at + sizeof(buf) < end; at += 70000) {
        blk_pwrite(blk, at, buf, sizeof(buf), 0);
    }
    if (end >= 8192) {
        blk_write_zeroes(blk, end / 2 & ~511ull, 4096, BLK_REQ_MAY_UNMAP);
        blk_discard(blk, 0, 4096);
    }
    node_snapshot_create(node, "fuzz", NULL, &error);
    g_clear_error(&error);
    if (node_length(node) < LOOK) {
        blk_truncate(blk, node_length(node) + 65536, NULL, NULL);
    }
    node_snapshot_apply(node, "first", &error);
    g_clear_error(&error);
    node_snapshot_delete(node, "first", &error);
    g_clear_error(&error);
    if (node->type->amend && with_keys && (g_str_equal(FUZZ_FORMAT, "luks") || encrypted)) {
        change_keys(node);
    }
    blk_flush(blk);
    blk_unref(blk);
    node_unref(node);
}

static void repair(void)
{
    BlockNode *node = open_image(FUZZ_FORMAT, NODE_OPEN_RDWR | NODE_OPEN_CHECK);
    CheckResult result = { 0 };
    GError *error = NULL;

    if (node) {
        node_check(node, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, &result, &error);
        g_clear_error(&error);
        node_unref(node);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GByteArray) image = g_byte_array_new();
    MemoryDisk *disk;

    if (size > MAX_LENGTH) {
        return 0;
    }
    thread_set_main();
    encrypted = with_keys = false;
    if (size > 2 && data[0] == 'P' && (data[1] == 'T' || data[1] == 'F')) {
        patch_image(image, data + 1, size - 1);
    } else {
        g_byte_array_append(image, data, (guint)size);
    }
    disk = memory_disk_new("fuzz");
    disk->max_length = 64u << 20;
    g_byte_array_append(disk->data, image->data, image->len);
    read_all();
    change_all();
    repair();
    memory_disk_free(disk);
    return 0;
}

#ifdef FUZZ_MAIN
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        gsize size;

        if (!g_file_get_contents(argv[i], &data, &size, NULL)) {
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    }
    return 0;
}
#endif
