/* SPDX-License-Identifier: MIT */
/*
 * Accesses to two pages that do not lie one behind the other in memory, by both engines: loads and stores of general and
 * vector registers, with and without masks, and what is left to C; at each offset, with flags that live across them,
 * where the check is one of its own and where it is a group's; one of the pages missing, read-only, the kernel's, not RAM, or
 * with the code that is running. That C is not needed where both are plain RAM is seen by what it has decoded.
 */
#include "target-x86/fpu.h"
#include "tests/insn/maker.h"
#include "tests/tcg/program.h"

#define FIRST (BENCH_DATA + 0x2000)
#define SECOND (BENCH_DATA + 0x3000)
#define FIRST_FRAME (BENCH_DATA + 0x3000)
#define SECOND_FRAME (BENCH_DATA + 0x1000)
#define ROUNDS 24               /* more than a group fails before it is left to itself */

typedef struct Op {
    const char *name;
    uint8_t size, len, bytes[8];
    bool native;                /* needs no C */
    bool only64;
} Op;

/* [rsi] or [esi]. */
static const Op ops[] = {
    { "mov ax, m", 2, 3, { 0x66, 0x8b, 0x06 }, true },
    { "mov m, ax", 2, 3, { 0x66, 0x89, 0x06 }, true },
    { "mov eax, m", 4, 2, { 0x8b, 0x06 }, true },
    { "mov m, eax", 4, 2, { 0x89, 0x06 }, true },
    { "mov m, imm", 4, 6, { 0xc7, 0x06, 1, 2, 3, 4 }, true },
    { "mov r10, m", 8, 3, { 0x4c, 0x8b, 0x16 }, true, true },
    { "mov m, r10", 8, 3, { 0x4c, 0x89, 0x16 }, true, true },
    { "mov m, rax", 8, 3, { 0x48, 0x89, 0x06 }, true, true },
    { "movzx eax, m", 2, 3, { 0x0f, 0xb7, 0x06 }, true },
    { "adc eax, m", 4, 2, { 0x13, 0x06 }, true },
    { "cmp m, eax", 4, 2, { 0x39, 0x06 }, true },
    { "adc m, eax", 4, 2, { 0x11, 0x06 } },
    { "shl m, 3", 4, 3, { 0xc1, 0x26, 3 } },
    { "xchg m, eax", 4, 2, { 0x87, 0x06 } },
    { "lock add m, eax", 4, 3, { 0xf0, 0x01, 0x06 } },
    { "movbe m, eax", 4, 4, { 0x0f, 0x38, 0xf1, 0x06 }, true },
    { "movbe eax, m", 4, 4, { 0x0f, 0x38, 0xf0, 0x06 }, true },
    { "movnti m, eax", 4, 3, { 0x0f, 0xc3, 0x06 }, true },
    { "movdiri m, eax", 4, 4, { 0x0f, 0x38, 0xf9, 0x06 } },     /* the host may not have it */
    { "movups xmm1, m", 16, 3, { 0x0f, 0x10, 0x0e }, true },
    { "movups m, xmm1", 16, 3, { 0x0f, 0x11, 0x0e }, true },
    { "movdqu xmm1, m", 16, 4, { 0xf3, 0x0f, 0x6f, 0x0e }, true },
    { "movaps xmm1, m", 16, 3, { 0x0f, 0x28, 0x0e } },
    { "movaps m, xmm1", 16, 3, { 0x0f, 0x29, 0x0e } },
    { "paddb xmm1, m", 16, 4, { 0x66, 0x0f, 0xfc, 0x0e } },
    { "movq m, xmm1", 8, 4, { 0x66, 0x0f, 0xd6, 0x0e }, true },
    { "movhps m, xmm1", 8, 3, { 0x0f, 0x17, 0x0e }, true },
    { "movss xmm1, m", 4, 4, { 0xf3, 0x0f, 0x10, 0x0e }, true },
    { "movq mm1, m", 8, 3, { 0x0f, 0x6f, 0x0e }, true },
    { "movq m, mm1", 8, 3, { 0x0f, 0x7f, 0x0e } },
    { "fld m64", 8, 2, { 0xdd, 0x06 }, true },
    { "fstp m80", 10, 2, { 0xdb, 0x3e } },
    { "vmovdqu ymm1, m", 32, 4, { 0xc5, 0xfe, 0x6f, 0x0e }, true },
    { "vmovdqu m, ymm1", 32, 4, { 0xc5, 0xfe, 0x7f, 0x0e }, true },
    { "vaddps ymm1, ymm1, m", 32, 4, { 0xc5, 0xf4, 0x58, 0x0e }, true },
    { "vextracti128 m, ymm1", 16, 6, { 0xc4, 0xe3, 0x7d, 0x39, 0x0e, 1 }, true },
    { "vmaskmovps m, ymm1, ymm1", 32, 5, { 0xc4, 0xe2, 0x75, 0x2e, 0x0e } },
    { "vcvtps2ph m, ymm1", 16, 6, { 0xc4, 0xe3, 0x7d, 0x1d, 0x0e, 0 }, true },
};

