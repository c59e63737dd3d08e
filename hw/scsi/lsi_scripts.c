/* SPDX-License-Identifier: MIT */
/*
 * LSI53C895A: the SCRIPTS processor.
 * Spec: LSI53C895A technical manual (version 2.2), chapter 5; section numbers are its own.
 * Not modelled: prefetching, target mode, the wide residue of chained moves (nothing is wide).
 *
 * Scripts are hostile: a run ends after LSI_BUDGET instructions, long copies counting more, and goes
 * on from a timer.
 * Locking: machine lock.
 */
#include "hw/scsi/lsi.h"

#include "vm/vm.h"


/* ---- stops ---- */

void lsi_script_stop(Lsi *s)
{
    s->istat1 &= ~ISTAT1_SRUN;
    s->waiting = LSI_RUNS;
    s->moving = s->no_answer = false;
    timer_cancel(&s->timer);
}

void lsi_dma_interrupt(Lsi *s, uint8_t dstat)
{
    s->dstat |= dstat;
    lsi_script_stop(s);
    lsi_update_irq(s);
}

/* 2.2.17: all are fatal but those that an initiator only hears of. */
void lsi_scsi_interrupt(Lsi *s, uint8_t sist0, uint8_t sist1)
{
    uint8_t harmless0 = SIST0_CMP | SIST0_SEL | SIST0_RSL, harmless1 = SIST1_GEN | SIST1_HTH;

    s->sist0 |= sist0;
    s->sist1 |= sist1;
    if ((sist0 & (~harmless0 | s->sien0)) || (sist1 & (~harmless1 | s->sien1))) {
        lsi_script_stop(s);
    }
    lsi_update_irq(s);
}

/* 4.4, PMJAD1: instead of an interrupt a jump, with what is left in RBC and UA. */
void lsi_phase_mismatch(Lsi *s, bool out)
{
    unsigned phase = s->dcmd & 7;
    bool first = s->ccntl0 & CCNTL0_PMJCTL ? !(s->scntl2 & SCNTL2_WSR) : out;

    s->moving = false;
    if (!(s->ccntl0 & CCNTL0_ENPMJ) || phase > PHASE_DI) {
        lsi_scsi_interrupt(s, SIST0_MA, 0);
        return;
    }
    s->rbc = (s->rbc & 0xff000000) | (s->dbc & 0xffffff);
    s->ua = s->dnad;
    s->sbc = s->dbc;
    s->dsp = first ? s->pmjad1 : s->pmjad2;
}

/* ---- block move: 5.3 ---- */

/* Where the bits above 32 of a table's address come from. */
static uint32_t table_high(const Lsi *s, uint32_t count_word)
{
    uint32_t index = count_word >> 24 & 0x1f;

    if (!(s->ccntl1 & CCNTL1_EN64TIBMV)) {
        return 0;
    }
    if (s->ccntl1 & CCNTL1_64TIMOD) {
        return count_word >> 24;
    }
    if (index < 16) {
        return s->scratch[2 + index];
    }
    switch (index) {
    case 16:
        return s->mmrs;
    case 17:
        return s->mmws;
    case 18:
        return s->sfs;
    case 19:
        return s->drs;
    case 20:
        return s->sbms;
    case 21:
        return s->dbms;
    default:
        return 0;
    }
}

static int32_t sign24(uint32_t v)
{
    return (int32_t)(v << 8) >> 8;
}

static bool read_words(Lsi *s, uint64_t addr, uint32_t *words, unsigned n)
{
    uint8_t bytes[12];

    if (!lsi_memory_read(s, addr, bytes, 4 * n)) {
        lsi_dma_interrupt(s, DSTAT_BF);
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        words[i] = le32_load(bytes + 4 * i);
    }
    return true;
}

