/* SPDX-License-Identifier: MIT */
/*
 * System management mode: entry by SMI, RSM, and the state save maps (smm.c).  Spec: [SDM3C 31];
 * the 64-bit map is AMD's [APM2 10.2], which firmware for QEMU expects.  The vCPU's thread.
 */
#ifndef TARGET_X86_SMM_H
#define TARGET_X86_SMM_H

#include "target-x86/cpu.h"

/* SMI: save the state at SMBASE + 0xfe00 and continue at SMBASE + 0x8000. */
void x86_smm_enter(X86Cpu *cpu);

#endif
