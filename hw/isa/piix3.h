/* SPDX-License-Identifier: MIT */
/*
 * The PIIX3 ISA bridge (function 0 of the 82371SB): the ISA bus, PIRQ routing, reset control.
 * [82371FB/SB 290550]
 */
#ifndef HW_ISA_PIIX3_H
#define HW_ISA_PIIX3_H

#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

/*
 * Puts the bridge at DEVFN of PCI, takes over the bus's INTx routing, and returns the ISA bus
 * "isa.0".  GSIS are the 16 interrupt inputs of the board.  NULL and an error on failure.
 */
IsaBus *piix3_create(PciBus *pci, int devfn, const IrqPin gsis[16], GError **error);

#endif
