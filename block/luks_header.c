/* SPDX-License-Identifier: MIT */
/*
 * LUKS version 1: header, key slots, anti-forensic splitter.  See block/luks.h.
 * Not modelled: LUKS2, detached headers.
 * Locking: one coroutine at a time opens or amends; luks_crypt() has no state of its own.
 */
#include "block/luks.h"

#include <sys/random.h>

#include "base/secret_store.h"
#include "base/worker_pool.h"
#include "block/sector_cipher.h"

enum {                             /* all big endian */
    H_VERSION = 6, H_CIPHER = 8, H_MODE = 40, H_HASH = 72, H_PAYLOAD = 104, H_KEY_BYTES = 108,
    H_DIGEST = 112, H_DIGEST_SALT = 132, H_DIGEST_ITERS = 164, H_UUID = 168, H_SLOTS = 208,
    H_LEN = 592,
};
enum { S_ACTIVE = 0, S_ITERS = 4, S_SALT = 8, S_OFFSET = 40, S_STRIPES = 44, S_LEN = 48 };
#define SLOT_ACTIVE 0x00ac71f3u
#define SLOT_INACTIVE 0x0000deadu
#define STRIPES 4000u
#define DIGEST_LEN 20u
#define SALT_LEN 32u
#define KEY_MAX 64u
#define ALIGN 4096u
#define MIN_ITERS 1000u
#define MAX_ITERS (64u << 20)      /* more is a way to keep us busy, not a way to be safe */
#define MAX_HEADER (64u << 20)

static const uint8_t magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

struct Luks {
    BlockNode *file;
    uint64_t base;
    uint8_t h[H_LEN];
    char cipher_name[33], mode[33], hash_name[33];
    const CipherHash *hash;
    uint32_t key_bytes;
    uint8_t key[KEY_MAX];
    SectorCipher *cipher;          /* once unlocked */
};

void luks_free(Luks *l)
{
    if (l) {
        sector_cipher_free(l->cipher);
        explicit_bzero(l, sizeof(*l));
        g_free(l);
    }
}

static uint8_t *slot_at(Luks *l, unsigned i)
{
    return l->h + H_SLOTS + i * S_LEN;
}

static bool slot_is_active(const Luks *l, unsigned i)
{
    return be32_load(l->h + H_SLOTS + i * S_LEN + S_ACTIVE) == SLOT_ACTIVE;
}

static unsigned active_slots(const Luks *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        n += slot_is_active(l, i);
    }
    return n;
}

/* ---- work that takes its time ---- */

typedef struct Derive {
    const CipherHash *hash;
    const void *pass;
    const uint8_t *salt;
    size_t pass_len, out_len;
    uint32_t iterations;
    uint8_t *out;
} Derive;

static int derive_work(void *opaque)
{
    Derive *d = opaque;

    d->hash->derive(d->pass, d->pass_len, d->salt, SALT_LEN, d->iterations, d->out, d->out_len);
    return 0;
}

static void co_derive(Derive d)
{
    co_worker_run(worker_pool_shared(), derive_work, &d);
}

/* Iterations that take about MS milliseconds for a key of KEY_BYTES. */
static uint32_t co_count_iterations(const CipherHash *hash, uint32_t key_bytes, uint64_t ms)
{
    uint8_t salt[SALT_LEN] = { 0 }, out[KEY_MAX];
    uint32_t iterations = 1 << 12;
    int64_t begin, spent_us;

    for (;;) {
        begin = g_get_monotonic_time();
        co_derive((Derive){ hash, "benchmark", salt, 9, key_bytes, iterations, out });
        spent_us = g_get_monotonic_time() - begin;
        if (spent_us > 20000 || iterations >= MAX_ITERS / 4) {
            break;
        }
        iterations *= 2;
    }
    return (uint32_t)MIN(muldiv64(iterations, ms * 1000, (uint64_t)MAX(spent_us, 1)), MAX_ITERS);
}

/* ---- anti-forensic splitter ---- */

