/* SPDX-License-Identifier: MIT */
/* MSRs, SMM, INIT, MONITOR on a bare CPU; and random system code in random states. */
#include "target-x86/msr.h"
#include "target-x86/smm.h"
#include "target-x86/system_bench.h"

/* ---- MSRs, SMM ---- */

static void test_msr_rules(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();
    uint64_t v;

    g_assert_true(x86_msr_write(b->cpu, MSR_LSTAR, 0xffff800000000000ull));
    g_assert_false(x86_msr_write(b->cpu, MSR_LSTAR, 0x0100000000000000ull));
    g_assert_false(x86_msr_write(b->cpu, MSR_PAT, 2));
    g_assert_false(x86_msr_write(b->cpu, MSR_EFER, BIT64(40)));
    g_assert_false(x86_msr_read(b->cpu, 0x12345, &v));
    g_assert_true(x86_msr_write(b->cpu, MSR_MTRR_PHYSBASE0 + 3, 0xff00000800ull));
    g_assert_true(x86_msr_read(b->cpu, MSR_MTRR_PHYSBASE0 + 3, &v));
    g_assert_cmphex(v, ==, 0xff00000800ull);
    g_assert_false(x86_msr_write(b->cpu, MSR_MTRRCAP, 0));
    g_assert_true(x86_msr_write(b->cpu, MSR_TSC_ADJUST, 1000));
    g_assert_cmpint(b->cpu->tsc_offset, ==, 1000);
}

static void smm_round_trip(bool long_mode)
{
    g_autoptr(X86Bench) b = long_mode ? long_bench(3) : protected_bench(3);
    X86Cpu *cpu = b->cpu;

    if (!long_mode) {
        cpu->features[FEAT_8000_0001_EDX] &= ~BIT(29);
    }
    CODE_AT(b, CODE3, "\x90\x90\xcd\x21");
    put_gate(b, 0x21, long_mode ? SEL_CODE64 : SEL_CODE, HANDLER, 15, 3, long_mode);
    cpu->gpr[R_RBX] = 0x1234;
    /* At 30000h + 8000h: move SMBASE to 200000h (cs:[ff00] or cs:[fef8]); rsm */
    if (long_mode) {
        CODE_AT(b, 0x38000, "\x66\x2e\xc7\x06\x00\xff\x00\x00\x20\x00\x66\x31\xdb\x0f\xaa");
    } else {
        CODE_AT(b, 0x38000, "\x66\x2e\xc7\x06\xf8\xfe\x00\x00\x20\x00\x66\x31\xdb\x0f\xaa");
    }
    x86_cpu_request(cpu, X86_REQ_SMI);
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_false(cpu->smm);
    g_assert_cmphex(cpu->gpr[R_RBX], ==, 0x1234);
    g_assert_cmphex(cpu->msrs.smbase, ==, 0x200000);
    g_assert_cmphex(cpu->cpl, ==, 0);
    g_assert_cmphex(cpu->segs[SEG_CS].sel, ==, long_mode ? SEL_CODE64 : SEL_CODE);
    g_assert_cmphex(cpu->msrs.smi_count, ==, 1);
}

static void test_smm_64(void)
{
    smm_round_trip(true);
}

static void test_smm_32(void)
{
    smm_round_trip(false);
}

static void test_rsm_outside_smm_is_ud(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);

    CODE_AT(b, CODE, "\x0f\xaa");
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpint(b->cpu->previous.vector, ==, VEC_UD);
}

static void test_init_and_sipi(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);

    b->cpu->msrs.apicbase &= ~BIT64(8);
    x86_cpu_request(b->cpu, X86_REQ_INIT);
    g_assert_cmpint(interp_run(b->cpu), ==, X86_EXIT_HALT);
    g_assert_true(b->cpu->wait_sipi);
    CODE_AT(b, 0x5000, "\xf4");
    b->cpu->sipi_vector = 5;
    x86_cpu_request(b->cpu, X86_REQ_SIPI);
    g_assert_cmpint(interp_run(b->cpu), ==, X86_EXIT_HALT);
    g_assert_cmphex(b->cpu->segs[SEG_CS].base, ==, 0x5000);
    g_assert_cmphex(b->cpu->rip, ==, 1);
}

