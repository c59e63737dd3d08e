/* SPDX-License-Identifier: MIT */
/*
 * Delivery between local APICs: destinations, interrupt commands, MSIs.  [SDM3A 11.6, 11.11]
 * Locking: interrupt commands of CPUs, and what they find out about the others, need none (apic_int.h); INIT, start-up
 * messages, MSIs and wires have the machine lock.
 */
#include "base/log.h"
#include "hw/intc/apic_int.h"
#include "hw/intc/i8259.h"
#include "hw/trace.h"

enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };
enum { ICR_LOGICAL = BIT(11), ICR_DELIVS = BIT(12), ICR_ASSERT = BIT(14), ICR_LEVEL = BIT(15) };

typedef struct Targets {
    Apic *list[APIC_MAX_CPUS];
    unsigned count;
} Targets;

/* ---- who is meant: [SDM3A 11.6.2] ---- */

static bool logical_match(const Apic *apic, uint32_t dest)
{
    uint8_t log_dest = APIC_GET(apic->log_dest);

    if (apic_is_x2(apic)) {
        uint32_t cluster = apic->initial_id >> 4;

        return dest == 0xffffffff ||
               (dest >> 16 == cluster && (dest & BIT(apic->initial_id & 0xf)));
    }
    if (APIC_GET(apic->dest_mode) == 0xf) {
        return log_dest & dest & 0xff;
    }
    return (log_dest >> 4) == (dest >> 4 & 0xf) && (log_dest & dest & 0xf);
}

/* WIDE: DEST has 32 bits (x2APIC), else 8; all ones of either is broadcast. */
static bool is_target(const Apic *apic, uint32_t dest, bool logical, bool wide)
{
    if (!(APIC_GET(apic->apicbase) & APIC_BASE_ENABLE)) {
        return false;
    }
    if (dest == (wide ? 0xffffffffu : 0xffu)) {
        return true;
    }
    if (logical) {
        return logical_match(apic, dest);
    }
    return dest == (apic_is_x2(apic) ? apic->initial_id : APIC_GET(apic->id));
}

static void find_targets(ApicBus *bus, uint32_t dest, bool logical, bool wide, Targets *out)
{
    out->count = 0;
    for (unsigned i = 0, count = APIC_GET(bus->count); i < count; i++) {
        if (is_target(bus->apics[i], dest, logical, wide)) {
            out->list[out->count++] = bus->apics[i];
        }
    }
}

/* ---- arrival ---- */

/* Lowest processor priority wins; among equals they take turns. */
static Apic *arbitrate(ApicBus *bus, Apic *const *targets, unsigned count)
{
    unsigned first = __atomic_fetch_add(&bus->lowest_next, 1, __ATOMIC_RELAXED);
    Apic *best = NULL;

    for (unsigned i = 0; i < count; i++) {
        Apic *apic = targets[(i + first) % count];

        if (apic_soft_enabled(apic) && (!best || (apic_ppr(apic) & 0xf0) < (apic_ppr(best) & 0xf0))) {
            best = apic;
        }
    }
    return best;
}

static void deliver_one(Apic *apic, unsigned mode, uint8_t vector, bool level)
{
    trace_apic_deliver_irq(apic->initial_id, mode, vector, level);
    switch (mode) {
    case DM_FIXED:
    case DM_LOWEST:
    case DM_EXTINT:               /* the sender has run the INTA cycles */
        apic_accept(apic, vector, level);
        break;
    case DM_SMI:
        apic->ops->smi(apic->cpu);
        break;
    case DM_NMI:
        apic->ops->nmi(apic->cpu);
        break;
    case DM_INIT:
        apic->ops->init(apic->cpu);
        break;
    case DM_SIPI:
        apic->ops->sipi(apic->cpu, vector);
        break;
    default:
        log_guest_error("apic: delivery mode %u is reserved\n", mode);
        break;
    }
}

/* KVM's APICs take it as a message; INIT and start-up messages, too. */
static void deliver_by_kernel(ApicBus *bus, Apic *const *targets, unsigned count, uint32_t data)
{
    for (unsigned i = 0; i < count; i++) {
        bus->kernel->send_msi(bus->vm, APIC_DEFAULT_ADDRESS | (targets[i]->initial_id & 0xff) << 12,
                              data);
    }
}

