/* SPDX-License-Identifier: MIT */
/*
 * The floppy controller of a PC ("isa-fdc").  Drives are "floppy" devices on its bus.
 * Thread rule: machine lock.
 */
#ifndef HW_BLOCK_FDC_H
#define HW_BLOCK_FDC_H

#include "hw/block/floppy.h"
#include "hw/isa/isa.h"

/* Where "floppy" devices plug into. */
Bus *fdc_bus(Device *fdc);
/* Type of the drive of a unit, for the CMOS byte 10h; FLOPPY_NONE: no drive. */
FloppyType fdc_drive_type(Device *fdc, unsigned unit);
/* The nibble of CMOS byte 10h for a type. */
uint8_t fdc_cmos_type(FloppyType type);

#endif
