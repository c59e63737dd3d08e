/* SPDX-License-Identifier: MIT */
/*
 * The device bench for PCI devices: a VM with a fake clock, 16 MiB of RAM, the i440FX bridge with
 * bus "pci.0", and interrupt pins that remember.
 *
 *     g_autoptr(PciBench) b = pci_bench_new();
 *     PciDevice *dev = pci_create(b->bus, PCI_DEVFN(3, 0), false, "VGA", &error);
 *     pci_cfg_write(b, dev, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
 *
 * Pins 0-3 are the bus's INTx lines (slot 0 INTA is 0), 4-63 are free: pci_bench_pin().
 */
#ifndef HW_PCI_PCI_BENCH_H
#define HW_PCI_PCI_BENCH_H

#include "hw/pci/pci.h"
#include "vm/vm.h"

typedef struct PciBench {
    Vm *vm;
    PciBus *bus;
    MemoryRegion ram;             /* 16 MiB at 0 */
    uint64_t levels;
    unsigned edges[64];
    bool took_lock;
} PciBench;

PciBench *pci_bench_new(void);
void pci_bench_free(PciBench *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PciBench, pci_bench_free)

IrqPin pci_bench_pin(PciBench *b, unsigned n);
static inline bool pci_bench_irq(const PciBench *b, unsigned n)
{
    return b->levels >> n & 1;
}
/* By way of ports cf8 and cfc. */
uint32_t pci_cfg_read(PciBench *b, const PciDevice *dev, unsigned offset, unsigned size);
void pci_cfg_write(PciBench *b, const PciDevice *dev, unsigned offset, uint32_t value,
                   unsigned size);
uint32_t pci_bench_in(PciBench *b, uint16_t port, unsigned size);
void pci_bench_out(PciBench *b, uint16_t port, uint32_t value, unsigned size);
uint64_t pci_bench_load(PciBench *b, gpa_t addr, unsigned size);
void pci_bench_store(PciBench *b, gpa_t addr, uint64_t value, unsigned size);
/* Saves all devices, resets them, loads them again. */
void pci_bench_save_load(PciBench *b);

#endif
