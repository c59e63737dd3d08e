/* SPDX-License-Identifier: MIT */
/*
 * PCI buses: plugging, configuration cycles, properties common to all PCI devices.  [PCI3.0 3.2.2]
 * Locking: machine lock.
 */
#include <stdio.h>

#include "base/json.h"
#include "hw/pci/pci_int.h"
#include "hw/trace.h"
#include "vm/vm.h"

/* ---- addr=SLOT[.FUNCTION] ---- */

static bool devfn_parse(Object *obj, const PropDef *prop, const char *text, GError **error)
{
    unsigned slot, fn = 0;
    int end = 0;

    if (sscanf(text, "%x%n.%x%n", &slot, &end, &fn, &end) < 1 || text[end] || slot > 31 || fn > 7) {
        error_set(error,
                  "Property '%s.%s' does not take '%s': use SLOT or SLOT.FUNCTION in "
                  "hexadecimal, 0..1f and 0..7, such as 06.0",
                  obj->type->name, prop->name, text);
        return false;
    }
    *(int32_t *)prop_field(obj, prop) = PCI_DEVFN(slot, fn);
    return true;
}

static bool devfn_from_json(Object *obj, const PropDef *prop, struct json_object *v,
                            GError **error)
{
    int64_t n;

    if (json_is(v, JSON_STRING)) {
        return devfn_parse(obj, prop, json_get_string(v), error);
    }
    if (json_get_int(v, &n) && n >= -1 && n <= 255) {
        *(int32_t *)prop_field(obj, prop) = n;
        return true;
    }
    error_set(error, "Property '%s.%s' takes a slot such as '06.0' or a number -1..255",
              obj->type->name, prop->name);
    return false;
}

static struct json_object *devfn_to_json(Object *obj, const PropDef *prop)
{
    return json_new_int(*(int32_t *)prop_field(obj, prop));
}

static char *devfn_print(Object *obj, const PropDef *prop)
{
    int32_t devfn = *(int32_t *)prop_field(obj, prop);

    return devfn < 0 ? g_strdup("<unset>")
                     : g_strdup_printf("%02x.%x", PCI_SLOT(devfn), PCI_FUNC(devfn));
}

static void devfn_set_default(Object *obj, const PropDef *prop)
{
    *(int32_t *)prop_field(obj, prop) = -1;
}

static const PropType prop_pci_devfn = {
    .name = "int32",
    .parse = devfn_parse,
    .from_json = devfn_from_json,
    .to_json = devfn_to_json,
    .print = devfn_print,
    .set_default = devfn_set_default,
};

static const PropDef pci_device_props[] = {
    PROP_ROW("addr", &prop_pci_devfn, PciDevice, devfn,
             .help = "Slot and optional function number, example: 06.0 or 06",
             .def = (uint64_t)-1),
    PROP_STR("romfile", PciDevice, romfile),
    PROP_U32("romsize", PciDevice, romsize, UINT32_MAX),
    PROP_U32("rombar", PciDevice, rombar, 1),
    PROP_BOOL("multifunction", PciDevice, multifunction, false, .help = "on/off"),
    PROP_U32("acpi-index", PciDevice, acpi_index, 0),
    PROP_END
};

/* ---- plugging ---- */

PciBus *pci_bus_of(const PciDevice *dev)
{
    return (PciBus *)(void *)dev->dev.bus;
}

uint8_t pci_bus_number(const PciBus *bus)
{
    return bus->parent ? bus->parent->config[PCI_SECONDARY_BUS] : 0;
}

static bool pick_slot(PciBus *bus, PciDevice *dev, GError **error)
{
    const char *name = dev->dev.obj.type->name;

    if (dev->devfn < 0) {
        for (int devfn = bus->devfn_min; devfn < 256; devfn += 8) {
            if (!bus->devices[devfn]) {
                dev->devfn = devfn;
                return true;
            }
        }
        error_set(error, "PCI: no slot left on bus '%s' for '%s': all 32 are in use; add a bridge",
                  bus->bus.obj.name, name);
        return false;
    }
    if (bus->devices[dev->devfn]) {
        error_set(error,
                  "PCI: slot %x function %x is not available for %s, in use by %s,id=%s",
                  PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn), name,
                  bus->devices[dev->devfn]->dev.obj.type->name,
                  bus->devices[dev->devfn]->dev.id ?: "(none)");
        return false;
    }
    return true;
}

