/* SPDX-License-Identifier: MIT */
/*
 * Intel ICH9 SATA controller in AHCI mode ("ich9-ahci"): six ports.
 * Spec: [AHCI1.3.1], ICH9 data sheet (316972-004) chapter 15 for PCI, MSI and the index/data pair.
 * Not modelled: enclosure management, command completion coalescing, port multipliers, staggered spin-up,
 * power states, the IDE mode; CAP announces none of them.
 * Missing: plugging drives while the VM runs.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "hw/ide/ahci_int.h"
#include "vm/vm.h"

enum { MSI_CAP = 0x80, SATA_CAP = 0xa8, PCI_CAP_ID_SATA = 0x12, ICH9_MAP = 0x90, IDP_LEN = 32,
       IDP_INDEX = 0x10, IDP_DATA = 0x14 };

/* ---- interrupts  [10.6] ---- */

static uint32_t port_cause(const AhciPort *p)
{
    return (p->is | (p->serr & SERR_X ? IS_PC : 0)) & p->ie;
}

/* An MSI is an event, so it is sent again for what is new. */
static void update_irq(Ahci *s, bool event)
{
    bool level;

    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        s->is |= port_cause(&s->ports[i]) ? BIT(i) : 0;
    }
    level = s->is && (s->ghc & GHC_IE);
    if (msi_enabled(&s->pci)) {
        pci_set_irq(&s->pci, false);
        if (level && event) {
            msi_notify(&s->pci, 0);
        }
    } else {
        pci_set_irq(&s->pci, level);
    }
}

void ahci_raise(AhciPort *p, uint32_t bits)
{
    p->is |= bits;
    update_irq(p->ahci, port_cause(p));
}

static void ahci_sync(Device *dev)
{
    update_irq(DEVICE_CAST(Ahci, dev), false);
}

/* ---- the bottom half ---- */

void ahci_kick(Ahci *s)
{
    bh_schedule(s->bh);
}

static void reset_registers(Ahci *s)
{
    s->ghc = GHC_AE;
    s->is = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        AhciPort *p = &s->ports[i];

        p->is = p->ie = p->serr = p->sctl = 0;
        p->cmd = CMD_SUD | CMD_POD;
        ahci_port_reset(p);
    }
}

static void run_ports(void *opaque)
{
    Ahci *s = opaque;

    if (s->reset_due) {
        s->reset_due = false;
        reset_registers(s);
    }
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ahci_port_run(&s->ports[i]);
    }
    update_irq(s, false);
}

/* ---- port registers ---- */

static void cmd_write(AhciPort *p, uint32_t value)
{
    uint32_t was = p->cmd;

    p->cmd = (was & ~CMD_WRITABLE) | (value & CMD_WRITABLE);
    if (value & CMD_CLO) {
        p->tfd &= ~(ATA_BSY | ATA_DRQ);
    }
    if (p->cmd & CMD_FRE) {
        p->cmd |= CMD_FR;
        ahci_port_announce(p);
    } else {
        p->cmd &= ~CMD_FR;
    }
    if ((p->cmd & CMD_ST) && !(was & CMD_ST)) {
        p->cmd |= CMD_CR;
    } else if (!(p->cmd & CMD_ST) && (was & CMD_ST)) {
        p->stop_due = true;           /* CR falls when nothing is in flight any more */
        ahci_kick(p->ahci);
    }
}

static void sctl_write(AhciPort *p, uint32_t value)
{
    bool was = (p->sctl & SCTL_DET) == 1, is = (value & SCTL_DET) == 1;

    p->sctl = value & 0xfff;
    if (is) {
        p->ssts = 0;
    } else if (was) {
        p->reset_due = true;
        ahci_kick(p->ahci);
    }
}

static uint32_t port_read(const AhciPort *p, uint32_t reg)
{
    switch (reg) {
    case PX_CLB:
        return p->clb;
    case PX_CLBU:
        return p->clbu;
    case PX_FB:
        return p->fb;
    case PX_FBU:
        return p->fbu;
    case PX_IS:
        return p->is | (p->serr & SERR_X ? IS_PC : 0);
    case PX_IE:
        return p->ie;
    case PX_CMD:
        return p->cmd;
    case PX_TFD:
        return p->busy_slot >= 0 ? p->tfd | ATA_BSY : p->tfd;
    case PX_SIG:
        return p->sig;
    case PX_SSTS:
        return p->ssts;
    case PX_SCTL:
        return p->sctl;
    case PX_SERR:
        return p->serr;
    case PX_SACT:
        return p->sact;
    case PX_CI:
        return p->ci;
    default:
        return 0;
    }
}

