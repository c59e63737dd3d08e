/* SPDX-License-Identifier: MIT */
/*
 * Stream sockets; see the header.  The only state is who knows descriptors by name.
 */
#include "base/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/worker_pool.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define BUFFER_BYTES (2 << 20)

/* ---- addresses ---- */

SocketAddress *socket_address_inet(const char *host, const char *port)
{
    SocketAddress *a = g_new0(SocketAddress, 1);

    a->kind = SOCKET_INET;
    a->host = g_strdup(host);
    a->port = g_strdup(port);
    return a;
}

SocketAddress *socket_address_unix(const char *path)
{
    SocketAddress *a = g_new0(SocketAddress, 1);

    a->kind = SOCKET_UNIX;
    a->path = g_strdup(path);
    return a;
}

SocketAddress *socket_address_fd(int fd)
{
    SocketAddress *a = g_new0(SocketAddress, 1);

    a->kind = SOCKET_FD;
    a->fd_text = g_strdup_printf("%d", fd);
    return a;
}

void socket_address_free(SocketAddress *a)
{
    if (a) {
        g_free(a->host);
        g_free(a->port);
        g_free(a->path);
        g_free(a->fd_text);
        g_free(a);
    }
}

char *socket_address_text(const SocketAddress *a)
{
    switch (a->kind) {
    case SOCKET_INET:
        return g_strdup_printf(strchr(a->host, ':') ? "[%s]:%s" : "%s:%s", a->host, a->port);
    case SOCKET_UNIX:
        return g_strdup_printf("unix:%s%s", a->abstract ? "@" : "", a->path);
    case SOCKET_VSOCK:
        return g_strdup_printf("vsock:%s:%s", a->host, a->port);
    default:
        return g_strdup_printf("fd:%s", a->fd_text);
    }
}

static bool unix_sockaddr(const SocketAddress *a, struct sockaddr_un *sun, socklen_t *len,
                          GError **error)
{
    size_t n = strlen(a->path);

    *sun = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (n == 0 || n + a->abstract >= sizeof(sun->sun_path)) {
        return error_set(error, "UNIX socket path '%s' must have 1 to %zu bytes", a->path,
                         sizeof(sun->sun_path) - 1 - a->abstract);
    }
    memcpy(sun->sun_path + a->abstract, a->path, n);
    *len = a->abstract && !a->loose
               ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)
               : sizeof(*sun);
    return true;
}

static bool vsock_sockaddr(const SocketAddress *a, struct sockaddr_vm *svm, GError **error)
{
    uint64_t cid, port;

    if (!parse_uint("vsock cid", a->host, 0, UINT32_MAX, &cid, error) ||
        !parse_uint("vsock port", a->port, 0, UINT32_MAX, &port, error)) {
        return false;
    }
    *svm = (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = (unsigned)cid,
                                 .svm_port = (unsigned)port };
    return true;
}

typedef struct Resolve {
    const SocketAddress *a;
    const char *port;
    bool passive;
    struct addrinfo *list;
} Resolve;

static int resolve_work(void *opaque)
{
    Resolve *r = opaque;
    const SocketAddress *a = r->a;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = (r->passive ? AI_PASSIVE : 0) |
                    (a->numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0),
        .ai_family = a->no_ipv6 ? AF_INET : a->no_ipv4 ? AF_INET6 : AF_UNSPEC,
    };

    return getaddrinfo(*a->host ? a->host : r->passive ? NULL : "localhost", r->port, &hints,
                       &r->list);
}

static bool resolve_failed(const SocketAddress *a, int err, GError **error)
{
    return error_set(error, "Cannot resolve '%s:%s': %s", a->host, a->port,
                     err == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(err));
}

static bool inet_check(const SocketAddress *a, GError **error)
{
    if (a->no_ipv4 && a->no_ipv6) {
        return error_set(error, "Address '%s:%s' allows neither IPv4 nor IPv6", a->host, a->port);
    }
    return true;
}

/* ---- descriptors ---- */

static int stream_socket(int family, bool mptcp)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  mptcp ? IPPROTO_MPTCP : 0);
}

void socket_tune(int fd, bool keep_alive)
{
    int one = 1, size = BUFFER_BYTES, domain = 0;
    socklen_t len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0) {
        return;                        /* no socket: nothing to tune */
    }
    if (domain == AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    } else if (domain == AF_INET || domain == AF_INET6) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (keep_alive) {
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        }
    }
}

static SocketFdByName *fd_by_name;      /* the process has one set of names, the monitors' */
static void *fd_by_name_opaque;

