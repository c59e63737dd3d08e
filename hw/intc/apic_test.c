/* SPDX-License-Identifier: MIT */
/* Local APICs and the I/O APIC, with CPUs that only remember what they were told. */
#include "hw/intc/apic.h"
#include "hw/intc/ioapic.h"

enum { CPUS = 3 };

typedef struct FakeCpu {
    Cpu cpu;
    bool intr;
    unsigned nmis, inits, sipis;
    uint8_t sipi_vector;
} FakeCpu;

static const CpuClass fake_cpu_type = {
    .dev = { .name = "fake-cpu", .size = sizeof(FakeCpu) },
};
TYPE_ROW(fake_cpu, &fake_cpu_type, "device");

static FakeCpu *fake(Cpu *cpu)
{
    return (FakeCpu *)(void *)cpu;
}

static void set_intr(Cpu *cpu, bool pending)
{
    __atomic_store_n(&fake(cpu)->intr, pending, __ATOMIC_SEQ_CST);
}

static void nmi(Cpu *cpu)
{
    fake(cpu)->nmis++;
}

static void smi(Cpu *cpu)
{
}

static void init(Cpu *cpu)
{
    fake(cpu)->inits++;
}

static void sipi(Cpu *cpu, uint8_t vector)
{
    fake(cpu)->sipis++;
    fake(cpu)->sipi_vector = vector;
}

static int64_t deadline_ns(Cpu *cpu, uint64_t tsc)
{
    return tsc / 2;               /* a 2 GHz TSC */
}

static const ApicCpuOps ops = { set_intr, nmi, smi, init, sipi, deadline_ns };

typedef struct Fixture {
    Vm *vm;
    ApicBus bus;
    Device *cpus[CPUS];
    Apic *apics[CPUS];
    Device *ioapic;
    IrqLine pins[IOAPIC_PINS];
} Fixture;

static void send_msi(void *opaque, uint64_t address, uint32_t data)
{
    apic_bus_send_msi(opaque, address, data);
}

static void broadcast_eoi(void *opaque, uint8_t vector)
{
    ioapic_eoi(((Fixture *)opaque)->ioapic, vector);
}

/* All APICs in x2APIC mode, where registers are reached without being a vCPU, and enabled. */
static void set_up(Fixture *f, gconstpointer data)
{
    IoapicOut out = { .send = send_msi, .opaque = &f->bus };
    g_autoptr(GError) error = NULL;

    machine_lock();
    f->vm = vm_new();
    clock_make_fake(f->vm->clock);
    clock_start(f->vm->clock);
    f->vm->state = RUN_STATE_RUNNING;
    apic_bus_init(&f->bus, f->vm, NULL);
    apic_bus_set_eoi_hook(&f->bus, broadcast_eoi, f);
    for (unsigned n = 0; n < CPUS; n++) {
        f->cpus[n] = device_new(f->vm, "fake-cpu", &error);
        g_assert_no_error(error);
        fake((Cpu *)(void *)f->cpus[n])->cpu.index = n;
        f->apics[n] = apic_new(&f->bus, (Cpu *)(void *)f->cpus[n], n, &ops, &error);
        g_assert_no_error(error);
        device_reset(apic_device(f->apics[n]));
        g_assert_true(apic_set_base(f->apics[n], 0xfee00000 | APIC_BASE_ENABLE | APIC_BASE_X2APIC));
        g_assert_true(apic_msr_write(f->apics[n], 0x80f, 0x1ff));
    }
    f->ioapic = ioapic_new(f->vm, false, &out, &error);
    g_assert_no_error(error);
    device_reset(f->ioapic);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        irq_connect(&f->pins[n], device_input(f->ioapic, n));
    }
}

static void tear_down(Fixture *f, gconstpointer data)
{
    apic_bus_clear(&f->bus);
    device_unplug(f->ioapic);
    for (unsigned n = 0; n < CPUS; n++) {
        object_unref(OBJECT(f->cpus[n]));
    }
    vm_free(f->vm);
    machine_unlock();
}

static FakeCpu *cpu(Fixture *f, unsigned n)
{
    return (FakeCpu *)(void *)f->cpus[n];
}

static uint64_t rdmsr(Fixture *f, unsigned n, uint32_t msr)
{
    uint64_t value = 0;

    g_assert_true(apic_msr_read(f->apics[n], msr, &value));
    return value;
}

