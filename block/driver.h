/* SPDX-License-Identifier: MIT */
/*
 * What a node type is: one NodeType row, and the struct behind BlockNode.  For block/ only.
 *
 * The core (graph.c, io.c) guarantees to every hook: it runs in a coroutine on the node's loop;
 * requests lie within [0, length) (a protocol also gets writes behind its end when a parent may
 * resize); they are aligned to limits.align; BLK_REQ_FUA is only passed when fua is true; no
 * write reaches a read-only node.  Hooks of graph changes run drained on the main loop.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "base/bits.h"
#include "base/error.h"
#include "block/graph.h"
#include "qapi/qapi_types.h"

typedef struct NodeType NodeType;
typedef struct DirtyBitmap DirtyBitmap;

typedef enum DetectZeroes { DETECT_OFF, DETECT_ON, DETECT_UNMAP } DetectZeroes;

typedef struct NodeLimits {
    uint32_t align;            /* of offset and length of requests; power of two */
    uint32_t mem_align;        /* of buffers; 1: any */
    uint32_t max_transfer;     /* 0: no limit */
    uint32_t max_zero, max_discard;
    uint32_t zero_align;       /* preferred granularity of write_zeroes */
    uint32_t discard_align;
} NodeLimits;

struct BlockChild {
    char *name;
    BlockNode *node;           /* the child */
    BlockNode *parent;         /* NULL: a root edge */
    uint32_t perm, shared;
    uint32_t next_perm, next_shared; /* wishes, while a change is being checked */
    const ChildHooks *hooks;   /* root edges */
    void *opaque;
    bool quiesced;             /* root edges: drained_begin() was called */
};

typedef struct TrackedWrite TrackedWrite;

struct BlockNode {
    const NodeType *type;
    void *state;
    char *name, *filename;     /* filename: of the file below, for relative names */
    char *json_filename;       /* json:{...}, where a plain name would not open the same; or NULL */
    unsigned refs;
    bool monitor_owned;
    int flags;
    EventLoop *loop;
    NodeLimits limits;
    uint64_t length;
    bool fixed_length;
    bool implicit;             /* a filter that the user did not name: query-block hides it */
    bool read_only, fua, force_share, no_flush, direct, discard_unmap, probed, encrypted;
    bool grows;                /* protocol: write behind the end extends */
    bool dirty_since_flush;
    DetectZeroes detect_zeroes;
    BlockChild *file, *backing, *data_file;
    char *backing_file, *backing_format;
    bool backing_overridden;   /* by the option backing= */
    GPtrArray *children;       /* of BlockChild, owned */
    GPtrArray *parents;        /* of BlockChild, borrowed */
    uint32_t perm, shared;     /* sums over the parents, as granted */
    uint32_t next_perm, next_shared;
    unsigned in_flight, quiesced;
    unsigned serialising;      /* who needs writes to exclude each other */
    TrackedWrite *tracked;
    GPtrArray *bitmaps;        /* of DirtyBitmap */
    uint64_t write_gen;        /* bumped by each completed write */
    uint64_t wr_highest;
    uint64_t write_threshold;  /* tell of a write beyond it, once; 0: no */
    NodeOpts *options;         /* as opened, flat */
};

struct NodeType {
    const char *name;
    const char *prefixes;      /* protocols: "file", "nbd,nbd+unix": filename scheme(s) */
    size_t state_size;
    bool is_protocol, is_filter, has_backing, has_variable_length, no_file;
    bool internal;             /* made by jobs only */
    bool grows_with_file;      /* writes behind the end go there, unless fixed_length */
    bool own_length;           /* a filter that is not as long as what is below */
    bool zero_init;            /* a fresh image reads as zeroes */
    /* 0..100 how surely HEAD is ours. */
    int (*probe)(const uint8_t *head, size_t len, const char *filename);
    /* Format: node->file is open.  Sets length, limits, backing_file. */
    bool (*open)(BlockNode *node, NodeOpts *opts, GError **error);
    void (*close)(BlockNode *node);
    /* Turns the protocol's own filename syntax into options. */
    bool (*parse_filename)(const char *filename, NodeOpts *opts, GError **error);
    /* Options, "KEY" or "KEY.", without which the data would be other data; NULL-terminated. */
    const char *const *telling_options;

