/* SPDX-License-Identifier: MIT */
/*
 * qcow2, versions 2 and 3: shared by block/qcow2_*.c only.  Layout: docs/formats/qcow2.md.
 *
 * Crash consistency.  All metadata is written back by co_qcow2_writeback() in this order:
 *
 *   1 refcount blocks (increments only)   2 flush   3 L2 slices   4 flush   5 L1 entries
 *   6 flush   7 decrement, in the cache, what was freed since the last time
 *
 * Invariants:
 *  Q1  a cluster that any table on disk refers to has, on disk, at least that refcount.
 *  Q2  a cluster is handed out again only after the tables without it are on disk (step 7).
 *  Q3  an L2 entry appears in the cache after its data has been written to the file, so step 2
 *      makes the data durable before the entry.
 *  Q4  no two requests work on one cluster while one of them changes its mapping (requests list).
 * A cut anywhere therefore leaves leaks at worst.  Snapshot operations touch the COPIED flags of
 * many clusters; they set the dirty bit of the header, which makes the next opener repair.
 *
 * Lazy refcounts: the dirty bit is on disk before the first increment would be (`late`), and from
 * then on step 1 is left out until the image is closed: who opens it after a cut counts anew, so Q1
 * holds there.  Step 2 stays: it also keeps entries from leading behind the end of the file.
 *
 * Locking: `lock` (a CoMutex) covers every field here; data I/O happens outside it.
 */
#ifndef BLOCK_QCOW2_H
#define BLOCK_QCOW2_H

#include "block/bitmap.h"
#include "block/luks.h"
#include "block/sector_cipher.h"
#include "block/types.h"

#define QCOW2_MAGIC 0x514649fbu
#define ENTRY_COPIED BIT64(63)
#define ENTRY_COMPRESSED BIT64(62)
#define ENTRY_ZERO 1ull
#define ENTRY_OFFSET_MASK 0x00fffffffffffe00ull
#define REFTABLE_OFFSET_MASK 0xfffffffffffffe00ull

enum { INCOMPAT_DIRTY = 1, INCOMPAT_CORRUPT = 2, INCOMPAT_DATA_FILE = 4, INCOMPAT_COMPRESSION = 8,
       INCOMPAT_EXT_L2 = 16 };
enum { COMPAT_LAZY_REFCOUNTS = 1 };
enum { AUTOCLEAR_BITMAPS = 1, AUTOCLEAR_DATA_FILE_RAW = 2 };

#define MAX_L1_BYTES (32u << 20)
#define MAX_REFTABLE_BYTES (8u << 20)
#define MAX_SNAPSHOTS 65536u
#define MAX_SNAPSHOT_TABLE (64u << 20)

typedef struct Slice {
    uint64_t offset;
    uint8_t *data;
    bool dirty;
    int64_t used_us;           /* with cache-clean-interval */
    uint64_t moved;            /* to the head of the queue, as the cache counts that */
    GList link;
} Slice;

#define SLICES_AT_HAND 16

typedef struct SliceCache {
    GHashTable *map;
    Slice *at_hand[SLICES_AT_HAND];  /* some of them, by slice_hash() */
    GQueue lru;                /* head: most recent, to within a quarter of max */
    uint64_t moves;
    GPtrArray *dirty;
    unsigned max;
    int64_t keep_us, clean_us; /* cache-clean-interval, 0: off; when that was done last */
} SliceCache;

/* Why clusters become free: which of them are given back to the host is an option each. */
typedef enum FreeKind { FREE_REQUEST, FREE_SNAPSHOT, FREE_OTHER, FREE_KEEP, FREE_KINDS } FreeKind;

typedef struct Qcow2Snapshot {
    SnapshotInfo info;
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint8_t *extra;            /* what we do not know behind the known extra data */
    uint32_t extra_len;
} Qcow2Snapshot;

typedef struct Qcow2BitmapEntry {
    char *name;
    uint64_t table;
    uint32_t table_entries, flags, granularity;
} Qcow2BitmapEntry;

typedef struct Qcow2Request {
    uint64_t start, end;       /* guest, cluster aligned */
    bool exclusive;            /* changes the mapping */
    CoQueue waiters;
    struct Qcow2Request *next, **link;   /* link: what points here */
} Qcow2Request;

typedef enum Qcow2CryptMethod { CRYPT_NONE, CRYPT_AES, CRYPT_LUKS } Qcow2CryptMethod;

typedef struct Qcow2Crypt {
    Qcow2CryptMethod method;
    uint64_t offset, bytes;    /* of the LUKS header */
    Luks *luks;
    SectorCipher *aes;
} Qcow2Crypt;