static void wrmsr(Fixture *f, unsigned n, uint32_t msr, uint64_t value)
{
    g_assert_true(apic_msr_write(f->apics[n], msr, value));
}

static void redirect(Fixture *f, unsigned pin, uint64_t entry)
{
    address_space_store(&f->vm->memory, 0xfec00000, 0x11 + 2 * pin, 4);
    address_space_store(&f->vm->memory, 0xfec00010, entry >> 32, 4);
    address_space_store(&f->vm->memory, 0xfec00000, 0x10 + 2 * pin, 4);
    address_space_store(&f->vm->memory, 0xfec00010, (uint32_t)entry, 4);
}

static uint32_t redirection_low(Fixture *f, unsigned pin)
{
    address_space_store(&f->vm->memory, 0xfec00000, 0x10 + 2 * pin, 4);
    return address_space_load(&f->vm->memory, 0xfec00010, 4);
}

static void test_higher_vector_first_and_eoi(Fixture *f, gconstpointer data)
{
    wrmsr(f, 0, 0x83f, 0x41);
    wrmsr(f, 0, 0x83f, 0x82);
    g_assert_true(cpu(f, 0)->intr);
    g_assert_cmphex(apic_get_interrupt(f->apics[0]), ==, 0x82);
    g_assert_false(cpu(f, 0)->intr);
    g_assert_cmpint(apic_get_interrupt(f->apics[0]), ==, -1);
    wrmsr(f, 0, 0x80b, 0);
    g_assert_true(cpu(f, 0)->intr);
    g_assert_cmphex(apic_get_interrupt(f->apics[0]), ==, 0x41);
}

static void test_tpr_holds_back(Fixture *f, gconstpointer data)
{
    apic_set_cr8(f->apics[0], 5);
    wrmsr(f, 0, 0x83f, 0x55);
    g_assert_false(cpu(f, 0)->intr);
    apic_set_cr8(f->apics[0], 4);
    g_assert_true(cpu(f, 0)->intr);
    g_assert_cmphex(rdmsr(f, 0, 0x80a), ==, 0x40);
}

static void test_init_and_sipi_reach_the_others(Fixture *f, gconstpointer data)
{
    wrmsr(f, 0, 0x830, 0xc4500);
    wrmsr(f, 0, 0x830, 0xc4699);
    g_assert_cmpuint(cpu(f, 0)->inits, ==, 0);
    g_assert_cmpuint(cpu(f, 1)->inits, ==, 1);
    g_assert_cmpuint(cpu(f, 2)->sipis, ==, 1);
    g_assert_cmphex(cpu(f, 2)->sipi_vector, ==, 0x99);
    wrmsr(f, 0, 0x830, (1ull << 32) | 0x400);
    g_assert_cmpuint(cpu(f, 1)->nmis, ==, 1);
    g_assert_cmpuint(cpu(f, 2)->nmis, ==, 0);
}

static void test_logical_x2apic_destination(Fixture *f, gconstpointer data)
{
    wrmsr(f, 0, 0x830, (0x6ull << 32) | 0x850);
    g_assert_false(cpu(f, 0)->intr);
    g_assert_true(cpu(f, 1)->intr);
    g_assert_true(cpu(f, 2)->intr);
}

static void test_lowest_priority_takes_one(Fixture *f, gconstpointer data)
{
    apic_set_cr8(f->apics[0], 3);
    apic_set_cr8(f->apics[1], 1);
    apic_set_cr8(f->apics[2], 2);
    wrmsr(f, 0, 0x830, (0x7ull << 32) | 0x960);
    g_assert_false(cpu(f, 0)->intr);
    g_assert_true(cpu(f, 1)->intr);
    g_assert_false(cpu(f, 2)->intr);
}

static void test_msi_by_memory_write(Fixture *f, gconstpointer data)
{
    address_space_store(&f->vm->memory, 0xfee02000, 0x4077, 4);
    g_assert_cmphex(apic_get_interrupt(f->apics[2]), ==, 0x77);
}

