/* SPDX-License-Identifier: MIT */
/*
 * Kernels of LOCKed instructions: one thread, two threads on lines of their own, two on the same line.
 * Where there is one processor only, the kernels of two threads are absent.
 */
#include "bench.h"

#include <pthread.h>

enum { ADDS = 500000, SHARED = 200000 };

/* Lines far apart, whatever the processor prefetches. */
static struct {
    volatile uint64_t word;
    char padding[248];
} cell[2] __attribute__((aligned(256)));

typedef void (*Work)(int which);
static Work work;
static pthread_barrier_t both;

static void private_adds(int which)
{
    for (int i = 0; i < ADDS; i++) {
        __asm__ volatile("lock addq $1, %0" : "+m"(cell[which].word) :: "cc");
    }
}

static void shared_adds(int which)
{
    for (int i = 0; i < SHARED; i++) {
        __atomic_fetch_add(&cell[0].word, (uint64_t)which + 1, __ATOMIC_SEQ_CST);
    }
}

/* A counter below a ticket lock made of compare and exchange, as old locks are. */
static void shared_exchanges(int which)
{
    for (int i = 0; i < SHARED / 4; i++) {
        uint64_t old = __atomic_load_n(&cell[0].word, __ATOMIC_RELAXED);

        while (!__atomic_compare_exchange_n(&cell[0].word, &old, old + (uint64_t)which * 2 + 1, true,
                                            __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        }
    }
}

static void *second(void *unused)
{
    bench_pin(1);
    pthread_barrier_wait(&both);
    work(1);
    return NULL;
}

static uint64_t run_two(Work function)
{
    pthread_t thread;

    cell[0].word = cell[1].word = 0;
    work = function;
    pthread_barrier_init(&both, NULL, 2);
    if (pthread_create(&thread, NULL, second, NULL)) {
        bench_fail("no second thread");
    }
    pthread_barrier_wait(&both);
    work(0);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&both);
    return mix(mix(0, cell[0].word), cell[1].word);
}

static bool two_start(void)
{
    return bench_pin(1) && bench_pin(0);
}

static uint64_t one_run(void)
{
    cell[0].word = 0;
    private_adds(0);
    return mix(cell[0].word, 0);
}

static uint64_t two_run(void)
{
    return run_two(private_adds);
}

static uint64_t add_run(void)
{
    return run_two(shared_adds);
}

static uint64_t exchange_run(void)
{
    return run_two(shared_exchanges);
}

/* clang-format off */
const Kernel atomic_kernels[] = {
    { "lock-add-1",      "lock",    "addition", ADDS,       .run = one_run },
    { "lock-add-2",      "lock",    "addition", ADDS,       two_start, two_run,      bench_unpin },
    { "contended-add",   "atomics", "addition", SHARED,     two_start, add_run,      bench_unpin },
    { "contended-cas",   "atomics", "exchange", SHARED / 4, two_start, exchange_run, bench_unpin },
    { 0 }
};
