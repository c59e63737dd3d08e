/* SPDX-License-Identifier: MIT */
/* The object "secret": data given, or read from a file when it is made. */
#include "vm/secret.h"

#include <string.h>

#include "base/error.h"
#include "base/secret_store.h"

typedef struct Secret {
    Object obj;
    char *data, *file, *keyid, *iv;
    int format;
    GBytes *bytes;
} Secret;

static bool complete(Object *obj, GError **error)
{
    Secret *s = (Secret *)(void *)obj;
    SecretSource source = { s->data, s->file, s->format, s->keyid, s->iv };

    s->bytes = secret_decode(&source, error);
    if (s->bytes) {
        secret_store_put(obj->name, s->bytes);
    }
    return s->bytes != NULL;
}

static void finalize(Object *obj)
{
    Secret *s = (Secret *)(void *)obj;

    if (s->bytes) {
        gsize len;
        void *data;

        secret_store_drop(obj->name);
        data = g_bytes_unref_to_data(s->bytes, &len);
        explicit_bzero(data, len);      /* about to be freed: not to be optimized away */
        g_free(data);
    }
}

static const PropDef secret_props[] = {
    PROP_STR("data", Secret, data, .help = "the secret itself"),
    PROP_STR("file", Secret, file, .help = "the file that holds it"),
    PROP_ENUM("format", Secret, format, secret_formats, SECRET_RAW),
    PROP_STR("keyid", Secret, keyid, .help = "the secret with the key that it is encrypted with"),
    PROP_STR("iv", Secret, iv, .help = "the initialization vector, in base64"),
    PROP_END
};

OBJECT_TYPE(secret, .name = "secret", .size = sizeof(Secret), .props = secret_props,
            .complete = complete, .finalize = finalize);

GBytes *secret_lookup(Vm *vm, const char *id, GError **error)
{
    Object *obj = object_child(vm->objects, id);

    if (!obj || !object_is_a(obj, "secret")) {
        error_set(error, "No secret with id '%s': make one with -object secret,id=%s,...", id, id);
        return NULL;
    }
    return g_bytes_ref(((Secret *)(void *)obj)->bytes);
}

char *secret_lookup_text(Vm *vm, const char *id, GError **error)
{
    g_autoptr(GBytes) bytes = secret_lookup(vm, id, error);
    gsize len = 0;
    const char *data = bytes ? g_bytes_get_data(bytes, &len) : NULL;

    if (!bytes) {
        return NULL;
    }
    if (!g_utf8_validate(data, (gssize)len, NULL)) {
        error_set(error, "Secret '%s' is no text", id);
        return NULL;
    }
    return g_strndup(data, len);
}
