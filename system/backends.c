/* SPDX-License-Identifier: MIT */
/*
 * What connects the machine to the host.
 *
 * -serial, -parallel, -monitor, -qmp take short forms of character devices; their back ends are
 * named as QEMU names them: serial0, parallel0, compat_monitor0.  "mon:" in front of one shares it
 * with a monitor.
 */
#include "system/backends.h"

#include "accel/qtest/qtest.h"
#include "base/error.h"
#include "base/fdset.h"
#include "base/log.h"
#include "base/parse.h"
#include "block/drive.h"
#include "block/export.h"
#include "block/job.h"
#include "block/nbd_client.h"
#include "block/nbd_server.h"
#include "chardev/chardev.h"
#include "monitor/create.h"
#include "ui/vc.h"
#include "vm/iothread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- character devices ---- */

bool opt_chardev(System *sys, const char *arg, GError **error)
{
    if (strcmp(arg, "help") == 0) {
        g_autofree char *help = chardev_help();

        printf("%s", help);
        exit(0);
    }
    return chardev_new_from_option(arg, error) != NULL;
}

/* Makes the back end; one with "mon:" is noted for connect_monitors(). */
static bool make_chardev(System *sys, const char *id, const char *spec, GError **error)
{
    bool mon = false;

    if (strcmp(spec, "none") == 0) {
        return true;
    }
    if (sys->daemonize && (strcmp(spec, "stdio") == 0 || strcmp(spec, "mon:stdio") == 0)) {
        return error_set(error, "cannot use stdio with -daemonize");
    }
    if (!chardev_new_legacy(id, spec, &mon, error)) {
        return false;
    }
    if (mon) {
        g_ptr_array_add(sys->shared_monitors, g_strdup(id));
    }
    return true;
}

static bool make_all(System *sys, GPtrArray *specs, const char *prefix, const char *option,
                     GError **error)
{
    for (unsigned i = 0; i < specs->len; i++) {
        g_autofree char *id = g_strdup_printf("%s%u", prefix, i);

        if (!make_chardev(sys, id, specs->pdata[i], error)) {
            g_prefix_error(error, "-%s %s: ", option, (char *)specs->pdata[i]);
            return false;
        }
    }
    return true;
}

