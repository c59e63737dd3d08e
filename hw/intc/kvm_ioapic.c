/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC in the kernel ("kvm-ioapic"): KVM has registers, pins and messages; this device is
 * how the rest of the machine sees, resets, saves and loads it.  Its fields are a copy, as in
 * kvm_i8259.c.
 * Locking: machine lock.
 */
#include "accel/kvm/irqchip.h"
#include "hw/intc/ioapic_int.h"
#include "vm/vm.h"

G_STATIC_ASSERT(KVM_IOAPIC_NUM_PINS == IOAPIC_PINS);

static void kvm_ioapic_fetch(Ioapic *s)
{
    struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

    kvm_irqchip_read(s->dev.vm, &chip);
    s->id = chip.chip.ioapic.id;
    s->ioregsel = chip.chip.ioapic.ioregsel;
    s->irr = chip.chip.ioapic.irr & (BIT(IOAPIC_PINS) - 1);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        s->ioredtbl[n] = chip.chip.ioapic.redirtbl[n].bits & (RED_WRITABLE | RED_READ_ONLY);
    }
}

static void kvm_ioapic_sync(Device *dev)
{
    Ioapic *s = DEVICE_CAST(Ioapic, dev);
    struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

    chip.chip.ioapic.base_address = IOAPIC_DEFAULT_ADDRESS;
    chip.chip.ioapic.id = s->id;
    chip.chip.ioapic.ioregsel = s->ioregsel;
    chip.chip.ioapic.irr = s->irr;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        chip.chip.ioapic.redirtbl[n].bits = s->ioredtbl[n];
    }
    kvm_irqchip_write(dev->vm, &chip);
}

static void kvm_ioapic_init(Object *obj)
{
    DEVICE_CAST(Ioapic, obj)->refresh = kvm_ioapic_fetch;
}

static void kvm_ioapic_pre_save(void *obj)
{
    kvm_ioapic_fetch(obj);
}

/* The lines are the router's business: nothing is connected here. */
static void kvm_ioapic_set_input(Device *dev, unsigned n, bool level)
{
    kvm_ioapic_fetch(DEVICE_CAST(Ioapic, dev));
}

DEVICE_TYPE(kvm_ioapic, .name = "kvm-ioapic", .parent = "ioapic", .size = sizeof(Ioapic),
            .inputs = IOAPIC_PINS, .set_input = kvm_ioapic_set_input, .init = kvm_ioapic_init,
            .vmstate = VMSTATE("ioapic", 3, 1, ioapic_fields, .pre_save = kvm_ioapic_pre_save,
                               .post_load = ioapic_post_load),
            .sync = kvm_ioapic_sync);
