/* SPDX-License-Identifier: MIT */
/*
 * iBASE IB700 watchdog ("ib700"): ports 441h (stop) and 443h (start with a time).
 * Spec: Linux' ib700wdt driver notes: values 0 (30 s) to 15 (0 s), two seconds apart.
 * Locking: machine lock.
 */
#include "hw/isa/isa.h"
#include "vm/vm.h"

enum { PORT_STOP = 0x441, PORT_START = 0x443 };

typedef struct Ib700 {
    IsaDevice isa;
    MemoryRegion ports;
    Timer timer;
} Ib700;

static void expired(void *opaque)
{
    Ib700 *s = opaque;
    Vm *vm = s->isa.dev.vm;

    if (vm->host && vm->host->watchdog_expired) {
        vm->host->watchdog_expired(vm);
    }
}

static void stop_write(Device *dev, uint64_t value)
{
    timer_cancel(&DEVICE_CAST(Ib700, dev)->timer);
}

static void start_write(Device *dev, uint64_t value)
{
    Ib700 *s = DEVICE_CAST(Ib700, dev);
    int64_t seconds = 30 - 2 * (int64_t)(value & 0xf);

    timer_set(&s->timer, clock_now(dev->vm->clock) + seconds * NANOSECONDS_PER_SECOND);
}

static const RegDef ib700_regs[] = {
    { 0, "stop", REG_NONE(1), .on_write = stop_write },
    { 2, "start", REG_NONE(1), .on_write = start_write },
};

static void ib700_reset_enter(Device *dev)
{
    timer_cancel(&DEVICE_CAST(Ib700, dev)->timer);
}

static bool ib700_realize(Device *dev, GError **error)
{
    Ib700 *s = DEVICE_CAST(Ib700, dev);

    timer_init(&s->timer, dev->vm->clock, expired, s);
    device_init_reg_region(dev, &s->ports, "ib700", (RegTable)REG_TABLE(ib700_regs),
                           PORT_START - PORT_STOP + 1);
    isa_add_ports(&s->isa, &s->ports, PORT_STOP);
    return true;
}

static void ib700_unrealize(Device *dev)
{
    Ib700 *s = DEVICE_CAST(Ib700, dev);

    timer_cancel(&s->timer);
}

static const VmField ib700_fields[] = { VMS_TIMER(Ib700, timer), VMS_END };
DEVICE_TYPE(ib700, .name = "ib700", .bus = &bus_isa, .size = sizeof(Ib700),
            .category = DEVICE_CATEGORY_WATCHDOG, .user_creatable = true,
            .vmstate = VMSTATE("ib700_wdt", 0, 0, ib700_fields), .realize = ib700_realize,
            .unrealize = ib700_unrealize, .reset_enter = ib700_reset_enter);
