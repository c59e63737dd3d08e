/* SPDX-License-Identifier: MIT */
/* Between the files of the SCSI bus. */
#ifndef HW_SCSI_SCSI_INT_H
#define HW_SCSI_SCSI_INT_H

#include "hw/scsi/scsi.h"

/* Into the queue of its unit; with the reference that the queue holds. */
void scsi_req_enqueue(ScsiRequest *req);
/* The commands that a target answers whatever its units are, and absent units; true: it did. */
bool scsi_target_run(ScsiRequest *req);
/* 18 bytes of fixed format. */
void scsi_sense_put(uint8_t *buf, ScsiSense sense);

#endif
