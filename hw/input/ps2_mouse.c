/* SPDX-License-Identifier: MIT */
/*
 * PS/2 mouse ("ps2-mouse") with wheel (IntelliMouse) and five buttons (IntelliMouse Explorer).
 * Spec: IBM PS/2 Hardware Interface Technical Reference (1988), auxiliary device; Microsoft
 * IntelliMouse: the sample rates 200-100-80 (200-200-80) make it identify as 3 (4).
 * Not modelled: the sample rate's pace and resolution (plain storage).
 * Locking: machine lock, which input handlers also hold.
 */
#include "base/error.h"
#include "hw/input/ps2.h"
#include "hw/trace.h"
#include "ui/input.h"

enum { CMD_SCALE11 = 0xe6, CMD_SCALE21 = 0xe7, CMD_SET_RES = 0xe8, CMD_GET_STATUS = 0xe9,
       CMD_SET_STREAM = 0xea, CMD_POLL = 0xeb, CMD_RESET_WRAP = 0xec, CMD_SET_WRAP = 0xee,
       CMD_SET_REMOTE = 0xf0, CMD_GET_TYPE = 0xf2, CMD_SET_SAMPLE = 0xf3, CMD_ENABLE = 0xf4,
       CMD_DISABLE = 0xf5, CMD_DEFAULT = 0xf6, CMD_RESEND = 0xfe, CMD_RESET = 0xff };
enum { REPLY_ACK = 0xfa, REPLY_POR = 0xaa, REPLY_RESEND = 0xfe };
enum { STATUS_SCALE21 = 0x10, STATUS_ENABLED = 0x20, STATUS_REMOTE = 0x40 };
enum { TYPE_PS2 = 0, TYPE_IMPS = 3, TYPE_IMEX = 4 };
enum { BUTTON_L = BIT(0), BUTTON_R = BIT(1), BUTTON_M = BIT(2), BUTTON_SIDE = BIT(3),
       BUTTON_EXTRA = BIT(4) };
enum { DELTA_MAX = 2047 };        /* motion that nobody fetches does not pile up for ever */

typedef struct Ps2Mouse {
    Ps2Device ps2;
    uint8_t mouse_status, mouse_resolution, mouse_sample_rate, mouse_wrap, mouse_type;
    uint8_t mouse_detect_state;   /* how much of a magic rate sequence has come */
    int32_t mouse_dx, mouse_dy, mouse_dz;
    uint8_t mouse_buttons;
    uint8_t sent_buttons;         /* as in the last packet */
    uint8_t last_reply;
    InputHandler *input;
} Ps2Mouse;

static void reply(Ps2Mouse *s, uint8_t byte)
{
    s->last_reply = byte;
    ps2_queue_reply(&s->ps2, &byte, 1);
}

/* ---- packets ---- */

static unsigned packet_len(const Ps2Mouse *s)
{
    return s->mouse_type == TYPE_PS2 ? 3 : 4;
}

/* Takes as much motion as one packet holds. */
static unsigned make_packet(Ps2Mouse *s, uint8_t packet[4])
{
    int dx = CLAMP(s->mouse_dx, -127, 127), dy = CLAMP(s->mouse_dy, -127, 127);
    int dz = 0;

    packet[0] = 0x08 | (s->mouse_buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0);
    packet[1] = dx;
    packet[2] = dy;
    if (s->mouse_type == TYPE_IMPS) {
        dz = CLAMP(s->mouse_dz, -127, 127);
        packet[3] = dz;
    } else if (s->mouse_type == TYPE_IMEX) {
        dz = CLAMP(s->mouse_dz, -7, 7);
        packet[3] = (dz & 0x0f) | (s->mouse_buttons & (BUTTON_SIDE | BUTTON_EXTRA)) << 1;
    } else {
        dz = s->mouse_dz;         /* no wheel: forget it */
    }
    s->mouse_dx -= dx;
    s->mouse_dy -= dy;
    s->mouse_dz -= dz;
    s->sent_buttons = s->mouse_buttons;
    return packet_len(s);
}

