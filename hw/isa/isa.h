/* SPDX-License-Identifier: MIT */
/*
 * The ISA bus: ports, interrupt lines 0-15, DMA channels 0-7.
 * Devices begin with IsaDevice; the bus adds nothing by itself: iobase=, irq= are properties of the
 * devices that have them, as in QEMU.
 * Thread rule: machine lock.
 */
#ifndef HW_ISA_ISA_H
#define HW_ISA_ISA_H

#include "vm/device.h"

typedef struct IsaBus IsaBus;
typedef struct IsaDma IsaDma;

typedef struct IsaDevice {
    Device dev;
    int ioport_id;            /* first port, for the firmware path; -1 none */
    MemoryRegion *ports[6];   /* by isa_add_ports(); the bus takes them out again */
    unsigned port_count;
} IsaDevice;

struct IsaBus {
    Bus bus;
    MemoryRegion *memory, *io;    /* where devices put their windows */
    IrqPin irqs[16];              /* set by the board before devices are realized */
    IsaDma *dma[2];               /* 8237s, channels 0-3 and 4-7; NULL: no DMA */
};

extern const BusType bus_isa;

void isa_bus_init(IsaBus *bus, Device *owner, Vm *vm, MemoryRegion *memory, MemoryRegion *io);

static inline IsaBus *isa_bus(Device *dev)
{
    return (IsaBus *)(void *)dev->bus;
}

/* Adds a port window for DEV at BASE; remembers the first for the firmware path.  The window goes
 * away with the device. */
void isa_add_ports(IsaDevice *dev, MemoryRegion *mr, uint16_t base);
/* false with an error naming DEV when IRQ is not 0..15. */
bool isa_connect_irq(IsaDevice *dev, IrqLine *line, unsigned irq, GError **error);

/* ---- DMA, seen from a device (FDC, SB16): channel transfers by the 8237 ---- */

/*
 * The controller calls FN while the channel is unmasked and DREQ is held: POS bytes of SIZE are
 * done; FN moves some with isa_dma_read/write and returns the new position.
 */
typedef int IsaDmaFn(void *opaque, int channel, int pos, int size);
void isa_dma_register(IsaBus *bus, int channel, IsaDmaFn *fn, void *opaque);
void isa_dma_hold_dreq(IsaBus *bus, int channel);
void isa_dma_release_dreq(IsaBus *bus, int channel);
/* Memory of the channel's present block, from byte POS on. */
int isa_dma_read(IsaBus *bus, int channel, void *buf, int pos, int len);
int isa_dma_write(IsaBus *bus, int channel, const void *buf, int pos, int len);

/* What hw/misc/i8237.c implements; the board puts it into IsaBus.dma. */
struct IsaDma {
    Device dev;
};

#endif
