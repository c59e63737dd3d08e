/* SPDX-License-Identifier: MIT */
/*
 * Counting requests.  See block/acct.h.
 * Locking: none; the owner's thread.
 */
#include "block/acct.h"

#include <string.h>

#define NS_PER_SECOND INT64_C(1000000000)

#define TIMED ((unsigned)BLK_ACCT_UNMAP)       /* reads, writes, flushes */

typedef struct Sums {
    int64_t begin_ns;
    uint64_t min[TIMED], max[TIMED], sum[TIMED], count[TIMED];
} Sums;

typedef struct BlkWindow {
    int64_t length_ns;
    Sums half[2];                      /* [0] is the older one */
} BlkWindow;

static const char *const names[TIMED] = { "rd", "wr", "flush" };

/* ---- windows ---- */

static void sums_begin(Sums *s, int64_t now_ns)
{
    memset(s, 0, sizeof(*s));
    s->begin_ns = now_ns;
}

static void window_settle(BlkWindow *w, int64_t now_ns)
{
    if (now_ns - w->half[1].begin_ns >= w->length_ns) {
        /* Nothing has come in for long enough that both are over. */
        sums_begin(&w->half[0], now_ns - w->length_ns / 2);
        sums_begin(&w->half[1], now_ns);
    } else if (now_ns - w->half[0].begin_ns >= w->length_ns) {
        w->half[0] = w->half[1];
        sums_begin(&w->half[1], w->half[0].begin_ns + w->length_ns / 2);
    }
}

void blk_acct_add_window(BlkStats *stats, unsigned seconds, int64_t now_ns)
{
    BlkWindow w = { .length_ns = seconds * NS_PER_SECOND };

    sums_begin(&w.half[0], now_ns - w.length_ns / 2);
    sums_begin(&w.half[1], now_ns);
    if (!stats->windows) {
        stats->windows = g_array_new(false, false, sizeof(BlkWindow));
    }
    g_array_append_val(stats->windows, w);
}

static void window_add(BlkWindow *w, BlkAcctType type, uint64_t latency, int64_t now_ns)
{
    window_settle(w, now_ns);
    for (unsigned i = 0; i < 2; i++) {
        Sums *s = &w->half[i];

        s->min[type] = s->count[type] ? MIN(s->min[type], latency) : latency;
        s->max[type] = MAX(s->max[type], latency);
        s->sum[type] += latency;
        s->count[type]++;
    }
}

static Json *window_query(BlkWindow *w, int64_t now_ns)
{
    Json *dict = json_new_dict();
    const Sums *s = &w->half[0];
    double elapsed;

    window_settle(w, now_ns);
    elapsed = (double)MAX(now_ns - s->begin_ns, 1);
    json_set(dict, "interval_length", json_new_int(w->length_ns / NS_PER_SECOND));
    for (unsigned i = 0; i < TIMED; i++) {
        g_autofree char *min = g_strdup_printf("min_%s_latency_ns", names[i]);
        g_autofree char *max = g_strdup_printf("max_%s_latency_ns", names[i]);
        g_autofree char *avg = g_strdup_printf("avg_%s_latency_ns", names[i]);

        json_set(dict, min, json_new_uint(s->min[i]));
        json_set(dict, max, json_new_uint(s->max[i]));
        json_set(dict, avg, json_new_uint(s->count[i] ? s->sum[i] / s->count[i] : 0));
    }
    /* How many were under way on average: the time that they took, over the time that passed. */
    json_set(dict, "avg_rd_queue_depth",
             json_new_double((double)s->sum[BLK_ACCT_READ] / elapsed));
    json_set(dict, "avg_wr_queue_depth",
             json_new_double((double)s->sum[BLK_ACCT_WRITE] / elapsed));
    return dict;
}

/* ---- histograms ---- */

bool blk_histogram_set(BlkHistogram *h, const uint64_t *boundaries, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (boundaries[i] <= (i ? boundaries[i - 1] : 0)) {
            return false;
        }
    }
    g_free(h->boundaries);
    g_free(h->bins);
    *h = (BlkHistogram){ 0 };
    if (count) {
        h->boundaries = g_memdup2(boundaries, count * sizeof(*boundaries));
        h->bins = g_new0(uint64_t, count + 1);
        h->count = count;
    }
    return true;
}

static void histogram_add(BlkHistogram *h, uint64_t latency)
{
    unsigned low = 0, high = h->count;

    if (!h->count) {
        return;
    }
    while (low < high) {               /* the first boundary above it */
        unsigned mid = (low + high) / 2;

        if (h->boundaries[mid] <= latency) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    h->bins[low]++;
}

static Json *uint_list(const uint64_t *values, unsigned count)
{
    Json *list = json_new_list();

    for (unsigned i = 0; i < count; i++) {
        json_append(list, json_new_uint(values[i]));
    }
    return list;
}

/* ---- all ---- */

void blk_acct_done(BlkStats *stats, BlkAcctType type, uint64_t bytes, int64_t begin_ns,
                   int64_t end_ns, bool ok)
{
    uint64_t latency = (uint64_t)MAX(end_ns - begin_ns, 0);

    if (ok) {
        stats->ops[type]++;
        stats->bytes[type] += bytes;
    } else {
        stats->failed[type]++;
    }
    if (type < TIMED) {
        histogram_add(&stats->histogram[type], latency);
    }
    if (!ok && stats->skip_failed) {
        return;
    }
    stats->ns[type] += latency;
    stats->last_access_ns = end_ns;
    for (unsigned i = 0; type < TIMED && stats->windows && i < stats->windows->len; i++) {
        window_add(&g_array_index(stats->windows, BlkWindow, i), type, latency, end_ns);
    }
}

void blk_acct_note_invalid(BlkStats *stats, BlkAcctType type, int64_t now_ns)
{
    stats->invalid[type]++;
    if (!stats->skip_invalid) {
        stats->last_access_ns = now_ns;
    }
}

void blk_acct_query(BlkStats *stats, int64_t now_ns, Json *dict)
{
    Json *timed = json_new_list();

    for (unsigned i = 0; stats->windows && i < stats->windows->len; i++) {
        json_append(timed, window_query(&g_array_index(stats->windows, BlkWindow, i), now_ns));
    }
    json_set(dict, "timed_stats", timed);
    json_set(dict, "account_invalid", json_new_bool(!stats->skip_invalid));
    json_set(dict, "account_failed", json_new_bool(!stats->skip_failed));
    if (stats->last_access_ns) {
        json_set(dict, "idle_time_ns", json_new_int(now_ns - stats->last_access_ns));
    }
    for (unsigned i = 0; i < TIMED; i++) {
        const BlkHistogram *h = &stats->histogram[i];

        if (h->count) {
            g_autofree char *key = g_strdup_printf("%s_latency_histogram", names[i]);
            Json *info = json_new_dict();

            json_set(info, "boundaries", uint_list(h->boundaries, h->count));
            json_set(info, "bins", uint_list(h->bins, h->count + 1));
            json_set(dict, key, info);
        }
    }
}

void blk_acct_clear(BlkStats *stats)
{
    if (stats->windows) {
        g_array_unref(stats->windows);
    }
    for (unsigned i = 0; i < TIMED; i++) {
        blk_histogram_set(&stats->histogram[i], NULL, 0);
    }
    memset(stats, 0, sizeof(*stats));
}
