/* SPDX-License-Identifier: MIT */
/*
 * The task file, interrupts, PIO and DMA data phases common to ATA and ATAPI drives.
 * Spec: ACS (T13/1699-D) chapters 6 and 9, and ATA/ATAPI-7 volume 2 for the parallel interface.
 * Not modelled: signal timing; a command ends as soon as its data is there.
 * Locking: machine lock.
 */
#include "hw/ide/ide_int.h"

#include <errno.h>

#include "base/error.h"
#include "hw/trace.h"
#include "vm/vm.h"

/* ---- interrupts and ends of commands ---- */

void ide_bus_sync(IdeBus *bus)
{
    irq_set(&bus->irq, bus->irq_pending && !(bus->cmd & ATA_NIEN));
}

void ide_raise_irq(IdeDrive *d)
{
    d->bus->irq_pending = true;
    ide_bus_sync(d->bus);
}

static void command_over(IdeDrive *d)
{
    if (d->bus->host->command_done) {
        d->bus->host->command_done(d->bus);
    }
}

void ide_command_ok(IdeDrive *d)
{
    d->tf.status = ATA_DRDY | ATA_DSC;
    d->tf.error = 0;
    ide_raise_irq(d);
    command_over(d);
}

void ide_command_error(IdeDrive *d, uint8_t error)
{
    d->tf.status = ATA_DRDY | ATA_ERR;
    d->tf.error = error;
    if (error & (ATA_UNC | ATA_IDNF)) {
        ide_smart_error(d, error, ide_get_sector(d), d->tf.nsector);
    }
    ide_raise_irq(d);
    command_over(d);
}

void ide_command_abort(IdeDrive *d)
{
    ide_command_error(d, ATA_ABRT);
}

void ide_set_signature(IdeDrive *d)
{
    d->tf.select &= ~0xf;
    d->tf.nsector = d->tf.sector = 1;
    switch (d->kind) {
    case IDE_KIND_CD:
        d->tf.lcyl = 0x14;
        d->tf.hcyl = 0xeb;
        break;
    case IDE_KIND_DISK:
        d->tf.lcyl = d->tf.hcyl = 0;
        break;
    case IDE_KIND_NONE:
        d->tf.lcyl = d->tf.hcyl = 0xff;
        break;
    }
}

bool ide_request_done(IdeDrive *d)
{
    d->request = NULL;
    return !d->cancelled;
}

void ide_request_cancel(IdeDrive *d)
{
    d->retry = NULL;
    if (d->request) {
        d->cancelled = true;
        blk_aio_cancel_sync(d->request);
        d->cancelled = false;
    }
}

bool ide_handle_io_error(IdeDrive *d, int ret, bool is_read, void (*retry)(IdeDrive *d))
{
    if (ret >= 0) {
        return false;
    }
    switch (blk_handle_error(d->blk, is_read, -ret)) {
    case BLK_ERROR_IGNORE:
        return false;
    case BLK_ERROR_STOP:
        d->retry = retry;
        return true;
    case BLK_ERROR_REPORT:
        break;
    }
    ide_command_error(d, ret == -ENOMEDIUM || ret == -ECANCELED ? ATA_ABRT : ATA_UNC);
    return true;
}

/* ---- PIO ---- */

void ide_pio_begin(IdeDrive *d, uint32_t len, bool to_device, void (*next)(IdeDrive *d))
{
    g_assert(len > 0 && len <= IDE_BUF_LEN);
    d->pio_pos = 0;
    d->pio_end = len;
    d->pio_to_device = to_device;
    d->pio_next = next;
    d->tf.status = (d->tf.status & ~(ATA_BSY | ATA_ERR)) | ATA_DRQ | ATA_DRDY;
    if (d->bus->host->pio_ready) {
        d->bus->host->pio_ready(d->bus);
    }
}

static void pio_stop(IdeDrive *d)
{
    d->pio_pos = d->pio_end = 0;
    d->pio_next = NULL;
    d->tf.status &= ~ATA_DRQ;
}

