/* SPDX-License-Identifier: MIT */
/*
 * PCI devices: header, configuration space, BAR windows, INTx, capabilities.  [PCI3.0 6]
 * Not modelled: parity, special cycles, BIST.
 * Locking: machine lock.
 */
#include "hw/pci/pci.h"

#include "base/log.h"
#include "hw/pci/pci_int.h"
#include "hw/trace.h"
#include "vm/vm.h"

/* ---- BARs ---- */

static uint32_t bar_offset(const PciDevice *dev, unsigned n)
{
    if (n != PCI_ROM_BAR) {
        return PCI_BASE_ADDRESS_0 + 4 * n;
    }
    return (dev->config[PCI_HEADER_TYPE] & 0x7f) == PCI_HEADER_TYPE_BRIDGE ? PCI_ROM_ADDRESS1
                                                                           : PCI_ROM_ADDRESS;
}

static bool bar_is_64(const PciBar *bar)
{
    return !(bar->type & PCI_BASE_ADDRESS_SPACE_IO) &&
           (bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64);
}

/* The address that the header asks for, or PCI_BAR_UNMAPPED.  [PCI3.0 6.2.5.1] */
static uint64_t bar_wanted_addr(const PciDevice *dev, unsigned n)
{
    const PciBar *bar = &dev->bars[n];
    uint16_t command = le16_load(dev->config + PCI_COMMAND);
    const uint8_t *reg = dev->config + bar_offset(dev, n);
    uint64_t addr, last;

    if (bar->type & PCI_BASE_ADDRESS_SPACE_IO) {
        if (!(command & PCI_COMMAND_IO)) {
            return PCI_BAR_UNMAPPED;
        }
        addr = le32_load(reg) & ~(bar->size - 1);
        last = addr + bar->size - 1;
        return addr == 0 || last > UINT16_MAX ? PCI_BAR_UNMAPPED : addr;
    }
    if (!(command & PCI_COMMAND_MEMORY)) {
        return PCI_BAR_UNMAPPED;
    }
    addr = bar_is_64(bar) ? le64_load(reg) : le32_load(reg);
    if (n == PCI_ROM_BAR && !(addr & PCI_ROM_ADDRESS_ENABLE)) {
        return PCI_BAR_UNMAPPED;
    }
    addr &= ~(bar->size - 1);
    last = addr + bar->size - 1;
    /* All ones is the sizing probe, not an address. */
    if (addr == 0 || last <= addr || last == UINT64_MAX ||
        (!bar_is_64(bar) && last >= UINT32_MAX)) {
        return PCI_BAR_UNMAPPED;
    }
    return addr;
}

void pci_update_mappings(PciDevice *dev)
{
    bool master = le16_load(dev->config + PCI_COMMAND) & PCI_COMMAND_MASTER;

    memory_transaction_begin();
    for (unsigned n = 0; n < PCI_BARS; n++) {
        PciBar *bar = &dev->bars[n];
        uint64_t addr;

        if (!bar->mr) {
            continue;
        }
        addr = bar_wanted_addr(dev, n);
        if (addr == bar->addr) {
            continue;
        }
        if (bar->addr != PCI_BAR_UNMAPPED) {
            trace_pci_update_mappings_del(dev->dev.obj.type->name, n, bar->addr);
            memory_region_remove(bar->space, bar->mr);
        }
        bar->addr = addr;
        if (addr != PCI_BAR_UNMAPPED) {
            trace_pci_update_mappings_add(dev->dev.obj.type->name, n, addr);
            memory_region_add_overlap(bar->space, addr, bar->mr, 1);
        }
    }
    memory_region_set_enabled(&dev->bus_master_alias, master);
    memory_transaction_commit();
}

void pci_unmap_bars(PciDevice *dev)
{
    for (unsigned n = 0; n < PCI_BARS; n++) {
        PciBar *bar = &dev->bars[n];

        if (bar->mr && bar->addr != PCI_BAR_UNMAPPED) {
            memory_region_remove(bar->space, bar->mr);
        }
        bar->addr = PCI_BAR_UNMAPPED;
    }
}

void pci_register_bar(PciDevice *dev, unsigned n, uint8_t type, MemoryRegion *mr)
{
    PciBus *bus = pci_bus_of(dev);
    PciBar *bar = &dev->bars[n];
    uint32_t offset = bar_offset(dev, n);
    uint64_t wmask = ~(mr->size - 1);

    g_assert(n < PCI_BARS && !bar->mr && is_pow2(mr->size));
    *bar = (PciBar){
        .mr = mr,
        .size = mr->size,
        .addr = PCI_BAR_UNMAPPED,
        .type = type,
        .space = type & PCI_BASE_ADDRESS_SPACE_IO ? bus->io : bus->memory,
    };
    if (n == PCI_ROM_BAR) {
        wmask |= PCI_ROM_ADDRESS_ENABLE;
    }
    le32_store(dev->config + offset, type);
    if (bar_is_64(bar)) {
        le64_store(dev->wmask + offset, wmask);
        le64_store(dev->cmask + offset, UINT64_MAX);
    } else {
        le32_store(dev->wmask + offset, (uint32_t)wmask);
        le32_store(dev->cmask + offset, UINT32_MAX);
    }
}

