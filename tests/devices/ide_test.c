/* SPDX-License-Identifier: MIT */
/* PIIX IDE with a disk and a CD drive over memory: PIO, DMA, packets, errors, resets. */
#include <errno.h>

#include "base/event_loop.h"
#include "block/graph.h"
#include "block/memory.h"
#include "hw/ide/ide.h"
#include "hw/ide/piix_ide.h"
#include "hw/pci/pci_bench.h"

enum { HD_SECTORS = 4096, CD_BLOCKS = 200, IRQ14 = 14, IRQ15 = 15, BMDMA = 0xc000,
       PRDS = 0x1000, BUFFER = 0x10000 };
enum { HD = 0x1f0, CD = 0x170 };      /* command blocks; the control block is 206h above */

typedef struct Fixture {
    PciBench *b;
    MemoryDisk *hd, *cd;
    BlockNode *nodes[2];
} Fixture;

static unsigned serial;               /* node names are unique in a process */

static MemoryDisk *add_drive(Fixture *f, PciDevice *ide, unsigned channel, const char *type,
                             size_t bytes, unsigned unit_bytes)
{
    g_autofree char *name = g_strdup_printf("d%u", serial++);
    g_autofree char *file = g_strdup_printf("x-memory:%s", name);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;
    MemoryDisk *disk = memory_disk_new(name);
    Device *dev = device_new(f->b->vm, type, &error);
    bool ok;

    g_byte_array_set_size(disk->data, bytes);
    memset(disk->data->data, 0, bytes);
    for (unsigned i = 0; i < bytes / unit_bytes; i++) {
        le32_store(disk->data->data + (size_t)i * unit_bytes, i);
    }
    node_opts_set(opts, "driver", "raw");
    node_opts_set(opts, "node-name", name);
    f->nodes[channel] = node_open(file, opts, NODE_OPEN_RDWR, &error);
    g_assert_no_error(error);
    dev->id = g_strdup_printf("ide%u", channel);
    ok = object_set_text(OBJECT(dev), "drive", name, &error) &&
         device_realize(dev, &piix_ide_bus(ide, channel)->bus, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    object_unref(OBJECT(dev));
    return disk;
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    PciDevice *ide;

    f->b = pci_bench_new();
    ide = piix_ide_create(f->b->bus, PCI_DEVFN(1, 1), pci_bench_pin(f->b, IRQ14),
                          pci_bench_pin(f->b, IRQ15), &error);
    g_assert_no_error(error);
    f->hd = add_drive(f, ide, 0, "ide-hd", HD_SECTORS * 512, 512);
    f->cd = add_drive(f, ide, 1, "ide-cd", CD_BLOCKS * 2048, 2048);
    vm_reset(f->b->vm);
    pci_cfg_write(f->b, ide, 0x20, BMDMA | 1, 4);
    pci_cfg_write(f->b, ide, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER, 2);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *id = g_strdup_printf("ide%u", i);

        device_unplug(device_find(f->b->vm, id));
        node_unref(f->nodes[i]);
    }
    memory_disk_free(f->hd);
    memory_disk_free(f->cd);
    pci_bench_free(f->b);
}

static uint8_t in(Fixture *f, uint16_t port)
{
    return pci_bench_in(f->b, port, 1);
}

static void out(Fixture *f, uint16_t port, uint8_t value)
{
    pci_bench_out(f->b, port, value, 1);
}

static uint8_t alt_status(Fixture *f, uint16_t base)
{
    return in(f, base + 0x206);
}

/* Until BSY falls; the status, read without acknowledging. */
static uint8_t settle(Fixture *f, uint16_t base)
{
    for (unsigned i = 0; alt_status(f, base) & ATA_BSY; i++) {
        g_assert_cmpuint(i, <, 100000);
        event_loop_iterate(event_loop_main(), false);
    }
    return alt_status(f, base);
}

static void run_loop(Fixture *f)
{
    while (event_loop_iterate(event_loop_main(), false)) {
    }
    for (BlockBackend *blk = NULL; (blk = blk_next(blk));) {
        blk_drain(blk);
    }
}

