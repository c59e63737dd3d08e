/* SPDX-License-Identifier: MIT */
/*
 * UDP: datagrams to one peer.  What is written together goes together, up to 8 KiB.
 */
#include "base/error.h"
#include "chardev/kind.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool resolve_udp(const Chardev *chr, const char *host, const char *port, bool passive,
                        int family, struct addrinfo **list, GError **error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_family = family,
                              .ai_flags = passive ? AI_PASSIVE : 0 };
    int err = getaddrinfo(host, port, &hints, list);

    return err == 0 || error_set(error, "Cannot resolve '%s:%s' for chardev '%s': %s",
                                 host ? host : "", port, chr->id, gai_strerror(err));
}

static bool udp_open(Chardev *chr, KeyVal *opts, GError **error)
{
    const char *host = keyval_get(opts, "host"), *port = keyval_get(opts, "port");
    const char *local_host = keyval_get(opts, "localaddr");
    const char *local_port = keyval_get(opts, "localport");
    struct addrinfo *remote = NULL, *local = NULL;
    bool ipv4, ipv6, bound;
    int fd, family;

    if (!keyval_get_bool(opts, "ipv4", false, &ipv4, error) ||
        !keyval_get_bool(opts, "ipv6", false, &ipv6, error)) {
        return false;
    }
    if (!port) {
        return error_set(error, "chardev '%s': udp needs port=PORT", chr->id);
    }
    family = ipv4 && !ipv6 ? AF_INET : ipv6 && !ipv4 ? AF_INET6 : AF_UNSPEC;
    if (!resolve_udp(chr, host && *host ? host : "localhost", port, false, family, &remote,
                     error)) {
        return false;
    }
    if (!resolve_udp(chr, local_host && *local_host ? local_host : NULL,
                     local_port ? local_port : "0", true, remote->ai_family, &local, error)) {
        freeaddrinfo(remote);
        return false;
    }
    fd = socket(remote->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bound = fd >= 0 && bind(fd, local->ai_addr, local->ai_addrlen) == 0 &&
            connect(fd, remote->ai_addr, remote->ai_addrlen) == 0;
    if (!bound) {
        error_set_errno(error, errno, "Cannot open UDP '%s:%s' for chardev '%s'", host ? host : "",
                        port, chr->id);
        if (fd >= 0) {
            close(fd);
        }
    } else {
        chardev_set_stream(chr, fd, fd, true);
        chr->filename = g_strdup("udp");
        chr->open = true;
    }
    freeaddrinfo(remote);
    freeaddrinfo(local);
    return bound;
}

/* A datagram nobody listened for comes back as an error of the next call; that is no end. */
static ssize_t udp_send(Chardev *chr, const uint8_t *data, size_t len)
{
    size_t part = MIN(len, 8192);
    ssize_t n = send(chr->out_fd, data, part, MSG_NOSIGNAL);

    return n < 0 && errno != EAGAIN && errno != EINTR ? (ssize_t)part : n;
}

static ssize_t udp_read(Chardev *chr, uint8_t *buffer, size_t len)
{
    ssize_t n = recv(chr->in_fd, buffer, len, 0);

    if (n <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return n;
}

const ChardevKind chardev_udp = {
    .name = "udp",
    .help = "[host=HOST,]port=PORT[,localaddr=HOST][,localport=PORT][,ipv4][,ipv6]",
    .keys = "host port localaddr localport ipv4 ipv6",
    .size = sizeof(Chardev),
    .open = udp_open,
    .send = udp_send,
    .read = udp_read,
};
