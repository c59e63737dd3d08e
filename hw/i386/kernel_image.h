/* SPDX-License-Identifier: MIT */
/*
 * What the loaders of -kernel share: files, ELF segments, and the list of copies that the option
 * ROMs multiboot and pvh carry out before they enter the kernel in flat protected mode.
 *
 *     KernelCopies *c = kernel_copies_new(pc);
 *     ok = kernel_copies_elf(c, &elf, error) && kernel_copies_publish(c, entry, info, error);
 *     kernel_copies_free(c);
 *
 * Thread rule: machine lock, while the machine is built.  The files are hostile input: every offset
 * and size in them is checked against the file and the guest's memory.
 */
#ifndef HW_I386_KERNEL_IMAGE_H
#define HW_I386_KERNEL_IMAGE_H

#include "hw/i386/pc.h"

/* Low memory as the ROMs use it; kept free of segments. */
enum { KERNEL_MAP_ADDR = 0x8000,      /* 24-byte E820 entries, written by the ROM */
       KERNEL_INFO_ADDR = 0x10000,    /* the loader's structures and strings */
       KERNEL_INFO_END = 0x20000, KERNEL_LOW_END = 0x90000 };

/* An option (kernel, initrd) that names a file; the text is g_malloc'ed. */
bool kernel_read_file(const char *option, const char *path, char **data, gsize *len,
                      GError **error);

typedef struct ElfSegment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, file_size, mem_size;
} ElfSegment;

typedef struct ElfImage {
    const char *path;
    const uint8_t *data;
    size_t len;
    bool is_64;
    uint64_t entry;
    ElfSegment segments[64];
    unsigned n_segments;
} ElfImage;

bool elf_probe(const uint8_t *data, size_t len);
/* An x86 ELF with a sound table of segments, whose file parts lie within the file. */
bool elf_parse(ElfImage *elf, const char *path, const uint8_t *data, size_t len, GError **error);
/* The physical entry: some kernels give a virtual one. */
bool elf_entry(const ElfImage *elf, uint32_t *entry, GError **error);
/* The note of that owner and type, or NULL. */
const uint8_t *elf_find_note(const ElfImage *elf, const char *owner, uint32_t type, size_t *len);

typedef struct KernelCopies KernelCopies;

KernelCopies *kernel_copies_new(PcMachine *pc);
void kernel_copies_free(KernelCopies *c);
/* FILE_SIZE bytes at ADDR, zeroes up to MEM_SIZE. */
bool kernel_copies_add(KernelCopies *c, const char *what, uint64_t addr, const void *data,
                       uint64_t file_size, uint64_t mem_size, GError **error);
bool kernel_copies_elf(KernelCopies *c, const ElfImage *elf, GError **error);
/* After all that was added, on a page; gives where. */
bool kernel_copies_append(KernelCopies *c, const char *what, const void *data, uint64_t len,
                          uint32_t *addr, GError **error);
/* Gives the list to the guest; INFO goes to KERNEL_INFO_ADDR. */
bool kernel_copies_publish(KernelCopies *c, uint32_t entry, const GByteArray *info,
                           GError **error);

/* Appends TEXT with its NUL to the bytes for KERNEL_INFO_ADDR; gives its guest address. */
uint32_t kernel_info_text(GByteArray *info, const char *text);

/* The formats: probe looks at the image alone, load reports what is wrong with it, and may take it. */
bool multiboot_probe(const uint8_t *image, size_t len);
bool multiboot_load(PcMachine *pc, char **file, size_t len, GError **error);
bool pvh_probe(const uint8_t *image, size_t len);
bool pvh_load(PcMachine *pc, char **file, size_t len, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(KernelCopies, kernel_copies_free)

#endif
