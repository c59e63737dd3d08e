/* SPDX-License-Identifier: MIT */
/* Inside of the 8254: i8254.c, and kvm_pit.c for the one in the kernel. */
#ifndef HW_TIMER_I8254_INT_H
#define HW_TIMER_I8254_INT_H

#include "hw/timer/i8254.h"
#include "vm/vm.h"

typedef struct Counter {
    int32_t count;                /* reload value in clocks: 1..0x10000 */
    uint16_t latched_count;
    uint8_t count_latched;        /* RW_*: what a latch still has to give */
    uint8_t status_latched, status;
    uint8_t read_state, write_state, write_latch;
    uint8_t rw_mode, mode, bcd, gate;
    int64_t count_load_time;      /* ns */
    int64_t next_transition_time; /* ns; -1: none */
    uint32_t irq_disabled;
    int64_t stopped_ticks;        /* clocks done when the gate stopped the count; -1: it runs */
} Counter;

typedef struct I8254 {
    IsaDevice isa;
    MemoryRegion ports;
    uint32_t iobase;
    Counter channels[3];
    Timer timer;                  /* counter 0's next rising edge or change */
    IrqLine irq;
    LostTicks lost;
    int64_t periods_done;         /* of counter 0 since its load: ticks due so far */
    /* Where the state lives elsewhere (KVM): brings the counters up to date before they are looked
     * at; sync() takes them back.  NULL: they are the truth. */
    void (*refresh)(struct I8254 *s);
} I8254;

extern const VmField i8254_fields[];
void i8254_set_input(Device *dev, unsigned n, bool level);
bool i8254_realize(Device *dev, GError **error);
bool i8254_post_load(void *obj, int version, GError **error);

#endif
