/* SPDX-License-Identifier: MIT */
/*
 * Native command queuing: READ and WRITE FPDMA QUEUED.
 * Spec: [SATA3 13.6], [ACS-2 4.15, 7.26, 7.63], [AHCI1.3.1 5.6.4].
 * Not modelled: DMA Setup FISes (the data simply arrives), priorities, NCQ NON-DATA and SEND/RECEIVE FPDMA,
 * which IDENTIFY does not announce and which are aborted.
 * Locking: machine lock.
 */
#include "hw/ide/ahci_int.h"

enum { FPDMA_READ = 0x60, FPDMA_WRITE = 0x61, FPDMA_LAST = 0x65 };

bool ahci_is_queued(const IdeDrive *d, uint8_t command)
{
    return d->kind == IDE_KIND_DISK && command >= FPDMA_READ && command <= FPDMA_LAST;
}

bool ahci_ncq_busy(const AhciPort *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        if (p->ncq[i].used) {
            return true;
        }
    }
    return false;
}

static void ncq_free(AhciNcq *q)
{
    if (q->mapped) {
        dma_sg_unmap(&q->sg);
    }
    q->mapped = q->used = q->halt = q->dead = false;
    q->aio = NULL;
}

/* SACT is a word of the FIS: one bit for each tag that is done. */
static void post_sdb(AhciPort *p, uint8_t status, uint8_t error, uint32_t done)
{
    uint8_t fis[8] = { FIS_SDB, FIS_I, status, error };

    le32_store(fis + 4, done);
    p->tfd = (p->tfd & 0x88) | (status & 0x77) | (uint32_t)error << 8;
    if (ahci_fis_post(p, RX_SDB, fis, sizeof(fis))) {
        p->sact &= ~done;
        if (!(status & ATA_ERR)) {
            ahci_raise(p, IS_SDB);
        }
    }
}

/* The first error is what the log page tells of; the device then aborts all others.  [ACS-2 4.15.3] */
static void ncq_failed(AhciNcq *q, uint8_t error)
{
    AhciPort *p = q->port;
    IdeDrive *d = ahci_drive(p);
    uint8_t *log = d->ncq_error;

    memset(log, 0, sizeof(d->ncq_error));
    log[0] = q->tag;
    log[2] = ATA_DRDY | ATA_ERR;
    log[3] = error;
    for (unsigned i = 0; i < 3; i++) {
        log[4 + i] = q->lba >> (8 * i);
        log[8 + i] = q->lba >> (24 + 8 * i);
    }
    log[7] = ATA_LBA;
    le16_store(log + 12, (uint16_t)q->sector_count);
    if (error != ATA_ABRT) {
        ide_smart_error(d, error, q->lba, (uint16_t)q->sector_count);
    }
    ncq_free(q);
    d->tf.status = ATA_DRDY | ATA_ERR;
    d->tf.error = error;
    post_sdb(p, d->tf.status, error, 0);
    ahci_ncq_cancel(p);
    ahci_port_halt(p, IS_SDB | IS_TFE);
}

static void ncq_submit(AhciNcq *q);

static void ncq_done(void *opaque, int ret)
{
    AhciNcq *q = opaque;
    AhciPort *p = q->port;
    bool is_read = q->cmd == FPDMA_READ;

    q->aio = NULL;
    if (q->dead) {
        ncq_free(q);
        ahci_kick(p->ahci);
        return;
    }
    if (ret < 0) {
        switch (blk_handle_error(ahci_drive(p)->blk, is_read, -ret)) {
        case BLK_ERROR_STOP:
            q->halt = true;
            return;
        case BLK_ERROR_REPORT:
            ncq_failed(q, ATA_UNC);
            ahci_kick(p->ahci);
            return;
        case BLK_ERROR_IGNORE:
            break;
        }
    }
    ncq_free(q);
    post_sdb(p, ATA_DRDY | ATA_DSC, 0, BIT(q->tag));
    ahci_kick(p->ahci);
}

static void ncq_submit(AhciNcq *q)
{
    BlockBackend *blk = ahci_drive(q->port)->blk;
    const struct iovec *iov = (const struct iovec *)(void *)q->sg.iov->data;
    int count = (int)q->sg.iov->len;

    q->aio = q->cmd == FPDMA_READ
                 ? blk_aio_preadv(blk, q->lba * IDE_SECTOR, iov, count, ncq_done, q)
                 : blk_aio_pwritev(blk, q->lba * IDE_SECTOR, iov, count, q->fua ? BLK_REQ_FUA : 0,
                                   ncq_done, q);
}