static void port_write(AhciPort *p, uint32_t reg, uint32_t value)
{
    bool runs = (p->cmd & CMD_ST) && !p->stop_due;

    switch (reg) {
    case PX_CLB:
        p->clb = value & ~0x3ffu;
        break;
    case PX_CLBU:
        p->clbu = value;
        break;
    case PX_FB:
        p->fb = value & ~0xffu;
        break;
    case PX_FBU:
        p->fbu = value;
        break;
    case PX_IS:
        p->is &= ~value;
        break;
    case PX_IE:
        p->ie = value & IE_WRITABLE;
        break;
    case PX_CMD:
        cmd_write(p, value);
        break;
    case PX_SCTL:
        sctl_write(p, value);
        break;
    case PX_SERR:
        p->serr &= ~value;
        break;
    case PX_SACT:
        p->sact |= runs ? value : 0;
        break;
    case PX_CI:
        p->ci |= runs ? value : 0;
        ahci_kick(p->ahci);
        break;
    default:
        log_guest_error("ahci: port %u: write of 0x%x to read-only or unknown register 0x%x\n",
                        p->number, value, reg);
    }
    update_irq(p->ahci, reg == PX_IE);
}

/* ---- the HBA's ---- */

static uint64_t mem_read(void *opaque, uint64_t offset, unsigned size)
{
    Ahci *s = opaque;
    uint64_t port = (offset - AHCI_PORT_BASE) / AHCI_PORT_LEN;

    if (offset >= AHCI_PORT_BASE) {
        return port < AHCI_PORTS ? port_read(&s->ports[port], offset % AHCI_PORT_LEN) : 0;
    }
    switch (offset) {
    case REG_CAP:
        return s->cap;
    case REG_GHC:
        return s->ghc;
    case REG_IS:
        return s->is;
    case REG_PI:
        return s->impl;
    case REG_VS:
        return s->version;
    default:
        return 0;
    }
}

static void mem_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ahci *s = opaque;
    uint64_t port = (offset - AHCI_PORT_BASE) / AHCI_PORT_LEN;

    if (offset >= AHCI_PORT_BASE) {
        if (port < AHCI_PORTS) {
            port_write(&s->ports[port], offset % AHCI_PORT_LEN, (uint32_t)value);
        }
        return;
    }
    switch (offset) {
    case REG_GHC:
        s->ghc = GHC_AE | (value & (GHC_HR | GHC_IE));
        if (value & GHC_HR) {
            s->reset_due = true;      /* the bit falls when the reset is over */
            ahci_kick(s);
        }
        update_irq(s, true);
        break;
    case REG_IS:
        s->is &= ~(uint32_t)value;
        update_irq(s, s->is != 0);
        break;
    default:
        log_guest_error("ahci: write of 0x%x to read-only or unknown register 0x%x\n",
                        (unsigned)value, (unsigned)offset);
    }
}

/* Smaller accesses come as the whole register, as drivers for bytes of PxCMD expect. */
static const MmioOps mem_ops = { mem_read, mem_write, .valid_min = 1, .valid_max = 8, .impl_min = 4,
                                 .impl_max = 4 };

/* Index and data in ports.  [ICH9 15.2] */
static uint64_t idp_read(void *opaque, uint64_t offset, unsigned size)
{
    Ahci *s = opaque;

    return offset == IDP_INDEX ? s->idp_index : offset == IDP_DATA ? mem_read(s, s->idp_index, 4) : 0;
}

static void idp_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ahci *s = opaque;

    if (offset == IDP_INDEX) {
        s->idp_index = (uint32_t)value & (AHCI_MEM_LEN - 4);
    } else if (offset == IDP_DATA) {
        mem_write(s, s->idp_index, value, 4);
    }
}

static const MmioOps idp_ops = { idp_read, idp_write, .valid_min = 4, .valid_max = 4, .impl_min = 4,
                                 .impl_max = 4 };

/* ---- life cycle ---- */

