/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as instructions see it.  Three layers, each inline on a TLB hit:
 *
 *   x86_ld32(cpu, va), x86_st32(cpu, va, v)           linear address, the CPU's own privilege
 *   x86_load32(cpu, seg, off), x86_store32(...)       segment checks, base, wrap-around; #GP/#SS
 *   insn_ld32(cpu, insn), insn_st32(cpu, insn, v)     the instruction's memory operand
 *   x86_sys_ld32(cpu, va), x86_sys_st32(...)          linear, as supervisor: GDT, IDT, TSS
 *
 * Widths 8, 16, 32, 64 by value; 128 and 256 by pointer (insn_ld128(cpu, insn, dst)); any length by
 * x86_ld_bytes().  Every call may raise; a store crossing pages checks both pages first, so that
 * nothing is written when one of them faults.  Ordering is the host's, which is the guest's (TSO).
 *
 * Read-modify-write, and every LOCKed access:
 *     uint32_t *p = insn_rmw(cpu, insn, 4);    // write access checked; NULL is never returned
 *     ... one host instruction on *p, with the host's lock prefix for a LOCKed instruction ...
 *     x86_rmw_end(cpu);                        // writes back when p was the bounce buffer
 * p points to guest RAM unless the operand crosses a page or is not RAM.  Nothing between the two calls may raise.
 */
#ifndef TARGET_X86_MEM_H
#define TARGET_X86_MEM_H

#include "target-x86/exception.h"
#include "target-x86/insn.h"
#include "target-x86/mmu.h"

/* Guest data at any address. */
typedef uint8_t uint8_t_un;
typedef int8_t int8_t_un;
typedef uint16_t uint16_t_un __attribute__((aligned(1)));
typedef int16_t int16_t_un __attribute__((aligned(1)));
typedef uint32_t uint32_t_un __attribute__((aligned(1)));
typedef int32_t int32_t_un __attribute__((aligned(1)));
typedef uint64_t uint64_t_un __attribute__((aligned(1)));

/* ---- out of line (mem.c) ---------------------------------------------------------------- */

void x86_ld_slow(X86Cpu *cpu, uint64_t va, void *dst, unsigned size, X86MmuIdx idx);
void x86_st_slow(X86Cpu *cpu, uint64_t va, const void *src, unsigned size, X86MmuIdx idx);
void *x86_rmw_slow(X86Cpu *cpu, uint64_t va, unsigned size, X86MmuIdx idx);
void x86_rmw_end_slow(X86Cpu *cpu);
/* Raise now what a store of `size` bytes would raise. */
void x86_probe_write(X86Cpu *cpu, uint64_t va, unsigned size);
void x86_probe_read(X86Cpu *cpu, uint64_t va, unsigned size);
/* Any length, own privilege; the store is all or nothing up to 8 KiB. */
void x86_ld_bytes(X86Cpu *cpu, uint64_t va, void *dst, unsigned len);
void x86_st_bytes(X86Cpu *cpu, uint64_t va, const void *src, unsigned len);
/* Host pointer to [va, va + size) if it is plain RAM in one page and open for `access`, else NULL; may raise. */
uint8_t *x86_page_pointer(X86Cpu *cpu, uint64_t va, X86Access access);
/* Code fetch, for the decoder: up to `len` bytes of one page; raises. Returns the gpa of the first byte. */
uint64_t x86_fetch_page(X86Cpu *cpu, uint64_t va, const uint8_t **host);
/* Guest physical memory as the CPU's own accesses see it (page walks, SMM state save). */
uint64_t x86_phys_read(X86Cpu *cpu, uint64_t gpa, unsigned size);
void x86_phys_write(X86Cpu *cpu, uint64_t gpa, uint64_t value, unsigned size);

/*
 * segment.c.  Offset to linear address with every check of SDM3A 5.3 (limit, type, null,
 * canonical): raises #GP(0), or #SS(0) for SEG_SS; then, where it is switched on, the alignment
 * that SDM3A 6.15 (#AC) wants of data of this size.  x86_linear() below is the inline part.
 */
uint64_t x86_linear_checked(X86Cpu *cpu, unsigned seg, uint64_t off, unsigned size, X86Access access);
/* For the few accesses that need no alignment, or whose misalignment is #GP. */
uint64_t x86_linear_unaligned(X86Cpu *cpu, unsigned seg, uint64_t off, unsigned size,
                              X86Access access);
/* Under MODE_ALIGN: raise what is due for misaligned data of `size` bytes at a linear address. */
void x86_check_alignment(X86Cpu *cpu, uint64_t va, unsigned size, X86Access access);

