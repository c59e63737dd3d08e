/* SPDX-License-Identifier: MIT */
/*
 * What changes under translated code, by both engines: code that changes itself, one physical page at two addresses,
 * one address with two physical pages, ranges of large pages that are mapped anew.
 */
#include "tests/tcg/program.h"

/* ---- code ----------------------------------------------------------------------------------- */

/* A store into the instruction behind it: the new one counts at once. */
static void test_store_ahead(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 5, 0, 0, 0);                                  /* mov ecx, 5 */
    PUT(&p, 0x88, 0x0d, 1, 0, 0, 0);                            /* again: mov [rip + 1], cl */
    PUT(&p, 0x05, 0, 0, 0, 0);                                  /* add eax, <cl> */
    PUT(&p, 0x01, 0xc3, 0xff, 0xc9, 0x75, 0xef, 0xf4);          /* add ebx, eax; dec ecx; jnz; hlt */
    program_check(&p, "store ahead", 100);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 15);
    program_clear(&p);
}

/* Data beside code: the code is kept. */
static void test_data_in_code_page(void)
{
    uint64_t blocks;
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 0xe8, 3, 0, 0);                               /* mov ecx, 1000 */
    PUT(&p, 0x01, 0x0d, 0xf5, 0x0e, 0, 0);                      /* again: add [rip + 0xef5], ecx */
    PUT(&p, 0xff, 0xc9, 0x75, 0xf6, 0xf4);
    program_check(&p, "data in a code page", 10000);
    blocks = p.e.tr->counters.blocks;
    g_assert_cmpuint(blocks, <, 50);
    program_clear(&p);
}

/* f is called, patched, and called again. */
static void test_patched_function(void)
{
    static const uint8_t f[] = { 0xb8, 7, 0, 0, 0, 0xc3 };      /* mov eax, 7; ret */
    static const uint32_t at[] = { BENCH_CODE, ENGINES_ALIAS + (BENCH_CODE - BENCH_BASE) };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        /* check() fills with HLT and plants p.code: the function goes in with it. */
        memset(p.code, 0xf4, sizeof(p.code));
        p.e.cpu->gpr[R_RBX] = 0;
        p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
        p.len = 0;
        PUT(&p, 0xb9, 6, 0, 0, 0);                              /* mov ecx, 6 */
        PUT(&p, 0xe8);                                          /* again: call f */
        program_put32(&p, 0x800 - 10);
        PUT(&p, 0x01, 0xc3);                                    /* add ebx, eax */
        PUT(&p, 0x88, 0x0c, 0x25);                              /* mov [f + 1], cl */
        program_put32(&p, at[i] + 0x801);
        PUT(&p, 0xff, 0xc9, 0x75, 0xee, 0xf4);                  /* dec ecx; jnz again; hlt */
        memcpy(p.code + 0x800, f, sizeof(f));
        p.len = 0x806;
        program_check(&p, i ? "function patched through an alias" : "patched function", 200);
        g_assert_cmpuint(p.e.cpu->gpr[R_RBX], ==, 7 + 6 + 5 + 4 + 3 + 2);
    }
    program_clear(&p);
}

/* Another CPU could not stop it otherwise: a loop that changes itself. */
static void test_loop_patched(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0x48, 0x8d, 0x3d, 0xf9, 0xef, 0xff, 0xff);          /* lea rdi, [start - 0x1000] */
    PUT(&p, 0xb9, 0x02, 0x04, 0, 0);                            /* mov ecx, 1026 */
    PUT(&p, 0x04, 0x01);                                        /* again: add al, 1 */
    PUT(&p, 0x88, 0x8f, 0x0d, 0x0c, 0, 0);                      /* mov [rdi + 0xc0d], cl: up to the immediate */
    PUT(&p, 0x48, 0xff, 0xc7);                                  /* inc rdi */
    PUT(&p, 0x48, 0xff, 0xc9, 0x75, 0xf0, 0xf4);                /* dec rcx; jnz again; hlt */
    program_check(&p, "a loop that changes itself", 10000);
    program_clear(&p);
}

