/* SPDX-License-Identifier: MIT */
/* Routing of input events. */
#include "ui/input.h"

typedef struct Sink {
    unsigned events, syncs;
    InputEvent last;
} Sink;

static void sink_event(void *opaque, const InputEvent *event)
{
    Sink *s = opaque;

    s->events++;
    s->last = *event;
}

static void sink_sync(void *opaque)
{
    ((Sink *)opaque)->syncs++;
}

static const InputHandlerOps mouse_ops = { "mouse", BIT(INPUT_REL) | BIT(INPUT_BTN), sink_event,
                                           sink_sync };
static const InputHandlerOps tablet_ops = { "tablet", BIT(INPUT_ABS) | BIT(INPUT_BTN), sink_event,
                                            sink_sync };
static const InputHandlerOps kbd_ops = { "kbd", BIT(INPUT_KEY), sink_event, sink_sync };

static Vm *running_vm(void)
{
    Vm *vm = vm_new();

    clock_make_fake(vm->clock);
    clock_start(vm->clock);
    vm->state = RUN_STATE_RUNNING;
    return vm;
}

static void test_first_handler_of_the_kind_gets_the_event(void)
{
    Vm *vm = running_vm();
    Sink mouse = { 0 }, tablet = { 0 };
    InputHandler *m = input_handler_add(vm, &mouse_ops, &mouse);
    InputHandler *t = input_handler_add(vm, &tablet_ops, &tablet);

    input_send_button(vm, INPUT_BUTTON_LEFT, true);
    input_sync(vm);
    g_assert_cmpuint(mouse.events, ==, 1);
    g_assert_cmpuint(mouse.syncs, ==, 1);
    g_assert_cmpuint(tablet.syncs, ==, 0);
    g_assert_false(input_is_absolute(vm));

    input_handler_activate(t);
    g_assert_true(input_is_absolute(vm));
    input_send_abs(vm, INPUT_AXIS_X, 639, 640);
    g_assert_cmpint(tablet.last.value, ==, INPUT_ABS_MAX);
    input_handler_remove(m);
    input_handler_remove(t);
    vm_free(vm);
}

static void test_stopped_guest_gets_only_releases(void)
{
    Vm *vm = running_vm();
    Sink kbd = { 0 };
    InputHandler *h = input_handler_add(vm, &kbd_ops, &kbd);

    input_send_key(vm, INPUT_KEY_A, true);
    vm->state = RUN_STATE_PAUSED;
    input_send_key(vm, INPUT_KEY_B, true);
    g_assert_cmpuint(kbd.events, ==, 1);
    input_release_all(vm);
    g_assert_cmpuint(kbd.events, ==, 2);
    g_assert_false(kbd.last.down);
    input_handler_remove(h);
    vm_free(vm);
}

static void test_queued_keys_are_held_and_released(void)
{
    Vm *vm = running_vm();
    Sink kbd = { 0 };
    InputHandler *h = input_handler_add(vm, &kbd_ops, &kbd);
    InputKey keys[] = { INPUT_KEY_CTRL, INPUT_KEY_ALT, INPUT_KEY_DELETE };

    g_assert_true(input_queue_keys(vm, keys, 3, 100, NULL));
    g_assert_cmpuint(kbd.events, ==, 3);
    clock_fake_advance(vm->clock, 99 * 1000000);
    g_assert_cmpuint(kbd.events, ==, 3);
    clock_fake_advance(vm->clock, 1000000);
    g_assert_cmpuint(kbd.events, ==, 6);
    g_assert_cmpint(kbd.last.key, ==, INPUT_KEY_CTRL);
    input_handler_remove(h);
    vm_free(vm);
}

static void test_keys_have_names_and_codes(void)
{
    g_assert_cmpint(input_key_from_name("ret"), ==, INPUT_KEY_RET);
    g_assert_cmpint(input_key_from_name("nonsense"), ==, INPUT_KEYS);
    g_assert_cmphex(input_key_set1(INPUT_KEY_RET), ==, 0x1c);
    g_assert_cmphex(input_key_set2(INPUT_KEY_UP), ==, 0xe075);
    g_assert_cmpint(input_key_from_number(0xc8), ==, INPUT_KEY_UP);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    machine_lock();
    g_test_add_func("/input/first-handler", test_first_handler_of_the_kind_gets_the_event);
    g_test_add_func("/input/stopped-guest", test_stopped_guest_gets_only_releases);
    g_test_add_func("/input/queued-keys", test_queued_keys_are_held_and_released);
    g_test_add_func("/input/names-and-codes", test_keys_have_names_and_codes);
    return g_test_run();
}
