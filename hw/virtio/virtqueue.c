/* SPDX-License-Identifier: MIT */
/*
 * Queues: what split and packed rings have in common.  [VIRTIO1.2 2.6]
 *
 * A queue is served by one thread at a time, with the machine lock or on the device's loop.  Elements
 * live in two lists of the queue, in flight and spare; a spare one keeps its arrays.
 */
#include "hw/virtio/virtio_int.h"

#include "hw/trace.h"

/* ---- elements ---- */

VirtioElem *virtqueue_elem_take(VirtQueue *vq)
{
    VirtioElem *e = vq->spare;

    if (e) {
        vq->spare = e->next;
    } else {
        e = g_malloc0(vq->elem_size);
        e->vq = vq;
        dma_sg_init(&e->out_sg, vq->vdev->proxy, false);
        dma_sg_init(&e->in_sg, vq->vdev->proxy, true);
        e->out_sg.ram_only = e->in_sg.ram_only = true;
    }
    e->out_len = e->in_len = 0;
    e->slots = 1;
    return e;
}

static void elem_spare(VirtioElem *e)
{
    e->next = e->vq->spare;
    e->vq->spare = e;
}

void virtqueue_elem_enlist(VirtQueue *vq, VirtioElem *e)
{
    e->out = (struct iovec *)(void *)e->out_sg.iov->data;
    e->out_num = e->out_sg.iov->len;
    e->in = (struct iovec *)(void *)e->in_sg.iov->data;
    e->in_num = e->in_sg.iov->len;
    e->next = NULL;
    e->prev = vq->last;
    *(vq->last ? &vq->last->next : &vq->first) = e;
    vq->last = e;
    vq->in_flight++;
    vq->slots_used += e->slots;
}

static void elem_delist(VirtQueue *vq, VirtioElem *e)
{
    *(e->prev ? &e->prev->next : &vq->first) = e->next;
    *(e->next ? &e->next->prev : &vq->last) = e->prev;
    vq->in_flight--;
    vq->slots_used -= e->slots;
}

void virtqueue_elem_finish(VirtioElem *e)
{
    dma_sg_finish(&e->out_sg);
    dma_sg_finish(&e->in_sg);
    elem_spare(e);
}

bool virtqueue_add_buffer(VirtQueue *vq, VirtioElem *e, const Desc *d)
{
    bool writable = d->flags & DESC_WRITE;
    uint32_t *len = writable ? &e->in_len : &e->out_len;
    DmaSg *sg = writable ? &e->in_sg : &e->out_sg;

    if (!d->len) {
        virtio_error(vq->vdev, "queue %u: a buffer of no length", vq->index);
    } else if (!writable && e->in_len) {
        virtio_error(vq->vdev, "queue %u: a readable buffer after a writable one", vq->index);
    } else if (d->len > UINT32_MAX - e->in_len - e->out_len) {
        virtio_error(vq->vdev, "queue %u: a chain of more than 4 GiB", vq->index);
    } else if (!dma_sg_add(sg, d->addr, d->len)) {
        virtio_error(vq->vdev, "queue %u: buffer 0x%" PRIx64 "+0x%x is not guest RAM", vq->index,
                     d->addr, d->len);
    } else if (dma_sg_parts(sg) > VIRTQUEUE_SIZE_MAX) {
        virtio_error(vq->vdev, "queue %u: buffers in more than %d pieces", vq->index,
                     VIRTQUEUE_SIZE_MAX);
    } else {
        *len += d->len;
        return true;
    }
    return false;
}

const uint8_t *virtqueue_indirect(VirtQueue *vq, const Desc *d, unsigned *count)
{
    DmaWindow w;
    const uint8_t *table;

    if (!virtio_has(vq->vdev, VIRTIO_F_INDIRECT_DESC)) {
        virtio_error(vq->vdev, "queue %u: an indirect descriptor, which was not negotiated",
                     vq->index);
        return NULL;
    }
    if (d->flags & DESC_NEXT) {
        virtio_error(vq->vdev, "queue %u: an indirect descriptor with a next one", vq->index);
        return NULL;
    }
    if (!d->len || d->len % DESC_LEN || d->len > VIRTQUEUE_SIZE_MAX * DESC_LEN) {
        virtio_error(vq->vdev, "queue %u: an indirect table of %u bytes; it may be 1 to %d "
                     "descriptors of %d", vq->index, d->len, VIRTQUEUE_SIZE_MAX, DESC_LEN);
        return NULL;
    }
    dma_window_init(&w, vq->vdev->proxy, d->addr, d->len, false);
    table = dma_window_host(&w);
    if (!table) {
        virtio_error(vq->vdev, "queue %u: indirect table 0x%" PRIx64 " is not guest RAM",
                     vq->index, d->addr);
    }
    *count = d->len / DESC_LEN;
    return table;
}

