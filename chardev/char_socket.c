/* SPDX-License-Identifier: MIT */
/*
 * Sockets: unix and TCP, server and client, telnet.  [RFC 854, 857, 858, 1143 for telnet]
 *
 * A server takes one client at a time; while one is connected the listener is not watched, so
 * further clients wait in the kernel's queue.  A client that loses its peer tries again after
 * reconnect= seconds, if that is given.
 *
 * Not modelled: TLS and websocket.
 */
#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/socket.h"
#include "chardev/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX 16

enum { TELNET_IAC = 255, TELNET_DONT = 254, TELNET_DO = 253, TELNET_WONT = 252, TELNET_WILL = 251,
       TELNET_SB = 250, TELNET_BREAK = 243, TELNET_SE = 240 };
enum { TELOPT_BINARY = 0, TELOPT_ECHO = 1, TELOPT_SGA = 3 };

typedef enum TelnetState { TN_DATA, TN_IAC, TN_OPTION, TN_SUB, TN_SUB_IAC } TelnetState;

typedef struct SocketChardev {
    Chardev chr;
    char *path, *host, *port;
    bool server, wait, telnet, nodelay, ipv4_only, ipv6_only, abstract, tight;
    bool unlink_path;
    uint64_t reconnect_s, port_to;
    int listen_fd;
    int connect_fd;        /* of a connect() under way */
    FdWatch *listen_watch, *connect_watch;
    LoopDelay *reconnect;
    TelnetState telnet_state;
    int fds_in[FDS_MAX];
    unsigned fds_in_count;
    int fds_out[FDS_MAX];  /* duplicated; go with the next byte; under chr.lock */
    unsigned fds_out_count;
} SocketChardev;

static SocketChardev *as_socket(Chardev *chr)
{
    return (SocketChardev *)chr;
}

static char *describe(const SocketChardev *s, const char *prefix)
{
    const char *tail = s->server ? ",server=on" : "";

    if (s->path) {
        return g_strdup_printf("%sunix:%s%s", prefix, s->path, tail);
    }
    return g_strdup_printf("%s%s:%s:%s%s", prefix, s->telnet ? "telnet" : "tcp",
                           s->host ? s->host : "", s->port ? s->port : "", tail);
}

static void set_filename(SocketChardev *s)
{
    g_free(s->chr.filename);
    s->chr.filename = describe(s, s->chr.open ? "" : "disconnected:");
}

/* -------- connected -------- */

static void peer_arrived(SocketChardev *s, int fd)
{
    static const uint8_t telnet_hello[] = {
        TELNET_IAC, TELNET_WILL, TELOPT_ECHO, TELNET_IAC, TELNET_WILL, TELOPT_SGA,
        TELNET_IAC, TELNET_WILL, TELOPT_BINARY, TELNET_IAC, TELNET_DO, TELOPT_BINARY,
    };
    int one = 1;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (!s->path && s->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    s->telnet_state = TN_DATA;
    if (s->telnet && send(fd, telnet_hello, sizeof(telnet_hello), MSG_NOSIGNAL) < 0) {
        close(fd);
        return;
    }
    g_clear_pointer(&s->listen_watch, fd_watch_free);
    chardev_set_stream(&s->chr, fd, fd, true);
    chardev_event(&s->chr, CHAR_EVENT_OPENED);
    set_filename(s);
}

static void watch_listener(SocketChardev *s);
static void try_connect(void *opaque);

static void drop_fds(SocketChardev *s)
{
    while (s->fds_in_count) {
        close(s->fds_in[--s->fds_in_count]);
    }
    while (s->fds_out_count) {
        close(s->fds_out[--s->fds_out_count]);
    }
}

static void plan_reconnect(SocketChardev *s)
{
    g_clear_pointer(&s->reconnect, loop_delay_free);
    if (s->reconnect_s) {
        s->reconnect = loop_delay_new(s->chr.loop, s->reconnect_s * 1000, try_connect, s);
    }
}

static void socket_hang_up(Chardev *chr)
{
    SocketChardev *s = as_socket(chr);

    if (chr->in_fd < 0) {
        return;
    }
    chardev_drop_stream(chr);
    drop_fds(s);
    if (s->server) {
        watch_listener(s);
    } else {
        plan_reconnect(s);
    }
    chardev_event(chr, CHAR_EVENT_CLOSED);
    set_filename(s);
}

/* Takes telnet's commands out of the data, in place. */
static size_t telnet_filter(SocketChardev *s, uint8_t *data, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = data[i];

        switch (s->telnet_state) {
        case TN_DATA:
            if (c == TELNET_IAC) {
                s->telnet_state = TN_IAC;
            } else {
                data[out++] = c;
            }
            break;
        case TN_IAC:
            s->telnet_state = TN_DATA;
            if (c == TELNET_IAC) {
                data[out++] = c;
            } else if (c >= TELNET_WILL && c <= TELNET_DONT) {
                s->telnet_state = TN_OPTION;
            } else if (c == TELNET_SB) {
                s->telnet_state = TN_SUB;
            } else if (c == TELNET_BREAK) {
                chardev_event(&s->chr, CHAR_EVENT_BREAK);
            }
            break;
        case TN_OPTION:
            s->telnet_state = TN_DATA;
            break;
        case TN_SUB:
            s->telnet_state = c == TELNET_IAC ? TN_SUB_IAC : TN_SUB;
            break;
        case TN_SUB_IAC:
            s->telnet_state = c == TELNET_SE ? TN_DATA : TN_SUB;
            break;
        }
    }
    return out;
}

