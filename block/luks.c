/* SPDX-License-Identifier: MIT */
/*
 * luks: a disk encrypted as a whole, behind a LUKS1 header.
 * Not modelled: detached headers, LUKS2.
 * Locking: none needed; requests share only the cipher, which keeps no state between sectors.
 */
#include "block/luks.h"

#include "block/types.h"

#define CHUNK (1u << 20)

typedef struct LuksNode {
    Luks *luks;
    uint64_t payload;
} LuksNode;

static int luks_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && memcmp(head, "LUKS\xba\xbe\0\1", 8) == 0 ? 100 : 0;
}

static bool luks_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    LuksNode *l = node->state;
    g_autofree char *secret = node_opts_take(opts, "key-secret");
    uint64_t total = node->file->node->length;

    l->luks = co_luks_load(node->file->node, 0, total, error);
    if (!l->luks) {
        return false;
    }
    l->payload = luks_payload_offset(l->luks);
    node->length = align_down(total - l->payload, 512);
    node->limits.align = MAX(512, node->file->node->limits.align);
    node->encrypted = true;
    if (!secret && !(node->flags & NODE_OPEN_NO_IO)) {
        error_set(error, "Parameter 'key-secret' is required for cipher");
    } else if (!secret || co_luks_unlock(l->luks, secret, error)) {
        return true;
    }
    luks_free(l->luks);
    return false;
}

static void luks_close(BlockNode *node)
{
    luks_free(((LuksNode *)node->state)->luks);
}

static void luks_child_moved(BlockNode *node, const BlockChild *edge)
{
    luks_set_file(((LuksNode *)node->state)->luks, node->file->node);
}

static int luks_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    LuksNode *l = node->state;
    g_autofree uint8_t *buf = g_try_malloc(MIN(span.len, CHUNK));
    int ret = !buf ? -ENOMEM : luks_is_unlocked(l->luks) ? 0 : -EACCES;

    while (span.len && ret == 0) {
        size_t n = MIN(span.len, CHUNK);

        ret = co_node_pread(node->file->node, l->payload + offset, buf, n);
        if (ret == 0) {
            luks_crypt(l->luks, false, offset, buf, n);
            io_span_from_buf(io_span_sub(span, 0, n), buf);
        }
        offset += n;
        span = io_span_sub(span, n, span.len - n);
    }
    return ret;
}

static int luks_co_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags)
{
    LuksNode *l = node->state;
    g_autofree uint8_t *buf = g_try_malloc(MIN(span.len, CHUNK));
    int ret = !buf ? -ENOMEM : luks_is_unlocked(l->luks) ? 0 : -EACCES;

    while (span.len && ret == 0) {
        size_t n = MIN(span.len, CHUNK);

        io_span_to_buf(io_span_sub(span, 0, n), buf);
        luks_crypt(l->luks, true, offset, buf, n);
        ret = co_node_pwrite(node->file->node, l->payload + offset, buf, n, 0);
        offset += n;
        span = io_span_sub(span, n, span.len - n);
    }
    return ret;
}

static bool luks_co_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                             GError **error)
{
    LuksNode *l = node->state;

    return co_node_truncate(node->file->node, l->payload + length, exact, prealloc, error);
}

typedef struct LuksNew {
    LuksCreate crypt;
    uint64_t size;
    char *prealloc;
} LuksNew;

static bool write_image(BlockNode *file, const void *args, GError **error)
{
    const LuksNew *c = args;
    g_autoptr(GByteArray) header = co_luks_format(&c->crypt, error);
    int ret;

    if (!header) {
        return false;
    }
    ret = co_node_pwrite(file, 0, header->data, header->len, 0);
    if (ret < 0) {
        return error_set_errno(error, -ret, "Could not write the LUKS header");
    }
    return co_node_truncate(file, header->len + c->size, true, c->prealloc, error);
}

static bool luks_create(const char *filename, NodeOpts *opts, GError **error)
{
    LuksNew c = { .prealloc = node_opts_take(opts, "preallocation") };
    bool ok;

    ok = create_take_size(opts, INT64_MAX / 2, &c.size, error) &&
         luks_create_take(&c.crypt, opts, error) && create_opts_finish("luks", opts, error) &&
         luks_create_check(&c.crypt, error) && image_write_new(filename, write_image, &c, error);
    luks_create_clear(&c.crypt);
    g_free(c.prealloc);
    return ok;
}

static bool luks_measure(NodeOpts *opts, BlockNode *source, uint64_t *required, uint64_t *full,
                         uint64_t *bitmaps, GError **error)
{
    LuksCreate c = { 0 };
    uint64_t size = 0, header = 0;
    bool ok = create_take_size(opts, INT64_MAX / 2, &size, error) &&
              luks_create_take(&c, opts, error);

    g_free(node_opts_take(opts, "preallocation"));
    if (ok && !c.key_secret) {
        ok = error_set(error, "Parameter 'key-secret' is required for cipher");
    }
    ok = ok && create_opts_finish("luks", opts, error) && luks_header_bytes(&c, &header, error);
    *required = *full = header + (source ? node_length(source) : size);
    *bitmaps = UINT64_MAX;
    luks_create_clear(&c);
    return ok;
}

static bool luks_amend(BlockNode *node, NodeOpts *opts, GError **error)
{
    LuksNode *l = node->state;
    bool force = false;

    if (!node_opts_take_bool(opts, "force", &force, error)) {
        return false;
    }
    if (!co_luks_amend(l->luks, opts, force, error)) {
        return false;
    }
    return node_opts_empty(opts) || error_set(error, "Invalid parameter '%s'",
                                              node_opts_any_key(opts));
}

static void luks_node_info(BlockNode *node, Json *info)
{
    Json *specific = json_new_dict(), *data = json_new_dict();

    luks_info(((LuksNode *)node->state)->luks, data);
    json_set(specific, "type", json_new_string("luks"));
    json_set(specific, "data", data);
    json_set(info, "format-specific", specific);
}

static const char *const luks_telling[] = { "key-secret", NULL };

const NodeType node_type_luks = {
    .telling_options = luks_telling,
    .name = "luks", .state_size = sizeof(LuksNode), .probe = luks_probe, .open = luks_open,
    .close = luks_close, .child_moved = luks_child_moved, .co_preadv = luks_co_preadv,
    .co_pwritev = luks_co_pwritev, .co_truncate = luks_co_truncate, .create = luks_create,
    .measure = luks_measure, .amend = luks_amend, .info = luks_node_info,
    .create_help = LUKS_CREATE_HELP("") "  size=<size>            - Virtual disk size\n",
    .amend_help = LUKS_AMEND_HELP(""),
};
