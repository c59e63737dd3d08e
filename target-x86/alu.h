/* SPDX-License-Identifier: MIT */
/*
 * Integer arithmetic with the host's own flags.  Each function takes and returns cpu->cc's format
 * (cpu.h): LAHF in bits 15..8, OF in bit 0.  alu_add32(a, b, &cc) and so on; *_lock* operate on memory
 * atomically.  No state.
 */
#ifndef TARGET_X86_ALU_H
#define TARGET_X86_ALU_H

#include "base/bits.h"

enum { CC_O = 1, CC_C = 0x100, CC_P = 0x400, CC_A = 0x1000, CC_Z = 0x4000, CC_S = 0x8000,
       CC_ONE = 0x200 };

#define CC_SAVE "lahf\n\tseto %%al"
#define CC_LOAD "addb $127, %%al\n\tsahf\n\t"
#define CC_LOAD_CARRY "btl $8, %%eax\n\t"

/* clang-format off */
#define ALU_BINARY(name, bits, T, suffix)                                                   \
    static inline T alu_##name##bits(T a, T b, uint32_t *cc)                                \
    {                                                                                       \
        uint16_t f;                                                                         \
        __asm__(#name suffix " %2, %0\n\t" CC_SAVE : "+r"(a), "=&a"(f) : "r"(b) : "cc");    \
        *cc = f;                                                                            \
        return a;                                                                           \
    }                                                                                       \
    static inline void alu_lock_##name##bits(T *p, T b, uint32_t *cc)                       \
    {                                                                                       \
        uint16_t f;                                                                         \
        __asm__ volatile("lock " #name suffix " %2, %0\n\t" CC_SAVE                         \
                         : "+m"(*p), "=&a"(f) : "r"(b) : "cc", "memory");                   \
        *cc = f;                                                                            \
    }
#define ALU_COMPARE(name, bits, T, suffix)                                                  \
    static inline uint32_t alu_##name##bits(T a, T b)                                       \
    {                                                                                       \
        uint16_t f;                                                                         \
        __asm__(#name suffix " %2, %1\n\t" CC_SAVE : "=&a"(f) : "r"(a), "r"(b) : "cc");     \
        return f;                                                                           \
    }
/* With CF in: ADC SBB. */
#define ALU_CARRY(name, bits, T, suffix)                                                    \
    static inline T alu_##name##bits(T a, T b, uint32_t *cc)                                \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__(CC_LOAD_CARRY #name suffix " %2, %0\n\t" CC_SAVE                                  \
                : "+r"(a), "+&a"(f) : "r"(b) : "cc");                                       \
        *cc = f;                                                                            \
        return a;                                                                           \
    }                                                                                       \
    static inline void alu_lock_##name##bits(T *p, T b, uint32_t *cc)                       \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__ volatile(CC_LOAD_CARRY "lock " #name suffix " %2, %0\n\t" CC_SAVE                 \
                         : "+m"(*p), "+&a"(f) : "r"(b) : "cc", "memory");                   \
        *cc = f;                                                                            \
    }
/* INC DEC keep CF; NEG does not mind; NOT keeps all and is below. */
#define ALU_UNARY(name, bits, T, suffix)                                                    \
    static inline T alu_##name##bits(T a, uint32_t *cc)                                     \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__(CC_LOAD_CARRY #name suffix " %0\n\t" CC_SAVE : "+r"(a), "+&a"(f) : : "cc");       \
        *cc = f;                                                                            \
        return a;                                                                           \
    }                                                                                       \
    static inline void alu_lock_##name##bits(T *p, uint32_t *cc)                            \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__ volatile(CC_LOAD_CARRY "lock " #name suffix " %0\n\t" CC_SAVE                     \
                         : "+m"(*p), "+&a"(f) : : "cc", "memory");                          \
        *cc = f;                                                                            \
    }
#define ALU_NOT(name, bits, T, suffix)                                                      \
    static inline T alu_not##bits(T a, uint32_t *cc) { return ~a; }                         \
    static inline void alu_lock_not##bits(T *p, uint32_t *cc)                               \
    {                                                                                       \
        __asm__ volatile("lock not" suffix " %0" : "+m"(*p) : : "memory");                  \
    }
/* Shifts and rotates: the host masks the count and leaves the flags alone for 0. */
#define ALU_SHIFT(name, bits, T, suffix)                                                    \
    static inline T alu_##name##bits(T a, uint8_t count, uint32_t *cc)                      \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__(CC_LOAD #name suffix " %%cl, %0\n\t" CC_SAVE                                \
                : "+r"(a), "+&a"(f) : "c"(count) : "cc");                                   \
        *cc = f;                                                                            \
        return a;                                                                           \
    }
