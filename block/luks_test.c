/* SPDX-License-Identifier: MIT */
/* LUKS: ciphers against published vectors, key slots, damaged headers, and inside of qcow2. */
#include "block/luks.h"

#include "base/secret_store.h"
#include "base/thread.h"
#include "block/memory.h"
#include "block/sector_cipher.h"

#define CRYPT "key-secret=pass,iter-time=1,cipher-alg=aes-128"

static void put_secret(const char *id, const char *text)
{
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));

    secret_store_put(id, bytes);
}

static MemoryDisk *make(const char *format, const char *create)
{
    MemoryDisk *disk = memory_disk_new("luks");
    g_autoptr(NodeOpts) opts = node_opts_new();
    g_autoptr(GError) error = NULL;

    node_opts_add_keyval(opts, create, NULL, NULL);
    image_create("x-memory:luks", format, opts, &error);
    g_assert_no_error(error);
    return disk;
}

static BlockNode *open_with(const char *format, const char *key, const char *secret, int flags,
                            GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();

    node_opts_set(opts, "driver", format);
    if (secret) {
        node_opts_set(opts, key, secret);
    }
    return node_open("x-memory:luks", opts, flags | NODE_OPEN_INLINE_IO, error);
}

/* IEEE 1619-2007, annex B, vector 4: its first 16 bytes. */
static void test_xts_vectors(void)
{
    static const uint8_t key[32] = {
        0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60, 0x28, 0x74, 0x71, 0x35,
        0x26, 0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93, 0x23, 0x84, 0x62, 0x64, 0x33, 0x83,
        0x27, 0x95,
    };
    static const uint8_t want[16] = {
        0x27, 0xa7, 0x47, 0x9b, 0xef, 0xa1, 0xd4, 0x76, 0x48, 0x9f, 0x30, 0x8c, 0xd4, 0xcf, 0xa6,
        0xe2,
    };
    SectorCipher *c = sector_cipher_new("aes", "xts-plain64", key, sizeof(key), NULL);
    uint8_t buf[512];

    g_assert_nonnull(c);
    for (unsigned i = 0; i < sizeof(buf); i++) {
        buf[i] = (uint8_t)i;
    }
    sector_cipher_run(c, true, 0, buf, sizeof(buf));
    g_assert_cmpmem(buf, 16, want, 16);
    sector_cipher_run(c, false, 0, buf, sizeof(buf));
    g_assert_cmpuint(buf[0], ==, 0);
    g_assert_cmpuint(buf[511], ==, 255);
    sector_cipher_free(c);
}

/* RFC 6070, the second vector. */
static void test_pbkdf2_vector(void)
{
    static const uint8_t want[20] = {
        0xea, 0x6c, 0x01, 0x4d, 0xc7, 0x2d, 0x6f, 0x8c, 0xcd, 0x1e, 0xd9, 0x2a, 0xce, 0x1d, 0x41,
        0xf0, 0xd8, 0xde, 0x89, 0x57,
    };
    const CipherHash *sha1 = cipher_hash_find("sha1", NULL);
    uint8_t out[20];

    sha1->derive("password", 8, (const uint8_t *)"salt", 4, 2, out, sizeof(out));
    g_assert_cmpmem(out, 20, want, 20);
}

static void test_unknown_names_are_refused(void)
{
    static const char *const bad[][2] = {
        { "aes", "cfb-plain64" }, { "aes", "xts-random" }, { "des", "xts-plain64" },
        { "aes", "cbc-essiv:md4" }, { "aes", "cbc-essiv:sha1" }, { "aes", "" },
    };
    uint8_t key[32] = { 0 };

    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(sector_cipher_new(bad[i][0], bad[i][1], key, sizeof(key), &error));
        g_assert_nonnull(error);
    }
}

