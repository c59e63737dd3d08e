/* SPDX-License-Identifier: MIT */
/*
 * Speed of translated code on a small loop with loads, stores, a call and branches, in million guest
 * instructions per second.  A benchmark: nothing is asserted about time.
 */
#include <stdio.h>
#include <time.h>

#include "accel/tcg/translator.h"
#include "tests/insn/bench.h"

/* ecx times: mov rax,[rbx+rdx*8]; add rax,rdx; mov [rbx+rdx*8],rax; inc edx; and edx,255;
 * call f; cmp eax,esi; jne .+0; dec ecx; jnz.  f: xor eax,edx; ret */
static const uint8_t loop[] = {
    0x48, 0x8b, 0x04, 0xd3, 0x48, 0x01, 0xd0, 0x48, 0x89, 0x04, 0xd3, 0xff, 0xc2,
    0x81, 0xe2, 0xff, 0x00, 0x00, 0x00, 0xe8, 0x09, 0x00, 0x00, 0x00, 0x39, 0xf0, 0x75, 0x00,
    0xff, 0xc9, 0x75, 0xe0, 0xf4, 0x31, 0xd0, 0xc3,
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(void)
{
    X86Cpu *cpu = bench_cpu_new();
    X86CodeMap *map = cpu->code;
    GError *error = NULL;
    Translator *tr;
    double start;

    bench_set_mode(cpu, 64, 0);
    memcpy((void *)(uintptr_t)BENCH_CODE, loop, sizeof(loop));
    cpu->rip = BENCH_CODE;
    cpu->gpr[R_RBX] = BENCH_DATA;
    cpu->gpr[R_RSP] = BENCH_DATA + 0x2000;
    cpu->gpr[R_RCX] = 20000000;
    tr = translator_new(16 << 20, map, &error);
    if (!tr || !tcg_signals_init(&error) || !tcg_attach_cpu(tr, cpu, &error)) {
        g_error("%s", error->message);
    }
    start = now();
    tcg_run(cpu);
    printf("%.0f million instructions per second\n", 20e6 * 12 / (now() - start) / 1e6);
    tcg_detach_cpu(cpu);
    translator_free(tr);
    bench_cpu_free(cpu);
    return 0;
}
