/* SPDX-License-Identifier: MIT */
/*
 * The jobs that there are, as functions.  Arguments are what the QMP commands of the same name
 * take, with names of nodes already looked up.
 *
 * Each function either makes (and, where it is called _start, starts) the job, or changes nothing.
 * Thread rule: main loop.
 */
#ifndef BLOCK_JOB_TYPES_H
#define BLOCK_JOB_TYPES_H

#include "block/bitmap.h"
#include "block/job.h"

/* Copies into TOP what the images between it and BASE hold; BASE NULL: the whole chain. */
bool job_stream_start(const JobCommon *common, BlockNode *top, BlockNode *base,
                      const char *backing_file, QapiBlockdevOnError on_error,
                      const char *filter_name, GError **error);

/* Copies what the images from TOP down to BASE hold into BASE; TOP is below ACTIVE. */
bool job_commit_start(const JobCommon *common, BlockNode *active, BlockNode *top, BlockNode *base,
                      const char *backing_file, QapiBlockdevOnError on_error,
                      const char *filter_name, GError **error);

typedef enum MirrorBacking {
    MIRROR_LEAVE_BACKING,      /* the target comes with all it needs */
    MIRROR_SOURCE_BACKING,     /* gets what the copy is based on, in the end */
    MIRROR_OPEN_BACKING,       /* opens what its header names, in the end */
} MirrorBacking;

typedef struct MirrorArgs {
    BlockNode *source, *target;
    BlockNode *commit_base;    /* active commit: the target, a backing file of the source */
    const char *replaces;      /* node to be replaced in the end; NULL: the source */
    const char *filter_name;
    QapiMirrorSyncMode sync;
    QapiMirrorCopyMode copy_mode;
    MirrorBacking backing;
    uint32_t granularity;      /* 0: a guess */
    uint64_t buf_size;         /* 0: a guess */
    bool unmap, auto_complete;
    const char *backing_file;  /* active commit */
    QapiBlockdevOnError on_source_error, on_target_error;
} MirrorArgs;
bool job_mirror_start(const JobCommon *common, const MirrorArgs *args, GError **error);

typedef struct BackupArgs {
    BlockNode *source, *target;
    QapiMirrorSyncMode sync;
    DirtyBitmap *bitmap;
    QapiBitmapSyncMode bitmap_mode;
    const char *filter_name;
    bool compress;
    uint64_t max_workers, max_chunk;   /* 0: a guess */
    QapiBlockdevOnError on_source_error, on_target_error;
} BackupArgs;
/* The copy is of this moment; job_start() when its transaction is committed. */
Job *job_backup_new(const JobCommon *common, const BackupArgs *args, GError **error);

/* blockdev-create: DRIVER and flat OPTS. */
bool job_create_start(const JobCommon *common, const char *driver, NodeOpts *opts,
                      GError **error);
/* x-blockdev-amend, with the same. */
bool job_amend_start(const JobCommon *common, BlockNode *node, const char *driver, NodeOpts *opts,
                     bool force, GError **error);

#endif
