/* SPDX-License-Identifier: MIT */
/*
 * Stackful coroutines; see the header.
 *
 * co_switch() saves the callee-saved registers of the System V ABI [AMD64 ABI 3.2.1] on the old
 * stack and pops those of the new one.  MXCSR and the x87 control word are not switched: nothing
 * that runs in a coroutine changes them.
 *
 * Each thread has a leader, which stands for its own stack.  Chain of entry: a coroutine's
 * caller is whoever entered it last, the leader or another coroutine.
 */
#include "base/coroutine.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __has_feature
#define CO_HAS_FEATURE(f) __has_feature(f)
#else
#define CO_HAS_FEATURE(f) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || CO_HAS_FEATURE(address_sanitizer)
#define CO_ASAN 1
#include <sanitizer/common_interface_defs.h>
#else
#define CO_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || CO_HAS_FEATURE(thread_sanitizer)
#define CO_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define CO_TSAN 0
#endif

#define STACK_BYTES (256u << 10)
#define GUARD_BYTES 4096u
#define POOL_MAX 64
#define BATCH (POOL_MAX / 2)
#define BATCHES_MAX 8

struct Coroutine {
    void *sp;             /* while not running */
    char *stack;          /* lowest usable byte; NULL for a leader */
    size_t stack_bytes;
    CoroutineFn *fn;
    void *opaque;
    Coroutine *caller;    /* NULL while not running */
    EventLoop *home;
    bool done;
    Coroutine *next_free;
    Coroutine *next_batch;    /* of the first one in a batch */
    void *asan_fake_stack;
    void *tsan_fiber;
};

/* What a thread has. */
typedef struct CoThread {
    Coroutine leader;
    Coroutine *current;   /* NULL means the leader */
    Coroutine *pool;
    unsigned pool_len;
} CoThread;

/*
 * A coroutine may go on in another thread than it began in (a parked loop's callback that the
 * parker ran), in the middle of a function.  So nobody keeps the address of a thread's data
 * across a switch: the call hides it from the compiler.
 */
static __attribute__((noinline)) CoThread *co_thread(void)
{
    static __thread CoThread self;
    CoThread *address = &self;

    __asm__ volatile("" : "+r"(address));
    return address;
}

static void pool_drain(void *unused);
static GPrivate pool_cleaner = G_PRIVATE_INIT(pool_drain);

/* -------- the switch -------- */

/* Local to this file: defined in the assembly below. */
void co_switch(void **save_sp, void *load_sp) __attribute__((visibility("hidden")));
static void co_entry(void);

__asm__(".text\n"
        ".p2align 4\n"
        ".type co_switch, @function\n"
        "co_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size co_switch, . - co_switch\n");

static void set_current(Coroutine *co)
{
    CoThread *t = co_thread();

    t->current = co == &t->leader ? NULL : co;
}

static void switch_to(Coroutine *from, Coroutine *to, bool from_ends)
{
#if CO_ASAN
    __sanitizer_start_switch_fiber(from_ends ? NULL : &from->asan_fake_stack, to->stack,
                                   to->stack_bytes);
#endif
#if CO_TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
    co_switch(&from->sp, to->sp);
#if CO_ASAN
    __sanitizer_finish_switch_fiber(from->asan_fake_stack, NULL, NULL);
#endif
}

/* The first thing on a new stack. */
static void co_entry(void)
{
    Coroutine *self = co_thread()->current;

#if CO_ASAN
    Coroutine *leader = &co_thread()->leader;

    /* Tells the bounds of the leader's stack, for the way back. */
    if (self->caller == leader) {
        __sanitizer_finish_switch_fiber(NULL, (const void **)&leader->stack,
                                        &leader->stack_bytes);
    } else {
        __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
    }
#endif
    self->fn(self->opaque);
    self->done = true;
    set_current(self->caller);
    switch_to(self, self->caller, true);
    g_assert_not_reached();
}

/* -------- stacks -------- */

static void coroutine_destroy(Coroutine *co)
{
#if CO_TSAN
    __tsan_destroy_fiber(co->tsan_fiber);
#endif
    munmap(co->stack - GUARD_BYTES, STACK_BYTES + GUARD_BYTES);
    g_free(co);
}

static void pool_drain(void *unused)
{
    CoThread *t = co_thread();

    while (t->pool) {
        Coroutine *co = t->pool;

        t->pool = co->next_free;
        coroutine_destroy(co);
    }
    t->pool_len = 0;
}

