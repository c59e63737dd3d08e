/* SPDX-License-Identifier: MIT */
/* Option strings; see the header. */
#include "base/keyval.h"
#include "base/error.h"
#include "base/parse.h"

#include <string.h>

typedef struct Pair {
    char *key, *value;
    bool used;
} Pair;

struct KeyVal {
    GPtrArray *pairs; /* of Pair *, in order */
    GPtrArray *asked; /* of char *: keys that were looked up, each once */
    bool help;
};

static void pair_free(void *opaque)
{
    Pair *p = opaque;

    g_free(p->key);
    g_free(p->value);
    g_free(p);
}

KeyVal *keyval_new(void)
{
    KeyVal *kv = g_new0(KeyVal, 1);

    kv->pairs = g_ptr_array_new_with_free_func(pair_free);
    kv->asked = g_ptr_array_new_with_free_func(g_free);
    return kv;
}

void keyval_free(KeyVal *kv)
{
    if (kv) {
        g_ptr_array_unref(kv->pairs);
        g_ptr_array_unref(kv->asked);
        g_free(kv);
    }
}

/* Copies up to a single comma, folding ",,"; *text is left after that comma. */
static char *take_value(const char **text)
{
    GString *out = g_string_new(NULL);
    const char *p = *text;

    while (*p) {
        if (*p == ',') {
            p++;
            if (*p != ',') {
                break;
            }
        }
        g_string_append_c(out, *p++);
    }
    *text = p;
    return g_string_free(out, FALSE);
}

static bool key_is_valid(const char *key, size_t len)
{
    if (len == 0 || len > 127) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!g_ascii_isalnum(key[i]) && !strchr("-_.", key[i])) {
            return false;
        }
    }
    return true;
}

/* One part of the string, which starts at *text and is not the implied value. */
static bool take_pair(KeyVal *kv, const char **text, KeyValFlags flags, GError **error)
{
    size_t len = strcspn(*text, "=,");
    g_autofree char *key = g_strndup(*text, len);
    g_autofree char *value = NULL;
    bool bare = (*text)[len] != '=';

    *text += len;
    if (bare) {
        *text += **text == ',';
        if (strcmp(key, "help") == 0 || strcmp(key, "?") == 0) {
            kv->help = true;
            return true;
        }
    }
    if (!key_is_valid(key, len)) {
        return error_set(error, "Invalid parameter '%s'", key);
    }
    if (!bare) {
        (*text)++;
        value = take_value(text);
        keyval_append(kv, key, value);
        return true;
    }
    if (!(flags & KEYVAL_BARE_BOOL)) {
        return error_set(error, "Expected '=' after parameter '%s'", key);
    }
    if (g_str_has_prefix(key, "no") && key[2]) {
        keyval_append(kv, key + 2, "off");
    } else {
        keyval_append(kv, key, "on");
    }
    return true;
}

