/* SPDX-License-Identifier: MIT */
/*
 * TLS by GnuTLS: the module base-tls.  File names are those that QEMU documents: ca-cert.pem,
 * ca-crl.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem, dh-params.pem,
 * keys.psk, in the folder of the credentials.
 *
 * With sanity-check, certificates that could never work are refused when the credentials are made:
 * not yet or no longer valid, a CA that is none, ours not signed by it.
 *
 * Locking: none; see base/tls.h.
 */
#include "base/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

#define PSK_USER "qemu"
#define MAX_CERTS 16

typedef struct Creds {
    TlsCredsConf conf;
    char *priority, *username;
    gnutls_anon_server_credentials_t anon_server;
    gnutls_anon_client_credentials_t anon_client;
    gnutls_psk_server_credentials_t psk_server;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_certificate_credentials_t x509;
} Creds;

typedef struct Session {
    Creds *creds;
    char *hostname;
    gnutls_session_t tls;
    bool established;
} Session;

/* ---- files ---- */

/* NULL when it is not there; with REQUIRED that is an error. */
static char *file_of(const TlsCredsConf *conf, const char *name, bool required, GError **error)
{
    g_autofree char *path = NULL;

    if (!conf->dir) {
        if (required) {
            error_set(error, "Missing 'dir' property: the folder that has '%s'", name);
        }
        return NULL;
    }
    path = g_build_filename(conf->dir, name, NULL);
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        if (required) {
            error_set(error, "Unable to access credentials %s: No such file or directory", path);
        }
        return NULL;
    }
    return g_steal_pointer(&path);
}

static bool tls_failed(int ret, GError **error, const char *what)
{
    return error_set(error, "%s: %s", what, gnutls_strerror(ret));
}

/* ---- certificates that could never work ---- */

/* The number read, or -1. */
static int load_certs(const char *path, gnutls_x509_crt_t *certs, GError **error)
{
    unsigned count = MAX_CERTS;
    gnutls_datum_t data;
    int ret = gnutls_load_file(path, &data);

    if (ret == 0) {
        ret = gnutls_x509_crt_list_import(certs, &count, &data, GNUTLS_X509_FMT_PEM,
                                          GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
        gnutls_free(data.data);
    }
    if (ret < 0) {
        error_set(error, "Unable to import certificate '%s': %s", path, gnutls_strerror(ret));
        return -1;
    }
    return ret;
}

static bool check_dates(gnutls_x509_crt_t cert, const char *path, GError **error)
{
    time_t now = time(NULL);

    if (gnutls_x509_crt_get_expiration_time(cert) < now) {
        return error_set(error, "The certificate '%s' has expired", path);
    }
    if (gnutls_x509_crt_get_activation_time(cert) > now) {
        return error_set(error, "The certificate '%s' is not yet active", path);
    }
    return true;
}

static bool check_own(gnutls_x509_crt_t cert, const char *path, TlsRole role, GError **error)
{
    char oid[128];
    size_t len = sizeof(oid);
    unsigned critical;
    bool any = false, fits = false;
    const char *want = role == TLS_SERVER ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;

    if (gnutls_x509_crt_get_basic_constraints(cert, NULL, NULL, NULL) > 0) {
        return error_set(error, "The certificate '%s' basic constraints show a CA, but we need one "
                         "for a %s", path, role == TLS_SERVER ? "server" : "client");
    }
    for (unsigned i = 0; gnutls_x509_crt_get_key_purpose_oid(cert, i, oid, &len, &critical) == 0;
         i++, len = sizeof(oid)) {
        any = true;
        fits = fits || strcmp(oid, want) == 0 || strcmp(oid, GNUTLS_KP_ANY) == 0;
    }
    if (any && !fits) {
        return error_set(error, "The certificate '%s' purpose does not allow for use with a %s",
                         path, role == TLS_SERVER ? "server" : "client");
    }
    return true;
}

static bool check_all(const TlsCredsConf *conf, const char *ca_path, const char *own_path,
                      GError **error)
{
    gnutls_x509_crt_t ca[MAX_CERTS], own[MAX_CERTS];
    int n_ca = load_certs(ca_path, ca, error), n_own = 0;
    unsigned status = 0;
    bool ok = n_ca >= 0;

    for (int i = 0; ok && i < n_ca; i++) {
        ok = check_dates(ca[i], ca_path, error);
        if (ok && gnutls_x509_crt_get_basic_constraints(ca[i], NULL, NULL, NULL) <= 0) {
            ok = error_set(error, "The certificate '%s' basic constraints do not show a CA",
                           ca_path);
        }
    }
    if (ok && own_path) {
        n_own = load_certs(own_path, own, error);
        ok = n_own >= 0;
    }
    for (int i = 0; ok && i < n_own; i++) {
        ok = check_dates(own[i], own_path, error) &&
             (i > 0 || check_own(own[i], own_path, conf->role, error));
    }
    if (ok && n_own > 0 &&
        (gnutls_x509_crt_list_verify(own, (unsigned)n_own, ca, (unsigned)n_ca, NULL, 0, 0,
                                     &status) < 0 || status)) {
        ok = error_set(error, "Our own certificate '%s' failed validation against '%s'", own_path,
                       ca_path);
    }
    for (int i = 0; i < MAX(n_ca, 0); i++) {
        gnutls_x509_crt_deinit(ca[i]);
    }
    for (int i = 0; i < MAX(n_own, 0); i++) {
        gnutls_x509_crt_deinit(own[i]);
    }
    return ok;
}

/* ---- credentials ---- */

static bool load_anon(Creds *c, GError **error)
{
    int ret;

    if (c->conf.role == TLS_SERVER) {
        ret = gnutls_anon_allocate_server_credentials(&c->anon_server);
        if (ret == 0) {
            ret = gnutls_anon_set_server_known_dh_params(c->anon_server,
                                                         GNUTLS_SEC_PARAM_MEDIUM);
        }
    } else {
        ret = gnutls_anon_allocate_client_credentials(&c->anon_client);
    }
    return ret == 0 || tls_failed(ret, error, "Cannot allocate credentials");
}

/* The hexadecimal key of USER in a file of "user:key" lines. */
static char *psk_key(const char *path, const char *user, GError **error)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    size_t len = strlen(user);

    if (!g_file_get_contents(path, &text, NULL, error)) {
        return NULL;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        if (strncmp(*l, user, len) == 0 && (*l)[len] == ':') {
            return g_strstrip(g_strdup(*l + len + 1));
        }
    }
    error_set(error, "Username '%s' not found in '%s'", user, path);
    return NULL;
}

