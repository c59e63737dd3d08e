/* SPDX-License-Identifier: MIT */
/*
 * Between the files of the emulated logical units, scsi-hd and scsi-cd: one struct, one table of
 * commands (scsi_disk.c), and who answers them:
 *
 *   scsi_disk.c         the devices, the medium and its tray, the table
 *   scsi_disk_io.c      commands that move blocks; asynchronous, repeatable after a stop
 *   scsi_disk_pages.c   INQUIRY, MODE SENSE and SELECT, READ CAPACITY
 *   scsi_cd.c           MMC
 */
#ifndef HW_SCSI_SCSI_DISK_H
#define HW_SCSI_SCSI_DISK_H

#include "hw/block/block_conf.h"
#include "hw/scsi/scsi.h"

typedef struct ScsiDisk {
    ScsiDevice unit;
    BlockConf conf;
    BlockBackend *blk;
    bool is_cd, removable, dpofua;
    bool wce_default;         /* as the user set it */
    char *version, *vendor, *product, *device_id;
    uint64_t wwn, port_wwn;
    uint16_t port_index, rotation_rate;
    uint64_t max_unmap_size, max_io_size;
    /* The medium; all of it in the vmstate. */
    bool media_changed, media_event, eject_request, tray_open, tray_locked;
    uint64_t seen_blocks;     /* capacity that the guest knows of */
} ScsiDisk;

typedef struct ScsiDiskReq ScsiDiskReq;
struct ScsiDiskReq {
    ScsiRequest req;
    BlkRequest *aio;          /* at most one */
    uint64_t offset, left;    /* bytes on the medium still to do */
    uint64_t start;
    uint32_t step;            /* bytes of the round in flight */
    uint8_t *data, *compare;  /* SCSI_PIECE_MAX each, made when needed */
    struct iovec *iov, one;   /* of the round */
    bool fua;
    /* The round in flight: starts it, again after a stop; and what follows. */
    void (*submit)(ScsiDiskReq *r);
    void (*done)(ScsiDiskReq *r);
    unsigned descriptor;      /* UNMAP */
};

static inline ScsiDisk *scsi_disk_of(const ScsiRequest *req)
{
    return DEVICE_CAST(ScsiDisk, &req->dev->dev);
}

/* Of the medium; 0: none. */
uint64_t scsi_disk_blocks(const ScsiDisk *d);
bool scsi_disk_has_medium(const ScsiDisk *d);
static inline bool scsi_disk_in_range(uint64_t lba, uint64_t count, uint64_t blocks)
{
    return lba <= blocks && count <= blocks - lba;
}

/* ---- scsi_disk_io.c ---- */
void scsi_disk_read(ScsiRequest *req);
void scsi_disk_write(ScsiRequest *req);          /* and WRITE AND VERIFY */
void scsi_disk_verify(ScsiRequest *req);
void scsi_disk_write_same(ScsiRequest *req);
void scsi_disk_unmap(ScsiRequest *req);
void scsi_disk_sync(ScsiRequest *req);
void scsi_disk_piece_moved(ScsiRequest *req);
void scsi_disk_cancel(ScsiRequest *req);
void scsi_disk_retry(ScsiRequest *req);
void scsi_disk_release(ScsiRequest *req);

/* ---- scsi_state.c ---- */
void scsi_disk_save(VmWriter *w, ScsiRequest *req);
bool scsi_disk_load(VmReader *r, ScsiRequest *req, GError **error);

/* ---- scsi_disk_pages.c ---- */
void scsi_disk_inquiry(ScsiRequest *req);
void scsi_disk_mode_sense(ScsiRequest *req);
void scsi_disk_mode_select(ScsiRequest *req);
void scsi_disk_read_capacity(ScsiRequest *req);
void scsi_disk_service_action_in(ScsiRequest *req);

/* ---- scsi_cd.c ---- */
void scsi_cd_read_toc(ScsiRequest *req);
void scsi_cd_get_configuration(ScsiRequest *req);
void scsi_cd_event_status(ScsiRequest *req);
void scsi_cd_disc_information(ScsiRequest *req);
void scsi_cd_track_information(ScsiRequest *req);
void scsi_cd_dvd_structure(ScsiRequest *req);
void scsi_cd_mechanism_status(ScsiRequest *req);
/* Mode pages 0Eh and 2Ah behind P; how many bytes. */
unsigned scsi_cd_mode_page(const ScsiDisk *d, unsigned page, uint8_t *p);

#endif
