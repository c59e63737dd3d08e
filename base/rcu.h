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
/* Read sections inline; not with the sanitizers, which object to liburcu's own alignment. */
#ifndef __SANITIZE_ADDRESS__
#define _LGPL_SOURCE
#endif
#include <urcu-bp.h>

typedef struct rcu_head RcuHead;

static inline void rcu_read_enter(void)
{
    urcu_bp_read_lock();
}

/* liburcu is not instrumented: ThreadSanitizer must be told that what a reader did comes before
 * what is run after its grace period. */
#ifdef __SANITIZE_THREAD__
extern char rcu_readers_token;
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define RCU_TSAN_RELEASE() __tsan_release(&rcu_readers_token)
#define RCU_TSAN_ACQUIRE() __tsan_acquire(&rcu_readers_token)
#else
#define RCU_TSAN_RELEASE() ((void)0)
#define RCU_TSAN_ACQUIRE() ((void)0)
#endif

static inline void rcu_read_leave(void)
{
    RCU_TSAN_RELEASE();
    urcu_bp_read_unlock();
}

/* A pointer published by rcu_set(). */
#define rcu_get(pp) __atomic_load_n((pp), __ATOMIC_ACQUIRE)
#define rcu_set(pp, value) __atomic_store_n((pp), (value), __ATOMIC_RELEASE)

/* Runs fn(head) once no reader can still see the object that HEAD is in. */
void rcu_call(RcuHead *head, void (*fn)(RcuHead *head));
/* g_free()s PTR then. */
void rcu_free_later(void *ptr);
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
