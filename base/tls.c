/* SPDX-License-Identifier: MIT */
/*
 * TLS: the registry of credentials, and the way to the module.  The work is in tls_gnutls.c.
 * Locking: main loop; references are atomic.
 */
#include "base/tls.h"

#include "base/error.h"
#include "base/module.h"

struct TlsCreds {
    gint refs;
    char *id;
    TlsRole role;
    bool verifies;
    const TlsModule *module;
    void *state;
};

struct TlsSession {
    TlsCreds *creds;
    void *state;
};

static GHashTable *all_creds;      /* id -> TlsCreds, borrowed: ids are global to the process */

/* ---- credentials ---- */

TlsCreds *tls_creds_new(const char *id, const TlsCredsConf *conf, GError **error)
{
    const TlsModule *module = module_load("base-tls", error);
    TlsCreds *creds;
    void *state;

    if (!module) {
        return NULL;
    }
    if (all_creds && g_hash_table_contains(all_creds, id)) {
        error_set(error, "Duplicate ID '%s' for TLS credentials", id);
        return NULL;
    }
    state = module->creds_new(conf, error);
    if (!state) {
        return NULL;
    }
    creds = g_new0(TlsCreds, 1);
    creds->refs = 1;
    creds->id = g_strdup(id);
    creds->role = conf->role;
    creds->verifies = conf->kind == TLS_X509 && conf->verify_peer;
    creds->module = module;
    creds->state = state;
    if (!all_creds) {
        all_creds = g_hash_table_new(g_str_hash, g_str_equal);
    }
    g_hash_table_insert(all_creds, creds->id, creds);
    return creds;
}

void tls_creds_remove(TlsCreds *creds)
{
    if (creds && all_creds && g_hash_table_lookup(all_creds, creds->id) == creds) {
        g_hash_table_remove(all_creds, creds->id);
    }
}

TlsCreds *tls_creds_ref(TlsCreds *creds)
{
    g_atomic_int_inc(&creds->refs);
    return creds;
}

void tls_creds_unref(TlsCreds *creds)
{
    if (creds && g_atomic_int_dec_and_test(&creds->refs)) {
        creds->module->creds_free(creds->state);
        g_free(creds->id);
        g_free(creds);
    }
}

TlsCreds *tls_creds_find(const char *id, TlsRole role, GError **error)
{
    TlsCreds *creds = all_creds ? g_hash_table_lookup(all_creds, id) : NULL;

    if (!creds) {
        error_set(error, "No TLS credentials with id '%s'; make them with "
                  "-object tls-creds-x509,id=%s,...", id, id);
        return NULL;
    }
    if (creds->role != role) {
        error_set(error, "Expecting TLS credentials with a %s endpoint; '%s' has endpoint=%s",
                  role == TLS_SERVER ? "server" : "client", id,
                  creds->role == TLS_SERVER ? "server" : "client");
        return NULL;
    }
    return creds;
}

bool tls_creds_verify_peer(const TlsCreds *creds)
{
    return creds->verifies;
}

/* ---- sessions ---- */

TlsSession *tls_session_new(TlsCreds *creds, const char *hostname, int fd, GError **error)
{
    void *state = creds->module->session_new(creds->state, hostname, fd, error);
    TlsSession *tls;

    if (!state) {
        return NULL;
    }
    tls = g_new0(TlsSession, 1);
    tls->creds = tls_creds_ref(creds);
    tls->state = state;
    return tls;
}

TlsStep tls_handshake(TlsSession *tls, GError **error)
{
    return tls->creds->module->handshake(tls->state, error);
}

char *tls_peer_name(TlsSession *tls, GError **error)
{
    return tls->creds->module->peer_name(tls->state, error);
}

ssize_t tls_read(TlsSession *tls, void *buf, size_t len)
{
    return tls->creds->module->read(tls->state, buf, len);
}

ssize_t tls_write(TlsSession *tls, const void *buf, size_t len)
{
    return tls->creds->module->write(tls->state, buf, len);
}

void tls_session_free(TlsSession *tls)
{
    if (tls) {
        tls->creds->module->session_free(tls->state);
        tls_creds_unref(tls->creds);
        g_free(tls);
    }
}