static void keep_fds(SocketChardev *s, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        int fds[FDS_MAX];
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), FDS_MAX);
        memcpy(fds, CMSG_DATA(c), count * sizeof(int));
        for (size_t i = 0; i < count; i++) {
            if (s->fds_in_count < FDS_MAX) {
                s->fds_in[s->fds_in_count++] = fds[i];
            } else {
                close(fds[i]); /* more than anyone asked for */
            }
        }
    }
}

static ssize_t socket_read(Chardev *chr, uint8_t *buffer, size_t len)
{
    SocketChardev *s = as_socket(chr);
    union {
        char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec iov = { buffer, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
                          .msg_controllen = sizeof(control.space) };
    ssize_t n = recvmsg(chr->in_fd, &msg, MSG_CMSG_CLOEXEC);

    if (n < 0 && errno == ENOTSOCK) {
        return read(chr->in_fd, buffer, len);
    }
    if (n > 0) {
        keep_fds(s, &msg);
    }
    if (n > 0 && s->telnet) {
        n = telnet_filter(s, buffer, n);
        if (n == 0) {
            errno = EAGAIN;
            return -1;
        }
    }
    return n;
}

/* chr->lock is held. */
static ssize_t socket_send(Chardev *chr, const uint8_t *data, size_t len)
{
    SocketChardev *s = as_socket(chr);
    union {
        char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec iov = { (void *)data, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (s->fds_out_count) {
        struct cmsghdr *c;

        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * s->fds_out_count);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * s->fds_out_count);
        memcpy(CMSG_DATA(c), s->fds_out, sizeof(int) * s->fds_out_count);
    }
    n = sendmsg(chr->out_fd, &msg, MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK) {
        return write(chr->out_fd, data, len);
    }
    while (n > 0 && s->fds_out_count) {
        close(s->fds_out[--s->fds_out_count]);
    }
    return n;
}

static int socket_take_fd(Chardev *chr)
{
    SocketChardev *s = as_socket(chr);
    int fd;

    if (!s->fds_in_count) {
        return -1;
    }
    fd = s->fds_in[0];
    memmove(s->fds_in, s->fds_in + 1, --s->fds_in_count * sizeof(int));
    return fd;
}

static bool socket_send_fds(Chardev *chr, const int *fds, unsigned count)
{
    SocketChardev *s = as_socket(chr);
    MUTEX_SCOPE(&chr->lock);

    if (!s->path || chr->out_fd < 0 || s->fds_out_count + count > FDS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

        if (fd < 0) {
            return false;
        }
        s->fds_out[s->fds_out_count++] = fd;
    }
    return true;
}

/* -------- addresses -------- */

static bool unix_address(const SocketChardev *s, struct sockaddr_un *addr, socklen_t *len,
                         GError **error)
{
    size_t path_len = strlen(s->path);

    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (path_len + s->abstract >= sizeof(addr->sun_path)) {
        return error_set(error, "UNIX socket path '%s' is too long: it may have %zu bytes", s->path,
                         sizeof(addr->sun_path) - 1 - s->abstract);
    }
    memcpy(addr->sun_path + s->abstract, s->path, path_len);
    *len = s->abstract && s->tight ? offsetof(struct sockaddr_un, sun_path) + 1 + path_len
                                   : sizeof(*addr);
    return true;
}

static struct addrinfo *resolve(const SocketChardev *s, const char *port, GError **error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = s->server ? AI_PASSIVE : 0,
                              .ai_family = s->ipv4_only ? AF_INET : s->ipv6_only ? AF_INET6 :
                                           AF_UNSPEC };
    struct addrinfo *list = NULL;
    const char *host = s->host && *s->host ? s->host : s->server ? NULL : "localhost";
    int err = getaddrinfo(host, port, &hints, &list);

    if (err) {
        error_set(error, "Cannot resolve '%s:%s' for chardev '%s': %s", s->host ? s->host : "",
                  port, s->chr.id, gai_strerror(err));
        return NULL;
    }
    return list;
}

