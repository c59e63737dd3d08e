/* SPDX-License-Identifier: MIT */
/* Which runs of pages become a range, and what drops it: ranges.h; [SDM3A 4.10.4.1]. */
#include "target-x86/ranges.h"

#include "target-x86/testbench.h"

/* 2 MiB pages: LARGE + n maps the RAM's first and second, SMALL has a table of 4 KiB pages; all of BENCH_RAM once more at MIX. */
enum { PML4 = 0x30000, PDPT = 0x31000, PD = 0x32000, PT = 0x33000 };
enum { MIB2 = 2 << 20, LARGE = 4 * MIB2, MIX = 16 * MIB2, OTHER_GIB = 1 << 30 };
enum { P = BIT(0), W = BIT(1), U = BIT(2), A = BIT(5), PS = BIT(7), G = BIT(8) };

static uint64_t *entry(X86Bench *b, uint64_t table, unsigned n)
{
    return (uint64_t *)(void *)(b->ram + table) + n;
}

static X86Bench *bench(void)
{
    X86Bench *b = x86_bench_new();

    *entry(b, PML4, 0) = PDPT | P | W | U | A;
    *entry(b, PDPT, 0) = PD | P | W | U | A;
    for (unsigned i = 0; i < 2; i++) {
        *entry(b, PD, LARGE / MIB2 + i) = (i * MIB2) | P | W | A | PS;
    }
    for (unsigned i = 0; i < 512; i++) {
        *entry(b, PT, i) = i << 12 | P | W | A;
    }
    *entry(b, PD, MIX / MIB2) = PT | P | W | A;
    *entry(b, PD, MIX / MIB2 + 1) = MIB2 | P | W | A | PS;
    x86_load_cr(b->cpu, CR0_PE | CR0_NE | (uint64_t)CR0_PG | CR0_WP, PML4, CR4_PAE | CR4_PGE | CR4_SMAP,
                EFER_LME | EFER_LMA | EFER_NXE);
    return b;
}

static bool fill(X86Bench *b, X86MmuIdx idx, uint64_t va)
{
    return x86_range_fill(b->cpu, idx, 5, va);
}

/* The range at VA goes from START on for SIZE bytes. */
static void check(X86Bench *b, uint64_t va, uint64_t start, uint64_t size)
{
    const X86Range *r = &b->cpu->tx.ranges[X86_MMU_KERNEL][5];

    g_assert_true(fill(b, X86_MMU_KERNEL, va));
    g_assert_cmphex(r->start, ==, start);
    g_assert_cmphex(r->len, ==, size - 255);
    g_assert_true((uint8_t *)(uintptr_t)(va + r->delta) == b->ram + (va - (va < MIX ? LARGE : MIX)));
}

static void test_extent(void)
{
    g_autoptr(X86Bench) b = bench();

    check(b, LARGE + 0x1234, LARGE, 2 * MIB2);
    x86_ranges_forget(b->cpu, true);
    check(b, LARGE + 2 * MIB2 - 256, LARGE, 2 * MIB2);
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE + 2 * MIB2));          /* not present */
    g_assert_true(fill(b, X86_MMU_KERNEL, LARGE + 2 * MIB2 - 256));
    x86_ranges_forget(b->cpu, true);
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE + 2 * MIB2 - 255));    /* of 256 bytes, one is beyond */
    check(b, MIX + MIB2, MIX, 2 * MIB2);                        /* large behind small ones */
    x86_ranges_forget(b->cpu, true);
    *entry(b, PD, LARGE / MIB2) = MIB2 | P | W | A | PS;        /* both map the same */
    g_assert_true(fill(b, X86_MMU_KERNEL, LARGE));
    g_assert_cmphex(b->cpu->tx.ranges[X86_MMU_KERNEL][5].len, ==, MIB2 - 255);
}

/* What a 4 KiB page in the middle must have for its table to count. */
static void test_small_pages(void)
{
    static const uint64_t wrong[] = { A, P, U, G, 1 << 12, BIT64(51) };
    g_autoptr(X86Bench) b = bench();

    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        *entry(b, PT, 100) ^= wrong[i];
        x86_ranges_forget(b->cpu, true);
        g_assert_false(fill(b, X86_MMU_KERNEL, MIX));
        check(b, MIX + MIB2, MIX + MIB2, MIB2);
        *entry(b, PT, 100) ^= wrong[i];
    }
    *entry(b, PT, 100) &= ~(uint64_t)W;                         /* it is for reading */
    x86_ranges_forget(b->cpu, true);
    check(b, MIX, MIX, 2 * MIB2);
}