static void pio_moved(IdeDrive *d)
{
    void (*next)(IdeDrive *d) = d->pio_next;

    pio_stop(d);
    if (next) {
        next(d);
    }
}

void ide_pio_end(IdeBus *bus)
{
    IdeDrive *d = ide_selected(bus);

    if (d->tf.status & ATA_DRQ) {
        d->pio_pos = d->pio_end;
        pio_moved(d);
    }
}

uint32_t ide_data_read(IdeBus *bus, unsigned size)
{
    IdeDrive *d = ide_selected(bus);
    uint32_t value;

    if (!(d->tf.status & ATA_DRQ) || d->pio_to_device || d->pio_pos >= d->pio_end) {
        return 0;
    }
    /* An odd last byte comes in a whole word: ATA/ATAPI-7 V2 11.8. */
    value = le_load(d->buf + d->pio_pos, size);
    d->pio_pos += size;
    if (d->pio_pos >= d->pio_end) {
        pio_moved(d);
    }
    return value;
}

void ide_data_write(IdeBus *bus, uint32_t value, unsigned size)
{
    IdeDrive *d = ide_selected(bus);

    if (!(d->tf.status & ATA_DRQ) || !d->pio_to_device || d->pio_pos >= d->pio_end) {
        return;
    }
    le_store(d->buf + d->pio_pos, value, size);
    d->pio_pos += size;
    if (d->pio_pos >= d->pio_end) {
        pio_moved(d);
    }
}

/* ---- DMA ---- */

static void dma_round(IdeDrive *d);
static void dma_submit(IdeDrive *d);

static void dma_begin(IdeDrive *d, IdeDma dma)
{
    d->dma = dma;
    d->dma.active = true;
    d->dma.start = dma.offset;
    d->dma.total = dma.left;
    d->tf.status = ATA_DRDY | ATA_DSC | ATA_DRQ;
    d->bus->host->dma_prepare(d->bus);
}

void ide_dma_medium(IdeDrive *d, uint64_t offset, uint32_t bytes, bool to_device, bool fua)
{
    dma_begin(d, (IdeDma){ .offset = offset, .left = bytes, .to_device = to_device,
                           .fua = fua });
}

void ide_dma_buf(IdeDrive *d, uint32_t len, bool to_device, void (*moved)(IdeDrive *d))
{
    g_assert(len <= IDE_BUF_LEN);
    dma_begin(d, (IdeDma){ .left = len, .to_device = to_device, .from_buf = true,
                           .moved = moved });
}

void ide_dma_again(IdeDrive *d)
{
    ide_dma_medium(d, d->dma.start, d->dma.total, d->dma.to_device, d->dma.fua);
}

static void dma_end(IdeDrive *d, bool bus_error)
{
    d->dma.active = d->dma.running = false;
    d->bus->host->dma_done(d->bus, bus_error);
}

static void dma_all_moved(IdeDrive *d)
{
    void (*moved)(IdeDrive *d) = d->dma.moved;

    if (d->kind == IDE_KIND_CD) {
        d->tf.nsector = (d->tf.nsector & ~7) | ATAPI_IO | ATAPI_CD;
    }
    dma_end(d, false);
    if (moved) {
        moved(d);
    } else {
        ide_command_ok(d);
    }
}

static void dma_io_done(void *opaque, int ret)
{
    IdeDrive *d = opaque;
    bool is_read = !d->dma.to_device;

    if (!ide_request_done(d)) {
        dma_sg_unmap(&d->dma.sg);
        return;
    }
    if (ret < 0) {
        BlkErrorAction action = blk_handle_error(d->blk, is_read, -ret);

        if (action == BLK_ERROR_STOP) {
            d->retry = dma_submit;    /* the list stays mapped: the table is read only once */
            return;
        }
        if (action == BLK_ERROR_REPORT) {
            dma_sg_unmap(&d->dma.sg);
            dma_end(d, false);
            if (d->kind == IDE_KIND_CD) {
                ide_atapi_dma_failed(d);
            } else {
                ide_command_error(d, ATA_UNC);
            }
            device_sync(d->bus->bus.owner);
            return;
        }
    }
    dma_sg_unmap(&d->dma.sg);
    d->dma.offset += d->dma.round;
    d->dma.left -= d->dma.round;
    if (d->kind == IDE_KIND_DISK) {
        ide_set_sector(d, d->dma.offset / IDE_SECTOR);
    }
    dma_round(d);
    device_sync(d->bus->bus.owner);
}

