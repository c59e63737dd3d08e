/* SPDX-License-Identifier: MIT */
/*
 * The NBD client's half of the handshake.
 *
 * Newest first, falling back where the server says ERR_UNSUP: GO to EXPORT_NAME, structured replies
 * to simple ones; servers of the old style (size and flags at once) work too.  With credentials a
 * server without TLS is refused, as is anything it says before.
 *
 * Locking: none, one coroutine.
 */
#include "block/nbd_link.h"

#include "base/bits.h"
#include "base/coroutine.h"
#include "base/error.h"

/* Enough for what servers say; more is an attack. */
#define REPLIES_MAX 1024u
#define REPLY_BYTES_MAX (2u * NBD_NAME_MAX + 64u)
#define OLD_FLAGS_BYTES 4
#define ZEROES 124
/* A server that does not finish the handshake is as good as none. */
#define HANDSHAKE_MS 30000

void nbd_target_clear(NbdTarget *t)
{
    socket_address_free(t->address);
    g_free(t->export_name);
    g_free(t->hostname);
    g_free(t->context);
    tls_creds_unref(t->creds);
    *t = (NbdTarget){ 0 };
}

NbdLink *nbd_link_ref(NbdLink *link)
{
    link->refs++;
    return link;
}

void nbd_link_unref(NbdLink *link)
{
    if (link && --link->refs == 0) {
        co_stream_free(link->stream);
        nbd_info_clear(&link->info);
        g_free(link);
    }
}

void nbd_listed_free(NbdListed *listed)
{
    nbd_info_clear(&listed->info);
    g_ptr_array_unref(listed->contexts);
    g_free(listed);
}

/* ---- messages ---- */

static bool io_failed(int ret, GError **error)
{
    return error_set_errno(error, ret == -ENODATA ? ECONNRESET : -ret,
                           "The NBD server left during the handshake");
}

static bool co_get(NbdLink *link, void *buf, size_t len, GError **error)
{
    int ret = co_stream_read(link->stream, buf, len);

    return ret == 0 || io_failed(ret, error);
}

static bool co_put(NbdLink *link, const void *buf, size_t len, GError **error)
{
    int ret = co_stream_write_buf(link->stream, buf, len);

    return ret == 0 || io_failed(ret, error);
}

static bool co_put_option(NbdLink *link, uint32_t option, const GByteArray *data, GError **error)
{
    uint8_t head[NBD_OPTION_HEADER];
    struct iovec iov[2] = { { head, sizeof(head) },
                            { data ? data->data : NULL, data ? data->len : 0 } };
    int ret;

    nbd_option_put(head, option, data ? data->len : 0);
    ret = co_stream_write(link->stream, iov, 2);
    return ret == 0 || io_failed(ret, error);
}

typedef struct Reply {
    uint32_t type, len;
    uint8_t data[REPLY_BYTES_MAX];
} Reply;

static bool co_get_reply(NbdLink *link, uint32_t option, Reply *r, GError **error)
{
    uint8_t head[NBD_OPTION_REPLY_HEADER];
    uint32_t to;

    if (!co_get(link, head, sizeof(head), error)) {
        return false;
    }
    if (!nbd_option_reply_parse(head, &to, &r->type, &r->len) || to != option) {
        return error_set(error, "The NBD server's reply to option %u is malformed", option);
    }
    if (r->len > REPLY_BYTES_MAX) {
        return error_set(error, "The NBD server's reply to option %u is too long: %u bytes",
                         option, r->len);
    }
    return co_get(link, r->data, r->len, error);
}

static bool refused(const char *what, const Reply *r, GError **error)
{
    uint32_t n = MIN(r->len, NBD_NAME_MAX);

    if (n && g_utf8_validate_len((const char *)r->data, n, NULL)) {
        return error_set(error, "%s: %s (%.*s)", what, nbd_reply_text(r->type), (int)n,
                         (const char *)r->data);
    }
    return error_set(error, "%s: %s", what, nbd_reply_text(r->type));
}

static bool unexpected(const Reply *r, uint32_t option, GError **error)
{
    return error_set(error, "The NBD server answers option %u with an unexpected reply %u",
                     option, r->type);
}

