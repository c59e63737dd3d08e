/* SPDX-License-Identifier: MIT */
/* Rate limits of QMP events; rows as seen from QEMU 7.2. */
#include "monitor/event_limit.h"

#include <string.h>

#define SECOND_NS 1000000000ll

static const struct {
    const char *event;
    const char *key;         /* member of data that tells apart what is limited */
} limits[] = {
    { "RTC_CHANGE" },
    { "WATCHDOG" },
    { "BALLOON_CHANGE" },
    { "QUORUM_REPORT_BAD", "node-name" },
    { "QUORUM_FAILURE", "reference" },
    { "VSERPORT_CHANGE", "id" },
    { "MEMORY_DEVICE_SIZE_CHANGE", "qom-path" },
};

typedef struct Held {
    EventLimit *limit;
    char *key;
    Timer timer;
    Json *latest;            /* NULL: nothing came since the last one was sent */
} Held;

struct EventLimit {
    Clock *clock;
    void (*send)(void *opaque, const Json *event);
    void *opaque;
    GHashTable *held;        /* key -> Held */
};

static void held_free(void *p)
{
    Held *h = p;

    timer_cancel(&h->timer);
    json_unref(h->latest);
    g_free(h->key);
    g_free(h);
}

static void held_expired(void *opaque)
{
    Held *h = opaque;
    g_autoptr(Json) event = g_steal_pointer(&h->latest);

    if (event) {
        timer_set(&h->timer, clock_now(h->limit->clock) + SECOND_NS);
        h->limit->send(h->limit->opaque, event);
    } else {
        g_hash_table_remove(h->limit->held, h->key);
    }
}

EventLimit *event_limit_new(Clock *clock, void (*send)(void *opaque, const Json *event),
                            void *opaque)
{
    EventLimit *limit = g_new0(EventLimit, 1);

    limit->clock = clock;
    limit->send = send;
    limit->opaque = opaque;
    limit->held = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, held_free);
    return limit;
}

void event_limit_free(EventLimit *limit)
{
    if (limit) {
        g_hash_table_unref(limit->held);
        g_free(limit);
    }
}

static char *limit_key(const Json *event)
{
    const char *name = json_lookup_string(event, "event");

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (strcmp(limits[i].event, name) == 0) {
            const char *part = limits[i].key
                                   ? json_lookup_string(json_lookup(event, "data"), limits[i].key)
                                   : NULL;

            return g_strdup_printf("%s %s", name, part ? part : "");
        }
    }
    return NULL;
}

void event_limit_pass(EventLimit *limit, Json *event)
{
    g_autoptr(Json) owned = event;
    g_autofree char *key = limit_key(event);
    Held *h = key ? g_hash_table_lookup(limit->held, key) : NULL;

    if (h) {
        json_unref(h->latest);
        h->latest = g_steal_pointer(&owned);
        return;
    }
    if (key) {
        h = g_new0(Held, 1);
        h->limit = limit;
        h->key = g_steal_pointer(&key);
        timer_init(&h->timer, limit->clock, held_expired, h);
        g_hash_table_insert(limit->held, h->key, h);
        timer_set(&h->timer, clock_now(limit->clock) + SECOND_NS);
    }
    limit->send(limit->opaque, event);
}
