/* SPDX-License-Identifier: MIT */
/*
 * -kernel with a Multiboot header: ELF, or any file whose header gives its addresses (the a.out
 * kludge); -initrd "FILE ARGUMENTS,FILE" gives modules, where ",," stands for a comma.
 * Spec: Multiboot 0.6.96.  The memory map and its two sums are filled in by roms/multiboot.S.
 * Not modelled: symbol tables, VBE (a kernel that asks for a video mode gets text mode).
 */
#include "hw/i386/kernel_image.h"

#include "base/error.h"
#include "base/log.h"

enum { HEADER_MAGIC = 0x1badb002, HEADER_SEARCH = 8192 };
enum { HDR_FLAGS = 4, HDR_CHECKSUM = 8, HDR_SELF = 12, HDR_LOAD = 16, HDR_LOAD_END = 20,
       HDR_BSS_END = 24, HDR_ENTRY = 28, HDR_ADDRESSES_END = 32 };
enum { WANT_PAGES = BIT(0), WANT_MEMORY = BIT(1), WANT_VIDEO = BIT(2), HAS_ADDRESSES = BIT(16),
       MUST_KNOW = 0xffff };
enum { MBI_FLAGS = 0, MBI_CMDLINE = 16,
       MBI_MODS_COUNT = 20, MBI_MODS_ADDR = 24, MBI_MMAP_ADDR = 48, MBI_LOADER_NAME = 64,
       MBI_BYTES = 116 };
enum { HAS_MEMORY = BIT(0), HAS_CMDLINE = BIT(2), HAS_MODS = BIT(3), HAS_MMAP = BIT(6),
       HAS_LOADER_NAME = BIT(9) };
enum { MODULE_BYTES = 16, MAX_MODULES = 256 };

static bool find_header(const uint8_t *image, size_t len, size_t *offset)
{
    for (size_t i = 0; i + HDR_SELF <= MIN(len, HEADER_SEARCH); i += 4) {
        const uint8_t *p = image + i;

        if (le32_load(p) == HEADER_MAGIC &&
            le32_load(p) + le32_load(p + HDR_FLAGS) + le32_load(p + HDR_CHECKSUM) == 0) {
            *offset = i;
            return true;
        }
    }
    return false;
}

/* A 64-bit image that also has a PVH entry is left to that: its ELF entry is of unknown width. */
bool multiboot_probe(const uint8_t *image, size_t len)
{
    size_t header;

    return find_header(image, len, &header) && !(elf_probe(image, len) && image[4] == 2 &&
           !(le32_load(image + header + HDR_FLAGS) & HAS_ADDRESSES) && pvh_probe(image, len));
}

/* 3.1.3: the header's own address places the file in memory. */
static bool add_by_addresses(KernelCopies *c, const char *path, const uint8_t *image, size_t len,
                             size_t header, uint32_t *entry, GError **error)
{
    const uint8_t *p = image + header;
    uint32_t self, load, load_end, bss_end;
    uint64_t start, size, mem;

    if (len - header < HDR_ADDRESSES_END) {
        return error_set(error, "-kernel '%s' is truncated within its Multiboot header", path);
    }
    self = le32_load(p + HDR_SELF);
    load = le32_load(p + HDR_LOAD);
    load_end = le32_load(p + HDR_LOAD_END);
    bss_end = le32_load(p + HDR_BSS_END);
    *entry = le32_load(p + HDR_ENTRY);
    start = (uint64_t)header - (self - load);
    if (self < load || self - load > header) {
        return error_set(error, "-kernel '%s' is damaged: its Multiboot header is at 0x%x, before "
                         "its load address 0x%x or the start of the file", path, self, load);
    }
    size = load_end ? (uint64_t)load_end - load : len - start;
    if (load_end && (load_end < load || size > len - start)) {
        return error_set(error, "-kernel '%s' is truncated: its Multiboot header tells of 0x%x to "
                         "0x%x, but it has 0x%zx bytes", path, load, load_end, len);
    }
    mem = bss_end > load && bss_end - load > size ? bss_end - load : size;
    return kernel_copies_add(c, path, load, image + start, size, mem, error);
}

