/* SPDX-License-Identifier: MIT */
/* i440FX, PIIX3 and PIIX4 PM as PCI functions: configuration space, PAM, PIRQs, resets, power. */
#include "tests/qtest/libqtest.h"

#include <string.h>

enum { HOST = 0x00, ISA = 0x08, IDE = 0x09, PM = 0x0b, VGA = 0x10 };
enum { LSI = 0x28, LSI_PORTS = 0xc000 };
enum { PM_BASE = 0x600, SMB = 0xb100 };

/* ---- configuration space ---- */

static const QtestStep ids[] = {
    PCI_READL(HOST, 0x00, 0x12378086), PCI_READL(HOST, 0x08, 0x06000002),
    PCI_READL(ISA, 0x00, 0x70008086), PCI_READL(ISA, 0x08, 0x06010000),
    PCI_READL(IDE, 0x00, 0x70108086), PCI_READL(IDE, 0x08, 0x01018000),
    PCI_READL(PM, 0x00, 0x71138086), PCI_READL(PM, 0x08, 0x06800003),
    PCI_READB(HOST, 0x0e, 0x00), PCI_READB(ISA, 0x0e, 0x80),
    PCI_READL(HOST, 0x2c, 0x11001af4), PCI_READL(PM, 0x2c, 0x11001af4),
    PCI_READL(0x0a, 0x00, 0xffffffff), PCI_READL(0x18, 0x00, 0xffffffff),     /* nobody */
};

static const QtestStep config_mechanism[] = {
    OUTL(0xcf8, 0x80000000), INL(0xcf8, 0x80000000), INL(0xcfc, 0x12378086), INW(0xcfe, 0x1237),
    INB(0xcfd, 0x80), OUTL(0xcf8, 0x00000000), INL(0xcfc, 0xffffffff),
    OUTB(0xcf8, 0x12), INL(0xcf8, 0x00000000),   /* bytes at CONFADD are not for it */
};

/* Sizes show as ones that stay 0; the decoder follows the command bits. */
static const QtestStep bars[] = {
    PCI_WRITEL(VGA, 0x10, 0xffffffff), PCI_READL(VGA, 0x10, 0xff000008),
    PCI_WRITEL(VGA, 0x18, 0xffffffff), PCI_READL(VGA, 0x18, 0xfffff000),
    PCI_WRITEL(VGA, 0x30, 0xffffffff), PCI_READL(VGA, 0x30, 0xffff0001),
    PCI_WRITEL(VGA, 0x14, 0xffffffff), PCI_READL(VGA, 0x14, 0x00000000),
    PCI_WRITEL(IDE, 0x20, 0xffffffff), PCI_READL(IDE, 0x20, 0xfffffff1),
    PCI_WRITEL(VGA, 0x30, 0), PCI_WRITEL(VGA, 0x10, 0xe0000000), PCI_WRITEL(VGA, 0x18, 0xfebf0000),
    PCI_WRITEW(VGA, 0x04, 0x0002), WRITEL(0xe0000000, 0x12345678), READL(0xe0000000, 0x12345678),
    READL(0xfebf0000, 0xffffff00),               /* the EDID's header */
    PCI_WRITEL(VGA, 0x10, 0xd0000000), READL(0xd0000000, 0x12345678),
    PCI_WRITEW(VGA, 0x04, 0x0000), PCI_WRITEL(VGA, 0x10, 0xe0000000), PCI_READW(VGA, 0x04, 0),
    PCI_WRITEW(VGA, 0x04, 0x0002), READL(0xe0000000, 0x12345678),
};

static const QtestStep rom_bar[] = {
    PCI_WRITEL(VGA, 0x30, 0xfeb00001), PCI_WRITEW(VGA, 0x04, 0x0002), READW(0xfeb00000, 0xaa55),
    PCI_WRITEL(VGA, 0x30, 0xfeb00000), PCI_READL(VGA, 0x30, 0xfeb00000),
};

static const QtestStep read_only_bits[] = {
    PCI_WRITEL(HOST, 0x00, 0), PCI_READL(HOST, 0x00, 0x12378086), PCI_WRITEL(HOST, 0x08, 0),
    PCI_READL(HOST, 0x08, 0x06000002), PCI_WRITEB(PM, 0x3c, 0x0b), PCI_READW(PM, 0x3c, 0x010b),
};

/* ---- i440FX ---- */

