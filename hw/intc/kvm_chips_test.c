/* SPDX-License-Identifier: MIT */
/*
 * The devices that stand for KVM's 8259s, I/O APIC and PIT: what software writes to them arrives in the
 * kernel, what the kernel has can be read, and reset, save and load reach it.  Skipped, with the
 * reason, without /dev/kvm.
 */
#include "accel/kvm/irqchip.h"
#include "base/error.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/isa_bench.h"
#include "hw/timer/i8254.h"
#include "vm/accel.h"

typedef struct Rig {
    IsaBench *b;
    Device *pic, *ioapic, *pit;
} Rig;

static bool rig_init(Rig *rig)
{
    const AccelType *type = accel_find("kvm", NULL);
    g_autoptr(GError) error = NULL;
    IrqPin pins[16];
    Accel *accel;

    if (!type->probe(&error)) {
        g_test_skip(error->message);
        return false;
    }
    rig->b = isa_bench_new();
    accel = (Accel *)(void *)object_new_known(type_find("kvm-accel"));
    object_set_str(&accel->obj, "kernel-irqchip", "on");
    accel->vm = rig->b->vm;
    rig->b->vm->accel = accel;
    if (!type->init_vm(accel, rig->b->vm, &error)) {
        g_error("%s", error->message);
    }
    rig->pic = i8259_pair_new(&rig->b->bus, true, isa_bench_pin(rig->b, 20), pins, &error);
    g_assert_no_error(error);
    rig->ioapic = ioapic_new(rig->b->vm, true, &(IoapicOut){ 0 }, &error);
    g_assert_no_error(error);
    rig->pit = i8254_new(&rig->b->bus, true, isa_bench_pin(rig->b, 0), &error);
    g_assert_no_error(error);
    vm_stop(rig->b->vm, RUN_STATE_PAUSED);
    vm_reset(rig->b->vm);
    vm_start(rig->b->vm);
    return true;
}

static void rig_clear(Rig *rig)
{
    Bus *isa = &rig->b->bus.bus;

    device_unplug(rig->ioapic);
    while (isa->devices->len) {
        device_unplug(g_ptr_array_index(isa->devices, isa->devices->len - 1));
    }
    object_unref(OBJECT(rig->b->vm->accel));
    rig->b->vm->accel = NULL;
    isa_bench_free(rig->b);
}

static struct kvm_irqchip kernel_chip(Rig *rig, unsigned id)
{
    struct kvm_irqchip chip = { .chip_id = id };

    kvm_irqchip_read(rig->b->vm, &chip);
    return chip;
}

static void program_pic(Rig *rig)
{
    static const uint8_t icw[] = { 0x30, 0x04, 0x01 };

    isa_out8(rig->b, 0x20, 0x11);
    for (unsigned i = 0; i < ARRAY_LEN(icw); i++) {
        isa_out8(rig->b, 0x21, icw[i]);
    }
    isa_out8(rig->b, 0x21, 0xa5);
    isa_out8(rig->b, 0x4d0, 0x20);
}

static void test_pic(void)
{
    struct kvm_irqchip chip;
    Rig rig;

    if (!rig_init(&rig)) {
        return;
    }
    program_pic(&rig);
    chip = kernel_chip(&rig, KVM_IRQCHIP_PIC_MASTER);
    g_assert_cmphex(chip.chip.pic.irq_base, ==, 0x30);
    g_assert_cmphex(chip.chip.pic.imr, ==, 0xa5);
    g_assert_cmphex(chip.chip.pic.elcr, ==, 0x20);
    kvm_irq_line(rig.b->vm, 1, true);
    g_assert_cmphex(isa_in8(rig.b, 0x20), ==, 0x02);             /* IRR */
    isa_bench_save_load(rig.b);
    chip = kernel_chip(&rig, KVM_IRQCHIP_PIC_MASTER);
    g_assert_cmphex(chip.chip.pic.irq_base, ==, 0x30);
    g_assert_cmphex(chip.chip.pic.imr, ==, 0xa5);
    g_assert_cmphex(chip.chip.pic.irr, ==, 0x02);
    device_reset(rig.pic);
    g_assert_cmphex(kernel_chip(&rig, KVM_IRQCHIP_PIC_MASTER).chip.pic.imr, ==, 0);
    rig_clear(&rig);
}

