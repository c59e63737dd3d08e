/* SPDX-License-Identifier: MIT */
/* Between the files of hw/ide: how commands end and move data. */
#ifndef HW_IDE_IDE_INT_H
#define HW_IDE_IDE_INT_H

#include "hw/ide/ide.h"

/* ---- state: ide_state.c ---- */
/* "error_status" on the wire. */
enum { IDE_RETRY_DMA = BIT(3), IDE_RETRY_PIO = BIT(4), IDE_RETRY_READ = BIT(5),
       IDE_RETRY_FLUSH = BIT(6) };
uint32_t ide_ata_retry_kind(const IdeDrive *d);      /* without DMA */
void ide_ata_set_retry(IdeDrive *d, uint32_t kind);
void ide_dma_again(IdeDrive *d);             /* a DMA command that was loaded, from its start */

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

/* First in every completion: false when the request was thrown away by a reset. */
bool ide_request_done(IdeDrive *d);
/* Waits for the request in flight, if any; its completion does nothing. */
void ide_request_cancel(IdeDrive *d);
/* DEVICE RESET, soft reset and diagnostic: what runs is forgotten, the signature is shown. */
void ide_drive_reset(IdeDrive *d);

/* Guest-visible consequences of RET (< 0) of a request; true: handled, the command is over or
 * RETRY will repeat the request. */
bool ide_handle_io_error(IdeDrive *d, int ret, bool is_read, void (*retry)(IdeDrive *d));

/* ---- ATA ---- */
void ide_ata_command(IdeDrive *d, uint8_t command);
void ide_ata_identify(IdeDrive *d);          /* fills 512 bytes of buf */
void ide_ata_read_moved(IdeDrive *d);        /* pio_next of reads, and of writes */
void ide_ata_write_block(IdeDrive *d);
uint64_t ide_get_sector(const IdeDrive *d);
void ide_set_sector(IdeDrive *d, uint64_t sector);

/* ---- SMART and logs: ide_smart.c ---- */
extern const VmStateDesc vmstate_ide_smart;
void ide_smart_run(IdeDrive *d, uint8_t cmd);
void ide_smart_read_log(IdeDrive *d, uint8_t cmd);   /* READ LOG EXT, READ LOG DMA EXT */
void ide_smart_init(IdeDrive *d);
/* A command begins, with its registers; it failed with ERROR at LBA. */
void ide_smart_command(IdeDrive *d, const IdeTaskFile *tf, uint8_t command);
void ide_smart_error(IdeDrive *d, uint8_t error, uint64_t lba, unsigned count);
/* The drive is reset or goes away: what runs in the background ends. */
void ide_smart_reset(IdeDrive *d);
/* The VM runs again, and with it a test. */
void ide_smart_go_on(IdeDrive *d);

/* ---- ATAPI ---- */
void ide_atapi_command(IdeDrive *d);         /* the packet has come: pio_next of PACKET */
void ide_atapi_run(IdeDrive *d);             /* the one in d->packet */
void ide_atapi_reply_piece(IdeDrive *d);     /* pio_next of replies */
void ide_atapi_identify(IdeDrive *d);
void ide_atapi_medium_changed(IdeDrive *d, bool loaded);
void ide_atapi_eject_request(IdeDrive *d, bool force);
void ide_atapi_dma_failed(IdeDrive *d);

#endif
