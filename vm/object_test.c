/* SPDX-License-Identifier: MIT */
/* Objects: hooks, properties as text and JSON, bad values, the tree, -global. */
#include "base/json.h"
#include "vm/object.h"

static const char *const colours[] = { "red", "green", NULL };

typedef struct Thing {
    Object obj;
    bool flag;
    uint8_t small;
    int32_t signed32;
    uint64_t size;
    char *text;
    int colour;
    OnOffAuto when;
    uint32_t bits;
    Object *link;
    uint8_t uuid[16];
    uint32_t ranged;
} Thing;

static GString *life;

static void base_init(Object *obj)
{
    g_string_append_printf(life, "base%d ", ((Thing *)obj)->small);
}

static void base_finalize(Object *obj)
{
    g_string_append(life, "~base ");
}

static void thing_init(Object *obj)
{
    g_string_append(life, "thing ");
}

static void thing_finalize(Object *obj)
{
    g_string_append(life, "~thing ");
}

static Json *get_twice(Object *obj, const PropDef *prop)
{
    return json_new_uint(2u * ((Thing *)obj)->small);
}

static bool set_twice(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    uint64_t n = 0;

    json_get_uint(v, &n);
    ((Thing *)obj)->small = (uint8_t)(n / 2);
    return true;
}

static const PropDef base_props[] = {
    PROP_U8("small", Thing, small, 7),
    PROP_BOOL("flag", Thing, flag, true),
    PROP_END
};
static const PropDef thing_props[] = {
    PROP_I32("signed", Thing, signed32, -5),
    PROP_SIZE("size", Thing, size, 64 * MIB),
    PROP_STR("text", Thing, text, .def_str = "hello"),
    PROP_ENUM("colour", Thing, colour, colours, 1),
    PROP_ON_OFF_AUTO("when", Thing, when, ON_OFF_AUTO_AUTO),
    PROP_BIT("bit3", Thing, bits, 3, true),
    PROP_BIT("bit4", Thing, bits, 4, false),
    PROP_LINK("peer", Thing, link, "test-base"),
    PROP_ROW("uuid", &prop_uuid, Thing, uuid,
             .def_str = "00112233-4455-6677-8899-aabbccddeeff"),
    PROP_U32("ranged", Thing, ranged, 5, .min = 2, .max = 9),
    PROP_COMPUTED("twice", &prop_u32, get_twice, set_twice),
    PROP_U8("flag", Thing, small, 7),     /* redefines the parent's */
    PROP_END
};
OBJECT_TYPE(base, .name = "test-base", .size = sizeof(Thing), .abstract = true,
            .props = base_props, .init = base_init, .finalize = base_finalize);
OBJECT_TYPE(thing, .name = "test-thing", .parent = "test-base", .props = thing_props,
            .init = thing_init, .finalize = thing_finalize);

static Thing *thing_new(void)
{
    GError *error = NULL;
    Object *obj = object_new("test-thing", &error);

    g_assert_no_error(error);
    return (Thing *)obj;
}

static void test_hooks_run_parents_first(void)
{
    g_string_set_size(life, 0);
    object_unref(&thing_new()->obj);
    g_assert_cmpstr(life->str, ==, "base7 thing ~thing ~base ");
}

static void test_defaults_come_from_rows(void)
{
    Thing *t = thing_new();

    g_assert_cmpint(t->signed32, ==, -5);
    g_assert_cmpuint(t->size, ==, 64 * MIB);
    g_assert_cmpstr(t->text, ==, "hello");
    g_assert_cmpint(t->colour, ==, 1);
    g_assert_cmphex(t->bits, ==, BIT(3));
    g_assert_cmphex(t->uuid[15], ==, 0xff);
    object_unref(&t->obj);
}

static void test_types_are_found_and_related(void)
{
    const ObjectType *type = type_find("test-thing");

    g_assert_true(type == &thing_type);
    g_assert_true(type_parent(type) == &base_type);
    g_assert_true(type_is_a(type, "object"));
    g_assert_false(type_is_a(type, "device"));
    g_assert_null(type_find("test-nothing"));
    g_assert_null(type_parent(type_find("object")));
}

