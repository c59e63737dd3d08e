/* SPDX-License-Identifier: MIT */
/*
 * The log (-d, -D) and messages to the user.
 *
 * Two different things live here:
 *  - log_mask(LOG_X, ...) writes to the log when item X is on.  The log is stderr, or the file
 *    of -D.  Items are those of QEMU's -d; repeated -d options add up.  Costs one load and a
 *    branch when off.
 *  - error_report(), warn_report(), info_report() speak to the user: one line on stderr with the
 *    program's name in front ("qemu-system-x86_64: warning: ..."), or, inside a monitor command,
 *    the monitor's output (report_sink_push()).
 *
 * log_guest_error() is the answer to guest misuse: item guest_errors, no other effect.
 *
 * Threads: everything may be called from any thread; a line is written whole.  A dump of
 * several lines that must not be torn sits between log_lock() and log_unlock().
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <glib.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* clang-format off */
enum {
    LOG_OUT_ASM      = 1 << 0,
    LOG_IN_ASM       = 1 << 1,
    LOG_OP           = 1 << 2,
    LOG_INT          = 1 << 5,
    LOG_EXEC         = 1 << 6,
    LOG_CPU          = 1 << 7,
    LOG_CPU_RESET    = 1 << 11,
    LOG_UNIMP        = 1 << 12,
    LOG_GUEST_ERRORS = 1 << 13,
    LOG_NOCHAIN      = 1 << 15,
    LOG_TID          = 1 << 18, /* one file per thread: -D must contain %d */
    LOG_TRACE        = 1 << 19, /* set while any trace event is on */
};
/* clang-format on */

extern unsigned log_items; /* read through log_enabled() */

static inline bool log_enabled(unsigned items)
{
    return G_UNLIKELY((__atomic_load_n(&log_items, __ATOMIC_RELAXED) & items) != 0);
}

/* Writes if any of ITEMS is on.  The format supplies its own newline. */
#define log_mask(items, ...)                                                             \
    do {                                                                                 \
        if (log_enabled(items)) {                                                        \
            log_printf(__VA_ARGS__);                                                     \
        }                                                                                \
    } while (0)
#define log_guest_error(...) log_mask(LOG_GUEST_ERRORS, __VA_ARGS__)
#define log_unimp(...) log_mask(LOG_UNIMP, __VA_ARGS__)

/* Unconditional: for use under a log_enabled() of one's own. */
void log_printf(const char *format, ...) G_GNUC_PRINTF(1, 2);
void log_vprintf(const char *format, va_list args) G_GNUC_PRINTF(1, 0);

/*
 * Holds off other threads and gives the stream to write to.  A single line that a thread writes
 * through log_printf() between the two is fine too: the lock is recursive.
 */
FILE *log_lock(void);
void log_unlock(void);

/* -------- set-up: main thread -------- */

/*
 * Turns on the items of "-d ITEMS" in addition to those already on; "trace:PATTERN" enables
 * trace events.  Fails on an unknown item and names the closest.
 */
bool log_add_items(const char *items, GError **error);
/* As above but replaces the set (HMP "log"); "none" turns everything off. */
bool log_set_items(const char *items, GError **error);
void log_set_mask(unsigned items);
/* The text of "-d help". */
char *log_items_help(void);
/*
 * -dfilter: comma separated ranges of addresses, "START+SIZE", "END-SIZE" (the bytes before END) or
 * "START..END" (END included).  Without a filter everything is wanted.
 */
bool log_set_filter(const char *ranges, GError **error);
/* Does the log want items about code at ADDR (in_asm, op, out_asm, exec, cpu)? */
bool log_filter_wants(uint64_t addr);
/* -D FILE; "%d" stands for the process id.  NULL or "" goes back to stderr. */
bool log_set_file(const char *path, GError **error);

/* One row per item, for help and HMP; ended by a NULL name. */
typedef struct LogItem {
    unsigned mask;
    const char *name;
    const char *help;
} LogItem;
extern const LogItem log_item_table[];

/* -------- messages to the user -------- */

/* ARGV0 as given by the user: messages begin with its last component. */
void report_set_program(const char *argv0);
const char *report_program(void);
/* -msg timestamp=on, guest-name=on (NAME is copied, NULL is off). */
void report_set_timestamp(bool on);
bool report_timestamp(void);
void report_set_guest_name(const char *name);

void error_report(const char *format, ...) G_GNUC_PRINTF(1, 2);
void warn_report(const char *format, ...) G_GNUC_PRINTF(1, 2);
void info_report(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* As warn_report(), but only once per call site. */
#define warn_report_once(...)                                                            \
    do {                                                                                 \
        static int warned_once_;                                                         \
        if (!__atomic_exchange_n(&warned_once_, 1, __ATOMIC_RELAXED)) {                  \
            warn_report(__VA_ARGS__);                                                    \
        }                                                                                \
    } while (0)
/* Reports the error's message and frees it. */
void error_report_free(GError *error);

/*
 * Until the matching pop, this thread's reports go to WRITE (a whole line with its newline)
 * instead of stderr, without the program's name.  Nests.
 */
typedef struct ReportSink ReportSink;
struct ReportSink {
    void (*write)(void *opaque, const char *line);
    void *opaque;
    ReportSink *outer; /* filled in by push */
};
void report_sink_push(ReportSink *sink);
void report_sink_pop(ReportSink *sink);

#endif
