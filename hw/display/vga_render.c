/* SPDX-License-Identifier: MIT */
/*
 * From VGA registers and memory to pixels.
 * Modes are decoded afresh at each refresh; a change makes a new surface.  A 32-bit linear mode
 * shows video memory itself, all others are converted line by line where memory was written.
 * Every address is taken modulo the (power of two) size of video memory, so no register value
 * reads outside it.
 * Not modelled: byte panning (CR8), split-screen panning, the underline location.
 */
#include "hw/display/vga.h"
#include "vm/vm.h"

enum { BLINK_PERIOD_MS = 533 };

static bool vbe_on(const VgaCore *s)
{
    return s->vbe_regs[VBE_ENABLE] & VBE_ENABLED;
}

/* ---- mode ---- */

static unsigned crtc_lines(const VgaCore *s)
{
    return (s->cr[0x12] | (s->cr[0x07] & 0x02) << 7 | (s->cr[0x07] & 0x40) << 3) + 1;
}

static void vbe_mode(const VgaCore *s, VgaMode *m)
{
    m->width = s->vbe_regs[VBE_XRES];
    m->height = s->vbe_regs[VBE_YRES];
    m->bpp = s->vbe_regs[VBE_BPP];
    m->kind = m->bpp == 4 ? VGA_PLANAR16 : VGA_PACKED;
    m->line_offset = s->vbe_line_offset;      /* with 4 bpp, of the four planes together */
    m->start = s->vbe_start_addr;
    m->line_compare = UINT32_MAX;
    m->repeat = 1;
}

static void text_mode(const VgaCore *s, VgaMode *m)
{
    m->kind = VGA_TEXT;
    m->cell_width = s->sr[1] & 1 ? 8 : 9;
    m->cell_height = (s->cr[0x09] & 0x1f) + 1;
    m->cols = s->cr[0x01] + 1;
    m->rows = MAX(crtc_lines(s) / m->cell_height, 1);
    if (s->cr[0x09] & 0x80) {
        m->rows = MAX(m->rows / 2, 1);
    }
    if (m->cols * m->rows > VGA_CELLS_MAX) {
        m->kind = VGA_BLANK;
        return;
    }
    m->width = m->cols * m->cell_width;
    m->height = m->rows * m->cell_height;
}

static void graphics_mode(const VgaCore *s, VgaMode *m)
{
    unsigned shift_control = (s->gr[5] >> 5) & 3;

    m->repeat = ((s->cr[0x09] & 0x1f) + 1) << (s->cr[0x09] >> 7);
    m->width = (s->cr[0x01] + 1) * 8;
    /* In CGA-compatible layouts the row scan counter is an address bit, not a repetition. */
    if ((s->cr[0x17] & 3) != 3 && !(s->cr[0x09] & 0x80)) {
        m->repeat = 1;
    }
    m->height = MAX(crtc_lines(s) / m->repeat, 1);
    switch (shift_control) {
    case 0:
        m->kind = VGA_PLANAR16;
        m->bpp = 4;
        break;
    case 1:
        m->kind = VGA_CGA4;
        m->bpp = 2;
        break;
    default:
        m->kind = VGA_PACKED;
        m->bpp = 8;
        m->width /= 2;
        break;
    }
}

static VgaMode decode_mode(const VgaCore *s)
{
    VgaMode m = { .kind = VGA_BLANK, .width = 640, .height = 480, .repeat = 1 };

    if (vbe_on(s)) {
        vbe_mode(s, &m);
        return m;
    }
    m.ar_pan = s->ar[0x13];
    m.ar_planes = s->ar[0x12];
    m.ar_mode = s->ar[0x10];
    m.cr_cursor_first = s->cr[0x0a];
    m.cr_cursor_last = s->cr[0x0b];
    m.line_offset = s->cr[0x13] << 3;
    m.start = (s->cr[0x0d] | s->cr[0x0c] << 8) * 4;
    m.line_compare = s->cr[0x18] | (s->cr[0x07] & 0x10) << 4 | (s->cr[0x09] & 0x40) << 3;
    /* The attribute controller shows nothing while the CPU owns its palette (index bit 5). */
    if (!(s->ar_index & 0x20)) {
        return m;
    }
    if (s->gr[6] & 1) {
        graphics_mode(s, &m);
    } else {
        text_mode(s, &m);
    }
    return m;
}

