/* SPDX-License-Identifier: MIT */
/*
 * The graph of block nodes: opening, edges and their permissions, closing.
 * Locking: main loop only.
 *
 * Invariants:
 *  G1  node->perm is the union of its parents' perm, node->shared the intersection of their
 *      shared sets; each parent's perm is within every other parent's shared set.
 *  G2  a node in the list has a unique name, and at least one reference.
 *  G3  an edge owns one reference to its child.
 */
#include "block/graph.h"

#include "base/log.h"
#include "block/bitmap.h"
#include "block/driver.h"

#define PROBE_BYTES 2048
#define MAX_BACKING_DEPTH 200

static GPtrArray *all_nodes;        /* the process has one graph; QMP names are global to it */
static unsigned anonymous_nodes;

/* ---- names ---- */

BlockNode *node_by_name(const char *name)
{
    for (unsigned i = 0; all_nodes && i < all_nodes->len; i++) {
        BlockNode *node = all_nodes->pdata[i];

        if (g_strcmp0(node->name, name) == 0) {
            return node;
        }
    }
    return NULL;
}

BlockNode *node_next(BlockNode *node)
{
    unsigned i = 0;

    if (!all_nodes) {
        return NULL;
    }
    if (node && g_ptr_array_find(all_nodes, node, &i)) {
        i++;
    }
    return i < all_nodes->len ? all_nodes->pdata[i] : NULL;
}

const char *node_name(const BlockNode *node)
{
    return node->name;
}

const char *node_format(const BlockNode *node)
{
    return node->type->name;
}

const char *node_filename(const BlockNode *node)
{
    return node->filename;
}

bool node_is_read_only(const BlockNode *node)
{
    return node->read_only;
}

BlockNode *node_file(const BlockNode *node)
{
    return node->file ? node->file->node : NULL;
}

BlockNode *node_backing(const BlockNode *node)
{
    return node->backing ? node->backing->node : NULL;
}

const char *node_backing_filename(const BlockNode *node)
{
    return node->backing_file;
}

const char *node_backing_format(const BlockNode *node)
{
    return node->backing_format;
}

static bool name_is_valid(const char *name)
{
    if (!g_ascii_isalpha(name[0]) || strlen(name) > 31) {
        return false;
    }
    for (const char *p = name; *p; p++) {
        if (!g_ascii_isalnum(*p) && !strchr("-._", *p)) {
            return false;
        }
    }
    return true;
}

static bool node_take_name(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autofree char *name = node_opts_take(opts, "node-name");

    if (name && !name_is_valid(name)) {
        return error_set(error, "Invalid node-name: '%s' (a letter, then letters, digits, '-', "
                         "'.' and '_'; 31 characters at most)", name);
    }
    if (name && node_by_name(name)) {
        return error_set(error, "Duplicate nodes with node-name='%s'", name);
    }
    node->name = name ? g_steal_pointer(&name)
                      : g_strdup_printf("#block%03u", anonymous_nodes++);
    return true;
}

/* ---- permissions ---- */

char *blk_perm_text(uint32_t perm)
{
    static const char *const names[] = { "consistent read", "write", "write unchanged",
                                         "resize" };
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (perm & BIT(i)) {
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", names[i]);
        }
    }
    return g_string_free(text, FALSE);
}

static const char *edge_user(const BlockChild *edge)
{
    return edge->parent ? edge->parent->name : edge->name;
}

static void edge_sums(const BlockNode *node, const BlockChild *except, uint32_t *perm,
                      uint32_t *shared)
{
    *perm = 0;
    *shared = BLK_PERM_ALL;
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *edge = node->parents->pdata[i];

        if (edge != except) {
            *perm |= edge->perm;
            *shared &= edge->shared;
        }
    }
}

