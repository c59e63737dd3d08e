/* SPDX-License-Identifier: MIT */
/*
 * SMART and the logs of a disk.
 * Spec: [ACS 7.48, A], and ATA/ATAPI-7 volume 1, 6.55 for the layout of the SMART logs.
 *
 * Errors and self-tests are real: the error log tells of I/O errors that the host reported and of addresses
 * beyond the end, a self-test reads the medium in the background and fails where the host fails.  They live as
 * long as the VM.  The attributes are those of a disk in good health and do not change, but for the hours.
 * Missing: captive and selective self-tests, automatic off-line tests, the vendor logs 80h to 9fh, and the 48-bit
 * error and self-test logs; a guest gets ABRT, and the capabilities do not promise them.
 * Locking: machine lock; completions come on the main loop, which holds it.
 */
#include "hw/ide/ide_int.h"

#include "base/error.h"
#include "vm/clock.h"
#include "vm/vm.h"

enum { KEY_LCYL = 0x4f, KEY_HCYL = 0xc2 };
enum { READ_DATA = 0xd0, READ_THRESHOLDS, AUTOSAVE, SAVE_VALUES, EXECUTE_OFFLINE, READ_LOG,
       ENABLE = 0xd8, DISABLE, RETURN_STATUS };
enum { LOG_DIRECTORY = 0x00, LOG_ERRORS = 0x01, LOG_TESTS = 0x06, LOG_NCQ_ERROR = 0x10 };
enum { TEST_OFFLINE = 0x00, TEST_SHORT = 0x01, TEST_EXTENDED = 0x02, TEST_ABORT = 0x7f };
/* High half of the status byte; the low one has what remains, in tenths. */
enum { STATUS_PASSED = 0x00, STATUS_ABORTED = 0x10, STATUS_RESET = 0x20, STATUS_READ_FAILED = 0x70,
       STATUS_RUNS = 0xf0 };
enum { TEST_PIECE = 512 };        /* sectors a request reads */

static void page_checksum(uint8_t *page)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < IDE_SECTOR - 1; i++) {
        sum += page[i];
    }
    page[IDE_SECTOR - 1] = -sum;
}

static int64_t age_ns(const IdeDrive *d)
{
    return clock_now(d->dev->vm->clock);
}

static uint16_t age_hours(const IdeDrive *d)
{
    return (uint16_t)(age_ns(d) / NANOSECONDS_PER_SECOND / 3600);
}

void ide_smart_init(IdeDrive *d)
{
    ide_smart_reset(d);
    d->smart = (IdeSmart){ .enabled = true, .autosave = true };
}

/* A counter that stays full, and still tells which of PLACES comes next. */
static uint16_t count_up(uint16_t n, unsigned places)
{
    return (uint16_t)(n == UINT16_MAX ? UINT16_MAX + 1 - places : n + 1u);
}

/* ---- errors ---- */

void ide_smart_command(IdeDrive *d, const IdeTaskFile *tf, uint8_t command)
{
    uint8_t *recent = d->smart.recent, *last = recent + sizeof(d->smart.recent) - IDE_SMART_COMMAND;
    const uint8_t entry[8] = { d->bus->cmd, tf->feature, tf->nsector, tf->sector, tf->lcyl, tf->hcyl,
                               tf->select, command };

    memmove(recent, recent + IDE_SMART_COMMAND, sizeof(d->smart.recent) - IDE_SMART_COMMAND);
    memcpy(last, entry, sizeof(entry));
    le32_store(last + 8, (uint32_t)(age_ns(d) / 1000000));
}

void ide_smart_error(IdeDrive *d, uint8_t error, uint64_t lba, unsigned count)
{
    IdeSmart *s = &d->smart;
    uint8_t *entry = s->error_log + (s->errors % IDE_SMART_ERRORS) * IDE_SMART_ERROR;
    uint8_t *data = entry + sizeof(s->recent);

    if (d->kind != IDE_KIND_DISK) {
        return;
    }
    memcpy(entry, s->recent, sizeof(s->recent));
    memset(data, 0, IDE_SMART_ERROR - sizeof(s->recent));
    data[1] = error;
    data[2] = (uint8_t)count;
    data[3] = (uint8_t)lba;
    data[4] = (uint8_t)(lba >> 8);
    data[5] = (uint8_t)(lba >> 16);
    data[6] = (uint8_t)(ATA_LBA | bits_get(lba, 24, 4));
    data[7] = ATA_DRDY | ATA_ERR;
    data[27] = 0x03;                      /* active */
    le16_store(data + 28, age_hours(d));
    s->errors = count_up(s->errors, IDE_SMART_ERRORS);
}

