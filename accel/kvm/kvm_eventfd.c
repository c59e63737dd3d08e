/* SPDX-License-Identifier: MIT */
/*
 * ioeventfds: writes of the guest that KVM turns into a signal, without an exit; and irqfds, the other way
 * round, for devices.
 *
 * What KVM has no room for, or does not know (a write of any size), exits as it did before;
 * vm/memory_access.c then signals the eventfd: slower, and the same to see.
 * Locking: machine lock.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "accel/kvm/kvm_int.h"
#include "base/log.h"

static bool apply(KvmAccel *kvm, gpa_t addr, unsigned size, bool match, uint64_t value, int fd,
                  uint32_t flags)
{
    struct kvm_ioeventfd arg = {
        .addr = addr, .len = size, .fd = fd, .datamatch = match ? value : 0,
        .flags = flags | (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
    };

    return ioctl(kvm->vm_fd, KVM_IOEVENTFD, &arg) == 0;
}

static void add(KvmAccel *kvm, gpa_t addr, unsigned size, bool match, uint64_t value, int fd,
                uint32_t flags)
{
    if (!apply(kvm, addr, size, match, value, fd, flags)) {
        log_unimp("KVM: no ioeventfd for address 0x%" PRIx64 ": %s: its writes exit\n", addr,
                  g_strerror(errno));
    }
}

/* Where adding failed, so does this. */
static void del(KvmAccel *kvm, gpa_t addr, unsigned size, bool match, uint64_t value, int fd,
                uint32_t flags)
{
    apply(kvm, addr, size, match, value, fd, flags | KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static void memory_add(MemoryListener *l, gpa_t addr, unsigned size, bool match, uint64_t value,
                       int fd)
{
    add(l->opaque, addr, size, match, value, fd, 0);
}

static void memory_del(MemoryListener *l, gpa_t addr, unsigned size, bool match, uint64_t value,
                       int fd)
{
    del(l->opaque, addr, size, match, value, fd, 0);
}

static void io_add(MemoryListener *l, gpa_t addr, unsigned size, bool match, uint64_t value, int fd)
{
    add(l->opaque, addr, size, match, value, fd, KVM_IOEVENTFD_FLAG_PIO);
}

static void io_del(MemoryListener *l, gpa_t addr, unsigned size, bool match, uint64_t value, int fd)
{
    del(l->opaque, addr, size, match, value, fd, KVM_IOEVENTFD_FLAG_PIO);
}

void kvm_eventfd_init(KvmAccel *kvm, Vm *vm)
{
    kvm->eventfds = (MemoryListener){ .eventfd_add = memory_add, .eventfd_del = memory_del,
                                      .opaque = kvm };
    kvm->io_eventfds = (MemoryListener){ .eventfd_add = io_add, .eventfd_del = io_del,
                                         .opaque = kvm };
    memory_listener_add(&vm->memory, &kvm->eventfds);
    memory_listener_add(&vm->io, &kvm->io_eventfds);
}

void kvm_eventfd_clear(KvmAccel *kvm)
{
    memory_listener_remove(&kvm->accel.vm->memory, &kvm->eventfds);
    memory_listener_remove(&kvm->accel.vm->io, &kvm->io_eventfds);
}

/* ---- irqfds ---- */

static int irqfd_add(Vm *vm, uint64_t address, uint32_t data, int fd, GError **error)
{
    int gsi = kvm_msi_route_add(vm, address, data, error);

    if (gsi >= 0 && !kvm_irqfd_attach(vm, gsi, fd, -1, error)) {
        kvm_msi_route_remove(vm, gsi);
        return -1;
    }
    return gsi;
}

static void irqfd_remove(Vm *vm, int gsi, int fd)
{
    kvm_irqfd_detach(vm, gsi, fd);
    kvm_msi_route_remove(vm, gsi);
}

/* Local APICs of ours take no messages from KVM. */
const AccelIrqfds *kvm_irqfds(Accel *accel)
{
    static const AccelIrqfds ops = { irqfd_add, kvm_msi_route_update, irqfd_remove };

    return kvm_has_apic((KvmAccel *)accel) ? &ops : NULL;
}
