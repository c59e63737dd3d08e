/* SPDX-License-Identifier: MIT */
/*
 * vCPU threads.  Between two calls of the accelerator's cpu_run() a thread holds the machine lock
 * and is at a safe point; there it runs queued work, stops, or sleeps while the guest halts.
 *
 *           work, stop                     has_work or kick
 *   start -> SAFE POINT <------------------ ASLEEP (lock dropped)
 *              |  ^   `--- nothing to do ----^
 *              v  | exit_request, halt
 *            cpu_run() (lock dropped)
 *
 * Wake-ups are not lost: whoever wants something stores it, then cpu_kick() or cpu_wake() sets `woken` under
 * wake_lock; the sleeper tests `woken` under the same lock before it sleeps.
 */
#include "vm/cpu.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "vm/accel.h"
#include "vm/vm_int.h"

typedef struct Work {
    void (*fn)(Cpu *cpu, void *opaque);
    void *opaque;
    bool *done;               /* NULL: nobody waits, the work is freed */
} Work;

/* Broadcast under the machine lock whenever a vCPU stops, starts or finishes work. */
static Cond safe_point_cond = { .cond = PTHREAD_COND_INITIALIZER };
static _Thread_local Cpu *current;

Cpu *cpu_current(void)
{
    return current;
}

void cpu_init(Cpu *cpu)
{
    mutex_init(&cpu->wake_lock, "vcpu wake-up", LOCK_RANK_CPU);
    cond_init(&cpu->wake_cond);
    g_queue_init(&cpu->work);
    cpu->stop_request = 1;
}

void cpu_clear(Cpu *cpu)
{
    mutex_clear(&cpu->wake_lock);
    cond_clear(&cpu->wake_cond);
}

static void end_sleep(Cpu *cpu)
{
    mutex_lock(&cpu->wake_lock);
    cpu->woken = true;
    cond_signal(&cpu->wake_cond);
    mutex_unlock(&cpu->wake_lock);
}

void cpu_kick(Cpu *cpu)
{
    const AccelType *accel = accel_type(cpu->dev.vm->accel);

    __atomic_store_n(&cpu->exit_request, 1, __ATOMIC_SEQ_CST);
    if (cpu != current && accel->cpu_kick) {
        accel->cpu_kick(cpu);
    }
    end_sleep(cpu);
}

void cpu_wake(Cpu *cpu)
{
    const AccelType *accel = accel_type(cpu->dev.vm->accel);

    if (accel->cpu_wake && accel->cpu_wake(cpu)) {
        end_sleep(cpu);
    } else {
        cpu_kick(cpu);
    }
}

static void sleep_until_woken(Cpu *cpu)
{
    machine_unlock();
    mutex_lock(&cpu->wake_lock);
    while (!cpu->woken) {
        cond_wait(&cpu->wake_cond, &cpu->wake_lock);
    }
    cpu->woken = false;
    mutex_unlock(&cpu->wake_lock);
    machine_lock();
}

void cpu_doze(Cpu *cpu, int64_t ns)
{
    mutex_lock(&cpu->wake_lock);
    if (!cpu->woken) {
        cond_wait_ns(&cpu->wake_cond, &cpu->wake_lock, ns);
    }
    cpu->woken = false;       /* what it was for has been stored before, and is looked at after */
    mutex_unlock(&cpu->wake_lock);
}

static void run_queued_work(Cpu *cpu)
{
    Work *w;

    while ((w = g_queue_pop_head(&cpu->work))) {
        w->fn(cpu, w->opaque);
        if (w->done) {
            *w->done = true;
            cond_broadcast(&safe_point_cond);
        } else {
            g_free(w);
        }
    }
}

static bool may_run(Cpu *cpu)
{
    if (cpu->stop_request) {
        return false;
    }
    return !__atomic_load_n(&cpu->halted, __ATOMIC_SEQ_CST) || cpu_class(cpu)->has_work(cpu);
}

static void set_stopped(Cpu *cpu, bool stopped)
{
    if (cpu->stopped != stopped) {
        cpu->stopped = stopped;
        cond_broadcast(&safe_point_cond);
    }
}