/* What NODE, asked for PERM/SHARED itself, needs of its child NAME. */
static void child_needs(const BlockNode *node, const char *name, uint32_t perm, uint32_t shared,
                        uint32_t *cperm, uint32_t *cshared)
{
    bool lenient = node->force_share;

    if (g_str_equal(name, "backing")) {
        *cperm = BLK_PERM_CONSISTENT_READ;
        *cshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    } else if (node->type->is_filter || g_str_equal(node->type->name, "raw")) {
        *cperm = perm;
        *cshared = shared;
    } else {
        *cperm = BLK_PERM_CONSISTENT_READ |
                 (node->read_only ? 0 : BLK_PERM_WRITE | BLK_PERM_RESIZE);
        *cshared = BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE_UNCHANGED;
    }
    if (lenient) {
        *cshared = BLK_PERM_ALL;
    }
}

static bool node_update_perms(BlockNode *node, GError **error);

/* Changes one edge, and what follows below it; restores it on failure. */
static bool edge_set_perm(BlockChild *edge, uint32_t perm, uint32_t shared, GError **error)
{
    BlockNode *node = edge->node;
    uint32_t old_perm = edge->perm, old_shared = edge->shared;

    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *other = node->parents->pdata[i];
        uint32_t clash;

        if (other == edge) {
            continue;
        }
        clash = (perm & ~other->shared) | (other->perm & ~shared);
        if (clash) {
            g_autofree char *what = blk_perm_text(clash);

            return error_set(error, "Conflicts with use by %s as '%s', which does not allow "
                             "'%s' on %s", edge_user(other), other->name, what, node->name);
        }
    }
    edge->perm = perm;
    edge->shared = shared;
    if (!node_update_perms(node, error)) {
        edge->perm = old_perm;
        edge->shared = old_shared;
        node_update_perms(node, NULL);
        return false;
    }
    return true;
}

static bool node_update_perms(BlockNode *node, GError **error)
{
    uint32_t perm, shared;

    edge_sums(node, NULL, &perm, &shared);
    if (perm & (BLK_PERM_WRITE | BLK_PERM_RESIZE) && node->read_only) {
        return error_set(error, "Block node is read-only");
    }
    if (node->type->set_perm && !node->type->set_perm(node, perm, shared, error)) {
        return false;
    }
    node->perm = perm;
    node->shared = shared;
    node->grows = node->type->is_protocol && (perm & BLK_PERM_RESIZE) &&
                  node->type->co_truncate;
    for (unsigned i = 0; i < node->children->len; i++) {
        BlockChild *edge = node->children->pdata[i];
        uint32_t cperm, cshared;

        child_needs(node, edge->name, perm, shared, &cperm, &cshared);
        if ((cperm != edge->perm || cshared != edge->shared) &&
            !edge_set_perm(edge, cperm, cshared, error)) {
            return false;
        }
    }
    return true;
}

bool node_refresh_perms(BlockNode *node, GError **error)
{
    return node_update_perms(node, error);
}

/* ---- edges ---- */

static BlockChild *edge_new(BlockNode *node, BlockNode *parent, const char *name)
{
    BlockChild *edge = g_new0(BlockChild, 1);

    edge->node = node_ref(node);
    edge->parent = parent;
    edge->name = g_strdup(name);
    edge->shared = BLK_PERM_ALL;
    g_ptr_array_add(node->parents, edge);
    return edge;
}

static void edge_free(BlockChild *edge)
{
    BlockNode *node = edge->node;

    g_ptr_array_remove(node->parents, edge);
    if (node->refs > 1) {
        node_update_perms(node, NULL);
    }
    node_unref(node);
    g_free(edge->name);
    g_free(edge);
}

BlockChild *node_attach_child(BlockNode *node, BlockNode *child, const char *name,
                              GError **error)
{
    BlockChild *edge;
    uint32_t perm, shared;

    for (BlockNode *n = child; n; n = n->backing ? n->backing->node : NULL) {
        if (n == node) {
            error_set(error, "Making '%s' a child of '%s' would create a cycle", child->name,
                      node->name);
            return NULL;
        }
    }
    edge = edge_new(child, node, name);
    child_needs(node, name, node->perm, node->shared, &perm, &shared);
    if (!edge_set_perm(edge, perm, shared, error)) {
        edge_free(edge);
        return NULL;
    }
    g_ptr_array_add(node->children, edge);
    return edge;
}

