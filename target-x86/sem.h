/* SPDX-License-Identifier: MIT */
/*
 * For the files that define semantic functions: prototypes of all of them (from the tables) and
 * small helpers.  See insn.h for how they are called.
 */
#ifndef TARGET_X86_SEM_H
#define TARGET_X86_SEM_H

#include "target-x86/alu.h"
#include "target-x86/mem.h"

#define INSN(o, m, n, s, d, a, b, c, mo, fe, fx, at) void sem_##s(X86Cpu *cpu, const Insn *insn);
#include "target-x86/insn/map_all.def"
#undef INSN

static inline uint64_t size_mask(unsigned size)
{
    return size == 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

static inline int64_t sign_extended(uint64_t value, unsigned size)
{
    return (int64_t)(value << (64 - 8 * size)) >> (64 - 8 * size);
}

/* Replace the given CC_* bits. */
static inline void cc_set(X86Cpu *cpu, uint32_t mask, uint32_t bits)
{
    cpu->cc = (cpu->cc & ~mask) | bits;
}

/* How many elements a repeated instruction does at once, MOST at most; one when single-stepping. */
static inline unsigned x86_rep_most(const X86Cpu *cpu, unsigned most)
{
    return cpu->mode & MODE_TF ? 1 : most;
}

#endif