static inline uint64_t x86_linear(X86Cpu *cpu, unsigned seg, uint64_t off, unsigned size,
                                  X86Access access)
{
    if (G_LIKELY((cpu->mode & (MODE_CS64 | MODE_ALIGN)) == MODE_CS64)) {
        uint64_t va = seg >= SEG_FS && seg != SEG_FLAT ? off + cpu->segs[seg].base : off;

        if (G_LIKELY((uint64_t)(((int64_t)va >> 47) + 1) <= 1)) {
            return va;          /* a page crossing over the edge is caught by the refill,
                                 * upper addresses of 5-level paging are found out of line */
        }
    } else if (G_LIKELY(seg == SEG_FLAT && !(cpu->mode & MODE_ALIGN))) {
        return (uint32_t)off;
    }
    return x86_linear_checked(cpu, seg, off, size, access);
}

/* ---- linear ------------------------------------------------------------------------------ */

static inline uint8_t *x86_tlb_read(X86Cpu *cpu, uint64_t va, unsigned size, unsigned idx)
{
    X86TlbEntry *e = &cpu->tlb[idx][x86_tlb_index(va)];
    uint64_t off = va ^ e->tag_r;

    return G_LIKELY(off <= 4096 - size) ? e->host + off : NULL;
}

static inline uint8_t *x86_tlb_write(X86Cpu *cpu, uint64_t va, unsigned size, unsigned idx)
{
    X86TlbEntry *e = &cpu->tlb[idx][x86_tlb_index(va)];
    uint64_t off = va ^ e->tag_w;

    return G_LIKELY(off <= 4096 - size) ? e->host + off : NULL;
}

/* clang-format off */
#define X86_DEFINE_ACCESS(bits)                                                             \
    static inline uint##bits##_t x86_ld##bits(X86Cpu *cpu, uint64_t va)                     \
    {                                                                                       \
        const uint8_t *p = x86_tlb_read(cpu, va, bits / 8, cpu->mmu_idx);                   \
        uint##bits##_t v;                                                                   \
        if (G_LIKELY(p)) { memcpy(&v, p, sizeof(v)); return v; }                            \
        x86_ld_slow(cpu, va, &v, sizeof(v), cpu->mmu_idx);                                  \
        return v;                                                                           \
    }                                                                                       \
    static inline void x86_st##bits(X86Cpu *cpu, uint64_t va, uint##bits##_t v)             \
    {                                                                                       \
        uint8_t *p = x86_tlb_write(cpu, va, bits / 8, cpu->mmu_idx);                        \
        if (G_LIKELY(p)) { memcpy(p, &v, sizeof(v)); return; }                              \
        x86_st_slow(cpu, va, &v, sizeof(v), cpu->mmu_idx);                                  \
    }                                                                                       \
    static inline uint##bits##_t x86_sys_ld##bits(X86Cpu *cpu, uint64_t va)                 \
    {                                                                                       \
        const uint8_t *p = x86_tlb_read(cpu, va, bits / 8, X86_MMU_KERNEL);                 \
        uint##bits##_t v;                                                                   \
        if (G_LIKELY(p)) { memcpy(&v, p, sizeof(v)); return v; }                            \
        x86_ld_slow(cpu, va, &v, sizeof(v), X86_MMU_KERNEL);                                \
        return v;                                                                           \
    }                                                                                       \
    static inline void x86_sys_st##bits(X86Cpu *cpu, uint64_t va, uint##bits##_t v)         \
    {                                                                                       \
        uint8_t *p = x86_tlb_write(cpu, va, bits / 8, X86_MMU_KERNEL);                      \
        if (G_LIKELY(p)) { memcpy(p, &v, sizeof(v)); return; }                              \
        x86_st_slow(cpu, va, &v, sizeof(v), X86_MMU_KERNEL);                                \
    }                                                                                       \
    static inline uint##bits##_t x86_load##bits(X86Cpu *cpu, unsigned seg, uint64_t off)    \
    {                                                                                       \
        return x86_ld##bits(cpu, x86_linear(cpu, seg, off, bits / 8, X86_READ));            \
    }                                                                                       \
    static inline void x86_store##bits(X86Cpu *cpu, unsigned seg, uint64_t off,             \
                                       uint##bits##_t v)                                    \
    {                                                                                       \
        x86_st##bits(cpu, x86_linear(cpu, seg, off, bits / 8, X86_WRITE), v);               \
    }                                                                                       \
    static inline uint##bits##_t insn_ld##bits(X86Cpu *cpu, const Insn *insn)               \
    {                                                                                       \
        return x86_ld##bits(cpu, insn_linear(cpu, insn, bits / 8, X86_READ));               \
    }                                                                                       \
    static inline void insn_st##bits(X86Cpu *cpu, const Insn *insn, uint##bits##_t v)       \
    {                                                                                       \
        x86_st##bits(cpu, insn_linear(cpu, insn, bits / 8, X86_WRITE), v);                  \
    }

/* Offset of the memory operand within its segment, truncated to the address size. */
static inline uint64_t insn_offset(const X86Cpu *cpu, const Insn *insn)
{
    uint64_t off = (insn->base == R_RIP ? cpu->next_rip : cpu->gpr[insn->base]) +
                   (cpu->gpr[insn->index] << insn->scale) + insn->disp;

    return insn->addr_size == 8 ? off : insn->addr_size == 4 ? (uint32_t)off : (uint16_t)off;
}

