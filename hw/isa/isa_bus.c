/* SPDX-License-Identifier: MIT */
/*
 * The ISA bus: windows, interrupt lines and the way to the DMA controllers.
 * Locking: machine lock.
 */
#include "hw/isa/isa.h"

#include "base/error.h"
#include "hw/dma/i8237.h"
#include "vm/vm.h"

/* Firmware path component: type and first port ("isa-fdc@03f0"), as bootindex needs it. */
static char *isa_fw_path(Device *dev)
{
    const IsaDevice *isa = DEVICE_CAST(IsaDevice, dev);
    const char *name = dev->obj.type->name;

    /* The names firmware knows differ from the types' in this one case. */
    if (strcmp(name, "isa-fdc") == 0) {
        name = "fdc";
    }
    if (isa->ioport_id < 0) {
        return g_strdup(name);
    }
    return g_strdup_printf("%s@%04x", name, (unsigned)isa->ioport_id);
}

static bool isa_attach(Bus *bus, Device *dev, GError **error)
{
    DEVICE_CAST(IsaDevice, dev)->ioport_id = -1;
    return true;
}

static void isa_detach(Bus *bus, Device *dev)
{
    IsaDevice *isa = DEVICE_CAST(IsaDevice, dev);

    while (isa->port_count > 0) {
        MemoryRegion *mr = isa->ports[--isa->port_count];

        memory_region_remove(((IsaBus *)(void *)bus)->io, mr);
        memory_region_clear(mr);
    }
}

const BusType bus_isa = {
    .name = "ISA",
    .device_type = "isa-device",
    .attach = isa_attach,
    .detach = isa_detach,
    .fw_path = isa_fw_path,
};

DEVICE_TYPE(isa_device, .name = "isa-device", .size = sizeof(IsaDevice), .abstract = true,
            .bus = &bus_isa);

void isa_bus_init(IsaBus *bus, Device *owner, Vm *vm, MemoryRegion *memory, MemoryRegion *io)
{
    bus_init(&bus->bus, &bus_isa, owner, vm, "isa.0");
    bus->bus.dma_as = &vm->memory;
    bus->memory = memory;
    bus->io = io;
}

void isa_add_ports(IsaDevice *dev, MemoryRegion *mr, uint16_t base)
{
    g_assert(dev->port_count < ARRAY_LEN(dev->ports));
    memory_region_add(isa_bus(&dev->dev)->io, base, mr);
    dev->ports[dev->port_count++] = mr;
    if (dev->ioport_id < 0) {
        dev->ioport_id = base;
    }
}

bool isa_connect_irq(IsaDevice *dev, IrqLine *line, unsigned irq, GError **error)
{
    if (irq >= 16) {
        g_autofree char *who = device_describe(&dev->dev);

        return error_set(error, "%s: 'irq' is %u; ISA interrupts are 0 to 15", who, irq);
    }
    irq_connect(line, isa_bus(&dev->dev)->irqs[irq]);
    return true;
}

/* ---- DMA: channels 0-3 are the first controller's, 4-7 the second's ---- */

static IsaDma *controller(IsaBus *bus, int channel)
{
    return channel >= 0 && channel < 8 ? bus->dma[channel >> 2] : NULL;
}

void isa_dma_register(IsaBus *bus, int channel, IsaDmaFn *fn, void *opaque)
{
    IsaDma *dma = controller(bus, channel);

    if (dma) {
        i8237_register(dma, channel & 3, fn, opaque);
    }
}

void isa_dma_hold_dreq(IsaBus *bus, int channel)
{
    IsaDma *dma = controller(bus, channel);

    if (dma) {
        i8237_set_dreq(dma, channel & 3, true);
    }
}

void isa_dma_release_dreq(IsaBus *bus, int channel)
{
    IsaDma *dma = controller(bus, channel);

    if (dma) {
        i8237_set_dreq(dma, channel & 3, false);
    }
}

int isa_dma_read(IsaBus *bus, int channel, void *buf, int pos, int len)
{
    IsaDma *dma = controller(bus, channel);

    return dma ? i8237_read_memory(dma, channel & 3, buf, pos, len) : 0;
}

int isa_dma_write(IsaBus *bus, int channel, const void *buf, int pos, int len)
{
    IsaDma *dma = controller(bus, channel);

    return dma ? i8237_write_memory(dma, channel & 3, buf, pos, len) : 0;
}
