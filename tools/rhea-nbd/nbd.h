/* SPDX-License-Identifier: MIT */
/*
 * rhea-nbd: what its parts share.  Each of the commands gives the exit status.
 */
#ifndef TOOLS_RHEA_NBD_NBD_H
#define TOOLS_RHEA_NBD_NBD_H

#include "block/drive.h"
#include "block/nbd_client.h"
#include "block/nbd_proto.h"
#include "block/nbd_server.h"

typedef struct NbdArgs {
    const char *file, *format, *snapshot;
    const char *port, *bind, *socket, *name, *description, *tls_creds, *tls_hostname, *tls_authz;
    const char *pid_file, *connect;
    GPtrArray *bitmaps;             /* of names */
    NodeOpts *opts;
    uint64_t offset;
    unsigned shared;
    bool persistent, verbose, read_only, overlay, image_opts, has_cache, writethrough;
    bool depth, list, fork, disconnect;
} NbdArgs;

int nbd_serve(const NbdArgs *a);
int nbd_list(const NbdArgs *a);

/* The address that -k, or -b and -p, mean; HOST when -b is absent. */
SocketAddress *nbd_address(const NbdArgs *a, const char *host);

/* -d DEVICE */
int nbd_kernel_disconnect(const char *device);
/* -c DEVICE: a socket for nbd_server_add_client() whose other end the device gets; -1 after an
 * error message.  GONE is called on the main loop when the device lets go, or never took it: *FAILED is
 * set then, and it was said. */
int nbd_kernel_connect(const char *device, const char *export_name, bool verbose, bool *failed,
                       void (*gone)(void *opaque), void *opaque);

#endif
