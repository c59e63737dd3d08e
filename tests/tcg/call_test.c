/* SPDX-License-Identifier: MIT */
/*
 * Calls and returns by both engines: return addresses that do not match, flags that cross functions, jumps to what is
 * no address, jumps after a change of mode, system calls.
 */
#include "tests/tcg/program.h"

/* Deeper than the host's return stack; the way back finds nothing there. */
static void test_deep_recursion(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 0x60, 0xea, 0, 0);                            /* mov ecx, 60000 */
    PUT(&p, 0xe8, 3, 0, 0, 0, 0x85, 0xc0, 0xf4);                /* call f; test eax, eax; hlt */
    PUT(&p, 0xff, 0xc9, 0x74, 0x07);                            /* f: dec ecx; jz end */
    PUT(&p, 0xe8, 0xf7, 0xff, 0xff, 0xff, 0x01, 0xc8);          /* call f; add eax, ecx */
    PUT(&p, 0xff, 0xc0, 0xc3);                                  /* end: inc eax; ret */
    p.e.cpu->gpr[R_RSP] = BENCH_BASE + BENCH_SIZE - 64;
    program_check(&p, "deep recursion", 1000000);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 60000);
    program_clear(&p);
}

/* f calls g, which returns to f's caller; and RET as a jump, POP of a return address. */
static void test_odd_returns(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 50, 0, 0, 0);                                 /* mov ecx, 50 */
    PUT(&p, 0xe8, 15, 0, 0, 0);                                 /* again: call f */
    PUT(&p, 0x68);                                              /* push after */
    program_put32(&p, BENCH_CODE + 17);
    PUT(&p, 0xc3, 0xf4);                                        /* ret; hlt */
    PUT(&p, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xee, 0xf4, 0xf4);    /* after: inc eax; dec ecx; jnz again */
    PUT(&p, 0x8d, 0x5b, 3, 0xe8, 2, 0, 0, 0, 0xff, 0xc2);       /* f: lea ebx, [rbx + 3]; call g; inc edx */
    PUT(&p, 0x48, 0x8d, 0x64, 0x24, 8, 0xc3);                   /* g: lea rsp, [rsp + 8]; ret */
    program_check(&p, "odd returns", 2000);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 50);
    g_assert_cmpuint(p.e.cpu->gpr[R_RDX], ==, 0);
    program_clear(&p);
}

/* A function that answers in CF, as BIOS calls and old assembly do. */
static void test_flags_across_functions(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 30, 0, 0, 0);                                 /* mov ecx, 30 */
    PUT(&p, 0xe8, 9, 0, 0, 0);                                  /* again: call f */
    PUT(&p, 0x11, 0xf0);                                        /* adc eax, esi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xf5, 0xf4, 0xf4, 0xf4);          /* dec ecx; jnz again; hlt */
    PUT(&p, 0x0f, 0xba, 0xe1, 0, 0xc3);                         /* f: bt ecx, 0; ret */
    program_check(&p, "flags across functions", 1000);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 15);
    g_assert_true(p.e.tr->exact_flags);
    program_clear(&p);
}

/* Through a pointer, as the linker's stubs jump: to a function that takes flags. */
static void test_flags_through_pointer(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 31, 0, 0, 0);                                 /* mov ecx, 31 */
    PUT(&p, 0xe8, 5, 0, 0, 0);                                  /* again: call f */
    PUT(&p, 0xff, 0xc9, 0x75, 0xf7, 0xf4);                      /* dec ecx; jnz again; hlt */
    PUT(&p, 0x0f, 0xba, 0xe1, 0, 0xff, 0x24, 0x25);             /* f: bt ecx, 0; jmp [BENCH_DATA] */
    program_put32(&p, BENCH_DATA);
    g_assert_cmpuint(p.len, ==, 26);
    PUT(&p, 0x11, 0xf0, 0xc3);                                  /* g: adc eax, esi; ret */
    *(uint64_t *)(uintptr_t)BENCH_DATA = BENCH_CODE + 26;
    program_check(&p, "flags through a pointer", 1000);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 16);
    program_clear(&p);
}

