/* SPDX-License-Identifier: MIT */
/*
 * For tests: an image in memory with a shadow of what it should hold, and power cuts.
 *
 *     PowerBench b;
 *     power_bench_init(&b, "vdi", "", 8 * MIB, seed);
 *     for (...) { power_random_op(&b); power_cut(&b, 0); }
 *     power_bench_clear(&b);
 *
 * A cut takes the file as it was at the last completed flush plus any choice of the writes since,
 * in which writes before a flush that the format itself made are all there; of others only some
 * sectors may be there (a sector is whole).  It must open, check
 * without corruption (leaks are allowed), and every sector not written since the last completed
 * flush must read as it did then.
 *
 * Thread rule: main loop.
 */
#ifndef BLOCK_POWER_BENCH_H
#define BLOCK_POWER_BENCH_H

#include "block/driver.h"
#include "block/memory.h"

typedef struct PowerBench {
    const char *format;
    MemoryDisk *disk;
    GByteArray *stable;          /* the disk at the last flush that completed */
    BlockNode *node;
    BlockBackend *blk;
    uint8_t *now, *durable;      /* the shadow */
    bool *touched;               /* per sector, since the last flush */
    uint64_t length;
    GRand *rand;
    uint64_t cuts;
    bool no_check;               /* the format has none */
    int cut_flags;               /* of every cut */
    /* Called for each cut, before it is opened; may look at DISK. */
    void (*on_cut)(struct PowerBench *b, MemoryDisk *disk);
    /* Called with the node of each cut, after its checks. */
    void (*on_reopen)(struct PowerBench *b, BlockNode *node);
} PowerBench;

enum {
    CUT_DIRTY = 1 << 0,          /* the image may need the repair that it announces */
};

BlockNode *power_open(const char *format, const char *disk, int flags, GError **error);
void power_make_image(const char *format, const char *disk, const char *create);

void power_bench_init(PowerBench *b, const char *format, const char *create, uint64_t length,
                      uint32_t seed);
void power_bench_clear(PowerBench *b);
/* Closing is a flush: all that was written is durable afterwards. */
void power_bench_open(PowerBench *b);
void power_bench_close(PowerBench *b);
void power_bench_reopen(PowerBench *b);
/* What is there now survives any cut from here on. */
void power_stable_now(PowerBench *b);
void power_flush(PowerBench *b);

/* Grows or shrinks the disk, with cuts on the way; it has been flushed afterwards. */
void power_resize(PowerBench *b, uint64_t length);
/* All of the disk has been changed at once: nothing is known until the next flush. */
void power_touch_all(PowerBench *b);

/* Writes, zeroes, discards, flushes (with cuts between the steps of a flush). */
void power_random_op(PowerBench *b);
void power_cut(PowerBench *b, int flags);
void power_assert_now(PowerBench *b);

/* The whole disk reads as the shadow or fails, after each possible failing call. */
void power_error_at_every_call(const char *format, const char *create, unsigned calls,
                               uint64_t stride);
/* COUNT mutations of a used image, most of them in the first HEAD bytes of each AREA. */
void power_mutate(const char *format, const char *create, unsigned count, const uint64_t *areas,
                  unsigned area_count, uint32_t seed);

/* From the environment, for longer runs. */
unsigned power_ops(unsigned standard);
uint32_t power_seed(uint32_t standard);

#endif
