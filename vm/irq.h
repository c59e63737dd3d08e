/* SPDX-License-Identifier: MIT */
/*
 * Interrupt lines: a one-bit wire from an output to an input.
 *
 * The sender owns an IrqLine and calls irq_set() with the level it should have now, as often as it
 * likes; only a change reaches the other end.  The receiver offers an IrqPin (usually
 * device_input(dev, n)).  A line that is connected to nothing swallows its level.
 * After a state load, levels are taken over with irq_restore(), which tells nobody: the
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
/* Takes the level without telling the other end (state load). */
void irq_restore(IrqLine *line, bool level);

/*
 * While muted (state load), irq_set() acts as irq_restore(): gates below still pass the level on
 * among themselves, but no receiver is told.  Nests.
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

/* One output driving two inputs: the split is owned by the board and outlives the lines. */
typedef struct IrqSplit {
    IrqLine out[4];
    unsigned count;
} IrqSplit;
/* Adds an end; at most 4. */
void irq_split_add(IrqSplit *split, IrqPin to);
IrqPin irq_split_pin(IrqSplit *split);

/* Wired-OR of up to 64 inputs into one line. */
typedef struct IrqOr {
    uint64_t levels;
    IrqLine out;
} IrqOr;
IrqPin irq_or_pin(IrqOr *gate, unsigned n);

#endif