/* The same into another page and back, where a check of that page comes between, and flags are kept. */
static void test_flags_across_pages(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.tr->exact_flags = true;
    PUT(&p, 0xb9, 30, 0, 0, 0);                                 /* mov ecx, 30 */
    PUT(&p, 0x0f, 0xba, 0xe1, 1);                               /* again: bt ecx, 1 */
    PUT(&p, 0xe8);                                              /* call f */
    program_put32(&p, 0x1000 - (p.len + 4));
    PUT(&p, 0x11, 0xf0);                                        /* adc eax, esi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xf1, 0xf4);                      /* dec ecx; jnz again; hlt */
    memset(p.code + p.len, 0xf4, sizeof(p.code) - p.len);
    p.len = 0x1000;
    PUT(&p, 0x73, 2, 0xff, 0xc2, 0x0f, 0xba, 0xe1, 0, 0xc3);    /* f: jnc +2; inc edx; bt ecx, 0; ret */
    program_check(&p, "flags across pages", 1000);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 15);
    g_assert_cmpuint(p.e.cpu->gpr[R_RDX], ==, 15);
    program_clear(&p);
}

/* Numbers that are no addresses, near one where code of CPL 0 is known: none leads there. */
static void test_not_canonical(void)
{
    static const uint8_t kernel[] = { 0xff, 0x06, 0xf4 };      /* inc dword [rsi]; hlt */
    static const uint8_t user[] = { 0xff, 0xe0 };               /* jmp rax */
    uint32_t *marker = (uint32_t *)(uintptr_t)BENCH_DATA;
    Program p;

    if (!program_init(&p)) {
        return;
    }
    engines_code(&p.e, BENCH_CODE, kernel, sizeof(kernel));
    memcpy((void *)(uintptr_t)(BENCH_CODE + 0x800), user, sizeof(user));
    for (unsigned i = 0; i < 0x10000; i += i < 256 ? 1 : 0x11) {
        engines_mode(&p.e, 64, 0);
        p.e.cpu->gpr[R_RSI] = BENCH_DATA;
        *marker = 0;
        p.e.cpu->rip = BENCH_CODE;
        if (i == 0) {
            engines_translate(&p.e);
            g_assert_cmpuint(*marker, ==, 1);
            continue;
        }
        engines_mode(&p.e, 64, 3);
        p.e.cpu->rip = BENCH_CODE + 0x800;
        p.e.cpu->gpr[R_RAX] = BENCH_CODE ^ (uint64_t)i << 48;
        engines_translate(&p.e);
        g_assert_cmpuint(*marker, ==, 0);
        g_assert_cmpuint(p.e.cpu->faults[0].event.vector, ==, VEC_GP);
    }
    program_clear(&p);
}

/*
 * One function through the jump table, with AC and without: the user's page must not be read without, at
 * last.  Selectors and control registers into registers, too.
 */
static void test_calls_around_stac(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    engines_mode(&p.e, 64, 0);
    p.e.cpu->cr2 = 0x123456789abcull;
    p.e.cpu->cr4 |= CR4_SMAP;
    x86_update_mode(p.e.cpu);
    p.e.cpu->gpr[R_RSP] = ENGINES_KERNEL + 0x800;
    p.e.cpu->gpr[R_RSI] = BENCH_DATA;
    p.e.cpu->gpr[R_RDX] = ENGINES_KERNEL;
    PUT(&p, 0xb9, 40, 0, 0, 0);                                 /* mov ecx, 40 */
    PUT(&p, 0x0f, 0x01, 0xcb, 0x48, 0x89, 0xf7, 0xff, 0xd3);    /* again: stac; mov rdi, rsi; call rbx */
    PUT(&p, 0x0f, 0x01, 0xca, 0x48, 0x89, 0xd7, 0xff, 0xd3);    /* clac; mov rdi, rdx; call rbx */
    PUT(&p, 0xff, 0xc9, 0x75, 0xec);                            /* dec ecx; jnz again */
    PUT(&p, 0x49, 0xc7, 0xc1, 0xff, 0xff, 0xff, 0xff);          /* mov r9, -1 */
    PUT(&p, 0x66, 0x41, 0x8c, 0xd1, 0x66, 0x8c, 0xdd);          /* mov r9w, ss; mov bp, ds */
    PUT(&p, 0x66, 0x41, 0x8c, 0xd7);                            /* mov r15w, ss */
    PUT(&p, 0x0f, 0x20, 0xd0, 0x41, 0x0f, 0x20, 0xda);          /* mov rax, cr2; mov r10, cr3 */
    PUT(&p, 0x41, 0x0f, 0x20, 0xe6, 0x0f, 0x20, 0xc1);          /* mov r14, cr4; mov rcx, cr0 */
    PUT(&p, 0x48, 0x89, 0xf7, 0xff, 0xd3, 0xf4);                /* mov rdi, rsi; call rbx; hlt */
    p.e.cpu->gpr[R_RBX] = BENCH_CODE + p.len;
    PUT(&p, 0x44, 0x03, 0x07, 0xc3);                            /* add r8d, [rdi]; ret */
    program_check(&p, "calls around STAC", 2000);
    g_assert_cmpint(p.e.cpu->faults[0].event.vector, ==, VEC_PF);
    program_clear(&p);
}

