/* SPDX-License-Identifier: MIT */
/*
 * The microvm machine: CPUs, I/O APIC, eight virtio-mmio seats, and little else.  It has no PCI; firmware and
 * guest find the seats by ACPI, or without it on the kernel's command line.
 * It begins with PcMachine, whose loaders and interrupt routing it shares; the chips it lacks are NULL there.
 * Missing: PCI Express (pcie=), a second I/O APIC (ioapic2=), USB and SMM: the options do not exist.
 * Quirk: QEMU has 24 seats with ACPI, at the second I/O APIC's inputs; here they are the 8 of ioapic2=off.
 * Locking: machine lock.
 */
#include <stdlib.h>

#include "accel/kvm/irqchip.h"
#include "base/error.h"
#include "base/log.h"
#include "hw/acpi/acpi_tables.h"
#include "hw/acpi/ged.h"
#include "hw/i386/microvm_acpi.h"
#include "hw/intc/i8259.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "hw/virtio/virtio_mmio.h"
#include "vm/accel.h"

enum { SEATS = 8, SEAT_BASE = 0xfeb00000, SEAT_IRQ_ACPI = 16, SEAT_IRQ = 5, GED_IRQ = 9, FERR_IRQ = 13 };
#define BELOW_4G_MAX 0xc0000000ull

typedef struct MicroVm {
    PcMachine pc;
    OnOffAuto acpi, pic, pit, rtc;
    bool isa_serial, auto_cmdline, option_roms;
    Device *seats[SEATS];
    IrqLine a20;              /* no gate: always open */
} MicroVm;

static MicroVm *micro(Machine *m)
{
    return (MicroVm *)(void *)m;
}

static bool acpi_on(const MicroVm *s)
{
    return s->acpi != ON_OFF_AUTO_OFF;
}

/* The clock chip is for guests that have no clock of the hypervisor's. */
static bool rtc_on(MicroVm *s)
{
    return s->rtc == ON_OFF_AUTO_ON ||
           (s->rtc == ON_OFF_AUTO_AUTO && strcmp(accel_type(s->pc.machine.vm->accel)->accel, "kvm") != 0);
}

/* ---- the ISA bus, which no bridge offers ---- */

typedef struct IsaBridge {
    Device dev;
    IsaBus isa;
} IsaBridge;

DEVICE_TYPE(isabus_bridge, .name = "isabus-bridge", .size = sizeof(IsaBridge));

static bool create_isa_bus(PcMachine *pc, const IrqPin *gsis, GError **error)
{
    Vm *vm = pc->machine.vm;
    Device *dev = device_create(vm, "isabus-bridge", NULL, error, NULL);

    if (!dev) {
        return false;
    }
    pc->isa = &DEVICE_CAST(IsaBridge, dev)->isa;
    isa_bus_init(pc->isa, dev, vm, &vm->system_memory, &vm->system_io);
    for (unsigned i = 0; i < ARRAY_LEN(pc->isa->irqs); i++) {
        pc->isa->irqs[i] = gsis[i];
    }
    return true;
}

/* ---- the board ---- */

static bool create_memory(PcMachine *pc, GError **error)
{
    Machine *m = &pc->machine;

    if (m->ram_size < MIB) {
        return error_set(error, "-m %" PRIu64 " KiB is too little: a microvm needs at least 1 MiB",
                         m->ram_size / KIB);
    }
    return machine_create_ram(m, error) && pc_map_ram(pc, BELOW_4G_MAX);
}

static bool create_timers(MicroVm *s, const IrqPin *gsis, GError **error)
{
    PcMachine *pc = &s->pc;
    bool in_kernel = kvm_irqchip_mode(pc->machine.vm) == KVM_IRQCHIP_ON;

    if (rtc_on(s)) {
        RtcOptions options;

        if (!pc_rtc_options(pc, &options, error)) {
            return false;
        }
        pc->rtc = mc146818_new(pc->isa, &options, gsis[8], error);
        if (!pc->rtc) {
            return false;
        }
    }
    return s->pit == ON_OFF_AUTO_OFF || i8254_new(pc->isa, in_kernel, gsis[0], error);
}

static bool create_seats(MicroVm *s, const IrqPin *gsis, GError **error)
{
    unsigned irq = acpi_on(s) ? SEAT_IRQ_ACPI : SEAT_IRQ;

    /* The first device goes into the last seat, as in QEMU: buses are looked for in the order of names. */
    for (unsigned i = SEATS; i-- > 0;) {
        g_autofree char *name = g_strdup_printf("virtio-mmio[%u]", SEATS - 1 - i);

        s->seats[i] = virtio_mmio_new(s->pc.machine.vm, i, SEAT_BASE + i * VIRTIO_MMIO_LEN, gsis[irq + i],
                                      error);
        if (!s->seats[i]) {
            return false;
        }
        object_move(OBJECT(s->seats[i]), OBJECT(s), name);
    }
    return true;
}

/* ---- what firmware and guest are told ---- */

static void add_seats_to_cmdline(MicroVm *s)
{
    Machine *m = &s->pc.machine;
    GString *line = g_string_new(m->append ?: "");

    for (unsigned i = 0; i < SEATS; i++) {
        if (!virtio_mmio_is_empty(s->seats[i])) {
            g_string_append_printf(line, " virtio_mmio.device=%d@0x%x:%u", VIRTIO_MMIO_LEN,
                                   SEAT_BASE + i * VIRTIO_MMIO_LEN, SEAT_IRQ + i);
        }
    }
    g_free(m->append);
    m->append = g_string_free(line, FALSE);
}

