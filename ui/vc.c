/* SPDX-License-Identifier: MIT */
/*
 * Character device "vc": the terminal of vt.h, drawn on a console with the VGA BIOS's font.
 * The font is looked for in the image of the video BIOS, so that none has to be shipped.
 * Not modelled: bells, copy and paste, other sizes after the start.
 *
 * Locking: chr->lock guards the terminal and what is on its way to the user, since output comes
 * from any thread; drawing belongs to the main loop, delivery to the device's loop.
 */
#include "ui/vc.h"

#include <string.h>

#include "base/error.h"
#include "chardev/kind.h"
#include "roms/firmware.h"
#include "ui/vt.h"

enum { FONT_WIDTH = 8, FONT_HEIGHT = 16, FONT_CHARS = 256, TYPED_MAX = 4096 };
enum { COLS = 80, ROWS = 24 };

typedef struct VcChardev {
    Chardev chr;
    Vt *vt;
    Console *con;
    TextCell *drawn;              /* what the surface shows */
    bool changed;
    GByteArray *typed;            /* for the user, not yet taken */
    Bh *deliver_bh;
} VcChardev;

/* ---- the font ---- */

static const uint8_t *font(GError **error)
{
    /* A and B of the 8x16 font; the one of 14 lines looks different here. */
    static const uint8_t a_and_b[2 * FONT_HEIGHT] = {
        0x00, 0x00, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0,
        0x00, 0x00, 0xfc, 0x66, 0x66, 0x66, 0x7c, 0x66, 0x66, 0x66, 0x66, 0xfc, 0, 0, 0, 0,
    };
    static uint8_t *glyphs;
    g_autofree char *path = glyphs ? NULL : firmware_find("vgabios-stdvga.bin", error);
    g_autofree char *rom = NULL;
    const char *found;
    gsize len;

    if (glyphs) {
        return glyphs;
    }
    if (!path || !g_file_get_contents(path, &rom, &len, error)) {
        return NULL;
    }
    found = memmem(rom, len, a_and_b, sizeof(a_and_b));
    if (!found || found - rom < 'A' * FONT_HEIGHT ||
        len - (size_t)(found - rom) < (FONT_CHARS - 'A') * FONT_HEIGHT) {
        error_set(error, "'%s' has no 8x16 font to draw text with", path);
        return NULL;
    }
    glyphs = g_memdup2(found - 'A' * FONT_HEIGHT, FONT_CHARS * FONT_HEIGHT);
    return glyphs;
}

bool vc_is_available(GError **error)
{
    return font(error) != NULL;
}

/* ---- drawing ---- */

static void draw_cell(VcChardev *c, const uint8_t *glyphs, unsigned x, unsigned y, TextCell cell)
{
    static const uint32_t colours[16] = {
        0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa,
        0x555555, 0x5555ff, 0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff,
    };
    Surface *s = console_surface(c->con);
    const uint8_t *glyph = glyphs + cell.ch * FONT_HEIGHT;

    for (unsigned row = 0; row < FONT_HEIGHT; row++) {
        uint32_t *px = (uint32_t *)(void *)(s->data + (size_t)(y * FONT_HEIGHT + row) * s->stride) +
                       x * FONT_WIDTH;

        for (unsigned bit = 0; bit < FONT_WIDTH; bit++) {
            px[bit] = colours[(glyph[row] & 0x80 >> bit ? cell.fg : cell.bg) & 15];
        }
    }
}

/* The cells as they are seen, the cursor included. */
static TextCell *seen(VcChardev *c)
{
    unsigned cols = vt_cols(c->vt), rows = vt_rows(c->vt), x, y;
    TextCell *cells = g_new(TextCell, (size_t)cols * rows);

    for (unsigned i = 0; i < rows; i++) {
        memcpy(cells + (size_t)i * cols, vt_row(c->vt, i), cols * sizeof(*cells));
    }
    if (vt_cursor(c->vt, &x, &y)) {
        TextCell *at = &cells[y * cols + x];

        *at = (TextCell){ at->ch, at->bg, at->fg };
    }
    return cells;
}

static void refresh(void *opaque)
{
    VcChardev *c = opaque;
    unsigned cols = vt_cols(c->vt), rows = vt_rows(c->vt);
    g_autofree TextCell *cells = NULL;

    mutex_lock(&c->chr.lock);
    if (c->changed) {
        c->changed = false;
        cells = seen(c);
    }
    mutex_unlock(&c->chr.lock);
    for (unsigned y = 0; cells && y < rows; y++) {
        unsigned first = cols, last = 0;

        for (unsigned x = 0; x < cols; x++) {
            TextCell *now = &cells[y * cols + x], *then = &c->drawn[y * cols + x];

            if (memcmp(now, then, sizeof(*now)) != 0) {
                draw_cell(c, font(NULL), x, y, *now);
                *then = *now;
                first = MIN(first, x);
                last = x;
            }
        }
        if (first < cols) {
            console_update(c->con, (int)(first * FONT_WIDTH), (int)(y * FONT_HEIGHT),
                           (int)((last - first + 1) * FONT_WIDTH), FONT_HEIGHT);
        }
    }
}

