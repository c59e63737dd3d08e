/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables as a pair of fw_cfg files, with the linker script by which the firmware places them.
 * ("etc/acpi/tables", "etc/acpi/rsdp", "etc/table-loader": the interface SeaBIOS and OVMF know.)
 *
 * Tables are appended to one blob, each with header and checksum; pointers between them are
 * patched by the firmware.
 */
#ifndef HW_ACPI_ACPI_TABLES_H
#define HW_ACPI_ACPI_TABLES_H

#include "hw/acpi/aml.h"
#include "hw/fw_cfg/fw_cfg.h"

typedef struct AcpiTables AcpiTables;

/* OEM ids are padded with blanks: 6 and 8 characters. */
AcpiTables *acpi_tables_new(const char *oem_id, const char *oem_table_id);
void acpi_tables_free(AcpiTables *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AcpiTables, acpi_tables_free)

/* Starts a table; fields are appended until acpi_table_end(), which returns its offset and lists
 * it in the RSDT unless LISTED is false (DSDT). */
void acpi_table_begin(AcpiTables *t, const char *signature, uint8_t revision, bool listed);
uint32_t acpi_table_end(AcpiTables *t);
void acpi_put(AcpiTables *t, uint64_t value, unsigned size);
void acpi_put_bytes(AcpiTables *t, const void *p, size_t len);
/* A 4- or 8-byte pointer to another table's offset, to be relocated. */
void acpi_put_pointer(AcpiTables *t, uint32_t target, unsigned size);
/* Generic address structure.  [ACPI6.3 5.2.3.2] */
void acpi_put_gas(AcpiTables *t, uint8_t space, uint8_t bits, uint64_t addr);
/* A headerless, 64-byte aligned structure (FACS). */
uint32_t acpi_add_raw(AcpiTables *t, const void *p, size_t len);

/* Adds RSDT and RSDP, then the three files. */
bool acpi_tables_publish(AcpiTables *t, FwCfg *cfg, GError **error);
/* The whole blob, for tests and -dump: offsets as if loaded at 0. */
const uint8_t *acpi_tables_blob(AcpiTables *t, size_t *len);

#endif
