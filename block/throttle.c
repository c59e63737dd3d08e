/* SPDX-License-Identifier: MIT */
/*
 * Leaky buckets; see the header.  Groups are in throttle_group.c.
 * No locking: state belongs to its holder.
 */
#include "block/throttle.h"

#include <math.h>

#include "base/bits.h"
#include "base/error.h"

#define VALUE_MAX 1000000000000000ull
#define NS_PER_S 1000000000.0

static const char *const kind_names[THROTTLE_KINDS] = {
    [THROTTLE_BPS_TOTAL] = "bps-total", [THROTTLE_BPS_READ] = "bps-read",
    [THROTTLE_BPS_WRITE] = "bps-write", [THROTTLE_IOPS_TOTAL] = "iops-total",
    [THROTTLE_IOPS_READ] = "iops-read", [THROTTLE_IOPS_WRITE] = "iops-write",
};

const char *throttle_kind_name(ThrottleKind kind)
{
    return kind_names[kind];
}

/* The names of -drive and block_set_io_throttle. */
static const char *const old_names[THROTTLE_KINDS] = {
    [THROTTLE_BPS_TOTAL] = "bps", [THROTTLE_BPS_READ] = "bps_rd",
    [THROTTLE_BPS_WRITE] = "bps_wr", [THROTTLE_IOPS_TOTAL] = "iops",
    [THROTTLE_IOPS_READ] = "iops_rd", [THROTTLE_IOPS_WRITE] = "iops_wr",
};

/* ---- configuration ---- */

void throttle_init(Throttle *t)
{
    *t = (Throttle){ 0 };
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        t->bucket[i].length = 1;
    }
}

static bool rename_old(NodeOpts *opts, const char *old, const char *old_suffix,
                       const char *prefix, const char *name, const char *suffix, GError **error)
{
    g_autofree char *from = g_strconcat(old, old_suffix, NULL);
    g_autofree char *to = g_strconcat(prefix, name, suffix, NULL);

    return node_opts_rename(opts, from, to, error);
}

bool throttle_rename_old(NodeOpts *opts, const char *prefix, GError **error)
{
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        if (!rename_old(opts, old_names[i], "", prefix, kind_names[i], "", error) ||
            !rename_old(opts, old_names[i], "_max", prefix, kind_names[i], "-max", error) ||
            !rename_old(opts, old_names[i], "_max_length", prefix, kind_names[i], "-max-length",
                        error)) {
            return false;
        }
    }
    return rename_old(opts, "iops_size", "", prefix, "iops-size", "", error);
}

void throttle_query(const Throttle *limits, Json *dict)
{
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        const ThrottleBucket *b = limits ? &limits->bucket[i] : NULL;
        g_autofree char *max = g_strconcat(old_names[i], "_max", NULL);
        g_autofree char *length = g_strconcat(old_names[i], "_max_length", NULL);

        json_set(dict, old_names[i], json_new_uint(b ? b->avg : 0));
        if (b && b->max) {
            json_set(dict, max, json_new_uint(b->max));
            json_set(dict, length, json_new_uint(b->length));
        }
    }
    if (limits && limits->op_size) {
        json_set(dict, "iops_size", json_new_uint(limits->op_size));
    }
}

static bool take(NodeOpts *opts, const char *prefix, const char *name, const char *suffix,
                 uint64_t *value, GError **error)
{
    g_autofree char *key = g_strconcat(prefix, name, suffix, NULL);

    return node_opts_take_uint(opts, key, value, error);
}

bool throttle_parse(Throttle *t, NodeOpts *opts, const char *prefix, GError **error)
{
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        ThrottleBucket *b = &t->bucket[i];

        if (!take(opts, prefix, kind_names[i], "", &b->avg, error) ||
            !take(opts, prefix, kind_names[i], "-max", &b->max, error) ||
            !take(opts, prefix, kind_names[i], "-max-length", &b->length, error)) {
            return false;
        }
    }
    return take(opts, prefix, "iops-size", "", &t->op_size, error);
}

