/* SPDX-License-Identifier: MIT */
/*
 * Accesses: one register access fitted to what a device implements, and runs of bytes over RAM
 * and MMIO.
 *
 * Order of checks for an MMIO access: inside the region, size valid, alignment; then the access is
 * split (too wide, or unaligned) or widened (too narrow) to what the callbacks implement.
 * Locking: any thread; takes the machine lock around callbacks unless lockless.  That may happen
 * in an RCU section, so nobody waits for RCU readers with the machine lock held.
 */
#include <unistd.h>
#include "base/log.h"
#include "base/rcu.h"
#include "vm/memory_int.h"
#include "vm/trace.h"
#include "vm/vm.h"

__thread Device *memory_dma_initiator;

static uint64_t ones(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

/* ---- one access ---- */

typedef struct IoGuard {
    Device *dev;              /* NULL: nothing to guard */
    bool locked;              /* we took the machine lock */
} IoGuard;

/* false: the owner is in the middle of an access, or this is its own DMA. */
static bool io_enter(MemoryRegion *mr, IoGuard *guard)
{
    Device *dev = mr->device;

    *guard = (IoGuard){ 0 };
    if (dev && dev == memory_dma_initiator) {
        log_guest_error("%s: DMA of a device to its own registers refused\n", mr->name);
        return false;
    }
    if (mr->ops->lockless) {
        return true;
    }
    if (!machine_lock_held()) {
        machine_lock();
        guard->locked = true;
    }
    if (dev && dev->busy) {
        log_guest_error("%s: access while the device handles another refused\n", mr->name);
        if (guard->locked) {
            machine_unlock();
        }
        return false;
    }
    if (dev) {
        guard->dev = dev;
        dev->busy = 1;
    }
    return true;
}

static void io_leave(IoGuard *guard)
{
    if (guard->dev) {
        guard->dev->busy = 0;
    }
    if (guard->locked) {
        machine_unlock();
    }
}

static bool io_valid(const MemoryRegion *mr, uint64_t offset, unsigned size, const char *verb)
{
    unsigned min = mr->ops->valid_min ? mr->ops->valid_min : 1;
    unsigned max = mr->ops->valid_max ? mr->ops->valid_max : 8;

    if (size < min || size > max || (mr->size != UINT64_MAX && size > mr->size) ||
        (mr->size != UINT64_MAX && offset > mr->size - size)) {
        log_guest_error("%s: invalid %s of %u bytes at 0x%" G_GINT64_MODIFIER "x\n", mr->name,
                        verb, size, offset);
        return false;
    }
    return true;
}

/* How many bytes to hand to the callback at OFFSET when LEFT remain; never more than LEFT. */
static unsigned io_piece(const MmioOps *ops, uint64_t offset, unsigned left)
{
    unsigned piece = ops->impl_max ? ops->impl_max : 4;

    while (piece > left || (!ops->unaligned && (offset & (piece - 1)))) {
        piece >>= 1;
    }
    return piece;
}

static uint64_t call_read(MemoryRegion *mr, uint64_t offset, unsigned size)
{
    unsigned min = mr->ops->impl_min ? mr->ops->impl_min : 1;
    uint64_t base;

    if (!mr->ops->read) {
        return ones(size);
    }
    if (size >= min) {
        return mr->ops->read(mr->opaque, offset, size) & ones(size);
    }
    base = align_down(offset, min);
    return mr->ops->read(mr->opaque, base, min) >> (8 * (offset - base)) & ones(size);
}

static void call_write(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size)
{
    unsigned min = mr->ops->impl_min ? mr->ops->impl_min : 1;

    if (!mr->ops->write) {
        return;
    }
    if (size < min) {
        uint64_t base = align_down(offset, min);
        unsigned shift = 8 * (unsigned)(offset - base);
        uint64_t old = mr->ops->read ? mr->ops->read(mr->opaque, base, min) : 0;

        value = (old & ~(ones(size) << shift)) | (value & ones(size)) << shift;
        offset = base;
        size = min;
    }
    mr->ops->write(mr->opaque, offset, value & ones(size), size);
}

static uint64_t swap_bytes(uint64_t value, unsigned size)
{
    return GUINT64_SWAP_LE_BE(value) >> (64 - 8 * size);
}

bool memory_io_read_checked(MemoryRegion *mr, uint64_t offset, uint64_t *value, unsigned size)
{
    IoGuard guard;

    *value = ones(size);
    if (region_has_ram(mr) && mr->kind != REGION_ROM_DEVICE) {
        *value = offset + size <= mr->ram->size ? le_load(mr->ram->host + offset, size) : *value;
        return true;
    }
    if (!mr->ops || !io_valid(mr, offset, size, "read") || !io_enter(mr, &guard)) {
        return false;
    }
    *value = 0;
    for (unsigned done = 0; done < size;) {
        unsigned piece = io_piece(mr->ops, offset + done, size - done);
        uint64_t part = call_read(mr, offset + done, piece);
        unsigned shift = mr->ops->big_endian ? size - done - piece : done;

        *value |= part << (8 * shift);
        done += piece;
    }
    io_leave(&guard);
    if (mr->ops->big_endian) {
        *value = swap_bytes(*value, size);
    }
    trace_memory_region_ops_read(mr->name, offset, *value, size);
    return true;
}

/* What KVM does by itself: a write that an eventfd waits for does not reach the device. */
static bool eventfd_takes(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size)
{
    const GArray *list = rcu_get(&mr->eventfds);

    for (unsigned i = 0; list && i < list->len; i++) {
        const MemoryEventfd *e = &g_array_index(list, MemoryEventfd, i);

        if (e->addr == offset && (!e->size || e->size == size) &&
            (!e->match || e->value == value)) {
            uint64_t one = 1;

            /* A full counter means that the reader has been told already. */
            if (write(e->fd, &one, sizeof(one)) < 0) {
                return true;
            }
            return true;
        }
    }
    return false;
}

bool memory_io_write_checked(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size)
{
    IoGuard guard;

    if (region_has_ram(mr) && mr->kind != REGION_ROM_DEVICE) {
        log_guest_error("%s: write to read-only memory at 0x%" G_GINT64_MODIFIER "x\n", mr->name,
                        offset);
        return false;
    }
    if (!mr->ops || !io_valid(mr, offset, size, "write") || !io_enter(mr, &guard)) {
        return false;
    }
    value &= ones(size);
    trace_memory_region_ops_write(mr->name, offset, value, size);
    if (!eventfd_takes(mr, offset, value, size)) {
        if (mr->ops->big_endian) {
            value = swap_bytes(value, size);
        }
        for (unsigned done = 0; done < size;) {
            unsigned piece = io_piece(mr->ops, offset + done, size - done);
            unsigned shift = mr->ops->big_endian ? size - done - piece : done;

            call_write(mr, offset + done, value >> (8 * shift), piece);
            done += piece;
        }
    }
    io_leave(&guard);
    return true;
}

uint64_t memory_io_read(MemoryRegion *mr, uint64_t offset, unsigned size)
{
    uint64_t value = ones(size);

    if (mr) {
        memory_io_read_checked(mr, offset, &value, size);
    }
    return value;
}

void memory_io_write(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size)
{
    if (mr) {
        memory_io_write_checked(mr, offset, value, size);
    }
}

/* ---- runs of bytes ---- */

/*
 * How much of LEN an access to MMIO may cover.  It is the region's own size that counts, not where
 * another region covers it: a bus cycle is decoded by its address, so 4 bytes to 0xcf8 are a PCI
 * configuration address although 0xcf9 alone is the reset register.
 */
static uint64_t io_reach(const MemoryTarget *t, uint64_t len)
{
    return t->mr->size == UINT64_MAX ? len : MIN(len, t->mr->size - t->offset);
}

/* The largest access that is aligned, fits in LEN and is no wider than the region takes. */
static unsigned access_size(const MemoryTarget *t, uint64_t len)
{
    unsigned max = t->mr->ops && t->mr->ops->valid_max ? t->mr->ops->valid_max : 8;
    unsigned size = 8;

    while (size > max || size > len || (t->offset & (size - 1))) {
        size >>= 1;
    }
    return size;
}

bool address_space_read(AddressSpace *as, gpa_t gpa, void *buf, uint64_t len)
{
    uint8_t *p = buf;
    bool ok = true;

    while (len > 0) {
        RCU_READ_SCOPE();
        MemoryTarget t = memory_resolve(as, gpa);
        uint64_t n = MIN(len, t.len);

        if (t.host) {
            memcpy(p, t.host, n);
        } else if (!t.mr) {
            trace_memory_unassigned_read(as->name, gpa, n);
            memset(p, 0xff, n);
            ok = false;
        } else {
            uint64_t value;

            n = access_size(&t, io_reach(&t, len));
            ok &= memory_io_read_checked(t.mr, t.offset, &value, (unsigned)n);
            le_store(p, value, (unsigned)n);
        }
        p += n;
        len -= n;
        gpa += n;
        if (gpa == 0 && len > 0) {
            memset(p, 0xff, len);   /* past the top of the address space */
            return false;
        }
    }
    return ok;
}

static bool write_some(AddressSpace *as, gpa_t gpa, const uint8_t *p, uint64_t len, bool rom)
{
    bool ok = true;

    while (len > 0) {
        RCU_READ_SCOPE();
        MemoryTarget t = memory_resolve(as, gpa);
        uint64_t n = MIN(len, t.len);

        if (t.host && (rom || !t.readonly) && !t.mr->ram->readonly) {
            memcpy(t.host, p, n);
            ram_block_set_dirty(t.mr->ram, t.offset, n);
        } else if (!t.mr || rom) {
            trace_memory_unassigned_write(as->name, gpa, n);
            ok = false;
        } else {
            n = access_size(&t, io_reach(&t, len));
            ok &= memory_io_write_checked(t.mr, t.offset, le_load(p, (unsigned)n), (unsigned)n);
        }
        p += n;
        len -= n;
        gpa += n;
        if (gpa == 0 && len > 0) {
            return false;
        }
    }
    return ok;
}

bool address_space_write(AddressSpace *as, gpa_t gpa, const void *buf, uint64_t len)
{
    return write_some(as, gpa, buf, len, false);
}

bool address_space_write_rom(AddressSpace *as, gpa_t gpa, const void *buf, uint64_t len)
{
    return write_some(as, gpa, buf, len, true);
}

uint64_t address_space_load(AddressSpace *as, gpa_t gpa, unsigned size)
{
    uint8_t bytes[8];
    RCU_READ_SCOPE();
    MemoryTarget t = memory_resolve(as, gpa);

    /* A whole access reaches the device as one, whatever its alignment. */
    if (t.mr && !t.host && io_reach(&t, size) == size) {
        return memory_io_read(t.mr, t.offset, size);
    }
    address_space_read(as, gpa, bytes, size);
    return le_load(bytes, size);
}

void address_space_store(AddressSpace *as, gpa_t gpa, uint64_t value, unsigned size)
{
    uint8_t bytes[8];
    RCU_READ_SCOPE();
    MemoryTarget t = memory_resolve(as, gpa);

    if (t.mr && (!t.host || t.readonly) && io_reach(&t, size) == size) {
        memory_io_write(t.mr, t.offset, value, size);
        return;
    }
    le_store(bytes, value, size);
    address_space_write(as, gpa, bytes, size);
}
