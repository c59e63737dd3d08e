/* SPDX-License-Identifier: MIT */
/*
 * Breakpoint registers.  Spec: [SDM3B 17.2.3-17.2.5, 17.3.1].
 * Locking: the vCPU's thread.
 */
#include "target-x86/debug.h"

enum { KIND_EXEC, KIND_WRITE, KIND_IO, KIND_ACCESS };

/* Breakpoints N whose kind is in KINDS (a bit set) and whose range meets [addr, addr + size). */
static uint64_t match(const X86Cpu *cpu, unsigned kinds, uint64_t addr, unsigned size)
{
    static const uint8_t lengths[4] = { 1, 2, 8, 4 };
    uint64_t hits = 0;

    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = cpu->dr[7] >> (16 + 4 * i) & 3;
        uint64_t len = lengths[cpu->dr[7] >> (18 + 4 * i) & 3];
        uint64_t start = cpu->dr[i] & ~(len - 1);

        if ((cpu->dr[7] >> (2 * i) & 3) && (kinds >> kind & 1) &&
            (addr - start < len || start - addr < size)) {
            hits |= BIT(i);
        }
    }
    return hits;
}

static uint64_t x86_debug_match_exec(const X86Cpu *cpu, uint64_t va)
{
    return match(cpu, BIT(KIND_EXEC), va, 1);
}

uint64_t x86_debug_match_data(const X86Cpu *cpu, uint64_t va, unsigned size, X86Access access)
{
    return match(cpu, access == X86_WRITE ? BIT(KIND_WRITE) | BIT(KIND_ACCESS) : BIT(KIND_ACCESS),
                 va, size);
}

uint64_t x86_debug_match_port(const X86Cpu *cpu, uint16_t port, unsigned size)
{
    return cpu->cr4 & CR4_DE ? match(cpu, BIT(KIND_IO), port, size) : 0;
}

void x86_debug_before(X86Cpu *cpu)
{
    uint64_t hits;

    if (G_LIKELY(!(cpu->dr[7] & 0xff)) || (cpu->eflags & FLAG_RF)) {
        return;
    }
    hits = x86_debug_match_exec(cpu, cpu->mode & MODE_CS64
                                         ? cpu->rip
                                         : (uint32_t)(cpu->segs[SEG_CS].base + cpu->rip));
    if (hits) {
        cpu_raise_debug(cpu, hits);
    }
}

void x86_debug_after(X86Cpu *cpu, bool single_step)
{
    uint64_t hits = cpu->debug_hits | (single_step ? BIT(14) : 0);

    cpu->debug_hits = 0;
    if (hits) {
        cpu_raise_debug(cpu, hits);
    }
}
