/* SPDX-License-Identifier: MIT */
/*
 * ATA commands.  Spec: ACS (T13/1699-D) chapter 7, and ATA/ATAPI-7 volume 1 for CHS.
 * SMART and the logs are in ide_smart.c.
 * Missing: SECURITY, HPA changes (SET MAX); a guest gets ABRT.
 */
#include "hw/ide/ide_int.h"

#include "vm/vm.h"

/* ---- addresses ---- */

uint64_t ide_get_sector(const IdeDrive *d)
{
    const IdeTaskFile *tf = &d->tf;
    uint32_t low24 = tf->sector | tf->lcyl << 8 | tf->hcyl << 16;

    if (!(tf->select & ATA_LBA)) {
        uint32_t cyl = tf->hcyl << 8 | tf->lcyl;

        return ((uint64_t)cyl * d->heads + (tf->select & 0xf)) * d->secs + tf->sector - 1;
    }
    if (tf->lba48) {
        return (uint64_t)tf->hob_hcyl << 40 | (uint64_t)tf->hob_lcyl << 32 |
               (uint64_t)tf->hob_sector << 24 | low24;
    }
    return (uint64_t)(tf->select & 0xf) << 24 | low24;
}

void ide_set_sector(IdeDrive *d, uint64_t sector)
{
    IdeTaskFile *tf = &d->tf;

    if (!(tf->select & ATA_LBA)) {
        uint32_t per_cyl = d->heads * d->secs, rest = sector % per_cyl;
        uint32_t cyl = sector / per_cyl;

        tf->hcyl = cyl >> 8;
        tf->lcyl = cyl;
        tf->select = (tf->select & 0xf0) | ((rest / d->secs) & 0xf);
        tf->sector = rest % d->secs + 1;
        return;
    }
    tf->sector = sector;
    tf->lcyl = sector >> 8;
    tf->hcyl = sector >> 16;
    if (tf->lba48) {
        tf->hob_sector = sector >> 24;
        tf->hob_lcyl = sector >> 32;
        tf->hob_hcyl = sector >> 40;
    } else {
        tf->select = (tf->select & 0xf0) | ((sector >> 24) & 0xf);
    }
}

/* The count register: 0 means the most there can be. */
static uint32_t sector_count(const IdeDrive *d)
{
    if (d->tf.lba48) {
        return (d->tf.hob_nsector << 8 | d->tf.nsector) ?: 65536;
    }
    return d->tf.nsector ?: 256;
}

static bool range_ok(const IdeDrive *d, uint64_t sector, uint32_t count)
{
    return sector < d->nb_sectors && count <= d->nb_sectors - sector;
}

/* Takes start and count of the command; IDNF when outside the medium. */
static bool take_range(IdeDrive *d, bool lba48)
{
    d->tf.lba48 = lba48;
    if (!(d->tf.select & ATA_LBA) && (lba48 || d->tf.sector == 0)) {
        ide_command_error(d, lba48 ? ATA_ABRT : ATA_IDNF);
        return false;
    }
    d->sector_pos = ide_get_sector(d);
    d->sectors_left = sector_count(d);
    if (!range_ok(d, d->sector_pos, d->sectors_left)) {
        blk_acct_invalid(d->blk, BLK_ACCT_READ);
        ide_command_error(d, ATA_IDNF);
        return false;
    }
    return true;
}

/* ---- PIO reads and writes ---- */

static void pio_read_block(IdeDrive *d);
static void flush_begin(IdeDrive *d);

static void block_moved(IdeDrive *d)
{
    d->sector_pos += d->pio_sectors;
    d->sectors_left -= d->pio_sectors;
    ide_set_sector(d, d->sector_pos - (d->sectors_left ? 0 : 1));
    d->tf.nsector = d->sectors_left;
}

static void pio_read_done(void *opaque, int ret)
{
    IdeDrive *d = opaque;

    if (!ide_request_done(d)) {
        return;
    }
    if (!ide_handle_io_error(d, ret, true, pio_read_block)) {
        ide_pio_begin(d, d->pio_sectors * IDE_SECTOR, false, ide_ata_read_moved);
        ide_raise_irq(d);
    }
    device_sync(d->bus->bus.owner);
}

static void pio_read_block(IdeDrive *d)
{
    d->tf.status = ATA_DRDY | ATA_DSC;
    if (!d->sectors_left) {
        return;
    }
    d->tf.status |= ATA_BSY;
    d->pio_sectors = MIN(d->sectors_left, d->per_irq);
    d->iov = (struct iovec){ d->buf, (size_t)d->pio_sectors * IDE_SECTOR };
    d->request = blk_aio_preadv(d->blk, d->sector_pos * IDE_SECTOR, &d->iov, 1, pio_read_done, d);
}

