/* SPDX-License-Identifier: MIT */
/*
 * BlockBackend: what a device model (or a tool, job or export) holds to use a disk.
 *
 * A backend is a seat with a name ("ide0-hd0", the id= of -drive) in which a medium, the root of a
 * graph of block nodes, may or may not sit.  -drive makes a named backend; for a device whose
 * drive= names a node of -blockdev, blk_attach() makes an anonymous one.
 *
 *     s->blk = blk_attach("drive0", &conf, &ide_blk_ops, s, error);      // realize
 *     blk_aio_preadv(s->blk, lba * 512, &s->iov, 1, ide_read_done, s);   // a command
 *     ...
 *     static void ide_read_done(void *opaque, int ret)                   // 0 or -errno
 *     {
 *         if (ret < 0 && blk_handle_error(s->blk, true, -ret) == BLK_ERROR_STOP) {
 *             return;                   // keep the request, repeat it when the VM resumes
 *         }
 *     ...
 *     blk_detach(s->blk);                                                // unrealize: drains
 *
 * Offsets and lengths are bytes and need no alignment.  A request outside the medium fails with
 * -EIO, one without a medium with -ENOMEDIUM, a write to a read-only one with -EPERM; nothing
 * asserts on values that come from a guest.
 *
 * Threads: calls on one backend are made on the event loop that it belongs to, the main loop
 * unless the device asked for another (BlkAttachConf.loop).  Those marked [main] are for the main
 * loop only, those prefixed co_ for coroutines.  Completion callbacks run on the backend's loop,
 * never from within the call that started the request unless the device allows it
 * (BlkAttachConf.early_done).  Buffers and the iovec array stay valid
 * until then.
 *
 * Iothreads.  A device with an iothread= attaches with conf.loop, and holds the object as long:
 *
 *     conf.loop = iothread_object_loop(s->iothread);
 *     s->blk = blk_attach(s->drive, &conf, &ops, s, error);              // main loop
 *     notifier_attach(s->kick, conf.loop, kicked, s);                    // runs on the iothread
 *     ...
 *     static void kicked(void *opaque)  { ... blk_aio_preadv(s->blk, ..., read_done, s); }
 *     static void stop(void *opaque)    { ... notifier_attach(s->kick, NULL, NULL, NULL); }
 *     event_loop_call_wait(conf.loop, stop, s); blk_drain(s->blk);       // reset; main loop
 *
 * The graph below moves to that loop, or the attach fails and names who cannot.  Everything that
 * is marked [main], and each QMP command of the block layer, parks the iothread while it works
 * (event_loop_park()), so what the iothread touches needs no lock; while such a call waits, the
 * iothread runs.  Hooks of BlkDeviceOps run so too: they may touch what the device's callbacks on the
 * iothread touch.  A callback on the iothread may take the machine lock, but must not wait for
 * the main loop in another way.  blk_handle_error() may be called there: stopping the VM and the
 * events are left to the main loop.
 */
#ifndef BLOCK_BACKEND_H
#define BLOCK_BACKEND_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/acct.h"

typedef struct BlockBackend BlockBackend;
typedef struct BlockNode BlockNode;
typedef struct NodeOpts NodeOpts;
typedef struct BlkRequest BlkRequest;
typedef struct EventLoop EventLoop;
typedef struct BlockStatus BlockStatus;        /* block/io.h */
struct sg_io_hdr;                              /* <scsi/sg.h> */

/* RET: 0 or -errno. */
typedef void BlkDone(void *opaque, int ret);

/* Flags of writes. */
enum {
    BLK_REQ_FUA = 1 << 0,        /* on stable storage when done */
    BLK_REQ_MAY_UNMAP = 1 << 1,  /* write_zeroes: may become a hole */
    BLK_REQ_NO_FALLBACK = 1 << 2,/* write_zeroes: -ENOTSUP rather than writing buffers of zeroes */
    BLK_REQ_COMPRESSED = 1 << 3, /* qcow2, vmdk: whole clusters only */
};

