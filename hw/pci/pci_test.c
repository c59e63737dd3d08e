/* SPDX-License-Identifier: MIT */
/* Configuration space, BARs, INTx, MSI and MSI-X, on a device made for it. */
#include "base/error.h"
#include "hw/pci/pci_bench.h"

enum { MSI_DOORBELL = 0x3000, MSIX_DOORBELL = 0x3010, MEM = 0xe0000000, IO = 0xc100,
       TABLE = 0x800, PBA = 0xc00 };

typedef struct Probe {
    PciDevice pci;
    MemoryRegion mem, io, wide;
    uint32_t value;
} Probe;

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Probe *)opaque)->value + offset;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ((Probe *)opaque)->value = value;
}

static const MmioOps probe_ops = { probe_read, probe_write, .valid_max = 4, .impl_max = 4 };

static bool probe_realize(Device *dev, GError **error)
{
    Probe *s = DEVICE_CAST(Probe, dev);

    memory_region_init(&s->mem, OBJECT(dev), "probe-mem", 0x1000);
    memory_region_init_io(&s->io, OBJECT(dev), "probe-io", &probe_ops, s, 32);
    memory_region_init_io(&s->wide, OBJECT(dev), "probe-64", &probe_ops, s, 64 * KIB);
    pci_register_bar(&s->pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mem);
    pci_register_bar(&s->pci, 1, PCI_BASE_ADDRESS_SPACE_IO, &s->io);
    pci_register_bar(&s->pci, 2, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
                     &s->wide);
    return msi_init(&s->pci, 0, 4, true, true, error) &&
           msix_init(&s->pci, 5, &s->mem, 0, TABLE, &s->mem, 0, PBA, 0, error);
}

static const VmField probe_fields[] = {
    VMS_PCI_DEVICE(Probe, pci),
    VMS_PART(Probe, pci, "msix", &vmstate_msix),
    VMS_END
};

static const PciInfo probe_info = { .vendor_id = 0x1b36, .device_id = 0x00fe, .revision = 7,
                                    .class_id = 0x0880, .interrupt_pin = 2 };
DEVICE_TYPE(pci_probe, .name = "pci-probe", .parent = "pci-device", .size = sizeof(Probe),
            .bus = &bus_pci, .bus_info = &probe_info, .realize = probe_realize,
            .vmstate = VMSTATE("pci-probe", 1, 1, probe_fields));

typedef struct Fixture {
    PciBench *b;
    PciDevice *dev;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->b = pci_bench_new();
    f->dev = pci_create(f->b->bus, PCI_DEVFN(5, 0), false, "pci-probe", &error);
    g_assert_no_error(error);
    device_reset(&f->dev->dev);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    device_unplug(&f->dev->dev);
    pci_bench_free(f->b);
}

static uint32_t cfg(Fixture *f, unsigned offset, unsigned size)
{
    return pci_cfg_read(f->b, f->dev, offset, size);
}

static void set_cfg(Fixture *f, unsigned offset, uint32_t value, unsigned size)
{
    pci_cfg_write(f->b, f->dev, offset, value, size);
}

