/* SPDX-License-Identifier: MIT */
/*
 * Local APIC timer: one-shot, periodic and TSC-deadline.  [SDM3A 11.5.4]
 * It counts at 1 GHz before the divider, as QEMU's does, so a count is a nanosecond.
 * Quirk: periods below MIN_PERIOD_NS are stretched, or a guest could keep the main loop busy.
 * Locking: machine lock; apic_tsc_deadline() and apic_set_tsc_deadline() take it themselves.
 */
#include "hw/intc/apic_int.h"

#define MIN_PERIOD_NS 20000

static bool is_deadline(const Apic *apic)
{
    return (apic->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_TSC_DEADLINE;
}

static bool is_periodic(const Apic *apic)
{
    return (apic->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_PERIODIC;
}

static int64_t period_ns(const Apic *apic)
{
    return MAX((int64_t)apic->initial_count << apic->count_shift, 1);
}

static void stop(Apic *apic)
{
    apic->timer_expiry = -1;
    timer_cancel(&apic->timer);
}

static void arm(Apic *apic, int64_t when)
{
    apic->next_time = when;
    apic->timer_expiry = MAX(when, 0);
    timer_set(&apic->timer, apic->timer_expiry);
}

/*
 * Sets the timer for the next expiry, if any is to come.  A count that begins now has done nothing,
 * however late it has become meanwhile: hence NOW is the caller's, where it looked at the clock.
 */
static void schedule_at(Apic *apic, int64_t now)
{
    int64_t done, period, end;

    if (apic->bus->kernel) {
        return;                   /* its timer runs */
    }
    if (is_deadline(apic)) {
        if (apic->tsc_deadline) {
            arm(apic, apic->ops->tsc_deadline_ns(apic->cpu, apic->tsc_deadline));
        } else {
            stop(apic);
        }
        return;
    }
    if (apic->initial_count == 0) {
        stop(apic);
        return;
    }
    done = now - apic->initial_count_load_time;
    period = period_ns(apic);
    if (is_periodic(apic)) {
        int64_t step = MAX(period, MIN_PERIOD_NS);

        arm(apic, apic->initial_count_load_time + (done < 0 ? 0 : done / step) * step + step);
        return;
    }
    /* One that is over, but has not fired since the main loop is late, still will. */
    end = apic->initial_count_load_time + period;
    if (done < period || apic->timer_expiry == MAX(end, 0)) {
        arm(apic, end);
    } else {
        stop(apic);
    }
}

static void schedule(Apic *apic)
{
    schedule_at(apic, clock_now(apic->dev.vm->clock));
}

static void timer_fired(void *opaque)
{
    Apic *apic = opaque;

    apic->timer_expiry = -1;
    if (is_deadline(apic)) {
        if (apic->tsc_deadline == 0) {
            return;
        }
        apic->tsc_deadline = 0;
    }
    apic_local(apic, LVT_TIMER);
    schedule(apic);
}

void apic_timer_init(Apic *apic)
{
    timer_init(&apic->timer, apic->dev.vm->clock, timer_fired, apic);
    apic->timer_expiry = -1;
}

void apic_timer_reset(Apic *apic)
{
    apic->initial_count = 0;
    apic->initial_count_load_time = 0;
    apic->next_time = 0;
    apic->tsc_deadline = 0;
    stop(apic);
}

static uint32_t current_at(const Apic *apic, int64_t now)
{
    int64_t done;

    if (apic->initial_count == 0 || is_deadline(apic)) {
        return 0;
    }
    done = (now - apic->initial_count_load_time) >> apic->count_shift;
    if (done < 0) {
        return apic->initial_count;
    }
    if (is_periodic(apic)) {
        return apic->initial_count - done % apic->initial_count;
    }
    return done >= apic->initial_count ? 0 : apic->initial_count - done;
}

uint32_t apic_timer_current(Apic *apic)
{
    return current_at(apic, clock_now(apic->dev.vm->clock));
}

void apic_timer_set_initial(Apic *apic, uint32_t count)
{
    if (is_deadline(apic)) {
        return;                   /* 11.5.4.1: ignored in that mode */
    }
    apic->initial_count = count;
    apic->initial_count_load_time = clock_now(apic->dev.vm->clock);
    schedule_at(apic, apic->initial_count_load_time);
}

void apic_timer_set_divide(Apic *apic, uint32_t value)
{
    int64_t now = clock_now(apic->dev.vm->clock);
    uint32_t left = current_at(apic, now);
    unsigned code = (value & 3) | (value >> 1 & 4);

    apic->divide_conf = value & 0xb;
    apic->count_shift = code == 7 ? 0 : code + 1;
    /* The count goes on from where it is, at the new pace. */
    apic->initial_count_load_time = now -
        ((int64_t)(apic->initial_count - left) << apic->count_shift);
    if (left) {                   /* else it is over; it may be about to fire */
        schedule_at(apic, now);
    }
}

void apic_timer_set_lvt(Apic *apic, uint32_t value)
{
    uint32_t changed = (apic->lvt[LVT_TIMER] ^ value) & LVT_TIMER_MODE;
    bool deadline = (value & LVT_TIMER_MODE) == LVT_TIMER_TSC_DEADLINE;

    if (changed && (is_deadline(apic) || deadline)) {
        apic_timer_reset(apic);   /* 11.5.4.1: the change disarms the timer */
    }
    APIC_SET(apic->lvt[LVT_TIMER], value);
    schedule(apic);
}

uint64_t apic_tsc_deadline(Apic *apic)
{
    bool locked = apic_lock();
    uint64_t tsc = is_deadline(apic) ? apic->tsc_deadline : 0;

    apic_unlock(locked);
    return tsc;
}

void apic_set_tsc_deadline(Apic *apic, uint64_t tsc)
{
    bool locked = apic_lock();

    if (is_deadline(apic)) {
        apic->tsc_deadline = tsc;
        schedule(apic);
    }
    apic_unlock(locked);
}

void apic_load_tsc_deadline(Apic *apic, uint64_t tsc)
{
    apic->tsc_deadline = tsc;
}

bool apic_timer_post_load(Apic *apic)
{
    if (apic->initial_count_load_time > INT64_MAX / 2 ||
        apic->initial_count_load_time < -INT64_MAX / 2 || apic->timer_expiry > INT64_MAX / 2) {
        return false;
    }
    if (apic->timer_expiry >= 0) {
        timer_set(&apic->timer, apic->timer_expiry);
    } else {
        timer_cancel(&apic->timer);
    }
    return true;
}
