/* SPDX-License-Identifier: MIT */
/*
 * Jobs of floating point and vectors: matrices, x87, AVX2; and that registers survive signals.
 *
 * Only what IEEE 754 fixes to the last bit: + - * / and square root, no library functions.
 */
#include "tests/boot/guest/load.h"

#include <immintrin.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* -------- matrices -------- */

enum { N = 32 };

static double random_double(uint64_t *seed)
{
    return (double)(int32_t)(next_random(seed) >> 7) / 1048576;
}

/* LU decomposition in place, then the product again; the checksum is of the product's bits. */
static uint64_t matrix_job(uint64_t seed)
{
    static double a[N][N], c[N][N];
    uint64_t sum = 0;

    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            a[i][j] = random_double(&seed) + (i == j ? 100000 : 0);
        }
    }
    for (int k = 0; k < N; k++) {
        for (int i = k + 1; i < N; i++) {
            a[i][k] /= a[k][k];
            for (int j = k + 1; j < N; j++) {
                a[i][j] -= a[i][k] * a[k][j];
            }
        }
    }
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            double element = i <= j ? a[i][j] : 0, root;

            for (int k = 0; k < i && k <= j; k++) {
                element += a[i][k] * a[k][j];
            }
            root = element * element + 2;
            __asm__("sqrtsd %0, %0" : "+x"(root));
            c[i][j] = element + root;
            sum = mix(sum, bits_of(c[i][j]));
        }
    }
    return sum;
}

/* -------- x87 in its three precisions -------- */

static uint64_t x87_job(uint64_t seed)
{
    uint64_t sum = 0;

    for (unsigned precision = 0; precision < 4; precision++) {
        uint16_t control = (uint16_t)(0x007f | precision << 8 | (next_random(&seed) >> 9 & 3) << 10), old;
        long double x = (long double)random_double(&seed) + 4000, y = (long double)random_double(&seed) + 5000;
        uint64_t low;

        if (precision == 1) {
            continue;                            /* reserved */
        }
        __asm__ volatile("fnstcw %0\n\tfldcw %1" : "=m"(old) : "m"(control));
        for (int i = 0; i < 400; i++) {
            long double root = x * x + y;

            __asm__("fsqrt" : "+t"(root));
            x = root * 0.75L + y / (x + 1);
            __asm__("frndint" : "+t"(root));
            y = y * 0.5L + root;
        }
        __asm__ volatile("fldcw %0" :: "m"(old));
        memcpy(&low, &x, 8);
        sum = mix(sum, low);
        memcpy(&low, &y, 8);
        sum = mix(sum, low);
    }
    return sum;
}

/* -------- AVX2 against the same in C -------- */

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

