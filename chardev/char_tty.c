/* SPDX-License-Identifier: MIT */
/*
 * Terminals: stdio, a pty of our own, a serial port of the host.  [termios(3), tty_ioctl(4)]
 *
 * The user's terminal is put into raw mode and restored at exit and while the process is
 * stopped (SIGTSTP, SIGCONT come in through the signals' default action and our handler).
 */
#include "base/error.h"
#include "chardev/kind.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* -------- stdio -------- */

typedef struct StdioChardev {
    Chardev chr;
    bool signals; /* Ctrl-C and the like act on us instead of going to the guest */
} StdioChardev;

/* There is one terminal, and signal handlers must find its settings. */
static struct {
    bool in_use, is_tty, atexit_done;
    int flags;
    struct termios saved, raw;
} terminal;

static void terminal_restore(void)
{
    if (terminal.in_use) {
        if (terminal.is_tty) {
            tcsetattr(STDIN_FILENO, TCSANOW, &terminal.saved);
        }
        fcntl(STDIN_FILENO, F_SETFL, terminal.flags);
    }
}

static void terminal_continued(int signal)
{
    int saved = errno;

    if (terminal.in_use && terminal.is_tty) {
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal.raw);
    }
    errno = saved;
}

static void stdio_set_echo(Chardev *chr, bool echo)
{
    struct termios *t = &terminal.raw;

    if (!terminal.is_tty) {
        return;
    }
    *t = terminal.saved;
    if (!echo) {
        t->c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
        t->c_oflag |= OPOST;
        t->c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
        t->c_cflag = (t->c_cflag & ~(CSIZE | PARENB)) | CS8;
        t->c_cc[VMIN] = 1;
        t->c_cc[VTIME] = 0;
    }
    if (!((StdioChardev *)chr)->signals) {
        t->c_lflag &= ~ISIG;
    }
    tcsetattr(STDIN_FILENO, TCSANOW, t);
}

static bool stdio_open(Chardev *chr, KeyVal *opts, GError **error)
{
    StdioChardev *s = (StdioChardev *)chr;
    struct sigaction act = { .sa_handler = terminal_continued, .sa_flags = SA_RESTART };

    if (!keyval_get_bool(opts, "signal", true, &s->signals, error)) {
        return false;
    }
    if (terminal.in_use) {
        return error_set(error, "chardev '%s': the terminal is taken by another chardev (use one "
                         "-chardev stdio with mux=on for several users)", chr->id);
    }
    terminal.in_use = true;
    terminal.is_tty = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal.saved) == 0;
    terminal.flags = fcntl(STDIN_FILENO, F_GETFL);
    fcntl(STDIN_FILENO, F_SETFL, terminal.flags | O_NONBLOCK);
    if (!terminal.atexit_done) {
        terminal.atexit_done = true;
        atexit(terminal_restore);
    }
    sigaction(SIGCONT, &act, NULL);
    stdio_set_echo(chr, false);
    chardev_set_stream(chr, STDIN_FILENO, STDOUT_FILENO, false);
    chr->filename = g_strdup("stdio");
    chr->open = true;
    return true;
}

static void stdio_close(Chardev *chr)
{
    if (chr->in_fd == STDIN_FILENO) { /* not when open() refused a second one */
        terminal_restore();
        terminal.in_use = false;
    }
}

const ChardevKind chardev_stdio = {
    .name = "stdio",
    .help = "[signal=on|off] (off: Ctrl-C goes to the guest)",
    .keys = "signal",
    .size = sizeof(StdioChardev),
    .open = stdio_open,
    .close = stdio_close,
    .set_echo = stdio_set_echo,
};

/* -------- a pty -------- */

#define PTY_POLL_MS 500

typedef struct PtyChardev {
    Chardev chr;
    int master;
    LoopDelay *poll;
} PtyChardev;

static void pty_look(void *opaque)
{
    PtyChardev *p = opaque;
    struct pollfd pfd = { .fd = p->master, .events = POLLOUT };

    g_clear_pointer(&p->poll, loop_delay_free);
    if (poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP)) {
        chardev_set_stream(&p->chr, p->master, p->master, false);
        chardev_event(&p->chr, CHAR_EVENT_OPENED);
    } else {
        /* Nobody has the other side open, and Linux has no event for the first who does. */
        p->poll = loop_delay_new(p->chr.loop, PTY_POLL_MS, pty_look, p);
    }
}

static void pty_hang_up(Chardev *chr)
{
    PtyChardev *p = (PtyChardev *)chr;

    chardev_drop_stream(chr);
    chardev_event(chr, CHAR_EVENT_CLOSED);
    if (!p->poll) {
        p->poll = loop_delay_new(chr->loop, PTY_POLL_MS, pty_look, p);
    }
}

static bool pty_open(Chardev *chr, KeyVal *opts, GError **error)
{
    PtyChardev *p = (PtyChardev *)chr;
    struct termios raw;
    int slave;
    char name[64];

    p->master = -1;
    memset(&raw, 0, sizeof(raw));
    cfmakeraw(&raw);
    raw.c_cflag |= CS8 | CREAD;
    cfsetspeed(&raw, B9600);
    if (openpty(&p->master, &slave, name, &raw, NULL) != 0) {
        return error_set_errno(error, errno, "Cannot make a pty for chardev '%s'", chr->id);
    }
    close(slave);
    fcntl(p->master, F_SETFD, FD_CLOEXEC);
    fcntl(p->master, F_SETFL, O_RDWR | O_NONBLOCK);
    chr->filename = g_strdup_printf("pty:%s", name);
    /* On stderr, word for word as scripts expect it. */
    fprintf(stderr, "char device redirected to %s (label %s)\n", name, chr->id);
    pty_look(p);
    return true;
}

