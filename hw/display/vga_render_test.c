/* SPDX-License-Identifier: MIT */
/* What the registers and video memory look like on the screen, pixel by pixel. */
#include "base/error.h"
#include "hw/pci/pci_bench.h"
#include "ui/console.h"

enum { LFB = 0xe0000000, A000 = 0xa0000, B800 = 0xb8000, BLINK_NS = 533000000 };

typedef struct Fixture {
    PciBench *b;
    Console *con;
} Fixture;

static void outb(Fixture *f, uint16_t port, uint8_t value)
{
    pci_bench_out(f->b, port, value, 1);
}

static void indexed(Fixture *f, uint16_t port, uint8_t index, uint8_t value)
{
    pci_bench_out(f->b, port, index | value << 8, 2);
}

static void attribute(Fixture *f, uint8_t index, uint8_t value)
{
    pci_bench_in(f->b, 0x3da, 1);
    outb(f, 0x3c0, index | 0x20);
    outb(f, 0x3c0, value);
}

static void dispi(Fixture *f, uint16_t index, uint16_t value)
{
    pci_bench_out(f->b, 0x1ce, index, 2);
    pci_bench_out(f->b, 0x1cf, value, 2);
}

/* Register sets of the BIOS modes: IBM VGA technical reference. */
typedef struct Mode {
    uint8_t misc, seq[5], crtc[25], gfx[9], attr[21];
} Mode;

/* clang-format off */
#define EGA_PALETTE 0, 1, 2, 3, 4, 5, 0x14, 7, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f
static const Mode mode_3 = {
    0x67, { 3, 0, 3, 0, 2 },
    { 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0,
      0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff },
    { 0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff }, { EGA_PALETTE, 0x0c, 0, 0x0f, 8, 0 },
};
static const Mode mode_12 = {
    0xe3, { 3, 1, 0xf, 0, 6 },
    { 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0,
      0xea, 0x8c, 0xdf, 0x28, 0, 0xe7, 0x04, 0xe3, 0xff },
    { 0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff }, { EGA_PALETTE, 1, 0, 0x0f, 0, 0 },
};
static const Mode mode_13 = {
    0x63, { 3, 1, 0xf, 0, 0xe },
    { 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0,
      0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff },
    { 0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff },
    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x41, 0, 0x0f, 0, 0 },
};
/* clang-format on */

/* DAC entry N shows as gray N of 63, so that a pixel tells its index. */
static void gray_palette(Fixture *f)
{
    outb(f, 0x3c8, 0);
    for (unsigned i = 0; i < 256 * 3; i++) {
        outb(f, 0x3c9, i / 3 & 0x3f);
    }
}

static uint32_t gray(unsigned n)
{
    uint32_t v = n << 2 | n >> 4;

    return v << 16 | v << 8 | v;
}

static void set_mode(Fixture *f, const Mode *m)
{
    outb(f, 0x3c2, m->misc);
    for (unsigned i = 0; i < sizeof(m->seq); i++) {
        indexed(f, 0x3c4, i, m->seq[i]);
    }
    indexed(f, 0x3d4, 0x11, 0);
    for (unsigned i = 0; i < sizeof(m->crtc); i++) {
        indexed(f, 0x3d4, i, m->crtc[i]);
    }
    for (unsigned i = 0; i < sizeof(m->gfx); i++) {
        indexed(f, 0x3ce, i, m->gfx[i]);
    }
    for (unsigned i = 0; i < sizeof(m->attr); i++) {
        attribute(f, i, m->attr[i]);
    }
    gray_palette(f);
}

static void set_vbe(Fixture *f, unsigned width, unsigned height, unsigned bpp)
{
    pci_bench_in(f->b, 0x3da, 1);
    outb(f, 0x3c0, 0x20);
    dispi(f, 1, width);
    dispi(f, 2, height);
    dispi(f, 3, bpp);
    dispi(f, 4, 0x41);
    gray_palette(f);
}

static uint32_t pixel(Fixture *f, unsigned x, unsigned y)
{
    Surface *s;

    console_refresh(f->con);
    s = console_surface(f->con);
    g_assert_cmpuint(x, <, s->width);
    g_assert_cmpuint(y, <, s->height);
    return ((uint32_t *)(void *)(s->data + (size_t)y * s->stride))[x] & 0xffffff;
}