__attribute__((target("avx2"))) static uint64_t avx2_job(uint64_t seed)
{
    enum { LANES = 8, STEPS = 400 };
    static uint32_t a[LANES], b[LANES], out[LANES];
    uint64_t sum = 0;

    for (int i = 0; i < LANES; i++) {
        a[i] = (uint32_t)next_random(&seed);
        b[i] = (uint32_t)next_random(&seed);
    }
    __m256i x = _mm256_loadu_si256((const __m256i *)a), y = _mm256_loadu_si256((const __m256i *)b);

    for (int s = 0; s < STEPS; s++) {
        x = _mm256_add_epi32(_mm256_mullo_epi32(x, y), _mm256_srli_epi32(y, 3));
        y = _mm256_xor_si256(y, _mm256_slli_epi32(x, 5));
        y = _mm256_max_epu32(y, _mm256_andnot_si256(x, y));
    }
    x = _mm256_xor_si256(x, y);
    _mm256_storeu_si256((__m256i *)out, x);
    for (int i = 0; i < LANES; i++) {
        uint32_t p = a[i], q = b[i], r;

        for (int s = 0; s < STEPS; s++) {
            p = p * q + (q >> 3);
            q ^= p << 5;
            r = ~p & q;
            q = q > r ? q : r;
            __asm__("" : "+r"(p), "+r"(q));      /* not vectorized, too */
        }
        if (out[i] != (p ^ q)) {
            load_fail("lane %d is %08x, not %08x", i, out[i], p ^ q);
        }
        sum = mix(sum, out[i]);
    }
    return sum;
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

/* Masks, compares, ternary logic, compress and gather; each lane is computed again without vectors. */
__attribute__((target("avx512f,avx512bw"))) static uint64_t avx512_job(uint64_t seed)
{
    enum { LANES = 16, STEPS = 300 };
    static uint32_t a[LANES], b[LANES], table[64], out[LANES];
    unsigned packed = 0;
    uint64_t sum = 0;

    for (int i = 0; i < LANES; i++) {
        a[i] = (uint32_t)next_random(&seed);
        b[i] = (uint32_t)next_random(&seed);
    }
    for (int i = 0; i < 64; i++) {
        table[i] = (uint32_t)next_random(&seed);
    }
    __m512i x = _mm512_loadu_si512(a), y = _mm512_loadu_si512(b), index;

    for (int s = 0; s < STEPS; s++) {
        __mmask16 less = _mm512_cmplt_epu32_mask(x, y);

        x = _mm512_mask_add_epi32(x, less, x, y);
        y = _mm512_ternarylogic_epi32(y, x, _mm512_rol_epi32(x, 7), 0x96);
        index = _mm512_and_epi32(x, _mm512_set1_epi32(63));
        y = _mm512_mask_add_epi32(y, _mm512_knot(less), y, _mm512_i32gather_epi32(index, table, 4));
    }
    memset(out, 0, sizeof(out));
    _mm512_mask_compressstoreu_epi32(out, _mm512_test_epi32_mask(y, _mm512_set1_epi32(1)), x);
    for (int i = 0; i < LANES; i++) {
        uint32_t p = a[i], q = b[i];

        for (int s = 0; s < STEPS; s++) {
            bool less = p < q;

            p += less ? q : 0;
            q ^= p ^ (p << 7 | p >> 25);
            q += less ? 0 : table[p & 63];
            __asm__("" : "+r"(p), "+r"(q));
        }
        if (q & 1) {
            if (out[packed] != p) {
                load_fail("element %u is %08x, not %08x", packed, out[packed], p);
            }
            packed++;
        }
        sum = mix(sum, p ^ q);
    }
    return mix(sum, packed);
}

/* -------- registers across signals -------- */

static volatile sig_atomic_t alarms;

/* Leaves other values in the registers that a careless return would leave behind. */
static void on_alarm(int signal_number)
{
    volatile long double x = 1.5L + alarms;
    volatile double y = 3.25 * alarms;

    x = x * x + y;
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n\tmovdqa %%xmm0, %%xmm7\n\tmovdqa %%xmm0, %%xmm15"
                     ::: "xmm0", "xmm7", "xmm15");
    alarms++;
}

static uint64_t alarm_job(uint64_t seed)
{
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, old;
    struct itimerval timer = { { 0, 300 }, { 0, 300 } }, off = { { 0, 0 }, { 0, 0 } };
    double sum = 0, x = random_double(&seed) / 4096;
    long double y = 1 + (long double)x;
    uint64_t word = seed, low;

    alarms = 0;
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 0; i < 60000; i++) {
        x = x * 0.9375 + 0.5;
        sum += x / (i + 1);
        y = y * 0.875L + sum;
        word = word * 6364136223846793005u + 1442695040888963407u;
    }
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    memcpy(&low, &y, 8);
    return mix(mix(mix(0, bits_of(sum)), low), word);
}

/* clang-format off */
const Job float_jobs[] = {
    { "matrix", matrix_job },
    { "x87",    x87_job },
    { "avx2",   avx2_job, has_avx2 },
    { "avx512", avx512_job, has_avx512 },
    { "alarm",  alarm_job },
    { 0 }
};
