/* SPDX-License-Identifier: MIT */
/*
 * Ciphers of disk encryption.  See block/sector_cipher.h.
 * Locking: none; a cipher belongs to one user at a time.
 */
#include "block/sector_cipher.h"

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/hmac.h>
#include <nettle/pbkdf2.h>
#include <nettle/ripemd160.h>
#include <nettle/serpent.h>
#include <nettle/sha.h>
#include <nettle/twofish.h>
#include <nettle/xts.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

#define BLOCK 16u

/* ---- hashes ---- */

#define HASH_FUNCTIONS(hash)                                                                  \
    static void hash##_whole(const void *data, size_t len, uint8_t *out)                      \
    {                                                                                         \
        struct hash##_ctx ctx;                                                                \
                                                                                              \
        hash##_init(&ctx);                                                                    \
        hash##_update(&ctx, len, data);                                                       \
        hash##_digest(&ctx, sizeof_##hash, out);                                              \
    }                                                                                         \
    static void hash##_derive(const void *pass, size_t pass_len, const uint8_t *salt,         \
                              size_t salt_len, unsigned iterations, uint8_t *out,             \
                              size_t out_len)                                                 \
    {                                                                                         \
        struct hmac_##hash##_ctx ctx;                                                         \
                                                                                              \
        hmac_##hash##_set_key(&ctx, pass_len, pass);                                          \
        pbkdf2(&ctx, (nettle_hash_update_func *)hmac_##hash##_update,                         \
               (nettle_hash_digest_func *)hmac_##hash##_digest, sizeof_##hash, iterations,    \
               salt_len, salt, out_len, out);                                                 \
    }

enum { sizeof_sha1 = 20, sizeof_sha224 = 28, sizeof_sha256 = 32, sizeof_sha384 = 48,
       sizeof_sha512 = 64, sizeof_ripemd160 = 20 };


HASH_FUNCTIONS(sha1)
HASH_FUNCTIONS(sha224)
HASH_FUNCTIONS(sha256)
HASH_FUNCTIONS(sha384)
HASH_FUNCTIONS(sha512)
HASH_FUNCTIONS(ripemd160)

/* clang-format off */
static const CipherHash hashes[] = {
    { "sha1",      20, sha1_whole,      sha1_derive },
    { "sha224",    28, sha224_whole,    sha224_derive },
    { "sha256",    32, sha256_whole,    sha256_derive },
    { "sha384",    48, sha384_whole,    sha384_derive },
    { "sha512",    64, sha512_whole,    sha512_derive },
    { "ripemd160", 20, ripemd160_whole, ripemd160_derive },
};
/* clang-format on */

const CipherHash *cipher_hash_find(const char *name, GError **error)
{
    for (unsigned i = 0; i < ARRAY_LEN(hashes); i++) {
        if (g_str_equal(hashes[i].name, name)) {
            return &hashes[i];
        }
    }
    error_set(error, "Unknown hash '%s': use sha1, sha224, sha256, sha384, sha512 or ripemd160",
              name);
    return NULL;
}

/* ---- block ciphers ---- */

typedef union CipherState {
    struct aes128_ctx aes128;
    struct aes192_ctx aes192;
    struct aes256_ctx aes256;
    struct serpent_ctx serpent;
    struct twofish_ctx twofish;
} CipherState;

typedef struct BlockCipher {
    CipherState enc, dec;
    nettle_cipher_func *encrypt, *decrypt;
} BlockCipher;

static void aes_init(BlockCipher *c, const uint8_t *key, size_t len)
{
    switch (len) {
    case 16:
        aes128_set_encrypt_key(&c->enc.aes128, key);
        aes128_set_decrypt_key(&c->dec.aes128, key);
        c->encrypt = (nettle_cipher_func *)aes128_encrypt;
        c->decrypt = (nettle_cipher_func *)aes128_decrypt;
        break;
    case 24:
        aes192_set_encrypt_key(&c->enc.aes192, key);
        aes192_set_decrypt_key(&c->dec.aes192, key);
        c->encrypt = (nettle_cipher_func *)aes192_encrypt;
        c->decrypt = (nettle_cipher_func *)aes192_decrypt;
        break;
    default:
        aes256_set_encrypt_key(&c->enc.aes256, key);
        aes256_set_decrypt_key(&c->dec.aes256, key);
        c->encrypt = (nettle_cipher_func *)aes256_encrypt;
        c->decrypt = (nettle_cipher_func *)aes256_decrypt;
    }
}

static void serpent_init(BlockCipher *c, const uint8_t *key, size_t len)
{
    serpent_set_key(&c->enc.serpent, len, key);
    c->dec = c->enc;
    c->encrypt = (nettle_cipher_func *)serpent_encrypt;
    c->decrypt = (nettle_cipher_func *)serpent_decrypt;
}

static void twofish_init(BlockCipher *c, const uint8_t *key, size_t len)
{
    twofish_set_key(&c->enc.twofish, len, key);
    c->dec = c->enc;
    c->encrypt = (nettle_cipher_func *)twofish_encrypt;
    c->decrypt = (nettle_cipher_func *)twofish_decrypt;
}

