/* SPDX-License-Identifier: MIT */
/*
 * Event loops over GMainContext; see the header.
 *
 * An iteration asks the context for its descriptors, sleeps in ppoll() between the hooks, and
 * dispatches.  Calls from other threads go through a lock-free stack (so that a signal
 * handler may push) and wake the sleeper by an eventfd only if it sleeps or is about to.
 *
 * Invariants:
 *  1. Bh.state says who owns the Bh: BH_QUEUED is set exactly while it is on some stack or in
 *     the list being run; a deleted Bh is freed by the dispatcher if queued, else at once.
 *  2. loop->sleeping is set before the last look at the stack, so a push after that look wakes.
 */
#include "base/event_loop.h"
#include "base/thread.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BH_QUEUED = 1, BH_SCHEDULED = 2, BH_DELETED = 4, BH_ONESHOT = 8 };

struct Bh {
    EventLoop *loop;
    LoopFn *fn;
    void *opaque;
    Bh *next;
    unsigned state;
};

struct EventLoop {
    int refs;
    char *name;
    GMainContext *context;
    GPtrArray *hooks;  /* of const LoopHooks * */
    Bh *pushed;        /* lock-free stack, newest first */
    int wake_fd;
    bool sleeping;
    bool quit;
    int users;
    /* Turns and parking: under turn_lock, but that parks is also looked at without. */
    Mutex turn_lock;
    Cond turned;
    unsigned turns, turn_waiters, parks;
    bool running, parked;
    int parked_by;     /* thread id */
};

static __thread EventLoop *current_loop;

/* -------- life -------- */

EventLoop *event_loop_new(const char *name)
{
    EventLoop *loop = g_new0(EventLoop, 1);

    loop->refs = 1;
    loop->name = g_strdup(name);
    loop->context = g_main_context_new();
    loop->hooks = g_ptr_array_new();
    mutex_init(&loop->turn_lock, "loop turn", LOCK_RANK_LEAF);
    cond_init(&loop->turned);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        g_error("cannot make an eventfd for loop '%s': %s", name, g_strerror(errno));
    }
    return loop;
}

EventLoop *event_loop_main(void)
{
    static EventLoop *main_loop;
    static gsize once;

    if (g_once_init_enter(&once)) {
        EventLoop *loop = event_loop_new("main");

        g_main_context_unref(loop->context);
        loop->context = g_main_context_ref(g_main_context_default());
        main_loop = loop;
        g_once_init_leave(&once, 1);
    }
    return main_loop;
}

EventLoop *event_loop_current(void)
{
    return current_loop ? current_loop : event_loop_main();
}

bool event_loop_is_current(const EventLoop *loop)
{
    return current_loop ? current_loop == loop : loop == event_loop_main() && thread_is_main();
}

EventLoop *event_loop_ref(EventLoop *loop)
{
    __atomic_add_fetch(&loop->refs, 1, __ATOMIC_RELAXED);
    return loop;
}

static void bh_release(Bh *bh)
{
    g_free(bh);
}

