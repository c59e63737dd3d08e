/* SPDX-License-Identifier: MIT */
/*
 * The client's end of a connection to an NBD server, up to the transmission phase.
 * The node type that sends requests over it is block/nbd_client.c.
 *
 * Thread rule: in coroutines of one loop; the parsers distrust the server.
 */
#ifndef BLOCK_NBD_LINK_H
#define BLOCK_NBD_LINK_H

#include "base/co_stream.h"
#include "base/socket.h"
#include "block/nbd_proto.h"

typedef struct NbdTarget {
    SocketAddress *address;
    char *export_name;
    TlsCreds *creds;              /* NULL: no TLS */
    char *hostname;               /* that the certificate must have; NULL: that of the address */
    char *context;                /* instead of base:allocation */
} NbdTarget;
void nbd_target_clear(NbdTarget *target);

typedef struct NbdLink {
    unsigned refs;
    CoStream *stream;
    NbdInfo info;
    bool structured, has_context, broken;
    uint32_t context_id;
} NbdLink;
NbdLink *nbd_link_ref(NbdLink *link);
void nbd_link_unref(NbdLink *link);
/* Connects and goes to the transmission phase. */
NbdLink *co_nbd_link_open(const NbdTarget *target, GError **error);
/* The same over a descriptor (which becomes the link's). */
NbdLink *co_nbd_link_open_fd(const NbdTarget *target, int fd, GError **error);

/* What a server has. */
typedef struct NbdListed {
    NbdInfo info;
    GPtrArray *contexts;          /* of char * */
} NbdListed;
void nbd_listed_free(NbdListed *listed);
/* Array of NbdListed, or NULL. */
GPtrArray *co_nbd_list(const NbdTarget *target, GError **error);

#endif
