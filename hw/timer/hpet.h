/* SPDX-License-Identifier: MIT */
/*
 * The high precision event timers of a PC ("hpet").
 *
 * Its legacy replacement takes the place of the PIT on ISA interrupt 0 (which boards wire to pin 2 of
 * the I/O APIC) and of the RTC on 8, so both go
 * through it: the board connects
 *   mc146818's irq      -> hpet_rtc_pin()
 *   hpet_connect_pit()  -> the PIT's device_input(pit, 0), its enable
 *   hpet_connect_gsi(n) -> global interrupt N
 * Thread rule: machine lock.
 */
#ifndef HW_TIMER_HPET_H
#define HW_TIMER_HPET_H

#include "hw/timer/lost_ticks.h"
#include "vm/device.h"

#define HPET_BASE 0xfed00000u
/* Femtoseconds per tick of the counter: 10 ns. */
#define HPET_PERIOD_FS 10000000u

/* INTCAP: bit per global interrupt the timers may be routed to; boards say 4 (pc) or 0xff0104. */
Device *hpet_new(Vm *vm, uint32_t intcap, GError **error);
/* Tells whether the last tick of IRQ 0 still waits for the guest. */
void hpet_set_tick_query(Device *dev, TickWaitsFn *waits, void *opaque);
IrqPin hpet_rtc_pin(Device *dev);
void hpet_connect_pit(Device *dev, IrqPin enable);
void hpet_connect_gsi(Device *dev, unsigned n, IrqPin pin);

#endif
