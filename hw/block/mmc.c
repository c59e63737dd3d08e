/* SPDX-License-Identifier: MIT */
/*
 * CD/DVD-ROM drives: replies of the commands that ATAPI and SCSI drives share.
 * Spec: MMC-6 (T10/1836-D); section numbers are its own.
 * Locking: none, no state.
 */
#include "hw/block/mmc.h"

#include "base/bits.h"

enum { CD_MAX_BLOCKS = 900000 };      /* 80 minutes: above it, a DVD */
enum { PROFILE_CD_ROM = 0x08, PROFILE_DVD_ROM = 0x10 };

bool mmc_is_dvd(const MmcDrive *d)
{
    return d->blocks > CD_MAX_BLOCKS;
}

void mmc_put_msf(uint8_t *p, uint64_t lba)
{
    uint64_t frames = lba + 150;

    p[0] = frames / 75 / 60;
    p[1] = frames / 75 % 60;
    p[2] = frames % 75;
}

/* 6.5: the features of a DVD-ROM that also reads CDs. */
uint32_t mmc_get_configuration(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf)
{
    uint8_t *p = buf + 8;
    unsigned rt = cdb[1] & 3, start = be16_load(cdb + 2);
    uint16_t profile = !d->has_disc ? 0 : mmc_is_dvd(d) ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
    const uint8_t core[] = { 0x00, 0x01, 0x07, 8, 0, 0, 0, d->atapi ? 2 : 1, 1, 0, 0, 0 };
    static const uint8_t removable[] = { 0x00, 0x03, 0x07, 4, 0x29, 0, 0, 0 };

    memset(buf, 0, MMC_REPLY_MAX);
    be16_store(buf + 6, profile);
#define WANTED(code) (rt == 2 ? start == (code) : (code) >= start)
    if (WANTED(0)) {
        p[2] = 0x03;                  /* profile list: persistent, current */
        p[3] = 8;
        be16_store(p + 4, PROFILE_DVD_ROM);
        p[6] = profile == PROFILE_DVD_ROM;
        be16_store(p + 8, PROFILE_CD_ROM);
        p[10] = profile == PROFILE_CD_ROM;
        p += 12;
    }
    if (WANTED(1)) {
        memcpy(p, core, sizeof(core));
        p += sizeof(core);
    }
    if (WANTED(3)) {
        memcpy(p, removable, sizeof(removable));
        p += sizeof(removable);
    }
#undef WANTED
    be32_store(buf, p - buf - 4);
    return p - buf;
}

/* 6.7, polled: only the media class (4) has events. */
uint32_t mmc_event_status(const MmcDrive *d, const uint8_t *cdb, MmcEvent event, uint8_t *buf,
                          bool *told)
{
    *told = false;
    if (!(cdb[1] & 1)) {
        return 0;
    }
    memset(buf, 0, MMC_REPLY_MAX);
    buf[3] = BIT(4);
    if (!(cdb[4] & BIT(4))) {
        buf[1] = 2;
        buf[2] = 0x80;                /* no such class */
        return 4;
    }
    buf[1] = 6;
    buf[2] = 4;
    buf[4] = event;
    buf[5] = (d->tray_open ? BIT(0) : 0) | (d->has_disc ? BIT(1) : 0);
    *told = true;
    return 8;
}

/* 6.12 */
uint32_t mmc_mechanism_status(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf)
{
    memset(buf, 0, MMC_REPLY_MAX);
    buf[1] = d->tray_open ? BIT(4) : 0;
    buf[5] = 1;
    return 8;
}

static void put_toc_address(uint8_t *p, uint64_t lba, bool msf)
{
    if (msf) {
        p[0] = 0;
        mmc_put_msf(p + 1, lba);
    } else {
        be32_store(p, lba);
    }
}

