/* SPDX-License-Identifier: MIT */
/*
 * Intel 8259A programmable interrupt controller, two in cascade ("isa-i8259").
 * Spec: 8259A data sheet (231468-003), ELCR: PIIX3 data sheet (290550-002) 2.5; names are theirs.
 * Not modelled: MCS-80/85 mode, buffered mode (no effect on a PC), CAS2-0 other than IR2.
 * Locking: machine lock.
 *
 * Invariants:
 *  1. irr holds a latched edge, or follows the pin where elcr says level.
 *  2. last_irr is the level of the pins.
 *  3. INT is high exactly when pending_irq() >= 0; it is recomputed by sync().
 */
#include "hw/intc/i8259_int.h"

#include "base/error.h"
#include "base/log.h"
#include "hw/trace.h"
#include "vm/vm.h"

enum { ICW1_IC4 = BIT(0), ICW1_SNGL = BIT(1), ICW1_LTIM = BIT(3), ICW1 = BIT(4) };
enum { ICW4_AEOI = BIT(1), ICW4_SFNM = BIT(4) };
enum { OCW3 = BIT(3), OCW3_RIS = BIT(0), OCW3_RR = BIT(1), OCW3_P = BIT(2),
       OCW3_SMM = BIT(5), OCW3_ESMM = BIT(6) };
enum { CASCADE_IR = 2, NONE = -1 };

/* 0 is the highest of MASK under the present rotation; 8 if MASK is empty. */
static unsigned priority_of(const I8259 *s, uint8_t mask)
{
    for (unsigned p = 0; p < 8; p++) {
        if (mask & BIT((p + s->priority_add) & 7)) {
            return p;
        }
    }
    return 8;
}

/* The IR that INT is asking for, or NONE. */
static int pending_irq(const I8259 *s)
{
    unsigned request = priority_of(s, s->irr & ~s->imr);
    uint8_t in_service = s->isr;

    if (request == 8) {
        return NONE;
    }
    if (s->special_mask) {
        in_service &= ~s->imr;
    }
    /* Special fully nested: more requests of the slave get through while one is served. */
    if (s->special_fully_nested_mode && s->master) {
        in_service &= ~BIT(CASCADE_IR);
    }
    return request < priority_of(s, in_service) ? (int)((request + s->priority_add) & 7) : NONE;
}

static void i8259_sync(Device *dev)
{
    I8259 *s = DEVICE_CAST(I8259, dev);

    irq_set(&s->intr, pending_irq(s) != NONE);
}

static void i8259_set_input(Device *dev, unsigned n, bool level)
{
    I8259 *s = DEVICE_CAST(I8259, dev);
    uint8_t bit = BIT(n);

    trace_pic_set_irq(s->master, n, level);
    s->raised[n] += level && !(s->last_irr & bit);
    if (s->elcr & bit) {
        s->irr = level ? s->irr | bit : s->irr & ~bit;
    } else if (level && !(s->last_irr & bit)) {
        s->irr |= bit;
    }
    s->last_irr = level ? s->last_irr | bit : s->last_irr & ~bit;
}

static void rotate_after(I8259 *s, unsigned irq)
{
    s->priority_add = (irq + 1) & 7;
}

/* One INTA (or poll read) accepted IRQ. */
static void accept(I8259 *s, unsigned irq)
{
    if (s->auto_eoi) {
        if (s->rotate_on_auto_eoi) {
            rotate_after(s, irq);
        }
    } else {
        s->isr |= BIT(irq);
    }
    if (!(s->elcr & BIT(irq))) {
        s->irr &= ~BIT(irq);
    }
}

uint8_t i8259_ack(Device *master)
{
    I8259 *s = DEVICE_CAST(I8259, master);
    I8259 *slave = s->slave;
    int irq = pending_irq(s);
    uint8_t vector;

    if (irq == NONE) {
        vector = s->irq_base + 7;
    } else if (irq == CASCADE_IR && slave) {
        int slave_irq = pending_irq(slave);

        accept(s, irq);
        if (slave_irq == NONE) {
            slave_irq = 7;
        } else {
            accept(slave, slave_irq);
        }
        vector = slave->irq_base + slave_irq;
        device_sync(&slave->isa.dev);
    } else {
        accept(s, irq);
        vector = s->irq_base + irq;
    }
    device_sync(master);
    trace_pic_interrupt(vector);
    return vector;
}

bool i8259_output(const Device *master)
{
    return pending_irq((const I8259 *)(const void *)master) != NONE;
}

bool i8259_waits(const Device *dev, unsigned n)
{
    const I8259 *s = (const I8259 *)(const void *)dev;

    return (s->irr & ~s->imr) >> n & 1;
}

/* ---- registers ---- */

/* The device, with fields that are up to date. */
static I8259 *fresh(Device *dev)
{
    I8259 *s = DEVICE_CAST(I8259, dev);

    if (s->refresh) {
        s->refresh(s);
    }
    return s;
}

