/* SPDX-License-Identifier: MIT */
/* Coroutines: switching, waking, mutexes and queues. */
#include "base/coroutine.h"

#include "base/thread.h"

#include <unistd.h>

typedef struct Trail {
    GString *out;
    Coroutine *co;
    CoMutex mutex;
    CoQueue queue;
    CoRwLock rwlock;
    unsigned running;
} Trail;

static void two_steps(void *opaque)
{
    Trail *t = opaque;

    g_string_append_c(t->out, 'a');
    t->co = coroutine_self();
    co_yield();
    g_string_append_c(t->out, 'b');
}

static void test_yield_and_enter(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    Trail t = { .out = out };

    g_assert_null(coroutine_self());
    coroutine_start(two_steps, &t);
    g_string_append_c(out, '|');
    coroutine_enter(t.co);
    g_assert_cmpstr(out->str, ==, "a|b");
    g_assert_null(coroutine_self());
}

static void outer(void *opaque)
{
    Trail *t = opaque;

    coroutine_start(two_steps, t);
    g_string_append_c(t->out, 'o');
    coroutine_enter(t->co);
    g_string_append_c(t->out, 'p');
}

static void test_nested(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    Trail t = { .out = out };

    coroutine_start(outer, &t);
    g_assert_cmpstr(out->str, ==, "aobp");
}

static void many_frames(void *opaque)
{
    char buffer[100000];

    memset(buffer, 1, sizeof(buffer));
    *(unsigned *)opaque += buffer[co_queue_empty(&(CoQueue){ 0 }) ? 99999 : 0];
}

static void test_stacks_are_reused(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < 2000; i++) {
        coroutine_start(many_frames, &count);
    }
    g_assert_cmpuint(count, ==, 2000);
}

static void pausing(void *opaque)
{
    Trail *t = opaque;

    t->running++;
    for (unsigned i = 0; i < 3; i++) {
        co_mutex_lock(&t->mutex);
        g_string_append_c(t->out, '(');
        co_pause();
        g_string_append_c(t->out, ')');
        co_mutex_unlock(&t->mutex);
    }
    t->running--;
}

static void test_mutex_excludes(void)
{
    g_autoptr(EventLoop) loop = event_loop_ref(event_loop_main());
    g_autoptr(GString) out = g_string_new(NULL);
    Trail t = { .out = out };

    co_mutex_init(&t.mutex);
    coroutine_start(pausing, &t);
    coroutine_start(pausing, &t);
    EVENT_LOOP_WAIT_WHILE(loop, t.running);
    g_assert_cmpstr(out->str, ==, "()()()()()()");
}

static void queued(void *opaque)
{
    Trail *t = opaque;

    t->running++;
    co_queue_wait(&t->queue, NULL);
    t->running--;
}

static void test_queue_wakes_in_order(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    EventLoop *loop = event_loop_main();
    Trail t = { .out = out };

    co_queue_init(&t.queue);
    for (unsigned i = 0; i < 3; i++) {
        coroutine_start(queued, &t);
    }
    g_assert_cmpuint(t.running, ==, 3);
    g_assert_true(co_queue_wake_one(&t.queue));
    EVENT_LOOP_WAIT_WHILE(loop, t.running == 3);
    g_assert_cmpuint(t.running, ==, 2);
    co_queue_wake_all(&t.queue);
    EVENT_LOOP_WAIT_WHILE(loop, t.running);
    g_assert_false(co_queue_wake_one(&t.queue));
}

static void reader(void *opaque)
{
    Trail *t = opaque;

    t->running++;
    co_rwlock_rdlock(&t->rwlock);
    g_string_append_c(t->out, 'r');
    co_pause();
    g_string_append_c(t->out, 'R');
    co_rwlock_unlock(&t->rwlock);
    t->running--;
}

static void writer(void *opaque)
{
    Trail *t = opaque;

    t->running++;
    co_rwlock_wrlock(&t->rwlock);
    g_string_append_c(t->out, 'w');
    co_pause();
    g_string_append_c(t->out, 'W');
    co_rwlock_unlock(&t->rwlock);
    t->running--;
}