/* 6.25: one data track and the lead-out. */
uint32_t mmc_read_toc(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf)
{
    uint8_t *b = buf, track = cdb[6];
    bool msf = cdb[1] & 2;
    unsigned format = cdb[2] & 0xf ?: cdb[9] >> 6;
    uint32_t len;

    memset(b, 0, MMC_REPLY_MAX);
    b[2] = b[3] = 1;
    switch (format) {
    case 0:
        if (track > 1 && track != 0xaa) {
            return 0;
        }
        len = 4;
        if (track <= 1) {
            b[len + 1] = 0x14;
            b[len + 2] = 1;
            put_toc_address(b + len + 4, 0, msf);
            len += 8;
        }
        b[len + 1] = 0x16;
        b[len + 2] = 0xaa;
        put_toc_address(b + len + 4, d->blocks, msf);
        len += 8;
        break;
    case 1:                           /* session info: one session, starts at track 1 */
        b[5] = 0x14;
        b[6] = 1;
        put_toc_address(b + 8, 0, msf);
        len = 12;
        break;
    case 2: {                         /* full TOC: points a0, a1, a2 and track 1, in MSF */
        static const uint8_t points[] = { 0xa0, 0xa1, 0xa2, 0x01 };

        len = 4;
        for (unsigned i = 0; i < ARRAY_LEN(points); i++, len += 11) {
            uint8_t *p = b + len;

            p[0] = 1;
            p[1] = i == 2 ? 0x16 : 0x14;
            p[3] = points[i];
            if (i < 2) {
                p[8] = 1;
            } else {
                mmc_put_msf(p + 8, i == 2 ? d->blocks : 0);
            }
        }
        break;
    }
    default:
        return 0;
    }
    be16_store(b, len - 2);
    return len;
}

/* 6.21 */
uint32_t mmc_disc_information(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf)
{
    memset(buf, 0, MMC_REPLY_MAX);
    be16_store(buf, 32);
    buf[2] = 0x0e;                    /* last session complete, disc finalized */
    buf[3] = buf[4] = buf[5] = buf[6] = 1;
    buf[7] = 0x20;                    /* unrestricted use */
    return 34;
}

/* 6.26 */
uint32_t mmc_track_information(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf)
{
    memset(buf, 0, MMC_REPLY_MAX);
    be16_store(buf, 34);
    buf[2] = buf[3] = 1;
    buf[5] = 4;
    buf[6] = 1;
    be32_store(buf + 24, d->blocks);
    return 36;
}

/* 6.22: physical format (0), copyright (1), manufacturer (4), list (ff). */
uint32_t mmc_dvd_structure(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf)
{
    uint8_t *b = buf;
    uint32_t len, last = d->blocks - 1;

    if (!d->has_disc || !mmc_is_dvd(d) || (cdb[1] & 0xf)) {
        return 0;
    }
    memset(b, 0, MMC_REPLY_MAX);
    switch (cdb[7]) {
    case 0x00:
        b[4] = 1;                     /* DVD-ROM, version 1 */
        b[5] = 0x0f;
        b[6] = 1;
        be32_store(b + 8, 0x30000);
        be32_store(b + 12, 0x30000 + last);
        be32_store(b + 16, 0x30000 + last);
        len = 2052;
        break;
    case 0x01:
        len = 8;
        break;
    case 0x04:
        len = 2052;
        break;
    case 0xff:
        b[4] = 0x00;
        b[5] = 0x40;
        be16_store(b + 6, 2052);
        b[8] = 0x01;
        b[9] = 0x40;
        be16_store(b + 10, 8);
        len = 12;
        break;
    default:
        return 0;
    }
    be16_store(b, len - 2);
    return len;
}

/* MMC-3 5.5.10 (page 2Ah is legacy in MMC-6, annex E) */
uint32_t mmc_capabilities_page(const MmcDrive *d, uint8_t *p)
{
    memset(p, 0, 20);
    p[0] = 0x2a;
    p[1] = 0x12;
    p[2] = 0x3b;                      /* reads CD-R, CD-RW, DVD-ROM, -R, method 2 */
    p[4] = 0x70;                      /* multisession, mode 2 forms 1 and 2 */
    p[5] = 0x03;                      /* CD-DA commands, accurate stream */
    p[6] = 0x29 | (d->tray_locked ? BIT(1) : 0);     /* tray, eject, lock */
    be16_store(p + 8, 704);           /* 4x */
    be16_store(p + 10, 2);
    be16_store(p + 12, 512);
    be16_store(p + 14, 704);
    return 20;
}

/* MMC-3 5.5.6 */
uint32_t mmc_audio_page(uint8_t *p)
{
    memset(p, 0, 16);
    p[0] = 0x0e;
    p[1] = 0x0e;
    p[2] = 0x04;
    return 16;
}
