/* SPDX-License-Identifier: MIT */
/*
 * PCI: devices, their configuration space, BARs, interrupts and buses.  [PCI3.0]
 *
 * A PCI device's type row has .bus = &bus_pci and .bus_info = &(const PciInfo){...}; its struct
 * begins with PciDevice.  The bus's attach hook, run before the device's realize, picks the slot
 * (addr=) and fills the header from the PciInfo; realize then adds capabilities and BARs.
 *
 * Configuration space: config[] is what the guest reads; wmask bits are writable, w1cmask bits
 * clear by writing 1, cmask bits must match in a loaded state.  The core keeps the BAR windows,
 * INTx disable and MSI state in step with it.
 *
 * Thread rule: machine lock.
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H

#include "hw/pci/pci_regs.h"
#include "vm/device.h"

typedef struct PciBus PciBus;
typedef struct PciDevice PciDevice;
typedef struct PciInfo PciInfo;

#define PCI_DEVFN(slot, fn) (((slot) << 3) | (fn))
#define PCI_SLOT(devfn) ((devfn) >> 3)
#define PCI_FUNC(devfn) ((devfn) & 7)
#define PCI_CONFIG_SIZE 256
#define PCIE_CONFIG_SIZE 4096
#define PCI_BARS 7            /* 6 and the expansion ROM */
#define PCI_ROM_BAR 6

/* Fixed facts of a device type. */
struct PciInfo {
    uint16_t vendor_id, device_id;
    uint8_t revision;
    uint16_t class_id;        /* 0xCCSS */
    uint8_t prog_if;
    uint16_t subsystem_vendor_id, subsystem_id;   /* 0: 1af4:1100 */
    bool is_bridge;
    bool is_express;
    const char *romfile;      /* default of romfile= */
    uint8_t interrupt_pin;    /* 0 none, 1 = INTA# ... */
    /* Optional replacements; call pci_default_config_read/write inside. */
    uint32_t (*config_read)(PciDevice *dev, uint32_t offset, unsigned len);
    void (*config_write)(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len);
};

typedef struct PciBar {
    MemoryRegion *mr;         /* NULL: not there */
    uint64_t size;
    uint64_t addr;            /* PCI_BAR_UNMAPPED when not decoded */
    uint8_t type;             /* PCI_BASE_ADDRESS_* bits */
    MemoryRegion *space;      /* where it is mapped: bus memory or ports */
} PciBar;
#define PCI_BAR_UNMAPPED UINT64_MAX

struct PciDevice {
    Device dev;
    uint8_t *config, *cmask, *wmask, *w1cmask, *used;   /* config_size bytes each */
    uint32_t config_size;
    int32_t devfn;            /* addr=; -1: pick the first free slot */
    PciBar bars[PCI_BARS];
    MemoryRegion bus_master;  /* container: alias of the bus's DMA space, on with BME */
    MemoryRegion bus_master_alias;
    AddressSpace bus_master_as;
    uint8_t irq_state;        /* level of INTA..INTD */
    uint8_t irq_driven;       /* those that irq_count of the root bus counts */
    bool multifunction;
    char *romfile;
    uint32_t rombar;          /* 0: no ROM BAR */
    uint32_t romsize;
    bool has_rom;
    MemoryRegion rom;
    uint32_t cap_present;     /* PCI_CAP_EXPRESS: 4 KiB of configuration space */
    uint8_t msi_cap, msix_cap, exp_cap, pm_cap;   /* offsets; 0: none */
    struct PciMsix *msix;     /* hw/pci/msix.c */
    void (*msix_changed)(PciDevice *dev);     /* what msix_message() says may have; NULL: no matter */
    uint32_t acpi_index;
    int32_t version_id;       /* wire only */
};

static inline const PciInfo *pci_info(const PciDevice *dev)
{
    return (const PciInfo *)device_type(&dev->dev)->bus_info;
}

/* ---- devices ---- */

/* TYPE: PCI_BASE_ADDRESS_SPACE_IO or _MEMORY, | _MEM_TYPE_64 | _MEM_PREFETCH; the region's size
 * must be a power of two, at least 4 (I/O) or 16 (memory). */