static void init_reset(I8259 *s)
{
    s->irr &= s->elcr & s->last_irr;      /* level pins still ask */
    s->imr = 0;
    s->isr = 0;
    s->priority_add = 0;
    s->irq_base = 0;
    s->read_reg_select = 0;
    s->poll = 0;
    s->special_mask = 0;
    s->init_state = 0;
    s->auto_eoi = 0;
    s->rotate_on_auto_eoi = 0;
    s->special_fully_nested_mode = 0;
    s->init4 = 0;
    s->single_mode = 0;
}

static void icw1_write(I8259 *s, uint8_t value)
{
    init_reset(s);
    s->init_state = 1;
    s->init4 = value & ICW1_IC4;
    s->single_mode = value & ICW1_SNGL;
    if (value & ICW1_LTIM) {
        log_unimp("i8259: level triggered mode by ICW1; the ELCR decides\n");
    }
}

static void ocw3_write(I8259 *s, uint8_t value)
{
    if (value & OCW3_P) {
        s->poll = 1;
    }
    if (value & OCW3_RR) {
        s->read_reg_select = value & OCW3_RIS;
    }
    if (value & OCW3_ESMM) {
        s->special_mask = (value & OCW3_SMM) != 0;
    }
}

static void ocw2_write(I8259 *s, uint8_t value)
{
    unsigned level = value & 7;
    unsigned priority = priority_of(s, s->isr);
    unsigned highest = (priority + s->priority_add) & 7;

    switch (value >> 5) {
    case 0:                       /* rotate in automatic EOI mode: clear */
    case 4:                       /* ... set */
        s->rotate_on_auto_eoi = value >> 7;
        break;
    case 1:                       /* non-specific EOI */
    case 5:                       /* ... and rotate */
        if (priority < 8) {
            s->isr &= ~BIT(highest);
            if (value & 0x80) {
                rotate_after(s, highest);
            }
        }
        break;
    case 3:                       /* specific EOI */
        s->isr &= ~BIT(level);
        break;
    case 7:                       /* rotate on specific EOI */
        s->isr &= ~BIT(level);
        rotate_after(s, level);
        break;
    case 6:                       /* set priority: LEVEL becomes the lowest */
        rotate_after(s, level);
        break;
    default:                      /* 2: no operation */
        break;
    }
}

static void a0_write(Device *dev, uint64_t value)
{
    I8259 *s = fresh(dev);

    if (value & ICW1) {
        icw1_write(s, value);
    } else if (value & OCW3) {
        ocw3_write(s, value);
    } else {
        ocw2_write(s, value);
    }
}

static void a1_write(Device *dev, uint64_t value)
{
    I8259 *s = fresh(dev);

    switch (s->init_state) {
    case 0:
        s->imr = value;
        break;
    case 1:
        s->irq_base = value & 0xf8;
        s->init_state = s->single_mode ? (s->init4 ? 3 : 0) : 2;
        break;
    case 2:
        s->init_state = s->init4 ? 3 : 0;
        break;
    default:
        s->special_fully_nested_mode = (value & ICW4_SFNM) != 0;
        s->auto_eoi = (value & ICW4_AEOI) != 0;
        s->init_state = 0;
        break;
    }
}

/* A poll is an INTA cycle of its own: bit 7 says whether bits 2-0 name a request. */
static uint64_t poll_read(I8259 *s)
{
    int irq = pending_irq(s);

    s->poll = 0;
    if (irq == NONE) {
        return 0;
    }
    accept(s, irq);
    return 0x80 | irq;
}

static uint64_t a0_read(Device *dev, uint64_t value)
{
    I8259 *s = fresh(dev);

    if (s->poll) {
        return poll_read(s);
    }
    return s->read_reg_select ? s->isr : s->irr;
}

static uint64_t a1_read(Device *dev, uint64_t value)
{
    I8259 *s = fresh(dev);

    return s->poll ? poll_read(s) : s->imr;
}

static uint64_t elcr_read(Device *dev, uint64_t value)
{
    return fresh(dev)->elcr;
}

static void elcr_write(Device *dev, uint64_t value)
{
    I8259 *s = fresh(dev);
    uint8_t level = value & s->elcr_mask;
    uint8_t changed = level & ~s->elcr;

    s->elcr = level;
    s->irr = (s->irr & ~changed) | (s->last_irr & changed);
}

static const RegDef i8259_regs[] = {
    { 0, "ICW1/OCW2/OCW3", REG_NONE(1), .on_read = a0_read, .on_write = a0_write },
    { 1, "ICW2-4/OCW1", REG_NONE(1), .on_read = a1_read, .on_write = a1_write },
};
static const RegDef elcr_regs[] = {
    { 0, "ELCR", REG_NONE(1), .on_read = elcr_read, .on_write = elcr_write },
};

