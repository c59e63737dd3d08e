/* SPDX-License-Identifier: MIT */
/*
 * Option ROMs of PCI devices: an image file behind the expansion ROM BAR.  [PCI3.0 6.3]
 * An image made for another vendor or device id of the same card gets ours patched in, so that the
 * BIOS accepts it.
 */
#include <sys/stat.h>

#include "hw/pci/pci_int.h"
#include "roms/firmware.h"

enum { ROM_SIZE_MAX = 64 * MIB };

/* The PCIR structure's ids, and the checksum they go into. */
static void patch_ids(PciDevice *dev, uint8_t *rom, size_t len)
{
    uint16_t pcir, vendor = le16_load(dev->config + PCI_VENDOR_ID),
                   device = le16_load(dev->config + PCI_DEVICE_ID);
    uint8_t delta = 0;

    if (len < 0x1a || le16_load(rom) != 0xaa55) {
        return;
    }
    pcir = le16_load(rom + 0x18);
    if (pcir + 8u > len || memcmp(rom + pcir, "PCIR", 4)) {
        return;
    }
    for (unsigned i = 4; i < 8; i++) {
        delta += rom[pcir + i];
    }
    le16_store(rom + pcir + 4, vendor);
    le16_store(rom + pcir + 6, device);
    for (unsigned i = 4; i < 8; i++) {
        delta -= rom[pcir + i];
    }
    rom[6] += delta;
}

bool pci_rom_add(PciDevice *dev, GError **error)
{
    const char *name = dev->romfile ?: pci_info(dev)->romfile;
    g_autofree char *path = NULL, *contents = NULL, *region_name = NULL;
    gsize len;
    uint64_t size;

    if (!name || !*name || !dev->rombar) {
        return true;
    }
    if (!(path = firmware_find(name, error)) ||
        !g_file_get_contents(path, &contents, &len, error)) {
        return false;
    }
    if (!len || len > ROM_SIZE_MAX) {
        error_set(error, "romfile '%s' has %zu bytes: 1 to %u are allowed", path, (size_t)len,
                  (unsigned)ROM_SIZE_MAX);
        return false;
    }
    for (size = 2048; size < len; size *= 2) {
    }
    if (dev->romsize != UINT32_MAX) {
        if (!is_pow2(dev->romsize) || dev->romsize < len) {
            error_set(error, "romsize %u of '%s' must be a power of two, at least %zu",
                      dev->romsize, path, (size_t)len);
            return false;
        }
        size = dev->romsize;
    }
    dev->romsize = size;
    region_name = g_strdup_printf("%s.rom", dev->dev.obj.type->name);
    if (!memory_region_init_rom(&dev->rom, OBJECT(dev), g_intern_string(region_name), size,
                                error)) {
        return false;
    }
    memcpy(memory_region_ram_ptr(&dev->rom), contents, len);
    if (!dev->romfile) {
        patch_ids(dev, memory_region_ram_ptr(&dev->rom), len);
    }
    dev->has_rom = true;
    pci_register_bar(dev, PCI_ROM_BAR, 0, &dev->rom);
    return true;
}

void pci_rom_remove(PciDevice *dev)
{
    if (dev->has_rom) {
        if (dev->bars[PCI_ROM_BAR].addr != PCI_BAR_UNMAPPED) {
            memory_region_remove(dev->bars[PCI_ROM_BAR].space, &dev->rom);
        }
        dev->bars[PCI_ROM_BAR].mr = NULL;
        memory_region_clear(&dev->rom);
        dev->has_rom = false;
    }
}
