/* SPDX-License-Identifier: MIT */
/*
 * Register tables: decoding, masks, hooks.
 *
 * An access is cut at register boundaries.  One that covers a register only in part reads all of
 * it and takes its bytes, or writes with the other bytes as they are.
 * Locking: machine lock.
 */
#include "base/log.h"
#include "vm/device.h"
#include "vm/trace.h"
#include "vm/vm_int.h"

/* The row that holds the byte at OFFSET. */
static const RegDef *reg_find(const Device *dev, RegTable table, uint64_t offset)
{
    for (unsigned i = 0; i < table.count; i++) {
        const RegDef *reg = &table.rows[i];

        if (offset >= reg->offset && offset - reg->offset < reg->size &&
            (!reg->bank || reg->bank(dev))) {
            return reg;
        }
    }
    return NULL;
}

static uint64_t size_mask(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

static uint64_t field_load(const Device *dev, const RegDef *reg)
{
    uint64_t v = 0;

    if (reg->has_field) {
        memcpy(&v, (const char *)dev + reg->field, reg->size);
    }
    return v;
}

static void field_store(Device *dev, const RegDef *reg, uint64_t v)
{
    if (reg->has_field) {
        memcpy((char *)dev + reg->field, &v, reg->size);
    }
}

static uint64_t reg_read(Device *dev, const RegDef *reg)
{
    uint64_t v = field_load(dev, reg);

    if (reg->on_read) {
        v = reg->on_read(dev, v);
    }
    if (reg->clear_on_read) {
        field_store(dev, reg, field_load(dev, reg) & ~reg->clear_on_read);
    }
    v &= size_mask(reg->size);
    trace_device_reg_read(dev->obj.type->name, reg->name, v);
    return v;
}

/* LANES: the bits that the access covers. */
static void reg_write(Device *dev, const RegDef *reg, uint64_t value, uint64_t lanes)
{
    uint64_t old = field_load(dev, reg);
    uint64_t rw = reg->rw & lanes;

    trace_device_reg_write(dev->obj.type->name, reg->name, value);
    field_store(dev, reg, ((old & ~rw) | (value & rw)) & ~(value & reg->w1c & lanes));
    if (reg->has_field && !reg->on_write && (value & lanes & ~(reg->rw | reg->w1c))) {
        log_guest_error("%s: write of 0x%" G_GINT64_MODIFIER "x to %s touches reserved or "
                        "read-only bits\n", dev->obj.type->name, value, reg->name);
    }
    if (reg->on_write) {
        reg->on_write(dev, (value & lanes) | (old & ~lanes));
    }
}

uint64_t device_reg_read(Device *dev, RegTable table, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned done = 0; done < size;) {
        const RegDef *reg = reg_find(dev, table, offset + done);
        unsigned n = 1;
        uint64_t part = 0xff;

        if (reg) {
            unsigned skip = (unsigned)(offset + done - reg->offset);

            n = MIN(reg->size - skip, size - done);
            part = reg_read(dev, reg) >> (8 * skip) & size_mask(n);
        } else {
            log_guest_error("%s: read of unknown register 0x%" G_GINT64_MODIFIER "x\n",
                            dev->obj.type->name, offset + done);
        }
        value |= part << (8 * done);
        done += n;
    }
    device_sync(dev);
    return value;
}

void device_reg_write(Device *dev, RegTable table, uint64_t offset, uint64_t value,
                      unsigned size)
{
    for (unsigned done = 0; done < size;) {
        const RegDef *reg = reg_find(dev, table, offset + done);
        unsigned n = 1;

        if (reg) {
            unsigned skip = (unsigned)(offset + done - reg->offset);

            n = MIN(reg->size - skip, size - done);
            reg_write(dev, reg, (value >> (8 * done) & size_mask(n)) << (8 * skip),
                      size_mask(n) << (8 * skip));
        } else {
            log_guest_error("%s: write to unknown register 0x%" G_GINT64_MODIFIER "x\n",
                            dev->obj.type->name, offset + done);
        }
        done += n;
    }
    device_sync(dev);
}

/* ---- windows ---- */

typedef struct RegWindow {
    Device *dev;
    RegTable table;
} RegWindow;

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    RegWindow *w = opaque;

    return device_reg_read(w->dev, w->table, offset, size);
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    RegWindow *w = opaque;

    device_reg_write(w->dev, w->table, offset, value, size);
}

static const MmioOps window_ops = { .read = window_read, .write = window_write, .impl_max = 8,
                                    .unaligned = true };

void device_init_reg_region(Device *dev, MemoryRegion *mr, const char *name, RegTable table,
                            uint64_t size)
{
    RegWindow *w = g_new(RegWindow, 1);

    *w = (RegWindow){ dev, table };
    if (!dev->reg_windows) {
        dev->reg_windows = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(dev->reg_windows, w);
    memory_region_init_io(mr, &dev->obj, name, &window_ops, w, size);
}

static void table_reset(Device *dev, RegTable table)
{
    for (unsigned i = 0; i < table.count; i++) {
        field_store(dev, &table.rows[i], table.rows[i].reset);
    }
}

void device_regs_reset(Device *dev)
{
    table_reset(dev, device_type(dev)->regs);
    for (unsigned i = 0; dev->reg_windows && i < dev->reg_windows->len; i++) {
        const RegWindow *w = g_ptr_array_index(dev->reg_windows, i);

        if (w->table.rows != device_type(dev)->regs.rows) {
            table_reset(dev, w->table);
        }
    }
}
