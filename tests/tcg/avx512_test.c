/* SPDX-License-Identifier: MIT */
/*
 * AVX-512 in programs of more than one instruction, by both engines: SSE, VEX, EVEX and opmask instructions mixed with what
 * runs in C, with anything in the registers before, so that state which is not in host registers when it is used, or
 * not in memory when C looks, is a difference; operands whose writemask leaves out what must not be touched: no
 * fault, no access of a device, no A or D bit.
 *
 * RHEA_INSN_SEED sets the seed of the random programs, RHEA_INSN_ROUNDS their number.
 */
#include <stdlib.h>

#include "target-x86/fpu.h"
#include "tests/insn/maker.h"
#include "tests/tcg/program.h"

#define SAVE_AREA 0x2400        /* of XSAVE, from BENCH_DATA */

static bool avx512_init(Program *p)
{
    if (!program_init(p)) {
        return false;
    }
    if (!simd_host_has(X86_FEAT_AVX512BW) || !simd_host_has(X86_FEAT_AVX512VL) || !simd_host_has(X86_FEAT_AVX512DQ)) {
        program_clear(p);
        g_test_skip("The host has no AVX-512");
        return false;
    }
    return true;
}

/* To its HLT, which faults at CPL 3. */
static bool came_to_end(const Program *p)
{
    uint64_t rip;

    return engines_vector(p->e.translated, &rip) < 0 || p->code[rip - BENCH_CODE] == 0xf4;
}

/* ---- encodings ------------------------------------------------------------------------------------ */

/* An opcode: map 1 to 3 for 0F, 0F38, 0F3A; mandatory prefix 0 to 3; W. */
typedef struct Op {
    uint8_t map, pp, w, opcode;
    uint8_t form;
} Op;

enum { VHW, VHWI, VW, WV_MEM, KHW, KHWI, VG, VK, KV };

static const Op evex_ops[] = {
    { 1, 1, 0, 0xfe, VHW },             /* vpaddd */
    { 1, 1, 0, 0xef, VHW },             /* vpxord */
    { 1, 1, 1, 0xdb, VHW },             /* vpandq */
    { 1, 1, 0, 0xfc, VHW },             /* vpaddb */
    { 2, 1, 0, 0x3b, VHW },             /* vpminud */
    { 2, 1, 1, 0x39, VHW },             /* vpminsq */
    { 1, 0, 0, 0x54, VHW },             /* vandps */
    { 3, 1, 0, 0x25, VHWI },            /* vpternlogd */
    { 3, 1, 1, 0x03, VHWI },            /* valignq */
    { 1, 2, 0, 0x6f, VW },              /* vmovdqu32 */
    { 1, 3, 1, 0x6f, VW },              /* vmovdqu16 */
    { 2, 1, 0, 0x1e, VW },              /* vpabsd */
    { 1, 2, 0, 0x7f, WV_MEM },          /* vmovdqu32 */
    { 1, 3, 0, 0x7f, WV_MEM },          /* vmovdqu8 */
    { 1, 1, 0, 0x76, KHW },             /* vpcmpeqd */
    { 1, 1, 0, 0x64, KHW },             /* vpcmpgtb */
    { 3, 1, 0, 0x3e, KHWI },            /* vpcmpub */
    { 2, 1, 1, 0x27, KHW },             /* vptestmq */
    { 2, 1, 0, 0x7c, VG },              /* vpbroadcastd */
    { 2, 1, 1, 0x7c, VG },              /* vpbroadcastq */
    { 2, 2, 0, 0x38, VK },              /* vpmovm2d */
    { 2, 2, 1, 0x28, VK },              /* vpmovm2w */
    { 2, 2, 0, 0x39, KV },              /* vpmovd2m */
    { 2, 2, 1, 0x29, KV },              /* vpmovw2m */
};