/* The same for a count known not to be 0 modulo the width: no flags in. */
#define ALU_SHIFT_SOME(name, bits, T, suffix)                                               \
    static inline T alu_some_##name##bits(T a, uint8_t count, uint32_t *cc)                 \
    {                                                                                       \
        uint16_t f;                                                                         \
        __asm__(#name suffix " %%cl, %0\n\t" CC_SAVE                                        \
                : "+r"(a), "=&a"(f) : "c"(count) : "cc");                                   \
        *cc = f;                                                                            \
        return a;                                                                           \
    }
#define ALU_DOUBLE(name, bits, T, suffix)                                                   \
    static inline T alu_##name##bits(T a, T b, uint8_t count, uint32_t *cc)                 \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__(CC_LOAD #name suffix " %%cl, %2, %0\n\t" CC_SAVE                            \
                : "+r"(a), "+&a"(f) : "r"(b), "c"(count) : "cc");                           \
        *cc = f;                                                                            \
        return a;                                                                           \
    }
/* Old destination semantics matter: BSF, BSR with a zero source. */
#define ALU_SCAN(name, bits, T, suffix)                                                     \
    static inline T alu_##name##bits(T a, T b, uint32_t *cc)                                \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__(CC_LOAD #name suffix " %2, %0\n\t" CC_SAVE                                  \
                : "+r"(a), "+&a"(f) : "r"(b) : "cc");                                       \
        *cc = f;                                                                            \
        return a;                                                                           \
    }

/* Flags that the manual leaves undefined stay, where the host leaves them. */
#define ALU_PRODUCT(name, bits, T, suffix)                                                  \
    static inline T alu_##name##bits(T a, T b, uint32_t *cc)                                \
    {                                                                                       \
        uint16_t f = *cc;                                                                   \
        __asm__(CC_LOAD #name suffix " %2, %0\n\t" CC_SAVE                                  \
                : "+r"(a), "+&a"(f) : "r"(b) : "cc");                                       \
        *cc = f;                                                                            \
        return a;                                                                           \
    }

#define ALU_WIDTHS(M, name)                                                                 \
    M(name, 8, uint8_t, "b") M(name, 16, uint16_t, "w") M(name, 32, uint32_t, "l")          \
    M(name, 64, uint64_t, "q")
#define ALU_WIDTHS_W(M, name)                                                               \
    M(name, 16, uint16_t, "w") M(name, 32, uint32_t, "l") M(name, 64, uint64_t, "q")

ALU_WIDTHS(ALU_BINARY, add) ALU_WIDTHS(ALU_BINARY, sub) ALU_WIDTHS(ALU_BINARY, and)
ALU_WIDTHS(ALU_BINARY, or) ALU_WIDTHS(ALU_BINARY, xor)
ALU_WIDTHS(ALU_CARRY, adc) ALU_WIDTHS(ALU_CARRY, sbb)
ALU_WIDTHS(ALU_COMPARE, cmp) ALU_WIDTHS(ALU_COMPARE, test)
ALU_WIDTHS(ALU_UNARY, inc) ALU_WIDTHS(ALU_UNARY, dec) ALU_WIDTHS(ALU_UNARY, neg)
ALU_WIDTHS(ALU_NOT, not)
ALU_WIDTHS(ALU_SHIFT, rol) ALU_WIDTHS(ALU_SHIFT, ror) ALU_WIDTHS(ALU_SHIFT, rcl)
ALU_WIDTHS(ALU_SHIFT, rcr) ALU_WIDTHS(ALU_SHIFT, shl) ALU_WIDTHS(ALU_SHIFT, shr)
ALU_WIDTHS(ALU_SHIFT, sar)
ALU_WIDTHS(ALU_SHIFT_SOME, shl) ALU_WIDTHS(ALU_SHIFT_SOME, shr)
ALU_WIDTHS(ALU_SHIFT_SOME, sar)
ALU_WIDTHS_W(ALU_DOUBLE, shld) ALU_WIDTHS_W(ALU_DOUBLE, shrd)
ALU_WIDTHS_W(ALU_SCAN, bsf) ALU_WIDTHS_W(ALU_SCAN, bsr)
ALU_WIDTHS_W(ALU_PRODUCT, imul)
/* clang-format on */

#endif
