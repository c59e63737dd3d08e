/* SPDX-License-Identifier: MIT */
/*
 * The modern structures of a virtio PCI device: capabilities and the registers behind them.
 * [VIRTIO1.2 4.1.4]
 *
 * BAR 4:  0x0000 common configuration, 0x1000 ISR, 0x2000 device configuration, 0x3000 notifications
 *         (4 bytes a queue, or a page each with page-per-vq=on).
 * BAR 2:  with modern-pio-notify=on one port for the notifications of all queues.
 * Locking: machine lock, but for notifications: those of an iothread's queue need none.
 */
#include "hw/virtio/virtio_pci_int.h"

#include "vm/vm.h"

enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_PCI = 5 };
enum { CAP_LEN = 16, NOTIFY_CAP_LEN = 20, PCI_CAP_LEN = 20 };

static uint32_t notify_mult(const VirtioPci *p)
{
    return p->page_per_vq ? 4096 : 4;
}

/* ---- common configuration ---- */

static uint64_t device_feature_read(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);

    return p->dfselect < 2 ? (uint32_t)(virtio_offered(p->vdev, false) >> (32 * p->dfselect)) : 0;
}

static uint64_t driver_feature_read(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);

    return p->gfselect < 2 ? p->guest_features[p->gfselect] : 0;
}

static void driver_feature_write(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);

    if (p->gfselect < 2) {
        p->guest_features[p->gfselect] = (uint32_t)value;
        virtio_set_features(p->vdev, (uint64_t)p->guest_features[1] << 32 | p->guest_features[0],
                            false);
    }
}

static uint64_t num_queues_read(Device *dev, uint64_t value)
{
    return virtio_pci(dev)->vdev->num_queues;
}

static uint64_t generation_read(Device *dev, uint64_t value)
{
    return virtio_pci(dev)->vdev->generation;
}

static VirtioQueueSetup *selected(VirtioPci *p)
{
    return virtio_pci_selected(p) ? &p->queues[p->vdev->queue_sel] : NULL;
}

static void queue_size_write(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);

    if (selected(p) && virtio_queue_set_size(virtio_pci_selected(p), (uint32_t)value)) {
        selected(p)->num = (uint16_t)value;
    }
}

static uint64_t queue_enable_read(Device *dev, uint64_t value)
{
    VirtQueue *vq = virtio_pci_selected(virtio_pci(dev));

    return vq && vq->ready;
}

static uint64_t pair(const uint32_t halves[2])
{
    return (uint64_t)halves[1] << 32 | halves[0];
}

static void queue_enable_write(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);
    VirtioQueueSetup *q = selected(p);

    if (!q || value != 1 || p->vdev->resetting || virtio_pci_selected(p)->resetting) {
        log_guest_error("%s: %" PRIu64 " written to enable queue %u\n", dev->obj.type->name, value,
                        p->vdev->queue_sel);
        return;
    }
    virtio_queue_enable(virtio_pci_selected(p), pair(q->desc), pair(q->driver), pair(q->device));
    q->enabled = virtio_pci_selected(p)->ready;
}

static uint64_t queue_notify_off_read(Device *dev, uint64_t value)
{
    return virtio_pci(dev)->vdev->queue_sel;
}

static uint64_t queue_reset_read(Device *dev, uint64_t value)
{
    VirtQueue *vq = virtio_pci_selected(virtio_pci(dev));

    return vq && vq->resetting;
}

static void queue_reset_write(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);

    if (value == 1 && selected(p)) {
        *selected(p) = (VirtioQueueSetup){ .num = virtio_pci_selected(p)->num_default };
        virtio_queue_reset(virtio_pci_selected(p));
    }
}