/* RE and WE of one nibble: PCI (the ROM) / RAM for reads and writes. */
static const QtestStep pam[] = {
    READB(0xffff0, 0xea),
    PCI_WRITEB(HOST, 0x59, 0x30), WRITEL(0xffff0, 0x11223344), READL(0xffff0, 0x11223344),
    PCI_WRITEB(HOST, 0x59, 0x10), READL(0xffff0, 0x11223344), WRITEL(0xffff0, 0),
    READL(0xffff0, 0x11223344),                  /* read-only */
    PCI_WRITEB(HOST, 0x59, 0x00), READB(0xffff0, 0xea),
    PCI_WRITEB(HOST, 0x5a, 0x03), WRITEL(0xc0000, 0xdeadbeef), READL(0xc0000, 0xdeadbeef),
    PCI_WRITEB(HOST, 0x5a, 0x30), WRITEL(0xc4000, 0xcafef00d), READL(0xc4000, 0xcafef00d),
    PCI_WRITEB(HOST, 0x5a, 0x33), READL(0xc0000, 0xdeadbeef), READL(0xc4000, 0xcafef00d),
};

/* The BIOS is below 4 GiB and its last 128 KiB below 1 MiB. */
static const QtestStep rom[] = { READB(0xfffffff0, 0xea), READB(0xffff0, 0xea) };

static const QtestStep smram[] = {
    PCI_READB(HOST, 0x72, 0x02), PCI_WRITEB(HOST, 0x72, 0x4a), PCI_READB(HOST, 0x72, 0x4a),
    WRITEL(0xa0000, 0x0badcafe), READL(0xa0000, 0x0badcafe), PCI_WRITEB(HOST, 0x72, 0x0a),
    READL(0xa0000, 0xffffffff), PCI_WRITEB(HOST, 0x72, 0x5a), PCI_READB(HOST, 0x72, 0x1a),
    PCI_WRITEB(HOST, 0x72, 0x4a), PCI_READB(HOST, 0x72, 0x1a),               /* locked */
};

/* ---- PIIX3 ---- */

static const QtestStep piix3_defaults[] = {
    PCI_READW(ISA, 0x04, 0x0007), PCI_READW(ISA, 0x06, 0x0200), PCI_READB(ISA, 0x4c, 0x4d),
    PCI_READB(ISA, 0x4e, 0x03), PCI_READL(ISA, 0x60, 0x80808080), PCI_READB(ISA, 0x69, 0x02),
};

/* A bus reset by the LSI adapter in slot 5, whose INTA# is PIRQA#; reading SIST0 ends it. */
#define LSI_ON              PCI_WRITEL(LSI, 0x10, LSI_PORTS | 1), PCI_WRITEW(LSI, 0x04, 0x0001), \
                            OUTB(LSI_PORTS + 0x40, 0x02)
#define LSI_INTA_ON         OUTB(LSI_PORTS + 0x01, 0x08)
#define LSI_INTA_OFF        OUTB(LSI_PORTS + 0x01, 0x00), INB(LSI_PORTS + 0x42, 0x02)
static const QtestStep pirq_routes[] = {
    PCI_WRITEL(ISA, 0x60, 0x80808080), LSI_ON, LSI_INTA_ON, LINE(10, 0), LINE(11, 0),
    PCI_WRITEB(ISA, 0x60, 0x0a), PCI_READB(ISA, 0x60, 0x0a), LINE(10, 1), LINE(11, 0),
    PCI_WRITEB(ISA, 0x60, 0x0b), LINE(10, 0), LINE(11, 1),
    PCI_WRITEB(ISA, 0x60, 0x8b), LINE(11, 0), PCI_WRITEB(ISA, 0x61, 0x0a), LINE(10, 0),
    PCI_WRITEL(ISA, 0x60, 0x0b0b0a0a), LINE(10, 1), LSI_INTA_OFF, LINE(10, 0), LINE(11, 0),
    LSI_INTA_ON, LINE(10, 1),
};

static void expect_reset(Qtest *q, uint16_t port, uint8_t value)
{
    g_autofree char *event = NULL;

    qtest_outb(q, port, value);
    event = qtest_wait_event(q, "RESET");
    g_assert_nonnull(strstr(event, "\"guest\": true"));
}

static void reset_port(Qtest *q)
{
    qtest_outb(q, 0xcf9, 0x02);
    g_assert_cmphex(qtest_inb(q, 0xcf9), ==, 0x02);
    expect_reset(q, 0xcf9, 0x06);
    expect_reset(q, 0xcf9, 0x04);
    g_assert_cmphex(qtest_inb(q, 0xcf9), ==, 0x00);
}

