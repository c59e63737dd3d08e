/* SPDX-License-Identifier: MIT */
/*
 * The board: which chips there are and how they are wired.
 * Interrupts: GSI 0-15 end at the 8259 pair and at the I/O APIC (which has GSI 0 at its pin 2),
 * 16-23 at the I/O APIC only.  Memory: RAM from 0 to below_4g, the rest from 4 GiB on, PCI in between.
 */
#include "hw/i386/pc.h"

#include <stdlib.h>

#include "accel/kvm/irqchip.h"
#include "base/error.h"
#include "base/log.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/audio/pcspk.h"
#include "hw/dma/i8237.h"
#include "hw/ide/piix_ide.h"
#include "hw/input/i8042.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/piix3.h"
#include "hw/misc/port92.h"
#include "hw/misc/vmport.h"
#include "hw/pci-host/i440fx.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"

enum { PIIX_SLOT = 1, ISA_IRQ_FPU = 13, SCI_IRQ = 9, HPET_INTCAP = BIT(2) };

/* ---- interrupts ---- */

typedef struct GsiRouter {
    IrqPin pic[16], ioapic[IOAPIC_PINS];
    Vm *in_kernel;                /* KVM has the chips behind the lines; else NULL */
} GsiRouter;

static void gsi_changed(void *opaque, unsigned gsi, bool level)
{
    const GsiRouter *r = opaque;

    if (gsi < 16 && gsi != 2 && r->pic[gsi].handler) {
        r->pic[gsi].handler(r->pic[gsi].opaque, r->pic[gsi].n, level);
    }
    if (gsi < IOAPIC_PINS && r->ioapic[gsi].handler) {
        r->ioapic[gsi].handler(r->ioapic[gsi].opaque, r->ioapic[gsi].n, level);
    }
}

static void ioapic_send(void *opaque, uint64_t address, uint32_t data)
{
    apic_bus_send_msi(&((PcMachine *)opaque)->cpus.apics, address, data);
}

static int ioapic_ack_pic(void *opaque)
{
    return i8259_ack(((PcMachine *)opaque)->pic);
}

static void apic_eoi(void *opaque, uint8_t vector)
{
    ioapic_eoi(((PcMachine *)opaque)->ioapic, vector);
}

G_STATIC_ASSERT((int)KVM_IOAPIC_PINS == (int)IOAPIC_PINS);

/* kernel-irqchip=split: KVM's local APICs tell the EOI of messages that they know to be level. */
static void ioapic_routes(void *opaque, const IoapicMessage messages[IOAPIC_PINS])
{
    KvmIoapicRoute routes[KVM_IOAPIC_PINS];

    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        routes[i] = (KvmIoapicRoute){ messages[i].address != 0, messages[i].address,
                                      messages[i].data };
    }
    kvm_ioapic_set_routes(((PcMachine *)opaque)->machine.vm, routes);
}

void pc_create_gsis(PcMachine *pc, IrqPin gsis[PC_GSIS])
{
    pc->router = g_new0(GsiRouter, 1);
    for (unsigned i = 0; i < PC_GSIS; i++) {
        gsis[i] = (IrqPin){ .handler = gsi_changed, .opaque = pc->router, .n = i };
    }
}

/* The pair of 8259s and the I/O APIC behind the router. */
bool pc_create_interrupt_controllers(PcMachine *pc, bool with_pic, GError **error)
{
    GsiRouter *router = pc->router;
    KvmIrqchip mode = kvm_irqchip_mode(pc->machine.vm);
    bool in_kernel = mode == KVM_IRQCHIP_ON;

    if (with_pic) {
        pc->pic = i8259_pair_new(pc->isa, in_kernel, apic_bus_pic_pin(&pc->cpus.apics), router->pic, error);
        if (!pc->pic) {
            return false;
        }
    }
    pc->ioapic_out = (IoapicOut){ ioapic_send, pc->pic ? ioapic_ack_pic : NULL, pc,
                                  mode == KVM_IRQCHIP_SPLIT ? ioapic_routes : NULL };
    pc->ioapic = ioapic_new(pc->machine.vm, in_kernel, &pc->ioapic_out, error);
    if (!pc->ioapic) {
        return false;
    }
    if (in_kernel) {
        router->in_kernel = pc->machine.vm;
        return true;
    }
    if (mode == KVM_IRQCHIP_SPLIT) {
        kvm_ioapic_set_eoi_hook(pc->machine.vm, apic_eoi, pc);
    }
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        router->ioapic[i] = device_input(pc->ioapic, i);
    }
    if (pc->pic) {
        apic_bus_set_pic(&pc->cpus.apics, pc->pic);
    }
    apic_bus_set_eoi_hook(&pc->cpus.apics, apic_eoi, pc);
    return true;
}

