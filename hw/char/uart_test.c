/* SPDX-License-Identifier: MIT */
/* The 16550A as "isa-serial", the parallel port and the debug port, on fake character devices. */
#include "chardev/fake.h"
#include "hw/isa/isa_bench.h"

enum { RBR = 0x3f8, THR = 0x3f8, IER = 0x3f9, IIR = 0x3fa, FCR = 0x3fa, LCR = 0x3fb, MCR = 0x3fc,
       LSR = 0x3fd, MSR = 0x3fe, SCR = 0x3ff };

typedef struct Fixture {
    FakeChar *c;
    IsaBench *b;
    Device *dev;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->b = isa_bench_new();
    f->c = fake_char_new("fake0");
    f->dev = isa_bench_add(f->b, "isa-serial", "chardev=fake0");
}

static void tear_down(Fixture *f, gconstpointer data)
{
    IsaBench *b = f->b;

    device_unplug(f->dev);
    fake_char_free(f->c);
    isa_bench_free(b);
}

static void test_bytes_go_out(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, THR, 'o');
    isa_out8(f->b, THR, 'k');
    g_assert_cmpstr(fake_char_output(f->c), ==, "ok");
    g_assert_cmphex(isa_in8(f->b, LSR), ==, 0x60);
}

static void test_received_byte_interrupts(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, IER, 0x01);
    fake_char_send(f->c, "x");
    g_assert_true(isa_bench_irq(f->b, 4));
    g_assert_cmphex(isa_in8(f->b, IIR), ==, 0x04);
    g_assert_cmphex(isa_in8(f->b, RBR), ==, 'x');
    g_assert_false(isa_bench_irq(f->b, 4));
}

static void test_thre_interrupt_ends_with_iir(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, IER, 0x02);
    g_assert_true(isa_bench_irq(f->b, 4));
    g_assert_cmphex(isa_in8(f->b, IIR), ==, 0x02);
    g_assert_false(isa_bench_irq(f->b, 4));
    isa_out8(f->b, THR, 'a');
    g_assert_true(isa_bench_irq(f->b, 4));
}

static void test_fifo_trigger_and_timeout(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, FCR, 0x81);                    /* 8 bytes */
    isa_out8(f->b, IER, 0x01);
    fake_char_send(f->c, "1234");
    g_assert_false(isa_bench_irq(f->b, 4));
    isa_bench_advance_ns(f->b, 100 * 1000000);
    g_assert_true(isa_bench_irq(f->b, 4));
    g_assert_cmphex(isa_in8(f->b, IIR), ==, 0xcc);
    isa_in8(f->b, RBR);
    g_assert_false(isa_bench_irq(f->b, 4));
    fake_char_send(f->c, "56789");
    g_assert_cmphex(isa_in8(f->b, IIR), ==, 0xc4);
}

static void test_fifo_keeps_order_and_bound(Fixture *f, gconstpointer data)
{
    size_t taken = 0;

    isa_out8(f->b, FCR, 0xc1);
    for (unsigned i = 0; i < 20; i++) {
        taken += fake_char_send(f->c, "z");
    }
    g_assert_cmpuint(taken, ==, 16);
    for (unsigned i = 0; i < 16; i++) {
        g_assert_cmphex(isa_in8(f->b, LSR) & 1, ==, 1);
        isa_in8(f->b, RBR);
    }
    g_assert_cmphex(isa_in8(f->b, LSR) & 3, ==, 0);
}

static void test_loopback(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, MCR, 0x1a);
    g_assert_cmphex(isa_in8(f->b, MSR) & 0xf0, ==, 0x90);
    isa_out8(f->b, THR, 0xa5);
    g_assert_cmphex(isa_in8(f->b, RBR), ==, 0xa5);
    g_assert_cmpuint(fake_char_output_len(f->c), ==, 0);
}

static void test_divisor_latch_hides_data(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, LCR, 0x83);
    isa_out8(f->b, THR, 0x01);
    isa_out8(f->b, IER, 0x02);
    g_assert_cmphex(isa_in8(f->b, RBR), ==, 0x01);
    g_assert_cmphex(isa_in8(f->b, IER), ==, 0x02);
    isa_out8(f->b, LCR, 0x03);
    g_assert_cmphex(isa_in8(f->b, IER), ==, 0x00);
    g_assert_cmpuint(fake_char_output_len(f->c), ==, 0);
}

