/* SPDX-License-Identifier: MIT */
/*
 * The interpreter's loop: block cache, self-modifying code, page crossing, rep and kicks,
 * single-step, exact restart after a fault, code outside 64-bit mode.
 */
#include "tests/insn/bench.h"

static X86Cpu *cpu;
static uint8_t *const code = (uint8_t *)(uintptr_t)BENCH_CODE;
static uint8_t *const data = (uint8_t *)(uintptr_t)BENCH_DATA;

static void setup(unsigned bits, unsigned cpl)
{
    bench_set_mode(cpu, bits, cpl);
    interp_flush(cpu);
    memset(cpu->gpr, 0, sizeof(cpu->gpr));
    x86_set_rflags(cpu, 0);
    cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
    cpu->rip = BENCH_CODE;
    cpu->halted = false;
    cpu->idt.limit = 0;
    cpu->fault_count = 0;
    x86_update_mode(cpu);
}

static void plant(uint64_t at, const char *bytes, unsigned len)
{
    memcpy((void *)(uintptr_t)at, bytes, len);
}
#define PLANT(at, bytes) plant(at, bytes, sizeof(bytes) - 1)

/* mov ecx, N; loop: dec ecx; jnz loop; hlt */
static void test_loop_runs_to_halt(void)
{
    setup(64, 0);
    PLANT(BENCH_CODE, "\xb9\x40\x42\x0f\x00" "\xff\xc9" "\x75\xfc" "\xf4");
    g_assert_cmpint(interp_run(cpu), ==, X86_EXIT_HALT);
    g_assert_cmphex(cpu->rip, ==, BENCH_CODE + 10);
    g_assert_cmpuint(cpu->gpr[R_RCX], ==, 0);
}

static void test_instruction_count_is_exact(void)
{
    uint64_t before;

    setup(64, 0);
    PLANT(BENCH_CODE, "\xb9\x0a\x00\x00\x00" "\xff\xc9" "\x75\xfc" "\xf4");
    before = cpu->insn_count;
    interp_run(cpu);
    g_assert_cmpuint(cpu->insn_count - before, ==, 1 + 20 + 1);
}

/* A store into the next instruction of the same block takes effect at once. */
static void test_same_block_modification(void)
{
    setup(64, 0);
    /* mov byte [rip+1], 7; mov al, 1; hlt */
    PLANT(BENCH_CODE, "\xc6\x05\x01\x00\x00\x00\x07" "\xb0\x01" "\xf4");
    interp_run(cpu);
    g_assert_cmpuint(cpu->gpr[R_RAX], ==, 7);
}

/* Code that ran before and is overwritten later is decoded anew. */
static void test_modified_code_is_decoded_again(void)
{
    setup(64, 0);
    PLANT(BENCH_CODE + 0x100, "\xb0\x01\xc3");              /* mov al, 1; ret */
    /* call +0x100; mov bl, al; mov byte [rip..], 9; call; hlt */
    PLANT(BENCH_CODE, "\xe8\xfb\x00\x00\x00" "\x88\xc3" "\xc6\x05\xf3\x00\x00\x00\x09"
                      "\xe8\xed\x00\x00\x00" "\xf4");
    interp_run(cpu);
    g_assert_cmpuint(cpu->gpr[R_RBX], ==, 1);
    g_assert_cmpuint(cpu->gpr[R_RAX], ==, 9);
}

/* Code that is written before each of many calls: the blocks of before are not looked through. */
static void test_code_modified_often(void)
{
    uint32_t sum = 0;

    setup(64, 0);
    PLANT(BENCH_CODE + 0x100, "\xb0\x01\xc3");              /* mov al, N; ret */
    /* mov ecx, 100000; xor ebx, ebx; loop: mov [N], cl; call; movzx eax, al; add ebx, eax;
     * dec ecx; jnz loop; hlt */
    PLANT(BENCH_CODE, "\xb9\xa0\x86\x01\x00\x31\xdb\x88\x0d\xf4\x00\x00\x00\xe8"
                      "\xee\x00\x00\x00\x0f\xb6\xc0\x01\xc3\xff\xc9\x75\xec\xf4");
    for (uint32_t i = 1; i <= 100000; i++) {
        sum += i & 0xff;
    }
    interp_run(cpu);
    g_assert_cmpuint(cpu->gpr[R_RBX], ==, sum);
}