/* The tick of IRQ 0 is in a controller and no CPU has taken it.  Under qtest nobody ever does, and
 * KVM's controllers do not tell. */
static bool tick_waits(void *opaque)
{
    PcMachine *pc = opaque;
    int vector = ioapic_edge_vector(pc->ioapic, 2);

    if (strcmp(accel_type(pc->machine.vm->accel)->accel, "qtest") == 0 ||
        kvm_irqchip_mode(pc->machine.vm) != KVM_IRQCHIP_OFF) {
        return false;
    }
    if (vector >= 0 && apic_bus_waits(&pc->cpus.apics, (uint8_t)vector)) {
        return true;
    }
    return i8259_waits(pc->pic, 0) && apic_bus_takes_pic(&pc->cpus.apics);
}

/* ---- memory ---- */

/* QEMU's split: 3.5 GiB below where all fits, else 3 GiB; max-ram-below-4g lowers it. */
static bool create_memory(PcMachine *pc, GError **error)
{
    Machine *m = &pc->machine;
    uint64_t limit = m->ram_size >= 0xe0000000 ? 0xc0000000 : 0xe0000000;

    if (m->ram_size < MIB) {
        return error_set(error, "-m %" PRIu64 " KiB is too little: a PC needs at least 1 MiB",
                         m->ram_size / KIB);
    }
    if (pc->max_ram_below_4g) {
        if (pc->max_ram_below_4g < MIB || pc->max_ram_below_4g > 0xe0000000) {
            return error_set(error, "max-ram-below-4g=%" PRIu64 " must be between 1 MiB and "
                             "3.5 GiB", pc->max_ram_below_4g);
        }
        limit = MIN(limit, pc->max_ram_below_4g);
    }
    if (!machine_create_ram(m, error)) {
        return false;
    }
    return pc_map_ram(pc, limit);
}

bool pc_map_ram(PcMachine *pc, uint64_t limit)
{
    Machine *m = &pc->machine;
    Vm *vm = m->vm;

    pc->below_4g = MIN(m->ram_size, limit);
    pc->above_4g = m->ram_size - pc->below_4g;
    memory_region_init_alias(&pc->ram_below_4g, OBJECT(m), "ram-below-4g", m->ram, 0,
                             pc->below_4g);
    memory_region_add(&vm->system_memory, 0, &pc->ram_below_4g);
    if (pc->above_4g) {
        memory_region_init_alias(&pc->ram_above_4g, OBJECT(m), "ram-above-4g", m->ram,
                                 pc->below_4g, pc->above_4g);
        memory_region_add(&vm->system_memory, 4 * GIB, &pc->ram_above_4g);
    }
    return true;
}

/* ---- ports without a chip ---- */

static uint64_t ones_read(void *opaque, uint64_t offset, unsigned size)
{
    return UINT64_MAX;
}

static void ignore_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

/* F0h: clears the coprocessor's interrupt. */
static void portf0_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    IrqPin pin = ((PcMachine *)opaque)->cpus.ferr;

    pin.handler(pin.opaque, pin.n, false);
}

static const MmioOps port80_ops = { ones_read, ignore_write, .valid_max = 1, .impl_max = 1 };
static const MmioOps portf0_ops = { ones_read, portf0_write, .valid_max = 1, .impl_max = 1 };

static void create_loose_ports(PcMachine *pc)
{
    Vm *vm = pc->machine.vm;

    memory_region_init_io(&pc->port80, OBJECT(pc), "ioport80", &port80_ops, pc, 1);
    memory_region_add(&vm->system_io, 0x80, &pc->port80);
    memory_region_init_io(&pc->portf0, OBJECT(pc), "ioportF0", &portf0_ops, pc, 1);
    memory_region_add(&vm->system_io, 0xf0, &pc->portf0);
}

/* ---- ISA devices that are always there ---- */

bool pc_rtc_options(PcMachine *pc, RtcOptions *rtc, GError **error)
{
    Vm *vm = pc->machine.vm;

    *rtc = (RtcOptions){ .base = RTC_BASE_UTC };
    if (pc->machine.rtc_base && !rtc_parse_base(pc->machine.rtc_base, rtc, error)) {
        return false;
    }
    rtc->clock = !g_strcmp0(pc->machine.rtc_clock, "vm")   ? vm->clock
                 : !g_strcmp0(pc->machine.rtc_clock, "rt") ? vm->realtime_clock
                                                           : vm->host_clock;
    rtc->slew = pc->machine.rtc_slew;
    return true;
}