    int (*co_preadv)(BlockNode *node, uint64_t offset, IoSpan span);
    int (*co_pwritev)(BlockNode *node, uint64_t offset, IoSpan span, int flags);
    int (*co_write_zeroes)(BlockNode *node, uint64_t offset, uint64_t bytes, int flags);
    int (*co_discard)(BlockNode *node, uint64_t offset, uint64_t bytes);
    /* To the file below; the core flushes that one afterwards. */
    int (*co_flush)(BlockNode *node);
    int (*co_status)(BlockNode *node, uint64_t offset, uint64_t bytes, BlockStatus *status);
    /* Copies within the host, both nodes being of this type; -ENOTSUP: it cannot. */
    int (*co_copy_range)(BlockNode *from, uint64_t from_offset, BlockNode *to, uint64_t to_offset,
                         uint64_t bytes);
    /* A SCSI command for the device itself, sg_io_hdr of <scsi/sg.h>; only where scsi() says so. */
    int (*co_scsi)(BlockNode *node, struct sg_io_hdr *io);
    NodeScsi (*scsi)(const BlockNode *node);
    int (*co_write_compressed)(BlockNode *node, uint64_t offset, IoSpan span);
    /* Is this image one that is only written in whole, compressed clusters? */
    bool (*wants_compressed)(const BlockNode *node);
    bool (*co_truncate)(BlockNode *node, uint64_t length, bool exact, const char *prealloc,
                        GError **error);
    /* blkdebug: what the format above is about to do to it. */
    void (*event)(BlockNode *node, QapiBlkdebugEvent event);
    /* See node_debug(); 0 or a negative errno. */
    int (*debug)(BlockNode *node, NodeDebugOp op, const char *event, const char *tag);

    /* Locks of other processes: the sums just computed.  Called before they are stored. */
    bool (*set_perm)(BlockNode *node, uint32_t perm, uint32_t shared, GError **error);

    /* What the child at EDGE is needed for, where the rules of graph_perm.c do not fit. */
    void (*child_perm)(const BlockNode *node, const BlockChild *edge, uint32_t perm,
                       uint32_t shared, uint32_t *child_perm, uint32_t *child_shared);
    /* EDGE leads to another node now: drop what was derived from the old one.  Drained. */
    void (*child_moved)(BlockNode *node, const BlockChild *edge);
    /* READ_ONLY is about to change; the children have been changed to fit.  Drained. */
    bool (*reopen)(BlockNode *node, bool read_only, GError **error);

    /* blockdev-reopen: the options of its own that may change (NULL-terminated), and their new
     * values, among all others; what is absent has its default again.  All or nothing.  Drained. */
    const char *const *changeable;
    bool (*change_options)(BlockNode *node, NodeOpts *opts, GError **error);

