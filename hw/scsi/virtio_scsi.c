/* SPDX-License-Identifier: MIT */
/*
 * Virtio SCSI adapter ("virtio-scsi-device", behind "virtio-scsi-pci"): the device.
 * Spec: VIRTIO1.2 5.6.
 * Not modelled: asynchronous notifications, protection information.
 * Locking: machine lock; requests and events where the queues are served (scsi.h).
 */
#include "hw/scsi/virtio_scsi.h"

#include "base/error.h"
#include "hw/virtio/virtio_pci.h"
#include "vm/iothread.h"
#include "vm/machine.h"
#include "vm/vm.h"

enum { QUEUES_AUTO = -1, FIXED_QUEUES = 2 };
enum { EVENT_LEN = 16, SENSE_SIZE = 96, CDB_SIZE = 32 };
enum { EVENT_NONE = 0, EVENT_TRANSPORT_RESET = 1, EVENT_PARAM_CHANGE = 3 };
enum { REASON_RESCAN = 1, REASON_REMOVED = 2 };
#define EVENTS_MISSED 0x80000000u

/* ---- configuration: 5.6.4 ---- */

enum {
    CFG_NUM_QUEUES = 0, CFG_SEG_MAX = 4, CFG_MAX_SECTORS = 8, CFG_CMD_PER_LUN = 12,
    CFG_EVENT_SIZE = 16, CFG_SENSE_SIZE = 20, CFG_CDB_SIZE = 24, CFG_MAX_CHANNEL = 28,
    CFG_MAX_TARGET = 30, CFG_MAX_LUN = 32, CFG_LEN = 36,
};

static void config_read(VirtioDevice *vdev, uint8_t *c)
{
    VirtioScsi *s = virtio_scsi_of(vdev);

    le32_store(c + CFG_NUM_QUEUES, s->num_queues);
    le32_store(c + CFG_SEG_MAX, s->seg_max_adjust ? s->queue_size - 2 : 128 - 2);
    le32_store(c + CFG_MAX_SECTORS, s->max_sectors);
    le32_store(c + CFG_CMD_PER_LUN, s->cmd_per_lun);
    le32_store(c + CFG_EVENT_SIZE, EVENT_LEN);
    le32_store(c + CFG_SENSE_SIZE, s->sense_size);
    le32_store(c + CFG_CDB_SIZE, s->cdb_size);
    le16_store(c + CFG_MAX_CHANNEL, 0);
    le16_store(c + CFG_MAX_TARGET, VIRTIO_SCSI_MAX_TARGET);
    le32_store(c + CFG_MAX_LUN, VIRTIO_SCSI_MAX_LUN);
}

static bool sizes_ok(uint32_t sense, uint32_t cdb)
{
    return sense < 65536 && cdb < 256;
}

static void config_write(VirtioDevice *vdev, const uint8_t *c)
{
    VirtioScsi *s = virtio_scsi_of(vdev);
    uint32_t sense = le32_load(c + CFG_SENSE_SIZE), cdb = le32_load(c + CFG_CDB_SIZE);

    if (!sizes_ok(sense, cdb)) {
        virtio_error(vdev, "virtio-scsi: sense_size=%u, cdb_size=%u are too big", sense, cdb);
        return;
    }
    virtio_hold(vdev);
    s->sense_size = sense;
    s->cdb_size = cdb;
    virtio_release(vdev);
}

/* A state that asks for more than config_write() lets through keeps the defaults. */
static void config_load(VirtioDevice *vdev, const uint8_t *c)
{
    VirtioScsi *s = virtio_scsi_of(vdev);
    uint32_t sense = le32_load(c + CFG_SENSE_SIZE), cdb = le32_load(c + CFG_CDB_SIZE);

    if (sizes_ok(sense, cdb)) {
        s->sense_size = sense;
        s->cdb_size = cdb;
    }
}

static uint64_t features(VirtioDevice *vdev, uint64_t f)
{
    return f;                         /* hotplug= and param_change= have set theirs */
}

/* ---- events: 5.6.6.3 ---- */

