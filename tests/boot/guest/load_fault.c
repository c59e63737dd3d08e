/* SPDX-License-Identifier: MIT */
/*
 * Jobs of exceptions: each must come with the right vector, at the right instruction, with all
 * registers as they were before it.
 */
#include "tests/boot/guest/load.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* -------- the kinds of fault, seen by a handler that skips the instruction -------- */

/* Faulting instructions of known length between two labels; the handler checks RIP and goes on behind. */
extern const uint8_t fault_div[], fault_div_end[], fault_ud[], fault_ud_end[], fault_read[], fault_read_end[],
    fault_write[], fault_write_end[], fault_far[], fault_far_end[], fault_int3[], fault_int3_end[], fault_movaps[],
    fault_movaps_end[], fault_sse[], fault_sse_end[], fault_rep[], fault_rep_end[], fault_hlt[], fault_hlt_end[],
    fault_push[], fault_push_end[];
uint64_t fault_run(uint64_t kind, void *address, uint64_t registers[6]);

/*
 * fault_run(kind, address, registers): loads six registers, runs the faulting instruction of that
 * kind with RDX = address, gives a mix of the registers after it.
 */
__asm__(
    ".text\n"
    "fault_run:\n"
    "    push %rbx\n push %rbp\n push %r12\n push %r13\n"
    "    mov %rdi, %r12\n mov %rdx, %r13\n mov %rsi, %rdx\n"
    "    mov (%r13), %rbx\n mov 8(%r13), %rbp\n mov 16(%r13), %r8\n mov 24(%r13), %r9\n"
    "    mov 32(%r13), %r10\n mov 40(%r13), %r11\n"
    "    lea 1f(%rip), %rax\n movslq (%rax,%r12,4), %rcx\n add %rcx, %rax\n mov $1000, %ecx\n jmp *%rax\n"
    "1:  .long 10f-1b, 11f-1b, 12f-1b, 13f-1b, 14f-1b, 15f-1b, 16f-1b, 17f-1b, 18f-1b, 19f-1b, 20f-1b\n"
    "10: xor %eax, %eax\n"
    "fault_div:   div %eax\n fault_div_end: jmp 2f\n"
    "11:\n"
    "fault_ud:    ud2\n fault_ud_end: jmp 2f\n"
    "12:\n"
    "fault_read:  add 8(%rdx), %rbx\n fault_read_end: jmp 2f\n"
    "13:\n"
    "fault_write: xadd %rbp, -8(%rdx)\n fault_write_end: jmp 2f\n"
    "14: mov $0x4000000000000000, %rsi\n"
    "fault_far:   mov (%rsi), %r8\n fault_far_end: jmp 2f\n"
    "15:\n"
    "             int3\n fault_int3: fault_int3_end: jmp 2f\n"
    "16: lea saved_words+4(%rip), %rsi\n"
    "fault_movaps: movaps (%rsi), %xmm1\n fault_movaps_end: jmp 2f\n"
    "17: stmxcsr -16(%rsp)\n movl $0x1d80, -12(%rsp)\n ldmxcsr -12(%rsp)\n" /* divide by zero unmasked */
    "    xorps %xmm2, %xmm2\n movss one(%rip), %xmm1\n"
    "fault_sse:   divss %xmm2, %xmm1\n fault_sse_end: ldmxcsr -16(%rsp)\n jmp 2f\n"
    "18: lea -40(%rdx), %rdi\n lea saved_words(%rip), %rsi\n mov $100, %ecx\n" /* 40 bytes before the page */
    "fault_rep:   rep stosb\n fault_rep_end: jmp 2f\n"
    "19:\n"
    "fault_hlt:   hlt\n fault_hlt_end: jmp 2f\n"
    "20: mov %rsp, %rsi\n mov %rdx, %rsp\n"
    "fault_push:  push %rbx\n fault_push_end: mov %rsi, %rsp\n"
    "2:  mov %rbx, %rax\n imul $31, %rax\n add %rbp, %rax\n imul $31, %rax\n add %r8, %rax\n imul $31, %rax\n"
    "    add %r9, %rax\n imul $31, %rax\n add %r10, %rax\n imul $31, %rax\n add %r11, %rax\n"
    "    imul $31, %rax\n add %rcx, %rax\n"
    "    pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
    ".section .rodata\n .balign 16\nsaved_words: .skip 64\none: .float 1.0\n"
    ".text\n");

