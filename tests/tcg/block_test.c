/* SPDX-License-Identifier: MIT */
/*
 * Programs of more than one instruction by both engines: random blocks with loops and calls, code that
 * changes itself, one physical page at two addresses and one address with two physical pages,
 * return addresses that do not match, flags that cross functions, jumps to what is no address.
 *
 * RHEA_INSN_SEED sets the seed of the random programs, RHEA_INSN_ROUNDS their number.
 */
#include <stdlib.h>

#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

typedef struct Program {
    Engines e;
    uint8_t code[4096 + 64];
    unsigned len;
    unsigned failed;
} Program;

static bool program_init(Program *p)
{
    *p = (Program){ 0 };
    if (!engines_init(&p->e)) {
        return false;
    }
    engines_mode(&p->e, 64, 3);
    memset((void *)(uintptr_t)BENCH_DATA, 0, BENCH_DATA_SIZE);
    memset(p->e.cpu->gpr, 0, sizeof(p->e.cpu->gpr));
    p->e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
    return true;
}

static void program_clear(Program *p)
{
    engines_clear(&p->e);
    g_assert_cmpuint(p->failed, ==, 0);
}

static void put(Program *p, const void *bytes, unsigned len)
{
    memcpy(p->code + p->len, bytes, len);
    p->len += len;
}

#define PUT(p, ...) put(p, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void put32(Program *p, uint32_t value) { put(p, &value, 4); }

/* The program, at BENCH_CODE with the CPU as it is, by both; twice by the translator. */
static void check(Program *p, const char *what, unsigned limit)
{
    uint64_t flags = ~(uint64_t)FLAG_AF, rip;

    engines_code(&p->e, BENCH_CODE, p->code, p->len);
    p->e.cpu->rip = BENCH_CODE;
    p->e.cpu->halted = false;
    engines_save(&p->e, p->e.start);
    engines_load(&p->e, p->e.start, true);
    g_assert_true(engines_interpret(&p->e, limit));
    engines_save(&p->e, p->e.interpreted);
    if (engines_vector(p->e.interpreted, &rip) >= 0) {
        flags &= ~(uint64_t)FLAGS_ARITH;        /* those nobody reads may be wrong in the frame */
    }
    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(GString) why = g_string_new(NULL);

        engines_load(&p->e, p->e.start, i == 0);
        engines_translate(&p->e);
        engines_save(&p->e, p->e.translated);
        engines_compare(p->e.interpreted, p->e.translated, flags, 0, why);
        if (why->len && p->failed++ < 20) {
            g_test_message("%s, run %u:%s", what, i, why->str);
        }
    }
}

/* ---- random programs ------------------------------------------------------------------------------ */

/* Registers the programs compute with; RSI is the data's base, RCX counts, RSP is the stack. */
static unsigned any_reg(GRand *rand)
{
    static const uint8_t regs[] = { R_RAX, R_RDX, R_RBX, R_RBP, R_RDI, R_R8, R_R9, R_R10, R_R11,
                                    R_R12, R_R13, R_R14, R_R15 };

    return regs[pick(rand, ARRAY_LEN(regs))];
}

