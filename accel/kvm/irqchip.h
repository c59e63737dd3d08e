/* SPDX-License-Identifier: MIT */
/*
 * KVM's own interrupt controllers and timer, for the devices that stand for them (hw/) and for
 * whoever wants interrupts without the machine lock (irqfd).
 *
 *     switch (kvm_irqchip_mode(vm)) {
 *     case KVM_IRQCHIP_OFF:       // every controller is a device of ours
 *     case KVM_IRQCHIP_SPLIT:     // local APICs are KVM's; 8259, I/O APIC and PIT are ours
 *     case KVM_IRQCHIP_ON:        // all of them are KVM's
 *     }
 *
 * Numbers of interrupts (GSI): 0..23 are the board's lines, wired by KVM as on a PC (0..15 to the
 * 8259s, all to the I/O APIC, 0 to its pin 2); further ones are messages, made by
 * kvm_msi_route_add().  An irqfd raises any of them from any thread, without the machine lock:
 *
 *     int gsi = kvm_msi_route_add(vm, address, data, &error);
 *     if (gsi >= 0 && kvm_irqfd_attach(vm, gsi, eventfd, -1, &error)) ...
 *     kvm_irqfd_detach(vm, gsi, eventfd);
 *     kvm_msi_route_remove(vm, gsi);
 *
 * Thread rule: machine lock; kvm_irq_line() and kvm_send_msi() from any thread.  Local APICs are
 * read and written on the CPU's own thread or while it is at a safe point.
 * Other than kvm_irqchip_mode(), nothing here may be called when the mode is KVM_IRQCHIP_OFF.
 */
#ifndef ACCEL_KVM_IRQCHIP_H
#define ACCEL_KVM_IRQCHIP_H

#include <linux/kvm.h>

#include "vm/cpu.h"

typedef enum KvmIrqchip { KVM_IRQCHIP_OFF, KVM_IRQCHIP_SPLIT, KVM_IRQCHIP_ON } KvmIrqchip;

enum { KVM_IOAPIC_PINS = 24 };

/* OFF under other accelerators, too. */
KvmIrqchip kvm_irqchip_mode(const Vm *vm);

/* KVM_IRQCHIP_ON: the 8259s and the I/O APIC (chip->chip_id says which). */
void kvm_irqchip_read(Vm *vm, struct kvm_irqchip *chip);
void kvm_irqchip_write(Vm *vm, struct kvm_irqchip *chip);
void kvm_irq_line(Vm *vm, unsigned gsi, bool level);

/* The register page.  A write reaches KVM before the CPU next runs. */
void kvm_lapic_read(Cpu *cpu, struct kvm_lapic_state *regs);
void kvm_lapic_write(Cpu *cpu, const struct kvm_lapic_state *regs);
void kvm_send_msi(Vm *vm, uint64_t address, uint32_t data);

/* KVM_IRQCHIP_ON: the 8254.  !REINJECT: ticks that the guest had no time for are dropped. */
bool kvm_pit_create(Vm *vm, bool reinject, GError **error);
void kvm_pit_read(Vm *vm, struct kvm_pit_state2 *state);
void kvm_pit_write(Vm *vm, struct kvm_pit_state2 *state);

/* KVM_IRQCHIP_SPLIT: EOIs of level-triggered vectors of ROUTES are reported to the hook. */
typedef struct KvmIoapicRoute {
    bool used;
    uint64_t address;           /* of the message that the pin sends */
    uint32_t data;
} KvmIoapicRoute;
void kvm_ioapic_set_routes(Vm *vm, const KvmIoapicRoute routes[KVM_IOAPIC_PINS]);
void kvm_ioapic_set_eoi_hook(Vm *vm, void (*eoi)(void *opaque, uint8_t vector), void *opaque);

/* The new GSI, or -1. */
int kvm_msi_route_add(Vm *vm, uint64_t address, uint32_t data, GError **error);
void kvm_msi_route_update(Vm *vm, int gsi, uint64_t address, uint32_t data);
void kvm_msi_route_remove(Vm *vm, int gsi);
/* FD is an eventfd that stays the caller's; RESAMPLE_FD, if not -1, is signalled at the EOI of a
 * level-triggered line, which KVM has lowered then. */
bool kvm_irqfd_attach(Vm *vm, int gsi, int fd, int resample_fd, GError **error);
void kvm_irqfd_detach(Vm *vm, int gsi, int fd);

#endif
