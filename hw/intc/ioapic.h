/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC ("ioapic"): 24 inputs that become interrupt messages.
 * Thread rule: machine lock.
 */
#ifndef HW_INTC_IOAPIC_H
#define HW_INTC_IOAPIC_H

#include "vm/device.h"

#define IOAPIC_PINS 24
#define IOAPIC_DEFAULT_ADDRESS 0xfec00000u

/* Of the equal MSI; an address of 0 is none. */
typedef struct IoapicMessage {
    uint64_t address;
    uint32_t data;
} IoapicMessage;

/* How a message leaves. */
typedef struct IoapicOut {
    void (*send)(void *opaque, uint64_t address, uint32_t data);
    /* Takes an ExtINT vector from the 8259; NULL: pins in that mode stay silent. */
    int (*ack_pic)(void *opaque);
    void *opaque;
    /* The level messages of all pins have changed (KVM's local APICs report the EOIs of those
     * they know of); NULL: nobody needs to know. */
    void (*routes)(void *opaque, const IoapicMessage messages[IOAPIC_PINS]);
} IoapicOut;

/* Makes one at IOAPIC_DEFAULT_ADDRESS; its pins are device_input(dev, n).  IN_KERNEL: it stands for
 * KVM's ("kvm-ioapic"), which has the pins and sends the messages itself. */
Device *ioapic_new(Vm *vm, bool in_kernel, const IoapicOut *out, GError **error);
/* A local APIC has finished VECTOR: level inputs that are still high are sent again. */
void ioapic_eoi(Device *dev, uint8_t vector);
/* Vector that an edge at pin N of the chip gives; -1: masked, level-triggered or no plain vector. */
int ioapic_edge_vector(Device *dev, unsigned pin);
/* How often GSI has been raised; false when this chip does not have or count it. */
bool ioapic_raised(const Device *dev, unsigned gsi, uint64_t *count);

#endif
