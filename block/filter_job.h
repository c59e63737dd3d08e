/* SPDX-License-Identifier: MIT */
/*
 * Filters that jobs put into the graph; users cannot make them.
 * Thread rule: main loop.
 */
#ifndef BLOCK_FILTER_JOB_H
#define BLOCK_FILTER_JOB_H

#include "block/copier.h"
#include "block/driver.h"

/* commit_top: nobody above cares what the images below hold until they are merged. */
extern const NodeType node_type_commit_top;

/* mirror_top: sees every write to the source of a mirror. */
extern const NodeType node_type_mirror_top;
typedef struct MirrorTop {
    Copier *copier;            /* NULL: no longer of use */
    Job *job;
    bool write_blocking;       /* writes go to both */
    bool whole_granules;       /* what the guest did not write is not in the target yet */
    bool is_commit;            /* the target is below the source */
} MirrorTop;

/* copy-before-write: what is about to be overwritten goes to the target first. */
typedef struct CopyBeforeWrite {
    Copier copier;
    BlockChild *target;
    DirtyBitmap *access;       /* what snapshot-access may read */
    uint64_t timeout_ms;       /* cbw-timeout; 0: none */
    bool break_snapshot, broken; /* broken: copier.ret says why */
    bool job_owns;
} CopyBeforeWrite;

#endif
