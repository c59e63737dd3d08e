/* SPDX-License-Identifier: MIT */
/*
 * The NBD server: nodes as network block devices, for any client of the fixed newstyle protocol.
 *
 *     NbdServerConf conf = { .max_clients = 1 };
 *     nbd_server_start(&conf, address, error);
 *     block_export_add(...)                              // type=nbd: an export of it
 *     ...
 *     nbd_server_stop();                                 // with all its exports and clients
 *
 * There is one server in a process, with any number of listeners, exports and clients.
 *
 * Missing: extended headers; NBD_CMD_RESIZE, which no client asks for.
 *
 * Peers are hostile.  Limits: 10 s for the handshake; an option has at most 64 KiB and a name 4 KiB;
 * a client has at most 16 requests and 64 MiB of buffers under way; at most max_clients at a time.
 *
 * Thread rule: main loop.  Requests run on the loop of their node.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "base/socket.h"
#include "base/tls.h"
#include "block/export.h"

/* Clients that are let in where nobody says how many. */
#define NBD_CLIENTS_DEFAULT 100

typedef struct NbdServerConf {
    TlsCreds *creds;             /* NULL: no TLS; else TLS is required */
    const char *authz;           /* base/authz.h: who may come; NULL: everybody.  Copied */
    unsigned max_clients;        /* 0: no limit.  1: exports do not offer multi-conn */
    /* The number of clients changed; NEGOTIATED: the one that left had chosen an export. */
    void (*clients_changed)(unsigned clients, bool negotiated, void *opaque);
    void *opaque;
} NbdServerConf;

/* ADDRESS may be NULL: clients come by nbd_server_add_client() only. */
bool nbd_server_start(const NbdServerConf *conf, const SocketAddress *address, GError **error);
bool nbd_server_is_running(void);
void nbd_server_stop(void);
/* No new clients; the others stay. */
void nbd_server_stop_listening(void);
/* FD becomes the server's.  Over the limit it is closed. */
void nbd_server_add_client(int fd);
unsigned nbd_server_clients(void);

extern const ExportType nbd_export_type;
/* By the name that clients use; NULL when there is none. */
BlockExport *nbd_export_find(const char *name);

#endif
