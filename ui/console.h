/* SPDX-License-Identifier: MIT */
/*
 * Consoles: what a display device draws on and what windows, VNC, SPICE and screendump look at.
 *
 * A device makes a Console and gives it a Surface; it says which rectangles changed.  It draws
 * only when asked: ConsoleOps.refresh is called before anybody looks (by the listeners'
 * refresh timer or by screendump), so a headless VM costs nothing.
 *
 *   device                          console                       listener (window, VNC)
 *   console_set_surface(new mode) -> keeps it, tells listeners ->  switch_surface
 *   console_update(x, y, w, h)    ->                           ->  update
 *   refresh() <- console_refresh() <- timer of the listeners
 *
 * Pixels are 32-bit x8r8g8b8 in host order (PIXMAN_x8r8g8b8); a surface may live in guest video
 * memory, in which case the guest changes it at any time and only the update calls tell.
 *
 * Thread rule: main loop, machine lock held (listeners draw under it too, and keep it short).
 * Ownership: a Surface is reference counted; a Console belongs to its device.
 */
#ifndef UI_CONSOLE_H
#define UI_CONSOLE_H

#include <glib.h>
#include <pixman.h>
#include <stdbool.h>
#include <stdint.h>

#define CONSOLE_WIDTH_MAX 16384
#define CONSOLE_HEIGHT_MAX 16384

typedef struct Surface {
    pixman_image_t *image;
    int refs;
    int width, height;        /* pixels */
    int stride;               /* bytes */
    uint8_t *data;
    bool foreign;             /* the pixels belong to somebody else (video memory) */
} Surface;

Surface *surface_new(int width, int height);
/* Shows PIXELS, which must outlive the surface. */
Surface *surface_new_foreign(int width, int height, int stride, void *pixels);
Surface *surface_ref(Surface *s);
void surface_unref(Surface *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Surface, surface_unref)

/* A pointer image, 32-bit premultiplied a8r8g8b8. */
typedef struct Cursor {
    int refs, width, height, hot_x, hot_y;
    uint32_t pixels[];
} Cursor;
Cursor *cursor_new(int width, int height);
Cursor *cursor_ref(Cursor *c);
void cursor_unref(Cursor *c);

/* One cell of a text mode: code page 437 character, foreground and background as IBM colours. */
typedef struct TextCell {
    uint8_t ch, fg, bg;
} TextCell;

typedef struct ConsoleOps {
    /* Bring the surface up to date: console_set_surface() and console_update() as needed. */
    void (*refresh)(void *opaque);
    /* Everything is to be drawn anew at the next refresh. */
    void (*invalidate)(void *opaque);
    /* Text mode: COLS x ROWS cells, freed by the caller; NULL when in a graphics mode. */
    TextCell *(*text)(void *opaque, unsigned *cols, unsigned *rows);
    /* A window was resized: the guest may be told a preferred mode. */
    void (*size_hint)(void *opaque, unsigned width, unsigned height);
    /* Terminals (ui/vc.c) only: bytes typed into the window, and looking at earlier lines. */
    void (*input)(void *opaque, const char *bytes, unsigned len);
    void (*scroll)(void *opaque, int lines);
} ConsoleOps;

typedef struct Console Console;

/* DEVICE_ID for QMP's screendump device= and messages; HEAD of a device with several. */
Console *console_new(const char *device_id, unsigned head, const ConsoleOps *ops, void *opaque);
void console_free(Console *con);
Console *console_find(const char *device_id, unsigned head);
Console *console_at(unsigned index);          /* NULL past the last one; terminals come last */
bool console_is_text(const Console *con);     /* a terminal, not a display device's */

/* Takes the reference; a listener sees the whole surface as changed. */
void console_set_surface(Console *con, Surface *surface);
Surface *console_surface(Console *con);       /* borrowed; never NULL */
/* Clipped to the surface. */
void console_update(Console *con, int x, int y, int width, int height);
void console_set_cursor(Console *con, Cursor *cursor);     /* takes the reference; NULL hides */
void console_move_cursor(Console *con, int x, int y, bool visible);

void console_refresh(Console *con);
void console_invalidate(Console *con);
void console_size_hint(Console *con, unsigned width, unsigned height);
/* For terminals; other consoles ignore them. */
void console_input(Console *con, const char *bytes, unsigned len);
void console_scroll(Console *con, int lines);     /* positive: back in time */
/* The text screen as UTF-8 lines without trailing blanks; NULL in graphics modes. */
char *console_text(Console *con);

/* ---- listeners ---- */

typedef struct ConsoleListener ConsoleListener;
struct ConsoleListener {
    void (*switch_surface)(ConsoleListener *l, Surface *surface);
    void (*update)(ConsoleListener *l, int x, int y, int width, int height);
    void (*set_cursor)(ConsoleListener *l, Cursor *cursor);
    void (*move_cursor)(ConsoleListener *l, int x, int y, bool visible);
    /* Once per refresh period, after the updates. */
    void (*refreshed)(ConsoleListener *l);
    /* The console has gone, and this listener is none any more. */
    void (*gone)(ConsoleListener *l);
    unsigned interval_ms;     /* wanted refresh period; 0: 30 */
    Console *con;
    guint source;             /* of the core */
};
/* Calls switch_surface at once and starts the refresh timer. */
void console_listen(Console *con, ConsoleListener *l);
void console_unlisten(ConsoleListener *l);

/* ---- screendump: PNG or PPM of the whole surface ---- */

typedef enum ScreendumpFormat { SCREENDUMP_PPM, SCREENDUMP_PNG } ScreendumpFormat;
bool console_screendump(Console *con, const char *path, ScreendumpFormat format, GError **error);

#endif
