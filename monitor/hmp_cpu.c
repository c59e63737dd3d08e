/* SPDX-License-Identifier: MIT */
/*
 * HMP about CPUs and their interrupt controllers.
 * Locking: machine lock; while something of a CPU is looked at, all of them are at a safe point.
 */
#include "monitor/hmp.h"

#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "vm/accel.h"
#include "vm/cpu.h"

/* Between these the registers are in the architecture's struct, and nobody changes them. */
static void hold(Vm *vm, Cpu *cpu)
{
    const AccelType *accel = accel_type(vm->accel);

    if (vm_is_running(vm)) {
        cpus_pause(vm);
    }
    if (cpu && accel->cpu_get_state) {
        accel->cpu_get_state(cpu);
    }
}

static void release(Vm *vm)
{
    if (vm_is_running(vm)) {
        cpus_resume(vm);
    }
}

static void dump_cpu(Monitor *mon, Cpu *cpu)
{
    g_autoptr(GString) out = g_string_new(NULL);

    hold(cpu->dev.vm, cpu);
    cpu_class(cpu)->dump(cpu, out);
    release(cpu->dev.vm);
    monitor_printf(mon, "\nCPU#%u\n%s", cpu->index, out->str);
}

void hmp_info_registers(Monitor *mon, const Json *args)
{
    GPtrArray *cpus = monitor_vm(mon)->cpus;
    int64_t wanted = hmp_int(args, "vcpu", -1);

    if (!monitor_cpu(mon)) {
        monitor_puts(mon, "No CPU available\n");
        return;
    }
    if (wanted >= (int64_t)cpus->len) {
        monitor_printf(mon, "CPU#%" PRId64 " not available\n", wanted);
        return;
    }
    for (unsigned i = 0; i < cpus->len; i++) {
        Cpu *cpu = cpus->pdata[i];

        if (hmp_flag(args, "cpustate_all") || wanted == i || (wanted < 0 && cpu == monitor_cpu(mon))) {
            dump_cpu(mon, cpu);
        }
    }
}

void hmp_info_lapic(Monitor *mon, const Json *args)
{
    Vm *vm = monitor_vm(mon);
    int64_t id = hmp_int(args, "apic-id", -1);
    g_autoptr(GString) out = g_string_new(NULL);

    hold(vm, NULL);
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Cpu *cpu = vm->cpus->pdata[i];
        Object *apic = object_child(OBJECT(cpu), "lapic");

        if (apic && (id < 0 ? cpu == monitor_cpu(mon)
                            : object_get_uint(OBJECT(cpu), "apic-id") == (uint64_t)id)) {
            device_info(DEVICE(apic), out);
        }
    }
    release(vm);
    if (out->len) {
        monitor_puts(mon, out->str);
    } else if (id < 0) {
        monitor_puts(mon, "No CPU available\n");
    } else {
        monitor_printf(mon, "No CPU with the APIC id %" PRId64 "\n", id);
    }
}

static void info_controller(Device *dev, void *opaque)
{
    if (object_is_a(&dev->obj, "isa-i8259") || object_is_a(&dev->obj, "ioapic")) {
        device_info(dev, opaque);
    }
}

static void collect_device(Device *dev, void *opaque)
{
    g_ptr_array_add(opaque, dev);
}

void hmp_info_pic(Monitor *mon, const Json *args)
{
    g_autoptr(GString) out = g_string_new(NULL);

    device_foreach(monitor_vm(mon), info_controller, out);
    monitor_puts(mon, out->len ? out->str : "There is no interrupt controller\n");
}

/* Counts of one kind of controller, by the number of the line. */
static void print_counts(Monitor *mon, const char *type,
                         bool (*raised)(const Device *dev, unsigned irq, uint64_t *count))
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();
    bool counts = false;
    uint64_t n;

    device_foreach(monitor_vm(mon), collect_device, devices);
    for (unsigned irq = 0; irq < IOAPIC_PINS; irq++) {
        for (unsigned i = 0; i < devices->len; i++) {
            const Device *dev = devices->pdata[i];

            if (!object_is_a(&dev->obj, type) || !raised(dev, irq, &n)) {
                continue;
            }
            if (!counts) {
                monitor_printf(mon, "IRQ statistics for %s:\n", type);
                counts = true;
            }
            if (n) {
                monitor_printf(mon, "%2u: %" PRIu64 "\n", irq, n);
            }
        }
    }
    if (!counts) {
        monitor_printf(mon, "IRQ statistics not available for %s.\n", type);
    }
}

void hmp_info_irq(Monitor *mon, const Json *args)
{
    print_counts(mon, "ioapic", ioapic_raised);
    print_counts(mon, "isa-i8259", i8259_raised);
}

static void list_pages(Monitor *mon, bool ranges)
{
    Cpu *cpu = monitor_cpu(mon);
    g_autoptr(GString) out = g_string_new(NULL);

    if (!cpu || !cpu_class(cpu)->list_pages) {
        monitor_puts(mon, "No CPU available\n");
        return;
    }
    hold(cpu->dev.vm, cpu);
    cpu_class(cpu)->list_pages(cpu, ranges, out);
    release(cpu->dev.vm);
    monitor_puts(mon, out->str);
}

void hmp_info_mem(Monitor *mon, const Json *args)
{
    list_pages(mon, true);
}

void hmp_info_tlb(Monitor *mon, const Json *args)
{
    list_pages(mon, false);
}

unsigned hmp_disassemble(Cpu *cpu, uint64_t va, const uint8_t *bytes, unsigned len, GString *out)
{
    unsigned used;

    hold(cpu->dev.vm, cpu);
    used = cpu_class(cpu)->disassemble(cpu, va, bytes, len, out);
    release(cpu->dev.vm);
    return used;
}