static bool block_cipher_init(BlockCipher *c, const char *name, const uint8_t *key, size_t len,
                              GError **error)
{
    static const struct { const char *name; void (*init)(BlockCipher *c, const uint8_t *key,
                                                         size_t len); } ciphers[] = {
        { "aes", aes_init }, { "serpent", serpent_init }, { "twofish", twofish_init },
    };

    for (unsigned i = 0; i < ARRAY_LEN(ciphers); i++) {
        if (!g_str_equal(ciphers[i].name, name)) {
            continue;
        }
        if (len != 16 && len != 24 && len != 32) {
            return error_set(error, "Cipher '%s' cannot have a key of %zu bytes", name, len);
        }
        ciphers[i].init(c, key, len);
        return true;
    }
    return error_set(error, "Unknown cipher '%s': use aes, serpent or twofish", name);
}

/* ---- sectors ---- */

typedef enum ModeKind { MODE_ECB, MODE_CBC, MODE_XTS } ModeKind;
typedef enum IvKind { IV_NONE, IV_PLAIN, IV_PLAIN64, IV_ESSIV } IvKind;

struct SectorCipher {
    ModeKind mode;
    IvKind iv;
    BlockCipher data, tweak, essiv;
};

static bool parse_mode(SectorCipher *c, const char *mode, const CipherHash **essiv,
                       GError **error)
{
    g_auto(GStrv) parts = g_strsplit(mode, "-", 2);
    const char *iv = parts[0] && parts[1] ? parts[1] : "";

    *essiv = NULL;
    if (g_strcmp0(parts[0], "ecb") == 0) {
        c->mode = MODE_ECB;
        return true;
    }
    if (g_strcmp0(parts[0], "cbc") != 0 && g_strcmp0(parts[0], "xts") != 0) {
        return error_set(error, "Unknown cipher mode '%s': use ecb, cbc or xts", mode);
    }
    c->mode = g_str_equal(parts[0], "cbc") ? MODE_CBC : MODE_XTS;
    if (g_str_has_prefix(iv, "essiv:")) {
        c->iv = IV_ESSIV;
        *essiv = cipher_hash_find(iv + strlen("essiv:"), error);
        return *essiv != NULL;
    }
    c->iv = g_str_equal(iv, "plain") ? IV_PLAIN : g_str_equal(iv, "plain64") ? IV_PLAIN64
            : IV_NONE;
    return c->iv != IV_NONE || error_set(error, "Unknown IV generator in cipher mode '%s': use "
                                         "plain, plain64 or essiv:HASH", mode);
}

SectorCipher *sector_cipher_new(const char *cipher, const char *mode, const uint8_t *key,
                                size_t key_len, GError **error)
{
    SectorCipher *c = g_new0(SectorCipher, 1);
    const CipherHash *essiv;
    size_t half;
    bool ok = parse_mode(c, mode, &essiv, error);

    half = c->mode == MODE_XTS ? key_len / 2 : key_len;
    ok = ok && block_cipher_init(&c->data, cipher, key, half, error);
    if (ok && c->mode == MODE_XTS) {
        ok = key_len % 2 == 0 && block_cipher_init(&c->tweak, cipher, key + half, half, error);
    }
    if (ok && essiv) {
        uint8_t digest[HASH_MAX];

        essiv->digest(key, key_len, digest);
        ok = block_cipher_init(&c->essiv, cipher, digest, essiv->size, error);
        explicit_bzero(digest, sizeof(digest));
    }
    if (!ok) {
        sector_cipher_free(c);
        return NULL;
    }
    return c;
}

void sector_cipher_free(SectorCipher *c)
{
    if (c) {
        explicit_bzero(c, sizeof(*c));
        g_free(c);
    }
}

static void make_iv(SectorCipher *c, uint64_t sector, uint8_t iv[BLOCK])
{
    memset(iv, 0, BLOCK);
    le64_store(iv, c->iv == IV_PLAIN ? (uint32_t)sector : sector);
    if (c->iv == IV_ESSIV) {
        c->essiv.encrypt(&c->essiv.enc, BLOCK, iv, iv);
    }
}

void sector_cipher_run(SectorCipher *c, bool encrypt, uint64_t sector, uint8_t *buf, size_t len)
{
    BlockCipher *b = &c->data;
    uint8_t iv[BLOCK];

    for (; len; buf += CIPHER_SECTOR, len -= CIPHER_SECTOR, sector++) {
        make_iv(c, sector, iv);
        if (c->mode == MODE_ECB) {
            (encrypt ? b->encrypt : b->decrypt)(encrypt ? &b->enc : &b->dec, CIPHER_SECTOR, buf,
                                                buf);
        } else if (c->mode == MODE_CBC) {
            (encrypt ? cbc_encrypt : cbc_decrypt)(encrypt ? &b->enc : &b->dec,
                                                  encrypt ? b->encrypt : b->decrypt, BLOCK, iv,
                                                  CIPHER_SECTOR, buf, buf);
        } else if (encrypt) {
            xts_encrypt_message(&b->enc, &c->tweak.enc, b->encrypt, iv,
                                CIPHER_SECTOR, buf, buf);
        } else {
            xts_decrypt_message(&b->dec, &c->tweak.enc, b->decrypt, c->tweak.encrypt, iv,
                                CIPHER_SECTOR, buf, buf);
        }
    }
}
