/* SPDX-License-Identifier: MIT */
/*
 * The pc machine: i440FX with PIIX3 and PIIX4 PM, as QEMU's pc-i440fx machines have it.
 * Thread rule: machine lock.
 */
#ifndef HW_I386_PC_H
#define HW_I386_PC_H

#include "hw/fw_cfg/fw_cfg.h"
#include "hw/i386/x86_cpus.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"
#include "hw/timer/mc146818.h"

enum { PC_GSIS = 24 };

typedef struct PcMachine {
    Machine machine;
    X86Cpus cpus;
    struct GsiRouter *router;
    IoapicOut ioapic_out;
    IrqOr a20;
    MemoryRegion ram_below_4g, ram_above_4g;     /* aliases of machine->ram */
    uint64_t below_4g, above_4g;                 /* bytes */
    MemoryRegion bios, bios_isa;                 /* ROM below 4 GiB, its end below 1 MiB */
    char *bios_image;         /* what a reset restores; NULL: it cannot change */
    MemoryRegion option_roms;                    /* c0000..dffff until shadowed */
    MemoryRegion port80, portf0;
    PciBus *pci;
    IsaBus *isa;
    Device *pic, *ioapic, *rtc, *hpet;
    PciDevice *ide, *pm;
    FwCfg *fw_cfg;
    bool started;             /* the first reset is over */
    bool no_loader_rom;       /* the firmware loads kernels by itself */
    /* -machine properties */
    bool acpi, hpet_on, pit_on, pic_on, smbus, sata, i8042_on, fd_bootchk;
    OnOffAuto smm, vmport;
    uint64_t max_ram_below_4g;
    char *oem_id, *oem_table_id;
} PcMachine;

static inline PcMachine *pc_machine(Machine *m)
{
    return (PcMachine *)(void *)m;
}

/* hw/i386/pc_firmware.c: the BIOS image (STANDARD without -bios), in ROM with space for option ROMs or
 * in RAM. */
bool pc_load_firmware(PcMachine *pc, const char *standard, bool in_ram, GError **error);
/* hw/i386/pc_setup.c: what firmware reads: CMOS, fw_cfg items, boot order, ACPI, SMBIOS.  Called
 * when all devices are there. */
bool pc_tell_firmware(PcMachine *pc, GError **error);
/* The parts of it that other boards share. */
void pc_set_memory_bytes(PcMachine *pc);
bool pc_add_e820(PcMachine *pc, GError **error);
bool pc_add_boot_items(PcMachine *pc, GError **error);
/* hw/i386/pc.c, likewise.  Interrupt lines; the chips behind them (with pc->isa there); machine->ram, of which at
 * most LIMIT bytes go below 4 GiB; what -rtc says. */
void pc_create_gsis(PcMachine *pc, IrqPin gsis[PC_GSIS]);
bool pc_create_interrupt_controllers(PcMachine *pc, bool with_pic, GError **error);
bool pc_map_ram(PcMachine *pc, uint64_t limit);
bool pc_rtc_options(PcMachine *pc, RtcOptions *options, GError **error);
/* hw/i386/linux_boot.c: -kernel, -initrd, -append by fw_cfg and our option ROMs. */
bool pc_load_kernel(PcMachine *pc, GError **error);

#endif
