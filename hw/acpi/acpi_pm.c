/* SPDX-License-Identifier: MIT */
/*
 * ACPI fixed hardware.  [ACPI6.3 4.8.3, 4.8.4]
 * Not modelled: C-state and throttling registers (P_BLK), the sleep button.
 */
#include "hw/acpi/acpi_pm.h"

#include "vm/vm.h"

/* The 24-bit timer's bit 23 changes every 2^23 ticks; TMR_STS is set then. */
enum { TMR_HALF_PERIOD = 1 << 23 };

static int64_t now_ticks(const AcpiPm *pm)
{
    return muldiv64(clock_now(pm->dev->vm->clock), ACPI_PM_TIMER_HZ, NANOSECONDS_PER_SECOND);
}

static uint16_t pm1_status(AcpiPm *pm)
{
    if (now_ticks(pm) >= pm->overflow_ticks) {
        pm->pm1_sts |= PM1_TMR;
    }
    return pm->pm1_sts;
}

static void restart_overflow(AcpiPm *pm)
{
    pm->overflow_ticks = (now_ticks(pm) + TMR_HALF_PERIOD) & ~(int64_t)(TMR_HALF_PERIOD - 1);
}

static bool gpe_pending(const AcpiPm *pm)
{
    for (unsigned i = 0; i < pm->gpe_len / 2; i++) {
        if (pm->gpe_sts[i] & pm->gpe_en[i]) {
            return true;
        }
    }
    return false;
}

void acpi_pm_sync(AcpiPm *pm)
{
    uint16_t causes = pm1_status(pm) & pm->pm1_en;

    irq_set(&pm->sci, (causes & (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)) || gpe_pending(pm));
    if ((pm->pm1_en & PM1_TMR) && !(pm->pm1_sts & PM1_TMR)) {
        timer_set(&pm->overflow_timer, muldiv64(pm->overflow_ticks, NANOSECONDS_PER_SECOND,
                                                ACPI_PM_TIMER_HZ) + 1);
    } else {
        timer_cancel(&pm->overflow_timer);
    }
}

static void overflow_fired(void *opaque)
{
    AcpiPm *pm = opaque;

    device_sync(pm->dev);
}

/* ---- PM1 event block ---- */

static uint64_t evt_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiPm *pm = opaque;

    return offset == 0 ? pm1_status(pm) : pm->pm1_en;
}

static void evt_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPm *pm = opaque;

    if (offset == 0) {
        if (pm1_status(pm) & value & PM1_TMR) {
            restart_overflow(pm);
        }
        pm->pm1_sts &= ~value;
    } else {
        pm->pm1_en = value;
    }
    device_sync(pm->dev);
}

/* ---- PM1 control block ---- */

static uint64_t cnt_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((AcpiPm *)opaque)->pm1_cnt;
}

static void enter_sleep(AcpiPm *pm, unsigned slp_typ)
{
    Vm *vm = pm->dev->vm;

    if (slp_typ == 0 || (slp_typ == pm->s4_value && !pm->s4_disabled)) {
        vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    } else if (slp_typ == 1 && !pm->s3_disabled) {
        pm->pm1_sts |= PM1_WAK | PM1_PWRBTN;
        vm_request_suspend(vm);
    }
}

static void cnt_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPm *pm = opaque;

    /* SLP_EN and GBL_RLS read as 0.  [82371AB 7.2.3: SCI_EN is a plain bit] */
    pm->pm1_cnt = value & ~(PM1_SLP_EN | PM1_GBL_RLS);
    if (value & PM1_SLP_EN) {
        enter_sleep(pm, (value & PM1_SLP_TYP) >> 10);
    }
    device_sync(pm->dev);
}

void acpi_pm_set_enabled(AcpiPm *pm, bool on)
{
    pm->pm1_cnt = on ? pm->pm1_cnt | PM1_SCI_EN : pm->pm1_cnt & ~PM1_SCI_EN;
    device_sync(pm->dev);
}

void acpi_pm_power_button(AcpiPm *pm)
{
    pm->pm1_sts |= PM1_PWRBTN;
    device_sync(pm->dev);
}

/* ---- PM timer ---- */

static uint64_t tmr_read(void *opaque, uint64_t offset, unsigned size)
{
    return now_ticks(opaque) & 0xffffff;
}

static void tmr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    /* Read-only: dropped. */
}

/* ---- GPE block ---- */

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiPm *pm = opaque;
    unsigned half = pm->gpe_len / 2;

    return offset < half ? pm->gpe_sts[offset] : pm->gpe_en[offset - half];
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPm *pm = opaque;
    unsigned half = pm->gpe_len / 2;

    if (offset < half) {
        pm->gpe_sts[offset] &= ~value;
    } else {
        pm->gpe_en[offset - half] = value;
    }
    device_sync(pm->dev);
}

/* ---- life cycle ---- */

/* clang-format off */
static const MmioOps evt_ops = { evt_read, evt_write, .valid_min = 1, .valid_max = 4, .impl_min = 2, .impl_max = 2 };
static const MmioOps cnt_ops = { cnt_read, cnt_write, .valid_min = 1, .valid_max = 2, .impl_min = 2, .impl_max = 2 };
static const MmioOps tmr_ops = { tmr_read, tmr_write, .valid_min = 1, .valid_max = 4, .impl_min = 4, .impl_max = 4 };
static const MmioOps gpe_ops = { gpe_read, gpe_write, .valid_min = 1, .valid_max = 4, .impl_min = 1, .impl_max = 1 };
/* clang-format on */

void acpi_pm_init(AcpiPm *pm, Device *dev, unsigned gpe_len)
{
    g_assert(gpe_len / 2 <= ACPI_GPE_MAX);
    pm->dev = dev;
    pm->gpe_len = gpe_len;
    timer_init(&pm->overflow_timer, dev->vm->clock, overflow_fired, pm);
    memory_region_init_io(&pm->evt_mr, OBJECT(dev), "acpi-evt", &evt_ops, pm, 4);
    memory_region_init_io(&pm->cnt_mr, OBJECT(dev), "acpi-cnt", &cnt_ops, pm, 2);
    memory_region_init_io(&pm->tmr_mr, OBJECT(dev), "acpi-tmr", &tmr_ops, pm, 4);
    memory_region_init_io(&pm->gpe_mr, OBJECT(dev), "acpi-gpe0", &gpe_ops, pm, gpe_len);
}

void acpi_pm_clear(AcpiPm *pm)
{
    timer_cancel(&pm->overflow_timer);
    memory_region_clear(&pm->evt_mr);
    memory_region_clear(&pm->cnt_mr);
    memory_region_clear(&pm->tmr_mr);
    memory_region_clear(&pm->gpe_mr);
}

void acpi_pm_reset(AcpiPm *pm)
{
    pm->pm1_sts = 0;
    pm->pm1_en = 0;
    pm->pm1_cnt = 0;
    restart_overflow(pm);
    memset(pm->gpe_sts, 0, sizeof(pm->gpe_sts));
    memset(pm->gpe_en, 0, sizeof(pm->gpe_en));
}
