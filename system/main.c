/* SPDX-License-Identifier: MIT */
/*
 * rhea-system-x86_64: the order of things.
 *
 *   parse -> CONFIG -> fork -> OBJECTS -> BLOCK -> MONITORS -> machine -> DEVICES -> run -> clean up
 *
 * Whatever fails before the guest runs is one line on stderr and exit status 1.
 */
#include "system/system.h"

#include "base/crash.h"
#include "base/daemon.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "chardev/chardev.h"
#include "monitor/create.h"
#include "qapi/qapi_commands.h"
#include "system/backends.h"
#include "target-x86/x86_cpu.h"
#include "ui/vc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void system_init(System *sys)
{
    *sys = (System){
        .accels = g_ptr_array_new_with_free_func(g_free),
        .serials = g_ptr_array_new_with_free_func(g_free),
        .parallels = g_ptr_array_new_with_free_func(g_free),
        .monitors = g_ptr_array_new_with_free_func(g_free),
        .shared_monitors = g_ptr_array_new_with_free_func(g_free),
        .display_options = { .window_close = true },
        .default_serial = true, .default_parallel = true, .default_monitor = true,
        .default_vga = true, .default_net = true, .default_cdrom = true, .default_floppy = true,
        .daemon_pipe = -1, .pidfile_fd = -1,
    };
    x86_cpu_register_types();
    vc_register();
    sys->vm = vm_new();
    clock_attach(sys->vm->clock, NULL);
    clock_attach(sys->vm->host_clock, NULL);
    clock_attach(sys->vm->realtime_clock, NULL);
    run_control_init(sys);
}

static bool check_combinations(System *sys, GError **error)
{
    replace_defaults(sys);
    if (options_has(sys, "qmp") || options_has(sys, "qmp-pretty") || options_has(sys, "mon")) {
        sys->default_monitor = false;
    }
    if (sys->nodefaults) {
        sys->default_serial = sys->default_parallel = sys->default_monitor = false;
        sys->default_vga = sys->default_net = sys->default_cdrom = sys->default_floppy = false;
    }
    if (sys->daemonize && sys->nographic && (sys->default_serial || sys->default_monitor)) {
        return error_set(error, "-nographic puts serial port and monitor on the terminal, which "
                                "-daemonize leaves; use -display none");
    }
    return true;
}

static bool dump_vmstate(System *sys, GError **error)
{
    const MachineType *type = system_machine_type(sys, error);
    g_autoptr(Json) json = type ? vmstate_dump_types(type->machine) : NULL;
    g_autofree char *text = json_to_pretty(json);

    return type && g_file_set_contents(sys->dump_vmstate, text, -1, error);
}

/* Everything there is, and what comes later. */
static bool lock_memory(System *sys, GError **error)
{
    return !sys->mem_lock || mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ||
           error_set_errno(error, errno, "-overcommit mem-lock=on: cannot lock memory (is 'ulimit "
                           "-l' large enough?)");
}

static bool start(System *sys, int argc, char **argv, GError **error)
{
    MonitorHubConfig hub = { sys->vm, sys, qapi_commands, qapi_command_count };

    if (!options_parse(sys, argc, argv, error) || !options_answer_help(sys, error) ||
        !options_apply(sys, PHASE_CONFIG, error) || !check_combinations(sys, error) ||
        (sys->daemonize && !daemon_fork(&sys->daemon_pipe, error))) {
        return false;
    }
    sys->hub = monitor_hub_new(&hub);
    signals_install(sys);
    connect_block_hooks(sys);
    if (sys->dump_vmstate) {
        return dump_vmstate(sys, error);
    }
    return options_apply(sys, PHASE_OBJECTS, error) && system_machine_type(sys, error) &&
           create_default_chardevs(sys, error) && options_apply(sys, PHASE_BLOCK, error) &&
           options_apply(sys, PHASE_MONITORS, error) && connect_monitors(sys, error) &&
           system_create_machine(sys, error) && options_apply(sys, PHASE_MACHINE, error) &&
           system_create_default_devices(sys, error) && create_default_drives(sys, error) &&
           options_apply(sys, PHASE_DEVICES, error) && connect_qtest(sys, error) &&
           connect_display(sys, error);
}

/* Before the guest ran: the terminal as it was, no sockets left; then the line. */
static int fail(GError *error)
{
    chardev_cleanup();
    error_report("%s", error->message);
    return 1;
}

int main(int argc, char **argv)
{
    static System sys;
    g_autoptr(GError) error = NULL;
    int status;

    thread_set_main();
    report_set_program(argv[0]);
    crash_init(report_program());
    machine_lock_enter_main_loop();
    system_init(&sys);
    if (!start(&sys, argc, argv, &error)) {
        return fail(error);
    }
    if (sys.dump_vmstate) {
        return 0;
    }
    globals_warn_unused();
    machine_done(sys.vm->machine);
    vm_reset(sys.vm);
    if (!lock_memory(&sys, &error) || !pidfile_write(sys.pidfile, &sys.pidfile_fd, &error)) {
        return fail(error);
    }
    if (!sys.start_paused) {
        vm_start(sys.vm);
    }
    if (!daemon_ready(&sys.daemon_pipe, &error)) {
        pidfile_remove(sys.pidfile, &sys.pidfile_fd);
        return fail(error);
    }
    monitor_hub_open(sys.hub);
    status = system_run(&sys);
    disconnect_backends(&sys);
    monitor_hub_free(sys.hub);
    pidfile_remove(sys.pidfile, &sys.pidfile_fd);
    return status;
}