static void diffuse(const CipherHash *hash, uint8_t *block, size_t len)
{
    uint8_t in[4 + HASH_MAX], out[HASH_MAX];

    for (size_t at = 0, i = 0; at < len; at += hash->size, i++) {
        size_t n = MIN(hash->size, len - at);

        be32_store(in, (uint32_t)i);
        memcpy(in + 4, block + at, n);
        hash->digest(in, 4 + n, out);
        memcpy(block + at, out, n);
    }
}

static void xor_into(uint8_t *to, const uint8_t *with, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        to[i] ^= with[i];
    }
}

static bool af_split(const Luks *l, const uint8_t *key, uint8_t *out)
{
    uint8_t block[KEY_MAX] = { 0 };
    size_t n = l->key_bytes;

    for (unsigned i = 0; i < STRIPES - 1; i++) {
        if (getrandom(out + i * n, n, 0) != (ssize_t)n) {
            return false;
        }
        xor_into(block, out + i * n, n);
        diffuse(l->hash, block, n);
    }
    memcpy(out + (STRIPES - 1) * n, key, n);
    xor_into(out + (STRIPES - 1) * n, block, n);
    return true;
}

static void af_merge(const Luks *l, const uint8_t *in, uint8_t *key)
{
    size_t n = l->key_bytes;

    memset(key, 0, n);
    for (unsigned i = 0; i < STRIPES - 1; i++) {
        xor_into(key, in + i * n, n);
        diffuse(l->hash, key, n);
    }
    xor_into(key, in + (STRIPES - 1) * n, n);
}

/* ---- slots ---- */

static size_t material_bytes(const Luks *l)
{
    return align_up((size_t)l->key_bytes * STRIPES, CIPHER_SECTOR);
}

static void co_digest(const Luks *l, const uint8_t *key, uint8_t *digest)
{
    co_derive((Derive){ l->hash, key, l->h + H_DIGEST_SALT, l->key_bytes, DIGEST_LEN,
                        be32_load(l->h + H_DIGEST_ITERS), digest });
}

/* Tries slot I: 1 it opened, 0 it did not, negative an error. */
static int co_slot_try(Luks *l, unsigned i, GBytes *pass, uint8_t *key, GError **error)
{
    const uint8_t *s = slot_at(l, i);
    uint8_t slot_key[KEY_MAX], digest[DIGEST_LEN];
    g_autofree uint8_t *material = g_malloc(material_bytes(l));
    SectorCipher *cipher;
    gsize pass_len;
    const void *text = g_bytes_get_data(pass, &pass_len);
    int ret;

    co_derive((Derive){ l->hash, text, s + S_SALT, pass_len, l->key_bytes,
                        be32_load(s + S_ITERS), slot_key });
    ret = co_node_pread(l->file, l->base + be32_load(s + S_OFFSET) * 512ull, material,
                        material_bytes(l));
    if (ret < 0) {
        error_set_errno(error, -ret, "Could not read key slot %u", i);
        return ret;
    }
    cipher = sector_cipher_new(l->cipher_name, l->mode, slot_key, l->key_bytes, error);
    if (!cipher) {
        return -EINVAL;
    }
    sector_cipher_run(cipher, false, 0, material, material_bytes(l));
    sector_cipher_free(cipher);
    af_merge(l, material, key);
    co_digest(l, key, digest);
    explicit_bzero(slot_key, sizeof(slot_key));
    explicit_bzero(material, material_bytes(l));
    return memcmp(digest, l->h + H_DIGEST, DIGEST_LEN) == 0;
}

