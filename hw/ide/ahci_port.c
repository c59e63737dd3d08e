/* SPDX-License-Identifier: MIT */
/*
 * A port of the AHCI controller: command list, FISes, data of ordinary commands.
 * Spec: [AHCI1.3.1 4.2, 5, 6.2, 10.4], [SATA3 10.3].
 * Not modelled: port multipliers, BIST, vendor FISes (logged and dropped); link power states.
 * Locking: machine lock.
 */
#include "hw/ide/ahci_int.h"

/* ---- memory ---- */

static gpa_t list_addr(const AhciPort *p)
{
    return p->clb | (gpa_t)p->clbu << 32;
}

void ahci_port_halt(AhciPort *p, uint32_t is_bits)
{
    p->halted = true;
    ahci_raise(p, is_bits);
}

static void host_bus_fatal(AhciPort *p, const char *what)
{
    log_guest_error("ahci: port %u: %s is not in memory\n", p->number, what);
    ahci_port_halt(p, IS_HBF);
}

bool ahci_fis_post(AhciPort *p, unsigned where, const uint8_t *fis, unsigned len)
{
    if (!(p->cmd & CMD_FRE)) {
        return true;                  /* it stays with the HBA */
    }
    if (!dma_write(&p->ahci->pci.dev, (p->fb | (gpa_t)p->fbu << 32) + where, fis, len)) {
        host_bus_fatal(p, "the received FIS area");
        return false;
    }
    return true;
}

/* The registers of the task file as bytes 2 to 13 of a device-to-host FIS. */
static void put_task_file(uint8_t *fis, const IdeTaskFile *tf)
{
    const uint8_t bytes[] = { tf->status, tf->error, tf->sector, tf->lcyl, tf->hcyl, tf->select,
                              tf->hob_sector, tf->hob_lcyl, tf->hob_hcyl, 0, tf->nsector,
                              tf->hob_nsector };

    memcpy(fis + 2, bytes, sizeof(bytes));
}

static bool post_d2h(AhciPort *p)
{
    const IdeTaskFile *tf = &ahci_drive(p)->tf;
    uint8_t fis[20] = { FIS_D2H, FIS_I };

    put_task_file(fis, tf);
    p->tfd = tf->status | (uint32_t)tf->error << 8;
    return ahci_fis_post(p, RX_D2H, fis, sizeof(fis));
}

static bool post_pio_setup(AhciPort *p, uint32_t len, bool to_device, bool packet)
{
    const IdeTaskFile *tf = &ahci_drive(p)->tf;
    uint8_t fis[20] = { FIS_PIO, packet ? 0 : FIS_I | (to_device ? 0 : FIS_D) };

    put_task_file(fis, tf);
    fis[15] = tf->status;             /* E_Status: at the end of the transfer */
    le16_store(fis + 16, (uint16_t)len);
    p->tfd = tf->status | (uint32_t)tf->error << 8;
    return ahci_fis_post(p, RX_PIO, fis, sizeof(fis));
}

void ahci_port_announce(AhciPort *p)
{
    IdeDrive *d = ahci_drive(p);
    uint8_t fis[20] = { FIS_D2H, 0 };

    if (p->init_d2h_sent || !(p->cmd & CMD_FRE) || d->kind == IDE_KIND_NONE || p->ssts != SSTS_READY) {
        return;
    }
    p->init_d2h_sent = true;
    put_task_file(fis, &d->tf);
    p->tfd = d->tf.status | (uint32_t)d->tf.error << 8;
    p->sig = (uint32_t)d->tf.hcyl << 24 | (uint32_t)d->tf.lcyl << 16 | (uint32_t)d->tf.sector << 8 |
             d->tf.nsector;
    ahci_fis_post(p, RX_D2H, fis, sizeof(fis));
}

/* ---- the physical region descriptor table  [4.2.3.3] ---- */

bool ahci_prd_begin(AhciPort *p, gpa_t table, uint32_t prds)
{
    p->table = table;
    p->prds = prds;
    p->prd_index = p->prd_left = p->moved = 0;
    p->prd_interrupt = p->overflow = false;
    return true;
}

