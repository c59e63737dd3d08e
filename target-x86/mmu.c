/* SPDX-License-Identifier: MIT */
/*
 * Page walks and the contents of the software TLB.  Spec: [SDM3A 4], Intel SDM 325384-077.
 * 32-bit paging with PSE-36, PAE, 4 and 5 levels; NX, SMEP, SMAP, protection keys of user pages, WP,
 * global pages, reserved bits, A/D updates by compare-exchange on the entry.
 * Missing: supervisor keys, paging-structure caches: each refill walks from CR3.
 * One TLB set per privilege context holds one 4 KiB page; larger mappings are cached in pieces.
 * The TLB is that of one PCID: tlb_contexts.c puts aside what belongs to others.
 * Locking: the vCPU's thread, except x86_tlb_poison_page().
 */
#include "target-x86/mmu_int.h"

#include <inttypes.h>

#include "target-x86/bus.h"
#include "target-x86/code.h"
#include "target-x86/exception.h"
#include "target-x86/mem.h"
#include "target-x86/ranges.h"
#include "target-x86/tlb_contexts.h"

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

static uint64_t phys_limit_mask(const X86Cpu *cpu)
{
    unsigned bits = cpu->phys_bits ? cpu->phys_bits : 40;

    return BIT64(MIN(bits, 52)) - 1;
}

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
    rsvd = ~phys_limit_mask(cpu) & 0x000ffffffffff000ull;
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

/*
 * From CR3 to the leaf.  MARK sets A bits on the way.  False: not mapped, w->code says why.
 * Permissions are not looked at: see rights_check().  Changed entries restart the walk; after a
 * few rounds against a guest that keeps changing them, A is left alone for this access.
 */
static bool walk(X86Cpu *cpu, uint64_t va, bool mark, Walk *w, GString *why)
{
    const Level *level;
    unsigned levels, size, round = 0;
    uint64_t table, rights;

    w->code = 0;
    if (!(cpu->cr0 & CR0_PG)) {
        *w = (Walk){ .gpa = (uint32_t)va & cpu->a20_mask, .rights = PTE_U | PTE_W, .shift = 12 };
        say(why, "paging is off\n");
        return true;
    }
again:
    rights = PTE_U | PTE_W;
    if (!paging_is_pae(cpu)) {
        va = (uint32_t)va;
        level = levels_32bit;
        levels = 2;
        size = 4;
        table = cpu->cr3 & 0xfffff000;
    } else if (cpu->efer & EFER_LMA) {
        bool five = cpu->cr4 & CR4_LA57;

        level = five ? levels_long : levels_long + 1;
        levels = five ? 5 : 4;
        size = 8;
        table = cpu->cr3 & 0x000ffffffffff000ull;
    } else {
        uint64_t pdpte;

        va = (uint32_t)va;
        pdpte = cpu->pdpte[va >> 30];
        say(why, "PDPTE[%u] = 0x%" PRIx64 "%s\n", (unsigned)(va >> 30), pdpte,
            pdpte & PTE_P ? "" : ": not present");
        if (!(pdpte & PTE_P)) {
            return false;
        }
        level = levels_long + 3;
        levels = 2;
        size = 8;
        table = pdpte & 0x000ffffffffff000ull;
    }
    for (; levels; levels--, level++) {
        uint64_t index = va >> level->shift & ((1u << level->bits) - 1);
        uint64_t at = (table + index * size) & cpu->a20_mask;
        uint64_t entry = entry_read(cpu, at, size);
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
            if (!entry_set(cpu, at, size, entry, PTE_A) && ++round < 8) {
                goto again;
            }
            entry |= PTE_A;
        }
        if (leaf) {
            uint64_t mask = BIT64(level->shift) - 1;

            w->gpa = (entry & phys_limit_mask(cpu) & ~mask) | (va & mask);
            if (size == 4) {
                w->gpa = ((uint32_t)entry & ~(uint32_t)mask) | (va & mask);
                if (level->shift == 22) {
                    w->gpa |= (entry >> 13 & 0xff) << 32;
                }
            }
            w->gpa &= cpu->a20_mask;
            w->rights = rights;
            w->leaf = entry;
            w->shift = level->shift;
            w->code = 0;
            /* Kept for the D update: where the leaf is. */
            cpu->mmu_leaf = at;
            return true;
        }
        table = entry & (size == 4 ? 0xfffff000 : 0x000ffffffffff000ull);
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

/* Does an enabled data breakpoint touch this page?  [SDM3B 17.2.4] */
static bool page_is_watched(const X86Cpu *cpu, uint64_t va)
{
    static const uint8_t lengths[4] = { 1, 2, 8, 4 };

    if (G_LIKELY(!(cpu->dr[7] & 0xff))) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = cpu->dr[7] >> (16 + 4 * i) & 3;
        uint64_t len = lengths[cpu->dr[7] >> (18 + 4 * i) & 3];

        if ((cpu->dr[7] >> (2 * i) & 3) && (kind & 1) &&
            (cpu->dr[i] & ~(len - 1) & ~0xfffull) == (va & ~0xfffull)) {
            return true;
        }
    }
    return false;
}

