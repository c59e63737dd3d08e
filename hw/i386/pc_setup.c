/* SPDX-License-Identifier: MIT */
/*
 * What the firmware is told: CMOS bytes and fw_cfg items that SeaBIOS reads.
 */
#include "hw/i386/pc.h"

#include "base/error.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/block/fdc.h"
#include "hw/i386/boot_order.h"
#include "hw/i386/pc_acpi.h"
#include "hw/ide/piix_ide.h"
#include "hw/smbios/smbios.h"
#include "hw/timer/mc146818.h"
#include "target-x86/x86_cpu.h"

/* ---- finding what was plugged ---- */

typedef struct Find {
    const char *type;
    Device *first;
    unsigned count;
} Find;

static void find_device(Object *obj, void *opaque)
{
    Find *f = opaque;

    if (object_is_a(obj, f->type)) {
        f->first = f->first ?: DEVICE(obj);
        f->count++;
    }
    object_foreach_child(obj, find_device, f);
}

static Find find_type(PcMachine *pc, const char *type)
{
    Find f = { .type = type };

    object_foreach_child(OBJECT(pc), find_device, &f);
    return f;
}

/* ---- CMOS ---- */

static void cmos16(PcMachine *pc, unsigned addr, uint64_t value)
{
    mc146818_set_cmos(pc->rtc, addr, value);
    mc146818_set_cmos(pc->rtc, addr + 1, value >> 8);
}

void pc_set_memory_bytes(PcMachine *pc)
{
    uint64_t above_1m = pc->below_4g > MIB ? (pc->below_4g - MIB) / KIB : 0;
    uint64_t above_16m = pc->below_4g > 16 * MIB ? (pc->below_4g - 16 * MIB) / (64 * KIB) : 0;
    uint64_t above_4g = pc->above_4g / (64 * KIB);

    cmos16(pc, 0x15, MIN(pc->below_4g / KIB, 640));
    cmos16(pc, 0x17, MIN(above_1m, 0xffff));
    cmos16(pc, 0x30, MIN(above_1m, 0xffff));
    cmos16(pc, 0x34, MIN(above_16m, 0xffff));
    cmos16(pc, 0x5b, above_4g);
    mc146818_set_cmos(pc->rtc, 0x5d, above_4g >> 16);
    mc146818_set_cmos(pc->rtc, 0x5f, MIN(pc->machine.smp.cpus, 255) - 1);
}

/* Nibbles of 3dh and of 38h's upper half; 38h bit 0 skips the floppy signature check. */
static bool set_boot_bytes(PcMachine *pc, const char *order, GError **error)
{
    uint8_t codes[3] = { 0 };
    unsigned n = 0;

    for (const char *p = order; *p; p++) {
        static const struct { char letter; uint8_t code; } map[] = {
            { 'a', 1 }, { 'b', 1 }, { 'c', 2 }, { 'd', 3 }, { 'n', 4 } };
        uint8_t code = 0;

        for (unsigned i = 0; i < ARRAY_LEN(map); i++) {
            code = map[i].letter == *p ? map[i].code : code;
        }
        if (!code || n >= ARRAY_LEN(codes)) {
            return error_set(error,
                             "-boot order '%s': at most three of a, b (floppy), c (disk), d "
                             "(CD), n (network)",
                             order);
        }
        codes[n++] = code;
    }
    mc146818_set_cmos(pc->rtc, 0x3d, codes[1] << 4 | codes[0]);
    mc146818_set_cmos(pc->rtc, 0x38, codes[2] << 4 | (pc->fd_bootchk ? 0 : 1));
    return true;
}

/* Disk type, geometry and translation of the first two disks, for a BIOS without fw_cfg. */
static void set_disk_bytes(PcMachine *pc)
{
    uint8_t types = 0, translation = 0;

    for (unsigned i = 0; i < 4; i++) {
        const IdeDrive *d = &piix_ide_bus(pc->ide, i / 2)->drives[i % 2];

        if (d->kind != IDE_KIND_DISK) {
            continue;
        }
        translation |= (d->conf->translation == BLK_TRANS_NONE ? 0 : d->conf->translation - 1)
                       << (2 * i);
        if (i < 2) {
            unsigned base = i == 0 ? 0x1b : 0x24;

            types |= i == 0 ? 0xf0 : 0x0f;
            mc146818_set_cmos(pc->rtc, 0x19 + i, 47);
            cmos16(pc, base, d->conf->cyls);
            mc146818_set_cmos(pc->rtc, base + 2, d->conf->heads);
            cmos16(pc, base + 3, 0xffff);
            mc146818_set_cmos(pc->rtc, base + 5, 0xc0 | (d->conf->heads > 8) << 3);
            cmos16(pc, base + 6, d->conf->cyls);
            mc146818_set_cmos(pc->rtc, base + 8, d->conf->secs);
        }
    }
    mc146818_set_cmos(pc->rtc, 0x12, types);
    mc146818_set_cmos(pc->rtc, 0x39, translation);
}

