/* SPDX-License-Identifier: MIT */
/*
 * Packed rings: one ring of descriptors, that driver and device write in turn.  [VIRTIO1.2 2.8]
 *
 *     desc      num x { addr le64, len le32, id le16, flags le16 }
 *     driver    event suppression of interrupts: off_wrap le16, flags le16
 *     device    event suppression of kicks, likewise
 *
 * A descriptor is available when its AVAIL bit is the driver's wrap counter and its USED bit is not.
 */
#include "hw/virtio/virtio_int.h"

enum { DESC_ID_AT = 12, DESC_FLAGS_AT = 14 };
enum { EVENT_OFF_WRAP = 0, EVENT_FLAGS = 2, EVENT_LEN = 4 };
enum { EVENTS_ON = 0, EVENTS_OFF = 1, EVENTS_AT = 2 };

static uint64_t packed_desc_len(const VirtQueue *vq)
{
    return (uint64_t)DESC_LEN * vq->num;
}

static uint64_t packed_event_len(const VirtQueue *vq)
{
    return EVENT_LEN;
}

static bool packed_is_empty(VirtQueue *vq)
{
    uint16_t flags = ring_load16(vq->desc_w.host + DESC_LEN * vq->last_avail + DESC_FLAGS_AT);
    bool avail = flags & DESC_AVAIL, used = flags & DESC_USED;

    return avail != vq->last_wrap || used == vq->last_wrap;
}

static bool add_indirect(VirtQueue *vq, VirtioElem *e, const Desc *d)
{
    unsigned count;
    const uint8_t *table = virtqueue_indirect(vq, d, &count);

    if (!table) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        Desc each = desc_load(table + DESC_LEN * i, DESC_FLAGS_AT);

        if (!virtqueue_add_buffer(vq, e, &each)) {
            return false;
        }
    }
    return true;
}

static bool packed_pop(VirtQueue *vq, VirtioElem *e)
{
    unsigned slots = 0, at = vq->last_avail;

    for (;;) {
        const uint8_t *p = vq->desc_w.host + DESC_LEN * at;
        Desc d = desc_load(p, DESC_FLAGS_AT);

        slots++;
        e->head = le16_load(p + DESC_ID_AT);
        if (d.flags & DESC_INDIRECT) {
            if (slots > 1) {
                virtio_error(vq->vdev, "queue %u: an indirect table in a chain", vq->index);
                return false;
            }
            if (!add_indirect(vq, e, &d)) {
                return false;
            }
            break;
        }
        if (!virtqueue_add_buffer(vq, e, &d)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            break;
        }
        if (slots + vq->slots_used >= vq->num) {
            virtio_error(vq->vdev, "queue %u: a chain of more descriptors than are free in a "
                         "ring of %u", vq->index, vq->num);
            return false;
        }
        at = at + 1u == vq->num ? 0 : at + 1;
    }
    if (slots + vq->slots_used > vq->num) {
        virtio_error(vq->vdev, "queue %u: more descriptors available than the ring of %u has",
                     vq->index, vq->num);
        return false;
    }
    e->slots = slots;
    vq->last_avail += slots;
    if (vq->last_avail >= vq->num) {
        vq->last_avail -= vq->num;
        vq->last_wrap = !vq->last_wrap;
    }
    return true;
}

static void packed_push(VirtQueue *vq, const VirtioElem *e, uint32_t written)
{
    unsigned offset = DESC_LEN * vq->used_idx;
    uint8_t *p = vq->desc_w.host + offset;
    uint16_t flags = vq->used_wrap ? DESC_AVAIL | DESC_USED : 0;

    le16_store(p + DESC_ID_AT, e->head);
    le32_store(p + 8, written);
    ring_store16(p + DESC_FLAGS_AT, flags | (written ? DESC_WRITE : 0));
    dma_window_written(&vq->desc_w, offset, DESC_LEN);
    vq->used_idx += e->slots;
    if (vq->used_idx >= vq->num) {
        vq->used_idx -= vq->num;
        vq->used_wrap = !vq->used_wrap;
        vq->signalled_used -= vq->num;
    }
}

static bool packed_wants_interrupt(VirtQueue *vq)
{
    const uint8_t *event = vq->driver_w.host;
    uint16_t flags = ring_load16(event + EVENT_FLAGS), off_wrap, at, old = vq->signalled_used;
    bool valid = vq->signalled_valid;

    vq->signalled_used = vq->used_idx;
    vq->signalled_valid = true;
    if (flags != EVENTS_AT || !virtio_has(vq->vdev, VIRTIO_F_EVENT_IDX)) {
        return flags != EVENTS_OFF;
    }
    off_wrap = ring_load16(event + EVENT_OFF_WRAP);
    at = off_wrap & 0x7fff;
    if (off_wrap >> 15 != vq->used_wrap) {
        at -= vq->num;
    }
    return !valid || ring_event_passed(at, vq->used_idx, old);
}

static void packed_set_notification(VirtQueue *vq)
{
    uint8_t *event = vq->device_w.host;
    uint16_t flags = vq->notification ? EVENTS_ON : EVENTS_OFF;

    if (vq->notification && virtio_has(vq->vdev, VIRTIO_F_EVENT_IDX)) {
        ring_store16(event + EVENT_OFF_WRAP, vq->last_avail | vq->last_wrap << 15);
        flags = EVENTS_AT;
    }
    ring_store16(event + EVENT_FLAGS, flags);
    dma_window_written(&vq->device_w, 0, EVENT_LEN);
}

const RingOps packed_ring = {
    .desc_len = packed_desc_len, .driver_len = packed_event_len, .device_len = packed_event_len,
    .desc_align = 16, .driver_align = 4, .device_align = 4,
    .is_empty = packed_is_empty, .pop = packed_pop, .push = packed_push,
    .wants_interrupt = packed_wants_interrupt, .set_notification = packed_set_notification,
};
