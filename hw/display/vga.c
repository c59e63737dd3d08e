/* SPDX-License-Identifier: MIT */
/*
 * VGA registers and memory.
 * Spec: IBM PS/2 "VGA Function" technical reference; Bochs VBE extensions.
 * Not modelled: retrace timing (the status bits alternate at each read), interrupts (IRQ 2/9),
 * underline of the monochrome text mode.
 * Missing: doubleword CRTC addressing of chain-4 memory; planes are interleaved, so that a
 * switch from chain-4 to planar mode sees other bytes than a real card shows.
 * Locking: machine lock.
 */
#include "hw/display/vga.h"

#include "hw/trace.h"
#include "vm/vm.h"

enum { LEGACY_BASE = 0xa0000, LEGACY_LEN = 0x20000 };
enum { MSR_COLOR = BIT(0) };
enum { ST01_V_RETRACE = BIT(3), ST01_DISP_DISABLE = BIT(0) };
enum { SR_MAP_MASK = 2, SR_MEMORY_MODE = 4, SR4_CHAIN4 = BIT(3) };
enum { GR_SET_RESET, GR_ENABLE_SET_RESET, GR_COLOR_COMPARE, GR_ROTATE, GR_READ_MAP, GR_MODE,
       GR_MISC, GR_COLOR_DONT_CARE, GR_BIT_MASK };
enum { CR_VERT_END = 0x11, CR11_PROTECT = BIT(7) };
enum { VBE_ID0 = 0xb0c0, VBE_ID5 = 0xb0c5, VBE_MAX_XRES = 16000, VBE_MAX_YRES = 12000 };
enum { DISPI_INDEX_PORT = 0x1ce };

static const uint8_t sr_mask[8] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff };
static const uint8_t gr_mask[16] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff };

static bool vbe_on(const VgaCore *s)
{
    return s->vbe_regs[VBE_ENABLE] & VBE_ENABLED;
}

/* ---- the linear view of the legacy window ---- */

/* Memory map select (GR6): base and length inside the 128 KiB window. */
static void window_of(const VgaCore *s, uint32_t *base, uint32_t *len)
{
    /* clang-format off */
    static const struct { uint32_t base, len; } maps[4] = {
        { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 },
    };
    /* clang-format on */
    unsigned map = (s->gr[GR_MISC] >> 2) & 3;

    *base = maps[map].base;
    *len = maps[map].len;
}

/* Where an access is plain bytes, the window becomes an alias of video memory: as fast as RAM. */
static void update_chain4(VgaCore *s)
{
    uint32_t base, len;
    bool linear = (s->sr[SR_MEMORY_MODE] & SR4_CHAIN4) && (s->sr[SR_MAP_MASK] & 0xf) == 0xf &&
                  (s->gr[GR_MODE] & 0x0b) == 0 && s->gr[GR_BIT_MASK] == 0xff &&
                  !(s->gr[GR_ENABLE_SET_RESET] & 0xf) && !(s->gr[GR_ROTATE] & 0x1f);

    window_of(s, &base, &len);
    linear = linear && s->bank_offset + len <= s->vram_size;
    memory_transaction_begin();
    memory_region_set_enabled(&s->chain4, linear);
    if (linear) {
        memory_region_set_address(&s->chain4, LEGACY_BASE + base);
        memory_region_set_size(&s->chain4, len);
        memory_region_set_alias_offset(&s->chain4, s->bank_offset);
    }
    memory_transaction_commit();
}

/* ---- memory: VGA function 2.x, read and write modes ---- */

/* Byte of the window to its place; false: outside the mapped part. */
static bool window_offset(const VgaCore *s, uint64_t addr, uint32_t *offset)
{
    uint32_t base, len;

    window_of(s, &base, &len);
    if (addr < base || addr - base >= len) {
        return false;
    }
    *offset = addr - base + s->bank_offset;
    return true;
}

/* Read mode 1: bits where all planes that matter match the colour compare. */
static uint8_t color_compare(const VgaCore *s)
{
    uint8_t miss = 0;

    for (unsigned p = 0; p < 4; p++) {
        if (s->gr[GR_COLOR_DONT_CARE] & BIT(p)) {
            uint8_t want = s->gr[GR_COLOR_COMPARE] & BIT(p) ? 0xff : 0;

            miss |= (uint8_t)(s->latch >> (8 * p)) ^ want;
        }
    }
    return ~miss;
}

