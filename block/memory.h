/* SPDX-License-Identifier: MIT */
/*
 * Disks in memory, driver "x-memory", for tests: with a log of every write and flush, from which
 * a power cut can be replayed, and errors injected at the n-th call.
 *
 *     MemoryDisk *disk = memory_disk_new("d0");
 *     BlockNode *node = node_open("x-memory:d0", opts, NODE_OPEN_PROTOCOL | ...);
 *
 * Thread rule: main loop.
 */
#ifndef BLOCK_MEMORY_H
#define BLOCK_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct MemoryOp {
    enum { MEMORY_WRITE, MEMORY_ZERO, MEMORY_TRUNCATE, MEMORY_FLUSH } kind;
    uint64_t offset, bytes;
    uint8_t *data;               /* writes */
    uint64_t seq;                /* order among all disks */
} MemoryOp;

/* Of the last logged operation. */
uint64_t memory_seq(void);

struct sg_io_hdr;                /* <scsi/sg.h> */

typedef struct MemoryDisk {
    char *name;
    GByteArray *data;
    bool logging;
    bool lazy;                   /* every call lets the event loop run first */
    GPtrArray *log;              /* of MemoryOp */
    int64_t fail_countdown;      /* the call that brings it to 0 fails; negative: never */
    int fail_errno;
    bool fail_short;             /* the first half of what fails is done; reads give rubbish */
    uint64_t max_length;         /* writes behind it give ENOSPC */
    /* A SCSI device: what it does with a command. */
    int (*scsi)(struct MemoryDisk *disk, struct sg_io_hdr *io);
    bool scsi_beside;                /* a disk that takes commands, too */
} MemoryDisk;

MemoryDisk *memory_disk_new(const char *name);
void memory_disk_free(MemoryDisk *disk);
MemoryDisk *memory_disk_find(const char *name);
/* What one logged operation did, done to DATA. */
void memory_op_apply(const MemoryOp *op, GByteArray *data);
void memory_disk_clear_log(MemoryDisk *disk);

#endif