typedef struct Kind {
    const char *name;
    const uint8_t *at, *end;
    int signal;
    int vector;                       /* as Linux passes it in the context */
} Kind;

/* clang-format off */
static const Kind kinds[] = {
    { "div",    fault_div,    fault_div_end,    SIGFPE,  0 },
    { "ud2",    fault_ud,     fault_ud_end,     SIGILL,  6 },
    { "read",   fault_read,   fault_read_end,   SIGSEGV, 14 },
    { "write",  fault_write,  fault_write_end,  SIGSEGV, 14 },
    { "far",    fault_far,    fault_far_end,    SIGSEGV, 13 },
    { "int3",   fault_int3,   fault_int3_end,   SIGTRAP, 3 },
    { "movaps", fault_movaps, fault_movaps_end, SIGSEGV, 13 },
    { "divss",  fault_sse,    fault_sse_end,    SIGFPE,  19 },
    { "stosb",  fault_rep,    fault_rep_end,    SIGSEGV, 14 },
    { "hlt",    fault_hlt,    fault_hlt_end,    SIGSEGV, 13 },
    { "push",   fault_push,   fault_push_end,   SIGSEGV, 14 },
};
/* clang-format on */
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static const Kind *expected;
static uint64_t expected_address;     /* CR2; 0: none */
static int faults;

static void on_fault(int number, siginfo_t *info, void *opaque)
{
    ucontext_t *context = opaque;
    greg_t *r = context->uc_mcontext.gregs;

    if (number != expected->signal || r[REG_TRAPNO] != expected->vector ||
        (uint64_t)r[REG_RIP] != (uint64_t)(uintptr_t)expected->at) {
        load_fail("%s: signal %d, vector %lld, at %lld instead of %lld", expected->name, number,
                  (long long)r[REG_TRAPNO], (long long)r[REG_RIP], (long long)(intptr_t)expected->at);
    }
    if (expected_address && (uint64_t)r[REG_CR2] != expected_address) {
        load_fail("%s: address %llx, not %llx", expected->name, (unsigned long long)r[REG_CR2],
                  (unsigned long long)expected_address);
    }
    r[REG_RIP] = (greg_t)(uintptr_t)expected->end;
    faults++;
}

static uint64_t fault_job(uint64_t seed)
{
    static const int signals[] = { SIGFPE, SIGILL, SIGSEGV, SIGTRAP };
    static uint8_t signal_stack[16384];
    stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) }, old_stack;
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old[4];
    uint8_t *page = load_map(2 * 4096), *closed = page + 4096;
    uint64_t sum = 0;

    sigaltstack(&stack, &old_stack);
    for (int i = 0; i < 4; i++) {
        sigaction(signals[i], &action, &old[i]);
    }
    if (mprotect(closed, 4096, PROT_NONE)) {
        load_fail("mprotect: %s", strerror(errno));
    }
    for (int i = 0; i < 40; i++) {
        int kind = (int)((next_random(&seed) >> 8) % KINDS);
        uint8_t *address = closed + (next_random(&seed) >> 9) % 4000;
        uint64_t registers[6];

        for (int n = 0; n < 6; n++) {
            registers[n] = next_random(&seed);
        }
        expected = &kinds[kind];
        expected_address = 0;
        if (!strcmp(expected->name, "read")) {
            expected_address = (uint64_t)(uintptr_t)address + 8;
        } else if (!strcmp(expected->name, "write")) {
            address += 8;
            expected_address = (uint64_t)(uintptr_t)address - 8;
        } else if (!strcmp(expected->name, "stosb")) {
            address = closed;             /* forty bytes go in before it */
            expected_address = (uint64_t)(uintptr_t)closed;
        } else if (!strcmp(expected->name, "push")) {
            address += 8;
            expected_address = (uint64_t)(uintptr_t)address - 8;
        }
        faults = 0;
        sum = mix(sum, fault_run((uint64_t)kind, address, registers));
        if (faults != 1) {
            load_fail("%s: %d faults", expected->name, faults);
        }
    }
    for (int i = 0; i < 4; i++) {
        sigaction(signals[i], &old[i], NULL);
    }
    sigaltstack(&old_stack, NULL);
    munmap(page, 2 * 4096);
    return sum;
}