/* RM: a register; -1: [rsi + DISP]. */
static void put_evex(Program *p, const Op *op, unsigned reg, unsigned vvvv, int rm, unsigned disp, unsigned length, unsigned mask,
                     bool zero)
{
    unsigned r = rm < 0 ? 6 : rm;

    PUT(p, 0x62, (reg & 8 ? 0 : 0x80) | (r & 16 ? 0 : 0x40) | (r & 8 ? 0 : 0x20) | (reg & 16 ? 0 : 0x10) | op->map,
        op->w << 7 | (~vvvv & 15) << 3 | 4 | op->pp,
        zero << 7 | length << 5 | (vvvv & 16 ? 0 : 8) | mask, op->opcode);
    PUT(p, (rm < 0 ? 0x80 : 0xc0) | (reg & 7) << 3 | (r & 7));
    if (rm < 0) {
        program_put32(p, disp);
    }
}

static unsigned any_disp(GRand *rand) { return pick(rand, 8) ? pick(rand, 0xfc0) : 0x1000 - pick(rand, 64); }

static void put_any_evex(Program *p, GRand *rand)
{
    const Op *op = &evex_ops[pick(rand, ARRAY_LEN(evex_ops))];
    unsigned count = pick(rand, 3) ? 32 : 16, reg = pick(rand, count), vvvv = pick(rand, count), length = pick(rand, 3);
    unsigned mask = pick(rand, 2) ? pick(rand, 8) : 0;
    int rm = pick(rand, 3) ? (int)pick(rand, count) : -1;
    bool zero = mask && pick(rand, 2);

    switch (op->form) {
    case VHW: break;
    case VW: vvvv = 0; break;
    case WV_MEM: vvvv = 0; rm = -1; zero = false; break;
    case KHW: case KHWI: reg &= 7; zero = false; break;
    case VG: vvvv = mask = zero = 0; rm = R_RAX + pick(rand, 3) * 13 / 2; break;       /* rax, rsi, r13 */
    case VK: vvvv = mask = zero = 0; rm = pick(rand, 8); break;
    case KV: vvvv = mask = zero = 0; reg &= 7; rm = pick(rand, count); break;
    }
    put_evex(p, op, reg, vvvv, rm, any_disp(rand), length, mask, zero);
    if (op->form == VHWI || op->form == KHWI) {
        PUT(p, op->form == KHWI ? pick(rand, 8) : pick(rand, 256));
    }
}

/* Three-byte VEX; RM as for put_evex(). */
static void put_vex(Program *p, const Op *op, unsigned reg, unsigned vvvv, int rm, unsigned disp, unsigned length)
{
    unsigned r = rm < 0 ? 6 : rm;

    PUT(p, 0xc4, (reg & 8 ? 0 : 0x80) | 0x40 | (r & 8 ? 0 : 0x20) | op->map, op->w << 7 | (~vvvv & 15) << 3 | length << 2 | op->pp,
        op->opcode);
    PUT(p, (rm < 0 ? 0x80 : 0xc0) | (reg & 7) << 3 | (r & 7));
    if (rm < 0) {
        program_put32(p, disp);
    }
}

static void put_any_vex(Program *p, GRand *rand)
{
    static const Op ops[] = { { 1, 1, 0, 0xfe, VHW }, { 1, 1, 0, 0xef, VHW }, { 1, 1, 0, 0xdb, VHW }, { 1, 2, 0, 0x6f, VW } };
    const Op *op = &ops[pick(rand, ARRAY_LEN(ops))];

    put_vex(p, op, pick(rand, 16), op->form == VW ? 0 : pick(rand, 16), pick(rand, 3) ? (int)pick(rand, 16) : -1, any_disp(rand),
            pick(rand, 2));
}

