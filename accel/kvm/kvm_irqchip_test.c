/* SPDX-License-Identifier: MIT */
/*
 * KVM's own interrupt controllers: lines, messages, irqfds, start-up of a second CPU, and 8259
 * interrupts of ours with kernel-irqchip=split.  Skipped, with the reason, without /dev/kvm.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "accel/kvm/kvm_bench.h"
#include "target-x86/mmu.h"

enum { LINE = 5, LINE_VECTOR = 0x25, MSI_VECTOR = 0x30, HANDLER = 0x2000, LAPIC_SVR = 0xf0 };
#define MSI_ADDRESS 0xfee00000u

/* "ready" to PORT; sti; hlt; al = 7 */
static const uint8_t wait_for_it[] = { 0xe6, PORT, 0xfb, 0xf4, 0xb0, 0x07 };

static void set_handler(Rig *rig, unsigned vector)
{
    static const uint8_t handler[] = { 0xe6, PORT, 0xcf };                  /* out; iret */

    memcpy(rig->bytes + HANDLER, handler, sizeof(handler));
    le32_store(rig->bytes + vector * 4, HANDLER);
}

static bool said_ready(Rig *rig)
{
    return rig->out->len == 1;
}

static void enable_apic(X86CpuDevice *dev)
{
    struct kvm_lapic_state regs;

    kvm_lapic_read(&dev->cpu, &regs);
    le32_store(regs.regs + LAPIC_SVR, 0x1ff);
    kvm_lapic_write(&dev->cpu, &regs);
}

static void test_line_wakes_a_halted_guest(void)
{
    static const uint8_t code[] = { 0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x04,
                                    0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xdf, 0xe6, 0x21,
                                    0xe6, PORT, 0xfb, 0xf4, 0xb0, 0x07 };
    struct kvm_irqchip master = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
    Rig rig;

    if (!rig_init(&rig, "on")) {
        return;
    }
    g_assert_cmpint(kvm_irqchip_mode(rig.vm), ==, KVM_IRQCHIP_ON);
    rig_load(&rig, code, sizeof(code));
    set_handler(&rig, LINE_VECTOR);
    rig_run_until(&rig, said_ready);
    kvm_irq_line(rig.vm, LINE, true);
    rig_run(&rig);
    g_assert_cmpuint(rig.out->len, ==, 2);
    g_assert_cmphex(rig.end_value, ==, 7);
    kvm_irqchip_read(rig.vm, &master);
    g_assert_cmphex(master.chip.pic.irq_base, ==, 0x20);
    g_assert_cmphex(master.chip.pic.imr, ==, 0xdf);
    g_assert_cmphex(master.chip.pic.isr, ==, BIT(LINE));
    rig_clear(&rig);
}

