/* SPDX-License-Identifier: MIT */
/* Privilege, paging, events, tasks, SMM and CPUID on a bare CPU. */
#include "target-x86/msr.h"
#include "target-x86/segment.h"
#include "target-x86/smm.h"
#include "target-x86/testbench.h"

/* Where things are in the bench's RAM. */
enum {
    GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, CODE = 0x10000, CODE3 = 0x11000, HANDLER = 0x12000,
    STACK0 = 0x20000, STACK3 = 0x21000, PML4 = 0x30000, PDPT = 0x31000, PD = 0x32000, PT = 0x33000,
    PML5 = 0x34000,
};
enum { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_CODE3 = 0x1b, SEL_DATA3 = 0x23, SEL_TSS = 0x28,
       SEL_CODE64 = 0x38 };

static void put16(X86Bench *b, uint64_t at, uint16_t v) { le16_store(b->ram + at, v); }
static void put32(X86Bench *b, uint64_t at, uint32_t v) { le32_store(b->ram + at, v); }
static void put64(X86Bench *b, uint64_t at, uint64_t v) { le64_store(b->ram + at, v); }
static uint32_t get32(X86Bench *b, uint64_t at) { return le32_load(b->ram + at); }
static uint64_t get64(X86Bench *b, uint64_t at) { return le64_load(b->ram + at); }

static void put_desc(X86Bench *b, uint64_t at, uint32_t base, uint32_t limit, uint32_t flags)
{
    put32(b, at, (limit & 0xffff) | base << 16);
    put32(b, at + 4, flags | (limit & 0xf0000) | (base >> 16 & 0xff) | (base & 0xff000000));
}

static void put_gate(X86Bench *b, unsigned vector, uint16_t sel, uint32_t off, unsigned type,
                     unsigned dpl, bool wide)
{
    uint64_t at = IDT + vector * (wide ? 16 : 8);

    put32(b, at, (off & 0xffff) | (uint32_t)sel << 16);
    put32(b, at + 4, (off & 0xffff0000) | DESC_P | dpl << 13 | type << 8);
    if (wide) {
        put64(b, at + 8, 0);
    }
}

static X86Seg seg(uint16_t sel, uint32_t flags)
{
    return (X86Seg){ .sel = sel, .limit = 0xffffffff, .flags = flags };
}

enum {
    F_CODE = DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_G,
    F_DATA = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G | DESC_DB,
    F_DPL3 = 3 << 13,
};

static void tables(X86Bench *b)
{
    put_desc(b, GDT + SEL_CODE, 0, 0xfffff, F_CODE | DESC_DB);
    put_desc(b, GDT + SEL_DATA, 0, 0xfffff, F_DATA);
    put_desc(b, GDT + (SEL_CODE3 & ~7), 0, 0xfffff, F_CODE | DESC_DB | F_DPL3);
    put_desc(b, GDT + (SEL_DATA3 & ~7), 0, 0xfffff, F_DATA | F_DPL3);
    put_desc(b, GDT + SEL_TSS, TSS, 0x2000, DESC_P | 9 << 8);
    put_desc(b, GDT + SEL_CODE64, 0, 0xfffff, F_CODE | DESC_L);
    b->cpu->gdt = (X86Table){ GDT, 0xff };
    b->cpu->idt = (X86Table){ IDT, 0xfff };
    b->cpu->tr = (X86Seg){ .sel = SEL_TSS, .base = TSS, .limit = 0x2000,
                           .flags = DESC_P | 11 << 8 };
    put32(b, TSS + 4, STACK0);
    put32(b, TSS + 8, SEL_DATA);
    put16(b, TSS + 102, 0x68);
    memset(b->ram + TSS + 0x68, 0xff, 0x2000 - 0x68);
    b->ram[HANDLER] = 0xf4;
}

/* Flat 32-bit protected mode at CODE (ring 0) or CODE3 (ring 3). */
static X86Bench *protected_bench(unsigned cpl)
{
    X86Bench *b = x86_bench_new();
    X86Cpu *cpu = b->cpu;

    tables(b);
    for (unsigned i = 0; i < 32; i++) {
        put_gate(b, i, SEL_CODE, HANDLER, 14, 0, false);
    }
    cpu->cpl = cpl;
    cpu->segs[SEG_CS] = cpl ? seg(SEL_CODE3, F_CODE | DESC_DB | F_DPL3)
                            : seg(SEL_CODE, F_CODE | DESC_DB);
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        if (i != SEG_CS) {
            cpu->segs[i] = cpl ? seg(SEL_DATA3, F_DATA | F_DPL3) : seg(SEL_DATA, F_DATA);
        }
    }
    cpu->gpr[R_RSP] = cpl ? STACK3 : STACK0;
    cpu->rip = cpl ? CODE3 : CODE;
    x86_load_cr(cpu, CR0_PE | CR0_NE, 0, 0, 0);
    return b;
}

