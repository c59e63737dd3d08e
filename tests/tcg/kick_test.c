/* SPDX-License-Identifier: MIT */
/*
 * Kicks: wherever they hit, translated code stops in a state that the interpreter reaches between two
 * instructions, and goes on from there to the same end.
 *
 * every-host-pc: the test single-steps the host (EFLAGS.TF) through translated code, and kicks once at
 * each host instruction it has not kicked at before, until none is left.
 * thread: another thread kicks all the time; after each stop the interpreter does a few instructions.
 */
#include <signal.h>
#include <ucontext.h>

#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

#define EFL_TF 0x100
#define STEPS_MAX 400

/* rsi = data.  Loads, stores, stack, calls, flags over memory accesses, LOCK, SSE, strings, a division. */
static const uint8_t program[] = {
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

typedef struct Kick {
    Engines e;
    EngineState *start, *end, *stopped, *finished;
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

static bool kick_init(Kick *k)
{
    g_autoptr(GError) error = NULL;

    if (!translator_probe(&error)) {
        g_test_skip(error->message);
        return false;
    }
    engines_init(&k->e, 2 << 20);
    k->start = g_aligned_alloc0(4, sizeof(EngineState), 64);
    k->end = k->start + 1;
    k->stopped = k->start + 2;
    k->finished = k->start + 3;
    return true;
}

static void kick_clear(Kick *k)
{
    g_aligned_free(k->start);
    engines_clear(&k->e);
}

static void start_state(Kick *k)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    X86Cpu *cpu = k->e.cpu;
    InsnState state;

    engines_mode(&k->e, 64, 0);
    insn_state_random(&state, rand);
    insn_state_random_x87(&state, rand);
    state.flags &= ~(uint64_t)FLAG_DF;
    insn_state_load(&state, cpu);
    data_random(rand);
    cpu->gpr[R_RSI] = BENCH_DATA + 0x100;
    cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
    cpu->rip = BENCH_CODE;
}

/* All states between instructions, and the last one. */
static void record_steps(Kick *k)
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
    engines_save(&k->e, k->end);
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

static void test_every_host_pc(void)
{
    struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    Kick k = { 0 };
    unsigned runs = 0;

    if (!kick_init(&k)) {
        return;
    }
    k.e.tr->exact_flags = false;
    k.seen = g_malloc0(k.e.tr->size);
    kick = &k;
    sigaction(SIGTRAP, &action, &old_trap);
    engines_code(&k.e, BENCH_CODE, program, sizeof(program));
    start_state(&k);
    engines_save(&k.e, k.start);
    engines_load(&k.e, k.start, true);
    record_steps(&k);
    for (unsigned i = 0; i < 2; i++) {          /* translated and linked */
        engines_load(&k.e, k.start, i == 0);
        engines_translate(&k.e);
    }
    do {
        g_autoptr(GString) why = g_string_new(NULL);

        engines_load(&k.e, k.start, false);
        hit = 0;
        step_host(k.e.cpu);
        if (!is_a_step(&k, k.e.cpu) && k.failed++ < 10) {
            g_test_message("run %u stopped at %lx, in no state between instructions", runs,
                           k.e.cpu->rip);
        }
        g_assert_true(k.e.cpu->halted || engines_interpret(&k.e, STEPS_MAX));
        engines_save(&k.e, k.finished);
        engines_compare(k.end, k.finished, ~(uint64_t)FLAG_AF, 0, why);
        if (why->len && k.failed++ < 10) {
            g_test_message("run %u ended otherwise:%s", runs, why->str);
        }
        runs++;
    } while (hit && runs < 5000);
    g_test_message("%u host instructions kicked at", runs - 1);
    sigaction(SIGTRAP, &old_trap, NULL);
    g_assert_cmpuint(runs, >, 100);
    g_assert_cmpuint(k.failed, ==, 0);
    g_free(k.seen);
    kick_clear(&k);
}

/* ---- from another thread ------------------------------------------------------------------------------ */

/* ecx times: as tests/tcg/loop_bench.c, with a LOCKed sum behind it. */
static const uint8_t loop[] = {
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

    if (!kick_init(&k)) {
        return;
    }
    engines_code(&k.e, BENCH_CODE, loop, sizeof(loop));
    loop_state(&k);
    engines_save(&k.e, k.start);
    engines_load(&k.e, k.start, true);
    g_assert_true(engines_interpret(&k.e, 2000000));
    engines_save(&k.e, k.end);
    kicker.cpu = k.e.cpu;
    thread = g_thread_new("kicker", kick_all_the_time, &kicker);
    while (stops < 300 && why->len == 0) {
        engines_load(&k.e, k.start, false);
        while (tcg_run(k.e.cpu) == X86_EXIT_KICK) {
            for (unsigned i = stops++ % 5; i && !k.e.cpu->halted; i--) {
                interp_step(k.e.cpu);
            }
            if (k.e.cpu->halted) {
                break;
            }
        }
        engines_save(&k.e, k.finished);
        engines_compare(k.end, k.finished, ~(uint64_t)FLAG_AF, 0, why);
        runs++;
    }
    atomic_store(&kicker.stop, true);
    g_thread_join(thread);
    g_test_message("%u stops in %u runs;%s", stops, runs, why->str);
    g_assert_cmpuint(why->len, ==, 0);
    kick_clear(&k);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/kick/every-host-pc", test_every_host_pc);
    g_test_add_func("/tcg/kick/thread", test_thread);
    return g_test_run();
}