/*
 * What begins in one thread (a vCPU) often ends in another (the main loop): full pools give batches to
 * all, from which empty ones take.
 */
static GMutex batches_lock;
static Coroutine *batches;
static unsigned batches_len;

/* Half of a full pool; false: there are enough for all. */
static bool batch_give(CoThread *t)
{
    Coroutine *first = t->pool, *last = first;
    bool wanted;

    g_mutex_lock(&batches_lock);
    wanted = batches_len < BATCHES_MAX;
    if (wanted) {
        for (unsigned i = 1; i < BATCH; i++) {
            last = last->next_free;
        }
        t->pool = last->next_free;
        t->pool_len -= BATCH;
        last->next_free = NULL;
        first->next_batch = batches;
        batches = first;
        batches_len++;
    }
    g_mutex_unlock(&batches_lock);
    return wanted;
}

static void batch_take(CoThread *t)
{
    g_mutex_lock(&batches_lock);
    if (batches) {
        t->pool = batches;
        t->pool_len = BATCH;
        batches = batches->next_batch;
        batches_len--;
        g_private_set(&pool_cleaner, t);
    }
    g_mutex_unlock(&batches_lock);
}

static Coroutine *coroutine_alloc(void)
{
    CoThread *t = co_thread();
    Coroutine *co;
    char *map;

    if (!t->pool && __atomic_load_n(&batches_len, __ATOMIC_RELAXED)) {
        batch_take(t);
    }
    co = t->pool;
    if (co) {
        t->pool = co->next_free;
        t->pool_len--;
        return co;
    }
    map = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect(map, GUARD_BYTES, PROT_NONE) != 0) {
        g_error("cannot map a coroutine stack: %s", g_strerror(errno));
    }
    co = g_new0(Coroutine, 1);
    co->stack = map + GUARD_BYTES;
    co->stack_bytes = STACK_BYTES;
#if CO_TSAN
    co->tsan_fiber = __tsan_create_fiber(0);
#endif
    return co;
}

static void coroutine_recycle(Coroutine *co)
{
    CoThread *t = co_thread();

    if (t->pool_len >= POOL_MAX && !batch_give(t)) {
        coroutine_destroy(co);
        return;
    }
    co->next_free = t->pool;
    t->pool = co;
    t->pool_len++;
    g_private_set(&pool_cleaner, t);
}

Coroutine *coroutine_new(CoroutineFn *fn, void *opaque)
{
    Coroutine *co = coroutine_alloc();
    void **sp = (void **)(void *)(co->stack + STACK_BYTES);

    co->fn = fn;
    co->opaque = opaque;
    co->caller = NULL;
    co->home = NULL;
    co->done = false;
    co->asan_fake_stack = NULL;
    /* What co_switch() pops: six registers, then the address it returns to.  At the entry
     * of a function rsp is 8 below a multiple of 16. */
    *--sp = NULL;
    *--sp = (void *)co_entry;
    for (unsigned i = 0; i < 6; i++) {
        *--sp = NULL;
    }
    co->sp = sp;
    return co;
}

/* -------- enter and yield -------- */

void coroutine_enter(Coroutine *co)
{
    CoThread *t = co_thread();
    Coroutine *from = t->current ? t->current : &t->leader;

    g_assert(!co->caller); /* not running already */
    if (!co->home) {
        co->home = event_loop_current();
    }
#if CO_TSAN
    if (!t->current) {
        t->leader.tsan_fiber = __tsan_get_current_fiber();
    }
#endif
    co->caller = from;
    t->current = co;
    switch_to(from, co, false);
    if (co->done) {
        coroutine_recycle(co);
    }
}

void co_yield(void)
{
    Coroutine *self = co_thread()->current;
    Coroutine *caller;

    g_assert(self); /* only a coroutine can yield */
    caller = self->caller;
    self->caller = NULL;
    set_current(caller);
    switch_to(self, caller, false);
}

void coroutine_start(CoroutineFn *fn, void *opaque)
{
    coroutine_enter(coroutine_new(fn, opaque));
}

static void enter_posted(void *opaque)
{
    coroutine_enter(opaque);
}

void coroutine_wake(Coroutine *co)
{
    event_loop_post(co->home, enter_posted, co);
}

Coroutine *coroutine_self(void)
{
    return co_thread()->current;
}

EventLoop *coroutine_home(Coroutine *co)
{
    return co->home;
}

