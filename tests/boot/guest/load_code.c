/* SPDX-License-Identifier: MIT */
/*
 * Jobs that write code and run it, as JIT compilers and self-modifying programs do; 32-bit code.
 *
 * A random program for eight registers is kept in two forms, machine code and a table that C code
 * interprets; both must leave the same values.  The code is patched while it stays where it is,
 * through the same mapping, through a second mapping of the same memory, or between two mprotect().
 */
#include "tests/boot/guest/load.h"

#include <asm/ldt.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { REGS = 8, SLOTS = 8, OPS = 40, LOOPS = 6, CODE_SIZE = 8192 };

typedef enum Op { ADD, SUB, XOR, AND, OR, MOV, ADD_IMM, XOR_IMM, MOV_IMM, IMUL, ROL, LEA, CMOVB, SKIP_IF_BELOW, BSWAP,
                  STORE, LOAD, CALL, OP_COUNT } Op;

typedef struct Step {
    uint8_t op, a, b, c;
    int32_t value;
    uint32_t patch;                   /* offset of the immediate in the code */
} Step;

/* rax rcx rdx rbx rsi rdi r8 r9; r10 points to the state, r11 counts. */
static const uint8_t number[REGS] = { 0, 1, 2, 3, 6, 7, 8, 9 };

typedef struct Emitter {
    uint8_t *code;
    uint32_t at;
} Emitter;

static void put(Emitter *e, int count, ...)
{
    __builtin_va_list bytes;

    __builtin_va_start(bytes, count);
    for (int i = 0; i < count; i++) {
        e->code[e->at++] = (uint8_t)__builtin_va_arg(bytes, int);
    }
    __builtin_va_end(bytes);
}

static void put32(Emitter *e, int32_t value)
{
    memcpy(e->code + e->at, &value, 4);
    e->at += 4;
}

