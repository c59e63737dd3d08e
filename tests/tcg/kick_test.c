/* SPDX-License-Identifier: MIT */
/*
 * Kicks: wherever they hit, translated code stops in a state that the interpreter reaches between two
 * instructions, and goes on from there to the same end.
 *
 * every-host-pc/...: the test single-steps the host (EFLAGS.TF) through translated code, and kicks once at
 * each host instruction it has not kicked at before, until none is left.
 * thread: another thread kicks all the time; after each stop the interpreter does a few instructions.
 */
#include <signal.h>
#include <sys/resource.h>
#include <ucontext.h>

#include "base/crash.h"
#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

#define EFL_TF 0x100
#define STEPS_MAX 400

/* rsi = data, rsp = stack, in all of them.  Loads, stores, stack, calls, flags over memory accesses, LOCK, SSE, strings, a division. */
static const uint8_t mixture[] = {
    0xbb, 1, 0, 0, 0,                           /*    mov ebx, 1 */
    0x4c, 0x8b, 0x06,                           /* 5: mov r8, [rsi] */
    0x4c, 0x03, 0x56, 0x08,                     /*    add r10, [rsi + 8] */
    0x4c, 0x11, 0x46, 0x10,                     /*    adc [rsi + 16], r8 */
    0x4c, 0x89, 0x56, 0x18,                     /*    mov [rsi + 24], r10 */
    0x41, 0x53, 0x41, 0x5e,                     /*    push r11; pop r14 */
    0xf0, 0x4c, 0x0f, 0xc1, 0x4e, 0x20,         /*    lock xadd [rsi + 32], r9 */
    0x4d, 0x87, 0xfe,                           /*    xchg r14, r15 */
    0x48, 0x87, 0x6e, 0x28,                     /*    xchg [rsi + 40], rbp */
    0x66, 0x0f, 0xd4, 0x46, 0x30,               /*    paddq xmm0, [rsi + 48] */
    0x66, 0x0f, 0x7f, 0x46, 0x40,               /*    movdqa [rsi + 64], xmm0 */
    0xe8, 26, 0, 0, 0,                          /*    call f */
    0x31, 0xd2, 0x89, 0xd8, 0xf7, 0xf3,         /*    xor edx, edx; mov eax, ebx; div ebx */
    0x88, 0x66, 0x50,                           /*    mov [rsi + 80], ah */
    0xff, 0xcb, 0x75, 0xc4,                     /*    dec ebx; jnz 5 */
    0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4, 0xf4,
    0x56,                                       /* f: push rsi */
    0x48, 0x8d, 0x7e, 0x60,                     /*    lea rdi, [rsi + 96] */
    0xb9, 7, 0, 0, 0, 0xf3, 0xa4,               /*    mov ecx, 7; rep movsb */
    0x5e, 0xd9, 0xe8, 0xd8, 0xc1,               /*    pop rsi; fld1; fadd st, st1 */
    0xdd, 0x5e, 0x70, 0xb1, 3,                  /*    fstp [rsi + 112]; mov cl, 3 */
    0x8a, 0x44, 0x0e, 0x60,                     /* l: mov al, [rsi + rcx + 96] */
    0x00, 0x44, 0x0e, 0x78,                     /*    add [rsi + rcx + 120], al */
    0x48, 0xff, 0xc9, 0x75, 0xf3, 0xc3,         /*    dec rcx; jnz l; ret */
};

/* Groups of a frame and of a structure, with flags live across, side exits, a store behind one of them. */
static const uint8_t groups[] = {
    0xbb, 7, 0, 0, 0,                           /*    mov ebx, 7 */
    0x55, 0x41, 0x56, 0x53, 0x48, 0x89, 0xe5,   /* 5: push rbp, r14, rbx; mov rbp, rsp */
    0x48, 0x8b, 0x45, 0x08,                     /*    mov rax, [rbp + 8] */
    0x4c, 0x01, 0x16, 0x4c, 0x11, 0x56, 0x10,   /*    add [rsi], r10; adc [rsi + 16], r10 */
    0x83, 0x56, 0x20, 0x05,                     /*    adc dword [rsi + 32], 5 */
    0xf6, 0xc3, 0x01, 0x74, 0x04,               /*    test bl, 1; jz + 4 */
    0x48, 0x89, 0x46, 0x30,                     /*    mov [rsi + 48], rax */
    0x4c, 0x8d, 0x7e, 0x08, 0x41, 0x89, 0x1f,   /*    lea r15, [rsi + 8]; mov [r15], ebx */
    0x0f, 0x6f, 0x06, 0x0f, 0xfc, 0x46, 0x08,   /*    movq mm0, [rsi]; paddb mm0, [rsi + 8] */
    0xff, 0x76, 0x18, 0x8f, 0x46, 0x28,         /*    push [rsi + 24]; pop [rsi + 40] */
    0x5b, 0x41, 0x5e, 0xc9,                     /*    pop rbx, r14; leave */
    0xff, 0xcb, 0x75, 0xc5, 0xf4,               /*    dec ebx; jnz 5 */
};