uint64_t pci_bar_addr(const PciDevice *dev, unsigned n)
{
    return dev->bars[n].addr;
}

/* ---- INTx ---- */

static bool pci_irq_disabled(const PciDevice *dev)
{
    return le16_load(dev->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
}

/* Adds DELTA (+1, -1) to the count of the root bus's interrupt that PIN ends at; QUIET: the other
 * end knows its level already. */
static void change_irq_level(PciDevice *dev, unsigned pin, int delta, bool quiet)
{
    PciBus *bus = pci_bus_of(dev);
    unsigned n = bus->ops ? bus->ops->map_irq(dev, pin) : (PCI_SLOT(dev->devfn) + pin) % 4;

    while (bus->parent) {
        PciDevice *bridge = bus->parent;

        bus = pci_bus_of(bridge);
        n = bus->ops ? bus->ops->map_irq(bridge, n) : (PCI_SLOT(bridge->devfn) + n) % 4;
    }
    g_assert(n < ARRAY_LEN(bus->irq_count));
    bus->irq_count[n] += delta;
    if (bus->ops && !quiet) {
        bus->ops->set_irq(bus->ops_opaque, n, bus->irq_count[n] != 0);
    }
}

/* The status bit follows irq_state, what the bus counts also the disable bit. */
static void update_irq(PciDevice *dev, bool quiet)
{
    uint8_t wanted = pci_irq_disabled(dev) ? 0 : dev->irq_state, change = wanted ^ dev->irq_driven;

    dev->config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
    if (dev->irq_state) {
        dev->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    }
    dev->irq_driven = wanted;
    for (unsigned pin = 0; pin < 4; pin++) {
        if (change & BIT(pin)) {
            change_irq_level(dev, pin, wanted & BIT(pin) ? 1 : -1, quiet);
        }
    }
}

void pci_set_irq(PciDevice *dev, bool level)
{
    unsigned pin = dev->config[PCI_INTERRUPT_PIN] - 1u;

    if (pin >= 4 || !!(dev->irq_state & BIT(pin)) == level) {
        return;
    }
    trace_pci_irq(dev->dev.obj.type->name, 'A' + (char)pin, level);
    dev->irq_state ^= BIT(pin);
    update_irq(dev, dev->dev.sync_muted);
}

void pci_release_irq(PciDevice *dev)
{
    dev->irq_state = 0;
    update_irq(dev, false);
}

/* ---- configuration space ---- */

uint32_t pci_default_config_read(PciDevice *dev, uint32_t offset, unsigned len)
{
    return offset + len <= dev->config_size ? le_load(dev->config + offset, len) : UINT32_MAX;
}

static bool ranges_overlap(uint32_t a, unsigned a_len, uint32_t b, unsigned b_len)
{
    return a < b + b_len && b < a + a_len;
}

void pci_default_config_write(PciDevice *dev, uint32_t offset, uint32_t value, unsigned len)
{
    if (offset + len > dev->config_size) {
        return;
    }
    for (unsigned i = 0; i < len; i++, value >>= 8) {
        uint8_t wmask = dev->wmask[offset + i], w1cmask = dev->w1cmask[offset + i];
        uint8_t *reg = &dev->config[offset + i];

        *reg = (*reg & ~wmask) | (value & wmask);
        *reg &= ~(value & w1cmask);
    }
    if (ranges_overlap(offset, len, PCI_BASE_ADDRESS_0, 24) ||
        ranges_overlap(offset, len, PCI_ROM_ADDRESS, 4) ||
        ranges_overlap(offset, len, PCI_ROM_ADDRESS1, 4) ||
        ranges_overlap(offset, len, PCI_COMMAND, 2)) {
        pci_update_mappings(dev);
    }
    if (ranges_overlap(offset, len, PCI_COMMAND, 2)) {
        update_irq(dev, false);
    }
    msi_config_written(dev, offset, len);
    msix_config_written(dev, offset, len);
}

/* First gap of SIZE bytes (4-aligned) after the standard header; 0 when there is none. */
static uint8_t find_capability_space(const PciDevice *dev, uint8_t size)
{
    unsigned run = 0;

    for (unsigned i = 0x40; i < PCI_CONFIG_SIZE; i++) {
        if (dev->used[i]) {
            run = 0;
        } else if (++run >= size && ((i + 1 - run) & 3) == 0) {
            return i + 1 - run;
        } else if (run == 1 && (i & 3)) {
            run = 0;
        }
    }
    return 0;
}

uint8_t pci_add_capability(PciDevice *dev, uint8_t id, uint8_t offset, uint8_t size,
                           GError **error)
{
    if (!offset) {
        offset = find_capability_space(dev, size);
    }
    if (offset < 0x40 || offset + size > PCI_CONFIG_SIZE) {
        error_set(error, "no room in the configuration space for PCI capability 0x%02x", id);
        return 0;
    }
    for (unsigned i = offset; i < (unsigned)offset + size; i++) {
        if (dev->used[i]) {
            error_set(error, "PCI capability 0x%02x at 0x%02x overlaps another at 0x%02x", id,
                      offset, i);
            return 0;
        }
    }
    memset(dev->used + offset, 0xff, size);
    memset(dev->wmask + offset, 0, size);
    memset(dev->cmask + offset, 0xff, size);
    dev->config[offset] = id;
    dev->config[offset + 1] = dev->config[PCI_CAPABILITY_LIST];
    dev->config[PCI_CAPABILITY_LIST] = offset;
    dev->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    return offset;
}

/* ---- reset and state ---- */

void pci_reset_common(PciDevice *dev)
{
    pci_release_irq(dev);
    /* Registers the guest can write go back to 0, but for the fixed type bits of BARs. */
    for (unsigned i = 0; i < 2; i++) {
        dev->config[PCI_COMMAND + i] &= ~(dev->wmask[PCI_COMMAND + i]);
        dev->config[PCI_STATUS + i] &= ~(dev->wmask[PCI_STATUS + i] |
                                         dev->w1cmask[PCI_STATUS + i]);
    }
    dev->config[PCI_CACHE_LINE_SIZE] = 0;
    dev->config[PCI_INTERRUPT_LINE] = 0;
    for (unsigned n = 0; n < PCI_BARS; n++) {
        PciBar *bar = &dev->bars[n];

        if (bar->mr) {
            le32_store(dev->config + bar_offset(dev, n), bar->type);
            if (bar_is_64(bar)) {
                le32_store(dev->config + bar_offset(dev, n) + 4, 0);
            }
        }
    }
    pci_update_mappings(dev);
    msi_reset(dev);
    msix_reset(dev);
}

static bool is_conventional(const void *obj, int version)
{
    return !((const PciDevice *)obj)->cap_present;
}

static bool is_express(const void *obj, int version)
{
    return !is_conventional(obj, version);
}

/* Bits that are neither writable nor marked free must be what they are here. */
static bool config_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    PciDevice *dev = container_of(field, PciDevice, config);
    g_autofree uint8_t *loaded = g_malloc(dev->config_size);

    if (!vm_get_bytes(r, loaded, dev->config_size)) {
        error_set(error, "the state ends inside a PCI configuration space");
        return false;
    }
    for (uint32_t i = 0; i < dev->config_size; i++) {
        uint8_t fixed = dev->cmask[i] & ~dev->wmask[i] & ~dev->w1cmask[i];

        if ((loaded[i] ^ dev->config[i]) & fixed) {
            error_set(error,
                      "PCI configuration byte 0x%x is 0x%02x in the state and 0x%02x in this "
                      "device: it was saved by a different device or version",
                      i, loaded[i], dev->config[i]);
            return false;
        }
    }
    memcpy(dev->config, loaded, dev->config_size);
    return true;
}

