/* SPDX-License-Identifier: MIT */
/*
 * Files on web and FTP servers by libcurl: the module block-curl.
 *
 * The size comes from the answer to a request for the first byte, which also shows that the server
 * gives out parts; one that sends the whole file instead is refused at its first byte.  Each answer
 * must be for the range that was asked for, of a file that still has its size.  [RFC 9110 14]
 *
 * Locking: a mutex around the pool of connections; a connection belongs to one request.
 */
#include "block/curl.h"

#include <curl/curl.h>
#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define REDIRECTS_MAX 10L

typedef struct CurlFile {
    char *url, *cookie, *username, *password, *proxy_username, *proxy_password;
    bool verify, is_ftp;
    long timeout_s;
    uint64_t size;
    pthread_mutex_t lock;
    CURL *idle[CURL_PARALLEL];
    unsigned idle_count;
} CurlFile;

/* One request. */
typedef struct Transfer {
    CURL *curl;
    char *buf;
    size_t len, got;
    bool is_ftp, overflow;
    bool only_size;                    /* FTP: what libcurl makes up of the size is no data */
    uint64_t first, total;             /* of Content-Range */
    bool has_range, has_total;
    char message[CURL_ERROR_SIZE];
} Transfer;

static size_t on_body(char *data, size_t size, size_t count, void *opaque)
{
    Transfer *t = opaque;
    size_t len = size * count;
    long code = 0;

    if (t->only_size) {
        return len;
    }
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    if (len > t->len - t->got || (!t->is_ftp && code == 200)) {
        t->overflow = true;
        return 0;                      /* ends the transfer */
    }
    memcpy(t->buf + t->got, data, len);
    t->got += len;
    return len;
}

/* "Content-Range: bytes 0-0/1234"; a new status line begins a new answer. */
static size_t on_header(char *data, size_t size, size_t count, void *opaque)
{
    static const char name[] = "content-range:";
    Transfer *t = opaque;
    size_t len = size * count;
    g_autofree char *line = g_strndup(data, len);
    const char *p;
    char *end;

    if (g_str_has_prefix(line, "HTTP/")) {
        t->has_range = t->has_total = false;
    }
    if (g_ascii_strncasecmp(line, name, sizeof(name) - 1) != 0) {
        return len;
    }
    p = g_strchug(line + sizeof(name) - 1);
    if (g_ascii_strncasecmp(p, "bytes", 5) != 0) {
        return len;
    }
    p += 5 + strspn(p + 5, " =");
    if (g_ascii_isdigit(*p)) {
        t->first = g_ascii_strtoull(p, &end, 10);
        t->has_range = true;
    }
    p = strchr(p, '/');
    if (p && g_ascii_isdigit(p[1])) {
        t->total = g_ascii_strtoull(p + 1, &end, 10);
        t->has_total = true;
    }
    return len;
}

static CURL *connection_new(const CurlFile *f)
{
    CURL *c = curl_easy_init();

    if (!c) {
        return NULL;
    }
    curl_easy_setopt(c, CURLOPT_URL, f->url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https,ftp,ftps");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https,ftp,ftps");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, f->timeout_s);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, f->verify ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, f->verify ? 2L : 0L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_COOKIE, f->cookie);
    curl_easy_setopt(c, CURLOPT_USERNAME, f->username);
    curl_easy_setopt(c, CURLOPT_PASSWORD, f->password);
    curl_easy_setopt(c, CURLOPT_PROXYUSERNAME, f->proxy_username);
    curl_easy_setopt(c, CURLOPT_PROXYPASSWORD, f->proxy_password);
    return c;
}

static CURL *connection_take(CurlFile *f)
{
    CURL *c = NULL;

    pthread_mutex_lock(&f->lock);
    if (f->idle_count) {
        c = f->idle[--f->idle_count];
    }
    pthread_mutex_unlock(&f->lock);
    return c ? c : connection_new(f);
}

static void connection_give(CurlFile *f, CURL *c)
{
    pthread_mutex_lock(&f->lock);
    if (f->idle_count < CURL_PARALLEL) {
        f->idle[f->idle_count++] = c;
        c = NULL;
    }
    pthread_mutex_unlock(&f->lock);
    curl_easy_cleanup(c);
}

