/* SPDX-License-Identifier: MIT */
/*
 * Two CPUs in two threads that share memory and a translator: LOCKed counters count exactly; code
 * that one CPU writes is what the other executes after a handshake (SDM3A 8.1.3, cross-modifying code); an interrupt
 * from one gets the other out of translated code.
 */
#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

#include "target-x86/code.h"

#define COUNTERS BENCH_DATA
#define ROUNDS 100000u

/* The CPU of `e`, once more: same memory, same code map. */
static X86Cpu *second_cpu(Engines *e)
{
    X86Cpu *cpu = x86_cpu_new();

    cpu->bus = e->cpu->bus;
    cpu->bus_opaque = e->cpu->bus_opaque;
    cpu->code = e->cpu->code;
    memcpy(cpu->features, e->cpu->features, sizeof(cpu->features));
    cpu->xcr0 = e->cpu->xcr0;
    cpu->wait_sipi = false;
    cpu->index = 1;
    interp_init(cpu);
    return cpu;
}

typedef struct Second {
    Engines *e;
    X86Cpu *cpu;
    X86Exit exit;
} Second;

static gpointer run_second(gpointer opaque)
{
    Second *s = opaque;
    GError *error = NULL;

    if (!tcg_attach_cpu(s->e->tr, s->cpu, &error)) {
        g_error("%s", error->message);
    }
    s->exit = tcg_run(s->cpu);
    tcg_detach_cpu(s->cpu);
    tcg_thread_unbind();
    return NULL;
}

static void start(X86Cpu *cpu, uint64_t rip, uint64_t stack)
{
    bench_set_mode(cpu, 64, 0);
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    cpu->rip = rip;
    cpu->gpr[R_RSP] = stack;
    cpu->gpr[R_RSI] = COUNTERS;
    cpu->gpr[R_RDI] = BENCH_CODE + 0x1004;
    cpu->gpr[R_RCX] = ROUNDS;
    cpu->halted = false;
}

/* Both CPUs from their addresses to HLT. */
static void run_both(Engines *e, uint64_t first, uint64_t second)
{
    Second s = { .e = e, .cpu = second_cpu(e) };
    GThread *thread;

    memset((void *)(uintptr_t)BENCH_DATA, 0, BENCH_DATA_SIZE);
    start(e->cpu, first, BENCH_DATA + 0x2000);
    start(s.cpu, second, BENCH_DATA + 0x3000);
    thread = g_thread_new("second", run_second, &s);
    while (tcg_run(e->cpu) != X86_EXIT_HALT) {
    }
    g_thread_join(thread);
    g_assert_cmpint(s.exit, ==, X86_EXIT_HALT);
    interp_clear(s.cpu);
    x86_cpu_free(s.cpu);
}

static bool init(Engines *e)
{
    if (!engines_init(e)) {
        return false;
    }
    engines_mode(e, 64, 0);
    return true;
}

static void test_counters(void)
{
    static const uint8_t code[] = {
        0xf0, 0x48, 0xff, 0x06,                         /*  0: lock inc qword [rsi] */
        0xb8, 3, 0, 0, 0,                               /*     mov eax, 3 */
        0xf0, 0x0f, 0xc1, 0x46, 0x08,                   /*     lock xadd [rsi + 8], eax */
        0x8b, 0x46, 0x10,                               /*     mov eax, [rsi + 16] */
        0x8d, 0x50, 0x05,                               /* 17: lea edx, [rax + 5] */
        0xf0, 0x0f, 0xb1, 0x56, 0x10,                   /*     lock cmpxchg [rsi + 16], edx */
        0x75, 0xf6,                                     /*     jnz 17 */
        0x4c, 0x87, 0x46, 0x18,                         /*     xchg [rsi + 24], r8 */
        0x49, 0xff, 0xc0,                               /*     inc r8 */
        0xff, 0xc9, 0x75, 0xda, 0xf4,                   /*     dec ecx; jnz 0; hlt */
    };
    const uint64_t *counters = (const uint64_t *)(uintptr_t)COUNTERS;
    Engines e;

    if (!init(&e)) {
        return;
    }
    engines_code(&e, BENCH_CODE, code, sizeof(code));
    run_both(&e, BENCH_CODE, BENCH_CODE);
    g_assert_cmpuint(counters[0], ==, 2 * ROUNDS);
    g_assert_cmpuint((uint32_t)counters[1], ==, 3 * 2 * ROUNDS);
    g_assert_cmpuint((uint32_t)counters[2], ==, 5 * 2 * ROUNDS);
    engines_clear(&e);
}

#define FUNCTION (BENCH_CODE + 0x1000)

