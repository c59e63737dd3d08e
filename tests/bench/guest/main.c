/* SPDX-License-Identifier: MIT */
/*
 * Run kernels and print their times.
 *
 *   bench [-t MS] [-k NAME,NAME,...]     run those of that name or class, each for at least MS
 *   bench -l                             list them
 *   bench --run NAME CLASS COMMAND...    time a program, checksum what it prints; with BENCH_CPU in
 *                                        the environment, the processor time of it and its children
 *
 * A line "NAME CLASS NS CHECKSUM" each: nanoseconds per unit, of the fastest call; the checksum that every
 * call gave.  NS is "absent" where the processor or machine cannot run it.  The program ends with
 * status 1 when a kernel's checksum changed between calls or a result is plainly wrong.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const Kernel *const tables[] = { integer_kernels, call_kernels, copy_kernels, float_kernels,
                                        vector_kernels, atomic_kernels, system_kernels };

enum { TABLES = sizeof(tables) / sizeof(tables[0]), MAX_BLOCKS = 8, FEWEST_CALLS = 3 };

static struct {
    void *start;
    size_t size;
} blocks[MAX_BLOCKS];
static int block_count;
static cpu_set_t all_cpus;

void bench_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("bench: ");
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    va_end(args);
    _exit(1);
}

void *bench_memory(size_t size)
{
    void *start = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (start == MAP_FAILED || block_count == MAX_BLOCKS) {
        bench_fail("no memory for %zu bytes", size);
    }
    blocks[block_count].start = start;
    blocks[block_count++].size = size;
    return start;
}

static void release_memory(void)
{
    while (block_count > 0) {
        block_count--;
        munmap(blocks[block_count].start, blocks[block_count].size);
    }
}

bool bench_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0;
}

void bench_unpin(void)
{
    sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Is NAME one of the words of LIST? */
static bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, name, length) && (p[length] == ',' || p[length] == '\0')) {
            return true;
        }
    }
    return false;
}

/* False when two calls disagree. */
static bool measure(const Kernel *k, uint64_t least_ns)
{
    uint64_t checksum, best = UINT64_MAX, total = 0;

    if (k->start && !k->start()) {
        printf("%s %s absent -\n", k->name, k->class);
        release_memory();
        return true;
    }
    checksum = k->run();
    for (int calls = 0; calls < FEWEST_CALLS || total < least_ns; calls++) {
        uint64_t begin = now_ns(), again = k->run(), spent = now_ns() - begin;

        if (again != checksum) {
            printf("bench: %s: checksum %016" PRIx64 ", then %016" PRIx64 "\n", k->name, checksum,
                   again);
            fflush(stdout);
            return false;
        }
        best = spent < best ? spent : best;
        total += spent;
    }
    if (k->stop) {
        k->stop();
    }
    release_memory();
    printf("%s %s %.4f %016" PRIx64 "\n", k->name, k->class, (double)best / (double)k->units, checksum);
    fflush(stdout);
    return true;
}

static double children_ns(void)
{
    struct rusage r;

    getrusage(RUSAGE_CHILDREN, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e9 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e3;
}

/* Time a command, and checksum its standard output. */
static int run_command(const char *name, const char *class, char **command)
{
    uint64_t begin = now_ns(), sum = 0;
    char buffer[4096];
    int ends[2], status;
    ssize_t got;
    pid_t child;

    if (pipe(ends) || (child = fork()) < 0) {
        bench_fail("%s: %s", name, strerror(errno));
    }
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execv(command[0], command);
        _exit(127);
    }
    close(ends[1]);
    while ((got = read(ends[0], buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            sum = mix(sum, (uint8_t)buffer[i]);
        }
    }
    close(ends[0]);
    if (waitpid(child, &status, 0) != child || status != 0) {
        bench_fail("%s: status 0x%x", name, status);
    }
    printf("%s %s %.0f %016" PRIx64 "\n", name, class,
           getenv("BENCH_CPU") ? children_ns() : (double)(now_ns() - begin), sum);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t least_ns = 100000000;
    const char *only = NULL;
    int option, known = 0;
    bool good = true;

    if (argc == 3 && !strcmp(argv[1], "--exit")) {
        return atoi(argv[2]);
    }
    if (argc >= 5 && !strcmp(argv[1], "--run")) {
        return run_command(argv[2], argv[3], argv + 4);
    }
    while ((option = getopt(argc, argv, "t:k:l")) != -1) {
        switch (option) {
        case 't':
            least_ns = strtoull(optarg, NULL, 10) * 1000000;
            break;
        case 'k':
            only = optarg;
            break;
        case 'l':
            for (int t = 0; t < TABLES; t++) {
                for (const Kernel *k = tables[t]; k->name; k++) {
                    printf("%s %s %s\n", k->name, k->class, k->unit);
                }
            }
            return 0;
        default:
            fprintf(stderr, "usage: bench [-t MS] [-k NAME,...] | -l | --run NAME CLASS COMMAND...\n");
            return 2;
        }
    }
    sched_getaffinity(0, sizeof(all_cpus), &all_cpus);
    for (int t = 0; t < TABLES; t++) {
        for (const Kernel *k = tables[t]; k->name; k++) {
            if (!only || listed(only, k->name) || listed(only, k->class)) {
                known++;
                good = measure(k, least_ns) && good;
            }
        }
    }
    if (!known) {
        bench_fail("no kernel or class is called '%s' (-l lists them)", only);
    }
    return good ? 0 : 1;
}
