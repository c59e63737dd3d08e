/* SPDX-License-Identifier: MIT */
/*
 * Monitors: QMP and HMP on character devices.
 *
 * A MonitorHub is the process's set of monitors: it owns them, is the sink of QAPI events and holds
 * what they share.  Each Monitor is one front end on a back end, in control mode (QMP) or
 * readline mode (HMP).  A Monitor without a back end can be made for a single HMP line; its output is
 * gathered (human-monitor-command).
 *
 * Thread rule: main loop with the machine lock; qapi_event_*() from any thread.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "chardev/frontend.h"
#include "qapi/qapi.h"
#include "vm/vm.h"

typedef struct Monitor Monitor;
typedef struct MonitorHub MonitorHub;

typedef struct MonitorHubConfig {
    Vm *vm;
    void *system;                    /* becomes QmpCall.system */
    const QapiCommand *commands;     /* sorted by name */
    unsigned command_count;
} MonitorHubConfig;

MonitorHub *monitor_hub_new(const MonitorHubConfig *config);
/* Until then monitors greet, but commands wait: while the machine is being made, who waits for a disk
 * lets the main loop turn. */
void monitor_hub_open(MonitorHub *hub);
void monitor_hub_free(MonitorHub *hub);

/* CHARDEV is the name of a back end that nobody uses (or a multiplexed one). */
bool monitor_add_qmp(MonitorHub *hub, const char *chardev, bool pretty, GError **error);
/* READLINE: with line editing, for terminals.  SHARED: behind a serial port, on the same
 * multiplexed terminal. */
bool monitor_add_hmp(MonitorHub *hub, const char *chardev, bool readline, bool shared,
                     GError **error);

/* Runs one HMP line and returns what it printed. */
char *monitor_run_hmp(MonitorHub *hub, const char *line, int cpu_index, GError **error);
MonitorHub *monitor_hub(Monitor *mon);
Vm *monitor_vm(Monitor *mon);

/* Output of HMP commands; "\n" becomes "\r\n". */
void monitor_printf(Monitor *mon, const char *format, ...) G_GNUC_PRINTF(2, 3);
void monitor_puts(Monitor *mon, const char *text);
/* Runs a QMP command for MON; ARGS (may be NULL) is taken.  On an error, prints "Error: ..." and
 * returns NULL. */
Json *monitor_qmp(Monitor *mon, const char *command, Json *args);
/* As above, when the answer does not matter. */
void monitor_do(Monitor *mon, const char *command, Json *args);
/* The CPU that HMP commands look at; NULL when there is none. */
struct Cpu *monitor_cpu(Monitor *mon);
bool monitor_set_cpu(Monitor *mon, int index);
/* The file descriptor that came with the request, or -1. */
int monitor_take_fd(Monitor *mon);
/* Descriptors kept by getfd; monitor_get_fd() hands over ownership. */
void monitor_keep_fd(MonitorHub *hub, const char *name, int fd);
int monitor_get_fd(MonitorHub *hub, const char *name, GError **error);
/* For a key's worth of input to come: called by commands that finish later. */
bool monitor_negotiate(Monitor *mon, bool oob, GError **error);

/* Lines that earlier commands of an HMP monitor consisted of, latest last. */
GPtrArray *monitor_history(Monitor *mon);

#endif