void ide_ata_read_moved(IdeDrive *d)
{
    block_moved(d);
    pio_read_block(d);
}

static void ask_for_write_block(IdeDrive *d)
{
    d->pio_sectors = MIN(d->sectors_left, d->per_irq);
    ide_pio_begin(d, d->pio_sectors * IDE_SECTOR, true, ide_ata_write_block);
}

static void pio_write_done(void *opaque, int ret)
{
    IdeDrive *d = opaque;

    if (!ide_request_done(d)) {
        return;
    }
    if (!ide_handle_io_error(d, ret, false, ide_ata_write_block)) {
        block_moved(d);
        if (d->sectors_left) {
            d->tf.status = ATA_DRDY | ATA_DSC;
            ask_for_write_block(d);
            ide_raise_irq(d);
        } else {
            ide_command_ok(d);
        }
    }
    device_sync(d->bus->bus.owner);
}

void ide_ata_write_block(IdeDrive *d)
{
    d->tf.status = ATA_DRDY | ATA_DSC | ATA_BSY;
    d->iov = (struct iovec){ d->buf, (size_t)d->pio_sectors * IDE_SECTOR };
    d->request = blk_aio_pwritev(d->blk, d->sector_pos * IDE_SECTOR, &d->iov, 1, 0,
                                 pio_write_done, d);
}

/* The wire's numbers for what an I/O error stopped; whatever else waits is begun anew by the guest. */
uint32_t ide_ata_retry_kind(const IdeDrive *d)
{
    return d->retry == pio_read_block        ? IDE_RETRY_PIO | IDE_RETRY_READ
           : d->retry == ide_ata_write_block ? IDE_RETRY_PIO
           : d->retry == flush_begin         ? IDE_RETRY_FLUSH
                                             : 0;
}

void ide_ata_set_retry(IdeDrive *d, uint32_t kind)
{
    d->retry = kind == (IDE_RETRY_PIO | IDE_RETRY_READ) ? pio_read_block
               : kind == IDE_RETRY_PIO                  ? ide_ata_write_block
               : kind == IDE_RETRY_FLUSH                ? flush_begin
                                                        : NULL;
}

static void begin_pio_read(IdeDrive *d, bool lba48, unsigned per_irq)
{
    if (take_range(d, lba48)) {
        d->per_irq = per_irq;
        pio_read_block(d);
    }
}

static void begin_pio_write(IdeDrive *d, bool lba48, unsigned per_irq)
{
    if (!blk_is_writable(d->blk)) {
        ide_command_abort(d);
    } else if (take_range(d, lba48)) {
        d->per_irq = per_irq;
        d->tf.status = ATA_DRDY | ATA_DSC;
        ask_for_write_block(d);
        ide_bus_sync(d->bus);
    }
}

static void read_sectors(IdeDrive *d, uint8_t cmd)
{
    begin_pio_read(d, cmd == 0x24, 1);
}

static void write_sectors(IdeDrive *d, uint8_t cmd)
{
    begin_pio_write(d, cmd == 0x34, 1);
}

static void read_multiple(IdeDrive *d, uint8_t cmd)
{
    if (!d->mult_sectors) {
        ide_command_abort(d);
        return;
    }
    begin_pio_read(d, cmd == 0x29, d->mult_sectors);
}

static void write_multiple(IdeDrive *d, uint8_t cmd)
{
    if (!d->mult_sectors) {
        ide_command_abort(d);
        return;
    }
    begin_pio_write(d, cmd == 0x39 || cmd == 0xce, d->mult_sectors);
}

/* ---- DMA ---- */

static void read_dma(IdeDrive *d, uint8_t cmd)
{
    if (take_range(d, cmd == 0x25)) {
        ide_dma_medium(d, d->sector_pos * IDE_SECTOR, d->sectors_left * IDE_SECTOR, false, false);
    }
}

static void write_dma(IdeDrive *d, uint8_t cmd)
{
    if (!blk_is_writable(d->blk)) {
        ide_command_abort(d);
    } else if (take_range(d, cmd == 0x35 || cmd == 0x3d)) {
        ide_dma_medium(d, d->sector_pos * IDE_SECTOR, d->sectors_left * IDE_SECTOR, true,
                       cmd == 0x3d);
    }
}

/* DATA SET MANAGEMENT, TRIM: 64 ranges a block of {48-bit LBA, 16-bit count}.  [ACS 7.5] */
static void trim_done(void *opaque, int ret);

