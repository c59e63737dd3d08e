/* SPDX-License-Identifier: MIT */
/*
 * SMBIOS tables.  Spec: DMTF DSP0134 2.8.0; section numbers below are its.
 * Each structure is a fixed part and its strings; strings are numbered from 1 in order of use.
 */
#include "hw/smbios/smbios.h"

#include "base/error.h"
#include "vm/vm.h"

enum { HANDLE_BIOS = 0x000, HANDLE_SYSTEM = 0x100, HANDLE_CHASSIS = 0x300, HANDLE_CPU = 0x400,
       HANDLE_ARRAY = 0x1000, HANDLE_DIMM = 0x1100, HANDLE_MAP = 0x1300, HANDLE_BOOT = 0x2000,
       HANDLE_END = 0x7f00 };
enum { UNKNOWN = 0x02, DIMM_MAX_GIB = 16 };

/* ---- -smbios ---- */

static const struct { unsigned type; const char *field; } known[] = {
    { 0, "vendor" }, { 0, "version" }, { 0, "date" },
    { 1, "manufacturer" }, { 1, "product" }, { 1, "version" }, { 1, "serial" }, { 1, "uuid" },
    { 1, "sku" }, { 1, "family" },
    { 3, "manufacturer" }, { 3, "version" }, { 3, "serial" }, { 3, "asset" }, { 3, "sku" },
    { 4, "sock_pfx" }, { 4, "manufacturer" }, { 4, "version" }, { 4, "serial" }, { 4, "asset" },
    { 4, "part" },
    { 17, "loc_pfx" }, { 17, "bank" }, { 17, "manufacturer" }, { 17, "serial" },
    { 17, "asset" }, { 17, "part" },
};

static GHashTable *overrides;         /* "type.field" -> value */

bool smbios_check_type(unsigned type, GError **error)
{
    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].type == type) {
            return true;
        }
    }
    return error_set(error, "-smbios type=%u cannot be set: 0, 1, 3, 4 and 17 can", type);
}

bool smbios_set(unsigned type, const char *field, const char *value, GError **error)
{
    g_autoptr(GString) list = g_string_new(NULL);

    for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].type != type) {
            continue;
        }
        if (g_str_equal(known[i].field, field)) {
            if (!overrides) {
                overrides = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
            }
            g_hash_table_replace(overrides, g_strdup_printf("%u.%s", type, field),
                                 g_strdup(value));
            return true;
        }
        g_string_append_printf(list, "%s%s", list->len ? ", " : "", known[i].field);
    }
    return smbios_check_type(type, error) &&
           error_set(error, "-smbios type=%u has no field '%s': it has %s", type, field, list->str);
}

static const char *field_or(unsigned type, const char *field, const char *otherwise)
{
    g_autofree char *key = g_strdup_printf("%u.%s", type, field);
    const char *value = overrides ? g_hash_table_lookup(overrides, key) : NULL;

    return value ?: otherwise;
}

/* ---- structures ---- */

typedef struct Tables {
    GByteArray *out;
    unsigned count, max_len;
    size_t start;
    GPtrArray *strings;
} Tables;

static void put(Tables *t, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    le_store(bytes, value, size);
    g_byte_array_append(t->out, bytes, size);
}

static void begin(Tables *t, uint8_t type, uint16_t handle)
{
    t->start = t->out->len;
    t->strings = g_ptr_array_new();
    put(t, type, 1);
    put(t, 0, 1);
    put(t, handle, 2);
}

static void put_string(Tables *t, const char *text)
{
    if (text && *text) {
        g_ptr_array_add(t->strings, (gpointer)text);
        put(t, t->strings->len, 1);
    } else {
        put(t, 0, 1);
    }
}

static void end(Tables *t)
{
    t->out->data[t->start + 1] = t->out->len - t->start;
    for (unsigned i = 0; i < t->strings->len; i++) {
        const char *s = g_ptr_array_index(t->strings, i);

        g_byte_array_append(t->out, (const guint8 *)s, strlen(s) + 1);
    }
    put(t, 0, t->strings->len ? 1 : 2);
    g_ptr_array_unref(t->strings);
    t->max_len = MAX(t->max_len, t->out->len - t->start);
    t->count++;
}

