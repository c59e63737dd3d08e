/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables of the pc machine: DSDT, FADT, FACS, MADT, HPET, WAET.  [ACPI6.3 5.2]
 * The board's facts (addresses, interrupt wiring) are those of PIIX3 and PIIX4.
 */
#include "hw/i386/pc_acpi.h"

#include "hw/acpi/acpi_pm.h"
#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/piix4_pm.h"

enum { SCI_IRQ = 9, IOAPIC_BASE = 0xfec00000, LAPIC_BASE = (int)0xfee00000,
       HPET_BASE = 0xfed00000, HPET_LEN = 0x400 };

/* ---- DSDT: interrupt links LNKA..LNKD over PIIX3's PIRQRC registers ---- */

static const uint32_t link_irqs[] = { 5, 10, 11 };

static void link_device(Aml *a, unsigned n)
{
    char name[5] = { 'L', 'N', 'K', 'A' + n, 0 }, reg[5] = { 'P', 'R', 'Q', '0' + n, 0 };

    aml_begin_device(a, name);
    aml_name_eisaid(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", n);
    aml_begin_resources(a, "_PRS");
    aml_res_interrupt(a, link_irqs, ARRAY_LEN(link_irqs));
    aml_end_resources(a);
    /* _STA: enabled unless the register says disabled. */
    aml_begin_method(a, "_STA", 0, false);
    aml_begin_if(a);
    aml_op(a, AML_AND);
    aml_ref(a, reg);
    aml_int(a, 0x80);
    aml_op(a, AML_NULL_TARGET);
    aml_op(a, AML_RETURN);
    aml_int(a, 0x09);
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_int(a, 0x0b);
    aml_end(a);
    aml_begin_method(a, "_DIS", 0, false);
    aml_op(a, AML_OR);
    aml_ref(a, reg);
    aml_int(a, 0x80);
    aml_ref(a, reg);
    aml_end(a);
    /* _CRS: a template whose interrupt number (at byte 5) is filled in. */
    aml_begin_resources(a, "PRR0");
    aml_res_interrupt(a, (const uint32_t[]){ 0 }, 1);
    aml_end_resources(a);
    aml_begin_method(a, "_CRS", 0, true);
    aml_create_dword_field(a, "PRR0", 5, "PRRI");
    aml_begin_if(a);
    aml_op(a, 0x95);                  /* LLess: below 80h it is a routed number */
    aml_ref(a, reg);
    aml_int(a, 0x80);
    aml_op(a, AML_STORE);
    aml_ref(a, reg);
    aml_ref(a, "PRRI");
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_ref(a, "PRR0");
    aml_end(a);
    aml_begin_method(a, "_SRS", 1, true);
    aml_op(a, AML_STORE);
    aml_arg(a, 0);
    aml_local(a, 0);
    aml_op(a, 0x8a);                  /* CreateDWordField (Local0, 5, PRRI) */
    aml_local(a, 0);
    aml_int(a, 5);
    aml_ref(a, "PRRI");
    aml_op(a, AML_STORE);
    aml_ref(a, "PRRI");
    aml_ref(a, reg);
    aml_end(a);
    aml_end(a);
}

/* The SCI, wired to IRQ 9: slot 1's INTA stands for it. */
static void sci_link(Aml *a)
{
    static const uint32_t irq = SCI_IRQ;

    aml_begin_device(a, "LNKS");
    aml_name_eisaid(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", 4);
    aml_begin_resources(a, "_PRS");
    aml_res_interrupt(a, &irq, 1);
    aml_end_resources(a);
    aml_name_int(a, "_STA", 0x0b);
    aml_begin_method(a, "_DIS", 0, false);
    aml_end(a);
    aml_begin_method(a, "_CRS", 0, false);
    aml_op(a, AML_RETURN);
    aml_ref(a, "_PRS");
    aml_end(a);
    aml_begin_method(a, "_SRS", 1, false);
    aml_end(a);
    aml_end(a);
}

static void prt_entry(Aml *a, unsigned slot, unsigned pin)
{
    char link[5] = { 'L', 'N', 'K', 'A' + (slot - 1 + pin) % 4, 0 };

    aml_begin_package(a, 4);
    aml_int(a, slot << 16 | 0xffff);
    aml_int(a, pin);
    aml_ref(a, slot == 1 && pin == 0 ? "LNKS" : link);
    aml_int(a, 0);
    aml_end(a);
}

static void host_bridge(Aml *a, const PcAcpiConfig *c)
{
    aml_begin_device(a, "PCI0");
    aml_name_eisaid(a, "_HID", "PNP0A03");
    aml_name_int(a, "_UID", 0);
    aml_begin_resources(a, "_CRS");
    aml_res_bus_range(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 0xcf8, 1, 8);
    aml_res_io_range(a, 0x0000, 0x0cf7);
    aml_res_io_range(a, 0x0d00, 0xffff);
    aml_res_memory_range(a, 0xa0000, 0xbffff, true);
    aml_res_memory_range(a, c->pci_hole_start, IOAPIC_BASE - 1, false);
    if (c->pci_hole64_end > c->pci_hole64_start) {
        aml_res_memory_range64(a, c->pci_hole64_start, c->pci_hole64_end);
    }
    aml_end_resources(a);
    aml_begin_name_package(a, "_PRT", 31 * 4);
    for (unsigned slot = 1; slot < 32; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            prt_entry(a, slot, pin);
        }
    }
    aml_end(a);
    aml_end(a);
}

/* ---- DSDT: what sits on ISA ---- */

static void isa_irq_device(Aml *a, const char *name, const char *hid, uint16_t io, uint8_t len,
                           int irq)
{
    aml_begin_device(a, name);
    aml_name_eisaid(a, "_HID", hid);
    aml_name_int(a, "_STA", 0x0f);
    aml_begin_resources(a, "_CRS");
    if (len) {
        aml_res_io(a, io, io, 1, len);
    }
    if (irq >= 0) {
        aml_res_irq(a, irq);
    }
    aml_end_resources(a);
    aml_end(a);
}

static void keyboard(Aml *a)
{
    aml_begin_device(a, "KBD");
    aml_name_eisaid(a, "_HID", "PNP0303");
    aml_name_int(a, "_STA", 0x0f);
    aml_begin_resources(a, "_CRS");
    aml_res_io(a, 0x60, 0x60, 1, 1);
    aml_res_io(a, 0x64, 0x64, 1, 1);
    aml_res_irq(a, 1);
    aml_end_resources(a);
    aml_end(a);
}

static void floppy(Aml *a)
{
    aml_begin_device(a, "FDC0");
    aml_name_eisaid(a, "_HID", "PNP0700");
    aml_begin_resources(a, "_CRS");
    aml_res_io(a, 0x3f2, 0x3f2, 0, 4);
    aml_res_io(a, 0x3f7, 0x3f7, 0, 1);
    aml_res_irq(a, 6);
    aml_res_dma(a, 2);
    aml_end_resources(a);
    aml_end(a);
}

void pc_acpi_serial_port(Aml *a, unsigned n)
{
    static const struct { uint16_t io; uint8_t irq; } ports[] = { { 0x3f8, 4 }, { 0x2f8, 3 },
                                                                  { 0x3e8, 4 }, { 0x2e8, 3 } };
    char name[5] = { 'C', 'O', 'M', '1' + n, 0 };

    aml_begin_device(a, name);
    aml_name_eisaid(a, "_HID", "PNP0501");
    aml_name_int(a, "_UID", n + 1);
    aml_name_int(a, "_STA", 0x0f);
    aml_begin_resources(a, "_CRS");
    aml_res_io(a, ports[n].io, ports[n].io, 0, 8);
    aml_res_irq(a, ports[n].irq);
    aml_end_resources(a);
    aml_end(a);
}

static void isa_bridge(Aml *a, const PcAcpiConfig *c)
{
    static const AmlField pirqrc[] = { { "PRQ0", 8 }, { "PRQ1", 8 }, { "PRQ2", 8 }, { "PRQ3", 8 },
                                       { NULL, 0 } };

    aml_begin_scope(a, "\\_SB.PCI0");
    aml_begin_device(a, "ISA");
    aml_name_int(a, "_ADR", 0x00010000);
    aml_operation_region(a, "P40C", AML_PCI_CONFIG, 0x60, 4);
    keyboard(a);
    isa_irq_device(a, "MOU", "PNP0F13", 0, 0, 12);
    isa_irq_device(a, "RTC", "PNP0B00", 0x70, 8, 8);
    if (c->has_floppy) {
        floppy(a);
    }
    for (unsigned i = 0; i < MIN(c->serials, 4); i++) {
        pc_acpi_serial_port(a, i);
    }
    if (c->parallels) {
        isa_irq_device(a, "LPT1", "PNP0400", 0x378, 8, 7);
    }
    aml_end(a);
    aml_end(a);

    aml_begin_scope(a, "\\_SB");
    aml_field(a, "PCI0.ISA.P40C", AML_BYTE_ACC, pirqrc);
    for (unsigned i = 0; i < 4; i++) {
        link_device(a, i);
    }
    sci_link(a);
    aml_end(a);
}

static void hpet_device(Aml *a)
{
    aml_begin_scope(a, "\\_SB");
    aml_begin_device(a, "HPET");
    aml_name_eisaid(a, "_HID", "PNP0103");
    aml_name_int(a, "_UID", 0);
    aml_name_int(a, "_STA", 0x0f);
    aml_begin_resources(a, "_CRS");
    aml_res_fixed_memory(a, HPET_BASE, HPET_LEN);
    aml_end_resources(a);
    aml_end(a);
    aml_end(a);
}

static void processors(Aml *a, const PcAcpiConfig *c)
{
    aml_begin_scope(a, "\\_SB");
    for (unsigned i = 0; i < c->cpus; i++) {
        g_autofree char *name = g_strdup_printf("C%03X", i);

        aml_begin_device(a, name);
        aml_name_string(a, "_HID", "ACPI0007");
        aml_name_int(a, "_UID", i);
        aml_end(a);
    }
    aml_end(a);
}

static void sleep_state(Aml *a, const char *name, uint8_t value)
{
    aml_begin_name_package(a, name, 4);
    aml_int(a, value);
    aml_int(a, value);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a);
}