static void config_put(VmWriter *w, const void *field, const VmField *def)
{
    const PciDevice *dev = container_of(field, PciDevice, config);

    vm_put_bytes(w, dev->config, dev->config_size);
}

static bool irq_state_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    uint8_t *state = field, loaded = 0;

    for (unsigned pin = 0; pin < 4; pin++) {
        uint32_t level = vm_get_be32(r);

        if (level > 1) {
            error_set(error, "PCI interrupt level %u of pin %u is not 0 or 1", level, pin);
            return false;
        }
        loaded |= level << pin;
    }
    *state = loaded;
    return true;
}

static void irq_state_put(VmWriter *w, const void *field, const VmField *def)
{
    const uint8_t *state = field;

    for (unsigned pin = 0; pin < 4; pin++) {
        vm_put_be32(w, (*state >> pin) & 1);
    }
}

static void pci_pre_save(void *obj)
{
    ((PciDevice *)obj)->version_id = 2;
}

static bool pci_post_load(void *obj, int version, GError **error)
{
    PciDevice *dev = obj;

    update_irq(dev, true);        /* the interrupt router's state says what its lines carry */
    pci_update_mappings(dev);
    return true;
}

static const VmField pci_device_fields[] = {
    VMS_I32(PciDevice, version_id),
    { .name = "config", .kind = VM_CUSTOM, .offset = offsetof(PciDevice, config),
      .size = PCI_CONFIG_SIZE, .exists = is_conventional, .wire_type = "pci config",
      .get = config_get, .put = config_put },
    { .name = "config", .kind = VM_CUSTOM, .offset = offsetof(PciDevice, config),
      .size = PCIE_CONFIG_SIZE, .exists = is_express, .wire_type = "pci config",
      .get = config_get, .put = config_put },
    { .name = "irq_state", .kind = VM_CUSTOM, .offset = offsetof(PciDevice, irq_state),
      .size = 16, .version = 2, .wire_type = "pci irq state", .get = irq_state_get,
      .put = irq_state_put },
    VMS_END
};

const VmStateDesc vmstate_pci_device = {
    .name = "PCIDevice",
    .version = 2,
    .minimum = 1,
    .fields = pci_device_fields,
    .pre_save = pci_pre_save,
    .post_load = pci_post_load,
};
