/* SPDX-License-Identifier: MIT */
/*
 * Local APIC registers, as xAPIC memory and as x2APIC MSRs.  [SDM3A table 11-1, table 11-6]
 * Locking: apic_int.h.  Registers that running guests use all the time have none, the others the machine lock.
 */
#include "hw/intc/apic_int.h"

enum {
    REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
    REG_EOI = 0x0b, REG_RRD = 0x0c, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f,
    REG_ISR = 0x10, REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_LVT_CMCI = 0x2f,
    REG_ICR = 0x30, REG_ICR2 = 0x31, REG_LVT = 0x32, REG_INITIAL = 0x38, REG_CURRENT = 0x39,
    REG_DIVIDE = 0x3e, REG_SELF_IPI = 0x3f,
};
enum { MSR_X2APIC = 0x800 };

/* Writable bits of each LVT: [SDM3A figure 11-8]. */
static const uint32_t lvt_mask[LVTS] = {
    [LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERF] = 0x000107ff,
    [LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff, [LVT_ERROR] = 0x000100ff,
};

static bool timer_read(Apic *apic, unsigned reg, uint32_t *value)
{
    bool locked = apic_lock(), known = true;

    switch (reg) {
    case REG_INITIAL:
        *value = apic->initial_count;
        break;
    case REG_CURRENT:
        *value = apic_timer_current(apic);
        break;
    case REG_DIVIDE:
        *value = apic->divide_conf;
        break;
    default:
        *value = 0;
        known = false;
        break;
    }
    apic_unlock(locked);
    return known;
}

bool apic_reg_read(Apic *apic, unsigned reg, uint32_t *value)
{
    if (reg >= REG_ISR && reg < REG_ESR) {
        const uint32_t *sets[3] = { apic->isr, apic->tmr, apic->irr };

        *value = APIC_GET(sets[(reg - REG_ISR) / 8][reg & 7]);
        return true;
    }
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
        *value = APIC_GET(apic->lvt[reg - REG_LVT]);
        return true;
    }
    if (reg >= REG_INITIAL && reg <= REG_DIVIDE) {
        return timer_read(apic, reg, value);
    }
    switch (reg) {
    case REG_ID:
        *value = apic_is_x2(apic) ? apic->initial_id : (uint32_t)APIC_GET(apic->id) << 24;
        break;
    case REG_VERSION:
        *value = apic->version | (LVTS - 1) << 16 | BIT(24);   /* EOI broadcast suppression */
        break;
    case REG_TPR:
        *value = APIC_GET(apic->tpr);
        break;
    case REG_APR:
        *value = APIC_GET(apic->arb_id);
        break;
    case REG_PPR:
        *value = apic_ppr(apic);
        break;
    case REG_LDR:
        *value = apic_is_x2(apic) ? (apic->initial_id >> 4) << 16 | BIT(apic->initial_id & 0xf)
                                  : (uint32_t)APIC_GET(apic->log_dest) << 24;
        break;
    case REG_DFR:
        *value = (uint32_t)APIC_GET(apic->dest_mode) << 28 | 0x0fffffff;
        break;
    case REG_SVR:
        *value = APIC_GET(apic->spurious_vec);
        break;
    case REG_ESR:
        *value = APIC_GET(apic->esr);
        break;
    case REG_ICR:
    case REG_ICR2:
        *value = APIC_GET(apic->icr[reg - REG_ICR]);
        break;
    case REG_EOI:
    case REG_RRD:
        *value = 0;               /* write-only, unused */
        break;
    default:
        *value = 0;
        return false;
    }
    return true;
}

static void svr_write(Apic *apic, uint32_t value)
{
    APIC_SET(apic->spurious_vec, value & (0xff | SVR_ENABLE | SVR_FOCUS_OFF | SVR_NO_EOI_BROADCAST));
    if (!(value & SVR_ENABLE)) {
        for (unsigned i = 0; i < LVTS; i++) {
            APIC_SET(apic->lvt[i], apic->lvt[i] | LVT_MASKED);    /* 11.4.7.2 */
        }
    }
    apic_update(apic);
}

static void lvt_write(Apic *apic, unsigned n, uint32_t value)
{
    value &= lvt_mask[n];
    if (!(apic->spurious_vec & SVR_ENABLE)) {
        value |= LVT_MASKED;
    }
    if (n == LVT_TIMER) {
        apic_timer_set_lvt(apic, value);
    } else {
        APIC_SET(apic->lvt[n], value);
        apic_update(apic);
    }
}