/* Performs T on a connection of F. */
static CURLcode transfer(CurlFile *f, Transfer *t, const char *range, bool no_body, long *code)
{
    CURLcode result;

    t->is_ftp = f->is_ftp;
    t->only_size = no_body;
    t->curl = connection_take(f);
    if (!t->curl) {
        return CURLE_OUT_OF_MEMORY;
    }
    curl_easy_setopt(t->curl, CURLOPT_NOBODY, no_body ? 1L : 0L);
    curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->message);
    result = curl_easy_perform(t->curl);
    *code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, code);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, NULL);
    return result;
}

static char *failure(const Transfer *t, CURLcode result)
{
    return g_strdup(t->message[0] ? t->message : curl_easy_strerror(result));
}

/* ---- the module's calls ---- */

static bool file_read(void *opaque, uint64_t offset, void *buf, size_t len, char **error)
{
    CurlFile *f = opaque;
    Transfer t = { .buf = buf, .len = len };
    g_autofree char *range = g_strdup_printf("%" PRIu64 "-%" PRIu64, offset, offset + len - 1);
    CURLcode result;
    long code;

    result = transfer(f, &t, range, false, &code);
    if (t.curl) {
        connection_give(f, t.curl);
    }
    if (t.overflow) {
        *error = g_strdup("the server sends more than the range that was asked for");
    } else if (result != CURLE_OK) {
        *error = failure(&t, result);
    } else if (t.got != len) {
        *error = g_strdup_printf("the server sent %zu bytes instead of %zu", t.got, len);
    } else if (!f->is_ftp && (code != 206 || !t.has_range || t.first != offset ||
                              (t.has_total && t.total != f->size))) {
        *error = g_strdup("the server answers with another range, or the file has changed");
    }
    return !*error;
}

static bool find_size_ftp(CurlFile *f, Transfer *t, char **error)
{
    curl_off_t length = -1;
    long code;
    CURLcode result = transfer(f, t, NULL, true, &code);

    if (result == CURLE_OK) {
        curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    }
    if (result != CURLE_OK || length < 0) {
        *error = result == CURLE_OK ? g_strdup("the server does not tell the size of the file")
                                    : failure(t, result);
        return false;
    }
    f->size = (uint64_t)length;
    return true;
}

static bool find_size_http(CurlFile *f, Transfer *t, char **error)
{
    long code;
    CURLcode result = transfer(f, t, "0-0", false, &code);

    if (code == 416 && t->has_total && t->total == 0) {
        return true;                   /* an empty file has no first byte */
    }
    if (code == 200 && (result == CURLE_OK || t->overflow)) {
        *error = g_strdup("Server does not support 'range' (byte ranges).");
    } else if (result != CURLE_OK) {
        *error = failure(t, result);
    } else if (code != 206 || !t->has_total || t->first != 0 || t->total > INT64_MAX) {
        *error = g_strdup("the server does not tell the size of the file");
    }
    f->size = t->total;
    return !*error;
}

static void file_close(void *opaque)
{
    CurlFile *f = opaque;

    while (f->idle_count) {
        curl_easy_cleanup(f->idle[--f->idle_count]);
    }
    pthread_mutex_destroy(&f->lock);
    g_free(f->url);
    g_free(f->cookie);
    g_free(f->username);
    g_free(f->password);
    g_free(f->proxy_username);
    g_free(f->proxy_password);
    g_free(f);
}

static void start_library(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void *file_open(const CurlConf *conf, uint64_t *size, char **error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CurlFile *f = g_new0(CurlFile, 1);
    char first;
    Transfer t = { .buf = &first, .len = 1 };
    bool ok;

    pthread_once(&once, start_library);
    pthread_mutex_init(&f->lock, NULL);
    f->url = g_strdup(conf->url);
    f->cookie = g_strdup(conf->cookie);
    f->username = g_strdup(conf->username);
    f->password = g_strdup(conf->password);
    f->proxy_username = g_strdup(conf->proxy_username);
    f->proxy_password = g_strdup(conf->proxy_password);
    f->verify = conf->verify;
    f->timeout_s = conf->timeout_s;
    f->is_ftp = g_str_has_prefix(conf->url, "ftp");
    ok = f->is_ftp ? find_size_ftp(f, &t, error) : find_size_http(f, &t, error);
    if (t.curl) {
        connection_give(f, t.curl);
    }
    if (!ok) {
        file_close(f);
        return NULL;
    }
    *size = f->size;
    return f;
}

static const CurlModule module = { .open = file_open, .read = file_read, .close = file_close };

extern const void *const rhea_module_entry;
const void *const rhea_module_entry = &module;
