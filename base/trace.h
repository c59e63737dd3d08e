/* SPDX-License-Identifier: MIT */
/*
 * Trace points.
 *
 * Each folder may have a file "trace-events" with one row per event:
 *
 *     serial_write(uint64_t offset, uint8_t value) "offset 0x%" PRIx64 " value 0x%02x"
 *
 * scripts/trace_gen.py makes FOLDER/trace.h and FOLDER/trace.c of it; source files include
 * "FOLDER/trace.h" and call trace_serial_write(offset, value).  An event that is off costs one
 * load and a branch and evaluates its arguments, so keep these cheap; where they are not, ask
 * trace_event_enabled(SERIAL_WRITE) first.
 *
 * In a folder's meson.build (before the library):
 *
 *     hw_char_trace = custom_target('trace-hw-char', input: 'trace-events',
 *                                   output: ['trace.h', 'trace.c'],
 *                                   command: [trace_gen, 'hw/char', '@INPUT@', '@OUTPUT@'])
 *
 * and list hw_char_trace among the library's sources.
 *
 * Events are switched on by glob patterns: -trace [enable=]PATTERN[,events=FILE][,file=FILE],
 * -d trace:PATTERN, HMP trace-event, QMP trace-event-set-state.  Output goes to the log; with
 * -msg timestamp=on each line begins with "THREAD@SECONDS.MICROSECONDS:".
 *
 * Threads: any; switching while other threads trace is fine.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <glib.h>
#include <inttypes.h>
#include <stdbool.h>

typedef struct TraceEvent {
    const char *name;
    const char *args; /* the declaration, for listings */
    bool enabled;
} TraceEvent;

/* Called by generated code; EVENTS is ended by NULL and lives for ever. */
void trace_register(TraceEvent *const *events);

static inline bool trace_is_on(const TraceEvent *event)
{
    return G_UNLIKELY(__atomic_load_n(&event->enabled, __ATOMIC_RELAXED));
}
#define trace_event_enabled(NAME) trace_is_on(&TRACE_##NAME)

/* The slow path of a trace point that is on. */
void trace_emit(const TraceEvent *event, const char *format, ...) G_GNUC_PRINTF(2, 3)
    __attribute__((nonnull(1, 2)));

/*
 * Switches every event that matches the glob PATTERN (a leading '-' in the pattern means off)
 * and returns how many there were; a pattern that matches nothing is for the caller to judge.
 */
unsigned trace_set_pattern(const char *pattern, bool on);
/* The argument of -trace.  An event that does not exist is a warning, as in QEMU. */
bool trace_configure(const char *option, GError **error);
/* Reads patterns from PATH, one a line, '#' comments. */
bool trace_load_events(const char *path, GError **error);

/* Visits all events in the order of their names. */
void trace_foreach(void (*visit)(TraceEvent *event, void *opaque), void *opaque);

#endif
