/* SPDX-License-Identifier: MIT */
/*
 * Page walks, and what they find for the TLB.  Spec: [SDM3A 4], Intel SDM 325384-077.
 * 32-bit paging with PSE-36, PAE, 4 and 5 levels; NX, SMEP, SMAP, protection keys of user pages, WP,
 * global pages, reserved bits, A/D updates by compare-exchange on the entry.
 * Missing: supervisor keys, paging-structure caches: each refill walks from CR3.
 * Locking: the vCPU's thread.
 */
#include "target-x86/mmu_int.h"

#include <inttypes.h>

#include "target-x86/bus.h"
#include "target-x86/code.h"
#include "target-x86/debug.h"
#include "target-x86/exception.h"

enum {
    PTE_P = BIT(0), PTE_W = BIT(1), PTE_U = BIT(2), PTE_A = BIT(5), PTE_D = BIT(6),
    PTE_PS = BIT(7), PTE_G = BIT(8),
};
#define PTE_NX BIT64(63)

typedef struct Walk {
    uint64_t gpa;               /* of the byte */
    uint64_t rights;            /* PTE_U and PTE_W ANDed over the levels, PTE_NX ORed */
    uint64_t leaf;              /* entry that maps the page; 0 without paging */
    unsigned shift;             /* 12, 21, 22 or 30 */
    uint32_t code;              /* of the page fault when the walk failed */
} Walk;

typedef struct Level {
    const char *name;
    unsigned shift, bits;
} Level;

static const Level levels_long[] = {
    { "PML5E", 48, 9 }, { "PML4E", 39, 9 }, { "PDPTE", 30, 9 }, { "PDE", 21, 9 }, { "PTE", 12, 9 },
};
static const Level levels_32bit[] = { { "PDE", 22, 10 }, { "PTE", 12, 10 } };

static bool paging_is_pae(const X86Cpu *cpu)
{
    return cpu->cr4 & CR4_PAE;
}

/* bus->map(), with a memory for where plain RAM lies: below 1 MiB, below 4 GiB, above. */
static void phys_map(X86Cpu *cpu, uint64_t page, X86Phys *out)
{
    unsigned part = page >> 32 ? 2 : page >> 20 ? 1 : 0;
    uint64_t off = page - cpu->ram[part].start;

    /* What is remembered goes with the TLB; a flush that is due may be about that. */
    if (off < cpu->ram[part].len &&
        !(atomic_load_explicit(&cpu->requests, memory_order_relaxed) & X86_REQ_TLB_FLUSH)) {
        *out = (X86Phys){ .host = cpu->ram[part].host + off, .writable = true,
                          .more = cpu->ram[part].len - off };
        return;
    }
    *out = (X86Phys){ 0 };
    cpu->bus->map(cpu->bus_opaque, page, out);
    if (out->host && out->writable && !out->log_writes) {
        cpu->ram[part].start = page;
        cpu->ram[part].len = out->more;
        cpu->ram[part].host = out->host;
    }
}

static uint64_t entry_read(X86Cpu *cpu, uint64_t gpa, unsigned size)
{
    X86Phys phys;

    phys_map(cpu, gpa & ~0xfffull, &phys);
    if (!phys.host) {
        x86_settle(cpu);
        return cpu->bus->mmio_read(cpu->bus_opaque, gpa, size);
    }
    /* One access: another CPU may be setting A or D. */
    return size == 8 ? __atomic_load_n((uint64_t *)(phys.host + (gpa & 0xff8)), __ATOMIC_RELAXED)
                     : __atomic_load_n((uint32_t *)(phys.host + (gpa & 0xffc)), __ATOMIC_RELAXED);
}

