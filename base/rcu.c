/* SPDX-License-Identifier: MIT */
/* The out-of-line part of RCU; see the header. */
#include "base/rcu.h"

typedef struct DeferredFree {
    RcuHead head;
    void *ptr;
} DeferredFree;

void rcu_call(RcuHead *head, void (*fn)(RcuHead *head))
{
    urcu_bp_call_rcu(head, fn);
}

static void deferred_free_run(RcuHead *head)
{
    DeferredFree *d = (DeferredFree *)(void *)head;

    g_free(d->ptr);
    g_free(d);
}

void rcu_free_later(void *ptr)
{
    DeferredFree *d = g_new(DeferredFree, 1);

    d->ptr = ptr;
    urcu_bp_call_rcu(&d->head, deferred_free_run);
}

void rcu_synchronize(void)
{
    urcu_bp_synchronize_rcu();
}

void rcu_barrier_wait(void)
{
    urcu_bp_barrier();
}