void node_detach_child(BlockNode *node, BlockChild *child)
{
    if (child) {
        g_ptr_array_remove(node->children, child);
        edge_free(child);
    }
}

BlockChild *node_attach_root(BlockNode *node, const char *name, uint32_t perm, uint32_t shared,
                             const ChildHooks *hooks, void *opaque, GError **error)
{
    BlockChild *edge = edge_new(node, NULL, name);

    edge->hooks = hooks;
    edge->opaque = opaque;
    if (!edge_set_perm(edge, perm, shared, error)) {
        edge_free(edge);
        return NULL;
    }
    return edge;
}

bool node_root_set_perm(BlockChild *child, uint32_t perm, uint32_t shared, GError **error)
{
    return edge_set_perm(child, perm, shared, error);
}

void node_detach_root(BlockChild *child)
{
    if (child) {
        edge_free(child);
    }
}

/* ---- life ---- */

BlockNode *node_ref(BlockNode *node)
{
    node->refs++;
    return node;
}

static void node_close(BlockNode *node)
{
    if (node->type->close && node->state) {
        node->type->close(node);
    }
    node->backing = node->data_file = node->file = NULL;
    while (node->children->len) {
        node_detach_child(node, node->children->pdata[node->children->len - 1]);
    }
    dirty_bitmaps_free(node);
}

static void co_node_free(void *opaque)
{
    BlockNode *node = opaque;

    if (node->dirty_since_flush && !node->no_flush) {
        co_node_flush(node);
    }
    node_close(node);
}

void node_unref(BlockNode *node)
{
    if (!node || --node->refs) {
        return;
    }
    node->refs = 1;                 /* hooks below may take and drop references */
    coroutine_run_sync(event_loop_current(), co_node_free, node);
    g_ptr_array_remove(all_nodes, node);
    g_ptr_array_unref(node->children);
    g_ptr_array_unref(node->parents);
    g_ptr_array_unref(node->bitmaps);
    g_free(node->state);
    g_free(node->name);
    g_free(node->filename);
    g_free(node->backing_file);
    g_free(node->backing_format);
    g_free(node);
}

/* ---- opening ---- */

static bool take_cache(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autofree char *detect = node_opts_take(opts, "detect-zeroes");
    g_autofree char *discard = node_opts_take(opts, "discard");
    bool direct = false, no_flush = false;

    if (!node_opts_take_bool(opts, "cache.direct", &direct, error) ||
        !node_opts_take_bool(opts, "cache.no-flush", &no_flush, error)) {
        return false;
    }
    node->direct = direct;
    node->no_flush = no_flush;
    if (!discard || g_str_equal(discard, "ignore") || g_str_equal(discard, "off")) {
        node->discard_unmap = discard == NULL && node->type->is_protocol;
    } else if (g_str_equal(discard, "unmap") || g_str_equal(discard, "on")) {
        node->discard_unmap = true;
    } else {
        return error_set(error, "Invalid discard option '%s': use 'ignore' or 'unmap'", discard);
    }
    if (!detect || g_str_equal(detect, "off")) {
        node->detect_zeroes = DETECT_OFF;
    } else if (g_str_equal(detect, "on")) {
        node->detect_zeroes = DETECT_ON;
    } else if (g_str_equal(detect, "unmap")) {
        node->detect_zeroes = DETECT_UNMAP;
        if (!node->discard_unmap) {
            return error_set(error, "setting detect-zeroes to unmap is not allowed without "
                             "setting discard operation to unmap");
        }
    } else {
        return error_set(error, "Invalid detect-zeroes option '%s': use 'off', 'on' or 'unmap'",
                         detect);
    }
    return true;
}

