/* SPDX-License-Identifier: MIT */
/*
 * The node types http, https, ftp and ftps: files on servers, read only.
 *
 * What is read brings what follows along (readahead), and the last few such pieces are kept, for
 * guests read in small sequential steps.  A piece is fetched by a worker; who needs it meanwhile
 * waits for it instead of asking twice.  The file is taken to be immutable; one that changes its
 * size gives errors.
 *
 * Locking: the node's event loop; workers see only their own fetch.
 */
#include "block/curl.h"
#include "block/types.h"

#include "base/log.h"
#include "base/module.h"
#include "base/secret_store.h"
#include "base/worker_pool.h"

#define READAHEAD_DEFAULT (256u << 10)
#define READAHEAD_MAX (64u << 20)
#define TIMEOUT_DEFAULT_S 5
#define TIMEOUT_MAX_S 10000            /* QEMU's, too */
#define PIECES 8

typedef struct Piece {
    uint64_t offset, used;             /* used: a clock, for choosing the oldest */
    size_t len;
    uint8_t *data;
    unsigned pins;                     /* readers that copy from it, or wait for it */
    bool loading;
    int ret;
    CoQueue loaded;
} Piece;

typedef struct CurlNode {
    const CurlModule *module;
    void *file;
    uint64_t readahead, clock;
    Piece pieces[PIECES];
    unsigned fetching;
    CoQueue room;                      /* waits for a fetch to end, or for a piece to be unpinned */
    bool complained;
} CurlNode;

/* ---- fetching ---- */

typedef struct Fetch {
    CurlNode *n;
    uint64_t offset;
    void *buf;
    size_t len;
    char *error;
} Fetch;

static int fetch_work(void *opaque)
{
    Fetch *f = opaque;

    return f->n->module->read(f->n->file, f->offset, f->buf, f->len, &f->error) ? 0 : -EIO;
}

static int co_fetch(BlockNode *node, uint64_t offset, void *buf, size_t len)
{
    CurlNode *n = node->state;
    Fetch f = { n, offset, buf, len, NULL };
    int ret;

    while (n->fetching >= CURL_PARALLEL) {
        co_queue_wait(&n->room, NULL);
    }
    n->fetching++;
    ret = co_worker_run(worker_pool_shared(), fetch_work, &f);
    n->fetching--;
    co_queue_wake_all(&n->room);
    if (ret < 0 && !n->complained) {
        n->complained = true;
        warn_report("Cannot read from %s: %s", node->filename, f.error);
    }
    g_free(f.error);
    return ret;
}

/* ---- pieces ---- */

static Piece *find_piece(CurlNode *n, uint64_t offset)
{
    for (unsigned i = 0; i < PIECES; i++) {
        Piece *p = &n->pieces[i];

        if (p->len && offset >= p->offset && offset - p->offset < p->len) {
            return p;
        }
    }
    return NULL;
}

/* The one that nobody uses and that was used longest ago; NULL when all are in use. */
static Piece *oldest_piece(CurlNode *n)
{
    Piece *best = NULL;

    for (unsigned i = 0; i < PIECES; i++) {
        Piece *p = &n->pieces[i];

        if (!p->pins && (!best || p->used < best->used)) {
            best = p;
        }
    }
    return best;
}

/* Begins to load what is at OFFSET; the caller has a pin. */
static void co_load(BlockNode *node, Piece *p, uint64_t offset)
{
    CurlNode *n = node->state;

    p->offset = offset;
    p->len = MIN(n->readahead, node->length - offset);
    p->loading = true;
    g_free(p->data);
    p->data = g_try_malloc(p->len);
    p->ret = p->data ? co_fetch(node, offset, p->data, p->len) : -ENOMEM;
    if (p->ret < 0) {
        p->len = 0;                    /* found by nobody: the next reader tries again */
    }
    p->loading = false;
    co_queue_wake_all(&p->loaded);
}