/* Loops with their checks hoisted, up and down, over the end of a page; with a way out. */
static const uint8_t loops[] = {
    0x48, 0x8d, 0xbe, 0xe0, 0x0e, 0x00, 0x00,   /*    lea rdi, [rsi + 0xee0]: 32 bytes to the next page */
    0xb9, 9, 0, 0, 0, 0xeb, 0x00,               /*    mov ecx, 9; jmp a */
    0x48, 0x8b, 0x06, 0x48, 0x89, 0x07,         /* a: mov rax, [rsi]; mov [rdi], rax */
    0x48, 0x83, 0xc6, 8, 0x48, 0x83, 0xc7, 8,   /*    add rsi, 8; add rdi, 8 */
    0x48, 0xff, 0xc9, 0x75, 0xed,               /*    dec rcx; jnz a */
    0xb1, 11, 0xeb, 0x00,                       /*    mov cl, 11; jmp b */
    0x4d, 0x03, 0x56, 0xf8, 0x01, 0x44, 0x8f, 0xe0,     /* b: add r10, [r14 - 8]; add [rdi + rcx*4 - 32], eax */
    0x49, 0x83, 0xee, 12, 0x48, 0xff, 0xc9,     /*    sub r14, 12; dec rcx */
    0x75, 0xef,                                 /*    jnz b */
    0xb1, 6, 0xeb, 0x00,                        /*    mov cl, 6; jmp c */
    0x51, 0x8f, 0x03, 0x80, 0x3b, 3, 0x74, 5,   /* c: push rcx; pop [rbx]; cmp byte [rbx], 3; je out */
    0x48, 0xff, 0xc9, 0x75, 0xf3, 0xf4,         /*    dec rcx; jnz c; out: hlt */
};

/* REP MOVS and STOS by the host's own, bit tests in memory. */
static const uint8_t strings[] = {
    0xbb, 3, 0, 0, 0, 0x56,                     /*    mov ebx, 3; 5: push rsi */
    0x48, 0x8d, 0x7e, 0x50, 0xb9, 5, 0, 0, 0,   /*    lea rdi, [rsi + 80]; mov ecx, 5 */
    0x39, 0xd8, 0xf3, 0x48, 0xa5,               /*    cmp eax, ebx; rep movsq */
    0x83, 0xd0, 0x01, 0xb1, 7, 0xf3, 0x66, 0xab,        /* adc eax, 1; mov cl, 7; rep stosw */
    0xb1, 0, 0xf3, 0xa4, 0xb1, 2, 0xf3, 0xa5,   /*    mov cl, 0; rep movsb; mov cl, 2; rep movsd */
    0x5e, 0x44, 0x0f, 0xbb, 0x16,               /*    pop rsi; btc [rsi], r10d */
    0xf0, 0x4c, 0x0f, 0xab, 0x46, 0x10,         /*    lock bts [rsi + 16], r8 */
    0x83, 0xd2, 0x00,                           /*    adc edx, 0 */
    0xff, 0xcb, 0x75, 0xcf, 0xf4,               /*    dec ebx; jnz 5 */
};