/* ---- colours ---- */

static uint32_t rgb6(const uint8_t *dac)
{
    uint32_t out = 0;

    for (unsigned i = 0; i < 3; i++) {
        uint8_t v = dac[i] & 0x3f;

        out = out << 8 | (uint8_t)(v << 2 | v >> 4);
    }
    return out;
}

static uint32_t dac_color(const VgaCore *s, uint8_t index)
{
    const uint8_t *dac = &s->palette[index * 3];

    if (vbe_on(s) && (s->vbe_regs[VBE_ENABLE] & VBE_8BIT_DAC)) {
        return dac[0] << 16 | dac[1] << 8 | dac[2];
    }
    return rgb6(dac);
}

/* 16-colour modes go through the attribute palette and colour select.  [VGA 2-95] */
static uint8_t attribute_to_dac(const VgaCore *s, unsigned i)
{
    uint8_t v = s->ar[i];

    if (s->ar[0x10] & 0x80) {
        return (s->ar[0x14] & 0x0f) << 4 | (v & 0x0f);
    }
    return (s->ar[0x14] & 0x0c) << 4 | (v & 0x3f);
}

/* True when a shown colour changed. */
static bool update_colors(VgaCore *s, bool packed)
{
    unsigned n = packed ? 256 : 16;
    bool changed = false;

    for (unsigned i = 0; i < n; i++) {
        uint32_t c = dac_color(s, packed ? i : attribute_to_dac(s, i));

        changed |= c != s->colors[i];
        s->colors[i] = c;
    }
    return changed;
}

/* ---- text ---- */

static uint32_t font_base(const VgaCore *s, bool second)
{
    /* SR3: map A in bits 5,3,2 and map B in bits 4,1,0, high bit first; 8 KiB each. */
    unsigned v = second ? (s->sr[3] >> 2 & 3) | (s->sr[3] >> 3 & 4)
                        : (s->sr[3] & 3) | (s->sr[3] >> 2 & 4);

    return (v & 3) * 0x4000 + (v & 4 ? 0x2000 : 0);
}

static void draw_cell(VgaCore *s, const VgaMode *m, unsigned x, unsigned y, uint16_t cell,
                      bool cursor)
{
    Surface *surface = console_surface(s->con);
    uint8_t ch = cell, attr = cell >> 8;
    uint32_t fg = s->colors[attr & 0xf], bg;
    uint32_t font = font_base(s, attr & 8);
    unsigned first = s->cr[0x0a] & 0x1f, last = s->cr[0x0b] & 0x1f;

    bg = s->colors[s->ar[0x10] & 8 ? attr >> 4 & 7 : attr >> 4];
    for (unsigned row = 0; row < m->cell_height; row++) {
        uint32_t *out = (uint32_t *)(void *)(surface->data +
                                             (size_t)(y * m->cell_height + row) * surface->stride) +
                        x * m->cell_width;
        uint8_t bits = s->mem[((font + ch * 32 + row) * 4 + 2) & (s->vram_size - 1)];

        if (cursor && row >= first && row <= last) {
            bits = 0xff;
        }
        for (unsigned col = 0; col < 8; col++) {
            out[col] = bits & (0x80 >> col) ? fg : bg;
        }
        if (m->cell_width == 9) {
            /* The ninth dot repeats the eighth in the line-drawing range. */
            bool repeat = (s->ar[0x10] & 4) && ch >= 0xc0 && ch <= 0xdf;

            out[8] = (repeat && (bits & 1)) || (cursor && row >= first && row <= last) ? fg : bg;
        }
    }
}

