/* SPDX-License-Identifier: MIT */
/*
 * -drive, -blockdev, -hda..-hdd, -cdrom, -fda, -fdb, -sd, -pflash, -mtdblock and -snapshot as
 * functions.
 *
 * A drive is a backend plus where the board should plug it in.  The board walks the list:
 *
 *     for (Drive *d = drive_next(NULL); d; d = drive_next(d)) {
 *         if (d->type == DRIVE_IDE && drive_claim(d)) { ... device with drive=d->id ... }
 *     }
 *     if (!drive_check_claimed(&error)) ...      // "machine has no such slot"
 *
 * Thread rule: main loop, at start-up (drive_add() also later, for drive_add of HMP).
 */
#ifndef BLOCK_DRIVE_H
#define BLOCK_DRIVE_H

#include "block/graph.h"

typedef enum DriveType {
    DRIVE_NONE, DRIVE_IDE, DRIVE_SCSI, DRIVE_FLOPPY, DRIVE_PFLASH, DRIVE_MTD, DRIVE_SD,
    DRIVE_VIRTIO, DRIVE_XEN,
} DriveType;

typedef struct Drive {
    DriveType type;
    int bus, unit;               /* of the type; given, or the next free */
    bool cdrom, claimed;
    char *id;                    /* the backend's name */
    BlockBackend *blk;
} Drive;

typedef struct DriveDefaults {
    DriveType type;              /* of a drive without if=; the board's default (IDE for pc) */
    int index;                   /* -1: next free */
    bool snapshot;               /* -snapshot */
    const char *media;           /* "cdrom", "disk" or NULL */
} DriveDefaults;

/* OPTS as -drive has them: file, if, index, bus, unit, media, format, snapshot, cache, aio,
 * readonly/read-only, werror, rerror, id, discard, detect-zeroes, and any dotted node option. */
bool drive_add(NodeOpts *opts, const DriveDefaults *defaults, GError **error);
/* The text of -drive, or of -hda FILE by NULL OPTIONS. */
bool drive_add_text(const char *options, const char *file, const DriveDefaults *defaults,
                    GError **error);
/* -blockdev: JSON when it begins with '{', dotted keys otherwise. */
bool blockdev_add_text(const char *text, GError **error);

Drive *drive_next(Drive *drive);
Drive *drive_get(DriveType type, int bus, int unit);
/* True the first time. */
bool drive_claim(Drive *drive);
bool drive_check_claimed(GError **error);
void drive_free_all(void);

/* A qcow2 overlay in a file that is already deleted, so that it goes with the process. */
BlockNode *drive_overlay(BlockNode *base, GError **error);

/* "writeback" and so on: what cache= means. */
bool cache_mode_parse(const char *mode, bool *direct, bool *no_flush, bool *write_through,
                      GError **error);

#endif
