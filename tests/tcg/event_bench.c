/* SPDX-License-Identifier: MIT */
/*
 * Nanoseconds for an IRET to where it stands, and for an exception with the IRET behind it: a page fault of CPL 3
 * code, one of CPL 0 code, an INT3 of CPL 3 code.  A benchmark: nothing is asserted about time.
 */
#include <stdio.h>
#include <time.h>

#include "accel/tcg/translator.h"
#include "tests/insn/bench.h"

#define GDT (BENCH_TABLES + 0xa000)
#define TSS (BENCH_TABLES + 0xb000)
#define IDT (BENCH_TABLES + 0xc000)
#define HANDLER (BENCH_CODE + 0x1000)
#define TRAP_HANDLER (HANDLER + 0x100)
#define ROUNDS 1000000

/* again: mov rsi, rsp; push ss; push rsi; pushf; push cs; call + 0 and its return address + 8; iretq; */
static const uint8_t iret[] = {
    0x48, 0x89, 0xe6, 0x8c, 0xd0, 0x50, 0x56, 0x9c, 0x6a, 0x08, 0x48, 0x8d, 0x05, 0x03, 0, 0, 0, 0x50, 0x48, 0xcf,
    0xff, 0xc9, 0x75, 0xe8, 0xf4,               /* dec ecx; jnz again; hlt */
};
/* again: mov eax, [rbx]; nop; dec ecx; jnz again; hlt */
static const uint8_t fault[] = { 0x8b, 0x03, 0x90, 0xff, 0xc9, 0x75, 0xf9, 0xf4 };
/* again: int3; nop; nop; dec ecx; jnz again; hlt */
static const uint8_t trap[] = { 0xcc, 0x90, 0x90, 0xff, 0xc9, 0x75, 0xf9, 0xf4 };
/* add qword [rsp + 8], 2; add rsp, 8; iretq */
static const uint8_t handler[] = { 0x48, 0x83, 0x44, 0x24, 0x08, 0x02, 0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void put_gate(unsigned vector, uint64_t rip)
{
    uint64_t *gate = (uint64_t *)(uintptr_t)IDT + 2 * vector;

    gate[0] = (rip & 0xffff) | 8 << 16 | 0xeeull << 40 | (rip >> 16 & 0xffff) << 48;
    gate[1] = rip >> 32;
}

static void set_up(X86Cpu *cpu)
{
    uint64_t *gdt = (uint64_t *)(uintptr_t)GDT;

    gdt[1] = 0x00af9b000000ffffull;
    gdt[2] = 0x00cf93000000ffffull;
    gdt[3] = 0x00cff3000000ffffull;
    gdt[4] = 0x00affb000000ffffull;
    cpu->gdt = (X86Table){ GDT, 39 };
    cpu->idt = (X86Table){ IDT, 4095 };
    cpu->tr = (X86Seg){ 0x28, DESC_P | 11 << DESC_TYPE_SHIFT, 103, TSS };
    *(uint64_t *)(uintptr_t)(TSS + 4) = BENCH_DATA + 0x1000;
    memcpy((void *)(uintptr_t)HANDLER, handler, sizeof(handler));
    memcpy((void *)(uintptr_t)TRAP_HANDLER, "\x48\xcf", 2);
    put_gate(VEC_PF, HANDLER);
    put_gate(VEC_BP, TRAP_HANDLER);
    put_gate(VEC_GP, BENCH_CODE + 0x2000);      /* HLT of CPL 3 ends there */
    *(uint8_t *)(uintptr_t)(BENCH_CODE + 0x2000) = 0xf4;
    ((uint64_t *)(uintptr_t)(BENCH_TABLES + 0x2000))[511] = 0;
}

static void measure(X86Cpu *cpu, const char *what, const uint8_t *code, unsigned len, unsigned cpl)
{
    double best = 1;

    bench_set_mode(cpu, 64, cpl);
    if (cpl == 3) {
        cpu->segs[SEG_CS].sel = 0x23;
        for (unsigned i = 0; i < SEG_COUNT; i++) {
            if (i != SEG_CS) {
                cpu->segs[i].sel = 0x1b;
            }
        }
    }
    code_map_written(cpu->code, BENCH_CODE, 4096);
    memcpy((void *)(uintptr_t)BENCH_CODE, code, len);
    for (unsigned i = 0; i < 5; i++) {
        double start = now();

        cpu->rip = BENCH_CODE;
        cpu->halted = false;
        cpu->gpr[R_RCX] = ROUNDS;
        cpu->gpr[R_RBX] = 511ull << 21;
        cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
        tcg_run(cpu);
        best = MIN(best, now() - start);
        if (cpl) {
            bench_set_mode(cpu, 64, cpl);
            cpu->segs[SEG_CS].sel = 0x23;
            cpu->segs[SEG_SS].sel = 0x1b;
        }
    }
    printf("%-24s %6.1f ns%s\n", what, best / ROUNDS * 1e9, (uint32_t)cpu->gpr[R_RCX] ? ", ended too soon" : "");
}

int main(void)
{
    X86Cpu *cpu = bench_cpu_new();
    GError *error = NULL;
    Translator *tr = translator_new(16 << 20, cpu->code, &error);

    if (!tr || !tcg_signals_init(&error) || !tcg_attach_cpu(tr, cpu, &error)) {
        g_error("%s", error->message);
    }
    set_up(cpu);
    measure(cpu, "iret", iret, sizeof(iret), 0);
    measure(cpu, "page fault of CPL 0", fault, sizeof(fault), 0);
    measure(cpu, "page fault of CPL 3", fault, sizeof(fault), 3);
    measure(cpu, "int3 of CPL 3", trap, sizeof(trap), 3);
    tcg_detach_cpu(cpu);
    translator_free(tr);
    bench_cpu_free(cpu);
    return 0;
}
