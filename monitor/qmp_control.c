/* SPDX-License-Identifier: MIT */
/* QMP: commands about the monitor itself. */
#include "base/error.h"
#include "base/fdset.h"
#include "monitor/monitor.h"
#include "monitor/qmp_session.h"
#include "qapi/qapi_commands.h"

#include <unistd.h>

bool qmp_qmp_capabilities(QmpCall *call, const QmpQmpCapabilitiesArgs *args, GError **error)
{
    bool oob = false;

    for (unsigned i = 0; args->enable && i < args->enable->len; i++) {
        oob |= g_array_index(args->enable, QapiQMPCapability, i) == QAPI_QMP_CAPABILITY_OOB;
    }
    return monitor_negotiate(call->monitor, oob, error);
}

bool qmp_query_version(QmpCall *call, QapiVersionInfo **ret, GError **error)
{
    g_autoptr(Json) version = qmp_version();

    *ret = qapi_from_json(&qapi_type_QapiVersionInfo, version, error);
    return *ret != NULL;
}

bool qmp_query_commands(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiCommandInfo);
    for (unsigned i = 0; i < qapi_command_count; i++) {
        QapiCommandInfo *info = g_new0(QapiCommandInfo, 1);

        info->name = g_strdup(qapi_commands[i].name);
        g_ptr_array_add(*ret, info);
    }
    return true;
}

bool qmp_query_qmp_schema(QmpCall *call, Json **ret, GError **error)
{
    *ret = json_new_raw(qapi_schema_text);
    return true;
}

bool qmp_human_monitor_command(QmpCall *call, const QmpHumanMonitorCommandArgs *args, char **ret,
                               GError **error)
{
    if (!call->monitor) {
        return error_set(error, "human-monitor-command needs a monitor");
    }
    *ret = monitor_run_hmp(monitor_hub(call->monitor), args->command_line,
                           args->has_cpu_index ? (int)args->cpu_index : -1, error);
    return *ret != NULL;
}

bool qmp_getfd(QmpCall *call, const QmpGetfdArgs *args, GError **error)
{
    int fd = monitor_take_fd(call->monitor);

    if (fd < 0) {
        return error_set(error, "No file descriptor supplied via SCM_RIGHTS");
    }
    if (g_ascii_isdigit(args->fdname[0])) {
        close(fd);
        return error_set(error, "Parameter 'fdname' expects a name not starting with a digit");
    }
    monitor_keep_fd(monitor_hub(call->monitor), args->fdname, fd);
    return true;
}

bool qmp_add_fd(QmpCall *call, const QmpAddFdArgs *args, QapiAddfdInfo **ret, GError **error)
{
    int fd;

    if (args->has_fdset_id && args->fdset_id < 0) {
        return error_set(error, "Parameter 'fdset-id' expects a non-negative value");
    }
    fd = call->monitor ? monitor_take_fd(call->monitor) : -1;
    if (fd < 0) {
        return error_set(error, "No file descriptor supplied via SCM_RIGHTS");
    }
    *ret = g_new0(QapiAddfdInfo, 1);
    (*ret)->fd = fd;
    (*ret)->fdset_id = fdset_add(args->has_fdset_id ? args->fdset_id : -1, fd, args->opaque);
    return true;
}

bool qmp_remove_fd(QmpCall *call, const QmpRemoveFdArgs *args, GError **error)
{
    int fd = args->has_fd ? (int)CLAMP(args->fd, 0, G_MAXINT) : -1;
    g_autofree char *which = args->has_fd ? g_strdup_printf(", fd:%" PRId64, args->fd)
                                          : g_strdup("");

    return fdset_remove(args->fdset_id, fd) ||
           error_set(error, "File descriptor named 'fdset-id:%" PRId64 "%s' not found",
                     args->fdset_id, which);
}

static void list_fd(int64_t id, int fd, const char *note, void *opaque)
{
    GPtrArray *sets = opaque;
    QapiFdsetInfo *set = sets->len ? sets->pdata[sets->len - 1] : NULL;
    QapiFdsetFdInfo *row = g_new0(QapiFdsetFdInfo, 1);

    if (!set || set->fdset_id != id) {
        set = g_new0(QapiFdsetInfo, 1);
        set->fdset_id = id;
        set->fds = qapi_list_new(&qapi_type_QapiFdsetFdInfo);
        g_ptr_array_add(sets, set);
    }
    row->fd = fd;
    row->opaque = g_strdup(note);
    g_ptr_array_add(set->fds, row);
}

bool qmp_query_fdsets(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiFdsetInfo);
    fdset_foreach(list_fd, *ret);
    return true;
}

bool qmp_closefd(QmpCall *call, const QmpClosefdArgs *args, GError **error)
{
    int fd = call->monitor ? monitor_get_fd(monitor_hub(call->monitor), args->fdname, error) : -1;

    if (fd < 0) {
        return !call->monitor && error_set(error, "closefd needs a monitor");
    }
    close(fd);
    return true;
}
