/* SPDX-License-Identifier: MIT */
/* The keyboard controller with keyboard and mouse. */
#include "hw/input/i8042.h"
#include "hw/isa/isa_bench.h"
#include "ui/input.h"

enum { A20 = 20 };

static IsaBench *bench(void)
{
    IsaBench *b = isa_bench_new();
    g_autoptr(GError) error = NULL;
    Device *dev = i8042_new(&b->bus, isa_bench_pin(b, A20), &error);

    g_assert_no_error(error);
    device_reset(dev);
    return b;
}

static void ctrl(IsaBench *b, uint8_t cmd)
{
    isa_out8(b, 0x64, cmd);
}

static void set_mode(IsaBench *b, uint8_t mode)
{
    ctrl(b, 0x60);
    isa_out8(b, 0x60, mode);
}

static void mouse_cmd(IsaBench *b, uint8_t cmd)
{
    ctrl(b, 0xd4);
    isa_out8(b, 0x60, cmd);
    g_assert_cmphex(isa_in8(b, 0x60), ==, 0xfa);
}

static void expect(IsaBench *b, const uint8_t *bytes, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        g_assert_cmphex(isa_in8(b, 0x64) & 1, ==, 1);
        g_assert_cmphex(isa_in8(b, 0x60), ==, bytes[i]);
    }
    g_assert_cmphex(isa_in8(b, 0x64) & 1, ==, 0);
}
#define EXPECT(b, ...) expect(b, (const uint8_t[]){ __VA_ARGS__ },                         \
                              sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void key(IsaBench *b, InputKey k, bool down)
{
    input_send_key(b->vm, k, down);
    input_sync(b->vm);
}

static void test_self_tests_pass(void)
{
    g_autoptr(IsaBench) b = bench();

    ctrl(b, 0xaa);
    EXPECT(b, 0x55);
    ctrl(b, 0xab);
    EXPECT(b, 0x00);
    ctrl(b, 0xa9);
    EXPECT(b, 0x00);
    isa_out8(b, 0x60, 0xff);
    EXPECT(b, 0xfa, 0xaa);
}

static void test_keys_come_in_set_2(void)
{
    g_autoptr(IsaBench) b = bench();

    key(b, INPUT_KEY_A, true);
    g_assert_true(isa_bench_irq(b, 1));
    EXPECT(b, 0x1c);
    g_assert_false(isa_bench_irq(b, 1));
    key(b, INPUT_KEY_A, false);
    EXPECT(b, 0xf0, 0x1c);
    key(b, INPUT_KEY_UP, true);
    key(b, INPUT_KEY_UP, false);
    EXPECT(b, 0xe0, 0x75, 0xe0, 0xf0, 0x75);
}

static void test_translation_gives_set_1(void)
{
    g_autoptr(IsaBench) b = bench();

    set_mode(b, 0x41);
    key(b, INPUT_KEY_A, true);
    key(b, INPUT_KEY_A, false);
    key(b, INPUT_KEY_DELETE, true);
    EXPECT(b, 0x1e, 0x9e, 0xe0, 0x53);
    key(b, INPUT_KEY_PAUSE, true);
    EXPECT(b, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5);
}

static void test_each_byte_has_its_interrupt_edge(void)
{
    g_autoptr(IsaBench) b = bench();

    set_mode(b, 0x41);
    b->edges[1] = 0;
    key(b, INPUT_KEY_LEFT, true);
    EXPECT(b, 0xe0, 0x4b);
    g_assert_cmpuint(b->edges[1], ==, 2);
}

static void test_reply_goes_before_waiting_keys(void)
{
    g_autoptr(IsaBench) b = bench();

    key(b, INPUT_KEY_A, true);
    key(b, INPUT_KEY_B, true);
    isa_out8(b, 0x60, 0xf2);
    EXPECT(b, 0x1c, 0xfa, 0xab, 0x83, 0x32);
}

static void test_disabled_keyboard_is_silent(void)
{
    g_autoptr(IsaBench) b = bench();

    ctrl(b, 0xad);
    key(b, INPUT_KEY_A, true);
    g_assert_cmphex(isa_in8(b, 0x64) & 1, ==, 0);
    ctrl(b, 0xae);
    EXPECT(b, 0x1c);
}

static void test_leds_reach_the_window(void)
{
    g_autoptr(IsaBench) b = bench();

    isa_out8(b, 0x60, 0xed);
    EXPECT(b, 0xfa);
    isa_out8(b, 0x60, 0x06);
    EXPECT(b, 0xfa);
    g_assert_cmphex(input_leds(b->vm), ==, INPUT_LED_CAPS | INPUT_LED_NUM);
}