static void apic_deliver(ApicBus *bus, Apic *const *targets, unsigned count, unsigned mode,
                         uint8_t vector, bool level_triggered)
{
    if (bus->kernel) {
        deliver_by_kernel(bus, targets, mode == DM_LOWEST ? MIN(count, 1) : count,
                          vector | (mode == DM_LOWEST ? DM_FIXED : mode) << 8);
        return;
    }
    if (mode == DM_LOWEST) {
        Apic *apic = count ? arbitrate(bus, targets, count) : NULL;

        if (apic) {
            deliver_one(apic, mode, vector, level_triggered);
        }
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        deliver_one(targets[i], mode, vector, level_triggered);
    }
}

/* ---- interrupt commands: [SDM3A 11.6.1] ---- */

static void find_shorthand(Apic *from, unsigned shorthand, Targets *out)
{
    ApicBus *bus = from->bus;

    out->count = 0;
    for (unsigned i = 0, count = APIC_GET(bus->count); i < count; i++) {
        bool self = bus->apics[i] == from;

        if (shorthand == SHORTHAND_SELF ? self : shorthand == SHORTHAND_ALL || !self) {
            out->list[out->count++] = bus->apics[i];
        }
    }
}

void apic_send_icr(Apic *from)
{
    uint32_t low = from->icr[0], high = from->icr[1];
    unsigned mode = (low >> 8) & 7, shorthand = (low >> 18) & 3;
    bool wide = apic_is_x2(from), locked;
    Targets targets;

    if (low & ICR_DELIVS) {
        APIC_SET(from->icr[0], low & ~ICR_DELIVS);
    }
    /* INIT level de-assert only concerned the arbitration ids of the serial bus. */
    if (mode == DM_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT)) {
        for (unsigned i = 0, count = APIC_GET(from->bus->count); i < count; i++) {
            Apic *apic = from->bus->apics[i];

            APIC_SET(apic->arb_id, APIC_GET(apic->id));
        }
        return;
    }
    if ((mode == DM_FIXED || mode == DM_LOWEST) && (low & 0xff) < 16) {
        apic_error(from, ESR_SEND_ILLEGAL);
        return;
    }
    if (shorthand == SHORTHAND_NONE) {
        find_targets(from->bus, wide ? high : high >> 24, low & ICR_LOGICAL, wide, &targets);
    } else {
        find_shorthand(from, shorthand, &targets);
    }
    /* IPIs are edge triggered whatever the trigger mode bit says. */
    locked = mode != DM_FIXED && mode != DM_LOWEST && apic_lock();
    apic_deliver(from->bus, targets.list, targets.count, mode, low & 0xff, false);
    apic_unlock(locked);
}

/* ---- messages from devices ---- */

void apic_bus_send_msi(ApicBus *bus, uint64_t address, uint32_t data)
{
    bool locked = apic_lock();
    uint8_t dest = address >> 12;
    bool logical = address & 4, hint = address & 8;
    unsigned mode = (data >> 8) & 7;
    Targets targets;

    if (bus->kernel) {
        bus->kernel->send_msi(bus->vm, address, data);
        apic_unlock(locked);
        return;
    }
    find_targets(bus, dest, logical, false, &targets);
    apic_deliver(bus, targets.list, targets.count, hint && mode == DM_FIXED ? DM_LOWEST : mode,
                 data & 0xff, data & BIT(15));
    apic_unlock(locked);
}

/* ---- wires ---- */

/* KVM's APICs and our 8259: the boot CPU asks KVM for a moment when it can take its interrupt. */
void apic_pic_request(ApicBus *bus)
{
    if (bus->count) {
        Apic *boot = bus->apics[0];

        boot->ops->set_intr(boot->cpu, bus->pic && i8259_output(bus->pic));
    }
}

/* A change of the 8259's INT: ExtINT is a level that the CPU's side asks for; the other modes of
 * LINT0 see an edge. */
static void pic_changed(void *opaque, unsigned n, bool level)
{
    ApicBus *bus = opaque;

    if (bus->kernel) {
        apic_pic_request(bus);
        return;
    }
    for (unsigned i = 0; i < bus->count; i++) {
        Apic *apic = bus->apics[i];

        if (level) {
            apic_local(apic, LVT_LINT0);
        }
        apic_update(apic);
    }
}

IrqPin apic_bus_pic_pin(ApicBus *bus)
{
    return (IrqPin){ .handler = pic_changed, .opaque = bus, .n = 0 };
}

