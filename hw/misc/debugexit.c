/* SPDX-License-Identifier: MIT */
/*
 * "isa-debug-exit": a port that ends the emulator, for test programs.  A write of VALUE ends the
 * process with status (VALUE << 1) | 1.
 * Locking: machine lock.
 */
#include "base/error.h"
#include "hw/isa/isa.h"
#include "vm/vm.h"

typedef struct DebugExit {
    IsaDevice isa;
    MemoryRegion ports;
    uint32_t iobase, iosize;
} DebugExit;

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    DebugExit *s = opaque;

    vm_request_exit(s->isa.dev.vm, (int)(value << 1 | 1));
}

static const MmioOps exit_ops = { exit_read, exit_write, .valid_min = 1, .valid_max = 4 };

static bool debug_exit_realize(Device *dev, GError **error)
{
    DebugExit *s = DEVICE_CAST(DebugExit, dev);

    if (s->iosize == 0 || s->iobase > 0xffff || s->iosize > 0x10000 - s->iobase) {
        return error_set(error, "isa-debug-exit: 'iobase' 0x%x and 'iosize' 0x%x do not describe "
                         "ports between 0 and 0xffff", s->iobase, s->iosize);
    }
    memory_region_init_io(&s->ports, OBJECT(dev), "isa-debug-exit", &exit_ops, s, s->iosize);
    isa_add_ports(&s->isa, &s->ports, s->iobase);
    return true;
}

static const PropDef debug_exit_props[] = {
    PROP_U32("iobase", DebugExit, iobase, 0x501),
    PROP_U32("iosize", DebugExit, iosize, 0x02),
    PROP_END,
};
DEVICE_TYPE(isa_debug_exit, .name = "isa-debug-exit", .bus = &bus_isa, .size = sizeof(DebugExit),
            .category = DEVICE_CATEGORY_MISC, .user_creatable = true, .props = debug_exit_props,
            .realize = debug_exit_realize);