/* Functions 1..7 need a function 0 that says it has several.  [PCI3.0 6.2.1] */
static bool check_multifunction(PciBus *bus, PciDevice *dev, GError **error)
{
    unsigned slot = PCI_SLOT(dev->devfn);

    if (PCI_FUNC(dev->devfn)) {
        PciDevice *f0 = bus->devices[PCI_DEVFN(slot, 0)];

        if (f0 && !f0->multifunction) {
            error_set(error,
                      "PCI: single function device can't be populated in function %x.%x: give "
                      "the device in %x.0 multifunction=on",
                      slot, PCI_FUNC(dev->devfn), slot);
            return false;
        }
        return true;
    }
    for (unsigned fn = 1; fn < 8 && !dev->multifunction; fn++) {
        if (bus->devices[PCI_DEVFN(slot, fn)]) {
            error_set(error,
                      "PCI: %x.0 indicates single function, but %x.%x is already populated: use "
                      "multifunction=on",
                      slot, slot, fn);
            return false;
        }
    }
    return true;
}

static void fill_header(PciDevice *dev)
{
    const PciInfo *info = pci_info(dev);
    uint8_t *c = dev->config;

    le16_store(c + PCI_VENDOR_ID, info->vendor_id);
    le16_store(c + PCI_DEVICE_ID, info->device_id);
    c[PCI_REVISION_ID] = info->revision;
    c[PCI_CLASS_PROG] = info->prog_if;
    le16_store(c + PCI_CLASS_DEVICE, info->class_id);
    if (info->is_bridge) {
        c[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
    } else {
        le16_store(c + PCI_SUBSYSTEM_VENDOR_ID,
                   info->subsystem_vendor_id ?: PCI_VENDOR_REDHAT_QUMRANET);
        le16_store(c + PCI_SUBSYSTEM_ID, info->subsystem_id ?: PCI_SUBDEVICE_QEMU);
    }
    if (dev->multifunction) {
        c[PCI_HEADER_TYPE] |= PCI_HEADER_TYPE_MULTIFUNCTION;
    }
    c[PCI_INTERRUPT_PIN] = info->interrupt_pin;

    memset(dev->cmask, 0, dev->config_size);
    le16_store(dev->cmask + PCI_VENDOR_ID, 0xffff);
    le16_store(dev->cmask + PCI_DEVICE_ID, 0xffff);
    dev->cmask[PCI_STATUS] = PCI_STATUS_CAP_LIST;
    dev->cmask[PCI_REVISION_ID] = 0xff;
    dev->cmask[PCI_CLASS_PROG] = 0xff;
    le16_store(dev->cmask + PCI_CLASS_DEVICE, 0xffff);
    dev->cmask[PCI_HEADER_TYPE] = 0xff;
    dev->cmask[PCI_CAPABILITY_LIST] = 0xff;

    dev->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    dev->wmask[PCI_INTERRUPT_LINE] = 0xff;
    le16_store(dev->wmask + PCI_COMMAND,
               PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                   PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_SERR);
    memset(dev->wmask + 0x40, 0xff, dev->config_size - 0x40);
    le16_store(dev->w1cmask + PCI_STATUS,
               0x100 | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
                   PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR |
                   PCI_STATUS_DETECTED_PARITY);
}

static void free_config(PciDevice *dev)
{
    g_clear_pointer(&dev->config, g_free);
    g_clear_pointer(&dev->cmask, g_free);
    g_clear_pointer(&dev->wmask, g_free);
    g_clear_pointer(&dev->w1cmask, g_free);
    g_clear_pointer(&dev->used, g_free);
}

/* Its DMA sees the bus's space while the command register has bus mastering on. */
static void init_bus_master(PciDevice *dev, PciBus *bus)
{
    MemoryRegion *target = bus->bus.dma_as ? bus->bus.dma_as->root : bus->memory;

    memory_region_init(&dev->bus_master, OBJECT(dev), "bus master container", UINT64_MAX);
    memory_region_init_alias(&dev->bus_master_alias, OBJECT(dev), "bus master", target, 0,
                             UINT64_MAX);
    memory_region_set_enabled(&dev->bus_master_alias, false);
    memory_region_add(&dev->bus_master, 0, &dev->bus_master_alias);
    address_space_init(&dev->bus_master_as, &dev->bus_master, dev->dev.obj.type->name);
    dev->dev.dma_as = &dev->bus_master_as;
}

static void drop_device(PciBus *bus, PciDevice *dev)
{
    pci_rom_remove(dev);
    pci_unmap_bars(dev);
    pci_release_irq(dev);
    bus->devices[dev->devfn] = NULL;
    dev->dev.dma_as = NULL;
    address_space_destroy(&dev->bus_master_as);
    memory_region_remove(&dev->bus_master, &dev->bus_master_alias);
    memory_region_clear(&dev->bus_master_alias);
    memory_region_clear(&dev->bus_master);
    free_config(dev);
}

static bool pci_attach(Bus *b, Device *device, GError **error)
{
    PciBus *bus = (PciBus *)(void *)b;
    PciDevice *dev = (PciDevice *)(void *)device;

    if (!pick_slot(bus, dev, error) || !check_multifunction(bus, dev, error)) {
        return false;
    }
    dev->cap_present = pci_info(dev)->is_express && bus->is_express;
    dev->config_size = dev->cap_present ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;
    dev->config = g_malloc0(dev->config_size);
    dev->cmask = g_malloc0(dev->config_size);
    dev->wmask = g_malloc0(dev->config_size);
    dev->w1cmask = g_malloc0(dev->config_size);
    dev->used = g_malloc0(dev->config_size);
    for (unsigned n = 0; n < PCI_BARS; n++) {
        dev->bars[n] = (PciBar){ .addr = PCI_BAR_UNMAPPED };
    }
    fill_header(dev);
    init_bus_master(dev, bus);
    bus->devices[dev->devfn] = dev;
    if (!pci_rom_add(dev, error)) {
        drop_device(bus, dev);
        return false;
    }
    return true;
}

static void pci_detach(Bus *b, Device *device)
{
    PciDevice *dev = (PciDevice *)(void *)device;

    msix_uninit(dev);
    drop_device((PciBus *)(void *)b, dev);
}

static char *pci_dev_path(Device *device)
{
    PciDevice *dev = (PciDevice *)(void *)device;

    return g_strdup_printf("0000:%02x:%02x.%x", pci_bus_number(pci_bus_of(dev)),
                           PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn));
}

