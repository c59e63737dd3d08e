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

/* How a message leaves: ADDRESS and DATA are those of the equal MSI. */
typedef struct IoapicOut {
    void (*send)(void *opaque, uint64_t address, uint32_t data);
    /* Takes an ExtINT vector from the 8259; NULL: pins in that mode stay silent. */
    int (*ack_pic)(void *opaque);
    void *opaque;
} IoapicOut;

/* Makes one at IOAPIC_DEFAULT_ADDRESS; its pins are device_input(dev, n). */
Device *ioapic_new(Vm *vm, const IoapicOut *out, GError **error);
/* A local APIC has finished VECTOR: level inputs that are still high are sent again. */
void ioapic_eoi(Device *dev, uint8_t vector);
void ioapic_info(Device *dev, GString *out);

#endif