static void error_log(IdeDrive *d)
{
    const IdeSmart *s = &d->smart;

    d->buf[0] = 1;
    d->buf[1] = s->errors ? (s->errors - 1) % IDE_SMART_ERRORS + 1 : 0;
    memcpy(d->buf + 2, s->error_log, sizeof(s->error_log));
    le16_store(d->buf + 452, s->errors);
}

/* ---- self-tests ---- */

static void test_log(IdeDrive *d)
{
    const IdeSmart *s = &d->smart;

    le16_store(d->buf, 1);
    memcpy(d->buf + 2, s->test_log, sizeof(s->test_log));
    d->buf[508] = s->tests ? (s->tests - 1) % IDE_SMART_TESTS + 1 : 0;
}

static uint8_t tenths_left(const IdeDrive *d)
{
    uint64_t done = MIN(d->smart.test_pos, d->nb_sectors);

    return d->nb_sectors ? (uint8_t)(9 - MIN(done * 9 / d->nb_sectors, 9)) : 0;
}

static void test_end(IdeDrive *d, uint8_t status)
{
    IdeSmart *s = &d->smart;
    uint8_t *entry = s->test_log + (s->tests % IDE_SMART_TESTS) * IDE_SMART_TEST;

    status |= status == STATUS_PASSED ? 0 : tenths_left(d);
    memset(entry, 0, IDE_SMART_TEST);
    entry[0] = s->test;
    entry[1] = status;
    le16_store(entry + 2, age_hours(d));
    if ((status & 0xf0) == STATUS_READ_FAILED) {
        le32_store(entry + 5, (uint32_t)MIN(s->test_pos, (1u << 28) - 1));
    }
    s->tests = count_up(s->tests, IDE_SMART_TESTS);
    s->test_status = status;
    s->test = 0;
    g_clear_pointer(&s->test_buf, g_free);
}

/* A short test reads the first, the middle and the last MiB: where the pieces that it does go on to are. */
static uint64_t skip_for_short(const IdeDrive *d, uint64_t pos)
{
    const uint64_t part = 2048, middle = d->nb_sectors / 2, end = d->nb_sectors;

    if (end <= 4 * part) {
        return pos;
    }
    if (pos >= part && pos < middle) {
        return middle;
    }
    return pos >= middle + part && pos < end - part ? end - part : pos;
}

static void test_done(void *opaque, int ret)
{
    IdeDrive *d = opaque;
    IdeSmart *s = &d->smart;

    s->test_request = NULL;
    if (s->test_cancelled) {
        return;
    }
    if (ret < 0 && s->test_iov.iov_len > IDE_SECTOR) {
        s->test_singly = TEST_PIECE;      /* once more, to see which sector it is */
        ide_smart_go_on(d);
        return;
    }
    if (ret < 0) {
        test_end(d, STATUS_READ_FAILED);
        return;
    }
    s->test_singly -= s->test_singly ? 1 : 0;
    s->test_pos += s->test_iov.iov_len / IDE_SECTOR;
    ide_smart_go_on(d);
}

/* The next piece, when a test waits for it.  A VM that is stopped reads nothing. */
void ide_smart_go_on(IdeDrive *d)
{
    IdeSmart *s = &d->smart;

    if (!s->test || s->test_request || !vm_is_running(d->dev->vm)) {
        return;
    }
    if (s->test == TEST_SHORT) {
        s->test_pos = skip_for_short(d, s->test_pos);
    }
    if (s->test_pos >= d->nb_sectors) {
        test_end(d, STATUS_PASSED);
        return;
    }
    s->test_status = STATUS_RUNS | tenths_left(d);
    s->test_buf = s->test_buf ?: g_malloc(TEST_PIECE * IDE_SECTOR);
    s->test_iov = (struct iovec){ s->test_buf, IDE_SECTOR * (s->test_singly ? 1 :
                                                   MIN(TEST_PIECE, d->nb_sectors - s->test_pos)) };
    s->test_request = blk_aio_preadv(d->blk, s->test_pos * IDE_SECTOR, &s->test_iov, 1, test_done, d);
}

