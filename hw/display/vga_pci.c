/* SPDX-License-Identifier: MIT */
/*
 * The standard VGA card ("VGA", -vga std): a PCI function around the VGA core.
 * Spec: QEMU's "standard-vga" document: BAR 0 video memory, BAR 2 registers: EDID at 0, VGA ports
 * 3c0..3df at 400h, dispi at 500h, endianness at 600h.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "hw/display/edid.h"
#include "hw/display/vga.h"
#include "hw/pci/pci.h"

enum { MMIO_LEN = 0x1000, MMIO_EDID_LEN = 0x100, MMIO_PORTS = 0x400, MMIO_PORTS_LEN = 0x20,
       MMIO_DISPI = 0x500, MMIO_DISPI_LEN = 2 * 11, MMIO_QEXT = 0x600, MMIO_QEXT_LEN = 8 };
enum { QEXT_ENDIAN_LITTLE = 0x1e1e1e1e, QEXT_ENDIAN_BIG = (int)0xbebebebe };

typedef struct VgaPci {
    PciDevice pci;
    VgaCore vga;
    MemoryRegion mmio;
    uint8_t edid[MMIO_EDID_LEN];
    bool has_mmio, has_edid, has_qext, global_vmstate;
    uint32_t xres, yres, xmax, ymax, refresh_mhz;
} VgaPci;

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    VgaPci *s = opaque;

    if (offset < MMIO_EDID_LEN) {
        return s->has_edid ? s->edid[offset] : 0xff;
    }
    if (offset >= MMIO_PORTS && offset < MMIO_PORTS + MMIO_PORTS_LEN) {
        return vga_port_read(&s->vga, 0x3c0 + offset - MMIO_PORTS);
    }
    if (offset >= MMIO_DISPI && offset < MMIO_DISPI + MMIO_DISPI_LEN) {
        uint16_t v = vga_dispi_read(&s->vga, (offset - MMIO_DISPI) / 2);

        return offset & 1 ? v >> 8 : v;
    }
    if (s->has_qext && offset >= MMIO_QEXT && offset < MMIO_QEXT + MMIO_QEXT_LEN) {
        uint32_t v = offset < MMIO_QEXT + 4 ? MMIO_QEXT_LEN
                     : s->vga.big_endian_fb ? (uint32_t)QEXT_ENDIAN_BIG
                                            : (uint32_t)QEXT_ENDIAN_LITTLE;

        return v >> (8 * (offset & 3));
    }
    return 0xff;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VgaPci *s = opaque;

    if (offset >= MMIO_PORTS && offset < MMIO_PORTS + MMIO_PORTS_LEN) {
        for (unsigned i = 0; i < size; i++) {
            vga_port_write(&s->vga, 0x3c0 + offset - MMIO_PORTS + i, value >> (8 * i));
        }
    } else if (offset >= MMIO_DISPI && offset < MMIO_DISPI + MMIO_DISPI_LEN && size == 2) {
        vga_dispi_write(&s->vga, (offset - MMIO_DISPI) / 2, value);
    } else if (s->has_qext && offset == MMIO_QEXT + 4 && size == 4) {
        if (value == (uint32_t)QEXT_ENDIAN_BIG || value == (uint32_t)QEXT_ENDIAN_LITTLE) {
            s->vga.big_endian_fb = value == (uint32_t)QEXT_ENDIAN_BIG;
            s->vga.full_update = true;
        }
    }
}

/* Reads are put together from bytes; writes arrive whole. */
static uint64_t mmio_read_wide(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++) {
        v |= (mmio_read(opaque, offset + i, 1) & 0xff) << (8 * i);
    }
    return v;
}

static const MmioOps mmio_ops = { mmio_read_wide, mmio_write, .valid_max = 4, .impl_min = 1,
                                  .impl_max = 4 };

static bool vga_pci_realize(Device *dev, GError **error)
{
    VgaPci *s = DEVICE_CAST(VgaPci, dev);
    PciBus *bus = pci_bus_of(&s->pci);
    EdidInfo edid = { .name = "QEMU Monitor", .prefx = s->xres, .prefy = s->yres,
                      .maxx = s->xmax, .maxy = s->ymax, .refresh_mhz = s->refresh_mhz };

    if (!vga_init(&s->vga, dev, bus->memory, bus->io, error)) {
        return false;
    }
    pci_register_bar(&s->pci, 0, PCI_BASE_ADDRESS_MEM_PREFETCH, &s->vga.vram);
    if (s->has_mmio) {
        edid_generate(s->edid, &edid);
        memory_region_init_io(&s->mmio, OBJECT(dev), "vga.mmio", &mmio_ops, s, MMIO_LEN);
        pci_register_bar(&s->pci, 2, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    }
    return true;
}

static void vga_pci_reset_enter(Device *dev)
{
    vga_reset(&DEVICE_CAST(VgaPci, dev)->vga);
}

static const VmField vga_pci_fields[] = {
    VMS_PART(VgaPci, pci, "dev", &vmstate_pci_device),
    VMS_STRUCT(VgaPci, vga, &vmstate_vga),
    VMS_END
};

static const PropDef vga_pci_props[] = {
    PROP_U32("vgamem_mb", VgaPci, vga.vram_size_mb, 16, .min = 1, .max = 512),
    PROP_BOOL("mmio", VgaPci, has_mmio, true),
    PROP_BOOL("qemu-extended-regs", VgaPci, has_qext, true),
    PROP_BOOL("edid", VgaPci, has_edid, true),
    PROP_BOOL("global-vmstate", VgaPci, global_vmstate, false),
    PROP_U32("xres", VgaPci, xres, 0, .max = 4096),
    PROP_U32("yres", VgaPci, yres, 0, .max = 4096),
    PROP_U32("xmax", VgaPci, xmax, 0),
    PROP_U32("ymax", VgaPci, ymax, 0),
    PROP_U32("refresh_rate", VgaPci, refresh_mhz, 0),
    PROP_END
};

static const PciInfo vga_pci_info = {
    .vendor_id = PCI_VENDOR_QEMU,
    .device_id = 0x1111,
    .revision = 2,
    .class_id = PCI_CLASS_DISPLAY_VGA,
    .romfile = "vgabios-stdvga.bin",
};

DEVICE_TYPE(vga_pci, .name = "VGA", .parent = "pci-device", .size = sizeof(VgaPci),
            .desc = "Standard VGA", .bus = &bus_pci, .bus_info = &vga_pci_info,
            .category = DEVICE_CATEGORY_DISPLAY, .user_creatable = true,
            .props = vga_pci_props, .realize = vga_pci_realize,
            .reset_enter = vga_pci_reset_enter,
            .vmstate = VMSTATE("vga", 2, 2, vga_pci_fields));
