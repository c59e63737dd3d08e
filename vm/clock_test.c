/* SPDX-License-Identifier: MIT */
/* Clocks and timers: order, replacement, stopping, threads; and the source for the main loop. */
#include "vm/clock.h"

typedef struct Log {
    Clock *clock;
    GString *text;
    Timer timers[4];
    unsigned notified;
    GMainLoop *loop;
} Log;

static void log_fire(Log *l, char c)
{
    g_string_append_printf(l->text, "%c%" G_GINT64_FORMAT " ", c, clock_now(l->clock));
}

static void fire_a(void *opaque)
{
    log_fire(opaque, 'a');
}

static void fire_b(void *opaque)
{
    log_fire(opaque, 'b');
}

static void fire_again(void *opaque)
{
    Log *l = opaque;

    log_fire(l, 'r');
    /* Who waits for timers that are due does not go on while this one is at work. */
    g_assert_cmpint(clock_next_deadline(l->clock), ==, clock_now(l->clock));
    timer_set(&l->timers[2], clock_now(l->clock) + 10);
}

static void log_init(Log *l, Clock *clock)
{
    *l = (Log){ .clock = clock, .text = g_string_new(NULL) };
    timer_init(&l->timers[0], clock, fire_a, l);
    timer_init(&l->timers[1], clock, fire_b, l);
    timer_init(&l->timers[2], clock, fire_again, l);
}

static void log_clear(Log *l)
{
    for (unsigned i = 0; i < 3; i++) {
        timer_cancel(&l->timers[i]);
    }
    g_string_free(l->text, TRUE);
    clock_free(l->clock);
}

static void test_timers_fire_in_order_at_their_time(void)
{
    Log l;

    log_init(&l, clock_new_fake(CLOCK_KIND_VIRTUAL));
    timer_set(&l.timers[1], 200);
    timer_set(&l.timers[0], 100);
    clock_fake_advance(l.clock, 150);
    g_assert_cmpstr(l.text->str, ==, "a100 ");
    g_assert_cmpint(clock_now(l.clock), ==, 150);
    g_assert_cmpint(clock_next_deadline(l.clock), ==, 200);
    clock_fake_advance(l.clock, 50);
    g_assert_cmpstr(l.text->str, ==, "a100 b200 ");
    g_assert_cmpint(clock_next_deadline(l.clock), ==, -1);
    log_clear(&l);
}

static void test_setting_again_replaces(void)
{
    Log l;

    log_init(&l, clock_new_fake(CLOCK_KIND_VIRTUAL));
    timer_set(&l.timers[0], 10);
    timer_set(&l.timers[0], 30);
    timer_set(&l.timers[1], 20);
    timer_cancel(&l.timers[1]);
    g_assert_false(timer_pending(&l.timers[1]));
    clock_fake_advance(l.clock, 100);
    g_assert_cmpstr(l.text->str, ==, "a30 ");
    log_clear(&l);
}

static void test_periodic_timer_fires_each_period(void)
{
    Log l;

    log_init(&l, clock_new_fake(CLOCK_KIND_VIRTUAL));
    timer_set(&l.timers[2], 10);
    clock_fake_advance(l.clock, 35);
    g_assert_cmpstr(l.text->str, ==, "r10 r20 r30 ");
    log_clear(&l);
}

static void test_stopped_virtual_clock_stands_still(void)
{
    Clock *clock = clock_new(CLOCK_KIND_VIRTUAL);
    int64_t then;

    g_assert_cmpint(clock_now(clock), ==, 0);
    clock_set(clock, 12345);
    g_assert_cmpint(clock_now(clock), ==, 12345);
    clock_start(clock);
    clock_stop(clock);
    then = clock_now(clock);
    g_assert_cmpint(then, >=, 12345);
    g_assert_cmpint(clock_now(clock), ==, then);
    g_assert_false(clock_is_running(clock));
    clock_free(clock);
}

static void test_stopped_clock_fires_nothing(void)
{
    Log l;

    log_init(&l, clock_new(CLOCK_KIND_VIRTUAL));
    timer_set(&l.timers[0], 0);
    g_assert_cmpuint(clock_run(l.clock), ==, 0);
    clock_start(l.clock);
    g_assert_cmpuint(clock_run(l.clock), ==, 1);
    log_clear(&l);
}

static void on_notify(void *opaque)
{
    ((Log *)opaque)->notified++;
}

