/* SPDX-License-Identifier: MIT */
/*
 * vdi, vpc, vhdx and vmdk against a shadow: random operations with power cuts, errors injected at
 * every call, and hostile images; a VHDX log that another program left behind is replayed.
 */
#include "block/grain.h"

#include "base/thread.h"
#include "block/power_bench.h"
#include "block/vhdx.h"

typedef struct Case {
    const char *path, *format, *create;
    uint64_t grain;
    unsigned area_count;
    uint64_t areas[4];         /* of the file: headers and tables */
} Case;

/* clang-format off */
static const Case cases[] = {
    { "vdi",            "vdi",  "",                            MIB,      2, { 0, 512 } },
    { "vdi-static",     "vdi",  "static=on",                   MIB,      2, { 0, 512 } },
    { "vpc",            "vpc",  "force_size=on",               2 * MIB,  3, { 0, 512, 1536 } },
    { "vpc-fixed",      "vpc",  "force_size=on,subformat=fixed", 64 * KIB, 1, { 4 << 20 } },
    { "vhdx",           "vhdx", "block_size=1M",               MIB,      4,
      { 64 << 10, 192 << 10, 2 << 20, 3 << 20 } },
    { "vhdx-fixed",     "vhdx", "block_size=1M,subformat=fixed", MIB,    3,
      { 64 << 10, 192 << 10, 3 << 20 } },
    { "vmdk",           "vmdk", "",                            64 * KIB, 4,
      { 0, 512, 21 * 512, 26 * 512 } },
    { "vmdk-zeroed",    "vmdk", "zeroed_grain=on",             64 * KIB, 3, { 0, 512, 26 * 512 } },
};
/* clang-format on */

static void test_power_cuts(gconstpointer data)
{
    const Case *c = data;
    unsigned ops = power_ops(60);
    PowerBench b;

    power_bench_init(&b, c->format, c->create, 3 * MIB, power_seed(11));
    for (unsigned i = 0; i < ops; i++) {
        power_random_op(&b);
        if (i % 6 == 0) {
            power_cut(&b, 0);
        }
        if (i % 30 == 29) {
            power_bench_reopen(&b);
        }
    }
    power_assert_now(&b);
    power_bench_close(&b);
    power_bench_clear(&b);
}

static void test_errors(gconstpointer data)
{
    const Case *c = data;

    power_error_at_every_call(c->format, c->create, 60, c->grain);
}

static void test_mutated(gconstpointer data)
{
    const Case *c = data;

    power_mutate(c->format, c->create, 150, c->areas, c->area_count, 5);
}

/* The log as [MS-VHDX 2.3] has it, written by hand: two entries, and a stale one behind. */
static size_t put_entry(uint8_t *e, uint64_t sequence, uint32_t tail, const uint8_t *guid,
                        uint64_t offset, uint8_t fill, uint64_t file_end)
{
    uint8_t *d = e + 64, *data = e + 4096;

    memset(e, 0, 8192);
    memcpy(e, "loge", 4);
    le32_store(e + 8, 8192);
    le32_store(e + 12, tail);
    le64_store(e + 16, sequence);
    le32_store(e + 24, 1);
    memcpy(e + 32, guid, 16);
    le64_store(e + 48, file_end);
    le64_store(e + 56, file_end);
    memcpy(d, "desc", 4);
    memset(d + 4, fill, 4);
    memset(d + 8, fill, 8);
    le64_store(d + 16, offset);
    le64_store(d + 24, sequence);
    memset(data, fill, 4096);
    memcpy(data, "data", 4);
    le32_store(data + 4, (uint32_t)(sequence >> 32));
    le32_store(data + 4092, (uint32_t)sequence);
    le32_store(e + 4, vhdx_crc32c(e, 8192, 4));
    return 8192;
}

static void set_log_guid(uint8_t *image, const uint8_t *guid)
{
    for (unsigned i = 1; i <= 2; i++) {
        uint8_t *h = image + i * 64 * KIB;

        memcpy(h + H_LOG_GUID, guid, 16);
        le32_store(h + H_CHECKSUM, vhdx_crc32c(h, VHDX_HEADER_LEN, H_CHECKSUM));
    }
}

