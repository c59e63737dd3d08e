/* SPDX-License-Identifier: MIT */
/*
 * Making, finding and removing character back ends.  Users of one see chardev/frontend.h.
 *
 * Back ends have ids and live in one table of the process, as do the terminal and the sockets
 * they stand for.  They come from
 *  - "-chardev KIND,id=ID,KEY=VALUE..." and QMP chardev-add:  chardev_new_from_option(),
 *    chardev_new();
 *  - the short forms of -serial, -parallel, -monitor, -qmp, -gdb and others:
 *    chardev_new_legacy(): null, stdio, pty, file:PATH, pipe:PATH, ringbuf, unix:PATH[,...],
 *    tcp:[HOST]:PORT[,...], telnet:..., udp:[HOST]:PORT[@[HOST]:PORT], /dev/tty*, chardev:ID,
 *    and mon: in front of any for one shared with a monitor.  "none" is for the caller.
 *
 * Keys that every kind takes: id, mux, logfile, logappend.
 *
 * Thread rule: main loop.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "base/keyval.h"
#include "chardev/frontend.h"

/* KIND as in -chardev; OPTS' keys are read and any that remain are an error.  Table-owned. */
Chardev *chardev_new(const char *kind, const char *id, KeyVal *opts, GError **error);
Chardev *chardev_new_from_option(const char *option, GError **error);
/* The short forms; *MON (may be NULL) tells whether "mon:" was in front. */
Chardev *chardev_new_legacy(const char *id, const char *text, bool *mon, GError **error);

Chardev *chardev_find(const char *id);
void chardev_foreach(void (*visit)(Chardev *chr, void *opaque), void *opaque);
/* Puts a new back end in the place of ID's; the user keeps its handlers.  On an error the old one
 * stays. */
Chardev *chardev_change(const char *id, const char *kind, KeyVal *opts, GError **error);
/* Fails while a user is connected. */
bool chardev_remove(const char *id, GError **error);
/* At exit: flushes what it can without blocking, restores the terminal, unlinks sockets. */
void chardev_cleanup(void);

const char *chardev_id(const Chardev *chr);
/* For query-chardev: "unix:/x,server=on", "pty:/dev/pts/3". */
const char *chardev_filename(const Chardev *chr);
const char *chardev_kind(const Chardev *chr);
/* Whether a user is connected and has opened its side. */
bool chardev_frontend_open(const Chardev *chr);
/* Host side break, QMP chardev-send-break. */
void chardev_send_break(Chardev *chr);

/* The text of "-chardev help". */
char *chardev_help(void);

/* Ring buffers: QMP ringbuf-read and ringbuf-write.  The caller frees. */
GByteArray *chardev_ringbuf_read(Chardev *chr, size_t max, GError **error);
bool chardev_ringbuf_write(Chardev *chr, const void *data, size_t len, GError **error);

/* -------- multiplexed back ends -------- */

/* -echr CODE; 1 (Ctrl-A) unless set. */
void chardev_set_escape(uint8_t code);

/* What the escape keys that reach outside do; any may be NULL. */
typedef struct CharMuxActions {
    void (*quit)(void *opaque);        /* x */
    void (*commit_disks)(void *opaque); /* s */
} CharMuxActions;
void chardev_set_mux_actions(const CharMuxActions *actions, void *opaque);

/* Kinds that other folders bring (vc of ui/, spicevmc...): see chardev/kind.h. */
typedef struct ChardevKind ChardevKind;
void chardev_register_kind(const ChardevKind *kind);

#endif