/* Up to SPAN's end or the piece's: how many bytes, or -errno. */
static ssize_t co_read_piece(BlockNode *node, uint64_t offset, IoSpan span)
{
    CurlNode *n = node->state;
    Piece *p = find_piece(n, offset);
    size_t at, len = 0;
    int ret;

    while (!p && !(p = oldest_piece(n))) {
        co_queue_wait(&n->room, NULL);
        p = find_piece(n, offset);
    }
    p->pins++;
    if (!p->len || offset < p->offset || offset - p->offset >= p->len) {
        co_load(node, p, offset);
    }
    while (p->loading) {
        co_queue_wait(&p->loaded, NULL);
    }
    ret = p->ret;
    if (ret == 0) {
        at = offset - p->offset;
        len = MIN(span.len, p->len - at);
        io_span_from_buf(io_span_sub(span, 0, len), p->data + at);
        p->used = ++n->clock;
    }
    if (--p->pins == 0) {
        co_queue_wake_all(&n->room);
    }
    return ret < 0 ? ret : (ssize_t)len;
}

static int co_read_directly(BlockNode *node, uint64_t offset, IoSpan span)
{
    void *flat = io_span_flat(span);
    g_autofree void *bounce = flat ? NULL : g_try_malloc(span.len);
    int ret;

    if (!flat && !bounce) {
        return -ENOMEM;
    }
    ret = co_fetch(node, offset, flat ? flat : bounce, span.len);
    if (ret == 0 && !flat) {
        io_span_from_buf(span, bounce);
    }
    return ret;
}

static int curl_co_preadv(BlockNode *node, uint64_t offset, IoSpan span)
{
    CurlNode *n = node->state;

    if (span.len >= n->readahead) {
        return co_read_directly(node, offset, span);
    }
    while (span.len) {
        ssize_t done = co_read_piece(node, offset, span);

        if (done < 0) {
            return (int)done;
        }
        offset += (uint64_t)done;
        span = io_span_sub(span, (size_t)done, span.len - (size_t)done);
    }
    return 0;
}

static int curl_co_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status)
{
    status->flags = BLK_STATUS_DATA | BLK_STATUS_OFFSET_VALID | BLK_STATUS_ALLOCATED;
    status->bytes = bytes;
    status->map = offset;
    status->file = node;
    return 0;
}

/* ---- opening ---- */

typedef struct Open {
    const CurlModule *module;
    CurlConf conf;
    uint64_t size;
    void *file;
    char *error;
} Open;

static int open_work(void *opaque)
{
    Open *o = opaque;

    o->file = o->module->open(&o->conf, &o->size, &o->error);
    return o->file ? 0 : -EIO;
}

static bool curl_parse_filename(const char *filename, NodeOpts *opts, GError **error)
{
    node_opts_set(opts, "url", filename);
    return true;
}

static bool take_numbers(CurlNode *n, NodeOpts *opts, uint64_t *timeout, GError **error)
{
    n->readahead = READAHEAD_DEFAULT;
    *timeout = TIMEOUT_DEFAULT_S;
    if (!node_opts_take_size(opts, "readahead", &n->readahead, error) ||
        !node_opts_take_uint(opts, "timeout", timeout, error)) {
        return false;
    }
    if (n->readahead == 0 || n->readahead % 512 || n->readahead > READAHEAD_MAX) {
        return error_set(error, "HTTP_READAHEAD_SIZE %" PRIu64 " is not a multiple of 512 from "
                         "512 to 64 MiB (readahead=)", n->readahead);
    }
    if (*timeout > TIMEOUT_MAX_S) {
        return error_set(error, "timeout parameter is too large or negative: at most %d seconds",
                         TIMEOUT_MAX_S);
    }
    return true;
}

static bool check_url(const BlockNode *node, const char *url, GError **error)
{
    size_t len = strlen(node->type->name);

    if (!url) {
        return error_set(error, "curl block driver requires an 'url' option");
    }
    if (g_ascii_strncasecmp(url, node->type->name, len) != 0 ||
        !g_str_has_prefix(url + len, "://")) {
        return error_set(error, "http curl driver cannot handle the URL '%s' (does not start with "
                         "'%s://')", url, node->type->name);
    }
    return true;
}

