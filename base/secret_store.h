/* SPDX-License-Identifier: MIT */
/*
 * Secrets by id: what key-secret and the like of image options name.  Machines put the bytes of
 * their "secret" objects here; the tools make them from --object directly.
 *
 *     secret,id=ID,data=TEXT[,format=raw|base64]
 *     secret,id=ID,file=NAME[,format=...]
 *     ...,keyid=OTHER,iv=BASE64       the data is encrypted: AES-256-CBC, padded as in PKCS #7,
 *                                     with the 32 bytes of the secret OTHER as the key
 *
 * Not modelled: secret_keyring.
 * Thread rule: main loop.
 */
#ifndef BASE_SECRET_STORE_H
#define BASE_SECRET_STORE_H

#include "base/keyval.h"

/* Replaces what was there. */
void secret_store_put(const char *id, GBytes *data);
void secret_store_drop(const char *id);
/* A reference; NULL with an error when there is none. */
GBytes *secret_store_get(const char *id, GError **error);
/* As text, for passwords: fails when it is not UTF-8 or holds a NUL.  The caller frees. */
char *secret_store_get_text(const char *id, GError **error);

enum { SECRET_RAW, SECRET_BASE64 };
extern const char *const secret_formats[];
typedef struct SecretSource {
    const char *data, *file;       /* one of them */
    int format;
    const char *keyid, *iv;        /* both, where it is encrypted; the iv alone means nothing */
} SecretSource;
/* The bytes of the secret; NULL with an error. */
GBytes *secret_decode(const SecretSource *source, GError **error);

#endif
