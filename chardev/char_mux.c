/* SPDX-License-Identifier: MIT */
/*
 * The multiplexer: several users share one back end; the escape key (Ctrl-A) and a letter move
 * the keyboard between them and do a few other things.
 *
 * Output of all users goes to the one back end.  Input goes to the user with the keyboard; what
 * it has no room for waits in a small buffer.
 */
#include "base/error.h"
#include "base/log.h"
#include "chardev/kind.h"

#include <string.h>
#include <sys/time.h>

#define MUX_MAX 8
#define MUX_BUFFER 256 /* a power of two */

typedef struct MuxChardev {
    Chardev chr;
    CharFrontend base;
    CharFrontend *users[MUX_MAX];
    int focus; /* slot, or -1 */
    bool escaped;
    bool timestamps, line_start;
    int64_t timestamps_from_us;
    uint8_t buffer[MUX_BUFFER];
    unsigned prod, cons;
} MuxChardev;

static uint8_t escape_key = 1;
static const CharMuxActions *actions;
static void *actions_opaque;

void chardev_set_escape(uint8_t code)
{
    escape_key = code;
}

void chardev_set_mux_actions(const CharMuxActions *a, void *opaque)
{
    actions = a;
    actions_opaque = opaque;
}

static CharFrontend *focused(MuxChardev *m)
{
    return m->focus >= 0 ? m->users[m->focus] : NULL;
}

static void tell(CharFrontend *fe, CharEvent event)
{
    if (fe && fe->attached && fe->handlers->event) {
        fe->handlers->event(fe->opaque, event);
    }
}

static void set_focus(MuxChardev *m, int slot)
{
    if (m->focus == slot) {
        return;
    }
    tell(focused(m), CHAR_EVENT_MUX_OUT);
    m->focus = slot;
    tell(focused(m), CHAR_EVENT_MUX_IN);
}

static void next_focus(MuxChardev *m)
{
    for (int i = 1; i <= MUX_MAX; i++) {
        int slot = (m->focus + i) % MUX_MAX;

        if (m->users[slot] && m->users[slot]->attached) {
            set_focus(m, slot);
            return;
        }
    }
}

static unsigned room_of(CharFrontend *fe)
{
    if (!fe || !fe->attached || !fe->handlers->receive) {
        return 0;
    }
    return fe->handlers->can_receive ? fe->handlers->can_receive(fe->opaque) : MUX_BUFFER;
}

static void drain(MuxChardev *m)
{
    while (m->prod != m->cons) {
        CharFrontend *fe = focused(m);
        uint8_t byte = m->buffer[m->cons % MUX_BUFFER];

        if (room_of(fe) == 0) {
            return;
        }
        m->cons++;
        fe->handlers->receive(fe->opaque, &byte, 1);
    }
}

static void print(MuxChardev *m, const char *text)
{
    char_write_all(&m->base, text, strlen(text));
}

static void print_help(MuxChardev *m)
{
    static const char *const lines[] = {
        "h    print this help\r\n",
        "x    exit emulator\r\n",
        "s    save disk data back to file (if -snapshot)\r\n",
        "t    toggle console timestamps\r\n",
        "b    send break (magic sysrq)\r\n",
        "c    switch between console and monitor\r\n",
    };
    g_autofree char *key = escape_key >= 1 && escape_key <= 26
                               ? g_strdup_printf("C-%c", escape_key - 1 + 'a')
                               : g_strdup_printf("Escape-Char 0x%02x", escape_key);
    g_autofree char *last = g_strdup_printf("%s %s  sends %s\r\n", key, key, key);

    print(m, "\r\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *line = g_strdup_printf("%s %s", key, lines[i]);

        print(m, line);
    }
    print(m, last);
}

/* The byte after the escape key; true if it is for the user after all. */
static bool command(MuxChardev *m, uint8_t byte)
{
    if (byte == escape_key) {
        return true;
    }
    switch (byte) {
    case 'h':
    case '?':
        print_help(m);
        break;
    case 'x':
        print(m, "QEMU: Terminated\r\n");
        if (actions && actions->quit) {
            actions->quit(actions_opaque);
        }
        break;
    case 's':
        if (actions && actions->commit_disks) {
            actions->commit_disks(actions_opaque);
        }
        break;
    case 'b':
        tell(focused(m), CHAR_EVENT_BREAK);
        break;
    case 'c':
        next_focus(m);
        break;
    case 't':
        m->timestamps = !m->timestamps;
        m->timestamps_from_us = -1;
        m->line_start = false;
        break;
    default:
        break; /* an unknown letter is swallowed */
    }
    return false;
}

static unsigned mux_can_receive(void *opaque)
{
    MuxChardev *m = opaque;

    /* Commands must get through however busy the user is, so one place always seems free. */
    return MAX(MUX_BUFFER - (m->prod - m->cons), 1u);
}

