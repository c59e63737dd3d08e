/* SPDX-License-Identifier: MIT */
/* HMP: the commands, each a thin layer over QMP. */
#include "monitor/hmp.h"

#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/trace.h"
#include "chardev/chardev.h"
#include "ui/input.h"

#include <string.h>

Json *hmp_pick(const Json *args, const char *names)
{
    Json *out = json_new_dict();
    g_auto(GStrv) list = g_strsplit(names, ",", -1);

    for (unsigned i = 0; list[i]; i++) {
        char *to = strchr(list[i], '=');

        if (to) {
            *to++ = '\0';
        }
        if (json_has(args, list[i])) {
            json_set(out, to ? to : list[i], json_ref(json_lookup(args, list[i])));
        }
    }
    return out;
}

/* Rows that only forward. */
#define FORWARD(id, command, names)                                                          \
    static void cmd_##id(Monitor *mon, const Json *args)                                     \
    {                                                                                        \
        monitor_do(mon, command, hmp_pick(args, names));                                         \
    }
FORWARD(quit, "quit", "")
FORWARD(stop, "stop", "")
FORWARD(nmi, "inject-nmi", "")
FORWARD(cont, "cont", "")
FORWARD(system_reset, "system_reset", "")
FORWARD(system_powerdown, "system_powerdown", "")
FORWARD(system_wakeup, "system_wakeup", "")
FORWARD(eject, "eject", "force,device")
FORWARD(screendump, "screendump", "filename,format,device,head")
FORWARD(device_del, "device_del", "id")
FORWARD(object_del, "object-del", "id")
FORWARD(memsave, "memsave", "val,size,filename")
FORWARD(pmemsave, "pmemsave", "val,size,filename")
FORWARD(chardev_remove, "chardev-remove", "id")
FORWARD(chardev_send_break, "chardev-send-break", "id")
FORWARD(ringbuf_write, "ringbuf-write", "device,data")
FORWARD(watchdog_action, "watchdog-set-action", "action")
FORWARD(closefd, "closefd", "fdname")
FORWARD(getfd, "getfd", "fdname")

static void cmd_help(Monitor *mon, const Json *args)
{
    hmp_help(mon, hmp_commands, "", json_lookup_string(args, "name"));
}

static void cmd_cpu(Monitor *mon, const Json *args)
{
    if (!monitor_set_cpu(mon, (int)hmp_int(args, "index", 0))) {
        monitor_puts(mon, "invalid CPU index\n");
    }
}

/* One of "ctrl-alt-f1", "0x1c", '<' meaning less; NULL: there is no such key. */
static Json *key_value(const char *word)
{
    Json *key = json_new_dict();

    word = strcmp(word, "<") == 0 ? "less" : word;
    if (g_str_has_prefix(word, "0x")) {
        json_set(key, "type", json_new_string("number"));
        json_set(key, "data", json_new_int((int64_t)g_ascii_strtoull(word, NULL, 16)));
    } else if (input_key_from_name(word) == INPUT_KEYS) {
        json_unref(key);
        return NULL;
    } else {
        json_set(key, "type", json_new_string("qcode"));
        json_set(key, "data", json_new_string(word));
    }
    return key;
}

static void cmd_sendkey(Monitor *mon, const Json *args)
{
    g_auto(GStrv) words = g_strsplit(json_lookup_string(args, "keys"), "-", -1);
    Json *out = hmp_pick(args, "hold-time"), *keys = json_new_list();

    for (unsigned i = 0; words[i]; i++) {
        Json *key = *words[i] ? key_value(words[i]) : NULL;

        if (key) {
            json_append(keys, key);
        } else if (*words[i]) {
            monitor_printf(mon, "invalid parameter: %s\n", words[i]);
            json_unref(keys);
            json_unref(out);
            return;
        }
    }
    json_set(out, "keys", keys);
    monitor_do(mon, "send-key", out);
}

static Json *input_event(const char *type, const char *a, Json *va, const char *b, Json *vb)
{
    Json *event = json_new_dict(), *data = json_new_dict();

    json_set(event, "type", json_new_string(type));
    json_set(data, a, va);
    json_set(data, b, vb);
    json_set(event, "data", data);
    return event;
}

static void send_events(Monitor *mon, Json *events)
{
    Json *out = json_new_dict();

    json_set(out, "events", events);
    monitor_do(mon, "input-send-event", out);
}

static void cmd_mouse_move(Monitor *mon, const Json *args)
{
    Json *events = json_new_list();
    int64_t dz = hmp_int(args, "dz", 0);

    json_append(events, input_event("rel", "axis", json_new_string("x"), "value",
                                    json_new_int(hmp_int(args, "dx", 0))));
    json_append(events, input_event("rel", "axis", json_new_string("y"), "value",
                                    json_new_int(hmp_int(args, "dy", 0))));
    for (int down = 1; dz && down >= 0; down--) {
        json_append(events, input_event("btn", "button",
                                        json_new_string(dz > 0 ? "wheel-up" : "wheel-down"),
                                        "down", json_new_bool(down)));
    }
    send_events(mon, events);
}