/* Data beside code on one page is stored without harm, code stays valid. */
static void test_data_on_a_code_page(void)
{
    setup(64, 0);
    /* mov ecx, 1000; loop: mov [rip+0x800], ecx; dec ecx; jnz; hlt */
    PLANT(BENCH_CODE, "\xb9\xe8\x03\x00\x00" "\x89\x0d\x00\x08\x00\x00" "\xff\xc9" "\x75\xf6" "\xf4");
    interp_run(cpu);
    g_assert_cmpuint(cpu->gpr[R_RCX], ==, 0);
    g_assert_cmpuint(le32_load(code + 0x80b), ==, 1);
}

static void test_instruction_across_pages(void)
{
    setup(64, 0);
    PLANT(BENCH_CODE + 0xffd, "\xb8\x78\x56\x34\x12" "\xf4");
    cpu->rip = BENCH_CODE + 0xffd;
    interp_run(cpu);
    g_assert_cmphex(cpu->gpr[R_RAX], ==, 0x12345678);
    /* Change the part on the second page only. */
    setup(64, 0);
    code[0x1000] = 0xaa;
    cpu->rip = BENCH_CODE + 0xffd;
    interp_run(cpu);
    g_assert_cmphex(cpu->gpr[R_RAX], ==, 0x12aa5678);
}

static void test_rep_movs_over_pages(void)
{
    setup(64, 0);
    for (unsigned i = 0; i < 0x2800; i++) {
        data[i] = i * 7;
    }
    PLANT(BENCH_CODE, "\xf3\xa4\xf4");
    cpu->gpr[R_RSI] = BENCH_DATA + 3;
    cpu->gpr[R_RDI] = BENCH_DATA + 0x10005;
    cpu->gpr[R_RCX] = 0x2700;
    interp_run(cpu);
    g_assert_cmpmem(data + 3, 0x2700, data + 0x10005, 0x2700);
    g_assert_cmphex(cpu->gpr[R_RDI], ==, BENCH_DATA + 0x10005 + 0x2700);
    g_assert_cmpuint(cpu->gpr[R_RCX], ==, 0);
}

/* An overlapping copy repeats its pattern byte by byte, as hardware does. */
static void test_rep_movs_overlapping(void)
{
    setup(64, 0);
    memcpy(data, "abc", 3);
    PLANT(BENCH_CODE, "\xf3\xa4\xf4");
    cpu->gpr[R_RSI] = BENCH_DATA;
    cpu->gpr[R_RDI] = BENCH_DATA + 3;
    cpu->gpr[R_RCX] = 9;
    interp_run(cpu);
    g_assert_cmpmem(data, 12, "abcabcabcabc", 12);
}

static void test_kick_ends_an_endless_loop(void)
{
    setup(64, 0);
    PLANT(BENCH_CODE, "\xeb\xfe");
    x86_cpu_request(cpu, X86_REQ_EXIT);
    g_assert_cmpint(interp_run(cpu), ==, X86_EXIT_KICK);
    g_assert_cmphex(cpu->rip, ==, BENCH_CODE);
}

static void test_step_runs_one_instruction(void)
{
    setup(64, 0);
    PLANT(BENCH_CODE, "\xff\xc0\xff\xc0\xf4");
    g_assert_cmpint(interp_step(cpu), ==, X86_EXIT_STEP);
    g_assert_cmpuint(cpu->gpr[R_RAX], ==, 1);
    g_assert_cmphex(cpu->rip, ==, BENCH_CODE + 2);
}

/* A fault leaves registers, RSP included, as they were. */
static void test_fault_commits_nothing(void)
{
    setup(64, 0);
    PLANT(BENCH_CODE, "\xff\xc0" "\x8f\x03" "\xf4");        /* inc eax; pop [rbx] */
    cpu->gpr[R_RBX] = 0x0000800000000000;
    g_assert_cmpint(interp_run(cpu), ==, X86_EXIT_TRIPLE_FAULT);
    g_assert_cmpuint(cpu->faults[0].event.vector, ==, VEC_GP);
    g_assert_cmphex(cpu->faults[0].rip, ==, BENCH_CODE + 2);
    g_assert_cmphex(cpu->faults[0].rsp, ==, BENCH_DATA + 0x2000);
}

static void expect_fault(const char *bytes, unsigned len, unsigned vector)
{
    setup(64, 0);
    plant(BENCH_CODE, bytes, len);
    g_assert_cmpint(bench_step(cpu), ==, vector);
}

