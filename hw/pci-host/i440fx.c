/* SPDX-License-Identifier: MIT */
/*
 * Intel 82441FX PMC: the host bridge of the pc machine.
 * Spec: 82441FX data sheet (290549-001); register names are the sheet's.
 * Not modelled: DRAM timing and row boundaries (plain storage), ECC, AGP.
 * Missing: PAM's write-only mode (reads from PCI, writes to DRAM) acts as PCI for both; no known
 * firmware uses it.
 * Locking: machine lock.
 */
#include "hw/pci-host/i440fx.h"

#include "vm/vm.h"

enum { REG_PAM0 = 0x59, REG_PAM6 = 0x5f, REG_SMRAM = 0x72 };
enum { PAM_RE = BIT(0), PAM_WE = BIT(1) };
enum { SMRAM_C_BASE_SEG = 0x02, SMRAM_G_SMRAME = BIT(3), SMRAM_D_LCK = BIT(4),
       SMRAM_D_CLS = BIT(5), SMRAM_D_OPEN = BIT(6) };
enum { PAM_SEGMENTS = 13, SMRAM_BASE = 0xa0000, SMRAM_SIZE = 0x20000 };

/* RAM lies below; a segment is covered by PCI (as after reset), by read-only RAM, or by nothing. */
typedef struct PamSegment {
    MemoryRegion pci, rom;
} PamSegment;

typedef struct I440fx {
    PciDevice pci;
    MemoryRegion *ram_below;      /* guest RAM from 0, for the windows below */
    MemoryRegion *pci_memory;
    PamSegment pam[PAM_SEGMENTS];
    MemoryRegion smram_pci;       /* PCI at a0000: hides RAM unless D_OPEN */
    MemoryRegion smram_smm;       /* the RAM there, for CPUs in SMM */
    bool smm;
    uint8_t unused;               /* wire only */
} I440fx;

typedef struct I440fxHost {
    Device dev;
    PciBus bus;
    uint32_t config_reg;          /* CONFADD */
    MemoryRegion confadd, confdata;
    MemoryRegion pci_memory;      /* what PCI devices decode */
    MemoryRegion unclaimed;       /* PCI below 1 MiB where no device answers: hides RAM too */
    MemoryRegion smm_root, smm_system;
    AddressSpace smm_as;
} I440fxHost;

/* ---- the PCI function 00.0 ---- */

/* Segment 0 is the 64 KiB at f0000 (PAM0 high nibble), then 16 KiB each from c0000 up. */
static uint8_t pam_bits(const I440fx *s, unsigned segment)
{
    const uint8_t *pam = s->pci.config + REG_PAM0;

    return segment == 0 ? pam[0] >> 4 : pam[1 + (segment - 1) / 2] >> (4 * ((segment - 1) & 1));
}

static gpa_t pam_base(unsigned segment)
{
    return segment == 0 ? 0xf0000 : 0xc0000 + (segment - 1) * 0x4000;
}

static void update_shadow(I440fx *s)
{
    uint8_t smram = s->pci.config[REG_SMRAM];
    bool smram_on = s->smm && (smram & SMRAM_G_SMRAME);

    memory_transaction_begin();
    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        uint8_t bits = pam_bits(s, i);

        memory_region_set_enabled(&s->pam[i].pci, !(bits & PAM_RE));
        memory_region_set_enabled(&s->pam[i].rom, (bits & PAM_RE) && !(bits & PAM_WE));
    }
    memory_region_set_enabled(&s->smram_pci, !(smram_on && (smram & SMRAM_D_OPEN)));
    memory_region_set_enabled(&s->smram_smm, smram_on && !(smram & SMRAM_D_CLS));
    memory_transaction_commit();
}

