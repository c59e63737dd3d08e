/* SPDX-License-Identifier: MIT */
/*
 * The real-time clock and CMOS RAM of a PC ("mc146818rtc").
 *
 *     RtcOptions opts = { .base = RTC_BASE_UTC, .clock = vm->host_clock };
 *     Device *rtc = mc146818_new(isa, &opts, irq8_pin, &error);
 *     mc146818_set_cmos(rtc, 0x38, boot_order);
 *
 * Thread rule: machine lock.
 */
#ifndef HW_TIMER_MC146818_H
#define HW_TIMER_MC146818_H

#include <time.h>

#include "hw/isa/isa.h"
#include "vm/clock.h"

typedef enum RtcBase { RTC_BASE_UTC, RTC_BASE_LOCALTIME, RTC_BASE_DATE } RtcBase;

/* What -rtc says. */
typedef struct RtcOptions {
    RtcBase base;
    int64_t date;             /* RTC_BASE_DATE: seconds since 1970, UTC */
    Clock *clock;             /* clock=: vm->host_clock (NULL too), vm->clock, vm->realtime_clock */
    bool slew;                /* driftfix=slew */
} RtcOptions;

/* -rtc base=: "utc", "localtime", "2006-06-17T16:01:21" or "2006-06-17". */
bool rtc_parse_base(const char *text, RtcOptions *options, GError **error);

/* At port 70h with base_year 0, as the pc machines have it. */
Device *mc146818_new(IsaBus *bus, const RtcOptions *options, IrqPin irq, GError **error);
/* Bytes of the CMOS RAM; for boards (memory size, boot order, floppy types). */
void mc146818_set_cmos(Device *dev, unsigned addr, uint8_t value);

#endif