void socket_set_fd_names(SocketFdByName *fn, void *opaque)
{
    fd_by_name = fn;
    fd_by_name_opaque = opaque;
}

int socket_fd_by_name(const char *name, GError **error)
{
    if (!fd_by_name) {
        error_set(error, "File descriptor named '%s' has not been found", name);
        return -1;
    }
    return fd_by_name(name, fd_by_name_opaque, error);
}

/* The descriptor of an fd address; it becomes ours. */
static int take_fd(const SocketAddress *a, bool listening, GError **error)
{
    uint64_t number;
    int is_listener = 0, type = 0, named = -1;
    socklen_t len = sizeof(int);

    if (fd_by_name && !g_ascii_isdigit(a->fd_text[0])) {
        named = fd_by_name(a->fd_text, fd_by_name_opaque, error);
        if (named < 0) {
            return -1;
        }
        number = (uint64_t)named;
    } else if (!parse_uint("file descriptor", a->fd_text, 0, INT32_MAX, &number, error)) {
        return -1;
    }
    if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
        error_set_errno(error, errno, "File descriptor '%s' is not a socket", a->fd_text);
        return -1;
    }
    len = sizeof(int);
    getsockopt((int)number, SOL_SOCKET, SO_ACCEPTCONN, &is_listener, &len);
    if (type != SOCK_STREAM || !is_listener != !listening) {
        error_set(error, "File descriptor '%s' is not a %s stream socket", a->fd_text,
                  listening ? "listening" : "connected");
        return -1;
    }
    fcntl((int)number, F_SETFL, fcntl((int)number, F_GETFL) | O_NONBLOCK);
    fcntl((int)number, F_SETFD, FD_CLOEXEC);
    return (int)number;
}

/* ---- listening ---- */

static bool is_socket_file(const char *path, bool *exists)
{
    struct stat st;

    *exists = lstat(path, &st) == 0;
    return *exists && S_ISSOCK(st.st_mode);
}

void socket_remove_path(const char *path)
{
    bool exists;

    if (is_socket_file(path, &exists)) {
        unlink(path);
    }
}

bool socket_clear_path(const char *path, GError **error)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    bool exists, taken;
    int fd;

    if (!is_socket_file(path, &exists)) {
        return !exists || error_set(error, "'%s' exists and is no socket; remove it or choose "
                                    "another path", path);
    }
    memcpy(sun.sun_path, path, MIN(strlen(path), sizeof(sun.sun_path)));
    fd = stream_socket(AF_UNIX, false);
    if (fd < 0) {
        return error_set_errno(error, errno, "Cannot make a socket for '%s'", path);
    }
    /* A socket file whose owner is gone refuses connections.  A full queue is somebody, too. */
    taken = connect(fd, (const struct sockaddr *)&sun, sizeof(sun)) == 0 || errno != ECONNREFUSED;
    close(fd);
    if (taken) {
        return error_set(error, "UNIX socket '%s' is taken: another process listens on it; choose "
                         "another path", path);
    }
    unlink(path);
    return true;
}

static bool listen_at(const struct sockaddr *sa, socklen_t len, bool mptcp, int backlog,
                      GArray *fds)
{
    int one = 1, fd = stream_socket(sa->sa_family, mptcp), err;

    if (fd < 0) {
        return false;
    }
    if (sa->sa_family == AF_INET || sa->sa_family == AF_INET6) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (sa->sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, sa, len) < 0 || listen(fd, backlog) < 0) {
        err = errno;
        close(fd);
        errno = err;
        return false;
    }
    g_array_append_val(fds, fd);
    return true;
}

static bool listen_inet_port(const SocketAddress *a, const char *port, int backlog, GArray *fds,
                             int *err, GError **error)
{
    Resolve r = { a, port, true, NULL };
    int gai = resolve_work(&r);

    *err = 0;
    if (gai) {
        return resolve_failed(a, gai, error);
    }
    for (struct addrinfo *i = r.list; i; i = i->ai_next) {
        if (!listen_at(i->ai_addr, i->ai_addrlen, a->mptcp, backlog, fds) &&
            errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) {
            *err = errno;
        }
    }
    freeaddrinfo(r.list);
    if (*err || fds->len == 0) {
        while (fds->len) {
            close(g_array_index(fds, int, fds->len - 1));
            g_array_set_size(fds, fds->len - 1);
        }
        return error_set_errno(error, *err ? *err : EADDRNOTAVAIL,
                               "Failed to find an available port: cannot listen on %s:%s",
                               *a->host ? a->host : "*", port);
    }
    return true;
}

