/* SPDX-License-Identifier: MIT */
/* Counting requests, on a clock of the test's. */
#include "block/acct.h"

#define SECOND INT64_C(1000000000)

static Json *query(BlkStats *s, int64_t now)
{
    Json *dict = json_new_dict();

    blk_acct_query(s, now, dict);
    return dict;
}

static int64_t number(const Json *dict, const char *key)
{
    int64_t value = -1;

    json_get_int(json_lookup(dict, key), &value);
    return value;
}

static void test_window_shows_the_last_seconds(void)
{
    BlkStats s = { 0 };
    g_autoptr(Json) a = NULL;
    g_autoptr(Json) b = NULL;
    const Json *w;

    blk_acct_add_window(&s, 10, 100 * SECOND);
    blk_acct_done(&s, BLK_ACCT_READ, 512, 101 * SECOND, 101 * SECOND + 300, true);
    blk_acct_done(&s, BLK_ACCT_READ, 512, 102 * SECOND, 102 * SECOND + 500, true);
    blk_acct_done(&s, BLK_ACCT_WRITE, 512, 102 * SECOND, 103 * SECOND, true);
    a = query(&s, 104 * SECOND);
    w = json_list_at(json_lookup(a, "timed_stats"), 0);
    g_assert_cmpint(number(w, "interval_length"), ==, 10);
    g_assert_cmpint(number(w, "min_rd_latency_ns"), ==, 300);
    g_assert_cmpint(number(w, "max_rd_latency_ns"), ==, 500);
    g_assert_cmpint(number(w, "avg_rd_latency_ns"), ==, 400);
    g_assert_cmpint(number(w, "avg_wr_latency_ns"), ==, SECOND);
    /* Ten seconds later all of it is history. */
    b = query(&s, 114 * SECOND);
    w = json_list_at(json_lookup(b, "timed_stats"), 0);
    g_assert_cmpint(number(w, "max_rd_latency_ns"), ==, 0);
    g_assert_cmpint(number(b, "idle_time_ns"), ==, 11 * SECOND);
    blk_acct_clear(&s);
}

static void test_window_keeps_half_at_least(void)
{
    BlkStats s = { 0 };
    g_autoptr(Json) a = NULL;

    blk_acct_add_window(&s, 10, 0);
    blk_acct_done(&s, BLK_ACCT_FLUSH, 0, 4 * SECOND, 4 * SECOND + 7, true);
    a = query(&s, 8 * SECOND);
    g_assert_cmpint(number(json_list_at(json_lookup(a, "timed_stats"), 0),
                           "max_flush_latency_ns"), ==, 7);
    blk_acct_clear(&s);
}

static void test_histogram_bins(void)
{
    static const uint64_t bounds[] = { 10, 50, 100 }, bad[] = { 10, 10 }, zero[] = { 0 };
    static const int64_t bins[] = { 1, 2, 0, 1 };
    static const int64_t latencies[] = { 9, 10, 49, 100 };
    BlkStats s = { 0 };
    g_autoptr(Json) a = NULL;
    g_autoptr(Json) b = NULL;
    const Json *h;

    g_assert_false(blk_histogram_set(&s.histogram[BLK_ACCT_WRITE], bad, 2));
    g_assert_false(blk_histogram_set(&s.histogram[BLK_ACCT_WRITE], zero, 1));
    g_assert_true(blk_histogram_set(&s.histogram[BLK_ACCT_WRITE], bounds, 3));
    for (unsigned i = 0; i < G_N_ELEMENTS(latencies); i++) {
        blk_acct_done(&s, BLK_ACCT_WRITE, 1, 0, latencies[i], true);
        blk_acct_done(&s, BLK_ACCT_UNMAP, 1, 0, latencies[i], true);
    }
    a = query(&s, SECOND);
    h = json_lookup(json_lookup(a, "wr_latency_histogram"), "bins");
    for (unsigned i = 0; i < G_N_ELEMENTS(bins); i++) {
        int64_t n = -1;

        g_assert_true(json_get_int(json_list_at(h, i), &n));
        g_assert_cmpint(n, ==, bins[i]);
    }
    g_assert_null(json_lookup(a, "rd_latency_histogram"));
    g_assert_true(blk_histogram_set(&s.histogram[BLK_ACCT_WRITE], NULL, 0));
    b = query(&s, SECOND);
    g_assert_null(json_lookup(b, "wr_latency_histogram"));
    blk_acct_clear(&s);
}

static void test_failed_can_be_left_out(void)
{
    BlkStats s = { .skip_failed = true, .skip_invalid = true };

    blk_acct_done(&s, BLK_ACCT_READ, 512, 5, 9, false);
    blk_acct_note_invalid(&s, BLK_ACCT_READ, 10);
    g_assert_cmpuint(s.failed[BLK_ACCT_READ], ==, 1);
    g_assert_cmpuint(s.invalid[BLK_ACCT_READ], ==, 1);
    g_assert_cmpuint(s.ops[BLK_ACCT_READ], ==, 0);
    g_assert_cmpuint(s.ns[BLK_ACCT_READ], ==, 0);
    g_assert_cmpint(s.last_access_ns, ==, 0);
    s.skip_failed = s.skip_invalid = false;
    blk_acct_done(&s, BLK_ACCT_READ, 512, 5, 9, false);
    g_assert_cmpuint(s.ns[BLK_ACCT_READ], ==, 4);
    blk_acct_note_invalid(&s, BLK_ACCT_READ, 10);
    g_assert_cmpint(s.last_access_ns, ==, 10);
    blk_acct_clear(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block/acct/window/recent", test_window_shows_the_last_seconds);
    g_test_add_func("/block/acct/window/half", test_window_keeps_half_at_least);
    g_test_add_func("/block/acct/histogram", test_histogram_bins);
    g_test_add_func("/block/acct/failed", test_failed_can_be_left_out);
    return g_test_run();
}