static void pty_close(Chardev *chr)
{
    PtyChardev *p = (PtyChardev *)chr;

    g_clear_pointer(&p->poll, loop_delay_free);
    chardev_drop_stream(chr);
    if (p->master >= 0) {
        close(p->master);
    }
}

const ChardevKind chardev_pty = {
    .name = "pty",
    .help = "a new pseudo-terminal, whose name is printed",
    .size = sizeof(PtyChardev),
    .open = pty_open,
    .close = pty_close,
    .hang_up = pty_hang_up,
};

/* -------- a serial port of the host -------- */

static const struct {
    unsigned baud;
    speed_t code;
} speeds[] = {
    { 50, B50 },         { 75, B75 },         { 110, B110 },       { 134, B134 },
    { 150, B150 },       { 200, B200 },       { 300, B300 },       { 600, B600 },
    { 1200, B1200 },     { 1800, B1800 },     { 2400, B2400 },     { 4800, B4800 },
    { 9600, B9600 },     { 19200, B19200 },   { 38400, B38400 },   { 57600, B57600 },
    { 115200, B115200 }, { 230400, B230400 }, { 460800, B460800 }, { 921600, B921600 },
};

static const struct {
    unsigned line, host;
} modem_lines[] = {
    { CHAR_LINE_CTS, TIOCM_CTS }, { CHAR_LINE_DSR, TIOCM_DSR }, { CHAR_LINE_RI, TIOCM_RI },
    { CHAR_LINE_DCD, TIOCM_CAR }, { CHAR_LINE_DTR, TIOCM_DTR }, { CHAR_LINE_RTS, TIOCM_RTS },
};

static void serial_set_line(Chardev *chr, const CharLineParams *params)
{
    struct termios t;
    speed_t speed = B115200;

    if (tcgetattr(chr->in_fd, &t) != 0) {
        return;
    }
    cfmakeraw(&t);
    for (unsigned i = 0; i < G_N_ELEMENTS(speeds); i++) {
        if (params->baud >= speeds[i].baud) {
            speed = speeds[i].code;
        }
    }
    cfsetspeed(&t, speed);
    t.c_cflag &= ~(CSTOPB | PARENB | PARODD | CRTSCTS | CSIZE);
    t.c_cflag |= params->data_bits == 5 ? CS5 : params->data_bits == 6 ? CS6 :
                 params->data_bits == 7 ? CS7 : CS8;
    t.c_cflag |= params->parity == 'N' ? 0 : params->parity == 'E' ? PARENB : PARENB | PARODD;
    t.c_cflag |= params->stop_bits == 2 ? CSTOPB : 0;
    tcsetattr(chr->in_fd, TCSANOW, &t);
}

static void serial_set_break(Chardev *chr, bool on)
{
    ioctl(chr->in_fd, on ? TIOCSBRK : TIOCCBRK);
}

static bool serial_get_modem(Chardev *chr, unsigned *lines)
{
    int host;

    if (ioctl(chr->in_fd, TIOCMGET, &host) != 0) {
        return false;
    }
    *lines = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(modem_lines); i++) {
        *lines |= host & modem_lines[i].host ? modem_lines[i].line : 0;
    }
    return true;
}

static void serial_set_modem(Chardev *chr, unsigned lines)
{
    int on = (lines & CHAR_LINE_DTR ? TIOCM_DTR : 0) | (lines & CHAR_LINE_RTS ? TIOCM_RTS : 0);
    int off = (TIOCM_DTR | TIOCM_RTS) & ~on;

    ioctl(chr->in_fd, TIOCMBIS, &on);
    ioctl(chr->in_fd, TIOCMBIC, &off);
}

static bool serial_open(Chardev *chr, KeyVal *opts, GError **error)
{
    const char *path = keyval_get(opts, "path");
    CharLineParams params = { 115200, 'N', 8, 1 };
    int fd;

    if (!path) {
        return error_set(error, "chardev '%s': serial needs path=/dev/tty...", chr->id);
    }
    fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || !isatty(fd)) {
        int err = errno;

        if (fd >= 0) {
            close(fd);
        }
        return error_set_errno(error, err, "Cannot open '%s' as a serial port for chardev '%s'%s",
                               path, chr->id,
                               err == EACCES ? " (is the user in group dialout?)" : "");
    }
    chardev_set_stream(chr, fd, fd, true);
    serial_set_line(chr, &params);
    chr->filename = g_strdup("serial");
    chr->open = true;
    return true;
}

const ChardevKind chardev_serial = {
    .name = "serial",
    .alias = "tty",
    .help = "path=/dev/tty... (a serial port of the host)",
    .keys = "path",
    .size = sizeof(Chardev),
    .open = serial_open,
    .set_line = serial_set_line,
    .set_break = serial_set_break,
    .get_modem = serial_get_modem,
    .set_modem = serial_set_modem,
};
