/* SPDX-License-Identifier: MIT */
/* HMP: the NBD server. */
#include "monitor/hmp.h"

#include "base/error.h"
#include "block/nbd_server.h"

#include <string.h>

/* "host:port", "[v6]:port" or "unix:path" as a SocketAddressLegacy; NULL when it is none. */
static Json *address(const char *text)
{
    Json *addr, *data;
    const char *colon = strrchr(text, ':');
    g_autofree char *host = NULL;
    bool is_unix = g_str_has_prefix(text, "unix:");

    if (!colon || !colon[1]) {
        return NULL;
    }
    addr = json_new_dict();
    data = json_new_dict();
    if (is_unix) {
        json_set(data, "path", json_new_string(text + strlen("unix:")));
    } else {
        host = text[0] == '[' && colon > text + 1 && colon[-1] == ']'
                   ? g_strndup(text + 1, (size_t)(colon - text) - 2)
                   : g_strndup(text, (size_t)(colon - text));
        json_set(data, "host", json_new_string(host));
        json_set(data, "port", json_new_string(colon + 1));
    }
    json_set(addr, "type", json_new_string(is_unix ? "unix" : "inet"));
    json_set(addr, "data", data);
    return addr;
}

static bool add(Monitor *mon, const char *device, const char *name, bool writable)
{
    Json *args = json_new_dict();
    g_autoptr(Json) ret = NULL;

    json_set(args, "device", json_new_string(device));
    json_set(args, "writable", json_new_bool(writable));
    if (name) {
        json_set(args, "name", json_new_string(name));
    }
    ret = monitor_qmp(mon, "nbd-server-add", args);
    return ret != NULL;
}

void hmp_nbd_server_start(Monitor *mon, const Json *args)
{
    bool all = hmp_flag(args, "all"), writable = hmp_flag(args, "writable");
    Json *addr = address(json_lookup_string(args, "uri")), *start;
    g_autoptr(Json) ret = NULL;

    if (!addr) {
        monitor_puts(mon, "Error: expected host:port or unix:path\n");
        return;
    }
    if (writable && !all) {
        json_unref(addr);
        monitor_puts(mon, "Error: -w only valid together with -a\n");
        return;
    }
    start = json_new_dict();
    json_set(start, "addr", addr);
    ret = monitor_qmp(mon, "nbd-server-start", start);
    if (!ret || !all) {
        return;
    }
    for (BlockBackend *blk = blk_next(NULL); blk; blk = blk_next(blk)) {
        if (*blk_name(blk) && blk_has_medium(blk) &&
            !add(mon, blk_name(blk), NULL, writable)) {
            monitor_do(mon, "nbd-server-stop", NULL);
            return;
        }
    }
}

void hmp_nbd_server_add(Monitor *mon, const Json *args)
{
    add(mon, json_lookup_string(args, "device"), json_lookup_string(args, "name"),
        hmp_flag(args, "writable"));
}

void hmp_nbd_server_remove(Monitor *mon, const Json *args)
{
    Json *remove = json_new_dict();

    json_set(remove, "name", json_new_string(json_lookup_string(args, "name")));
    if (hmp_flag(args, "force")) {
        json_set(remove, "mode", json_new_string("hard"));
    }
    monitor_do(mon, "nbd-server-remove", remove);
}

void hmp_nbd_server_stop(Monitor *mon, const Json *args)
{
    monitor_do(mon, "nbd-server-stop", NULL);
}
