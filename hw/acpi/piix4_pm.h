/* SPDX-License-Identifier: MIT */
/*
 * The PIIX4 power management function ("PIIX4_PM"): ACPI, SMI command port, SMBus host.
 * [82371AB 290562 chapter 7]
 */
#ifndef HW_ACPI_PIIX4_PM_H
#define HW_ACPI_PIIX4_PM_H

#include "hw/pci/pci.h"

/* I/O addresses that the ACPI tables name as well. */
enum {
    PIIX4_GPE_BASE = 0xafe0, PIIX4_GPE_LEN = 4,
    PIIX4_SMI_COMMAND_PORT = 0xb2,
    PIIX4_ACPI_ENABLE = 0xf1, PIIX4_ACPI_DISABLE = 0xf0,
    PIIX4_PM_BASE_BY_FIRMWARE = 0x600,
};

/* Puts it at DEVFN; SCI and SMI end at the given pins. */
PciDevice *piix4_pm_create(PciBus *bus, int devfn, bool smm, IrqPin sci, IrqPin smi,
                           GError **error);
/* SLP_TYP of S4, and whether S3 and S4 are offered: for the ACPI tables. */
void piix4_pm_sleep_states(PciDevice *dev, bool *s3, bool *s4, uint8_t *s4_value);

#endif