void virtio_scsi_push_event(VirtioScsi *s, const ScsiDevice *dev, uint32_t event, uint32_t reason)
{
    uint8_t bytes[EVENT_LEN] = { 0 };
    VirtioElem *elem;

    if (!(s->vdev.status & VIRTIO_STATUS_DRIVER_OK)) {
        return;
    }
    elem = virtqueue_pop(s->event);
    if (!elem) {
        s->events_dropped = true;
        return;
    }
    if (s->events_dropped) {
        event |= EVENTS_MISSED;
        s->events_dropped = false;
    }
    if (elem->in_len < EVENT_LEN) {
        virtio_error(&s->vdev, "virtio-scsi: event buffer of %u bytes", elem->in_len);
        virtqueue_drop(elem);
        return;
    }
    le32_store(bytes, event);
    le32_store(bytes + 12, reason);
    if (dev) {
        bytes[4] = 1;
        bytes[5] = dev->id;
        bytes[6] = dev->lun >= 256 ? dev->lun >> 8 | 0x40 : 0;
        bytes[7] = dev->lun;
    }
    virtio_elem_write(elem, 0, bytes, sizeof(bytes));
    virtqueue_push(elem, sizeof(bytes));
    virtqueue_notify(s->event);
}

/* New buffers: those who missed something hear of that. */
static void event_kick(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioScsi *s = virtio_scsi_of(vdev);

    if (s->events_dropped) {
        virtio_scsi_push_event(s, NULL, EVENT_NONE, 0);
    }
}

void virtio_scsi_plugged(ScsiBus *bus, ScsiDevice *dev)
{
    VirtioScsi *s = DEVICE_CAST(VirtioScsi, bus->bus.owner);

    if (virtio_has(&s->vdev, VIRTIO_SCSI_F_HOTPLUG)) {
        virtio_scsi_push_event(s, dev, EVENT_TRANSPORT_RESET, REASON_RESCAN);
    }
}

void virtio_scsi_unplugged(ScsiBus *bus, ScsiDevice *dev)
{
    VirtioScsi *s = DEVICE_CAST(VirtioScsi, bus->bus.owner);

    if (virtio_has(&s->vdev, VIRTIO_SCSI_F_HOTPLUG)) {
        virtio_scsi_push_event(s, dev, EVENT_TRANSPORT_RESET, REASON_REMOVED);
    }
}

/* CD drives are polled for their media. */
void virtio_scsi_change(ScsiBus *bus, ScsiDevice *dev, ScsiSense sense)
{
    VirtioScsi *s = DEVICE_CAST(VirtioScsi, bus->bus.owner);

    if (virtio_has(&s->vdev, VIRTIO_SCSI_F_CHANGE) && dev->peripheral_type != SCSI_TYPE_CD) {
        virtio_scsi_push_event(s, dev, EVENT_PARAM_CHANGE, sense.asc | sense.ascq << 8);
    }
}

/* ---- life ---- */

static void reset(VirtioDevice *vdev)
{
    VirtioScsi *s = virtio_scsi_of(vdev);

    /* Handlers are paused: only ends of requests run meanwhile. */
    virtio_hold(vdev);
    s->dropping = true;
    virtio_release(vdev);
    for (unsigned i = 0; s->bus.units && i < s->bus.units->len; i++) {
        scsi_unit_reset_wait(g_ptr_array_index(s->bus.units, i), SENSE_RESET);
    }
    virtio_hold(vdev);
    s->dropping = false;
    s->sense_size = SENSE_SIZE;
    s->cdb_size = CDB_SIZE;
    s->events_dropped = false;
    virtio_release(vdev);
}

void virtio_scsi_pause(ScsiBus *bus)
{
    virtio_pause(&DEVICE_CAST(VirtioScsi, bus->bus.owner)->vdev);
}

void virtio_scsi_go_on(ScsiBus *bus)
{
    virtio_go_on(&DEVICE_CAST(VirtioScsi, bus->bus.owner)->vdev);
}

static bool check_numbers(VirtioScsi *s, GError **error)
{
    const char *name = s->vdev.dev.obj.type->name;

    if (s->num_queues == (uint32_t)QUEUES_AUTO) {
        s->num_queues = 1;
    }
    if (s->num_queues < 1 || s->num_queues > VIRTIO_QUEUE_MAX - FIXED_QUEUES) {
        return error_set(error, "%s.num_queues=%u must be 1 to %d", name, s->num_queues,
                         VIRTIO_QUEUE_MAX - FIXED_QUEUES);
    }
    if (s->queue_size <= 2 || s->queue_size > VIRTQUEUE_SIZE_MAX || !is_pow2(s->queue_size)) {
        return error_set(error, "%s.virtqueue_size=%u must be a power of two from 4 to %d", name,
                         s->queue_size, VIRTQUEUE_SIZE_MAX);
    }
    return true;
}