static void command28(Fixture *f, uint8_t cmd, uint32_t lba, uint8_t count)
{
    out(f, HD + 6, 0xe0 | lba >> 24);
    out(f, HD + 2, count);
    out(f, HD + 3, lba);
    out(f, HD + 4, lba >> 8);
    out(f, HD + 5, lba >> 16);
    out(f, HD + 7, cmd);
}

static void read_words(Fixture *f, uint16_t base, void *buf, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 2) {
        le16_store((uint8_t *)buf + i, pci_bench_in(f->b, base, 2));
    }
}

static void packet(Fixture *f, uint16_t limit, bool dma, const uint8_t cdb[12])
{
    out(f, CD + 6, 0xa0);
    out(f, CD + 1, dma);
    out(f, CD + 4, limit);
    out(f, CD + 5, limit >> 8);
    out(f, CD + 7, 0xa0);
    g_assert_cmphex(settle(f, CD) & (ATA_DRQ | ATA_ERR), ==, ATA_DRQ);
    for (unsigned i = 0; i < 12; i += 2) {
        pci_bench_out(f->b, CD, le16_load(cdb + i), 2);
    }
}
#define PACKET(f, limit, dma, ...) packet(f, limit, dma, (const uint8_t[12]){ __VA_ARGS__ })

static void prd(Fixture *f, unsigned i, uint32_t addr, uint16_t len, bool last)
{
    pci_bench_store(f->b, PRDS + 8 * i, addr, 4);
    pci_bench_store(f->b, PRDS + 8 * i + 4, len | (last ? 0x80000000u : 0), 4);
}

static void bm_start(Fixture *f, unsigned channel, bool to_memory)
{
    pci_bench_out(f->b, BMDMA + 8 * channel + 4, PRDS, 4);
    out(f, BMDMA + 8 * channel, to_memory ? 9 : 1);
}

/* ---- the disk ---- */

static void test_identify(Fixture *f, gconstpointer data)
{
    uint8_t id[512];

    command28(f, 0xec, 0, 0);
    g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
    g_assert_true(pci_bench_irq(f->b, IRQ14));
    g_assert_cmphex(in(f, HD + 7), ==, ATA_DRDY | ATA_DSC | ATA_DRQ);
    g_assert_false(pci_bench_irq(f->b, IRQ14));
    read_words(f, HD, id, sizeof(id));
    g_assert_cmpuint(le32_load(id + 120), ==, HD_SECTORS);
    g_assert_cmpuint(le64_load(id + 200), ==, HD_SECTORS);
    g_assert_cmpint(memcmp(id + 54, "EQUMH RADDSI K", 14), ==, 0);
    g_assert_cmphex(alt_status(f, HD) & ATA_DRQ, ==, 0);
}

static void test_pio_read(Fixture *f, gconstpointer data)
{
    uint8_t sector[512];

    command28(f, 0x20, 1000, 3);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(settle(f, HD) & (ATA_DRQ | ATA_ERR), ==, ATA_DRQ);
        read_words(f, HD, sector, 512);
        g_assert_cmpuint(le32_load(sector), ==, 1000 + i);
    }
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmpuint(f->b->edges[IRQ14], ==, 1);      /* nobody read the status in between */
}

static void test_pio_write_lba48(Fixture *f, gconstpointer data)
{
    static const uint8_t high[] = { 0, 0, 0, 0 }, low[] = { 2, 0x10, 0x02, 0 };

    out(f, HD + 6, 0x40);
    for (unsigned i = 0; i < 4; i++) {
        out(f, HD + 2 + i, high[i]);
        out(f, HD + 2 + i, low[i]);
    }
    out(f, HD + 7, 0x39);             /* WRITE MULTIPLE EXT: both sectors in one phase */
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
        pci_bench_out(f->b, HD, 0xbe00 + (i >> 8), 2);
    }
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(le16_load(f->hd->data->data + 0x210 * 512), ==, 0xbe00);
    g_assert_cmphex(le16_load(f->hd->data->data + 0x211 * 512 + 510), ==, 0xbe01);
    g_assert_cmphex(le16_load(f->hd->data->data + 0x212 * 512), ==, 0x212);
}

