/* SPDX-License-Identifier: MIT */
/*
 * System control port A ("port92"): A20 and reset without the keyboard controller.
 * Spec: PIIX3 (290550-002) 2.5.7.2, PORT92.  Not modelled: the watchdog and lock bits of the PS/2.
 * Locking: machine lock.
 */
#include "hw/misc/port92.h"

#include "vm/vm.h"

enum { FAST_INIT = BIT(0), FAST_A20 = BIT(1) };

typedef struct Port92 {
    IsaDevice isa;
    MemoryRegion port;
    IrqLine a20;
    uint8_t outport;
} Port92;

static void port92_write(Device *dev, uint64_t value)
{
    Port92 *s = DEVICE_CAST(Port92, dev);
    uint8_t old = s->outport;

    s->outport = value;
    if ((value & FAST_INIT) && !(old & FAST_INIT)) {
        vm_request_reset(dev->vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

/* The gate's line is shared with the keyboard controller: the last writer decides, as an edge. */
static void port92_sync(Device *dev)
{
    Port92 *s = DEVICE_CAST(Port92, dev);

    irq_set(&s->a20, s->outport & FAST_A20);
}

static const RegDef port92_regs[] = {
    { 0, "PORT92", REG8(Port92, outport), .on_write = port92_write },
};

static bool port92_realize(Device *dev, GError **error)
{
    Port92 *s = DEVICE_CAST(Port92, dev);

    device_init_reg_region(dev, &s->port, "port92", (RegTable)REG_TABLE(port92_regs), 1);
    isa_add_ports(&s->isa, &s->port, 0x92);
    return true;
}

static const VmField port92_fields[] = { VMS_U8(Port92, outport), VMS_END };
DEVICE_TYPE(port92, .name = "port92", .bus = &bus_isa, .size = sizeof(Port92),
            .regs = REG_TABLE(port92_regs), .vmstate = VMSTATE("port92", 1, 1, port92_fields),
            .outputs = IRQ_OUTPUTS(IRQ_OUT(Port92, a20)),
            .realize = port92_realize, .sync = port92_sync);

Device *port92_new(IsaBus *bus, IrqPin a20, GError **error)
{
    Device *dev = device_create(bus->bus.vm, "port92", &bus->bus, error, NULL);

    if (dev) {
        irq_connect(&DEVICE_CAST(Port92, dev)->a20, a20);
    }
    return dev;
}