static void put_rr(Program *p, unsigned opcode, unsigned reg, unsigned rm)
{
    PUT(p, 0x48 | (reg >> 3) << 2 | rm >> 3);
    if (opcode > 255) {
        PUT(p, 0x0f);
    }
    PUT(p, opcode, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* opcode reg, [rsi + disp] */
static void put_rm(Program *p, unsigned opcode, unsigned reg, unsigned disp)
{
    PUT(p, 0x48 | (reg >> 3) << 2, opcode, 0x86 | (reg & 7) << 3);
    put32(p, disp);
}

static void put_simple(Program *p, GRand *rand)
{
    static const uint8_t alu[] = { 0x01, 0x11, 0x19, 0x21, 0x29, 0x31, 0x39, 0x85, 0x09 };
    unsigned a = any_reg(rand), b = any_reg(rand), disp = pick(rand, 0xff0);

    switch (pick(rand, 12)) {
    case 0: case 1: put_rr(p, alu[pick(rand, ARRAY_LEN(alu))], a, b); break;
    case 2: put_rm(p, 0x8b, a, disp); break;
    case 3: put_rm(p, 0x89, a, disp); break;
    case 4: put_rm(p, alu[pick(rand, ARRAY_LEN(alu))], a, disp); break;
    case 5: put_rm(p, alu[pick(rand, 7)] | 2, a, disp); break;
    case 6: put_rr(p, 0x140 | pick(rand, 16), a, b); break;             /* cmovcc */
    case 7:                                                             /* push, pop */
        PUT(p, 0x41 ^ !(a & 8), 0x50 | (a & 7), 0x41 ^ !(b & 8), 0x58 | (b & 7));
        break;
    case 8:                                                             /* setcc */
        PUT(p, 0x40 | a >> 3, 0x0f, 0x90 | pick(rand, 16), 0xc0 | (a & 7));
        break;
    case 9:                                                             /* lea a, [b + a * 2 + 5] */
        PUT(p, 0x48 | (a >> 3) << 2 | (a >> 3) << 1 | b >> 3, 0x8d, 0x44 | (a & 7) << 3,
            0x40 | (a & 7) << 3 | (b & 7), 5);
        break;
    case 10: put_rr(p, 0x1af, a, b); put_rr(p, 0x85, a, a); break;      /* imul; test */
    default:                                                            /* inc, dec */
        PUT(p, 0x48 | a >> 3, 0xff, 0xc0 | pick(rand, 2) << 3 | (a & 7));
        break;
    }
}

/* Some instructions, now and then a branch over one. */
static void put_run(Program *p, GRand *rand)
{
    unsigned n = 2 + pick(rand, 12);

    while (n--) {
        if (pick(rand, 4) == 0) {
            unsigned at;

            PUT(p, 0x70 | pick(rand, 16), 0);
            at = p->len;
            put_simple(p, rand);
            p->code[at - 1] = p->len - at;
        }
        put_simple(p, rand);
    }
}

/* call f; ...; loop; hlt; f: ...; ret.  Flags do not cross functions. */
static void make_program(Program *p, GRand *rand)
{
    unsigned again, call, exit;

    p->len = 0;
    PUT(p, 0xb9);                       /* mov ecx, 1..4 */
    put32(p, 1 + pick(rand, 4));
    again = p->len;
    put_run(p, rand);
    PUT(p, 0xe8);
    call = p->len;
    put32(p, 0);
    PUT(p, 0x48, 0x39, 0xd0);           /* cmp rax, rdx */
    put_run(p, rand);
    PUT(p, 0xff, 0xc9, 0x0f, 0x84);     /* dec ecx; jz exit; jmp again */
    exit = p->len;
    put32(p, 0);
    PUT(p, 0xe9);
    put32(p, again - (p->len + 4));
    *(uint32_t *)(void *)(p->code + exit) = p->len - (exit + 4);
    PUT(p, 0xf4);
    *(uint32_t *)(void *)(p->code + call) = p->len - (call + 4);
    PUT(p, 0x48, 0x85, 0xdb);           /* test rbx, rbx */
    put_run(p, rand);
    PUT(p, 0xc3);
}

static void test_random(void)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    unsigned n = rounds ? atoi(rounds) : 1500, s = seed ? atoi(seed) : 1;
    g_autoptr(GRand) rand = g_rand_new_with_seed(s);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *what = g_strdup_printf("program %u of seed %u", i, s);

        p.e.tr->exact_flags = i & 1;
        for (unsigned r = 0; r < 16; r++) {
            p.e.cpu->gpr[r] = interesting(rand);
        }
        engines_mode(&p.e, 64, i & 2 ? 3 : 0);
        p.e.cpu->gpr[R_RSI] = BENCH_DATA;
        p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2000 + (i & 4 ? 0 : 0x20);
        make_program(&p, rand);
        check(&p, what, 4000);
    }
    program_clear(&p);
}

/* ---- accesses that share a check ----------------------------------------------------------------------- */

/*
 * Loads and stores around one pointer, which goes through the plain pages byte by byte: within a page, across two,
 * into a read-only page, one that is not there, MMIO; a branch decides whether the store is reached.
 */
