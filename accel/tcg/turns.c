/* SPDX-License-Identifier: MIT */
/*
 * See turns.h.
 *
 *          turns_take(), it is my turn            turns_pass()
 *   WAIT ------------------------------> TAKEN --------------------> owner: the next that can run
 *     ^ `-- kicked: back to vm/cpu.c       |                          none: IDLE, until a deadline of the
 *     |                                    | deadline is due          virtual clock or a request
 *     `---------------------------------- WAIT until the main loop has fired the timers
 *
 * Invariants: (1) TAKEN by one vCPU at most; (2) with -icount, who is next and where a turn ends depends on
 * nothing but the guest, unless something comes from outside; (3) `done` only grows.
 */
#include "accel/tcg/turns.h"

#include <inttypes.h>
#include <limits.h>
#include <time.h>

#include "accel/tcg/translator.h"
#include "target-x86/x86_cpu.h"

/* A turn, when others wait. */
#define TURN_INSNS 100000u
#define TURN_US 5000
/* What a waiting vCPU looks at again by itself. */
#define LOOK_US 20000
/* -icount shift=auto: look this often, and let virtual and host time part this far.  A guest with slower instructions
 * than the maximum would be busy with its timer interrupts alone, and slower still: it falls behind instead. */
#define AUTO_SHIFT_MAX 6
#define AUTO_ROUND_NS 100000000
#define AUTO_SLACK_NS 20000000

struct Turns {
    Vm *vm;
    GMutex lock;
    GCond moved;
    GPtrArray *cpus;          /* Cpu, by index */
    Cpu *owner;               /* whose turn it is; NULL: nobody can run */
    unsigned last;            /* index of the latest owner */
    gint64 turn_end_us;       /* without -icount: when somebody waits */
    bool taken;               /* the owner is between take and pass */

    bool count;               /* -icount */
    bool automatic, sleep;
    _Atomic unsigned shift;
    _Atomic int64_t base_ns;  /* virtual time before `done` */
    _Atomic uint64_t done;    /* instructions since base_ns, of finished turns */
    uint64_t start, from;     /* the owner's count at the start of its run, and as far as `done` has it */
    uint64_t turn_left;       /* instructions of the owner's turn */
    _Atomic int64_t idle_since;         /* host time; -1: not waiting */
    int64_t auto_host_ns, auto_virtual_ns, auto_next_ns;
    Lockstep *lockstep;         /* NULL: no state hashes */
};

static X86Cpu *x86_of(Cpu *cpu)
{
    return x86_cpu_device(cpu)->x86;
}

static int64_t host_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* ---- whose turn ---------------------------------------------------------------------------------- */

static bool can_run(Cpu *cpu)
{
    return !__atomic_load_n(&cpu->halted, __ATOMIC_SEQ_CST) || cpu_class(cpu)->has_work(cpu);
}

static Cpu *next_to_run(const Turns *t)
{
    Cpu *first = NULL;

    for (unsigned i = 0; i < t->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(t->cpus, i);

        if (!can_run(cpu)) {
            continue;
        }
        if (cpu->index > t->last) {
            return cpu;
        }
        first = first ? first : cpu;
    }
    return first;
}

static void give_locked(Turns *t, Cpu *cpu)
{
    t->owner = cpu;
    t->turn_left = TURN_INSNS;
    t->turn_end_us = g_get_monotonic_time() + TURN_US;
    g_cond_broadcast(&t->moved);
}

/* Nobody may be waiting for one that sleeps. */
static void settle_owner_locked(Turns *t)
{
    if (!t->taken && (!t->owner || !can_run(t->owner))) {
        give_locked(t, next_to_run(t));
    }
}

/* The owner's time is up. */
static void end_turn_locked(Turns *t)
{
    x86_cpu_request(x86_of(t->owner), X86_REQ_EXIT);
    tcg_kick(x86_of(t->owner));
}

static bool wait_for_turn(Turns *t, Cpu *cpu)
{
    bool mine;

    g_mutex_lock(&t->lock);
    settle_owner_locked(t);
    while (t->owner != cpu && !__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST)) {
        gint64 now = g_get_monotonic_time();

        if (t->taken && !t->count && now >= t->turn_end_us) {
            end_turn_locked(t);
        }
        g_cond_wait_until(&t->moved, &t->lock, t->count || now >= t->turn_end_us ? now + LOOK_US : t->turn_end_us);
        settle_owner_locked(t);
    }
    /* A kick stores exit_request first: what came while it waited has been answered, or is seen now. */
    x86_cpu_request_clear(x86_of(cpu), X86_REQ_EXIT);
    x86_of(cpu)->paused = false;
    mine = t->owner == cpu && !__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST);
    if (mine) {
        t->taken = true;
        t->last = cpu->index;
    }
    g_mutex_unlock(&t->lock);
    return mine;
}

