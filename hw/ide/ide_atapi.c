/* SPDX-License-Identifier: MIT */
/*
 * ATAPI CD/DVD drive: the PACKET command and the MMC commands in it.
 * Spec: MMC-6 (T10/1836-D), SPC-3 for INQUIRY and REQUEST SENSE, ATA/ATAPI-7 volume 2 for phases.
 * Not modelled: audio, subchannels beyond zeroes, writing, multi-session discs.
 */
#include "hw/ide/ide_int.h"

#include <errno.h>

#include "hw/block/mmc.h"
#include "hw/trace.h"

enum { SENSE_NONE = 0, SENSE_NOT_READY = 2, SENSE_MEDIUM_ERROR = 3, SENSE_ILLEGAL_REQUEST = 5,
       SENSE_UNIT_ATTENTION = 6, SENSE_ABORTED = 11 };
enum { ASC_LOGICAL_BLOCK_OOR = 0x21, ASC_INVALID_OPCODE = 0x20, ASC_INVALID_FIELD = 0x24,
       ASC_MEDIUM_CHANGED = 0x28, ASC_MEDIUM_NOT_PRESENT = 0x3a, ASC_SAVING_NOT_SUPPORTED = 0x39,
       ASC_REMOVAL_PREVENTED = 0x53, ASC_UNRECOVERED_READ = 0x11, ASC_DATA_PHASE = 0x4b };
enum { CD_RAW_SECTOR = 2352 };

static uint64_t cd_sectors(const IdeDrive *d)
{
    return d->nb_sectors / (IDE_CD_SECTOR / IDE_SECTOR);
}

static bool has_disc(const IdeDrive *d)
{
    return d->nb_sectors && !d->tray_open;
}

static MmcDrive mmc_drive(const IdeDrive *d)
{
    return (MmcDrive){ .blocks = cd_sectors(d), .has_disc = has_disc(d),
                       .tray_open = d->tray_open, .tray_locked = d->tray_locked, .atapi = true };
}

/* ---- ends ---- */

static void packet_ok(IdeDrive *d)
{
    d->tf.error = 0;
    d->tf.status = ATA_DRDY | ATA_DSC;
    d->tf.nsector = (d->tf.nsector & ~7) | ATAPI_IO | ATAPI_CD;
    ide_raise_irq(d);
    if (d->bus->host->command_done) {
        d->bus->host->command_done(d->bus);
    }
}

static void packet_error(IdeDrive *d, uint8_t key, uint8_t asc)
{
    trace_ide_atapi_cmd_error(d->bus->bus.obj.name, d->unit, key, asc);
    d->sense_key = key;
    d->asc = asc;
    d->ascq = 0;
    d->tf.nsector = (d->tf.nsector & ~7) | ATAPI_IO | ATAPI_CD;
    ide_command_error(d, key << 4 | ATA_ABRT);
}

