/* SPDX-License-Identifier: MIT */
/*
 * A line editor for terminals that are bytes on a character device.
 *
 * Fed a byte at a time, it echoes, edits (arrows, Home, End, Delete, Ctrl-A/B/D/E/F/H/K/U/W, Ctrl-L),
 * recalls history (Up, Down, Ctrl-P, Ctrl-N) and completes (Tab).  Without editing it only gathers
 * lines, for scripts on a pipe or socket.
 *
 * Thread rule: the owner's loop.
 */
#ifndef MONITOR_READLINE_H
#define MONITOR_READLINE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define READLINE_MAX 4095            /* bytes of a line */
#define READLINE_HISTORY 64          /* lines */

typedef struct Readline Readline;

typedef struct ReadlineHost {
    void (*write)(void *opaque, const char *text, size_t len);
    /* A complete line; the editor shows its prompt again afterwards. */
    void (*line)(void *opaque, const char *line);
    /* Possible whole words (char *, freed by the array) for the last word of TEXT; or NULL. */
    GPtrArray *(*complete)(void *opaque, const char *text);
    void *opaque;
} ReadlineHost;

Readline *readline_new(const ReadlineHost *host, const char *prompt, bool editing);
void readline_free(Readline *rl);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Readline, readline_free)
void readline_feed(Readline *rl, uint8_t byte);
/* Shows the prompt and what is typed so far on a new line. */
void readline_show(Readline *rl);
/* Drops what was typed. */
void readline_reset(Readline *rl);
/* char *, oldest first. */
GPtrArray *readline_history(Readline *rl);

#endif