static bool create_timers(PcMachine *pc, const IrqPin *gsis, GError **error)
{
    Vm *vm = pc->machine.vm;
    IrqPin irq8 = gsis[8];
    RtcOptions rtc;
    Device *pit = NULL;

    if (!pc_rtc_options(pc, &rtc, error)) {
        return false;
    }
    if (pc->hpet_on) {
        pc->hpet = hpet_new(vm, HPET_INTCAP, error);
        if (!pc->hpet) {
            return false;
        }
        hpet_set_tick_query(pc->hpet, tick_waits, pc);
        for (unsigned i = 0; i < PC_GSIS; i++) {
            hpet_connect_gsi(pc->hpet, i, gsis[i]);
        }
        irq8 = hpet_rtc_pin(pc->hpet);
    }
    pc->rtc = mc146818_new(pc->isa, &rtc, irq8, error);
    if (!pc->rtc) {
        return false;
    }
    if (pc->pit_on) {
        pit = i8254_new(pc->isa, kvm_irqchip_mode(vm) == KVM_IRQCHIP_ON, gsis[0], error);
        if (!pit || !pcspk_new(pc->isa, pit, error)) {
            return false;
        }
        i8254_set_tick_query(pit, tick_waits, pc);
        if (pc->hpet) {
            hpet_connect_pit(pc->hpet, device_input(pit, 0));
        }
    }
    return true;
}

/* ---- the vmport's way to the CPU ---- */

/* KVM has the registers until they are asked for; its own IN then completes on top of ours. */
static X86Cpu *calling_cpu(Cpu *cpu)
{
    const AccelType *accel = accel_type(cpu->dev.vm->accel);

    if (accel->cpu_get_state) {
        accel->cpu_get_state(cpu);
    }
    return x86_cpu_device(cpu)->x86;
}

static const struct { unsigned reg; size_t offset; } vmport_regs[] = {
    { R_RAX, offsetof(VmportRegs, eax) }, { R_RBX, offsetof(VmportRegs, ebx) },
    { R_RCX, offsetof(VmportRegs, ecx) }, { R_RDX, offsetof(VmportRegs, edx) },
    { R_RSI, offsetof(VmportRegs, esi) }, { R_RDI, offsetof(VmportRegs, edi) },
};

static bool vmport_get(void *opaque, VmportRegs *regs)
{
    Cpu *cpu = cpu_current();
    X86Cpu *x86 = cpu ? calling_cpu(cpu) : NULL;

    for (unsigned i = 0; x86 && i < ARRAY_LEN(vmport_regs); i++) {
        *(uint32_t *)((char *)regs + vmport_regs[i].offset) = (uint32_t)x86->gpr[vmport_regs[i].reg];
    }
    return x86;
}

static void vmport_put(void *opaque, const VmportRegs *before, const VmportRegs *after)
{
    X86Cpu *x86 = x86_cpu_device(cpu_current())->x86;

    for (unsigned i = 0; i < ARRAY_LEN(vmport_regs); i++) {
        uint32_t old = *(const uint32_t *)((const char *)before + vmport_regs[i].offset);
        uint32_t new = *(const uint32_t *)((const char *)after + vmport_regs[i].offset);

        if (new != old) {
            x86->gpr[vmport_regs[i].reg] = new;
        }
    }
}

static bool vmport_has_x2apic(void *opaque)
{
    return x86_has(x86_cpu_device(cpu_current())->x86, X86_FEAT(1_ECX, 21));
}

static bool create_input(PcMachine *pc, GError **error)
{
    const VmportCpu host = { vmport_get, vmport_put, vmport_has_x2apic, pc,
                             pc->machine.ram_size };
    Device *i8042;

    if (!pc->i8042_on) {
        if (pc->vmport == ON_OFF_AUTO_ON) {
            return error_set(error, "vmport=on needs the keyboard controller: not with i8042=off");
        }
        return true;
    }
    i8042 = i8042_new(pc->isa, irq_or_pin(&pc->a20, 0), error);
    return i8042 && (pc->vmport == ON_OFF_AUTO_OFF || (vmport_new(pc->isa, &host, error) &&
                                                       vmmouse_new(pc->isa, i8042, error)));
}

static bool create_isa_devices(PcMachine *pc, const IrqPin *gsis, GError **error)
{
    /* Address line 20 passes while either gate is open. */
    irq_connect(&pc->a20.out, x86_cpus_a20_pin(&pc->cpus));
    return create_timers(pc, gsis, error) && i8237_pair_new(pc->isa, error) &&
           create_input(pc, error) &&
           device_create(pc->machine.vm, "isa-fdc", &pc->isa->bus, error, NULL) &&
           port92_new(pc->isa, irq_or_pin(&pc->a20, 1), error);
}

