/* SPDX-License-Identifier: MIT */
/*
 * The benchmark that runs natively and in guests: what a kernel is.
 *
 * A kernel is a row in one of the tables below.  Its run() always does the same work from the same
 * state and gives a checksum of the results, so that the checksum depends neither on how long
 * the kernel is repeated nor on the machine: a guest that prints another one than the host
 * computes wrongly.  A call should take about a millisecond natively: long against
 * reading a clock, short enough for a slow guest.
 *
 *     static uint64_t add_run(void) { ... return sum; }
 *     const Kernel add_kernels[] = { { "add", "register", "addition", 1000, .run = add_run }, { 0 } };
 *
 * One thread calls all of this; kernels that start threads or processes end them in run() or stop().
 */
#ifndef TESTS_BENCH_GUEST_BENCH_H
#define TESTS_BENCH_GUEST_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Kernel {
    const char *name;
    const char *class;            /* the rows that one target speaks of; report.py has the list */
    const char *unit;             /* what the time is given for */
    uint64_t units;               /* how many of them a run() does */
    bool (*start)(void);          /* prepare; false: this processor or machine cannot run it */
    uint64_t (*run)(void);
    void (*stop)(void);           /* undo start(); memory of bench_memory() goes by itself */
} Kernel;

/* Each table ends with a row without name. */
extern const Kernel integer_kernels[];
extern const Kernel call_kernels[];
extern const Kernel copy_kernels[];
extern const Kernel float_kernels[];
extern const Kernel vector_kernels[];
extern const Kernel system_kernels[];
extern const Kernel atomic_kernels[];

/* SIZE bytes of touched, zeroed memory until the kernel is done; ends the program without memory. */
void *bench_memory(size_t size);

/* The calling thread runs on that processor only; false when there is no such one. */
bool bench_pin(int cpu);
void bench_unpin(void);

/* Ends the program with one line. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_fail(const char *format, ...);

/* A checksum, one word at a time. */
static inline uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
    return sum ^ sum >> 29;
}

/* The next of a fixed sequence of random numbers [Marsaglia, Xorshift RNGs, 2003]. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

/* The compiler may assume nothing about memory across this. */
static inline void memory_barrier(void)
{
    __asm__ volatile("" ::: "memory");
}

#endif
