/* SPDX-License-Identifier: MIT */
/*
 * Kernels of copying and filling: the REP string instructions, and the C library's functions, which
 * choose their code by CPUID.
 */
#include "bench.h"

#include <string.h>

enum { BUFFER = 64 << 10, LARGE_ROUNDS = 40, MIXED_CALLS = 40000, PAGE_CALLS = 2000, SHORT_CALLS = 20000 };

static uint8_t *source, *target;
static uint16_t *sizes;

static bool copy_start(void)
{
    uint64_t seed = 6;

    source = bench_memory(BUFFER);
    target = bench_memory(BUFFER);
    sizes = bench_memory(MIXED_CALLS * sizeof(*sizes));
    for (int i = 0; i < BUFFER; i++) {
        source[i] = (uint8_t)(next_random(&seed) >> 11);
    }
    /* Mostly short, as programs' copies are: 0 to 31, and every eighth to 287. */
    for (int i = 0; i < MIXED_CALLS; i++) {
        uint64_t r = next_random(&seed) >> 9;

        sizes[i] = (uint16_t)(r % 32 + (r >> 20 & 7 ? 0 : r >> 24 & 255));
    }
    return true;
}

static uint64_t digest(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < BUFFER; i += 512) {
        uint64_t word;

        memcpy(&word, target + i, sizeof(word));
        sum = mix(sum, word);
    }
    return sum;
}

static void rep_movsb(void *to, const void *from, size_t count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) :: "memory");
}

static void rep_movsq(void *to, const void *from, size_t count)
{
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) :: "memory");
}

static void rep_stosb(void *to, int value, size_t count)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
}

static uint64_t movsb_run(void)
{
    memset(target, 0, BUFFER);
    for (int i = 0; i < LARGE_ROUNDS; i++) {
        rep_movsb(target, source, BUFFER);
    }
    return digest();
}

static uint64_t movsq_run(void)
{
    memset(target, 0, BUFFER);
    for (int i = 0; i < LARGE_ROUNDS; i++) {
        rep_movsq(target, source, BUFFER / 8);
    }
    return digest();
}

static uint64_t stosb_run(void)
{
    for (int i = 0; i < LARGE_ROUNDS; i++) {
        rep_stosb(target, i, BUFFER);
    }
    return digest();
}

/* What the kernel's copies between user and kernel look like: short, unaligned. */
static uint64_t short_movsb_run(void)
{
    memset(target, 0, BUFFER);
    for (int i = 0; i < SHORT_CALLS; i++) {
        rep_movsb(target + i % 4096 * 3, source + i % 1000, 48);
    }
    return digest();
}

static uint64_t mixed_memcpy_run(void)
{
    size_t at = 0;

    memset(target, 0, BUFFER);
    for (int i = 0; i < MIXED_CALLS; i++) {
        at = (at + 61) & (BUFFER / 2 - 1);
        memcpy(target + at, source + BUFFER / 2 - at, sizes[i]);
        memory_barrier();
    }
    return digest();
}

static uint64_t mixed_memset_run(void)
{
    size_t at = 0;

    memset(target, 0, BUFFER);
    for (int i = 0; i < MIXED_CALLS; i++) {
        at = (at + 61) & (BUFFER / 2 - 1);
        memset(target + at, i, sizes[i]);
        memory_barrier();
    }
    return digest();
}

static uint64_t page_memcpy_run(void)
{
    memset(target, 0, BUFFER);
    for (int i = 0; i < PAGE_CALLS; i++) {
        memcpy(target + i % 16 * 4096, source + i % 15 * 4096, 4096);
        memory_barrier();
    }
    return digest();
}

static uint64_t page_memset_run(void)
{
    for (int i = 0; i < PAGE_CALLS; i++) {
        memset(target + i % 16 * 4096, i, 4096);
        memory_barrier();
    }
    return digest();
}

/* clang-format off */
const Kernel copy_kernels[] = {
    { "rep-movsb-64k", "copy", "byte", BUFFER * LARGE_ROUNDS, copy_start, movsb_run },
    { "rep-movsq-64k", "copy", "byte", BUFFER * LARGE_ROUNDS, copy_start, movsq_run },
    { "rep-stosb-64k", "copy", "byte", BUFFER * LARGE_ROUNDS, copy_start, stosb_run },
    { "rep-movsb-48",  "copy", "call", SHORT_CALLS,           copy_start, short_movsb_run },
    { "memcpy-mixed",  "copy", "call", MIXED_CALLS,           copy_start, mixed_memcpy_run },
    { "memset-mixed",  "copy", "call", MIXED_CALLS,           copy_start, mixed_memset_run },
    { "memcpy-4k",     "copy", "byte", PAGE_CALLS * 4096,     copy_start, page_memcpy_run },
    { "memset-4k",     "copy", "byte", PAGE_CALLS * 4096,     copy_start, page_memset_run },
    { 0 }
};