static bool has_news(const Ps2Mouse *s)
{
    return s->mouse_dx || s->mouse_dy || s->mouse_dz || s->mouse_buttons != s->sent_buttons;
}

static void stream_packets(Ps2Mouse *s)
{
    uint8_t packet[4];

    if (!(s->mouse_status & STATUS_ENABLED) || (s->mouse_status & STATUS_REMOTE)) {
        return;
    }
    while (has_news(s) && ps2_queue_room(&s->ps2) >= packet_len(s)) {
        unsigned len = make_packet(s, packet);

        trace_ps2_mouse_send_packet(packet[0], packet[1], packet[2]);
        ps2_queue_event(&s->ps2, packet, len);
    }
}

/* ---- events ---- */

static void add(int32_t *sum, int delta)
{
    *sum = CLAMP((int64_t)*sum + delta, -DELTA_MAX, DELTA_MAX);
}

static void mouse_event(void *opaque, const InputEvent *event)
{
    static const uint8_t buttons[INPUT_BUTTONS] = {
        [INPUT_BUTTON_LEFT] = BUTTON_L, [INPUT_BUTTON_RIGHT] = BUTTON_R,
        [INPUT_BUTTON_MIDDLE] = BUTTON_M, [INPUT_BUTTON_SIDE] = BUTTON_SIDE,
        [INPUT_BUTTON_EXTRA] = BUTTON_EXTRA,
    };
    Ps2Mouse *s = opaque;
    uint8_t bit;

    if (!(s->mouse_status & STATUS_ENABLED)) {
        return;
    }
    if (event->kind == INPUT_REL) {
        if (event->axis == INPUT_AXIS_X) {
            add(&s->mouse_dx, event->value);
        } else {
            add(&s->mouse_dy, -event->value);    /* up is positive here */
        }
        return;
    }
    if (event->button >= INPUT_BUTTONS) {
        return;
    }
    if (event->down && event->button == INPUT_BUTTON_WHEEL_UP) {
        add(&s->mouse_dz, -1);
    } else if (event->down && event->button == INPUT_BUTTON_WHEEL_DOWN) {
        add(&s->mouse_dz, 1);
    }
    bit = buttons[event->button];
    s->mouse_buttons = event->down ? s->mouse_buttons | bit : s->mouse_buttons & ~bit;
}

static void mouse_sync(void *opaque)
{
    Ps2Mouse *s = opaque;

    if (s->ps2.dev.vm->state == RUN_STATE_SUSPENDED && s->mouse_buttons) {
        vm_request_wakeup(s->ps2.dev.vm, "other");
    }
    stream_packets(s);
    device_sync(&s->ps2.dev);
}

void ps2_mouse_poke(Device *dev)
{
    Ps2Mouse *s = DEVICE_CAST(Ps2Mouse, dev);
    uint8_t packet[4];

    if ((s->mouse_status & STATUS_ENABLED) && !(s->mouse_status & STATUS_REMOTE) &&
        ps2_queue_room(&s->ps2) >= packet_len(s)) {
        ps2_queue_event(&s->ps2, packet, make_packet(s, packet));
        device_sync(dev);
    }
}

static const InputHandlerOps mouse_input = {
    .name = "QEMU PS/2 Mouse", .mask = BIT(INPUT_BTN) | BIT(INPUT_REL), .event = mouse_event,
    .sync = mouse_sync,
};

/* ---- commands ---- */

static void defaults(Ps2Mouse *s)
{
    s->mouse_sample_rate = 100;
    s->mouse_resolution = 2;
    s->mouse_status = 0;
    s->mouse_detect_state = 0;
    s->mouse_dx = s->mouse_dy = s->mouse_dz = 0;
}

