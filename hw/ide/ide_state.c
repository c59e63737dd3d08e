/* SPDX-License-Identifier: MIT */
/*
 * State of drives and buses on the wire: QEMU's "ide_bus" and "ide_drive" with their subsections.
 * Spec: names, order and numbers as QEMU 7.2 sends them.
 *
 * A command in its PIO data phase goes with its buffer ("pio_state").  What waits for the bus master or
 * for the end of an I/O error goes as "error" of the bus and is begun again when the VM runs: moving the
 * same sectors twice does no harm.  A CD that has sectors left in PIO needs more than QEMU sends:
 * "ide_drive/rhea_reply".  Logs and a switch that is not where it was at power-on go as "ide_drive/rhea_smart".
 * Missing: a TRIM that an I/O error stopped is forgotten; its drive stays busy until the guest's reset.
 * Locking: machine lock.
 */
#include "hw/ide/ide_int.h"

#include "base/error.h"

/* QEMU's buffer: 256 sectors and 4 bytes. */
enum { WIRE_BUF_LEN = 256 * IDE_SECTOR + 4, MAX_MULT = 16 };

/* ---- what follows a PIO data phase, by its number on the wire ---- */

/* clang-format off */
static const struct PioNext {
    void (*next)(IdeDrive *d);
    bool to_device;
    IdeKind kind;              /* NONE: any */
} pio_nexts[] = {
    { ide_ata_read_moved,    false, IDE_KIND_DISK },
    { ide_ata_write_block,   true,  IDE_KIND_DISK },
    { NULL,                  false, IDE_KIND_NONE },
    { ide_atapi_reply_piece, false, IDE_KIND_CD },
    { ide_atapi_command,     true,  IDE_KIND_CD },
};
/* clang-format on */
enum { NEXT_READ, NEXT_WRITE, NEXT_STOP, NEXT_REPLY, NEXT_PACKET };

static unsigned pio_number(const IdeDrive *d)
{
    for (unsigned i = 0; i < ARRAY_LEN(pio_nexts); i++) {
        if (pio_nexts[i].next == d->pio_next) {
            return i;
        }
    }
    return NEXT_STOP;
}

/* A packet command whose DMA has not begun: its packet travels in the buffer. */
static bool packet_waits(const IdeDrive *d)
{
    return d->kind == IDE_KIND_CD && d->dma.active;
}

static bool writes_again(const IdeDrive *d)
{
    return d->retry && ide_ata_retry_kind(d) == IDE_RETRY_PIO;
}

static bool pio_needed(const void *obj)
{
    const IdeDrive *d = obj;

    return d->kind != IDE_KIND_NONE &&
           ((d->tf.status & ATA_DRQ) || packet_waits(d) || writes_again(d));
}

static bool sectors_are_counted(const IdeDrive *d)
{
    return (d->tf.status & ATA_DRQ) && d->kind == IDE_KIND_DISK && d->pio_next;
}

/* The wire has the position in the registers only; a guest may have changed the drive's select register
 * in the middle of the command. */
static void position_to_registers(IdeDrive *d)
{
    ide_set_sector(d, d->sector_pos);
    if (ide_get_sector(d) != d->sector_pos) {
        d->tf.select |= ATA_LBA;
        ide_set_sector(d, d->sector_pos);
    }
}

/* As the guest would be told: the buffer may be in use. */
static void get_identify_data(IdeDrive *d, uint8_t data[512])
{
    g_autofree uint8_t *buf = g_memdup2(d->buf, 512);

    if (d->kind == IDE_KIND_CD) {
        ide_atapi_identify(d);
    } else {
        ide_ata_identify(d);
    }
    memcpy(data, d->buf, 512);
    memcpy(d->buf, buf, 512);
}

static void drive_pre_save(void *obj)
{
    IdeDrive *d = obj;
    IdeDriveWire *w = &d->wire;

    if (sectors_are_counted(d)) {
        position_to_registers(d);
    }
    *w = (IdeDriveWire){
        .mult = d->mult_sectors, .identify = d->kind != IDE_KIND_NONE,
        .nsector = sectors_are_counted(d) ? d->sectors_left : d->tf.nsector,
        .changed = d->media_changed, .lba48 = d->tf.lba48,
        .pio_next = pio_number(d), .pio_pos = (int32_t)d->pio_pos,
        .pio_len = (int32_t)(d->pio_end - d->pio_pos),
    };
    if (w->identify) {
        get_identify_data(d, w->identify_data);
    }
    if (d->kind == IDE_KIND_DISK) {
        w->pio_req = d->pio_next || writes_again(d) ? (int32_t)d->per_irq : 0;
    } else if (w->pio_next == NEXT_REPLY) {
        w->pio_packet = (int32_t)(d->reply_len - d->reply_pos + d->cd_sectors_left * d->cd_sector_size);
    }
}

