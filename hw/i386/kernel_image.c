/* SPDX-License-Identifier: MIT */
/*
 * ELF images, and the list of copies for the multiboot and pvh option ROMs.
 * Spec: System V ABI, chapters 4 and 5 (ELF); i386 and AMD64 supplements.
 *
 * The list is rows of three little-endian words {fw_cfg DMA control, length, address}, up to a zero
 * control.  All bytes sit in one item, in the order of the rows, so that each row but the first
 * reads on where the last one ended; then come the zero fills, which read an item without content.
 */
#include "hw/i386/kernel_image.h"

#include "base/error.h"

enum { EM_386 = 3, EM_X86_64 = 62, PT_LOAD = 1, PT_NOTE = 4 };
enum { DMA_READ_ON = 0x02, DMA_SELECT_READ = 0x0a, NO_SUCH_ITEM = 0x3fff };
enum { MAX_ROWS = 1000, ROW_BYTES = 12 };

bool kernel_read_file(const char *option, const char *path, char **data, gsize *len,
                      GError **error)
{
    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        return error_set(error, "-%s '%s' is a directory: give the path of an image", option, path);
    }
    if (!g_file_get_contents(path, data, len, error)) {
        g_prefix_error(error, "-%s: ", option);
        return false;
    }
    return true;
}

/* ---- ELF ---- */

/* Where the fields are, by class. */
typedef struct ElfLayout {
    uint8_t header, phoff, phentsize, phnum, segment;
    uint8_t offset, vaddr, paddr, file_size, mem_size;
} ElfLayout;

static const ElfLayout elf32 = { 52, 28, 42, 44, 32, 4, 8, 12, 16, 20 };
static const ElfLayout elf64 = { 64, 32, 54, 56, 56, 8, 16, 24, 32, 40 };

static uint64_t load_word(const ElfImage *elf, const uint8_t *p)
{
    return elf->is_64 ? le64_load(p) : le32_load(p);
}

bool elf_probe(const uint8_t *data, size_t len)
{
    return len >= elf32.header && !memcmp(data, "\177ELF", 4);
}

static bool parse_segment(ElfImage *elf, const ElfLayout *at, const uint8_t *p, GError **error)
{
    ElfSegment s = {
        .type = le32_load(p),
        .offset = load_word(elf, p + at->offset),
        .vaddr = load_word(elf, p + at->vaddr),
        .paddr = load_word(elf, p + at->paddr),
        .file_size = load_word(elf, p + at->file_size),
        .mem_size = load_word(elf, p + at->mem_size),
    };

    if (s.type != PT_LOAD && s.type != PT_NOTE) {
        return true;
    }
    if (elf->n_segments == ARRAY_LEN(elf->segments)) {
        return error_set(error, "-kernel '%s' has more than %zu ELF segments to load", elf->path,
                         ARRAY_LEN(elf->segments));
    }
    if (s.offset > elf->len || s.file_size > elf->len - s.offset) {
        return error_set(error,
                         "-kernel '%s' is truncated: an ELF segment ends past its %zu bytes",
                         elf->path, elf->len);
    }
    if (s.type == PT_LOAD && s.mem_size < s.file_size) {
        return error_set(error,
                         "-kernel '%s' is damaged: an ELF segment is larger in the file than in "
                         "memory",
                         elf->path);
    }
    elf->segments[elf->n_segments++] = s;
    return true;
}