static void set_sample_rate(Ps2Mouse *s, uint8_t rate)
{
    s->mouse_sample_rate = rate;
    switch (s->mouse_detect_state) {
    case 1:                       /* 200 so far */
        s->mouse_detect_state = rate == 100 ? 2 : rate == 200 ? 3 : 0;
        break;
    case 2:                       /* 200, 100 */
        if (rate == 80) {
            s->mouse_type = TYPE_IMPS;
        }
        s->mouse_detect_state = 0;
        break;
    case 3:                       /* 200, 200 */
        if (rate == 80) {
            s->mouse_type = TYPE_IMEX;
        }
        s->mouse_detect_state = 0;
        break;
    default:
        s->mouse_detect_state = rate == 200;
        break;
    }
}

static uint8_t status_byte(const Ps2Mouse *s)
{
    return (s->mouse_status & 0x70) | (s->mouse_buttons & BUTTON_L ? 4 : 0) |
           (s->mouse_buttons & BUTTON_M ? 2 : 0) | (s->mouse_buttons & BUTTON_R ? 1 : 0);
}

static void poll_packet(Ps2Mouse *s)
{
    uint8_t answer[5] = { REPLY_ACK };
    unsigned len = make_packet(s, answer + 1);

    ps2_queue_reply(&s->ps2, answer, len + 1);
}

static void set_status(Ps2Mouse *s, uint8_t clear, uint8_t set)
{
    s->mouse_status = (s->mouse_status & ~clear) | set;
    reply(s, REPLY_ACK);
}

static void command(Ps2Mouse *s, uint8_t cmd)
{
    switch (cmd) {
    case CMD_SCALE11:
        set_status(s, STATUS_SCALE21, 0);
        break;
    case CMD_SCALE21:
        set_status(s, 0, STATUS_SCALE21);
        break;
    case CMD_SET_STREAM:
        set_status(s, STATUS_REMOTE, 0);
        break;
    case CMD_SET_REMOTE:
        set_status(s, 0, STATUS_REMOTE);
        break;
    case CMD_ENABLE:
        set_status(s, 0, STATUS_ENABLED);
        break;
    case CMD_DISABLE:
        set_status(s, STATUS_ENABLED, 0);
        break;
    case CMD_SET_WRAP:
    case CMD_RESET_WRAP:
        s->mouse_wrap = cmd == CMD_SET_WRAP;
        reply(s, REPLY_ACK);
        break;
    case CMD_GET_TYPE:
        ps2_queue_reply(&s->ps2, (uint8_t[]){ REPLY_ACK, s->mouse_type }, 2);
        break;
    case CMD_SET_RES:
    case CMD_SET_SAMPLE:
        s->ps2.write_cmd = cmd;
        reply(s, REPLY_ACK);
        break;
    case CMD_GET_STATUS:
        ps2_queue_reply(&s->ps2, (uint8_t[]){ REPLY_ACK, status_byte(s), s->mouse_resolution,
                                              s->mouse_sample_rate }, 4);
        break;
    case CMD_POLL:
        poll_packet(s);
        break;
    case CMD_DEFAULT:
        defaults(s);
        reply(s, REPLY_ACK);
        break;
    case CMD_RESEND:
        reply(s, s->last_reply);
        break;
    case CMD_RESET:
        defaults(s);
        s->mouse_type = TYPE_PS2;
        ps2_queue_reset(&s->ps2);
        ps2_queue_reply(&s->ps2, (uint8_t[]){ REPLY_ACK, REPLY_POR, s->mouse_type }, 3);
        break;
    default:
        reply(s, REPLY_RESEND);
        break;
    }
}

static void mouse_write(Ps2Mouse *s, uint8_t value)
{
    int cmd = s->ps2.write_cmd;

    s->ps2.write_cmd = -1;
    if (s->mouse_wrap && value != CMD_RESET_WRAP && value != CMD_RESET) {
        reply(s, value);          /* wrap mode echoes */
    } else if (cmd == CMD_SET_SAMPLE) {
        set_sample_rate(s, value);
        reply(s, REPLY_ACK);
    } else if (cmd == CMD_SET_RES) {
        s->mouse_resolution = value;
        reply(s, REPLY_ACK);
    } else {
        if (value == CMD_RESET) {
            s->mouse_wrap = 0;
        }
        command(s, value);
    }
}

