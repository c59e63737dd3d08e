/* SPDX-License-Identifier: MIT */
/*
 * vhdx: shared by block/vhdx*.c only.  Layout: docs/formats/vhdx.md; spec: [MS-VHDX].
 *
 * The log.  All changes of the block table go through it: an entry with the new sectors is written
 * at the start of the log and flushed, then the sectors in place and flushed.  There is one entry
 * at a time, and it is always the newest, so replaying it at any moment does no harm.
 *
 * Locking: the grain map's lock; open and create run alone.
 */
#ifndef BLOCK_VHDX_H
#define BLOCK_VHDX_H

#include "block/grain.h"
#include "block/types.h"

#define VHDX_HEADER_LEN 4096u
#define VHDX_LOG_SECTOR 4096u

enum { H_CHECKSUM = 4, H_SEQUENCE = 8, H_FILE_GUID = 16, H_DATA_GUID = 32, H_LOG_GUID = 48,
       H_LOG_VERSION = 64, H_VERSION = 66, H_LOG_LEN = 68, H_LOG_OFFSET = 72 };

typedef struct VhdxArea {
    uint64_t offset, bytes;
} VhdxArea;

typedef struct Vhdx {
    GrainMap map;
    uint8_t header[VHDX_HEADER_LEN];   /* the current one */
    unsigned current;                  /* 0 or 1: which of the two it is */
    VhdxArea log, bat, metadata;
    uint64_t chunk_ratio;
    uint64_t log_sequence;
    bool marked;                       /* this opening has changed the GUIDs */
    bool replayed;
} Vhdx;

uint32_t vhdx_crc32c(const uint8_t *p, size_t len, size_t skip);
/* A header with a higher number, to both places, one after the other. */
int co_vhdx_header_update(Vhdx *v);
/* What a log that was left behind says.  *NEEDED without REPLAY: there is something. */
bool co_vhdx_log_replay(Vhdx *v, BlockNode *file, bool replay, bool *needed, GError **error);
/* The hook of the grain map. */
int co_vhdx_write_pages(GrainMap *map, GPtrArray *pages);

bool vhdx_create(const char *filename, NodeOpts *opts, GError **error);

/* GUIDs as they are in the file. */
extern const uint8_t vhdx_guid_bat[16], vhdx_guid_metadata[16];
typedef enum VhdxItem {
    VHDX_FILE_PARAMETERS, VHDX_DISK_SIZE, VHDX_PAGE83, VHDX_LOGICAL_SECTOR, VHDX_PHYSICAL_SECTOR,
    VHDX_PARENT, VHDX_ITEMS,
} VhdxItem;
typedef struct VhdxItemType {
    uint8_t guid[16];
    uint32_t bytes, flags;     /* flags: as create writes them */
} VhdxItemType;
extern const VhdxItemType vhdx_items[VHDX_ITEMS];

enum { VHDX_NOT_PRESENT = 0, VHDX_UNDEFINED = 1, VHDX_ZERO = 2, VHDX_UNMAPPED = 3,
       VHDX_PRESENT = 6, VHDX_PARTIAL = 7 };
#define VHDX_OFFSET_MASK (~(uint64_t)0xfffff)

#endif
