/* SPDX-License-Identifier: MIT */
/* JSON: the texts of errors are those QEMU 7.2's monitor was seen to give. */
#include "base/json.h"

#include <string.h>

static void gather(void *opaque, Json *value, GError *error)
{
    GString *log = opaque;

    if (error) {
        g_string_append_printf(log, "E(%s)", error->message);
        g_error_free(error);
    } else {
        json_write(value, log, false);
        json_unref(value);
    }
    g_string_append_c(log, '|');
}

static char *run_stream(const char *input, size_t len, bool byte_by_byte)
{
    GString *log = g_string_new(NULL);
    g_autoptr(JsonStream) stream = json_stream_new(gather, log);

    for (size_t i = 0; byte_by_byte && i < len; i++) {
        json_stream_feed(stream, input + i, 1);
    }
    if (!byte_by_byte) {
        json_stream_feed(stream, input, len);
    }
    json_stream_flush(stream);
    return g_string_free(log, FALSE);
}

static const struct {
    const char *in, *out;
} cases[] = {
    { "{}", "{}|" },
    { "{'a':[1,2,{\"b\":null}]}", "{\"a\": [1, 2, {\"b\": null}]}|" },
    { "1 2\n", "1|2|" },
    { "{\"a\":1}{\"b\":2}", "{\"a\": 1}|{\"b\": 2}|" },
    { "18446744073709551615 -9223372036854775808 1e3 1.5 ",
      "18446744073709551615|-9223372036854775808|1000|1.5|" },
    { "\"\\u0000\\ud83d\\ude00\\u00e9\\\\ \x7f\"", "\"\\u0000\\uD83D\\uDE00\\u00E9\\\\ \\u007F\"|" },
    { "}", "E(JSON parse error, expecting value)|" },
    { "{]", "E(JSON parse error, expecting value)|" },
    { "{\"a\":}", "E(JSON parse error, expecting value)|" },
    { "{\"a\":1,}", "E(JSON parse error, expecting value)|" },
    { "[1,]", "E(JSON parse error, expecting value)|" },
    { "nan ", "E(JSON parse error, invalid keyword 'nan')|" },
    { "01", "E(JSON parse error, stray '01')|" },
    { "1.\n", "E(JSON parse error, stray '1.\n')|" },
    { "{1:2}", "E(JSON parse error, key is not a string in object)|" },
    { "{[1]:2} 3 ", "E(JSON parse error, key is not a string in object)|3|" },
    { "\"abc\001\" ", "E(JSON parse error, stray '\"abc\001')|" },
    { "@", "E(JSON parse error, stray '@')|" },
    { "%d ", "E(JSON parse error, stray '%')|" },
    { "\"\\x\"", "E(JSON parse error, invalid escape sequence in string)|" },
    { "\"a\\u12\"", "E(JSON parse error, \\u12\" is not a valid Unicode character)|" },
    { "\"\\ud800\"", "E(JSON parse error, \\ud800 is not a valid Unicode character)|" },
    { "\"\xc0\xaf\"", "E(JSON parse error, invalid UTF-8 sequence in string)|" },
    { "tru]", "E(JSON parse error, invalid keyword 'tru')|E(JSON parse error, expecting value)|" },
    { "{\"a\":1,\"a\":2}", "E(JSON parse error, duplicate key)|" },
    { "{\"a\":1 \"b\":2}", "E(JSON parse error, expected separator in dict)|" },
    { "[1 2]", "E(JSON parse error, expected separator in list)|" },
    { "{\"a\" 1}", "E(JSON parse error, missing : in object pair)|" },
    { "[1,", "E(JSON parse error, premature EOI)|" },
};

static void test_stream_cases(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *whole = run_stream(cases[i].in, strlen(cases[i].in), false);
        g_autofree char *bytes = run_stream(cases[i].in, strlen(cases[i].in), true);

        g_assert_cmpstr(whole, ==, cases[i].out);
        g_assert_cmpstr(bytes, ==, cases[i].out);
    }
}

static void test_depth_is_limited(void)
{
    g_autofree char *deep = g_strnfill(100000, '[');
    g_autofree char *out = run_stream(deep, 100000, false);

    g_assert_true(g_str_has_prefix(out, "E(JSON nesting depth limit exceeded)|"));
}

static void test_resumes_after_garbage(void)
{
    g_autofree char *garbage = g_malloc(1 << 20);
    g_autoptr(GString) log = g_string_new(NULL);
    g_autoptr(JsonStream) stream = json_stream_new(gather, log);
    uint32_t seed = 1;

    for (unsigned i = 0; i < 1 << 20; i++) {
        seed = seed * 1664525 + 1013904223;
        garbage[i] = (char)(seed >> 24);
    }
    json_stream_feed(stream, garbage, 1 << 20);
    json_stream_feed(stream, "\xff\n", 2);
    json_stream_flush(stream);
    g_string_truncate(log, 0);
    json_stream_feed(stream, "{\"ok\":true}", 11);
    g_assert_cmpstr(log->str, ==, "{\"ok\": true}|");
}

static void test_parse_wants_exactly_one(void)
{
    g_autoptr(GError) none = NULL;
    g_autoptr(GError) two = NULL;
    g_autoptr(Json) one = json_parse(" [true] ", NULL);

    g_assert_cmpuint(json_list_len(one), ==, 1);
    g_assert_null(json_parse("", &none));
    g_assert_error(none, JSON_ERROR, 0);
    g_assert_null(json_parse("1 2", &two));
    g_assert_error(two, JSON_ERROR, 0);
}

static void test_pretty_matches_qemu(void)
{
    g_autoptr(Json) json = json_parse("{\"return\":{},\"id\":[1]}", NULL);
    g_autofree char *text = json_to_pretty(json);

    g_assert_cmpstr(text, ==, "{\n    \"return\": {\n    },\n    \"id\": [\n        1\n    ]\n}");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/stream", test_stream_cases);
    g_test_add_func("/json/depth", test_depth_is_limited);
    g_test_add_func("/json/garbage", test_resumes_after_garbage);
    g_test_add_func("/json/single", test_parse_wants_exactly_one);
    g_test_add_func("/json/pretty", test_pretty_matches_qemu);
    return g_test_run();
}