static void add_text(GByteArray *to, const char *text)
{
    uint8_t len[4];

    be32_store(len, (uint32_t)strlen(text));
    g_byte_array_append(to, len, 4);
    g_byte_array_append(to, (const uint8_t *)text, (guint)strlen(text));
}

/* ---- options ---- */

/* An option that is answered by ACK or an error; *OK: which. */
static bool co_simple_option(NbdLink *link, uint32_t option, bool *ok, Reply *r, GError **error)
{
    if (!co_put_option(link, option, NULL, error) || !co_get_reply(link, option, r, error)) {
        return false;
    }
    *ok = r->type == NBD_REP_ACK;
    return *ok || (r->type & NBD_REP_ERROR) || unexpected(r, option, error);
}

static bool co_starttls(NbdLink *link, const NbdTarget *t, GError **error)
{
    g_autofree Reply *r = g_new(Reply, 1);
    const char *host = t->hostname ? t->hostname
                       : t->address && t->address->kind == SOCKET_INET ? t->address->host : NULL;
    bool ok;

    if (!co_simple_option(link, NBD_OPT_STARTTLS, &ok, r, error)) {
        return false;
    }
    if (!ok) {
        return refused("The NBD server does not do TLS", r, error);
    }
    return co_stream_start_tls(link->stream, t->creds, host, error);
}

static bool co_structured(NbdLink *link, GError **error)
{
    g_autofree Reply *r = g_new(Reply, 1);

    return co_simple_option(link, NBD_OPT_STRUCTURED_REPLY, &link->structured, r, error);
}

/* Both META_CONTEXT options; QUERY NULL asks for all.  FOUND gets names, or ID that of QUERY. */
static bool co_meta(NbdLink *link, uint32_t option, const char *export, const char *query,
                    GPtrArray *found, GError **error)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    g_autofree Reply *r = g_new(Reply, 1);
    uint8_t count[4];

    add_text(data, export);
    be32_store(count, query ? 1 : 0);
    g_byte_array_append(data, count, 4);
    if (query) {
        add_text(data, query);
    }
    if (!co_put_option(link, option, data, error)) {
        return false;
    }
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        g_autofree char *name = NULL;
        uint32_t id;

        if (!co_get_reply(link, option, r, error)) {
            return false;
        }
        if (r->type == NBD_REP_ACK || (r->type & NBD_REP_ERROR)) {
            return true;               /* an error: the server knows no contexts */
        }
        if (r->type != NBD_REP_META_CONTEXT || !nbd_meta_reply_parse(r->data, r->len, &id, &name)) {
            return unexpected(r, option, error);
        }
        if (found) {
            g_ptr_array_add(found, g_steal_pointer(&name));
        } else if (g_strcmp0(name, query) != 0 || link->has_context) {
            return error_set(error, "The NBD server answers with the context '%s', which is not "
                             "the one asked for", name);
        } else {
            link->has_context = true;
            link->context_id = id;
        }
    }
    return error_set(error, "The NBD server names contexts without end");
}

/* GO or INFO.  *UNSUP: the server does not know it. */
static bool co_go(NbdLink *link, uint32_t option, const char *export, NbdInfo *info, bool *unsup,
                  GError **error)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    g_autofree Reply *r = g_new(Reply, 1);
    bool has_export = false;
    uint8_t wants[6];

    *unsup = false;
    add_text(data, export);
    be16_store(wants, option == NBD_OPT_GO ? 1 : 2);
    be16_store(wants + 2, NBD_INFO_BLOCK_SIZE);
    be16_store(wants + 4, NBD_INFO_DESCRIPTION);
    g_byte_array_append(data, wants, option == NBD_OPT_GO ? 4 : 6);
    if (!co_put_option(link, option, data, error)) {
        return false;
    }
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        if (!co_get_reply(link, option, r, error)) {
            return false;
        }
        if (r->type == NBD_REP_ACK) {
            return has_export || error_set(error, "The NBD server did not tell the size of "
                                           "export '%s'", export);
        }
        if (r->type == NBD_REP_ERR_UNSUP) {
            *unsup = true;
            return true;
        }
        if (r->type & NBD_REP_ERROR) {
            g_autofree char *what = g_strdup_printf("Requested export '%s' not available", export);

            return refused(what, r, error);
        }
        if (r->type != NBD_REP_INFO || !nbd_info_parse(r->data, r->len, info)) {
            return error_set(error, "The NBD server's description of export '%s' is malformed",
                             export);
        }
        has_export |= be16_load(r->data) == NBD_INFO_EXPORT;
    }
    return error_set(error, "The NBD server describes export '%s' without end", export);
}

