/* SPDX-License-Identifier: MIT */
/*
 * Jobs of threads: locks, atomics, a clock that must not go back.
 *
 * The number of threads is fixed, so that with fewer processors they only take turns.
 */
#include "tests/boot/guest/load.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { THREADS = 3, ROUNDS = 400 };

typedef void (*Body)(int thread, uint64_t seed);

typedef struct Start {
    Body body;
    int thread;
    uint64_t seed;
} Start;

static pthread_barrier_t barrier;

static void *enter(void *opaque)
{
    Start *start = opaque;

    pthread_barrier_wait(&barrier);
    start->body(start->thread, start->seed);
    return NULL;
}

static void run_threads(Body body, uint64_t seed)
{
    pthread_t id[THREADS];
    Start start[THREADS];

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        start[i] = (Start){ body, i, seed };
        if (pthread_create(&id[i], NULL, enter, &start[i])) {
            load_fail("no thread");
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(id[i], NULL);
    }
    pthread_barrier_destroy(&barrier);
}

/* -------- a ledger below a mutex, a spin lock, a ticket lock; 16-byte exchange -------- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile uint64_t below_mutex, below_spin, below_ticket;
static atomic_flag spin = ATOMIC_FLAG_INIT;
static _Atomic uint32_t next_ticket, now_serving;
static _Atomic uint64_t added, xored;
static volatile uint64_t narrow[2];              /* bytes and halves of it are added to */
static struct {
    uint64_t low, high;
} pair __attribute__((aligned(16)));

/* Both halves in one step: the high one counts the carries of the low one. */
static void pair_add(uint64_t amount)
{
    uint64_t low = pair.low, high = pair.high;
    bool done;

    do {
        uint64_t new_low = low + amount, new_high = high + (new_low < low) + 1;

        __asm__ volatile("lock cmpxchg16b %1\n\tsete %0"
                         : "=q"(done), "+m"(pair), "+a"(low), "+d"(high)
                         : "b"(new_low), "c"(new_high) : "cc");
    } while (!done);
}

static void lock_body(int thread, uint64_t seed)
{
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t amount = next_random(&seed) >> 3;
        uint32_t ticket;

        pthread_mutex_lock(&mutex);
        below_mutex += amount;
        pthread_mutex_unlock(&mutex);

        while (atomic_flag_test_and_set(&spin)) {
            sched_yield();
        }
        below_spin += amount;
        atomic_flag_clear(&spin);

        ticket = atomic_fetch_add(&next_ticket, 1);
        while (atomic_load(&now_serving) != ticket) {
            sched_yield();
        }
        below_ticket += amount;
        atomic_store(&now_serving, ticket + 1);

        atomic_fetch_add(&added, amount);
        atomic_fetch_xor(&xored, amount << thread);
        pair_add(amount);
        __asm__ volatile("lock addb $1, %0" : "+m"(((volatile uint8_t *)narrow)[thread]) :: "cc");
        __asm__ volatile("lock addw $3, %0" : "+m"(((volatile uint16_t *)narrow)[4 + thread]) :: "cc");
        __asm__ volatile("lock btsl %1, %0" : "+m"(((volatile uint32_t *)narrow)[1]) : "r"(i % 32) : "cc");
        __asm__ volatile("lock btrl %1, %0" : "+m"(((volatile uint32_t *)narrow)[1]) : "r"(i % 32) : "cc");
    }
}

static uint64_t lock_job(uint64_t seed)
{
    uint64_t one = 0, xors = 0, random = seed;

    below_mutex = below_spin = below_ticket = 0;
    pair.low = pair.high = 0;
    narrow[0] = narrow[1] = 0;
    atomic_store(&added, 0);
    atomic_store(&xored, 0);
    atomic_store(&next_ticket, 0);
    atomic_store(&now_serving, 0);
    run_threads(lock_body, seed);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t amount = next_random(&random) >> 3;

        one += amount;
        for (int t = 0; t < THREADS; t++) {
            xors ^= amount << t;
        }
    }
    if (below_mutex != THREADS * one || below_spin != THREADS * one || below_ticket != THREADS * one ||
        atomic_load(&added) != THREADS * one || atomic_load(&xored) != xors || pair.low != THREADS * one) {
        load_fail("sums %llx %llx %llx %llx %llx, not %llx", (unsigned long long)below_mutex,
                  (unsigned long long)below_spin, (unsigned long long)below_ticket,
                  (unsigned long long)atomic_load(&added), (unsigned long long)pair.low,
                  (unsigned long long)(THREADS * one));
    }
    return mix(mix(mix(one, xors), narrow[0] & 0xffffffff), mix(narrow[1], pair.high));
}

/* -------- a word handed round with condition variables -------- */

static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;
static uint64_t word;

static void turn_body(int thread, uint64_t seed)
{
    for (int i = 0; i < 40; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != thread) {
            pthread_cond_wait(&turned, &mutex);
        }
        word = mix(word, seed + (uint64_t)thread);
        turn = (turn + 1) % THREADS;
        pthread_cond_broadcast(&turned);
        pthread_mutex_unlock(&mutex);
    }
}

static uint64_t turn_job(uint64_t seed)
{
    turn = 0;
    word = seed;
    run_threads(turn_body, seed);
    return word;
}

/* -------- stores become visible in their order [SDM3A 9.2.2] -------- */

static _Atomic uint64_t first, second;

static void order_body(int thread, uint64_t seed)
{
    for (uint64_t i = 1; i <= 3000; i++) {
        if (thread == 0) {
            atomic_store_explicit(&first, i, memory_order_relaxed);
            __asm__ volatile("" ::: "memory");
            atomic_store_explicit(&second, i, memory_order_relaxed);
        } else {
            uint64_t b = atomic_load_explicit(&second, memory_order_relaxed);

            __asm__ volatile("" ::: "memory");
            uint64_t a = atomic_load_explicit(&first, memory_order_relaxed);

            if (a < b) {
                load_fail("the second store was seen before the first: %llu, %llu", (unsigned long long)a,
                          (unsigned long long)b);
            }
        }
    }
}

static uint64_t order_job(uint64_t seed)
{
    atomic_store(&first, 0);
    atomic_store(&second, 0);
    run_threads(order_body, seed);
    return mix(atomic_load(&first), atomic_load(&second));
}

/* -------- the monotonic clock, on every processor -------- */

static uint64_t clock_job(uint64_t seed)
{
    struct timespec last = { 0, 0 };
    cpu_set_t all;

    sched_getaffinity(0, sizeof(all), &all);
    for (int i = 0; i < 40; i++) {
        cpu_set_t one;
        int cpu = i % 4;

        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (CPU_ISSET(cpu, &all)) {
            sched_setaffinity(0, sizeof(one), &one);
        }
        for (int j = 0; j < 50; j++) {
            struct timespec now;

            clock_gettime(CLOCK_MONOTONIC, &now);
            if (now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec)) {
                load_fail("the clock went back by %lld ns", (long long)(last.tv_sec - now.tv_sec) * 1000000000 +
                          (last.tv_nsec - now.tv_nsec));
            }
            last = now;
        }
    }
    sched_setaffinity(0, sizeof(all), &all);
    return seed;
}

/* clang-format off */
const Job thread_jobs[] = {
    { "lock",  lock_job },
    { "turn",  turn_job },
    { "order", order_job },
    { "clock", clock_job },
    { 0 }
};
