/* SPDX-License-Identifier: MIT */
/*
 * JSON values: thin accessors over json-c, and the writer.  The parser is json_parse.c.
 */
#include "base/json.h"

#include <json-c/json.h>
#include <math.h>
#include <string.h>

G_DEFINE_QUARK(rhea-json-error, json_error)

Json *json_new_null(void)
{
    return NULL;
}

Json *json_new_bool(bool value)
{
    return json_object_new_boolean(value);
}

Json *json_new_int(int64_t value)
{
    return json_object_new_int64(value);
}

Json *json_new_uint(uint64_t value)
{
    return value <= INT64_MAX ? json_object_new_int64((int64_t)value)
                              : json_object_new_uint64(value);
}

Json *json_new_double(double value)
{
    return json_object_new_double(value);
}

Json *json_new_string(const char *value)
{
    return json_object_new_string(value ? value : "");
}

Json *json_new_string_len(const char *value, size_t len)
{
    return json_object_new_string_len(value, (int)MIN(len, (size_t)INT_MAX));
}

Json *json_new_list(void)
{
    return json_object_new_array();
}

Json *json_new_dict(void)
{
    return json_object_new_object();
}

/* Raw text hangs on the value as its user data, as json-c's own literal doubles do. */
Json *json_new_raw(const char *static_text)
{
    Json *json = json_object_new_string("");

    json_object_set_userdata(json, (void *)static_text, NULL);
    return json;
}

Json *json_ref(Json *json)
{
    return json_object_get(json);
}

void json_unref(Json *json)
{
    json_object_put(json);
}

JsonType json_kind(const Json *json)
{
    switch (json_object_get_type(json)) {
    case json_type_boolean:
        return JSON_BOOL;
    case json_type_int:
        return JSON_INT;
    case json_type_double:
        return JSON_DOUBLE;
    case json_type_string:
        return JSON_STRING;
    case json_type_array:
        return JSON_LIST;
    case json_type_object:
        return JSON_DICT;
    case json_type_null:
        break;
    }
    return JSON_NULL;
}

bool json_is(const Json *json, JsonType type)
{
    return json_kind(json) == type;
}

bool json_get_bool(const Json *json, bool *value)
{
    if (!json_is(json, JSON_BOOL)) {
        return false;
    }
    *value = json_object_get_boolean(json);
    return true;
}

bool json_get_int(const Json *json, int64_t *value)
{
    if (!json_is(json, JSON_INT) || json_object_get_uint64(json) > INT64_MAX) {
        return false;
    }
    *value = json_object_get_int64(json);
    return true;
}

bool json_get_uint(const Json *json, uint64_t *value)
{
    if (!json_is(json, JSON_INT) || json_object_get_int64(json) < 0) {
        return false;
    }
    *value = json_object_get_uint64(json);
    return true;
}

bool json_get_double(const Json *json, double *value)
{
    uint64_t u;

    if (json_is(json, JSON_DOUBLE)) {
        *value = json_object_get_double(json);
        return true;
    }
    if (!json_is(json, JSON_INT)) {
        return false;
    }
    *value = json_get_uint(json, &u) ? (double)u : (double)json_object_get_int64(json);
    return true;
}

const char *json_get_string(const Json *json)
{
    return json_is(json, JSON_STRING) ? json_object_get_string((Json *)json) : NULL;
}

size_t json_get_string_len(const Json *json)
{
    return json_is(json, JSON_STRING) ? (size_t)json_object_get_string_len(json) : 0;
}

size_t json_list_len(const Json *list)
{
    return json_is(list, JSON_LIST) ? json_object_array_length(list) : 0;
}

Json *json_list_at(const Json *list, size_t index)
{
    return index < json_list_len(list) ? json_object_array_get_idx(list, index) : NULL;
}

void json_append(Json *list, Json *take)
{
    json_object_array_add(list, take);
}

size_t json_dict_len(const Json *dict)
{
    return json_is(dict, JSON_DICT) ? (size_t)json_object_object_length(dict) : 0;
}

bool json_dict_foreach(const Json *dict, bool (*fn)(const char *key, Json *value, void *opaque),
                       void *opaque)
{
    if (json_is(dict, JSON_DICT)) {
        json_object_object_foreach((Json *)dict, key, value) {
            if (!fn(key, value, opaque)) {
                return false;
            }
        }
    }
    return true;
}

bool json_has(const Json *dict, const char *key)
{
    return json_is(dict, JSON_DICT) && json_object_object_get_ex(dict, key, NULL);
}

Json *json_lookup(const Json *dict, const char *key)
{
    Json *value = NULL;

    if (json_is(dict, JSON_DICT)) {
        json_object_object_get_ex(dict, key, &value);
    }
    return value;
}

