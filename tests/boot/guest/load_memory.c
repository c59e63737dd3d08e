/* SPDX-License-Identifier: MIT */
/*
 * Jobs of computing in memory: hashing, sorting, packing, string instructions.
 */
#include "tests/boot/guest/load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/bench/guest/sha256.h"

/* -------- SHA-256, of a block and of an unaligned copy of it -------- */

static uint64_t sha_job(uint64_t seed)
{
    size_t size = 4096 + next_random(&seed) % 60000, shift = next_random(&seed) % 4096;
    uint8_t *p = load_map(131072), *copy = p + 65536;
    uint64_t sum, again;

    for (size_t i = 0; i < size; i++) {
        p[i] = (uint8_t)(next_random(&seed) >> 13);
    }
    sum = sha256_word(p, size);
    memmove(p + shift % 100, p, size);
    memcpy(copy + shift % 64, p + shift % 100, size);
    again = sha256_word(p + shift % 100, size);
    if (again != sum || memcmp(copy + shift % 64, p + shift % 100, size)) {
        load_fail("a moved block has another digest");
    }
    munmap(p, 131072);
    return sum;
}

/* -------- sorting records by strings with qsort(), numbers by their digits -------- */

typedef struct Entry {
    char key[12];
    uint32_t number;
} Entry;

static int compare_entries(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    int order = strcmp(x->key, y->key);

    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static uint64_t sort_job(uint64_t seed)
{
    enum { ENTRIES = 2500 };
    Entry *e = load_map(ENTRIES * sizeof(Entry));
    uint64_t sum = 0, total = 0;

    for (int i = 0; i < ENTRIES; i++) {
        int length = 3 + (int)(next_random(&seed) % 8);

        for (int j = 0; j < length; j++) {
            e[i].key[j] = (char)('a' + (next_random(&seed) >> 17) % 5);
        }
        e[i].number = (uint32_t)next_random(&seed);
        total += e[i].number;
    }
    qsort(e, ENTRIES, sizeof(Entry), compare_entries);
    for (int i = 0; i < ENTRIES; i++) {
        if (i && compare_entries(&e[i - 1], &e[i]) > 0) {
            load_fail("entries %d and %d are not in order", i - 1, i);
        }
        total -= e[i].number;
        sum = mix(sum, e[i].number ^ (uint64_t)e[i].key[2] << 40);
    }
    if (total) {
        load_fail("sorting changed the numbers");
    }
    munmap(e, ENTRIES * sizeof(Entry));
    return sum;
}

/* -------- packing and unpacking (repeats by distance and length, found by a hash) -------- */

enum { TEXT = 32768, HASH_BITS = 12, MIN_REPEAT = 4, MAX_REPEAT = 130 };

static size_t pack(const uint8_t *in, size_t size, uint8_t *out)
{
    static uint16_t last[1 << HASH_BITS];
    size_t at = 0, done = 0;

    memset(last, 0xff, sizeof(last));
    while (at < size) {
        uint32_t word;
        size_t length = 0, from = 0;

        if (at + MIN_REPEAT <= size) {
            memcpy(&word, in + at, 4);
            uint16_t *slot = &last[word * 2654435761u >> (32 - HASH_BITS)];

            from = *slot;
            *slot = (uint16_t)at;
            while (from < at && length < MAX_REPEAT && at + length < size && in[from + length] == in[at + length]) {
                length++;
            }
        }
        if (length >= MIN_REPEAT) {
            out[done++] = (uint8_t)(0x80 | (length - MIN_REPEAT));
            out[done++] = (uint8_t)(at - from);
            out[done++] = (uint8_t)((at - from) >> 8);
            at += length;
        } else {
            out[done++] = in[at++] & 0x7f;
        }
    }
    return done;
}

static size_t unpack(const uint8_t *in, size_t size, uint8_t *out)
{
    size_t done = 0;

    for (size_t at = 0; at < size;) {
        if (in[at] & 0x80) {
            size_t length = (in[at] & 0x7f) + MIN_REPEAT, distance = in[at + 1] | in[at + 2] << 8;

            for (size_t i = 0; i < length; i++, done++) {
                out[done] = out[done - distance];
            }
            at += 3;
        } else {
            out[done++] = in[at++];
        }
    }
    return done;
}

static uint64_t pack_job(uint64_t seed)
{
    static const char *const words[] = { "guest ", "page ", "table ", "trap ", "vector ", "ring ", "a ", "of " };
    uint8_t *text = load_map(4 * TEXT), *packed = text + TEXT, *back = text + 3 * TEXT;
    size_t size = 0, packed_size;
    uint64_t sum;

    while (size < TEXT - 16) {
        const char *word = words[(next_random(&seed) >> 11) % 8];

        memcpy(text + size, word, strlen(word));
        size += strlen(word);
    }
    packed_size = pack(text, size, packed);
    if (unpack(packed, packed_size, back) != size || memcmp(text, back, size)) {
        load_fail("what was packed came back different");
    }
    sum = mix(sha256_word(packed, packed_size), packed_size);
    munmap(text, 4 * TEXT);
    return sum;
}

/* -------- string instructions, both ways, overlapping, across pages -------- */

enum { AREA = 16384 };

static void move_model(uint8_t *area, size_t to, size_t from, size_t count, int size, bool down)
{
    for (size_t i = 0; i < count; i++) {
        /* An element is read whole before it is written. */
        uint8_t element[8];

        memcpy(element, area + from, (size_t)size);
        memcpy(area + to, element, (size_t)size);
        to += down ? -(size_t)size : (size_t)size;
        from += down ? -(size_t)size : (size_t)size;
    }
}

static void move_real(uint8_t *to, const uint8_t *from, size_t count, int size, bool down)
{
    if (down) {
        __asm__ volatile("std");
    }
    switch (size) {
    case 1: __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) :: "memory"); break;
    case 2: __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) :: "memory"); break;
    case 4: __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) :: "memory"); break;
    case 8: __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) :: "memory"); break;
    }
    __asm__ volatile("cld");
}