static void block_move(Lsi *s, uint32_t insn)
{
    LsiPhase phase = (LsiPhase)(insn >> 24 & 7);
    uint32_t words[2];

    s->rbc = insn & 0xff000000;
    s->ia = s->dsp - 8;
    s->dnad = s->dsps;
    s->dnad64 = 0;
    if (insn & BIT(29)) {             /* indirect */
        if (!read_words(s, s->dnad, words, 1)) {
            return;
        }
        s->dnad = words[0];
    } else if (insn & BIT(28)) {      /* table indirect */
        s->esa = s->dsa + sign24(s->dsps);
        if (!read_words(s, s->esa, words, 2)) {
            return;
        }
        s->dbc = words[0] & 0xffffff;
        s->rbc = words[0] & 0xff000000;
        s->dnad = words[1];
        s->dnad64 = table_high(s, words[0]);
    } else if (s->ccntl1 & CCNTL1_EN64DBMV) {
        /* A third dword has the bits above. */
        if (!read_words(s, s->dsp, words, 1)) {
            return;
        }
        s->dsp += 4;
        s->dnad64 = words[0];
    }
    if (!lsi_connected(s)) {
        lsi_scsi_interrupt(s, SIST0_UDC, 0);
        return;
    }
    if (!s->dbc) {
        /* Quirk: SeaBIOS moves no bytes where a command has no data, whatever the phase. */
        if (phase > PHASE_DI) {
            lsi_dma_interrupt(s, DSTAT_IID);
        }
        return;
    }
    /* Quirk: SeaBIOS selects without ATN and sends IDENTIFY nevertheless. */
    if (phase == PHASE_MO && lsi_phase(s) == PHASE_CMD && !s->identify && !s->current) {
        lsi_set_phase(s, PHASE_MO);
    }
    if (lsi_phase(s) != phase) {
        lsi_phase_mismatch(s, phase == PHASE_DO);
        return;
    }
    switch (phase) {
    case PHASE_DO:
    case PHASE_DI:
        lsi_move_data(s, phase == PHASE_DO);
        break;
    case PHASE_CMD:
        lsi_move_command(s);
        break;
    case PHASE_ST:
        lsi_move_status(s);
        break;
    case PHASE_MO:
        lsi_move_message_out(s);
        break;
    case PHASE_MI:
        lsi_move_message_in(s);
        break;
    default:                          /* reserved: no target goes there */
        break;
    }
}

/* ---- I/O: 5.4 ---- */

static void do_select(Lsi *s, uint32_t insn)
{
    unsigned target = insn >> 16 & 0x0f;

    if (lsi_connected(s)) {           /* reselected meanwhile: the alternate address */
        s->dsp = s->dnad;
        return;
    }
    s->sstat0 &= ~SSTAT0_WOA;
    if (insn & BIT(25)) {             /* table indirect: SCNTL3, SDID, SXFER */
        uint32_t word;

        if (!read_words(s, s->dsa + sign24(insn), &word, 1)) {
            return;
        }
        target = word >> 16 & 0x0f;
        s->sxfer = word >> 8;
        s->scntl3 = word >> 24;
    }
    s->sdid = target;
    s->no_answer = !lsi_select(s, target, insn & BIT(24));
}

static void wait_reselect(Lsi *s)
{
    if (s->istat0 & ISTAT0_SIGP) {
        s->dsp = s->dnad;
    } else if (!lsi_connected(s) && !lsi_try_reselect(s)) {
        s->waiting = LSI_WAIT_RESELECT;
    } else if (s->sien0 & SIST0_RSL) {
        lsi_scsi_interrupt(s, SIST0_RSL, 0);
    }
}

static void set_or_clear(Lsi *s, uint32_t insn, bool set)
{
    uint8_t lines = insn & (SOCL_ATN | SOCL_ACK);

    if (insn & BIT(10)) {
        s->carry = set;
    }
    if (!set && (lines & SOCL_ACK) && !(lines & SOCL_ATN)) {
        lsi_acknowledge(s);
    }
    s->socl = set ? s->socl | lines : s->socl & ~lines;
    if (lsi_connected(s)) {
        lsi_set_phase(s, lsi_phase(s));
    }
}