void x86_tlb_drop(X86Cpu *cpu, unsigned idx, unsigned set)
{
    X86TlbEntry *e = &cpu->tlb[idx][set];

    __atomic_store_n(&e->tag_r, X86_TLB_POISON_TAG(set), __ATOMIC_RELAXED);
    __atomic_store_n(&e->tag_w, X86_TLB_POISON_TAG(set), __ATOMIC_RELAXED);
    cpu->tlb_phys[idx][set].va = X86_TLB_POISON;
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

/* In the words a flush and x86_tlb_poison_page() go by; before a tag is opened. */
static void note_used(X86Cpu *cpu, unsigned idx, unsigned set, bool global)
{
    uint64_t *there = &(global ? cpu->tlb_global : cpu->tlb_used)[idx][set / 64];
    uint64_t *not_there = &(global ? cpu->tlb_used : cpu->tlb_global)[idx][set / 64];

    __atomic_store_n(there, *there | BIT64(set % 64), __ATOMIC_RELAXED);
    __atomic_store_n(not_there, *not_there & ~BIT64(set % 64), __ATOMIC_RELAXED);
}

/* Tags as the page's rights allow; no store may come before close_if_code(). */
static void fill_set(X86Cpu *cpu, X86MmuIdx idx, unsigned set, const X86TlbPhys *page)
{
    X86TlbEntry *e = &cpu->tlb[idx][set];
    X86TlbPhys *p = &cpu->tlb_phys[idx][set];
    const uint64_t none = X86_TLB_POISON_TAG(set);
    bool open = page->host && !(page->attr & X86_PAGE_WATCH);

    __atomic_store_n(&e->tag_w, none, __ATOMIC_RELAXED);
    __atomic_store_n(&p->gpa, page->gpa, __ATOMIC_RELAXED);
    p->perm = page->perm;
    p->host = page->host;
    __atomic_store_n(&p->attr, page->attr & ~(uint32_t)X86_PAGE_CODE, __ATOMIC_RELAXED);
    p->va = page->va;
    e->host = page->host;
    note_used(cpu, idx, set, page->attr & X86_PAGE_GLOBAL);
    if (page->attr & X86_PAGE_LARGE) {
        cpu->tlb_large[page->va >> 63] = true;
    }
    __atomic_store_n(&e->tag_r, open && (page->perm & BIT(X86_READ)) ? page->va : none, __ATOMIC_RELAXED);
    if (open && (page->perm & BIT(X86_WRITE)) && !(page->attr & (X86_PAGE_ROM | X86_PAGE_LOG))) {
        __atomic_store_n(&e->tag_w, page->va, __ATOMIC_RELAXED);
    }
}

/* Behind a fence that pairs with code_map_add(): either it finds the tag, or we find its mark. */
static void close_if_code(X86Cpu *cpu, X86MmuIdx idx, unsigned set)
{
    if (cpu->code && code_map_has(cpu->code, cpu->tlb_phys[idx][set].gpa)) {
        __atomic_store_n(&cpu->tlb[idx][set].tag_w, X86_TLB_POISON_TAG(set), __ATOMIC_RELAXED);
        __atomic_fetch_or(&cpu->tlb_phys[idx][set].attr, X86_PAGE_CODE, __ATOMIC_RELAXED);
    }
}

static const X86TlbPhys *open_at(X86Cpu *cpu, X86MmuIdx idx, unsigned set, const X86TlbPhys *page)
{
    fill_set(cpu, idx, set, page);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    close_if_code(cpu, idx, set);
    return &cpu->tlb_phys[idx][set];
}

/*
 * The page at VA's place goes to its second one, unless another page has its first there: then it is dropped;
 * but of two pages that drop each other again and again one moves all the same.
 */
static void make_room(X86Cpu *cpu, X86MmuIdx idx, uint64_t va)
{
    unsigned set = x86_tlb_index(va), second = x86_tlb_second(set);
    const X86TlbPhys *other = &cpu->tlb_phys[idx][second];
    X86TlbPhys page = cpu->tlb_phys[idx][set];

    if (other->va == va) {
        x86_tlb_drop(cpu, idx, second);
    }
    if (page.va == X86_TLB_POISON || page.va == va || x86_tlb_index(page.va) != set) {
        return;
    }
    if (other->va == X86_TLB_POISON || x86_tlb_index(other->va) != second ||
        cpu->tlb_lost[idx][set] == (uint32_t)(va >> 12)) {
        /* Another thread may be adding to this; open_at() looks at the code map by itself. */
        page.attr = __atomic_load_n(&cpu->tlb_phys[idx][set].attr, __ATOMIC_RELAXED);
        x86_tlb_drop(cpu, idx, set);
        open_at(cpu, idx, second, &page);
    } else {
        cpu->tlb_lost[idx][set] = page.va >> 12;
    }
}

const X86TlbPhys *x86_tlb_open(X86Cpu *cpu, X86MmuIdx idx, const X86TlbPhys *page)
{
    make_room(cpu, idx, page->va);
    return open_at(cpu, idx, x86_tlb_index(page->va), page);
}

/* No store comes between the first tag and the last look at the code map. */
void x86_tlb_open_many(X86Cpu *cpu, const X86TlbPage *pages, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        make_room(cpu, pages[i].idx, pages[i].page.va);
        fill_set(cpu, pages[i].idx, x86_tlb_index(pages[i].page.va), &pages[i].page);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* Those that another one of them has moved since have been looked at; their set is somebody's all the same. */
    for (unsigned i = 0; i < count; i++) {
        close_if_code(cpu, pages[i].idx, x86_tlb_index(pages[i].page.va));
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
                (page_is_watched(cpu, va) ? X86_PAGE_WATCH : 0) |
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

/* ---- invalidation -------------------------------------------------------------------------- */

/* Jumps to where code lies, for CPL 0-2 (0) or CPL 3 (1), are looked up anew. */
static void code_jumps_forget(X86Cpu *cpu, unsigned class)
{
    cpu->tx.generation[class] = ++cpu->tx.last_generation;
    if (cpu->tx.any_lost[class]) {
        memset(cpu->tx.itlb_lost[class], 0, sizeof(cpu->tx.itlb_lost[class]));
        cpu->tx.any_lost[class] = false;
    }
    cpu->tx.smap_mode = ~0u;
    cpu->tx.return_stack = cpu->tx.return_stack_base;
}

/* And links between pages. */
static void code_pages_forget(X86Cpu *cpu, unsigned class)
{
    code_jumps_forget(cpu, class);
    if (class && cpu->tx.itlb_listed <= X86_ITLB_LIST) {
        for (unsigned i = 0; i < cpu->tx.itlb_listed; i++) {
            cpu->tx.itlb[1][cpu->tx.itlb_list[i]] = X86_ITLB_EMPTY;
        }
    } else {
        memset(cpu->tx.itlb[class], 0xff, sizeof(cpu->tx.itlb[class]));
    }
    if (class) {
        cpu->tx.itlb_listed = 0;
        cpu->tx.user_global = false;
    }
}

static bool has_code_near(const X86Cpu *cpu, unsigned class, uint64_t va)
{
    const uint64_t *itlb = cpu->tx.itlb[class];

    for (unsigned i = 0; i < 1u << X86_ITLB_BITS; i++) {
        if (itlb[i] != X86_ITLB_EMPTY && itlb[i] >> 46 == (va << 16 >> 46)) {
            return true;
        }
    }
    return false;
}

/* The same for one page, or for the gigabyte around it when large mappings are cached. */
static void code_page_forget(X86Cpu *cpu, uint64_t va, bool large)
{
    for (unsigned class = 0; class < 2; class++) {
        uint64_t *entry = &cpu->tx.itlb[class][x86_itlb_index(va)];

        if (large && has_code_near(cpu, class, va)) {
            code_pages_forget(cpu, class);
        } else if (*entry >> 28 == (va << 16 >> 28)) {
            *entry = X86_ITLB_EMPTY;
            code_jumps_forget(cpu, class);
        } else if (cpu->tx.any_lost[class] && (large || x86_itlb_is_lost(cpu, class, va))) {
            code_jumps_forget(cpu, class);
        }
    }
}

static void drop_all(X86Cpu *cpu, uint64_t sets[X86_MMU_COUNT][X86_TLB_SIZE / 64])
{
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (unsigned word = 0; word < X86_TLB_SIZE / 64; word++) {
            if (!sets[idx][word]) {
                continue;
            }
            for (uint64_t used = sets[idx][word]; used; used &= used - 1) {
                x86_tlb_drop(cpu, idx, word * 64 + __builtin_ctzll(used));
            }
            __atomic_store_n(&sets[idx][word], 0, __ATOMIC_RELAXED);
        }
    }
}

void x86_tlb_flush(X86Cpu *cpu, bool globals_too)
{
    cpu->tlb_gen++;
    x86_ranges_forget(cpu, globals_too);
    code_pages_forget(cpu, 1);
    if (globals_too || cpu->tx.kernel_not_global) {
        code_pages_forget(cpu, 0);
        cpu->tx.kernel_not_global = false;
    }
    drop_all(cpu, cpu->tlb_used);
    if (globals_too) {
        drop_all(cpu, cpu->tlb_global);
        x86_contexts_forget_all(cpu);
        cpu->tlb_large[0] = cpu->tlb_large[1] = false;
        memset(cpu->ram, 0, sizeof(cpu->ram));
    }
}

/* Runs FN on each cached page. */
static void tlb_foreach(X86Cpu *cpu, void (*fn)(X86Cpu *cpu, unsigned idx, unsigned set,
                                                uint64_t arg), uint64_t arg)
{
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (unsigned word = 0; word < X86_TLB_SIZE / 64; word++) {
            uint64_t used = cpu->tlb_used[idx][word] | cpu->tlb_global[idx][word];

            for (; used; used &= used - 1) {
                fn(cpu, idx, word * 64 + __builtin_ctzll(used), arg);
            }
        }
    }
}

/* A piece of a large mapping goes with any address of its gigabyte. */
static void drop_large_near(X86Cpu *cpu, unsigned idx, unsigned set, uint64_t va)
{
    const X86TlbPhys *p = &cpu->tlb_phys[idx][set];

    if ((p->attr & X86_PAGE_LARGE) && !((p->va ^ va) >> 30)) {
        x86_tlb_drop(cpu, idx, set);
    }
}

void x86_tlb_flush_page(X86Cpu *cpu, uint64_t va)
{
    unsigned set = x86_tlb_index(va);

    cpu->tlb_gen++;
    x86_ranges_forget_page(cpu, va);
    code_page_forget(cpu, va, cpu->tlb_large[va >> 63]);
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        if (cpu->tlb_phys[idx][set].va == (va & ~0xfffull)) {
            x86_tlb_drop(cpu, idx, set);
        }
        if (cpu->tlb_phys[idx][x86_tlb_second(set)].va == (va & ~0xfffull)) {
            x86_tlb_drop(cpu, idx, x86_tlb_second(set));
        }
    }
    if (cpu->tlb_large[va >> 63]) {
        tlb_foreach(cpu, drop_large_near, va);
    }
}

