/* SPDX-License-Identifier: MIT */
/*
 * -object tls-creds-anon, tls-creds-psk and tls-creds-x509: the credentials of base/tls.h as
 * objects of the tree.  Whoever uses them keeps a reference, so an object may go at any time.
 * Missing: the deprecated "loaded".
 * Locking: main loop.
 */
#include "base/error.h"
#include "base/secret_store.h"
#include "base/tls.h"
#include "vm/object.h"

typedef struct TlsObject {
    Object obj;
    TlsCreds *creds;
    char *dir, *priority, *username, *passwordid;
    int endpoint;
    bool verify_peer, sanity_check;
} TlsObject;

static TlsObject *as_tls(Object *obj)
{
    return (TlsObject *)(void *)obj;
}

static bool tls_object_complete(Object *obj, GError **error)
{
    TlsObject *t = as_tls(obj);
    g_autofree char *password = NULL;
    TlsCredsConf conf = {
        .role = (TlsRole)t->endpoint,
        .verify_peer = t->verify_peer,
        .sanity_check = t->sanity_check,
        .dir = t->dir,
        .priority = t->priority,
        .username = t->username,
    };

    conf.kind = object_is_a(obj, "tls-creds-anon")  ? TLS_ANON
                : object_is_a(obj, "tls-creds-psk") ? TLS_PSK : TLS_X509;
    if (t->passwordid) {
        conf.password = password = secret_store_get_text(t->passwordid, error);
        if (!password) {
            return false;
        }
    }
    t->creds = tls_creds_new(obj->name, &conf, error);
    return t->creds != NULL;
}

static void tls_object_finalize(Object *obj)
{
    TlsObject *t = as_tls(obj);

    tls_creds_remove(t->creds);
    tls_creds_unref(t->creds);
}

static const char *const endpoints[] = { "client", "server", NULL };

static const PropDef tls_props[] = {
    PROP_BOOL("verify-peer", TlsObject, verify_peer, true,
              .help = "the other end must show a certificate that our CA has signed"),
    PROP_STR("dir", TlsObject, dir, .help = "the folder of the PEM files or of keys.psk"),
    PROP_ENUM("endpoint", TlsObject, endpoint, endpoints, TLS_CLIENT),
    PROP_STR("priority", TlsObject, priority, .help = "GnuTLS priority string"),
    PROP_END
};
static const PropDef psk_props[] = {
    PROP_STR("username", TlsObject, username, .help = "of the client; default 'qemu'"),
    PROP_END
};
static const PropDef x509_props[] = {
    PROP_BOOL("sanity-check", TlsObject, sanity_check, true,
              .help = "refuse certificates that could never work"),
    PROP_STR("passwordid", TlsObject, passwordid,
             .help = "the secret object with the password of the private key"),
    PROP_END
};

OBJECT_TYPE(tls_creds, .name = "tls-creds", .abstract = true, .size = sizeof(TlsObject),
            .props = tls_props, .complete = tls_object_complete,
            .finalize = tls_object_finalize);
OBJECT_TYPE(tls_creds_anon, .name = "tls-creds-anon", .parent = "tls-creds");
OBJECT_TYPE(tls_creds_psk, .name = "tls-creds-psk", .parent = "tls-creds", .props = psk_props);
OBJECT_TYPE(tls_creds_x509, .name = "tls-creds-x509", .parent = "tls-creds", .props = x509_props);
