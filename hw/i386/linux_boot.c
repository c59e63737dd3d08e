/* SPDX-License-Identifier: MIT */
/*
 * -kernel: the format is found, the image taken apart into fw_cfg items, and the option ROM of
 * roms/ added that puts them in memory and jumps.  Here bzImage; multiboot.c and pvh.c have theirs.
 * Spec: Linux "x86 boot protocol" 2.15.
 */
#include "hw/i386/kernel_image.h"

#include "base/error.h"
#include "hw/i386/boot_order.h"
#include "roms/firmware.h"

/* Offsets in the setup header. */
enum { HDR_SETUP_SECTS = 0x1f1, HDR_VID_MODE = 0x1fa, HDR_BOOT_FLAG = 0x1fe, HDR_MAGIC = 0x202, HDR_VERSION = 0x206,
       HDR_TYPE_OF_LOADER = 0x210, HDR_LOADFLAGS = 0x211, HDR_CODE32 = 0x214,
       HDR_RAMDISK_IMAGE = 0x218, HDR_RAMDISK_SIZE = 0x21c, HDR_HEAP_END = 0x224,
       HDR_CMD_LINE_PTR = 0x228, HDR_INITRD_MAX = 0x22c, HDR_XLOADFLAGS = 0x236,
       HDR_CMDLINE_SIZE = 0x238, HDR_LEN = 0x268 };
enum { LOADED_HIGH = BIT(0), CAN_USE_HEAP = BIT(7), LOADER_QEMU = 0xb0 };
enum { REAL_ADDR = 0x10000, CMDLINE_ADDR = 0x20000, PROT_ADDR = 0x100000,
       OLD_REAL_ADDR = 0x90000, HEAP_END = 0xe000 };

/* As high as the kernel takes it and RAM reaches, page aligned, below what firmware reserves. */
static bool place_initrd(PcMachine *pc, uint32_t initrd_max, uint64_t len, uint64_t kernel_end,
                         uint32_t *addr, GError **error)
{
    enum { FIRMWARE_RESERVE = 0x20000 };
    uint64_t top = MIN(pc->below_4g - FIRMWARE_RESERVE, (uint64_t)initrd_max + 1);

    if (len > top || top - len < kernel_end) {
        return error_set(error,
                         "initrd of %" PRIu64 " MiB does not fit beside the kernel in %" PRIu64
                         " MiB of memory: use a larger -m",
                         len / MIB, pc->below_4g / MIB);
    }
    *addr = align_down(top - len, 4096);
    return true;
}

static bool is_bzimage(const uint8_t *p, size_t len)
{
    return len >= HDR_LEN && le16_load(p + HDR_BOOT_FLAG) == 0xaa55 &&
           !memcmp(p + HDR_MAGIC, "HdrS", 4) && le16_load(p + HDR_VERSION) >= 0x200;
}

/* "vga=": the kernel's setup code wants the mode as a field, since it does not read the text;
 * of several the last counts.  [boot protocol: Special command line options] */
static bool apply_video_mode(uint8_t *image, const char *cmdline, GError **error)
{
    static const struct {
        const char *word;
        uint16_t mode;
    } modes[] = { { "normal", 0xffff }, { "ext", 0xfffe }, { "ask", 0xfffd } };
    g_auto(GStrv) words = g_strsplit_set(cmdline, " \t\n", -1);

    for (unsigned i = 0; words[i]; i++) {
        const char *value = words[i] + 4;
        char *end;
        guint64 mode;

        if (!g_str_has_prefix(words[i], "vga=")) {
            continue;
        }
        mode = g_ascii_strtoull(value, &end, 0);
        for (unsigned j = 0; j < ARRAY_LEN(modes); j++) {
            if (strcmp(value, modes[j].word) == 0) {
                mode = modes[j].mode;
                end = "";
            }
        }
        if (!g_ascii_isalnum(*value) || *end || mode > UINT16_MAX) {
            return error_set(error, "-append has '%s': expected vga=normal, ext, ask or a mode "
                             "number up to 65535 (788 is 800x600)", words[i]);
        }
        le16_store(image + HDR_VID_MODE, (uint16_t)mode);
    }
    return true;
}