/* As far as the subsections do not say otherwise: nothing runs. */
static bool drive_pre_load(void *obj, GError **error)
{
    IdeDrive *d = obj;

    ide_drive_reset(d);
    d->tray_open = d->tray_locked = false;
    d->media_event = false;
    ide_smart_init(d);
    d->reply_len = d->reply_pos = 0;
    d->wire = (IdeDriveWire){ 0 };
    return true;
}

static bool set_pio(IdeDrive *d, GError **error)
{
    const IdeDriveWire *w = &d->wire;
    const struct PioNext *row = &pio_nexts[w->pio_next % ARRAY_LEN(pio_nexts)];

    if (w->pio_next >= ARRAY_LEN(pio_nexts) || (row->kind && row->kind != d->kind)) {
        return error_set(error, "IDE: pio_state has end_transfer_fn_idx %u, which this drive has not",
                         w->pio_next);
    }
    if (w->pio_pos < 0 || w->pio_len < 0 || w->pio_pos > IDE_BUF_LEN ||
        w->pio_len > IDE_BUF_LEN - w->pio_pos) {
        return error_set(error, "IDE: pio_state has %d bytes at %d; the buffer ends at %d",
                         w->pio_len, w->pio_pos, IDE_BUF_LEN);
    }
    d->pio_pos = (uint32_t)w->pio_pos;
    d->pio_end = (uint32_t)(w->pio_pos + w->pio_len);
    d->pio_next = row->next;
    d->pio_to_device = row->to_device;
    if (w->pio_next == NEXT_READ || w->pio_next == NEXT_WRITE) {
        if (w->pio_req < 1 || w->pio_req > MAX_MULT || !w->nsector || w->nsector > 65536) {
            return error_set(error, "IDE: pio_state has %d sectors an interrupt of %u left",
                             w->pio_req, w->nsector);
        }
        d->per_irq = (unsigned)w->pio_req;
        d->sectors_left = w->nsector;
        d->sector_pos = ide_get_sector(d);
        d->pio_sectors = MIN(d->sectors_left, d->per_irq);
        if (d->sector_pos >= d->nb_sectors || d->sectors_left > d->nb_sectors - d->sector_pos ||
            d->pio_end > d->pio_sectors * IDE_SECTOR) {
            return error_set(error, "IDE: pio_state is about %u sectors from %" G_GUINT64_FORMAT
                             ", which the disk has not", d->sectors_left, d->sector_pos);
        }
    } else if (d->kind == IDE_KIND_DISK) {
        d->per_irq = (unsigned)CLAMP(w->pio_req, 1, MAX_MULT);   /* of a write to repeat */
    } else if (w->pio_next == NEXT_REPLY && !d->reply_len) {
        /* QEMU's: the rest of the reply is in the buffer, the present count in the registers. */
        d->reply_pos = d->pio_end;
        d->reply_len = CLAMP((int64_t)d->pio_end + w->pio_packet, d->pio_end, IDE_BUF_LEN);
        d->byte_limit = MAX(d->tf.lcyl | d->tf.hcyl << 8, 2);
    }
    return true;
}

static bool drive_post_load(void *obj, int version, GError **error)
{
    IdeDrive *d = obj;
    const IdeDriveWire *w = &d->wire;

    if (w->mult < 0 || w->mult > MAX_MULT || (w->mult && !is_pow2(w->mult))) {
        return error_set(error, "IDE: multiple sector count %d is not 0, 1, 2, 4, 8 or 16", w->mult);
    }
    d->mult_sectors = w->mult;
    d->tf.nsector = w->nsector;
    d->tf.lba48 = w->lba48;
    d->media_changed = w->changed;
    return !w->has_pio || set_pio(d, error);
}

/* ---- subsections of the drive ---- */

