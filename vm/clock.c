/* SPDX-License-Identifier: MIT */
/*
 * Clocks and timers: a sorted list a clock, fired by a GSource on a timerfd.
 * Locking: the clock's own mutex guards list and time base; it is never held over a callback or a
 * notification.  A timer's deadline is also read without it (timer_pending), atomically.
 */
#include "vm/clock.h"
#include <errno.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"

typedef struct ClockSource ClockSource;

struct Clock {
    ClockKind kind;
    Mutex lock;
    bool fake;
    bool running;             /* virtual clock: advances with the host */
    int64_t offset;           /* running: now = monotonic + offset; else now = offset */
    const ClockSourceOps *source;
    void *source_opaque;
    Timer *timers;            /* earliest first */
    int64_t firing_ns;        /* deadline of the one whose callback is under way; -1: none */
    void (*notify)(void *opaque);
    void *notify_opaque;
    ClockSource *attached;
};

static int64_t host_ns(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

static int64_t now_locked(const Clock *clock)
{
    if (clock->source) {
        return clock->source->now(clock->source_opaque) + clock->offset;
    }
    if (clock->fake) {
        return clock->offset;
    }
    if (clock->kind == CLOCK_KIND_HOST) {
        return host_ns(CLOCK_REALTIME);
    }
    return clock->running ? host_ns(CLOCK_MONOTONIC) + clock->offset : clock->offset;
}

/* ---- the GSource: one timerfd, armed for the earliest deadline ---- */

struct ClockSource {
    GSource source;
    Clock *clock;
    int fd;
    void *tag;
};

static void source_arm_locked(Clock *clock)
{
    struct itimerspec when = { 0 };

    if (!clock->attached) {
        return;
    }
    if (clock->timers && clock->source) {
        int64_t wait = clock->source->wait(clock->source_opaque,
                                           clock->timers->deadline_ns - now_locked(clock));

        if (wait >= 0 && clock->running) {
            wait = CLAMP(wait, 1, 3600 * NANOSECONDS_PER_SECOND);
            when.it_value.tv_sec = wait / NANOSECONDS_PER_SECOND;
            when.it_value.tv_nsec = wait % NANOSECONDS_PER_SECOND;
        }
    } else if (clock->timers && (clock->running || clock->kind != CLOCK_KIND_VIRTUAL) && !clock->fake) {
        int64_t wait = clock->timers->deadline_ns - now_locked(clock);

        wait = CLAMP(wait, 1, 3600 * NANOSECONDS_PER_SECOND);
        when.it_value.tv_sec = wait / NANOSECONDS_PER_SECOND;
        when.it_value.tv_nsec = wait % NANOSECONDS_PER_SECOND;
    }
    timerfd_settime(clock->attached->fd, 0, &when, NULL);
}

static gboolean source_dispatch(GSource *source, GSourceFunc fn, void *opaque)
{
    ClockSource *s = (ClockSource *)source;
    uint64_t expirations;

    if (read(s->fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN) {
        return G_SOURCE_REMOVE;
    }
    if (s->clock->source) {
        int64_t deadline = clock_next_deadline(s->clock);

        if (deadline >= 0) {
            s->clock->source->reach(s->clock->source_opaque, deadline - clock_now(s->clock));
        }
    }
    clock_run(s->clock);
    if (s->clock->source) {
        s->clock->source->fired(s->clock->source_opaque);
    }
    mutex_lock(&s->clock->lock);
    source_arm_locked(s->clock);
    mutex_unlock(&s->clock->lock);
    return G_SOURCE_CONTINUE;
}

static void source_finalize(GSource *source)
{
    close(((ClockSource *)source)->fd);
}

static GSourceFuncs source_funcs = { .dispatch = source_dispatch, .finalize = source_finalize };

void clock_attach(Clock *clock, GMainContext *context)
{
    ClockSource *s = (ClockSource *)g_source_new(&source_funcs, sizeof(ClockSource));

    g_assert(!clock->attached);
    s->clock = clock;
    s->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->fd < 0) {
        g_error("timerfd_create: %s", g_strerror(errno));
    }
    g_source_add_unix_fd(&s->source, s->fd, G_IO_IN);
    g_source_set_name(&s->source, "clock");
    g_source_attach(&s->source, context);
    mutex_lock(&clock->lock);
    clock->attached = s;
    source_arm_locked(clock);
    mutex_unlock(&clock->lock);
}

/* Called without the lock. */
static void tell_earlier(Clock *clock)
{
    void (*notify)(void *opaque);
    void *opaque;

    mutex_lock(&clock->lock);
    source_arm_locked(clock);
    notify = clock->notify;
    opaque = clock->notify_opaque;
    mutex_unlock(&clock->lock);
    if (notify) {
        notify(opaque);
    }
}

/* ---- life and time ---- */

Clock *clock_new(ClockKind kind)
{
    Clock *clock = g_new0(Clock, 1);

    mutex_init(&clock->lock, "clock", LOCK_RANK_TIMER);
    clock->kind = kind;
    clock->firing_ns = -1;
    clock->running = kind == CLOCK_KIND_REALTIME;
    return clock;
}

Clock *clock_new_fake(ClockKind kind)
{
    Clock *clock = clock_new(kind);

    clock->fake = true;
    clock->running = true;
    return clock;
}

void clock_free(Clock *clock)
{
    if (!clock) {
        return;
    }
    if (clock->attached) {
        g_source_destroy(&clock->attached->source);
        g_source_unref(&clock->attached->source);
    }
    for (Timer *t = clock->timers; t; t = t->next) {
        t->clock = NULL;
    }
    mutex_clear(&clock->lock);
    g_free(clock);
}

int64_t clock_now(Clock *clock)
{
    int64_t now;

    mutex_lock(&clock->lock);
    now = now_locked(clock);
    mutex_unlock(&clock->lock);
    return now;
}

void clock_stop(Clock *clock)
{
    mutex_lock(&clock->lock);
    if (clock->running) {
        if (!clock->fake && !clock->source) {
            clock->offset += host_ns(CLOCK_MONOTONIC);
        }
        clock->running = false;
        source_arm_locked(clock);
    }
    mutex_unlock(&clock->lock);
}

void clock_start(Clock *clock)
{
    mutex_lock(&clock->lock);
    if (!clock->running) {
        if (!clock->fake && !clock->source) {
            clock->offset -= host_ns(CLOCK_MONOTONIC);
        }
        clock->running = true;
    }
    mutex_unlock(&clock->lock);
    tell_earlier(clock);
}

bool clock_is_running(const Clock *clock)
{
    Clock *c = (Clock *)clock;
    bool running;

    mutex_lock(&c->lock);
    running = c->running;
    mutex_unlock(&c->lock);
    return running;
}

void clock_set(Clock *clock, int64_t now_ns)
{
    g_assert(clock->kind == CLOCK_KIND_VIRTUAL || clock->fake);
    mutex_lock(&clock->lock);
    clock->offset = now_ns;
    if (clock->source) {
        clock->offset -= clock->source->now(clock->source_opaque);
    } else if (clock->running && !clock->fake) {
        clock->offset -= host_ns(CLOCK_MONOTONIC);
    }
    mutex_unlock(&clock->lock);
    tell_earlier(clock);
}

void clock_make_fake(Clock *clock)
{
    mutex_lock(&clock->lock);
    clock->offset = now_locked(clock);
    clock->fake = true;
    source_arm_locked(clock);
    mutex_unlock(&clock->lock);
}

bool clock_is_fake(const Clock *clock)
{
    return clock->fake;
}

void clock_set_source(Clock *clock, const ClockSourceOps *ops, void *opaque)
{
    mutex_lock(&clock->lock);
    g_assert(!clock->running);
    clock->source = ops;
    clock->source_opaque = opaque;
    mutex_unlock(&clock->lock);
    tell_earlier(clock);
}

bool clock_has_source(const Clock *clock)
{
    return clock->source != NULL;
}

void clock_source_changed(Clock *clock)
{
    mutex_lock(&clock->lock);
    source_arm_locked(clock);
    mutex_unlock(&clock->lock);
}

/* ---- timers ---- */

int64_t clock_next_deadline(Clock *clock)
{
    int64_t deadline;

    mutex_lock(&clock->lock);
    deadline = clock->firing_ns >= 0 ? clock->firing_ns : clock->timers ? clock->timers->deadline_ns : -1;
    mutex_unlock(&clock->lock);
    return deadline;
}

/* Takes the first timer if it is due by LIMIT. */
static Timer *pop_due(Clock *clock, int64_t limit)
{
    Timer *t;

    mutex_lock(&clock->lock);
    t = clock->timers;
    if (t && t->deadline_ns <= limit) {
        clock->timers = t->next;
        t->next = NULL;
        if (clock->fake && clock->offset < t->deadline_ns) {
            clock->offset = t->deadline_ns;
        }
        clock->firing_ns = t->deadline_ns;
        __atomic_store_n(&t->deadline_ns, -1, __ATOMIC_RELAXED);
    } else {
        t = NULL;
    }
    mutex_unlock(&clock->lock);
    return t;
}

static void fire(Clock *clock, Timer *t)
{
    t->fn(t->opaque);           /* which may free it */
    mutex_lock(&clock->lock);
    clock->firing_ns = -1;
    mutex_unlock(&clock->lock);
}

/* A callback that sets its timer into the past again waits for the next turn: what became due
 * after the turn began is left alone, so this ends. */
unsigned clock_run(Clock *clock)
{
    int64_t limit = clock_now(clock);
    unsigned fired = 0;

    if (clock->kind == CLOCK_KIND_VIRTUAL && !clock_is_running(clock)) {
        return 0;
    }
    for (unsigned budget = 10000; budget > 0; budget--) {
        Timer *t = pop_due(clock, limit);

        if (!t) {
            break;
        }
        fire(clock, t);
        fired++;
    }
    return fired;
}

void clock_fake_set(Clock *clock, int64_t now_ns)
{
    Timer *t;

    g_assert(clock->fake);
    while ((t = pop_due(clock, now_ns)) != NULL) {
        fire(clock, t);
    }
    mutex_lock(&clock->lock);
    clock->offset = MAX(clock->offset, now_ns);
    mutex_unlock(&clock->lock);
}

void clock_fake_advance(Clock *clock, int64_t delta_ns)
{
    clock_fake_set(clock, clock_now(clock) + delta_ns);
}

void clock_set_notify(Clock *clock, void (*notify)(void *opaque), void *opaque)
{
    mutex_lock(&clock->lock);
    clock->notify = notify;
    clock->notify_opaque = opaque;
    mutex_unlock(&clock->lock);
}

void timer_init(Timer *timer, Clock *clock, TimerFn *fn, void *opaque)
{
    *timer = (Timer){ .clock = clock, .fn = fn, .opaque = opaque, .deadline_ns = -1 };
}

static void unlink_locked(Clock *clock, Timer *timer)
{
    if (timer->deadline_ns < 0) {
        return;
    }
    for (Timer **p = &clock->timers; *p; p = &(*p)->next) {
        if (*p == timer) {
            *p = timer->next;
            break;
        }
    }
    timer->next = NULL;
}

void timer_set(Timer *timer, int64_t deadline_ns)
{
    Clock *clock = timer->clock;
    Timer **p = &clock->timers;
    bool earlier;

    deadline_ns = MAX(deadline_ns, 0);
    mutex_lock(&clock->lock);
    unlink_locked(clock, timer);
    while (*p && (*p)->deadline_ns <= deadline_ns) {
        p = &(*p)->next;
    }
    timer->next = *p;
    *p = timer;
    __atomic_store_n(&timer->deadline_ns, deadline_ns, __ATOMIC_RELAXED);
    earlier = clock->timers == timer;
    mutex_unlock(&clock->lock);
    if (earlier) {
        tell_earlier(clock);
    }
}

void timer_cancel(Timer *timer)
{
    if (!timer->clock) {
        return;               /* never initialized, or outlived its clock */
    }
    mutex_lock(&timer->clock->lock);
    unlink_locked(timer->clock, timer);
    __atomic_store_n(&timer->deadline_ns, -1, __ATOMIC_RELAXED);
    mutex_unlock(&timer->clock->lock);
}
