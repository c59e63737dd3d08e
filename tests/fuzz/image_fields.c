/* SPDX-License-Identifier: MIT */
/* Lists of fields by format, and what hostile bytes do to them. */
#include "tests/fuzz/image_fields.h"

#include <string.h>

#include "base/bits.h"

#define OFFSET_MASK 0x00fffffffffffe00ull

static void add(GArray *fields, uint64_t at, unsigned width, bool little)
{
    ImageField f = { (uint32_t)at, (uint8_t)width, little };

    g_array_append_val(fields, f);
}

/* COUNT fields of WIDTH in a row. */
static void add_row(GArray *fields, uint64_t at, unsigned count, unsigned width, bool little)
{
    for (unsigned i = 0; i < count; i++) {
        add(fields, at + (uint64_t)i * width, width, little);
    }
}

/* ---- LUKS: docs in block/luks_header.c ---- */

static void luks_fields(GArray *fields, uint64_t base)
{
    add(fields, base + 6, 2, false);                  /* version */
    add_row(fields, base + 8, 4, 1, false);           /* letters of cipher, mode, hash */
    add_row(fields, base + 40, 16, 1, false);
    add_row(fields, base + 72, 8, 1, false);
    add_row(fields, base + 104, 2, 4, false);         /* payload, key bytes */
    add_row(fields, base + 112, 5, 4, false);         /* digest */
    add(fields, base + 132, 8, false);
    add(fields, base + 164, 4, false);                /* its iterations */
    for (unsigned slot = 0; slot < 8; slot++) {
        uint64_t at = base + 208 + slot * 48u;

        add_row(fields, at, 2, 4, false);             /* state, iterations */
        add(fields, at + 8, 8, false);
        add_row(fields, at + 40, 2, 4, false);        /* offset, stripes */
    }
    add(fields, base + 4096, 8, false);               /* key material */
}

/* ---- qcow2: docs/formats/qcow2.md ---- */

typedef struct Qcow2Image {
    const uint8_t *p;
    uint64_t len, cluster;
    GArray *fields;
} Qcow2Image;

static uint64_t entry_at(const Qcow2Image *q, uint64_t at)
{
    return at + 8 <= q->len ? be64_load(q->p + at) & OFFSET_MASK : 0;
}

static void table(const Qcow2Image *q, uint64_t at, uint64_t bytes)
{
    for (uint64_t i = 0; i + 8 <= bytes && at + i + 8 <= q->len; i += 8) {
        add(q->fields, at + i, 8, false);
    }
}

static void l1_and_l2(const Qcow2Image *q, uint64_t l1, uint32_t entries)
{
    table(q, l1, (uint64_t)entries * 8);
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t l2 = entry_at(q, l1 + i * 8);

        if (l2) {
            table(q, l2, MIN(q->cluster, 256));
        }
    }
}

static void refcounts(const Qcow2Image *q, uint64_t at, uint64_t bytes)
{
    for (uint64_t i = 0; i < MIN(bytes, 64); i += 8) {
        uint64_t block = entry_at(q, at + i);

        add(q->fields, at + i, 8, false);
        if (block && block + 64 <= q->len) {
            add_row(q->fields, block, 32, 2, false);
        }
    }
}

static void snapshots(const Qcow2Image *q, uint64_t at, uint32_t count)
{
    for (uint32_t i = 0; i < count && at + 40 < q->len; i++) {
        uint32_t extra = be32_load(q->p + at + 36);

        add(q->fields, at, 8, false);                 /* L1 table */
        add(q->fields, at + 8, 4, false);
        add_row(q->fields, at + 12, 2, 2, false);     /* lengths of id and name */
        add_row(q->fields, at + 16, 6, 4, false);
        table(q, at + 40, extra);
        l1_and_l2(q, be64_load(q->p + at), be32_load(q->p + at + 8));
        at = align_up(at + 40 + extra + be16_load(q->p + at + 12) + be16_load(q->p + at + 14), 8);
    }
}

static void bitmaps(const Qcow2Image *q, uint64_t extension)
{
    uint64_t at = be64_load(q->p + extension + 16);
    uint32_t count = be32_load(q->p + extension);

    add(q->fields, extension, 4, false);
    table(q, extension + 8, 16);
    for (uint32_t i = 0; i < count && at + 24 < q->len; i++) {
        add(q->fields, at, 8, false);                 /* its table */
        add_row(q->fields, at + 8, 2, 4, false);
        add_row(q->fields, at + 16, 2, 1, false);
        add(q->fields, at + 18, 2, false);
        add(q->fields, at + 20, 4, false);
        table(q, be64_load(q->p + at), (uint64_t)be32_load(q->p + at + 8) * 8);
        at = align_up(at + 24 + be16_load(q->p + at + 18) + be32_load(q->p + at + 20), 8);
    }
}