/* "FILE ARGUMENTS": read, copied, and told of in MODS. */
static bool add_module(KernelCopies *c, const char *text, GByteArray *mods, GByteArray *info,
                       GError **error)
{
    g_autofree char *path = g_strndup(text, strcspn(text, " ")), *data = NULL;
    g_autofree char *what = g_strdup_printf("-initrd module '%s'", path);
    uint8_t row[MODULE_BYTES] = { 0 };
    uint32_t addr;
    gsize len;

    if (mods->len / MODULE_BYTES == MAX_MODULES) {
        return error_set(error, "-initrd has more than %u modules", MAX_MODULES);
    }
    if (!kernel_read_file("initrd", path, &data, &len, error) ||
        !kernel_copies_append(c, what, data, len, &addr, error)) {
        return false;
    }
    le32_store(row, addr);
    le32_store(row + 4, addr + len);
    le32_store(row + 8, kernel_info_text(info, text));
    g_byte_array_append(mods, row, sizeof(row));
    return true;
}

static bool add_modules(KernelCopies *c, const char *initrd, GByteArray *mods, GByteArray *info,
                        GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (const char *p = initrd; p; p++) {
        if (*p == ',' && p[1] == ',') {
            p++;
        } else if (!*p || *p == ',') {
            if (text->len && !add_module(c, text->str, mods, info, error)) {
                return false;
            }
            g_string_truncate(text, 0);
            if (!*p) {
                break;
            }
            continue;
        }
        g_string_append_c(text, *p);
    }
    return true;
}

static bool publish(PcMachine *pc, KernelCopies *c, uint32_t entry, GError **error)
{
    Machine *m = &pc->machine;
    g_autoptr(GByteArray) info = g_byte_array_new(), mods = g_byte_array_new();
    g_autofree char *cmdline = g_strdup_printf("%s %s", m->kernel, m->append ?: "");
    uint8_t mbi[MBI_BYTES] = { 0 };
    static const uint8_t pad[4];
    uint32_t text;

    g_byte_array_append(info, mbi, sizeof(mbi));
    text = kernel_info_text(info, cmdline);
    le32_store(info->data + MBI_CMDLINE, text);
    text = kernel_info_text(info, "rhea");
    le32_store(info->data + MBI_LOADER_NAME, text);
    if (!add_modules(c, m->initrd, mods, info, error)) {
        return false;
    }
    g_byte_array_append(info, pad, -info->len % 4);
    le32_store(info->data + MBI_MODS_COUNT, mods->len / MODULE_BYTES);
    le32_store(info->data + MBI_MODS_ADDR, KERNEL_INFO_ADDR + info->len);
    le32_store(info->data + MBI_FLAGS,
               HAS_MEMORY | HAS_CMDLINE | HAS_MODS | HAS_MMAP | HAS_LOADER_NAME);
    le32_store(info->data + MBI_MMAP_ADDR, KERNEL_MAP_ADDR);
    g_byte_array_append(info, mods->data, mods->len);
    return kernel_copies_publish(c, entry, info, error);
}

bool multiboot_load(PcMachine *pc, char **file, size_t len, GError **error)
{
    const uint8_t *image = (const uint8_t *)*file;
    const char *path = pc->machine.kernel;
    g_autoptr(KernelCopies) c = kernel_copies_new(pc);
    size_t header = 0;
    uint32_t flags, entry;
    ElfImage elf;

    find_header(image, len, &header);
    flags = le32_load(image + header + HDR_FLAGS);
    if (flags & MUST_KNOW & ~(WANT_PAGES | WANT_MEMORY | WANT_VIDEO)) {
        return error_set(error, "-kernel '%s' asks for Multiboot features 0x%x: known are 0 "
                         "(pages), 1 (memory) and 2 (video)", path, flags & MUST_KNOW);
    }
    if (flags & WANT_VIDEO) {
        warn_report("-kernel '%s' asks for a video mode: it gets text mode", path);
    }
    if (flags & HAS_ADDRESSES) {
        if (!add_by_addresses(c, path, image, len, header, &entry, error)) {
            return false;
        }
    } else if (!elf_probe(image, len)) {
        return error_set(error, "-kernel '%s' has a Multiboot header, but is no ELF image, and the "
                         "header has no addresses", path);
    } else if (!elf_parse(&elf, path, image, len, error) || !elf_entry(&elf, &entry, error) ||
               !kernel_copies_elf(c, &elf, error)) {
        return false;
    }
    return publish(pc, c, entry, error);
}