void ide_atapi_dma_failed(IdeDrive *d)
{
    packet_error(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
}

static void sense_of_errno(IdeDrive *d, int err)
{
    if (err == -ENOMEDIUM) {
        packet_error(d, SENSE_NOT_READY, ASC_MEDIUM_NOT_PRESENT);
    } else {
        packet_error(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
    }
}

/* ---- data to the host ---- */

static void read_next_sectors(IdeDrive *d);

static bool wants_dma(const IdeDrive *d)
{
    return d->tf.feature & 1;
}

/* The byte count limit written before PACKET; odd ones and 0xffff are rounded down.  The registers
 * then carry the count of each data phase.  [ATAPI-7 V2 11.8] */
static uint32_t byte_count_limit(const IdeDrive *d)
{
    uint32_t limit = d->tf.lcyl | d->tf.hcyl << 8;

    limit = limit == 0xffff ? 0xfffe : limit & ~1u;
    return limit ?: 0xfffe;
}

/* One DRQ phase of PIO; after the last one, the end, or more sectors of a READ. */
void ide_atapi_reply_piece(IdeDrive *d)
{
    uint32_t rest = d->reply_len - d->reply_pos, len;

    if (!rest) {
        if (d->cd_sectors_left) {
            read_next_sectors(d);
        } else {
            packet_ok(d);
        }
        return;
    }
    len = MIN(rest, d->byte_limit);
    d->tf.lcyl = len;
    d->tf.hcyl = len >> 8;
    d->tf.nsector = (d->tf.nsector & ~7) | ATAPI_IO;
    d->tf.status = ATA_DRDY | ATA_DSC;
    if (d->reply_pos) {
        memmove(d->buf, d->buf + d->reply_pos, rest);
        d->reply_len = rest;
    }
    d->reply_pos = len;
    ide_pio_begin(d, len, false, ide_atapi_reply_piece);
    ide_raise_irq(d);
}

/* Up to ALLOC bytes of the LEN in buf. */
static void reply(IdeDrive *d, uint32_t len, uint32_t alloc)
{
    d->reply_len = MIN(len, alloc);
    d->reply_pos = 0;
    d->cd_sectors_left = 0;
    if (!d->reply_len) {
        packet_ok(d);
    } else if (wants_dma(d)) {
        ide_dma_buf(d, d->reply_len, false, packet_ok);
    } else {
        ide_atapi_reply_piece(d);
    }
}

/* ---- reading the medium ---- */

static uint8_t bcd(unsigned n)
{
    return (n / 10) << 4 | (n % 10);
}

/* A mode 1 sector around its 2048 bytes: sync, header, zeroed EDC/ECC.  [MMC-6 4.2.3.8] */
static void make_raw_sector(uint8_t *raw, const uint8_t *data, uint64_t lba)
{
    uint8_t msf[3];

    memmove(raw + 16, data, IDE_CD_SECTOR);
    mmc_put_msf(msf, lba);
    raw[0] = raw[11] = 0;
    memset(raw + 1, 0xff, 10);
    for (unsigned i = 0; i < 3; i++) {
        raw[12 + i] = bcd(msf[i]);
    }
    raw[15] = 1;
    memset(raw + 16 + IDE_CD_SECTOR, 0, CD_RAW_SECTOR - 16 - IDE_CD_SECTOR);
}

static void sectors_read(void *opaque, int ret)
{
    IdeDrive *d = opaque;
    uint32_t n = d->pio_sectors;

    if (!ide_request_done(d)) {
        return;
    }
    if (ret < 0) {
        sense_of_errno(d, ret);
    } else {
        if (d->cd_sector_size == CD_RAW_SECTOR) {
            /* From the last one down: each grows in place. */
            for (uint32_t i = n; i-- > 0;) {
                make_raw_sector(d->buf + i * CD_RAW_SECTOR, d->buf + i * IDE_CD_SECTOR,
                                d->cd_lba + i);
            }
        }
        d->cd_lba += n;
        d->cd_sectors_left -= n;
        d->reply_len = n * d->cd_sector_size;
        d->reply_pos = 0;
        if (wants_dma(d)) {
            /* Only raw reads come this way; MODE 1 DMA goes straight to guest memory. */
            ide_dma_buf(d, d->reply_len, false, d->cd_sectors_left ? read_next_sectors : packet_ok);
        } else {
            ide_atapi_reply_piece(d);
        }
    }
    device_sync(d->bus->bus.owner);
}

static void read_next_sectors(IdeDrive *d)
{
    d->pio_sectors = MIN(d->cd_sectors_left, IDE_BUF_LEN / d->cd_sector_size);
    d->iov = (struct iovec){ d->buf, (size_t)d->pio_sectors * IDE_CD_SECTOR };
    d->tf.status = ATA_DRDY | ATA_DSC | ATA_BSY;
    d->request = blk_aio_preadv(d->blk, d->cd_lba * IDE_CD_SECTOR, &d->iov, 1, sectors_read, d);
}

static void read_sectors(IdeDrive *d, uint64_t lba, uint32_t count, uint32_t sector_size)
{
    if (!count) {
        packet_ok(d);
        return;
    }
    if (lba >= cd_sectors(d) || count > cd_sectors(d) - lba) {
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_LOGICAL_BLOCK_OOR);
        return;
    }
    d->cd_lba = lba;
    d->cd_sectors_left = count;
    d->cd_sector_size = sector_size;
    if (wants_dma(d) && sector_size == IDE_CD_SECTOR &&
        count <= UINT32_MAX / IDE_CD_SECTOR) {
        d->cd_sectors_left = 0;
        ide_dma_medium(d, lba * IDE_CD_SECTOR, count * IDE_CD_SECTOR, false, false);
        d->dma.moved = packet_ok;
        return;
    }
    read_next_sectors(d);
}

static void cmd_read10(IdeDrive *d)
{
    read_sectors(d, be32_load(d->packet + 2), be16_load(d->packet + 7), IDE_CD_SECTOR);
}

static void cmd_read12(IdeDrive *d)
{
    read_sectors(d, be32_load(d->packet + 2), be32_load(d->packet + 6), IDE_CD_SECTOR);
}

/* MMC-6 6.19: byte 9 says which parts of the raw sector are wanted. */
static void cmd_read_cd(IdeDrive *d)
{
    uint32_t count = d->packet[6] << 16 | be16_load(d->packet + 7);

    switch (d->packet[9] & 0xf8) {
    case 0x00:
        packet_ok(d);
        break;
    case 0x10:
        read_sectors(d, be32_load(d->packet + 2), count, IDE_CD_SECTOR);
        break;
    case 0xf8:
        read_sectors(d, be32_load(d->packet + 2), count, CD_RAW_SECTOR);
        break;
    default:
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    }
}

static void cmd_seek(IdeDrive *d)
{
    if (be32_load(d->packet + 2) >= cd_sectors(d)) {
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_LOGICAL_BLOCK_OOR);
    } else {
        packet_ok(d);
    }
}