static void test_notify_only_when_earlier(void)
{
    Log l;

    log_init(&l, clock_new_fake(CLOCK_KIND_VIRTUAL));
    clock_set_notify(l.clock, on_notify, &l);
    timer_set(&l.timers[0], 100);
    g_assert_cmpuint(l.notified, ==, 1);
    timer_set(&l.timers[1], 200);
    g_assert_cmpuint(l.notified, ==, 1);
    timer_set(&l.timers[1], 50);
    g_assert_cmpuint(l.notified, ==, 2);
    log_clear(&l);
}

/* Instructions, of a guest that is halted until the next deadline. */
static int64_t counted(void *opaque)
{
    return *(int64_t *)opaque;
}

static int64_t wait_not(void *opaque, int64_t remaining) { return 0; }

static void reach(void *opaque, int64_t remaining)
{
    *(int64_t *)opaque += MAX(remaining, 0);
}

static void fired(void *opaque) { }

static const ClockSourceOps counted_ops = {
    .now = counted, .wait = wait_not, .reach = reach, .fired = fired,
};

static void test_time_from_a_source(void)
{
    Clock *clock = clock_new(CLOCK_KIND_VIRTUAL);
    int64_t instructions = 77;

    clock_set_source(clock, &counted_ops, &instructions);
    g_assert_cmpint(clock_now(clock), ==, 77);
    instructions = 99;
    g_assert_cmpint(clock_now(clock), ==, 99);
    clock_free(clock);
}

static void quit_loop(void *opaque)
{
    g_main_loop_quit(((Log *)opaque)->loop);
}

/* The source says when, and takes the time there: hours pass at once. */
static void test_source_reaches_deadlines(void)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    Clock *clock = clock_new(CLOCK_KIND_VIRTUAL);
    Log l = { .clock = clock, .loop = g_main_loop_new(context, FALSE) };
    int64_t instructions = 5, hours = 3 * 3600 * NANOSECONDS_PER_SECOND;
    Timer t;

    clock_set_source(clock, &counted_ops, &instructions);
    clock_attach(clock, context);
    clock_start(clock);
    clock_set(clock, 1000);
    timer_init(&t, clock, quit_loop, &l);
    timer_set(&t, hours);
    g_main_loop_run(l.loop);
    g_assert_cmpint(clock_now(clock), ==, hours);
    g_assert_cmpint(instructions, ==, hours - 1000 + 5);
    g_main_loop_unref(l.loop);
    clock_free(clock);
}

static void test_main_loop_fires_attached_clock(void)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    Clock *clock = clock_new(CLOCK_KIND_REALTIME);
    Log l = { .clock = clock, .loop = g_main_loop_new(context, FALSE) };
    Timer t;
    int64_t start = clock_now(clock);

    clock_attach(clock, context);
    timer_init(&t, clock, quit_loop, &l);
    timer_set(&t, start + 200000);
    g_main_loop_run(l.loop);
    g_assert_cmpint(clock_now(clock), >=, start + 200000);
    g_assert_false(timer_pending(&t));
    g_main_loop_unref(l.loop);
    clock_free(clock);
}

static void *set_many(void *opaque)
{
    Log *l = opaque;

    for (int i = 0; i < 2000; i++) {
        Timer t;

        timer_init(&t, l->clock, fire_b, l);
        timer_set(&t, 1000000 + i);
        timer_set(&t, 2000000 - i);
        timer_cancel(&t);
    }
    return NULL;
}

static void test_many_threads_set_timers(void)
{
    Log l;
    GThread *threads[3];

    log_init(&l, clock_new_fake(CLOCK_KIND_VIRTUAL));
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        threads[i] = g_thread_new("setter", set_many, &l);
    }
    for (int i = 0; i < 500; i++) {
        clock_fake_advance(l.clock, 1);
    }
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpint(clock_next_deadline(l.clock), ==, -1);
    log_clear(&l);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/order", test_timers_fire_in_order_at_their_time);
    g_test_add_func("/clock/replace", test_setting_again_replaces);
    g_test_add_func("/clock/periodic", test_periodic_timer_fires_each_period);
    g_test_add_func("/clock/stopped", test_stopped_virtual_clock_stands_still);
    g_test_add_func("/clock/stopped-fires-nothing", test_stopped_clock_fires_nothing);
    g_test_add_func("/clock/notify", test_notify_only_when_earlier);
    g_test_add_func("/clock/source/deadlines", test_source_reaches_deadlines);
    g_test_add_func("/clock/source", test_time_from_a_source);
    g_test_add_func("/clock/main-loop", test_main_loop_fires_attached_clock);
    g_test_add_func("/clock/threads", test_many_threads_set_timers);
    return g_test_run();
}
