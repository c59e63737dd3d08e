/* SPDX-License-Identifier: MIT */
/*
 * The microvm machine: virtio-mmio registers of both versions, drivers that misbehave at them, and the generic
 * event device.  [VIRTIO1.2 4.2, ACPI6.3 5.6.9]
 */
#include "tests/qtest/libqtest.h"

enum { LAST = 0xfeb00e00, EMPTY = 0xfeb00c00, GED = 0xfea00000, GED_REGS = 0xfea00200 };
enum { VERSION = 0x04, DEVICE_ID = 0x08, FEATURES = 0x10, FEATURES_SEL = 0x14, DRIVER_FEATURES = 0x20,
       DRIVER_FEATURES_SEL = 0x24, PAGE_SIZE = 0x28, QUEUE_SEL = 0x30, NUM_MAX = 0x34, NUM = 0x38, ALIGN = 0x3c,
       PFN = 0x40, READY = 0x44, NOTIFY = 0x50, ISR = 0x60, ACK = 0x64, STATUS = 0x70, DESC = 0x80, DRIVER = 0x90,
       DEVICE = 0xa0, SHM_LEN = 0xb0, CONFIG = 0x100 };
enum { RING = 0x100000, HEADER = 0x200000, DATA = 0x201000, RESULT = 0x202000, QUEUE_SIZE = 16 };
enum { DESC_NEXT = 1, DESC_WRITE = 2, SEAT_PIN = 23 };

static uint32_t get(Qtest *q, unsigned reg)
{
    return qtest_readl(q, LAST + reg);
}

static void set(Qtest *q, unsigned reg, uint32_t value)
{
    qtest_writel(q, LAST + reg, value);
}

static void put_descriptor(Qtest *q, unsigned i, uint64_t addr, uint32_t len, unsigned flags)
{
    qtest_writeq(q, RING + 16 * i, addr);
    qtest_writel(q, RING + 16 * i + 8, len);
    qtest_writew(q, RING + 16 * i + 12, (uint16_t)flags);
    qtest_writew(q, RING + 16 * i + 14, (uint16_t)(i + 1));
}

/* The second sector of the disk by a chain of three; the rings are where a legacy driver has them. */
static void read_sector(Qtest *q, uint64_t used)
{
    uint64_t avail = RING + 16 * QUEUE_SIZE;

    qtest_writel(q, HEADER, 0);
    qtest_writel(q, HEADER + 4, 0);
    qtest_writeq(q, HEADER + 8, 1);
    qtest_writeb(q, RESULT, 0xff);
    put_descriptor(q, 0, HEADER, 16, DESC_NEXT);
    put_descriptor(q, 1, DATA, 512, DESC_NEXT | DESC_WRITE);
    put_descriptor(q, 2, RESULT, 1, DESC_WRITE);
    qtest_writew(q, avail + 4, 0);
    qtest_writew(q, avail + 2, 1);
    set(q, NOTIFY, 0);
    while (qtest_readw(q, used + 2) != 1) {
        g_thread_yield();
    }
    g_assert_cmphex(qtest_readb(q, RESULT), ==, 0);
    g_assert_cmphex(qtest_readb(q, DATA + 7), ==, 1 ^ 7);
    g_assert_true(qtest_irq(q, SEAT_PIN));
    g_assert_cmphex(get(q, ISR), ==, 1);
    set(q, ACK, 1);
    g_assert_cmphex(get(q, ISR), ==, 0);
    g_assert_false(qtest_irq(q, SEAT_PIN));
}

static void watch_ioapic(Qtest *q)
{
    g_autofree char *path = qtest_find_device(q, "ioapic", 0);

    qtest_irq_intercept_in(q, path);
}

static void legacy(Qtest *q)
{
    watch_ioapic(q);
    g_assert_cmphex(get(q, 0), ==, 0x74726976);
    g_assert_cmphex(get(q, VERSION), ==, 1);
    g_assert_cmphex(get(q, DEVICE_ID), ==, 2);
    g_assert_cmphex(qtest_readl(q, EMPTY + VERSION), ==, 1);
    g_assert_cmphex(qtest_readl(q, EMPTY + DEVICE_ID), ==, 0);
    qtest_writel(q, EMPTY + STATUS, 1);
    g_assert_cmphex(qtest_readl(q, EMPTY + STATUS), ==, 0);
    set(q, PAGE_SIZE, 4096);
    set(q, STATUS, 0);
    set(q, STATUS, 3);
    set(q, DRIVER_FEATURES, 0);
    g_assert_cmpuint(get(q, NUM_MAX), ==, 256);
    set(q, NUM, QUEUE_SIZE);
    set(q, ALIGN, 64);
    set(q, PFN, RING / 4096);
    g_assert_cmphex(get(q, PFN), ==, RING / 4096);
    set(q, STATUS, 7);
    g_assert_cmpuint(get(q, CONFIG), ==, 1 << 20 >> 9);
    read_sector(q, RING + 0x140);             /* behind 6 + 2 * 16 bytes at 0x100, aligned to 64 */
    set(q, STATUS, 0);
    g_assert_cmphex(get(q, PFN), ==, 0);
}