static void trim_again(IdeDrive *d)
{
    d->reply_pos -= 8;
    trim_done(d, 0);
}

static void trim_done(void *opaque, int ret)
{
    IdeDrive *d = opaque;

    if (!ide_request_done(d)) {
        return;
    }
    if (!ide_handle_io_error(d, ret, false, trim_again)) {
        uint32_t end = d->reply_len;

        while (d->reply_pos < end) {
            uint64_t entry = le64_load(d->buf + d->reply_pos);
            uint64_t sector = bits_get(entry, 0, 48), count = entry >> 48;

            d->reply_pos += 8;
            if (!count) {
                continue;
            }
            if (!range_ok(d, sector, count)) {
                ide_command_error(d, ATA_IDNF);
                break;
            }
            d->request = blk_aio_discard(d->blk, sector * IDE_SECTOR, count * IDE_SECTOR,
                                         trim_done, d);
            return;
        }
        if (d->reply_pos >= end && !(d->tf.status & ATA_ERR)) {
            ide_command_ok(d);
        }
    }
    device_sync(d->bus->bus.owner);
}

static void trim_ranges(IdeDrive *d)
{
    d->tf.status = ATA_DRDY | ATA_DSC | ATA_BSY;
    d->reply_pos = 0;
    trim_done(d, 0);
}

static void data_set_management(IdeDrive *d, uint8_t cmd)
{
    uint32_t blocks = d->tf.hob_nsector << 8 | d->tf.nsector;

    if (!(d->tf.feature & 1) || !blk_is_writable(d->blk) || !blocks ||
        blocks > IDE_BUF_LEN / IDE_SECTOR) {
        ide_command_abort(d);
        return;
    }
    d->reply_len = blocks * IDE_SECTOR;
    ide_dma_buf(d, d->reply_len, true, trim_ranges);
}

/* ---- the rest ---- */

static void identify_device(IdeDrive *d, uint8_t cmd)
{
    if (d->kind == IDE_KIND_CD) {
        ide_set_signature(d);         /* 7.12.x: a packet device gives its signature and aborts */
        ide_command_abort(d);
        return;
    }
    ide_ata_identify(d);
    d->tf.status = ATA_DRDY | ATA_DSC;
    ide_pio_begin(d, IDE_SECTOR, false, NULL);
    ide_raise_irq(d);
}

static void identify_packet_device(IdeDrive *d, uint8_t cmd)
{
    ide_atapi_identify(d);
    d->tf.status = ATA_DRDY | ATA_DSC;
    ide_pio_begin(d, IDE_SECTOR, false, NULL);
    ide_raise_irq(d);
}

static void flush_done(void *opaque, int ret)
{
    IdeDrive *d = opaque;

    if (!ide_request_done(d)) {
        return;
    }
    if (!ide_handle_io_error(d, ret, false, flush_begin)) {
        ide_command_ok(d);
    }
    device_sync(d->bus->bus.owner);
}

static void flush_begin(IdeDrive *d)
{
    d->tf.status = ATA_DRDY | ATA_DSC | ATA_BSY;
    d->request = blk_aio_flush(d->blk, flush_done, d);
}

static void flush_cache(IdeDrive *d, uint8_t cmd)
{
    flush_begin(d);
}

static void verify_sectors(IdeDrive *d, uint8_t cmd)
{
    if (take_range(d, cmd == 0x42)) {
        ide_command_ok(d);
    }
}

static void seek(IdeDrive *d, uint8_t cmd)
{
    d->tf.lba48 = false;
    if (range_ok(d, ide_get_sector(d), 1)) {
        ide_command_ok(d);
    } else {
        ide_command_error(d, ATA_IDNF);
    }
}

static void no_operation_ok(IdeDrive *d, uint8_t cmd)
{
    ide_command_ok(d);
}

static void check_power_mode(IdeDrive *d, uint8_t cmd)
{
    d->tf.nsector = 0xff;             /* active or idle */
    ide_command_ok(d);
}

static void init_parameters(IdeDrive *d, uint8_t cmd)
{
    uint32_t heads = (d->tf.select & 0xf) + 1, secs = d->tf.nsector;

    if (!secs) {
        ide_command_abort(d);
        return;
    }
    d->heads = heads;
    d->secs = secs;
    ide_command_ok(d);
}

static void set_multiple(IdeDrive *d, uint8_t cmd)
{
    uint8_t n = d->tf.nsector;

    if (n > 16 || (n && !is_pow2(n))) {
        ide_command_abort(d);
        return;
    }
    d->mult_sectors = n;
    ide_command_ok(d);
}