static void cmd_mouse_button(Monitor *mon, const Json *args)
{
    static const char *const buttons[] = { "left", "right", "middle" };
    int64_t state = hmp_int(args, "state", 0);
    Json *events = json_new_list();

    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++) {
        json_append(events, input_event("btn", "button", json_new_string(buttons[i]), "down",
                                        json_new_bool(state >> i & 1)));
    }
    send_events(mon, events);
}

static void cmd_change(Monitor *mon, const Json *args)
{
    Json *out = json_new_dict();

    json_set(out, "device", json_ref(json_lookup(args, "device")));
    json_set(out, "filename", json_ref(json_lookup(args, "filename")));
    if (json_has(args, "format")) {
        json_set(out, "format", json_ref(json_lookup(args, "format")));
    }
    if (json_has(args, "read-only-mode")) {
        json_set(out, "read-only-mode", json_ref(json_lookup(args, "read-only-mode")));
    }
    if (hmp_flag(args, "force")) {
        json_set(out, "force", json_new_bool(true));
    }
    monitor_do(mon, "blockdev-change-medium", out);
}

/* "driver,a=b,c.d=e" as the JSON dict that QMP takes; all values are text. */
static Json *option_dict(Monitor *mon, const char *text, const char *implied)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    Json *dict = json_new_dict();

    for (unsigned i = 0; parts[i]; i++) {
        char *value = strchr(parts[i], '=');

        if (value) {
            *value++ = '\0';
            json_set(dict, parts[i], json_new_string(value));
        } else {
            json_set(dict, i == 0 ? implied : parts[i], json_new_string(i == 0 ? parts[i] : "on"));
        }
    }
    return dict;
}

static void cmd_device_add(Monitor *mon, const Json *args)
{
    monitor_do(mon, "device_add", option_dict(mon, json_lookup_string(args, "device"), "driver"));
}

static void cmd_object_add(Monitor *mon, const Json *args)
{
    monitor_do(mon, "object-add", option_dict(mon, json_lookup_string(args, "object"), "qom-type"));
}

static void cmd_ringbuf_read(Monitor *mon, const Json *args)
{
    g_autoptr(Json) text = monitor_qmp(mon, "ringbuf-read", hmp_pick(args, "device,size"));

    if (text) {
        monitor_printf(mon, "%s\n", json_get_string(text));
    }
}

static void cmd_log(Monitor *mon, const Json *args)
{
    g_autoptr(GError) error = NULL;

    if (!log_set_items(json_lookup_string(args, "items"), &error)) {
        monitor_printf(mon, "Error: %s\n", error->message);
    }
}

static void cmd_logfile(Monitor *mon, const Json *args)
{
    g_autoptr(GError) error = NULL;

    if (!log_set_file(json_lookup_string(args, "filename"), &error)) {
        monitor_printf(mon, "Error: %s\n", error->message);
    }
}

static void cmd_trace_event(Monitor *mon, const Json *args)
{
    if (!trace_set_pattern(json_lookup_string(args, "name"), hmp_flag(args, "option"))) {
        monitor_printf(mon, "unknown event name \"%s\"\n", json_lookup_string(args, "name"));
    }
}

static void cmd_qom_list(Monitor *mon, const Json *args)
{
    g_autoptr(Json) list = monitor_qmp(mon, "qom-list", hmp_pick(args, "path"));

    for (size_t i = 0; i < json_list_len(list); i++) {
        Json *row = json_list_at(list, i);

        monitor_printf(mon, "%s (%s)\n", json_lookup_string(row, "name"),
                       json_lookup_string(row, "type"));
    }
}

static void cmd_qom_get(Monitor *mon, const Json *args)
{
    g_autoptr(Json) value = monitor_qmp(mon, "qom-get", hmp_pick(args, "path,property"));

    if (value) {
        g_autofree char *text = json_to_pretty(value);

        monitor_printf(mon, "%s\n", text);
    }
}

/* A value is JSON where it parses as such, else a string. */
static void cmd_qom_set(Monitor *mon, const Json *args)
{
    const char *text = json_lookup_string(args, "value");
    Json *out = hmp_pick(args, "path,property");
    Json *value = json_parse(text, NULL);

    json_set(out, "value", value ? value : json_new_string(text));
    monitor_do(mon, "qom-set", out);
}