static void expect_size(Fixture *f, int width, int height)
{
    console_refresh(f->con);
    g_assert_cmpint(console_surface(f->con)->width, ==, width);
    g_assert_cmpint(console_surface(f->con)->height, ==, height);
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    Device *dev;

    f->b = pci_bench_new();
    dev = device_new(f->b->vm, "VGA", &error);
    g_assert_no_error(error);
    dev->id = g_strdup("vga");
    g_assert_true(object_set_text(OBJECT(dev), "romfile", "", &error));
    g_assert_true(device_realize(dev, &f->b->bus->bus, &error));
    vm_reset(f->b->vm);
    f->con = console_find("vga", 0);
    pci_cfg_write(f->b, DEVICE_CAST(PciDevice, dev), 0x10, LFB, 4);
    pci_cfg_write(f->b, DEVICE_CAST(PciDevice, dev), PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY,
                  2);
}

/* The bench's bridge stays for good, and the card with it; only its name must be free again. */
static void tear_down(Fixture *f, gconstpointer data)
{
    console_free(f->con);
    pci_bench_free(f->b);
}

static void store(Fixture *f, gpa_t addr, uint64_t value, unsigned size)
{
    pci_bench_store(f->b, addr, value, size);
}

/* ---- text ---- */

/* Character CH of font A: LINES, from the top. */
static void set_glyph(Fixture *f, uint8_t ch, const uint8_t lines[16])
{
    for (unsigned i = 0; i < 16; i++) {
        store(f, LFB + (ch * 32 + i) * 4 + 2, lines[i], 1);
    }
}

static void test_text(Fixture *f, gconstpointer data)
{
    static const uint8_t glyph[16] = { 0x81, 0x7e };

    set_mode(f, &mode_3);
    set_glyph(f, 'A', glyph);
    store(f, B800 + 160 + 2, 0x1e41, 2);      /* second line, second column: yellow on blue */
    expect_size(f, 720, 400);
    g_assert_cmphex(pixel(f, 9, 16), ==, gray(0x3e));
    g_assert_cmphex(pixel(f, 10, 16), ==, gray(1));
    g_assert_cmphex(pixel(f, 16, 16), ==, gray(0x3e));
    g_assert_cmphex(pixel(f, 17, 16), ==, gray(1));      /* the ninth dot */
    g_assert_cmphex(pixel(f, 9, 17), ==, gray(1));
    g_assert_cmphex(pixel(f, 10, 17), ==, gray(0x3e));
    g_assert_cmphex(pixel(f, 8, 16), ==, gray(0));
}

/* Line graphics repeat their eighth dot. */
static void test_ninth_dot(Fixture *f, gconstpointer data)
{
    static const uint8_t glyph[16] = { 0x01 };

    set_mode(f, &mode_3);
    set_glyph(f, 0xc4, glyph);
    store(f, B800, 0x07c4, 2);
    g_assert_cmphex(pixel(f, 8, 0), ==, gray(7));
    attribute(f, 0x10, 0x08);
    g_assert_cmphex(pixel(f, 8, 0), ==, gray(0));
    indexed(f, 0x3c4, 1, 1);                  /* eight dots a character */
    expect_size(f, 640, 400);
}

/* Attribute bit 7: a bright background, or blinking and eight backgrounds. */
static void test_background_intensity(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_3);
    store(f, B800, 0x9020, 2);
    g_assert_cmphex(pixel(f, 0, 0), ==, gray(1));
    attribute(f, 0x10, 0x04);
    g_assert_cmphex(pixel(f, 0, 0), ==, gray(0x39));
}

static void test_cursor(Fixture *f, gconstpointer data)
{
    Clock *clock = f->b->vm->realtime_clock;

    /* The bench's clock starts anywhere: to the beginning of a dark phase. */
    clock_fake_set(clock, (clock_now(clock) / (2ll * BLINK_NS) + 1) * (2ll * BLINK_NS));
    set_mode(f, &mode_3);
    indexed(f, 0x3d4, 0x0f, 81);              /* line 1, column 1; scan lines 13 and 14 */
    store(f, B800 + 162, 0x0720, 2);
    clock_fake_advance(clock, BLINK_NS);
    g_assert_cmphex(pixel(f, 9, 16 + 13), ==, gray(7));
    g_assert_cmphex(pixel(f, 9, 16 + 12), ==, gray(0));
    indexed(f, 0x3d4, 0x0a, 0x0c);            /* a taller one */
    g_assert_cmphex(pixel(f, 9, 16 + 12), ==, gray(7));
    clock_fake_advance(clock, BLINK_NS);
    g_assert_cmphex(pixel(f, 9, 16 + 13), ==, gray(0));
    clock_fake_advance(clock, BLINK_NS);
    g_assert_cmphex(pixel(f, 9, 16 + 13), ==, gray(7));
    indexed(f, 0x3d4, 0x0a, 0x2d);            /* off */
    g_assert_cmphex(pixel(f, 9, 16 + 13), ==, gray(0));
}