static uint16_t cell_at(const VgaCore *s, const VgaMode *m, unsigned x, unsigned y)
{
    uint32_t addr = m->start + y * m->line_offset + x * 4;

    return le16_load(s->mem + (addr & (s->vram_size - 4)));
}

/* True when one of the two selected fonts is not what the screen was drawn with. */
static bool update_fonts(VgaCore *s)
{
    bool changed = false;

    for (unsigned i = 0; i < 2; i++) {
        uint32_t font = font_base(s, i);

        for (unsigned b = 0; b < VGA_FONT_LEN; b++) {
            uint8_t bits = s->mem[((font + b) * 4 + 2) & (s->vram_size - 1)];

            changed |= bits != s->fonts[i][b];
            s->fonts[i][b] = bits;
        }
    }
    return changed;
}

/* The cell of the screen the cursor address stands for; UINT32_MAX: none. */
static uint32_t cursor_cell(const VgaCore *s, const VgaMode *m)
{
    uint32_t at = (s->cr[0x0e] << 8 | s->cr[0x0f]) - m->start / 4;
    uint32_t pitch = m->line_offset / 4;

    if (!pitch || at % pitch >= m->cols || at / pitch >= m->rows) {
        return UINT32_MAX;
    }
    return at / pitch * m->cols + at % pitch;
}

static void refresh_text(VgaCore *s, const VgaMode *m)
{
    bool all = s->full_update | update_colors(s, false);
    uint32_t cursor = cursor_cell(s, m);
    bool blink = clock_now(s->dev->vm->realtime_clock) / (BLINK_PERIOD_MS * 1000000ll) & 1;
    bool shown = !(s->cr[0x0a] & 0x20) && blink;

    /* A changed font redraws everything.  Planes are interleaved, so that fonts and characters
     * share pages: dirty memory says only that it is worth looking. */
    if (memory_test_and_clear_dirty(&s->vram, 0, MIN(0x10000 * 4, s->vram_size), DIRTY_VGA) ||
        all) {
        all |= update_fonts(s);
    }
    for (unsigned y = 0; y < m->rows; y++) {
        int from = -1, to = -1;

        for (unsigned x = 0; x < m->cols; x++) {
            unsigned i = y * m->cols + x;
            uint16_t cell = cell_at(s, m, x, y);
            bool has_cursor = i == cursor && shown;
            bool had_cursor = i == s->cursor_cell && s->cursor_on;

            if (!all && cell == s->cells[i] && has_cursor == had_cursor) {
                continue;
            }
            s->cells[i] = cell;
            draw_cell(s, m, x, y, cell, has_cursor);
            from = from < 0 ? (int)x : from;
            to = x;
        }
        if (from >= 0) {
            console_update(s->con, from * m->cell_width, y * m->cell_height,
                           (to - from + 1) * m->cell_width, m->cell_height);
        }
    }
    s->cursor_cell = cursor;
    s->cursor_on = shown;
}

/* ---- graphics ---- */

/* Eight pixels from four plane bytes, most significant bit first. */
static void planar_line(const VgaCore *s, const VgaMode *m, uint32_t addr, uint32_t *out)
{
    uint32_t mask = s->vram_size - 4;
    unsigned pan = vbe_on(s) ? 0 : s->ar[0x13] & 7;

    for (unsigned x = 0; x < m->width; x++) {
        unsigned dot = x + pan;
        uint32_t planes = le32_load(s->mem + ((addr + dot / 8 * 4) & mask));
        unsigned bit = 7 - (dot & 7), index = 0;

        for (unsigned p = 0; p < 4; p++) {
            index |= (planes >> (8 * p + bit) & 1) << p;
        }
        out[x] = s->colors[index & (s->ar[0x12] & 0xf)];
    }
}

/* Four 2-bit pixels a byte; even bytes from plane 0, odd ones from plane 1. */
static void cga_line(const VgaCore *s, const VgaMode *m, uint32_t addr, uint32_t *out)
{
    uint32_t mask = s->vram_size - 4;

    for (unsigned x = 0; x < m->width; x++) {
        unsigned byte = x / 4;
        uint8_t bits = s->mem[((addr + byte / 2 * 4) & mask) + (byte & 1)];

        out[x] = s->colors[bits >> (6 - 2 * (x & 3)) & 3 & s->ar[0x12]];
    }
}