/* EVEX and masks as string functions use them, a masked access over the end of a page, C in the middle. */
static const uint8_t avx512[] = {
    0xbb, 3, 0, 0, 0,                           /*    mov ebx, 3 */
    0x62, 0xe1, 0xfe, 0x28, 0x6f, 0x46, 0x01,   /* 5: vmovdqu64 ymm16, [rsi + 32] */
    0x62, 0xf1, 0x7d, 0x20, 0x74, 0x4e, 0x02,   /*    vpcmpeqb k1, ymm16, [rsi + 64] */
    0xc4, 0xe1, 0xf8, 0x98, 0xc9,               /*    kortestq k1, k1 */
    0x19, 0xd2,                                 /*    sbb edx, edx */
    0xc4, 0xe1, 0xfb, 0x93, 0xc1,               /*    kmovq rax, k1 */
    0xc4, 0xc1, 0xfb, 0x92, 0xd6,               /*    kmovq k2, r14 */
    0x62, 0xe1, 0x7e, 0x4a, 0x7f, 0x86, 0xe0, 0x0e, 0, 0,       /* vmovdqu32 [rsi + 0xee0]{k2}, zmm16 */
    0xc5, 0xfd, 0xfe, 0xc1,                     /*    vpaddd ymm0, ymm0, ymm1 */
    0x31, 0xc9, 0x0f, 0x01, 0xd0,               /*    xor ecx, ecx; xgetbv */
    0x62, 0xe1, 0x7d, 0xca, 0xfe, 0xe0,         /*    vpaddd zmm20{k2}{z}, zmm0, zmm0 */
    0x62, 0xe1, 0x7d, 0x48, 0x7f, 0x26,         /*    vmovdqa32 [rsi], zmm20 */
    0xc5, 0xf8, 0x77,                           /*    vzeroupper */
    0xff, 0xcb, 0x75, 0xbb, 0xf4,               /*    dec ebx; jnz 5 */
};

/* A load and a store over the end of a page, each checked by itself, with flags that live across them. */
static const uint8_t crossings[] = {
    0x48, 0x8d, 0xbe, 0x00, 0x0f, 0, 0,         /*    lea rdi, [rsi + 0xf00]: the next page */
    0x39, 0xd8, 0x4c, 0x8b, 0x57, 0xfd,         /*    cmp eax, ebx; mov r10, [rdi - 3] */
    0x48, 0x0f, 0xcf, 0x48, 0x0f, 0xcf,         /*    bswap rdi; bswap rdi */
    0x0f, 0x11, 0x47, 0xfb,                     /*    movups [rdi - 5], xmm0 */
    0x83, 0xd2, 0x00, 0xf4,                     /*    adc edx, 0 */
};

static const uint8_t crossings_avx512[] = {
    0x62, 0xe1, 0xfe, 0x48, 0x6f, 0x86, 0xdf, 0x0e, 0, 0,       /* vmovdqu64 zmm16, [rsi + 0xedf] */
    0x48, 0x0f, 0xce, 0x48, 0x0f, 0xce,                         /* bswap rsi; bswap rsi */
    0x62, 0xe1, 0xfe, 0x48, 0x7f, 0x86, 0xe9, 0x0e, 0, 0,       /* vmovdqu64 [rsi + 0xee9], zmm16 */
    0xf4,
};

/* REP MOVS while the vectors it borrows are the guest's. */
static const uint8_t strings_avx512[] = {
    0x62, 0x61, 0xfe, 0x48, 0x6f, 0x26,         /*    vmovdqu64 zmm28, [rsi] */
    0x48, 0x8d, 0xbe, 0x00, 0x04, 0, 0,         /*    lea rdi, [rsi + 0x400] */
    0xb9, 0x50, 0, 0, 0, 0xf3, 0xa4,            /*    mov ecx, 80; rep movsb */
    0x62, 0x61, 0xfe, 0x48, 0x7f, 0x27, 0xf4,   /*    vmovdqu64 [rdi], zmm28; hlt */
};

/* SYSCALL and SYSRET, and what a kernel does between them. */
static const uint8_t system_calls[] = {
    0xbb, 4, 0, 0, 0,                           /*    mov ebx, 4 */
    0x0f, 0x05, 0x01, 0xd8,                     /* 5: syscall; add eax, ebx */
    0xff, 0xcb, 0x75, 0xf8, 0xf4, 0xf4, 0xf4,   /*    dec ebx; jnz 5; hlt */
    0x0f, 0x01, 0xf8, 0x65, 0x48, 0x89, 0x24, 0x25, 0, 0, 0, 0,         /* kernel: swapgs; mov gs:[0], rsp */
    0x51, 0x41, 0x53, 0x39, 0xd8, 0x9c, 0x5a,  /*    push rcx, r11; cmp eax, ebx; pushf; pop rdx */
    0xfa, 0x90, 0xfb, 0x90,                     /*    cli; nop; sti; nop */
    0x41, 0x5b, 0x59, 0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0,         /* pop r11, rcx; mov rax, gs:[0] */
    0x0f, 0x01, 0xf8, 0x48, 0x0f, 0x07,         /*    swapgs; sysretq */
};
#define SYSTEM_CALLS_ENTRY 16

