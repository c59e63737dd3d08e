/* SPDX-License-Identifier: MIT */
/*
 * ACPI fixed hardware: the PM1 event and control blocks, the PM timer and one GPE block, as
 * chipsets embed them.  [ACPI6.3 4.8]
 * The owner maps the three windows where its configuration registers say, and calls
 * acpi_pm_sync() from its sync hook.
 * Thread rule: machine lock.
 */
#ifndef HW_ACPI_ACPI_PM_H
#define HW_ACPI_ACPI_PM_H

#include "vm/clock.h"
#include "vm/device.h"

#define ACPI_PM_TIMER_HZ 3579545
#define ACPI_GPE_MAX 8        /* bytes each of status and enable */

/* PM1_STS and PM1_EN bits [ACPI6.3 4.8.3.1] */
enum {
    PM1_TMR = BIT(0), PM1_BM = BIT(4), PM1_GBL = BIT(5), PM1_PWRBTN = BIT(8),
    PM1_SLPBTN = BIT(9), PM1_RTC = BIT(10), PM1_PCIEXP_WAKE = BIT(14), PM1_WAK = BIT(15),
};
/* PM1_CNT bits [ACPI6.3 4.8.3.2] */
enum { PM1_SCI_EN = BIT(0), PM1_GBL_RLS = BIT(2), PM1_SLP_TYP = 7u << 10, PM1_SLP_EN = BIT(13) };

typedef struct AcpiPm {
    Device *dev;              /* whose sync() follows a change */
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    int64_t overflow_ticks;   /* next change of the PM timer's top bit */
    Timer overflow_timer;
    uint8_t s4_value;         /* SLP_TYP of S4 */
    bool s3_disabled, s4_disabled;
    unsigned gpe_len;         /* bytes of the block: status half, then enable half */
    uint8_t gpe_sts[ACPI_GPE_MAX], gpe_en[ACPI_GPE_MAX];
    IrqLine sci;
    MemoryRegion evt_mr, cnt_mr, tmr_mr, gpe_mr;
} AcpiPm;

/* Initializes the windows; the owner adds them to its I/O region (evt 4, cnt 2, tmr 4 bytes). */
void acpi_pm_init(AcpiPm *pm, Device *dev, unsigned gpe_len);
void acpi_pm_clear(AcpiPm *pm);
void acpi_pm_reset(AcpiPm *pm);
/* SCI level and timer deadline from state. */
void acpi_pm_sync(AcpiPm *pm);
/* The ACPI enable and disable commands of the SMI port. */
void acpi_pm_set_enabled(AcpiPm *pm, bool on);
void acpi_pm_power_button(AcpiPm *pm);

#endif
