/* SPDX-License-Identifier: MIT */
/*
 * AVX-512 by the interpreter, what comparing single rows with the host (host_diff_test.c) does not show: state after
 * a fault in the middle, when instructions exist at all, XCR0 and XSAVE with the components 5 to 7, more
 * thunks than there is place for, and all combinations of EVEX's bits.
 */
#include "target-x86/fpu.h"
#include "target-x86/hostop.h"
#include "tests/insn/maker.h"

#define AVX512_STATE (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
#define END (BENCH_BASE + BENCH_SIZE)       /* memory, then page faults */

static X86Cpu *cpu;

static void set_xcr0(uint64_t value)
{
    cpu->xcr0 = value;
    x86_update_mode(cpu);
}

static void begin(unsigned cpl)
{
    cpu = bench_cpu_new();
    bench_end_memory();
    bench_set_mode(cpu, 64, cpl);
    set_xcr0(XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU | AVX512_STATE);
    for (unsigned i = 0; i < 32; i++) {
        memset(&cpu->zmm[i], 0x10 + i, sizeof(cpu->zmm[i]));
    }
    for (unsigned i = 0; i < 8; i++) {
        cpu->k[i] = 0x0101010101010101 * (i + 1);
    }
}

static void end(void)
{
    bench_cpu_free(cpu);
}

/* The vector raised, or -1. */
static int run(const uint8_t *bytes, unsigned len)
{
    memcpy((void *)(uintptr_t)BENCH_CODE, bytes, len);
    interp_flush(cpu);
    cpu->rip = BENCH_CODE;
    return bench_step(cpu);
}
#define RUN(...) run((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* ---- faults in the middle --------------------------------------------------------------------------- */

static void test_masked_store_is_all_or_nothing(void)
{
    uint32_t *last = (uint32_t *)(uintptr_t)(END - 8);

    begin(3);
    cpu->gpr[R_RBX] = END - 8;
    cpu->k[1] = 2;
    last[0] = last[1] = 0xaaaaaaaa;
    g_assert_cmpint(RUN(0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x03), ==, -1);           /* vmovdqu32 [rbx]{k1}, zmm0 */
    g_assert_cmphex(last[0], ==, 0xaaaaaaaa);
    g_assert_cmphex(last[1], ==, 0x10101010);
    cpu->k[1] = 5;
    g_assert_cmpint(RUN(0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x03), ==, VEC_PF);
    g_assert_cmphex(cpu->cr2, ==, END);
    g_assert_cmphex(last[0], ==, 0xaaaaaaaa);
    cpu->k[1] = 1ull << 16;                     /* beyond the elements there are */
    cpu->gpr[R_RBX] = 0xbad0000000000000;       /* nor is the address looked at */
    g_assert_cmpint(RUN(0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x03), ==, -1);
    end();
}

static void put_indices(void)
{
    for (unsigned i = 0; i < 16; i++) {
        cpu->zmm[2].u32[i] = i == 5 ? 100 : i;          /* element 5 is in the page that is missing */
    }
    cpu->gpr[R_RBX] = END - 64;
    cpu->k[1] = 0xfff7;
}

static void test_gather_is_restartable(void)
{
    uint32_t *last = (uint32_t *)(uintptr_t)(END - 64);

    begin(3);
    put_indices();
    for (unsigned i = 0; i < 16; i++) {
        last[i] = 0xc0 + i;
    }
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x93), ==, VEC_PF);     /* vpgatherdd zmm1{k1}, [rbx+zmm2*4] */
    g_assert_cmphex(cpu->k[1], ==, 0xffe0);
    g_assert_cmphex(cpu->zmm[1].u32[4], ==, 0xc4);
    g_assert_cmphex(cpu->zmm[1].u32[3], ==, 0x11111111);
    g_assert_cmphex(cpu->zmm[1].u32[5], ==, 0x11111111);
    cpu->zmm[2].u32[5] = 5;
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x93), ==, -1);
    g_assert_cmphex(cpu->k[1], ==, 0);
    g_assert_cmphex(cpu->zmm[1].u32[3], ==, 0x11111111);
    g_assert_cmphex(cpu->zmm[1].u32[15], ==, 0xcf);
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x49, 0x90, 0x14, 0x93), ==, VEC_UD);     /* into its index */
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x48, 0x90, 0x0c, 0x93), ==, VEC_UD);     /* without a mask */
    end();
}

