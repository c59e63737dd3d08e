/* SPDX-License-Identifier: MIT */
/* The HPET. */
#include "hw/isa/isa_bench.h"
#include "hw/timer/hpet.h"

enum { MS_TICKS = 100000, MS = 1000000, GSI0 = 32, GSI8 = 40, GSI20 = 52, PIT_ENABLE = 60 };

typedef struct Fixture {
    IsaBench *b;
    Device *hpet;
    IrqLine rtc;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->b = isa_bench_new();
    f->hpet = hpet_new(f->b->vm, 0x00100004, &error);
    g_assert_no_error(error);
    hpet_connect_gsi(f->hpet, 0, isa_bench_pin(f->b, GSI0));
    hpet_connect_gsi(f->hpet, 8, isa_bench_pin(f->b, GSI8));
    hpet_connect_gsi(f->hpet, 20, isa_bench_pin(f->b, GSI20));
    hpet_connect_pit(f->hpet, isa_bench_pin(f->b, PIT_ENABLE));
    irq_connect(&f->rtc, hpet_rtc_pin(f->hpet));
    device_reset(f->hpet);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    device_unplug(f->hpet);
    isa_bench_free(f->b);
}

static void wr(Fixture *f, unsigned offset, uint64_t value, unsigned size)
{
    address_space_store(&f->b->vm->memory, HPET_BASE + offset, value, size);
}

static uint64_t rd(Fixture *f, unsigned offset, unsigned size)
{
    return address_space_load(&f->b->vm->memory, HPET_BASE + offset, size);
}

static bool waits(void *opaque)
{
    return *(bool *)opaque;
}

/* As IRQ 0 the guest counts on every tick, also on those it slept through. */
static void test_ticks_not_taken_come_later(Fixture *f, gconstpointer data)
{
    bool asleep = true;
    unsigned before;

    hpet_set_tick_query(f->hpet, waits, &asleep);
    wr(f, 0x10, 3, 4);
    wr(f, 0x100, 0x4c, 4);
    wr(f, 0x108, 10 * MS_TICKS, 8);
    wr(f, 0x108, 10 * MS_TICKS, 8);
    before = f->b->edges[GSI0];
    isa_bench_advance_ns(f->b, 105 * MS);
    g_assert_cmpuint(f->b->edges[GSI0] - before, ==, 0);
    asleep = false;
    isa_bench_advance_ns(f->b, 40 * MS);
    g_assert_cmpuint(f->b->edges[GSI0] - before, ==, 14);
    isa_bench_advance_ns(f->b, 100 * MS);
    g_assert_cmpuint(f->b->edges[GSI0] - before, ==, 24);
}

static void test_capabilities(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(rd(f, 0, 4), ==, 0x8086a201);
    g_assert_cmpuint(rd(f, 4, 4), ==, HPET_PERIOD_FS);
    g_assert_cmphex(rd(f, 0x104, 4), ==, 0x00100004);
}

static void test_counter_runs_only_when_enabled(Fixture *f, gconstpointer data)
{
    isa_bench_advance_ns(f->b, MS);
    g_assert_cmpuint(rd(f, 0xf0, 8), ==, 0);
    wr(f, 0x10, 1, 4);
    isa_bench_advance_ns(f->b, MS);
    g_assert_cmpuint(rd(f, 0xf0, 8), ==, MS_TICKS);
    wr(f, 0x10, 0, 4);
    isa_bench_advance_ns(f->b, MS);
    g_assert_cmpuint(rd(f, 0xf0, 8), ==, MS_TICKS);
}

static void test_one_shot_fires_once(Fixture *f, gconstpointer data)
{
    wr(f, 0x120, 20 << 9 | 4, 4);
    wr(f, 0x10, 1, 4);
    wr(f, 0x128, 2 * MS_TICKS, 8);
    isa_bench_advance_ns(f->b, 2 * MS - 100);
    g_assert_cmpuint(f->b->edges[GSI20], ==, 0);
    isa_bench_advance_ns(f->b, 100 * MS);
    g_assert_cmpuint(f->b->edges[GSI20], ==, 1);
}

static void test_periodic_written_in_halves(Fixture *f, gconstpointer data)
{
    wr(f, 0x10, 1, 4);
    wr(f, 0x100, 20 << 9 | 0x4c | 0x100, 4);      /* as Linux does: 32 bits, periodic, set value */
    wr(f, 0x108, MS_TICKS, 4);
    wr(f, 0x108, MS_TICKS, 4);
    isa_bench_advance_ns(f->b, 50 * MS);
    g_assert_cmpuint(f->b->edges[GSI20], ==, 50);
}

static void test_level_interrupt_is_acknowledged(Fixture *f, gconstpointer data)
{
    wr(f, 0x100, 20 << 9 | 6, 4);
    wr(f, 0x10, 1, 4);
    wr(f, 0x108, MS_TICKS, 8);
    isa_bench_advance_ns(f->b, MS);
    g_assert_true(isa_bench_irq(f->b, GSI20));
    g_assert_cmphex(rd(f, 0x20, 4), ==, 1);
    wr(f, 0x20, 1, 4);
    g_assert_false(isa_bench_irq(f->b, GSI20));
}

static void test_legacy_replacement(Fixture *f, gconstpointer data)
{
    g_assert_true(isa_bench_irq(f->b, PIT_ENABLE));
    irq_raise(&f->rtc);
    g_assert_true(isa_bench_irq(f->b, GSI8));
    wr(f, 0x100, 4, 4);
    wr(f, 0x10, 3, 4);
    g_assert_false(isa_bench_irq(f->b, PIT_ENABLE));
    g_assert_false(isa_bench_irq(f->b, GSI8));
    wr(f, 0x108, MS_TICKS, 8);
    isa_bench_advance_ns(f->b, MS);
    g_assert_cmpuint(f->b->edges[GSI0], ==, 1);
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    wr(f, 0x10, 1, 4);
    wr(f, 0x100, 20 << 9 | 0x4c, 4);
    wr(f, 0x108, MS_TICKS, 8);
    wr(f, 0x108, MS_TICKS, 8);
    isa_bench_advance_ns(f->b, MS / 2);
    isa_bench_save_load(f->b);
    g_assert_cmpuint(rd(f, 0xf0, 8), ==, MS_TICKS / 2);
    isa_bench_advance_ns(f->b, 10 * MS);
    g_assert_cmpuint(f->b->edges[GSI20], ==, 10);
}

static void test_survives_garbage(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t value = (uint64_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();
        unsigned offset = g_test_rand_int_range(0, 0x180);

        wr(f, offset & ~7, g_test_rand_bit() ? value : value & 0xffff, g_test_rand_bit() ? 4 : 8);
        rd(f, offset & ~3, 4);
        isa_bench_advance_ns(f->b, g_test_rand_int_range(0, 100000));
    }
}

#define ADD(name, fn) g_test_add("/hpet/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("capabilities", test_capabilities);
    ADD("counter", test_counter_runs_only_when_enabled);
    ADD("one-shot", test_one_shot_fires_once);
    ADD("periodic", test_periodic_written_in_halves);
    ADD("level", test_level_interrupt_is_acknowledged);
    ADD("legacy", test_legacy_replacement);
    ADD("ticks-not-taken", test_ticks_not_taken_come_later);
    ADD("save-load", test_state_survives_save_and_load);
    ADD("garbage", test_survives_garbage);
    return g_test_run();
}
