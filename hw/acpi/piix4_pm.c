/* SPDX-License-Identifier: MIT */
/*
 * Intel 82371AB (PIIX4) function 3: power management and SMBus host.
 * Spec: 82371AB data sheet (290562-001), chapter 7; register names are the sheet's.
 * Not modelled: device activity monitors, clock control, GPIO (plain storage).
 * Missing: the SMBus host's interrupts, its slave side and process calls: a driver that polls works.
 * Locking: machine lock.
 */
#include "hw/acpi/piix4_pm.h"

#include "base/error.h"
#include "hw/acpi/acpi_pm.h"
#include "hw/i2c/smbus.h"
#include "hw/trace.h"
#include "vm/vm.h"

enum { REG_PMBASE = 0x40, REG_DEVACTB = 0x58, REG_PMREGMISC = 0x80, REG_SMBBA = 0x90,
       REG_SMBHSTCFG = 0xd2 };
enum { DEVACTB_APMC_EN = BIT(25), PMREGMISC_PMIOSE = BIT(0), SMBHSTCFG_HST_EN = BIT(0) };
enum { PM_IO_LEN = 64, SMB_IO_LEN = 64 };
/* SMBus registers, offsets from SMBBA: 7.3 */
enum { SMBHSTSTS = 0, SMBHSTCNT = 2, SMBHSTCMD = 3, SMBHSTADD = 4, SMBHSTDAT0 = 5,
       SMBHSTDAT1 = 6, SMBBLKDAT = 7 };
enum { SMBHSTSTS_HOST_BUSY = BIT(0), SMBHSTSTS_INTER = BIT(1), SMBHSTSTS_DEV_ERR = BIT(2),
       SMBHSTSTS_FAILED = BIT(4) };
enum { SMBHSTCNT_KILL = BIT(1), SMBHSTCNT_PROTOCOL = 7 << 2, SMBHSTCNT_START = BIT(6) };
enum { SMB_QUICK, SMB_BYTE, SMB_BYTE_DATA, SMB_WORD_DATA, SMB_BLOCK = 5 };
enum { SPD_FIRST = 0x50, SPD_COUNT = 8 };

/* The fields of QEMU's "pmsmb" section. */
typedef struct SmbusHost {
    uint8_t stat, ctl, cmd, addr, data0, data1;
    uint32_t index;
    uint8_t data[32];
    uint8_t auxctl, blkdata;
    bool i2c_enable, op_done, in_i2c_block_read, start_transaction_on_status_read;
    MemoryRegion mr;
    SmbusBus bus;
} SmbusHost;

typedef struct Piix4Pm {
    PciDevice pci;
    AcpiPm pm;
    SmbusHost smb;
    uint8_t apmc, apms;
    MemoryRegion io, apm_mr;
    IrqLine smi;
    /* properties */
    uint32_t smb_io_base;
    uint8_t disable_s3, disable_s4, s4_val;
    bool smm_enabled, smm_compat;
    bool root_hotplug, bridge_hotplug, memory_hotplug, no_acpi_index;
    /* wire only: the hotplug controllers' registers, idle here */
    uint32_t hotplug_up_down[2], hotplug_select, hotplug_acpi_index;
} Piix4Pm;

/* ---- APMC and APMS: 4.5.1 ---- */

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
    Piix4Pm *s = opaque;

    return offset == 0 ? s->apmc : s->apms;
}

static void apm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Pm *s = opaque;

    trace_apm_write((unsigned)offset, (unsigned)value);
    if (offset == 1) {
        s->apms = value;
        return;
    }
    s->apmc = value;
    if (value == PIIX4_ACPI_ENABLE || value == PIIX4_ACPI_DISABLE) {
        acpi_pm_set_enabled(&s->pm, value == PIIX4_ACPI_ENABLE);
    }
    if (s->smm_enabled && (le32_load(s->pci.config + REG_DEVACTB) & DEVACTB_APMC_EN)) {
        irq_pulse(&s->smi);
    }
}

/* ---- SMBus host: 7.3 ---- */