static bool load_psk(Creds *c, GError **error)
{
    g_autofree char *path = file_of(&c->conf, "keys.psk", true, error);
    g_autofree char *key = NULL;
    gnutls_datum_t datum;
    int ret;

    if (!path) {
        return false;
    }
    if (c->conf.role == TLS_SERVER) {
        if (c->username) {
            return error_set(error, "username should not be set when endpoint=server");
        }
        ret = gnutls_psk_allocate_server_credentials(&c->psk_server);
        if (ret == 0) {
            ret = gnutls_psk_set_server_credentials_file(c->psk_server, path);
        }
        if (ret == 0) {
            ret = gnutls_psk_set_server_known_dh_params(c->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
        }
        return ret == 0 || tls_failed(ret, error, "Cannot set the PSK server credentials");
    }
    key = psk_key(path, c->username ? c->username : PSK_USER, error);
    if (!key) {
        return false;
    }
    datum = (gnutls_datum_t){ (unsigned char *)key, (unsigned)strlen(key) };
    ret = gnutls_psk_allocate_client_credentials(&c->psk_client);
    if (ret == 0) {
        ret = gnutls_psk_set_client_credentials(c->psk_client,
                                                c->username ? c->username : PSK_USER, &datum,
                                                GNUTLS_PSK_KEY_HEX);
    }
    return ret == 0 || tls_failed(ret, error, "Cannot set the PSK client credentials");
}

static bool load_x509(Creds *c, GError **error)
{
    const TlsCredsConf *conf = &c->conf;
    bool server = conf->role == TLS_SERVER;
    const char *cert_name = server ? "server-cert.pem" : "client-cert.pem";
    const char *key_name = server ? "server-key.pem" : "client-key.pem";
    g_autofree char *ca = file_of(conf, "ca-cert.pem", true, error);
    g_autofree char *cert = ca ? file_of(conf, cert_name, server, error) : NULL;
    g_autofree char *key = NULL, *crl = NULL;
    int ret;

    if (!ca || (server && !cert)) {
        return false;
    }
    if (cert) {
        key = file_of(conf, key_name, true, error);
        if (!key) {
            return false;
        }
    }
    if (conf->sanity_check && !check_all(conf, ca, cert, error)) {
        return false;
    }
    ret = gnutls_certificate_allocate_credentials(&c->x509);
    if (ret == 0) {
        ret = gnutls_certificate_set_x509_trust_file(c->x509, ca, GNUTLS_X509_FMT_PEM);
    }
    if (ret < 0) {
        return error_set(error, "Cannot load CA certificate '%s': %s", ca, gnutls_strerror(ret));
    }
    if (cert) {
        ret = gnutls_certificate_set_x509_key_file2(c->x509, cert, key, GNUTLS_X509_FMT_PEM,
                                                    conf->password, 0);
        if (ret < 0) {
            return error_set(error, "Cannot load certificate '%s' & key '%s': %s", cert, key,
                             gnutls_strerror(ret));
        }
    }
    crl = file_of(conf, "ca-crl.pem", false, NULL);
    if (crl && (ret = gnutls_certificate_set_x509_crl_file(c->x509, crl,
                                                           GNUTLS_X509_FMT_PEM)) < 0) {
        return error_set(error, "Cannot load CRL '%s': %s", crl, gnutls_strerror(ret));
    }
    if (server) {
        gnutls_certificate_set_known_dh_params(c->x509, GNUTLS_SEC_PARAM_MEDIUM);
    }
    return true;
}

static void creds_free(void *opaque)
{
    Creds *c = opaque;

    g_clear_pointer(&c->anon_server, gnutls_anon_free_server_credentials);
    g_clear_pointer(&c->anon_client, gnutls_anon_free_client_credentials);
    g_clear_pointer(&c->psk_server, gnutls_psk_free_server_credentials);
    g_clear_pointer(&c->psk_client, gnutls_psk_free_client_credentials);
    g_clear_pointer(&c->x509, gnutls_certificate_free_credentials);
    g_free(c->priority);
    g_free(c->username);
    g_free(c);
}

/* GnuTLS prefers ChaCha20 to AES-128 whatever the processor, and pre-shared keys rule AES-256 out of
 * TLS 1.3 (their hash is SHA-256); where the processor has AES, that is five times as fast.  A server
 * decides, else the client's order would. */
static const char *default_priority(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul")
               ? "NORMAL:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:+AES-256-CCM:"
                 "+AES-256-CBC:+AES-128-CCM:+AES-128-CBC:%SERVER_PRECEDENCE"
               : "NORMAL";
}

static void *creds_new(const TlsCredsConf *conf, GError **error)
{
    static const char *const suffix[] = {
        [TLS_ANON] = ":+ANON-ECDH:+ANON-DH",
        [TLS_PSK] = ":+ECDHE-PSK:+DHE-PSK:+PSK",
        [TLS_X509] = "",
    };
    Creds *c = g_new0(Creds, 1);
    gnutls_priority_t test;
    bool ok;

    c->conf = *conf;
    c->username = g_strdup(conf->username);
    c->priority = g_strconcat(conf->priority ? conf->priority : default_priority(),
                              suffix[conf->kind], NULL);
    if (gnutls_priority_init(&test, c->priority, NULL) < 0) {
        error_set(error, "Unable to set TLS session priority '%s'", c->priority);
        creds_free(c);
        return NULL;
    }
    gnutls_priority_deinit(test);
    ok = conf->kind == TLS_ANON  ? load_anon(c, error)
         : conf->kind == TLS_PSK ? load_psk(c, error) : load_x509(c, error);
    c->conf.dir = c->conf.priority = c->conf.username = c->conf.password = NULL;
    if (!ok) {
        creds_free(c);
        return NULL;
    }
    return c;
}

/* ---- sessions ---- */

static void session_free(void *opaque)
{
    Session *s = opaque;

    if (s->established) {
        gnutls_bye(s->tls, GNUTLS_SHUT_WR);
    }
    gnutls_deinit(s->tls);
    g_free(s->hostname);
    g_free(s);
}

static int set_credentials(Session *s)
{
    Creds *c = s->creds;
    bool server = c->conf.role == TLS_SERVER;

    switch (c->conf.kind) {
    case TLS_ANON:
        return gnutls_credentials_set(s->tls, GNUTLS_CRD_ANON,
                                      server ? (void *)c->anon_server : (void *)c->anon_client);
    case TLS_PSK:
        return gnutls_credentials_set(s->tls, GNUTLS_CRD_PSK,
                                      server ? (void *)c->psk_server : (void *)c->psk_client);
    default:
        if (server) {
            gnutls_certificate_server_set_request(s->tls, c->conf.verify_peer
                                                              ? GNUTLS_CERT_REQUIRE
                                                              : GNUTLS_CERT_IGNORE);
        }
        return gnutls_credentials_set(s->tls, GNUTLS_CRD_CERTIFICATE, c->x509);
    }
}

static void *session_new(void *opaque, const char *hostname, int fd, GError **error)
{
    Creds *c = opaque;
    Session *s = g_new0(Session, 1);
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                     (c->conf.role == TLS_SERVER ? GNUTLS_SERVER : GNUTLS_CLIENT);
    int ret = gnutls_init(&s->tls, flags);

    s->creds = c;
    s->hostname = g_strdup(hostname);
    if (ret == 0) {
        ret = gnutls_priority_set_direct(s->tls, c->priority, NULL);
    }
    if (ret == 0) {
        ret = set_credentials(s);
    }
    if (ret < 0) {
        tls_failed(ret, error, "Cannot initialize the TLS session");
        session_free(s);
        return NULL;
    }
    if (hostname && c->conf.role == TLS_CLIENT && c->conf.kind == TLS_X509) {
        gnutls_server_name_set(s->tls, GNUTLS_NAME_DNS, hostname, strlen(hostname));
    }
    gnutls_transport_set_int(s->tls, fd);
    return s;
}

/* The peer's certificate: signed by our CA, in date, of the host we meant. */
static bool verify_peer(Session *s, GError **error)
{
    const TlsCredsConf *conf = &s->creds->conf;
    gnutls_datum_t text = { NULL, 0 };
    unsigned status = 0;
    int ret;

    if (conf->kind != TLS_X509 || !conf->verify_peer) {
        return true;
    }
    if (conf->role == TLS_CLIENT && !s->hostname) {
        return error_set(error, "No hostname for certificate validation; set tls-hostname");
    }
    ret = gnutls_certificate_verify_peers3(s->tls, conf->role == TLS_CLIENT ? s->hostname : NULL,
                                           &status);
    if (ret < 0) {
        return tls_failed(ret, error, "Verify failed");
    }
    if (status == 0) {
        return true;
    }
    gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
    error_set(error, "Certificate verification failed: %s", text.data ? (char *)text.data : "?");
    gnutls_free(text.data);
    return false;
}

static char *peer_name(void *opaque, GError **error)
{
    Session *s = opaque;
    unsigned count = 0;
    const gnutls_datum_t *certs = gnutls_certificate_get_peers(s->tls, &count);
    gnutls_x509_crt_t cert = NULL;
    char name[1024];
    size_t len = sizeof(name);
    int ret = certs && count ? gnutls_x509_crt_init(&cert) : GNUTLS_E_NO_CERTIFICATE_FOUND;

    if (ret >= 0) {
        ret = gnutls_x509_crt_import(cert, &certs[0], GNUTLS_X509_FMT_DER);
    }
    if (ret >= 0) {
        ret = gnutls_x509_crt_get_dn(cert, name, &len);
    }
    if (cert) {
        gnutls_x509_crt_deinit(cert);
    }
    if (ret < 0) {
        tls_failed(ret, error, "The peer's certificate has no name that can be read");
        return NULL;
    }
    return g_strndup(name, len);
}

static TlsStep handshake(void *opaque, GError **error)
{
    Session *s = opaque;
    int ret = gnutls_handshake(s->tls);

    if (ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED) {
        return gnutls_record_get_direction(s->tls) ? TLS_WANT_WRITE : TLS_WANT_READ;
    }
    if (ret < 0 && !gnutls_error_is_fatal(ret)) {
        return TLS_WANT_READ;              /* a warning alert: go on */
    }
    if (ret < 0) {
        tls_failed(ret, error, "TLS handshake failed");
        return TLS_FAILED;
    }
    if (!verify_peer(s, error)) {
        gnutls_alert_send(s->tls, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
        return TLS_FAILED;
    }
    s->established = true;
    return TLS_DONE;
}

static ssize_t as_errno(Session *s, ssize_t ret)
{
    if (ret >= 0) {
        return ret;
    }
    if (ret == GNUTLS_E_PREMATURE_TERMINATION) {
        s->established = false;
        errno = ECONNRESET;
    } else if (!gnutls_error_is_fatal((int)ret)) {
        errno = EAGAIN;                    /* includes rekeying and warnings */
    } else {
        s->established = false;
        errno = EIO;
    }
    return -1;
}

static ssize_t session_read(void *opaque, void *buf, size_t len)
{
    Session *s = opaque;

    return as_errno(s, gnutls_record_recv(s->tls, buf, len));
}

static ssize_t session_write(void *opaque, const void *buf, size_t len)
{
    Session *s = opaque;

    return as_errno(s, gnutls_record_send(s->tls, buf, len));
}

static const TlsModule module = {
    .creds_new = creds_new,
    .creds_free = creds_free,
    .session_new = session_new,
    .handshake = handshake,
    .peer_name = peer_name,
    .read = session_read,
    .write = session_write,
    .session_free = session_free,
};

extern const void *const rhea_module_entry;
const void *const rhea_module_entry = &module;