/* Kinds of metadata, for overlap-check. */
enum {
    OVERLAP_MAIN_HEADER = BIT(0), OVERLAP_ACTIVE_L1 = BIT(1), OVERLAP_ACTIVE_L2 = BIT(2),
    OVERLAP_REFCOUNT_TABLE = BIT(3), OVERLAP_REFCOUNT_BLOCK = BIT(4),
    OVERLAP_SNAPSHOT_TABLE = BIT(5), OVERLAP_INACTIVE_L1 = BIT(6), OVERLAP_INACTIVE_L2 = BIT(7),
    OVERLAP_BITMAP_DIRECTORY = BIT(8),
};

/* Which clusters may be such tables: a bit set for each that is, and by chance for some that are not. */
typedef struct TableFilter {
    uint64_t *words;           /* NULL: to be filled */
    unsigned shift;
    uint64_t room;             /* tables until it is too full */
} TableFilter;

typedef struct Qcow2Overlap {
    unsigned kinds;            /* what is looked for */
    TableFilter l2_tables, refblocks;
    GArray *inactive;          /* sorted places of L2 tables of snapshots; NULL: to be read */
} Qcow2Overlap;

typedef struct Qcow2 {
    BlockNode *node, *file, *data;   /* data: the external data file, or file */
    int version;
    uint32_t cluster_bits, cluster_size;
    uint32_t l2_entry_size, l2_bits; /* bytes; log2 of entries per table */
    uint32_t subclusters, subcluster_size;
    uint32_t refcount_order, refcount_bits, rb_bits; /* rb_bits: log2 entries per block */
    uint64_t incompat, compat, autoclear;
    uint8_t compression;       /* 0 zlib, 1 zstd */
    uint32_t header_length;
    bool has_data_file, data_file_raw, read_snapshot;
    char *data_file_name;

    uint64_t *l1;
    uint32_t l1_entries;
    uint64_t l1_offset;
    bool l1_dirty;
    uint64_t *reftable;
    uint32_t reftable_entries;
    uint64_t reftable_offset;
    uint64_t bitmaps_offset, bitmaps_size;
    uint32_t bitmaps_count;
    GPtrArray *bitmaps;        /* of Qcow2BitmapEntry: the directory on disk */
    bool bitmaps_loaded;
    Qcow2Crypt crypt;
    GPtrArray *snapshots;      /* of Qcow2Snapshot */
    uint64_t snapshots_offset, snapshots_size;
    GPtrArray *extensions;     /* unknown ones: GBytes with type, length, data */

    uint32_t slice_size;
    SliceCache l2_cache, ref_cache;
    GArray *deferred;          /* of DeferredFree */
    Qcow2Overlap overlap;
    int8_t pass_discard[FREE_KINDS]; /* -1: as discard= of the node says */
    uint64_t free_index;
    uint64_t compressed_at;    /* next free byte in a cluster of compressed data; 0: none */
    uint8_t *decompressed;     /* last cluster read */
    uint64_t decompressed_for; /* its L2 entry */
    uint64_t l2_changes;       /* counts them: what was read before one may be stale */
    CoMutex lock;
    Qcow2Request *requests;
    unsigned exclusive;        /* of these */
    bool sparse_checked, sparse_data;
    bool broken;               /* metadata I/O failed half way: no more writes */
    bool corrupt;              /* tables that cannot be right were met */
    bool lazy;                 /* refcounts may be written late */
    bool late;                 /* and are: the dirty bit is on disk for that reason */
    bool keep_dirty;           /* it is there for another reason too */
} Qcow2;

typedef struct DeferredFree {
    uint64_t cluster;
    bool punch;
} DeferredFree;

/* ---- qcow2_meta.c: caches, refcounts, allocation.  All with the lock held. ---- */

void slice_cache_init(SliceCache *cache, unsigned max);
void slice_cache_clear(SliceCache *cache);
/* Drops what has not been used for the cache's keep_us. */
void slice_cache_clean(SliceCache *cache, int64_t now_us);
int co_slice_get(Qcow2 *q, SliceCache *cache, uint64_t offset, Slice **slice);
static inline unsigned slice_hash(uint64_t offset)
{
    return (unsigned)(offset * UINT64_C(0x9e3779b97f4a7c15) >> 60);
}
G_STATIC_ASSERT(SLICES_AT_HAND == 1 << 4);

void slice_move_to_head(SliceCache *cache, Slice *slice);
/* Room is made in the last half of the queue.  What was among the first max / 4 then and is used again
 * may stay where it is: it is no further back than in the first half. */
static inline void slice_use(SliceCache *cache, Slice *slice)
{
    if (cache->keep_us || cache->moves - slice->moved >= cache->max / 4) {
        slice_move_to_head(cache, slice);
    }
}

