/* SPDX-License-Identifier: MIT */
/*
 * Virtio over memory-mapped registers ("virtio-mmio"): a window of 512 bytes and one interrupt line, with a
 * one-seat bus for any virtio device model.  [VIRTIO1.2 4.2]
 *
 *     Device *dev = virtio_mmio_new(vm, 0, 0xfeb00000, gsis[16], &error);
 *
 * force-legacy=on, QEMU's default, gives the registers of version 1 (legacy drivers), off those of version 2.
 * An empty seat shows device id 0.  Devices are plugged before the machine runs only.
 * Not modelled: shared memory regions, resets of single queues.
 * Thread rule: machine lock.
 */
#ifndef HW_VIRTIO_VIRTIO_MMIO_H
#define HW_VIRTIO_VIRTIO_MMIO_H

#include "vm/device.h"

enum { VIRTIO_MMIO_LEN = 0x200 };

/* At ADDR of system memory; its bus is "virtio-mmio-bus.INDEX". */
Device *virtio_mmio_new(Vm *vm, unsigned index, uint64_t addr, IrqPin irq, GError **error);
bool virtio_mmio_is_empty(const Device *dev);

#endif
