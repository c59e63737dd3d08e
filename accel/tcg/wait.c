/* SPDX-License-Identifier: MIT */
/*
 * A virtual CPU that has nothing to do, or only spins: PAUSE and HLT; and one that wakes another.
 * Locking: the vCPU's thread; the counters are atomic.
 */
#include "accel/tcg/translator.h"

#include <sched.h>
#include <time.h>

#include "target-x86/exception.h"
#include "target-x86/sem.h"

/* So many PAUSEs within that time are a spin; more than so many rounds of it are worth a nap. */
#define SPIN_PAUSES 400
#define SPIN_ROUND_NS 100000
#define SPIN_YIELDS 2
#define SPIN_NAP_NS 20000
/* HLT looks for work that long before the thread sleeps: at first, and at most. */
#define POLL_FIRST_NS 10000
#define POLL_MOST_NS 250000
/*
 * So many looks whether an interrupted CPU has seen it: two to five microseconds, less than a signal costs the two of them.
 * Each time it has makes up for part of a time it has not; when that is used up, so many signals are sent without.
 */
#define WAKE_LOOKS 96
#define PATIENCE_MOST 8
#define PATIENCE_LOST 4
#define PATIENCE_REST 16

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* ---- PAUSE ---------------------------------------------------------------------------------------- */

/*
 * PAUSEs that follow one another closely are a spin: most likely for a virtual CPU that has no host
 * processor now.  First let others run here; then leave the processor, so that it may come here.
 */
void tcg_pause(X86Cpu *cpu)
{
    static const struct timespec nap = { .tv_nsec = SPIN_NAP_NS };
    TcgCpu *tc = tcg_cpu(cpu);
    uint64_t now;

    if (cpu->pause_exits) {
        sem_pause(cpu, NULL);
        return;
    }
    if (--cpu->tx.pauses > 0) {
        return;
    }
    cpu->tx.pauses = SPIN_PAUSES;
    now = now_ns();
    tc->spin_rounds = now - tc->spin_checked_ns < SPIN_ROUND_NS ? tc->spin_rounds + 1 : 0;
    if (tc->spin_rounds && tc->tr->opt.spin_yield) {
        if (tc->spin_rounds <= SPIN_YIELDS) {
            sched_yield();
            atomic_fetch_add(&tc->tr->counters.yields, 1);
        } else {
            clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
            atomic_fetch_add(&tc->tr->counters.naps, 1);
        }
        now = now_ns();
    }
    tc->spin_checked_ns = now;
}

/* ---- HLT ------------------------------------------------------------------------------------------ */

bool tcg_halt_is_over(const X86Cpu *cpu)
{
    return (atomic_load(&cpu->requests) & X86_REQ_EXIT) || x86_has_work(cpu) ||
           tcg_cpu((X86Cpu *)cpu)->tr->flush_wanted;
}

/*
 * A CPU that is on its way into HLT, or to C, looks for interrupts itself, and is only held up by a signal.  One that computes has to
 * be stopped.
 */
static bool sees_it_itself(TcgCpu *tc)
{
    int patience = atomic_load_explicit(&tc->patience, memory_order_relaxed);
    unsigned looks = 0;
    bool seen;

    if (!tc->tr->opt.wake_wait || !tcg_own_cpu()) {
        return false;
    }
    if (patience < 0) {
        atomic_store_explicit(&tc->patience, patience + 1, memory_order_relaxed);
        return false;
    }
    while (!(seen = !atomic_load(&tc->in_code) || !(atomic_load(&tc->cpu->requests) & X86_REQ_INTR)) &&
           looks++ < WAKE_LOOKS) {
        __builtin_ia32_pause();
    }
    patience = seen ? MIN(patience + 1, PATIENCE_MOST) : patience - PATIENCE_LOST;
    atomic_store_explicit(&tc->patience, patience < 0 ? -PATIENCE_REST : patience, memory_order_relaxed);
    return seen;
}

void tcg_wake(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);

    if (!tc || !atomic_load(&tc->in_code)) {
        return;
    }
    atomic_fetch_add(&tc->tr->counters.wakes, 1);
    if (sees_it_itself(tc)) {
        atomic_fetch_add(&tc->tr->counters.seen, 1);
    } else {
        tcg_kick(cpu);
    }
}

/* A sleep that was over soon asks for looking longer the next time; a long one for not looking at all. */
void tcg_slept(TcgCpu *tc)
{
    uint64_t slept;

    if (!tc->halted_ns) {
        return;
    }
    slept = now_ns() - tc->halted_ns;
    tc->halted_ns = 0;
    if (slept > POLL_MOST_NS) {
        tc->poll_ns = 0;
    } else {
        tc->poll_ns = MIN(MAX(tc->poll_ns * 2, POLL_FIRST_NS), POLL_MOST_NS);
    }
}

/* Looks for what wakes the CPU as long as that has paid lately: no way out and back in for a short sleep. */
void tcg_halt_poll(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);
    uint64_t begin, now;

    if (!tc->tr->opt.halt_poll || tc->tr->cpus->len > tc->tr->host_cpus) {
        return;
    }
    begin = now = now_ns();
    atomic_fetch_add(&tc->tr->counters.halts, 1);
    atomic_store(&tc->waiting, true);       /* for others.c: it holds no address of the guest's */
    while (!tcg_halt_is_over(cpu) && now - begin < tc->poll_ns) {
        for (unsigned i = 0; i < 16 && !tcg_halt_is_over(cpu); i++) {
            __builtin_ia32_pause();
        }
        now = now_ns();
    }
    atomic_store(&tc->waiting, false);
    if (tcg_halt_is_over(cpu)) {
        atomic_fetch_add(&tc->tr->counters.polled, 1);
    } else {
        tc->halted_ns = now;
    }
}