/* What raised #UD is patched: the store is seen, whatever the decoder made of the old bytes. */
static void test_patched_invalid(void)
{
    static const struct { uint8_t bytes[4], looked_at; } invalid[] = {
        { { 0x62, 0xf1, 0x7c, 0x48 }, 1 },      /* EVEX, which there is none of */
        { { 0x66, 0xc5, 0xf8, 0x77 }, 2 },      /* VEX behind a prefix */
        { { 0x40, 0xc4, 0xe1, 0x78 }, 2 },
        { { 0x0f, 0x0b, 0x90, 0x90 }, 2 },      /* UD2 */
        { { 0xc4, 0xff, 0x90, 0x90 }, 2 },      /* no such map */
    };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(invalid); i++) {
        Insn insn;

        insn_decode(&insn, invalid[i].bytes, 4, p.e.cpu->mode, p.e.cpu);
        g_assert_cmpuint(insn.len, >=, invalid[i].looked_at);
        engines_mode(&p.e, 64, 3);
        p.len = 0;
        program_put(&p, invalid[i].bytes, 4);
        program_check(&p, "invalid instruction", 100);
        g_assert_cmpuint(p.e.cpu->faults[0].event.vector, ==, VEC_UD);
        engines_mode(&p.e, 64, 3);
        p.len = 0;
        PUT(&p, 0xb8, i + 1, 0, 0, 0, 0xf4);                    /* mov eax, i + 1; hlt */
        program_check(&p, "patched invalid instruction", 100);
        g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, i + 1);
    }
    program_clear(&p);
}

/* ---- one address, two pages ----------------------------------------------------------------- */

enum { PAGE_A = BIT(5), PAGE_G = BIT(8) };
#define TWIN_VA 0x40400000u
#define TWIN_TABLES (BENCH_TABLES + 0x20000)
#define TWIN_PAGES (BENCH_DATA + 0x100000)

/* Two address spaces that differ in one page, with another function in each. */
static void build_twins(void)
{
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *tables = (uint8_t *)(uintptr_t)(TWIN_TABLES + i * 0x10000);
        uint64_t base = TWIN_TABLES + i * 0x10000, *t = (uint64_t *)(void *)tables;
        uint8_t *page = (uint8_t *)(uintptr_t)(TWIN_PAGES + i * 0x1000);
        static const uint8_t f[] = { 0x83, 0xc0, 0, 0x6b, 0xdb, 3, 0x01, 0xc3, 0xc3 };

        memcpy(tables, (void *)(uintptr_t)BENCH_TABLES, 0x6000);
        t[0] = (base + 0x1000) | 7;
        for (unsigned k = 0; k < 4; k++) {
            t[512 + k] = (base + 0x2000 + k * 0x1000) | 7;
        }
        t[1024 + (TWIN_VA >> 21)] = (base + 0x7000) | 7;
        memset(t + 0xe00, 0, 4096);
        t[0xe00] = (TWIN_PAGES + i * 0x1000) | 7;
        memcpy(page, f, sizeof(f));     /* add eax, i + 1; imul ebx, 3; add ebx, eax; ret */
        page[2] = i + 1;
    }
}

static void test_twins(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    build_twins();
    engines_mode(&p.e, 64, 0);
    p.e.anywhere = true;
    p.e.cpu->gpr[R_RSI] = TWIN_TABLES;
    p.e.cpu->gpr[R_RDI] = TWIN_TABLES + 0x10000;
    PUT(&p, 0xb9, 40, 0, 0, 0);                                 /* mov ecx, 40 */
    PUT(&p, 0x0f, 0x22, 0xde);                                  /* again: mov cr3, rsi */
    PUT(&p, 0xe8);                                              /* call TWIN_VA */
    program_put32(&p, TWIN_VA - (BENCH_CODE + p.len + 4));
    PUT(&p, 0xe8);
    program_put32(&p, TWIN_VA - (BENCH_CODE + p.len + 4));
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xec, 0xf4);                      /* dec ecx; jnz again; hlt */
    program_check(&p, "twins by CR3", 2000);
    program_clear(&p);
}

