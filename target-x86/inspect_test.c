/* SPDX-License-Identifier: MIT */
/* Registers as text, page tables as lists, instructions as text. */
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

/* ---- registers ---- */

/* The lines of the registers that begin with one of those of START, "FCW,FPR6". */
static char *lines_of(const X86Cpu *cpu, const char *start)
{
    g_autoptr(GString) all = g_string_new(NULL), out = g_string_new(NULL);
    g_auto(GStrv) lines = NULL, starts = g_strsplit(start, ",", -1);

    x86_dump(cpu, all);
    lines = g_strsplit(all->str, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        for (unsigned n = 0; starts[n]; n++) {
            if (g_str_has_prefix(lines[i], starts[n])) {
                g_string_append_printf(out, "%s\n", lines[i]);
            }
        }
    }
    return g_string_free(g_steal_pointer(&out), false);
}

static void expect_lines(const X86Cpu *cpu, const char *start, const char *text)
{
    g_autofree char *lines = lines_of(cpu, start);

    g_assert_cmpstr(lines, ==, text);
}

static unsigned count_lines(const X86Cpu *cpu, const char *start)
{
    g_autofree char *lines = lines_of(cpu, start);
    unsigned n = 0;

    for (const char *p = lines; (p = strchr(p, '\n')); p++) {
        n++;
    }
    return n;
}

static void set_vectors(X86Cpu *cpu)
{
    for (unsigned i = 0; i < 32; i++) {
        for (unsigned n = 0; n < 8; n++) {
            cpu->zmm[i].u64[n] = i << 4 | n;
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        cpu->k[i] = 0xa0 + i;
    }
}

static void long_mode(X86Cpu *cpu)
{
    cpu->cr0 |= CR0_PE;
    cpu->efer = EFER_LMA;
    cpu->segs[SEG_CS] = (X86Seg){ 8, DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_L | DESC_G, 0xffffffff, 0 };
    cpu->tr.flags = DESC_P | 11 << DESC_TYPE_SHIFT;
    x86_update_mode(cpu);
}

/* Width and number of the vectors, and whether there are masks, as XCR0 and the mode say. */
static void test_vectors_follow_xcr0(void)
{
    static const struct { uint64_t xcr0; bool wide; unsigned x, y, z, masks; } rows[] = {
        { 0x1, false, 4, 0, 0, 0 }, { 0x3, false, 4, 0, 0, 0 }, { 0x7, false, 0, 8, 0, 0 },
        { 0xe7, false, 0, 0, 8, 2 }, { 0x207, false, 0, 8, 0, 0 },
        { 0x3, true, 8, 0, 0, 0 }, { 0x7, true, 0, 16, 0, 0 }, { 0xe7, true, 0, 0, 32, 2 },
        { 0x2e7, true, 0, 0, 32, 2 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = x86_bench_new();

        if (rows[i].wide) {
            long_mode(b->cpu);
        }
        b->cpu->xcr0 = rows[i].xcr0;
        g_assert_cmpuint(count_lines(b->cpu, "XMM"), ==, rows[i].x);
        g_assert_cmpuint(count_lines(b->cpu, "YMM"), ==, rows[i].y);
        g_assert_cmpuint(count_lines(b->cpu, "ZMM"), ==, rows[i].z);
        g_assert_cmpuint(count_lines(b->cpu, "Opmask"), ==, rows[i].masks);
    }
}

static void test_vectors_in_full(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    set_vectors(b->cpu);
    expect_lines(b->cpu, "XMM06", "XMM06=0000000000000061 0000000000000060 XMM07=0000000000000071 0000000000000070\n");
    b->cpu->xcr0 = 7;
    expect_lines(b->cpu, "YMM07", "YMM07=0000000000000073 0000000000000072 0000000000000071 0000000000000070\n");
    long_mode(b->cpu);
    b->cpu->xcr0 = 0xe7;
    expect_lines(b->cpu, "ZMM31,Opmask",
                 "Opmask00=00000000000000a0 Opmask01=00000000000000a1 Opmask02=00000000000000a2 Opmask03=00000000000000a3\n"
                 "Opmask04=00000000000000a4 Opmask05=00000000000000a5 Opmask06=00000000000000a6 Opmask07=00000000000000a7\n"
                 "ZMM31=00000000000001f7 00000000000001f6 00000000000001f5 00000000000001f4 00000000000001f3 "
                 "00000000000001f2 00000000000001f1 00000000000001f0\n");
}

static void test_x87_registers_are_the_physical_ones(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    b->cpu->x87.fsw = 6 << 11;
    b->cpu->x87.st[0].mantissa = 0xc90fdaa22168c235;
    b->cpu->x87.st[0].exponent = 0x4000;
    b->cpu->x87.st[1].mantissa = 0x8000000000000000;
    b->cpu->x87.st[1].exponent = 0x3fff;
    expect_lines(b->cpu, "FPR6", "FPR6=c90fdaa22168c235 4000 FPR7=8000000000000000 3fff\n");
}

static void test_segments(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    expect_lines(b->cpu, "ES =,TR", "ES =0000 00000000 0000ffff 00009300\nTR =0000 00000000 0000ffff 00008b00\n");
    b->cpu->cr0 |= CR0_PE;
    b->cpu->segs[SEG_CS] = (X86Seg){ 8, 0x00c09f00, 0xffffffff, 0 };
    b->cpu->segs[SEG_DS] = (X86Seg){ 0x13, 0x00c0f700, 0xffffffff, 0 };
    b->cpu->segs[SEG_FS] = (X86Seg){ 0, 0, 0, 0 };
    expect_lines(b->cpu, "ES =,CS,DS,FS,LDT,TR", "ES =0000 00000000 0000ffff 00009300 DPL=0 DS16 [-WA]\n"
                                               "CS =0008 00000000 ffffffff 00cf9f00 DPL=0 CS32 [CRA]\n"
                                               "DS =0013 00000000 ffffffff 00cff700 DPL=3 DS   [EWA]\n"
                                               "FS =0000 00000000 00000000 00000000\n"
                                               "LDT=0000 00000000 0000ffff 00008200 DPL=0 LDT\n"
                                               "TR =0000 00000000 0000ffff 00008b00 DPL=0 TSS32-busy\n");
    long_mode(b->cpu);
    expect_lines(b->cpu, "CS,TR,GDT", "CS =0008 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]\n"
                                      "TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy\n"
                                      "GDT=     0000000000000000 0000ffff\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/inspect/off", test_off);
    g_test_add_func("/x86/inspect/4-levels", test_4_levels);
    g_test_add_func("/x86/inspect/pae", test_pae);
    g_test_add_func("/x86/inspect/endless", test_endless_tables);
    g_test_add_func("/x86/inspect/disassemble", test_disassemble);
    g_test_add_func("/x86/inspect/registers/xcr0", test_vectors_follow_xcr0);
    g_test_add_func("/x86/inspect/registers/vectors", test_vectors_in_full);
    g_test_add_func("/x86/inspect/registers/x87", test_x87_registers_are_the_physical_ones);
    g_test_add_func("/x86/inspect/registers/segments", test_segments);
    return g_test_run();
}
