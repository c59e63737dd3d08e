/* SPDX-License-Identifier: MIT */
/*
 * Block nodes: the graph.  Requests are in block/io.h, node types in block/driver.h.
 *
 * A node is one row of behaviour (a format such as qcow2, a protocol such as file, a filter such
 * as throttle) plus its children ("file", "backing", "data-file").  Each edge states what the
 * parent does (perm) and what it lets others do (shared); node_open() and every change of the
 * graph fail when two parents of a node contradict each other, and the file protocol extends
 * this to other processes by locks.
 *
 *     g_autoptr(NodeOpts) opts = node_opts_new();
 *     node_opts_set(opts, "driver", "qcow2");
 *     BlockNode *node = node_open("disk.qcow2", opts, NODE_OPEN_RDWR, error);
 *     ...
 *     node_unref(node);
 *
 * Options are flat: "file.driver" -> "file", values as text ("on"/"off").  -drive gives them so;
 * the JSON of -blockdev is flattened first.  A type takes the keys that it knows; one that is
 * left over is an error naming it.
 *
 * Thread rule: main loop only; graph changes happen drained.  May be called in a coroutine.
 */
#ifndef BLOCK_GRAPH_H
#define BLOCK_GRAPH_H

#include "base/json.h"
#include "block/io.h"

/* ---- options ---- */

typedef struct NodeOpts NodeOpts;
NodeOpts *node_opts_new(void);
void node_opts_free(NodeOpts *opts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NodeOpts, node_opts_free)
NodeOpts *node_opts_copy(const NodeOpts *opts);
void node_opts_set(NodeOpts *opts, const char *key, const char *value);
void node_opts_default(NodeOpts *opts, const char *key, const char *value);
const char *node_opts_get(const NodeOpts *opts, const char *key);
/* Takes the key out; NULL when absent. */
char *node_opts_take(NodeOpts *opts, const char *key);
bool node_opts_take_bool(NodeOpts *opts, const char *key, bool *value, GError **error);
bool node_opts_take_uint(NodeOpts *opts, const char *key, uint64_t *value, GError **error);
/* With QEMU's size suffixes (k, M, G, T, P, E). */
bool node_opts_take_size(NodeOpts *opts, const char *key, uint64_t *value, GError **error);
/* The older name of an option; both are an error. */
bool node_opts_rename(NodeOpts *opts, const char *from, const char *to, GError **error);
/* All of "PREFIX.", without the prefix. */
NodeOpts *node_opts_take_prefix(NodeOpts *opts, const char *prefix);
bool node_opts_empty(const NodeOpts *opts);
const char *node_opts_any_key(const NodeOpts *opts);
/* Nested dicts and lists become dotted keys ("a.0"). */
bool node_opts_add_json(NodeOpts *opts, const Json *dict, GError **error);
/* "a=b,c.d=e" with ",," for a comma; a first item without = gets IMPLIED as its key. */
bool node_opts_add_keyval(NodeOpts *opts, const char *text, const char *implied, GError **error);

/* ---- nodes ---- */

typedef struct BlockChild BlockChild;         /* an edge */

enum {
    NODE_OPEN_RDWR = 1 << 0,
    NODE_OPEN_NO_BACKING = 1 << 1,    /* do not open the backing file */
    NODE_OPEN_PROTOCOL = 1 << 2,      /* filename names a protocol node: no probing */
    NODE_OPEN_NO_IO = 1 << 3,         /* metadata only: no key needed, data-file may be missing */
    NODE_OPEN_CHECK = 1 << 4,         /* be lenient about what check repairs */
    NODE_OPEN_INLINE_IO = 1 << 5,     /* tools: host I/O in the calling thread */
    NODE_OPEN_RESIZE = 1 << 6,        /* the parent may grow a protocol node */
    NODE_OPEN_UNSAFE_BACKING = 1 << 7,/* a missing backing file is no error */
    NODE_OPEN_AUTO_RO = 1 << 8,
    NODE_OPEN_SHORT_INLINE = 1 << 9,  /* tools that serve: short writes there, while they are quick */
    NODE_OPEN_HOST_IO = NODE_OPEN_INLINE_IO | NODE_OPEN_SHORT_INLINE,   /* what nodes below inherit */
};

