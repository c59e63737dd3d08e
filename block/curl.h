/* SPDX-License-Identifier: MIT */
/*
 * What the node types http, https, ftp and ftps (block/curl_node.c) and the module that has libcurl
 * (block/curl.c, "block-curl") agree on.
 *
 * All calls may block and are made in worker threads; several reads may be under way at a time.
 * The module fails with a text for the user, which the caller frees.
 */
#ifndef BLOCK_CURL_H
#define BLOCK_CURL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURL_PARALLEL 8                /* reads at a time that are worth a connection */

typedef struct CurlConf {
    const char *url;
    const char *cookie, *username, *password, *proxy_username, *proxy_password;   /* or NULL */
    bool verify;
    long timeout_s;                    /* of one request; 0: none */
} CurlConf;

typedef struct CurlModule {
    /* Finds out the size, and that parts can be asked for. */
    void *(*open)(const CurlConf *conf, uint64_t *size, char **error);
    /* Exactly LEN bytes at OFFSET. */
    bool (*read)(void *file, uint64_t offset, void *buf, size_t len, char **error);
    void (*close)(void *file);
} CurlModule;

#endif
