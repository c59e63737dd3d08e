/* SPDX-License-Identifier: MIT */
/*
 * Jobs of the operating system: processes, pipes, memory maps, files.
 */
#include "tests/boot/guest/load.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/guest/sha256.h"

static void reap(pid_t child, int want)
{
    int status;

    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != want) {
        load_fail("a child ended with status 0x%x, not %d", status, want << 8);
    }
}

static void make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC)) {
        load_fail("pipe: %s", strerror(errno));
    }
}

static uint64_t read_word(int fd)
{
    uint64_t word = 0;

    if (read(fd, &word, sizeof(word)) != sizeof(word)) {
        load_fail("a pipe gave no word: %s", strerror(errno));
    }
    return word;
}

/* -------- fork: the child sees a copy, the parent keeps its own -------- */

static uint64_t fork_job(uint64_t seed)
{
    enum { PAGES = 16 };
    uint64_t *page = load_map(PAGES * 4096), sum = 0;
    int ends[2];

    make_pipe(ends);
    for (int i = 0; i < PAGES; i++) {
        page[i * 512] = next_random(&seed);
    }
    for (int depth = 0; depth < 2; depth++) {
        pid_t child = fork();

        if (child < 0) {
            load_fail("fork: %s", strerror(errno));
        }
        if (child == 0) {
            uint64_t word = 0;

            for (int i = 0; i < PAGES; i++) {
                page[i * 512] += (uint64_t)i;
                word = mix(word, page[i * 512]);
            }
            _exit(write(ends[1], &word, sizeof(word)) == sizeof(word) ? 5 : 1);
        }
        page[depth * 512] += 3;                  /* on a page that both still share, maybe */
        sum = mix(sum, read_word(ends[0]));
        reap(child, 5);
    }
    for (int i = 0; i < PAGES; i++) {
        sum = mix(sum, page[i * 512]);
    }
    close(ends[0]);
    close(ends[1]);
    munmap(page, PAGES * 4096);
    return sum;
}

/* -------- a new program, which answers through its standard output -------- */

uint64_t child_answer(uint64_t seed)
{
    uint8_t text[2000];

    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)(next_random(&seed) >> 19);
    }
    return sha256_word(text, sizeof(text));
}

static uint64_t exec_job(uint64_t seed)
{
    char number[17];
    char *arguments[] = { (char *)"load", (char *)"--child", number, NULL };
    char *environment[] = { NULL };
    posix_spawn_file_actions_t actions;
    uint64_t answer;
    int ends[2];
    pid_t child;

    snprintf(number, sizeof(number), "%llx", (unsigned long long)seed);
    make_pipe(ends);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    int error = posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environment);

    if (error) {
        load_fail("spawn: %s", strerror(error));
    }
    posix_spawn_file_actions_destroy(&actions);
    answer = read_word(ends[0]);
    reap(child, 7);
    close(ends[0]);
    close(ends[1]);
    if (answer != child_answer(seed)) {
        load_fail("the program answered %016llx", (unsigned long long)answer);
    }
    return answer;
}

/* -------- three processes in a row, each changes what passes -------- */

enum { STAGES = 3, BLOCK = 3000, BLOCKS = 8 };

static void read_block(int fd, uint8_t *block)
{
    for (size_t got = 0; got < BLOCK;) {
        ssize_t n = read(fd, block + got, BLOCK - got);

        if (n <= 0) {
            load_fail("a pipe ended early: %s", n ? strerror(errno) : "end of file");
        }
        got += (size_t)n;
    }
}

static void write_block(int fd, const uint8_t *block)
{
    for (size_t done = 0; done < BLOCK;) {
        ssize_t n = write(fd, block + done, BLOCK - done);

        if (n <= 0) {
            load_fail("a pipe took no more: %s", strerror(errno));
        }
        done += (size_t)n;
    }
}

