/* SPDX-License-Identifier: MIT */
/*
 * Copying what a bitmap marks from one node to another, several requests at a time: the engine of
 * the mirror and backup jobs.
 *
 * A range that is being copied, or written through, is an operation; operations never overlap:
 * who comes later waits.  A bit is cleared before its granule is read, so a write that
 * comes meanwhile and sets it again is not lost.
 *
 *     int ret = co_copier_pass(&copier, job);          // until no bit is set, or failure
 *
 * A guest's write to the source goes through one of
 *     co_copier_before_write()   backup: what it would overwrite is copied first
 *     copier_op_begin()/_end()   mirror: the write happens in both nodes within an operation
 *
 * Thread rule: coroutines of the main loop.
 */
#ifndef BLOCK_COPIER_H
#define BLOCK_COPIER_H

#include "block/bitmap.h"
#include "block/job.h"

typedef struct CopyOp CopyOp;
struct CopyOp {
    uint64_t start, end;
    CopyOp *next;
    CoQueue waiters;
};

/* What can be left for a moment when the guest is held. */
#define COPIER_REST (16ull << 20)

typedef struct Copier {
    BlockNode *source, *target;        /* borrowed */
    DirtyBitmap *todo;                 /* owned */
    uint64_t chunk;                    /* of one operation at most; multiple of the granularity */
    unsigned max_ops;
    bool compress, unmap;
    QapiBlockdevOnError on_source_error, on_target_error;
    CopyOp *ops;
    unsigned in_flight;                /* operations of the pass */
    uint64_t busy_bytes;               /* in them */
    uint64_t cursor;                   /* where the next one is looked for */
    bool stop_soon;                    /* the pass may leave COPIER_REST bytes dirty */
    int ret;                           /* of the first that failed for good */
} Copier;

/* TARGET's length is checked by the caller.  False when memory is short. */
bool copier_init(Copier *c, BlockNode *source, BlockNode *target, uint32_t granularity,
                 GError **error);
void copier_clear(Copier *c);

/* Sets the bits of what SOURCE holds itself (its backing file: NULL or what decides the rest). */
int co_copier_mark_allocated(Copier *c, Job *job, BlockNode *base);

/* Waits for operations that overlap the range, then holds it. */
void copier_op_begin(Copier *c, CopyOp *op, uint64_t start, uint64_t end);
void copier_op_end(Copier *c, CopyOp *op);

/* Copies a range that an operation of the caller holds. */
int co_copier_copy(Copier *c, uint64_t offset, uint64_t bytes);
int co_copier_before_write(Copier *c, uint64_t offset, uint64_t bytes);
/* Copies until no bit is set: 0; or until the job is cancelled or failed.  With PAUSE false, not
 * even a drain stops it. */
int co_copier_pass(Copier *c, Job *job, bool pause);

#endif
