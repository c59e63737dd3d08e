/* SPDX-License-Identifier: MIT */
/* The out-of-line part of RCU; see the header. */
#include "base/rcu.h"

typedef struct DeferredFree {
    RcuHead head;
    void *ptr;
} DeferredFree;

#ifdef __SANITIZE_THREAD__
char rcu_readers_token;

typedef struct Call {
    RcuHead head;
    RcuHead *user;
    void (*fn)(RcuHead *head);
} Call;

static void call_run(RcuHead *head)
{
    Call *call = (Call *)(void *)head;

    RCU_TSAN_ACQUIRE();
    call->fn(call->user);
    g_free(call);
}

void rcu_call(RcuHead *head, void (*fn)(RcuHead *head))
{
    Call *call = g_new(Call, 1);

    *call = (Call){ .user = head, .fn = fn };
    RCU_TSAN_RELEASE();
    urcu_bp_call_rcu(&call->head, call_run);
}
#else
void rcu_call(RcuHead *head, void (*fn)(RcuHead *head))
{
    urcu_bp_call_rcu(head, fn);
}
#endif

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
    rcu_call(&d->head, deferred_free_run);
}

void rcu_barrier_wait(void)
{
    urcu_bp_barrier();
}