static void put_any_mask(Program *p, GRand *rand)
{
    static const struct { Op op; uint8_t length; } ops[] = {
        { { 1, 3, 1, 0x92, KV }, 0 },           /* kmovq k, rax */
        { { 1, 3, 0, 0x92, KV }, 0 },           /* kmovd k, eax */
        { { 1, 3, 1, 0x93, VK }, 0 },           /* kmovq r, k */
        { { 1, 0, 1, 0x41, KHW }, 1 },          /* kandq */
        { { 1, 0, 0, 0x46, KHW }, 1 },          /* kxnorw */
        { { 1, 1, 0, 0x4a, KHW }, 1 },          /* kaddb */
        { { 1, 1, 0, 0x4b, KHW }, 1 },          /* kunpckbw */
        { { 1, 0, 1, 0x44, VW }, 0 },           /* knotq */
        { { 3, 1, 1, 0x31, VHWI }, 0 },         /* kshiftrq */
        { { 1, 0, 1, 0x98, VW }, 0 },           /* kortestq */
        { { 1, 0, 0, 0x99, VW }, 0 },           /* ktestw */
        { { 1, 0, 1, 0x90, WV_MEM }, 0 },       /* kmovq k, m */
        { { 1, 0, 1, 0x91, WV_MEM }, 0 },       /* kmovq m, k */
        { { 1, 1, 0, 0x91, WV_MEM }, 0 },       /* kmovb m, k */
    };
    unsigned n = pick(rand, ARRAY_LEN(ops));
    const Op *op = &ops[n].op;
    unsigned reg = pick(rand, 8), rm = pick(rand, 8);

    switch (op->form) {
    case KV: put_vex(p, op, reg, 0, rm & 1 ? R_RDX : R_R10, 0, 0); break;
    case VK: put_vex(p, op, reg & 1 ? R_RDX : R_R11, 0, rm, 0, 0); break;
    case WV_MEM: put_vex(p, op, reg, 0, -1, any_disp(rand), 0); break;
    case VHWI:
        put_vex(p, op, reg, 0, rm, 0, 0);
        PUT(p, pick(rand, 70));
        break;
    default:
        put_vex(p, op, reg, op->form == KHW ? pick(rand, 8) : 0, rm, 0, ops[n].length);
        break;
    }
    if (op->opcode == 0x98 || op->opcode == 0x99) {
        PUT(p, 0x0f, pick(rand, 2) ? 0x92 : 0x94, 0xc3);        /* setb or sete bl */
        PUT(p, 0x11, 0xd8);                                     /* adc eax, ebx */
    }
}

static void put_any_sse(Program *p, GRand *rand)
{
    static const uint8_t opcodes[] = { 0xfe, 0xef, 0xdb, 0x6f };
    unsigned reg = pick(rand, 16), rm = pick(rand, 16);

    PUT(p, 0x66, 0x40 | (reg >> 3) << 2 | rm >> 3, 0x0f, opcodes[pick(rand, ARRAY_LEN(opcodes))], 0xc0 | (reg & 7) << 3 | (rm & 7));
}

/* C: it takes the vector registers, or only its turn. */
static void put_any_c(Program *p, GRand *rand)
{
    static const uint8_t components[] = { 0x02, 0x04, 0x06, 0x20, 0x40, 0x80, 0xe0, 0xe6, 0xe7 };

    switch (pick(rand, 6)) {
    case 0:
        PUT(p, 0x31, 0xc0, 0x0f, 0xa2);                         /* xor eax, eax; cpuid */
        break;
    case 1:                                                     /* vmaskmovps ymm, ymm, [rsi + ...] */
        put_vex(p, &(Op){ 2, 1, 0, 0x2c, VHW }, pick(rand, 16), pick(rand, 16), -1, any_disp(rand), pick(rand, 2));
        break;
    case 2:
        put_evex(p, &(Op){ 2, 1, 0, 0x89, VW }, pick(rand, 32), 0, -1, any_disp(rand), pick(rand, 3), pick(rand, 8), false);
        break;                                                  /* vpexpandd zmm, [rsi + ...] */
    case 3: case 4:                                             /* mov eax, ...; xor edx, edx; xsave or xrstor [rsi + ...] */
        PUT(p, 0xb8, components[pick(rand, ARRAY_LEN(components))], 0, 0, 0, 0x31, 0xd2);
        PUT(p, 0x0f, 0xae, pick(rand, 2) ? 0xa6 : 0xae);
        program_put32(p, SAVE_AREA);
        break;
    default:
        PUT(p, 0x31, 0xc9, 0x0f, 0x01, 0xd0);                   /* xor ecx, ecx; xgetbv */
        break;
    }
}

