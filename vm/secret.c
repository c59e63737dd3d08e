/* SPDX-License-Identifier: MIT */
#include "vm/secret.h"

#include <string.h>

#include "base/error.h"
#include "base/secret_store.h"

enum { FORMAT_RAW, FORMAT_BASE64 };
static const char *const formats[] = { "raw", "base64", NULL };

typedef struct Secret {
    Object obj;
    char *data, *file;
    int format;
    GBytes *bytes;
} Secret;

/* Of a block about to be freed: not to be optimized away. */
static void wipe(void *data, size_t len)
{
    explicit_bzero(data, len);
    g_free(data);
}

static bool complete(Object *obj, GError **error)
{
    Secret *s = (Secret *)(void *)obj;
    char *text = NULL;
    gsize len = 0;

    if (!s->data == !s->file) {
        return error_set(error, s->data ? "'file' and 'data' are mutually exclusive"
                                        : "Either 'file' or 'data' must be provided");
    }
    if (s->file && !g_file_get_contents(s->file, &text, &len, error)) {
        g_prefix_error(error, "Unable to read '%s': ", s->file);
        return false;
    }
    if (s->data) {
        text = g_strdup(s->data);
        len = strlen(text);
    }
    if (s->format == FORMAT_BASE64) {
        gsize out_len = 0, end = len;
        uint8_t *out;

        while (end && g_ascii_isspace(text[end - 1])) {
            end--;
        }
        text[end] = '\0';
        out = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n") ==
                              end && end % 4 == 0
                  ? g_base64_decode(text, &out_len) : NULL;
        wipe(text, len);
        if (!out) {
            return error_set(error, "The secret is not valid base64 (format=raw takes it as it is)");
        }
        s->bytes = g_bytes_new_take(out, out_len);
    } else {
        s->bytes = g_bytes_new_take(text, len);
    }
    secret_store_put(obj->name, s->bytes);
    return true;
}

static void finalize(Object *obj)
{
    Secret *s = (Secret *)(void *)obj;

    if (s->bytes) {
        gsize len;
        void *data;

        secret_store_drop(obj->name);
        data = g_bytes_unref_to_data(s->bytes, &len);

        wipe(data, len);
    }
}

static const PropDef secret_props[] = {
    PROP_STR("data", Secret, data, .help = "the secret itself"),
    PROP_STR("file", Secret, file, .help = "the file that holds it"),
    PROP_ENUM("format", Secret, format, formats, FORMAT_RAW),
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
