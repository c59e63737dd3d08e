/* SPDX-License-Identifier: MIT */
/* See ranges.h. */
#include "target-x86/ranges.h"

#include "target-x86/mmu_int.h"

/* Neighbours that are looked at in each direction: the 2 MiB pages of a gigabyte. */
#define NEIGHBOURS 512
/* No read is longer: a group of accesses, translate_groups.c. */
#define READ_MAX 256

static bool contains(const X86Range *r, uint64_t va)
{
    return va - r->start < r->len;
}

/* What another slot of this context knows. */
static const X86Range *known_range(const X86Cpu *cpu, X86MmuIdx idx, uint64_t va)
{
    for (unsigned n = 0; n < X86_RANGES; n++) {
        if (contains(&cpu->tx.ranges[idx][n], va)) {
            return &cpu->tx.ranges[idx][n];
        }
    }
    return NULL;
}

/* Does the page at VA go on where the one before or behind it ends?  Not around the ends of 4 GiB, or of all addresses. */
static bool continues(X86Cpu *cpu, X86MmuIdx idx, uint64_t va, const X86LinearPiece *of)
{
    uint64_t end = cpu->efer & EFER_LMA ? ~0ull : UINT32_MAX;
    X86LinearPiece page;

    return va <= end && !((va ^ of->va) >> 63) && x86_mmu_linear_piece(cpu, va, idx, &page) &&
           page.va == va && page.size == of->size && page.global == of->global &&
           page.host - of->host == (ptrdiff_t)(va - of->va);
}

static bool find_range(X86Cpu *cpu, X86MmuIdx idx, uint64_t va, X86Range *out)
{
    X86LinearPiece page;
    uint64_t start, end;

    if (!x86_mmu_linear_piece(cpu, va, idx, &page)) {
        return false;
    }
    start = page.va;
    end = start + page.size;
    for (unsigned i = 0; i < NEIGHBOURS && continues(cpu, idx, end, &page); i++) {
        end += page.size;
    }
    for (unsigned i = 0; i < NEIGHBOURS && continues(cpu, idx, start - page.size, &page); i++) {
        start -= page.size;
    }
    *out = (X86Range){ .start = start, .len = end - start - (READ_MAX - 1),
                       .delta = (uintptr_t)page.host - page.va, .global = page.global };
    return contains(out, va);
}

bool x86_range_fill(X86Cpu *cpu, X86MmuIdx idx, unsigned n, uint64_t va)
{
    const X86Range *known = known_range(cpu, idx, va);
    X86Range range;

    if (known) {
        range = *known;
    } else if ((cpu->dr[7] & 0xff) || !find_range(cpu, idx, va, &range)) {
        return false;           /* a data breakpoint may lie in it */
    }
    range.patience = cpu->tx.ranges[idx][n].patience;
    cpu->tx.ranges[idx][n] = range;
    cpu->tx.ranges_used[idx] |= BIT64(n);
    return true;
}

static void forget(X86Cpu *cpu, unsigned idx, unsigned n)
{
    cpu->tx.ranges[idx][n].len = 0;
    cpu->tx.ranges[idx][n].patience = 0;
    cpu->tx.ranges_used[idx] &= ~BIT64(n);
}

void x86_ranges_forget(X86Cpu *cpu, bool globals_too)
{
    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (uint64_t used = cpu->tx.ranges_used[idx]; used; used &= used - 1) {
            if (globals_too || !cpu->tx.ranges[idx][__builtin_ctzll(used)].global) {
                forget(cpu, idx, __builtin_ctzll(used));
            }
        }
    }
}

/* Any address of a page of up to a gigabyte stands for all of it. */
void x86_ranges_forget_page(X86Cpu *cpu, uint64_t va)
{
    uint64_t first = va >> 30 << 30;

    for (unsigned idx = 0; idx < X86_MMU_COUNT; idx++) {
        for (uint64_t used = cpu->tx.ranges_used[idx]; used; used &= used - 1) {
            const X86Range *r = &cpu->tx.ranges[idx][__builtin_ctzll(used)];

            if (first - r->start < r->len + READ_MAX || r->start - first < BIT64(30)) {
                forget(cpu, idx, __builtin_ctzll(used));
            }
        }
    }
}