static void test_scatter_is_restartable(void)
{
    uint32_t *last = (uint32_t *)(uintptr_t)(END - 64);

    begin(3);
    put_indices();
    memset(last, 0, 64);
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x0c, 0x93), ==, VEC_PF);     /* vpscatterdd [rbx+zmm2*4]{k1}, zmm1 */
    g_assert_cmphex(cpu->k[1], ==, 0xffe0);
    g_assert_cmphex(last[4], ==, 0x11111111);
    g_assert_cmphex(last[3], ==, 0);
    g_assert_cmphex(last[6], ==, 0);
    cpu->zmm[2].u32[5] = 6;                     /* element 6 goes to the same place, later */
    cpu->zmm[1].u32[5] = 0xbad;
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x0c, 0x93), ==, -1);
    g_assert_cmphex(cpu->k[1], ==, 0);
    g_assert_cmphex(last[6], ==, 0x11111111);
    g_assert_cmpint(RUN(0x62, 0xf2, 0x7d, 0x48, 0xa0, 0x0c, 0x93), ==, VEC_UD);
    end();
}

/* ---- when instructions exist --------------------------------------------------------------------------- */

#define VPADDD_ZMM RUN(0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2)
#define VPADDD_YMM RUN(0x62, 0xf1, 0x75, 0x28, 0xfe, 0xc2)
#define VADDSS RUN(0x62, 0xf1, 0x76, 0x08, 0x58, 0xc2)
#define KMOVW RUN(0xc5, 0xf8, 0x90, 0xca)
#define VPOPCNTB_XMM RUN(0x62, 0xf2, 0x7d, 0x08, 0x54, 0xc2)

static void drop(unsigned feature)
{
    cpu->features[feature / 32] &= ~BIT(feature % 32);
}

static void test_existence(void)
{
    begin(0);
    g_assert_cmpint(VPADDD_ZMM, ==, -1);
    g_assert_cmpint(VPADDD_YMM, ==, -1);
    g_assert_cmpint(VADDSS, ==, -1);
    g_assert_cmpint(KMOVW, ==, -1);
    set_xcr0(XCR0_X87 | XCR0_SSE | XCR0_AVX);
    g_assert_cmpint(VPADDD_ZMM, ==, VEC_UD);
    g_assert_cmpint(VADDSS, ==, VEC_UD);
    g_assert_cmpint(KMOVW, ==, VEC_UD);
    set_xcr0(XCR0_X87 | XCR0_SSE | XCR0_AVX | AVX512_STATE);
    x86_write_cr0(cpu, cpu->cr0 | CR0_TS);
    g_assert_cmpint(VPADDD_YMM, ==, VEC_NM);
    g_assert_cmpint(KMOVW, ==, VEC_NM);
    x86_write_cr0(cpu, cpu->cr0 & ~CR0_TS);
    drop(X86_FEAT_AVX512VL);
    g_assert_cmpint(VPADDD_ZMM, ==, -1);
    g_assert_cmpint(VPADDD_YMM, ==, VEC_UD);
    g_assert_cmpint(VPOPCNTB_XMM, ==, VEC_UD);
    g_assert_cmpint(VADDSS, ==, -1);
    drop(X86_FEAT_AVX512F);
    g_assert_cmpint(VPADDD_ZMM, ==, VEC_UD);
    g_assert_cmpint(VADDSS, ==, VEC_UD);
    g_assert_cmpint(KMOVW, ==, VEC_UD);
    end();
}