static void state_changed(void *opaque, bool running, RunState state)
{
    Ahci *s = opaque;

    for (unsigned i = 0; running && i < AHCI_PORTS; i++) {
        ahci_ncq_again(&s->ports[i]);
    }
    if (running) {
        ahci_kick(s);                 /* a loaded VM's commands */
    }
}

static void ahci_reset_enter(Device *dev)
{
    Ahci *s = DEVICE_CAST(Ahci, dev);

    s->reset_due = false;
    reset_registers(s);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        AhciPort *p = &s->ports[i];

        p->clb = p->clbu = p->fb = p->fbu = 0;
    }
    s->idp_index = 0;
}

static bool ahci_realize(Device *dev, GError **error)
{
    Ahci *s = DEVICE_CAST(Ahci, dev);
    uint8_t cap;

    s->cap = AHCI_CAP | (AHCI_PORTS - 1);
    s->impl = BIT(AHCI_PORTS) - 1;
    s->version = AHCI_VERSION;
    s->ports_wire = AHCI_PORTS;
    s->pci.config[ICH9_MAP] = 1 << 6;             /* AHCI mode */
    cap = pci_add_capability(&s->pci, PCI_CAP_ID_SATA, SATA_CAP, 8, error);
    if (!cap || !msi_init(&s->pci, MSI_CAP, 1, true, false, error)) {
        return false;
    }
    le32_store(s->pci.config + cap, 0x00100012);  /* revision 1.0; the last of the list */
    le32_store(s->pci.config + cap + 4, (IDP_INDEX / 4) << 4 | 8);        /* in BAR 4 */
    s->bh = bh_new(event_loop_main(), run_ports, s);
    memory_region_init_io(&s->mem, OBJECT(dev), "ahci", &mem_ops, s, AHCI_MEM_LEN);
    memory_region_init_io(&s->idp, OBJECT(dev), "ahci-idp", &idp_ops, s, IDP_LEN);
    pci_register_bar(&s->pci, 4, PCI_BASE_ADDRESS_SPACE_IO, &s->idp);
    pci_register_bar(&s->pci, 5, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mem);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        AhciPort *p = &s->ports[i];

        p->ahci = s;
        p->number = i;
        p->busy_slot = -1;
        ide_bus_init(&p->bus, dev, NULL, &ahci_host, p);
        p->bus.first_serial = 5 + 2 * i;
        for (unsigned t = 0; t < AHCI_SLOTS; t++) {
            p->ncq[t].port = p;
        }
    }
    vm_add_state_hook(dev->vm, state_changed, s);
    return true;
}

static void ahci_unrealize(Device *dev)
{
    Ahci *s = DEVICE_CAST(Ahci, dev);

    vm_del_state_hook(dev->vm, state_changed, s);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        s->ports[i].cmd = 0;
        ahci_port_stop(&s->ports[i]);
        ide_bus_clear(&s->ports[i].bus);
    }
    g_clear_pointer(&s->bh, bh_free);
}

/* ---- state: QEMU's "ich9_ahci" ---- */

static bool ahci_post_load(void *obj, int version, GError **error)
{
    Ahci *s = obj;

    if (s->ports_wire != AHCI_PORTS) {
        return error_set(error, "ahci: the state has %u ports, this controller %u", s->ports_wire,
                         AHCI_PORTS);
    }
    s->cap = AHCI_CAP | (AHCI_PORTS - 1);
    s->impl = BIT(AHCI_PORTS) - 1;
    s->version = AHCI_VERSION;
    s->ghc = GHC_AE | (s->ghc & GHC_IE);
    s->idp_index &= AHCI_MEM_LEN - 4;
    s->reset_due = false;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        AhciPort *p = &s->ports[i];

        if (p->busy_slot < -1 || p->busy_slot >= AHCI_SLOTS) {
            return error_set(error, "ahci: port %u has busy_slot %d, there are %u", i, p->busy_slot,
                             AHCI_SLOTS);
        }
        if (!ide_bus_loaded(&p->bus, error)) {
            return false;
        }
        p->bus.unit = 0;
        ahci_port_loaded(p);
    }
    return true;
}

/* clang-format off */
static const VmField ncq_fields[] = {
    VMS_U32(AhciNcq, sector_count), VMS_U64(AhciNcq, lba), VMS_U8(AhciNcq, tag), VMS_U8(AhciNcq, cmd),
    VMS_U8(AhciNcq, slot), VMS_BOOL(AhciNcq, used), VMS_BOOL(AhciNcq, halt), VMS_END
};
static const VmStateDesc vmstate_ncq = { .name = "ncq state", .version = 1, .fields = ncq_fields };

