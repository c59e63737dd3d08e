/* SPDX-License-Identifier: MIT */
/*
 * IA-PC HPET ("hpet"): 3 to 32 timers over one 64-bit counter at 100 MHz.
 * Spec: IA-PC HPET Specification 1.0a; register names are the specification's.
 * Quirk: periods below MIN_PERIOD_NS are stretched, or a guest could keep the main loop busy.
 * Quirk: what timer 0 ticks as IRQ 0 (legacy replacement, periodic, edge) is given later when the guest
 * had not taken the tick before: lost_ticks.h.
 * Locking: machine lock.
 *
 * The counter is not stepped: while enabled it is (clock + hpet_offset) in ticks.
 */
#include "hw/timer/hpet.h"

#include "base/error.h"
#include "base/log.h"
#include "vm/vm.h"

enum { TICK_NS = HPET_PERIOD_FS / 1000000, MIN_TIMERS = 3, MAX_TIMERS = 32, GSIS = 32,
       MIN_PERIOD_NS = 20000 };
enum { LEGACY_PIT_GSI = 0, LEGACY_RTC_ISA = 8 };
enum { HPET_CAP = 0x000, HPET_CFG = 0x010, HPET_STATUS = 0x020, HPET_COUNTER = 0x0f0,
       HPET_TIMERS = 0x100 };
enum { TN_CFG = 0x00, TN_CMP = 0x08, TN_ROUTE = 0x10 };
enum { CFG_ENABLE = BIT(0), CFG_LEGACY = BIT(1) };

#define TN_LEVEL BIT64(1)
#define TN_ENABLE BIT64(2)
#define TN_PERIODIC BIT64(3)
#define TN_PERIODIC_CAP BIT64(4)
#define TN_SIZE_CAP BIT64(5)
#define TN_SETVAL BIT64(6)
#define TN_32BIT BIT64(8)
#define TN_ROUTE_SHIFT 9
#define TN_FSB_ENABLE BIT64(14)
#define TN_FSB_CAP BIT64(15)
#define TN_WRITABLE 0x7f4eull
#define NOT_LOADED UINT64_MAX

typedef struct Hpet Hpet;

typedef struct HpetTimer {
    uint8_t tn;
    Timer qemu_timer;
    Hpet *hpet;
    uint64_t config, cmp, fsb, period;
    uint8_t wrap_flag;            /* wire: a 32-bit one-shot that must first wrap */
} HpetTimer;

struct Hpet {
    Device dev;
    MemoryRegion mmio;
    IrqLine gsi[GSIS], pit_enable;
    uint32_t intcap;
    bool msi, offset_saved;
    uint8_t num_timers, num_timers_wire;
    uint64_t config, isr, hpet_counter, hpet_offset;
    uint8_t rtc_irq_level;
    LostTicks lost;               /* of timer 0 as IRQ 0 */
    Timer retry_timer;
    HpetTimer timer[MAX_TIMERS];
};

static bool enabled(const Hpet *s)
{
    return s->config & CFG_ENABLE;
}

static bool legacy(const Hpet *s)
{
    return s->config & CFG_LEGACY;
}

static uint64_t counter(const Hpet *s)
{
    return enabled(s) ? (clock_now(s->dev.vm->clock) + s->hpet_offset) / TICK_NS : s->hpet_counter;
}

static uint64_t timer_mask(const HpetTimer *t)
{
    return t->config & TN_32BIT ? 0xffffffff : UINT64_MAX;
}

/* ---- interrupts ---- */

static unsigned route(const HpetTimer *t)
{
    if (t->tn <= 1 && legacy(t->hpet)) {
        return t->tn == 0 ? LEGACY_PIT_GSI : LEGACY_RTC_ISA;
    }
    return (t->config >> TN_ROUTE_SHIFT) & 0x1f;
}

/* Levels of all outputs from state: level-triggered timers, and the RTC unless it is replaced. */
static void hpet_sync(Device *dev)
{
    Hpet *s = DEVICE_CAST(Hpet, dev);
    uint32_t levels = !legacy(s) && s->rtc_irq_level ? BIT(LEGACY_RTC_ISA) : 0;

    for (unsigned i = 0; i < s->num_timers; i++) {
        const HpetTimer *t = &s->timer[i];

        if (enabled(s) && (t->config & TN_ENABLE) && (t->config & TN_LEVEL) && (s->isr & BIT(i)) &&
            !(t->config & TN_FSB_ENABLE)) {
            levels |= BIT(route(t));
        }
    }
    for (unsigned n = 0; n < GSIS; n++) {
        irq_set(&s->gsi[n], levels & BIT(n));
    }
    irq_set(&s->pit_enable, !legacy(s));
}

