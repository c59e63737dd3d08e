/* SPDX-License-Identifier: MIT */
/*
 * Bits, bytes and small arithmetic used everywhere.  No state, callable from any thread.
 *
 * Unaligned loads and stores name width and byte order: le32_load(p), be16_store(p, v).
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
/* LEN ones starting at bit LOW; LEN is 1..64. */
#define BITMASK64(low, len) ((~0ull >> (64 - (len))) << (low))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define NANOSECONDS_PER_SECOND 1000000000ll

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t bits_get(uint64_t value, unsigned low, unsigned len)
{
    return (value >> low) & (~0ull >> (64 - len));
}

static inline uint64_t bits_set(uint64_t value, unsigned low, unsigned len, uint64_t field)
{
    uint64_t mask = BITMASK64(low, len);

    return (value & ~mask) | ((field << low) & mask);
}

static inline bool is_pow2(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* ALIGN must be a power of two; the caller rules out overflow. */
static inline uint64_t align_down(uint64_t value, uint64_t align)
{
    return value & ~(align - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static inline uint64_t div_round_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

/* value * mul / div with a 128-bit intermediate; div is not 0. */
static inline uint64_t muldiv64(uint64_t value, uint64_t mul, uint64_t div)
{
    return (uint64_t)((unsigned __int128)value * mul / div);
}

/* clang-format off */
#define BITS_DEFINE_ACCESS(width)                                                        \
    static inline uint##width##_t le##width##_load(const void *p)                        \
    { uint##width##_t v; memcpy(&v, p, sizeof(v)); return GUINT##width##_FROM_LE(v); }   \
    static inline uint##width##_t be##width##_load(const void *p)                        \
    { uint##width##_t v; memcpy(&v, p, sizeof(v)); return GUINT##width##_FROM_BE(v); }   \
    static inline void le##width##_store(void *p, uint##width##_t v)                     \
    { v = GUINT##width##_TO_LE(v); memcpy(p, &v, sizeof(v)); }                           \
    static inline void be##width##_store(void *p, uint##width##_t v)                     \
    { v = GUINT##width##_TO_BE(v); memcpy(p, &v, sizeof(v)); }
BITS_DEFINE_ACCESS(16)
BITS_DEFINE_ACCESS(32)
BITS_DEFINE_ACCESS(64)
#undef BITS_DEFINE_ACCESS
/* clang-format on */

/* Little-endian load or store of SIZE bytes, 1..8. */
static inline uint64_t le_load(const void *p, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return GUINT64_FROM_LE(v);
}

static inline void le_store(void *p, uint64_t v, unsigned size)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, size);
}

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#endif
