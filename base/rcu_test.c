/* SPDX-License-Identifier: MIT */
/* RCU: a reader never sees what has been freed. */
#include "base/rcu.h"
#include "base/thread.h"

typedef struct Node {
    RcuHead rcu;
    unsigned a, b;
} Node;

static Node *shared;
static unsigned freed;

static void node_free(RcuHead *head)
{
    Node *n = (Node *)(void *)head;

    n->a = ~n->b;
    __atomic_add_fetch(&freed, 1, __ATOMIC_RELAXED);
    g_free(n);
}

static void *read_many(void *stop)
{
    while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
        RCU_READ_SCOPE();
        Node *n = rcu_get(&shared);

        g_assert_cmpuint(n->a, ==, n->b);
    }
    return NULL;
}

static void test_readers_see_whole_nodes(void)
{
    bool stop = false;
    Thread *t;

    shared = g_new0(Node, 1);
    t = thread_new("reader", read_many, &stop);
    for (unsigned i = 1; i <= 1000; i++) {
        Node *next = g_new0(Node, 1), *old = shared;

        next->a = next->b = i;
        rcu_set(&shared, next);
        rcu_call(&old->rcu, node_free);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    thread_join(t);
    rcu_barrier_wait();
    g_assert_cmpuint(__atomic_load_n(&freed, __ATOMIC_RELAXED), ==, 1000);
    rcu_free_later(shared);
    rcu_barrier_wait();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rcu/readers", test_readers_see_whole_nodes);
    return g_test_run();
}
