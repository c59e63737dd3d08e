/* SPDX-License-Identifier: MIT */
/*
 * CPUs and local APICs of a board, joined: requests one way, TPR, MSRs, FERR# and deadlines the other; A20 and SMI for all.
 */
#include "hw/i386/x86_cpus.h"

#include <string.h>
#include <x86intrin.h>

#include "accel/kvm/irqchip.h"
#include "target-x86/cpu_models.h"
#include "target-x86/msr.h"
#include "target-x86/x86_cpu.h"
#include "vm/accel.h"

/* ---- from the APIC to its CPU ---- */

static void request(Cpu *cpu, uint32_t what)
{
    x86_cpu_request(x86_cpu_device(cpu)->x86, what);
    if (cpu != cpu_current()) {
        cpu_kick(cpu);
    } else {
        x86_cpu_device(cpu)->x86->stop = 1;
    }
}

static void apic_set_intr(Cpu *cpu, bool pending)
{
    X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    if (pending && cpu != cpu_current()) {
        x86_cpu_request(x86, X86_REQ_INTR);
        cpu_wake(cpu);
    } else if (pending) {
        request(cpu, X86_REQ_INTR);
    } else if (atomic_load(&x86->requests) & X86_REQ_INTR) {
        x86_cpu_request_clear(x86, X86_REQ_INTR);
    }
}

static void apic_nmi(Cpu *cpu)
{
    request(cpu, X86_REQ_NMI);
}

static void apic_smi(Cpu *cpu)
{
    request(cpu, X86_REQ_SMI);
}

static void apic_init(Cpu *cpu)
{
    request(cpu, X86_REQ_INIT);
}

static void apic_sipi(Cpu *cpu, uint8_t vector)
{
    x86_cpu_device(cpu)->x86->sipi_vector = vector;
    request(cpu, X86_REQ_SIPI);
}

static int64_t monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NANOSECONDS_PER_SECOND + t.tv_nsec;
}

/* Guest TSC to virtual time: both run at the host's pace, so one pair of readings and the rate,
 * measured since the first CPU was made, place any value. */
static int64_t apic_tsc_deadline_ns(Cpu *cpu, uint64_t tsc)
{
    X86CpuDevice *dev = x86_cpu_device(cpu);
    const X86Cpus *cpus = dev->bus.board_data;
    int64_t now_ns = clock_now(cpu->dev.vm->clock);
    int64_t left = tsc - x86_read_tsc(dev->x86);
    uint64_t ticks = __rdtsc() - cpus->rate_tsc, ns = monotonic_ns() - cpus->rate_ns;

    if (clock_has_source(cpu->dev.vm->clock)) {
        return now_ns + MAX(left, 0);       /* -icount: the TSC is the virtual clock */
    }
    return left <= 0 || !ticks ? now_ns : now_ns + (int64_t)muldiv64(left, ns, ticks);
}

static bool apic_cpu_waits(Cpu *cpu)
{
    return x86_cpu_device(cpu)->x86->wait_sipi;
}

static void apic_loaded(Cpu *cpu, uint64_t base, bool waits)
{
    X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    x86->msrs.apicbase = base;
    if (waits) {
        x86->wait_sipi = true;
        x86->halted = false;
    }
}

static const ApicCpuOps apic_ops = { apic_set_intr, apic_nmi, apic_smi, apic_init, apic_sipi,
                                     apic_tsc_deadline_ns, apic_cpu_waits, apic_loaded };

/* ---- from the CPU to its APIC (X86Bus rows); OPAQUE is the CPU's X86VmBus ---- */

static Apic *apic_of(void *opaque)
{
    return ((X86VmBus *)opaque)->board;
}

static uint64_t bus_tsc(void *opaque)
{
    const X86Cpus *cpus = ((X86VmBus *)opaque)->board_data;

    return cpus->tsc_runs ? __rdtsc() + cpus->tsc_base : cpus->tsc_base;
}