/* 7.1: only when asked for; SeaBIOS writes its own otherwise. */
static void put_bios(Tables *t)
{
    const char *vendor = field_or(0, "vendor", NULL), *version = field_or(0, "version", NULL),
               *date = field_or(0, "date", NULL);

    if (!vendor && !version && !date) {
        return;
    }
    begin(t, 0, HANDLE_BIOS);
    put_string(t, vendor);
    put_string(t, version);
    put(t, 0xe800, 2);
    put_string(t, date);
    put(t, 0, 1);
    put(t, BIT(3), 8);                /* characteristics not supported */
    put(t, 0, 1);
    put(t, 0x14, 1);                  /* virtual machine, targeted content */
    put(t, 0xff, 4);
    end(t);
}

void smbios_system_uuid(uint8_t bytes[16])
{
    const char *text = field_or(1, "uuid", NULL);
    unsigned n = 0;

    memset(bytes, 0, 16);
    for (const char *p = text ?: ""; *p && n < 32; p++) {
        int digit = g_ascii_xdigit_value(*p);

        if (digit >= 0) {
            bytes[n / 2] |= digit << (n & 1 ? 0 : 4);
            n++;
        }
    }
}

/* 7.2.1: the first three fields of a UUID are little-endian. */
static void put_system_uuid(Tables *t)
{
    uint8_t bytes[16];

    smbios_system_uuid(bytes);
    put(t, be32_load(bytes), 4);
    put(t, be16_load(bytes + 4), 2);
    put(t, be16_load(bytes + 6), 2);
    g_byte_array_append(t->out, bytes + 8, 8);
}

static void put_system(Tables *t, const SmbiosConfig *c)
{
    begin(t, 1, HANDLE_SYSTEM);
    put_string(t, field_or(1, "manufacturer", "QEMU"));
    put_string(t, field_or(1, "product", c->product));
    put_string(t, field_or(1, "version", c->version));
    put_string(t, field_or(1, "serial", NULL));
    put_system_uuid(t);
    put(t, 6, 1);                     /* wake-up: power switch */
    put_string(t, field_or(1, "sku", NULL));
    put_string(t, field_or(1, "family", NULL));
    end(t);
}

static void put_chassis(Tables *t, const SmbiosConfig *c)
{
    begin(t, 3, HANDLE_CHASSIS);
    put_string(t, field_or(3, "manufacturer", "QEMU"));
    put(t, 1, 1);                     /* other */
    put_string(t, field_or(3, "version", c->version));
    put_string(t, field_or(3, "serial", NULL));
    put_string(t, field_or(3, "asset", NULL));
    put(t, 3, 1);                     /* boot-up, power supply, thermal: safe */
    put(t, 3, 1);
    put(t, 3, 1);
    put(t, UNKNOWN, 1);
    put(t, 0, 4);
    put(t, 0, 4);                     /* height, cords, contained elements */
    put_string(t, field_or(3, "sku", NULL));
    end(t);
}

/* 7.5 */
static void put_processor(Tables *t, const SmbiosConfig *c, unsigned n)
{
    g_autofree char *socket = g_strdup_printf("%s%2u", field_or(4, "sock_pfx", "CPU"), n);

    begin(t, 4, HANDLE_CPU + n);
    put_string(t, socket);
    put(t, 3, 1);                     /* central processor */
    put(t, 1, 1);                     /* family: other */
    put_string(t, field_or(4, "manufacturer", "QEMU"));
    put(t, c->cpuid_version, 4);
    put(t, c->cpuid_features, 4);
    put_string(t, field_or(4, "version", c->version));
    put(t, 0, 1);
    put(t, 0, 2);
    put(t, 2000, 2);
    put(t, 2000, 2);
    put(t, 0x41, 1);                  /* populated, enabled */
    put(t, 1, 1);
    put(t, 0xffff, 2);                /* no cache handles */
    put(t, 0xffff, 2);
    put(t, 0xffff, 2);
    put_string(t, field_or(4, "serial", NULL));
    put_string(t, field_or(4, "asset", NULL));
    put_string(t, field_or(4, "part", NULL));
    put(t, MIN(c->cpus / c->sockets, 255), 1);
    put(t, MIN(c->cpus / c->sockets, 255), 1);
    put(t, 1, 1);
    put(t, UNKNOWN, 2);
    put(t, 1, 2);
    end(t);
}

