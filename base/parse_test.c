/* SPDX-License-Identifier: MIT */
/* Numbers, sizes, switches. */
#include "base/parse.h"
#include "base/bits.h"

#include <string.h>

static void test_sizes(void)
{
    static const struct {
        const char *text;
        uint64_t unit, value;
    } rows[] = {
        { "0", 1, 0 },           { "512", 1, 512 },         { "64K", 1, 64 * KIB },
        { "1.5M", 1, 3 * MIB / 2 }, { "4g", 1, 4 * GIB },   { "128", MIB, 128 * MIB },
        { "0x1000", 1, 4096 },   { "1B", MIB, 1 },          { "15E", 1, 15ull << 60 },
    };
    uint64_t value;

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_assert_true(parse_size("x", rows[i].text, rows[i].unit, &value, NULL));
        g_assert_cmpuint(value, ==, rows[i].value);
    }
}

static void test_bad_sizes(void)
{
    static const char *const bad[] = { "", "-1", "G", "4GB", "1 G", "16E", "99999999999999999999",
                                       "4x", "+1", " 1" };

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t value = 7;

        g_assert_false(parse_size("Memory", bad[i], 1, &value, &error));
        g_assert_true(g_str_has_prefix(error->message, "Memory"));
        g_assert_cmpuint(value, ==, 7);
    }
}

static void test_numbers(void)
{
    uint64_t u;
    int64_t i;
    bool b;

    g_assert_true(parse_uint("x", "0x10", 0, 16, &u, NULL) && u == 16);
    g_assert_false(parse_uint("x", "17", 0, 16, &u, NULL));
    g_assert_false(parse_uint("x", "-1", 0, UINT64_MAX, &u, NULL));
    g_assert_false(parse_uint("x", "1z", 0, 16, &u, NULL));
    g_assert_true(parse_int("x", "-5", -5, 0, &i, NULL) && i == -5);
    g_assert_true(parse_bool("x", "on", &b, NULL) && b);
    g_assert_true(parse_bool("x", "off", &b, NULL) && !b);
    g_assert_false(parse_bool("x", "On!", &b, NULL));
}

static void test_format_size(void)
{
    g_autofree char *a = format_size(512), *b = format_size(3 * MIB / 2);

    g_assert_cmpstr(a, ==, "512 B");
    g_assert_cmpstr(b, ==, "1.5 MiB");
}

static void sum_ranges(uint64_t first, uint64_t last, void *opaque)
{
    *(uint64_t *)opaque += last - first + 1;
}

static void test_ranges(void)
{
    uint64_t count = 0;

    g_assert_true(parse_ranges("x", "0,2-5,8", 8, sum_ranges, &count, NULL));
    g_assert_cmpuint(count, ==, 6);
    g_assert_false(parse_ranges("x", "5-2", 8, sum_ranges, &count, NULL));
    g_assert_false(parse_ranges("x", "1,", 8, sum_ranges, &count, NULL));
}

static void test_base64(void)
{
    static const struct { const char *text, *bytes; } rows[] = {
        { "", "" }, { "YWI=", "ab" }, { "YQ==", "a" }, { "YW Jj\r\nZA==\n", "abcd" },
        { "!!", NULL }, { "YWI", NULL }, { "YW=I", NULL }, { "Y===", NULL }, { "====", NULL },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        size_t len = 0;
        g_autofree uint8_t *bytes = parse_base64(rows[i].text, strlen(rows[i].text), &len);

        g_assert_true(!bytes == !rows[i].bytes);
        if (bytes) {
            g_assert_cmpmem(bytes, len, rows[i].bytes, strlen(rows[i].bytes));
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parse/sizes", test_sizes);
    g_test_add_func("/parse/bad-sizes", test_bad_sizes);
    g_test_add_func("/parse/numbers", test_numbers);
    g_test_add_func("/parse/format-size", test_format_size);
    g_test_add_func("/parse/ranges", test_ranges);
    g_test_add_func("/parse/base64", test_base64);
    return g_test_run();
}
