/* SPDX-License-Identifier: MIT */
/*
 * Virtio disks ("virtio-blk-device", behind "virtio-blk-pci").  [VIRTIO1.2 5.2]
 * Not modelled: SCSI passthrough (scsi=), merging of requests (request-merging=), logical geometry
 * (lcyls=...).
 * Locking: machine lock; requests where the queues are served.
 */
#include "hw/block/virtio_blk.h"

#include "base/error.h"
#include "hw/virtio/virtio_pci.h"
#include "vm/iothread.h"
#include "vm/machine.h"
#include "vm/vm.h"

enum { QUEUES_AUTO = UINT16_MAX };

static VirtioBlk *blk_of(VirtioDevice *vdev)
{
    return DEVICE_CAST(VirtioBlk, &vdev->dev);
}

/* ---- configuration ---- */

/* Offsets in the configuration.  [VIRTIO1.2 5.2.4] */
enum {
    CFG_CAPACITY = 0, CFG_SEG_MAX = 12, CFG_CYLINDERS = 16, CFG_HEADS = 18, CFG_SECTORS = 19,
    CFG_BLK_SIZE = 20, CFG_PHYSICAL_EXP = 24, CFG_MIN_IO = 26, CFG_OPT_IO = 28, CFG_WRITEBACK = 32,
    CFG_NUM_QUEUES = 34, CFG_MAX_DISCARD = 36, CFG_DISCARD_SEGS = 40, CFG_DISCARD_ALIGN = 44,
    CFG_MAX_ZEROES = 48, CFG_ZEROES_SEGS = 52, CFG_ZEROES_UNMAP = 56,
    CFG_LEN_BASIC = 36, CFG_LEN_DISCARD = 48, CFG_LEN = 57,
};

static uint64_t offered(const VirtioBlk *s, unsigned feature)
{
    return s->vdev.host_features >> feature & 1;
}

static void config_read(VirtioDevice *vdev, uint8_t *c)
{
    VirtioBlk *s = blk_of(vdev);
    uint32_t block = (uint32_t)s->conf.logical_block_size, exp = 0;
    uint64_t granularity = s->conf.discard_granularity;

    if (granularity == UINT32_MAX || !s->report_discard_granularity) {
        granularity = block;
    }
    while (block << exp < s->conf.physical_block_size) {
        exp++;
    }
    memset(c, 0, vdev->config_len);
    le64_store(c + CFG_CAPACITY, blk_length(s->conf.blk) >> VIRTIO_BLK_SECTOR_BITS);
    le32_store(c + CFG_SEG_MAX, s->seg_max_adjust ? s->queue_size - 2u : 128 - 2);
    le16_store(c + CFG_CYLINDERS, s->conf.cyls);
    c[CFG_HEADS] = (uint8_t)s->conf.heads;
    c[CFG_SECTORS] = (uint8_t)s->conf.secs;
    le32_store(c + CFG_BLK_SIZE, block);
    c[CFG_PHYSICAL_EXP] = (uint8_t)exp;
    le16_store(c + CFG_MIN_IO, (uint16_t)(s->conf.min_io_size / block));
    le32_store(c + CFG_OPT_IO, (uint32_t)(s->conf.opt_io_size / block));
    c[CFG_WRITEBACK] = blk_write_cache(s->conf.blk);
    le16_store(c + CFG_NUM_QUEUES, s->num_queues);
    if (vdev->config_len >= CFG_LEN_DISCARD) {
        le32_store(c + CFG_MAX_DISCARD, s->max_discard_sectors);
        le32_store(c + CFG_DISCARD_SEGS, 1);
        le32_store(c + CFG_DISCARD_ALIGN, (uint32_t)(granularity >> VIRTIO_BLK_SECTOR_BITS));
    }
    if (vdev->config_len >= CFG_LEN) {
        le32_store(c + CFG_MAX_ZEROES, s->max_write_zeroes_sectors);
        le32_store(c + CFG_ZEROES_SEGS, 1);
        c[CFG_ZEROES_UNMAP] = 1;
    }
}

static void set_write_cache(VirtioBlk *s, bool on)
{
    virtio_hold(&s->vdev);
    blk_set_write_cache(s->conf.blk, on);
    virtio_release(&s->vdev);
}

static void config_write(VirtioDevice *vdev, const uint8_t *config)
{
    if (virtio_has(vdev, VIRTIO_BLK_F_CONFIG_WCE)) {
        set_write_cache(blk_of(vdev), config[CFG_WRITEBACK]);
    }
}

static uint64_t features(VirtioDevice *vdev, uint64_t f)
{
    VirtioBlk *s = blk_of(vdev);

    f |= BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_GEOMETRY) | BIT64(VIRTIO_BLK_F_TOPOLOGY) |
         BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_FLUSH);
    if (blk_is_read_only(s->conf.blk)) {
        f |= BIT64(VIRTIO_BLK_F_RO);
    }
    if (s->num_queues > 1) {
        f |= BIT64(VIRTIO_BLK_F_MQ);
    }
    return f;
}