/* [rsi]: turn; 1 the writer's, 0 after the reader has called.  [rsi + 8]: what the function gave. */
static void test_cross_modified(void)
{
    static const uint8_t writer[] = {
        0xb9, 0xc8, 0, 0, 0,                            /*     mov ecx, 200 */
        0x88, 0x0c, 0x25, 0x01, 0x10, 0x10, 0x20,       /*  5: mov [FUNCTION + 1], cl */
        0xc7, 0x06, 1, 0, 0, 0,                         /*     mov dword [rsi], 1 */
        0xf3, 0x90, 0x83, 0x3e, 0,                      /* 18: pause; cmp dword [rsi], 0 */
        0x75, 0xf9,                                     /*     jnz 18 */
        0x39, 0x4e, 0x08, 0x75, 0x05,                   /*     cmp [rsi + 8], ecx; jnz wrong */
        0xff, 0xc9, 0x75, 0xe3, 0xf4,                   /*     dec ecx; jnz 5; hlt */
        0xff, 0x46, 0x10, 0xeb, 0xf6,                   /*     wrong: inc dword [rsi + 16]; jmp back */
    };
    static const uint8_t reader[] = {
        0xbd, 0xc8, 0, 0, 0,                            /*     mov ebp, 200 */
        0xf3, 0x90, 0x83, 0x3e, 1,                      /*  5: pause; cmp dword [rsi], 1 */
        0x75, 0xf9,                                     /*     jnz 5 */
        0x31, 0xc0, 0x0f, 0xa2,                         /*     xor eax, eax; cpuid */
        0xe8, 0, 0, 0, 0,                               /* 16: call FUNCTION */
        0x89, 0x46, 0x08,                               /*     mov [rsi + 8], eax */
        0xc7, 0x06, 0, 0, 0, 0,                         /*     mov dword [rsi], 0 */
        0xff, 0xcd, 0x75, 0xe3, 0xf4,                   /*     dec ebp; jnz 5; hlt */
    };
    static const uint8_t function[] = { 0xb8, 0, 0, 0, 0, 0xc3 };       /* mov eax, 0; ret */
    uint8_t *code = (uint8_t *)(uintptr_t)BENCH_CODE;
    const uint32_t *data = (const uint32_t *)(uintptr_t)COUNTERS;
    uint32_t distance = FUNCTION - (BENCH_CODE + 0x800 + 21);
    Engines e;

    if (!init(&e)) {
        return;
    }
    engines_code(&e, BENCH_CODE, writer, sizeof(writer));
    memcpy(code + 0x800, reader, sizeof(reader));
    memcpy(code + 0x800 + 17, &distance, 4);
    memcpy(code + 0x1000, function, sizeof(function));
    run_both(&e, BENCH_CODE, BENCH_CODE + 0x800);
    g_assert_cmpuint(data[4], ==, 0);
    g_assert_cmpuint(data[2], ==, 1);
    engines_clear(&e);
}

/*
 * [rsi]: not 0 when the writer has finished a round; [rsi + 4]: the next value it would write; [rsi + 8]: calls after the
 * round that gave another one.  The writer's stores are a loop with one check in front, under way
 * while the reader makes code of the bytes.
 */
