/* SPDX-License-Identifier: MIT */
/*
 * Two engines, one CPU: runs the same guest state through the interpreter and through the translator
 * and compares all that the guest can see.  On the bare CPU of tests/insn/bench.h, with another bus
 * and finer page tables for BENCH_DATA's 2 MiB:
 *
 *   ENGINES_AREA bytes from BENCH_DATA: plain; the first BENCH_DATA_SIZE filled by data_random()
 *   ENGINES_NONE      a page that is not present, behind the plain ones
 *   ENGINES_READONLY  and one more plain page
 *   ENGINES_KERNEL    a page for CPL 0 to 2, then nothing
 *   ENGINES_ALIAS     BENCH_BASE's first 2 MiB, code included, once more
 *   ENGINES_MMIO      not RAM: reads give a function of the address, accesses are counted
 *
 * Code goes to BENCH_CODE; the ENGINES_CODE_SIZE bytes from ENGINES_CODE, a page before it, are all
 * HLT.  Single-threaded.  In short:
 *
 *     if (!engines_init(&e)) {
 *         return;
 *     }
 *     engines_mode(&e, 64, 3);
 *     engines_code(&e, BENCH_CODE, code, sizeof(code));
 *     e.cpu->rip = BENCH_CODE;
 *     engines_save(&e, e.start);
 *     g_assert_true(engines_interpret(&e, 100));
 *     engines_save(&e, e.interpreted);
 *     engines_load(&e, e.start, true);
 *     engines_translate(&e);
 *     engines_save(&e, e.translated);
 *     engines_compare(e.interpreted, e.translated, ~0ull, 0, why);
 *     engines_clear(&e);
 */
#ifndef TESTS_TCG_ENGINES_H
#define TESTS_TCG_ENGINES_H

#include "accel/tcg/translator.h"
#include "tests/insn/bench.h"

#define ENGINES_AREA 0x8000u
#define ENGINES_NONE (BENCH_DATA + BENCH_DATA_SIZE)
#define ENGINES_READONLY (BENCH_DATA + 0x5000)
#define ENGINES_KERNEL (BENCH_DATA + 0x7000)
#define ENGINES_ALIAS 0x40000000ull
#define ENGINES_MMIO 0x30000000ull
#define ENGINES_CODE (BENCH_CODE - 0x1000)
#define ENGINES_CODE_SIZE 0x5000u

/* All of a CPU that belongs to the guest, and the memory it works on. */
typedef struct EngineState {
    uint8_t hot[offsetof(X86Cpu, tlb)] __attribute__((aligned(64)));
    uint8_t rest[offsetof(X86Cpu, features) - offsetof(X86Cpu, x87)] __attribute__((aligned(64)));
    uint8_t data[ENGINES_AREA];
    uint8_t code[ENGINES_CODE_SIZE];
    uint64_t bus_log;           /* hash of all accesses outside RAM */
    X86Exit exit;
} EngineState;

typedef struct Engines {
    X86Cpu *cpu;
    Translator *tr;
    EngineState *start, *interpreted, *translated;      /* for the test to save to */
    uint64_t bus_log;
    bool anywhere;              /* code may run outside ENGINES_CODE */
    bool avx512;                /* XCR0 has AVX-512: from the next engines_mode() on */
    bool closed;                /* no RAM but the tables, ENGINES_CODE and ENGINES_AREA: what is compared */
} Engines;

/* False: this host lets nobody translate; the test counts as skipped. */
bool engines_init(Engines *e);
void engines_clear(Engines *e);
/* The CPU to a known state: flat segments, GDT, no IDT, MSRs to HLT instructions. */
void engines_mode(Engines *e, unsigned bits, unsigned cpl);
/* Code outside 64-bit mode with segments that have bases and limits. */
typedef enum EnginesKind { ENGINES_REAL, ENGINES_VM86, ENGINES_16, ENGINES_32, ENGINES_KINDS } EnginesKind;
extern const char *const engines_kinds[ENGINES_KINDS];
/*
 * The CPU to a state of that kind: CS around BENCH_CODE, the others around BENCH_DATA, with random bases, limits and
 * rights.  What RFLAGS must have beside is returned; RIP is to be within CS.
 */
uint64_t engines_segmented(Engines *e, EnginesKind kind, unsigned cpl, GRand *rand);
/* What AVX-512 adds to XMM and YMM registers that are filled: nothing but zeros, or some or all of it at random. */
void engines_random_avx512(Engines *e, GRand *rand);
/* New bytes at `at`, all else there HLT. */
void engines_code(Engines *e, uint64_t at, const uint8_t *bytes, unsigned len);

void engines_save(Engines *e, EngineState *to);
/* cold: with nothing in the TLB. */
void engines_load(Engines *e, const EngineState *from, bool cold);
/* By single steps, until HLT or a triple fault: false when `limit` is not enough, or when another
 * instruction than those of ENGINES_CODE comes. */
bool engines_interpret(Engines *e, unsigned limit);
/* By the translator. */
void engines_translate(Engines *e);
/* Differences in words; flags only those of `mask`; FSW without `fsw_mask`. */
void engines_compare(const EngineState *interpreted, const EngineState *translated, uint64_t mask,
                     uint16_t fsw_mask, GString *why);

/* The vector of the first exception of the run that ended in a triple fault, its RIP; -1: none. */
int engines_vector(const EngineState *s, uint64_t *rip);

#endif