static void put_any(Program *p, GRand *rand)
{
    switch (pick(rand, 20)) {
    case 0: case 1: case 2: case 3: case 4: case 5: put_any_evex(p, rand); break;
    case 6: case 7: case 8: put_any_vex(p, rand); break;
    case 9: case 10: case 11: put_any_sse(p, rand); break;
    case 12: case 13: case 14: put_any_mask(p, rand); break;
    case 15: PUT(p, 0xc5, 0xf8 | (pick(rand, 6) == 0) << 2, 0x77); break;       /* vzeroupper, vzeroall */
    case 16: PUT(p, 0xeb, 0x00); break;                                         /* jmp to the next: another block */
    case 17: PUT(p, 0x49, 0x01, 0xc2, 0x48, 0xff, 0xc0); break;                 /* add r10, rax; inc rax */
    default: put_any_c(p, rand); break;
    }
}

static void put_runs(Program *p, GRand *rand)
{
    unsigned kind = pick(rand, 4), n = 4 + pick(rand, 24);

    while (n--) {
        switch (kind) {
        case 0: put_any_sse(p, rand); break;    /* so that there are blocks of one kind, too */
        case 1: put_any_vex(p, rand); break;
        default: put_any(p, rand); break;
        }
    }
}

/* xsave; again: ...; call f; ...; dec r14; jnz again; hlt; f: ...; ret */
static void make_program(Program *p, GRand *rand)
{
    unsigned again, call, exit;

    p->len = 0;
    PUT(p, 0xb8, 0xe7, 0, 0, 0, 0x31, 0xd2, 0x0f, 0xae, 0xa6);
    program_put32(p, SAVE_AREA);
    again = p->len;
    put_runs(p, rand);
    PUT(p, 0xe8);
    call = p->len;
    program_put32(p, 0);
    put_runs(p, rand);
    PUT(p, 0x49, 0xff, 0xce, 0x0f, 0x84);
    exit = p->len;
    program_put32(p, 0);
    PUT(p, 0xe9);
    program_put32(p, again - (p->len + 4));
    *(uint32_t *)(void *)(p->code + exit) = p->len - (exit + 4);
    PUT(p, 0xf4);
    *(uint32_t *)(void *)(p->code + call) = p->len - (call + 4);
    put_runs(p, rand);
    PUT(p, 0xc3);
}

static void test_mixed(void)
{
    const char *rounds = g_getenv("RHEA_INSN_ROUNDS"), *seed = g_getenv("RHEA_INSN_SEED");
    unsigned n = rounds ? atoi(rounds) : 1000, s = seed ? atoi(seed) : 1, ended = 0;
    g_autoptr(GRand) rand = g_rand_new_with_seed(s);
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    p.e.tr->exact_flags = true;
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *what = g_strdup_printf("program %u of seed %u", i, s);
        InsnState state;

        engines_mode(&p.e, 64, i & 1 ? 3 : 0);
        insn_state_random(&state, rand);
        insn_state_random_x87(&state, rand);
        state.flags &= ~(uint64_t)FLAG_DF;
        data_random(rand);
        insn_state_load(&state, p.e.cpu);
        p.e.cpu->x87.mxcsr = MXCSR_DEFAULT;
        p.e.cpu->gpr[R_RSI] = BENCH_DATA;
        p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
        p.e.cpu->gpr[R_R14] = 1 + pick(rand, 3);
        engines_random_avx512(&p.e, rand);
        /* XRSTOR takes nothing that is not valid. */
        memset((void *)(uintptr_t)(BENCH_DATA + SAVE_AREA), 0, 0xb00);
        make_program(&p, rand);
        program_check(&p, what, 2000);
        ended += came_to_end(&p);
    }
    g_test_message("%u of %u programs came to their end", ended, n);
    g_assert_cmpuint(ended * 10, >, n * 9);
    program_clear(&p);
}

/* ---- what the mask leaves out ----------------------------------------------------------------------- */

enum { PTE_AD = 0x60 };