static void inherit(NodeOpts *to, const BlockNode *node, bool backing)
{
    node_opts_default(to, "cache.direct", node->direct ? "on" : "off");
    node_opts_default(to, "cache.no-flush", node->no_flush ? "on" : "off");
    if (node->force_share) {
        node_opts_default(to, "force-share", "on");
    }
    if (!backing && !node->type->is_protocol) {
        node_opts_default(to, "discard", "unmap");
    }
}

BlockChild *node_open_child(BlockNode *node, const char *name, const char *filename,
                            NodeOpts *opts, int flags, GError **error)
{
    g_autofree char *reference = node_opts_take(opts, name);
    g_autoptr(NodeOpts) sub = node_opts_take_prefix(opts, name);
    g_autoptr(BlockNode) child = NULL;

    if (reference && *reference) {
        BlockNode *found = node_by_name(reference);

        if (!node_opts_empty(sub)) {
            error_set(error, "Cannot reference an existing block device with additional options "
                      "or a new filename");
            return NULL;
        }
        if (!found) {
            error_set(error, "Cannot find device='' nor node-name='%s'", reference);
            return NULL;
        }
        return node_attach_child(node, found, name, error);
    }
    if (!filename && node_opts_empty(sub)) {
        error_set(error, "A block device must be specified for \"%s\"", name);
        return NULL;
    }
    inherit(sub, node, g_str_equal(name, "backing"));
    child = node_open(filename, sub, flags, error);
    return child ? node_attach_child(node, child, name, error) : NULL;
}

/* A node for probing and for the format on top; takes "file" and "file.*" out of OPTS. */
static BlockChild *open_file_child(BlockNode *node, const char *filename, NodeOpts *opts,
                                   int flags, GError **error)
{
    int child_flags = (flags & ~NODE_OPEN_NO_BACKING) | NODE_OPEN_PROTOCOL | NODE_OPEN_RESIZE;

    if (node->flags & NODE_OPEN_AUTO_RO) {
        child_flags |= NODE_OPEN_AUTO_RO;
    }
    return node_open_child(node, "file", filename, opts, child_flags, error);
}

const char *image_probe(const uint8_t *head, size_t len, const char *filename)
{
    const char *best = "raw";
    const NodeType *type;
    int score = 1;

    for (unsigned i = 0; (type = node_type_at(i)) != NULL; i++) {
        int s = type->probe ? type->probe(head, len, filename ? filename : "") : 0;

        if (s > score) {
            score = s;
            best = type->name;
        }
    }
    return best;
}

static const NodeType raw_probe_type = { .name = "raw", .is_filter = false };

/* Chooses the format by content.  The file child moves over to the real node. */
static bool probe_type(BlockNode *node, const char **format, GError **error)
{
    uint8_t head[PROBE_BYTES] = { 0 };
    BlockNode *file = node->file->node;
    int ret = co_node_pread(file, 0, head, MIN(sizeof(head), node_length(file)));

    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not read image for determining its format");
    }
    *format = image_probe(head, MIN(sizeof(head), node_length(file)), file->filename);
    return true;
}

