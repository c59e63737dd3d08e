/* SPDX-License-Identifier: MIT */
/*
 * Intel 8042 keyboard controller with the PS/2 program ("i8042").
 * Spec: IBM PS/2 Hardware Interface Technical Reference (1988), keyboard and auxiliary device
 * controller; bit names are IBM's where it has some.
 * Not modelled: the controller's RAM beyond the command byte, time-outs, password, inhibit switch.
 * Translation of set 2 is done by the keyboard, which queues what the host will see.
 * Locking: machine lock.
 *
 * Invariants: 1. OBF: obdata waits for the host; AUX_OBF: it came from the mouse.
 *             2. with OBF clear, no source that may send has anything (sync() loads it).
 */
#include "hw/input/i8042.h"

#include "base/error.h"
#include "base/log.h"
#include "hw/input/ps2.h"
#include "vm/vm.h"

enum { STAT_OBF = 0x01, STAT_SELFTEST = 0x04, STAT_CMD = 0x08, STAT_UNLOCKED = 0x10,
       STAT_AUX_OBF = 0x20 };
enum { MODE_KBD_INT = 0x01, MODE_AUX_INT = 0x02, MODE_SYS = 0x04, MODE_DISABLE_KBD = 0x10,
       MODE_DISABLE_AUX = 0x20, MODE_TRANSLATE = 0x40 };
enum { OUT_NO_RESET = 0x01, OUT_A20 = 0x02, OUT_OBF = 0x10, OUT_AUX_OBF = 0x20, OUT_ONES = 0xcc };
/* Values on the wire. */
enum { OBSRC_KBD = 0x01, OBSRC_AUX = 0x02, OBSRC_CTRL = 0x04 };
enum { PENDING_KBD = 0x01, PENDING_AUX = 0x02 };

enum { CMD_READ_MODE = 0x20, CMD_WRITE_MODE = 0x60, CMD_AUX_DISABLE = 0xa7, CMD_AUX_ENABLE = 0xa8,
       CMD_AUX_TEST = 0xa9, CMD_SELF_TEST = 0xaa, CMD_KBD_TEST = 0xab, CMD_KBD_DISABLE = 0xad,
       CMD_KBD_ENABLE = 0xae, CMD_READ_INPORT = 0xc0, CMD_READ_OUTPORT = 0xd0,
       CMD_WRITE_OUTPORT = 0xd1, CMD_WRITE_KBD_OBUF = 0xd2, CMD_WRITE_AUX_OBUF = 0xd3,
       CMD_WRITE_AUX = 0xd4, CMD_A20_OFF = 0xdd, CMD_A20_ON = 0xdf, CMD_PULSE = 0xf0 };

typedef struct I8042 {
    IsaDevice isa;
    MemoryRegion data_port, cmd_port;
    IrqLine kbd_line, aux_line, a20;
    Device *kbd, *aux;
    bool extended_state, kbd_throttle;
    uint8_t kbd_irq, aux_irq;
    uint8_t write_cmd, status, mode, outport;
    uint8_t pending_tmp;          /* wire: which source has something */
    uint32_t migration_flags, obsrc;
    uint8_t obdata, cbdata;
    bool loaded_extended;         /* during a load */
} I8042;

static void fill(I8042 *s, uint8_t value, uint32_t source, bool aux)
{
    s->obdata = value;
    s->obsrc = source;
    s->status |= STAT_OBF | (aux ? STAT_AUX_OBF : 0);
}

/* Loads the next byte into an empty output buffer: keyboard first. */
static void load_next(I8042 *s)
{
    if (s->status & STAT_OBF) {
        return;
    }
    if (!(s->mode & MODE_DISABLE_KBD) && ps2_has_data(s->kbd)) {
        fill(s, ps2_kbd_read(s->kbd), OBSRC_KBD, false);
    } else if (!(s->mode & MODE_DISABLE_AUX) && ps2_has_data(s->aux)) {
        fill(s, ps2_mouse_read(s->aux), OBSRC_AUX, true);
    }
}

