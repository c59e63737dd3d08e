/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259A interrupt controllers of a PC ("isa-i8259").
 *
 * The board makes the pair, connects ISA lines to the 16 pins, and the output to the CPU:
 *
 *     IrqPin pins[16];
 *     Device *pic = i8259_pair_new(isa, false, cpu_intr_pin, pins, &error);
 *     ...
 *     vector = i8259_ack(pic);      // the CPU's INTA cycles
 *
 * Thread rule: machine lock.
 */
#ifndef HW_INTC_I8259_H
#define HW_INTC_I8259_H

#include "hw/isa/isa.h"

/* Master at 20h (ELCR 4d0h), slave at a0h (4d1h), slave's output on IR2.  Returns the master.
 * IN_KERNEL: they stand for KVM's ("kvm-i8259"), which has inputs and output itself. */
Device *i8259_pair_new(IsaBus *bus, bool in_kernel, IrqPin intr, IrqPin pins[16], GError **error);
/* Both INTA cycles: the vector of the interrupt now in service (IR7's if none: spurious). */
uint8_t i8259_ack(Device *master);
/* Level of the INT output. */
bool i8259_output(const Device *master);
/* IR N of this chip asks and is not masked. */
bool i8259_waits(const Device *dev, unsigned n);
/* How often IRQ 0..15 has been raised; false when this chip does not have or count it. */
bool i8259_raised(const Device *dev, unsigned irq, uint64_t *count);

#endif
