/* SPDX-License-Identifier: MIT */
/* Background processes and pid files; see the header.  No locking: start-up and exit only. */
#include "base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

/* In the parent: waits for the verdict, and never returns. */
static G_NORETURN void wait_for_child(int fd)
{
    uint8_t ready = 0;
    ssize_t n;

    do {
        n = read(fd, &ready, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 && ready ? 0 : 1);
}

bool daemon_fork(int *ready_fd, GError **error)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return error_set_errno(error, errno, "Cannot daemonize");
    }
    pid = fork();
    if (pid < 0) {
        return error_set_errno(error, errno, "Cannot daemonize");
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_child(fds[0]);
    }
    close(fds[0]);
    setsid();
    pid = fork();                /* no longer a session leader: no terminal can be acquired */
    if (pid != 0) {
        _exit(pid < 0);
    }
    umask(027);
    signal(SIGTSTP, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    *ready_fd = fds[1];
    return true;
}

bool daemon_ready(int *ready_fd, GError **error)
{
    uint8_t ready = 1;
    int null;

    if (*ready_fd < 0) {
        return true;
    }
    if (chdir("/") < 0) {
        return error_set_errno(error, errno, "Cannot change to the root directory");
    }
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) {
        return error_set_errno(error, errno, "Cannot open /dev/null");
    }
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    close(null);
    if (write(*ready_fd, &ready, 1) != 1) {
        return error_set_errno(error, errno, "Cannot tell the parent process");
    }
    close(*ready_fd);
    *ready_fd = -1;
    return true;
}

bool pidfile_write(const char *path, int *pid_fd, GError **error)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    g_autofree char *text = g_strdup_printf("%d\n", getpid());
    int fd;

    *pid_fd = -1;
    if (!path) {
        return true;
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(error, errno, "cannot create PID file '%s'", path);
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        struct flock holder = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        fcntl(fd, F_GETLK, &holder);
        close(fd);
        return error_set(error, "cannot lock PID file '%s': process %d holds it; stop that one or "
                                "use another file", path, (int)holder.l_pid);
    }
    if (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        int err = errno;

        close(fd);
        return error_set_errno(error, err, "cannot write PID file '%s'", path);
    }
    *pid_fd = fd;        /* kept open: the lock says that we live */
    return true;
}

void pidfile_remove(const char *path, int *pid_fd)
{
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", *pid_fd);
    g_autofree char *where = NULL;

    if (path && *pid_fd >= 0) {
        /* A relative path meant another folder before the daemon went to "/". */
        where = g_file_read_link(self, NULL);
        unlink(where ? where : path);
        close(*pid_fd);
        *pid_fd = -1;
    }
}