static void test_group(void)
{
    static const uint64_t at[] = { BENCH_DATA + 0x1000, ENGINES_NONE, ENGINES_READONLY,
                                   ENGINES_READONLY + 0x1000, ENGINES_KERNEL, ENGINES_MMIO + 0x1000 };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0x48, 0x8b, 0x07);                                  /* mov rax, [rdi] */
    PUT(&p, 0x48, 0x03, 0x47, 0x10);                            /* add rax, [rdi + 16] */
    PUT(&p, 0x4c, 0x8d, 0x7f, 0x08);                            /* lea r15, [rdi + 8] */
    PUT(&p, 0x84, 0xd2, 0x74, 0x04);                            /* test dl, dl; jz over */
    PUT(&p, 0x49, 0x89, 0x47, 0x20);                            /* mov [r15 + 32], rax */
    PUT(&p, 0x48, 0x83, 0xc7, 0x04);                            /* over: add rdi, 4 */
    PUT(&p, 0x48, 0xff, 0x77, 0x14, 0x59);                      /* push [rdi + 20]; pop rcx */
    PUT(&p, 0x48, 0x13, 0x4f, 0xfc);                            /* adc rcx, [rdi - 4]: flags are live */
    PUT(&p, 0x0f, 0xc1, 0x5f, 0x30);                            /* xadd [rdi + 48], ebx */
    PUT(&p, 0x48, 0x87, 0x7f, 0x08);                            /* xchg [rdi + 8], rdi */
    PUT(&p, 0x50, 0x53, 0x51, 0x5a, 0x5e, 0x58, 0xf4);          /* push rax, rbx, rcx; pop rdx, rsi, rax */
    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        for (int off = -72; off <= 8; off += i % 3 + 1) {
            g_autofree char *what = g_strdup_printf("%" PRIx64 "%+d", at[i], off);

            p.e.cpu->gpr[R_RDI] = at[i] + off;
            p.e.cpu->gpr[R_RDX] = off & 8;
            p.e.cpu->gpr[R_RBX] = 0x1234;
            /* The stack's group crosses a page now and then, too. */
            p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x3000 + (off & 24);
            check(&p, what, 100);
        }
    }
    program_clear(&p);
}

/* A frame that lies across two pages for good: the other flavour takes over, and gives the same. */
static void test_group_across_pages(void)
{
    uint64_t blocks;
    Program p;

    if (!program_init(&p)) {
        return;
    }
    PUT(&p, 0xb9, 0xe8, 3, 0, 0);                               /* mov ecx, 1000 */
    PUT(&p, 0x51, 0x53, 0x52, 0x01, 0x0c, 0x24);                /* again: push x3; add [rsp], ecx */
    PUT(&p, 0x5a, 0x5b, 0x59, 0xff, 0xc9, 0x75, 0xf3, 0xf4);    /* pop x3; dec ecx; jnz again; hlt */
    p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2008;
    check(&p, "a frame across two pages", 20000);
    blocks = p.e.tr->counters.blocks;
    g_assert_cmpuint(blocks, <, 20);
    g_assert_cmpuint(p.e.cpu->gpr[R_RDX], ==, 500500);
    program_clear(&p);
}

/* Each condition over a load and a store, by register and by constant address: misses, hits, faults keep its flags. */
static void test_flags_over_checks(void)
{
    static const uint64_t at[] = { BENCH_DATA + 0x1000, BENCH_DATA + 0x1ffc, ENGINES_NONE - 4, ENGINES_NONE,
                                   ENGINES_READONLY, ENGINES_KERNEL, ENGINES_MMIO };
    static const uint64_t operands[][2] = { { 1, 2 }, { 5, 5 }, { 0x7f, -1 }, { 0x80, 1 }, { 3, 0xf0 } };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(at) * ARRAY_LEN(operands) * 16 * 2; i++) {
        const uint64_t *v = operands[i / 32 % ARRAY_LEN(operands)], place = at[i / 32 / ARRAY_LEN(operands)];
        g_autofree char *what = g_strdup_printf("%" PRIx64 ", condition %u, values %u", place, i & 15, i / 32 % 5);
        bool constant = i & 16;

        p.len = 0;
        p.e.cpu->gpr[R_RDI] = place;
        p.e.cpu->gpr[R_RAX] = v[0];
        p.e.cpu->gpr[R_R11] = v[1];
        p.e.cpu->gpr[R_R14] = p.e.cpu->gpr[R_R15] = 0x5500;
        PUT(&p, 0x44, 0x38, 0xd8);                              /* cmp al, r11b */
        PUT(&p, 0x4c, 0x8b, constant ? 0x35 : 0x37);            /* mov r14, [rdi] or [rip + d] */
        if (constant) {
            put32(&p, place - (BENCH_CODE + p.len + 4));
        }
        PUT(&p, 0x41, 0x0f, 0x90 | (i & 15), 0xc6);             /* setCC r14b */
        PUT(&p, constant ? 0xc6 : 0x89, constant ? 0x05 : 0x07);        /* mov [rdi], eax or byte [rip + d], 7 */
        if (constant) {
            put32(&p, place - (BENCH_CODE + p.len + 5));
            PUT(&p, 7);
        }
        PUT(&p, 0x4c, 0x0f, 0x40 | (i & 15), 0xf8);             /* cmovCC r15, rax */
        PUT(&p, 0x4d, 0x11, 0xfe, 0x4d, 0x31, 0xff, 0xf4);      /* adc r14, r15; xor r15, r15; hlt */
        check(&p, what, 100);
    }
    program_clear(&p);
}

