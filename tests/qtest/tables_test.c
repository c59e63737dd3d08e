/* SPDX-License-Identifier: MIT */
/*
 * ACPI and SMBIOS tables as firmware gets them: the loader's commands are carried out here as SeaBIOS
 * would, then sums and contents are checked, and iasl and dmidecode have their say where they are.
 */
#include "tests/qtest/libqtest.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3, LOADER_COMMAND = 128,
       NAME_LEN = 56, FILES = 4 };

/* ---- the loader ---- */

typedef struct Loaded {
    char name[NAME_LEN];
    uint8_t *data;
    size_t len;
    uint64_t addr;               /* where the guest would have it */
} Loaded;

typedef struct Firmware {
    Loaded files[FILES];
    unsigned count;
} Firmware;

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes-- > 0) {
        v = v << 8 | p[bytes];
    }
    return v;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len-- > 0) {
        s = (uint8_t)(s + *p++);
    }
    return s;
}

static Loaded *find(Firmware *fw, const uint8_t *name)
{
    for (unsigned i = 0; i < fw->count; i++) {
        if (strncmp(fw->files[i].name, (const char *)name, NAME_LEN) == 0) {
            return &fw->files[i];
        }
    }
    g_error("the loader names '%.*s', which it has not allocated", NAME_LEN, name);
}

static void allocate(Qtest *q, Firmware *fw, const uint8_t *c)
{
    Loaded *f = &fw->files[fw->count];
    uint64_t align = get(c + 60, 4);

    g_assert_cmpuint(fw->count++, <, FILES);
    memcpy(f->name, c + 4, NAME_LEN);
    f->name[NAME_LEN - 1] = '\0';
    f->data = qtest_fw_cfg_file(q, f->name, &f->len);
    f->addr = c[64] == 2 ? 0xf0000 : 0x7fe0000;  /* the f-segment, or high memory */
    g_assert_cmpuint(align & (align - 1), ==, 0);
}