/* 64-bit mode, ring 0 or 3; the first 2 MiB are mapped one to one by 4 KiB user pages. */
static X86Bench *long_bench(unsigned cpl)
{
    X86Bench *b = protected_bench(cpl);
    X86Cpu *cpu = b->cpu;

    for (unsigned i = 0; i < 32; i++) {
        put_gate(b, i, SEL_CODE64, HANDLER, 14, 0, true);
    }
    put64(b, PML4, PDPT | 7);
    put64(b, PDPT, PD | 7);
    put64(b, PD, PT | 7);
    put64(b, PD + 8, 0x200000 | 0x87);
    for (unsigned i = 0; i < 512; i++) {
        put64(b, PT + 8 * i, i << 12 | 7);
    }
    put64(b, TSS + 4, STACK0);
    cpu->segs[SEG_CS] = cpl ? seg(SEL_CODE3, F_CODE | DESC_L | F_DPL3)
                            : seg(SEL_CODE64, F_CODE | DESC_L);
    cpu->cpl = cpl;
    x86_load_cr(cpu, CR0_PE | CR0_NE | (uint64_t)CR0_PG | CR0_WP, PML4, CR4_PAE,
                EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
    return b;
}

#define CODE_AT(b, at, bytes) x86_bench_code(b, at, bytes, sizeof(bytes) - 1)

/* ---- real mode ---- */

static void test_real_int_and_iret(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    x86_bench_start_real(b, 0x1000);
    put32(b, 0x80 * 4, 0x2000);
    CODE_AT(b, 0x1000, "\xfb\xcd\x80\xf4");             /* sti; int 80h; hlt */
    CODE_AT(b, 0x2000, "\x9c\x58\xcf");                 /* pushf; pop ax; iret */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->rip, ==, 0x1004);
    g_assert_cmphex(b->cpu->gpr[R_RAX] & FLAG_IF, ==, 0);
    g_assert_cmphex(x86_rflags(b->cpu) & FLAG_IF, ==, FLAG_IF);
    g_assert_cmphex(b->cpu->gpr[R_RSP], ==, 0x8000);
}

static void test_real_limit_fault(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    x86_bench_start_real(b, 0x1000);
    put32(b, VEC_GP * 4, 0x2000);
    CODE_AT(b, 0x1000, "\xa1\xff\xff");                 /* mov ax, [ffff] */
    CODE_AT(b, 0x2000, "\xf4");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->rip, ==, 0x2001);
}

static void test_interrupt_waits_for_sti_shadow(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    x86_bench_start_real(b, 0x1000);
    put32(b, 0x20 * 4, 0x2000);
    CODE_AT(b, 0x1000, "\xfb\x40\x40\xf4");             /* sti; inc ax; inc ax; hlt */
    CODE_AT(b, 0x2000, "\xf4");
    b->irq = 0x20;
    x86_cpu_request(b->cpu, X86_REQ_INTR);
    g_assert_cmpint(interp_run(b->cpu), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->rip, ==, 0x2001);
    g_assert_cmpuint(b->cpu->gpr[R_RAX], ==, 1);
}

/* ---- protected mode ---- */

static void test_inner_interrupt_switches_stack(void)
{
    g_autoptr(X86Bench) b = protected_bench(3);

    put_gate(b, 0x21, SEL_CODE, HANDLER, 15, 3, false);
    CODE_AT(b, CODE3, "\xcd\x21");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->cpl, ==, 0);
    g_assert_cmphex(b->cpu->gpr[R_RSP], ==, STACK0 - 20);
    g_assert_cmphex(get32(b, STACK0 - 20), ==, CODE3 + 2);
    g_assert_cmphex(get32(b, STACK0 - 16), ==, SEL_CODE3);
    g_assert_cmphex(get32(b, STACK0 - 8), ==, STACK3);
    g_assert_cmphex(get32(b, STACK0 - 4), ==, SEL_DATA3);
}

static void test_int_to_ring0_gate_is_gp(void)
{
    g_autoptr(X86Bench) b = protected_bench(3);

    CODE_AT(b, CODE3, "\xcd\x08");                      /* DPL 0 gate */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(get32(b, STACK0 - 24), ==, 8 * 8 + 2);
    g_assert_cmphex(get32(b, STACK0 - 20), ==, CODE3);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_GP);
}