/* Sets BITS in the entry if it still is what the walk saw; false: it changed, walk again. */
static bool entry_set(X86Cpu *cpu, uint64_t gpa, unsigned size, uint64_t seen, uint64_t bits)
{
    X86Phys phys;
    bool same;

    phys_map(cpu, gpa & ~0xfffull, &phys);
    if (!phys.host) {
        x86_settle(cpu);
        cpu->bus->mmio_write(cpu->bus_opaque, gpa, seen | bits, size);
        return true;
    }
    if (!phys.writable) {
        return true;            /* tables in ROM: the bits cannot stick */
    }
    if (size == 8) {
        same = __atomic_compare_exchange_n((uint64_t *)(phys.host + (gpa & 0xff8)), &seen,
                                           seen | bits, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    } else {
        uint32_t seen32 = (uint32_t)seen;

        same = __atomic_compare_exchange_n((uint32_t *)(phys.host + (gpa & 0xffc)), &seen32,
                                           seen32 | (uint32_t)bits, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    }
    if (same) {
        if (phys.log_writes && cpu->bus->dirty) {
            cpu->bus->dirty(cpu->bus_opaque, gpa, size);
        }
        if (cpu->code && code_map_has(cpu->code, gpa)) {
            code_map_written(cpu->code, gpa, size);
        }
    }
    return same;
}

/* Reserved bits of an entry, [SDM3A 4.3, 4.4.2, 4.5.4]. */
static uint64_t reserved_bits(const X86Cpu *cpu, const Level *level, uint64_t entry)
{
    uint64_t rsvd = 0;
    bool large = level->shift > 12 && (entry & PTE_PS);

    if (!paging_is_pae(cpu)) {
        if (large && (cpu->cr4 & CR4_PSE)) {
            /* PSE-36: bits 20..13 are address bits 39..32, as far as MAXPHYADDR goes. */
            unsigned width = MIN(cpu->phys_bits ? cpu->phys_bits : 40, 40);

            return x86_has(cpu, X86_FEAT(1_EDX, 17)) && width > 32
                       ? BIT(21) | (0x1fe000u & ~(BIT(width - 32 + 13) - 1))
                       : 0x3fe000;
        }
        return 0;
    }
    rsvd = ~x86_phys_limit_mask(cpu) & 0x000ffffffffff000ull;
    if (!(cpu->efer & EFER_NXE)) {
        rsvd |= PTE_NX;
    }
    if (!(cpu->efer & EFER_LMA)) {
        rsvd |= 0x7ff0000000000000ull;
    }
    if (level->shift >= 39 || (level->shift == 30 && !x86_has(cpu, X86_FEAT(8000_0001_EDX, 26)))) {
        rsvd |= PTE_PS;
    } else if (large) {
        rsvd |= (BIT64(level->shift) - 1) & ~0x1fffull;
    }
    return rsvd;
}

#define say(why, ...) \
    do { \
        if (G_UNLIKELY(why)) { \
            g_string_append_printf(why, __VA_ARGS__); \
        } \
    } while (0)

static uint32_t access_code(const X86Cpu *cpu, X86Access access, X86MmuIdx idx)
{
    bool exec_bit = (paging_is_pae(cpu) && (cpu->efer & EFER_NXE)) || (cpu->cr4 & CR4_SMEP);

    return (access == X86_WRITE ? PF_W : 0) | (idx == X86_MMU_USER ? PF_U : 0) |
           (access == X86_EXEC && exec_bit ? PF_I : 0);
}

/* Where a walk begins. */
typedef struct Root {
    const Level *level;
    unsigned levels, entry_size;
    uint64_t table;
} Root;

/* Makes VA as wide as the paging mode has addresses.  False: not mapped. */
static bool find_root(const X86Cpu *cpu, uint64_t *va, Root *root, GString *why)
{
    uint64_t pdpte;

    if (!paging_is_pae(cpu)) {
        *va = (uint32_t)*va;
        *root = (Root){ levels_32bit, 2, 4, cpu->cr3 & 0xfffff000 };
        return true;
    }
    if (cpu->efer & EFER_LMA) {
        bool five = cpu->cr4 & CR4_LA57;

        *root = (Root){ levels_long + !five, 4 + five, 8, cpu->cr3 & 0x000ffffffffff000ull };
        return true;
    }
    *va = (uint32_t)*va;
    pdpte = cpu->pdpte[*va >> 30];
    say(why, "PDPTE[%u] = 0x%" PRIx64 "%s\n", (unsigned)(*va >> 30), pdpte, pdpte & PTE_P ? "" : ": not present");
    *root = (Root){ levels_long + 3, 2, 8, pdpte & 0x000ffffffffff000ull };
    return pdpte & PTE_P;
}

/* What ENTRY maps VA to, if it is a leaf of LEVEL. */
static uint64_t leaf_gpa(const X86Cpu *cpu, const Level *level, uint64_t entry, uint64_t va)
{
    uint64_t mask = BIT64(level->shift) - 1, gpa;

    if (paging_is_pae(cpu)) {
        gpa = entry & x86_phys_limit_mask(cpu) & ~mask;
    } else {
        gpa = (uint32_t)entry & ~(uint32_t)mask;
        gpa |= level->shift == 22 ? (entry >> 13 & 0xff) << 32 : 0;     /* PSE-36 */
    }
    return (gpa | (va & mask)) & cpu->a20_mask;
}

/*
 * From CR3 to the leaf.  MARK sets A bits on the way.  False: not mapped, w->code says why.
 * Permissions are not looked at: see rights_check().  Changed entries restart the walk; after a
 * few rounds against a guest that keeps changing them, A is left alone for this access.
 */
static bool walk(X86Cpu *cpu, uint64_t va, bool mark, Walk *w, GString *why)
{
    const Level *level;
    unsigned round = 0;
    uint64_t table, rights;
    Root root;

    w->code = 0;
    if (!(cpu->cr0 & CR0_PG)) {
        *w = (Walk){ .gpa = (uint32_t)va & cpu->a20_mask, .rights = PTE_U | PTE_W, .shift = 12 };
        say(why, "paging is off\n");
        return true;
    }
again:
    if (!find_root(cpu, &va, &root, why)) {
        return false;
    }
    rights = PTE_U | PTE_W;
    table = root.table;
    for (level = root.level; level < root.level + root.levels; level++) {
        uint64_t index = va >> level->shift & ((1u << level->bits) - 1);
        uint64_t at = (table + index * root.entry_size) & cpu->a20_mask;
        uint64_t entry = entry_read(cpu, at, root.entry_size);
        bool leaf = level->shift == 12 ||
                    ((entry & PTE_PS) && level->shift < 39 &&
                     (paging_is_pae(cpu) || (cpu->cr4 & CR4_PSE)));

        say(why, "%s at 0x%" PRIx64 " = 0x%" PRIx64, level->name, at, entry);
        if (!(entry & PTE_P)) {
            say(why, ": not present\n");
            return false;
        }
        if (entry & reserved_bits(cpu, level, entry)) {
            say(why, ": reserved bits 0x%" PRIx64 " are set\n",
                entry & reserved_bits(cpu, level, entry));
            w->code = PF_P | PF_RSVD;
            return false;
        }
        say(why, "%s%s%s\n", entry & PTE_W ? "" : ": read-only",
            entry & PTE_U ? "" : ": supervisor", entry & PTE_NX ? ": no-execute" : "");
        rights &= entry | PTE_NX;
        rights |= entry & PTE_NX;
        if (mark && !(entry & PTE_A)) {
            if (!entry_set(cpu, at, root.entry_size, entry, PTE_A) && ++round < 8) {
                goto again;
            }
            entry |= PTE_A;
        }
        if (leaf) {
            w->gpa = leaf_gpa(cpu, level, entry, va);
            w->rights = rights;
            w->leaf = entry;
            w->shift = level->shift;
            w->code = 0;
            /* Kept for the D update: where the leaf is. */
            cpu->mmu_leaf = at;
            return true;
        }
        table = entry & (root.entry_size == 4 ? 0xfffff000 : 0x000ffffffffff000ull);
    }
    return false;
}

/* 0, or the error code bits beside those of access_code(), [SDM3A 4.6]. */
static uint32_t rights_check(const X86Cpu *cpu, const Walk *w, X86Access access, X86MmuIdx idx)
{
    bool user_page = w->rights & PTE_U;
    bool user = idx == X86_MMU_USER;

    if (!w->leaf) {
        return 0;               /* no paging */
    }
    if (user && !user_page) {
        return PF_P;
    }
    if (access == X86_WRITE && !(w->rights & PTE_W) && (user || (cpu->cr0 & CR0_WP))) {
        return PF_P;
    }
    if (access == X86_EXEC) {
        return ((w->rights & PTE_NX) && (cpu->efer & EFER_NXE)) ||
                       (!user && user_page && (cpu->cr4 & CR4_SMEP))
                   ? PF_P
                   : 0;
    }
    if (idx == X86_MMU_KERNEL && user_page && (cpu->cr4 & CR4_SMAP)) {
        return PF_P;
    }
    if (user_page && (cpu->cr4 & CR4_PKE) && (cpu->efer & EFER_LMA)) {
        unsigned key = w->leaf >> 59 & 15;
        uint32_t pkru = cpu->pkru >> (2 * key);

        if ((pkru & 1) ||
            ((pkru & 2) && access == X86_WRITE && (user || (cpu->cr0 & CR0_WP)))) {
            return PF_P | PF_PK;
        }
    }
    return 0;
}

/* The walk for one access: A and D are set.  False: page fault, *code is its error code. */
static bool find_page(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx, Walk *w, uint32_t *code)
{
    for (unsigned round = 0;; round++) {
        *code = access_code(cpu, access, idx);
        if (!walk(cpu, va, true, w, NULL)) {
            *code |= w->code;
            return false;
        }
        if (rights_check(cpu, w, access, idx)) {
            *code |= rights_check(cpu, w, access, idx);
            return false;
        }
        if (access != X86_WRITE || !w->leaf || (w->leaf & PTE_D) ||
            entry_set(cpu, cpu->mmu_leaf, paging_is_pae(cpu) ? 8 : 4, w->leaf, PTE_D) ||
            round == 8) {
            return true;
        }
    }
}

/* What the walk has found becomes the entry. */
static const X86TlbPhys *enter_page(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx, const Walk *w)
{
    X86TlbPhys page = { .va = va & ~0xfffull, .gpa = w->gpa & ~0xfffull };
    X86Phys phys;

    phys_map(cpu, page.gpa, &phys);
    for (unsigned a = X86_READ; a <= X86_EXEC; a++) {
        /* A page whose D bit is clear, or that is logged, takes the slow path for its first write. */
        if (a == access || (!rights_check(cpu, w, a, idx) &&
                            (a != X86_WRITE || ((!w->leaf || (w->leaf & PTE_D)) && !phys.log_writes)))) {
            page.perm |= BIT(a);
        }
    }
    if (access == X86_WRITE && phys.log_writes && phys.writable && cpu->bus->dirty_open &&
        cpu->bus->dirty_open(cpu->bus_opaque, page.gpa)) {
        phys.log_writes = false;
    }
    page.host = phys.host;
    page.attr = (phys.host ? phys.writable ? 0 : X86_PAGE_ROM : X86_PAGE_MMIO) |
                (phys.log_writes ? X86_PAGE_LOG : 0) |
                (x86_debug_watches(cpu, va) ? X86_PAGE_WATCH : 0) |
                ((w->leaf & PTE_G) && (cpu->cr4 & CR4_PGE) ? X86_PAGE_GLOBAL : 0) |
                (w->shift > 12 ? X86_PAGE_LARGE : 0);
    return x86_tlb_open(cpu, idx, &page);
}

const X86TlbPhys *x86_mmu_fill(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx)
{
    uint32_t code;
    Walk w;

    if ((cpu->efer & EFER_LMA) && !x86_is_canonical(cpu, va)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
    if (!find_page(cpu, va, access, idx, &w, &code)) {
        cpu_raise_page_fault(cpu, va, code);
    }
    return enter_page(cpu, va, access, idx, &w);
}

bool x86_mmu_try_fill(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx, uint32_t *code)
{
    Walk w;

    if ((cpu->efer & EFER_LMA) && !x86_is_canonical(cpu, va)) {
        *code = X86_NO_PAGE_FAULT;
        return false;
    }
    if (!find_page(cpu, va, access, idx, &w, code)) {
        return false;
    }
    enter_page(cpu, va, access, idx, &w);
    return true;
}

/* Do all entries of the last table map pages one behind the other, as the first one does?  4 KiB pages of 8 bytes. */
static bool table_is_linear(X86Cpu *cpu, uint64_t table)
{
    const uint64_t alike = PTE_P | PTE_U | PTE_A | PTE_G | ~0xfffull;
    uint64_t first = entry_read(cpu, table, 8);
    X86Phys phys;

    phys_map(cpu, table, &phys);
    if (!phys.host || (first & 511ull << 12)) {
        return false;
    }
    for (unsigned i = 1; i < 512; i++) {
        uint64_t entry = __atomic_load_n((uint64_t *)phys.host + i, __ATOMIC_RELAXED);

        if ((entry ^ (first + ((uint64_t)i << 12))) & alike) {
            return false;
        }
    }
    return true;
}

bool x86_mmu_linear_piece(X86Cpu *cpu, uint64_t va, X86MmuIdx idx, X86LinearPiece *out)
{
    uint64_t size, gpa;
    X86Phys phys;
    Walk w;

    if (((cpu->efer & EFER_LMA) && !x86_is_canonical(cpu, va)) || !walk(cpu, va, false, &w, NULL) ||
        !(w.leaf & PTE_A) || rights_check(cpu, &w, X86_READ, idx)) {
        return false;
    }
    if (w.shift == 12) {
        if (!paging_is_pae(cpu) || (w.rights & PTE_U) || !table_is_linear(cpu, cpu->mmu_leaf & ~0xfffull)) {
            return false;
        }
        w.shift = 21;
    }
    size = BIT64(w.shift);
    gpa = w.gpa & ~(size - 1);
    phys_map(cpu, gpa, &phys);
    if (!phys.host || !phys.writable || phys.log_writes || phys.more < size || cpu->a20_mask != ~0ull) {
        return false;
    }
    *out = (X86LinearPiece){ va & ~(size - 1), size, phys.host, (w.leaf & PTE_G) && (cpu->cr4 & CR4_PGE) };
    return true;
}

bool x86_mmu_peek(X86Cpu *cpu, uint64_t va, uint64_t *gpa)
{
    Walk w;

    if ((cpu->efer & EFER_LMA) && !x86_is_canonical(cpu, va)) {
        return false;
    }
    if (!walk(cpu, va, false, &w, NULL)) {
        return false;
    }
    *gpa = w.gpa;
    return true;
}

void x86_mmu_explain(X86Cpu *cpu, uint64_t va, X86Access access, X86MmuIdx idx, GString *out)
{
    static const char *const names[] = { "read", "write", "fetch" };
    uint32_t denied;
    Walk w;

    say(out, "%s %s of 0x%" PRIx64 ", CR3 = 0x%" PRIx64 "\n",
        idx == X86_MMU_USER ? "user" : "supervisor", names[access], va, cpu->cr3);
    if ((cpu->efer & EFER_LMA) && !x86_is_canonical(cpu, va)) {
        say(out, "address is not canonical\n");
        return;
    }
    if (!walk(cpu, va, false, &w, out)) {
        return;
    }
    denied = rights_check(cpu, &w, access, idx);
    if (denied) {
        say(out, "maps 0x%" PRIx64 ", but this %s is not allowed%s\n", w.gpa, names[access],
            denied & PF_PK ? " by the protection key" : "");
    } else {
        say(out, "maps 0x%" PRIx64 "\n", w.gpa);
    }
}

/* [SDM3A 4.4.1] */
bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3)
{
    uint64_t pdpte[4];

    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = entry_read(cpu, ((cr3 & 0xffffffe0) + 8 * i) & cpu->a20_mask, 8);
        if ((pdpte[i] & PTE_P) && (pdpte[i] & (~x86_phys_limit_mask(cpu) | 0x1e6))) {
            return false;
        }
    }
    memcpy(cpu->pdpte, pdpte, sizeof(pdpte));
    return true;
}
