/* SPDX-License-Identifier: MIT */
/*
 * Reset, shutdown, power button, panic: wishes and what becomes of them.
 *
 * Anyone notes a wish with an atomic store and schedules the bottom half; the main loop acts, in a
 * fixed order, with the machine lock held.  The end of the process is a property of the loop:
 * system_run() returns the exit status once `loop_ended` is set.
 */
#include "system/system.h"

#include "base/error.h"
#include "base/log.h"
#include "vm/cpu.h"

static void note(System *sys, int *wish, int value)
{
    __atomic_store_n(wish, value, __ATOMIC_SEQ_CST);
    bh_schedule(sys->run.bh);
}

static int take(int *wish)
{
    return __atomic_exchange_n(wish, 0, __ATOMIC_SEQ_CST);
}

/* ---- VmHost ---- */

static void host_reset(Vm *vm, ShutdownCause cause)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.reset_cause, cause);
}

static void host_shutdown(Vm *vm, ShutdownCause cause)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.shutdown_cause, cause);
}

static void host_suspend(Vm *vm)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.suspend, 1);
}

static void host_wakeup(Vm *vm, const char *reason)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.wakeup, 1);
}

static void host_panicked(Vm *vm)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.panicked, 1);
}

static void host_crashloaded(Vm *vm)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.crashloaded, 1);
}

static void host_watchdog(Vm *vm)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.watchdog, 1);
}

static void host_exit(Vm *vm, int status)
{
    System *sys = vm->host_opaque;

    __atomic_store_n(&sys->run.exit_status, status, __ATOMIC_SEQ_CST);
    note(sys, &sys->run.exit_requested, 1);
}

static void host_stop(Vm *vm, RunState state)
{
    System *sys = vm->host_opaque;

    note(sys, &sys->run.stop_state, (int)state + 1);
}

static void host_device_deleted(Vm *vm, const char *id, const char *path)
{
    qapi_event_device_deleted(id, path);
}

static const VmHost vm_host = {
    .request_reset = host_reset,
    .request_shutdown = host_shutdown,
    .request_suspend = host_suspend,
    .request_wakeup = host_wakeup,
    .guest_panicked = host_panicked,
    .guest_crashloaded = host_crashloaded,
    .watchdog_expired = host_watchdog,
    .request_exit = host_exit,
    .request_stop = host_stop,
    .device_deleted = host_device_deleted,
};

void system_request_powerdown(System *sys)
{
    note(sys, &sys->run.powerdown, 1);
}

/* ---- acting ---- */

static bool caused_by_guest(ShutdownCause cause)
{
    return cause >= SHUTDOWN_CAUSE_GUEST_SHUTDOWN;
}

static void end_loop(System *sys, int status)
{
    if (!sys->run.loop_ended) {
        sys->run.loop_ended = true;
        sys->run.exit_status = status;
        event_loop_quit(event_loop_main());
    }
}

static void act_on_shutdown(System *sys, ShutdownCause cause)
{
    bool final = cause == SHUTDOWN_CAUSE_HOST_QMP_QUIT || cause == SHUTDOWN_CAUSE_HOST_SIGNAL;

    qapi_event_shutdown(caused_by_guest(cause), (QapiShutdownCause)cause);
    if (sys->run.shutdown == QAPI_SHUTDOWN_ACTION_PAUSE && !final) {
        vm_stop(sys->vm, RUN_STATE_SHUTDOWN);
        return;
    }
    sys->run.ending = true;
    vm_stop(sys->vm, RUN_STATE_SHUTDOWN);
    end_loop(sys, cause == SHUTDOWN_CAUSE_GUEST_PANIC &&
                          sys->run.panic == QAPI_PANIC_ACTION_EXIT_FAILURE ? 1 : 0);
}

static void act_on_reset(System *sys, ShutdownCause cause)
{
    bool was_running = vm_is_running(sys->vm);

    if (cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET &&
        sys->run.reboot == QAPI_REBOOT_ACTION_SHUTDOWN) {
        act_on_shutdown(sys, cause);
        return;
    }
    if (was_running) {
        cpus_pause(sys->vm);
    }
    vm_reset(sys->vm);
    if (was_running) {
        cpus_resume(sys->vm);
    }
    if (cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET) {
        qapi_event_reset(caused_by_guest(cause), (QapiShutdownCause)cause);
    }
    if (!was_running) {
        vm_stop(sys->vm, RUN_STATE_PRELAUNCH);   /* whatever stopped it is over: ready for cont */
    }
}

