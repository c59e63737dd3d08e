/* SPDX-License-Identifier: MIT */
/*
 * Absolute pointer over VMware's backdoor ("vmmouse"), beside the PS/2 mouse.
 * Spec: the guest side, Linux's drivers/input/mouse/vmmouse.c; wire state and error cases as
 * observed of QEMU 7.2.  Command 27h takes words off the queue, 28h gives its state, 29h switches.
 * A packet is four words: buttons and flags, x, y, wheel.  The PS/2 mouse then sends a packet
 * without motion, whose interrupt makes the driver look here.
 * Not modelled: command 56h (who in the guest may ask), as in QEMU.
 * Locking: machine lock.
 *
 * Invariants: 1. the queue holds whole packets, or ids that the guest asked for before.
 *             2. input comes here from the time a mode is asked for until the device is off.
 */
#include "base/error.h"
#include "base/log.h"
#include "hw/input/i8042.h"
#include "hw/misc/vmport.h"
#include "ui/input.h"
#include "vm/vm.h"

enum { CMD_DATA = 0x27, CMD_STATUS = 0x28, CMD_COMMAND = 0x29 };
enum { DO_ENABLE = 0x45414552, DO_DISABLE = 0x000000f5, DO_RELATIVE = 0x4c455252,
       DO_ABSOLUTE = 0x53424152 };
enum { VERSION_ID = 0x3442554a, RELATIVE_PACKET = 0x00010000 };
enum { BUTTON_RIGHT = 0x10, BUTTON_LEFT = 0x20, BUTTON_MIDDLE = 0x08 };
enum { QUEUE_WORDS = 1024, PACKET_WORDS = 4, DATA_WORDS = 6, STATUS_OFF = 0xffff };

typedef struct VmMouse {
    IsaDevice isa;
    Object *i8042;
    Device *vmport;
    InputHandler *input;
    uint32_t queue[QUEUE_WORDS];
    int32_t queue_size;           /* wire: QUEUE_WORDS */
    uint16_t nb_queue, status;
    uint8_t absolute;
    /* Input since the last packet. */
    uint32_t buttons;
    int32_t x, y, dz;
    bool news;
} VmMouse;

/* ---- input ---- */

static void send_packet(VmMouse *s)
{
    uint32_t *packet = s->queue + s->nb_queue;

    if (s->nb_queue + PACKET_WORDS > QUEUE_WORDS) {
        return;                   /* the guest does not listen: it will see the next position */
    }
    packet[0] = s->buttons | (s->absolute ? 0 : RELATIVE_PACKET);
    packet[1] = (uint32_t)s->x;
    packet[2] = (uint32_t)s->y;
    packet[3] = (uint32_t)s->dz;
    s->nb_queue += PACKET_WORDS;
    s->dz = 0;
    if (!s->absolute) {
        s->x = s->y = 0;
    }
    i8042_poke_mouse(DEVICE(s->i8042));
}

static void pointer_event(void *opaque, const InputEvent *event)
{
    static const uint8_t bits[INPUT_BUTTONS] = { [INPUT_BUTTON_LEFT] = BUTTON_LEFT,
                                                 [INPUT_BUTTON_MIDDLE] = BUTTON_MIDDLE,
                                                 [INPUT_BUTTON_RIGHT] = BUTTON_RIGHT };
    VmMouse *s = opaque;
    int32_t *axis = event->axis == INPUT_AXIS_X ? &s->x : &s->y;

    s->news = true;
    if (event->kind == INPUT_ABS) {
        *axis = event->value * 2;                 /* 0..fffeh */
    } else if (event->kind == INPUT_REL) {
        /* Up is positive here. */
        *axis = CLAMP(*axis + (event->axis == INPUT_AXIS_X ? event->value : -event->value),
                      -0x8000, 0x7fff);
    } else if (event->button < INPUT_BUTTONS) {
        if (event->down && event->button == INPUT_BUTTON_WHEEL_UP) {
            s->dz--;
        } else if (event->down && event->button == INPUT_BUTTON_WHEEL_DOWN) {
            s->dz++;
        }
        s->buttons = event->down ? s->buttons | bits[event->button]
                                 : s->buttons & ~(uint32_t)bits[event->button];
    }
}

static void pointer_sync(void *opaque)
{
    VmMouse *s = opaque;

    if (s->news) {
        s->news = false;
        send_packet(s);
    }
}

static const InputHandlerOps absolute_ops = { "vmmouse", BIT(INPUT_BTN) | BIT(INPUT_ABS),
                                              pointer_event, pointer_sync };
static const InputHandlerOps relative_ops = { "vmmouse", BIT(INPUT_BTN) | BIT(INPUT_REL),
                                              pointer_event, pointer_sync };

/* Invariant 2: the handler that status and mode ask for. */
static void follow_state(VmMouse *s)
{
    if (s->input) {
        input_handler_remove(s->input);
        s->input = NULL;
    }
    s->news = false;
    s->dz = 0;
    s->x = s->y = 0;
    s->buttons = 0;
    if (s->status == 0) {
        s->input = input_handler_add(s->isa.dev.vm, s->absolute ? &absolute_ops : &relative_ops, s);
        input_handler_activate(s->input);
    }
}