static bool open_backing(BlockNode *node, NodeOpts *opts, GError **error)
{
    g_autofree char *full = NULL;
    const char *reference = node_opts_get(opts, "backing");
    g_autofree char *driver = NULL;
    int flags = node->flags & (NODE_OPEN_INLINE_IO | NODE_OPEN_NO_IO | NODE_OPEN_UNSAFE_BACKING);
    BlockNode *up = node;
    unsigned depth = 0;

    if (reference && !*reference) {
        g_free(node_opts_take(opts, "backing"));
        node->backing_overridden = true;
        return true;
    }
    driver = g_strdup(node_opts_get(opts, "backing.driver"));
    if (!reference && !node_opts_get(opts, "backing.file.filename") &&
        !node_opts_get(opts, "backing.file") && !driver) {
        if (!node->backing_file || (node->flags & NODE_OPEN_NO_BACKING)) {
            return true;
        }
    }
    if (node->flags & NODE_OPEN_NO_BACKING) {
        return true;
    }
    if (!reference && !node_opts_get(opts, "backing.file") &&
        !node_opts_get(opts, "backing.file.filename") &&
        !node_opts_get(opts, "backing.file.driver")) {
        full = node_backing_full(node, error);
        if (!full) {
            return false;
        }
        if (node->backing_format && !driver) {
            node_opts_set(opts, "backing.driver", node->backing_format);
        }
    } else {
        node->backing_overridden = true;
    }
    /* A chain that bites its own tail, or is absurdly long. */
    for (; up; up = up->parents->len ? ((BlockChild *)up->parents->pdata[0])->parent : NULL) {
        depth++;
    }
    if (depth > MAX_BACKING_DEPTH || (unsigned)(node->flags >> 16) > MAX_BACKING_DEPTH) {
        return error_set(error, "The backing chain of '%s' is a loop, or longer than %d images",
                         node->filename, MAX_BACKING_DEPTH);
    }
    flags |= ((node->flags >> 16) + 1) << 16;       /* how deep we are */
    node->backing = node_open_child(node, "backing", full, opts, flags, error);
    if (!node->backing) {
        if (!(node->flags >> 16)) {    /* once is enough, however deep the chain */
            g_prefix_error(error, "Could not open backing file: ");
        }
        return false;
    }
    return true;
}

static BlockNode *node_alloc(const NodeType *type)
{
    BlockNode *node = g_new0(BlockNode, 1);

    node->type = type;
    node->refs = 1;
    node->loop = event_loop_current();
    node->limits.align = node->limits.mem_align = 1;
    node->shared = BLK_PERM_ALL;
    node->children = g_ptr_array_new();
    node->parents = g_ptr_array_new();
    node->bitmaps = g_ptr_array_new();
    co_queue_init(&node->drain_queue);
    if (!all_nodes) {
        all_nodes = g_ptr_array_new();
    }
    g_ptr_array_add(all_nodes, node);
    return node;
}

static bool take_read_only(BlockNode *node, NodeOpts *opts, GError **error)
{
    bool read_only = !(node->flags & NODE_OPEN_RDWR);
    bool auto_ro = node->flags & NODE_OPEN_AUTO_RO, force_share = false;

    if (!node_opts_take_bool(opts, "read-only", &read_only, error) ||
        !node_opts_take_bool(opts, "auto-read-only", &auto_ro, error) ||
        !node_opts_take_bool(opts, "force-share", &force_share, error)) {
        return false;
    }
    if (force_share && !read_only) {
        return error_set(error, "force-share=on can only be used with read-only images");
    }
    node->read_only = read_only;
    node->force_share = force_share;
    node->flags &= ~(NODE_OPEN_RDWR | NODE_OPEN_AUTO_RO);
    node->flags |= (read_only ? 0 : NODE_OPEN_RDWR) | (auto_ro ? NODE_OPEN_AUTO_RO : 0);
    return true;
}

static bool format_open(BlockNode *node, const char *filename, NodeOpts *opts,
                        const char *driver, GError **error)
{
    const char *format = driver;
    int flags = node->flags & (NODE_OPEN_INLINE_IO | NODE_OPEN_RDWR | NODE_OPEN_NO_IO);

    if (!node->type->no_file) {
        node->file = open_file_child(node, filename, opts, flags, error);
        if (!node->file) {
            return false;
        }
        if (node->file->node->read_only && !node->read_only) {
            if (!(node->flags & NODE_OPEN_AUTO_RO)) {
                return error_set(error, "The file below is read-only");
            }
            node->read_only = true;
        }
        node->filename = g_strdup(node->file->node->filename);
    }
    if (!format) {
        if (!probe_type(node, &format, error)) {
            return false;
        }
        node->type = node_type_find(format);
        node->probed = true;
    }
    if (!take_cache(node, opts, error) || !node_refresh_perms(node, error)) {
        return false;
    }
    node->state = g_malloc0(MAX(node->type->state_size, 1));
    if (!node->type->open(node, opts, error)) {
        g_clear_pointer(&node->state, g_free);
        return false;
    }
    if (node->probed && g_str_equal(format, "raw") && !node->read_only &&
        !(node->flags & NODE_OPEN_INLINE_IO) && node->length) {
        warn_report("Image format was not specified for '%s' and probing guessed raw.\n"
                 "         Automatically detecting the format is dangerous for raw images, write "
                 "operations on block 0 will be restricted.\n"
                 "         Specify the 'raw' format explicitly to remove the restrictions.",
                 node->filename);
    }
    return !node->type->has_backing || open_backing(node, opts, error);
}

