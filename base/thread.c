/* SPDX-License-Identifier: MIT */
/* Threads, ranked mutexes; see the header. */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Deeper nesting than this is itself a mistake. */
#define MAX_HELD 16

#ifdef RHEA_CHECK_LOCKS
static __thread const Mutex *held[MAX_HELD];
static __thread unsigned held_count;

static void check_order(const Mutex *m)
{
    for (unsigned i = 0; i < held_count; i++) {
        if (held[i]->rank >= m->rank) {
            g_error("lock order: '%s' (rank %d) is taken while '%s' (rank %d) is held", m->name,
                    m->rank, held[i]->name, held[i]->rank);
        }
    }
}

static void note_locked(const Mutex *m)
{
    g_assert(held_count < MAX_HELD);
    held[held_count++] = m;
}

static void note_unlocked(const Mutex *m)
{
    unsigned i = held_count;

    while (i > 0 && held[i - 1] != m) {
        i--;
    }
    if (i == 0) {
        g_error("lock order: '%s' is released by a thread that does not hold it", m->name);
    }
    memmove(&held[i - 1], &held[i], (held_count - i) * sizeof(held[0]));
    held_count--;
}
#else
static void check_order(const Mutex *m)
{
}

static void note_locked(const Mutex *m)
{
}

static void note_unlocked(const Mutex *m)
{
}
#endif

void mutex_init(Mutex *m, const char *name, int rank)
{
    pthread_mutex_init(&m->lock, NULL);
    m->name = name;
    m->rank = rank;
    m->held = false;
}

void mutex_clear(Mutex *m)
{
    pthread_mutex_destroy(&m->lock);
}

static void mutex_taken(Mutex *m)
{
    __atomic_store_n(&m->owner, pthread_self(), __ATOMIC_RELAXED);
    __atomic_store_n(&m->held, true, __ATOMIC_RELAXED);
    note_locked(m);
}

static void mutex_leaving(Mutex *m)
{
    note_unlocked(m);
    __atomic_store_n(&m->held, false, __ATOMIC_RELAXED);
}

void mutex_lock(Mutex *m)
{
    check_order(m);
    pthread_mutex_lock(&m->lock);
    mutex_taken(m);
}

bool mutex_try_lock(Mutex *m)
{
    /* No order check: a try cannot deadlock. */
    if (pthread_mutex_trylock(&m->lock) != 0) {
        return false;
    }
    mutex_taken(m);
    return true;
}

void mutex_unlock(Mutex *m)
{
    mutex_leaving(m);
    pthread_mutex_unlock(&m->lock);
}

bool mutex_held(const Mutex *m)
{
    /* Only this thread can have made both true for itself. */
    return __atomic_load_n(&m->held, __ATOMIC_RELAXED) &&
           pthread_equal(__atomic_load_n(&m->owner, __ATOMIC_RELAXED), pthread_self());
}

void cond_init(Cond *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->cond, &attr);
    pthread_condattr_destroy(&attr);
}

void cond_clear(Cond *c)
{
    pthread_cond_destroy(&c->cond);
}

void cond_wait(Cond *c, Mutex *m)
{
    mutex_leaving(m);
    pthread_cond_wait(&c->cond, &m->lock);
    mutex_taken(m);
}

bool cond_wait_ns(Cond *c, Mutex *m, int64_t ns)
{
    struct timespec until;
    int result;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec += ns % 1000000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    mutex_leaving(m);
    result = pthread_cond_timedwait(&c->cond, &m->lock, &until);
    mutex_taken(m);
    return result != ETIMEDOUT;
}

void cond_signal(Cond *c)
{
    pthread_cond_signal(&c->cond);
}

void cond_broadcast(Cond *c)
{
    pthread_cond_broadcast(&c->cond);
}

/* -------- threads -------- */

struct Thread {
    pthread_t handle;
    char name[16];
    void *(*fn)(void *opaque);
    void *opaque;
};

static void *thread_body(void *opaque)
{
    Thread *thread = opaque;

    pthread_setname_np(pthread_self(), thread->name);
    return thread->fn(thread->opaque);
}

static void *detached_body(void *opaque)
{
    Thread thread = *(Thread *)opaque;

    g_free(opaque);
    pthread_detach(pthread_self());
    return thread_body(&thread);
}

/* A detached body may free THREAD at once, so the caller must not look at it. */
static Thread *thread_launch(const char *name, void *(*fn)(void *opaque), void *opaque,
                             void *(*body)(void *opaque))
{
    Thread *thread = g_new0(Thread, 1);
    sigset_t block, before;
    pthread_t detached;
    int err;

    g_strlcpy(thread->name, name, sizeof(thread->name));
    thread->fn = fn;
    thread->opaque = opaque;
    sigfillset(&block);
    sigdelset(&block, SIGSEGV);
    sigdelset(&block, SIGBUS);
    sigdelset(&block, SIGFPE);
    sigdelset(&block, SIGILL);
    sigdelset(&block, SIGABRT);
    sigdelset(&block, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &block, &before);
    err = pthread_create(body == thread_body ? &thread->handle : &detached, NULL, body, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        g_error("cannot start thread '%s': %s", name, g_strerror(err));
    }
    return thread;
}

Thread *thread_new(const char *name, void *(*fn)(void *opaque), void *opaque)
{
    return thread_launch(name, fn, opaque, thread_body);
}

void thread_start_detached(const char *name, void *(*fn)(void *opaque), void *opaque)
{
    thread_launch(name, fn, opaque, detached_body);
}

void *thread_join(Thread *thread)
{
    void *result = NULL;
    int err = pthread_join(thread->handle, &result);

    g_assert(err == 0); /* each Thread is joined once, by another thread */
    g_free(thread);
    return result;
}

int thread_self_tid(void)
{
    static __thread int tid;

    if (!tid) {
        tid = (int)syscall(SYS_gettid);
    }
    return tid;
}

static pthread_t main_thread;
static bool main_known;

void thread_set_main(void)
{
    if (!main_known) {
        main_thread = pthread_self();
        __atomic_store_n(&main_known, true, __ATOMIC_RELEASE);
    }
}

bool thread_is_main(void)
{
    /* Before main() has said who it is there is only one thread (unit tests never say). */
    return !__atomic_load_n(&main_known, __ATOMIC_ACQUIRE) ||
           pthread_equal(main_thread, pthread_self());
}
