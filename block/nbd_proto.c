/* SPDX-License-Identifier: MIT */
/*
 * The NBD protocol's messages; see the header.  Pure functions.
 */
#include "block/nbd_proto.h"

#include <errno.h>

#include "base/bits.h"

/* ---- options ---- */

bool nbd_option_parse(const uint8_t *p, uint32_t *option, uint32_t *len)
{
    *option = be32_load(p + 8);
    *len = be32_load(p + 12);
    return be64_load(p) == NBD_MAGIC_OPTION;
}

void nbd_option_put(uint8_t *p, uint32_t option, uint32_t len)
{
    be64_store(p, NBD_MAGIC_OPTION);
    be32_store(p + 8, option);
    be32_store(p + 12, len);
}

bool nbd_option_reply_parse(const uint8_t *p, uint32_t *option, uint32_t *type, uint32_t *len)
{
    *option = be32_load(p + 8);
    *type = be32_load(p + 12);
    *len = be32_load(p + 16);
    return be64_load(p) == NBD_MAGIC_REPLY;
}

void nbd_option_reply_put(uint8_t *p, uint32_t option, uint32_t type, uint32_t len)
{
    be64_store(p, NBD_MAGIC_REPLY);
    be32_store(p + 8, option);
    be32_store(p + 12, type);
    be32_store(p + 16, len);
}

/* A cursor over bytes that came from the peer. */
typedef struct Bytes {
    const uint8_t *p;
    size_t len;
} Bytes;

static bool take_be16(Bytes *b, uint16_t *value)
{
    if (b->len < 2) {
        return false;
    }
    *value = be16_load(b->p);
    b->p += 2;
    b->len -= 2;
    return true;
}

static bool take_be32(Bytes *b, uint32_t *value)
{
    if (b->len < 4) {
        return false;
    }
    *value = be32_load(b->p);
    b->p += 4;
    b->len -= 4;
    return true;
}

/* LEN bytes of UTF-8 without NUL, as the specification wants names to be. */
static char *take_text(Bytes *b, uint32_t len)
{
    char *text;

    if (len > b->len || len > NBD_NAME_MAX ||
        !g_utf8_validate_len((const char *)b->p, len, NULL)) {
        return NULL;
    }
    text = g_strndup((const char *)b->p, len);
    b->p += len;
    b->len -= len;
    return text;
}

static char *take_counted_text(Bytes *b)
{
    uint32_t len;

    return take_be32(b, &len) ? take_text(b, len) : NULL;
}

void nbd_go_clear(NbdGo *go)
{
    g_clear_pointer(&go->name, g_free);
}

bool nbd_go_parse(const uint8_t *data, size_t len, NbdGo *go)
{
    Bytes b = { data, len };
    uint16_t count, kind;

    *go = (NbdGo){ .name = take_counted_text(&b) };
    if (!go->name || !take_be16(&b, &count) || b.len != count * 2u) {
        nbd_go_clear(go);
        return false;
    }
    while (take_be16(&b, &kind)) {
        go->wants_name |= kind == NBD_INFO_NAME;
        go->wants_description |= kind == NBD_INFO_DESCRIPTION;
        go->wants_block_size |= kind == NBD_INFO_BLOCK_SIZE;
    }
    return true;
}

void nbd_meta_clear(NbdMeta *meta)
{
    g_clear_pointer(&meta->name, g_free);
    g_clear_pointer(&meta->queries, g_strfreev);
}

bool nbd_meta_parse(const uint8_t *data, size_t len, NbdMeta *meta)
{
    Bytes b = { data, len };
    uint32_t count;

    *meta = (NbdMeta){ .name = take_counted_text(&b) };
    /* Each query takes at least the four bytes of its length. */
    if (!meta->name || !take_be32(&b, &count) || count > b.len / 4) {
        nbd_meta_clear(meta);
        return false;
    }
    meta->queries = g_new0(char *, count + 1);
    for (; meta->count < count; meta->count++) {
        meta->queries[meta->count] = take_counted_text(&b);
        if (!meta->queries[meta->count]) {
            nbd_meta_clear(meta);
            return false;
        }
    }
    if (b.len) {
        nbd_meta_clear(meta);
        return false;
    }
    return true;
}

void nbd_info_clear(NbdInfo *info)
{
    g_free(info->name);
    g_free(info->description);
    *info = (NbdInfo){ 0 };
}

static bool replace_text(char **text, Bytes *b)
{
    char *new_text = take_text(b, (uint32_t)MIN(b->len, NBD_NAME_MAX + 1));

    if (!new_text) {
        return false;
    }
    g_free(*text);
    *text = new_text;
    return true;
}