static void test_bad_selector_code(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);

    CODE_AT(b, CODE, "\xb8\x00\x10\x00\x00\x8e\xd8");   /* mov eax, 1000h; mov ds, ax */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_GP);
    g_assert_cmphex(get32(b, STACK0 - 16), ==, 0x1000);
    g_assert_cmphex(get32(b, STACK0 - 12), ==, CODE + 5);
}

static void test_iret_to_ring3_and_port_bitmap(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    X86Cpu *cpu = b->cpu;

    put32(b, STACK0, CODE3);
    put32(b, STACK0 + 4, SEL_CODE3);
    put32(b, STACK0 + 8, FLAG_ONE);
    put32(b, STACK0 + 12, STACK3);
    put32(b, STACK0 + 16, SEL_DATA3);
    CODE_AT(b, CODE, "\xcf");
    /* in al, 40h (allowed); in al, 41h (denied) */
    CODE_AT(b, CODE3, "\xe4\x40\xe4\x41");
    b->ram[TSS + 0x68 + 8] = 0xfe;
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpuint(b->port_accesses, ==, 1);
    g_assert_cmpint(cpu->previous.vector, ==, VEC_GP);
    g_assert_cmphex(get32(b, STACK0 - 20), ==, CODE3 + 2);
    /* The data segments of ring 0 were taken away on the way out. */
    g_assert_cmphex(cpu->segs[SEG_DS].flags, ==, 0);
}

static void test_call_gate_copies_parameters(void)
{
    g_autoptr(X86Bench) b = protected_bench(3);

    put32(b, GDT + 0x40, (HANDLER & 0xffff) | SEL_CODE << 16);
    put32(b, GDT + 0x44, (HANDLER & 0xffff0000) | DESC_P | F_DPL3 | 12 << 8 | 1);
    /* push 12345678h; call 43h:0 */
    CODE_AT(b, CODE3, "\x68\x78\x56\x34\x12\x9a\x00\x00\x00\x00\x43\x00");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->gpr[R_RSP], ==, STACK0 - 20);
    g_assert_cmphex(get32(b, STACK0 - 12), ==, 0x12345678);
    g_assert_cmphex(get32(b, STACK0 - 20), ==, CODE3 + 12);
}

static void test_triple_fault_is_explained(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    g_autoptr(GString) text = g_string_new(NULL);

    b->cpu->idt.limit = 0;
    CODE_AT(b, CODE, "\x0f\x0b");                       /* ud2 */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_TRIPLE_FAULT);
    x86_describe_faults(b->cpu, text);
    g_assert_nonnull(strstr(text->str, "#UD"));
    g_assert_nonnull(strstr(text->str, "beyond the IDT"));
    g_assert_cmpuint(b->cpu->fault_count, ==, 4);
}

static void test_vm86_round_trip(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    static const uint32_t frame[] = { 0x10, 0x1100, FLAG_VM | FLAG_ONE, 0x100, 0x2000, 1, 2, 3, 4 };

    for (unsigned i = 0; i < ARRAY_LEN(frame); i++) {
        put32(b, STACK0 + 4 * i, frame[i]);
    }
    CODE_AT(b, CODE, "\xcf");
    CODE_AT(b, 0x11010, "\xfa");                        /* cli: IOPL 0, so #GP */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_GP);
    /* GS FS DS ES SS ESP EFLAGS CS EIP code */
    g_assert_cmphex(get32(b, STACK0 - 4), ==, 4);
    g_assert_cmphex(get32(b, STACK0 - 16), ==, 1);
    g_assert_cmphex(get32(b, STACK0 - 20), ==, 0x2000);
    g_assert_cmphex(get32(b, STACK0 - 28) & FLAG_VM, ==, FLAG_VM);
    g_assert_cmphex(get32(b, STACK0 - 36), ==, 0x10);
    g_assert_cmphex(b->cpu->segs[SEG_DS].flags, ==, 0);
}

/* ---- tasks ---- */