/* ---- PIIX4 PM ---- */

/* clang-format off */
#define PM_ON               PCI_WRITEL(PM, 0x40, PM_BASE | 1), PCI_WRITEB(PM, 0x80, 0x01)
#define PM_OFF              PCI_WRITEB(PM, 0x80, 0x00)
/* clang-format on */

static const QtestStep pm_window[] = {
    INW(PM_BASE, 0xffff), PM_ON, INW(PM_BASE, 0), INW(PM_BASE + 4, 0), PM_OFF, INW(PM_BASE, 0xffff),
    PM_ON, PCI_WRITEL(PM, 0x40, 0x801), INW(PM_BASE, 0xffff), INW(0x800, 0),
};

/* 3.579545 MHz, 24 bits; TMR_STS at each change of bit 23. */
static const QtestStep pm_timer[] = {
    PM_ON, INL(PM_BASE + 8, 0), STEP(1000000), INL(PM_BASE + 8, 3579), STEP(1000000000),
    INL(PM_BASE + 8, 3583124), INW(PM_BASE, 0), OUTW(PM_BASE + 2, 1), LINE(0, 0),
    STEP(2000000000), INW(PM_BASE, 1), LINE(0, 1), OUTW(PM_BASE, 1), LINE(0, 0), INW(PM_BASE, 0),
};

static const QtestStep acpi_enable[] = {
    PM_ON, INW(PM_BASE + 4, 0), OUTB(0xb2, 0xf1), INW(PM_BASE + 4, 1), INB(0xb2, 0xf1),
    OUTW(PM_BASE + 4, 0), INW(PM_BASE + 4, 0), OUTW(PM_BASE + 4, 1), INW(PM_BASE + 4, 1),
    OUTB(0xb2, 0xf0), INW(PM_BASE + 4, 0), OUTB(0xb3, 0x77), INB(0xb3, 0x77),
};

/* A command raises SMI# once DEVACTB lets it. */
static const QtestStep smi_command[] = {
    OUTB(0xb2, 0x01), EDGES(1, 0), PCI_WRITEL(PM, 0x58, 1u << 25), OUTB(0xb2, 0x02), EDGES(1, 1),
    LINE(1, 0), OUTB(0xb2, 0x03), EDGES(1, 1),
};

static const QtestStep gpe[] = {
    INL(0xafe0, 0), OUTW(0xafe2, 0xffff), INW(0xafe2, 0xffff), OUTW(0xafe0, 0xffff), INW(0xafe0, 0),
};

static void power_button(Qtest *q)
{
    static const QtestStep enable[] = { PM_ON, OUTW(PM_BASE + 2, 0x100), INW(PM_BASE, 0) };
    static const QtestStep pressed[] = { INW(PM_BASE, 0x100), OUTW(PM_BASE, 0x100),
                                         INW(PM_BASE, 0) };

    qtest_run_steps(q, enable, G_N_ELEMENTS(enable));
    g_free(qtest_qmp(q, "{'execute': 'system_powerdown'}"));
    g_free(qtest_wait_event(q, "POWERDOWN"));
    qtest_run_steps(q, pressed, G_N_ELEMENTS(pressed));
}

/* SLP_TYP 0 with SLP_EN is soft off. */
static void soft_off(Qtest *q)
{
    static const QtestStep off[] = { PM_ON, OUTW(PM_BASE + 4, 0x2000) };
    g_autofree char *event = NULL;

    qtest_run_steps(q, off, G_N_ELEMENTS(off));
    event = qtest_wait_event(q, "SHUTDOWN");
    g_assert_nonnull(strstr(event, "\"reason\": \"guest-shutdown\""));
}

static void suspend_and_wake(Qtest *q)
{
    static const QtestStep sleep[] = { PM_ON, OUTW(PM_BASE + 4, 0x2400) };

    qtest_run_steps(q, sleep, G_N_ELEMENTS(sleep));
    g_free(qtest_wait_event(q, "SUSPEND"));
    g_free(qtest_qmp(q, "{'execute': 'system_wakeup'}"));
    g_free(qtest_wait_event(q, "WAKEUP"));
}

/* clang-format off */
#define SMB_START(addr, cmd, ctl)                                                            \
    OUTB(SMB, 0x1e), OUTB(SMB + 4, addr), OUTB(SMB + 3, cmd), OUTB(SMB + 2, (ctl) | 0x40)
#define SMB_ENDS(status)    INB(SMB, 0x01), INB(SMB, status)
/* clang-format on */

