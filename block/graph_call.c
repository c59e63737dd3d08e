/* SPDX-License-Identifier: MIT */
/*
 * What a node type offers beyond requests (create, check, snapshots, ...), as functions that
 * run its hook in a coroutine.
 * Locking: main loop only.
 */
#include "block/graph_int.h"

int node_debug(BlockNode *node, NodeDebugOp op, const char *event, const char *tag)
{
    while (node && !node->type->debug) {
        node = node->file ? node->file->node : NULL;
    }
    return node ? node->type->debug(node, op, event, tag) : -ENOTSUP;
}

/* ---- sync forms ---- */

typedef enum CallKind {
    CALL_OPEN, CALL_CREATE, CALL_SNAP_CREATE, CALL_SNAP_APPLY, CALL_SNAP_DELETE, CALL_SNAP_LOAD,
    CALL_CHECK, CALL_AMEND, CALL_EMPTY, CALL_TRUNCATE, CALL_BACKING, CALL_MEASURE,
} CallKind;

typedef struct Call {
    CallKind kind;
    BlockNode *node;
    const NodeType *type;
    const char *a, *b;
    NodeOpts *opts;
    void *p;
    uint64_t u, *out[3];
    int i;
    GError **error;
    bool ok;
} Call;

/* Who hears that an image does without another may delete that one. */
static bool flush_changed(BlockNode *node, GError **error)
{
    int ret = co_node_flush(node);

    return ret == 0 || error_set_errno(error, -ret, "Could not flush '%s'", node->filename);
}

static void co_call(void *opaque)
{
    Call *c = opaque;
    const NodeType *t = c->type;

    switch (c->kind) {
    case CALL_OPEN:
        c->node = co_node_open(c->a, c->opts, c->i, c->error);
        break;
    case CALL_CREATE:
        c->ok = t->create(c->a, c->opts, c->error);
        break;
    case CALL_SNAP_CREATE:
        c->ok = t->snapshot_create(c->node, c->a, c->p, c->error);
        break;
    case CALL_SNAP_APPLY:
        c->ok = t->snapshot_apply(c->node, c->a, c->error);
        break;
    case CALL_SNAP_DELETE:
        c->ok = t->snapshot_delete(c->node, c->a, c->error);
        break;
    case CALL_SNAP_LOAD:
        c->ok = t->snapshot_load_tmp(c->node, c->a, c->error);
        break;
    case CALL_CHECK:
        c->ok = t->check(c->node, c->i, c->p, c->error);
        break;
    case CALL_AMEND:
        c->ok = t->amend(c->node, c->opts, c->error);
        break;
    case CALL_EMPTY:
        c->ok = t->make_empty(c->node, c->error);
        break;
    case CALL_TRUNCATE:
        c->ok = co_node_truncate(c->node, c->u, true, c->a, c->error);
        break;
    case CALL_BACKING:
        c->ok = t->change_backing(c->node, c->a, c->b, c->error) &&
                flush_changed(c->node, c->error);
        graph_note_filename(c->node);
        break;
    case CALL_MEASURE:
        c->ok = t->measure(c->opts, c->node, c->out[0], c->out[1], c->out[2], c->error);
        break;
    }
}

static bool run_call(Call *c)
{
    if (c->node && !c->type) {
        c->type = c->node->type;
    }
    if (c->kind == CALL_CREATE) {
        graph_run_on(event_loop_current(), co_call, c);    /* touches no node that is in use */
    } else {
        graph_run(c->node, co_call, c);
    }
    return c->ok;
}

static bool unsupported(const BlockNode *node, const char *what, GError **error)
{
    return error_set(error, "Block format '%s' used by node '%s' does not support %s",
                     node->type->name, node->name, what);
}

BlockNode *node_open(const char *filename, NodeOpts *opts, int flags, GError **error)
{
    Call c = { CALL_OPEN, .a = filename, .opts = opts, .i = flags, .error = error };

    run_call(&c);
    return c.node;
}

bool image_create(const char *filename, const char *format, NodeOpts *opts, GError **error)
{
    Call c = { CALL_CREATE, .a = filename, .opts = opts, .error = error };
    bool claimed;

    c.type = node_type_find(format ? format : "raw");
    if (!c.type) {
        return error_set(error, "Unknown file format '%s'", format);
    }
    if (!c.type->create) {
        return error_set(error, "Format driver '%s' does not support image creation", format);
    }
    claimed = image_claim(filename);
    run_call(&c);
    if (!c.ok && claimed) {
        image_unclaim(filename);
    }
    return c.ok;
}

bool node_snapshot_create(BlockNode *node, const char *name, const SnapshotInfo *vm,
                          GError **error)
{
    Call c = { CALL_SNAP_CREATE, node, .a = name, .p = (void *)(uintptr_t)vm, .error = error };

    return node->type->snapshot_create ? run_call(&c)
                                       : unsupported(node, "internal snapshots", error);
}

bool node_snapshot_apply(BlockNode *node, const char *id_or_name, GError **error)
{
    Call c = { CALL_SNAP_APPLY, node, .a = id_or_name, .error = error };

    return node->type->snapshot_apply ? run_call(&c)
                                      : unsupported(node, "internal snapshots", error);
}

bool node_snapshot_delete(BlockNode *node, const char *id_or_name, GError **error)
{
    Call c = { CALL_SNAP_DELETE, node, .a = id_or_name, .error = error };

    return node->type->snapshot_delete ? run_call(&c)
                                       : unsupported(node, "internal snapshots", error);
}