KeyVal *keyval_parse(const char *text, const char *implied_key, KeyValFlags flags, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_new();

    if (implied_key && *text && text[strcspn(text, "=,")] != '=') {
        g_autofree char *value = take_value(&text);

        if (strcmp(value, "help") == 0 || strcmp(value, "?") == 0) {
            kv->help = true;
        } else {
            keyval_append(kv, implied_key, value);
        }
    }
    while (*text) {
        if (!take_pair(kv, &text, flags, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&kv);
}

bool keyval_wants_help(const KeyVal *kv)
{
    return kv->help;
}

static Pair *find_last(const KeyVal *kv, const char *key)
{
    for (unsigned i = kv->pairs->len; i > 0; i--) {
        Pair *p = g_ptr_array_index(kv->pairs, i - 1);

        if (strcmp(p->key, key) == 0) {
            return p;
        }
    }
    return NULL;
}

void keyval_append(KeyVal *kv, const char *key, const char *value)
{
    Pair *p = g_new0(Pair, 1);

    p->key = g_strdup(key);
    p->value = g_strdup(value);
    g_ptr_array_add(kv->pairs, p);
}

void keyval_set(KeyVal *kv, const char *key, const char *value)
{
    Pair *p = find_last(kv, key);

    if (p) {
        g_free(p->value);
        p->value = g_strdup(value);
    } else {
        keyval_append(kv, key, value);
    }
}

bool keyval_has(const KeyVal *kv, const char *key)
{
    return find_last(kv, key) != NULL;
}

const char *keyval_get(KeyVal *kv, const char *key)
{
    const char *value = NULL;

    if (!g_ptr_array_find_with_equal_func(kv->asked, key, g_str_equal, NULL)) {
        g_ptr_array_add(kv->asked, g_strdup(key));
    }
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        Pair *p = g_ptr_array_index(kv->pairs, i);

        if (strcmp(p->key, key) == 0) {
            p->used = true;
            value = p->value;
        }
    }
    return value;
}

unsigned keyval_count(const KeyVal *kv)
{
    return kv->pairs->len;
}

const char *keyval_key_at(const KeyVal *kv, unsigned i)
{
    return ((Pair *)g_ptr_array_index(kv->pairs, i))->key;
}

const char *keyval_value_at(const KeyVal *kv, unsigned i)
{
    return ((Pair *)g_ptr_array_index(kv->pairs, i))->value;
}

static char *parameter_name(const char *key)
{
    return g_strdup_printf("Parameter '%s'", key);
}

bool keyval_get_bool(KeyVal *kv, const char *key, bool absent, bool *out, GError **error)
{
    const char *text = keyval_get(kv, key);
    g_autofree char *name = parameter_name(key);

    if (!text) {
        *out = absent;
        return true;
    }
    return parse_bool(name, text, out, error);
}

bool keyval_get_uint(KeyVal *kv, const char *key, uint64_t absent, uint64_t max, uint64_t *out,
                     GError **error)
{
    const char *text = keyval_get(kv, key);
    g_autofree char *name = parameter_name(key);

    if (!text) {
        *out = absent;
        return true;
    }
    return parse_uint(name, text, 0, max, out, error);
}

bool keyval_get_size(KeyVal *kv, const char *key, uint64_t absent, uint64_t *out, GError **error)
{
    const char *text = keyval_get(kv, key);
    g_autofree char *name = parameter_name(key);

    if (!text) {
        *out = absent;
        return true;
    }
    return parse_size(name, text, 1, out, error);
}

bool keyval_get_enum(KeyVal *kv, const char *key, const char *const *names, int absent, int *out,
                     GError **error)
{
    const char *text = keyval_get(kv, key);
    g_autofree char *all = NULL;
    Suggest s;

    if (!text) {
        *out = absent;
        return true;
    }
    suggest_init(&s, text);
    for (int i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
        suggest_offer(&s, names[i]);
    }
    all = g_strjoinv(", ", (char **)names);
    return error_set(error, "Parameter '%s' does not accept value '%s'%s (allowed: %s)", key, text,
                     suggest_text(&s), all);
}

bool keyval_check_used(const KeyVal *kv, const char *what, GError **error)
{
    for (unsigned i = 0; i < kv->pairs->len; i++) {
        const Pair *p = g_ptr_array_index(kv->pairs, i);
        g_autoptr(GString) all = NULL;
        Suggest s;

        if (p->used) {
            continue;
        }
        all = g_string_new(NULL);
        suggest_init(&s, p->key);
        for (unsigned k = 0; k < kv->asked->len; k++) {
            const char *key = g_ptr_array_index(kv->asked, k);

            suggest_offer(&s, key);
            g_string_append_printf(all, "%s%s", k ? ", " : "", key);
        }
        return error_set(error, "%s: Invalid parameter '%s'%s (allowed: %s)", what, p->key,
                         suggest_text(&s), all->len ? all->str : "none");
    }
    return true;
}

char *keyval_to_string(const KeyVal *kv)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < kv->pairs->len; i++) {
        const Pair *p = g_ptr_array_index(kv->pairs, i);

        g_string_append_printf(out, "%s%s=", i ? "," : "", p->key);
        for (const char *c = p->value; *c; c++) {
            g_string_append(out, *c == ',' ? ",," : (char[]){ *c, '\0' });
        }
    }
    return g_string_free(out, FALSE);
}

/* -------- nesting -------- */

static bool is_index(const char *key)
{
    return *key && strspn(key, "0123456789") == strlen(key) && (key[0] != '0' || !key[1]);
}

static Json *listify(Json *take);

static bool listify_member(const char *key, Json *value, void *opaque)
{
    json_set(opaque, key, listify(json_ref(value)));
    return true;
}

static bool count_indices(const char *key, Json *value, void *opaque)
{
    *(size_t *)opaque += is_index(key);
    return true;
}

/* Turns dictionaries with the keys 0..n-1 into lists, at all depths. */
static Json *listify(Json *take)
{
    g_autoptr(Json) json = take;
    Json *out;
    size_t indices = 0, len = json_dict_len(json);

    if (!json_is(json, JSON_DICT)) {
        return g_steal_pointer(&json);
    }
    json_dict_foreach(json, count_indices, &indices);
    if (len > 0 && indices == len) {
        bool dense = true;

        out = json_new_list();
        for (size_t i = 0; i < len && dense; i++) {
            char key[24];

            g_snprintf(key, sizeof(key), "%zu", i);
            dense = json_has(json, key);
            if (dense) {
                json_append(out, listify(json_ref(json_lookup(json, key))));
            }
        }
        if (dense) {
            return out;
        }
        json_unref(out);
    }
    out = json_new_dict();
    json_dict_foreach(json, listify_member, out);
    return out;
}

static bool insert_nested(Json *root, const Pair *p, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(p->key, ".", -1);
    Json *at = root;

    for (char **part = parts; *part; part++) {
        Json *next = json_lookup(at, *part);

        if (!**part) {
            return error_set(error, "Invalid parameter '%s': empty part between dots", p->key);
        }
        if (!part[1]) {
            if (next && json_is(next, JSON_DICT)) {
                return error_set(error, "Parameters '%s.*' used inconsistently", p->key);
            }
            json_set(at, *part, json_new_string(p->value));
            return true;
        }
        if (!next) {
            next = json_new_dict();
            json_set(at, *part, next);
        } else if (!json_is(next, JSON_DICT)) {
            return error_set(error, "Parameters '%s.*' used inconsistently", *part);
        }
        at = next;
    }
    return true;
}

Json *keyval_to_json(const KeyVal *kv, GError **error)
{
    g_autoptr(Json) root = json_new_dict();

    for (unsigned i = 0; i < kv->pairs->len; i++) {
        if (!insert_nested(root, g_ptr_array_index(kv->pairs, i), error)) {
            return NULL;
        }
    }
    return listify(g_steal_pointer(&root));
}
