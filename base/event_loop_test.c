/* SPDX-License-Identifier: MIT */
/* Event loops: posts, bottom halves, descriptors, hooks, iothreads. */
#include "base/event_loop.h"
#include "base/thread.h"

#include <unistd.h>

static void append(void *opaque)
{
    g_string_append_c(*(GString **)opaque, '.');
}

typedef struct Step {
    GString *out;
    char c;
} Step;

static void step(void *opaque)
{
    Step *s = opaque;

    g_string_append_c(s->out, s->c);
}

static void test_posts_keep_their_order(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(GString) out = g_string_new(NULL);
    Step a = { out, 'a' }, b = { out, 'b' }, c = { out, 'c' };

    event_loop_post(loop, step, &a);
    event_loop_post(loop, step, &b);
    event_loop_post(loop, step, &c);
    g_assert_true(event_loop_iterate(loop, false));
    g_assert_cmpstr(out->str, ==, "abc");
    g_assert_false(event_loop_iterate(loop, false));
}

static void test_bh_is_idempotent_and_cancellable(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(GString) out = g_string_new(NULL);
    Bh *bh = bh_new(loop, append, &out);

    bh_schedule(bh);
    bh_schedule(bh);
    event_loop_iterate(loop, false);
    g_assert_cmpstr(out->str, ==, ".");
    bh_schedule(bh);
    bh_cancel(bh);
    event_loop_iterate(loop, false);
    g_assert_cmpstr(out->str, ==, ".");
    bh_schedule(bh);
    bh_free(bh);
    event_loop_iterate(loop, false);
    g_assert_cmpstr(out->str, ==, ".");
}

static EventLoop *nested_loop;
static void iterate_inside(void *opaque)
{
    event_loop_iterate(nested_loop, false);
    g_string_append_c(opaque, '!');
}

static void test_nested_iteration_sees_what_is_left(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(GString) out = g_string_new(NULL);
    Step a = { out, 'a' };

    nested_loop = loop;
    event_loop_post(loop, iterate_inside, out);
    event_loop_post(loop, step, &a);
    event_loop_iterate(loop, false);
    g_assert_cmpstr(out->str, ==, "a!");
}

typedef struct Pipe {
    int fds[2];
    unsigned reads;
    FdWatch *watch;
} Pipe;

static void pipe_readable(void *opaque)
{
    Pipe *p = opaque;
    char c;

    p->reads += read(p->fds[0], &c, 1) == 1;
}

static void pipe_free_itself(void *opaque)
{
    Pipe *p = opaque;

    p->reads++;
    g_clear_pointer(&p->watch, fd_watch_free);
}

static void test_fd_watch(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    Pipe p = { 0 };

    g_assert_cmpint(pipe(p.fds), ==, 0);
    p.watch = fd_watch_new(loop, p.fds[0], pipe_readable, NULL, &p);
    event_loop_iterate(loop, false);
    g_assert_cmpuint(p.reads, ==, 0);
    g_assert_cmpint(write(p.fds[1], "xy", 2), ==, 2);
    event_loop_iterate(loop, true);
    event_loop_iterate(loop, true);
    g_assert_cmpuint(p.reads, ==, 2);
    fd_watch_update(p.watch, NULL, NULL);
    g_assert_cmpint(write(p.fds[1], "z", 1), ==, 1);
    event_loop_iterate(loop, false);
    g_assert_cmpuint(p.reads, ==, 2);
    fd_watch_update(p.watch, pipe_free_itself, NULL);
    event_loop_iterate(loop, false);
    g_assert_cmpuint(p.reads, ==, 3);
    g_assert_false(event_loop_iterate(loop, false));
    close(p.fds[0]);
    close(p.fds[1]);
}

static void test_notifier_coalesces(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(Notifier) n = notifier_new(NULL);

    notifier_attach(n, loop, append, &out);
    notifier_set(n);
    notifier_set(n);
    event_loop_iterate(loop, true);
    event_loop_iterate(loop, false);
    g_assert_cmpstr(out->str, ==, ".");
}

typedef struct HookLog {
    GString *out;
    bool due;
} HookLog;
static int64_t hook_sleep(void *opaque)
{
    return 1000;
}
static void hook_before(void *opaque)
{
    g_string_append_c(((HookLog *)opaque)->out, '<');
}
static void hook_after(void *opaque)
{
    g_string_append_c(((HookLog *)opaque)->out, '>');
}
static bool hook_dispatch(void *opaque)
{
    g_string_append_c(((HookLog *)opaque)->out, 'd');
    return true;
}

static void test_hooks_surround_the_sleep(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(GString) out = g_string_new(NULL);
    HookLog log = { out, false };
    LoopHooks hooks = { hook_sleep, hook_before, hook_after, hook_dispatch, &log };

    event_loop_add_hooks(loop, &hooks);
    g_assert_true(event_loop_iterate(loop, true));
    g_assert_cmpstr(out->str, ==, "<>d");
    event_loop_iterate(loop, false);
    g_assert_cmpstr(out->str, ==, "<>dd");
    event_loop_remove_hooks(loop, &hooks);
}

static void note_thread(void *opaque)
{
    *(int *)opaque = thread_self_tid();
}

