/* SPDX-License-Identifier: MIT */
/*
 * Intel 82371SB (PIIX3) function 1: IDE with bus-master DMA.
 * Spec: 82371SB data sheet (290550-002) 2.3; "Programming Interface for Bus Master IDE Controller"
 * revision 1.0 (BMIDE).
 * Not modelled: timing registers (plain storage); both channels always decode.
 * Locking: machine lock.
 */
#include "hw/ide/piix_ide.h"

#include "base/error.h"
#include "hw/trace.h"
#include "vm/vm.h"

enum { BM_CHANNEL_LEN = 8, BM_LEN = 16 };
enum { BMIC = 0, BMIS = 2, BMIDTP = 4 };
enum { BMIC_START = BIT(0), BMIC_READ = BIT(3) };
enum { BMIS_ACTIVE = BIT(0), BMIS_ERROR = BIT(1), BMIS_INTERRUPT = BIT(2), BMIS_DRV_CAP = 0x60 };
enum { PRD_LEN = 8, PRD_EOT = BIT(7), PRD_TABLE_MAX = 64 * KIB / PRD_LEN };

typedef struct BusMaster {
    IdeBus *bus;
    uint8_t cmd, status;
    uint32_t prd_table;
    /* Where the running transfer is in the guest's descriptor table. */
    uint32_t prd_index;
    uint32_t prd_addr, prd_left;
    bool prd_last;
    int64_t retry_sector_wire;
    uint32_t retry_nsector_wire;
    uint8_t retry_unit_wire;
} BusMaster;

typedef struct PiixIde {
    PciDevice pci;
    IdeBus buses[2];
    BusMaster bm[2];
    MemoryRegion bmdma;
} PiixIde;

/* ---- the descriptor table: BMIDE 1.2 ---- */

static bool next_descriptor(PciDevice *pci, BusMaster *bm)
{
    uint8_t prd[PRD_LEN];

    if (bm->prd_last || bm->prd_index >= PRD_TABLE_MAX ||
        !dma_read(&pci->dev, bm->prd_table + bm->prd_index * PRD_LEN, prd, sizeof(prd))) {
        return false;
    }
    bm->prd_index++;
    bm->prd_addr = le32_load(prd) & ~1u;
    bm->prd_left = le16_load(prd + 4) & 0xfffe;
    bm->prd_left = bm->prd_left ?: 64 * KIB;
    bm->prd_last = prd[7] & PRD_EOT;
    return true;
}

static uint32_t bm_dma_add(IdeBus *bus, DmaSg *sg, uint32_t len)
{
    BusMaster *bm = bus->host_opaque;
    PciDevice *pci = (PciDevice *)(void *)bus->bus.owner;
    uint32_t added = 0;

    while (added < len) {
        uint32_t n;

        if (!bm->prd_left && !next_descriptor(pci, bm)) {
            break;
        }
        n = MIN(bm->prd_left, len - added);
        if (!dma_sg_add(sg, bm->prd_addr, n)) {
            return 0;
        }
        bm->prd_addr += n;
        bm->prd_left -= n;
        added += n;
    }
    return added;
}

static void bm_dma_prepare(IdeBus *bus)
{
    BusMaster *bm = bus->host_opaque;

    if (bm->cmd & BMIC_START) {
        ide_dma_start(bus);
    }
}

static void bm_dma_done(IdeBus *bus, bool error)
{
    BusMaster *bm = bus->host_opaque;

    bm->status &= ~BMIS_ACTIVE;
    if (error) {
        bm->status |= BMIS_ERROR;
    }
    /* Descriptors left over: the transfer was shorter than the table, ACTIVE stays.  BMIDE 3.1 */
    if (!error && (bm->prd_left || !bm->prd_last)) {
        bm->status |= BMIS_ACTIVE;
    }
}

static const IdeHostOps bm_host = { bm_dma_prepare, bm_dma_add, bm_dma_done, NULL };

/* ---- registers ---- */

