/* SPDX-License-Identifier: MIT */
/*
 * Driving the emulator's devices from a test.
 *
 *     g_autoptr(Qtest) q = qtest_start("-machine pc");
 *     qtest_outb(q, 0x70, 0x0a);
 *     g_assert_cmphex(qtest_inb(q, 0x71) & 0x7f, ==, 0x26);
 *
 * The emulator is the program named by the environment variable QTEST_QEMU_BINARY; it may also be
 * QEMU itself, to check a test (QTEST_ACCEL="tcg -S" where it was built without the qtest
 * accelerator).  It runs with -accel qtest -display none, its time moves only by
 * qtest_clock_step(), and ends with the Qtest.  Anything unexpected on the protocol aborts the test.
 */
#ifndef TESTS_QTEST_LIBQTEST_H
#define TESTS_QTEST_LIBQTEST_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Qtest Qtest;

Qtest *qtest_start(const char *args);
Qtest *qtest_startf(const char *format, ...) G_GNUC_PRINTF(1, 2);
void qtest_quit(Qtest *q);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qtest, qtest_quit)

/* Sends a line and returns what follows "OK"; the caller frees.  "FAIL" aborts the test. */
char *qtest_command(Qtest *q, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* True when the answer was FAIL. */
bool qtest_fails(Qtest *q, const char *line);

uint8_t qtest_inb(Qtest *q, uint16_t port);
uint16_t qtest_inw(Qtest *q, uint16_t port);
uint32_t qtest_inl(Qtest *q, uint16_t port);
void qtest_outb(Qtest *q, uint16_t port, uint8_t value);
void qtest_outw(Qtest *q, uint16_t port, uint16_t value);
void qtest_outl(Qtest *q, uint16_t port, uint32_t value);
uint8_t qtest_readb(Qtest *q, uint64_t addr);
uint16_t qtest_readw(Qtest *q, uint64_t addr);
uint32_t qtest_readl(Qtest *q, uint64_t addr);
uint64_t qtest_readq(Qtest *q, uint64_t addr);
void qtest_writeb(Qtest *q, uint64_t addr, uint8_t value);
void qtest_writew(Qtest *q, uint64_t addr, uint16_t value);
void qtest_writel(Qtest *q, uint64_t addr, uint32_t value);
void qtest_writeq(Qtest *q, uint64_t addr, uint64_t value);
void qtest_memread(Qtest *q, uint64_t addr, void *buf, size_t len);
void qtest_memwrite(Qtest *q, uint64_t addr, const void *buf, size_t len);
void qtest_memset(Qtest *q, uint64_t addr, uint8_t byte, size_t len);

/* Returns the new time. */
int64_t qtest_clock_step(Qtest *q, int64_t ns);
int64_t qtest_clock_step_next(Qtest *q);
/* From now on qtest_irq() tells the levels of the device's inputs. */
void qtest_irq_intercept_in(Qtest *q, const char *path);
bool qtest_irq(Qtest *q, unsigned n);

/* A QMP command as JSON text ("{'execute': 'stop'}"); its whole answer, the caller frees.  Events in
 * between are kept for qtest_wait_event(). */
char *qtest_qmp(Qtest *q, const char *json);
/* Waits for the named event; its message, the caller frees. */
char *qtest_wait_event(Qtest *q, const char *name);

/* PCI configuration mechanism 1. */
uint32_t qtest_pci_readl(Qtest *q, unsigned devfn, unsigned offset);
uint16_t qtest_pci_readw(Qtest *q, unsigned devfn, unsigned offset);
uint8_t qtest_pci_readb(Qtest *q, unsigned devfn, unsigned offset);
void qtest_pci_writel(Qtest *q, unsigned devfn, unsigned offset, uint32_t value);
void qtest_pci_writew(Qtest *q, unsigned devfn, unsigned offset, uint16_t value);
void qtest_pci_writeb(Qtest *q, unsigned devfn, unsigned offset, uint8_t value);

#endif
