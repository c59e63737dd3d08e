/* SPDX-License-Identifier: MIT */
/*
 * I/O limits: leaky buckets, groups that share them.
 *
 * Six buckets, for bytes and for operations, of reads, writes and both.  A request goes ahead
 * when no bucket that concerns it is over its size, and then adds to them; they leak at the
 * configured rate.  Without a burst ("-max") a bucket holds a tenth of a second's worth.  With
 * one, it holds max times length, and a second level limits the burst itself to the rate max.
 *
 * The core (throttle_wait_ns(), throttle_account()) is a pure function of state and time.  A group
 * is a set of limits with a name; who joins shares it, and its requests wait in the order they
 * came.  Reads and writes wait in lines of their own.
 *
 *     ThrottleGroup *g = throttle_group_ref("limits0");
 *     co_throttle(g, is_write, bytes);
 *
 * Nobody waits while some part of the graph is drained: a drain must not take longer than the
 * requests themselves.
 * Thread rule: the main loop; co_throttle() on any, for members of a group may be on several.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/graph.h"

typedef enum ThrottleKind {
    THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ, THROTTLE_BPS_WRITE,
    THROTTLE_IOPS_TOTAL, THROTTLE_IOPS_READ, THROTTLE_IOPS_WRITE, THROTTLE_KINDS,
} ThrottleKind;

typedef struct ThrottleBucket {
    uint64_t avg, max, length;         /* units a second; seconds.  avg 0: no limit */
    double level, burst_level;
} ThrottleBucket;

struct Throttle {
    ThrottleBucket bucket[THROTTLE_KINDS];
    uint64_t op_size;                  /* a larger request counts as several */
    int64_t then_ns;                   /* of the last leak */
};

/* No limits; bursts of a second. */
void throttle_init(Throttle *t);
/* Keys "iops-total", "bps-read-max", "bps-read-max-length", "iops-size", as in ThrottleLimits;
 * those found are taken out of OPTS, the others keep their values. */
bool throttle_parse(Throttle *t, NodeOpts *opts, const char *prefix, GError **error);
bool throttle_check(const Throttle *t, GError **error);
bool throttle_enabled(const Throttle *t);
/* How long a request of that direction has to wait; 0: it may go. */
int64_t throttle_wait_ns(Throttle *t, bool is_write, int64_t now_ns);
void throttle_account(Throttle *t, bool is_write, uint64_t bytes);
/* bps, bps_rd, iops_max...: what -drive and block_set_io_throttle call them, renamed to
 * PREFIX "bps-total"...; both names of one limit are an error. */
bool throttle_rename_old(NodeOpts *opts, const char *prefix, GError **error);
/* Puts bps, bps_rd, ... of LIMITS (NULL: none) into DICT. */
void throttle_query(const Throttle *limits, Json *dict);
/* "iops-total" and so on, of a bucket. */
const char *throttle_kind_name(ThrottleKind kind);

typedef struct ThrottleGroup ThrottleGroup;
/* An existing one; NULL when there is none. */
ThrottleGroup *throttle_group_find(const char *name);
/* With one reference; the name must be free. */
ThrottleGroup *throttle_group_new(const char *name, const Throttle *limits);
ThrottleGroup *throttle_group_ref(ThrottleGroup *group);
void throttle_group_unref(ThrottleGroup *group);
const char *throttle_group_name(const ThrottleGroup *group);
bool throttle_group_is_used(const ThrottleGroup *group);
const Throttle *throttle_group_limits(const ThrottleGroup *group);
/* Levels start from zero. */
void throttle_group_set(ThrottleGroup *group, const Throttle *limits);
void co_throttle(ThrottleGroup *group, bool is_write, uint64_t bytes);
/* Lets everybody look again: a drain has begun. */
void throttle_groups_kick(void);

#endif