static bool protocol_open(BlockNode *node, const char *filename, NodeOpts *opts, GError **error)
{
    if (filename && node->type->parse_filename) {
        if (!node->type->parse_filename(filename, opts, error)) {
            return false;
        }
    } else if (filename) {
        node_opts_set(opts, "filename", filename);
    }
    if (!take_cache(node, opts, error)) {
        return false;
    }
    node->filename = g_strdup(filename ? filename : node_opts_get(opts, "filename"));
    if (!node->filename) {
        node->filename = g_strdup("");
    }
    node->state = g_malloc0(MAX(node->type->state_size, 1));
    if (!node->type->open(node, opts, error)) {
        g_clear_pointer(&node->state, g_free);
        return false;
    }
    return true;
}

static BlockNode *co_node_open(const char *filename, NodeOpts *caller_opts, int flags,
                               GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_copy(caller_opts);
    g_autofree char *driver = NULL;
    g_autofree char *opt_filename = NULL;
    g_autoptr(BlockNode) node = NULL;
    const NodeType *type;

    if (filename && g_str_has_prefix(filename, "json:")) {
        g_autoptr(Json) json = json_parse(filename + 5, error);

        if (!json || !node_opts_add_json(opts, json, error)) {
            g_prefix_error(error, "Could not parse the JSON options: ");
            return NULL;
        }
        filename = NULL;
    }
    driver = node_opts_take(opts, "driver");
    if (driver && !node_type_find(driver)) {
        error_set(error, "Unknown driver '%s'", driver);
        return NULL;
    }
    if (driver) {
        type = node_type_find(driver);
    } else if (flags & NODE_OPEN_PROTOCOL) {
        const char *name = filename ? filename : node_opts_get(opts, "filename");

        if (!name) {
            error_set(error, "Must specify either driver or file");
            return NULL;
        }
        filename = name;
        type = node_type_for_filename(filename, error);
        if (!type) {
            return NULL;
        }
    } else {
        type = &raw_probe_type;
    }
    if (!type->is_protocol && !filename && !node_opts_get(opts, "file") &&
        node_opts_get(opts, "filename")) {
        opt_filename = node_opts_take(opts, "filename");
        filename = opt_filename;
    }
    node = node_alloc(type);
    node->flags = flags;
    if (!node_take_name(node, opts, error) || !take_read_only(node, opts, error)) {
        return NULL;
    }
    if (type->is_protocol ? !protocol_open(node, filename, opts, error)
                          : !format_open(node, filename, opts, driver, error)) {
        return NULL;
    }
    if (!node_opts_empty(opts)) {
        error_set(error, "Block %s '%s' does not support the option '%s'",
                  type->is_protocol ? "protocol" : "format", node->type->name,
                  node_opts_any_key(opts));
        return NULL;
    }
    return g_steal_pointer(&node);
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
        c->ok = t->change_backing(c->node, c->a, c->b, c->error);
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
    coroutine_run_sync(event_loop_current(), co_call, c);
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

    c.type = node_type_find(format ? format : "raw");
    if (!c.type) {
        return error_set(error, "Unknown file format '%s'", format);
    }
    if (!c.type->create) {
        return error_set(error, "Format driver '%s' does not support image creation", format);
    }
    return run_call(&c);
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

/* ---- backing files ---- */

char *path_combine(const char *base, const char *path)
{
    const char *slash, *colon = strchr(path, ':');

    if (path[0] == '/' || (colon && !memchr(path, '/', (size_t)(colon - path)))) {
        return g_strdup(path);
    }
    slash = strrchr(base, '/');
    return slash ? g_strdup_printf("%.*s%s", (int)(slash - base + 1), base, path)
                 : g_strdup(path);
}

char *node_backing_full(const BlockNode *node, GError **error)
{
    if (!node->backing_file) {
        error_set(error, "Image '%s' has no backing file", node->filename);
        return NULL;
    }
    return path_combine(node->filename, node->backing_file);
}

bool node_set_backing(BlockNode *node, BlockNode *backing, GError **error)
{
    BlockChild *edge = NULL;

    if (backing) {
        edge = node_attach_child(node, backing, "backing", error);
        if (!edge) {
            return false;
        }
    }
    node_detach_child(node, node->backing);
    node->backing = edge;
    return true;
}

/* ---- monitor ---- */

bool node_add(NodeOpts *opts, GError **error)
{
    BlockNode *node;
    bool read_only = false;

    if (!node_opts_get(opts, "node-name")) {
        return error_set(error, "'node-name' must be specified for the root node");
    }
    if (!node_opts_get(opts, "driver")) {
        return error_set(error, "Parameter 'driver' is missing");
    }
    (void)read_only;
    node = node_open(NULL, opts, NODE_OPEN_RDWR, error);
    if (!node) {
        return false;
    }
    node->monitor_owned = true;
    return true;
}

bool node_del(const char *name, GError **error)
{
    BlockNode *node = node_by_name(name);

    if (!node) {
        return error_set(error, "Failed to find node with node-name='%s'", name);
    }
    if (!node->monitor_owned) {
        return error_set(error, "Node %s is not owned by the monitor", name);
    }
    if (node->refs > 1) {
        return error_set(error, "Block device %s is in use", name);
    }
    node_unref(node);
    return true;
}

/* ---- draining ---- */

static void drain_parents(BlockNode *node, bool begin)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        BlockChild *edge = node->parents->pdata[i];

        if (edge->parent) {
            drain_parents(edge->parent, begin);
        } else if (edge->hooks) {
            if (begin && edge->hooks->drained_begin) {
                edge->hooks->drained_begin(edge->opaque);
            } else if (!begin && edge->hooks->drained_end) {
                edge->hooks->drained_end(edge->opaque);
            }
        }
    }
}