/* Slot I's row and material (to OUT) for the master key under PASS. */
static bool co_slot_fill(Luks *l, unsigned i, GBytes *pass, uint64_t iter_ms, uint8_t *out,
                         GError **error)
{
    uint8_t *s = slot_at(l, i), slot_key[KEY_MAX];
    uint32_t iterations = MAX(co_count_iterations(l->hash, l->key_bytes, iter_ms) / 2, MIN_ITERS);
    SectorCipher *cipher;
    gsize pass_len;
    const void *text = g_bytes_get_data(pass, &pass_len);

    if (getrandom(s + S_SALT, SALT_LEN, 0) != SALT_LEN || !af_split(l, l->key, out)) {
        return error_set_errno(error, errno, "Could not get random bytes");
    }
    be32_store(s + S_ITERS, iterations);
    co_derive((Derive){ l->hash, text, s + S_SALT, pass_len, l->key_bytes, iterations, slot_key });
    cipher = sector_cipher_new(l->cipher_name, l->mode, slot_key, l->key_bytes, error);
    if (!cipher) {
        return false;
    }
    memset(out + (size_t)l->key_bytes * STRIPES, 0,
           material_bytes(l) - (size_t)l->key_bytes * STRIPES);
    sector_cipher_run(cipher, true, 0, out, material_bytes(l));
    sector_cipher_free(cipher);
    explicit_bzero(slot_key, sizeof(slot_key));
    be32_store(s + S_ACTIVE, SLOT_ACTIVE);
    return true;
}

/* ---- loading ---- */

static void take_name(char *to, const uint8_t *from)
{
    memcpy(to, from, 32);
    to[32] = '\0';
}

static bool slots_ok(const Luks *l, uint64_t payload, GError **error)
{
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const uint8_t *s = l->h + H_SLOTS + i * S_LEN;
        uint64_t start = be32_load(s + S_OFFSET) * 512ull, end = start + material_bytes(l);

        if (be32_load(s + S_STRIPES) != STRIPES || start < H_LEN || end > payload) {
            return error_set(error, "LUKS key slot %u is damaged (stripes or offset)", i);
        }
        for (unsigned k = 0; k < i; k++) {
            uint64_t other = be32_load(l->h + H_SLOTS + k * S_LEN + S_OFFSET) * 512ull;

            if (start < other + material_bytes(l) && other < end) {
                return error_set(error, "LUKS key slots %u and %u overlap", k, i);
            }
        }
        if (slot_is_active(l, i) && (be32_load(s + S_ITERS) == 0 ||
                                     be32_load(s + S_ITERS) > MAX_ITERS)) {
            return error_set(error, "LUKS key slot %u has %u iterations; 1 to %u are allowed", i,
                             be32_load(s + S_ITERS), MAX_ITERS);
        }
    }
    return true;
}

static bool luks_parse(Luks *l, uint64_t room, GError **error)
{
    uint64_t payload = be32_load(l->h + H_PAYLOAD) * 512ull;
    uint32_t iterations = be32_load(l->h + H_DIGEST_ITERS);

    if (memcmp(l->h, magic, sizeof(magic)) != 0) {
        return error_set(error, "Volume is not in LUKS format");
    }
    if (be16_load(l->h + H_VERSION) != 1) {
        return error_set(error, "LUKS version %u is not supported", be16_load(l->h + H_VERSION));
    }
    take_name(l->cipher_name, l->h + H_CIPHER);
    take_name(l->mode, l->h + H_MODE);
    take_name(l->hash_name, l->h + H_HASH);
    l->hash = cipher_hash_find(l->hash_name, error);
    if (!l->hash) {
        return false;
    }
    l->key_bytes = be32_load(l->h + H_KEY_BYTES);
    if (l->key_bytes < 16 || l->key_bytes > KEY_MAX || l->key_bytes % 8) {
        return error_set(error, "The LUKS key has %u bytes; 16 to %u are allowed", l->key_bytes,
                         KEY_MAX);
    }
    if (iterations == 0 || iterations > MAX_ITERS) {
        return error_set(error, "The LUKS digest has %u iterations; 1 to %u are allowed",
                         iterations, MAX_ITERS);
    }
    if (payload > room || payload > MAX_HEADER) {
        return error_set(error, "The LUKS payload is outside of the volume");
    }
    return slots_ok(l, payload, error);
}

Luks *co_luks_load(BlockNode *file, uint64_t base, uint64_t room, GError **error)
{
    Luks *l = g_new0(Luks, 1);
    int ret = co_node_pread(file, base, l->h, H_LEN);

    l->file = file;
    l->base = base;
    if (ret < 0) {
        error_set_errno(error, -ret, "Could not read the LUKS header");
    }
    if (ret < 0 || !luks_parse(l, room, error)) {
        luks_free(l);
        return NULL;
    }
    return l;
}

