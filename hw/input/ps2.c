/* SPDX-License-Identifier: MIT */
/*
 * What PS/2 keyboard and mouse share: the queue to the host.
 * Spec: IBM PS/2 Hardware Interface Technical Reference (1988), keyboard and auxiliary device.
 * Locking: machine lock.
 *
 * Invariants: 1. 0 <= count <= 255, wptr == rptr + count (mod 256).
 *             2. cwptr == -1, or the bytes from rptr to before cwptr answer the last command.
 */
#include "hw/input/ps2.h"

#include "base/error.h"

void ps2_queue_reset(Ps2Device *ps2)
{
    ps2->queue.rptr = ps2->queue.wptr = ps2->queue.count = 0;
    ps2->queue.cwptr = -1;
}

unsigned ps2_queue_room(const Ps2Device *ps2)
{
    const Ps2Queue *q = &ps2->queue;
    int reply = q->cwptr < 0 ? 0 : (q->cwptr - q->rptr) & 0xff;
    int events = q->count - reply;

    return events < PS2_QUEUE_MAX ? PS2_QUEUE_MAX - events : 0;
}

bool ps2_queue_event(Ps2Device *ps2, const uint8_t *bytes, unsigned len)
{
    Ps2Queue *q = &ps2->queue;

    if (len > ps2_queue_room(ps2)) {
        return false;
    }
    for (unsigned i = 0; i < len; i++) {
        q->data[q->wptr] = bytes[i];
        q->wptr = (q->wptr + 1) & 0xff;
        q->count++;
    }
    return true;
}

void ps2_queue_reply(Ps2Device *ps2, const uint8_t *bytes, unsigned len)
{
    Ps2Queue *q = &ps2->queue;

    if (q->cwptr >= 0) {
        q->count -= (q->cwptr - q->rptr) & 0xff;
        q->rptr = q->cwptr;
    }
    q->cwptr = q->rptr;
    for (unsigned i = len; i-- > 0;) {
        q->rptr = (q->rptr - 1) & 0xff;
        q->data[q->rptr] = bytes[i];
        q->count++;
    }
}

uint8_t ps2_queue_get(Ps2Device *ps2)
{
    Ps2Queue *q = &ps2->queue;
    uint8_t value;

    if (q->count == 0) {
        return q->data[(q->rptr - 1) & 0xff];
    }
    value = q->data[q->rptr];
    q->rptr = (q->rptr + 1) & 0xff;
    q->count--;
    if (q->rptr == q->cwptr) {
        q->cwptr = -1;
    }
    return value;
}

void ps2_sync(Device *dev)
{
    irq_set(&ps2_device(dev)->data_line, ps2_has_data(dev));
}

bool ps2_post_load(Ps2Device *ps2, GError **error)
{
    Ps2Queue *q = &ps2->queue;

    if (q->rptr < 0 || q->rptr > 255 || q->count < 0 || q->count > 255 || q->cwptr < -1 ||
        q->cwptr > 255) {
        return error_set(error, "ps2: queue at %d with %d bytes is out of range", q->rptr, q->count);
    }
    q->wptr = (q->rptr + q->count) & 0xff;
    if (q->cwptr >= 0 && ((q->cwptr - q->rptr) & 0xff) > q->count) {
        q->cwptr = -1;
    }
    return true;
}

static const VmField common_fields[] = {
    VMS_I32(Ps2Device, write_cmd), VMS_I32(Ps2Device, queue.rptr), VMS_I32(Ps2Device, queue.wptr),
    VMS_I32(Ps2Device, queue.count), VMS_BUFFER(Ps2Device, queue.data), VMS_END
};
const VmStateDesc ps2_common_desc = { .name = "PS2 Common State", .version = 3, .minimum = 2,
                                      .fields = common_fields };
