/* SPDX-License-Identifier: MIT */
/*
 * 16550A UART core.
 * Spec: National PC16550D data sheet (TL/C/8652, 1995); register and bit names are the sheet's.
 * Not modelled: baud timing of output (a byte leaves as soon as the back end takes it), parity and
 * framing errors, auto flow control, DMA mode pins.
 * Locking: machine lock, which chardev handlers also hold.
 *
 * Invariants: 1. LSR_DR says that rbr or the receive FIFO holds something.
 *             2. LSR_THRE clear: a byte waits in thr or the transmit FIFO behind tsr.
 */
#include "hw/char/uart.h"

#include "base/error.h"
#include "vm/vm.h"

enum { REG_RBR_THR_DLL, REG_IER_DLM, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };
enum { IER_RDI = 0x01, IER_THRI = 0x02, IER_RLSI = 0x04, IER_MSI = 0x08 };
enum { IIR_NONE = 0x01, IIR_MSI = 0x00, IIR_THRI = 0x02, IIR_RDI = 0x04, IIR_RLSI = 0x06,
       IIR_CTI = 0x0c, IIR_FIFO = 0xc0, IIR_ID = 0x0f };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04, FCR_DMA = 0x08,
       FCR_TRIGGER = 0xc0 };
enum { LCR_WORD = 0x03, LCR_STOP = 0x04, LCR_PARITY = 0x08, LCR_EVEN = 0x10, LCR_BREAK = 0x40,
       LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10 };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_PE = 0x04, LSR_FE = 0x08, LSR_BI = 0x10, LSR_THRE = 0x20,
       LSR_TEMT = 0x40, LSR_ERRORS = 0x1e };
enum { MSR_DCTS = 0x01, MSR_DDSR = 0x02, MSR_TERI = 0x04, MSR_DDCD = 0x08, MSR_CTS = 0x10,
       MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_ANY_DELTA = 0x0f };
enum { POLL_NS = NANOSECONDS_PER_SECOND / 100, RETRY_MAX = 4 };

static const uint8_t trigger_levels[4] = { 1, 4, 8, 14 };

static bool has_fifo(const Uart *u)
{
    return u->fcr & FCR_ENABLE;
}

static bool loopback(const Uart *u)
{
    return u->mcr & MCR_LOOP;
}

/* ---- FIFOs ---- */

static void fifo_reset(UartFifo *f)
{
    f->head = f->num = 0;
}

static void fifo_push(UartFifo *f, uint8_t byte)
{
    f->data[(f->head + f->num) % UART_FIFO] = byte;
    f->num++;
}

static uint8_t fifo_pop(UartFifo *f)
{
    uint8_t byte = f->data[f->head];

    f->head = (f->head + 1) % UART_FIFO;
    f->num--;
    return byte;
}

/* ---- the interrupt: table II of the sheet, highest priority first ---- */

