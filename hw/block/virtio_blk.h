/* SPDX-License-Identifier: MIT */
/*
 * Virtio disks: what virtio_blk.c (the device) and virtio_blk_request.c (its requests) share.
 * [VIRTIO1.2 5.2]
 *
 * A request is an element of its queue from being popped until it is pushed.  One that failed under
 * werror=stop or rerror=stop waits in the list of those to be repeated when the VM goes on, and is part
 * of the state.
 * Thread rule: where the queues are served (hw/virtio/virtio.h).
 */
#ifndef HW_BLOCK_VIRTIO_BLK_H
#define HW_BLOCK_VIRTIO_BLK_H

#include "hw/block/block_conf.h"
#include "hw/virtio/virtio.h"

/* [VIRTIO1.2 5.2.3] */
enum {
    VIRTIO_BLK_F_SEG_MAX = 2, VIRTIO_BLK_F_GEOMETRY = 4, VIRTIO_BLK_F_RO = 5,
    VIRTIO_BLK_F_BLK_SIZE = 6, VIRTIO_BLK_F_FLUSH = 9, VIRTIO_BLK_F_TOPOLOGY = 10,
    VIRTIO_BLK_F_CONFIG_WCE = 11, VIRTIO_BLK_F_MQ = 12, VIRTIO_BLK_F_DISCARD = 13,
    VIRTIO_BLK_F_WRITE_ZEROES = 14,
};

enum { VIRTIO_BLK_SECTOR = 512, VIRTIO_BLK_SECTOR_BITS = 9 };

typedef struct VirtioBlkReq VirtioBlkReq;

typedef struct VirtioBlk {
    VirtioDevice vdev;
    BlockConf conf;
    Object *iothread;
    uint16_t num_queues, queue_size;
    uint32_t max_discard_sectors, max_write_zeroes_sectors;
    bool report_discard_granularity, seg_max_adjust;
    bool original_wce;        /* of the backend before a driver had a say */
    VirtioBlkReq *retry;      /* failed, the VM was stopped; in order */
} VirtioBlk;

struct VirtioBlkReq {
    VirtioElem elem;          /* first */
    uint32_t type;
    uint64_t offset, bytes;
    struct iovec *iov;        /* data: part of the element's */
    unsigned niov;
    uint8_t *status;          /* the last writable byte */
    VirtioBlkReq *next;       /* of VirtioBlk.retry */
};

/* Takes and starts what the queue holds. */
void virtio_blk_kick(VirtioDevice *vdev, VirtQueue *vq);
/* Starts what failed before, once more. */
void virtio_blk_retry(VirtioBlk *s);
/* Forgets what failed before. */
void virtio_blk_drop(VirtioBlk *s, VirtQueue *vq);
/* Checks a request whose element has just been loaded, and puts it into the retry list. */
bool virtio_blk_restore(VirtioBlk *s, VirtioBlkReq *req);

#endif
