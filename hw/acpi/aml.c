/* SPDX-License-Identifier: MIT */
/* AML encodings: names, integers, package lengths, terms.  [ACPI6.3 20.2] */
#include "hw/acpi/aml.h"

enum { BLOCKS_MAX = 16 };
enum { OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b,
       OP_DWORD = 0x0c, OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11,
       OP_PACKAGE = 0x12, OP_METHOD = 0x14, OP_EXT = 0x5b, OP_EXT_REGION = 0x80,
       OP_EXT_FIELD = 0x81, OP_EXT_DEVICE = 0x82, OP_IF = 0xa0,
       OP_CREATE_DWORD = 0x8a, OP_LOCAL0 = 0x60, OP_ARG0 = 0x68 };

struct Aml {
    GByteArray *out;
    /* Where the package length of each open block goes. */
    size_t marks[BLOCKS_MAX];
    unsigned depth;
    size_t resources;         /* start of the open template's bytes */
};

Aml *aml_new(void)
{
    Aml *a = g_new0(Aml, 1);

    a->out = g_byte_array_new();
    return a;
}

void aml_free(Aml *a)
{
    if (a) {
        g_byte_array_unref(a->out);
        g_free(a);
    }
}

const uint8_t *aml_bytes(const Aml *a, size_t *len)
{
    g_assert(a->depth == 0);
    *len = a->out->len;
    return a->out->data;
}

static void put(Aml *a, const void *p, size_t len)
{
    g_byte_array_append(a->out, p, len);
}

static void put8(Aml *a, uint8_t v)
{
    put(a, &v, 1);
}

static void put_le(Aml *a, uint64_t v, unsigned size)
{
    uint8_t bytes[8];

    le_store(bytes, v, size);
    put(a, bytes, size);
}

static void insert(Aml *a, size_t at, const uint8_t *bytes, size_t len)
{
    size_t tail = a->out->len - at;

    put(a, bytes, len);
    memmove(a->out->data + at + len, a->out->data + at, tail);
    memcpy(a->out->data + at, bytes, len);
}

/* ---- blocks ---- */

static void begin(Aml *a)
{
    g_assert(a->depth < BLOCKS_MAX);
    a->marks[a->depth++] = a->out->len;
}

/* PkgLength counts itself: one byte up to 63, else low nibble first.  [ACPI6.3 20.2.4] */
static unsigned encode_length(uint8_t bytes[4], size_t len)
{
    unsigned extra = len + 1 <= 0x3f ? 0 : len + 2 <= 0xfff ? 1 : len + 3 <= 0xfffff ? 2 : 3;
    size_t total = len + 1 + extra;

    if (!extra) {
        bytes[0] = total;
        return 1;
    }
    bytes[0] = extra << 6 | (total & 0xf);
    for (unsigned i = 0; i < extra; i++) {
        bytes[1 + i] = total >> (4 + 8 * i);
    }
    return 1 + extra;
}

void aml_end(Aml *a)
{
    size_t mark = a->marks[--a->depth];
    uint8_t bytes[4];
    unsigned n = encode_length(bytes, a->out->len - mark);

    insert(a, mark, bytes, n);
}

/* [ACPI6.3 20.2.2] */
void aml_ref(Aml *a, const char *name)
{
    g_auto(GStrv) segs = NULL;
    unsigned n;

    while (*name == '\\' || *name == '^') {
        put8(a, *name++);
    }
    segs = g_strsplit(name, ".", -1);
    n = *name ? g_strv_length(segs) : 0;
    if (n == 0) {
        put8(a, 0);
    } else if (n == 2) {
        put8(a, 0x2e);
    } else if (n > 2) {
        put8(a, 0x2f);
        put8(a, n);
    }
    for (unsigned i = 0; i < n; i++) {
        char seg[4] = { '_', '_', '_', '_' };
        size_t len = strlen(segs[i]);

        g_assert(len >= 1 && len <= 4);
        memcpy(seg, segs[i], len);
        put(a, seg, 4);
    }
}

