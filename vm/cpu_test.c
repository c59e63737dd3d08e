/* SPDX-License-Identifier: MIT */
/* vCPU threads under an accelerator that only spins, so that kicks are what ends each run. */
#include "vm/accel.h"
#include "vm/cpu.h"

typedef struct SpinCpu {
    Cpu cpu;
    int wakes;                /* pending events: has_work */
    uint64_t rounds;          /* times in cpu_run */
} SpinCpu;

static void spin_run(Cpu *cpu)
{
    SpinCpu *s = (SpinCpu *)(void *)cpu;

    __atomic_add_fetch(&s->rounds, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&s->wakes, __ATOMIC_SEQ_CST) > 0) {
        __atomic_sub_fetch(&s->wakes, 1, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&cpu->halted, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
}

/* It is never long in cpu_run. */
static bool spin_wake(Cpu *cpu)
{
    return cpu->index != 2;
}

ACCEL_TYPE(spin, .name = "spin-accel", .accel = "spin", .size = sizeof(Accel),
           .cpu_run = spin_run, .cpu_wake = spin_wake);

static bool spin_has_work(Cpu *cpu)
{
    return __atomic_load_n(&((SpinCpu *)(void *)cpu)->wakes, __ATOMIC_SEQ_CST) > 0;
}

static void spin_init(Object *obj)
{
    cpu_init((Cpu *)(void *)obj);
}

static void spin_finalize(Object *obj)
{
    cpu_clear((Cpu *)(void *)obj);
}

static const CpuClass spin_cpu_class = {
    .dev = { .name = "spin-cpu", .size = sizeof(SpinCpu), .init = spin_init,
             .finalize = spin_finalize },
    .has_work = spin_has_work,
};
TYPE_ROW(spin_cpu, &spin_cpu_class, "cpu");

enum { CPUS = 3 };

typedef struct Rig {
    Vm *vm;
    SpinCpu *cpus[CPUS];
} Rig;

static void rig_init(Rig *rig)
{
    machine_lock();
    rig->vm = vm_new();
    rig->vm->accel = (Accel *)(void *)object_new_known(type_find("spin-accel"));
    for (unsigned i = 0; i < CPUS; i++) {
        Device *dev = device_create(rig->vm, "spin-cpu", NULL, NULL, NULL);
        bool ok;

        rig->cpus[i] = (SpinCpu *)(void *)dev;
        rig->cpus[i]->cpu.index = i;
        ok = cpu_start(&rig->cpus[i]->cpu, NULL);
        g_assert_true(ok);
    }
}

static void rig_clear(Rig *rig)
{
    vm_stop(rig->vm, RUN_STATE_SHUTDOWN);
    for (unsigned i = 0; i < CPUS; i++) {
        cpu_stop(&rig->cpus[i]->cpu);
    }
    object_unref(OBJECT(rig->vm->accel));
    vm_free(rig->vm);
    machine_unlock();
}

static void wait_for_rounds(SpinCpu *s, uint64_t rounds)
{
    machine_unlock();
    while (__atomic_load_n(&s->rounds, __ATOMIC_RELAXED) < rounds) {
        g_thread_yield();
    }
    machine_lock();
}

static void test_nothing_runs_before_start(void)
{
    Rig rig;

    rig_init(&rig);
    g_assert_true(rig.cpus[0]->cpu.stopped);
    g_assert_cmpuint(rig.cpus[0]->rounds, ==, 0);
    vm_start(rig.vm);
    for (unsigned i = 0; i < CPUS; i++) {
        wait_for_rounds(rig.cpus[i], 1);
    }
    rig_clear(&rig);
}

/* Each event is delivered only after the last one was served: a lost wake-up would hang here. */
static void test_no_wakeup_is_lost(void)
{
    Rig rig;

    rig_init(&rig);
    vm_start(rig.vm);
    wait_for_rounds(rig.cpus[1], 1);
    wait_for_rounds(rig.cpus[2], 1);
    for (unsigned i = 0; i < 3000; i++) {
        SpinCpu *s = rig.cpus[1 + i / 2 % 2];
        uint64_t rounds = __atomic_load_n(&s->rounds, __ATOMIC_RELAXED);

        __atomic_add_fetch(&s->wakes, 1, __ATOMIC_SEQ_CST);
        if (i % 2) {
            cpu_kick(&s->cpu);
        } else {
            cpu_wake(&s->cpu);
        }
        wait_for_rounds(s, rounds + 1);
    }
    rig_clear(&rig);
}

static void note_thread(Cpu *cpu, void *opaque)
{
    g_assert_true(cpu_current() == cpu);
    g_assert_true(machine_lock_held());
    *(unsigned *)opaque += 1;
}

static void test_work_runs_on_the_cpus_thread(void)
{
    Rig rig;
    unsigned done = 0, later = 0;

    rig_init(&rig);
    cpu_run_on(&rig.cpus[2]->cpu, note_thread, &done);   /* while stopped */
    g_assert_cmpuint(done, ==, 1);
    vm_start(rig.vm);
    for (unsigned i = 0; i < 500; i++) {
        cpu_run_on(&rig.cpus[i % CPUS]->cpu, note_thread, &done);
        cpu_run_on_async(&rig.cpus[i % CPUS]->cpu, note_thread, &later);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        cpu_run_on(&rig.cpus[i]->cpu, note_thread, &done);
    }
    g_assert_cmpuint(done, ==, 501 + CPUS);
    g_assert_cmpuint(later, ==, 500);
    g_assert_null(cpu_current());
    rig_clear(&rig);
}

static void test_pause_stops_everybody(void)
{
    Rig rig;

    rig_init(&rig);
    vm_start(rig.vm);
    for (unsigned n = 0; n < 300; n++) {
        uint64_t rounds[CPUS];

        cpus_pause(rig.vm);
        for (unsigned i = 0; i < CPUS; i++) {
            g_assert_true(rig.cpus[i]->cpu.stopped);
            rounds[i] = __atomic_load_n(&rig.cpus[i]->rounds, __ATOMIC_RELAXED);
            __atomic_add_fetch(&rig.cpus[i]->wakes, 1, __ATOMIC_SEQ_CST);
            cpu_kick(&rig.cpus[i]->cpu);
        }
        machine_unlock();
        g_thread_yield();
        machine_lock();
        for (unsigned i = 0; i < CPUS; i++) {
            g_assert_cmpuint(__atomic_load_n(&rig.cpus[i]->rounds, __ATOMIC_RELAXED), ==,
                             rounds[i]);
        }
        cpus_resume(rig.vm);
    }
    rig_clear(&rig);
}

static unsigned states;

static void on_state(void *opaque, bool running, RunState state)
{
    g_assert_true(running == (state == RUN_STATE_RUNNING));
    states++;
}

static void test_state_hooks_hear_of_changes_only(void)
{
    Rig rig;

    rig_init(&rig);
    states = 0;
    vm_add_state_hook(rig.vm, on_state, NULL);
    vm_start(rig.vm);
    vm_start(rig.vm);
    g_assert_cmpuint(states, ==, 1);
    g_assert_true(clock_is_running(rig.vm->clock));
    vm_reset(rig.vm);
    g_assert_true(vm_is_running(rig.vm));
    vm_stop(rig.vm, RUN_STATE_PAUSED);
    vm_stop(rig.vm, RUN_STATE_PAUSED);
    g_assert_cmpuint(states, ==, 2);
    g_assert_false(clock_is_running(rig.vm->clock));
    vm_del_state_hook(rig.vm, on_state, NULL);
    rig_clear(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu/before-start", test_nothing_runs_before_start);
    g_test_add_func("/cpu/no-lost-wakeup", test_no_wakeup_is_lost);
    g_test_add_func("/cpu/work", test_work_runs_on_the_cpus_thread);
    g_test_add_func("/cpu/pause", test_pause_stops_everybody);
    g_test_add_func("/cpu/state-hooks", test_state_hooks_hear_of_changes_only);
    return g_test_run();
}
