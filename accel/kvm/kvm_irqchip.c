/* SPDX-License-Identifier: MIT */
/*
 * Interrupt controllers, timer and interrupt routes in the kernel.
 * Spec: Documentation/virt/kvm/api.rst of Linux.  See irqchip.h for the outside.
 * Locking: machine lock, except where irqchip.h says otherwise; `routes` always under it.
 */
#include <cpuid.h>
#include <errno.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm_int.h"
#include "base/error.h"
#include "base/log.h"

enum { CPUID_1_ECX_VMX = BIT(5), CPUID_80000001_ECX_SVM = BIT(2) };
enum { MASTER_LINES = 8, PIC_LINES = 16, CASCADE = 2, TIMER_PIN = 2 };

static KvmAccel *kvm_of(const Vm *vm)
{
    return (KvmAccel *)vm->accel;
}

KvmIrqchip kvm_irqchip_mode(const Vm *vm)
{
    return vm->accel && strcmp(accel_type(vm->accel)->accel, "kvm") == 0
               ? (KvmIrqchip)kvm_of(vm)->irqchip : KVM_IRQCHIP_OFF;
}

/* What must not fail once the controllers exist: our bug, or a kernel that misbehaves. */
static bool vm_ioctl(const Vm *vm, unsigned long request, void *arg, const char *what)
{
    int result;

    do {
        result = ioctl(kvm_of(vm)->vm_fd, request, arg);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        log_unimp("KVM: %s: %s\n", what, g_strerror(errno));
    }
    return result >= 0;
}

/* ---- routes ---- */

/* All of the table goes to the kernel at each change. */
static bool routes_commit(KvmAccel *kvm, GError **error)
{
    unsigned n = kvm->routes->len;
    g_autofree struct kvm_irq_routing *table =
        g_malloc0(sizeof(*table) + n * sizeof(table->entries[0]));

    table->nr = n;
    for (unsigned i = 0; i < n; i++) {
        table->entries[i] = g_array_index(kvm->routes, struct kvm_irq_routing_entry, i);
    }
    return ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, table) == 0 ||
           error_set_errno(error, errno, "KVM refused a table of %u interrupt routes", n);
}

static void route_chip(KvmAccel *kvm, unsigned gsi, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry e = { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
                                       .u.irqchip = { .irqchip = chip, .pin = pin } };

    g_array_append_val(kvm->routes, e);
}

static void set_message(struct kvm_irq_routing_entry *e, uint64_t address, uint32_t data)
{
    e->u.msi = (struct kvm_irq_routing_msi){ .address_lo = (uint32_t)address,
                                             .address_hi = address >> 32, .data = data };
}

static void route_msi(KvmAccel *kvm, unsigned gsi, uint64_t address, uint32_t data)
{
    struct kvm_irq_routing_entry e = { .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI };

    set_message(&e, address, data);
    g_array_append_val(kvm->routes, e);
}

/* The lines of a PC; the router of the board does the same for our own chips. */
static void route_lines(KvmAccel *kvm)
{
    for (unsigned gsi = 0; gsi < PIC_LINES; gsi++) {
        if (gsi != CASCADE) {
            route_chip(kvm, gsi, gsi < MASTER_LINES ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                       gsi % MASTER_LINES);
        }
    }
    for (unsigned gsi = 0; gsi < KVM_IOAPIC_PINS; gsi++) {
        if (gsi != TIMER_PIN) {
            route_chip(kvm, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? TIMER_PIN : gsi);
        }
    }
}

static struct kvm_irq_routing_entry *find_message(KvmAccel *kvm, int gsi)
{
    for (unsigned i = 0; i < kvm->routes->len; i++) {
        struct kvm_irq_routing_entry *e =
            &g_array_index(kvm->routes, struct kvm_irq_routing_entry, i);

        if (e->type == KVM_IRQ_ROUTING_MSI && (int)e->gsi == gsi) {
            return e;
        }
    }
    return NULL;
}

static void drop_message(KvmAccel *kvm, int gsi)
{
    struct kvm_irq_routing_entry *e = find_message(kvm, gsi);

    if (e) {
        g_array_remove_index(kvm->routes, e - (struct kvm_irq_routing_entry *)kvm->routes->data);
    }
}

int kvm_msi_route_add(Vm *vm, uint64_t address, uint32_t data, GError **error)
{
    KvmAccel *kvm = kvm_of(vm);
    int gsi = KVM_IOAPIC_PINS;

    while (find_message(kvm, gsi)) {
        gsi++;
    }
    if (gsi >= kvm->gsi_max) {
        error_set(error, "KVM has room for %d interrupt routes, and all are taken", kvm->gsi_max);
        return -1;
    }
    route_msi(kvm, gsi, address, data);
    if (!routes_commit(kvm, error)) {
        drop_message(kvm, gsi);
        return -1;
    }
    return gsi;
}