static void write_dsdt_body(Aml *a, const PcAcpiConfig *c)
{
    aml_begin_scope(a, "\\_SB");
    host_bridge(a, c);
    aml_end(a);
    isa_bridge(a, c);
    if (c->hpet) {
        hpet_device(a);
    }
    processors(a, c);
    aml_begin_scope(a, "\\_GPE");
    aml_name_string(a, "_HID", "ACPI0006");
    aml_end(a);
    if (c->s3) {
        sleep_state(a, "\\_S3", 1);
    }
    if (c->s4) {
        sleep_state(a, "\\_S4", c->s4_value);
    }
    sleep_state(a, "\\_S5", 0);
}

/* ---- the fixed tables ---- */

static uint32_t put_facs(AcpiTables *t)
{
    uint8_t facs[64] = { 'F', 'A', 'C', 'S', 64 };

    return acpi_add_raw(t, facs, sizeof(facs));
}

static uint32_t put_dsdt(AcpiTables *t, const PcAcpiConfig *c)
{
    g_autoptr(Aml) a = aml_new();
    const uint8_t *bytes;
    size_t len;

    write_dsdt_body(a, c);
    bytes = aml_bytes(a, &len);
    acpi_table_begin(t, "DSDT", 1, false);
    acpi_put_bytes(t, bytes, len);
    return acpi_table_end(t);
}