static bool bus_tsc_line(void *opaque, uint64_t *add)
{
    const X86Cpus *cpus = ((X86VmBus *)opaque)->board_data;

    *add = cpus->tsc_base;
    return cpus->tsc_runs;
}

static uint32_t bus_tsc_khz(void *opaque)
{
    const X86Cpus *cpus = ((X86VmBus *)opaque)->board_data;
    uint64_t ticks = __rdtsc() - cpus->rate_tsc, ns = monotonic_ns() - cpus->rate_ns;

    return clock_has_source(cpus->vm->clock) ? 1000000 : ns ? muldiv64(ticks, 1000000, ns) : 0;
}

static int bus_intr_ack(void *opaque, X86Cpu *cpu)
{
    return apic_get_interrupt(apic_of(opaque));
}

static uint64_t bus_cr8_read(void *opaque, X86Cpu *cpu)
{
    return apic_cr8(apic_of(opaque));
}

static void bus_cr8_write(void *opaque, X86Cpu *cpu, uint64_t value)
{
    apic_set_cr8(apic_of(opaque), value);
}

static bool bus_apic_msr_read(void *opaque, X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    Apic *apic = apic_of(opaque);

    switch (msr) {
    case MSR_APICBASE:
        *value = apic_base(apic);
        return true;
    case MSR_TSC_DEADLINE:
        *value = kvm_irqchip_mode(((X86VmBus *)opaque)->vm) == KVM_IRQCHIP_OFF
                     ? apic_tsc_deadline(apic) : cpu->msrs.tsc_deadline;
        return true;
    default:
        return apic_msr_read(apic, msr, value);
    }
}

static bool bus_apic_msr_write(void *opaque, X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    Apic *apic = apic_of(opaque);

    switch (msr) {
    case MSR_APICBASE:
        return apic_set_base(apic, value);
    case MSR_TSC_DEADLINE:
        cpu->msrs.tsc_deadline = value;          /* KVM's APIC: goes there with the registers */
        if (kvm_irqchip_mode(((X86VmBus *)opaque)->vm) == KVM_IRQCHIP_OFF) {
            apic_set_tsc_deadline(apic, value);
        }
        return true;
    default:
        return apic_msr_write(apic, msr, value);
    }
}

static void bus_apic_load_deadline(void *opaque, X86Cpu *cpu, uint64_t value)
{
    apic_load_tsc_deadline(apic_of(opaque), value);
}

static void bus_ferr(void *opaque, X86Cpu *cpu)
{
    X86Cpus *cpus = ((X86VmBus *)opaque)->board_data;
    bool locked = machine_lock_if_needed();

    if (cpus->ferr.handler) {
        cpus->ferr.handler(cpus->ferr.opaque, cpus->ferr.n, true);
    }
    if (locked) {
        machine_unlock();
    }
}

/* ---- A20 and SMI ---- */

static void set_a20(Cpu *cpu, void *opaque)
{
    X86Cpu *x86 = x86_cpu_device(cpu)->x86;

    x86->a20_mask = opaque ? UINT64_MAX : ~(uint64_t)BIT(20);
    x86_cpu_request(x86, X86_REQ_TLB_FLUSH);
    x86->stop = 1;
}

static void a20_changed(void *opaque, unsigned n, bool level)
{
    X86Cpus *cpus = opaque;

    for (unsigned i = 0; i < cpus->vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(cpus->vm->cpus, i);

        if (cpu == cpu_current()) {
            set_a20(cpu, GINT_TO_POINTER(level));
        } else {
            cpu_run_on_async(cpu, set_a20, GINT_TO_POINTER(level));
        }
    }
}

IrqPin x86_cpus_a20_pin(X86Cpus *cpus)
{
    return (IrqPin){ .handler = a20_changed, .opaque = cpus };
}

static void smi_raised(void *opaque, unsigned n, bool level)
{
    X86Cpus *cpus = opaque;

    if (level && cpus->vm->cpus->len) {
        request(g_ptr_array_index(cpus->vm->cpus, 0), X86_REQ_SMI);
    }
}

