/* SPDX-License-Identifier: MIT */
/*
 * Being a process: signals.  (-daemonize and -pidfile: base/daemon.h.)
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