static void drive_lines(I8042 *s)
{
    bool obf = s->status & STAT_OBF, aux = s->status & STAT_AUX_OBF;

    s->outport &= ~(OUT_OBF | OUT_AUX_OBF);
    s->outport |= (obf && !aux ? OUT_OBF : 0) | (obf && aux ? OUT_AUX_OBF : 0);
    irq_set(&s->kbd_line, obf && !aux && (s->mode & MODE_KBD_INT));
    irq_set(&s->aux_line, obf && aux && (s->mode & MODE_AUX_INT));
    irq_set(&s->a20, s->outport & OUT_A20);
}

static void i8042_sync(Device *dev)
{
    I8042 *s = DEVICE_CAST(I8042, dev);

    if (!dev->sync_muted) {
        load_next(s);
    }
    drive_lines(s);
}

/* One of the two has something to say (or no longer). */
static void source_changed(void *opaque, unsigned n, bool level)
{
    I8042 *s = opaque;

    if (level && !(s->status & STAT_OBF)) {
        device_sync(&s->isa.dev);
    }
}

/* ---- port 64h ---- */

static void answer(I8042 *s, uint8_t value)
{
    s->cbdata = value;
    s->status &= ~STAT_AUX_OBF;
    fill(s, value, OBSRC_CTRL, false);
}

static void set_mode(I8042 *s, uint8_t mode)
{
    s->mode = mode;
    ps2_kbd_set_translation(s->kbd, mode & MODE_TRANSLATE);
}

static void outport_write(I8042 *s, uint8_t value)
{
    s->outport = value;
    if (!(value & OUT_NO_RESET)) {
        vm_request_reset(s->isa.dev.vm, SHUTDOWN_CAUSE_GUEST_RESET);
    }
}

static uint64_t status_read(Device *dev, uint64_t value)
{
    return DEVICE_CAST(I8042, dev)->status;
}

static void command_write(Device *dev, uint64_t value)
{
    I8042 *s = DEVICE_CAST(I8042, dev);

    s->status |= STAT_CMD;
    s->write_cmd = 0;
    switch (value) {
    case CMD_READ_MODE:
        answer(s, s->mode);
        break;
    case CMD_WRITE_MODE:
    case CMD_WRITE_KBD_OBUF:
    case CMD_WRITE_AUX_OBUF:
    case CMD_WRITE_AUX:
    case CMD_WRITE_OUTPORT:
        s->write_cmd = value;
        break;
    case CMD_AUX_DISABLE:
        s->mode |= MODE_DISABLE_AUX;
        break;
    case CMD_AUX_ENABLE:
        s->mode &= ~MODE_DISABLE_AUX;
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST:
        answer(s, 0x00);
        break;
    case CMD_SELF_TEST:
        s->status |= STAT_SELFTEST;
        answer(s, 0x55);
        break;
    case CMD_KBD_DISABLE:
        s->mode |= MODE_DISABLE_KBD;
        break;
    case CMD_KBD_ENABLE:
        s->mode &= ~MODE_DISABLE_KBD;
        break;
    case CMD_READ_INPORT:
        answer(s, 0x80);
        break;
    case CMD_READ_OUTPORT:
        answer(s, s->outport);
        break;
    case CMD_A20_ON:
        s->outport |= OUT_A20;
        break;
    case CMD_A20_OFF:
        s->outport &= ~OUT_A20;
        break;
    case CMD_PULSE ... 0xff:      /* low bits that are 0 are pulsed; bit 0 is the CPU's reset */
        if (!(value & OUT_NO_RESET)) {
            vm_request_reset(dev->vm, SHUTDOWN_CAUSE_GUEST_RESET);
        }
        break;
    case CMD_READ_MODE + 1 ... CMD_READ_MODE + 0x1f:
        answer(s, 0);             /* controller RAM */
        break;
    default:
        log_guest_error("i8042: unknown command 0x%02x\n", (unsigned)value);
        break;
    }
}

/* ---- port 60h ---- */