static void test_break_is_reported(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, IER, 0x04);
    fake_char_break(f->c);
    g_assert_cmphex(isa_in8(f->b, IIR), ==, 0x06);
    g_assert_cmphex(isa_in8(f->b, LSR) & 0x11, ==, 0x11);
    g_assert_false(isa_bench_irq(f->b, 4));
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    isa_out8(f->b, FCR, 0x81);
    isa_out8(f->b, IER, 0x01);
    isa_out8(f->b, SCR, 0x77);
    fake_char_send(f->c, "abc");
    isa_bench_save_load(f->b);
    g_assert_cmphex(isa_in8(f->b, SCR), ==, 0x77);
    g_assert_cmphex(isa_in8(f->b, RBR), ==, 'a');
    g_assert_cmphex(isa_in8(f->b, RBR), ==, 'b');
    g_assert_cmphex(isa_in8(f->b, RBR), ==, 'c');
}

static void test_survives_garbage(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 200; i++) {
        isa_bench_fuzz(f->b, 0x3f8, 0x3ff, 50);
        fake_char_send(f->c, "garbage");
    }
}

static void test_ports_are_numbered(Fixture *f, gconstpointer data)
{
    isa_bench_add(f->b, "isa-serial", "");
    isa_out8(f->b, 0x2ff, 0x42);
    g_assert_cmphex(isa_in8(f->b, 0x2ff), ==, 0x42);
}

static void test_parallel_strobe_prints(void)
{
    IsaBench *b = isa_bench_new();
    FakeChar *c = fake_char_new("printer");
    Device *dev = isa_bench_add(b, "isa-parallel", "chardev=printer");

    isa_out8(b, 0x378, 'P');
    g_assert_cmphex(isa_in8(b, 0x379) & 0x80, ==, 0x80);
    isa_out8(b, 0x37a, 0x0d);
    isa_out8(b, 0x37a, 0x1c);
    g_assert_cmpstr(fake_char_output(c), ==, "P");
    g_assert_true(isa_bench_irq(b, 7));
    isa_in8(b, 0x379);
    g_assert_false(isa_bench_irq(b, 7));
    isa_bench_fuzz(b, 0x378, 0x37a, 2000);
    device_unplug(dev);
    fake_char_free(c);
    isa_bench_free(b);
}

static void test_debugcon(void)
{
    IsaBench *b = isa_bench_new();
    FakeChar *c = fake_char_new("debug");
    Device *dev = isa_bench_add(b, "isa-debugcon", "chardev=debug");

    g_assert_cmphex(isa_in8(b, 0xe9), ==, 0xe9);
    isa_out8(b, 0xe9, '!');
    g_assert_cmpstr(fake_char_output(c), ==, "!");
    device_unplug(dev);
    fake_char_free(c);
    isa_bench_free(b);
}

static void test_exit_and_panic_ports(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    isa_bench_add(b, "isa-debug-exit", "iobase=0xf4,iosize=4");
    isa_bench_add(b, "pvpanic", "");
    isa_out8(b, 0xf4, 0x10);
    g_assert_cmpuint(b->exits, ==, 1);
    g_assert_cmpint(b->exit_status, ==, 0x21);
    g_assert_cmphex(isa_in8(b, 0x505), ==, 3);
    isa_out8(b, 0x505, 1);
    g_assert_cmpuint(b->panics, ==, 1);
}

#define ADD(name, fn) g_test_add("/serial/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("output", test_bytes_go_out);
    ADD("input", test_received_byte_interrupts);
    ADD("thre", test_thre_interrupt_ends_with_iir);
    ADD("timeout", test_fifo_trigger_and_timeout);
    ADD("fifo", test_fifo_keeps_order_and_bound);
    ADD("loopback", test_loopback);
    ADD("divisor", test_divisor_latch_hides_data);
    ADD("break", test_break_is_reported);
    ADD("save-load", test_state_survives_save_and_load);
    ADD("garbage", test_survives_garbage);
    ADD("numbers", test_ports_are_numbered);
    g_test_add_func("/parallel/strobe", test_parallel_strobe_prints);
    g_test_add_func("/debugcon/output", test_debugcon);
    g_test_add_func("/debug-exit/status", test_exit_and_panic_ports);
    return g_test_run();
}
