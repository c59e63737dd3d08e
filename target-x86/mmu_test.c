/* SPDX-License-Identifier: MIT */
/* Paging, the TLB and control registers on a bare CPU. */
#include "target-x86/system_bench.h"

static void test_page_fault_codes(void)
{
    static const struct {
        const char *name;
        unsigned cpl;
        uint64_t pte, cr4;
        const char *code;
        uint32_t expected;
    } rows[] = {
        /* mov eax, [80000h] / mov [80000h], eax */
        { "not present", 0, 0, 0, "\x8b\x04\x25\x00\x00\x08\x00", 0 },
        { "user read of supervisor", 3, 0x80003, 0, "\x8b\x04\x25\x00\x00\x08\x00", PF_P | PF_U },
        { "user write of read-only", 3, 0x80005, 0, "\x89\x04\x25\x00\x00\x08\x00",
          PF_P | PF_U | PF_W },
        { "supervisor write, WP", 0, 0x80005, 0, "\x89\x04\x25\x00\x00\x08\x00", PF_P | PF_W },
        { "reserved bit", 0, 0x80007 | BIT64(50), 0, "\x8b\x04\x25\x00\x00\x08\x00",
          PF_P | PF_RSVD },
        { "SMAP", 0, 0x80007, CR4_SMAP, "\x8b\x04\x25\x00\x00\x08\x00", PF_P },
        /* mov eax, 80000h; jmp rax */
        { "NX", 3, 0x80007 | BIT64(63), 0, "\xb8\x00\x00\x08\x00\xff\xe0", PF_P | PF_U | PF_I },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = long_bench(rows[i].cpl);
        uint64_t frame = STACK0 - 48;

        if (rows[i].cr4 & CR4_SMAP) {
            /* Everything else becomes the supervisor's. */
            for (unsigned page = 0; page < 512; page++) {
                put64(b, PT + 8 * page, page << 12 | 3);
            }
        }
        put64(b, PT + 8 * 0x80, rows[i].pte);
        x86_load_cr(b->cpu, b->cpu->cr0, PML4, CR4_PAE | rows[i].cr4, b->cpu->efer);
        x86_bench_code(b, rows[i].cpl ? CODE3 : CODE, rows[i].code, 7);
        g_test_message("%s", rows[i].name);
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(b->cpu->previous.vector, ==, VEC_PF);
        g_assert_cmphex(get64(b, frame), ==, rows[i].expected);
        g_assert_cmphex(b->cpu->cr2, ==, 0x80000);
    }
}

static void test_smep_stops_supervisor_fetch(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    for (unsigned page = 0; page < 512; page++) {
        put64(b, PT + 8 * page, page << 12 | (page == 0x80 ? 7 : 3));
    }
    x86_load_cr(b->cpu, b->cpu->cr0, PML4, CR4_PAE | CR4_SMEP, b->cpu->efer);
    CODE_AT(b, CODE, "\xb8\x00\x00\x08\x00\xff\xe0");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_PF);
    g_assert_cmphex(get64(b, STACK0 - 48), ==, PF_P | PF_I);
}

static void test_accessed_and_dirty(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    /* mov eax, [80000h]; mov [81000h], eax; hlt */
    CODE_AT(b, CODE, "\x8b\x04\x25\x00\x00\x08\x00\x89\x04\x25\x00\x10\x08\x00\xf4");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(get64(b, PT + 8 * 0x80) & 0x60, ==, 0x20);
    g_assert_cmphex(get64(b, PT + 8 * 0x81) & 0x60, ==, 0x60);
    g_assert_cmphex(get64(b, PT + 8 * 0x90) & 0x60, ==, 0);
    g_assert_cmphex(get64(b, PML4) & 0x20, ==, 0x20);
}

static void test_write_after_read_sets_dirty(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    /* mov eax, [80000h]; mov [80000h], eax; hlt: the read alone must not open the page. */
    CODE_AT(b, CODE, "\x8b\x04\x25\x00\x00\x08\x00\x89\x04\x25\x00\x00\x08\x00\xf4");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(get64(b, PT + 8 * 0x80) & 0x60, ==, 0x60);
}

