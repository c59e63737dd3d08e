/* SPDX-License-Identifier: MIT */
/*
 * vmdk: shared by block/vmdk*.c only.  Layout: docs/formats/vmdk.md; spec: VMware's "Virtual Disk
 * Format 5.0".
 *
 * An image is a descriptor (text) and extents, in the same file or in files beside it.
 * Locking: each sparse extent has its grain map's lock; the descriptor is changed with the lock of
 * the image.
 */
#ifndef BLOCK_VMDK_H
#define BLOCK_VMDK_H

#include "block/grain.h"
#include "block/types.h"

#define VMDK_MAGIC 0x564d444bu     /* "KDMV" */
#define VMDK_MAGIC_COWD 0x44574f43u
#define VMDK_NO_PARENT UINT32_MAX
#define VMDK_GD_AT_END UINT64_MAX

enum {                             /* offsets in a sparse extent's header */
    S_MAGIC = 0, S_VERSION = 4, S_FLAGS = 8, S_CAPACITY = 12, S_GRAIN = 20, S_DESC_OFFSET = 28,
    S_DESC_SIZE = 36, S_GTES = 44, S_RGD = 48, S_GD = 56, S_OVERHEAD = 64, S_UNCLEAN = 72,
    S_LINE_ENDS = 73, S_COMPRESSION = 77, S_LEN = 512,
};
enum { FLAG_LINE_ENDS = 1, FLAG_RGD = 2, FLAG_ZERO_GRAIN = 4, FLAG_COMPRESSED = 1 << 16,
       FLAG_MARKERS = 1 << 17 };

typedef enum VmdkExtentKind { VMDK_FLAT, VMDK_SPARSE, VMDK_ZERO } VmdkExtentKind;

typedef struct VmdkExtent {
    VmdkExtentKind kind;
    char *type;                    /* as the descriptor spells it; "" when it lies within */
    const BlockChild *edge;
    BlockNode *file;               /* what the edge leads to */
    uint64_t start, length;        /* in the disk */
    uint64_t flat_offset;          /* of a flat one in its file */

    GrainMap map;                  /* sparse */
    bool compressed, markers, footer;
    uint32_t *gd, *rgd;            /* first sectors of the grain tables; rgd: or NULL */
    uint32_t gd_entries;
    uint64_t gd_offset, rgd_offset;
} VmdkExtent;

typedef struct Vmdk {
    BlockNode *node;
    GPtrArray *extents;            /* of VmdkExtent, by start */
    char *descriptor, *create_type;
    uint64_t descriptor_offset, descriptor_room;
    uint32_t cid, parent_cid;
    bool embedded, cid_changed, parent_checked, parent_ok;
    CoMutex lock;
} Vmdk;

/* ---- vmdk_sparse.c ---- */

/* Header and grain directory of the extent in E->file.  LENGTH 0: as the header has it. */
bool vmdk_sparse_open(BlockNode *node, VmdkExtent *e, uint64_t length, GError **error);
void vmdk_sparse_close(VmdkExtent *e);
/* A whole grain, compressed, to a place that must be free. */
int co_vmdk_write_compressed(VmdkExtent *e, uint64_t offset, IoSpan span);
/* An empty extent of SIZE bytes, with room for a descriptor. */
typedef struct VmdkSparseNew {
    uint64_t size;
    bool compressed, zeroed_grain;
    const char *descriptor;        /* or NULL */
} VmdkSparseNew;
bool vmdk_sparse_create(BlockNode *file, const void *args, GError **error);

/* ---- vmdk_create.c ---- */

bool vmdk_create(const char *filename, NodeOpts *opts, GError **error);
extern const char vmdk_create_help[];

#endif