bool nbd_info_parse(const uint8_t *data, size_t len, NbdInfo *info)
{
    Bytes b = { data, len };
    uint16_t kind;

    if (!take_be16(&b, &kind)) {
        return false;
    }
    switch (kind) {
    case NBD_INFO_EXPORT:
        if (b.len != 10) {
            return false;
        }
        info->size = be64_load(b.p);
        info->flags = be16_load(b.p + 8);
        return info->size <= INT64_MAX && (info->flags & NBD_FLAG_HAS_FLAGS);
    case NBD_INFO_NAME:
        return replace_text(&info->name, &b);
    case NBD_INFO_DESCRIPTION:
        return replace_text(&info->description, &b);
    case NBD_INFO_BLOCK_SIZE:
        if (b.len != 12) {
            return false;
        }
        info->min_block = be32_load(b.p);
        info->preferred_block = be32_load(b.p + 4);
        info->max_block = be32_load(b.p + 8);
        return is_pow2(info->min_block) && info->min_block <= 65536 &&
               is_pow2(info->preferred_block) && info->preferred_block >= info->min_block &&
               info->max_block >= info->min_block && info->max_block % info->min_block == 0;
    default:
        return true;
    }
}

bool nbd_server_reply_parse(const uint8_t *data, size_t len, char **name, char **description)
{
    Bytes b = { data, len };

    *description = NULL;
    *name = take_counted_text(&b);
    if (*name && b.len) {
        *description = take_text(&b, (uint32_t)MIN(b.len, NBD_NAME_MAX + 1));
        if (!*description || b.len) {
            g_clear_pointer(description, g_free);
            g_clear_pointer(name, g_free);
        }
    }
    return *name != NULL;
}

bool nbd_meta_reply_parse(const uint8_t *data, size_t len, uint32_t *id, char **name)
{
    Bytes b = { data, len };

    *name = take_be32(&b, id) ? take_text(&b, (uint32_t)MIN(b.len, NBD_NAME_MAX + 1)) : NULL;
    if (*name && b.len) {
        g_clear_pointer(name, g_free);
    }
    return *name != NULL;
}

const char *nbd_reply_text(uint32_t type)
{
    switch (type) {
    case NBD_REP_ERR_UNSUP:
        return "the server does not support it";
    case NBD_REP_ERR_POLICY:
        return "the server's policy denies it";
    case NBD_REP_ERR_INVALID:
        return "the server calls the request invalid";
    case NBD_REP_ERR_PLATFORM:
        return "the server lacks support on its platform";
    case NBD_REP_ERR_TLS_REQD:
        return "the server requires TLS; give tls-creds";
    case NBD_REP_ERR_UNKNOWN:
        return "the server has no such export";
    case NBD_REP_ERR_SHUTDOWN:
        return "the server is shutting down";
    case NBD_REP_ERR_BLOCK_SIZE_REQD:
        return "the server wants block sizes to be negotiated";
    case NBD_REP_ERR_TOO_BIG:
        return "the request is too big for the server";
    default:
        return "the server answers with an unknown error";
    }
}

/* ---- requests ---- */

bool nbd_request_parse(const uint8_t *p, NbdRequest *r)
{
    r->flags = be16_load(p + 4);
    r->type = be16_load(p + 6);
    r->cookie = be64_load(p + 8);
    r->offset = be64_load(p + 16);
    r->len = be32_load(p + 24);
    return be32_load(p) == NBD_MAGIC_REQUEST;
}

void nbd_request_put(uint8_t *p, const NbdRequest *r)
{
    be32_store(p, NBD_MAGIC_REQUEST);
    be16_store(p + 4, r->flags);
    be16_store(p + 6, r->type);
    be64_store(p + 8, r->cookie);
    be64_store(p + 16, r->offset);
    be32_store(p + 24, r->len);
}

/* clang-format off */
static const struct {
    uint16_t flags;            /* that are allowed */
    uint16_t needs;            /* of the export's flags */
    bool writes, ranged, capped;
} commands[] = {
    [NBD_CMD_READ]         = { 0, 0, false, true, true },
    [NBD_CMD_WRITE]        = { NBD_CMD_FLAG_FUA, 0, true, true, true },
    [NBD_CMD_DISC]         = { 0, 0, false, false, false },
    [NBD_CMD_FLUSH]        = { 0, NBD_FLAG_SEND_FLUSH, false, false, false },
    [NBD_CMD_TRIM]         = { NBD_CMD_FLAG_FUA, NBD_FLAG_SEND_TRIM, true, true, false },
    [NBD_CMD_CACHE]        = { 0, NBD_FLAG_SEND_CACHE, false, true, false },
    [NBD_CMD_WRITE_ZEROES] = { NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE |
                               NBD_CMD_FLAG_FAST_ZERO, NBD_FLAG_SEND_WRITE_ZEROES,
                               true, true, false },
    [NBD_CMD_BLOCK_STATUS] = { NBD_CMD_FLAG_REQ_ONE, 0, false, true, false },
};
/* clang-format on */

