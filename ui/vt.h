/* SPDX-License-Identifier: MIT */
/*
 * A terminal without a face: bytes in, a grid of cells out.
 *
 *     Vt *vt = vt_new(80, 24);
 *     vt_feed(vt, "\033[31mred\r\n", 10);
 *     const TextCell *row = vt_row(vt, 0);      // cells of what is seen
 *
 * Understood: ECMA-48 and VT102 cursor movement, erasing, inserting, deleting, scrolling regions,
 * tabs, SGR colours, line drawing, reports; text is UTF-8, of which the VGA's characters show.
 * Lines that scroll out of the top are kept and can be looked at.
 * Thread rule: the caller's.
 */
#ifndef UI_VT_H
#define UI_VT_H

#include "ui/console.h"

enum { VT_COLS_MAX = 256, VT_ROWS_MAX = 128 };

typedef struct Vt Vt;

/* 1..VT_COLS_MAX, 1..VT_ROWS_MAX. */
Vt *vt_new(unsigned cols, unsigned rows);
void vt_free(Vt *vt);
void vt_feed(Vt *vt, const void *data, size_t len);
unsigned vt_cols(const Vt *vt);
unsigned vt_rows(const Vt *vt);
/* Row Y of what is seen. */
const TextCell *vt_row(const Vt *vt, unsigned y);
/* False when it is switched off or out of sight. */
bool vt_cursor(const Vt *vt, unsigned *x, unsigned *y);
/* By so many lines, back in time when positive; output brings the view back. */
void vt_scroll_view(Vt *vt, int lines);
/* What the terminal answers to questions in its input; NULL: nothing.  The caller frees. */
GByteArray *vt_take_reply(Vt *vt);

#endif
