/* SPDX-License-Identifier: MIT */
/*
 * The legacy registers of a virtio PCI device, in I/O BAR 0.  [VIRTIO1.2 4.1.4.10]
 * While MSI-X is on, two vector registers push the device configuration from 0x14 to 0x18.
 * Quirk: the configuration is little-endian, as the guest is.
 * Locking: machine lock.
 */
#include "hw/virtio/virtio_pci_int.h"

enum { QUEUE_NOTIFY = 0x10, LEGACY_HEAD = 20, LEGACY_HEAD_MSIX = 24, LEGACY_PAGE_BITS = 12 };

static bool vectors_there(const Device *dev)
{
    return msix_enabled(&((const VirtioPci *)(const void *)dev)->pci);
}

static uint64_t device_features_read(Device *dev, uint64_t value)
{
    return virtio_offered(virtio_pci(dev)->vdev, true);
}

static uint64_t guest_features_read(Device *dev, uint64_t value)
{
    return (uint32_t)virtio_pci(dev)->vdev->guest_features;
}

static void guest_features_write(Device *dev, uint64_t value)
{
    virtio_set_features(virtio_pci(dev)->vdev, (uint32_t)value, true);
}

static uint64_t queue_pfn_read(Device *dev, uint64_t value)
{
    VirtQueue *vq = virtio_pci_selected(virtio_pci(dev));

    return vq ? vq->desc >> LEGACY_PAGE_BITS : 0;
}

static void queue_pfn_write(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);
    VirtQueue *vq = virtio_pci_selected(p);

    if (!value) {
        virtio_set_status(p->vdev, 0);        /* as drivers that never write the status rely on */
    } else if (vq && !p->vdev->resetting) {
        virtio_queue_set_legacy(vq, value << LEGACY_PAGE_BITS);
    }
}

static void queue_notify_write(Device *dev, uint64_t value)
{
    virtio_kick(virtio_pci(dev)->vdev, (uint16_t)value);
}

/* clang-format off */
static const RegDef legacy_regs[] = {
    { 0x00, "device_features", REG_NONE(4), .on_read = device_features_read },
    { 0x04, "guest_features",  REG_NONE(4), .on_read = guest_features_read, .on_write = guest_features_write },
    { 0x08, "queue_address",   REG_NONE(4), .on_read = queue_pfn_read, .on_write = queue_pfn_write },
    { 0x0c, "queue_size",      REG_NONE(2), .on_read = virtio_pci_queue_size_read },
    { 0x0e, "queue_select",    REG_NONE(2), .on_read = virtio_pci_queue_select_read, .on_write = virtio_pci_queue_select_write },
    { QUEUE_NOTIFY, "queue_notify",    REG_NONE(2), .on_write = queue_notify_write },
    { 0x12, "device_status",   REG_NONE(1), .on_read = virtio_pci_status_read, .on_write = virtio_pci_status_write },
    { 0x13, "isr",             REG_NONE(1), .on_read = virtio_pci_isr_read },
    { 0x14, "config_vector",   REG_NONE(2), .bank = vectors_there, .on_read = virtio_pci_config_vector_read, .on_write = virtio_pci_config_vector_write },
    { 0x16, "queue_vector",    REG_NONE(2), .bank = vectors_there, .on_read = virtio_pci_queue_vector_read, .on_write = virtio_pci_queue_vector_write },
};
/* clang-format on */
static const RegTable legacy_table = REG_TABLE(legacy_regs);

static unsigned head_len(const VirtioPci *p)
{
    return msix_enabled(&p->pci) ? LEGACY_HEAD_MSIX : LEGACY_HEAD;
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;
    unsigned head = head_len(p);

    return offset >= head ? virtio_config_read(p->vdev, offset - head, size)
                          : device_reg_read(&p->pci.dev, legacy_table, offset, size);
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = opaque;
    unsigned head = head_len(p);

    if (offset >= head) {
        virtio_config_write(p->vdev, offset - head, value, size);
    } else {
        device_reg_write(&p->pci.dev, legacy_table, offset, value, size);
    }
}

static const MmioOps legacy_ops = { legacy_read, legacy_write, .valid_max = 4, .unaligned = true };

void virtio_pci_legacy_init(VirtioPci *p)
{
    uint32_t need = LEGACY_HEAD_MSIX + (uint32_t)p->vdev->config_len, size = 32;

    while (size < need) {
        size *= 2;
    }
    memory_region_init_io(&p->legacy_mr, OBJECT(p), "virtio-pci", &legacy_ops, p, size);
    pci_register_bar(&p->pci, LEGACY_BAR, PCI_BASE_ADDRESS_SPACE_IO, &p->legacy_mr);
}

void virtio_pci_legacy_eventfd(VirtioPci *p, VirtQueue *vq, int fd, bool on)
{
    if (on) {
        memory_region_add_eventfd(&p->legacy_mr, QUEUE_NOTIFY, 2, true, vq->index, fd);
    } else {
        memory_region_del_eventfd(&p->legacy_mr, QUEUE_NOTIFY, 2, true, vq->index, fd);
    }
}

void virtio_pci_legacy_clear(VirtioPci *p)
{
    memory_region_clear(&p->legacy_mr);
}