static TextCell *text(void *opaque, unsigned *cols, unsigned *rows)
{
    VcChardev *c = opaque;
    MUTEX_SCOPE(&c->chr.lock);

    *cols = vt_cols(c->vt);
    *rows = vt_rows(c->vt);
    return seen(c);
}

/* ---- to the user ---- */

static void deliver(void *opaque)
{
    VcChardev *c = opaque;
    unsigned room = chardev_can_receive(&c->chr);
    g_autoptr(GByteArray) now = g_byte_array_new();

    mutex_lock(&c->chr.lock);
    room = MIN(room, c->typed->len);
    g_byte_array_append(now, c->typed->data, room);
    g_byte_array_remove_range(c->typed, 0, room);
    mutex_unlock(&c->chr.lock);
    if (now->len) {
        chardev_receive(&c->chr, now->data, now->len);
        bh_schedule(c->deliver_bh);               /* there may be more, and room for it */
    }
}

/* Lock held.  What nobody reads does not pile up for ever. */
static void queue(VcChardev *c, const void *bytes, size_t len)
{
    if (c->typed->len + len <= TYPED_MAX) {
        g_byte_array_append(c->typed, bytes, (guint)len);
        bh_schedule(c->deliver_bh);
    }
}

static void input(void *opaque, const char *bytes, unsigned len)
{
    VcChardev *c = opaque;
    MUTEX_SCOPE(&c->chr.lock);

    queue(c, bytes, len);
}

static void scroll(void *opaque, int lines)
{
    VcChardev *c = opaque;
    MUTEX_SCOPE(&c->chr.lock);

    vt_scroll_view(c->vt, lines);
    c->changed = true;
}

static const ConsoleOps vc_console_ops = { .refresh = refresh, .text = text, .input = input,
                                           .scroll = scroll };

/* ---- the kind ---- */

static unsigned vc_write(Chardev *chr, const CharFrontend *fe, const uint8_t *data, unsigned len)
{
    VcChardev *c = (VcChardev *)(void *)chr;
    g_autoptr(GByteArray) reply = NULL;
    MUTEX_SCOPE(&chr->lock);

    vt_feed(c->vt, data, len);
    c->changed = true;
    reply = vt_take_reply(c->vt);
    if (reply) {
        queue(c, reply->data, reply->len);
    }
    return len;
}

static void vc_accept_input(Chardev *chr)
{
    bh_schedule(((VcChardev *)(void *)chr)->deliver_bh);
}

static void vc_loop_changed(Chardev *chr)
{
    VcChardev *c = (VcChardev *)(void *)chr;

    bh_free(c->deliver_bh);
    c->deliver_bh = bh_new(chr->loop, deliver, c);
}

/* In characters by cols= and rows=, else in pixels by width= and height=. */
static bool read_size(Chardev *chr, KeyVal *opts, const char *chars, const char *pixels,
                      unsigned unit, unsigned def, unsigned most, unsigned *size, GError **error)
{
    uint64_t n, wide;

    if (!keyval_get_uint(opts, pixels, def * unit, UINT32_MAX, &wide, error) ||
        !keyval_get_uint(opts, chars, wide / unit, UINT32_MAX, &n, error)) {
        return false;
    }
    if (n < 1 || n > most) {
        return error_set(error, "chardev '%s': %" G_GUINT64_FORMAT " %s; 1 to %u are possible",
                         chr->id, n, chars, most);
    }
    *size = (unsigned)n;
    return true;
}

static bool vc_open(Chardev *chr, KeyVal *opts, GError **error)
{
    VcChardev *c = (VcChardev *)(void *)chr;
    unsigned cols, rows;

    if (!read_size(chr, opts, "cols", "width", FONT_WIDTH, COLS, VT_COLS_MAX, &cols, error) ||
        !read_size(chr, opts, "rows", "height", FONT_HEIGHT, ROWS, VT_ROWS_MAX, &rows, error)) {
        return false;
    }
    if (!font(error)) {
        g_prefix_error(error, "chardev '%s': ", chr->id);
        return false;
    }
    c->vt = vt_new(cols, rows);
    c->drawn = g_new0(TextCell, (size_t)cols * rows);
    c->changed = true;
    c->typed = g_byte_array_new();
    c->deliver_bh = bh_new(chr->loop, deliver, c);
    c->con = console_new(NULL, 0, &vc_console_ops, c);
    console_set_surface(c->con, surface_new((int)(cols * FONT_WIDTH), (int)(rows * FONT_HEIGHT)));
    chr->filename = g_strdup("vc");
    chr->open = true;
    return true;
}

static void vc_close(Chardev *chr)
{
    VcChardev *c = (VcChardev *)(void *)chr;

    if (c->con) {
        console_free(c->con);
        bh_free(c->deliver_bh);
        g_byte_array_unref(c->typed);
        g_free(c->drawn);
        vt_free(c->vt);
    }
}

static const ChardevKind chardev_vc = {
    .name = "vc",
    .help = "[cols=N][,rows=N][,width=PIXELS][,height=PIXELS] (a terminal in the window)",
    .keys = "cols rows width height",
    .size = sizeof(VcChardev),
    .open = vc_open,
    .close = vc_close,
    .write = vc_write,
    .accept_input = vc_accept_input,
    .loop_changed = vc_loop_changed,
};

void vc_register(void)
{
    chardev_register_kind(&chardev_vc);
}
