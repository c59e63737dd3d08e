/* SPDX-License-Identifier: MIT */
/*
 * The NBD server's half of the handshake: fixed newstyle, options until one chooses an export.
 *
 * Invariants:
 *  N1  With credentials, nothing about exports is told before STARTTLS has succeeded, and what was
 *      negotiated before it is forgotten: an attacker in the middle may have said it.
 *  N2  An option's data is read before it is answered, so the stream never gets out of step.
 *  N3  c->exp is set only together with a reference, and only by the option that ends the
 *      handshake.
 *
 * Locking: main loop.
 */
#include "block/nbd_server_int.h"

#include "base/bits.h"
#include "base/authz.h"
#include "base/error.h"
#include "block/driver.h"

/* What an option leads to. */
typedef enum Next { NEXT_OPTION, NEXT_SERVE, NEXT_CLOSE } Next;

/* ---- replies ---- */

static bool co_reply(NbdClient *c, uint32_t option, uint32_t type, const void *data, size_t len)
{
    uint8_t head[NBD_OPTION_REPLY_HEADER];
    struct iovec iov[2] = { { head, sizeof(head) }, { (void *)(uintptr_t)data, len } };

    nbd_option_reply_put(head, option, type, (uint32_t)len);
    return co_stream_write(c->stream, iov, 2) == 0;
}

static Next co_refuse(NbdClient *c, uint32_t option, uint32_t type, const char *why)
{
    return co_reply(c, option, type, why, strlen(why)) ? NEXT_OPTION : NEXT_CLOSE;
}

static Next co_ack(NbdClient *c, uint32_t option)
{
    return co_reply(c, option, NBD_REP_ACK, NULL, 0) ? NEXT_OPTION : NEXT_CLOSE;
}

/* ---- choosing an export ---- */

static void fill_info(NbdClient *c, NbdExport *e)
{
    BlockBackend *blk = e->base.blk;
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
                     NBD_FLAG_SEND_CACHE;

    if (!e->base.writable) {
        flags |= NBD_FLAG_READ_ONLY;
    } else {
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    }
    /* All clients share one backend, so a flush of one is a flush for all. */
    flags |= c->multi_conn ? NBD_FLAG_CAN_MULTI_CONN : 0;
    if (c->structured) {
        flags |= NBD_FLAG_SEND_DF;
    }
    c->info.size = blk_length(blk);
    c->info.flags = flags;
    c->info.min_block = blk_request_align(blk);
    c->info.preferred_block = MAX(4096, c->info.min_block);
    c->info.max_block = NBD_PAYLOAD_MAX;
}

/* A context set was for one export; for another it means nothing. */
static void choose(NbdClient *c, NbdExport *e)
{
    if (c->meta_export != e) {
        memset(c->meta, 0, sizeof(c->meta));
        c->meta_count = 0;
    }
    c->exp = e;
    block_export_ref(&e->base);
}

static Next co_export_name(NbdClient *c, const uint8_t *data, uint32_t len)
{
    g_autofree char *name = g_strndup((const char *)data, len);
    NbdExport *e = nbd_export_by_name(name);
    uint8_t reply[8 + 2 + 124] = { 0 };

    if (!e || strlen(name) != len) {
        return NEXT_CLOSE;             /* this option has no way to say no */
    }
    fill_info(c, e);
    choose(c, e);
    be64_store(reply, c->info.size);
    be16_store(reply + 8, c->info.flags);
    if (co_stream_write_buf(c->stream, reply, c->no_zeroes ? 10 : sizeof(reply)) < 0) {
        return NEXT_CLOSE;
    }
    return NEXT_SERVE;
}

static bool co_info(NbdClient *c, uint32_t option, uint16_t kind, const void *data, size_t len)
{
    uint8_t buf[2 + NBD_NAME_MAX];

    be16_store(buf, kind);
    memcpy(buf + 2, data, len);
    return co_reply(c, option, NBD_REP_INFO, buf, 2 + len);
}

static bool co_send_infos(NbdClient *c, uint32_t option, const NbdExport *e, const NbdGo *go)
{
    uint8_t export[10], block[12];

    be64_store(export, c->info.size);
    be16_store(export + 8, c->info.flags);
    be32_store(block, go->wants_block_size ? c->info.min_block : 1);
    be32_store(block + 4, c->info.preferred_block);
    be32_store(block + 8, c->info.max_block);
    return (!go->wants_name || co_info(c, option, NBD_INFO_NAME, e->name, strlen(e->name))) &&
           (!go->wants_description || !e->description ||
            co_info(c, option, NBD_INFO_DESCRIPTION, e->description, strlen(e->description))) &&
           co_info(c, option, NBD_INFO_BLOCK_SIZE, block, sizeof(block)) &&
           co_info(c, option, NBD_INFO_EXPORT, export, sizeof(export));
}