/* ---- loops whose checks are hoisted ---------------------------------------------------------------------- */

/* Loops over memory, RCX times; RSI, RDI, RBX, R14 point somewhere. */
static const struct {
    const char *what;
    uint8_t code[28];
} loops[] = {
    { "copy up",            /* mov rax, [rsi]; mov [rdi], rax; add rsi, 8; add rdi, 8; dec rcx; jnz */
      { 0x48, 0x8b, 0x06, 0x48, 0x89, 0x07, 0x48, 0x83, 0xc6, 8, 0x48, 0x83, 0xc7, 8, 0x48, 0xff, 0xc9, 0x75, 0xed } },
    { "copy down by 3",     /* mov al, [rsi - 1]; mov [rdi + 7], al; sub rsi, 3; lea rdi, [rdi - 3]; dec rcx; jnz */
      { 0x8a, 0x46, 0xff, 0x88, 0x47, 7, 0x48, 0x83, 0xee, 3, 0x48, 0x8d, 0x7f, 0xfd, 0x48, 0xff, 0xc9, 0x75, 0xed } },
    { "one index",          /* mov eax, [rsi + rcx*4]; add [rdi + rcx*4 - 4], eax; sub rcx, 1; jnz */
      { 0x8b, 0x04, 0x8e, 0x01, 0x44, 0x8f, 0xfc, 0x48, 0x83, 0xe9, 1, 0x75, 0xf3 } },
    { "base and index",     /* movzx eax, byte [rsi + rcx]; add rsi, 2; mov [rdi + rcx*2], ax; dec rcx; jnz */
      { 0x0f, 0xb6, 0x04, 0x0e, 0x48, 0x83, 0xc6, 2, 0x66, 0x89, 0x04, 0x4f, 0x48, 0xff, 0xc9, 0x75, 0xef } },
    { "registers in slots", /* add r10, [r14]; mov [r14 + 8], r10; add r14, 12; dec rcx; jnz */
      { 0x4d, 0x03, 0x16, 0x4d, 0x89, 0x56, 8, 0x49, 0x83, 0xc6, 12, 0x48, 0xff, 0xc9, 0x75, 0xf0 } },
    { "stack and fixed",    /* push rcx; mov [rbx], rcx; pop rax; add [rbx + 24], rax; dec rcx; jnz */
      { 0x51, 0x48, 0x89, 0x0b, 0x58, 0x48, 0x01, 0x43, 24, 0x48, 0xff, 0xc9, 0x75, 0xf2 } },
    { "stack that moves",   /* push [rsi]; add rsi, 16; dec rcx; jnz */
      { 0xff, 0x36, 0x48, 0x83, 0xc6, 16, 0x48, 0xff, 0xc9, 0x75, 0xf5 } },
    { "way out inside",     /* cmp byte [rsi], 0x5a; je out; inc rsi; mov [rdi], cl; dec rcx; jnz; out: */
      { 0x80, 0x3e, 0x5a, 0x74, 0x0a, 0x48, 0xff, 0xc6, 0x88, 0x0f, 0x48, 0xff, 0xc9, 0x75, 0xf1 } },
    { "chase beside",       /* mov rdx, [rsi]; add rdx, [rbx + 8]; mov rax, [rdi]; mov al, [rax]; add rsi, 8; dec rcx; jnz */
      { 0x48, 0x8b, 0x16, 0x48, 0x03, 0x53, 8, 0x48, 0x89, 0xd8, 0x8a, 0, 0x48, 0x83, 0xc6, 8, 0x48, 0xff, 0xc9, 0x75, 0xeb } },
    { "64 bytes a time",    /* movdqu xmm1, [rsi]; paddb xmm1, [rdi + 48 aligned by chance]...: movups [rdi], xmm1; add rsi, 64; dec rcx; jnz */
      { 0xf3, 0x0f, 0x6f, 0x0e, 0x0f, 0x11, 0x0f, 0x48, 0x83, 0xc6, 64, 0x48, 0xff, 0xc9, 0x75, 0xf0 } },
};

