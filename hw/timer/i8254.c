/* SPDX-License-Identifier: MIT */
/*
 * Intel 8254 programmable interval timer ("isa-pit").
 * Spec: 8254 data sheet (231164-005); register and mode names are the sheet's.
 * Counters are not stepped: value and output are functions of the time since the count was loaded.
 * Quirk: in mode 2 counter 0's one-clock low pulse is given at the moment it ends, so that a tick
 * costs one timer and not two.
 * Quirk: ticks that come due before the last one was taken are given later (lost_ticks.h).
 * Not modelled: a count written while another runs takes effect at once in all modes; how long
 * a counter has been stopped by its gate is not migrated (the wire format has no room for it).
 * Locking: machine lock.
 */
#include "hw/timer/i8254_int.h"

#include "base/error.h"
#include "vm/vm.h"

/* Values travel in the vmstate: do not renumber. */
enum { RW_NONE, RW_LSB, RW_MSB, RW_WORD0, RW_WORD1 };
enum { STATUS_NULL_COUNT = BIT(6), STATUS_OUT = BIT(7) };
enum { READ_BACK_NO_COUNT = BIT(5), READ_BACK_NO_STATUS = BIT(4) };

/* The device, with counters that are up to date. */
static I8254 *fresh(Device *dev)
{
    I8254 *s = DEVICE_CAST(I8254, dev);

    if (s->refresh) {
        s->refresh(s);
    }
    return s;
}

static int64_t ticks_to_ns(int64_t ticks)
{
    return muldiv64(ticks, NANOSECONDS_PER_SECOND, PIT_HZ);
}

static int64_t elapsed(const I8254 *s, const Counter *c)
{
    int64_t ns = clock_now(s->isa.dev.vm->clock) - c->count_load_time;

    if (c->stopped_ticks >= 0) {
        return c->stopped_ticks;
    }
    /* Rounded up by less than a clock: the callback of a deadline must see its transition done. */
    return ns <= 0 ? 0 : (int64_t)muldiv64(ns + 1, PIT_HZ, NANOSECONDS_PER_SECOND);
}

/* ---- value and output as functions of the clocks since the load: [8254 "Mode definitions"] ---- */

