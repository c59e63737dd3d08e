/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 in plain C [FIPS 180-4], whole buffers only.  Any thread.
 *
 *     uint8_t digest[32];
 *     sha256("abc", 3, digest);
 */
#ifndef TESTS_BENCH_GUEST_SHA256_H
#define TESTS_BENCH_GUEST_SHA256_H

#include <stddef.h>
#include <stdint.h>

void sha256(const void *data, size_t length, uint8_t digest[32]);

/* The first eight bytes of the digest. */
uint64_t sha256_word(const void *data, size_t length);

#endif
