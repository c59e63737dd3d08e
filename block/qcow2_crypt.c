/* SPDX-License-Identifier: MIT */
/*
 * qcow2 encryption: a LUKS1 header in clusters of the image (method 2), or the old AES-128-CBC
 * with the password as its key (method 1).  Only data clusters are encrypted, sector by sector;
 * the sector's number comes from the place in the file (LUKS) or in the disk (AES).
 * Spec: the qcow2 interoperability document, "Full disk encryption header pointer".
 * Not modelled: compressed clusters and preallocation in encrypted images.
 * Locking: none; the cipher keeps no state between sectors.
 */
#include "block/qcow2.h"

#include "base/secret_store.h"

#define CHUNK (1u << 20)
#define MAX_HEADER (64u << 20)
#define AES_KEY 16u

/* ---- open ---- */

static bool open_aes(Qcow2 *q, const char *secret, GError **error)
{
    g_autoptr(GBytes) pass = secret_store_get(secret, error);
    uint8_t key[AES_KEY] = { 0 };
    gsize len;
    const void *text;

    if (!pass) {
        return false;
    }
    text = g_bytes_get_data(pass, &len);
    memcpy(key, text, MIN(len, sizeof(key)));
    q->crypt.aes = sector_cipher_new("aes", "cbc-plain64", key, sizeof(key), error);
    return q->crypt.aes != NULL;
}

bool co_qcow2_crypt_open(Qcow2 *q, NodeOpts *opts, GError **error)
{
    g_autofree char *secret = node_opts_take(opts, "encrypt.key-secret");
    g_autofree char *format = node_opts_take(opts, "encrypt.format");
    Qcow2Crypt *c = &q->crypt;
    const char *have = c->method == CRYPT_LUKS ? "luks" : "aes";

    if (c->method == CRYPT_NONE) {
        return (!secret && !format) ||
               error_set(error, "No encryption in image header, but options specified format "
                         "'%s'", format ? format : "luks");
    }
    q->node->limits.align = MAX(q->node->limits.align, CIPHER_SECTOR);
    if (format && !g_str_equal(format, have)) {
        return error_set(error, "Header reported '%s' encryption format but options specify '%s'",
                         have, format);
    }
    if (c->method == CRYPT_LUKS) {
        if (!c->offset || (c->offset & (q->cluster_size - 1)) || c->bytes > MAX_HEADER ||
            c->offset > INT64_MAX / 2) {
            return error_set(error, "The qcow2 header is damaged: encryption header pointer");
        }
        c->luks = co_luks_load(q->file, c->offset, c->bytes, error);
        if (!c->luks) {
            return false;
        }
    }
    if (!secret) {
        return (q->node->flags & NODE_OPEN_NO_IO) ||
               error_set(error, "Parameter 'encrypt.key-secret' is required for cipher");
    }
    return c->luks ? co_luks_unlock(c->luks, secret, error) : open_aes(q, secret, error);
}

void qcow2_crypt_close(Qcow2 *q)
{
    g_clear_pointer(&q->crypt.luks, luks_free);
    g_clear_pointer(&q->crypt.aes, sector_cipher_free);
}

/* ---- create ---- */

bool qcow2_crypt_take(Qcow2CryptCreate *c, NodeOpts *opts, GError **error)
{
    g_autoptr(NodeOpts) encrypt = node_opts_take_prefix(opts, "encrypt");
    g_autofree char *format = node_opts_take(encrypt, "format");
    bool old = false;

    if (!node_opts_take_bool(opts, "encryption", &old, error) ||
        !luks_create_take(&c->luks, encrypt, error)) {
        return false;
    }
    if (!node_opts_empty(encrypt)) {
        return error_set(error, "Invalid parameter 'encrypt.%s'", node_opts_any_key(encrypt));
    }
    if (old && format) {
        return error_set(error, "Options encryption and encrypt.format are mutually exclusive");
    }
    c->method = g_strcmp0(format, "luks") == 0 ? CRYPT_LUKS
                : old || g_strcmp0(format, "aes") == 0 ? CRYPT_AES : CRYPT_NONE;
    if (format && c->method == CRYPT_NONE) {
        return error_set(error, "Unknown encryption format '%s': use 'aes' or 'luks'", format);
    }
    if (!format && !old && c->luks.key_secret) {
        return error_set(error, "Parameter 'encrypt.format' is missing");
    }
    return true;
}

