/* SPDX-License-Identifier: MIT */
/* The floppy controller over a real file, by DMA and by PIO. */
#include "hw/block/fdc.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "base/event_loop.h"
#include "hw/dma/i8237.h"
#include "hw/isa/isa_bench.h"

enum { DOR = 0x3f2, MSR = 0x3f4, DSR = 0x3f4, FIFO = 0x3f5, DIR_PORT = 0x3f7, CCR = 0x3f7,
       IMAGE_BYTES = 1474560, BUFFER = 0x2000 };

typedef struct Fixture {
    IsaBench *b;
    Device *fdc, *floppy;
    char *path;
} Fixture;

/* Each sector begins with its number. */
static void set_up(Fixture *f, gconstpointer data)
{
    g_autofree uint8_t *image = g_malloc0(IMAGE_BYTES);
    g_autoptr(GError) error = NULL;
    int fd = g_file_open_tmp("fdcXXXXXX", &f->path, &error);
    bool ok;

    g_assert_no_error(error);
    close(fd);
    for (unsigned i = 0; i < IMAGE_BYTES / 512; i++) {
        le32_store(image + i * 512, i);
    }
    g_assert_true(g_file_set_contents(f->path, (char *)image, IMAGE_BYTES, &error));
    f->b = isa_bench_new();
    g_assert_true(i8237_pair_new(&f->b->bus, &error));
    f->fdc = isa_bench_add(f->b, "isa-fdc", "");
    f->floppy = device_new(f->b->vm, "floppy", &error);
    g_assert_no_error(error);
    f->floppy->id = g_strdup("fd0");
    ok = device_realize(f->floppy, fdc_bus(f->fdc), &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    g_assert_true(blk_change_medium(blk_by_device("fd0"), f->path, "raw", false, NULL, &error));
    vm_reset(f->b->vm);
    isa_out8(f->b, DOR, 0x00);
    isa_out8(f->b, DOR, 0x1c);
    isa_out8(f->b, CCR, 0x00);
    for (unsigned i = 0; i < 4; i++) {
        isa_out8(f->b, FIFO, 0x08);
        g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0xc0 | i);
        isa_in8(f->b, FIFO);
    }
}

static void tear_down(Fixture *f, gconstpointer data)
{
    device_unplug(f->floppy);
    object_unref(OBJECT(f->floppy));
    isa_bench_free(f->b);
    g_unlink(f->path);
    g_free(f->path);
}

static void command(Fixture *f, const uint8_t *bytes, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        g_assert_cmphex(isa_in8(f->b, MSR) & 0xc0, ==, 0x80);
        isa_out8(f->b, FIFO, bytes[i]);
    }
}
#define COMMAND(f, ...) command(f, (const uint8_t[]){ __VA_ARGS__ },                       \
                                sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Lets block requests and the DMA controller's turns happen until the interrupt comes. */
static void wait_irq(Fixture *f)
{
    for (unsigned i = 0; !isa_bench_irq(f->b, 6); i++) {
        g_assert_cmpuint(i, <, 100000);
        isa_bench_advance_ns(f->b, 1000000);
        event_loop_iterate(event_loop_main(), false);
    }
}

static void expect_result(Fixture *f, const uint8_t result[7])
{
    for (unsigned i = 0; i < 7; i++) {
        g_assert_cmphex(isa_in8(f->b, MSR) & 0xd0, ==, 0xd0);
        g_assert_cmphex(isa_in8(f->b, FIFO), ==, result[i]);
    }
    g_assert_cmphex(isa_in8(f->b, MSR) & 0xd0, ==, 0x80);
    g_assert_false(isa_bench_irq(f->b, 6));
}
#define EXPECT_RESULT(f, ...) expect_result(f, (const uint8_t[7]){ __VA_ARGS__ })