void node_drained_begin(BlockNode *node)
{
    node->quiesced++;
    drain_parents(node, true);
    EVENT_LOOP_WAIT_WHILE(node->loop, node->in_flight > 0);
}

void node_drained_end(BlockNode *node)
{
    node->quiesced--;
    drain_parents(node, false);
}

static bool any_in_flight(void)
{
    for (unsigned i = 0; all_nodes && i < all_nodes->len; i++) {
        if (((BlockNode *)all_nodes->pdata[i])->in_flight) {
            return true;
        }
    }
    return false;
}

void node_drain_all(void)
{
    EVENT_LOOP_WAIT_WHILE(event_loop_current(), any_in_flight());
}

bool node_flush_all(GError **error)
{
    bool ok = true;

    for (unsigned i = 0; all_nodes && i < all_nodes->len; i++) {
        BlockNode *node = all_nodes->pdata[i];
        int ret = node_flush(node);

        if (ret < 0 && ok) {
            ok = error_set_errno(error, -ret, "Could not flush '%s'", node->filename);
        }
    }
    return ok;
}

/* ---- creating ---- */

BlockNode *image_create_file(const char *filename, uint64_t length, GError **error)
{
    const NodeType *type = node_type_for_filename(filename, error);
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autofree char *size = g_strdup_printf("%" PRIu64, length);

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