void qcow2_crypt_clear(Qcow2CryptCreate *c)
{
    luks_create_clear(&c->luks);
}

bool co_qcow2_crypt_create(Qcow2 *q, const Qcow2CryptCreate *c, GError **error)
{
    g_autoptr(GByteArray) header = NULL;
    uint64_t host, got;
    int ret;

    if (c->method == CRYPT_LUKS) {
        header = co_luks_format(&c->luks, error);
        if (!header) {
            return false;
        }
        g_byte_array_set_size(header, (guint)align_up(header->len, q->cluster_size));
        ret = co_alloc(q, header->len / q->cluster_size, true, &host, &got);
        ret = ret < 0 ? ret : co_node_pwrite(q->file, host, header->data, header->len, 0);
        ret = ret < 0 ? ret : co_qcow2_writeback(q);
        if (ret < 0) {
            return error_set_errno(error, -ret, "Could not write the encryption header");
        }
        q->crypt.offset = host;
        q->crypt.bytes = header->len;
    }
    q->crypt.method = c->method;
    ret = co_header_write(q);
    return ret == 0 || error_set_errno(error, -ret, "Could not write qcow2 header");
}

/* ---- data ---- */

static int crypt_run(Qcow2 *q, bool encrypt, uint64_t guest, uint64_t host, uint8_t *buf,
                     size_t len)
{
    if (q->crypt.luks && luks_is_unlocked(q->crypt.luks)) {
        luks_crypt(q->crypt.luks, encrypt, host, buf, len);
    } else if (q->crypt.aes) {
        sector_cipher_run(q->crypt.aes, encrypt, guest / CIPHER_SECTOR, buf, len);
    } else {
        return -EACCES;
    }
    return 0;
}

int co_qcow2_data_read(Qcow2 *q, uint64_t guest, uint64_t host, IoSpan span)
{
    g_autofree uint8_t *buf = NULL;
    int ret = 0;

    if (q->crypt.method == CRYPT_NONE) {
        return co_node_preadv(q->data, host, span);
    }
    buf = g_try_malloc(MIN(span.len, CHUNK));
    for (uint64_t at = 0, n; buf && at < span.len && ret == 0; at += n) {
        n = MIN(span.len - at, CHUNK);
        ret = co_node_pread(q->data, host + at, buf, n);
        ret = ret < 0 ? ret : crypt_run(q, false, guest + at, host + at, buf, n);
        if (ret == 0) {
            io_span_from_buf(io_span_sub(span, at, n), buf);
        }
    }
    return buf ? ret : -ENOMEM;
}

int co_qcow2_data_write(Qcow2 *q, uint64_t guest, uint64_t host, IoSpan span)
{
    g_autofree uint8_t *buf = NULL;
    int ret = 0;

    if (q->crypt.method == CRYPT_NONE) {
        return co_node_pwritev(q->data, host, span, 0);
    }
    buf = g_try_malloc(MIN(span.len, CHUNK));
    for (uint64_t at = 0, n; buf && at < span.len && ret == 0; at += n) {
        n = MIN(span.len - at, CHUNK);
        io_span_to_buf(io_span_sub(span, at, n), buf);
        ret = crypt_run(q, true, guest + at, host + at, buf, n);
        ret = ret < 0 ? ret : co_node_pwrite(q->data, host + at, buf, n, 0);
    }
    return buf ? ret : -ENOMEM;
}

void qcow2_crypt_info(const Qcow2 *q, Json *data)
{
    Json *d;

    if (q->crypt.method == CRYPT_NONE) {
        return;
    }
    d = json_new_dict();
    json_set(d, "format", json_new_string(q->crypt.luks ? "luks" : "aes"));
    if (q->crypt.luks) {
        luks_info(q->crypt.luks, d);
    }
    json_set(data, "encrypt", d);
}