static uint8_t interrupt_id(const Uart *u)
{
    if ((u->ier & IER_RLSI) && (u->lsr & LSR_ERRORS)) {
        return IIR_RLSI;
    }
    if ((u->ier & IER_RDI) && u->timeout_ipending) {
        return IIR_CTI;
    }
    if ((u->ier & IER_RDI) && (u->lsr & LSR_DR) &&
        (!has_fifo(u) || u->recv_fifo.num >= trigger_levels[u->fcr >> 6])) {
        return IIR_RDI;
    }
    if ((u->ier & IER_THRI) && u->thr_ipending) {
        return IIR_THRI;
    }
    if ((u->ier & IER_MSI) && (u->msr & MSR_ANY_DELTA)) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

bool uart_irq(Uart *u)
{
    u->iir = interrupt_id(u) | (has_fifo(u) ? IIR_FIFO : 0);
    return (u->iir & IIR_ID) != IIR_NONE;
}

/* ---- line parameters ---- */

/* Bits of one character: start, data, parity, stop. */
static unsigned frame_bits(const Uart *u)
{
    return 1 + 5 + (u->lcr & LCR_WORD) + !!(u->lcr & LCR_PARITY) + (u->lcr & LCR_STOP ? 2 : 1);
}

static int64_t char_time_ns(const Uart *u)
{
    return NANOSECONDS_PER_SECOND / MAX(u->baudbase, 1u) * MAX(u->divider, 1u) * frame_bits(u);
}

static void tell_line_params(Uart *u)
{
    CharLineParams params = {
        .baud = u->baudbase / MAX(u->divider, 1u),
        .parity = u->lcr & LCR_PARITY ? (u->lcr & LCR_EVEN ? 'E' : 'O') : 'N',
        .data_bits = 5 + (u->lcr & LCR_WORD),
        .stop_bits = u->lcr & LCR_STOP ? 2 : 1,
    };

    if (params.baud) {
        char_set_line(&u->chr, &params);
    }
}

/* ---- modem lines ---- */

/* New levels of MSR's upper half; deltas accumulate until MSR is read. */
static void set_modem_inputs(Uart *u, uint8_t lines)
{
    uint8_t changed = (u->msr ^ lines) & 0xf0;

    u->msr |= (changed >> 4) & (MSR_DCTS | MSR_DDSR | MSR_DDCD);
    if ((changed & MSR_RI) && !(lines & MSR_RI)) {
        u->msr |= MSR_TERI;       /* the trailing edge */
    }
    u->msr = (u->msr & 0x0f) | (lines & 0xf0);
}

static void update_modem(Uart *u)
{
    unsigned lines;

    if (loopback(u)) {
        /* RTS-CTS, DTR-DSR, OUT1-RI, OUT2-DCD */
        set_modem_inputs(u, (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                            (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
        return;
    }
    if (!char_get_modem(&u->chr, &lines)) {
        u->poll_msl = -1;
        set_modem_inputs(u, MSR_DCD | MSR_DSR | MSR_CTS);
        return;
    }
    u->poll_msl = 1;
    set_modem_inputs(u, (lines & CHAR_LINE_CTS ? MSR_CTS : 0) | (lines & CHAR_LINE_DSR ? MSR_DSR : 0) |
                        (lines & CHAR_LINE_RI ? MSR_RI : 0) | (lines & CHAR_LINE_DCD ? MSR_DCD : 0));
}

/* Real lines can only be asked; that is worth a timer while the guest wants the interrupt. */
static void schedule_modem_poll(Uart *u)
{
    if (u->poll_msl == 1 && (u->ier & IER_MSI)) {
        timer_set(&u->modem_status_poll, clock_now(u->clock) + POLL_NS);
    } else {
        timer_cancel(&u->modem_status_poll);
    }
}

static void modem_poll(void *opaque)
{
    Uart *u = opaque;

    update_modem(u);
    schedule_modem_poll(u);
    device_sync(u->dev);
}

static void tell_modem_outputs(Uart *u)
{
    unsigned lines;

    if (!loopback(u) && char_get_modem(&u->chr, &lines)) {
        lines &= ~(CHAR_LINE_DTR | CHAR_LINE_RTS);
        lines |= (u->mcr & MCR_DTR ? CHAR_LINE_DTR : 0) | (u->mcr & MCR_RTS ? CHAR_LINE_RTS : 0);
        char_set_modem(&u->chr, lines);
    }
}

/* ---- receiving ---- */

static void arm_timeout(Uart *u)
{
    /* 4 character times without a read or another character */
    timer_set(&u->fifo_timeout_timer, clock_now(u->clock) + 4 * char_time_ns(u));
}

static void fifo_timeout(void *opaque)
{
    Uart *u = opaque;

    if (u->recv_fifo.num) {
        u->timeout_ipending = 1;
        device_sync(u->dev);
    }
}

static void receive_byte(Uart *u, uint8_t byte)
{
    if (has_fifo(u)) {
        if (u->recv_fifo.num == UART_FIFO) {
            u->lsr |= LSR_OE;     /* the newcomer is lost */
        } else {
            fifo_push(&u->recv_fifo, byte);
        }
        arm_timeout(u);
    } else {
        if (u->lsr & LSR_DR) {
            u->lsr |= LSR_OE;     /* the newcomer overwrites */
        }
        u->rbr = byte;
    }
    u->lsr |= LSR_DR;
}

static unsigned uart_can_receive(void *opaque)
{
    Uart *u = opaque;

    if (loopback(u)) {
        return 0;
    }
    if (!has_fifo(u)) {
        return !(u->lsr & LSR_DR);
    }
    /* Up to the trigger level at once, then one at a time: interrupts come in time. */
    if (u->recv_fifo.num < trigger_levels[u->fcr >> 6]) {
        return trigger_levels[u->fcr >> 6] - u->recv_fifo.num;
    }
    return u->recv_fifo.num < UART_FIFO;
}

static void wake_up(Uart *u)
{
    if (u->wakeup && u->dev->vm->state == RUN_STATE_SUSPENDED) {
        vm_request_wakeup(u->dev->vm, "other");
    }
}

static void uart_receive(void *opaque, const uint8_t *data, unsigned len)
{
    Uart *u = opaque;

    wake_up(u);
    for (unsigned i = 0; i < len; i++) {
        receive_byte(u, data[i]);
    }
    device_sync(u->dev);
}

static void uart_event(void *opaque, CharEvent event)
{
    Uart *u = opaque;

    if (event == CHAR_EVENT_BREAK) {
        receive_byte(u, 0);
        u->lsr |= LSR_BI;
        device_sync(u->dev);
    }
}

static uint8_t rbr_read(Uart *u)
{
    if (has_fifo(u)) {
        if (u->recv_fifo.num) {
            u->rbr = fifo_pop(&u->recv_fifo);
        }
        if (u->recv_fifo.num) {
            arm_timeout(u);
        } else {
            u->lsr &= ~(LSR_DR | LSR_BI);
            timer_cancel(&u->fifo_timeout_timer);
        }
        u->timeout_ipending = 0;
    } else {
        u->lsr &= ~(LSR_DR | LSR_BI);
    }
    if (!loopback(u)) {
        char_accept_input(&u->chr);
    }
    return u->rbr;
}

/* ---- sending ---- */

/* false: the back end has no room; it will call uart_writable(). */
static bool send_byte(Uart *u, uint8_t byte)
{
    if (loopback(u)) {
        receive_byte(u, byte);
        return true;
    }
    return char_write_byte(&u->chr, byte) || !char_is_open(&u->chr);
}

/* Moves what waits; at most a FIFO's worth, as nothing refills it meanwhile. */
static void transmit(Uart *u)
{
    while (u->tsr_retry || !(u->lsr & LSR_THRE)) {
        if (!u->tsr_retry) {
            u->tsr = has_fifo(u) && u->xmit_fifo.num ? fifo_pop(&u->xmit_fifo) : u->thr;
            if (!has_fifo(u) || u->xmit_fifo.num == 0) {
                u->lsr |= LSR_THRE;
                u->thr_ipending = 1;
            }
        }
        if (!send_byte(u, u->tsr) && u->tsr_retry < RETRY_MAX) {
            u->tsr_retry++;
            return;
        }
        u->tsr_retry = 0;
    }
    u->lsr |= LSR_TEMT;
}

static void uart_writable(void *opaque)
{
    Uart *u = opaque;

    transmit(u);
    device_sync(u->dev);
}

static void thr_write(Uart *u, uint8_t value)
{
    u->thr = value;
    if (has_fifo(u)) {
        if (u->xmit_fifo.num == UART_FIFO) {
            fifo_pop(&u->xmit_fifo);      /* the oldest is lost */
        }
        fifo_push(&u->xmit_fifo, value);
    }
    u->thr_ipending = 0;
    u->lsr &= ~(LSR_THRE | LSR_TEMT);
    if (u->tsr_retry == 0) {
        transmit(u);
    }
}

static const CharHandlers uart_handlers = { uart_can_receive, uart_receive, uart_event,
                                            uart_writable };

/* ---- registers ---- */

static void fcr_write(Uart *u, uint8_t value)
{
    if ((value ^ u->fcr) & FCR_ENABLE) {
        value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    }
    if (value & FCR_CLEAR_RX) {
        u->lsr &= ~(LSR_DR | LSR_BI);
        u->timeout_ipending = 0;
        timer_cancel(&u->fifo_timeout_timer);
        fifo_reset(&u->recv_fifo);
    }
    if (value & FCR_CLEAR_TX) {
        u->lsr |= LSR_THRE;
        u->thr_ipending = 1;
        fifo_reset(&u->xmit_fifo);
    }
    u->fcr = value & (FCR_ENABLE | FCR_DMA | FCR_TRIGGER);
    if (!(value & FCR_ENABLE)) {
        u->fcr = 0;
    }
    char_accept_input(&u->chr);
}

static void ier_write(Uart *u, uint8_t value)
{
    uint8_t rose = value & ~u->ier;

    u->ier = value & 0x0f;
    if (rose & IER_MSI) {
        update_modem(u);
    }
    schedule_modem_poll(u);
    /* Enabling THRE's interrupt while the register is empty raises it. */
    if ((rose & IER_THRI) && (u->lsr & LSR_THRE)) {
        u->thr_ipending = 1;
    }
}

static void lcr_write(Uart *u, uint8_t value)
{
    bool brk = value & LCR_BREAK;

    u->lcr = value;
    if (brk != u->break_on) {
        u->break_on = brk;
        char_set_break(&u->chr, brk);
    }
    tell_line_params(u);
}

static void mcr_write(Uart *u, uint8_t value)
{
    bool left_loop = loopback(u) && !(value & MCR_LOOP);

    u->mcr = value & 0x1f;
    tell_modem_outputs(u);
    update_modem(u);
    if (left_loop) {
        char_accept_input(&u->chr);
    }
}

void uart_write(Uart *u, unsigned reg, uint8_t value)
{
    bool dlab = u->lcr & LCR_DLAB;

    switch (reg & 7) {
    case REG_RBR_THR_DLL:
        if (dlab) {
            u->divider = (u->divider & 0xff00) | value;
            tell_line_params(u);
        } else {
            thr_write(u, value);
        }
        break;
    case REG_IER_DLM:
        if (dlab) {
            u->divider = (u->divider & 0x00ff) | value << 8;
            tell_line_params(u);
        } else {
            ier_write(u, value);
        }
        break;
    case REG_IIR_FCR:
        fcr_write(u, value);
        break;
    case REG_LCR:
        lcr_write(u, value);
        break;
    case REG_MCR:
        mcr_write(u, value);
        break;
    case REG_SCR:
        u->scr = value;
        break;
    default:                      /* LSR, MSR: read-only */
        break;
    }
}

uint8_t uart_read(Uart *u, unsigned reg)
{
    bool dlab = u->lcr & LCR_DLAB;
    uint8_t value;

    switch (reg & 7) {
    case REG_RBR_THR_DLL:
        return dlab ? u->divider & 0xff : rbr_read(u);
    case REG_IER_DLM:
        return dlab ? u->divider >> 8 : u->ier;
    case REG_IIR_FCR:
        uart_irq(u);
        value = u->iir;
        if ((value & IIR_ID) == IIR_THRI) {
            u->thr_ipending = 0;
        }
        return value;
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        value = u->lsr;
        u->lsr &= ~(LSR_BI | LSR_OE);
        return value;
    case REG_MSR:
        if (!loopback(u) && u->poll_msl == 1) {
            update_modem(u);
        }
        value = u->msr;
        u->msr &= ~MSR_ANY_DELTA;
        return value;
    default:
        return u->scr;
    }
}

/* ---- life cycle ---- */

void uart_reset(Uart *u)
{
    u->rbr = u->thr = u->tsr = u->ier = u->lcr = u->scr = 0;
    u->iir = IIR_NONE;
    u->lsr = LSR_TEMT | LSR_THRE;
    u->msr = MSR_DCD | MSR_DSR | MSR_CTS;
    u->mcr = MCR_OUT2;
    u->divider = 0x0c;            /* 9600 baud */
    u->fcr = 0;
    u->thr_ipending = u->timeout_ipending = u->tsr_retry = 0;
    u->poll_msl = 0;
    u->break_on = false;
    fifo_reset(&u->recv_fifo);
    fifo_reset(&u->xmit_fifo);
    timer_cancel(&u->fifo_timeout_timer);
    timer_cancel(&u->modem_status_poll);
    update_modem(u);
    u->msr &= ~MSR_ANY_DELTA;
}

void uart_init(Uart *u, Device *dev)
{
    u->dev = dev;
    u->clock = dev->vm->clock;
    timer_init(&u->fifo_timeout_timer, u->clock, fifo_timeout, u);
    timer_init(&u->modem_status_poll, u->clock, modem_poll, u);
    char_attach(&u->chr, &uart_handlers, u);
}

void uart_clear(Uart *u)
{
    timer_cancel(&u->fifo_timeout_timer);
    timer_cancel(&u->modem_status_poll);
    char_detach(&u->chr);
}

/* ---- state on the wire ---- */

static void uart_pre_save(void *obj)
{
    Uart *u = obj;

    uart_irq(u);
    u->fcr_vmstate = u->fcr;
}

/* What the subsections bring is at rest unless they come. */
static bool uart_pre_load(void *obj, GError **error)
{
    Uart *u = obj;

    u->thr_ipending = -1;
    u->timeout_ipending = 0;
    u->tsr_retry = 0;
    u->poll_msl = -1;
    fifo_reset(&u->recv_fifo);
    fifo_reset(&u->xmit_fifo);
    timer_cancel(&u->fifo_timeout_timer);
    timer_cancel(&u->modem_status_poll);
    return true;
}

static bool uart_post_load(void *obj, int version, GError **error)
{
    Uart *u = obj;

    if (u->recv_fifo.head >= UART_FIFO || u->recv_fifo.num > UART_FIFO ||
        u->xmit_fifo.head >= UART_FIFO || u->xmit_fifo.num > UART_FIFO || u->tsr_retry < 0) {
        return error_set(error, "serial: a FIFO's head or length is above %d", UART_FIFO);
    }
    u->fcr = version >= 3 ? u->fcr_vmstate & (FCR_ENABLE | FCR_DMA | FCR_TRIGGER) : 0;
    u->tsr_retry = MIN(u->tsr_retry, RETRY_MAX);
    if (u->tsr_retry && (u->lsr & LSR_TEMT)) {
        return error_set(error, "serial: the transmitter is empty and holds a byte");
    }
    if (u->thr_ipending == -1) {
        u->thr_ipending = (u->iir & IIR_ID) == IIR_THRI;
    }
    u->break_on = u->lcr & LCR_BREAK;
    tell_line_params(u);
    return true;
}

static bool thr_ipending_needed(const void *obj)
{
    const Uart *u = obj;

    /* Without it the loader reads it off IIR, which shows only the highest cause. */
    return (u->ier & IER_THRI) && (u->thr_ipending != 0) != ((u->iir & IIR_ID) == IIR_THRI);
}

static bool tsr_needed(const void *obj)
{
    return ((const Uart *)obj)->tsr_retry != 0;
}

static bool recv_needed(const void *obj)
{
    return ((const Uart *)obj)->recv_fifo.num != 0;
}

static bool xmit_needed(const void *obj)
{
    return ((const Uart *)obj)->xmit_fifo.num != 0;
}

static bool timeout_timer_needed(const void *obj)
{
    return timer_pending(&((const Uart *)obj)->fifo_timeout_timer);
}

static bool timeout_needed(const void *obj)
{
    return ((const Uart *)obj)->timeout_ipending != 0;
}

static bool poll_needed(const void *obj)
{
    return ((const Uart *)obj)->poll_msl >= 0;
}

static const VmField fifo_fields[] = {
    VMS_BUFFER(UartFifo, data, .version = 1), VMS_U32(UartFifo, head), VMS_U32(UartFifo, num),
    VMS_END
};
static const VmStateDesc fifo_desc = { .name = "Fifo8", .version = 1, .minimum = 1,
                                       .fields = fifo_fields };

#define SUBSECTION(id, need, ...)                                                          \
    static const VmField id##_fields[] = { __VA_ARGS__, VMS_END };                         \
    static const VmStateDesc id##_desc = { .name = "serial/" #id, .version = 1,            \
        .minimum = 1, .fields = id##_fields, .needed = need }

SUBSECTION(thr_ipending, thr_ipending_needed, VMS_I32(Uart, thr_ipending));
SUBSECTION(tsr, tsr_needed, VMS_I32(Uart, tsr_retry), VMS_U8(Uart, thr), VMS_U8(Uart, tsr));
SUBSECTION(recv_fifo, recv_needed, VMS_STRUCT(Uart, recv_fifo, &fifo_desc, .version = 1));
SUBSECTION(xmit_fifo, xmit_needed, VMS_STRUCT(Uart, xmit_fifo, &fifo_desc, .version = 1));
SUBSECTION(fifo_timeout_timer, timeout_timer_needed, VMS_TIMER(Uart, fifo_timeout_timer));
SUBSECTION(timeout_ipending, timeout_needed, VMS_I32(Uart, timeout_ipending));
SUBSECTION(poll, poll_needed, VMS_I32(Uart, poll_msl), VMS_TIMER(Uart, modem_status_poll));

static const VmStateDesc *const uart_subsections[] = {
    &thr_ipending_desc, &tsr_desc, &recv_fifo_desc, &xmit_fifo_desc, &fifo_timeout_timer_desc,
    &timeout_ipending_desc, &poll_desc, NULL
};
static const VmField uart_fields[] = {
    VMS_U16(Uart, divider, .version = 2), VMS_U8(Uart, rbr), VMS_U8(Uart, ier), VMS_U8(Uart, iir),
    VMS_U8(Uart, lcr), VMS_U8(Uart, mcr), VMS_U8(Uart, lsr), VMS_U8(Uart, msr), VMS_U8(Uart, scr),
    VMS_U8(Uart, fcr_vmstate, .version = 3), VMS_END
};
const VmStateDesc uart_vmstate = { .name = "serial", .version = 3, .minimum = 2,
                                   .fields = uart_fields, .subsections = uart_subsections,
                                   .pre_save = uart_pre_save, .pre_load = uart_pre_load,
                                   .post_load = uart_post_load };