static void i440fx_config_write(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len)
{
    I440fx *s = DEVICE_CAST(I440fx, dev);
    uint8_t smram = dev->config[REG_SMRAM];

    pci_default_config_write(dev, offset, value, len);
    /* 3.2.19: once locked, D_OPEN is 0 and only D_CLS may change; C_BASE_SEG is wired. */
    if (smram & SMRAM_D_LCK) {
        dev->config[REG_SMRAM] = (smram & ~SMRAM_D_CLS) | (dev->config[REG_SMRAM] & SMRAM_D_CLS);
    } else if (dev->config[REG_SMRAM] & SMRAM_D_LCK) {
        dev->config[REG_SMRAM] &= ~SMRAM_D_OPEN;
    }
    dev->config[REG_SMRAM] = (dev->config[REG_SMRAM] & 0x78) | SMRAM_C_BASE_SEG;
    if (offset + len > REG_PAM0 && offset <= REG_SMRAM) {
        update_shadow(s);
    }
}

static void i440fx_reset_enter(Device *dev)
{
    PciDevice *pci = DEVICE_CAST(PciDevice, dev);

    le16_store(pci->config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    memset(pci->config + REG_PAM0, 0, REG_PAM6 - REG_PAM0 + 1);
    pci->config[REG_SMRAM] = SMRAM_C_BASE_SEG;
    update_shadow(DEVICE_CAST(I440fx, dev));
}

static bool i440fx_realize(Device *dev, GError **error)
{
    I440fx *s = DEVICE_CAST(I440fx, dev);
    MemoryRegion *system = &dev->vm->system_memory;

    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        PamSegment *seg = &s->pam[i];
        gpa_t base = pam_base(i);
        uint64_t size = i == 0 ? 0x10000 : 0x4000;

        memory_region_init_alias(&seg->pci, OBJECT(dev), "pam-pci", s->pci_memory, base, size);
        memory_region_init_alias(&seg->rom, OBJECT(dev), "pam-rom", s->ram_below, base, size);
        memory_region_set_readonly(&seg->rom, true);
        memory_region_set_enabled(&seg->rom, false);
        memory_region_add_overlap(system, base, &seg->pci, 1);
        memory_region_add_overlap(system, base, &seg->rom, 1);
    }
    memory_region_init_alias(&s->smram_pci, OBJECT(dev), "smram-region", s->pci_memory,
                             SMRAM_BASE, SMRAM_SIZE);
    memory_region_add_overlap(system, SMRAM_BASE, &s->smram_pci, 1);
    memory_region_init_alias(&s->smram_smm, OBJECT(dev), "smram-low", s->ram_below, SMRAM_BASE,
                             SMRAM_SIZE);
    memory_region_set_enabled(&s->smram_smm, false);
    return true;
}

static bool i440fx_post_load(void *obj, int version, GError **error)
{
    update_shadow(obj);
    return true;
}

static const PciInfo i440fx_info = {
    .vendor_id = PCI_VENDOR_INTEL,
    .device_id = 0x1237,
    .revision = 2,
    .class_id = PCI_CLASS_BRIDGE_HOST,
    .config_write = i440fx_config_write,
};

static const VmField i440fx_fields[] = {
    VMS_PCI_DEVICE(I440fx, pci),
    VMS_U8(I440fx, unused),
    VMS_END
};

DEVICE_TYPE(i440fx, .name = "i440FX", .parent = "pci-device", .size = sizeof(I440fx),
            .desc = "Host bridge", .bus = &bus_pci, .bus_info = &i440fx_info,
            .category = DEVICE_CATEGORY_BRIDGE, .realize = i440fx_realize,
            .reset_enter = i440fx_reset_enter,
            .vmstate = VMSTATE("I440FX", 3, 3, i440fx_fields, .post_load = i440fx_post_load));

/* ---- the host bridge: CONFADD and CONFDATA ---- */

enum { CONFADD_ENABLE = 0x80000000u };

static uint64_t confadd_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((I440fxHost *)opaque)->config_reg;
}

/* 3.1.1: only a dword write at cf8 is CONFADD; narrower ones are ordinary ports. */
static void confadd_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset == 0 && size == 4) {
        ((I440fxHost *)opaque)->config_reg = value;
    }
}

static uint64_t confdata_read(void *opaque, uint64_t offset, unsigned size)
{
    I440fxHost *s = opaque;
    uint32_t reg = s->config_reg;

    if (!(reg & CONFADD_ENABLE)) {
        return UINT32_MAX;
    }
    return pci_config_cycle_read(&s->bus, reg >> 16, reg >> 8, (reg & 0xfc) | (offset & 3), size);
}