static bool co_export_name(NbdLink *link, const char *export, bool no_zeroes, GError **error)
{
    GByteArray data = { (uint8_t *)(uintptr_t)export, (guint)strlen(export) };
    uint8_t reply[2 + 10];
    int ret;

    if (!co_put_option(link, NBD_OPT_EXPORT_NAME, &data, error)) {
        return false;
    }
    ret = co_stream_read(link->stream, reply + 2, 10);
    if (ret == 0 && !no_zeroes) {
        ret = co_stream_skip(link->stream, ZEROES);
    }
    if (ret < 0) {
        return error_set(error, "The NBD server has no export '%s'", export);
    }
    be16_store(reply, NBD_INFO_EXPORT);
    reply[11] |= NBD_FLAG_HAS_FLAGS;   /* some servers that know no GO do not say so */
    return nbd_info_parse(reply, sizeof(reply), &link->info) ||
           error_set(error, "The NBD server claims an impossible size for export '%s'", export);
}

/* ---- the handshake ---- */

static bool co_oldstyle(NbdLink *link, const NbdTarget *t, GError **error)
{
    uint8_t rest[8 + OLD_FLAGS_BYTES];
    uint8_t info[12];

    if (t->creds) {
        return error_set(error, "The NBD server does not support STARTTLS: it is of the old "
                         "style");
    }
    if (t->export_name && *t->export_name) {
        return error_set(error, "The NBD server does not support export names: it is of the old "
                         "style");
    }
    if (!co_get(link, rest, sizeof(rest), error)) {
        return false;
    }
    if (co_stream_skip(link->stream, ZEROES) < 0) {
        return io_failed(-ECONNRESET, error);
    }
    be16_store(info, NBD_INFO_EXPORT);
    memcpy(info + 2, rest, 8);
    be16_store(info + 10, be16_load(rest + 10) | NBD_FLAG_HAS_FLAGS);
    return nbd_info_parse(info, sizeof(info), &link->info) ||
           error_set(error, "The NBD server claims an impossible size");
}

typedef enum Style { STYLE_BAD, STYLE_OLD, STYLE_NEW, STYLE_FIXED } Style;

/* Up to where options may be sent; TLS is on when the target has credentials. */
static Style co_hello(NbdLink *link, const NbdTarget *t, bool *no_zeroes, GError **error)
{
    uint8_t hello[16], flags[4];
    uint16_t theirs;

    if (!co_get(link, hello, sizeof(hello), error)) {
        return STYLE_BAD;
    }
    if (be64_load(hello) != NBD_MAGIC_INIT) {
        error_set(error, "The server does not speak NBD: bad magic 0x%016" PRIx64,
                  be64_load(hello));
        return STYLE_BAD;
    }
    if (be64_load(hello + 8) == NBD_MAGIC_OLDSTYLE) {
        return STYLE_OLD;
    }
    if (be64_load(hello + 8) != NBD_MAGIC_OPTION) {
        error_set(error, "The NBD server's protocol is unknown: bad magic 0x%016" PRIx64,
                  be64_load(hello + 8));
        return STYLE_BAD;
    }
    if (!co_get(link, flags, 2, error)) {
        return STYLE_BAD;
    }
    theirs = be16_load(flags) & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    *no_zeroes = theirs & NBD_FLAG_NO_ZEROES;
    be32_store(flags, theirs);
    if (!co_put(link, flags, 4, error)) {
        return STYLE_BAD;
    }
    if (!(theirs & NBD_FLAG_FIXED_NEWSTYLE)) {
        if (t->creds) {
            error_set(error, "The NBD server does not support STARTTLS");
        }
        return t->creds ? STYLE_BAD : STYLE_NEW;
    }
    return !t->creds || co_starttls(link, t, error) ? STYLE_FIXED : STYLE_BAD;
}