/* INIT leaves the x87, vectors of all widths, masks and what XCR0 has on as they are [SDM3A table 10-1]. */
static void test_init_keeps_vectors(void)
{
    g_autoptr(X86Bench) b = protected_bench(0);
    X86Cpu *cpu = b->cpu;
    uint8_t zmm[sizeof(cpu->zmm)];

    for (unsigned i = 0; i < sizeof(zmm); i++) {
        zmm[i] = i + i / 256;
    }
    memcpy(cpu->zmm, zmm, sizeof(zmm));
    for (unsigned i = 0; i < 8; i++) {
        cpu->k[i] = 0x1234567800000000 + i;
    }
    cpu->x87.st[3].mantissa = 0x8000000000000003;
    cpu->x87.fcw = 0x27f;
    cpu->x87.mxcsr = 0x9fc0;
    cpu->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
    cpu->msrs.apicbase &= ~BIT64(8);
    x86_cpu_request(cpu, X86_REQ_INIT);
    g_assert_cmpint(interp_run(cpu), ==, X86_EXIT_HALT);
    g_assert_true(cpu->wait_sipi);
    g_assert_cmpmem(cpu->zmm, sizeof(cpu->zmm), zmm, sizeof(zmm));
    for (unsigned i = 0; i < 8; i++) {
        g_assert_cmphex(cpu->k[i], ==, 0x1234567800000000 + i);
    }
    g_assert_cmphex(cpu->x87.st[3].mantissa, ==, 0x8000000000000003);
    g_assert_cmphex(cpu->x87.fcw, ==, 0x27f);
    g_assert_cmphex(cpu->x87.mxcsr, ==, 0x9fc0);
    g_assert_cmphex(cpu->xcr0, ==, 0xe7);
    x86_cpu_reset(cpu, false);
    g_assert_cmphex(cpu->zmm[31].u64[7] | cpu->k[7] | cpu->zmm[1].u64[0], ==, 0);
    g_assert_cmphex(cpu->xcr0, ==, XCR0_X87);
}

/* Random tables, code and state: every step must end, and nothing of ours may break. */
static void test_random_state(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(7);

    for (unsigned round = 0; round < 2000; round++) {
        g_autoptr(X86Bench) b = round & 1 ? long_bench(0) : protected_bench(round & 2 ? 3 : 0);
        X86Cpu *cpu = b->cpu;

        for (unsigned at = round % 3 ? CODE : GDT; at < (round % 5 ? 0x22000 : 0x34000); at += 4) {
            put32(b, at, g_rand_int(r));
        }
        for (unsigned i = 0; i < R_COUNT - 1; i++) {
            cpu->gpr[i] = g_rand_int_range(r, 0, 4) ? g_rand_int(r) & 0x3fffff
                                                    : (uint64_t)g_rand_int(r) << 32 | g_rand_int(r);
        }
        for (unsigned step = 0; step < 300; step++) {
            X86Exit exit;

            if (g_rand_int_range(r, 0, 8) == 0) {
                /* System opcodes more often than chance has them. */
                static const uint8_t seeds[][3] = {
                    { 0x0f, 0x00, 0xd8 }, { 0x0f, 0x01, 0x18 }, { 0x0f, 0x22, 0xc0 },
                    { 0x0f, 0x22, 0xe0 }, { 0x0f, 0x22, 0xd8 }, { 0x0f, 0x30, 0x90 },
                    { 0xcf, 0x90, 0x90 }, { 0xcb, 0x90, 0x90 }, { 0x8e, 0xd8, 0x90 },
                    { 0xff, 0x2b, 0x90 }, { 0xff, 0x1b, 0x90 }, { 0x0f, 0xaa, 0x90 },
                    { 0x0f, 0x05, 0x90 }, { 0x0f, 0x07, 0x90 }, { 0x0f, 0x34, 0x90 },
                    { 0xcd, 0x0d, 0x90 }, { 0x9d, 0x90, 0x90 }, { 0x0f, 0x23, 0xf8 },
                };
                uint64_t gpa;

                if (x86_mmu_peek(cpu, cpu->segs[SEG_CS].base + cpu->rip, &gpa) &&
                    gpa < BENCH_RAM - 16) {
                    memcpy(b->ram + gpa, seeds[g_rand_int_range(r, 0, ARRAY_LEN(seeds))], 3);
                    interp_flush(cpu);
                }
            }
            if (g_rand_int_range(r, 0, 100) == 0 && !cpu->smm) {
                x86_cpu_request(cpu, X86_REQ_SMI);
            }
            if (atomic_load(&cpu->requests) && x86_has_work(cpu) && !cpu->event.pending &&
                !cpu->interrupt_shadow && (atomic_load(&cpu->requests) & X86_REQ_SMI)) {
                g_assert_true(x86_service_requests(cpu));
            }
            exit = interp_step(cpu);
            if (exit == X86_EXIT_TRIPLE_FAULT) {
                g_autoptr(GString) text = g_string_new(NULL);

                x86_describe_faults(cpu, text);
                g_assert_cmpuint(text->len, >, 100);
                break;
            }
            cpu->halted = false;
        }
    }
}

