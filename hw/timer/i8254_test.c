/* SPDX-License-Identifier: MIT */
/* The interval timer. */
#include "hw/isa/isa_bench.h"
#include "hw/timer/i8254.h"

enum { MS = 1000000 };

static Device *pit_new(IsaBench *b)
{
    g_autoptr(GError) error = NULL;
    Device *pit = i8254_new(&b->bus, false, b->bus.irqs[0], &error);

    g_assert_no_error(error);
    device_reset(pit);
    return pit;
}

static void set_counter(IsaBench *b, unsigned n, unsigned mode, unsigned count)
{
    isa_out8(b, 0x43, n << 6 | 0x30 | mode << 1);
    isa_out8(b, 0x40 + n, count & 0xff);
    isa_out8(b, 0x40 + n, count >> 8);
}

static unsigned read_counter(IsaBench *b, unsigned n)
{
    unsigned low = isa_in8(b, 0x40 + n);

    return low | isa_in8(b, 0x40 + n) << 8;
}

static void test_mode_2_ticks_at_its_rate(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned before;

    pit_new(b);
    set_counter(b, 0, 2, 11932);          /* 100 Hz */
    before = b->edges[0];
    isa_bench_advance_ns(b, 1000ll * MS + MS);
    g_assert_cmpuint(b->edges[0] - before, ==, 100);
}

static void test_mode_3_ticks_at_its_rate(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned before;

    pit_new(b);
    set_counter(b, 0, 3, 11931);          /* odd: one clock longer high */
    before = b->edges[0];
    isa_bench_advance_ns(b, 1000ll * MS + MS);
    g_assert_cmpuint(b->edges[0] - before, ==, 100);
}

static bool waits(void *opaque)
{
    return *(bool *)opaque;
}

/* The guest sleeps for ten periods; once awake it gets all of them, one after the other. */
static void test_ticks_not_taken_come_later(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    Device *pit = pit_new(b);
    bool asleep = true;
    unsigned before;

    i8254_set_tick_query(pit, waits, &asleep);
    set_counter(b, 0, 2, 11932);          /* 10 ms */
    before = b->edges[0];
    isa_bench_advance_ns(b, 105 * MS);
    g_assert_cmpuint(b->edges[0] - before, ==, 0);
    asleep = false;
    isa_bench_advance_ns(b, 2 * MS);
    g_assert_cmpuint(b->edges[0] - before, >, 0);
    isa_bench_advance_ns(b, 12 * MS);
    g_assert_cmpuint(b->edges[0] - before, ==, 11);
    isa_bench_advance_ns(b, 100 * MS);
    g_assert_cmpuint(b->edges[0] - before, ==, 21);
}

/* A guest that sleeps for long is owed a second's worth and no more. */
static void test_owed_ticks_are_bounded(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    Device *pit = pit_new(b);
    bool asleep = true;
    unsigned before;

    i8254_set_tick_query(pit, waits, &asleep);
    set_counter(b, 0, 2, 11932);
    before = b->edges[0];
    isa_bench_advance_ns(b, 60000ll * MS);
    asleep = false;
    isa_bench_advance_ns(b, 1000 * MS);
    g_assert_cmpuint(b->edges[0] - before, >=, 195);
    g_assert_cmpuint(b->edges[0] - before, <=, 202);
}

static void test_mode_0_rises_once(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    pit_new(b);
    set_counter(b, 0, 0, 1193);           /* 1 ms */
    g_assert_false(isa_bench_irq(b, 0));
    isa_bench_advance_ns(b, 900000);
    g_assert_false(isa_bench_irq(b, 0));
    isa_bench_advance_ns(b, 200000);
    g_assert_true(isa_bench_irq(b, 0));
    isa_bench_advance_ns(b, 100 * MS);
    g_assert_true(isa_bench_irq(b, 0));
}

static void test_latch_freezes_the_count(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    unsigned latched;

    pit_new(b);
    set_counter(b, 0, 2, 0);
    isa_bench_advance_ns(b, 10 * MS);
    isa_out8(b, 0x43, 0x00);
    isa_bench_advance_ns(b, 10 * MS);
    latched = read_counter(b, 0);
    g_assert_cmpuint(latched, ==, 0x10000 - 11931);
    g_assert_cmpuint(read_counter(b, 0), <, latched);
}