/* Maps the table of the command's slot; false: it is unusable or too short. */
static bool ncq_map(AhciNcq *q)
{
    AhciPort *p = q->port;
    uint8_t header[AHCI_HEADER_LEN];
    uint32_t bytes = q->sector_count * IDE_SECTOR;
    gpa_t list = p->clb | (gpa_t)p->clbu << 32;

    if (!dma_read(&p->ahci->pci.dev, list + q->slot * AHCI_HEADER_LEN, header, sizeof(header)) ||
        !ahci_prd_begin(p, (le64_load(header + 8) & ~0x7full), le32_load(header) >> 16)) {
        return false;
    }
    dma_sg_init(&q->sg, &p->ahci->pci.dev, q->cmd == FPDMA_READ);
    q->sg.ram_only = true;
    q->mapped = true;
    return ahci_prd_add(p, &q->sg, bytes) == bytes;
}

static void ncq_begin(AhciNcq *q)
{
    if (!ncq_map(q)) {
        log_guest_error("ahci: port %u: command table of slot %u does not hold %u sectors of RAM\n",
                        q->port->number, q->slot, q->sector_count);
        q->sg.to_memory = false;          /* nothing was written */
        ncq_failed(q, ATA_ABRT);
        q->port->is |= IS_OF;
        return;
    }
    ncq_submit(q);
}

void ahci_ncq_start(AhciPort *p, unsigned slot, const uint8_t *fis)
{
    IdeDrive *d = ahci_drive(p);
    uint8_t tag = fis[12] >> 3, accepted[20] = { FIS_D2H, 0, ATA_DRDY | ATA_DSC };
    AhciNcq *q = &p->ncq[tag];

    p->ci &= ~BIT(slot);
    if (q->used) {
        log_guest_error("ahci: port %u: tag %u is used by two commands\n", p->number, tag);
        ahci_ncq_cancel(p);
        ahci_port_halt(p, IS_TFE);
        return;
    }
    *q = (AhciNcq){ .port = p, .used = true, .tag = tag, .cmd = fis[2], .slot = (uint8_t)slot };
    q->sector_count = (fis[3] | fis[11] << 8) ?: 65536;
    q->lba = fis[4] | fis[5] << 8 | (uint64_t)fis[6] << 16 | (uint64_t)fis[8] << 24 |
             (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
    q->fua = fis[7] & 0x80;
    ide_smart_command(d, &(IdeTaskFile){ .feature = fis[3], .nsector = fis[12], .sector = fis[4],
                                         .lcyl = fis[5], .hcyl = fis[6], .select = fis[7] }, q->cmd);
    d->tf.status = ATA_DRDY | ATA_DSC;
    memcpy(accepted + 4, fis + 4, 4);
    accepted[12] = fis[12];
    p->tfd = d->tf.status;
    if (!ahci_fis_post(p, RX_D2H, accepted, sizeof(accepted))) {
        ncq_free(q);
        return;
    }
    if (q->cmd > FPDMA_WRITE || (q->cmd == FPDMA_WRITE && !blk_is_writable(d->blk))) {
        ncq_failed(q, ATA_ABRT);
    } else if (q->lba >= d->nb_sectors || q->sector_count > d->nb_sectors - q->lba) {
        ncq_failed(q, ATA_IDNF);
    } else {
        ncq_begin(q);
    }
}

void ahci_ncq_cancel(AhciPort *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        AhciNcq *q = &p->ncq[i];

        if (q->used && q->aio) {
            q->dead = true;
            blk_aio_cancel(q->aio);
        } else if (q->used) {
            ncq_free(q);
        }
    }
}

void ahci_ncq_again(AhciPort *p)
{
    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        AhciNcq *q = &p->ncq[i];

        if (q->used && q->halt) {
            q->halt = false;
            if (q->mapped) {
                ncq_submit(q);
            } else {
                ncq_begin(q);             /* loaded */
            }
        }
    }
}

/* Whatever was under way is begun again when the VM runs: reads and writes of the same data. */
void ahci_ncq_loaded(AhciPort *p)
{
    const IdeDrive *d = ahci_drive(p);

    for (unsigned i = 0; i < AHCI_SLOTS; i++) {
        AhciNcq *q = &p->ncq[i];

        q->port = p;
        q->halt = q->used;
        if (q->used && (d->kind != IDE_KIND_DISK || q->tag != i || q->slot >= AHCI_SLOTS ||
                        q->cmd > FPDMA_WRITE || q->cmd < FPDMA_READ || q->sector_count - 1 > 65535 ||
                        q->lba >= d->nb_sectors || q->sector_count > d->nb_sectors - q->lba)) {
            q->used = q->halt = false;
        }
    }
}