/* Loads and stores of 64 bytes over the start of a page of each kind, by dwords: K1 has what lies before it, K2 all, K3 one behind. */
static void test_left_out(void)
{
    static const struct { const char *name; uint64_t entry; } pages[] = {
        { "plain", (BENCH_DATA + 0x3000) | 7 }, { "missing", 0 }, { "read-only", (BENCH_DATA + 0x3000) | 5 },
        { "the kernel's", (BENCH_DATA + 0x3000) | 3 }, { "not RAM", ENGINES_MMIO | 7 },
    };
    static const struct { const char *name; Op op; uint8_t reg, vvvv; } accesses[] = {
        { "load", { 1, 2, 0, 0x6f, VW }, 20, 0 }, { "store", { 1, 2, 0, 0x7f, WV_MEM }, 20, 0 },
        { "compare", { 1, 1, 0, 0x76, KHW }, 5, 21 },
    };
    uint64_t *entry = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x8000 + 3 * 8);
    unsigned accessed = 0, count = ARRAY_LEN(pages) * ARRAY_LEN(accesses) * 17 * 3;
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned page = i % ARRAY_LEN(pages), n = i / ARRAY_LEN(pages) % ARRAY_LEN(accesses);
        unsigned before = i / (ARRAY_LEN(pages) * ARRAY_LEN(accesses)) % 17;
        unsigned mask = 1 + i / (ARRAY_LEN(pages) * ARRAY_LEN(accesses) * 17);
        g_autofree char *what = g_strdup_printf("%s with %u before a page that is %s, k%u", accesses[n].name, before,
                                                pages[page].name, mask);

        *entry = pages[page].entry;
        x86_tlb_flush(p.e.cpu, true);
        p.len = 0;
        p.e.cpu->gpr[R_RSI] = BENCH_DATA + 0x3000 - before * 4;
        p.e.cpu->k[1] = BIT(before) - 1;
        p.e.cpu->k[2] = 0xffff;
        p.e.cpu->k[3] = BIT(before);
        for (unsigned d = 0; d < 16; d++) {
            p.e.cpu->zmm[20].u32[d] = i * 16 + d;
        }
        put_evex(&p, &accesses[n].op, accesses[n].reg, accesses[n].vvvv, -1, 0, 2, mask, false);
        PUT(&p, 0xf4);
        program_check(&p, what, 10);
        if (mask == 1 || before == 16) {
            g_assert_true(came_to_end(&p));
            g_assert_cmphex(*entry, ==, pages[page].entry);
            g_assert_cmphex(p.e.bus_log, ==, p.e.start->bus_log);
        }
        accessed += *entry != pages[page].entry;
        engines_load(&p.e, p.e.start, true);
    }
    g_assert_cmpuint(accessed, >, 100);
    program_clear(&p);
}

/* The same where other accesses would share a check with it, in a loop before the loop: a page that no enabled element lies in. */
static void test_left_out_of_groups(void)
{
    static const Op load = { 1, 2, 0, 0x6f, VW }, store = { 1, 2, 0, 0x7f, WV_MEM };
    uint64_t *entry = (uint64_t *)(uintptr_t)(BENCH_TABLES + 0x8000 + 3 * 8), was = (BENCH_DATA + 0x3000) | 7;
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < 8; i++) {
        unsigned again;

        *entry = was;
        x86_tlb_flush(p.e.cpu, true);
        p.len = 0;
        p.e.cpu->gpr[R_RSI] = BENCH_DATA + 0x3000;
        p.e.cpu->gpr[R_RDI] = BENCH_DATA + 0x1000;
        p.e.cpu->k[1] = 0;
        PUT(&p, 0xb9, 3, 0, 0, 0, 0xeb, 0x00);                  /* mov ecx, 3; jmp again */
        again = p.len;
        PUT(&p, 0x48, 0x8b, 0x07);                              /* mov rax, [rdi] */
        put_evex(&p, i & 1 ? &load : &store, 20, 0, -1, 0, 2, 1, false);
        put_evex(&p, i & 2 ? &load : &store, 21, 0, -1, 64, 2, 1, false);
        put_evex(&p, &load, 22, 0, -1, 128, 1, 1, true);
        PUT(&p, 0x48, 0x83, 0xc6, 64, 0x48, 0x83, 0xc7, 8);     /* add rsi, 64; add rdi, 8 */
        PUT(&p, 0xff, 0xc9, 0x75, again - (p.len + 4));         /* dec ecx; jnz again */
        PUT(&p, 0xf4);
        if (i & 4) {
            memset(p.code + 5, 0x90, 2);                        /* not a block of its own at first */
        }
        program_check(&p, "groups", 50);
        g_assert_true(came_to_end(&p));
        g_assert_cmphex(*entry, ==, was);
        engines_load(&p.e, p.e.start, true);
    }
    program_clear(&p);
}

