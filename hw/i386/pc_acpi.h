/* SPDX-License-Identifier: MIT */
/* The ACPI tables of the pc machine. */
#ifndef HW_I386_PC_ACPI_H
#define HW_I386_PC_ACPI_H

#include "hw/acpi/acpi_tables.h"
#include "hw/fw_cfg/fw_cfg.h"

typedef struct PcAcpiConfig {
    unsigned cpus, max_cpus;
    const uint32_t *apic_ids;     /* max_cpus of them */
    bool hpet, s3, s4;
    uint8_t s4_value;
    bool has_floppy;
    unsigned serials, parallels;  /* COM1.., LPT1.. */
    uint64_t pci_hole_start;      /* end of low RAM */
    uint64_t pci_hole64_start, pci_hole64_end;   /* inclusive end */
    const char *oem_id, *oem_table_id;
} PcAcpiConfig;

bool pc_acpi_publish(const PcAcpiConfig *config, FwCfg *cfg, GError **error);

/* What the machines' tables share: a serial port's device; the head of a MADT, with processors and I/O APIC; NMI
 * at the local APICs. */
void pc_acpi_serial_port(Aml *a, unsigned n);
void pc_acpi_put_processors(AcpiTables *t, const uint32_t *apic_ids, unsigned cpus, unsigned max_cpus);
void pc_acpi_put_local_nmi(AcpiTables *t);

#endif