static bool co_handshake(NbdLink *link, const NbdTarget *t, GError **error)
{
    const char *export = t->export_name ? t->export_name : "";
    bool no_zeroes = false, unsup = true;
    Style style = co_hello(link, t, &no_zeroes, error);

    if (style == STYLE_BAD || style == STYLE_OLD) {
        return style == STYLE_OLD && co_oldstyle(link, t, error);
    }
    if (style == STYLE_FIXED) {
        if (!co_structured(link, error)) {
            return false;
        }
        if (link->structured &&
            !co_meta(link, NBD_OPT_SET_META_CONTEXT, export,
                     t->context ? t->context : NBD_META_ALLOCATION, NULL, error)) {
            return false;
        }
        if (!co_go(link, NBD_OPT_GO, export, &link->info, &unsup, error)) {
            return false;
        }
    }
    return !unsup || co_export_name(link, export, no_zeroes, error);
}

static void too_slow(void *opaque)
{
    co_stream_shutdown(((NbdLink *)opaque)->stream);
}

static NbdLink *link_new(int fd)
{
    NbdLink *link = g_new0(NbdLink, 1);

    link->refs = 1;
    link->stream = co_stream_new(fd);
    return link;
}

static LoopDelay *time_limit(NbdLink *link)
{
    return loop_delay_new(coroutine_home(coroutine_self()), HANDSHAKE_MS, too_slow, link);
}

NbdLink *co_nbd_link_open_fd(const NbdTarget *t, int fd, GError **error)
{
    NbdLink *link = link_new(fd);
    g_autoptr(LoopDelay) limit = time_limit(link);

    if (!co_handshake(link, t, error)) {
        g_clear_pointer(&limit, loop_delay_free);
        nbd_link_unref(link);
        return NULL;
    }
    return link;
}

NbdLink *co_nbd_link_open(const NbdTarget *t, GError **error)
{
    int fd = co_socket_connect(t->address, error);

    return fd < 0 ? NULL : co_nbd_link_open_fd(t, fd, error);
}

/* ---- listing ---- */

static bool co_list_names(NbdLink *link, GPtrArray *all, GError **error)
{
    g_autofree Reply *r = g_new(Reply, 1);

    if (!co_put_option(link, NBD_OPT_LIST, NULL, error)) {
        return false;
    }
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        NbdListed *listed;
        char *name, *description;

        if (!co_get_reply(link, NBD_OPT_LIST, r, error)) {
            return false;
        }
        if (r->type == NBD_REP_ACK) {
            return true;
        }
        if (r->type & NBD_REP_ERROR) {
            return refused("Cannot list the exports", r, error);
        }
        if (r->type != NBD_REP_SERVER ||
            !nbd_server_reply_parse(r->data, r->len, &name, &description)) {
            return unexpected(r, NBD_OPT_LIST, error);
        }
        listed = g_new0(NbdListed, 1);
        listed->info.name = name;
        listed->info.description = description;
        listed->contexts = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(all, listed);
    }
    return error_set(error, "The NBD server lists exports without end");
}

GPtrArray *co_nbd_list(const NbdTarget *t, GError **error)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)nbd_listed_free);
    g_autoptr(LoopDelay) limit = NULL;
    NbdLink *link;
    bool no_zeroes = false, unsup, ok;
    int fd = co_socket_connect(t->address, error);

    if (fd < 0) {
        return NULL;
    }
    link = link_new(fd);
    limit = time_limit(link);
    switch (co_hello(link, t, &no_zeroes, error)) {
    case STYLE_BAD:
        ok = false;
        break;
    case STYLE_FIXED:
        ok = co_structured(link, error) && co_list_names(link, all, error);
        break;
    default:
        ok = error_set(error, "The NBD server cannot list its exports: it is of an older style");
    }
    for (unsigned i = 0; ok && i < all->len; i++) {
        NbdListed *l = all->pdata[i];
        g_autofree char *name = g_strdup(l->info.name);

        ok = co_go(link, NBD_OPT_INFO, name, &l->info, &unsup, error) &&
             (!link->structured ||
              co_meta(link, NBD_OPT_LIST_META_CONTEXT, name, NULL, l->contexts, error));
    }
    if (ok) {
        co_put_option(link, NBD_OPT_ABORT, NULL, NULL);
    }
    g_clear_pointer(&limit, loop_delay_free);
    nbd_link_unref(link);
    return ok ? g_steal_pointer(&all) : NULL;
}
