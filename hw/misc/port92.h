/* SPDX-License-Identifier: MIT */
/*
 * Port 92h, system control port A ("port92"): fast A20 gate and fast reset.
 * Thread rule: machine lock.
 */
#ifndef HW_MISC_PORT92_H
#define HW_MISC_PORT92_H

#include "hw/isa/isa.h"

/* A20's line goes high when the guest opens the gate. */
Device *port92_new(IsaBus *bus, IrqPin a20, GError **error);

#endif
