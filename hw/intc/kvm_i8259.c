/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259As in the kernel ("kvm-i8259"): KVM answers the guest's port accesses and has the
 * lines; this device is how the rest of the machine sees, resets, saves and loads them.
 * Its fields are a copy: fetched before they are looked at, and stored by sync(), which the core
 * calls after each change of them (access from software, reset, load).
 * Locking: machine lock.
 */
#include "accel/kvm/irqchip.h"
#include "hw/intc/i8259_int.h"
#include "vm/vm.h"

#define PIC_FIELDS(F)                                                                      \
    F(last_irr) F(irr) F(imr) F(isr) F(priority_add) F(irq_base) F(read_reg_select) F(poll) \
    F(special_mask) F(init_state) F(auto_eoi) F(rotate_on_auto_eoi)                        \
    F(special_fully_nested_mode) F(init4) F(elcr) F(elcr_mask)

static struct kvm_irqchip chip_of(const I8259 *s)
{
    return (struct kvm_irqchip){
        .chip_id = s->master ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE };
}

static void kvm_i8259_fetch(I8259 *s)
{
    struct kvm_irqchip chip = chip_of(s);
    const struct kvm_pic_state *k = &chip.chip.pic;

    kvm_irqchip_read(s->isa.dev.vm, &chip);
#define FETCH(f) s->f = k->f;
    PIC_FIELDS(FETCH)
#undef FETCH
    s->priority_add &= 7;
    s->init_state &= 3;
}

static void kvm_i8259_sync(Device *dev)
{
    I8259 *s = DEVICE_CAST(I8259, dev);
    struct kvm_irqchip chip = chip_of(s);
    struct kvm_pic_state *k = &chip.chip.pic;

#define STORE(f) k->f = s->f;
    PIC_FIELDS(STORE)
#undef STORE
    kvm_irqchip_write(dev->vm, &chip);
}

static void kvm_i8259_init(Object *obj)
{
    DEVICE_CAST(I8259, obj)->refresh = kvm_i8259_fetch;
}

static void kvm_i8259_pre_save(void *obj)
{
    kvm_i8259_fetch(obj);
}

/* The lines are the router's business: nothing is connected here. */
static void kvm_i8259_set_input(Device *dev, unsigned n, bool level)
{
    kvm_i8259_fetch(DEVICE_CAST(I8259, dev));
}

DEVICE_TYPE(kvm_i8259, .name = "kvm-i8259", .parent = "isa-i8259", .size = sizeof(I8259),
            .inputs = 8, .set_input = kvm_i8259_set_input, .init = kvm_i8259_init,
            .vmstate = VMSTATE("i8259", 1, 1, i8259_fields, .pre_save = kvm_i8259_pre_save,
                               .post_load = i8259_post_load),
            .sync = kvm_i8259_sync);