/* The transaction that the registers describe; false: no acknowledge, or a protocol that is not there. */
static bool smb_transact(SmbusHost *b)
{
    uint8_t address = b->addr >> 1, word[2] = { b->data0, b->data1 };
    bool read = b->addr & 1, ok;
    unsigned protocol = (b->ctl & SMBHSTCNT_PROTOCOL) >> 2, len = protocol == SMB_WORD_DATA ? 2 : 1;

    switch (protocol) {
    case SMB_QUICK:
        return smbus_quick(&b->bus, address);
    case SMB_BYTE:
        return read ? smbus_receive_byte(&b->bus, address, &b->data0)
                    : smbus_send_byte(&b->bus, address, b->cmd);
    case SMB_BYTE_DATA:
    case SMB_WORD_DATA:
        if (!read) {
            return smbus_write(&b->bus, address, b->cmd, word, len);
        }
        ok = smbus_read(&b->bus, address, b->cmd, word, len);
        b->data0 = ok ? word[0] : b->data0;
        b->data1 = ok ? word[1] : b->data1;
        return ok;
    case SMB_BLOCK:
        b->index = 0;
        if (!read) {
            return smbus_block_write(&b->bus, address, b->cmd, b->data, b->data0);
        }
        ok = smbus_block_read(&b->bus, address, b->cmd, b->data, &len);
        b->data0 = ok ? len : b->data0;
        return ok;
    default:
        return false;
    }
}

/* It is under way until its status is looked at: drivers want to see HOST_BUSY once. */
static void smb_finish(SmbusHost *b)
{
    b->start_transaction_on_status_read = false;
    b->stat &= ~SMBHSTSTS_HOST_BUSY;
    b->stat |= smb_transact(b) ? SMBHSTSTS_INTER : SMBHSTSTS_DEV_ERR;
}

static uint64_t smb_read(void *opaque, uint64_t offset, unsigned size)
{
    SmbusHost *b = opaque;

    switch (offset) {
    case SMBHSTSTS: {
        uint8_t stat = b->stat;

        if (b->start_transaction_on_status_read) {
            smb_finish(b);
        }
        return stat;
    }
    case SMBHSTCNT:
        b->index = 0;     /* 7.3.3: reading it rewinds the block buffer */
        return b->ctl & 0x1f;
    case SMBHSTCMD:
        return b->cmd;
    case SMBHSTADD:
        return b->addr;
    case SMBHSTDAT0:
        return b->data0;
    case SMBHSTDAT1:
        return b->data1;
    case SMBBLKDAT: {
        uint8_t byte = b->data[b->index];

        b->index = (b->index + 1) % sizeof(b->data);
        return byte;
    }
    default:
        return 0;
    }
}

static void smb_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    SmbusHost *b = opaque;

    switch (offset) {
    case SMBHSTSTS:
        b->stat &= ~value | SMBHSTSTS_HOST_BUSY;
        break;
    case SMBHSTCNT:
        b->ctl = value & ~SMBHSTCNT_START;
        if (value & SMBHSTCNT_KILL) {
            b->start_transaction_on_status_read = false;
            b->stat = (b->stat & ~SMBHSTSTS_HOST_BUSY) | SMBHSTSTS_FAILED;
        } else if (value & SMBHSTCNT_START) {
            b->start_transaction_on_status_read = true;
            b->stat |= SMBHSTSTS_HOST_BUSY;
        }
        break;
    case SMBHSTCMD:
        b->cmd = value;
        break;
    case SMBHSTADD:
        b->addr = value;
        break;
    case SMBHSTDAT0:
        b->data0 = value;
        break;
    case SMBHSTDAT1:
        b->data1 = value;
        break;
    case SMBBLKDAT:
        b->data[b->index] = value;
        b->index = (b->index + 1) % sizeof(b->data);
        break;
    }
}

/* ---- windows that follow the configuration registers ---- */

static void update_windows(Piix4Pm *s)
{
    const uint8_t *c = s->pci.config;

    memory_transaction_begin();
    memory_region_set_enabled(&s->io, c[REG_PMREGMISC] & PMREGMISC_PMIOSE);
    memory_region_set_address(&s->io, le32_load(c + REG_PMBASE) & 0xffc0);
    memory_region_set_enabled(&s->smb.mr, c[REG_SMBHSTCFG] & SMBHSTCFG_HST_EN);
    memory_region_set_address(&s->smb.mr, le32_load(c + REG_SMBBA) & 0xffc0);
    memory_transaction_commit();
}

static void piix4_config_write(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len)
{
    pci_default_config_write(dev, offset, value, len);
    if (offset + len > REG_PMBASE) {
        update_windows(DEVICE_CAST(Piix4Pm, dev));
    }
}

