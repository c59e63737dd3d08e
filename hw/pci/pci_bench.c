/* SPDX-License-Identifier: MIT */
/*
 * The PCI device bench.  It holds the machine lock while it lives, as the main loop would.
 * Locking: one thread, the test's.
 */
#include "hw/pci/pci_bench.h"

#include "hw/pci-host/i440fx.h"

static void pin_handler(void *opaque, unsigned n, bool level)
{
    PciBench *b = opaque;

    if (level && !(b->levels & BIT64(n))) {
        b->edges[n]++;
    }
    b->levels = level ? b->levels | BIT64(n) : b->levels & ~BIT64(n);
}

static unsigned map_irq(PciDevice *dev, unsigned pin)
{
    return (PCI_SLOT(dev->devfn) + pin) & 3;
}

static int route_irq(void *opaque, unsigned n)
{
    return (int)n;
}

static const PciBusOps bench_ops = { map_irq, pin_handler, route_irq };

IrqPin pci_bench_pin(PciBench *b, unsigned n)
{
    g_assert(n >= 4 && n < 64);
    return (IrqPin){ pin_handler, b, n };
}

PciBench *pci_bench_new(void)
{
    PciBench *b = g_new0(PciBench, 1);
    g_autoptr(GError) error = NULL;

    if (!machine_lock_held()) {
        machine_lock();
        b->took_lock = true;
    }
    b->vm = vm_new();
    clock_make_fake(b->vm->clock);
    clock_make_fake(b->vm->realtime_clock);
    clock_start(b->vm->clock);
    b->vm->state = RUN_STATE_RUNNING;
    if (!memory_region_init_ram(&b->ram, NULL, "bench.ram", 16 * MIB, &error)) {
        g_error("%s", error->message);
    }
    memory_region_add(&b->vm->system_memory, 0, &b->ram);
    b->bus = i440fx_create(b->vm, &b->ram, true, &error);
    if (!b->bus) {
        g_error("%s", error->message);
    }
    b->bus->ops = &bench_ops;
    b->bus->ops_opaque = b;
    vm_reset(b->vm);
    return b;
}

/* The bridge cannot be taken out, so it and the RAM that its windows show stay for good. */
void pci_bench_free(PciBench *b)
{
    if (b->took_lock) {
        machine_unlock();
    }
}

static void set_address(PciBench *b, const PciDevice *dev, unsigned offset)
{
    pci_bench_out(b, 0xcf8, 0x80000000u | dev->devfn << 8 | (offset & 0xfc), 4);
}

uint32_t pci_cfg_read(PciBench *b, const PciDevice *dev, unsigned offset, unsigned size)
{
    set_address(b, dev, offset);
    return pci_bench_in(b, 0xcfc + (offset & 3), size);
}

void pci_cfg_write(PciBench *b, const PciDevice *dev, unsigned offset, uint32_t value,
                   unsigned size)
{
    set_address(b, dev, offset);
    pci_bench_out(b, 0xcfc + (offset & 3), value, size);
}

uint32_t pci_bench_in(PciBench *b, uint16_t port, unsigned size)
{
    return address_space_load(&b->vm->io, port, size);
}

void pci_bench_out(PciBench *b, uint16_t port, uint32_t value, unsigned size)
{
    address_space_store(&b->vm->io, port, value, size);
}

uint64_t pci_bench_load(PciBench *b, gpa_t addr, unsigned size)
{
    return address_space_load(&b->vm->memory, addr, size);
}

void pci_bench_store(PciBench *b, gpa_t addr, uint64_t value, unsigned size)
{
    address_space_store(&b->vm->memory, addr, value, size);
}

void pci_bench_save_load(PciBench *b)
{
    VmWriter *w = vm_writer_new();
    g_autoptr(GError) error = NULL;
    const uint8_t *bytes;
    VmReader *r;
    size_t len;

    if (!vm_save_devices(b->vm, w, &error)) {
        g_error("%s", error->message);
    }
    vm_reset(b->vm);
    bytes = vm_writer_bytes(w, &len);
    r = vm_reader_new(bytes, len);
    if (!vm_load_devices(b->vm, r, &error)) {
        g_error("%s", error->message);
    }
    vm_reader_free(r);
    vm_writer_free(w);
}
