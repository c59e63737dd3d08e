/* SPDX-License-Identifier: MIT */
/*
 * What the files of the graph (graph*.c) share with each other.
 * Thread rule: main loop only.
 */
#ifndef BLOCK_GRAPH_INT_H
#define BLOCK_GRAPH_INT_H

#include "block/driver.h"

/* All nodes, in the order of their opening; NULL before the first. */
extern GPtrArray *graph_nodes;

BlockNode *graph_node_alloc(const NodeType *type);
/* Takes "node-name" out of OPTS, or makes one up. */
bool graph_take_name(BlockNode *node, NodeOpts *opts, GError **error);
BlockNode *co_node_open(const char *filename, NodeOpts *opts, int flags, GError **error);

/* An edge that uses nothing and shares all; it holds a reference to NODE. */
BlockChild *graph_edge_new(BlockNode *node, BlockNode *parent, const char *name);
void graph_edge_free(BlockChild *edge);
/* Lets EDGE lead to NODE; permissions are left for graph_refresh(). */
void graph_edge_move(BlockChild *edge, BlockNode *node);
/* Is TO at or below FROM? */
bool graph_reaches(const BlockNode *from, const BlockNode *to);

/*
 * Recomputes the permissions of NODES and of everything below: all of it, or nothing on failure.
 * A caller who wants other permissions for a root edge puts them into edge->next_perm and
 * next_shared before; on failure they are reset.
 */
bool graph_refresh(BlockNode *const *nodes, unsigned count, GError **error);
bool graph_refresh_one(BlockNode *node, GError **error);

/* NULL: the node goes away. */
void graph_node_set_loop(BlockNode *node, EventLoop *loop);

/* Tells the roots whose subtree has come under, or out of, a drain. */
void graph_sync_drain(void);

/* Sets node->json_filename, where one is needed: as the node was opened. */
void graph_note_filename(BlockNode *node);

#endif