/* The same without waiting or a search; NULL does not mean that it is not in the cache. */
static inline Slice *slice_at_hand(SliceCache *cache, uint64_t offset)
{
    Slice *slice = cache->at_hand[slice_hash(offset)];

    if (!slice || slice->offset != offset) {
        return NULL;
    }
    slice_use(cache, slice);
    return slice;
}

void slice_set_dirty(SliceCache *cache, Slice *slice);
/* Forgets slices of a cluster that is no table any more. */
void slice_cache_drop(Qcow2 *q, SliceCache *cache, uint64_t offset, uint64_t bytes);
int co_qcow2_writeback(Qcow2 *q);
/* Ends lateness: the counts are on disk, and the dirty bit is off. */
int co_qcow2_counts_settle(Qcow2 *q);
/* The refcounts as they are in the cache, whatever the order. */
int co_refcounts_write(Qcow2 *q);

uint64_t refcount_max(const Qcow2 *q);
uint64_t refcount_load(const Qcow2 *q, const void *block, uint64_t index);
void refcount_store(const Qcow2 *q, void *block, uint64_t index, uint64_t value);
int co_refcount_get(Qcow2 *q, uint64_t cluster, uint64_t *value);
int co_refcount_add(Qcow2 *q, uint64_t cluster, int delta);
/* Makes sure that a refcount block covers CLUSTER. */
int co_refblock_ensure(Qcow2 *q, uint64_t cluster, bool *created);
/* 1..WANT contiguous clusters; all of WANT with EXACT. */
int co_alloc(Qcow2 *q, uint64_t want, bool exact, uint64_t *host, uint64_t *got);
int co_alloc_bytes(Qcow2 *q, uint32_t size, uint64_t *host);
void free_later(Qcow2 *q, uint64_t host, uint64_t bytes, FreeKind kind);
/* Everything that an L2 entry holds. */
void free_entry_later(Qcow2 *q, uint64_t entry, FreeKind kind);
int co_l1_grow(Qcow2 *q, uint64_t entries);
int co_l1_write(Qcow2 *q);
void compressed_extent(const Qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes);

/* ---- qcow2_corrupt.c ---- */

/* Marks the image and tells of it, once.  SIZE 0: no place to name.  Returns -EIO. */
int co_qcow2_corrupt(Qcow2 *q, uint64_t offset, uint64_t size, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* ---- qcow2_overlap.c ---- */

bool qcow2_overlap_take(Qcow2 *q, NodeOpts *opts, GError **error);
/* What a write of these bytes of the file would lie over: a name, or NULL.  OWN: kinds of tables that are
 * written on purpose. */
const char *co_qcow2_overlaps(Qcow2 *q, unsigned own, uint64_t host, uint64_t bytes);
/* Whether the cluster at HOST is certainly none, found at once; if not, the other one has to look. */
bool qcow2_overlap_certainly_none(const Qcow2 *q, uint64_t host);
/* A table has got a place; all of them have, or those of snapshots. */
void qcow2_overlap_note_l2(Qcow2 *q, uint64_t table);
void qcow2_overlap_note_refblock(Qcow2 *q, uint64_t block);
void qcow2_overlap_forget(Qcow2 *q);

/* ---- qcow2_io.c ---- */

int co_l2_get(Qcow2 *q, uint64_t guest, bool write, Slice **slice, unsigned *index,
              unsigned *left);
uint64_t l2_entry(const Qcow2 *q, const Slice *slice, unsigned index);
uint64_t l2_bitmap(const Qcow2 *q, const Slice *slice, unsigned index);
void l2_store(Qcow2 *q, Slice *slice, unsigned index, uint64_t entry, uint64_t bitmap);
/* May the cluster of ENTRY be written in place? */
bool qcow2_may_overwrite(const Qcow2 *q, uint64_t entry);
/* Requests that exclude each other (Q4). */
void qcow2_request_begin(Qcow2 *q, Qcow2Request *r, uint64_t start, uint64_t end,
                         bool exclusive);
void qcow2_request_end(Qcow2 *q, Qcow2Request *r);
/* Waits, with the lock dropped meanwhile, for what stands in the way. */
void co_qcow2_wait_conflicts(Qcow2 *q, uint64_t start, uint64_t end, bool exclusive);
int co_qcow2_preadv(BlockNode *node, uint64_t offset, IoSpan span);
int co_qcow2_pwritev(BlockNode *node, uint64_t offset, IoSpan span, int flags);
int co_qcow2_status(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status);

/* ---- qcow2_zero.c ---- */

int co_qcow2_write_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes, int flags);
int co_qcow2_discard(BlockNode *node, uint64_t offset, uint64_t bytes);
int co_qcow2_discard_clusters(Qcow2 *q, uint64_t start, uint64_t end, bool full);
/* Gives every cluster of the range a place, reading as zeroes. */
int co_qcow2_preallocate(Qcow2 *q, uint64_t start, uint64_t end);