static void test_cancel(IdeDrive *d, uint8_t status)
{
    IdeSmart *s = &d->smart;

    if (!s->test) {
        return;
    }
    if (s->test_request) {
        s->test_cancelled = true;
        blk_aio_cancel_sync(s->test_request);
        s->test_cancelled = false;
    }
    test_end(d, status);
}

void ide_smart_reset(IdeDrive *d)
{
    test_cancel(d, STATUS_RESET);
}

static void execute_offline(IdeDrive *d)
{
    uint8_t test = d->tf.sector;

    switch (test) {
    case TEST_OFFLINE:                    /* the data is always up to date */
        ide_command_ok(d);
        break;
    case TEST_SHORT:
    case TEST_EXTENDED:
        test_cancel(d, STATUS_ABORTED);   /* a new one ends the old */
        d->smart.test = test;
        d->smart.test_pos = d->smart.test_singly = 0;
        ide_command_ok(d);
        ide_smart_go_on(d);
        break;
    case TEST_ABORT:
        test_cancel(d, STATUS_ABORTED);
        ide_command_ok(d);
        break;
    default:
        ide_command_abort(d);
    }
}

/* ---- data ---- */

static void smart_data(IdeDrive *d, bool thresholds)
{
    /* clang-format off */
    static const struct { uint8_t id; uint16_t flags; uint8_t value, worst, raw[5], threshold; } rows[] = {
        { 0x01, 0x0003, 100, 100, { 0 }, 6 },               /* raw read error rate */
        { 0x03, 0x0003, 100, 100, { 16 }, 0 },              /* spin-up time */
        { 0x04, 0x0002, 100, 100, { 100 }, 20 },            /* start/stop count */
        { 0x05, 0x0003, 100, 100, { 0 }, 36 },              /* reallocated sectors */
        { 0x09, 0x0003, 100, 100, { 1 }, 0 },               /* power-on hours, and those of now */
        { 0x0c, 0x0003, 100, 100, { 0 }, 0 },               /* power cycles */
        { 0xbe, 0x0003, 69, 69, { 31, 0, 31, 0, 31 }, 50 }, /* temperature, least and most */
    };
    /* clang-format on */
    uint8_t *page = d->buf;

    page[0] = 1;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t *row = page + 2 + 12 * i;

        row[0] = rows[i].id;
        if (thresholds) {
            row[1] = rows[i].threshold;
            continue;
        }
        le16_store(row + 1, rows[i].flags);
        row[3] = rows[i].value;
        row[4] = rows[i].worst;
        memcpy(row + 5, rows[i].raw, sizeof(rows[i].raw));
        if (rows[i].id == 0x09) {
            le16_store(row + 5, rows[i].raw[0] + age_hours(d));
        }
    }
    if (thresholds) {
        return;
    }
    page[362] = 0x02;                     /* off-line data collection completed */
    page[363] = d->smart.test_status;
    page[364] = 1;                        /* seconds it takes */
    page[367] = BIT(4) | BIT(3) | BIT(0); /* self-tests, read scan, EXECUTE OFF-LINE */
    le16_store(page + 368, 3);
    page[370] = 1;                        /* errors are logged */
    page[372] = 2;                        /* minutes, short and extended */
    page[373] = 54;
}

/* The page in buf to the guest. */
static void send_page(IdeDrive *d, bool dma)
{
    d->tf.status = ATA_DRDY | ATA_DSC;
    if (dma) {
        ide_dma_buf(d, IDE_SECTOR, false, NULL);
    } else {
        ide_pio_begin(d, IDE_SECTOR, false, NULL);
        ide_raise_irq(d);
    }
}

/* SMART's own view of the logs: each has one page. */
static void read_smart_log(IdeDrive *d)
{
    uint8_t log = d->tf.sector;

    if (d->tf.nsector != 1 || (log != LOG_DIRECTORY && log != LOG_ERRORS && log != LOG_TESTS)) {
        ide_command_abort(d);
        return;
    }
    memset(d->buf, 0, IDE_SECTOR);
    if (log == LOG_ERRORS) {
        error_log(d);
        page_checksum(d->buf);
    } else if (log == LOG_TESTS) {
        test_log(d);
        page_checksum(d->buf);
    } else {                              /* no checksum: the last word is the size of log ffh */
        le16_store(d->buf, 1);            /* version */
        d->buf[2 * LOG_ERRORS] = d->buf[2 * LOG_TESTS] = 1;
    }
    send_page(d, false);
}

