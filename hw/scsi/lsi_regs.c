/* SPDX-License-Identifier: MIT */
/*
 * LSI53C895A: operating registers.
 * Spec: LSI53C895A technical manual (version 2.2), chapter 4.
 * Not modelled: low level mode, SCSI test registers beyond storage, parity; STIME0's timeouts.
 * Locking: machine lock.
 */
#include "hw/scsi/lsi.h"

#include "base/log.h"
#include "vm/vm.h"

/* Registers that hold what was written: bytes of a field from offset AT. */
typedef struct LsiReg {
    uint8_t at, len;
    uint16_t field;
    bool read_only;
} LsiReg;

/* clang-format off */
#define REG(at, len, f)  { (at), (len), offsetof(Lsi, f), false }
#define REG_RO(at, len, f) { (at), (len), offsetof(Lsi, f), true }
static const LsiReg regs[] = {
    REG(0x00, 1, scntl0), REG(0x01, 1, scntl1), REG(0x02, 1, scntl2), REG(0x03, 1, scntl3),
    REG(0x04, 1, scid), REG(0x05, 1, sxfer), REG(0x06, 1, sdid), REG(0x07, 1, gpreg),
    REG(0x08, 1, sfbr), REG(0x09, 1, socl), REG_RO(0x0a, 1, ssid), REG_RO(0x0b, 1, sbcl),
    REG_RO(0x0c, 1, dstat), REG_RO(0x0d, 1, sstat0), REG_RO(0x0e, 1, sstat1),
    REG(0x10, 4, dsa), REG(0x14, 1, istat0), REG(0x15, 1, istat1),
    REG(0x16, 1, mbox0), REG(0x17, 1, mbox1),
    REG(0x1a, 1, ctest2), REG(0x1b, 1, ctest3), REG(0x1c, 4, temp),
    REG_RO(0x20, 1, dfifo), REG(0x21, 1, ctest4), REG(0x22, 1, ctest5),
    REG(0x24, 3, dbc), REG(0x27, 1, dcmd), REG(0x28, 4, dnad), REG(0x2c, 4, dsp),
    REG(0x30, 4, dsps), REG(0x34, 4, scratch[0]),
    REG(0x38, 1, dmode), REG(0x39, 1, dien), REG(0x3a, 1, sbr), REG(0x3b, 1, dcntl),
    REG(0x40, 1, sien0), REG(0x41, 1, sien1), REG_RO(0x42, 1, sist0), REG_RO(0x43, 1, sist1),
    REG(0x47, 1, gpcntl), REG(0x48, 1, stime0), REG(0x49, 1, stime1),
    REG(0x4a, 1, respid0), REG(0x4b, 1, respid1),
    REG(0x4d, 1, stest1), REG(0x4e, 1, stest2), REG(0x4f, 1, stest3), REG_RO(0x50, 1, sidl),
    REG(0x56, 1, ccntl0), REG(0x57, 1, ccntl1), REG(0x5c, 4, scratch[1]),
    REG(0x60, 64, scratch[2]),
    REG(0xa0, 4, mmrs), REG(0xa4, 4, mmws), REG(0xa8, 4, sfs), REG(0xac, 4, drs),
    REG(0xb0, 4, sbms), REG(0xb4, 4, dbms), REG(0xb8, 4, dnad64),
    REG(0xc0, 4, pmjad1), REG(0xc4, 4, pmjad2), REG(0xc8, 4, rbc), REG(0xcc, 4, ua),
    REG(0xd0, 4, esa), REG(0xd4, 4, ia), REG_RO(0xd8, 4, sbc), REG(0xdc, 4, csbc),
};

/* What never changes: no FIFO holds anything, the bus is LVD and its clock quadrupler locked. */
static const struct { uint8_t at, value; } constants[] = {
    { 0x18, 0xff }, { 0x19, 0xf0 },              /* CTEST0, CTEST1 */
    { 0x46, 0x0f }, { 0x52, 0xe0 },              /* MACNTL, STEST4 */
};
/* clang-format on */

static const LsiReg *find_reg(unsigned reg)
{
    for (unsigned i = 0; i < ARRAY_LEN(regs); i++) {
        if (reg >= regs[i].at && reg < regs[i].at + regs[i].len) {
            return &regs[i];
        }
    }
    return NULL;
}

/* A byte of an array of 32 bit words, or of one; of a field of one byte. */
static uint32_t *word_of(Lsi *s, const LsiReg *r, unsigned reg, unsigned *shift)
{
    unsigned at = reg - r->at;

    *shift = at % 4 * 8;
    return (uint32_t *)(void *)((uint8_t *)s + r->field) + at / 4;
}

static uint8_t stored(Lsi *s, const LsiReg *r, unsigned reg)
{
    unsigned shift;

    return r->len == 1 ? *((uint8_t *)s + r->field) : *word_of(s, r, reg, &shift) >> shift;
}

static void store(Lsi *s, const LsiReg *r, unsigned reg, uint8_t value)
{
    unsigned shift;

    if (r->len == 1) {
        *((uint8_t *)s + r->field) = value;
    } else {
        uint32_t *word = word_of(s, r, reg, &shift);

        *word = (*word & ~(0xffu << shift)) | (uint32_t)value << shift;
    }
}

