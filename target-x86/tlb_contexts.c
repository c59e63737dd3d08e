/* SPDX-License-Identifier: MIT */
/*
 * See tlb_contexts.h.
 *
 * Invariants: (1) the current PCID has nothing put aside; (2) what is put aside is not global and not under a
 * data breakpoint; (3) a generation of user code that is brought back stands for the same translations as when it
 * was put aside: jumps found under it may be taken.
 */
#include "target-x86/tlb_contexts.h"

#include "target-x86/mmu_int.h"

#define CONTEXTS 8
#define PAGES 256

typedef struct Context {
    bool used;
    uint16_t pcid;
    uint64_t age;               /* X86Contexts.clock when it was put aside */
    unsigned pages, code_pages;
    X86TlbPage page[PAGES];
    /* Of user code; generation 0: not kept. */
    uint32_t generation;
    bool any_lost;
    uint64_t itlb[X86_ITLB_LIST];
    uint64_t lost[2][(1 << X86_ITLB_BITS) / 64];
} Context;

struct X86Contexts {
    uint64_t clock;
    Context list[CONTEXTS];
};

void x86_contexts_enable(X86Cpu *cpu, bool enable)
{
    g_free(cpu->contexts);
    cpu->contexts = enable ? g_new0(X86Contexts, 1) : NULL;
}

static Context *find(X86Contexts *all, unsigned pcid)
{
    for (unsigned i = 0; i < CONTEXTS; i++) {
        if (all->list[i].used && all->list[i].pcid == pcid) {
            return &all->list[i];
        }
    }
    return NULL;
}

static Context *oldest(X86Contexts *all)
{
    Context *found = &all->list[0];

    for (unsigned i = 0; i < CONTEXTS; i++) {
        if (!all->list[i].used) {
            return &all->list[i];
        }
        if (all->list[i].age < found->age) {
            found = &all->list[i];
        }
    }
    return found;
}

static void save_page(X86Cpu *cpu, Context *c, X86MmuIdx idx, unsigned set)
{
    X86TlbPage *to = &c->page[c->pages];
    const X86TlbPhys *from = &cpu->tlb_phys[idx][set];

    /* Another thread may be adding to this; x86_tlb_open_many() looks at the code map by itself. */
    uint32_t attr = __atomic_load_n(&from->attr, __ATOMIC_RELAXED);

    if (from->va != X86_TLB_POISON && !(attr & (X86_PAGE_GLOBAL | X86_PAGE_WATCH))) {
        *to = (X86TlbPage){ *from, idx };
        to->page.attr = attr;
        c->pages++;
    }
}

/* And out of the TLB; what does not fit is left to its flush. */
static void save_pages(X86Cpu *cpu, Context *c)
{
    c->pages = 0;
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (uint64_t words = cpu->tlb_used_words[idx]; words; words &= words - 1) {
            unsigned word = __builtin_ctzll(words);

            for (uint64_t used = cpu->tlb_used[idx][word]; used; used &= used - 1) {
                unsigned set = word * 64 + __builtin_ctzll(used);

                if (c->pages == PAGES) {
                    return;
                }
                save_page(cpu, c, idx, set);
                x86_tlb_drop(cpu, idx, set);
            }
            __atomic_store_n(&cpu->tlb_used[idx][word], 0, __ATOMIC_RELAXED);
            cpu->tlb_used_words[idx] &= ~BIT64(word);
        }
    }
}

static void save_code(X86Cpu *cpu, Context *c)
{
    X86Translated *tx = &cpu->tx;

    c->code_pages = 0;
    c->generation = 0;
    if (tx->user_global || tx->itlb_listed > X86_ITLB_LIST) {
        return;
    }
    c->generation = tx->generation[1];
    for (unsigned i = 0; i < tx->itlb_listed; i++) {
        uint64_t entry = tx->itlb[1][tx->itlb_list[i]];

        if (entry != X86_ITLB_EMPTY) {
            c->itlb[c->code_pages++] = entry;
        }
    }
    c->any_lost = tx->any_lost[1];
    if (c->any_lost) {
        memcpy(c->lost, tx->itlb_lost[1], sizeof(c->lost));
    }
}

static void restore(X86Cpu *cpu, Context *c)
{
    X86Translated *tx = &cpu->tx;

    x86_tlb_open_many(cpu, c->page, c->pages);
    c->used = false;
    if (!c->generation) {
        return;
    }
    tx->generation[1] = c->generation;
    for (unsigned i = 0; i < c->code_pages; i++) {
        x86_itlb_set(cpu, 1, (uint64_t)((int64_t)(c->itlb[i] >> 28 << 28) >> 16), c->itlb[i]);
    }
    tx->any_lost[1] = c->any_lost;
    if (c->any_lost) {
        memcpy(tx->itlb_lost[1], c->lost, sizeof(c->lost));
    }
}

void x86_contexts_switch(X86Cpu *cpu, unsigned from, unsigned to, bool keep)
{
    X86Contexts *all = cpu->contexts;
    Context *old, *new;

    if (from == to) {
        if (!keep) {
            x86_tlb_flush(cpu, false);
        }
        return;
    }
    if (all) {
        old = oldest(all);
        old->used = true;
        old->pcid = from;
        old->age = ++all->clock;
        save_pages(cpu, old);
        save_code(cpu, old);
    }
    x86_tlb_flush(cpu, false);
    new = all ? find(all, to) : NULL;
    if (new && keep) {
        restore(cpu, new);
    } else if (new) {
        new->used = false;
    }
}

void x86_contexts_forget(X86Cpu *cpu, unsigned pcid)
{
    Context *c = cpu->contexts ? find(cpu->contexts, pcid) : NULL;

    if (c) {
        c->used = false;
    }
}

void x86_contexts_forget_all(X86Cpu *cpu)
{
    for (unsigned i = 0; cpu->contexts && i < CONTEXTS; i++) {
        cpu->contexts->list[i].used = false;
    }
}
