/* SPDX-License-Identifier: MIT */
/*
 * The kinds of property: how each is parsed, read from and written to JSON, and stored.
 * Every parse first builds the value and stores it last, so an error leaves the field alone.
 */
#include "vm/object.h"
#include "base/error.h"
#include "base/json.h"
#include "base/parse.h"
#include "vm/object_int.h"

static bool expects(Object *obj, const PropDef *prop, const char *what, GError **error)
{
    return error_set(error, "Property '%s.%s' expects %s", obj->type->name, prop->name, what);
}

/* How messages call the property; the caller frees. */
static char *prop_label(Object *obj, const PropDef *prop)
{
    return g_strdup_printf("Property '%s.%s'", obj->type->name, prop->name);
}

/* ---- numbers ---- */

typedef struct NumKind {
    unsigned size;
    bool is_signed;
} NumKind;

static NumKind num_kind(const PropType *type)
{
    return type == &prop_u8 ? (NumKind){ 1, false } : type == &prop_u16 ? (NumKind){ 2, false }
         : type == &prop_u32 ? (NumKind){ 4, false } : type == &prop_i32 ? (NumKind){ 4, true }
         : type == &prop_i64 ? (NumKind){ 8, true } : (NumKind){ 8, false };
}

static uint64_t num_load(Object *obj, const PropDef *prop)
{
    const void *field = prop_field(obj, prop);

    switch (num_kind(prop->type).size) {
    case 1:
        return *(const uint8_t *)field;
    case 2:
        return *(const uint16_t *)field;
    case 4:
        return num_kind(prop->type).is_signed ? (uint64_t)(int64_t)*(const int32_t *)field
                                              : *(const uint32_t *)field;
    default:
        return *(const uint64_t *)field;
    }
}

static void num_store(Object *obj, const PropDef *prop, uint64_t v)
{
    void *field = prop_field(obj, prop);

    switch (num_kind(prop->type).size) {
    case 1:
        *(uint8_t *)field = (uint8_t)v;
        break;
    case 2:
        *(uint16_t *)field = (uint16_t)v;
        break;
    case 4:
        *(uint32_t *)field = (uint32_t)v;
        break;
    default:
        *(uint64_t *)field = v;
        break;
    }
}

static void num_default(Object *obj, const PropDef *prop)
{
    num_store(obj, prop, prop->def);
}

static void unsigned_range(const PropDef *prop, uint64_t *min, uint64_t *max)
{
    bool own = prop->min || prop->max;

    *min = own ? prop->min : 0;
    *max = own ? prop->max : UINT64_MAX >> (64 - 8 * num_kind(prop->type).size);
}

static void signed_range(const PropDef *prop, int64_t *min, int64_t *max)
{
    bool own = prop->min || prop->max;
    unsigned shift = 64 - 8 * num_kind(prop->type).size;

    *min = own ? (int64_t)prop->min : INT64_MIN >> shift;
    *max = own ? (int64_t)prop->max : INT64_MAX >> shift;
}

static bool num_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    g_autofree char *label = prop_label(obj, prop);

    if (num_kind(prop->type).is_signed) {
        int64_t min, max, v;

        signed_range(prop, &min, &max);
        if (!parse_int(label, text, min, max, &v, error)) {
            return false;
        }
        num_store(obj, prop, (uint64_t)v);
    } else {
        uint64_t min, max, v;

        unsigned_range(prop, &min, &max);
        if (!parse_uint(label, text, min, max, &v, error)) {
            return false;
        }
        num_store(obj, prop, v);
    }
    return true;
}

static bool num_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    if (num_kind(prop->type).is_signed) {
        int64_t min, max, n;

        signed_range(prop, &min, &max);
        if (!json_get_int(v, &n) || n < min || n > max) {
            g_autofree char *what = g_strdup_printf(
                "a number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, min, max);

            return expects(obj, prop, what, error);
        }
        num_store(obj, prop, (uint64_t)n);
    } else {
        uint64_t min, max, n;

        unsigned_range(prop, &min, &max);
        if (!json_get_uint(v, &n) || n < min || n > max) {
            g_autofree char *what = g_strdup_printf(
                "a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, min, max);

            return expects(obj, prop, what, error);
        }
        num_store(obj, prop, n);
    }
    return true;
}

static Json *num_to_json(Object *obj, const PropDef *prop)
{
    uint64_t v = num_load(obj, prop);

    return num_kind(prop->type).is_signed ? json_new_int((int64_t)v) : json_new_uint(v);
}

/* As `info qtree` shows numbers. */
static char *num_print(Object *obj, const PropDef *prop)
{
    uint64_t v = num_load(obj, prop);

    return num_kind(prop->type).is_signed
               ? g_strdup_printf("%" G_GINT64_FORMAT, (int64_t)v)
               : g_strdup_printf("%" G_GUINT64_FORMAT " (0x%" G_GINT64_MODIFIER "x)", v, v);
}

#define NUM_TYPE(id, text)                                                                 \
    const PropType prop_##id = { .name = (text), .parse = num_parse,                       \
                                 .from_json = num_from_json, .to_json = num_to_json,       \
                                 .print = num_print, .set_default = num_default }
