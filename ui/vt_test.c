/* SPDX-License-Identifier: MIT */
/* The terminal: what a screen of a few lines looks like after some bytes. */
#include "ui/vt.h"

#include <string.h>

#include "base/bits.h"
#include "ui/cp437.h"

static char *screen(Vt *vt)
{
    GString *out = g_string_new(NULL);

    for (unsigned y = 0; y < vt_rows(vt); y++) {
        gsize last = out->len;

        for (unsigned x = 0; x < vt_cols(vt); x++) {
            g_string_append(out, cp437_to_utf8(vt_row(vt, y)[x].ch));
            last = vt_row(vt, y)[x].ch != ' ' ? out->len : last;
        }
        g_string_truncate(out, last);
        g_string_append_c(out, '|');
    }
    return g_string_free(out, FALSE);
}

/* Of ten columns and four rows. */
static void test_screens(void)
{
    static const struct { const char *name, *bytes, *seen; } rows[] = {
        { "text", "one\r\ntwo", "one|two|||" },
        { "wrap", "0123456789ab", "0123456789|ab|||" },
        { "full line, then CR LF", "0123456789\r\nx", "0123456789|x|||" },
        { "no wrap", "\033[?7l0123456789ab", "012345678b||||" },
        { "backspace", "abc\b\bX", "aXc||||" },
        { "backspace at the end", "0123456789\bX", "01234567X9||||" },
        { "tab", "a\tb", "a       b||||" },
        { "scroll", "1\r\n2\r\n3\r\n4\r\n5", "2|3|4|5|" },
        { "position", "\033[2;3Hx\033[Hy\033[99;99Hz", "y|  x||         z|" },
        { "moves", "\033[2;5H\033[A1\033[B2\033[2D3\033[3C4", "    1|    32  4|||" },
        { "erase to the end", "abc\r\ndef\033[1;2H\033[J", "a||||" },
        { "erase to the start", "abc\r\ndef\033[2;2H\033[1J", "|  f|||" },
        { "erase line", "abcdef\033[3G\033[1K", "   def||||" },
        { "insert and delete", "abcd\033[2G\033[2@\033[5G\033[P", "a  bd||||" },
        { "insert mode", "abc\r\033[4hX\033[4lY", "XYbc||||" },
        { "lines", "1\r\n2\r\n3\033[1;1H\033[L\033[3;1H\033[M", "|1|3||" },
        { "region", "1\r\n2\r\n3\r\n4\033[2;3r\033[3;1H\nX", "1|3|X|4|" },
        { "region upwards", "1\r\n2\r\n3\r\n4\033[2;3r\033[2;1H\033MX", "1|X|2|4|" },
        { "save and restore", "ab\0337\033[4;4Hx\0338c", "abc|||   x|" },
        { "UTF-8", "\303\244\342\226\210\360\237\230\200!", "ä█?!||||" },
        { "broken UTF-8", "\303(\377", "?(?||||" },
        { "line drawing", "\033(0lqk\033(Blqk", "┌─┐lqk||||" },
        { "title is no text", "\033]0;title\aa\033]2;x\033\\b", "ab||||" },
        { "unknown is no text", "\033[?1049h\033[>0q\033[1$pa", "a||||" },
        { "cancelled", "\033[12\030a", "a||||" },
        { "reset", "\033[31mabc\033cx", "x||||" },
        { "huge numbers", "\033[99999999999999999999;4Hx", "|||   x|" },
        { "many parameters", "\033[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1mx", "x||||" },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        /* At once, and byte by byte. */
        for (unsigned piece = 0; piece < 2; piece++) {
            Vt *vt = vt_new(10, 4);
            g_autofree char *seen = NULL;
            size_t len = strlen(rows[i].bytes), step = piece ? 1 : len;

            for (size_t at = 0; at < len; at += step) {
                vt_feed(vt, rows[i].bytes + at, step);
            }
            seen = screen(vt);
            g_test_message("%s", rows[i].name);
            g_assert_cmpstr(seen, ==, rows[i].seen);
            vt_free(vt);
        }
    }
}

