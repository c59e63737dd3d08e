/* SPDX-License-Identifier: MIT */
/*
 * Event loops: the main loop and those of the iothreads.
 *
 * A loop belongs to the thread that runs it.  It dispatches, in this order: posted calls and
 * bottom halves, file descriptors and other GSources of its GMainContext, and then the loop's
 * hooks (the timers of vm/clock.h hang there).
 *
 *     Bh *bh = bh_new(loop, ring_kick, ring);      // any thread may bh_schedule(bh)
 *     FdWatch *w = fd_watch_new(loop, fd, on_readable, NULL, conn);
 *     event_loop_post(loop, fn, opaque);           // once, from any thread
 *
 * Thread rules: functions marked [any] may be called from any thread, bh_schedule() also from a
 * signal handler; all others only from the loop's own thread (or before it runs, or after it
 * has been joined).  A callback may free the object whose callback it is.
 *
 * The main loop releases the machine lock while it sleeps: vm/ installs hooks for that.
 */
#ifndef BASE_EVENT_LOOP_H
#define BASE_EVENT_LOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct EventLoop EventLoop;
typedef struct Bh Bh;
typedef struct FdWatch FdWatch;
typedef struct Notifier Notifier;
typedef struct IoThread IoThread;

typedef void LoopFn(void *opaque);

/* -------- loops -------- */

/* [any] The process's main loop, on GLib's default context; never freed. */
EventLoop *event_loop_main(void);
/* [any] The loop that this thread runs, or the main loop for a thread that runs none. */
EventLoop *event_loop_current(void);
/* [any] */
bool event_loop_is_current(const EventLoop *loop);
/* A loop of one's own (tests, iothreads); the thread that first iterates it owns it. */
EventLoop *event_loop_new(const char *name);
EventLoop *event_loop_ref(EventLoop *loop);     /* [any] */
void event_loop_unref(EventLoop *loop);         /* [any] */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EventLoop, event_loop_unref)
const char *event_loop_name(const EventLoop *loop);
/* For attaching GSources (GIO); do not iterate it directly. */
GMainContext *event_loop_context(EventLoop *loop);

/*
 * Runs what is ready; with MAY_BLOCK waits until something is.  Returns whether anything ran.
 * May be nested: a callback may iterate its own loop to wait for something.  In a thread other than
 * the one that runs LOOP (a vCPU that holds the machine lock) it waits, with the lock released by
 * the loop's hooks, until that one has been round once.
 */
bool event_loop_iterate(EventLoop *loop, bool may_block);
/* Iterates until event_loop_quit(). */
void event_loop_run(EventLoop *loop);
void event_loop_quit(EventLoop *loop);          /* [any] */
/* [any] Makes a sleeping loop look again (its hooks' deadline has moved, for example). */
void event_loop_wake(EventLoop *loop);

/* Iterates this thread's loop until CONDITION is false. */
#define EVENT_LOOP_WAIT_WHILE(loop, condition)                                           \
    do {                                                                                 \
        while (condition) {                                                              \
            event_loop_iterate((loop), true);                                            \
        }                                                                                \
    } while (0)

/*
 * Hooks around the sleep, run in the loop's thread; any may be NULL.  A loop takes any number
 * of rows; the row must outlive the loop or be removed.
 */
typedef struct LoopHooks LoopHooks;
struct LoopHooks {
    /* How long the loop may sleep, in ns; negative: for ever. */
    int64_t (*sleep_ns)(void *opaque);
    /* Just before and just after a sleep that may block (drop and take the machine lock). */
    LoopFn *before_sleep;
    LoopFn *after_sleep;
    /* Runs what is due; returns whether anything was. */
    bool (*dispatch)(void *opaque);
    void *opaque;
};
void event_loop_add_hooks(EventLoop *loop, const LoopHooks *hooks);
void event_loop_remove_hooks(EventLoop *loop, const LoopHooks *hooks);

/* -------- calls into a loop -------- */

/* [any] Runs fn(opaque) once in LOOP, soon, in the order of the posts. */
void event_loop_post(EventLoop *loop, LoopFn *fn, void *opaque);

/* A bottom half: like a post, but allocated once and idempotent while pending. */
Bh *bh_new(EventLoop *loop, LoopFn *fn, void *opaque);
void bh_schedule(Bh *bh);                       /* [any, also in signal handlers] */
void bh_cancel(Bh *bh);                         /* [any] a run already begun goes on */
void bh_free(Bh *bh);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bh, bh_free)

/* One-shot real-time delay for host work such as reconnecting; guest timers use vm/clock.h. */
typedef struct LoopDelay LoopDelay;
LoopDelay *loop_delay_new(EventLoop *loop, int64_t ms, LoopFn *fn, void *opaque);
/* Also after it has fired; NULL is fine. */
void loop_delay_free(LoopDelay *delay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LoopDelay, loop_delay_free)

/* -------- file descriptors -------- */

/*
 * Level-triggered.  on_read also runs on hang-up and error, on_write on error; NULL means no
 * interest.  The descriptor stays the caller's; free the watch before closing it.
 */
FdWatch *fd_watch_new(EventLoop *loop, int fd, LoopFn *on_read, LoopFn *on_write, void *opaque);
void fd_watch_update(FdWatch *watch, LoopFn *on_read, LoopFn *on_write);
void fd_watch_free(FdWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FdWatch, fd_watch_free)

/* An eventfd.  Sets coalesce. */
Notifier *notifier_new(GError **error);
void notifier_set(Notifier *n);                 /* [any, also in signal handlers] */
bool notifier_test_and_clear(Notifier *n);      /* [any] */
int notifier_fd(const Notifier *n);
/* Calls fn(opaque) in LOOP, already cleared; NULL fn detaches. */
void notifier_attach(Notifier *n, EventLoop *loop, LoopFn *fn, void *opaque);
void notifier_free(Notifier *n);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Notifier, notifier_free)

/* -------- iothreads -------- */

/* A thread that runs a loop of its own until freed; freeing joins it. */
IoThread *iothread_new(const char *name);
EventLoop *iothread_loop(IoThread *iothread);
int iothread_tid(IoThread *iothread);
void iothread_free(IoThread *iothread);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IoThread, iothread_free)

/*
 * Parking: exclusive access to all that LOOP's callbacks touch.  event_loop_park() returns when the
 * thread that runs LOOP is between two callbacks, where it stays until event_loop_unpark(); the two
 * nest.  Callers are the main loop, or hold the machine lock, which is released while they wait:
 * so a callback on LOOP may take that lock.  A loop that no thread runs is parked at once.
 */
void event_loop_park(EventLoop *loop);
void event_loop_unpark(EventLoop *loop);
/* Those who need LOOP's thread to stay: an iothread with users is not deleted. */
void event_loop_add_user(EventLoop *loop, int count);
int event_loop_users(const EventLoop *loop);

/*
 * [any but LOOP's own sleeping callers] Runs fn(opaque) in LOOP and waits for it; calls it
 * directly if LOOP is this thread's, or parked by it.  The waiting thread's own loop is not run meanwhile.
 */
void event_loop_call_wait(EventLoop *loop, LoopFn *fn, void *opaque);

#endif