static uint64_t bm_read(void *opaque, uint64_t offset, unsigned size)
{
    PiixIde *s = opaque;
    const BusMaster *bm = &s->bm[offset / BM_CHANNEL_LEN];
    unsigned reg = offset % BM_CHANNEL_LEN;

    switch (reg) {
    case BMIC:
        return bm->cmd;
    case BMIS:
        return bm->status;
    case 4 ... 7:
        return bm->prd_table >> (8 * (reg - BMIDTP));
    default:
        return 0xff;
    }
}

static void command_write(BusMaster *bm, uint8_t value)
{
    uint8_t was = bm->cmd;

    bm->cmd = value & (BMIC_START | BMIC_READ);
    if ((bm->cmd & BMIC_START) && !(was & BMIC_START)) {
        bm->prd_index = 0;
        bm->prd_left = 0;
        bm->prd_last = false;
        bm->status |= BMIS_ACTIVE;
        ide_dma_start(bm->bus);
    } else if (!(bm->cmd & BMIC_START) && (was & BMIC_START)) {
        /* Stopping in the middle: what is in flight ends first, then the drive gives up. */
        bm->status &= ~BMIS_ACTIVE;
        ide_dma_cancel(bm->bus);
    }
}

static void bm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PiixIde *s = opaque;
    BusMaster *bm = &s->bm[offset / BM_CHANNEL_LEN];
    unsigned reg = offset % BM_CHANNEL_LEN, shift = 8 * (reg - BMIDTP);

    trace_bmdma_write((unsigned)(offset / BM_CHANNEL_LEN), reg, (unsigned)value);
    switch (reg) {
    case BMIC:
        command_write(bm, value);
        break;
    case BMIS:
        /* The capability bits are the driver's; ERROR and INTERRUPT clear by 1. */
        bm->status = (value & BMIS_DRV_CAP) | (bm->status & BMIS_ACTIVE) |
                     (bm->status & ~value & (BMIS_ERROR | BMIS_INTERRUPT));
        break;
    case 4 ... 7:
        bm->prd_table = (bm->prd_table & ~(0xffu << shift)) | (uint32_t)value << shift;
        bm->prd_table &= ~3u;
        break;
    }
}

static const MmioOps bm_ops = { bm_read, bm_write, .valid_max = 4, .impl_max = 1 };

/* ---- interrupts ---- */

/* The drive's line sets the status bit on its way to the legacy interrupt. */
static void drive_irq(void *opaque, unsigned channel, bool level)
{
    PiixIde *s = opaque;

    if (level) {
        s->bm[channel].status |= BMIS_INTERRUPT;
    }
    irq_set(&s->bm[channel].bus->legacy_irq, level);
}

static void piix_ide_sync(Device *dev)
{
    PiixIde *s = DEVICE_CAST(PiixIde, dev);

    for (unsigned i = 0; i < 2; i++) {
        ide_bus_sync(&s->buses[i]);
        irq_set(&s->buses[i].legacy_irq, s->buses[i].irq.level);
    }
}

/* ---- life cycle ---- */

static void piix_ide_reset_enter(Device *dev)
{
    PiixIde *s = DEVICE_CAST(PiixIde, dev);
    uint8_t *c = s->pci.config;

    for (unsigned i = 0; i < 2; i++) {
        BusMaster *bm = &s->bm[i];

        ide_bus_reset(&s->buses[i]);
        bm->cmd = bm->status = 0;
        bm->prd_table = bm->prd_index = bm->prd_left = 0;
        bm->prd_last = false;
    }
    le16_store(c + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    le32_store(c + 0x40, 0x80008000); /* IDETIM: both channels decode */
}

static bool piix_ide_realize(Device *dev, GError **error)
{
    PiixIde *s = DEVICE_CAST(PiixIde, dev);
    static const struct { uint16_t command, control; } ports[] = { { 0x1f0, 0x3f6 },
                                                                   { 0x170, 0x376 } };

    memory_region_init_io(&s->bmdma, OBJECT(dev), "piix-bmdma-container", &bm_ops, s, BM_LEN);
    pci_register_bar(&s->pci, 4, PCI_BASE_ADDRESS_SPACE_IO, &s->bmdma);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *name = g_strdup_printf("ide.%u", i);

        s->bm[i].bus = &s->buses[i];
        ide_bus_init(&s->buses[i], dev, name, &bm_host, &s->bm[i]);
        s->buses[i].first_serial = 1 + 2 * i;
        ide_bus_add_ports(&s->buses[i], pci_bus_of(&s->pci)->io, ports[i].command,
                          ports[i].control);
        irq_connect(&s->buses[i].irq, (IrqPin){ drive_irq, s, i });
    }
    return true;
}

