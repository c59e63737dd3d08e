/* SPDX-License-Identifier: MIT */
/*
 * Secrets by name.  See block/secret.h.
 * Not modelled: secret_keyring.
 * Locking: main loop.
 */
#include "block/secret.h"

#include <nettle/aes.h>
#include <nettle/cbc.h>

#include "base/bits.h"
#include "base/error.h"

#define MAX_SECRET (1u << 20)

static GHashTable *secrets;        /* id -> GBytes; names are global, as objects' are */

static bool take_raw(NodeOpts *props, char **raw, gsize *len, GError **error)
{
    g_autofree char *data = node_opts_take(props, "data");
    g_autofree char *file = node_opts_take(props, "file");

    if (!!data == !!file) {
        return error_set(error, "Exactly one of 'data' and 'file' must be given for a secret");
    }
    if (data) {
        *len = strlen(data);
        *raw = g_steal_pointer(&data);
        return true;
    }
    if (!g_file_get_contents(file, raw, len, error)) {
        g_prefix_error(error, "Unable to read the secret: ");
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

    if (!secret_lookup(keyid, &key_text, error)) {
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

static bool decode(NodeOpts *props, const char *raw, gsize len, GByteArray *out, GError **error)
{
    g_autofree char *format = node_opts_take(props, "format");
    g_autofree char *keyid = node_opts_take(props, "keyid");
    g_autofree char *iv = node_opts_take(props, "iv");
    bool base64 = format && g_str_equal(format, "base64");

    if (format && !base64 && !g_str_equal(format, "raw")) {
        return error_set(error, "Invalid secret format '%s': use 'raw' or 'base64'", format);
    }
    if (!!keyid != !!iv) {
        return error_set(error, "A secret needs both 'keyid' and 'iv', or neither");
    }
    if (base64) {
        g_autofree char *text = g_strndup(raw, len);
        g_autofree guchar *bytes = g_base64_decode(text, &len);

        g_byte_array_append(out, bytes, (guint)len);
    } else {
        g_byte_array_append(out, (const guint8 *)raw, (guint)len);
    }
    return !keyid || decrypt(keyid, iv, out, error);
}

bool secret_add(NodeOpts *props, GError **error)
{
    g_autofree char *id = node_opts_take(props, "id");
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree char *raw = NULL;
    gsize len = 0;

    if (!id || !*id) {
        return error_set(error, "Parameter 'id' is missing");
    }
    if (secrets && g_hash_table_contains(secrets, id)) {
        return error_set(error, "attempt to add duplicate property '%s' to object (type "
                         "'container')", id);
    }
    if (!take_raw(props, &raw, &len, error) || !decode(props, raw, len, bytes, error)) {
        return false;
    }
    if (!node_opts_empty(props)) {
        return error_set(error, "Property 'secret.%s' not found", node_opts_any_key(props));
    }
    if (!secrets) {
        secrets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                        (GDestroyNotify)g_bytes_unref);
    }
    g_hash_table_insert(secrets, g_steal_pointer(&id),
                        g_byte_array_free_to_bytes(g_steal_pointer(&bytes)));
    return true;
}

bool secret_remove(const char *id, GError **error)
{
    return (secrets && g_hash_table_remove(secrets, id)) ||
           error_set(error, "object '%s' not found", id);
}

bool secret_lookup(const char *id, GBytes **data, GError **error)
{
    GBytes *found = secrets ? g_hash_table_lookup(secrets, id) : NULL;

    *data = found ? g_bytes_ref(found) : NULL;
    return found || error_set(error, "No secret with id '%s'", id);
}

bool secret_object_add(const char *text, GError **error)
{
    g_autoptr(NodeOpts) props = node_opts_new();
    g_autofree char *type = NULL;

    if (!node_opts_add_keyval(props, text, "qom-type", error)) {
        return false;
    }
    type = node_opts_take(props, "qom-type");
    if (!type || !g_str_equal(type, "secret")) {
        return error_set(error, "Invalid object type '%s': use 'secret'", type ? type : "");
    }
    return secret_add(props, error);
}
