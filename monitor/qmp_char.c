/* SPDX-License-Identifier: MIT */
/* QMP: character devices. */
#include "base/error.h"
#include "base/parse.h"
#include "base/socket.h"
#include "chardev/chardev.h"
#include "qapi/qapi_commands.h"

#include <string.h>

static void describe(Chardev *chr, void *opaque)
{
    Json *row = json_new_dict();

    json_set(row, "frontend-open", json_new_bool(chardev_frontend_open(chr)));
    json_set(row, "filename", json_new_string(chardev_filename(chr)));
    json_set(row, "label", json_new_string(chardev_id(chr)));
    json_append(opaque, row);
}

bool qmp_query_chardev(QmpCall *call, Json **ret, GError **error)
{
    *ret = json_new_list();
    chardev_foreach(describe, *ret);
    return true;
}

bool qmp_query_chardev_backends(QmpCall *call, GPtrArray **ret, GError **error)
{
    g_autofree char *help = chardev_help();
    g_auto(GStrv) lines = g_strsplit(help, "\n", -1);

    /* A kind's line begins with two blanks and its name; deeper ones go on with the line before. */
    *ret = qapi_list_new(&qapi_type_QapiChardevBackendInfo);
    for (unsigned i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], "  ") && lines[i][2] != ' ') {
            QapiChardevBackendInfo *row = g_new0(QapiChardevBackendInfo, 1);

            row->name = g_strndup(lines[i] + 2, strcspn(lines[i] + 2, " "));
            g_ptr_array_add(*ret, row);
        }
    }
    return true;
}

/* ---- adding and changing ---- */

/* Where the schema's names are not those of -chardev. */
static const char *option_name(const char *kind, const char *key, bool local)
{
    static const struct {
        const char *kind, *schema, *option;
    } names[] = {
        { "file", "in", "input-path" },
        { "file", "out", "path" },
        { NULL, "device", "path" },
        { "udp", "host", "localaddr" },
        { "udp", "port", "localport" },
        { "socket", "str", "fd" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        bool renamed = !names[i].kind || strcmp(names[i].kind, kind) == 0;

        if (renamed && strcmp(names[i].schema, key) == 0 &&
            (local || !g_str_has_prefix(names[i].option, "local"))) {
            return names[i].option;
        }
    }
    return key;
}

typedef struct Flattening {
    KeyVal *opts;
    const char *kind;
    bool local;                  /* within "local" */
} Flattening;

/* {"addr": {"type": "unix", "data": {"path": "x"}}, "server": true} -> path=x,server=on */
static bool flatten(const char *key, Json *value, void *opaque)
{
    Flattening f = *(Flattening *)opaque;
    g_autofree char *number = NULL;
    const char *text = json_get_string(value);
    bool on = false;

    if (json_is(value, JSON_DICT)) {
        f.local = f.local || strcmp(key, "local") == 0;
        return json_dict_foreach(value, flatten, &f);
    }
    if (strcmp(key, "type") == 0) {
        return true;             /* of an address: its members tell */
    }
    if (json_get_bool(value, &on)) {
        text = on ? "on" : "off";
    } else if (!text) {
        text = number = json_to_string(value);
    }
    keyval_set(f.opts, option_name(f.kind, key, f.local), text);
    return true;
}

/* A socket's "fd" is a number, or a name that getfd gave. */
static bool resolve_fd(KeyVal *opts, GError **error)
{
    const char *name = keyval_has(opts, "fd") ? keyval_get(opts, "fd") : NULL;
    g_autofree char *number = NULL;
    int fd;

    if (!name || g_ascii_isdigit(*name)) {
        return true;
    }
    fd = socket_fd_by_name(name, error);
    if (fd < 0) {
        return false;
    }
    number = g_strdup_printf("%d", fd);
    keyval_set(opts, "fd", number);
    return true;
}

static KeyVal *options_of(const Json *args, const char **kind, GError **error)
{
    Json *backend = json_lookup(args, "backend");
    KeyVal *opts = keyval_new();
    Flattening f = { opts, json_lookup_string(backend, "type"), false };

    *kind = f.kind;
    if (strcmp(f.kind, "socket") == 0) {
        keyval_set(opts, "server", "on");        /* the schema's defaults, not -chardev's */
        keyval_set(opts, "wait", "off");
    }
    json_dict_foreach(json_lookup(backend, "data"), flatten, &f);
    if (!resolve_fd(opts, error)) {
        keyval_free(opts);
        return NULL;
    }
    return opts;
}

static QapiChardevReturn *made(const Chardev *chr)
{
    QapiChardevReturn *ret = g_new0(QapiChardevReturn, 1);

    if (strcmp(chardev_kind(chr), "pty") == 0) {
        ret->pty = g_strdup(chardev_filename(chr) + strlen("pty:"));
    }
    return ret;
}

bool qmp_chardev_add(QmpCall *call, const Json *args, QapiChardevReturn **ret, GError **error)
{
    const char *kind;
    g_autoptr(KeyVal) opts = options_of(args, &kind, error);
    Chardev *chr = opts ? chardev_new(kind, json_lookup_string(args, "id"), opts, error) : NULL;

    *ret = chr ? made(chr) : NULL;
    return chr != NULL;
}

bool qmp_chardev_change(QmpCall *call, const Json *args, QapiChardevReturn **ret, GError **error)
{
    const char *kind;
    g_autoptr(KeyVal) opts = options_of(args, &kind, error);
    Chardev *chr = opts ? chardev_change(json_lookup_string(args, "id"), kind, opts, error) : NULL;

    *ret = chr ? made(chr) : NULL;
    return chr != NULL;
}

bool qmp_chardev_remove(QmpCall *call, const QmpChardevRemoveArgs *args, GError **error)
{
    return chardev_remove(args->id, error);
}

static Chardev *find(const char *id, GError **error)
{
    Chardev *chr = chardev_find(id);

    if (!chr) {
        error_set(error, "Chardev '%s' not found", id);
    }
    return chr;
}

bool qmp_chardev_send_break(QmpCall *call, const QmpChardevSendBreakArgs *args, GError **error)
{
    Chardev *chr = find(args->id, error);

    if (chr) {
        chardev_send_break(chr);
    }
    return chr != NULL;
}

bool qmp_ringbuf_write(QmpCall *call, const QmpRingbufWriteArgs *args, GError **error)
{
    Chardev *chr = find(args->device, error);
    g_autofree uint8_t *bytes = NULL;
    size_t len = strlen(args->data);

    if (!chr) {
        return false;
    }
    if (args->has_format && args->format == QAPI_DATA_FORMAT_BASE64) {
        bytes = parse_base64(args->data, len, &len);
        if (!bytes) {
            return error_set(error, "Parameter 'data' is not valid base64");
        }
        return chardev_ringbuf_write(chr, bytes, len, error);
    }
    return chardev_ringbuf_write(chr, args->data, len, error);
}

bool qmp_ringbuf_read(QmpCall *call, const QmpRingbufReadArgs *args, char **ret, GError **error)
{
    Chardev *chr = find(args->device, error);
    g_autoptr(GByteArray) data = NULL;

    if (!chr) {
        return false;
    }
    if (args->size <= 0) {
        return error_set(error, "size must be greater than zero");
    }
    data = chardev_ringbuf_read(chr, (size_t)args->size, error);
    if (!data) {
        return false;
    }
    *ret = args->has_format && args->format == QAPI_DATA_FORMAT_BASE64
               ? g_base64_encode(data->data, data->len)
               : g_utf8_make_valid((const char *)data->data, (gssize)data->len);
    return true;
}
