/* SPDX-License-Identifier: MIT */
/*
 * What a SCSI CD/DVD-ROM drive has beyond a disk; the replies are those of hw/block/mmc.c.
 * Spec: MMC-6 (T10/1836-D).
 * Not modelled: READ CD and other raw reads: INVALID COMMAND OPERATION CODE.
 * Locking: machine lock.
 */
#include "hw/block/mmc.h"
#include "hw/scsi/scsi_disk.h"

static MmcDrive drive_of(const ScsiDisk *d)
{
    return (MmcDrive){ .blocks = scsi_disk_blocks(d), .has_disc = scsi_disk_has_medium(d),
                       .tray_open = d->tray_open, .tray_locked = d->tray_locked };
}

static void reply(ScsiRequest *req, const uint8_t *buf, uint32_t len)
{
    if (len) {
        scsi_req_reply(req, buf, len);
    } else {
        scsi_req_check(req, SENSE_INVALID_FIELD);
    }
}

#define MMC_COMMAND(id, fn)                                                                \
    void id(ScsiRequest *req)                                                              \
    {                                                                                      \
        MmcDrive drive = drive_of(scsi_disk_of(req));                                      \
        uint8_t buf[MMC_REPLY_MAX];                                                        \
                                                                                           \
        reply(req, buf, fn(&drive, req->cdb, buf));                                        \
    }
MMC_COMMAND(scsi_cd_read_toc, mmc_read_toc)
MMC_COMMAND(scsi_cd_get_configuration, mmc_get_configuration)
MMC_COMMAND(scsi_cd_disc_information, mmc_disc_information)
MMC_COMMAND(scsi_cd_track_information, mmc_track_information)
MMC_COMMAND(scsi_cd_mechanism_status, mmc_mechanism_status)

void scsi_cd_dvd_structure(ScsiRequest *req)
{
    MmcDrive drive = drive_of(scsi_disk_of(req));
    uint8_t buf[MMC_REPLY_MAX];

    if (!mmc_is_dvd(&drive)) {
        scsi_req_check(req, SENSE_INCOMPATIBLE_MEDIUM);
        return;
    }
    reply(req, buf, mmc_dvd_structure(&drive, req->cdb, buf));
}

void scsi_cd_event_status(ScsiRequest *req)
{
    ScsiDisk *d = scsi_disk_of(req);
    MmcDrive drive = drive_of(d);
    MmcEvent event = d->eject_request ? MMC_EJECT_REQUESTED
                     : !d->media_event ? MMC_NO_EVENT
                     : drive.has_disc ? MMC_NEW_MEDIA : MMC_MEDIA_REMOVAL;
    uint8_t buf[MMC_REPLY_MAX];
    bool told;
    uint32_t len = mmc_event_status(&drive, req->cdb, event, buf, &told);

    if (told && d->eject_request) {
        d->eject_request = false;
    } else if (told) {
        d->media_event = false;
    }
    reply(req, buf, len);
}

unsigned scsi_cd_mode_page(const ScsiDisk *d, unsigned page, uint8_t *p)
{
    MmcDrive drive = drive_of(d);

    return page == 0x0e ? mmc_audio_page(p) : page == 0x2a ? mmc_capabilities_page(&drive, p) : 0;
}