/* From STAC on no entry of the jump table counts that is not of that mode; address 0 is none. */
static void test_jump_to_0_after_stac(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    engines_mode(&p.e, 64, 0);
    p.e.anywhere = true;
    p.e.cpu->cr4 |= CR4_SMAP;
    x86_update_mode(p.e.cpu);
    PUT(&p, 0x0f, 0x01, 0xcb, 0xff, 0xe3);                      /* stac; jmp rbx */
    for (unsigned i = 0; i < 4; i++) {
        p.e.cpu->gpr[R_RBX] = i & 1 ? 0 : BENCH_CODE + 0x800;
        program_check(&p, "jump after STAC", 100);
    }
    program_clear(&p);
}

/*
 * SYSCALL and SYSRET, back and forth: the flags that arrive on either side, with DF and AC in R11 now and
 * then, an address that is not canonical at last.
 */
static void test_syscall(void)
{
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.cpu->gpr[R_R10] = 1;
    p.e.cpu->msrs.fmask = FLAG_DF | FLAG_IF | FLAG_AC;
    PUT(&p, 0xbb, 40, 0, 0, 0);                                 /* mov ebx, 40 */
    PUT(&p, 0x49, 0x69, 0xd2, 0x35, 0x77, 0x13, 0x11);          /* again: imul r10, r10, 11137735h */
    PUT(&p, 0x44, 0x00, 0xd0);                                  /* add al, r10b */
    PUT(&p, 0x0f, 0x05);                                        /* syscall */
    PUT(&p, 0x9c, 0x5a, 0x49, 0x01, 0xd0);                      /* pushfq; pop rdx; add r8, rdx */
    PUT(&p, 0xff, 0xcb, 0x75, 0xeb);                            /* dec ebx; jnz again */
    PUT(&p, 0x0f, 0x05, 0xf4);                                  /* syscall; hlt */
    p.e.cpu->msrs.lstar = BENCH_CODE + p.len;
    PUT(&p, 0x4d, 0x01, 0xd9, 0x49, 0x01, 0xc9);                /* add r9, r11; add r9, rcx */
    PUT(&p, 0x85, 0xdb, 0x75, 0x05);                            /* test ebx, ebx; jnz + 5 */
    PUT(&p, 0x48, 0xc1, 0xe1, 0x20, 0xf8);                      /* shl rcx, 32; clc */
    PUT(&p, 0xf6, 0xc3, 0x04, 0x74, 0x07);                      /* test bl, 4; jz + 7 */
    PUT(&p, 0x49, 0x81, 0xf3, 0x00, 0x04, 0x04, 0x00);          /* xor r11, DF | AC */
    PUT(&p, 0x48, 0x0f, 0x07);                                  /* sysretq */
    program_check(&p, "system calls", 2000);
    program_clear(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/call/deep-recursion", test_deep_recursion);
    g_test_add_func("/tcg/call/odd-returns", test_odd_returns);
    g_test_add_func("/tcg/call/flags-across-functions", test_flags_across_functions);
    g_test_add_func("/tcg/call/flags-through-pointer", test_flags_through_pointer);
    g_test_add_func("/tcg/call/flags-across-pages", test_flags_across_pages);
    g_test_add_func("/tcg/call/not-canonical", test_not_canonical);
    g_test_add_func("/tcg/call/calls-around-stac", test_calls_around_stac);
    g_test_add_func("/tcg/call/jump-to-0-after-stac", test_jump_to_0_after_stac);
    g_test_add_func("/tcg/call/syscall", test_syscall);
    return g_test_run();
}
