/* SPDX-License-Identifier: MIT */
/*
 * What legacy and modern registers of virtio PCI devices have in common.
 * Locking: machine lock.
 */
#include "hw/virtio/virtio_pci_int.h"

uint16_t virtio_pci_vector(const VirtioPci *p, uint64_t vector)
{
    return p->pci.msix && vector < p->vectors ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

VirtQueue *virtio_pci_selected(const VirtioPci *p)
{
    return virtio_queue(p->vdev, p->vdev->queue_sel);
}

uint64_t virtio_pci_config_vector_read(Device *dev, uint64_t value)
{
    return virtio_pci(dev)->vdev->config_vector;
}

void virtio_pci_config_vector_write(Device *dev, uint64_t value)
{
    VirtioPci *p = virtio_pci(dev);

    p->vdev->config_vector = virtio_pci_vector(p, value);
}

uint64_t virtio_pci_status_read(Device *dev, uint64_t value)
{
    /* The loop of the queues may set NEEDS_RESET. */
    return __atomic_load_n(&virtio_pci(dev)->vdev->status, __ATOMIC_SEQ_CST);
}

void virtio_pci_status_write(Device *dev, uint64_t value)
{
    virtio_set_status(virtio_pci(dev)->vdev, (uint8_t)value);
}

uint64_t virtio_pci_queue_select_read(Device *dev, uint64_t value)
{
    return virtio_pci(dev)->vdev->queue_sel;
}

void virtio_pci_queue_select_write(Device *dev, uint64_t value)
{
    virtio_pci(dev)->vdev->queue_sel = (uint16_t)value;
}

uint64_t virtio_pci_queue_size_read(Device *dev, uint64_t value)
{
    VirtQueue *vq = virtio_pci_selected(virtio_pci(dev));

    return vq ? vq->num : 0;
}

uint64_t virtio_pci_queue_vector_read(Device *dev, uint64_t value)
{
    VirtQueue *vq = virtio_pci_selected(virtio_pci(dev));

    return vq ? vq->vector : VIRTIO_NO_VECTOR;
}

void virtio_pci_queue_vector_write(Device *dev, uint64_t value)
{
    VirtQueue *vq = virtio_pci_selected(virtio_pci(dev));

    if (vq) {
        vq->vector = virtio_pci_vector(virtio_pci(dev), value);
        virtio_pci_irqfds_sync(dev);
    }
}

uint64_t virtio_pci_isr_read(Device *dev, uint64_t value)
{
    return virtio_isr_take(virtio_pci(dev)->vdev);
}
