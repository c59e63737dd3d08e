/* SPDX-License-Identifier: MIT */
/*
 * Kernels of general registers and memory: loops, hashing, pointers, sorting.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "sha256.h"

/* -------- registers only: the longest Collatz sequences below a bound -------- */

enum { COLLATZ_FIRST = 100000, COLLATZ_LAST = 101500 };

static uint64_t collatz_steps(uint64_t n)
{
    uint64_t steps = 0;

    while (n != 1) {
        n = n & 1 ? 3 * n + 1 : n / 2;
        steps++;
        __asm__ volatile("" : "+r"(n));          /* one step after the other, as written */
    }
    return steps;
}

/* The number of steps of that range, which is the kernel's number of units. */
enum { COLLATZ_STEPS = 167562 };

static uint64_t collatz_run(void)
{
    uint64_t sum = 0;

    for (uint64_t n = COLLATZ_FIRST; n < COLLATZ_LAST; n++) {
        sum += collatz_steps(n);
    }
    if (sum != COLLATZ_STEPS) {
        bench_fail("collatz: %llu steps, not %d", (unsigned long long)sum, COLLATZ_STEPS);
    }
    return mix(0, sum);
}

/* -------- SHA-256 of 64 KiB -------- */

enum { SHA_BYTES = 1 << 16 };
static uint8_t *sha_data;

static bool sha_start(void)
{
    static const uint8_t abc[8] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea };
    uint64_t seed = 1, want;

    sha_data = bench_memory(SHA_BYTES);
    for (size_t i = 0; i < SHA_BYTES; i++) {
        sha_data[i] = (uint8_t)next_random(&seed);
    }
    memcpy(&want, abc, sizeof(want));            /* [FIPS 180-4, example B.1] */
    if (sha256_word("abc", 3) != want) {
        bench_fail("sha256: the digest of \"abc\" is wrong");
    }
    return true;
}

static uint64_t sha_run(void)
{
    return sha256_word(sha_data, SHA_BYTES);
}

/* -------- a chain of pointers through a random cycle -------- */

typedef struct Link {
    struct Link *next;
    uint64_t value;
    uint64_t padding[6];                         /* a cache line each */
} Link;

static Link *chain;

static bool chase_start(size_t bytes)
{
    size_t count = bytes / sizeof(Link);
    uint64_t seed = 2;
    uint32_t *order = bench_memory(count * sizeof(*order));

    chain = bench_memory(bytes);
    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)i;
    }
    for (size_t i = count - 1; i > 0; i--) {     /* [Knuth, TAOCP 3.4.2 P] */
        size_t j = next_random(&seed) % (i + 1);
        uint32_t other = order[i];

        order[i] = order[j];
        order[j] = other;
    }
    for (size_t i = 0; i < count; i++) {
        chain[order[i]].next = &chain[order[(i + 1) % count]];
        chain[order[i]].value = i;
    }
    return true;
}

static bool chase_16k_start(void)
{
    return chase_start(16 << 10);
}

static bool chase_4m_start(void)
{
    return chase_start(4 << 20);
}

enum { CHASE_STEPS = 200000 };

static uint64_t chase_run(void)
{
    const Link *p = chain;

    for (int i = 0; i < CHASE_STEPS; i++) {
        p = p->next;
    }
    return mix(0, p->value);
}

/* -------- copying word by word -------- */

enum { COPY_WORDS = 32 << 10 >> 3, COPY_ROUNDS = 50 };
static uint64_t *copy_from, *copy_to;

static bool copy_start(void)
{
    uint64_t seed = 3;

    copy_from = bench_memory(COPY_WORDS * 8);
    copy_to = bench_memory(COPY_WORDS * 8);
    for (size_t i = 0; i < COPY_WORDS; i++) {
        copy_from[i] = next_random(&seed);
    }
    return true;
}

