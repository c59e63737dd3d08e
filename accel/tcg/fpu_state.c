/* SPDX-License-Identifier: MIT */
/*
 * x87 and vector state, which stays in host registers while translated code needs it: `tx.live`.
 * Locking: the vCPU's thread.
 */
#include "accel/tcg/run_int.h"

#include <string.h>

/* FIP holds a host address after an instruction of ours: the guest's. */
static uint64_t guest_fip(const TcgCpu *tc, uint64_t fip)
{
    unsigned n;
    const TcgBlock *block = tcg_in_code(tc->tr, (const void *)(uintptr_t)fip)
                                ? tcg_block_at(tc->tr, (const uint8_t *)(uintptr_t)fip, &n) : NULL;

    return !block ? fip : block->mode & MODE_CS64 ? block->pc + block->insns[n].guest
                                                  : (uint32_t)(block->pc + block->insns[n].guest);
}

/* The x87 state into cpu->x87, and the host's back to what C expects. */
void tcg_x87_save(X86Cpu *cpu)
{
    TcgCpu *tc = tcg_cpu(cpu);
    X87State *x87 = (X87State *)(void *)tc->xsave;
    bool ours;

    if (!(cpu->tx.live & LIVE_X87)) {
        return;
    }
    __asm__ volatile("fxsave64 (%0)\n\tfninit" : : "r"(tc->xsave) : "memory");
    x87->mxcsr = cpu->x87.mxcsr;
    x87->mxcsr_mask = cpu->x87.mxcsr_mask;
    ours = tcg_in_code(tc->tr, (const void *)(uintptr_t)x87->fip);
    x87->fip = guest_fip(tc, x87->fip);
    x87->fdp = ours ? 0 : x87->fdp;
    cpu->x87 = *x87;
    cpu->tx.live &= ~LIVE_X87;
}

static void x87_load(X86Cpu *cpu)
{
    uint8_t *area = tcg_cpu(cpu)->xsave;

    if (cpu->tx.live & LIVE_X87) {
        return;
    }
    memset(area + 512, 0, 64);
    area[512] = 1;              /* XSTATE_BV: x87 */
    memcpy(area, &cpu->x87, sizeof(cpu->x87));
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(1), "d"(0) : "memory");
    cpu->tx.live |= LIVE_X87;
}

static void find_upper_zero(X86Cpu *cpu)
{
    bool avx512 = cpu->mode & MODE_AVX512;
    uint64_t bits = 0, high = 0;

    for (unsigned n = 0; n < 16; n++) {
        bits |= cpu->zmm[n].u64[2] | cpu->zmm[n].u64[3];
    }
    for (unsigned n = 0; avx512 && n < 16; n++) {
        high |= cpu->zmm[n].u64[4] | cpu->zmm[n].u64[5] | cpu->zmm[n].u64[6] | cpu->zmm[n].u64[7];
    }
    cpu->tx.zmm_upper = high != 0;
    cpu->tx.upper_zero = (bits | high) == 0;
    cpu->tx.upper_unknown = false;
    cpu->tx.upper_avx512 = avx512;
}

/* C has changed them, or may have. */
void tcg_forget_upper(X86Cpu *cpu)
{
    cpu->tx.upper_zero = false;
    cpu->tx.upper_unknown = true;
}

void tcg_prepare_state(X86Cpu *cpu, unsigned needs)
{
    cpu->tx.want = needs & LIVE_VECTORS;
    if (needs & LIVE_X87) {
        x87_load(cpu);
    }
    /* Where XCR0 has no AVX-512, VEX leaves bits 511:256 alone: they stay in zmm[].  [SDM2A 3.1.1.9, MAXVL] */
    if (!(cpu->tx.live & LIVE_SIMD) &&
        (cpu->tx.upper_unknown || cpu->tx.upper_avx512 != !!(cpu->mode & MODE_AVX512))) {
        find_upper_zero(cpu);
    }
}

/* The semantic function looks at the x87's registers. */
bool tcg_touches_x87(const Insn *insn)
{
    return (insn->def->attrs & (A_X87 | A_MMX | A_WAIT | A_OSXSAVE)) ||
           (insn->map == MAP_0F && (insn->opcode == 0xae || insn->opcode == 0xc7));
}

bool tcg_touches_upper(const Insn *insn)
{
    return (insn->def->attrs & (A_AVX | A_OSXSAVE)) || insn->vex == 4 ||
           (insn->map == MAP_0F && (insn->opcode == 0xae || insn->opcode == 0xc7));
}
