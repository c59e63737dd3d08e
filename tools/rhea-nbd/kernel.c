/* SPDX-License-Identifier: MIT */
/*
 * rhea-nbd -c and -d: the kernel's NBD client, /dev/nbdN.  [linux/nbd.h]
 *
 * A thread negotiates over one end of a socket pair, gives it to the device and then sits in
 * NBD_DO_IT until the device is disconnected; the server in the main thread has the other end.
 */
#include "tools/rhea-nbd/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/thread.h"

#define BLOCK_BYTES 512

/* As in linux/nbd.h, whose other names are those of block/nbd_proto.h. */
#define NBD_SET_SOCK _IO(0xab, 0)
#define NBD_SET_BLKSIZE _IO(0xab, 1)
#define NBD_DO_IT _IO(0xab, 3)
#define NBD_CLEAR_SOCK _IO(0xab, 4)
#define NBD_CLEAR_QUE _IO(0xab, 5)
#define NBD_SET_SIZE_BLOCKS _IO(0xab, 7)
#define NBD_DISCONNECT _IO(0xab, 8)
#define NBD_SET_FLAGS _IO(0xab, 10)

typedef struct Kernel {
    char *device, *export_name;
    int device_fd, socket;
    bool verbose;
    bool *failed;              /* set before gone() */
    void (*gone)(void *opaque);
    void *opaque;
} Kernel;

static int open_device(const char *device)
{
    int fd = open(device, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        error_report("Cannot open %s: %s%s", device, g_strerror(errno),
                     errno == ENOENT ? " (is the kernel module nbd loaded?)" : "");
    }
    return fd;
}

int nbd_kernel_disconnect(const char *device)
{
    int fd = open_device(device);

    if (fd < 0) {
        return 1;
    }
    if (ioctl(fd, NBD_CLEAR_QUE) < 0 || ioctl(fd, NBD_DISCONNECT) < 0 ||
        ioctl(fd, NBD_CLEAR_SOCK) < 0) {
        error_report("Cannot disconnect %s: %s", device, g_strerror(errno));
        close(fd);
        return 1;
    }
    close(fd);
    printf("%s disconnected\n", device);
    return 0;
}

static bool all(ssize_t n, size_t len)
{
    return n == (ssize_t)len;
}

/* Blocking, with our own server: fixed newstyle and EXPORT_NAME are enough for the kernel. */
static bool handshake(const Kernel *k, const char *name, NbdInfo *info)
{
    uint8_t hello[18], flags[4], option[NBD_OPTION_HEADER], reply[10];
    size_t len = strlen(name);

    be32_store(flags, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    nbd_option_put(option, NBD_OPT_EXPORT_NAME, (uint32_t)len);
    if (!all(recv(k->socket, hello, sizeof(hello), MSG_WAITALL), sizeof(hello)) ||
        !all(send(k->socket, flags, sizeof(flags), 0), sizeof(flags)) ||
        !all(send(k->socket, option, sizeof(option), 0), sizeof(option)) ||
        !all(send(k->socket, name, len, 0), len) ||
        !all(recv(k->socket, reply, sizeof(reply), MSG_WAITALL), sizeof(reply))) {
        return false;
    }
    info->size = be64_load(reply);
    info->flags = be16_load(reply + 8);
    return true;
}

static bool attach(const Kernel *k, const NbdInfo *info)
{
    int read_only = info->flags & NBD_FLAG_READ_ONLY ? 1 : 0;

    if (ioctl(k->device_fd, NBD_SET_SOCK, k->socket) < 0) {
        error_report("Cannot give the connection to %s: %s%s", k->device, g_strerror(errno),
                     errno == EBUSY ? " (it is in use; try -d)" : "");
        return false;
    }
    if (ioctl(k->device_fd, NBD_SET_BLKSIZE, (unsigned long)BLOCK_BYTES) < 0 ||
        ioctl(k->device_fd, NBD_SET_SIZE_BLOCKS, (unsigned long)(info->size / BLOCK_BYTES)) < 0 ||
        ioctl(k->device_fd, NBD_SET_FLAGS, (unsigned long)info->flags) < 0 ||
        ioctl(k->device_fd, BLKROSET, &read_only) < 0) {
        error_report("Cannot set up %s: %s", k->device, g_strerror(errno));
        ioctl(k->device_fd, NBD_CLEAR_SOCK);
        return false;
    }
    return true;
}

static void *kernel_thread(void *opaque)
{
    Kernel *k = opaque;
    NbdInfo info = { 0 };

    if (!handshake(k, k->export_name, &info)) {
        error_report("Cannot connect %s to the server", k->device);
        *k->failed = true;
    } else if (!attach(k, &info)) {
        *k->failed = true;
    } else {
        if (k->verbose) {
            fprintf(stderr, "NBD device %s is now connected\n", k->device);
        }
        if (ioctl(k->device_fd, NBD_DO_IT) < 0 && errno != EPIPE) {
            error_report("%s failed: %s", k->device, g_strerror(errno));
            *k->failed = true;
        }
        ioctl(k->device_fd, NBD_CLEAR_QUE);
        ioctl(k->device_fd, NBD_CLEAR_SOCK);
    }
    close(k->socket);
    close(k->device_fd);
    event_loop_post(event_loop_main(), k->gone, k->opaque);
    g_free(k->device);
    g_free(k->export_name);
    g_free(k);
    return NULL;
}

int nbd_kernel_connect(const char *device, const char *export_name, bool verbose,
                       bool *failed, void (*gone)(void *opaque), void *opaque)
{
    int ends[2], fd = open_device(device);
    Kernel *k;

    if (fd < 0) {
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        error_report("Cannot make a socket pair: %s", g_strerror(errno));
        close(fd);
        return -1;
    }
    k = g_new0(Kernel, 1);
    *k = (Kernel){ g_strdup(device), g_strdup(export_name), fd, ends[0], verbose, failed, gone,
                    opaque };
    thread_start_detached("nbd-kernel", kernel_thread, k);
    return ends[1];
}