static uint64_t data_read(Device *dev, uint64_t value)
{
    I8042 *s = DEVICE_CAST(I8042, dev);

    if (s->status & STAT_OBF) {
        s->status &= ~(STAT_OBF | STAT_AUX_OBF);
        s->obsrc = 0;
        drive_lines(s);           /* the line falls before the next byte raises it */
    }
    return s->obdata;
}

static void data_write(Device *dev, uint64_t value)
{
    I8042 *s = DEVICE_CAST(I8042, dev);
    uint8_t cmd = s->write_cmd;

    s->write_cmd = 0;
    s->status &= ~STAT_CMD;
    switch (cmd) {
    case 0:                       /* to the keyboard, whose clock that turns on */
        s->mode &= ~MODE_DISABLE_KBD;
        ps2_kbd_write(s->kbd, value);
        break;
    case CMD_WRITE_MODE:
        set_mode(s, value);
        break;
    case CMD_WRITE_KBD_OBUF:
        answer(s, value);
        break;
    case CMD_WRITE_AUX_OBUF:
        answer(s, value);
        s->status |= STAT_AUX_OBF;
        break;
    case CMD_WRITE_OUTPORT:
        outport_write(s, value);
        break;
    default:                      /* CMD_WRITE_AUX */
        s->mode &= ~MODE_DISABLE_AUX;
        ps2_mouse_write(s->aux, value);
        break;
    }
}

static const RegDef data_regs[] = {
    { 0, "data", REG_NONE(1), .on_read = data_read, .on_write = data_write },
};
static const RegDef cmd_regs[] = {
    { 0, "status/command", REG_NONE(1), .on_read = status_read, .on_write = command_write },
};

/* ---- life cycle ---- */

static void i8042_reset_enter(Device *dev)
{
    I8042 *s = DEVICE_CAST(I8042, dev);

    s->write_cmd = 0;
    s->mode = MODE_KBD_INT | MODE_AUX_INT;
    s->status = STAT_CMD | STAT_UNLOCKED;
    s->outport = OUT_NO_RESET | OUT_A20 | OUT_ONES;
    s->obsrc = 0;
    s->obdata = s->cbdata = 0;
}

static Device *make_child(I8042 *s, const char *type, const char *name, unsigned n, GError **error)
{
    Device *dev = device_new(s->isa.dev.vm, type, error);

    if (!dev) {
        return NULL;
    }
    irq_connect(&ps2_device(dev)->data_line,
                (IrqPin){ .handler = source_changed, .opaque = s, .n = n });
    object_add_child(OBJECT(s), name, OBJECT(dev));
    object_unref(OBJECT(dev));
    if (!device_realize(dev, NULL, error)) {
        object_unparent(OBJECT(dev));
        return NULL;
    }
    return dev;
}

static bool i8042_realize(Device *dev, GError **error)
{
    I8042 *s = DEVICE_CAST(I8042, dev);

    if (s->kbd_throttle) {
        return error_set(error, "i8042: 'kbd-throttle' can only be off");
    }
    if (!isa_connect_irq(&s->isa, &s->kbd_line, s->kbd_irq, error) ||
        !isa_connect_irq(&s->isa, &s->aux_line, s->aux_irq, error)) {
        return false;
    }
    s->kbd = make_child(s, "ps2-kbd", "ps2kbd", 0, error);
    s->aux = s->kbd ? make_child(s, "ps2-mouse", "ps2mouse", 1, error) : NULL;
    if (!s->aux) {
        return false;
    }
    device_init_reg_region(dev, &s->data_port, "i8042-data", (RegTable)REG_TABLE(data_regs), 1);
    isa_add_ports(&s->isa, &s->data_port, 0x60);
    device_init_reg_region(dev, &s->cmd_port, "i8042-cmd", (RegTable)REG_TABLE(cmd_regs), 1);
    isa_add_ports(&s->isa, &s->cmd_port, 0x64);
    return true;
}

static void i8042_unrealize(Device *dev)
{
    device_unplug(DEVICE_CAST(I8042, dev)->kbd);
    device_unplug(DEVICE_CAST(I8042, dev)->aux);
}

static void i8042_pre_save(void *obj)
{
    I8042 *s = obj;

    s->pending_tmp = (ps2_has_data(s->kbd) ? PENDING_KBD : 0) |
                     (ps2_has_data(s->aux) ? PENDING_AUX : 0);
}