void x86_tlb_poison_page(X86Cpu *cpu, uint64_t gpa)
{
    gpa &= ~0xfffull;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < X86_MMU_COUNT * X86_TLB_SIZE / 64; i++) {
        unsigned idx = i / (X86_TLB_SIZE / 64), word = i % (X86_TLB_SIZE / 64);
        uint64_t used = __atomic_load_n(&cpu->tlb_used[idx][word], __ATOMIC_RELAXED) |
                        __atomic_load_n(&cpu->tlb_global[idx][word], __ATOMIC_RELAXED);

        for (; used; used &= used - 1) {
            unsigned set = word * 64 + __builtin_ctzll(used);

            if (__atomic_load_n(&cpu->tlb_phys[idx][set].gpa, __ATOMIC_RELAXED) == gpa) {
                __atomic_store_n(&cpu->tlb[idx][set].tag_w, X86_TLB_POISON_TAG(set), __ATOMIC_RELAXED);
                __atomic_fetch_or(&cpu->tlb_phys[idx][set].attr, X86_PAGE_CODE, __ATOMIC_RELAXED);
            }
        }
    }
}

static void drop_if_watch_changed(X86Cpu *cpu, unsigned idx, unsigned set, uint64_t arg)
{
    const X86TlbPhys *p = &cpu->tlb_phys[idx][set];

    if (p->va != X86_TLB_POISON &&
        page_is_watched(cpu, p->va) != !!(p->attr & X86_PAGE_WATCH)) {
        x86_tlb_drop(cpu, idx, set);
    }
}

