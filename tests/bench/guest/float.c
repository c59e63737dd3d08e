/* SPDX-License-Identifier: MIT */
/*
 * Kernels of floating point: matrices with SSE2 and with AVX2 and FMA, x87, scalar double.
 *
 * The checksums are of the results' bits.  FSIN is computed to a last bit that the architecture leaves
 * open [SDM1 8.3.10], so that its kernel, and no other, may differ between processors.
 */
#include "bench.h"

#include <immintrin.h>
#include <string.h>

/* -------- C += A * B, 96 x 96 doubles -------- */

enum { N = 96, MATMUL_FMAS = N * N * N };
static double *matrix_a, *matrix_b, *matrix_c;

static bool matmul_start(void)
{
    uint64_t seed = 7;

    matrix_a = bench_memory(N * N * sizeof(double));
    matrix_b = bench_memory(N * N * sizeof(double));
    matrix_c = bench_memory(N * N * sizeof(double));
    for (int i = 0; i < N * N; i++) {
        matrix_a[i] = (double)(int32_t)next_random(&seed) / 65536;
        matrix_b[i] = (double)(int32_t)next_random(&seed) / 4096;
    }
    return true;
}

static bool matmul_avx2_start(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && matmul_start();
}

static uint64_t matrix_digest(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < N * N; i += 5) {
        uint64_t bits;

        memcpy(&bits, &matrix_c[i], sizeof(bits));
        sum = mix(sum, bits);
    }
    return sum;
}

static uint64_t matmul_sse2_run(void)
{
    memset(matrix_c, 0, N * N * sizeof(double));
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++) {
            __m128d a = _mm_set1_pd(matrix_a[i * N + k]);
            const double *b = &matrix_b[k * N];
            double *c = &matrix_c[i * N];

            for (int j = 0; j < N; j += 4) {
                __m128d c0 = _mm_load_pd(c + j), c1 = _mm_load_pd(c + j + 2);

                c0 = _mm_add_pd(c0, _mm_mul_pd(a, _mm_load_pd(b + j)));
                c1 = _mm_add_pd(c1, _mm_mul_pd(a, _mm_load_pd(b + j + 2)));
                _mm_store_pd(c + j, c0);
                _mm_store_pd(c + j + 2, c1);
            }
        }
    }
    return matrix_digest();
}

__attribute__((target("avx2,fma"))) static uint64_t matmul_avx2_run(void)
{
    memset(matrix_c, 0, N * N * sizeof(double));
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++) {
            __m256d a = _mm256_broadcast_sd(&matrix_a[i * N + k]);
            const double *b = &matrix_b[k * N];
            double *c = &matrix_c[i * N];

            for (int j = 0; j < N; j += 8) {
                __m256d c0 = _mm256_load_pd(c + j), c1 = _mm256_load_pd(c + j + 4);

                c0 = _mm256_fmadd_pd(a, _mm256_load_pd(b + j), c0);
                c1 = _mm256_fmadd_pd(a, _mm256_load_pd(b + j + 4), c1);
                _mm256_store_pd(c + j, c0);
                _mm256_store_pd(c + j + 4, c1);
            }
        }
    }
    return matrix_digest();
}

/* -------- x87 -------- */

enum { X87_ITERATIONS = 100000, SINE_ITERATIONS = 20000 };

__attribute__((noinline)) static uint64_t long_double_bits(long double value)
{
    uint64_t low;
    uint16_t high;

    memcpy(&low, &value, 8);
    memcpy(&high, (const char *)&value + 8, 2);
    return mix(low, high);
}

static uint64_t x87_run(void)
{
    long double a = 1.0L, b = 3.0L;

    for (int i = 0; i < X87_ITERATIONS; i++) {
        a = a * 0.75L + b;
        b = a / (b + 1.0L);
    }
    return mix(long_double_bits(a), long_double_bits(b));
}

static uint64_t sine_run(void)
{
    long double angle = 0.0L, sum = 0.0L;

    for (int i = 0; i < SINE_ITERATIONS; i++) {
        long double sine = angle, root;

        __asm__("fsin" : "+t"(sine));
        root = sine * sine + 2.0L;
        __asm__("fsqrt" : "+t"(root));
        sum += root * sine;
        angle += 0.01L;
    }
    return long_double_bits(sum);
}

/* -------- scalar double -------- */

enum { DOUBLE_ITERATIONS = 200000 };

static uint64_t double_run(void)
{
    double x = 0.5, y = 1.25, sum = 0;
    uint64_t bits;

    for (int i = 1; i <= DOUBLE_ITERATIONS; i++) {
        double t = x * 3.75;

        x = t - t * x;                           /* the logistic map */
        y = y * 0.999 + x;
        sum += i & 15 ? x - y : x / y;
    }
    memcpy(&bits, &sum, sizeof(bits));
    return mix(0, bits);
}

/* clang-format off */
const Kernel float_kernels[] = {
    { "matmul-sse2",   "fp-memory",   "multiply-add", MATMUL_FMAS,       matmul_start,      matmul_sse2_run },
    { "matmul-avx2",   "fp-memory",   "multiply-add", MATMUL_FMAS,       matmul_avx2_start, matmul_avx2_run },
    { "x87",           "fp-register", "iteration",    X87_ITERATIONS,    .run = x87_run },
    { "double",        "fp-register", "iteration",    DOUBLE_ITERATIONS, .run = double_run },
    { "fsin-fsqrt",    "x87-library", "iteration",    SINE_ITERATIONS,   .run = sine_run },
    { 0 }
};
