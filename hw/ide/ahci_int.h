/* SPDX-License-Identifier: MIT */
/*
 * Between the files of the AHCI controller.
 *
 *   register write -> a flag or a bit of PxCI; the bottom half of the main loop does the rest
 *   ahci_port_run():  reset, stop, PIO phases, then the next slots
 *     ordinary command: task file -> the drive of hw/ide executes it -> its hooks move data and end it
 *     queued command:   AhciNcq, straight to the block layer, up to 32 at a time
 *
 * At most one ordinary command runs (busy_slot), and none together with queued ones.  An error halts the
 * port until the guest clears PxCMD.ST.  PxCMD.CR stays 1 until what is in flight has ended, so nothing
 * is written to memory that the guest believes to be its own again.
 *
 * Thread rule: machine lock.
 */
#ifndef HW_IDE_AHCI_INT_H
#define HW_IDE_AHCI_INT_H

#include "base/event_loop.h"
#include "base/log.h"
#include "hw/ide/ide_int.h"
#include "hw/pci/pci.h"

enum { AHCI_PORTS = 6, AHCI_SLOTS = 32, AHCI_MEM_LEN = 4096, AHCI_PORT_BASE = 0x100,
       AHCI_PORT_LEN = 0x80, AHCI_HEADER_LEN = 32, AHCI_PRD_LEN = 16, AHCI_PRDT = 0x80, AHCI_ACMD = 0x40 };

/* clang-format off */
/* Generic host control [AHCI1.3.1 3.1] */
enum { REG_CAP = 0x00, REG_GHC = 0x04, REG_IS = 0x08, REG_PI = 0x0c, REG_VS = 0x10 };
enum { AHCI_CAP = 0xc0141f00, AHCI_VERSION = 0x10000 };
enum { GHC_HR = BIT(0), GHC_IE = BIT(1) };
#define GHC_AE BIT(31)
/* Ports [3.3] */
enum { PX_CLB = 0x00, PX_CLBU = 0x04, PX_FB = 0x08, PX_FBU = 0x0c, PX_IS = 0x10, PX_IE = 0x14, PX_CMD = 0x18,
       PX_TFD = 0x20, PX_SIG = 0x24, PX_SSTS = 0x28, PX_SCTL = 0x2c, PX_SERR = 0x30, PX_SACT = 0x34,
       PX_CI = 0x38 };
enum { IS_DHR = BIT(0), IS_PS = BIT(1), IS_DS = BIT(2), IS_SDB = BIT(3), IS_DP = BIT(5), IS_PC = BIT(6),
       IS_OF = BIT(24), IS_IF = BIT(27), IS_HBD = BIT(28), IS_HBF = BIT(29), IS_TFE = BIT(30),
       IE_WRITABLE = (int)0xfdc000ff };
enum { CMD_ST = BIT(0), CMD_SUD = BIT(1), CMD_POD = BIT(2), CMD_CLO = BIT(3), CMD_FRE = BIT(4),
       CMD_CCS = 0x1f00, CMD_FR = BIT(14), CMD_CR = BIT(15), CMD_WRITABLE = 0x07000017 };
enum { SERR_X = BIT(26), SSTS_READY = 0x113, SCTL_DET = 0xf };
/* Command header, dword 0 [4.2.2] */
enum { HDR_CFL = 0x1f, HDR_A = BIT(5), HDR_W = BIT(6) };
/* FIS types [SATA 10.3], and where they are received [4.2.1] */
enum { FIS_H2D = 0x27, FIS_D2H = 0x34, FIS_PIO = 0x5f, FIS_SDB = 0xa1, FIS_I = BIT(6), FIS_D = BIT(5) };
enum { RX_PIO = 0x20, RX_D2H = 0x40, RX_SDB = 0x58 };
/* clang-format on */

typedef struct Ahci Ahci;
typedef struct AhciPort AhciPort;

typedef struct AhciNcq {
    AhciPort *port;
    bool used, halt;          /* halt: repeated when the VM runs again */
    bool dead;                /* aborted by another's error: it ends quietly */
    uint8_t tag, cmd, slot;
    uint32_t sector_count;
    uint64_t lba;
    bool mapped, fua;
    DmaSg sg;
    BlkRequest *aio;
} AhciNcq;

struct AhciPort {
    Ahci *ahci;
    unsigned number;
    IdeBus bus;
    uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
    uint32_t in_reset;        /* a FIS with SRST came; on the wire "port_state" */
    int32_t finished_wire;
    bool drq_wire, init_d2h_sent;
    int32_t busy_slot;        /* -1: none */
    AhciNcq ncq[AHCI_SLOTS];

    bool stop_due, reset_due, pio_due, halted, in_run, again;
    unsigned last_slot;
    /* Where the running command is in its table. */
    gpa_t table, prd_addr;
    uint32_t prds, prd_index, prd_left, moved;
    bool prd_interrupt, overflow;
};

struct Ahci {
    PciDevice pci;
    MemoryRegion mem, idp;
    AhciPort ports[AHCI_PORTS];
    uint32_t cap, ghc, is, impl, version, idp_index, ports_wire;
    bool reset_due;
    Bh *bh;
};

/* ---- ahci.c ---- */

/* PxIS bits; tells the guest as far as it wants to know. */
void ahci_raise(AhciPort *p, uint32_t bits);
void ahci_kick(Ahci *s);

/* ---- ahci_port.c ---- */

extern const IdeHostOps ahci_host;
void ahci_port_run(AhciPort *p);
void ahci_port_reset(AhciPort *p);
/* What is in flight ends; on the main loop only. */
void ahci_port_stop(AhciPort *p);
/* The first D2H FIS, with the signature, once there is somewhere to put it. */
void ahci_port_announce(AhciPort *p);
void ahci_port_loaded(AhciPort *p);
bool ahci_fis_post(AhciPort *p, unsigned where, const uint8_t *fis, unsigned len);
/* The port stands still until PxCMD.ST goes to 0. */
void ahci_port_halt(AhciPort *p, uint32_t is_bits);
/* Command tables, for both kinds of command. */
bool ahci_prd_begin(AhciPort *p, gpa_t table, uint32_t prds);
uint32_t ahci_prd_add(AhciPort *p, DmaSg *sg, uint32_t len);

static inline IdeDrive *ahci_drive(AhciPort *p)
{
    return &p->bus.drives[0];
}

/* ---- ahci_ncq.c ---- */

bool ahci_is_queued(const IdeDrive *d, uint8_t command);
void ahci_ncq_start(AhciPort *p, unsigned slot, const uint8_t *fis);
bool ahci_ncq_busy(const AhciPort *p);
void ahci_ncq_cancel(AhciPort *p);            /* asks; they end quietly */
void ahci_ncq_again(AhciPort *p);             /* those that a stop of the VM interrupted */
void ahci_ncq_loaded(AhciPort *p);

#endif
