/* SPDX-License-Identifier: MIT */
/*
 * The JSON stream parser.  [RFC 8259]
 *
 * Two machines in series, both driven a byte at a time and without recursion:
 *
 *   lexer    bytes -> tokens.  A byte that fits no token is "stray"; the value under construction
 *            is dropped and bytes are skipped up to the next blank or structural character.
 *   builder  tokens -> values, on an explicit stack of open containers.  A syntax error is
 *            remembered and only reported where brackets and braces balance again (or one of the
 *            counts turns negative), so that one malformed text gives one error.
 */
#include "base/json.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

typedef enum Lex {
    LEX_START,
    LEX_STRING,
    LEX_STRING_ESCAPE,
    LEX_MINUS,
    LEX_ZERO,
    LEX_INT,
    LEX_POINT,
    LEX_FRACTION,
    LEX_E,
    LEX_E_SIGN,
    LEX_EXPONENT,
    LEX_KEYWORD,
    LEX_SKIP,
} Lex;

typedef enum Expect {
    EXPECT_VALUE,            /* top level, after ':' or after ',' in a list */
    EXPECT_FIRST_VALUE,      /* after '[': a value or ']' */
    EXPECT_FIRST_KEY,        /* after '{': a key or '}' */
    EXPECT_KEY,              /* after ',' in a dict */
    EXPECT_COLON,
    EXPECT_MORE,             /* ',' or the closing character */
} Expect;

typedef enum Token {
    TOKEN_STRUCT,            /* one of []{},: */
    TOKEN_STRING,
    TOKEN_INT,
    TOKEN_DOUBLE,
    TOKEN_KEYWORD,
} Token;

typedef struct Level {
    Json *container;
    char *key;               /* the member under construction of a dict */
} Level;

struct JsonStream {
    JsonSink *sink;
    void *opaque;
    Lex lex;
    char quote;
    GString *text;           /* of the token under construction */
    GArray *stack;           /* Level */
    Expect expect;
    char *pending_error;     /* first syntax error of this value */
    int braces, brackets;
    unsigned tokens;
};

static void level_clear(void *p)
{
    Level *level = p;

    json_unref(level->container);
    g_free(level->key);
}

static void stream_reset(JsonStream *s)
{
    g_array_set_size(s->stack, 0);
    s->expect = EXPECT_VALUE;
    s->braces = s->brackets = 0;
    s->tokens = 0;
    g_clear_pointer(&s->pending_error, g_free);
}

static void stream_error(JsonStream *s, const char *message)
{
    g_autofree char *valid = g_utf8_make_valid(message, -1);

    stream_reset(s);
    s->sink(s->opaque, NULL, g_error_new_literal(JSON_ERROR, 0, valid));
}

