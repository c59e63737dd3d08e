/* SPDX-License-Identifier: MIT */
/*
 * The device bench for ISA devices: a VM with a fake clock, an ISA bus without a bridge, and
 * interrupt pins that remember.
 *
 *     g_autoptr(IsaBench) b = isa_bench_new();
 *     Device *dev = isa_bench_add(b, "isa-parallel", "chardev=fake0");
 *     isa_out8(b, 0x378, 'x');
 *     g_assert_true(isa_bench_irq(b, 7));
 *
 * Devices that more than one type make up (PIT and speaker) share one bench.
 */
#ifndef HW_ISA_ISA_BENCH_H
#define HW_ISA_ISA_BENCH_H

#include "hw/isa/isa.h"
#include "vm/vm.h"

typedef struct IsaBench {
    Vm *vm;
    IsaBus bus;
    MemoryRegion ram;             /* 1 MiB at 0 */
    uint64_t levels;              /* of pins 0-15 (ISA) and 16-63 (isa_bench_pin) */
    unsigned edges[64];
    unsigned resets, exits, panics;   /* what the guest asked of the host */
    int exit_status;
    bool took_lock;
} IsaBench;

IsaBench *isa_bench_new(void);
void isa_bench_free(IsaBench *b);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IsaBench, isa_bench_free)

/* OPTIONS: "name=value,name=value".  The device is reset. */
Device *isa_bench_add(IsaBench *b, const char *type, const char *options);
IrqPin isa_bench_pin(IsaBench *b, unsigned n);
static inline bool isa_bench_irq(const IsaBench *b, unsigned n)
{
    return b->levels >> n & 1;
}
uint8_t isa_in8(IsaBench *b, uint16_t port);
void isa_out8(IsaBench *b, uint16_t port, uint8_t value);
void isa_bench_advance_ns(IsaBench *b, int64_t ns);
/* Saves all devices, resets them, loads them again. */
void isa_bench_save_load(IsaBench *b);
/* Writes random values to ports FIRST..LAST, reads them and lets time pass; nothing may break. */
void isa_bench_fuzz(IsaBench *b, uint16_t first, uint16_t last, unsigned rounds);

#endif