void pci_register_bar(PciDevice *dev, unsigned n, uint8_t type, MemoryRegion *mr);
uint64_t pci_bar_addr(const PciDevice *dev, unsigned n);
/* Adds a capability of SIZE bytes at OFFSET (0: the first free place); returns its offset. */
uint8_t pci_add_capability(PciDevice *dev, uint8_t id, uint8_t offset, uint8_t size,
                           GError **error);
/* INTx: the device's pin from its header. */
void pci_set_irq(PciDevice *dev, bool level);
uint32_t pci_default_config_read(PciDevice *dev, uint32_t offset, unsigned len);
void pci_default_config_write(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len);
PciBus *pci_bus_of(const PciDevice *dev);

/* ---- message-signalled interrupts: hw/pci/msi.c, msix.c ---- */

bool msi_init(PciDevice *dev, uint8_t offset, unsigned vectors, bool is64, bool maskable,
              GError **error);
bool msi_enabled(const PciDevice *dev);
void msi_notify(PciDevice *dev, unsigned vector);
/* Table and pending bits inside BAR regions of the device. */
bool msix_init(PciDevice *dev, unsigned vectors, MemoryRegion *table_bar, uint8_t table_bar_nr,
               uint32_t table_offset, MemoryRegion *pba_bar, uint8_t pba_bar_nr,
               uint32_t pba_offset, uint8_t cap_offset, GError **error);
void msix_uninit(PciDevice *dev);
bool msix_enabled(const PciDevice *dev);
void msix_notify(PciDevice *dev, unsigned vector);
/* What notifying VECTOR sends now; false: nothing, it is masked or there is no such vector. */
bool msix_message(const PciDevice *dev, unsigned vector, uint64_t *address, uint32_t *data);
extern const VmStateDesc vmstate_msix;

/* ---- buses ---- */

typedef struct PciBusOps {
    /* Pin of a device to an interrupt number of the bus's parent: usually (slot + pin) % 4. */
    unsigned (*map_irq)(PciDevice *dev, unsigned pin);
    /* Level of interrupt N of the root bus. */
    void (*set_irq)(void *opaque, unsigned n, bool level);
    /* What an INTx pin ends at, for irqfd and -1 when it is disabled. */
    int (*route_irq)(void *opaque, unsigned n);
} PciBusOps;

struct PciBus {
    Bus bus;
    PciDevice *devices[256];
    PciDevice *parent;        /* bridge; NULL for a root bus */
    MemoryRegion *memory, *io;
    const PciBusOps *ops;
    void *ops_opaque;
    uint16_t irq_count[64];   /* asserted devices per interrupt number */
    unsigned irqs;
    uint8_t devfn_min;        /* slots below are reserved for the board */
    bool is_express;
    /* Where MSI writes go: the memory space of the VM. */
};

extern const BusType bus_pci;

void pci_root_bus_init(PciBus *bus, Device *owner, Vm *vm, const char *name, MemoryRegion *memory,
                       MemoryRegion *io, const PciBusOps *ops, void *opaque, unsigned irqs);
uint8_t pci_bus_number(const PciBus *bus);
/* Configuration cycles by a host bridge; unclaimed ones read all ones. */
uint32_t pci_config_cycle_read(PciBus *root, uint8_t bus_nr, uint8_t devfn, uint32_t offset,
                               unsigned len);
void pci_config_cycle_write(PciBus *root, uint8_t bus_nr, uint8_t devfn, uint32_t offset,
                            uint32_t value, unsigned len);
/* Board shorthand: device_new, addr, properties as text, realize. */
PciDevice *pci_create(PciBus *bus, int devfn, bool multifunction, const char *type,
                      GError **error);

/* First field of every PCI device's vmstate, QEMU's "parent_obj" of type PCIDevice. */
extern const VmStateDesc vmstate_pci_device;
#define VMS_PCI_DEVICE(T, f) VMS_PART(T, f, "parent_obj", &vmstate_pci_device)

#endif
