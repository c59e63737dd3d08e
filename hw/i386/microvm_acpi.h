/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables of the microvm machine: hardware-reduced, with its few devices.
 * Thread rule: main loop, while the machine is built.
 */
#ifndef HW_I386_MICROVM_ACPI_H
#define HW_I386_MICROVM_ACPI_H

#include "hw/fw_cfg/fw_cfg.h"
#include "hw/i386/pc.h"

enum { MICROVM_GED_EVENTS = 0xfea00000, MICROVM_GED_REGS = 0xfea00200 };

typedef struct MicrovmAcpiConfig {
    unsigned cpus, max_cpus;
    const uint32_t *apic_ids;
    bool rtc, serial;
    uint32_t ged_irq;
    uint32_t seats;           /* bit per virtio-mmio seat that is taken */
    uint32_t seat_base, seat_irq;
    const char *oem_id, *oem_table_id;
} MicrovmAcpiConfig;

bool microvm_acpi_publish(const MicrovmAcpiConfig *config, FwCfg *cfg, GError **error);

#endif