void turns_wake(Turns *t)
{
    g_mutex_lock(&t->lock);
    g_cond_broadcast(&t->moved);
    g_mutex_unlock(&t->lock);
}

/* ---- virtual time ---------------------------------------------------------------------------------- */

static int64_t now_after(const Turns *t, uint64_t insns)
{
    return atomic_load(&t->base_ns) + (int64_t)(insns << atomic_load(&t->shift));
}

/* The owner's thread sees its own instructions; others what the latest turn left, or was asked for. */
static int64_t source_now(void *opaque)
{
    Turns *t = opaque;
    Cpu *cpu = cpu_current();
    uint64_t done = atomic_load(&t->done);

    if (cpu && cpu == t->owner && t->taken) {
        uint64_t now = tcg_insn_count(x86_of(cpu));

        if (now > t->from) {
            done += now - t->from;
            t->from = now;
            atomic_store(&t->done, done);
        }
    }
    return now_after(t, done);
}

static bool anybody_can_run(const Turns *t)
{
    bool any = false;

    for (unsigned i = 0; i < t->cpus->len; i++) {
        any = any || can_run(g_ptr_array_index(t->cpus, i));
    }
    return any;
}

static int64_t source_wait(void *opaque, int64_t remaining)
{
    Turns *t = opaque;
    int64_t since, now;

    if (remaining <= 0) {
        return 0;
    }
    if (__atomic_load_n(&t->taken, __ATOMIC_SEQ_CST)) {
        return -1;
    }
    if (anybody_can_run(t)) {
        return LOOK_US * 1000;  /* its thread has not come yet */
    }
    if (!t->sleep) {
        return 0;
    }
    now = host_ns();
    since = atomic_load(&t->idle_since);
    if (since < 0) {
        atomic_store(&t->idle_since, now);
        since = now;
    }
    return MAX(remaining - (now - since), 0);
}

/* Nobody runs until then: be there. */
static void source_reach(void *opaque, int64_t remaining)
{
    Turns *t = opaque;

    if (remaining > 0 && source_wait(t, remaining) == 0) {
        atomic_fetch_add(&t->base_ns, remaining);
        atomic_store(&t->idle_since, -1);
    }
}

static void source_fired(void *opaque)
{
    turns_wake(opaque);
}

static const ClockSourceOps source_ops = {
    .now = source_now, .wait = source_wait, .reach = source_reach, .fired = source_fired,
};

/* The earliest deadline has come nearer: the run under way may be too long. */
static void deadline_changed(void *opaque)
{
    Turns *t = opaque;
    Cpu *cpu = cpu_current();

    if (cpu && cpu == t->owner && t->taken) {
        x86_cpu_request(x86_of(cpu), X86_REQ_EXIT);     /* from a device it accesses: seen behind that */
        return;
    }
    g_mutex_lock(&t->lock);
    if (t->taken) {
        end_turn_locked(t);
    }
    g_mutex_unlock(&t->lock);
}

/* Something else than a deadline ended the wait: as much time has gone by as on the host. */
static void end_idle(Turns *t)
{
    int64_t since = atomic_exchange(&t->idle_since, -1), deadline;

    if (since >= 0) {
        deadline = clock_next_deadline(t->vm->clock);
        since = host_ns() - since;
        if (deadline >= 0) {
            since = MIN(since, MAX(deadline - clock_now(t->vm->clock), 0));
        }
        atomic_fetch_add(&t->base_ns, since);
    }
}

/* shift=auto: a guest that is ahead of the host gets shorter instructions. */
static void adjust_shift(Turns *t)
{
    int64_t host = host_ns(), ahead, now;
    unsigned shift = atomic_load(&t->shift);

    if (!t->automatic || host < t->auto_next_ns) {
        return;
    }
    now = source_now(t);
    if (!t->auto_next_ns) {
        t->auto_host_ns = host;
        t->auto_virtual_ns = now;
    }
    t->auto_next_ns = host + AUTO_ROUND_NS;
    ahead = (now - t->auto_virtual_ns) - (host - t->auto_host_ns);
    if ((ahead > AUTO_SLACK_NS && shift > 0) || (ahead < -AUTO_SLACK_NS && shift < AUTO_SHIFT_MAX)) {
        atomic_store(&t->base_ns, now);
        atomic_store(&t->done, 0);
        atomic_store(&t->shift, ahead > 0 ? shift - 1 : shift + 1);
    }
    if (ABS(ahead) > 10 * (int64_t)AUTO_ROUND_NS) {
        t->auto_next_ns = 0;    /* it was stopped, or cannot keep up at all: start afresh */
    }
}