static void test_loop(void)
{
    static const uint64_t to[] = { BENCH_DATA + 0x1ff8, BENCH_DATA + 0x2003, ENGINES_NONE - 0x80,
                                   ENGINES_READONLY - 0x10, ENGINES_READONLY + 0xff0, ENGINES_MMIO };
    static const unsigned counts[] = { 1, 2, 7, 40, 700 };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(loops) * ARRAY_LEN(to) * ARRAY_LEN(counts); i++) {
        unsigned l = i % ARRAY_LEN(loops), c = i / ARRAY_LEN(loops) % ARRAY_LEN(counts);
        uint64_t at = to[i / ARRAY_LEN(loops) / ARRAY_LEN(counts)];
        g_autofree char *what = g_strdup_printf("%s, %u times, %" PRIx64, loops[l].what, counts[c], at);

        p.len = 0;
        PUT(&p, 0x48, 0xff, 0xc2);              /* inc rdx: the loop is a block of its own */
        put(&p, loops[l].code, sizeof(loops[l].code));
        while (p.code[p.len - 1] == 0) {
            p.len--;
        }
        PUT(&p, 0x48, 0xff, 0xc2, 0xf4);        /* inc rdx; hlt */
        memset((void *)(uintptr_t)BENCH_DATA, 0x11, BENCH_DATA_SIZE);
        ((uint8_t *)(uintptr_t)BENCH_DATA)[0x10ab] = 0x5a;
        for (unsigned r = 0; r < 16; r++) {
            p.e.cpu->gpr[r] = 0x1000 + r;
        }
        p.e.cpu->gpr[R_RCX] = counts[c];
        p.e.cpu->gpr[R_RSI] = BENCH_DATA + 0xff1;
        p.e.cpu->gpr[R_RDI] = p.e.cpu->gpr[R_R14] = at;
        p.e.cpu->gpr[R_RBX] = at & ~15ull;
        p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x3000 - 24;
        check(&p, what, 10000);
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
    check(&p, "a loop that changes itself", 10000);
    program_clear(&p);
}

/* ---- code that changes ------------------------------------------------------------------------------- */

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
    check(&p, "store ahead", 100);
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
    check(&p, "data in a code page", 10000);
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
        put32(&p, 0x800 - 10);
        PUT(&p, 0x01, 0xc3);                                    /* add ebx, eax */
        PUT(&p, 0x88, 0x0c, 0x25);                              /* mov [f + 1], cl */
        put32(&p, at[i] + 0x801);
        PUT(&p, 0xff, 0xc9, 0x75, 0xee, 0xf4);                  /* dec ecx; jnz again; hlt */
        memcpy(p.code + 0x800, f, sizeof(f));
        p.len = 0x806;
        check(&p, i ? "function patched through an alias" : "patched function", 200);
        g_assert_cmpuint(p.e.cpu->gpr[R_RBX], ==, 7 + 6 + 5 + 4 + 3 + 2);
    }
    program_clear(&p);
}

/* ---- one address, two pages ------------------------------------------------------------------------------ */

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
    put32(&p, TWIN_VA - (BENCH_CODE + p.len + 4));
    PUT(&p, 0xe8);
    put32(&p, TWIN_VA - (BENCH_CODE + p.len + 4));
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xec, 0xf4);                      /* dec ecx; jnz again; hlt */
    check(&p, "twins by CR3", 2000);
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
    check(&p, "twins by PCID", 2000);
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
    put32(&p, TWIN_VA - (BENCH_CODE + p.len + 4));
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xec, 0xf4);
    check(&p, "remapped", 2000);
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
    check(&p, "remapped unnoticed", 2000);
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
    put(&p, forget, len);
    PUT(&p, 0x48, 0x8b, 0x02);                                  /* mov rax, [rdx] */
    PUT(&p, 0x48, 0x6b, 0xdb, 3);                               /* imul rbx, rbx, 3 */
    PUT(&p, 0x48, 0x01, 0xc3);                                  /* add rbx, rax */
    PUT(&p, 0x48, 0x33, 0x9c, 0xca);                            /* xor rbx, [rdx + rcx * 8 + 0x1000] */
    put32(&p, 0x1000);
    PUT(&p, 0x48, 0x87, 0xf7);                                  /* xchg rsi, rdi */
    PUT(&p, 0xff, 0xc9);                                        /* dec ecx */
    PUT(&p, 0x75, (uint8_t)(5 - (p.len + 2)));                  /* jnz again */
    PUT(&p, 0x49, 0xc7, 0x00, 0, 0, 0, 0);                      /* mov qword [r8], 0 */
    put(&p, forget, len);
    PUT(&p, 0x48, 0x8b, 0x02, 0xf4);                            /* mov rax, [rdx]; hlt */
    check(&p, what, 2000);
    g_assert_cmpint(p.e.cpu->fault_count, >, 0);
    program_clear(&p);
}