static void test_written_while_translated(void)
{
    static const uint8_t writer[] = {
        0xbd, 0xe8, 3, 0, 0,                            /*     mov ebp, 1000 */
        0xc7, 0x05, 1, 0, 0, 0, 0x40, 0x9c, 0, 0,       /*  5: mov dword [16], 40000: blocks start afresh */
        0xb9, 0x40, 0x9c, 0, 0,                         /* 15: mov ecx, 40000 */
        0x89, 0x07, 0x83, 0xc0, 1,                      /* 20: mov [rdi], eax; add eax, 1 */
        0x83, 0xe9, 1, 0x75, 0xf6,                      /*     sub ecx, 1; jnz 20 */
        0x89, 0x46, 0x04, 0x89, 0x2e,                   /*     mov [rsi + 4], eax; mov [rsi], ebp */
        0xf3, 0x90, 0x83, 0x3e, 0, 0x75, 0xf9,          /* 35: pause; cmp dword [rsi], 0; jnz 35 */
        0xff, 0xcd, 0x75, 0xd7, 0xf4,                   /*     dec ebp; jnz 5; hlt */
    };
    static const uint8_t reader[] = {
        0xe8, 0, 0, 0, 0,                               /*  0: call FUNCTION */
        0x83, 0x3e, 0, 0x74, 0xf6,                      /*     cmp dword [rsi], 0; jz 0 */
        0x31, 0xc0, 0x0f, 0xa2,                         /*     xor eax, eax; cpuid */
        0xe8, 0, 0, 0, 0,                               /* 14: call FUNCTION */
        0xff, 0xc0, 0x3b, 0x46, 0x04,                   /*     inc eax; cmp eax, [rsi + 4] */
        0x74, 0x03, 0xff, 0x46, 0x08,                   /*     jz 29; inc dword [rsi + 8] */
        0x8b, 0x2e, 0xc7, 0x06, 0, 0, 0, 0,             /* 29: mov ebp, [rsi]; mov dword [rsi], 0 */
        0xff, 0xcd, 0x75, 0xd7, 0xf4,                   /*     dec ebp; jnz 0; hlt */
    };
    static const uint8_t function[] = { 0xb8, 0, 0, 0, 0, 0xc3 };       /* mov eax, 0; ret */
    uint8_t *code = (uint8_t *)(uintptr_t)BENCH_CODE;
    const uint32_t *data = (const uint32_t *)(uintptr_t)COUNTERS;
    uint32_t at = BENCH_CODE + 0x1003, to[2] = { at - (BENCH_CODE + 0x805), at - (BENCH_CODE + 0x813) };
    Engines e;

    if (!init(&e)) {
        return;
    }
    engines_code(&e, BENCH_CODE, writer, sizeof(writer));
    memcpy(code + 0x800, reader, sizeof(reader));
    memcpy(code + 0x801, &to[0], 4);
    memcpy(code + 0x80f, &to[1], 4);
    memcpy(code + 0x1003, function, sizeof(function));
    run_both(&e, BENCH_CODE, BENCH_CODE + 0x800);
    g_assert_cmpuint(data[2], ==, 0);
    engines_clear(&e);
}

/* -------- interrupts from one to the other -------- */

static _Atomic unsigned interrupts;
static _Atomic bool over;

/* None is delivered: the CPU leaves tcg_run(). */
static int count_interrupt(void *opaque, X86Cpu *cpu)
{
    x86_cpu_request_clear(cpu, X86_REQ_INTR);
    x86_cpu_request(cpu, X86_REQ_EXIT);
    atomic_fetch_add(&interrupts, 1);
    return -1;
}

static gpointer be_interrupted(gpointer opaque)
{
    Second *s = opaque;
    GError *error = NULL;

    if (!tcg_attach_cpu(s->e->tr, s->cpu, &error)) {
        g_error("%s", error->message);
    }
    while (!atomic_load(&over)) {
        s->cpu->halted = false;
        s->exit = tcg_run(s->cpu);
    }
    tcg_detach_cpu(s->cpu);
    tcg_thread_unbind();
    return NULL;
}

/* One that computes has to be stopped, one that comes to C all the time sees it there.  A lost one would not end. */
static void test_interrupts(void)
{
    static const uint8_t code[3][6] = {
        { 0xff, 0xc0, 0xeb, 0xfc },                     /* 0: inc eax; jmp 0 */
        { 0xf4, 0xeb, 0xfd },                           /* 0: hlt; jmp 0 */
        { 0x31, 0xc0, 0x0f, 0xa2, 0xeb, 0xfa },         /* 0: xor eax, eax; cpuid; jmp 0 */
    };
    Engines e;
    X86Bus bus;

    if (!init(&e)) {
        return;
    }
    bus = *e.cpu->bus;
    bus.intr_ack = count_interrupt;
    for (unsigned i = 0; i < ARRAY_LEN(code); i++) {
        Second s = { .e = &e, .cpu = second_cpu(&e) };
        GThread *thread;

        engines_code(&e, BENCH_CODE, code[i], sizeof(code[i]));
        s.cpu->bus = &bus;
        start(s.cpu, BENCH_CODE, BENCH_DATA + 0x3000);
        s.cpu->eflags |= FLAG_IF;
        atomic_store(&interrupts, 0);
        atomic_store(&over, false);
        thread = g_thread_new("second", be_interrupted, &s);
        for (unsigned n = 0; n < 100; n++) {
            x86_cpu_request(s.cpu, X86_REQ_INTR);
            tcg_wake(s.cpu);
            while (atomic_load(&interrupts) == n) {
                g_thread_yield();
            }
        }
        atomic_store(&over, true);
        x86_cpu_request(s.cpu, X86_REQ_EXIT);
        tcg_kick(s.cpu);
        g_thread_join(thread);
        interp_clear(s.cpu);
        x86_cpu_free(s.cpu);
    }
    engines_clear(&e);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/smp/counters", test_counters);
    g_test_add_func("/tcg/smp/cross-modified", test_cross_modified);
    g_test_add_func("/tcg/smp/written-while-translated", test_written_while_translated);
    g_test_add_func("/tcg/smp/interrupts", test_interrupts);
    return g_test_run();
}
