/* SPDX-License-Identifier: MIT */
/*
 * Control registers: MOV to CR0, CR3 and CR4 with its checks and consequences.  Spec: [SDM3A 2.5], [SDM2 MOV CR],
 * Intel SDM 325384-077.
 * Locking: the vCPU's thread.
 */
#include "target-x86/mmu_int.h"

#include "target-x86/exception.h"
#include "target-x86/tlb_contexts.h"

static void load_pdptes_or_gp(X86Cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    if ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(cpu->efer & (EFER_LMA | EFER_LME)) &&
        !x86_load_pdptes(cpu, cr3)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

void x86_write_cr0(X86Cpu *cpu, uint64_t value)
{
    const uint64_t known = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM |
                           CR0_NW | CR0_CD | (uint64_t)CR0_PG;
    uint64_t changed;
    bool cs_long = cpu->segs[SEG_CS].flags & DESC_L;

    if (value >> 32 || ((value & CR0_PG) && !(value & CR0_PE)) ||
        ((value & CR0_NW) && !(value & CR0_CD))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    value = (value & known) | CR0_ET;
    changed = value ^ cpu->cr0;
    if (changed & CR0_PG) {
        if (value & CR0_PG) {
            if ((cpu->efer & EFER_LME) && (!(cpu->cr4 & CR4_PAE) || cs_long)) {
                cpu_raise(cpu, VEC_GP, 0);
            }
        } else if ((cpu->cr4 & CR4_PCIDE) || (cpu->mode & MODE_CS64)) {
            cpu_raise(cpu, VEC_GP, 0);
        }
    }
    if (changed & ((uint64_t)CR0_PG | CR0_CD | CR0_NW)) {
        load_pdptes_or_gp(cpu, value, cpu->cr3, cpu->cr4);
    }
    cpu->cr0 = value;
    if (changed & CR0_PG) {
        cpu->efer &= ~(uint64_t)EFER_LMA;
        if ((value & CR0_PG) && (cpu->efer & EFER_LME)) {
            cpu->efer |= EFER_LMA;
        }
    }
    if (changed & ((uint64_t)CR0_PG | CR0_PE | CR0_WP)) {
        x86_tlb_flush(cpu, true);
    }
    x86_update_mode(cpu);
}

void x86_write_cr3(X86Cpu *cpu, uint64_t value)
{
    bool pcids = (cpu->efer & EFER_LMA) && (cpu->cr4 & CR4_PCIDE);
    bool keep = pcids && value >> 63;
    unsigned from = cpu->cr3 & 0xfff;

    if (cpu->efer & EFER_LMA) {
        if (pcids) {
            value &= ~BIT64(63);
        }
        if (value & ~x86_phys_limit_mask(cpu)) {
            cpu_raise(cpu, VEC_GP, 0);
        }
    } else {
        value = (uint32_t)value;
        load_pdptes_or_gp(cpu, cpu->cr0, value, cpu->cr4);
    }
    cpu->cr3 = value;
    if (pcids) {
        x86_contexts_switch(cpu, from, value & 0xfff, keep);
    } else {
        x86_tlb_flush(cpu, false);
    }
}

static uint64_t cr4_known(const X86Cpu *cpu)
{
    static const struct { uint64_t bit; unsigned feature; } rows[] = {
        { CR4_VME | CR4_PVI, X86_FEAT(1_EDX, 1) }, { CR4_TSD, X86_FEAT_TSC },
        { CR4_DE, X86_FEAT(1_EDX, 2) }, { CR4_PSE, X86_FEAT(1_EDX, 3) },
        { CR4_PAE, X86_FEAT(1_EDX, 6) }, { CR4_MCE, X86_FEAT(1_EDX, 7) },
        { CR4_PGE, X86_FEAT(1_EDX, 13) }, { CR4_PCE, X86_FEAT_BASE },
        { CR4_OSFXSR, X86_FEAT_FXSR }, { CR4_OSXMMEXCPT, X86_FEAT_SSE },
        { CR4_UMIP, X86_FEAT(7_0_ECX, 2) }, { CR4_FSGSBASE, X86_FEAT_FSGSBASE },
        { CR4_PCIDE, X86_FEAT(1_ECX, 17) }, { CR4_OSXSAVE, X86_FEAT_XSAVE },
        { CR4_SMEP, X86_FEAT(7_0_EBX, 7) }, { CR4_SMAP, X86_FEAT_SMAP },
        { CR4_PKE, X86_FEAT_PKU }, { CR4_LA57, X86_FEAT(7_0_ECX, 16) },
    };
    uint64_t known = 0;

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        known |= x86_has(cpu, rows[i].feature) ? rows[i].bit : 0;
    }
    return known;
}

void x86_write_cr4(X86Cpu *cpu, uint64_t value)
{
    uint64_t changed = value ^ cpu->cr4;

    if (value & ~cr4_known(cpu)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if ((cpu->efer & EFER_LMA) && (!(value & CR4_PAE) || (changed & CR4_LA57))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if ((changed & value & CR4_PCIDE) && (!(cpu->efer & EFER_LMA) || (cpu->cr3 & 0xfff))) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)) {
        load_pdptes_or_gp(cpu, cpu->cr0, cpu->cr3, value);
    }
    cpu->cr4 = value;
    if (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PCIDE |
                   CR4_LA57)) {
        x86_tlb_flush(cpu, true);
    } else if (changed & (CR4_TSD | CR4_PCE | CR4_UMIP | CR4_FSGSBASE)) {
        x86_code_jumps_forget(cpu, 1);      /* no return to code that knows the old ones */
    }
    x86_update_mode(cpu);
}

void x86_load_cr(X86Cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
    cpu->cr0 = cr0 | CR0_ET;
    cpu->cr3 = cr3;
    cpu->cr4 = cr4;
    cpu->efer = efer;
    x86_tlb_flush(cpu, true);
    x86_update_mode(cpu);
}
