/* SPDX-License-Identifier: MIT */
/*
 * What the memory_*.c files share.
 */
#ifndef VM_MEMORY_INT_H
#define VM_MEMORY_INT_H

#include "vm/memory.h"

typedef struct MemoryEventfd {
    uint64_t addr;            /* offset in the region, or guest address in a listener's list */
    uint64_t value;
    unsigned size;            /* 0: any */
    int fd;
    bool match;
} MemoryEventfd;

/* Rebuilds the maps of all address spaces, now or when the open transaction ends. */
void memory_map_changed(void);
/* Makes and publishes new maps, and tells the listeners. */
void memory_maps_publish(void);

/* RAM, ROM or a ROM device: something with a RamBlock. */
static inline bool region_has_ram(const MemoryRegion *mr)
{
    return mr->ram != NULL;
}

/* Marks the pages of the block dirty. */
void ram_block_set_dirty(RamBlock *ram, uint64_t offset, uint64_t len);

/* The device on whose behalf this thread does DMA; its own MMIO refuses. */
extern __thread Device *memory_dma_initiator;

/* As memory_io_read/write(), but tell whether the access was taken. */
bool memory_io_read_checked(MemoryRegion *mr, uint64_t offset, uint64_t *value, unsigned size);
bool memory_io_write_checked(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size);

#endif
