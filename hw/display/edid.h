/* SPDX-License-Identifier: MIT */
/* EDID blocks for virtual monitors.  [VESA E-EDID 1.4] */
#ifndef HW_DISPLAY_EDID_H
#define HW_DISPLAY_EDID_H

#include "base/bits.h"

typedef struct EdidInfo {
    const char *name;         /* at most 12 characters */
    const char *serial;
    uint16_t prefx, prefy;    /* preferred mode; 0: 1280x800 */
    uint16_t maxx, maxy;      /* largest mode offered; 0: no limit */
    uint32_t refresh_mhz;     /* thousandths of a hertz; 0: 75000 */
} EdidInfo;

/* Fills the 128 bytes of the base block. */
void edid_generate(uint8_t edid[128], const EdidInfo *info);

#endif