uint32_t nbd_request_check(const NbdRequest *r, const NbdInfo *info, bool structured,
                           bool has_meta)
{
    uint16_t flags;

    if (r->type >= ARRAY_LEN(commands)) {
        return NBD_EINVAL;
    }
    if (commands[r->type].writes && (info->flags & NBD_FLAG_READ_ONLY)) {
        return NBD_EPERM;
    }
    flags = commands[r->type].flags;
    if (r->type == NBD_CMD_READ && structured) {
        flags |= NBD_CMD_FLAG_DF;
    }
    if (!(info->flags & NBD_FLAG_SEND_FAST_ZERO)) {
        flags &= (uint16_t)~NBD_CMD_FLAG_FAST_ZERO;
    }
    if ((r->flags & ~flags) || (info->flags & commands[r->type].needs) != commands[r->type].needs) {
        return NBD_EINVAL;
    }
    if (r->type == NBD_CMD_BLOCK_STATUS && (!has_meta || !r->len)) {
        return NBD_EINVAL;
    }
    if (commands[r->type].capped && r->len > NBD_PAYLOAD_MAX) {
        return NBD_EINVAL;
    }
    if (commands[r->type].ranged && (r->offset > info->size || r->len > info->size - r->offset)) {
        return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC
                                                                           : NBD_EINVAL;
    }
    return 0;
}

/* ---- replies ---- */

unsigned nbd_reply_bytes(const uint8_t *p)
{
    uint32_t magic = be32_load(p);

    return magic == NBD_MAGIC_SIMPLE ? NBD_SIMPLE_BYTES
           : magic == NBD_MAGIC_STRUCTURED ? NBD_CHUNK_BYTES : 0;
}

void nbd_reply_parse(const uint8_t *p, NbdReply *r)
{
    *r = (NbdReply){ .structured = be32_load(p) == NBD_MAGIC_STRUCTURED,
                     .cookie = be64_load(p + 8) };
    if (r->structured) {
        r->flags = be16_load(p + 4);
        r->type = be16_load(p + 6);
        r->len = be32_load(p + 16);
    } else {
        r->error = be32_load(p + 4);
    }
}

void nbd_simple_put(uint8_t *p, uint32_t error, uint64_t cookie)
{
    be32_store(p, NBD_MAGIC_SIMPLE);
    be32_store(p + 4, error);
    be64_store(p + 8, cookie);
}

void nbd_chunk_put(uint8_t *p, uint16_t flags, uint16_t type, uint64_t cookie, uint32_t len)
{
    be32_store(p, NBD_MAGIC_STRUCTURED);
    be16_store(p + 4, flags);
    be16_store(p + 6, type);
    be64_store(p + 8, cookie);
    be32_store(p + 16, len);
}

bool nbd_error_parse(uint16_t type, const uint8_t *data, size_t len, uint32_t *error)
{
    Bytes b = { data, len };
    uint16_t text;

    if (!take_be32(&b, error) || !take_be16(&b, &text) || text > b.len) {
        return false;
    }
    b.len -= text;
    return *error != 0 && (type != NBD_CHUNK_ERROR_OFFSET || b.len == 8);
}

static const struct {
    uint32_t wire;
    int host;
} errors[] = {
    { NBD_EPERM, EPERM },   { NBD_EPERM, EROFS },         { NBD_EIO, EIO },
    { NBD_ENOMEM, ENOMEM }, { NBD_ENOSPC, ENOSPC },       { NBD_ENOSPC, EDQUOT },
    { NBD_ENOSPC, EFBIG },  { NBD_EOVERFLOW, EOVERFLOW }, { NBD_ENOTSUP, ENOTSUP },
    { NBD_EINVAL, EINVAL }, { NBD_ESHUTDOWN, ESHUTDOWN },
};

uint32_t nbd_error_from_errno(int err)
{
    for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
        if (errors[i].host == err) {
            return errors[i].wire;
        }
    }
    return NBD_EIO;
}

int nbd_error_to_errno(uint32_t error)
{
    for (unsigned i = 0; i < ARRAY_LEN(errors); i++) {
        if (errors[i].wire == error) {
            return errors[i].host;
        }
    }
    return EINVAL;
}
