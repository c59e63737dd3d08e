/* SPDX-License-Identifier: MIT */
/*
 * The generic event device of hardware-reduced ACPI ("acpi-ged-x86"): the power button, sleep and reset.
 * [ACPI6.3 5.6.9, 4.8.3.7]
 * Not modelled: memory hotplug, NVDIMM and error sources.
 * Thread rule: machine lock.
 */
#ifndef HW_ACPI_GED_H
#define HW_ACPI_GED_H

#include "hw/acpi/aml.h"
#include "vm/device.h"

enum {
    GED_EVENTS_LEN = 4,                       /* le32, read to clear: what has happened */
    GED_REGS_SLEEP_CTL = 0, GED_REGS_SLEEP_STS = 1, GED_REGS_RESET = 2, GED_REGS_LEN = 3,
    GED_RESET_VALUE = 0x42, GED_SLEEP_S5 = 5,
};

/* Events and registers at these addresses of system memory; IRQ gets an edge for each event. */
Device *ged_new(Vm *vm, uint64_t events, uint64_t regs, IrqPin irq, GError **error);
/* Within \_SB: the device itself and the power button. */
void ged_write_aml(Aml *a, uint64_t events, uint32_t gsi);

#endif