static void test_invlpg_and_stale_entries(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    put32(b, 0x80000, 0x1111);
    put32(b, 0x90000, 0x2222);
    /* mov eax,[80000]; mov dword [PT+8*80], 90007; mov ebx,[80000]; invlpg; mov ecx,[80000] */
    CODE_AT(b, CODE, "\x8b\x04\x25\x00\x00\x08\x00"
                     "\xc7\x04\x25\x00\x34\x03\x00\x07\x00\x09\x00"
                     "\x8b\x1c\x25\x00\x00\x08\x00"
                     "\x0f\x01\x3c\x25\x00\x00\x08\x00"
                     "\x8b\x0c\x25\x00\x00\x08\x00\xf4");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->gpr[R_RAX], ==, 0x1111);
    g_assert_cmphex(b->cpu->gpr[R_RCX], ==, 0x2222);
}

static void test_global_pages_survive_cr3(void)
{
    g_autoptr(X86Bench) b = long_bench(0);
    X86Cpu *cpu = b->cpu;

    put64(b, PT + 8 * 0x80, 0x80107);
    x86_load_cr(cpu, cpu->cr0, PML4, CR4_PAE | CR4_PGE, cpu->efer);
    x86_mmu_fill(cpu, 0x80000, X86_READ, X86_MMU_KERNEL);
    x86_mmu_fill(cpu, 0x81000, X86_READ, X86_MMU_KERNEL);
    x86_write_cr3(cpu, PML4);
    g_assert_cmphex(cpu->tlb[X86_MMU_KERNEL][x86_tlb_index(0x80000)].tag_r, ==, 0x80000);
    g_assert_cmphex(cpu->tlb[X86_MMU_KERNEL][x86_tlb_index(0x81000)].tag_r, !=, 0x81000);
    x86_tlb_flush(cpu, true);
    g_assert_cmphex(cpu->tlb[X86_MMU_KERNEL][x86_tlb_index(0x80000)].tag_r, !=, 0x80000);
}

/* Two pages of one index: the second place is found, dropped and poisoned like the first. */
static void test_pages_of_one_index(void)
{
    const uint64_t a = 0x80000, b_va = a + ((uint64_t)X86_TLB_SIZE << 12), c = a ^ (uint64_t)X86_TLB_SIZE << 11;
    unsigned first = x86_tlb_index(a), second = x86_tlb_second(first);
    g_autoptr(X86Bench) b = long_bench(0);
    X86Cpu *cpu = b->cpu;
    const X86TlbEntry *tlb = cpu->tlb[X86_MMU_KERNEL];

    put64(b, PD + 8 * (b_va >> 21), PT | 7);    /* the same frames */
    put64(b, PD + 8 * (c >> 21), PT | 7);
    x86_mmu_fill(cpu, a, X86_WRITE, X86_MMU_KERNEL);
    x86_mmu_fill(cpu, b_va, X86_WRITE, X86_MMU_KERNEL);
    g_assert_cmphex(tlb[first].tag_w, ==, b_va);
    g_assert_cmphex(tlb[second].tag_w, ==, a);
    x86_mmu_fill(cpu, a, X86_WRITE, X86_MMU_KERNEL);            /* they change places */
    g_assert_cmphex(tlb[first].tag_w, ==, a);
    g_assert_cmphex(tlb[second].tag_w, ==, b_va);
    x86_tlb_poison_page(cpu, 0x80000);
    g_assert_cmphex(tlb[first].tag_w, !=, a);
    g_assert_cmphex(tlb[second].tag_w, !=, b_va);
    g_assert_cmphex(tlb[second].tag_r, ==, b_va);
    x86_tlb_flush_page(cpu, b_va);
    g_assert_cmphex(tlb[first].tag_r, ==, a);
    g_assert_cmphex(tlb[second].tag_r, !=, b_va);

    /* A page with its first place there stays, unless two drop each other in turn. */
    x86_mmu_fill(cpu, c, X86_READ, X86_MMU_KERNEL);
    x86_mmu_fill(cpu, b_va, X86_READ, X86_MMU_KERNEL);
    g_assert_cmphex(tlb[first].tag_r, ==, b_va);
    g_assert_cmphex(tlb[second].tag_r, ==, c);
    x86_mmu_fill(cpu, a, X86_READ, X86_MMU_KERNEL);
    g_assert_cmphex(tlb[first].tag_r, ==, a);
    g_assert_cmphex(tlb[second].tag_r, ==, b_va);
    x86_tlb_flush(cpu, true);
    g_assert_cmphex(tlb[first].tag_r, !=, a);
    g_assert_cmphex(tlb[second].tag_r, !=, b_va);
}

/* The same tables below a fifth level, whose entries 0 and 1 are alike: 2^48 is 0 again. */
static X86Bench *la57_bench(void)
{
    X86Bench *b = long_bench(0);

    put64(b, PML5, PML4 | 7);
    put64(b, PML5 + 8, PML4 | 7);
    x86_load_cr(b->cpu, b->cpu->cr0, PML5, CR4_PAE | CR4_LA57 | CR4_PCIDE, b->cpu->efer);
    return b;
}