/* 7.17, 7.18, 7.20 */
static void put_memory(Tables *t, const SmbiosConfig *c)
{
    uint64_t total = c->ram_below_4g + c->ram_above_4g, dimm_max = DIMM_MAX_GIB * GIB;
    unsigned dimms = MIN(div_round_up(total, dimm_max), 256);
    const uint64_t starts[] = { 0, 4 * GIB }, lens[] = { c->ram_below_4g, c->ram_above_4g };

    begin(t, 16, HANDLE_ARRAY);
    put(t, 1, 1);
    put(t, 3, 1);
    put(t, 6, 1);                     /* multi-bit ECC */
    put(t, total / KIB < 0x80000000 ? total / KIB : 0x80000000, 4);
    put(t, 0xfffe, 2);
    put(t, dimms, 2);
    put(t, total / KIB < 0x80000000 ? 0 : total, 8);
    end(t);
    for (unsigned i = 0; i < dimms; i++) {
        uint64_t mib = MIN(total - i * dimm_max, dimm_max) / MIB;
        g_autofree char *where = g_strdup_printf("%s %u", field_or(17, "loc_pfx", "DIMM"), i);

        begin(t, 17, HANDLE_DIMM + i);
        put(t, HANDLE_ARRAY, 2);
        put(t, 0xfffe, 2);
        put(t, 0xffff, 2);
        put(t, 0xffff, 2);
        put(t, mib < 0x7fff ? mib : 0x7fff, 2);
        put(t, 9, 1);                 /* DIMM */
        put(t, 0, 1);
        put_string(t, where);
        put_string(t, field_or(17, "bank", NULL));
        put(t, 7, 1);                 /* RAM */
        put(t, UNKNOWN, 2);
        put(t, 0, 2);
        put_string(t, field_or(17, "manufacturer", "QEMU"));
        put_string(t, field_or(17, "serial", NULL));
        put_string(t, field_or(17, "asset", NULL));
        put_string(t, field_or(17, "part", NULL));
        put(t, 0, 1);
        put(t, mib < 0x7fff ? 0 : mib, 4);
        put(t, 0, 2);
        put(t, 0, 6);
        end(t);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!lens[i]) {
            continue;
        }
        begin(t, 19, HANDLE_MAP + i);
        put(t, 0xffffffff, 4);        /* the extended addresses count */
        put(t, 0xffffffff, 4);
        put(t, HANDLE_ARRAY, 2);
        put(t, 1, 1);
        put(t, starts[i], 8);
        put(t, starts[i] + lens[i] - 1, 8);
        end(t);
    }
}

static void put_tail(Tables *t)
{
    begin(t, 32, HANDLE_BOOT);
    put(t, 0, 6);
    put(t, 0, 1);                     /* no errors detected */
    end(t);
    begin(t, 127, HANDLE_END);
    end(t);
}

/* 5.2.1: the 32-bit entry point; the firmware fills in address and checksums. */
static uint8_t *make_anchor(const Tables *t)
{
    uint8_t *a = g_malloc0(31);

    memcpy(a, "_SM_", 4);
    a[5] = 31;
    a[6] = 2;
    a[7] = 8;
    le16_store(a + 8, MIN(t->max_len, 0xffff));
    memcpy(a + 16, "_DMI_", 5);
    le16_store(a + 22, t->out->len);
    le16_store(a + 28, t->count);
    a[30] = 0x28;
    return a;
}

bool smbios_publish(const SmbiosConfig *c, Vm *vm, FwCfg *cfg, GError **error)
{
    Tables t = { .out = g_byte_array_new() };
    uint8_t *anchor;
    size_t len;

    put_bios(&t);
    put_system(&t, c);
    put_chassis(&t, c);
    for (unsigned i = 0; i < MIN(c->sockets, 256); i++) {
        put_processor(&t, c, i);
    }
    put_memory(&t, c);
    put_tail(&t);
    if (t.out->len > 0xffff) {
        g_byte_array_unref(t.out);
        return error_set(error, "SMBIOS tables exceed 64 KiB: fewer sockets or shorter strings");
    }
    anchor = make_anchor(&t);
    len = t.out->len;
    return fw_cfg_set_file(cfg, "etc/smbios/smbios-tables", g_byte_array_free(t.out, FALSE), len,
                           error) &&
           fw_cfg_set_file(cfg, "etc/smbios/smbios-anchor", anchor, 31, error);
}
