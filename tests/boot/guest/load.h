/* SPDX-License-Identifier: MIT */
/*
 * The load that guests are kept under: what a job is.
 *
 * A job does some work that depends on a seed only, checks what it can by itself, and gives a checksum.
 * The checksums for a few seeds are computed beforehand, natively; in the guest many processes run
 * jobs in random order and compare.  A job takes about a millisecond natively, uses a few
 * hundred KiB, and leaves nothing behind: no process, mapping, file, timer or signal handler.
 *
 * Each job runs in a process with one thread; those that start threads join them.
 */
#ifndef TESTS_BOOT_GUEST_LOAD_H
#define TESTS_BOOT_GUEST_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/guest/bench.h"

typedef struct Job {
    const char *name;
    uint64_t (*run)(uint64_t seed);
    bool (*present)(void);           /* NULL: everywhere */
} Job;

/* Each table ends with a row without name. */
extern const Job memory_jobs[];
extern const Job process_jobs[];
extern const Job thread_jobs[];
extern const Job float_jobs[];
extern const Job code_jobs[];
extern const Job fault_jobs[];
extern const Job state_jobs[];

/* What a program started by the process job prints for its argument. */
uint64_t child_answer(uint64_t seed);

/* The job found something wrong: says so and ends the process. */
__attribute__((noreturn, format(printf, 1, 2))) void load_fail(const char *format, ...);

/* Anonymous memory, readable and writable; ends the process without it. */
void *load_map(size_t size);

#endif