static void test_five_levels(void)
{
    g_autoptr(X86Bench) b = la57_bench();
    X86Cpu *cpu = b->cpu;
    uint64_t gpa;

    put64(b, 0x80008, 0x1234);
    cpu->gpr[R_RBX] = BIT64(48) + 0x80000;
    /* mov rax, [rbx+8]; jmp rcx -> inc rax; push rax; hlt */
    CODE_AT(b, CODE, "\x48\x8b\x43\x08\xff\xe1");
    CODE_AT(b, CODE + 0x40, "\x48\xff\xc0\x50\xf4");
    cpu->gpr[R_RCX] = BIT64(48) + CODE + 0x40;
    cpu->gpr[R_RSP] = BIT64(48) + STACK0;
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(cpu->rip, ==, BIT64(48) + CODE + 0x45);
    g_assert_cmphex(get64(b, STACK0 - 8), ==, 0x1235);
    g_assert_true(x86_mmu_peek(cpu, BIT64(48) + 0x80000, &gpa));
    g_assert_cmphex(gpa, ==, 0x80000);
    g_assert_false(x86_mmu_peek(cpu, BIT64(49), &gpa));
    g_assert_false(x86_mmu_peek(cpu, BIT64(56), &gpa));     /* not canonical */
}

static void test_five_level_faults(void)
{
    static const struct { uint64_t va, pml5e; int vector; uint32_t code; } rows[] = {
        { BIT64(49), 0, VEC_PF, 0 },
        { BIT64(48), 0, VEC_PF, 0 },
        { BIT64(48), PML4 | 0x87, VEC_PF, PF_P | PF_RSVD },
        { BIT64(56), PML4 | 7, VEC_GP, 0 },
        { ~0ull << 56 | 0x1000, PML4 | 7, VEC_PF, 0 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = la57_bench();

        put64(b, PML5 + 8, rows[i].pml5e);
        b->cpu->gpr[R_RBX] = rows[i].va;
        CODE_AT(b, CODE, "\x8b\x03");                     /* mov eax, [rbx] */
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(b->cpu->previous.vector, ==, rows[i].vector);
        g_assert_cmphex(get64(b, STACK0 - 48), ==, rows[i].code);
    }
}

/* The width is chosen before long mode; without it the upper addresses are #GP. */
static void test_la57_switch(void)
{
    static const struct { uint64_t va; bool five, toggle; } rows[] = {
        { 0x1000, true, true }, { 0x1000, false, true }, { BIT64(48), false, false },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = rows[i].five ? la57_bench() : long_bench(0);
        X86Cpu *cpu = b->cpu;

        cpu->gpr[R_RAX] = cpu->cr4 ^ CR4_LA57;
        cpu->gpr[R_RBX] = rows[i].va;
        /* mov cr4, rax, or mov eax, [rbx] */
        x86_bench_code(b, CODE, rows[i].toggle ? "\x0f\x22\xe0\xf4" : "\x8b\x03\xf4\xf4", 4);
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(cpu->previous.vector, ==, VEC_GP);
        g_assert_cmphex(get64(b, STACK0 - 40), ==, CODE);
    }
}

/* INVPCID, a row per way to be wrong, with the descriptor { pcid, address } at 80000h. */
static void test_invpcid_checks(void)
{
    static const struct { uint64_t kind, pcid, va; bool pcide, good; } rows[] = {
        { 0, 5, 0x80000, true, true }, { 1, 5, 0, true, true }, { 2, 0, 0, true, true },
        { 3, 0, 0, true, true }, { 4, 0, 0, true, false }, { 0, 0x1000, 0, true, false },
        { 3, 0x1000, 0, true, false }, { 0, 5, 0, false, false }, { 1, 5, 0, false, false },
        { 0, 0, 0, false, true }, { 2, 5, 0, false, true },
        { 0, 0, BIT64(48), true, false }, { 1, 0, BIT64(48), true, true },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = long_bench(0);
        X86Cpu *cpu = b->cpu;

        x86_load_cr(cpu, cpu->cr0, PML4, CR4_PAE | CR4_PGE | (rows[i].pcide ? CR4_PCIDE : 0),
                    cpu->efer);
        put64(b, 0x80000, rows[i].pcid);
        put64(b, 0x80008, rows[i].va);
        cpu->gpr[R_RAX] = rows[i].kind;
        cpu->gpr[R_RBX] = 0x80000;
        CODE_AT(b, CODE, "\x66\x0f\x38\x82\x03\xf4");       /* invpcid rax, [rbx]; hlt */
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(cpu->fault_count ? cpu->previous.vector : -1, ==,
                        rows[i].good ? -1 : VEC_GP);
    }
}

/* CR3 with bit 63: the PCID changes, and bit 63 is no part of the register. */
static void test_cr3_with_pcid(void)
{
    g_autoptr(X86Bench) b = long_bench(0);
    X86Cpu *cpu = b->cpu;

    x86_load_cr(cpu, cpu->cr0, PML4, CR4_PAE | CR4_PCIDE, cpu->efer);
    cpu->gpr[R_RAX] = BIT64(63) | PML4 | 7;
    CODE_AT(b, CODE, "\x0f\x22\xd8\x0f\x20\xd9\xf4");      /* mov cr3, rax; mov rcx, cr3; hlt */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(cpu->gpr[R_RCX], ==, PML4 | 7);
    g_assert_cmpuint(cpu->fault_count, ==, 0);
}

/* An interrupt leaves a null SS: blocks found by the mode are the same ones as after SYSCALL. */
static void test_mode_of_64_bit_code(void)
{
    g_autoptr(X86Bench) b = long_bench(0);
    X86Cpu *cpu = b->cpu;
    uint32_t mode = cpu->mode;

    cpu->segs[SEG_SS] = cpu->segs[SEG_DS] = cpu->segs[SEG_ES] = (X86Seg){ 0 };
    x86_update_mode(cpu);
    g_assert_cmphex(cpu->mode, ==, mode);
    cpu->segs[SEG_CS].flags ^= DESC_L | DESC_DB;
    x86_update_mode(cpu);
    g_assert_cmphex(cpu->mode & (MODE_CS64 | MODE_SS32 | MODE_FLAT_SS | MODE_FLAT_DS | MODE_FLAT_ES), ==, 0);
}

/* Linux's error pointers: the last page must miss an empty TLB as any other. */
static void test_last_page_faults(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    CODE_AT(b, CODE, "\x48\x31\xf6\x2b\x66\x95");         /* xor rsi, rsi; sub esp, [rsi-6bh] */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_PF);
    g_assert_cmphex(b->cpu->cr2, ==, 0xffffffffffffff95ull);
}

