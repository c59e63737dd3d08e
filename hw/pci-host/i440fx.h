/* SPDX-License-Identifier: MIT */
/*
 * The 82441FX host bridge ("i440FX-pcihost" with its PCI function "i440FX"): configuration ports,
 * PAM shadowing and SMRAM.  [82441FX 290549]
 */
#ifndef HW_PCI_HOST_I440FX_H
#define HW_PCI_HOST_I440FX_H

#include "hw/pci/pci.h"

/*
 * Makes the host bridge, its bus "pci.0" and function 00.0.  RAM is guest memory from address 0
 * (at least 1 MiB).  The PCI hole and everything else below is put into vm->system_memory at
 * priority -1, and SMM's view into vm->smm_memory when SMM is on.  NULL and an error on failure.
 */
PciBus *i440fx_create(Vm *vm, MemoryRegion *ram, bool smm, GError **error);

#endif
