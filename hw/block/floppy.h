/* SPDX-License-Identifier: MIT */
/*
 * Floppy drives ("floppy") and the cable they hang on, below a controller.
 *
 * A FloppyDrive is the controller's half: geometry of the medium, head and track.  It exists for
 * both units whether a "floppy" device is plugged there or not.
 * Thread rule: machine lock, main loop.
 */
#ifndef HW_BLOCK_FLOPPY_H
#define HW_BLOCK_FLOPPY_H

#include "hw/block/block_conf.h"
#include "vm/device.h"

enum { FLOPPY_SECTOR = 512, FLOPPY_UNITS = 2 };

/* FdcDriveType of QAPI, same order. */
typedef enum FloppyType { FLOPPY_144, FLOPPY_288, FLOPPY_120, FLOPPY_NONE, FLOPPY_AUTO } FloppyType;
extern const char *const floppy_types[];

/* Data rates as DSR and CCR write them. */
enum { FLOPPY_RATE_500K, FLOPPY_RATE_300K, FLOPPY_RATE_250K, FLOPPY_RATE_1M };

typedef struct FloppyDrive {
    BlockBackend *blk;            /* NULL: no drive on the cable */
    FloppyType type;              /* settled: never AUTO; NONE without a drive */
    uint8_t head, track, sect;    /* where the head is, next sector of a transfer */
    uint8_t last_sect, max_track, heads;  /* of the medium; 0: none */
    uint8_t perpendicular, media_changed, media_rate;
    bool read_only;
} FloppyDrive;

typedef struct FloppyBus {
    Bus bus;
    FloppyDrive drives[FLOPPY_UNITS];
    int type_override[FLOPPY_UNITS];      /* fdtypeA/B of the controller: FloppyType */
    int fallback;                         /* of AUTO without a medium to go by */
    int32_t bootindex[FLOPPY_UNITS];      /* bootindexA/B; -1: the drive's own */
    /* The medium of UNIT changed. */
    void (*changed)(void *opaque, unsigned unit);
    void *opaque;
} FloppyBus;

extern const BusType bus_floppy;

void floppy_bus_init(FloppyBus *bus, Device *owner);
/* Byte offset of a sector (SECT from 1); false when the medium does not have it. */
bool floppy_offset(const FloppyDrive *drive, unsigned track, unsigned head, unsigned sect,
                   uint64_t *offset);

#endif