static uint64_t string_job(uint64_t seed)
{
    uint8_t *model = load_map(2 * AREA), *real = model + AREA;
    uint64_t sum;

    for (int i = 0; i < AREA; i++) {
        model[i] = real[i] = (uint8_t)(next_random(&seed) >> 15);
    }
    for (int i = 0; i < 60; i++) {
        int size = 1 << (next_random(&seed) >> 9) % 4;
        bool down = next_random(&seed) >> 21 & 1;
        size_t count = (next_random(&seed) >> 5) % (5000 / (size_t)size);
        size_t to = 5100 + (next_random(&seed) >> 7) % 5900, from = 5100 + (next_random(&seed) >> 7) % 5900;
        const uint8_t *scan = real + from;
        size_t left = 200, want;
        uint8_t byte = (uint8_t)next_random(&seed);
        const uint8_t *found;

        move_model(model, to, from, count, size, down);
        move_real(real + to, real + from, count, size, down);
        /* REPNE SCASB as strnlen() would do it. */
        __asm__ volatile("repne scasb" : "+D"(scan), "+c"(left) : "a"(byte) : "cc", "memory");
        found = memchr(real + from, byte, 200);
        want = found ? 199 - (size_t)(found - (real + from)) : 0;
        if (left != want || memcmp(model, real, AREA)) {
            load_fail("string instruction %d: count %zu, size %d, %s, from %zu to %zu", i, count, size,
                      down ? "down" : "up", from, to);
        }
    }
    sum = sha256_word(real, AREA);
    munmap(model, 2 * AREA);
    return sum;
}

/* clang-format off */
const Job memory_jobs[] = {
    { "sha256", sha_job },
    { "sort",   sort_job },
    { "pack",   pack_job },
    { "string", string_job },
    { 0 }
};
