/* SPDX-License-Identifier: MIT */
/* Inside of the local APIC: apic.c (state, interrupts, life cycle), apic_regs.c (registers),
 * apic_bus.c (delivery between APICs, MSI window), apic_timer.c. */
#ifndef HW_INTC_APIC_INT_H
#define HW_INTC_APIC_INT_H

#include "hw/intc/apic.h"

enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };
enum { LVT_MASKED = BIT(16), LVT_LEVEL = BIT(15), LVT_REMOTE_IRR = BIT(14), LVT_DELIVS = BIT(12),
       LVT_TIMER_PERIODIC = BIT(17), LVT_TIMER_TSC_DEADLINE = BIT(18),
       LVT_TIMER_MODE = BIT(17) | BIT(18) };
enum { SVR_ENABLE = BIT(8), SVR_FOCUS_OFF = BIT(9), SVR_NO_EOI_BROADCAST = BIT(12) };
enum { ESR_SEND_ILLEGAL = BIT(5), ESR_RECEIVE_ILLEGAL = BIT(6), ESR_ILLEGAL_REGISTER = BIT(7) };
enum { DM_FIXED, DM_LOWEST, DM_SMI, DM_NMI = 4, DM_INIT, DM_SIPI, DM_EXTINT };

/*
 * A field is, by the letter behind it,
 *   O  the CPU's: written by its own thread, or by others while the CPU is stopped; anybody may look;
 *   A  anybody's: changed by atomic operations;
 *   M  the machine lock's.
 * O and A are read and written through APIC_GET() and APIC_SET() while CPUs run.
 */
struct Apic {
    Device dev;
    ApicBus *bus;
    Cpu *cpu;
    const ApicCpuOps *ops;
    uint32_t apicbase;            /* O */
    uint8_t id;                   /* O; xAPIC id register */
    uint32_t initial_id;          /* property: what CPUID and x2APIC say */
    uint8_t version;
    bool vapic;                   /* accepted for the command line; there is no vAPIC page */
    uint8_t arb_id, tpr;          /* A, O */
    uint32_t spurious_vec;        /* O */
    uint8_t log_dest, dest_mode;  /* O; LDR (8 bits), DFR's model: 0xf flat, 0 cluster */
    uint32_t isr[8];              /* O */
    uint32_t tmr[8], irr[8];      /* A */
    uint32_t lvt[LVTS];           /* O, and M when written */
    uint32_t esr, esr_pending;    /* O, A; visible, and collected since the last write */
    uint32_t icr[2];              /* O */
    /* M from here on. */
    uint32_t divide_conf;
    int32_t count_shift;          /* log2 of the divider */
    uint32_t initial_count;
    int64_t initial_count_load_time, next_time, timer_expiry;
    uint64_t tsc_deadline;        /* travels in the CPU's section */
    int32_t sipi_vector, wait_for_sipi;   /* of the CPU, in the section of the APIC */
    Timer timer;
};

/* In one order for all threads: apic.c says what for. */
#define APIC_GET(field) __atomic_load_n(&(field), __ATOMIC_SEQ_CST)
#define APIC_SET(field, value) __atomic_store_n(&(field), value, __ATOMIC_SEQ_CST)

/* apic.c */
/* Tells the CPU whether it has an interrupt.  Its own thread, or with the machine lock. */
void apic_update(Apic *apic);
/* Any thread. */
void apic_accept(Apic *apic, uint8_t vector, bool level);
void apic_eoi(Apic *apic);
void apic_error(Apic *apic, uint32_t bits);
void apic_local(Apic *apic, unsigned lvt);
uint8_t apic_ppr(const Apic *apic);
/* Around what looks at an APIC's fields, and changes them when CHANGED: where they are KVM's, the machine lock is held
 * meanwhile. */
bool apic_enter(Apic *apic);      /* what apic_leave() needs to know */
void apic_leave(Apic *apic, bool locked, bool changed);
bool apic_lock(void);             /* true: apic_unlock() must be called */
void apic_unlock(bool taken);
extern const VmField apic_fields[];
extern const VmStateDesc *const apic_subsections[];
bool apic_pre_load(void *obj, GError **error);
void apic_pre_save(void *obj);
bool apic_post_load(void *obj, int version, GError **error);
static inline bool apic_soft_enabled(const Apic *apic)
{
    return (APIC_GET(apic->spurious_vec) & SVR_ENABLE) && (APIC_GET(apic->apicbase) & APIC_BASE_ENABLE);
}
static inline bool apic_is_x2(const Apic *apic)
{
    return APIC_GET(apic->apicbase) & APIC_BASE_X2APIC;
}

/* apic_timer.c */
void apic_timer_init(Apic *apic);
void apic_timer_reset(Apic *apic);
void apic_timer_set_initial(Apic *apic, uint32_t count);
void apic_timer_set_divide(Apic *apic, uint32_t value);
void apic_timer_set_lvt(Apic *apic, uint32_t value);
uint32_t apic_timer_current(Apic *apic);
bool apic_timer_post_load(Apic *apic);

/* apic_bus.c */
void apic_send_icr(Apic *from);
void apic_pic_request(ApicBus *bus);

/* apic_regs.c: REG is the offset / 16.  false: reserved (x2APIC: #GP).  They take the machine lock where it is needed. */
bool apic_reg_read(Apic *apic, unsigned reg, uint32_t *value);
bool apic_reg_write(Apic *apic, unsigned reg, uint32_t value);

#endif