void ide_smart_run(IdeDrive *d, uint8_t cmd)
{
    IdeTaskFile *tf = &d->tf;

    if (tf->lcyl != KEY_LCYL || tf->hcyl != KEY_HCYL || (!d->smart.enabled && tf->feature != ENABLE)) {
        ide_command_abort(d);
        return;
    }
    switch (tf->feature) {
    case ENABLE:
    case DISABLE:
        d->smart.enabled = tf->feature == ENABLE;
        ide_command_ok(d);
        break;
    case AUTOSAVE:                        /* a count of f1h is on, 0 is off */
        if (tf->nsector != 0 && tf->nsector != 0xf1) {
            ide_command_abort(d);
            return;
        }
        d->smart.autosave = tf->nsector != 0;
        ide_command_ok(d);
        break;
    case SAVE_VALUES:                     /* retired; there is nothing that is not saved */
        ide_command_ok(d);
        break;
    case RETURN_STATUS:                   /* the key again means "good" */
        ide_command_ok(d);
        break;
    case READ_DATA:
    case READ_THRESHOLDS:
        memset(d->buf, 0, IDE_SECTOR);
        smart_data(d, tf->feature == READ_THRESHOLDS);
        page_checksum(d->buf);
        send_page(d, false);
        break;
    case READ_LOG:
        read_smart_log(d);
        break;
    case EXECUTE_OFFLINE:
        execute_offline(d);
        break;
    default:
        ide_command_abort(d);
    }
}

/* ---- general purpose logs [ACS-2 7.24, A] ---- */

/* The directory and the NCQ error log, a page each. */
void ide_smart_read_log(IdeDrive *d, uint8_t cmd)
{
    uint8_t log = d->tf.sector;
    unsigned page = d->tf.lcyl | d->tf.hob_lcyl << 8, count = d->tf.nsector | d->tf.hob_nsector << 8;

    if (!d->bus->host->ncq_depth || (log != LOG_DIRECTORY && log != LOG_NCQ_ERROR) || page ||
        count != 1) {
        ide_command_abort(d);
        return;
    }
    memset(d->buf, 0, IDE_SECTOR);
    if (log == LOG_NCQ_ERROR) {
        memcpy(d->buf, d->ncq_error, sizeof(d->ncq_error));
        memset(d->ncq_error, 0, sizeof(d->ncq_error));
        d->ncq_error[0] = 0x80;                      /* NQ: none failed since */
        page_checksum(d->buf);
    } else {
        le16_store(d->buf, 1);                       /* version */
        d->buf[2 * LOG_NCQ_ERROR] = 1;
    }
    send_page(d, cmd == 0x47);
}

/* ---- state on the wire ---- */

static bool smart_needed(const void *obj)
{
    const IdeSmart *s = &((const IdeDrive *)obj)->smart;

    return ((const IdeDrive *)obj)->kind == IDE_KIND_DISK &&
           (!s->enabled || !s->autosave || s->errors || s->tests || s->test);
}

static bool smart_post_load(void *obj, int version, GError **error)
{
    const IdeSmart *s = &((const IdeDrive *)obj)->smart;

    return s->test <= TEST_EXTENDED ||
           error_set(error, "IDE: rhea_smart has self-test %u, which is not 0 to 2", s->test);
}

static const VmField smart_fields[] = {
    VMS_BOOL(IdeDrive, smart.enabled), VMS_BOOL(IdeDrive, smart.autosave),
    VMS_U16(IdeDrive, smart.errors), VMS_U16(IdeDrive, smart.tests),
    VMS_U8_ARRAY(IdeDrive, smart.error_log), VMS_U8_ARRAY(IdeDrive, smart.test_log),
    VMS_U8_ARRAY(IdeDrive, smart.recent), VMS_U8(IdeDrive, smart.test_status),
    VMS_U8(IdeDrive, smart.test), VMS_U64(IdeDrive, smart.test_pos), VMS_END
};
const VmStateDesc vmstate_ide_smart = { .name = "ide_drive/rhea_smart", .version = 1, .minimum = 1,
                                        .fields = smart_fields, .needed = smart_needed,
                                        .post_load = smart_post_load };
