/* SPDX-License-Identifier: MIT */
/*
 * The list of exports.  Locking: main loop.
 */
#include "block/export.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/parse.h"
#include "block/nbd_server.h"
#include "qapi/qapi_types.h"

static GPtrArray *all_exports;

static const ExportType *const types[] = { &nbd_export_type };

BlockExport *block_export_find(const char *id)
{
    for (BlockExport *e = block_export_next(NULL); e; e = block_export_next(e)) {
        if (g_str_equal(e->id, id)) {
            return e;
        }
    }
    return NULL;
}

BlockExport *block_export_next(BlockExport *exp)
{
    unsigned i = 0;

    if (!all_exports) {
        return NULL;
    }
    if (exp && g_ptr_array_find(all_exports, exp, &i)) {
        i++;
    }
    return i < all_exports->len ? all_exports->pdata[i] : NULL;
}

void block_export_ref(BlockExport *exp)
{
    exp->refs++;
}

void block_export_unref(BlockExport *exp)
{
    if (--exp->refs) {
        return;
    }
    exp->type->stopped(exp);
    blk_detach(exp->blk);
    g_ptr_array_remove(all_exports, exp);
    qapi_event_block_export_deleted(exp->id);
    g_free(exp->id);
    g_free(exp);
}

void block_export_shut_down(BlockExport *exp)
{
    if (!exp->shutting_down) {
        exp->shutting_down = true;
        exp->type->request_shutdown(exp);
        block_export_unref(exp);
    }
}

bool block_export_del(const char *id, bool hard, GError **error)
{
    BlockExport *exp = block_export_find(id);

    if (!exp) {
        return error_set(error, "Export '%s' is not found", id);
    }
    if (exp->shutting_down) {
        return error_set(error, "Export '%s' is already shutting down", id);
    }
    if (!hard && exp->refs > 1) {
        return error_set(error, "export '%s' still in use; use mode='hard' to force client "
                         "disconnect", id);
    }
    block_export_shut_down(exp);
    return true;
}

static bool any_of(const char *type)
{
    for (BlockExport *e = block_export_next(NULL); e; e = block_export_next(e)) {
        if (!type || g_str_equal(e->type->name, type)) {
            return true;
        }
    }
    return false;
}

void block_export_close_all(const char *type)
{
    g_autoptr(GPtrArray) chosen = g_ptr_array_new();

    for (BlockExport *e = block_export_next(NULL); e; e = block_export_next(e)) {
        if (!e->shutting_down && (!type || g_str_equal(e->type->name, type))) {
            g_ptr_array_add(chosen, e);
        }
    }
    for (unsigned i = 0; i < chosen->len; i++) {
        block_export_shut_down(chosen->pdata[i]);
    }
    GRAPH_WAIT_WHILE(any_of(type));
}

Json *block_export_query(void)
{
    Json *list = json_new_list();

    for (BlockExport *e = block_export_next(NULL); e; e = block_export_next(e)) {
        Json *info = json_new_dict();

        json_set(info, "node-name", json_new_string(node_name(blk_node(e->blk))));
        json_set(info, "shutting-down", json_new_bool(e->shutting_down));
        json_set(info, "type", json_new_string(e->type->name));
        json_set(info, "id", json_new_string(e->id));
        json_append(list, info);
    }
    return list;
}

/* ---- adding ---- */

static const ExportType *type_of(NodeOpts *opts, GError **error)
{
    g_autofree char *name = node_opts_take(opts, "type");

    if (!name) {
        error_set(error, "Parameter 'type' is missing");
        return NULL;
    }
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        if (g_str_equal(types[i]->name, name)) {
            return types[i];
        }
    }
    error_set(error, "Export type '%s' is not available; there is: nbd", name);
    return NULL;
}

static BlockIoThreadFinder *find_iothread;
static void *find_opaque;

void block_export_set_iothread_finder(BlockIoThreadFinder *finder, void *opaque)
{
    find_iothread = finder;
    find_opaque = opaque;
}

static bool may_move(void *opaque)
{
    return ((BlockExport *)opaque)->refs <= 1;         /* no clients */
}

static const BlkDeviceOps export_ops = { .may_move = may_move };

/* Without "fixed-iothread" the iothread is a wish. */
static bool attach(BlockExport *exp, const char *node, BlkAttachConf *conf, NodeOpts *opts,
                   GError **error)
{
    g_autofree char *iothread = node_opts_take(opts, "iothread");
    bool fixed = false;

    if (!node_opts_take_bool(opts, "fixed-iothread", &fixed, error)) {
        return false;
    }
    conf->any_loop = true;
    if (iothread) {
        conf->loop = find_iothread ? find_iothread(iothread, find_opaque) : NULL;
        if (!conf->loop) {
            return error_set(error, "iothread \"%s\" not found", iothread);
        }
        exp->blk = blk_attach(node, conf, &export_ops, exp, fixed ? error : NULL);
        if (exp->blk || fixed) {
            return exp->blk != NULL;
        }
        conf->loop = NULL;
    }
    exp->blk = blk_attach(node, conf, &export_ops, exp, error);
    return exp->blk != NULL;
}

static bool export_fill(BlockExport *exp, NodeOpts *opts, GError **error)
{
    g_autofree char *node = node_opts_take(opts, "node-name");
    bool writethrough = false;
    BlkAttachConf conf = { .share_rw = true };

    if (!node || !node_by_name(node)) {
        return node ? error_set(error, "Cannot find device='' nor node-name='%s'", node)
                    : error_set(error, "Parameter 'node-name' is missing");
    }
    if (!node_opts_take_bool(opts, "writable", &exp->writable, error) ||
        !node_opts_take_bool(opts, "writethrough", &writethrough, error)) {
        return false;
    }
    if (exp->writable && node_is_read_only(node_by_name(node))) {
        return error_set(error, "Cannot export read-only node '%s' as writable", node);
    }
    conf.read_only = !exp->writable;
    if (!attach(exp, node, &conf, opts, error)) {
        return false;
    }
    blk_set_write_cache(exp->blk, !writethrough);
    if (!exp->type->start(exp, opts, error)) {
        return false;
    }
    if (!node_opts_empty(opts)) {
        error_set(error, "Parameter '%s' is unexpected", node_opts_any_key(opts));
        exp->type->stopped(exp);
        return false;
    }
    return true;
}

bool block_export_add(NodeOpts *caller_opts, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_copy(caller_opts);
    g_autofree char *id = node_opts_take(opts, "id");
    const ExportType *type;
    BlockExport *exp;

    if (!id || !parse_is_id(id)) {
        return id ? error_set(error, "Invalid block export id '%s': a letter, then letters, "
                              "digits, '-', '.' and '_'", id)
                  : error_set(error, "Parameter 'id' is missing");
    }
    if (block_export_find(id)) {
        return error_set(error, "Block export id '%s' is already in use", id);
    }
    type = type_of(opts, error);
    if (!type) {
        return false;
    }
    exp = g_malloc0(type->size);
    exp->type = type;
    exp->refs = 1;
    if (!export_fill(exp, opts, error)) {
        blk_detach(exp->blk);
        g_free(exp);
        return false;
    }
    exp->id = g_steal_pointer(&id);
    if (!all_exports) {
        all_exports = g_ptr_array_new();
    }
    g_ptr_array_add(all_exports, exp);
    return true;
}