    /* Takes a name that is free, by an empty file; and removes that again: image_claim(). */
    bool (*claim)(const char *filename);
    void (*unclaim)(const char *filename);
    bool (*create)(const char *filename, NodeOpts *opts, GError **error);
    const char *create_help;   /* "  size=<size>            - Virtual disk size\n" ... */
    uint32_t (*cluster_size)(const BlockNode *node);
    void (*info)(BlockNode *node, Json *image_info);
    Json *(*stats)(BlockNode *node);   /* BlockStatsSpecific */
    uint64_t (*allocated_size)(BlockNode *node);
    bool (*check)(BlockNode *node, int fix, CheckResult *result, GError **error);
    bool (*change_backing)(BlockNode *node, const char *file, const char *format,
                           GError **error);
    bool (*amend)(BlockNode *node, NodeOpts *opts, GError **error);
    const char *amend_help;
    bool (*make_empty)(BlockNode *node, GError **error);
    bool (*measure)(NodeOpts *opts, BlockNode *source, uint64_t *required, uint64_t *full,
                    uint64_t *bitmaps, GError **error);
    bool (*snapshot_create)(BlockNode *node, const char *name, const SnapshotInfo *vm,
                            GError **error);
    bool (*snapshot_apply)(BlockNode *node, const char *id, GError **error);
    bool (*snapshot_delete)(BlockNode *node, const char *id, GError **error);
    GPtrArray *(*snapshot_list)(BlockNode *node, GError **error);
    bool (*snapshot_load_tmp)(BlockNode *node, const char *id, GError **error);
    /* Could this bitmap be kept in the image?  Those that are marked persistent are, at close. */
    bool (*bitmap_can_store)(BlockNode *node, const char *name, uint32_t granularity,
                             GError **error);
};

/* A format tells the node that holds its data what comes next. */
static inline void node_event(BlockNode *file, QapiBlkdebugEvent event)
{
    if (G_UNLIKELY(file->type->event)) {
        file->type->event(file, event);
    }
}

/* All types; the table is in block/types.c. */
const NodeType *node_type_find(const char *name);
const NodeType *node_type_at(unsigned index);      /* NULL past the end */
/* By "scheme:" of a filename; the file protocol when there is none. */
const NodeType *node_type_for_filename(const char *filename, GError **error);

/* Opens (or refers to) the child NAME of NODE while NODE is being opened: by "NAME" (a node name),
 * by "NAME.*" options, or by FILENAME. */
BlockChild *node_open_child(BlockNode *node, const char *name, const char *filename,
                            NodeOpts *opts, int flags, GError **error);
BlockChild *node_attach_child(BlockNode *node, BlockNode *child, const char *name,
                              GError **error);
void node_detach_child(BlockNode *node, BlockChild *child);
/* NODE is LENGTH bytes long from now on: its filters and devices hear of it. */
void node_length_changed(BlockNode *node, uint64_t length);
/* Is a drain on, anywhere? */
bool graph_is_draining(void);
/* Calls FN soon, from the main loop, but not while somebody waits for a drain: it may change the
 * graph.  FN checks graph_is_waiting() itself, and comes back here, for a wait may have begun. */
void graph_post(LoopFn *fn, void *opaque);
bool graph_is_waiting(void);
/* Fails when it is the child of another node: "... is used as backing hd of 'b'". */
bool node_check_no_parent(const BlockNode *node, GError **error);
/* Opens the backing file that the header names, where that was left out. */
bool node_open_backing(BlockNode *node, GError **error);
/* Recomputes what NODE needs from its children (after read_only or perm changed). */
bool node_refresh_perms(BlockNode *node, GError **error);

/* The create hook of protocols whose files exist and cannot change their size (devices, exports):
 * what is there must be long enough, and its first sector is cleared, so that no old format is
 * found in it. */
bool create_in_place(const char *filename, NodeOpts *opts, GError **error);
/* Creates FILENAME by its protocol, LENGTH bytes long, and opens it for writing; "node:NAME" is
 * an open node instead (blockdev-create). */
BlockNode *image_create_file(const char *filename, uint64_t length, GError **error);
/* The same, and lets WRITE fill it. */
bool image_write_new(const char *filename, bool (*write)(BlockNode *file, const void *args,
                                                         GError **error),
                     const void *args, GError **error);
/* One of the NULL-terminated NAMES into *CHOICE, which stays as it is when KEY is absent. */
bool create_take_choice(NodeOpts *opts, const char *key, const char *const *names,
                        unsigned *choice, GError **error);
/* "size" and checks of it: multiple of 512, at most MAX. */
bool create_take_size(NodeOpts *opts, uint64_t max, uint64_t *size, GError **error);
/* Fails when OPTS still has keys. */
bool create_opts_finish(const char *format, NodeOpts *opts, GError **error);

#endif
