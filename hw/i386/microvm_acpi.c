/* SPDX-License-Identifier: MIT */
/*
 * DSDT, FADT and MADT of the microvm machine, in what they say as QEMU 7.2's.
 */
#include "hw/i386/microvm_acpi.h"

#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/ged.h"
#include "hw/i386/pc_acpi.h"
#include "hw/virtio/virtio_mmio.h"

enum { FADT_RESET_REG_SUP = BIT(10), FADT_HW_REDUCED = BIT(20), FADT_LEN = 268, FADT_DSDT = 40,
       FADT_FLAGS = 112, FADT_X_DSDT = 140, FADT_SLEEP_CTL = 244, SYSTEM_MEMORY = 0 };

static void fw_cfg_device(Aml *a)
{
    aml_begin_device(a, "FWCF");
    aml_name_string(a, "_HID", "QEMU0002");
    aml_name_int(a, "_STA", 0x0b);
    aml_begin_resources(a, "_CRS");
    aml_res_io(a, 0x510, 0x510, 1, 12);
    aml_end_resources(a);
    aml_end(a);
}

static void rtc_device(Aml *a)
{
    aml_begin_device(a, "RTC");
    aml_name_eisaid(a, "_HID", "PNP0B00");
    aml_begin_resources(a, "_CRS");
    aml_res_io(a, 0x70, 0x70, 1, 8);
    aml_res_irq(a, 8);
    aml_end_resources(a);
    aml_end(a);
}

static void seat_device(Aml *a, const MicrovmAcpiConfig *c, unsigned n)
{
    char name[5] = { 'V', 'R', '0' + n / 10, '0' + n % 10, 0 };

    aml_begin_device(a, name);
    aml_name_string(a, "_HID", "LNRO0005");
    aml_name_int(a, "_UID", n);
    aml_name_int(a, "_CCA", 1);
    aml_begin_resources(a, "_CRS");
    aml_res_fixed_memory(a, c->seat_base + n * VIRTIO_MMIO_LEN, VIRTIO_MMIO_LEN);
    aml_res_gsi(a, c->seat_irq + n, false);
    aml_end_resources(a);
    aml_end(a);
}

static uint32_t put_dsdt(AcpiTables *t, const MicrovmAcpiConfig *c)
{
    g_autoptr(Aml) a = aml_new();
    const uint8_t *bytes;
    size_t len;

    aml_begin_scope(a, "\\_SB");
    fw_cfg_device(a);
    if (c->serial) {
        pc_acpi_serial_port(a, 0);
    }
    if (c->rtc) {
        rtc_device(a);
    }
    ged_write_aml(a, MICROVM_GED_EVENTS, c->ged_irq);
    for (unsigned i = 0; i < 32; i++) {
        if (c->seats & BIT(i)) {
            seat_device(a, c, i);
        }
    }
    aml_end(a);
    aml_begin_name_package(a, "\\_S5", 4);
    aml_int(a, GED_SLEEP_S5);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a);
    bytes = aml_bytes(a, &len);
    acpi_table_begin(t, "DSDT", 2, false);
    acpi_put_bytes(t, bytes, len);
    return acpi_table_end(t);
}

/* Revision 5, all zero but for these.  [ACPI6.3 5.2.9] */
static void put_fadt(AcpiTables *t, uint32_t dsdt)
{
    uint8_t zeroes[FADT_LEN] = { 0 };

    acpi_table_begin(t, "FACP", 5, true);
    acpi_put(t, 0, 4);
    acpi_put_pointer(t, dsdt, 4);
    acpi_put_bytes(t, zeroes, FADT_FLAGS - (FADT_DSDT + 4));
    acpi_put(t, FADT_RESET_REG_SUP | FADT_HW_REDUCED, 4);
    acpi_put_gas(t, SYSTEM_MEMORY, 8, MICROVM_GED_REGS + GED_REGS_RESET);
    acpi_put(t, GED_RESET_VALUE, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, 0, 1);
    acpi_put(t, 0, 8);
    acpi_put_pointer(t, dsdt, 8);
    acpi_put_bytes(t, zeroes, FADT_SLEEP_CTL - (FADT_X_DSDT + 8));
    acpi_put_gas(t, SYSTEM_MEMORY, 8, MICROVM_GED_REGS + GED_REGS_SLEEP_CTL);
    acpi_put_gas(t, SYSTEM_MEMORY, 8, MICROVM_GED_REGS + GED_REGS_SLEEP_STS);
    acpi_table_end(t);
}

static void put_madt(AcpiTables *t, const MicrovmAcpiConfig *c)
{
    acpi_table_begin(t, "APIC", 1, true);
    pc_acpi_put_processors(t, c->apic_ids, c->cpus, c->max_cpus);
    pc_acpi_put_local_nmi(t);
    acpi_table_end(t);
}

bool microvm_acpi_publish(const MicrovmAcpiConfig *c, FwCfg *cfg, GError **error)
{
    g_autoptr(AcpiTables) t = acpi_tables_new(c->oem_id, c->oem_table_id);

    put_fadt(t, put_dsdt(t, c));
    put_madt(t, c);
    return acpi_tables_publish(t, cfg, error);
}