enum {
    BLK_PERM_CONSISTENT_READ = 1 << 0,
    BLK_PERM_WRITE = 1 << 1,
    BLK_PERM_WRITE_UNCHANGED = 1 << 2,
    BLK_PERM_RESIZE = 1 << 3,
    BLK_PERM_ALL = 15,
};
/* "write, resize" */
char *blk_perm_text(uint32_t perm);

BlockNode *node_open(const char *filename, NodeOpts *opts, int flags, GError **error);
/* What a "file"/"backing" option or a command's argument may be: the name of a node. */
BlockNode *node_by_name(const char *name);
BlockNode *node_next(BlockNode *node);                /* NULL: first */
BlockNode *node_ref(BlockNode *node);
void node_unref(BlockNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockNode, node_unref)
/* -blockdev and blockdev-add: the monitor's own reference. */
bool node_add(NodeOpts *opts, GError **error);
bool node_del(const char *name, GError **error);

const char *node_name(const BlockNode *node);
const char *node_format(const BlockNode *node);
const char *node_filename(const BlockNode *node);
bool node_is_read_only(const BlockNode *node);
BlockNode *node_file(const BlockNode *node);
BlockNode *node_backing(const BlockNode *node);
const char *node_backing_filename(const BlockNode *node);  /* as the header has it, or NULL */
const char *node_backing_format(const BlockNode *node);
/* The backing filename made absolute or relative to the current directory. */
char *node_backing_full(const BlockNode *node, GError **error);
/* PATH as named by an image at BASE: relative ones are relative to BASE's folder. */
char *path_combine(const char *base, const char *path);

/* Records it in the header. */
bool node_change_backing_file(BlockNode *node, const char *file, const char *format,
                              GError **error);

/* ---- chains: a node, its backing file, that one's, ...; filters are passed through ---- */

/* The first node at or below NODE that is no filter. */
BlockNode *node_skip_filters(BlockNode *node);
/* The backing file of what NODE filters; may itself be a filter.  NULL: none. */
BlockNode *node_chain_next(BlockNode *node);
bool node_chain_contains(BlockNode *top, BlockNode *node);
/* The image in TOP's chain whose backing file is NODE; NULL: none. */
BlockNode *node_chain_overlay(BlockNode *top, BlockNode *node);

/*
 * ---- changes while requests run ----
 *
 * Each of these drains what it changes, checks the permissions of the graph as it will be, and
 * undoes everything when they do not fit.  Whoever needs several changes to look like one puts
 * them between node_drained_begin() and node_drained_end().
 *
 *     BlockNode *filter = node_insert_filter(node, opts, error);   // users of NODE now use FILTER
 *     ...
 *     node_remove_filter(filter, error);
 *     node_unref(filter);
 */

/* Replaces the backing child (NULL: none). */
bool node_set_backing(BlockNode *node, BlockNode *backing, GError **error);
/* Whoever uses FROM uses TO afterwards, except nodes below which TO lies, and edges that stay. */
bool node_replace(BlockNode *from, BlockNode *to, GError **error);
/* Opens a filter by OPTS ("driver", ...) above NODE and puts it between NODE and its users. */
BlockNode *node_insert_filter(BlockNode *node, NodeOpts *opts, GError **error);
bool node_remove_filter(BlockNode *filter, GError **error);
/* Reopens the files below too, where they may be (auto-read-only, or not the monitor's). */
bool node_set_read_only(BlockNode *node, bool read_only, GError **error);
/* Another node at the end of an edge between nodes. */
bool node_change_child(BlockChild *edge, BlockNode *to, GError **error);
/* blockdev-reopen: all of them, each named by its "node-name", or none. */
bool node_reopen(NodeOpts *const *opts, unsigned count, GError **error);
/* A filter that nobody uses any more lets go of what is below. */
void node_drop_children(BlockNode *node);