static void move_buf(IdeDrive *d, uint32_t len)
{
    for (unsigned i = 0; i < d->dma.sg.iov->len; i++) {
        struct iovec *iov = &g_array_index(d->dma.sg.iov, struct iovec, i);
        uint8_t *at = d->buf + d->dma.buf_pos;

        memcpy(d->dma.to_device ? (void *)at : iov->iov_base,
               d->dma.to_device ? iov->iov_base : (void *)at, iov->iov_len);
        d->dma.buf_pos += iov->iov_len;
    }
    dma_sg_unmap(&d->dma.sg);
    d->dma.left -= len;
}

/* The list that is mapped, to or from the medium. */
static void dma_submit(IdeDrive *d)
{
    IdeDma *dma = &d->dma;
    const struct iovec *iov = (const struct iovec *)(void *)dma->sg.iov->data;

    d->request = dma->to_device
                     ? blk_aio_pwritev(d->blk, dma->offset, iov, dma->sg.iov->len,
                                       dma->fua ? BLK_REQ_FUA : 0, dma_io_done, d)
                     : blk_aio_preadv(d->blk, dma->offset, iov, dma->sg.iov->len, dma_io_done, d);
}

/* One scatter-gather list's worth, until nothing is left or the guest's table ends. */
static void dma_round(IdeDrive *d)
{
    while (d->dma.left) {
        IdeDma *dma = &d->dma;

        dma_sg_init(&dma->sg, d->bus->bus.owner, !dma->to_device);
        dma->round = d->bus->host->dma_add(d->bus, &dma->sg, MIN(dma->left, IDE_DMA_ROUND));
        if (!dma->from_buf) {
            /* The medium moves whole sectors; a table that ends inside one is an error. */
            uint32_t unit = d->kind == IDE_KIND_CD ? IDE_CD_SECTOR : IDE_SECTOR;

            if (dma->round % unit) {
                dma->round = 0;
            }
        }
        if (!dma->round) {
            dma_sg_unmap(&dma->sg);
            dma_end(d, true);
            if (d->kind == IDE_KIND_CD) {
                ide_atapi_dma_failed(d);
            } else {
                ide_command_abort(d);
            }
            return;
        }
        if (dma->from_buf) {
            move_buf(d, dma->round);
            continue;
        }
        dma_submit(d);
        return;
    }
    dma_all_moved(d);
}

void ide_dma_start(IdeBus *bus)
{
    IdeDrive *d = ide_selected(bus);

    if (!d->dma.active || d->dma.running) {
        return;
    }
    trace_ide_dma_start(bus->bus.obj.name, d->unit);
    d->dma.running = true;
    d->tf.status = (d->tf.status | ATA_BSY) & ~ATA_DRQ;
    dma_round(d);
}

static void dma_forget(IdeDrive *d)
{
    ide_request_cancel(d);
    if (d->dma.sg.iov) {
        dma_sg_unmap(&d->dma.sg);     /* it waited to be repeated */
    }
    d->dma = (IdeDma){ 0 };
}

void ide_dma_cancel(IdeBus *bus)
{
    for (unsigned i = 0; i < 2; i++) {
        IdeDrive *d = &bus->drives[i];

        if (!d->dma.running) {
            continue;
        }
        dma_forget(d);
        if (d->kind == IDE_KIND_CD) {
            ide_atapi_dma_failed(d);
        } else {
            ide_command_abort(d);
        }
    }
}

/* ---- registers ---- */

static bool bus_is_empty(const IdeBus *bus)
{
    return bus->drives[0].kind == IDE_KIND_NONE && bus->drives[1].kind == IDE_KIND_NONE;
}

