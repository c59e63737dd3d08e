/* SPDX-License-Identifier: MIT */
/*
 * Trace runtime; see the header.
 *
 * Locking: the table grows only in constructors and when a module is loaded, under table_lock.
 */
#include "base/trace.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/thread.h"

#include <string.h>
#include <sys/time.h>

static GMutex table_lock;
static GPtrArray *table; /* of TraceEvent *, sorted by name once asked for */
static bool table_sorted;
static unsigned enabled_count;

void trace_register(TraceEvent *const *events)
{
    g_mutex_lock(&table_lock);
    if (!table) {
        table = g_ptr_array_new();
    }
    for (; *events; events++) {
        g_ptr_array_add(table, *events);
    }
    table_sorted = false;
    g_mutex_unlock(&table_lock);
}

static int compare_events(const void *a, const void *b)
{
    return strcmp((*(TraceEvent *const *)a)->name, (*(TraceEvent *const *)b)->name);
}

static GPtrArray *sorted_table(void)
{
    g_mutex_lock(&table_lock);
    if (!table) {
        table = g_ptr_array_new();
    }
    if (!table_sorted) {
        g_ptr_array_sort(table, compare_events);
        table_sorted = true;
    }
    g_mutex_unlock(&table_lock);
    return table;
}

void trace_foreach(void (*visit)(TraceEvent *event, void *opaque), void *opaque)
{
    GPtrArray *events = sorted_table();

    for (unsigned i = 0; i < events->len; i++) {
        visit(g_ptr_array_index(events, i), opaque);
    }
}

static void trace_set(TraceEvent *event, bool on)
{
    if (event->enabled == on) {
        return;
    }
    __atomic_store_n(&event->enabled, on, __ATOMIC_RELAXED);
    enabled_count += on ? 1 : -1;
    log_set_mask(enabled_count ? log_items | LOG_TRACE : log_items & ~LOG_TRACE);
}

unsigned trace_set_pattern(const char *pattern, bool on)
{
    GPtrArray *events = sorted_table();
    unsigned found = 0;

    if (pattern[0] == '-') {
        pattern++;
        on = false;
    }
    for (unsigned i = 0; i < events->len; i++) {
        TraceEvent *event = g_ptr_array_index(events, i);

        if (g_pattern_match_simple(pattern, event->name)) {
            trace_set(event, on);
            found++;
        }
    }
    return found;
}

static void enable_or_warn(const char *pattern)
{
    if (trace_set_pattern(pattern, true) == 0 && !strpbrk(pattern, "*?")) {
        GPtrArray *events = sorted_table();
        const char *word = pattern + (pattern[0] == '-');
        Suggest s;

        suggest_init(&s, word);
        for (unsigned i = 0; i < events->len; i++) {
            suggest_offer(&s, ((TraceEvent *)g_ptr_array_index(events, i))->name);
        }
        warn_report("trace event '%s' does not exist%s", word, suggest_text(&s));
    }
}

bool trace_load_events(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, error)) {
        g_prefix_error(error, "Cannot read trace events: ");
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_strstrip(*line);
        if (**line && **line != '#') {
            enable_or_warn(*line);
        }
    }
    return true;
}

bool trace_configure(const char *option, GError **error)
{
    g_autoptr(KeyVal) kv = keyval_parse(option, "enable", 0, error);
    const char *pattern, *events, *file;

    if (!kv) {
        return false;
    }
    pattern = keyval_get(kv, "enable");
    events = keyval_get(kv, "events");
    file = keyval_get(kv, "file");
    if (!keyval_check_used(kv, "Option -trace", error) ||
        (events && !trace_load_events(events, error)) || (file && !log_set_file(file, error))) {
        return false;
    }
    if (pattern) {
        enable_or_warn(pattern);
    }
    return true;
}

void trace_emit(const TraceEvent *event, const char *format, ...)
{
    va_list args;
    FILE *f = log_lock();

    if (report_timestamp()) {
        struct timeval now;

        gettimeofday(&now, NULL);
        fprintf(f, "%d@%ld.%06ld:", thread_self_tid(), (long)now.tv_sec, (long)now.tv_usec);
    }
    fprintf(f, "%s ", event->name);
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fputc('\n', f);
    log_unlock();
}
