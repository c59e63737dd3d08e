/* SPDX-License-Identifier: MIT */
/*
 * MSI-X: a table of messages and a pending bit array inside the device's BARs.  [PCI3.0 6.8.2]
 * Locking: machine lock.
 */
#include "hw/pci/pci_int.h"

enum { ENTRY_ADDR_LO = 0, ENTRY_ADDR_HI = 4, ENTRY_DATA = 8, ENTRY_CTRL = 12 };

typedef struct PciMsix {
    unsigned vectors;
    uint8_t *table;           /* vectors * PCI_MSIX_ENTRY_SIZE bytes */
    uint8_t *pba;             /* one bit a vector, rounded up to 8 bytes */
    size_t pba_len;
    MemoryRegion table_mr, pba_mr;
    MemoryRegion *table_bar, *pba_bar;
    bool was_masked;          /* function mask or disabled */
} PciMsix;

static uint16_t msix_flags(const PciDevice *dev)
{
    return le16_load(dev->config + dev->msix_cap + PCI_MSIX_FLAGS);
}

bool msix_enabled(const PciDevice *dev)
{
    return dev->msix && (msix_flags(dev) & PCI_MSIX_FLAGS_ENABLE);
}

static bool function_masked(const PciDevice *dev)
{
    return (msix_flags(dev) & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) !=
           PCI_MSIX_FLAGS_ENABLE;
}