static uint64_t legacy_read(void *opaque, uint64_t addr, unsigned size)
{
    VgaCore *s = opaque;
    uint32_t offset, plane;

    if (!window_offset(s, addr, &offset)) {
        return 0xff;
    }
    if (s->sr[SR_MEMORY_MODE] & SR4_CHAIN4) {
        return offset < s->vram_size ? s->mem[offset] : 0xff;
    }
    if (s->gr[GR_MODE] & 0x10) {      /* odd/even */
        plane = (s->gr[GR_READ_MAP] & 2) | (offset & 1);
        offset >>= 1;
    } else {
        plane = s->gr[GR_READ_MAP] & 3;
    }
    if (offset * 4 + 4 > s->vram_size) {
        return 0xff;
    }
    s->latch = le32_load(s->mem + offset * 4);
    if (!(s->gr[GR_MODE] & 0x08)) {
        return s->latch >> (8 * plane);
    }
    return color_compare(s);
}

/* Four planes' bytes from one bit a plane. */
static uint32_t spread(uint8_t bits)
{
    return ((bits & 1) ? 0xffu : 0) | ((bits & 2) ? 0xff00u : 0) | ((bits & 4) ? 0xff0000u : 0) |
           ((bits & 8) ? 0xff000000u : 0);
}

static void legacy_write(void *opaque, uint64_t addr, uint64_t value, unsigned size)
{
    VgaCore *s = opaque;
    uint32_t offset, planes = s->sr[SR_MAP_MASK] & 0xf, data, bit_mask, mode;
    uint8_t byte = value, rotate = s->gr[GR_ROTATE] & 7;

    if (!window_offset(s, addr, &offset)) {
        return;
    }
    if (s->sr[SR_MEMORY_MODE] & SR4_CHAIN4) {
        if ((planes & BIT(offset & 3)) && offset < s->vram_size) {
            s->mem[offset] = byte;
            memory_set_dirty(&s->vram, offset, 1);
        }
        return;
    }
    if (s->gr[GR_MODE] & 0x10) {
        planes &= offset & 1 ? 0xa : 0x5;
        offset >>= 1;
    }
    if (offset * 4 + 4 > s->vram_size) {
        return;
    }
    mode = s->gr[GR_MODE] & 3;
    bit_mask = s->gr[GR_BIT_MASK] * 0x01010101u;
    if (mode == 0 || mode == 3) {
        byte = byte >> rotate | byte << (8 - rotate);
    }
    switch (mode) {
    case 0: {
        uint32_t sr_on = spread(s->gr[GR_ENABLE_SET_RESET]);

        data = byte * 0x01010101u;
        data = (data & ~sr_on) | (spread(s->gr[GR_SET_RESET]) & sr_on);
        break;
    }
    case 1:
        data = s->latch;
        break;
    case 2:
        data = spread(byte);
        break;
    default:
        data = spread(s->gr[GR_SET_RESET]);
        bit_mask &= byte * 0x01010101u;
        break;
    }
    if (mode != 1) {
        switch (s->gr[GR_ROTATE] >> 3 & 3) {
        case 1:
            data &= s->latch;
            break;
        case 2:
            data |= s->latch;
            break;
        case 3:
            data ^= s->latch;
            break;
        }
        data = (data & bit_mask) | (s->latch & ~bit_mask);
    }
    planes = spread(planes);
    data = (data & planes) | (le32_load(s->mem + offset * 4) & ~planes);
    le32_store(s->mem + offset * 4, data);
    memory_set_dirty(&s->vram, offset * 4, 4);
}

static const MmioOps legacy_ops = { legacy_read, legacy_write, .valid_max = 8, .impl_max = 1 };

/* ---- ports 3b0..3df ---- */

/* The CRTC and status ports move with the colour bit of the miscellaneous output register. */
static bool is_other_crtc(const VgaCore *s, uint16_t port)
{
    return s->msr & MSR_COLOR ? port >= 0x3b0 && port <= 0x3bf : port >= 0x3d0;
}

static uint8_t attribute_read(const VgaCore *s)
{
    unsigned index = s->ar_index & 0x1f;

    return index < ARRAY_LEN(s->ar) ? s->ar[index] : 0;
}