bool node_snapshot_load_tmp(BlockNode *node, const char *id_or_name, GError **error)
{
    Call c = { CALL_SNAP_LOAD, node, .a = id_or_name, .error = error };

    return node->type->snapshot_load_tmp ? run_call(&c)
                                         : unsupported(node, "internal snapshots", error);
}

GPtrArray *node_snapshot_list(BlockNode *node, GError **error)
{
    if (!node->type->snapshot_list) {
        unsupported(node, "internal snapshots", error);
        return NULL;
    }
    return node->type->snapshot_list(node, error);
}

void snapshot_info_free(SnapshotInfo *info)
{
    g_free(info->id);
    g_free(info->name);
    g_free(info);
}

bool node_can_check(const BlockNode *node)
{
    return node->type->check != NULL;
}

bool node_check(BlockNode *node, int fix, CheckResult *result, GError **error)
{
    Call c = { CALL_CHECK, node, .p = result, .i = fix, .error = error };

    return node->type->check ? run_call(&c) : unsupported(node, "checks", error);
}

bool node_amend(BlockNode *node, NodeOpts *opts, GError **error)
{
    Call c = { CALL_AMEND, node, .opts = opts, .error = error };

    return node->type->amend ? run_call(&c) : unsupported(node, "option amendment", error);
}

bool node_make_empty(BlockNode *node, GError **error)
{
    Call c = { CALL_EMPTY, node, .error = error };

    return node->type->make_empty ? run_call(&c) : unsupported(node, "emptying", error);
}

bool node_truncate(BlockNode *node, uint64_t length, const char *prealloc, GError **error)
{
    Call c = { CALL_TRUNCATE, node, .a = prealloc, .u = length, .error = error };

    return run_call(&c);
}

bool node_change_backing_file(BlockNode *node, const char *file, const char *format,
                              GError **error)
{
    Call c = { CALL_BACKING, node, .a = file, .b = format, .error = error };

    return node->type->change_backing ? run_call(&c)
                                      : unsupported(node, "backing files", error);
}

bool format_measure(const char *format, NodeOpts *opts, BlockNode *source, uint64_t *required,
                    uint64_t *full, uint64_t *bitmaps, GError **error)
{
    Call c = { CALL_MEASURE, source, .opts = opts, .out = { required, full, bitmaps },
               .error = error };

    c.type = node_type_find(format);
    if (!c.type) {
        return error_set(error, "Unknown file format '%s'", format);
    }
    if (!c.type->measure) {
        return error_set(error, "Format driver '%s' does not support size measurement", format);
    }
    return run_call(&c);
}

/* ---- creating ---- */

/* An open node as the file of a new image. */
static BlockNode *empty_node(const char *name, uint64_t length, GError **error)
{
    BlockNode *node = node_by_name(name);
    BlockChild *edge;
    bool ok;

    if (!node) {
        error_set(error, "Cannot find device='' nor node-name='%s'", name);
        return NULL;
    }
    edge = node_attach_root(node, "create", BLK_PERM_WRITE | BLK_PERM_RESIZE,
                            BLK_PERM_ALL & ~(uint32_t)(BLK_PERM_WRITE | BLK_PERM_RESIZE), NULL,
                            NULL, error);
    ok = edge && node_truncate(node, 0, NULL, error) && node_truncate(node, length, NULL, error);
    node_detach_root(edge);
    return ok ? node_ref(node) : NULL;
}

bool image_claim(const char *filename)
{
    const NodeType *type = g_str_has_prefix(filename, "node:") ? NULL : node_type_for_filename(filename, NULL);

    return type && type->claim && type->claim(filename);
}

void image_unclaim(const char *filename)
{
    node_type_for_filename(filename, NULL)->unclaim(filename);
}

BlockNode *image_create_file(const char *filename, uint64_t length, GError **error)
{
    bool is_node = g_str_has_prefix(filename, "node:");
    const NodeType *type = is_node ? NULL : node_type_for_filename(filename, error);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *size = g_strdup_printf("%" PRIu64, length);

    if (is_node) {
        return empty_node(filename + 5, length, error);
    }
    if (!type) {
        return NULL;
    }
    if (!type->create) {
        error_set(error, "Protocol driver '%s' does not support image creation", type->name);
        return NULL;
    }
    node_opts_set(opts, "size", size);
    if (!type->create(filename, opts, error)) {
        return NULL;
    }
    node_opts_free(g_steal_pointer(&opts));
    opts = node_opts_new();
    return node_open(filename, opts, NODE_OPEN_PROTOCOL | NODE_OPEN_RDWR | NODE_OPEN_INLINE_IO,
                     error);
}

bool create_take_size(NodeOpts *opts, uint64_t max, uint64_t *size, GError **error)
{
    *size = 0;
    if (!node_opts_take_size(opts, "size", size, error)) {
        return false;
    }
    *size = align_up(MIN(*size, INT64_MAX - 512), 512);
    if (*size > max) {
        return error_set(error, "The image size %" PRIu64 " is too large; at most %" PRIu64
                         " bytes are allowed", *size, max);
    }
    return true;
}

bool create_opts_finish(const char *format, NodeOpts *opts, GError **error)
{
    if (!node_opts_empty(opts)) {
        return error_set(error, "Invalid parameter '%s' for format '%s'",
                         node_opts_any_key(opts), format);
    }
    return true;
}
