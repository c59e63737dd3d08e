/* SPDX-License-Identifier: MIT */
/*
 * The system emulator: from a command line to a running machine.
 *
 *   options.c    the option table; gathers uses of options in order, runs them by phase
 *   config.c     handlers of options that only note something in System
 *   topology.c   -smp and -m
 *   create.c     accelerator, machine, default devices
 *   runstate.c   reset, shutdown, panic: what the guest wishes and what -action makes of it
 *   daemon.c     -daemonize, -pidfile, signals
 *
 * There is one System a process, on main()'s stack; everything gets it passed.
 * Thread rule: main loop, machine lock held.
 */
#ifndef SYSTEM_SYSTEM_H
#define SYSTEM_SYSTEM_H

#include "base/event_loop.h"
#include "base/keyval.h"
#include "monitor/monitor.h"
#include "qapi/qapi_types.h"
#include "ui/display.h"
#include "vm/machine.h"
#include "vm/vm.h"

typedef struct System System;
typedef struct OptionRow OptionRow;

/* Options take effect phase by phase, within one in the order of the command line. */
typedef enum Phase {
    PHASE_CONFIG,            /* notes; touches nothing but System, log and traces */
    PHASE_OBJECTS,           /* -object, -chardev, -add-fd: what others refer to */
    PHASE_BLOCK,             /* -blockdev, -drive and friends */
    PHASE_MONITORS,
    PHASE_MACHINE,           /* between this and the next the board is built */
    PHASE_DEVICES,
    PHASES,
} Phase;

typedef struct OptionUse {
    const OptionRow *row;
    char *arg;               /* NULL: the option takes none */
    char *shown;             /* "-m 0", for messages */
} OptionUse;

typedef enum RebootAction { REBOOT_RESET, REBOOT_SHUTDOWN } RebootAction;
typedef enum ShutdownAction { SHUTDOWN_POWEROFF, SHUTDOWN_PAUSE } ShutdownAction;

/* Wishes noted from any thread; runstate.c acts on them in the main loop. */
typedef struct RunControl {
    Bh *bh;
    int reset_cause, shutdown_cause;     /* ShutdownCause; 0: none */
    int powerdown, suspend, wakeup, panicked, crashloaded, watchdog;
    int stop_state;                      /* RunState + 1 */
    int exit_requested, exit_status;
    int signal, signal_pid;
    bool loop_ended;
    bool ending;                         /* for good: SHUTDOWN was told */
    bool waking;                         /* WAKEUP is about to be told */
    QapiRebootAction reboot;
    QapiShutdownAction shutdown;
    QapiPanicAction panic;
    QapiWatchdogAction watchdog_action;
} RunControl;

struct System {
    Vm *vm;
    MonitorHub *hub;
    RunControl run;
    GPtrArray *uses;         /* OptionUse */

    /* Noted by options. */
    KeyVal *machine_opts, *smp_opts, *memory_opts, *boot_opts, *rtc_opts;
    KeyVal *tcg_opts;        /* properties of the tcg accelerator that have options of their own */
    const char *tcg_option;  /* one of those: nothing but TCG will do; NULL: none was given */
    GPtrArray *accels;       /* char *: "kvm,kernel-irqchip=off" */
    char *cpu, *kernel, *initrd, *append, *dtb, *bios;
    char *name, *uuid;
    char *display, *vga;     /* NULL: the default */
    DisplayOptions display_options;
    const DisplayKind *display_kind;     /* once open */
    unsigned migrate_capabilities;       /* BIT(QapiMigrationCapability) */
    GPtrArray *serials, *parallels, *monitors;   /* char *: chardev specs, in order */
    GPtrArray *shared_monitors;      /* char *: back ends that "mon:" shares with a monitor */
    unsigned monitor_count;          /* -monitor and -qmp so far */
    void *qtest_connection;          /* backends.c */
    char *mem_path;
    bool mem_prealloc, mem_lock;
    char *pidfile, *dump_vmstate, *qtest, *qtest_log;
    bool nodefaults, nographic, start_paused, daemonize, no_hpet, no_acpi, snapshot;
    bool ports_are_default;  /* serials and parallels hold only what is there unless refused */
    bool serial_is_default, parallel_is_default;      /* each of them */
    bool default_serial, default_parallel, default_monitor, default_vga, default_net,
        default_cdrom, default_floppy;
    int daemon_pipe;         /* the waiting parent; -1: none */
    int pidfile_fd;
};

/* ---- options.c ---- */

struct OptionRow {
    const char *name;        /* without the dash */
    const char *aliases;     /* "h|help": further names, split by '|' */
    const char *arg;         /* how help shows the argument; NULL: takes none */
    const char *help;
    Phase phase;
    bool (*apply)(System *sys, const char *arg, GError **error);
    const char *group;       /* of -set, -readconfig and query-command-line-options */
    const char *params;      /* "name:type ...": types string, number, boolean, size */
    bool any_params;         /* the group takes any parameter (-device) */
};
extern const OptionRow option_table[];
extern const unsigned option_count;

