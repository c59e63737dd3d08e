/* SPDX-License-Identifier: MIT */
/*
 * A CPU on flat RAM, without a machine: for tests of instructions.
 *
 * Guest RAM is mapped in this process at the same addresses the guest uses, and the page tables
 * map it one to one, so that the same bytes can be run by the interpreter and by the host:
 *
 *   BENCH_TABLES   page tables, GDT
 *   BENCH_CODE     one page for the instruction under test
 *   BENCH_DATA     BENCH_DATA_SIZE bytes of data
 *
 * Single-threaded.
 */
#ifndef TESTS_INSN_BENCH_H
#define TESTS_INSN_BENCH_H

#include "target-x86/bus.h"
#include "target-x86/interp.h"
#include "target-x86/mem.h"

#define BENCH_BASE 0x20000000ull
#define BENCH_SIZE 0x400000ull
#define BENCH_TABLES BENCH_BASE
#define BENCH_CODE (BENCH_BASE + 0x100000)
#define BENCH_DATA (BENCH_BASE + 0x200000)
#define BENCH_DATA_SIZE 0x4000u

/* A CPU with every feature the tables know, in 64-bit mode at CPL 0 or 3 with flat segments. */
X86Cpu *bench_cpu_new(void);
/* What follows the bench's memory raises page faults from now on. */
void bench_end_memory(void);
void bench_cpu_free(X86Cpu *cpu);
/* 64, 32 or 16 bit code, flat. */
void bench_set_mode(X86Cpu *cpu, unsigned bits, unsigned cpl);
/* The vector of the first exception of the last step, -1: none. */
int bench_step(X86Cpu *cpu);

#endif