static void modern_setup(Qtest *q)
{
    set(q, STATUS, 0);
    set(q, STATUS, 3);
    set(q, FEATURES_SEL, 1);
    g_assert_cmphex(get(q, FEATURES) & 1, ==, 1);         /* VERSION_1 */
    g_assert_cmphex(get(q, FEATURES) & 1 << 8, ==, 0);    /* no RING_RESET here */
    set(q, FEATURES_SEL, 2);
    g_assert_cmphex(get(q, FEATURES), ==, 0);
    set(q, DRIVER_FEATURES_SEL, 1);
    set(q, DRIVER_FEATURES, 1);
    set(q, DRIVER_FEATURES_SEL, 0);
    set(q, DRIVER_FEATURES, 0);
    set(q, STATUS, 11);
    g_assert_cmphex(get(q, STATUS), ==, 11);
    set(q, QUEUE_SEL, 0);
    set(q, NUM, QUEUE_SIZE);
}

static void modern(Qtest *q)
{
    watch_ioapic(q);
    g_assert_cmphex(get(q, VERSION), ==, 2);
    modern_setup(q);
    set(q, DESC, RING);
    set(q, DRIVER, RING + 16 * QUEUE_SIZE);
    set(q, DEVICE, RING + 0x200);
    g_assert_cmpuint(get(q, READY), ==, 0);
    set(q, READY, 1);
    g_assert_cmpuint(get(q, READY), ==, 1);
    set(q, STATUS, 15);
    read_sector(q, RING + 0x200);
    g_assert_cmphex(get(q, SHM_LEN), ==, 0xffffffff);
    set(q, STATUS, 0);
    g_assert_cmpuint(get(q, READY), ==, 0);
}

/* Nothing of it ends the emulator, and the device works after the next reset. */
static void bad_modern(Qtest *q)
{
    set(q, QUEUE_SEL, 0xffffffff);
    set(q, QUEUE_SEL, 1000);
    set(q, READY, 1);
    set(q, NUM, 4);
    set(q, NOTIFY, 0xffff);
    set(q, NOTIFY, 1000);
    modern_setup(q);
    set(q, NUM, 3);
    set(q, NUM, 0x10000);
    set(q, DESC, RING + 1);
    set(q, DESC + 4, 0xffffffff);
    set(q, READY, 1);
    set(q, READY, 0);
    set(q, STATUS, 15);
    g_assert_cmphex(get(q, STATUS) & 64, ==, 64);
    set(q, NOTIFY, 0);
    qtest_writew(q, LAST + STATUS, 1);
    qtest_writeb(q, LAST + 3, 1);
    qtest_readw(q, LAST + 2);
    qtest_writel(q, LAST + 0x1fc, 1);
    modern(q);
}

static void bad_legacy(Qtest *q)
{
    set(q, PAGE_SIZE, 0);
    set(q, PAGE_SIZE, 12345);
    set(q, PAGE_SIZE, 0x80000000);
    set(q, STATUS, 3);
    set(q, ALIGN, 0);
    set(q, ALIGN, 3);
    set(q, ALIGN, 0x80000000);
    set(q, PFN, 0xffffffff);
    set(q, STATUS, 7);
    set(q, NOTIFY, 0);
    legacy(q);
}

static void power_button(Qtest *q)
{
    g_autofree char *path = qtest_find_device(q, "ioapic", 0);
    g_autofree char *answer = NULL, *event = NULL;

    qtest_irq_intercept_in(q, path);
    g_assert_cmphex(qtest_readl(q, GED), ==, 0);
    answer = qtest_qmp(q, "{'execute': 'system_powerdown'}");
    g_assert_cmpuint(qtest_edges(q, 9), ==, 1);
    g_assert_cmphex(qtest_readl(q, GED), ==, 2);
    g_assert_cmphex(qtest_readl(q, GED), ==, 0);
    qtest_writel(q, GED, 0xffffffff);
    qtest_writeb(q, GED_REGS, 0x20 | 3 << 2);             /* S3: there is none */
    qtest_writeb(q, GED_REGS + 2, 0x41);                  /* not the value of the reset */
    qtest_writeb(q, GED_REGS + 2, 0x42);
    event = qtest_wait_event(q, "RESET");
    g_assert_nonnull(strstr(event, "guest-reset"));
}

static void power_off(Qtest *q)
{
    g_autofree char *event = NULL;

    qtest_writeb(q, GED_REGS, 0x20 | 5 << 2);
    event = qtest_wait_event(q, "SHUTDOWN");
    g_assert_nonnull(strstr(event, "guest-shutdown"));
}

int main(int argc, char **argv)
{
    g_autofree char *disk = NULL, *version_2 = NULL;

    g_test_init(&argc, &argv, NULL);
    disk = g_strdup_printf("-M microvm -nodefaults -drive if=none,id=d,format=raw,file=%s "
                           "-device virtio-blk-device,drive=d", qtest_temp_disk(1 << 20));
    version_2 = g_strconcat(disk, " -global virtio-mmio.force-legacy=off", NULL);
    const QtestCase cases[] = {
        { "virtio-mmio/legacy", disk, .run = legacy },
        { "virtio-mmio/modern", version_2, .run = modern },
        { "virtio-mmio/bad-legacy-driver", disk, .run = bad_legacy },
        { "virtio-mmio/bad-driver", version_2, .run = bad_modern },
        { "ged/power-button", "-M microvm -nodefaults", .run = power_button },
        { "ged/power-off", "-M microvm -nodefaults -no-shutdown", .run = power_off },
    };
    return qtest_run("/microvm", QTEST_CASES(cases));
}