/* ---- XCR0, XSAVE ---------------------------------------------------------------------------------------- */

static int xsetbv(uint64_t value)
{
    cpu->gpr[R_RAX] = value;
    cpu->gpr[R_RDX] = 0;
    cpu->gpr[R_RCX] = 0;
    return RUN(0x0f, 0x01, 0xd1);
}

static void test_xsetbv(void)
{
    static const uint16_t good[] = { 1, 3, 7, 0xe7, 0x2e7 }, bad[] = { 0x23, 0x27, 0x47, 0x67, 0x87, 0xa7, 0xc7, 0xe3, 0xe5, 0xe6 };

    begin(0);
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        g_assert_cmpint(xsetbv(good[i]), ==, -1);
        g_assert_cmphex(cpu->xcr0, ==, good[i]);
        g_assert_cmpuint(!!(cpu->mode & MODE_AVX512), ==, i >= 3);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        g_assert_cmpint(xsetbv(bad[i]), ==, VEC_GP);
    }
    drop(X86_FEAT_AVX512F);
    g_assert_cmpint(xsetbv(0xe7), ==, VEC_GP);
    end();
}

#define XSAVE RUN(0x0f, 0xae, 0x23)
#define XSAVEOPT RUN(0x0f, 0xae, 0x33)
#define XSAVEC RUN(0x0f, 0xc7, 0x23)
#define XRSTOR RUN(0x0f, 0xae, 0x2b)

static void select_components(uint64_t mask)
{
    cpu->gpr[R_RBX] = BENCH_DATA;
    cpu->gpr[R_RAX] = mask;
    cpu->gpr[R_RDX] = 0;
}

/* All of it comes back, and from where the standard says it is. */
static void test_xsave_round_trip(void)
{
    uint8_t *image = (uint8_t *)(uintptr_t)BENCH_DATA;
    X86Vec zmm[32];
    uint64_t k[8];

    begin(3);
    memcpy(zmm, cpu->zmm, sizeof(zmm));
    memcpy(k, cpu->k, sizeof(k));
    g_assert_cmpuint(xsave_size(0xe7, false), ==, 2688);
    g_assert_cmpuint(xsave_size(0xe7, true), ==, 576 + 256 + 64 + 512 + 1024);
    for (unsigned compacted = 0; compacted < 2; compacted++) {
        memset(image, 0, BENCH_DATA_SIZE);
        select_components(0xe7);
        g_assert_cmpint(compacted ? XSAVEC : XSAVE, ==, -1);
        g_assert_cmphex(le64_load(image + 512) & 0xe6, ==, 0xe6);
        g_assert_cmpmem(image + (compacted ? 832 : 1088) + 8, 8, &k[1], 8);
        g_assert_cmpmem(image + (compacted ? 896 : 1152) + 32, 32, &zmm[1].u64[4], 32);
        g_assert_cmpmem(image + (compacted ? 1408 : 1664) + 64, 64, &zmm[17], 64);
        memset(cpu->zmm, 0x77, sizeof(zmm));
        memset(cpu->k, 0x77, sizeof(k));
        select_components(0xe7);
        g_assert_cmpint(XRSTOR, ==, -1);
        g_assert_cmpmem(cpu->zmm, sizeof(zmm), zmm, sizeof(zmm));
        g_assert_cmpmem(cpu->k, sizeof(k), k, sizeof(k));
    }
    /* A component that the image does not have gets its first values; one not asked for stays. */
    le64_store(image + 512, 0x47);
    select_components(0xa0);
    g_assert_cmpint(XRSTOR, ==, -1);
    g_assert_cmphex(cpu->k[3], ==, 0);
    g_assert_cmphex(cpu->zmm[16].u64[0], ==, 0);
    g_assert_cmphex(cpu->zmm[1].u64[7], ==, zmm[1].u64[7]);
    end();
}