/* Ctrl-A x on a shared terminal. */
static void quit_from_terminal(void *opaque)
{
    vm_request_shutdown(((System *)opaque)->vm, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
}

static const CharMuxActions mux_actions = { .quit = quit_from_terminal };

static const char *display_name(const System *sys)
{
    return sys->display ? sys->display : display_is_available() ? "sdl" : "none";
}

static bool any_shares_a_monitor(const GPtrArray *specs)
{
    for (unsigned i = 0; i < specs->len; i++) {
        if (g_str_has_prefix(specs->pdata[i], "mon:")) {
            return true;
        }
    }
    return false;
}

/* A window has terminals for the monitor (Ctrl-Alt-2) and the serial port (Ctrl-Alt-3). */
bool create_default_chardevs(System *sys, GError **error)
{
    bool serial = sys->default_serial && !sys->serials->len;
    bool monitor = sys->default_monitor && !sys->monitors->len &&
                   !any_shares_a_monitor(sys->serials) && !any_shares_a_monitor(sys->parallels);
    bool parallel = sys->default_parallel && !sys->parallels->len;
    bool window;

    chardev_set_mux_actions(&mux_actions, sys);
    window = strcmp(display_name(sys), "none") != 0 && vc_is_available(NULL);
    sys->serial_is_default = serial;
    sys->parallel_is_default = parallel;
    sys->ports_are_default = serial && (parallel || !sys->parallels->len);
    if (sys->nographic && serial) {
        g_ptr_array_add(sys->serials, g_strdup(monitor ? "mon:stdio" : "stdio"));
    } else if (sys->nographic && monitor) {
        g_ptr_array_add(sys->monitors, g_strdup("stdio"));
    } else {
        if (window && monitor) {
            /* Now, so that it comes before the others in the window. */
            if (!make_chardev(sys, "compat_monitor0", "vc", error)) {
                return false;
            }
            g_ptr_array_add(sys->monitors, g_strdup("chardev:compat_monitor0"));
        }
        if (serial) {
            g_ptr_array_add(sys->serials, g_strdup(window ? "vc" : "null"));
        }
    }
    if (parallel) {
        /* Behind the monitor, whose place is Ctrl-Alt-2: one that is asked for comes later. */
        g_ptr_array_add(sys->parallels, g_strdup(window && monitor && !sys->nographic ? "vc" : "null"));
    }
    return make_all(sys, sys->serials, "serial", "serial", error) &&
           make_all(sys, sys->parallels, "parallel", "parallel", error);
}

bool opt_echr(System *sys, const char *arg, GError **error)
{
    uint64_t code;

    if (!parse_uint("escape character", arg, 1, 255, &code, error)) {
        return false;
    }
    chardev_set_escape((uint8_t)code);
    return true;
}

/* ---- monitors ---- */

/* -monitor, -qmp, -qmp-pretty share one numbering. */
static bool add_monitor(System *sys, const char *spec, bool control, bool pretty, GError **error)
{
    g_autofree char *id = g_strdup_printf("compat_monitor%u", sys->monitor_count++);

    if (strcmp(spec, "none") == 0) {
        return true;
    }
    if (g_str_has_prefix(spec, "chardev:")) {
        g_free(id);
        id = g_strdup(spec + strlen("chardev:"));
    } else if (!make_chardev(sys, id, spec, error)) {
        return false;
    }
    return control ? monitor_add_qmp(sys->hub, id, pretty, error)
                   : monitor_add_hmp(sys->hub, id, true, false, error);
}

bool opt_qmp(System *sys, const char *arg, GError **error)
{
    return add_monitor(sys, arg, true, false, error);
}

bool opt_qmp_pretty(System *sys, const char *arg, GError **error)
{
    return add_monitor(sys, arg, true, true, error);
}

bool opt_mon(System *sys, const char *arg, GError **error)
{
    static const char *const modes[] = { "readline", "control", NULL };
    g_autoptr(KeyVal) kv = keyval_parse(arg, "chardev", KEYVAL_BARE_BOOL, error);
    const char *chardev;
    int mode;
    bool pretty;

    if (!kv || !keyval_get_enum(kv, "mode", modes, 0, &mode, error) ||
        !keyval_get_bool(kv, "pretty", false, &pretty, error)) {
        return false;
    }
    chardev = keyval_get(kv, "chardev");
    if (!chardev) {
        return error_set(error, "Parameter 'chardev' is missing; name the id of a -chardev");
    }
    keyval_get(kv, "id");            /* only for -set */
    if (!keyval_check_used(kv, "-mon", error)) {
        return false;
    }
    if (!chardev_find(chardev)) {
        return error_set(error, "chardev \"%s\" not found", chardev);
    }
    if (pretty && mode == 0) {
        return error_set(error, "'pretty' is not compatible with HMP monitors");
    }
    return mode ? monitor_add_qmp(sys->hub, chardev, pretty, error)
                : monitor_add_hmp(sys->hub, chardev, true, false, error);
}

bool connect_monitors(System *sys, GError **error)
{
    for (unsigned i = 0; i < sys->monitors->len; i++) {
        if (!add_monitor(sys, sys->monitors->pdata[i], false, false, error)) {
            g_prefix_error(error, "-monitor %s: ", (char *)sys->monitors->pdata[i]);
            return false;
        }
    }
    for (unsigned i = 0; i < sys->shared_monitors->len; i++) {
        if (!monitor_add_hmp(sys->hub, sys->shared_monitors->pdata[i], true, true, error)) {
            return false;
        }
    }
    return true;
}

/* ---- drives ---- */

static bool add_drive(System *sys, const char *options, const char *file, DriveType type, int index,
                      const char *media, GError **error)
{
    DriveDefaults defaults = { type, index, sys->snapshot, media };

    return drive_add_text(options, file, &defaults, error);
}

#define DISK_OPTION(id, type, index)                                                         \
    bool opt_##id(System *sys, const char *arg, GError **error)                              \
    {                                                                                        \
        return add_drive(sys, NULL, arg, type, index, "disk", error);                        \
    }
DISK_OPTION(hda, DRIVE_IDE, 0)
DISK_OPTION(hdb, DRIVE_IDE, 1)
DISK_OPTION(hdc, DRIVE_IDE, 2)
DISK_OPTION(hdd, DRIVE_IDE, 3)
DISK_OPTION(fda, DRIVE_FLOPPY, 0)
DISK_OPTION(fdb, DRIVE_FLOPPY, 1)

bool opt_cdrom(System *sys, const char *arg, GError **error)
{
    return add_drive(sys, NULL, arg, DRIVE_IDE, 2, "cdrom", error);
}

bool opt_drive(System *sys, const char *arg, GError **error)
{
    return add_drive(sys, arg, NULL, DRIVE_IDE, -1, NULL, error);
}

bool opt_blockdev(System *sys, const char *arg, GError **error)
{
    return blockdev_add_text(arg, error);
}

static bool plug(System *sys, const char *driver, const char *bus, int unit, const char *drive,
                 GError **error)
{
    g_autoptr(Json) props = json_new_dict();

    json_set(props, "driver", json_new_string(driver));
    if (bus) {
        json_set(props, "bus", json_new_string(bus));
    }
    if (unit >= 0) {
        json_set(props, "unit", json_new_int(unit));
    }
    if (drive) {
        json_set(props, "drive", json_new_string(drive));
    }
    return create_device(sys->vm, props, CREATE_DEFAULT, error) != NULL;
}

static bool plug_drive(System *sys, const Drive *d, GError **error)
{
    g_autofree char *ide = g_strdup_printf("ide.%d", d->bus);

    switch (d->type) {
    case DRIVE_IDE:
        return plug(sys, d->cdrom ? "ide-cd" : "ide-hd", ide, d->unit, d->id, error);
    case DRIVE_FLOPPY:
        return plug(sys, "floppy", NULL, d->unit, d->id, error);
    case DRIVE_VIRTIO:
        return plug(sys, "virtio-blk-pci", NULL, -1, d->id, error);
    default:
        return true;                 /* claimed by the board, or refused below */
    }
}

/* What the board has not claimed becomes a device. */
static bool plug_drives(System *sys, GError **error)
{
    for (Drive *d = drive_next(NULL); d; d = drive_next(d)) {
        if ((d->type == DRIVE_IDE || d->type == DRIVE_FLOPPY || d->type == DRIVE_VIRTIO) &&
            drive_claim(d) && !plug_drive(sys, d, error)) {
            g_prefix_error(error, "drive %s: ", d->id);
            return false;
        }
    }
    return true;
}

static bool have_drive(DriveType type, int bus, int unit)
{
    for (Drive *d = drive_next(NULL); d; d = drive_next(d)) {
        if (d->type == type && d->bus == bus && d->unit == unit) {
            return true;
        }
    }
    return false;
}

/* An empty floppy and an empty CD-ROM drive are part of a default machine. */
bool create_default_drives(System *sys, GError **error)
{
    const MachineType *type = machine_type(sys->vm->machine);
    bool floppy = sys->default_floppy && !type->no_floppy && type_find("floppy") &&
                  !have_drive(DRIVE_FLOPPY, 0, 0);
    bool cdrom = sys->default_cdrom && !type->no_cdrom && type_find("ide-cd") &&
                 !have_drive(DRIVE_IDE, 1, 0);

    if ((cdrom && !drive_add_text("if=ide,index=2,media=cdrom", NULL,
                                  &(DriveDefaults){ DRIVE_IDE, -1 }, error)) ||
        (floppy && !drive_add_text("if=floppy,index=0", NULL,
                                   &(DriveDefaults){ DRIVE_FLOPPY, -1 }, error))) {
        return false;
    }
    return (type->no_cdrom || plug_drives(sys, error)) && drive_check_claimed(error);
}

/* What block/ tells the outside. */
static void tray_moved(BlockBackend *blk, bool open, void *opaque)
{
    const char *id = blk_device_name(blk);

    qapi_event_device_tray_moved(blk_name(blk), id ? id : "", open);
}

static void io_error(BlockBackend *blk, bool is_read, BlkErrorAction action, int err, void *opaque)
{
    static const QapiBlockErrorAction actions[] = {
        [BLK_ERROR_REPORT] = QAPI_BLOCK_ERROR_ACTION_REPORT,
        [BLK_ERROR_IGNORE] = QAPI_BLOCK_ERROR_ACTION_IGNORE,
        [BLK_ERROR_STOP] = QAPI_BLOCK_ERROR_ACTION_STOP,
    };
    BlockNode *node = blk_node(blk);

    qapi_event_block_io_error(blk_name(blk), node ? node_name(node) : NULL,
                              is_read ? QAPI_IO_OPERATION_TYPE_READ : QAPI_IO_OPERATION_TYPE_WRITE,
                              actions[action], action == BLK_ERROR_STOP, err == ENOSPC,
                              g_strerror(err));
}

static void stop_vm(void *opaque)
{
    vm_request_stop(((System *)opaque)->vm, RUN_STATE_IO_ERROR);
}

static EventLoop *find_iothread(const char *id, void *opaque)
{
    System *sys = opaque;
    Object *obj = object_child(sys->vm->objects, id);

    return obj && object_is_a(obj, "iothread") ? iothread_object_loop(obj) : NULL;
}

void connect_block_hooks(System *sys)
{
    BlkHooks hooks = { io_error, stop_vm, tray_moved, sys };

    blk_set_hooks(&hooks);
    block_export_set_iothread_finder(find_iothread, sys);
}

/* ---- qtest ---- */

typedef struct QtestConnection {
    CharFrontend chr;
    QtestServer *server;
} QtestConnection;

static void qtest_write(void *opaque, const char *text, size_t len)
{
    char_write_all(&((QtestConnection *)opaque)->chr, text, len);
}

static void qtest_receive(void *opaque, const uint8_t *data, unsigned len)
{
    qtest_server_feed(((QtestConnection *)opaque)->server, (const char *)data, len);
}

static const CharHandlers qtest_handlers = { .receive = qtest_receive };

bool connect_qtest(System *sys, GError **error)
{
    QtestConnection *c;
    QtestHost host = { qtest_write, NULL, NULL };

    if (!sys->qtest) {
        return true;
    }
    if (sys->qtest_log && strcmp(sys->qtest_log, "none") != 0) {
        host.log = strcmp(sys->qtest_log, "/dev/fd/2") == 0 ? stderr : fopen(sys->qtest_log, "w");
        if (!host.log) {
            return error_set_errno(error, errno, "-qtest-log %s", sys->qtest_log);
        }
        setvbuf(host.log, NULL, _IOLBF, 0);
    }
    c = g_new0(QtestConnection, 1);
    host.opaque = c;
    if (!chardev_new_legacy("qtest", sys->qtest, NULL, error) ||
        !char_connect(&c->chr, "qtest", error)) {
        g_prefix_error(error, "-qtest %s: ", sys->qtest);
        g_free(c);
        return false;
    }
    c->server = qtest_server_new(sys->vm, &host);
    char_attach(&c->chr, &qtest_handlers, c);
    sys->qtest_connection = c;
    return true;
}

/* ---- display ---- */

bool connect_display(System *sys, GError **error)
{
    const DisplayKind *kind = display_find(display_name(sys), error);

    sys->display_options.vm_name = sys->name;
    if (!kind || (kind->open && !kind->open(sys->vm, &sys->display_options, error))) {
        return false;
    }
    sys->display_kind = kind;
    return true;
}

/* ---- other options that make something ---- */

bool opt_add_fd(System *sys, const char *arg, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(arg, NULL, 0, error);
    uint64_t fd, set;
    const char *opaque;
    int flags, copy;

    if (!kv || !keyval_get_uint(kv, "fd", UINT64_MAX, INT_MAX, &fd, error) ||
        !keyval_get_uint(kv, "set", UINT64_MAX, INT64_MAX, &set, error)) {
        return false;
    }
    opaque = keyval_get(kv, "opaque");
    if (!keyval_check_used(kv, "-add-fd", error)) {
        return false;
    }
    if (fd == UINT64_MAX || set == UINT64_MAX) {
        return error_set(error, "Parameter '%s' is missing", fd == UINT64_MAX ? "fd" : "set");
    }
    if (fd <= STDERR_FILENO) {
        return error_set(error, "fd=%" PRIu64 " is a standard stream: expected 3 or more", fd);
    }
    flags = fcntl((int)fd, F_GETFD);
    if (flags < 0 || flags & FD_CLOEXEC) {         /* our own descriptors are close-on-exec */
        return error_set(error, "fd=%" PRIu64 " was not open when the emulator was started", fd);
    }
    copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return error_set_errno(error, errno, "Cannot duplicate fd=%" PRIu64, fd);
    }
    fdset_add((int64_t)set, copy, opaque);
    return true;
}

bool opt_debugcon(System *sys, const char *arg, GError **error)
{
    g_autoptr(Json) props = json_new_dict();

    if (!make_chardev(sys, "debugcon", arg, error)) {
        return false;
    }
    json_set(props, "driver", json_new_string("isa-debugcon"));
    json_set(props, "iobase", json_new_int(0xe9));
    json_set(props, "chardev", json_new_string("debugcon"));
    return create_device(sys->vm, props, CREATE_DEFAULT, error) != NULL;
}

void disconnect_backends(System *sys)
{
    QtestConnection *c = sys->qtest_connection;

    if (sys->display_kind && sys->display_kind->close) {
        sys->display_kind->close();
    }
    if (c) {
        char_disconnect(&c->chr);
        qtest_server_free(c->server);
        g_free(c);
    }
    chardev_cleanup();
    nbd_client_give_up();
    nbd_server_stop();
    blk_drain_all();
    job_cancel_all();
    drive_free_all();
}
