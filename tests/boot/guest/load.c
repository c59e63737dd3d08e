/* SPDX-License-Identifier: MIT */
/*
 * Keep a guest busy, and check everything it computes.
 *
 *   load [-s SEED] [-t SECONDS] [-w WORKERS] [-e FILE] [-j NAME,...]
 *   load [-s SEED] -p                      print the checksums that -e reads
 *
 * WORKERS processes run jobs (load.h) in random order until the time is over, move between processors, and
 * compare each checksum with FILE's, or, without one, with the first that was computed.  The first
 * process prints a heartbeat every five seconds:
 *
 *   load: 15 s sha256=120 sort=98 ...
 *
 * and at the end "load: good, N jobs", status 0.  A wrong checksum, a worker that dies, or one that works
 * on the same job for five minutes gives a line "load: WRONG ..." with all that repeats it,
 * and status 1.
 */
#include "tests/boot/guest/load.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SEEDS = 16, MAX_JOBS = 32, MAX_WORKERS = 64, HEARTBEAT_S = 5, STUCK_S = 300 };

static const Job *const tables[] = { memory_jobs, float_jobs, code_jobs, fault_jobs, state_jobs, process_jobs,
                                     thread_jobs };

/* Shared by all workers. */
typedef struct Shared {
    _Atomic uint64_t expected[MAX_JOBS][SEEDS];   /* 0: not known yet */
    _Atomic uint64_t done[MAX_JOBS];
    struct {
        _Atomic uint64_t steps;
        _Atomic int job, seed;
    } worker[MAX_WORKERS];
    _Atomic bool stop;
} Shared;

static Shared *shared;
static const Job *jobs[MAX_JOBS];
static int job_count;
static uint64_t base_seed = 1;
/* For messages: who runs what. */
static int own_worker = -1;
static const char *own_job = "?";
static int own_index;

void load_fail(const char *format, ...)
{
    char text[300];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    printf("load: WRONG %s: %s (seed %" PRIu64 ", index %d, worker %d)\n", own_job, text, base_seed,
           own_index, own_worker);
    fflush(stdout);
    _exit(3);
}

void *load_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        load_fail("no memory: %s", strerror(errno));
    }
    return p;
}

static uint64_t now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec;
}

/* The same for a job whichever others were chosen. */
static uint64_t seed_of(int job, int index)
{
    uint64_t seed = mix(base_seed, (uint64_t)index + 1);

    for (const char *p = jobs[job]->name; *p; p++) {
        seed = mix(seed, (uint8_t)*p);
    }
    return seed ? seed : 1;
}

static uint64_t run_job(int job, int index)
{
    own_job = jobs[job]->name;
    own_index = index;

    uint64_t sum = jobs[job]->run(seed_of(job, index));

    return sum ? sum : 1;                         /* 0 means "not known" */
}

static void check_job(int job, int index)
{
    uint64_t sum = run_job(job, index), want = 0;

    if (!atomic_compare_exchange_strong(&shared->expected[job][index], &want, sum) && want != sum) {
        load_fail("checksum %016" PRIx64 ", not %016" PRIx64, sum, want);
    }
    atomic_fetch_add(&shared->done[job], 1);
}

/* Another processor, sometimes: any of those there are. */
static void wander(uint64_t *random)
{
    cpu_set_t set;
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    int cpu = (int)(next_random(random) % (unsigned)(cpus + 1));

    CPU_ZERO(&set);
    for (int i = 0; i < cpus; i++) {
        if (cpu == cpus || cpu == i) {
            CPU_SET(i, &set);
        }
    }
    sched_setaffinity(0, sizeof(set), &set);
}

__attribute__((noreturn)) static void work(int worker)
{
    uint64_t random = mix(base_seed, (uint64_t)worker + 77) | 1;

    own_worker = worker;
    while (!atomic_load(&shared->stop)) {
        int job = (int)((next_random(&random) >> 8) % (unsigned)job_count);
        int index = (int)((next_random(&random) >> 8) % SEEDS);

        if ((next_random(&random) >> 9) % 8 == 0) {
            wander(&random);
        }
        atomic_store(&shared->worker[worker].job, job);
        atomic_store(&shared->worker[worker].seed, index);
        check_job(job, index);
        atomic_fetch_add(&shared->worker[worker].steps, 1);
    }
    _exit(0);
}

static void heartbeat(uint64_t seconds)
{
    printf("load: %" PRIu64 " s", seconds);
    for (int i = 0; i < job_count; i++) {
        printf(" %s=%" PRIu64, jobs[i]->name, atomic_load(&shared->done[i]));
    }
    printf("\n");
    fflush(stdout);
}

