/* SPDX-License-Identifier: MIT */
/*
 * DMA: what devices use to reach memory.
 * Locking: any thread; the initiator is a thread's own.
 */
#include <sys/uio.h>
#include "base/rcu.h"
#include "vm/memory_int.h"
#include "vm/trace.h"
#include "vm/vm.h"

static AddressSpace *dma_space(const Device *dev)
{
    return dev->dma_as ? dev->dma_as : &dev->vm->memory;
}

static Device *initiator_enter(Device *dev)
{
    Device *outer = memory_dma_initiator;

    memory_dma_initiator = dev;
    return outer;
}

bool dma_read(Device *dev, gpa_t addr, void *buf, uint64_t len)
{
    Device *outer = initiator_enter(dev);
    bool ok = address_space_read(dma_space(dev), addr, buf, len);

    trace_dma_read(dev->obj.type->name, addr, len);
    memory_dma_initiator = outer;
    return ok;
}

bool dma_write(Device *dev, gpa_t addr, const void *buf, uint64_t len)
{
    Device *outer = initiator_enter(dev);
    bool ok = address_space_write(dma_space(dev), addr, buf, len);

    trace_dma_write(dev->obj.type->name, addr, len);
    memory_dma_initiator = outer;
    return ok;
}

bool dma_fill(Device *dev, gpa_t addr, uint8_t byte, uint64_t len)
{
    uint8_t chunk[4096];
    bool ok = true;

    memset(chunk, byte, sizeof(chunk));
    while (len > 0) {
        uint64_t n = MIN(len, sizeof(chunk));

        ok &= dma_write(dev, addr, chunk, n);
        len -= n;
        if (addr + n < addr) {
            return ok && len == 0;
        }
        addr += n;
    }
    return ok;
}

uint64_t dma_load(Device *dev, gpa_t addr, unsigned size)
{
    uint8_t bytes[8];

    dma_read(dev, addr, bytes, size);
    return le_load(bytes, size);
}

void dma_store(Device *dev, gpa_t addr, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    le_store(bytes, value, size);
    dma_write(dev, addr, bytes, size);
}

/* ---- scatter-gather ---- */

enum { SG_BOUNCE_MAX = 16 * MIB, SG_PARTS_MAX = 65536 };

typedef struct SgPart {
    gpa_t addr;
    uint64_t len;
    uint8_t *bounce;          /* NULL: mapped directly */
    RamBlock *ram;            /* mapped directly: for the dirty bits */
    uint64_t offset;
    Object *owner;            /* keeps the RAM alive */
} SgPart;

void dma_sg_init(DmaSg *sg, Device *dev, bool to_memory)
{
    *sg = (DmaSg){ .dev = dev, .to_memory = to_memory };
    sg->iov = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    sg->parts = g_array_new(FALSE, FALSE, sizeof(SgPart));
}

static uint64_t sg_bounced(const DmaSg *sg)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < sg->parts->len; i++) {
        const SgPart *part = &g_array_index(sg->parts, SgPart, i);

        sum += part->bounce ? part->len : 0;
    }
    return sum;
}

static void sg_drop(DmaSg *sg, unsigned first)
{
    for (unsigned i = first; i < sg->parts->len; i++) {
        SgPart *part = &g_array_index(sg->parts, SgPart, i);

        g_free(part->bounce);
        object_unref(part->owner);
    }
    g_array_set_size(sg->parts, first);
    g_array_set_size(sg->iov, first);
}

/* Adds the part that begins at ADDR, at most LEN; returns its length, 0: refused. */
static uint64_t sg_add_part(DmaSg *sg, gpa_t addr, uint64_t len, uint64_t *bounced)
{
    RCU_READ_SCOPE();
    MemoryTarget t = memory_resolve(dma_space(sg->dev), addr);
    SgPart part = { .addr = addr, .len = MIN(len, t.len) };
    struct iovec iov = { .iov_len = part.len };

    if (t.host && !(sg->to_memory && (t.readonly || t.mr->ram->readonly))) {
        part.ram = t.mr->ram;
        part.offset = t.offset;
        part.owner = t.mr->owner ? object_ref(t.mr->owner) : NULL;
        iov.iov_base = t.host;
    } else {
        if (sg->ram_only || part.len > SG_BOUNCE_MAX - *bounced) {
            return 0;
        }
        *bounced += part.len;
        part.bounce = g_malloc0(part.len);
        if (!sg->to_memory) {
            dma_read(sg->dev, addr, part.bounce, part.len);
        }
        iov.iov_base = part.bounce;
    }
    g_array_append_val(sg->parts, part);
    g_array_append_val(sg->iov, iov);
    return part.len;
}

bool dma_sg_add(DmaSg *sg, gpa_t addr, uint64_t len)
{
    unsigned first = sg->parts->len;
    uint64_t bounced = sg_bounced(sg);

    if (len > UINT64_MAX - sg->len || (len > 0 && addr > UINT64_MAX - (len - 1))) {
        return false;
    }
    for (uint64_t left = len; left > 0;) {
        uint64_t n = sg->parts->len < SG_PARTS_MAX ? sg_add_part(sg, addr, left, &bounced) : 0;

        if (n == 0) {
            sg_drop(sg, first);
            return false;
        }
        addr += n;
        left -= n;
    }
    sg->len += len;
    return true;
}

unsigned dma_sg_parts(const DmaSg *sg)
{
    return sg->parts->len;
}

gpa_t dma_sg_part(const DmaSg *sg, unsigned n, uint64_t *len)
{
    const SgPart *part = &g_array_index(sg->parts, SgPart, n);

    *len = part->len;
    return part->addr;
}

void dma_sg_finish(DmaSg *sg)
{
    for (unsigned i = 0; sg->to_memory && i < sg->parts->len; i++) {
        const SgPart *part = &g_array_index(sg->parts, SgPart, i);

        if (part->bounce) {
            dma_write(sg->dev, part->addr, part->bounce, part->len);
        } else {
            ram_block_set_dirty(part->ram, part->offset, part->len);
        }
    }
    sg_drop(sg, 0);
    sg->len = 0;
}

void dma_sg_unmap(DmaSg *sg)
{
    dma_sg_finish(sg);
    g_clear_pointer(&sg->parts, g_array_unref);
    g_clear_pointer(&sg->iov, g_array_unref);
}

/* ---- windows ---- */

void dma_window_init(DmaWindow *w, Device *dev, gpa_t addr, uint64_t len, bool to_memory)
{
    *w = (DmaWindow){ .dev = dev, .addr = addr, .len = len, .to_memory = to_memory };
}

uint8_t *dma_window_host(DmaWindow *w)
{
    AddressSpace *as = dma_space(w->dev);
    /* Before the map: it may be newer than the number says, and is then looked up once too often. */
    unsigned generation = __atomic_load_n(&as->generation, __ATOMIC_ACQUIRE);
    MemoryTarget t;

    if (w->as == as && w->generation == generation) {
        return w->host;
    }
    t = memory_resolve(as, w->addr);
    w->as = as;
    w->generation = generation;
    w->host = NULL;
    if (t.host && t.len >= w->len && !(w->to_memory && (t.readonly || t.mr->ram->readonly))) {
        w->host = t.host;
        w->ram = t.mr->ram;
        w->offset = t.offset;
    }
    return w->host;
}

void dma_window_written(DmaWindow *w, uint64_t offset, uint64_t len)
{
    ram_block_set_dirty(w->ram, w->offset + offset, len);
}