IdeBus *piix_ide_bus(PciDevice *dev, unsigned channel)
{
    return &DEVICE_CAST(PiixIde, dev)->buses[channel];
}

PciDevice *piix_ide_create(PciBus *bus, int devfn, IrqPin irq14, IrqPin irq15, GError **error)
{
    PciDevice *dev = pci_create(bus, devfn, false, "piix3-ide", error);

    if (dev) {
        irq_connect(&piix_ide_bus(dev, 0)->legacy_irq, irq14);
        irq_connect(&piix_ide_bus(dev, 1)->legacy_irq, irq15);
    }
    return dev;
}

/* ---- state: QEMU's "ide" section ---- */

static bool piix_ide_post_load(void *obj, int version, GError **error)
{
    PiixIde *s = obj;

    for (unsigned i = 0; i < 2; i++) {
        BusMaster *bm = &s->bm[i];

        bm->prd_index = bm->prd_left = 0;
        bm->prd_last = false;
        if (!ide_bus_loaded(&s->buses[i], error)) {
            return false;
        }
    }
    return true;
}

/* clang-format off */
static const VmField bm_fields[] = {
    VMS_U8(BusMaster, cmd),
    VMS_U8(BusMaster, status, .wire = "migration_compat_status"),
    VMS_U32(BusMaster, prd_table, .wire = "addr"),
    VMS_I64(BusMaster, retry_sector_wire, .wire = "migration_retry_sector_num"),
    VMS_U32(BusMaster, retry_nsector_wire, .wire = "migration_retry_nsector"),
    VMS_U8(BusMaster, retry_unit_wire, .wire = "migration_retry_unit"),
    VMS_END
};
static const VmStateDesc vmstate_bm = { .name = "ide bmdma", .version = 3, .fields = bm_fields };

static const VmField piix_ide_fields[] = {
    VMS_PCI_DEVICE(PiixIde, pci),
    VMS_STRUCT_ARRAY(PiixIde, bm, &vmstate_bm, .wire = "bmdma"),
    VMS_STRUCT_ARRAY(PiixIde, buses, &vmstate_ide_bus, .wire = "bus"),
    VMS_STRUCT_ARRAY(PiixIde, buses[0].drives, &vmstate_ide_drive, .wire = "bus[0].ifs"),
    VMS_STRUCT_ARRAY(PiixIde, buses[1].drives, &vmstate_ide_drive, .wire = "bus[1].ifs"),
    VMS_END
};
/* clang-format on */

static const PciInfo piix_ide_info = {
    .vendor_id = PCI_VENDOR_INTEL,
    .device_id = 0x7010,
    .class_id = PCI_CLASS_STORAGE_IDE,
    .prog_if = 0x80,
};

DEVICE_TYPE(piix3_ide, .name = "piix3-ide", .parent = "pci-device", .size = sizeof(PiixIde),
            .bus = &bus_pci, .bus_info = &piix_ide_info, .category = DEVICE_CATEGORY_STORAGE,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(PiixIde, buses[0].legacy_irq),
                                   IRQ_OUT(PiixIde, buses[1].legacy_irq)),
            .realize = piix_ide_realize, .reset_enter = piix_ide_reset_enter,
            .sync = piix_ide_sync, .vmstate = VMSTATE("ide", 3, 0, piix_ide_fields,
                                                      .post_load = piix_ide_post_load));
