/* SPDX-License-Identifier: MIT */
/*
 * -kernel with a PVH entry: an ELF image with Xen's note PHYS32_ENTRY, such as Linux's vmlinux;
 * -initrd is its one module.
 * Spec: Xen "x86/HVM direct boot ABI".  The memory map and the RSDP are filled in by roms/pvh.S.
 */
#include "hw/i386/kernel_image.h"

#include "base/error.h"

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18 };
enum { START_MAGIC = 0, START_VERSION = 4, START_NR_MODULES = 12, START_MODULES = 16,
       START_CMDLINE = 24, START_MEMMAP = 40, START_BYTES = 56, MODULE_BYTES = 32 };
enum { MAGIC = 0x336ec578, VERSION = 1 };

/* NULL error: the caller only asks whether there is one. */
static bool find_entry(const ElfImage *elf, uint32_t *entry)
{
    size_t len;
    const uint8_t *note = elf_find_note(elf, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &len);

    if (!note || (len != 4 && len != 8)) {
        return false;
    }
    *entry = le32_load(note);
    return true;
}

bool pvh_probe(const uint8_t *image, size_t len)
{
    ElfImage elf;
    uint32_t entry;

    return elf_probe(image, len) && elf_parse(&elf, "", image, len, NULL) &&
           find_entry(&elf, &entry);
}

bool pvh_load(PcMachine *pc, char **file, size_t len, GError **error)
{
    const uint8_t *image = (const uint8_t *)*file;
    Machine *m = &pc->machine;
    g_autoptr(KernelCopies) c = kernel_copies_new(pc);
    g_autoptr(GByteArray) info = g_byte_array_new();
    uint8_t start[START_BYTES + MODULE_BYTES] = { 0 };
    uint32_t entry = 0, cmdline;
    ElfImage elf;

    if (!elf_parse(&elf, m->kernel, image, len, error) || !kernel_copies_elf(c, &elf, error)) {
        return false;
    }
    find_entry(&elf, &entry);
    g_byte_array_append(info, start, sizeof(start));
    cmdline = kernel_info_text(info, m->append ?: "");
    if (m->initrd) {
        g_autofree char *what = g_strdup_printf("-initrd '%s'", m->initrd), *initrd = NULL;
        uint32_t addr;
        gsize initrd_len;

        if (!kernel_read_file("initrd", m->initrd, &initrd, &initrd_len, error) ||
            !kernel_copies_append(c, what, initrd, initrd_len, &addr, error)) {
            return false;
        }
        le32_store(info->data + START_NR_MODULES, 1);
        le32_store(info->data + START_MODULES, KERNEL_INFO_ADDR + START_BYTES);
        le32_store(info->data + START_BYTES, addr);
        le32_store(info->data + START_BYTES + 8, initrd_len);
    }
    le32_store(info->data + START_MAGIC, MAGIC);
    le32_store(info->data + START_VERSION, VERSION);
    le32_store(info->data + START_CMDLINE, cmdline);
    le32_store(info->data + START_MEMMAP, KERNEL_MAP_ADDR);
    return kernel_copies_publish(c, entry, info, error);
}