/* -------- server -------- */

static void client_waits(void *opaque)
{
    SocketChardev *s = opaque;
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0) {
        peer_arrived(s, fd);
    }
}

static void watch_listener(SocketChardev *s)
{
    g_clear_pointer(&s->listen_watch, fd_watch_free);
    s->listen_watch = fd_watch_new(s->chr.loop, s->listen_fd, client_waits, NULL, s);
}

static bool listen_unix(SocketChardev *s, GError **error)
{
    struct sockaddr_un addr;
    socklen_t len;
    int fd;

    if (!unix_address(s, &addr, &len, error)) {
        return false;
    }
    if (!s->abstract && !socket_clear_path(s->path, error)) {
        g_prefix_error(error, "Chardev '%s': ", s->chr.id);
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set_errno(error, errno, "Cannot make a socket for chardev '%s'", s->chr.id);
    }
    if (bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, 1) != 0) {
        error_set_errno(error, errno, "Cannot listen on UNIX socket '%s' for chardev '%s'", s->path,
                        s->chr.id);
        close(fd);
        return false;
    }
    s->listen_fd = fd;
    s->unlink_path = !s->abstract;
    return true;
}

/* One port; *taken tells whether it was in use. */
static int listen_port(SocketChardev *s, const char *port, bool *taken, GError **error)
{
    struct addrinfo *list = resolve(s, port, error);
    int fd = -1, one = 1, err = 0;

    if (!list) {
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) {
            err = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 1) != 0) {
            err = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    *taken = fd < 0 && err == EADDRINUSE;
    if (fd < 0) {
        error_set_errno(error, err, "Cannot listen on '%s:%s' for chardev '%s'",
                        s->host ? s->host : "", port, s->chr.id);
    }
    return fd;
}

static bool listen_tcp(SocketChardev *s, GError **error)
{
    uint64_t first, last;

    if (!parse_uint("Parameter 'port'", s->port, 0, 65535, &first, NULL)) {
        bool taken;

        s->listen_fd = listen_port(s, s->port, &taken, error); /* a service name */
        return s->listen_fd >= 0;
    }
    last = s->port_to ? MAX(s->port_to, first) : first;
    for (uint64_t port = first; port <= last; port++) {
        g_autoptr(GError) one_error = NULL;
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, port);
        bool taken = false;

        s->listen_fd = listen_port(s, text, &taken, &one_error);
        if (s->listen_fd >= 0) {
            struct sockaddr_storage bound;
            socklen_t len = sizeof(bound);

            /* Port 0 lets the kernel choose: tell which. */
            if (getsockname(s->listen_fd, (struct sockaddr *)&bound, &len) == 0) {
                port = ntohs(bound.ss_family == AF_INET
                                 ? ((struct sockaddr_in *)&bound)->sin_port
                                 : ((struct sockaddr_in6 *)&bound)->sin6_port);
            }
            g_free(s->port);
            s->port = g_strdup_printf("%" G_GUINT64_FORMAT, port);
            return true;
        }
        if (!taken || port == last) {
            g_propagate_error(error, g_steal_pointer(&one_error));
            return false;
        }
    }
    return true;
}

