/* SPDX-License-Identifier: MIT */
/*
 * Threads, ranked mutexes and the lock order.
 *
 * A Mutex has a name and a rank.  A thread may take a mutex only if its rank is higher than
 * that of every mutex it already holds; debug builds (--enable-debug) check this, and that the
 * one who unlocks is the one who locked, and die with both names: a breach is our bug, never
 * the guest's.  Ranks, outermost first: see LockRank.
 *
 *     Mutex m;
 *     mutex_init(&m, "ring", LOCK_RANK_DEVICE);
 *     {
 *         MUTEX_SCOPE(&m);
 *         ...
 *     }
 *
 * MAIN_LOOP_ONLY() at the top of a function states and checks its thread rule.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

typedef enum LockRank {
    LOCK_RANK_GRAPH = 50,     /* block graph: taken before the machine lock by iothreads */
    LOCK_RANK_MACHINE = 100,  /* the machine lock of vm/ */
    LOCK_RANK_MEMORY = 200,   /* memory map writers */
    LOCK_RANK_CPU = 300,      /* a vcpu's work queue and wake-up */
    LOCK_RANK_TCG = 400,      /* code cache, page tables of blocks */
    LOCK_RANK_DEVICE = 500,   /* locks of single devices that run outside the machine lock */
    LOCK_RANK_TIMER = 600,
    LOCK_RANK_CHARDEV = 700,
    LOCK_RANK_POOL = 800,     /* worker pool, event loop queues */
    LOCK_RANK_LEAF = 1000,    /* nothing is taken under it */
} LockRank;

typedef struct Mutex {
    pthread_mutex_t lock;
    const char *name;
    int rank;
    pthread_t owner; /* valid while held, written by the holder */
    bool held;
} Mutex;

/* NAME is not copied. */
void mutex_init(Mutex *m, const char *name, int rank);
void mutex_clear(Mutex *m);
void mutex_lock(Mutex *m);
bool mutex_try_lock(Mutex *m);
void mutex_unlock(Mutex *m);
/* Whether the calling thread holds it; exact, in all builds. */
bool mutex_held(const Mutex *m);

typedef Mutex MutexScope;
static inline MutexScope *mutex_scope_enter(Mutex *m)
{
    mutex_lock(m);
    return m;
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MutexScope, mutex_unlock)
#define MUTEX_SCOPE_PASTE_(a, b) a##b
#define MUTEX_SCOPE_NAME_(n) MUTEX_SCOPE_PASTE_(mutex_scope_, n)
#define MUTEX_SCOPE(m)                                                                   \
    g_autoptr(MutexScope) MUTEX_SCOPE_NAME_(__LINE__) G_GNUC_UNUSED = mutex_scope_enter(m)

typedef struct Cond {
    pthread_cond_t cond; /* on CLOCK_MONOTONIC */
} Cond;
void cond_init(Cond *c);
void cond_clear(Cond *c);
void cond_wait(Cond *c, Mutex *m);
/* False when NS have passed without a signal. */
bool cond_wait_ns(Cond *c, Mutex *m, int64_t ns);
void cond_signal(Cond *c);
void cond_broadcast(Cond *c);

/* -------- threads -------- */

typedef struct Thread Thread;
/* NAME is cut to 15 characters, as the kernel does; all signals except SIGBUS, SIGSEGV and the
 * like are blocked in the new thread.  Running out of threads is fatal. */
Thread *thread_new(const char *name, void *(*fn)(void *opaque), void *opaque);
/* As above, but nobody joins it. */
void thread_start_detached(const char *name, void *(*fn)(void *opaque), void *opaque);
/* Waits for the end, returns what fn returned, frees the Thread. */
void *thread_join(Thread *thread);
int thread_self_tid(void);

/* The thread that first called this (main() does) is the main one. */
void thread_set_main(void);
bool thread_is_main(void);
#define MAIN_LOOP_ONLY() g_assert(thread_is_main())

#endif
