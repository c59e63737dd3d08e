/* SPDX-License-Identifier: MIT */
/*
 * Motorola MC146818A real-time clock with 128 bytes of CMOS RAM ("mc146818rtc").
 * Spec: MC146818A data sheet (ADI1026R1); register and bit names are the sheet's.  Century byte: 32h.
 * Not modelled: square wave output, daylight saving, divider chains other than 32.768 kHz.
 * Locking: machine lock.
 *
 * Time is not stepped: guest time = base_rtc seconds + (clock - last_update) + offset.  While the
 * divider is in reset or SET is on, the time stands still in the registers.  Timers run only for
 * flags or interrupts that something can see.
 */
#include "hw/timer/mc146818.h"

#include "base/error.h"
#include "vm/vm.h"

enum {
    RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM,
    RTC_DAY_OF_WEEK, RTC_DAY_OF_MONTH, RTC_MONTH, RTC_YEAR, REG_A, REG_B, REG_C, REG_D,
    RTC_CENTURY = 0x32, RTC_PS2_CENTURY = 0x37,
};
enum { REG_A_UIP = 0x80, REG_A_DV = 0x70, REG_A_DV_ON = 0x20, REG_A_DV_RESET = 0x60,
       REG_A_RS = 0x0f };
enum { REG_B_24H = 0x02, REG_B_DM = 0x04, REG_B_SQWE = 0x08, REG_B_UIE = 0x10, REG_B_AIE = 0x20,
       REG_B_PIE = 0x40, REG_B_SET = 0x80 };
enum { REG_C_UF = 0x10, REG_C_AF = 0x20, REG_C_PF = 0x40, REG_C_IRQF = 0x80, REG_D_VRT = 0x80 };
enum { CRYSTAL_HZ = 32768, UIP_NS = 8 * NANOSECONDS_PER_SECOND / CRYSTAL_HZ,
       REINJECT_MAX = 20, COALESCED_MAX = 100 };

/* Far beyond any year that the registers can say. */
#define MAX_SECONDS (1ull << 42)

static const char *const lost_tick_words[] = { "discard", "delay", "slew", NULL };
enum { LOST_TICK_DISCARD, LOST_TICK_DELAY, LOST_TICK_SLEW };

typedef struct Rtc {
    IsaDevice isa;
    MemoryRegion ports;
    IrqLine irq_line;
    Clock *clock;
    int32_t base_year;
    uint16_t iobase;
    uint8_t irq;
    int lost_tick_policy;
    uint8_t cmos_data[128];
    uint8_t cmos_index;
    Timer periodic_timer, update_timer;
    int64_t next_periodic_time;   /* ns */
    uint32_t irq_coalesced, period;   /* period in crystal ticks */
    uint64_t base_rtc;            /* seconds since 1970 in guest time, at last_update */
    uint64_t last_update;         /* ns of the clock */
    int64_t offset;               /* ns into that second */
    uint64_t next_alarm_time;     /* ns; UINT64_MAX: none */
    uint16_t irq_reinject_on_ack_count;
} Rtc;

/* ---- guest time ---- */

static bool is_running(const Rtc *s)
{
    return !(s->cmos_data[REG_B] & REG_B_SET) &&
           (s->cmos_data[REG_A] & REG_A_DV) <= REG_A_DV_ON;
}

/* ns since base_rtc; never negative.  Kept apart from the seconds: year 9999 does not fit in ns. */
static int64_t since_base(const Rtc *s)
{
    int64_t ns = clock_now(s->clock) - (int64_t)s->last_update + s->offset;

    return MAX(ns, 0);
}

/* Guest time: seconds since 1970, and ns into that second. */
static int64_t guest_second(const Rtc *s)
{
    return (int64_t)s->base_rtc + since_base(s) / NANOSECONDS_PER_SECOND;
}

static int64_t guest_fraction(const Rtc *s)
{
    return since_base(s) % NANOSECONDS_PER_SECOND;
}

static unsigned to_reg(const Rtc *s, unsigned v)
{
    return s->cmos_data[REG_B] & REG_B_DM ? v : (v / 10) << 4 | v % 10;
}

static int from_reg(const Rtc *s, uint8_t v)
{
    return s->cmos_data[REG_B] & REG_B_DM ? v : (v >> 4) * 10 + (v & 15);
}

