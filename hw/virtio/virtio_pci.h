/* SPDX-License-Identifier: MIT */
/*
 * Virtio over PCI: the proxy that a device model sits behind.  [VIRTIO1.2 4.1]
 *
 *     VIRTIO_PCI_TYPE(virtio_blk, "virtio-blk-pci", "virtio-blk-device", "virtual disk",
 *                     DEVICE_CATEGORY_STORAGE, virtio_blk_prepare);
 *
 * declares virtio-blk-pci, virtio-blk-pci-transitional and virtio-blk-pci-non-transitional.  A proxy
 * makes its device model when it is made itself, as child "virtio-backend", and lends it its
 * properties: what is not the proxy's own is the model's.
 *
 * BARs, as QEMU has them: 0 legacy registers (I/O), 1 MSI-X, 2 modern notifications (I/O, on request),
 * 4 the modern structures.
 * Not modelled: PCI Express endpoints (pcie-root-port), ATS, AER.
 * Thread rule: machine lock.
 */
#ifndef HW_VIRTIO_VIRTIO_PCI_H
#define HW_VIRTIO_VIRTIO_PCI_H

#include "hw/pci/pci.h"
#include "hw/virtio/virtio.h"

typedef struct VirtioPci VirtioPci;
typedef struct VirtioPciIrqfd VirtioPciIrqfd;

/* Fixed facts of a proxy type. */
typedef struct VirtioPciInfo {
    PciInfo pci;              /* first: it is the type's bus_info */
    const char *model;        /* type of the device model */
    enum { VIRTIO_PCI_GENERIC, VIRTIO_PCI_TRANSITIONAL, VIRTIO_PCI_NON_TRANSITIONAL } kind;
    /* Before the model is realized: defaults that depend on the machine; may set p->vectors. */
    void (*prepare)(VirtioPci *p);
} VirtioPciInfo;

struct VirtioPci {
    PciDevice pci;
    VirtioDevice *vdev;       /* a reference */
    GError *model_error;      /* why it could not be made */
    Bus vbus;
    OnOffAuto disable_legacy;
    bool disable_modern, page_per_vq, modern_pio_notify;
    bool ioeventfd;           /* kicks and interrupts without the machine lock, or an exit to us */
    uint32_t vectors;         /* UINT32_MAX: the model's choice */
    uint32_t class_code;      /* class=; 0: the model's */
    bool legacy, modern;      /* what there is */
    uint32_t dfselect, gfselect, guest_features[2];
    VirtioQueueSetup queues[VIRTIO_QUEUE_MAX];
    VirtioPciIrqfd *irqfds;   /* virtio_pci_irqfd.c; NULL: never needed */
    uint8_t cfg_cap;          /* offset of the configuration access capability */
    MemoryRegion legacy_mr, msix_bar, pio_mr;
    MemoryRegion modern_bar, common_mr, isr_mr, device_mr, notify_mr;
};

extern const VmStateDesc vmstate_virtio_pci;

/* The pieces of VIRTIO_PCI_TYPE(). */
bool virtio_pci_realize(Device *dev, GError **error);
void virtio_pci_unrealize(Device *dev);
void virtio_pci_sync(Device *dev);
uint32_t virtio_pci_config_read(PciDevice *dev, uint32_t offset, unsigned len);
void virtio_pci_config_write(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len);
extern const PropDef virtio_pci_props[];         /* of the transitional kinds */
extern const PropDef virtio_pci_generic_props[]; /* also disable-legacy=, disable-modern= */

#define VIRTIO_PCI_ROW_(id, n, m, d, c, prep, k, p)                                        \
    static const VirtioPciInfo id##_info = {                                               \
        .pci = { .vendor_id = PCI_VENDOR_REDHAT_QUMRANET, .interrupt_pin = 1,              \
                 .config_read = virtio_pci_config_read,                                    \
                 .config_write = virtio_pci_config_write },                                \
        .model = (m), .kind = (k), .prepare = (prep),                                      \
    };                                                                                     \
    DEVICE_TYPE(id, .name = (n), .parent = "virtio-pci", .desc = (d), .bus = &bus_pci,     \
                .bus_info = &id##_info, .category = (c), .user_creatable = true,           \
                .model = (m), .props = (p), .sync = virtio_pci_sync)
#define VIRTIO_PCI_TYPE(id, n, m, d, c, prep)                                              \
    VIRTIO_PCI_ROW_(id##_pci, n, m, d, c, prep, VIRTIO_PCI_GENERIC,                        \
                    virtio_pci_generic_props);                                             \
    VIRTIO_PCI_ROW_(id##_pci_trans, n "-transitional", m, d, c, prep,                      \
                    VIRTIO_PCI_TRANSITIONAL, virtio_pci_props);                            \
    VIRTIO_PCI_ROW_(id##_pci_modern, n "-non-transitional", m, d, c, prep,                 \
                    VIRTIO_PCI_NON_TRANSITIONAL, virtio_pci_props)

#endif
