/* SPDX-License-Identifier: MIT */
/* Consoles and their listeners: surfaces, updates, cursors, text. */
#include "ui/console.h"

#include <string.h>

#include "base/bits.h"
#include "ui/cp437.h"

enum { DEFAULT_WIDTH = 640, DEFAULT_HEIGHT = 480, DEFAULT_INTERVAL_MS = 30 };

struct Console {
    char *device_id;
    unsigned head;
    const ConsoleOps *ops;
    void *opaque;
    Surface *surface;
    Cursor *cursor;
    GPtrArray *listeners;     /* ConsoleListener* */
};

static GPtrArray *consoles;   /* Console*, in order of creation, those of text last */

/* ---- surfaces and cursors ---- */

static Surface *surface_wrap(int width, int height, int stride, void *pixels)
{
    Surface *s = g_new0(Surface, 1);

    s->refs = 1;
    s->image = pixman_image_create_bits(PIXMAN_x8r8g8b8, width, height, pixels, stride);
    s->width = width;
    s->height = height;
    s->stride = stride ?: pixman_image_get_stride(s->image);
    s->data = (uint8_t *)pixman_image_get_data(s->image);
    return s;
}

Surface *surface_new(int width, int height)
{
    Surface *s = surface_wrap(width, height, 0, NULL);

    memset(s->data, 0, (size_t)s->stride * height);
    return s;
}

Surface *surface_new_foreign(int width, int height, int stride, void *pixels)
{
    Surface *s = surface_wrap(width, height, stride, pixels);

    s->foreign = true;
    return s;
}

Surface *surface_ref(Surface *s)
{
    s->refs++;
    return s;
}

void surface_unref(Surface *s)
{
    if (s && --s->refs == 0) {
        pixman_image_unref(s->image);
        g_free(s);
    }
}

Cursor *cursor_new(int width, int height)
{
    Cursor *c = g_malloc0(sizeof(*c) + sizeof(uint32_t) * width * height);

    c->refs = 1;
    c->width = width;
    c->height = height;
    return c;
}

Cursor *cursor_ref(Cursor *c)
{
    c->refs++;
    return c;
}

void cursor_unref(Cursor *c)
{
    if (c && --c->refs == 0) {
        g_free(c);
    }
}

/* ---- consoles ---- */

Console *console_new(const char *device_id, unsigned head, const ConsoleOps *ops, void *opaque)
{
    Console *con = g_new0(Console, 1);
    guint at;

    con->device_id = g_strdup(device_id);
    con->head = head;
    con->ops = ops;
    con->opaque = opaque;
    con->listeners = g_ptr_array_new();
    con->surface = surface_new(DEFAULT_WIDTH, DEFAULT_HEIGHT);
    if (!consoles) {
        consoles = g_ptr_array_new();
    }
    at = consoles->len;
    while (!ops->input && at > 0 && console_is_text(g_ptr_array_index(consoles, at - 1))) {
        at--;
    }
    g_ptr_array_insert(consoles, (int)at, con);
    return con;
}

void console_free(Console *con)
{
    g_ptr_array_remove(consoles, con);
    while (con->listeners->len) {
        ConsoleListener *l = g_ptr_array_index(con->listeners, 0);

        console_unlisten(l);
        if (l->gone) {
            l->gone(l);
        }
    }
    g_ptr_array_free(con->listeners, true);
    surface_unref(con->surface);
    cursor_unref(con->cursor);
    g_free(con->device_id);
    g_free(con);
}

Console *console_at(unsigned index)
{
    return consoles && index < consoles->len ? g_ptr_array_index(consoles, index) : NULL;
}

Console *console_find(const char *device_id, unsigned head)
{
    Console *con;

    for (unsigned i = 0; (con = console_at(i)); i++) {
        if (!g_strcmp0(con->device_id, device_id) && con->head == head) {
            return con;
        }
    }
    return NULL;
}