static void add_pointer(Firmware *fw, const uint8_t *c)
{
    Loaded *to = find(fw, c + 4), *from = find(fw, c + 60);
    uint64_t offset = get(c + 116, 4), value;
    unsigned size = c[120];

    g_assert_cmpuint(offset + size, <=, to->len);
    value = get(to->data + offset, size);
    g_assert_cmpuint(value, <, from->len);
    value += from->addr;
    for (unsigned i = 0; i < size; i++) {
        to->data[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

static void add_checksum(Firmware *fw, const uint8_t *c)
{
    Loaded *f = find(fw, c + 4);
    uint64_t at = get(c + 60, 4), start = get(c + 64, 4), len = get(c + 68, 4);

    g_assert_cmpuint(start + len, <=, f->len);
    g_assert_cmpuint(at, <, f->len);
    f->data[at] = (uint8_t)(f->data[at] - sum(f->data + start, len));
}

static void load(Qtest *q, Firmware *fw)
{
    size_t len;
    g_autofree uint8_t *script = qtest_fw_cfg_file(q, "etc/table-loader", &len);

    *fw = (Firmware){ .count = 0 };
    g_assert_cmpuint(len % LOADER_COMMAND, ==, 0);
    for (size_t i = 0; i < len; i += LOADER_COMMAND) {
        const uint8_t *c = script + i;

        switch (get(c, 4)) {
        case 0:
            break;
        case LOADER_ALLOCATE:
            allocate(q, fw, c);
            break;
        case LOADER_ADD_POINTER:
            add_pointer(fw, c);
            break;
        case LOADER_ADD_CHECKSUM:
            add_checksum(fw, c);
            break;
        default:
            g_error("the loader has command %u", (unsigned)get(c, 4));
        }
    }
}

static void unload(Firmware *fw)
{
    for (unsigned i = 0; i < fw->count; i++) {
        g_free(fw->files[i].data);
    }
}

/* LEN bytes of tables at the guest address. */
static const uint8_t *at(Firmware *fw, uint64_t addr, size_t len)
{
    for (unsigned i = 0; i < fw->count; i++) {
        const Loaded *f = &fw->files[i];

        if (addr >= f->addr && addr + len <= f->addr + f->len) {
            return f->data + (addr - f->addr);
        }
    }
    g_error("nothing is at 0x%x", (unsigned)addr);
}

static const uint8_t *table_at(Firmware *fw, uint64_t addr, size_t *len)
{
    *len = get(at(fw, addr, 36) + 4, 4);
    return at(fw, addr, *len);
}

/* The table with this signature that the RSDT lists; NULL: it is not there. */
static const uint8_t *table(Firmware *fw, const char *signature, size_t *len)
{
    const uint8_t *rsdp = find(fw, (const uint8_t *)"etc/acpi/rsdp")->data, *rsdt;
    size_t rsdt_len;

    g_assert_cmpmem(rsdp, 8, "RSD PTR ", 8);
    g_assert_cmphex(sum(rsdp, 20), ==, 0);
    rsdt = table_at(fw, get(rsdp + 16, 4), &rsdt_len);
    g_assert_cmpmem(rsdt, 4, "RSDT", 4);
    for (size_t i = 36; i < rsdt_len; i += 4) {
        const uint8_t *t = table_at(fw, get(rsdt + i, 4), len);

        if (memcmp(t, signature, 4) == 0) {
            return t;
        }
    }
    return NULL;
}

/* ---- contents ---- */

static void check_sums(Firmware *fw)
{
    static const char *const wanted[] = { "FACP", "APIC", "HPET", "WAET" };

    for (unsigned i = 0; i < G_N_ELEMENTS(wanted); i++) {
        size_t len;
        const uint8_t *t = table(fw, wanted[i], &len);

        if (!t || sum(t, len)) {
            g_error("%s is %s", wanted[i], t ? "wrong in its sum" : "missing");
        }
        g_assert_cmpmem(t + 10, 6, "BOCHS ", 6);
    }
}

static void check_fadt(Firmware *fw)
{
    size_t len, dsdt_len;
    const uint8_t *fadt = table(fw, "FACP", &len), *facs, *dsdt;

    facs = at(fw, get(fadt + 36, 4), 64);
    g_assert_cmpmem(facs, 4, "FACS", 4);
    g_assert_cmpuint(get(fadt + 36, 4) % 64, ==, 0);
    dsdt = table_at(fw, get(fadt + 40, 4), &dsdt_len);
    g_assert_cmpmem(dsdt, 4, "DSDT", 4);
    g_assert_cmphex(sum(dsdt, dsdt_len), ==, 0);
    g_assert_cmpuint(get(fadt + 46, 2), ==, 9);          /* SCI_INT */
    g_assert_cmphex(get(fadt + 48, 4), ==, 0xb2);        /* SMI_CMD, ACPI_ENABLE and _DISABLE */
    g_assert_cmphex(fadt[52], ==, 0xf1);
    g_assert_cmphex(fadt[53], ==, 0xf0);
    g_assert_cmphex(get(fadt + 56, 4), ==, 0x600);       /* PM1a event and control, PM timer */
    g_assert_cmphex(get(fadt + 64, 4), ==, 0x604);
    g_assert_cmphex(get(fadt + 76, 4), ==, 0x608);
    g_assert_cmphex(fadt[108], ==, 0x32);                /* the RTC's century byte */
}

/* Local APICs, one I/O APIC with 24 pins, IRQ 0 on pin 2, level-triggered PCI interrupts. */
static void check_madt(Firmware *fw, unsigned cpus)
{
    size_t len;
    const uint8_t *madt = table(fw, "APIC", &len);
    unsigned enabled = 0, ioapics = 0;
    bool timer_override = false;

    g_assert_cmphex(get(madt + 36, 4), ==, 0xfee00000);
    for (size_t i = 44; i < len; i += madt[i + 1]) {
        const uint8_t *e = madt + i;

        g_assert_cmpuint(e[1], >=, 2);
        g_assert_cmpuint(i + e[1], <=, len);
        if (e[0] == 0) {
            g_assert_cmpuint(e[3], ==, e[2]);    /* APIC id and processor id */
            enabled += get(e + 4, 4) & 1;
        } else if (e[0] == 1) {
            ioapics++;
            g_assert_cmphex(get(e + 4, 4), ==, 0xfec00000);
        } else if (e[0] == 2 && e[3] == 0) {
            timer_override = get(e + 4, 4) == 2;
        }
    }
    g_assert_cmpuint(enabled, ==, cpus);
    g_assert_cmpuint(ioapics, ==, 1);
    g_assert_true(timer_override);
}

static void check_hpet(Firmware *fw)
{
    size_t len;
    const uint8_t *hpet = table(fw, "HPET", &len);

    g_assert_cmphex(get(hpet + 36, 4), ==, 0x8086a201);
    g_assert_cmphex(get(hpet + 44, 8), ==, 0xfed00000);
}

static const struct {
    const char *args;
    unsigned cpus;
} machines[] = { { "-smp 1", 1 }, { "-smp 2", 2 }, { "-smp 4", 4 }, { "-smp 8", 8 },
                 { "-smp 2,maxcpus=6", 2 } };

static void test_contents(gconstpointer data)
{
    unsigned i = GPOINTER_TO_UINT(data);
    g_autoptr(Qtest) q = qtest_startf("-machine pc -m 64 -nodefaults %s", machines[i].args);
    Firmware fw;

    load(q, &fw);
    check_sums(&fw);
    check_fadt(&fw);
    check_madt(&fw, machines[i].cpus);
    check_hpet(&fw);
    unload(&fw);
}

static void test_without_hpet(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc,hpet=off -m 64 -nodefaults");
    Firmware fw;
    size_t len;

    load(q, &fw);
    g_assert_null(table(&fw, "HPET", &len));
    g_assert_nonnull(table(&fw, "APIC", &len));
    unload(&fw);
}

/* ---- other people's eyes ---- */

static bool skip_without(const char *program)
{
    g_autofree char *path = g_find_program_in_path(program);

    if (!path) {
        g_autofree char *why = g_strdup_printf("no %s here", program);

        g_test_skip(why);
    }
    return !path;
}

/* Runs in DIR; both outputs, the caller frees. */
static char *run(const char *dir, const char *command)
{
    g_auto(GStrv) argv = g_strsplit(command, " ", -1);
    char *out = NULL;
    g_autofree char *err = NULL;
    int status = 0;
    char *all;

    if (!g_spawn_sync(dir, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status, NULL)) {
        g_error("cannot run %s", command);
    }
    all = g_strconcat(out, err, NULL);
    g_free(out);
    return all;
}

/* Taken apart and put together again, without a word against it. */
static void iasl(const char *dir, const uint8_t *t, size_t len)
{
    g_autofree char *path = g_build_filename(dir, "t.dat", NULL);
    g_autofree char *taken = NULL;
    g_autofree char *put = NULL;

    g_assert_true(g_file_set_contents(path, (const char *)t, (gssize)len, NULL));
    taken = run(dir, "iasl -p t -d t.dat");
    if (strstr(taken, "Warning") || strstr(taken, "Error") || strstr(taken, "Invalid")) {
        g_error("iasl -d of %.4s: %s", (const char *)t, taken);
    }
    put = run(dir, "iasl -p u t.dsl");
    if (!strstr(put, "0 Errors") && !strstr(put, "Compilation successful")) {
        g_error("iasl of %.4s: %s", (const char *)t, put);
    }
    if (strstr(put, "Warning ") || (strstr(put, "Warnings") && !strstr(put, "0 Warnings"))) {
        g_error("iasl of %.4s: %s", (const char *)t, put);
    }
}

static void empty_dir(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        unlink(file);
    }
    rmdir(path);
}

static void test_iasl(void)
{
    static const char *const listed[] = { "FACP", "APIC", "HPET", "WAET" };
    g_autofree char *dir = NULL;
    g_autoptr(Qtest) q = NULL;
    Firmware fw;
    size_t len;

    if (skip_without("iasl")) {
        return;
    }
    q = qtest_start("-machine pc -m 64 -smp 4 -serial null -serial null -parallel null");
    dir = g_dir_make_tmp("tables-XXXXXX", NULL);
    load(q, &fw);
    for (unsigned i = 0; i < G_N_ELEMENTS(listed); i++) {
        const uint8_t *t = table(&fw, listed[i], &len);

        iasl(dir, t, len);
    }
    iasl(dir, table_at(&fw, get(table(&fw, "FACP", &len) + 40, 4), &len), len);
    unload(&fw);
    empty_dir(dir);
}

/* ---- SMBIOS ---- */

/* Structures 1, 3, 4, 16, 17, 19, 32 and the end; SeaBIOS adds its own type 0. */
static void test_smbios(void)
{
    g_autoptr(Qtest) q = qtest_start("-machine pc -m 64 -nodefaults -smp 2");
    size_t anchor_len, len;
    g_autofree uint8_t *anchor = qtest_fw_cfg_file(q, "etc/smbios/smbios-anchor", &anchor_len);
    g_autofree uint8_t *tables = qtest_fw_cfg_file(q, "etc/smbios/smbios-tables", &len);
    uint64_t seen = 0;
    unsigned count = 0;

    g_assert_cmpuint(anchor_len, ==, 31);
    g_assert_cmpmem(anchor, 4, "_SM_", 4);
    g_assert_cmpmem(anchor + 16, 5, "_DMI_", 5);
    g_assert_cmpuint(get(anchor + 22, 2), ==, len);
    for (size_t i = 0; i < len; count++) {
        g_assert_cmpuint(i + tables[i + 1], <=, len);
        seen |= tables[i] < 64 ? 1ull << tables[i] : 0;
        if (tables[i] == 127) {
            seen |= 1ull << 63;
        }
        i += tables[i + 1];
        while (i + 1 < len && (tables[i] || tables[i + 1])) {
            i++;
        }
        i += 2;
    }
    g_assert_cmpuint(get(anchor + 28, 2), ==, count);
    g_assert_cmphex(seen, ==, 1ull << 63 | 1ull << 32 | 1 << 19 | 1 << 17 | 1 << 16 | 1 << 4 | 1 << 3 |
                                  1 << 1);
}

/* dmidecode's dump: the entry point, then the tables at 20h. */
static void test_dmidecode(void)
{
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;
    g_autofree char *out = NULL;
    g_autofree uint8_t *anchor = NULL;
    g_autofree uint8_t *tables = NULL;
    g_autoptr(GByteArray) dump = g_byte_array_new();
    g_autoptr(Qtest) q = NULL;
    size_t anchor_len, len;
    uint8_t pad = 0;

    if (skip_without("dmidecode")) {
        return;
    }
    q = qtest_start("-machine pc -m 64 -nodefaults -smp 2 -smbios type=1,serial=4711");
    anchor = qtest_fw_cfg_file(q, "etc/smbios/smbios-anchor", &anchor_len);
    tables = qtest_fw_cfg_file(q, "etc/smbios/smbios-tables", &len);
    memcpy(anchor + 24, "\x20\0\0\0", 4);
    anchor[21] = 0;
    anchor[21] = (uint8_t)-sum(anchor + 16, 15);
    anchor[4] = 0;
    anchor[4] = (uint8_t)-sum(anchor, anchor_len);
    g_byte_array_append(dump, anchor, (guint)anchor_len);
    g_byte_array_append(dump, &pad, 1);
    g_byte_array_append(dump, tables, (guint)len);
    dir = g_dir_make_tmp("tables-XXXXXX", NULL);
    path = g_build_filename(dir, "dump", NULL);
    g_assert_true(g_file_set_contents(path, (const char *)dump->data, dump->len, NULL));
    out = run(dir, "dmidecode --from-dump dump");
    g_assert_nonnull(strstr(out, "SMBIOS 2.8 present"));
    g_assert_nonnull(strstr(out, "Serial Number: 4711"));
    g_assert_nonnull(strstr(out, "Manufacturer: QEMU"));
    g_assert_null(strstr(out, "<OUT OF SPEC>"));
    g_assert_null(strstr(out, "<BAD INDEX>"));
    g_assert_null(strstr(out, "TRUNCATED"));
    empty_dir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(machines); i++) {
        g_autofree char *name = g_strdup_printf("/tables/acpi/%u", i);

        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_contents);
    }
    g_test_add_func("/tables/acpi/no-hpet", test_without_hpet);
    g_test_add_func("/tables/acpi/iasl", test_iasl);
    g_test_add_func("/tables/smbios", test_smbios);
    g_test_add_func("/tables/smbios/dmidecode", test_dmidecode);
    return g_test_run();
}
