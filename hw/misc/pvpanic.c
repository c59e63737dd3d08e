/* SPDX-License-Identifier: MIT */
/*
 * "pvpanic": the guest's way to say that it has crashed.
 * Spec: QEMU's docs/specs/pvpanic.rst: bit 0 panicked, bit 1 crash-loaded (a kexec kernel takes over).
 * Locking: machine lock.
 */
#include "base/error.h"
#include "base/log.h"
#include "hw/isa/isa.h"
#include "vm/vm.h"

enum { PVPANIC_PANICKED = BIT(0), PVPANIC_CRASH_LOADED = BIT(1) };

typedef struct PvPanic {
    IsaDevice isa;
    MemoryRegion port;
    uint16_t ioport;
    uint8_t events;               /* what the guest may report; read by it */
} PvPanic;

static uint64_t events_read(Device *dev, uint64_t value)
{
    return DEVICE_CAST(PvPanic, dev)->events;
}

static void events_write(Device *dev, uint64_t value)
{
    if (value & ~(uint64_t)(PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)) {
        log_guest_error("pvpanic: unknown events 0x%02x\n", (unsigned)value);
    }
    if (value & PVPANIC_PANICKED) {
        vm_guest_panicked(dev->vm);
    } else if ((value & PVPANIC_CRASH_LOADED) && dev->vm->host &&
               dev->vm->host->guest_crashloaded) {
        dev->vm->host->guest_crashloaded(dev->vm);
    }
}

static const RegDef pvpanic_regs[] = {
    { 0, "events", REG_NONE(1), .on_read = events_read, .on_write = events_write },
};

static bool pvpanic_realize(Device *dev, GError **error)
{
    PvPanic *s = DEVICE_CAST(PvPanic, dev);

    if (s->events & ~(PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)) {
        return error_set(error, "pvpanic: 'events' is 0x%x; bits 0 and 1 exist", s->events);
    }
    device_init_reg_region(dev, &s->port, "pvpanic", (RegTable)REG_TABLE(pvpanic_regs), 1);
    isa_add_ports(&s->isa, &s->port, s->ioport);
    return true;
}

static const PropDef pvpanic_props[] = {
    PROP_U16("ioport", PvPanic, ioport, 0x505),
    PROP_U8("events", PvPanic, events, PVPANIC_PANICKED | PVPANIC_CRASH_LOADED),
    PROP_END,
};
DEVICE_TYPE(pvpanic, .name = "pvpanic", .bus = &bus_isa, .size = sizeof(PvPanic),
            .category = DEVICE_CATEGORY_MISC, .user_creatable = true, .props = pvpanic_props,
            .regs = REG_TABLE(pvpanic_regs), .realize = pvpanic_realize);