void luks_set_file(Luks *l, BlockNode *file)
{
    l->file = file;
}

bool luks_is_unlocked(const Luks *l)
{
    return l->cipher != NULL;
}

uint64_t luks_payload_offset(const Luks *l)
{
    return be32_load(l->h + H_PAYLOAD) * 512ull;
}

bool co_luks_unlock(Luks *l, const char *secret, GError **error)
{
    g_autoptr(GBytes) pass = secret_store_get(secret, error);

    if (!pass) {
        return false;
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        int ret = slot_is_active(l, i) ? co_slot_try(l, i, pass, l->key, error) : 0;

        if (ret < 0) {
            return false;
        }
        if (ret > 0) {
            l->cipher = sector_cipher_new(l->cipher_name, l->mode, l->key, l->key_bytes, error);
            return l->cipher != NULL;
        }
    }
    return error_set(error, "Invalid password, cannot unlock any keyslot");
}

void luks_crypt(Luks *l, bool encrypt, uint64_t offset, uint8_t *buf, size_t len)
{
    sector_cipher_run(l->cipher, encrypt, offset / CIPHER_SECTOR, buf, len);
}

/* ---- creating ---- */

bool luks_create_take(LuksCreate *c, NodeOpts *opts, GError **error)
{
    c->cipher_alg = node_opts_take(opts, "cipher-alg");
    c->cipher_mode = node_opts_take(opts, "cipher-mode");
    c->ivgen_alg = node_opts_take(opts, "ivgen-alg");
    c->ivgen_hash_alg = node_opts_take(opts, "ivgen-hash-alg");
    c->hash_alg = node_opts_take(opts, "hash-alg");
    c->key_secret = node_opts_take(opts, "key-secret");
    return node_opts_take_uint(opts, "iter-time", &c->iter_time_ms, error);
}

void luks_create_clear(LuksCreate *c)
{
    g_free(c->cipher_alg);
    g_free(c->cipher_mode);
    g_free(c->ivgen_alg);
    g_free(c->ivgen_hash_alg);
    g_free(c->hash_alg);
    g_free(c->key_secret);
}

static void put_name(uint8_t *to, const char *name)
{
    memcpy(to, name, MIN(strlen(name), 31));
}

/* "aes-256", "xts", "plain64" -> the header's names and the length of the key. */
static bool fill_names(const LuksCreate *c, Luks *l, GError **error)
{
    const char *alg = c->cipher_alg ? c->cipher_alg : "aes-256";
    const char *mode = c->cipher_mode ? c->cipher_mode : "xts";
    const char *iv = c->ivgen_alg ? c->ivgen_alg : "plain64", *dash = strrchr(alg, '-');
    uint64_t bits = dash ? g_ascii_strtoull(dash + 1, NULL, 10) : 0;
    g_autofree char *name = dash ? g_strndup(alg, (gsize)(dash - alg)) : NULL;
    g_autofree char *full = NULL;
    SectorCipher *probe;

    if (bits != 128 && bits != 192 && bits != 256) {
        return error_set(error, "Unknown cipher-alg '%s': use aes, serpent or twofish with -128, "
                         "-192 or -256", alg);
    }
    full = g_str_equal(iv, "essiv")
               ? g_strdup_printf("%s-essiv:%s", mode, c->ivgen_hash_alg ? c->ivgen_hash_alg
                                                                        : "sha256")
               : g_strdup_printf("%s-%s", mode, iv);
    l->key_bytes = (uint32_t)(bits / 8 * (g_str_equal(mode, "xts") ? 2 : 1));
    l->hash = cipher_hash_find(c->hash_alg ? c->hash_alg : "sha256", error);
    if (!l->hash || strlen(full) > 31) {
        return l->hash && error_set(error, "Cipher mode '%s' is too long for a LUKS header", full);
    }
    memcpy(l->h, magic, sizeof(magic));
    be16_store(l->h + H_VERSION, 1);
    put_name(l->h + H_CIPHER, name);
    put_name(l->h + H_MODE, full);
    put_name(l->h + H_HASH, l->hash->name);
    take_name(l->cipher_name, l->h + H_CIPHER);
    take_name(l->mode, l->h + H_MODE);
    be32_store(l->h + H_KEY_BYTES, l->key_bytes);
    probe = sector_cipher_new(l->cipher_name, l->mode, l->key, l->key_bytes, error);
    sector_cipher_free(probe);
    return probe != NULL;
}