uint8_t vga_port_read(VgaCore *s, uint16_t port)
{
    if (is_other_crtc(s, port)) {
        return 0xff;
    }
    switch (port) {
    case 0x3c0:
        return s->ar_flip_flop ? 0 : s->ar_index;
    case 0x3c1:
        return attribute_read(s);
    case 0x3c2:
        return s->st00;
    case 0x3c4:
        return s->sr_index;
    case 0x3c5:
        return s->sr[s->sr_index & 7];
    case 0x3c7:
        return s->dac_state;
    case 0x3c8:
        return s->dac_write_index;
    case 0x3c9: {
        uint8_t value = s->palette[s->dac_read_index * 3 + s->dac_sub_index];

        if (++s->dac_sub_index == 3) {
            s->dac_sub_index = 0;
            s->dac_read_index++;
        }
        return value;
    }
    case 0x3ca:
        return s->fcr;
    case 0x3cc:
        return s->msr;
    case 0x3ce:
        return s->gr_index;
    case 0x3cf:
        return s->gr[s->gr_index & 15];
    case 0x3b4:
    case 0x3d4:
        return s->cr_index;
    case 0x3b5:
    case 0x3d5:
        return s->cr[s->cr_index];
    case 0x3ba:
    case 0x3da:
        s->st01 ^= ST01_V_RETRACE | ST01_DISP_DISABLE;
        s->ar_flip_flop = 0;
        return s->st01;
    default:
        return 0;
    }
}

static void attribute_write(VgaCore *s, uint8_t value)
{
    static const uint8_t masks[21] = { 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                       0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                       0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f };

    if (!s->ar_flip_flop) {
        s->ar_index = value & 0x3f;
    } else if ((s->ar_index & 0x1f) < 21) {
        unsigned index = s->ar_index & 0x1f;

        s->ar[index] = value & masks[index];
    }
    s->ar_flip_flop ^= 1;
}

static void crtc_write(VgaCore *s, uint8_t value)
{
    /* Registers 0-7 are protected by CR11 bit 7, but for the line compare bit of CR7. */
    if ((s->cr[CR_VERT_END] & CR11_PROTECT) && s->cr_index <= 7) {
        if (s->cr_index == 7) {
            s->cr[7] = (s->cr[7] & ~0x10) | (value & 0x10);
        }
        return;
    }
    s->cr[s->cr_index] = value;
}

static void dac_write(VgaCore *s, uint8_t value)
{
    s->dac_cache[s->dac_sub_index] = value;
    if (++s->dac_sub_index == 3) {
        memcpy(&s->palette[s->dac_write_index * 3], s->dac_cache, 3);
        s->dac_sub_index = 0;
        s->dac_write_index++;
    }
}

void vga_port_write(VgaCore *s, uint16_t port, uint8_t value)
{
    if (is_other_crtc(s, port)) {
        return;
    }
    switch (port) {
    case 0x3c0:
        attribute_write(s, value);
        break;
    case 0x3c2:
        s->msr = value & ~0x10;
        break;
    case 0x3c4:
        s->sr_index = value & 7;
        break;
    case 0x3c5:
        s->sr[s->sr_index] = value & sr_mask[s->sr_index];
        update_chain4(s);
        break;
    case 0x3c7:
        s->dac_read_index = value;
        s->dac_sub_index = 0;
        s->dac_state = 3;
        break;
    case 0x3c8:
        s->dac_write_index = value;
        s->dac_sub_index = 0;
        s->dac_state = 0;
        break;
    case 0x3c9:
        dac_write(s, value);
        break;
    case 0x3ce:
        s->gr_index = value & 15;
        break;
    case 0x3cf:
        s->gr[s->gr_index] = value & gr_mask[s->gr_index];
        update_chain4(s);
        break;
    case 0x3b4:
    case 0x3d4:
        s->cr_index = value;
        break;
    case 0x3b5:
    case 0x3d5:
        crtc_write(s, value);
        break;
    case 0x3ba:
    case 0x3da:
        s->fcr = value & 0x10;
        break;
    }
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
    return vga_port_read(opaque, 0x3b0 + offset);
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    vga_port_write(opaque, 0x3b0 + offset, value);
}

static const MmioOps ports_ops = { ports_read, ports_write, .valid_max = 4, .impl_max = 1 };

