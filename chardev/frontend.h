/* SPDX-License-Identifier: MIT */
/*
 * Character devices as their users (serial ports, monitors, gdbstub, qtest...) see them.
 *
 * A CharFrontend sits inside the user and is connected to one back end (Chardev), which
 * carries bytes both ways.  Not connected, it swallows output and never has input.
 *
 *     struct Uart { Device dev; CharFrontend chr; ... };
 *     PROP_CHR("chardev", Uart, chr)                   // property row: chardev=ID
 *
 *     static const CharHandlers uart_handlers = { uart_can_receive, uart_receive, uart_event };
 *     realize:    char_attach(&s->chr, &uart_handlers, s);
 *     unrealize:  char_detach(&s->chr);
 *
 * Output: char_write() takes what fits and says how much that was.  Back ends that can block
 * queue some (64 KiB) and write when the host lets them, so devices may ignore a short write
 * (the byte is lost, as on a line nobody reads) or keep the rest and go on when writable()
 * is called.  A socket or pty without a peer swallows output.
 *
 * Input: the back end asks can_receive() how much may come and then calls receive() with no
 * more than that.  After can_receive() has returned 0 the user calls char_accept_input() once
 * there is room again.
 *
 * Thread rule: handlers run on the back end's event loop, the main loop unless moved by
 * char_set_loop(); there the machine lock is held.  char_write() may be called from any thread.
 * All else from the loop's thread (for devices: under the machine lock).
 */
#ifndef CHARDEV_FRONTEND_H
#define CHARDEV_FRONTEND_H

#include "base/event_loop.h"
#include "vm/object.h"

typedef struct Chardev Chardev;

typedef enum CharEvent {
    CHAR_EVENT_OPENED,  /* a peer is there (also told to a user that attaches later) */
    CHAR_EVENT_CLOSED,  /* the peer has gone */
    CHAR_EVENT_BREAK,   /* a break condition came in */
    CHAR_EVENT_MUX_IN,  /* this user of a multiplexed back end has the keyboard now */
    CHAR_EVENT_MUX_OUT, /* ... has no longer */
} CharEvent;

/* Any may be NULL; without can_receive everything is taken. */
typedef struct CharHandlers {
    unsigned (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *data, unsigned len);
    void (*event)(void *opaque, CharEvent event);
    void (*writable)(void *opaque); /* room again after a short char_write() */
} CharHandlers;

typedef struct CharFrontend {
    Chardev *chr; /* NULL: not connected */
    const CharHandlers *handlers;
    void *opaque;
    int mux_slot; /* of a multiplexed back end */
    bool attached;
    bool want_writable;
} CharFrontend;

/*
 * Connects FE to the back end of that name; fails if there is none or if it is taken (only a
 * multiplexed one has more than one user).  Property rows do this themselves.
 */
bool char_connect(CharFrontend *fe, const char *id, GError **error);
bool char_connect_backend(CharFrontend *fe, Chardev *chr, GError **error);
/* Detaches if need be; the back end is free for another. */
void char_disconnect(CharFrontend *fe);
static inline bool char_connected(const CharFrontend *fe)
{
    return fe->chr != NULL;
}
/* The name of the back end, or NULL. */
const char *char_id(const CharFrontend *fe);

/* Starts to receive.  HANDLERS must stay; an OPENED event follows if a peer is there. */
void char_attach(CharFrontend *fe, const CharHandlers *handlers, void *opaque);
void char_detach(CharFrontend *fe);

/* How many of LEN bytes were taken; never blocks, never negative. */
unsigned char_write(CharFrontend *fe, const void *data, unsigned len);
/* False if there was no room. */
static inline bool char_write_byte(CharFrontend *fe, uint8_t byte)
{
    return char_write(fe, &byte, 1) == 1;
}
/* Takes all of it: what does not fit is queued without limit.  For trusted users (monitors). */
void char_write_all(CharFrontend *fe, const void *data, size_t len);

/* There is room for input again. */
void char_accept_input(CharFrontend *fe);

/* Whether a peer is there now (true for back ends that have none to wait for). */
bool char_is_open(const CharFrontend *fe);
/* The user's own side opens or closes, where the guest can do that (virtio-serial, spice). */
void char_set_open(CharFrontend *fe, bool open);
/* Ends the peer's connection; sockets listen on. */
void char_hang_up(CharFrontend *fe);
/* Terminals: whether the host echoes and edits lines (default: no, bytes come raw). */
void char_set_echo(CharFrontend *fe, bool echo);
/* Moves the back end to another loop; before char_attach(). */
void char_set_loop(CharFrontend *fe, EventLoop *loop);

/* -------- lines: real serial ports and ptys take these, others ignore them -------- */

typedef struct CharLineParams {
    unsigned baud;
    char parity; /* 'N', 'E', 'O' */
    uint8_t data_bits, stop_bits;
} CharLineParams;
void char_set_line(CharFrontend *fe, const CharLineParams *params);
void char_set_break(CharFrontend *fe, bool on);
enum { CHAR_LINE_CTS = 1, CHAR_LINE_DSR = 2, CHAR_LINE_RI = 4, CHAR_LINE_DCD = 8,
       CHAR_LINE_DTR = 16, CHAR_LINE_RTS = 32 };
/* False if the back end has no modem lines. */
bool char_get_modem(CharFrontend *fe, unsigned *lines);
void char_set_modem(CharFrontend *fe, unsigned lines);

/* -------- file descriptors over unix sockets -------- */

/* The next descriptor that came with the data so far, or -1; the caller owns it. */
int char_take_fd(CharFrontend *fe);
/* Sends FDS along with the next char_write(); false if the back end cannot. */
bool char_send_fds(CharFrontend *fe, const int *fds, unsigned count);

/* -------- the property -------- */

extern const PropType prop_chr;
#define PROP_CHR(n, T, f, ...) PROP_ROW(n, &prop_chr, T, f, __VA_ARGS__)

#endif
