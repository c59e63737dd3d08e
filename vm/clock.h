/* SPDX-License-Identifier: MIT */
/*
 * Clocks and timers.
 *
 * A Clock gives nanoseconds and owns the timers set on it.  A VM has three:
 *   virtual   runs only while the guest runs; what devices use
 *   host      the wall clock, follows changes of the host's time; for RTCs
 *   realtime  monotonic, never stops; for user interfaces and rate limits
 * Devices get theirs from the Vm (vm->clock), tests inject clock_new_fake() and own the time.
 *
 * Thread rule: clock_now() and timer_set()/timer_cancel() from any thread; callbacks run on the
 * main loop with the machine lock held (devices) unless the clock says otherwise.
 * Ownership: a Timer is embedded in its user and must be cancelled before it is freed.
 */
#ifndef VM_CLOCK_H
#define VM_CLOCK_H

#include "base/bits.h"

typedef struct Clock Clock;
typedef struct Timer Timer;
typedef void TimerFn(void *opaque);

typedef enum ClockKind { CLOCK_KIND_VIRTUAL, CLOCK_KIND_HOST, CLOCK_KIND_REALTIME } ClockKind;

struct Timer {
    Clock *clock;
    TimerFn *fn;
    void *opaque;
    int64_t deadline_ns;      /* -1: not pending */
    Timer *next;              /* in the clock's sorted list; clock's lock */
};

Clock *clock_new(ClockKind kind);
/* Starts at 0 and moves only by clock_fake_advance(). */
Clock *clock_new_fake(ClockKind kind);
void clock_free(Clock *clock);

int64_t clock_now(Clock *clock);
/* Virtual clock: stop and go with the guest. */
void clock_stop(Clock *clock);
void clock_start(Clock *clock);
bool clock_is_running(const Clock *clock);
/* Sets the value of a virtual clock (state load). */
void clock_set(Clock *clock, int64_t now_ns);

/* Moves a fake (or qtest-controlled) clock, firing timers in order, each at its deadline. */
void clock_fake_advance(Clock *clock, int64_t delta_ns);
void clock_fake_set(Clock *clock, int64_t now_ns);
/* Turns a virtual clock into one moved only by clock_fake_advance() (-accel qtest). */
void clock_make_fake(Clock *clock);
bool clock_is_fake(const Clock *clock);
/*
 * Instruction-counted time (-icount): somebody else says what time it is, and when timers fire.  `now` and
 * `wait` are called with the clock locked, from any thread: they take no lock above LOCK_RANK_TIMER and
 * call nothing of the clock.
 */
typedef struct ClockSourceOps {
    int64_t (*now)(void *opaque);
    /* Host nanoseconds until what is REMAINING ns away (or overdue) is to be fired; -1: not before
     * clock_source_changed(). */
    int64_t (*wait)(void *opaque, int64_t remaining);
    /* That wait is over: time may jump.  Then the timers fire, then `fired`; machine lock held. */
    void (*reach)(void *opaque, int64_t remaining);
    void (*fired)(void *opaque);
} ClockSourceOps;
void clock_set_source(Clock *clock, const ClockSourceOps *ops, void *opaque);
bool clock_has_source(const Clock *clock);
/* What `wait` says may have changed. */
void clock_source_changed(Clock *clock);

/* Earliest deadline, or -1.  A timer counts until its callback has returned. */
int64_t clock_next_deadline(Clock *clock);
/* Fires all timers that are due; returns how many.  Called by the main loop. */
unsigned clock_run(Clock *clock);
/* NOTIFY is called, from any thread, when the earliest deadline has become earlier. */
void clock_set_notify(Clock *clock, void (*notify)(void *opaque), void *opaque);
/* Puts the clock's timers under a GMainContext (NULL: the default one): it fires them on time. */
void clock_attach(Clock *clock, GMainContext *context);

void timer_init(Timer *timer, Clock *clock, TimerFn *fn, void *opaque);
/* Absolute time; a deadline in the past fires at the next turn.  Replaces an earlier one. */
void timer_set(Timer *timer, int64_t deadline_ns);
void timer_cancel(Timer *timer);

static inline bool timer_pending(const Timer *timer)
{
    return __atomic_load_n(&timer->deadline_ns, __ATOMIC_RELAXED) >= 0;
}

#endif
