/* SPDX-License-Identifier: MIT */
/* Objects that others refer to: memory back ends, iothreads, secrets, sources of random bytes. */
#include "base/error.h"
#include "vm/iothread.h"
#include "vm/machine.h"
#include "vm/memory_backend.h"
#include "vm/rng.h"
#include "vm/secret.h"

#include <glib/gstdio.h>
#include <string.h>

/* As -object does it; NULL with an error. */
static Object *make(Vm *vm, const char *type, const char *id, const char *const *props,
                    GError **error)
{
    Object *obj = object_new(type, error);
    const ObjectType *t = obj->type;

    for (; *props; props += 2) {
        g_assert_true(object_set_text(obj, props[0], props[1], NULL));
    }
    object_add_child(vm->objects, id, obj);
    object_unref(obj);
    while (!t->complete) {
        t = type_parent(t);
    }
    if (!t->complete(obj, error)) {
        object_unparent(obj);
        return NULL;
    }
    return obj;
}

#define MAKE(vm, type, id, error, ...)                                                     \
    make(vm, type, id, (const char *const[]){ __VA_ARGS__, NULL, NULL }, error)

static void refuse(Vm *vm, const char *type, const char *const *props, const char *wanted)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(make(vm, type, "bad", props, &error));
    g_assert_nonnull(strstr(error->message, wanted));
    g_assert_null(object_child(vm->objects, "bad"));
}

#define REFUSE(vm, type, wanted, ...)                                                      \
    refuse(vm, type, (const char *const[]){ __VA_ARGS__, NULL, NULL }, wanted)

