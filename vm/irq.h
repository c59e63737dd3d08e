/* SPDX-License-Identifier: MIT */
/*
 * Interrupt lines: a one-bit wire from an output to an input.
 *
 * The sender owns an IrqLine and calls irq_set() with the level it should have now, as often as it
 * likes; only a change reaches the other end.  The receiver offers an IrqPin (usually
 * device_input(dev, n)).  A line that is connected to nothing swallows its level.
 * While a state is loaded lines are muted: they take their level and tell nobody, since the
 * receiver's latches were loaded too.
 *
 * Thread rule: machine lock.  Lines are not migrated; they are derived by the owner's sync().
 */
#ifndef VM_IRQ_H
#define VM_IRQ_H

#include "base/bits.h"

typedef void IrqHandler(void *opaque, unsigned n, bool level);

/* Where a line ends. */
typedef struct IrqPin {
    IrqHandler *handler;      /* NULL: not connected */
    void *opaque;
    unsigned n;
} IrqPin;

typedef struct IrqLine {
    IrqPin to;
    const IrqPin *watch;      /* also told of each change, before the receiver; may be NULL */
    bool level;
} IrqLine;

/* Sends the present level to the new end if it is high. */
void irq_connect(IrqLine *line, IrqPin to);
void irq_set(IrqLine *line, bool level);
/* Low-high-low, whatever the level was before; the line ends low. */
void irq_pulse(IrqLine *line);

/*
 * While muted (state load), irq_set() takes the level alone: gates below still pass it on among
 * themselves, but no receiver is told.  Nests.
 */
void irq_mute(void);
void irq_unmute(void);

static inline void irq_raise(IrqLine *line)
{
    irq_set(line, true);
}

static inline void irq_lower(IrqLine *line)
{
    irq_set(line, false);
}

/* Wired-OR of up to 64 inputs into one line. */
typedef struct IrqOr {
    uint64_t levels;
    IrqLine out;
} IrqOr;
IrqPin irq_or_pin(IrqOr *gate, unsigned n);

#endif
