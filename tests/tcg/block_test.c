/* SPDX-License-Identifier: MIT */
/*
 * Programs of more than one instruction by both engines: random blocks with loops and calls, accesses that share a
 * check, loops whose checks are hoisted, strings, exact instruction counts.
 *
 * RHEA_INSN_SEED sets the seed of the random programs, RHEA_INSN_ROUNDS their number.
 */
#include <stdlib.h>

#include "tests/insn/maker.h"
#include "tests/tcg/program.h"

static GRand *seeded_rand(void)
{
    const char *seed = g_getenv("RHEA_INSN_SEED");

    return g_rand_new_with_seed(seed ? atoi(seed) : 1);
}

static unsigned rounds(unsigned usual)
{
    const char *wanted = g_getenv("RHEA_INSN_ROUNDS");

    return wanted ? atoi(wanted) : usual;
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
    program_put32(p, disp);
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
    program_put32(p, 1 + pick(rand, 4));
    again = p->len;
    put_run(p, rand);
    PUT(p, 0xe8);
    call = p->len;
    program_put32(p, 0);
    PUT(p, 0x48, 0x39, 0xd0);           /* cmp rax, rdx */
    put_run(p, rand);
    PUT(p, 0xff, 0xc9, 0x0f, 0x84);     /* dec ecx; jz exit; jmp again */
    exit = p->len;
    program_put32(p, 0);
    PUT(p, 0xe9);
    program_put32(p, again - (p->len + 4));
    *(uint32_t *)(void *)(p->code + exit) = p->len - (exit + 4);
    PUT(p, 0xf4);
    *(uint32_t *)(void *)(p->code + call) = p->len - (call + 4);
    PUT(p, 0x48, 0x85, 0xdb);           /* test rbx, rbx */
    put_run(p, rand);
    PUT(p, 0xc3);
}

static void test_random(void)
{
    g_autoptr(GRand) rand = seeded_rand();
    unsigned n = rounds(1500);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *what = g_strdup_printf("program %u", i);

        p.e.tr->exact_flags = i & 1;
        for (unsigned r = 0; r < 16; r++) {
            p.e.cpu->gpr[r] = interesting(rand);
        }
        engines_mode(&p.e, 64, i & 2 ? 3 : 0);
        p.e.cpu->gpr[R_RSI] = BENCH_DATA;
        p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2000 + (i & 4 ? 0 : 0x20);
        make_program(&p, rand);
        program_check(&p, what, 4000);
    }
    program_clear(&p);
}

/* ---- accesses that share a check ----------------------------------------------------------------------- */

/*
 * Loads and stores around one pointer, which goes through the plain pages byte by byte: within a page, across two,
 * into a read-only page, one that is not there, MMIO; a branch decides whether the store is reached.
 * Without refills C runs the first access, and the block goes on with what that has found.
 */
static void test_group(const void *refill)
{
    static const uint64_t at[] = { BENCH_DATA + 0x1000, ENGINES_NONE, ENGINES_READONLY,
                                   ENGINES_READONLY + 0x1000, ENGINES_KERNEL, ENGINES_MMIO + 0x1000 };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    p.e.tr->opt.refill = refill;
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
            program_check(&p, what, 100);
        }
    }
    program_clear(&p);
}

