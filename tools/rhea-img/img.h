/* SPDX-License-Identifier: MIT */
/*
 * rhea-img: what its commands share.  One process runs one command; each command function gets
 * argc/argv from its own name on and returns the exit status.
 */
#ifndef TOOLS_RHEA_IMG_IMG_H
#define TOOLS_RHEA_IMG_IMG_H

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "block/driver.h"

typedef struct Image {
    BlockNode *node;
    BlockChild *root;
} Image;

typedef struct OpenArgs {
    const char *format, *cache;
    bool writable, resize, force_share, image_opts, no_backing, check, unsafe_backing;
} OpenArgs;

bool image_open(Image *image, const char *filename, const OpenArgs *args);
/* Flushes; false when that fails. */
bool image_close(Image *image);

typedef struct Progress {
    bool on;
    double last;
} Progress;
void progress_show(Progress *p, double percent);
void progress_end(Progress *p);

/* "a=b,c=d" of -o, several times; false after an error message. */
bool add_create_opts(NodeOpts *opts, const char *text);
bool parse_output(const char *text, bool *json);
void print_json(Json *take);
char *human_size(uint64_t bytes);
int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* For getopt results ':' and '?'. */
int bad_option(int c, char **argv);
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

int img_create(int argc, char **argv);
int img_info(int argc, char **argv);
int img_check(int argc, char **argv);
int img_convert(int argc, char **argv);
int img_compare(int argc, char **argv);
int img_resize(int argc, char **argv);
int img_snapshot(int argc, char **argv);
int img_map(int argc, char **argv);
int img_commit(int argc, char **argv);
int img_rebase(int argc, char **argv);
int img_measure(int argc, char **argv);
int img_dd(int argc, char **argv);
int img_amend(int argc, char **argv);
int img_bench(int argc, char **argv);

#endif