/* REX.W OPCODE /r with two registers. */
static void put_rr(Emitter *e, int opcode, int reg, int rm)
{
    put(e, 1, 0x48 | (reg >> 3) << 2 | rm >> 3);
    if (opcode > 0xff) {
        put(e, 1, 0x0f);
    }
    put(e, 2, opcode & 0xff, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* MOV between a register and a word of the state. */
static void put_state(Emitter *e, int opcode, int reg, int slot)
{
    put(e, 4, 0x49 | (reg >> 3) << 2, opcode, 0x42 | (reg & 7) << 3, slot * 8);
}

static uint32_t emit_step(Emitter *e, const Step *s, uint32_t helper)
{
    int a = number[s->a], b = number[s->b], c = number[s->c];
    uint32_t patch = 0;

    switch ((Op)s->op) {
    case ADD:     put_rr(e, 0x01, b, a); break;
    case SUB:     put_rr(e, 0x29, b, a); break;
    case XOR:     put_rr(e, 0x31, b, a); break;
    case AND:     put_rr(e, 0x21, b, a); break;
    case OR:      put_rr(e, 0x09, b, a); break;
    case MOV:     put_rr(e, 0x89, b, a); break;
    case IMUL:    put_rr(e, 0x1af, a, b); break;
    case BSWAP:   put(e, 3, 0x48 | a >> 3, 0x0f, 0xc8 | (a & 7)); break;
    case ROL:     put_rr(e, 0xc1, 0, a); put(e, 1, s->value & 63); break;
    case STORE:   put_state(e, 0x89, a, REGS + s->c); break;
    case LOAD:    put_state(e, 0x8b, a, REGS + s->c); break;
    case ADD_IMM: put_rr(e, 0x81, 0, a); patch = e->at; put32(e, s->value); break;
    case XOR_IMM: put_rr(e, 0x81, 6, a); patch = e->at; put32(e, s->value); break;
    case MOV_IMM: put_rr(e, 0xc7, 0, a); patch = e->at; put32(e, s->value); break;
    case LEA:     /* a = b + 4 c + disp8 */
        put(e, 5, 0x48 | (a >> 3) << 2 | (c >> 3) << 1 | b >> 3, 0x8d, 0x44 | (a & 7) << 3,
            0x80 | (c & 7) << 3 | (b & 7), s->value & 0x7f);
        break;
    case CMOVB:   put_rr(e, 0x39, c, b); put_rr(e, 0x142, a, b); break;
    case SKIP_IF_BELOW:               /* over one ADD of three bytes */
        put_rr(e, 0x39, b, a);
        put(e, 2, 0x72, 3);
        put_rr(e, 0x01, c, a);
        break;
    case CALL:
        put(e, 1, 0xe8);
        put32(e, (int32_t)(helper - (e->at + 4)));
        break;
    case OP_COUNT: break;
    }
    return patch;
}

/* The code of STEPS, LOOPS times; gives the offset of its entry.  Fills in the patch offsets. */
static uint32_t emit(Emitter *e, Step *steps)
{
    uint32_t helper = 0, entry, loop;

    put_rr(e, 0x1af, 0, 1);           /* the helper: rax = rax * rcx + 1, ret */
    put(e, 4, 0x48, 0xff, 0xc0, 0xc3);
    entry = e->at;
    put(e, 1, 0x53);                  /* push rbx */
    put_rr(e, 0x89, 7, 10);
    for (int i = 0; i < REGS; i++) {
        put_state(e, 0x8b, number[i], i);
    }
    put(e, 2, 0x41, 0xbb);            /* mov r11d, LOOPS */
    put32(e, LOOPS);
    loop = e->at;
    for (int i = 0; i < OPS; i++) {
        steps[i].patch = emit_step(e, &steps[i], helper);
    }
    put(e, 5, 0x41, 0xff, 0xcb, 0x0f, 0x85);      /* dec r11d; jnz loop */
    put32(e, (int32_t)(loop - (e->at + 4)));
    for (int i = 0; i < REGS; i++) {
        put_state(e, 0x89, number[i], i);
    }
    put(e, 2, 0x5b, 0xc3);
    return entry;
}

static void interpret(const Step *steps, uint64_t r[REGS + SLOTS])
{
    for (int i = 0; i < OPS * LOOPS; i++) {
        const Step *s = &steps[i % OPS];
        uint64_t *a = &r[s->a], b = r[s->b], c = r[s->c];
        int n = s->value & 63;

        switch ((Op)s->op) {
        case ADD:     *a += b; break;
        case SUB:     *a -= b; break;
        case XOR:     *a ^= b; break;
        case AND:     *a &= b; break;
        case OR:      *a |= b; break;
        case MOV:     *a = b; break;
        case IMUL:    *a *= b; break;
        case BSWAP:   *a = __builtin_bswap64(*a); break;
        case ROL:     *a = n ? *a << n | *a >> (64 - n) : *a; break;
        case STORE:   r[REGS + s->c] = *a; break;
        case LOAD:    *a = r[REGS + s->c]; break;
        case ADD_IMM: *a += (uint64_t)(int64_t)s->value; break;
        case XOR_IMM: *a ^= (uint64_t)(int64_t)s->value; break;
        case MOV_IMM: *a = (uint64_t)(int64_t)s->value; break;
        case LEA:     *a = b + 4 * c + (uint64_t)(int64_t)(s->value & 0x7f); break;
        case CMOVB:   *a = b < c ? b : *a; break;
        case SKIP_IF_BELOW: *a += *a < b ? 0 : c; break;
        case CALL:    r[0] = r[0] * r[1] + 1; break;
        case OP_COUNT: break;
        }
    }
}

/* WRITE and RUN show the same memory. */
static uint64_t run_programs(uint8_t *write, uint8_t *run, bool protect, uint64_t seed)
{
    uint64_t sum = 0;

    for (int program = 0; program < 4; program++) {
        Emitter e = { write, (uint32_t)(next_random(&seed) >> 9) % 5000 };
        Step steps[OPS];
        uint32_t base = e.at, entry;

        for (int i = 0; i < OPS; i++) {
            uint64_t r = next_random(&seed) >> 7;

            steps[i] = (Step){ (uint8_t)(r % OP_COUNT), r >> 8 & 7, r >> 16 & 7, r >> 24 & 7, (int32_t)(r >> 32), 0 };
        }
        e.code += base;
        e.at = 0;
        entry = emit(&e, steps);
        for (int patched = 0; patched < 6; patched++) {
            uint64_t real[REGS + SLOTS], model[REGS + SLOTS];

            for (int i = 0; i < REGS + SLOTS; i++) {
                real[i] = model[i] = next_random(&seed);
            }
            if (protect && mprotect(run, CODE_SIZE, PROT_READ | PROT_EXEC)) {
                load_fail("mprotect: %s", strerror(errno));
            }
            ((void (*)(uint64_t *))(uintptr_t)(run + base + entry))(real);
            if (protect && mprotect(run, CODE_SIZE, PROT_READ | PROT_WRITE)) {
                load_fail("mprotect: %s", strerror(errno));
            }
            interpret(steps, model);
            for (int i = 0; i < REGS + SLOTS; i++) {
                if (real[i] != model[i]) {
                    load_fail("program %d, patched %d times: word %d is %016llx, not %016llx", program, patched, i,
                              (unsigned long long)real[i], (unsigned long long)model[i]);
                }
                sum = mix(sum, real[i]);
            }
            for (int i = 0; i < OPS; i++) {
                if (steps[i].patch && next_random(&seed) >> 33 & 1) {
                    steps[i].value = (int32_t)next_random(&seed);
                    memcpy(e.code + steps[i].patch, &steps[i].value, 4);
                }
            }
        }
    }
    return sum;
}

static uint64_t jit_job(uint64_t seed)
{
    uint8_t *page = load_map(CODE_SIZE);

    if (mprotect(page, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC)) {
        load_fail("mprotect: %s", strerror(errno));
    }
    uint64_t sum = run_programs(page, page, false, seed);

    munmap(page, CODE_SIZE);
    return sum;
}

static uint64_t jit_alias_job(uint64_t seed)
{
    int fd = memfd_create("code", 0);
    uint8_t *write, *run;

    if (fd < 0 || ftruncate(fd, CODE_SIZE)) {
        load_fail("memfd: %s", strerror(errno));
    }
    write = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    run = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (write == MAP_FAILED || run == MAP_FAILED) {
        load_fail("mmap: %s", strerror(errno));
    }
    uint64_t sum = run_programs(write, run, false, seed);

    munmap(write, CODE_SIZE);
    munmap(run, CODE_SIZE);
    close(fd);
    return sum;
}

static uint64_t jit_protect_job(uint64_t seed)
{
    uint8_t *page = load_map(CODE_SIZE);
    uint64_t sum = run_programs(page, page, true, seed);

    munmap(page, CODE_SIZE);
    return sum;
}

/* -------- code that changes the instruction behind the one that runs -------- */

static uint64_t self_modify_job(uint64_t seed)
{
    /* mov [rip+1], esi; mov eax, imm32; add eax, edi; ret: the store hits the immediate. */
    static const uint8_t code[] = { 0x89, 0x35, 0x01, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0x01, 0xf8, 0xc3 };
    uint8_t *page = load_map(CODE_SIZE);
    uint64_t sum = 0;

    if (mprotect(page, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC)) {
        load_fail("mprotect: %s", strerror(errno));
    }
    for (int i = 0; i < 200; i++) {
        /* Across the page's end, sometimes. */
        uint8_t *at = page + 4096 - (next_random(&seed) >> 9) % 40;
        uint32_t a = (uint32_t)next_random(&seed), b = (uint32_t)(next_random(&seed) >> 11), got;

        memcpy(at, code, sizeof(code));
        for (uint32_t n = 0; n < 5; n++) {
            got = ((uint32_t (*)(uint32_t, uint32_t))(uintptr_t)at)(a, b + n);
            if (got != a + b + n) {
                load_fail("a patched instruction gave %08x, not %08x", got, a + b + n);
            }
            sum = mix(sum, got);
        }
    }
    munmap(page, CODE_SIZE);
    return sum;
}

/* -------- 32-bit code (load_compat.S) -------- */

/* Changes STATE with instructions that 64-bit mode does not have. */
void compat_run(uint32_t state[16]);

static uint64_t compat_job(uint64_t seed)
{
    static uint32_t state[16];
    uint64_t sum = 0;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 16; i++) {
            state[i] = (uint32_t)next_random(&seed);
        }
        compat_run(state);
        for (int i = 0; i < 16; i++) {
            sum = mix(sum, state[i]);
        }
    }
    return sum;
}