static void syntax_error(JsonStream *s, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void syntax_error(JsonStream *s, const char *format, ...)
{
    va_list args;

    if (!s->pending_error) {
        g_autofree char *detail = NULL;

        va_start(args, format);
        detail = g_strdup_vprintf(format, args);
        va_end(args);
        s->pending_error = g_strconcat("JSON parse error, ", detail, NULL);
    }
}

/* ---- builder ---- */

static Level *top_level(JsonStream *s)
{
    return s->stack->len ? &g_array_index(s->stack, Level, s->stack->len - 1) : NULL;
}

/* A finished value goes into the innermost container, or out. */
static void place_value(JsonStream *s, Json *value)
{
    Level *top = top_level(s);

    if (!top) {
        stream_reset(s);
        s->sink(s->opaque, value, NULL);
        return;
    }
    if (json_is(top->container, JSON_LIST)) {
        json_append(top->container, value);
    } else {
        json_set(top->container, top->key, value);
        g_clear_pointer(&top->key, g_free);
    }
    s->expect = EXPECT_MORE;
}

static void open_container(JsonStream *s, char c)
{
    Level level = { .container = c == '{' ? json_new_dict() : json_new_list() };

    g_array_append_val(s->stack, level);
    s->expect = c == '{' ? EXPECT_FIRST_KEY : EXPECT_FIRST_VALUE;
}

static void close_container(JsonStream *s)
{
    Json *done = g_steal_pointer(&top_level(s)->container);

    g_array_set_size(s->stack, s->stack->len - 1);
    place_value(s, done);
}

/* The end of an escape or a plain character at *P of a string; appends what it stands for. */
static bool unescape(JsonStream *s, const char **p, const char *end, GString *out)
{
    static const char from[] = "\"'\\/bfnrt", to[] = "\"'\\/\b\f\n\r\t";
    const char *at = *p + 1;
    const char *hit = strchr(from, *at);
    uint32_t c = 0, units[2];

    if (hit && *hit) {
        g_string_append_c(out, to[hit - from]);
        *p += 2;
        return true;
    }
    if (*at != 'u') {
        syntax_error(s, "invalid escape sequence in string");
        return false;
    }
    at = *p;
    for (unsigned n = 0; n < 2; n++) {
        units[n] = 0;
        for (unsigned i = 2; i < 6; i++) {
            if (at + i >= end || !g_ascii_isxdigit(at[i])) {
                syntax_error(s, "%.*s is not a valid Unicode character",
                             (int)MIN(6, end + 1 - *p), *p);
                return false;
            }
            units[n] = units[n] << 4 | (uint32_t)g_ascii_xdigit_value(at[i]);
        }
        at += 6;
        if (n == 0 && (units[0] < 0xd800 || units[0] > 0xdbff)) {
            c = units[0];
            break;
        }
        if (n == 0 && (at + 1 >= end || at[0] != '\\' || at[1] != 'u')) {
            c = units[0];
            break;
        }
        c = 0x10000 + ((units[0] & 0x3ff) << 10) + (units[n] & 0x3ff);
        if (n == 1 && (units[1] < 0xdc00 || units[1] > 0xdfff)) {
            c = units[0];
        }
    }
    if (c == 0) {
        g_string_append(out, "\xc0\x80");    /* a NUL that does not end the string */
    } else if (!g_unichar_validate(c)) {
        syntax_error(s, "%.*s is not a valid Unicode character", (int)MIN(12, at - *p), *p);
        return false;
    } else {
        g_string_append_unichar(out, c);
    }
    *p = at;
    return true;
}

/* The text between the quotes; false after an error. */
static bool string_value(JsonStream *s, GString *out)
{
    const char *p = s->text->str + 1, *end = s->text->str + s->text->len - 1;

    while (p < end) {
        const char *stop = p;

        while (stop < end && *stop != '\\') {
            stop++;
        }
        if (!g_utf8_validate(p, stop - p, NULL)) {
            syntax_error(s, "invalid UTF-8 sequence in string");
            return false;
        }
        g_string_append_len(out, p, stop - p);
        p = stop;
        if (p < end && !unescape(s, &p, end, out)) {
            return false;
        }
    }
    return true;
}

static Json *number_value(const char *text, Token token)
{
    char *end;

    errno = 0;
    if (token == TOKEN_INT) {
        int64_t i = g_ascii_strtoll(text, &end, 10);

        if (errno == 0) {
            return json_new_int(i);
        }
        errno = 0;
        if (text[0] != '-') {
            uint64_t u = g_ascii_strtoull(text, &end, 10);

            if (errno == 0) {
                return json_new_uint(u);
            }
        }
    }
    return json_new_double(g_ascii_strtod(text, &end));
}

/* A key token, or an error.  */
static void take_key(JsonStream *s, Token token)
{
    g_autoptr(GString) key = NULL;

    if (token != TOKEN_STRING) {
        if (token == TOKEN_KEYWORD) {
            syntax_error(s, "invalid keyword '%s'", s->text->str);
        } else if (token == TOKEN_STRUCT && strchr("]},:", s->text->str[0])) {
            syntax_error(s, "expecting value");
        } else {
            syntax_error(s, "key is not a string in object");
        }
        return;
    }
    key = g_string_new(NULL);
    if (!string_value(s, key)) {
        return;
    }
    if (json_has(top_level(s)->container, key->str)) {
        syntax_error(s, "duplicate key");
        return;
    }
    top_level(s)->key = g_string_free(g_steal_pointer(&key), FALSE);
    s->expect = EXPECT_COLON;
}

static void take_value(JsonStream *s, Token token)
{
    const char *text = s->text->str;

    switch (token) {
    case TOKEN_STRUCT:
        if (text[0] == '{' || text[0] == '[') {
            open_container(s, text[0]);
        } else {
            syntax_error(s, "expecting value");
        }
        return;
    case TOKEN_STRING: {
        g_autoptr(GString) out = g_string_new(NULL);

        if (string_value(s, out)) {
            place_value(s, json_new_string_len(out->str, out->len));
        }
        return;
    }
    case TOKEN_INT:
    case TOKEN_DOUBLE:
        place_value(s, number_value(text, token));
        return;
    case TOKEN_KEYWORD:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
            place_value(s, json_new_bool(text[0] == 't'));
        } else if (strcmp(text, "null") == 0) {
            place_value(s, NULL);
        } else {
            syntax_error(s, "invalid keyword '%s'", text);
        }
        return;
    }
}