static bool buf_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    uint8_t *buf = *(uint8_t **)field;
    g_autofree uint8_t *wire = g_malloc(WIRE_BUF_LEN);

    if (!buf) {
        return error_set(error, "IDE: pio_state is of a drive that is not there");
    }
    if (vm_get_bytes(r, wire, WIRE_BUF_LEN)) {
        memcpy(buf, wire, IDE_BUF_LEN + IDE_BUF_PAD);
    }
    return true;
}

static void buf_put(VmWriter *w, const void *field, const VmField *def)
{
    const IdeDrive *d = (const IdeDrive *)(const void *)((const char *)field - def->offset);
    g_autofree uint8_t *wire = g_malloc0(WIRE_BUF_LEN);

    memcpy(wire, d->buf, IDE_BUF_LEN + IDE_BUF_PAD);
    if (packet_waits(d)) {
        memcpy(wire, d->packet, sizeof(d->packet));
    }
    vm_put_bytes(w, wire, WIRE_BUF_LEN);
}

static bool pio_post_load(void *obj, int version, GError **error)
{
    ((IdeDrive *)obj)->wire.has_pio = true;
    return true;
}

/* clang-format off */
static const VmField pio_fields[] = {
    VMS_I32(IdeDrive, wire.pio_req, .wire = "req_nb_sectors"),
    { .name = "io_buffer", .kind = VM_CUSTOM, .offset = offsetof(IdeDrive, buf), .size = WIRE_BUF_LEN,
      .version = 1, .wire_type = "uint8", .get = buf_get, .put = buf_put },
    VMS_I32(IdeDrive, wire.pio_pos, .wire = "cur_io_buffer_offset"),
    VMS_I32(IdeDrive, wire.pio_len, .wire = "cur_io_buffer_len"),
    VMS_U8(IdeDrive, wire.pio_next, .wire = "end_transfer_fn_idx"),
    VMS_I32(IdeDrive, wire.pio_elementary, .wire = "elementary_transfer_size"),
    VMS_I32(IdeDrive, wire.pio_packet, .wire = "packet_transfer_size"),
    VMS_END
};
static const VmStateDesc vmstate_pio = { .name = "ide_drive/pio_state", .version = 1, .minimum = 1,
                                         .fields = pio_fields, .needed = pio_needed,
                                         .post_load = pio_post_load };
/* clang-format on */

static bool tray_needed(const void *obj)
{
    const IdeDrive *d = obj;

    return d->tray_open || d->tray_locked;
}

static const VmField tray_fields[] = { VMS_BOOL(IdeDrive, tray_open), VMS_BOOL(IdeDrive, tray_locked),
                                       VMS_END };
static const VmStateDesc vmstate_tray = { .name = "ide_drive/tray_state", .version = 1, .minimum = 1,
                                          .fields = tray_fields, .needed = tray_needed };

static bool event_needed(const void *obj) { return ((const IdeDrive *)obj)->media_event; }

static void event_pre_save(void *obj)
{
    IdeDrive *d = obj;

    d->wire.new_media = d->media_event && !d->tray_open && blk_has_medium(d->blk);
    d->wire.eject_request = d->media_event && !d->wire.new_media;
}

static bool event_post_load(void *obj, int version, GError **error)
{
    IdeDrive *d = obj;

    d->media_event = d->wire.new_media || d->wire.eject_request;
    return true;
}

static const VmField event_fields[] = {
    VMS_BOOL(IdeDrive, wire.new_media, .wire = "events.new_media"),
    VMS_BOOL(IdeDrive, wire.eject_request, .wire = "events.eject_request"), VMS_END
};
static const VmStateDesc vmstate_event = { .name = "ide_drive/atapi/gesn_state", .version = 1, .minimum = 1,
                                           .fields = event_fields, .needed = event_needed,
                                           .pre_save = event_pre_save, .post_load = event_post_load };

static bool reply_needed(const void *obj)
{
    const IdeDrive *d = obj;

    return (d->tf.status & ATA_DRQ) && d->pio_next == ide_atapi_reply_piece &&
           (d->cd_sectors_left || d->reply_pos < d->reply_len);
}

static bool reply_post_load(void *obj, int version, GError **error)
{
    const IdeDrive *d = obj;
    uint64_t sectors = d->nb_sectors / (IDE_CD_SECTOR / IDE_SECTOR);

    if (d->reply_len > IDE_BUF_LEN || d->reply_pos > d->reply_len || d->byte_limit < 2 ||
        d->byte_limit > 0xfffe || (d->cd_sector_size != IDE_CD_SECTOR && d->cd_sector_size != 2352) ||
        d->cd_lba > sectors || d->cd_sectors_left > sectors - d->cd_lba) {
        return error_set(error, "IDE: rhea_reply has %u of %u bytes, %u sectors of %u bytes left",
                         d->reply_pos, d->reply_len, d->cd_sectors_left, d->cd_sector_size);
    }
    return true;
}

