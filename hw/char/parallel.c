/* SPDX-License-Identifier: MIT */
/*
 * PC parallel port ("isa-parallel"): a printer that takes a byte at each strobe.
 * Spec: IBM PC AT Technical Reference (1984), parallel printer adapter; bit names are IBM's.
 * Missing: EPP, ECP and host ports behind chardevs of kind parport: the byte stream is all.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "chardev/frontend.h"
#include "hw/isa/isa.h"

enum { PORTS = 3, UNSET = 0xffffffff };
enum { STATUS_ERROR = 0x08, STATUS_SELECT = 0x10, STATUS_PAPER = 0x20, STATUS_ACK = 0x40,
       STATUS_BUSY = 0x80, STATUS_READY = STATUS_BUSY | STATUS_ACK | STATUS_SELECT | STATUS_ERROR };
enum { CTR_STROBE = 0x01, CTR_AUTOLF = 0x02, CTR_INIT = 0x04, CTR_SELECT = 0x08, CTR_INTEN = 0x10,
       CTR_DIR = 0x20, CTR_ONES = 0xc0 };

static const struct { uint16_t iobase; } port_rows[PORTS] = { { 0x378 }, { 0x278 }, { 0x3bc } };

/* The names "state.x" on the wire come from this. */
typedef struct ParallelState {
    uint8_t dataw, datar, status, control;
    int32_t irq_pending, epp_timeout;
} ParallelState;

typedef struct Parallel {
    IsaDevice isa;
    ParallelState state;
    MemoryRegion ports;
    CharFrontend chr;
    IrqLine irq_line;
    uint32_t index, iobase, irq;
} Parallel;

static void parallel_sync(Device *dev)
{
    Parallel *s = DEVICE_CAST(Parallel, dev);

    irq_set(&s->irq_line, s->state.irq_pending);
}

static void data_write(Device *dev, uint64_t value)
{
    DEVICE_CAST(Parallel, dev)->state.dataw = value;
}

static uint64_t data_read(Device *dev, uint64_t value)
{
    Parallel *s = DEVICE_CAST(Parallel, dev);

    return s->state.control & CTR_DIR ? s->state.datar : s->state.dataw;
}

/* Reading the status ends the acknowledge pulse and takes the interrupt back. */
static uint64_t status_read(Device *dev, uint64_t value)
{
    ParallelState *st = &DEVICE_CAST(Parallel, dev)->state;
    uint8_t status = st->status;

    st->irq_pending = 0;
    if (!(st->status & STATUS_BUSY) && !(st->control & CTR_STROBE)) {
        if (st->status & STATUS_ACK) {
            st->status &= ~STATUS_ACK;        /* a busy printer acknowledges ... */
        } else {
            st->status |= STATUS_ACK | STATUS_BUSY;   /* ... and is ready */
        }
    }
    return status;
}

static uint64_t control_read(Device *dev, uint64_t value)
{
    return DEVICE_CAST(Parallel, dev)->state.control;
}

static void control_write(Device *dev, uint64_t value)
{
    Parallel *s = DEVICE_CAST(Parallel, dev);
    ParallelState *st = &s->state;
    uint8_t old = st->control;

    value |= CTR_ONES;
    st->control = value;
    if (!(value & CTR_INIT)) {
        st->status = STATUS_READY;            /* the printer is initialised */
    } else if (value & CTR_SELECT) {
        if (value & CTR_STROBE) {
            st->status &= ~STATUS_BUSY;
            if (!(old & CTR_STROBE)) {
                char_write_byte(&s->chr, st->dataw);
            }
        } else if (value & CTR_INTEN) {
            st->irq_pending = 1;
        }
    }
}

static const RegDef parallel_regs[] = {
    { 0, "data", REG_NONE(1), .on_read = data_read, .on_write = data_write },
    { 1, "status", REG_NONE(1), .on_read = status_read },
    { 2, "control", REG_NONE(1), .on_read = control_read, .on_write = control_write },
};

static const CharHandlers no_handlers = { 0 };

/* The first number that no other parallel port of this bus has. */
static uint32_t free_index(Device *dev)
{
    uint32_t taken = 0;

    for (unsigned i = 0; i < dev->bus->devices->len; i++) {
        Device *other = g_ptr_array_index(dev->bus->devices, i);

        if (other != dev && other->realized && other->obj.type == dev->obj.type) {
            taken |= BIT(DEVICE_CAST(Parallel, other)->index & 31);
        }
    }
    return __builtin_ctz(~taken);
}

static bool parallel_realize(Device *dev, GError **error)
{
    Parallel *s = DEVICE_CAST(Parallel, dev);

    if (!char_connected(&s->chr)) {
        return error_set(error, "Can't create parallel device, empty char device");
    }
    if (s->index == UNSET) {
        s->index = free_index(dev);
    }
    if (s->index >= PORTS) {
        return error_set(error, "Max. supported number of parallel ports is %d.", PORTS);
    }
    s->iobase = s->iobase == UNSET ? port_rows[s->index].iobase : s->iobase;
    if (s->iobase > 0xfffc) {
        return error_set(error, "isa-parallel: 'iobase' is 0x%x; its ports end at 0xffff", s->iobase);
    }
    if (!isa_connect_irq(&s->isa, &s->irq_line, s->irq, error)) {
        return false;
    }
    char_attach(&s->chr, &no_handlers, s);
    device_init_reg_region(dev, &s->ports, "parallel", (RegTable)REG_TABLE(parallel_regs), 3);
    isa_add_ports(&s->isa, &s->ports, s->iobase);
    return true;
}

static void parallel_unrealize(Device *dev)
{
    Parallel *s = DEVICE_CAST(Parallel, dev);

    char_detach(&s->chr);
}

static void parallel_reset_enter(Device *dev)
{
    Parallel *s = DEVICE_CAST(Parallel, dev);

    s->state = (ParallelState){ .dataw = 0xff, .datar = 0xff, .status = STATUS_READY,
                                .control = CTR_SELECT | CTR_INIT | CTR_ONES };
}

static const VmField parallel_fields[] = {
    VMS_U8(Parallel, state.dataw), VMS_U8(Parallel, state.datar), VMS_U8(Parallel, state.status),
    VMS_U8(Parallel, state.control), VMS_I32(Parallel, state.irq_pending),
    VMS_I32(Parallel, state.epp_timeout), VMS_END
};
static const PropDef parallel_props[] = {
    PROP_U32("index", Parallel, index, UNSET),
    PROP_U32("iobase", Parallel, iobase, UNSET),
    PROP_U32("irq", Parallel, irq, 7),
    PROP_CHR("chardev", Parallel, chr, .help = "ID of a chardev to use as a backend"),
    PROP_END,
};
DEVICE_TYPE(isa_parallel, .name = "isa-parallel", .bus = &bus_isa, .size = sizeof(Parallel),
            .category = DEVICE_CATEGORY_INPUT, .user_creatable = true, .props = parallel_props,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(Parallel, irq_line)),
            .regs = REG_TABLE(parallel_regs),
            .vmstate = VMSTATE("parallel_isa", 1, 1, parallel_fields),
            .realize = parallel_realize, .unrealize = parallel_unrealize,
            .reset_enter = parallel_reset_enter, .sync = parallel_sync);