/* ',' or the end of the container. */
static void take_separator(JsonStream *s, char c)
{
    bool list = json_is(top_level(s)->container, JSON_LIST);

    if (c == ',') {
        s->expect = list ? EXPECT_VALUE : EXPECT_KEY;
    } else if (c == (list ? ']' : '}')) {
        close_container(s);
    } else {
        syntax_error(s, "expected separator in %s", list ? "list" : "dict");
    }
}

static void build(JsonStream *s, Token token)
{
    char c = token == TOKEN_STRUCT ? s->text->str[0] : '\0';

    if (s->pending_error) {
        return;
    }
    if ((s->expect == EXPECT_FIRST_VALUE && c == ']') ||
        (s->expect == EXPECT_FIRST_KEY && c == '}')) {
        close_container(s);
        return;
    }
    switch (s->expect) {
    case EXPECT_VALUE:
    case EXPECT_FIRST_VALUE:
        take_value(s, token);
        break;
    case EXPECT_FIRST_KEY:
    case EXPECT_KEY:
        take_key(s, token);
        break;
    case EXPECT_COLON:
        if (c == ':') {
            s->expect = EXPECT_VALUE;
        } else {
            syntax_error(s, "missing : in object pair");
        }
        break;
    case EXPECT_MORE:
        take_separator(s, c);
        break;
    }
}

static void emit_token(JsonStream *s, Token token)
{
    char c = token == TOKEN_STRUCT ? s->text->str[0] : '\0';

    s->lex = LEX_START;
    s->braces += (c == '{') - (c == '}');
    s->brackets += (c == '[') - (c == ']');
    if (s->braces + s->brackets > JSON_MAX_DEPTH) {
        stream_error(s, "JSON nesting depth limit exceeded");
    } else if (++s->tokens > JSON_MAX_TOKENS) {
        stream_error(s, "JSON token count limit exceeded");
    } else {
        build(s, token);
        if (s->pending_error && (s->braces < 0 || s->brackets < 0 ||
                                 (s->braces == 0 && s->brackets == 0))) {
            g_autofree char *message = g_steal_pointer(&s->pending_error);

            stream_error(s, message);
        }
    }
    g_string_truncate(s->text, 0);
}

/* ---- lexer ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_structural(char c)
{
    return c != '\0' && strchr("[]{},:", c);
}

static void stray(JsonStream *s, char c)
{
    g_autofree char *message = NULL;

    g_string_append_c(s->text, c);
    message = g_strdup_printf("JSON parse error, stray '%s'", s->text->str);
    g_string_truncate(s->text, 0);
    s->lex = is_blank(c) || is_structural(c) ? LEX_START : LEX_SKIP;
    stream_error(s, message);
}

static void lex_start(JsonStream *s, char c)
{
    if (is_blank(c)) {
        return;
    }
    if (is_structural(c)) {
        g_string_append_c(s->text, c);
        emit_token(s, TOKEN_STRUCT);
    } else if (c == '"' || c == '\'') {
        s->quote = c;
        s->lex = LEX_STRING;
        g_string_append_c(s->text, c);
    } else if (c == '-' || g_ascii_isdigit(c)) {
        s->lex = c == '-' ? LEX_MINUS : c == '0' ? LEX_ZERO : LEX_INT;
        g_string_append_c(s->text, c);
    } else if (g_ascii_islower(c)) {
        s->lex = LEX_KEYWORD;
        g_string_append_c(s->text, c);
    } else {
        stray(s, c);
    }
}

/* Number states: where C leads, or LEX_START when the number ends before C. */
static bool lex_number(Lex state, char c, Lex *next)
{
    bool digit = g_ascii_isdigit(c), e = c == 'e' || c == 'E';

    *next = LEX_START;
    switch (state) {
    case LEX_MINUS:
        *next = c == '0' ? LEX_ZERO : LEX_INT;
        return digit;
    case LEX_ZERO:
    case LEX_INT:
        *next = digit ? LEX_INT : c == '.' ? LEX_POINT : e ? LEX_E : LEX_START;
        return !(state == LEX_ZERO && digit);
    case LEX_POINT:
        *next = LEX_FRACTION;
        return digit;
    case LEX_FRACTION:
        *next = digit ? LEX_FRACTION : e ? LEX_E : LEX_START;
        return true;
    case LEX_E:
        *next = digit ? LEX_EXPONENT : LEX_E_SIGN;
        return digit || c == '+' || c == '-';
    case LEX_E_SIGN:
    case LEX_EXPONENT:
        *next = digit ? LEX_EXPONENT : LEX_START;
        return digit || state == LEX_EXPONENT;
    default:
        return false;
    }
}

