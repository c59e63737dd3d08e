/* SPDX-License-Identifier: MIT */
/* QMP: trace points. */
#include "base/error.h"
#include "base/trace.h"
#include "qapi/qapi_commands.h"

#include <string.h>

typedef struct Listing {
    GPatternSpec *pattern;
    GPtrArray *list;
} Listing;

static void list_event(TraceEvent *event, void *opaque)
{
    Listing *l = opaque;
    QapiTraceEventInfo *row;

    if (!g_pattern_spec_match_string(l->pattern, event->name)) {
        return;
    }
    row = g_new0(QapiTraceEventInfo, 1);
    row->name = g_strdup(event->name);
    row->state = trace_is_on(event) ? QAPI_TRACE_EVENT_STATE_ENABLED
                                    : QAPI_TRACE_EVENT_STATE_DISABLED;
    g_ptr_array_add(l->list, row);
}

bool qmp_trace_event_get_state(QmpCall *call, const QmpTraceEventGetStateArgs *args,
                               GPtrArray **ret, GError **error)
{
    Listing l = { g_pattern_spec_new(args->name), qapi_list_new(&qapi_type_QapiTraceEventInfo) };

    trace_foreach(list_event, &l);
    g_pattern_spec_free(l.pattern);
    if (!l.list->len && !strpbrk(args->name, "*?")) {
        qapi_free(&(QapiType){ .kind = QAPI_LIST, .element = &qapi_type_QapiTraceEventInfo },
                  l.list);
        return error_set(error, "unknown event \"%s\"", args->name);
    }
    *ret = l.list;
    return true;
}

bool qmp_trace_event_set_state(QmpCall *call, const QmpTraceEventSetStateArgs *args,
                               GError **error)
{
    if (!trace_set_pattern(args->name, args->enable) && !strpbrk(args->name, "*?") &&
        !(args->has_ignore_unavailable && args->ignore_unavailable)) {
        return error_set(error, "unknown event \"%s\"", args->name);
    }
    return true;
}