/* The same with addresses that are constants: in a page, over its end, read-only, not there. */
static void test_constant_group(const void *refill)
{
    static const uint32_t at[] = { BENCH_DATA + 0x1010, BENCH_DATA + 0x1ff0, BENCH_DATA + 0x1ff4, ENGINES_READONLY + 8, ENGINES_NONE };
    g_autoptr(GRand) rand = seeded_rand();
    Program p;

    if (!program_init(&p)) {
        return;
    }
    data_random(rand);
    p.e.tr->opt.refill = refill;
    for (unsigned i = 0; i < 2 * ARRAY_LEN(at); i++) {
        uint32_t place = at[i / 2];
        g_autofree char *what = g_strdup_printf("%" PRIx32 ", %s", place, i & 1 ? "stores" : "loads");

        p.len = 0;
        p.e.cpu->gpr[R_RDI] = BENCH_DATA + 0x100;
        PUT(&p, 0x48, 0x8b, 0x04, 0x25);                        /* mov rax, [place] */
        program_put32(&p, place);
        PUT(&p, 0x48, 0x03, 0x04, 0x25);                        /* add rax, [place + 8] */
        program_put32(&p, place + 8);
        PUT(&p, 0x48, 0x89, 0x07);                              /* mov [rdi], rax */
        if (i & 1) {
            PUT(&p, 0x48, 0x89, 0x04, 0x25);                    /* mov [place + 4], rax */
            program_put32(&p, place + 4);
        }
        PUT(&p, 0x8b, 0x1c, 0x25);                              /* mov ebx, [place - 4] */
        program_put32(&p, place - 4);
        PUT(&p, 0xf4);
        program_check(&p, what, 100);
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
    program_check(&p, "a frame across two pages", 20000);
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
            program_put32(&p, place - (BENCH_CODE + p.len + 4));
        }
        PUT(&p, 0x41, 0x0f, 0x90 | (i & 15), 0xc6);             /* setCC r14b */
        PUT(&p, constant ? 0xc6 : 0x89, constant ? 0x05 : 0x07);        /* mov [rdi], eax or byte [rip + d], 7 */
        if (constant) {
            program_put32(&p, place - (BENCH_CODE + p.len + 5));
            PUT(&p, 7);
        }
        PUT(&p, 0x4c, 0x0f, 0x40 | (i & 15), 0xf8);             /* cmovCC r15, rax */
        PUT(&p, 0x4d, 0x11, 0xfe, 0x4d, 0x31, 0xff, 0xf4);      /* adc r14, r15; xor r15, r15; hlt */
        program_check(&p, what, 100);
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
    { "chase beside",       /* mov rdx, [rsi]; add rdx, [rbx + 8]; mov rax, rbx; mov al, [rax]; add rsi, 8; dec rcx; jnz */
      { 0x48, 0x8b, 0x16, 0x48, 0x03, 0x53, 8, 0x48, 0x89, 0xd8, 0x8a, 0, 0x48, 0x83, 0xc6, 8, 0x48, 0xff, 0xc9, 0x75, 0xeb } },
    { "64 bytes a time",    /* movdqu xmm1, [rsi]; movups [rdi], xmm1; add rsi, 64; dec rcx; jnz */
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
        program_put(&p, loops[l].code, sizeof(loops[l].code));
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
        program_check(&p, what, 10000);
    }
    program_clear(&p);
}

/* ---- single instructions -------------------------------------------------------------------- */

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
        program_put(&p, op, 3);
        PUT(&p, 0x0f, 0x97, 0xc3, 0xfc, 0xf4);                  /* seta bl; cld; hlt */
        program_check(&p, "strings", 3000);
    }
    program_clear(&p);
}

static void put_vectors(Program *p, bool wide)
{
    PUT(p, 0xc4, 0xc1, 0x15, 0xfc, 0xd6);                       /* vpaddb ymm2, ymm13, ymm14 */
    if (wide && p->e.avx512) {
        PUT(p, 0x62, 0x01, 0x0d, 0x40, 0xfc, 0xf7);             /* vpaddb zmm30, zmm30, zmm31 */
        PUT(p, 0x62, 0x01, 0x1d, 0x40, 0xfc, 0xe5);             /* vpaddb zmm28, zmm28, zmm29 */
    }
}

/* Between two uses of vectors, with flags that are read behind it. */
static void put_string(Program *p, bool wide, unsigned opcode, unsigned shift)
{
    p->len = 0;
    put_vectors(p, wide);
    PUT(p, wide ? 0x48 : 0x90, 0x39, 0xc1);                     /* cmp rcx, rax */
    switch (shift) {
    case 0: PUT(p, 0xf3, opcode); break;
    case 1: PUT(p, 0x66, 0xf3, opcode | 1); break;
    case 2: PUT(p, 0xf3, opcode | 1); break;
    default: PUT(p, 0xf3, 0x48, opcode | 1); break;
    }
    PUT(p, 0x0f, 0x97, 0xc3);                                   /* seta bl */
    put_vectors(p, wide);
    PUT(p, 0xc4, 0xc1, 0x1d, 0xfc, 0xdf, 0xf4);                 /* vpaddb ymm3, ymm12, ymm15; hlt */
}