static void test_one_shot_and_periodic_timer(Fixture *f, gconstpointer data)
{
    unsigned ticks = 0;

    wrmsr(f, 0, 0x83e, 0xb);              /* divide by 1 */
    wrmsr(f, 0, 0x832, 0x40);
    wrmsr(f, 0, 0x838, 1000000);
    clock_fake_advance(f->vm->clock, 400000);
    g_assert_cmpuint(rdmsr(f, 0, 0x839), ==, 600000);
    clock_fake_advance(f->vm->clock, 600000);
    g_assert_cmphex(apic_get_interrupt(f->apics[0]), ==, 0x40);
    wrmsr(f, 0, 0x80b, 0);
    clock_fake_advance(f->vm->clock, 5000000);
    g_assert_false(cpu(f, 0)->intr);

    wrmsr(f, 0, 0x832, 0x20041);
    wrmsr(f, 0, 0x838, 1000000);
    for (unsigned i = 0; i < 10; i++) {
        clock_fake_advance(f->vm->clock, 1000000);
        ticks += apic_get_interrupt(f->apics[0]) == 0x41;
        wrmsr(f, 0, 0x80b, 0);
    }
    g_assert_cmpuint(ticks, ==, 10);
}

/* Time goes on with each look at it, as for a thread that loses its processor in between. */
static int64_t creeping_now(void *opaque)
{
    return *(int64_t *)opaque += 1000;
}

static const ClockSourceOps creeping = { .now = creeping_now };

/* A count that is over before the timer is set up, or that is over and has not fired when another
 * register is written, fires all the same: nothing else would ever wake a sleeping guest. */
static void test_late_one_shot_fires(Fixture *f, gconstpointer data)
{
    int64_t time = 1000000;

    clock_stop(f->vm->clock);
    clock_set_source(f->vm->clock, &creeping, &time);
    clock_start(f->vm->clock);
    wrmsr(f, 0, 0x83e, 0xb);
    wrmsr(f, 0, 0x832, 0x40);
    wrmsr(f, 0, 0x838, 500);
    clock_run(f->vm->clock);
    g_assert_cmphex(apic_get_interrupt(f->apics[0]), ==, 0x40);
    wrmsr(f, 0, 0x80b, 0);

    wrmsr(f, 0, 0x838, 50000);
    time += 1000000;
    wrmsr(f, 0, 0x832, 0x41);
    wrmsr(f, 0, 0x83e, 0x0);
    clock_run(f->vm->clock);
    g_assert_cmphex(apic_get_interrupt(f->apics[0]), ==, 0x41);
    wrmsr(f, 0, 0x80b, 0);

    /* Once. */
    wrmsr(f, 0, 0x832, 0x42);
    time += 1000000;
    clock_run(f->vm->clock);
    g_assert_false(cpu(f, 0)->intr);
    clock_stop(f->vm->clock);
    clock_set_source(f->vm->clock, NULL, NULL);
    clock_start(f->vm->clock);
}

static void test_tsc_deadline(Fixture *f, gconstpointer data)
{
    wrmsr(f, 0, 0x832, 0x40042);
    apic_set_tsc_deadline(f->apics[0], 2000000);
    clock_fake_advance(f->vm->clock, 999999);
    g_assert_false(cpu(f, 0)->intr);
    g_assert_cmpuint(apic_tsc_deadline(f->apics[0]), ==, 2000000);
    clock_fake_advance(f->vm->clock, 1);
    g_assert_cmphex(apic_get_interrupt(f->apics[0]), ==, 0x42);
    g_assert_cmpuint(apic_tsc_deadline(f->apics[0]), ==, 0);
}

static void test_bad_vector_sets_esr(Fixture *f, gconstpointer data)
{
    wrmsr(f, 0, 0x830, 0x40005);
    g_assert_cmphex(rdmsr(f, 0, 0x828), ==, 0);
    wrmsr(f, 0, 0x828, 0);
    g_assert_cmphex(rdmsr(f, 0, 0x828), ==, 0x20);
}

static void test_base_transitions(Fixture *f, gconstpointer data)
{
    g_assert_false(apic_set_base(f->apics[0], 0xfee00000 | APIC_BASE_ENABLE));
    g_assert_false(apic_set_base(f->apics[0], 0xfee00000 | APIC_BASE_X2APIC));
    g_assert_true(apic_set_base(f->apics[0], 0xfee00000));
    g_assert_false(apic_set_base(f->apics[0], 0xfee00000 | APIC_BASE_X2APIC | APIC_BASE_ENABLE));
    g_assert_true(apic_set_base(f->apics[0], 0xfee00000 | APIC_BASE_ENABLE));
    g_assert_cmphex(apic_base(f->apics[0]), ==, 0xfee00000 | APIC_BASE_ENABLE | APIC_BASE_BSP);
}