/* -------- single steps: a trap behind each instruction -------- */

static uint64_t step_sum, step_base;
static int steps;

static void on_step(int number, siginfo_t *info, void *opaque)
{
    ucontext_t *context = opaque;

    step_sum = mix(step_sum, (uint64_t)context->uc_mcontext.gregs[REG_RIP] - step_base);
    step_sum = mix(step_sum, (uint64_t)context->uc_mcontext.gregs[REG_RCX]);
    steps++;
}

/* Sets TF, runs a loop with memory, a call and a string instruction, clears TF; RDI = eight words. */
void step_run(uint64_t *words);
extern const uint8_t step_start[];

__asm__(
    ".text\n"
    "step_run:\n"
    "    push %rbx\n mov %rdi, %rbx\n"
    "    pushfq\n orq $0x100, (%rsp)\n popfq\n"
    "step_start:\n"
    "    mov $4, %ecx\n"
    "1:  add %rcx, (%rbx)\n mov (%rbx), %rax\n xor %rax, 8(%rbx)\n"
    "    call 2f\n dec %ecx\n jnz 1b\n"
    "    lea 16(%rbx), %rdi\n mov $3, %ecx\n rep stosq\n"
    "    pushfq\n andq $~0x100, (%rsp)\n popfq\n"
    "    pop %rbx\n ret\n"
    "2:  rolq $3, 8(%rbx)\n ret\n");

static uint64_t step_job(uint64_t seed)
{
    struct sigaction action = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO }, old;
    uint64_t words[8];

    step_sum = 0;
    steps = 0;
    step_base = (uint64_t)(uintptr_t)step_start;
    for (int i = 0; i < 8; i++) {
        words[i] = next_random(&seed);
    }
    sigaction(SIGTRAP, &action, &old);
    for (int i = 0; i < 3; i++) {
        step_run(words);
    }
    sigaction(SIGTRAP, &old, NULL);
    return mix(mix(step_sum, (uint64_t)steps), words[1] ^ words[4]);
}

/* -------- out of a handler with siglongjmp() -------- */

static sigjmp_buf jump;

static void on_jump(int number)
{
    siglongjmp(jump, number);
}

static uint64_t jump_job(uint64_t seed)
{
    struct sigaction action = { .sa_handler = on_jump }, old;
    volatile uint64_t sum = 0, word = seed;
    volatile int count = 0;
    uint8_t *page = load_map(4096);

    if (mprotect(page, 4096, PROT_READ)) {
        load_fail("mprotect: %s", strerror(errno));
    }
    sigaction(SIGSEGV, &action, &old);
    for (volatile int i = 0; i < 30; i++) {
        if (sigsetjmp(jump, 1) == 0) {
            uint64_t local = word;

            sum = mix(sum, next_random(&local));
            word = local;
            ((volatile uint8_t *)page)[local % 4096] = 1;
            load_fail("a store to a read-only page was done");
        }
        count++;
    }
    sigaction(SIGSEGV, &old, NULL);
    munmap(page, 4096);
    return mix(sum, (uint64_t)count);
}

/* clang-format off */
const Job fault_jobs[] = {
    { "fault", fault_job },
    { "step",  step_job },
    { "jump",  jump_job },
    { 0 }
};
