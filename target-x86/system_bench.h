/* SPDX-License-Identifier: MIT */
/*
 * A bare CPU in protected or in long mode, for tests of the system side: testbench.h with a GDT, an IDT whose gates
 * lead to HLT, a TSS and page tables.
 *
 *     g_autoptr(X86Bench) b = long_bench(3);
 *
 *     CODE_AT(b, CODE3, "\xf4");                          // hlt
 *     g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
 *     g_assert_cmpint(b->cpu->previous.vector, ==, VEC_GP);
 */
#ifndef TARGET_X86_SYSTEM_BENCH_H
#define TARGET_X86_SYSTEM_BENCH_H

#include "target-x86/testbench.h"

/* Where things are in the bench's RAM. */
enum {
    GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, CODE = 0x10000, CODE3 = 0x11000, HANDLER = 0x12000,
    STACK0 = 0x20000, STACK3 = 0x21000, PML4 = 0x30000, PDPT = 0x31000, PD = 0x32000, PT = 0x33000,
    PML5 = 0x34000,
};
enum { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_CODE3 = 0x1b, SEL_DATA3 = 0x23, SEL_TSS = 0x28,
       SEL_CODE64 = 0x38 };

static inline void put16(X86Bench *b, uint64_t at, uint16_t v) { le16_store(b->ram + at, v); }
static inline void put32(X86Bench *b, uint64_t at, uint32_t v) { le32_store(b->ram + at, v); }
static inline void put64(X86Bench *b, uint64_t at, uint64_t v) { le64_store(b->ram + at, v); }
static inline uint32_t get32(X86Bench *b, uint64_t at) { return le32_load(b->ram + at); }
static inline uint64_t get64(X86Bench *b, uint64_t at) { return le64_load(b->ram + at); }

static inline void put_desc(X86Bench *b, uint64_t at, uint32_t base, uint32_t limit, uint32_t flags)
{
    put32(b, at, (limit & 0xffff) | base << 16);
    put32(b, at + 4, flags | (limit & 0xf0000) | (base >> 16 & 0xff) | (base & 0xff000000));
}

static inline void put_gate(X86Bench *b, unsigned vector, uint16_t sel, uint32_t off, unsigned type,
                            unsigned dpl, bool wide)
{
    uint64_t at = IDT + vector * (wide ? 16 : 8);

    put32(b, at, (off & 0xffff) | (uint32_t)sel << 16);
    put32(b, at + 4, (off & 0xffff0000) | DESC_P | dpl << 13 | type << 8);
    if (wide) {
        put64(b, at + 8, 0);
    }
}

static inline X86Seg seg(uint16_t sel, uint32_t flags)
{
    return (X86Seg){ .sel = sel, .limit = 0xffffffff, .flags = flags };
}

enum {
    F_CODE = DESC_P | DESC_S | DESC_CODE | DESC_R | DESC_A | DESC_G,
    F_DATA = DESC_P | DESC_S | DESC_W | DESC_A | DESC_G | DESC_DB,
    F_DPL3 = 3 << 13,
};

static inline void tables(X86Bench *b)
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
static inline X86Bench *protected_bench(unsigned cpl)
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
static inline X86Bench *long_bench(unsigned cpl)
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

#endif