/* IRET to where it stands, with the flags of a comparison. */
static const uint8_t irets[] = {
    0xbb, 5, 0, 0, 0,                           /*    mov ebx, 5 */
    0x48, 0x89, 0xe2, 0x6a, 0x10, 0x52,         /* 5: mov rdx, rsp; push 10h; push rdx */
    0x83, 0xfb, 0x03, 0x9c, 0x6a, 0x08,         /*    cmp ebx, 3; pushfq; push 8 */
    0x48, 0x8d, 0x05, 3, 0, 0, 0,               /*    lea rax, [next] */
    0x50, 0x48, 0xcf,                           /*    push rax; iretq */
    0x11, 0xd8, 0xff, 0xcb, 0x75, 0xe4, 0xf4,   /* next: adc eax, ebx; dec ebx; jnz 5; hlt */
};

static const struct {
    const char *name;
    const uint8_t *code;
    unsigned len, cpl, kicks;   /* at least so many host instructions */
} programs[] = {
    { "mixture", mixture, sizeof(mixture), 0, 100 },
    { "groups", groups, sizeof(groups), 0, 100 },
    { "loops", loops, sizeof(loops), 0, 100 },
    { "strings", strings, sizeof(strings), 0, 100 },
    { "avx512", avx512, sizeof(avx512), 0, 30 },
    { "crossings", crossings, sizeof(crossings), 0, 150 },
    { "crossings-avx512", crossings_avx512, sizeof(crossings_avx512), 0, 150 },
    { "strings-avx512", strings_avx512, sizeof(strings_avx512), 0, 60 },
    { "system-calls", system_calls, sizeof(system_calls), 3, 100 },
    { "irets", irets, sizeof(irets), 0, 100 },
};

typedef struct Kick {
    Engines e;
    struct { uint64_t rip, gpr[16]; } steps[STEPS_MAX];
    unsigned count, failed;
    uint8_t *seen;              /* per byte of the code cache */
} Kick;

static Kick *kick;
static volatile sig_atomic_t armed, hit;
static struct sigaction old_trap;

static void on_trap(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uint8_t *pc = (uint8_t *)uc->uc_mcontext.gregs[REG_RIP];

    if (!armed) {
        if (tcg_cpu(kick->e.cpu)->stepping) {
            old_trap.sa_sigaction(sig, info, context);
        } else {
            uc->uc_mcontext.gregs[REG_EFL] &= ~EFL_TF;
        }
        return;
    }
    if (!tcg_in_code(kick->e.tr, pc) || kick->seen[pc - kick->e.tr->rx]) {
        return;
    }
    kick->seen[pc - kick->e.tr->rx] = 1;
    armed = 0;
    hit = 1;
    uc->uc_mcontext.gregs[REG_EFL] &= ~EFL_TF;
    x86_cpu_request(kick->e.cpu, X86_REQ_EXIT);
    tcg_kick(kick->e.cpu);      /* pending until we return to `pc` */
}

static void start_state(Kick *k, unsigned cpl)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    X86Cpu *cpu = k->e.cpu;
    InsnState state;

    engines_mode(&k->e, 64, cpl);
    insn_state_random(&state, rand);
    insn_state_random_x87(&state, rand);
    state.flags &= ~(uint64_t)FLAG_DF;
    insn_state_load(&state, cpu);
    engines_random_avx512(&k->e, rand);
    data_random(rand);
    cpu->gpr[R_RSI] = BENCH_DATA + 0x100;
    cpu->gpr[R_RSP] = cpu->gpr[R_RBP] = BENCH_DATA + 0x2000;
    cpu->gpr[R_R14] = BENCH_DATA + 0x1020;
    cpu->gpr[R_R10] = 0x123;
    cpu->gpr[R_R8] = 0x1277;
    cpu->gpr[R_RBX] = BENCH_DATA + 0x800;
    cpu->msrs.lstar = BENCH_CODE + SYSTEM_CALLS_ENTRY;
    cpu->msrs.kernel_gs_base = BENCH_DATA + 0x900;
    cpu->msrs.fmask = FLAG_DF | FLAG_IF;
    cpu->rip = BENCH_CODE;
}