void x86_tlb_update_watch(X86Cpu *cpu)
{
    tlb_foreach(cpu, drop_if_watch_changed, 0);
    x86_ranges_forget(cpu, true);
    x86_contexts_forget_all(cpu);
}

/* ---- control registers ------------------------------------------------------------------------ */

bool x86_load_pdptes(X86Cpu *cpu, uint64_t cr3)
{
    uint64_t pdpte[4];

    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = entry_read(cpu, ((cr3 & 0xffffffe0) + 8 * i) & cpu->a20_mask, 8);
        if ((pdpte[i] & PTE_P) && (pdpte[i] & (~phys_limit_mask(cpu) | 0x1e6))) {
            return false;       /* [SDM3A 4.4.1] */
        }
    }
    memcpy(cpu->pdpte, pdpte, sizeof(pdpte));
    return true;
}

static void load_pdptes_or_gp(X86Cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    if ((cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(cpu->efer & (EFER_LMA | EFER_LME)) &&
        !x86_load_pdptes(cpu, cr3)) {
        cpu_raise(cpu, VEC_GP, 0);
    }
}

/* [SDM3A 2.5], [SDM2 MOV CR] */
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
        if (value & ~phys_limit_mask(cpu)) {
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

void x86_tlb_flush_pcid(X86Cpu *cpu, unsigned pcid, const uint64_t *va)
{
    if (pcid != ((cpu->cr4 & CR4_PCIDE) ? cpu->cr3 & 0xfff : 0)) {
        x86_contexts_forget(cpu, pcid);
    } else if (va) {
        x86_tlb_flush_page(cpu, *va);
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
        code_jumps_forget(cpu, 1);      /* no return to code that knows the old ones */
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