uint8_t lsi_reg_read(Lsi *s, unsigned reg)
{
    const LsiReg *r = find_reg(reg);
    uint8_t value = 0;

    if (r) {
        value = stored(s, r, reg);
    } else {
        for (unsigned i = 0; i < ARRAY_LEN(constants); i++) {
            value = constants[i].at == reg ? constants[i].value : value;
        }
    }
    switch (reg) {
    case 0x07:                        /* GPREG: pins without anything on them read high */
        value = (s->gpreg & ~s->gpcntl) | (s->gpcntl & 0x1f);
        break;
    case 0x0c:                        /* DSTAT: reading clears the causes */
        value |= DSTAT_DFE;
        s->dstat = 0;
        lsi_update_irq(s);
        break;
    case 0x0f:                        /* SSTAT2: LDSC, the last disconnect */
        value = lsi_connected(s) ? 0 : BIT(1);
        break;
    case 0x1a:                        /* CTEST2: reading takes SIGP back */
        value = (s->ctest2 & CTEST2_PCICIE) | ((s->istat0 & ISTAT0_SIGP) ? CTEST2_SIGP : 0);
        s->istat0 &= ~ISTAT0_SIGP;
        break;
    case 0x1b:                        /* CTEST3: chip revision level above */
        value = s->ctest3 & 0x0b;
        break;
    case 0x42:                        /* SIST0, SIST1: reading clears */
        s->sist0 = 0;
        lsi_update_irq(s);
        break;
    case 0x43:
        s->sist1 = 0;
        lsi_update_irq(s);
        break;
    }
    return value;
}

/* ---- writes that do more than store ---- */

static void scntl1_write(Lsi *s, uint8_t value)
{
    uint8_t was = s->scntl1;

    s->scntl1 = (value & ~SCNTL1_CON) | (was & SCNTL1_CON);
    if ((value & SCNTL1_RST) && !(was & SCNTL1_RST)) {
        lsi_drop_requests(s);
        scsi_bus_reset(&s->bus, SENSE_BUS_RESET);
        lsi_bus_free(s);
        s->sstat0 |= SSTAT0_RST;
        lsi_scsi_interrupt(s, SIST0_RST, 0);
    } else if (!(value & SCNTL1_RST)) {
        s->sstat0 &= ~SSTAT0_RST;
    }
}

static void istat0_write(Lsi *s, uint8_t value)
{
    enum { PLAIN = ISTAT0_SEM | ISTAT0_SIGP };

    s->istat0 = (s->istat0 & ~PLAIN) | (value & PLAIN);
    if (value & ISTAT0_INTF) {        /* clears by 1 */
        s->istat0 &= ~ISTAT0_INTF;
        lsi_update_irq(s);
    }
    if (value & ISTAT0_SRST) {
        lsi_soft_reset(s);
        return;
    }
    if ((value & ISTAT0_ABRT) && (s->istat1 & ISTAT1_SRUN)) {
        lsi_dma_interrupt(s, DSTAT_ABRT);
    }
    if ((value & ISTAT0_SIGP) && s->waiting == LSI_WAIT_RESELECT) {
        s->dsp = s->dnad;             /* the alternate address of WAIT RESELECT */
        lsi_script_resume(s);
    }
}

/* General purpose timer: 125 us doubled for each step. */
static void stime1_write(Lsi *s, uint8_t value)
{
    Clock *clock = s->pci.dev.vm->clock;

    s->stime1 = value;
    timer_cancel(&s->gen_timer);
    if (value & 0x0f) {
        timer_set(&s->gen_timer, clock_now(clock) + (125000ll << ((value & 0x0f) - 1)));
    }
}

void lsi_gen_expired(void *opaque)
{
    lsi_scsi_interrupt(opaque, 0, SIST1_GEN);
}

void lsi_reg_write(Lsi *s, unsigned reg, uint8_t value)
{
    const LsiReg *r = find_reg(reg);

    switch (reg) {
    case 0x01:
        scntl1_write(s, value);
        return;
    case 0x14:
        istat0_write(s, value);
        return;
    case 0x15:                        /* ISTAT1: only FLSH, of a FIFO that is empty */
        return;
    case 0x49:
        stime1_write(s, value);
        return;
    }
    if (!r || r->read_only) {
        log_guest_error("lsi53c895a: write 0x%02x to read-only register 0x%02x\n", value, reg);
        return;
    }
    store(s, r, reg, value);
    switch (reg) {
    case 0x06:                        /* SDID: ENC */
        s->sdid = value & 0x0f;
        break;
    case 0x2f:                        /* DSP, its last byte: a script starts */
        if (!(s->dmode & DMODE_MAN)) {
            lsi_script_start(s);
        }
        break;
    case 0x3b:                        /* DCNTL */
        s->dcntl = value & ~DCNTL_STD;
        if (value & DCNTL_STD) {
            lsi_script_start(s);
        }
        lsi_update_irq(s);
        break;
    case 0x39:                        /* DIEN, SIEN0, SIEN1 */
    case 0x40:
    case 0x41:
        lsi_update_irq(s);
        break;
    }
}

void lsi_soft_reset(Lsi *s)
{
    lsi_script_stop(s);
    lsi_drop_requests(s);
    timer_cancel(&s->timer);
    timer_cancel(&s->gen_timer);
    for (unsigned i = 0; i < ARRAY_LEN(regs); i++) {
        memset((uint8_t *)s + regs[i].field, 0, regs[i].len == 3 ? 4 : regs[i].len);
    }
    s->carry = s->status = s->msg_action = s->msg_len = 0;
    s->waiting = LSI_RUNS;
    s->moving = false;
    s->identify = 0;
    s->scntl0 = 0xc0;                 /* full arbitration */
    s->scid = 7;
    s->ctest2 = 0x01;
    s->dcntl = 0;
    s->gpreg = 0x0f;
    s->gpcntl = 0x0f;
    s->stest1 = 0;
    lsi_update_irq(s);
}