/* A driver that never flushes must not lose what it was told is written.  [VIRTIO1.2 5.2.5.2] */
static void status_changed(VirtioDevice *vdev)
{
    VirtioBlk *s = blk_of(vdev);

    if ((vdev->status & VIRTIO_STATUS_DRIVER_OK) &&
        !virtio_has(vdev, VIRTIO_BLK_F_CONFIG_WCE)) {
        set_write_cache(s, virtio_has(vdev, VIRTIO_BLK_F_FLUSH));
    }
}

static void resized(void *opaque)
{
    virtio_config_changed(opaque);
}

/* ---- stopping and going on ---- */

/* Handlers are paused, or there are none but ours. */
static void wait_for_requests(VirtioBlk *s)
{
    bool any = s->vdev.loop != NULL;

    for (unsigned i = 0; i < s->vdev.num_queues && !any; i++) {
        any = virtqueue_in_flight(s->vdev.queues[i]) > 0;
    }
    if (any) {
        blk_drain(s->conf.blk);
    }
}

static void state_changed(void *opaque, bool running, RunState state)
{
    VirtioBlk *s = opaque;

    if (!running) {
        virtio_pause(&s->vdev);
        wait_for_requests(s);
        return;
    }
    virtio_hold(&s->vdev);
    virtio_blk_retry(s);
    virtio_release(&s->vdev);
    virtio_go_on(&s->vdev);
}

static void reset(VirtioDevice *vdev)
{
    VirtioBlk *s = blk_of(vdev);

    wait_for_requests(s);
    virtio_blk_drop(s, NULL);
    set_write_cache(s, s->original_wce);
}

static void queue_reset(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioBlk *s = blk_of(vdev);

    wait_for_requests(s);
    virtio_blk_drop(s, vq);
}

/* ---- life ---- */

static const BlkDeviceOps blk_ops = { .resized = resized };

static bool check_numbers(VirtioBlk *s, GError **error)
{
    const char *name = s->vdev.dev.obj.type->name;

    if (s->num_queues == QUEUES_AUTO) {
        s->num_queues = 1;
    }
    if (s->num_queues < 1 || s->num_queues > VIRTIO_QUEUE_MAX) {
        return error_set(error, "%s.num-queues=%u must be 1 to %d", name, s->num_queues,
                         VIRTIO_QUEUE_MAX);
    }
    if (s->queue_size <= 2 || !is_pow2(s->queue_size) || s->queue_size > VIRTQUEUE_SIZE_MAX) {
        return error_set(error, "%s.queue-size=%u must be a power of two from 4 to %d", name,
                         s->queue_size, VIRTQUEUE_SIZE_MAX);
    }
    if (s->max_discard_sectors < 1 || s->max_discard_sectors > INT32_MAX >> VIRTIO_BLK_SECTOR_BITS) {
        return error_set(error, "%s.max-discard-sectors=%u must be 1 to %d", name,
                         s->max_discard_sectors, INT32_MAX >> VIRTIO_BLK_SECTOR_BITS);
    }
    if (s->max_write_zeroes_sectors < 1 ||
        s->max_write_zeroes_sectors > INT32_MAX >> VIRTIO_BLK_SECTOR_BITS) {
        return error_set(error, "%s.max-write-zeroes-sectors=%u must be 1 to %d", name,
                         s->max_write_zeroes_sectors, INT32_MAX >> VIRTIO_BLK_SECTOR_BITS);
    }
    return true;
}

static bool virtio_blk_realize(Device *dev, GError **error)
{
    VirtioBlk *s = DEVICE_CAST(VirtioBlk, dev);
    size_t config_len = offered(s, VIRTIO_BLK_F_WRITE_ZEROES) ? CFG_LEN
                        : offered(s, VIRTIO_BLK_F_DISCARD)    ? CFG_LEN_DISCARD
                                                              : CFG_LEN_BASIC;

    s->conf.early_done = true;
    s->conf.loop = s->iothread ? iothread_object_loop(s->iothread) : NULL;
    if (!check_numbers(s, error) ||
        !block_conf_attach(&s->conf, dev, false, false, &blk_ops, s, error)) {
        return false;
    }
    if (!block_conf_geometry(&s->conf, dev, 65535, 255, 255, error)) {
        block_conf_detach(&s->conf);
        return false;
    }
    s->original_wce = blk_write_cache(s->conf.blk);
    virtio_setup(&s->vdev, config_len);
    for (unsigned i = 0; i < s->num_queues; i++) {
        virtio_add_queue(&s->vdev, s->queue_size, sizeof(VirtioBlkReq), virtio_blk_kick);
    }
    if (s->iothread) {
        iothread_object_hold(s->iothread);
        virtio_set_loop(&s->vdev, s->conf.loop);
    }
    vm_add_state_hook(dev->vm, state_changed, s);
    return true;
}

