/* SPDX-License-Identifier: MIT */
/*
 * Between the files of the virtio SCSI adapter ("virtio-scsi-device", behind "virtio-scsi-pci").
 * [VIRTIO1.2 5.6]
 *
 *   virtio_scsi.c        the device: configuration, events, life, state
 *   virtio_scsi_queue.c  commands and task management
 */
#ifndef HW_SCSI_VIRTIO_SCSI_H
#define HW_SCSI_VIRTIO_SCSI_H

#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio.h"

enum { VIRTIO_SCSI_F_HOTPLUG = 1, VIRTIO_SCSI_F_CHANGE = 2 };
enum { VIRTIO_SCSI_MAX_TARGET = 255, VIRTIO_SCSI_MAX_LUN = 16383 };

/* Responses.  [VIRTIO1.2 5.6.6.1] */
enum { VIRTIO_SCSI_S_OK = 0, VIRTIO_SCSI_S_OVERRUN = 1, VIRTIO_SCSI_S_ABORTED = 2,
       VIRTIO_SCSI_S_BAD_TARGET = 3, VIRTIO_SCSI_S_RESET = 4, VIRTIO_SCSI_S_FAILURE = 9,
       VIRTIO_SCSI_S_FUNCTION_SUCCEEDED = 10, VIRTIO_SCSI_S_FUNCTION_REJECTED = 11,
       VIRTIO_SCSI_S_INCORRECT_LUN = 12 };

typedef struct VirtioScsi {
    VirtioDevice vdev;
    ScsiBus bus;
    Object *iothread;
    uint32_t num_queues, queue_size, max_sectors, cmd_per_lun;
    bool seg_max_adjust;
    /* What the driver may set. */
    uint32_t sense_size, cdb_size;
    VirtQueue *ctrl, *event;
    bool events_dropped;      /* there was no buffer for one */
    bool dropping;            /* a reset: nobody is told how requests end */
} VirtioScsi;

/* A task management function that waits for requests to end. */
typedef struct VirtioScsiTmf {
    VirtioElem elem;          /* first */
    unsigned waiting;
    uint8_t response;
} VirtioScsiTmf;

typedef struct VirtioScsiReq {
    VirtioElem elem;          /* first */
    ScsiRequest *req;         /* NULL: never became one */
    uint64_t tag;
    struct iovec *list;       /* those buffers, what the request moves */
    uint32_t data_len;        /* of the buffers for data */
    uint32_t resp_len;        /* header and sense */
    VirtioScsiTmf *tmf;       /* that ends this one */
    bool reset;               /* by a reset, else an abort */
} VirtioScsiReq;

static inline VirtioScsi *virtio_scsi_of(const VirtioDevice *vdev)
{
    return DEVICE_CAST(VirtioScsi, &vdev->dev);
}

/* ---- virtio_scsi_queue.c ---- */
extern const ScsiHostOps virtio_scsi_host_ops;
void virtio_scsi_ctrl(VirtioDevice *vdev, VirtQueue *vq);
void virtio_scsi_command(VirtioDevice *vdev, VirtQueue *vq);

/* ---- virtio_scsi.c ---- */
/* Tells the driver; DEV may be NULL. */
void virtio_scsi_push_event(VirtioScsi *s, const ScsiDevice *dev, uint32_t event, uint32_t reason);
void virtio_scsi_plugged(ScsiBus *bus, ScsiDevice *dev);
void virtio_scsi_unplugged(ScsiBus *bus, ScsiDevice *dev);
void virtio_scsi_pause(ScsiBus *bus);
void virtio_scsi_go_on(ScsiBus *bus);
void virtio_scsi_change(ScsiBus *bus, ScsiDevice *dev, ScsiSense sense);

#endif
