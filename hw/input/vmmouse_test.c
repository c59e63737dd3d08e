/* SPDX-License-Identifier: MIT */
/* The vmport and the absolute mouse behind it, with a CPU that is six numbers. */
#include "hw/input/i8042.h"
#include "hw/isa/isa_bench.h"
#include "hw/misc/vmport.h"
#include "ui/input.h"

enum { PORT = 0x5658, A20 = 20, DATA = 0x27, STATUS = 0x28, COMMAND = 0x29 };
enum { ENABLE = 0x45414552, DISABLE = 0xf5, RELATIVE = 0x4c455252, ABSOLUTE = 0x53424152 };
enum { ID = 0x3442554a };

static VmportRegs cpu;

static bool get_regs(void *opaque, VmportRegs *regs)
{
    *regs = cpu;
    return true;
}

static void put_regs(void *opaque, const VmportRegs *before, const VmportRegs *after)
{
    cpu = *after;
}

static bool has_x2apic(void *opaque)
{
    return true;
}

static IsaBench *bench(void)
{
    const VmportCpu host = { get_regs, put_regs, has_x2apic, NULL, 48 << 20 };
    IsaBench *b = isa_bench_new();
    g_autoptr(GError) error = NULL;
    Device *i8042 = i8042_new(&b->bus, isa_bench_pin(b, A20), &error), *mouse;

    g_assert_no_error(error);
    device_reset(i8042);
    g_assert_nonnull(vmport_new(&b->bus, &host, &error));
    mouse = vmmouse_new(&b->bus, i8042, &error);
    g_assert_no_error(error);
    device_reset(mouse);
    return b;
}

/* EAX afterwards. */
static uint32_t call(IsaBench *b, uint32_t command, uint32_t argument)
{
    cpu = (VmportRegs){ VMPORT_MAGIC, argument, command, PORT, 0x22222222, 0x33333333 };
    isa_in8(b, PORT);
    return cpu.eax;
}

static void enable(IsaBench *b, uint32_t mode)
{
    call(b, COMMAND, ENABLE);
    g_assert_cmphex(call(b, DATA, 1), ==, ID);
    call(b, COMMAND, mode);
}

static void test_plain_commands(void)
{
    g_autoptr(IsaBench) b = bench();

    g_assert_cmphex(call(b, 0x0a, 1), ==, 6);
    g_assert_cmphex(cpu.ebx, ==, VMPORT_MAGIC);
    g_assert_cmphex(cpu.ecx, ==, 2);
    g_assert_cmphex(call(b, 0x14, 1), ==, 48 << 20);
    g_assert_cmphex(cpu.ebx, ==, 0x1177);
    call(b, 0x2d, 1);
    g_assert_cmphex(cpu.ebx, ==, UINT32_MAX);
    g_assert_cmphex(call(b, 0x44, 1), ==, 8);
    g_assert_cmphex(call(b, 0x45, 1), ==, UINT32_MAX);
    g_assert_cmphex(call(b, 0xfffe, 1), ==, UINT32_MAX);
    g_assert_cmphex(call(b, 0x7000a, 1), ==, 6);          /* ECX: the lower half counts */
    cpu.eax = 1;
    isa_out8(b, PORT, 0);
    g_assert_cmphex(cpu.eax, ==, UINT32_MAX);             /* no magic */
    g_assert_cmphex(cpu.esi, ==, 0x22222222);
}

static void test_off_after_reset(void)
{
    g_autoptr(IsaBench) b = bench();

    g_assert_cmphex(call(b, STATUS, 0), ==, 0xffff0000);
    g_assert_false(input_is_absolute(b->vm));
    call(b, COMMAND, ABSOLUTE);                            /* off: nothing to switch */
    g_assert_false(input_is_absolute(b->vm));
    call(b, COMMAND, ENABLE);
    g_assert_cmphex(call(b, STATUS, 0), ==, 1);
    g_assert_cmphex(call(b, DATA, 1), ==, ID);
    call(b, COMMAND, ABSOLUTE);
    g_assert_true(input_is_absolute(b->vm));
    call(b, COMMAND, DISABLE);
    g_assert_cmphex(call(b, STATUS, 0), ==, 0xffff0000);
    g_assert_false(input_is_absolute(b->vm));
}

static void test_absolute_packet(void)
{
    g_autoptr(IsaBench) b = bench();

    enable(b, ABSOLUTE);
    input_send_abs(b->vm, INPUT_AXIS_X, 639, 640);
    input_send_abs(b->vm, INPUT_AXIS_Y, 0, 480);
    input_send_button(b->vm, INPUT_BUTTON_LEFT, true);
    input_sync(b->vm);
    g_assert_cmphex(call(b, STATUS, 0), ==, 4);
    g_assert_cmphex(call(b, DATA, 4), ==, 0x20);
    g_assert_cmphex(cpu.ebx, ==, 0xfffe);
    g_assert_cmphex(cpu.ecx, ==, 0);
    g_assert_cmphex(cpu.edx, ==, 0);
    input_send_button(b->vm, INPUT_BUTTON_LEFT, false);
    input_send_button(b->vm, INPUT_BUTTON_WHEEL_UP, true);
    input_send_button(b->vm, INPUT_BUTTON_WHEEL_UP, false);
    input_sync(b->vm);
    g_assert_cmphex(call(b, DATA, 4), ==, 0);
    g_assert_cmphex(cpu.ebx, ==, 0xfffe);                  /* the place stays */
    g_assert_cmphex(cpu.edx, ==, UINT32_MAX);
    g_assert_cmphex(call(b, STATUS, 0), ==, 0);
}

