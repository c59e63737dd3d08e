/* SPDX-License-Identifier: MIT */
/*
 * Local APIC ("apic"): state, priorities and what reaches the CPU.
 * Spec: [SDM3A 11]; register and bit names are the SDM's.
 * Not modelled: the serial APIC bus of the P6, thermal and performance sources (their LVTs are
 * storage), relocation of the registers by IA32_APIC_BASE, the vAPIC option ROM (property vapic=
 * has no effect: there is none to switch on).
 * Locking: what a CPU does to its own APIC all the time (EOI, TPR, interrupt commands, taking an interrupt) and what
 * interrupts another CPU needs no lock: apic_int.h says whose each field is.  The rest has the machine lock, taken here when
 * the caller does not hold it: timers, LVTs, what comes from the 8259 and what goes to an I/O APIC.
 *
 * Invariants:
 *  1. a vector is in irr (requested), isr (in service), both or none; tmr says level.
 *  2. a CPU with a deliverable interrupt has its request (set_intr).  Whoever adds to irr looks at priorities, and whoever
 *     changes those looks at irr, behind that and in one order for all threads: one of the two sees both.  A request is
 *     taken back before the last look.  One too many only makes the CPU ask in vain.
 */
#include "hw/intc/apic_int.h"

#include "base/error.h"
#include "hw/intc/i8259.h"
#include "hw/trace.h"

bool apic_lock(void)
{
    if (machine_lock_held()) {
        return false;
    }
    machine_lock();
    return true;
}

void apic_unlock(bool taken)
{
    if (taken) {
        machine_unlock();
    }
}

bool apic_enter(Apic *apic)
{
    bool locked;

    if (!apic->bus->kernel) {
        return false;
    }
    locked = apic_lock();
    apic->bus->kernel->fetch(apic);
    return locked;
}

void apic_leave(Apic *apic, bool locked, bool changed)
{
    if (changed && apic->bus->kernel) {
        apic->bus->kernel->store(apic);
    }
    apic_unlock(locked);
}

/* ---- 256-bit vectors ---- */

static void bit_set(uint32_t set[8], unsigned n)
{
    __atomic_fetch_or(&set[n >> 5], BIT(n & 31), __ATOMIC_SEQ_CST);
}

static void bit_clear(uint32_t set[8], unsigned n)
{
    __atomic_fetch_and(&set[n >> 5], ~BIT(n & 31), __ATOMIC_SEQ_CST);
}

static bool bit_test(const uint32_t set[8], unsigned n)
{
    return APIC_GET(set[n >> 5]) & BIT(n & 31);
}

static int highest(const uint32_t set[8])
{
    for (int i = 7; i >= 0; i--) {
        uint32_t bits = APIC_GET(set[i]);

        if (bits) {
            return i * 32 + 31 - __builtin_clz(bits);
        }
    }
    return -1;
}

/* ---- priorities: [SDM3A 11.8.3] ---- */

uint8_t apic_ppr(const Apic *apic)
{
    int isr = highest(apic->isr);
    uint8_t isr_class = isr < 0 ? 0 : isr & 0xf0, tpr = APIC_GET(apic->tpr);

    return (tpr & 0xf0) >= isr_class ? tpr : isr_class;
}

static int deliverable(const Apic *apic)
{
    int irr = highest(apic->irr);

    if (irr < 0 || !apic_soft_enabled(apic) || (irr & 0xf0) <= (apic_ppr(apic) & 0xf0)) {
        return -1;
    }
    return irr;
}

static bool accepts_pic(const Apic *apic)
{
    uint32_t lint0 = APIC_GET(apic->lvt[LVT_LINT0]), base = APIC_GET(apic->apicbase);

    if (!(base & APIC_BASE_ENABLE)) {
        return base & APIC_BASE_BSP;      /* LINT0 is the INTR pin then */
    }
    return !(lint0 & LVT_MASKED) && ((lint0 >> 8) & 7) == DM_EXTINT;
}

/* The machine lock is held if accepts_pic(). */
static bool pic_asks(const Apic *apic)
{
    return accepts_pic(apic) && apic->bus->pic && i8259_output(apic->bus->pic);
}

static bool has_interrupt(const Apic *apic)
{
    return deliverable(apic) >= 0 || pic_asks(apic);
}

void apic_update(Apic *apic)
{
    bool locked;

    if (apic->bus->kernel) {
        return;                   /* it decides itself */
    }
    locked = accepts_pic(apic) && apic_lock();
    if (!has_interrupt(apic)) {
        apic->ops->set_intr(apic->cpu, false);
    }
    if (has_interrupt(apic)) {    /* perhaps of this moment, and its request has gone */
        apic->ops->set_intr(apic->cpu, true);
    }
    apic_unlock(locked);
}

