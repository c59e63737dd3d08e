/* SPDX-License-Identifier: MIT */
/*
 * Debug registers at work, [SDM3B 17.2], and the port helpers that string I/O shares with IN and
 * OUT.  The vCPU's thread.
 */
#ifndef TARGET_X86_DEBUG_H
#define TARGET_X86_DEBUG_H

#include "target-x86/exception.h"
#include "target-x86/mmu.h"

/* DR6 bits of the enabled breakpoints of that kind that [addr, addr + size) hits; 0: none. */
uint64_t x86_debug_match_data(const X86Cpu *cpu, uint64_t va, unsigned size, X86Access access);
uint64_t x86_debug_match_port(const X86Cpu *cpu, uint16_t port, unsigned size);

/* Does an enabled data breakpoint lie in VA's page? */
static inline bool x86_debug_watches(const X86Cpu *cpu, uint64_t va)
{
    return G_UNLIKELY(cpu->dr[7] & 0xff) && x86_debug_match_data(cpu, va & ~0xfffull, 4096, X86_WRITE);
}

/*
 * Traps found during an instruction are collected in cpu->debug_hits and raised as one #DB when it
 * is done: engines call x86_debug_after() once rip has moved on.
 */
static inline void x86_debug_data(X86Cpu *cpu, uint64_t va, unsigned size, X86Access access)
{
    if (G_UNLIKELY(cpu->dr[7] & 0xff)) {
        cpu->debug_hits |= x86_debug_match_data(cpu, va, size, access);
        cpu->stop |= cpu->debug_hits != 0;
    }
}

static inline void x86_debug_port(X86Cpu *cpu, uint16_t port, unsigned size)
{
    if (G_UNLIKELY(cpu->dr[7] & 0xff)) {
        cpu->debug_hits |= x86_debug_match_port(cpu, port, size);
        cpu->stop |= cpu->debug_hits != 0;
    }
}

/* Before an instruction at cpu->rip: raises the fault-like #DB of an execution breakpoint. */
void x86_debug_before(X86Cpu *cpu);
/* After it: data and port hits, and single-step when TF was set before it. */
void x86_debug_after(X86Cpu *cpu, bool single_step);

/* sem_system.c.  #GP(0) unless IOPL or the TSS's map lets the CPU touch the port. */
void x86_check_port(X86Cpu *cpu, uint16_t port, unsigned size);
/* The access itself. */
uint64_t x86_port_in(X86Cpu *cpu, uint16_t port, unsigned size);
void x86_port_out(X86Cpu *cpu, uint16_t port, uint64_t value, unsigned size);

#endif