static uint32_t expand(uint32_t v, unsigned bits)
{
    v <<= 8 - bits;
    return v | v >> bits;
}

static void packed_line(const VgaCore *s, const VgaMode *m, uint32_t addr, uint32_t *out)
{
    uint32_t mask = s->vram_size - 1;
    const uint8_t *mem = s->mem;

    for (unsigned x = 0; x < m->width; x++) {
        uint32_t v;

        switch (m->bpp) {
        case 8:
            v = s->colors[mem[(addr + x) & mask]];
            break;
        case 15:
            v = le16_load(mem + ((addr + 2 * x) & (mask - 1)));
            v = expand(v >> 10 & 31, 5) << 16 | expand(v >> 5 & 31, 5) << 8 | expand(v & 31, 5);
            break;
        case 16:
            v = le16_load(mem + ((addr + 2 * x) & (mask - 1)));
            v = expand(v >> 11, 5) << 16 | expand(v >> 5 & 63, 6) << 8 | expand(v & 31, 5);
            break;
        case 24:
            v = mem[(addr + 3 * x) & mask] | mem[(addr + 3 * x + 1) & mask] << 8 |
                mem[(addr + 3 * x + 2) & mask] << 16;
            break;
        default:
            v = le32_load(mem + ((addr + 4 * x) & (mask - 3)));
            break;
        }
        out[x] = v & 0xffffff;
    }
}

static uint32_t line_bytes(const VgaMode *m)
{
    switch (m->kind) {
    case VGA_PLANAR16:
        return m->width / 2 + 4;
    case VGA_CGA4:
        return m->width / 2;
    default:
        return m->width * ((m->bpp + 7) / 8);
    }
}

/* Address of line Y of the surface. */
static uint32_t line_addr(const VgaCore *s, const VgaMode *m, unsigned y)
{
    unsigned scan = y * m->repeat;
    uint32_t addr;

    if (scan > m->line_compare) {
        addr = (scan - m->line_compare - 1) / m->repeat * m->line_offset;
    } else {
        addr = m->start + y * m->line_offset;
    }
    if (!vbe_on(s) && (s->cr[0x17] & 3) != 3) {
        /* CR17: row scan bits 0 and 1 replace address bits 13 and 14 (of a plane). */
        unsigned per_row = (s->cr[0x09] & 0x1f) + 1, row = y % per_row;

        addr = m->start + y / per_row * m->line_offset;
        if (!(s->cr[0x17] & 1)) {
            addr = (addr & ~(1u << 15)) | (row & 1) << 15;
        }
        if (!(s->cr[0x17] & 2)) {
            addr = (addr & ~(1u << 16)) | (row >> 1 & 1) << 16;
        }
    }
    return addr;
}

static bool line_dirty(VgaCore *s, const unsigned long *bitmap, uint32_t addr, uint32_t len)
{
    uint32_t mask = s->vram_size - 1;
    uint32_t first = (addr & mask) >> GUEST_PAGE_BITS;
    uint32_t last = ((addr + len - 1) & mask) >> GUEST_PAGE_BITS;

    for (uint32_t page = first;; page = (page + 1) & (mask >> GUEST_PAGE_BITS)) {
        if (bitmap[page / 64] >> (page % 64) & 1) {
            return true;
        }
        if (page == last) {
            return false;
        }
    }
}

static void flush_lines(VgaCore *s, const VgaMode *m, int from, unsigned to)
{
    if (from >= 0) {
        console_update(s->con, 0, from, m->width, to - from);
    }
}

