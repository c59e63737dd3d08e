/* SPDX-License-Identifier: MIT */
/*
 * Intel 82078 floppy controller ("isa-fdc") with two drives.
 * Spec: 82078 data sheet (290468-002); register, bit and command names are the sheet's.
 * Not modelled: timing of the mechanics (a seek is over at once), CRC and other media errors, tape
 * drives, sector sizes other than 512 bytes, deleted data marks (such commands move plain data).
 * Missing: FORMAT AND WRITE; a guest sees an invalid command.
 * Locking: machine lock; block completions come on the main loop, which holds it.
 *
 *   COMMAND --last parameter--> EXECUTION --sectors moved--> RESULT --last byte read--> COMMAND
 *              \--no data-----------------------------------> RESULT or COMMAND
 *
 * Invariants: 1. data_pos < data_len <= FLOPPY_SECTOR while the FIFO gives or takes bytes; data_len is
 *                a sector's, or FORMAT's four id bytes.
 *             2. in EXECUTION, either io_busy (a block request has the FIFO) or DREQ is held (DMA)
 *                or RQM is set (PIO).
 */
#include "hw/block/fdc_int.h"

#include "base/error.h"
#include "base/log.h"
#include "hw/trace.h"
#include "vm/vm.h"

/* ---- outputs ---- */

static void fdc_sync(Device *dev)
{
    Fdc *s = DEVICE_CAST(Fdc, dev);

    irq_set(&s->irq_line, (s->sra & SRA_INT) && (s->dor & DOR_DMAEN));
}

void fdc_raise_irq(Fdc *s)
{
    s->sra |= SRA_INT;
    s->reset_sensei = 0;
}

static bool uses_dma(const Fdc *s)
{
    return (s->dor & DOR_DMAEN) && !(s->timer1 & 1);
}

/* ---- phases ---- */

void fdc_to_command_phase(Fdc *s)
{
    s->phase = PHASE_COMMAND;
    s->data_dir = DIR_READ;
    s->data_pos = s->data_len = 0;
    s->cmd_len = 0;
    s->msr &= ~(MSR_CMD_BUSY | MSR_DIO | MSR_NONDMA);
    s->msr |= MSR_RQM;
}

void fdc_to_result_phase(Fdc *s, const uint8_t *bytes, unsigned len)
{
    memcpy(s->fifo, bytes, len);
    s->phase = PHASE_RESULT;
    s->data_dir = DIR_READ;
    s->data_pos = 0;
    s->data_len = len;
    s->msr &= ~MSR_NONDMA;
    s->msr |= MSR_CMD_BUSY | MSR_RQM | MSR_DIO;
}

/* Ends a data command with the seven result bytes of 5.2. */
void fdc_stop_transfer(Fdc *s, uint8_t st0, uint8_t st1, uint8_t st2)
{
    FloppyDrive *d = fdc_current(s);
    uint8_t result[7];

    s->status0 = st0 | fdc_current_unit(s) | (d->head ? ST0_HEAD : 0);
    result[0] = s->status0;
    result[1] = st1;
    result[2] = st2;
    result[3] = d->track + s->cylinder_over;     /* the head itself stays */
    result[4] = d->head;
    result[5] = d->sect;
    result[6] = 2;
    isa_dma_release_dreq(isa_bus(&s->isa.dev), s->dma);
    s->discard_io = s->io_busy;
    s->data_state &= ~STATE_FORMAT;
    s->cylinder_over = false;
    fdc_to_result_phase(s, result, sizeof(result));
    fdc_raise_irq(s);
}