/* All states between instructions, and the last one: at HLT, which raises #GP at CPL 3. */
static void record_steps(Kick *k, unsigned cpl)
{
    X86Cpu *cpu = k->e.cpu;

    X86Exit exit = X86_EXIT_STEP;

    for (k->count = 0;; k->count++) {
        g_assert_cmpuint(k->count, <, STEPS_MAX);
        k->steps[k->count].rip = cpu->rip;
        memcpy(k->steps[k->count].gpr, cpu->gpr, sizeof(k->steps[0].gpr));
        if (exit != X86_EXIT_STEP) {
            break;
        }
        exit = interp_step(cpu);
    }
    g_assert_cmpint(exit, ==, cpl ? X86_EXIT_TRIPLE_FAULT : X86_EXIT_HALT);
    g_assert_cmphex(((const uint8_t *)(uintptr_t)cpu->rip)[-(exit == X86_EXIT_HALT)], ==, 0xf4);
    engines_save(&k->e, k->e.interpreted);
}

static bool is_a_step(const Kick *k, const X86Cpu *cpu)
{
    for (unsigned i = 0; i <= k->count; i++) {
        if (k->steps[i].rip == cpu->rip &&
            !memcmp(k->steps[i].gpr, cpu->gpr, sizeof(k->steps[0].gpr))) {
            return true;
        }
    }
    return false;
}

static void step_host(X86Cpu *cpu)
{
    armed = 1;
    __asm__ volatile("sub $128, %%rsp\n\tpushf\n\torq $0x100, (%%rsp)\n\tpopf\n\tadd $128, %%rsp"
                     : : : "cc", "memory");
    tcg_run(cpu);
    armed = 0;
    __asm__ volatile("nop");    /* a trap here ends stepping, if nothing was hit */
}

static void test_every_host_pc(gconstpointer which)
{
    unsigned n = GPOINTER_TO_UINT(which);
    struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    Kick k = { 0 };
    unsigned runs = 0;

    if (!engines_init(&k.e)) {
        return;
    }
    if (strstr(programs[n].name, "avx512") && !k.e.avx512) {
        g_test_skip("The host has no AVX-512");
        engines_clear(&k.e);
        return;
    }
    k.e.tr->exact_flags = false;
    k.seen = g_malloc0(k.e.tr->size);
    kick = &k;
    sigaction(SIGTRAP, &action, &old_trap);
    engines_code(&k.e, BENCH_CODE, programs[n].code, programs[n].len);
    start_state(&k, programs[n].cpl);
    engines_save(&k.e, k.e.start);
    engines_load(&k.e, k.e.start, true);
    record_steps(&k, programs[n].cpl);
    for (unsigned i = 0; i < 2; i++) {          /* translated and linked */
        engines_load(&k.e, k.e.start, i == 0);
        engines_translate(&k.e);
    }
    do {
        g_autoptr(GString) why = g_string_new(NULL);

        engines_load(&k.e, k.e.start, false);
        hit = 0;
        step_host(k.e.cpu);
        if (!is_a_step(&k, k.e.cpu) && k.failed++ < 10) {
            g_test_message("run %u stopped at %lx, in no state between instructions", runs,
                           k.e.cpu->rip);
        }
        g_assert_true(k.e.cpu->halted || engines_interpret(&k.e, STEPS_MAX));
        engines_save(&k.e, k.e.translated);
        engines_compare(k.e.interpreted, k.e.translated, programs[n].cpl ? ~(uint64_t)FLAGS_ARITH : ~(uint64_t)FLAG_AF, 0, why);
        if (why->len && k.failed++ < 10) {
            g_test_message("run %u ended otherwise:%s", runs, why->str);
        }
        runs++;
    } while (hit && runs < 5000);
    g_test_message("%u host instructions kicked at", runs - 1);
    sigaction(SIGTRAP, &old_trap, NULL);
    g_assert_cmpuint(runs, >, programs[n].kicks);
    g_assert_cmpuint(k.failed, ==, 0);
    g_free(k.seen);
    engines_clear(&k.e);
}

/* ---- from another thread ------------------------------------------------------------------------------ */

/* ecx times: as tests/tcg/loop_bench.c, with a LOCKed sum behind it. */
static const uint8_t endless[] = {
    0x48, 0x8b, 0x04, 0xd3, 0x48, 0x01, 0xd0, 0x48, 0x89, 0x04, 0xd3, 0xff, 0xc2,
    0x81, 0xe2, 0xff, 0x00, 0x00, 0x00, 0xe8, 0x0e, 0x00, 0x00, 0x00, 0x39, 0xf0, 0x75, 0x00,
    0xf0, 0x48, 0x01, 0x07,                     /* lock add [rdi], rax */
    0xff, 0xc9, 0x75, 0xdc, 0xf4, 0x90, 0x31, 0xd0, 0xc3,
};

