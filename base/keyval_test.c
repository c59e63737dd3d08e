/* SPDX-License-Identifier: MIT */
/* Option strings. */
#include "base/keyval.h"
#include "base/error.h"

#include <string.h>

static void test_plain_and_implied(void)
{
    g_autoptr(KeyVal) kv = keyval_parse("e1000,netdev=n0,mac=1,mac=2", "driver", 0, NULL);

    g_assert_cmpstr(keyval_get(kv, "driver"), ==, "e1000");
    g_assert_cmpstr(keyval_get(kv, "netdev"), ==, "n0");
    g_assert_cmpstr(keyval_get(kv, "mac"), ==, "2");
    g_assert_null(keyval_get(kv, "addr"));
    g_assert_cmpuint(keyval_count(kv), ==, 4);
}

static void test_doubled_comma_is_one(void)
{
    g_autoptr(KeyVal) kv = keyval_parse("file=a,,b,,,if=ide", NULL, 0, NULL);
    g_autofree char *text = keyval_to_string(kv);

    g_assert_cmpstr(keyval_get(kv, "file"), ==, "a,b,");
    g_assert_cmpstr(keyval_get(kv, "if"), ==, "ide");
    g_assert_cmpstr(text, ==, "file=a,,b,,,if=ide");
}

static void test_bare_keys(void)
{
    g_autoptr(KeyVal) kv = keyval_parse("server,nowait", NULL, KEYVAL_BARE_BOOL, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(keyval_get(kv, "server"), ==, "on");
    g_assert_cmpstr(keyval_get(kv, "wait"), ==, "off");
    g_assert_null(keyval_parse("a=1,server", NULL, 0, &error));
    g_assert_cmpstr(error->message, ==, "Expected '=' after parameter 'server'");
}

static void test_help(void)
{
    g_autoptr(KeyVal) a = keyval_parse("e1000,help", "driver", 0, NULL);
    g_autoptr(KeyVal) b = keyval_parse("?", "driver", 0, NULL);

    g_assert_true(keyval_wants_help(a));
    g_assert_true(keyval_wants_help(b));
    g_assert_null(keyval_get(b, "driver"));
}

static void test_unused_key_is_reported_with_suggestion(void)
{
    g_autoptr(KeyVal) kv = keyval_parse("id=a,pth=x", NULL, 0, NULL);
    g_autoptr(GError) error = NULL;

    keyval_get(kv, "id");
    keyval_get(kv, "path");
    g_assert_false(keyval_check_used(kv, "Back end 'a'", &error));
    g_assert_cmpstr(error->message, ==,
                    "Back end 'a': Invalid parameter 'pth'; did you mean 'path'? "
                    "(allowed: id, path)");
}

static void test_typed_getters(void)
{
    static const char *const kinds[] = { "raw", "qcow2", NULL };
    g_autoptr(KeyVal) kv = keyval_parse("on=yes,n=16,size=1.5K,kind=qcow", NULL, 0, NULL);
    g_autoptr(GError) error = NULL;
    uint64_t u;
    bool b;
    int e;

    g_assert_true(keyval_get_bool(kv, "on", false, &b, NULL) && b);
    g_assert_true(keyval_get_bool(kv, "absent", true, &b, NULL) && b);
    g_assert_true(keyval_get_uint(kv, "n", 0, 16, &u, NULL) && u == 16);
    g_assert_false(keyval_get_uint(kv, "n", 0, 15, &u, &error));
    g_clear_error(&error);
    g_assert_true(keyval_get_size(kv, "size", 0, &u, NULL) && u == 1536);
    g_assert_false(keyval_get_enum(kv, "kind", kinds, 0, &e, &error));
    g_assert_nonnull(strstr(error->message, "did you mean 'qcow2'?"));
}

static void test_nesting(void)
{
    g_autoptr(KeyVal) kv = keyval_parse("driver=raw,file.driver=file,file.filename=x,"
                                        "server.0.host=a,server.1.host=b", NULL, 0, NULL);
    g_autoptr(Json) json = keyval_to_json(kv, NULL);
    g_autofree char *text = json_to_string(json);

    g_assert_cmpstr(text, ==, "{\"driver\": \"raw\", \"file\": {\"driver\": \"file\", "
                              "\"filename\": \"x\"}, \"server\": [{\"host\": \"a\"}, "
                              "{\"host\": \"b\"}]}");
}

static void test_leaf_and_dictionary_clash(void)
{
    g_autoptr(KeyVal) kv = keyval_parse("a=1,a.b=2", NULL, 0, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_null(keyval_to_json(kv, &error));
    g_assert_nonnull(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keyval/plain", test_plain_and_implied);
    g_test_add_func("/keyval/comma", test_doubled_comma_is_one);
    g_test_add_func("/keyval/bare", test_bare_keys);
    g_test_add_func("/keyval/help", test_help);
    g_test_add_func("/keyval/unused", test_unused_key_is_reported_with_suggestion);
    g_test_add_func("/keyval/typed", test_typed_getters);
    g_test_add_func("/keyval/nesting", test_nesting);
    g_test_add_func("/keyval/clash", test_leaf_and_dictionary_clash);
    return g_test_run();
}