/* FADT revision 1, 116 bytes: what ACPI 1.0 systems and all later ones read.  [ACPI1.0 5.2.5] */
static void put_fadt(AcpiTables *t, uint32_t facs, uint32_t dsdt)
{
    enum { WBINVD = BIT(0), PROC_C1 = BIT(2), SLP_BUTTON = BIT(5), RTC_S4 = BIT(7),
           USE_PLATFORM_CLOCK = BIT(15) };

    acpi_table_begin(t, "FACP", 1, true);
    acpi_put_pointer(t, facs, 4);
    acpi_put_pointer(t, dsdt, 4);
    acpi_put(t, 1, 1);                        /* interrupt model: dual 8259 */
    acpi_put(t, 0, 1);
    acpi_put(t, SCI_IRQ, 2);
    acpi_put(t, PIIX4_SMI_COMMAND_PORT, 4);
    acpi_put(t, PIIX4_ACPI_ENABLE, 1);
    acpi_put(t, PIIX4_ACPI_DISABLE, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, PIIX4_PM_BASE_BY_FIRMWARE, 4);        /* PM1a event */
    acpi_put(t, 0, 4);
    acpi_put(t, PIIX4_PM_BASE_BY_FIRMWARE + 4, 4);    /* PM1a control */
    acpi_put(t, 0, 4);
    acpi_put(t, 0, 4);
    acpi_put(t, PIIX4_PM_BASE_BY_FIRMWARE + 8, 4);    /* PM timer */
    acpi_put(t, PIIX4_GPE_BASE, 4);
    acpi_put(t, 0, 4);
    acpi_put(t, 4, 1);                        /* lengths: event, control, PM2, timer, GPE0, GPE1 */
    acpi_put(t, 2, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, 4, 1);
    acpi_put(t, PIIX4_GPE_LEN, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, 0xfff, 2);                    /* no C2 */
    acpi_put(t, 0xfff, 2);                    /* no C3 */
    acpi_put(t, 0, 2);
    acpi_put(t, 0, 2);
    acpi_put(t, 0, 2);                        /* duty offset and width */
    acpi_put(t, 0, 1);                        /* day alarm */
    acpi_put(t, 0, 1);                        /* month alarm */
    acpi_put(t, 0x32, 1);                     /* century in CMOS */
    acpi_put(t, 0, 3);
    acpi_put(t, WBINVD | PROC_C1 | SLP_BUTTON | RTC_S4 | USE_PLATFORM_CLOCK, 4);
    acpi_table_end(t);
}