static bool ticks_irq0(const HpetTimer *t)
{
    return t->tn == 0 && legacy(t->hpet) && enabled(t->hpet) && (t->config & TN_ENABLE) &&
           (t->config & TN_PERIODIC) && !(t->config & (TN_LEVEL | TN_FSB_ENABLE));
}

static void give_ticks(void *opaque)
{
    Hpet *s = opaque;
    HpetTimer *t = &s->timer[0];

    if (!ticks_irq0(t)) {
        s->lost.owed = 0;
    }
    if (lost_ticks_take(&s->lost)) {
        irq_pulse(&s->gsi[LEGACY_PIT_GSI]);
    }
    if (s->lost.owed) {
        timer_set(&s->retry_timer, clock_now(s->dev.vm->clock) +
                                       lost_ticks_retry_ns((int64_t)MIN(t->period, UINT32_MAX) * TICK_NS));
    }
}

static void fire(HpetTimer *t)
{
    Hpet *s = t->hpet;

    if (t->config & TN_LEVEL) {
        s->isr |= BIT(t->tn);
    }
    if (!(t->config & TN_ENABLE) || !enabled(s)) {
        return;
    }
    if (t->config & TN_FSB_ENABLE) {
        dma_store(&s->dev, t->fsb >> 32, (uint32_t)t->fsb, 4);
    } else if (!(t->config & TN_LEVEL)) {
        irq_pulse(&s->gsi[route(t)]);
    }
    device_sync(&s->dev);
}

/* ---- timers ---- */

/* Ticks from NOW to the comparator; what lies behind comes after a wrap. */
static uint64_t ticks_left(const HpetTimer *t, uint64_t now)
{
    return (t->cmp - now) & timer_mask(t);
}

/*
 * More than half of the range ahead of NOW: the guest was late setting it, or nobody watches it.  A periodic
 * timer catches up, a one-shot one would hang for minutes or centuries; hardware does let it.
 */
static uint64_t comparator(const HpetTimer *t, uint64_t now)
{
    uint64_t behind = (now - t->cmp) & timer_mask(t);

    if (!(t->config & TN_PERIODIC) || !t->period || ticks_left(t, now) <= timer_mask(t) / 2) {
        return t->cmp & timer_mask(t);
    }
    return (t->cmp + (behind / t->period + 1) * t->period) & timer_mask(t);
}

static void schedule(HpetTimer *t)
{
    Hpet *s = t->hpet;
    uint64_t now = counter(s), left, ns;

    if (!enabled(s) || !(t->config & (TN_ENABLE | TN_LEVEL))) {
        timer_cancel(&t->qemu_timer);       /* nobody would notice: comparator() follows by itself */
        return;
    }
    t->cmp = comparator(t, now);
    left = ticks_left(t, now);
    if (left > (uint64_t)INT64_MAX / TICK_NS / 2) {
        timer_cancel(&t->qemu_timer);     /* not in our lifetime */
        return;
    }
    ns = left * TICK_NS;
    if (t->config & TN_PERIODIC) {
        ns = t->period * TICK_NS < MIN_PERIOD_NS ? MAX(ns, MIN_PERIOD_NS) : ns;
    }
    timer_set(&t->qemu_timer, clock_now(s->dev.vm->clock) + ns);
}

static void timer_fired(void *opaque)
{
    HpetTimer *t = opaque;
    uint64_t mask = timer_mask(t), now = counter(t->hpet);

    if ((t->config & TN_PERIODIC) && t->period) {
        uint64_t behind = (now - t->cmp) & mask;

        if (behind <= mask / 2) {
            t->cmp = (t->cmp + (behind / t->period + 1) * t->period) & mask;
        }
        schedule(t);
        if (ticks_irq0(t)) {
            lost_ticks_due(&t->hpet->lost, behind <= mask / 2 ? behind / t->period + 1 : 1,
                           (int64_t)MIN(t->period, UINT32_MAX) * TICK_NS);
            give_ticks(t->hpet);
            return;
        }
    } else if (t->config & TN_32BIT) {
        /* A 32-bit one-shot comes again with each wrap. */
        timer_set(&t->qemu_timer, clock_now(t->hpet->dev.vm->clock) + (1ll << 32) * TICK_NS);
    }
    fire(t);
}

