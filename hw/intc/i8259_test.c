/* SPDX-License-Identifier: MIT */
/* The 8259 pair. */
#include "hw/intc/i8259.h"
#include "hw/isa/isa_bench.h"

enum { INTR = 20 };

typedef struct Fixture {
    IsaBench *b;
    Device *pic;
    IrqLine lines[16];
} Fixture;

static void init_chip(IsaBench *b, uint16_t port, uint8_t base, uint8_t icw3, uint8_t icw4)
{
    isa_out8(b, port, 0x11);
    isa_out8(b, port + 1, base);
    isa_out8(b, port + 1, icw3);
    isa_out8(b, port + 1, icw4);
    isa_out8(b, port + 1, 0);
}

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    IrqPin pins[16];

    f->b = isa_bench_new();
    f->pic = i8259_pair_new(&f->b->bus, false, isa_bench_pin(f->b, INTR), pins, &error);
    g_assert_no_error(error);
    for (unsigned n = 0; n < 16; n++) {
        irq_connect(&f->lines[n], pins[n]);
    }
    init_chip(f->b, 0x20, 0x08, 0x04, 0x01);
    init_chip(f->b, 0xa0, 0x70, 0x02, 0x01);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    isa_bench_free(f->b);
}

static void test_edge_gives_its_vector_once(Fixture *f, gconstpointer data)
{
    irq_raise(&f->lines[4]);
    g_assert_true(isa_bench_irq(f->b, INTR));
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0c);
    g_assert_false(isa_bench_irq(f->b, INTR));
    isa_out8(f->b, 0x20, 0x20);
    g_assert_false(isa_bench_irq(f->b, INTR));
    irq_lower(&f->lines[4]);
    irq_raise(&f->lines[4]);
    g_assert_true(isa_bench_irq(f->b, INTR));
}

static void test_lower_priority_waits_for_eoi(Fixture *f, gconstpointer data)
{
    irq_raise(&f->lines[3]);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0b);
    irq_raise(&f->lines[5]);
    g_assert_false(isa_bench_irq(f->b, INTR));
    irq_raise(&f->lines[1]);
    g_assert_true(isa_bench_irq(f->b, INTR));
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x09);
    isa_out8(f->b, 0x20, 0x20);
    isa_out8(f->b, 0x20, 0x20);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0d);
}

static void test_slave_comes_through_the_cascade(Fixture *f, gconstpointer data)
{
    irq_raise(&f->lines[12]);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x74);
    isa_out8(f->b, 0xa0, 0x0b);
    g_assert_cmphex(isa_in8(f->b, 0xa0), ==, 0x10);
    isa_out8(f->b, 0x20, 0x0b);
    g_assert_cmphex(isa_in8(f->b, 0x20), ==, 0x04);
    isa_out8(f->b, 0xa0, 0x20);
    isa_out8(f->b, 0x20, 0x62);
    g_assert_cmphex(isa_in8(f->b, 0x20), ==, 0x00);
}

static void test_vanished_request_is_spurious(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0f);
    isa_out8(f->b, 0x20, 0x0b);
    g_assert_cmphex(isa_in8(f->b, 0x20), ==, 0x00);
}

static void test_level_line_asks_until_it_falls(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, 0x4d0, 0x20);
    irq_raise(&f->lines[5]);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0d);
    isa_out8(f->b, 0x20, 0x20);
    g_assert_true(isa_bench_irq(f->b, INTR));
    irq_lower(&f->lines[5]);
    g_assert_false(isa_bench_irq(f->b, INTR));
}

static void test_masked_edge_is_remembered(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, 0x21, 0x10);
    irq_raise(&f->lines[4]);
    g_assert_false(isa_bench_irq(f->b, INTR));
    isa_out8(f->b, 0x21, 0x00);
    g_assert_true(isa_bench_irq(f->b, INTR));
}

static void test_rotate_on_eoi_makes_it_the_lowest(Fixture *f, gconstpointer data)
{
    irq_raise(&f->lines[4]);
    i8259_ack(f->pic);
    isa_out8(f->b, 0x20, 0xa0);
    irq_pulse(&f->lines[4]);
    irq_pulse(&f->lines[7]);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0f);
}

static void test_auto_eoi_leaves_nothing_in_service(Fixture *f, gconstpointer data)
{
    init_chip(f->b, 0x20, 0x08, 0x04, 0x03);
    irq_raise(&f->lines[6]);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0e);
    isa_out8(f->b, 0x20, 0x0b);
    g_assert_cmphex(isa_in8(f->b, 0x20), ==, 0x00);
}

static void test_poll_acknowledges(Fixture *f, gconstpointer data)
{
    irq_raise(&f->lines[5]);
    isa_out8(f->b, 0x20, 0x0c);
    g_assert_cmphex(isa_in8(f->b, 0x20), ==, 0x85);
    g_assert_false(isa_bench_irq(f->b, INTR));
}

static void test_special_mask_lets_lower_ones_in(Fixture *f, gconstpointer data)
{
    irq_raise(&f->lines[3]);
    i8259_ack(f->pic);
    irq_raise(&f->lines[6]);
    g_assert_false(isa_bench_irq(f->b, INTR));
    isa_out8(f->b, 0x21, 0x08);
    isa_out8(f->b, 0x20, 0x68);
    g_assert_true(isa_bench_irq(f->b, INTR));
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, 0x21, 0x42);
    irq_raise(&f->lines[4]);
    isa_bench_save_load(f->b);
    g_assert_cmphex(isa_in8(f->b, 0x21), ==, 0x42);
    g_assert_true(i8259_output(f->pic));
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x0c);
}

static void test_survives_garbage(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 20000; i++) {
        static const uint16_t ports[] = { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 };

        isa_out8(f->b, ports[g_test_rand_int_range(0, 6)], g_test_rand_int_range(0, 256));
        irq_set(&f->lines[g_test_rand_int_range(0, 16)], g_test_rand_bit());
        isa_in8(f->b, ports[g_test_rand_int_range(0, 6)]);
        i8259_ack(f->pic);
    }
}

#define ADD(name, fn) g_test_add("/i8259/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("edge", test_edge_gives_its_vector_once);
    ADD("priority", test_lower_priority_waits_for_eoi);
    ADD("cascade", test_slave_comes_through_the_cascade);
    ADD("spurious", test_vanished_request_is_spurious);
    ADD("level", test_level_line_asks_until_it_falls);
    ADD("masked", test_masked_edge_is_remembered);
    ADD("rotate", test_rotate_on_eoi_makes_it_the_lowest);
    ADD("auto-eoi", test_auto_eoi_leaves_nothing_in_service);
    ADD("poll", test_poll_acknowledges);
    ADD("special-mask", test_special_mask_lets_lower_ones_in);
    ADD("save-load", test_state_survives_save_and_load);
    ADD("garbage", test_survives_garbage);
    return g_test_run();
}
