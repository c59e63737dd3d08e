/* SPDX-License-Identifier: MIT */
/* Threads, mutexes and the lock order. */
#include "base/thread.h"

#include <string.h>

static void *add_many(void *opaque)
{
    struct { Mutex m; unsigned n; } *shared = opaque;

    for (unsigned i = 0; i < 10000; i++) {
        MUTEX_SCOPE(&shared->m);
        shared->n++;
    }
    return opaque;
}

static void test_mutex_excludes(void)
{
    struct { Mutex m; unsigned n; } shared = { .n = 0 };
    Thread *t;

    mutex_init(&shared.m, "test", LOCK_RANK_LEAF);
    t = thread_new("adder", add_many, &shared);
    add_many(&shared);
    g_assert_true(thread_join(t) == &shared);
    g_assert_cmpuint(shared.n, ==, 20000);
    g_assert_false(mutex_held(&shared.m));
    mutex_clear(&shared.m);
}

static void test_held_is_per_thread(void)
{
    Mutex m;

    mutex_init(&m, "test", LOCK_RANK_LEAF);
    g_assert_true(mutex_try_lock(&m));
    g_assert_true(mutex_held(&m));
    mutex_unlock(&m);
    g_assert_false(mutex_held(&m));
    mutex_clear(&m);
}

static void test_cond_times_out(void)
{
    Mutex m;
    Cond c;

    mutex_init(&m, "test", LOCK_RANK_LEAF);
    cond_init(&c);
    mutex_lock(&m);
    g_assert_false(cond_wait_ns(&c, &m, 1000));
    g_assert_true(mutex_held(&m));
    mutex_unlock(&m);
    cond_clear(&c);
    mutex_clear(&m);
}

static void test_wrong_order_is_caught(void)
{
#ifdef RHEA_CHECK_LOCKS
    if (g_test_subprocess()) {
        Mutex outer, inner;

        mutex_init(&outer, "machine", LOCK_RANK_MACHINE);
        mutex_init(&inner, "device", LOCK_RANK_DEVICE);
        mutex_lock(&inner);
        mutex_lock(&outer);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*'machine' (rank 100) is taken while 'device' (rank 500)*");
#else
    g_test_skip("lock order checks are in debug and sanitizer builds");
#endif
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/thread/mutex", test_mutex_excludes);
    g_test_add_func("/thread/held", test_held_is_per_thread);
    g_test_add_func("/thread/cond", test_cond_times_out);
    g_test_add_func("/thread/order", test_wrong_order_is_caught);
    return g_test_run();
}