static bool virtio_scsi_realize(Device *dev, GError **error)
{
    VirtioScsi *s = DEVICE_CAST(VirtioScsi, dev);
    Device *proxy = s->vdev.proxy;
    g_autofree char *name = proxy && proxy->id ? g_strdup_printf("%s.0", proxy->id) : NULL;

    if (!check_numbers(s, error)) {
        return false;
    }
    s->sense_size = SENSE_SIZE;
    s->cdb_size = CDB_SIZE;
    virtio_setup(&s->vdev, CFG_LEN);
    s->ctrl = virtio_add_queue(&s->vdev, s->queue_size, sizeof(VirtioScsiTmf), virtio_scsi_ctrl);
    s->event = virtio_add_queue(&s->vdev, s->queue_size, sizeof(VirtioElem), event_kick);
    for (unsigned i = 0; i < s->num_queues; i++) {
        virtio_add_queue(&s->vdev, s->queue_size, sizeof(VirtioScsiReq), virtio_scsi_command);
    }
    scsi_bus_init(&s->bus, dev, name, &virtio_scsi_host_ops);
    if (proxy) {
        s->bus.bus.dma_as = proxy->dma_as;
    }
    if (s->iothread) {
        iothread_object_hold(s->iothread);
        s->bus.loop = iothread_object_loop(s->iothread);
        virtio_set_loop(&s->vdev, s->bus.loop);
    }
    return true;
}

static void virtio_scsi_unrealize(Device *dev)
{
    VirtioScsi *s = DEVICE_CAST(VirtioScsi, dev);

    virtio_pause(&s->vdev);
    virtio_hold(&s->vdev);
    s->dropping = true;
    virtio_release(&s->vdev);
    scsi_bus_clear(&s->bus);
    virtio_cleanup(&s->vdev);
    if (s->iothread) {
        iothread_object_release(s->iothread);
    }
}

static const VirtioInfo virtio_scsi_info = {
    .device_id = VIRTIO_ID_SCSI, .class_id = 0x0100, .features = features,
    .config_read = config_read, .config_write = config_write, .config_load = config_load,
    .reset = reset,
};

/* clang-format off */
#define FEATURE(n, f) PROP_BIT64(n, VirtioScsi, vdev.host_features, f, true, .help = "on/off")
static const PropDef virtio_scsi_props[] = {
    PROP_U32("num_queues", VirtioScsi, num_queues, UINT32_MAX),
    PROP_U32("virtqueue_size", VirtioScsi, queue_size, 256),
    PROP_BOOL("seg_max_adjust", VirtioScsi, seg_max_adjust, true),
    PROP_U32("max_sectors", VirtioScsi, max_sectors, 0xffff),
    PROP_U32("cmd_per_lun", VirtioScsi, cmd_per_lun, 128),
    PROP_LINK("iothread", VirtioScsi, iothread, "iothread"),
    FEATURE("hotplug", VIRTIO_SCSI_F_HOTPLUG),
    FEATURE("param_change", VIRTIO_SCSI_F_CHANGE),
    PROP_END
};
/* clang-format on */

DEVICE_TYPE(virtio_scsi, .name = "virtio-scsi-device", .parent = "virtio-device",
            .size = sizeof(VirtioScsi), .bus = &bus_virtio, .bus_info = &virtio_scsi_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true,
            .props = virtio_scsi_props, .vmstate = VIRTIO_STATE("virtio-scsi", 1),
            .realize = virtio_scsi_realize, .unrealize = virtio_scsi_unrealize);

/* A command queue for each processor. */
static void prepare(VirtioPci *p)
{
    VirtioScsi *s = virtio_scsi_of(p->vdev);
    Machine *machine = p->pci.dev.vm->machine;

    if (s->num_queues == (uint32_t)QUEUES_AUTO) {
        s->num_queues = machine ? CLAMP(machine->smp.cpus, 1, VIRTIO_QUEUE_MAX - FIXED_QUEUES) : 1;
    }
}

VIRTIO_PCI_TYPE(virtio_scsi, "virtio-scsi-pci", "virtio-scsi-device", "virtual SCSI adapter",
                DEVICE_CATEGORY_STORAGE, prepare);