static void lex_byte(JsonStream *s, char c)
{
    Lex next;

    if (s->text->len >= JSON_MAX_TOKEN_BYTES) {
        g_string_free(s->text, TRUE);
        s->text = g_string_new(NULL);
        s->lex = LEX_SKIP;
        stream_error(s, "JSON token size limit exceeded");
    }
    switch (s->lex) {
    case LEX_START:
        lex_start(s, c);
        return;
    case LEX_SKIP:
        if (is_blank(c) || is_structural(c)) {
            s->lex = LEX_START;
            lex_start(s, c);
        }
        return;
    case LEX_STRING:
        if ((uint8_t)c < 0x20 || (uint8_t)c >= 0xfe) {
            stray(s, c);
            return;
        }
        g_string_append_c(s->text, c);
        if (c == s->quote) {
            emit_token(s, TOKEN_STRING);
        } else if (c == '\\') {
            s->lex = LEX_STRING_ESCAPE;
        }
        return;
    case LEX_STRING_ESCAPE:
        if ((uint8_t)c < 0x20 || (uint8_t)c >= 0xfe) {
            stray(s, c);
            return;
        }
        g_string_append_c(s->text, c);
        s->lex = LEX_STRING;
        return;
    case LEX_KEYWORD:
        if (g_ascii_islower(c)) {
            g_string_append_c(s->text, c);
            return;
        }
        emit_token(s, TOKEN_KEYWORD);
        lex_start(s, c);
        return;
    default:
        if (!lex_number(s->lex, c, &next)) {
            stray(s, c);
        } else if (next != LEX_START) {
            s->lex = next;
            g_string_append_c(s->text, c);
        } else {
            emit_token(s, s->lex == LEX_ZERO || s->lex == LEX_INT ? TOKEN_INT : TOKEN_DOUBLE);
            lex_start(s, c);
        }
    }
}

JsonStream *json_stream_new(JsonSink *sink, void *opaque)
{
    JsonStream *s = g_new0(JsonStream, 1);

    s->sink = sink;
    s->opaque = opaque;
    s->text = g_string_new(NULL);
    s->stack = g_array_new(FALSE, TRUE, sizeof(Level));
    g_array_set_clear_func(s->stack, level_clear);
    return s;
}

void json_stream_free(JsonStream *stream)
{
    if (stream) {
        stream_reset(stream);
        g_array_free(stream->stack, TRUE);
        g_string_free(stream->text, TRUE);
        g_free(stream);
    }
}

void json_stream_feed(JsonStream *stream, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        lex_byte(stream, data[i]);
    }
}

void json_stream_flush(JsonStream *stream)
{
    if (stream->lex != LEX_START && stream->lex != LEX_SKIP) {
        if (stream->lex == LEX_STRING || stream->lex == LEX_STRING_ESCAPE) {
            stray(stream, '\n');
        } else {
            lex_byte(stream, '\n');
        }
    }
    stream->lex = LEX_START;
    if (stream->stack->len || stream->pending_error) {
        g_autofree char *message = g_steal_pointer(&stream->pending_error);

        stream_error(stream, message ? message : "JSON parse error, premature EOI");
    }
}

/* ---- one value ---- */

typedef struct Single {
    Json *value;
    GError *error;
    unsigned count;
} Single;

static void single_sink(void *opaque, Json *value, GError *error)
{
    Single *single = opaque;

    if (error && !single->error) {
        single->error = error;
    } else if (error) {
        g_error_free(error);
    } else if (single->count++ == 0) {
        single->value = value;
    } else {
        json_unref(value);
    }
}

Json *json_parse_len(const char *text, size_t len, GError **error)
{
    Single single = { NULL };
    g_autoptr(JsonStream) stream = json_stream_new(single_sink, &single);

    json_stream_feed(stream, text, len);
    json_stream_flush(stream);
    if (!single.error && single.count != 1) {
        single.error = g_error_new_literal(JSON_ERROR, 0, single.count
                                               ? "JSON parse error, expecting end of input"
                                               : "JSON parse error, expecting value");
    }
    if (single.error) {
        json_unref(single.value);
        g_propagate_error(error, single.error);
        return NULL;
    }
    return single.value;
}

Json *json_parse(const char *text, GError **error)
{
    return json_parse_len(text, strlen(text), error);
}