static void read_native_max(IdeDrive *d, uint8_t cmd)
{
    d->tf.lba48 = cmd == 0x27;
    d->tf.select |= ATA_LBA;
    ide_set_sector(d, (d->tf.lba48 ? d->nb_sectors : MIN(d->nb_sectors, 1u << 28)) - 1);
    ide_command_ok(d);
}

static void set_features(IdeDrive *d, uint8_t cmd)
{
    switch (d->tf.feature) {
    case 0x02:                        /* enable the write cache */
        blk_set_write_cache(d->blk, true);
        break;
    case 0x82:
        blk_set_write_cache(d->blk, false);
        flush_cache(d, cmd);
        return;
    case 0x03: {                      /* transfer mode: class in bits 7:3 */
        uint8_t class = d->tf.nsector >> 3;

        if (class != 0 && class != 1 && class != 2 && class != 4 && class != 8) {
            ide_command_abort(d);
            return;
        }
        d->dma_mode = d->tf.nsector;
        break;
    }
    case 0x05: case 0x85:             /* APM */
    case 0x42: case 0xc2:             /* AAM */
    case 0xaa: case 0x55:             /* read look-ahead */
    case 0x66: case 0xcc:             /* defaults after reset */
    case 0x67: case 0x69: case 0x9a:
        break;
    default:
        ide_command_abort(d);
        return;
    }
    ide_command_ok(d);
}

/* 7.19: the device's diagnostic ends both drives' registers with the signature. */
static void execute_diagnostic(IdeDrive *d, uint8_t cmd)
{
    IdeBus *bus = d->bus;

    for (unsigned i = 0; i < 2; i++) {
        IdeDrive *each = &bus->drives[i];

        ide_drive_reset(each);        /* the other one may have been busy */
        each->tf.select &= ATA_DEV | 0xa0;
    }
    bus->unit = 0;
    ide_raise_irq(&bus->drives[0]);
    if (bus->host->command_done) {
        bus->host->command_done(bus);
    }
}

static void packet(IdeDrive *d, uint8_t cmd)
{
    /* OVL is not supported; then the device asks for the 12 bytes of the packet. */
    if (d->tf.feature & 2) {
        ide_command_abort(d);
        return;
    }
    d->tf.nsector = (d->tf.nsector & ~7) | ATAPI_CD;
    d->tf.status = ATA_DRDY | ATA_DSC;
    ide_pio_begin(d, sizeof(d->packet), true, ide_atapi_command);
    ide_bus_sync(d->bus);
}

/* ---- the table ---- */

enum { DISK = BIT(IDE_KIND_DISK), CD = BIT(IDE_KIND_CD), ALL = DISK | CD };

typedef struct AtaCommand {
    void (*run)(IdeDrive *d, uint8_t cmd);
    uint8_t kinds;
} AtaCommand;

/* clang-format off */
static const AtaCommand commands[256] = {
    [0x06] = { data_set_management, DISK },
    [0x10 ... 0x1f] = { no_operation_ok, DISK },      /* RECALIBRATE */
    [0x20 ... 0x21] = { read_sectors, DISK },
    [0x24] = { read_sectors, DISK },
    [0x25] = { read_dma, DISK },
    [0x27] = { read_native_max, DISK },
    [0x29] = { read_multiple, DISK },
    [0x2f] = { ide_smart_read_log, DISK },
    [0x30 ... 0x31] = { write_sectors, DISK },
    [0x34] = { write_sectors, DISK },
    [0x35] = { write_dma, DISK },
    [0x39] = { write_multiple, DISK },
    [0x3c] = { write_sectors, DISK },                 /* WRITE VERIFY */
    [0x3d] = { write_dma, DISK },
    [0x40 ... 0x42] = { verify_sectors, DISK },
    [0x47] = { ide_smart_read_log, DISK },
    [0x70 ... 0x7f] = { seek, DISK },
    [0x90] = { execute_diagnostic, ALL },
    [0x91] = { init_parameters, DISK },
    [0x94 ... 0x97] = { no_operation_ok, ALL },       /* STANDBY.. IDLE, retired codes */
    [0x98] = { check_power_mode, ALL },
    [0x99] = { no_operation_ok, ALL },
    [0xa0] = { packet, CD },
    [0xa1] = { identify_packet_device, CD },
    [0xb0] = { ide_smart_run, DISK },
    [0xc4] = { read_multiple, DISK },
    [0xc5] = { write_multiple, DISK },
    [0xc6] = { set_multiple, DISK },
    [0xc8 ... 0xc9] = { read_dma, DISK },
    [0xca ... 0xcb] = { write_dma, DISK },
    [0xe0 ... 0xe3] = { no_operation_ok, ALL },       /* STANDBY, IDLE */
    [0xe5] = { check_power_mode, ALL },
    [0xe6] = { no_operation_ok, ALL },                /* SLEEP */
    [0xe7] = { flush_cache, DISK },
    [0xea] = { flush_cache, DISK },
    [0xec] = { identify_device, ALL },
    [0xef] = { set_features, ALL },
    [0xf8] = { read_native_max, DISK },
};
/* clang-format on */