/* Hours of a 12-hour register have PM in bit 7. */
static int hours_from_reg(const Rtc *s, uint8_t v)
{
    int hour = from_reg(s, v & 0x7f);

    if (!(s->cmos_data[REG_B] & REG_B_24H)) {
        hour = hour % 12 + (v & 0x80 ? 12 : 0);
    }
    return hour;
}

static void time_to_tm(int64_t seconds, struct tm *tm)
{
    time_t t = seconds;

    if (!gmtime_r(&t, tm)) {
        memset(tm, 0, sizeof(*tm));
        tm->tm_mday = 1;
    }
}

static void regs_from_time(Rtc *s)
{
    struct tm tm;
    int year, hour;

    time_to_tm(guest_second(s), &tm);
    year = MAX(tm.tm_year + 1900 - s->base_year, 0);
    hour = tm.tm_hour;
    s->cmos_data[RTC_SECONDS] = to_reg(s, tm.tm_sec);
    s->cmos_data[RTC_MINUTES] = to_reg(s, tm.tm_min);
    if (s->cmos_data[REG_B] & REG_B_24H) {
        s->cmos_data[RTC_HOURS] = to_reg(s, hour);
    } else {
        s->cmos_data[RTC_HOURS] = to_reg(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
    }
    s->cmos_data[RTC_DAY_OF_WEEK] = to_reg(s, tm.tm_wday + 1);
    s->cmos_data[RTC_DAY_OF_MONTH] = to_reg(s, tm.tm_mday);
    s->cmos_data[RTC_MONTH] = to_reg(s, tm.tm_mon + 1);
    s->cmos_data[RTC_YEAR] = to_reg(s, year % 100);
    s->cmos_data[RTC_CENTURY] = to_reg(s, year / 100 % 100);
}

static void set_guest_seconds(Rtc *s, int64_t seconds, int64_t offset_ns)
{
    s->base_rtc = MAX(seconds, 0);
    s->offset = offset_ns;
    s->last_update = clock_now(s->clock);
}

/* Out-of-range registers are normalised by timegm(), so any guest value is a time. */
static void time_from_regs(Rtc *s)
{
    struct tm tm = {
        .tm_sec = from_reg(s, s->cmos_data[RTC_SECONDS]),
        .tm_min = from_reg(s, s->cmos_data[RTC_MINUTES]),
        .tm_hour = hours_from_reg(s, s->cmos_data[RTC_HOURS]),
        .tm_mday = from_reg(s, s->cmos_data[RTC_DAY_OF_MONTH]),
        .tm_mon = from_reg(s, s->cmos_data[RTC_MONTH]) - 1,
        .tm_year = from_reg(s, s->cmos_data[RTC_YEAR]) + s->base_year +
                   from_reg(s, s->cmos_data[RTC_CENTURY]) * 100 - 1900,
    };

    set_guest_seconds(s, timegm(&tm), 0);
}

/* ---- flags, interrupt and timers ---- */

static int64_t ticks_to_ns(int64_t ticks)
{
    return muldiv64(ticks, NANOSECONDS_PER_SECOND, CRYSTAL_HZ);
}

/* Table 5: rates 1 and 2 of the 32.768 kHz crystal are those of 8 and 9. */
static uint32_t periodic_ticks(const Rtc *s)
{
    unsigned rate = s->cmos_data[REG_A] & REG_A_RS;

    if (rate == 0 || (s->cmos_data[REG_A] & REG_A_DV) > REG_A_DV_ON ||
        !(s->cmos_data[REG_B] & (REG_B_PIE | REG_B_SQWE))) {
        return 0;
    }
    return BIT((rate <= 2 ? rate + 7 : rate) - 1);
}

static void update_periodic(Rtc *s)
{
    uint32_t ticks = periodic_ticks(s);

    if (ticks == s->period) {
        return;
    }
    s->period = ticks;
    s->irq_coalesced = 0;
    if (ticks) {
        int64_t step = ticks_to_ns(ticks), now = clock_now(s->clock);

        s->next_periodic_time = now / step * step + step;
        timer_set(&s->periodic_timer, s->next_periodic_time);
    } else {
        timer_cancel(&s->periodic_timer);
    }
}

/* An alarm register with its two top bits set matches anything. */
static bool alarm_field(uint8_t reg, int alarm, int now)
{
    return (reg & 0xc0) == 0xc0 || alarm == now;
}

static bool alarm_hour_matches(const Rtc *s, int second_of_day)
{
    uint8_t reg = s->cmos_data[RTC_HOURS_ALARM];

    return alarm_field(reg, hours_from_reg(s, reg), second_of_day / 3600);
}

static bool alarm_minute_matches(const Rtc *s, int second_of_day)
{
    uint8_t reg = s->cmos_data[RTC_MINUTES_ALARM];

    return alarm_field(reg, from_reg(s, reg), second_of_day / 60 % 60);
}

static bool alarm_matches(const Rtc *s, int second_of_day)
{
    uint8_t reg = s->cmos_data[RTC_SECONDS_ALARM];

    return alarm_field(reg, from_reg(s, reg), second_of_day % 60) &&
           alarm_minute_matches(s, second_of_day) && alarm_hour_matches(s, second_of_day);
}

/* Seconds from now to the next match, 1..86400; 0: never (a bad register). */
static int seconds_to_alarm(const Rtc *s, int64_t now)
{
    uint8_t seconds = s->cmos_data[RTC_SECONDS_ALARM];
    int step = 1;

    if ((seconds & 0xc0) != 0xc0 && from_reg(s, seconds) > 59) {
        return 0;
    }
    while (step <= 86400) {
        int second = (now + step) % 86400;

        if (!alarm_hour_matches(s, second)) {
            step += 3600 - second % 3600;
        } else if (!alarm_minute_matches(s, second)) {
            step += 60 - second % 60;
        } else if (!alarm_matches(s, second)) {
            step++;
        } else {
            return step;
        }
    }
    return 0;
}

/* The update timer is due at the next second that UF, the alarm or their interrupts can show. */
static void update_second_timer(Rtc *s, bool alarm_changed)
{
    int64_t second = guest_second(s);
    int64_t boundary = clock_now(s->clock) + NANOSECONDS_PER_SECOND - guest_fraction(s);
    uint8_t b = s->cmos_data[REG_B], c = s->cmos_data[REG_C];

    if (!is_running(s)) {
        timer_cancel(&s->update_timer);
        return;
    }
    if (alarm_changed) {
        int wait = seconds_to_alarm(s, second);

        s->next_alarm_time = wait ? boundary + (wait - 1) * NANOSECONDS_PER_SECOND : UINT64_MAX;
    }
    if ((b & REG_B_UIE) || !(c & REG_C_UF)) {
        timer_set(&s->update_timer, boundary);
    } else if (s->next_alarm_time != UINT64_MAX && ((b & REG_B_AIE) || !(c & REG_C_AF))) {
        timer_set(&s->update_timer, MAX((int64_t)s->next_alarm_time, 0));
    } else {
        timer_cancel(&s->update_timer);
    }
}

static void rtc_sync(Device *dev)
{
    Rtc *s = DEVICE_CAST(Rtc, dev);
    uint8_t flags = REG_C_UF | REG_C_AF | REG_C_PF;

    if (s->cmos_data[REG_C] & s->cmos_data[REG_B] & flags) {
        s->cmos_data[REG_C] |= REG_C_IRQF;
    }
    irq_set(&s->irq_line, s->cmos_data[REG_C] & REG_C_IRQF);
}

static void periodic_fired(void *opaque)
{
    Rtc *s = opaque;
    int64_t step = ticks_to_ns(MAX(s->period, 1)), now = clock_now(s->clock), missed;

    if (s->period == 0) {
        return;
    }
    missed = MAX(now - s->next_periodic_time, 0) / step;
    s->next_periodic_time += (missed + 1) * step;
    timer_set(&s->periodic_timer, s->next_periodic_time);
    if ((s->cmos_data[REG_B] & REG_B_PIE) && s->lost_tick_policy == LOST_TICK_SLEW) {
        /* One that was not taken yet, and those that a busy host slept through, come later. */
        missed += (s->cmos_data[REG_C] & REG_C_PF) != 0;
        s->irq_coalesced = MIN(s->irq_coalesced + missed, COALESCED_MAX);
    }
    s->cmos_data[REG_C] |= REG_C_PF;
    device_sync(&s->isa.dev);
}

static void update_fired(void *opaque)
{
    Rtc *s = opaque;
    int64_t second = guest_second(s);
    bool alarm = s->next_alarm_time != UINT64_MAX &&
                 (int64_t)s->next_alarm_time <= clock_now(s->clock);

    s->cmos_data[REG_C] |= REG_C_UF;
    if (alarm || alarm_matches(s, second % 86400)) {
        s->cmos_data[REG_C] |= REG_C_AF;
        alarm = true;
    }
    update_second_timer(s, alarm);
    device_sync(&s->isa.dev);
}

/* ---- ports ---- */

static uint8_t reg_c_read(Rtc *s)
{
    uint8_t value = s->cmos_data[REG_C];

    s->cmos_data[REG_C] = 0;
    if (s->irq_coalesced && (s->cmos_data[REG_B] & REG_B_PIE) &&
        s->irq_reinject_on_ack_count < REINJECT_MAX) {
        s->irq_reinject_on_ack_count++;
        s->irq_coalesced--;
        irq_set(&s->irq_line, false);
        s->cmos_data[REG_C] = REG_C_IRQF | REG_C_PF;
    } else {
        s->irq_reinject_on_ack_count = 0;
    }
    update_second_timer(s, false);
    return value;
}

static uint64_t data_read(Device *dev, uint64_t unused)
{
    Rtc *s = DEVICE_CAST(Rtc, dev);
    unsigned index = s->cmos_index == RTC_PS2_CENTURY ? RTC_CENTURY : s->cmos_index;
    uint8_t value;

    switch (index) {
    case REG_A:
        value = s->cmos_data[REG_A] & ~REG_A_UIP;
        if (is_running(s) &&
            guest_fraction(s) >= NANOSECONDS_PER_SECOND - UIP_NS) {
            value |= REG_A_UIP;
        }
        return value;
    case REG_C:
        return reg_c_read(s);
    case RTC_SECONDS: case RTC_MINUTES: case RTC_HOURS: case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH: case RTC_MONTH: case RTC_YEAR: case RTC_CENTURY:
        if (is_running(s)) {
            regs_from_time(s);
        }
        return s->cmos_data[index];
    default:
        return s->cmos_data[index];
    }
}

static void time_reg_write(Rtc *s, unsigned index, uint8_t value)
{
    bool running = is_running(s);

    if (running) {
        regs_from_time(s);
    }
    s->cmos_data[index] = value;
    if (running) {
        time_from_regs(s);
        update_second_timer(s, true);
    }
}

static void reg_a_write(Rtc *s, uint8_t value)
{
    bool was_running = is_running(s);

    if (was_running) {
        regs_from_time(s);
    }
    s->cmos_data[REG_A] = value & ~REG_A_UIP;
    if (!was_running && is_running(s)) {
        /* Leaving divider reset, the first update comes half a second later. */
        time_from_regs(s);
        s->offset = NANOSECONDS_PER_SECOND / 2;
    }
    update_periodic(s);
    update_second_timer(s, true);
}

static void reg_b_write(Rtc *s, uint8_t value)
{
    bool was_running = is_running(s);
    int64_t fraction = guest_fraction(s);

    if (was_running) {
        regs_from_time(s);
    }
    if (value & REG_B_SET) {
        value &= ~REG_B_UIE;
        if (was_running) {
            s->offset = fraction; /* kept for when SET goes away */
        }
    }
    s->cmos_data[REG_B] = value;
    if (!was_running && is_running(s)) {
        int64_t offset = s->offset;

        time_from_regs(s);
        s->offset = CLAMP(offset, 0, NANOSECONDS_PER_SECOND - 1);
    }
    /* A flag that is already set interrupts as soon as it is enabled. */
    if (!(s->cmos_data[REG_C] & value & (REG_C_UF | REG_C_AF | REG_C_PF))) {
        s->cmos_data[REG_C] &= ~REG_C_IRQF;
    }
    update_periodic(s);
    update_second_timer(s, true);
}

static void data_write(Device *dev, uint64_t value)
{
    Rtc *s = DEVICE_CAST(Rtc, dev);
    unsigned index = s->cmos_index == RTC_PS2_CENTURY ? RTC_CENTURY : s->cmos_index;

    switch (index) {
    case RTC_SECONDS_ALARM: case RTC_MINUTES_ALARM: case RTC_HOURS_ALARM:
        s->cmos_data[index] = value;
        update_second_timer(s, true);
        break;
    case RTC_SECONDS: case RTC_MINUTES: case RTC_HOURS: case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH: case RTC_MONTH: case RTC_YEAR: case RTC_CENTURY:
        time_reg_write(s, index, value);
        break;
    case REG_A:
        reg_a_write(s, value);
        break;
    case REG_B:
        reg_b_write(s, value);
        break;
    case REG_C:
    case REG_D:
        break;                    /* read-only */
    default:
        s->cmos_data[index] = value;
        break;
    }
}

static uint64_t index_read(Device *dev, uint64_t value)
{
    return 0xff;                  /* write-only in a PC */
}

static void index_write(Device *dev, uint64_t value)
{
    DEVICE_CAST(Rtc, dev)->cmos_index = value & 0x7f;
}

static const RegDef rtc_regs[] = {
    { 0, "index", REG_NONE(1), .on_read = index_read, .on_write = index_write },
    { 1, "data", REG_NONE(1), .on_read = data_read, .on_write = data_write },
};

/* ---- board ---- */

void mc146818_set_cmos(Device *dev, unsigned addr, uint8_t value)
{
    if (addr < 128) {
        DEVICE_CAST(Rtc, dev)->cmos_data[addr] = value;
    }
}

bool rtc_parse_base(const char *text, RtcOptions *options, GError **error)
{
    struct tm tm = { 0 };
    const char *end;

    if (strcmp(text, "utc") == 0 || strcmp(text, "localtime") == 0) {
        options->base = text[0] == 'u' ? RTC_BASE_UTC : RTC_BASE_LOCALTIME;
        return true;
    }
    end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end) {
        tm = (struct tm){ 0 };
        end = strptime(text, "%Y-%m-%d", &tm);
    }
    if (!end || *end) {
        return error_set(error, "-rtc base='%s' is no date; give utc, localtime, "
                         "2006-06-17T16:01:21 or 2006-06-17", text);
    }
    options->base = RTC_BASE_DATE;
    options->date = timegm(&tm);
    return true;
}

