/* SPDX-License-Identifier: MIT */
/*
 * The BIOS image: mapped so that it ends at 4 GiB, its last 128 KiB also below 1 MiB, where the
 * host bridge shadows it.  Without such a bridge it is in RAM, made anew by each reset.
 */
#include <errno.h>

#include "base/error.h"
#include "hw/i386/pc.h"
#include "roms/firmware.h"

enum { BIOS_MAX = 16 * MIB, ISA_BIOS_MAX = 128 * KIB, BIOS_ALIGN = 64 * KIB,
       OPTION_ROM_BASE = 0xc0000, OPTION_ROM_LEN = 0x20000 };

static bool check_size(const char *path, uint64_t len, GError **error)
{
    if (len == 0 || len % BIOS_ALIGN || len > BIOS_MAX) {
        return error_set(error,
                         "firmware '%s' has %" PRIu64 " bytes: a BIOS image is a multiple of 64 "
                         "KiB, at most 16 MiB",
                         path, len);
    }
    return true;
}

static void restore_image(void *opaque)
{
    PcMachine *pc = opaque;

    memcpy(memory_region_ram_ptr(&pc->bios), pc->bios_image, pc->bios.size);
    memory_set_dirty(&pc->bios, 0, pc->bios.size);
}

bool pc_load_firmware(PcMachine *pc, const char *standard, bool in_ram, GError **error)
{
    Machine *m = &pc->machine;
    g_autofree char *path = firmware_find(m->firmware ?: standard, error);
    g_autofree char *image = NULL;
    MemoryRegion *isa_memory = pc->isa->memory;
    uint64_t isa_len;
    gsize len;

    if (!path) {
        return false;
    }
    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        return error_set(error, "firmware '%s' is a directory: give the path of an image", path);
    }
    if (!g_file_get_contents(path, &image, &len, error) || !check_size(path, len, error) ||
        !(in_ram ? memory_region_init_ram : memory_region_init_rom)(&pc->bios, OBJECT(m), "pc.bios", len,
                                                                    error)) {
        return false;
    }
    memcpy(memory_region_ram_ptr(&pc->bios), image, len);
    isa_len = MIN(len, ISA_BIOS_MAX);
    memory_region_init_alias(&pc->bios_isa, OBJECT(m), "isa-bios", &pc->bios, len - isa_len,
                             isa_len);
    memory_region_add_overlap(isa_memory, MIB - isa_len, &pc->bios_isa, 1);
    memory_region_add(isa_memory, 4 * GIB - len, &pc->bios);
    if (in_ram) {
        pc->bios_image = g_steal_pointer(&image);
        vm_add_reset_hook(m->vm, restore_image, pc);
        return true;
    }
    if (!memory_region_init_ram(&pc->option_roms, OBJECT(m), "pc.rom", OPTION_ROM_LEN, error)) {
        return false;
    }
    memory_region_set_readonly(&pc->option_roms, true);
    memory_region_add_overlap(isa_memory, OPTION_ROM_BASE, &pc->option_roms, 1);
    return true;
}