static void start_all(Hpet *s)
{
    for (unsigned i = 0; i < s->num_timers; i++) {
        HpetTimer *t = &s->timer[i];

        if (t->cmp != NOT_LOADED) {
            schedule(t);
        }
    }
}

static void stop_all(Hpet *s)
{
    for (unsigned i = 0; i < s->num_timers; i++) {
        timer_cancel(&s->timer[i].qemu_timer);
    }
}

/* ---- registers ---- */

static uint64_t capability(const Hpet *s)
{
    /* 64-bit counter, legacy replacement, vendor 8086, revision 1 */
    return (uint64_t)HPET_PERIOD_FS << 32 | 0x8086a001 | (uint64_t)(s->num_timers - 1) << 8;
}

static uint64_t reg_read(const Hpet *s, uint64_t reg)
{
    if (reg >= HPET_TIMERS && reg < HPET_TIMERS + 0x20u * s->num_timers) {
        const HpetTimer *t = &s->timer[(reg - HPET_TIMERS) / 0x20];

        switch (reg & 0x18) {
        case TN_CFG:
            return t->config;
        case TN_CMP:
            return comparator(t, counter(s));
        case TN_ROUTE:
            return t->fsb;
        default:
            return 0;
        }
    }
    switch (reg) {
    case HPET_CAP:
        return capability(s);
    case HPET_CFG:
        return s->config;
    case HPET_STATUS:
        return s->isr;
    case HPET_COUNTER:
        return counter(s);
    default:
        log_guest_error("hpet: read at 0x%03x\n", (unsigned)reg);
        return 0;
    }
}

static void cfg_write(Hpet *s, uint64_t value)
{
    uint64_t old = s->config;

    value &= CFG_ENABLE | CFG_LEGACY;
    if (!(old & CFG_ENABLE) && (value & CFG_ENABLE)) {
        s->hpet_offset = s->hpet_counter * TICK_NS - clock_now(s->dev.vm->clock);
        s->config = value;
        start_all(s);
    } else if ((old & CFG_ENABLE) && !(value & CFG_ENABLE)) {
        s->hpet_counter = counter(s);
        s->config = value;
        stop_all(s);
    }
    s->config = value;
}

static void status_write(Hpet *s, uint64_t value)
{
    s->isr &= ~value;             /* write 1 to clear, level-triggered timers */
}

static void tn_cfg_write(HpetTimer *t, uint64_t value)
{
    uint64_t mask = TN_WRITABLE & ~(t->hpet->msi ? 0 : TN_FSB_ENABLE);

    t->config = (t->config & ~mask) | (value & mask);
    if (!(t->config & TN_LEVEL)) {
        t->hpet->isr &= ~BIT64(t->tn);
    }
    if (t->config & TN_32BIT) {
        t->cmp = (uint32_t)t->cmp;
        t->period = (uint32_t)t->period;
    }
    if (t->cmp != NOT_LOADED) {
        schedule(t);
    }
}

/* 2.3.9.2.2: with SETVAL the accumulator is written, without it the period of a periodic timer. */
static void tn_cmp_write(HpetTimer *t, uint64_t value)
{
    value &= timer_mask(t);
    if (!(t->config & TN_PERIODIC) || (t->config & TN_SETVAL)) {
        t->cmp = value;
    }
    if (t->config & TN_PERIODIC) {
        t->period = value;
    }
    t->config &= ~TN_SETVAL;
    schedule(t);
}