/* ---- VBE dispi ---- */

uint16_t vga_dispi_read(VgaCore *s, unsigned index)
{
    /* With GETCAPS the three mode registers read as their limits. */
    static const uint16_t caps[] = { [VBE_XRES] = VBE_MAX_XRES, [VBE_YRES] = VBE_MAX_YRES,
                                     [VBE_BPP] = 32 };

    if (index == VBE_MEMORY_64K) {
        return s->vram_size / (64 * KIB);
    }
    if (index >= VBE_REGS) {
        return 0;
    }
    if ((s->vbe_regs[VBE_ENABLE] & VBE_GETCAPS) && index >= VBE_XRES && index <= VBE_BPP) {
        return caps[index];
    }
    return s->vbe_regs[index];
}

static unsigned bytes_per_line(unsigned width, unsigned bpp)
{
    return bpp == 4 ? width / 2 : width * ((bpp + 7) / 8);
}

/* Brings the registers into a state that fits into video memory. */
static void fix_vbe(VgaCore *s)
{
    uint16_t *r = s->vbe_regs;
    uint32_t line, lines, offset;

    switch (r[VBE_BPP]) {
    case 4: case 8: case 15: case 16: case 24: case 32:
        break;
    default:
        r[VBE_BPP] = 8;
    }
    r[VBE_XRES] = CLAMP(r[VBE_XRES] & ~7u, 8, VBE_MAX_XRES);
    r[VBE_VIRT_WIDTH] = CLAMP(r[VBE_VIRT_WIDTH] & ~7u, r[VBE_XRES], VBE_MAX_XRES);
    line = bytes_per_line(r[VBE_VIRT_WIDTH], r[VBE_BPP]);
    if (line > s->vram_size) {
        r[VBE_VIRT_WIDTH] = r[VBE_XRES];
        line = bytes_per_line(r[VBE_XRES], r[VBE_BPP]);
    }
    lines = s->vram_size / line;
    r[VBE_YRES] = CLAMP(r[VBE_YRES], 1, MIN(VBE_MAX_YRES, lines));
    r[VBE_VIRT_HEIGHT] = MIN(lines, UINT16_MAX);
    offset = r[VBE_X_OFFSET] * ((r[VBE_BPP] + 7) / 8) + (uint32_t)r[VBE_Y_OFFSET] * line;
    if (r[VBE_BPP] == 4) {
        offset = r[VBE_X_OFFSET] / 2 + (uint32_t)r[VBE_Y_OFFSET] * line;
    }
    if (offset + (uint64_t)r[VBE_YRES] * line > s->vram_size) {
        r[VBE_Y_OFFSET] = r[VBE_X_OFFSET] = 0;
        offset = 0;
    }
    s->vbe_line_offset = line;
    s->vbe_start_addr = offset;
}

/* The classic registers that VGA BIOSes expect a VBE mode to leave. */
static void set_vga_regs_for_vbe(VgaCore *s)
{
    unsigned lines = s->vbe_regs[VBE_YRES] - 1;

    s->gr[GR_MISC] = (s->gr[GR_MISC] & ~0x0c) | 0x05;
    s->cr[0x17] |= 3;
    s->cr[0x13] = s->vbe_line_offset >> 3;
    s->cr[0x01] = (s->vbe_regs[VBE_XRES] >> 3) - 1;
    s->cr[0x12] = lines;
    s->cr[0x07] = (s->cr[0x07] & ~0x42) | ((lines >> 7) & 0x02) | ((lines >> 3) & 0x40);
    s->cr[0x18] = 0xff;
    s->cr[0x07] |= 0x10;
    s->cr[0x09] = (s->cr[0x09] | 0x40) & ~0x9f;
    if (s->vbe_regs[VBE_BPP] == 4) {
        s->sr[SR_MEMORY_MODE] &= ~SR4_CHAIN4;
        s->gr[GR_MODE] &= 0x9f;
    } else {
        s->sr[SR_MEMORY_MODE] |= SR4_CHAIN4;
        s->sr[SR_MAP_MASK] |= 0xf;
        s->gr[GR_MODE] = (s->gr[GR_MODE] & 0x9f) | 0x40;
    }
}