static const VmField port_fields[] = {
    VMS_STRUCT(AhciPort, bus, &vmstate_ide_bus, .wire = "port", .version = 1),
    VMS_STRUCT(AhciPort, bus.drives[0], &vmstate_ide_drive, .wire = "port.ifs[0]", .version = 1),
    VMS_U32(AhciPort, in_reset, .wire = "port_state"),
    VMS_I32(AhciPort, finished_wire, .wire = "finished"),
    VMS_U32(AhciPort, clb, .wire = "port_regs.lst_addr"),
    VMS_U32(AhciPort, clbu, .wire = "port_regs.lst_addr_hi"),
    VMS_U32(AhciPort, fb, .wire = "port_regs.fis_addr"),
    VMS_U32(AhciPort, fbu, .wire = "port_regs.fis_addr_hi"),
    VMS_U32(AhciPort, is, .wire = "port_regs.irq_stat"),
    VMS_U32(AhciPort, ie, .wire = "port_regs.irq_mask"),
    VMS_U32(AhciPort, cmd, .wire = "port_regs.cmd"),
    VMS_U32(AhciPort, tfd, .wire = "port_regs.tfdata"),
    VMS_U32(AhciPort, sig, .wire = "port_regs.sig"),
    VMS_U32(AhciPort, ssts, .wire = "port_regs.scr_stat"),
    VMS_U32(AhciPort, sctl, .wire = "port_regs.scr_ctl"),
    VMS_U32(AhciPort, serr, .wire = "port_regs.scr_err"),
    VMS_U32(AhciPort, sact, .wire = "port_regs.scr_act"),
    VMS_U32(AhciPort, ci, .wire = "port_regs.cmd_issue"),
    VMS_BOOL(AhciPort, drq_wire, .wire = "done_first_drq"),
    VMS_I32(AhciPort, busy_slot),
    VMS_BOOL(AhciPort, init_d2h_sent),
    VMS_STRUCT_ARRAY(AhciPort, ncq, &vmstate_ncq, .wire = "ncq_tfs", .version = 1),
    VMS_END
};
static const VmStateDesc vmstate_port = { .name = "ahci port", .version = 1, .fields = port_fields };

static const VmField core_fields[] = {
    VMS_STRUCT_ARRAY(Ahci, ports, &vmstate_port, .wire = "dev"),
    VMS_U32(Ahci, cap, .wire = "control_regs.cap"),
    VMS_U32(Ahci, ghc, .wire = "control_regs.ghc"),
    VMS_U32(Ahci, is, .wire = "control_regs.irqstatus"),
    VMS_U32(Ahci, impl, .wire = "control_regs.impl"),
    VMS_U32(Ahci, version, .wire = "control_regs.version"),
    VMS_U32(Ahci, idp_index),
    VMS_U32(Ahci, ports_wire, .wire = "ports"),
    VMS_END
};
static const VmStateDesc vmstate_core = { .name = "ahci", .version = 1, .fields = core_fields };

static const VmField ich9_fields[] = {
    VMS_PCI_DEVICE(Ahci, pci),
    { .name = "ahci", .kind = VM_STRUCT, .size = sizeof(Ahci), .desc = &vmstate_core },
    VMS_END
};
/* clang-format on */

static const PciInfo ich9_ahci_info = {
    .vendor_id = PCI_VENDOR_INTEL,
    .device_id = 0x2922,
    .revision = 2,
    .class_id = PCI_CLASS_STORAGE_SATA,
    .prog_if = 1,
    .interrupt_pin = 1,
};

DEVICE_TYPE(ich9_ahci, .name = "ich9-ahci", .parent = "pci-device", .size = sizeof(Ahci),
            .desc = "SATA controller of ICH9, AHCI", .bus = &bus_pci, .bus_info = &ich9_ahci_info,
            .category = DEVICE_CATEGORY_STORAGE, .user_creatable = true, .realize = ahci_realize,
            .unrealize = ahci_unrealize, .reset_enter = ahci_reset_enter, .sync = ahci_sync,
            .vmstate = VMSTATE("ich9_ahci", 1, 0, ich9_fields, .post_load = ahci_post_load));
