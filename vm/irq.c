/* SPDX-License-Identifier: MIT */
/*
 * Interrupt lines and wired-ORs.
 * Locking: machine lock.
 */
#include "vm/irq.h"

static IrqHandler irq_or_handler;
static unsigned mute_depth;   /* machine lock */

void irq_mute(void)
{
    mute_depth++;
}

void irq_unmute(void)
{
    g_assert(mute_depth > 0);
    mute_depth--;
}

static bool irq_ends_in_gate(const IrqLine *line)
{
    return line->to.handler == irq_or_handler;
}

static void irq_send(const IrqLine *line)
{
    if (line->watch && !mute_depth) {
        line->watch->handler(line->watch->opaque, line->watch->n, line->level);
    }
    if (line->to.handler && (!mute_depth || irq_ends_in_gate(line))) {
        line->to.handler(line->to.opaque, line->to.n, line->level);
    }
}

void irq_connect(IrqLine *line, IrqPin to)
{
    line->to = to;
    if (line->level) {
        irq_send(line);
    }
}

void irq_set(IrqLine *line, bool level)
{
    if (line->level != level) {
        line->level = level;
        irq_send(line);
    }
}

void irq_pulse(IrqLine *line)
{
    irq_set(line, false);
    irq_set(line, true);
    irq_set(line, false);
}

static void irq_or_handler(void *opaque, unsigned n, bool level)
{
    IrqOr *gate = opaque;

    gate->levels = level ? gate->levels | BIT64(n) : gate->levels & ~BIT64(n);
    irq_set(&gate->out, gate->levels != 0);
}

IrqPin irq_or_pin(IrqOr *gate, unsigned n)
{
    g_assert(n < 64);
    return (IrqPin){ irq_or_handler, gate, n };
}
