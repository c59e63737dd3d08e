/* SPDX-License-Identifier: MIT */
/*
 * The log and messages to the user; see the header.
 *
 * Locking: log_stream_lock (recursive) guards the stream and everything about the file.
 */
#include "base/log.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/thread.h"
#include "base/trace.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
const LogItem log_item_table[] = {
    { LOG_OUT_ASM,      "out_asm",      "show generated host assembly code for each compiled block" },
    { LOG_IN_ASM,       "in_asm",       "show target assembly code for each compiled block" },
    { LOG_OP,           "op",           "show how each instruction of a compiled block is translated" },
    { LOG_INT,          "int",          "show interrupts and exceptions in short format" },
    { LOG_EXEC,         "exec",         "show a line before each executed block (lots of logs)" },
    { LOG_CPU,          "cpu",          "show CPU registers before entering a block (lots of logs)" },
    { LOG_CPU_RESET,    "cpu_reset",    "show CPU state before CPU resets" },
    { LOG_UNIMP,        "unimp",        "log unimplemented functionality" },
    { LOG_GUEST_ERRORS, "guest_errors", "log when the guest does something invalid" },
    { LOG_NOCHAIN,      "nochain",      "do not chain blocks, so that 'exec' and 'cpu' are complete" },
    { LOG_TID,          "tid",          "a separate log file per thread; the name must contain '%d'" },
    { 0, NULL, NULL },
};
/* clang-format on */

unsigned log_items;

static pthread_mutex_t log_stream_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static FILE *log_file;            /* NULL: stderr */
static char *log_pattern;         /* of the path, while per-thread files are on */
static __thread FILE *thread_file; /* with LOG_TID; closed at exit of the process */
static __thread unsigned thread_file_generation;
static unsigned file_generation = 1;

static FILE *log_stream(void)
{
    if (!(log_items & LOG_TID) || !log_pattern) {
        return log_file ? log_file : stderr;
    }
    if (thread_file_generation != file_generation) {
        g_auto(GStrv) parts = g_strsplit(log_pattern, "%d", 2);
        g_autofree char *path = g_strdup_printf("%s%d%s", parts[0], thread_self_tid(), parts[1]);

        if (thread_file) {
            fclose(thread_file);
        }
        thread_file = fopen(path, "we");
        thread_file_generation = file_generation;
    }
    return thread_file ? thread_file : stderr;
}

FILE *log_lock(void)
{
    pthread_mutex_lock(&log_stream_lock);
    return log_stream();
}

void log_unlock(void)
{
    fflush(log_stream());
    pthread_mutex_unlock(&log_stream_lock);
}

void log_vprintf(const char *format, va_list args)
{
    FILE *f = log_lock();

    vfprintf(f, format, args);
    log_unlock();
}

void log_printf(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_vprintf(format, args);
    va_end(args);
}

static bool parse_items(const char *items, unsigned *mask, GError **error)
{
    g_auto(GStrv) words = g_strsplit(items, ",", -1);
    unsigned found = 0;

    for (char **word = words; *word; word++) {
        const LogItem *row = log_item_table;
        Suggest s;

        if (g_str_has_prefix(*word, "trace:") && (*word)[6]) {
            trace_set_pattern(*word + 6, true);
            continue;
        }
        if (strcmp(*word, "all") == 0) {
            found |= LOG_TID - 1; /* every row before "tid" */
            continue;
        }
        suggest_init(&s, *word);
        while (row->name && strcmp(row->name, *word) != 0) {
            suggest_offer(&s, row->name);
            row++;
        }
        if (!row->name) {
            return error_set(error, "Log item '%s' is unknown%s (-d help lists them)", *word,
                             suggest_text(&s));
        }
        found |= row->mask;
    }
    *mask = found;
    return true;
}

void log_set_mask(unsigned items)
{
    __atomic_store_n(&log_items, items, __ATOMIC_RELAXED);
}

bool log_add_items(const char *items, GError **error)
{
    unsigned mask;

    if (!parse_items(items, &mask, error)) {
        return false;
    }
    log_set_mask(log_items | mask);
    return true;
}

bool log_set_items(const char *items, GError **error)
{
    unsigned mask = 0;

    if (strcmp(items, "none") != 0 && !parse_items(items, &mask, error)) {
        return false;
    }
    log_set_mask((log_items & LOG_TRACE) | mask);
    return true;
}

char *log_items_help(void)
{
    GString *out = g_string_new("Log items (comma separated):\n");

    for (const LogItem *row = log_item_table; row->name; row++) {
        g_string_append_printf(out, "%-15s %s\n", row->name, row->help);
    }
    g_string_append(out, "trace:PATTERN   enable trace events\n\n"
                         "Use \"-d trace:help\" to get a list of trace events.\n");
    return g_string_free(out, FALSE);
}

/* -------- -dfilter -------- */

typedef struct LogRange {
    uint64_t first, last;
} LogRange;

static LogRange *filter;          /* set while nothing logs; NULL: no filter */
static unsigned filter_count;