static void *cpu_thread(void *opaque)
{
    Cpu *cpu = opaque;
    const AccelType *accel = accel_type(cpu->dev.vm->accel);

    current = cpu;
    cpu->thread_id = syscall(SYS_gettid);
    machine_lock();
    cpu->stopped = true;
    cpu->created = true;
    cond_broadcast(&safe_point_cond);
    while (!cpu->unplug) {
        if (accel->cpu_get_state && (cpu->stop_request || !g_queue_is_empty(&cpu->work))) {
            accel->cpu_get_state(cpu);      /* others look at the registers now */
        }
        run_queued_work(cpu);
        set_stopped(cpu, cpu->stop_request);
        if (!may_run(cpu)) {
            if (g_queue_is_empty(&cpu->work) && !cpu->unplug) {
                sleep_until_woken(cpu);
            }
            continue;
        }
        machine_unlock();
        accel->cpu_run(cpu);
        machine_lock();
    }
    if (accel->cpu_destroy) {
        accel->cpu_destroy(cpu);
    }
    cpu->created = false;
    machine_unlock();
    return NULL;
}

typedef struct InitCall {
    GError **error;
    bool ok;
} InitCall;

static void init_on_thread(Cpu *cpu, void *opaque)
{
    InitCall *call = opaque;
    const AccelType *accel = accel_type(cpu->dev.vm->accel);

    call->ok = !accel->cpu_init || accel->cpu_init(cpu, call->error);
}

bool cpu_start(Cpu *cpu, GError **error)
{
    InitCall call = { .error = error };
    sigset_t all, old;
    char name[16];
    int err;

    /* Signals are the main thread's; the accelerator opens its own in cpu_init(). */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    err = pthread_create(&cpu->thread, NULL, cpu_thread, cpu);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) {
        return error_set_errno(error, err, "Cannot start the thread of CPU %u", cpu->index);
    }
    snprintf(name, sizeof(name), "CPU %u", cpu->index);
    pthread_setname_np(cpu->thread, name);
    g_ptr_array_add(cpu->dev.vm->cpus, cpu);
    while (!cpu->created) {
        cond_wait(&safe_point_cond, machine_mutex());
    }
    cpu_run_on(cpu, init_on_thread, &call);
    if (!call.ok) {
        cpu_stop(cpu);
    }
    return call.ok;
}

void cpu_stop(Cpu *cpu)
{
    cpu->unplug = true;
    cpu->stop_request = 1;
    cpu_kick(cpu);
    machine_unlock();
    pthread_join(cpu->thread, NULL);
    machine_lock();
    g_ptr_array_remove(cpu->dev.vm->cpus, cpu);
}

void cpu_run_on(Cpu *cpu, void (*fn)(Cpu *cpu, void *opaque), void *opaque)
{
    bool done = false;
    Work w = { fn, opaque, &done };

    if (cpu == current) {
        fn(cpu, opaque);
        return;
    }
    g_queue_push_tail(&cpu->work, &w);
    cpu_kick(cpu);
    while (!done) {
        cond_wait(&safe_point_cond, machine_mutex());
    }
}

void cpu_run_on_async(Cpu *cpu, void (*fn)(Cpu *cpu, void *opaque), void *opaque)
{
    Work *w = g_new0(Work, 1);

    *w = (Work){ .fn = fn, .opaque = opaque };
    g_queue_push_tail(&cpu->work, w);
    cpu_kick(cpu);
}

static bool all_stopped(Vm *vm)
{
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(vm->cpus, i);

        if (!cpu->stopped && cpu != current) {
            return false;
        }
    }
    return true;
}

void cpus_pause(Vm *vm)
{
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(vm->cpus, i);

        cpu->stop_request = 1;
        cpu_kick(cpu);
    }
    while (!all_stopped(vm)) {
        cond_wait(&safe_point_cond, machine_mutex());
    }
}

static void put_state(Cpu *cpu, void *opaque)
{
    accel_type(cpu->dev.vm->accel)->cpu_put_state(cpu);
}

void cpus_resume(Vm *vm)
{
    /* Before any of them runs: it might send another one something that its new state overwrites. */
    for (unsigned i = 0; i < vm->cpus->len && accel_type(vm->accel)->cpu_put_state; i++) {
        cpu_run_on(g_ptr_array_index(vm->cpus, i), put_state, NULL);
    }
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(vm->cpus, i);

        cpu->stop_request = 0;
        cpu_kick(cpu);
    }
}

static const CpuClass cpu_class_row = {
    .dev = { .name = "cpu", .abstract = true, .size = sizeof(Cpu),
             .category = DEVICE_CATEGORY_CPU },
};
TYPE_ROW(cpu, &cpu_class_row, "device");
