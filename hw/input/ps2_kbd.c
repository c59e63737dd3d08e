/* SPDX-License-Identifier: MIT */
/*
 * PS/2 keyboard ("ps2-kbd"), MF2 with scan code sets 1 and 2.
 * Spec: IBM PS/2 Hardware Interface Technical Reference (1988), keyboard; scan codes: Microsoft
 * "Keyboard Scan Code Specification" 1.3a.
 * Not modelled: typematic repeat (hosts send repeats themselves), per-key make/break modes.
 * Missing: set 3; a request for it is refused with FE, as keyboards without it do.
 * Locking: machine lock, which input handlers also hold.
 */
#include "base/error.h"
#include "hw/input/ps2.h"
#include "hw/trace.h"
#include "ui/input.h"

enum { CMD_SET_LEDS = 0xed, CMD_ECHO = 0xee, CMD_SCANCODE = 0xf0, CMD_GET_ID = 0xf2,
       CMD_SET_RATE = 0xf3, CMD_ENABLE = 0xf4, CMD_RESET_DISABLE = 0xf5, CMD_RESET_ENABLE = 0xf6,
       CMD_ALL_FIRST = 0xf7, CMD_ALL_LAST = 0xfa, CMD_KEY_FIRST = 0xfb, CMD_KEY_LAST = 0xfd,
       CMD_RESEND = 0xfe, CMD_RESET = 0xff };
enum { REPLY_ACK = 0xfa, REPLY_POR = 0xaa, REPLY_RESEND = 0xfe };
enum { MOD_SHIFT_L = BIT(0), MOD_SHIFT_R = BIT(1), MOD_CTRL_L = BIT(2), MOD_CTRL_R = BIT(3),
       MOD_ALT_L = BIT(4), MOD_ALT_R = BIT(5) };

typedef struct Ps2Kbd {
    Ps2Device ps2;
    int32_t scan_enabled, translate, scancode_set;
    int32_t ledstate;
    bool need_high_bit;           /* wire only: QEMU's Xen/vmport leftovers */
    uint8_t modifiers;            /* down now; not migrated, as in QEMU's format */
    uint8_t last_reply;
    InputHandler *input;
} Ps2Kbd;

static void reply(Ps2Kbd *s, uint8_t byte)
{
    s->last_reply = byte;
    ps2_queue_reply(&s->ps2, &byte, 1);
}

/* ---- keys ---- */

static unsigned modifier_of(InputKey key)
{
    switch (key) {
    case INPUT_KEY_SHIFT:
        return MOD_SHIFT_L;
    case INPUT_KEY_SHIFT_R:
        return MOD_SHIFT_R;
    case INPUT_KEY_CTRL:
        return MOD_CTRL_L;
    case INPUT_KEY_CTRL_R:
        return MOD_CTRL_R;
    case INPUT_KEY_ALT:
        return MOD_ALT_L;
    case INPUT_KEY_ALT_R:
        return MOD_ALT_R;
    default:
        return 0;
    }
}

typedef struct Sequence {
    uint8_t bytes[12];
    unsigned len;
} Sequence;

static void put_code(Sequence *seq, unsigned code, bool down, bool set1)
{
    if (code >> 8) {
        seq->bytes[seq->len++] = code >> 8;
    }
    if (!down && !set1) {
        seq->bytes[seq->len++] = 0xf0;
    }
    seq->bytes[seq->len++] = (code & 0xff) | (!down && set1 ? 0x80 : 0);
}

/* Pause has no break code; with Ctrl it is Break. */
static void put_pause(Sequence *seq, bool down, bool set1, bool ctrl)
{
    static const uint8_t pause1[] = { 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5 };
    static const uint8_t pause2[] = { 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77 };

    if (!down) {
        return;
    }
    if (ctrl) {
        put_code(seq, set1 ? 0xe046 : 0xe07e, true, set1);
        put_code(seq, set1 ? 0xe046 : 0xe07e, false, set1);
        return;
    }
    seq->len = set1 ? sizeof(pause1) : sizeof(pause2);
    memcpy(seq->bytes, set1 ? pause1 : pause2, seq->len);
}

/* Print Screen brings its own shift unless Shift or Ctrl is down; with Alt it is SysRq. */
static void put_print(Sequence *seq, bool down, bool set1, uint8_t mods)
{
    unsigned code = set1 ? 0xe037 : 0xe07c, shift = set1 ? 0xe02a : 0xe012;

    if (mods & (MOD_ALT_L | MOD_ALT_R)) {
        put_code(seq, set1 ? 0x54 : 0x84, down, set1);
    } else if (mods & (MOD_SHIFT_L | MOD_SHIFT_R | MOD_CTRL_L | MOD_CTRL_R)) {
        put_code(seq, code, down, set1);
    } else {
        put_code(seq, down ? shift : code, down, set1);
        put_code(seq, down ? code : shift, down, set1);
    }
}

