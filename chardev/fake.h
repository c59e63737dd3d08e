/* SPDX-License-Identifier: MIT */
/*
 * A back end for tests: what the user writes is kept, what the test sends arrives at once.
 *
 *     FakeChar *c = fake_char_new("fake0");          // before the device: chardev=fake0
 *     fake_char_send(c, "x");
 *     g_assert_cmpstr(fake_char_output(c), ==, "y");
 *     fake_char_free(c);                             // after the device
 */
#ifndef CHARDEV_FAKE_H
#define CHARDEV_FAKE_H

#include "chardev/chardev.h"

typedef struct FakeChar FakeChar;

FakeChar *fake_char_new(const char *id);
void fake_char_free(FakeChar *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeChar, fake_char_free)

/* Hands over as much as the user has room for; how many bytes of TEXT that was. */
size_t fake_char_send(FakeChar *c, const char *text);
void fake_char_break(FakeChar *c);
/* Everything written so far; ends with a NUL. */
const char *fake_char_output(FakeChar *c);
size_t fake_char_output_len(FakeChar *c);
/* From now on at most ROOM bytes are taken (the user sees short writes). */
void fake_char_limit(FakeChar *c, size_t room);

#endif
