/* SPDX-License-Identifier: MIT */
/* PAM and SMRAM of the host bridge. */
#include "hw/pci/pci_bench.h"

enum { PAM0 = 0x59, SMRAM = 0x72 };

typedef struct Fixture {
    PciBench *b;
    PciDevice *bridge;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->b = pci_bench_new();
    f->bridge = f->b->bus->devices[0];
}

static void tear_down(Fixture *f, gconstpointer data)
{
    pci_bench_free(f->b);
}

static void set(Fixture *f, unsigned reg, uint8_t value)
{
    pci_cfg_write(f->b, f->bridge, reg, value, 1);
}

static uint8_t get(Fixture *f, unsigned reg)
{
    return pci_cfg_read(f->b, f->bridge, reg, 1);
}

static uint8_t *ram(Fixture *f, gpa_t addr)
{
    return (uint8_t *)memory_region_ram_ptr(&f->b->ram) + addr;
}

/* Each segment on its own: PCI, then RAM, then RAM that cannot be written. */
static void test_pam(Fixture *f, gconstpointer data)
{
    static const struct { uint32_t base; uint8_t reg, shift; } segments[] = {
        { 0xf0000, 0x59, 4 }, { 0xc0000, 0x5a, 0 }, { 0xc4000, 0x5a, 4 }, { 0xc8000, 0x5b, 0 },
        { 0xcc000, 0x5b, 4 }, { 0xd0000, 0x5c, 0 }, { 0xd4000, 0x5c, 4 }, { 0xd8000, 0x5d, 0 },
        { 0xdc000, 0x5d, 4 }, { 0xe0000, 0x5e, 0 }, { 0xe4000, 0x5e, 4 }, { 0xe8000, 0x5f, 0 },
        { 0xec000, 0x5f, 4 },
    };

    for (unsigned i = 0; i < ARRAY_LEN(segments); i++) {
        gpa_t at = segments[i].base + 0x3ffc;

        pci_bench_store(f->b, at, 0x11, 1);
        g_assert_cmphex(*ram(f, at), ==, 0);
        g_assert_cmphex(pci_bench_load(f->b, at, 1), ==, 0xff);
        set(f, segments[i].reg, 3 << segments[i].shift);
        pci_bench_store(f->b, at, 0x22, 1);
        g_assert_cmphex(*ram(f, at), ==, 0x22);
        set(f, segments[i].reg, 1 << segments[i].shift);
        pci_bench_store(f->b, at, 0x33, 1);
        g_assert_cmphex(pci_bench_load(f->b, at, 1), ==, 0x22);
        set(f, segments[i].reg, 0);
        g_assert_cmphex(pci_bench_load(f->b, at, 1), ==, 0xff);
    }
}

static void test_smram_opens_and_locks(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(get(f, SMRAM), ==, 0x02);
    pci_bench_store(f->b, 0xa0000, 1, 1);
    g_assert_cmphex(*ram(f, 0xa0000), ==, 0);
    set(f, SMRAM, 0x48);              /* G_SMRAME, D_OPEN */
    pci_bench_store(f->b, 0xa0000, 0x5a, 1);
    g_assert_cmphex(*ram(f, 0xa0000), ==, 0x5a);
    set(f, SMRAM, 0x58);              /* D_LCK closes it */
    g_assert_cmphex(get(f, SMRAM), ==, 0x1a);
    g_assert_cmphex(pci_bench_load(f->b, 0xa0000, 1), ==, 0xff);
    set(f, SMRAM, 0x48);
    g_assert_cmphex(get(f, SMRAM), ==, 0x1a);
    pci_cfg_write(f->b, f->bridge, 0x70, 0x00400000, 4);
    g_assert_cmphex(get(f, SMRAM), ==, 0x1a);
    g_assert_cmphex(pci_bench_load(f->b, 0xa0000, 1), ==, 0xff);
    g_assert_cmphex(address_space_load(f->b->vm->smm_memory, 0xa0000, 1), ==, 0x5a);
}

static void test_state_survives_save_and_load(Fixture *f, gconstpointer data)
{
    *ram(f, 0xd0000) = 0x77;
    set(f, 0x5c, 1);
    set(f, SMRAM, 0x18);
    pci_bench_out(f->b, 0xcf8, 0x80001234, 4);
    pci_bench_save_load(f->b);
    g_assert_cmphex(pci_bench_in(f->b, 0xcf8, 4), ==, 0x80001234);
    g_assert_cmphex(pci_bench_load(f->b, 0xd0000, 1), ==, 0x77);
    g_assert_cmphex(get(f, SMRAM), ==, 0x1a);
}

#define ADD(name, fn) g_test_add("/i440fx/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("pam", test_pam);
    ADD("smram", test_smram_opens_and_locks);
    ADD("save-load", test_state_survives_save_and_load);
    return g_test_run();
}