static void extensions(const Qcow2Image *q, uint64_t at)
{
    uint32_t type, len;

    do {
        type = be32_load(q->p + at);
        len = be32_load(q->p + at + 4);
        add_row(q->fields, at, 2, 4, false);
        if (type == 0x23852875) {
            bitmaps(q, at + 8);
        } else if (type == 0x0537be77) {              /* encryption */
            table(q, at + 8, 16);
            luks_fields(q->fields, be64_load(q->p + at + 8));
        }
        at = align_up(at + 8 + len, 8);
    } while (type && at + 8 < q->cluster);
}

static void qcow2_fields(GArray *fields, const GByteArray *image)
{
    Qcow2Image q = { image->data, image->len, BIT64(be32_load(image->data + 20)), fields };
    bool old = be32_load(q.p + 4) < 3;

    add(fields, 4, 4, false);
    table(&q, 8, 8);
    add_row(fields, 16, 2, 4, false);
    table(&q, 24, 8);
    add_row(fields, 32, 2, 4, false);
    table(&q, 40, 16);
    add_row(fields, 56, 2, 4, false);
    table(&q, 64, old ? 8 : 32);
    add_row(fields, 96, old ? 0 : 2, 4, false);
    if (!old) {
        extensions(&q, be32_load(q.p + 100));
    }
    l1_and_l2(&q, be64_load(q.p + 40), be32_load(q.p + 36));
    refcounts(&q, be64_load(q.p + 48), be32_load(q.p + 56) * q.cluster);
    snapshots(&q, be64_load(q.p + 64), be32_load(q.p + 60));
}

/* ---- others: every word of a sector that is no data ---- */

static void words(GArray *fields, const GByteArray *image, bool little)
{
    for (uint32_t at = 0; at + 512 <= image->len && fields->len < 8192; at += 512) {
        const uint8_t *p = image->data + at;

        if ((p[0] || memcmp(p, p + 1, 511) != 0) && !(p[0] == p[511] && p[0] == p[255] && p[0])) {
            add_row(fields, at, 128, 4, little);
        }
    }
}

GArray *image_fields(const char *format, const GByteArray *image)
{
    GArray *fields = g_array_new(false, false, sizeof(ImageField));

    if (g_str_equal(format, "luks")) {
        luks_fields(fields, 0);
    } else if (g_str_equal(format, "qcow2")) {
        qcow2_fields(fields, image);
    } else {
        words(fields, image, !g_str_equal(format, "vpc"));
    }
    return fields;
}

/* ---- changes ---- */

static uint64_t load(const GByteArray *image, const ImageField *f)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < f->width; i++) {
        unsigned at = f->little ? f->width - 1u - i : i;

        value = value << 8 | image->data[(f->at + at) % image->len];
    }
    return value;
}

static void store(GByteArray *image, const ImageField *f, uint64_t value)
{
    for (unsigned i = 0; i < f->width; i++) {
        unsigned at = f->little ? i : f->width - 1u - i;

        image->data[(f->at + at) % image->len] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t changed(const GByteArray *image, const GArray *fields, uint64_t old,
                        const uint8_t *edit)
{
    const ImageField *other = &g_array_index(fields, ImageField, le32_load(edit + 4) % fields->len);
    uint64_t small = edit[3], large = le32_load(edit + 4);

    switch (edit[2] % 8) {
    case 0:
        return large;
    case 1:
        return large << small % 48;
    case 2:
        return old + (uint64_t)(int64_t)(int8_t)small;
    case 3:
        return old ^ BIT64(small % 64);
    case 4:
        return load(image, other);
    case 5:
        return load(image, other) + (small << 9);
    case 6:
        return UINT64_MAX >> small % 64;
    default:
        return (old & ~OFFSET_MASK) | ((image->len + (small << 9)) & OFFSET_MASK);
    }
}

void image_fields_edit(GByteArray *image, const GArray *fields, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at + 8 <= size && at < 64 * 8 && fields->len; at += 8) {
        const ImageField *f = &g_array_index(fields, ImageField, le16_load(data + at) % fields->len);

        store(image, f, changed(image, fields, load(image, f), data + at));
    }
}