static void test_reserved_msrs_fault(Fixture *f, gconstpointer data)
{
    uint64_t value;

    g_assert_false(apic_msr_read(f->apics[0], 0x80e, &value));
    g_assert_false(apic_msr_write(f->apics[0], 0x802, 1));
    g_assert_false(apic_msr_write(f->apics[0], 0x80b, 1));
    g_assert_false(apic_msr_write(f->apics[0], 0x8ff, 0));
}

static void test_ioapic_edge(Fixture *f, gconstpointer data)
{
    redirect(f, 4, 0x0200000000000034ull);
    irq_raise(&f->pins[4]);
    g_assert_cmphex(apic_get_interrupt(f->apics[2]), ==, 0x34);
    wrmsr(f, 2, 0x80b, 0);
    g_assert_false(cpu(f, 2)->intr);
    irq_lower(&f->pins[4]);
    irq_raise(&f->pins[4]);
    g_assert_true(cpu(f, 2)->intr);
}

static void test_ioapic_level_comes_again_after_eoi(Fixture *f, gconstpointer data)
{
    redirect(f, 10, 0x0100000000008055ull);
    irq_raise(&f->pins[10]);
    g_assert_cmphex(redirection_low(f, 10) & 0x4000, ==, 0x4000);
    g_assert_cmphex(apic_get_interrupt(f->apics[1]), ==, 0x55);
    wrmsr(f, 1, 0x80b, 0);
    g_assert_cmphex(apic_get_interrupt(f->apics[1]), ==, 0x55);
    irq_lower(&f->pins[10]);
    wrmsr(f, 1, 0x80b, 0);
    g_assert_false(cpu(f, 1)->intr);
    g_assert_cmphex(redirection_low(f, 10) & 0x4000, ==, 0);
}

static void test_ioapic_masked_level_waits(Fixture *f, gconstpointer data)
{
    redirect(f, 11, 0x0000000000018066ull);
    irq_raise(&f->pins[11]);
    g_assert_false(cpu(f, 0)->intr);
    redirect(f, 11, 0x0000000000008066ull);
    g_assert_true(cpu(f, 0)->intr);
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    VmWriter *w = vm_writer_new();
    g_autoptr(GError) error = NULL;
    const uint8_t *bytes;
    VmReader *r;
    size_t len;

    wrmsr(f, 1, 0x83f, 0x88);
    wrmsr(f, 1, 0x83e, 0xb);
    wrmsr(f, 1, 0x832, 0x20041);
    wrmsr(f, 1, 0x838, 1000000);
    g_assert_true(vm_save_devices(f->vm, w, &error));
    device_reset(apic_device(f->apics[1]));
    bytes = vm_writer_bytes(w, &len);
    r = vm_reader_new(bytes, len);
    g_assert_true(vm_load_devices(f->vm, r, &error));
    g_assert_cmphex(apic_get_interrupt(f->apics[1]), ==, 0x88);
    clock_fake_advance(f->vm->clock, 1000000);
    g_assert_cmphex(rdmsr(f, 1, 0x822), ==, 2);
    vm_reader_free(r);
    vm_writer_free(w);
}

/* ---- CPUs on threads of their own ---- */

enum { BALLS = 6, THROWS = 3000, MESSAGES = 200 };

typedef struct Player {
    Fixture *f;
    unsigned cpu;
    unsigned throws, messages;    /* so far; others look */
    bool over;
} Player;