/* ---- qcow2_codec.c ---- */

/* Of the compressed cluster at ENTRY, from byte IN_CLUSTER on. */
int co_qcow2_read_compressed(BlockNode *node, uint64_t entry, uint64_t in_cluster, IoSpan span);
int co_qcow2_write_compressed(BlockNode *node, uint64_t offset, IoSpan span);

/* ---- qcow2_resize.c ---- */

bool co_qcow2_truncate(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                       GError **error);

/* ---- qcow2_create.c ---- */

bool qcow2_create(const char *filename, NodeOpts *opts, GError **error);
bool qcow2_measure(NodeOpts *opts, BlockNode *source, uint64_t *required, uint64_t *full,
                   uint64_t *bitmaps, GError **error);

/* ---- qcow2.c ---- */

int co_header_write(Qcow2 *q);
/* What follows from cluster_bits, refcount_order and the features. */
void qcow2_note_sizes(Qcow2 *q);
bool qcow2_change_backing(BlockNode *node, const char *file, const char *format, GError **error);
int co_set_incompat(Qcow2 *q, uint64_t bit, bool on);
int co_qcow2_flush(BlockNode *node);

/* ---- qcow2_snapshot.c ---- */

bool qcow2_snapshots_read(Qcow2 *q, uint32_t count, uint64_t offset, GError **error);
bool qcow2_snapshot_create(BlockNode *node, const char *name, const SnapshotInfo *vm,
                           GError **error);
bool qcow2_snapshot_apply(BlockNode *node, const char *id, GError **error);
bool qcow2_snapshot_delete(BlockNode *node, const char *id, GError **error);
GPtrArray *qcow2_snapshot_list(BlockNode *node, GError **error);
bool qcow2_snapshot_load_tmp(BlockNode *node, const char *id, GError **error);
void qcow2_snapshot_free(gpointer snapshot);

/* ---- qcow2_crypt.c ---- */

/* Loads the LUKS header, and unlocks it with "encrypt.key-secret" of OPTS. */
bool co_qcow2_crypt_open(Qcow2 *q, NodeOpts *opts, GError **error);
void qcow2_crypt_close(Qcow2 *q);
/* What create was asked for; FORMAT NULL: no encryption. */
typedef struct Qcow2CryptCreate {
    Qcow2CryptMethod method;
    LuksCreate luks;
} Qcow2CryptCreate;
bool qcow2_crypt_take(Qcow2CryptCreate *c, NodeOpts *opts, GError **error);
void qcow2_crypt_clear(Qcow2CryptCreate *c);
/* Makes a fresh, empty image an encrypted one. */
bool co_qcow2_crypt_create(Qcow2 *q, const Qcow2CryptCreate *c, GError **error);
/* Data of the guest at GUEST, which lies at HOST of the data file. */
int co_qcow2_data_read(Qcow2 *q, uint64_t guest, uint64_t host, IoSpan span);
int co_qcow2_data_write(Qcow2 *q, uint64_t guest, uint64_t host, IoSpan span);
void qcow2_crypt_info(const Qcow2 *q, Json *data);

/* ---- qcow2_bitmap.c ---- */

void qcow2_bitmaps_init(Qcow2 *q);
/* Makes DirtyBitmaps of the node from what is on disk. */
bool qcow2_bitmaps_load(Qcow2 *q, GError **error);
/* Where the image may be written, those on disk are marked as in use. */
bool qcow2_bitmaps_mark(Qcow2 *q, GError **error);
/* At close, or before the image becomes read-only: what is in memory replaces what is on disk. */
int co_qcow2_bitmaps_store(Qcow2 *q);
bool qcow2_bitmap_can_store(BlockNode *node, const char *name, uint32_t granularity,
                            GError **error);
bool qcow2_bitmaps_can_resize(Qcow2 *q, GError **error);
void qcow2_bitmaps_info(Qcow2 *q, Json *data);
uint64_t qcow2_bitmaps_measure(const BlockNode *source, uint64_t cluster);

/* ---- qcow2_check.c ---- */

bool qcow2_check(BlockNode *node, int fix, CheckResult *result, GError **error);
/*
 * A whole new refcount structure of 2^ORDER bits from cluster AT on, which must be behind all that
 * is in use; VALUE tells the count of each cluster before it.  The header switches over.
 */
int co_refcounts_replace(Qcow2 *q, unsigned order, uint64_t at,
                         uint64_t (*value)(void *opaque, uint64_t cluster), void *opaque);

/* ---- qcow2_amend.c ---- */

bool qcow2_amend(BlockNode *node, NodeOpts *opts, GError **error);
extern const char qcow2_amend_help[];

#endif