static void lint1(Cpu *cpu, void *opaque)
{
    Apic *apic = opaque;
    bool locked = apic_enter(apic);

    apic_local(apic, LVT_LINT1);
    apic_leave(apic, locked, false);
}

void apic_nmi_button(Apic *apic)
{
    bool locked = apic_lock();

    if (apic->bus->kernel) {
        cpu_run_on_async(apic->cpu, lint1, apic);
    } else {
        lint1(apic->cpu, apic);
    }
    apic_unlock(locked);
}

void apic_bus_set_pic(ApicBus *bus, Device *pic)
{
    bus->pic = pic;
}

void apic_bus_set_eoi_hook(ApicBus *bus, void (*eoi)(void *opaque, uint8_t vector), void *opaque)
{
    bus->eoi = eoi;
    bus->eoi_opaque = opaque;
}

bool apic_bus_waits(ApicBus *bus, uint8_t vector)
{
    for (unsigned i = 0; i < bus->count; i++) {
        if (APIC_GET(bus->apics[i]->irr[vector / 32]) & BIT(vector % 32)) {
            return true;
        }
    }
    return false;
}

bool apic_bus_takes_pic(ApicBus *bus)
{
    for (unsigned i = 0; i < bus->count; i++) {
        if (apic_accept_pic_intr(bus->apics[i])) {
            return true;
        }
    }
    return false;
}

/* ---- the window at 0xfee00000 ---- */

/* Outside of vCPUs (the monitor's xp, qtest) the boot processor's is seen. */
static Apic *apic_of_current(ApicBus *bus)
{
    unsigned count = APIC_GET(bus->count);
    Cpu *cpu = cpu_current();

    if (!cpu) {
        return count ? bus->apics[0] : NULL;
    }
    if (cpu->index < count && bus->apics[cpu->index]->cpu == cpu) {
        return bus->apics[cpu->index];
    }
    for (unsigned i = 0; i < count; i++) {
        if (bus->apics[i]->cpu == cpu) {
            return bus->apics[i];
        }
    }
    return NULL;
}

/* Registers are the CPU's own, on 16-byte steps of the first page. */
static Apic *register_owner(ApicBus *bus, uint64_t offset)
{
    Apic *apic = offset < 0x1000 && !(offset & 0xf) ? apic_of_current(bus) : NULL;

    return apic && (APIC_GET(apic->apicbase) & APIC_BASE_ENABLE) && !apic_is_x2(apic) ? apic : NULL;
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    Apic *apic = register_owner(opaque, offset);
    uint32_t value = 0;
    bool locked;

    if (!apic) {
        return offset < 0x1000 ? 0 : 0xffffffff;
    }
    locked = apic_enter(apic);
    if (!apic_reg_read(apic, offset >> 4, &value)) {
        apic_error(apic, ESR_ILLEGAL_REGISTER);
    }
    apic_leave(apic, locked, false);
    return value;
}

/* Offset 0 is a reserved register and the address of MSIs to APIC 0. */
static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Apic *apic;
    bool locked;

    if (offset >= 0x1000 || offset < 0x10) {
        apic_bus_send_msi(opaque, APIC_DEFAULT_ADDRESS | offset, value);
        return;
    }
    apic = register_owner(opaque, offset);
    if (!apic) {
        return;
    }
    locked = apic_enter(apic);
    if (!apic_reg_write(apic, offset >> 4, value)) {
        apic_error(apic, ESR_ILLEGAL_REGISTER);
    }
    apic_leave(apic, locked, true);
}

static const MmioOps window_ops = { window_read, window_write, .valid_min = 1, .valid_max = 8,
                                    .impl_min = 4, .impl_max = 4, .lockless = true };

void apic_bus_init(ApicBus *bus, Vm *vm, const ApicKernelOps *kernel)
{
    *bus = (ApicBus){ .vm = vm, .kernel = kernel };
    memory_region_init_io(&bus->mmio, NULL, "apic-msi", &window_ops, bus, MIB);
    memory_region_add_overlap(&vm->system_memory, APIC_DEFAULT_ADDRESS, &bus->mmio, 4096);
}

void apic_bus_clear(ApicBus *bus)
{
    while (bus->count > 0) {
        device_unplug(&bus->apics[--bus->count]->dev);
    }
    memory_region_remove(&bus->vm->system_memory, &bus->mmio);
    memory_region_clear(&bus->mmio);
}
