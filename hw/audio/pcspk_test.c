/* SPDX-License-Identifier: MIT */
/* Port 61h. */
#include "hw/audio/pcspk.h"
#include "hw/isa/isa_bench.h"
#include "hw/timer/i8254.h"

static IsaBench *bench(void)
{
    IsaBench *b = isa_bench_new();
    g_autoptr(GError) error = NULL;
    Device *pit = i8254_new(&b->bus, false, b->bus.irqs[0], &error);

    g_assert_nonnull(pit);
    device_reset(pit);
    g_assert_nonnull(pcspk_new(&b->bus, pit, &error));
    return b;
}

static void test_counter_2_is_seen_and_gated(void)
{
    g_autoptr(IsaBench) b = bench();

    isa_out8(b, 0x61, 0x01);
    isa_out8(b, 0x43, 0xb0);
    isa_out8(b, 0x42, 0xa9);
    isa_out8(b, 0x42, 0x04);
    g_assert_cmphex(isa_in8(b, 0x61) & 0x21, ==, 0x01);
    isa_bench_advance_ns(b, 1001000);
    g_assert_cmphex(isa_in8(b, 0x61) & 0x21, ==, 0x21);
}

static void test_refresh_bit_toggles(void)
{
    g_autoptr(IsaBench) b = bench();
    uint8_t first = isa_in8(b, 0x61);

    g_assert_cmphex((first ^ isa_in8(b, 0x61)) & 0x10, ==, 0x10);
}

static void test_speaker_bit_survives_save_and_load(void)
{
    g_autoptr(IsaBench) b = bench();

    isa_out8(b, 0x61, 0x03);
    isa_bench_save_load(b);
    g_assert_cmphex(isa_in8(b, 0x61) & 0x03, ==, 0x03);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pcspk/counter-2", test_counter_2_is_seen_and_gated);
    g_test_add_func("/pcspk/refresh", test_refresh_bit_toggles);
    g_test_add_func("/pcspk/save-load", test_speaker_bit_survives_save_and_load);
    return g_test_run();
}