/* The text of the secret that KEY names; NULL when there is no such option. */
static bool take_secret(NodeOpts *opts, const char *key, char **text, GError **error)
{
    g_autofree char *id = node_opts_take(opts, key);

    *text = id ? secret_store_get_text(id, error) : NULL;
    return !id || *text;
}

/* cookie=, or cookie-secret=. */
static bool take_cookie(NodeOpts *opts, char **cookie, GError **error)
{
    g_autofree char *plain = node_opts_take(opts, "cookie");

    if (plain && node_opts_get(opts, "cookie-secret")) {
        return error_set(error, "curl driver cannot handle both cookie and cookie secret");
    }
    if (!take_secret(opts, "cookie-secret", cookie, error)) {
        return false;
    }
    if (plain) {
        *cookie = g_steal_pointer(&plain);
    }
    return true;
}

static bool curl_open(BlockNode *node, NodeOpts *opts, GError **error)
{
    CurlNode *n = node->state;
    g_autofree char *url = node_opts_take(opts, "url");
    g_autofree char *cookie = NULL, *username = node_opts_take(opts, "username");
    g_autofree char *proxy_username = node_opts_take(opts, "proxy-username");
    g_autofree char *password = NULL, *proxy_password = NULL;
    bool is_http = g_str_has_prefix(node->type->name, "http"), verify = true;
    Open open = { 0 };
    uint64_t timeout;

    g_free(node_opts_take(opts, "filename"));
    if ((is_http && !take_cookie(opts, &cookie, error)) ||
        !take_secret(opts, "password-secret", &password, error) ||
        !take_secret(opts, "proxy-password-secret", &proxy_password, error)) {
        return false;
    }
    if (!check_url(node, url, error) || !take_numbers(n, opts, &timeout, error) ||
        (g_str_has_suffix(node->type->name, "s") &&
         !node_opts_take_bool(opts, "sslverify", &verify, error))) {
        return false;
    }
    if (!node->read_only) {
        if (!(node->flags & NODE_OPEN_AUTO_RO)) {
            return error_set(error, "curl block device does not support writes; use "
                             "read-only=on");
        }
        node->read_only = true;
    }
    n->module = module_load("block-curl", error);
    if (!n->module) {
        return false;
    }
    open.module = n->module;
    open.conf = (CurlConf){ .url = url, .cookie = cookie, .username = username,
                            .password = password, .proxy_username = proxy_username,
                            .proxy_password = proxy_password, .verify = verify,
                            .timeout_s = (long)timeout };
    if (co_worker_run(worker_pool_shared(), open_work, &open) < 0) {
        error_set(error, "CURL: Error opening file '%s': %s", url, open.error);
        g_free(open.error);
        return false;
    }
    n->file = open.file;
    node->length = open.size;
    node->limits.max_transfer = 8u << 20;
    co_queue_init(&n->room);
    for (unsigned i = 0; i < PIECES; i++) {
        co_queue_init(&n->pieces[i].loaded);
    }
    g_free(node->filename);
    node->filename = g_steal_pointer(&url);
    return true;
}

static void curl_close(BlockNode *node)
{
    CurlNode *n = node->state;

    for (unsigned i = 0; i < PIECES; i++) {
        g_free(n->pieces[i].data);
    }
    n->module->close(n->file);
}

#define CURL_TYPE(scheme)                                                                \
    const NodeType node_type_##scheme = {                                                \
        .name = #scheme, .prefixes = #scheme, .state_size = sizeof(CurlNode),            \
        .is_protocol = true, .open = curl_open, .close = curl_close,                     \
        .parse_filename = curl_parse_filename, .co_preadv = curl_co_preadv,              \
        .co_status = curl_co_status,                                                     \
    }

CURL_TYPE(http);
CURL_TYPE(https);
CURL_TYPE(ftp);
CURL_TYPE(ftps);