static int64_t start_seconds(const RtcOptions *options)
{
    int64_t now = g_get_real_time() / G_USEC_PER_SEC;
    time_t t = now;
    struct tm tm;

    switch (options->base) {
    case RTC_BASE_DATE:
        return options->date;
    case RTC_BASE_LOCALTIME:
        return localtime_r(&t, &tm) ? timegm(&tm) : now;
    default:
        return now;
    }
}

static void set_clock(Rtc *s, Clock *clock)
{
    s->clock = clock;
    timer_init(&s->periodic_timer, clock, periodic_fired, s);
    timer_init(&s->update_timer, clock, update_fired, s);
}

Device *mc146818_new(IsaBus *bus, const RtcOptions *options, IrqPin irq, GError **error)
{
    Device *dev = device_create(bus->bus.vm, "mc146818rtc", &bus->bus, error, "base_year", "0",
                                "lost_tick_policy", options->slew ? "slew" : "discard", NULL);
    Rtc *s = DEVICE_CAST(Rtc, dev);

    if (!dev) {
        return NULL;
    }
    timer_cancel(&s->update_timer);
    if (options->clock) {
        set_clock(s, options->clock);
    }
    set_guest_seconds(s, start_seconds(options), 0);
    irq_connect(&s->irq_line, irq);
    update_second_timer(s, true);
    return dev;
}