static void test_ranges_remapped(void)
{
    check_ranges("ranges and INVLPG", (const uint8_t[]){ 0x0f, 0x01, 0x3a }, 3, 0);
    check_ranges("global ranges and INVLPG", (const uint8_t[]){ 0x0f, 0x01, 0x3a }, 3, PAGE_G);
    check_ranges("ranges and CR3", (const uint8_t[]){ 0x41, 0x0f, 0x22, 0xd9 }, 4, 0);
}

/* ---- calls and returns ------------------------------------------------------------------------------------- */

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
    check(&p, "deep recursion", 1000000);
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
    put32(&p, BENCH_CODE + 17);
    PUT(&p, 0xc3, 0xf4);                                        /* ret; hlt */
    PUT(&p, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xee, 0xf4, 0xf4);    /* after: inc eax; dec ecx; jnz again */
    PUT(&p, 0x8d, 0x5b, 3, 0xe8, 2, 0, 0, 0, 0xff, 0xc2);       /* f: lea ebx, [rbx + 3]; call g; inc edx */
    PUT(&p, 0x48, 0x8d, 0x64, 0x24, 8, 0xc3);                   /* g: lea rsp, [rsp + 8]; ret */
    check(&p, "odd returns", 2000);
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
    check(&p, "flags across functions", 1000);
    g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, 15);
    g_assert_true(p.e.tr->exact_flags);
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
    put32(&p, 0x1000 - (p.len + 4));
    PUT(&p, 0x11, 0xf0);                                        /* adc eax, esi */
    PUT(&p, 0xff, 0xc9, 0x75, 0xf1, 0xf4);                      /* dec ecx; jnz again; hlt */
    memset(p.code + p.len, 0xf4, sizeof(p.code) - p.len);
    p.len = 0x1000;
    PUT(&p, 0x73, 2, 0xff, 0xc2, 0x0f, 0xba, 0xe1, 0, 0xc3);    /* f: jnc +2; inc edx; bt ecx, 0; ret */
    check(&p, "flags across pages", 1000);
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
    check(&p, "calls around STAC", 2000);
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
        check(&p, "jump after STAC", 100);
    }
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
        put(&p, invalid[i].bytes, 4);
        check(&p, "invalid instruction", 100);
        g_assert_cmpuint(p.e.cpu->faults[0].event.vector, ==, VEC_UD);
        engines_mode(&p.e, 64, 3);
        p.len = 0;
        PUT(&p, 0xb8, i + 1, 0, 0, 0, 0xf4);                    /* mov eax, i + 1; hlt */
        check(&p, "patched invalid instruction", 100);
        g_assert_cmpuint(p.e.cpu->gpr[R_RAX], ==, i + 1);
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
    check(&p, "system calls", 2000);
    program_clear(&p);
}

static uint64_t x87_read(void *opaque, uint16_t port, unsigned size)
{
    static const double three = 3;
    double nine;

    __asm__ volatile("fldl %1\n\tfmull %1\n\tfwait\n\tfstpl %0" : "=m"(nine) : "m"(three));
    return (uint64_t)nine;
}

/* A device that computes by x87, between the guest's division by zero and the #MF that is due. */
static void test_x87_in_device(void)
{
    Program p;
    X86Bus bus;

    if (!program_init(&p)) {
        return;
    }
    engines_mode(&p.e, 64, 0);
    bus = *p.e.cpu->bus;
    bus.port_read = x87_read;
    p.e.cpu->bus = &bus;
    *(uint16_t *)(uintptr_t)(BENCH_DATA + 0x2000) = 0x37b;      /* ZM clear */
    PUT(&p, 0xdb, 0xe3, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee);     /* fninit; fldcw [rsp]; fld1; fldz */
    PUT(&p, 0xd8, 0xf1, 0xec);                                  /* fdiv st, st(1): 0 / 1; in al, dx */
    PUT(&p, 0xd9, 0xc9, 0xd8, 0xf1, 0xec);                      /* fxch; fdiv: 1 / 0; in al, dx */
    PUT(&p, 0xdd, 0xd8, 0xf4);                                  /* fstp st: #MF */
    check(&p, "x87 in a device", 100);
    g_assert_cmpint(p.e.cpu->faults[0].event.vector, ==, VEC_MF);
    g_assert_cmpint(p.e.cpu->gpr[R_RAX] & 255, ==, 9);
    program_clear(&p);
}