#define ADDRESS_HALF(id, field, half)                                                      \
    static uint64_t id##_read(Device *dev, uint64_t value)                                 \
    {                                                                                      \
        VirtioQueueSetup *q = selected(virtio_pci(dev));                                   \
        return q ? q->field[half] : 0;                                                     \
    }                                                                                      \
    static void id##_write(Device *dev, uint64_t value)                                    \
    {                                                                                      \
        VirtioQueueSetup *q = selected(virtio_pci(dev));                                   \
        if (q) {                                                                           \
            q->field[half] = (uint32_t)value;                                              \
        }                                                                                  \
    }

ADDRESS_HALF(desc_lo, desc, 0)
ADDRESS_HALF(desc_hi, desc, 1)
ADDRESS_HALF(driver_lo, driver, 0)
ADDRESS_HALF(driver_hi, driver, 1)
ADDRESS_HALF(device_lo, device, 0)
ADDRESS_HALF(device_hi, device, 1)

/* clang-format off */
static const RegDef common_regs[] = {     /* [VIRTIO1.2 4.1.4.3] */
    { 0x00, "device_feature_select", REG32(VirtioPci, dfselect), .rw = UINT32_MAX },
    { 0x04, "device_feature",        REG_NONE(4), .on_read = device_feature_read },
    { 0x08, "driver_feature_select", REG32(VirtioPci, gfselect), .rw = UINT32_MAX },
    { 0x0c, "driver_feature",        REG_NONE(4), .on_read = driver_feature_read, .on_write = driver_feature_write },
    { 0x10, "config_msix_vector",    REG_NONE(2), .on_read = virtio_pci_config_vector_read, .on_write = virtio_pci_config_vector_write },
    { 0x12, "num_queues",            REG_NONE(2), .on_read = num_queues_read },
    { 0x14, "device_status",         REG_NONE(1), .on_read = virtio_pci_status_read, .on_write = virtio_pci_status_write },
    { 0x15, "config_generation",     REG_NONE(1), .on_read = generation_read },
    { 0x16, "queue_select",          REG_NONE(2), .on_read = virtio_pci_queue_select_read, .on_write = virtio_pci_queue_select_write },
    { 0x18, "queue_size",            REG_NONE(2), .on_read = virtio_pci_queue_size_read, .on_write = queue_size_write },
    { 0x1a, "queue_msix_vector",     REG_NONE(2), .on_read = virtio_pci_queue_vector_read, .on_write = virtio_pci_queue_vector_write },
    { 0x1c, "queue_enable",          REG_NONE(2), .on_read = queue_enable_read, .on_write = queue_enable_write },
    { 0x1e, "queue_notify_off",      REG_NONE(2), .on_read = queue_notify_off_read },
    { 0x20, "queue_desc",            REG_NONE(4), .on_read = desc_lo_read, .on_write = desc_lo_write },
    { 0x24, "queue_desc high",       REG_NONE(4), .on_read = desc_hi_read, .on_write = desc_hi_write },
    { 0x28, "queue_driver",          REG_NONE(4), .on_read = driver_lo_read, .on_write = driver_lo_write },
    { 0x2c, "queue_driver high",     REG_NONE(4), .on_read = driver_hi_read, .on_write = driver_hi_write },
    { 0x30, "queue_device",          REG_NONE(4), .on_read = device_lo_read, .on_write = device_lo_write },
    { 0x34, "queue_device high",     REG_NONE(4), .on_read = device_hi_read, .on_write = device_hi_write },
    { 0x38, "queue_notify_data",     REG_NONE(2), .on_read = queue_notify_off_read },
    { 0x3a, "queue_reset",           REG_NONE(2), .on_read = queue_reset_read, .on_write = queue_reset_write },
};

static const RegDef isr_regs[] = {
    { 0x00, "isr", REG_NONE(1), .on_read = virtio_pci_isr_read },
};
/* clang-format on */

static const RegTable common_table = REG_TABLE(common_regs), isr_table = REG_TABLE(isr_regs);

/* ---- device configuration and notifications ---- */

static uint64_t device_config_read(void *opaque, uint64_t offset, unsigned size)
{
    return virtio_config_read(((VirtioPci *)opaque)->vdev, offset, size);
}

