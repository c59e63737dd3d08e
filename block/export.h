/* SPDX-License-Identifier: MIT */
/*
 * Exports: nodes that are served to others (nbd).  QMP block-export-add and its kin.
 *
 *     g_autoptr(NodeOpts) opts = node_opts_new();        // type, id, node-name, writable, ...
 *     node_opts_set(opts, "type", "nbd");
 *     ...
 *     block_export_add(opts, error);
 *
 * An export holds a backend of its own on the node and lives until it was asked to go and its last
 * client has left; then BLOCK_EXPORT_DELETED tells.
 *
 * Thread rule: main loop.  Requests of clients run on the loop of the node; "iothread" names that,
 * and an export follows its node to another while it has no clients.
 */
#ifndef BLOCK_EXPORT_H
#define BLOCK_EXPORT_H

#include "block/graph.h"

typedef struct BlockExport BlockExport;
typedef struct ExportType ExportType;

struct BlockExport {
    const ExportType *type;
    char *id;
    BlockBackend *blk;
    bool writable, shutting_down;
    unsigned refs;              /* one of the list while it is not shutting down; clients */
};

struct ExportType {
    const char *name;
    size_t size;                /* of the struct that begins with BlockExport */
    /* Takes its options out of OPTS; blk is set. */
    bool (*start)(BlockExport *exp, NodeOpts *opts, GError **error);
    /* No new clients; those that are there are told to leave. */
    void (*request_shutdown)(BlockExport *exp);
    void (*stopped)(BlockExport *exp);
};

bool block_export_add(NodeOpts *opts, GError **error);
/* What "iothread" in OPTS means: set once at start-up by whoever has such objects.  The export holds
 * the thread by the user it adds to its loop. */
typedef EventLoop *BlockIoThreadFinder(const char *id, void *opaque);
void block_export_set_iothread_finder(BlockIoThreadFinder *finder, void *opaque);
BlockExport *block_export_find(const char *id);
BlockExport *block_export_next(BlockExport *exp);  /* NULL: first */
/* Not HARD: fails when it has clients. */
bool block_export_del(const char *id, bool hard, GError **error);
void block_export_shut_down(BlockExport *exp);
void block_export_ref(BlockExport *exp);
void block_export_unref(BlockExport *exp);
/* Shuts down those of TYPE (NULL: all) and waits until they are gone. */
void block_export_close_all(const char *type);
/* The answer of query-block-exports. */
Json *block_export_query(void);

#endif
