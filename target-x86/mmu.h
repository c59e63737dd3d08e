/* SPDX-License-Identifier: MIT */
/*
 * Address translation: page walks, permission checks and the software TLB's refill (mmu.c), what is in the TLB and
 * what takes it out (tlb.c), and the control registers that steer both (control_regs.c).
 * Spec: SDM3A chapter 4.  All on the vCPU's thread.
 *
 * Division of labour: mem.h has the inline fast path over cpu->tlb; mem.c has the slow path
 * (page crossing, MMIO, code pages, dirty logging) and calls x86_mmu_fill().  mmu.c knows page
 * tables, tlb.c knows the TLB.
 */
#ifndef TARGET_X86_MMU_H
#define TARGET_X86_MMU_H

#include "target-x86/cpu.h"

typedef enum X86Access { X86_READ, X86_WRITE, X86_EXEC } X86Access;

enum {
    X86_PAGE_MMIO = BIT(0),     /* no host memory */
    X86_PAGE_ROM = BIT(1),      /* host memory may be read, writes go to the bus */
    X86_PAGE_CODE = BIT(2),     /* holds decoded code: stores must tell code.h */
    X86_PAGE_LOG = BIT(3),      /* stores must tell the dirty log */
    X86_PAGE_WATCH = BIT(4),    /* a data breakpoint lies in it: each access is checked */
    X86_PAGE_GLOBAL = BIT(5),   /* survives a CR3 load */
    X86_PAGE_LARGE = BIT(6),    /* from a 2 MiB, 4 MiB or 1 GiB mapping */
};

static inline unsigned x86_tlb_index(uint64_t va)
{
    return (va >> 12) & (X86_TLB_SIZE - 1);
}

/* The second place of a page whose index is SET: where it goes when another page takes its first one. */
static inline unsigned x86_tlb_second(unsigned set)
{
    return set ^ X86_TLB_SIZE / 2;
}

/*
 * Translate `va` for one kind of access made in context `idx`, or raise #PF (#GP for a
 * non-canonical address: the caller of a stack access has checked before, since that is #SS).
 * Sets A, and D for writes.  Leaves the result in tlb[idx][x86_tlb_index(va)] and tlb_phys[],
 * and returns the latter.  Tags are opened only for accesses that need no slow path.
 */
const X86TlbPhys *x86_mmu_fill(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx);

/* The same, but a fault is not raised: false.  *CODE is the page fault's error code, or X86_NO_PAGE_FAULT. */
#define X86_NO_PAGE_FAULT (~0u)
bool x86_mmu_try_fill(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx, uint32_t *code);

/* The same without faulting or side effects (debugger): false when not mapped. */
bool x86_mmu_peek(X86Cpu *cpu, uint64_t va, uint64_t *gpa);
/* Appends the walk in words, a line per level ("PDE at 0x1000 = 0x0: not present"). */
void x86_mmu_explain(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx, GString *out);

void x86_tlb_flush(X86Cpu *cpu, bool globals_too);
void x86_tlb_flush_page(X86Cpu *cpu, uint64_t va);
/* INVPCID of one address, or of all that is not global (NULL), in one address space. */
void x86_tlb_flush_pcid(X86Cpu *cpu, unsigned pcid, const uint64_t *va);
/* After a change of DR7 or of a data breakpoint address: such pages take the slow path. */
void x86_tlb_update_watch(X86Cpu *cpu);
/* Any thread: from now on stores to this physical page take the slow path. */
void x86_tlb_poison_page(X86Cpu *cpu, uint64_t gpa);

/* The PDPTEs of PAE paging for this CR3: false, and nothing changed, when a reserved bit is set. */
bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3);

/* MOV to CRn with all checks and consequences. */
void x86_write_cr0(X86Cpu *cpu, uint64_t value);
void x86_write_cr3(X86Cpu *cpu, uint64_t value);
void x86_write_cr4(X86Cpu *cpu, uint64_t value);
/* The same as plain state without checks, for KVM sync, migration and reset. */
void x86_load_cr(X86Cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer);

#endif