/* SCSI commands to the host's device: none; beside blocks, a disk; only those, /dev/sgN. */
typedef enum NodeScsi { NODE_SCSI_NO, NODE_SCSI_BESIDE, NODE_SCSI_ONLY } NodeScsi;

/* ---- attaching a device ---- */

/* Hooks of the attached device; all run on the main loop, with the iothread of the backend parked,
 * and all are optional. */
typedef struct BlkDeviceOps {
    /* The medium was taken out or put in by the user. */
    void (*medium_changed)(void *opaque, bool loaded);
    /* The user asks for an eject while the tray is locked. */
    void (*eject_request)(void *opaque, bool force);
    bool (*tray_is_open)(void *opaque);
    bool (*medium_is_locked)(void *opaque);
    /* The length of the medium changed. */
    void (*resized)(void *opaque);
    /* Between the two, start no request. */
    void (*drained_begin)(void *opaque);
    void (*drained_end)(void *opaque);
    /* Another user wants the nodes on another loop: may the backend follow?  NULL: no. */
    bool (*may_move)(void *opaque);
    /* It cannot repeat a request: errors go to its guest whatever the policy, and there is no io-status. */
    bool reports_errors;
} BlkDeviceOps;

typedef struct BlkAttachConf {
    const char *device_name;     /* qdev id or path, for messages and query-block */
    bool removable;              /* has a tray: medium may be absent, and may change */
    bool read_only;              /* the device never writes (a CD drive) */
    bool writable_required;      /* refuse a read-only medium */
    bool share_rw;               /* share-rw=on: others may write too */
    EventLoop *loop;             /* where its requests run; NULL: the main loop */
    bool any_loop;               /* or wherever the node is, and goes */
    bool early_done;             /* callbacks may run before the call that starts a request returns */
} BlkAttachConf;

/* DRIVE is the name of a backend or of a node; with DRIVE == NULL an empty, anonymous seat for a
 * removable drive.  The same backend cannot be attached twice.  [main] */
BlockBackend *blk_attach(const char *drive, const BlkAttachConf *conf, const BlkDeviceOps *ops,
                         void *opaque, GError **error);
/* Waits for its requests; an anonymous backend goes away with it.  [main] */
void blk_detach(BlockBackend *blk);

/* ---- finding, making ---- [main] */

BlockBackend *blk_new(const char *name);              /* NAME may be NULL */
BlockBackend *blk_ref(BlockBackend *blk);
void blk_unref(BlockBackend *blk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlockBackend, blk_unref)
BlockBackend *blk_by_name(const char *name);
BlockBackend *blk_by_device(const char *qdev_id);
/* By qdev id or by backend name, with an error that says which exist. */
BlockBackend *blk_find(const char *device, const char *qdev_id, GError **error);
BlockBackend *blk_next(BlockBackend *blk);            /* NULL: first; NULL at the end */

const char *blk_name(const BlockBackend *blk);        /* "" when anonymous */
/* Of the backend that is right above NODE; "" when there is none. */
const char *blk_name_above(const BlockNode *node);
const char *blk_device_name(const BlockBackend *blk); /* NULL when no device sits on it */
void *blk_device(const BlockBackend *blk);            /* the OPAQUE of blk_attach() */

/* ---- the medium ---- */

bool blk_has_medium(const BlockBackend *blk);
BlockNode *blk_node(const BlockBackend *blk);         /* borrowed; NULL when empty */
/* Seats NODE (a reference is taken); WRITABLE asks for write permission.  [main] */
bool blk_insert_node(BlockBackend *blk, BlockNode *node, bool writable, GError **error);
void blk_remove_node(BlockBackend *blk);              /* [main] drains */

uint64_t blk_length(BlockBackend *blk);               /* bytes; 0 without a medium */
bool blk_is_read_only(const BlockBackend *blk);
bool blk_is_writable(const BlockBackend *blk);        /* a medium, and not read-only */
bool blk_is_available(const BlockBackend *blk);       /* a medium, and the tray is shut */
bool blk_is_removable(const BlockBackend *blk);
bool blk_is_sg(const BlockBackend *blk);              /* a host SCSI generic device */
bool blk_takes_scsi(const BlockBackend *blk);         /* that, or a SCSI disk of the host */
/* Alignment that requests need to avoid a bounce copy. */
uint32_t blk_request_align(BlockBackend *blk);
/* Seen by the guest as "the write cache is on": false makes every write FUA. */
bool blk_write_cache(const BlockBackend *blk);
void blk_set_write_cache(BlockBackend *blk, bool on);

