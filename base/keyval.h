/* SPDX-License-Identifier: MIT */
/*
 * Option strings: "file=disk.img,if=ide,cache.direct=on".
 *
 * Syntax (QEMU's): KEY=VALUE pairs split by commas; a comma inside a value is doubled (",,").  The
 * first part may be a bare value for the implied key ("-device e1000,..." is driver=e1000).
 * Any other bare KEY is an error, or with KEYVAL_BARE_BOOL means KEY=on, and "noKEY" means
 * KEY=off.  "help" or "?" as a bare part asks for help.  Keys may be dotted for nesting, lists
 * are numbered ("server.0.host=").
 *
 * A KeyVal remembers the order and, for keys given twice, all values (keyval_get() gives the
 * last).  Reading marks a key as used; keyval_check_used() then complains about what nobody
 * asked for, with a suggestion out of the keys that were asked for:
 *
 *     g_autoptr(KeyVal) kv = keyval_parse(text, "driver", 0, error);
 *     if (!kv || !keyval_get_size(kv, "size", 0, &size, error) || ... ||
 *         !keyval_check_used(kv, "Memory backend", error)) {
 *         return false;
 *     }
 */
#ifndef BASE_KEYVAL_H
#define BASE_KEYVAL_H

#include "base/json.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct KeyVal KeyVal;
typedef enum KeyValFlags {
    KEYVAL_BARE_BOOL = 1 << 0,
} KeyValFlags;

/* IMPLIED_KEY may be NULL.  Keys hold letters, digits, '-', '_', '.'; NULL and *error if not. */
KeyVal *keyval_parse(const char *text, const char *implied_key, KeyValFlags flags,
                     GError **error);
KeyVal *keyval_new(void);
void keyval_free(KeyVal *kv);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KeyVal, keyval_free)

bool keyval_wants_help(const KeyVal *kv);
void keyval_set(KeyVal *kv, const char *key, const char *value); /* replaces */
void keyval_append(KeyVal *kv, const char *key, const char *value);

bool keyval_has(const KeyVal *kv, const char *key); /* does not mark as used */
/* The last value of KEY, or NULL; marks it as used. */
const char *keyval_get(KeyVal *kv, const char *key);
unsigned keyval_count(const KeyVal *kv);
const char *keyval_key_at(const KeyVal *kv, unsigned i);
const char *keyval_value_at(const KeyVal *kv, unsigned i);

/* Each leaves DEFAULT in *out if KEY is absent, and fails with a message that names KEY. */
bool keyval_get_bool(KeyVal *kv, const char *key, bool absent, bool *out, GError **error);
bool keyval_get_uint(KeyVal *kv, const char *key, uint64_t absent, uint64_t max, uint64_t *out,
                     GError **error);
/* Bytes unless suffixed. */
bool keyval_get_size(KeyVal *kv, const char *key, uint64_t absent, uint64_t *out, GError **error);
/* NAMES is NULL-terminated; *out gets the index. */
bool keyval_get_enum(KeyVal *kv, const char *key, const char *const *names, int absent, int *out,
                     GError **error);

/* Fails if a key was never read: "WHAT has no option 'foo'; did you mean ..?  It knows: a, b". */
bool keyval_check_used(const KeyVal *kv, const char *what, GError **error);

/* Back to text, with commas doubled. */
char *keyval_to_string(const KeyVal *kv);

/*
 * The nested form: {"driver": "raw", "file": {"filename": "x"}}, all leaves strings; a dictionary
 * whose keys are 0..n-1 becomes a list.  Fails if a key is both a leaf and a dictionary.
 */
Json *keyval_to_json(const KeyVal *kv, GError **error);

#endif