static void test_rights(void)
{
    g_autoptr(X86Bench) b = bench();

    g_assert_false(fill(b, X86_MMU_USER, LARGE));
    *entry(b, PD, LARGE / MIB2) |= U;
    g_assert_true(fill(b, X86_MMU_USER, LARGE));
    g_assert_false(fill(b, X86_MMU_USER, LARGE + MIB2));        /* the next one is the supervisor's */
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE));             /* SMAP */
    g_assert_true(fill(b, X86_MMU_KERNEL_AC, LARGE));
    x86_ranges_forget(b->cpu, true);
    *entry(b, PD, LARGE / MIB2 + 1) &= ~(uint64_t)A;
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE + MIB2));
    *entry(b, PD, LARGE / MIB2 + 1) |= A;
    b->cpu->dr[7] = 1;
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE + MIB2));
    b->cpu->dr[7] = 0;
    b->cpu->a20_mask = ~BIT64(20);
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE + MIB2));
    b->cpu->a20_mask = ~0ull;
    *entry(b, PD, LARGE / MIB2 + 1) += 2 * MIB2;                /* no RAM */
    g_assert_false(fill(b, X86_MMU_KERNEL, LARGE + MIB2));
}

static bool is_there(X86Bench *b)
{
    return b->cpu->tx.ranges[X86_MMU_KERNEL][5].len && b->cpu->tx.ranges_used[X86_MMU_KERNEL] == BIT(5);
}

static void test_forget(void)
{
    g_autoptr(X86Bench) b = bench();

    for (unsigned global = 0; global < 2; global++) {
        g_assert_true(fill(b, X86_MMU_KERNEL, LARGE));
        x86_tlb_flush_page(b->cpu, OTHER_GIB + LARGE);
        g_assert_true(is_there(b));
        x86_tlb_flush_page(b->cpu, 0);                          /* in the gigabyte */
        g_assert_false(is_there(b));
        g_assert_true(fill(b, X86_MMU_KERNEL, LARGE));
        x86_write_cr3(b->cpu, PML4);
        g_assert_cmpint(is_there(b), ==, global);
        g_assert_true(fill(b, X86_MMU_KERNEL, LARGE));
        x86_write_cr4(b->cpu, b->cpu->cr4 ^ CR4_PGE);
        g_assert_false(is_there(b));
        x86_write_cr4(b->cpu, b->cpu->cr4 ^ CR4_PGE);
        g_assert_true(fill(b, X86_MMU_KERNEL, LARGE));
        x86_tlb_update_watch(b->cpu);
        g_assert_false(is_there(b));
        *entry(b, PD, LARGE / MIB2) |= G;
        *entry(b, PD, LARGE / MIB2 + 1) |= G;
    }
}

/* INVLPG of page 0 would not find a range that goes on there from the other end. */
static void test_end_of_4_gib(void)
{
    g_autoptr(X86Bench) b = bench();
    const X86Range *r = &b->cpu->tx.ranges[X86_MMU_KERNEL][5];

    *entry(b, PD, 511) = P | W | A | PS;
    *entry(b, PD, 0) = MIB2 | P | W | A | PS;
    x86_load_cr(b->cpu, CR0_PE | CR0_NE | (uint64_t)CR0_PG | CR0_WP, PDPT, CR4_PAE, 0);
    b->cpu->pdpte[0] = b->cpu->pdpte[3] = PD | P;
    g_assert_true(fill(b, X86_MMU_KERNEL, 0xffe00000));
    g_assert_cmphex(r->start, ==, 0xffe00000);
    g_assert_cmphex(r->len, ==, MIB2 - 255);
    g_assert_true(fill(b, X86_MMU_KERNEL, 0));
    g_assert_cmphex(r->start, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/ranges/extent", test_extent);
    g_test_add_func("/x86/ranges/small-pages", test_small_pages);
    g_test_add_func("/x86/ranges/rights", test_rights);
    g_test_add_func("/x86/ranges/forget", test_forget);
    g_test_add_func("/x86/ranges/end-of-4-gib", test_end_of_4_gib);
    return g_test_run();
}