void ide_ata_command(IdeDrive *d, uint8_t command)
{
    const AtaCommand *row = &commands[command];

    if (!row->run || !(row->kinds & BIT(d->kind))) {
        ide_command_abort(d);
        return;
    }
    row->run(d, command);
}

/* ---- IDENTIFY DEVICE [ACS 7.12.7] ---- */

/* ATA strings: two characters a word, first one in the high byte, padded with blanks. */
static void put_string(uint8_t *words, const char *text, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        words[i ^ 1] = *text ? *text++ : ' ';
    }
}

void ide_ata_identify(IdeDrive *d)
{
    uint8_t *id = d->buf;
    uint64_t total = d->nb_sectors;
    uint32_t lba28 = MIN(total, (1u << 28) - 1);
    uint32_t chs = MIN((uint64_t)d->cyls * d->heads * d->secs, UINT32_MAX);
    unsigned log_ratio = g_bit_nth_msf(d->conf->physical_block_size / 512, -1);
    unsigned ncq = d->bus->host->ncq_depth, logs = ncq ? BIT(5) : 0;

#define ID(word, value) le16_store(id + 2 * (word), (value))
    memset(id, 0, IDE_SECTOR);
    ID(0, 0x0040);
    ID(1, d->cyls);
    ID(3, d->heads);
    ID(4, IDE_SECTOR * d->secs);
    ID(5, IDE_SECTOR);
    ID(6, d->secs);
    put_string(id + 20, d->serial, 20);
    ID(20, 3);
    ID(21, IDE_SECTOR);
    ID(22, 4);
    put_string(id + 46, d->version, 8);
    put_string(id + 54, d->model, 40);
    ID(47, 0x8000 | 16);
    ID(48, 1);                                  /* 32-bit PIO */
    ID(49, BIT(11) | BIT(9) | BIT(8));          /* IORDY, LBA, DMA */
    ID(51, 0x200);
    ID(52, 0x200);
    ID(53, 1 | 2 | 4);
    ID(54, d->cyls);
    ID(55, d->heads);
    ID(56, d->secs);
    le32_store(id + 114, chs);
    ID(59, d->mult_sectors ? 0x100 | d->mult_sectors : 0);
    le32_store(id + 120, lba28);
    ID(62, 0x07);
    ID(63, 0x07 | (d->dma_mode >> 3 == 4 ? BIT(8 + (d->dma_mode & 7)) : 0));
    ID(64, 0x03);
    ID(65, 120);
    ID(66, 120);
    ID(67, 120);
    ID(68, 120);
    ID(69, BIT(14));                            /* deterministic reads after TRIM, zeroes or not */
    if (ncq) {
        ID(75, ncq - 1);
        ID(76, BIT(8));
    }
    ID(80, 0xf0);                               /* ATA/ATAPI-4 to -7 */
    ID(81, 0x16);
    ID(82, BIT(14) | BIT(5) | BIT(0));          /* NOP, write cache, SMART */
    ID(83, BIT(14) | BIT(13) | BIT(12) | BIT(10));
    ID(84, BIT(14) | logs | (d->wwn ? BIT(8) : 0));
    ID(85, BIT(14) | (blk_write_cache(d->blk) ? BIT(5) : 0) | (d->smart.enabled ? BIT(0) : 0));
    ID(86, BIT(13) | BIT(12) | BIT(10));
    ID(87, BIT(14) | logs | (d->wwn ? BIT(8) : 0));
    ID(88, 0x3f | (d->dma_mode >> 3 == 8 ? BIT(8 + (d->dma_mode & 7)) : 0));
    ID(93, 1 | BIT(14) | BIT(13));
    le64_store(id + 200, total);
    ID(105, IDE_BUF_LEN / IDE_SECTOR);
    ID(106, 0x6000 | log_ratio);
    for (unsigned i = 0; i < 4; i++) {
        ID(108 + i, d->wwn >> (48 - 16 * i));
    }
    ID(169, 1);                                 /* TRIM */
    ID(217, d->rotation_rate);
#undef ID
}