/* -------- the same in segments with a base and a limit -------- */

void segment_run(uint32_t state[16], uint64_t code, uint64_t data, uint64_t down);
extern const uint8_t segment_code[], segment_code_end[];

enum { LDT_CODE = 1, LDT_DATA, LDT_DOWN };
static int segment_faults;

static void on_segment_fault(int number, siginfo_t *info, void *opaque)
{
    greg_t *rip = &((ucontext_t *)opaque)->uc_mcontext.gregs[REG_RIP];

    if ((uint64_t)*rip >= (uint64_t)(segment_code_end - segment_code)) {
        load_fail("a fault at %llx, outside the segment", (unsigned long long)*rip);
    }
    *rip += segment_code[*rip] == 0x26 ? 6 : 5;
    segment_faults++;
}

static bool set_segment(unsigned entry, const void *base, unsigned limit, bool pages, unsigned contents)
{
    struct user_desc d = { .entry_number = entry, .base_addr = (unsigned)(uintptr_t)base, .limit = limit,
                           .seg_32bit = 1, .contents = contents, .limit_in_pages = pages, .useable = 1 };

    return syscall(SYS_modify_ldt, 1, &d, sizeof(d)) == 0;
}

/* Some kernels are built without modify_ldt(). */
static bool has_segments(void)
{
    return set_segment(LDT_DATA, NULL, 0, false, 0);
}

