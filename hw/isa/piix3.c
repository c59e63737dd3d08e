/* SPDX-License-Identifier: MIT */
/*
 * Intel 82371SB (PIIX3) function 0: ISA bridge.
 * Spec: 82371FB/82371SB data sheet (290550-002); register names are the sheet's.
 * Not modelled: chip selects, bus clock divisors, DMA type F timing (plain storage).
 * Locking: machine lock.
 */
#include "hw/isa/piix3.h"

#include "vm/vm.h"

enum { REG_PIRQRCA = 0x60, PIRQS = 4, PIRQ_DISABLE = 0x80 };
enum { RC_PORT = 0xcf9, RC_SRST = BIT(1), RC_RCPU = BIT(2) };

typedef struct Piix3 {
    PciDevice pci;
    IsaBus isa;
    IrqLine irqs[16];
    uint8_t pirq_level;           /* bit per PIRQ, as the bus has it */
    uint8_t rcr;                  /* RC */
    MemoryRegion rcr_mr;
    int32_t pirq_levels_wire[PIRQS];
} Piix3;

/* ---- PIRQ routing: 2.2.6 ---- */

static unsigned piix3_map_irq(PciDevice *dev, unsigned pin)
{
    return (PCI_SLOT(dev->devfn) - 1 + pin) & 3;
}

static int routed_to(const Piix3 *s, unsigned pirq)
{
    uint8_t route = s->pci.config[REG_PIRQRCA + pirq];

    return route & PIRQ_DISABLE ? -1 : route & 0xf;
}

/* An ISA interrupt line carries the OR of the PIRQs routed to it. */
static void piix3_sync(Device *dev)
{
    Piix3 *s = DEVICE_CAST(Piix3, dev);
    uint16_t levels = 0;

    for (unsigned pirq = 0; pirq < PIRQS; pirq++) {
        int irq = routed_to(s, pirq);

        if (irq >= 0 && (s->pirq_level & BIT(pirq))) {
            levels |= BIT(irq);
        }
    }
    for (unsigned irq = 0; irq < 16; irq++) {
        irq_set(&s->irqs[irq], levels & BIT(irq));
    }
}

static void piix3_set_pirq(void *opaque, unsigned pirq, bool level)
{
    Piix3 *s = opaque;

    s->pirq_level = level ? s->pirq_level | BIT(pirq) : s->pirq_level & ~BIT(pirq);
    device_sync(&s->pci.dev);
}

static int piix3_route_irq(void *opaque, unsigned pirq)
{
    return routed_to(opaque, pirq);
}

static const PciBusOps piix3_bus_ops = { piix3_map_irq, piix3_set_pirq, piix3_route_irq };

/* ---- RC, reset control ---- */

static uint64_t rcr_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Piix3 *)opaque)->rcr;
}

static void rcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Piix3 *s = opaque;

    if (value & RC_RCPU) {
        vm_request_reset(s->pci.dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
        return;
    }
    s->rcr = value & RC_SRST;
}

static const MmioOps rcr_ops = { rcr_read, rcr_write, .impl_max = 1 };

/* ---- life cycle ---- */

static void piix3_reset_enter(Device *dev)
{
    /* clang-format off */
    static const struct { uint8_t offset, value; } defaults[] = {
        { 0x4c, 0x4d }, { 0x4e, 0x03 }, { 0x60, 0x80 }, { 0x61, 0x80 }, { 0x62, 0x80 },
        { 0x63, 0x80 }, { 0x69, 0x02 }, { 0x70, 0x80 }, { 0x76, 0x0c }, { 0x77, 0x0c },
        { 0x78, 0x02 }, { 0xa0, 0x08 },
    };
    /* clang-format on */
    Piix3 *s = DEVICE_CAST(Piix3, dev);

    le16_store(s->pci.config + PCI_COMMAND,
               PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    le16_store(s->pci.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
    memset(s->pci.config + 0x40, 0, PCI_CONFIG_SIZE - 0x40);
    for (unsigned i = 0; i < ARRAY_LEN(defaults); i++) {
        s->pci.config[defaults[i].offset] = defaults[i].value;
    }
    s->pirq_level = 0;
    s->rcr = 0;
}

static bool piix3_realize(Device *dev, GError **error)
{
    Piix3 *s = DEVICE_CAST(Piix3, dev);
    PciBus *pci = pci_bus_of(&s->pci);

    isa_bus_init(&s->isa, dev, dev->vm, pci->memory, pci->io);
    memory_region_init_io(&s->rcr_mr, OBJECT(dev), "piix3-reset-control", &rcr_ops, s, 1);
    memory_region_add_overlap(pci->io, RC_PORT, &s->rcr_mr, 1);
    pci->ops = &piix3_bus_ops;
    pci->ops_opaque = s;
    pci->irqs = PIRQS;
    return true;
}

static void piix3_pre_save(void *obj)
{
    Piix3 *s = obj;

    for (unsigned i = 0; i < PIRQS; i++) {
        s->pirq_levels_wire[i] = (s->pirq_level >> i) & 1;
    }
}

/* The bus counts are rebuilt by the devices that load after the bridge. */
static bool piix3_post_load(void *obj, int version, GError **error)
{
    Piix3 *s = obj;

    s->pirq_level = 0;
    for (unsigned i = 0; i < PIRQS; i++) {
        s->pirq_level |= (s->pirq_levels_wire[i] & 1) << i;
    }
    return true;
}

static bool rcr_needed(const void *obj)
{
    return ((const Piix3 *)obj)->rcr != 0;
}

static const VmField rcr_fields[] = { VMS_U8(Piix3, rcr), VMS_END };
static const VmStateDesc vmstate_rcr = {
    .name = "PIIX3/rcr", .version = 1, .minimum = 1, .fields = rcr_fields, .needed = rcr_needed,
};
static const VmStateDesc *const piix3_subsections[] = { &vmstate_rcr, NULL };

static const VmField piix3_fields[] = {
    VMS_PART(Piix3, pci, "dev", &vmstate_pci_device),
    VMS_I32_ARRAY(Piix3, pirq_levels_wire, .wire = "pci_irq_levels_vmstate", .version = 3),
    VMS_END
};

static const PciInfo piix3_info = {
    .vendor_id = PCI_VENDOR_INTEL,
    .device_id = 0x7000,
    .class_id = PCI_CLASS_BRIDGE_ISA,
};

DEVICE_TYPE(piix3, .name = "PIIX3", .parent = "pci-device", .size = sizeof(Piix3),
            .desc = "ISA bridge", .bus = &bus_pci, .bus_info = &piix3_info,
            .category = DEVICE_CATEGORY_BRIDGE, .realize = piix3_realize,
            .outputs = IRQ_OUTPUTS(IRQ_OUTS(Piix3, irqs)),
            .reset_enter = piix3_reset_enter, .sync = piix3_sync,
            .vmstate = VMSTATE("PIIX3", 3, 2, piix3_fields, .subsections = piix3_subsections,
                               .pre_save = piix3_pre_save, .post_load = piix3_post_load));

IsaBus *piix3_create(PciBus *pci, int devfn, const IrqPin gsis[16], GError **error)
{
    PciDevice *dev = pci_create(pci, devfn, true, "PIIX3", error);
    Piix3 *s = DEVICE_CAST(Piix3, dev);

    if (!dev) {
        return NULL;
    }
    for (unsigned i = 0; i < 16; i++) {
        irq_connect(&s->irqs[i], gsis[i]);
        s->isa.irqs[i] = gsis[i];
    }
    return &s->isa;
}
