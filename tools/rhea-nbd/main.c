/* SPDX-License-Identifier: MIT */
/*
 * rhea-nbd: serves an image over NBD; options, output and exit codes of qemu-nbd 7.2.
 *
 *     rhea-nbd -f qcow2 -k /run/disk.sock -t disk.qcow2
 *
 * This file: options and start.  serve.c: the image, the server, its end.  list.c: -L.
 * Single threaded but for workers.
 */
#include "tools/rhea-nbd/nbd.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "base/thread.h"
#include "base/trace.h"
#include "tools/objects.h"

enum {
    OPT_CACHE = 256, OPT_AIO, OPT_DISCARD, OPT_DETECT_ZEROES, OPT_IMAGE_OPTS, OPT_OBJECT,
    OPT_TLS_CREDS, OPT_TLS_HOSTNAME, OPT_TLS_AUTHZ, OPT_FORK, OPT_PID_FILE, OPT_SELINUX,
};

/* clang-format off */
static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
    { "port", required_argument, NULL, 'p' }, { "bind", required_argument, NULL, 'b' },
    { "socket", required_argument, NULL, 'k' }, { "shared", required_argument, NULL, 'e' },
    { "persistent", no_argument, NULL, 't' }, { "verbose", no_argument, NULL, 'v' },
    { "export-name", required_argument, NULL, 'x' },
    { "description", required_argument, NULL, 'D' },
    { "offset", required_argument, NULL, 'o' },
    { "allocation-depth", no_argument, NULL, 'A' }, { "bitmap", required_argument, NULL, 'B' },
    { "list", no_argument, NULL, 'L' }, { "object", required_argument, NULL, OPT_OBJECT },
    { "tls-creds", required_argument, NULL, OPT_TLS_CREDS },
    { "tls-hostname", required_argument, NULL, OPT_TLS_HOSTNAME },
    { "tls-authz", required_argument, NULL, OPT_TLS_AUTHZ },
    { "fork", no_argument, NULL, OPT_FORK }, { "pid-file", required_argument, NULL, OPT_PID_FILE },
    { "selinux-label", required_argument, NULL, OPT_SELINUX },
    { "connect", required_argument, NULL, 'c' }, { "disconnect", no_argument, NULL, 'd' },
    { "format", required_argument, NULL, 'f' }, { "read-only", no_argument, NULL, 'r' },
    { "snapshot", no_argument, NULL, 's' }, { "load-snapshot", required_argument, NULL, 'l' },
    { "nocache", no_argument, NULL, 'n' }, { "cache", required_argument, NULL, OPT_CACHE },
    { "aio", required_argument, NULL, OPT_AIO },
    { "discard", required_argument, NULL, OPT_DISCARD },
    { "detect-zeroes", required_argument, NULL, OPT_DETECT_ZEROES },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { "trace", required_argument, NULL, 'T' },
    { NULL, 0, NULL, 0 },
};
/* clang-format on */