/* 5.5: SFBR, a register and an immediate byte. */
static void register_operation(Lsi *s, uint32_t insn)
{
    unsigned opcode = insn >> 27 & 7, reg = (insn >> 16 & 0x7f) | (insn & 0x80);
    uint8_t a = opcode == 5 ? s->sfbr : lsi_reg_read(s, reg);
    uint8_t b = insn & BIT(23) ? s->sfbr : insn >> 8;
    unsigned sum;

    switch (insn >> 24 & 7) {
    case 0:
        a = b;
        break;
    case 1:
        sum = (unsigned)a << 1 | (s->carry & 1);
        s->carry = sum >> 8;
        a = sum;
        break;
    case 2:
        a |= b;
        break;
    case 3:
        a ^= b;
        break;
    case 4:
        a &= b;
        break;
    case 5:
        sum = a | (s->carry & 1) << 8;
        s->carry = a & 1;
        a = sum >> 1;
        break;
    case 6:
    case 7:
        sum = (unsigned)a + b + (insn >> 24 & 1 ? s->carry & 1 : 0);
        s->carry = sum >> 8;
        a = sum;
        break;
    }
    if (opcode == 6) {
        s->sfbr = a;
    } else {
        lsi_reg_write(s, reg, a);
    }
}

static void io_or_register(Lsi *s, uint32_t insn)
{
    unsigned opcode = insn >> 27 & 7;

    if (opcode >= 5) {
        register_operation(s, insn);
        return;
    }
    s->dnad = insn & BIT(26) ? s->dsp + sign24(s->dsps) : s->dsps;
    switch (opcode) {
    case 0:
        do_select(s, insn);
        break;
    case 1:                           /* WAIT DISCONNECT: it has, with its last message; or never */
        if (lsi_connected(s)) {
            s->waiting = LSI_WAIT_DMA;
        }
        break;
    case 2:
        wait_reselect(s);
        break;
    case 3:
    case 4:
        set_or_clear(s, insn, opcode == 3);
        break;
    }
}

/* ---- transfer control: 5.6 ---- */

static bool condition(const Lsi *s, uint32_t insn)
{
    bool wanted = insn & BIT(19), holds = wanted;

    if (insn & BIT(21)) {
        holds = s->carry & 1;
    }
    if (holds == wanted && (insn & BIT(17))) {
        holds = lsi_phase(s) == (insn >> 24 & 7);
    }
    if (holds == wanted && (insn & BIT(18))) {
        uint8_t mask = ~(insn >> 8);

        holds = (s->sfbr & mask) == (insn & mask);
    }
    return holds == wanted;
}

static void transfer_control(Lsi *s, uint32_t insn)
{
    unsigned opcode = insn >> 27 & 7;
    uint32_t target = insn & BIT(23) ? s->dsp + sign24(s->dsps) : s->dsps;

    /* Without a comparison, bit 19 alone decides. */
    if (!(insn & (BIT(17) | BIT(18) | BIT(21))) ? !(insn & BIT(19)) : !condition(s, insn)) {
        return;
    }
    switch (opcode) {
    case 0:
        s->dsp = target;
        break;
    case 1:
        s->temp = s->dsp;
        s->dsp = target;
        break;
    case 2:
        s->dsp = s->temp;
        break;
    case 3:
        if (insn & BIT(20)) {         /* INTFLY: the script goes on */
            s->istat0 |= ISTAT0_INTF;
            lsi_update_irq(s);
        } else {
            lsi_dma_interrupt(s, DSTAT_SIR);
        }
        break;
    default:
        lsi_dma_interrupt(s, DSTAT_IID);
    }
}

/* ---- memory move, load and store: 5.7, 5.8 ---- */

/* How much of the budget it costs. */
static unsigned memory_move(Lsi *s, uint32_t len)
{
    uint8_t buf[4096];
    uint32_t from = s->dsps, to, done = 0;

    if (!read_words(s, s->dsp, &to, 1)) {
        return 1;
    }
    s->dsp += 4;
    s->temp = to;
    while (done < len) {
        uint32_t n = MIN(len - done, sizeof(buf));

        if (!lsi_memory_read(s, from | (uint64_t)s->mmrs << 32, buf, n) ||
            !lsi_memory_write(s, to | (uint64_t)s->mmws << 32, buf, n)) {
            lsi_dma_interrupt(s, DSTAT_BF);
            break;
        }
        from += n;
        to += n;
        done += n;
    }
    return 1 + len / 256;
}

