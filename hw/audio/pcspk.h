/* SPDX-License-Identifier: MIT */
/*
 * Port 61h ("isa-pcspk"): the gate of PIT counter 2, the speaker's enable, the refresh toggle.
 * Thread rule: machine lock.
 */
#ifndef HW_AUDIO_PCSPK_H
#define HW_AUDIO_PCSPK_H

#include "hw/isa/isa.h"

/* PIT: an "isa-pit". */
Device *pcspk_new(IsaBus *bus, Device *pit, GError **error);

#endif
