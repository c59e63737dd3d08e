/* SPDX-License-Identifier: MIT */
/*
 * Stackful coroutines.
 *
 * Code that waits (block layer, migration, socket protocols) is written straight through and
 * yields where it would block.  A coroutine belongs to the event loop of the thread that
 * first enters it, its home; it only ever runs there, or in a thread that has parked that loop or holds
 * the machine lock.  So code in coroutines keeps no address of thread-local data over a yield.
 * Functions that must run inside one begin with co_.
 *
 *     static void co_copy(void *opaque) { ... co_node_read(...); ... }
 *     coroutine_start(co_copy, job);               // runs until its first yield
 *
 * To wait: put coroutine_self() where the waker finds it and call co_yield(); the waker, on
 * any thread, calls coroutine_wake(co), which enters it from its home loop.  A wake that comes
 * before the yield is not lost if it comes from another thread or callback, since the home loop
 * is busy running the coroutine until it yields.  A yield without exactly one wake is a bug.
 *
 * Stacks are 256 KiB with a guard page, pooled per thread.  ASan and TSan know about them.
 * siglongjmp must not cross a coroutine's boundary.
 *
 * CoMutex and CoQueue may be used only by coroutines of one home loop; they are not thread
 * locks.  Both are fair (first come, first served).
 */
#ifndef BASE_COROUTINE_H
#define BASE_COROUTINE_H

#include "base/event_loop.h"

typedef struct Coroutine Coroutine;
typedef void CoroutineFn(void *opaque);

/* Freed by itself when fn returns. */
Coroutine *coroutine_new(CoroutineFn *fn, void *opaque);
/* Runs CO until it yields or ends.  In its home thread; CO must not be running already. */
void coroutine_enter(Coroutine *co);
void coroutine_start(CoroutineFn *fn, void *opaque);
/* Enters CO soon, from its home loop.  Any thread. */
void coroutine_wake(Coroutine *co);
/* NULL outside any coroutine. */
Coroutine *coroutine_self(void);
EventLoop *coroutine_home(Coroutine *co);
/* CO, which sleeps and is not about to be woken, goes on on LOOP; that of neither loop runs. */
void coroutine_set_home(Coroutine *co, EventLoop *loop);

/* Back to whoever entered; returns when entered again. */
void co_yield(void);
/* Lets the loop do other work, then goes on. */
void co_pause(void);
/* Sleeps in real time. */
void co_sleep_ms(int64_t ms);
/* Waits until FD is readable (writable). */
void co_wait_readable(int fd);
void co_wait_writable(int fd);

/*
 * Runs fn(opaque) as a coroutine on LOOP and waits for its end: directly when called within a
 * coroutine of LOOP, else by iterating LOOP, which must be this thread's.
 */
void coroutine_run_sync(EventLoop *loop, CoroutineFn *fn, void *opaque);

typedef struct CoWaiter CoWaiter;
typedef struct CoQueue {
    CoWaiter *head, **tail;
} CoQueue;
void co_queue_init(CoQueue *q);
bool co_queue_empty(const CoQueue *q);
/* Sleeps until woken; if MUTEX is not NULL it is released meanwhile and taken again. */
struct CoMutex;
void co_queue_wait(CoQueue *q, struct CoMutex *mutex);
/* From a coroutine or from the home loop; false if nobody waits. */
bool co_queue_wake_one(CoQueue *q);
void co_queue_wake_all(CoQueue *q);

typedef struct CoMutex {
    bool locked;
    Coroutine *holder;
    CoQueue waiters;
} CoMutex;
void co_mutex_init(CoMutex *m);
void co_mutex_lock(CoMutex *m);
void co_mutex_unlock(CoMutex *m);

/* Many readers or one writer; a waiting writer holds off new readers. */
typedef struct CoRwLock {
    unsigned readers;
    bool writer;
    unsigned waiting_writers;
    CoQueue queue;
} CoRwLock;
void co_rwlock_init(CoRwLock *l);
void co_rwlock_rdlock(CoRwLock *l);
void co_rwlock_wrlock(CoRwLock *l);
void co_rwlock_unlock(CoRwLock *l);

#endif
