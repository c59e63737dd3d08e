/* SPDX-License-Identifier: MIT */
/*
 * Intel 82093AA I/O APIC ("ioapic"), with the EOI register of version 0x20.
 * Spec: 82093AA data sheet (290566-001); register and bit names are the sheet's.
 * Not modelled: the serial APIC bus and its arbitration, pin polarity (lines are active high here).
 * Locking: machine lock.
 *
 * Invariants:
 *  1. irr of an edge pin: an edge that could not be sent yet because the pin was masked.
 *  2. irr of a level pin is the level of the pin.
 *  3. REMOTE_IRR is set from the sending of a level message to the EOI of its vector.
 */
#include "hw/intc/ioapic_int.h"

#include "base/error.h"
#include "base/log.h"
#include "hw/trace.h"
#include "vm/vm.h"

enum { IOREGSEL = 0x00, IOWIN = 0x10, EOI_REG = 0x40 };
enum { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };
enum { DELMOD_FIXED, DELMOD_LOWEST, DELMOD_SMI, DELMOD_NMI = 4, DELMOD_INIT, DELMOD_EXTINT = 7 };

/* Except for its vector and mode where that is ExtINT. */
static IoapicMessage message_of(uint64_t entry)
{
    unsigned mode = RED_DELMOD(entry);

    return (IoapicMessage){
        .address = 0xfee00000 | (entry >> 56) << 12 | (entry & RED_DESTMOD ? 4 : 0) |
                   (mode == DELMOD_LOWEST ? 8 : 0),         /* redirection hint */
        .data = RED_VECTOR(entry) | mode << 8 | (entry & RED_LEVEL ? BIT(14) | BIT(15) : 0),
    };
}

static void send_message(Ioapic *s, uint64_t entry)
{
    IoapicMessage m = message_of(entry);

    if (RED_DELMOD(entry) == DELMOD_EXTINT) {
        if (!s->out.ack_pic) {
            return;
        }
        m.data = (m.data & ~0x7ffu) | (uint8_t)s->out.ack_pic(s->out.opaque);
    }
    trace_ioapic_message(m.address, m.data);
    s->out.send(s->out.opaque, m.address, m.data);
}

/* Sends what is due on pin N. */
static void service(Ioapic *s, unsigned n)
{
    uint64_t entry = s->ioredtbl[n];

    if (!(s->irr & BIT(n)) || (entry & RED_MASKED)) {
        return;
    }
    if (entry & RED_LEVEL) {
        if (entry & RED_REMOTE_IRR) {
            return;
        }
        s->ioredtbl[n] |= RED_REMOTE_IRR;
    } else {
        s->irr &= ~BIT(n);
    }
    if (s->out.send) {
        send_message(s, entry);
    }
}

static void ioapic_set_input(Device *dev, unsigned n, bool level)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);
    unsigned gsi = n;
    bool rose;

    /* IRQ 0 is wired to INTIN2, as the MADT's interrupt source override tells. */
    n = n == 0 ? 2 : n;
    trace_ioapic_set_irq(n, level);
    rose = level && !(s->level & BIT(n));
    s->raised[gsi] += rose;
    s->level = level ? s->level | BIT(n) : s->level & ~BIT(n);
    if (s->ioredtbl[n] & RED_LEVEL) {
        s->irr = level ? s->irr | BIT(n) : s->irr & ~BIT(n);
    } else if (rose) {
        /* 3.2.4: an edge on a masked pin is lost. */
        if (!(s->ioredtbl[n] & RED_MASKED)) {
            s->irr |= BIT(n);
        }
    }
    service(s, n);
}

void ioapic_eoi(Device *dev, uint8_t vector)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);

    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        if (RED_VECTOR(s->ioredtbl[n]) == vector && (s->ioredtbl[n] & RED_REMOTE_IRR)) {
            s->ioredtbl[n] &= ~RED_REMOTE_IRR;
            service(s, n);
        }
    }
}

/* ---- registers ---- */