static void test_task_call_and_return(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    enum { TSS2 = 0x6000, SEL_TSS2 = 0x48, CODE2 = 0x14000 };

    put_desc(b, GDT + SEL_TSS2, TSS2, 0x67, DESC_P | 9 << 8);
    put_desc(b, GDT + SEL_TSS, TSS, 0x2000, DESC_P | 11 << 8);
    put32(b, TSS2 + 32, CODE2);
    put32(b, TSS2 + 36, FLAG_ONE);
    put32(b, TSS2 + 40 + 4 * R_RSP, 0x25000);
    put32(b, TSS2 + 40 + 4 * R_RBX, 0x77);
    for (unsigned i = 0; i < 6; i++) {
        put32(b, TSS2 + 72 + 4 * i, i == SEG_CS ? SEL_CODE : SEL_DATA);
    }
    CODE_AT(b, CODE, "\x9a\x00\x00\x00\x00\x48\x00\xf4");       /* call 48h:0; hlt */
    CODE_AT(b, CODE2, "\x89\xda\xcf");                          /* mov edx, ebx; iret */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->rip, ==, CODE + 8);
    g_assert_cmphex(b->cpu->tr.sel, ==, SEL_TSS);
    g_assert_cmphex(get32(b, TSS2 + 40 + 4 * R_RDX), ==, 0x77);
    g_assert_cmphex(get32(b, TSS2) & 0xffff, ==, SEL_TSS);
    g_assert_cmphex(get32(b, GDT + SEL_TSS2 + 4) & 0x200, ==, 0);
    g_assert_cmphex(get32(b, GDT + SEL_TSS + 4) & 0x200, ==, 0x200);
    g_assert_cmphex(b->cpu->cr0 & CR0_TS, ==, CR0_TS);
}

/* ---- long mode and paging ---- */

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

static void test_syscall_and_sysret(void)
{
    g_autoptr(X86Bench) b = long_bench(3);
    X86Cpu *cpu = b->cpu;

    cpu->msrs.star = (uint64_t)SEL_CODE64 << 32 | (uint64_t)0x0b << 48;
    cpu->msrs.lstar = CODE;
    cpu->msrs.fmask = FLAG_DF;
    CODE_AT(b, CODE3, "\xfd\x0f\x05\x9c\x58\x0f\x05");  /* std; syscall; pushf; pop rax; syscall */
    CODE_AT(b, CODE, "\xff\xc3\x83\xfb\x02\x74\x03\x48\x0f\x07\xf4");
    /* inc ebx; cmp ebx, 2; je hlt; sysretq; hlt */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpuint(cpu->gpr[R_RBX], ==, 2);
    g_assert_cmphex(cpu->gpr[R_RAX] & FLAG_DF, ==, FLAG_DF);
    g_assert_cmphex(x86_rflags(cpu) & FLAG_DF, ==, 0);
    g_assert_cmphex(cpu->gpr[R_RCX], ==, CODE3 + 7);
}

static void test_ist_and_aligned_frame(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    put64(b, TSS + 0x24, 0x28008);                      /* IST1, not aligned */
    b->ram[IDT + 16 * VEC_UD + 4] = 1;
    CODE_AT(b, CODE, "\x0f\x0b");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->gpr[R_RSP], ==, 0x28000 - 40);
    g_assert_cmphex(get64(b, 0x28000 - 40), ==, CODE);
    g_assert_cmphex(get64(b, 0x28000 - 16), ==, STACK0);
    g_assert_cmphex(get64(b, 0x28000 - 24) & FLAG_RF, ==, FLAG_RF);
}

static void test_page_fault_in_delivery_is_double(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    put64(b, TSS + 0x24, 0x28000);
    b->ram[IDT + 16 * VEC_DF + 4] = 1;
    b->cpu->gpr[R_RSP] = 0xa0008;
    put64(b, PT + 8 * 0x9f, 0);                         /* no stack: #PF, then #PF on delivery */
    put64(b, PT + 8 * 0xa0, 0);
    CODE_AT(b, CODE, "\x50");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_DF);
    g_assert_cmphex(b->cpu->gpr[R_RSP], ==, 0x28000 - 48);
}

static void test_data_breakpoint_traps_after(void)
{
    g_autoptr(X86Bench) b = long_bench(0);

    b->cpu->dr[0] = 0x80004;
    b->cpu->dr[7] = 0x400 | 1 | 0xd << 16;              /* 4 bytes, write */
    x86_update_mode(b->cpu);
    /* mov eax,[80004]; mov [80004],eax; hlt */
    CODE_AT(b, CODE, "\x8b\x04\x25\x04\x00\x08\x00\x89\x04\x25\x04\x00\x08\x00\x90\xf4");
    g_assert_cmpint(interp_run(b->cpu), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_DB);
    g_assert_cmphex(b->cpu->dr[6] & 0xf, ==, 1);
    g_assert_cmphex(get64(b, b->cpu->gpr[R_RSP]), ==, CODE + 14);
}

