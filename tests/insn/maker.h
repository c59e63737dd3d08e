/* SPDX-License-Identifier: MIT */
/*
 * Random encodings of table rows, and random states to run them in: for tests that run each row by
 * two engines and compare.
 *
 *     insn_make(&m, &insn_rows[i], rand, 0);
 *     if (insn_decode(&insn, m.bytes, sizeof(m.bytes), mode, NULL) == DECODE_OK && insn.def == m.def) {
 *         insn_state_random(&state, rand);
 *         insn_state_random_x87(&state, rand);
 *         if (insn_aim(&state, &insn, rand)) { ... }
 *     }
 *
 * Everything follows from the GRand's seed.  No state of its own.
 */
#ifndef TESTS_INSN_MAKER_H
#define TESTS_INSN_MAKER_H

#include "tests/insn/bench.h"

/* host_run.S knows this layout. */
typedef struct InsnState {
    uint64_t gpr[16];
    uint64_t flags, target, stack;
    uint64_t wide;              /* this host has AVX-512, and the code may use it */
    uint64_t pad[44];
    uint8_t fx[512] __attribute__((aligned(16)));
    X86Vec zmm[32];             /* not wide: the lower halves of the first 16 */
    uint64_t k[8];
} InsnState;
G_STATIC_ASSERT(offsetof(InsnState, wide) == 152 && offsetof(InsnState, fx) == 512 &&
                offsetof(InsnState, zmm) == 1024 && offsetof(InsnState, k) == 3072);

enum {
    MAKE_32 = BIT(0),           /* for 32-bit code: no REX */
    MAKE_FAR = BIT(1),          /* prefixes 64, 65, 67; bases of any kind: see insn_place() */
};

typedef struct InsnMaker {
    GRand *rand;
    const InsnDef *def;
    unsigned how;               /* MAKE_* */
    uint8_t bytes[32];
    unsigned len;
} InsnMaker;

/* Immediates are whatever follows: the decoder says how much of it counts. */
void insn_make(InsnMaker *m, const InsnDef *def, GRand *rand, unsigned how);

unsigned pick(GRand *rand, unsigned n);
/* A number with a taste for limits. */
uint64_t interesting(GRand *rand);
/* Near the middle of the data area, most often aligned to 64 bytes. */
uint64_t data_address(GRand *rand);

/* Registers, flags and vectors. */
void insn_state_random(InsnState *state, GRand *rand);
/* A valid x87 state with random tags and a few kinds of numbers. */
void insn_state_random_x87(InsnState *state, GRand *rand);
/* A guest without AVX-512 gets the parts that it has. */
void insn_state_load(const InsnState *state, X86Cpu *cpu);
void data_random(GRand *rand);
/* Registers that make memory operands land in the data area; false: impossible. */
bool insn_aim(InsnState *state, const Insn *insn, GRand *rand);

/* Bits of RFLAGS that the row leaves undefined. */
uint64_t undefined_flags(const InsnDef *def);
/* FSW bits the SDM leaves undefined: C1 of comparisons and moves, C0-C3 of a partial remainder
 * that is not a number. */
uint16_t undefined_fsw(const InsnDef *def, const X87State *h);

#endif