static void device_config_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    virtio_config_write(((VirtioPci *)opaque)->vdev, offset, value, size);
}

static uint64_t notify_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void notify(VirtioPci *p, unsigned n)
{
    bool locked;

    if (virtio_kick_lockless(p->vdev, n)) {
        return;
    }
    locked = machine_lock_if_needed();
    virtio_kick(p->vdev, n);
    if (locked) {
        machine_unlock();
    }
}

static void notify_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    notify(opaque, (unsigned)(offset / notify_mult(opaque)));
}

static void pio_notify_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    notify(opaque, (uint16_t)value);
}

static const MmioOps device_ops = { device_config_read, device_config_write, .valid_max = 4,
                                    .unaligned = true };
static const MmioOps notify_ops = { notify_read, notify_write, .valid_max = 4, .lockless = true };
static const MmioOps pio_notify_ops = { notify_read, pio_notify_write, .valid_max = 4,
                                        .lockless = true };

typedef void EventfdFn(MemoryRegion *mr, uint64_t offset, unsigned size, bool match, uint64_t value,
                       int fd);

void virtio_pci_modern_eventfd(VirtioPci *p, VirtQueue *vq, int fd, bool on)
{
    EventfdFn *fn = on ? memory_region_add_eventfd : memory_region_del_eventfd;

    fn(&p->notify_mr, (uint64_t)vq->index * notify_mult(p), 0, false, 0, fd);
    if (p->modern_pio_notify) {
        fn(&p->pio_mr, 0, 2, true, vq->index, fd);
    }
}

/* ---- through the configuration space ---- */

uint64_t virtio_pci_modern_read(VirtioPci *p, unsigned bar, uint32_t offset, unsigned len)
{
    uint32_t piece = offset / MODERN_PIECE, at = offset % MODERN_PIECE;
    Device *dev = &p->pci.dev;

    if (bar != MODERN_BAR) {
        return 0;
    }
    switch (piece) {
    case 0:
        return device_reg_read(dev, common_table, at, len);
    case 1:
        return device_reg_read(dev, isr_table, at, len);
    case 2:
        return virtio_config_read(p->vdev, at, len);
    default:
        return 0;
    }
}

void virtio_pci_modern_write(VirtioPci *p, unsigned bar, uint32_t offset, uint64_t value,
                             unsigned len)
{
    uint32_t piece = offset / MODERN_PIECE, at = offset % MODERN_PIECE;

    if (bar == PIO_BAR && p->modern_pio_notify && !offset) {
        pio_notify_write(p, 0, value, len);
    } else if (bar != MODERN_BAR) {
        return;
    } else if (piece == 0) {
        device_reg_write(&p->pci.dev, common_table, at, value, len);
    } else if (piece == 2) {
        virtio_config_write(p->vdev, at, value, len);
    } else if (piece >= 3 && offset - MODERN_NOTIFY < p->notify_mr.size) {
        notify_write(p, offset - MODERN_NOTIFY, value, len);
    }
}

/* ---- capabilities and regions ---- */

typedef struct CapRow {
    uint8_t type, bar, len;
    uint32_t offset, length;
    uint32_t multiplier;
} CapRow;

/* [VIRTIO1.2 4.1.4] */
static uint8_t add_cap(VirtioPci *p, const CapRow *row, GError **error)
{
    uint8_t at = pci_add_capability(&p->pci, PCI_CAP_ID_VNDR, 0, row->len, error);
    uint8_t *cap = p->pci.config + at;

    if (!at) {
        return 0;
    }
    cap[2] = row->len;
    cap[3] = row->type;
    cap[4] = row->bar;
    le32_store(cap + 8, row->offset);
    le32_store(cap + 12, row->length);
    if (row->type == CAP_NOTIFY) {
        le32_store(cap + 16, row->multiplier);
    }
    return at;
}