/* A masked store that goes on and off a device, a missing page and back: what has been translated for one serves the others. */
static void test_same_code(void)
{
    static const uint64_t at[] = { BENCH_DATA + 0x40, ENGINES_MMIO - 32, BENCH_DATA + 0x2fe0, ENGINES_NONE - 32, ENGINES_MMIO + 8,
                                   BENCH_DATA + 0x100 };
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < 64; i++) {
        g_autofree char *what = g_strdup_printf("masks %u", i);

        p.len = 0;
        for (unsigned n = 0; n < ARRAY_LEN(at); n++) {
            PUT(&p, 0xbe);                                      /* mov esi, at */
            program_put32(&p, at[(n + i) % ARRAY_LEN(at)]);
            put_evex(&p, &evex_ops[12], 17, 0, -1, 0, 2, 1, false);
            put_evex(&p, &evex_ops[9], 18 + n, 0, -1, 0, 2, 1, n & 1);
        }
        PUT(&p, 0xf4);
        p.e.cpu->k[1] = i < 32 ? i * 0x123 & 0xff : BIT(i - 32) & 0xff;
        for (unsigned n = 0; n < 8; n++) {
            p.e.cpu->zmm[17].u64[n] = i * 0x0101010101010101ull + n;
        }
        program_check(&p, what, 100);
    }
    program_clear(&p);
}

/* ---- XCR0 --------------------------------------------------------------------------------------------- */

/* What is in bits 511:256 stays there while XCR0 has no AVX-512, whatever VEX does; with it VEX zeroes them. */
static void test_switched_off(void)
{
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    engines_mode(&p.e, 64, 0);
    for (unsigned n = 0; n < 32; n++) {
        memset(&p.e.cpu->zmm[n], 0x11 + n, sizeof(p.e.cpu->zmm[n]));
    }
    for (unsigned n = 0; n < 3; n++) {
        PUT(&p, 0x31, 0xc9, 0x31, 0xd2, 0xb8, n & 1 ? 0xe7 : 7, 0, 0, 0, 0x0f, 0x01, 0xd1);     /* xsetbv */
        PUT(&p, 0xc5, 0xfd, 0xfe, 0xc8 + n, 0x66, 0x0f, 0xfe, 0xe0 + n);       /* vpaddd ymm1, ymm0, ymm0..; paddd xmm4, xmm0.. */
        PUT(&p, 0xeb, 0x00, 0xc5, 0xfd, 0xfe, 0xd0 + n);                       /* jmp; vpaddd ymm2, ymm0, ymm0.. */
    }
    PUT(&p, 0xf4);
    program_check(&p, "switched off and on", 100);
    g_assert_cmphex(p.e.cpu->zmm[1].u64[4], ==, 0);
    g_assert_cmphex(p.e.cpu->zmm[4].u64[4], ==, 0x1515151515151515);
    program_clear(&p);
}

