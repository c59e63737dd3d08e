/* SPDX-License-Identifier: MIT */
/*
 * TLS over sockets: credentials by name, sessions on a descriptor.  [docs: system/tls of QEMU]
 *
 * Credentials are what -object tls-creds-anon, tls-creds-psk and tls-creds-x509 make:
 *
 *     tls-creds-x509,id=tls0,endpoint=server,dir=/etc/pki,verify-peer=off
 *
 * Whoever speaks TLS (NBD, later VNC and migration) finds them by id and makes a session:
 *
 *     TlsCreds *creds = tls_creds_find("tls0", TLS_SERVER, error);
 *     TlsSession *tls = tls_session_new(creds, NULL, fd, error);
 *     switch (tls_handshake(tls, error)) { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_FAILED }
 *     n = tls_read(tls, buf, len);               // as recv(): -1 with EAGAIN, 0 at the end
 *
 * The library (GnuTLS) is a module, loaded when the first credentials are made.
 *
 * Threads: credentials on the main loop, but for ref and unref; a session belongs to the loop
 * that uses it; one reader and one writer may be under way at a time.
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef enum TlsRole { TLS_CLIENT, TLS_SERVER } TlsRole;
typedef enum TlsStep { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_FAILED } TlsStep;

typedef struct TlsCreds TlsCreds;
typedef struct TlsSession TlsSession;

/* ---- credentials ---- */

/* What the properties say. */
typedef struct TlsCredsConf {
    enum { TLS_ANON, TLS_PSK, TLS_X509 } kind;
    TlsRole role;
    bool verify_peer, sanity_check;
    const char *dir, *priority;       /* may be NULL */
    const char *username;             /* psk, client; NULL: "qemu" */
    const char *password;             /* of the x509 key; NULL: it has none */
} TlsCredsConf;

/* The new credentials are found by ID until tls_creds_remove(), and belong to the caller too. */
TlsCreds *tls_creds_new(const char *id, const TlsCredsConf *conf, GError **error);
void tls_creds_remove(TlsCreds *creds);
/* The other end has to show a certificate. */
bool tls_creds_verify_peer(const TlsCreds *creds);
/* Fails when they are for the other end; ROLE is what the caller is. */
TlsCreds *tls_creds_find(const char *id, TlsRole role, GError **error);
TlsCreds *tls_creds_ref(TlsCreds *creds);
void tls_creds_unref(TlsCreds *creds);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TlsCreds, tls_creds_unref)

/* ---- sessions ---- */

/* HOSTNAME: the name that a client expects in the server's certificate; NULL: any (no x509). */
TlsSession *tls_session_new(TlsCreds *creds, const char *hostname, int fd, GError **error);
/* To be called again, once the descriptor is ready, until it is done or has failed. */
TlsStep tls_handshake(TlsSession *tls, GError **error);
/* The distinguished name in the certificate of the other end, which has been verified; NULL with an error. */
char *tls_peer_name(TlsSession *tls, GError **error);
ssize_t tls_read(TlsSession *tls, void *buf, size_t len);
ssize_t tls_write(TlsSession *tls, const void *buf, size_t len);
/* Says good-bye (does not wait) and frees; the descriptor stays open. */
void tls_session_free(TlsSession *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TlsSession, tls_session_free)

/* ---- the module ---- */

typedef struct TlsModule {
    void *(*creds_new)(const TlsCredsConf *conf, GError **error);
    void (*creds_free)(void *creds);
    void *(*session_new)(void *creds, const char *hostname, int fd, GError **error);
    TlsStep (*handshake)(void *session, GError **error);
    char *(*peer_name)(void *session, GError **error);
    ssize_t (*read)(void *session, void *buf, size_t len);
    ssize_t (*write)(void *session, const void *buf, size_t len);
    void (*session_free)(void *session);
} TlsModule;

#endif