/* A selected drive that is not there: the other one answers with zero. */
static bool answers_zero(IdeBus *bus)
{
    return bus_is_empty(bus) || ide_selected(bus)->kind == IDE_KIND_NONE;
}

uint8_t ide_alt_status(IdeBus *bus)
{
    return answers_zero(bus) ? 0 : ide_selected(bus)->tf.status;
}

uint8_t ide_reg_read(IdeBus *bus, unsigned reg)
{
    const IdeTaskFile *tf = &ide_selected(bus)->tf;
    bool hob = bus->cmd & ATA_HOB;

    if (bus_is_empty(bus) || (answers_zero(bus) && reg != 6)) {
        return 0;
    }
    switch (reg) {
    case 1:
        return hob ? tf->hob_feature : tf->error;
    case 2:
        return hob ? tf->hob_nsector : tf->nsector;
    case 3:
        return hob ? tf->hob_sector : tf->sector;
    case 4:
        return hob ? tf->hob_lcyl : tf->lcyl;
    case 5:
        return hob ? tf->hob_hcyl : tf->hcyl;
    case 6:
        return tf->select | 0xa0;
    case 7:
        bus->irq_pending = false;     /* reading Status acknowledges */
        ide_bus_sync(bus);
        return tf->status;
    default:
        return 0xff;
    }
}

void ide_drive_reset(IdeDrive *d)
{
    dma_forget(d);
    pio_stop(d);
    ide_smart_reset(d);
    d->cd_sectors_left = 0;
    ide_set_signature(d);
    d->tf.status = d->kind == IDE_KIND_CD ? 0 : ATA_DRDY | ATA_DSC;
    d->tf.error = 1;
}

static void run_command(IdeBus *bus, uint8_t command)
{
    IdeDrive *d = ide_selected(bus);

    bus->irq_pending = false;
    ide_bus_sync(bus);
    if (d->kind == IDE_KIND_NONE || (bus->cmd & ATA_SRST)) {
        return;
    }
    if (command == 0x08) {            /* DEVICE RESET: even while busy, packet devices only */
        if (d->kind == IDE_KIND_CD) {
            ide_drive_reset(d);
        } else if (!(d->tf.status & (ATA_BSY | ATA_DRQ))) {
            ide_command_abort(d);
        }
        return;
    }
    if (d->tf.status & (ATA_BSY | ATA_DRQ)) {
        return;                       /* 6.2.4: ignored while a command runs */
    }
    d->tf.error = 0;
    d->retry = NULL;
    ide_smart_command(d, &d->tf, command);
    trace_ide_exec_cmd(bus->bus.obj.name, d->unit, command);
    ide_ata_command(d, command);
}

void ide_reg_write(IdeBus *bus, unsigned reg, uint8_t value)
{
    if (reg == 7) {
        run_command(bus, value);
        return;
    }
    bus->cmd &= ~ATA_HOB;
    if (reg == 6) {
        bus->drives[0].tf.select = (value & ~ATA_DEV) | 0xa0;
        bus->drives[1].tf.select = value | ATA_DEV | 0xa0;
        bus->unit = !!(value & ATA_DEV);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        IdeTaskFile *tf = &bus->drives[i].tf;

        if (tf->status & (ATA_BSY | ATA_DRQ)) {
            continue;                 /* the running command owns its registers */
        }
        switch (reg) {
        case 1:
            tf->hob_feature = tf->feature;
            tf->feature = value;
            break;
        case 2:
            tf->hob_nsector = tf->nsector;
            tf->nsector = value;
            break;
        case 3:
            tf->hob_sector = tf->sector;
            tf->sector = value;
            break;
        case 4:
            tf->hob_lcyl = tf->lcyl;
            tf->lcyl = value;
            break;
        case 5:
            tf->hob_hcyl = tf->hcyl;
            tf->hcyl = value;
            break;
        }
    }
}

static void soft_reset(IdeBus *bus)
{
    for (unsigned i = 0; i < 2; i++) {
        IdeDrive *d = &bus->drives[i];

        if (d->kind != IDE_KIND_NONE) {
            ide_drive_reset(d);
            d->tf.select = 0xa0 | (i ? ATA_DEV : 0);
        }
    }
    bus->unit = 0;
    bus->irq_pending = false;
}