/* ---- commands ---- */

static void switch_off(VmMouse *s)
{
    s->status = STATUS_OFF;
    follow_state(s);
}

static void get_status(void *opaque, VmportRegs *regs)
{
    const VmMouse *s = opaque;

    regs->eax = (uint32_t)s->status << 16 | s->nb_queue;
}

static void get_data(void *opaque, VmportRegs *regs)
{
    VmMouse *s = opaque;
    uint32_t *out[DATA_WORDS] = { &regs->eax, &regs->ebx, &regs->ecx, &regs->edx, &regs->esi,
                                  &regs->edi };
    uint32_t count = regs->ebx;

    if (count == 0 || count > DATA_WORDS || count > s->nb_queue) {
        log_guest_error("vmmouse: %u words asked for, %u are there\n", count, s->nb_queue);
        switch_off(s);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        *out[i] = s->queue[i];
    }
    s->nb_queue -= count;
    memmove(s->queue, s->queue + count, s->nb_queue * sizeof(s->queue[0]));
}

static void switch_mode(VmMouse *s, bool absolute)
{
    if (s->status == 0 && (!s->input || s->absolute != absolute)) {
        s->absolute = absolute;
        follow_state(s);
    }
}

static void do_command(void *opaque, VmportRegs *regs)
{
    VmMouse *s = opaque;

    switch (regs->ebx) {
    case DO_ENABLE:
        if (s->nb_queue < QUEUE_WORDS) {
            s->queue[s->nb_queue++] = VERSION_ID;
            s->status = 0;
        }
        break;
    case DO_DISABLE:
        switch_off(s);
        break;
    case DO_RELATIVE:
        switch_mode(s, false);
        break;
    case DO_ABSOLUTE:
        switch_mode(s, true);
        break;
    default:
        log_guest_error("vmmouse: unknown request 0x%08x\n", regs->ebx);
        break;
    }
}

static const struct { unsigned command; VmportFn *fn; } commands[] = {
    { CMD_DATA, get_data }, { CMD_STATUS, get_status }, { CMD_COMMAND, do_command },
};

/* ---- life cycle ---- */

static void vmmouse_unrealize(Device *dev)
{
    VmMouse *s = DEVICE_CAST(VmMouse, dev);

    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        vmport_remove_command(s->vmport, commands[i].command);
    }
    if (s->input) {
        input_handler_remove(s->input);
    }
}

static bool vmmouse_realize(Device *dev, GError **error)
{
    VmMouse *s = DEVICE_CAST(VmMouse, dev);

    if (!s->i8042) {
        return error_set(error, "'i8042' link is not set");
    }
    s->vmport = vmport_find(dev);
    if (!s->vmport) {
        return error_set(error, "vmmouse: the machine has no vmport; use -machine vmport=on");
    }
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++) {
        if (!vmport_add_command(s->vmport, commands[i].command, commands[i].fn, s, error)) {
            while (i-- > 0) {
                vmport_remove_command(s->vmport, commands[i].command);
            }
            return false;
        }
    }
    return true;
}

static void vmmouse_reset_enter(Device *dev)
{
    VmMouse *s = DEVICE_CAST(VmMouse, dev);

    s->queue_size = QUEUE_WORDS;
    s->nb_queue = 0;
    s->absolute = 0;
    switch_off(s);
}

static bool vmmouse_post_load(void *obj, int version, GError **error)
{
    VmMouse *s = obj;

    if (s->queue_size != QUEUE_WORDS || s->nb_queue > QUEUE_WORDS) {
        return error_set(error, "vmmouse: a queue of %u words of %d; %d exist", s->nb_queue,
                         s->queue_size, QUEUE_WORDS);
    }
    s->absolute = !!s->absolute;
    follow_state(s);
    return true;
}

static const VmField vmmouse_fields[] = {
    VMS_I32(VmMouse, queue_size), VMS_U32_ARRAY(VmMouse, queue), VMS_U16(VmMouse, nb_queue),
    VMS_U16(VmMouse, status), VMS_U8(VmMouse, absolute), VMS_END
};
static const PropDef vmmouse_props[] = {
    PROP_LINK("i8042", VmMouse, i8042, "i8042"),
    PROP_END,
};
DEVICE_TYPE(vmmouse, .name = "vmmouse", .bus = &bus_isa, .size = sizeof(VmMouse),
            .category = DEVICE_CATEGORY_INPUT, .user_creatable = true, .props = vmmouse_props,
            .vmstate = VMSTATE("vmmouse", 0, 0, vmmouse_fields, .post_load = vmmouse_post_load),
            .realize = vmmouse_realize, .unrealize = vmmouse_unrealize,
            .reset_enter = vmmouse_reset_enter);

Device *vmmouse_new(IsaBus *bus, Device *i8042, GError **error)
{
    Device *dev = device_new(bus->bus.vm, "vmmouse", error);
    bool ok;

    if (!dev) {
        return NULL;
    }
    DEVICE_CAST(VmMouse, dev)->i8042 = object_ref(OBJECT(i8042));
    ok = device_realize(dev, &bus->bus, error);
    object_unref(OBJECT(dev));
    return ok ? dev : NULL;
}
