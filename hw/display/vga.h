/* SPDX-License-Identifier: MIT */
/*
 * The VGA core with Bochs's VBE extension ("dispi"), as the cards embed it.
 * Register, port and bit names: IBM VGA technical reference, FreeVGA; VBE_DISPI as in the Bochs
 * documentation "VBE extensions".
 *
 * Video memory is kept with the four planes interleaved: byte OFFSET of plane P is at
 * 4 * OFFSET + P.  A linear frame buffer is the same bytes in order.
 *
 * Thread rule: machine lock.
 */
#ifndef HW_DISPLAY_VGA_H
#define HW_DISPLAY_VGA_H

#include "ui/console.h"
#include "vm/device.h"

enum { VGA_CELLS_MAX = 160 * 100, VGA_FONT_LEN = 256 * 32 };
enum { VBE_ID, VBE_XRES, VBE_YRES, VBE_BPP, VBE_ENABLE, VBE_BANK, VBE_VIRT_WIDTH,
       VBE_VIRT_HEIGHT, VBE_X_OFFSET, VBE_Y_OFFSET, VBE_REGS, VBE_MEMORY_64K = VBE_REGS };
enum { VBE_ENABLED = BIT(0), VBE_GETCAPS = BIT(1), VBE_8BIT_DAC = BIT(5), VBE_LFB = BIT(6),
       VBE_NOCLEAR = BIT(7) };

/* What the registers say is on the screen; compared to see a mode change. */
typedef struct VgaMode {
    enum { VGA_BLANK, VGA_TEXT, VGA_PLANAR16, VGA_CGA4, VGA_PACKED } kind;
    unsigned width, height;       /* pixels of the surface */
    unsigned bpp;                 /* VGA_PACKED: 8, 15, 16, 24, 32 */
    unsigned cols, rows, cell_width, cell_height;   /* VGA_TEXT */
    uint32_t line_offset;         /* bytes from line to line, interleaved */
    uint32_t start;               /* byte of the first pixel */
    uint32_t line_compare;        /* the line at which memory address 0 starts again */
    unsigned repeat;              /* scan lines per memory line */
    /* Registers without influence on the size: panning, planes, attributes, cursor's shape. */
    uint8_t ar_pan, ar_planes, ar_mode, cr_cursor_first, cr_cursor_last;
} VgaMode;

typedef struct VgaCore {
    Device *dev;
    MemoryRegion vram;            /* RAM */
    MemoryRegion legacy;          /* the window at a0000, 128 KiB */
    MemoryRegion chain4;          /* alias over VRAM where the window is linear */
    MemoryRegion *legacy_parent;
    MemoryRegion ports, dispi;
    uint32_t vram_size_mb;        /* vgamem_mb= */
    uint8_t *mem;                 /* of vram */
    uint32_t vram_size;           /* bytes, a power of two */
    bool vram_used;               /* there has been a reset: it need not be zero */

    uint32_t latch;
    uint8_t sr_index, gr_index, ar_index, cr_index;
    uint8_t sr[8], gr[16], ar[21], cr[256];
    int32_t ar_flip_flop;
    uint8_t msr, fcr, st00, st01;
    uint8_t dac_state, dac_sub_index, dac_read_index, dac_write_index, dac_cache[3];
    uint8_t palette[768];
    int32_t bank_offset;
    uint8_t is_vbe_vmstate;
    uint16_t vbe_index, vbe_regs[VBE_REGS];
    uint32_t vbe_start_addr, vbe_line_offset, vbe_bank_mask;
    bool big_endian_fb;

    /* Rendering; none of it is state. */
    Console *con;
    VgaMode shown;
    bool full_update;
    uint32_t colors[256];         /* of the palette as shown */
    uint16_t cells[VGA_CELLS_MAX];
    uint8_t fonts[2][VGA_FONT_LEN];
    uint32_t cursor_cell;         /* where it was drawn; UINT32_MAX: nowhere */
    bool cursor_on;
} VgaCore;

/* Makes video memory, the legacy window in ISA_MEMORY and the ports in IO. */
bool vga_init(VgaCore *vga, Device *dev, MemoryRegion *isa_memory, MemoryRegion *io,
              GError **error);
void vga_clear(VgaCore *vga);
void vga_reset(VgaCore *vga);

/* Port access for cards that have another window onto the registers; PORT is 3c0..3df. */
uint8_t vga_port_read(VgaCore *vga, uint16_t port);
void vga_port_write(VgaCore *vga, uint16_t port, uint8_t value);
uint16_t vga_dispi_read(VgaCore *vga, unsigned index);
void vga_dispi_write(VgaCore *vga, unsigned index, uint16_t value);

/* hw/display/vga_render.c */
extern const ConsoleOps vga_console_ops;      /* opaque: VgaCore */

extern const VmStateDesc vmstate_vga;

#endif