/*
 * ---- nodes on iothreads ----
 *
 * All nodes that are connected belong to one loop, node->loop; joining graphs of two loops moves one
 * of them, or fails.  Requests run there.  What runs on the main loop and touches nodes, backends
 * or jobs does it between graph_hold() and graph_release(), which park the iothreads that serve
 * nodes (nothing, when there are none); every QMP handler, and every [main] function that reads
 * what requests change, begins with
 *
 *     GRAPH_HOLD();                       // until the end of the block
 *
 * GRAPH_WAIT_WHILE() is the only way to wait inside: the iothreads run meanwhile.  Code that needs
 * a coroutine on a node goes through graph_run(), which drains the graph and runs it on the main loop
 * when the node is an iothread's.
 *
 * Invariants:
 *  L1  a request's coroutine has its node's loop as its home, or the whole graph is drained.
 *  L2  node->loop changes drained and held only.
 */
int graph_hold(void);
void graph_release(const int *held);
#define GRAPH_HOLD()                                                                     \
    int graph_held_ __attribute__((cleanup(graph_release), unused)) = graph_hold()
int graph_wait_begin(void);
void graph_wait_turn(void);
void graph_wait_end(int held);
#define GRAPH_WAIT_WHILE(condition)                                                      \
    do {                                                                                 \
        int graph_waits_ = graph_wait_begin();                                           \
                                                                                         \
        while (condition) {                                                              \
            graph_wait_turn();                                                           \
        }                                                                                \
        graph_wait_end(graph_waits_);                                                    \
    } while (0)
/* [any] Something that a GRAPH_WAIT_WHILE() may look at has changed. */
void graph_wait_kick(void);
/* Runs FN as a coroutine that may use NODE (NULL: any node), and waits for it. */
void graph_run(BlockNode *node, CoroutineFn *fn, void *opaque);
/* Runs FN as a coroutine of LOOP, beside its other requests, and waits for it. */
void graph_run_on(EventLoop *loop, CoroutineFn *fn, void *opaque);
/* Moves NODE and all that is connected with it; BY is the root that asks (NULL: none). */
bool graph_move(BlockNode *node, EventLoop *loop, const BlockChild *by, GError **error);
/* Brings two graphs to one loop, before an edge joins them. */
bool graph_join(BlockNode *a, BlockNode *b, GError **error);
/* Home to the main loop, where nobody keeps NODE on its iothread. */
void graph_settle(BlockNode *node);

/* Waits until no request is in flight in the node or on its way to it, and keeps new ones out. */
void node_drained_begin(BlockNode *node);
void node_drained_end(BlockNode *node);
void node_drain_all(void);
void node_drain_all_begin(void);
void node_drain_all_end(void);
bool node_flush_all(GError **error);

/* ---- edges ---- */

typedef struct ChildHooks {
    void (*resized)(void *opaque);
    /* Between the two, send no requests; busy: some are still under way. */
    void (*drained_begin)(void *opaque);
    void (*drained_end)(void *opaque);
    bool (*drained_busy)(void *opaque);
    bool stays;                       /* the edge means this very node: never replaced */
    /* The nodes go to another loop: may they, as far as this root goes (NULL: no)?  They have. */
    bool (*may_move)(void *opaque, EventLoop *loop);
    void (*moved)(void *opaque, EventLoop *loop);
    /* The loop that this root was told to use, which keeps the nodes there; NULL: any. */
    EventLoop *(*wants_loop)(void *opaque);
} ChildHooks;
/* An edge from something that is no node (a backend, a job). */
BlockChild *node_attach_root(BlockNode *node, const char *name, uint32_t perm, uint32_t shared,
                             const ChildHooks *hooks, void *opaque, GError **error);