static bool add_caps(VirtioPci *p, GError **error)
{
    uint32_t mult = notify_mult(p), notify_len = mult * VIRTIO_QUEUE_MAX;
    const CapRow rows[] = {
        { CAP_COMMON, MODERN_BAR, CAP_LEN, 0, MODERN_PIECE, 0 },
        { CAP_ISR, MODERN_BAR, CAP_LEN, MODERN_PIECE, MODERN_PIECE, 0 },
        { CAP_DEVICE, MODERN_BAR, CAP_LEN, 2 * MODERN_PIECE, MODERN_PIECE, 0 },
        { CAP_NOTIFY, MODERN_BAR, NOTIFY_CAP_LEN, MODERN_NOTIFY, notify_len, mult },
    };
    const CapRow pio = { CAP_NOTIFY, PIO_BAR, NOTIFY_CAP_LEN, 0, 4, 0 };
    const CapRow window = { CAP_PCI, 0, PCI_CAP_LEN, 0, 0, 0 };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        if (!add_cap(p, &rows[i], error)) {
            return false;
        }
    }
    if (p->modern_pio_notify && !add_cap(p, &pio, error)) {
        return false;
    }
    p->cfg_cap = add_cap(p, &window, error);
    if (!p->cfg_cap) {
        return false;
    }
    /* bar, offset, length and data are the driver's. */
    p->pci.wmask[p->cfg_cap + 4] = 0xff;
    memset(p->pci.wmask + p->cfg_cap + 8, 0xff, PCI_CAP_LEN - 8);
    return true;
}

bool virtio_pci_modern_init(VirtioPci *p, GError **error)
{
    Device *dev = &p->pci.dev;
    Object *obj = OBJECT(p);
    uint32_t notify_len = notify_mult(p) * VIRTIO_QUEUE_MAX, size = 4 * MODERN_PIECE;

    if (!add_caps(p, error)) {
        return false;
    }
    while (size < MODERN_NOTIFY + notify_len) {
        size *= 2;
    }
    memory_region_init(&p->modern_bar, obj, "virtio-pci", size);
    device_init_reg_region(dev, &p->common_mr, "virtio-pci-common", common_table, MODERN_PIECE);
    device_init_reg_region(dev, &p->isr_mr, "virtio-pci-isr", isr_table, MODERN_PIECE);
    memory_region_init_io(&p->device_mr, obj, "virtio-pci-device", &device_ops, p, MODERN_PIECE);
    memory_region_init_io(&p->notify_mr, obj, "virtio-pci-notify", &notify_ops, p, notify_len);
    memory_region_add(&p->modern_bar, 0, &p->common_mr);
    memory_region_add(&p->modern_bar, MODERN_PIECE, &p->isr_mr);
    memory_region_add(&p->modern_bar, 2 * MODERN_PIECE, &p->device_mr);
    memory_region_add(&p->modern_bar, MODERN_NOTIFY, &p->notify_mr);
    pci_register_bar(&p->pci, MODERN_BAR,
                     PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64 |
                         PCI_BASE_ADDRESS_MEM_PREFETCH,
                     &p->modern_bar);
    if (p->modern_pio_notify) {
        memory_region_init_io(&p->pio_mr, obj, "virtio-pci-notify-pio", &pio_notify_ops, p, 4);
        pci_register_bar(&p->pci, PIO_BAR, PCI_BASE_ADDRESS_SPACE_IO, &p->pio_mr);
    }
    return true;
}

void virtio_pci_modern_clear(VirtioPci *p)
{
    MemoryRegion *pieces[] = { &p->common_mr, &p->isr_mr, &p->device_mr, &p->notify_mr };

    if (!p->modern) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
        memory_region_remove(&p->modern_bar, pieces[i]);
        memory_region_clear(pieces[i]);
    }
    memory_region_clear(&p->modern_bar);
    if (p->modern_pio_notify) {
        memory_region_clear(&p->pio_mr);
    }
}
