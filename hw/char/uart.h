/* SPDX-License-Identifier: MIT */
/*
 * The core of a 16550A UART, without a bus: "isa-serial" and PCI cards are shells around it.
 *
 * The shell embeds a Uart, gives it a clock and a function to call when the interrupt output may
 * have changed, maps uart_read/uart_write, and puts uart_vmstate in its own table:
 *
 *     uart_init(&s->uart, dev, changed);     // realize
 *     irq_set(&s->irq, uart_irq(&s->uart));  // sync
 *
 * Thread rule: machine lock.
 */
#ifndef HW_CHAR_UART_H
#define HW_CHAR_UART_H

#include "chardev/frontend.h"
#include "vm/clock.h"
#include "vm/device.h"

enum { UART_FIFO = 16 };

typedef struct UartFifo {
    uint8_t data[UART_FIFO];
    uint32_t head, num;
} UartFifo;

typedef struct Uart {
    Device *dev;                  /* the shell: device_sync() follows what comes from outside */
    Clock *clock;
    CharFrontend chr;
    uint32_t baudbase;            /* clock / 16 */
    bool wakeup;
    uint16_t divider;
    uint8_t rbr, thr, tsr, ier, iir, lcr, mcr, lsr, msr, scr, fcr;
    uint8_t fcr_vmstate;          /* wire */
    int32_t thr_ipending;         /* THRE interrupt not yet read away */
    int32_t timeout_ipending;     /* characters wait in the FIFO for too long */
    int32_t tsr_retry;            /* tries of the byte in tsr that the back end refused; 0: none */
    int32_t poll_msl;             /* wire: 1 the back end has modem lines, -1 it has none */
    UartFifo recv_fifo, xmit_fifo;
    Timer fifo_timeout_timer, modem_status_poll;
    bool break_on;
} Uart;

void uart_init(Uart *uart, Device *dev);
void uart_clear(Uart *uart);
void uart_reset(Uart *uart);
uint8_t uart_read(Uart *uart, unsigned reg);
void uart_write(Uart *uart, unsigned reg, uint8_t value);
/* The interrupt output as a function of the state; recomputes IIR. */
bool uart_irq(Uart *uart);

extern const VmStateDesc uart_vmstate;

#endif
