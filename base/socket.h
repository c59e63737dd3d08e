/* SPDX-License-Identifier: MIT */
/*
 * Stream sockets by address: inet, unix, vsock, or a descriptor that someone handed over.
 *
 *     g_autoptr(SocketAddress) a = socket_address_unix("/run/disk.sock");
 *     int fd = co_socket_connect(a, error);              // in a coroutine
 *     GArray *fds = socket_listen(a, 16, error);         // of int: one per address of a host
 *
 * All descriptors are close-on-exec and non-blocking.  Names are resolved in a worker by
 * co_socket_connect(), at once by socket_listen().
 */
#ifndef BASE_SOCKET_H
#define BASE_SOCKET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum SocketKind { SOCKET_INET, SOCKET_UNIX, SOCKET_VSOCK, SOCKET_FD } SocketKind;

typedef struct SocketAddress {
    SocketKind kind;
    char *host, *port;            /* inet; vsock: cid and port */
    char *path;                   /* unix */
    char *fd_text;                /* fd: a number, or the name that a monitor keeps one by */
    bool numeric, keep_alive, mptcp;
    bool no_ipv4, no_ipv6;
    bool abstract, loose;         /* unix; loose: the name fills all of sun_path */
    uint16_t to;                  /* listening: the last port to try; 0: only PORT */
} SocketAddress;

SocketAddress *socket_address_inet(const char *host, const char *port);
SocketAddress *socket_address_unix(const char *path);
SocketAddress *socket_address_fd(int fd);
void socket_address_free(SocketAddress *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SocketAddress, socket_address_free)
/* "localhost:10809", "unix:/run/x", for messages. */
char *socket_address_text(const SocketAddress *a);

/* Who keeps descriptors by name (QMP getfd) and hands one over: -1 with an error when there is none.
 * Main loop. */
typedef int SocketFdByName(const char *name, void *opaque, GError **error);
void socket_set_fd_names(SocketFdByName *fn, void *opaque);
/* The descriptor is the caller's then. */
int socket_fd_by_name(const char *name, GError **error);

/* Listening descriptors; NULL with an error.  A socket file that nobody listens on any more is
 * replaced. */
GArray *socket_listen(const SocketAddress *a, int backlog, GError **error);
/* A connected descriptor, or -1. */
int co_socket_connect(const SocketAddress *a, GError **error);
/* Makes way for a socket file at PATH: one that nobody listens on any more is removed.  A file of
 * another kind is left alone and an error, and so is a socket that somebody listens on. */
bool socket_clear_path(const char *path, GError **error);
/* Removes PATH if it is a socket file. */
void socket_remove_path(const char *path);
/* -1 with errno when there is nobody (EAGAIN) or on an error. */
int socket_accept(int listener);
/* Small writes at once, and big buffers, where the socket has such options. */
void socket_tune(int fd, bool keep_alive);

#endif
