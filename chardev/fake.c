/* SPDX-License-Identifier: MIT */
/* A back end for tests; see the header. */
#include "chardev/fake.h"
#include "chardev/kind.h"

#include <string.h>

struct FakeChar {
    Chardev chr;
    GString *output;
    size_t room;
};

static bool fake_open(Chardev *chr, KeyVal *opts, GError **error)
{
    FakeChar *c = (FakeChar *)chr;

    c->output = g_string_new(NULL);
    c->room = SIZE_MAX;
    chr->open = true;
    return true;
}

static void fake_close(Chardev *chr)
{
    g_string_free(((FakeChar *)chr)->output, TRUE);
}

static unsigned fake_write(Chardev *chr, const CharFrontend *fe, const uint8_t *data, unsigned len)
{
    FakeChar *c = (FakeChar *)chr;
    unsigned taken = MIN(len, c->room);

    g_string_append_len(c->output, (const char *)data, taken);
    c->room -= c->room == SIZE_MAX ? 0 : taken;
    return taken;
}

static const ChardevKind chardev_fake = {
    .name = "fake",
    .help = "for tests",
    .size = sizeof(FakeChar),
    .open = fake_open,
    .close = fake_close,
    .write = fake_write,
};

FakeChar *fake_char_new(const char *id)
{
    static bool registered;
    g_autoptr(KeyVal) opts = keyval_new();
    Chardev *chr;

    if (!registered) {
        chardev_register_kind(&chardev_fake);
        registered = true;
    }
    chr = chardev_new("fake", id, opts, NULL);
    g_assert(chr);
    return (FakeChar *)chr;
}

void fake_char_free(FakeChar *c)
{
    if (c) {
        bool removed = chardev_remove(c->chr.id, NULL);

        g_assert(removed); /* the device goes first */
    }
}

size_t fake_char_send(FakeChar *c, const char *text)
{
    size_t len = strlen(text), sent = 0;

    while (sent < len) {
        unsigned room = MIN(chardev_can_receive(&c->chr), len - sent);

        if (room == 0) {
            break;
        }
        chardev_receive(&c->chr, (const uint8_t *)text + sent, room);
        sent += room;
    }
    return sent;
}

void fake_char_break(FakeChar *c)
{
    chardev_send_break(&c->chr);
}

const char *fake_char_output(FakeChar *c)
{
    return c->output->str;
}

size_t fake_char_output_len(FakeChar *c)
{
    return c->output->len;
}

void fake_char_limit(FakeChar *c, size_t room)
{
    CharFrontend *fe = c->chr.fe;

    c->room = room;
    if (room && fe && fe->want_writable) {
        fe->want_writable = false;
        if (fe->attached && fe->handlers->writable) {
            fe->handlers->writable(fe->opaque);
        }
    }
}