static void test_rwlock(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    Trail t = { .out = out };

    co_rwlock_init(&t.rwlock);
    coroutine_start(reader, &t);
    coroutine_start(reader, &t);
    coroutine_start(writer, &t);
    coroutine_start(reader, &t);
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), t.running);
    g_assert_cmpstr(out->str, ==, "rrRRwWrR");
}

static void read_pipe(void *opaque)
{
    int *fds = opaque;
    char c;

    co_wait_readable(fds[0]);
    g_assert_cmpint(read(fds[0], &c, 1), ==, 1);
    co_sleep_ms(1);
    fds[0] = -1;
}

static void test_waits_for_descriptor_and_time(void)
{
    int fds[2], in;

    g_assert_cmpint(pipe(fds), ==, 0);
    in = fds[0];
    coroutine_start(read_pipe, fds);
    g_assert_cmpint(write(fds[1], "x", 1), ==, 1);
    EVENT_LOOP_WAIT_WHILE(event_loop_main(), fds[0] >= 0);
    close(in);
    close(fds[1]);
}

static void wake_from_thread(void *opaque)
{
    coroutine_wake(opaque);
}

static void hop(void *opaque)
{
    IoThread *t = opaque;

    for (unsigned i = 0; i < 200; i++) {
        event_loop_post(iothread_loop(t), wake_from_thread, coroutine_self());
        co_yield();
        g_assert_true(event_loop_is_current(coroutine_home(coroutine_self())));
    }
}

static void test_woken_by_another_thread_on_its_home(void)
{
    g_autoptr(IoThread) t = iothread_new("io0");

    coroutine_run_sync(event_loop_main(), hop, t);
}

/* ---- coroutines that begin in one thread and end in another ---- */

static unsigned fresh_stacks;

static void mark_and_yield(void *opaque)
{
    struct { uint64_t mark; char above[4096]; } deep;

    /* What was there before, where no other function comes: a stack that nobody has used is zero. */
    __asm__ volatile("" : "=m"(deep));
    fresh_stacks += deep.mark != 0x1234;
    deep.mark = 0x1234;
    __asm__ volatile("" : : "m"(deep));
    co_yield();
}

typedef struct Starts {
    Coroutine *cos[16];
    GMutex lock;
    GCond cond;
    bool started, ended, quit;
} Starts;

static void *start_them(void *opaque)
{
    Starts *s = opaque;

    g_mutex_lock(&s->lock);
    while (!s->quit) {
        for (unsigned i = 0; i < G_N_ELEMENTS(s->cos); i++) {
            s->cos[i] = coroutine_new(mark_and_yield, NULL);
            coroutine_enter(s->cos[i]);
        }
        s->started = true;
        g_cond_signal(&s->cond);
        while (!s->ended) {
            g_cond_wait(&s->cond, &s->lock);
        }
        s->ended = false;
    }
    g_mutex_unlock(&s->lock);
    return NULL;
}

static void test_stacks_come_back_from_other_threads(void)
{
    Starts s = { .started = false };
    Thread *t;

    g_mutex_lock(&s.lock);
    t = thread_new("starts", start_them, &s);
    for (unsigned round = 0; round < 200; round++) {
        while (!s.started) {
            g_cond_wait(&s.cond, &s.lock);
        }
        s.started = false;
        for (unsigned i = 0; i < G_N_ELEMENTS(s.cos); i++) {
            coroutine_enter(s.cos[i]);
        }
        s.quit = round == 199;
        s.ended = true;
        g_cond_signal(&s.cond);
    }
    g_mutex_unlock(&s.lock);
    thread_join(t);
    /* A pool of each thread's and what lies between, not one for each of 3200. */
    g_assert_cmpuint(fresh_stacks, <, 400);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine/yield", test_yield_and_enter);
    g_test_add_func("/coroutine/nested", test_nested);
    g_test_add_func("/coroutine/pool", test_stacks_are_reused);
    g_test_add_func("/coroutine/pool/threads", test_stacks_come_back_from_other_threads);
    g_test_add_func("/coroutine/mutex", test_mutex_excludes);
    g_test_add_func("/coroutine/queue", test_queue_wakes_in_order);
    g_test_add_func("/coroutine/rwlock", test_rwlock);
    g_test_add_func("/coroutine/wait", test_waits_for_descriptor_and_time);
    g_test_add_func("/coroutine/threads", test_woken_by_another_thread_on_its_home);
    return g_test_run();
}
