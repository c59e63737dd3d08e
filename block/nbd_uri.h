/* SPDX-License-Identifier: MIT */
/*
 * Where an NBD export is: from node options, from nbd:// and nbd+unix:// URIs, and from the
 * older nbd:host:port:exportname=x.  [NBD doc/uri.md]
 * Pure functions.
 */
#ifndef BLOCK_NBD_URI_H
#define BLOCK_NBD_URI_H

#include "base/socket.h"
#include "block/graph.h"

/* Takes type=inet|unix|vsock|fd and its members, as in SocketAddress; "data." may be in front of
 * members, as in SocketAddressLegacy. */
SocketAddress *socket_address_take(NodeOpts *opts, GError **error);
/* As QMP has it. */
SocketAddress *socket_address_from_json(const Json *json, GError **error);
/* Sets server.* and export of OPTS. */
bool nbd_parse_filename(const char *filename, NodeOpts *opts, GError **error);
/* "nbd://host:port/export", for messages and image info. */
char *nbd_uri_text(const SocketAddress *address, const char *export_name);

#endif
