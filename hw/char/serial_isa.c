/* SPDX-License-Identifier: MIT */
/*
 * "isa-serial": a 16550A at one of the four PC addresses.
 * The board numbers its ports with index=; a port of -device without one gets the first free.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "hw/char/uart.h"
#include "hw/isa/isa.h"

enum { PORTS = 4, UNSET = 0xffffffff };

static const struct { uint16_t iobase; uint8_t irq; } port_rows[PORTS] = {
    { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 },
};

typedef struct SerialIsa {
    IsaDevice isa;
    Uart state;
    MemoryRegion ports;
    IrqLine irq_line;
    uint32_t index, iobase, irq;
} SerialIsa;

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
    SerialIsa *s = opaque;
    uint8_t value = uart_read(&s->state, offset);

    device_sync(&s->isa.dev);
    return value;
}

static void serial_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    SerialIsa *s = opaque;

    uart_write(&s->state, offset, value);
    device_sync(&s->isa.dev);
}

static const MmioOps serial_ops = { serial_read, serial_write, .valid_min = 1, .valid_max = 4,
                                    .impl_min = 1, .impl_max = 1 };

static void serial_sync(Device *dev)
{
    SerialIsa *s = DEVICE_CAST(SerialIsa, dev);

    irq_set(&s->irq_line, uart_irq(&s->state));
}

/* The first number that no other serial port of this bus has. */
static uint32_t free_index(Device *dev)
{
    for (uint32_t index = 0; index < PORTS; index++) {
        bool taken = false;

        for (unsigned i = 0; i < dev->bus->devices->len; i++) {
            Device *other = g_ptr_array_index(dev->bus->devices, i);

            taken |= other != dev && other->realized && other->obj.type == dev->obj.type &&
                     DEVICE_CAST(SerialIsa, other)->index == index;
        }
        if (!taken) {
            return index;
        }
    }
    return PORTS;
}

static bool serial_realize(Device *dev, GError **error)
{
    SerialIsa *s = DEVICE_CAST(SerialIsa, dev);

    if (s->index == UNSET) {
        s->index = free_index(dev);
    }
    if (s->index >= PORTS) {
        return error_set(error, "Max. supported number of ISA serial ports is %d.", PORTS);
    }
    s->iobase = s->iobase == UNSET ? port_rows[s->index].iobase : s->iobase;
    s->irq = s->irq == UNSET ? port_rows[s->index].irq : s->irq;
    if (s->iobase > 0xfff8) {
        return error_set(error, "isa-serial: 'iobase' is 0x%x; the 8 ports end at 0xffff", s->iobase);
    }
    if (s->state.baudbase == 0) {
        return error_set(error, "isa-serial: 'baudbase' must not be 0");
    }
    if (!isa_connect_irq(&s->isa, &s->irq_line, s->irq, error)) {
        return false;
    }
    uart_init(&s->state, dev);
    memory_region_init_io(&s->ports, OBJECT(dev), "serial", &serial_ops, s, 8);
    isa_add_ports(&s->isa, &s->ports, s->iobase);
    return true;
}

static void serial_unrealize(Device *dev)
{
    SerialIsa *s = DEVICE_CAST(SerialIsa, dev);

    uart_clear(&s->state);
}

static void serial_reset_enter(Device *dev)
{
    uart_reset(&DEVICE_CAST(SerialIsa, dev)->state);
}

static const VmField serial_fields[] = { VMS_STRUCT(SerialIsa, state, &uart_vmstate), VMS_END };
static const PropDef serial_props[] = {
    PROP_U32("index", SerialIsa, index, UNSET),
    PROP_U32("iobase", SerialIsa, iobase, UNSET),
    PROP_U32("irq", SerialIsa, irq, UNSET),
    PROP_CHR("chardev", SerialIsa, state.chr, .help = "ID of a chardev to use as a backend"),
    PROP_U32("baudbase", SerialIsa, state.baudbase, 115200),
    PROP_BOOL("wakeup", SerialIsa, state.wakeup, false),
    PROP_END,
};
DEVICE_TYPE(isa_serial, .name = "isa-serial", .bus = &bus_isa, .size = sizeof(SerialIsa),
            .category = DEVICE_CATEGORY_INPUT, .user_creatable = true, .props = serial_props,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(SerialIsa, irq_line)),
            .vmstate = VMSTATE("serial", 3, 2, serial_fields), .realize = serial_realize,
            .unrealize = serial_unrealize, .reset_enter = serial_reset_enter,
            .sync = serial_sync);