static void confdata_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I440fxHost *s = opaque;
    uint32_t reg = s->config_reg;

    if (reg & CONFADD_ENABLE) {
        pci_config_cycle_write(&s->bus, reg >> 16, reg >> 8, (reg & 0xfc) | (offset & 3), value,
                               size);
    }
}

/* clang-format off */
static const MmioOps confadd_ops  = { confadd_read,  confadd_write,  .valid_min = 1, .valid_max = 4, .impl_min = 1, .impl_max = 4 };
static const MmioOps confdata_ops = { confdata_read, confdata_write, .valid_min = 1, .valid_max = 4, .impl_min = 1, .impl_max = 4 };
/* clang-format on */

static uint64_t unclaimed_read(void *opaque, uint64_t offset, unsigned size)
{
    return UINT64_MAX;            /* master abort */
}

static void unclaimed_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static const MmioOps unclaimed_ops = { unclaimed_read, unclaimed_write, .valid_max = 8,
                                       .impl_max = 8 };

static bool host_realize(Device *dev, GError **error)
{
    I440fxHost *s = DEVICE_CAST(I440fxHost, dev);
    Vm *vm = dev->vm;

    memory_region_init_io(&s->confadd, OBJECT(dev), "pci-conf-idx", &confadd_ops, s, 4);
    memory_region_init_io(&s->confdata, OBJECT(dev), "pci-conf-data", &confdata_ops, s, 4);
    memory_region_add(&vm->system_io, 0xcf8, &s->confadd);
    memory_region_add(&vm->system_io, 0xcfc, &s->confdata);
    memory_region_init(&s->pci_memory, OBJECT(dev), "pci", UINT64_MAX);
    memory_region_add_overlap(&vm->system_memory, 0, &s->pci_memory, -1);
    memory_region_init_io(&s->unclaimed, OBJECT(dev), "pci-unclaimed", &unclaimed_ops, s,
                          MIB - SMRAM_BASE);
    memory_region_add_overlap(&s->pci_memory, SMRAM_BASE, &s->unclaimed, -1);
    pci_root_bus_init(&s->bus, dev, vm, "pci.0", &s->pci_memory, &vm->system_io, NULL, NULL, 4);
    return true;
}

static const VmField host_fields[] = { VMS_U32(I440fxHost, config_reg), VMS_END };

DEVICE_TYPE(i440fx_host, .name = "i440FX-pcihost", .size = sizeof(I440fxHost),
            .bus = &bus_system, .category = DEVICE_CATEGORY_BRIDGE, .realize = host_realize,
            .vmstate = VMSTATE("PCIHost", 1, 1, host_fields));

PciBus *i440fx_create(Vm *vm, MemoryRegion *ram, bool smm, GError **error)
{
    Device *host = device_create(vm, "i440FX-pcihost", &vm->system_bus, error, NULL);
    I440fxHost *s = DEVICE_CAST(I440fxHost, host);
    Device *dev = host ? device_new(vm, "i440FX", error) : NULL;
    I440fx *f;

    if (!dev) {
        return NULL;
    }
    f = DEVICE_CAST(I440fx, dev);
    f->ram_below = ram;
    f->pci_memory = &s->pci_memory;
    f->smm = smm;
    f->pci.devfn = 0;
    if (!device_realize(dev, &s->bus.bus, error)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    object_unref(OBJECT(dev));
    if (smm) {
        memory_region_init(&s->smm_root, OBJECT(host), "memory", UINT64_MAX);
        memory_region_init_alias(&s->smm_system, OBJECT(host), "memory", &vm->system_memory, 0,
                                 UINT64_MAX);
        memory_region_add(&s->smm_root, 0, &s->smm_system);
        memory_region_add_overlap(&s->smm_root, SMRAM_BASE, &f->smram_smm, 1);
        address_space_init(&s->smm_as, &s->smm_root, "cpu-smm");
        vm->smm_memory = &s->smm_as;
    }
    return &s->bus;
}