static void test_halt_shows_at_a_safe_point(void)
{
    static const uint8_t code[] = { 0xe6, PORT, 0xfa, 0xf4 };               /* out; cli; hlt */
    Rig rig;

    if (!rig_init(&rig, "on")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    rig_run_until(&rig, said_ready);
    while (!rig.x86->halted) {
        vm_stop(rig.vm, RUN_STATE_PAUSED);
        vm_start(rig.vm);
    }
    vm_stop(rig.vm, RUN_STATE_PAUSED);
    g_assert_cmphex(rig.x86->rip, ==, CODE + 4);
    g_assert_false(rig.ended);
    rig_clear(&rig);
}

static void test_message_arrives(gconstpointer irqchip)
{
    Rig rig;

    if (!rig_init(&rig, irqchip)) {
        return;
    }
    rig_load(&rig, wait_for_it, sizeof(wait_for_it));
    set_handler(&rig, MSI_VECTOR);
    enable_apic(rig.dev);
    rig_run_until(&rig, said_ready);
    kvm_send_msi(rig.vm, MSI_ADDRESS, MSI_VECTOR);
    rig_run(&rig);
    g_assert_cmpuint(rig.out->len, ==, 2);
    g_assert_cmphex(rig.end_value, ==, 7);
    rig_clear(&rig);
}

static void test_irqfd_arrives(void)
{
    g_autoptr(GError) error = NULL;
    uint64_t one = 1;
    int fd = eventfd(0, EFD_CLOEXEC), gsi, other;
    bool ok;
    Rig rig;

    if (!rig_init(&rig, "on")) {
        close(fd);
        return;
    }
    rig_load(&rig, wait_for_it, sizeof(wait_for_it));
    set_handler(&rig, MSI_VECTOR);
    enable_apic(rig.dev);
    gsi = kvm_msi_route_add(rig.vm, MSI_ADDRESS, MSI_VECTOR + 1, &error);
    g_assert_no_error(error);
    other = kvm_msi_route_add(rig.vm, MSI_ADDRESS, MSI_VECTOR + 2, &error);
    g_assert_no_error(error);
    g_assert_cmpint(gsi, >=, KVM_IOAPIC_PINS);
    g_assert_cmpint(gsi, !=, other);
    kvm_msi_route_update(rig.vm, gsi, MSI_ADDRESS, MSI_VECTOR);
    ok = kvm_irqfd_attach(rig.vm, gsi, fd, -1, &error);
    g_assert_no_error(error);
    g_assert_true(ok);
    rig_run_until(&rig, said_ready);
    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
    rig_run(&rig);
    g_assert_cmpuint(rig.out->len, ==, 2);
    kvm_irqfd_detach(rig.vm, gsi, fd);
    kvm_msi_route_remove(rig.vm, gsi);
    g_assert_cmpint(kvm_msi_route_add(rig.vm, MSI_ADDRESS, MSI_VECTOR, NULL), ==, gsi);
    close(fd);
    rig_clear(&rig);
}

static void test_second_cpu_starts_by_messages(void)
{
    static const uint8_t spin[] = { 0xeb, 0xfe };
    static const uint8_t start[] = { 0x8c, 0xc8, 0xe6, PORT_END, 0xeb, 0xfe };   /* ax = cs; out */
    X86CpuDevice *second;
    Rig rig;

    if (!rig_init(&rig, "on")) {
        return;
    }
    second = rig_add_cpu(&rig, 1);
    g_assert_true(second->x86->wait_sipi);
    enable_apic(second);
    rig_load(&rig, spin, sizeof(spin));
    memcpy(rig.bytes + 0x5000, start, sizeof(start));
    vm_start(rig.vm);
    vm_stop(rig.vm, RUN_STATE_PAUSED);
    g_assert_true(second->x86->wait_sipi);
    vm_start(rig.vm);
    kvm_send_msi(rig.vm, MSI_ADDRESS | 1 << 12, 5 << 8 | BIT(14));      /* INIT */
    kvm_send_msi(rig.vm, MSI_ADDRESS | 1 << 12, 6 << 8 | 5);            /* SIPI */
    rig_run(&rig);
    g_assert_cmphex(second->x86->segs[SEG_CS].sel, ==, 0x500);
    g_assert_false(second->x86->wait_sipi);
    rig_remove_cpu(second);
    rig_clear(&rig);
}

/* The APIC is KVM's, the 8259 is ours: its interrupt waits for the window all the same. */
static void test_split_takes_interrupts_of_ours(void)
{
    static const uint8_t code[] = { 0x30, 0xdb, 0xb0, 0x01, 0xe6, PORT, 0xfb,
                                    0x84, 0xdb, 0x74, 0xfc, 0xb0, 0x03 };
    static const uint8_t handler[] = { 0xb0, 0x02, 0xe6, PORT, 0xb3, 0x01, 0xcf };
    Rig rig;

    if (!rig_init(&rig, "split")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    memcpy(rig.bytes + HANDLER, handler, sizeof(handler));
    le32_store(rig.bytes + VECTOR * 4, HANDLER);
    x86_cpu_request(rig.x86, X86_REQ_INTR);     /* pending from the start, IF = 0 */
    rig_run(&rig);
    g_assert_cmpmem(rig.out->data, rig.out->len, "\1\2", 2);
    rig_clear(&rig);
}

static void test_local_apic_keeps_its_state(void)
{
    static const uint8_t code[] = { 0x90 };
    struct kvm_lapic_state regs;
    Rig rig;

    if (!rig_init(&rig, "on")) {
        return;
    }
    rig_load(&rig, code, sizeof(code));
    kvm_lapic_read(&rig.dev->cpu, &regs);
    le32_store(regs.regs + LAPIC_SVR, 0x1f0);
    le32_store(regs.regs + 0x80, 0x20);          /* TPR */
    le32_store(regs.regs + 0x360, 0x10400);      /* LINT1: NMI, masked */
    kvm_lapic_write(&rig.dev->cpu, &regs);
    memset(&regs, 0, sizeof(regs));
    kvm_lapic_read(&rig.dev->cpu, &regs);        /* on its way */
    g_assert_cmphex(le32_load(regs.regs + LAPIC_SVR), ==, 0x1f0);
    rig_run(&rig);
    memset(&regs, 0, sizeof(regs));
    kvm_lapic_read(&rig.dev->cpu, &regs);        /* in KVM */
    g_assert_cmphex(le32_load(regs.regs + LAPIC_SVR), ==, 0x1f0);
    g_assert_cmphex(le32_load(regs.regs + 0x80), ==, 0x20);
    g_assert_cmphex(le32_load(regs.regs + 0x360), ==, 0x10400);
    rig_clear(&rig);
}

static void test_property_takes_three_words(void)
{
    g_autoptr(Object) obj = object_new_known(type_find("kvm-accel"));
    g_autoptr(GError) error = NULL;

    g_assert_true(object_set_text(obj, "kernel-irqchip", "split", NULL));
    g_assert_true(object_set_text(obj, "kernel-irqchip", "off", NULL));
    g_assert_false(object_set_text(obj, "kernel-irqchip", "maybe", &error));
    g_assert_nonnull(strstr(error->message, "'split'"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    x86_cpu_register_types();
    g_test_add_func("/kvm/irqchip/line-wakes-a-halted-guest", test_line_wakes_a_halted_guest);
    g_test_add_func("/kvm/irqchip/halt-shows-at-a-safe-point", test_halt_shows_at_a_safe_point);
    g_test_add_data_func("/kvm/irqchip/message-arrives/on", "on", test_message_arrives);
    g_test_add_data_func("/kvm/irqchip/message-arrives/split", "split", test_message_arrives);
    g_test_add_func("/kvm/irqchip/irqfd-arrives", test_irqfd_arrives);
    g_test_add_func("/kvm/irqchip/second-cpu", test_second_cpu_starts_by_messages);
    g_test_add_func("/kvm/irqchip/split-8259", test_split_takes_interrupts_of_ours);
    g_test_add_func("/kvm/irqchip/local-apic-state", test_local_apic_keeps_its_state);
    g_test_add_func("/kvm/irqchip/property", test_property_takes_three_words);
    return g_test_run();
}