static void piix4_powerdown(void *opaque)
{
    acpi_pm_power_button(&((Piix4Pm *)opaque)->pm);
}

static void piix4_sync(Device *dev)
{
    acpi_pm_sync(&DEVICE_CAST(Piix4Pm, dev)->pm);
}

/* ---- life cycle ---- */

/* clang-format off */
static const MmioOps apm_ops = { apm_read, apm_write, .impl_max = 1 };
static const MmioOps smb_ops = { smb_read, smb_write, .valid_max = 1, .impl_max = 1 };
/* clang-format on */

static void piix4_reset_enter(Device *dev)
{
    Piix4Pm *s = DEVICE_CAST(Piix4Pm, dev);
    uint8_t *c = s->pci.config;

    le32_store(c + REG_DEVACTB, 0);
    le32_store(c + REG_PMBASE, 1);
    c[REG_PMREGMISC] = 0;
    le32_store(c + REG_SMBBA, s->smb_io_base | 1);
    c[REG_SMBHSTCFG] = 0x09;
    if (s->smm_compat) {
        /* Tells SeaBIOS that SMM is set up already. */
        le32_store(c + REG_DEVACTB, DEVACTB_APMC_EN);
    }
    s->smb.stat = s->smb.ctl = s->smb.index = 0;
    s->smb.start_transaction_on_status_read = false;
    s->apmc = s->apms = 0;
    acpi_pm_reset(&s->pm);
    update_windows(s);
}

static bool piix4_realize(Device *dev, GError **error)
{
    Piix4Pm *s = DEVICE_CAST(Piix4Pm, dev);
    MemoryRegion *io = pci_bus_of(&s->pci)->io;

    le16_store(s->pci.config + PCI_STATUS, PCI_STATUS_FAST_BACK | PCI_STATUS_DEVSEL_MEDIUM);
    /* 7.1: which of the serial and parallel ports decode; the firmware looks here. */
    s->pci.config[0x5f] = 0x61;
    s->pci.config[0x63] = 0x60;
    s->pci.config[0x67] = 0x98;
    s->pm.s3_disabled = s->disable_s3;
    s->pm.s4_disabled = s->disable_s4;
    s->pm.s4_value = s->s4_val;

    acpi_pm_init(&s->pm, dev, PIIX4_GPE_LEN);
    memory_region_init(&s->io, OBJECT(dev), "piix4-pm", PM_IO_LEN);
    memory_region_add(&s->io, 0, &s->pm.evt_mr);
    memory_region_add(&s->io, 4, &s->pm.cnt_mr);
    memory_region_add(&s->io, 8, &s->pm.tmr_mr);
    memory_region_set_enabled(&s->io, false);
    memory_region_add(io, 0, &s->io);
    memory_region_init_io(&s->smb.mr, OBJECT(dev), "pm-smbus", &smb_ops, &s->smb, SMB_IO_LEN);
    memory_region_set_enabled(&s->smb.mr, false);
    memory_region_add(io, 0, &s->smb.mr);
    smbus_bus_init(&s->smb.bus, dev, "i2c");
    memory_region_init_io(&s->apm_mr, OBJECT(dev), "apm-io", &apm_ops, s, 2);
    memory_region_add(io, PIIX4_SMI_COMMAND_PORT, &s->apm_mr);
    memory_region_add(io, PIIX4_GPE_BASE, &s->pm.gpe_mr);
    vm_add_powerdown_hook(dev->vm, piix4_powerdown, s);
    return true;
}

void piix4_pm_sleep_states(PciDevice *dev, bool *s3, bool *s4, uint8_t *s4_value)
{
    Piix4Pm *s = DEVICE_CAST(Piix4Pm, dev);

    *s3 = !s->disable_s3;
    *s4 = !s->disable_s4;
    *s4_value = s->s4_val;
}

/* ---- state ---- */

static bool piix4_post_load(void *obj, int version, GError **error)
{
    Piix4Pm *s = obj;

    if (s->smb.index >= sizeof(s->smb.data)) {
        error_set(error, "PIIX4_PM: SMBus block index %u is beyond 31", s->smb.index);
        return false;
    }
    update_windows(s);
    return true;
}