static void reset_controller(Fdc *s, bool by_guest)
{
    isa_dma_release_dreq(isa_bus(&s->isa.dev), s->dma);
    timer_cancel(&s->result_timer);
    s->discard_io = s->io_busy;
    s->sra = SRA_nDRV2;
    s->srb = SRB_ALWAYS;
    s->dor &= DOR_nRESET | DOR_DMAEN | DOR_SEL | 0xf0;
    s->tdr &= TDR_BOOT_SEL;
    s->msr = MSR_RQM;
    s->data_state = 0;
    s->status0 = s->status1 = s->status2 = 0;
    if (!s->lock) {
        s->config = CONFIG_DEFAULT;
        s->precomp_trk = 0;
    }
    for (unsigned n = 0; n < FLOPPY_UNITS; n++) {
        FloppyDrive *d = &s->fdbus.drives[n];

        d->track = d->head = 0;
        d->sect = 1;
        d->perpendicular = 0;
    }
    fdc_to_command_phase(s);
    s->reset_sensei = 0;
    if (by_guest) {
        /* The drives' ready lines are polled: an interrupt, then four SENSE INTERRUPTs.  One that was
         * there is gone, and the line is low for a moment: the new one is an edge. */
        fdc_sync(&s->isa.dev);
        fdc_raise_irq(s);
        s->status0 = ST0_READY_CHANGED;
        s->reset_sensei = 4;
    }
}

/* ---- moving sectors ---- */

static bool is_scan(const Fdc *s)
{
    return s->data_dir >= DIR_SCANE && s->data_dir <= DIR_SCANH;
}

/* To the following sector; false: the end of what the command names. */
static bool advance(Fdc *s)
{
    FloppyDrive *d = fdc_current(s);
    unsigned next = d->sect + (is_scan(s) ? MAX(s->step, 1) : 1u);

    if (next <= s->eot && next <= d->last_sect) {
        d->sect = (uint8_t)next;
        return true;
    }
    d->sect = 1;
    if ((s->data_state & STATE_MULTI) && d->head == 0 && d->heads > 1) {
        d->head = 1;
        return true;
    }
    s->cylinder_over = true;
    if (s->data_state & STATE_MULTI) {
        d->head = 0;
    }
    return false;
}

/* VERIFY ends with EOT, or with EC after so many sectors; if the cylinder ends before, that is an error.
 * [table 5-9] */
static bool verify_ends(Fdc *s, bool more)
{
    bool counted = s->counts && --s->sectors_left == 0;

    if (!counted && more) {
        return false;
    }
    fdc_stop_transfer(s, counted || !s->counts ? 0 : ST0_ABNORMAL, counted || !s->counts ? 0 : ST1_EN, 0);
    return true;
}

/* One sector is through: end, or go on with the next. */
static void sector_done(Fdc *s)
{
    bool more;

    if (s->data_state & STATE_FORMAT) {
        s->eot--;                 /* sectors left */
        more = s->eot > 0;
    } else if (is_scan(s) && !s->scan_fails) {
        fdc_stop_transfer(s, 0, 0, s->scan_differs ? 0 : ST2_SEH);
        return;
    } else {
        more = advance(s);
    }
    if (s->data_dir == DIR_VERIFY && verify_ends(s, more)) {
        return;
    }
    if (s->tc || (s->data_state & STATE_FORMAT && !more)) {
        fdc_stop_transfer(s, 0, 0, is_scan(s) ? ST2_SNS : 0);
    } else if (!more) {
        /* Without a terminal count the sheet ends with EN; a host that polls expects success,
         * as it has no way to give one. */
        fdc_stop_transfer(s, uses_dma(s) ? ST0_ABNORMAL : 0, uses_dma(s) ? ST1_EN : 0,
                      is_scan(s) ? ST2_SNS : 0);
    } else {
        fdc_next_step(s);
    }
}

/* The FIFO has room for, or holds, a sector: let the host move it. */
static void offer_fifo(Fdc *s)
{
    if (uses_dma(s)) {
        s->msr &= ~MSR_RQM;
        isa_dma_hold_dreq(isa_bus(&s->isa.dev), s->dma);
    } else {
        s->msr |= MSR_RQM | MSR_NONDMA | (s->data_dir == DIR_READ ? MSR_DIO : 0);
        fdc_raise_irq(s);
    }
}

