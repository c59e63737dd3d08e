/* SPDX-License-Identifier: MIT */
/* fw_cfg by port and by DMA. */
#include "hw/fw_cfg/fw_cfg.h"
#include "hw/pci/pci_bench.h"

enum { CONTROL = 0x2000, DATA = 0x8000 };
enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

typedef struct Fixture {
    PciBench *b;
    FwCfg *cfg;
    unsigned changes;
    uint8_t last;
} Fixture;

static void changed(void *opaque, const uint8_t *data, size_t len)
{
    Fixture *f = opaque;

    f->changes++;
    f->last = data[len - 1];
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->b = pci_bench_new();
    f->cfg = fw_cfg_create(f->b->vm, &error);
    g_assert_no_error(error);
    g_assert_true(fw_cfg_add_file(f->cfg, "zz", g_strdup("content"), 7, &error));
    g_assert_true(fw_cfg_add_writable_file(f->cfg, "aa", 8, changed, f, &error));
    vm_reset(f->b->vm);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    pci_bench_free(f->b);
}

static uint8_t next(Fixture *f)
{
    return pci_bench_in(f->b, 0x511, 1);
}

static uint32_t dma(Fixture *f, uint32_t control, uint32_t len, uint64_t addr)
{
    uint8_t *ctl = (uint8_t *)memory_region_ram_ptr(&f->b->ram) + CONTROL;

    be32_store(ctl, control);
    be32_store(ctl + 4, len);
    be64_store(ctl + 8, addr);
    pci_bench_out(f->b, 0x514, 0, 4);
    pci_bench_out(f->b, 0x518, __builtin_bswap32(CONTROL), 4);
    return be32_load(ctl);
}

static uint8_t *ram(Fixture *f, gpa_t addr)
{
    return (uint8_t *)memory_region_ram_ptr(&f->b->ram) + addr;
}

static void test_signature_then_zeroes(Fixture *f, gconstpointer data)
{
    pci_bench_out(f->b, 0x510, FW_CFG_SIGNATURE, 2);
    for (const char *p = "QEMU"; *p; p++) {
        g_assert_cmphex(next(f), ==, *p);
    }
    g_assert_cmphex(next(f), ==, 0);
    pci_bench_out(f->b, 0x510, 0x3fff, 2);
    g_assert_cmphex(next(f), ==, 0);
    g_assert_cmphex(pci_bench_in(f->b, 0x514, 4), ==, __builtin_bswap32(0x51454d55));
}

static void test_directory_is_sorted(Fixture *f, gconstpointer data)
{
    uint8_t dir[4 + 128];

    pci_bench_out(f->b, 0x510, FW_CFG_FILE_DIR, 2);
    for (unsigned i = 0; i < sizeof(dir); i++) {
        dir[i] = next(f);
    }
    g_assert_cmpuint(be32_load(dir), ==, 2);
    g_assert_cmpstr((char *)dir + 4 + 8, ==, "aa");
    g_assert_cmpstr((char *)dir + 68 + 8, ==, "zz");
    g_assert_cmpuint(be32_load(dir + 68), ==, 7);
    pci_bench_out(f->b, 0x510, be16_load(dir + 68 + 4), 2);
    g_assert_cmphex(next(f), ==, 'c');
}

static void test_dma_read_pads_with_zeroes(Fixture *f, gconstpointer data)
{
    memset(ram(f, DATA), 0xee, 16);
    g_assert_cmphex(dma(f, FW_CFG_FILE_FIRST << 16 | SELECT | READ, 9, DATA), ==, 0);
    g_assert_cmpint(memcmp(ram(f, DATA), "content\0\0\xee", 10), ==, 0);
    g_assert_cmphex(dma(f, FW_CFG_FILE_FIRST << 16 | SELECT | SKIP, 3, 0), ==, 0);
    g_assert_cmphex(dma(f, READ, 2, DATA), ==, 0);
    g_assert_cmpint(memcmp(ram(f, DATA), "te", 2), ==, 0);
    g_assert_cmphex(dma(f, SKIP, 0xffffffff, 0), ==, 0);
    g_assert_cmphex(dma(f, READ, 1, DATA), ==, 0);
    g_assert_cmphex(*ram(f, DATA), ==, 0);
}

static void test_dma_write_only_where_allowed(Fixture *f, gconstpointer data)
{
    memset(ram(f, DATA), 0x44, 16);
    g_assert_cmphex(dma(f, FW_CFG_FILE_FIRST << 16 | SELECT | WRITE, 2, DATA), ==, ERROR);
    g_assert_cmphex(dma(f, (FW_CFG_FILE_FIRST + 1) << 16 | SELECT | WRITE, 9, DATA), ==, ERROR);
    g_assert_cmpuint(f->changes, ==, 0);
    g_assert_cmphex(dma(f, (FW_CFG_FILE_FIRST + 1) << 16 | SELECT | WRITE, 4, DATA), ==, 0);
    g_assert_cmpuint(f->changes, ==, 0);
    g_assert_cmphex(dma(f, WRITE, 4, DATA), ==, 0);
    g_assert_cmpuint(f->changes, ==, 1);
    g_assert_cmphex(f->last, ==, 0x44);
    g_assert_cmphex(dma(f, FW_CFG_SIGNATURE << 16 | SELECT | READ, 4, 0x1ull << 45), ==, ERROR);
}

static void test_files_have_limits(Fixture *f, gconstpointer data)
{
    g_autofree char *name = g_strnfill(FW_CFG_FILE_NAME_MAX + 1, 'n');
    g_autoptr(GError) error = NULL;

    g_assert_false(fw_cfg_add_file(f->cfg, name, g_strdup(""), 0, &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_false(fw_cfg_add_file(f->cfg, "zz", g_strdup(""), 0, &error));
    g_assert_nonnull(strstr(error->message, "unique"));
}

static void test_position_survives_save_and_load(Fixture *f, gconstpointer data)
{
    pci_bench_out(f->b, 0x510, FW_CFG_SIGNATURE, 2);
    next(f);
    pci_bench_save_load(f->b);
    g_assert_cmphex(next(f), ==, 'E');
}

#define ADD(name, fn) g_test_add("/fw_cfg/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("signature", test_signature_then_zeroes);
    ADD("directory", test_directory_is_sorted);
    ADD("dma-read", test_dma_read_pads_with_zeroes);
    ADD("dma-write", test_dma_write_only_where_allowed);
    ADD("limits", test_files_have_limits);
    ADD("save-load", test_position_survives_save_and_load);
    return g_test_run();
}
