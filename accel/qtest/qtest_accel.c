/* SPDX-License-Identifier: MIT */
/*
 * The accelerator that executes nothing: vCPUs exist and sleep, time stands still until the
 * qtest server moves it.
 */
#include "accel/qtest/qtest.h"

#include "vm/accel.h"

typedef struct QtestCpu {
    GMutex mutex;
    GCond kicked;
} QtestCpu;

static bool qtest_probe(GError **error)
{
    return true;
}

static bool qtest_init_vm(Accel *accel, Vm *vm, GError **error)
{
    clock_make_fake(vm->clock);
    return true;
}

static bool qtest_cpu_init(Cpu *cpu, GError **error)
{
    QtestCpu *q = g_new0(QtestCpu, 1);

    g_mutex_init(&q->mutex);
    g_cond_init(&q->kicked);
    cpu->accel_data = q;
    return true;
}

static void qtest_cpu_run(Cpu *cpu)
{
    QtestCpu *q = cpu->accel_data;

    g_mutex_lock(&q->mutex);
    while (!__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST)) {
        g_cond_wait(&q->kicked, &q->mutex);
    }
    g_mutex_unlock(&q->mutex);
    __atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
}

static void qtest_cpu_kick(Cpu *cpu)
{
    QtestCpu *q = cpu->accel_data;

    if (q) {
        g_mutex_lock(&q->mutex);
        g_cond_broadcast(&q->kicked);
        g_mutex_unlock(&q->mutex);
    }
}

static void qtest_cpu_destroy(Cpu *cpu)
{
    QtestCpu *q = cpu->accel_data;

    if (q) {
        cpu->accel_data = NULL;
        g_mutex_clear(&q->mutex);
        g_cond_clear(&q->kicked);
        g_free(q);
    }
}

ACCEL_TYPE(qtest, .name = "qtest-accel", .accel = "qtest",
           .desc = "executes nothing; tests drive the devices", .probe = qtest_probe,
           .init_vm = qtest_init_vm, .cpu_init = qtest_cpu_init, .cpu_run = qtest_cpu_run,
           .cpu_kick = qtest_cpu_kick, .cpu_destroy = qtest_cpu_destroy);