static void io_done(void *opaque, int ret)
{
    Fdc *s = opaque;
    bool is_read = s->data_dir != DIR_WRITE;

    s->io_busy = false;
    if (s->discard_io || s->phase != PHASE_EXECUTION) {
        s->discard_io = false;
        return;
    }
    if (ret < 0) {
        blk_handle_error(fdc_current(s)->blk, is_read, -ret);
        fdc_stop_transfer(s, ST0_ABNORMAL, is_read ? ST1_ND : ST1_NW, 0);
    } else if (is_read && s->data_dir != DIR_VERIFY) {
        offer_fifo(s);
    } else {
        sector_done(s);
    }
    device_sync(&s->isa.dev);
}

/* Reads or writes the FIFO at the present sector. */
static void start_io(Fdc *s, bool write)
{
    FloppyDrive *d = fdc_current(s);
    uint64_t offset;

    if (s->io_busy || !floppy_offset(d, d->track, d->head, d->sect, &offset)) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_ND, 0);
        return;
    }
    s->msr &= ~MSR_RQM;
    s->io_busy = true;
    s->iov = (struct iovec){ .iov_base = s->fifo, .iov_len = FLOPPY_SECTOR };
    if (write) {
        blk_aio_pwritev(d->blk, offset, &s->iov, 1, 0, io_done, s);
    } else {
        blk_aio_preadv(d->blk, offset, &s->iov, 1, io_done, s);
    }
}

/* The next sector of a transfer: read it first, or ask the host for it. */
void fdc_next_step(Fdc *s)
{
    s->data_pos = 0;
    s->data_len = s->data_state & STATE_FORMAT ? 4 : FLOPPY_SECTOR;
    s->scan_differs = s->scan_fails = false;
    if (s->data_dir == DIR_WRITE) {
        offer_fifo(s);
    } else {
        start_io(s, false);
    }
}

/* The host has filled the FIFO: a sector, or the id of one to format. */
static void fifo_full(Fdc *s)
{
    if (s->data_state & STATE_FORMAT) {
        fdc_current(s)->sect = s->fifo[2];
        memset(s->fifo, s->fill, FLOPPY_SECTOR);
    }
    s->data_pos = 0;
    start_io(s, true);
}

/* SCAN: the host's bytes against the disk's; ff on either side matches. */
static void scan_bytes(Fdc *s, const uint8_t *host, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        uint8_t disk = s->fifo[(s->data_pos + i) % FLOPPY_SECTOR];

        if (disk == 0xff || host[i] == 0xff || disk == host[i]) {
            continue;
        }
        s->scan_differs = true;
        s->scan_fails |= !((s->data_dir == DIR_SCANL && disk < host[i]) ||
                           (s->data_dir == DIR_SCANH && disk > host[i]));
    }
}

/* Moves LEN bytes between the FIFO and position POS of the 8237's block. */
static void dma_move(Fdc *s, int channel, int pos, unsigned len)
{
    IsaBus *bus = isa_bus(&s->isa.dev);
    uint8_t host[FLOPPY_SECTOR];

    if (s->data_dir == DIR_WRITE) {
        isa_dma_read(bus, channel, s->fifo + s->data_pos, pos, len);
    } else if (is_scan(s)) {
        isa_dma_read(bus, channel, host, pos, len);
        scan_bytes(s, host, len);
    } else {
        isa_dma_write(bus, channel, s->fifo + s->data_pos, pos, len);
    }
    s->data_pos += len;
}

/* A call of the 8237: POS of SIZE bytes of its block are done. */
static int dma_transfer(void *opaque, int channel, int pos, int size)
{
    Fdc *s = opaque;
    unsigned len;

    if (s->phase != PHASE_EXECUTION || s->io_busy || (s->msr & MSR_RQM) ||
        s->data_pos >= s->data_len || pos >= size) {
        isa_dma_release_dreq(isa_bus(&s->isa.dev), s->dma);
        return pos;
    }
    len = MIN((unsigned)(size - pos), s->data_len - s->data_pos);
    dma_move(s, channel, pos, len);
    pos += len;
    s->tc = pos >= size;
    if (s->tc || s->data_pos == s->data_len) {
        isa_dma_release_dreq(isa_bus(&s->isa.dev), s->dma);
        if (s->data_dir == DIR_WRITE) {
            memset(s->fifo + s->data_pos, 0, FLOPPY_SECTOR - s->data_pos);
            fifo_full(s);
        } else {
            sector_done(s);
        }
        device_sync(&s->isa.dev);
    }
    return pos;
}