static void program_dma(Fixture *f, uint8_t mode, unsigned bytes)
{
    isa_out8(f->b, 0x0a, 0x06);
    isa_out8(f->b, 0x0c, 0);
    isa_out8(f->b, 0x0b, mode);
    isa_out8(f->b, 0x04, BUFFER & 0xff);
    isa_out8(f->b, 0x04, BUFFER >> 8);
    isa_out8(f->b, 0x05, (bytes - 1) & 0xff);
    isa_out8(f->b, 0x05, (bytes - 1) >> 8);
    isa_out8(f->b, 0x81, 0);
    isa_out8(f->b, 0x0a, 0x02);
}

static void seek(Fixture *f, uint8_t track)
{
    COMMAND(f, 0x0f, 0x00, track);
    g_assert_true(isa_bench_irq(f->b, 6));
    COMMAND(f, 0x08);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x20);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, track);
}

static uint32_t buffer_word(Fixture *f, unsigned sector)
{
    return address_space_load(&f->b->vm->memory, BUFFER + sector * 512, 4);
}

static void test_dma_read_crosses_heads(Fixture *f, gconstpointer data)
{
    seek(f, 2);
    program_dma(f, 0x46, 4 * 512);
    COMMAND(f, 0xe6, 0x00, 2, 0, 17, 2, 18, 0x1b, 0xff);
    wait_irq(f);
    EXPECT_RESULT(f, 0x04, 0, 0, 2, 1, 3, 2);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpuint(buffer_word(f, i), ==, 2 * 36 + 16 + i);
    }
}

static void test_dma_write_reaches_the_image(Fixture *f, gconstpointer data)
{
    uint8_t bytes[512];

    seek(f, 1);
    for (unsigned i = 0; i < 2; i++) {
        address_space_store(&f->b->vm->memory, BUFFER + i * 512, 0xabcd0000 + i, 4);
    }
    program_dma(f, 0x4a, 1024);
    COMMAND(f, 0xc5, 0x00, 1, 0, 5, 2, 18, 0x1b, 0xff);
    wait_irq(f);
    EXPECT_RESULT(f, 0x00, 0, 0, 1, 0, 7, 2);
    g_assert_cmpint(blk_pread(blk_by_device("fd0"), (36 + 5) * 512, bytes, 512), ==, 0);
    g_assert_cmphex(le32_load(bytes), ==, 0xabcd0001);
}

/* To the last sector of a side, without MT: the result names the first sector of the next cylinder, but the
 * head is where it was, and the other side of the cylinder follows without a seek. */
static void test_write_to_the_end_of_a_side(Fixture *f, gconstpointer data)
{
    seek(f, 12);
    program_dma(f, 0x4a, 1024);
    COMMAND(f, 0x45, 0x00, 12, 0, 17, 2, 18, 0x1b, 0xff);
    wait_irq(f);
    EXPECT_RESULT(f, 0x00, 0, 0, 13, 0, 1, 2);
    program_dma(f, 0x4a, 1024);
    COMMAND(f, 0x45, 0x04, 12, 1, 17, 2, 18, 0x1b, 0xff);
    wait_irq(f);
    EXPECT_RESULT(f, 0x04, 0, 0, 13, 1, 1, 2);
}

static void test_pio_read(Fixture *f, gconstpointer data)
{
    uint32_t word = 0;

    COMMAND(f, 0x03, 0xaf, 0x03);                 /* SPECIFY: no DMA */
    COMMAND(f, 0x46, 0x00, 0, 0, 3, 2, 3, 0x1b, 0xff);
    wait_irq(f);
    for (unsigned i = 0; i < 512; i++) {
        g_assert_cmphex(isa_in8(f->b, MSR) & 0xf0, ==, 0xf0);
        word |= i < 4 ? (uint32_t)isa_in8(f->b, FIFO) << (8 * i) : isa_in8(f->b, FIFO) * 0u;
    }
    g_assert_cmpuint(word, ==, 2);
    EXPECT_RESULT(f, 0, 0, 0, 1, 0, 1, 2);
}