size_t virtio_elem_read(const VirtioElem *e, size_t offset, void *buf, size_t len)
{
    size_t done = 0;

    for (unsigned i = 0; i < e->out_num && done < len; i++) {
        size_t part = e->out[i].iov_len;

        if (offset >= part) {
            offset -= part;
            continue;
        }
        part = MIN(part - offset, len - done);
        memcpy((char *)buf + done, (char *)e->out[i].iov_base + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtio_elem_write(const VirtioElem *e, size_t offset, const void *buf, size_t len)
{
    size_t done = 0;

    for (unsigned i = 0; i < e->in_num && done < len; i++) {
        size_t part = e->in[i].iov_len;

        if (offset >= part) {
            offset -= part;
            continue;
        }
        part = MIN(part - offset, len - done);
        memcpy((char *)e->in[i].iov_base + offset, (const char *)buf + done, part);
        done += part;
        offset = 0;
    }
    return done;
}

static size_t iov_len(const struct iovec *iov, unsigned num)
{
    size_t sum = 0;

    for (unsigned i = 0; i < num; i++) {
        sum += iov[i].iov_len;
    }
    return sum;
}

bool virtio_iov_skip(struct iovec **iov, unsigned *num, size_t len)
{
    if (iov_len(*iov, *num) < len) {
        return false;
    }
    while (*num && len >= (*iov)->iov_len) {
        len -= (*iov)->iov_len;
        ++*iov;
        --*num;
    }
    if (len) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + len;
        (*iov)->iov_len -= len;
    }
    return true;
}

bool virtio_iov_cut(struct iovec *iov, unsigned *num, size_t len)
{
    if (iov_len(iov, *num) < len) {
        return false;
    }
    while (*num && len >= iov[*num - 1].iov_len) {
        len -= iov[--*num].iov_len;
    }
    if (len) {
        iov[*num - 1].iov_len -= len;
    }
    return true;
}

/* ---- the rings ---- */

/* The rings can be looked at: all windows are there. */
static bool ring_open(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    if (!vq->ready || vdev->broken || !vdev->started) {
        return false;
    }
    if (!dma_window_host(&vq->desc_w) || !dma_window_host(&vq->driver_w) ||
        !dma_window_host(&vq->device_w)) {
        virtio_error(vdev, "queue %u: a ring that is not guest RAM", vq->index);
        return false;
    }
    return true;
}

bool virtqueue_is_empty(VirtQueue *vq)
{
    RCU_READ_SCOPE();

    return !ring_open(vq) || vq_ring(vq)->is_empty(vq);
}

void *virtqueue_pop(VirtQueue *vq)
{
    RCU_READ_SCOPE();
    VirtioElem *e;

    if (!ring_open(vq) || vq_ring(vq)->is_empty(vq)) {
        return NULL;
    }
    if (vq->in_flight >= vq->num) {
        virtio_error(vq->vdev, "queue %u: more requests than the %u it has room for", vq->index,
                     vq->num);
        return NULL;
    }
    e = virtqueue_elem_take(vq);
    if (!vq_ring(vq)->pop(vq, e)) {
        virtqueue_elem_finish(e);
        return NULL;
    }
    virtqueue_elem_enlist(vq, e);
    trace_virtqueue_pop(vq->vdev->dev.obj.type->name, vq->index, e->head, e->out_len, e->in_len);
    return e;
}

void virtqueue_push(VirtioElem *e, uint32_t written)
{
    VirtQueue *vq = e->vq;
    RCU_READ_SCOPE();

    trace_virtqueue_push(vq->vdev->dev.obj.type->name, vq->index, e->head, written);
    elem_delist(vq, e);
    /* The data before the index that says it is there. */
    dma_sg_finish(&e->out_sg);
    dma_sg_finish(&e->in_sg);
    if (ring_open(vq)) {
        vq_ring(vq)->push(vq, e, written);
    }
    elem_spare(e);
}

void virtqueue_drop(VirtioElem *e)
{
    elem_delist(e->vq, e);
    virtqueue_elem_finish(e);
}

void virtqueue_set_notification(VirtQueue *vq, bool on)
{
    RCU_READ_SCOPE();

    vq->notification = on;
    if (ring_open(vq)) {
        vq_ring(vq)->set_notification(vq);
        /* Before the ring is looked at again. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

void virtqueue_run(VirtQueue *vq, void (*fn)(VirtioDevice *vdev, void *elem))
{
    unsigned left = 2u * vq->num_default;

    vq->in_batch = true;
    do {
        void *e;

        virtqueue_set_notification(vq, false);
        while (left && (e = virtqueue_pop(vq))) {
            left--;
            fn(vq->vdev, e);
        }
        virtqueue_set_notification(vq, true);
    } while (left && !virtqueue_is_empty(vq));
    vq->in_batch = false;
    if (vq->notify_due) {
        virtqueue_notify(vq);
    }
    if (!left) {
        bh_schedule(vq->kick_bh);     /* a driver that never stops does not hold up the others */
    }
}

void virtqueue_interrupt(VirtQueue *vq)
{
    VirtioDevice *vdev = vq->vdev;

    if (!vdev->transport || vdev->broken) {
        return;
    }
    trace_virtqueue_interrupt(vdev->dev.obj.type->name, vq->index, vq->vector);
    __atomic_fetch_or(&vdev->isr, VIRTIO_ISR_QUEUE, __ATOMIC_SEQ_CST);
    vdev->transport->notify_queue(vdev->proxy, vq);
}

void virtqueue_notify(VirtQueue *vq)
{
    RCU_READ_SCOPE();

    vq->notify_due = vq->in_batch;
    if (vq->in_batch || !ring_open(vq)) {
        return;
    }
    /* The used index is visible before the driver's wish is read. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!vq_ring(vq)->wants_interrupt(vq)) {
        return;
    }
    if (vq->vdev->loop) {
        virtqueue_interrupt_from_loop(vq);
    } else {
        virtqueue_interrupt(vq);
    }
}

/* ---- facts ---- */

bool virtqueue_is_ready(const VirtQueue *vq)
{
    return vq->ready && vq->vdev->started && !vq->vdev->broken;
}

unsigned virtqueue_index(const VirtQueue *vq)
{
    return vq->index;
}

VirtioDevice *virtqueue_device(const VirtQueue *vq)
{
    return vq->vdev;
}

unsigned virtqueue_in_flight(const VirtQueue *vq)
{
    return vq->in_flight;
}

/* ---- life ---- */

void virtqueue_dispatch(VirtQueue *vq)
{
    if (virtqueue_is_ready(vq) && !vq->vdev->paused && !vq->vdev->resetting && !vq->resetting &&
        vq->handle) {
        vq->handle(vq->vdev, vq);
    }
}

static void kicked(void *opaque)
{
    virtqueue_dispatch(opaque);
}

static void interrupt_wanted(void *opaque)
{
    virtqueue_interrupt(opaque);
}

VirtQueue *virtio_add_queue(VirtioDevice *vdev, uint16_t size, size_t elem_size, VirtQueueFn *handle)
{
    VirtQueue *vq = g_new0(VirtQueue, 1);

    g_assert(is_pow2(size) && size <= VIRTQUEUE_SIZE_MAX && elem_size >= sizeof(VirtioElem));
    g_assert(vdev->num_queues < VIRTIO_QUEUE_MAX);
    vq->vdev = vdev;
    vq->index = vdev->num_queues;
    vq->num_default = size;
    vq->elem_size = elem_size;
    vq->handle = handle;
    vq->kick_bh = bh_new(event_loop_main(), kicked, vq);
    vq->irq_bh = bh_new(event_loop_main(), interrupt_wanted, vq);
    virtqueue_clear(vq);
    vdev->queues[vdev->num_queues++] = vq;
    return vq;
}

void virtqueue_set_loop(VirtQueue *vq, EventLoop *loop)
{
    bh_free(vq->kick_bh);
    vq->kick_bh = bh_new(loop ? loop : event_loop_main(), kicked, vq);
}

void virtqueue_map(VirtQueue *vq)
{
    const RingOps *ring = vq_ring(vq);
    Device *dev = vq->vdev->proxy;

    dma_window_init(&vq->desc_w, dev, vq->desc, ring->desc_len(vq), ring == &packed_ring);
    dma_window_init(&vq->driver_w, dev, vq->driver, ring->driver_len(vq), false);
    dma_window_init(&vq->device_w, dev, vq->device, ring->device_len(vq), true);
}

void virtqueue_clear(VirtQueue *vq)
{
    g_assert(!vq->in_flight);
    bh_cancel(vq->kick_bh);
    bh_cancel(vq->irq_bh);
    vq->num = vq->num_default;
    vq->ready = false;
    vq->desc = vq->driver = vq->device = 0;
    vq->align = 4096;
    vq->vector = VIRTIO_NO_VECTOR;
    vq->last_avail = vq->shadow_avail = vq->used_idx = vq->signalled_used = 0;
    vq->signalled_valid = false;
    vq->last_wrap = vq->used_wrap = true;
    vq->notification = true;
    vq->slots_used = 0;
    vq->resetting = false;
    vq->notify_due = false;
}

void virtqueue_free(VirtQueue *vq)
{
    g_assert(!vq->in_flight);
    while (vq->spare) {
        VirtioElem *e = vq->spare;

        vq->spare = e->next;
        dma_sg_unmap(&e->out_sg);
        dma_sg_unmap(&e->in_sg);
        g_free(e);
    }
    bh_free(vq->kick_bh);
    bh_free(vq->irq_bh);
    g_free(vq);
}