NUM_TYPE(u8, "uint8");
NUM_TYPE(u16, "uint16");
NUM_TYPE(u32, "uint32");
NUM_TYPE(u64, "uint64");
NUM_TYPE(i32, "int32");
NUM_TYPE(i64, "int64");

static bool size_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    g_autofree char *label = prop_label(obj, prop);
    uint64_t min, max, v;

    unsigned_range(prop, &min, &max);
    if (!parse_size(label, text, 1, &v, error)) {
        return false;
    }
    if (v < min || v > max) {
        return error_set(error, "%s is %" G_GUINT64_FORMAT "; it must be from %" G_GUINT64_FORMAT
                         " to %" G_GUINT64_FORMAT " bytes", label, v, min, max);
    }
    num_store(obj, prop, v);
    return true;
}

static char *size_print(Object *obj, const PropDef *prop)
{
    g_autofree char *human = format_size(num_load(obj, prop));

    return g_strdup_printf("%" G_GUINT64_FORMAT " (%s)", num_load(obj, prop), human);
}

const PropType prop_size = { .name = "size", .parse = size_parse, .from_json = num_from_json,
                             .to_json = num_to_json, .print = size_print,
                             .set_default = num_default };

/* ---- switches: a bool field, or one bit of a word ---- */

static bool switch_load(Object *obj, const PropDef *prop)
{
    const void *field = prop_field(obj, prop);

    return prop->type == &prop_bit32   ? *(const uint32_t *)field >> prop->bit & 1
           : prop->type == &prop_bit64 ? *(const uint64_t *)field >> prop->bit & 1
                                       : *(const bool *)field;
}

static void switch_store(Object *obj, const PropDef *prop, bool on)
{
    void *field = prop_field(obj, prop);

    if (prop->type == &prop_bit32) {
        uint32_t *word = field;

        *word = on ? *word | BIT(prop->bit) : *word & ~BIT(prop->bit);
    } else if (prop->type == &prop_bit64) {
        uint64_t *word = field;

        *word = on ? *word | BIT64(prop->bit) : *word & ~BIT64(prop->bit);
    } else {
        *(bool *)field = on;
    }
}

static void switch_default(Object *obj, const PropDef *prop)
{
    switch_store(obj, prop, prop->def != 0);
}

static bool switch_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    g_autofree char *label = prop_label(obj, prop);
    bool on;

    if (!parse_bool(label, text, &on, error)) {
        return false;
    }
    switch_store(obj, prop, on);
    return true;
}

static bool switch_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    bool on;

    if (!json_get_bool(v, &on)) {
        return expects(obj, prop, "true or false", error);
    }
    switch_store(obj, prop, on);
    return true;
}

static Json *switch_to_json(Object *obj, const PropDef *prop)
{
    return json_new_bool(switch_load(obj, prop));
}

static char *switch_print(Object *obj, const PropDef *prop)
{
    bool on = switch_load(obj, prop);

    return g_strdup(prop->type == &prop_bool ? (on ? "true" : "false") : (on ? "on" : "off"));
}

#define SWITCH_TYPE(id)                                                                    \
    const PropType prop_##id = { .name = "bool", .parse = switch_parse,                    \
                                 .from_json = switch_from_json,                            \
                                 .to_json = switch_to_json, .print = switch_print,         \
                                 .set_default = switch_default }
SWITCH_TYPE(bool);
SWITCH_TYPE(bit32);
SWITCH_TYPE(bit64);

/* ---- words ---- */

static const char *const on_off_auto_words[] = { "auto", "on", "off", NULL };

static const char *const *enum_words(const PropDef *prop)
{
    return prop->type->values ? prop->type->values : prop->arg;
}

static bool enum_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    const char *const *words = enum_words(prop);
    g_autofree char *list = NULL;

    for (int i = 0; words[i]; i++) {
        if (!strcmp(words[i], text)) {
            *(int *)prop_field(obj, prop) = i;
            return true;
        }
    }
    list = g_strjoinv("', '", (char **)words);
    return error_set(error, "Property '%s.%s' cannot be '%s'; it is one of '%s'",
                     obj->type->name, prop->name, text, list);
}

