/* SPDX-License-Identifier: MIT */
/* Shared by the monitor's own files. */
#ifndef MONITOR_MONITOR_INT_H
#define MONITOR_MONITOR_INT_H

#include "monitor/monitor.h"
#include "monitor/qmp_session.h"
#include "monitor/readline.h"

struct Monitor {
    MonitorHub *hub;
    CharFrontend chr;
    QmpCall call;
    QmpSession *qmp;             /* control mode */
    bool work_posted;            /* a turn of the queue is on its way */
    Readline *readline;          /* readline mode */
    bool opened, banner_due, attaching;
    bool in_background;          /* somebody else has the shared terminal */
    GString *gathered;           /* human-monitor-command: output goes here */
    int cpu_index;               /* -1: the first */
    int pending_fd;              /* SCM_RIGHTS of the current request */
};

/* Runs one line of HMP. */
void hmp_run_line(Monitor *mon, const char *line);
/* Completions of the last word of LINE, whole words, for the line editor; the caller frees. */
GPtrArray *hmp_complete(Monitor *mon, const char *line);

#endif
