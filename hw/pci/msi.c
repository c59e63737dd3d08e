/* SPDX-License-Identifier: MIT */
/*
 * Message-signalled interrupts.  [PCI3.0 6.8.1]
 * A message is a 32-bit memory write by the device, so it goes through its DMA space.
 * Locking: machine lock.
 */
#include "hw/pci/pci_int.h"

enum { MSI_ADDRESS_LO = 4, MSI_ADDRESS_HI = 8 };

static uint16_t msi_flags(const PciDevice *dev)
{
    return le16_load(dev->config + dev->msi_cap + PCI_MSI_FLAGS);
}

static unsigned data_offset(uint16_t flags)
{
    return flags & PCI_MSI_FLAGS_64BIT ? 12 : 8;
}

static unsigned mask_offset(uint16_t flags)
{
    return flags & PCI_MSI_FLAGS_64BIT ? 16 : 12;
}

static unsigned pending_offset(uint16_t flags)
{
    return mask_offset(flags) + 4;
}

bool msi_init(PciDevice *dev, uint8_t offset, unsigned vectors, bool is64, bool maskable,
              GError **error)
{
    uint16_t flags = (uint16_t)((g_bit_nth_msf(vectors, -1) << 1) |
                                (is64 ? PCI_MSI_FLAGS_64BIT : 0) |
                                (maskable ? PCI_MSI_FLAGS_MASKBIT : 0));
    uint8_t size = maskable ? pending_offset(flags) + 4 : data_offset(flags) + 2;
    uint8_t cap = pci_add_capability(dev, PCI_CAP_ID_MSI, offset, size, error);
    uint8_t *wmask = dev->wmask + cap;

    g_assert(is_pow2(vectors) && vectors <= 32);
    if (!cap) {
        return false;
    }
    dev->msi_cap = cap;
    le16_store(dev->config + cap + PCI_MSI_FLAGS, flags);
    le16_store(wmask + PCI_MSI_FLAGS, PCI_MSI_FLAGS_QSIZE | PCI_MSI_FLAGS_ENABLE);
    le32_store(wmask + MSI_ADDRESS_LO, ~3u);
    if (is64) {
        le32_store(wmask + MSI_ADDRESS_HI, UINT32_MAX);
    }
    le16_store(wmask + data_offset(flags), 0xffff);
    if (maskable) {
        le32_store(wmask + mask_offset(flags), UINT32_MAX >> (32 - vectors));
    }
    return true;
}

bool msi_enabled(const PciDevice *dev)
{
    return dev->msi_cap && (msi_flags(dev) & PCI_MSI_FLAGS_ENABLE);
}

/* log2 of the vectors the guest granted; it may not exceed what the device asked for. */
static unsigned granted_log2(uint16_t flags)
{
    unsigned asked = (flags & PCI_MSI_FLAGS_QMASK) >> 1, granted = (flags & PCI_MSI_FLAGS_QSIZE) >> 4;

    return MIN(asked, granted);
}

static void send_message(PciDevice *dev, uint16_t flags, unsigned vector)
{
    const uint8_t *cap = dev->config + dev->msi_cap;
    uint64_t addr = le32_load(cap + MSI_ADDRESS_LO);
    uint32_t data = le16_load(cap + data_offset(flags));
    uint32_t vector_mask = (1u << granted_log2(flags)) - 1;

    if (flags & PCI_MSI_FLAGS_64BIT) {
        addr |= (uint64_t)le32_load(cap + MSI_ADDRESS_HI) << 32;
    }
    dma_store(&dev->dev, addr, (data & ~vector_mask) | (vector & vector_mask), 4);
}

void msi_notify(PciDevice *dev, unsigned vector)
{
    uint16_t flags = dev->msi_cap ? msi_flags(dev) : 0;
    uint8_t *cap = dev->config + dev->msi_cap;

    if (!(flags & PCI_MSI_FLAGS_ENABLE) || vector >= 32) {
        return;
    }
    vector &= (1u << granted_log2(flags)) - 1;
    if ((flags & PCI_MSI_FLAGS_MASKBIT) && (le32_load(cap + mask_offset(flags)) & BIT(vector))) {
        uint8_t *pending = cap + pending_offset(flags);

        le32_store(pending, le32_load(pending) | BIT(vector));
        return;
    }
    send_message(dev, flags, vector);
}

/* Unmasking sends what was pending. */
void msi_config_written(PciDevice *dev, uint32_t offset, unsigned len)
{
    uint16_t flags = dev->msi_cap ? msi_flags(dev) : 0;
    uint8_t *cap = dev->config + dev->msi_cap;
    uint32_t ready;

    if (!(flags & PCI_MSI_FLAGS_ENABLE) || !(flags & PCI_MSI_FLAGS_MASKBIT) ||
        offset + len <= dev->msi_cap || offset >= dev->msi_cap + pending_offset(flags) + 4u) {
        return;
    }
    ready = le32_load(cap + pending_offset(flags)) & ~le32_load(cap + mask_offset(flags));
    for (unsigned vector = 0; vector < 32; vector++) {
        if (ready & BIT(vector)) {
            uint8_t *pending = cap + pending_offset(flags);

            le32_store(pending, le32_load(pending) & ~BIT(vector));
            send_message(dev, flags, vector);
        }
    }
}

void msi_reset(PciDevice *dev)
{
    uint16_t flags;
    uint8_t *cap = dev->config + dev->msi_cap;

    if (!dev->msi_cap) {
        return;
    }
    flags = msi_flags(dev) & ~(PCI_MSI_FLAGS_QSIZE | PCI_MSI_FLAGS_ENABLE);
    le16_store(cap + PCI_MSI_FLAGS, flags);
    le32_store(cap + MSI_ADDRESS_LO, 0);
    if (flags & PCI_MSI_FLAGS_64BIT) {
        le32_store(cap + MSI_ADDRESS_HI, 0);
    }
    le16_store(cap + data_offset(flags), 0);
    if (flags & PCI_MSI_FLAGS_MASKBIT) {
        le32_store(cap + mask_offset(flags), 0);
        le32_store(cap + pending_offset(flags), 0);
    }
}