static const VmField reply_fields[] = {
    VMS_U32(IdeDrive, reply_len), VMS_U32(IdeDrive, reply_pos), VMS_U32(IdeDrive, byte_limit),
    VMS_U32(IdeDrive, cd_sector_size), VMS_U64(IdeDrive, cd_lba), VMS_U32(IdeDrive, cd_sectors_left),
    VMS_END
};
static const VmStateDesc vmstate_reply = { .name = "ide_drive/rhea_reply", .version = 1, .minimum = 1,
                                           .fields = reply_fields, .needed = reply_needed,
                                           .post_load = reply_post_load };

static const VmStateDesc *const drive_subsections[] = { &vmstate_pio, &vmstate_tray, &vmstate_event, &vmstate_reply,
                                                        &vmstate_ide_smart, NULL };

static bool has_identify_data(const void *obj, int version) { return ((const IdeDrive *)obj)->wire.identify; }

static const VmField drive_fields[] = {
    VMS_I32(IdeDrive, wire.mult, .wire = "mult_sectors"),
    VMS_I32(IdeDrive, wire.identify, .wire = "identify_set"),
    VMS_BUFFER(IdeDrive, wire.identify_data, .wire = "identify_data", .exists = has_identify_data),
    VMS_U8(IdeDrive, tf.feature, .wire = "feature"),
    VMS_U8(IdeDrive, tf.error, .wire = "error"),
    VMS_U32(IdeDrive, wire.nsector, .wire = "nsector"),
    VMS_U8(IdeDrive, tf.sector, .wire = "sector"),
    VMS_U8(IdeDrive, tf.lcyl, .wire = "lcyl"),
    VMS_U8(IdeDrive, tf.hcyl, .wire = "hcyl"),
    VMS_U8(IdeDrive, tf.hob_feature, .wire = "hob_feature"),
    VMS_U8(IdeDrive, tf.hob_sector, .wire = "hob_sector"),
    VMS_U8(IdeDrive, tf.hob_nsector, .wire = "hob_nsector"),
    VMS_U8(IdeDrive, tf.hob_lcyl, .wire = "hob_lcyl"),
    VMS_U8(IdeDrive, tf.hob_hcyl, .wire = "hob_hcyl"),
    VMS_U8(IdeDrive, tf.select, .wire = "select"),
    VMS_U8(IdeDrive, tf.status, .wire = "status"),
    VMS_U8(IdeDrive, wire.lba48, .wire = "lba48"),
    VMS_U8(IdeDrive, sense_key),
    VMS_U8(IdeDrive, asc),
    VMS_U8(IdeDrive, wire.changed, .wire = "cdrom_changed", .version = 3),
    VMS_END
};
const VmStateDesc vmstate_ide_drive = { .name = "ide_drive", .version = 3, .fields = drive_fields,
                                        .subsections = drive_subsections,
                                        .pre_save = drive_pre_save, .pre_load = drive_pre_load,
                                        .post_load = drive_post_load };

/* ---- the bus ---- */

/* The drive whose command the VM repeats when it runs again. */
static const IdeDrive *waiting_drive(const IdeBus *bus)
{
    for (unsigned i = 0; i < 2; i++) {
        const IdeDrive *d = &bus->drives[i];

        if (d->kind != IDE_KIND_NONE &&
            ((d->dma.active && !d->dma.from_buf) || packet_waits(d) ||
             (d->retry && ide_ata_retry_kind(d)))) {
            return d;
        }
    }
    return NULL;
}

static void bus_pre_save(void *obj)
{
    IdeBus *bus = obj;
    const IdeDrive *d = waiting_drive(bus);
    IdeBusWire *w = &bus->wire;

    *w = (IdeBusWire){ .has_error = d != NULL };
    if (!d) {
        return;
    }
    w->unit = d->unit;
    if (packet_waits(d)) {
        w->error_status = IDE_RETRY_READ;
        w->nsector = d->tf.nsector;
    } else if (d->dma.active) {
        w->error_status = IDE_RETRY_DMA | (d->dma.to_device ? 0 : IDE_RETRY_READ);
        w->sector = (int64_t)(d->dma.start / IDE_SECTOR);
        w->nsector = d->dma.total / IDE_SECTOR;
    } else {
        w->error_status = (int32_t)ide_ata_retry_kind(d);
        w->sector = (int64_t)d->sector_pos;
        w->nsector = d->sectors_left;
    }
}