/* With AVX512BW, AVX512VL and AVX512DQ. */
static const Op evex_ops[] = {
    { "vmovdqu64 zmm1, m", 64, 6, { 0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x0e }, true },
    { "vmovdqu64 m, zmm1", 64, 6, { 0x62, 0xf1, 0xfe, 0x48, 0x7f, 0x0e }, true },
    { "vmovdqu8 ymm1, m", 32, 6, { 0x62, 0xf1, 0x7f, 0x28, 0x6f, 0x0e }, true },
    { "vmovdqu8 m, xmm1", 16, 6, { 0x62, 0xf1, 0x7f, 0x08, 0x7f, 0x0e }, true },
    { "vmovdqu64 zmm20, m", 64, 6, { 0x62, 0xe1, 0xfe, 0x48, 0x6f, 0x26 }, true, true },
    { "vmovdqu64 m, zmm20", 64, 6, { 0x62, 0xe1, 0xfe, 0x48, 0x7f, 0x26 }, true, true },
    { "vpaddd zmm1, zmm1, m", 64, 6, { 0x62, 0xf1, 0x75, 0x48, 0xfe, 0x0e }, true },
    { "vpaddd zmm1, zmm1, m{1to16}", 4, 6, { 0x62, 0xf1, 0x75, 0x58, 0xfe, 0x0e }, true },
    { "vpcmpeqb k2, zmm1, m", 64, 6, { 0x62, 0xf1, 0x75, 0x48, 0x74, 0x16 }, true },
    { "vmovsd m, xmm1", 8, 6, { 0x62, 0xf1, 0xff, 0x08, 0x11, 0x0e }, true },
    { "vpmovdb m, zmm1", 16, 6, { 0x62, 0xf2, 0x7e, 0x48, 0x31, 0x0e }, true },
    { "vextracti64x4 m, zmm1", 32, 7, { 0x62, 0xf3, 0xfd, 0x48, 0x3b, 0x0e, 1 }, true },
    { "vcvtps2ph m, zmm1", 32, 7, { 0x62, 0xf3, 0x7d, 0x48, 0x1d, 0x0e, 0 }, true },
    { "vmovdqu32 zmm1{k1}, m", 64, 6, { 0x62, 0xf1, 0x7e, 0x49, 0x6f, 0x0e }, true },
    { "vmovdqu8 ymm1{k1}{z}, m", 32, 6, { 0x62, 0xf1, 0x7f, 0xa9, 0x6f, 0x0e }, true },
    { "vpaddq zmm1{k1}, zmm1, m", 64, 6, { 0x62, 0xf1, 0xf5, 0x49, 0xd4, 0x0e }, true },
    { "vpaddd zmm1{k1}, zmm1, m{1to16}", 4, 6, { 0x62, 0xf1, 0x75, 0x59, 0xfe, 0x0e }, true },
    { "vmovdqu8 m{k1}, zmm1", 64, 6, { 0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x0e } },
    { "vmovdqu64 m{k1}, ymm1", 32, 6, { 0x62, 0xf1, 0xfe, 0x29, 0x7f, 0x0e } },
    { "vpmovdb m{k1}, zmm1", 16, 6, { 0x62, 0xf2, 0x7e, 0x49, 0x31, 0x0e } },
    { "vextracti64x4 m{k1}, zmm1", 32, 7, { 0x62, 0xf3, 0xfd, 0x49, 0x3b, 0x0e, 1 } },
    { "vpcompressd m{k1}, zmm1", 64, 6, { 0x62, 0xf2, 0x7d, 0x49, 0x8b, 0x0e } },
};