/* ---- MONITOR, MWAIT ---- */

enum { REAL_CODE = 0x1000 };

static unsigned dozes;
static unsigned write_after;        /* dozes until somebody else writes to the line */

static void count_doze(void *opaque, X86Cpu *cpu, int64_t ns)
{
    X86Bench *b = opaque;

    if (++dozes == write_after) {
        b->ram[0x2538]++;
    }
}

static void mwait(X86Bench *b, bool store_between)
{
    /* mov ax, 2500h; monitor; [mov byte [2530h], 1]; mwait; hlt */
    static const uint8_t plain[] = { 0xb8, 0x00, 0x25, 0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9, 0xf4 };
    static const uint8_t store[] = { 0xb8, 0x00, 0x25, 0x0f, 0x01, 0xc8, 0xc6, 0x06, 0x30, 0x25, 0x01,
                                     0x0f, 0x01, 0xc9, 0xf4 };

    unsigned at = store_between ? REAL_CODE + 0x100 : REAL_CODE;      /* decoded once */

    b->bus.doze = count_doze;
    b->cpu->gpr[R_RCX] = 0;
    x86_bench_code(b, at, store_between ? store : plain, store_between ? sizeof(store) : sizeof(plain));
    b->cpu->halted = false;
    x86_bench_start_real(b, at);
    dozes = 0;
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
}

static void test_mwait_waits_for_its_line(void)
{
    g_autoptr(X86Bench) b = x86_bench_new();

    write_after = 0;
    mwait(b, false);
    g_assert_cmpuint(dozes, ==, 20);        /* nobody writes: it ends by itself */
    write_after = 3;
    mwait(b, false);
    g_assert_cmpuint(dozes, ==, 3);
    write_after = 0;
    mwait(b, true);
    g_assert_cmpuint(dozes, ==, 0);         /* written between the two */
}

static void test_mwait_needs_monitor(void)
{
    static const uint8_t code[] = { 0x0f, 0x01, 0xc9, 0xf4 };
    g_autoptr(X86Bench) b = x86_bench_new();

    b->bus.doze = count_doze;
    b->cpu->gpr[R_RCX] = 0;
    x86_bench_code(b, REAL_CODE, code, sizeof(code));
    b->cpu->halted = false;
    x86_bench_start_real(b, REAL_CODE);
    dozes = 0;
    g_assert_cmpint(x86_bench_run(b), ==, X86_EXIT_HALT);
    g_assert_cmpuint(dozes, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/system/msr", test_msr_rules);
    g_test_add_func("/x86/system/smm/64", test_smm_64);
    g_test_add_func("/x86/system/smm/32", test_smm_32);
    g_test_add_func("/x86/system/smm/rsm-ud", test_rsm_outside_smm_is_ud);
    g_test_add_func("/x86/system/init-sipi", test_init_and_sipi);
    g_test_add_func("/x86/system/init-sipi-keeps", test_init_keeps_vectors);
    g_test_add_func("/x86/system/random", test_random_state);
    g_test_add_func("/x86/mwait/waits", test_mwait_waits_for_its_line);
    g_test_add_func("/x86/mwait/needs-monitor", test_mwait_needs_monitor);
    return g_test_run();
}
