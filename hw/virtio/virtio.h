/* SPDX-License-Identifier: MIT */
/*
 * Virtio devices: features, status, configuration and queues, whatever the transport.  [VIRTIO1.2]
 *
 * A device model is a type row with .parent = "virtio-device", .bus_info = &(const VirtioInfo){...}
 * and a struct that begins with VirtioDevice.  It never sees a transport: it sits on the one-seat
 * bus ("virtio-bus") of a proxy (virtio_pci.h), which makes it, lends it its properties and maps it.
 *
 *     realize   virtio_setup(vdev, sizeof(config));  s->vq = virtio_add_queue(vdev, 128,
 *               sizeof(MyRequest), my_kick);
 *     my_kick   virtqueue_run(vq, my_request);      // pops until there is no more, or:
 *               while ((req = virtqueue_pop(vq))) { ... }
 *     done      virtqueue_push(&req->elem, bytes_written);  virtqueue_notify(vq);
 *     unrealize virtio_cleanup(vdev)                // resets, so that nothing is in flight
 *
 * MyRequest begins with VirtioElem.  Elements belong to their queue and are used again: a pushed or
 * dropped one must not be touched.  What pop returns is checked: every buffer is guest RAM that stays
 * where it is until push or drop, readable ones first, then writable ones; sums of lengths fit in 32
 * bits.  Whatever a driver does wrong ends in virtio_error(): one guest error, and the device stands
 * still (DEVICE_NEEDS_RESET, or for legacy drivers broken) until the driver resets it; pop then
 * returns NULL, and push and notify do nothing.
 *
 * Thread rule: main loop or vCPU thread with the machine lock, unless a queue has been given to an
 * iothread (virtio_set_loop()): then its handler, pop, push, drop and notify run there, without the
 * machine lock, and must never wait for it.
 * Not modelled: VIRTIO_F_ACCESS_PLATFORM, _ORDER_PLATFORM, _SR_IOV, shared memory regions, big endian guests.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H

#include <sys/uio.h>

#include "base/event_loop.h"
#include "vm/device.h"

typedef struct VirtioDevice VirtioDevice;
typedef struct VirtioElem VirtioElem;
typedef struct VirtQueue VirtQueue;
typedef struct VirtioKicks VirtioKicks;

enum { VIRTIO_QUEUE_MAX = 1024, VIRTQUEUE_SIZE_MAX = 1024, VIRTIO_NO_VECTOR = 0xffff };

/* Device status.  [VIRTIO1.2 2.1] */
enum {
    VIRTIO_STATUS_ACKNOWLEDGE = 1, VIRTIO_STATUS_DRIVER = 2, VIRTIO_STATUS_DRIVER_OK = 4,
    VIRTIO_STATUS_FEATURES_OK = 8, VIRTIO_STATUS_NEEDS_RESET = 64, VIRTIO_STATUS_FAILED = 128,
};

/* Feature bits of the core and the transports.  [VIRTIO1.2 6] */
enum {
    VIRTIO_F_NOTIFY_ON_EMPTY = 24, VIRTIO_F_ANY_LAYOUT = 27, VIRTIO_F_INDIRECT_DESC = 28,
    VIRTIO_F_EVENT_IDX = 29, VIRTIO_F_BAD_FEATURE = 30, VIRTIO_F_VERSION_1 = 32,
    VIRTIO_F_RING_PACKED = 34, VIRTIO_F_RING_RESET = 40,
};

/* Device types.  [VIRTIO1.2 5] */
enum {
    VIRTIO_ID_NET = 1, VIRTIO_ID_BLOCK = 2, VIRTIO_ID_CONSOLE = 3, VIRTIO_ID_RNG = 4,
    VIRTIO_ID_BALLOON = 5, VIRTIO_ID_SCSI = 8, VIRTIO_ID_9P = 9, VIRTIO_ID_GPU = 16,
    VIRTIO_ID_INPUT = 18,
};