static void reg_write(Hpet *s, uint64_t reg, uint64_t value)
{
    if (reg >= HPET_TIMERS && reg < HPET_TIMERS + 0x20u * s->num_timers) {
        HpetTimer *t = &s->timer[(reg - HPET_TIMERS) / 0x20];

        switch (reg & 0x18) {
        case TN_CFG:
            tn_cfg_write(t, value);
            break;
        case TN_CMP:
            tn_cmp_write(t, value);
            break;
        case TN_ROUTE:
            t->fsb = value;
            break;
        default:
            break;
        }
        return;
    }
    switch (reg) {
    case HPET_CFG:
        cfg_write(s, value);
        break;
    case HPET_STATUS:
        status_write(s, value);
        break;
    case HPET_COUNTER:
        if (enabled(s)) {
            log_guest_error("hpet: the counter is written while it runs\n");
        } else {
            s->hpet_counter = value;
        }
        break;
    case HPET_CAP:
        break;
    default:
        log_guest_error("hpet: write of 0x%" G_GINT64_MODIFIER "x at 0x%03x\n", value,
                        (unsigned)reg);
        break;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = reg_read(opaque, offset & ~7ull);

    return size == 8 ? value : (uint32_t)(value >> (offset & 4 ? 32 : 0));
}

/* Guests write halves.  Of a comparator each half is a write of its own: the period's low half
 * must take effect although the high one never comes. */
static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Hpet *s = opaque;
    uint64_t reg = offset & ~7ull, old;

    if (size == 4) {
        bool high = offset & 4;
        bool setval = false;
        HpetTimer *t = NULL;

        if (reg >= HPET_TIMERS && reg < HPET_TIMERS + 0x20u * s->num_timers) {
            t = &s->timer[(reg - HPET_TIMERS) / 0x20];
        }
        old = reg == HPET_STATUS ? 0 : reg_read(s, reg);
        if (t && (reg & 0x18) == TN_CMP) {
            setval = t->config & TN_SETVAL;
            old = (t->config & TN_PERIODIC) && !setval ? t->period : t->cmp;
            old = old == NOT_LOADED ? 0 : old;
            if (high && (t->config & TN_32BIT)) {
                return;
            }
        }
        value = high ? (value << 32) | (uint32_t)old : (old & ~0xffffffffull) | (uint32_t)value;
    }
    reg_write(s, reg, value);
    device_sync(&s->dev);
}

static const MmioOps hpet_ops = { mmio_read, mmio_write, .valid_min = 4, .valid_max = 8,
                                  .impl_min = 4, .impl_max = 8 };

/* ---- the board's side ---- */

static void rtc_input(void *opaque, unsigned n, bool level)
{
    Hpet *s = opaque;

    s->rtc_irq_level = level;
    device_sync(&s->dev);
}

void hpet_set_tick_query(Device *dev, TickWaitsFn *waits, void *opaque)
{
    DEVICE_CAST(Hpet, dev)->lost.waits = waits;
    DEVICE_CAST(Hpet, dev)->lost.opaque = opaque;
}

IrqPin hpet_rtc_pin(Device *dev)
{
    return (IrqPin){ .handler = rtc_input, .opaque = dev, .n = 0 };
}

void hpet_connect_pit(Device *dev, IrqPin enable)
{
    irq_connect(&DEVICE_CAST(Hpet, dev)->pit_enable, enable);
}

void hpet_connect_gsi(Device *dev, unsigned n, IrqPin pin)
{
    irq_connect(&DEVICE_CAST(Hpet, dev)->gsi[n % GSIS], pin);
}

/* ---- life cycle ---- */

static void hpet_reset_enter(Device *dev)
{
    Hpet *s = DEVICE_CAST(Hpet, dev);

    stop_all(s);
    for (unsigned i = 0; i < s->num_timers; i++) {
        HpetTimer *t = &s->timer[i];

        t->cmp = NOT_LOADED;
        t->config = TN_PERIODIC_CAP | TN_SIZE_CAP | (uint64_t)s->intcap << 32 |
                    (s->msi ? TN_FSB_CAP : 0);
        t->fsb = t->period = 0;
        t->wrap_flag = 0;
    }
    s->config = s->isr = s->hpet_counter = s->hpet_offset = 0;
    s->lost.owed = 0;
    timer_cancel(&s->retry_timer);
}

static bool hpet_realize(Device *dev, GError **error)
{
    Hpet *s = DEVICE_CAST(Hpet, dev);

    if (s->intcap == 0) {
        return error_set(error, "hpet.hpet-intcap property not set");
    }
    s->num_timers = CLAMP(s->num_timers, MIN_TIMERS, MAX_TIMERS);
    for (unsigned i = 0; i < MAX_TIMERS; i++) {
        s->timer[i].tn = i;
        s->timer[i].hpet = s;
        timer_init(&s->timer[i].qemu_timer, dev->vm->clock, timer_fired, &s->timer[i]);
    }
    timer_init(&s->retry_timer, dev->vm->clock, give_ticks, s);
    dev->dma_as = &dev->vm->memory;
    memory_region_init_io(&s->mmio, OBJECT(dev), "hpet", &hpet_ops, s, 0x400);
    memory_region_add(&dev->vm->system_memory, HPET_BASE, &s->mmio);
    return true;
}

