/* SPDX-License-Identifier: MIT */
/*
 * Addresses of NBD exports; see the header.
 */
#include "block/nbd_uri.h"

#include "base/error.h"
#include "base/parse.h"
#include "block/nbd_proto.h"

/* ---- options ---- */

static bool take_required(NodeOpts *opts, const char *kind, const char *key, char **value,
                          GError **error)
{
    *value = node_opts_take(opts, key);
    return *value || error_set(error, "Parameter '%s' is missing: %s address needs it", key, kind);
}

/* Absent, NO stays false. */
static bool take_negated(NodeOpts *opts, const char *key, bool *no, bool *given, GError **error)
{
    bool on = true;

    *given = node_opts_get(opts, key) != NULL;
    if (!node_opts_take_bool(opts, key, &on, error)) {
        return false;
    }
    *no = !on;
    return true;
}

static bool take_inet(SocketAddress *a, NodeOpts *opts, GError **error)
{
    bool has4, has6;
    uint64_t to = 0;

    if (!take_required(opts, "an inet", "host", &a->host, error) ||
        !take_required(opts, "an inet", "port", &a->port, error) ||
        !node_opts_take_bool(opts, "numeric", &a->numeric, error) ||
        !node_opts_take_bool(opts, "keep-alive", &a->keep_alive, error) ||
        !node_opts_take_bool(opts, "mptcp", &a->mptcp, error) ||
        !take_negated(opts, "ipv4", &a->no_ipv4, &has4, error) ||
        !take_negated(opts, "ipv6", &a->no_ipv6, &has6, error) ||
        !node_opts_take_uint(opts, "to", &to, error)) {
        return false;
    }
    if (to > UINT16_MAX) {
        return error_set(error, "Parameter 'to' is a port: at most 65535");
    }
    a->to = (uint16_t)to;
    /* Naming one as wanted rules out the other. */
    if (has4 && !a->no_ipv4 && !has6) {
        a->no_ipv6 = true;
    } else if (has6 && !a->no_ipv6 && !has4) {
        a->no_ipv4 = true;
    }
    return true;
}

static bool take_unix(SocketAddress *a, NodeOpts *opts, GError **error)
{
    bool tight = true;

    if (!take_required(opts, "a unix", "path", &a->path, error) ||
        !node_opts_take_bool(opts, "abstract", &a->abstract, error) ||
        !node_opts_take_bool(opts, "tight", &tight, error)) {
        return false;
    }
    a->loose = !tight;
    return true;
}

static bool take_members(SocketAddress *a, const char *type, NodeOpts *opts, GError **error)
{
    if (g_str_equal(type, "inet")) {
        a->kind = SOCKET_INET;
        return take_inet(a, opts, error);
    }
    if (g_str_equal(type, "unix")) {
        a->kind = SOCKET_UNIX;
        return take_unix(a, opts, error);
    }
    if (g_str_equal(type, "vsock")) {
        a->kind = SOCKET_VSOCK;
        return take_required(opts, "a vsock", "cid", &a->host, error) &&
               take_required(opts, "a vsock", "port", &a->port, error);
    }
    if (g_str_equal(type, "fd")) {
        a->kind = SOCKET_FD;
        return take_required(opts, "an fd", "str", &a->fd_text, error);
    }
    return error_set(error, "Invalid socket address type '%s': use inet, unix, vsock or fd", type);
}

SocketAddress *socket_address_take(NodeOpts *opts, GError **error)
{
    g_autoptr(SocketAddress) a = g_new0(SocketAddress, 1);
    g_autofree char *type = node_opts_take(opts, "type");
    g_autoptr(NodeOpts) data = node_opts_take_prefix(opts, "data");
    bool nested = !node_opts_empty(data);
    NodeOpts *members = nested ? data : opts;

    if (!type) {
        error_set(error, "Parameter 'type' is missing: use inet, unix, vsock or fd");
        return NULL;
    }
    if (!take_members(a, type, members, error)) {
        return NULL;
    }
    if (!node_opts_empty(members)) {
        error_set(error, "Parameter '%s' is unexpected in a socket address",
                  node_opts_any_key(members));
        return NULL;
    }
    return g_steal_pointer(&a);
}

SocketAddress *socket_address_from_json(const Json *json, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    return node_opts_add_json(opts, json, error) ? socket_address_take(opts, error) : NULL;
}

/* ---- file names ---- */

static void set_inet(NodeOpts *opts, const char *host, const char *port)
{
    node_opts_set(opts, "server.type", "inet");
    node_opts_set(opts, "server.host", host);
    node_opts_set(opts, "server.port", port);
}

static void set_unix(NodeOpts *opts, const char *path)
{
    node_opts_set(opts, "server.type", "unix");
    node_opts_set(opts, "server.path", path);
}

