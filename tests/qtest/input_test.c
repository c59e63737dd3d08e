/* SPDX-License-Identifier: MIT */
/* The keyboard controller with its keyboard and mouse, and port 92h, as firmware drives them. */
#include "tests/qtest/libqtest.h"

#include <string.h>

/* clang-format off */
#define CTRL(cmd)           OUTB(0x64, cmd)
#define CTRL_ARG(cmd, v)    OUTB(0x64, cmd), OUTB(0x60, v)
#define KBD(v)              OUTB(0x60, v)
#define MOUSE(v)            CTRL_ARG(0xd4, v)
#define GET(v)              INB_MASK(0x64, 0x21, 0x01), INB(0x60, v)
#define GET_MOUSE(v)        INB_MASK(0x64, 0x21, 0x21), INB(0x60, v)
#define NOTHING             INB_MASK(0x64, 0x01, 0x00)
/* clang-format on */

static const QtestStep self_tests[] = {
    CTRL(0xaa), GET(0x55), INB_MASK(0x64, 0x04, 0x04), CTRL(0xab), GET(0x00), CTRL(0xa9), GET(0x00),
    NOTHING,
};

static const QtestStep command_byte[] = {
    CTRL(0x20), GET(0x03), CTRL_ARG(0x60, 0x61), CTRL(0x20), GET(0x61), CTRL(0xad), CTRL(0x20),
    GET(0x71), CTRL(0xae), CTRL(0xa7), CTRL(0x20), GET(0x61), CTRL(0xa8), CTRL(0x20), GET(0x41),
};

static const QtestStep written_buffers[] = {
    CTRL_ARG(0xd2, 0x5a), GET(0x5a), CTRL_ARG(0xd3, 0xa5), GET_MOUSE(0xa5), NOTHING,
};

static const QtestStep keyboard_commands[] = {
    KBD(0xff), GET(0xfa), GET(0xaa), KBD(0xf2), GET(0xfa), GET(0xab), GET(0x83),
    KBD(0xee), GET(0xee), KBD(0xed), GET(0xfa), KBD(0x07), GET(0xfa), KBD(0xf3), GET(0xfa),
    KBD(0x20), GET(0xfa), KBD(0xf0), GET(0xfa), KBD(0x00), GET(0xfa), GET(0x02),
    KBD(0xf0), GET(0xfa), KBD(0x01), GET(0xfa), KBD(0xf0), GET(0xfa), KBD(0x00), GET(0xfa), GET(0x01),
    KBD(0xf5), GET(0xfa), KBD(0xf4), GET(0xfa), NOTHING,
};

static const QtestStep mouse_commands[] = {
    MOUSE(0xff), GET_MOUSE(0xfa), GET_MOUSE(0xaa), GET_MOUSE(0x00), MOUSE(0xf2), GET_MOUSE(0xfa),
    GET_MOUSE(0x00),
    MOUSE(0xe8), GET_MOUSE(0xfa), MOUSE(0x03), GET_MOUSE(0xfa), MOUSE(0xf3), GET_MOUSE(0xfa),
    MOUSE(0x28), GET_MOUSE(0xfa), MOUSE(0xe9), GET_MOUSE(0xfa), GET_MOUSE(0x00), GET_MOUSE(0x03),
    GET_MOUSE(0x28),
};

/* 200, 100, 80: the IntelliMouse's knock; 200, 200, 80: the Explorer's. */
#define RATE(v) MOUSE(0xf3), GET_MOUSE(0xfa), MOUSE(v), GET_MOUSE(0xfa)
static const QtestStep mouse_knock[] = {
    RATE(200), RATE(100), RATE(80), MOUSE(0xf2), GET_MOUSE(0xfa), GET_MOUSE(0x03),
    RATE(200), RATE(200), RATE(80), MOUSE(0xf2), GET_MOUSE(0xfa), GET_MOUSE(0x04),
};

static const QtestStep interrupts[] = {
    KBD(0xee), LINE(1, 1), GET(0xee), LINE(1, 0), MOUSE(0xf6), LINE(12, 1), LINE(1, 0),
    GET_MOUSE(0xfa), LINE(12, 0), CTRL_ARG(0x60, 0x00), KBD(0xee), LINE(1, 0), GET(0xee),
};

static const QtestStep a20_gates[] = {
    CTRL(0xd0), GET(0xcf), CTRL(0xdd), CTRL(0xd0), GET(0xcd), CTRL(0xdf), CTRL_ARG(0xd1, 0xcd),
    CTRL(0xd0), GET(0xcd), CTRL_ARG(0xd1, 0xcf), CTRL(0xd0), GET(0xcf),
    INB(0x92, 0x00), OUTB(0x92, 0x02), INB(0x92, 0x02), OUTB(0x92, 0x00), INB(0x92, 0x00),
};