static inline uint64_t insn_linear(X86Cpu *cpu, const Insn *insn, unsigned size, X86Access access)
{
    return x86_linear(cpu, insn->seg, insn_offset(cpu, insn), size, access);
}

static inline uint64_t insn_linear_unaligned(X86Cpu *cpu, const Insn *insn, unsigned size,
                                             X86Access access)
{
    return x86_linear_unaligned(cpu, insn->seg, insn_offset(cpu, insn), size, access);
}

X86_DEFINE_ACCESS(8)
X86_DEFINE_ACCESS(16)
X86_DEFINE_ACCESS(32)
X86_DEFINE_ACCESS(64)
#undef X86_DEFINE_ACCESS

#define X86_DEFINE_WIDE(bits)                                                               \
    static inline void x86_ld##bits(X86Cpu *cpu, uint64_t va, void *dst)                    \
    {                                                                                       \
        const uint8_t *p = x86_tlb_read(cpu, va, bits / 8, cpu->mmu_idx);                   \
        if (G_LIKELY(p)) { memcpy(dst, p, bits / 8); return; }                              \
        x86_ld_slow(cpu, va, dst, bits / 8, cpu->mmu_idx);                                  \
    }                                                                                       \
    static inline void x86_st##bits(X86Cpu *cpu, uint64_t va, const void *src)              \
    {                                                                                       \
        uint8_t *p = x86_tlb_write(cpu, va, bits / 8, cpu->mmu_idx);                        \
        if (G_LIKELY(p)) { memcpy(p, src, bits / 8); return; }                              \
        x86_st_slow(cpu, va, src, bits / 8, cpu->mmu_idx);                                  \
    }                                                                                       \
    static inline void insn_ld##bits(X86Cpu *cpu, const Insn *insn, void *dst)              \
    {                                                                                       \
        x86_ld##bits(cpu, insn_linear(cpu, insn, bits / 8, X86_READ), dst);                 \
    }                                                                                       \
    static inline void insn_st##bits(X86Cpu *cpu, const Insn *insn, const void *src)        \
    {                                                                                       \
        x86_st##bits(cpu, insn_linear(cpu, insn, bits / 8, X86_WRITE), src);                \
    }
X86_DEFINE_WIDE(128)
X86_DEFINE_WIDE(256)
#undef X86_DEFINE_WIDE
/* clang-format on */

/* `size` bytes at the memory operand; the pointer is good until x86_rmw_end(). */
static inline void *x86_rmw(X86Cpu *cpu, uint64_t va, unsigned size)
{
    uint8_t *p = x86_tlb_write(cpu, va, size, cpu->mmu_idx);

    return G_LIKELY(p) ? p : x86_rmw_slow(cpu, va, size, cpu->mmu_idx);
}

static inline void *insn_rmw(X86Cpu *cpu, const Insn *insn, unsigned size)
{
    return x86_rmw(cpu, insn_linear(cpu, insn, size, X86_WRITE), size);
}

static inline void x86_rmw_end(X86Cpu *cpu)
{
    if (G_UNLIKELY(cpu->rmw.size)) {
        x86_rmw_end_slow(cpu);
    }
}

/* ---- stack --------------------------------------------------------------------------------- */

/*
 * Push and pop of `size` bytes with the mode's stack pointer width (RSP, ESP or SP).  x86_push()
 * moves the pointer after the store succeeded, x86_pop() after the load.  For instructions with
 * several: x86_push_at()/x86_pop_at() work on a copy of RSP that x86_set_sp() commits at the end.
 */
static inline uint64_t x86_sp_mask(const X86Cpu *cpu)
{
    return cpu->mode & MODE_CS64 ? ~0ull : cpu->mode & MODE_SS32 ? 0xffffffffu : 0xffffu;
}

static inline void x86_set_sp(X86Cpu *cpu, uint64_t sp)
{
    uint64_t mask = x86_sp_mask(cpu);

    /* A 32-bit stack pointer clears the upper half as any 32-bit register write does. */
    cpu->gpr[R_RSP] = mask == 0xffff ? (cpu->gpr[R_RSP] & ~mask) | (sp & mask) : sp & mask;
}

void x86_push_at(X86Cpu *cpu, uint64_t *sp, uint64_t value, unsigned size);
uint64_t x86_pop_at(X86Cpu *cpu, uint64_t *sp, unsigned size);

static inline void x86_push(X86Cpu *cpu, uint64_t value, unsigned size)
{
    uint64_t sp = cpu->gpr[R_RSP];

    x86_push_at(cpu, &sp, value, size);
    x86_set_sp(cpu, sp);
}

static inline uint64_t x86_pop(X86Cpu *cpu, unsigned size)
{
    uint64_t sp = cpu->gpr[R_RSP];
    uint64_t value = x86_pop_at(cpu, &sp, size);

    x86_set_sp(cpu, sp);
    return value;
}

#endif
