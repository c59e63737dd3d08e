/* SPDX-License-Identifier: MIT */
/*
 * ImageInfo: what rhea-img info prints and query-block holds.
 * Locking: main loop.
 */
#include "block/driver.h"

static Json *snapshots_json(BlockNode *node)
{
    g_autoptr(GPtrArray) list = node->type->snapshot_list ? node_snapshot_list(node, NULL) : NULL;
    Json *array;

    if (!list || !list->len) {
        return NULL;
    }
    array = json_new_list();
    for (unsigned i = 0; i < list->len; i++) {
        SnapshotInfo *s = list->pdata[i];
        Json *d = json_new_dict();

        if (s->has_icount) {
            json_set(d, "icount", json_new_uint(s->icount));
        }
        json_set(d, "vm-clock-nsec", json_new_uint(s->vm_clock_ns % 1000000000));
        json_set(d, "name", json_new_string(s->name));
        json_set(d, "date-sec", json_new_uint(s->date_sec));
        json_set(d, "date-nsec", json_new_uint(s->date_nsec));
        json_set(d, "vm-clock-sec", json_new_uint(s->vm_clock_ns / 1000000000));
        json_set(d, "id", json_new_string(s->id));
        json_set(d, "vm-state-size", json_new_uint(s->vm_state_size));
        json_append(array, d);
    }
    return array;
}

Json *node_image_info(BlockNode *node, GError **error)
{
    Json *info = json_new_dict(), *snapshots = snapshots_json(node);
    BlockNode *bottom = node;
    uint32_t cluster = node_cluster_size(node);

    while (bottom->file && !bottom->type->allocated_size) {
        bottom = bottom->file->node;
    }
    if (snapshots) {
        json_set(info, "snapshots", snapshots);
    }
    json_set(info, "virtual-size", json_new_uint(align_up(node->length, 512)));
    json_set(info, "filename", json_new_string(node->filename));
    if (cluster) {
        json_set(info, "cluster-size", json_new_uint(cluster));
    }
    json_set(info, "format", json_new_string(node->type->name));
    if (bottom->type->allocated_size) {
        json_set(info, "actual-size", json_new_uint(bottom->type->allocated_size(bottom)));
    }
    if (node->encrypted) {
        json_set(info, "encrypted", json_new_bool(true));
    }
    if (node->type->info) {
        node->type->info(node, info);
    }
    if (node->backing_file) {
        g_autofree char *full = node_backing_full(node, NULL);

        if (full) {
            json_set(info, "full-backing-filename", json_new_string(full));
        }
        json_set(info, "backing-filename", json_new_string(node->backing_file));
        if (node->backing_format) {
            json_set(info, "backing-filename-format", json_new_string(node->backing_format));
        }
    }
    json_set(info, "dirty-flag", json_new_bool(false));
    return info;
}
