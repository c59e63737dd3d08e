/* SPDX-License-Identifier: MIT */
/*
 * The device bench for ISA devices.
 * Locking: one thread, the test's, which holds the machine lock.
 */
#include "hw/isa/isa_bench.h"

static void pin_handler(void *opaque, unsigned n, bool level)
{
    IsaBench *b = opaque;

    if (level && !(b->levels & BIT64(n))) {
        b->edges[n]++;
    }
    b->levels = level ? b->levels | BIT64(n) : b->levels & ~BIT64(n);
}

IrqPin isa_bench_pin(IsaBench *b, unsigned n)
{
    g_assert(n < 64);
    return (IrqPin){ pin_handler, b, n };
}

static void count_reset(Vm *vm, ShutdownCause cause)
{
    ((IsaBench *)vm->host_opaque)->resets++;
}

static void count_exit(Vm *vm, int status)
{
    ((IsaBench *)vm->host_opaque)->exits++;
    ((IsaBench *)vm->host_opaque)->exit_status = status;
}

static void count_panic(Vm *vm)
{
    ((IsaBench *)vm->host_opaque)->panics++;
}

static const VmHost bench_host = { .request_reset = count_reset, .request_exit = count_exit,
                                   .guest_panicked = count_panic };

IsaBench *isa_bench_new(void)
{
    IsaBench *b = g_new0(IsaBench, 1);
    g_autoptr(GError) error = NULL;

    if (!machine_lock_held()) {
        machine_lock();
        b->took_lock = true;
    }
    b->vm = vm_new();
    b->vm->host = &bench_host;
    b->vm->host_opaque = b;
    clock_make_fake(b->vm->clock);
    clock_start(b->vm->clock);
    b->vm->state = RUN_STATE_RUNNING;
    if (!memory_region_init_ram(&b->ram, NULL, "bench.ram", MIB, &error)) {
        g_error("%s", error->message);
    }
    memory_region_add(&b->vm->system_memory, 0, &b->ram);
    isa_bus_init(&b->bus, NULL, b->vm, &b->vm->system_memory, &b->vm->system_io);
    for (unsigned n = 0; n < 16; n++) {
        b->bus.irqs[n] = isa_bench_pin(b, n);
    }
    return b;
}

void isa_bench_free(IsaBench *b)
{
    bool locked = b->took_lock;

    while (b->bus.bus.devices->len) {
        device_unplug(g_ptr_array_index(b->bus.bus.devices, b->bus.bus.devices->len - 1));
    }
    memory_region_remove(&b->vm->system_memory, &b->ram);
    memory_region_clear(&b->ram);
    bus_clear(&b->bus.bus);
    vm_free(b->vm);
    g_free(b);
    if (locked) {
        machine_unlock();
    }
}

Device *isa_bench_add(IsaBench *b, const char *type, const char *options)
{
    g_auto(GStrv) parts = g_strsplit(options, ",", -1);
    g_autoptr(GError) error = NULL;
    Device *dev = device_new(b->vm, type, &error);
    bool ok = dev != NULL;

    for (unsigned i = 0; ok && parts[i]; i++) {
        char *eq = strchr(parts[i], '=');

        if (eq) {
            *eq = '\0';
            ok = object_set_text(OBJECT(dev), parts[i], eq + 1, &error);
        }
    }
    if (!ok || !device_realize(dev, &b->bus.bus, &error)) {
        g_error("%s", error->message);
    }
    object_unref(OBJECT(dev));
    device_reset(dev);
    return dev;
}

uint8_t isa_in8(IsaBench *b, uint16_t port)
{
    return address_space_load(&b->vm->io, port, 1);
}

void isa_out8(IsaBench *b, uint16_t port, uint8_t value)
{
    address_space_store(&b->vm->io, port, value, 1);
}

void isa_bench_advance_ns(IsaBench *b, int64_t ns)
{
    clock_fake_advance(b->vm->clock, ns);
}

void isa_bench_save_load(IsaBench *b)
{
    VmWriter *w = vm_writer_new();
    g_autoptr(GError) error = NULL;
    const uint8_t *bytes;
    VmReader *r;
    size_t len;

    if (!vm_save_devices(b->vm, w, &error)) {
        g_error("%s", error->message);
    }
    for (unsigned i = 0; i < b->bus.bus.devices->len; i++) {
        device_reset(g_ptr_array_index(b->bus.bus.devices, i));
    }
    bytes = vm_writer_bytes(w, &len);
    r = vm_reader_new(bytes, len);
    if (!vm_load_devices(b->vm, r, &error)) {
        g_error("%s", error->message);
    }
    vm_reader_free(r);
    vm_writer_free(w);
}

void isa_bench_fuzz(IsaBench *b, uint16_t first, uint16_t last, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        uint16_t port = g_test_rand_int_range(first, last + 1);

        isa_out8(b, port, g_test_rand_int_range(0, 256));
        isa_in8(b, g_test_rand_int_range(first, last + 1));
        isa_bench_advance_ns(b, g_test_rand_int_range(0, 100000));
    }
}