/* nbd:host:port[:exportname=x], nbd:unix:path[:exportname=x] */
static bool parse_old(const char *text, NodeOpts *opts, GError **error)
{
    const char *mark = strstr(text, ":exportname=");
    g_autofree char *where = mark ? g_strndup(text, (size_t)(mark - text)) : g_strdup(text);
    char *colon;

    if (mark && mark[strlen(":exportname=")]) {
        node_opts_set(opts, "export", mark + strlen(":exportname="));
    }
    if (g_str_has_prefix(where, "unix:")) {
        set_unix(opts, where + 5);
        return true;
    }
    colon = strrchr(where, ':');
    if (!colon || colon == where || !colon[1]) {
        return error_set(error, "Invalid NBD address 'nbd:%s': expected nbd:HOST:PORT, "
                         "nbd:unix:PATH or a URI", text);
    }
    *colon = '\0';
    if (where[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        set_inet(opts, where + 1, colon + 1);
    } else {
        set_inet(opts, where, colon + 1);
    }
    return true;
}

/* "socket=/path" among the parameters of a query. */
static char *query_socket(GUri *uri, GError **error)
{
    const char *query = g_uri_get_query(uri);
    g_autoptr(GHashTable) params = NULL;
    char *path;

    if (query) {
        params = g_uri_parse_params(query, -1, "&", G_URI_PARAMS_NONE, error);
        if (!params) {
            return NULL;
        }
    }
    path = params ? g_strdup(g_hash_table_lookup(params, "socket")) : NULL;
    if (!path || g_hash_table_size(params) != 1) {
        error_set(error, "An nbd+unix URI has exactly one parameter, socket=PATH");
        g_clear_pointer(&path, g_free);
    }
    return path;
}

static bool parse_uri(const char *filename, NodeOpts *opts, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(filename, G_URI_FLAGS_NONE, error);
    g_autofree char *port = NULL, *socket = NULL;
    const char *scheme, *host, *path;

    if (!uri) {
        g_prefix_error(error, "Invalid NBD URI '%s': ", filename);
        return false;
    }
    scheme = g_uri_get_scheme(uri);
    host = g_uri_get_host(uri);
    path = g_uri_get_path(uri);
    path += *path == '/';
    if (*path) {
        node_opts_set(opts, "export", path);
    }
    if (g_str_equal(scheme, "nbd+unix")) {
        socket = query_socket(uri, error);
        if (!socket) {
            return false;
        }
        if (host && *host) {
            return error_set(error, "An nbd+unix URI has no host: '%s'", filename);
        }
        set_unix(opts, socket);
        return true;
    }
    if (!host || !*host || g_uri_get_query(uri)) {
        return error_set(error, "Invalid NBD URI '%s': expected nbd://HOST[:PORT]/[EXPORT]",
                         filename);
    }
    if (g_str_equal(scheme, "nbd+vsock")) {
        node_opts_set(opts, "server.type", "vsock");
        node_opts_set(opts, "server.cid", host);
    } else {
        node_opts_set(opts, "server.type", "inet");
        node_opts_set(opts, "server.host", host);
    }
    port = g_uri_get_port(uri) > 0 ? g_strdup_printf("%d", g_uri_get_port(uri))
                                   : g_strdup(NBD_PORT);
    node_opts_set(opts, "server.port", port);
    return true;
}

bool nbd_parse_filename(const char *filename, NodeOpts *opts, GError **error)
{
    if (strstr(filename, "://")) {
        return parse_uri(filename, opts, error);
    }
    if (!g_str_has_prefix(filename, "nbd:")) {
        return parse_uri(filename, opts, error);     /* nbd+unix:///x?socket=... */
    }
    return parse_old(filename + 4, opts, error);
}

char *nbd_uri_text(const SocketAddress *a, const char *export_name)
{
    g_autofree char *name = export_name && *export_name
                                ? g_uri_escape_string(export_name, "/", TRUE) : NULL;
    const char *slash = name ? "/" : "";

    switch (a->kind) {
    case SOCKET_INET:
        return g_strdup_printf(strchr(a->host, ':') ? "nbd://[%s]:%s%s%s" : "nbd://%s:%s%s%s",
                               a->host, a->port, slash, name ? name : "");
    case SOCKET_UNIX:
        return g_strdup_printf("nbd+unix://%s%s?socket=%s", slash, name ? name : "", a->path);
    case SOCKET_VSOCK:
        return g_strdup_printf("nbd+vsock://%s:%s%s%s", a->host, a->port, slash,
                               name ? name : "");
    default:
        return g_strdup_printf("nbd:fd:%s%s%s", a->fd_text, slash, name ? name : "");
    }
}