static void test_outside_the_medium(Fixture *f, gconstpointer data)
{
    command28(f, 0x20, HD_SECTORS - 1, 2);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_ERR);
    g_assert_cmphex(in(f, HD + 1), ==, ATA_IDNF);
    g_assert_true(pci_bench_irq(f->b, IRQ14));
    command28(f, 0x20, HD_SECTORS - 1, 1);
    g_assert_cmphex(settle(f, HD) & (ATA_DRQ | ATA_ERR), ==, ATA_DRQ);
}

static void test_unknown_command_aborts(Fixture *f, gconstpointer data)
{
    command28(f, 0xfe, 0, 0);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_ERR);
    g_assert_cmphex(in(f, HD + 1), ==, ATA_ABRT);
}

static void test_dma_read_scatters(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 512 + 2, false);
    prd(f, 1, BUFFER + 0x1000, 512 - 2, true);
    command28(f, 0xc8, 77, 2);
    bm_start(f, 0, true);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(in(f, BMDMA + 2) & 7, ==, 4);
    g_assert_cmpuint(pci_bench_load(f->b, BUFFER, 4), ==, 77);
    g_assert_cmpuint(pci_bench_load(f->b, BUFFER + 512, 2), ==, 78);
    g_assert_true(pci_bench_irq(f->b, IRQ14));
}

static void test_dma_table_too_short(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 512, true);
    command28(f, 0xc8, 0, 2);
    bm_start(f, 0, true);
    g_assert_cmphex(settle(f, HD) & ATA_ERR, ==, ATA_ERR);
    g_assert_cmphex(in(f, BMDMA + 2) & 3, ==, 2);
}

static void test_trim(Fixture *f, gconstpointer data)
{
    f->hd->logging = true;
    memset(memory_region_ram_ptr(&f->b->ram) + BUFFER, 0, 512);
    pci_bench_store(f->b, BUFFER, 5 | 3ull << 48, 8);
    pci_bench_store(f->b, BUFFER + 8, (HD_SECTORS - 1) | 2ull << 48, 8);   /* beyond the end */
    prd(f, 0, BUFFER, 512, true);
    out(f, HD + 1, 1);
    out(f, HD + 2, 0);                /* a 48-bit command: the high byte of the count */
    command28(f, 0x06, 0, 1);
    bm_start(f, 0, false);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_ERR);
    g_assert_cmphex(in(f, HD + 1), ==, ATA_IDNF);
}

static void test_failed_request_reports(Fixture *f, gconstpointer data)
{
    f->hd->fail_countdown = 0;
    f->hd->fail_errno = EIO;
    command28(f, 0x20, 0, 1);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_ERR);
    g_assert_cmphex(in(f, HD + 1), ==, ATA_UNC);
}

/* No space stops the VM; the same data goes to the same place when it runs again. */
static void test_stopped_dma_is_repeated(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 512, false);
    prd(f, 1, BUFFER + 512, 512, true);
    pci_bench_store(f->b, BUFFER, 0x11223344, 4);
    pci_bench_store(f->b, BUFFER + 512, 0x55667788, 4);
    f->hd->fail_countdown = 0;
    f->hd->fail_errno = ENOSPC;
    command28(f, 0xca, 9, 2);
    bm_start(f, 0, false);
    run_loop(f);
    g_assert_cmphex(alt_status(f, HD) & ATA_BSY, ==, ATA_BSY);
    f->b->vm->state = RUN_STATE_IO_ERROR;
    vm_start(f->b->vm);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(le32_load(f->hd->data->data + 9 * 512), ==, 0x11223344);
    g_assert_cmphex(le32_load(f->hd->data->data + 10 * 512), ==, 0x55667788);
}