/* False when a worker is on the same step for too long; notes when each last went on. */
static bool all_move(int workers, uint64_t now)
{
    static uint64_t steps[MAX_WORKERS], since[MAX_WORKERS];

    for (int i = 0; i < workers; i++) {
        uint64_t current = atomic_load(&shared->worker[i].steps);

        if (current != steps[i] || !since[i]) {
            steps[i] = current;
            since[i] = now;
        } else if (now - since[i] > STUCK_S) {
            printf("load: WRONG %s: stuck for %d s (seed %" PRIu64 ", index %d, worker %d)\n",
                   jobs[atomic_load(&shared->worker[i].job)]->name, STUCK_S, base_seed,
                   atomic_load(&shared->worker[i].seed), i);
            return false;
        }
    }
    return true;
}

static int supervise(int workers, uint64_t seconds)
{
    pid_t pids[MAX_WORKERS];
    uint64_t begin = now_s(), last = 0, total = 0;
    bool good = true;

    fflush(stdout);
    for (int i = 0; i < workers; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            work(i);
        }
        if (pids[i] < 0) {
            printf("load: WRONG fork: %s\n", strerror(errno));
            return 1;
        }
    }
    while (good && now_s() - begin < seconds) {
        struct timespec second = { 1, 0 };
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid > 0) {
            printf("load: WRONG worker: process %d ended with status 0x%x (seed %" PRIu64 ")\n", (int)pid,
                   status, base_seed);
            good = false;
        }
        nanosleep(&second, NULL);
        if (now_s() - begin >= last + HEARTBEAT_S) {
            last = now_s() - begin;
            heartbeat(last);
        }
        good = good && all_move(workers, now_s());
    }
    atomic_store(&shared->stop, true);
    for (int i = 0; i < workers && good; i++) {
        int status;

        if (waitpid(pids[i], &status, 0) != pids[i] || status != 0) {
            printf("load: WRONG worker %d ended with status 0x%x (seed %" PRIu64 ")\n", i, status, base_seed);
            good = false;
        }
    }
    for (int i = 0; i < workers && !good; i++) {
        kill(pids[i], SIGKILL);
    }
    for (int i = 0; i < job_count; i++) {
        total += atomic_load(&shared->done[i]);
    }
    heartbeat(now_s() - begin);
    printf("load: %s, %" PRIu64 " jobs\n", good ? "good" : "bad", total);
    return good ? 0 : 1;
}

/* Lines "NAME INDEX CHECKSUM". */
static bool read_expected(const char *path)
{
    char name[32];
    uint64_t sum;
    int index;
    FILE *f = fopen(path, "r");

    if (!f) {
        fprintf(stderr, "load: cannot open '%s': %s\n", path, strerror(errno));
        return false;
    }
    while (fscanf(f, "%31s %d %" SCNx64, name, &index, &sum) == 3) {
        for (int i = 0; i < job_count; i++) {
            if (!strcmp(jobs[i]->name, name) && index >= 0 && index < SEEDS) {
                atomic_store(&shared->expected[i][index], sum);
            }
        }
    }
    fclose(f);
    return true;
}

static bool wanted(const char *list, const char *name)
{
    char *copy = list ? strdup(list) : NULL;
    bool found = !list;

    for (char *p = copy ? strtok(copy, ",") : NULL; p; p = strtok(NULL, ",")) {
        found = found || !strcmp(p, name);
    }
    free(copy);
    return found;
}

static void choose_jobs(const char *list)
{
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const Job *j = tables[t]; j->name; j++) {
            if (job_count < MAX_JOBS && wanted(list, j->name) && (!j->present || j->present())) {
                jobs[job_count++] = j;
            }
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t seconds = 60;
    int workers = 4, option;
    bool print = false;
    const char *expected = NULL, *list = NULL;

    if (argc == 3 && !strcmp(argv[1], "--child")) {
        uint64_t answer = child_answer(strtoull(argv[2], NULL, 16));

        return write(1, &answer, sizeof(answer)) == sizeof(answer) ? 7 : 1;
    }
    while ((option = getopt(argc, argv, "s:t:w:e:j:p")) != -1) {
        switch (option) {
        case 's': base_seed = strtoull(optarg, NULL, 10);       break;
        case 't': seconds = strtoull(optarg, NULL, 10);         break;
        case 'w': workers = atoi(optarg);                       break;
        case 'e': expected = optarg;                            break;
        case 'j': list = optarg;                                break;
        case 'p': print = true;                                 break;
        default:
            fprintf(stderr, "usage: load [-s SEED] [-t SECONDS] [-w WORKERS] [-e FILE] [-j NAME,...] | -p\n");
            return 2;
        }
    }
    choose_jobs(list);
    if (job_count == 0 || workers < 1 || workers > MAX_WORKERS) {
        fprintf(stderr, "load: no such job, or not 1 to %d workers\n", MAX_WORKERS);
        return 2;
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || (expected && !read_expected(expected))) {
        return 2;
    }
    if (!print) {
        return supervise(workers, seconds);
    }
    for (int job = 0; job < job_count; job++) {
        for (int index = 0; index < SEEDS; index++) {
            printf("%s %d %016" PRIx64 "\n", jobs[job]->name, index, run_job(job, index));
        }
    }
    return 0;
}