/* What is no one-to-one copy of the host's instruction: everything of VEX that is C somewhere. */
static void test_vex_in_c(void)
{
    static const struct { const char *name; uint8_t bytes[8]; unsigned len; } ops[] = {
        { "vzeroupper", { 0xc5, 0xf8, 0x77 }, 3 },
        { "vzeroall", { 0xc5, 0xfc, 0x77 }, 3 },
        { "vmaskmovps ymm1, ymm0, [rsi]", { 0xc4, 0xe2, 0x7d, 0x2c, 0x0e }, 5 },
        { "vpmaskmovq xmm1, xmm0, [rsi]", { 0xc4, 0xe2, 0xf9, 0x8c, 0x0e }, 5 },
        { "vpgatherdd ymm1, [rsi + ymm2], ymm3", { 0xc4, 0xe2, 0x65, 0x90, 0x0c, 0x16 }, 6 },
        { "vgatherdpd xmm1, [rsi + xmm2], xmm3", { 0xc4, 0xe2, 0xe1, 0x92, 0x0c, 0x16 }, 6 },
    };
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < 2 * ARRAY_LEN(ops); i++) {
        const uint8_t *bytes = ops[i / 2].bytes;
        bool off = i & 1;

        engines_mode(&p.e, 64, 0);
        for (unsigned n = 0; n < 32; n++) {
            memset(&p.e.cpu->zmm[n], n == 2 ? 0 : 0x81 + n, sizeof(p.e.cpu->zmm[n]));
        }
        p.e.cpu->gpr[R_RSI] = BENCH_DATA;
        p.len = 0;
        PUT(&p, 0x31, 0xc9, 0x31, 0xd2, 0xb8, off ? 7 : 0xe7, 0, 0, 0, 0x0f, 0x01, 0xd1);       /* xsetbv */
        program_put(&p, bytes, ops[i / 2].len);
        PUT(&p, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x01, 0xd1, 0xf4);                                   /* xsetbv; hlt */
        program_check(&p, ops[i / 2].name, 100);
        g_test_message("%s, %s", ops[i / 2].name, off ? "off" : "on");
        g_assert_true(came_to_end(&p));
        for (unsigned n = 4; n < 8; n++) {
            g_assert_cmphex(p.e.cpu->zmm[1].u64[n], ==, off ? 0x8282828282828282 : 0);
        }
        engines_load(&p.e, p.e.start, true);
    }
    program_clear(&p);
}

/* The same with CR4.OSXSAVE; SSE is left. */
static void test_without_osxsave(void)
{
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    engines_mode(&p.e, 64, 0);
    for (unsigned n = 0; n < 32; n++) {
        memset(&p.e.cpu->zmm[n], 0x11 + n, sizeof(p.e.cpu->zmm[n]));
        memset(&p.e.cpu->zmm[n].u64[2], 0, 16);         /* then nobody looks again */
    }
    PUT(&p, 0x0f, 0x20, 0xe0, 0x89, 0xc3);                      /* mov rax, cr4; mov ebx, eax */
    PUT(&p, 0x0f, 0xba, 0xf0, 18, 0x0f, 0x22, 0xe0);            /* btr eax, 18; mov cr4, rax */
    PUT(&p, 0x0f, 0xae, 0x06, 0x66, 0x0f, 0xfe, 0xe0);          /* fxsave [rsi]; paddd xmm4, xmm0 */
    PUT(&p, 0x0f, 0x22, 0xe3, 0xc5, 0xfd, 0xfe, 0xc8);          /* mov cr4, rbx; vpaddd ymm1, ymm0, ymm0 */
    PUT(&p, 0x66, 0x0f, 0xfe, 0xe8, 0xf4);                      /* paddd xmm5, xmm0; hlt */
    p.e.cpu->gpr[R_RSI] = BENCH_DATA + 0x400;
    program_check(&p, "without OSXSAVE", 100);
    g_assert_true(came_to_end(&p));
    g_assert_cmphex(p.e.cpu->zmm[1].u64[4], ==, 0);
    g_assert_cmphex(p.e.cpu->zmm[5].u64[4], ==, 0x1616161616161616);
    program_clear(&p);
}

