/* SPDX-License-Identifier: MIT */
/*
 * Objects of the tools.  Locking: none, start-up only.
 */
#include "tools/objects.h"

#include "base/error.h"
#include "base/keyval.h"
#include "base/secret_store.h"
#include "base/tls.h"

static bool add_member(const char *key, Json *value, void *opaque)
{
    KeyVal *kv = opaque;
    bool on = false;

    if (json_get_string(value)) {
        keyval_set(kv, key, json_get_string(value));
    } else if (json_get_bool(value, &on)) {
        keyval_set(kv, key, on ? "on" : "off");
    } else {
        g_autofree char *text = json_to_string(value);

        keyval_set(kv, key, text);
    }
    return true;
}

static KeyVal *parse(const char *text, GError **error)
{
    g_autoptr(Json) json = NULL;
    KeyVal *kv;

    if (text[0] != '{') {
        return keyval_parse(text, "qom-type", KEYVAL_BARE_BOOL, error);
    }
    json = json_parse(text, error);
    if (!json) {
        return NULL;
    }
    kv = keyval_new();
    json_dict_foreach(json, add_member, kv);
    return kv;
}

bool tool_object_add(const char *text, GError **error)
{
    g_autoptr(KeyVal) kv = parse(text, error);
    const char *type = kv ? keyval_get(kv, "qom-type") : NULL;

    if (!kv) {
        return false;
    }
    if (!type) {
        return error_set(error, "Parameter 'qom-type' is missing in the object '%s'", text);
    }
    if (tls_creds_is_type(type)) {
        return tls_creds_add(type, kv, error);
    }
    if (g_str_equal(type, "secret")) {
        return secret_store_add(kv, error);
    }
    return error_set(error, "Invalid object type '%s': there are secret, tls-creds-anon, "
                     "tls-creds-psk and tls-creds-x509", type);
}