/* Where the slots and the payload are: as cryptsetup and QEMU place them. */
static uint64_t lay_out(Luks *l)
{
    uint64_t at = ALIGN, step = align_up(material_bytes(l), ALIGN);

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        uint8_t *s = slot_at(l, i);

        be32_store(s + S_ACTIVE, SLOT_INACTIVE);
        be32_store(s + S_OFFSET, (uint32_t)(at / 512));
        be32_store(s + S_STRIPES, STRIPES);
        at += step;
    }
    be32_store(l->h + H_PAYLOAD, (uint32_t)(at / 512));
    return at;
}

bool luks_header_bytes(const LuksCreate *c, uint64_t *bytes, GError **error)
{
    Luks *l = g_new0(Luks, 1);
    bool ok = fill_names(c, l, error);

    if (ok) {
        *bytes = lay_out(l);
    }
    luks_free(l);
    return ok;
}

static bool co_fill_header(const LuksCreate *c, Luks *l, GBytes *pass, GByteArray *out,
                           GError **error)
{
    uint64_t ms = c->iter_time_ms ? c->iter_time_ms : 2000;
    g_autofree char *uuid = g_uuid_string_random();

    g_byte_array_set_size(out, (guint)lay_out(l));
    memset(out->data, 0, out->len);
    memcpy(l->h + H_UUID, uuid, MIN(strlen(uuid), 39));
    if (getrandom(l->key, l->key_bytes, 0) != (ssize_t)l->key_bytes ||
        getrandom(l->h + H_DIGEST_SALT, SALT_LEN, 0) != SALT_LEN) {
        return error_set_errno(error, errno, "Could not get random bytes");
    }
    be32_store(l->h + H_DIGEST_ITERS,
               MAX(co_count_iterations(l->hash, l->key_bytes, ms) / 8, MIN_ITERS));
    co_digest(l, l->key, l->h + H_DIGEST);
    if (!co_slot_fill(l, 0, pass, ms, out->data + ALIGN, error)) {
        return false;
    }
    memcpy(out->data, l->h, H_LEN);
    return true;
}

bool luks_create_check(const LuksCreate *c, GError **error)
{
    g_autoptr(GBytes) pass = NULL;
    uint64_t bytes;

    if (!c->key_secret) {
        return error_set(error, "Parameter 'key-secret' is required for cipher");
    }
    pass = secret_store_get(c->key_secret, error);
    return pass && luks_header_bytes(c, &bytes, error);
}

GByteArray *co_luks_format(const LuksCreate *c, GError **error)
{
    Luks *l = g_new0(Luks, 1);
    GByteArray *out = g_byte_array_new();
    g_autoptr(GBytes) pass = NULL;
    bool ok = luks_create_check(c, error);

    if (ok) {
        pass = secret_store_get(c->key_secret, error);
        ok = pass && fill_names(c, l, error) && co_fill_header(c, l, pass, out, error);
    }
    luks_free(l);
    if (!ok) {
        g_byte_array_unref(out);
        return NULL;
    }
    return out;
}

/* ---- amending ---- */

static int write_header(Luks *l)
{
    int ret = co_node_pwrite(l->file, l->base, l->h, H_LEN, 0);

    return ret < 0 ? ret : co_node_flush(l->file);
}

typedef struct AmendArgs {
    char *state, *new_secret, *old_secret, *slot_text;
    uint64_t iter_ms;
    int slot;                      /* negative: none given */
    bool force;
} AmendArgs;