/* Floppy drive types by the CMOS's codes, and the equipment byte: FPU, PS/2 mouse, drives. */
static void set_floppy_bytes(PcMachine *pc)
{
    Device *fdc = find_type(pc, "isa-fdc").first;
    uint8_t types = fdc ? fdc_cmos_type(fdc_drive_type(fdc, 0)) << 4 |
                              fdc_cmos_type(fdc_drive_type(fdc, 1))
                        : 0;
    unsigned drives = !!(types & 0xf0) + !!(types & 0x0f);
    uint8_t equipment = 0x02 | 0x04;

    if (drives) {
        equipment |= 1 | (drives - 1) << 6;
    }
    mc146818_set_cmos(pc->rtc, 0x10, types);
    mc146818_set_cmos(pc->rtc, 0x14, equipment);
}

/* ---- fw_cfg ---- */

static void put_e820(GByteArray *map, uint64_t addr, uint64_t len, uint32_t type)
{
    uint8_t entry[20];

    le64_store(entry, addr);
    le64_store(entry + 8, len);
    le32_store(entry + 16, type);
    g_byte_array_append(map, entry, sizeof(entry));
}

bool pc_add_e820(PcMachine *pc, GError **error)
{
    GByteArray *map = g_byte_array_new();
    size_t len;

    put_e820(map, 0, pc->below_4g, 1);
    if (pc->above_4g) {
        put_e820(map, 4 * GIB, pc->above_4g, 1);
    }
    len = map->len;
    return fw_cfg_set_file(pc->fw_cfg, "etc/e820", g_byte_array_free(map, FALSE), len, error);
}

static bool add_u64_file(PcMachine *pc, const char *name, uint64_t value, GError **error)
{
    uint64_t *p = g_new(uint64_t, 1);

    *p = GUINT64_TO_LE(value);
    return fw_cfg_set_file(pc->fw_cfg, name, p, sizeof(*p), error);
}

/* S3 and S4 as the SSDT-free SeaBIOS wants to know them: one byte a state. */
static bool add_sleep_states(PcMachine *pc, GError **error)
{
    uint8_t states[6] = { 128, 0, 0, 129, 128, 128 }, s4_value;
    bool s3, s4;

    piix4_pm_sleep_states(pc->pm, &s3, &s4, &s4_value);
    states[3] = 1 | s3 << 7;
    states[4] = s4_value | s4 << 7;
    return fw_cfg_set_file(pc->fw_cfg, "etc/system-states", g_memdup2(states, 6), 6, error);
}

enum { BMP_BITS = 28, SPLASH_MAX = 16 * MIB };

/* -boot splash=: SeaBIOS shows it behind its menu. */
static bool add_splash(PcMachine *pc, const char *path, GError **error)
{
    g_autofree char *data = NULL;
    const char *name = NULL;
    gsize len;

    if (!g_file_get_contents(path, &data, &len, error)) {
        g_prefix_error(error, "-boot splash: ");
        return false;
    }
    if (len > 2 && memcmp(data, "\xff\xd8\xff", 3) == 0) {
        name = "bootsplash.jpg";
    } else if (len > BMP_BITS + 2 && memcmp(data, "BM", 2) == 0 && data[BMP_BITS] == 24) {
        name = "bootsplash.bmp";
    }
    if (!name || len > SPLASH_MAX) {
        return error_set(error, "-boot splash: '%s' is no JPEG and no BMP of 24 bits a pixel, of 16 MiB "
                         "at most", path);
    }
    return fw_cfg_set_file(pc->fw_cfg, name, g_steal_pointer(&data), len, error);
}