const char *json_lookup_string(const Json *dict, const char *key)
{
    return json_get_string(json_lookup(dict, key));
}

void json_set(Json *dict, const char *key, Json *take)
{
    json_object_object_add(dict, key, take);
}

/* ---- writer ---- */

static void write_code_point(GString *out, uint32_t c)
{
    static const char short_escapes[] = "btn\0fr";

    if (c == '"' || c == '\\') {
        g_string_append_c(out, '\\');
        g_string_append_c(out, (char)c);
    } else if (c >= 8 && c <= 13 && short_escapes[c - 8]) {
        g_string_append_c(out, '\\');
        g_string_append_c(out, short_escapes[c - 8]);
    } else if (c >= 0x20 && c < 0x7f) {
        g_string_append_c(out, (char)c);
    } else if (c >= 0x10000) {
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10),
                               0xdc00 + ((c - 0x10000) & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04X", c);
    }
}

static void write_string(GString *out, const char *s, size_t len)
{
    const char *end = s + len;

    g_string_append_c(out, '"');
    while (s < end) {
        gunichar c;

        if (end - s >= 2 && (uint8_t)s[0] == 0xc0 && (uint8_t)s[1] == 0x80) {
            write_code_point(out, 0);     /* how the parser stores \u0000 */
            s += 2;
            continue;
        }
        c = *s ? g_utf8_get_char_validated(s, end - s) : 0;
        if (c == (gunichar)-1 || c == (gunichar)-2) {
            write_code_point(out, 0xfffd);
            s++;
        } else {
            write_code_point(out, c);
            s += *s ? g_utf8_skip[*(const guchar *)s] : 1;
        }
    }
    g_string_append_c(out, '"');
}

static void write_newline(GString *out, bool pretty, unsigned depth)
{
    if (pretty) {
        g_string_append_c(out, '\n');
        for (unsigned i = 0; i < depth; i++) {
            g_string_append(out, "    ");
        }
    }
}

/* Recursion is bounded for parsed values by JSON_MAX_DEPTH; what we build ourselves is shallow. */
static void write_value(const Json *json, GString *out, bool pretty, unsigned depth)
{
    const char *raw = json ? json_object_get_userdata((Json *)json) : NULL;
    const char *separator = pretty ? "," : ", ";
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    size_t n = 0;
    uint64_t u;

    if (raw) {
        g_string_append(out, raw);
        return;
    }
    switch (json_kind(json)) {
    case JSON_NULL:
        g_string_append(out, "null");
        break;
    case JSON_BOOL:
        g_string_append(out, json_object_get_boolean(json) ? "true" : "false");
        break;
    case JSON_INT:
        if (json_get_uint(json, &u)) {
            g_string_append_printf(out, "%" G_GUINT64_FORMAT, u);
        } else {
            g_string_append_printf(out, "%" G_GINT64_FORMAT, json_object_get_int64(json));
        }
        break;
    case JSON_DOUBLE:
        if (isfinite(json_object_get_double(json))) {
            g_string_append(out, g_ascii_formatd(number, sizeof(number), "%.17g",
                                                 json_object_get_double(json)));
        } else {
            g_string_append(out, "null");
        }
        break;
    case JSON_STRING:
        write_string(out, json_object_get_string((Json *)json), json_get_string_len(json));
        break;
    case JSON_LIST:
        g_string_append_c(out, '[');
        for (size_t i = 0; i < json_list_len(json); i++) {
            g_string_append(out, i ? separator : "");
            write_newline(out, pretty, depth + 1);
            write_value(json_list_at(json, i), out, pretty, depth + 1);
        }
        write_newline(out, pretty, depth);
        g_string_append_c(out, ']');
        break;
    case JSON_DICT:
        g_string_append_c(out, '{');
        json_object_object_foreach((Json *)json, key, value) {
            g_string_append(out, n++ ? separator : "");
            write_newline(out, pretty, depth + 1);
            write_string(out, key, strlen(key));
            g_string_append(out, ": ");
            write_value(value, out, pretty, depth + 1);
        }
        write_newline(out, pretty, depth);
        g_string_append_c(out, '}');
        break;
    }
}

void json_write(const Json *json, GString *out, bool pretty)
{
    write_value(json, out, pretty, 0);
}

char *json_to_string(const Json *json)
{
    GString *out = g_string_new(NULL);

    write_value(json, out, false, 0);
    return g_string_free(out, FALSE);
}

char *json_to_pretty(const Json *json)
{
    GString *out = g_string_new(NULL);

    write_value(json, out, true, 0);
    return g_string_free(out, FALSE);
}
