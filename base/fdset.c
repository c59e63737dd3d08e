/* SPDX-License-Identifier: MIT */
/* Sets of descriptors, and host_open(), which knows them by path. */
#include "base/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"

typedef struct Member {
    int64_t set;
    int fd;
    char *note;
} Member;

static Mutex lock = { .lock = PTHREAD_MUTEX_INITIALIZER, .name = "fd sets", .rank = LOCK_RANK_LEAF };
static GPtrArray *members;       /* Member, sorted by set */

static void member_free(void *p)
{
    Member *m = p;

    close(m->fd);
    g_free(m->note);
    g_free(m);
}

static bool parse_path(const char *path, int64_t *id)
{
    const char *digits = path + strlen("/dev/fdset/");
    char *end;

    if (!g_str_has_prefix(path, "/dev/fdset/") || !g_ascii_isdigit(*digits)) {
        return false;
    }
    *id = g_ascii_strtoll(digits, &end, 10);
    return *end == '\0';
}

/* A duplicate shares the file's position and status flags with its original. */
static int duplicate(int fd, int flags)
{
    const int settable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy >= 0 && (fcntl(copy, F_SETFL, flags & settable) < 0 ||
                      ((flags & O_TRUNC) && ftruncate(copy, 0) < 0))) {
        int err = errno;

        close(copy);
        errno = err;
        return -1;
    }
    return copy;
}

int host_open(const char *path, int flags, int mode)
{
    int64_t id;

    if (!parse_path(path, &id)) {
        return open(path, flags | O_CLOEXEC, mode);
    }
    MUTEX_SCOPE(&lock);
    errno = ENOENT;
    for (unsigned i = 0; members && i < members->len; i++) {
        const Member *m = members->pdata[i];
        int have = m->set == id ? fcntl(m->fd, F_GETFL) : -1;

        if (have >= 0 && (have & O_ACCMODE) == (flags & O_ACCMODE)) {
            return duplicate(m->fd, flags);
        }
        errno = m->set == id ? EACCES : errno;
    }
    return -1;
}

int64_t fdset_add(int64_t id, int fd, const char *opaque)
{
    Member *added = g_new(Member, 1);
    unsigned at = 0;

    MUTEX_SCOPE(&lock);
    if (!members) {
        members = g_ptr_array_new_with_free_func(member_free);
    }
    if (id < 0) {
        id = 0;
        for (unsigned i = 0; i < members->len; i++) {
            id += ((Member *)members->pdata[i])->set == id;
        }
    }
    while (at < members->len && ((Member *)members->pdata[at])->set <= id) {
        at++;
    }
    *added = (Member){ id, fd, g_strdup(opaque) };
    g_ptr_array_insert(members, (int)at, added);
    return id;
}

bool fdset_remove(int64_t id, int fd)
{
    bool any = false;

    MUTEX_SCOPE(&lock);
    for (unsigned i = members ? members->len : 0; i-- > 0;) {
        const Member *m = members->pdata[i];

        if (m->set == id && (fd < 0 || m->fd == fd)) {
            g_ptr_array_remove_index(members, i);
            any = true;
        }
    }
    return any;
}

void fdset_foreach(void (*fn)(int64_t id, int fd, const char *note, void *opaque), void *opaque)
{
    for (unsigned i = 0; members && i < members->len; i++) {
        const Member *m = members->pdata[i];

        fn(m->set, m->fd, m->note, opaque);
    }
}