/* The same for programs with PCIDs: each finds its own page again, by SYSRET, links and the jump table. */
static void test_twins_with_pcids(void)
{
    const uint64_t stack = BENCH_DATA + 0x1000;
    Program p;

    if (!program_init(&p)) {
        return;
    }
    build_twins();
    p.e.anywhere = true;
    p.e.cpu->cr4 |= CR4_PCIDE;
    x86_update_mode(p.e.cpu);
    *(uint64_t *)(uintptr_t)stack = BENCH_CODE;
    p.e.cpu->msrs.lstar = BENCH_CODE + 2;
    p.e.cpu->gpr[R_RSI] = TWIN_TABLES | 1 | BIT64(63);
    p.e.cpu->gpr[R_RDI] = (TWIN_TABLES + 0x10000) | 2 | BIT64(63);
    p.e.cpu->gpr[R_RDX] = stack;
    p.e.cpu->gpr[R_R8] = TWIN_VA;
    p.e.cpu->gpr[R_R9] = 60;
    PUT(&p, 0x0f, 0x05);                                        /* syscall, and where the twins return to */
    PUT(&p, 0x41, 0xff, 0xc9, 0x74, 0x0f);                      /* dec r9d; jz end */
    PUT(&p, 0x0f, 0x22, 0xde, 0x48, 0x87, 0xf7);                /* mov cr3, rsi; xchg rsi, rdi */
    PUT(&p, 0x48, 0x89, 0xd4, 0x4c, 0x89, 0xc1);                /* mov rsp, rdx; mov rcx, r8 */
    PUT(&p, 0x48, 0x0f, 0x07, 0x45, 0x31, 0xdb, 0xf4);          /* sysretq; end: xor r11d, r11d; hlt */
    program_check(&p, "twins by PCID", 2000);
    g_assert_cmpint(p.e.cpu->fault_count, ==, 0);
    g_assert_cmpint(p.e.cpu->gpr[R_RAX], ==, 30 + 2 * 29);
    program_clear(&p);
}

/* The same by INVLPG, with the call in the page that changes under its return address. */
static void test_remapped(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    build_twins();
    engines_mode(&p.e, 64, 0);
    p.e.anywhere = true;
    p.e.cpu->cr3 = TWIN_TABLES;
    p.e.cpu->gpr[R_RSI] = TWIN_PAGES | 7;
    p.e.cpu->gpr[R_RDI] = (TWIN_PAGES + 0x1000) | 7;
    p.e.cpu->gpr[R_R8] = TWIN_TABLES + 0x7000;
    p.e.cpu->gpr[R_RDX] = TWIN_VA;
    PUT(&p, 0xb9, 40, 0, 0, 0);                                 /* mov ecx, 40 */
    PUT(&p, 0x49, 0x89, 0x30);                                  /* again: mov [r8], rsi */
    PUT(&p, 0x0f, 0x01, 0x3a);                                  /* invlpg [rdx] */
    PUT(&p, 0xff, 0xd2);                                        /* call rdx */
    PUT(&p, 0xe8);
    program_put32(&p, TWIN_VA - (BENCH_CODE + p.len + 4));
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xec, 0xf4);
    program_check(&p, "remapped", 2000);
    program_clear(&p);
}

/*
 * The same with another page of code in between, which takes the first one's place among those that links
 * compare: the jump table must lose the first one all the same.
 */
static void test_remapped_unnoticed(void)
{
    const uint64_t other_va = 0x804c0000;   /* in another gigabyte: INVLPG forgets that of large pages */
    Program p;

    if (!program_init(&p)) {
        return;
    }
    build_twins();
    g_assert_cmpuint(x86_itlb_index(other_va), ==, x86_itlb_index(TWIN_VA));
    ((uint64_t *)(uintptr_t)(TWIN_TABLES + 0x2000))[other_va >> 21] = (TWIN_TABLES + 0x7000) | 7;
    ((uint64_t *)(uintptr_t)(TWIN_TABLES + 0x7000))[other_va >> 12 & 511] = TWIN_PAGES | 7;
    engines_mode(&p.e, 64, 0);
    p.e.anywhere = true;
    p.e.cpu->cr3 = TWIN_TABLES;
    p.e.cpu->gpr[R_RSI] = TWIN_PAGES | 7;
    p.e.cpu->gpr[R_RDI] = (TWIN_PAGES + 0x1000) | 7;
    p.e.cpu->gpr[R_R8] = TWIN_TABLES + 0x7000;
    p.e.cpu->gpr[R_RDX] = TWIN_VA;
    p.e.cpu->gpr[R_R9] = other_va;
    PUT(&p, 0xb9, 40, 0, 0, 0);                                 /* mov ecx, 40 */
    PUT(&p, 0x49, 0x89, 0x30);                                  /* again: mov [r8], rsi */
    PUT(&p, 0x0f, 0x01, 0x3a);                                  /* invlpg [rdx] */
    PUT(&p, 0xff, 0xd2, 0x41, 0xff, 0xd1);                      /* call rdx; call r9 */
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xee, 0xf4);                      /* dec ecx; jnz again; hlt */
    program_check(&p, "remapped unnoticed", 2000);
    program_clear(&p);
}

