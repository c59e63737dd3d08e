/* SPDX-License-Identifier: MIT */
/*
 * ATA and ATAPI drives, and the cable they hang on.  [ATA8-ACS T13/1699-D, ATAPI: MMC-6]
 *
 * A bus holds two drives that share the task file registers.  The drive executes commands; the
 * controller gives it the interrupt line and, for DMA, guest memory (IdeHostOps): PIIX's bus
 * master and AHCI both do.
 *
 *   command written -> the row of the command table runs
 *     PIO:  data goes through drive->buf; when the guest has moved it, drive->pio_next() goes on
 *     DMA:  drive->dma is prepared; once the controller is ready (ide_dma_start) the drive asks
 *           for scatter-gather lists and moves data in rounds of at most IDE_DMA_ROUND
 *   end: status, error, interrupt
 *
 * Thread rule: machine lock; block completions come on the main loop, which holds it.
 */
#ifndef HW_IDE_IDE_H
#define HW_IDE_IDE_H

#include "hw/block/block_conf.h"
#include "vm/device.h"

typedef struct IdeBus IdeBus;
typedef struct IdeDrive IdeDrive;

enum { IDE_SECTOR = 512, IDE_CD_SECTOR = 2048, IDE_BUF_LEN = 128 * IDE_SECTOR,
       IDE_BUF_PAD = 4, IDE_DMA_ROUND = 1 << 20 };

/* Status register [ACS 6.2.x] */
enum { ATA_ERR = BIT(0), ATA_DRQ = BIT(3), ATA_DSC = BIT(4), ATA_DF = BIT(5), ATA_DRDY = BIT(6),
       ATA_BSY = BIT(7) };
/* Error register */
enum { ATA_ABRT = BIT(2), ATA_IDNF = BIT(4), ATA_UNC = BIT(6), ATA_ICRC = BIT(7) };
/* Device register */
enum { ATA_DEV = BIT(4), ATA_LBA = BIT(6) };
/* Device control register */
enum { ATA_NIEN = BIT(1), ATA_SRST = BIT(2), ATA_HOB = BIT(7) };
/* ATAPI interrupt reason, in the sector count register */
enum { ATAPI_CD = BIT(0), ATAPI_IO = BIT(1) };

typedef enum IdeKind { IDE_KIND_NONE, IDE_KIND_DISK, IDE_KIND_CD } IdeKind;

typedef struct IdeHostOps {
    /* A DMA command is prepared; the controller calls ide_dma_start() now or later. */
    void (*dma_prepare)(IdeBus *bus);
    /* Adds up to LEN bytes of guest memory, from where the last call ended; returns how many it
     * added (a multiple of 2); 0: the guest's list is at its end or unusable. */
    uint32_t (*dma_add)(IdeBus *bus, DmaSg *sg, uint32_t len);
    /* The command ended; ERROR: the bus master saw a fault. */
    void (*dma_done)(IdeBus *bus, bool error);
    /* A command ended, DMA or not (AHCI posts its FIS here); may be NULL. */
    void (*command_done)(IdeBus *bus);
    /* A PIO data phase has begun; a controller that moves the data itself (AHCI) ends it with
     * ide_pio_end(), later.  NULL: the guest does, through the data register. */
    void (*pio_ready)(IdeBus *bus);
    unsigned ncq_depth;       /* commands that may be queued; 0: none */
    unsigned drives;          /* on a cable; 0 stands for 2 */
} IdeHostOps;

/* The task file as one drive sees it; hob_: the previous content of the FIFO pairs. */
typedef struct IdeTaskFile {
    uint8_t feature, error, nsector, sector, lcyl, hcyl, select, status;
    uint8_t hob_feature, hob_nsector, hob_sector, hob_lcyl, hob_hcyl;
    bool lba48;               /* the running command uses 48-bit addresses */
} IdeTaskFile;

typedef struct IdeDma {
    bool active;              /* between dma_prepare and the end */
    bool running;             /* the controller has started */
    bool to_device;
    bool from_buf;            /* data is in drive->buf (ATAPI replies, SMART), else the medium */
    uint64_t offset;          /* bytes, next on the medium */
    uint32_t left;            /* bytes still to move */
    uint64_t start;           /* both as they were at first: what a loaded VM repeats */
    uint32_t total;
    uint32_t buf_pos;
    bool fua;
    DmaSg sg;
    uint32_t round;           /* bytes of the round in flight */
    void (*moved)(IdeDrive *d);   /* all data moved; NULL: end of command */
} IdeDma;

enum { IDE_SMART_COMMAND = 12, IDE_SMART_ERROR = 90, IDE_SMART_TEST = 24,     /* bytes of an entry */
       IDE_SMART_COMMANDS = 5, IDE_SMART_ERRORS = 5, IDE_SMART_TESTS = 21 };

/* ide_smart.c: what the drive remembers of errors and self-tests. */
typedef struct IdeSmart {
    bool enabled, autosave;
    uint16_t errors;          /* since ever; the last five are in the log, oldest overwritten first */
    uint16_t tests;           /* likewise, the last 21 */
    uint8_t error_log[IDE_SMART_ERRORS * IDE_SMART_ERROR];
    uint8_t test_log[IDE_SMART_TESTS * IDE_SMART_TEST];
    uint8_t recent[IDE_SMART_COMMANDS * IDE_SMART_COMMAND];   /* commands, the last one at the end */
    uint8_t test_status;      /* byte 363 of the data page: of the last test, or of the one that runs */
    uint8_t test;             /* the self-test that runs in the background; 0: none */
    uint64_t test_pos;        /* sectors of it that are done */
    unsigned test_singly;     /* sectors to read one by one, after an error */
    uint8_t *test_buf;
    struct iovec test_iov;
    BlkRequest *test_request;
    bool test_cancelled;      /* the request in flight is being thrown away */
} IdeSmart;