static void cmd_sum(Monitor *mon, const Json *args)
{
    uint64_t addr = (uint64_t)hmp_int(args, "start", 0), size = (uint64_t)hmp_int(args, "size", 0);
    uint16_t sum = 0;

    for (uint64_t i = 0; i < MIN(size, 1ull << 32); i++) {
        uint8_t byte = 0;

        address_space_read(&monitor_vm(mon)->memory, addr + i, &byte, 1);
        sum = (uint16_t)((sum >> 1 | sum << 15) + byte);
    }
    monitor_printf(mon, "%05d\n", sum);
}

/* As -chardev. */
static void cmd_chardev_add(Monitor *mon, const Json *args)
{
    g_autoptr(GError) error = NULL;

    if (!chardev_new_from_option(json_lookup_string(args, "args"), &error)) {
        monitor_printf(mon, "Error: %s\n", error->message);
    }
}

static void cmd_chardev_change(Monitor *mon, const Json *args)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(KeyVal) opts = keyval_parse(json_lookup_string(args, "args"), "backend",
                                          KEYVAL_BARE_BOOL, &error);
    const char *kind = opts ? keyval_get(opts, "backend") : NULL;

    if (opts && !kind) {
        monitor_puts(mon, "Error: the kind of the new chardev is missing, such as null or "
                          "file,path=...\n");
    } else if (!opts || !chardev_change(json_lookup_string(args, "id"), kind, opts, &error)) {
        monitor_printf(mon, "Error: %s\n", error->message);
    }
}

static void cmd_none(Monitor *mon, const Json *args)
{
}