void kvm_msi_route_update(Vm *vm, int gsi, uint64_t address, uint32_t data)
{
    struct kvm_irq_routing_entry *e = find_message(kvm_of(vm), gsi);
    g_autoptr(GError) error = NULL;

    g_assert(e);
    set_message(e, address, data);
    if (!routes_commit(kvm_of(vm), &error)) {
        log_unimp("%s\n", error->message);
    }
}

void kvm_msi_route_remove(Vm *vm, int gsi)
{
    g_autoptr(GError) error = NULL;

    g_assert(find_message(kvm_of(vm), gsi));
    drop_message(kvm_of(vm), gsi);
    if (!routes_commit(kvm_of(vm), &error)) {
        log_unimp("%s\n", error->message);
    }
}

static bool irqfd(Vm *vm, struct kvm_irqfd *arg)
{
    return ioctl(kvm_of(vm)->vm_fd, KVM_IRQFD, arg) == 0;
}

bool kvm_irqfd_attach(Vm *vm, int gsi, int fd, int resample_fd, GError **error)
{
    struct kvm_irqfd arg = { .fd = fd, .gsi = gsi,
                             .flags = resample_fd >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0,
                             .resamplefd = resample_fd >= 0 ? resample_fd : 0 };

    return irqfd(vm, &arg) || error_set_errno(error, errno, "KVM refused an irqfd for interrupt %d",
                                              gsi);
}

void kvm_irqfd_detach(Vm *vm, int gsi, int fd)
{
    struct kvm_irqfd arg = { .fd = fd, .gsi = gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN };

    if (!irqfd(vm, &arg)) {
        log_unimp("KVM: no irqfd of interrupt %d to remove: %s\n", gsi, g_strerror(errno));
    }
}

/* ---- split: our I/O APIC ---- */

void kvm_ioapic_set_routes(Vm *vm, const KvmIoapicRoute routes[KVM_IOAPIC_PINS])
{
    KvmAccel *kvm = kvm_of(vm);
    g_autoptr(GError) error = NULL;

    for (unsigned pin = 0; pin < KVM_IOAPIC_PINS; pin++) {
        drop_message(kvm, pin);
        if (routes[pin].used) {
            route_msi(kvm, pin, routes[pin].address, routes[pin].data);
        }
    }
    if (!routes_commit(kvm, &error)) {
        log_unimp("%s\n", error->message);
    }
}

void kvm_ioapic_set_eoi_hook(Vm *vm, void (*eoi)(void *opaque, uint8_t vector), void *opaque)
{
    kvm_of(vm)->ioapic_eoi = eoi;
    kvm_of(vm)->ioapic_eoi_opaque = opaque;
}

/* ---- on: the chips ---- */

void kvm_irqchip_read(Vm *vm, struct kvm_irqchip *chip)
{
    vm_ioctl(vm, KVM_GET_IRQCHIP, chip, "reading an interrupt controller");
}

void kvm_irqchip_write(Vm *vm, struct kvm_irqchip *chip)
{
    vm_ioctl(vm, KVM_SET_IRQCHIP, chip, "setting an interrupt controller");
}

void kvm_irq_line(Vm *vm, unsigned gsi, bool level)
{
    struct kvm_irq_level line = { .irq = gsi, .level = level };

    vm_ioctl(vm, KVM_IRQ_LINE, &line, "driving an interrupt line");
}

bool kvm_pit_create(Vm *vm, bool reinject, GError **error)
{
    struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };
    struct kvm_reinject_control control = { .pit_reinject = reinject };
    KvmAccel *kvm = kvm_of(vm);

    if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &config) < 0) {
        return error_set_errno(error, errno, "KVM cannot create an interval timer; use "
                               "kernel-irqchip=split or off");
    }
    if (!reinject && ioctl(kvm->vm_fd, KVM_REINJECT_CONTROL, &control) < 0) {
        return error_set_errno(error, errno, "KVM cannot drop lost ticks "
                               "(kvm-pit.lost_tick_policy=discard)");
    }
    return true;
}

void kvm_pit_read(Vm *vm, struct kvm_pit_state2 *state)
{
    vm_ioctl(vm, KVM_GET_PIT2, state, "reading the interval timer");
}

void kvm_pit_write(Vm *vm, struct kvm_pit_state2 *state)
{
    vm_ioctl(vm, KVM_SET_PIT2, state, "setting the interval timer");
}

/* ---- local APICs ---- */

