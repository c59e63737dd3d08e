/* SPDX-License-Identifier: MIT */
/* QMP: character devices. */
#include "base/error.h"
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
        bytes = g_base64_decode(args->data, &len);
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