/* Nobody answers at address 10h. */
static const QtestStep smbus_nobody[] = {
    SMB_START(0x21, 0, 0x08), SMB_ENDS(0x04), OUTB(SMB, 0x04), INB(SMB, 0x00),
    SMB_START(0x20, 0, 0x00), SMB_ENDS(0x04),
};

/* The SPD at 50h: byte, word and block, with an offset that moves on. */
static const QtestStep smbus_eeprom[] = {
    SMB_START(0xa0, 0, 0x00), SMB_ENDS(0x02),                                /* quick */
    OUTB(SMB + 5, 0x5a), SMB_START(0xa0, 0x80, 0x08), SMB_ENDS(0x02),
    OUTB(SMB + 5, 0x34), OUTB(SMB + 6, 0x12), SMB_START(0xa0, 0x81, 0x0c), SMB_ENDS(0x02),
    OUTB(SMB + 5, 0), SMB_START(0xa1, 0x80, 0x08), SMB_ENDS(0x02), INB(SMB + 5, 0x5a),
    SMB_START(0xa1, 0x81, 0x0c), SMB_ENDS(0x02), INB(SMB + 5, 0x34), INB(SMB + 6, 0x12),
    SMB_START(0xa0, 0x80, 0x04), SMB_ENDS(0x02), SMB_START(0xa1, 0, 0x04), SMB_ENDS(0x02),
    INB(SMB + 5, 0x5a), SMB_START(0xa1, 0, 0x04), SMB_ENDS(0x02), INB(SMB + 5, 0x34),
    SMB_START(0xa1, 0xff, 0x08), SMB_ENDS(0x02), SMB_START(0xaf, 0x80, 0x08), SMB_ENDS(0x02),
    INB(SMB + 5, 0x00),                          /* another module */
};

static const QtestStep smbus_block[] = {
    INB_ANY(SMB + 2), OUTB(SMB + 7, 2), OUTB(SMB + 7, 0x11), OUTB(SMB + 7, 0x22), OUTB(SMB + 5, 3),
    SMB_START(0xa2, 0x10, 0x14), SMB_ENDS(0x02), SMB_START(0xa3, 0x10, 0x14), SMB_ENDS(0x02),
    INB(SMB + 5, 2), INB_ANY(SMB + 2), INB(SMB + 7, 0x11), INB(SMB + 7, 0x22),
    SMB_START(0xa3, 0x10, 0x14), OUTB(SMB + 2, 0x02), INB(SMB, 0x10),        /* killed */
};

static const QtestCase cases[] = {
    { "pci/ids", .steps = QTEST_STEPS(ids) },
    { "pci/mechanism", .steps = QTEST_STEPS(config_mechanism) },
    { "pci/bars", "-device VGA,addr=02.0", .steps = QTEST_STEPS(bars) },
    { "pci/rom", "-device VGA,addr=02.0", .steps = QTEST_STEPS(rom_bar) },
    { "pci/read-only", .steps = QTEST_STEPS(read_only_bits) },
    { "i440fx/pam", .steps = QTEST_STEPS(pam) },
    { "i440fx/rom", .steps = QTEST_STEPS(rom) },
    { "i440fx/smram", .steps = QTEST_STEPS(smram) },
    { "piix3/defaults", .steps = QTEST_STEPS(piix3_defaults) },
    { "piix3/pirq", "-device lsi53c895a,addr=05.0", "ioapic",
      QTEST_STEPS(pirq_routes) },
    { "piix3/reset", .run = reset_port },
    { "pm/window", .steps = QTEST_STEPS(pm_window) },
    { "pm/timer", NULL, "PIIX4_PM>0", QTEST_STEPS(pm_timer) },
    { "pm/acpi-enable", .steps = QTEST_STEPS(acpi_enable) },
    { "pm/smi", NULL, "PIIX4_PM>0", QTEST_STEPS(smi_command) },
    { "pm/gpe", .steps = QTEST_STEPS(gpe) },
    { "pm/power-button", .run = power_button },
    { "pm/soft-off", "-no-shutdown", .run = soft_off },
    { "pm/suspend", .run = suspend_and_wake },
    { "pm/smbus-nobody", .steps = QTEST_STEPS(smbus_nobody) },
    { "pm/smbus-eeprom", .steps = QTEST_STEPS(smbus_eeprom) },
    { "pm/smbus-block", .steps = QTEST_STEPS(smbus_block) },
};

int main(int argc, char **argv)
{
    return qtest_main(argc, argv, "/chipset", QTEST_CASES(cases));
}
