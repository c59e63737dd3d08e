/* SPDX-License-Identifier: MIT */
/*
 * What a loop waits for: delays, descriptors, notifiers; see base/event_loop.h.
 * They are sources of the loop's GMainContext and know nothing else of it.
 */
#include "base/event_loop.h"
#include "base/error.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* -------- delays -------- */

struct LoopDelay {
    GSource *source;
    LoopFn *fn;
    void *opaque;
};

static gboolean loop_delay_fire(void *opaque)
{
    LoopDelay *d = opaque;

    d->fn(d->opaque);
    return G_SOURCE_REMOVE;
}

LoopDelay *loop_delay_new(EventLoop *loop, int64_t ms, LoopFn *fn, void *opaque)
{
    LoopDelay *d = g_new0(LoopDelay, 1);

    d->fn = fn;
    d->opaque = opaque;
    d->source = g_timeout_source_new((unsigned)CLAMP(ms, 0, G_MAXINT));
    g_source_set_callback(d->source, loop_delay_fire, d, NULL);
    g_source_attach(d->source, event_loop_context(loop));
    return d;
}

void loop_delay_free(LoopDelay *d)
{
    if (d) {
        g_source_destroy(d->source);
        g_source_unref(d->source);
        g_free(d);
    }
}

/* -------- descriptors -------- */

struct FdWatch {
    GSource source;
    GPollFD pfd;
    LoopFn *on_read, *on_write;
    void *opaque;
};

static gboolean fd_watch_check(GSource *source)
{
    FdWatch *w = (FdWatch *)(void *)source;

    return (w->pfd.revents & (w->pfd.events | G_IO_HUP | G_IO_ERR)) && w->pfd.events;
}

static gboolean fd_watch_dispatch(GSource *source, GSourceFunc fn, void *data)
{
    FdWatch *w = (FdWatch *)(void *)source;
    unsigned got = w->pfd.revents;

    if ((got & (G_IO_IN | G_IO_HUP | G_IO_ERR)) && w->on_read) {
        w->on_read(w->opaque);
    }
    /* The source survives its own removal until dispatch returns. */
    if ((got & (G_IO_OUT | G_IO_ERR)) && !g_source_is_destroyed(source) && w->on_write) {
        w->on_write(w->opaque);
    }
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs fd_watch_funcs = { .check = fd_watch_check, .dispatch = fd_watch_dispatch };

static unsigned fd_watch_events(LoopFn *on_read, LoopFn *on_write)
{
    return (on_read ? G_IO_IN : 0) | (on_write ? G_IO_OUT : 0);
}

FdWatch *fd_watch_new(EventLoop *loop, int fd, LoopFn *on_read, LoopFn *on_write, void *opaque)
{
    FdWatch *w = (FdWatch *)(void *)g_source_new(&fd_watch_funcs, sizeof(FdWatch));

    w->pfd = (GPollFD){ .fd = fd, .events = fd_watch_events(on_read, on_write) };
    w->on_read = on_read;
    w->on_write = on_write;
    w->opaque = opaque;
    if (w->pfd.events) {
        g_source_add_poll(&w->source, &w->pfd);
    }
    g_source_set_can_recurse(&w->source, TRUE);
    g_source_attach(&w->source, event_loop_context(loop));
    return w;
}

void fd_watch_update(FdWatch *w, LoopFn *on_read, LoopFn *on_write)
{
    unsigned events = fd_watch_events(on_read, on_write);

    /* A descriptor of no interest is taken out: poll() reports its hang-up regardless. */
    if (events && !w->pfd.events) {
        g_source_add_poll(&w->source, &w->pfd);
    } else if (!events && w->pfd.events) {
        g_source_remove_poll(&w->source, &w->pfd);
    }
    w->on_read = on_read;
    w->on_write = on_write;
    w->pfd.events = events;
    w->pfd.revents &= events | G_IO_HUP | G_IO_ERR;
    g_main_context_wakeup(g_source_get_context(&w->source));
}

void fd_watch_free(FdWatch *w)
{
    if (w) {
        w->on_read = NULL;
        w->on_write = NULL;
        g_source_destroy(&w->source);
        g_source_unref(&w->source);
    }
}

struct Notifier {
    int fd;
    FdWatch *watch;
    LoopFn *fn;
    void *opaque;
};

Notifier *notifier_new(GError **error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    Notifier *n;

    if (fd < 0) {
        error_set_errno(error, errno, "Cannot make an eventfd");
        return NULL;
    }
    n = g_new0(Notifier, 1);
    n->fd = fd;
    return n;
}

void notifier_set(Notifier *n)
{
    uint64_t one = 1;
    int saved = errno;
    ssize_t done G_GNUC_UNUSED = write(n->fd, &one, sizeof(one));

    errno = saved;
}

bool notifier_test_and_clear(Notifier *n)
{
    uint64_t count;

    return read(n->fd, &count, sizeof(count)) == sizeof(count);
}

int notifier_fd(const Notifier *n)
{
    return n->fd;
}

static void notifier_ready(void *opaque)
{
    Notifier *n = opaque;

    if (notifier_test_and_clear(n)) {
        n->fn(n->opaque);
    }
}

void notifier_attach(Notifier *n, EventLoop *loop, LoopFn *fn, void *opaque)
{
    g_clear_pointer(&n->watch, fd_watch_free);
    n->fn = fn;
    n->opaque = opaque;
    if (fn) {
        n->watch = fd_watch_new(loop, n->fd, notifier_ready, NULL, n);
    }
}

void notifier_free(Notifier *n)
{
    if (n) {
        fd_watch_free(n->watch);
        close(n->fd);
        g_free(n);
    }
}