static void test_stopped_flush_is_repeated(Fixture *f, gconstpointer data)
{
    f->hd->fail_countdown = 0;
    f->hd->fail_errno = ENOSPC;
    command28(f, 0xe7, 0, 0);
    run_loop(f);
    f->hd->fail_countdown = -1;
    g_assert_cmphex(alt_status(f, HD) & ATA_BSY, ==, ATA_BSY);
    f->b->vm->state = RUN_STATE_IO_ERROR;
    vm_start(f->b->vm);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
}

/* ---- resets while a request is in flight ---- */

static void soft_reset(Fixture *f, uint16_t base)
{
    out(f, base + 0x206, ATA_SRST);
    out(f, base + 0x206, 0);
}

static void test_soft_reset_forgets_dma(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 0, true);
    command28(f, 0xc8, 0, 128);
    bm_start(f, 0, true);
    g_assert_cmphex(alt_status(f, HD) & ATA_BSY, ==, ATA_BSY);
    soft_reset(f, HD);
    run_loop(f);
    g_assert_cmphex(alt_status(f, HD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(in(f, HD + 1), ==, 1);
    g_assert_false(pci_bench_irq(f->b, IRQ14));
}

static void test_reset_forgets_raw_cd_dma(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 0, false);
    prd(f, 1, BUFFER + 0x10000, 0, false);
    prd(f, 2, BUFFER + 0x20000, 0, true);
    bm_start(f, 1, true);
    PACKET(f, 0, true, 0xbe, 0, 0, 0, 0, 0, 0, 0, 60, 0xf8);
    g_assert_cmphex(alt_status(f, CD) & ATA_BSY, ==, ATA_BSY);
    out(f, CD + 7, 0x08);             /* DEVICE RESET */
    run_loop(f);
    g_assert_cmphex(alt_status(f, CD), ==, 0);
    g_assert_cmphex(in(f, CD + 4), ==, 0x14);
    g_assert_cmphex(in(f, CD + 5), ==, 0xeb);
}

static void test_stopped_bus_master_aborts_the_command(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 512, true);
    command28(f, 0xc8, 0, 1);
    bm_start(f, 0, true);
    out(f, BMDMA, 8);
    run_loop(f);
    g_assert_cmphex(in(f, BMDMA + 2) & 1, ==, 0);
    g_assert_cmphex(alt_status(f, HD), ==, ATA_DRDY | ATA_ERR);
    g_assert_cmphex(in(f, HD + 1), ==, ATA_ABRT);
    command28(f, 0x20, 3, 1);
    g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
}

static void test_system_reset_in_flight(Fixture *f, gconstpointer data)
{
    command28(f, 0x20, 0, 1);
    vm_reset(f->b->vm);
    run_loop(f);
    g_assert_cmphex(alt_status(f, HD), ==, ATA_DRDY | ATA_DSC);
}

/* ---- the CD drive ---- */

static void test_cd_signature(Fixture *f, gconstpointer data)
{
    out(f, CD + 6, 0xa0);
    out(f, CD + 7, 0xec);
    g_assert_cmphex(settle(f, CD) & ATA_ERR, ==, ATA_ERR);
    g_assert_cmphex(in(f, CD + 4), ==, 0x14);
    g_assert_cmphex(in(f, CD + 5), ==, 0xeb);
}

