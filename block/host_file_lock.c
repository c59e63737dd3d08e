/* SPDX-License-Identifier: MIT */
/*
 * Locks of host files.  They are QEMU's, so that the programs exclude each other: OFD read locks on byte 100 + n for
 * each permission n in use, on byte 200 + n for each that is not shared.  They sit on the open file description and
 * vanish with it.
 *
 * Locking: the node's event loop.
 */
#include "block/host_file_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_PERM_BASE 100
#define LOCK_SHARED_BASE 200

static bool fdinfo_has_lock(const char *path, const struct stat *st, int byte)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    g_autofree char *inode = g_strdup_printf(":%lu ", (unsigned long)st->st_ino);

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return false;
    }
    lines = g_strsplit(text, "\n", 200);
    for (char **l = lines; *l; l++) {
        const char *at = g_str_has_prefix(*l, "lock:") ? strstr(*l, inode) : NULL;
        int first, last;

        if (at && sscanf(at + strlen(inode), "%d %d", &first, &last) == 2 && first <= byte &&
            byte <= last) {
            return true;
        }
    }
    return false;
}

/* Who uses the image: this process, too, by another node, or "... process 4711 (qemu-system-x86)". */
static char *lock_holder(int fd, int byte)
{
    bool ours = false;
    struct stat st;
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *pid;

    if (!proc || fstat(fd, &st) < 0) {
        return g_strdup("another process is using the image");
    }
    while ((pid = g_dir_read_name(proc)) != NULL) {
        g_autofree char *folder = g_strdup_printf("/proc/%s/fdinfo", pid);
        g_autoptr(GDir) fds = g_ascii_isdigit(pid[0]) ? g_dir_open(folder, 0, NULL) : NULL;
        const char *name;

        while (fds && (name = g_dir_read_name(fds)) != NULL) {
            g_autofree char *link = g_strdup_printf("/proc/%s/fd/%s", pid, name);
            g_autofree char *info = g_strdup_printf("%s/%s", folder, name);
            g_autofree char *comm = g_strdup_printf("/proc/%s/comm", pid);
            g_autofree char *program = NULL;
            struct stat other;

            if (stat(link, &other) < 0 || other.st_ino != st.st_ino ||
                other.st_dev != st.st_dev || !fdinfo_has_lock(info, &st, byte)) {
                continue;
            }
            if (atoi(pid) == getpid()) {
                ours |= atoi(name) != fd;
                continue;
            }
            g_file_get_contents(comm, &program, NULL, NULL);
            return g_strdup_printf("another process is using the image; it is held by process %s "
                                   "(%s)", pid, program ? g_strchomp(program) : "unknown");
        }
    }
    return g_strdup(ours ? "the image is in use already, in this process" :
                           "another process is using the image");
}

static int lock_byte(int fd, int byte, short type, bool test)
{
    struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    if (fcntl(fd, test ? F_OFD_GETLK : F_OFD_SETLK, &fl) < 0) {
        return -errno;
    }
    return test && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

static const char *const perm_names[] = { "consistent read", "write", "write unchanged",
                                          "resize" };

static bool lock_clash(BlockNode *node, int byte, bool shared, unsigned perm, GError **error)
{
    HostFile *f = node->state;
    g_autofree char *holder = lock_holder(f->fd, byte);

    return error_set(error, "Failed to get %s\"%s\" lock on '%s': %s", shared ? "shared " : "", perm_names[perm], node->filename, holder);
}

void host_file_lock_apply(HostFile *f, uint32_t perm, uint32_t unshared, bool drop)
{
    for (unsigned i = 0; i < ARRAY_LEN(perm_names); i++) {
        bool want[2] = { perm & BIT(i), unshared & BIT(i) };
        bool have[2] = { f->locked_perm & BIT(i), f->locked_unshared & BIT(i) };
        int byte[2] = { LOCK_PERM_BASE + (int)i, LOCK_SHARED_BASE + (int)i };

        for (int k = 0; k < 2; k++) {
            if (want[k] && !have[k] && !drop) {
                lock_byte(f->fd, byte[k], F_RDLCK, false);
            } else if (!want[k] && have[k] && drop) {
                lock_byte(f->fd, byte[k], F_UNLCK, false);
            }
        }
    }
}

bool host_file_set_perm(BlockNode *node, uint32_t perm, uint32_t shared, GError **error)
{
    HostFile *f = node->state;
    uint32_t unshared = ~shared & BLK_PERM_ALL, all_perm, all_unshared;

    if (!f || !f->locking || node->force_share) {
        return true;
    }
    /* Take first what is new, look whether anybody objects, then give up what is old. */
    host_file_lock_apply(f, perm | f->locked_perm, unshared | f->locked_unshared, false);
    for (unsigned i = 0; i < ARRAY_LEN(perm_names); i++) {
        int byte = 0;

        if ((perm & BIT(i)) && lock_byte(f->fd, LOCK_SHARED_BASE + (int)i, F_WRLCK, true) < 0) {
            byte = LOCK_SHARED_BASE + (int)i;
        } else if ((unshared & BIT(i)) &&
                   lock_byte(f->fd, LOCK_PERM_BASE + (int)i, F_WRLCK, true) < 0) {
            byte = LOCK_PERM_BASE + (int)i;
        }
        if (byte) {
            bool ok = lock_clash(node, byte, byte < LOCK_SHARED_BASE, i, error);

            all_perm = f->locked_perm;
            all_unshared = f->locked_unshared;
            f->locked_perm = f->locked_unshared = BLK_PERM_ALL;
            host_file_lock_apply(f, all_perm, all_unshared, true);
            f->locked_perm = all_perm;
            f->locked_unshared = all_unshared;
            return ok;
        }
    }
    f->locked_perm |= perm;
    f->locked_unshared |= unshared;
    host_file_lock_apply(f, perm, unshared, true);
    f->locked_perm = perm;
    f->locked_unshared = unshared;
    return true;
}
