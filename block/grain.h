/* SPDX-License-Identifier: MIT */
/*
 * Images that are an array of equal grains found through one flat table: what vdi, vpc, vhdx and
 * sparse vmdk extents have in common.  For block formats only.
 *
 * A format describes its table in a GrainMap and its entries in GrainOps; reading, writing with
 * allocation, zeroes, status and ordered write-back are here.
 *
 *     map->ops = &vdi_grain_ops;
 *     grain_map_init(map, node, node->file->node);
 *     ...
 *     ret = co_grain_preadv(map, offset, span);
 *
 * Crash consistency: data goes to the file at once, table entries stay in a cache of pages until
 * co_grain_flush(), which flushes the data first.  A cut leaves unused space at worst.
 *
 * Thread rule: coroutines on the node's event loop; `lock` covers the table, and is held over
 * writes that allocate.
 */
#ifndef BLOCK_GRAIN_H
#define BLOCK_GRAIN_H

#include "block/driver.h"

typedef enum GrainKind {
    GRAIN_HOLE,                /* the backing file decides */
    GRAIN_ZERO,
    GRAIN_DATA,                /* at HOST, as it is */
    GRAIN_PACKED,              /* at HOST, as only the format can tell */
    GRAIN_BAD,                 /* an entry that makes no sense */
} GrainKind;

typedef struct GrainPlace {
    GrainKind kind;
    uint64_t host;
} GrainPlace;

typedef struct GrainPage {
    uint64_t index;            /* of the page in the table */
    uint64_t offset;           /* in the file */
    uint8_t *data;
    bool dirty;
} GrainPage;

typedef struct GrainMap GrainMap;

typedef struct GrainOps {
    GrainPlace (*decode)(GrainMap *map, uint64_t grain, uint64_t entry);
    /* HOLE is never asked for. */
    uint64_t (*encode)(GrainMap *map, uint64_t grain, GrainPlace place);
    /* The table index of a grain; NULL: the same. */
    uint64_t (*index)(const GrainMap *map, uint64_t grain);
    /* Where a page of the table is; 0: nowhere.  NULL: at table_offset, one after the other. */
    int (*co_page)(GrainMap *map, uint64_t page, bool create, uint64_t *offset);
    /* A place for a grain, usually behind the end of the file. */
    int (*co_alloc)(GrainMap *map, uint64_t *host);
    /* Writes dirty pages, durably or not; NULL: each to its offset. */
    int (*co_write_pages)(GrainMap *map, GPtrArray *pages);
    /* Unpacks a PACKED grain into BUF (map->grain bytes). */
    int (*co_unpack)(GrainMap *map, uint64_t grain, uint64_t host, uint8_t *buf);
} GrainOps;

struct GrainMap {
    const GrainOps *ops;
    BlockNode *node, *file;
    uint64_t base;             /* guest offset of the first grain, for the backing file */
    uint64_t length;           /* bytes covered */
    uint32_t grain;            /* bytes of one */
    uint64_t data_start;       /* lowest place a grain may have */
    uint64_t table_offset;
    uint32_t page_bytes, entry_bytes;
    bool big_endian, zero_entries; /* zero_entries: ZERO can be encoded */
    void *format;              /* the format's own */

    CoMutex lock;
    GHashTable *pages;         /* of GrainPage by index */
    GPtrArray *dirty;          /* of GrainPage, borrowed */
    uint8_t *unpacked;         /* the last PACKED grain */
    uint64_t unpacked_host;
};

/* OPS, sizes and the table's place must be set; LENGTH and BASE too. */
void grain_map_init(GrainMap *map, BlockNode *node, BlockNode *file);
void grain_map_clear(GrainMap *map);

/* With the lock held. */
int co_grain_entry(GrainMap *map, uint64_t grain, uint64_t *entry);
int co_grain_set(GrainMap *map, uint64_t grain, uint64_t entry);
/* The next multiple of ALIGN at or behind the end of the file. */
uint64_t grain_file_end(const GrainMap *map, uint64_t align);

/* Offsets are relative to the map. */
int co_grain_preadv(GrainMap *map, uint64_t offset, IoSpan span);
int co_grain_pwritev(GrainMap *map, uint64_t offset, IoSpan span);
int co_grain_write_zeroes(GrainMap *map, uint64_t offset, uint64_t bytes, int flags);
int co_grain_status(GrainMap *map, uint64_t offset, uint64_t bytes, BlockStatus *status);
/* Data, then the table; the caller (or the core) flushes the table. */
int co_grain_flush(GrainMap *map);

/* Each grain's place: one that is out of bounds or used twice is reported; counts those in use. */
int co_grain_check(GrainMap *map, CheckResult *result, uint64_t *allocated);

#endif