static bool enum_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    const char *text = json_get_string(v);

    return text ? enum_parse(obj, prop, text, error) : expects(obj, prop, "a string", error);
}

static Json *enum_to_json(Object *obj, const PropDef *prop)
{
    return json_new_string(enum_words(prop)[*(int *)prop_field(obj, prop)]);
}

static void enum_default(Object *obj, const PropDef *prop)
{
    *(int *)prop_field(obj, prop) = (int)prop->def;
}

const PropType prop_enum = { .name = "str", .parse = enum_parse, .from_json = enum_from_json,
                             .to_json = enum_to_json, .set_default = enum_default };
const PropType prop_on_off_auto = { .name = "OnOffAuto", .values = on_off_auto_words,
                                    .parse = enum_parse, .from_json = enum_from_json,
                                    .to_json = enum_to_json, .set_default = enum_default };

/* ---- strings ---- */

static bool str_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    char **field = prop_field(obj, prop);

    g_free(*field);
    *field = g_strdup(text);
    return true;
}

static bool str_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    const char *text = json_get_string(v);

    return text ? str_parse(obj, prop, text, error) : expects(obj, prop, "a string", error);
}

static Json *str_to_json(Object *obj, const PropDef *prop)
{
    return json_new_string(*(char **)prop_field(obj, prop));
}

static void str_default(Object *obj, const PropDef *prop)
{
    *(char **)prop_field(obj, prop) = g_strdup(prop->def_str);
}

static void str_release(Object *obj, const PropDef *prop)
{
    g_clear_pointer((char **)prop_field(obj, prop), g_free);
}

const PropType prop_str = { .name = "str", .parse = str_parse, .from_json = str_from_json,
                            .to_json = str_to_json, .set_default = str_default,
                            .release = str_release };

/* ---- UUIDs: 16 bytes in the order they are printed; "auto" makes a random one ---- */

static bool uuid_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    uint8_t bytes[16];
    g_autofree char *random = !strcmp(text, "auto") ? g_uuid_string_random() : NULL;
    const char *p = random ? random : text;

    if (!g_uuid_string_is_valid(p)) {
        return expects(obj, prop, "a UUID like 550e8400-e29b-41d4-a716-446655440000 or 'auto'",
                       error);
    }
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        p += *p == '-';
        bytes[i] = (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
        p += 2;
    }
    memcpy(prop_field(obj, prop), bytes, sizeof(bytes));
    return true;
}

static bool uuid_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    const char *text = json_get_string(v);

    return text ? uuid_parse(obj, prop, text, error) : expects(obj, prop, "a string", error);
}

static Json *uuid_to_json(Object *obj, const PropDef *prop)
{
    const uint8_t *b = prop_field(obj, prop);
    g_autofree char *text = g_strdup_printf(
        "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
        b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);

    return json_new_string(text);
}

static void uuid_default(Object *obj, const PropDef *prop)
{
    if (prop->def_str) {
        bool ok = uuid_parse(obj, prop, prop->def_str, NULL);

        g_assert(ok);
    }
}

const PropType prop_uuid = { .name = "str", .parse = uuid_parse, .from_json = uuid_from_json,
                             .to_json = uuid_to_json, .set_default = uuid_default };

/* ---- links ---- */

static bool link_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    Object **field = prop_field(obj, prop);
    Object *target = NULL;

    if (text[0]) {
        target = object_resolve(object_root(obj), text, error);
        if (!target) {
            return false;
        }
        if (!object_is_a(target, prop->arg)) {
            return error_set(error, "Property '%s.%s' expects an object of type '%s'; "
                             "'%s' is a '%s'", obj->type->name, prop->name,
                             (const char *)prop->arg, text, target->type->name);
        }
        object_ref(target);
    }
    object_unref(*field);
    *field = target;
    return true;
}

static bool link_from_json(Object *obj, const PropDef *prop, Json *v, GError **error)
{
    const char *text = json_get_string(v);

    return text ? link_parse(obj, prop, text, error)
                : expects(obj, prop, "the path of an object", error);
}

static Json *link_to_json(Object *obj, const PropDef *prop)
{
    Object *target = *(Object **)prop_field(obj, prop);
    g_autofree char *path = target ? object_path(target) : NULL;

    return json_new_string(path);
}

static void link_release(Object *obj, const PropDef *prop)
{
    g_clear_pointer((Object **)prop_field(obj, prop), object_unref);
}

const PropType prop_link = { .name = "link", .parse = link_parse, .from_json = link_from_json,
                             .to_json = link_to_json, .release = link_release };
