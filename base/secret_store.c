/* SPDX-License-Identifier: MIT */
/*
 * Secrets by id.  See base/secret_store.h.
 * Locking: main loop.
 */
#include "base/secret_store.h"

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

#define MAX_SECRET (1u << 20)

static GHashTable *secrets;        /* id -> GBytes; the process has one name space of objects */

static void bytes_wipe(gpointer p)
{
    gsize len;
    void *data = g_bytes_unref_to_data(p, &len);

    explicit_bzero(data, len);
    g_free(data);
}

void secret_store_put(const char *id, GBytes *data)
{
    if (!secrets) {
        secrets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, bytes_wipe);
    }
    g_hash_table_replace(secrets, g_strdup(id), g_bytes_ref(data));
}

void secret_store_drop(const char *id)
{
    if (secrets && id) {
        g_hash_table_remove(secrets, id);
    }
}

GBytes *secret_store_get(const char *id, GError **error)
{
    GBytes *found = secrets ? g_hash_table_lookup(secrets, id) : NULL;

    if (!found) {
        error_set(error, "No secret with id '%s'", id);
    }
    return found ? g_bytes_ref(found) : NULL;
}

char *secret_store_get_text(const char *id, GError **error)
{
    g_autoptr(GBytes) bytes = secret_store_get(id, error);
    const char *data;
    gsize len;

    if (!bytes) {
        return NULL;
    }
    data = g_bytes_get_data(bytes, &len);
    if (!g_utf8_validate_len(data, len, NULL)) {
        error_set(error, "Data from secret %s is not valid UTF-8", id);
        return NULL;
    }
    return g_strndup(data, len);
}

static bool take_raw(KeyVal *props, char **raw, gsize *len, GError **error)
{
    const char *data = keyval_get(props, "data"), *file = keyval_get(props, "file");

    if (!data == !file) {
        return error_set(error, data ? "'file' and 'data' are mutually exclusive"
                                     : "Either 'file' or 'data' must be provided");
    }
    if (data) {
        *len = strlen(data);
        *raw = g_strdup(data);
        return true;
    }
    if (!g_file_get_contents(file, raw, len, error)) {
        g_prefix_error(error, "Unable to read '%s': ", file);
        return false;
    }
    return *len <= MAX_SECRET || error_set(error, "The secret in '%s' is too long", file);
}

/* BYTES, decrypted with the secret KEYID (base64 of 32 bytes) and unpadded (PKCS #7). */
static bool decrypt(const char *keyid, const char *iv_text, GByteArray *bytes, GError **error)
{
    g_autoptr(GBytes) key_text = NULL;
    g_autofree guchar *key = NULL;
    g_autofree guchar *iv = NULL;
    g_autofree char *text = NULL;
    gsize key_len, iv_len;
    struct aes256_ctx ctx;
    uint8_t pad;

    key_text = secret_store_get(keyid, error);
    if (!key_text) {
        return false;
    }
    text = g_strndup(g_bytes_get_data(key_text, NULL), g_bytes_get_size(key_text));
    key = g_base64_decode(text, &key_len);
    if (key_len != 32 && g_bytes_get_size(key_text) == 32) {
        g_free(key);
        key = g_memdup2(g_bytes_get_data(key_text, NULL), 32);
        key_len = 32;
    }
    iv = g_base64_decode(iv_text, &iv_len);
    if (key_len != 32 || iv_len != 16 || bytes->len == 0 || bytes->len % 16) {
        return error_set(error, "An encrypted secret needs a key of 32 bytes, an IV of 16 and "
                         "data in blocks of 16, not %zu, %zu and %u", key_len, iv_len,
                         bytes->len);
    }
    aes256_set_decrypt_key(&ctx, key);
    cbc_decrypt(&ctx, (nettle_cipher_func *)aes256_decrypt, 16, iv, bytes->len, bytes->data,
                bytes->data);
    pad = bytes->data[bytes->len - 1];
    if (pad == 0 || pad > 16) {
        return error_set(error, "Incorrect number of padding bytes (%u) found on decrypted data",
                         pad);
    }
    g_byte_array_set_size(bytes, bytes->len - pad);
    return true;
}

static bool decode(KeyVal *props, const char *raw, gsize len, GByteArray *out, GError **error)
{
    static const char *const formats[] = { "raw", "base64", NULL };
    const char *keyid = keyval_get(props, "keyid"), *iv = keyval_get(props, "iv");
    int format;

    if (!keyval_get_enum(props, "format", formats, 0, &format, error)) {
        return false;
    }
    if (!keyid != !iv) {
        return error_set(error, "A secret needs both 'keyid' and 'iv', or neither");
    }
    if (format == 1) {
        g_autofree char *text = g_strndup(raw, len);
        g_autofree guchar *bytes = g_base64_decode(text, &len);

        g_byte_array_append(out, bytes, (guint)len);
    } else {
        g_byte_array_append(out, (const guint8 *)raw, (guint)len);
    }
    return !keyid || decrypt(keyid, iv, out, error);
}

bool secret_store_add(KeyVal *props, GError **error)
{
    const char *id = keyval_get(props, "id");
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree char *raw = NULL;
    g_autoptr(GBytes) whole = NULL;
    gsize len = 0;

    if (!id || !*id) {
        return error_set(error, "Parameter 'id' is missing");
    }
    if (secrets && g_hash_table_contains(secrets, id)) {
        return error_set(error, "There is a secret with id '%s' already", id);
    }
    if (!take_raw(props, &raw, &len, error) || !decode(props, raw, len, bytes, error) ||
        !keyval_check_used(props, "secret", error)) {
        return false;
    }
    whole = g_byte_array_free_to_bytes(g_steal_pointer(&bytes));
    secret_store_put(id, whole);
    return true;
}