static void key_event(void *opaque, const InputEvent *event)
{
    Ps2Kbd *s = opaque;
    bool set1 = s->translate || s->scancode_set == 1;
    unsigned code = set1 ? input_key_set1(event->key) : input_key_set2(event->key);
    uint8_t mod = modifier_of(event->key);
    Sequence seq = { .len = 0 };

    s->modifiers = event->down ? s->modifiers | mod : s->modifiers & ~mod;
    if (s->ps2.dev.vm->state == RUN_STATE_SUSPENDED && event->down) {
        vm_request_wakeup(s->ps2.dev.vm, "other");
    }
    if (!s->scan_enabled || code == 0) {
        return;
    }
    if (event->key == INPUT_KEY_PAUSE) {
        put_pause(&seq, event->down, set1, s->modifiers & (MOD_CTRL_L | MOD_CTRL_R));
    } else if (event->key == INPUT_KEY_PRINT) {
        put_print(&seq, event->down, set1, s->modifiers);
    } else {
        put_code(&seq, code, event->down, set1);
    }
    trace_ps2_keyboard_event((unsigned)event->key, event->down, seq.len);
    /* A sequence that does not fit is lost whole; half of one would be another key. */
    ps2_queue_event(&s->ps2, seq.bytes, seq.len);
    device_sync(&s->ps2.dev);
}

static const InputHandlerOps kbd_input = { .name = "QEMU PS/2 Keyboard", .mask = BIT(INPUT_KEY),
                                           .event = key_event };

/* ---- commands ---- */

static void set_leds(Ps2Kbd *s, uint8_t leds)
{
    s->ledstate = leds;
    input_set_leds(s->ps2.dev.vm, leds & 7);
}

static void defaults(Ps2Kbd *s, bool enable)
{
    s->scan_enabled = enable;
    s->scancode_set = 2;
    ps2_queue_reset(&s->ps2);
    set_leds(s, 0);
}

/* The set in use, as a translating controller shows the number. */
static uint8_t set_number(const Ps2Kbd *s)
{
    static const uint8_t translated[4] = { 0, 0x43, 0x41, 0x3f };

    return s->translate ? translated[s->scancode_set & 3] : s->scancode_set;
}

static void argument(Ps2Kbd *s, uint8_t cmd, uint8_t value)
{
    s->ps2.write_cmd = -1;
    switch (cmd) {
    case CMD_SET_LEDS:
        set_leds(s, value);
        reply(s, REPLY_ACK);
        break;
    case CMD_SCANCODE:
        if (value == 0) {
            ps2_queue_reply(&s->ps2, (uint8_t[]){ REPLY_ACK, set_number(s) }, 2);
        } else if (value <= 2) {
            s->scancode_set = value;
            reply(s, REPLY_ACK);
        } else {
            reply(s, REPLY_RESEND);
        }
        break;
    default:                      /* typematic rate */
        reply(s, REPLY_ACK);
        break;
    }
}

static void command(Ps2Kbd *s, uint8_t cmd)
{
    switch (cmd) {
    case CMD_ECHO:
        reply(s, CMD_ECHO);
        break;
    case CMD_GET_ID:
        ps2_queue_reply(&s->ps2, (uint8_t[]){ REPLY_ACK, 0xab, s->translate ? 0x41 : 0x83 }, 3);
        break;
    case CMD_SET_LEDS:
    case CMD_SCANCODE:
    case CMD_SET_RATE:
        s->ps2.write_cmd = cmd;
        reply(s, REPLY_ACK);
        break;
    case CMD_ENABLE:
        s->scan_enabled = 1;
        reply(s, REPLY_ACK);
        break;
    case CMD_RESET_DISABLE:
    case CMD_RESET_ENABLE:
        defaults(s, cmd == CMD_RESET_ENABLE);
        reply(s, REPLY_ACK);
        break;
    case CMD_ALL_FIRST ... CMD_ALL_LAST:
        reply(s, REPLY_ACK);      /* set 3 only: without effect */
        break;
    case CMD_RESEND:
        reply(s, s->last_reply);
        break;
    case CMD_RESET:
        defaults(s, true);
        ps2_queue_reply(&s->ps2, (uint8_t[]){ REPLY_ACK, REPLY_POR }, 2);
        s->last_reply = REPLY_POR;
        break;
    case 0x00:
    case 0x05:
        reply(s, cmd ? REPLY_RESEND : REPLY_ACK);
        break;
    default:                      /* CMD_KEY_*: set 3's key lists; and nonsense */
        reply(s, REPLY_RESEND);
        break;
    }
}