static bool publish_acpi(MicroVm *s, GError **error)
{
    PcMachine *pc = &s->pc;
    MicrovmAcpiConfig config = {
        .cpus = pc->machine.smp.cpus, .max_cpus = pc->machine.smp.max_cpus, .apic_ids = pc->cpus.apic_ids,
        .rtc = pc->rtc != NULL, .serial = s->isa_serial, .ged_irq = GED_IRQ, .seat_base = SEAT_BASE,
        .seat_irq = SEAT_IRQ_ACPI, .oem_id = pc->oem_id ?: "BOCHS ",
        .oem_table_id = pc->oem_table_id ?: "BXPC    ",
    };

    for (unsigned i = 0; i < SEATS; i++) {
        config.seats |= virtio_mmio_is_empty(s->seats[i]) ? 0 : BIT(i);
    }
    return microvm_acpi_publish(&config, pc->fw_cfg, error);
}

static bool tell_firmware(MicroVm *s, GError **error)
{
    PcMachine *pc = &s->pc;
    Machine *m = &pc->machine;

    if (pc->rtc) {
        pc_set_memory_bytes(pc);
    }
    fw_cfg_set_u16(pc->fw_cfg, FW_CFG_NB_CPUS, m->smp.cpus);
    fw_cfg_set_u16(pc->fw_cfg, FW_CFG_MAX_CPUS, m->smp.max_cpus);
    fw_cfg_set_u64(pc->fw_cfg, FW_CFG_RAM_SIZE, m->ram_size);
    fw_cfg_set_u32(pc->fw_cfg, FW_CFG_IRQ0_OVERRIDE, 1);
    if (!acpi_on(s) && m->kernel && s->auto_cmdline) {
        add_seats_to_cmdline(s);
    }
    return pc_add_e820(pc, error) && (!acpi_on(s) || publish_acpi(s, error)) && pc_load_kernel(pc, error) &&
           pc_add_boot_items(pc, error);
}

static void microvm_done(void *opaque)
{
    g_autoptr(GError) error = NULL;

    if (!tell_firmware(opaque, &error)) {
        error_report("%s", error->message);
        exit(1);
    }
}

static bool microvm_build(Machine *m, GError **error)
{
    MicroVm *s = micro(m);
    PcMachine *pc = &s->pc;
    Vm *vm = m->vm;
    IrqPin gsis[PC_GSIS];

    pc->no_loader_rom = !s->option_roms;
    m->no_serial_ports = !s->isa_serial;
    pc_create_gsis(pc, gsis);
    if (s->pic == ON_OFF_AUTO_OFF && kvm_irqchip_mode(vm) == KVM_IRQCHIP_ON) {
        return error_set(error, "pic=off: KVM's own interrupt chips have one; use kernel-irqchip=split");
    }
    if (!create_memory(pc, error) || !x86_cpus_create(&pc->cpus, m, gsis[FERR_IRQ], error) ||
        !create_isa_bus(pc, gsis, error) ||
        !pc_create_interrupt_controllers(pc, s->pic != ON_OFF_AUTO_OFF, error) ||
        !create_timers(s, gsis, error) || !create_seats(s, gsis, error)) {
        return false;
    }
    irq_connect(&s->a20, x86_cpus_a20_pin(&pc->cpus));
    irq_set(&s->a20, true);
    if (acpi_on(s) && !ged_new(vm, MICROVM_GED_EVENTS, MICROVM_GED_REGS, gsis[GED_IRQ], error)) {
        return false;
    }
    pc->fw_cfg = fw_cfg_create(vm, error);
    if (!pc->fw_cfg || !pc_load_firmware(pc, "bios-microvm.bin", true, error)) {
        return false;
    }
    object_move(OBJECT(pc->fw_cfg), OBJECT(m), "fw_cfg");
    machine_add_done_hook(m, microvm_done, s);
    return true;
}

/* clang-format off */
static const PropDef microvm_props[] = {
    PROP_ON_OFF_AUTO("acpi", MicroVm, acpi, ON_OFF_AUTO_AUTO, .help = "Enable ACPI"),
    PROP_ON_OFF_AUTO("pic", MicroVm, pic, ON_OFF_AUTO_AUTO, .help = "Enable i8259 PIC"),
    PROP_ON_OFF_AUTO("pit", MicroVm, pit, ON_OFF_AUTO_AUTO, .help = "Enable i8254 PIT"),
    PROP_ON_OFF_AUTO("rtc", MicroVm, rtc, ON_OFF_AUTO_AUTO, .help = "Enable MC146818 RTC"),
    PROP_BOOL("isa-serial", MicroVm, isa_serial, true, .help = "Set off to disable the instantiation an ISA serial port"),
    PROP_BOOL("x-option-roms", MicroVm, option_roms, true, .help = "Set off to disable loading option ROMs"),
    PROP_BOOL("auto-kernel-cmdline", MicroVm, auto_cmdline, true, .help = "Set off to disable adding virtio-mmio devices to the kernel cmdline"),
    PROP_STR("x-oem-id", MicroVm, pc.oem_id, .help = "Override the default value of field OEMID in ACPI table header"),
    PROP_STR("x-oem-table-id", MicroVm, pc.oem_table_id, .help = "Override the default value of field OEM Table ID in ACPI table header"),
    PROP_END
};
/* clang-format on */

MACHINE_TYPE(microvm, .name = "microvm-machine", .machine = "microvm", .desc = "microvm (i386)",
             .size = sizeof(MicroVm), .props = microvm_props, .max_cpus = 255,
             .default_ram = 128 * MIB, .default_ram_id = "microvm.ram", .default_cpu = "qemu64",
             .default_boot_order = "", .no_floppy = true, .no_cdrom = true, .no_parallel = true,
             .build = microvm_build);