void coroutine_set_home(Coroutine *co, EventLoop *loop)
{
    g_assert(!co->caller);
    co->home = loop;
}

void co_pause(void)
{
    coroutine_wake(coroutine_self());
    co_yield();
}

void co_sleep_ms(int64_t ms)
{
    LoopDelay *delay = loop_delay_new(coroutine_self()->home, ms, enter_posted, coroutine_self());

    co_yield();
    loop_delay_free(delay);
}

static void co_wait_fd(int fd, bool writable)
{
    FdWatch *w = fd_watch_new(coroutine_self()->home, fd, writable ? NULL : enter_posted,
                              writable ? enter_posted : NULL, coroutine_self());

    co_yield();
    fd_watch_free(w);
}

void co_wait_readable(int fd)
{
    co_wait_fd(fd, false);
}

void co_wait_writable(int fd)
{
    co_wait_fd(fd, true);
}

typedef struct SyncRun {
    CoroutineFn *fn;
    void *opaque;
    bool done;
} SyncRun;

static void co_sync_run(void *opaque)
{
    SyncRun *run = opaque;

    run->fn(run->opaque);
    run->done = true;
}

void coroutine_run_sync(EventLoop *loop, CoroutineFn *fn, void *opaque)
{
    SyncRun run = { fn, opaque, false };
    Coroutine *co;

    if (coroutine_self() && coroutine_self()->home == loop) {
        fn(opaque);
        return;
    }
    co = coroutine_new(co_sync_run, &run);
    co->home = loop;
    coroutine_enter(co);
    EVENT_LOOP_WAIT_WHILE(loop, !run.done);
}

/* -------- waiting in line -------- */

struct CoWaiter {
    Coroutine *co;
    CoWaiter *next;
};

void co_queue_init(CoQueue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

bool co_queue_empty(const CoQueue *q)
{
    return q->head == NULL;
}

void co_queue_wait(CoQueue *q, struct CoMutex *mutex)
{
    CoWaiter w = { coroutine_self(), NULL };

    *q->tail = &w;
    q->tail = &w.next;
    if (mutex) {
        co_mutex_unlock(mutex);
    }
    co_yield();
    if (mutex) {
        co_mutex_lock(mutex);
    }
}

/* Takes the first waiter out of the line; it lives on its own stack until it is entered. */
static Coroutine *co_queue_pop(CoQueue *q)
{
    CoWaiter *w = q->head;

    if (!w) {
        return NULL;
    }
    q->head = w->next;
    if (!q->head) {
        q->tail = &q->head;
    }
    return w->co;
}

bool co_queue_wake_one(CoQueue *q)
{
    Coroutine *co = co_queue_pop(q);

    if (co) {
        coroutine_wake(co);
    }
    return co != NULL;
}

void co_queue_wake_all(CoQueue *q)
{
    while (co_queue_wake_one(q)) {
    }
}

void co_mutex_init(CoMutex *m)
{
    m->locked = false;
    m->holder = NULL;
    co_queue_init(&m->waiters);
}

void co_mutex_lock(CoMutex *m)
{
    if (m->locked) {
        g_assert(m->holder != coroutine_self()); /* not recursive */
        co_queue_wait(&m->waiters, NULL); /* unlock hands it over */
        return;
    }
    m->locked = true;
    m->holder = coroutine_self();
}

void co_mutex_unlock(CoMutex *m)
{
    Coroutine *next = co_queue_pop(&m->waiters);

    g_assert(m->locked && m->holder == coroutine_self());
    m->holder = next;
    m->locked = next != NULL;
    if (next) {
        coroutine_wake(next);
    }
}

void co_rwlock_init(CoRwLock *l)
{
    l->readers = 0;
    l->writer = false;
    l->waiting_writers = 0;
    co_queue_init(&l->queue);
}

void co_rwlock_rdlock(CoRwLock *l)
{
    while (l->writer || l->waiting_writers) {
        co_queue_wait(&l->queue, NULL);
    }
    l->readers++;
}

void co_rwlock_wrlock(CoRwLock *l)
{
    l->waiting_writers++;
    while (l->writer || l->readers) {
        co_queue_wait(&l->queue, NULL);
    }
    l->waiting_writers--;
    l->writer = true;
}

void co_rwlock_unlock(CoRwLock *l)
{
    if (l->writer) {
        l->writer = false;
    } else {
        g_assert(l->readers > 0);
        l->readers--;
    }
    if (!l->readers) {
        co_queue_wake_all(&l->queue);
    }
}