void event_loop_unref(EventLoop *loop)
{
    if (__atomic_sub_fetch(&loop->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    for (Bh *bh = loop->pushed, *next; bh; bh = next) {
        next = bh->next;
        if (bh->state & (BH_DELETED | BH_ONESHOT)) {
            bh_release(bh);
        }
    }
    close(loop->wake_fd);
    cond_clear(&loop->turned);
    mutex_clear(&loop->turn_lock);
    g_main_context_unref(loop->context);
    g_ptr_array_unref(loop->hooks);
    g_free(loop->name);
    g_free(loop);
}

const char *event_loop_name(const EventLoop *loop)
{
    return loop->name;
}

GMainContext *event_loop_context(EventLoop *loop)
{
    return loop->context;
}

void event_loop_add_hooks(EventLoop *loop, const LoopHooks *hooks)
{
    g_ptr_array_add(loop->hooks, (void *)hooks);
}

void event_loop_remove_hooks(EventLoop *loop, const LoopHooks *hooks)
{
    g_ptr_array_remove(loop->hooks, (void *)hooks);
}

/* -------- bottom halves -------- */

void event_loop_wake(EventLoop *loop)
{
    uint64_t one = 1;
    ssize_t done G_GNUC_UNUSED;

    if (__atomic_exchange_n(&loop->sleeping, false, __ATOMIC_SEQ_CST)) {
        int saved = errno;

        done = write(loop->wake_fd, &one, sizeof(one));
        errno = saved;
    }
}

static void bh_enqueue(Bh *bh, unsigned flags)
{
    EventLoop *loop = bh->loop;
    unsigned before = __atomic_fetch_or(&bh->state, flags | BH_QUEUED, __ATOMIC_SEQ_CST);

    if (!(before & BH_QUEUED)) {
        Bh *head = __atomic_load_n(&loop->pushed, __ATOMIC_RELAXED);

        do {
            bh->next = head;
        } while (!__atomic_compare_exchange_n(&loop->pushed, &head, bh, true, __ATOMIC_SEQ_CST,
                                              __ATOMIC_RELAXED));
    }
    event_loop_wake(loop);
}

Bh *bh_new(EventLoop *loop, LoopFn *fn, void *opaque)
{
    Bh *bh = g_new0(Bh, 1);

    bh->loop = loop;
    bh->fn = fn;
    bh->opaque = opaque;
    return bh;
}

void bh_schedule(Bh *bh)
{
    bh_enqueue(bh, BH_SCHEDULED);
}

void bh_cancel(Bh *bh)
{
    __atomic_fetch_and(&bh->state, ~BH_SCHEDULED, __ATOMIC_SEQ_CST);
}

void bh_free(Bh *bh)
{
    unsigned before;

    if (!bh) {
        return;
    }
    before = __atomic_fetch_or(&bh->state, BH_DELETED, __ATOMIC_SEQ_CST);
    if (!(before & BH_QUEUED)) {
        bh_release(bh);
    }
}

void event_loop_post(EventLoop *loop, LoopFn *fn, void *opaque)
{
    bh_enqueue(bh_new(loop, fn, opaque), BH_SCHEDULED | BH_ONESHOT);
}

/* The newest-first stack, taken whole and turned round. */
static Bh *take_pushed(EventLoop *loop)
{
    Bh *bh = __atomic_exchange_n(&loop->pushed, NULL, __ATOMIC_SEQ_CST);
    Bh *fifo = NULL;

    while (bh) {
        Bh *next = bh->next;

        bh->next = fifo;
        fifo = bh;
        bh = next;
    }
    return fifo;
}

/*
 * A callback may iterate this loop again; what is left of our list must then still be seen
 * by the inner iteration, so it hangs in a chain of slices rather than in a local variable.
 */
typedef struct BhSlice {
    EventLoop *loop;
    Bh *head;
    struct BhSlice *outer;
} BhSlice;
static __thread BhSlice *slices;

static bool run_slice(BhSlice *slice)
{
    bool progress = false;

    while (slice->head) {
        Bh *bh = slice->head;
        unsigned before;

        slice->head = bh->next;
        before = __atomic_fetch_and(&bh->state, ~(BH_QUEUED | BH_SCHEDULED), __ATOMIC_SEQ_CST);
        if (before & BH_DELETED) {
            bh_release(bh);
        } else if (before & BH_ONESHOT) {
            LoopFn *fn = bh->fn;
            void *opaque = bh->opaque;

            bh_release(bh);
            fn(opaque);
            progress = true;
        } else if (before & BH_SCHEDULED) {
            bh->fn(bh->opaque);
            progress = true;
        }
    }
    return progress;
}

static bool run_bhs(EventLoop *loop)
{
    bool progress = false;
    BhSlice mine;

    for (BhSlice *s = slices; s; s = s->outer) {
        if (s->loop == loop) {
            progress |= run_slice(s);
        }
    }
    mine.loop = loop;
    mine.head = take_pushed(loop);
    mine.outer = slices;
    slices = &mine;
    progress |= run_slice(&mine);
    slices = mine.outer;
    return progress;
}

/* -------- one turn -------- */

static int64_t hooks_sleep_ns(EventLoop *loop)
{
    int64_t shortest = -1;

    for (unsigned i = 0; i < loop->hooks->len; i++) {
        const LoopHooks *h = g_ptr_array_index(loop->hooks, i);
        int64_t ns = h->sleep_ns ? h->sleep_ns(h->opaque) : -1;

        if (ns >= 0 && (shortest < 0 || ns < shortest)) {
            shortest = ns;
        }
    }
    return shortest;
}

static void hooks_before_sleep(EventLoop *loop)
{
    for (unsigned i = 0; i < loop->hooks->len; i++) {
        const LoopHooks *h = g_ptr_array_index(loop->hooks, i);

        if (h->before_sleep) {
            h->before_sleep(h->opaque);
        }
    }
}

static void hooks_after_sleep(EventLoop *loop)
{
    for (unsigned i = loop->hooks->len; i > 0; i--) {
        const LoopHooks *h = g_ptr_array_index(loop->hooks, i - 1);

        if (h->after_sleep) {
            h->after_sleep(h->opaque);
        }
    }
}

/* Waits until a descriptor is ready or TIMEOUT_NS have passed (negative: for ever). */
static void loop_sleep(EventLoop *loop, GPollFD *fds, unsigned n, int64_t timeout_ns)
{
    struct timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    bool may_block = timeout_ns != 0;
    uint64_t count;
    ssize_t done G_GNUC_UNUSED;

    G_STATIC_ASSERT(sizeof(GPollFD) == sizeof(struct pollfd));
    if (may_block) {
        hooks_before_sleep(loop);
    }
    if (ppoll((struct pollfd *)fds, n, timeout_ns < 0 ? NULL : &ts, NULL) < 0) {
        for (unsigned i = 0; i < n; i++) {
            fds[i].revents = 0;
        }
    }
    __atomic_store_n(&loop->sleeping, false, __ATOMIC_SEQ_CST);
    done = read(loop->wake_fd, &count, sizeof(count));
    if (may_block) {
        hooks_after_sleep(loop);
    }
}

static bool run_hooks(EventLoop *loop)
{
    bool progress = false;

    for (unsigned i = 0; i < loop->hooks->len; i++) {
        const LoopHooks *h = g_ptr_array_index(loop->hooks, i);

        if (h->dispatch) {
            progress |= h->dispatch(h->opaque);
        }
    }
    return progress;
}

/* Sleeps on the context's descriptors and dispatches its sources. */
static bool run_context(EventLoop *loop, bool may_block)
{
    g_autofree GPollFD *fds = NULL;
    int priority, timeout_ms, n, space = 16;
    int64_t timeout_ns, hook_ns;
    bool ready = g_main_context_prepare(loop->context, &priority);

    fds = g_new(GPollFD, space + 1);
    while ((n = g_main_context_query(loop->context, priority, &timeout_ms, fds, space)) > space) {
        space = n;
        fds = g_renew(GPollFD, fds, space + 1);
    }
    timeout_ns = timeout_ms < 0 ? -1 : timeout_ms * INT64_C(1000000);
    hook_ns = hooks_sleep_ns(loop);
    if (hook_ns >= 0 && (timeout_ns < 0 || hook_ns < timeout_ns)) {
        timeout_ns = hook_ns;
    }
    if (!may_block || ready) {
        timeout_ns = 0;
    }
    __atomic_store_n(&loop->sleeping, true, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&loop->pushed, __ATOMIC_SEQ_CST) ||
        __atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST) ||
        __atomic_load_n(&loop->parks, __ATOMIC_SEQ_CST)) {
        timeout_ns = 0;
    }
    fds[n] = (GPollFD){ .fd = loop->wake_fd, .events = G_IO_IN };
    loop_sleep(loop, fds, n + 1, timeout_ns);
    if (g_main_context_check(loop->context, priority, fds, n)) {
        g_main_context_dispatch(loop->context);
        return true;
    }
    return false;
}