void apic_accept(Apic *apic, uint8_t vector, bool level)
{
    if (vector < 16) {
        apic_error(apic, ESR_RECEIVE_ILLEGAL);
        return;
    }
    if (!(APIC_GET(apic->apicbase) & APIC_BASE_ENABLE)) {
        return;
    }
    if (level) {
        bit_set(apic->tmr, vector);
    } else if (bit_test(apic->tmr, vector)) {
        bit_clear(apic->tmr, vector);
    }
    bit_set(apic->irr, vector);
    if (deliverable(apic) >= 0 && !apic->bus->kernel) {
        apic->ops->set_intr(apic->cpu, true);
    }
}

void apic_error(Apic *apic, uint32_t bits)
{
    uint32_t before = __atomic_fetch_or(&apic->esr_pending, bits, __ATOMIC_SEQ_CST);

    if (!(before & bits)) {
        apic_local(apic, LVT_ERROR);
    }
}

/* A local source fires: [SDM3A 11.5.1]. */
void apic_local(Apic *apic, unsigned lvt)
{
    uint32_t entry = APIC_GET(apic->lvt[lvt]);
    unsigned mode = (entry >> 8) & 7;

    trace_apic_local_deliver(apic->initial_id, lvt, entry);
    if ((entry & LVT_MASKED) || !(APIC_GET(apic->apicbase) & APIC_BASE_ENABLE)) {
        return;
    }
    switch (lvt == LVT_TIMER || lvt == LVT_ERROR ? DM_FIXED : mode) {
    case DM_FIXED:
        /* A bad vector in the error LVT must not raise another error. */
        if (lvt != LVT_ERROR || (entry & 0xff) >= 16) {
            apic_accept(apic, entry, false);
        }
        break;
    case DM_NMI:
        apic->ops->nmi(apic->cpu);
        break;
    case DM_SMI:
        apic->ops->smi(apic->cpu);
        break;
    case DM_INIT:
        apic->ops->init(apic->cpu);
        break;
    default:                      /* ExtINT: the level of the 8259 is asked for, not sent */
        break;
    }
}

void apic_eoi(Apic *apic)
{
    int vector = highest(apic->isr);

    if (vector < 0) {
        return;
    }
    bit_clear(apic->isr, vector);
    if (bit_test(apic->tmr, vector) && !(apic->spurious_vec & SVR_NO_EOI_BROADCAST) &&
        apic->bus->eoi) {
        bool locked = apic_lock();

        apic->bus->eoi(apic->bus->eoi_opaque, vector);
        apic_unlock(locked);
    }
    apic_update(apic);
}

/* ---- the CPU's side ---- */

/* Split: only the 8259 is ours, KVM knows when it may pass. */
static int get_pic_interrupt(Apic *apic)
{
    bool locked = apic_lock();
    int vector = -1;

    if (apic->bus->pic && i8259_output(apic->bus->pic)) {
        vector = i8259_ack(apic->bus->pic);
    }
    apic_pic_request(apic->bus);
    apic_unlock(locked);
    return vector;
}

int apic_get_interrupt(Apic *apic)
{
    bool locked;
    int vector;

    if (apic->bus->kernel) {
        return get_pic_interrupt(apic);
    }
    locked = accepts_pic(apic) && apic_lock();
    vector = deliverable(apic);
    if (vector >= 0) {
        bit_clear(apic->irr, vector);
        bit_set(apic->isr, vector);
    } else if (pic_asks(apic)) {
        vector = i8259_ack(apic->bus->pic);
    }
    apic_update(apic);
    apic_unlock(locked);
    return vector;
}

bool apic_accept_pic_intr(Apic *apic)
{
    return accepts_pic(apic);
}

uint64_t apic_base(Apic *apic)
{
    return APIC_GET(apic->apicbase);
}

uint32_t apic_id(Apic *apic)
{
    return apic->initial_id;
}

Device *apic_device(Apic *apic)
{
    return &apic->dev;
}

