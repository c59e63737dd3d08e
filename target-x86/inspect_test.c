/* SPDX-License-Identifier: MIT */
/* Page tables as lists, instructions as text. */
#include "target-x86/inspect.h"
#include "target-x86/testbench.h"

#include <string.h>

enum { TOP = 0x30000, PDPT = 0x31000, PD = 0x32000, PT = 0x33000 };
#define NX BIT64(63)

static void put(X86Bench *b, uint64_t table, unsigned index, uint64_t entry)
{
    le64_store(b->ram + table + index * 8, entry);
}

static void expect(X86Bench *b, bool ranges, const char *text)
{
    g_autoptr(GString) out = g_string_new(NULL);

    x86_list_pages(b->cpu, ranges, out);
    g_assert_cmpstr(out->str, ==, text);
}

static void paging(X86Bench *b, uint32_t cr4, uint64_t efer)
{
    b->cpu->cr0 |= CR0_PG | CR0_PE;
    b->cpu->cr3 = TOP;
    b->cpu->cr4 = cr4;
    b->cpu->efer = efer;
}

static void test_off(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    expect(b, false, "PG disabled\n");
}

/* Two pages of equal rights and a large one, in the upper half; one page outside RAM's tables. */
static void test_4_levels(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    paging(b, CR4_PAE, EFER_LMA | EFER_LME);
    put(b, TOP, 511, PDPT | 7);
    put(b, PDPT, 0, PD | 7);
    put(b, PDPT, 1, 0x7fffffff000 | 7);
    put(b, PD, 0, PT | 3);
    put(b, PD, 1, 0x200000 | 0x1e1 | NX);
    put(b, PT, 0, 0x5000 | 7);
    put(b, PT, 1, 0x9000 | 7);
    expect(b, false, "ffffff8000000000: 0000000000005000 -------UW\n"
                     "ffffff8000001000: 0000000000009000 -------UW\n"
                     "ffffff8000200000: 0000000000200000 XGPDA----\n");
    expect(b, true, "ffffff8000000000-ffffff8000002000 0000000000002000 -rw\n"
                    "ffffff8000200000-ffffff8000400000 0000000000200000 -r-\n");
}

static void test_pae(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    paging(b, CR4_PAE, 0);
    put(b, TOP, 3, PD | 1);
    put(b, PD, 511, 0x400000 | 0x87);
    expect(b, true, "00000000ffe00000-0000000100000000 0000000000200000 urw\n");
}

/* A table that is its own lower levels has 2^36 pages: the list ends. */
static void test_endless_tables(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();
    g_autoptr(GString) out = g_string_new(NULL);

    paging(b, CR4_PAE, EFER_LMA | EFER_LME);
    for (unsigned i = 0; i < 512; i++) {
        put(b, TOP, i, TOP | 7 | (i & 1) << 6);
    }
    x86_list_pages(b->cpu, false, out);
    g_assert_true(g_str_has_suffix(out->str, "(there is more)\n"));
}

static void test_disassemble(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();
    g_autoptr(GString) out = g_string_new(NULL);

    g_assert_cmpuint(x86_disassemble(b->cpu, 0x1000, (const uint8_t *)"\xb8\x34\x12", 3, out), ==, 3);
    g_assert_cmpstr(out->str, ==, "mov ax, 0x1234");
    g_string_truncate(out, 0);
    g_assert_cmpuint(x86_disassemble(b->cpu, 0x1000, (const uint8_t *)"\x0f\x0b\x0f", 1, out), ==, 1);
    g_assert_cmpstr(out->str, ==, ".byte 0x0f");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/inspect/off", test_off);
    g_test_add_func("/x86/inspect/4-levels", test_4_levels);
    g_test_add_func("/x86/inspect/pae", test_pae);
    g_test_add_func("/x86/inspect/endless", test_endless_tables);
    g_test_add_func("/x86/inspect/disassemble", test_disassemble);
    return g_test_run();
}
