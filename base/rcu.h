/* SPDX-License-Identifier: MIT */
/*
 * Read-copy-update, thin over liburcu (the "bp" flavour, which registers threads by itself, so
 * that any thread, also one of a library, may read).
 *
 * Reader:   RCU_READ_SCOPE(); map = rcu_get(&space->map); ...use map until the scope ends...
 * Writer:   (under the writers' lock) old = space->map; rcu_set(&space->map, new);
 *           rcu_call(&old->rcu, flat_map_free_rcu);
 *
 * Read sections nest and must not sleep for long.  Code that leaves by siglongjmp must not
 * be inside one.  rcu_call()ed functions run in a thread of liburcu's, without any lock.
 */
#ifndef BASE_RCU_H
#define BASE_RCU_H

#include <glib.h>
#define _LGPL_SOURCE
#include <urcu-bp.h>

typedef struct rcu_head RcuHead;

static inline void rcu_read_enter(void)
{
    urcu_bp_read_lock();
}

static inline void rcu_read_leave(void)
{
    urcu_bp_read_unlock();
}

/* A pointer published by rcu_set(). */
#define rcu_get(pp) rcu_dereference(*(pp))
#define rcu_set(pp, value) rcu_assign_pointer(*(pp), (value))

/* Runs fn(head) once no reader can still see the object that HEAD is in. */
void rcu_call(RcuHead *head, void (*fn)(RcuHead *head));
/* g_free()s PTR then. */
void rcu_free_later(void *ptr);
/* Waits until all readers of now have left; never inside a read section. */
void rcu_synchronize(void);
/* Waits until all functions handed to rcu_call() so far have run. */
void rcu_barrier_wait(void);

typedef int RcuScope;
static inline void rcu_scope_leave(RcuScope *scope)
{
    rcu_read_leave();
}
static inline RcuScope rcu_scope_enter(void)
{
    rcu_read_enter();
    return 0;
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RcuScope, rcu_scope_leave)
#define RCU_SCOPE_PASTE_(a, b) a##b
#define RCU_SCOPE_NAME_(n) RCU_SCOPE_PASTE_(rcu_scope_, n)
#define RCU_READ_SCOPE()                                                                 \
    g_auto(RcuScope) RCU_SCOPE_NAME_(__LINE__) G_GNUC_UNUSED = rcu_scope_enter()

#endif