static void test_format_fills_sectors(Fixture *f, gconstpointer data)
{
    uint8_t bytes[512];

    seek(f, 3);
    for (unsigned i = 0; i < 18; i++) {
        address_space_store(&f->b->vm->memory, BUFFER + 4 * i, 0x02000003 | (i + 1) << 16, 4);
    }
    program_dma(f, 0x4a, 18 * 4);
    COMMAND(f, 0x4d, 0x00, 2, 18, 0x54, 0xf6);
    wait_irq(f);
    for (unsigned i = 0; i < 7; i++) {
        isa_in8(f->b, FIFO);
    }
    for (unsigned i = 0; i < 18; i++) {
        g_assert_cmpint(blk_pread(blk_by_device("fd0"), (3 * 36 + i) * 512, bytes, 512), ==, 0);
        g_assert_cmphex(bytes[0], ==, 0xf6);
        g_assert_cmphex(bytes[511], ==, 0xf6);
    }
    g_assert_cmpint(blk_pread(blk_by_device("fd0"), (3 * 36 + 18) * 512, bytes, 512), ==, 0);
    g_assert_cmpuint(le32_load(bytes), ==, 3 * 36 + 18);
}

/* To EOT, or with EC as many sectors as asked for; more than the cylinder has are an error. */
static void test_verify_counts_sectors(Fixture *f, gconstpointer data)
{
    seek(f, 2);
    COMMAND(f, 0x16, 0x00, 2, 0, 3, 2, 18, 0x1b, 0xff);
    wait_irq(f);
    EXPECT_RESULT(f, 0x00, 0, 0, 3, 0, 1, 2);
    seek(f, 2);
    COMMAND(f, 0x96, 0x80, 2, 0, 17, 2, 18, 0x1b, 4);        /* MT: on to the other side */
    wait_irq(f);
    EXPECT_RESULT(f, 0x04, 0, 0, 2, 1, 3, 2);
    seek(f, 2);
    COMMAND(f, 0x16, 0x80, 2, 0, 17, 2, 18, 0x1b, 4);
    wait_irq(f);
    EXPECT_RESULT(f, 0x40, 0x80, 0, 3, 0, 1, 2);
    seek(f, 2);
    COMMAND(f, 0x16, 0x00, 2, 0, 19, 2, 19, 0x1b, 0xff);     /* no such sector */
    wait_irq(f);
    EXPECT_RESULT(f, 0x40, 0x04, 0, 2, 0, 19, 2);
}

/* STP 2: every other sector; the first that is equal ends the scan. */
static void test_scan_steps(Fixture *f, gconstpointer data)
{
    seek(f, 0);
    address_space_store(&f->b->vm->memory, BUFFER, 1, 4);             /* sector 2, which is left out */
    address_space_store(&f->b->vm->memory, BUFFER + 512, 2, 4);       /* sector 3 */
    program_dma(f, 0x4a, 4 * 512);
    COMMAND(f, 0x11, 0x00, 0, 0, 1, 2, 18, 0x1b, 2);
    wait_irq(f);
    EXPECT_RESULT(f, 0x00, 0, 0x08, 0, 0, 3, 2);
}

/* What SAVE tells, RESTORE takes after a reset that forgot it. */
static void test_restore_takes_what_save_told(Fixture *f, gconstpointer data)
{
    uint8_t saved[16], again[16];

    seek(f, 7);
    COMMAND(f, 0x03, 0xaf, 0x02);
    COMMAND(f, 0x13, 0x00, 0x47, 0x09);
    COMMAND(f, 0x33, 0x01);
    COMMAND(f, 0x2e);
    for (unsigned i = 0; i < 16; i++) {
        saved[i] = isa_in8(f->b, FIFO);
    }
    g_assert_cmphex(saved[1], ==, 0x01);
    g_assert_cmphex(saved[2], ==, 7);
    g_assert_cmphex(saved[6], ==, 0xa0);
    g_assert_cmphex(saved[7], ==, 0x02);
    g_assert_cmphex(saved[10], ==, 0x47);
    g_assert_cmphex(saved[11], ==, 0x09);
    vm_reset(f->b->vm);
    isa_out8(f->b, FIFO, 0x4e);
    command(f, saved, sizeof(saved));
    COMMAND(f, 0x2e);
    for (unsigned i = 0; i < 16; i++) {
        again[i] = isa_in8(f->b, FIFO);
    }
    g_assert_cmpmem(again, 16, saved, 16);
}