static Next co_go(NbdClient *c, uint32_t option, const uint8_t *data, uint32_t len)
{
    NbdGo go;
    NbdExport *e;
    bool ok;

    if (!nbd_go_parse(data, len, &go)) {
        return co_refuse(c, option, NBD_REP_ERR_INVALID, "malformed request");
    }
    e = nbd_export_by_name(go.name);
    if (!e) {
        nbd_go_clear(&go);
        return co_refuse(c, option, NBD_REP_ERR_UNKNOWN, "export is not present");
    }
    block_export_ref(&e->base);
    fill_info(c, e);
    ok = co_send_infos(c, option, e, &go) && co_reply(c, option, NBD_REP_ACK, NULL, 0);
    nbd_go_clear(&go);
    ok = ok && !e->base.shutting_down;
    if (ok && option == NBD_OPT_GO) {
        choose(c, e);
    }
    block_export_unref(&e->base);
    return !ok ? NEXT_CLOSE : option == NBD_OPT_GO ? NEXT_SERVE : NEXT_OPTION;
}

/* ---- lists ---- */

static Next co_list(NbdClient *c)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)g_byte_array_unref);

    /* Gathered first: the list may change while we wait for the peer. */
    for (NbdExport *e = nbd_export_next(NULL); e; e = nbd_export_next(e)) {
        GByteArray *entry = g_byte_array_new();
        uint8_t len[4];

        be32_store(len, (uint32_t)strlen(e->name));
        g_byte_array_append(entry, len, 4);
        g_byte_array_append(entry, (const uint8_t *)e->name, (guint)strlen(e->name));
        if (e->description) {
            g_byte_array_append(entry, (const uint8_t *)e->description,
                                (guint)strlen(e->description));
        }
        g_ptr_array_add(entries, entry);
    }
    for (unsigned i = 0; i < entries->len; i++) {
        const GByteArray *entry = entries->pdata[i];

        if (!co_reply(c, NBD_OPT_LIST, NBD_REP_SERVER, entry->data, entry->len)) {
            return NEXT_CLOSE;
        }
    }
    return co_ack(c, NBD_OPT_LIST);
}

static char *meta_name(const NbdExport *e, unsigned id)
{
    return id == META_ALLOCATION ? g_strdup(NBD_META_ALLOCATION)
           : id == META_DEPTH    ? g_strdup(NBD_META_DEPTH)
                                 : g_strconcat(NBD_META_BITMAP, e->bitmaps[id - META_BITMAP]->name,
                                               NULL);
}

/* Does QUERY mean the context NAME?  When listing, "base:" means all that begin so. */
static bool meta_matches(const char *query, const char *name, bool listing)
{
    size_t len = strlen(query);

    return g_str_equal(query, name) ||
           (listing && len && query[len - 1] == ':' && g_str_has_prefix(name, query));
}

static Next co_meta(NbdClient *c, uint32_t option, const uint8_t *data, uint32_t len)
{
    bool listing = option == NBD_OPT_LIST_META_CONTEXT, chosen[META_MAX] = { false };
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    NbdMeta meta;
    NbdExport *e;

    if (!listing && !c->structured) {
        return co_refuse(c, option, NBD_REP_ERR_INVALID,
                         "structured replies are to be negotiated first");
    }
    if (!nbd_meta_parse(data, len, &meta)) {
        return co_refuse(c, option, NBD_REP_ERR_INVALID, "malformed request");
    }
    if (!listing) {
        c->meta_export = NULL;
        memset(c->meta, 0, sizeof(c->meta));
        c->meta_count = 0;
    }
    e = nbd_export_by_name(meta.name);
    if (!e) {
        nbd_meta_clear(&meta);
        return co_refuse(c, option, NBD_REP_ERR_UNKNOWN, "export is not present");
    }
    for (unsigned id = 0; id < META_BITMAP + e->bitmap_count; id++) {
        char *name = meta_name(e, id);

        chosen[id] = listing && !meta.count;
        for (unsigned i = 0; i < meta.count && !chosen[id]; i++) {
            chosen[id] = meta_matches(meta.queries[i], name, listing);
        }
        chosen[id] = chosen[id] && (id != META_DEPTH || e->depth);
        g_ptr_array_add(names, name);
    }
    nbd_meta_clear(&meta);
    if (!listing) {
        c->meta_export = e;
        for (unsigned id = 0; id < META_MAX; id++) {
            c->meta[id] = chosen[id];
            c->meta_count += chosen[id];
        }
    }
    for (unsigned id = 0; id < names->len; id++) {
        g_autofree char *reply = g_strconcat("    ", names->pdata[id], NULL);

        be32_store(reply, listing ? 0 : id);
        if (chosen[id] && !co_reply(c, option, NBD_REP_META_CONTEXT, reply,
                                    4 + strlen(names->pdata[id]))) {
            return NEXT_CLOSE;
        }
    }
    return co_ack(c, option);
}