/* ---- registers ---- */

static void fifo_write(Fdc *s, uint8_t value)
{
    const FdcCommand *command;

    if (!(s->dor & DOR_nRESET) || !(s->msr & MSR_RQM) || (s->msr & MSR_DIO)) {
        log_guest_error("fdc: data 0x%02x while it takes none\n", value);
        return;
    }
    if (s->phase == PHASE_EXECUTION) {
        s->sra &= ~SRA_INT;
        if (is_scan(s)) {
            scan_bytes(s, &value, 1);
        } else {
            s->fifo[s->data_pos % FLOPPY_SECTOR] = value;
        }
        if (++s->data_pos >= s->data_len) {
            if (is_scan(s)) {
                sector_done(s);
            } else {
                fifo_full(s);
            }
        }
        return;
    }
    s->cmd[s->cmd_len++ % sizeof(s->cmd)] = value;
    s->msr |= MSR_CMD_BUSY;
    command = fdc_find_command(s->cmd[0]);
    if (s->cmd_len >= command->len) {
        trace_fdc_command(s->cmd[0], s->cmd_len);
        s->cmd_len = 0;
        command->run(s);
    }
}

static uint8_t fifo_read(Fdc *s)
{
    uint8_t value;

    if (!(s->msr & MSR_RQM) || !(s->msr & MSR_DIO) || s->data_pos >= s->data_len) {
        log_guest_error("fdc: read of data while there is none\n");
        return 0;
    }
    value = s->fifo[s->data_pos++ % FLOPPY_SECTOR];
    s->sra &= ~SRA_INT;
    if (s->data_pos < s->data_len) {
        return value;
    }
    if (s->phase == PHASE_EXECUTION) {
        sector_done(s);
    } else {
        fdc_to_command_phase(s);
    }
    return value;
}

static void dor_write(Fdc *s, uint8_t value)
{
    bool leaves_reset = !(s->dor & DOR_nRESET) && (value & DOR_nRESET);
    bool enters_reset = (s->dor & DOR_nRESET) && !(value & DOR_nRESET);

    s->srb = (s->srb & ~(SRB_MOTORS | SRB_DR0)) | ((value >> 4) & SRB_MOTORS) |
             (value & 1 ? SRB_DR0 : 0);
    if (enters_reset) {
        reset_controller(s, false);
        s->msr &= ~MSR_RQM;
    }
    s->dor = value;
    if (leaves_reset) {
        reset_controller(s, true);
        s->dsr &= ~DSR_POWERDOWN;
    }
}

static void dsr_write(Fdc *s, uint8_t value)
{
    if (!(s->dor & DOR_nRESET)) {
        return;
    }
    s->dsr = value & ~DSR_SWRESET;
    if (value & DSR_SWRESET) {
        reset_controller(s, true);
    }
}

static uint8_t dir_read(Fdc *s)
{
    FloppyDrive *d = fdc_current(s);
    bool motor = s->dor & (DOR_MOT0 << (s->dor & 1));

    return d->blk && motor && (d->media_changed || !blk_has_medium(d->blk)) ? DIR_DSKCHG : 0;
}

static uint64_t fdc_read(void *opaque, uint64_t offset, unsigned size)
{
    Fdc *s = opaque;
    uint8_t value = 0xff;

    switch (offset) {
    case REG_SRA:
        value = s->sra;
        break;
    case REG_SRB:
        value = s->srb;
        break;
    case REG_DOR:
        value = s->dor;
        break;
    case REG_TDR:
        value = s->tdr;
        break;
    case REG_MSR_DSR:
        s->dsr &= ~DSR_POWERDOWN;
        value = s->msr;
        break;
    case REG_FIFO:
        value = fifo_read(s);
        break;
    case REG_DIR_CCR:
        value = dir_read(s);
        break;
    default:
        break;
    }
    device_sync(&s->isa.dev);
    return value;
}

