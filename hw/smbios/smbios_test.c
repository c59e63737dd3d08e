/* SPDX-License-Identifier: MIT */
/* The SMBIOS tables are well formed: handles, lengths, strings, count. */
#include "hw/pci/pci_bench.h"
#include "hw/smbios/smbios.h"

/* The structure after P: past the formatted part and its strings. */
static const uint8_t *next_structure(const uint8_t *p, const uint8_t *end)
{
    p += p[1];
    while (p + 1 < end && (p[0] || p[1])) {
        p++;
    }
    return p + 2;
}

static const char *string_of(const uint8_t *p, unsigned n)
{
    const char *s = (const char *)p + p[1];

    while (--n) {
        s += strlen(s) + 1;
    }
    return s;
}

static void test_tables(void)
{
    g_autoptr(PciBench) b = pci_bench_new();
    g_autoptr(GError) error = NULL;
    FwCfg *cfg = fw_cfg_create(b->vm, &error);
    SmbiosConfig c = { .product = "PC", .version = "v1", .cpus = 4, .sockets = 2,
                       .ram_below_4g = 3 * GIB, .ram_above_4g = 20 * GIB };
    const uint8_t *anchor, *table, *p;
    unsigned count = 0, seen[256] = { 0 }, longest = 0;
    size_t len, anchor_len;

    g_assert_true(smbios_set(1, "serial", "S-1", &error));
    g_assert_false(smbios_set(1, "colour", "red", &error));
    g_assert_nonnull(error);
    g_clear_error(&error);
    g_assert_true(smbios_publish(&c, b->vm, cfg, &error));
    table = fw_cfg_find_file(cfg, "etc/smbios/smbios-tables", &len);
    anchor = fw_cfg_find_file(cfg, "etc/smbios/smbios-anchor", &anchor_len);
    for (p = table; p < table + len; count++) {
        const uint8_t *next = next_structure(p, table + len);

        g_assert_cmpuint(p[1], >=, 4);
        seen[p[0]]++;
        longest = MAX(longest, next - p);
        if (p[0] == 1) {
            g_assert_cmpstr(string_of(p, p[5]), ==, "PC");
            g_assert_cmpstr(string_of(p, p[7]), ==, "S-1");
            g_assert_cmpuint(p[1], ==, 0x1b);
        }
        g_assert_true(next <= table + len);
        p = next;
    }
    g_assert_true(p == table + len);
    g_assert_cmpuint(seen[1], ==, 1);
    g_assert_cmpuint(seen[4], ==, 2);
    g_assert_cmpuint(seen[17], ==, 2);        /* 23 GiB in 16 GiB modules */
    g_assert_cmpuint(seen[19], ==, 2);
    g_assert_cmpuint(seen[127], ==, 1);
    g_assert_cmpuint(anchor_len, ==, 31);
    g_assert_cmpint(memcmp(anchor, "_SM_", 4), ==, 0);
    g_assert_cmpuint(le16_load(anchor + 8), ==, longest);
    g_assert_cmpuint(le16_load(anchor + 22), ==, len);
    g_assert_cmpuint(le16_load(anchor + 28), ==, count);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smbios/tables", test_tables);
    return g_test_run();
}
