/* SPDX-License-Identifier: MIT */
/*
 * JSON values, a strict parser that works on a stream, and a writer.  [RFC 8259]
 *
 * Values are json-c's, so that its accessors work on them too; the parser and the writer are ours:
 * json-c's are laxer than RFC 8259, recurse, and cannot resume after an error.  As in json-c, the
 * null pointer is the JSON null; json_has() tells it from an absent member.
 *
 * A Json is reference counted and belongs to one thread at a time (an unshared
 * tree may be handed over).  Numbers keep their kind: an integer literal that fits is
 * JSON_INT (int64_t, or uint64_t when above INT64_MAX), any other literal is JSON_DOUBLE.
 * Dicts remember the order of insertion; a duplicate key is a parse error.
 *
 * The grammar is that of RFC 8259 plus the one extension QMP clients rely on: strings may be
 * quoted with ' as well as ".  Input must be UTF-8.  Nesting is limited to JSON_MAX_DEPTH and the
 * memory of one value to about JSON_MAX_TOKENS tokens, so hostile input cannot exhaust us.
 * Error texts are those QEMU's monitor gives.
 *
 * Setters and appenders take the reference that they are given:
 *
 *     g_autoptr(Json) dict = json_new_dict();
 *     json_set(dict, "status", json_new_string("running"));
 *     g_autofree char *text = json_to_string(dict);      -> {"status": "running"}
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 1024
#define JSON_MAX_TOKENS (2u << 20)
#define JSON_MAX_TOKEN_BYTES (64u << 20)

typedef enum JsonType {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_DOUBLE,
    JSON_STRING,
    JSON_LIST,
    JSON_DICT,
} JsonType;

typedef struct json_object Json;

Json *json_new_null(void);
Json *json_new_bool(bool value);
Json *json_new_int(int64_t value);
Json *json_new_uint(uint64_t value);
Json *json_new_double(double value);
Json *json_new_string(const char *value);              /* NULL gives "" */
Json *json_new_string_len(const char *value, size_t len);
Json *json_new_list(void);
Json *json_new_dict(void);
/* VALUE, which must be a complete JSON text, is written out verbatim; it reads as a string.
 * For large constant answers that are prepared ahead. */
Json *json_new_raw(const char *static_text);

Json *json_ref(Json *json);
void json_unref(Json *json);                           /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Json, json_unref)

JsonType json_kind(const Json *json);
bool json_is(const Json *json, JsonType type);

/* Each is true, and *VALUE set, only when JSON is of that type and the value fits. */
bool json_get_bool(const Json *json, bool *value);
bool json_get_int(const Json *json, int64_t *value);
bool json_get_uint(const Json *json, uint64_t *value); /* negative ints do not fit */
bool json_get_double(const Json *json, double *value); /* ints do */
const char *json_get_string(const Json *json);         /* NULL when not a string */
size_t json_get_string_len(const Json *json);

size_t json_list_len(const Json *list);                /* 0 when not a list */
Json *json_list_at(const Json *list, size_t index);    /* borrowed; NULL past the end */
void json_append(Json *list, Json *take);

size_t json_dict_len(const Json *dict);
/* In order of insertion; the callback must not change the dict; false stops. */
bool json_dict_foreach(const Json *dict, bool (*fn)(const char *key, Json *value, void *opaque),
                       void *opaque);
bool json_has(const Json *dict, const char *key);
Json *json_lookup(const Json *dict, const char *key);  /* borrowed; NULL when absent or null */
const char *json_lookup_string(const Json *dict, const char *key);
void json_set(Json *dict, const char *key, Json *take);/* replaces */

/* One whole value and nothing after it. */
Json *json_parse(const char *text, GError **error);
Json *json_parse_len(const char *text, size_t len, GError **error);

/* As QMP writes it: one line, ", " and ": " as separators, ASCII only. */
char *json_to_string(const Json *json);
/* Four blanks per level. */
char *json_to_pretty(const Json *json);
void json_write(const Json *json, GString *out, bool pretty);

/*
 * A stream of values with no separator needed between them.  SINK gets each value (null for null), or
 * an error when the input is malformed; both belong to the sink.  After an error
 * the parser resumes at the next value.  The sink must not free the parser.
 */
typedef struct JsonStream JsonStream;
typedef void JsonSink(void *opaque, Json *value, GError *error);

JsonStream *json_stream_new(JsonSink *sink, void *opaque);
void json_stream_free(JsonStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonStream, json_stream_free)
void json_stream_feed(JsonStream *stream, const char *data, size_t len);
/* End of input: what is still open is malformed. */
void json_stream_flush(JsonStream *stream);

GQuark json_error_quark(void);
#define JSON_ERROR json_error_quark()

#endif
