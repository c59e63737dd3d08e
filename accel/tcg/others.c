/* SPDX-License-Identifier: MIT */
/*
 * When a page first holds translated code: the stores of others that are under way.
 *
 * A vCPU checks the TLB's tag and then stores; in a loop, or for a group of accesses, long after.  Marking a page as
 * code poisons the tags, but one that has passed its check may store after the bytes were compared with those translated.
 * So who marks the page waits until each vCPU that may hold a checked address has been at a place where it
 * holds none: it comes to the top of the run loop, or is itself here.
 *
 *     one that marks                      another
 *     poison the tags                     running = true, or passes++ (both are fences, too)
 *     fence                               check a tag
 *     running, not waiting?               store
 *     wait for `passes` to change         passes++, or running = false
 * Either the one sees that the other is inside, or the other sees the poisoned tag.
 *
 * Locking: none may be held, since another vCPU may be in a device.  Two that wait do not wait for each other.
 */
#include "accel/tcg/translator.h"

#include <sched.h>
#include <time.h>

/* The signal is sent again after so many looks; the host may have to run the other first. */
#define LOOKS 64
#define NAP_NS 20000

static bool may_hold_address(TcgCpu *tc)
{
    return atomic_load(&tc->running) && !atomic_load(&tc->waiting);
}

static void wait_for(TcgCpu *other)
{
    static const struct timespec nap = { .tv_nsec = NAP_NS };
    uint32_t passes = atomic_load(&other->passes);

    for (unsigned looks = 0; may_hold_address(other) && atomic_load(&other->passes) == passes; looks++) {
        if (looks % LOOKS == 0) {
            __atomic_store_n(&other->cpu->stop, 1, __ATOMIC_SEQ_CST);
            tcg_kick(other->cpu);
        }
        if (looks < LOOKS) {
            sched_yield();
        } else {
            clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
        }
    }
}

void tcg_wait_for_others(void *opaque)
{
    Translator *tr = opaque;
    X86Cpu *own = tcg_own_cpu();
    g_autofree TcgCpu **others = NULL;
    unsigned count = 0;

    atomic_fetch_add(&tr->waiters, 1);
    g_mutex_lock(&tr->graph);
    others = g_new(TcgCpu *, tr->cpus->len);
    for (unsigned i = 0; i < tr->cpus->len; i++) {
        X86Cpu *cpu = g_ptr_array_index(tr->cpus, i);

        if (cpu != own) {
            others[count++] = tcg_cpu(cpu);
        }
    }
    g_mutex_unlock(&tr->graph);
    if (own) {
        atomic_store(&tcg_cpu(own)->waiting, true);
    }
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; i < count; i++) {
        wait_for(others[i]);
    }
    if (own) {
        atomic_store(&tcg_cpu(own)->waiting, false);
    }
    atomic_fetch_sub(&tr->waiters, 1);
}