/* A trap after each element of a repeated instruction, and not before the next one. */
static void test_single_step_stops_in_rep(void)
{
    static const uint8_t opcodes[] = { 0xa4, 0xaa, 0xac, 0xa6, 0xae };    /* movs stos lods cmps scas */

    for (unsigned i = 0; i < sizeof(opcodes); i++) {
        g_autoptr(X86Bench) b = x86_bench_new();

        x86_bench_start_real(b, 0x1000);
        put32(b, VEC_DB * 4, 0x2000);
        /* mov cx,3; mov di,4000; push 100; popf; rep ..; nop; push 2; popf; hlt */
        CODE_AT(b, 0x1000, "\xb9\x03\x00\xbf\x00\x40\x68\x00\x01\x9d\xf3\x90\x90\x68\x02\x00\x9d\xf4");
        b->ram[0x100b] = opcodes[i];
        /* inc word [3000]; mov bx,[3000]; shl bx,1; mov [bx+3000],cx; iret */
        CODE_AT(b, 0x2000, "\xff\x06\x00\x30\x8b\x1e\x00\x30\xd1\xe3\x89\x8f\x00\x30\xcf");
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(b->ram[0x3000], ==, 6);          /* 3 elements, nop, push, popf */
        for (unsigned trap = 1; trap <= 6; trap++) {
            g_assert_cmpint(b->ram[0x3000 + 2 * trap], ==, trap < 3 ? 3 - trap : 0);
        }
    }
}

