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
#include "base/parse.h"

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

const char *const secret_formats[] = { "raw", "base64", NULL };

static void wipe(void *data, size_t len)
{
    if (data) {
        explicit_bzero(data, len);
    }
    g_free(data);
}

static bool take_raw(const SecretSource *source, char **raw, gsize *len, GError **error)
{
    if (!source->data == !source->file) {
        return error_set(error, source->data ? "'file' and 'data' are mutually exclusive"
                                             : "Either 'file' or 'data' must be provided");
    }
    if (source->data) {
        *len = strlen(source->data);
        *raw = g_strdup(source->data);
        return true;
    }
    if (!g_file_get_contents(source->file, raw, len, error)) {
        g_prefix_error(error, "Unable to read '%s': ", source->file);
        return false;
    }
    return *len <= MAX_SECRET || error_set(error, "The secret in '%s' is too long", source->file);
}

/* In place; *LEN shrinks by the padding. */
static bool decrypt(const SecretSource *source, uint8_t *data, gsize *len, GError **error)
{
    g_autoptr(GBytes) key = secret_store_get(source->keyid, error);
    g_autofree uint8_t *iv = NULL;
    struct aes256_ctx ctx;
    gsize iv_len = 0;
    uint8_t pad;

    if (!key) {
        return false;
    }
    if (g_bytes_get_size(key) != 32) {
        return error_set(error, "Key should be 32 bytes in length, but secret '%s' has %zu",
                         source->keyid, g_bytes_get_size(key));
    }
    if (!source->iv) {
        return error_set(error, "IV is required to decrypt secret");
    }
    iv = parse_base64(source->iv, strlen(source->iv), &iv_len);
    if (!iv || iv_len != 16) {
        return iv ? error_set(error, "IV should be 16 bytes in length not %zu", iv_len)
                  : error_set(error, "The IV is not valid base64");
    }
    if (!*len || *len % 16) {
        return error_set(error, "Length %zu must be a multiple of block size 16", *len);
    }
    aes256_set_decrypt_key(&ctx, g_bytes_get_data(key, NULL));
    cbc_decrypt(&ctx, (nettle_cipher_func *)aes256_decrypt, 16, iv, *len, data, data);
    explicit_bzero(&ctx, sizeof(ctx));
    pad = data[*len - 1];
    if (pad == 0 || pad > 16) {
        return error_set(error, "Incorrect number of padding bytes (%u) found on decrypted data; "
                         "is '%s' the right key?", pad, source->keyid);
    }
    *len -= pad;
    return true;
}

GBytes *secret_decode(const SecretSource *source, GError **error)
{
    char *raw = NULL;
    gsize len = 0, out_len;
    uint8_t *out;

    if (!take_raw(source, &raw, &len, error)) {
        wipe(raw, len);
        return NULL;
    }
    out = (uint8_t *)raw;
    out_len = len;
    if (source->format == SECRET_BASE64) {
        out = parse_base64(raw, len, &out_len);
        wipe(raw, len);
        if (!out) {
            error_set(error, "The secret is not valid base64 (format=raw takes it as it is)");
            return NULL;
        }
    }
    len = out_len;
    if (source->keyid && !decrypt(source, out, &out_len, error)) {
        wipe(out, len);
        return NULL;
    }
    return g_bytes_new_take(out, out_len);
}