/* A gather that faults has done some elements: its handler finds them, in bits that were zero when it began. */
static void test_fault_in_gather(void)
{
    enum { IDT_AT = 0x1000, HANDLER = 0x80 };
    uint64_t handler = BENCH_CODE + HANDLER;
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    for (unsigned upto = 1; upto < 16; upto++) {
        g_autofree char *what = g_strdup_printf("fault after %u elements", upto);
        X86Cpu *cpu = p.e.cpu;
        uint64_t *gate = (uint64_t *)(uintptr_t)(BENCH_DATA + IDT_AT + 16 * VEC_PF);

        engines_mode(&p.e, 64, 0);
        memset(cpu->zmm, 0, sizeof(cpu->zmm));
        memset((void *)(uintptr_t)BENCH_DATA, 0x5a, 64);
        gate[0] = (handler & 0xffff) | 8 << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
        gate[1] = 0;
        cpu->idt = (X86Table){ BENCH_DATA + IDT_AT, 16 * 32 - 1 };
        cpu->gpr[R_RSI] = BENCH_DATA;
        cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
        cpu->k[1] = 0xffff;
        for (unsigned i = 0; i < 16; i++) {
            cpu->zmm[17].u32[i] = i < upto ? i : (ENGINES_NONE - BENCH_DATA) / 4;
        }
        p.len = 0;
        PUT(&p, 0x66, 0x0f, 0xfe, 0xe0, 0xeb, 0x00);            /* paddd xmm4, xmm0; jmp to the next */
        PUT(&p, 0x62, 0xf2, 0x7d, 0x41, 0x90, 0x04, 0x8e);      /* vpgatherdd zmm0{k1}, [rsi + zmm17*4] */
        memset(p.code + p.len, 0xf4, HANDLER - p.len);
        p.len = HANDLER;
        PUT(&p, 0x66, 0x0f, 0xfe, 0xe8, 0xeb, 0x00);            /* paddd xmm5, xmm0; jmp */
        PUT(&p, 0xc5, 0xfd, 0xfe, 0xd0);                        /* vpaddd ymm2, ymm0, ymm0 */
        PUT(&p, 0xc5, 0xfd, 0x6f, 0xf0);                        /* vmovdqa ymm6, ymm0 */
        PUT(&p, 0x62, 0xf1, 0x7d, 0x48, 0xfe, 0xd8, 0xf4);      /* vpaddd zmm3, zmm0, zmm0; hlt */
        program_check(&p, what, 100);
        g_assert_cmphex(cpu->zmm[3].u32[upto - 1], ==, 0xb4b4b4b4);
        engines_load(&p.e, p.e.start, true);
    }
    program_clear(&p);
}

/* Where what loads the registers for EVEX is called, the host's return stack is full, or nearly: each CALL takes a place of it. */
static void test_full_return_stack(void)
{
    enum { PLACES = 32760 };
    Program p;

    if (!avx512_init(&p)) {
        return;
    }
    for (int calls = PLACES - 4; calls <= PLACES + 3; calls++) {
        g_autofree char *what = g_strdup_printf("%d calls", calls);

        p.len = 0;
        PUT(&p, 0xb9);                                          /* mov ecx, calls */
        program_put32(&p, calls);
        PUT(&p, 0xe8, 0, 0, 0, 0);                              /* again: call next */
        PUT(&p, 0x48, 0x83, 0xc4, 8);                           /* next: add rsp, 8 */
        PUT(&p, 0xff, 0xc9, 0x75, 0xf3);                        /* dec ecx; jnz again */
        PUT(&p, 0x31, 0xc0, 0x0f, 0xa2);                        /* xor eax, eax; cpuid */
        PUT(&p, 0x49, 0xc7, 0xc5);                              /* mov r13, where no code is */
        program_put32(&p, 0x1234);
        PUT(&p, 0xeb, 0x00);                                    /* jmp to the next */
        PUT(&p, 0x62, 0xa1, 0x7d, 0x40, 0xfe, 0xc9);            /* vpaddd zmm17, zmm16, zmm17 */
        PUT(&p, 0xf4);
        p.e.cpu->zmm[16].u64[5] = 3;
        p.e.cpu->zmm[17].u64[5] = 4;
        program_check(&p, what, 4 * PLACES + 100);
        g_assert_cmphex(p.e.cpu->zmm[17].u64[5], ==, 7);
        engines_load(&p.e, p.e.start, true);
    }
    program_clear(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/avx512/mixed", test_mixed);
    g_test_add_func("/tcg/avx512/left-out", test_left_out);
    g_test_add_func("/tcg/avx512/left-out-of-groups", test_left_out_of_groups);
    g_test_add_func("/tcg/avx512/same-code", test_same_code);
    g_test_add_func("/tcg/avx512/switched-off", test_switched_off);
    g_test_add_func("/tcg/avx512/without-osxsave", test_without_osxsave);
    g_test_add_func("/tcg/avx512/vex-in-c", test_vex_in_c);
    g_test_add_func("/tcg/avx512/fault-in-gather", test_fault_in_gather);
    g_test_add_func("/tcg/avx512/full-return-stack", test_full_return_stack);
    return g_test_run();
}
