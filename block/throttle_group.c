/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: limits shared by who joins, and the lines of requests that wait.
 * Locking: main loop; what requests touch is under the group's lock, for they come from any loop.
 */
#include "block/driver.h"
#include "block/throttle.h"

#include "base/thread.h"

/* A request in line: the head waits for its time, the others for their turn. */
typedef struct Waiter {
    ThrottleGroup *group;
    Coroutine *co;
    bool asleep;
} Waiter;

struct ThrottleGroup {
    char *name;
    unsigned refs;
    Mutex lock;
    Throttle limits;
    GQueue line[2];                    /* reads, writes; of Waiter, first come first served */
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
    mutex_init(&g->lock, "throttle group", LOCK_RANK_LEAF);
    g_queue_init(&g->line[0]);
    g_queue_init(&g->line[1]);
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
    mutex_clear(&g->lock);
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

static void wake_locked(Waiter *w)
{
    if (w && w->asleep) {
        w->asleep = false;
        coroutine_wake(w->co);
    }
}

static void nap_over(void *opaque)
{
    Waiter *w = opaque;
    ThrottleGroup *g = w->group;

    mutex_lock(&g->lock);
    wake_locked(w);
    mutex_unlock(&g->lock);
}

/* The heads look again. */
static void kick(ThrottleGroup *g)
{
    mutex_lock(&g->lock);
    for (unsigned i = 0; i < 2; i++) {
        wake_locked(g_queue_peek_head(&g->line[i]));
    }
    mutex_unlock(&g->lock);
}

void throttle_group_set(ThrottleGroup *g, const Throttle *limits)
{
    mutex_lock(&g->lock);
    g->limits = *limits;
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        g->limits.bucket[i].level = g->limits.bucket[i].burst_level = 0;
    }
    g->limits.then_ns = 0;
    mutex_unlock(&g->lock);
    kick(g);
}

void throttle_groups_kick(void)
{
    for (unsigned i = 0; all_groups && i < all_groups->len; i++) {
        kick(all_groups->pdata[i]);
    }
}

/* Gives the lock up meanwhile.  NS negative: until woken. */
static void co_sleep_locked(Waiter *w, int64_t ns)
{
    LoopDelay *delay = NULL;

    w->asleep = true;
    mutex_unlock(&w->group->lock);
    if (ns >= 0) {
        delay = loop_delay_new(coroutine_home(w->co), (ns + 999999) / 1000000, nap_over, w);
    }
    co_yield();
    loop_delay_free(delay);
    mutex_lock(&w->group->lock);
}

void co_throttle(ThrottleGroup *g, bool is_write, uint64_t bytes)
{
    GQueue *line = &g->line[is_write];
    Waiter w = { g, coroutine_self(), false };
    GList link = { .data = &w };
    int64_t wait;

    mutex_lock(&g->lock);
    g_queue_push_tail_link(line, &link);
    while (g_queue_peek_head_link(line) != &link) {
        co_sleep_locked(&w, -1);
    }
    while (!graph_is_draining() &&
           (wait = throttle_wait_ns(&g->limits, is_write, g_get_monotonic_time() * 1000)) > 0) {
        co_sleep_locked(&w, wait);
    }
    throttle_account(&g->limits, is_write, bytes);
    g_queue_unlink(line, &link);
    wake_locked(g_queue_peek_head(line));
    mutex_unlock(&g->lock);
}