/* Fixed facts and hooks of a kind of device; NULL hooks do nothing. */
typedef struct VirtioInfo {
    uint16_t device_id;
    uint32_t class_id;        /* of a PCI proxy, 0xCCSS */
    /* Adds the device's own bits to FEATURES, those of the core and the transport. */
    uint64_t (*features)(VirtioDevice *vdev, uint64_t features);
    /* The driver has chosen; virtio_has() tells what. */
    void (*features_set)(VirtioDevice *vdev);
    /* Fills, and takes the driver's changes to, the configuration; little-endian at all times. */
    void (*config_read)(VirtioDevice *vdev, uint8_t *config);
    void (*config_write)(VirtioDevice *vdev, const uint8_t *config);
    /* A loaded configuration, where the driver has set some of it. */
    void (*config_load)(VirtioDevice *vdev, const uint8_t *config);
    /* After each change but a reset.  vdev->status is the new one. */
    void (*status_changed)(VirtioDevice *vdev);
    /* Finishes or drops everything in flight, waiting where it must; always on the main loop when
     * something is.  The queues are as they were; afterwards they are gone. */
    void (*reset)(VirtioDevice *vdev);
    /* The same for one queue (VIRTIO_F_RING_RESET); NULL: the feature is not offered. */
    void (*queue_reset)(VirtioDevice *vdev, VirtQueue *vq);
    /* The part of the state that the device wrote itself before it had tables: QEMU's order is the
     * transport's, the core's, this, and then that of .state. */
    void (*save)(VirtioDevice *vdev, VmWriter *w);
    bool (*load)(VirtioDevice *vdev, VmReader *r, GError **error);
    const VmStateDesc *state;
    void (*loaded)(VirtioDevice *vdev);       /* all of it is there */
} VirtioInfo;

/* A modern driver's view of a queue before it is ready; addresses of the areas in halves, low first. */
typedef struct VirtioQueueSetup {
    uint16_t num;
    bool enabled;
    uint32_t desc[2], driver[2], device[2];
} VirtioQueueSetup;

/* What a transport does for the core; constant. */
typedef struct VirtioTransport {
    const char *name;
    /* Interrupt of a queue or of the configuration; their vector may be VIRTIO_NO_VECTOR. */
    void (*notify_queue)(Device *proxy, VirtQueue *vq);
    void (*notify_config)(Device *proxy, VirtioDevice *vdev);
    void (*device_reset)(Device *proxy);   /* the driver's or the machine's reset */
    /* For proxies that do not make their model: it is there, realized; it is about to go.  Without them a
     * device can be plugged by its proxy only. */
    void (*plugged)(Device *proxy, VirtioDevice *vdev);
    void (*unplugged)(Device *proxy);
    bool legacy_align;        /* has a ring alignment of its own in the state */
    void (*save_config)(Device *proxy, VmWriter *w);
    bool (*load_config)(Device *proxy, VmReader *r, GError **error);
    void (*save_queue)(Device *proxy, unsigned n, VmWriter *w);
    bool (*load_queue)(Device *proxy, unsigned n, VmReader *r, GError **error);
    const VmStateDesc *extra_state;
    /* FD is to be signalled by the driver's kicks of VQ, or no more; NULL: it cannot be. */
    void (*kick_eventfd)(Device *proxy, VirtQueue *vq, int fd, bool on);
    /* Started, stopped, or a queue became ready: whether there is an irqfd for it (vq->irq_fd). */
    void (*irqs_changed)(Device *proxy);
} VirtioTransport;

typedef void VirtQueueFn(VirtioDevice *vdev, VirtQueue *vq);

struct VirtioDevice {
    Device dev;
    const VirtioTransport *transport;   /* from being plugged until unplugged */
    Device *proxy;            /* does the DMA */
    uint8_t status;
    uint8_t isr;              /* atomic: bit 0 queue, bit 1 configuration */
    bool broken;
    bool started;             /* DRIVER_OK, or a legacy driver has kicked */
    bool disabled;            /* wire only */
    uint16_t queue_sel;
    uint16_t config_vector;
    uint32_t generation;      /* of the configuration */
    uint64_t host_features;   /* offered; props of the core set bits before realize */
    uint64_t guest_features;  /* chosen */
    uint8_t *config;          /* as read last */
    size_t config_len;
    VirtQueue **queues;       /* VIRTIO_QUEUE_MAX entries, NULL where there is none */
    unsigned num_queues;      /* index of the last one, plus 1 */
    uint64_t unoffered;       /* what the driver accepted without being offered it */
    EventLoop *loop;          /* of the queues; NULL: the machine lock's side */
    VirtioKicks *kicks;       /* RCU: virtio_notify.c; NULL: none without the machine lock */
    bool ioeventfd;           /* the transport's property: kicks and interrupts without it */
    bool paused;              /* the loop leaves the queues alone */
    bool resetting;           /* a driver's reset waits for what is in flight */
    Bh *error_bh, *reset_bh;
};

