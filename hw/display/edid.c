/* SPDX-License-Identifier: MIT */
/* The base block of an EDID: header, product, timings, descriptors, checksum.  [VESA E-EDID 1.4 3] */
#include "hw/display/edid.h"

/* Established (35-37), then standard timings (38-53) the monitor offers.  [E-EDID 3.8, 3.9] */
/* clang-format off */
static const struct { uint16_t x, y; uint8_t byte, bit; } established[] = {
    { 640, 480, 35, 5 }, { 800, 600, 35, 0 }, { 1024, 768, 36, 3 },
};
static const struct { uint16_t x, y; uint8_t aspect; } standard[] = {   /* 0 16:10, 1 4:3, 2 5:4, 3 16:9 */
    { 1920, 1200, 0 }, { 1920, 1080, 3 }, { 1600, 1200, 1 }, { 1680, 1050, 0 },
    { 1440, 900, 0 }, { 1280, 1024, 2 }, { 1280, 960, 1 }, { 1280, 720, 3 },
};
/* clang-format on */

static bool fits(const EdidInfo *info, unsigned x, unsigned y)
{
    return (!info->maxx || x <= info->maxx) && (!info->maxy || y <= info->maxy);
}

static void put_standard(uint8_t *edid, const EdidInfo *info)
{
    uint8_t *p = edid + 38;

    memset(p, 0x01, 16);
    for (unsigned i = 0; i < ARRAY_LEN(standard); i++) {
        if (fits(info, standard[i].x, standard[i].y)) {
            *p++ = standard[i].x / 8 - 31;
            *p++ = standard[i].aspect << 6;
        }
    }
}

/* Detailed timing with blanking of roughly CVT's size.  [E-EDID 3.10.2] */
static void put_detailed(uint8_t *d, unsigned x, unsigned y, uint32_t refresh_mhz)
{
    unsigned h_blank = x * 35 / 100, v_blank = y * 35 / 1000;
    unsigned h_front = x * 25 / 100, h_sync = x * 3 / 100;
    unsigned v_front = y * 5 / 1000, v_sync = y * 5 / 1000;
    uint64_t clock = (uint64_t)refresh_mhz * (x + h_blank) * (y + v_blank) / 10000000;
    unsigned mm_x = x * 254 / 1000, mm_y = y * 254 / 1000;   /* 100 dpi */

    le16_store(d, MIN(clock, 65535));
    d[2] = x;
    d[3] = h_blank;
    d[4] = (x >> 8) << 4 | h_blank >> 8;
    d[5] = y;
    d[6] = v_blank;
    d[7] = (y >> 8) << 4 | v_blank >> 8;
    d[8] = h_front;
    d[9] = h_sync;
    d[10] = (v_front & 0xf) << 4 | (v_sync & 0xf);
    d[11] = (h_front >> 8) << 6 | (h_sync >> 8) << 4 | (v_front >> 4) << 2 | v_sync >> 4;
    d[12] = mm_x;
    d[13] = mm_y;
    d[14] = (mm_x >> 8) << 4 | mm_y >> 8;
    d[17] = 0x18;
}

static void put_text(uint8_t *d, uint8_t tag, const char *text)
{
    size_t len = MIN(strlen(text), 12);

    memset(d, 0, 5);
    d[3] = tag;
    memset(d + 5, ' ', 13);
    memcpy(d + 5, text, len);
    d[5 + len] = '\n';
}

void edid_generate(uint8_t edid[128], const EdidInfo *info)
{
    unsigned x = info->prefx ?: 1280, y = info->prefy ?: 800;
    uint8_t sum = 0;

    memset(edid, 0, 128);
    memset(edid + 1, 0xff, 6);
    be16_store(edid + 8, ('R' - 64) << 10 | ('H' - 64) << 5 | ('T' - 64));
    le16_store(edid + 10, 0x1234);
    edid[16] = 42;                    /* week, then year since 1990 */
    edid[17] = 2014 - 1990;
    edid[18] = 1;
    edid[19] = 4;
    edid[20] = 0xa5;                  /* digital, 8 bits a colour, DisplayPort */
    edid[21] = x * 254 / 10000;       /* cm */
    edid[22] = y * 254 / 10000;
    edid[23] = 220 - 100;
    edid[24] = 0x06;                  /* sRGB, preferred timing is native */
    /* sRGB primaries.  [E-EDID 3.7] */
    memcpy(edid + 25, "\xee\x91\xa3\x54\x4c\x99\x26\x0f\x50\x54", 10);
    for (unsigned i = 0; i < ARRAY_LEN(established); i++) {
        if (fits(info, established[i].x, established[i].y)) {
            edid[established[i].byte] |= BIT(established[i].bit);
        }
    }
    put_standard(edid, info);
    put_detailed(edid + 54, x, y, info->refresh_mhz ?: 75000);
    memcpy(edid + 72, "\0\0\0\xfd\0\x32\x7d\x1e\xa0\xff\x01\n      ", 18);
    put_text(edid + 90, 0xfc, info->name ?: "Rhea Monitor");
    put_text(edid + 108, 0xff, info->serial ?: "0");
    for (unsigned i = 0; i < 127; i++) {
        sum += edid[i];
    }
    edid[127] = -sum;
}