static void test_vhdx_log(void)
{
    static const uint8_t guid[16] = "0123456789abcde";
    MemoryDisk *disk = memory_disk_new("log");
    g_autoptr(GError) error = NULL;
    uint8_t *log, buf[8192];
    uint64_t end;
    BlockNode *node;

    power_make_image("vhdx", "log", "size=4M,block_size=1M,subformat=fixed");
    end = disk->data->len;
    log = disk->data->data + MIB;
    set_log_guid(disk->data->data, guid);
    /* It begins near the end of the log and goes round. */
    put_entry(log + MIB - 8192, 7, MIB - 8192, guid, 4 * MIB, 0x11, end);
    put_entry(log, 8, MIB - 8192, guid, 4 * MIB + 4096, 0x22, end + MIB);
    put_entry(log + 64 * KIB, 3, 64 * KIB, guid, 4 * MIB, 0x33, end);

    node = power_open("vhdx", "log", 0, &error);
    g_assert_null(node);
    g_assert_nonnull(strstr(error->message, "needs to be replayed"));
    g_clear_error(&error);
    node = power_open("vhdx", "log", NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    g_assert_cmpint(node_pread(node, 0, buf, sizeof(buf)), ==, 0);
    g_assert_cmpuint(buf[0], ==, 0x11);
    g_assert_cmpuint(buf[4095], ==, 0x11);
    g_assert_cmpuint(buf[4096], ==, 0x22);
    g_assert_cmpuint(buf[8191], ==, 0x22);
    g_assert_cmpuint(disk->data->len, ==, end + MIB);
    node_unref(node);
    /* Done once: what is left of it means nothing any more. */
    node = power_open("vhdx", "log", 0, &error);
    g_assert_no_error(error);
    node_unref(node);
    memory_disk_free(disk);
}

static void test_vhdx_log_without_its_start(void)
{
    static const uint8_t guid[16] = "0123456789abcde";
    MemoryDisk *disk = memory_disk_new("log");
    g_autoptr(GError) error = NULL;
    uint8_t buf[512];
    BlockNode *node;

    power_make_image("vhdx", "log", "size=4M,block_size=1M,subformat=fixed");
    set_log_guid(disk->data->data, guid);
    put_entry(disk->data->data + MIB, 8, 512 * KIB, guid, 4 * MIB, 0x22, disk->data->len);
    node = power_open("vhdx", "log", NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    g_assert_cmpint(node_pread(node, 0, buf, sizeof(buf)), ==, 0);
    g_assert_cmpuint(buf[0], ==, 0);
    node_unref(node);
    memory_disk_free(disk);
}

static void test_stream_optimized_is_written_once(void)
{
    MemoryDisk *disk = memory_disk_new("stream");
    g_autoptr(GError) error = NULL;
    uint8_t buf[1024], got[1024];
    BlockBackend *blk = blk_new(NULL);
    BlockNode *node;

    power_make_image("vmdk", "stream", "size=1M,subformat=streamOptimized");
    node = power_open("vmdk", "stream", NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    g_assert_true(blk_insert_node(blk, node, true, &error));
    memset(buf, 0x5a, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, 70000 / 512 * 512, buf, sizeof(buf), 0), ==, 0);
    g_assert_cmpint(blk_pread(blk, 70000 / 512 * 512, got, sizeof(got)), ==, 0);
    g_assert_cmpmem(got, sizeof(got), buf, sizeof(buf));
    g_assert_cmpint(blk_pwrite(blk, 65536, buf, sizeof(buf), 0), ==, -EIO);
    blk_unref(blk);
    node_unref(node);
    memory_disk_free(disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const Case *c = &cases[i];
        const struct { const char *name; GTestDataFunc fn; } tests[] = {
            { "power-cut", test_power_cuts }, { "error-at-every-call", test_errors },
            { "mutated", test_mutated },
        };

        for (unsigned k = 0; k < ARRAY_LEN(tests); k++) {
            g_autofree char *path = g_strdup_printf("/block/%s/%s", c->path, tests[k].name);

            g_test_add_data_func(path, c, tests[k].fn);
        }
    }
    g_test_add_func("/block/vhdx/log-replay", test_vhdx_log);
    g_test_add_func("/block/vhdx/log-without-start", test_vhdx_log_without_its_start);
    g_test_add_func("/block/vmdk/stream-optimized", test_stream_optimized_is_written_once);
    return g_test_run();
}