/* Balls are vectors: CPUs 0 and 1 throw them back, and look away (by their TPR) now and then. */
static void *play(void *opaque)
{
    Player *p = opaque;
    Apic *apic = p->f->apics[p->cpu];
    FakeCpu *me = cpu(p->f, p->cpu);

    for (unsigned rounds = 0; !__atomic_load_n(&p->over, __ATOMIC_SEQ_CST); rounds++) {
        int vector;

        if (!__atomic_load_n(&me->intr, __ATOMIC_SEQ_CST)) {
            g_thread_yield();
            continue;
        }
        if (rounds % 8 == 0) {
            apic_set_cr8(apic, 15);
            g_assert_cmpint(apic_get_interrupt(apic), ==, -1);
            apic_set_cr8(apic, 0);
        }
        vector = apic_get_interrupt(apic);
        if (vector >= 0x80) {
            __atomic_add_fetch(&p->messages, 1, __ATOMIC_SEQ_CST);
        } else if (vector >= 0) {
            wrmsr(p->f, p->cpu, 0x830, (uint64_t)!p->cpu << 32 | vector);
            __atomic_add_fetch(&p->throws, 1, __ATOMIC_SEQ_CST);
        }
        if (vector >= 0) {
            wrmsr(p->f, p->cpu, 0x80b, 0);
        }
    }
    return NULL;
}

static void wait_for_count(const unsigned *count, unsigned least)
{
    machine_unlock();
    while (__atomic_load_n(count, __ATOMIC_SEQ_CST) < least) {
        g_thread_yield();
    }
    machine_lock();
}

/* A lost interrupt would stop its ball, or a message would not come: this would not end. */
static void test_none_is_lost_between_threads(Fixture *f, gconstpointer data)
{
    Player players[2] = { { f, 0 }, { f, 1 } };
    GThread *threads[2];

    for (unsigned i = 0; i < BALLS; i++) {
        apic_bus_send_msi(&f->bus, APIC_DEFAULT_ADDRESS | (i & 1) << 12, 0x30 + 8 * i);
    }
    for (unsigned i = 0; i < 2; i++) {
        threads[i] = g_thread_new("player", play, &players[i]);
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        apic_bus_send_msi(&f->bus, APIC_DEFAULT_ADDRESS | (i & 1) << 12, 0x80 + i % 64);
        wait_for_count(&players[i & 1].messages, i / 2 + 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        wait_for_count(&players[i].throws, THROWS);
    }
    machine_unlock();
    for (unsigned i = 0; i < 2; i++) {
        __atomic_store_n(&players[i].over, true, __ATOMIC_SEQ_CST);
        g_thread_join(threads[i]);
    }
    machine_lock();
    /* All balls are somewhere. */
    for (unsigned i = 0; i < BALLS; i++) {
        g_assert_true(apic_bus_waits(&f->bus, 0x30 + 8 * i));
    }
}

static void test_survives_garbage(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = g_test_rand_int_range(0, CPUS);
        uint64_t value = (uint64_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();

        apic_msr_write(f->apics[n], g_test_rand_int_range(0x800, 0x900),
                       g_test_rand_bit() ? value : value & 0x7ffff);
        apic_msr_read(f->apics[n], g_test_rand_int_range(0x800, 0x900), &value);
        redirect(f, g_test_rand_int_range(0, IOAPIC_PINS), value);
        irq_set(&f->pins[g_test_rand_int_range(0, IOAPIC_PINS)], g_test_rand_bit());
        apic_get_interrupt(f->apics[n]);
        clock_fake_advance(f->vm->clock, g_test_rand_int_range(0, 50000));
    }
}

#define ADD(name, fn) g_test_add("/apic/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("priority", test_higher_vector_first_and_eoi);
    ADD("tpr", test_tpr_holds_back);
    ADD("init-sipi", test_init_and_sipi_reach_the_others);
    ADD("logical", test_logical_x2apic_destination);
    ADD("lowest-priority", test_lowest_priority_takes_one);
    ADD("msi", test_msi_by_memory_write);
    ADD("timer", test_one_shot_and_periodic_timer);
    ADD("timer/late", test_late_one_shot_fires);
    ADD("tsc-deadline", test_tsc_deadline);
    ADD("esr", test_bad_vector_sets_esr);
    ADD("base", test_base_transitions);
    ADD("reserved-msrs", test_reserved_msrs_fault);
    ADD("ioapic-edge", test_ioapic_edge);
    ADD("ioapic-level", test_ioapic_level_comes_again_after_eoi);
    ADD("ioapic-masked", test_ioapic_masked_level_waits);
    ADD("save-load", test_state_survives_save_and_load);
    ADD("threads", test_none_is_lost_between_threads);
    ADD("garbage", test_survives_garbage);
    return g_test_run();
}