static void load_store(Lsi *s, uint32_t insn)
{
    unsigned reg = insn >> 16 & 0xff, n = insn & 7;
    bool dsa = insn & BIT(28), load = insn & BIT(24);
    uint64_t addr = dsa ? s->dsa + (uint32_t)sign24(s->dsps)
                        : s->dsps | (uint64_t)(load ? s->mmrs : s->mmws) << 32;
    uint8_t bytes[4];
    bool ok;

    if (n < 1 || n > 4) {
        lsi_dma_interrupt(s, DSTAT_IID);
        return;
    }
    if (dsa) {
        addr |= (uint64_t)s->drs << 32;
    }
    if (load) {
        ok = lsi_memory_read(s, addr, bytes, n);
        for (unsigned i = 0; ok && i < n; i++) {
            lsi_reg_write(s, (reg + i) & 0xff, bytes[i]);
        }
    } else {
        for (unsigned i = 0; i < n; i++) {
            bytes[i] = lsi_reg_read(s, (reg + i) & 0xff);
        }
        ok = lsi_memory_write(s, addr, bytes, n);
    }
    if (!ok) {
        lsi_dma_interrupt(s, DSTAT_BF);
    }
}

/* ---- the loop ---- */

/* Selection goes on beside the script, until an instruction needs the bus: what the DSP says of a
 * time-out depends on that, and Linux looks at it. */
static bool needs_bus(uint32_t insn)
{
    switch (insn >> 30) {
    case 0:
        return true;
    case 1:
        return (insn >> 27 & 7) < 3;  /* SELECT and the waits */
    case 2:
        return insn & BIT(16);        /* WHEN */
    default:
        return false;
    }
}

static void time_out(Lsi *s)
{
    s->no_answer = false;
    lsi_scsi_interrupt(s, 0, SIST1_STO);
}

/* One instruction; its cost. */
static unsigned step(Lsi *s)
{
    uint32_t words[2];

    if (!read_words(s, s->dsp | (uint64_t)s->sfs << 32, words, 2)) {
        return 1;
    }
    s->dcmd = words[0] >> 24;
    s->dbc = words[0] & 0xffffff;
    s->dsps = words[1];
    s->dsp += 8;
    if (s->no_answer && needs_bus(words[0])) {
        time_out(s);
        return 1;
    }
    switch (words[0] >> 30) {
    case 0:
        block_move(s, words[0]);
        return 2;
    case 1:
        io_or_register(s, words[0]);
        return 1;
    case 2:
        transfer_control(s, words[0]);
        return 1;
    default:
        if (words[0] & BIT(29)) {
            load_store(s, words[0]);
            return 1;
        }
        return memory_move(s, words[0] & 0xffffff);
    }
}

static void run(Lsi *s)
{
    unsigned used = 0;

    if (s->running) {
        return;                       /* the loop below us goes on */
    }
    s->running = true;
    while ((s->istat1 & ISTAT1_SRUN) && s->waiting == LSI_RUNS) {
        if (used >= LSI_BUDGET) {
            s->waiting = LSI_WAIT_BUDGET;
            timer_set(&s->timer, clock_now(s->pci.dev.vm->clock) + LSI_BREAK_NS);
        } else if (s->moving) {       /* the rest of a data move */
            lsi_move_data(s, (s->dcmd & 7) == PHASE_DO);
            used += 2;
        } else {
            used += step(s);
            if ((s->dcntl & DCNTL_SSM) && (s->istat1 & ISTAT1_SRUN) && !s->moving) {
                lsi_dma_interrupt(s, DSTAT_SSI);
            }
        }
    }
    if (s->no_answer) {
        time_out(s);
    }
    s->running = false;
}

void lsi_script_start(Lsi *s)
{
    s->istat1 |= ISTAT1_SRUN;
    s->waiting = LSI_RUNS;
    s->moving = false;
    timer_cancel(&s->timer);
    run(s);
}

void lsi_script_resume(Lsi *s)
{
    bool reselected = s->waiting == LSI_WAIT_RESELECT && lsi_connected(s);

    if (!(s->istat1 & ISTAT1_SRUN)) {
        return;
    }
    s->waiting = LSI_RUNS;
    if (reselected && (s->sien0 & SIST0_RSL)) {
        lsi_scsi_interrupt(s, SIST0_RSL, 0);
    }
    run(s);
}