static void fdc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Fdc *s = opaque;

    switch (offset) {
    case REG_DOR:
        dor_write(s, value);
        break;
    case REG_TDR:
        if (s->dor & DOR_nRESET) {
            s->tdr = value & TDR_BOOT_SEL;
        }
        break;
    case REG_MSR_DSR:
        dsr_write(s, value);
        break;
    case REG_FIFO:
        fifo_write(s, value);
        break;
    case REG_DIR_CCR:             /* CCR: the rate, as in DSR */
        if (s->dor & DOR_nRESET) {
            s->dsr = (s->dsr & ~DSR_RATE) | (value & DSR_RATE);
        }
        break;
    default:
        log_guest_error("fdc: write of 0x%02x to register %u\n", (unsigned)value,
                        (unsigned)offset);
        break;
    }
    device_sync(&s->isa.dev);
}

/* The windows begin at registers 1 and 7: 3f6h belongs to the IDE controller. */
static uint64_t low_read(void *opaque, uint64_t offset, unsigned size)
{
    return fdc_read(opaque, offset + 1, size);
}

static void low_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    fdc_write(opaque, offset + 1, value, size);
}

static uint64_t high_read(void *opaque, uint64_t offset, unsigned size)
{
    return fdc_read(opaque, REG_DIR_CCR, size);
}

static void high_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    fdc_write(opaque, REG_DIR_CCR, value, size);
}

static const MmioOps low_ops = { low_read, low_write, .impl_max = 1 };
static const MmioOps high_ops = { high_read, high_write, .impl_max = 1 };

/* ---- board ---- */

Bus *fdc_bus(Device *fdc)
{
    return &DEVICE_CAST(Fdc, fdc)->fdbus.bus;
}

FloppyType fdc_drive_type(Device *fdc, unsigned unit)
{
    return unit < FLOPPY_UNITS ? DEVICE_CAST(Fdc, fdc)->fdbus.drives[unit].type : FLOPPY_NONE;
}

uint8_t fdc_cmos_type(FloppyType type)
{
    static const uint8_t nibbles[] = { [FLOPPY_144] = 4, [FLOPPY_288] = 5, [FLOPPY_120] = 2,
                                       [FLOPPY_NONE] = 0, [FLOPPY_AUTO] = 0 };

    return nibbles[type];
}

/* ---- life cycle ---- */

static void medium_changed(void *opaque, unsigned unit)
{
    Fdc *s = opaque;

    /* A transfer that runs on the medium that went is over. */
    if (s->phase == PHASE_EXECUTION && (s->dor & 1) == unit && !timer_pending(&s->result_timer)) {
        fdc_stop_transfer(s, ST0_ABNORMAL, ST1_MA, 0);
        device_sync(&s->isa.dev);
    }
}

static void fdc_reset_enter(Device *dev)
{
    Fdc *s = DEVICE_CAST(Fdc, dev);

    s->dor = DOR_nRESET | DOR_DMAEN;
    s->tdr = 0;
    s->dsr = 0;
    s->lock = 0;
    s->pwrd = 0;
    s->timer0 = s->timer1 = s->option = 0;
    reset_controller(s, false);
}

static bool fdc_realize(Device *dev, GError **error)
{
    Fdc *s = DEVICE_CAST(Fdc, dev);

    if (s->iobase > 0xfff8) {
        return error_set(error, "isa-fdc: 'iobase' is 0x%x; the 8 ports end at 0xffff", s->iobase);
    }
    if (s->dma > 3) {
        return error_set(error, "isa-fdc: 'dma' is %u; 8-bit channels are 0 to 3", s->dma);
    }
    if (!isa_connect_irq(&s->isa, &s->irq_line, s->irq, error)) {
        return false;
    }
    floppy_bus_init(&s->fdbus, dev);
    s->fdbus.changed = medium_changed;
    s->fdbus.opaque = s;
    s->num_floppies = FLOPPY_UNITS;
    timer_init(&s->result_timer, dev->vm->clock, fdc_result_timer, s);
    isa_dma_register(isa_bus(dev), s->dma, dma_transfer, s);
    memory_region_init_io(&s->ports, OBJECT(dev), "fdc", &low_ops, s, 5);
    isa_add_ports(&s->isa, &s->ports, s->iobase + 1);
    memory_region_init_io(&s->dir_port, OBJECT(dev), "fdc", &high_ops, s, 1);
    isa_add_ports(&s->isa, &s->dir_port, s->iobase + 7);
    s->isa.ioport_id = s->iobase;
    return true;
}

