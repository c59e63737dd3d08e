/* SPDX-License-Identifier: MIT */
/*
 * Rate limits of QMP events: of the events that a guest can cause at will, one a second is sent;
 * of those in between, the latest at the end of the second.
 *
 * Thread rule: the thread that runs CLOCK's timers.
 */
#ifndef MONITOR_EVENT_LIMIT_H
#define MONITOR_EVENT_LIMIT_H

#include "base/json.h"
#include "vm/clock.h"

typedef struct EventLimit EventLimit;

/* SEND gets each event that may go out now; it borrows the message. */
EventLimit *event_limit_new(Clock *clock, void (*send)(void *opaque, const Json *event),
                            void *opaque);
void event_limit_free(EventLimit *limit);
/* EVENT is a whole message with "event" and "data"; taken. */
void event_limit_pass(EventLimit *limit, Json *event);

#endif