/* REP MOVS and REP STOS of all sizes: no element, few, over the end of a page, backwards, into themselves. */
static void test_strings(void)
{
    static const struct { uint16_t from, to, count; } rows[] = {
        { 0x100, 0x800, 0 }, { 0x100, 0x800, 1 }, { 0x103, 0x801, 200 }, { 0xff0, 0x400, 16 }, { 0xff0, 0x400, 17 },
        { 0x400, 0xff9, 7 }, { 0x400, 0xff9, 8 }, { 0x200, 0x203, 90 }, { 0x203, 0x200, 90 }, { 0x1000, 0, 512 },
        { 0, 0x1000, 513 }, { 0x1800, 0x4f00, 600 },
    };
    static const uint8_t ops[][4] = {
        { 0x90, 0xf3, 0xa4 }, { 0x66, 0xf3, 0xa5 }, { 0x90, 0xf3, 0xa5 }, { 0xf3, 0x48, 0xa5 },
        { 0x90, 0xf3, 0xaa }, { 0x66, 0xf3, 0xab }, { 0x90, 0xf3, 0xab }, { 0xf3, 0x48, 0xab },
    };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < BENCH_DATA_SIZE; i++) {
        ((uint8_t *)(uintptr_t)BENCH_DATA)[i] = i * 7 + (i >> 8);
    }
    for (unsigned i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(ops) * 2; i++) {
        const uint8_t *op = ops[i % ARRAY_LEN(ops)];

        p.len = 0;
        p.e.cpu->gpr[R_RSI] = BENCH_DATA + rows[i / ARRAY_LEN(ops) % ARRAY_LEN(rows)].from;
        p.e.cpu->gpr[R_RDI] = BENCH_DATA + rows[i / ARRAY_LEN(ops) % ARRAY_LEN(rows)].to;
        p.e.cpu->gpr[R_RCX] = rows[i / ARRAY_LEN(ops) % ARRAY_LEN(rows)].count;
        p.e.cpu->gpr[R_RAX] = 0x1122334455667788;
        PUT(&p, i < ARRAY_LEN(rows) * ARRAY_LEN(ops) ? 0xfc : 0xfd);      /* cld, std */
        PUT(&p, 0x48, 0x39, 0xc1);                              /* cmp rcx, rax */
        put(&p, op, 3);
        PUT(&p, 0x0f, 0x97, 0xc3, 0xfc, 0xf4);                  /* seta bl; cld; hlt */
        check(&p, "strings", 3000);
    }
    program_clear(&p);
}

/* BT and kin with the number in a register: words before and behind the operand, CF read at once. */
static void test_bits_in_memory(void)
{
    static const int64_t bits[] = { 0, 63, 64, -1, -64, 5000, -5000, 32767, 1ll << 40 };
    static const uint8_t opcodes[] = { 0xa3, 0xab, 0xb3, 0xbb };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(bits) * ARRAY_LEN(opcodes) * 4; i++) {
        uint8_t opcode = opcodes[i % ARRAY_LEN(opcodes)];

        p.len = 0;
        p.e.cpu->gpr[R_RSI] = BENCH_DATA + 0x1004;
        p.e.cpu->gpr[R_R14] = bits[i / ARRAY_LEN(opcodes) % ARRAY_LEN(bits)];
        if (i & 4 && opcode != 0xa3) {
            PUT(&p, 0xf0);                                      /* lock */
        }
        PUT(&p, i & 8 ? 0x4c : 0x44, 0x0f, opcode, 0x36);       /* bt? [rsi], r14 or r14d */
        PUT(&p, 0x11, 0xc0, 0x85, 0xc0, 0xf4);                  /* adc eax, eax; test eax, eax; hlt */
        check(&p, "bits in memory", 100);
    }
    program_clear(&p);
}