static bool open_server(SocketChardev *s, GError **error)
{
    g_autofree char *name = NULL;
    int fd;

    if (s->listen_fd < 0 && !(s->path ? listen_unix(s, error) : listen_tcp(s, error))) {
        return false;
    }
    if (!s->wait) {
        watch_listener(s);
        return true;
    }
    name = describe(s, "disconnected:");
    info_report("QEMU waiting for connection on: %s", name);
    /* No restart after a signal: what the user sends now is Ctrl-C. */
    fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(error, errno, "Cannot accept a client for chardev '%s'", s->chr.id);
    }
    peer_arrived(s, fd);
    return true;
}

/* -------- client -------- */

/* Begins to connect; the descriptor, with *pending true if it is still under way. */
static int begin_connect(SocketChardev *s, bool *pending, GError **error)
{
    int fd = -1, err = 0;

    *pending = false;
    if (s->path) {
        struct sockaddr_un addr;
        socklen_t len;

        if (!unix_address(s, &addr, &len, error)) {
            return -1;
        }
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, len) == 0) {
            return fd;
        }
        error_set_errno(error, errno, "Cannot connect to UNIX socket '%s' for chardev '%s'",
                        s->path, s->chr.id);
    } else {
        struct addrinfo *list = resolve(s, s->port, error);

        if (!list) {
            return -1;
        }
        for (struct addrinfo *a = list; a; a = a->ai_next) {
            /* The first attempt may block; retries must not hold up the loop. */
            fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC |
                        (s->reconnect_s ? SOCK_NONBLOCK : 0), a->ai_protocol);
            if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
                break;
            }
            err = errno;
            if (fd >= 0 && err == EINPROGRESS) {
                *pending = true;
                break;
            }
            if (fd >= 0) {
                close(fd);
                fd = -1;
            }
        }
        freeaddrinfo(list);
        if (fd >= 0) {
            return fd;
        }
        error_set_errno(error, err, "Cannot connect to '%s:%s' for chardev '%s'",
                        s->host ? s->host : "localhost", s->port, s->chr.id);
    }
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static void connect_done(void *opaque)
{
    SocketChardev *s = opaque;
    int fd = s->connect_fd, err = 0;
    socklen_t len = sizeof(err);

    g_clear_pointer(&s->connect_watch, fd_watch_free);
    s->connect_fd = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0) {
        peer_arrived(s, fd);
    } else {
        close(fd);
        plan_reconnect(s);
    }
}

static bool start_connect(SocketChardev *s, GError **error)
{
    bool pending;
    int fd = begin_connect(s, &pending, error);

    if (fd < 0) {
        return false;
    }
    if (pending) {
        s->connect_fd = fd;
        s->connect_watch = fd_watch_new(s->chr.loop, fd, NULL, connect_done, s);
    } else {
        peer_arrived(s, fd);
    }
    return true;
}

static void try_connect(void *opaque)
{
    SocketChardev *s = opaque;

    if (!start_connect(s, NULL)) {
        plan_reconnect(s);
    }
}

/* -------- the row -------- */

