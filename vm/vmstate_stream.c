/* SPDX-License-Identifier: MIT */
/*
 * The byte streams that state travels in: big-endian, bounded on the way in.
 * Locking: a stream belongs to one thread.
 */
#include "vm/vmstate.h"
#include "vm/vmstate_int.h"

struct VmWriter {
    GByteArray *bytes;
};

VmWriter *vm_writer_new(void)
{
    VmWriter *w = g_new0(VmWriter, 1);

    w->bytes = g_byte_array_new();
    return w;
}

const uint8_t *vm_writer_bytes(const VmWriter *w, size_t *len)
{
    *len = w->bytes->len;
    return w->bytes->data;
}

void vm_writer_free(VmWriter *w)
{
    if (w) {
        g_byte_array_unref(w->bytes);
        g_free(w);
    }
}

void vm_put_bytes(VmWriter *w, const void *p, size_t len)
{
    g_assert(len <= G_MAXUINT - w->bytes->len);
    g_byte_array_append(w->bytes, p, (guint)len);
}

void vm_put_u8(VmWriter *w, uint8_t v)
{
    vm_put_bytes(w, &v, 1);
}

void vm_put_be16(VmWriter *w, uint16_t v)
{
    uint8_t b[2];

    be16_store(b, v);
    vm_put_bytes(w, b, sizeof(b));
}

void vm_put_be32(VmWriter *w, uint32_t v)
{
    uint8_t b[4];

    be32_store(b, v);
    vm_put_bytes(w, b, sizeof(b));
}

void vm_put_be64(VmWriter *w, uint64_t v)
{
    uint8_t b[8];

    be64_store(b, v);
    vm_put_bytes(w, b, sizeof(b));
}

VmReader *vm_reader_new(const uint8_t *data, size_t len)
{
    VmReader *r = g_new0(VmReader, 1);

    r->data = data;
    r->len = len;
    return r;
}

void vm_reader_free(VmReader *r)
{
    g_free(r);
}

bool vm_get_bytes(VmReader *r, void *p, size_t len)
{
    if (r->failed || len > r->len - r->pos) {
        r->failed = true;
        memset(p, 0, len);
        return false;
    }
    memcpy(p, r->data + r->pos, len);
    r->pos += len;
    return true;
}

bool vm_reader_skip(VmReader *r, size_t len)
{
    if (r->failed || len > r->len - r->pos) {
        r->failed = true;
        return false;
    }
    r->pos += len;
    return true;
}

const uint8_t *vm_reader_peek(const VmReader *r, size_t len)
{
    return !r->failed && len <= r->len - r->pos ? r->data + r->pos : NULL;
}

uint8_t vm_get_u8(VmReader *r)
{
    uint8_t v;

    vm_get_bytes(r, &v, 1);
    return v;
}

uint16_t vm_get_be16(VmReader *r)
{
    uint8_t b[2];

    vm_get_bytes(r, b, sizeof(b));
    return be16_load(b);
}

uint32_t vm_get_be32(VmReader *r)
{
    uint8_t b[4];

    vm_get_bytes(r, b, sizeof(b));
    return be32_load(b);
}

uint64_t vm_get_be64(VmReader *r)
{
    uint8_t b[8];

    vm_get_bytes(r, b, sizeof(b));
    return be64_load(b);
}

bool vm_reader_failed(const VmReader *r)
{
    return r->failed;
}

size_t vm_reader_left(const VmReader *r)
{
    return r->len - r->pos;
}
