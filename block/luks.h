/* SPDX-License-Identifier: MIT */
/*
 * LUKS version 1: the header with its eight key slots, wherever it lies (the start of a file, or
 * clusters of a qcow2 image), and the cipher it unlocks.  Layout: docs/formats/luks.md; spec:
 * "LUKS On-Disk Format Specification Version 1.2.3".
 *
 *     Luks *luks = luks_load(file, base, room, error);
 *     if (luks && luks_unlock(luks, "sec0", error)) {
 *         luks_crypt(luks, false, offset, buf, len);
 *     }
 *     luks_free(luks);
 *
 * Thread rule: coroutines on the node's event loop; deriving keys goes to a worker thread.
 */
#ifndef BLOCK_LUKS_H
#define BLOCK_LUKS_H

#include "block/driver.h"

#define LUKS_SLOTS 8u

typedef struct Luks Luks;

/* What create is asked for; NULL or 0: the default. */
typedef struct LuksCreate {
    char *cipher_alg, *cipher_mode, *ivgen_alg, *ivgen_hash_alg, *hash_alg, *key_secret;
    uint64_t iter_time_ms;
} LuksCreate;

/* "cipher-alg", ... out of OPTS (without a prefix). */
bool luks_create_take(LuksCreate *c, NodeOpts *opts, GError **error);
void luks_create_clear(LuksCreate *c);
/* How much a header with these options takes. */
bool luks_header_bytes(const LuksCreate *c, uint64_t *bytes, GError **error);
/* Can such a header be made?  To be asked before a file is: what was there would be gone. */
bool luks_create_check(const LuksCreate *c, GError **error);
/* All of a new header: to be written at its base. */
GByteArray *co_luks_format(const LuksCreate *c, GError **error);

/* At most ROOM bytes from BASE on may be its. */
Luks *co_luks_load(BlockNode *file, uint64_t base, uint64_t room, GError **error);
void luks_free(Luks *luks);
bool co_luks_unlock(Luks *luks, const char *secret, GError **error);
bool luks_is_unlocked(const Luks *luks);
uint64_t luks_payload_offset(const Luks *luks);
/* OFFSET and LEN are multiples of 512. */
void luks_crypt(Luks *luks, bool encrypt, uint64_t offset, uint8_t *buf, size_t len);
/* The header's file may be replaced below the image. */
void luks_set_file(Luks *luks, BlockNode *file);

/* "state", "new-secret", "old-secret", "keyslot", "iter-time" out of OPTS. */
bool co_luks_amend(Luks *luks, NodeOpts *opts, bool force, GError **error);
void luks_info(const Luks *luks, Json *data);

#define LUKS_CREATE_HELP(prefix)                                                              \
    "  " prefix "cipher-alg=<str>       - Name of encryption cipher algorithm\n"              \
    "  " prefix "cipher-mode=<str>      - Name of encryption cipher mode\n"                   \
    "  " prefix "hash-alg=<str>         - Name of encryption hash algorithm\n"                \
    "  " prefix "iter-time=<num>        - Time to spend in PBKDF in milliseconds\n"           \
    "  " prefix "ivgen-alg=<str>        - Name of IV generator algorithm\n"                   \
    "  " prefix "ivgen-hash-alg=<str>   - Name of IV generator hash algorithm\n"              \
    "  " prefix "key-secret=<str>       - ID of the secret that provides the keyslot "        \
    "passphrase\n"
#define LUKS_AMEND_HELP(prefix)                                                               \
    "  " prefix "iter-time=<num>        - Time to spend in PBKDF in milliseconds\n"           \
    "  " prefix "keyslot=<num>          - Select a single keyslot to modify explicitly\n"     \
    "  " prefix "new-secret=<str>       - New secret to set in the matching keyslots. Empty " \
    "string to erase\n"                                                                       \
    "  " prefix "old-secret=<str>       - Select all keyslots that match this password\n"     \
    "  " prefix "state=<str>            - Select new state of affected keyslots "             \
    "(active/inactive)\n"

#endif
