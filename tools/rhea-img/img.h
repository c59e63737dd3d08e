/* SPDX-License-Identifier: MIT */
/*
 * rhea-img: what its commands share.  One process runs one command; each command function gets
 * argc/argv from its own name on and returns the exit status.
 */
#ifndef TOOLS_RHEA_IMG_IMG_H
#define TOOLS_RHEA_IMG_IMG_H

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "block/driver.h"
#include "tools/rhea-img/options.h"

typedef struct Image {
    BlockNode *node;
    BlockChild *root;
} Image;

typedef struct OpenArgs {
    const char *format, *cache, *aio;
    bool writable, resize, force_share, image_opts, no_backing, check;
    bool no_key;                   /* only the metadata is wanted */
    bool async;                    /* host I/O in worker threads: requests overlap */
    const NodeOpts *key_opts;      /* of create: its key is passed on */
} OpenArgs;

bool image_open(Image *image, const char *filename, const OpenArgs *args);
/* Flushes; false when that fails. */
bool image_close(Image *image);
/* At the end of a command that came to STATUS: the exit status.  A failed flush is not told of after
 * another error, which is the reason. */
int image_finish(Image *image, int status);
/* No extents, no data file: who has claimed its name (image_claim()) may remove it as a whole. */
bool image_is_one_file(const Image *image);

typedef struct Progress {
    bool on;
    double last;
} Progress;
void progress_show(Progress *p, double percent);
void progress_end(Progress *p);

/* "a=b,c=d" of -o, several times; false after an error message. */
bool add_create_opts(NodeOpts *opts, const char *text);
/* "-o help": lists what images of FORMAT are created with.  The exit status; -1: OPTS do not ask for it. */
int show_create_help(const char *format, const NodeOpts *opts);
void print_json(Json *take);
char *human_size(uint64_t bytes);
int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
bool size_arg(const char *what, const char *text, uint64_t *value);

/* Reports a failed request; the exit status. */
int io_failed(const char *what, uint64_t at, int ret);

/* Runs co-code of a command. */
typedef struct Job {
    int (*run)(void *opaque);
    void *opaque;
    int ret;
} Job;
int run_job(int (*run)(void *opaque), void *opaque);

/* "snapshot.id=X", "snapshot.name=X" or "X": X. */
const char *snapshot_arg(const char *text);

typedef struct RateLimit {
    uint64_t per_second;           /* 0: none */
    uint64_t bytes;
    int64_t begin_us;
} RateLimit;
/* Counts BYTES and sleeps as long as they were too fast. */
void co_rate_wait(RateLimit *rate, uint64_t bytes);

extern const ImgCommand img_amend_command, img_bench_command, img_bitmap_command,
    img_check_command, img_commit_command, img_compare_command, img_convert_command,
    img_create_command, img_dd_command, img_info_command, img_map_command, img_measure_command,
    img_rebase_command, img_resize_command, img_snapshot_command;

#endif