/* Node names by class, as SeaBIOS's bootorder wants them.  [IEEE 1275 PCI binding] */
static char *pci_fw_path(Device *device)
{
    /* clang-format off */
    static const struct { uint16_t class_id, mask; const char *name; } names[] = {
        { 0x0100, 0xffff, "scsi" },     { 0x0101, 0xffff, "ide" },
        { 0x0102, 0xffff, "fdc" },      { 0x0200, 0xffff, "ethernet" },
        { 0x0300, 0xffff, "display" },  { 0x0600, 0xffff, "host" },
        { 0x0601, 0xffff, "isa" },      { 0x0604, 0xffff, "pci-bridge" },
        { 0x0780, 0xffff, "communication" }, { 0x0c03, 0xffff, "usb" },
    };
    /* clang-format on */
    PciDevice *dev = (PciDevice *)(void *)device;
    uint16_t class_id = le16_load(dev->config + PCI_CLASS_DEVICE);
    const char *name = NULL;
    GString *path = g_string_new(NULL);

    for (unsigned i = 0; i < ARRAY_LEN(names) && !name; i++) {
        if (names[i].class_id == (class_id & names[i].mask)) {
            name = names[i].name;
        }
    }
    if (name) {
        g_string_append_printf(path, "%s@%x", name, PCI_SLOT(dev->devfn));
    } else {
        g_string_append_printf(path, "pci%04x,%04x@%x", le16_load(dev->config + PCI_VENDOR_ID),
                               le16_load(dev->config + PCI_DEVICE_ID), PCI_SLOT(dev->devfn));
    }
    if (PCI_FUNC(dev->devfn)) {
        g_string_append_printf(path, ",%x", PCI_FUNC(dev->devfn));
    }
    return g_string_free(path, FALSE);
}

