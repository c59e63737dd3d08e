/* SPDX-License-Identifier: MIT */
/*
 * A local APIC in the kernel ("kvm-apic"): KVM has registers, timer and delivery; this device is how
 * the rest of the machine sees, resets, saves and loads it.  Its fields are a copy, as in
 * kvm_i8259.c; a change reaches KVM before the CPU next runs.
 * Spec: [SDM3A table 11-1] for the register page.
 * Missing: EOIs and error interrupts that software on our side causes (an instruction that KVM gave
 * up on) stay in the APIC itself: they do not reach the I/O APIC.
 * Locking: machine lock; on the CPU's thread, or with the CPU at a safe point.
 */
#include "accel/kvm/irqchip.h"
#include "hw/intc/apic_int.h"
#include "vm/vm.h"

enum { PAGE_ID = 0x20, PAGE_VERSION = 0x30, PAGE_TPR = 0x80, PAGE_LDR = 0xd0, PAGE_DFR = 0xe0,
       PAGE_SVR = 0xf0, PAGE_ISR = 0x100, PAGE_TMR = 0x180, PAGE_IRR = 0x200, PAGE_ESR = 0x280,
       PAGE_ICR = 0x300, PAGE_ICR2 = 0x310, PAGE_LVT = 0x320, PAGE_INITIAL = 0x380,
       PAGE_CURRENT = 0x390, PAGE_DIVIDE = 0x3e0, STEP = 0x10 };

static uint32_t get(const struct kvm_lapic_state *page, unsigned at)
{
    return le32_load(page->regs + at);
}

static void put(struct kvm_lapic_state *page, unsigned at, uint32_t value)
{
    le32_store(page->regs + at, value);
}

static void kvm_apic_fetch(Apic *apic)
{
    struct kvm_lapic_state page;
    uint32_t left;
    unsigned code;

    kvm_lapic_read(apic->cpu, &page);
    apic->id = get(&page, PAGE_ID) >> 24;
    apic->tpr = get(&page, PAGE_TPR);
    apic->arb_id = apic->id;
    apic->log_dest = get(&page, PAGE_LDR) >> 24;
    apic->dest_mode = get(&page, PAGE_DFR) >> 28;
    apic->spurious_vec = get(&page, PAGE_SVR);
    for (unsigned i = 0; i < 8; i++) {
        apic->isr[i] = get(&page, PAGE_ISR + STEP * i);
        apic->tmr[i] = get(&page, PAGE_TMR + STEP * i);
        apic->irr[i] = get(&page, PAGE_IRR + STEP * i);
    }
    apic->esr = get(&page, PAGE_ESR);
    apic->icr[0] = get(&page, PAGE_ICR);
    apic->icr[1] = get(&page, PAGE_ICR2);
    for (unsigned i = 0; i < LVTS; i++) {
        apic->lvt[i] = get(&page, PAGE_LVT + STEP * i);
    }
    apic->divide_conf = get(&page, PAGE_DIVIDE) & 0xb;
    code = (apic->divide_conf & 3) | (apic->divide_conf >> 1 & 4);
    apic->count_shift = code == 7 ? 0 : code + 1;
    apic->initial_count = get(&page, PAGE_INITIAL);
    left = MIN(get(&page, PAGE_CURRENT), apic->initial_count);
    apic->initial_count_load_time = clock_now(apic->dev.vm->clock) -
                                    ((int64_t)(apic->initial_count - left) << apic->count_shift);
    apic->next_time = clock_now(apic->dev.vm->clock) + ((int64_t)left << apic->count_shift);
    apic->timer_expiry = left ? apic->next_time : -1;
}

static void kvm_apic_store(Apic *apic)
{
    struct kvm_lapic_state page = { 0 };

    put(&page, PAGE_ID, (uint32_t)apic->id << 24);
    put(&page, PAGE_VERSION, apic->version | (LVTS - 1) << 16);
    put(&page, PAGE_TPR, apic->tpr);
    put(&page, PAGE_LDR, (uint32_t)apic->log_dest << 24);
    put(&page, PAGE_DFR, (uint32_t)apic->dest_mode << 28 | 0x0fffffff);
    put(&page, PAGE_SVR, apic->spurious_vec);
    for (unsigned i = 0; i < 8; i++) {
        put(&page, PAGE_ISR + STEP * i, apic->isr[i]);
        put(&page, PAGE_TMR + STEP * i, apic->tmr[i]);
        put(&page, PAGE_IRR + STEP * i, apic->irr[i]);
    }
    put(&page, PAGE_ESR, apic->esr);
    put(&page, PAGE_ICR, apic->icr[0]);
    put(&page, PAGE_ICR2, apic->icr[1]);
    for (unsigned i = 0; i < LVTS; i++) {
        put(&page, PAGE_LVT + STEP * i, apic->lvt[i]);
    }
    put(&page, PAGE_DIVIDE, apic->divide_conf);
    put(&page, PAGE_INITIAL, apic->initial_count);
    put(&page, PAGE_CURRENT, apic_timer_current(apic));
    kvm_lapic_write(apic->cpu, &page);
}

const ApicKernelOps kvm_apic_ops = { "kvm-apic", kvm_apic_fetch, kvm_apic_store, kvm_send_msi };

static void kvm_apic_sync(Device *dev)
{
    kvm_apic_store(DEVICE_CAST(Apic, dev));
}

static void kvm_apic_pre_save(void *obj)
{
    kvm_apic_fetch(obj);
    apic_pre_save(obj);
}

static bool kvm_apic_post_load(void *obj, int version, GError **error)
{
    if (!apic_post_load(obj, version, error)) {
        return false;
    }
    timer_cancel(&((Apic *)obj)->timer);        /* the kernel's runs */
    return true;
}

DEVICE_TYPE(kvm_apic, .name = "kvm-apic", .parent = "apic", .size = sizeof(Apic),
            .vmstate = VMSTATE("apic", 3, 3, apic_fields, .subsections = apic_subsections,
                               .pre_save = kvm_apic_pre_save, .pre_load = apic_pre_load,
                               .post_load = kvm_apic_post_load),
            .sync = kvm_apic_sync);
