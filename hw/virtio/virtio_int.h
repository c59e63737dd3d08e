/* SPDX-License-Identifier: MIT */
/*
 * Between the core, the rings and the transports of hw/virtio.
 */
#ifndef HW_VIRTIO_VIRTIO_INT_H
#define HW_VIRTIO_VIRTIO_INT_H

#include "base/error.h"
#include "base/log.h"
#include "hw/virtio/virtio.h"

/* ISR bits.  [VIRTIO1.2 4.1.4.5] */
enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

/* Descriptor flags.  [VIRTIO1.2 2.7.5, 2.8.1] */
enum {
    DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4,
    DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15,
};
enum { DESC_LEN = 16 };

struct VirtQueue {
    VirtioDevice *vdev;
    unsigned index;
    uint16_t num;             /* descriptors: as the driver chose */
    uint16_t num_default;     /* at reset, and the most */
    bool ready;               /* the addresses below are the driver's */
    uint64_t desc;            /* descriptor area */
    uint64_t driver;          /* available ring, or driver event suppression */
    uint64_t device;          /* used ring, or device event suppression */
    uint32_t align;           /* of a legacy used ring */
    uint16_t vector;
    DmaWindow desc_w, driver_w, device_w;

    uint16_t last_avail;      /* next one to take */
    uint16_t shadow_avail;    /* split: the driver's index when it was last read */
    uint16_t used_idx;        /* split: free running; packed: slot to write next */
    uint16_t signalled_used;  /* used_idx at the last interrupt decision */
    bool signalled_valid;
    bool last_wrap, used_wrap;    /* packed: wrap counters */
    bool notification;
    bool in_batch, notify_due;    /* virtqueue_run() tells the driver at its end */
    bool resetting;           /* the driver's reset of it waits for what is in flight */
    unsigned slots_used;      /* packed: descriptors of what is in flight */

    unsigned in_flight;
    VirtioElem *first, *last; /* in flight, in the order of popping */
    VirtioElem *spare;        /* to be used again */
    size_t elem_size;
    VirtQueueFn *handle;
    Notifier *kick_fd;        /* signalled by the kernel; NULL: there is none */
    Notifier *irq_fd;         /* the transport's; changes while the loop is parked */
    Bh *kick_bh;              /* on the queue's loop: more to do, or kicked from another thread */
    Bh *irq_bh;               /* on the main loop: interrupts of an iothread's queue */
};

/* ---- rings: virtqueue_split.c, virtqueue_packed.c ---- */

/* What differs between the two layouts.  All run in an RCU read section with the three windows
 * mapped, and end in virtio_error() where the driver is at fault. */
typedef struct RingOps {
    /* Bytes of the three areas, and the alignment that they need. */
    uint64_t (*desc_len)(const VirtQueue *vq);
    uint64_t (*driver_len)(const VirtQueue *vq);
    uint64_t (*device_len)(const VirtQueue *vq);
    unsigned desc_align, driver_align, device_align;
    bool (*is_empty)(VirtQueue *vq);
    /* Fills ELEM from the next request; false: none, or an error. */
    bool (*pop)(VirtQueue *vq, VirtioElem *elem);
    void (*push)(VirtQueue *vq, const VirtioElem *elem, uint32_t written);
    bool (*wants_interrupt)(VirtQueue *vq);
    void (*set_notification)(VirtQueue *vq);      /* from vq->notification */
} RingOps;

extern const RingOps split_ring, packed_ring;

static inline const RingOps *vq_ring(const VirtQueue *vq)
{
    return virtio_has(vq->vdev, VIRTIO_F_RING_PACKED) ? &packed_ring : &split_ring;
}

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
} Desc;

static inline Desc desc_load(const uint8_t *p, unsigned flags_at)
{
    return (Desc){ le64_load(p), le32_load(p + 8), le16_load(p + flags_at) };
}

/* Adds one buffer of a chain; false after virtio_error(). */
bool virtqueue_add_buffer(VirtQueue *vq, VirtioElem *elem, const Desc *d);
/* The descriptor table that D names; NULL after virtio_error().  *COUNT is 1..VIRTQUEUE_SIZE_MAX. */
const uint8_t *virtqueue_indirect(VirtQueue *vq, const Desc *d, unsigned *count);