static void redirect(Rig *rig, unsigned pin, uint64_t entry)
{
    AddressSpace *memory = &rig->b->vm->memory;

    for (unsigned half = 0; half < 2; half++) {
        address_space_store(memory, IOAPIC_DEFAULT_ADDRESS, 0x10 + 2 * pin + half, 4);
        address_space_store(memory, IOAPIC_DEFAULT_ADDRESS + 0x10, (uint32_t)(entry >> (32 * half)), 4);
    }
}

static void test_ioapic(void)
{
    const uint64_t entry = 0x030000000000a941ull;
    Rig rig;

    if (!rig_init(&rig)) {
        return;
    }
    g_assert_cmphex(kernel_chip(&rig, KVM_IRQCHIP_IOAPIC).chip.ioapic.redirtbl[7].bits, ==, 0x10000);
    redirect(&rig, 7, entry);
    g_assert_cmphex(kernel_chip(&rig, KVM_IRQCHIP_IOAPIC).chip.ioapic.redirtbl[7].bits, ==, entry);
    isa_bench_save_load(rig.b);
    g_assert_cmphex(kernel_chip(&rig, KVM_IRQCHIP_IOAPIC).chip.ioapic.redirtbl[7].bits, ==, entry);
    device_reset(rig.ioapic);
    g_assert_cmphex(kernel_chip(&rig, KVM_IRQCHIP_IOAPIC).chip.ioapic.redirtbl[7].bits, ==, 0x10000);
    rig_clear(&rig);
}

static void test_pit(void)
{
    struct kvm_pit_state2 state;
    Rig rig;

    if (!rig_init(&rig)) {
        return;
    }
    isa_out8(rig.b, 0x43, 0xb6);                /* counter 2, both bytes, mode 3 */
    isa_out8(rig.b, 0x42, 0x34);
    isa_out8(rig.b, 0x42, 0x12);
    kvm_pit_read(rig.b->vm, &state);
    g_assert_cmphex(state.channels[2].count, ==, 0x1234);
    g_assert_cmphex(state.channels[2].mode, ==, 3);
    g_assert_cmphex(i8254_count(rig.pit, 2), ==, 0x1234);
    isa_bench_save_load(rig.b);
    kvm_pit_read(rig.b->vm, &state);
    g_assert_cmphex(state.channels[2].count, ==, 0x1234);
    rig_clear(&rig);
}

static void test_pit_stands_with_the_vm(void)
{
    struct kvm_pit_state2 state;
    Rig rig;

    if (!rig_init(&rig)) {
        return;
    }
    vm_stop(rig.b->vm, RUN_STATE_PAUSED);
    i8254_set_gate(rig.pit, 2, true);           /* as a load would change it */
    kvm_pit_read(rig.b->vm, &state);
    g_assert_cmphex(state.channels[2].gate, ==, 0);
    vm_start(rig.b->vm);
    kvm_pit_read(rig.b->vm, &state);
    g_assert_cmphex(state.channels[2].gate, ==, 1);
    rig_clear(&rig);
}

static void test_hpet_takes_the_tick_over(void)
{
    struct kvm_pit_state2 state;
    IrqPin enable;
    Rig rig;

    if (!rig_init(&rig)) {
        return;
    }
    enable = device_input(rig.pit, 0);
    enable.handler(enable.opaque, enable.n, false);
    kvm_pit_read(rig.b->vm, &state);
    g_assert_cmphex(state.flags & KVM_PIT_FLAGS_HPET_LEGACY, ==, KVM_PIT_FLAGS_HPET_LEGACY);
    enable.handler(enable.opaque, enable.n, true);
    kvm_pit_read(rig.b->vm, &state);
    g_assert_cmphex(state.flags & KVM_PIT_FLAGS_HPET_LEGACY, ==, 0);
    rig_clear(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm-chips/pic", test_pic);
    g_test_add_func("/kvm-chips/ioapic", test_ioapic);
    g_test_add_func("/kvm-chips/pit", test_pit);
    g_test_add_func("/kvm-chips/pit-stands-with-the-vm", test_pit_stands_with_the_vm);
    g_test_add_func("/kvm-chips/hpet-takes-the-tick-over", test_hpet_takes_the_tick_over);
    return g_test_run();
}