static bool has_evex(void)
{
    return simd_host_has(X86_FEAT_AVX512BW) && simd_host_has(X86_FEAT_AVX512VL) && simd_host_has(X86_FEAT_AVX512DQ);
}

static void map_page(Program *p, uint64_t va, uint64_t entry)
{
    ((uint64_t *)(uintptr_t)(BENCH_TABLES + 0x8000))[(va - BENCH_DATA) >> 12] = entry;
    x86_tlb_flush(p->e.cpu, true);
}

static void random_state(Program *p, unsigned bits, GRand *rand)
{
    InsnState state;

    engines_mode(&p->e, bits, 3);
    insn_state_random(&state, rand);
    insn_state_random_x87(&state, rand);
    state.flags &= ~(uint64_t)FLAG_DF;
    data_random(rand);
    insn_state_load(&state, p->e.cpu);
    p->e.cpu->x87.mxcsr = MXCSR_DEFAULT;
    p->e.cpu->x87.fcw |= 0x3f;
    p->e.cpu->x87.fsw &= ~0x80ff;
    engines_random_avx512(&p->e, rand);
    p->e.cpu->gpr[R_RDI] = 0;
}

/* Flags before it are read behind it.  ALONE: its check is no group's. */
static void make_program(Program *p, const Op *op, bool alone)
{
    unsigned again;

    p->len = 0;
    PUT(p, 0xb9, ROUNDS, 0, 0, 0);              /* mov ecx, ROUNDS */
    again = p->len;
    if (alone) {
        PUT(p, 0x31, 0xfe);                     /* xor esi, edi */
    }
    PUT(p, 0x39, 0xd8);                         /* cmp eax, ebx */
    program_put(p, op->bytes, op->len);
    PUT(p, 0x0f, 0x9c, 0xc3, 0x83, 0xd2, 0x00); /* setl bl; adc edx, 0 */
    PUT(p, 0xff, 0xc9, 0x75, again - (p->len + 4));     /* dec ecx; jnz again */
    PUT(p, 0xf4);
}

/* The program once more, all of it known to the translator: has C run an instruction with an operand in memory? */
static bool needs_c(Program *p)
{
    TcgCpu *tc = tcg_cpu(p->e.cpu);
    bool found = false;

    for (unsigned i = 0; i < ARRAY_LEN(tc->decoded); i++) {
        tc->decoded[i].site = 0;
    }
    engines_load(&p->e, p->e.start, false);
    engines_translate(&p->e);
    for (unsigned i = 0; i < ARRAY_LEN(tc->decoded); i++) {
        found |= tc->decoded[i].site && insn_has_mem(&tc->decoded[i].insn);
    }
    return found;
}

static void expect_no_c(Program *p, const char *what)
{
    if (needs_c(p) && p->failed++ < 20) {
        g_test_message("%s: in C", what);
    }
}

static const struct { const char *name; uint64_t first, second; } pages[] = {
    { "plain pages", FIRST_FRAME | 7, SECOND_FRAME | 7 },
    { "the second missing", FIRST_FRAME | 7, 0 },
    { "the second read-only", FIRST_FRAME | 7, SECOND_FRAME | 5 },
    { "the second the kernel's", FIRST_FRAME | 7, SECOND_FRAME | 3 },
    { "the second not RAM", FIRST_FRAME | 7, ENGINES_MMIO | 7 },
    { "the first missing", 0, SECOND_FRAME | 7 },
    { "the first read-only", FIRST_FRAME | 5, SECOND_FRAME | 7 },
    { "the first not RAM", ENGINES_MMIO | 7, SECOND_FRAME | 7 },
};