static void test_data_is_encrypted_and_comes_back(void)
{
    MemoryDisk *disk = make("luks", CRYPT ",size=64k");
    g_autoptr(GError) error = NULL;
    BlockNode *node = open_with("luks", "key-secret", "pass", NODE_OPEN_RDWR, &error);
    BlockBackend *blk = blk_new(NULL);
    uint8_t buf[700], got[700];

    g_assert_no_error(error);
    g_assert_cmpuint(node_length(node), ==, 64 * KIB);
    memset(buf, 'A', sizeof(buf));
    g_assert_true(blk_insert_node(blk, node, true, &error));
    g_assert_cmpint(blk_pwrite(blk, 1000, buf, sizeof(buf), 0), ==, 0);
    g_assert_null(memmem(disk->data->data, disk->data->len, "AAAAAAAA", 8));
    blk_unref(blk);
    node_unref(node);
    node = open_with("luks", "key-secret", "pass", 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(node_pread(node, 1000, got, sizeof(got)), ==, 0);
    g_assert_cmpmem(got, sizeof(got), buf, sizeof(buf));
    node_unref(node);
    memory_disk_free(disk);
}

static void test_needs_the_right_key(void)
{
    MemoryDisk *disk = make("luks", CRYPT ",size=64k");
    static const char *const secrets[] = { NULL, "other", "nowhere" };

    for (unsigned i = 0; i < ARRAY_LEN(secrets); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(open_with("luks", "key-secret", secrets[i], 0, &error));
        g_assert_nonnull(error);
    }
    memory_disk_free(disk);
}

static bool amend(const char *text, GError **error)
{
    g_autoptr(NodeOpts) opts = node_opts_new();
    BlockNode *node = open_with("luks", "key-secret", NULL, NODE_OPEN_RDWR | NODE_OPEN_NO_IO,
                                error);
    BlockChild *root;
    bool ok;

    g_assert_nonnull(node);
    root = node_attach_root(node, "test", BLK_PERM_WRITE, BLK_PERM_ALL, NULL, NULL, error);
    node_opts_add_keyval(opts, text, NULL, NULL);
    ok = node_amend(node, opts, error);
    node_detach_root(root);
    node_unref(node);
    return ok;
}

static bool opens_with(const char *secret)
{
    BlockNode *node = open_with("luks", "key-secret", secret, 0, NULL);
    bool ok = node != NULL;

    node_unref(node);
    return ok;
}

static void test_slots_come_and_go(void)
{
    MemoryDisk *disk = make("luks", CRYPT ",size=64k");
    g_autoptr(GError) error = NULL;

    g_assert_true(amend("state=active,old-secret=pass,new-secret=other,iter-time=1", &error));
    g_assert_no_error(error);
    g_assert_true(opens_with("pass") && opens_with("other"));
    g_assert_false(amend("state=active,old-secret=pass,new-secret=other,keyslot=0", NULL));
    g_assert_true(amend("state=inactive,old-secret=pass", &error));
    g_assert_no_error(error);
    g_assert_true(!opens_with("pass") && opens_with("other"));
    /* The last one only by force. */
    g_assert_false(amend("state=inactive,keyslot=1", NULL));
    g_assert_true(opens_with("other"));
    g_assert_true(amend("state=inactive,keyslot=1,force=on", &error));
    g_assert_false(opens_with("other"));
    memory_disk_free(disk);
}

static void test_damaged_headers(void)
{
    MemoryDisk *disk = make("luks", CRYPT ",size=64k");
    g_autofree uint8_t *good = g_memdup2(disk->data->data, 592);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);

    for (unsigned i = 0; i < 2000; i++) {
        g_autoptr(GError) error = NULL;
        BlockNode *node;

        memcpy(disk->data->data, good, 592);
        for (unsigned k = 0; k < 3; k++) {
            disk->data->data[g_rand_int_range(rand, 0, 592)] = (uint8_t)g_rand_int(rand);
        }
        node = open_with("luks", "key-secret", NULL, NODE_OPEN_NO_IO, &error);
        g_assert_true(!node == !!error);
        node_unref(node);
    }
    memory_disk_free(disk);
}

/* Clusters of 512 bytes make the header a run that no refcount block can cover. */
static void test_inside_qcow2(void)
{
    MemoryDisk *disk = make("qcow2", "size=256k,cluster_size=512,encrypt.format=luks,"
                            "encrypt.key-secret=pass,encrypt.iter-time=1");
    g_autoptr(GError) error = NULL;
    BlockNode *node = open_with("qcow2", "encrypt.key-secret", "pass", NODE_OPEN_RDWR, &error);
    BlockBackend *blk = blk_new(NULL);
    CheckResult result = { 0 };
    uint8_t buf[3000], got[3000];

    g_assert_no_error(error);
    memset(buf, 'B', sizeof(buf));
    g_assert_true(blk_insert_node(blk, node, true, &error));
    g_assert_cmpint(blk_pwrite(blk, 100, buf, sizeof(buf), 0), ==, 0);
    g_assert_cmpint(blk_pwrite(blk, 50000, buf, 100, 0), ==, 0);
    blk_unref(blk);
    node_unref(node);
    g_assert_null(memmem(disk->data->data, disk->data->len, "BBBBBBBB", 8));
    node = open_with("qcow2", "encrypt.key-secret", "pass", 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(node_pread(node, 100, got, sizeof(got)), ==, 0);
    g_assert_cmpmem(got, sizeof(got), buf, sizeof(buf));
    g_assert_cmpint(node_pread(node, 50000, got, 101), ==, 0);
    g_assert_cmpuint(got[99], ==, 'B');
    g_assert_cmpuint(got[100], ==, 0);
    g_assert_true(node_check(node, 0, &result, &error));
    g_assert_cmpuint(result.corruptions + result.leaks, ==, 0);
    node_unref(node);
    g_assert_null(open_with("qcow2", "encrypt.key-secret", "other", 0, NULL));
    memory_disk_free(disk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    thread_set_main();
    put_secret("pass", "correct horse");
    put_secret("other", "battery staple");
    g_test_add_func("/block/luks/xts-vectors", test_xts_vectors);
    g_test_add_func("/block/luks/pbkdf2-vector", test_pbkdf2_vector);
    g_test_add_func("/block/luks/unknown-names", test_unknown_names_are_refused);
    g_test_add_func("/block/luks/data", test_data_is_encrypted_and_comes_back);
    g_test_add_func("/block/luks/right-key", test_needs_the_right_key);
    g_test_add_func("/block/luks/slots", test_slots_come_and_go);
    g_test_add_func("/block/luks/damaged", test_damaged_headers);
    g_test_add_func("/block/luks/inside-qcow2", test_inside_qcow2);
    return g_test_run();
}