static void test_lock_is_only_for_memory_destinations(void)
{
    expect_fault("\xf0\x01\xc0", 3, VEC_UD);                /* lock add eax, eax */
    expect_fault("\xf0\x03\x03", 3, VEC_UD);                /* lock add eax, [rbx] */
    expect_fault("\xf0\x39\x03", 3, VEC_UD);                /* lock cmp [rbx], eax */
}

static void test_divide_errors(void)
{
    expect_fault("\xf7\xf1", 2, VEC_DE);                    /* div ecx, 0 */
    expect_fault("\xf7\xf9", 2, VEC_DE);
}

/* Decimal arithmetic has no 64-bit form for the host to compare with. */
static void decimal(const char *op, uint64_t rax, uint64_t flags, uint64_t want_rax, uint64_t want_flags)
{
    uint64_t mask = FLAG_CF | FLAG_AF;

    setup(32, 0);
    plant(BENCH_CODE, op, 2);
    cpu->gpr[R_RAX] = rax;
    x86_set_rflags(cpu, flags);
    g_assert_cmpint(bench_step(cpu), ==, -1);
    g_assert_cmphex(cpu->gpr[R_RAX], ==, want_rax);
    g_assert_cmphex(x86_rflags(cpu) & mask, ==, want_flags);
}

static void test_decimal_adjustments(void)
{
    decimal("\x27\x90", 0x7d, 0, 0x83, FLAG_AF);                        /* DAA */
    decimal("\x27\x90", 0x9a, 0, 0x00, FLAG_AF | FLAG_CF);
    decimal("\x2f\x90", 0x2d, FLAG_AF, 0x27, FLAG_AF);                  /* DAS */
    decimal("\x2f\x90", 0x01, FLAG_CF | FLAG_AF, 0x9b, FLAG_AF | FLAG_CF);
    decimal("\x37\x90", 0x000b, 0, 0x0101, FLAG_AF | FLAG_CF);          /* AAA */
    decimal("\x3f\x90", 0x020b, 0, 0x0105, FLAG_AF | FLAG_CF);          /* AAS */
    decimal("\xd4\x0a", 0x0047, 0, 0x0701, 0);                          /* AAM */
    decimal("\xd5\x0a", 0x0701, 0, 0x0047, 0);                          /* AAD */
}

/* 32-bit code: 16-bit operands keep the upper half, pushes are 4 bytes, addresses wrap. */
static void test_32_bit_code(void)
{
    setup(32, 0);
    PLANT(BENCH_CODE, "\x66\xb8\x34\x12" "\x50" "\x8b\x5c\x24\x00" "\xf4");
    cpu->gpr[R_RAX] = 0xffff0000;
    interp_run(cpu);
    g_assert_cmphex(cpu->gpr[R_RBX], ==, 0xffff1234);
    g_assert_cmphex(cpu->gpr[R_RSP], ==, BENCH_DATA + 0x2000 - 4);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    cpu = bench_cpu_new();
    g_test_add_func("/interp/loop", test_loop_runs_to_halt);
    g_test_add_func("/interp/instruction-count", test_instruction_count_is_exact);
    g_test_add_func("/interp/smc/same-block", test_same_block_modification);
    g_test_add_func("/interp/smc/other-block", test_modified_code_is_decoded_again);
    g_test_add_func("/interp/smc/often", test_code_modified_often);
    g_test_add_func("/interp/smc/data-beside-code", test_data_on_a_code_page);
    g_test_add_func("/interp/page-crossing", test_instruction_across_pages);
    g_test_add_func("/interp/rep/pages", test_rep_movs_over_pages);
    g_test_add_func("/interp/rep/overlap", test_rep_movs_overlapping);
    g_test_add_func("/interp/kick", test_kick_ends_an_endless_loop);
    g_test_add_func("/interp/step", test_step_runs_one_instruction);
    g_test_add_func("/interp/fault", test_fault_commits_nothing);
    g_test_add_func("/interp/lock", test_lock_is_only_for_memory_destinations);
    g_test_add_func("/interp/divide", test_divide_errors);
    g_test_add_func("/interp/decimal", test_decimal_adjustments);
    g_test_add_func("/interp/code32", test_32_bit_code);
    status = g_test_run();
    bench_cpu_free(cpu);
    return status;
}