static void i8259_info(Device *dev, GString *out)
{
    const I8259 *s = fresh(dev);

    g_string_append_printf(out, "pic%u: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x "
                           "rr_sel=%d elcr=%02x fnm=%d\n", !s->master, s->irr, s->imr, s->isr,
                           s->priority_add, s->irq_base, s->read_reg_select, s->elcr,
                           s->special_fully_nested_mode);
}

/* ---- life cycle ---- */

static void i8259_reset_enter(Device *dev)
{
    I8259 *s = DEVICE_CAST(I8259, dev);

    s->elcr = 0;
    init_reset(s);
}

static bool i8259_realize(Device *dev, GError **error)
{
    I8259 *s = DEVICE_CAST(I8259, dev);

    if (s->iobase > 0xfffe) {
        return error_set(error, "isa-i8259: 'iobase' is 0x%x; it must be set, to 0 to 0xfffe",
                         s->iobase);
    }
    device_init_reg_region(dev, &s->ports, "pic", (RegTable)REG_TABLE(i8259_regs), 2);
    isa_add_ports(&s->isa, &s->ports, s->iobase);
    if (s->elcr_addr <= 0xffff) {
        device_init_reg_region(dev, &s->elcr_port, "elcr", (RegTable)REG_TABLE(elcr_regs), 1);
        isa_add_ports(&s->isa, &s->elcr_port, s->elcr_addr);
    }
    return true;
}

bool i8259_post_load(void *obj, int version, GError **error)
{
    I8259 *s = obj;

    if (s->priority_add > 7 || s->init_state > 3) {
        return error_set(error, "i8259: priority_add %u or init_state %u is out of range",
                         s->priority_add, s->init_state);
    }
    return true;
}

static const PropDef i8259_props[] = {
    PROP_U32("iobase", I8259, iobase, 0xffffffff),
    PROP_U32("elcr_addr", I8259, elcr_addr, 0xffffffff),
    PROP_U8("elcr_mask", I8259, elcr_mask, 0xff),
    PROP_BOOL("master", I8259, master, false),
    PROP_END,
};
const VmField i8259_fields[] = {
    VMS_U8(I8259, last_irr), VMS_U8(I8259, irr), VMS_U8(I8259, imr), VMS_U8(I8259, isr),
    VMS_U8(I8259, priority_add), VMS_U8(I8259, irq_base), VMS_U8(I8259, read_reg_select),
    VMS_U8(I8259, poll), VMS_U8(I8259, special_mask), VMS_U8(I8259, init_state),
    VMS_U8(I8259, auto_eoi), VMS_U8(I8259, rotate_on_auto_eoi),
    VMS_U8(I8259, special_fully_nested_mode), VMS_U8(I8259, init4),
    VMS_U8(I8259, single_mode), VMS_U8(I8259, elcr), VMS_END
};
DEVICE_TYPE(isa_i8259, .name = "isa-i8259", .bus = &bus_isa, .size = sizeof(I8259),
            .props = i8259_props, .inputs = 8, .set_input = i8259_set_input,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(I8259, intr)),
            .vmstate = VMSTATE("i8259", 1, 1, i8259_fields, .post_load = i8259_post_load),
            .realize = i8259_realize, .reset_enter = i8259_reset_enter, .sync = i8259_sync,
            .info = i8259_info);

/* ---- the pair ---- */

bool i8259_raised(const Device *dev, unsigned irq, uint64_t *count)
{
    const I8259 *s = DEVICE_CAST(I8259, dev);

    *count = s->raised[irq & 7];
    return !s->refresh && irq < 16 && s->master == (irq < 8);
}

Device *i8259_pair_new(IsaBus *bus, bool in_kernel, IrqPin intr, IrqPin pins[16], GError **error)
{
    const char *type = in_kernel ? "kvm-i8259" : "isa-i8259";
    Device *master = device_create(bus->bus.vm, type, &bus->bus, error, "iobase", "0x20",
                                   "elcr_addr", "0x4d0", "elcr_mask", "0xf8", "master", "on",
                                   NULL);
    Device *slave = master ? device_create(bus->bus.vm, type, &bus->bus, error,
                                           "iobase", "0xa0", "elcr_addr", "0x4d1",
                                           "elcr_mask", "0xde", "master", "off", NULL)
                           : NULL;

    if (!slave) {
        return NULL;
    }
    irq_connect(&DEVICE_CAST(I8259, master)->intr, intr);
    irq_connect(&DEVICE_CAST(I8259, slave)->intr, device_input(master, CASCADE_IR));
    DEVICE_CAST(I8259, master)->slave = DEVICE_CAST(I8259, slave);
    for (unsigned n = 0; n < 8; n++) {
        pins[n] = device_input(master, n);
        pins[n + 8] = device_input(slave, n);
    }
    return master;
}