bool node_root_set_perm(BlockChild *child, uint32_t perm, uint32_t shared, GError **error);
void node_detach_root(BlockChild *child);

/* ---- images ---- */

/* FORMAT NULL is raw.  OPTS hold the -o options, among them "size", "backing_file".  Where it fails, no file stays that was not
 * there before. */
bool image_create(const char *filename, const char *format, NodeOpts *opts, GError **error);
/*
 * Takes the name of a file that is not there yet, by an empty one: true where there was none.  Who has a claim and comes to no
 * image gives it back: image_unclaim() removes the file.  What is no file of the host cannot be claimed.
 */
bool image_claim(const char *filename);
void image_unclaim(const char *filename);
/* Best match by content and name; "raw" when nothing matches. */
const char *image_probe(const uint8_t *head, size_t len, const char *filename);
bool format_exists(const char *format);
/* Names for "Supported formats:"; creatable only, or all. */
char **format_names(bool creatable);
const char *format_create_help(const char *format);

/* Json of "info": virtual-size, actual-size, format-specific, ... as ImageInfo. */
Json *node_image_info(BlockNode *node, GError **error);

/* BlockDeviceInfo of query-named-block-nodes; FLAT leaves the backing images out. */
Json *node_query(BlockNode *node, bool flat);

typedef struct SnapshotInfo {
    char *id, *name;
    uint64_t vm_state_size, date_sec, vm_clock_ns, disk_size;
    uint32_t date_nsec;
    uint64_t icount;
    bool has_icount;
} SnapshotInfo;
void snapshot_info_free(SnapshotInfo *info);
bool node_snapshot_create(BlockNode *node, const char *name, const SnapshotInfo *vm,
                          GError **error);
bool node_snapshot_apply(BlockNode *node, const char *id_or_name, GError **error);
bool node_snapshot_delete(BlockNode *node, const char *id_or_name, GError **error);
/* Array of SnapshotInfo; NULL with an error when the format has none. */
GPtrArray *node_snapshot_list(BlockNode *node, GError **error);
/* Reads come from the snapshot from now on; the node is read-only. */
bool node_snapshot_load_tmp(BlockNode *node, const char *id_or_name, GError **error);

typedef struct CheckResult {
    uint64_t corruptions, leaks, check_errors, corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset;
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    bool has_clusters;
    void (*print)(const char *line, void *opaque); /* each finding; may be NULL */
    void *opaque;
} CheckResult;
enum { CHECK_FIX_LEAKS = 1, CHECK_FIX_ERRORS = 2 };
/* False with an error when it could not run at all (VM_ERROR_GENERIC; unsupported too). */
bool node_check(BlockNode *node, int fix, CheckResult *result, GError **error);
bool node_can_check(const BlockNode *node);
/* blkdebug below NODE: the next request that comes to EVENT waits there under the name TAG until it
 * is resumed (TAG NULL: all are).  -ENOTSUP: there is no blkdebug; -ENOENT: no such event or tag. */
typedef enum NodeDebugOp {
    NODE_DEBUG_BREAK, NODE_DEBUG_REMOVE_BREAK, NODE_DEBUG_RESUME,
    NODE_DEBUG_IS_SUSPENDED,           /* 1: it is, 0: it is not */
} NodeDebugOp;
int node_debug(BlockNode *node, NodeDebugOp op, const char *event, const char *tag);
bool node_amend(BlockNode *node, NodeOpts *opts, GError **error);
/* After commit: everything in this layer is dropped. */
bool node_make_empty(BlockNode *node, GError **error);
/* required and fully-allocated bytes. */
bool format_measure(const char *format, NodeOpts *opts, BlockNode *source, uint64_t *required,
                    uint64_t *full, uint64_t *bitmaps, GError **error);
bool node_truncate(BlockNode *node, uint64_t length, const char *prealloc, GError **error);

#endif