/* ---- status and identification ---- */

static void cmd_test_unit_ready(IdeDrive *d)
{
    packet_ok(d);
}

static void cmd_request_sense(IdeDrive *d)
{
    memset(d->buf, 0, 18);
    d->buf[0] = 0xf0;
    d->buf[2] = d->sense_key;
    d->buf[7] = 10;
    d->buf[12] = d->asc;
    d->buf[13] = d->ascq;
    d->sense_key = d->asc = d->ascq = 0;
    reply(d, 18, d->packet[4]);
}

static void put_padded(uint8_t *p, const char *text, unsigned len)
{
    memset(p, ' ', len);
    memcpy(p, text, MIN(strlen(text), len));
}

/* Device identification as the SCSI/ATA translation of a disk words it.  [SPC-3 7.6.3, SAT-2 10.3.4] */
static uint32_t identification(IdeDrive *d, uint8_t *b)
{
    uint32_t at = 4;

    b[at] = 0x02;                     /* ASCII; vendor specific */
    b[at + 3] = 20;
    put_padded(b + at + 4, d->serial, 20);
    at += 24;
    b[at] = 0x02;                     /* ASCII; T10 vendor identification */
    b[at + 1] = 0x01;
    b[at + 3] = 68;
    put_padded(b + at + 4, "ATA", 8);
    put_padded(b + at + 12, d->model, 40);
    put_padded(b + at + 52, d->serial, 20);
    at += 72;
    if (d->wwn) {
        b[at] = 0x01;                 /* binary; NAA */
        b[at + 1] = 0x03;
        b[at + 3] = 8;
        be64_store(b + at + 4, d->wwn);
        at += 12;
    }
    return at;
}