static bool load_bzimage(PcMachine *pc, char **file, size_t len, GError **error)
{
    uint8_t *image = (uint8_t *)*file;
    Machine *m = &pc->machine;
    FwCfg *cfg = pc->fw_cfg;
    const char *cmdline = m->append ?: "";
    uint16_t version = le16_load(image + HDR_VERSION);
    size_t setup_len = (1 + (image[HDR_SETUP_SECTS] ?: 4)) * 512, prot_len;
    uint32_t initrd_max = version >= 0x203 ? le32_load(image + HDR_INITRD_MAX) : 0x37ffffff;
    uint32_t cmdline_max = version >= 0x206 ? le32_load(image + HDR_CMDLINE_SIZE) : 255;
    bool high = image[HDR_LOADFLAGS] & LOADED_HIGH;
    uint32_t real = high ? REAL_ADDR : OLD_REAL_ADDR, prot = high ? PROT_ADDR : REAL_ADDR;

    if (setup_len >= len) {
        return error_set(error, "-kernel '%s' is truncated: its setup part alone has %zu bytes",
                         m->kernel, setup_len);
    }
    if (strlen(cmdline) > cmdline_max) {
        return error_set(error, "-append has %zu characters: this kernel takes at most %u",
                         strlen(cmdline), cmdline_max);
    }
    prot_len = len - setup_len;
    if (prot + prot_len > pc->below_4g) {
        return error_set(error, "-kernel '%s' does not fit into %" PRIu64
                         " MiB of memory: use a larger -m", m->kernel, pc->below_4g / MIB);
    }
    if (!apply_video_mode(image, cmdline, error)) {
        return false;
    }
    image[HDR_TYPE_OF_LOADER] = LOADER_QEMU;
    if (version >= 0x201) {
        image[HDR_LOADFLAGS] |= CAN_USE_HEAP;
        le16_store(image + HDR_HEAP_END, HEAP_END - 0x200);
    }
    if (version >= 0x202) {
        le32_store(image + HDR_CMD_LINE_PTR, CMDLINE_ADDR);
    } else {
        le16_store(image + 0x20, 0xa33f);
        le16_store(image + 0x22, CMDLINE_ADDR - real);
    }
    if (m->initrd) {
        g_autofree char *initrd = NULL;
        uint32_t addr = 0;
        gsize initrd_len;

        if (!kernel_read_file("initrd", m->initrd, &initrd, &initrd_len, error) ||
            !place_initrd(pc, initrd_max, initrd_len, prot + prot_len, &addr, error)) {
            return false;
        }
        fw_cfg_set_u32(cfg, FW_CFG_INITRD_ADDR, addr);
        fw_cfg_set_u32(cfg, FW_CFG_INITRD_SIZE, initrd_len);
        fw_cfg_take_bytes(cfg, FW_CFG_INITRD_DATA, g_steal_pointer(&initrd), 0, initrd_len);
        le32_store(image + HDR_RAMDISK_IMAGE, addr);
        le32_store(image + HDR_RAMDISK_SIZE, initrd_len);
    }
    fw_cfg_set_u32(cfg, FW_CFG_CMDLINE_ADDR, CMDLINE_ADDR);
    fw_cfg_set_u32(cfg, FW_CFG_CMDLINE_SIZE, strlen(cmdline) + 1);
    fw_cfg_set_string(cfg, FW_CFG_CMDLINE_DATA, cmdline);
    fw_cfg_set_u32(cfg, FW_CFG_SETUP_ADDR, real);
    fw_cfg_set_u32(cfg, FW_CFG_SETUP_SIZE, setup_len);
    fw_cfg_set_bytes(cfg, FW_CFG_SETUP_DATA, image, setup_len);
    fw_cfg_set_u32(cfg, FW_CFG_KERNEL_ADDR, prot);
    fw_cfg_set_u32(cfg, FW_CFG_KERNEL_SIZE, prot_len);
    fw_cfg_take_bytes(cfg, FW_CFG_KERNEL_DATA, g_steal_pointer(file), setup_len, prot_len);
    return true;
}

/* SeaBIOS runs what is in genroms/, and boots it first by its path in the boot order. */
static bool add_loader_rom(PcMachine *pc, const char *name, GError **error)
{
    g_autofree char *path = firmware_find(name, error);
    g_autofree char *file = g_strdup_printf("genroms/%s", name);
    g_autofree char *boot_path = g_strdup_printf("/rom@genroms/%s", name);
    char *rom;
    gsize len;

    if (!path || !g_file_get_contents(path, &rom, &len, error)) {
        return false;
    }
    boot_order_add_path(pc->machine.vm, 0, boot_path);
    return fw_cfg_add_file(pc->fw_cfg, file, rom, len, error);
}

/* Tried in this order.  Each may take the file. */
static const struct {
    bool (*probe)(const uint8_t *image, size_t len);
    bool (*load)(PcMachine *pc, char **file, size_t len, GError **error);
    const char *rom;
} formats[] = {
    { is_bzimage, load_bzimage, "rhea-linuxboot.bin" },
    { multiboot_probe, multiboot_load, "rhea-multiboot.bin" },
    { pvh_probe, pvh_load, "rhea-pvh.bin" },
};

bool pc_load_kernel(PcMachine *pc, GError **error)
{
    Machine *m = &pc->machine;
    g_autofree char *image = NULL;
    gsize len;

    if (!m->kernel) {
        return true;
    }
    if (!kernel_read_file("kernel", m->kernel, &image, &len, error)) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++) {
        if (formats[i].probe((const uint8_t *)image, len)) {
            if (pc->no_loader_rom && formats[i].probe != is_bzimage) {
                return error_set(error, "x-option-roms=off: firmware loads only a Linux bzImage by itself, "
                                 "and -kernel '%s' is none", m->kernel);
            }
            return formats[i].load(pc, &image, len, error) &&
                   (pc->no_loader_rom || add_loader_rom(pc, formats[i].rom, error));
        }
    }
    return error_set(error,
                     "-kernel '%s' is neither a Linux bzImage, nor a Multiboot kernel, nor an ELF "
                     "image with a PVH entry%s",
                     m->kernel,
                     len >= 2 && !memcmp(image, "\x1f\x8b", 2) ? ": gunzip it first" : "");
}
