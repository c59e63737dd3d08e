/* SPDX-License-Identifier: MIT */
/*
 * The 8042 keyboard controller of a PC ("i8042"), with its keyboard and mouse.
 * Thread rule: machine lock.
 */
#ifndef HW_INPUT_I8042_H
#define HW_INPUT_I8042_H

#include "hw/isa/isa.h"

/* At ports 60h and 64h; A20's line is high while the gate is open. */
Device *i8042_new(IsaBus *bus, IrqPin a20, GError **error);

/* Makes the mouse send a packet without motion, if the guest listens to it. */
void i8042_poke_mouse(Device *dev);
/* vmmouse.c: the absolute pointer over the machine's vmport. */
Device *vmmouse_new(IsaBus *bus, Device *i8042, GError **error);

#endif
