/* SPDX-License-Identifier: MIT */
/*
 * The device bench.  It holds the machine lock while it lives, as the main loop would.
 * Locking: one thread, the test's.
 */
#include "vm/bench.h"
#include "base/json.h"

static DeviceBench *bench_new_vm(Vm *vm)
{
    DeviceBench *b = g_new0(DeviceBench, 1);
    g_autoptr(GError) error = NULL;

    if (!machine_lock_held()) {
        machine_lock();
        b->took_lock = true;
    }
    b->vm = vm ? vm : vm_new();
    clock_make_fake(b->vm->clock);
    clock_start(b->vm->clock);
    b->vm->state = RUN_STATE_RUNNING;
    if (!memory_region_init_ram(&b->ram, NULL, "bench.ram", 16 * MIB, &error)) {
        g_error("%s", error->message);
    }
    memory_region_add(&b->vm->system_memory, 0, &b->ram);
    return b;
}

/* "name=value,name=value"; values have no commas here. */
static void set_options(Device *dev, const char *options)
{
    g_auto(GStrv) parts = g_strsplit(options ? options : "", ",", -1);

    for (unsigned i = 0; parts[i]; i++) {
        char *eq = strchr(parts[i], '=');
        g_autoptr(GError) error = NULL;

        if (!*parts[i]) {
            continue;
        }
        g_assert(eq);
        *eq = '\0';
        if (!strcmp(parts[i], "id")) {
            dev->id = g_strdup(eq + 1);
        } else if (!object_set_text(&dev->obj, parts[i], eq + 1, &error)) {
            g_error("%s", error->message);
        }
    }
}

DeviceBench *device_bench_new_on(Vm *vm, Bus *bus, const char *type, const char *options)
{
    DeviceBench *b = bench_new_vm(vm);
    g_autoptr(GError) error = NULL;

    b->dev = device_new(b->vm, type, &error);
    if (!b->dev) {
        g_error("%s", error->message);
    }
    set_options(b->dev, options);
    if (!bus && device_type_bus(device_type(b->dev)) == &bus_system) {
        bus = &b->vm->system_bus;
    }
    if (!device_realize(b->dev, bus, &error)) {
        g_error("%s", error->message);
    }
    device_reset(b->dev);
    return b;
}

DeviceBench *device_bench_new(const char *type, const char *options)
{
    return device_bench_new_on(NULL, NULL, type, options);
}

void device_bench_free(DeviceBench *b)
{
    bool locked = b->took_lock;

    device_unplug(b->dev);
    object_unref(&b->dev->obj);
    memory_region_remove(&b->vm->system_memory, &b->ram);
    memory_region_clear(&b->ram);
    vm_free(b->vm);
    g_free(b);
    if (locked) {
        machine_unlock();
    }
}

/* ---- interrupt pins ---- */

static void bench_pin_handler(void *opaque, unsigned n, bool level)
{
    DeviceBench *b = opaque;

    if (level && !(b->irq_levels & BIT64(n))) {
        b->irq_edges[n]++;
    }
    b->irq_levels = level ? b->irq_levels | BIT64(n) : b->irq_levels & ~BIT64(n);
}

IrqPin bench_pin(DeviceBench *b, unsigned n)
{
    g_assert(n < 64);
    return (IrqPin){ bench_pin_handler, b, n };
}

bool bench_irq(DeviceBench *b, unsigned n)
{
    return b->irq_levels >> n & 1;
}

/* ---- accesses ---- */

static uint64_t bench_read(DeviceBench *b, uint64_t offset, unsigned size)
{
    return device_reg_read(b->dev, device_type(b->dev)->regs, offset, size);
}

static void bench_write(DeviceBench *b, uint64_t offset, uint64_t value, unsigned size)
{
    device_reg_write(b->dev, device_type(b->dev)->regs, offset, value, size);
}

uint8_t bench_read8(DeviceBench *b, uint64_t offset)
{
    return (uint8_t)bench_read(b, offset, 1);
}

uint16_t bench_read16(DeviceBench *b, uint64_t offset)
{
    return (uint16_t)bench_read(b, offset, 2);
}

uint32_t bench_read32(DeviceBench *b, uint64_t offset)
{
    return (uint32_t)bench_read(b, offset, 4);
}

void bench_write8(DeviceBench *b, uint64_t offset, uint8_t value)
{
    bench_write(b, offset, value, 1);
}

void bench_write32(DeviceBench *b, uint64_t offset, uint32_t value)
{
    bench_write(b, offset, value, 4);
}

uint32_t bench_in(DeviceBench *b, uint16_t port, unsigned size)
{
    return (uint32_t)address_space_load(&b->vm->io, port, size);
}

void bench_out(DeviceBench *b, uint16_t port, uint32_t value, unsigned size)
{
    address_space_store(&b->vm->io, port, value, size);
}

void bench_advance_ns(DeviceBench *b, int64_t ns)
{
    clock_fake_advance(b->vm->clock, ns);
}

void bench_save_load(DeviceBench *b)
{
    VmWriter *w = vm_writer_new();
    g_autoptr(GError) error = NULL;
    const uint8_t *bytes;
    VmReader *r;
    size_t len;

    if (!vm_save_devices(b->vm, w, &error)) {
        g_error("%s", error->message);
    }
    device_reset(b->dev);
    bytes = vm_writer_bytes(w, &len);
    r = vm_reader_new(bytes, len);
    if (!vm_load_devices(b->vm, r, &error)) {
        g_error("%s", error->message);
    }
    g_assert_cmpuint(vm_reader_left(r), ==, 0);
    vm_reader_free(r);
    vm_writer_free(w);
}
