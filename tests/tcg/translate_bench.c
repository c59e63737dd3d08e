/* SPDX-License-Identifier: MIT */
/*
 * Cost of translation: this program's own code, block after block, without running it, in nanoseconds per
 * instruction.  A benchmark: nothing is asserted about time.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "accel/tcg/translator.h"
#include "tests/insn/bench.h"

extern const uint8_t __executable_start[], etext[];

#define ROUNDS 10

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* The page of code that is in guest memory now. */
static unsigned translate_page(Translator *tr, X86Cpu *cpu)
{
    unsigned count = 0;

    for (unsigned off = 0; off < 4096;) {
        uint64_t va = BENCH_CODE + off;
        TcgBlock *block;

        cpu->rip = va;
        block = tcg_translate(tr, cpu, false, va, va, (const uint8_t *)(uintptr_t)va);
        if (!block) {
            break;
        }
        off += block->bytes;
        count += block->count;
    }
    return count;
}

int main(void)
{
    X86Cpu *cpu = bench_cpu_new();
    GError *error = NULL;
    size_t pages = (etext - (const uint8_t *)main) / 4096;
    Translator *tr;
    unsigned count = 0;
    double start, spent = 0;

    bench_set_mode(cpu, 64, 3);
    tr = translator_new(512 << 20, cpu->code, &error);
    if (!tr || !tcg_signals_init(&error) || !tcg_attach_cpu(tr, cpu, &error)) {
        g_error("%s", error->message);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t page = 0; page < pages; page++) {
            code_map_written(cpu->code, BENCH_CODE, 4096);
            memcpy((void *)(uintptr_t)BENCH_CODE, (const uint8_t *)main + page * 4096, 4096);
            start = now();
            count += translate_page(tr, cpu);
            spent += now() - start;
        }
    }
    printf("%u instructions, %.0f ns each\n", count, spent / count * 1e9);
    tcg_detach_cpu(cpu);
    translator_free(tr);
    bench_cpu_free(cpu);
    return 0;
}