static void fdc_unrealize(Device *dev)
{
    timer_cancel(&DEVICE_CAST(Fdc, dev)->result_timer);
    bus_clear(&DEVICE_CAST(Fdc, dev)->fdbus.bus);
}

/* ---- state on the wire ---- */

static void fdc_pre_save(void *obj)
{
    Fdc *s = obj;

    s->dor_vmstate = s->dor;
    if (s->phase == PHASE_COMMAND) {
        memcpy(s->fifo, s->cmd, sizeof(s->cmd));
        s->data_pos = s->cmd_len;
        s->data_len = s->cmd_len ? fdc_find_command(s->cmd[0])->len : 0;
    }
}

static bool fdc_pre_load(void *obj, GError **error)
{
    Fdc *s = obj;

    s->phase = PHASE_COMMAND;
    s->reset_sensei = 0;
    timer_cancel(&s->result_timer);
    return true;
}

static bool fdc_post_load(void *obj, int version, GError **error)
{
    Fdc *s = obj;

    if (s->data_pos > FLOPPY_SECTOR || s->data_len > FLOPPY_SECTOR || s->data_dir > DIR_VERIFY ||
        s->phase > PHASE_RESULT || s->reset_sensei < 0 || s->reset_sensei > 4) {
        return error_set(error, "fdc: position %u of %u, direction %u or phase %u is out of range",
                         s->data_pos, s->data_len, s->data_dir, s->phase);
    }
    s->dor = s->dor_vmstate;
    if (s->phase == PHASE_COMMAND) {
        s->cmd_len = MIN(s->data_pos, sizeof(s->cmd) - 1);
        memcpy(s->cmd, s->fifo, sizeof(s->cmd));
    }
    return true;
}

static bool changed_needed(const void *obj)
{
    const FloppyDrive *d = obj;

    return d->blk && d->media_changed != 1;
}

static bool rate_needed(const void *obj)
{
    return true;
}

static bool perpendicular_needed(const void *obj)
{
    return ((const FloppyDrive *)obj)->perpendicular != 0;
}

static bool sensei_needed(const void *obj)
{
    return ((const Fdc *)obj)->reset_sensei != 0;
}

static bool result_timer_needed(const void *obj)
{
    return timer_pending(&((const Fdc *)obj)->result_timer);
}

/* Without it the loader takes COMMAND, or RESULT when bytes wait to be read. */
static bool phase_needed(const void *obj)
{
    return ((const Fdc *)obj)->phase != PHASE_COMMAND;
}

#define SUBSECTION(id, wire, need, ...)                                                    \
    static const VmField id##_fields[] = { __VA_ARGS__, VMS_END };                         \
    static const VmStateDesc id##_desc = { .name = wire, .version = 1, .minimum = 1,       \
        .fields = id##_fields, .needed = need }

SUBSECTION(changed, "fdrive/media_changed", changed_needed, VMS_U8(FloppyDrive, media_changed));
SUBSECTION(rate, "fdrive/media_rate", rate_needed, VMS_U8(FloppyDrive, media_rate));
SUBSECTION(perpendicular, "fdrive/perpendicular", perpendicular_needed,
           VMS_U8(FloppyDrive, perpendicular));
SUBSECTION(sensei, "fdc/reset_sensei", sensei_needed, VMS_I32(Fdc, reset_sensei));
SUBSECTION(rtimer, "fdc/result_timer", result_timer_needed, VMS_TIMER(Fdc, result_timer));
SUBSECTION(phase, "fdc/phase", phase_needed, VMS_U8(Fdc, phase));

static bool drive_pre_load(void *obj, GError **error)
{
    ((FloppyDrive *)obj)->media_changed = 1;
    ((FloppyDrive *)obj)->perpendicular = 0;
    return true;
}