typedef struct Kicker {
    X86Cpu *cpu;
    _Atomic bool stop;
} Kicker;

static gpointer kick_all_the_time(gpointer opaque)
{
    Kicker *kicker = opaque;

    while (!atomic_load(&kicker->stop)) {
        x86_cpu_request(kicker->cpu, X86_REQ_EXIT);
        tcg_kick(kicker->cpu);
        g_thread_yield();
    }
    return NULL;
}

static void loop_state(Kick *k)
{
    X86Cpu *cpu = k->e.cpu;

    engines_mode(&k->e, 64, 0);
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    memset((void *)(uintptr_t)BENCH_DATA, 0, BENCH_DATA_SIZE);
    cpu->rip = BENCH_CODE;
    cpu->gpr[R_RBX] = BENCH_DATA;
    cpu->gpr[R_RDI] = BENCH_DATA + 0x1800;
    cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
    cpu->gpr[R_RCX] = 100000;
}

static void test_thread(void)
{
    g_autoptr(GString) why = g_string_new(NULL);
    unsigned stops = 0, runs = 0;
    Kicker kicker = { 0 };
    GThread *thread;
    Kick k = { 0 };

    if (!engines_init(&k.e)) {
        return;
    }
    engines_code(&k.e, BENCH_CODE, endless, sizeof(endless));
    loop_state(&k);
    engines_save(&k.e, k.e.start);
    engines_load(&k.e, k.e.start, true);
    g_assert_true(engines_interpret(&k.e, 2000000));
    engines_save(&k.e, k.e.interpreted);
    kicker.cpu = k.e.cpu;
    thread = g_thread_new("kicker", kick_all_the_time, &kicker);
    while (stops < 300 && why->len == 0) {
        engines_load(&k.e, k.e.start, false);
        while (tcg_run(k.e.cpu) == X86_EXIT_KICK) {
            for (unsigned i = stops++ % 5; i && !k.e.cpu->halted; i--) {
                interp_step(k.e.cpu);
            }
            if (k.e.cpu->halted) {
                break;
            }
        }
        engines_save(&k.e, k.e.translated);
        engines_compare(k.e.interpreted, k.e.translated, ~(uint64_t)FLAG_AF, 0, why);
        runs++;
    }
    atomic_store(&kicker.stop, true);
    g_thread_join(thread);
    g_test_message("%u stops in %u runs;%s", stops, runs, why->str);
    g_assert_cmpuint(why->len, ==, 0);
    engines_clear(&k.e);
}

/* ---- faults that are not the guest's ------------------------------------------------------------------ */

static char *volatile nowhere = (char *)0x123;

static uint64_t crash_read(void *opaque, uint16_t port, unsigned size) { return *nowhere; }

static void crash(void)
{
    static const uint8_t code[] = { 0x90, 0xec, 0xf4 };         /* nop; in al, dx; hlt */
    struct rlimit none = { 0, 0 };
    Kick k = { 0 };
    X86Bus bus;

    setrlimit(RLIMIT_CORE, &none);
    if (crash_init("kick-test") && engines_init(&k.e)) {
        bus = *k.e.cpu->bus;
        bus.port_read = crash_read;
        k.e.cpu->bus = &bus;
        engines_mode(&k.e, 64, 0);
        engines_code(&k.e, BENCH_CODE, code, sizeof(code));
        k.e.cpu->rip = BENCH_CODE;
        tcg_run(k.e.cpu);
    }
}

/* A device of ours that crashes says so, and where the guest was; the handler for the guest's faults passes it on. */
static void test_crash(void)
{
    g_autoptr(GError) error = NULL;
    struct sigaction old;

    if (g_test_subprocess()) {
        crash();
        return;
    }
    if (!translator_probe(&error) || sigaction(SIGSEGV, NULL, &old) || old.sa_handler != SIG_DFL) {
        g_test_skip("no translator, or a sanitizer has the signals");
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*kick-test: SIGSEGV in thread '*' at *+0x*, address 0x123, guest RIP 0x20100001\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned n = 0; n < ARRAY_LEN(programs); n++) {
        g_autofree char *path = g_strdup_printf("/tcg/kick/every-host-pc/%s", programs[n].name);

        g_test_add_data_func(path, GUINT_TO_POINTER(n), test_every_host_pc);
    }
    g_test_add_func("/tcg/kick/crash", test_crash);    /* before the others take the signals */
    g_test_add_func("/tcg/kick/thread", test_thread);
    return g_test_run();
}
