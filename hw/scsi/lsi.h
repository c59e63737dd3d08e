/* SPDX-License-Identifier: MIT */
/*
 * Between the files of the LSI53C895A.  [LSI53C895A PCI to Ultra2 SCSI Controller Technical Manual 2.2]
 *
 *   lsi53c895a.c    PCI device, state, life
 *   lsi_regs.c      operating registers
 *   lsi_scripts.c   the SCRIPTS processor
 *   lsi_bus.c       the SCSI bus as its scripts see it: phases, messages, requests
 *
 * One script runs at a time, in whoever gave it a reason to: a register write, a request that has
 * come forward, or the timer that gives a long one more time.  It runs until it waits (LsiWait),
 * stops with an interrupt, or has used up LSI_BUDGET.
 *
 * On the bus there is at most one connected request (current), between selection or reselection and
 * bus free; the others are disconnected, in the queue, and come back by reselection when the script
 * waits for it.  Commands that cannot go on at once disconnect if the initiator lets them; once data
 * moves, a request stays connected and the script waits.
 *
 * Register and bit names are the manual's.
 */
#ifndef HW_SCSI_LSI_H
#define HW_SCSI_LSI_H

#include "hw/pci/pci.h"
#include "hw/scsi/scsi.h"
#include "vm/clock.h"

enum { LSI_RAM_WORDS = 2048, LSI_RAM_LEN = 4 * LSI_RAM_WORDS, LSI_SCRATCH = 18, LSI_MSG_MAX = 8,
       LSI_TARGETS = 7 /* its own id, the last */ };
enum { LSI_BUDGET = 20000, LSI_BREAK_NS = 500 * 1000 };

/* clang-format off */
enum { SCNTL1_RST = BIT(3), SCNTL1_CON = BIT(4), SCNTL1_IARB = BIT(1) };
enum { SCNTL2_SDU = BIT(7), SCNTL2_WSR = BIT(0) };
enum { SCID_RRE = BIT(6) };
enum { SSID_VAL = BIT(7) };
enum { SOCL_ATN = BIT(3), SOCL_ACK = BIT(6) };
enum { SBCL_ATN = BIT(3), SBCL_BSY = BIT(5), SBCL_REQ = BIT(7) };
enum { DSTAT_IID = BIT(0), DSTAT_SIR = BIT(2), DSTAT_SSI = BIT(3), DSTAT_ABRT = BIT(4),
       DSTAT_BF = BIT(5), DSTAT_DFE = BIT(7) };
enum { SSTAT0_RST = BIT(1), SSTAT0_WOA = BIT(2) };
enum { ISTAT0_DIP = BIT(0), ISTAT0_SIP = BIT(1), ISTAT0_INTF = BIT(2), ISTAT0_CON = BIT(3),
       ISTAT0_SEM = BIT(4), ISTAT0_SIGP = BIT(5), ISTAT0_SRST = BIT(6), ISTAT0_ABRT = BIT(7) };
enum { ISTAT1_SI = BIT(0), ISTAT1_SRUN = BIT(1) };
enum { SIST0_RST = BIT(1), SIST0_UDC = BIT(2), SIST0_RSL = BIT(4), SIST0_SEL = BIT(5),
       SIST0_CMP = BIT(6), SIST0_MA = BIT(7) };
enum { SIST1_HTH = BIT(0), SIST1_GEN = BIT(1), SIST1_STO = BIT(2), SIST1_SBMC = BIT(4) };
enum { DMODE_MAN = BIT(0), DMODE_DIOM = BIT(4), DMODE_SIOM = BIT(5) };
enum { DCNTL_COM = BIT(0), DCNTL_IRQD = BIT(1), DCNTL_STD = BIT(2), DCNTL_SSM = BIT(4) };
enum { CTEST2_SIGP = BIT(6), CTEST2_PCICIE = BIT(3) };
enum { CCNTL0_PMJCTL = BIT(6), CCNTL0_ENPMJ = BIT(7) };
enum { CCNTL1_EN64DBMV = BIT(0), CCNTL1_EN64TIBMV = BIT(1), CCNTL1_64TIMOD = BIT(2) };
/* clang-format on */

/* MSG, C/D, I/O */
typedef enum LsiPhase { PHASE_DO, PHASE_DI, PHASE_CMD, PHASE_ST, PHASE_MO = 6, PHASE_MI } LsiPhase;

/* Why the script does not go on; on the wire. */
typedef enum LsiWait { LSI_RUNS, LSI_WAIT_RESELECT, LSI_WAIT_DATA, LSI_WAIT_DMA, LSI_WAIT_BUDGET }
    LsiWait;