void ps2_kbd_write(Device *dev, uint8_t value)
{
    Ps2Kbd *s = DEVICE_CAST(Ps2Kbd, dev);

    trace_ps2_write_keyboard(value);
    if (s->ps2.write_cmd != -1 && value < CMD_SET_LEDS) {
        argument(s, s->ps2.write_cmd, value);
    } else {
        s->ps2.write_cmd = -1;    /* a command byte ends a command without argument */
        command(s, value);
    }
    device_sync(dev);
}

uint8_t ps2_kbd_read(Device *dev)
{
    uint8_t value = ps2_queue_get(ps2_device(dev));

    trace_ps2_read_keyboard(value);
    device_sync(dev);
    return value;
}

void ps2_kbd_set_translation(Device *dev, bool on)
{
    DEVICE_CAST(Ps2Kbd, dev)->translate = on;
}

/* ---- life cycle ---- */

static void ps2_kbd_reset_enter(Device *dev)
{
    Ps2Kbd *s = DEVICE_CAST(Ps2Kbd, dev);

    s->ps2.write_cmd = -1;
    s->translate = 0;
    s->modifiers = 0;
    s->last_reply = REPLY_ACK;
    defaults(s, true);
}

static bool ps2_kbd_realize(Device *dev, GError **error)
{
    Ps2Kbd *s = DEVICE_CAST(Ps2Kbd, dev);

    s->input = input_handler_add(dev->vm, &kbd_input, s);
    return true;
}

static void ps2_kbd_unrealize(Device *dev)
{
    input_handler_remove(DEVICE_CAST(Ps2Kbd, dev)->input);
}

static bool kbd_post_load(void *obj, int version, GError **error)
{
    Ps2Kbd *s = obj;

    if (s->scancode_set < 1 || s->scancode_set > 2) {
        return error_set(error, "ps2kbd: scan code set %d; 1 and 2 exist", s->scancode_set);
    }
    return ps2_post_load(&s->ps2, error);
}

static bool kbd_pre_load(void *obj, GError **error)
{
    Ps2Kbd *s = obj;

    s->ps2.queue.cwptr = -1;
    s->ledstate = 0;
    s->need_high_bit = false;
    return true;
}

static bool leds_needed(const void *obj)
{
    return ((const Ps2Kbd *)obj)->ledstate != 0;
}

static bool high_bit_needed(const void *obj)
{
    return ((const Ps2Kbd *)obj)->need_high_bit;
}

static bool reply_needed(const void *obj)
{
    return ((const Ps2Kbd *)obj)->ps2.queue.cwptr != -1;
}

static const VmField leds_fields[] = { VMS_I32(Ps2Kbd, ledstate), VMS_END };
static const VmField high_bit_fields[] = { VMS_BOOL(Ps2Kbd, need_high_bit), VMS_END };
static const VmField reply_fields[] = {
    { .name = "parent_obj.queue.cwptr", .kind = VM_I32, .size = 4,
      .offset = offsetof(Ps2Kbd, ps2.queue.cwptr) },
    VMS_END
};
static const VmStateDesc leds_desc = { .name = "ps2kbd/ledstate", .version = 3, .minimum = 2,
                                       .fields = leds_fields, .needed = leds_needed };
static const VmStateDesc high_bit_desc = { .name = "ps2kbd/need_high_bit", .version = 1, .minimum = 1,
                                           .fields = high_bit_fields, .needed = high_bit_needed };
static const VmStateDesc reply_desc = { .name = "ps2kbd/command_reply_queue",
                                        .fields = reply_fields, .needed = reply_needed };
static const VmStateDesc *const kbd_subsections[] = { &leds_desc, &high_bit_desc, &reply_desc,
                                                      NULL };
static const VmField kbd_fields[] = {
    VMS_PART(Ps2Kbd, ps2, "parent_obj", &ps2_common_desc), VMS_I32(Ps2Kbd, scan_enabled),
    VMS_I32(Ps2Kbd, translate), VMS_I32(Ps2Kbd, scancode_set, .version = 3), VMS_END
};
DEVICE_TYPE(ps2_kbd, .name = "ps2-kbd", .size = sizeof(Ps2Kbd), .category = DEVICE_CATEGORY_INPUT,
            .vmstate = VMSTATE("ps2kbd", 3, 2, kbd_fields, .subsections = kbd_subsections,
                               .post_load = kbd_post_load, .pre_load = kbd_pre_load),
            .realize = ps2_kbd_realize, .unrealize = ps2_kbd_unrealize,
            .reset_enter = ps2_kbd_reset_enter, .sync = ps2_sync);