bool pc_add_boot_items(PcMachine *pc, GError **error)
{
    Machine *m = &pc->machine;
    g_autoptr(GError) failure = NULL;
    uint32_t *fail_wait;      /* ms, or -1: for ever */
    char *list;
    size_t len;

    fw_cfg_set_u16(pc->fw_cfg, FW_CFG_BOOT_MENU, m->boot_menu);
    if (m->boot_splash_time >= 0) {
        uint16_t *ms = g_new(uint16_t, 1);

        *ms = GUINT16_TO_LE(m->boot_splash_time);
        if (!fw_cfg_set_file(pc->fw_cfg, "etc/boot-menu-wait", ms, 2, error)) {
            return false;
        }
    }
    if (m->boot_splash && !add_splash(pc, m->boot_splash, error)) {
        return false;
    }
    fail_wait = g_new(uint32_t, 1);
    *fail_wait = GUINT32_TO_LE(m->boot_reboot_timeout);
    if (!fw_cfg_set_file(pc->fw_cfg, "etc/boot-fail-wait", fail_wait, 4, error)) {
        return false;
    }
    list = boot_order_list(m->vm, m->boot_strict, &len, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    return !list || fw_cfg_set_file(pc->fw_cfg, "bootorder", list, len, error);
}

static bool add_acpi(PcMachine *pc, GError **error)
{
    PcAcpiConfig config = {
        .cpus = pc->machine.smp.cpus,
        .max_cpus = pc->machine.smp.max_cpus,
        .apic_ids = pc->cpus.apic_ids,
        .hpet = pc->hpet != NULL,
        .has_floppy = find_type(pc, "isa-fdc").first != NULL,
        .serials = find_type(pc, "isa-serial").count,
        .parallels = find_type(pc, "isa-parallel").count,
        .pci_hole_start = pc->below_4g,
        .pci_hole64_start = align_up(4 * GIB + pc->above_4g, GIB),
        .oem_id = pc->oem_id ?: "BOCHS ",
        .oem_table_id = pc->oem_table_id ?: "BXPC    ",
    };

    config.pci_hole64_end = config.pci_hole64_start + 2 * GIB - 1;
    piix4_pm_sleep_states(pc->pm, &config.s3, &config.s4, &config.s4_value);
    return !pc->acpi || pc_acpi_publish(&config, pc->fw_cfg, error);
}

static bool add_smbios(PcMachine *pc, GError **error)
{
    const X86Cpu *cpu = x86_cpu_device(g_ptr_array_index(pc->machine.vm->cpus, 0))->x86;
    SmbiosConfig config = {
        .product = machine_type(&pc->machine)->desc,
        .version = machine_type(&pc->machine)->machine,
        .cpus = pc->machine.smp.cpus,
        .sockets = MAX(pc->machine.smp.sockets, 1),
        .cpuid_version = cpu->cpuid_version,
        .cpuid_features = cpu->features[0],
        .ram_below_4g = pc->below_4g,
        .ram_above_4g = pc->above_4g,
    };

    return smbios_publish(&config, pc->machine.vm, pc->fw_cfg, error);
}

/* ---- all of it ---- */

static void boot_once_over(void *opaque)
{
    PcMachine *pc = opaque;

    /* The first reset is the machine's start: it boots `once`; later ones the usual order. */
    if (pc->started) {
        set_boot_bytes(pc, pc->machine.boot_order ?: machine_type(&pc->machine)->default_boot_order,
                       NULL);
    }
    pc->started = true;
}

bool pc_tell_firmware(PcMachine *pc, GError **error)
{
    Machine *m = &pc->machine;
    const char *order = m->boot_order ?: machine_type(m)->default_boot_order;
    g_autofree uint64_t *numa = g_new0(uint64_t, 1 + m->smp.max_cpus);

    pc_set_memory_bytes(pc);
    set_disk_bytes(pc);
    set_floppy_bytes(pc);
    if (!set_boot_bytes(pc, m->boot_once ?: order, error)) {
        return false;
    }
    if (m->boot_once) {
        vm_add_reset_hook(m->vm, boot_once_over, pc);
    }
    fw_cfg_set_u16(pc->fw_cfg, FW_CFG_NB_CPUS, m->smp.cpus);
    fw_cfg_set_u16(pc->fw_cfg, FW_CFG_MAX_CPUS, m->smp.max_cpus);
    fw_cfg_set_u64(pc->fw_cfg, FW_CFG_RAM_SIZE, m->ram_size);
    fw_cfg_set_u16(pc->fw_cfg, FW_CFG_NOGRAPHIC, !m->graphics);
    fw_cfg_set_u32(pc->fw_cfg, FW_CFG_IRQ0_OVERRIDE, 1);
    fw_cfg_set_bytes(pc->fw_cfg, FW_CFG_NUMA, numa, 8 * (1 + m->smp.max_cpus));
    return pc_add_e820(pc, error) &&
           add_u64_file(pc, "etc/reserved-memory-end", align_up(4 * GIB + pc->above_4g, GIB),
                        error) &&
           add_sleep_states(pc, error) && pc_add_boot_items(pc, error) && add_acpi(pc, error) &&
           add_smbios(pc, error);
}
