/* SPDX-License-Identifier: MIT */
/* Code page 437, the character set of the VGA's font. */
#ifndef UI_CP437_H
#define UI_CP437_H

#include <glib.h>
#include <stdint.h>

/* What CH looks like, as UTF-8. */
const char *cp437_to_utf8(uint8_t ch);
/* The character that looks like C; '?' when the font has none. */
uint8_t cp437_from_unicode(gunichar c);

#endif
