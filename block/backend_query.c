/* SPDX-License-Identifier: MIT */
/*
 * What query-block and query-blockstats say of backends and nodes; statistics options.
 * Locking: main loop, with the graph held.
 */
#include "block/backend_int.h"

static int64_t now_ns(void)
{
    return g_get_monotonic_time() * 1000;
}

/* ---- queries ---- */

static Json *query_inserted(BlockBackend *blk, BlockNode *node)
{
    Json *ins = node_query(node, false), *cache = json_lookup(ins, "cache");

    json_set(cache, "writeback", json_new_bool(blk->write_cache));
    if (blk->throttle) {
        throttle_query(throttle_group_limits(blk->throttle), ins);
        json_set(ins, "group", json_new_string(throttle_group_name(blk->throttle)));
    }
    return ins;
}

Json *blk_query(BlockBackend *blk)
{
    Json *info = json_new_dict();

    GRAPH_HOLD();
    json_set(info, "device", json_new_string(blk->name));
    if (blk->device_name) {
        json_set(info, "qdev", json_new_string(blk->device_name));
    }
    json_set(info, "type", json_new_string("unknown"));
    json_set(info, "removable", json_new_bool(blk_is_removable(blk)));
    json_set(info, "locked", json_new_bool(blk->ops && blk->ops->medium_is_locked &&
                                           blk->ops->medium_is_locked(blk->device)));
    if (blk->ops && blk->ops->tray_is_open) {
        json_set(info, "tray_open", json_new_bool(blk->ops->tray_is_open(blk->device)));
    }
    if (blk->device && !(blk->ops && blk->ops->reports_errors)) {
        json_set(info, "io-status", json_new_string(blk_iostatus(blk)));
    }
    if (blk->root) {
        BlockNode *node = blk->root->node;

        while (node->implicit && node->file) {
            node = node->file->node;
        }
        json_set(info, "inserted", query_inserted(blk, node));
    }
    return info;
}

static const char *const acct_names[BLK_ACCT_COUNT] = { "rd", "wr", "flush", "unmap" };

/* Of a node alone only where it has been written to, and what it says itself. */
static Json *query_node_stats(BlockBackend *blk, BlockNode *node, bool with_backing)
{
    Json *dict = json_new_dict(), *stats = json_new_dict(), *specific;
    BlkStats none = { .skip_invalid = true, .skip_failed = true }, *s = blk ? &blk->stats : &none;

    if (node) {
        json_set(dict, "node-name", json_new_string(node->name));
    }
    for (unsigned i = 0; i < BLK_ACCT_COUNT; i++) {
        g_autofree char *bytes = g_strdup_printf("%s_bytes", acct_names[i]);
        g_autofree char *ops = g_strdup_printf("%s_operations", acct_names[i]);
        g_autofree char *ns = g_strdup_printf("%s_total_time_ns", acct_names[i]);
        g_autofree char *merged = g_strdup_printf("%s_merged", acct_names[i]);
        g_autofree char *failed = g_strdup_printf("failed_%s_operations", acct_names[i]);
        g_autofree char *invalid = g_strdup_printf("invalid_%s_operations", acct_names[i]);

        if (i != BLK_ACCT_FLUSH) {
            json_set(stats, bytes, json_new_uint(s->bytes[i]));
            json_set(stats, merged, json_new_uint(s->merged[i]));
        }
        json_set(stats, ops, json_new_uint(s->ops[i]));
        json_set(stats, ns, json_new_uint(s->ns[i]));
        json_set(stats, failed, json_new_uint(s->failed[i]));
        json_set(stats, invalid, json_new_uint(s->invalid[i]));
    }
    json_set(stats, "wr_highest_offset", json_new_uint(node ? node->wr_highest : 0));
    blk_acct_query(s, now_ns(), stats);
    json_set(dict, "stats", stats);
    specific = node && node->type->stats ? node->type->stats(node) : NULL;
    if (specific) {
        json_set(dict, "driver-specific", specific);
    }
    if (node && node->file) {
        json_set(dict, "parent", query_node_stats(NULL, node->file->node, with_backing));
    }
    if (node && node->backing && with_backing) {
        json_set(dict, "backing", query_node_stats(NULL, node->backing->node, true));
    }
    return dict;
}

Json *node_query_stats(BlockNode *node)
{
    return query_node_stats(NULL, node, false);
}

Json *blk_query_stats(BlockBackend *blk)
{
    GRAPH_HOLD();
    Json *dict = query_node_stats(blk, blk_node(blk), true);

    json_set(dict, "device", json_new_string(blk->name));
    if (blk->device_name) {
        json_set(dict, "qdev", json_new_string(blk->device_name));
    }
    return dict;
}

/* ---- what is counted ---- */

const BlkStats *blk_stats(const BlockBackend *blk)
{
    return &blk->stats;
}

void blk_acct_invalid(BlockBackend *blk, BlkAcctType type)
{
    blk_acct_note_invalid(&blk->stats, type, now_ns());
}

bool blk_set_accounting(BlockBackend *blk, NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) intervals = node_opts_take_prefix(opts, "stats-intervals");
    bool invalid = true, failed = true;

    if (!node_opts_take_bool(opts, "stats-account-invalid", &invalid, error) ||
        !node_opts_take_bool(opts, "stats-account-failed", &failed, error)) {
        return false;
    }
    for (unsigned i = 0; !node_opts_empty(intervals); i++) {
        g_autofree char *key = g_strdup_printf("%u", i);
        uint64_t seconds = 0;

        if (!node_opts_take_uint(intervals, key, &seconds, error)) {
            return false;
        }
        if (seconds < 1 || seconds > UINT32_MAX) {
            return error_set(error, "stats-intervals.%u expects a number of seconds above 0", i);
        }
        blk_acct_add_window(&blk->stats, (unsigned)seconds, now_ns());
    }
    blk->stats.skip_invalid = !invalid;
    blk->stats.skip_failed = !failed;
    return true;
}

bool blk_set_histogram(BlockBackend *blk, BlkAcctType type, const uint64_t *boundaries,
                       unsigned count)
{
    return blk_histogram_set(&blk->stats.histogram[type], boundaries, count);
}