static void act_on_panic(System *sys)
{
    const RunControl *r = &sys->run;
    QapiGuestPanicAction action = QAPI_GUEST_PANIC_ACTION_RUN;

    if (r->panic == QAPI_PANIC_ACTION_PAUSE ||
        (r->panic == QAPI_PANIC_ACTION_SHUTDOWN && r->shutdown == QAPI_SHUTDOWN_ACTION_PAUSE)) {
        action = QAPI_GUEST_PANIC_ACTION_PAUSE;
    } else if (r->panic != QAPI_PANIC_ACTION_NONE) {
        action = QAPI_GUEST_PANIC_ACTION_POWEROFF;
    }
    qapi_event_guest_panicked(action, NULL);
    if (action != QAPI_GUEST_PANIC_ACTION_RUN) {
        vm_stop(sys->vm, RUN_STATE_GUEST_PANICKED);
    }
    if (action == QAPI_GUEST_PANIC_ACTION_POWEROFF) {
        act_on_shutdown(sys, SHUTDOWN_CAUSE_GUEST_PANIC);
    }
}

static void act_on_watchdog(System *sys)
{
    QapiWatchdogAction action = sys->run.watchdog_action;

    qapi_event_watchdog(action);
    switch (action) {
    case QAPI_WATCHDOG_ACTION_RESET:
        act_on_reset(sys, SHUTDOWN_CAUSE_GUEST_RESET);
        break;
    case QAPI_WATCHDOG_ACTION_SHUTDOWN:
        vm_powerdown(sys->vm);
        qapi_event_powerdown();
        break;
    case QAPI_WATCHDOG_ACTION_POWEROFF:
        act_on_shutdown(sys, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
        break;
    case QAPI_WATCHDOG_ACTION_PAUSE:
        vm_stop(sys->vm, RUN_STATE_WATCHDOG);
        break;
    default:
        log_printf("watchdog: timer fired\n");
        break;
    }
}

static void act_on_wakeup(System *sys)
{
    if (sys->vm->state == RUN_STATE_SUSPENDED) {
        vm_reset(sys->vm);
        sys->run.waking = true;
        vm_start(sys->vm);
        sys->run.waking = false;
        qapi_event_wakeup();
    }
}

static void act(void *opaque)
{
    System *sys = opaque;
    RunControl *r = &sys->run;
    int value;

    if (take(&r->signal)) {
        g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", r->signal_pid);
        g_autofree char *command = NULL;

        g_file_get_contents(path, &command, NULL, NULL);
        error_report("terminating on signal %d from pid %d (%s)", r->exit_status, r->signal_pid,
                     command ? command : "<unknown process>");
        act_on_shutdown(sys, SHUTDOWN_CAUSE_HOST_SIGNAL);
    }
    if (take(&r->exit_requested)) {
        vm_stop(sys->vm, RUN_STATE_SHUTDOWN);
        end_loop(sys, r->exit_status);
    }
    if (take(&r->panicked)) {
        act_on_panic(sys);
    }
    if (take(&r->crashloaded)) {
        qapi_event_guest_crashloaded(QAPI_GUEST_PANIC_ACTION_RUN, NULL);
    }
    if (take(&r->suspend)) {
        vm_stop(sys->vm, RUN_STATE_SUSPENDED);
        qapi_event_suspend();
    }
    if ((value = take(&r->shutdown_cause))) {
        act_on_shutdown(sys, (ShutdownCause)value);
    }
    if ((value = take(&r->reset_cause)) && !r->loop_ended) {
        act_on_reset(sys, (ShutdownCause)value);
    }
    if (take(&r->wakeup)) {
        act_on_wakeup(sys);
    }
    if (take(&r->powerdown)) {
        qapi_event_powerdown();
        vm_powerdown(sys->vm);
    }
    if (take(&r->watchdog)) {
        act_on_watchdog(sys);
    }
    if ((value = take(&r->stop_state))) {
        vm_stop(sys->vm, (RunState)(value - 1));
    }
}

static void state_changed(void *opaque, bool running, RunState state)
{
    const RunControl *r = &((System *)opaque)->run;

    /* SUSPEND, WAKEUP and SHUTDOWN say it all. */
    if (running && !r->waking) {
        qapi_event_resume();
    } else if (!running && !r->ending && state != RUN_STATE_SUSPENDED) {
        qapi_event_stop();
    }
}

void run_control_init(System *sys)
{
    sys->run.bh = bh_new(event_loop_main(), act, sys);
    sys->run.panic = QAPI_PANIC_ACTION_SHUTDOWN;
    sys->run.shutdown = QAPI_SHUTDOWN_ACTION_POWEROFF;
    sys->run.watchdog_action = QAPI_WATCHDOG_ACTION_RESET;
    sys->vm->host = &vm_host;
    sys->vm->host_opaque = sys;
    vm_add_state_hook(sys->vm, state_changed, sys);
}

int system_run(System *sys)
{
    event_loop_run(event_loop_main());
    return sys->run.exit_status;
}
