/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps of a node: which granules were written since some moment.
 * Thread rule: the node's event loop.
 */
#ifndef BLOCK_BITMAP_H
#define BLOCK_BITMAP_H

#include "block/graph.h"

typedef struct DirtyBitmap {
    char *name;
    uint32_t granularity;
    uint64_t length, dirty;      /* bytes of the node; set bits */
    uint64_t *bits;
    bool enabled, persistent, inconsistent, busy;
} DirtyBitmap;

/* GRANULARITY: a power of two, 512 to 2 GiB; 0: the cluster size or 64 KiB. */
DirtyBitmap *dirty_bitmap_add(BlockNode *node, const char *name, uint32_t granularity,
                              GError **error);
DirtyBitmap *dirty_bitmap_find(BlockNode *node, const char *name);
/* One that belongs to nobody's node; NULL when memory is short. */
DirtyBitmap *dirty_bitmap_new(uint64_t length, uint32_t granularity);
void dirty_bitmap_free(DirtyBitmap *bitmap);
void dirty_bitmap_remove(BlockNode *node, DirtyBitmap *bitmap);
void dirty_bitmap_clear(DirtyBitmap *bitmap);
void dirty_bitmap_set(DirtyBitmap *bitmap, uint64_t offset, uint64_t bytes);
/* The granules that lie within the range as a whole. */
void dirty_bitmap_reset(DirtyBitmap *bitmap, uint64_t offset, uint64_t bytes);
bool dirty_bitmap_get(const DirtyBitmap *bitmap, uint64_t offset);
/* Next dirty run at or after OFFSET; false when there is none. */
bool dirty_bitmap_next(const DirtyBitmap *bitmap, uint64_t offset, uint64_t *start,
                       uint64_t *bytes);
bool dirty_bitmap_merge(DirtyBitmap *to, const DirtyBitmap *from, GError **error);

/* Nobody else uses it, and its content means something. */
bool bitmap_check_usable(const DirtyBitmap *bitmap, GError **error);
/* The image keeps it from now on (block-dirty-bitmap-add persistent=on); fails where it cannot. */
bool dirty_bitmap_make_persistent(BlockNode *node, DirtyBitmap *bitmap, GError **error);
/* BITS were filled in from outside. */
void dirty_bitmap_loaded(DirtyBitmap *bitmap);

/* Hooks of io.c. */
void dirty_bitmaps_set(BlockNode *node, uint64_t offset, uint64_t bytes);
void dirty_bitmaps_resize(BlockNode *node, uint64_t length);
void dirty_bitmaps_free(BlockNode *node);

#endif