void ide_control_write(IdeBus *bus, uint8_t value)
{
    /* 9.2: the reset runs while SRST is 1 and ends when it falls. */
    if (value & ATA_SRST) {
        for (unsigned i = 0; i < 2; i++) {
            ide_drive_reset(&bus->drives[i]);
            bus->drives[i].tf.status = ATA_BSY | ATA_DSC;
            bus->drives[i].tf.error = 1;
        }
    } else if (bus->cmd & ATA_SRST) {
        soft_reset(bus);
    }
    bus->cmd = value;
    ide_bus_sync(bus);
}

/* ---- legacy ports ---- */

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = offset == 0 ? ide_data_read(opaque, size) : ide_reg_read(opaque, offset);

    if (offset != 0) {
        trace_ide_ioport_read(((IdeBus *)opaque)->bus.obj.name, (unsigned)offset, (unsigned)value);
    }
    return value;
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset == 0) {
        ide_data_write(opaque, value, size);
    } else {
        trace_ide_ioport_write(((IdeBus *)opaque)->bus.obj.name, (unsigned)offset, (unsigned)value);
        ide_reg_write(opaque, offset, value);
    }
    device_sync(((IdeBus *)opaque)->bus.owner);
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    return ide_alt_status(opaque);
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ide_control_write(opaque, value);
}

/* A wide access at the data port is one transfer; elsewhere bytes follow each other. */
static const MmioOps data_ops = { command_read, command_write, .valid_min = 1, .valid_max = 4,
                                  .impl_min = 1, .impl_max = 4 };
static const MmioOps control_ops = { control_read, control_write, .valid_max = 1, .impl_max = 1 };

void ide_bus_add_ports(IdeBus *bus, MemoryRegion *io, uint16_t command, uint16_t control)
{
    memory_region_init_io(&bus->command_mr, OBJECT(bus->bus.owner), "ide", &data_ops, bus, 8);
    memory_region_add(io, command, &bus->command_mr);
    memory_region_init_io(&bus->control_mr, OBJECT(bus->bus.owner), "ide", &control_ops, bus, 1);
    memory_region_add(io, control, &bus->control_mr);
}

/* ---- the bus ---- */

static void stopped_or_running(void *opaque, bool running, RunState state)
{
    IdeBus *bus = opaque;

    for (unsigned i = 0; running && i < 2; i++) {
        IdeDrive *d = &bus->drives[i];
        void (*retry)(IdeDrive *d) = d->retry;

        if (retry) {
            d->retry = NULL;
            retry(d);
        }
        ide_smart_go_on(d);
    }
}

void ide_bus_init(IdeBus *bus, Device *owner, const char *name, const IdeHostOps *host,
                  void *host_opaque)
{
    bus_init(&bus->bus, host->drives == 1 ? &bus_sata : &bus_ide, owner, owner->vm, name);
    bus->host = host;
    bus->host_opaque = host_opaque;
    for (unsigned i = 0; i < 2; i++) {
        bus->drives[i].bus = bus;
        bus->drives[i].unit = i;
    }
    vm_add_state_hook(owner->vm, stopped_or_running, bus);
}

void ide_bus_clear(IdeBus *bus)
{
    vm_del_state_hook(bus->bus.vm, stopped_or_running, bus);
    bus_clear(&bus->bus);
}

void ide_bus_reset(IdeBus *bus)
{
    soft_reset(bus);
    bus->cmd = 0;
    for (unsigned i = 0; i < 2; i++) {
        IdeDrive *d = &bus->drives[i];

        d->mult_sectors = 16;
        d->tf.feature = 0;
        d->tray_locked = false;
        d->sense_key = d->asc = d->ascq = 0;
        d->media_changed = false;
        if (d->conf) {
            d->heads = d->conf->heads;
            d->secs = d->conf->secs;
        }
    }
    ide_bus_sync(bus);
}
