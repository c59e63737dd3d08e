/* SPDX-License-Identifier: MIT */
/* Inside of the floppy controller: fdc.c (phases, transfers, registers, life cycle) and
 * fdc_commands.c (the command set).  Locking: machine lock. */
#ifndef HW_BLOCK_FDC_INT_H
#define HW_BLOCK_FDC_INT_H

#include "hw/block/fdc.h"
#include "vm/clock.h"

enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR_DSR, REG_FIFO, REG_DIR_CCR = 7 };
enum { SRA_nDRV2 = 0x40, SRA_INT = 0x80 };
enum { SRB_ALWAYS = 0xc0, SRB_DR0 = 0x20, SRB_MOTORS = 0x03 };
enum { DOR_SEL = 0x03, DOR_nRESET = 0x04, DOR_DMAEN = 0x08, DOR_MOT0 = 0x10 };
enum { DSR_SWRESET = 0x80, DSR_POWERDOWN = 0x40, DSR_RATE = 0x03 };
enum { MSR_CMD_BUSY = 0x10, MSR_NONDMA = 0x20, MSR_DIO = 0x40, MSR_RQM = 0x80 };
enum { DIR_DSKCHG = 0x80, TDR_BOOT_SEL = 0x04 };
enum { ST0_HEAD = 0x04, ST0_SEEK = 0x20, ST0_ABNORMAL = 0x40, ST0_INVALID = 0x80,
       ST0_READY_CHANGED = 0xc0 };
enum { ST1_MA = 0x01, ST1_NW = 0x02, ST1_ND = 0x04, ST1_EN = 0x80 };
enum { ST2_SNS = 0x04, ST2_SEH = 0x08 };
enum { ST3_HEAD = 0x04, ST3_TRK0 = 0x10, ST3_ALWAYS = 0x28, ST3_WP = 0x40 };
enum { CONFIG_EIS = 0x40, CONFIG_EFIFO = 0x20, CONFIG_DEFAULT = CONFIG_EFIFO };
enum { CMD_MT = 0x80, OPTION_ISO = 0x01, SAVE_LEN = 16 };
/* On the wire. */
enum { PHASE_COMMAND = 1, PHASE_EXECUTION = 2, PHASE_RESULT = 3 };
enum { DIR_WRITE, DIR_READ, DIR_SCANE, DIR_SCANL, DIR_SCANH, DIR_VERIFY };
enum { STATE_MULTI = 0x01, STATE_FORMAT = 0x02 };

typedef struct Fdc Fdc;

struct Fdc {
    IsaDevice isa;
    FloppyBus fdbus;
    MemoryRegion ports, dir_port;
    IrqLine irq_line;
    uint32_t iobase, irq, dma;
    uint8_t sra, srb, dor, tdr, dsr, msr;
    uint8_t dor_vmstate;
    uint8_t status0, status1, status2;
    uint8_t fifo[FLOPPY_SECTOR];
    uint32_t data_pos, data_len;
    uint8_t data_state, data_dir, eot, timer0, timer1, precomp_trk, config, lock, pwrd;
    uint8_t num_floppies;
    uint8_t phase;
    int32_t reset_sensei;
    Timer result_timer;
    uint8_t cmd[1 + SAVE_LEN];    /* command and its parameters; RESTORE has the most */
    unsigned cmd_len;
    bool io_busy;
    bool discard_io;              /* the transfer was given up: its completion is nothing */
    bool cylinder_over;           /* the result names the cylinder after the head's */
    bool tc;                      /* terminal count: end well after this sector */
    bool scan_differs, scan_fails;    /* of the sector under comparison */
    uint8_t fill;                 /* FORMAT: the byte */
    uint8_t option;               /* OPTION's ISO bit */
    uint8_t step;                 /* SCAN: sectors from one to the next */
    bool counts;                  /* VERIFY with EC: sectors_left ends it, not EOT */
    uint32_t sectors_left;
    struct iovec iov;
};

/* The state one drive has on the wire sits in its FloppyDrive. */

static inline FloppyDrive *fdc_current(Fdc *s)
{
    return &s->fdbus.drives[s->dor & 1];
}

static inline unsigned fdc_current_unit(const Fdc *s)
{
    return s->dor & DOR_SEL;
}

/* A row of the command table; LEN counts the command byte. */
typedef struct FdcCommand {
    uint8_t value, mask, len;
    void (*run)(Fdc *s);
} FdcCommand;

/* fdc.c */
void fdc_raise_irq(Fdc *s);
void fdc_to_command_phase(Fdc *s);
void fdc_to_result_phase(Fdc *s, const uint8_t *bytes, unsigned len);
/* Ends a data command with its seven result bytes. */
void fdc_stop_transfer(Fdc *s, uint8_t st0, uint8_t st1, uint8_t st2);
/* The next sector of a transfer: read it first, or ask the host for it. */
void fdc_next_step(Fdc *s);

/* fdc_commands.c */
const FdcCommand *fdc_find_command(uint8_t byte);
void fdc_result_timer(void *opaque);

#endif