static void enable(Fixture *f)
{
    set_cfg(f, PCI_BASE_ADDRESS_0, MEM, 4);
    set_cfg(f, PCI_BASE_ADDRESS_0 + 4, IO, 4);
    set_cfg(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void test_header(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(cfg(f, 0, 4), ==, 0x00fe1b36);
    set_cfg(f, 0, 0xffffffff, 4);
    g_assert_cmphex(cfg(f, 0, 4), ==, 0x00fe1b36);
    g_assert_cmphex(cfg(f, 8, 4), ==, 0x08800007);
    g_assert_cmphex(cfg(f, PCI_INTERRUPT_PIN, 1), ==, 2);
    set_cfg(f, PCI_INTERRUPT_LINE, 0x0b, 1);
    g_assert_cmphex(cfg(f, PCI_INTERRUPT_LINE, 2), ==, 0x020b);
    pci_bench_out(f->b, 0xcf8, 0x80000000u | 30 << 11, 4);
    g_assert_cmphex(pci_bench_in(f->b, 0xcfc, 4), ==, 0xffffffff);
}

static void test_bar_sizes(Fixture *f, gconstpointer data)
{
    static const uint32_t sizes[] = { 0xfffff000, 0xffffffe1, 0xffff000c, 0xffffffff, 0 };

    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        set_cfg(f, PCI_BASE_ADDRESS_0 + 4 * i, 0xffffffff, 4);
        g_assert_cmphex(cfg(f, PCI_BASE_ADDRESS_0 + 4 * i, 4), ==, sizes[i]);
    }
}

static void test_bars_decode_when_enabled(Fixture *f, gconstpointer data)
{
    DEVICE_CAST(Probe, &f->dev->dev)->value = 0x100;
    set_cfg(f, PCI_BASE_ADDRESS_0 + 4, IO, 4);
    g_assert_cmphex(pci_bench_in(f->b, IO + 4, 4), ==, 0xffffffff);
    set_cfg(f, PCI_COMMAND, PCI_COMMAND_IO, 2);
    g_assert_cmphex(pci_bench_in(f->b, IO + 4, 4), ==, 0x104);
    set_cfg(f, PCI_BASE_ADDRESS_0 + 4, IO + 0x100, 4);
    g_assert_cmphex(pci_bench_in(f->b, IO + 4, 4), ==, 0xffffffff);
    g_assert_cmphex(pci_bench_in(f->b, IO + 0x108, 4), ==, 0x108);
    set_cfg(f, PCI_BASE_ADDRESS_0 + 8, 0, 4);
    set_cfg(f, PCI_BASE_ADDRESS_0 + 12, 0x12, 4);
    set_cfg(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    g_assert_cmphex(pci_bench_load(f->b, 0x1200000008, 4), ==, 0x108);
    g_assert_cmphex(pci_bench_in(f->b, IO + 0x108, 4), ==, 0xffffffff);
}

static void test_intx_disable(Fixture *f, gconstpointer data)
{
    unsigned n = (5 + 1) & 3;         /* slot 5, INTB */

    pci_set_irq(f->dev, true);
    g_assert_true(pci_bench_irq(f->b, n));
    g_assert_cmphex(cfg(f, PCI_STATUS, 1) & PCI_STATUS_INTERRUPT, ==, PCI_STATUS_INTERRUPT);
    set_cfg(f, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    g_assert_false(pci_bench_irq(f->b, n));
    g_assert_cmphex(cfg(f, PCI_STATUS, 1) & PCI_STATUS_INTERRUPT, ==, PCI_STATUS_INTERRUPT);
    pci_set_irq(f->dev, false);
    pci_set_irq(f->dev, true);
    g_assert_false(pci_bench_irq(f->b, n));
    set_cfg(f, PCI_COMMAND, 0, 2);
    g_assert_true(pci_bench_irq(f->b, n));
    device_reset(&f->dev->dev);
    g_assert_false(pci_bench_irq(f->b, n));
    g_assert_cmpuint(f->b->bus->irq_count[n], ==, 0);
}

/* The count of a shared line is right after a load, so that it falls with its last device. */
static void test_intx_survives_save_and_load(Fixture *f, gconstpointer data)
{
    unsigned n = (5 + 1) & 3;

    pci_set_irq(f->dev, true);
    pci_bench_save_load(f->b);
    g_assert_cmpuint(f->b->bus->irq_count[n], ==, 1);
    g_assert_cmphex(cfg(f, PCI_STATUS, 1) & PCI_STATUS_INTERRUPT, ==, PCI_STATUS_INTERRUPT);
    pci_set_irq(f->dev, false);
    g_assert_cmpuint(f->b->bus->irq_count[n], ==, 0);
    g_assert_false(pci_bench_irq(f->b, n));
}

static void test_msi_masks_and_vectors(Fixture *f, gconstpointer data)
{
    unsigned cap = f->dev->msi_cap;

    enable(f);
    set_cfg(f, cap + 4, MSI_DOORBELL | 3, 4);
    set_cfg(f, cap + 12, 0x4143, 2);
    set_cfg(f, cap + 2, 0x71, 2);         /* enabled; asks for 128, gets the 4 there are */
    g_assert_true(msi_enabled(f->dev));
    msi_notify(f->dev, 2);
    g_assert_cmphex(pci_bench_load(f->b, MSI_DOORBELL, 4), ==, 0x4142);
    set_cfg(f, cap + 16, 0xffffffff, 4);
    g_assert_cmphex(cfg(f, cap + 16, 4), ==, 0xf);
    msi_notify(f->dev, 1);
    g_assert_cmphex(cfg(f, cap + 20, 4), ==, 2);
    g_assert_cmphex(pci_bench_load(f->b, MSI_DOORBELL, 4), ==, 0x4142);
    set_cfg(f, cap + 16, 0, 4);
    g_assert_cmphex(cfg(f, cap + 20, 4), ==, 0);
    g_assert_cmphex(pci_bench_load(f->b, MSI_DOORBELL, 4), ==, 0x4141);
}

static void test_msix_masks_and_vectors(Fixture *f, gconstpointer data)
{
    unsigned cap = f->dev->msix_cap;

    enable(f);
    g_assert_cmphex(cfg(f, cap + 2, 2), ==, 4);
    g_assert_cmphex(pci_bench_load(f->b, MEM + TABLE + 4 * 16 + 12, 4), ==, 1);
    pci_bench_store(f->b, MEM + TABLE + 4 * 16, MSIX_DOORBELL, 8);
    pci_bench_store(f->b, MEM + TABLE + 4 * 16 + 8, 0xabcd, 4);
    set_cfg(f, cap + 2, PCI_MSIX_FLAGS_ENABLE, 2);
    msix_notify(f->dev, 4);
    g_assert_cmphex(pci_bench_load(f->b, MEM + PBA, 8), ==, 0x10);
    g_assert_cmphex(pci_bench_load(f->b, MSIX_DOORBELL, 4), ==, 0);
    pci_bench_store(f->b, MEM + TABLE + 4 * 16 + 12, 0, 4);
    g_assert_cmphex(pci_bench_load(f->b, MEM + PBA, 8), ==, 0);
    g_assert_cmphex(pci_bench_load(f->b, MSIX_DOORBELL, 4), ==, 0xabcd);
    msix_notify(f->dev, 5);               /* there is none */
    /* The last entry's end and what lies behind it. */
    g_assert_cmphex(pci_bench_load(f->b, MEM + TABLE + 5 * 16 - 8, 8), ==, 0xabcd);
    pci_bench_store(f->b, MEM + TABLE + 5 * 16 - 4, UINT64_MAX, 8);
    pci_bench_load(f->b, MEM + PBA + 4, 8);
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    enable(f);
    set_cfg(f, f->dev->msix_cap + 2, PCI_MSIX_FLAGS_ENABLE, 2);
    pci_bench_store(f->b, MEM + TABLE, 0x1122334455667788, 8);
    msix_notify(f->dev, 1);
    pci_bench_save_load(f->b);
    g_assert_cmphex(cfg(f, PCI_BASE_ADDRESS_0, 4), ==, MEM);
    g_assert_true(msix_enabled(f->dev));
    g_assert_cmphex(pci_bench_load(f->b, MEM + TABLE, 8), ==, 0x1122334455667788);
    g_assert_cmphex(pci_bench_load(f->b, MEM + PBA, 4), ==, 2);
}

static void test_slots_are_exclusive(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(pci_create(f->b->bus, PCI_DEVFN(5, 0), false, "pci-probe", &error));
    g_assert_nonnull(strstr(error->message, "in use by pci-probe"));
    g_clear_error(&error);
    g_assert_null(pci_create(f->b->bus, PCI_DEVFN(5, 1), false, "pci-probe", &error));
    g_assert_nonnull(strstr(error->message, "multifunction=on"));
}

#define ADD(name, fn) g_test_add("/pci/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("header", test_header);
    ADD("bar-sizes", test_bar_sizes);
    ADD("bar-decode", test_bars_decode_when_enabled);
    ADD("intx-disable", test_intx_disable);
    ADD("intx-save-load", test_intx_survives_save_and_load);
    ADD("msi", test_msi_masks_and_vectors);
    ADD("msix", test_msix_masks_and_vectors);
    ADD("save-load", test_state_survives_save_and_load);
    ADD("slots", test_slots_are_exclusive);
    return g_test_run();
}