/* -icount: both engines stop at any instruction count asked for, in the same state; STI's shadow is one of them. */
static void test_exact_stops(void)
{
    unsigned limit = 0;
    X86Cpu *cpu;
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.tr->opt.icount = p.e.tr->exact_flags = true;
    p.e.tr->opt.dead_flags = false;
    p.e.tr->opt.trace = p.e.tr->opt.system = p.e.tr->opt.group = false;
    cpu = p.e.cpu;
    engines_mode(&p.e, 64, 0);
    PUT(&p, 0xbb, 20, 0, 0, 0);                                 /* mov ebx, 20 */
    PUT(&p, 0xfb, 0x90, 0xfa);                                  /* again: sti; nop; cli */
    PUT(&p, 0x48, 0x89, 0xe6, 0x48, 0x8d, 0x7e, 0x40);          /* mov rsi, rsp; lea rdi, [rsi + 64] */
    PUT(&p, 0xb9, 5, 0, 0, 0, 0xf3, 0xa4);                      /* mov ecx, 5; rep movsb */
    PUT(&p, 0x53, 0x01, 0x1c, 0x24, 0x58, 0x66, 0x0f, 0xd4, 0xc0);      /* push rbx; add [rsp], ebx; pop rax; paddq */
    PUT(&p, 0xfb, 0xe8, 6, 0, 0, 0);                            /* sti; call f */
    PUT(&p, 0xff, 0xcb, 0x75, 0xd8, 0xf4, 0x90);                /* dec ebx; jnz again; hlt */
    PUT(&p, 0x01, 0xc2, 0xfa, 0xc3);                            /* f: add edx, eax; cli; ret */
    engines_code(&p.e, BENCH_CODE, p.code, p.len);
    cpu->rip = BENCH_CODE;
    engines_save(&p.e, p.e.start);
    do {
        g_autoptr(GString) why = g_string_new(NULL);

        limit++;
        engines_load(&p.e, p.e.start, true);
        cpu->insn_count = 0;
        cpu->insn_limit = limit;
        p.e.interpreted->exit = interp_run(cpu);
        engines_save(&p.e, p.e.interpreted);
        for (unsigned i = 0; i < 2; i++) {
            engines_load(&p.e, p.e.start, i == 0);
            cpu->insn_count = 0;
            p.e.translated->exit = tcg_run(cpu);
            engines_save(&p.e, p.e.translated);
            engines_compare(p.e.interpreted, p.e.translated, ~(uint64_t)FLAG_AF, 0, why);
            g_assert_cmpint(p.e.translated->exit, ==, p.e.interpreted->exit);
            g_assert_cmpuint(cpu->insn_count, <=, limit);
            if (why->len && p.failed++ < 20) {
                g_test_message("stop at %u, run %u:%s", limit, i, why->str);
            }
        }
    } while (p.e.interpreted->exit == X86_EXIT_LIMIT && limit < 2000);
    g_assert_cmpint(p.e.interpreted->exit, ==, X86_EXIT_HALT);
    g_assert_cmpuint(limit, >, 300);
    cpu->insn_limit = ~0ull;
    program_clear(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/block/random", test_random);
    g_test_add_func("/tcg/block/group", test_group);
    g_test_add_func("/tcg/block/group-across-pages", test_group_across_pages);
    g_test_add_func("/tcg/block/flags-over-checks", test_flags_over_checks);
    g_test_add_func("/tcg/block/loop", test_loop);
    g_test_add_func("/tcg/block/loop-patched", test_loop_patched);
    g_test_add_func("/tcg/block/store-ahead", test_store_ahead);
    g_test_add_func("/tcg/block/data-in-code-page", test_data_in_code_page);
    g_test_add_func("/tcg/block/patched-function", test_patched_function);
    g_test_add_func("/tcg/block/twins", test_twins);
    g_test_add_func("/tcg/block/twins-with-pcids", test_twins_with_pcids);
    g_test_add_func("/tcg/block/remapped", test_remapped);
    g_test_add_func("/tcg/block/remapped-unnoticed", test_remapped_unnoticed);
    g_test_add_func("/tcg/block/ranges-remapped", test_ranges_remapped);
    g_test_add_func("/tcg/block/deep-recursion", test_deep_recursion);
    g_test_add_func("/tcg/block/odd-returns", test_odd_returns);
    g_test_add_func("/tcg/block/flags-across-functions", test_flags_across_functions);
    g_test_add_func("/tcg/block/flags-across-pages", test_flags_across_pages);
    g_test_add_func("/tcg/block/not-canonical", test_not_canonical);
    g_test_add_func("/tcg/block/calls-around-stac", test_calls_around_stac);
    g_test_add_func("/tcg/block/jump-to-0-after-stac", test_jump_to_0_after_stac);
    g_test_add_func("/tcg/block/patched-invalid", test_patched_invalid);
    g_test_add_func("/tcg/block/syscall", test_syscall);
    g_test_add_func("/tcg/block/x87-in-device", test_x87_in_device);
    g_test_add_func("/tcg/block/strings", test_strings);
    g_test_add_func("/tcg/block/bits-in-memory", test_bits_in_memory);
    g_test_add_func("/tcg/block/exact-stops", test_exact_stops);
    return g_test_run();
}