void aml_begin_scope(Aml *a, const char *name)
{
    put8(a, OP_SCOPE);
    begin(a);
    aml_ref(a, name);
}

void aml_begin_device(Aml *a, const char *name)
{
    put8(a, OP_EXT);
    put8(a, OP_EXT_DEVICE);
    begin(a);
    aml_ref(a, name);
}

void aml_begin_method(Aml *a, const char *name, unsigned args, bool serialized)
{
    put8(a, OP_METHOD);
    begin(a);
    aml_ref(a, name);
    put8(a, args | (serialized ? 8 : 0));
}

void aml_begin_package(Aml *a, unsigned count)
{
    put8(a, OP_PACKAGE);
    begin(a);
    put8(a, count);
}

void aml_begin_name_package(Aml *a, const char *name, unsigned count)
{
    put8(a, OP_NAME);
    aml_ref(a, name);
    aml_begin_package(a, count);
}

void aml_begin_if(Aml *a)
{
    put8(a, OP_IF);
    begin(a);
}

/* ---- terms ---- */

void aml_int(Aml *a, uint64_t v)
{
    if (v <= 1) {
        put8(a, v);
    } else if (v <= 0xff) {
        put8(a, OP_BYTE);
        put_le(a, v, 1);
    } else if (v <= 0xffff) {
        put8(a, OP_WORD);
        put_le(a, v, 2);
    } else if (v <= 0xffffffff) {
        put8(a, OP_DWORD);
        put_le(a, v, 4);
    } else {
        put8(a, OP_QWORD);
        put_le(a, v, 8);
    }
}

void aml_op(Aml *a, uint8_t opcode)
{
    put8(a, opcode);
}

void aml_arg(Aml *a, unsigned n)
{
    put8(a, OP_ARG0 + n);
}

void aml_local(Aml *a, unsigned n)
{
    put8(a, OP_LOCAL0 + n);
}

void aml_name_int(Aml *a, const char *name, uint64_t value)
{
    put8(a, OP_NAME);
    aml_ref(a, name);
    aml_int(a, value);
}

void aml_name_string(Aml *a, const char *name, const char *text)
{
    put8(a, OP_NAME);
    aml_ref(a, name);
    put8(a, OP_STRING);
    put(a, text, strlen(text) + 1);
}

/* Three letters of 5 bits, four hex digits, as a big-endian dword.  [ACPI6.3 19.6.36] */
void aml_name_eisaid(Aml *a, const char *name, const char *id)
{
    uint32_t v = (id[0] - 0x40) << 26 | (id[1] - 0x40) << 21 | (id[2] - 0x40) << 16 |
                 (uint32_t)g_ascii_strtoull(id + 3, NULL, 16);

    put8(a, OP_NAME);
    aml_ref(a, name);
    put8(a, OP_DWORD);
    put_le(a, GUINT32_SWAP_LE_BE(v), 4);
}

void aml_operation_region(Aml *a, const char *name, AmlSpace space, uint64_t offset, uint64_t len)
{
    put8(a, OP_EXT);
    put8(a, OP_EXT_REGION);
    aml_ref(a, name);
    put8(a, space);
    aml_int(a, offset);
    aml_int(a, len);
}

/* Lengths inside a field list are PkgLengths of the bare bit count. */
static void put_bit_count(Aml *a, unsigned bits)
{
    if (bits <= 0x3f) {
        put8(a, bits);
    } else {
        g_assert(bits <= 0xfff);
        put8(a, 1 << 6 | (bits & 0xf));
        put8(a, bits >> 4);
    }
}

void aml_field(Aml *a, const char *region, unsigned access, const AmlField *fields)
{
    put8(a, OP_EXT);
    put8(a, OP_EXT_FIELD);
    begin(a);
    aml_ref(a, region);
    put8(a, access);
    for (; fields->name || fields->bits; fields++) {
        if (fields->name) {
            aml_ref(a, fields->name);
        } else {
            put8(a, 0);
        }
        put_bit_count(a, fields->bits);
    }
    aml_end(a);
}

