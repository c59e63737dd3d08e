/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the NBD server share: nbd_server.c (listeners, exports, life),
 * nbd_negotiate.c (options), nbd_transmit.c (requests).
 *
 * Life of a client: one coroutine negotiates on the main loop, then serves on the loop of the node;
 * it waits for the requests that it started before it ends, so nothing outlives it.
 */
#ifndef BLOCK_NBD_SERVER_INT_H
#define BLOCK_NBD_SERVER_INT_H

#include "base/co_stream.h"
#include "block/bitmap.h"
#include "block/nbd_proto.h"
#include "block/nbd_server.h"

#define NBD_BITMAPS_MAX 64

typedef struct NbdExport {
    BlockExport base;
    char *name, *description;
    bool depth;                       /* offers qemu:allocation-depth */
    DirtyBitmap *bitmaps[NBD_BITMAPS_MAX];
    unsigned bitmap_count;
} NbdExport;

/* Context ids on the wire: 0 base:allocation, 1 the depth, 2 + n bitmap n. */
enum { META_ALLOCATION, META_DEPTH, META_BITMAP, META_MAX = META_BITMAP + NBD_BITMAPS_MAX };

/* A buffer of requests, and those that wait for the next one. */
typedef struct NbdBuffer {
    void *data;
    size_t room;
} NbdBuffer;
#define NBD_SPARES 16

typedef struct NbdClient {
    NbdExport *exp;                   /* set, with a reference, once chosen */
    CoStream *stream;
    TlsCreds *creds;                  /* of the server when the client came; NULL: none */
    char *authz;                      /* likewise */
    bool multi_conn;
    bool no_zeroes, structured;
    NbdExport *meta_export;           /* what META was set for; only compared */
    bool meta[META_MAX];
    unsigned meta_count;
    NbdInfo info;                     /* as told to the client */
    LoopDelay *handshake;             /* its time limit */
    CoMutex send_lock;
    unsigned in_flight;
    size_t bytes_in_flight;
    CoQueue room;                     /* waits for a request to end */
    NbdBuffer spare[NBD_SPARES];
    unsigned spares;
    size_t spare_bytes;
} NbdClient;

/* Until an export is chosen: true.  Else the connection is to be closed. */
bool co_nbd_negotiate(NbdClient *c);
/* Serves until the client leaves or misbehaves; no request is under way then. */
void co_nbd_transmit(NbdClient *c);

NbdExport *nbd_export_next(NbdExport *exp);
NbdExport *nbd_export_by_name(const char *name);

#endif