void ps2_mouse_write(Device *dev, uint8_t value)
{
    trace_ps2_write_mouse(value);
    mouse_write(DEVICE_CAST(Ps2Mouse, dev), value);
    device_sync(dev);
}

uint8_t ps2_mouse_read(Device *dev)
{
    Ps2Mouse *s = DEVICE_CAST(Ps2Mouse, dev);
    uint8_t value = ps2_queue_get(&s->ps2);

    trace_ps2_read_mouse(value);
    if (s->ps2.queue.count == 0) {
        stream_packets(s);        /* motion that had no room */
    }
    device_sync(dev);
    return value;
}

/* ---- life cycle ---- */

static void ps2_mouse_reset_enter(Device *dev)
{
    Ps2Mouse *s = DEVICE_CAST(Ps2Mouse, dev);

    s->ps2.write_cmd = -1;
    ps2_queue_reset(&s->ps2);
    defaults(s);
    s->mouse_status = 0;
    s->mouse_resolution = 0;
    s->mouse_sample_rate = 0;
    s->mouse_wrap = 0;
    s->mouse_type = TYPE_PS2;
    s->mouse_buttons = s->sent_buttons = 0;
    s->last_reply = REPLY_ACK;
}

static bool ps2_mouse_realize(Device *dev, GError **error)
{
    Ps2Mouse *s = DEVICE_CAST(Ps2Mouse, dev);

    s->input = input_handler_add(dev->vm, &mouse_input, s);
    return true;
}

static void ps2_mouse_unrealize(Device *dev)
{
    input_handler_remove(DEVICE_CAST(Ps2Mouse, dev)->input);
}

static bool mouse_post_load(void *obj, int version, GError **error)
{
    Ps2Mouse *s = obj;

    s->ps2.queue.cwptr = -1;
    if (s->mouse_type != TYPE_PS2 && s->mouse_type != TYPE_IMPS && s->mouse_type != TYPE_IMEX) {
        return error_set(error, "ps2mouse: type %u; 0, 3 and 4 exist", s->mouse_type);
    }
    s->mouse_dx = CLAMP(s->mouse_dx, -DELTA_MAX, DELTA_MAX);
    s->mouse_dy = CLAMP(s->mouse_dy, -DELTA_MAX, DELTA_MAX);
    s->mouse_dz = CLAMP(s->mouse_dz, -DELTA_MAX, DELTA_MAX);
    s->sent_buttons = s->mouse_buttons;
    return ps2_post_load(&s->ps2, error);
}

static const VmField mouse_fields[] = {
    VMS_PART(Ps2Mouse, ps2, "parent_obj", &ps2_common_desc),
    VMS_U8(Ps2Mouse, mouse_status), VMS_U8(Ps2Mouse, mouse_resolution),
    VMS_U8(Ps2Mouse, mouse_sample_rate), VMS_U8(Ps2Mouse, mouse_wrap),
    VMS_U8(Ps2Mouse, mouse_type), VMS_U8(Ps2Mouse, mouse_detect_state),
    VMS_I32(Ps2Mouse, mouse_dx), VMS_I32(Ps2Mouse, mouse_dy), VMS_I32(Ps2Mouse, mouse_dz),
    VMS_U8(Ps2Mouse, mouse_buttons), VMS_END
};
DEVICE_TYPE(ps2_mouse, .name = "ps2-mouse", .size = sizeof(Ps2Mouse),
            .category = DEVICE_CATEGORY_INPUT,
            .vmstate = VMSTATE("ps2mouse", 2, 2, mouse_fields, .post_load = mouse_post_load),
            .realize = ps2_mouse_realize, .unrealize = ps2_mouse_unrealize,
            .reset_enter = ps2_mouse_reset_enter, .sync = ps2_sync);