/* clang-format off */
static const VmField apm_fields[] = { VMS_U8(Piix4Pm, apmc), VMS_U8(Piix4Pm, apms), VMS_END };
static const VmStateDesc vmstate_apm = { .name = "APM State", .version = 1, .minimum = 1, .fields = apm_fields };

static const VmField smb_fields[] = {
    VMS_U8(SmbusHost, stat, .wire = "smb_stat"),     VMS_U8(SmbusHost, ctl, .wire = "smb_ctl"),
    VMS_U8(SmbusHost, cmd, .wire = "smb_cmd"),       VMS_U8(SmbusHost, addr, .wire = "smb_addr"),
    VMS_U8(SmbusHost, data0, .wire = "smb_data0"),   VMS_U8(SmbusHost, data1, .wire = "smb_data1"),
    VMS_U32(SmbusHost, index, .wire = "smb_index"),
    VMS_U8_ARRAY(SmbusHost, data, .wire = "smb_data"),
    VMS_U8(SmbusHost, auxctl, .wire = "smb_auxctl"), VMS_U8(SmbusHost, blkdata, .wire = "smb_blkdata"),
    VMS_BOOL(SmbusHost, i2c_enable),                 VMS_BOOL(SmbusHost, op_done),
    VMS_BOOL(SmbusHost, in_i2c_block_read),          VMS_BOOL(SmbusHost, start_transaction_on_status_read),
    VMS_END
};
static const VmStateDesc vmstate_smb = { .name = "pmsmb", .version = 1, .minimum = 1, .fields = smb_fields };

static const VmField hotplug_fields[] = {
    { .name = "up", .kind = VM_U32, .offset = 0, .size = 4 },
    { .name = "down", .kind = VM_U32, .offset = 4, .size = 4 }, VMS_END
};
static const VmStateDesc vmstate_hotplug = { .name = "acpi_pcihp_pci_status", .version = 1, .minimum = 1, .fields = hotplug_fields };
/* clang-format on */

/* QEMU sends each GPE byte array as one 16-bit word of the first byte. */
static bool gpe_word_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    uint16_t word = vm_get_be16(r);

    ((uint8_t *)field)[0] = word;
    ((uint8_t *)field)[1] = word >> 8;
    return true;
}

static void gpe_word_put(VmWriter *w, const void *field, const VmField *def)
{
    vm_put_be16(w, le16_load(field));
}

static const VmField gpe_wire_fields[] = {
    { .name = "sts", .kind = VM_CUSTOM, .offset = offsetof(AcpiPm, gpe_sts), .size = 2,
      .wire_type = "uint16", .get = gpe_word_get, .put = gpe_word_put },
    { .name = "en", .kind = VM_CUSTOM, .offset = offsetof(AcpiPm, gpe_en), .size = 2,
      .wire_type = "uint16", .get = gpe_word_get, .put = gpe_word_put },
    VMS_END
};
static const VmStateDesc vmstate_gpe = { .name = "gpe", .version = 1, .minimum = 1,
                                         .fields = gpe_wire_fields };

static bool uses_bridge_hotplug(const void *obj, int version)
{
    return ((const Piix4Pm *)obj)->bridge_hotplug;
}

static bool uses_root_hotplug_only(const void *obj, int version)
{
    return !((const Piix4Pm *)obj)->bridge_hotplug;
}

static bool sends_acpi_index(const void *obj, int version)
{
    const Piix4Pm *s = obj;

    return s->bridge_hotplug && !s->no_acpi_index;
}

