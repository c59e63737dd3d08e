/* SPDX-License-Identifier: MIT */
/*
 * Being a process: -daemonize, -pidfile, signals.
 * The parent of -daemonize exits 0 only when the child says that it is ready: the machine is built,
 * the monitors listen, the pid file is written.
 */
#include "system/system.h"

#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

bool daemon_fork(System *sys, GError **error)
{
    int fds[2];
    pid_t pid;

    sys->daemon_pipe = -1;
    if (!sys->daemonize) {
        return true;
    }
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
    sys->daemon_pipe = fds[1];
    return true;
}

bool daemon_ready(System *sys, GError **error)
{
    uint8_t ready = 1;
    int null;

    if (sys->daemon_pipe < 0) {
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
    if (write(sys->daemon_pipe, &ready, 1) != 1) {
        return error_set_errno(error, errno, "Cannot tell the parent process");
    }
    close(sys->daemon_pipe);
    sys->daemon_pipe = -1;
    return true;
}

bool pidfile_write(System *sys, GError **error)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    g_autofree char *text = g_strdup_printf("%d\n", getpid());
    int fd;

    sys->pidfile_fd = -1;
    if (!sys->pidfile) {
        return true;
    }
    fd = open(sys->pidfile, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(error, errno, "cannot create PID file '%s'", sys->pidfile);
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        struct flock holder = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        fcntl(fd, F_GETLK, &holder);
        close(fd);
        return error_set(error, "cannot lock PID file '%s': process %d holds it; stop that one or "
                                "use another file", sys->pidfile, (int)holder.l_pid);
    }
    if (ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        int err = errno;

        close(fd);
        return error_set_errno(error, err, "cannot write PID file '%s'", sys->pidfile);
    }
    sys->pidfile_fd = fd;        /* kept open: the lock says that we live */
    return true;
}

void pidfile_remove(System *sys)
{
    if (sys->pidfile && sys->pidfile_fd >= 0) {
        unlink(sys->pidfile);
        close(sys->pidfile_fd);
        sys->pidfile_fd = -1;
    }
}

/* Signal handlers have no argument to carry the System, hence the one static of system/. */
static System *signal_system;

static void on_signal(int number, siginfo_t *info, void *context)
{
    RunControl *r = &signal_system->run;

    r->signal_pid = info->si_pid;
    r->exit_status = number;
    __atomic_store_n(&r->signal, 1, __ATOMIC_SEQ_CST);
    bh_schedule(r->bh);
}

void signals_install(System *sys)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

    signal_system = sys;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}
