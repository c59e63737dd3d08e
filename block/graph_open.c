/* SPDX-License-Identifier: MIT */
/*
 * Opening nodes: options, probing, the file below and the backing file.
 * Locking: main loop only.
 */
#include "block/graph_int.h"

#include "base/log.h"

#define PROBE_BYTES 2048
#define MAX_BACKING_DEPTH 200

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
    int flags = node->flags & (NODE_OPEN_HOST_IO | NODE_OPEN_NO_IO | NODE_OPEN_UNSAFE_BACKING);
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

typedef struct OpenBacking {
    BlockNode *node;
    GError **error;
    bool ok;
} OpenBacking;

static void co_open_backing(void *opaque)
{
    OpenBacking *o = opaque;
    g_autoptr(NodeOpts) opts = node_opts_new();

    o->node->flags &= ~NODE_OPEN_NO_BACKING;
    o->ok = open_backing(o->node, opts, o->error);
}

bool node_open_backing(BlockNode *node, GError **error)
{
    OpenBacking o = { node, error, false };

    graph_run(node, co_open_backing, &o);
    return o.ok;
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
    int flags = node->flags & (NODE_OPEN_HOST_IO | NODE_OPEN_RDWR | NODE_OPEN_NO_IO);

    /* First: the file below inherits it. */
    if (!take_cache(node, opts, error)) {
        return false;
    }
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
    } else if (filename && node->type->parse_filename &&
               !node->type->parse_filename(filename, opts, error)) {
        return false;
    }
    if (!format && node->type != &raw_probe_type) {
        format = node->type->name;     /* by the prefix of its file name */
    }
    if (!format) {
        if (!probe_type(node, &format, error)) {
            return false;
        }
        node->type = node_type_find(format);
        node->probed = true;
    }
    if (!node_refresh_perms(node, error)) {
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

BlockNode *co_node_open(const char *filename, NodeOpts *caller_opts, int flags,
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
        Suggest s;

        suggest_init(&s, driver);
        for (unsigned i = 0; node_type_at(i); i++) {
            suggest_offer(&s, node_type_at(i)->name);
        }
        error_set(error, "Unknown driver '%s'%s", driver, suggest_text(&s));
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
    node = graph_node_alloc(type);
    node->flags = flags;
    node->options = node_opts_copy(opts);
    if (driver) {
        node_opts_set(node->options, "driver", driver);
    }
    if (!graph_take_name(node, opts, error) || !take_read_only(node, opts, error)) {
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
    graph_note_filename(node);
    return g_steal_pointer(&node);
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
