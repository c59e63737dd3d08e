/* SPDX-License-Identifier: MIT */
/* QMP: the run state, the machine, the processors. */
#include "system/system.h"

#include "base/error.h"
#include "monitor/monitor.h"
#include "qapi/qapi_commands.h"
#include "vm/accel.h"
#include "vm/cpu.h"
#include "vm/iothread.h"
#include "vm/memory_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static System *system_of(QmpCall *call)
{
    return call->system;
}

/* ---- run state ---- */

bool qmp_query_status(QmpCall *call, QapiStatusInfo **ret, GError **error)
{
    int state = qapi_enum_parse(&qapi_type_QapiRunState, run_state_name(call->vm->state));

    *ret = g_new0(QapiStatusInfo, 1);
    (*ret)->running = vm_is_running(call->vm);
    (*ret)->status = state < 0 ? QAPI_RUN_STATE_PAUSED : (QapiRunState)state;
    return true;
}

bool qmp_stop(QmpCall *call, GError **error)
{
    vm_stop(call->vm, RUN_STATE_PAUSED);
    return true;
}

bool qmp_cont(QmpCall *call, GError **error)
{
    switch (call->vm->state) {
    case RUN_STATE_SHUTDOWN:
    case RUN_STATE_INTERNAL_ERROR:
        return error_set(error, "Resetting the Virtual Machine is required");
    case RUN_STATE_SUSPENDED:
    case RUN_STATE_RUNNING:
        return true;
    default:
        vm_start(call->vm);
        return true;
    }
}

bool qmp_system_reset(QmpCall *call, GError **error)
{
    vm_request_reset(call->vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    return true;
}

bool qmp_system_powerdown(QmpCall *call, GError **error)
{
    system_request_powerdown(system_of(call));
    return true;
}

bool qmp_system_wakeup(QmpCall *call, GError **error)
{
    if (call->vm->state != RUN_STATE_SUSPENDED) {
        return error_set(error, "Unable to wake up: guest is not in suspended state");
    }
    vm_request_wakeup(call->vm, "other");
    return true;
}

bool qmp_quit(QmpCall *call, GError **error)
{
    vm_request_shutdown(call->vm, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    return true;
}

bool qmp_set_action(QmpCall *call, const QmpSetActionArgs *args, GError **error)
{
    RunControl *r = &system_of(call)->run;

    r->reboot = args->has_reboot ? args->reboot : r->reboot;
    r->shutdown = args->has_shutdown ? args->shutdown : r->shutdown;
    r->panic = args->has_panic ? args->panic : r->panic;
    r->watchdog_action = args->has_watchdog ? args->watchdog : r->watchdog_action;
    return true;
}

bool qmp_watchdog_set_action(QmpCall *call, const QmpWatchdogSetActionArgs *args, GError **error)
{
    system_of(call)->run.watchdog_action = args->action;
    return true;
}

/* ---- what it is ---- */

bool qmp_query_name(QmpCall *call, QapiNameInfo **ret, GError **error)
{
    *ret = g_new0(QapiNameInfo, 1);
    (*ret)->name = g_strdup(system_of(call)->name);
    return true;
}

bool qmp_query_uuid(QmpCall *call, QapiUuidInfo **ret, GError **error)
{
    const char *uuid = system_of(call)->uuid;

    *ret = g_new0(QapiUuidInfo, 1);
    (*ret)->UUID = g_strdup(uuid ? uuid : "00000000-0000-0000-0000-000000000000");
    return true;
}

bool qmp_query_target(QmpCall *call, QapiTargetInfo **ret, GError **error)
{
    *ret = g_new0(QapiTargetInfo, 1);
    (*ret)->arch = QAPI_SYS_EMU_TARGET_X86_64;
    return true;
}

bool qmp_query_kvm(QmpCall *call, QapiKvmInfo **ret, GError **error)
{
    Accel *accel = call->vm->accel;

    *ret = g_new0(QapiKvmInfo, 1);
    (*ret)->present = type_find("kvm-accel") != NULL;
    (*ret)->enabled = accel && strcmp(accel_type(accel)->accel, "kvm") == 0;
    return true;
}

/* "events" is libvirt's condition for starting a VM.  Nothing migrates yet, so none is ever sent. */
bool qmp_query_migrate_capabilities(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiMigrationCapabilityStatus);
    for (unsigned i = 0; i < QAPI_MIGRATION_CAPABILITY__COUNT; i++) {
        QapiMigrationCapabilityStatus *row = g_new0(QapiMigrationCapabilityStatus, 1);

        row->capability = i;
        row->state = system_of(call)->migrate_capabilities & BIT(i);
        g_ptr_array_add(*ret, row);
    }
    return true;
}

bool qmp_migrate_set_capabilities(QmpCall *call, const QmpMigrateSetCapabilitiesArgs *args,
                                  GError **error)
{
    System *sys = system_of(call);

    for (unsigned i = 0; i < args->capabilities->len; i++) {
        const QapiMigrationCapabilityStatus *row = args->capabilities->pdata[i];
        unsigned bit = BIT(row->capability);

        sys->migrate_capabilities = row->state ? sys->migrate_capabilities | bit
                                               : sys->migrate_capabilities & ~bit;
    }
    return true;
}

static void list_machine(const ObjectType *type, void *opaque)
{
    const MachineType *m = (const MachineType *)type;
    QapiMachineInfo *row = g_new0(QapiMachineInfo, 1);

    row->name = g_strdup(m->machine);
    row->alias = g_strdup(m->alias);
    row->has_is_default = row->is_default = m->is_default;
    row->cpu_max = m->max_cpus ? m->max_cpus : 1;
    row->hotpluggable_cpus = m->hotpluggable_cpus;
    row->numa_mem_supported = m->numa_supported;
    row->deprecated = m->deprecated;
    if (m->default_cpu) {
        row->default_cpu_type = g_strdup_printf("%s-x86_64-cpu", m->default_cpu);
    }
    row->default_ram_id = g_strdup(m->default_ram_id);
    g_ptr_array_add(opaque, row);
}

bool qmp_query_machines(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiMachineInfo);
    type_foreach("machine", false, list_machine, *ret);
    return true;
}