/* The allowed moves between disabled, xAPIC and x2APIC: [SDM3A 11.12.5]. */
bool apic_set_base(Apic *apic, uint64_t value)
{
    bool locked = apic_lock();
    uint32_t modes = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    uint32_t from = apic->apicbase & modes, to = value & modes;
    bool ok = to != APIC_BASE_X2APIC && !(value & 0xff) && !(value & BIT(9)) && !(value >> 32) &&
              !(from == modes && to == APIC_BASE_ENABLE) && !(from == 0 && to == modes);

    if (apic->bus->kernel) {
        /* The guest has done it already, perhaps in several steps; the registers follow. */
        apic->bus->kernel->fetch(apic);
        APIC_SET(apic->apicbase, value);
        apic_unlock(locked);
        return true;
    }
    if (ok) {
        APIC_SET(apic->apicbase, (value & 0xfffff000) | to | (apic->apicbase & APIC_BASE_BSP));
        if (to == 0 && from != 0) {
            apic_timer_reset(apic);
            APIC_SET(apic->spurious_vec, apic->spurious_vec & ~SVR_ENABLE);
        }
        if (to == modes && from != modes) {
            APIC_SET(apic->log_dest, BIT(apic->initial_id & 0xf));
            APIC_SET(apic->id, apic->initial_id);
        }
        apic_update(apic);
    }
    apic_unlock(locked);
    return ok;
}

uint8_t apic_cr8(Apic *apic)
{
    if (apic->bus->kernel) {
        apic_leave(apic, apic_enter(apic), false);
    }
    return apic->tpr >> 4;
}

void apic_set_cr8(Apic *apic, uint8_t value)
{
    bool locked = apic_enter(apic);

    APIC_SET(apic->tpr, (value & 0xf) << 4);
    apic_update(apic);
    apic_leave(apic, locked, true);
}

/* ---- life cycle ---- */

/* The INIT signal: registers to their reset values, APIC id and base stay. */
static void apic_init_reset(Apic *apic)
{
    bool locked = apic_lock();

    apic_timer_reset(apic);
    apic->id = apic->initial_id;
    apic->tpr = 0;
    apic->spurious_vec = 0xff;
    apic->log_dest = 0;
    apic->dest_mode = 0xf;
    memset(apic->isr, 0, sizeof(apic->isr));
    memset(apic->tmr, 0, sizeof(apic->tmr));
    memset(apic->irr, 0, sizeof(apic->irr));
    for (unsigned i = 0; i < LVTS; i++) {
        apic->lvt[i] = LVT_MASKED;
    }
    apic->esr = apic->esr_pending = 0;
    memset(apic->icr, 0, sizeof(apic->icr));
    apic->divide_conf = 0;
    apic->count_shift = 1;
    apic->arb_id = apic->initial_id;
    apic_update(apic);
    apic_unlock(locked);
}

static void apic_reset_enter(Device *dev)
{
    Apic *apic = DEVICE_CAST(Apic, dev);

    apic->apicbase = APIC_DEFAULT_ADDRESS | APIC_BASE_ENABLE |
                     (apic->cpu->index == 0 ? APIC_BASE_BSP : 0);
    apic_init_reset(apic);
    /* Quirk: LINT0 of the boot CPU passes the 8259 through after a reset, as firmware for PCs with
     * an APIC in virtual wire mode expects of the board. */
    if (apic->cpu->index == 0) {
        apic->lvt[LVT_LINT0] = DM_EXTINT << 8;
    }
}

static void apic_unrealize(Device *dev)
{
    apic_timer_reset(DEVICE_CAST(Apic, dev));
}

static void apic_sync(Device *dev)
{
    Apic *apic = DEVICE_CAST(Apic, dev);

    if (!dev->sync_muted) {
        apic_update(apic);
    }
}

void apic_pre_save(void *obj)
{
    Apic *apic = obj;

    apic->sipi_vector = 0;
    apic->wait_for_sipi = apic->ops->waits_for_sipi && apic->ops->waits_for_sipi(apic->cpu);
}

bool apic_pre_load(void *obj, GError **error)
{
    ((Apic *)obj)->wait_for_sipi = 0;
    return true;
}

bool apic_post_load(void *obj, int version, GError **error)
{
    Apic *apic = obj;

    apic->apicbase = (apic->apicbase & ~0xffu) & ~BIT(9);
    apic->esr_pending = 0;
    if (apic->count_shift < 0 || apic->count_shift > 7 || !apic_timer_post_load(apic)) {
        return error_set(error, "apic: count_shift %d or its times are out of range",
                         apic->count_shift);
    }
    if (apic->ops->loaded) {
        apic->ops->loaded(apic->cpu, apic->apicbase, apic->wait_for_sipi != 0);
    }
    return true;
}

static void info_set(const char *name, const uint32_t set[8], GString *out)
{
    g_string_append_printf(out, "%s\t", name);
    for (int n = 255; n >= 0; n--) {
        if (bit_test(set, n)) {
            g_string_append_printf(out, " %d", n);
        }
    }
    g_string_append(out, highest(set) < 0 ? " (none)\n" : "\n");
}