static void refresh_graphics(VgaCore *s, const VgaMode *m)
{
    Surface *surface = console_surface(s->con);
    size_t words = div_round_up(s->vram_size >> GUEST_PAGE_BITS, 64);
    g_autofree unsigned long *bitmap = g_new0(unsigned long, words);
    bool all = s->full_update;
    int from = -1;

    if (m->bpp <= 8) {
        all |= update_colors(s, m->kind == VGA_PACKED);
    }
    memory_snapshot_dirty(&s->vram, 0, s->vram_size, DIRTY_VGA, bitmap);
    for (unsigned y = 0; y < m->height; y++) {
        uint32_t addr = line_addr(s, m, y);
        uint32_t *out = (uint32_t *)(void *)(surface->data + (size_t)y * surface->stride);

        if (!all && !line_dirty(s, bitmap, addr, line_bytes(m))) {
            flush_lines(s, m, from, y);
            from = -1;
            continue;
        }
        from = from < 0 ? (int)y : from;
        if (surface->foreign) {
            continue;
        }
        switch (m->kind) {
        case VGA_PLANAR16:
            planar_line(s, m, addr, out);
            break;
        case VGA_CGA4:
            cga_line(s, m, addr, out);
            break;
        default:
            packed_line(s, m, addr, out);
            break;
        }
    }
    flush_lines(s, m, from, m->height);
}

/* ---- the console's hooks ---- */

/* Video memory itself can be shown: 32 bits a pixel, one piece, aligned. */
static bool can_share(const VgaCore *s, const VgaMode *m)
{
    return m->kind == VGA_PACKED && m->bpp == 32 && !s->big_endian_fb && !(m->start & 3) &&
           m->line_offset >= m->width * 4 &&
           m->start + (uint64_t)m->line_offset * m->height <= s->vram_size;
}

static void set_mode(VgaCore *s, const VgaMode *m)
{
    Surface *surface = can_share(s, m) ? surface_new_foreign(m->width, m->height, m->line_offset,
                                                             s->mem + m->start)
                                       : surface_new(m->width, m->height);

    s->shown = *m;
    s->full_update = true;
    console_set_surface(s->con, surface);
}

static void vga_refresh(void *opaque)
{
    VgaCore *s = opaque;
    VgaMode m = decode_mode(s);
    const VgaMode *o = &s->shown;
    bool resized = m.kind != o->kind || m.width != o->width || m.height != o->height ||
                   m.bpp != o->bpp || m.cell_width != o->cell_width || m.cols != o->cols ||
                   (console_surface(s->con)->foreign &&
                    (m.start != o->start || m.line_offset != o->line_offset)) ||
                   console_surface(s->con)->foreign != can_share(s, &m);

    if (resized) {
        set_mode(s, &m);
    } else if (memcmp(&m, o, sizeof(m))) {
        s->shown = m;
        s->full_update = true;
    }
    switch (m.kind) {
    case VGA_BLANK:
        if (s->full_update) {
            Surface *surface = console_surface(s->con);

            memset(surface->data, 0, (size_t)surface->stride * surface->height);
            console_update(s->con, 0, 0, m.width, m.height);
        }
        break;
    case VGA_TEXT:
        refresh_text(s, &m);
        break;
    default:
        refresh_graphics(s, &m);
        break;
    }
    s->full_update = false;
}

static void vga_invalidate(void *opaque)
{
    ((VgaCore *)opaque)->full_update = true;
}

static TextCell *vga_text(void *opaque, unsigned *cols, unsigned *rows)
{
    VgaCore *s = opaque;
    VgaMode m = decode_mode(s);
    TextCell *cells;

    if (m.kind != VGA_TEXT) {
        return NULL;
    }
    cells = g_new(TextCell, m.cols * m.rows);
    for (unsigned i = 0; i < m.cols * m.rows; i++) {
        uint16_t cell = cell_at(s, &m, i % m.cols, i / m.cols);

        cells[i] = (TextCell){ .ch = cell, .fg = cell >> 8 & 0xf, .bg = cell >> 12 };
    }
    *cols = m.cols;
    *rows = m.rows;
    return cells;
}

const ConsoleOps vga_console_ops = {
    .refresh = vga_refresh,
    .invalidate = vga_invalidate,
    .text = vga_text,
};
