/* SPDX-License-Identifier: MIT */
/*
 * The software TLB: what is in its sets, and what takes it out again.  Spec: [SDM3A 4.10], Intel SDM 325384-077.
 * One set per privilege context holds one 4 KiB page; larger mappings are cached in pieces (mmu.c makes them).
 * The TLB is that of one PCID: tlb_contexts.c puts aside what belongs to others.  What translated code knows of
 * addresses, X86Translated, is forgotten along with it.
 * Locking: the vCPU's thread, except x86_tlb_poison_page().
 */
#include "target-x86/mmu_int.h"

#include "target-x86/code.h"
#include "target-x86/debug.h"
#include "target-x86/ranges.h"
#include "target-x86/tlb_contexts.h"

/* ---- one set -------------------------------------------------------------------------------- */

void x86_tlb_drop(X86Cpu *cpu, unsigned idx, unsigned set)
{
    X86TlbEntry *e = &cpu->tlb[idx][set];

    __atomic_store_n(&e->tag_r, X86_TLB_POISON_TAG(set), __ATOMIC_RELAXED);
    __atomic_store_n(&e->tag_w, X86_TLB_POISON_TAG(set), __ATOMIC_RELAXED);
    cpu->tlb_phys[idx][set].va = X86_TLB_POISON;
}

/* In the words a flush and x86_tlb_poison_page() go by; before a tag is opened. */
static void note_used(X86Cpu *cpu, unsigned idx, unsigned set, bool global)
{
    uint64_t *there = &(global ? cpu->tlb_global : cpu->tlb_used)[idx][set / 64];
    uint64_t *not_there = &(global ? cpu->tlb_used : cpu->tlb_global)[idx][set / 64];

    __atomic_store_n(there, *there | BIT64(set % 64), __ATOMIC_RELAXED);
    __atomic_store_n(not_there, *not_there & ~BIT64(set % 64), __ATOMIC_RELAXED);
    cpu->tlb_used_words[idx] |= global ? 0 : BIT64(set / 64);
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
    e->delta = (uintptr_t)page->host - page->va;
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

/* ---- code: what jumps and links know ---------------------------------------------------------- */

void x86_code_jumps_forget(X86Cpu *cpu, unsigned class)
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
    x86_code_jumps_forget(cpu, class);
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
            x86_code_jumps_forget(cpu, class);
        } else if (cpu->tx.any_lost[class] && (large || x86_itlb_is_lost(cpu, class, va))) {
            x86_code_jumps_forget(cpu, class);
        }
    }
}

/* ---- invalidation ----------------------------------------------------------------------------- */

_Static_assert(X86_TLB_SIZE / 64 <= 64, "a bit of tlb_used_words for each word of tlb_used");

static void drop_word(X86Cpu *cpu, unsigned idx, unsigned word, uint64_t *sets)
{
    for (uint64_t used = *sets; used; used &= used - 1) {
        x86_tlb_drop(cpu, idx, word * 64 + __builtin_ctzll(used));
    }
    __atomic_store_n(sets, 0, __ATOMIC_RELAXED);
}

static void drop_not_global(X86Cpu *cpu)
{
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (uint64_t words = cpu->tlb_used_words[idx]; words; words &= words - 1) {
            unsigned word = __builtin_ctzll(words);

            drop_word(cpu, idx, word, &cpu->tlb_used[idx][word]);
        }
        cpu->tlb_used_words[idx] = 0;
    }
}

static void drop_global(X86Cpu *cpu)
{
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (unsigned word = 0; word < X86_TLB_SIZE / 64; word++) {
            drop_word(cpu, idx, word, &cpu->tlb_global[idx][word]);
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
    drop_not_global(cpu);
    if (globals_too) {
        drop_global(cpu);
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

/* ---- data breakpoints ---------------------------------------------------------------------------- */

static void drop_if_watch_changed(X86Cpu *cpu, unsigned idx, unsigned set, uint64_t arg)
{
    const X86TlbPhys *p = &cpu->tlb_phys[idx][set];

    if (p->va != X86_TLB_POISON &&
        x86_debug_watches(cpu, p->va) != !!(p->attr & X86_PAGE_WATCH)) {
        x86_tlb_drop(cpu, idx, set);
    }
}

void x86_tlb_update_watch(X86Cpu *cpu)
{
    tlb_foreach(cpu, drop_if_watch_changed, 0);
    x86_ranges_forget(cpu, true);
    x86_contexts_forget_all(cpu);
}
