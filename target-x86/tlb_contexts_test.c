/* SPDX-License-Identifier: MIT */
/* What a PCID's translations survive, and what not: [SDM3A 4.10.4.1], and what we do where it leaves the choice. */
#include "target-x86/code.h"
#include "target-x86/mem.h"
#include "target-x86/testbench.h"
#include "target-x86/tlb_contexts.h"

enum { PML4 = 0x30000, PDPT = 0x31000, PD = 0x32000, PT = 0x33000, CODE = 0x10000, DESCRIPTOR = 0x20000 };
/* The page that is mapped to OLD, and to NEW while another PCID is current. */
enum { VA = 0x80000, OLD = 0x90000, NEW = 0x91000 };

static void map_va(X86Bench *b, uint64_t to, uint64_t flags)
{
    le64_store(b->ram + PT + 8 * (VA >> 12), to | 7 | flags);
}

static X86Bench *bench(void)
{
    X86Bench *b = x86_bench_new();
    X86Cpu *cpu = b->cpu;

    le64_store(b->ram + PML4, PDPT | 7);
    le64_store(b->ram + PDPT, PD | 7);
    le64_store(b->ram + PD, PT | 7);
    for (unsigned i = 0; i < 512; i++) {
        le64_store(b->ram + PT + 8 * i, i << 12 | 7);
    }
    b->ram[OLD] = 1;
    b->ram[NEW] = 2;
    cpu->segs[SEG_CS] = (X86Seg){ .sel = 8, .limit = ~0u,
                                  .flags = DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_L };
    x86_load_cr(cpu, CR0_PE | CR0_NE | (uint64_t)CR0_PG | CR0_WP, PML4, CR4_PAE | CR4_PGE | CR4_PCIDE,
                EFER_LME | EFER_LMA | EFER_NXE);
    x86_contexts_enable(cpu, true);
    return b;
}

static void load_cr3(X86Bench *b, unsigned pcid, bool keep)
{
    x86_write_cr3(b->cpu, PML4 | pcid | (keep ? BIT64(63) : 0));
}

static void nothing(X86Bench *b) { }

/* By the instruction itself, with the current PCID's mapping of the code. */
static void invpcid(X86Bench *b, unsigned kind, unsigned pcid)
{
    le64_store(b->ram + DESCRIPTOR, pcid);
    le64_store(b->ram + DESCRIPTOR + 8, VA);
    b->cpu->gpr[R_RAX] = kind;
    b->cpu->gpr[R_RBX] = DESCRIPTOR;
    b->cpu->rip = CODE;
    b->cpu->halted = false;
    x86_bench_code(b, CODE, "\x66\x0f\x38\x82\x03\xf4", 6);     /* invpcid rax, [rbx]; hlt */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpuint(b->cpu->fault_count, ==, 0);
}

static void invpcid_address_here(X86Bench *b) { invpcid(b, 0, 2); }
static void invpcid_address_there(X86Bench *b) { invpcid(b, 0, 1); }
static void invpcid_context_here(X86Bench *b) { invpcid(b, 1, 2); }
static void invpcid_context_there(X86Bench *b) { invpcid(b, 1, 1); }
static void invpcid_all(X86Bench *b) { invpcid(b, 2, 0); }
static void invpcid_all_but_global(X86Bench *b) { invpcid(b, 3, 0); }
static void invlpg(X86Bench *b) { x86_tlb_flush_page(b->cpu, VA); }
static void load_same(X86Bench *b) { load_cr3(b, 2, false); }

static void toggle_pge(X86Bench *b)
{
    x86_write_cr4(b->cpu, b->cpu->cr4 ^ CR4_PGE);
    x86_write_cr4(b->cpu, b->cpu->cr4 ^ CR4_PGE);
}

static void toggle_wp(X86Bench *b)
{
    x86_write_cr0(b->cpu, b->cpu->cr0 ^ CR0_WP);
    x86_write_cr0(b->cpu, b->cpu->cr0 ^ CR0_WP);
}

static void change_breakpoints(X86Bench *b) { x86_tlb_update_watch(b->cpu); }

static void visit_many(X86Bench *b)
{
    for (unsigned pcid = 100; pcid < 200; pcid++) {
        load_cr3(b, pcid, true);
    }
}

static void there_and_back(X86Bench *b)
{
    load_cr3(b, 1, false);
    load_cr3(b, 2, true);
    map_va(b, NEW, 0);
    load_cr3(b, 1, true);
    load_cr3(b, 2, true);
}