static void test_inquiry_of_odd_length_ends(Fixture *f, gconstpointer data)
{
    uint8_t reply[6] = { 0 };

    PACKET(f, 64, false, 0x12, 0, 0, 0, 5);
    g_assert_cmphex(settle(f, CD) & (ATA_DRQ | ATA_ERR), ==, ATA_DRQ);
    g_assert_cmphex(in(f, CD + 2) & 3, ==, ATAPI_IO);
    g_assert_cmpuint(in(f, CD + 4), ==, 5);
    read_words(f, CD, reply, sizeof(reply));
    g_assert_cmphex(reply[0], ==, 0x05);
    g_assert_cmphex(reply[1], ==, 0x80);
    g_assert_cmphex(settle(f, CD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(in(f, CD + 2) & 3, ==, ATAPI_IO | ATAPI_CD);
}

/* Page 0x83 names the drive by serial number, model and, where there is one, world wide name. */
static void test_cd_tells_who_it_is(Fixture *f, gconstpointer data)
{
    uint8_t page[100];

    PACKET(f, 256, false, 0x12, 1, 0x00, 0, 255);
    settle(f, CD);
    read_words(f, CD, page, 6);
    g_assert_cmpmem(page, 6, ((uint8_t[]){ 0x05, 0x00, 0, 2, 0x00, 0x83 }), 6);
    PACKET(f, 256, false, 0x12, 1, 0x83, 0, 255);
    settle(f, CD);
    g_assert_cmpuint(in(f, CD + 4), ==, sizeof(page));
    read_words(f, CD, page, sizeof(page));
    g_assert_cmpmem(page, 8, ((uint8_t[]){ 0x05, 0x83, 0, 96, 0x02, 0x00, 0, 20 }), 8);
    g_assert_cmpmem(page + 8, 7, "QM00003", 7);
    g_assert_cmpmem(page + 28, 4, ((uint8_t[]){ 0x02, 0x01, 0, 68 }), 4);
    g_assert_cmpmem(page + 32, 20, "ATA     QEMU DVD-ROM", 20);
    g_assert_cmpmem(page + 80, 7, "QM00003", 7);
    PACKET(f, 256, false, 0x12, 1, 0x80, 0, 255);
    g_assert_cmphex(settle(f, CD) & ATA_ERR, ==, ATA_ERR);
}

static void test_toc(Fixture *f, gconstpointer data)
{
    uint8_t toc[20];

    PACKET(f, 64, false, 0x43, 0, 0, 0, 0, 0, 0, 0, 20);
    settle(f, CD);
    read_words(f, CD, toc, sizeof(toc));
    g_assert_cmpuint(be16_load(toc), ==, 18);
    g_assert_cmphex(toc[6], ==, 1);
    g_assert_cmpuint(be32_load(toc + 8), ==, 0);
    g_assert_cmphex(toc[14], ==, 0xaa);
    g_assert_cmpuint(be32_load(toc + 16), ==, CD_BLOCKS);
}

/* More sectors than the buffer holds: a short last phase does not shrink the ones after it. */
static void test_cd_read_keeps_its_byte_limit(Fixture *f, gconstpointer data)
{
    unsigned got = 0, phases = 0;

    PACKET(f, 0xfffe, false, 0x28, 0, 0, 0, 0, 100, 0, 0, 64);
    while (settle(f, CD) & ATA_DRQ) {
        unsigned len = in(f, CD + 4) | in(f, CD + 5) << 8;

        for (unsigned i = 0; i < len; i += 2, got += 2) {
            uint16_t word = pci_bench_in(f->b, CD, 2);

            g_assert_cmpuint(word, ==, got % 2048 ? 0 : 100 + got / 2048);
        }
        phases++;
    }
    g_assert_cmpuint(got, ==, 64 * 2048);
    g_assert_cmpuint(phases, ==, 4);
}

static void test_cd_dma_read(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 4096, true);
    PACKET(f, 0, true, 0xa8, 0, 0, 0, 0, 5, 0, 0, 0, 2);
    bm_start(f, 1, true);
    g_assert_cmphex(settle(f, CD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmpuint(pci_bench_load(f->b, BUFFER + 2048, 4), ==, 6);
    g_assert_true(pci_bench_irq(f->b, IRQ15));
}

static void test_raw_sectors_fit(Fixture *f, gconstpointer data)
{
    unsigned got = 0;

    PACKET(f, 0xfffe, false, 0xbe, 0, 0, 0, 0, 0, 0, 0, 60, 0xf8);
    while (settle(f, CD) & ATA_DRQ) {
        uint16_t word = pci_bench_in(f->b, CD, 2);

        if (got % 2352 == 16) {
            g_assert_cmpuint(word, ==, got / 2352);
        }
        got += 2;
    }
    g_assert_cmpuint(got, ==, 60 * 2352);
}

static void expect_sense(Fixture *f, uint8_t key, uint8_t asc)
{
    uint8_t sense[18];

    g_assert_cmphex(settle(f, CD) & ATA_ERR, ==, ATA_ERR);
    g_assert_cmphex(in(f, CD + 1) >> 4, ==, key);
    PACKET(f, 64, false, 0x03, 0, 0, 0, 18);
    settle(f, CD);
    read_words(f, CD, sense, sizeof(sense));
    g_assert_cmphex(sense[2], ==, key);
    g_assert_cmphex(sense[12], ==, asc);
}

static void test_cd_read_past_the_end(Fixture *f, gconstpointer data)
{
    PACKET(f, 2048, false, 0x28, 0, 0, 0, 0, CD_BLOCKS, 0, 0, 1);
    expect_sense(f, 5, 0x21);
}

static void test_medium_change(Fixture *f, gconstpointer data)
{
    BlockBackend *blk = blk_by_device("ide1");

    g_assert_true(blk_open_tray(blk, false, NULL));
    PACKET(f, 0, false, 0x00);
    expect_sense(f, 2, 0x3a);
    g_assert_true(blk_close_tray(blk, NULL));
    PACKET(f, 0, false, 0x00);
    expect_sense(f, 6, 0x28);
    PACKET(f, 0, false, 0x00);
    g_assert_cmphex(settle(f, CD), ==, ATA_DRDY | ATA_DSC);
}

/* ---- state ---- */

static void test_save_and_load(Fixture *f, gconstpointer data)
{
    command28(f, 0xc6, 0, 4);
    command28(f, 0x40, 0x123, 7);
    pci_bench_out(f->b, BMDMA + 4, 0x5678, 4);
    pci_bench_save_load(f->b);
    g_assert_cmphex(in(f, HD + 3), ==, 0x23);
    g_assert_cmphex(in(f, HD + 4), ==, 0x01);
    g_assert_cmpuint(in(f, HD + 2), ==, 7);
    g_assert_cmphex(pci_bench_in(f->b, BMDMA + 4, 4), ==, 0x5678);
    command28(f, 0xc4, 8, 8);         /* READ MULTIPLE still by four */
    for (unsigned i = 0; i < 2 * 1024; i++) {
        g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
        pci_bench_in(f->b, HD, 2);
    }
    g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, 0);
}

/* In the middle of the second of three blocks of two sectors. */
static void test_save_in_pio_read(Fixture *f, gconstpointer data)
{
    uint8_t rest[6 * 512];

    command28(f, 0xc6, 0, 2);
    command28(f, 0xc4, 20, 6);
    g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
    read_words(f, HD, rest, 2 * 512);
    g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
    read_words(f, HD, rest, 100);
    pci_bench_save_load(f->b);
    read_words(f, HD, rest, 2 * 512 - 100);
    g_assert_cmpmem(rest, 2 * 512 - 100, f->hd->data->data + 22 * 512 + 100, 2 * 512 - 100);
    g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
    read_words(f, HD, rest, 2 * 512);
    g_assert_cmpmem(rest, 2 * 512, f->hd->data->data + 24 * 512, 2 * 512);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
}

static void test_save_in_pio_write(Fixture *f, gconstpointer data)
{
    command28(f, 0x30, 50, 2);
    for (unsigned i = 0; i < 512; i++) {
        if (i == 100 || i == 300) {
            pci_bench_save_load(f->b);
        }
        g_assert_cmphex(settle(f, HD) & ATA_DRQ, ==, ATA_DRQ);
        pci_bench_out(f->b, HD, 0x4000 + i, 2);
    }
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(le16_load(f->hd->data->data + 50 * 512 + 2 * i), ==, 0x4000 + i);
    }
}

/* READ(10) of 40 sectors, more than the buffer holds. */
static void test_save_in_cd_read(Fixture *f, gconstpointer data)
{
    g_autofree uint8_t *got = g_malloc(40 * 2048);

    PACKET(f, 0x800, false, 0x28, 0, 0, 0, 0, 5, 0, 0, 40);
    for (unsigned i = 0; i < 40; i++) {
        g_assert_cmphex(settle(f, CD) & ATA_DRQ, ==, ATA_DRQ);
        read_words(f, CD, got + i * 2048, 500);
        if (i % 9 == 1) {
            pci_bench_save_load(f->b);
        }
        read_words(f, CD, got + i * 2048 + 500, 2048 - 500);
    }
    g_assert_cmphex(settle(f, CD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmpmem(got, 40 * 2048, f->cd->data->data + 5 * 2048, 40 * 2048);
}

static void test_save_in_packet(Fixture *f, gconstpointer data)
{
    static const uint8_t cdb[12] = { 0x25 };

    out(f, CD + 1, 0);
    out(f, CD + 5, 8);
    out(f, CD + 7, 0xa0);
    for (unsigned i = 0; i < 12; i += 2) {
        if (i == 6) {
            pci_bench_save_load(f->b);
        }
        pci_bench_out(f->b, CD, le16_load(cdb + i), 2);
    }
    g_assert_cmphex(settle(f, CD) & ATA_DRQ, ==, ATA_DRQ);
    pci_bench_in(f->b, CD, 4);
    g_assert_cmphex(pci_bench_in(f->b, CD, 4), ==, 0x00080000);
}

static void run_again(Fixture *f)
{
    pci_bench_save_load(f->b);
    f->b->vm->state = RUN_STATE_PAUSED;
    vm_start(f->b->vm);
}

/* The drive waits for the bus master: a disk, then a CD. */
static void test_save_before_dma(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 4096, true);
    command28(f, 0xc8, 7, 8);
    run_again(f);
    bm_start(f, 0, true);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    for (unsigned i = 0; i < 4096; i += 8) {
        g_assert_cmphex(pci_bench_load(f->b, BUFFER + i, 8), ==,
                        le64_load(f->hd->data->data + 7 * 512 + i));
    }
    PACKET(f, 0, true, 0x28, 0, 0, 0, 0, 3, 0, 0, 2);
    run_again(f);
    bm_start(f, 1, true);
    g_assert_cmphex(settle(f, CD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(pci_bench_load(f->b, BUFFER + 2048, 8), ==,
                    le64_load(f->cd->data->data + 4 * 2048));
}

/* An I/O error stopped a transfer; the loaded VM repeats it. */
static void test_save_after_an_error(Fixture *f, gconstpointer data)
{
    prd(f, 0, BUFFER, 512, true);
    pci_bench_store(f->b, BUFFER, 0x11223344, 4);
    f->hd->fail_countdown = 0;
    f->hd->fail_errno = ENOSPC;
    command28(f, 0xca, 9, 1);
    bm_start(f, 0, false);
    run_loop(f);
    f->hd->fail_countdown = -1;
    run_again(f);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
    g_assert_cmphex(le32_load(f->hd->data->data + 9 * 512), ==, 0x11223344);
}

/* The line was up when the state was taken: the next request still gives an edge. */
static void test_interrupt_after_load(Fixture *f, gconstpointer data)
{
    unsigned edges;

    command28(f, 0xe5, 0, 0);
    g_assert_true(pci_bench_irq(f->b, IRQ14));
    pci_bench_save_load(f->b);
    edges = f->b->edges[IRQ14];
    command28(f, 0xe5, 0, 0);
    g_assert_cmpuint(f->b->edges[IRQ14], ==, edges + 1);
}

static void smart(Fixture *f, uint8_t feature, uint8_t low, uint8_t page[512])
{
    out(f, HD + 1, feature);
    command28(f, 0xb0, 0xc24f00 | low, 1);
    if (!page) {
        g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_DSC);
        return;
    }
    g_assert_cmphex(settle(f, HD) & (ATA_DRQ | ATA_ERR), ==, ATA_DRQ);
    read_words(f, HD, page, 512);
}

/* What SMART remembers, and a self-test that had not ended. */
static void test_smart_survives_a_load(Fixture *f, gconstpointer data)
{
    uint8_t page[512];

    command28(f, 0x20, HD_SECTORS + 5, 1);
    smart(f, 0xd4, 2, NULL);
    run_again(f);
    run_loop(f);
    smart(f, 0xd5, 1, page);
    g_assert_cmpuint(le16_load(page + 452), ==, 1);
    g_assert_cmpuint(le16_load(page + 2 + 60 + 3), ==, HD_SECTORS + 5);
    smart(f, 0xd5, 6, page);
    g_assert_cmpuint(page[508], ==, 1);
    g_assert_cmphex(le16_load(page + 2), ==, 0x0002);
    smart(f, 0xd9, 0, NULL);
    run_again(f);
    out(f, HD + 1, 0xda);
    command28(f, 0xb0, 0xc24f00, 1);
    g_assert_cmphex(settle(f, HD), ==, ATA_DRDY | ATA_ERR);
}

/* A reset ends a self-test, and the log says so. */
static void test_reset_ends_a_self_test(Fixture *f, gconstpointer data)
{
    uint8_t page[512];

    smart(f, 0xd4, 2, NULL);
    soft_reset(f, HD);
    smart(f, 0xd5, 6, page);
    g_assert_cmphex(page[2], ==, 2);
    g_assert_cmphex(page[3] >> 4, ==, 2);
    smart(f, 0xd4, 2, NULL);
    smart(f, 0xd4, 0x7f, NULL);
    smart(f, 0xd5, 6, page);
    g_assert_cmphex(page[2 + 24 + 1] >> 4, ==, 1);
}

#define ADD(name, fn) g_test_add("/ide/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("identify", test_identify);
    ADD("pio-read", test_pio_read);
    ADD("pio-write-lba48", test_pio_write_lba48);
    ADD("outside", test_outside_the_medium);
    ADD("unknown", test_unknown_command_aborts);
    ADD("dma-read", test_dma_read_scatters);
    ADD("dma-short-table", test_dma_table_too_short);
    ADD("trim", test_trim);
    ADD("error-report", test_failed_request_reports);
    ADD("error-stop-dma", test_stopped_dma_is_repeated);
    ADD("error-stop-flush", test_stopped_flush_is_repeated);
    ADD("smart-load", test_smart_survives_a_load);
    ADD("smart-reset", test_reset_ends_a_self_test);
    ADD("reset-dma", test_soft_reset_forgets_dma);
    ADD("reset-raw-cd", test_reset_forgets_raw_cd_dma);
    ADD("stop-bus-master", test_stopped_bus_master_aborts_the_command);
    ADD("reset-system", test_system_reset_in_flight);
    ADD("cd-signature", test_cd_signature);
    ADD("cd-odd-length", test_inquiry_of_odd_length_ends);
    ADD("cd-identification", test_cd_tells_who_it_is);
    ADD("cd-toc", test_toc);
    ADD("cd-byte-limit", test_cd_read_keeps_its_byte_limit);
    ADD("cd-dma", test_cd_dma_read);
    ADD("cd-raw", test_raw_sectors_fit);
    ADD("cd-past-end", test_cd_read_past_the_end);
    ADD("cd-medium-change", test_medium_change);
    ADD("save-load", test_save_and_load);
    ADD("save-load/pio-read", test_save_in_pio_read);
    ADD("save-load/pio-write", test_save_in_pio_write);
    ADD("save-load/cd-read", test_save_in_cd_read);
    ADD("save-load/packet", test_save_in_packet);
    ADD("save-load/before-dma", test_save_before_dma);
    ADD("save-load/error", test_save_after_an_error);
    ADD("save-load/interrupt", test_interrupt_after_load);
    return g_test_run();
}
