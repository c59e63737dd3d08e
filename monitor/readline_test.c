/* SPDX-License-Identifier: MIT */
/* The line editor: keys in, lines out. */
#include "monitor/readline.h"

#include <string.h>

static GString *lines;

static void ignore(void *opaque, const char *text, size_t len)
{
}

static void keep(void *opaque, const char *line)
{
    g_string_append_printf(lines, "%s|", line);
}

static GPtrArray *words(void *opaque, const char *text)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(found, g_strdup("status"));
    return found;
}

static const struct {
    const char *keys, *lines;
} cases[] = {
    { "abc\r", "abc|" },
    { "abc\r\nd\n", "abc|d|" },
    { "abd\bc\r", "abc|" },
    { "ac\033[Db\r", "abc|" },
    { "bc\001a\r", "abc|" },
    { "xabc\033[H\033[3~\r", "abc|" },
    { "one two\027x\r", "one x|" },
    { "abc\025d\r", "d|" },
    { "ab\002\013c\r", "ac|" },
    { "one\rtwo\r\033[A\033[A\r", "one|two|one|" },
    { "one\rtw\033[A\033[Bo\r", "one|two|" },
    { "sta\t\r", "status |" },
};

static void test_keys(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        ReadlineHost host = { ignore, keep, words, NULL };
        g_autoptr(Readline) rl = readline_new(&host, "> ", true);

        lines = g_string_new(NULL);
        for (const char *p = cases[i].keys; *p; p++) {
            readline_feed(rl, (uint8_t)*p);
        }
        g_assert_cmpstr(lines->str, ==, cases[i].lines);
        g_string_free(lines, TRUE);
    }
}

static void test_long_line_is_cut(void)
{
    ReadlineHost host = { ignore, keep, NULL, NULL };
    g_autoptr(Readline) rl = readline_new(&host, "> ", false);

    lines = g_string_new(NULL);
    for (unsigned i = 0; i < 2 * READLINE_MAX; i++) {
        readline_feed(rl, 'a');
    }
    readline_feed(rl, '\n');
    g_assert_cmpuint(lines->len, ==, READLINE_MAX + 1);
    g_string_free(lines, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/readline/keys", test_keys);
    g_test_add_func("/readline/long", test_long_line_is_cut);
    return g_test_run();
}