static uint64_t pipe_job(uint64_t seed)
{
    int ends[STAGES + 1][2];
    pid_t child[STAGES];
    uint8_t block[BLOCK];
    uint64_t sum = 0;

    for (int i = 0; i <= STAGES; i++) {
        make_pipe(ends[i]);
    }
    for (int i = 0; i < STAGES; i++) {
        child[i] = fork();
        if (child[i] < 0) {
            load_fail("fork: %s", strerror(errno));
        }
        if (child[i] == 0) {
            for (int n = 0; n < BLOCKS; n++) {
                read_block(ends[i][0], block);
                for (int b = 0; b < BLOCK; b++) {
                    block[b] = (uint8_t)(block[b] * 5 + i + b);
                }
                write_block(ends[i + 1][1], block);
            }
            _exit(4);
        }
    }
    for (int n = 0; n < BLOCKS; n++) {
        for (int b = 0; b < BLOCK; b++) {
            block[b] = (uint8_t)(next_random(&seed) >> 23);
        }
        write_block(ends[0][1], block);
        if (n) {                                 /* one block is always under way */
            read_block(ends[STAGES][0], block);
            sum = mix(sum, sha256_word(block, BLOCK));
        }
    }
    read_block(ends[STAGES][0], block);
    sum = mix(sum, sha256_word(block, BLOCK));
    for (int i = 0; i < STAGES; i++) {
        reap(child[i], 4);
    }
    for (int i = 0; i <= STAGES; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
    return sum;
}

/* -------- maps: split, moved, dropped, mapped twice -------- */

static uint64_t mmap_job(uint64_t seed)
{
    enum { PAGES = 40 };
    uint64_t sum = 0, *page = load_map(PAGES * 4096), *alias;
    int fd = memfd_create("load", 0);

    for (int round = 0; round < 30; round++) {
        int i = (int)((next_random(&seed) >> 8) % PAGES);
        uint64_t *p = page + i * 512;

        switch ((next_random(&seed) >> 12) % 5) {
        case 0:                                  /* dropped: reads as zero again */
            *p = 1;
            if (madvise(p, 4096, MADV_DONTNEED) || *p) {
                load_fail("a dropped page is not zero");
            }
            break;
        case 1:                                  /* a fresh page in its place */
            if (mmap(p, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p || *p) {
                load_fail("a fresh page is not zero");
            }
            *p = next_random(&seed);
            break;
        case 2:                                  /* read-only and back, between stores */
            *p = next_random(&seed);
            if (mprotect(p, 4096, PROT_READ) || mprotect(p, 4096, PROT_READ | PROT_WRITE)) {
                load_fail("mprotect: %s", strerror(errno));
            }
            *p += 1;
            break;
        default:
            p[(next_random(&seed) >> 9) % 512] ^= next_random(&seed);
        }
        sum = mix(sum, *p);
    }
    for (int i = 0; i < PAGES * 512; i += 64) {
        sum = mix(sum, page[i]);
    }
    if (fd < 0 || ftruncate(fd, 8192)) {
        load_fail("memfd: %s", strerror(errno));
    }
    page = mmap(page, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    alias = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED || alias == MAP_FAILED) {
        load_fail("mmap: %s", strerror(errno));
    }
    for (int i = 0; i < 200; i++) {
        volatile uint64_t *p = page, *q = alias;
        size_t at = (next_random(&seed) >> 9) % 1024;

        (i & 1 ? p : q)[at] = next_random(&seed);
        if (p[at] != q[at]) {
            load_fail("one page, mapped twice, holds two values");
        }
        sum = mix(sum, p[at]);
    }
    close(fd);
    munmap(alias, 8192);
    munmap(page, PAGES * 4096);
    return sum;
}

/* -------- a file in /tmp -------- */

static uint64_t file_job(uint64_t seed)
{
    enum { SIZE = 65536 };
    uint8_t *model = load_map(2 * SIZE), *back = model + SIZE;
    char name[64], other[64];
    uint64_t sum;

    snprintf(name, sizeof(name), "/tmp/load.%d", (int)getpid());
    snprintf(other, sizeof(other), "/tmp/load.%d.moved", (int)getpid());
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0) {
        load_fail("%s: %s", name, strerror(errno));
    }
    for (int i = 0; i < 25; i++) {
        size_t at = (next_random(&seed) >> 8) % (SIZE - 5000), length = (next_random(&seed) >> 8) % 5000;

        for (size_t b = 0; b < length; b++) {
            model[at + b] = (uint8_t)(next_random(&seed) >> 31);
        }
        if (pwrite(fd, model + at, length, (off_t)at) != (ssize_t)length) {
            load_fail("write: %s", strerror(errno));
        }
    }
    if (ftruncate(fd, SIZE) || rename(name, other) || lseek(fd, 0, SEEK_SET) ||
        read(fd, back, SIZE) != SIZE) {
        load_fail("%s: %s", other, strerror(errno));
    }
    if (memcmp(model, back, SIZE)) {
        load_fail("the file does not hold what was written");
    }
    sum = sha256_word(back, SIZE);
    close(fd);
    unlink(other);
    munmap(model, 2 * SIZE);
    return sum;
}

/* clang-format off */
const Job process_jobs[] = {
    { "fork", fork_job },
    { "exec", exec_job },
    { "pipe", pipe_job },
    { "mmap", mmap_job },
    { "file", file_job },
    { 0 }
};
