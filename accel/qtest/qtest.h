/* SPDX-License-Identifier: MIT */
/*
 * qtest: a test drives the machine in place of a CPU.
 *
 * `-accel qtest` (qtest_accel.c) makes vCPUs that execute nothing and a virtual clock that moves
 * only when told to.  The server (qtest.c) speaks QEMU's qtest protocol on a character device: one
 * command a line, answered by "OK ..." or "FAIL ...":
 *
 *   inb inw inl ADDR, outb outw outl ADDR VALUE            ports
 *   readb..readq ADDR, writeb..writeq ADDR VALUE           memory, guest byte order
 *   read ADDR SIZE, write ADDR SIZE 0xHEX                  bytes
 *   b64read ADDR SIZE, b64write ADDR SIZE BASE64
 *   memset ADDR SIZE BYTE
 *   irq_intercept_in PATH, irq_intercept_out PATH          then "IRQ raise N" and "IRQ lower N",
 *                                                          before the line's receiver acts
 *   set_irq_in PATH NAME N LEVEL
 *   clock_step [NS], clock_set NS                          answer: the time; without NS to the
 *                                                          next timer
 *   endianness
 *
 * PATH is absolute or the end of one ("ioapic").  One device at a time is intercepted, either way.
 * Thread rule: main loop, machine lock held.
 */
#ifndef ACCEL_QTEST_QTEST_H
#define ACCEL_QTEST_QTEST_H

#include "vm/vm.h"

#include <stdio.h>

typedef struct QtestServer QtestServer;

typedef struct QtestHost {
    void (*write)(void *opaque, const char *text, size_t len);
    void *opaque;
    FILE *log;                   /* NULL: none; not closed */
} QtestHost;

QtestServer *qtest_server_new(Vm *vm, const QtestHost *host);
void qtest_server_free(QtestServer *qtest);
void qtest_server_feed(QtestServer *qtest, const char *data, size_t len);

#endif
