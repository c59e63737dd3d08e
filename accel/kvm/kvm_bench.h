/* SPDX-License-Identifier: MIT */
/*
 * For tests of the "kvm" accelerator: a VM with one CPU, 4 MiB of RAM, and a guest of a few bytes
 * that ends by writing to a port.
 *
 *     if (!rig_init(&rig, "off")) {      // kernel-irqchip=; false: skipped, with the reason
 *         return;
 *     }
 *     load(&rig, code, sizeof(code));
 *     run(&rig);                          // until it writes to PORT_END
 *     rig_clear(&rig);
 *
 * Thread rule: the machine lock is held from rig_init() to rig_clear().
 */
#ifndef ACCEL_KVM_KVM_BENCH_H
#define ACCEL_KVM_KVM_BENCH_H

#include "accel/kvm/kvm_int.h"

enum { RAM_SIZE = 4 << 20, CODE = 0x1000, STACK = 0x8000, DATA = 0x9000, MMIO = 0xd0000,
       ROM = 0xe0000, PML4 = 0x10000, PDPT = 0x11000, PD = 0x12000, PORT = 0x80, PORT_END = 0xf4,
       VECTOR = 0x20 };

typedef struct Rig {
    Vm *vm;
    KvmAccel *kvm;
    X86CpuDevice *dev;
    X86Cpu *x86;
    MemoryRegion ram, rom, mmio, port, port_end;
    uint8_t *bytes;             /* of ram */
    GByteArray *out;            /* what came out of PORT */
    uint32_t mmio_last;
    bool ended;                 /* machine lock */
    uint8_t end_value;
} Rig;

bool rig_init(Rig *rig, const char *irqchip);
void rig_clear(Rig *rig);
/* The code in real mode, with flat segments. */
void rig_load(Rig *rig, const uint8_t *code, size_t len);
void rig_run(Rig *rig);
/* Another CPU, realized. */
X86CpuDevice *rig_add_cpu(Rig *rig, unsigned index);
void rig_remove_cpu(X86CpuDevice *dev);
/* Lets the guest run until COND(rig) is true. */
void rig_run_until(Rig *rig, bool (*cond)(Rig *rig));

#endif
