/* SPDX-License-Identifier: MIT */
/* The PIIX3 IDE function ("piix3-ide"): two legacy channels with bus-master DMA. */
#ifndef HW_IDE_PIIX_IDE_H
#define HW_IDE_PIIX_IDE_H

#include "hw/ide/ide.h"
#include "hw/pci/pci.h"

/* Puts it at DEVFN; IRQ14 and IRQ15 are the legacy lines.  NULL and an error on failure. */
PciDevice *piix_ide_create(PciBus *bus, int devfn, IrqPin irq14, IrqPin irq15, GError **error);
/* Channel 0 or 1. */
IdeBus *piix_ide_bus(PciDevice *dev, unsigned channel);

#endif