/* std; rep movs; hlt over several pages, at all distances that matter: as element by element. */
static void test_repeated_moves_downwards(void)
{
    static const int distances[] = { 0, 1, -1, 3, -3, 8, -8, 100, -100, 4096, -4096, 5000, -5000, 20000 };
    static const struct { const char *code; unsigned len, size; } rows[] = {
        { "\xfd\xf3\xa4\xf4", 4, 1 }, { "\xfd\x66\xf3\xa5\xf4", 5, 2 }, { "\xfd\xf3\xa5\xf4", 4, 4 },
        { "\xfd\xf3\x48\xa5\xf4", 5, 8 },
    };
    enum { FROM = 0x80000, BYTES = 0x10000, TOP = FROM + 0x8456, COUNT = 900 };
    g_autofree uint8_t *expected = g_malloc(BYTES);

    for (unsigned i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(distances); i++) {
        g_autoptr(X86Bench) b = long_bench(0);
        unsigned size = rows[i % ARRAY_LEN(rows)].size, src = 0x8456, dst;

        dst = src + distances[i / ARRAY_LEN(rows)];
        for (unsigned n = 0; n < BYTES; n++) {
            b->ram[FROM + n] = n * 0x9e3779b1u >> 16;
        }
        memcpy(expected, b->ram + FROM, BYTES);
        for (unsigned n = 0; n < COUNT; n++) {
            memmove(expected + dst - n * size, expected + src - n * size, size);
        }
        x86_bench_code(b, CODE, rows[i % ARRAY_LEN(rows)].code, rows[i % ARRAY_LEN(rows)].len);
        b->cpu->gpr[R_RSI] = TOP;
        b->cpu->gpr[R_RDI] = FROM + dst;
        b->cpu->gpr[R_RCX] = COUNT;
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmphex(b->cpu->gpr[R_RCX], ==, 0);
        g_assert_cmphex(b->cpu->gpr[R_RSI], ==, TOP - COUNT * size);
        g_assert_cmphex(b->cpu->gpr[R_RDI], ==, FROM + dst - COUNT * size);
        g_assert_cmpmem(b->ram + FROM, BYTES, expected, BYTES);
    }
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

/* ---- alignment ---- */

/* mov eax, [80001h]: a fault where CR0.AM, EFLAGS.AC and CPL 3 come together, behind #PF. */
static void test_alignment_check(void)
{
    static const struct { unsigned cpl; uint64_t am, ac, pte; int vector; } rows[] = {
        { 3, CR0_AM, FLAG_AC, 0x80007, VEC_AC },
        { 3, CR0_AM, FLAG_AC, 0, VEC_PF },
        { 3, CR0_AM, 0, 0x80007, VEC_GP },          /* that of HLT */
        { 3, 0, FLAG_AC, 0x80007, VEC_GP },
        { 0, CR0_AM, FLAG_AC, 0x80007, -1 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = long_bench(rows[i].cpl);
        X86Cpu *cpu = b->cpu;

        put64(b, PT + 8 * 0x80, rows[i].pte);
        x86_load_cr(cpu, cpu->cr0 | rows[i].am, PML4, CR4_PAE, cpu->efer);
        cpu->gpr[R_RBX] = rows[i].ac;
        /* push rbx; popf; mov eax, [80001h]; hlt */
        x86_bench_code(b, rows[i].cpl ? CODE3 : CODE,
                       "\x53\x9d\x8b\x04\x25\x01\x00\x08\x00\xf4", 10);
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(cpu->fault_count ? cpu->previous.vector : -1, ==, rows[i].vector);
        if (rows[i].vector == VEC_AC) {
            g_assert_cmphex(get64(b, STACK0 - 48), ==, 0);      /* an error code of 0 */
            g_assert_cmphex(get64(b, STACK0 - 40), ==, CODE3 + 2);
        }
    }
}

/* A misaligned stack in ring 3: the frame of the handler goes to the aligned one of ring 0. */
static void test_alignment_of_stack(void)
{
    g_autoptr(X86Bench) b = protected_bench(3);
    X86Cpu *cpu = b->cpu;

    x86_load_cr(cpu, cpu->cr0 | CR0_AM, 0, 0, 0);
    cpu->eflags |= FLAG_AC;
    x86_update_mode(cpu);
    CODE_AT(b, CODE3, "\x66\x50\x50");                   /* push ax; push eax */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(cpu->previous.vector, ==, VEC_AC);
    g_assert_cmphex(get32(b, STACK0 - 20), ==, CODE3 + 2);
    g_assert_cmphex(get32(b, STACK0 - 8), ==, STACK3 - 2);
}

/* ---- MSRs, SMM ---- */

static void test_msr_rules(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();
    uint64_t v;

    g_assert_true(x86_msr_write(b->cpu, MSR_LSTAR, 0xffff800000000000ull));
    g_assert_false(x86_msr_write(b->cpu, MSR_LSTAR, 0x0100000000000000ull));
    g_assert_false(x86_msr_write(b->cpu, MSR_PAT, 2));
    g_assert_false(x86_msr_write(b->cpu, MSR_EFER, BIT64(40)));
    g_assert_false(x86_msr_read(b->cpu, 0x12345, &v));
    g_assert_true(x86_msr_write(b->cpu, MSR_MTRR_PHYSBASE0 + 3, 0xff00000800ull));
    g_assert_true(x86_msr_read(b->cpu, MSR_MTRR_PHYSBASE0 + 3, &v));
    g_assert_cmphex(v, ==, 0xff00000800ull);
    g_assert_false(x86_msr_write(b->cpu, MSR_MTRRCAP, 0));
    g_assert_true(x86_msr_write(b->cpu, MSR_TSC_ADJUST, 1000));
    g_assert_cmpint(b->cpu->tsc_offset, ==, 1000);
}

static void smm_round_trip(bool long_mode)
{
    g_autoptr(X86Bench) b = long_mode ? long_bench(3) : protected_bench(3);
    X86Cpu *cpu = b->cpu;

    if (!long_mode) {
        cpu->features[FEAT_8000_0001_EDX] &= ~BIT(29);
    }
    CODE_AT(b, CODE3, "\x90\x90\xcd\x21");
    put_gate(b, 0x21, long_mode ? SEL_CODE64 : SEL_CODE, HANDLER, 15, 3, long_mode);
    cpu->gpr[R_RBX] = 0x1234;
    /* At 30000h + 8000h: move SMBASE to 200000h (cs:[ff00] or cs:[fef8]); rsm */
    if (long_mode) {
        CODE_AT(b, 0x38000, "\x66\x2e\xc7\x06\x00\xff\x00\x00\x20\x00\x66\x31\xdb\x0f\xaa");
    } else {
        CODE_AT(b, 0x38000, "\x66\x2e\xc7\x06\xf8\xfe\x00\x00\x20\x00\x66\x31\xdb\x0f\xaa");
    }
    x86_cpu_request(cpu, X86_REQ_SMI);
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_false(cpu->smm);
    g_assert_cmphex(cpu->gpr[R_RBX], ==, 0x1234);
    g_assert_cmphex(cpu->msrs.smbase, ==, 0x200000);
    g_assert_cmphex(cpu->cpl, ==, 0);
    g_assert_cmphex(cpu->segs[SEG_CS].sel, ==, long_mode ? SEL_CODE64 : SEL_CODE);
    g_assert_cmphex(cpu->msrs.smi_count, ==, 1);
}

static void test_smm_64(void)
{
    smm_round_trip(true);
}

static void test_smm_32(void)
{
    smm_round_trip(false);
}

static void test_rsm_outside_smm_is_ud(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);

    CODE_AT(b, CODE, "\x0f\xaa");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_UD);
}

static void test_init_and_sipi(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);

    b->cpu->msrs.apicbase &= ~BIT64(8);
    x86_cpu_request(b->cpu, X86_REQ_INIT);
    g_assert_cmpint(interp_run(b->cpu), ==, X86_EXIT_HALT);
    g_assert_true(b->cpu->wait_sipi);
    CODE_AT(b, 0x5000, "\xf4");
    b->cpu->sipi_vector = 5;
    x86_cpu_request(b->cpu, X86_REQ_SIPI);
    g_assert_cmpint(interp_run(b->cpu), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->segs[SEG_CS].base, ==, 0x5000);
    g_assert_cmphex(b->cpu->rip, ==, 1);
}