static bool next_prd(AhciPort *p)
{
    uint8_t prd[AHCI_PRD_LEN];
    uint32_t dw3;

    if (p->prd_index >= p->prds ||
        !dma_read(&p->ahci->pci.dev, p->table + AHCI_PRDT + (gpa_t)p->prd_index * AHCI_PRD_LEN, prd,
                  sizeof(prd))) {
        return false;
    }
    dw3 = le32_load(prd + 12);
    p->prd_index++;
    p->prd_addr = le64_load(prd) & ~1ull;
    p->prd_left = (dw3 & 0x3fffff) + 1;
    p->prd_interrupt |= dw3 >> 31;
    return true;
}

uint32_t ahci_prd_add(AhciPort *p, DmaSg *sg, uint32_t len)
{
    uint32_t added = 0;

    while (added < len) {
        uint32_t n;

        if (!p->prd_left && !next_prd(p)) {
            p->overflow = true;
            break;
        }
        n = MIN(p->prd_left, len - added);
        if (!dma_sg_add(sg, p->prd_addr, n)) {
            return 0;
        }
        p->prd_addr += n;
        p->prd_left -= n;
        added += n;
    }
    return added;
}

/* ---- what the drive asks of its host ---- */

static void host_dma_prepare(IdeBus *bus)
{
    ide_dma_start(bus);
}

static uint32_t host_dma_add(IdeBus *bus, DmaSg *sg, uint32_t len)
{
    AhciPort *p = bus->host_opaque;
    uint32_t added = ahci_prd_add(p, sg, len);

    p->moved += added;
    return added;
}

static void host_dma_done(IdeBus *bus, bool error)
{
}

static void host_command_done(IdeBus *bus)
{
    AhciPort *p = bus->host_opaque;
    const IdeTaskFile *tf = &ahci_drive(p)->tf;
    uint32_t slot = (uint32_t)p->busy_slot, is = IS_DHR;

    if (p->busy_slot < 0 || (tf->status & (ATA_BSY | ATA_DRQ))) {
        return;
    }
    p->busy_slot = -1;
    p->pio_due = false;
    dma_store(&p->ahci->pci.dev, list_addr(p) + slot * AHCI_HEADER_LEN + 4, p->moved, 4);
    if (!post_d2h(p)) {
        return;
    }
    is |= (p->prd_interrupt ? IS_DP : 0) | (p->overflow ? IS_OF : 0);
    if (tf->status & ATA_ERR) {
        ahci_port_halt(p, is | IS_TFE);
        return;
    }
    p->ci &= ~BIT(slot);
    ahci_raise(p, is);
    ahci_kick(p->ahci);
}

static void host_pio_ready(IdeBus *bus)
{
    AhciPort *p = bus->host_opaque;

    p->pio_due = true;
    ahci_kick(p->ahci);
}

const IdeHostOps ahci_host = {
    .dma_prepare = host_dma_prepare,
    .dma_add = host_dma_add,
    .dma_done = host_dma_done,
    .command_done = host_command_done,
    .pio_ready = host_pio_ready,
    .ncq_depth = AHCI_SLOTS,
    .drives = 1,
};

/* ---- PIO: the drive's buffer to or from the table  [5.3.5, 5.3.6] ---- */

static void move_pio(AhciPort *p, uint8_t *buf, uint32_t len, bool to_device)
{
    DmaSg sg;
    uint32_t done = 0;

    dma_sg_init(&sg, &p->ahci->pci.dev, !to_device);
    p->moved += ahci_prd_add(p, &sg, len);
    for (unsigned i = 0; i < sg.iov->len; i++) {
        const struct iovec *iov = &g_array_index(sg.iov, struct iovec, i);

        memcpy(to_device ? (void *)(buf + done) : iov->iov_base,
               to_device ? iov->iov_base : (void *)(buf + done), iov->iov_len);
        done += iov->iov_len;
    }
    if (to_device && done < len) {
        memset(buf + done, 0, len - done);        /* the table ends before the sectors do */
    }
    dma_sg_unmap(&sg);
}