/* ---- TLS ---- */

/* Whom the certificate names, by the rules as they are now. */
static bool may_come(NbdClient *c, GError **error)
{
    g_autofree char *who = c->authz ? co_stream_peer_name(c->stream, error) : NULL;

    return !c->authz || (who && authz_allows(c->authz, who, error));
}

static Next co_starttls(NbdClient *c, uint32_t len)
{
    g_autoptr(GError) error = NULL;

    if (len) {
        return co_refuse(c, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "the option takes no data");
    }
    if (!c->creds) {
        return co_refuse(c, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "TLS not configured");
    }
    if (co_stream_has_tls(c->stream)) {
        return co_refuse(c, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS is already on");
    }
    if (co_ack(c, NBD_OPT_STARTTLS) != NEXT_OPTION ||
        !co_stream_start_tls(c->stream, c->creds, NULL, &error) || !may_come(c, &error)) {
        return NEXT_CLOSE;
    }
    c->structured = false;             /* N1; no context can have been set without TLS */
    return NEXT_OPTION;
}

/* ---- the loop ---- */

static Next co_option(NbdClient *c, uint32_t option, const uint8_t *data, uint32_t len)
{
    if (c->creds && !co_stream_has_tls(c->stream) && option != NBD_OPT_STARTTLS &&
        option != NBD_OPT_ABORT) {
        return option == NBD_OPT_EXPORT_NAME
                   ? NEXT_CLOSE
                   : co_refuse(c, option, NBD_REP_ERR_TLS_REQD, "TLS is required; use STARTTLS");
    }
    switch (option) {
    case NBD_OPT_EXPORT_NAME:
        return co_export_name(c, data, len);
    case NBD_OPT_ABORT:
        co_reply(c, option, NBD_REP_ACK, NULL, 0);
        return NEXT_CLOSE;
    case NBD_OPT_LIST:
        return len ? co_refuse(c, option, NBD_REP_ERR_INVALID, "the option takes no data")
                   : co_list(c);
    case NBD_OPT_STARTTLS:
        return co_starttls(c, len);
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        return co_go(c, option, data, len);
    case NBD_OPT_STRUCTURED_REPLY:
        if (len) {
            return co_refuse(c, option, NBD_REP_ERR_INVALID, "the option takes no data");
        }
        if (c->structured) {
            return co_refuse(c, option, NBD_REP_ERR_INVALID,
                             "structured replies are already negotiated");
        }
        c->structured = true;
        return co_ack(c, option);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        return co_meta(c, option, data, len);
    default:
        return co_refuse(c, option, NBD_REP_ERR_UNSUP, "unsupported option");
    }
}

static Next co_next_option(NbdClient *c)
{
    uint8_t head[NBD_OPTION_HEADER];
    g_autofree uint8_t *data = NULL;
    uint32_t option, len;

    if (co_stream_read(c->stream, head, sizeof(head)) < 0 ||
        !nbd_option_parse(head, &option, &len)) {
        return NEXT_CLOSE;
    }
    if (len > NBD_OPTION_MAX) {
        if (option == NBD_OPT_EXPORT_NAME || len > NBD_PAYLOAD_MAX ||
            co_stream_skip(c->stream, len) < 0) {
            return NEXT_CLOSE;
        }
        return co_refuse(c, option, NBD_REP_ERR_TOO_BIG, "the option's data is too long");
    }
    data = g_malloc(len + 1);
    if (co_stream_read(c->stream, data, len) < 0) {
        return NEXT_CLOSE;
    }
    return co_option(c, option, data, len);
}

bool co_nbd_negotiate(NbdClient *c)
{
    uint8_t hello[18], flags[4];
    Next next = NEXT_OPTION;

    be64_store(hello, NBD_MAGIC_INIT);
    be64_store(hello + 8, NBD_MAGIC_OPTION);
    be16_store(hello + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (co_stream_write_buf(c->stream, hello, sizeof(hello)) < 0 ||
        co_stream_read(c->stream, flags, sizeof(flags)) < 0 ||
        (be32_load(flags) & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES))) {
        return false;
    }
    c->no_zeroes = be32_load(flags) & NBD_FLAG_NO_ZEROES;
    while (next == NEXT_OPTION) {
        next = co_next_option(c);
        co_pause();                    /* or a fast talker would stop the clock */
    }
    return next == NEXT_SERVE;
}