/* Random tables, code and state: every step must end, and nothing of ours may break. */
static void test_random_state(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(7);

    for (unsigned round = 0; round < 2000; round++) {
        g_autoptr(X86Bench) b = round & 1 ? long_bench(0) : protected_bench(round & 2 ? 3 : 0);
        X86Cpu *cpu = b->cpu;

        for (unsigned at = round % 3 ? CODE : GDT; at < (round % 5 ? 0x22000 : 0x34000); at += 4) {
            put32(b, at, g_rand_int(r));
        }
        for (unsigned i = 0; i < R_COUNT - 1; i++) {
            cpu->gpr[i] = g_rand_int_range(r, 0, 4) ? g_rand_int(r) & 0x3fffff
                                                    : (uint64_t)g_rand_int(r) << 32 | g_rand_int(r);
        }
        for (unsigned step = 0; step < 300; step++) {
            X86Exit exit;

            if (g_rand_int_range(r, 0, 8) == 0) {
                /* System opcodes more often than chance has them. */
                static const uint8_t seeds[][3] = {
                    { 0x0f, 0x00, 0xd8 }, { 0x0f, 0x01, 0x18 }, { 0x0f, 0x22, 0xc0 },
                    { 0x0f, 0x22, 0xe0 }, { 0x0f, 0x22, 0xd8 }, { 0x0f, 0x30, 0x90 },
                    { 0xcf, 0x90, 0x90 }, { 0xcb, 0x90, 0x90 }, { 0x8e, 0xd8, 0x90 },
                    { 0xff, 0x2b, 0x90 }, { 0xff, 0x1b, 0x90 }, { 0x0f, 0xaa, 0x90 },
                    { 0x0f, 0x05, 0x90 }, { 0x0f, 0x07, 0x90 }, { 0x0f, 0x34, 0x90 },
                    { 0xcd, 0x0d, 0x90 }, { 0x9d, 0x90, 0x90 }, { 0x0f, 0x23, 0xf8 },
                };
                uint64_t gpa;

                if (x86_mmu_peek(cpu, cpu->segs[SEG_CS].base + cpu->rip, &gpa) &&
                    gpa < BENCH_RAM - 16) {
                    memcpy(b->ram + gpa, seeds[g_rand_int_range(r, 0, ARRAY_LEN(seeds))], 3);
                    interp_flush(cpu);
                }
            }
            if (g_rand_int_range(r, 0, 100) == 0 && !cpu->smm) {
                x86_cpu_request(cpu, X86_REQ_SMI);
            }
            if (atomic_load(&cpu->requests) && x86_has_work(cpu) && !cpu->event.pending &&
                !cpu->interrupt_shadow && (atomic_load(&cpu->requests) & X86_REQ_SMI)) {
                g_assert_true(x86_service_requests(cpu));
            }
            exit = interp_step(cpu);
            if (exit == X86_EXIT_TRIPLE_FAULT) {
                g_autoptr(GString) text = g_string_new(NULL);

                x86_describe_faults(cpu, text);
                g_assert_cmpuint(text->len, >, 100);
                break;
            }
            cpu->halted = false;
        }
    }
}

/* ---- MONITOR, MWAIT ---- */

enum { REAL_CODE = 0x1000 };

static unsigned dozes;
static unsigned write_after;        /* dozes until somebody else writes to the line */

static void count_doze(void *opaque, X86Cpu *cpu, int64_t ns)
{
    X86Bench *b = opaque;

    if (++dozes == write_after) {
        b->ram[0x2538]++;
    }
}

static void mwait(X86Bench *b, bool store_between)
{
    /* mov ax, 2500h; monitor; [mov byte [2530h], 1]; mwait; hlt */
    static const uint8_t plain[] = { 0xb8, 0x00, 0x25, 0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9, 0xf4 };
    static const uint8_t store[] = { 0xb8, 0x00, 0x25, 0x0f, 0x01, 0xc8, 0xc6, 0x06, 0x30, 0x25, 0x01,
                                     0x0f, 0x01, 0xc9, 0xf4 };

    unsigned at = store_between ? REAL_CODE + 0x100 : REAL_CODE;      /* decoded once */

    b->bus.doze = count_doze;
    b->cpu->gpr[R_RCX] = 0;
    x86_bench_code(b, at, store_between ? store : plain, store_between ? sizeof(store) : sizeof(plain));
    b->cpu->halted = false;
    x86_bench_start_real(b, at);
    dozes = 0;
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
}

