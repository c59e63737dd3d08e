/* SPDX-License-Identifier: MIT */
/*
 * Ciphers of disk encryption: a block cipher, a mode, and how the IV comes from the sector number,
 * in dm-crypt's spelling: "aes" "xts-plain64", "serpent" "cbc-essiv:sha256".  Over nettle.
 * Also the hashes and the key derivation that LUKS needs.
 *
 * Ciphers: aes, serpent, twofish.  Modes: ecb, cbc, xts.  IVs: plain (32 bits), plain64, essiv.
 * Thread rule: any, one at a time per cipher.
 */
#ifndef BLOCK_SECTOR_CIPHER_H
#define BLOCK_SECTOR_CIPHER_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CIPHER_SECTOR 512u
#define HASH_MAX 64u

typedef struct CipherHash {
    const char *name;          /* sha1, sha224, sha256, sha384, sha512, ripemd160 */
    unsigned size;
    void (*digest)(const void *data, size_t len, uint8_t *out);
    /* PBKDF2 with HMAC. */
    void (*derive)(const void *pass, size_t pass_len, const uint8_t *salt, size_t salt_len,
                   unsigned iterations, uint8_t *out, size_t out_len);
} CipherHash;

/* NULL, with an error that lists the names, when there is none. */
const CipherHash *cipher_hash_find(const char *name, GError **error);

typedef struct SectorCipher SectorCipher;

/* MODE as in "xts-plain64"; KEY_LEN counts both halves of an XTS key. */
SectorCipher *sector_cipher_new(const char *cipher, const char *mode, const uint8_t *key,
                                size_t key_len, GError **error);
void sector_cipher_free(SectorCipher *cipher);
/* In place; LEN is a multiple of 512, SECTOR the number of the first. */
void sector_cipher_run(SectorCipher *cipher, bool encrypt, uint64_t sector, uint8_t *buf,
                       size_t len);

#endif