static uint64_t segment_job(uint64_t seed)
{
    static uint32_t state[16];
    static uint8_t down[4096], signal_stack[16384];
    stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) }, old_stack;
    struct sigaction action = { .sa_sigaction = on_segment_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old;
    uint64_t sum = 0;

    if (!set_segment(LDT_CODE, segment_code, (unsigned)(segment_code_end - segment_code) - 1, false, 2) ||
        !set_segment(LDT_DATA, state, sizeof(state) - 1, false, 0) ||
        !set_segment(LDT_DOWN, down + sizeof(down), 0xffffe, true, 1)) {
        load_fail("modify_ldt: %s", strerror(errno));
    }
    sigaltstack(&stack, &old_stack);
    sigaction(SIGSEGV, &action, &old);
    memset(down, 0, sizeof(down));
    for (int round = 0; round < 5; round++) {
        segment_faults = 0;
        for (int i = 0; i < 16; i++) {
            state[i] = (uint32_t)next_random(&seed);
        }
        segment_run(state, LDT_CODE << 3 | 7, LDT_DATA << 3 | 7, LDT_DOWN << 3 | 7);
        if (segment_faults != 40) {
            load_fail("%d faults of segment limits, not 40", segment_faults);
        }
        for (int i = 0; i < 16; i++) {
            sum = mix(sum, state[i]);
        }
        sum = mix(sum, down[0xff1]);
    }
    sigaction(SIGSEGV, &old, NULL);
    sigaltstack(&old_stack, NULL);
    return sum;
}

/* clang-format off */
const Job code_jobs[] = {
    { "jit",         jit_job },
    { "jit-alias",   jit_alias_job },
    { "jit-protect", jit_protect_job },
    { "self-modify", self_modify_job },
    { "compat",      compat_job },
    { "segment",     segment_job, has_segments },
    { 0 }
};