bool elf_parse(ElfImage *elf, const char *path, const uint8_t *data, size_t len, GError **error)
{
    const ElfLayout *at;
    uint16_t machine, count, size;
    uint64_t table;

    *elf = (ElfImage){ .path = path, .data = data, .len = len, .is_64 = data[4] == 2 };
    at = elf->is_64 ? &elf64 : &elf32;
    if (len < at->header || data[5] != 1 || (data[4] != 1 && data[4] != 2)) {
        return error_set(error, "-kernel '%s' is not a sound little-endian ELF image", path);
    }
    machine = le16_load(data + 18);
    if (machine != EM_386 && machine != EM_X86_64) {
        return error_set(error, "-kernel '%s' is an ELF image for machine %u: this one runs 3 "
                         "(i386) and 62 (x86-64)", path, machine);
    }
    elf->entry = load_word(elf, data + 24);
    table = load_word(elf, data + at->phoff);
    size = le16_load(data + at->phentsize);
    count = le16_load(data + at->phnum);
    if (!count || size < at->segment || table > len || (uint64_t)size * count > len - table) {
        return error_set(error,
                         "-kernel '%s' is damaged: its ELF segment table (%u of %u bytes at "
                         "%" PRIu64 ") is not within its %zu bytes",
                         path, count, size, table, len);
    }
    for (unsigned i = 0; i < count; i++) {
        if (!parse_segment(elf, at, data + table + (size_t)i * size, error)) {
            return false;
        }
    }
    return true;
}

bool elf_entry(const ElfImage *elf, uint32_t *entry, GError **error)
{
    for (unsigned virtual = 0; virtual < 2; virtual ++) {
        for (unsigned i = 0; i < elf->n_segments; i++) {
            const ElfSegment *s = &elf->segments[i];
            uint64_t offset = elf->entry - (virtual ? s->vaddr : s->paddr);

            if (s->type == PT_LOAD && offset < s->mem_size) {
                *entry = s->paddr + offset;
                return true;
            }
        }
    }
    return error_set(error, "-kernel '%s' is damaged: its entry 0x%" PRIx64 " is in no segment",
                     elf->path, elf->entry);
}

const uint8_t *elf_find_note(const ElfImage *elf, const char *owner, uint32_t type, size_t *len)
{
    size_t owner_len = strlen(owner) + 1;

    for (unsigned i = 0; i < elf->n_segments; i++) {
        const ElfSegment *s = &elf->segments[i];
        const uint8_t *p = elf->data + s->offset;
        uint64_t left = s->type == PT_NOTE ? s->file_size : 0;

        while (left >= 12) {
            uint32_t name_len = le32_load(p), desc_len = le32_load(p + 4);
            uint64_t desc = 12 + align_up((uint64_t)name_len, 4);
            uint64_t next = desc + align_up((uint64_t)desc_len, 4);

            if (desc + desc_len > left) {
                break;
            }
            if (le32_load(p + 8) == type && name_len == owner_len &&
                !memcmp(p + 12, owner, owner_len)) {
                *len = desc_len;
                return p + desc;
            }
            next = MIN(next, left);
            p += next;
            left -= next;
        }
    }
    return NULL;
}

/* ---- copies ---- */

typedef struct ZeroFill {
    uint32_t addr, len;
} ZeroFill;

struct KernelCopies {
    PcMachine *pc;
    GByteArray *rows, *bytes;
    GArray *zeroes;
    uint64_t end;      /* of what was added */
};

KernelCopies *kernel_copies_new(PcMachine *pc)
{
    KernelCopies *c = g_new0(KernelCopies, 1);

    c->pc = pc;
    c->rows = g_byte_array_new();
    c->bytes = g_byte_array_new();
    c->zeroes = g_array_new(false, false, sizeof(ZeroFill));
    c->end = MIB;
    return c;
}

void kernel_copies_free(KernelCopies *c)
{
    if (c) {
        g_byte_array_unref(c->rows);
        g_byte_array_unref(c->bytes);
        g_array_unref(c->zeroes);
        g_free(c);
    }
}

static void add_row(KernelCopies *c, uint32_t control, uint32_t len, uint32_t addr)
{
    uint8_t row[ROW_BYTES];

    le32_store(row, control);
    le32_store(row + 4, len);
    le32_store(row + 8, addr);
    g_byte_array_append(c->rows, row, sizeof(row));
}

/* The caller has checked the place, and that the bytes fit into guest memory. */
static bool add_bytes(KernelCopies *c, uint32_t addr, const void *data, uint32_t len,
                      GError **error)
{
    if (!len) {
        return true;
    }
    if (c->bytes->len > UINT32_MAX / 2 - MIN(len, UINT32_MAX / 2) ||
        c->rows->len / ROW_BYTES + c->zeroes->len >= MAX_ROWS) {
        return error_set(error, "-kernel and -initrd together are more than 2 GiB or %u parts",
                         MAX_ROWS);
    }
    add_row(c, c->rows->len ? DMA_READ_ON : DMA_SELECT_READ | FW_CFG_KERNEL_DATA << 16, len, addr);
    g_byte_array_append(c->bytes, data, len);
    return true;
}