/* The owner: wait while timers are due; then the limit of its run.  False: kicked. */
static bool set_limit(Turns *t, Cpu *cpu)
{
    Clock *clock = t->vm->clock;
    X86Cpu *x86 = x86_of(cpu);
    uint64_t insns = t->turn_left;
    int64_t deadline, left;

    t->from = t->start = x86->insn_count;
    adjust_shift(t);
    while ((deadline = clock_next_deadline(clock)) >= 0 && (left = deadline - clock_now(clock)) <= 0) {
        clock_source_changed(clock);
        g_mutex_lock(&t->lock);
        if (!__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST) &&
            clock_next_deadline(clock) == deadline) {
            g_cond_wait_until(&t->moved, &t->lock, g_get_monotonic_time() + LOOK_US);
        }
        g_mutex_unlock(&t->lock);
        if (__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST)) {
            return false;
        }
    }
    if (deadline >= 0) {
        unsigned shift = atomic_load(&t->shift);

        insns = MIN(insns, ((uint64_t)left + (1ull << shift) - 1) >> shift);
    }
    if (t->lockstep) {
        insns = MIN(insns, lockstep_next(t->lockstep) - atomic_load(&t->done));
    }
    x86->insn_limit = x86->insn_count + insns;
    return true;
}

/* ---- a turn -------------------------------------------------------------------------------------------- */

bool turns_take(Turns *t, Cpu *cpu)
{
    if (!wait_for_turn(t, cpu)) {
        return false;
    }
    if (!t->count) {
        return true;
    }
    end_idle(t);
    if (!set_limit(t, cpu)) {
        turns_pass(t, cpu, X86_EXIT_KICK);
        return false;
    }
    return true;
}

void turns_pass(Turns *t, Cpu *cpu, X86Exit exit)
{
    bool over;

    if (t->count) {
        source_now(t);          /* into `done` */
        t->turn_left -= MIN(x86_of(cpu)->insn_count - t->start, t->turn_left);
        over = !t->turn_left;
        if (t->lockstep) {
            lockstep_at(t->lockstep, atomic_load(&t->done), t->cpus);
        }
    } else {
        over = g_get_monotonic_time() >= t->turn_end_us;
    }
    g_mutex_lock(&t->lock);
    over = over || exit == X86_EXIT_HALT || x86_of(cpu)->paused || !can_run(cpu);
    __atomic_store_n(&t->taken, false, __ATOMIC_SEQ_CST);
    if (over) {
        give_locked(t, next_to_run(t));
    }
    over = over && t->owner != cpu;
    g_mutex_unlock(&t->lock);
    if (over && t->count) {
        clock_source_changed(t->vm->clock);
    }
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static uint64_t icount_tsc(void *opaque)
{
    return clock_now(((X86VmBus *)opaque)->vm->clock);
}

Turns *turns_new(Vm *vm, int shift, bool sleep)
{
    Turns *t = g_new0(Turns, 1);

    t->vm = vm;
    g_mutex_init(&t->lock);
    g_cond_init(&t->moved);
    t->cpus = g_ptr_array_new();
    t->last = UINT_MAX;         /* the first is CPU 0 */
    t->count = shift != ICOUNT_OFF;
    t->automatic = shift == ICOUNT_AUTO;
    t->shift = t->automatic ? 3 : MAX(shift, 0);
    t->sleep = sleep;
    t->idle_since = -1;
    if (t->count) {
        clock_set_source(vm->clock, &source_ops, t);
        clock_set_notify(vm->clock, deadline_changed, t);
    }
    return t;
}

void turns_set_lockstep(Turns *t, Lockstep *lockstep)
{
    t->lockstep = lockstep;
}

void turns_add(Turns *t, Cpu *cpu)
{
    X86CpuDevice *s = x86_cpu_device(cpu);
    unsigned i = 0;

    g_mutex_lock(&t->lock);
    while (i < t->cpus->len && ((Cpu *)g_ptr_array_index(t->cpus, i))->index < cpu->index) {
        i++;
    }
    g_ptr_array_insert(t->cpus, i, cpu);
    for (i = 0; i < t->cpus->len; i++) {        /* a spin waits for somebody else's turn */
        x86_of(g_ptr_array_index(t->cpus, i))->pause_exits = t->cpus->len > 1;
    }
    g_mutex_unlock(&t->lock);
    if (t->count) {
        s->bus.ops.tsc = icount_tsc;    /* 1 GHz, and no line of the host's */
        s->bus.ops.tsc_line = NULL;
        s->bus.ops.doze = NULL;         /* MWAIT ends at once: host time is not the guest's */
    }
}

void turns_remove(Turns *t, Cpu *cpu)
{
    g_mutex_lock(&t->lock);
    g_ptr_array_remove(t->cpus, cpu);
    if (t->owner == cpu) {
        t->taken = false;
        give_locked(t, next_to_run(t));
    }
    g_mutex_unlock(&t->lock);
}

void turns_info(Turns *t, GString *out)
{
    g_string_append_printf(out, "vCPUs take turns\n");
    if (t->count) {
        g_string_append_printf(out, "icount shift        %u%s\nvirtual time        %" PRId64 " ns\n",
                               atomic_load(&t->shift), t->automatic ? " (auto)" : "",
                               clock_now(t->vm->clock));
    }
}
