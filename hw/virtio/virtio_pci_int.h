/* SPDX-License-Identifier: MIT */
/* Between the files of the PCI proxy. */
#ifndef HW_VIRTIO_VIRTIO_PCI_INT_H
#define HW_VIRTIO_VIRTIO_PCI_INT_H

#include "hw/virtio/virtio_int.h"
#include "hw/virtio/virtio_pci.h"

/* Layout of BAR 4. */
enum {
    MODERN_BAR = 4, MSIX_BAR = 1, PIO_BAR = 2, LEGACY_BAR = 0,
    MODERN_PIECE = 0x1000,    /* of common, isr, device: at 0, 0x1000, 0x2000 */
    MODERN_NOTIFY = 0x3000,
};

static inline VirtioPci *virtio_pci(Device *dev)
{
    return DEVICE_CAST(VirtioPci, dev);
}

/* What a vector register reads back: VECTOR, or none where there is no such vector. */
uint16_t virtio_pci_vector(const VirtioPci *p, uint64_t vector);
/* The queue of queue_select; NULL: there is none. */
VirtQueue *virtio_pci_selected(const VirtioPci *p);

/* Register hooks of both forms. */
uint64_t virtio_pci_config_vector_read(Device *dev, uint64_t value);
void virtio_pci_config_vector_write(Device *dev, uint64_t value);
uint64_t virtio_pci_status_read(Device *dev, uint64_t value);
void virtio_pci_status_write(Device *dev, uint64_t value);
uint64_t virtio_pci_queue_select_read(Device *dev, uint64_t value);
void virtio_pci_queue_select_write(Device *dev, uint64_t value);
uint64_t virtio_pci_queue_size_read(Device *dev, uint64_t value);
uint64_t virtio_pci_queue_vector_read(Device *dev, uint64_t value);
void virtio_pci_queue_vector_write(Device *dev, uint64_t value);
uint64_t virtio_pci_isr_read(Device *dev, uint64_t value);

/* Modern and legacy registers; add what they need to the configuration space and the BARs. */
bool virtio_pci_modern_init(VirtioPci *p, GError **error);
void virtio_pci_modern_clear(VirtioPci *p);
void virtio_pci_legacy_init(VirtioPci *p);
void virtio_pci_legacy_clear(VirtioPci *p);
/* What the access capability does on the guest's behalf. */
uint64_t virtio_pci_modern_read(VirtioPci *p, unsigned bar, uint32_t offset, unsigned len);
void virtio_pci_modern_write(VirtioPci *p, unsigned bar, uint32_t offset, uint64_t value,
                             unsigned len);

/* The driver's kicks of VQ signal FD, or no more. */
void virtio_pci_modern_eventfd(VirtioPci *p, VirtQueue *vq, int fd, bool on);
void virtio_pci_legacy_eventfd(VirtioPci *p, VirtQueue *vq, int fd, bool on);
/* Which queues have an irqfd follows from the state: after a change of it. */
void virtio_pci_irqfds_sync(Device *proxy);
void virtio_pci_msix_changed(PciDevice *pci);

extern const VirtioTransport virtio_pci_transport;

#endif