/* Another thread runs LOOP. */
static bool wait_for_turn(EventLoop *loop)
{
    unsigned seen;

    mutex_lock(&loop->turn_lock);
    seen = loop->turns;
    loop->turn_waiters++;
    hooks_before_sleep(loop);
    while (loop->turns == seen) {
        cond_wait(&loop->turned, &loop->turn_lock);
    }
    loop->turn_waiters--;
    mutex_unlock(&loop->turn_lock);
    hooks_after_sleep(loop);
    return true;
}

static void end_turn(EventLoop *loop)
{
    mutex_lock(&loop->turn_lock);
    loop->turns++;
    if (loop->turn_waiters) {
        cond_broadcast(&loop->turned);
    }
    mutex_unlock(&loop->turn_lock);
}

bool event_loop_iterate(EventLoop *loop, bool may_block)
{
    EventLoop *before = current_loop;
    bool progress;

    if (!g_main_context_acquire(loop->context)) {
        return may_block && wait_for_turn(loop);
    }
    current_loop = loop;
    progress = run_bhs(loop);
    progress |= run_context(loop, may_block && !progress);
    progress |= run_bhs(loop);
    progress |= run_hooks(loop);
    g_main_context_release(loop->context);
    current_loop = before;
    end_turn(loop);
    return progress;
}

/* -------- parking -------- */

/* Runs in the loop's own thread, between two turns. */
static void stay_parked(EventLoop *loop)
{
    mutex_lock(&loop->turn_lock);
    while (loop->parks) {
        loop->parked = true;
        cond_broadcast(&loop->turned);
        cond_wait(&loop->turned, &loop->turn_lock);
    }
    loop->parked = false;
    mutex_unlock(&loop->turn_lock);
}

static void set_running(EventLoop *loop, bool running)
{
    if (running) {
        stay_parked(loop);
    }
    mutex_lock(&loop->turn_lock);
    loop->running = running;
    cond_broadcast(&loop->turned);
    mutex_unlock(&loop->turn_lock);
}

void event_loop_park(EventLoop *loop)
{
    EventLoop *mine = event_loop_current();
    bool slept = false;

    g_assert(mine != loop);
    mutex_lock(&loop->turn_lock);
    __atomic_store_n(&loop->parks, loop->parks + 1, __ATOMIC_SEQ_CST);
    event_loop_wake(loop);
    if (loop->running && !loop->parked) {
        slept = true;
        hooks_before_sleep(mine);
    }
    while (loop->running && !loop->parked) {
        cond_wait(&loop->turned, &loop->turn_lock);
    }
    loop->parked_by = thread_self_tid();
    mutex_unlock(&loop->turn_lock);
    if (slept) {
        hooks_after_sleep(mine);
    }
}

