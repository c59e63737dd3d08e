/* SPDX-License-Identifier: MIT */
/*
 * The device bench: one device, a fake clock, fake interrupt pins, fake RAM, no VM thread.
 * For unit tests beside devices.  Everything happens when the test says so.
 *
 *     g_autoptr(DeviceBench) b = device_bench_new("toy-uart", "chardev=fake0");
 *     bench_write8(b, 1, IER_TX);
 *     g_assert_true(bench_irq(b, 0));
 *
 * OPTIONS is a -device style list.  Fake back ends (chardev=fake0) are made by the helpers of their
 * own folder (chardev/fake.h) before the bench.
 */
#ifndef VM_BENCH_H
#define VM_BENCH_H

#include "vm/vm.h"

typedef struct DeviceBench {
    Vm *vm;
    Device *dev;
    MemoryRegion ram;         /* 16 MiB at 0 of vm->memory: for DMA */
    uint64_t irq_levels;      /* as last driven */
    unsigned irq_edges[64];   /* low-to-high changes seen */
    gpa_t io_base;            /* where bench_read/write offsets start in vm->io */
    gpa_t mmio_base;
    bool took_lock;           /* the machine lock is ours to release */
} DeviceBench;

DeviceBench *device_bench_new(const char *type, const char *options);
/* With a bus the test made (vm != NULL: the bench's VM to be). */
DeviceBench *device_bench_new_on(Vm *vm, Bus *bus, const char *type, const char *options);
void device_bench_free(DeviceBench *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DeviceBench, device_bench_free)

/* A fake end for one of the device's output lines; N is how bench_irq() knows it. */
IrqPin bench_pin(DeviceBench *b, unsigned n);
bool bench_irq(DeviceBench *b, unsigned n);

/* Through the type's register table. */
uint8_t bench_read8(DeviceBench *b, uint64_t offset);
uint16_t bench_read16(DeviceBench *b, uint64_t offset);
uint32_t bench_read32(DeviceBench *b, uint64_t offset);
void bench_write8(DeviceBench *b, uint64_t offset, uint8_t value);
void bench_write32(DeviceBench *b, uint64_t offset, uint32_t value);
/* Through the VM's port and memory spaces. */
uint32_t bench_in(DeviceBench *b, uint16_t port, unsigned size);
void bench_out(DeviceBench *b, uint16_t port, uint32_t value, unsigned size);
void bench_advance_ns(DeviceBench *b, int64_t ns);
/* Save, reset, load into the same device; the test asserts that nothing changed. */
void bench_save_load(DeviceBench *b);

#endif