static void test_memory_kinds(void)
{
    Vm *vm = vm_new();
    g_autofree char *dir = g_dir_make_tmp("rhea-memory-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "ram", NULL);
    MemoryBackend *file;
    g_autofree char *text = NULL;
    gsize len;

    g_assert_nonnull(MAKE(vm, "memory-backend-ram", "r", NULL, "size", "2M", "prealloc", "on"));
    g_assert_nonnull(MAKE(vm, "memory-backend-memfd", "m", NULL, "size", "2M", "share", "on"));
    g_assert_nonnull(MAKE(vm, "memory-backend-file", "d", NULL, "size", "1M", "mem-path", dir));
    g_assert_nonnull(MAKE(vm, "memory-backend-file", "f", NULL, "size", "1M", "mem-path", path,
                          "share", "on"));
    file = memory_backend_find(vm, "f", NULL);
    memcpy(memory_region_ram_ptr(&file->region), "hello", 5);
    g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    g_assert_cmpuint(len, ==, 1 << 20);
    g_assert_cmpmem(text, 5, "hello", 5);
    REFUSE(vm, "memory-backend-file", "fewer than size", "size", "2M", "mem-path", path);
    REFUSE(vm, "memory-backend-file", "mem-path", "size", "2M");
    REFUSE(vm, "memory-backend-ram", "'size'", "size", "0");
    REFUSE(vm, "memory-backend-memfd", "power of two", "size", "2M", "hugetlb", "on",
           "hugetlbsize", "3M");
    g_assert_false(object_set_text(OBJECT(file), "size", "4M", NULL));
    g_unlink(path);
    g_rmdir(dir);
    vm_free(vm);
}

/* Only anonymous memory gets huge pages from a host with its usual settings. */
static void test_only_shared_memory_has_a_file(void)
{
    Vm *vm = vm_new();
    MemoryBackend *mb;

    MAKE(vm, "memory-backend-ram", "p", NULL, "size", "2M");
    MAKE(vm, "memory-backend-ram", "s", NULL, "size", "2M", "share", "on");
    mb = memory_backend_find(vm, "p", NULL);
    g_assert_cmpint(mb->region.ram->fd, ==, -1);
    g_assert_false(mb->region.ram->shared);
    mb = memory_backend_find(vm, "s", NULL);
    g_assert_cmpint(mb->region.ram->fd, >=, 0);
    g_assert_true(mb->region.ram->shared);
    vm_free(vm);
}

static void test_memory_is_used_once(void)
{
    Vm *vm = vm_new();
    Object *obj = MAKE(vm, "memory-backend-ram", "m", NULL, "size", "1M");
    MemoryBackend *mb = memory_backend_find(vm, "/objects/m", NULL);
    g_autoptr(GError) error = NULL;

    g_assert_true(OBJECT(mb) == obj);
    g_assert_true(memory_backend_map(mb, NULL));
    g_assert_false(memory_backend_map(mb, &error));
    g_assert_null(memory_backend_find(vm, "n", NULL));
    vm_free(vm);
}

#define CRYPT_IV "aXZpdml2aXZpdml2aXZpdg=="
#define CRYPT_DATA "ClVSn1WBrJWc+oSsxpK4zw=="

static void test_secret(void)
{
    Vm *vm = vm_new();
    g_autofree char *plain = NULL, *decoded = NULL, *opened = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_nonnull(MAKE(vm, "secret", "a", NULL, "data", "letmein"));
    g_assert_nonnull(MAKE(vm, "secret", "b", NULL, "data", "bGV0bWVpbg==", "format", "base64"));
    plain = secret_lookup_text(vm, "a", NULL);
    decoded = secret_lookup_text(vm, "b", NULL);
    g_assert_cmpstr(plain, ==, "letmein");
    g_assert_cmpstr(decoded, ==, "letmein");
    g_assert_null(secret_lookup(vm, "c", &error));
    REFUSE(vm, "secret", "must be provided", "format", "raw");
    REFUSE(vm, "secret", "mutually exclusive", "data", "x", "file", "y");
    REFUSE(vm, "secret", "base64", "data", "***", "format", "base64");
    REFUSE(vm, "secret", "/nonexistent/x", "file", "/nonexistent/x");
    /* As libvirt passes them.  Made by: printf letmein | openssl enc -aes-256-cbc -K (32 times 6b)
     * -iv $(printf iviviviviviviviv | xxd -p) | base64 */
    g_assert_nonnull(MAKE(vm, "secret", "key", NULL, "data", "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"));
    g_assert_nonnull(MAKE(vm, "secret", "e", NULL, "data", CRYPT_DATA, "format", "base64", "keyid",
                          "key", "iv", CRYPT_IV));
    opened = secret_lookup_text(vm, "e", NULL);
    g_assert_cmpstr(opened, ==, "letmein");
    REFUSE(vm, "secret", "IV is required", "data", CRYPT_DATA, "format", "base64", "keyid", "key");
    REFUSE(vm, "secret", "not 3", "data", CRYPT_DATA, "format", "base64", "keyid", "key", "iv",
           "YWJj");
    REFUSE(vm, "secret", "32 bytes", "data", CRYPT_DATA, "format", "base64", "keyid", "a", "iv",
           CRYPT_IV);
    REFUSE(vm, "secret", "nope", "data", CRYPT_DATA, "format", "base64", "keyid", "nope", "iv",
           CRYPT_IV);
    REFUSE(vm, "secret", "Length 3", "data", "YWJj", "format", "base64", "keyid", "key", "iv",
           CRYPT_IV);
    REFUSE(vm, "secret", "padding", "data", "eHh4eHh4eHh4eHh4eHh4eA==", "format", "base64",
           "keyid", "key", "iv", CRYPT_IV);
    vm_free(vm);
}

static void test_rng(void)
{
    Vm *vm = vm_new();
    uint8_t buf[8] = { 0 };

    g_assert_cmpuint(rng_read(MAKE(vm, "rng-random", "r", NULL, "filename", "/dev/zero"), buf, 8),
                     ==, 8);
    g_assert_cmpuint(rng_read(make(vm, "rng-builtin", "b", (const char *const[]){ NULL }, NULL),
                              buf, 8), ==, 8);
    REFUSE(vm, "rng-random", "/nonexistent/x", "filename", "/nonexistent/x");
    vm_free(vm);
}

static void note_thread(void *opaque)
{
    *(bool *)opaque = !event_loop_is_current(event_loop_main());
}

static void test_iothread(void)
{
    Vm *vm = vm_new();
    Object *obj = make(vm, "iothread", "io", (const char *const[]){ NULL }, NULL);
    bool elsewhere = false;

    g_assert_cmpint(iothread_object_tid(obj), >, 0);
    event_loop_call_wait(iothread_object_loop(obj), note_thread, &elsewhere);
    g_assert_true(elsewhere);
    iothread_object_hold(obj);
    g_assert_false(obj->type->can_be_deleted(obj));
    iothread_object_release(obj);
    g_assert_true(obj->type->can_be_deleted(obj));
    vm_free(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backends/memory", test_memory_kinds);
    g_test_add_func("/backends/memory-file", test_only_shared_memory_has_a_file);
    g_test_add_func("/backends/memory-once", test_memory_is_used_once);
    g_test_add_func("/backends/secret", test_secret);
    g_test_add_func("/backends/rng", test_rng);
    g_test_add_func("/backends/iothread", test_iothread);
    return g_test_run();
}