IrqPin x86_cpus_smi_pin(X86Cpus *cpus)
{
    return (IrqPin){ .handler = smi_raised, .opaque = cpus };
}

static void tsc_follow_clock(void *opaque, bool running, RunState state)
{
    X86Cpus *cpus = opaque;

    if (running != cpus->tsc_runs) {
        cpus->tsc_base += running ? -__rdtsc() : __rdtsc();
        cpus->tsc_runs = running;
    }
}

/* ---- making them ---- */

static unsigned bits_for(unsigned count)
{
    return count <= 1 ? 0 : g_bit_nth_msf(count - 1, -1) + 1;
}

/* APIC id of CPU INDEX: package, die, core and thread in bit fields.  [SDM3A 9.9.1] */
static uint32_t x86_apic_id(const CpuTopology *t, unsigned index)
{
    unsigned threads = MAX(t->threads, 1), cores = MAX(t->cores, 1), dies = MAX(t->dies, 1);
    unsigned thread_bits = bits_for(threads), core_bits = bits_for(cores), die_bits = bits_for(dies);
    unsigned core = index / threads % cores, die = index / threads / cores % dies;
    unsigned package = index / threads / cores / dies;

    return ((package << die_bits | die) << core_bits | core) << thread_bits | index % threads;
}

static bool create_cpu(X86Cpus *cpus, Machine *m, unsigned index, GError **error)
{
    X86CpuDevice *dev = x86_cpu_create(m->vm, m->cpu_type, index, cpus->apic_ids[index], error);
    Apic *apic;
    X86Bus *ops;

    if (!dev) {
        return false;
    }
    x86_cpuid_set_topology(dev->x86, &(X86Topology){ MAX(m->smp.threads, 1), MAX(m->smp.cores, 1),
                                                     MAX(m->smp.dies, 1) });
    ops = &dev->bus.ops;
    ops->intr_ack = bus_intr_ack;
    ops->cr8_read = bus_cr8_read;
    ops->cr8_write = bus_cr8_write;
    ops->apic_msr_read = bus_apic_msr_read;
    ops->apic_msr_write = bus_apic_msr_write;
    ops->apic_load_deadline = bus_apic_load_deadline;
    ops->ferr = bus_ferr;
    ops->tsc = strcmp(accel_type(m->vm->accel)->accel, "tcg") == 0 ? bus_tsc : NULL;
    ops->tsc_line = bus_tsc_line;
    ops->tsc_khz = ops->tsc ? bus_tsc_khz : NULL;
    dev->bus.board_data = cpus;
    apic = apic_new(&cpus->apics, &dev->cpu, cpus->apic_ids[index], &apic_ops, error);
    dev->bus.board = apic;
    if (!apic || !device_realize(&dev->cpu.dev, NULL, error)) {
        object_unref(OBJECT(dev));
        return false;
    }
    object_unref(OBJECT(dev));
    return true;
}

bool x86_cpus_create(X86Cpus *cpus, Machine *m, IrqPin ferr, GError **error)
{
    cpus->vm = m->vm;
    cpus->ferr = ferr;
    cpus->apic_ids = g_new(uint32_t, m->smp.max_cpus);
    cpus->rate_tsc = __rdtsc();
    cpus->rate_ns = monotonic_ns();
    vm_add_state_hook(m->vm, tsc_follow_clock, cpus);
    for (unsigned i = 0; i < m->smp.max_cpus; i++) {
        cpus->apic_ids[i] = x86_apic_id(&m->smp, i);
    }
    apic_bus_init(&cpus->apics, m->vm,
                  kvm_irqchip_mode(m->vm) == KVM_IRQCHIP_OFF ? NULL : &kvm_apic_ops);
    x86_cpu_register_types();
    for (unsigned i = 0; i < m->smp.cpus; i++) {
        if (!create_cpu(cpus, m, i, error)) {
            return false;
        }
    }
    return true;
}
