/* SPDX-License-Identifier: MIT */
/*
 * Saving and loading CPUs: the sections "cpu_common" (1) and "cpu" (12) of QEMU 7.2, one of each for a
 * CPU, with its index as instance.
 *
 * The wire has QEMU's form of the state (flags of its engines, x87 registers by number); it is
 * converted to and from X86Cpu before a save and after a load.
 * Thread rule: machine lock, the CPU at a safe point.
 */
#ifndef TARGET_X86_X86_VMSTATE_H
#define TARGET_X86_X86_VMSTATE_H

#include "target-x86/x86_cpu.h"

/* With the CPU's realize and unrealize. */
void x86_vmstate_register(X86CpuDevice *dev);
void x86_vmstate_unregister(X86CpuDevice *dev);

#endif