bool kernel_copies_add(KernelCopies *c, const char *what, uint64_t addr, const void *data,
                       uint64_t file_size, uint64_t mem_size, GError **error)
{
    uint64_t ram = c->pc->below_4g;
    ZeroFill zero = { addr + file_size, mem_size - file_size };

    if (addr > ram || mem_size > ram - addr) {
        return error_set(error,
                         "%s: 0x%" PRIx64 " bytes at 0x%" PRIx64 " do not fit into %" PRIu64
                         " MiB of memory: use a larger -m",
                         what, mem_size, addr, ram / MIB);
    }
    if (mem_size && addr < MIB &&
        (addr < KERNEL_INFO_END || addr + mem_size > KERNEL_LOW_END)) {
        return error_set(error,
                         "%s: 0x%" PRIx64 " bytes at 0x%" PRIx64 " would overwrite the firmware: "
                         "free are 0x%x to 0x%x, and all from 0x100000 on",
                         what, mem_size, addr, KERNEL_INFO_END, KERNEL_LOW_END);
    }
    if (!add_bytes(c, addr, data, file_size, error)) {
        return false;
    }
    if (zero.len) {
        g_array_append_val(c->zeroes, zero);
    }
    c->end = MAX(c->end, addr + mem_size);
    return true;
}

bool kernel_copies_elf(KernelCopies *c, const ElfImage *elf, GError **error)
{
    g_autofree char *what = g_strdup_printf("-kernel '%s'", elf->path);

    for (unsigned i = 0; i < elf->n_segments; i++) {
        const ElfSegment *s = &elf->segments[i];

        if (s->type == PT_LOAD && !kernel_copies_add(c, what, s->paddr, elf->data + s->offset,
                                                     s->file_size, s->mem_size, error)) {
            return false;
        }
    }
    return true;
}

bool kernel_copies_append(KernelCopies *c, const char *what, const void *data, uint64_t len,
                          uint32_t *addr, GError **error)
{
    *addr = align_up(c->end, 4096);
    return kernel_copies_add(c, what, *addr, data, len, len, error);
}

bool kernel_copies_publish(KernelCopies *c, uint32_t entry, const GByteArray *info,
                           GError **error)
{
    FwCfg *cfg = c->pc->fw_cfg;

    if (info->len > KERNEL_INFO_END - KERNEL_INFO_ADDR) {
        return error_set(error, "-append and -initrd texts are too long: %u bytes, at most %u",
                         info->len, KERNEL_INFO_END - KERNEL_INFO_ADDR);
    }
    if (!add_bytes(c, KERNEL_INFO_ADDR, info->data, info->len, error)) {
        return false;
    }
    for (unsigned i = 0; i < c->zeroes->len; i++) {
        const ZeroFill *zero = &g_array_index(c->zeroes, ZeroFill, i);

        add_row(c, DMA_SELECT_READ | (uint32_t)NO_SUCH_ITEM << 16, zero->len, zero->addr);
    }
    add_row(c, 0, 0, 0);
    fw_cfg_set_u32(cfg, FW_CFG_KERNEL_ENTRY, entry);
    fw_cfg_set_bytes(cfg, FW_CFG_KERNEL_DATA, c->bytes->data, c->bytes->len);
    fw_cfg_set_u32(cfg, FW_CFG_SETUP_SIZE, c->rows->len);
    fw_cfg_set_bytes(cfg, FW_CFG_SETUP_DATA, c->rows->data, c->rows->len);
    return true;
}

uint32_t kernel_info_text(GByteArray *info, const char *text)
{
    uint32_t addr = KERNEL_INFO_ADDR + info->len;

    g_byte_array_append(info, (const uint8_t *)text, strlen(text) + 1);
    return addr;
}