void event_loop_unpark(EventLoop *loop)
{
    mutex_lock(&loop->turn_lock);
    g_assert(loop->parks > 0);
    __atomic_store_n(&loop->parks, loop->parks - 1, __ATOMIC_SEQ_CST);
    if (!loop->parks) {
        loop->parked_by = 0;
        cond_broadcast(&loop->turned);
    }
    mutex_unlock(&loop->turn_lock);
}

static bool is_parked_by_us(EventLoop *loop)
{
    bool ours;

    mutex_lock(&loop->turn_lock);
    ours = loop->parks && loop->parked_by == thread_self_tid();
    mutex_unlock(&loop->turn_lock);
    return ours;
}

void event_loop_add_user(EventLoop *loop, int count)
{
    __atomic_add_fetch(&loop->users, count, __ATOMIC_RELAXED);
}

int event_loop_users(const EventLoop *loop)
{
    return __atomic_load_n(&loop->users, __ATOMIC_RELAXED);
}

/* -------- running -------- */

void event_loop_run(EventLoop *loop)
{
    EventLoop *before = current_loop;

    current_loop = loop;
    g_main_context_push_thread_default(loop->context);
    set_running(loop, true);
    while (!__atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST)) {
        if (__atomic_load_n(&loop->parks, __ATOMIC_SEQ_CST)) {
            stay_parked(loop);
        }
        event_loop_iterate(loop, true);
    }
    set_running(loop, false);
    __atomic_store_n(&loop->quit, false, __ATOMIC_SEQ_CST);
    g_main_context_pop_thread_default(loop->context);
    current_loop = before;
}

void event_loop_quit(EventLoop *loop)
{
    __atomic_store_n(&loop->quit, true, __ATOMIC_SEQ_CST);
    event_loop_wake(loop);
}

/* -------- calling and waiting -------- */

typedef struct WaitedCall {
    LoopFn *fn;
    void *opaque;
    Mutex lock;
    Cond done_cond;
    bool done;
} WaitedCall;

static void waited_call_run(void *opaque)
{
    WaitedCall *call = opaque;

    call->fn(call->opaque);
    mutex_lock(&call->lock);
    call->done = true;
    cond_signal(&call->done_cond);
    mutex_unlock(&call->lock);
}

void event_loop_call_wait(EventLoop *loop, LoopFn *fn, void *opaque)
{
    WaitedCall call = { .fn = fn, .opaque = opaque };

    if (event_loop_is_current(loop)) {
        fn(opaque);
        return;
    }
    if (is_parked_by_us(loop)) {
        EventLoop *before = current_loop;

        current_loop = loop;
        fn(opaque);
        current_loop = before;
        return;
    }
    mutex_init(&call.lock, "waited call", LOCK_RANK_LEAF);
    cond_init(&call.done_cond);
    event_loop_post(loop, waited_call_run, &call);
    mutex_lock(&call.lock);
    while (!call.done) {
        cond_wait(&call.done_cond, &call.lock);
    }
    mutex_unlock(&call.lock);
    cond_clear(&call.done_cond);
    mutex_clear(&call.lock);
}

/* -------- iothreads -------- */

struct IoThread {
    EventLoop *loop;
    Thread *thread;
    int tid;
    Mutex lock;
    Cond started;
};

static void *iothread_body(void *opaque)
{
    IoThread *t = opaque;

    mutex_lock(&t->lock);
    t->tid = thread_self_tid();
    cond_signal(&t->started);
    mutex_unlock(&t->lock);
    event_loop_run(t->loop);
    return NULL;
}

IoThread *iothread_new(const char *name)
{
    IoThread *t = g_new0(IoThread, 1);

    mutex_init(&t->lock, "iothread start", LOCK_RANK_LEAF);
    cond_init(&t->started);
    t->loop = event_loop_new(name);
    t->thread = thread_new(name, iothread_body, t);
    mutex_lock(&t->lock);
    while (!t->tid) {
        cond_wait(&t->started, &t->lock);
    }
    mutex_unlock(&t->lock);
    return t;
}

EventLoop *iothread_loop(IoThread *t)
{
    return t->loop;
}

int iothread_tid(IoThread *t)
{
    return t->tid;
}

void iothread_free(IoThread *t)
{
    if (!t) {
        return;
    }
    event_loop_quit(t->loop);
    thread_join(t->thread);
    event_loop_unref(t->loop);
    cond_clear(&t->started);
    mutex_clear(&t->lock);
    g_free(t);
}