static const VmStateDesc *const drive_subsections[] = { &changed_desc, &rate_desc,
                                                        &perpendicular_desc, NULL };
static const VmField drive_fields[] = {
    VMS_U8(FloppyDrive, head), VMS_U8(FloppyDrive, track), VMS_U8(FloppyDrive, sect), VMS_END
};
static const VmStateDesc drive_desc = { .name = "fdrive", .version = 1, .minimum = 1,
                                        .fields = drive_fields, .pre_load = drive_pre_load,
                                        .subsections = drive_subsections };
static const VmStateDesc *const fdc_subsections[] = { &sensei_desc, &rtimer_desc, &phase_desc,
                                                      NULL };
static const VmField fdc_fields[] = {
    VMS_U8(Fdc, sra), VMS_U8(Fdc, srb), VMS_U8(Fdc, dor_vmstate), VMS_U8(Fdc, tdr),
    VMS_U8(Fdc, dsr), VMS_U8(Fdc, msr), VMS_U8(Fdc, status0), VMS_U8(Fdc, status1),
    VMS_U8(Fdc, status2), VMS_U8_ARRAY(Fdc, fifo), VMS_U32(Fdc, data_pos), VMS_U32(Fdc, data_len),
    VMS_U8(Fdc, data_state), VMS_U8(Fdc, data_dir), VMS_U8(Fdc, eot), VMS_U8(Fdc, timer0),
    VMS_U8(Fdc, timer1), VMS_U8(Fdc, precomp_trk), VMS_U8(Fdc, config), VMS_U8(Fdc, lock),
    VMS_U8(Fdc, pwrd), VMS_U8(Fdc, num_floppies, .must_equal = true),
    { .name = "drives", .kind = VM_STRUCT, .offset = offsetof(Fdc, fdbus.drives),
      .size = sizeof(FloppyDrive), .count = FLOPPY_UNITS, .desc = &drive_desc, .version = 1 },
    VMS_END
};
static const VmStateDesc fdc_desc = { .name = "fdc", .version = 2, .minimum = 2,
                                      .fields = fdc_fields, .subsections = fdc_subsections,
                                      .pre_save = fdc_pre_save, .pre_load = fdc_pre_load,
                                      .post_load = fdc_post_load };
static const VmField isa_fdc_fields[] = {
    { .name = "state", .kind = VM_STRUCT, .offset = 0, .size = sizeof(Fdc), .desc = &fdc_desc },
    VMS_END
};
static const PropDef fdc_props[] = {
    PROP_U32("iobase", Fdc, iobase, 0x3f0),
    PROP_U32("irq", Fdc, irq, 6),
    PROP_U32("dma", Fdc, dma, 2),
    PROP_ENUM("fdtypeA", Fdc, fdbus.type_override[0], floppy_types, FLOPPY_AUTO,
              .help = "FDC drive type, 144/288/120/none/auto"),
    PROP_ENUM("fdtypeB", Fdc, fdbus.type_override[1], floppy_types, FLOPPY_AUTO,
              .help = "FDC drive type, 144/288/120/none/auto"),
    PROP_ENUM("fallback", Fdc, fdbus.fallback, floppy_types, FLOPPY_288,
              .help = "FDC drive type, 144/288/120/none/auto"),
    PROP_I32("bootindexA", Fdc, fdbus.bootindex[0], -1),
    PROP_I32("bootindexB", Fdc, fdbus.bootindex[1], -1),
    PROP_END,
};
DEVICE_TYPE(isa_fdc, .name = "isa-fdc", .bus = &bus_isa, .size = sizeof(Fdc), .props = fdc_props,
            .category = DEVICE_CATEGORY_STORAGE, .desc = "virtual floppy controller",
            .vmstate = VMSTATE("fdc", 2, 2, isa_fdc_fields), .realize = fdc_realize,
            .unrealize = fdc_unrealize, .outputs = IRQ_OUTPUTS(IRQ_OUT(Fdc, irq_line)),
            .user_creatable = true, .reset_enter = fdc_reset_enter, .sync = fdc_sync);