static void test_xsaveopt_leaves_out_what_is_not_in_use(void)
{
    uint8_t *image = (uint8_t *)(uintptr_t)BENCH_DATA;

    begin(3);
    memset(image, 0xcc, BENCH_DATA_SIZE);
    memset(image + 512, 0, 64);
    memset(cpu->k, 0, sizeof(cpu->k));
    memset(&cpu->zmm[16], 0, 16 * sizeof(cpu->zmm[0]));
    select_components(0xe7);
    g_assert_cmpint(XSAVEOPT, ==, -1);
    g_assert_cmphex(le64_load(image + 512) & 0xe6, ==, 0x46);
    g_assert_cmphex(image[1088], ==, 0xcc);
    g_assert_cmphex(image[1152], ==, 0x10);
    g_assert_cmphex(image[1664], ==, 0xcc);
    cpu->zmm[31].u64[7] = 1;
    cpu->k[7] = 1;
    select_components(0xe7);
    g_assert_cmpint(XSAVEOPT, ==, -1);
    g_assert_cmphex(le64_load(image + 512) & 0xe6, ==, 0xe6);
    g_assert_cmphex(le64_load(image + 1664 + 1024 - 8), ==, 1);
    g_assert_cmphex(le64_load(image + 1088 + 56), ==, 1);
    end();
}

/* ---- thunks --------------------------------------------------------------------------------------------- */

static uint64_t ternary(uint64_t a, uint64_t b, uint64_t c, unsigned imm)
{
    uint64_t r = 0;

    for (unsigned i = 0; i < 8; i++) {
        if (imm >> i & 1) {
            r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
        }
    }
    return r;
}

/* A guest may ask for more kinds of instructions than the table holds: they are right all the same. */
static void test_more_thunks_than_places(void)
{
    static const uint8_t others[] = { 0x03, 0x25, 0x1e, 0x1f, 0x3e, 0x3f, 0x23, 0x43, 0x71, 0x73, 0x08, 0x56 };
    X86Vec a, b = { .u64 = { 0x00ff00ff0f0f3355 } }, c = { .u64 = { 0x123456789abcdef0 } };
    uint64_t mask = ~0ull, dummy[8];
    HostEnv env = { .mxcsr = HOST_MXCSR, .host_mxcsr = HOST_MXCSR };
    unsigned made = 0;

    for (unsigned n = 0; n < ARRAY_LEN(others); n++) {
        for (unsigned form = 0; form < 256 * 3 * 2 * 5; form++) {
            bool k = others[n] >= 0x1e && others[n] <= 0x3f && others[n] != 0x23 && others[n] != 0x25;
            unsigned masks = form / (256 * 3 * 2), ll = form / 256 % 3;
            HostEvexOp op = { .opcode = others[n], .imm = form, .has_imm = 1, .map = 3, .pp = 1, .w = form / 768 % 2,
                              .ll = others[n] == 0x23 || others[n] == 0x43 ? 2 : ll, .masked = masks > 0,
                              .z = masks > 2 && !k, .reg = k ? HOST_K : HOST_VEC, .rm = masks % 2 ? HOST_VEC : HOST_MEM,
                              .vvvv = others[n] == 0x08 || others[n] == 0x56 ? HOST_NONE : HOST_VEC,
                              .dst = HOST_DST_REG };

            if (others[n] == 0x08) {
                op.w = 0;
            }
            memset(&a, 0, sizeof(a));
            g_assert_cmpuint(host_evex_run(op, k ? (void *)dummy : &a, &c, &b, &mask, &env), ==, 0);
            made++;
        }
    }
    g_assert_cmpuint(made, >, 1 << 16);
    for (unsigned form = 0; form < 256 * 4; form++) {
        HostEvexOp op = { .opcode = 0x25, .imm = form, .has_imm = 1, .map = 3, .pp = 1, .w = form >> 8 & 1, .ll = 2,
                          .z = form >> 9, .masked = form >> 9, .b = 0, .reg = HOST_VEC, .rm = HOST_VEC,
                          .vvvv = HOST_VEC, .dst = HOST_DST_REG };

        a.u64[0] = 0xf0f0ff00cccc5a5a;
        g_assert_cmpuint(host_evex_run(op, &a, &c, &b, &mask, &env), ==, 0);
        g_assert_cmphex(a.u64[0], ==, ternary(0xf0f0ff00cccc5a5a, b.u64[0], c.u64[0], form & 0xff));
    }
}

