/* SPDX-License-Identifier: MIT */
/*
 * Ticks of a periodic timer that came due while the guest had not yet taken the one before.
 *
 * An interrupt controller remembers one edge.  On a busy host a vCPU or the main loop may sleep through
 * several periods; a guest that counts ticks (Linux in its timer check, any DOS) then loses time.  The
 * timer owes such ticks and gives them one by one, each when the last has been taken: the policy that KVM
 * calls "delay".  It never owes more than a second's worth.
 *
 *     lost_ticks_due(&s->lost, periods_since_last_time, period_ns);
 *     if (lost_ticks_take(&s->lost)) { ... an edge ... }
 *     if (s->lost.owed) { timer_set(&s->timer, now + lost_ticks_retry_ns(period_ns)); }
 *
 * Thread rule: machine lock.
 */
#ifndef HW_TIMER_LOST_TICKS_H
#define HW_TIMER_LOST_TICKS_H

#include "base/bits.h"
#include "vm/clock.h"

/* Whether the last edge still waits in an interrupt controller; the board knows. */
typedef bool TickWaitsFn(void *opaque);

typedef struct LostTicks {
    uint32_t owed;
    bool discard;             /* policy: of several that are due, one is given */
    TickWaitsFn *waits;       /* NULL: edges are taken at once */
    void *opaque;
} LostTicks;

enum { LOST_TICKS_MIN = 20, LOST_TICKS_RETRY_MIN_NS = 50000, LOST_TICKS_RETRY_MAX_NS = 1000000 };

static inline void lost_ticks_due(LostTicks *l, uint64_t count, int64_t period_ns)
{
    uint64_t most = (uint64_t)(NANOSECONDS_PER_SECOND / MAX(period_ns, 1));

    most = l->discard ? 1 : MAX(most, LOST_TICKS_MIN);
    l->owed = (uint32_t)MIN(l->owed + MIN(count, most), most);
}

static inline bool lost_ticks_take(LostTicks *l)
{
    if (!l->owed || (!l->discard && l->waits && l->waits(l->opaque))) {
        return false;
    }
    l->owed--;
    return true;
}

static inline int64_t lost_ticks_retry_ns(int64_t period_ns)
{
    return CLAMP(period_ns / 4, LOST_TICKS_RETRY_MIN_NS, LOST_TICKS_RETRY_MAX_NS);
}

#endif
