/* SPDX-License-Identifier: MIT */
/* QMP: query-pci, the buses as the guest has configured them. */
#include "hw/pci/pci.h"

#include "hw/pci/pci_int.h"
#include "qapi/qapi_commands.h"
#include "vm/vm.h"

static const struct {
    uint16_t class;
    const char *desc;
} classes[] = {
    { 0x0100, "SCSI controller" }, { 0x0101, "IDE controller" },   { 0x0106, "SATA controller" },
    { 0x0200, "Ethernet controller" }, { 0x0300, "VGA controller" }, { 0x0380, "Display controller" },
    { 0x0401, "Audio controller" }, { 0x0403, "Audio controller" }, { 0x0500, "RAM controller" },
    { 0x0600, "Host bridge" },     { 0x0601, "ISA bridge" },       { 0x0604, "PCI bridge" },
    { 0x0680, "Bridge" },          { 0x0700, "Serial port" },      { 0x0c03, "USB controller" },
    { 0x0c05, "SMBus" },
};

static QapiPciDeviceClass *describe_class(const PciDevice *dev)
{
    QapiPciDeviceClass *info = g_new0(QapiPciDeviceClass, 1);

    info->class = le16_load(dev->config + 0x0a);
    for (unsigned i = 0; i < ARRAY_LEN(classes); i++) {
        if (classes[i].class == info->class) {
            info->desc = g_strdup(classes[i].desc);
        }
    }
    return info;
}

static QapiPciDeviceId *describe_id(const PciDevice *dev)
{
    QapiPciDeviceId *id = g_new0(QapiPciDeviceId, 1);

    id->vendor = le16_load(dev->config);
    id->device = le16_load(dev->config + 2);
    if ((dev->config[0x0e] & 0x7f) == 0) {
        id->has_subsystem = id->has_subsystem_vendor = true;
        id->subsystem_vendor = le16_load(dev->config + 0x2c);
        id->subsystem = le16_load(dev->config + 0x2e);
    }
    return id;
}

static GPtrArray *describe_bars(const PciDevice *dev)
{
    GPtrArray *list = qapi_list_new(&qapi_type_QapiPciMemoryRegion);

    for (unsigned i = 0; i < PCI_BARS; i++) {
        const PciBar *bar = &dev->bars[i];
        QapiPciMemoryRegion *row;

        if (!bar->mr || !bar->size) {
            continue;
        }
        row = g_new0(QapiPciMemoryRegion, 1);
        row->bar = i;
        row->type = g_strdup(bar->type & 1 ? "io" : "memory");
        row->address = bar->addr == PCI_BAR_UNMAPPED ? -1 : (int64_t)bar->addr;
        row->size = (int64_t)bar->size;
        if (!(bar->type & 1)) {
            row->has_prefetch = row->has_mem_type_64 = true;
            row->prefetch = (bar->type & 8) != 0;
            row->mem_type_64 = (bar->type & 4) != 0;
        }
        g_ptr_array_add(list, row);
    }
    return list;
}

static QapiPciDeviceInfo *describe_device(const PciBus *bus, const PciDevice *dev)
{
    QapiPciDeviceInfo *info = g_new0(QapiPciDeviceInfo, 1);

    info->bus = pci_bus_number(bus);
    info->slot = dev->devfn >> 3;
    info->function = dev->devfn & 7;
    info->class_info = describe_class(dev);
    info->id = describe_id(dev);
    info->irq_pin = dev->config[0x3d];
    info->has_irq = info->irq_pin != 0;
    info->irq = dev->config[0x3c];
    info->qdev_id = g_strdup(dev->dev.id ? dev->dev.id : "");
    info->regions = describe_bars(dev);
    return info;
}

static void list_bus(Bus *bus, GPtrArray *list, unsigned depth)
{
    if (bus->type == &bus_pci) {
        const PciBus *pci = (const PciBus *)(const void *)bus;
        QapiPciInfo *info = g_new0(QapiPciInfo, 1);

        info->bus = pci_bus_number(pci);
        info->devices = qapi_list_new(&qapi_type_QapiPciDeviceInfo);
        for (unsigned i = 0; i < ARRAY_LEN(pci->devices); i++) {
            if (pci->devices[i]) {
                g_ptr_array_add(info->devices, describe_device(pci, pci->devices[i]));
            }
        }
        g_ptr_array_add(list, info);
    }
    for (unsigned i = 0; depth < 16 && bus->devices && i < bus->devices->len; i++) {
        Device *dev = bus->devices->pdata[i];

        for (unsigned j = 0; dev->buses && j < dev->buses->len; j++) {
            list_bus(dev->buses->pdata[j], list, depth + 1);
        }
    }
}

bool qmp_query_pci(QmpCall *call, GPtrArray **ret, GError **error)
{
    *ret = qapi_list_new(&qapi_type_QapiPciInfo);
    list_bus(&call->vm->system_bus, *ret, 0);
    return true;
}