static void enable_write(VgaCore *s, uint16_t value)
{
    bool was_on = vbe_on(s);

    s->vbe_regs[VBE_ENABLE] = value & (VBE_ENABLED | VBE_GETCAPS | VBE_8BIT_DAC | VBE_LFB |
                                       VBE_NOCLEAR);
    if (vbe_on(s) && !was_on) {
        s->vbe_regs[VBE_VIRT_WIDTH] = 0;
        s->vbe_regs[VBE_X_OFFSET] = s->vbe_regs[VBE_Y_OFFSET] = 0;
        fix_vbe(s);
        if (!(value & VBE_NOCLEAR)) {
            memset(s->mem, 0, (size_t)s->vbe_regs[VBE_YRES] * s->vbe_line_offset);
            memory_set_dirty(&s->vram, 0, (uint64_t)s->vbe_regs[VBE_YRES] * s->vbe_line_offset);
        }
        set_vga_regs_for_vbe(s);
        trace_vga_vbe_mode(s->vbe_regs[VBE_XRES], s->vbe_regs[VBE_YRES], s->vbe_regs[VBE_BPP]);
    } else if (!vbe_on(s)) {
        s->bank_offset = 0;
    }
    update_chain4(s);
}

void vga_dispi_write(VgaCore *s, unsigned index, uint16_t value)
{
    trace_vga_vbe_write(index, value);
    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID0 && value <= VBE_ID5) {
            s->vbe_regs[VBE_ID] = value;
        }
        break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        s->vbe_regs[index] = value;
        if (vbe_on(s)) {
            fix_vbe(s);
        }
        break;
    case VBE_ENABLE:
        enable_write(s, value);
        break;
    case VBE_BANK:
        s->vbe_regs[VBE_BANK] = value & s->vbe_bank_mask;
        s->bank_offset = s->vbe_regs[VBE_BANK] << 16;
        update_chain4(s);
        break;
    }
}

static uint64_t dispi_read(void *opaque, uint64_t offset, unsigned size)
{
    VgaCore *s = opaque;

    return offset == 0 ? s->vbe_index : vga_dispi_read(s, s->vbe_index);
}

static void dispi_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VgaCore *s = opaque;

    if (offset == 0) {
        s->vbe_index = value;
    } else {
        vga_dispi_write(s, s->vbe_index, value);
    }
}

/* Index at 1ce, data at 1cf and, for code that wants alignment, at 1d0. */
static const MmioOps dispi_ops = { dispi_read, dispi_write, .valid_min = 2, .valid_max = 2,
                                   .impl_min = 2, .impl_max = 2, .unaligned = true };

/* ---- life cycle ---- */

bool vga_init(VgaCore *s, Device *dev, MemoryRegion *isa_memory, MemoryRegion *io,
              GError **error)
{
    s->dev = dev;
    s->vram_size = CLAMP(s->vram_size_mb, 1, 512) * MIB;
    while (!is_pow2(s->vram_size)) {
        s->vram_size += s->vram_size & -s->vram_size;
    }
    s->vbe_bank_mask = (s->vram_size >> 16) - 1;
    if (!memory_region_init_ram(&s->vram, OBJECT(dev), "vga.vram", s->vram_size, error)) {
        return false;
    }
    s->mem = memory_region_ram_ptr(&s->vram);
    memory_region_set_logging(&s->vram, DIRTY_VGA, true);
    memory_region_init_io(&s->legacy, OBJECT(dev), "vga-lowmem", &legacy_ops, s, LEGACY_LEN);
    memory_region_add_overlap(isa_memory, LEGACY_BASE, &s->legacy, 1);
    memory_region_init_alias(&s->chain4, OBJECT(dev), "vga.chain4", &s->vram, 0, LEGACY_LEN);
    memory_region_set_enabled(&s->chain4, false);
    memory_region_add_overlap(isa_memory, LEGACY_BASE, &s->chain4, 2);
    memory_region_init_io(&s->ports, OBJECT(dev), "vga", &ports_ops, s, 0x30);
    memory_region_add(io, 0x3b0, &s->ports);
    memory_region_init_io(&s->dispi, OBJECT(dev), "vbe", &dispi_ops, s, 4);
    memory_region_add(io, DISPI_INDEX_PORT, &s->dispi);
    s->con = console_new(dev->id, 0, &vga_console_ops, s);
    return true;
}

