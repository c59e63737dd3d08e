/* SPDX-License-Identifier: MIT */
/*
 * "vc", a character device that is a terminal in the window (Ctrl-Alt-2 and on).
 * Main loop only.
 */
#ifndef UI_VC_H
#define UI_VC_H

#include <glib.h>
#include <stdbool.h>

/* Adds the kind to those of -chardev; once. */
void vc_register(void);
/* Whether there is a font to draw with; the error says where it would come from. */
bool vc_is_available(GError **error);

#endif
