/* SPDX-License-Identifier: MIT */
/* Events and far transfers on a bare CPU, in each mode: delivery, stacks, tasks, system calls, #DB, #AC. */
#include "target-x86/segment.h"
#include "target-x86/system_bench.h"

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

/* #GP by a task gate to a TSS of 16 bits: its error code is a word on the new stack. */
static void test_task_gate_to_16_bits(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    enum { TSS2 = 0x6000, SEL_TSS2 = 0x48, SEL_STACK = 0x50, CODE2 = 0x8000, SP = 0x5000 };
    static const uint16_t segs[] = { SEL_DATA, SEL_CODE, SEL_STACK, SEL_DATA };

    put_desc(b, GDT + SEL_TSS2, TSS2, 43, DESC_P | 1 << 8);
    put_desc(b, GDT + SEL_TSS, TSS, 0x2000, DESC_P | 11 << 8);
    put_desc(b, GDT + SEL_STACK, 0, 0xffff, DESC_P | DESC_S | DESC_W | DESC_A);
    put_gate(b, VEC_GP, SEL_TSS2, 0, 5, 0, false);
    put16(b, TSS2 + 14, CODE2);
    put16(b, TSS2 + 16, FLAG_ONE);
    put16(b, TSS2 + 18 + 2 * R_RSP, SP);
    put16(b, TSS2 + 18 + 2 * R_RBX, 0x77);
    for (unsigned i = 0; i < ARRAY_LEN(segs); i++) {
        put16(b, TSS2 + 34 + 2 * i, segs[i]);
    }
    b->cpu->gpr[R_RAX] = 0x108;
    CODE_AT(b, CODE, "\x8e\xd8\xf4");                   /* mov ds, eax: beyond the GDT */
    CODE_AT(b, CODE2, "\x66\x59\xf4");                  /* pop cx; hlt */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->rip, ==, CODE2 + 3);
    g_assert_cmphex(b->cpu->gpr[R_RCX], ==, 0xffff0108);
    g_assert_cmphex(b->cpu->gpr[R_RBX], ==, 0xffff0077);
    g_assert_cmphex((uint16_t)b->cpu->gpr[R_RSP], ==, SP);
    g_assert_cmphex(b->cpu->tr.sel, ==, SEL_TSS2);
    g_assert_cmphex(get32(b, TSS2) & 0xffff, ==, SEL_TSS);
    g_assert_cmphex(get32(b, TSS + 32), ==, CODE);              /* the fault's EIP, in the old TSS */
    g_assert_cmphex(b->cpu->eflags & FLAG_NT, ==, FLAG_NT);
}

/* [SDM3A 7.2.1]: the T bit traps before the first instruction of the new task. */
static void test_task_trap_bit(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    enum { TSS2 = 0x6000, SEL_TSS2 = 0x48, CODE2 = 0x14000, ESP = 0x25000 };

    put_desc(b, GDT + SEL_TSS2, TSS2, 0x67, DESC_P | 9 << 8);
    put_desc(b, GDT + SEL_TSS, TSS, 0x2000, DESC_P | 11 << 8);
    put32(b, TSS2 + 32, CODE2);
    put32(b, TSS2 + 36, FLAG_ONE);
    put32(b, TSS2 + 40 + 4 * R_RSP, ESP);
    put32(b, TSS2 + 100, 1);
    for (unsigned i = 0; i < 6; i++) {
        put32(b, TSS2 + 72 + 4 * i, i == SEG_CS ? SEL_CODE : SEL_DATA);
    }
    CODE_AT(b, CODE, "\xea\x00\x00\x00\x00\x48\x00");    /* jmp 48h:0 */
    CODE_AT(b, CODE2, "\xbb\x01\x00\x00\x00\xf4");        /* mov ebx, 1; hlt */
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_DB);
    g_assert_cmphex(b->cpu->dr[6] & BIT(15), ==, BIT(15));
    g_assert_cmphex(b->cpu->gpr[R_RBX], ==, 0);
    g_assert_cmphex(get32(b, ESP - 12), ==, CODE2);
    g_assert_cmphex(get32(b, GDT + SEL_TSS + 4) & 0x200, ==, 0);
}

/* ---- long mode ---- */

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

/* [SDM2 IRET]: RETURN-TO-OUTER-PRIVILEGE-LEVEL. */
static void test_iret_drops_inner_segments(void)
{
    enum { SEL_CONFORMING = 0x40 };
    static const struct { uint16_t sel, kept; } rows[] = {
        { SEL_DATA, 0 }, { SEL_DATA3, SEL_DATA3 }, { SEL_CODE, 0 }, { SEL_CONFORMING, SEL_CONFORMING }, { 0, 0 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(X86Bench) b = long_bench(0);

        put_desc(b, GDT + SEL_CONFORMING, 0, 0xfffff, F_CODE | DESC_C | DESC_DB);
        put_desc(b, GDT + (SEL_CODE3 & ~7), 0, 0xfffff, F_CODE | DESC_L | F_DPL3);
        put64(b, STACK0, CODE3);
        put64(b, STACK0 + 8, SEL_CODE3);
        put64(b, STACK0 + 16, FLAG_ONE);
        put64(b, STACK0 + 24, STACK3);
        put64(b, STACK0 + 32, SEL_DATA3);
        b->cpu->gpr[R_RAX] = rows[i].sel;
        CODE_AT(b, CODE, "\x8e\xd8\x48\xcf");              /* mov ds, eax; iretq */
        CODE_AT(b, CODE3, "\x8c\xdb\xf4");                  /* mov ebx, ds; hlt: #GP */
        g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
        g_assert_cmpint(b->cpu->previous.vector, ==, VEC_GP);
        g_assert_cmphex(b->cpu->gpr[R_RBX], ==, rows[i].kept);
    }
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
    g_test_add_func("/x86/system/task/gate-16", test_task_gate_to_16_bits);
    g_test_add_func("/x86/system/task/trap", test_task_trap_bit);
    g_test_add_func("/x86/system/long/syscall", test_syscall_and_sysret);
    g_test_add_func("/x86/system/long/iret-segments", test_iret_drops_inner_segments);
    g_test_add_func("/x86/system/long/ist", test_ist_and_aligned_frame);
    g_test_add_func("/x86/system/long/double-fault", test_page_fault_in_delivery_is_double);
    g_test_add_func("/x86/system/long/watch", test_data_breakpoint_traps_after);
    g_test_add_func("/x86/system/debug/step-in-rep", test_single_step_stops_in_rep);
    g_test_add_func("/x86/system/long/rep-downwards", test_repeated_moves_downwards);
    g_test_add_func("/x86/system/align/data", test_alignment_check);
    g_test_add_func("/x86/system/align/stack", test_alignment_of_stack);
    return g_test_run();
}