static bool co_activate(Luks *l, const AmendArgs *a, GError **error)
{
    g_autoptr(GBytes) pass = NULL;
    g_autofree uint8_t *material = g_malloc0(material_bytes(l));
    int slot = a->slot, ret;

    if (!a->new_secret || !*a->new_secret) {
        return error_set(error, "'new-secret' is required to activate a keyslot");
    }
    if (!luks_is_unlocked(l) && !a->old_secret) {
        return error_set(error, "The image must be opened with its key-secret, or old-secret be "
                         "given, to activate a keyslot");
    }
    if (!luks_is_unlocked(l) && !co_luks_unlock(l, a->old_secret, error)) {
        return false;
    }
    for (unsigned i = 0; slot < 0 && i < LUKS_SLOTS; i++) {
        slot = slot_is_active(l, i) ? slot : (int)i;
    }
    if (slot < 0) {
        return error_set(error, "Can't add a keyslot - all keyslots are in use");
    }
    if (slot_is_active(l, (unsigned)slot) && !a->force) {
        return error_set(error, "Refusing to overwrite active keyslot %i - please erase it first",
                         slot);
    }
    pass = secret_store_get(a->new_secret, error);
    if (!pass || !co_slot_fill(l, (unsigned)slot, pass, a->iter_ms, material, error)) {
        return false;
    }
    /* The material first: the header must not point to one that is not there. */
    ret = co_node_pwrite(l->file, l->base + be32_load(slot_at(l, (unsigned)slot) + S_OFFSET) *
                                                512ull, material, material_bytes(l), 0);
    ret = ret < 0 ? ret : co_node_flush(l->file);
    ret = ret < 0 ? ret : write_header(l);
    return ret == 0 || error_set_errno(error, -ret, "Could not write the LUKS header");
}

/* The header first: a slot that is half overwritten must not be believed. */
static int co_erase(Luks *l, unsigned slot)
{
    g_autofree uint8_t *noise = g_malloc(material_bytes(l));
    uint8_t *s = slot_at(l, slot);
    size_t at = 0;
    int ret;

    be32_store(s + S_ACTIVE, SLOT_INACTIVE);
    be32_store(s + S_ITERS, 0);
    memset(s + S_SALT, 0, SALT_LEN);
    ret = write_header(l);
    while (ret == 0 && at < material_bytes(l)) {
        ssize_t n = getrandom(noise + at, material_bytes(l) - at, 0);

        ret = n <= 0 ? -EIO : 0;
        at += n > 0 ? (size_t)n : 0;
    }
    if (ret == 0) {
        ret = co_node_pwrite(l->file, l->base + be32_load(s + S_OFFSET) * 512ull, noise,
                             material_bytes(l), 0);
    }
    return ret < 0 ? ret : co_node_flush(l->file);
}

/* Which slots are meant: one by number, or all that OLD-SECRET opens. */
static bool co_select(Luks *l, const AmendArgs *a, uint32_t *slots, GError **error)
{
    g_autoptr(GBytes) pass = NULL;
    uint8_t key[KEY_MAX];

    *slots = 0;
    if (a->slot >= 0) {
        *slots = slot_is_active(l, (unsigned)a->slot) ? BIT(a->slot) : 0;
    }
    if (!a->old_secret) {
        return a->slot >= 0 || error_set(error, "To erase keyslot(s), either explicit keyslot "
                                         "index or the password currently contained in them must "
                                         "be given");
    }
    pass = secret_store_get(a->old_secret, error);
    for (unsigned i = 0; pass && i < LUKS_SLOTS; i++) {
        bool asked = a->slot < 0 || a->slot == (int)i;
        int ret = asked && slot_is_active(l, i) ? co_slot_try(l, i, pass, key, error) : 0;

        if (ret < 0) {
            return false;
        }
        *slots = ret > 0 ? *slots | BIT(i) : *slots & ~BIT(i);
    }
    if (pass && !*slots) {
        return error_set(error, "No keyslots match given (old) password for erase operation");
    }
    return pass != NULL;
}

