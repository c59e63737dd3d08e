/* SPDX-License-Identifier: MIT */
/*
 * The struct behind BlockBackend; for block/backend*.c only.
 */
#ifndef BLOCK_BACKEND_INT_H
#define BLOCK_BACKEND_INT_H

#include "block/backend.h"
#include "block/driver.h"
#include "block/throttle.h"

struct BlockBackend {
    unsigned refs;
    char *name, *device_name;
    EventLoop *loop;
    EventLoop *wanted;            /* that the device asked for; NULL: none */
    BlockChild *root;
    void *device;
    const BlkDeviceOps *ops;
    bool early_done;              /* BlkAttachConf */
    bool removable, share_rw, writable, device_reads_only, medium_read_only, medium_locked;
    bool write_cache;
    int iostatus;                 /* 0 ok, 1 failed, 2 nospace */
    BlkErrorPolicy on_read_error, on_write_error;
    unsigned in_flight, quiesced;
    CoQueue held;                 /* requests that wait for the end of a drain */
    ThrottleGroup *throttle;      /* NULL: no limits */
    BlkStats stats;
};

/* For people: the name, else the device's, else "". */
const char *blk_label(const BlockBackend *blk);
void blk_quiesce_begin(BlockBackend *blk);
void blk_quiesce_end(BlockBackend *blk);

#endif