static void command(Qtest *q, const char *json)
{
    g_autofree char *answer = qtest_qmp(q, json);

    g_assert_cmpstr(answer, ==, "{\"return\": {}}");
}

#define EVENTS(list) "{'execute': 'input-send-event', 'arguments': {'events': [" list "]}}"
#define KEY(code, down) "{'type': 'key', 'data': {'down': " down ", 'key': {'type': 'qcode', " \
                        "'data': '" code "'}}}"

static void keys_reach_the_guest(Qtest *q)
{
    static const QtestStep set2[] = { GET(0x1c), GET(0xf0), GET(0x1c), GET(0xe0), GET(0x75),
                                      GET(0xe0), GET(0xf0), GET(0x75), NOTHING };
    static const QtestStep translate[] = { CTRL_ARG(0x60, 0x43) };
    static const QtestStep set1[] = { GET(0x1e), GET(0x9e), NOTHING };

    command(q, EVENTS(KEY("a", "true") "," KEY("a", "false") "," KEY("up", "true") ","
                      KEY("up", "false")));
    qtest_run_steps(q, set2, G_N_ELEMENTS(set2));
    qtest_run_steps(q, translate, G_N_ELEMENTS(translate));
    command(q, EVENTS(KEY("a", "true") "," KEY("a", "false")));
    qtest_run_steps(q, set1, G_N_ELEMENTS(set1));
}

#define REL(axis, v) "{'type': 'rel', 'data': {'axis': '" axis "', 'value': " v "}}"
#define BTN(name, down) "{'type': 'btn', 'data': {'button': '" name "', 'down': " down "}}"

static void mouse_moves(Qtest *q)
{
    static const QtestStep enable[] = { RATE(200), RATE(100), RATE(80), MOUSE(0xf4),
                                        GET_MOUSE(0xfa) };
    static const QtestStep moved[] = { GET_MOUSE(0x28), GET_MOUSE(5), GET_MOUSE(0xf9), GET_MOUSE(0),
                                       GET_MOUSE(0x09), GET_MOUSE(0), GET_MOUSE(0), GET_MOUSE(0),
                                       GET_MOUSE(0x08), GET_MOUSE(0), GET_MOUSE(0), GET_MOUSE(0xff),
                                       NOTHING };

    qtest_run_steps(q, enable, G_N_ELEMENTS(enable));
    command(q, EVENTS(REL("x", "5") "," REL("y", "7")));
    command(q, EVENTS(BTN("left", "true")));
    command(q, EVENTS(BTN("left", "false") "," BTN("wheel-up", "true") ","
                      BTN("wheel-up", "false")));
    qtest_run_steps(q, moved, G_N_ELEMENTS(moved));
}

static void expect_reset(Qtest *q, uint16_t port, uint8_t value)
{
    g_autofree char *event = NULL;

    qtest_outb(q, port, value);
    event = qtest_wait_event(q, "RESET");
    g_assert_nonnull(strstr(event, "\"reason\": \"guest-reset\""));
}

static void resets(Qtest *q)
{
    expect_reset(q, 0x64, 0xfe);     /* pulse of output bit 0 */
    expect_reset(q, 0x92, 0x01);
    qtest_outb(q, 0x64, 0xd1);
    expect_reset(q, 0x60, 0xde);
}

static const QtestStep nothing_here[] = { INB(0x64, 0xff), INB(0x60, 0xff) };

static const QtestCase cases[] = {
    { "self-tests", .steps = QTEST_STEPS(self_tests) },
    { "command-byte", .steps = QTEST_STEPS(command_byte) },
    { "written-buffers", .steps = QTEST_STEPS(written_buffers) },
    { "keyboard-commands", .steps = QTEST_STEPS(keyboard_commands) },
    { "mouse-commands", .steps = QTEST_STEPS(mouse_commands) },
    { "mouse-knock", .steps = QTEST_STEPS(mouse_knock) },
    { "interrupts", NULL, "ioapic", QTEST_STEPS(interrupts) },
    { "a20-gates", .steps = QTEST_STEPS(a20_gates) },
    { "keys", .run = keys_reach_the_guest },
    { "mouse", .run = mouse_moves },
    { "resets", .run = resets },
    { "i8042-off", "-machine i8042=off", .steps = QTEST_STEPS(nothing_here) },
};

int main(int argc, char **argv)
{
    return qtest_main(argc, argv, "/input", QTEST_CASES(cases));
}