static void test_missing_sector_is_no_data(Fixture *f, gconstpointer data)
{
    program_dma(f, 0x46, 512);
    COMMAND(f, 0x46, 0x00, 0, 0, 19, 2, 18, 0x1b, 0xff);
    wait_irq(f);
    EXPECT_RESULT(f, 0x40, 0x04, 0, 0, 0, 19, 2);
}

static void test_wrong_rate_finds_no_address_mark(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, CCR, 0x02);
    COMMAND(f, 0x4a, 0x00);
    wait_irq(f);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x40);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x01);
}

static void test_disk_change_line(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(isa_in8(f->b, DIR_PORT) & 0x80, ==, 0x80);
    seek(f, 1);
    g_assert_cmphex(isa_in8(f->b, DIR_PORT) & 0x80, ==, 0);
    g_assert_true(blk_eject(blk_by_device("fd0"), false, NULL));
    g_assert_cmphex(isa_in8(f->b, DIR_PORT) & 0x80, ==, 0x80);
    seek(f, 2);
    g_assert_cmphex(isa_in8(f->b, DIR_PORT) & 0x80, ==, 0x80);
}

/* The interrupt of a reset is an edge, even where another one waits. */
static void test_reset_gives_an_edge(Fixture *f, gconstpointer data)
{
    unsigned edges;

    COMMAND(f, 0x0f, 0x00, 5);
    edges = f->b->edges[6];
    isa_out8(f->b, DSR, 0x80);
    g_assert_true(isa_bench_irq(f->b, 6));
    g_assert_cmpuint(f->b->edges[6], ==, edges + 1);
    COMMAND(f, 0x08);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0xc0);
}

/* The guest of a floppy drive sees every error: a policy that stops or ignores is refused. */
static void test_error_policy_is_refused(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Device *dev = device_new(f->b->vm, "floppy", &error);

    g_assert_no_error(error);
    g_assert_false(object_set_text(OBJECT(dev), "werror", "stop", &error));
    g_assert_nonnull(strstr(error->message, "werror"));
    object_unref(OBJECT(dev));
}

static void test_unknown_command_is_invalid(Fixture *f, gconstpointer data)
{
    COMMAND(f, 0x1f);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x80);
    COMMAND(f, 0x10);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x90);
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    seek(f, 7);
    COMMAND(f, 0x03, 0xaf);                       /* a parameter is still missing */
    isa_bench_save_load(f->b);
    isa_out8(f->b, FIFO, 0x02);
    COMMAND(f, 0x0e);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 7);
    isa_in8(f->b, FIFO);
    isa_in8(f->b, FIFO);
    isa_in8(f->b, FIFO);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x0a);
    g_assert_cmphex(isa_in8(f->b, FIFO), ==, 0x02);
}

static void test_survives_garbage(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 300; i++) {
        isa_bench_fuzz(f->b, 0x3f0, 0x3f7, 50);
        isa_bench_fuzz(f->b, 0x00, 0x0f, 10);
        event_loop_iterate(event_loop_main(), false);
    }
    blk_drain(blk_by_device("fd0"));
}

#define ADD(name, fn) g_test_add("/fdc/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("dma-read", test_dma_read_crosses_heads);
    ADD("dma-write", test_dma_write_reaches_the_image);
    ADD("dma-write-end", test_write_to_the_end_of_a_side);
    ADD("pio-read", test_pio_read);
    ADD("format", test_format_fills_sectors);
    ADD("verify", test_verify_counts_sectors);
    ADD("scan-step", test_scan_steps);
    ADD("restore", test_restore_takes_what_save_told);
    ADD("no-sector", test_missing_sector_is_no_data);
    ADD("wrong-rate", test_wrong_rate_finds_no_address_mark);
    ADD("disk-change", test_disk_change_line);
    ADD("reset-edge", test_reset_gives_an_edge);
    ADD("error-policy", test_error_policy_is_refused);
    ADD("invalid", test_unknown_command_is_invalid);
    ADD("save-load", test_state_survives_save_and_load);
    ADD("garbage", test_survives_garbage);
    return g_test_run();
}