static bool vector_masked(const PciDevice *dev, unsigned vector)
{
    const uint8_t *entry = dev->msix->table + vector * PCI_MSIX_ENTRY_SIZE;

    return function_masked(dev) || (entry[ENTRY_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

bool msix_message(const PciDevice *dev, unsigned vector, uint64_t *address, uint32_t *data)
{
    const uint8_t *entry;

    if (!dev->msix || vector >= dev->msix->vectors || vector_masked(dev, vector)) {
        return false;
    }
    entry = dev->msix->table + vector * PCI_MSIX_ENTRY_SIZE;
    *address = le64_load(entry + ENTRY_ADDR_LO);
    *data = le32_load(entry + ENTRY_DATA);
    return true;
}

static void changed(PciDevice *dev)
{
    if (dev->msix_changed) {
        dev->msix_changed(dev);
    }
}

static void send_message(PciDevice *dev, unsigned vector)
{
    const uint8_t *entry = dev->msix->table + vector * PCI_MSIX_ENTRY_SIZE;

    dma_store(&dev->dev, le64_load(entry + ENTRY_ADDR_LO), le32_load(entry + ENTRY_DATA), 4);
}

static void send_if_pending(PciDevice *dev, unsigned vector)
{
    uint8_t *byte = &dev->msix->pba[vector / 8];

    if ((*byte & BIT(vector % 8)) && !vector_masked(dev, vector)) {
        *byte &= ~BIT(vector % 8);
        send_message(dev, vector);
    }
}

void msix_notify(PciDevice *dev, unsigned vector)
{
    if (!msix_enabled(dev) || vector >= dev->msix->vectors) {
        return;
    }
    if (vector_masked(dev, vector)) {
        dev->msix->pba[vector / 8] |= BIT(vector % 8);
        return;
    }
    send_message(dev, vector);
}

void msix_config_written(PciDevice *dev, uint32_t offset, unsigned len)
{
    bool masked;

    if (!dev->msix) {
        return;
    }
    masked = function_masked(dev);
    if (dev->msix->was_masked && !masked) {
        for (unsigned v = 0; v < dev->msix->vectors; v++) {
            send_if_pending(dev, v);
        }
    }
    if (dev->msix->was_masked != masked) {
        dev->msix->was_masked = masked;
        changed(dev);
    }
}

static uint64_t table_read(void *opaque, uint64_t offset, unsigned size)
{
    return le_load(((PciDevice *)opaque)->msix->table + offset, size);
}

static void table_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PciDevice *dev = opaque;

    le_store(dev->msix->table + offset, value, size);
    send_if_pending(dev, offset / PCI_MSIX_ENTRY_SIZE);
    changed(dev);
}

static uint64_t pba_read(void *opaque, uint64_t offset, unsigned size)
{
    return le_load(((PciDevice *)opaque)->msix->pba + offset, size);
}

static void pba_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    /* Software never writes here; the result is undefined: ignored. */
}

/* clang-format off */
static const MmioOps table_ops = { table_read, table_write, .valid_min = 4, .valid_max = 8, .impl_min = 4, .impl_max = 8 };
static const MmioOps pba_ops   = { pba_read,   pba_write,   .valid_min = 4, .valid_max = 8, .impl_min = 4, .impl_max = 8 };
/* clang-format on */

static void mask_all(PciMsix *m)
{
    memset(m->table, 0, m->vectors * PCI_MSIX_ENTRY_SIZE);
    for (unsigned v = 0; v < m->vectors; v++) {
        m->table[v * PCI_MSIX_ENTRY_SIZE + ENTRY_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
    memset(m->pba, 0, m->pba_len);
    m->was_masked = true;
}

bool msix_init(PciDevice *dev, unsigned vectors, MemoryRegion *table_bar, uint8_t table_bar_nr,
               uint32_t table_offset, MemoryRegion *pba_bar, uint8_t pba_bar_nr,
               uint32_t pba_offset, uint8_t cap_offset, GError **error)
{
    uint8_t cap = pci_add_capability(dev, PCI_CAP_ID_MSIX, cap_offset, 12, error);
    PciMsix *m;

    g_assert(vectors >= 1 && vectors <= 2048);
    if (!cap) {
        return false;
    }
    dev->msix_cap = cap;
    le16_store(dev->config + cap + PCI_MSIX_FLAGS, vectors - 1);
    le32_store(dev->config + cap + PCI_MSIX_TABLE, table_offset | table_bar_nr);
    le32_store(dev->config + cap + PCI_MSIX_PBA, pba_offset | pba_bar_nr);
    le16_store(dev->wmask + cap + PCI_MSIX_FLAGS,
               PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);

    m = g_new0(PciMsix, 1);
    m->vectors = vectors;
    m->table = g_malloc(vectors * PCI_MSIX_ENTRY_SIZE);
    m->pba_len = align_up(div_round_up(vectors, 8), 8);
    m->pba = g_malloc(m->pba_len);
    m->table_bar = table_bar;
    m->pba_bar = pba_bar;
    mask_all(m);
    dev->msix = m;
    memory_region_init_io(&m->table_mr, OBJECT(dev), "msix-table", &table_ops, dev,
                          vectors * PCI_MSIX_ENTRY_SIZE);
    memory_region_init_io(&m->pba_mr, OBJECT(dev), "msix-pba", &pba_ops, dev, m->pba_len);
    memory_region_add(table_bar, table_offset, &m->table_mr);
    memory_region_add(pba_bar, pba_offset, &m->pba_mr);
    return true;
}

void msix_uninit(PciDevice *dev)
{
    PciMsix *m = g_steal_pointer(&dev->msix);

    if (!m) {
        return;
    }
    memory_region_remove(m->table_bar, &m->table_mr);
    memory_region_remove(m->pba_bar, &m->pba_mr);
    memory_region_clear(&m->table_mr);
    memory_region_clear(&m->pba_mr);
    g_free(m->table);
    g_free(m->pba);
    g_free(m);
    dev->msix_cap = 0;
}

void msix_reset(PciDevice *dev)
{
    if (dev->msix) {
        le16_store(dev->config + dev->msix_cap + PCI_MSIX_FLAGS, dev->msix->vectors - 1);
        mask_all(dev->msix);
        changed(dev);
    }
}

/* ---- state: QEMU's "msix" section: the table, then the pending bits ---- */

static bool msix_get(VmReader *r, void *field, const VmField *def, GError **error)
{
    PciDevice *dev = field;
    PciMsix *m = dev->msix;

    if (!vm_get_bytes(r, m->table, m->vectors * PCI_MSIX_ENTRY_SIZE) ||
        !vm_get_bytes(r, m->pba, div_round_up(m->vectors, 8))) {
        error_set(error, "the state ends inside an MSI-X table");
        return false;
    }
    m->was_masked = function_masked(dev);
    return true;
}

static void msix_put(VmWriter *w, const void *field, const VmField *def)
{
    const PciMsix *m = ((const PciDevice *)field)->msix;

    vm_put_bytes(w, m->table, m->vectors * PCI_MSIX_ENTRY_SIZE);
    vm_put_bytes(w, m->pba, div_round_up(m->vectors, 8));
}

static bool has_msix(const void *obj, int version)
{
    return ((const PciDevice *)obj)->msix != NULL;
}

static const VmField msix_fields[] = {
    { .name = "msix", .kind = VM_CUSTOM, .wire_type = "msix", .exists = has_msix,
      .get = msix_get, .put = msix_put },
    VMS_END
};

const VmStateDesc vmstate_msix = {
    .name = "msix", .version = 1, .minimum = 1, .fields = msix_fields,
};