static void test_mouse_packets(void)
{
    g_autoptr(IsaBench) b = bench();

    mouse_cmd(b, 0xf4);
    input_send_rel(b->vm, INPUT_AXIS_X, 5);
    input_send_rel(b->vm, INPUT_AXIS_Y, 3);
    input_send_button(b->vm, INPUT_BUTTON_LEFT, true);
    input_sync(b->vm);
    g_assert_true(isa_bench_irq(b, 12));
    g_assert_cmphex(isa_in8(b, 0x64) & 0x21, ==, 0x21);
    EXPECT(b, 0x29, 0x05, 0xfd);
}

static void test_wheel_needs_the_magic_rates(void)
{
    g_autoptr(IsaBench) b = bench();
    static const uint8_t rates[] = { 200, 100, 80 };

    for (unsigned i = 0; i < 3; i++) {
        mouse_cmd(b, 0xf3);
        mouse_cmd(b, rates[i]);
    }
    mouse_cmd(b, 0xf2);
    EXPECT(b, 0x03);
    mouse_cmd(b, 0xf4);
    input_send_button(b->vm, INPUT_BUTTON_WHEEL_DOWN, true);
    input_sync(b->vm);
    EXPECT(b, 0x08, 0x00, 0x00, 0x01);
}

static void test_long_motion_is_split(void)
{
    g_autoptr(IsaBench) b = bench();
    int total = 0;

    mouse_cmd(b, 0xf4);
    input_send_rel(b->vm, INPUT_AXIS_X, 1000);
    input_sync(b->vm);
    while (isa_in8(b, 0x64) & 1) {
        isa_in8(b, 0x60);
        total += (int8_t)isa_in8(b, 0x60);
        isa_in8(b, 0x60);
    }
    g_assert_cmpint(total, ==, 1000);
}

static void test_a20_and_reset(void)
{
    g_autoptr(IsaBench) b = bench();

    g_assert_true(isa_bench_irq(b, A20));
    ctrl(b, 0xdd);
    g_assert_false(isa_bench_irq(b, A20));
    ctrl(b, 0xd1);
    isa_out8(b, 0x60, 0xdf);
    g_assert_true(isa_bench_irq(b, A20));
    g_assert_cmpuint(b->resets, ==, 0);
    ctrl(b, 0xfe);
    g_assert_cmpuint(b->resets, ==, 1);
}

static void test_port_92(void)
{
    g_autoptr(IsaBench) b = isa_bench_new();

    isa_bench_add(b, "port92", "");
    isa_out8(b, 0x92, 0x02);
    g_assert_cmphex(isa_in8(b, 0x92), ==, 0x02);
    g_assert_cmpuint(b->resets, ==, 0);
    isa_out8(b, 0x92, 0x03);
    g_assert_cmpuint(b->resets, ==, 1);
}

static void test_state_survives_save_and_load(void)
{
    g_autoptr(IsaBench) b = bench();

    set_mode(b, 0x43);
    key(b, INPUT_KEY_A, true);
    key(b, INPUT_KEY_B, true);
    isa_bench_save_load(b);
    EXPECT(b, 0x1e, 0x30);
    ctrl(b, 0x20);
    EXPECT(b, 0x43);
}

static void test_survives_garbage(void)
{
    g_autoptr(IsaBench) b = bench();

    for (unsigned i = 0; i < 20000; i++) {
        isa_out8(b, g_test_rand_bit() ? 0x60 : 0x64, g_test_rand_int_range(0, 256));
        isa_in8(b, g_test_rand_bit() ? 0x60 : 0x64);
        input_send_key(b->vm, g_test_rand_int_range(0, INPUT_KEYS), g_test_rand_bit());
        input_send_rel(b->vm, INPUT_AXIS_X, g_test_rand_int_range(-5000, 5000));
        input_send_button(b->vm, g_test_rand_int_range(0, INPUT_BUTTONS), g_test_rand_bit());
        input_sync(b->vm);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8042/self-test", test_self_tests_pass);
    g_test_add_func("/i8042/set-2", test_keys_come_in_set_2);
    g_test_add_func("/i8042/set-1", test_translation_gives_set_1);
    g_test_add_func("/i8042/edges", test_each_byte_has_its_interrupt_edge);
    g_test_add_func("/i8042/reply-first", test_reply_goes_before_waiting_keys);
    g_test_add_func("/i8042/disabled", test_disabled_keyboard_is_silent);
    g_test_add_func("/i8042/leds", test_leds_reach_the_window);
    g_test_add_func("/i8042/mouse", test_mouse_packets);
    g_test_add_func("/i8042/wheel", test_wheel_needs_the_magic_rates);
    g_test_add_func("/i8042/long-motion", test_long_motion_is_split);
    g_test_add_func("/i8042/a20-reset", test_a20_and_reset);
    g_test_add_func("/i8042/port92", test_port_92);
    g_test_add_func("/i8042/save-load", test_state_survives_save_and_load);
    g_test_add_func("/i8042/garbage", test_survives_garbage);
    return g_test_run();
}
