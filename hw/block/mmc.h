/* SPDX-License-Identifier: MIT */
/*
 * A CD/DVD-ROM drive's answers about itself and its disc, for ATAPI and SCSI drives alike: pure
 * functions from a drive's state and a command to bytes.  [MMC-6 T10/1836-D]
 *
 * Each takes the command descriptor block and fills BUF, MMC_REPLY_MAX bytes long and zeroed by the
 * function; it returns the length of the reply before the allocation length cuts it, or 0: INVALID
 * FIELD IN CDB.
 * Not modelled: audio, writing, more than one session or track.
 */
#ifndef HW_BLOCK_MMC_H
#define HW_BLOCK_MMC_H

#include <stdbool.h>
#include <stdint.h>

enum { MMC_BLOCK = 2048, MMC_REPLY_MAX = 2052 };

typedef struct MmcDrive {
    uint64_t blocks;          /* of the disc, of 2048 bytes */
    bool has_disc;            /* and the tray is shut */
    bool tray_open, tray_locked;
    bool atapi;               /* the physical interface: else SCSI */
} MmcDrive;

/* Media events.  [MMC-6 6.7.2.5] */
typedef enum MmcEvent { MMC_NO_EVENT, MMC_EJECT_REQUESTED, MMC_NEW_MEDIA, MMC_MEDIA_REMOVAL }
    MmcEvent;

/* Above it, the disc is a DVD. */
bool mmc_is_dvd(const MmcDrive *d);
uint32_t mmc_get_configuration(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf);
/* *TOLD: the event was in the reply. */
uint32_t mmc_event_status(const MmcDrive *d, const uint8_t *cdb, MmcEvent event, uint8_t *buf,
                          bool *told);
uint32_t mmc_mechanism_status(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf);
uint32_t mmc_read_toc(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf);
uint32_t mmc_disc_information(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf);
uint32_t mmc_track_information(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf);
uint32_t mmc_dvd_structure(const MmcDrive *d, const uint8_t *cdb, uint8_t *buf);
/* Mode page 2Ah, C/DVD capabilities, 20 bytes; mode page 0Eh, audio control, 16 bytes. */
uint32_t mmc_capabilities_page(const MmcDrive *d, uint8_t *buf);
uint32_t mmc_audio_page(uint8_t *buf);
/* Minute, second, frame of a block, the lead-in of 150 frames included. */
void mmc_put_msf(uint8_t *p, uint64_t lba);

#endif