static void test_text_start_and_dump(Fixture *f, gconstpointer data)
{
    g_autofree char *text = NULL;

    set_mode(f, &mode_3);
    for (unsigned i = 0; i < 3; i++) {
        store(f, B800 + 320 + 2 * i, 0x0700 | "abc"[i], 2);
    }
    indexed(f, 0x3d4, 0x0d, 160);             /* from the third line on */
    console_refresh(f->con);
    text = console_text(f->con);
    g_assert_true(g_str_has_prefix(text, "abc\n"));
}

/* ---- planar and CGA ---- */

static void test_planar(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_12);
    expect_size(f, 640, 480);
    store(f, LFB + 4 * 80, 0x00ff0f55, 4);    /* line 1: planes 0 55, 1 0f, 2 ff, 3 00 */
    g_assert_cmphex(pixel(f, 0, 1), ==, gray(4));
    g_assert_cmphex(pixel(f, 1, 1), ==, gray(5));
    g_assert_cmphex(pixel(f, 4, 1), ==, gray(0x14));     /* 6 by the attribute palette */
    g_assert_cmphex(pixel(f, 7, 1), ==, gray(7));
    g_assert_cmphex(pixel(f, 8, 1), ==, gray(0));
    attribute(f, 0x12, 0x03);                 /* planes 2 and 3 off */
    g_assert_cmphex(pixel(f, 0, 1), ==, gray(0));
    g_assert_cmphex(pixel(f, 7, 1), ==, gray(3));
}

static void test_panning(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_12);
    store(f, LFB, 0x80, 1);
    store(f, LFB + 4, 0x80, 1);
    g_assert_cmphex(pixel(f, 8, 0), ==, gray(1));
    attribute(f, 0x13, 3);
    g_assert_cmphex(pixel(f, 5, 0), ==, gray(1));
    g_assert_cmphex(pixel(f, 8, 0), ==, gray(0));
    indexed(f, 0x3d4, 0x0d, 1);               /* a byte further */
    g_assert_cmphex(pixel(f, 5, 0), ==, gray(0));
}

/* Below the split the screen begins with address 0 again. */
static void test_line_compare(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_12);
    store(f, LFB, 0x80, 1);
    store(f, LFB + 4 * 80 * 10, 0x8000, 2);
    indexed(f, 0x3d4, 0x0c, 800 >> 8);
    indexed(f, 0x3d4, 0x0d, 800 & 0xff);
    indexed(f, 0x3d4, 0x18, 99);
    indexed(f, 0x3d4, 0x07, 0x2e);            /* bit 8 off */
    indexed(f, 0x3d4, 0x09, 0x00);            /* bit 9 off */
    g_assert_cmphex(pixel(f, 0, 0), ==, gray(2));
    g_assert_cmphex(pixel(f, 0, 99), ==, gray(0));
    g_assert_cmphex(pixel(f, 0, 100), ==, gray(1));
}

static void test_cga_4_colors(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_12);
    indexed(f, 0x3ce, 5, 0x30);
    indexed(f, 0x3d4, 0x09, 0x01);
    indexed(f, 0x3d4, 0x17, 0xa2);            /* odd lines 8 KiB further */
    store(f, LFB, 0x1b, 1);                   /* 0 1 2 3 */
    store(f, LFB + 1, 0xe4, 1);               /* 3 2 1 0 */
    store(f, LFB + 0x8000, 0xff, 1);
    g_assert_cmphex(pixel(f, 0, 0), ==, gray(0));
    g_assert_cmphex(pixel(f, 3, 0), ==, gray(3));
    g_assert_cmphex(pixel(f, 4, 0), ==, gray(3));
    g_assert_cmphex(pixel(f, 7, 0), ==, gray(0));
    g_assert_cmphex(pixel(f, 0, 1), ==, gray(3));
}

/* ---- packed ---- */

static void test_mode_13(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_13);
    expect_size(f, 320, 200);
    store(f, A000 + 320 * 2 + 5, 0x2a, 1);
    g_assert_cmphex(pixel(f, 5, 2), ==, gray(0x2a));
    outb(f, 0x3c8, 0x2a);
    outb(f, 0x3c9, 63);
    outb(f, 0x3c9, 0);
    outb(f, 0x3c9, 32);
    g_assert_cmphex(pixel(f, 5, 2), ==, 0xff0082);
}