static void test_iothread_runs_calls(void)
{
    g_autoptr(IoThread) t = iothread_new("io0");
    int tid = 0;

    event_loop_call_wait(iothread_loop(t), note_thread, &tid);
    g_assert_cmpint(tid, ==, iothread_tid(t));
    g_assert_cmpint(tid, !=, thread_self_tid());
}

typedef struct PingPong {
    EventLoop *here, *there;
    unsigned left;
    bool finished;
} PingPong;
static void ping(void *opaque);
static void pong(void *opaque)
{
    PingPong *p = opaque;

    event_loop_post(p->here, ping, p);
}
static void ping(void *opaque)
{
    PingPong *p = opaque;

    if (p->left) {
        p->left--;
        event_loop_post(p->there, pong, p);
    } else {
        p->finished = true;
    }
}

static void test_no_wake_up_is_lost(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(IoThread) t = iothread_new("io0");
    PingPong p = { loop, iothread_loop(t), 5000, false };

    event_loop_post(loop, ping, &p);
    EVENT_LOOP_WAIT_WHILE(loop, !p.finished);
}

static void quit_loop(void *opaque)
{
    event_loop_quit(opaque);
}

/* Plain counts on purpose: the thread sanitizer sees whether parking orders the accesses. */
typedef struct Counter {
    EventLoop *there;
    uint64_t n;
    bool stop;
} Counter;

static void count_on(void *opaque)
{
    Counter *c = opaque;

    c->n++;
    if (!c->stop) {
        event_loop_post(c->there, count_on, c);
    }
}

static void test_parking_excludes(void)
{
    g_autoptr(IoThread) t = iothread_new("io0");
    Counter c = { iothread_loop(t), 0, false };
    int tid = 0;

    event_loop_post(c.there, count_on, &c);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t n;

        event_loop_park(c.there);
        event_loop_park(c.there);
        n = c.n;
        event_loop_unpark(c.there);
        event_loop_call_wait(c.there, note_thread, &tid);
        g_assert_cmpint(tid, ==, thread_self_tid());
        g_assert_cmpuint(c.n, ==, n);
        c.n = n + 1000;
        c.stop = i == 199;
        event_loop_unpark(c.there);
    }
    event_loop_call_wait(c.there, note_thread, &tid);
    g_assert_cmpint(tid, ==, iothread_tid(t));
    g_assert_cmpuint(c.n, >=, 200 * 1000);
}

/* A vCPU waits for a request while the main thread runs the main loop; the lock stands for that of
 * the machine. */
typedef struct Foreign {
    EventLoop *loop;
    Mutex lock;
    bool done;
} Foreign;

static void foreign_unlock(void *opaque)
{
    mutex_unlock(&((Foreign *)opaque)->lock);
}

static void foreign_lock(void *opaque)
{
    mutex_lock(&((Foreign *)opaque)->lock);
}

static void foreign_done(void *opaque)
{
    ((Foreign *)opaque)->done = true;
}

static void *foreign_body(void *opaque)
{
    Foreign *f = opaque;

    mutex_lock(&f->lock);
    event_loop_post(f->loop, foreign_done, f);
    EVENT_LOOP_WAIT_WHILE(f->loop, !f->done);
    event_loop_post(f->loop, quit_loop, f->loop);
    mutex_unlock(&f->lock);
    return NULL;
}

static void test_another_thread_waits(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    Foreign f = { .loop = loop };
    LoopHooks hooks = { NULL, foreign_unlock, foreign_lock, NULL, &f };

    mutex_init(&f.lock, "test", LOCK_RANK_MACHINE);
    for (unsigned i = 0; i < 200; i++) {
        Thread *other;

        f.done = false;
        mutex_lock(&f.lock);
        event_loop_add_hooks(loop, &hooks);
        other = thread_new("other", foreign_body, &f);
        event_loop_run(loop);
        mutex_unlock(&f.lock);
        thread_join(other);
        event_loop_remove_hooks(loop, &hooks);
    }
    mutex_clear(&f.lock);
}

static void test_delay_and_quit(void)
{
    g_autoptr(EventLoop) loop = event_loop_new("t");
    g_autoptr(LoopDelay) delay = loop_delay_new(loop, 1, quit_loop, loop);

    event_loop_run(loop);
    g_assert_nonnull(delay);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loop/posts", test_posts_keep_their_order);
    g_test_add_func("/loop/bh", test_bh_is_idempotent_and_cancellable);
    g_test_add_func("/loop/nested", test_nested_iteration_sees_what_is_left);
    g_test_add_func("/loop/fd", test_fd_watch);
    g_test_add_func("/loop/notifier", test_notifier_coalesces);
    g_test_add_func("/loop/hooks", test_hooks_surround_the_sleep);
    g_test_add_func("/loop/iothread", test_iothread_runs_calls);
    g_test_add_func("/loop/ping-pong", test_no_wake_up_is_lost);
    g_test_add_func("/loop/park", test_parking_excludes);
    g_test_add_func("/loop/other-thread", test_another_thread_waits);
    g_test_add_func("/loop/delay", test_delay_and_quit);
    return g_test_run();
}