static void try_op(Program *p, const Op *op, unsigned bits, GRand *rand)
{
    for (unsigned i = 0; i < (op->size - 1u) * ARRAY_LEN(pages) * 2; i++) {
        unsigned before = 1 + i % (op->size - 1), page = i / (op->size - 1) % ARRAY_LEN(pages);
        bool alone = i / (op->size - 1) / ARRAY_LEN(pages);
        g_autofree char *what = g_strdup_printf("%u-bit %s, %u bytes before, %s%s", bits, op->name, before, pages[page].name,
                                                alone ? ", alone" : "");

        map_page(p, FIRST, pages[page].first);
        map_page(p, SECOND, pages[page].second);
        random_state(p, bits, rand);
        p->e.cpu->gpr[R_RSI] = SECOND - before;
        if (alone) {                            /* both pages of a masked load are in the TLB, or no element takes the second */
            p->e.cpu->k[1] = (p->e.cpu->k[1] & 0xff) | 1;
        }
        if (!alone && pick(rand, 3) == 0) {
            p->e.cpu->x87.mxcsr &= ~0x1000;     /* precision */
        }
        make_program(p, op, alone);
        program_check(p, what, 200);
        if (page == 0 && alone && op->native) {
            expect_no_c(p, what);
        }
        engines_load(&p->e, p->e.start, true);
    }
}

static void test_ops(gconstpointer width)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    unsigned bits = GPOINTER_TO_UINT(width);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
        if (bits == 64 || !ops[i].only64) {
            try_op(&p, &ops[i], bits, rand);
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(evex_ops) && has_evex(); i++) {
        if (bits == 64 || !evex_ops[i].only64) {
            try_op(&p, &evex_ops[i], bits, rand);
        }
    }
    program_clear(&p);
}

/* Enabled elements in one of the pages only, the other being there or not. */
static void test_masks(void)
{
    static const Op masked[] = {
        { "vmovdqu8 zmm1{k1}, m", 1, 6, { 0x62, 0xf1, 0x7f, 0x49, 0x6f, 0x0e } },
        { "vmovdqu8 m{k1}, zmm1", 1, 6, { 0x62, 0xf1, 0x7f, 0x49, 0x7f, 0x0e } },
        { "vmovdqu16 m{k1}, zmm1", 2, 6, { 0x62, 0xf1, 0xff, 0x49, 0x7f, 0x0e } },
        { "vpcmpeqw k2{k1}, zmm1, m", 2, 6, { 0x62, 0xf1, 0x75, 0x49, 0x75, 0x16 } },
        { "vmovdqu32 m{k1}, zmm1", 4, 6, { 0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x0e } },
        { "vmovups zmm1{k1}{z}, m", 4, 6, { 0x62, 0xf1, 0x7c, 0xc9, 0x10, 0x0e } },
        { "vmovdqu64 zmm1{k1}, m", 8, 6, { 0x62, 0xf1, 0xfe, 0x49, 0x6f, 0x0e } },
        { "vmovdqu64 m{k1}, zmm1", 8, 6, { 0x62, 0xf1, 0xfe, 0x49, 0x7f, 0x0e } },
    };
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; has_evex() && i < ARRAY_LEN(masked) * 63 * 4; i++) {
        const Op *op = &masked[i / (63 * 4)];
        unsigned before = 1 + i / 4 % 63, size = op->size, behind = (before + size - 1) / size;     /* elements */
        bool in_second = i & 1, other_missing = i & 2;
        g_autofree char *what = g_strdup_printf("%s, %u bytes before, enabled in the %s%s", op->name, before,
                                                in_second ? "second" : "first", other_missing ? ", the other missing" : "");
        uint64_t all = size == 1 ? ~0ull : BIT64(64 / size) - 1;

        map_page(&p, FIRST, other_missing && in_second ? 0 : pages[0].first);
        map_page(&p, SECOND, other_missing && !in_second ? 0 : pages[0].second);
        random_state(&p, 64, rand);
        p.e.cpu->gpr[R_RSI] = SECOND - before;
        p.e.cpu->k[1] = in_second ? all & -BIT64(behind) : BIT64(before / size) - 1;
        if (!p.e.cpu->k[1] || behind >= 64) {
            continue;
        }
        make_program(&p, op, true);
        program_check(&p, what, 200);
        expect_no_c(&p, what);
        engines_load(&p.e, p.e.start, true);
    }
    program_clear(&p);
}