static void test_relative_packet(void)
{
    g_autoptr(IsaBench) b = bench();

    enable(b, RELATIVE);
    input_send_rel(b->vm, INPUT_AXIS_X, 5);
    input_send_rel(b->vm, INPUT_AXIS_Y, 7);
    input_send_button(b->vm, INPUT_BUTTON_RIGHT, true);
    input_sync(b->vm);
    g_assert_cmphex(call(b, DATA, 4), ==, 0x10010);
    g_assert_cmpint((int32_t)cpu.ebx, ==, 5);
    g_assert_cmpint((int32_t)cpu.ecx, ==, -7);
}

/* The PS/2 mouse's interrupt is what makes a driver look. */
static void test_mouse_is_poked(void)
{
    g_autoptr(IsaBench) b = bench();

    isa_out8(b, 0x64, 0xd4);
    isa_out8(b, 0x60, 0xf4);                               /* stream mode */
    g_assert_cmphex(isa_in8(b, 0x60), ==, 0xfa);
    enable(b, ABSOLUTE);
    input_send_abs(b->vm, INPUT_AXIS_X, 1, 640);
    input_sync(b->vm);
    g_assert_cmphex(isa_in8(b, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(isa_in8(b, 0x60), ==, 0x08);
    g_assert_cmphex(isa_in8(b, 0x60), ==, 0);
    g_assert_cmphex(isa_in8(b, 0x60), ==, 0);
    g_assert_cmphex(isa_in8(b, 0x64) & 1, ==, 0);
}

static void test_too_much_asked_for_ends_it(void)
{
    static const uint32_t counts[] = { 0, 2, 7, UINT32_MAX };

    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        g_autoptr(IsaBench) b = bench();

        call(b, COMMAND, ENABLE);
        call(b, COMMAND, ABSOLUTE);
        call(b, DATA, counts[i]);
        g_assert_cmphex(call(b, STATUS, 0), ==, 0xffff0001);
        g_assert_false(input_is_absolute(b->vm));
    }
}

static void test_full_queue_keeps_whole_packets(void)
{
    g_autoptr(IsaBench) b = bench();

    enable(b, ABSOLUTE);
    for (unsigned i = 0; i < 300; i++) {
        input_send_abs(b->vm, INPUT_AXIS_X, i, 640);
        input_sync(b->vm);
    }
    g_assert_cmphex(call(b, STATUS, 0), ==, 1024);
    call(b, COMMAND, ENABLE);                              /* no room for an id */
    g_assert_cmphex(call(b, STATUS, 0), ==, 1024);
    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmphex(call(b, DATA, 4), ==, 0);
    }
    g_assert_cmphex(call(b, STATUS, 0), ==, 0);
}

static void test_save_and_load(void)
{
    g_autoptr(IsaBench) b = bench();

    enable(b, ABSOLUTE);
    input_send_abs(b->vm, INPUT_AXIS_X, 320, 640);
    input_sync(b->vm);
    isa_bench_save_load(b);
    g_assert_true(input_is_absolute(b->vm));
    g_assert_cmphex(call(b, STATUS, 0), ==, 4);
    call(b, DATA, 4);
    g_assert_cmphex(cpu.ebx, !=, 0);
}

/* Whatever the guest asks for in whatever order, the queue keeps to its size. */
static void test_random_calls(void)
{
    static const uint32_t arguments[] = { ENABLE, DISABLE, RELATIVE, ABSOLUTE, 0, 1, 3, 4, 6 };
    g_autoptr(IsaBench) b = bench();
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (unsigned i = 0; i < 20000; i++) {
        call(b, g_rand_int_range(rand, 0x26, 0x2b),
             arguments[g_rand_int_range(rand, 0, ARRAY_LEN(arguments))]);
        input_send_abs(b->vm, g_rand_int_range(rand, 0, 2), g_rand_int_range(rand, 0, 640), 640);
        input_send_rel(b->vm, g_rand_int_range(rand, 0, 2), g_rand_int_range(rand, -999, 999));
        input_sync(b->vm);
        g_assert_cmpuint(call(b, STATUS, 0) & 0xffff, <=, 1024);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmport/plain", test_plain_commands);
    g_test_add_func("/vmmouse/off-after-reset", test_off_after_reset);
    g_test_add_func("/vmmouse/absolute", test_absolute_packet);
    g_test_add_func("/vmmouse/relative", test_relative_packet);
    g_test_add_func("/vmmouse/poke", test_mouse_is_poked);
    g_test_add_func("/vmmouse/too-much", test_too_much_asked_for_ends_it);
    g_test_add_func("/vmmouse/full", test_full_queue_keeps_whole_packets);
    g_test_add_func("/vmmouse/save-load", test_save_and_load);
    g_test_add_func("/vmmouse/random", test_random_calls);
    return g_test_run();
}