/* ---- life cycle ---- */

/* The battery keeps time and RAM; RESET# clears enables and flags (sheet, "RESET"). */
static void rtc_reset_enter(Device *dev)
{
    Rtc *s = DEVICE_CAST(Rtc, dev);

    s->cmos_data[REG_B] &= ~(REG_B_PIE | REG_B_AIE | REG_B_SQWE);
    s->cmos_data[REG_C] = 0;
    s->irq_coalesced = 0;
    s->irq_reinject_on_ack_count = 0;
    update_periodic(s);
    update_second_timer(s, true);
}

static bool rtc_realize(Device *dev, GError **error)
{
    Rtc *s = DEVICE_CAST(Rtc, dev);

    if (!isa_connect_irq(&s->isa, &s->irq_line, s->irq, error)) {
        return false;
    }
    s->cmos_data[REG_A] = 0x26;
    s->cmos_data[REG_B] = REG_B_24H;
    s->cmos_data[REG_D] = REG_D_VRT;
    s->next_alarm_time = UINT64_MAX;
    set_clock(s, dev->vm->host_clock);
    set_guest_seconds(s, g_get_real_time() / G_USEC_PER_SEC, 0);
    device_init_reg_region(dev, &s->ports, "rtc", (RegTable)REG_TABLE(rtc_regs), 2);
    isa_add_ports(&s->isa, &s->ports, s->iobase);
    return true;
}