/* Vital product data; B is all zeroes but for the kind of device. */
static void inquiry_page(IdeDrive *d, uint8_t page, uint32_t alloc)
{
    uint8_t *b = d->buf;
    uint32_t len;

    b[1] = page;
    switch (page) {
    case 0x00:
        b[5] = 0x83;
        len = 6;
        break;
    case 0x83:
        len = identification(d, b);
        break;
    default:
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    b[3] = len - 4;
    reply(d, len, alloc);
}

static void cmd_inquiry(IdeDrive *d)
{
    uint8_t *b = d->buf;
    uint32_t alloc = be16_load(d->packet + 3);

    memset(b, 0, 128);
    b[0] = 0x05;                      /* CD/DVD device */
    if (d->packet[1] & 1) {
        inquiry_page(d, d->packet[2], alloc);
        return;
    }
    b[1] = 0x80;                      /* removable */
    b[3] = 0x21;                      /* ATAPI-2 response format */
    b[4] = 36 - 5;
    put_padded(b + 8, "QEMU", 8);
    put_padded(b + 16, "QEMU DVD-ROM", 16);
    put_padded(b + 32, d->version, 4);
    reply(d, 36, alloc);
}

static void cmd_mode_sense10(IdeDrive *d)
{
    uint8_t *b = d->buf, page = d->packet[2] & 0x3f;
    MmcDrive drive = mmc_drive(d);
    uint32_t len;

    if (d->packet[2] >> 6 == 3) {
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
        return;
    }
    memset(b, 0, 64);
    b[2] = d->tray_open ? 0x71 : has_disc(d) ? 0x01 : 0x70;   /* medium type */
    switch (page) {
    case 0x01:                        /* read error recovery */
        b[8] = 0x01;
        b[9] = 0x06;
        b[11] = 0x05;
        len = 16;
        break;
    case 0x0e:                        /* CD audio control */
        len = 8 + mmc_audio_page(b + 8);
        break;
    case 0x2a:                        /* capabilities */
        len = 8 + mmc_capabilities_page(&drive, b + 8);
        break;
    default:
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    be16_store(b, len - 2);
    reply(d, len, be16_load(d->packet + 7));
}

/* A reply that SCSI drives make, too. */
static void reply_mmc(IdeDrive *d, uint32_t len, uint32_t alloc)
{
    if (len) {
        reply(d, len, alloc);
    } else {
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    }
}

/* Allocation length in bytes 7 and 8, or 8 and 9. */
#define MMC_COMMAND(id, fn, at)                                                            \
    static void id(IdeDrive *d)                                                            \
    {                                                                                      \
        MmcDrive drive = mmc_drive(d);                                                     \
                                                                                           \
        reply_mmc(d, fn(&drive, d->packet, d->buf), be16_load(d->packet + (at)));          \
    }
MMC_COMMAND(cmd_get_configuration, mmc_get_configuration, 7)
MMC_COMMAND(cmd_mechanism_status, mmc_mechanism_status, 8)
MMC_COMMAND(cmd_read_toc, mmc_read_toc, 7)
MMC_COMMAND(cmd_read_disc_info, mmc_disc_information, 7)
MMC_COMMAND(cmd_read_track_info, mmc_track_information, 7)
MMC_COMMAND(cmd_read_dvd_structure, mmc_dvd_structure, 8)

static void cmd_get_event_status(IdeDrive *d)
{
    MmcDrive drive = mmc_drive(d);
    MmcEvent event = !d->media_event ? MMC_NO_EVENT : has_disc(d) ? MMC_NEW_MEDIA
                                                                   : MMC_MEDIA_REMOVAL;
    bool told;
    uint32_t len = mmc_event_status(&drive, d->packet, event, d->buf, &told);

    d->media_event &= !told;
    reply_mmc(d, len, be16_load(d->packet + 7));
}

/* ---- the disc ---- */

static void cmd_read_capacity(IdeDrive *d)
{
    be32_store(d->buf, MIN(cd_sectors(d) - 1, UINT32_MAX));
    be32_store(d->buf + 4, IDE_CD_SECTOR);
    reply(d, 8, 8);
}

static void cmd_read_subchannel(IdeDrive *d)
{
    uint32_t len = d->packet[2] & 0x40 ? 16 : 4;

    memset(d->buf, 0, 16);
    d->buf[1] = 0x15;                 /* no audio status */
    be16_store(d->buf + 2, len - 4);
    reply(d, len, be16_load(d->packet + 7));
}

/* ---- tray ---- */

static void cmd_start_stop(IdeDrive *d)
{
    bool start = d->packet[4] & 1, loej = d->packet[4] & 2;

    if (d->packet[4] >> 4 || !loej) { /* power conditions, spin up or down: nothing to do */
        packet_ok(d);
        return;
    }
    if (!start && !d->tray_open && d->tray_locked) {
        packet_error(d, d->nb_sectors ? SENSE_ILLEGAL_REQUEST : SENSE_NOT_READY,
                     ASC_REMOVAL_PREVENTED);
        return;
    }
    if (d->tray_open == start) {
        d->tray_open = !start;
        blk_tray_moved(d->blk, !start);
    }
    packet_ok(d);
}

static void cmd_prevent_removal(IdeDrive *d)
{
    d->tray_locked = d->packet[4] & 1;
    blk_lock_medium(d->blk, d->tray_locked);
    packet_ok(d);
}

void ide_atapi_medium_changed(IdeDrive *d, bool loaded)
{
    d->nb_sectors = blk_length(d->blk) / IDE_SECTOR;
    d->tray_open = !loaded;      /* the user takes and puts discs with the tray */
    d->media_changed = true;
    d->media_event = true;
}

void ide_atapi_eject_request(IdeDrive *d, bool force)
{
    d->media_event = true;
    if (force) {
        d->tray_locked = false;
    }
}

/* ---- dispatch ---- */

enum { ALLOW_ATTENTION = BIT(0), NEEDS_DISC = BIT(1) };

/* clang-format off */
static const struct { void (*run)(IdeDrive *d); uint8_t flags; } packets[256] = {
    [0x00] = { cmd_test_unit_ready, NEEDS_DISC },
    [0x03] = { cmd_request_sense, ALLOW_ATTENTION },
    [0x12] = { cmd_inquiry, ALLOW_ATTENTION },
    [0x1b] = { cmd_start_stop },
    [0x1e] = { cmd_prevent_removal },
    [0x25] = { cmd_read_capacity, NEEDS_DISC },
    [0x28] = { cmd_read10, NEEDS_DISC },
    [0x2b] = { cmd_seek, NEEDS_DISC },
    [0x35] = { cmd_test_unit_ready },                 /* SYNCHRONIZE CACHE */
    [0x42] = { cmd_read_subchannel, NEEDS_DISC },
    [0x43] = { cmd_read_toc, NEEDS_DISC },
    [0x46] = { cmd_get_configuration, ALLOW_ATTENTION },
    [0x4a] = { cmd_get_event_status, ALLOW_ATTENTION },
    [0x51] = { cmd_read_disc_info, NEEDS_DISC },
    [0x52] = { cmd_read_track_info, NEEDS_DISC },
    [0x5a] = { cmd_mode_sense10 },
    [0xa8] = { cmd_read12, NEEDS_DISC },
    [0xad] = { cmd_read_dvd_structure, NEEDS_DISC },
    [0xbb] = { cmd_test_unit_ready },                 /* SET CD SPEED */
    [0xbd] = { cmd_mechanism_status },
    [0xbe] = { cmd_read_cd, NEEDS_DISC },
};
/* clang-format on */

void ide_atapi_command(IdeDrive *d)
{
    memcpy(d->packet, d->buf, sizeof(d->packet));
    ide_atapi_run(d);
}

void ide_atapi_run(IdeDrive *d)
{
    uint8_t opcode = d->packet[0];

    trace_ide_atapi_cmd(d->bus->bus.obj.name, d->unit, opcode);
    d->byte_limit = byte_count_limit(d);
    d->tf.status = ATA_DRDY | ATA_DSC;
    if (!packets[opcode].run) {
        packet_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
        return;
    }
    /* SPC-3 5.x: a changed medium is reported once before other commands run. */
    if (d->media_changed && !(packets[opcode].flags & ALLOW_ATTENTION)) {
        d->media_changed = false;
        if (has_disc(d)) {
            packet_error(d, SENSE_UNIT_ATTENTION, ASC_MEDIUM_CHANGED);
        } else {
            packet_error(d, SENSE_NOT_READY, ASC_MEDIUM_NOT_PRESENT);
        }
        return;
    }
    if ((packets[opcode].flags & NEEDS_DISC) && !has_disc(d)) {
        packet_error(d, SENSE_NOT_READY, ASC_MEDIUM_NOT_PRESENT);
        return;
    }
    packets[opcode].run(d);
}

/* IDENTIFY PACKET DEVICE.  [ACS 7.13] */
static void put_ata_string(uint8_t *words, const char *text, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        words[i ^ 1] = *text ? *text++ : ' ';
    }
}

void ide_atapi_identify(IdeDrive *d)
{
    uint8_t *id = d->buf;

#define ID(word, value) le16_store(id + 2 * (word), (value))
    memset(id, 0, IDE_SECTOR);
    ID(0, 2 << 14 | 5 << 8 | 1 << 7 | 2 << 5);   /* ATAPI, CD, removable, DRQ in 50 us, 12 bytes */
    put_ata_string(id + 20, d->serial, 20);
    ID(20, 3);
    ID(21, IDE_SECTOR);
    ID(22, 4);
    put_ata_string(id + 46, d->version, 8);
    put_ata_string(id + 54, d->model, 40);
    ID(48, 1);
    ID(49, BIT(9) | BIT(8));
    ID(53, 7);
    ID(62, 7);
    ID(63, 7 | (d->dma_mode >> 3 == 4 ? BIT(8 + (d->dma_mode & 7)) : 0));
    ID(64, 3);
    for (unsigned w = 65; w <= 68; w++) {
        ID(w, 0xb4);
    }
    ID(67, 300);
    ID(71, 30);
    ID(72, 30);
    ID(80, 0x1e);
    ID(87, d->wwn ? BIT(8) : 0);
    for (unsigned i = 0; i < 4 && d->wwn; i++) {
        ID(108 + i, d->wwn >> (48 - 16 * i));
    }
    ID(88, 0x3f | (d->dma_mode >> 3 == 8 ? BIT(8 + (d->dma_mode & 7)) : 0));
#undef ID
}