/* Fills sys->uses; reports and returns false on the first bad word. */
bool options_parse(System *sys, int argc, char **argv, GError **error);
bool options_apply(System *sys, Phase phase, GError **error);
/* Whether the option has been given. */
bool options_has(const System *sys, const char *name);
/* Prints and exits when a list was asked for. */
bool options_answer_help(System *sys, GError **error);
void options_add_use(System *sys, const char *name, const char *arg);
void options_print_help(void);

/* ---- config.c ---- (handlers, named after their option) */
#define DECLARE_OPTION(id) bool opt_##id(System *sys, const char *arg, GError **error)
DECLARE_OPTION(help);
DECLARE_OPTION(version);
DECLARE_OPTION(machine);
DECLARE_OPTION(accel);
DECLARE_OPTION(icount);
DECLARE_OPTION(singlestep);
DECLARE_OPTION(perfmap);
DECLARE_OPTION(enable_kvm);
DECLARE_OPTION(cpu);
DECLARE_OPTION(smp);
DECLARE_OPTION(m);
DECLARE_OPTION(mem_path);
DECLARE_OPTION(mem_prealloc);
DECLARE_OPTION(overcommit);
DECLARE_OPTION(option_rom);
DECLARE_OPTION(k);
DECLARE_OPTION(audiodev);
DECLARE_OPTION(sandbox);
DECLARE_OPTION(boot);
DECLARE_OPTION(rtc);
DECLARE_OPTION(name);
DECLARE_OPTION(uuid);
DECLARE_OPTION(kernel);
DECLARE_OPTION(initrd);
DECLARE_OPTION(append);
DECLARE_OPTION(bios);
DECLARE_OPTION(L);
DECLARE_OPTION(smbios);
DECLARE_OPTION(full_screen);
DECLARE_OPTION(display);
DECLARE_OPTION(vga);
DECLARE_OPTION(nographic);
DECLARE_OPTION(nodefaults);
DECLARE_OPTION(no_user_config);
DECLARE_OPTION(S);
DECLARE_OPTION(d);
DECLARE_OPTION(D); DECLARE_OPTION(dfilter);
DECLARE_OPTION(trace);
DECLARE_OPTION(msg);
DECLARE_OPTION(no_reboot);
DECLARE_OPTION(no_shutdown);
DECLARE_OPTION(action);
DECLARE_OPTION(watchdog_action);
DECLARE_OPTION(daemonize);
DECLARE_OPTION(pidfile);
DECLARE_OPTION(no_hpet);
DECLARE_OPTION(no_acpi);
DECLARE_OPTION(no_fd_bootchk);
DECLARE_OPTION(snapshot);
DECLARE_OPTION(global);
DECLARE_OPTION(set);
DECLARE_OPTION(readconfig);
DECLARE_OPTION(serial);
DECLARE_OPTION(parallel);
DECLARE_OPTION(monitor);
DECLARE_OPTION(qmp);
DECLARE_OPTION(qmp_pretty);
DECLARE_OPTION(mon);
DECLARE_OPTION(add_fd);
DECLARE_OPTION(chardev);
DECLARE_OPTION(object);
DECLARE_OPTION(device);
DECLARE_OPTION(drive);
DECLARE_OPTION(blockdev);
DECLARE_OPTION(hda);
DECLARE_OPTION(hdb);
DECLARE_OPTION(hdc);
DECLARE_OPTION(hdd);
DECLARE_OPTION(cdrom);
DECLARE_OPTION(fda);
DECLARE_OPTION(fdb);
DECLARE_OPTION(debugcon);
DECLARE_OPTION(fw_cfg);
DECLARE_OPTION(no_net);
DECLARE_OPTION(echr);
DECLARE_OPTION(qtest);
DECLARE_OPTION(qtest_log);
DECLARE_OPTION(dump_vmstate);

/* ---- topology.c ---- */
bool topology_parse(KeyVal *smp, const MachineType *type, CpuTopology *out, GError **error);
bool memory_parse(KeyVal *memory, const MachineType *type, Machine *machine, GError **error);

/* ---- create.c ---- */
/* What "-machine X" selects; NULL with an error. */
const MachineType *system_machine_type(System *sys, GError **error);
bool system_create_machine(System *sys, GError **error);
bool system_create_default_devices(System *sys, GError **error);

/* ---- runstate.c ---- */
void run_control_init(System *sys);
/* Until the emulator is to end; the exit status. */
int system_run(System *sys);
void system_request_powerdown(System *sys);

/* ---- daemon.c ---- */
void signals_install(System *sys);
/* Drops the default devices that -device options replace. */
void replace_defaults(System *sys);

#endif