/* What QEMU's format has in another form: filled before a save, taken after a load. */
typedef struct IdeDriveWire {
    int32_t mult, identify;
    uint8_t identify_data[512];
    bool new_media, eject_request;
    uint32_t nsector;
    uint8_t changed, lba48;
    bool has_pio;
    int32_t pio_req, pio_pos, pio_len, pio_elementary, pio_packet;
    uint8_t pio_next;         /* number of the function */
} IdeDriveWire;

typedef struct IdeBusWire {
    bool has_error;
    int32_t error_status;
    int64_t sector;
    uint32_t nsector;
    uint8_t unit;
} IdeBusWire;

struct IdeDrive {
    IdeBus *bus;
    Device *dev;              /* ide-hd or ide-cd; NULL: no drive here */
    IdeKind kind;
    unsigned unit;            /* 0 master, 1 slave */
    BlockConf *conf;
    BlockBackend *blk;
    IdeTaskFile tf;
    uint64_t nb_sectors;      /* of 512 bytes */
    uint32_t cyls, heads, secs;          /* current CHS translation */
    uint8_t mult_sectors;
    uint8_t wwn_set, dma_mode;           /* SET FEATURES 03h value */
    uint8_t ncq_error[14];    /* log 10h: the queued command that failed last; all 0: none */
    bool reserved_ahead;
    IdeSmart smart;
    uint16_t rotation_rate;
    uint64_t wwn;
    char model[41], serial[21], version[9];

    uint8_t *buf;             /* IDE_BUF_LEN, and room to read past an odd end */
    uint32_t pio_pos, pio_end;
    bool pio_to_device;
    void (*pio_next)(IdeDrive *d);       /* the guest moved pio_end - start bytes */
    IdeDma dma;
    BlkRequest *request;      /* at most one is in flight */
    struct iovec iov;
    uint32_t pio_sectors;     /* of the block in flight */
    uint32_t sectors_left;
    unsigned per_irq;         /* sectors a PIO interrupt stands for */
    uint64_t sector_pos;      /* next sector of a PIO command */

    /* ATAPI */
    uint8_t packet[12];
    uint32_t reply_len;       /* bytes in buf still to hand over */
    uint32_t reply_pos;
    uint32_t byte_limit;      /* of one PIO data phase, as the command came */
    uint32_t cd_sector_size;  /* 2048, or 2352 for READ CD */
    uint64_t cd_lba;
    uint32_t cd_sectors_left;
    uint8_t sense_key, asc, ascq;
    bool tray_open, tray_locked;
    bool media_changed;       /* UNIT ATTENTION is due */
    bool media_event;         /* GET EVENT STATUS NOTIFICATION is due */

    bool cancelled;           /* the request in flight is being thrown away */
    /* The VM was stopped by an I/O error: what repeats the request when it runs again. */
    void (*retry)(IdeDrive *d);
    IdeDriveWire wire;
};

struct IdeBus {
    Bus bus;
    IdeDrive drives[2];
    uint8_t unit;             /* selected drive */
    uint8_t cmd;              /* device control register */
    bool irq_pending;         /* INTRQ of the selected drive, before nIEN */
    IrqLine legacy_irq;       /* onward, where the controller looks at irq first */
    IrqLine irq;
    const IdeHostOps *host;
    void *host_opaque;
    unsigned first_serial;    /* number in the default serial of unit 0 */
    MemoryRegion command_mr, control_mr;
    IdeBusWire wire;
};

extern const BusType bus_ide, bus_sata;   /* two drives; one */
/* hw/ide/ide_state.c; the controller calls ide_bus_loaded() when bus and drives are. */
extern const VmStateDesc vmstate_ide_bus, vmstate_ide_drive;
bool ide_bus_loaded(IdeBus *bus, GError **error);

void ide_bus_init(IdeBus *bus, Device *owner, const char *name, const IdeHostOps *host,
                  void *host_opaque);
void ide_bus_clear(IdeBus *bus);
void ide_bus_reset(IdeBus *bus);
/* Legacy port windows: COMMAND 8 bytes, CONTROL 1 byte (3f6). */
void ide_bus_add_ports(IdeBus *bus, MemoryRegion *io, uint16_t command, uint16_t control);

static inline IdeDrive *ide_selected(IdeBus *bus)
{
    return &bus->drives[bus->unit];
}

/* Register access by a controller: offset 0..7 of the command block. */
uint8_t ide_reg_read(IdeBus *bus, unsigned reg);
void ide_reg_write(IdeBus *bus, unsigned reg, uint8_t value);
uint32_t ide_data_read(IdeBus *bus, unsigned size);
void ide_data_write(IdeBus *bus, uint32_t value, unsigned size);
uint8_t ide_alt_status(IdeBus *bus);
void ide_control_write(IdeBus *bus, uint8_t value);

/* The data of the PIO phase, pio_pos to pio_end of buf, has been moved. */
void ide_pio_end(IdeBus *bus);

/* The controller's side of a prepared DMA command. */
void ide_dma_start(IdeBus *bus);
/* DMA commands that have begun end with an error, once what is in flight is through: a real drive
 * waits for a data phase that never ends, and only a reset helps it; this one needs none. */
void ide_dma_cancel(IdeBus *bus);

/* INTRQ level from state; for the owner's sync. */
void ide_bus_sync(IdeBus *bus);

#endif