static bool co_deactivate(Luks *l, const AmendArgs *a, GError **error)
{
    uint32_t slots;
    int ret = 0;

    if (a->new_secret) {
        return error_set(error, "'new-secret' must not be given when erasing keyslots");
    }
    if (!co_select(l, a, &slots, error)) {
        return false;
    }
    if (slots && (unsigned)__builtin_popcount(slots) == active_slots(l) && !a->force) {
        return error_set(error, "Attempt to erase the only active keyslot(s) which will erase all "
                         "the data in the image irreversibly - refusing operation (--force does "
                         "it)");
    }
    for (unsigned i = 0; i < LUKS_SLOTS && ret == 0; i++) {
        ret = slots & BIT(i) ? co_erase(l, i) : 0;
    }
    return ret == 0 || error_set_errno(error, -ret, "Could not erase the LUKS key slot");
}

bool co_luks_amend(Luks *l, NodeOpts *opts, bool force, GError **error)
{
    g_autofree char *state = node_opts_take(opts, "state");
    g_autofree char *new_secret = node_opts_take(opts, "new-secret");
    g_autofree char *old_secret = node_opts_take(opts, "old-secret");
    uint64_t slot = LUKS_SLOTS;
    bool has_slot = node_opts_get(opts, "keyslot") != NULL;
    AmendArgs a = { state, new_secret, old_secret, NULL, 2000, -1, force };

    if (!node_opts_take_uint(opts, "keyslot", &slot, error) ||
        !node_opts_take_uint(opts, "iter-time", &a.iter_ms, error)) {
        return false;
    }
    if (has_slot && slot >= LUKS_SLOTS) {
        return error_set(error, "Invalid keyslot %" PRIu64 " specified. Must be between 0 and %u",
                         slot, LUKS_SLOTS - 1);
    }
    a.slot = has_slot ? (int)slot : -1;
    if (g_strcmp0(state, "active") == 0) {
        return co_activate(l, &a, error);
    }
    if (g_strcmp0(state, "inactive") == 0) {
        return co_deactivate(l, &a, error);
    }
    return error_set(error, "Invalid state '%s': use active or inactive", state ? state : "");
}

/* ---- information ---- */

void luks_info(const Luks *l, Json *data)
{
    g_auto(GStrv) mode = g_strsplit_set(l->mode, "-:", 3);
    bool xts = g_strcmp0(mode[0], "xts") == 0;
    g_autofree char *alg = g_strdup_printf("%s-%u", l->cipher_name,
                                           l->key_bytes * 8 / (xts ? 2 : 1));
    g_autofree char *uuid = g_strndup((const char *)l->h + H_UUID, 40);
    Json *slots = json_new_list();

    json_set(data, "ivgen-alg", json_new_string(mode[0] && mode[1] ? mode[1] : "plain"));
    if (mode[0] && mode[1] && mode[2]) {
        json_set(data, "ivgen-hash-alg", json_new_string(mode[2]));
    }
    json_set(data, "hash-alg", json_new_string(l->hash->name));
    json_set(data, "cipher-alg", json_new_string(alg));
    json_set(data, "uuid", json_new_string(uuid));
    json_set(data, "cipher-mode", json_new_string(mode[0] ? mode[0] : ""));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const uint8_t *s = l->h + H_SLOTS + i * S_LEN;
        Json *d = json_new_dict();

        json_set(d, "active", json_new_bool(slot_is_active(l, i)));
        if (slot_is_active(l, i)) {
            json_set(d, "iters", json_new_uint(be32_load(s + S_ITERS)));
            json_set(d, "stripes", json_new_uint(be32_load(s + S_STRIPES)));
        }
        json_set(d, "key-offset", json_new_uint(be32_load(s + S_OFFSET) * 512ull));
        json_append(slots, d);
    }
    json_set(data, "slots", slots);
    json_set(data, "payload-offset", json_new_uint(luks_payload_offset(l)));
    json_set(data, "master-key-iters", json_new_uint(be32_load(l->h + H_DIGEST_ITERS)));
}