static void pio_phase(AhciPort *p)
{
    IdeDrive *d = ahci_drive(p);
    uint32_t len = d->pio_end - d->pio_pos;
    bool packet = d->pio_next == ide_atapi_command;

    p->pio_due = false;
    if (p->busy_slot < 0 || !(d->tf.status & ATA_DRQ)) {
        return;
    }
    if (!post_pio_setup(p, len, d->pio_to_device, packet)) {
        return;
    }
    if (packet) {
        if (!dma_read(&p->ahci->pci.dev, p->table + AHCI_ACMD, d->buf + d->pio_pos, len)) {
            host_bus_fatal(p, "a packet");
            return;
        }
    } else {
        move_pio(p, d->buf + d->pio_pos, len, d->pio_to_device);
        ahci_raise(p, IS_PS);
    }
    ide_pio_end(&p->bus);
    host_command_done(&p->bus);       /* reads end without the drive's saying so */
}

/* ---- commands ---- */

/* A FIS without the C bit writes the device control register.  [SATA3 11.3] */
static void control_fis(AhciPort *p, unsigned slot, const uint8_t *fis)
{
    bool reset = fis[15] & ATA_SRST;

    p->ci &= ~BIT(slot);
    ide_control_write(&p->bus, fis[15] & (ATA_SRST | ATA_NIEN));
    if (!reset && p->in_reset) {
        p->sig = 0xffffffff;
        p->init_d2h_sent = false;
        ahci_port_announce(p);
        ahci_raise(p, IS_DHR);
    } else if (reset) {
        p->tfd = ahci_drive(p)->tf.status | 0x100;
    }
    p->in_reset = reset;
}

static void ordinary_command(AhciPort *p, unsigned slot, const uint8_t *fis)
{
    IdeDrive *d = ahci_drive(p);
    IdeTaskFile *tf = &d->tf;

    d->tf.status &= ~(ATA_BSY | ATA_DRQ);
    tf->feature = fis[3];
    tf->sector = fis[4];
    tf->lcyl = fis[5];
    tf->hcyl = fis[6];
    tf->select = (fis[7] & ~ATA_DEV) | 0xa0;
    tf->hob_sector = fis[8];
    tf->hob_lcyl = fis[9];
    tf->hob_hcyl = fis[10];
    tf->hob_feature = fis[11];
    tf->nsector = fis[12];
    tf->hob_nsector = fis[13];
    p->busy_slot = (int32_t)slot;
    ide_reg_write(&p->bus, 7, fis[2]);
    host_command_done(&p->bus);       /* DEVICE RESET and others that end at once */
}

static void start_slot(AhciPort *p, unsigned slot)
{
    Device *dev = &p->ahci->pci.dev;
    uint8_t header[AHCI_HEADER_LEN], fis[64];
    uint32_t dw0;
    gpa_t table;

    p->last_slot = slot;
    p->cmd = (p->cmd & ~CMD_CCS) | slot << 8;
    if (!dma_read(dev, list_addr(p) + slot * AHCI_HEADER_LEN, header, sizeof(header))) {
        host_bus_fatal(p, "the command list");
        return;
    }
    dw0 = le32_load(header);
    table = le64_load(header + 8) & ~0x7full;
    if (!dma_read(dev, table, fis, sizeof(fis))) {
        host_bus_fatal(p, "a command table");
        return;
    }
    if (fis[0] != FIS_H2D || (dw0 & HDR_CFL) < 2 || (fis[1] & 0x0f)) {
        log_guest_error("ahci: port %u slot %u: FIS of type 0x%02x, %u words, for port multiplier port %u\n",
                        p->number, slot, fis[0], dw0 & HDR_CFL, fis[1] & 0x0f);
        p->ci &= ~BIT(slot);
        return;
    }
    ahci_prd_begin(p, table, dw0 >> 16);
    if (!(fis[1] & 0x80)) {
        control_fis(p, slot, fis);
    } else if (ahci_is_queued(ahci_drive(p), fis[2])) {
        ahci_ncq_start(p, slot, fis);
    } else {
        ordinary_command(p, slot, fis);
    }
}

