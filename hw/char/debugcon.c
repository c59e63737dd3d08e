/* SPDX-License-Identifier: MIT */
/*
 * "isa-debugcon": a port whose writes go to a character device, as Bochs' port e9h.
 * Reads give the value by which firmware detects it.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "chardev/frontend.h"
#include "hw/isa/isa.h"

typedef struct DebugCon {
    IsaDevice isa;
    MemoryRegion port;
    CharFrontend chr;
    uint32_t iobase, readback;
} DebugCon;

static uint64_t debugcon_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((DebugCon *)opaque)->readback;
}

static void debugcon_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    char_write_byte(&((DebugCon *)opaque)->chr, value);
}

static const MmioOps debugcon_ops = { debugcon_read, debugcon_write, .valid_min = 1, .valid_max = 1 };

static const CharHandlers no_handlers = { 0 };

static bool debugcon_realize(Device *dev, GError **error)
{
    DebugCon *s = DEVICE_CAST(DebugCon, dev);

    if (!char_connected(&s->chr)) {
        return error_set(error, "Can't create debugcon device, empty char device");
    }
    if (s->iobase > 0xffff) {
        return error_set(error, "isa-debugcon: 'iobase' is 0x%x; ports end at 0xffff", s->iobase);
    }
    char_attach(&s->chr, &no_handlers, s);
    memory_region_init_io(&s->port, OBJECT(dev), "isa-debugcon", &debugcon_ops, s, 1);
    isa_add_ports(&s->isa, &s->port, s->iobase);
    return true;
}

static void debugcon_unrealize(Device *dev)
{
    DebugCon *s = DEVICE_CAST(DebugCon, dev);

    char_detach(&s->chr);
}

static const PropDef debugcon_props[] = {
    PROP_U32("iobase", DebugCon, iobase, 0xe9),
    PROP_CHR("chardev", DebugCon, chr, .help = "ID of a chardev to use as a backend"),
    PROP_U32("readback", DebugCon, readback, 0xe9),
    PROP_END,
};
DEVICE_TYPE(isa_debugcon, .name = "isa-debugcon", .bus = &bus_isa, .size = sizeof(DebugCon),
            .category = DEVICE_CATEGORY_MISC, .user_creatable = true, .props = debugcon_props,
            .realize = debugcon_realize, .unrealize = debugcon_unrealize);
