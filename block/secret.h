/* SPDX-License-Identifier: MIT */
/*
 * Secrets by name: "secret" objects, as --object secret,id=sec0,file=pass.txt makes them, for
 * the key-secret options of block nodes.
 *
 *     secret,id=ID,data=TEXT[,format=raw|base64]
 *     secret,id=ID,file=NAME[,format=...]
 *     ...,keyid=OTHER,iv=BASE64       the data is encrypted: AES-256-CBC with the key in OTHER
 *
 * Thread rule: main loop.
 */
#ifndef BLOCK_SECRET_H
#define BLOCK_SECRET_H

#include <glib.h>
#include <stdbool.h>

#include "block/graph.h"

/* The properties of an object of type "secret", "id" among them; takes what it knows. */
bool secret_add(NodeOpts *props, GError **error);
bool secret_remove(const char *id, GError **error);
/* A reference to it; false, with an error, when there is none. */
bool secret_lookup(const char *id, GBytes **data, GError **error);

/* "TYPE,id=..." of a command line; types: secret. */
bool secret_object_add(const char *text, GError **error);

#endif