static void rtc_unrealize(Device *dev)
{
    timer_cancel(&DEVICE_CAST(Rtc, dev)->periodic_timer);
    timer_cancel(&DEVICE_CAST(Rtc, dev)->update_timer);
}

static void rtc_pre_save(void *obj)
{
    Rtc *s = obj;

    if (is_running(s)) {
        regs_from_time(s);
    }
}

static bool rtc_post_load(void *obj, int version, GError **error)
{
    Rtc *s = obj;

    if (s->cmos_index > 0x7f || s->period > CRYSTAL_HZ || s->irq_coalesced > COALESCED_MAX ||
        s->offset < -NANOSECONDS_PER_SECOND || s->offset > NANOSECONDS_PER_SECOND ||
        s->base_rtc > MAX_SECONDS || s->last_update > INT64_MAX / 2) {
        error_set(error, "mc146818rtc: index 0x%x, period %u, offset %" G_GINT64_FORMAT
                  " or time is out of range", s->cmos_index, s->period, s->offset);
        /* A reset leaves the time alone; so nothing of this may stay. */
        s->cmos_index = 0;
        s->period = s->irq_coalesced = 0;
        set_guest_seconds(s, 0, 0);
        return false;
    }
    s->cmos_data[REG_D] = REG_D_VRT;
    return true;
}

