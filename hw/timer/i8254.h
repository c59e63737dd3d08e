/* SPDX-License-Identifier: MIT */
/*
 * The 8254 interval timer of a PC ("isa-pit", "kvm-pit"): counter 0 ticks IRQ 0, counter 2 drives the speaker.
 * The device's one input disables counter 0's interrupt (the HPET's legacy replacement).
 * Thread rule: machine lock.
 */
#ifndef HW_TIMER_I8254_H
#define HW_TIMER_I8254_H

#include "hw/isa/isa.h"
#include "hw/timer/lost_ticks.h"

#define PIT_HZ 1193182

/* At port 40h; counter 0's output goes to IRQ.  IN_KERNEL: it stands for KVM's ("kvm-pit"), which
 * drives IRQ 0 of KVM's controllers itself. */
Device *i8254_new(IsaBus *bus, bool in_kernel, IrqPin irq, GError **error);
/* Tells whether the last tick still waits for the guest. */
void i8254_set_tick_query(Device *dev, TickWaitsFn *waits, void *opaque);
void i8254_set_gate(Device *dev, unsigned channel, bool level);
bool i8254_gate(Device *dev, unsigned channel);
/* Level of the output now. */
bool i8254_out(Device *dev, unsigned channel);
/* For a sound back end: reload value (1..0x10000). */
unsigned i8254_count(Device *dev, unsigned channel);

#endif