/* Two large pages in turn at one address, read through a range, with FORGET in between; then none at all. */
static void check_ranges(const char *what, const uint8_t *forget, unsigned len, unsigned global)
{
    uint64_t *const entry = (uint64_t *)(uintptr_t)(TWIN_TABLES + 0x2000) + (TWIN_VA >> 21);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    build_twins();
    engines_mode(&p.e, 64, 0);
    p.e.cpu->cr4 |= CR4_PGE;
    p.e.cpu->cr3 = TWIN_TABLES;
    p.e.cpu->gpr[R_RSI] = BENCH_BASE | 0x87 | PAGE_A | global;
    p.e.cpu->gpr[R_RDI] = (BENCH_BASE + 0x200000) | PAGE_A | 0x87 | global;
    p.e.cpu->gpr[R_R8] = (uintptr_t)entry;
    p.e.cpu->gpr[R_R9] = TWIN_TABLES;
    p.e.cpu->gpr[R_RDX] = TWIN_VA + (TWIN_TABLES - BENCH_BASE);
    p.e.cpu->gpr[R_RBX] = 0;
    PUT(&p, 0xb9, 40, 0, 0, 0);                                 /* mov ecx, 40 */
    PUT(&p, 0x49, 0x89, 0x30);                                  /* again: mov [r8], rsi */
    program_put(&p, forget, len);
    PUT(&p, 0x48, 0x8b, 0x02);                                  /* mov rax, [rdx] */
    PUT(&p, 0x48, 0x6b, 0xdb, 3);                               /* imul rbx, rbx, 3 */
    PUT(&p, 0x48, 0x01, 0xc3);                                  /* add rbx, rax */
    PUT(&p, 0x48, 0x33, 0x9c, 0xca);                            /* xor rbx, [rdx + rcx * 8 + 0x1000] */
    program_put32(&p, 0x1000);
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9);                                        /* dec ecx */
    PUT(&p, 0x75, (uint8_t)(5 - (p.len + 2)));                  /* jnz again */
    PUT(&p, 0x49, 0xc7, 0x00, 0, 0, 0, 0);                      /* mov qword [r8], 0 */
    program_put(&p, forget, len);
    PUT(&p, 0x48, 0x8b, 0x02, 0xf4);                            /* mov rax, [rdx]; hlt */
    program_check(&p, what, 2000);
    g_assert_cmpint(p.e.cpu->fault_count, >, 0);
    program_clear(&p);
}

static void test_ranges_remapped(void)
{
    check_ranges("ranges and INVLPG", (const uint8_t[]){ 0x0f, 0x01, 0x3a }, 3, 0);
    check_ranges("global ranges and INVLPG", (const uint8_t[]){ 0x0f, 0x01, 0x3a }, 3, PAGE_G);
    check_ranges("ranges and CR3", (const uint8_t[]){ 0x41, 0x0f, 0x22, 0xd9 }, 4, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/change/store-ahead", test_store_ahead);
    g_test_add_func("/tcg/change/data-in-code-page", test_data_in_code_page);
    g_test_add_func("/tcg/change/patched-function", test_patched_function);
    g_test_add_func("/tcg/change/loop-patched", test_loop_patched);
    g_test_add_func("/tcg/change/patched-invalid", test_patched_invalid);
    g_test_add_func("/tcg/change/twins", test_twins);
    g_test_add_func("/tcg/change/twins-with-pcids", test_twins_with_pcids);
    g_test_add_func("/tcg/change/remapped", test_remapped);
    g_test_add_func("/tcg/change/remapped-unnoticed", test_remapped_unnoticed);
    g_test_add_func("/tcg/change/ranges-remapped", test_ranges_remapped);
    return g_test_run();
}