/* Without the extended state the byte in the output buffer still sits in its queue. */
static bool i8042_pre_load(void *obj, GError **error)
{
    I8042 *s = obj;

    s->outport = OUT_NO_RESET | OUT_A20 | OUT_ONES;
    s->loaded_extended = false;
    s->migration_flags = 0;
    s->obsrc = 0;
    return true;
}

static bool extended_post_load(void *obj, int version, GError **error)
{
    ((I8042 *)obj)->loaded_extended = true;
    return true;
}

static bool i8042_post_load(void *obj, int version, GError **error)
{
    I8042 *s = obj;

    if (!s->loaded_extended) {
        s->status &= ~(STAT_OBF | STAT_AUX_OBF);
    }
    return true;
}

static bool outport_needed(const void *obj)
{
    return (((const I8042 *)obj)->outport & ~(OUT_OBF | OUT_AUX_OBF)) !=
           (OUT_NO_RESET | OUT_A20 | OUT_ONES);
}

static bool extended_needed(const void *obj)
{
    return ((const I8042 *)obj)->extended_state;
}

static const VmField outport_fields[] = { VMS_U8(I8042, outport), VMS_END };
static const VmStateDesc outport_desc = { .name = "pckbd_outport", .version = 1, .minimum = 1,
                                          .fields = outport_fields, .needed = outport_needed };
static const VmField extended_fields[] = {
    VMS_U32(I8042, migration_flags), VMS_U32(I8042, obsrc), VMS_U8(I8042, obdata),
    VMS_U8(I8042, cbdata), VMS_END
};
static const VmStateDesc extended_desc = { .name = "pckbd/extended_state",
                                           .fields = extended_fields, .needed = extended_needed,
                                           .post_load = extended_post_load };
static const VmStateDesc *const kbd_subsections[] = { &outport_desc, &extended_desc, NULL };
static const VmField kbd_fields[] = {
    VMS_U8(I8042, write_cmd), VMS_U8(I8042, status), VMS_U8(I8042, mode),
    VMS_U8(I8042, pending_tmp), VMS_END
};
static const VmStateDesc kbd_desc = { .name = "pckbd", .version = 3, .minimum = 3,
                                      .fields = kbd_fields, .subsections = kbd_subsections,
                                      .pre_save = i8042_pre_save, .pre_load = i8042_pre_load,
                                      .post_load = i8042_post_load };
static const VmField i8042_fields[] = {
    { .name = "kbd", .kind = VM_STRUCT, .offset = 0, .size = sizeof(I8042), .desc = &kbd_desc },
    VMS_END
};
static const PropDef i8042_props[] = {
    PROP_BOOL("extended-state", I8042, extended_state, true),
    PROP_BOOL("kbd-throttle", I8042, kbd_throttle, false),
    PROP_U8("kbd-irq", I8042, kbd_irq, 1),
    PROP_U8("mouse-irq", I8042, aux_irq, 12),
    PROP_END,
};
DEVICE_TYPE(i8042, .name = "i8042", .bus = &bus_isa, .size = sizeof(I8042), .props = i8042_props,
            .category = DEVICE_CATEGORY_INPUT,
            .vmstate = VMSTATE("pckbd", 3, 3, i8042_fields), .realize = i8042_realize,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(I8042, kbd_line), IRQ_OUT(I8042, aux_line),
                                   IRQ_OUT(I8042, a20)),
            .unrealize = i8042_unrealize,
            .reset_enter = i8042_reset_enter, .sync = i8042_sync);

void i8042_poke_mouse(Device *dev)
{
    ps2_mouse_poke(DEVICE_CAST(I8042, dev)->aux);
}

Device *i8042_new(IsaBus *bus, IrqPin a20, GError **error)
{
    Device *dev = device_create(bus->bus.vm, "i8042", &bus->bus, error, NULL);

    if (dev) {
        irq_connect(&DEVICE_CAST(I8042, dev)->a20, a20);
    }
    return dev;
}