static void test_unknown_and_abstract_types_are_refused(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(object_new("test-thong", &error));
    g_assert_cmpstr(error->message, ==,
                    "There is no object type 'test-thong'; did you mean 'test-thing'?");
    g_clear_error(&error);
    g_assert_null(object_new("test-base", &error));
    g_assert_nonnull(g_strstr_len(error->message, -1, "abstract"));
}

static void check_text(Thing *t, const char *name, const char *text, const char *json)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Json) v = NULL;
    g_autofree char *out = NULL;

    object_set_text(&t->obj, name, text, &error);
    g_assert_no_error(error);
    v = object_get_json(&t->obj, name, &error);
    g_assert_no_error(error);
    out = json_to_string(v);
    g_assert_cmpstr(out, ==, json);
}

static void test_text_of_every_kind(void)
{
    Thing *t = thing_new();

    check_text(t, "small", "0x1f", "31");
    check_text(t, "twice", "80", "80");
    g_assert_cmpuint(t->small, ==, 40);
    check_text(t, "signed", "-17", "-17");
    check_text(t, "size", "1.5G", "1610612736");
    check_text(t, "text", "", "\"\"");
    check_text(t, "colour", "red", "\"red\"");
    check_text(t, "when", "off", "\"off\"");
    check_text(t, "bit4", "on", "true");
    check_text(t, "bit3", "off", "false");
    g_assert_cmphex(t->bits, ==, BIT(4));
    check_text(t, "uuid", "550e8400-e29b-41d4-a716-446655440000",
               "\"550e8400-e29b-41d4-a716-446655440000\"");
    check_text(t, "ranged", "9", "9");
    object_unref(&t->obj);
}

static void refuse(Thing *t, const char *name, const char *text, const char *part)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(object_set_text(&t->obj, name, text, &error));
    g_assert_nonnull(error);
    if (!g_strstr_len(error->message, -1, part)) {
        g_error("'%s' does not mention '%s'", error->message, part);
    }
}

static void test_bad_values_are_named_and_change_nothing(void)
{
    Thing *t = thing_new();

    refuse(t, "small", "256", "test-thing.small");
    refuse(t, "small", "12x", "12x");
    refuse(t, "small", "-1", "-1");
    refuse(t, "signed", "2147483648", "2147483648");
    refuse(t, "ranged", "1", "2");
    refuse(t, "ranged", "10", "9");
    refuse(t, "colour", "blue", "'red', 'green'");
    refuse(t, "bit3", "maybe", "maybe");
    refuse(t, "size", "4Q", "4Q");
    refuse(t, "uuid", "123", "UUID");
    refuse(t, "signd", "1", "did you mean 'signed'?");
    g_assert_cmpuint(t->small, ==, 7);
    g_assert_cmpint(t->signed32, ==, -5);
    g_assert_cmpuint(t->ranged, ==, 5);
    object_unref(&t->obj);
}

static void test_json_types_are_checked(void)
{
    static const struct { const char *name, *json; bool ok; } rows[] = {
        { "small", "255", true }, { "small", "256", false }, { "small", "\"1\"", false },
        { "bit3", "true", true }, { "bit3", "1", false }, { "text", "\"x\"", true },
        { "text", "5", false }, { "signed", "-1", true }, { "signed", "1.5", false },
        { "size", "18446744073709551615", true }, { "size", "-1", false },
        { "colour", "\"green\"", true }, { "colour", "1", false },
    };
    Thing *t = thing_new();

    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        g_autoptr(Json) v = json_parse(rows[i].json, NULL);
        g_autoptr(GError) error = NULL;

        g_assert_true(object_set_json(&t->obj, rows[i].name, v, &error) == rows[i].ok);
        g_assert_true((error == NULL) == rows[i].ok);
    }
    object_unref(&t->obj);
}

