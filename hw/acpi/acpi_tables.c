/* SPDX-License-Identifier: MIT */
/* The blob of ACPI tables and the linker script that places and patches it.  [ACPI6.3 5.2] */
#include "hw/acpi/acpi_tables.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE "etc/acpi/rsdp"
#define LOADER_FILE "etc/table-loader"

enum { HEADER_LEN = 36, CHECKSUM_OFFSET = 9, LENGTH_OFFSET = 4 };
/* Commands of the loader script, 128 bytes each. */
enum { LOADER_ENTRY = 128, LOADER_NAME = 56 };
enum { CMD_ALLOCATE = 1, CMD_ADD_POINTER = 2, CMD_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };

struct AcpiTables {
    GByteArray *blob;
    GByteArray *loader;
    GArray *listed;           /* uint32_t offsets for the RSDT */
    char oem_id[6], oem_table_id[8];
    uint32_t start;           /* of the open table */
    bool list_it;
};

static void pad(char *out, const char *text, size_t len)
{
    memset(out, ' ', len);
    memcpy(out, text, MIN(strlen(text), len));
}

/* ---- the loader script ---- */

static uint8_t *loader_command(AcpiTables *t, uint32_t command)
{
    unsigned at = t->loader->len;

    g_byte_array_set_size(t->loader, at + LOADER_ENTRY);
    memset(t->loader->data + at, 0, LOADER_ENTRY);
    le32_store(t->loader->data + at, command);
    return t->loader->data + at + 4;
}

static void loader_allocate(AcpiTables *t, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t *p = loader_command(t, CMD_ALLOCATE);

    memcpy(p, file, strlen(file));
    le32_store(p + LOADER_NAME, align);
    p[LOADER_NAME + 4] = zone;
}

static void loader_pointer(AcpiTables *t, const char *file, uint32_t offset, uint8_t size)
{
    uint8_t *p = loader_command(t, CMD_ADD_POINTER);

    memcpy(p, file, strlen(file));
    memcpy(p + LOADER_NAME, TABLES_FILE, sizeof(TABLES_FILE) - 1);
    le32_store(p + 2 * LOADER_NAME, offset);
    p[2 * LOADER_NAME + 4] = size;
}

static void loader_checksum(AcpiTables *t, const char *file, uint32_t at, uint32_t start,
                            uint32_t len)
{
    uint8_t *p = loader_command(t, CMD_ADD_CHECKSUM);

    memcpy(p, file, strlen(file));
    le32_store(p + LOADER_NAME, at);
    le32_store(p + LOADER_NAME + 4, start);
    le32_store(p + LOADER_NAME + 8, len);
}

/* ---- tables ---- */

AcpiTables *acpi_tables_new(const char *oem_id, const char *oem_table_id)
{
    AcpiTables *t = g_new0(AcpiTables, 1);

    t->blob = g_byte_array_new();
    t->loader = g_byte_array_new();
    t->listed = g_array_new(false, false, sizeof(uint32_t));
    pad(t->oem_id, oem_id, sizeof(t->oem_id));
    pad(t->oem_table_id, oem_table_id, sizeof(t->oem_table_id));
    loader_allocate(t, RSDP_FILE, 16, ZONE_FSEG);
    loader_allocate(t, TABLES_FILE, 64, ZONE_HIGH);
    return t;
}

void acpi_tables_free(AcpiTables *t)
{
    if (t) {
        g_byte_array_unref(t->blob);
        g_byte_array_unref(t->loader);
        g_array_unref(t->listed);
        g_free(t);
    }
}

void acpi_put_bytes(AcpiTables *t, const void *p, size_t len)
{
    g_byte_array_append(t->blob, p, len);
}

void acpi_put(AcpiTables *t, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    le_store(bytes, value, size);
    acpi_put_bytes(t, bytes, size);
}

void acpi_put_pointer(AcpiTables *t, uint32_t target, unsigned size)
{
    loader_pointer(t, TABLES_FILE, t->blob->len, size);
    acpi_put(t, target, size);
}

void acpi_put_gas(AcpiTables *t, uint8_t space, uint8_t bits, uint64_t addr)
{
    acpi_put(t, space, 1);
    acpi_put(t, bits, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, addr, 8);
}

/* [ACPI6.3 5.2.6] */
void acpi_table_begin(AcpiTables *t, const char *signature, uint8_t revision, bool listed)
{
    t->start = t->blob->len;
    t->list_it = listed;
    acpi_put_bytes(t, signature, 4);
    acpi_put(t, 0, 4);
    acpi_put(t, revision, 1);
    acpi_put(t, 0, 1);
    acpi_put_bytes(t, t->oem_id, 6);
    acpi_put_bytes(t, t->oem_table_id, 8);
    acpi_put(t, 1, 4);
    acpi_put_bytes(t, "RHEA", 4);
    acpi_put(t, 1, 4);
}

uint32_t acpi_table_end(AcpiTables *t)
{
    uint32_t len = t->blob->len - t->start;

    le32_store(t->blob->data + t->start + LENGTH_OFFSET, len);
    loader_checksum(t, TABLES_FILE, t->start + CHECKSUM_OFFSET, t->start, len);
    if (t->list_it) {
        g_array_append_val(t->listed, t->start);
    }
    return t->start;
}

uint32_t acpi_add_raw(AcpiTables *t, const void *p, size_t len)
{
    uint32_t at = align_up(t->blob->len, 64), old = t->blob->len;

    g_byte_array_set_size(t->blob, at);
    if (at > old) {
        memset(t->blob->data + old, 0, at - old);
    }
    acpi_put_bytes(t, p, len);
    return at;
}

const uint8_t *acpi_tables_blob(AcpiTables *t, size_t *len)
{
    *len = t->blob->len;
    return t->blob->data;
}

static bool publish(FwCfg *cfg, const char *name, GByteArray *bytes, GError **error)
{
    return fw_cfg_set_file(cfg, name, g_memdup2(bytes->data, bytes->len), bytes->len, error);
}

bool acpi_tables_publish(AcpiTables *t, FwCfg *cfg, GError **error)
{
    g_autoptr(GByteArray) rsdp = g_byte_array_new();
    uint32_t rsdt;

    acpi_table_begin(t, "RSDT", 1, false);
    for (unsigned i = 0; i < t->listed->len; i++) {
        acpi_put_pointer(t, g_array_index(t->listed, uint32_t, i), 4);
    }
    rsdt = acpi_table_end(t);

    /* Revision 0: 20 bytes.  [ACPI6.3 5.2.5.3] */
    g_byte_array_set_size(rsdp, 20);
    memset(rsdp->data, 0, 20);
    memcpy(rsdp->data, "RSD PTR ", 8);
    memcpy(rsdp->data + 9, t->oem_id, 6);
    le32_store(rsdp->data + 16, rsdt);
    loader_pointer(t, RSDP_FILE, 16, 4);
    loader_checksum(t, RSDP_FILE, 8, 0, 20);

    return publish(cfg, TABLES_FILE, t->blob, error) && publish(cfg, RSDP_FILE, rsdp, error) &&
           publish(cfg, LOADER_FILE, t->loader, error);
}
