/* SPDX-License-Identifier: MIT */
/*
 * Each table row by both engines: what tests of flat and of segmented code share.  They differ in the state of the
 * CPU, in where operands lie, and in what stands around the instruction:
 *
 *     static void try_row(Rows *r, const InsnDef *def)
 *     {
 *         ... the CPU's mode; an instruction of the row, decoded; r->state ...
 *         rows_begin(r);
 *         rows_put(r, before, len);
 *         rows_put_row(r, m.bytes, insn.len);
 *         rows_data(r, def);
 *         if (rows_interpret(r, &insn)) {
 *             rows_translate(r, &insn, flags);
 *         }
 *     }
 *
 *     if (rows_init(&r, 64, 3, "64-bit")) {
 *         rows_run(&r, try_row);
 *         rows_clear(&r);
 *     }
 *
 * Each try runs twice by the translator: with nothing translated and nothing in the TLB, then with all of it there.
 *
 * RHEA_INSN_ROUNDS=n sets the number of tries per row, RHEA_INSN_SEED the seed, RHEA_INSN_ROW a mnemonic to run alone.
 * Single-threaded.
 */
#ifndef TESTS_TCG_ROWS_H
#define TESTS_TCG_ROWS_H

#include "tests/insn/maker.h"
#include "tests/tcg/engines.h"

typedef struct Rows {
    Engines e;
    GRand *rand;
    unsigned bits, cpl;         /* bits: 64, or 32 for all code that is not 64-bit */
    bool has_avx512;            /* the host: e.avx512 may be set */
    const char *what;           /* the kind of code, for messages */
    InsnState state;            /* the try begins with it, and with anything in the registers of AVX-512 if e.avx512 */
    uint8_t code[128];
    unsigned len;
    uint64_t at, row_at;        /* linear: of the first instruction, of the row's */
    uint64_t row_rip;           /* from rows_interpret() on */
    unsigned tried, failed, row_failed, faulted;
} Rows;

/* False: the test is skipped, as with engines_init(). */
bool rows_init(Rows *r, unsigned bits, unsigned cpl, const char *what);
void rows_clear(Rows *r);

/* TRY for each row that such code can hold, often enough; at last that there were tries, and no difference. */
void rows_run(Rows *r, void (*try)(Rows *r, const InsnDef *def));

/* No code yet; it will begin at r->at, within a page or just before its end. */
void rows_begin(Rows *r);
void rows_put(Rows *r, const void *bytes, unsigned len);
/* The row's instruction.  Returns where it is, for operands to be placed. */
uint8_t *rows_put_row(Rows *r, const uint8_t *bytes, unsigned len);
/* Something in the data area that DEF can do with. */
void rows_data(Rows *r, const InsnDef *def);

/* Code and state go where they belong, and run.  False: the result is of no use, and not to be compared. */
bool rows_interpret(Rows *r, const Insn *insn);
/* The same by the translator, twice; of RFLAGS what is in FLAGS must be alike. */
void rows_translate(Rows *r, const Insn *insn, uint64_t flags);

#endif