void aml_create_dword_field(Aml *a, const char *buffer, uint64_t index, const char *name)
{
    put8(a, OP_CREATE_DWORD);
    aml_ref(a, buffer);
    aml_int(a, index);
    aml_ref(a, name);
}

/* ---- resources ---- */

void aml_begin_resources(Aml *a, const char *name)
{
    put8(a, OP_NAME);
    aml_ref(a, name);
    put8(a, OP_BUFFER);
    begin(a);
    a->resources = a->out->len;
}

void aml_end_resources(Aml *a)
{
    uint8_t size[9];
    size_t len;
    unsigned n;

    put8(a, 0x79);                    /* end tag, checksum 0: not checked */
    put8(a, 0);
    len = a->out->len - a->resources;
    if (len <= 0xff) {
        size[0] = OP_BYTE;
        n = 2;
    } else {
        size[0] = OP_WORD;
        n = 3;
    }
    le_store(size + 1, len, n - 1);
    insert(a, a->resources, size, n);
    aml_end(a);
}

void aml_res_io(Aml *a, uint16_t min, uint16_t max, uint8_t align, uint8_t len)
{
    put8(a, 0x47);
    put8(a, 1);                       /* decodes 16 bits */
    put_le(a, min, 2);
    put_le(a, max, 2);
    put8(a, align);
    put8(a, len);
}

void aml_res_irq(Aml *a, unsigned irq)
{
    put8(a, 0x22);
    put_le(a, BIT(irq), 2);
}

void aml_res_dma(Aml *a, unsigned channel)
{
    put8(a, 0x2a);
    put8(a, BIT(channel));
    put8(a, 0);
}

void aml_res_fixed_memory(Aml *a, uint32_t base, uint32_t len)
{
    put8(a, 0x86);
    put_le(a, 9, 2);
    put8(a, 1);
    put_le(a, base, 4);
    put_le(a, len, 4);
}

void aml_res_interrupt(Aml *a, const uint32_t *irqs, unsigned count)
{
    put8(a, 0x89);
    put_le(a, 2 + 4 * count, 2);
    put8(a, 0x09);                    /* consumer, level, active high, shared */
    put8(a, count);
    for (unsigned i = 0; i < count; i++) {
        put_le(a, irqs[i], 4);
    }
}

void aml_res_gsi(Aml *a, uint32_t gsi, bool edge)
{
    put8(a, 0x89);
    put_le(a, 2 + 4, 2);
    put8(a, 0x01 | (edge ? 0x02 : 0));        /* consumer */
    put8(a, 1);
    put_le(a, gsi, 4);
}

/* Address space descriptors: WORD 88h, DWORD 87h, QWORD 8ah.  [ACPI6.3 6.4.3.5] */
static void put_range(Aml *a, uint8_t tag, unsigned size, uint8_t type, uint8_t flags,
                      uint64_t min, uint64_t max)
{
    put8(a, tag);
    put_le(a, 3 + 5 * size, 2);
    put8(a, type);
    put8(a, 0x0c);                    /* producer, min and max fixed, positive decode */
    put8(a, flags);
    put_le(a, 0, size);
    put_le(a, min, size);
    put_le(a, max, size);
    put_le(a, 0, size);
    put_le(a, max - min + 1, size);
}

void aml_res_bus_range(Aml *a, uint16_t min, uint16_t max)
{
    put_range(a, 0x88, 2, 2, 0, min, max);
}

void aml_res_io_range(Aml *a, uint16_t min, uint16_t max)
{
    put_range(a, 0x88, 2, 1, 3, min, max);
}

void aml_res_memory_range(Aml *a, uint32_t min, uint32_t max, bool cacheable)
{
    put_range(a, 0x87, 4, 0, cacheable ? 3 : 1, min, max);
}

void aml_res_memory_range64(Aml *a, uint64_t min, uint64_t max)
{
    put_range(a, 0x8a, 8, 0, 3, min, max);
}