static void help(void)
{
    const char *name = report_program();

    printf("Usage: %s [OPTIONS] FILE\n"
           "  or:  %s -L [OPTIONS]\n"
           "Serves a disk image as a network block device.\n\n"
           "  -h, --help                display this help and exit\n"
           "  -V, --version             output version information and exit\n\n"
           "Connection properties:\n"
           "  -p, --port=PORT           port to listen on (default '%s')\n"
           "  -b, --bind=IFACE          interface to bind to (default '0.0.0.0')\n"
           "  -k, --socket=PATH         path to the unix socket\n"
           "  -e, --shared=NUM          device can be shared by NUM clients (default '1',\n"
           "                            '0': as many as come)\n"
           "  -t, --persistent          don't exit on the last connection\n"
           "  -v, --verbose             display extra debugging information\n"
           "  -x, --export-name=NAME    expose export by name (default is empty string)\n"
           "  -D, --description=TEXT    export a human-readable description\n\n"
           "Exposing part of the image:\n"
           "  -o, --offset=OFFSET       offset into the image\n"
           "  -A, --allocation-depth    expose the allocation depth\n"
           "  -B, --bitmap=NAME         expose a persistent dirty bitmap\n\n"
           "General purpose options:\n"
           "  -L, --list                list exports available from another NBD server\n"
           "  --object type,id=ID,...   define an object: secret, tls-creds-*, authz-*\n"
           "  --tls-creds=ID            use id of an earlier --object to provide TLS\n"
           "  --tls-hostname=NAME       with -L: the name in the server's certificate\n"
           "  --tls-authz=ID            use id of an earlier --object to decide which clients may come\n"
           "  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
           "                            specify tracing options\n"
           "  --fork                    fork off the server process and exit the parent\n"
           "                            once the server is running\n"
           "  --pid-file=PATH           store the server's process ID in the given file\n\n"
           "Kernel NBD client support:\n"
           "  -c, --connect=DEV         connect FILE to the local NBD device DEV\n"
           "  -d, --disconnect          disconnect the specified device\n\n"
           "Block device options:\n"
           "  -f, --format=FORMAT       set image format (raw, qcow2, ...)\n"
           "  -r, --read-only           export read-only\n"
           "  -s, --snapshot            redirect writes to a temporary overlay\n"
           "  -l, --load-snapshot=SNAPSHOT_PARAM\n"
           "                            export an internal snapshot, read-only:\n"
           "                            'snapshot.id=ID,snapshot.name=NAME' or 'ID_OR_NAME'\n"
           "  -n, --nocache             disable host cache\n"
           "      --cache=MODE          none, writeback (default), writethrough, directsync,\n"
           "                            unsafe\n"
           "      --aio=MODE            set AIO mode (native, io_uring or threads)\n"
           "      --discard=MODE        set discard mode (ignore, unmap)\n"
           "      --detect-zeroes=MODE  set detect-zeroes mode (off, on, unmap)\n"
           "      --image-opts          treat FILE as a full set of image options\n",
           name, name, NBD_PORT);
}

static bool bad(const char *text)
{
    error_report("%s", text);
    return false;
}

static bool set_cache(NbdArgs *a, const char *mode)
{
    GError *error = NULL;
    bool direct, no_flush;

    if (a->has_cache) {
        return bad("-n and --cache can only be specified once");
    }
    a->has_cache = true;
    if (!cache_mode_parse(mode, &direct, &no_flush, &a->writethrough, &error)) {
        error_report_free(error);
        return false;
    }
    node_opts_set(a->opts, "cache.direct", direct ? "on" : "off");
    node_opts_set(a->opts, "cache.no-flush", no_flush ? "on" : "off");
    return true;
}

static bool set_number(const char *what, const char *text, uint64_t min, uint64_t max,
                       uint64_t *value)
{
    GError *error = NULL;

    if (!parse_uint(what, text, min, max, value, &error)) {
        error_report_free(error);
        return false;
    }
    return true;
}

static bool one_option(NbdArgs *a, int c)
{
    GError *error = NULL;
    uint64_t number;

    switch (c) {
    case 'p':
        a->port = optarg;
        return set_number("port", optarg, 0, 65535, &number);
    case 'b':
        a->bind = optarg;
        return true;
    case 'k':
        a->socket = optarg;
        return optarg[0] == '/' || bad("socket path must be absolute");
    case 'e':
        if (!set_number("shared device number", optarg, 0, INT32_MAX, &number)) {
            return false;
        }
        a->shared = (unsigned)number;
        return true;
    case 't':
        a->persistent = true;
        return true;
    case 'v':
        a->verbose = true;
        return true;
    case 'x':
        a->name = optarg;
        return strlen(optarg) <= NBD_NAME_MAX || bad("export name is longer than 4096 bytes");
    case 'D':
        a->description = optarg;
        return strlen(optarg) <= NBD_NAME_MAX || bad("description is longer than 4096 bytes");
    case 'o':
        if (!parse_size("offset", optarg, 1, &a->offset, &error)) {
            error_report_free(error);
            return false;
        }
        return true;
    case 'A':
        a->depth = true;
        return true;
    case 'B':
        g_ptr_array_add(a->bitmaps, optarg);
        return true;
    case 'L':
        a->list = true;
        return true;
    case 'c':
        a->connect = optarg;
        return true;
    case 'd':
        a->disconnect = true;
        return true;
    case 'f':
        a->format = optarg;
        return true;
    case 'r':
        a->read_only = true;
        return true;
    case 's':
        a->overlay = true;
        return true;
    case 'l':
        a->snapshot = optarg;
        a->read_only = true;
        return true;
    case 'n':
        return set_cache(a, "none");
    case 'T':
        if (!trace_configure(optarg, &error)) {
            error_report_free(error);
            return false;
        }
        return true;
    default:
        return true;
    }
}