void kvm_lapic_read(Cpu *cpu, struct kvm_lapic_state *regs)
{
    KvmCpu *v = kvm_cpu(cpu);

    memset(regs, 0, sizeof(*regs));
    if (!v) {
        return;                     /* not made yet, or gone */
    }
    if (v->lapic_pending) {
        *regs = v->lapic;
    } else if (ioctl(v->fd, KVM_GET_LAPIC, regs) < 0) {
        log_unimp("KVM: reading the APIC of CPU %u: %s\n", cpu->index, g_strerror(errno));
    }
}

void kvm_lapic_write(Cpu *cpu, const struct kvm_lapic_state *regs)
{
    KvmCpu *v = kvm_cpu(cpu);

    if (v) {
        v->lapic = *regs;
        v->lapic_pending = true;
    }
}

void kvm_lapic_commit(KvmCpu *v)
{
    if (v->lapic_pending) {
        v->lapic_pending = false;
        if (ioctl(v->fd, KVM_SET_LAPIC, &v->lapic) < 0) {
            kvm_fail(v, "KVM refused the state of the local APIC: %s", g_strerror(errno));
        }
    }
}

void kvm_send_msi(Vm *vm, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = { .address_lo = (uint32_t)address, .address_hi = address >> 32,
                           .data = data };

    vm_ioctl(vm, KVM_SIGNAL_MSI, &msi, "sending a message signalled interrupt");
}

/* ---- creation ---- */

static int has(const KvmAccel *kvm, int cap)
{
    return MAX(ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, cap), 0);
}

static const struct { uint8_t modes; int cap; const char *name; } needed[] = {
    { BIT(KVM_IRQCHIP_ON), KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
    { BIT(KVM_IRQCHIP_ON), KVM_CAP_PIT2, "KVM_CAP_PIT2" },
    { BIT(KVM_IRQCHIP_ON), KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2" },
    { BIT(KVM_IRQCHIP_SPLIT), KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },
    { BIT(KVM_IRQCHIP_ON) | BIT(KVM_IRQCHIP_SPLIT), KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
    { BIT(KVM_IRQCHIP_ON) | BIT(KVM_IRQCHIP_SPLIT), KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
};

static bool create_chips(KvmAccel *kvm, KvmIrqchip mode, GError **error)
{
    struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { KVM_IOAPIC_PINS } };

    for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
        if ((needed[i].modes & BIT(mode)) && !has(kvm, needed[i].cap)) {
            return error_set(error, "KVM lacks %s", needed[i].name);
        }
    }
    if (mode == KVM_IRQCHIP_ON ? ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0
                               : ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &split) < 0) {
        return error_set_errno(error, errno, "KVM cannot create interrupt controllers");
    }
    kvm->gsi_max = has(kvm, KVM_CAP_IRQ_ROUTING);
    if (mode == KVM_IRQCHIP_ON) {
        route_lines(kvm);
    }
    return mode == KVM_IRQCHIP_SPLIT || routes_commit(kvm, error);
}

/* Where the host CPU cannot run guests, KVM is an emulator. */
static bool kvm_is_software(void)
{
    uint32_t a, b, c, d;

    return !(__get_cpuid(1, &a, &b, &c, &d) && (c & CPUID_1_ECX_VMX)) &&
           !(__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & CPUID_80000001_ECX_SVM));
}

bool kvm_irqchip_create(KvmAccel *kvm, GError **error)
{
    KvmIrqchip mode = kvm->irqchip_wanted < 0 ? KVM_IRQCHIP_ON : kvm->irqchip_wanted;
    g_autoptr(GError) why = NULL;

    kvm->routes = g_array_new(false, false, sizeof(struct kvm_irq_routing_entry));
    if (kvm->irqchip_wanted < 0 && kvm_is_software()) {
        /* Seen: with its own 8259 it looks for interrupts now and then only, and misses the
         * few instructions with IF = 1 that a BIOS has; GRUB's keyboard is dead then. */
        info_report("using kernel-irqchip=off: without vmx or svm, KVM misses short interrupt "
                    "windows");
        mode = KVM_IRQCHIP_OFF;
    }
    kvm->irqchip = mode;
    if (mode == KVM_IRQCHIP_OFF || create_chips(kvm, mode, &why)) {
        return true;
    }
    kvm->irqchip = KVM_IRQCHIP_OFF;
    if (kvm->irqchip_wanted >= 0) {
        return error_set(error, "kernel-irqchip=%s is not possible: %s; use kernel-irqchip=off",
                         mode == KVM_IRQCHIP_ON ? "on" : "split", why->message);
    }
    info_report("using kernel-irqchip=off: %s", why->message);
    return true;
}