/* What follows when the initiator has taken the message; on the wire. */
typedef enum LsiAfterMsg { LSI_MSG_COMMAND, LSI_MSG_BUS_FREE, LSI_MSG_DATA_OUT, LSI_MSG_DATA_IN,
                           LSI_MSG_STATUS } LsiAfterMsg;

typedef struct Lsi Lsi;

typedef struct LsiRequest {
    Lsi *lsi;
    ScsiRequest *req;
    uint8_t target, lun, tag;
    bool tagged;
    bool dropped;             /* cancelled by the initiator: nobody waits for it */
    bool has_piece;           /* data to move, from pos of the piece */
    uint32_t pos;
    bool done;                /* status is there */
    uint8_t status;
} LsiRequest;

struct Lsi {
    PciDevice pci;
    MemoryRegion io, mmio, ram;
    ScsiBus bus;
    Timer timer;              /* more time for a script */
    Timer gen_timer;          /* STIME1 */
    LsiRequest *current;      /* connected */
    GQueue queue;             /* LsiRequest*, disconnected */
    bool running;             /* the processor's loop is on the stack */
    bool no_answer;           /* within a run: the selected target is not there */
    bool moving;              /* a data move waits in its middle */
    uint8_t identify;         /* last message of that kind; 0: none */
    uint8_t sel_target, sel_tag;
    bool sel_tagged;

    /* The rest is the guest's and on the wire. */
    int32_t carry, status, msg_action, msg_len, waiting;
    uint8_t msg[LSI_MSG_MAX];
    uint32_t dsa, temp, dnad, dbc;
    uint8_t istat0, istat1, dcmd, dstat, dien, sist0, sist1, sien0, sien1, mbox0, mbox1, dfifo,
        ctest2, ctest3, ctest4, ctest5, ccntl0, ccntl1;
    uint32_t dsp, dsps;
    uint8_t dmode, dcntl, scntl0, scntl1, scntl2, scntl3, sstat0, sstat1, scid, sxfer, socl, sdid,
        ssid, sfbr, stest1, stest2, stest3, sidl, stime0, stime1, gpreg, gpcntl, respid0, respid1,
        sbcl, sbr;
    uint32_t mmrs, mmws, sfs, drs, sbms, dbms, dnad64, pmjad1, pmjad2, rbc, ua, ia, esa, sbc, csbc;
    uint32_t scratch[LSI_SCRATCH];
    uint32_t script_ram[LSI_RAM_WORDS];
};

/* ---- lsi_regs.c ---- */
uint8_t lsi_reg_read(Lsi *s, unsigned reg);
void lsi_reg_write(Lsi *s, unsigned reg, uint8_t value);
void lsi_soft_reset(Lsi *s);
void lsi_gen_expired(void *opaque);

/* ---- lsi53c895a.c ---- */
void lsi_update_irq(Lsi *s);
/* Memory as the chip sees it, its own RAM and registers included. */
bool lsi_memory_read(Lsi *s, uint64_t addr, void *buf, uint32_t len);
bool lsi_memory_write(Lsi *s, uint64_t addr, const void *buf, uint32_t len);

/* ---- lsi_scripts.c ---- */
/* From DSP. */
void lsi_script_start(Lsi *s);
/* What the script waited for is there. */
void lsi_script_resume(Lsi *s);
void lsi_script_stop(Lsi *s);
void lsi_dma_interrupt(Lsi *s, uint8_t dstat);
/* Stops the script when one of the causes is fatal. */
void lsi_scsi_interrupt(Lsi *s, uint8_t sist0, uint8_t sist1);
/* The target changed its phase while DBC bytes of a move were left. */
void lsi_phase_mismatch(Lsi *s, bool out);

/* ---- lsi_bus.c ---- */
extern const ScsiHostOps lsi_host_ops;
void lsi_set_phase(Lsi *s, LsiPhase phase);
static inline LsiPhase lsi_phase(const Lsi *s)
{
    return (LsiPhase)(s->sstat1 & 7);
}
static inline bool lsi_connected(const Lsi *s)
{
    return s->scntl1 & SCNTL1_CON;
}
/* false: nobody answers. */
bool lsi_select(Lsi *s, unsigned target, bool atn);
void lsi_bus_free(Lsi *s);
/* Moves of one phase, DBC bytes at DNAD (64 bits: DNAD64). */
void lsi_move_command(Lsi *s);
void lsi_move_status(Lsi *s);
void lsi_move_message_out(Lsi *s);
void lsi_move_message_in(Lsi *s);
void lsi_move_data(Lsi *s, bool out);
/* ATN was on when ACK went: the target wants the message. */
void lsi_acknowledge(Lsi *s);
/* A disconnected request that can go on; true: it has the bus. */
bool lsi_try_reselect(Lsi *s);
/* All of them, without a word. */
void lsi_drop_requests(Lsi *s);

#endif
