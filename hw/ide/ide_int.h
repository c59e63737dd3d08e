/* SPDX-License-Identifier: MIT */
/* Between the files of hw/ide: how commands end and move data. */
#ifndef HW_IDE_IDE_INT_H
#define HW_IDE_IDE_INT_H

#include "hw/ide/ide.h"

/* ---- ends of commands ---- */
void ide_command_ok(IdeDrive *d);            /* DRDY|DSC, interrupt */
void ide_command_abort(IdeDrive *d);         /* ABRT */
void ide_command_error(IdeDrive *d, uint8_t error);
void ide_raise_irq(IdeDrive *d);
/* Register values after a reset or EXECUTE DEVICE DIAGNOSTIC.  [ACS 9.12] */
void ide_set_signature(IdeDrive *d);

/* ---- PIO ---- */
/* LEN bytes of buf are ready for the guest (or wanted from it); NEXT follows the last one. */
void ide_pio_begin(IdeDrive *d, uint32_t len, bool to_device, void (*next)(IdeDrive *d));

/* ---- DMA ---- */
/* BYTES from OFFSET of the medium. */
void ide_dma_medium(IdeDrive *d, uint64_t offset, uint32_t bytes, bool to_device, bool fua);
/* LEN bytes of buf; MOVED when done (NULL: the command is over). */
void ide_dma_buf(IdeDrive *d, uint32_t len, bool to_device, void (*moved)(IdeDrive *d));

/* Guest-visible consequences of RET (< 0) of a request; true: handled, the command is over or
 * will be repeated. */
bool ide_handle_io_error(IdeDrive *d, int ret, bool is_read);

/* ---- ATA ---- */
void ide_ata_command(IdeDrive *d, uint8_t command);
void ide_ata_identify(IdeDrive *d);          /* fills 512 bytes of buf */
void ide_ata_retry(IdeDrive *d);
uint64_t ide_get_sector(const IdeDrive *d);
void ide_set_sector(IdeDrive *d, uint64_t sector);

/* ---- ATAPI ---- */
void ide_atapi_command(IdeDrive *d);         /* PACKET was written */
void ide_atapi_identify(IdeDrive *d);
void ide_atapi_medium_changed(IdeDrive *d, bool loaded);
void ide_atapi_eject_request(IdeDrive *d, bool force);
void ide_atapi_dma_failed(IdeDrive *d);

#endif
