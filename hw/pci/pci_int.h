/* SPDX-License-Identifier: MIT */
/* Between the files of hw/pci. */
#ifndef HW_PCI_PCI_INT_H
#define HW_PCI_PCI_INT_H

#include "base/error.h"
#include "hw/pci/pci.h"

/* BAR windows and bus mastering follow the configuration space. */
void pci_update_mappings(PciDevice *dev);
void pci_unmap_bars(PciDevice *dev);
/* Takes the device's INTx levels off the bus. */
void pci_release_irq(PciDevice *dev);
void pci_reset_common(PciDevice *dev);

void msi_config_written(PciDevice *dev, uint32_t offset, unsigned len);
void msi_reset(PciDevice *dev);
void msix_config_written(PciDevice *dev, uint32_t offset, unsigned len);
void msix_reset(PciDevice *dev);

/* Option ROM: romfile=, or the type's default; nothing to do when rombar=0 or no file. */
bool pci_rom_add(PciDevice *dev, GError **error);
void pci_rom_remove(PciDevice *dev);

#endif
