/* SPDX-License-Identifier: MIT */
/*
 * The short forms of -serial, -parallel, -monitor and the like, turned into kind and keys.
 * [QEMU 7.2 manual, "-serial dev"]
 */
#include "base/error.h"
#include "chardev/kind.h"

#include <stdio.h>
#include <string.h>

/* "HOST:PORT", "[v6]:PORT", ":PORT"; the port may be followed by commas. */
static bool split_host_port(const char *text, char **host, char **port, GError **error)
{
    const char *colon;

    if (text[0] == '[') {
        const char *end = strchr(text, ']');

        if (!end || end[1] != ':') {
            return error_set(error, "'%s' is not [ADDRESS]:PORT", text);
        }
        *host = g_strndup(text + 1, end - text - 1);
        *port = g_strdup(end + 2);
    } else {
        colon = strrchr(text, ':');
        if (!colon) {
            return error_set(error, "'%s' is not [HOST]:PORT", text);
        }
        *host = g_strndup(text, colon - text);
        *port = g_strdup(colon + 1);
    }
    if (!**port) {
        g_clear_pointer(host, g_free);
        g_clear_pointer(port, g_free);
        return error_set(error, "'%s' lacks a port", text);
    }
    return true;
}

/* tcp:, telnet: and unix: share their flags, which come after the first comma. */
static KeyVal *parse_socket(const char *address, bool is_unix, bool telnet, GError **error)
{
    const char *comma = strchr(address, ',');
    g_autoptr(KeyVal) kv = keyval_parse(comma ? comma + 1 : "", NULL, KEYVAL_BARE_BOOL, error);
    g_autofree char *where = comma ? g_strndup(address, comma - address) : g_strdup(address);
    g_autofree char *host = NULL, *port = NULL;

    if (!kv) {
        return NULL;
    }
    if (is_unix) {
        keyval_append(kv, "path", where);
        return g_steal_pointer(&kv);
    }
    if (!split_host_port(where, &host, &port, error)) {
        return NULL;
    }
    if (*host) {
        keyval_append(kv, "host", host);
    }
    keyval_append(kv, "port", port);
    if (telnet) {
        keyval_append(kv, "telnet", "on");
    }
    return g_steal_pointer(&kv);
}

static KeyVal *parse_udp(const char *text, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_new();
    g_auto(GStrv) sides = g_strsplit(text, "@", 2);
    g_autofree char *host = NULL, *port = NULL, *local_host = NULL, *local_port = NULL;

    if (!sides[0] || !split_host_port(sides[0], &host, &port, error)) {
        return NULL;
    }
    keyval_append(kv, "host", host);
    keyval_append(kv, "port", port);
    if (sides[1]) {
        if (!split_host_port(sides[1], &local_host, &local_port, error)) {
            return NULL;
        }
        keyval_append(kv, "localaddr", local_host);
        keyval_append(kv, "localport", local_port);
    }
    return g_steal_pointer(&kv);
}

/* "vc", "vc:WIDTHxHEIGHT" in pixels, "vc:COLSCxROWSC". */
static KeyVal *parse_vc(const char *size, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_new();
    g_autofree char *width = NULL, *height = NULL;
    unsigned w, h;
    int used = 0;
    bool chars;

    if (!size) {
        return g_steal_pointer(&kv);
    }
    chars = sscanf(size, "%5uCx%5uC%n", &w, &h, &used) == 2 && used && !size[used];
    used = chars ? used : 0;
    if (!chars && (sscanf(size, "%5ux%5u%n", &w, &h, &used) != 2 || !used || size[used])) {
        error_set(error, "'vc:%s' is not vc:WIDTHxHEIGHT (pixels) or vc:COLSCxROWSC (characters)",
                  size);
        return NULL;
    }
    width = g_strdup_printf("%u", w);
    height = g_strdup_printf("%u", h);
    keyval_append(kv, chars ? "cols" : "width", width);
    keyval_append(kv, chars ? "rows" : "height", height);
    return g_steal_pointer(&kv);
}

/* Kind and keys of TEXT (without mon:); NULL with an error. */
static const char *parse_short(const char *text, bool mon, KeyVal **opts, GError **error)
{
    static const char *const bare[] = { "null", "pty", "stdio", "ringbuf", "memory", NULL };
    static const char *const forms[] = { "null", "pty", "stdio", "ringbuf", "file:", "pipe:",
                                         "unix:", "tcp:", "telnet:", "udp:", "chardev:", "mon:",
                                         "vc", "none", NULL };
    const char *colon = strchr(text, ':');
    const char *rest = colon ? colon + 1 : "";
    const char *close;
    size_t len = colon ? (size_t)(colon - text) : strcspn(text, ",");
    g_autofree char *word = g_strndup(text, len);
    g_autofree char *all = NULL;

    if (text[0] == '/') {
        *opts = keyval_new();
        keyval_append(*opts, "path", text);
        return "serial";
    }
    for (unsigned i = 0; bare[i]; i++) {
        if (strcmp(word, bare[i]) == 0 && !colon) {
            *opts = keyval_parse(text[len] == ',' ? text + len + 1 : "", NULL, KEYVAL_BARE_BOOL,
                                 error);
            if (*opts && mon && strcmp(word, "stdio") == 0 && !keyval_has(*opts, "signal")) {
                keyval_append(*opts, "signal", "off");
            }
            return *opts ? bare[i] : NULL;
        }
    }
    if (strcmp(word, "file") == 0 || strcmp(word, "pipe") == 0) {
        *opts = keyval_new();
        keyval_append(*opts, "path", rest);
        return word[0] == 'f' ? "file" : "pipe";
    }
    if (strcmp(word, "unix") == 0 || strcmp(word, "tcp") == 0 || strcmp(word, "telnet") == 0) {
        *opts = parse_socket(rest, word[0] == 'u', word[1] == 'e', error);
        return *opts ? "socket" : NULL;
    }
    if (strcmp(word, "udp") == 0) {
        *opts = parse_udp(rest, error);
        return *opts ? "udp" : NULL;
    }
    if (strcmp(word, "vc") == 0) {
        *opts = parse_vc(colon ? rest : NULL, error);
        return *opts ? "vc" : NULL;
    }
    close = suggest_closest(word, forms);
    all = g_strjoinv(", ", (char **)forms);
    error_set(error, "'%s' is no character device%s%s%s (known: %s, /dev/...)", text,
              close ? "; did you mean '" : "", close ? close : "", close ? "'?" : "", all);
    return NULL;
}

Chardev *chardev_new_legacy(const char *id, const char *text, bool *mon, GError **error)
{
    g_autoptr(KeyVal) opts = NULL;
    bool with_mon = g_str_has_prefix(text, "mon:");
    const char *kind;

    if (mon) {
        *mon = with_mon;
    }
    if (with_mon) {
        text += 4;
    }
    if (g_str_has_prefix(text, "chardev:")) {
        Chardev *chr = chardev_find(text + 8);

        if (!chr) {
            error_set(error, "Chardev '%s' not found (make one with -chardev KIND,id=%s)", text + 8,
                      text + 8);
        }
        return chr;
    }
    kind = parse_short(text, with_mon, &opts, error);
    if (!kind) {
        return NULL;
    }
    if (with_mon) {
        keyval_set(opts, "mux", "on");
    }
    return chardev_new(kind, id, opts, error);
}
