/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: limits shared by who joins, and the lines of requests that wait.
 * Locking: main loop.
 */
#include "block/driver.h"
#include "block/throttle.h"

/* The head of a line sleeps. */
typedef struct Nap {
    Coroutine *co;
    bool over;
} Nap;

struct ThrottleGroup {
    char *name;
    unsigned refs;
    Throttle limits;
    CoMutex line[2];                   /* reads, writes; held by the head, first come first served */
    Nap *nap[2];
};

static GPtrArray *all_groups;

ThrottleGroup *throttle_group_find(const char *name)
{
    for (unsigned i = 0; all_groups && i < all_groups->len; i++) {
        ThrottleGroup *g = all_groups->pdata[i];

        if (g_str_equal(g->name, name)) {
            return g;
        }
    }
    return NULL;
}

ThrottleGroup *throttle_group_new(const char *name, const Throttle *limits)
{
    ThrottleGroup *g = g_new0(ThrottleGroup, 1);

    g_assert(!throttle_group_find(name));
    g->name = g_strdup(name);
    g->refs = 1;
    g->limits = *limits;
    co_mutex_init(&g->line[0]);
    co_mutex_init(&g->line[1]);
    if (!all_groups) {
        all_groups = g_ptr_array_new();
    }
    g_ptr_array_add(all_groups, g);
    return g;
}

ThrottleGroup *throttle_group_ref(ThrottleGroup *g)
{
    g->refs++;
    return g;
}

void throttle_group_unref(ThrottleGroup *g)
{
    if (!g || --g->refs) {
        return;
    }
    g_ptr_array_remove(all_groups, g);
    g_free(g->name);
    g_free(g);
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

bool throttle_group_is_used(const ThrottleGroup *g)
{
    return g->refs > 1;
}

const Throttle *throttle_group_limits(const ThrottleGroup *g)
{
    return &g->limits;
}

static void nap_over(void *opaque)
{
    Nap *nap = opaque;

    if (!nap->over) {
        nap->over = true;
        coroutine_wake(nap->co);
    }
}

static void kick(ThrottleGroup *g)
{
    for (unsigned i = 0; i < 2; i++) {
        if (g->nap[i]) {
            nap_over(g->nap[i]);
        }
    }
}

void throttle_group_set(ThrottleGroup *g, const Throttle *limits)
{
    g->limits = *limits;
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        g->limits.bucket[i].level = g->limits.bucket[i].burst_level = 0;
    }
    g->limits.then_ns = 0;
    kick(g);
}

void throttle_groups_kick(void)
{
    for (unsigned i = 0; all_groups && i < all_groups->len; i++) {
        kick(all_groups->pdata[i]);
    }
}

void co_throttle(ThrottleGroup *g, bool is_write, uint64_t bytes)
{
    CoMutex *line = &g->line[is_write];
    int64_t wait;

    throttle_group_ref(g);
    co_mutex_lock(line);
    while (!graph_is_draining() &&
           (wait = throttle_wait_ns(&g->limits, is_write, g_get_monotonic_time() * 1000)) > 0) {
        Nap nap = { coroutine_self(), false };
        LoopDelay *delay = loop_delay_new(event_loop_main(), (wait + 999999) / 1000000, nap_over,
                                          &nap);

        g->nap[is_write] = &nap;
        co_yield();
        g->nap[is_write] = NULL;
        loop_delay_free(delay);
    }
    throttle_account(&g->limits, is_write, bytes);
    co_mutex_unlock(line);
    throttle_group_unref(g);
}