static void virtio_blk_unrealize(Device *dev)
{
    VirtioBlk *s = DEVICE_CAST(VirtioBlk, dev);

    vm_del_state_hook(dev->vm, state_changed, s);
    virtio_cleanup(&s->vdev);
    block_conf_detach(&s->conf);
    if (s->iothread) {
        iothread_object_release(s->iothread);
    }
}

/* ---- state ---- */

/* Requests to be repeated: 1, the queue's number if there are several, the element; 0. */
static void save(VirtioDevice *vdev, VmWriter *w)
{
    VirtioBlk *s = blk_of(vdev);

    for (VirtioBlkReq *req = s->retry; req; req = req->next) {
        vm_put_u8(w, 1);
        if (s->num_queues > 1) {
            vm_put_be32(w, virtqueue_index(req->elem.vq));
        }
        virtqueue_save_elem(w, &req->elem);
    }
    vm_put_u8(w, 0);
}

static bool load(VirtioDevice *vdev, VmReader *r, GError **error)
{
    VirtioBlk *s = blk_of(vdev);

    while (vm_get_u8(r) && !vm_reader_failed(r)) {
        uint32_t n = s->num_queues > 1 ? vm_get_be32(r) : 0;
        VirtioBlkReq *req;

        if (n >= vdev->num_queues) {
            return error_set(error, "a request of queue %u; there are %u", n, vdev->num_queues);
        }
        req = virtqueue_load_elem(vdev->queues[n], r, error);
        if (!req) {
            return false;
        }
        if (!virtio_blk_restore(s, req)) {
            virtqueue_drop(&req->elem);
            return error_set(error, "a request of queue %u is not one", n);
        }
    }
    return true;
}

static void config_load(VirtioDevice *vdev, const uint8_t *config)
{
    blk_set_write_cache(blk_of(vdev)->conf.blk, config[CFG_WRITEBACK]);
}

static const VirtioInfo virtio_blk_info = {
    .device_id = VIRTIO_ID_BLOCK, .class_id = 0x0100,
    .features = features, .config_read = config_read, .config_write = config_write,
    .status_changed = status_changed, .reset = reset, .queue_reset = queue_reset,
    .config_load = config_load, .save = save, .load = load,
};

/* clang-format off */
#define FEATURE(n, f) PROP_BIT64(n, VirtioBlk, vdev.host_features, f, true, .help = "on/off")
static const PropDef virtio_blk_props[] = {
    BLOCK_CONF_PROPS(VirtioBlk, conf),
    PROP_U32("cyls", VirtioBlk, conf.cyls, 0),
    PROP_U32("heads", VirtioBlk, conf.heads, 0),
    PROP_U32("secs", VirtioBlk, conf.secs, 0),
    FEATURE("config-wce", VIRTIO_BLK_F_CONFIG_WCE),
    FEATURE("discard", VIRTIO_BLK_F_DISCARD),
    FEATURE("write-zeroes", VIRTIO_BLK_F_WRITE_ZEROES),
    PROP_LINK("iothread", VirtioBlk, iothread, "iothread"),
    PROP_U16("num-queues", VirtioBlk, num_queues, QUEUES_AUTO),
    PROP_U16("queue-size", VirtioBlk, queue_size, 256),
    PROP_BOOL("seg-max-adjust", VirtioBlk, seg_max_adjust, true),
    PROP_BOOL("report-discard-granularity", VirtioBlk, report_discard_granularity, true),
    PROP_U32("max-discard-sectors", VirtioBlk, max_discard_sectors, INT32_MAX >> VIRTIO_BLK_SECTOR_BITS),
    PROP_U32("max-write-zeroes-sectors", VirtioBlk, max_write_zeroes_sectors, INT32_MAX >> VIRTIO_BLK_SECTOR_BITS),
    PROP_END
};
/* clang-format on */

DEVICE_TYPE(virtio_blk, .name = "virtio-blk-device", .parent = "virtio-device",
            .size = sizeof(VirtioBlk), .bus = &bus_virtio, .bus_info = &virtio_blk_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true, .props = virtio_blk_props,
            .vmstate = VIRTIO_STATE("virtio-blk", 2), .realize = virtio_blk_realize,
            .unrealize = virtio_blk_unrealize);

/* A queue for each processor, so that each finds its own. */
static void prepare(VirtioPci *p)
{
    VirtioBlk *s = blk_of(p->vdev);
    Machine *machine = p->pci.dev.vm->machine;

    if (s->num_queues == QUEUES_AUTO) {
        s->num_queues = machine ? (uint16_t)CLAMP(machine->smp.cpus, 1, VIRTIO_QUEUE_MAX) : 1;
    }
}

VIRTIO_PCI_TYPE(virtio_blk, "virtio-blk-pci", "virtio-blk-device", "virtual disk",
                DEVICE_CATEGORY_STORAGE, prepare);
