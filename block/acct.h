/* SPDX-License-Identifier: MIT */
/*
 * Counting requests: totals, histograms of latency, and figures over the last seconds.
 *
 * A timed window of N seconds is two windows that begin half of N apart and start afresh after N:
 * the older one is shown, so that the figures are of the last N/2 to N seconds.
 *
 *     blk_acct_done(&stats, BLK_ACCT_READ, bytes, begin_ns, end_ns, ok);
 *
 * Pure: time is a parameter.  Thread rule: the loop of the backend; the main loop under GRAPH_HOLD.
 */
#ifndef BLOCK_ACCT_H
#define BLOCK_ACCT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

typedef enum BlkAcctType {
    BLK_ACCT_READ, BLK_ACCT_WRITE, BLK_ACCT_FLUSH, BLK_ACCT_UNMAP, BLK_ACCT_COUNT,
} BlkAcctType;

/* Bin i counts latencies from boundary i - 1 (or 0) up to, without, boundary i. */
typedef struct BlkHistogram {
    uint64_t *boundaries, *bins;       /* COUNT, and one more */
    unsigned count;                    /* 0: off */
} BlkHistogram;

typedef struct BlkStats {
    uint64_t bytes[BLK_ACCT_COUNT], ops[BLK_ACCT_COUNT], ns[BLK_ACCT_COUNT];
    uint64_t failed[BLK_ACCT_COUNT], invalid[BLK_ACCT_COUNT], merged[BLK_ACCT_COUNT];
    uint64_t wr_highest_offset;
    int64_t last_access_ns;
    bool skip_invalid, skip_failed;    /* they count, but not as an access, nor with their time */
    GArray *windows;                   /* of BlkWindow; NULL: none */
    BlkHistogram histogram[BLK_ACCT_UNMAP];    /* of reads, writes, flushes */
} BlkStats;

void blk_acct_clear(BlkStats *stats);
void blk_acct_done(BlkStats *stats, BlkAcctType type, uint64_t bytes, int64_t begin_ns,
                   int64_t end_ns, bool ok);
void blk_acct_note_invalid(BlkStats *stats, BlkAcctType type, int64_t now_ns);
/* stats-intervals */
void blk_acct_add_window(BlkStats *stats, unsigned seconds, int64_t now_ns);
/* COUNT ascending boundaries, the first above 0 (else: false); COUNT 0 switches it off. */
bool blk_histogram_set(BlkHistogram *h, const uint64_t *boundaries, unsigned count);
/* "timed_stats", "rd_latency_histogram" and the other members of BlockDeviceStats about these. */
void blk_acct_query(BlkStats *stats, int64_t now_ns, Json *dict);

#endif