/*
 * A store whose one piece lies in the page with the code that is running, and changes it: again and again
 * jmp to the program (at the page's start only); mov eax, number; ret.
 */
static void test_code(void)
{
    static const struct { const char *name; uint64_t first, second, function; } cases[] = {
        { "the end of the code's page", BENCH_CODE | 7, SECOND_FRAME | 7, BENCH_CODE + 0xff8 },
        { "the start of the code's page", FIRST_FRAME | 7, BENCH_CODE | 7, BENCH_CODE },
    };
    static const uint8_t unit[8] = { 0xeb, 0x7e, 0xb8, 0, 0, 0, 0, 0xc3 };      /* jmp; mov eax, ...; ret */
    Program p;

    if (!program_init(&p)) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t at = cases[i].function + 2;
        unsigned again;

        map_page(&p, FIRST, cases[i].first);
        map_page(&p, SECOND, cases[i].second);
        p.e.cpu->gpr[R_RSI] = SECOND - 8;
        p.e.cpu->gpr[R_RSP] = BENCH_DATA + 0x800;
        memset(p.code, 0xf4, sizeof(p.code));
        memcpy(p.code, unit, 8);
        memcpy(p.code + 0xff8, unit, 8);
        p.len = 128;
        for (unsigned n = 0; n < 8; n++) {
            p.e.cpu->zmm[1].u8[n] = p.e.cpu->zmm[1].u8[n + 8] = unit[n];
        }
        PUT(&p, 0xb9, 30, 0, 0, 0);                     /* mov ecx, 30 */
        again = p.len;
        PUT(&p, 0x48, 0x31, 0xfe);                      /* xor rsi, rdi */
        PUT(&p, 0x66, 0x0f, 0xc4, 0xc9, 2);             /* pinsrw xmm1, ecx, 2 */
        PUT(&p, 0x66, 0x0f, 0xc4, 0xc9, 6);             /* pinsrw xmm1, ecx, 6 */
        PUT(&p, 0x0f, 0x11, 0x0e);                      /* movups [rsi], xmm1 */
        PUT(&p, 0xe8);                                  /* call function */
        program_put32(&p, at - (BENCH_CODE + p.len + 4));
        PUT(&p, 0x01, 0xc3, 0xff, 0xc9, 0x75, again - (p.len + 6));     /* add ebx, eax; dec ecx; jnz again */
        PUT(&p, 0xf4);
        p.len = 4096;
        program_check(&p, cases[i].name, 500);
        engines_load(&p.e, p.e.interpreted, true);
        g_assert_cmpuint(p.e.cpu->gpr[R_RBX], ==, 30 * 31 / 2 << 8);
        memset(p.e.cpu->gpr, 0, sizeof(p.e.cpu->gpr));
        engines_mode(&p.e, 64, 3);
    }
    program_clear(&p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/tcg/crossing/64", GUINT_TO_POINTER(64), test_ops);
    g_test_add_data_func("/tcg/crossing/32", GUINT_TO_POINTER(32), test_ops);
    g_test_add_func("/tcg/crossing/masks", test_masks);
    g_test_add_func("/tcg/crossing/code", test_code);
    return g_test_run();
}