static const VmField piix4_fields[] = {
    VMS_PCI_DEVICE(Piix4Pm, pci),
    VMS_U16(Piix4Pm, pm.pm1_sts, .wire = "ar.pm1.evt.sts"),
    VMS_U16(Piix4Pm, pm.pm1_en, .wire = "ar.pm1.evt.en"),
    VMS_U16(Piix4Pm, pm.pm1_cnt, .wire = "ar.pm1.cnt.cnt"),
    { .name = "apm", .kind = VM_STRUCT, .offset = 0, .size = sizeof(Piix4Pm), .desc = &vmstate_apm },
    { .name = "smb", .kind = VM_STRUCT, .offset = offsetof(Piix4Pm, smb),
      .size = sizeof(SmbusHost), .desc = &vmstate_smb, .version = 3 },
    VMS_TIMER(Piix4Pm, pm.overflow_timer, .wire = "ar.tmr.timer"),
    VMS_I64(Piix4Pm, pm.overflow_ticks, .wire = "ar.tmr.overflow_time"),
    { .name = "ar.gpe", .kind = VM_STRUCT, .offset = offsetof(Piix4Pm, pm),
      .size = sizeof(AcpiPm), .desc = &vmstate_gpe, .version = 2 },
    { .name = "acpi_pci_hotplug.acpi_pcihp_pci_status[0x0]", .kind = VM_STRUCT, .version = 2,
      .offset = offsetof(Piix4Pm, hotplug_up_down), .size = 8, .desc = &vmstate_hotplug,
      .exists = uses_root_hotplug_only },
    VMS_U32(Piix4Pm, hotplug_select, .wire = "acpi_pci_hotplug.hotplug_select",
            .exists = uses_bridge_hotplug),
    { .name = "acpi_pci_hotplug.acpi_pcihp_pci_status", .kind = VM_STRUCT, .version = 1,
      .offset = offsetof(Piix4Pm, hotplug_up_down), .size = 8, .desc = &vmstate_hotplug,
      .exists = uses_bridge_hotplug },
    VMS_U32(Piix4Pm, hotplug_acpi_index, .wire = "acpi_pci_hotplug.acpi_index",
            .exists = sends_acpi_index),
    VMS_END
};

static const PropDef piix4_props[] = {
    PROP_U32("smb_io_base", Piix4Pm, smb_io_base, 0),
    PROP_U8("disable_s3", Piix4Pm, disable_s3, 0, .max = 1),
    PROP_U8("disable_s4", Piix4Pm, disable_s4, 0, .max = 1),
    PROP_U8("s4_val", Piix4Pm, s4_val, 2, .max = 7),
    PROP_BOOL("acpi-pci-hotplug-with-bridge-support", Piix4Pm, bridge_hotplug, true),
    PROP_BOOL("acpi-root-pci-hotplug", Piix4Pm, root_hotplug, true),
    PROP_BOOL("memory-hotplug-support", Piix4Pm, memory_hotplug, true),
    PROP_BOOL("smm-compat", Piix4Pm, smm_compat, false),
    PROP_BOOL("smm-enabled", Piix4Pm, smm_enabled, false),
    PROP_BOOL("x-not-migrate-acpi-index", Piix4Pm, no_acpi_index, false, .flags = PROP_HIDDEN),
    PROP_END
};

static const PciInfo piix4_info = {
    .vendor_id = PCI_VENDOR_INTEL,
    .device_id = 0x7113,
    .revision = 3,
    .class_id = PCI_CLASS_BRIDGE_OTHER,
    .interrupt_pin = 1,
    .config_write = piix4_config_write,
};

DEVICE_TYPE(piix4_pm, .name = "PIIX4_PM", .parent = "pci-device", .size = sizeof(Piix4Pm),
            .desc = "PM", .bus = &bus_pci, .bus_info = &piix4_info,
            .category = DEVICE_CATEGORY_BRIDGE, .props = piix4_props, .realize = piix4_realize,
            .outputs = IRQ_OUTPUTS(IRQ_OUT(Piix4Pm, pm.sci), IRQ_OUT(Piix4Pm, smi)),
            .reset_enter = piix4_reset_enter, .sync = piix4_sync,
            .vmstate = VMSTATE("piix4_pm", 3, 3, piix4_fields, .post_load = piix4_post_load));

PciDevice *piix4_pm_create(PciBus *bus, int devfn, bool smm, IrqPin sci, IrqPin smi,
                           GError **error)
{
    Device *dev = device_new(bus->bus.vm, "PIIX4_PM", error);
    Piix4Pm *s = DEVICE_CAST(Piix4Pm, dev);

    if (!dev) {
        return NULL;
    }
    s->pci.devfn = devfn;
    s->smm_enabled = smm;
    s->smb_io_base = 0xb100;
    irq_connect(&s->pm.sci, sci);
    irq_connect(&s->smi, smi);
    if (!device_realize(dev, &bus->bus, error)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    object_unref(OBJECT(dev));
    /* Where memory modules have their SPDs: empty ones, as QEMU's. */
    for (unsigned i = 0; i < SPD_COUNT; i++) {
        if (!smbus_eeprom_new(&s->smb.bus, SPD_FIRST + i, error)) {
            return NULL;
        }
    }
    return &s->pci;
}