static bool parse_range(const char *text, LogRange *range, GError **error)
{
    g_auto(GStrv) parts = NULL;
    uint64_t first, second;
    const char *sign = strstr(text, "..");

    sign = sign ? sign : strpbrk(text, "+-");
    if (!sign) {
        return error_set(error, "'%s' of the log filter is no range (START+SIZE, END-SIZE or START..END)", text);
    }
    parts = g_new0(char *, 3);
    parts[0] = g_strndup(text, sign - text);
    parts[1] = g_strdup(sign + (*sign == '.' ? 2 : 1));
    if (!parse_uint("The log filter's address", parts[0], 0, UINT64_MAX, &first, error) ||
        !parse_uint("The log filter's size or end", parts[1], 0, UINT64_MAX, &second, error)) {
        return false;
    }
    *range = *sign == '.' ? (LogRange){ first, second }
             : *sign == '+' ? (LogRange){ first, first + second - 1 } : (LogRange){ first - second, first - 1 };
    if (range->first > range->last || (*sign != '.' && !second)) {
        return error_set(error, "Range '%s' of the log filter is empty", text);
    }
    return true;
}

bool log_set_filter(const char *ranges, GError **error)
{
    g_auto(GStrv) words = g_strsplit(ranges, ",", -1);
    unsigned count = g_strv_length(words);
    g_autofree LogRange *parsed = g_new0(LogRange, count + 1);

    if (!count) {
        return error_set(error, "The log filter names no range");
    }
    for (unsigned i = 0; i < count; i++) {
        if (!parse_range(words[i], &parsed[i], error)) {
            return false;
        }
    }
    g_free(filter);
    filter = g_steal_pointer(&parsed);
    filter_count = count;
    return true;
}

bool log_filter_wants(uint64_t addr)
{
    for (unsigned i = 0; i < filter_count; i++) {
        if (addr >= filter[i].first && addr <= filter[i].last) {
            return true;
        }
    }
    return !filter;
}

bool log_set_file(const char *path, GError **error)
{
    g_autofree char *expanded = NULL;
    const char *percent = path ? strchr(path, '%') : NULL;
    bool per_thread = percent && (log_items & LOG_TID);
    FILE *f = NULL;

    if (percent && (percent[1] != 'd' || strchr(percent + 1, '%'))) {
        return error_set(error, "Log file name '%s' may contain one '%%d' and no other '%%'", path);
    }
    if (path && *path && !per_thread) {
        g_auto(GStrv) parts = g_strsplit(path, "%d", 2);

        expanded = parts[1] ? g_strdup_printf("%s%d%s", parts[0], (int)getpid(), parts[1])
                            : g_strdup(path);
        f = fopen(expanded, "we");
        if (!f) {
            return error_set_errno(error, errno, "Cannot open log file '%s'", expanded);
        }
    }
    pthread_mutex_lock(&log_stream_lock);
    if (log_file) {
        fclose(log_file);
    }
    log_file = f;
    g_free(log_pattern);
    log_pattern = per_thread ? g_strdup(path) : NULL;
    file_generation++;
    pthread_mutex_unlock(&log_stream_lock);
    return true;
}

/* -------- messages to the user -------- */

static char *program = NULL;
static char *guest_name = NULL;
static bool timestamps;
static __thread ReportSink *sinks;

void report_set_program(const char *argv0)
{
    g_free(program);
    program = g_path_get_basename(argv0);
}

const char *report_program(void)
{
    return program ? program : "rhea";
}

void report_set_timestamp(bool on)
{
    timestamps = on;
}

bool report_timestamp(void)
{
    return timestamps;
}

void report_set_guest_name(const char *name)
{
    g_free(guest_name);
    guest_name = g_strdup(name);
}

void report_sink_push(ReportSink *sink)
{
    sink->outer = sinks;
    sinks = sink;
}

void report_sink_pop(ReportSink *sink)
{
    g_assert(sinks == sink);
    sinks = sink->outer;
}

static void report(const char *kind, const char *format, va_list args) G_GNUC_PRINTF(2, 0);
static void report(const char *kind, const char *format, va_list args)
{
    g_autofree char *message = g_strdup_vprintf(format, args);
    g_autofree char *line = NULL;

    if (sinks) {
        line = g_strdup_printf("%s%s\n", kind, message);
        sinks->write(sinks->opaque, line);
        return;
    }
    if (timestamps) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ");

        line = g_strdup_printf("%s %s%s%s: %s%s\n", text, guest_name ? guest_name : "",
                               guest_name ? " " : "", report_program(), kind, message);
    } else {
        line = g_strdup_printf("%s%s%s: %s%s\n", guest_name ? guest_name : "",
                               guest_name ? " " : "", report_program(), kind, message);
    }
    fputs(line, stderr);
}

#define DEFINE_REPORT(name, kind)                                                        \
    void name(const char *format, ...)                                                   \
    {                                                                                    \
        va_list args;                                                                    \
        va_start(args, format);                                                          \
        report(kind, format, args);                                                      \
        va_end(args);                                                                    \
    }
DEFINE_REPORT(error_report, "")
DEFINE_REPORT(warn_report, "warning: ")
DEFINE_REPORT(info_report, "info: ")

void error_report_free(GError *error)
{
    error_report("%s", error->message);
    g_error_free(error);
}