static void put_override(AcpiTables *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    acpi_put(t, 2, 1);
    acpi_put(t, 10, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, irq, 1);
    acpi_put(t, gsi, 4);
    acpi_put(t, flags, 2);
}

/* [ACPI6.3 5.2.12] */
void pc_acpi_put_processors(AcpiTables *t, const uint32_t *apic_ids, unsigned cpus, unsigned max_cpus)
{
    acpi_put(t, (uint32_t)LAPIC_BASE, 4);
    acpi_put(t, 1, 4);                        /* PCAT_COMPAT: there is a pair of 8259s */
    for (unsigned i = 0; i < max_cpus; i++) {
        bool enabled = i < cpus;

        if (apic_ids[i] < 255) {
            acpi_put(t, 0, 1);
            acpi_put(t, 8, 1);
            acpi_put(t, i, 1);
            acpi_put(t, apic_ids[i], 1);
            acpi_put(t, enabled, 4);
        } else {                              /* x2APIC */
            acpi_put(t, 9, 1);
            acpi_put(t, 16, 1);
            acpi_put(t, 0, 2);
            acpi_put(t, apic_ids[i], 4);
            acpi_put(t, enabled, 4);
            acpi_put(t, i, 4);
        }
    }
    acpi_put(t, 1, 1);                        /* IOAPIC */
    acpi_put(t, 12, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, (uint32_t)IOAPIC_BASE, 4);
    acpi_put(t, 0, 4);
}

void pc_acpi_put_local_nmi(AcpiTables *t)
{
    acpi_put(t, 4, 1);                        /* NMI on LINT1 of every CPU */
    acpi_put(t, 6, 1);
    acpi_put(t, 0xff, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, 1, 1);
}

static void put_madt(AcpiTables *t, const PcAcpiConfig *c)
{
    acpi_table_begin(t, "APIC", 1, true);
    pc_acpi_put_processors(t, c->apic_ids, c->cpus, c->max_cpus);
    put_override(t, 0, 2, 0);                 /* the PIT is on pin 2 */
    for (unsigned irq = 5; irq < 12; irq++) { /* PCI links and the SCI: level, active high */
        if (irq == 5 || irq >= 9) {
            put_override(t, irq, irq, 0x0d);
        }
    }
    pc_acpi_put_local_nmi(t);
    acpi_table_end(t);
}

/* [HPET1.0a 3.2.4] */
static void put_hpet(AcpiTables *t)
{
    acpi_table_begin(t, "HPET", 1, true);
    acpi_put(t, 0x8086a201, 4);
    acpi_put_gas(t, 0, 0, HPET_BASE);
    acpi_put(t, 0, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, 0, 1);
    acpi_table_end(t);
}

/* Windows ACPI emulated devices table: the PM timer needs no double reading. */
static void put_waet(AcpiTables *t)
{
    acpi_table_begin(t, "WAET", 1, true);
    acpi_put(t, BIT(1), 4);
    acpi_table_end(t);
}

bool pc_acpi_publish(const PcAcpiConfig *c, FwCfg *cfg, GError **error)
{
    g_autoptr(AcpiTables) t = acpi_tables_new(c->oem_id, c->oem_table_id);
    uint32_t facs = put_facs(t), dsdt = put_dsdt(t, c);

    put_fadt(t, facs, dsdt);
    put_madt(t, c);
    if (c->hpet) {
        put_hpet(t);
    }
    put_waet(t);
    return acpi_tables_publish(t, cfg, error);
}