static void test_tree_paths_resolve(void)
{
    Thing *root = thing_new(), *a = thing_new(), *b = thing_new(), *c = thing_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;

    object_add_child(&root->obj, "dev[*]", &a->obj);
    object_add_child(&root->obj, "dev[*]", &b->obj);
    object_add_child(&b->obj, "leaf", &c->obj);
    path = object_path(&c->obj);
    g_assert_cmpstr(path, ==, "/dev[1]/leaf");
    g_assert_true(object_resolve(&root->obj, "/dev[1]/leaf", NULL) == &c->obj);
    g_assert_true(object_resolve(&root->obj, "leaf", NULL) == &c->obj);
    g_assert_true(object_resolve(&root->obj, "/", NULL) == &root->obj);
    g_assert_null(object_resolve(&root->obj, "/dev[2]", &error));
    g_clear_error(&error);
    object_set_text(&a->obj, "peer", "/dev[1]", &error);
    g_assert_no_error(error);
    g_assert_true(a->link == &b->obj);
    /* Through a link it is the same object, so the partial path stays unique. */
    g_assert_true(object_resolve(&root->obj, "/dev[0]/peer/leaf", NULL) == &c->obj);
    refuse(a, "peer", "/nowhere", "not found");
    object_set_text(&a->obj, "peer", "", &error);
    g_assert_no_error(error);
    g_assert_null(a->link);
    object_add_child(&a->obj, "leaf", &thing_new()->obj);
    object_unref(object_child(&a->obj, "leaf"));
    g_assert_null(object_resolve(&root->obj, "leaf", &error));
    g_assert_nonnull(g_strstr_len(error->message, -1, "ambiguous"));
    object_unparent(&b->obj);
    g_assert_null(object_child(&root->obj, "dev[1]"));
    object_unref(&a->obj);
    object_unref(&b->obj);
    object_unref(&c->obj);
    object_unref(&root->obj);
}

static void collect(const PropInfo *info, void *opaque)
{
    g_string_append_printf(opaque, "%s:%s ", info->name, info->type);
}

static Json *get_answer(Object *obj, void *opaque)
{
    return json_new_int(42);
}

static void test_listing_has_static_dynamic_and_children(void)
{
    Thing *t = thing_new(), *child = thing_new();
    GString *list = g_string_new(NULL);

    object_add_child(&t->obj, "kid", &child->obj);
    object_add_alias(&t->obj, "kid-size", &child->obj, "size");
    object_add_computed(&t->obj, "answer", "int", get_answer, NULL, NULL);
    object_foreach_prop(&t->obj, collect, list);
    g_assert_cmpstr(list->str, ==,
                    "small:uint8 signed:int32 size:size text:str colour:str "
                    "when:OnOffAuto bit3:bool bit4:bool peer:link<test-base> uuid:str "
                    "ranged:uint32 twice:uint32 flag:uint8 answer:int kid-size:size "
                    "kid:child<test-thing> ");
    check_text(t, "kid-size", "4K", "4096");
    g_assert_cmpuint(child->size, ==, 4096);
    refuse(t, "answer", "1", "read-only");
    refuse(t, "kid", "1", "read-only");
    g_assert_cmpuint(object_get_uint(&t->obj, "answer"), ==, 42);
    g_string_free(list, TRUE);
    object_unref(&child->obj);
    object_unref(&t->obj);
}

static void test_globals_apply_in_order_and_to_descendants(void)
{
    Thing *t = thing_new();
    g_autoptr(GError) error = NULL;

    globals_add("test-base", "ranged", "3", false);
    globals_add("test-thing", "ranged", "4", false);
    globals_add("test-thing", "no-such", "4", true);
    globals_add("other", "ranged", "8", false);
    g_assert_true(globals_apply(&t->obj, &error));
    g_assert_cmpuint(t->ranged, ==, 4);
    globals_add("test-thing", "ranged", "99", false);
    g_assert_false(globals_apply(&t->obj, &error));
    g_assert_true(g_str_has_prefix(error->message,
                                   "Cannot apply global test-thing.ranged=99: "));
    globals_clear();
    object_unref(&t->obj);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    life = g_string_new(NULL);
    g_test_add_func("/object/hooks", test_hooks_run_parents_first);
    g_test_add_func("/object/defaults", test_defaults_come_from_rows);
    g_test_add_func("/object/types", test_types_are_found_and_related);
    g_test_add_func("/object/refused-types", test_unknown_and_abstract_types_are_refused);
    g_test_add_func("/object/text", test_text_of_every_kind);
    g_test_add_func("/object/bad-values", test_bad_values_are_named_and_change_nothing);
    g_test_add_func("/object/json", test_json_types_are_checked);
    g_test_add_func("/object/tree", test_tree_paths_resolve);
    g_test_add_func("/object/listing", test_listing_has_static_dynamic_and_children);
    g_test_add_func("/object/globals", test_globals_apply_in_order_and_to_descendants);
    status = g_test_run();
    g_string_free(life, TRUE);
    return status;
}