/* ---- the board ---- */

static bool smm_on(const PcMachine *pc)
{
    return pc->smm != ON_OFF_AUTO_OFF;
}

static void pc_done(void *opaque)
{
    PcMachine *pc = opaque;
    g_autoptr(GError) error = NULL;

    if (!pc_tell_firmware(pc, &error)) {
        error_report("%s", error->message);
        exit(1);
    }
}

static bool pc_build(Machine *m, GError **error)
{
    PcMachine *pc = pc_machine(m);
    Vm *vm = m->vm;
    IrqPin gsis[PC_GSIS];

    pc_create_gsis(pc, gsis);
    if (!create_memory(pc, error)) {
        return false;
    }
    /* Where SMM sees memory is settled before the CPUs look at it. */
    pc->pci = i440fx_create(vm, m->ram, smm_on(pc), error);
    if (!pc->pci || !x86_cpus_create(&pc->cpus, m, gsis[ISA_IRQ_FPU], error)) {
        return false;
    }
    pc->isa = piix3_create(pc->pci, PCI_DEVFN(PIIX_SLOT, 0), gsis, error);
    if (!pc->isa || !pc_create_interrupt_controllers(pc, true, error) ||
        !create_isa_devices(pc, gsis, error)) {
        return false;
    }
    pc->ide = piix_ide_create(pc->pci, PCI_DEVFN(PIIX_SLOT, 1), gsis[14], gsis[15], error);
    pc->pm = pc->ide ? piix4_pm_create(pc->pci, PCI_DEVFN(PIIX_SLOT, 3), smm_on(pc),
                                       gsis[SCI_IRQ], x86_cpus_smi_pin(&pc->cpus), error)
                     : NULL;
    if (!pc->pm) {
        return false;
    }
    create_loose_ports(pc);
    object_move(OBJECT(pc->pci->bus.owner), OBJECT(m), "i440fx");
    object_move(OBJECT(pc->ioapic), OBJECT(pc->pci->bus.owner), "ioapic");
    m->main_bus = &pc->pci->bus;
    pc->fw_cfg = fw_cfg_create(vm, error);
    if (pc->fw_cfg) {
        object_move(OBJECT(pc->fw_cfg), OBJECT(m), "fw_cfg");
    }
    if (!pc->fw_cfg || !pc_load_firmware(pc, "bios-256k.bin", false, error) || !pc_load_kernel(pc, error)) {
        return false;
    }
    machine_add_done_hook(m, pc_done, pc);
    return true;
}

/* ---- types ---- */

static const PropDef pc_props[] = {
    PROP_BOOL("acpi", PcMachine, acpi, true, .help = "Enable ACPI"),
    PROP_BOOL("hpet", PcMachine, hpet_on, true),
    PROP_BOOL("pit", PcMachine, pit_on, true),
    PROP_BOOL("i8042", PcMachine, i8042_on, true),
    PROP_BOOL("fd-bootchk", PcMachine, fd_bootchk, true),
    PROP_ON_OFF_AUTO("vmport", PcMachine, vmport, ON_OFF_AUTO_AUTO,
                     .help = "Enable vmport (pc & q35)"),
    PROP_ON_OFF_AUTO("smm", PcMachine, smm, ON_OFF_AUTO_AUTO, .help = "Enable SMM"),
    PROP_SIZE("max-ram-below-4g", PcMachine, max_ram_below_4g, 0,
              .help = "Maximum ram below the 4G boundary (32bit boundary)"),
    PROP_STR("x-oem-id", PcMachine, oem_id,
             .help = "Override the default value of field OEMID in ACPI table header"),
    PROP_STR("x-oem-table-id", PcMachine, oem_table_id,
             .help = "Override the default value of field OEM Table ID in ACPI table header"),
    PROP_END
};

static const MachineType pc_base = {
    .name = "generic-pc-machine", .abstract = true, .size = sizeof(PcMachine), .props = pc_props,
};
TYPE_ROW(pc_base, &pc_base, "machine");

MACHINE_TYPE(pc_i440fx_7_2, .name = "pc-i440fx-7.2-machine", .parent = "generic-pc-machine",
             .machine = "pc-i440fx-7.2", .alias = "pc", .is_default = true,
             .desc = "Standard PC (i440FX + PIIX, 1996)", .max_cpus = 255,
             .default_ram = 128 * MIB, .default_ram_id = "pc.ram", .default_cpu = "qemu64",
             .default_boot_order = "cad", .default_display = "std", .units_per_default_bus = 2,
             .hotpluggable_cpus = true, .build = pc_build);