static void hpet_unrealize(Device *dev)
{
    Hpet *s = DEVICE_CAST(Hpet, dev);

    stop_all(s);
    timer_cancel(&s->retry_timer);
    memory_region_remove(&dev->vm->system_memory, &s->mmio);
    memory_region_clear(&s->mmio);
}

static void hpet_pre_save(void *obj)
{
    Hpet *s = obj;

    s->hpet_counter = counter(s);
    s->num_timers_wire = s->num_timers;
}

static bool hpet_post_load(void *obj, int version, GError **error)
{
    Hpet *s = obj;

    if (s->num_timers_wire < MIN_TIMERS || s->num_timers_wire > MAX_TIMERS) {
        return error_set(error, "hpet: %u timers; 3 to 32 exist", s->num_timers_wire);
    }
    s->num_timers = s->num_timers_wire;
    s->config &= CFG_ENABLE | CFG_LEGACY;
    s->lost.owed = 0;
    timer_cancel(&s->retry_timer);
    for (unsigned i = 0; i < s->num_timers; i++) {
        s->timer[i].tn = i;
    }
    if (!s->offset_saved) {
        s->hpet_offset = s->hpet_counter * TICK_NS - clock_now(s->dev.vm->clock);
    }
    return true;
}

static bool rtc_level_needed(const void *obj)
{
    return ((const Hpet *)obj)->rtc_irq_level != 0;
}

static bool offset_needed(const void *obj)
{
    const Hpet *s = obj;

    return enabled(s) && s->offset_saved;
}

/* clang-format off */
static const VmField timer_fields[] = {
    VMS_U8(HpetTimer, tn), VMS_U64(HpetTimer, config), VMS_U64(HpetTimer, cmp),
    VMS_U64(HpetTimer, fsb), VMS_U64(HpetTimer, period), VMS_U8(HpetTimer, wrap_flag),
    VMS_TIMER(HpetTimer, qemu_timer), VMS_END
};
static const VmStateDesc timer_desc = { .name = "hpet_timer", .version = 1, .minimum = 1,
                                        .fields = timer_fields };
static const VmField rtc_level_fields[] = { VMS_U8(Hpet, rtc_irq_level), VMS_END };
static const VmStateDesc rtc_level_desc = { .name = "hpet/rtc_irq_level", .version = 1,
    .minimum = 1, .fields = rtc_level_fields, .needed = rtc_level_needed };
static const VmField offset_fields[] = { VMS_U64(Hpet, hpet_offset), VMS_END };
static const VmStateDesc offset_desc = { .name = "hpet/offset", .version = 1, .minimum = 1,
    .fields = offset_fields, .needed = offset_needed };
static const VmStateDesc *const hpet_subsections[] = { &rtc_level_desc, &offset_desc, NULL };
static const VmField hpet_fields[] = {
    VMS_U64(Hpet, config), VMS_U64(Hpet, isr), VMS_U64(Hpet, hpet_counter),
    VMS_U8(Hpet, num_timers_wire, .wire = "num_timers", .version = 2),
    { .name = "timer", .kind = VM_STRUCT, .offset = offsetof(Hpet, timer), .desc = &timer_desc,
      .size = sizeof(HpetTimer), .count = MAX_TIMERS, .has_count_field = true, .count_size = 1,
      .count_offset = offsetof(Hpet, num_timers_wire) },
    VMS_END
};
/* clang-format on */
static const PropDef hpet_props[] = {
    PROP_U8("timers", Hpet, num_timers, MIN_TIMERS),
    PROP_BOOL("msi", Hpet, msi, false),
    PROP_U32("hpet-intcap", Hpet, intcap, 0),
    PROP_BOOL("hpet-offset-saved", Hpet, offset_saved, true),
    PROP_END,
};
DEVICE_TYPE(hpet, .name = "hpet", .size = sizeof(Hpet), .props = hpet_props,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(Hpet, pit_enable), IRQ_OUTS(Hpet, gsi)),
            .vmstate = VMSTATE("hpet", 2, 1, hpet_fields, .subsections = hpet_subsections,
                               .pre_save = hpet_pre_save, .post_load = hpet_post_load),
            .realize = hpet_realize, .unrealize = hpet_unrealize,
            .reset_enter = hpet_reset_enter, .sync = hpet_sync);

Device *hpet_new(Vm *vm, uint32_t intcap, GError **error)
{
    g_autofree char *text = g_strdup_printf("%u", intcap);

    return device_create(vm, "hpet", NULL, error, "hpet-intcap", text, NULL);
}
