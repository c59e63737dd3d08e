/* SPDX-License-Identifier: MIT */
/*
 * The terminal emulation.  Spec: ECMA-48 (5th edition); DEC VT102 User Guide EK-VT102-UG, appendix C.
 * Not modelled: double-size lines, 132 columns, the keypad and cursor key modes, printing, blinking.
 *
 * Invariants: 1. x <= cols: cols means that the last column was written and the next character wraps.
 *             2. top < bottom < rows, or both 0 with a single row.
 *             3. history + rows <= lines; the screen's first line is at `first` in the ring.
 */
#include "ui/vt.h"

#include <string.h>

#include "base/bits.h"
#include "ui/cp437.h"

enum { HISTORY = 500, PARAMS = 16, PARAM_MAX = 9999, REPLY_MAX = 256, TAB = 8 };
enum { FG_DEFAULT = 7, BG_DEFAULT = 0 };

typedef enum State { GROUND, ESCAPE, CHARSET, SKIP_ONE, CSI, STRING, STRING_ESCAPE } State;

typedef struct Pen {
    unsigned x, y;
    uint8_t fg, bg;
    bool bold, reverse, hidden, drawing;
} Pen;

struct Vt {
    unsigned cols, rows, lines;
    TextCell *cells;              /* ring of `lines` lines */
    unsigned first, history, view;
    unsigned top, bottom;         /* scrolling region, inclusive */
    Pen pen, saved;
    bool cursor_on, origin, wrap, insert;
    State state;
    unsigned params[PARAMS], param_count;
    char mark;                    /* '?' and kin after CSI */
    bool odd;                     /* an intermediate byte: ignored */
    gunichar code;                /* of an unfinished UTF-8 sequence */
    unsigned code_left;
    GByteArray *reply;
};

/* ---- lines ---- */

static TextCell *line_at(const Vt *vt, unsigned y)
{
    return vt->cells + (size_t)((vt->first + y) % vt->lines) * vt->cols;
}

/* Erased cells take the present background [VT102: default; ECMA-48 terminals of today: this]. */
static void clear_cells(Vt *vt, unsigned y, unsigned from, unsigned to)
{
    TextCell *line = line_at(vt, y);

    for (unsigned x = from; x < to; x++) {
        line[x] = (TextCell){ ' ', FG_DEFAULT, vt->pen.bg };
    }
}

static void clear_lines(Vt *vt, unsigned from, unsigned to)
{
    for (unsigned y = from; y < to; y++) {
        clear_cells(vt, y, 0, vt->cols);
    }
}

static void copy_line(Vt *vt, unsigned to, unsigned from)
{
    memcpy(line_at(vt, to), line_at(vt, from), vt->cols * sizeof(TextCell));
}

static void scroll_up(Vt *vt, unsigned top, unsigned bottom, unsigned n)
{
    n = MIN(n, bottom - top + 1);
    if (top == 0 && bottom == vt->rows - 1) {
        vt->first = (vt->first + n) % vt->lines;      /* what leaves is history */
        vt->history = MIN(vt->history + n, vt->lines - vt->rows);
    } else {
        for (unsigned y = top; y + n <= bottom; y++) {
            copy_line(vt, y, y + n);
        }
    }
    clear_lines(vt, bottom + 1 - n, bottom + 1);
}

static void scroll_down(Vt *vt, unsigned top, unsigned bottom, unsigned n)
{
    n = MIN(n, bottom - top + 1);
    for (unsigned y = bottom; y >= top + n; y--) {
        copy_line(vt, y, y - n);
    }
    clear_lines(vt, top, top + n);
}

/* ---- the cursor ---- */

static void move_to(Vt *vt, unsigned x, unsigned y)
{
    vt->pen.x = MIN(x, vt->cols - 1);
    vt->pen.y = MIN(y, vt->rows - 1);
}