/* Geometry hints.  Sectors of 512 bytes. */
typedef struct BlkGeometry {
    uint32_t cylinders, heads, sectors;
} BlkGeometry;
typedef enum BlkTranslation {
    BLK_TRANS_AUTO, BLK_TRANS_NONE, BLK_TRANS_LBA, BLK_TRANS_LARGE, BLK_TRANS_RECHS,
} BlkTranslation;
/* From the partition table where it gives one away, else 16 heads x 63 sectors; [main], reads. */
void blk_guess_geometry(BlockBackend *blk, BlkGeometry *geometry, BlkTranslation *translation);
/* What BIOS translation AUTO means for a geometry (CMOS byte of SeaBIOS). */
BlkTranslation blk_pick_translation(const BlkGeometry *geometry);

/* ---- tray and medium change ---- [main] */

/* The guest moved the tray: with EJECT the medium is also taken out at the backend where that
 * means something (host CD).  Emits DEVICE_TRAY_MOVED by blk_hooks. */
void blk_tray_moved(BlockBackend *blk, bool open);
void blk_lock_medium(BlockBackend *blk, bool locked);
/* QMP eject and friends; false when locked and not FORCE (the device has been asked). */
bool blk_open_tray(BlockBackend *blk, bool force, GError **error);
bool blk_close_tray(BlockBackend *blk, GError **error);
bool blk_eject(BlockBackend *blk, bool force, GError **error);
/* READ_ONLY_MODE: "retain", "read-only", "read-write" or NULL (retain). */
bool blk_change_medium(BlockBackend *blk, const char *filename, const char *format,
                       bool force, const char *read_only_mode, GError **error);

/* ---- requests ---- */

/* NULL: the callback has run already (BlkAttachConf.early_done). */
BlkRequest *blk_aio_preadv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov,
                           BlkDone *done, void *opaque);
BlkRequest *blk_aio_pwritev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov,
                            int flags, BlkDone *done, void *opaque);
BlkRequest *blk_aio_flush(BlockBackend *blk, BlkDone *done, void *opaque);
BlkRequest *blk_aio_discard(BlockBackend *blk, uint64_t offset, uint64_t bytes, BlkDone *done,
                            void *opaque);
BlkRequest *blk_aio_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t bytes, int flags,
                                 BlkDone *done, void *opaque);
/* A SCSI command for the host device itself (blk_takes_scsi()), which IO and what it refers to describe until
 * DONE; 0: it was sent, and IO says how it ended. */
BlkRequest *blk_aio_scsi(BlockBackend *blk, struct sg_io_hdr *io, BlkDone *done, void *opaque);
/* Asks; DONE still comes, with -ECANCELED when it worked. */
void blk_aio_cancel(BlkRequest *req);
/* Asks, and runs the loop until DONE has come.  The buffers are free afterwards. */
void blk_aio_cancel_sync(BlkRequest *req);

int co_blk_preadv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov);
int co_blk_pwritev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int niov,
                   int flags);
int co_blk_pread(BlockBackend *blk, uint64_t offset, void *buf, uint64_t bytes);
int co_blk_pwrite(BlockBackend *blk, uint64_t offset, const void *buf, uint64_t bytes, int flags);
int co_blk_flush(BlockBackend *blk);
int co_blk_discard(BlockBackend *blk, uint64_t offset, uint64_t bytes);
int co_blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t bytes, int flags);
/* What co_node_status_above() says of the whole chain. */
int co_blk_status(BlockBackend *blk, uint64_t offset, uint64_t bytes, BlockStatus *status,
                  int *depth);