static void test_control_register_checks(void)
{
    static const struct { const char *code; } rows[] = {
        { "\x0f\x22\xe0" },                             /* mov cr4, rax: PAE off in long mode */
        { "\x0f\x22\xc0" },                             /* mov cr0, rax: bits 63..32 */
        { "\x0f\x22\xd8" },                             /* mov cr3, rax: beyond MAXPHYADDR */
        { "\x0f\x23\xf8" },                             /* mov dr7, rax: bits 63..32 */
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = long_bench(0);

        b->cpu->gpr[R_RAX] = i == 0 ? 0 : 0xf000000000000001ull;
        x86_bench_code(b, CODE, rows[i].code, 3);
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(b->cpu->previous.vector, ==, VEC_GP);
        g_assert_cmphex(get64(b, STACK0 - 40), ==, CODE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/system/paging/codes", test_page_fault_codes);
    g_test_add_func("/x86/system/paging/smep", test_smep_stops_supervisor_fetch);
    g_test_add_func("/x86/system/paging/accessed-dirty", test_accessed_and_dirty);
    g_test_add_func("/x86/system/paging/dirty-later", test_write_after_read_sets_dirty);
    g_test_add_func("/x86/system/paging/invlpg", test_invlpg_and_stale_entries);
    g_test_add_func("/x86/system/paging/global", test_global_pages_survive_cr3);
    g_test_add_func("/x86/system/paging/pages-of-one-index", test_pages_of_one_index);
    g_test_add_func("/x86/system/paging/la57/walk", test_five_levels);
    g_test_add_func("/x86/system/paging/la57/faults", test_five_level_faults);
    g_test_add_func("/x86/system/paging/la57/switch", test_la57_switch);
    g_test_add_func("/x86/system/paging/invpcid", test_invpcid_checks);
    g_test_add_func("/x86/system/paging/pcid", test_cr3_with_pcid);
    g_test_add_func("/x86/system/mode-of-64-bit-code", test_mode_of_64_bit_code);
    g_test_add_func("/x86/system/paging/last-page", test_last_page_faults);
    g_test_add_func("/x86/system/long/cr-checks", test_control_register_checks);
    return g_test_run();
}
