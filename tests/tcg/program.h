/* SPDX-License-Identifier: MIT */
/*
 * A program of guest code by both engines, with a stack in the data area; see engines.h for what lies where.
 *
 *     Program p;
 *
 *     if (!program_init(&p)) {
 *         return;
 *     }
 *     PUT(&p, 0xb9, 5, 0, 0, 0);                      // mov ecx, 5
 *     PUT(&p, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa);    // again: add eax, ecx; dec ecx; jnz again
 *     PUT(&p, 0xf4);                                  // hlt
 *     program_check(&p, "a sum", 100);
 *     program_clear(&p);
 *
 * It is 64-bit code of CPL 3 with registers and data of zero, unless the test changes p.e.cpu.  Single-threaded.
 */
#ifndef TESTS_TCG_PROGRAM_H
#define TESTS_TCG_PROGRAM_H

#include "tests/tcg/engines.h"

typedef struct Program {
    Engines e;
    uint8_t code[4096 + 64];
    unsigned len;
    unsigned failed;            /* differences that program_check() found */
} Program;

/* False: the test is skipped, as with engines_init(). */
bool program_init(Program *p);
/* Fails the test if there was a difference. */
void program_clear(Program *p);

void program_put(Program *p, const void *bytes, unsigned len);
void program_put32(Program *p, uint32_t value);
#define PUT(p, ...) \
    program_put(p, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/*
 * Runs it from BENCH_CODE, which must be in CS, with the CPU as it is: by the interpreter, which must come to HLT or a triple fault within
 * LIMIT instructions, then three times by the translator.  Differences are told under the name WHAT.
 */
void program_check(Program *p, const char *what, unsigned limit);

#endif