/* clang-format off */
const HmpCommand hmp_commands[] = {
    { "help|?", "name:s?", "[cmd]", "show the help", cmd_help },
    { "info", "", "[subcommand]", "show various information about the system state", cmd_none, hmp_info_commands },
    { "quit|q", "", NULL, "quit the emulator", cmd_quit },
    { "stop|s", "", NULL, "stop emulation", cmd_stop },
    { "cont|c", "", NULL, "resume emulation", cmd_cont },
    { "system_reset", "", NULL, "reset the system", cmd_system_reset },
    { "nmi", "", NULL, "inject an NMI", cmd_nmi },
    { "system_powerdown", "", NULL, "send system power down event", cmd_system_powerdown },
    { "system_wakeup", "", NULL, "wakeup guest from suspend", cmd_system_wakeup },
    { "cpu", "index:i", "index", "set the default CPU", cmd_cpu },
    { "sendkey", "keys:s,hold-time:i?", "keys [hold_ms]", "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)", cmd_sendkey },
    { "mouse_move", "dx:i,dy:i,dz:i?", "dx dy [dz]", "send mouse move events", cmd_mouse_move },
    { "mouse_button", "state:i", "state", "change mouse button state (1=L, 2=R, 4=M)", cmd_mouse_button },
    { "eject", "force:-f,device:s", "[-f] device", "eject a removable medium (use -f to force it)", cmd_eject },
    { "change", "device:s,force:-f,filename:F,format:s?,read-only-mode:s?", "device [-f] filename [format [read-only-mode]]", "change a removable medium, optional format, use -f to force the operation", cmd_change },
    { "screendump", "filename:F,format:s?,device:s?,head:i?", "filename [format] [device [head]]", "save screen as a ppm or png image", cmd_screendump },
    { "device_add", "device:S", "driver[,prop=value][,...]", "add device, like -device on the command line", cmd_device_add },
    { "device_del", "id:s", "device", "remove device", cmd_device_del },
    { "object_add", "object:S", "[qom-type=]type,id=str[,prop=value][,...]", "create QOM object", cmd_object_add },
    { "object_del", "id:s", "id", "destroy QOM object", cmd_object_del },
    { "chardev-remove", "id:s", "id", "remove chardev", cmd_chardev_remove },
    { "chardev-send-break", "id:s", "id", "send a break on chardev", cmd_chardev_send_break },
    { "ringbuf_read", "device:s,size:i", "device size", "Read from a ring buffer character device", cmd_ringbuf_read },
    { "ringbuf_write", "device:s,data:s", "device data", "Write to a ring buffer character device", cmd_ringbuf_write },
    { "watchdog_action", "action:s", "[reset|shutdown|poweroff|pause|debug|none]", "change watchdog action", cmd_watchdog_action },
    { "chardev-add", "args:S", "args", "add chardev", cmd_chardev_add },
    { "chardev-change", "id:s,args:S", "id args", "change chardev", cmd_chardev_change },
    { "block_resize", "device:s,size:o", "device size", "resize a block image", hmp_block_resize },
    { "block_stream", "device:s,speed:o?,base:s?", "device [speed [base]]", "copy data from a backing file into a block device", hmp_block_stream },
    { "block_job_set_speed", "device:s,speed:o", "device speed", "set maximum speed for a background block operation", hmp_block_job_set_speed },
    { "block_job_cancel", "force:-f,device:s", "[-f] device", "stop an active background block operation (-f: at once, without waiting for the data to be in sync)", hmp_block_job_cancel },
    { "block_job_complete", "device:s", "device", "stop an active background block operation", hmp_block_job_complete },
    { "block_job_pause", "device:s", "device", "pause an active background block operation", hmp_block_job_pause },
    { "block_job_resume", "device:s", "device", "resume a paused background block operation", hmp_block_job_resume },
    { "block_set_io_throttle", "device:s,bps:i,bps_rd:i,bps_wr:i,iops:i,iops_rd:i,iops_wr:i", "device bps bps_rd bps_wr iops iops_rd iops_wr", "change I/O throttle limits for a block drive", hmp_block_set_io_throttle },
    { "drive_mirror", "reuse:-n,full:-f,device:s,target:F,format:s?", "[-n] [-f] device target [format]", "copy a device to a new image file, with what is written meanwhile (-n: the file exists; -f: all of it, also what a backing file has)", hmp_drive_mirror },
    { "drive_backup", "reuse:-n,full:-f,compress:-c,device:s,target:F,format:s?", "[-n] [-f] [-c] device target [format]", "copy a device as it is now to a new image file (-n: the file exists; -f: all of it, also what a backing file has; -c: compressed)", hmp_drive_backup },
    { "snapshot_blkdev", "reuse:-n,device:s,snapshot-file:F,format:s?", "[-n] device new-image-file [format]", "go on in a new image file on top of the device's (-n: the file exists); the default format is qcow2", hmp_snapshot_blkdev },
    { "snapshot_blkdev_internal", "device:s,name:s", "device name", "take an internal snapshot of device", hmp_snapshot_blkdev_internal },
    { "snapshot_delete_blkdev_internal", "device:s,name:s,id:s?", "device name [id]", "delete an internal snapshot of device", hmp_snapshot_delete_blkdev_internal },
    { "getfd", "fdname:s", "getfd name", "receive a file descriptor via SCM rights and assign it a name", cmd_getfd },
    { "closefd", "fdname:s", "closefd name", "close a file descriptor previously passed via SCM rights", cmd_closefd },
    { "nbd_server_start", "all:-a,writable:-w,uri:s", "[-a] [-w] host:port", "serve block devices on the given host and port", hmp_nbd_server_start },
    { "nbd_server_add", "writable:-w,device:s,name:s?", "[-w] device [name]", "export a block device via NBD", hmp_nbd_server_add },
    { "nbd_server_remove", "force:-f,name:s", "[-f] name", "remove an export previously exposed via NBD", hmp_nbd_server_remove },
    { "nbd_server_stop", "", NULL, "stop serving block devices using the NBD protocol", hmp_nbd_server_stop },
    { "log", "items:s", "item1[,...]", "activate logging of the specified items", cmd_log },
    { "logfile", "filename:F", "filename", "output logs to 'filename'", cmd_logfile },
    { "trace-event", "name:s,option:b", "name on|off", "changes status of a specific trace event", cmd_trace_event },
    { "qom-list", "path:s", "path", "list QOM properties", cmd_qom_list },
    { "qom-get", "path:s,property:s", "path property", "print QOM property", cmd_qom_get },
    { "qom-set", "path:s,property:s,value:S", "path property value", "set QOM property", cmd_qom_set },
    { "x", "fmt:/,addr:i", "/fmt addr", "virtual memory dump starting at 'addr'", hmp_x },
    { "xp", "fmt:/,addr:i", "/fmt addr", "physical memory dump starting at 'addr'", hmp_xp },
    { "print|p", "fmt:/,value:i", "/fmt expr", "print expression value (use $pc for the program counter)", hmp_print },
    { "i", "fmt:/,addr:i", "/fmt addr", "I/O port read", hmp_port_read },
    { "o", "fmt:/,addr:i,val:i", "/fmt addr value", "I/O port write", hmp_port_write },
    { "gva2gpa", "addr:i", "addr", "print the guest physical address corresponding to a guest virtual address", hmp_gva2gpa },
    { "gpa2hva", "addr:i", "addr", "print the host virtual address corresponding to a guest physical address", hmp_gpa2hva },
    { "sum", "start:i,size:i", "addr size", "compute the checksum of a memory region", cmd_sum },
    { "memsave", "val:i,size:i,filename:F", "addr size file", "save to disk virtual memory dump starting at 'addr' of size 'size'", cmd_memsave },
    { "pmemsave", "val:i,size:i,filename:F", "addr size file", "save to disk physical memory dump starting at 'addr' of size 'size'", cmd_pmemsave },
    { NULL }
};
/* clang-format on */