static bool both(const Throttle *t, ThrottleKind total)
{
    const ThrottleBucket *b = &t->bucket[total];

    return (b[0].avg && (b[1].avg || b[2].avg)) || (b[0].max && (b[1].max || b[2].max));
}

bool throttle_check(const Throttle *t, GError **error)
{
    if (both(t, THROTTLE_BPS_TOTAL) || both(t, THROTTLE_IOPS_TOTAL)) {
        return error_set(error, "bps/iops/max total values and read/write values cannot be used "
                         "at the same time");
    }
    if (t->op_size && !t->bucket[THROTTLE_IOPS_TOTAL].avg && !t->bucket[THROTTLE_IOPS_READ].avg &&
        !t->bucket[THROTTLE_IOPS_WRITE].avg) {
        return error_set(error, "iops size requires an iops value to be set");
    }
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        const ThrottleBucket *b = &t->bucket[i];

        if (b->avg > VALUE_MAX || b->max > VALUE_MAX) {
            return error_set(error, "bps/iops/max values must be within [0, %llu]", VALUE_MAX);
        }
        if (!b->length) {
            return error_set(error, "the burst length cannot be 0");
        }
        if (b->length > 1 && !b->max) {
            return error_set(error, "burst length set without burst rate");
        }
        if (b->max && b->length > VALUE_MAX / b->max) {
            return error_set(error, "burst length too high for this burst rate");
        }
        if (b->max && !b->avg) {
            return error_set(error, "bps_max/iops_max require corresponding bps/iops values");
        }
        if (b->max && b->max < b->avg) {
            return error_set(error, "bps_max/iops_max cannot be lower than bps/iops");
        }
    }
    return true;
}

bool throttle_enabled(const Throttle *t)
{
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        if (t->bucket[i].avg) {
            return true;
        }
    }
    return false;
}

/* ---- time ---- */

static void leak(Throttle *t, int64_t now_ns)
{
    double seconds = t->then_ns && now_ns > t->then_ns
                         ? (double)(now_ns - t->then_ns) / NS_PER_S : 0;

    t->then_ns = now_ns;
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        ThrottleBucket *b = &t->bucket[i];

        b->level = MAX(b->level - (double)b->avg * seconds, 0);
        b->burst_level = MAX(b->burst_level - (double)b->max * seconds, 0);
    }
}

static double bucket_wait(const ThrottleBucket *b)
{
    double size = b->max ? (double)b->max * (double)b->length : (double)b->avg / 10;
    double burst_size = (double)b->max / 10;

    if (!b->avg) {
        return 0;
    }
    if (b->level > size) {
        return (b->level - size) / (double)b->avg;
    }
    if (b->length > 1 && b->burst_level > burst_size) {
        return (b->burst_level - burst_size) / (double)b->max;
    }
    return 0;
}

static bool concerns(unsigned kind, bool is_write)
{
    static const int only[THROTTLE_KINDS] = { 0, 1, 2, 0, 1, 2 };

    return only[kind] == 0 || only[kind] == (is_write ? 2 : 1);
}

int64_t throttle_wait_ns(Throttle *t, bool is_write, int64_t now_ns)
{
    double wait = 0;

    leak(t, now_ns);
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        if (concerns(i, is_write)) {
            wait = MAX(wait, bucket_wait(&t->bucket[i]));
        }
    }
    return (int64_t)ceil(MIN(wait, 1e9) * NS_PER_S);
}

void throttle_account(Throttle *t, bool is_write, uint64_t bytes)
{
    double ops = t->op_size && bytes > t->op_size ? (double)bytes / (double)t->op_size : 1;

    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        ThrottleBucket *b = &t->bucket[i];
        double units = i < THROTTLE_IOPS_TOTAL ? (double)bytes : ops;

        if (concerns(i, is_write)) {
            b->level += units;
            b->burst_level += b->length > 1 ? units : 0;
        }
    }
}