static uint64_t copy_run(void)
{
    uint64_t sum = 0;

    for (int round = 0; round < COPY_ROUNDS; round++) {
        const volatile uint64_t *from = copy_from;
        volatile uint64_t *to = copy_to;

        /* Volatile: else the compiler makes it a call of memcpy(). */
        for (size_t i = 0; i < COPY_WORDS; i++) {
            to[i] = from[i];
        }
        sum = mix(sum, copy_to[(size_t)round * 77 % COPY_WORDS]);
    }
    return sum;
}

/* -------- sorting strings with qsort(), and integers with code of our own -------- */

enum { STRINGS = 20000, STRING_BYTES = 24 };
static char (*string_text)[STRING_BYTES];
static const char **string_order;

static bool strings_start(void)
{
    uint64_t seed = 4;

    string_text = bench_memory(STRINGS * STRING_BYTES);
    string_order = bench_memory(STRINGS * sizeof(char *));
    for (int i = 0; i < STRINGS; i++) {
        int length = 8 + next_random(&seed) % (STRING_BYTES - 9);

        for (int j = 0; j < length; j++) {
            string_text[i][j] = "abcd"[next_random(&seed) >> 20 & 3];
        }
    }
    return true;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static uint64_t strings_run(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < STRINGS; i++) {
        string_order[i] = string_text[i];
    }
    qsort(string_order, STRINGS, sizeof(char *), compare_strings);
    for (int i = 0; i < STRINGS; i += 7) {
        uint64_t word;

        memcpy(&word, string_order[i], sizeof(word));
        sum = mix(sum, word);
    }
    return sum;
}

enum { INTS = 50000 };
static uint32_t *int_source, *int_sorted;

static bool ints_start(void)
{
    uint64_t seed = 5;

    int_source = bench_memory(INTS * 4);
    int_sorted = bench_memory(INTS * 4);
    for (int i = 0; i < INTS; i++) {
        int_source[i] = (uint32_t)next_random(&seed);
    }
    return true;
}

/* Quicksort to short runs, then insertion [Sedgewick 1978]. */
static void quicksort(uint32_t *a, size_t count)
{
    while (count > 16) {
        uint32_t pivot = a[count / 2];
        ptrdiff_t i = -1, j = (ptrdiff_t)count;

        for (;;) {
            do {
                i++;
            } while (a[i] < pivot);
            do {
                j--;
            } while (a[j] > pivot);
            if (i >= j) {
                break;
            }
            uint32_t other = a[i];

            a[i] = a[j];
            a[j] = other;
        }
        quicksort(a, (size_t)j + 1);
        a += j + 1;
        count -= (size_t)j + 1;
    }
    for (size_t i = 1; i < count; i++) {
        uint32_t value = a[i];
        size_t j = i;

        for (; j > 0 && a[j - 1] > value; j--) {
            a[j] = a[j - 1];
        }
        a[j] = value;
    }
}

static uint64_t ints_run(void)
{
    uint64_t sum = 0;

    memcpy(int_sorted, int_source, INTS * 4);
    quicksort(int_sorted, INTS);
    for (int i = 1; i < INTS; i++) {
        if (int_sorted[i - 1] > int_sorted[i]) {
            bench_fail("sort-int: the result is not sorted");
        }
    }
    for (int i = 0; i < INTS; i += 16) {
        sum = mix(sum, int_sorted[i]);
    }
    return sum;
}

/* clang-format off */
const Kernel integer_kernels[] = {
    { "collatz",     "register", "step",    COLLATZ_STEPS,            .run = collatz_run },
    { "sha256",      "integer",  "byte",    SHA_BYTES,                sha_start,       sha_run },
    { "copy-8",      "integer",  "8 bytes", COPY_WORDS * COPY_ROUNDS, copy_start,      copy_run },
    { "qsort-str",   "integer",  "string",  STRINGS,                  strings_start,   strings_run },
    { "sort-int",    "integer",  "integer", INTS,                     ints_start,      ints_run },
    { "chase-16k",   "pointer",  "step",    CHASE_STEPS,              chase_16k_start, chase_run },
    { "chase-4m",    "pointer",  "step",    CHASE_STEPS,              chase_4m_start,  chase_run },
    { 0 }
};