static uint32_t select_read(const Ioapic *s)
{
    unsigned reg = s->ioregsel;

    if (reg >= IOREDTBL && reg < IOREDTBL + 2 * IOAPIC_PINS) {
        uint64_t entry = s->ioredtbl[(reg - IOREDTBL) / 2];

        return reg & 1 ? entry >> 32 : entry;
    }
    switch (reg) {
    case IOAPICID:
    case IOAPICARB:
        return (uint32_t)s->id << 24;
    case IOAPICVER:
        return s->version | (IOAPIC_PINS - 1) << 16;
    default:
        log_guest_error("ioapic: read of register 0x%02x\n", reg);
        return 0;
    }
}

static void redtbl_write(Ioapic *s, unsigned reg, uint32_t value)
{
    unsigned n = (reg - IOREDTBL) / 2;
    uint64_t old = s->ioredtbl[n];
    uint64_t entry = reg & 1 ? (old & 0xffffffff) | (uint64_t)value << 32
                             : (old & ~0xffffffffull) | value;

    entry = (entry & RED_WRITABLE & ~RED_READ_ONLY) | (old & RED_READ_ONLY);
    if (!(entry & RED_LEVEL)) {
        entry &= ~RED_REMOTE_IRR;
        if (old & RED_LEVEL) {
            s->irr &= ~BIT(n);
        }
    } else if (!(old & RED_LEVEL)) {
        s->irr = (s->irr & ~BIT(n)) | (s->level & BIT(n));
    }
    s->ioredtbl[n] = entry;
    service(s, n);
}

static void select_write(Ioapic *s, uint32_t value)
{
    unsigned reg = s->ioregsel;

    if (reg >= IOREDTBL && reg < IOREDTBL + 2 * IOAPIC_PINS) {
        redtbl_write(s, reg, value);
    } else if (reg == IOAPICID) {
        s->id = (value >> 24) & 0xf;
    } else if (reg != IOAPICVER && reg != IOAPICARB) {
        log_guest_error("ioapic: write of 0x%08x to register 0x%02x\n", value, reg);
    }
}

static Ioapic *fresh(Ioapic *s)
{
    if (s->refresh) {
        s->refresh(s);
    }
    return s;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    Ioapic *s = fresh(opaque);

    switch (offset & 0xff) {
    case IOREGSEL:
        return s->ioregsel;
    case IOWIN:
        return select_read(s);
    default:
        return 0;
    }
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ioapic *s = fresh(opaque);

    switch (offset & 0xff) {
    case IOREGSEL:
        s->ioregsel = value;
        break;
    case IOWIN:
        select_write(s, value);
        break;
    case EOI_REG:
        if (s->version >= 0x20) {
            ioapic_eoi(&s->dev, value);
        }
        break;
    default:
        log_guest_error("ioapic: write of 0x%x at offset 0x%x\n", (unsigned)value,
                        (unsigned)offset);
        break;
    }
    device_sync(&s->dev);
}

static const MmioOps ioapic_ops = { mmio_read, mmio_write, .valid_min = 1, .valid_max = 8,
                                    .impl_min = 4, .impl_max = 4 };

/* Tells, where somebody wants to know, which level messages there are now. */
static void ioapic_sync(Device *dev)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);
    IoapicMessage messages[IOAPIC_PINS] = { 0 };
    bool changed = false;

    if (!s->out.routes) {
        return;
    }
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t entry = s->ioredtbl[n] & ~(uint64_t)RED_READ_ONLY;
        bool used = (entry & RED_LEVEL) && !(entry & RED_MASKED);

        changed |= used != !!(s->routed & BIT(n)) || (used && entry != s->routed_as[n]);
        s->routed = used ? s->routed | BIT(n) : s->routed & ~BIT(n);
        s->routed_as[n] = entry;
        if (used) {
            messages[n] = message_of(entry);
        }
    }
    if (changed) {
        s->out.routes(s->out.opaque, messages);
    }
}

/* ---- life cycle ---- */

static void ioapic_reset_enter(Device *dev)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);

    s->id = 0;
    s->ioregsel = 0;
    s->irr = 0;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        s->ioredtbl[n] = RED_MASKED;
    }
}

static bool ioapic_realize(Device *dev, GError **error)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);

    if (s->version != 0x11 && s->version != 0x20) {
        return error_set(error, "ioapic: 'version' is 0x%x; 0x11 and 0x20 exist", s->version);
    }
    memory_region_init_io(&s->mmio, OBJECT(dev), "ioapic", &ioapic_ops, s, 0x1000);
    memory_region_add(&dev->vm->system_memory, IOAPIC_DEFAULT_ADDRESS, &s->mmio);
    return true;
}