/* ---- processors ---- */

static QapiCpuInstanceProperties *instance_props(const CpuTopology *t, unsigned index)
{
    QapiCpuInstanceProperties *props = g_new0(QapiCpuInstanceProperties, 1);
    unsigned threads = MAX(t->threads, 1), cores = MAX(t->cores, 1), dies = MAX(t->dies, 1);

    props->has_thread_id = props->has_core_id = props->has_socket_id = true;
    props->thread_id = index % threads;
    props->core_id = index / threads % cores;
    props->has_die_id = dies > 1;
    props->die_id = index / threads / cores % dies;
    props->socket_id = index / threads / cores / dies;
    return props;
}

bool qmp_query_cpus_fast(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiCpuInfoFast);
    for (unsigned i = 0; call->vm->cpus && i < call->vm->cpus->len; i++) {
        Cpu *cpu = call->vm->cpus->pdata[i];
        QapiCpuInfoFast *row = g_new0(QapiCpuInfoFast, 1);

        row->cpu_index = cpu->index;
        row->qom_path = object_path(OBJECT(cpu));
        row->thread_id = cpu->thread_id;
        row->props = instance_props(&call->vm->machine->smp, cpu->index);
        row->target = QAPI_SYS_EMU_TARGET_X86_64;
        g_ptr_array_add(*ret, row);
    }
    return true;
}

bool qmp_query_hotpluggable_cpus(QmpCall *call, GPtrArray **ret, GError **error)
{
    GPtrArray *cpus = call->vm->cpus;
    const Machine *m = call->vm->machine;

    if (!m || !machine_type(m)->hotpluggable_cpus) {
        return error_set(error, "machine does not support hot-plugging CPUs");
    }
    *ret = qapi_list_new(&qapi_type_QapiHotpluggableCPU);
    for (unsigned i = m->smp.max_cpus; i-- > 0 && cpus && cpus->len;) {
        QapiHotpluggableCPU *row = g_new0(QapiHotpluggableCPU, 1);
        Cpu *first = cpus->pdata[0];

        row->type = g_strdup(first->dev.obj.type->name);
        row->vcpus_count = 1;
        row->props = instance_props(&m->smp, i);
        row->qom_path = i < cpus->len ? object_path(OBJECT(cpus->pdata[i])) : NULL;
        g_ptr_array_add(*ret, row);
    }
    return true;
}

/* ---- memory ---- */

bool qmp_query_memory_size_summary(QmpCall *call, QapiMemoryInfo **ret, GError **error)
{
    *ret = g_new0(QapiMemoryInfo, 1);
    (*ret)->base_memory = call->vm->machine ? call->vm->machine->ram_size : 0;
    (*ret)->has_plugged_memory = true;
    return true;
}

typedef bool ReadMemory(void *source, uint64_t addr, void *buf, uint64_t len);