/* With the machine lock. */
static bool slow_write(Apic *apic, unsigned reg, uint32_t value)
{
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
        lvt_write(apic, reg - REG_LVT, value);
        return true;
    }
    switch (reg) {
    case REG_ID:
        APIC_SET(apic->id, value >> 24);
        break;
    case REG_LDR:
        APIC_SET(apic->log_dest, value >> 24);
        break;
    case REG_DFR:
        APIC_SET(apic->dest_mode, value >> 28);
        break;
    case REG_SVR:
        svr_write(apic, value);
        break;
    case REG_ESR:                 /* 11.5.3: a write shows what was collected */
        APIC_SET(apic->esr, __atomic_exchange_n(&apic->esr_pending, 0, __ATOMIC_SEQ_CST));
        break;
    case REG_INITIAL:
        apic_timer_set_initial(apic, value);
        break;
    case REG_DIVIDE:
        apic_timer_set_divide(apic, value);
        break;
    case REG_VERSION: case REG_APR: case REG_PPR: case REG_RRD: case REG_CURRENT:
        break;                    /* read-only */
    default:
        return reg >= REG_ISR && reg < REG_ESR;
    }
    return true;
}

bool apic_reg_write(Apic *apic, unsigned reg, uint32_t value)
{
    bool locked, ok;

    switch (reg) {
    case REG_TPR:
        APIC_SET(apic->tpr, value);
        apic_update(apic);
        return true;
    case REG_EOI:
        apic_eoi(apic);
        return true;
    case REG_ICR:
        APIC_SET(apic->icr[0], value);
        apic_send_icr(apic);
        return true;
    case REG_ICR2:
        APIC_SET(apic->icr[1], value);
        return true;
    default:
        locked = apic_lock();
        ok = slow_write(apic, reg, value);
        apic_unlock(locked);
        return ok;
    }
}

/* ---- x2APIC: [SDM3A 11.12.1] ---- */

static bool msr_read(Apic *apic, unsigned reg, uint64_t *value)
{
    uint32_t low;

    switch (reg) {
    case REG_APR: case REG_EOI: case REG_RRD: case REG_DFR: case REG_ICR2: case REG_SELF_IPI:
        return false;
    case REG_ICR:
        *value = (uint64_t)APIC_GET(apic->icr[1]) << 32 | APIC_GET(apic->icr[0]);
        return true;
    default:
        if (!apic_reg_read(apic, reg, &low)) {
            return false;
        }
        *value = low;
        return true;
    }
}

static bool msr_write(Apic *apic, unsigned reg, uint64_t value)
{
    switch (reg) {
    case REG_ICR:
        APIC_SET(apic->icr[1], value >> 32);
        APIC_SET(apic->icr[0], value);
        apic_send_icr(apic);
        return true;
    case REG_SELF_IPI:
        if (value >> 8) {
            return false;
        }
        if (value < 16) {
            apic_error(apic, ESR_SEND_ILLEGAL);
        } else {
            apic_accept(apic, value, false);
        }
        return true;
    case REG_EOI:
    case REG_ESR:
        return value == 0 && apic_reg_write(apic, reg, 0);
    case REG_TPR:
        return !(value >> 8) && apic_reg_write(apic, reg, value);
    case REG_SVR: case REG_INITIAL: case REG_DIVIDE:
        return !(value >> 32) && apic_reg_write(apic, reg, value);
    default:
        if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
            return !(value & ~(uint64_t)(lvt_mask[reg - REG_LVT] | LVT_DELIVS | LVT_REMOTE_IRR)) &&
                   apic_reg_write(apic, reg, value);
        }
        return false;             /* read-only or reserved */
    }
}

bool apic_msr_read(Apic *apic, uint32_t msr, uint64_t *value)
{
    bool locked = apic_enter(apic);
    bool ok = apic_is_x2(apic) && msr_read(apic, msr - MSR_X2APIC, value);

    apic_leave(apic, locked, false);
    return ok;
}

bool apic_msr_write(Apic *apic, uint32_t msr, uint64_t value)
{
    bool locked = apic_enter(apic);
    bool ok = apic_is_x2(apic) && msr_write(apic, msr - MSR_X2APIC, value);

    apic_leave(apic, locked, true);
    return ok;
}