static void pci_device_reset_enter(Device *dev)
{
    if (dev->bus) {
        pci_reset_common((PciDevice *)(void *)dev);
    }
}

static const DeviceType pci_device_type = {
    .name = "pci-device",
    .abstract = true,
    .size = sizeof(PciDevice),
    .reset_enter = pci_device_reset_enter,
};
TYPE_ROW(pci_device, &pci_device_type, "device");

const BusType bus_pci = {
    .name = "PCI",
    .device_type = "pci-device",
    .device_props = pci_device_props,
    .attach = pci_attach,
    .detach = pci_detach,
    .dev_path = pci_dev_path,
    .fw_path = pci_fw_path,
};

void pci_root_bus_init(PciBus *bus, Device *owner, Vm *vm, const char *name,
                       MemoryRegion *memory, MemoryRegion *io, const PciBusOps *ops,
                       void *opaque, unsigned irqs)
{
    bus_init(&bus->bus, &bus_pci, owner, vm, name);
    bus->bus.dma_as = &vm->memory;
    bus->memory = memory;
    bus->io = io;
    bus->ops = ops;
    bus->ops_opaque = opaque;
    bus->irqs = irqs;
}

/* ---- configuration cycles ---- */

static PciBus *find_bus(PciBus *bus, uint8_t nr)
{
    if (pci_bus_number(bus) == nr) {
        return bus;
    }
    /* A bridge passes on what lies in its secondary..subordinate range. */
    for (unsigned i = 0; i < bus->bus.devices->len; i++) {
        PciDevice *dev = g_ptr_array_index(bus->bus.devices, i);
        GPtrArray *buses = dev->dev.buses;

        if (!pci_info(dev)->is_bridge || !buses || !buses->len ||
            nr < dev->config[PCI_SECONDARY_BUS] || nr > dev->config[PCI_SUBORDINATE_BUS] ||
            !dev->config[PCI_SECONDARY_BUS]) {
            continue;
        }
        return find_bus(g_ptr_array_index(buses, 0), nr);
    }
    return NULL;
}

static PciDevice *pci_find_device(PciBus *root, uint8_t bus_nr, uint8_t devfn)
{
    PciBus *bus = find_bus(root, bus_nr);

    return bus ? bus->devices[devfn] : NULL;
}

uint32_t pci_config_cycle_read(PciBus *root, uint8_t bus_nr, uint8_t devfn, uint32_t offset,
                               unsigned len)
{
    PciDevice *dev = pci_find_device(root, bus_nr, devfn);
    uint32_t ones = len == 4 ? UINT32_MAX : (1u << (8 * len)) - 1, value;

    if (!dev || !dev->dev.realized || offset + len > dev->config_size) {
        return ones;
    }
    value = (pci_info(dev)->config_read ?: pci_default_config_read)(dev, offset, len) & ones;
    trace_pci_cfg_read(dev->dev.obj.type->name, bus_nr, PCI_SLOT(devfn), PCI_FUNC(devfn), offset,
                       value);
    return value;
}

void pci_config_cycle_write(PciBus *root, uint8_t bus_nr, uint8_t devfn, uint32_t offset,
                            uint32_t value, unsigned len)
{
    PciDevice *dev = pci_find_device(root, bus_nr, devfn);

    if (!dev || !dev->dev.realized || offset + len > dev->config_size) {
        return;
    }
    trace_pci_cfg_write(dev->dev.obj.type->name, bus_nr, PCI_SLOT(devfn), PCI_FUNC(devfn), offset,
                        value);
    (pci_info(dev)->config_write ?: pci_default_config_write)(dev, offset, value, len);
    device_sync(&dev->dev);
}

PciDevice *pci_create(PciBus *bus, int devfn, bool multifunction, const char *type,
                      GError **error)
{
    Device *dev = device_new(bus->bus.vm, type, error);

    if (!dev) {
        return NULL;
    }
    DEVICE_CAST(PciDevice, dev)->devfn = devfn;
    DEVICE_CAST(PciDevice, dev)->multifunction = multifunction;
    if (!device_realize(dev, &bus->bus, error)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    object_unref(OBJECT(dev));
    return DEVICE_CAST(PciDevice, dev);
}