/* Any length and place, most of it short; while all vector registers are in use, and their upper halves. */
static void test_strings_anywhere(gconstpointer bits)
{
    bool wide = GPOINTER_TO_UINT(bits) == 64;
    g_autoptr(GRand) rand = seeded_rand();
    Program p;

    if (!program_init(&p)) {
        return;
    }
    engines_mode(&p.e, GPOINTER_TO_UINT(bits), 3);
    for (unsigned i = 0; i < rounds(2000); i++) {
        unsigned shift = pick(rand, wide ? 4 : 3), most = pick(rand, 8) ? 140 : 4000;
        unsigned from = pick(rand, 0x2400), to = pick(rand, 4) ? pick(rand, 0x2400) : from + pick(rand, 160) - 80;

        data_random(rand);
        for (unsigned n = 0; n < 64; n++) {
            p.e.cpu->zmm[n / 4].u64[n % 4] = interesting(rand);
            p.e.cpu->zmm[28 + n / 16].u64[n % 8] = interesting(rand);
        }
        p.e.cpu->gpr[R_RSI] = BENCH_DATA + from;
        p.e.cpu->gpr[R_RDI] = BENCH_DATA + (to & 0x3fff);
        p.e.cpu->gpr[R_RCX] = pick(rand, most) >> shift;
        p.e.cpu->gpr[R_RAX] = interesting(rand);
        put_string(&p, wide, pick(rand, 2) ? 0xa4 : 0xaa, shift);
        program_check(&p, "strings anywhere", 3000);
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
        program_check(&p, "bits in memory", 100);
    }
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
    program_check(&p, "x87 in a device", 100);
    g_assert_cmpint(p.e.cpu->faults[0].event.vector, ==, VEC_MF);
    g_assert_cmpint(p.e.cpu->gpr[R_RAX] & 255, ==, 9);
    program_clear(&p);
}

/* ---- instruction counts --------------------------------------------------------------------- */

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

/*
 * A high byte register changes places with its low byte where memory is met: that must not be the address, alone and in
 * a loop whose check is hoisted.
 */
static void test_high_bytes(void)
{
    static const uint16_t opcodes[] = { 0x88, 0x8a, 0x00, 0x12, 0x28, 0x38, 0x84, 0x86, 0x0fc0 };
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(opcodes) * 4 * 4 * 3; i++) {
        unsigned opcode = opcodes[i / 48], high = i & 3, base = i >> 2 & 3, kind = i / 16 % 3, again;
        g_autofree char *what = g_strdup_printf("%02x of high byte %u at register %u, kind %u", opcode, high, base, kind);
        unsigned counter = base == R_RCX ? R_RDX : R_RCX;

        for (unsigned r = 0; r < 4; r++) {
            p.e.cpu->gpr[r] = BENCH_DATA + 0x1234;
        }
        p.e.cpu->gpr[R_RSI] = 10;
        for (unsigned at = 0; at < BENCH_DATA_SIZE; at++) {
            ((uint8_t *)(uintptr_t)BENCH_DATA)[at] = (at * 37 ^ at >> 8) & 3;    /* as high bytes: addresses near by */
        }
        p.len = 0;
        again = p.len;
        if (opcode > 255) {
            PUT(&p, 0x0f);
        }
        if (kind == 2) {                                        /* [base + counter] */
            PUT(&p, opcode, 0x04 | (4 + high) << 3, counter << 3 | base);
        } else {
            PUT(&p, opcode, (4 + high) << 3 | base);
        }
        if (kind) {
            PUT(&p, 0x48, 0xff, 0xc0 | base);                   /* inc base */
            PUT(&p, 0xff, 0xce, 0x75, again - (p.len + 4));     /* dec esi; jnz again */
        }
        PUT(&p, 0xf4);
        program_check(&p, what, 100);
    }
    program_clear(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/block/random", test_random);
    g_test_add_data_func("/tcg/block/group", "refill", test_group);
    g_test_add_data_func("/tcg/block/group-in-c", NULL, test_group);
    g_test_add_data_func("/tcg/block/constant-group", "refill", test_constant_group);
    g_test_add_data_func("/tcg/block/constant-group-in-c", NULL, test_constant_group);
    g_test_add_func("/tcg/block/group-across-pages", test_group_across_pages);
    g_test_add_func("/tcg/block/flags-over-checks", test_flags_over_checks);
    g_test_add_func("/tcg/block/loop", test_loop);
    g_test_add_func("/tcg/block/high-bytes", test_high_bytes);
    g_test_add_func("/tcg/block/strings", test_strings);
    g_test_add_data_func("/tcg/block/strings-anywhere-64", GUINT_TO_POINTER(64), test_strings_anywhere);
    g_test_add_data_func("/tcg/block/strings-anywhere-32", GUINT_TO_POINTER(32), test_strings_anywhere);
    g_test_add_func("/tcg/block/bits-in-memory", test_bits_in_memory);
    g_test_add_func("/tcg/block/x87-in-device", test_x87_in_device);
    g_test_add_func("/tcg/block/exact-stops", test_exact_stops);
    return g_test_run();
}
