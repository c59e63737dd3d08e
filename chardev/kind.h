/* SPDX-License-Identifier: MIT */
/*
 * What a kind of character back end is made of.
 *
 * A kind is a row.  Most are streams: they set in_fd and out_fd (or one of them) and the
 * core does the rest: watches, the output queue, back-pressure, the log file.  A kind without
 * descriptors gives a write hook.
 *
 * Locking: chr->lock guards out_fd and the output queue; all else belongs to the loop.
 */
#ifndef CHARDEV_KIND_H
#define CHARDEV_KIND_H

#include "base/thread.h"
#include "chardev/chardev.h"

struct ChardevKind {
    const char *name;
    const char *alias;  /* or NULL */
    const char *help;   /* the keys, for -chardev help */
    const char *keys;   /* their names, with spaces between; others are refused before open() */
    size_t size;        /* of the struct that begins with Chardev */
    /* Reads its keys and opens.  close() is called also after a failed open(). */
    bool (*open)(Chardev *chr, KeyVal *opts, GError **error);
    void (*close)(Chardev *chr);
    /* Instead of a stream: any thread; how many bytes were taken. */
    unsigned (*write)(Chardev *chr, const CharFrontend *fe, const uint8_t *data, unsigned len);
    /* Instead of read(2) (telnet, descriptors): bytes, 0 at the end, -1 with errno. */
    ssize_t (*read)(Chardev *chr, uint8_t *buffer, size_t len);
    ssize_t (*send)(Chardev *chr, const uint8_t *data, size_t len);
    /* The stream has ended or failed; without the hook it is simply no longer read. */
    void (*hang_up)(Chardev *chr);
    void (*accept_input)(Chardev *chr);
    void (*loop_changed)(Chardev *chr);
    void (*set_echo)(Chardev *chr, bool echo);
    void (*set_line)(Chardev *chr, const CharLineParams *params);
    void (*set_break)(Chardev *chr, bool on);
    bool (*get_modem)(Chardev *chr, unsigned *lines);
    void (*set_modem)(Chardev *chr, unsigned lines);
    int (*take_fd)(Chardev *chr);
    bool (*send_fds)(Chardev *chr, const int *fds, unsigned count);
    /* Multiplexers have several users. */
    bool (*connect)(Chardev *chr, CharFrontend *fe, GError **error);
    void (*disconnect)(Chardev *chr, CharFrontend *fe);
    void (*attached)(Chardev *chr, CharFrontend *fe);
    bool (*peer_open)(Chardev *chr);
};

struct Chardev {
    const ChardevKind *kind;
    char *id;
    char *filename;
    EventLoop *loop;
    CharFrontend *fe;    /* NULL: nobody, or a multiplexer's many */
    bool open;           /* a peer is there */
    bool fe_open;
    int in_fd, out_fd;   /* -1: none */
    bool owns_fds;
    FdWatch *in_watch, *out_watch;
    bool paused;         /* the user had no room */
    int log_fd;

    Mutex lock;
    GByteArray *out;     /* taken but unsent */
    bool broken;         /* a write failed; the loop hangs up */
    Bh *flush_bh;        /* another thread has queued output */
};

/* Sets up the descriptors (IN may equal OUT) and watches them; OWNS: close them at the end. */
void chardev_set_stream(Chardev *chr, int in, int out, bool owns);
/* Stops watching, closes owned descriptors, throws away what is queued. */
void chardev_drop_stream(Chardev *chr);
/* Tells the user; the peer's coming and going also changes chr->open. */
void chardev_event(Chardev *chr, CharEvent event);
/* How much the user takes now, and handing it over. */
unsigned chardev_can_receive(Chardev *chr);
void chardev_receive(Chardev *chr, const uint8_t *data, unsigned len);

/* The rows of this folder. */
extern const ChardevKind chardev_null, chardev_stdio, chardev_file, chardev_pipe, chardev_pty,
    chardev_serial, chardev_socket, chardev_udp, chardev_ringbuf, chardev_mux;

#endif