static uint16_t to_bcd(unsigned v)
{
    return (v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10;
}

static unsigned from_bcd(unsigned v)
{
    return (v >> 12 & 15) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
}

static unsigned modulus(const Counter *c)
{
    return c->bcd ? 10000 : 0x10000;
}

static uint16_t current_count(const I8254 *s, const Counter *c)
{
    int64_t d = elapsed(s, c);
    unsigned value;

    switch (c->mode) {
    case 2:
        value = c->count - d % c->count;
        break;
    case 3:                       /* counts by two, twice per period */
        value = c->count - (2 * d) % c->count;
        break;
    default:                      /* goes on below zero */
        value = (unsigned)((c->count - d % modulus(c) + modulus(c)) % modulus(c));
        break;
    }
    return c->bcd ? to_bcd(value % 10000) : value;
}

static bool current_out(const I8254 *s, const Counter *c)
{
    int64_t d = elapsed(s, c);

    switch (c->mode) {
    case 2:
        return !c->gate || c->count == 1 || d % c->count != c->count - 1;
    case 3:
        return !c->gate || d % c->count < (c->count + 1) / 2;
    case 4:
    case 5:
        return d != c->count;
    default:                      /* 0 and 1: low until the count is through */
        return d >= c->count;
    }
}

/* Clocks after the load at which the output next changes, seen from D; -1: never. */
static int64_t next_change(const Counter *c, int64_t d)
{
    int64_t period = d / c->count * c->count;
    int64_t half = period + (c->count + 1) / 2;

    if (c->stopped_ticks >= 0) {
        return -1;
    }
    switch (c->mode) {
    case 2:
        return period + c->count;
    case 3:
        return d < half ? half : period + c->count;
    case 4:
    case 5:
        return d < c->count ? c->count : d == c->count ? d + 1 : -1;
    default:
        return d < c->count ? c->count : -1;
    }
}

/* ---- counter 0's interrupt ---- */

static bool is_periodic(const Counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* In the periodic modes a tick is a rising edge at the end of each period. */
static void count_ticks(I8254 *s)
{
    const Counter *c = &s->channels[0];
    int64_t periods = is_periodic(c) ? elapsed(s, c) / c->count : 0;

    if (periods > s->periods_done) {
        lost_ticks_due(&s->lost, (uint64_t)(periods - s->periods_done), ticks_to_ns(c->count));
    }
    s->periods_done = periods;
}

static void i8254_sync(Device *dev)
{
    I8254 *s = DEVICE_CAST(I8254, dev);
    Counter *c = &s->channels[0];
    int64_t change = c->irq_disabled ? -1 : next_change(c, elapsed(s, c)), deadline;

    count_ticks(s);
    if (c->irq_disabled) {
        s->lost.owed = 0;
        irq_set(&s->irq, false);
    } else {
        if (lost_ticks_take(&s->lost)) {
            irq_set(&s->irq, false);
            irq_set(&s->irq, true);
        }
        /* Mode 2 rests high: its low clock is part of the edge above. */
        irq_set(&s->irq, c->mode == 2 || current_out(s, c));
    }
    if (change < 0) {
        c->next_transition_time = -1;
        timer_cancel(&s->timer);
        return;
    }
    deadline = c->next_transition_time = c->count_load_time + ticks_to_ns(change);
    if (s->lost.owed) {
        deadline = MIN(deadline, clock_now(dev->vm->clock) +
                                     lost_ticks_retry_ns(ticks_to_ns(c->count)));
    }
    timer_set(&s->timer, MAX(deadline, 0));
}

static void timer_fired(void *opaque)
{
    device_sync(&((I8254 *)opaque)->isa.dev);
}

/* HPET's legacy replacement takes the interrupt over. */
void i8254_set_input(Device *dev, unsigned n, bool level)
{
    fresh(dev)->channels[0].irq_disabled = !level;
}

/* ---- loading and gates ---- */

static void restart(I8254 *s, Counter *c)
{
    if (c == &s->channels[0]) {
        s->periods_done = 0;
        s->lost.owed = 0;
    }
    c->count_load_time = clock_now(s->isa.dev.vm->clock);
    c->stopped_ticks = -1;
}

/* Modes 1 and 5 wait for their gate: their count is through until it comes. */
static void wait_for_trigger(I8254 *s, Counter *c)
{
    restart(s, c);
    c->count_load_time -= ticks_to_ns(2 * 0x10000);
}

static void load_count(I8254 *s, Counter *c, unsigned value)
{
    value = c->bcd ? from_bcd(value) : value;
    c->count = value ? value : modulus(c);
    if (c->mode == 1 || c->mode == 5) {
        wait_for_trigger(s, c);
        return;
    }
    restart(s, c);
    if (!c->gate) {
        c->stopped_ticks = 0;
    }
}

static void set_gate(I8254 *s, Counter *c, bool level)
{
    bool rises = level && !c->gate, falls = !level && c->gate;
    int64_t done = elapsed(s, c);

    c->gate = level;
    switch (c->mode) {
    case 1:
    case 5:
        if (rises) {
            restart(s, c);
        }
        break;
    case 2:
    case 3:
        if (rises) {
            restart(s, c);
        } else if (falls) {
            c->stopped_ticks = done;
        }
        break;
    default:                      /* 0 and 4: the gate only stops the count */
        if (rises && c->stopped_ticks >= 0) {
            restart(s, c);
            c->count_load_time -= ticks_to_ns(done);
        } else if (falls) {
            c->stopped_ticks = done;
        }
        break;
    }
}

void i8254_set_gate(Device *dev, unsigned channel, bool level)
{
    I8254 *s = fresh(dev);

    set_gate(s, &s->channels[channel], level);
    device_sync(dev);
}

bool i8254_gate(Device *dev, unsigned channel)
{
    return fresh(dev)->channels[channel].gate;
}

bool i8254_out(Device *dev, unsigned channel)
{
    I8254 *s = fresh(dev);

    return current_out(s, &s->channels[channel]);
}

unsigned i8254_count(Device *dev, unsigned channel)
{
    return fresh(dev)->channels[channel].count;
}

/* ---- registers ---- */

static void latch_count(I8254 *s, Counter *c)
{
    if (!c->count_latched) {
        c->latched_count = current_count(s, c);
        c->count_latched = c->rw_mode == 3 ? RW_WORD0 : c->rw_mode;
    }
}

static void latch_status(I8254 *s, Counter *c)
{
    if (!c->status_latched) {
        c->status = (current_out(s, c) ? STATUS_OUT : 0) | c->rw_mode << 4 | c->mode << 1 | c->bcd;
        c->status_latched = 1;
    }
}

static void read_back(I8254 *s, uint8_t value)
{
    for (unsigned n = 0; n < 3; n++) {
        if (!(value & (2 << n))) {
            continue;
        }
        if (!(value & READ_BACK_NO_COUNT)) {
            latch_count(s, &s->channels[n]);
        }
        if (!(value & READ_BACK_NO_STATUS)) {
            latch_status(s, &s->channels[n]);
        }
    }
}

static void control_write(Device *dev, uint64_t value)
{
    I8254 *s = fresh(dev);
    unsigned select = (value >> 6) & 3, rw = (value >> 4) & 3, mode = (value >> 1) & 7;
    Counter *c = &s->channels[select % 3];

    if (select == 3) {
        read_back(s, value);
    } else if (rw == 0) {
        latch_count(s, c);
    } else {
        c->rw_mode = rw;
        c->read_state = c->write_state = rw == 3 ? RW_WORD0 : rw;
        c->mode = mode > 5 ? mode - 4 : mode;   /* M2 is "don't care" in modes 2 and 3 */
        c->bcd = value & 1;
        c->count_latched = RW_NONE;
        c->status_latched = 0;
        if (c->mode == 1 || c->mode == 5) {
            wait_for_trigger(s, c);
        }
    }
}

static uint64_t counter_read(Device *dev, unsigned n)
{
    I8254 *s = fresh(dev);
    Counter *c = &s->channels[n];
    uint16_t value;

    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    switch (c->count_latched) {
    case RW_LSB:
        c->count_latched = RW_NONE;
        return c->latched_count & 0xff;
    case RW_MSB:
        c->count_latched = RW_NONE;
        return c->latched_count >> 8;
    case RW_WORD0:
        c->count_latched = RW_MSB;
        return c->latched_count & 0xff;
    default:
        break;
    }
    value = current_count(s, c);
    switch (c->read_state) {
    case RW_MSB:
        return value >> 8;
    case RW_WORD0:
        c->read_state = RW_WORD1;
        return value & 0xff;
    case RW_WORD1:
        c->read_state = RW_WORD0;
        return value >> 8;
    default:
        return value & 0xff;
    }
}

static void counter_write(Device *dev, unsigned n, uint8_t value)
{
    I8254 *s = fresh(dev);
    Counter *c = &s->channels[n];

    switch (c->write_state) {
    case RW_MSB:
        load_count(s, c, value << 8);
        break;
    case RW_WORD0:
        c->write_latch = value;
        c->write_state = RW_WORD1;
        break;
    case RW_WORD1:
        c->write_state = RW_WORD0;
        load_count(s, c, c->write_latch | value << 8);
        break;
    default:
        load_count(s, c, value);
        break;
    }
}

#define COUNTER_HOOKS(n)                                                                   \
    static uint64_t counter##n##_read(Device *dev, uint64_t value)                         \
    {                                                                                      \
        return counter_read(dev, n);                                                       \
    }                                                                                      \
    static void counter##n##_write(Device *dev, uint64_t value)                            \
    {                                                                                      \
        counter_write(dev, n, value);                                                      \
    }
COUNTER_HOOKS(0)
COUNTER_HOOKS(1)
COUNTER_HOOKS(2)

static uint64_t control_read(Device *dev, uint64_t value)
{
    return 0;                     /* "no operation": the sheet leaves the bus floating */
}

static const RegDef i8254_regs[] = {
    { 0, "counter 0", REG_NONE(1), .on_read = counter0_read, .on_write = counter0_write },
    { 1, "counter 1", REG_NONE(1), .on_read = counter1_read, .on_write = counter1_write },
    { 2, "counter 2", REG_NONE(1), .on_read = counter2_read, .on_write = counter2_write },
    { 3, "control word", REG_NONE(1), .on_read = control_read, .on_write = control_write },
};

/* ---- life cycle ---- */

static void i8254_reset_enter(Device *dev)
{
    I8254 *s = DEVICE_CAST(I8254, dev);

    timer_cancel(&s->timer);
    for (unsigned n = 0; n < 3; n++) {
        s->channels[n] = (Counter){ .mode = 3, .gate = n != 2, .rw_mode = 1, .read_state = RW_LSB,
                                    .write_state = RW_LSB };
        load_count(s, &s->channels[n], 0);
    }
}

bool i8254_realize(Device *dev, GError **error)
{
    I8254 *s = DEVICE_CAST(I8254, dev);

    if (s->iobase > 0xfffc) {
        return error_set(error, "isa-pit: 'iobase' is 0x%x; it must be set, to 0 to 0xfffc",
                         s->iobase);
    }
    timer_init(&s->timer, dev->vm->clock, timer_fired, s);
    device_init_reg_region(dev, &s->ports, "pit", (RegTable)REG_TABLE(i8254_regs), 4);
    isa_add_ports(&s->isa, &s->ports, s->iobase);
    return true;
}

static void i8254_unrealize(Device *dev)
{
    timer_cancel(&DEVICE_CAST(I8254, dev)->timer);
}

bool i8254_post_load(void *obj, int version, GError **error)
{
    I8254 *s = obj;

    for (unsigned n = 0; n < 3; n++) {
        Counter *c = &s->channels[n];

        if (c->count < 1 || c->count > 0x10000 || c->mode > 5 || c->rw_mode > 3 || c->bcd > 1 ||
            c->count_load_time > clock_now(s->isa.dev.vm->clock) + NANOSECONDS_PER_SECOND) {
            return error_set(error, "i8254: counter %u has count %d, mode %u, rw_mode %u", n,
                             c->count, c->mode, c->rw_mode);
        }
        c->stopped_ticks = -1;
        if (!c->gate && c->mode != 1 && c->mode != 5) {
            c->stopped_ticks = elapsed(s, c);
        }
    }
    s->lost.owed = 0;
    s->periods_done = elapsed(s, &s->channels[0]) / s->channels[0].count;
    return true;
}

static const VmField counter_fields[] = {
    VMS_I32(Counter, count), VMS_U16(Counter, latched_count), VMS_U8(Counter, count_latched),
    VMS_U8(Counter, status_latched), VMS_U8(Counter, status), VMS_U8(Counter, read_state),
    VMS_U8(Counter, write_state), VMS_U8(Counter, write_latch), VMS_U8(Counter, rw_mode),
    VMS_U8(Counter, mode), VMS_U8(Counter, bcd), VMS_U8(Counter, gate),
    VMS_I64(Counter, count_load_time), VMS_I64(Counter, next_transition_time), VMS_END
};
static const VmStateDesc counter_desc = { .name = "pit channel", .version = 2, .minimum = 2,
                                          .fields = counter_fields };
const VmField i8254_fields[] = {
    { .name = "channels[0].irq_disabled", .kind = VM_U32, .size = 4, .version = 3,
      .offset = offsetof(I8254, channels[0].irq_disabled) },
    VMS_STRUCT_ARRAY(I8254, channels, &counter_desc, .version = 2),
    { .name = "channels[0].next_transition_time", .kind = VM_I64, .size = 8,
      .offset = offsetof(I8254, channels[0].next_transition_time) },
    VMS_END
};
static const PropDef i8254_props[] = { PROP_U32("iobase", I8254, iobase, 0xffffffff), PROP_END };
DEVICE_TYPE(isa_pit, .name = "isa-pit", .bus = &bus_isa, .size = sizeof(I8254),
            .props = i8254_props, .inputs = 1, .set_input = i8254_set_input,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(I8254, irq)),
            .vmstate = VMSTATE("i8254", 3, 2, i8254_fields, .post_load = i8254_post_load),
            .realize = i8254_realize,
            .unrealize = i8254_unrealize, .reset_enter = i8254_reset_enter, .sync = i8254_sync);

Device *i8254_new(IsaBus *bus, bool in_kernel, IrqPin irq, GError **error)
{
    Device *dev = device_create(bus->bus.vm, in_kernel ? "kvm-pit" : "isa-pit", &bus->bus, error,
                                "iobase", "0x40", NULL);

    if (dev) {
        irq_connect(&DEVICE_CAST(I8254, dev)->irq, irq);
    }
    return dev;
}

void i8254_set_tick_query(Device *dev, TickWaitsFn *waits, void *opaque)
{
    I8254 *s = DEVICE_CAST(I8254, dev);

    s->lost.waits = waits;
    s->lost.opaque = opaque;
}