static bool long_option(NbdArgs *a, int c)
{
    GError *error = NULL;

    switch (c) {
    case OPT_CACHE:
        return set_cache(a, optarg);
    case OPT_AIO:
        node_opts_set(a->opts, "file.aio", optarg);
        return true;
    case OPT_DISCARD:
        node_opts_set(a->opts, "discard", optarg);
        return true;
    case OPT_DETECT_ZEROES:
        node_opts_set(a->opts, "detect-zeroes", optarg);
        return true;
    case OPT_IMAGE_OPTS:
        a->image_opts = true;
        return true;
    case OPT_OBJECT:
        if (!tool_object_add(optarg, &error)) {
            error_report_free(error);
            return false;
        }
        return true;
    case OPT_TLS_CREDS:
        a->tls_creds = optarg;
        return true;
    case OPT_TLS_HOSTNAME:
        a->tls_hostname = optarg;
        return true;
    case OPT_TLS_AUTHZ:
        a->tls_authz = optarg;
        return true;
    case OPT_SELINUX:
        return bad("--selinux-label is not supported");
    case OPT_FORK:
        a->fork = true;
        return true;
    case OPT_PID_FILE:
        a->pid_file = optarg;
        return true;
    default:
        return one_option(a, c);
    }
}

/* Combinations that make no sense. */
static bool check(const NbdArgs *a, int left)
{
    if (a->list) {
        if (left) {
            return bad("List mode is incompatible with a file name");
        }
        if (a->name || a->read_only || a->fork || a->pid_file || a->format || a->overlay ||
            a->bitmaps->len || a->depth || a->description) {
            return bad("List mode is incompatible with options of an export");
        }
        if (a->tls_hostname && !a->tls_creds) {
            return bad("--tls-hostname needs --tls-creds");
        }
        if (a->tls_authz) {
            return bad("TLS authorization is incompatible with list mode");
        }
        return true;
    }
    if (left != 1) {
        error_report(left ? "Unexpected argument '%s'" : "Missing file name%s",
                     left ? "after the file name" : "");
        printf("Try '%s --help' for more information.\n", report_program());
        return false;
    }
    if (a->tls_hostname) {
        return bad("TLS hostname is only supported in list mode");
    }
    if (a->tls_creds && (a->connect || a->disconnect)) {
        return bad("TLS is not supported with a host device");
    }
    if (a->tls_authz && !a->tls_creds) {
        return bad("--tls-authz is not permitted without --tls-creds");
    }
    if (a->socket && (a->port || a->bind)) {
        return bad("-k is incompatible with -p and -b");
    }
    if (a->connect && (a->socket || a->port || a->bind)) {
        return bad("-c is incompatible with an address to listen on");
    }
    return true;
}

/* -1: go on; else the exit status. */
static int parse(NbdArgs *a, int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, "hVb:o:p:rsnc:dvk:e:f:tl:x:D:AB:LT:", long_options,
                            NULL)) != -1) {
        if (c == 'h') {
            help();
            return 0;
        }
        if (c == 'V') {
            printf("%s 7.2.0 (rhea %s)\n", report_program(), RHEA_VERSION);
            return 0;
        }
        if (c == '?') {
            fprintf(stderr, "Try '%s --help' for more information.\n", report_program());
            return 1;
        }
        if (!long_option(a, c)) {
            return 1;
        }
    }
    a->file = argv[optind];
    return check(a, argc - optind) ? -1 : 1;
}

int main(int argc, char **argv)
{
    NbdArgs a = { .shared = 1 };
    int status;

    thread_set_main();
    report_set_program(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    a.opts = node_opts_new();
    a.bitmaps = g_ptr_array_new();
    status = parse(&a, argc, argv);
    if (status < 0) {
        status = a.list         ? nbd_list(&a)
                 : a.disconnect ? nbd_kernel_disconnect(a.file)
                                : nbd_serve(&a);
    }
    node_opts_free(a.opts);
    g_ptr_array_unref(a.bitmaps);
    return status;
}
