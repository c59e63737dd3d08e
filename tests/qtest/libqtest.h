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

#include <sys/types.h>
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
/* The write ends the emulator: its exit status.  The Qtest is freed. */
int qtest_outb_exit_status(Qtest *q, uint16_t port, uint8_t value);
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
/* From now on qtest_irq() tells the levels of the device's inputs or outputs, and qtest_edges() how
 * often one rose. */
void qtest_irq_intercept_in(Qtest *q, const char *path);
void qtest_irq_intercept_out(Qtest *q, const char *path);
bool qtest_irq(Qtest *q, unsigned n);
unsigned qtest_edges(Qtest *q, unsigned n);
/* Path of the NTH device of TYPE that the board made without a name; the caller frees. */
char *qtest_find_device(Qtest *q, const char *type, unsigned nth);

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

/* One fw_cfg DMA operation; its result, 0 or 1 (an error).  Uses guest memory at 64 KiB. */
uint32_t qtest_fw_cfg_dma(Qtest *q, uint32_t control, uint32_t len, uint64_t addr);
/* Key and size of a file; 0: there is none of that name.  Uses guest memory at 128 KiB. */
unsigned qtest_fw_cfg_find(Qtest *q, const char *name, uint32_t *size);
/* The file's bytes, by way of guest memory at 1 MiB; the caller frees. */
uint8_t *qtest_fw_cfg_file(Qtest *q, const char *name, size_t *len);

/* A file of LEN bytes that the end of the process removes: byte I of sector S is S ^ I. */
const char *qtest_temp_disk(size_t len);
/* Asserts that START to END of the file is a hole (or that there is none at all: END 0).  A file system of
 * temporary files that cannot make holes skips the test. */
void qtest_expect_hole(const char *path, off_t start, off_t end);

/* ---- tests as tables ---- */

/*
 * A case starts an emulator and takes its steps: accesses (a read is compared under the mask), moves
 * of the clock, looks at intercepted lines.  What does not fit follows in run().
 *
 *     static const QtestStep nvram[] = { OUTB(0x70, 0x50), OUTB(0x71, 0xa5), INB(0x71, 0xa5) };
 *     static const QtestCase cases[] = { { "nvram", .steps = QTEST_STEPS(nvram) } };
 *     int main(int argc, char **argv) { return qtest_main(argc, argv, "/rtc", QTEST_CASES(cases)); }
 */
typedef enum QtestOp {
    QTEST_OUT, QTEST_IN, QTEST_WRITE, QTEST_READ, QTEST_PCI_WRITE, QTEST_PCI_READ,
    QTEST_CLOCK, QTEST_WAIT, QTEST_LINE, QTEST_COUNT
} QtestOp;

typedef struct QtestStep {
    QtestOp op;
    unsigned size;               /* bytes; of PCI steps with the function in bits 8-15 */
    uint64_t addr, value, mask;
} QtestStep;

/* clang-format off */
#define OUTB(port, v)              { QTEST_OUT, 1, (port), (v), 0 }
#define OUTW(port, v)              { QTEST_OUT, 2, (port), (v), 0 }
#define OUTL(port, v)              { QTEST_OUT, 4, (port), (v), 0 }
#define INB(port, v)               { QTEST_IN, 1, (port), (v), 0xff }
#define INB_ANY(port)              { QTEST_IN, 1, (port), 0, 0 }
#define INB_MASK(port, m, v)       { QTEST_IN, 1, (port), (v), (m) }
#define INW(port, v)               { QTEST_IN, 2, (port), (v), 0xffff }
#define INL(port, v)               { QTEST_IN, 4, (port), (v), 0xffffffff }
#define WRITEB(addr, v)            { QTEST_WRITE, 1, (addr), (v), 0 }
#define WRITEW(addr, v)            { QTEST_WRITE, 2, (addr), (v), 0 }
#define WRITEL(addr, v)            { QTEST_WRITE, 4, (addr), (v), 0 }
#define WRITEQ(addr, v)            { QTEST_WRITE, 8, (addr), (v), 0 }
#define READB(addr, v)             { QTEST_READ, 1, (addr), (v), 0xff }
#define READW(addr, v)             { QTEST_READ, 2, (addr), (v), 0xffff }
#define READL(addr, v)             { QTEST_READ, 4, (addr), (v), 0xffffffff }
#define READL_MASK(addr, m, v)     { QTEST_READ, 4, (addr), (v), (m) }
#define READQ(addr, v)             { QTEST_READ, 8, (addr), (v), UINT64_MAX }
#define PCI_WRITEB(fn, reg, v)     { QTEST_PCI_WRITE, 1, (fn) << 8 | (reg), (v), 0 }
#define PCI_WRITEW(fn, reg, v)     { QTEST_PCI_WRITE, 2, (fn) << 8 | (reg), (v), 0 }
#define PCI_WRITEL(fn, reg, v)     { QTEST_PCI_WRITE, 4, (fn) << 8 | (reg), (v), 0 }
#define PCI_READB(fn, reg, v)      { QTEST_PCI_READ, 1, (fn) << 8 | (reg), (v), 0xff }
#define PCI_READW(fn, reg, v)      { QTEST_PCI_READ, 2, (fn) << 8 | (reg), (v), 0xffff }
#define PCI_READL(fn, reg, v)      { QTEST_PCI_READ, 4, (fn) << 8 | (reg), (v), 0xffffffff }
#define STEP(ns)                   { QTEST_CLOCK, 0, 0, (ns), 0 }
/* Polls until the byte has the value: for what host I/O has to end first. */
#define WAIT_INB(port, m, v)       { QTEST_WAIT, 1, (port), (v), (m) }
#define LINE(n, level)             { QTEST_LINE, 0, (n), (level), 0 }
#define EDGES(n, count)            { QTEST_COUNT, 0, (n), (count), 0 }   /* since the last look */
/* clang-format on */

typedef struct QtestCase {
    const char *name;
    const char *args;            /* after "-machine pc -m 32 -nodefaults"; NULL: none */
    const char *intercept;       /* path, or "TYPE>N": the outputs of the Nth of that type */
    const QtestStep *steps;
    unsigned count;
    void (*run)(Qtest *q);
} QtestCase;

#define QTEST_STEPS(array) (array), .count = G_N_ELEMENTS(array)
#define QTEST_CASES(array) (array), G_N_ELEMENTS(array)

void qtest_run_steps(Qtest *q, const QtestStep *steps, unsigned count);
/* After g_test_init(), where the cases need files that the test makes. */
int qtest_run(const char *prefix, const QtestCase *cases, unsigned count);
int qtest_main(int argc, char **argv, const char *prefix, const QtestCase *cases, unsigned count);

#endif