static bool listen_inet(const SocketAddress *a, int backlog, GArray *fds, GError **error)
{
    uint64_t first;
    int err;

    if (!inet_check(a, error)) {
        return false;
    }
    if (!a->to) {
        return listen_inet_port(a, a->port, backlog, fds, &err, error);
    }
    if (!parse_uint("port", a->port, 1, a->to, &first, error)) {
        return false;
    }
    for (uint64_t port = first; port <= a->to; port++) {
        g_autofree char *text = g_strdup_printf("%" PRIu64, port);

        g_clear_error(error);
        if (listen_inet_port(a, text, backlog, fds, &err, error)) {
            return true;
        }
        if (err != EADDRINUSE) {
            return false;
        }
    }
    return false;
}

GArray *socket_listen(const SocketAddress *a, int backlog, GError **error)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    struct sockaddr_un sun;
    struct sockaddr_vm svm;
    socklen_t len = 0;
    int fd;

    switch (a->kind) {
    case SOCKET_INET:
        return listen_inet(a, backlog, fds, error) ? g_steal_pointer(&fds) : NULL;
    case SOCKET_UNIX:
        if (!unix_sockaddr(a, &sun, &len, error)) {
            return NULL;
        }
        if (!a->abstract && !socket_clear_path(a->path, error)) {
            return NULL;
        }
        if (!listen_at((struct sockaddr *)&sun, len, false, backlog, fds)) {
            error_set_errno(error, errno, "Failed to bind socket to %s", a->path);
            return NULL;
        }
        return g_steal_pointer(&fds);
    case SOCKET_VSOCK:
        if (!vsock_sockaddr(a, &svm, error)) {
            return NULL;
        }
        if (!listen_at((struct sockaddr *)&svm, sizeof(svm), false, backlog, fds)) {
            error_set_errno(error, errno, "Cannot listen on vsock port %s", a->port);
            return NULL;
        }
        return g_steal_pointer(&fds);
    default:
        fd = take_fd(a, true, error);
        if (fd < 0) {
            return NULL;
        }
        g_array_append_val(fds, fd);
        return g_steal_pointer(&fds);
    }
}

int socket_accept(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* ---- connecting ---- */

/* A descriptor, or -errno. */
static int co_connect_to(const struct sockaddr *sa, socklen_t len, bool mptcp)
{
    int fd = stream_socket(sa->sa_family, mptcp), err = 0;
    socklen_t err_len = sizeof(err);

    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, sa, len) < 0) {
        err = errno;
        if (err == EINPROGRESS || err == EINTR) {
            co_wait_writable(fd);
            err = 0;
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) < 0) {
                err = errno;
            }
        }
    }
    if (err) {
        close(fd);
        return -err;
    }
    return fd;
}

static int co_connect_inet(const SocketAddress *a, GError **error)
{
    Resolve r = { a, a->port, false, NULL };
    int gai, fd = -ENOENT;

    if (!inet_check(a, error)) {
        return -1;
    }
    gai = co_worker_run(worker_pool_shared(), resolve_work, &r);
    if (gai) {
        resolve_failed(a, gai, error);
        return -1;
    }
    for (struct addrinfo *i = r.list; i && fd < 0; i = i->ai_next) {
        fd = co_connect_to(i->ai_addr, i->ai_addrlen, a->mptcp);
    }
    freeaddrinfo(r.list);
    return fd;
}

int co_socket_connect(const SocketAddress *a, GError **error)
{
    GError *local = NULL;
    struct sockaddr_un sun;
    struct sockaddr_vm svm;
    socklen_t len;
    int fd = -1;

    switch (a->kind) {
    case SOCKET_INET:
        fd = co_connect_inet(a, &local);
        break;
    case SOCKET_UNIX:
        if (unix_sockaddr(a, &sun, &len, &local)) {
            fd = co_connect_to((struct sockaddr *)&sun, len, false);
        }
        break;
    case SOCKET_VSOCK:
        if (vsock_sockaddr(a, &svm, &local)) {
            fd = co_connect_to((struct sockaddr *)&svm, sizeof(svm), false);
        }
        break;
    default:
        fd = take_fd(a, false, &local);
        break;
    }
    if (local) {
        g_propagate_error(error, local);
        return -1;
    }
    if (fd < 0) {
        g_autofree char *text = socket_address_text(a);

        error_set_errno(error, -fd, a->kind == SOCKET_UNIX ? "Failed to connect to '%s'"
                                                           : "Failed to connect to %s",
                        a->kind == SOCKET_UNIX ? a->path : text);
        return -1;
    }
    socket_tune(fd, a->keep_alive);
    return fd;
}