static void ioapic_unrealize(Device *dev)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);

    memory_region_remove(&dev->vm->system_memory, &s->mmio);
    memory_region_clear(&s->mmio);
}

/* The pins' levels do not travel: of level pins they are irr. */
bool ioapic_post_load(void *obj, int version, GError **error)
{
    Ioapic *s = obj;

    s->irr &= BIT(IOAPIC_PINS) - 1;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        s->ioredtbl[n] &= RED_WRITABLE | RED_READ_ONLY;
        if (s->ioredtbl[n] & RED_LEVEL) {
            s->level = (s->level & ~BIT(n)) | (s->irr & BIT(n));
        }
    }
    return true;
}

int ioapic_edge_vector(Device *dev, unsigned pin)
{
    uint64_t entry = DEVICE_CAST(Ioapic, dev)->ioredtbl[pin];

    /* Delivery modes 0 and 1: fixed, lowest priority. */
    return entry & (RED_MASKED | RED_LEVEL) || RED_DELMOD(entry) > 1 ? -1 : (int)RED_VECTOR(entry);
}

bool ioapic_raised(const Device *dev, unsigned gsi, uint64_t *count)
{
    const Ioapic *s = DEVICE_CAST(Ioapic, dev);

    *count = gsi < IOAPIC_PINS ? s->raised[gsi] : 0;
    return !s->refresh && gsi < IOAPIC_PINS;
}

static void print_pins(GString *out, const char *name, uint32_t pins)
{
    g_string_append_printf(out, "  %-8s ", name);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        if (pins & BIT(n)) {
            g_string_append_printf(out, " %u", n);
        }
    }
    g_string_append(out, pins ? "\n" : "(none)\n");
}

static void ioapic_info(Device *dev, GString *out)
{
    const Ioapic *s = fresh(DEVICE_CAST(Ioapic, dev));
    static const char *const modes[8] = { "fixed", "lowest", "SMI", "...", "NMI", "INIT", "...",
                                          "extINT" };
    uint32_t remote = 0;

    g_string_append_printf(out, "ioapic0: ver=0x%x id=0x%02x sel=0x%02x\n", s->version, s->id,
                           s->ioregsel);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t e = s->ioredtbl[n];

        g_string_append_printf(out, "  pin %-2u 0x%016" G_GINT64_MODIFIER "x dest=%x vec=%-3u %s %-6s "
                               "%-6s %s\n", n, e, (unsigned)(e >> 56), RED_VECTOR(e),
                               e & RED_LEVEL ? "active-hi level" : "active-hi edge ",
                               e & RED_MASKED ? "masked" : "", modes[RED_DELMOD(e)],
                               e & RED_DESTMOD ? "logical" : "physical");
        remote |= e & RED_REMOTE_IRR ? BIT(n) : 0;
    }
    print_pins(out, "IRR", s->irr);
    print_pins(out, "Remote IRR", remote);
}

const VmField ioapic_fields[] = {
    VMS_U8(Ioapic, id), VMS_U8(Ioapic, ioregsel), VMS_UNUSED(8, .version = 2),
    VMS_U32(Ioapic, irr, .version = 2), VMS_U64_ARRAY(Ioapic, ioredtbl), VMS_END
};
static const PropDef ioapic_props[] = { PROP_U8("version", Ioapic, version, 0x20), PROP_END };
DEVICE_TYPE(ioapic, .name = "ioapic", .size = sizeof(Ioapic), .props = ioapic_props,
            .inputs = IOAPIC_PINS, .set_input = ioapic_set_input,
            .vmstate = VMSTATE("ioapic", 3, 1, ioapic_fields, .post_load = ioapic_post_load),
            .realize = ioapic_realize, .unrealize = ioapic_unrealize,
            .reset_enter = ioapic_reset_enter, .sync = ioapic_sync,
            .info = ioapic_info);

Device *ioapic_new(Vm *vm, bool in_kernel, const IoapicOut *out, GError **error)
{
    Device *dev = device_create(vm, in_kernel ? "kvm-ioapic" : "ioapic", NULL, error, NULL);

    if (dev) {
        DEVICE_CAST(Ioapic, dev)->out = *out;
    }
    return dev;
}