static bool bus_pre_load(void *obj, GError **error)
{
    ((IdeBus *)obj)->wire = (IdeBusWire){ 0 };
    return true;
}

static bool bus_post_load(void *obj, int version, GError **error)
{
    const IdeBus *bus = obj;

    return bus->unit <= 1 || error_set(error, "IDE: selected unit %u is not 0 or 1", bus->unit);
}

static bool error_needed(const void *obj)
{
    return ((const IdeBus *)obj)->wire.has_error;
}

static bool error_post_load(void *obj, int version, GError **error)
{
    ((IdeBus *)obj)->wire.has_error = true;
    return true;
}

/* Sets up what the VM's start repeats. */
static bool set_waiting(IdeBus *bus, GError **error)
{
    const IdeBusWire *w = &bus->wire;
    IdeDrive *d = &bus->drives[w->unit & 1];
    uint32_t kind = (uint32_t)w->error_status;

    if (w->unit > 1 || d->kind == IDE_KIND_NONE) {
        return error_set(error, "IDE: the command to repeat is of unit %u, which is not there", w->unit);
    }
    d->pio_pos = d->pio_end = 0;
    if (d->kind == IDE_KIND_CD) {
        memcpy(d->packet, d->buf, sizeof(d->packet));
        d->retry = ide_atapi_run;
        return true;
    }
    if (kind != IDE_RETRY_FLUSH &&
        (w->sector < 0 || (uint64_t)w->sector >= d->nb_sectors || !w->nsector ||
         w->nsector > MIN(65536, d->nb_sectors - (uint64_t)w->sector))) {
        return error_set(error, "IDE: the command to repeat is about %u sectors from %" G_GINT64_FORMAT
                         ", which the disk has not", w->nsector, w->sector);
    }
    if (kind & IDE_RETRY_DMA) {
        d->dma.start = (uint64_t)w->sector * IDE_SECTOR;
        d->dma.total = w->nsector * IDE_SECTOR;
        d->dma.to_device = !(kind & IDE_RETRY_READ);
        d->dma.fua = false;
        d->retry = ide_dma_again;
    } else {
        d->sector_pos = (uint64_t)w->sector;
        d->sectors_left = w->nsector;
        d->per_irq = CLAMP(d->per_irq, 1, MAX_MULT);
        d->pio_sectors = MIN(d->sectors_left, d->per_irq);
        ide_ata_set_retry(d, kind);
    }
    return true;
}

/*
 * INTRQ is not on the wire, and the interrupt controller may have saved a high line.  So it counts as
 * high: every command lowers it before it raises it, and then the next edge is one.
 */
bool ide_bus_loaded(IdeBus *bus, GError **error)
{
    bus->irq_pending = bus->drives[0].kind || bus->drives[1].kind;
    return !bus->wire.has_error || set_waiting(bus, error);
}

static const VmField error_fields[] = {
    VMS_I32(IdeBus, wire.error_status, .wire = "error_status"),
    VMS_I64(IdeBus, wire.sector, .wire = "retry_sector_num", .version = 2),
    VMS_U32(IdeBus, wire.nsector, .wire = "retry_nsector", .version = 2),
    VMS_U8(IdeBus, wire.unit, .wire = "retry_unit", .version = 2),
    VMS_END
};
static const VmStateDesc vmstate_error = { .name = "ide_bus/error", .version = 2, .minimum = 1,
                                           .fields = error_fields, .needed = error_needed,
                                           .post_load = error_post_load };
static const VmStateDesc *const bus_subsections[] = { &vmstate_error, NULL };
static const VmField bus_fields[] = { VMS_U8(IdeBus, cmd), VMS_U8(IdeBus, unit), VMS_END };
const VmStateDesc vmstate_ide_bus = { .name = "ide_bus", .version = 1, .minimum = 1,
                                      .fields = bus_fields, .subsections = bus_subsections,
                                      .pre_save = bus_pre_save, .pre_load = bus_pre_load,
                                      .post_load = bus_post_load };