static bool use_given_fd(SocketChardev *s, const char *text, GError **error)
{
    uint64_t fd;
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (!parse_uint("Parameter 'fd'", text, 0, G_MAXINT, &fd, error)) {
        return false;
    }
    if (getsockname((int)fd, (struct sockaddr *)&addr, &len) != 0) {
        return error_set_errno(error, errno, "Parameter 'fd': %d is no socket", (int)fd);
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    if (addr.ss_family == AF_UNIX) {         /* for messages; not ours to unlink */
        const struct sockaddr_un *sun = (const struct sockaddr_un *)&addr;
        size_t head = offsetof(struct sockaddr_un, sun_path);

        s->path = len > head ? g_strndup(sun->sun_path, len - head) : g_strdup("");
    }
    if (s->server) {
        s->listen_fd = (int)fd;
        return open_server(s, error);
    }
    peer_arrived(s, (int)fd);
    return true;
}

static bool read_flags(SocketChardev *s, KeyVal *opts, GError **error)
{
    bool delay, ipv4, ipv6;

    if (!keyval_get_bool(opts, "server", false, &s->server, error) ||
        !keyval_get_bool(opts, "wait", s->server, &s->wait, error) ||
        !keyval_get_bool(opts, "telnet", false, &s->telnet, error) ||
        !keyval_get_bool(opts, "nodelay", false, &s->nodelay, error) ||
        !keyval_get_bool(opts, "delay", !s->nodelay, &delay, error) ||
        !keyval_get_bool(opts, "ipv4", false, &ipv4, error) ||
        !keyval_get_bool(opts, "ipv6", false, &ipv6, error) ||
        !keyval_get_bool(opts, "abstract", false, &s->abstract, error) ||
        !keyval_get_bool(opts, "tight", true, &s->tight, error) ||
        !keyval_get_uint(opts, "reconnect", 0, 86400, &s->reconnect_s, error) ||
        !keyval_get_uint(opts, "to", 0, 65535, &s->port_to, error)) {
        return false;
    }
    s->nodelay = !delay;
    s->ipv4_only = ipv4 && !ipv6;
    s->ipv6_only = ipv6 && !ipv4;
    if (!s->server && keyval_has(opts, "wait")) {
        return error_set(error, "chardev '%s': 'wait' is for servers: add server=on", s->chr.id);
    }
    if (s->server && s->reconnect_s) {
        return error_set(error, "chardev '%s': 'reconnect' is for clients, not with server=on",
                         s->chr.id);
    }
    return true;
}

static bool socket_open(Chardev *chr, KeyVal *opts, GError **error)
{
    SocketChardev *s = as_socket(chr);
    const char *fd = keyval_get(opts, "fd");

    s->listen_fd = s->connect_fd = -1;
    s->path = g_strdup(keyval_get(opts, "path"));
    s->host = g_strdup(keyval_get(opts, "host"));
    s->port = g_strdup(keyval_get(opts, "port"));
    if (!read_flags(s, opts, error)) {
        return false;
    }
    if ((fd != NULL) + (s->path != NULL) + (s->port != NULL) != 1) {
        return error_set(error, "chardev '%s': socket needs one of path=PATH, port=PORT and fd=FD",
                         chr->id);
    }
    if (fd) {
        if (!use_given_fd(s, fd, error)) {
            return false;
        }
    } else if (s->server) {
        if (!open_server(s, error)) {
            return false;
        }
    } else if (!start_connect(s, s->reconnect_s ? NULL : error)) {
        if (!s->reconnect_s) {
            return false;
        }
        plan_reconnect(s);
    }
    set_filename(s);
    return true;
}

static void socket_loop_changed(Chardev *chr)
{
    SocketChardev *s = as_socket(chr);

    if (s->listen_watch) {
        watch_listener(s);
    }
    if (s->reconnect) {
        plan_reconnect(s);
    }
    if (s->connect_watch) {
        fd_watch_free(s->connect_watch);
        s->connect_watch = fd_watch_new(chr->loop, s->connect_fd, NULL, connect_done, s);
    }
}

static void socket_close(Chardev *chr)
{
    SocketChardev *s = as_socket(chr);

    g_clear_pointer(&s->listen_watch, fd_watch_free);
    g_clear_pointer(&s->connect_watch, fd_watch_free);
    g_clear_pointer(&s->reconnect, loop_delay_free);
    chardev_drop_stream(chr);
    drop_fds(s);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    if (s->connect_fd >= 0) {
        close(s->connect_fd);
    }
    if (s->unlink_path) {
        socket_remove_path(s->path);
    }
    g_free(s->path);
    g_free(s->host);
    g_free(s->port);
}

const ChardevKind chardev_socket = {
    .name = "socket",
    .help = "path=PATH[,abstract=on|off][,tight=on|off] | [host=HOST,]port=PORT[,to=PORT][,ipv4]"
            "[,ipv6][,nodelay] | fd=FD\n"
            "           [,server=on|off][,wait=on|off][,telnet=on|off][,reconnect=SECONDS]",
    .keys = "path abstract tight host port to ipv4 ipv6 nodelay delay fd server wait telnet reconnect",
    .size = sizeof(SocketChardev),
    .open = socket_open,
    .close = socket_close,
    .read = socket_read,
    .send = socket_send,
    .hang_up = socket_hang_up,
    .loop_changed = socket_loop_changed,
    .take_fd = socket_take_fd,
    .send_fds = socket_send_fds,
};
