/* SPDX-License-Identifier: MIT */
/*
 * Split rings.  [VIRTIO1.2 2.7]
 *
 *     desc      num x { addr le64, len le32, flags le16, next le16 }
 *     driver    flags le16, idx le16, ring[num] le16, used_event le16
 *     device    flags le16, idx le16, ring[num] { id le32, len le32 }, avail_event le16
 */
#include "hw/virtio/virtio_int.h"

enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4, USED_ENTRY = 8 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };
enum { DESC_FLAGS_AT = 12, DESC_NEXT_AT = 14 };

/* The event fields are there only when negotiated: legacy drivers may end their page before. */
static unsigned event_len(const VirtQueue *vq)
{
    return virtio_has(vq->vdev, VIRTIO_F_EVENT_IDX) ? 2 : 0;
}

static uint64_t split_desc_len(const VirtQueue *vq)
{
    return (uint64_t)DESC_LEN * vq->num;
}

static uint64_t split_driver_len(const VirtQueue *vq)
{
    return RING_ENTRIES + 2u * vq->num + event_len(vq);
}

static uint64_t split_device_len(const VirtQueue *vq)
{
    return RING_ENTRIES + (uint64_t)USED_ENTRY * vq->num + event_len(vq);
}

static void device_store16(VirtQueue *vq, unsigned offset, uint16_t value)
{
    ring_store16(vq->device_w.host + offset, value);
    dma_window_written(&vq->device_w, offset, 2);
}

static unsigned avail_event_at(const VirtQueue *vq)
{
    return RING_ENTRIES + USED_ENTRY * vq->num;
}

static bool split_is_empty(VirtQueue *vq)
{
    if (vq->shadow_avail == vq->last_avail) {
        vq->shadow_avail = ring_load16(vq->driver_w.host + RING_IDX);
    }
    return vq->shadow_avail == vq->last_avail;
}

static bool walk(VirtQueue *vq, VirtioElem *e, unsigned i)
{
    const uint8_t *table = vq->desc_w.host;
    unsigned count = vq->num;
    bool indirect = false;

    /* Each descriptor at most once: more is a loop. */
    for (unsigned left = count; left > 0; left--) {
        const uint8_t *p = table + DESC_LEN * i;
        Desc d = desc_load(p, DESC_FLAGS_AT);
        unsigned next = le16_load(p + DESC_NEXT_AT);

        if (d.flags & DESC_INDIRECT) {
            if (indirect) {
                virtio_error(vq->vdev, "queue %u: an indirect table in an indirect table",
                             vq->index);
                return false;
            }
            table = virtqueue_indirect(vq, &d, &count);
            if (!table) {
                return false;
            }
            indirect = true;
            i = 0;
            left = count + 1;
            continue;
        }
        if (!virtqueue_add_buffer(vq, e, &d)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        if (next >= count) {
            virtio_error(vq->vdev, "queue %u: descriptor %u of a table of %u", vq->index, next,
                         count);
            return false;
        }
        i = next;
    }
    virtio_error(vq->vdev, "queue %u: a chain of descriptors that loops", vq->index);
    return false;
}

static bool split_pop(VirtQueue *vq, VirtioElem *e)
{
    const uint8_t *avail = vq->driver_w.host;
    unsigned head;

    if ((uint16_t)(vq->shadow_avail - vq->last_avail) > vq->num) {
        virtio_error(vq->vdev, "queue %u: the available index went from %u to %u in a ring of %u",
                     vq->index, vq->last_avail, vq->shadow_avail, vq->num);
        return false;
    }
    head = le16_load(avail + RING_ENTRIES + 2 * (vq->last_avail % vq->num));
    if (head >= vq->num) {
        virtio_error(vq->vdev, "queue %u: descriptor %u of a ring of %u is available", vq->index,
                     head, vq->num);
        return false;
    }
    e->head = head;
    if (!walk(vq, e, head)) {
        return false;
    }
    vq->last_avail++;
    if (virtio_has(vq->vdev, VIRTIO_F_EVENT_IDX) && vq->notification) {
        device_store16(vq, avail_event_at(vq), vq->last_avail);
    }
    return true;
}

static void split_push(VirtQueue *vq, const VirtioElem *e, uint32_t written)
{
    unsigned offset = RING_ENTRIES + USED_ENTRY * (vq->used_idx % vq->num);
    uint16_t old = vq->used_idx++;

    le32_store(vq->device_w.host + offset, e->head);
    le32_store(vq->device_w.host + offset + 4, written);
    dma_window_written(&vq->device_w, offset, USED_ENTRY);
    device_store16(vq, RING_IDX, vq->used_idx);
    /* Half a lap later the last decision says nothing any more. */
    if ((uint16_t)(vq->used_idx - vq->signalled_used) < (uint16_t)(vq->used_idx - old)) {
        vq->signalled_valid = false;
    }
}

static bool split_wants_interrupt(VirtQueue *vq)
{
    const uint8_t *avail = vq->driver_w.host;
    uint16_t old = vq->signalled_used;
    bool valid = vq->signalled_valid;

    if (virtio_has(vq->vdev, VIRTIO_F_NOTIFY_ON_EMPTY) && !vq->in_flight && split_is_empty(vq)) {
        return true;
    }
    if (!virtio_has(vq->vdev, VIRTIO_F_EVENT_IDX)) {
        return !(ring_load16(avail + RING_FLAGS) & AVAIL_NO_INTERRUPT);
    }
    vq->signalled_used = vq->used_idx;
    vq->signalled_valid = true;
    return !valid || ring_event_passed(ring_load16(avail + RING_ENTRIES + 2 * vq->num),
                                       vq->used_idx, old);
}

static void split_set_notification(VirtQueue *vq)
{
    if (!virtio_has(vq->vdev, VIRTIO_F_EVENT_IDX)) {
        device_store16(vq, RING_FLAGS, vq->notification ? 0 : USED_NO_NOTIFY);
    } else if (vq->notification) {
        device_store16(vq, avail_event_at(vq), vq->last_avail);
    }
}

const RingOps split_ring = {
    .desc_len = split_desc_len, .driver_len = split_driver_len, .device_len = split_device_len,
    .desc_align = 16, .driver_align = 2, .device_align = 4,
    .is_empty = split_is_empty, .pop = split_pop, .push = split_push,
    .wants_interrupt = split_wants_interrupt, .set_notification = split_set_notification,
};