/* PCID 1 reads VA, which is then mapped elsewhere while PCID 2 is current; something happens; back to 1. */
static const struct {
    const char *name;
    void (*event)(X86Bench *b);
    uint64_t flags;
    bool keep;                  /* bit 63 on the way back */
    uint8_t read;               /* 1: the old translation */
} rows[] = {
    { "nothing", nothing, 0, true, 1 },
    { "nothing, back without bit 63", nothing, 0, false, 2 },
    { "INVPCID of the address in another", invpcid_address_here, 0, true, 1 },
    { "INVPCID of the address", invpcid_address_there, 0, true, 2 },
    { "INVPCID of another", invpcid_context_here, 0, true, 1 },
    { "INVPCID of the context", invpcid_context_there, 0, true, 2 },
    { "INVPCID of all", invpcid_all, 0, true, 2 },
    { "INVPCID of all but global", invpcid_all_but_global, 0, true, 2 },
    { "INVPCID of the context, global page", invpcid_context_there, 0x100, true, 1 },
    { "INVPCID of all, global page", invpcid_all, 0x100, true, 2 },
    { "INVLPG in another", invlpg, 0, true, 1 },
    { "INVLPG in another, global page", invlpg, 0x100, true, 2 },
    { "CR3 loaded with the same", load_same, 0, true, 1 },
    { "CR4.PGE", toggle_pge, 0, true, 2 },
    { "CR0.WP", toggle_wp, 0, true, 2 },
    { "breakpoints", change_breakpoints, 0, true, 2 },
    { "many others", visit_many, 0, true, 2 },
    { "flushed on the way, but not read", there_and_back, 0, true, 2 },
};

static void test_rules(void)
{
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = bench();

        map_va(b, OLD, rows[i].flags);
        load_cr3(b, 1, false);
        g_assert_cmpuint(x86_ld8(b->cpu, VA), ==, 1);
        load_cr3(b, 2, true);
        map_va(b, NEW, rows[i].flags);
        rows[i].event(b);
        load_cr3(b, 1, rows[i].keep);
        g_test_message("%s", rows[i].name);
        g_assert_cmpuint(x86_ld8(b->cpu, VA), ==, rows[i].read);
    }
}

/* Each PCID has its own, and none of another's. */
static void test_own_translations(void)
{
    g_autoptr(X86Bench) b = bench();

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned pcid = 0; pcid < 6; pcid++) {
            b->ram[OLD + pcid * 0x1000] = 10 + pcid;
            map_va(b, OLD + pcid * 0x1000, 0);
            load_cr3(b, pcid, round > 0);
            g_assert_cmpuint(x86_ld8(b->cpu, VA), ==, 10 + pcid);
        }
    }
}

/* A page that was written before it was put aside, and holds code when it comes back. */
static void test_code_meanwhile(void)
{
    g_autoptr(X86Bench) b = bench();
    X86TlbEntry *e = &b->cpu->tlb[X86_MMU_KERNEL][x86_tlb_index(VA)];

    map_va(b, OLD, 0);
    load_cr3(b, 1, false);
    x86_st8(b->cpu, VA, 5);
    load_cr3(b, 2, true);
    load_cr3(b, 1, true);
    g_assert_cmphex(e->tag_r, ==, VA);
    g_assert_cmphex(e->tag_w, ==, VA);
    load_cr3(b, 2, true);
    g_assert_cmphex(e->tag_w, !=, VA);
    code_map_add(b->cpu->code, OLD, 16);
    load_cr3(b, 1, true);
    g_assert_cmphex(e->tag_r, ==, VA);
    g_assert_cmphex(e->tag_w, !=, VA);
}

/* More pages than are kept: those that are not have to be found again, as they are now. */
static void test_too_many(void)
{
    g_autoptr(X86Bench) b = bench();
    unsigned kept = 0;

    load_cr3(b, 1, false);
    for (unsigned page = 0x100; page < 0x200; page++) {
        x86_ld8(b->cpu, page << 12);
        x86_ld_slow(b->cpu, page << 12, &(uint8_t){ 0 }, 1, X86_MMU_USER);
    }
    load_cr3(b, 2, true);
    load_cr3(b, 1, true);
    for (unsigned page = 0x100; page < 0x200; page++) {
        for (unsigned idx = X86_MMU_USER; idx <= X86_MMU_KERNEL; idx++) {
            kept += b->cpu->tlb[idx][page].tag_r == page << 12;
        }
        x86_ld8(b->cpu, page << 12);
        g_assert_cmphex(b->cpu->tlb_phys[X86_MMU_KERNEL][page].gpa, ==, page << 12);
    }
    g_assert_cmpuint(kept, >, 0);
    g_assert_cmpuint(kept, <, 0x200);
}

/* Switched off: nothing is kept. */
static void test_off(void)
{
    g_autoptr(X86Bench) b = bench();

    x86_contexts_enable(b->cpu, false);
    map_va(b, OLD, 0);
    load_cr3(b, 1, false);
    g_assert_cmpuint(x86_ld8(b->cpu, VA), ==, 1);
    load_cr3(b, 2, true);
    map_va(b, NEW, 0);
    load_cr3(b, 1, true);
    g_assert_cmpuint(x86_ld8(b->cpu, VA), ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/contexts/rules", test_rules);
    g_test_add_func("/x86/contexts/own-translations", test_own_translations);
    g_test_add_func("/x86/contexts/code-meanwhile", test_code_meanwhile);
    g_test_add_func("/x86/contexts/too-many", test_too_many);
    g_test_add_func("/x86/contexts/off", test_off);
    return g_test_run();
}