static inline uint16_t ring_load16(const uint8_t *p)
{
    return GUINT16_FROM_LE(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store16(uint8_t *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)p, GUINT16_TO_LE(v), __ATOMIC_RELEASE);
}

/* Whether moving the index from OLD to NEW passed EVENT.  [VIRTIO1.2 2.7.10] */
static inline bool ring_event_passed(uint16_t event, uint16_t new, uint16_t old)
{
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* ---- the core, for transports: machine lock ---- */

VirtQueue *virtio_queue(VirtioDevice *vdev, unsigned n);   /* NULL: there is none */
/* 0 asks for a reset.  While requests are in flight, and another thread than the main one asks, it is
 * done once they are; until then the status reads as before, and the driver's writes are ignored. */
void virtio_set_status(VirtioDevice *vdev, uint8_t status);
/* At once.  Main loop when something is in flight. */
void virtio_reset(VirtioDevice *vdev);
/* What is offered to a modern (legacy) driver. */
uint64_t virtio_offered(const VirtioDevice *vdev, bool legacy);
/* Ignored once FEATURES_OK is set.  Bits that were not offered are dropped and logged. */
void virtio_set_features(VirtioDevice *vdev, uint64_t features, bool legacy);
/* Bytes of the configuration; past its end all ones and nothing. */
uint64_t virtio_config_read(VirtioDevice *vdev, uint64_t offset, unsigned size);
void virtio_config_write(VirtioDevice *vdev, uint64_t offset, uint64_t value, unsigned size);
/* The driver has put something into queue N. */
void virtio_kick(VirtioDevice *vdev, unsigned n);
/* A modern driver's size, areas and go.  False: a guest error, logged. */
bool virtio_queue_set_size(VirtQueue *vq, uint32_t num);
void virtio_queue_enable(VirtQueue *vq, uint64_t desc, uint64_t driver, uint64_t device);
/* The areas of a legacy ring follow from where it begins; 0: none. */
void virtio_queue_set_legacy(VirtQueue *vq, uint64_t addr);
/* As virtio_set_status(0) for one queue; vq->resetting until it is done. */
void virtio_queue_reset(VirtQueue *vq);
/* ISR, read to clear. */
uint8_t virtio_isr_take(VirtioDevice *vdev);
/* In the realize of a proxy, after the device's: what is offered is settled. */
void virtio_connect(VirtioDevice *vdev);

/* ---- inside ---- */

void virtqueue_clear(VirtQueue *vq);          /* as after reset; nothing is in flight */
void virtqueue_map(VirtQueue *vq);            /* the windows follow the addresses */
void virtqueue_free(VirtQueue *vq);
/* An empty element; into the list of those in flight; and back without having been there. */
VirtioElem *virtqueue_elem_take(VirtQueue *vq);
void virtqueue_elem_enlist(VirtQueue *vq, VirtioElem *e);
void virtqueue_elem_finish(VirtioElem *e);
bool virtqueue_areas_fit(const VirtQueue *vq);    /* aligned, and not past the end of memory */
void virtqueue_dispatch(VirtQueue *vq);       /* calls the handler */
void virtqueue_set_loop(VirtQueue *vq, EventLoop *loop);
void virtqueue_interrupt(VirtQueue *vq);
/* ---- virtio_notify.c ---- */
/* After a change of started, ready, loop: who is told of kicks and interrupts. */
void virtio_notify_sync(VirtioDevice *vdev);
/* From any thread, with an RCU read section for the device; false: virtio_kick() with the lock. */
bool virtio_kick_lockless(VirtioDevice *vdev, unsigned n);
void virtqueue_interrupt_from_loop(VirtQueue *vq);

/*
 * The queues of a transport on the wire, VIRTIO_QUEUE_MAX rows of which the device has the first: num be16, enabled in
 * FLAG_BYTES, and the three areas as pairs of be32, low halves first.
 */
void virtio_put_setups(VmWriter *w, const VirtioDevice *vdev, const VirtioQueueSetup *setups, unsigned flag_bytes);
bool virtio_get_setups(VmReader *r, const VirtioDevice *vdev, VirtioQueueSetup *setups, unsigned flag_bytes,
                       GError **error);
/* After a load: what follows from the rings in memory. */
bool virtqueue_restore(VirtQueue *vq, GError **error);

#endif