static void mux_receive(void *opaque, const uint8_t *data, unsigned len)
{
    MuxChardev *m = opaque;

    for (unsigned i = 0; i < len; i++) {
        if (m->escaped) {
            m->escaped = false;
            if (!command(m, data[i])) {
                continue;
            }
        } else if (data[i] == escape_key && escape_key) {
            m->escaped = true;
            continue;
        }
        if (m->prod - m->cons < MUX_BUFFER) {
            m->buffer[m->prod++ % MUX_BUFFER] = data[i];
        }
        drain(m);
    }
}

static void mux_event(void *opaque, CharEvent event)
{
    MuxChardev *m = opaque;

    for (unsigned i = 0; i < MUX_MAX; i++) {
        tell(m->users[i], event);
    }
}

static void mux_writable(void *opaque)
{
    MuxChardev *m = opaque;

    for (unsigned i = 0; i < MUX_MAX; i++) {
        CharFrontend *fe = m->users[i];

        if (fe && fe->want_writable) {
            fe->want_writable = false;
            if (fe->attached && fe->handlers->writable) {
                fe->handlers->writable(fe->opaque);
            }
        }
    }
}

static const CharHandlers mux_handlers = { mux_can_receive, mux_receive, mux_event, mux_writable };

static bool mux_open(Chardev *chr, KeyVal *opts, GError **error)
{
    MuxChardev *m = (MuxChardev *)chr;

    m->focus = -1;
    if (!char_connect(&m->base, keyval_get(opts, "chardev"), error)) {
        return false;
    }
    chr->filename = g_strdup(chardev_filename(m->base.chr));
    chr->open = true;
    return true;
}

static void mux_close(Chardev *chr)
{
    MuxChardev *m = (MuxChardev *)chr;

    for (unsigned i = 0; i < MUX_MAX; i++) {
        if (m->users[i]) {
            m->users[i]->chr = NULL;
        }
    }
    char_disconnect(&m->base);
}

static void write_stamp(MuxChardev *m)
{
    int64_t now = g_get_monotonic_time();
    char text[40];
    int64_t ms;

    if (m->timestamps_from_us < 0) {
        m->timestamps_from_us = now;
    }
    ms = (now - m->timestamps_from_us) / 1000;
    g_snprintf(text, sizeof(text), "[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000),
               (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
    print(m, text);
}

static unsigned mux_write(Chardev *chr, const CharFrontend *fe, const uint8_t *data, unsigned len)
{
    MuxChardev *m = (MuxChardev *)chr;

    if (!m->timestamps) {
        return char_write(&m->base, data, len);
    }
    for (unsigned i = 0; i < len; i++) {
        if (m->line_start) {
            write_stamp(m);
            m->line_start = false;
        }
        if (char_write(&m->base, &data[i], 1) == 0) {
            return i;
        }
        m->line_start = data[i] == '\n';
    }
    return len;
}

static bool mux_connect(Chardev *chr, CharFrontend *fe, GError **error)
{
    MuxChardev *m = (MuxChardev *)chr;

    for (unsigned i = 0; i < MUX_MAX; i++) {
        if (!m->users[i]) {
            m->users[i] = fe;
            fe->mux_slot = i;
            return true;
        }
    }
    return error_set(error, "Chardev '%s' has %d users already, which is the limit", chr->id,
                     MUX_MAX);
}

static void mux_disconnect(Chardev *chr, CharFrontend *fe)
{
    MuxChardev *m = (MuxChardev *)chr;
    bool any = false;

    m->users[fe->mux_slot] = NULL;
    if (m->focus == fe->mux_slot) {
        m->focus = -1;
        next_focus(m);
    }
    for (unsigned i = 0; i < MUX_MAX; i++) {
        any |= m->users[i] != NULL;
    }
    chr->fe_open = any;
}

/* The newest user gets the keyboard, as in QEMU. */
static void mux_attached(Chardev *chr, CharFrontend *fe)
{
    MuxChardev *m = (MuxChardev *)chr;

    if (!m->base.attached) {
        /* char_attach() itself tells FE that the peer is there. */
        fe->attached = false;
        char_attach(&m->base, &mux_handlers, m);
        fe->attached = true;
    }
    set_focus(m, fe->mux_slot);
}

static void mux_accept_input(Chardev *chr)
{
    MuxChardev *m = (MuxChardev *)chr;

    drain(m);
    char_accept_input(&m->base);
}

static bool mux_peer_open(Chardev *chr)
{
    return char_is_open(&((MuxChardev *)chr)->base);
}

static void mux_set_echo(Chardev *chr, bool echo)
{
    char_set_echo(&((MuxChardev *)chr)->base, echo);
}

const ChardevKind chardev_mux = {
    .name = "mux",
    .help = "chardev=ID",
    .keys = "chardev",
    .size = sizeof(MuxChardev),
    .open = mux_open,
    .close = mux_close,
    .write = mux_write,
    .connect = mux_connect,
    .disconnect = mux_disconnect,
    .attached = mux_attached,
    .accept_input = mux_accept_input,
    .peer_open = mux_peer_open,
    .set_echo = mux_set_echo,
};
