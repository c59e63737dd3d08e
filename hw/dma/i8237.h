/* SPDX-License-Identifier: MIT */
/*
 * The 8237A DMA controllers of a PC ("i8257"): what hw/isa/isa_bus.c asks of one of them.
 * CHANNEL is 0-3 here.  Thread rule: machine lock.
 */
#ifndef HW_DMA_I8237_H
#define HW_DMA_I8237_H

#include "hw/isa/isa.h"

/* Both controllers at their PC addresses, entered into bus->dma. */
bool i8237_pair_new(IsaBus *bus, GError **error);

void i8237_register(IsaDma *dma, int channel, IsaDmaFn *fn, void *opaque);
void i8237_set_dreq(IsaDma *dma, int channel, bool on);
/* Bytes of memory at POS of the channel's block; returns how many were moved. */
int i8237_read_memory(IsaDma *dma, int channel, void *buf, int pos, int len);
int i8237_write_memory(IsaDma *dma, int channel, const void *buf, int pos, int len);

#endif