static void test_mwait_waits_for_its_line(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    write_after = 0;
    mwait(b, false);
    g_assert_cmpuint(dozes, ==, 20);        /* nobody writes: it ends by itself */
    write_after = 3;
    mwait(b, false);
    g_assert_cmpuint(dozes, ==, 3);
    write_after = 0;
    mwait(b, true);
    g_assert_cmpuint(dozes, ==, 0);         /* written between the two */
}

static void test_mwait_needs_monitor(void)
{
    static const uint8_t code[] = { 0x0f, 0x01, 0xc9, 0xf4 };
    g_autoptr(X86Bench) b = x86_bench_new();

    b->bus.doze = count_doze;
    b->cpu->gpr[R_RCX] = 0;
    x86_bench_code(b, REAL_CODE, code, sizeof(code));
    b->cpu->halted = false;
    x86_bench_start_real(b, REAL_CODE);
    dozes = 0;
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpuint(dozes, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/system/real/int-iret", test_real_int_and_iret);
    g_test_add_func("/x86/system/real/limit", test_real_limit_fault);
    g_test_add_func("/x86/system/real/sti-shadow", test_interrupt_waits_for_sti_shadow);
    g_test_add_func("/x86/system/prot/inner-interrupt", test_inner_interrupt_switches_stack);
    g_test_add_func("/x86/system/prot/gate-dpl", test_int_to_ring0_gate_is_gp);
    g_test_add_func("/x86/system/prot/bad-selector", test_bad_selector_code);
    g_test_add_func("/x86/system/prot/iret-port-map", test_iret_to_ring3_and_port_bitmap);
    g_test_add_func("/x86/system/prot/call-gate", test_call_gate_copies_parameters);
    g_test_add_func("/x86/system/prot/triple-fault", test_triple_fault_is_explained);
    g_test_add_func("/x86/system/prot/vm86", test_vm86_round_trip);
    g_test_add_func("/x86/system/task/call", test_task_call_and_return);
    g_test_add_func("/x86/system/paging/codes", test_page_fault_codes);
    g_test_add_func("/x86/system/paging/smep", test_smep_stops_supervisor_fetch);
    g_test_add_func("/x86/system/paging/accessed-dirty", test_accessed_and_dirty);
    g_test_add_func("/x86/system/paging/dirty-later", test_write_after_read_sets_dirty);
    g_test_add_func("/x86/system/paging/invlpg", test_invlpg_and_stale_entries);
    g_test_add_func("/x86/system/paging/pages-of-one-index", test_pages_of_one_index);
    g_test_add_func("/x86/system/paging/global", test_global_pages_survive_cr3);
    g_test_add_func("/x86/system/paging/la57/walk", test_five_levels);
    g_test_add_func("/x86/system/paging/la57/faults", test_five_level_faults);
    g_test_add_func("/x86/system/paging/la57/switch", test_la57_switch);
    g_test_add_func("/x86/system/paging/invpcid", test_invpcid_checks);
    g_test_add_func("/x86/system/paging/pcid", test_cr3_with_pcid);
    g_test_add_func("/x86/system/mode-of-64-bit-code", test_mode_of_64_bit_code);
    g_test_add_func("/x86/system/paging/last-page", test_last_page_faults);
    g_test_add_func("/x86/system/long/syscall", test_syscall_and_sysret);
    g_test_add_func("/x86/system/long/ist", test_ist_and_aligned_frame);
    g_test_add_func("/x86/system/long/double-fault", test_page_fault_in_delivery_is_double);
    g_test_add_func("/x86/system/long/watch", test_data_breakpoint_traps_after);
    g_test_add_func("/x86/system/debug/step-in-rep", test_single_step_stops_in_rep);
    g_test_add_func("/x86/system/long/rep-downwards", test_repeated_moves_downwards);
    g_test_add_func("/x86/system/long/cr-checks", test_control_register_checks);
    g_test_add_func("/x86/system/align/data", test_alignment_check);
    g_test_add_func("/x86/system/align/stack", test_alignment_of_stack);
    g_test_add_func("/x86/system/msr", test_msr_rules);
    g_test_add_func("/x86/system/smm/64", test_smm_64);
    g_test_add_func("/x86/system/smm/32", test_smm_32);
    g_test_add_func("/x86/system/smm/rsm-ud", test_rsm_outside_smm_is_ud);
    g_test_add_func("/x86/system/init-sipi", test_init_and_sipi);
    g_test_add_func("/x86/system/random", test_random_state);
    g_test_add_func("/x86/mwait/waits", test_mwait_waits_for_its_line);
    g_test_add_func("/x86/mwait/needs-monitor", test_mwait_needs_monitor);
    return g_test_run();
}