static void test_colours(void)
{
    static const struct { const char *bytes; uint8_t fg, bg; } rows[] = {
        { "x", 7, 0 }, { "\033[31mx", 4, 0 }, { "\033[1;34;43mx", 9, 6 }, { "\033[7mx", 0, 7 },
        { "\033[31m\033[mx", 7, 0 }, { "\033[92;101mx", 10, 12 }, { "\033[8mx", 0, 0 },
        { "\033[31;39;41;49mx", 7, 0 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        Vt *vt = vt_new(10, 4);

        vt_feed(vt, rows[i].bytes, strlen(rows[i].bytes));
        g_assert_cmpuint(vt_row(vt, 0)[0].fg, ==, rows[i].fg);
        g_assert_cmpuint(vt_row(vt, 0)[0].bg, ==, rows[i].bg);
        vt_free(vt);
    }
}

static void test_replies(void)
{
    Vt *vt = vt_new(10, 4);
    g_autoptr(GByteArray) reply = NULL;

    vt_feed(vt, "\033[3;5H\033[6n\033[5n\033[c", 17);
    reply = vt_take_reply(vt);
    g_assert_cmpmem(reply->data, reply->len, "\033[3;5R\033[0n\033[?6c", 15);
    g_assert_null(vt_take_reply(vt));
    for (unsigned i = 0; i < 1000; i++) {
        vt_feed(vt, "\033[6n", 4);
    }
    g_byte_array_unref(reply);
    reply = vt_take_reply(vt);
    g_assert_cmpuint(reply->len, <=, 256);
    vt_free(vt);
}

static void test_history(void)
{
    Vt *vt = vt_new(10, 4);
    unsigned x, y;

    for (unsigned i = 0; i < 2000; i++) {
        g_autofree char *line = g_strdup_printf("%u\r\n", i);

        vt_feed(vt, line, strlen(line));
    }
    g_assert_cmpuint(vt_row(vt, 2)[3].ch, ==, '9');      /* 1999 */
    vt_scroll_view(vt, 1);
    g_assert_cmpuint(vt_row(vt, 3)[3].ch, ==, '9');
    g_assert_false(vt_cursor(vt, &x, &y));
    vt_scroll_view(vt, 100000);
    g_assert_cmpuint(vt_row(vt, 0)[0].ch, ==, '1');      /* 500 before 1997 */
    g_assert_cmpuint(vt_row(vt, 0)[1].ch, ==, '4');
    vt_feed(vt, "x", 1);
    g_assert_cmpuint(vt_row(vt, 3)[0].ch, ==, 'x');
    vt_scroll_view(vt, -100000);
    g_assert_cmpuint(vt_row(vt, 3)[0].ch, ==, 'x');
    vt_free(vt);
}

/* Whatever comes in, all stays within the grid (run with the sanitizers). */
static void test_garbage(void)
{
    static const char alphabet[] = "\033[];?0123456789@ABCDHJKLMPSTXmrhlsu\b\t\n\r\b 78cDEM()0\303\244x";
    static const struct { unsigned cols, rows; } sizes[] = { { 1, 1 }, { 2, 1 }, { 1, 5 }, { 80, 24 },
                                                             { VT_COLS_MAX, VT_ROWS_MAX } };
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        Vt *vt = vt_new(sizes[i].cols, sizes[i].rows);

        for (unsigned n = 0; n < 100000; n++) {
            uint8_t c = g_rand_int_range(rand, 0, 20)
                            ? (uint8_t)alphabet[g_rand_int_range(rand, 0, sizeof(alphabet) - 1)]
                            : (uint8_t)g_rand_int(rand);
            unsigned x, y;

            vt_feed(vt, &c, 1);
            if (n % 1000 == 0) {
                vt_scroll_view(vt, g_rand_int_range(rand, -600, 600));
            }
            if (vt_cursor(vt, &x, &y)) {
                g_assert_cmpuint(x, <, sizes[i].cols);
                g_assert_cmpuint(y, <, sizes[i].rows);
            }
        }
        vt_free(vt);
    }
}

static void test_every_character_has_a_way_back(void)
{
    for (unsigned i = 1; i < 255; i++) {
        if (i != ' ') {
            g_assert_cmpuint(cp437_from_unicode(g_utf8_get_char(cp437_to_utf8((uint8_t)i))), ==, i);
        }
    }
    g_assert_cmpuint(cp437_from_unicode(0x4e00), ==, '?');
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vt/screens", test_screens);
    g_test_add_func("/vt/colours", test_colours);
    g_test_add_func("/vt/replies", test_replies);
    g_test_add_func("/vt/history", test_history);
    g_test_add_func("/vt/garbage", test_garbage);
    g_test_add_func("/vt/cp437", test_every_character_has_a_way_back);
    return g_test_run();
}