/* The same, running the event loop until done; they work in a coroutine too. */
int blk_pread(BlockBackend *blk, uint64_t offset, void *buf, uint64_t bytes);
int blk_pwrite(BlockBackend *blk, uint64_t offset, const void *buf, uint64_t bytes, int flags);
int blk_flush(BlockBackend *blk);
int blk_scsi(BlockBackend *blk, struct sg_io_hdr *io);
int blk_discard(BlockBackend *blk, uint64_t offset, uint64_t bytes);
int blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t bytes, int flags);
bool blk_truncate(BlockBackend *blk, uint64_t length, const char *prealloc, GError **error);

/* Until every request in flight is done, running the loop; quiesced in between. */
void blk_drain(BlockBackend *blk);
void blk_drained_begin(BlockBackend *blk);
void blk_drained_end(BlockBackend *blk);
void blk_drain_all(void);                             /* [main] */

EventLoop *blk_loop(const BlockBackend *blk);
/* Moves the backend, its nodes and whoever else uses them (jobs, idle exports); drained.  Fails when
 * one of those cannot: a device of another loop, an export with clients.  [main] */
bool blk_set_loop(BlockBackend *blk, EventLoop *loop, GError **error);

/* ---- error policy: werror=, rerror= ---- */

typedef enum BlkErrorPolicy {
    BLK_ON_ERROR_AUTO,           /* device default: enospc for writes, report for reads */
    BLK_ON_ERROR_REPORT,
    BLK_ON_ERROR_IGNORE,
    BLK_ON_ERROR_ENOSPC,         /* stop when the host disk is full, else report */
    BLK_ON_ERROR_STOP,
} BlkErrorPolicy;
typedef enum BlkErrorAction {
    BLK_ERROR_REPORT,            /* tell the guest */
    BLK_ERROR_IGNORE,            /* carry on as if it had worked */
    BLK_ERROR_STOP,              /* the VM was stopped: keep the request and retry on resume */
} BlkErrorAction;

void blk_set_on_error(BlockBackend *blk, BlkErrorPolicy on_read, BlkErrorPolicy on_write);
BlkErrorPolicy blk_on_error(const BlockBackend *blk, bool is_read);
bool blk_error_policy_parse(const char *text, bool is_read, BlkErrorPolicy *policy,
                            GError **error);
/* ERROR is a positive errno.  Decides, records iostatus, and stops the VM through the hooks. */
BlkErrorAction blk_handle_error(BlockBackend *blk, bool is_read, int error);
const char *blk_iostatus(const BlockBackend *blk);    /* "ok", "failed", "nospace" */

/* How the emulator above hears of things: set once at start-up by system/, all optional, called
 * on the main loop. */
typedef struct BlkHooks {
    void (*io_error)(BlockBackend *blk, bool is_read, BlkErrorAction action, int error,
                     void *opaque);
    void (*stop_vm)(void *opaque);
    void (*tray_moved)(BlockBackend *blk, bool open, void *opaque);
    void *opaque;
} BlkHooks;
void blk_set_hooks(const BlkHooks *hooks);

/* ---- limits: -drive throttling.*, block_set_io_throttle ---- [main] */

typedef struct Throttle Throttle;
/* Joins GROUP (NULL: its own name), giving it LIMITS; limits of zero leave it. */
bool blk_set_limits(BlockBackend *blk, const char *group, const Throttle *limits,
                    GError **error);

/* ---- statistics ---- */

/* Requests count themselves; devices add what never became one. */
const BlkStats *blk_stats(const BlockBackend *blk);
void blk_acct_invalid(BlockBackend *blk, BlkAcctType type);
/* Takes stats-intervals.N, stats-account-invalid and stats-account-failed out of OPTS. */
bool blk_set_accounting(BlockBackend *blk, NodeOpts *opts, GError **error);
/* Of latencies in ns; COUNT 0: none.  False when they do not ascend from above 0.  [main] */
bool blk_set_histogram(BlockBackend *blk, BlkAcctType type, const uint64_t *boundaries,
                       unsigned count);

/* ---- query-block and query-blockstats elements ---- [main] */
Json *blk_query(BlockBackend *blk);
Json *blk_query_stats(BlockBackend *blk);
Json *node_query_stats(BlockNode *node);

#endif