/* Within the region when the cursor is in it. */
static void move_up(Vt *vt, unsigned n)
{
    unsigned limit = vt->pen.y >= vt->top ? vt->top : 0;

    move_to(vt, vt->pen.x, vt->pen.y - MIN(n, vt->pen.y - limit));
}

static void move_down(Vt *vt, unsigned n)
{
    unsigned limit = vt->pen.y <= vt->bottom ? vt->bottom : vt->rows - 1;

    move_to(vt, vt->pen.x, vt->pen.y + MIN(n, limit - vt->pen.y));
}

static void line_feed(Vt *vt)
{
    if (vt->pen.y == vt->bottom) {
        scroll_up(vt, vt->top, vt->bottom, 1);
    } else if (vt->pen.y < vt->rows - 1) {
        vt->pen.y++;
    }
}

static void reverse_line_feed(Vt *vt)
{
    if (vt->pen.y == vt->top) {
        scroll_down(vt, vt->top, vt->bottom, 1);
    } else if (vt->pen.y > 0) {
        vt->pen.y--;
    }
}

static void reset(Vt *vt)
{
    vt->pen = vt->saved = (Pen){ .fg = FG_DEFAULT, .bg = BG_DEFAULT };
    vt->top = 0;
    vt->bottom = vt->rows - 1;
    vt->cursor_on = vt->wrap = true;
    vt->origin = vt->insert = false;
    vt->state = GROUND;
    vt->code_left = 0;
    clear_lines(vt, 0, vt->rows);
}

/* ---- text ---- */

/* The VT102's special graphics at 60h..7eh, as code page 437 has them. */
static const uint8_t drawing[31] = {
    0x04, 0xb1, ' ',  ' ',  ' ',  ' ',  0xf8, 0xf1, ' ',  ' ',  0xd9, 0xbf, 0xda, 0xc0, 0xc5, 0xc4,
    0xc4, 0xc4, 0xc4, 0xc4, 0xc3, 0xb4, 0xc1, 0xc2, 0xb3, 0xf3, 0xf2, 0xe3, 0xd8, 0x9c, 0xfa,
};

static void put(Vt *vt, gunichar c)
{
    Pen *p = &vt->pen;
    uint8_t ch = p->drawing && c >= 0x60 && c <= 0x7e ? drawing[c - 0x60] : cp437_from_unicode(c);
    uint8_t fg = p->fg | (p->bold ? 8 : 0), bg = p->bg;
    TextCell *line;

    if (p->x == vt->cols) {
        if (vt->wrap) {
            p->x = 0;
            line_feed(vt);
        } else {
            p->x--;
        }
    }
    line = line_at(vt, p->y);
    if (vt->insert) {
        memmove(line + p->x + 1, line + p->x, (vt->cols - p->x - 1) * sizeof(*line));
    }
    line[p->x] = p->reverse ? (TextCell){ ch, bg, fg } : (TextCell){ ch, fg, bg };
    if (p->hidden) {
        line[p->x].fg = line[p->x].bg;
    }
    p->x++;
}

static void control(Vt *vt, uint8_t c)
{
    Pen *p = &vt->pen;

    switch (c) {
    case '\b':
        p->x = MIN(p->x, vt->cols - 1);
        p->x -= p->x > 0;
        break;
    case '\t':
        p->x = MIN((p->x / TAB + 1) * TAB, vt->cols - 1);
        break;
    case '\n':
    case '\v':
    case '\f':
        line_feed(vt);
        break;
    case '\r':
        p->x = 0;
        break;
    case 0x18:
    case 0x1a:
        vt->state = GROUND;
        break;
    case 0x1b:
        vt->state = ESCAPE;
        break;
    }
}

/* ---- sequences ---- */

/* Parameter I, or DEF where it is missing or 0. */
static unsigned param(const Vt *vt, unsigned i, unsigned def)
{
    return i < vt->param_count && vt->params[i] ? vt->params[i] : def;
}

