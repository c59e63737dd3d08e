/* SPDX-License-Identifier: MIT */
/*
 * Model specific registers: one table (msr.c).  Also KVM's and the monitor's list of what there is.
 * The vCPU's thread.
 */
#ifndef TARGET_X86_MSR_H
#define TARGET_X86_MSR_H

#include "target-x86/cpu.h"

/* False: RDMSR raises #GP(0). */
bool x86_msr_read(X86Cpu *cpu, uint32_t msr, uint64_t *value);
/* False: WRMSR raises #GP(0) and nothing has changed. */
bool x86_msr_write(X86Cpu *cpu, uint32_t msr, uint64_t value);

/* Guest time stamp counter: the source plus the offset, which includes TSC_ADJUST. */
uint64_t x86_read_tsc(X86Cpu *cpu);

#endif