static void apic_info(Device *dev, GString *out)
{
    Apic *apic = DEVICE_CAST(Apic, dev);
    static const char *const names[LVTS] = { "LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1", "LVTERR" };

    apic_leave(apic, apic_enter(apic), false);
    g_string_append_printf(out, "dumping local APIC state for CPU %u\n\n", apic->cpu->index);
    for (unsigned i = 0; i < LVTS; i++) {
        g_string_append_printf(out, "%s\t 0x%08x\n", names[i], APIC_GET(apic->lvt[i]));
    }
    g_string_append_printf(out, "Timer\t DCR=0x%x initial_count = %u current_count = %u\n",
                           apic->divide_conf, apic->initial_count, apic_timer_current(apic));
    g_string_append_printf(out, "SPIV\t 0x%08x APIC %s, spurious vector 0x%02x\n",
                           apic->spurious_vec, apic_soft_enabled(apic) ? "enabled" : "disabled",
                           apic->spurious_vec & 0xff);
    g_string_append_printf(out, "ICR\t 0x%08x\nICR2\t 0x%08x\nESR\t 0x%08x\n", apic->icr[0],
                           apic->icr[1], apic->esr);
    info_set("ISR", apic->isr, out);
    info_set("IRR", apic->irr, out);
    g_string_append_printf(out, "\nAPR 0x%02x TPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x\n",
                           apic->arb_id, apic->tpr, apic->dest_mode, apic->log_dest,
                           apic_ppr(apic));
}

/* clang-format off */
const VmField apic_fields[] = {
    VMS_U32(Apic, apicbase), VMS_U8(Apic, id), VMS_U8(Apic, arb_id), VMS_U8(Apic, tpr),
    VMS_U32(Apic, spurious_vec), VMS_U8(Apic, log_dest), VMS_U8(Apic, dest_mode),
    VMS_U32_ARRAY(Apic, isr), VMS_U32_ARRAY(Apic, tmr), VMS_U32_ARRAY(Apic, irr),
    VMS_U32_ARRAY(Apic, lvt), VMS_U32(Apic, esr), VMS_U32_ARRAY(Apic, icr),
    VMS_U32(Apic, divide_conf), VMS_I32(Apic, count_shift), VMS_U32(Apic, initial_count),
    VMS_I64(Apic, initial_count_load_time), VMS_I64(Apic, next_time),
    VMS_I64(Apic, timer_expiry), VMS_END
};
static const VmField sipi_fields[] = { VMS_I32(Apic, sipi_vector), VMS_I32(Apic, wait_for_sipi), VMS_END };
static bool sipi_needed(const void *obj) { return ((const Apic *)obj)->wait_for_sipi; }
static const VmStateDesc sipi_desc = { .name = "apic_sipi", .version = 1, .minimum = 1, .fields = sipi_fields,
                                       .needed = sipi_needed };
const VmStateDesc *const apic_subsections[] = { &sipi_desc, NULL };
/* clang-format on */
static const PropDef apic_props[] = {
    PROP_U32("id", Apic, initial_id, 0),
    PROP_U8("version", Apic, version, 0x14),
    PROP_BOOL("vapic", Apic, vapic, true),
    PROP_END,
};
DEVICE_TYPE(apic, .name = "apic", .size = sizeof(Apic), .props = apic_props,
            .vmstate = VMSTATE("apic", 3, 3, apic_fields, .subsections = apic_subsections,
                               .pre_save = apic_pre_save, .pre_load = apic_pre_load,
                               .post_load = apic_post_load),
            .unrealize = apic_unrealize, .reset_enter = apic_reset_enter, .sync = apic_sync,
            .info = apic_info);

Apic *apic_new(ApicBus *bus, Cpu *cpu, uint8_t id, const ApicCpuOps *ops, GError **error)
{
    Device *dev;
    Apic *apic;

    if (bus->count == APIC_MAX_CPUS) {
        error_set(error, "There are already %d local APICs, the most that fit", APIC_MAX_CPUS);
        return NULL;
    }
    dev = device_new(bus->vm, bus->kernel ? bus->kernel->type : "apic", error);
    if (!dev) {
        return NULL;
    }
    apic = DEVICE_CAST(Apic, dev);
    apic->bus = bus;
    apic->cpu = cpu;
    apic->ops = ops;
    apic->initial_id = id;
    dev->instance_id = id;
    apic_timer_init(apic);
    object_add_child(OBJECT(cpu), "lapic", OBJECT(dev));
    if (!device_realize(dev, NULL, error)) {
        object_unparent(OBJECT(dev));
        object_unref(OBJECT(dev));
        return NULL;
    }
    object_unref(OBJECT(dev));
    bus->apics[bus->count] = apic;
    APIC_SET(bus->count, bus->count + 1);     /* others may be looking for whom they mean */
    return apic;
}