static void test_read_back_gives_status_then_count(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    pit_new(b);
    set_counter(b, 0, 2, 0x1234);
    isa_out8(b, 0x43, 0xc2);
    g_assert_cmphex(isa_in8(b, 0x40), ==, 0xb4);
    g_assert_cmphex(read_counter(b, 0), ==, 0x1234);
}

static void test_bcd_counts_in_decimal(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    pit_new(b);
    isa_out8(b, 0x43, 0x35);
    isa_out8(b, 0x40, 0x00);
    isa_out8(b, 0x40, 0x50);
    isa_bench_advance_ns(b, MS);          /* 1193 clocks */
    isa_out8(b, 0x43, 0x00);
    g_assert_cmphex(read_counter(b, 0), ==, 0x3807);
}

static void test_gate_starts_one_shot(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    Device *pit = pit_new(b);

    set_counter(b, 2, 1, 1193);
    g_assert_true(i8254_out(pit, 2));
    i8254_set_gate(pit, 2, true);
    g_assert_false(i8254_out(pit, 2));
    isa_bench_advance_ns(b, MS + 1000);
    g_assert_true(i8254_out(pit, 2));
}

static void test_gate_stops_mode_0(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    Device *pit = pit_new(b);

    i8254_set_gate(pit, 2, true);
    set_counter(b, 2, 0, 1193);
    isa_bench_advance_ns(b, MS / 2);
    i8254_set_gate(pit, 2, false);
    isa_bench_advance_ns(b, 10 * MS);
    g_assert_false(i8254_out(pit, 2));
    i8254_set_gate(pit, 2, true);
    isa_bench_advance_ns(b, MS / 2 + 2000);
    g_assert_true(i8254_out(pit, 2));
}

static void test_hpet_can_silence_it(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();
    Device *pit = pit_new(b);
    IrqLine enable = { 0 };

    set_counter(b, 0, 2, 11932);
    irq_connect(&enable, device_input(pit, 0));
    irq_raise(&enable);
    irq_lower(&enable);
    b->edges[0] = 0;
    isa_bench_advance_ns(b, 100 * MS);
    g_assert_cmpuint(b->edges[0], ==, 0);
    irq_raise(&enable);
    isa_bench_advance_ns(b, 100 * MS);
    g_assert_cmpuint(b->edges[0], >=, 9);
}

static void test_state_survives_save_and_load(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    pit_new(b);
    set_counter(b, 0, 2, 11932);
    isa_bench_advance_ns(b, 5 * MS);
    isa_bench_save_load(b);
    b->edges[0] = 0;
    isa_bench_advance_ns(b, 100 * MS);
    g_assert_cmpuint(b->edges[0], ==, 10);
}

static void test_survives_garbage(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    pit_new(b);
    isa_bench_fuzz(b, 0x40, 0x43, 5000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8254/ticks-not-taken", test_ticks_not_taken_come_later);
    g_test_add_func("/i8254/owed-bounded", test_owed_ticks_are_bounded);
    g_test_add_func("/i8254/mode-2", test_mode_2_ticks_at_its_rate);
    g_test_add_func("/i8254/mode-3", test_mode_3_ticks_at_its_rate);
    g_test_add_func("/i8254/mode-0", test_mode_0_rises_once);
    g_test_add_func("/i8254/latch", test_latch_freezes_the_count);
    g_test_add_func("/i8254/read-back", test_read_back_gives_status_then_count);
    g_test_add_func("/i8254/bcd", test_bcd_counts_in_decimal);
    g_test_add_func("/i8254/one-shot", test_gate_starts_one_shot);
    g_test_add_func("/i8254/gate", test_gate_stops_mode_0);
    g_test_add_func("/i8254/hpet", test_hpet_can_silence_it);
    g_test_add_func("/i8254/save-load", test_state_survives_save_and_load);
    g_test_add_func("/i8254/garbage", test_survives_garbage);
    return g_test_run();
}