static inline const VirtioInfo *virtio_info(const VirtioDevice *vdev)
{
    return (const VirtioInfo *)device_type(&vdev->dev)->bus_info;
}

static inline bool virtio_has(const VirtioDevice *vdev, unsigned feature)
{
    return vdev->guest_features >> feature & 1;
}

/* One request.  IOVs are the device's to change (skipping a header). */
struct VirtioElem {
    VirtQueue *vq;
    uint16_t head;            /* what the used ring gives back */
    uint16_t slots;           /* packed ring: descriptors it took */
    unsigned out_num, in_num; /* readable and writable buffers */
    struct iovec *out, *in;
    uint32_t out_len, in_len; /* bytes when popped */
    DmaSg out_sg, in_sg;
    VirtioElem *next, *prev;  /* of the queue's list of those in flight, or of free ones */
};

/* ---- for device models ---- */

/* In realize, before queues are added. */
void virtio_setup(VirtioDevice *vdev, size_t config_len);
/* In unrealize, first: resets, then drops the queues. */
void virtio_cleanup(VirtioDevice *vdev);
/* SIZE: default and greatest number of descriptors, a power of two.  ELEM_SIZE of a struct that begins
 * with VirtioElem; what is behind it is not cleared between uses. */
VirtQueue *virtio_add_queue(VirtioDevice *vdev, uint16_t size, size_t elem_size,
                            VirtQueueFn *handle);

/* The next request, or NULL: none, not started, or the device is broken. */
void *virtqueue_pop(VirtQueue *vq);
/* Calls FN for each request there is, with the driver's notifications off meanwhile; those of the device
 * come at the end, as one. */
void virtqueue_run(VirtQueue *vq, void (*fn)(VirtioDevice *vdev, void *elem));
/* WRITTEN bytes of the writable buffers, from their start, were written. */
void virtqueue_push(VirtioElem *elem, uint32_t written);
/* Without telling the driver, for reset and unplug. */
void virtqueue_drop(VirtioElem *elem);
/* After any number of pushes: interrupts if the driver wants it. */
void virtqueue_notify(VirtQueue *vq);
/* Whether the driver should kick for new requests; a hint. */
void virtqueue_set_notification(VirtQueue *vq, bool on);
bool virtqueue_is_empty(VirtQueue *vq);
bool virtqueue_is_ready(const VirtQueue *vq);
unsigned virtqueue_index(const VirtQueue *vq);
VirtioDevice *virtqueue_device(const VirtQueue *vq);
/* Requests popped and neither pushed nor dropped. */
unsigned virtqueue_in_flight(const VirtQueue *vq);

/* Reads (writes) up to LEN bytes of the readable (writable) buffers from OFFSET; returns how many. */
size_t virtio_elem_read(const VirtioElem *elem, size_t offset, void *buf, size_t len);
size_t virtio_elem_write(const VirtioElem *elem, size_t offset, const void *buf, size_t len);
/* Takes LEN bytes off the front (back) of an iovec array; false, and nothing changed, if it is
 * shorter. */
bool virtio_iov_skip(struct iovec **iov, unsigned *num, size_t len);
bool virtio_iov_cut(struct iovec *iov, unsigned *num, size_t len);

/* The configuration changed: the driver is told. */
void virtio_config_changed(VirtioDevice *vdev);
/* The driver did something that ends this device's service until it is reset. */
void virtio_error(VirtioDevice *vdev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Queues on an iothread.  LOOP (NULL: back) serves them from now on; nothing is in flight. */
void virtio_set_loop(VirtioDevice *vdev, EventLoop *loop);
/* Between the two, the loop is parked: what its callbacks touch is the caller's.  No waiting there. */
void virtio_hold(VirtioDevice *vdev);
void virtio_release(VirtioDevice *vdev);
/* From the first on, handlers are not called; with the second they are, for all that has come.  Around a
 * stop of the VM; the core does so around resets. */
void virtio_pause(VirtioDevice *vdev);
void virtio_go_on(VirtioDevice *vdev);

/* A request in flight in QEMU's old form, for devices that keep failed ones over a migration. */
void virtqueue_save_elem(VmWriter *w, const VirtioElem *elem);
void *virtqueue_load_elem(VirtQueue *vq, VmReader *r, GError **error);

/* In the tables of device models: VIRTIO_STATE("virtio-blk", 2). */
extern const VmField virtio_state_fields[];
#define VIRTIO_STATE(n, v) VMSTATE(n, v, v, virtio_state_fields)

extern const BusType bus_virtio;

#endif
