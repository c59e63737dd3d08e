/* SPDX-License-Identifier: MIT */
/*
 * ImageInfo: what rhea-img info prints and query-block holds.
 * Locking: main loop.
 */
#include "block/bitmap.h"
#include "block/graph_int.h"
#include "block/throttle.h"

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
    json_set(info, "filename", json_new_string(node_filename(node)));
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

/* ---- names ---- */

static bool is_telling(const char *const *telling, const char *key)
{
    for (; telling && *telling; telling++) {
        size_t len = strlen(*telling);

        if (g_str_equal(key, *telling) ||
            ((*telling)[len - 1] == '.' && strncmp(key, *telling, len) == 0)) {
            return true;
        }
    }
    return false;
}

/* "a.b" goes into a dictionary "a". */
static void set_nested(Json *dict, const char *key, const char *value)
{
    const char *dot = strchr(key, '.');
    g_autofree char *first = dot ? g_strndup(key, (gsize)(dot - key)) : NULL;
    Json *sub;

    if (!dot) {
        json_set(dict, key, json_new_string(value));
        return;
    }
    sub = json_lookup(dict, first);
    if (!sub) {
        sub = json_new_dict();
        json_set(dict, first, sub);
    }
    set_nested(sub, dot + 1, value);
}

/* The options that matter, of those that the node was opened with; how many in *COUNT. */
static Json *telling_options(const BlockNode *node, unsigned *count)
{
    g_autoptr(NodeOpts) left = node_opts_copy(node->options);
    Json *dict = json_new_dict();
    const char *key;

    json_set(dict, "driver", json_new_string(node->type->name));
    while ((key = node_opts_any_key(left)) != NULL) {
        g_autofree char *name = g_strdup(key);
        g_autofree char *value = node_opts_take(left, name);

        if (is_telling(node->type->telling_options, name)) {
            set_nested(dict, name, value);
            ++*count;
        }
    }
    return dict;
}

/* The options that a protocol reads in its file name. */
static void add_filename(Json *dict, const BlockNode *node)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    const char *key;

    if (g_str_has_prefix(node->filename, node->type->name) &&
        g_str_equal(node->filename + strlen(node->type->name), "://")) {
        return;                        /* null-co:// */
    }
    if (!node->type->parse_filename ||
        !node->type->parse_filename(node->filename, opts, NULL)) {
        node_opts_set(opts, "filename", node->filename);
    }
    while ((key = node_opts_any_key(opts)) != NULL) {
        g_autofree char *name = g_strdup(key);
        g_autofree char *value = node_opts_take(opts, name);

        set_nested(dict, name, value);
    }
}

/* Without the filters that jobs put in for a while. */
static const BlockNode *skip_job_filters(const BlockNode *node)
{
    while ((node->type->internal || node->implicit) && node->file) {
        node = node->file->node;
    }
    return node;
}

/* backing= (nothing), where the header names an image?  Another image than that is left out: jobs
 * put one there before they write the header. */
static bool backing_is_hidden(const BlockNode *node)
{
    return node->type->has_backing && !node->backing && node->backing_file &&
           node->backing_overridden;
}

static Json *full_options(const BlockNode *node)
{
    unsigned count = 0;
    Json *dict = telling_options(node, &count);

    if (!node->children->len && !count) {
        add_filename(dict, node);
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        const BlockChild *edge = node->children->pdata[i];

        if (edge != node->data_file && edge != node->backing) {
            json_set(dict, edge->name, full_options(skip_job_filters(edge->node)));
        }
    }
    if (backing_is_hidden(node)) {
        json_set(dict, "backing", json_new_null());
    }
    return dict;
}

void graph_note_filename(BlockNode *node)
{
    g_autoptr(Json) dict = NULL;
    g_autofree char *text = NULL;
    unsigned count = 0;
    const BlockNode *file = node->file ? node->file->node : NULL;
    bool below = (file && (file->json_filename || !file->type->is_protocol)) ||
                 backing_is_hidden(node);

    json_unref(telling_options(node, &count));
    g_clear_pointer(&node->json_filename, g_free);
    if (node->type->internal || (!count && !below && !node->type->is_filter)) {
        return;
    }
    dict = full_options(node);
    text = json_to_string(dict);
    node->json_filename = g_strconcat("json:", text, NULL);
}

static Json *image_chain(BlockNode *node, bool flat)
{
    Json *image = node_image_info(node, NULL);
    BlockNode *next = flat ? NULL : node_chain_next(node);
    Json *below = image && next ? image_chain(next, false) : NULL;

    if (below) {
        json_set(image, "backing-image", below);
    }
    return image;
}

static Json *query_bitmaps(BlockNode *node)
{
    Json *list = json_new_list();

    for (unsigned i = 0; i < node->bitmaps->len; i++) {
        const DirtyBitmap *b = node->bitmaps->pdata[i];
        Json *info = json_new_dict();

        json_set(info, "name", json_new_string(b->name));
        json_set(info, "count", json_new_uint(MIN(b->dirty * b->granularity, b->length)));
        json_set(info, "granularity", json_new_uint(b->granularity));
        json_set(info, "recording", json_new_bool(b->enabled));
        json_set(info, "busy", json_new_bool(b->busy));
        json_set(info, "persistent", json_new_bool(b->persistent));
        if (b->inconsistent) {
            json_set(info, "inconsistent", json_new_bool(true));
        }
        json_append(list, info);
    }
    return list;
}

Json *node_query(BlockNode *node, bool flat)
{
    Json *ins = json_new_dict(), *cache = json_new_dict(), *image;
    int depth = 0;
    static const char *const detect[] = { "off", "on", "unmap" };

    json_set(ins, "file", json_new_string(node_filename(node)));
    json_set(ins, "node-name", json_new_string(node->name));
    json_set(ins, "ro", json_new_bool(node->read_only));
    json_set(ins, "drv", json_new_string(node->type->name));
    if (node->backing_file && node->backing) {
        json_set(ins, "backing_file", json_new_string(node_filename(node->backing->node)));
    }
    for (BlockNode *n = flat ? NULL : node_chain_next(node); n; n = node_chain_next(n)) {
        depth++;
    }
    json_set(ins, "backing_file_depth", json_new_int(depth));
    json_set(ins, "encrypted", json_new_bool(node->encrypted));
    json_set(ins, "detect_zeroes", json_new_string(detect[node->detect_zeroes]));
    throttle_query(NULL, ins);
    json_set(ins, "write_threshold", json_new_uint(node->write_threshold));
    json_set(cache, "writeback", json_new_bool(true));
    json_set(cache, "direct", json_new_bool(node->direct));
    json_set(cache, "no-flush", json_new_bool(node->no_flush));
    json_set(ins, "cache", cache);
    if (node->bitmaps->len) {
        json_set(ins, "dirty-bitmaps", query_bitmaps(node));
    }
    image = image_chain(node, flat);
    if (image) {
        json_set(ins, "image", image);
    }
    return ins;
}