/* ---- all forms ------------------------------------------------------------------------------------------ */

/* Where addresses lead to memory, and gathers' indices to its start. */
static void settle_registers(void)
{
    for (unsigned i = 0; i < 16; i++) {
        cpu->gpr[i] = i == R_RDX ? 0 : BENCH_DATA + 0x1000;
    }
    cpu->zmm[2] = (X86Vec){ .u64 = { 0 } };
    cpu->k[1] = 5;
}

/* OP with this P1 and P2, and each ModRM.reg: with [rax+rdx], or register 1.  How many there are. */
static unsigned try_forms(unsigned map, unsigned op, unsigned p1, unsigned p2)
{
    unsigned count = 0;

    for (unsigned modrm = 0; modrm < 16; modrm++) {
        uint8_t bytes[INSN_MAX_LEN] = { 0x62, 0xf0 | map, p1, p2, op, (modrm & 7) << 3 | (modrm & 8 ? 0xc1 : 4),
                                        modrm & 8 ? 0 : 0x10 };
        Insn insn;
        int vector;

        if (insn_decode(&insn, bytes, sizeof(bytes), cpu->mode, cpu) != DECODE_OK) {
            continue;
        }
        settle_registers();
        vector = run(bytes, insn.len);
        if (vector != (simd_host_has(insn.def->feature) ? -1 : VEC_UD)) {
            g_error("%s 62 %02x %02x %02x %02x %02x raises %d", insn.def->name, bytes[1], p1, p2, op, bytes[5], vector);
        }
        count++;
    }
    return count;
}

/* What is decoded this host executes, with all of mask, zeroing, broadcast and length: else it would be the end of the process. */
static void test_every_form(void)
{
    unsigned count = 0;

    begin(3);
    for (unsigned n = 0; n < 3 * 256 * 8; n++) {
        unsigned map = 1 + n / 8 / 256, op = n / 8 % 256, p1 = (n & 4) << 5 | 4 | (n & 3);

        for (unsigned p2 = 0; p2 < 256; p2++) {
            if ((p2 & 7) <= 1 && (p2 & 8)) {
                count += try_forms(map, op, p1 | 0x78, p2) + try_forms(map, op, p1 | 0x60, p2);
            }
        }
    }
    g_test_message("%u forms", count);
    g_assert_cmpuint(count, >, 100000);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!simd_host_has(X86_FEAT_AVX512F) || !simd_host_has(X86_FEAT_AVX512_BITALG)) {
        g_test_message("the host has no AVX-512");
        return 77;
    }
    g_assert_true(host_op_init(NULL));
    g_test_add_func("/insn/evex/masked-store", test_masked_store_is_all_or_nothing);
    g_test_add_func("/insn/evex/gather", test_gather_is_restartable);
    g_test_add_func("/insn/evex/scatter", test_scatter_is_restartable);
    g_test_add_func("/insn/evex/existence", test_existence);
    g_test_add_func("/insn/evex/xsetbv", test_xsetbv);
    g_test_add_func("/insn/evex/xsave", test_xsave_round_trip);
    g_test_add_func("/insn/evex/xsaveopt", test_xsaveopt_leaves_out_what_is_not_in_use);
    g_test_add_func("/insn/evex/thunks", test_more_thunks_than_places);
    g_test_add_func("/insn/evex/every-form", test_every_form);
    return g_test_run();
}