void vga_reset(VgaCore *s)
{
    memset(s->sr, 0, sizeof(s->sr));
    memset(s->gr, 0, sizeof(s->gr));
    memset(s->ar, 0, sizeof(s->ar));
    memset(s->cr, 0, sizeof(s->cr));
    memset(s->palette, 0, sizeof(s->palette));
    memset(s->vbe_regs, 0, sizeof(s->vbe_regs));
    s->vbe_regs[VBE_ID] = VBE_ID5;
    s->sr_index = s->gr_index = s->ar_index = s->cr_index = 0;
    s->ar_flip_flop = 0;
    s->latch = 0;
    s->msr = s->fcr = s->st00 = s->st01 = 0;
    s->dac_state = s->dac_sub_index = s->dac_read_index = s->dac_write_index = 0;
    s->vbe_index = 0;
    s->vbe_start_addr = s->vbe_line_offset = 0;
    s->bank_offset = 0;
    if (s->vram_used) {           /* else as it has been mapped, and not to be touched for nothing */
        memset(s->mem, 0, s->vram_size);
    }
    s->vram_used = true;
    memory_set_dirty(&s->vram, 0, s->vram_size);
    s->full_update = true;
    update_chain4(s);
}

void vga_clear(VgaCore *s)
{
    console_free(s->con);
}

/* ---- state ---- */

static void vga_pre_save(void *obj)
{
    ((VgaCore *)obj)->is_vbe_vmstate = 1;
}

static bool vga_post_load(void *obj, int version, GError **error)
{
    VgaCore *s = obj;

    s->dac_sub_index %= 3;
    s->ar_flip_flop &= 1;
    s->sr_index &= 7;
    s->gr_index &= 15;
    /* The sender's mask is not to be trusted: it bounds accesses to our memory. */
    s->vbe_bank_mask = (s->vram_size >> 16) - 1;
    s->vbe_regs[VBE_BANK] &= s->vbe_bank_mask;
    s->bank_offset = s->vbe_regs[VBE_BANK] << 16;
    if (vbe_on(s)) {
        fix_vbe(s);
    }
    s->full_update = true;
    update_chain4(s);
    return true;
}

static bool endian_needed(const void *obj)
{
    return ((const VgaCore *)obj)->big_endian_fb;
}

/* clang-format off */
static const VmField endian_fields[] = { VMS_BOOL(VgaCore, big_endian_fb), VMS_END };
static const VmStateDesc vmstate_endian = { .name = "vga.endian", .version = 1, .minimum = 1,
    .fields = endian_fields, .needed = endian_needed };
static const VmStateDesc *const vga_subsections[] = { &vmstate_endian, NULL };

static const VmField vga_fields[] = {
    VMS_U32(VgaCore, latch),
    VMS_U8(VgaCore, sr_index), VMS_U8_ARRAY(VgaCore, sr),
    VMS_U8(VgaCore, gr_index), VMS_U8_ARRAY(VgaCore, gr),
    VMS_U8(VgaCore, ar_index), VMS_U8_ARRAY(VgaCore, ar), VMS_I32(VgaCore, ar_flip_flop),
    VMS_U8(VgaCore, cr_index), VMS_U8_ARRAY(VgaCore, cr),
    VMS_U8(VgaCore, msr), VMS_U8(VgaCore, fcr), VMS_U8(VgaCore, st00), VMS_U8(VgaCore, st01),
    VMS_U8(VgaCore, dac_state), VMS_U8(VgaCore, dac_sub_index),
    VMS_U8(VgaCore, dac_read_index), VMS_U8(VgaCore, dac_write_index),
    VMS_U8_ARRAY(VgaCore, dac_cache), VMS_U8_ARRAY(VgaCore, palette),
    VMS_I32(VgaCore, bank_offset), VMS_U8(VgaCore, is_vbe_vmstate),
    VMS_U16(VgaCore, vbe_index), VMS_U16_ARRAY(VgaCore, vbe_regs),
    VMS_U32(VgaCore, vbe_start_addr), VMS_U32(VgaCore, vbe_line_offset),
    VMS_U32(VgaCore, vbe_bank_mask),
    VMS_END
};
const VmStateDesc vmstate_vga = { .name = "vga", .version = 2, .minimum = 2, .fields = vga_fields,
    .subsections = vga_subsections, .pre_save = vga_pre_save, .post_load = vga_post_load };
/* clang-format on */