#define FOR_EACH_LISTENER(con, l)                                                          \
    for (unsigned i_ = 0; i_ < (con)->listeners->len; i_++)                                \
        for (ConsoleListener *l = g_ptr_array_index((con)->listeners, i_); l; l = NULL)

void console_set_surface(Console *con, Surface *surface)
{
    Surface *old = con->surface;

    con->surface = surface;
    FOR_EACH_LISTENER(con, l) {
        if (l->switch_surface) {
            l->switch_surface(l, surface);
        }
    }
    surface_unref(old);
}

Surface *console_surface(Console *con)
{
    return con->surface;
}

void console_update(Console *con, int x, int y, int width, int height)
{
    int right = MIN(x + width, con->surface->width);
    int bottom = MIN(y + height, con->surface->height);

    x = MAX(x, 0);
    y = MAX(y, 0);
    if (x >= right || y >= bottom) {
        return;
    }
    FOR_EACH_LISTENER(con, l) {
        if (l->update) {
            l->update(l, x, y, right - x, bottom - y);
        }
    }
}

void console_set_cursor(Console *con, Cursor *cursor)
{
    cursor_unref(con->cursor);
    con->cursor = cursor;
    FOR_EACH_LISTENER(con, l) {
        if (l->set_cursor) {
            l->set_cursor(l, cursor);
        }
    }
}

void console_move_cursor(Console *con, int x, int y, bool visible)
{
    FOR_EACH_LISTENER(con, l) {
        if (l->move_cursor) {
            l->move_cursor(l, x, y, visible);
        }
    }
}

bool console_is_text(const Console *con)
{
    return con->ops->input != NULL;
}

void console_input(Console *con, const char *bytes, unsigned len)
{
    if (con->ops->input) {
        con->ops->input(con->opaque, bytes, len);
    }
}

void console_scroll(Console *con, int lines)
{
    if (con->ops->scroll) {
        con->ops->scroll(con->opaque, lines);
    }
}

void console_refresh(Console *con)
{
    if (con->ops->refresh) {
        con->ops->refresh(con->opaque);
    }
}

void console_invalidate(Console *con)
{
    if (con->ops->invalidate) {
        con->ops->invalidate(con->opaque);
    }
}

void console_size_hint(Console *con, unsigned width, unsigned height)
{
    if (con->ops->size_hint) {
        con->ops->size_hint(con->opaque, width, height);
    }
}

char *console_text(Console *con)
{
    unsigned cols, rows;
    g_autofree TextCell *cells = NULL;
    GString *out;

    console_refresh(con);
    cells = con->ops->text ? con->ops->text(con->opaque, &cols, &rows) : NULL;
    if (!cells) {
        return NULL;
    }
    out = g_string_new(NULL);
    for (unsigned y = 0; y < rows; y++) {
        gsize last = out->len;

        for (unsigned x = 0; x < cols; x++) {
            uint8_t ch = cells[y * cols + x].ch;

            g_string_append(out, cp437_to_utf8(ch));
            if (ch != ' ' && ch != 0 && ch != 255) {
                last = out->len;
            }
        }
        g_string_truncate(out, last);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}

/* ---- listeners ---- */

static gboolean listener_tick(gpointer opaque)
{
    ConsoleListener *l = opaque;

    console_refresh(l->con);
    if (l->refreshed) {
        l->refreshed(l);
    }
    return G_SOURCE_CONTINUE;
}

void console_listen(Console *con, ConsoleListener *l)
{
    l->con = con;
    g_ptr_array_add(con->listeners, l);
    if (l->switch_surface) {
        l->switch_surface(l, con->surface);
    }
    if (l->set_cursor && con->cursor) {
        l->set_cursor(l, con->cursor);
    }
    l->source = g_timeout_add(l->interval_ms ?: DEFAULT_INTERVAL_MS, listener_tick, l);
}

void console_unlisten(ConsoleListener *l)
{
    g_source_remove(l->source);
    g_ptr_array_remove(l->con->listeners, l);
    l->con = NULL;
}
