/* SPDX-License-Identifier: MIT */
/*
 * Kernels of vector registers: AES rounds and AVX2 integers, without memory in the loop.
 */
#include "bench.h"

#include <immintrin.h>

enum { AES_ROUNDS = 40000, AES_LANES = 8, AVX_ITERATIONS = 200000 };

static bool aes_start(void)
{
    return __builtin_cpu_supports("aes");
}

__attribute__((target("aes"))) static uint64_t aes_run(void)
{
    __m128i key = _mm_set_epi32(0x2b7e1516, 0x28aed2a6, 0x3ad5f715, 0x09cf4f3c);
    __m128i lane[AES_LANES];
    uint64_t sum = 0;

    for (int i = 0; i < AES_LANES; i++) {
        lane[i] = _mm_set_epi64x(i, 0x0123456789abcdef);
    }
    for (int round = 0; round < AES_ROUNDS; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < AES_LANES; i++) {
            lane[i] = _mm_aesenc_si128(lane[i], key);
        }
    }
    for (int i = 0; i < AES_LANES; i++) {
        lane[i] = _mm_aesenclast_si128(lane[i], key);
        sum = mix(sum, (uint64_t)_mm_cvtsi128_si64(lane[i]));
    }
    return sum;
}

static bool avx2_start(void)
{
    return __builtin_cpu_supports("avx2");
}

__attribute__((target("avx2"))) static uint64_t avx2_run(void)
{
    __m256i a = _mm256_set1_epi32(0x12345678), b = _mm256_set_epi32(1, 2, 3, 4, 5, 6, 7, 8);
    __m256i c = _mm256_set1_epi16(0x5aa5), shuffle = _mm256_set1_epi64x(0x0001020304050607);
    uint64_t sum = 0;
    uint64_t words[4];

    for (int i = 0; i < AVX_ITERATIONS; i++) {
        a = _mm256_add_epi32(a, b);
        c = _mm256_xor_si256(_mm256_shuffle_epi8(a, shuffle), c);
        b = _mm256_sub_epi16(_mm256_slli_epi32(b, 5), _mm256_srli_epi32(c, 27));
        a = _mm256_blendv_epi8(_mm256_mullo_epi16(a, c), a, b);
        b = _mm256_permute4x64_epi64(_mm256_max_epu8(b, c), 0x39);
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), c);
    _mm256_storeu_si256((__m256i *)words, a);
    for (int i = 0; i < 4; i++) {
        sum = mix(sum, words[i]);
    }
    return sum;
}

/* clang-format off */
const Kernel vector_kernels[] = {
    { "aes",      "fp-register", "aesenc",    AES_ROUNDS * AES_LANES, aes_start,  aes_run },
    { "avx2-int", "fp-register", "iteration", AVX_ITERATIONS,         avx2_start, avx2_run },
    { 0 }
};