static bool save_memory(void *source, ReadMemory *read, int64_t start, int64_t bytes,
                        const char *filename, GError **error)
{
    uint64_t addr = (uint64_t)start, size = (uint64_t)bytes;
    g_autofree uint8_t *buf = NULL;
    int fd;

    if (bytes < 0) {
        return error_set(error, "Parameter 'size' expects 0 or more, not %" PRId64, bytes);
    }
    buf = g_malloc(GUEST_PAGE_SIZE);
    fd = open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return error_set_errno(error, errno, "Could not open '%s'", filename);
    }
    while (size) {
        uint64_t part = MIN(size, 4096 - (addr & 4095));

        if (!read(source, addr, buf, part)) {
            close(fd);
            return error_set(error, "Invalid addr 0x%016" G_GINT64_MODIFIER "x/size %"
                             G_GINT64_MODIFIER "u specified", addr, size);
        }
        if (write(fd, buf, part) != (ssize_t)part) {
            int err = errno;

            close(fd);
            return error_set_errno(error, err, "Could not write '%s'", filename);
        }
        addr += part;
        size -= part;
    }
    close(fd);
    return true;
}

static bool read_physical(void *source, uint64_t addr, void *buf, uint64_t len)
{
    address_space_read(&((Vm *)source)->memory, addr, buf, len);
    return true;             /* holes read as all ones, as on the bus */
}

static bool read_virtual(void *source, uint64_t addr, void *buf, uint64_t len)
{
    Cpu *cpu = source;
    gpa_t gpa;

    return cpu_class(cpu)->translate && cpu_class(cpu)->translate(cpu, addr, &gpa) &&
           address_space_read(&cpu->dev.vm->memory, gpa, buf, len);
}

bool qmp_pmemsave(QmpCall *call, const QmpPmemsaveArgs *args, GError **error)
{
    return save_memory(call->vm, read_physical, args->val, args->size, args->filename, error);
}

bool qmp_memsave(QmpCall *call, const QmpMemsaveArgs *args, GError **error)
{
    GPtrArray *cpus = call->vm->cpus;
    uint64_t index = args->has_cpu_index ? (uint64_t)args->cpu_index : 0;

    if (!cpus || index >= cpus->len) {
        return error_set(error, "Parameter 'cpu-index' expects a CPU number");
    }
    return save_memory(cpus->pdata[index], read_virtual, args->val, args->size, args->filename,
                       error);
}

/* ---- objects by kind ---- */

static void list_memdev(MemoryBackend *mb, void *opaque)
{
    QapiMemdev *row = g_new0(QapiMemdev, 1);

    row->id = g_strdup(mb->obj.name);
    row->size = mb->size;
    row->merge = mb->merge;
    row->dump = mb->dump;
    row->prealloc = mb->prealloc;
    row->share = mb->share;
    row->has_reserve = true;         /* nothing is reserved: pages come when touched */
    row->host_nodes = g_array_new(false, false, sizeof(uint16_t));
    row->policy = QAPI_HOST_MEM_POLICY_DEFAULT;
    g_ptr_array_add(opaque, row);
}

bool qmp_query_memdev(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiMemdev);
    memory_backend_foreach(call->vm, list_memdev, *ret);
    return true;
}

static void list_iothread(Object *obj, void *opaque)
{
    QapiIOThreadInfo *row;

    if (!object_is_a(obj, "iothread")) {
        return;
    }
    row = g_new0(QapiIOThreadInfo, 1);
    row->id = g_strdup(obj->name);
    row->thread_id = iothread_object_tid(obj);      /* it never polls: the rest is 0 */
    g_ptr_array_add(opaque, row);
}

bool qmp_query_iothreads(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiIOThreadInfo);
    object_foreach_child(call->vm->objects, list_iothread, *ret);
    return true;
}

/* ---- the command line ---- */

static Json *describe_option(const OptionRow *row)
{
    g_auto(GStrv) words = g_strsplit(row->any_params ? "" : row->params, " ", -1);
    Json *option = json_new_dict(), *params = json_new_list();

    for (unsigned i = 0; words[i]; i++) {
        char *type = strchr(words[i], ':');
        Json *param;

        if (!type) {
            continue;
        }
        *type++ = '\0';
        param = json_new_dict();
        json_set(param, "name", json_new_string(words[i]));
        json_set(param, "type", json_new_string(type));
        json_append(params, param);
    }
    json_set(option, "option", json_new_string(row->group));
    json_set(option, "parameters", params);
    return option;
}

bool qmp_query_command_line_options(QmpCall *call, const QmpQueryCommandLineOptionsArgs *args,
                                    Json **ret, GError **error)
{
    g_autoptr(Json) list = json_new_list();

    for (unsigned i = 0; i < option_count; i++) {
        const OptionRow *row = &option_table[i];

        if (row->group && (!args->option || strcmp(args->option, row->group) == 0)) {
            json_append(list, describe_option(row));
        }
    }
    if (args->option && !json_list_len(list)) {
        return error_set(error, "invalid option name: %s", args->option);
    }
    *ret = g_steal_pointer(&list);
    return true;
}