static void test_vbe_8_bits(Fixture *f, gconstpointer data)
{
    set_vbe(f, 640, 480, 8);
    expect_size(f, 640, 480);
    store(f, LFB + 640 + 1, 0x3f, 1);
    g_assert_cmphex(pixel(f, 1, 1), ==, 0xffffff);
    dispi(f, 4, 0);
    dispi(f, 4, 0xe1);                        /* eight bits a colour, memory as it was */
    g_assert_cmphex(pixel(f, 1, 1), ==, 0x3f3f3f);
}

static void test_true_colors(Fixture *f, gconstpointer data)
{
    /* clang-format off */
    static const struct {
        unsigned bpp, bytes;
        uint32_t value, rgb;
    } rows[] = {
        { 15, 2, 0x7c00, 0xff0000 }, { 15, 2, 0x03e0, 0x00ff00 }, { 15, 2, 0x8010, 0x000084 },
        { 16, 2, 0xf800, 0xff0000 }, { 16, 2, 0x07e0, 0x00ff00 }, { 16, 2, 0x8410, 0x848284 },
        { 24, 3, 0x123456, 0x123456 }, { 32, 4, 0xff654321, 0x654321 },
    };
    /* clang-format on */

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        gpa_t addr = LFB + (800 * 3 + 7) * rows[i].bytes;

        set_vbe(f, 800, 600, rows[i].bpp);
        for (unsigned b = 0; b < rows[i].bytes; b++) {
            store(f, addr + b, rows[i].value >> (8 * b) & 0xff, 1);
        }
        expect_size(f, 800, 600);
        g_assert_cmphex(pixel(f, 7, 3), ==, rows[i].rgb);
        g_assert_cmphex(pixel(f, 8, 3), ==, 0);
        dispi(f, 4, 0);
    }
}

/* A picture larger than the screen, and where in it the screen lies. */
static void test_virtual_screen(Fixture *f, gconstpointer data)
{
    set_vbe(f, 640, 480, 32);
    dispi(f, 6, 1024);
    store(f, LFB + (1024 * 20 + 30) * 4, 0xabcdef, 4);
    dispi(f, 8, 10);
    dispi(f, 9, 5);
    g_assert_cmphex(pixel(f, 20, 15), ==, 0xabcdef);
    expect_size(f, 640, 480);
}

static void test_largest(Fixture *f, gconstpointer data)
{
    set_vbe(f, 2560, 1600, 32);
    expect_size(f, 2560, 1600);
    store(f, LFB + (2560u * 1600 - 1) * 4, 0x010203, 4);
    g_assert_cmphex(pixel(f, 2559, 1599), ==, 0x010203);
}

/* With the attribute controller off, and after a reset, the screen is black. */
static void test_blank(Fixture *f, gconstpointer data)
{
    set_mode(f, &mode_13);
    store(f, A000, 0x3f, 1);
    g_assert_cmphex(pixel(f, 0, 0), ==, 0xffffff);
    pci_bench_in(f->b, 0x3da, 1);
    outb(f, 0x3c0, 0x00);
    g_assert_cmphex(pixel(f, 0, 0), ==, 0);
    outb(f, 0x3c0, 0x20);
    pci_bench_in(f->b, 0x3da, 1);
    outb(f, 0x3c0, 0x20);
    g_assert_cmphex(pixel(f, 0, 0), ==, 0xffffff);
    vm_reset(f->b->vm);
    g_assert_cmphex(pixel(f, 0, 0), ==, 0);
}

#define ADD(name, fn) g_test_add("/vga/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("text", test_text);
    ADD("text/ninth-dot", test_ninth_dot);
    ADD("text/background", test_background_intensity);
    ADD("text/cursor", test_cursor);
    ADD("text/start", test_text_start_and_dump);
    ADD("planar", test_planar);
    ADD("planar/panning", test_panning);
    ADD("planar/line-compare", test_line_compare);
    ADD("cga-4", test_cga_4_colors);
    ADD("mode-13", test_mode_13);
    ADD("vbe/8", test_vbe_8_bits);
    ADD("vbe/true-colours", test_true_colors);
    ADD("vbe/virtual", test_virtual_screen);
    ADD("vbe/largest", test_largest);
    ADD("blank", test_blank);
    return g_test_run();
}
