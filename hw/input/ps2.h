/* SPDX-License-Identifier: MIT */
/*
 * PS/2 devices: keyboard ("ps2-kbd") and mouse ("ps2-mouse") as their controller sees them.
 *
 * The controller creates them, connects their data line (high while they have a byte to give)
 * and moves bytes with ps2_write()/ps2_read().
 * Thread rule: machine lock.
 */
#ifndef HW_INPUT_PS2_H
#define HW_INPUT_PS2_H

#include "vm/device.h"

/* Bytes on their way to the host.  A command's reply goes before what was queued already. */
typedef struct Ps2Queue {
    uint8_t data[256];
    int32_t rptr, wptr, cwptr, count;    /* cwptr: end of the reply; -1: none */
} Ps2Queue;

enum { PS2_QUEUE_MAX = 16 };             /* of events; replies have room beyond it */

typedef struct Ps2Device {
    Device dev;
    Ps2Queue queue;
    int32_t write_cmd;                   /* command that waits for its argument; -1: none */
    IrqLine data_line;
} Ps2Device;

static inline Ps2Device *ps2_device(Device *dev)
{
    return DEVICE_CAST(Ps2Device, dev);
}

/* Host to device. */
void ps2_kbd_write(Device *dev, uint8_t value);
void ps2_mouse_write(Device *dev, uint8_t value);
/* A packet that says nothing new, so that the host looks around. */
void ps2_mouse_poke(Device *dev);
/* Device to host; with nothing queued, the last byte again. */
uint8_t ps2_kbd_read(Device *dev);
uint8_t ps2_mouse_read(Device *dev);
static inline bool ps2_has_data(Device *dev)
{
    return ps2_device(dev)->queue.count != 0;
}
/* The controller turns set 2 into set 1: the keyboard queues what will be seen. */
void ps2_kbd_set_translation(Device *dev, bool on);

/* ---- shared by the two ---- */

void ps2_queue_reset(Ps2Device *ps2);
/* All of it or nothing. */
bool ps2_queue_event(Ps2Device *ps2, const uint8_t *bytes, unsigned len);
unsigned ps2_queue_room(const Ps2Device *ps2);
/* Replaces what is left of an earlier reply. */
void ps2_queue_reply(Ps2Device *ps2, const uint8_t *bytes, unsigned len);
uint8_t ps2_queue_get(Ps2Device *ps2);
void ps2_sync(Device *dev);
bool ps2_post_load(Ps2Device *ps2, GError **error);
extern const VmStateDesc ps2_common_desc;

#endif