static bool reinject_needed(const void *obj)
{
    return ((const Rtc *)obj)->irq_reinject_on_ack_count != 0;
}

static const VmField reinject_fields[] = { VMS_U16(Rtc, irq_reinject_on_ack_count), VMS_END };
static const VmStateDesc reinject_desc = {
    .name = "mc146818rtc/irq_reinject_on_ack_count", .version = 1, .minimum = 1,
    .fields = reinject_fields, .needed = reinject_needed,
};
static const VmStateDesc *const rtc_subsections[] = { &reinject_desc, NULL };
static const VmField rtc_fields[] = {
    VMS_BUFFER(Rtc, cmos_data), VMS_U8(Rtc, cmos_index), VMS_UNUSED(7 * 4),
    VMS_TIMER(Rtc, periodic_timer), VMS_I64(Rtc, next_periodic_time), VMS_UNUSED(3 * 8),
    VMS_U32(Rtc, irq_coalesced, .version = 2), VMS_U32(Rtc, period, .version = 2),
    VMS_U64(Rtc, base_rtc, .version = 3), VMS_U64(Rtc, last_update, .version = 3),
    VMS_I64(Rtc, offset, .version = 3), VMS_TIMER(Rtc, update_timer, .version = 3),
    VMS_U64(Rtc, next_alarm_time, .version = 3), VMS_END
};
static const PropDef rtc_props[] = {
    PROP_I32("base_year", Rtc, base_year, 1980),
    PROP_U16("iobase", Rtc, iobase, 0x70),
    PROP_U8("irq", Rtc, irq, 8),
    PROP_ENUM("lost_tick_policy", Rtc, lost_tick_policy, lost_tick_words, LOST_TICK_DISCARD),
    PROP_END,
};
DEVICE_TYPE(mc146818rtc, .name = "mc146818rtc", .bus = &bus_isa, .size = sizeof(Rtc),
            .props = rtc_props, .realize = rtc_realize,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(Rtc, irq_line)),
            .unrealize = rtc_unrealize, .reset_enter = rtc_reset_enter,
            .vmstate = VMSTATE("mc146818rtc", 3, 1, rtc_fields, .subsections = rtc_subsections,
                               .post_load = rtc_post_load, .pre_save = rtc_pre_save),
            .sync = rtc_sync);
