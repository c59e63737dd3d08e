/* SPDX-License-Identifier: MIT */
/*
 * Kernels of the operating system: calls, page faults, processes, switching between them.
 */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* -------- the shortest system call -------- */

enum { CALLS = 5000 };

static uint64_t getppid_run(void)
{
    long parent = syscall(SYS_getppid);

    for (int i = 1; i < CALLS; i++) {
        if (syscall(SYS_getppid) != parent) {
            bench_fail("getppid: the parent changed");
        }
    }
    return mix(0, CALLS);
}

/* -------- fresh memory -------- */

enum { MAPS = 10, PAGES = 64 };

static uint64_t mmap_run(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < MAPS; i++) {
        volatile uint8_t *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED) {
            bench_fail("mmap: %s", strerror(errno));
        }
        for (int page = 0; page < PAGES; page++) {
            sum += p[page * 4096 + 7];
            p[page * 4096] = (uint8_t)page;
        }
        for (int page = 0; page < PAGES; page++) {
            sum += p[page * 4096];
        }
        munmap((void *)p, PAGES * 4096);
    }
    return mix(0, sum);
}

/* -------- processes -------- */

enum { FORKS = 8 };

static uint64_t reap(pid_t child)
{
    int status;

    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
        bench_fail("a child could not be started or did not end well");
    }
    return (uint64_t)WEXITSTATUS(status);
}

static uint64_t fork_run(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();

        if (child == 0) {
            _exit(i + 3);
        }
        sum = mix(sum, reap(child));
    }
    return sum;
}

/* The program itself is what runs; main() knows the argument. */
__attribute__((noinline)) static pid_t spawn(char *number)
{
    char *arguments[] = { (char *)"bench", (char *)"--exit", number, NULL };
    char *environment[] = { NULL };
    pid_t child = vfork();

    if (child == 0) {
        execve("/proc/self/exe", arguments, environment);
        _exit(99);
    }
    return child;
}

static uint64_t exec_run(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < FORKS; i++) {
        char number[2] = { (char)('1' + i) };

        sum = mix(sum, reap(spawn(number)));
    }
    return sum;
}

/* -------- two processes that answer each other through pipes -------- */

enum { ROUND_TRIPS = 300 };
static int to_child[2], from_child[2];
static pid_t echo;

static void echo_loop(int in, int out)
{
    uint64_t word;

    while (read(in, &word, sizeof(word)) == sizeof(word)) {
        word = mix(word, 1);
        if (write(out, &word, sizeof(word)) != sizeof(word)) {
            break;
        }
    }
    _exit(0);
}

static bool pipe_start(int own_cpu, int other_cpu)
{
    if (!bench_pin(other_cpu)) {
        return false;
    }
    if (pipe(to_child) || pipe(from_child)) {
        bench_fail("pipe: %s", strerror(errno));
    }
    echo = fork();
    if (echo < 0) {
        bench_fail("fork: %s", strerror(errno));
    }
    if (echo == 0) {
        close(to_child[1]);
        close(from_child[0]);
        echo_loop(to_child[0], from_child[1]);
    }
    close(to_child[0]);
    close(from_child[1]);
    return bench_pin(own_cpu);
}

static bool pipe_same_start(void)
{
    return pipe_start(0, 0);
}

static bool pipe_other_start(void)
{
    return pipe_start(0, 1);
}

static uint64_t pipe_run(void)
{
    uint64_t word = 0;

    for (int i = 0; i < ROUND_TRIPS; i++) {
        if (write(to_child[1], &word, sizeof(word)) != sizeof(word) ||
            read(from_child[0], &word, sizeof(word)) != sizeof(word)) {
            bench_fail("pipe: the other process is gone");
        }
    }
    return word;
}

static void pipe_stop(void)
{
    close(to_child[1]);
    close(from_child[0]);
    reap(echo);
    bench_unpin();
}

/* clang-format off */
const Kernel system_kernels[] = {
    { "getppid",      "syscall", "call",       CALLS,        .run = getppid_run },
    { "mmap-touch",   "fault",   "page",       MAPS * PAGES, .run = mmap_run },
    { "fork-exit",    "fork",    "process",    FORKS,        .run = fork_run },
    { "vfork-exec",   "fork",    "process",    FORKS,        .run = exec_run },
    { "pipe-one-cpu", "pipe",    "round trip", ROUND_TRIPS,  pipe_same_start,  pipe_run, pipe_stop },
    { "pipe-two-cpu", "pipe",    "round trip", ROUND_TRIPS,  pipe_other_start, pipe_run, pipe_stop },
    { 0 }
};