static void answer(Vt *vt, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void answer(Vt *vt, const char *format, ...)
{
    char text[64];
    va_list ap;

    va_start(ap, format);
    g_vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (vt->reply->len + strlen(text) <= REPLY_MAX) {
        g_byte_array_append(vt->reply, (const uint8_t *)text, strlen(text));
    }
}

static void set_colours(Vt *vt)
{
    static const uint8_t ibm[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };     /* red and blue change places */
    Pen *p = &vt->pen;

    for (unsigned i = 0; i < MAX(vt->param_count, 1); i++) {
        unsigned n = i < vt->param_count ? vt->params[i] : 0;

        switch (n) {
        case 0:
            *p = (Pen){ .x = p->x, .y = p->y, .fg = FG_DEFAULT, .bg = BG_DEFAULT,
                        .drawing = p->drawing };
            break;
        case 1: p->bold = true; break;
        case 2: case 22: p->bold = false; break;
        case 7: p->reverse = true; break;
        case 27: p->reverse = false; break;
        case 8: p->hidden = true; break;
        case 28: p->hidden = false; break;
        case 30 ... 37: p->fg = ibm[n - 30]; break;
        case 39: p->fg = FG_DEFAULT; break;
        case 40 ... 47: p->bg = ibm[n - 40]; break;
        case 49: p->bg = BG_DEFAULT; break;
        case 90 ... 97: p->fg = ibm[n - 90] | 8; break;
        case 100 ... 107: p->bg = ibm[n - 100] | 8; break;
        case 38:
        case 48:
            return;               /* colours beyond these: the rest belongs to them */
        }
    }
}

static void erase_display(Vt *vt, unsigned how)
{
    const Pen *p = &vt->pen;

    if (how == 0) {
        clear_cells(vt, p->y, MIN(p->x, vt->cols - 1), vt->cols);
        clear_lines(vt, p->y + 1, vt->rows);
    } else if (how == 1) {
        clear_lines(vt, 0, p->y);
        clear_cells(vt, p->y, 0, MIN(p->x + 1, vt->cols));
    } else {
        clear_lines(vt, 0, vt->rows);
    }
}

static void erase_line(Vt *vt, unsigned how)
{
    unsigned x = MIN(vt->pen.x, vt->cols - 1);

    clear_cells(vt, vt->pen.y, how ? 0 : x, how == 1 ? x + 1 : vt->cols);
}

/* Inserts (or deletes) N blanks at the cursor. */
static void shift_line(Vt *vt, unsigned n, bool insert)
{
    TextCell *line = line_at(vt, vt->pen.y);
    unsigned x = MIN(vt->pen.x, vt->cols - 1), rest;

    n = MIN(n, vt->cols - x);
    rest = vt->cols - x - n;
    if (insert) {
        memmove(line + x + n, line + x, rest * sizeof(*line));
        clear_cells(vt, vt->pen.y, x, x + n);
    } else {
        memmove(line + x, line + x + n, rest * sizeof(*line));
        clear_cells(vt, vt->pen.y, x + rest, vt->cols);
    }
}

static void set_region(Vt *vt)
{
    unsigned top = param(vt, 0, 1) - 1, bottom = MIN(param(vt, 1, vt->rows), vt->rows) - 1;

    if (top < bottom) {
        vt->top = top;
        vt->bottom = bottom;
        move_to(vt, 0, vt->origin ? top : 0);
    }
}

static void set_modes(Vt *vt, bool on)
{
    for (unsigned i = 0; i < vt->param_count; i++) {
        if (!vt->mark && vt->params[i] == 4) {
            vt->insert = on;
        } else if (vt->mark == '?') {
            switch (vt->params[i]) {
            case 6:
                vt->origin = on;
                move_to(vt, 0, on ? vt->top : 0);
                break;
            case 7: vt->wrap = on; break;
            case 25: vt->cursor_on = on; break;
            }
        }
    }
}

static void position(Vt *vt)
{
    unsigned y = param(vt, 0, 1) - 1;

    move_to(vt, param(vt, 1, 1) - 1, vt->origin ? MIN(vt->top + y, vt->bottom) : y);
}

static void report(Vt *vt)
{
    if (param(vt, 0, 0) == 5) {
        answer(vt, "\033[0n");
    } else if (param(vt, 0, 0) == 6) {
        answer(vt, "\033[%u;%uR", vt->pen.y - (vt->origin ? vt->top : 0) + 1,
               MIN(vt->pen.x, vt->cols - 1) + 1);
    }
}

static void sequence(Vt *vt, uint8_t final)
{
    Pen *p = &vt->pen;
    unsigned n = param(vt, 0, 1), x = MIN(p->x, vt->cols - 1);
    bool inside = p->y >= vt->top && p->y <= vt->bottom;

    if (vt->mark == '?' && final != 'h' && final != 'l') {
        return;
    }
    switch (final) {
    case '@': shift_line(vt, n, true); break;
    case 'A': move_up(vt, n); break;
    case 'B': case 'e': move_down(vt, n); break;
    case 'C': case 'a': move_to(vt, x + n, p->y); break;
    case 'D': move_to(vt, x - MIN(n, x), p->y); break;
    case 'E': move_down(vt, n); p->x = 0; break;
    case 'F': move_up(vt, n); p->x = 0; break;
    case 'G': case '`': move_to(vt, n - 1, p->y); break;
    case 'H': case 'f': position(vt); break;
    case 'J': erase_display(vt, param(vt, 0, 0)); break;
    case 'K': erase_line(vt, param(vt, 0, 0)); break;
    case 'L': if (inside) { scroll_down(vt, p->y, vt->bottom, n); } break;
    case 'M': if (inside) { scroll_up(vt, p->y, vt->bottom, n); } break;
    case 'P': shift_line(vt, n, false); break;
    case 'S': scroll_up(vt, vt->top, vt->bottom, n); break;
    case 'T': scroll_down(vt, vt->top, vt->bottom, n); break;
    case 'X': clear_cells(vt, p->y, x, MIN(x + n, vt->cols)); break;
    case 'c': answer(vt, "\033[?6c"); break;
    case 'd': move_to(vt, x, n - 1); break;
    case 'h': set_modes(vt, true); break;
    case 'l': set_modes(vt, false); break;
    case 'm': set_colours(vt); break;
    case 'n': report(vt); break;
    case 'r': set_region(vt); break;
    case 's': vt->saved = *p; break;
    case 'u': *p = vt->saved; break;
    }
}

static void in_sequence(Vt *vt, uint8_t c)
{
    if (c >= '0' && c <= '9') {
        unsigned *n = &vt->params[MIN(vt->param_count, PARAMS) - 1];

        *n = MIN(*n * 10 + (c - '0'), PARAM_MAX);
    } else if (c == ';' || c == ':') {
        vt->param_count += vt->param_count < PARAMS;
    } else if (c >= 0x3c && c <= 0x3f) {
        vt->mark = (char)c;
    } else if (c >= 0x20 && c <= 0x2f) {
        vt->odd = true;
    } else {
        vt->state = GROUND;
        if (c >= 0x40 && c <= 0x7e && !vt->odd) {
            sequence(vt, c);
        }
    }
}

static void after_escape(Vt *vt, uint8_t c)
{
    vt->state = GROUND;
    switch (c) {
    case '[':
        vt->state = CSI;
        memset(vt->params, 0, sizeof(vt->params));
        vt->param_count = 1;
        vt->mark = 0;
        vt->odd = false;
        break;
    case ']': case 'P': case '^': case '_': case 'X': vt->state = STRING; break;
    case '(': vt->state = CHARSET; break;
    case ')': case '*': case '+': case '#': case '%': case ' ': vt->state = SKIP_ONE; break;
    case '7': vt->saved = vt->pen; break;
    case '8': vt->pen = vt->saved; break;
    case 'D': line_feed(vt); break;
    case 'E': vt->pen.x = 0; line_feed(vt); break;
    case 'M': reverse_line_feed(vt); break;
    case 'Z': answer(vt, "\033[?6c"); break;
    case 'c': reset(vt); break;
    }
}

/* A byte of text: ASCII, or a part of a UTF-8 sequence; a broken one shows as '?'. */
static void text_byte(Vt *vt, uint8_t c)
{
    if (vt->code_left && (c & 0xc0) == 0x80) {
        vt->code = vt->code << 6 | (c & 0x3f);
        if (--vt->code_left == 0) {
            put(vt, vt->code);
        }
        return;
    }
    if (vt->code_left) {
        vt->code_left = 0;
        put(vt, '?');
    }
    if (c < 0x80) {
        if (c != 0x7f) {
            put(vt, c);
        }
    } else if (c >= 0xc2 && c <= 0xf4) {
        vt->code_left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        vt->code = c & (0x3f >> vt->code_left);
    } else {
        put(vt, '?');
    }
}

static void feed_byte(Vt *vt, uint8_t c)
{
    if (vt->state == STRING || vt->state == STRING_ESCAPE) {
        /* Titles and the like, up to BEL or ESC \. */
        vt->state = c == '\a' || c == 0x18 || (vt->state == STRING_ESCAPE && c == '\\') ? GROUND
                    : c == 0x1b ? STRING_ESCAPE : STRING;
        return;
    }
    if (c < 0x20) {
        vt->code_left = 0;
        control(vt, c);
        return;
    }
    switch (vt->state) {
    case ESCAPE: after_escape(vt, c); break;
    case CSI: in_sequence(vt, c); break;
    case CHARSET: vt->pen.drawing = c == '0'; vt->state = GROUND; break;
    case SKIP_ONE: vt->state = GROUND; break;
    default: text_byte(vt, c); break;
    }
}

/* ---- interface ---- */

Vt *vt_new(unsigned cols, unsigned rows)
{
    Vt *vt = g_new0(Vt, 1);

    g_assert(cols >= 1 && cols <= VT_COLS_MAX && rows >= 1 && rows <= VT_ROWS_MAX);
    vt->cols = cols;
    vt->rows = rows;
    vt->lines = rows + HISTORY;
    vt->cells = g_new0(TextCell, (size_t)vt->lines * cols);
    vt->reply = g_byte_array_new();
    reset(vt);
    return vt;
}

void vt_free(Vt *vt)
{
    if (vt) {
        g_byte_array_unref(vt->reply);
        g_free(vt->cells);
        g_free(vt);
    }
}

void vt_feed(Vt *vt, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    vt->view = 0;
    for (size_t i = 0; i < len; i++) {
        feed_byte(vt, bytes[i]);
    }
}

unsigned vt_cols(const Vt *vt) { return vt->cols; }
unsigned vt_rows(const Vt *vt) { return vt->rows; }

const TextCell *vt_row(const Vt *vt, unsigned y)
{
    g_assert(y < vt->rows);
    return line_at(vt, vt->lines - vt->view + y);
}

bool vt_cursor(const Vt *vt, unsigned *x, unsigned *y)
{
    *x = MIN(vt->pen.x, vt->cols - 1);
    *y = vt->pen.y + vt->view;
    return vt->cursor_on && *y < vt->rows;
}

void vt_scroll_view(Vt *vt, int lines)
{
    vt->view = (unsigned)CLAMP((int)vt->view + CLAMP(lines, -HISTORY, HISTORY), 0,
                               (int)vt->history);
}

GByteArray *vt_take_reply(Vt *vt)
{
    GByteArray *reply = vt->reply;

    if (!reply->len) {
        return NULL;
    }
    vt->reply = g_byte_array_new();
    return reply;
}