/* An ordinary command waits until the queue is empty, and a queued one for the ordinary one. */
static bool may_start(AhciPort *p, unsigned slot)
{
    return (p->sact & BIT(slot)) || !ahci_ncq_busy(p);
}

static void start_commands(AhciPort *p)
{
    for (unsigned i = 1; i <= AHCI_SLOTS; i++) {
        unsigned slot = (p->last_slot + i) % AHCI_SLOTS;

        if (!(p->cmd & CMD_ST) || p->halted || p->busy_slot >= 0 || p->stop_due || p->reset_due) {
            return;
        }
        if ((p->ci & BIT(slot)) && may_start(p, slot)) {
            start_slot(p, slot);
            i = p->busy_slot >= 0 ? AHCI_SLOTS : i;
        }
    }
}

/* ---- stop and reset ---- */

void ahci_port_stop(AhciPort *p)
{
    IdeDrive *d = ahci_drive(p);

    p->busy_slot = -1;                /* whatever ends now has nobody to tell */
    ahci_ncq_cancel(p);
    if (d->blk && ahci_ncq_busy(p)) {
        blk_drain(d->blk);
    }
    if (d->kind != IDE_KIND_NONE && ((d->tf.status & (ATA_BSY | ATA_DRQ)) || d->request || d->retry)) {
        ide_drive_reset(d);
        p->tfd = d->tf.status;
    }
    p->stop_due = p->pio_due = p->halted = false;
    if (!(p->cmd & CMD_ST)) {
        p->cmd &= ~(CMD_CR | CMD_CCS);
        p->ci = p->sact = 0;
    }
}

/* COMRESET: the device answers with COMINIT and, later, its signature.  [10.4.2] */
void ahci_port_reset(AhciPort *p)
{
    IdeDrive *d = ahci_drive(p);
    bool there = d->kind != IDE_KIND_NONE;

    ahci_port_stop(p);
    ide_bus_reset(&p->bus);
    if (there) {
        ide_drive_reset(d);
        memset(d->ncq_error, 0, sizeof(d->ncq_error));
        d->ncq_error[0] = 0x80;
    }
    p->reset_due = false;
    p->ci = p->sact = 0;
    p->in_reset = 0;
    p->sig = 0xffffffff;
    p->tfd = 0x7f;
    p->ssts = there ? SSTS_READY : 0;
    p->init_d2h_sent = false;
    ahci_port_announce(p);
}

void ahci_port_run(AhciPort *p)
{
    if (p->in_run) {
        p->again = true;              /* a wait for the block layer runs the main loop */
        return;
    }
    p->in_run = true;
    do {
        p->again = false;
        if (p->reset_due) {
            ahci_port_reset(p);
            if (p->ssts) {
                p->serr |= SERR_X;
                ahci_raise(p, 0);
            }
        }
        if (p->stop_due) {
            ahci_port_stop(p);
        }
        while (p->pio_due) {
            pio_phase(p);
        }
        if (ahci_drive(p)->kind != IDE_KIND_NONE && p->ssts == SSTS_READY) {
            start_commands(p);
        }
    } while (p->again || p->pio_due);
    p->in_run = false;
}

/* The wire has the command that was running by its slot: it is still in PxCI, and begins again. */
void ahci_port_loaded(AhciPort *p)
{
    IdeDrive *d = ahci_drive(p);

    if (p->busy_slot >= 0 && d->kind != IDE_KIND_NONE) {
        ide_drive_reset(d);
        p->ci |= BIT(p->busy_slot);
        p->busy_slot = -1;
    }
    p->halted = (p->cmd & CMD_ST) && (p->tfd & ATA_ERR);
    p->stop_due = p->reset_due = p->pio_due = false;
    ahci_ncq_loaded(p);
}
