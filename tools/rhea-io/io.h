/* SPDX-License-Identifier: MIT */
/*
 * rhea-io: what its files share.  main.c reads options and lines, io_rw.c has the commands that
 * move data, io_image.c those about the image as a whole.
 *
 * A command is a row of a table; the core counts its operands, finds an image open where it
 * needs one, and calls run(), which prints and returns false after a failure:
 *
 *     { "flush", "f", 0, 0, IO_NEEDS_IMAGE, "", "writes out what caches hold", NULL, cmd_flush },
 *
 * Single threaded.
 */
#ifndef TOOLS_RHEA_IO_IO_H
#define TOOLS_RHEA_IO_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "block/driver.h"

/* How an image is opened: the options of the program, and of the command open. */
typedef struct IoOpen {
    bool read_only, snapshot, copy_on_read, share, direct, no_flush, write_through;
    const char *aio, *discard;     /* borrowed; NULL: threads, unmap */
    NodeOpts *opts;                /* owned */
} IoOpen;

typedef struct Io {
    BlockNode *node;               /* NULL: no image is open */
    BlockBackend *blk;
    bool failed, quit;
    bool misalign;                 /* buffers begin 16 bytes into what malloc() gives */
    unsigned pending;              /* aio_ commands under way */
} Io;

enum { IO_NEEDS_IMAGE = 1 << 0, IO_ANY_COUNT = -1 };

typedef struct IoCommand {
    const char *name, *alias;
    int min, max;                  /* operands; options count too, as each command parses its own */
    unsigned flags;
    const char *args, *help;
    const char *const *options;    /* lines of help, NULL-terminated; or NULL */
    bool (*run)(Io *io, const struct IoCommand *command, int argc, char **argv);
} IoCommand;

extern const IoCommand io_rw_commands[], io_image_commands[];   /* ended by a row without name */

/* Opens FILENAME (NULL: OPTS tell all) for IO, which has no image; says so when it fails. */
bool io_open_image(Io *io, const char *filename, const IoOpen *how);
void io_close_image(Io *io);
/* Sets the three of HOW; false: no such mode, and it was said. */
bool io_set_cache(IoOpen *how, const char *mode);
bool io_set_aio(IoOpen *how, const char *mode);
/* Waits for the aio_ commands. */
void io_drain(Io *io);

/* "1.500 KiB" */
char *io_size_text(double value);
bool io_fail(const char *what, int ret);               /* returns false */
bool io_complain(GError *take);                        /* the same */
/* SIZE, with suffixes, of TEXT. */
bool io_parse_size(const char *what, const char *text, uint64_t *value);
/* "read [-v] off len -- reads ..." */
void io_print_usage(const IoCommand *command);

#endif
